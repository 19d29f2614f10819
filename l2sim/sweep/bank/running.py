"""A bank in its folder: which chunks are open, who makes them, and what is written down.

The folder is the truth: a chunk whose file is there is done, whoever made it. So any process may be killed at any
moment, and running the bank again goes on.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import msgspec

from l2sim import files
from l2sim._version import __version__
from l2sim.errors import RunError
from l2sim.job import job as jobs
from l2sim.store.door import Newer, versioned
from l2sim.sweep.agenda import LOSSES, Counts, claimed, unpack
from l2sim.sweep.bank import chunk, summary
from l2sim.sweep.bank.plan import Bank
from l2sim.sweep.local import Engine
from l2sim.sweep.point import VERSIONS, Outcome, Task

FORMAT = 1
"""The newest `bank.json` this code reads."""
USAGE = "usage.jsonl"
"""What making the chunks took: no result, for it differs from run to run."""


class Begun(msgspec.Struct, frozen=True):
    """What `bank.json` says: the bank's id, and the bank."""

    format: str
    version: int
    id: str
    l2sim: str
    bank: Bank


def begin(bank: Bank, out: Path) -> tuple[IO[str], str]:
    """Make the folder of a bank, or see that it is this one's. Its lock, and the id it has. Raises RunError."""
    return claimed(out, chunk.FOLDER, "a bank is being made", lambda: _id(bank, out))


def _id(bank: Bank, out: Path) -> str:
    if (out / "bank.json").exists():
        begun = read(out)
        if what := _difference(begun.bank, bank):
            raise RunError(f"{out} holds another bank (it has another {what}); choose another --out")
        return begun.id
    if any(path.name not in (chunk.FOLDER, files.LOCK) for path in out.iterdir()):
        raise RunError(f"{out} is in use; choose another folder with --out")
    begun = Begun("l2sim-bank", FORMAT, uuid.uuid4().hex, __version__, bank)
    files.write(out / "bank.json", (json.dumps(msgspec.to_builtins(begun), indent=1) + "\n").encode())
    return begun.id


def read(out: Path) -> Begun:
    """What `bank.json` of a bank's folder says. Raises RunError."""
    try:
        begun = versioned((out / "bank.json").read_bytes(), Begun, FORMAT)
    except ValueError:
        raise RunError(f"{out / 'bank.json'} is damaged; start the bank again in another folder") from None
    except Newer as error:
        line = f"{out} was written by a newer l2sim (format {error.number}); install that version to go on"
        raise RunError(line) from None
    if begun.l2sim != __version__:
        raise RunError(f"{out} was begun with l2sim {begun.l2sim}, and this is {__version__}; go on with that version")
    return begun


def _difference(begun: Bank, wanted: Bank) -> str:
    """What is another one; where the file of weights lies does not matter."""
    for name in ("k", "by", "weights", "shapes", "digest"):
        if getattr(begun, name) != getattr(wanted, name):
            return {"shapes": "file of weights", "digest": "file of weights"}.get(name, name)
    different = jobs.differences(jobs.from_dict(begun.job), jobs.from_dict(wanted.job))
    return different[0] if different else ""


def run(
    bank: Bank,
    out: Path,
    engine: Callable[[], Engine],
    watch: Callable[[Counts], None] = lambda counts: None,
    say: Callable[[str], None] = lambda line: None,
) -> summary.Summary:
    """Make what is open of a bank in the folder `out`, on the engine that `engine` opens once there is something to do,
    and sum up. Raises RunError."""
    lock, key = begin(bank, out)
    with lock:
        left = deque(number for number in range(bank.chunks) if not (out / chunk.folder(number) / chunk.FILE).exists())
        if left:
            counts = Counts(bank.chunks, bank.chunks - len(left), 0)
            with engine() as opened, open(out / USAGE, "ab") as usage:
                for note in opened.notes:
                    say(note)
                for number, outcome in _rounds(bank, out, key, opened, left, counts, watch):
                    if outcome.row:
                        row = {"chunk": number, "worker": outcome.worker, **outcome.row}
                        usage.write(msgspec.json.encode(row) + b"\n")
                        usage.flush()
        return summary.summarise(bank, out, [out / chunk.folder(number) / chunk.FILE for number in range(bank.chunks)])


def _rounds(
    bank: Bank, out: Path, key: str, engine: Engine, left: deque[int], counts: Counts, watch: Callable[[Counts], None]
) -> Iterator[tuple[int, Outcome]]:
    """Hand out chunks until none is left; those that are done, and what they took. A chunk that cannot be made ends it,
    for there is none that is done without."""
    began, lost = time.monotonic(), dict[int, int]()
    while left or counts.running:
        for _ in range(engine.room()):
            if left:
                engine.submit(_task(bank, out, key, left.popleft()))
                counts.running += 1
        for task, outcome in engine.wait(0.2):
            counts.running -= 1
            if outcome.status == "done":
                if outcome.files:
                    unpack(outcome.files, out / task.folder)
                counts.done += 1
                counts.session += 1
                yield task.index, outcome
                continue
            lost[task.index] = lost.get(task.index, 0) + 1
            unfit = outcome.unfit and engine.exclude(outcome.worker)
            if (outcome.status == "failed" and not unfit) or lost[task.index] >= LOSSES:
                raise RunError(f"chunk {task.index} cannot be made: {outcome.error}; what is done stays in {out}")
            left.appendleft(task.index)
        counts.seconds = time.monotonic() - began
        watch(counts)


def _task(bank: Bank, out: Path, key: str, number: int) -> Task:
    return Task(
        index=number, name=f"{number}", folder=chunk.folder(number), root=str(out.absolute()), sweep=key,
        job=bank.job, bank=msgspec.to_builtins(msgspec.structs.replace(bank, job={})), data="", threads=1, source="",
        versions=VERSIONS,
    )  # fmt: skip
