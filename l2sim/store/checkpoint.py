"""Checkpoints on disk: atomic, checksummed, and readable by any safetensors reader.

A file is a safetensors file (8 bytes header length, a JSON header, raw little-endian arrays) whose `__metadata__` holds
the plain values as JSON text under "l2sim" and under "digest" the BLAKE2b digest of these values, of the rest of the
header and of the array bytes.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from l2sim import files
from l2sim.backend import Array
from l2sim.errors import RunError
from l2sim.store.events import Checkpoint

VERSION = 1
_NAMES = {"float64": "F64", "float32": "F32", "int64": "I64", "bool": "BOOL"}
_TYPES = {short: np.dtype(name) for name, short in _NAMES.items()}


def write(path: Path, checkpoint: Checkpoint, logs: dict[str, Any], durable: bool = True) -> None:
    """Write `checkpoint` and the positions of the logs to `path`, all or nothing; `durable` waits for the disk."""
    header: dict[str, Any] = {}
    parts: list[bytes] = []
    offset = 0
    for name, array in checkpoint.arrays.items():
        raw = np.ascontiguousarray(array).tobytes()
        ends = [offset, offset + len(raw)]
        header[name] = {"dtype": _NAMES[array.dtype.name], "shape": list(array.shape), "data_offsets": ends}
        parts.append(raw)
        offset += len(raw)
    values = {"version": VERSION, "stage": checkpoint.stage, "epoch": checkpoint.epoch, "step": checkpoint.step}
    text = json.dumps(values | {"values": checkpoint.values, "logs": logs})
    header["__metadata__"] = {"l2sim": text, "digest": _digest(text, json.dumps(header), parts)}
    head = json.dumps(header).encode()
    files.write(path, b"".join([len(head).to_bytes(8, "little"), head, *parts]), durable)


def read(path: Path) -> tuple[Checkpoint, dict[str, Any]]:
    """The checkpoint in `path` and the positions of the logs. RunError where it is damaged or from a newer l2sim."""
    try:
        content = path.read_bytes()
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + size])
        meta = header.pop("__metadata__")
        body = content[8 + size :]
        raw = {name: body[slice(*item["data_offsets"])] for name, item in header.items()}
        if meta["digest"] != _digest(meta["l2sim"], json.dumps(header), list(raw.values())):
            raise ValueError("checksum")
        values = json.loads(meta["l2sim"])
        if values["version"] > VERSION:
            raise RunError(f"{path} was written by a newer l2sim; install that version to read it")
        arrays: dict[str, Array] = {
            name: np.frombuffer(raw[name], _TYPES[item["dtype"]]).reshape(item["shape"]).copy()
            for name, item in header.items()
        }
    except FileNotFoundError:
        raise RunError(f"there is no checkpoint {path}; `ls {path.parent}` shows those there are") from None
    except (ValueError, KeyError, TypeError, IndexError):
        raise RunError(f"{path} is damaged; use the one before it (previous.safetensors) or start again") from None
    return Checkpoint(values["stage"], values["epoch"], values["step"], arrays, values["values"]), values["logs"]


def peek(path: Path) -> dict[str, Any]:
    """The plain values of a checkpoint, without its arrays and unchecked; empty where there is none."""
    try:
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        values: dict[str, Any] = json.loads(header["__metadata__"]["l2sim"])["values"]
        return values
    except (OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError):
        return {}


def _digest(text: str, header: str, parts: list[bytes]) -> str:
    digest = blake2b((text + header).encode(), digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
