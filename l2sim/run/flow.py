"""The flow: a generator of events from a job. Readers do the rest (console, run folder, report, window)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from l2sim._version import __version__
from l2sim.run import session as sessions
from l2sim.run.events import STAGES, Checkpoint, Done, Event
from l2sim.run.job import Job, to_dict
from l2sim.run.session import Session
from l2sim.run.stages import STAGES as RUN

REPORT_VERSION = 1


def run(job: Job, data: Path | None = None, checkpoint: Checkpoint | None = None) -> Iterator[Event]:
    """Run every stage of `job` that `checkpoint` has not finished. Resuming gives the events of a run never stopped."""
    session = sessions.open_session(job, data)
    done = {}
    first = 0
    if checkpoint is not None:
        sessions.restore(session, checkpoint)
        first = STAGES.index(checkpoint.stage)
        if checkpoint.epoch < 0:
            first += 1
        else:
            done[checkpoint.stage] = checkpoint.epoch
    for stage in STAGES[first:]:
        yield from RUN[stage](session, done.get(stage, 0))
        yield from sessions.checkpoint(session, stage, -1, keep=True)
    yield Done(report(session), session.figures)


def report(session: Session) -> dict[str, Any]:
    """What `report.json` holds (docs/formats.md)."""
    return {
        "format": "l2sim-report",
        "version": REPORT_VERSION,
        "l2sim": __version__,
        "job": to_dict(session.job),
        "seed": session.job.seed,
        "device": "cpu",
        "seconds": sum(stage["seconds"] for stage in session.results),
        "stages": session.results,
        "test_cost": session.meter.state().get("test", {}),
    }
