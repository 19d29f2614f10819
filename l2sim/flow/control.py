"""What acts on a run between its iterations: changes of its parameters. `run.stream.Live` adds readers that watch.

`flow.run` calls `between` after every event, when all readers of the event have seen it and nothing computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from l2sim.flow.session import Session
from l2sim.job import job as jobs
from l2sim.job.imperfections import effective
from l2sim.store.events import Changed, Epoch, Event, StageStarted, Step
from l2sim.store.logs import Positions

KINDS = {StageStarted: "stage", Step: "step", Epoch: "epoch"}
"""Events after which a parameter may change, a run may pause: the next iteration has not begun."""


class StopAsked(KeyboardInterrupt):
    """A reader asked the run to stop."""


class Control:
    """Makes again the `changes` that an earlier part of the run saw, each at its place (also as plain values).

    `flush` hands the logs to the operating system and says how long they are; whoever writes them sets it.
    """

    def __init__(self, changes: Iterable[Changed | Mapping[str, object]] = ()) -> None:
        self.changes = [msgspec.convert(change, Changed) for change in changes]
        self.flush: Callable[[], Positions] = lambda: Positions(0, 0, 0, 0, 0)

    def begin(self, session: Session) -> None:
        """Called once, with the session at its start, or as a checkpoint left it with the first changes made."""
        del self.changes[: len(session.changes)]

    def between(self, event: Event, session: Session) -> Iterator[Changed]:
        """Called after `event`; yields the changes that were made. May raise `StopAsked`."""
        if self.changes:
            yield from self._again(event, session)

    def close(self) -> None:
        """The run is over."""

    def _again(self, event: Event, session: Session) -> Iterator[Changed]:
        while self.changes and type(event) in KINDS:
            change = self.changes[0]
            if (change.stage, change.step, change.after) != (_stage(event), session.step, KINDS[type(event)]):
                return
            del self.changes[0]
            yield apply(session, event, change.path, change.value)


def apply(session: Session, event: Event, path: str, value: object) -> Changed:
    """Give a field of the session's job another value, after `event`. L2simError, and nothing changed, where it
    cannot have it."""
    before, session.job = session.job, jobs.changed(session.job, path, value)
    old, new = effective(before, path), effective(session.job, path)
    try:
        session.retune()
    except Exception:
        session.job = before
        session.retune()
        raise
    values = msgspec.to_builtins(new), msgspec.to_builtins(old)
    change = Changed(_stage(event), session.step, KINDS[type(event)], path, *values)
    session.changes.append(change)
    return change


def _stage(event: Event) -> str:
    assert isinstance(event, StageStarted | Step | Epoch), "these have a stage and an end"
    return event.stage
