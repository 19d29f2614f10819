"""Along what a run is drawn: its steps, epochs, stages, chip time, core calls or joules; and another run beside it.

An axis gives every step a place, and never falls; between what the run told of itself it goes evenly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from l2sim.backend import Array
from l2sim.inspect.run import Stage
from l2sim.store.events import EpochEnd, Record, StageEnd
from l2sim.store.follow import Curve

STEP, EPOCH, STAGE, TIME, CALLS, ENERGY = "step", "epoch", "stage", "chip time", "core calls", "energy"
LABELS = {
    STEP: "step", EPOCH: "epochs, of all stages", STAGE: "stages", TIME: "chip time (s), estimated",
    CALLS: "core calls", ENERGY: "energy (J), estimated",
}  # fmt: skip
"""Every axis, and what stands below a chart."""


class Followed(Protocol):
    """A run, as far as it tells where it is."""

    @property
    def newest(self) -> int:
        """The newest step."""
        ...

    @property
    def stages(self) -> list[Stage]:
        """The stages so far."""
        ...

    @property
    def events(self) -> list[Record]:
        """The rare events so far."""
        ...

    @property
    def series(self) -> list[str]:
        """Names of the scalar series."""
        ...

    def scalar(self, name: str) -> Curve:
        """One of them."""
        ...


class Axis(NamedTuple):
    """Steps that rise and their places, between which it goes evenly; without any the steps are the places. A place is
    NaN where the run beside has none."""

    kind: str
    steps: Array = np.empty(0)
    places: Array = np.empty(0)

    def at(self, steps: Array | float) -> Array:
        """The places of steps."""
        known = np.interp(steps, self.steps, self.places) if len(self.steps) else np.asarray(steps, float)
        return np.asarray(known)

    def step(self, place: float) -> float:
        """The step at a place."""
        has = np.isfinite(self.places)
        return float(np.interp(place, self.places[has], self.steps[has])) if has.any() else float(place)


class _Passed(NamedTuple):
    """A stage: the epochs that had ended (n,), from 0, and the steps at which they had."""

    name: str
    epochs: Array
    steps: Array


def axis(run: Followed, kind: str) -> Axis | str:
    """An axis of a run, or one line that says why it has none."""
    if kind == STEP:
        return Axis(STEP)
    if kind in (EPOCH, STAGE):
        passed = _passed(run)
        if not passed:
            return "no stage has begun yet"
        if kind == EPOCH and not any(isinstance(event, EpochEnd) for event in run.events):
            return "no epoch has ended yet"
        return _joined(kind, [one.steps for one in passed], _along(passed, kind))
    return _calls(run) if kind == CALLS else _summed(run, kind)


def axes(run: Followed) -> dict[str, Axis | str]:
    """Every axis of a run by its kind, or why it has none."""
    return {kind: axis(run, kind) for kind in LABELS}


def beside(other: Followed, run: Followed, kind: str) -> Axis | str:
    """The places of another run's steps on an axis of `run`: by chip time, core calls or joules its own, else those
    where `run` is in the same stage and at the same epoch, never at the same step. An epoch that `run` does not have
    lies beyond its end in its last stage, and nowhere in others."""
    if kind not in (STEP, EPOCH, STAGE):
        own, its = axis(run, kind), axis(other, kind)
        if kind == TIME and not isinstance(its, str) and _clocked(run) != _clocked(other):
            return "one of the runs tells the chips' clock, the other only the time by its device table"
        return own if isinstance(own, str) else its
    passed = _passed(run)
    places = dict(zip((one.name for one in passed), zip(passed, _along(passed, kind))))
    steps, lie = [], []
    for one in _passed(other):
        if one.name in places:
            known, where = places[one.name]
            at, there = _same_epochs(one, known, where, known is passed[-1])
        else:
            at, there = one.steps, np.full(len(one.steps), np.nan)
        steps.append(at)
        lie.append(there)
    if not any(np.isfinite(there).any() for there in lie):
        return "the runs have no stage in common yet"
    return Axis(kind, np.concatenate(steps), np.concatenate(lie))


def _same_epochs(one: _Passed, known: _Passed, where: Array, last: bool) -> tuple[Array, Array]:
    """Steps of a stage of the other run and where they lie among the places of the same stage."""
    end = known.epochs[-1]
    if last and len(where) > 1 and end > 0:
        pace = (where[-1] - where[0]) / end
        beyond = where[-1] + (one.epochs - end) * pace
        return one.steps, np.where(one.epochs > end, beyond, np.interp(one.epochs, known.epochs, where))
    inside = one.epochs <= end
    steps, there = one.steps[inside], np.interp(one.epochs[inside], known.epochs, where)
    if inside.all():
        return steps, there
    cut = float(np.interp(end, one.epochs, one.steps))
    return np.concatenate((steps, [cut, one.steps[-1]])), np.concatenate((there, [where[-1], np.nan]))


def _passed(run: Followed) -> list[_Passed]:
    """The stages with their epochs. A stage that tells none counts as one; an epoch that goes on is as long as the one
    before."""
    passed = []
    for stage in run.stages:
        ends = [(event.epoch, event.step) for event in run.events if isinstance(event, EpochEnd)
                and event.stage == stage.name]  # fmt: skip
        epochs, steps = [0.0, *(float(epoch) for epoch, _ in ends)], [stage.first_step, *(step for _, step in ends)]
        last = run.newest if stage.last_step is None else stage.last_step
        if last > steps[-1]:
            length = steps[-1] - steps[-2] if ends else last - steps[-1]
            goes_on = stage.last_step is None or not ends
            epochs.append(epochs[-1] + (min(1.0, (last - steps[-1]) / max(length, 1)) if goes_on else 0.0))
            steps.append(last)
        rising = np.maximum.accumulate
        passed.append(_Passed(stage.name, rising(np.array(epochs)), rising(np.array(steps, float))))
    return passed


def _along(passed: Sequence[_Passed], kind: str) -> list[Array]:
    """The places of every stage's epochs: its steps, epochs counted over all stages, or one unit a stage that takes any
    steps."""
    if kind == STEP:
        return [one.steps for one in passed]
    places, begun = [], 0.0
    for one in passed:
        size = one.epochs[-1] or 1.0
        own = one.epochs if kind == EPOCH else one.epochs / size * float(one.steps[-1] > one.steps[0])
        places.append(begun + own)
        begun += own[-1]
    return places


def _joined(kind: str, steps: Sequence[Array], places: Sequence[Array]) -> Axis:
    return Axis(kind, np.concatenate(steps), np.maximum.accumulate(np.concatenate(places)))


def _clocked(run: Followed) -> bool:
    """Whether the chips' clock was told."""
    return any(name.endswith("/clock_s") for name in run.series)


