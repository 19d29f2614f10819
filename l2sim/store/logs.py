"""The append-only logs of a run folder: scalars, phases, rare events (docs/formats.md).

Every record ends in a checksum, so a torn tail (a killed run) is found and everything before it reads.
"""

from __future__ import annotations

import json
import math
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, get_args

import msgspec
import numpy as np

from l2sim import naming
from l2sim.backend import Array
from l2sim.errors import RunError
from l2sim.store import results
from l2sim.store.door import parsed
from l2sim.store.events import Record, Series, StageEnd
from l2sim.store.events import kind as kind_of

SCALAR = struct.Struct("<QdIdI")
"""step, time (s since the epoch), series, value, crc32 of what precedes."""
FRAME = struct.Struct("<4sBBHQIII")
"""magic, kind, reserved, series, step, number of values, payload bytes, crc32 of the rest and the payload."""
INDEX = struct.Struct("<QHHQI")
"""step, series, file number, offset, crc32 of what precedes."""
MAGIC = b"L2PF"
KEY, DELTA = 0, 1
KEY_EVERY = 64
"""Frames of a series from one whole frame to the next, at most."""
FILE_BYTES = 1 << 26
"""Bytes of a phase file, after which a new one begins."""
SCALARS = np.dtype([("step", "<u8"), ("time", "<f8"), ("series", "<u4"), ("value", "<f8"), ("crc", "<u4")])
PLACES = np.dtype([("step", "<u8"), ("series", "<u2"), ("part", "<u2"), ("offset", "<u8"), ("crc", "<u4")])
"""The records of scalars.bin and index.bin, for NumPy."""


