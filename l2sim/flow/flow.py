"""The flow: a generator of events from a job. Readers do the rest (console, run folder, report, window)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from l2sim._version import __version__
from l2sim.data.sets import DataSet
from l2sim.errors import JobError, RunError
from l2sim.flow import session as sessions
from l2sim.flow.control import Control
from l2sim.flow.registry import FLOWS
from l2sim.flow.session import Session, Values
from l2sim.flow.watch import watched
from l2sim.job.imperfections import chip_nonidealities
from l2sim.job.job import Job, to_dict
from l2sim.store.events import Checkpoint, Done, Epoch, Event
from l2sim.store.events import stages as stages_of
from l2sim.store.results import VERSION as REPORT_VERSION


def run(
    job: Job, data: Path | DataSet | None = None, checkpoint: Checkpoint | None = None, control: Control | None = None
) -> Iterator[Event]:
    """Run every stage of `job` that `checkpoint` has not finished. Resuming gives the events of a run never stopped.

    `control` acts between the events."""
    if not isinstance(job, Job):
        raise JobError(f"a run is of a job, not a {type(job).__name__}; use l2sim.Job.preset('digits')")
    control = Control() if control is None else control
    session = FLOWS[job.flow].open(job, data)
    for event in watched(_events(job, session, checkpoint, control), session):
        event = _timed(event, session)
        yield event
        yield from control.between(event, session)


def _timed(event: Event, session: Session) -> Event:
    """An epoch with the chips' clock, where biases wander with it: so readers make the chips again as they were."""
    if not isinstance(event, Epoch):  # first, for there are many steps
        return event
    imperfect = chip_nonidealities(session.job)
    if not (imperfect.drift_std or imperfect.step_std) or not session.geometry():
        return event
    return msgspec.structs.replace(event, scalars=event.scalars | {"clock_s": session.meter.clock})


def _events(job: Job, session: Session, checkpoint: Checkpoint | None, control: Control) -> Iterator[Event]:
    flow, names = FLOWS[job.flow], stages_of(job)
    done = {}
    first = 0
    if checkpoint is not None:
        sessions.restore(session, checkpoint)
        first = names.index(checkpoint.stage)
        if checkpoint.epoch < 0:
            first += 1
        else:
            done[checkpoint.stage] = checkpoint.epoch
    control.begin(session)
    for stage in names[first:]:
        try:
            yield from flow.stages[stage](session, done.get(stage, 0))
        except MemoryError as error:
            raise (error if job.device == "cpu" else RunError(too_large(error, job, stage))) from None
        if not session.results or session.results[-1]["name"] != stage:
            raise RunError(f"stage {stage} of flow {job.flow!r} ended without its result; it must yield session.finish")
        yield from sessions.checkpoint(session, stage, -1, keep=True)
    yield Done(report(session, job), session.figures)


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


def _bytes(size: re.Match[str]) -> str:
    count = int(size[1].replace(",", ""))
    return f"{count / 2**30:.1f} GiB" if count >= 2**29 else f"{count / 2**20:.1f} MiB"


def report(session: Session, job: Job) -> Values:
    """What `report.json` holds (docs/formats.md); `job` is as it was at the start."""
    changes = [{"step": change.step, "path": change.path, "value": change.value} for change in session.changes]
    return {
        "format": "l2sim-report",
        "version": REPORT_VERSION,
        "l2sim": __version__,
        "job": to_dict(job),
        "seed": session.job.seed,
        "device": session.job.device,
        "classes": session.data.classes,
        "seconds": sum(msgspec.convert(stage["seconds"], float) for stage in session.results),
        "stages": session.results,
        "test_cost": {**session.meter.state().get("test", {}), **session.billed("test")},
        **({"changes": changes} if changes else {}),
        **({"troubles": [msgspec.to_builtins(trouble) for trouble in session.troubles]} if session.troubles else {}),
    }