def _summed(run: Followed, kind: str) -> Axis | str:
    """Chip time or joules: what every stage told of itself, one stage after the other; the clock goes through all."""
    if kind == TIME and _clocked(run):
        curves = [run.scalar(name) for name in run.series if name.endswith("/clock_s")]
        steps, values = (np.concatenate(column) for column in list(zip(*curves))[:2])
        order = np.argsort(steps, kind="stable")
        return _joined(kind, [np.zeros(1), steps[order]], [np.zeros(1), values[order]])
    what = "chip_s" if kind == TIME else "energy_j"
    parts = [(stage, curve.steps, curve.values) for stage, curve in _told(run, what)]
    if not parts:
        return "no stage was billed for the chips' work yet"
    return _stacked(kind, parts)


def _told(run: Followed, what: str) -> Iterator[tuple[Stage, Curve]]:
    """The stages that tell something of themselves, with what they told."""
    for stage in run.stages:
        if f"{stage.name}/{what}" in run.series:
            yield stage, run.scalar(f"{stage.name}/{what}")


def _stacked(kind: str, parts: Sequence[tuple[Stage, Array, Array]]) -> Axis:
    steps, places, spent = [np.zeros(1)], [np.zeros(1)], 0.0
    for stage, at, values in parts:
        good = np.isfinite(values)
        steps.append(np.append(float(stage.first_step), at[good]))
        places.append(spent + np.append(0.0, values[good]))
        spent = float(places[-1].max())
    return Axis(kind, np.maximum.accumulate(np.concatenate(steps)), np.maximum.accumulate(np.concatenate(places)))


def _calls(run: Followed) -> Axis | str:
    """Core calls: as a stage tells them while it goes on, or evenly up to what it tells at its end."""
    results = {event.stage: event.result for event in run.events if isinstance(event, StageEnd)}
    going = {stage.name: curve for stage, curve in _told(run, "core_calls")}
    parts = []
    for stage in run.stages:
        curve, total = going.get(stage.name), results.get(stage.name, {}).get("core_calls", 0)
        if curve is not None:
            parts.append((stage, curve.steps, curve.values))
        elif isinstance(total, int | float) and total and stage.last_step is not None:
            parts.append((stage, np.array([float(stage.last_step)]), np.array([float(total)])))
        elif stage.last_step is None and f"{stage.name}/energy_j" in run.series:
            return f"{stage.name} tells its core calls when it ends"
    return _stacked(CALLS, parts) if parts else "no light was sent through a core yet"
