"""A run folder as a reader follows it: finished, still written, killed, with a torn tail (docs/formats.md).

`Replay.refresh` takes in what was appended since, and nothing else. Records up to the first damaged one count. Scalars
are held; frames stay on disk, where their places are known, and are decoded when asked for. A resumed run cuts its logs
back: that shows in the last record read, and everything is read again.
"""

from __future__ import annotations

import errno
import math
import os
import stat
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from l2sim import files
from l2sim.backend import Array
from l2sim.errors import RunError
from l2sim.job import job as jobs
from l2sim.store import logs
from l2sim.store.events import Record, Series, step_of
from l2sim.store.manifest import read_manifest

LOCK_EVERY = 0.5
"""Seconds between looks at the lock of a running run."""
CACHED = 256
"""Decoded frames that are kept, of all series."""


class Curve(NamedTuple):
    """A scalar series: steps, values and times (s since 1970), float64, views of what was read so far."""

    steps: Array
    values: Array
    times: Array


class Frame(NamedTuple):
    """A frame of a phase series at `step`, float32."""

    step: int
    values: Array


class Damage(NamedTuple):
    """A log that cannot be read to its end: `log` is phases, scalars or events, `file` where the first damaged record
    is, `size` how many bytes there are from it on, and `step` the newest one before it, None where there is none."""

    log: str
    file: str
    size: int
    step: int | None


class Growing:
    """Rows of numbers that grow at the end."""

    def __init__(self, columns: int, dtype: str) -> None:
        self._rows = np.empty((columns, 64), dtype)
        self.size = 0

    def extend(self, *columns: Sequence[int] | Array) -> None:
        """Append a run of numbers to every column."""
        size = self.size + len(columns[0])
        if size > self._rows.shape[1]:
            grown = np.empty((len(self._rows), max(size, 2 * self.size)), self._rows.dtype)
            grown[:, : self.size] = self._rows[:, : self.size]
            self._rows = grown
        for row, column in zip(self._rows, columns):
            row[self.size : size] = column
        self.size = size

    @property
    def columns(self) -> Array:
        """Everything so far, (columns, size), a view."""
        return self._rows[:, : self.size]


class _Cut(Exception):
    """A log no longer begins with what was read of it."""


