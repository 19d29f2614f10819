"""What has become of every point of a sweep: `log.jsonl`, one line when a point has ended, written by one process.

A line is a JSON object (docs/formats.md). Reading keeps a state and a place in the file for every point, nine bytes;
a torn line at the end is cut off, and its point asked for again: its folder knows whether it is done.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path

import msgspec

from l2sim.errors import RunError
from l2sim.sweep.point import Number

OPEN, DONE, FAILED = 0, 1, 2
STATES = ("open", "done", "failed")
"""The states of a point by number, and their names."""


class Entry(msgspec.Struct, omit_defaults=True):
    """The end of a point. `row` are its results by column, `seconds` what each stage took."""

    index: int
    name: str
    status: str
    attempts: int = 1
    worker: str = ""
    error: str = ""
    seconds: dict[str, float] = {}
    row: dict[str, Number] = {}


class _Head(msgspec.Struct):
    index: int
    status: str


class Log:
    """The log of a sweep of `count` points; `states` by index. `write` lets this process append."""

    def __init__(self, path: Path, count: int, write: bool = False) -> None:
        self._path = path
        self.states = bytearray(count)
        self._places = array("q", bytes(8 * count))
        path.touch()
        self._file = open(path, "r+b" if write else "rb")  # noqa: SIM115
        head, at = msgspec.json.Decoder(_Head), 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            try:
                end = head.decode(line)
                if 0 <= end.index < count:
                    self.states[end.index], self._places[end.index] = STATES.index(end.status), at
            except ValueError:
                pass  # a line that nothing can be read from is as good as none
            at += len(line)
        if write:
            self._file.truncate(at)
            self._file.seek(at)
        self._end = at

    def add(self, entry: Entry) -> None:
        """Append an end; it is the operating system's when this returns."""
        line = msgspec.json.encode(entry) + b"\n"
        self._file.seek(self._end)
        self._file.write(line)
        self._file.flush()
        self.states[entry.index], self._places[entry.index] = STATES.index(entry.status), self._end
        self._end += len(line)

    def count(self, state: int) -> int:
        """How many points are in this state."""
        return self.states.count(state)

    def open_points(self) -> Iterator[int]:
        """The points that are not done, in order."""
        return (index for index, state in enumerate(self.states) if state != DONE)

    def entry(self, index: int) -> Entry | None:
        """How a point ended, if it did. RunError where its line is damaged."""
        if self.states[index] == OPEN:
            return None
        self._file.seek(self._places[index])
        try:
            return msgspec.json.decode(self._file.readline(), type=Entry)
        except ValueError as error:
            line = f"{self._path} has a line that is none ({error}); delete the file, and the sweep makes it again"
            raise RunError(line) from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()
