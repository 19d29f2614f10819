"""Run folders of which records are altered and have right checksums again, each in one way."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from l2sim.store import logs


class Record(NamedTuple):
    """A record of phase-0000.bin without its checksum."""

    kind: int
    series: int
    step: int
    count: int
    payload: bytes


def records(folder: Path) -> list[Record]:
    """All records of a run's phase file, which is whole."""
    content, at, rows = (folder / "phase-0000.bin").read_bytes(), 0, []
    while at < len(content):
        _, kind, _, series, step, count, size, _ = logs.FRAME.unpack_from(content, at)
        at += logs.FRAME.size
        rows.append(Record(kind, series, step, count, content[at : at + size]))
        at += size
    return rows


def written(folder: Path, rows: list[Record]) -> None:
    """Write these records and the index of their places, all with right checksums."""
    phases, index = b"", b""
    for row in rows:
        head = logs.FRAME.pack(logs.MAGIC, row.kind, 0, row.series, row.step, row.count, len(row.payload), 0)[:-4]
        place = logs.INDEX.pack(row.step, row.series, 0, len(phases), 0)[:-4]
        phases += head + struct.pack("<I", zlib.crc32(row.payload, zlib.crc32(head))) + row.payload
        index += place + struct.pack("<I", zlib.crc32(place))
    (folder / "phase-0000.bin").write_bytes(phases)
    (folder / "index.bin").write_bytes(index)


def altered(folder: Path, name: str, kind: int, change: Callable[[Record], Record], last: bool = False) -> None:
    """Change the first (or last) record of this kind of the phase series `name`."""
    rows, number = records(folder), logs.series(folder)[name][0]
    places = [at for at, row in enumerate(rows) if (row.series, row.kind) == (number, kind)]
    at = places[-1 if last else 0]
    rows[at] = change(rows[at])
    written(folder, rows)


def short_frame(folder: Path) -> None:
    """A whole frame of one number less than its series has."""
    series = "conv1.sigma.commanded"
    altered(folder, series, logs.KEY, lambda row: row._replace(count=row.count - 1, payload=row.payload[:-4]))


def empty_frame(folder: Path) -> None:
    """A last frame that says how many numbers it has, and has none."""
    altered(folder, "conv1.u.phases", logs.KEY, lambda row: row._replace(payload=b""), last=True)


def odd_change(folder: Path) -> None:
    """A frame of changes that end in the middle of a number."""
    altered(folder, "conv1.u.phases", logs.DELTA, lambda row: row._replace(payload=bytes(33)))


def unknown_series(folder: Path) -> None:
    """A frame of a series that no event has named."""
    altered(folder, "conv1.u.phases", logs.KEY, lambda row: row._replace(series=65535), last=True)


def worded_version(folder: Path) -> None:
    """A format whose number is text."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"version": "one"}))


def nothing(folder: Path) -> None:
    """The run as it was."""
    written(folder, records(folder))