class _Tail:
    """A log that grows at its end. `taken` bytes were understood; the last of them are compared before more is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._end = b""
        self.taken = 0
        self.left = b""
        """What lay behind the bytes taken when somebody last looked."""

    def news(self) -> bytes:
        """What lies behind the bytes taken. Raises `_Cut`."""
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        status = os.fstat(self._file)
        if stat.S_ISDIR(status.st_mode):  # it can be opened, and reading it would not say which it was
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self._path))
        size = status.st_size
        if size == self.taken and not size:
            return b""
        begin = self.taken - len(self._end)
        content = _read_at(self._file, begin, size - begin) if size > begin else b""
        if content[: len(self._end)] != self._end:
            raise _Cut
        return content[len(self._end) :]

    def take(self, content: bytes, size: int) -> None:
        """So many bytes of `content`, which follows what was taken before, are understood."""
        self.left = content[size:]
        if size:
            self.taken += size
            self._end = (self._end + content[:size])[-32:]

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _read_at(file: int, begin: int, size: int) -> bytes:
    parts = []
    while size > 0 and (part := os.pread(file, min(size, 1 << 30), begin)):
        parts.append(part)
        begin += len(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Replay:
    """Reads the run folder `root` (see the module). RunError where it is none or of a newer format.

    `manifest` and `job` are those of the folder; `events` the rare events so far; `shapes` of every phase series;
    `notice` one line when the logs were cut back by a resume.
    """

    _tail_events: _Tail
    _tail_scalars: _Tail
    _parts: dict[int, int]
    _sound: tuple[int, int]

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest = read_manifest(root)
        self.job = jobs.load(root / "job.toml")
        self.notice = ""
        self._stamp: tuple[int, int] | None = None
        self._locked, self._looked = False, 0.0
        self._begin()
        self.refresh()

    def refresh(self, logs: bool = True) -> set[str]:
        """Take in what is new: names among events, scalars, frames, state, reset (everything was read again).

        `logs` False leaves out events and scalars, which a stream brings (`feed`)."""
        changed = self._manifest()
        try:
            if logs:
                changed |= self._events(self._tail_events.news()) | self._scalars(self._tail_scalars.news())
            return changed | self._frames()
        except _Cut:
            self.close()
            self._begin()
            self.notice = "the run was resumed from its last checkpoint: what came after it is being computed again"
            self.refresh()
            return {"reset", "events", "scalars", "frames", "state"}

    def feed(self, topic: str, at: int, content: bytes) -> set[str] | None:
        """Take in a piece of a log, `event` or `scalar`, that begins at byte `at`. None where bytes before it are
        missing: `refresh` finds them."""
        tail = self._tail_events if topic == "event" else self._tail_scalars
        if at > tail.taken:
            return None
        content = content[tail.taken - at :]
        return self._events(content) if topic == "event" else self._scalars(content)

    @property
    def state(self) -> str:
        """`running`, `done`, `stopped`, `failed`, `killed`, or `deleted` where the folder has gone."""
        return "killed" if self.manifest.state == "running" and not self._locked else self.manifest.state

    @property
    def series(self) -> list[str]:
        """Names of the scalar series."""
        return [name for name, number in self._numbers.items() if not self.shapes[name] and number in self._curves]

    @property
    def frame_series(self) -> list[str]:
        """Names of the series of frames."""
        return [name for name, number in self._numbers.items() if number in self._index]

    def scalar(self, name: str) -> Curve:
        """A scalar series; empty where there is none."""
        rows = self._curves.get(self._numbers.get(name, -1))
        return Curve(*rows.columns) if rows else Curve(*np.empty((3, 0)))

    def steps(self, name: str) -> Array:
        """The steps at which a series has a frame, int64, rising."""
        places = self._index.get(self._numbers.get(name, -1))
        return places.columns[0] if places else np.empty(0, np.int64)

    def frame(self, name: str, step: int | None = None) -> Frame | None:
        """The newest frame of a series at or before `step`, bit for bit; None where there is none."""
        number = self._numbers.get(name, -1)
        places = self._index.get(number)
        if places is None:
            return None
        steps = places.columns[0]
        at = places.size - 1 if step is None else int(np.searchsorted(steps, step, side="right")) - 1
        while at >= 0:
            flat = self._decoded(number, at)
            if flat is not None:
                return Frame(int(places.columns[0, at]), flat.reshape(self.shapes[name]))
            at = min(at, places.size) - 1
        return None

    @property
    def damage(self) -> list[Damage]:
        """The logs of which a part cannot be read. The torn record at the end of one that is still written, or whose
        job was killed, is no damage."""
        torn = self.state in ("running", "killed")
        frames = [int(places.columns[0, -1]) for places in self._index.values() if places.size]
        steps = [step for event in self.events if (step := step_of(event)) is not None]
        spoilt = []
        if (phases := self._unread(torn)) is not None:
            spoilt.append(Damage("phases", *phases, max(frames, default=None)))
        for tail, log, file, whole, newest in (
            (self._tail_scalars, "scalars", "scalars.bin", len(self._tail_scalars.left) >= logs.SCALARS.itemsize,
             self.newest if self._curves else None),
            (self._tail_events, "events", "events.jsonl", b"\n" in self._tail_events.left, max(steps, default=None)),
        ):  # fmt: skip
            if tail.left and (whole or not torn):
                spoilt.append(Damage(log, file, len(tail.left), newest))
        return spoilt

    def verify(self, size: int) -> bool:
        """Read on, at least `size` bytes if there are so many, and compare checksums of frames that nobody has asked
        for yet; True where one is damaged, so that there are fewer frames now."""
        end = self._sound[1] + size
        while not self._broken and self._sound < (self._part, self._offset) and self._sound[1] < end:
            part, offset = self._sound
            head = self._piece(part, offset, logs.FRAME.size)
            if head is None:
                self._sound = part + 1, 0
                return False
            *_, length, crc = logs.FRAME.unpack(head)
            payload = self._piece(part, offset + len(head), length)
            if payload is None or zlib.crc32(payload, zlib.crc32(head[:-4])) != crc:
                self._break(part, offset)
                return True
            self._sound = part, offset + len(head) + length
        return False

    def deltas(self, name: str, first: int = 0) -> Iterator[tuple[int, Array | None]]:
        """(step, flat places that changed since the frame before; None: perhaps all) of every frame from `first`."""
        number = self._numbers.get(name, -1)
        places = self._index.get(number)
        for at in range(first, places.size if places else 0):
            record = self._record(number, at)
            if record is None or places is None or at >= places.size:
                break
            kind, payload = record
            changed = np.frombuffer(payload[: len(payload) // 2], "<u4") if kind == logs.DELTA else None
            yield int(places.columns[0, at]), changed

    def close(self) -> None:
        """Close the files."""
        for tail in (self._tail_events, self._tail_scalars):
            tail.close()
        for file in self._parts.values():
            os.close(file)
        self._parts.clear()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self.events: list[Record] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._numbers: dict[str, int] = {}
        self._sizes: dict[int, int] = {}
        self._curves: dict[int, Growing] = {}
        self.newest = 0
        """The newest step that has a scalar."""
        self._index: dict[int, Growing] = {}
        self._cache: dict[tuple[int, int], Array] = {}
        self._parts = {}
        self._tail_events = _Tail(self.root / "events.jsonl")
        self._tail_scalars = _Tail(self.root / "scalars.bin")
        self._part, self._offset = 0, 0
        self._mark: tuple[int, int, bytes] | None = None
        self._indexed = self._broken = False
        self._bad, self._promised, self._sound = (0, 0), (-1, 0), (0, 0)
        """Places: of the first damaged frame, of the last one in the index, and up to where checksums were compared."""

    def _manifest(self) -> set[str]:
        before = self.state
        try:
            stat = os.stat(self.root / "manifest.json")
            if (stamp := (stat.st_mtime_ns, stat.st_ino)) != self._stamp:
                self.manifest, self._stamp = read_manifest(self.root), stamp
                self._looked = 0.0
        except (OSError, RunError):
            if not self.root.exists():
                self.manifest = msgspec.structs.replace(self.manifest, state="deleted")
        if self.manifest.state == "running" and time.monotonic() - self._looked > LOCK_EVERY:
            self._looked, self._locked = time.monotonic(), files.held(self.root)
            if not self._locked:  # a run that ends frees the lock last; look again at what it left
                with suppress(RunError):
                    self.manifest = read_manifest(self.root)
        return {"state"} if self.state != before else set()

    def _events(self, content: bytes) -> set[str]:
        records, size = logs.parsed_events(content, self.root / "events.jsonl")
        self._tail_events.take(content, size)
        for record in records:
            if isinstance(record, Series):
                self._numbers[record.name], self.shapes[record.name] = record.id, record.shape
                self._sizes[record.id] = math.prod(record.shape)
        self.events += records
        return {"events"} if records else set()

    def _scalars(self, content: bytes) -> set[str]:
        table = logs.sound(content, logs.SCALARS)
        self._tail_scalars.take(content, table.nbytes)
        if not len(table):
            return set()
        self.newest = max(self.newest, int(table["step"][-1]))
        series = np.ascontiguousarray(table["series"])
        for number in np.flatnonzero(np.bincount(series)) if series.max() < 1 << 16 else np.unique(series):
            rows = table[series == number]
            curve = self._curves.setdefault(int(number), Growing(3, "f8"))
            curve.extend(rows["step"], rows["value"], rows["time"])
        return {"scalars"}

    def _frames(self) -> set[str]:
        """Places of new frames: those that the index knows when the folder is opened, the rest from head to head."""
        if self._broken:
            return set()
        news = False
        if not self._indexed:
            self._indexed, news = True, self._take_index()
        if self._mark and self._piece(*self._mark[:2], logs.FRAME.size) != self._mark[2]:
            raise _Cut
        while True:
            head = self._piece(self._part, self._offset, logs.FRAME.size)
            if head is None and self._offset == self._size(self._part) and self._size(self._part + 1):
                self._part, self._offset = self._part + 1, 0
                continue
            if head is None or not self._step_over(head):
                return {"frames"} if news else set()
            news = True

    def _step_over(self, head: bytes) -> bool:
        """Note the frame that begins with `head` and go to its end; False where it is not whole."""
        magic, _, _, number, step, _, size, _ = logs.FRAME.unpack(head)
        end = self._offset + len(head) + size
        if magic != logs.MAGIC or end > self._size(self._part):
            return False
        self._index.setdefault(number, Growing(3, "i8")).extend([step], [self._part], [self._offset])
        self._mark = self._part, self._offset, head
        self._offset = end
        return True

    def _take_index(self) -> bool:
        """The places in index.bin, without the last ones whose frames are not whole yet."""
        path = self.root / "index.bin"
        table = logs.sound(path.read_bytes() if path.exists() else b"", logs.PLACES)
        if len(table):
            self._promised = int(table["part"][-1]), int(table["offset"][-1])
        while len(table):
            part, offset = int(table["part"][-1]), int(table["offset"][-1])
            head = self._piece(part, offset, logs.FRAME.size)
            if head is not None:
                self._part, self._offset = part, offset
                magic, _, _, number, step, _, size, _ = logs.FRAME.unpack(head)
                known = (magic, number, step) == (logs.MAGIC, table["series"][-1], table["step"][-1])
                if known and offset + len(head) + size <= self._size(part):
                    break
            table = table[:-1]
        else:
            self._part, self._offset = 0, 0
            return False
        table = table[:-1]  # the last one is noted with its head
        series = np.ascontiguousarray(table["series"])
        for number in np.flatnonzero(np.bincount(series)) if len(series) else ():
            rows = table[series == number]
            self._index.setdefault(int(number), Growing(3, "i8")).extend(rows["step"], rows["part"], rows["offset"])
        return self._step_over(head)

    def _decoded(self, number: int, at: int) -> Array | None:
        """Frame `at` of a series, flat; None where it, or one it builds on, is damaged: all from there are gone."""
        records, first = [], at
        while (number, first) not in self._cache:
            record = self._record(number, first)
            if record is None:
                return None
            records.append(record)
            if record[0] == logs.KEY:
                break
            if first == 0:
                return None  # only what changed is there, and nothing that it changes
            first -= 1
        flat = self._cache.get((number, first))
        for kind, payload in reversed(records):
            flat = logs.applied(flat, kind, payload)
        assert flat is not None
        flat.flags.writeable = False
        self._cache.pop((number, at), None)
        self._cache[number, at] = flat
        while len(self._cache) > CACHED:
            del self._cache[next(iter(self._cache))]
        return flat

    def _record(self, number: int, at: int) -> tuple[int, bytes] | None:
        """Kind and payload of one frame as it lies on disk."""
        _, part, offset = (int(value) for value in self._index[number].columns[:, at])
        head = self._piece(part, offset, logs.FRAME.size)
        if head is not None:
            magic, kind, _, own, _, _, size, crc = logs.FRAME.unpack(head)
            payload = self._piece(part, offset + len(head), size)
            whole = payload is not None and zlib.crc32(payload, zlib.crc32(head[:-4])) == crc
            ours = whole and magic == logs.MAGIC and own == number
            if payload is not None and ours and logs.fits(kind, payload, self._sizes.get(number, 0)):
                return kind, payload
        self._break(part, offset)
        return None

    def _break(self, part: int, offset: int) -> None:
        """A frame is damaged: it and all behind it do not count."""
        self._broken, self._bad = True, (part, offset)
        for places in self._index.values():
            _, parts, offsets = places.columns
            places.size = int(np.count_nonzero((parts < part) | ((parts == part) & (offsets < offset))))

    def _unread(self, torn: bool) -> tuple[str, int] | None:
        """The phase file with the first frame that cannot be read, and how many bytes there are from it on; None where
        there is none, nor one that the index promises. `torn` allows a last frame that is not whole."""
        part, offset = self._bad if self._broken else (self._part, self._offset)
        later, size = part + 1, max(0, self._size(part) - offset)
        while more := self._size(later):
            later, size = later + 1, size + more
        if not self._broken:
            head = self._piece(part, offset, 4)
            if torn and (head is None or head == logs.MAGIC):
                return None
            if not size and self._promised < (part, offset):
                return None
        return logs.phase_file(self.root, part).name, size

    def _size(self, part: int) -> int:
        if part not in self._parts:
            try:
                self._parts[part] = os.open(logs.phase_file(self.root, part), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return 0
        return os.fstat(self._parts[part]).st_size

    def _piece(self, part: int, offset: int, size: int) -> bytes | None:
        """`size` bytes of a phase file; None where there are fewer."""
        if self._size(part) < offset + size:
            return None
        content = _read_at(self._parts[part], offset, size)
        return content if len(content) == size else None
