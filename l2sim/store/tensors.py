"""Named arrays in files that other programs read and write: safetensors and .npz. Nothing in them is executed.

A safetensors file is 8 bytes header length, a JSON header (dtype, shape and place of each array, texts under
`__metadata__`), then the raw little-endian arrays. https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

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
"""The texts of a .npz file, as JSON."""


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


def _read_safetensors(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    held = path.read_bytes()
    size = int.from_bytes(held[:8], "little")
    header = json.loads(held[8 : 8 + size])
    texts = header.pop("__metadata__", {})
    body, arrays = memoryview(held)[8 + size :], {}
    for name, item in header.items():
        kind, (first, last) = np.dtype(_TYPES[item["dtype"]]), item["data_offsets"]
        if not 0 <= first <= last <= len(body) or last - first != kind.itemsize * math.prod(item["shape"]):
            raise ValueError("an array lies outside of the file")
        array = np.frombuffer(body[first:last], kind).reshape(item["shape"])
        if item["dtype"] == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        arrays[name] = array
    return arrays, texts


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
    header: dict[str, object] = {TEXTS: dict(texts)}
    parts, at = [], 0
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [at, at + len(raw)]}
        parts.append(raw)
        at += len(raw)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    files.write(path, b"".join([len(head).to_bytes(8, "little"), head, *parts]))
