"""Checkpoints on disk: atomic, checksummed, and readable by any safetensors reader.

The texts of a file (`l2sim.store.tensors`) are the plain values as JSON under "l2sim", and under "digest" the BLAKE2b
digest of these values, of the rest of the header and of the array bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import msgspec

from l2sim import files, naming
from l2sim.errors import RunError
from l2sim.store import tensors
from l2sim.store.door import Newer, parsed, versioned
from l2sim.store.events import Checkpoint
from l2sim.store.logs import Positions

VERSION = 2
"""The newest checkpoint this code reads."""


class _Values(msgspec.Struct):
    """The plain values of a checkpoint; `logs` are the lengths of the logs."""

    version: int
    stage: str
    epoch: int
    step: int
    values: dict[str, object]
    logs: dict[str, int]


class Counts(msgspec.Struct, frozen=True):
    """What the values of a checkpoint tell without its arrays: counts of the chips' meter by stage, and the seed of the
    chips. Empty where there is none."""

    meter: dict[str, dict[str, float]] = {}
    chip_seed: int | None = None


class _Peeked(msgspec.Struct):
    values: Counts


def write(path: Path, checkpoint: Checkpoint, logs: Positions | None, durable: bool = True) -> None:
    """Write `checkpoint` and the positions of the logs (None: there are none) to `path`, all or nothing; `durable`
    waits for the disk."""
    entries, parts = tensors.pack(checkpoint.arrays)
    places = _places(tuple(entries.items()))
    values = {"version": VERSION, "stage": checkpoint.stage, "epoch": checkpoint.epoch, "step": checkpoint.step}
    text = _text(values | {"values": checkpoint.values, "logs": logs._asdict() if logs else {}})
    texts = msgspec.json.encode({tensors.TEXTS: {"l2sim": text, "digest": _digest(text, places, parts)}})
    head = places.encode()[:-1] + b", " * bool(entries) + texts[1:]
    files.write(path, tensors.joined(head, parts), durable)


def read(path: Path) -> tuple[Checkpoint, Positions]:
    """The checkpoint in `path` and the positions of the logs. RunError where it is damaged or from a newer l2sim."""
    try:
        with open(path, "rb") as file:
            entries, texts = tensors.read_header(file)
            body = memoryview(file.read())
        text, places = texts["l2sim"], _places(tuple(entries.items()))
        if texts["digest"] != _digest(text, places, [body[slice(*entry.data_offsets)] for entry in entries.values()]):
            raise ValueError("checksum")
        values = versioned(text, _Values, VERSION)
        arrays = {name: array.copy() for name, array in tensors.unpack(entries, body).items()}
        if values.version == 1:
            arrays = naming.translated(arrays, naming.of_checkpoint_1)
        positions = Positions(**values.logs)
    except FileNotFoundError:
        raise RunError(f"there is no checkpoint {path}; `ls {path.parent}` shows those there are") from None
    except Newer:
        raise RunError(f"{path} was written by a newer l2sim; install that version to read it") from None
    except (ValueError, KeyError, TypeError, OverflowError, MemoryError):
        raise RunError(f"{path} is damaged; use the one before it (previous.safetensors) or start again") from None
    return Checkpoint(values.stage, values.epoch, values.step, arrays, values.values), positions


def peek(path: Path) -> Counts:
    """What a checkpoint tells without its arrays, unchecked."""
    try:
        with open(path, "rb") as file:
            return parsed(tensors.read_header(file)[1]["l2sim"], _Peeked).values
    except (OSError, ValueError, KeyError, OverflowError, MemoryError):
        return Counts()


def _text(values: Mapping[str, object]) -> str:
    """`values` as JSON, in which NaN may stand.

    msgspec writes it ten times as fast as Python, but null for what is not finite, and refuses subclasses of float and
    text that is not Unicode.
    """
    try:
        text = msgspec.json.encode(values)
    except (TypeError, ValueError):
        return json.dumps(values)
    return json.dumps(values) if b"null" in text else text.decode()


@lru_cache(4)
def _places(entries: tuple[tuple[str, tensors.Entry], ...]) -> str:
    """The header of the arrays, which stays the same from epoch to epoch, as Python writes it."""
    return json.dumps(msgspec.to_builtins(dict(entries)))


def _digest(text: str, places: str, parts: Iterable[bytes | memoryview]) -> str:
    digest = blake2b((text + places).encode(), digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
