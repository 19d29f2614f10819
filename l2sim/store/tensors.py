"""Named arrays in files that other programs read and write: safetensors and .npz. Nothing in them is executed.

A safetensors file is 8 bytes header length, a JSON header (dtype, shape and place of each array, texts under
`__metadata__`), then the raw little-endian arrays. https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from l2sim import files
from l2sim.backend import Array
from l2sim.errors import ModelError

_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
_NAMES = {np.dtype(name): short for short, name in _TYPES.items() if short != "BF16"}
TEXTS = "__metadata__"
"""The texts of a file: in the header of a safetensors file, and as JSON in an array of a .npz file."""


class Entry(msgspec.Struct, frozen=True):
    """What the header says of an array: its type, its shape, and where it begins and ends behind the header, bytes."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def read(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays and texts of a file. bfloat16 comes as float32. Raises ModelError."""
    kinds = {".safetensors": _read_safetensors, ".npz": _read_npz}
    if path.suffix not in kinds:
        torch = "write it with safetensors.torch.save_file(model.state_dict(), ...)"
        cure = torch if path.suffix in (".pt", ".pth", ".bin", ".ckpt", ".pkl") else "give .safetensors or .npz"
        raise ModelError(f"{path} is no file of arrays that is read here; {cure}")
    try:
        return kinds[path.suffix](path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}; name a file of weights") from None
    except Exception as error:  # a damaged file raises anything
        raise ModelError(f"{path} is damaged ({type(error).__name__}); write or fetch it again") from None


def read_header(file: BinaryIO) -> tuple[dict[str, Entry], dict[str, str]]:
    """The entries of the arrays and the texts of a safetensors file, which is left where the arrays begin. ValueError,
    OverflowError or MemoryError where it is none."""
    header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    texts = msgspec.convert(header.pop(TEXTS, {}) if isinstance(header, dict) else None, dict[str, str])
    return msgspec.convert(header, dict[str, Entry]), texts


def unpack(entries: Mapping[str, Entry], body: memoryview) -> dict[str, Array]:
    """The arrays of a safetensors file, views of its `body`. ValueError or KeyError where they do not fit in it."""
    arrays = {}
    for name, entry in entries.items():
        kind, (first, last) = np.dtype(_TYPES[entry.dtype]), entry.data_offsets
        if not 0 <= first <= last <= len(body) or last - first != kind.itemsize * math.prod(entry.shape):
            raise ValueError("an array lies outside of the file")
        array = np.frombuffer(body[first:last], kind).reshape(entry.shape)
        arrays[name] = (array.astype(np.uint32) << 16).view(np.float32) if entry.dtype == "BF16" else array
    return arrays


def _read_safetensors(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    with open(path, "rb") as file:
        entries, texts = read_header(file)
        return unpack(entries, memoryview(file.read())), texts


def _read_npz(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    texts = json.loads(str(arrays.pop(TEXTS))) if TEXTS in arrays else {}
    return arrays, texts


def write(path: Path, arrays: Mapping[str, Array], texts: Mapping[str, str]) -> None:
    """Write a .safetensors or .npz file, all or nothing. Raises ModelError for another ending."""
    if path.suffix == ".npz":
        with files.replacing(path) as file:
            np.savez(file, **{TEXTS: np.array(json.dumps(dict(texts)))}, **arrays)  # type: ignore[arg-type]
        return
    if path.suffix != ".safetensors":
        raise ModelError(f"{path} has no ending that says what to write; use .safetensors or .npz")
    entries, parts = pack(arrays)
    head = json.dumps({TEXTS: dict(texts)} | msgspec.to_builtins(entries)).encode()
    files.write(path, joined(head + b" " * (-len(head) % 8), parts))


def pack(arrays: Mapping[str, Array]) -> tuple[dict[str, Entry], list[bytes]]:
    """The entries of a header for these arrays, and their bytes one after the other."""
    entries, parts, at = {}, [], 0
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array).tobytes()
        entries[name] = Entry(_NAMES[array.dtype], array.shape, (at, at + len(raw)))
        parts.append(raw)
        at += len(raw)
    return entries, parts


def joined(head: bytes, parts: Sequence[bytes]) -> bytes:
    """A safetensors file of this header and these arrays."""
    return b"".join([len(head).to_bytes(8, "little"), head, *parts])
