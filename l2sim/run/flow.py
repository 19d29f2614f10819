"""The flow: a generator of events from a job. Readers do the rest (console, run folder, report, window)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from l2sim._version import __version__
from l2sim.errors import RunError
from l2sim.run import insitu, l2ight, stages
from l2sim.run import session as sessions
from l2sim.run.events import STAGES, Checkpoint, Done, Event
from l2sim.run.job import Job, to_dict
from l2sim.run.session import Session

REPORT_VERSION = 1


class Flow(NamedTuple):
    """What runs a flow: `open(job, data folder)` makes its session; `stages` by the names in `events.STAGES`."""

    open: Callable[[Job, Path | None], Any]
    stages: Mapping[str, Callable[[Any, int], Iterator[Event]]]


FLOWS = {
    "l2ight": Flow(l2ight.open_session, stages.STAGES),
    "insitu": Flow(insitu.open_session, insitu.STAGES),
}


def run(job: Job, data: Path | None = None, checkpoint: Checkpoint | None = None) -> Iterator[Event]:
    """Run every stage of `job` that `checkpoint` has not finished. Resuming gives the events of a run never stopped."""
    flow, names = FLOWS[job.flow], STAGES[job.flow]
    session = flow.open(job, data)
    done = {}
    first = 0
    if checkpoint is not None:
        sessions.restore(session, checkpoint)
        first = names.index(checkpoint.stage)
        if checkpoint.epoch < 0:
            first += 1
        else:
            done[checkpoint.stage] = checkpoint.epoch
    for stage in names[first:]:
        try:
            yield from flow.stages[stage](session, done.get(stage, 0))
        except MemoryError as error:
            raise (error if job.device == "cpu" else RunError(too_large(error, job, stage))) from None
        yield from sessions.checkpoint(session, stage, -1, keep=True)
    yield Done(report(session), session.figures)


def too_large(error: MemoryError, job: Job, stage: str) -> str:
    """The line for a GPU that is full: how much was needed, and the setting that shrinks it."""
    size, used = (re.search(rf"{what} ([\d,]+) bytes", str(error)) for what in ("allocating", "so far:"))
    needed = f"{_bytes(size)} more were needed" if size else "it is too small"
    if used:
        needed += f" beside {_bytes(used)} in use"
    batch = f"lower {stage}.batch = {getattr(job, stage).batch}" if stage in ("pretrain", "learn") else ""
    small = "" if job.precision == "float32" else "set precision = float32"
    cure = " or ".join(word for word in (batch, small) if word) or "use a smaller model"
    return f"device {job.device} is out of memory in {stage}: {needed}; {cure}"


def _bytes(found: re.Match[str]) -> str:
    count = int(found[1].replace(",", ""))
    return f"{count / 2**30:.1f} GiB" if count >= 2**29 else f"{count / 2**20:.1f} MiB"


def report(session: Session) -> dict[str, Any]:
    """What `report.json` holds (docs/formats.md)."""
    return {
        "format": "l2sim-report",
        "version": REPORT_VERSION,
        "l2sim": __version__,
        "job": to_dict(session.job),
        "seed": session.job.seed,
        "device": session.job.device,
        "seconds": sum(stage["seconds"] for stage in session.results),
        "stages": session.results,
        "test_cost": session.meter.state().get("test", {}),
    }