def plain(value: object) -> object:
    """`value` (nested plain data) as strict JSON can hold it: a number that is not finite becomes None."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Positions(NamedTuple):
    """How long the logs are, in bytes; `part` is the number of the last phase file."""

    scalars: int = 0
    events: int = 0
    places: int = 0
    part: int = 0
    phases: int = 0


class Logs:
    """Writes the logs of the folder `root`. With `positions` it first cuts them back to where a checkpoint was."""

    def __init__(self, root: Path, positions: Positions | None = None) -> None:
        self.root = root
        self._series: dict[str, int] = {}
        self._last: dict[int, tuple[Array, int]] = {}
        self._part = 0
        if positions is not None:
            self._part = positions.part
            for name, size in zip(("scalars.bin", "events.jsonl", "index.bin"), positions):
                _cut(root / name, size)
            _cut(phase_file(root, positions.part), positions.phases)
            for later in root.glob("phase-*.bin"):
                if later > phase_file(root, positions.part):
                    later.unlink()
            self._series = {name: number for name, (number, _) in series(root).items()}
        self._scalars, self._events, self._index, self._phases = (
            open(path, "ab")  # noqa: SIM115
            for path in (root / "scalars.bin", root / "events.jsonl", root / "index.bin", phase_file(root, self._part))
        )

    def event(self, record: Record) -> None:
        """Append one rare event."""
        content = {"type": kind_of(record), **msgspec.structs.asdict(record)}
        text = json.dumps(plain(content), sort_keys=True, allow_nan=False)
        self._events.write(f'{{"event": {text}, "crc": "{zlib.crc32(text.encode()):08x}"}}\n'.encode())

    def scalars(self, step: int, time: float, values: dict[str, float]) -> None:
        """Append one record for every value."""
        for name, value in values.items():
            record = SCALAR.pack(step, time, self._number(name), value, 0)[:-4]
            self._scalars.write(record + zlib.crc32(record).to_bytes(4, "little"))

    def phases(self, step: int, frames: dict[str, Array]) -> None:
        """Append a frame (float32) of every series: a key frame, or only what changed since the frame before."""
        for name, frame in frames.items():
            series = self._number(name, frame.shape)
            flat = np.array(frame, "<f4").ravel()  # a copy: the caller may change its array in place
            before, age = self._last.get(series, (None, 0))
            kind, payload = KEY, flat.tobytes()
            if before is not None and age < KEY_EVERY:
                changed = np.flatnonzero(flat.view(np.uint32) != before.view(np.uint32)).astype("<u4")
                if 2 * changed.size < flat.size:
                    kind, payload = DELTA, changed.tobytes() + flat[changed].tobytes()
            self._last[series] = (flat, 1 if kind == KEY else age + 1)
            head = FRAME.pack(MAGIC, kind, 0, series, step, flat.size, len(payload), 0)[:-4]
            if self._phases.tell() > FILE_BYTES:
                self._phases.close()
                self._part += 1
                self._phases = open(phase_file(self.root, self._part), "ab")  # noqa: SIM115
            place = INDEX.pack(step, series, self._part, self._phases.tell(), 0)[:-4]
            self._phases.write(head + zlib.crc32(payload, zlib.crc32(head)).to_bytes(4, "little") + payload)
            self._index.write(place + zlib.crc32(place).to_bytes(4, "little"))

    def flush(self, durable: bool = False) -> Positions:
        """Hand everything to the operating system (`durable`: to the disk) and say how long the logs are."""
        for file in (self._scalars, self._events, self._phases, self._index):
            file.flush()
            if durable:
                os.fsync(file.fileno())
        return Positions(
            self._scalars.tell(), self._events.tell(), self._index.tell(), self._part, self._phases.tell()
        )

    def close(self) -> None:
        """Close the files."""
        for file in (self._scalars, self._events, self._phases, self._index):
            file.close()

    def _number(self, name: str, shape: tuple[int, ...] = ()) -> int:
        if name not in self._series:
            self._series[name] = len(self._series)
            self.event(Series(self._series[name], name, shape))
        return self._series[name]


# -- reading -----------------------------------------------------------------------------------------------------------


def events(root: Path) -> list[Record]:
    """All rare events up to the first damaged one; those of kinds that are not known are left out. Raises RunError."""
    path = root / "events.jsonl"
    return parsed_events(path.read_bytes() if path.exists() else b"", path)[0]


class _Line(msgspec.Struct):
    """A line of `events.jsonl`: an event and the checksum of its text."""

    event: dict[str, object]
    crc: str


_KINDS: dict[str, type[Record]] = {str(of.__struct_config__.tag): of for of in get_args(Record)}


def parsed_events(content: bytes, path: Path) -> tuple[list[Record], int]:
    """The events in whole lines of `content` up to the first damaged one, and the bytes they take. RunError that names
    the file `path` where one is whole and not as it should be."""
    records: list[Record] = []
    size = 0
    for line in content.splitlines(keepends=True):
        try:
            entry = parsed(line, _Line)
            text = json.dumps(entry.event, sort_keys=True)
            if int(entry.crc, 16) != zlib.crc32(text.encode()) or not line.endswith(b"\n"):
                break
        except ValueError:
            break
        of = _KINDS.get(str(entry.event.get("type")))
        if of is not None:
            try:
                record = msgspec.convert(entry.event, of)
                if isinstance(record, StageEnd):
                    record = msgspec.structs.replace(record, result=naming.of_result_1(record.result))
                    results.stage(record.result)
                if isinstance(record, Series):
                    rule = naming.of_frames_1 if record.shape else naming.of_scalar_1
                    record = msgspec.structs.replace(record, name=rule(record.name))
                records.append(record)
            except ValueError as error:
                raise RunError(f"{path} has an event that is none ({error}); copy it from the run again") from None
        size += len(line)
    return records, size


@cache
def _crc_tables(size: int) -> tuple[Array, int]:
    """CRC-32 of `size` bytes is affine: that of zeros, and for every 16-bit word what its value changes."""
    blank = zlib.crc32(bytes(size))
    single = np.empty((size, 256), np.uint32)
    for at in range(size):
        for value in range(256):
            single[at, value] = zlib.crc32(bytes(at) + bytes([value]) + bytes(size - at - 1)) ^ blank
    low, high = single[::2, None, :], single[1::2, :, None]
    return (low ^ high).reshape(size // 2, 65536), blank


def checksums(content: bytes, dtype: np.dtype) -> Array:
    """CRC-32 of all but the last four bytes of every record of `dtype` in `content`."""
    words = dtype.itemsize // 2 - 2
    rows = np.frombuffer(content, "<u2", len(content) // dtype.itemsize * (words + 2)).reshape(-1, words + 2)
    tables, blank = _crc_tables(2 * words)
    sums = np.full(len(rows), blank, np.uint32)
    for lo in range(0, len(rows), 1 << 14):  # some that stay in the processor's cache
        part = slice(lo, lo + (1 << 14))
        for table, word in zip(tables, rows[part].T):
            sums[part] ^= table.take(word)
    return sums


def sound(content: bytes, dtype: np.dtype) -> Array:
    """The records of `dtype` (its checksum `crc` comes last) in `content` up to the first damaged one."""
    table = np.frombuffer(content, dtype, len(content) // dtype.itemsize)
    bad = np.flatnonzero(checksums(content, dtype) != table["crc"])
    return table[: bad[0]] if bad.size else table


def series(root: Path) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Number and frame shape (empty for scalars) of every series, by name."""
    return {record.name: (record.id, record.shape) for record in events(root) if isinstance(record, Series)}


def scalars(root: Path) -> dict[str, tuple[Array, Array, Array]]:
    """(steps, times, values) of every scalar series by name, up to the first damaged record."""
    table = sound(_read(root / "scalars.bin"), SCALARS)
    curves = {}
    for name, (number, shape) in series(root).items():
        if not shape:
            rows = table[table["series"] == number]
            curves[name] = rows["step"].copy(), rows["time"].copy(), rows["value"].copy()
    return curves


def frames(root: Path, name: str) -> Iterator[tuple[int, Array]]:
    """(step, frame) of one phase series in order, up to the first damaged record."""
    number, shape = series(root)[name]
    for _, step, flat in _frames(root, {number: math.prod(shape)}):
        yield step, flat.reshape(shape)


def frames_at(root: Path, steps: Sequence[int]) -> list[dict[str, Array]]:
    """The newest frame of every phase series at or before each of `steps`, which must not fall. One pass."""
    named = {number: (name, shape) for name, (number, shape) in series(root).items() if shape}
    rows: list[dict[str, Array]] = []
    now: dict[str, Array] = {}
    for number, step, flat in _frames(root, {number: math.prod(shape) for number, (_, shape) in named.items()}):
        while len(rows) < len(steps) and step > steps[len(rows)]:
            rows.append(dict(now))
        if len(rows) == len(steps):
            break
        name, shape = named[number]
        now[name] = flat.reshape(shape)
    return rows + [dict(now) for _ in steps[len(rows) :]]


def _frames(root: Path, sizes: Mapping[int, int]) -> Iterator[tuple[int, int, Array]]:
    """(series, step, values) of the series whose frames have `sizes` values, in the order written, deltas applied."""
    last: dict[int, Array] = {}
    for number, step, kind, payload in _records(root):
        if number not in sizes or (kind == DELTA and number not in last):
            continue
        if not fits(kind, payload, sizes[number]):
            return
        last[number] = applied(last.get(number), kind, payload)
        yield number, step, last[number]


def fits(kind: int, payload: bytes, size: int) -> bool:
    """Whether this can be the payload of a frame of `size` values."""
    if kind == KEY:
        return len(payload) == 4 * size
    places = np.frombuffer(payload, "<u4", len(payload) // 8)
    return kind == DELTA and len(payload) % 8 == 0 and (not places.size or int(places.max()) < size)


def applied(before: Array | None, kind: int, payload: bytes) -> Array:
    """The flat frame that a record, whose payload `fits`, makes of the one before it."""
    if kind == KEY or before is None:
        return np.frombuffer(payload, "<f4")
    half, frame = len(payload) // 2, before.copy()
    frame[np.frombuffer(payload[:half], "<u4")] = np.frombuffer(payload[half:], "<f4")
    return frame


def _records(root: Path) -> Iterator[tuple[int, int, int, bytes]]:
    """(series, step, kind, payload) of every whole record up to the first damaged one."""
    part = 0
    while phase_file(root, part).exists():
        content, at = _read(phase_file(root, part)), 0
        while at < len(content):
            if at + FRAME.size > len(content):
                return
            magic, kind, _, number, step, _, size, crc = FRAME.unpack_from(content, at)
            payload = content[at + FRAME.size : at + FRAME.size + size]
            head = content[at : at + FRAME.size - 4]
            if magic != MAGIC or len(payload) < size or zlib.crc32(payload, zlib.crc32(head)) != crc:
                return
            yield number, step, kind, payload
            at += FRAME.size + size
        part += 1


def phase_file(root: Path, part: int) -> Path:
    """The phase file with this number."""
    return root / f"phase-{part:04d}.bin"


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _cut(path: Path, size: int) -> None:
    with open(path, "ab") as file:
        # Truncating a shorter file would fill it up with zeros, and hide all that is appended from the readers.
        if file.tell() < size:
            raise RunError(
                f"{path} is shorter than its checkpoint says (a power cut, or a copy cut short); "
                f"start from the last finished stage with `l2sim run --from {path.parent}`"
            )
        file.truncate(size)
