"""The meter: what a chip was asked to do, counted where it is done and never estimated from outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, TypedDict, Unpack

import msgspec
import numpy as np

from l2sim.given import scalar


@dataclass
class Counts:
    """Totals of one stage, over all cores.

    `core_calls`: vectors sent through a core or a whole mesh, either way. `evaluations`: whole k x k responses read (k
    core calls each, which are counted in `core_calls` too). `writes`: heater and attenuator commands that changed.
    `accumulation_steps`: sequential electronic additions of partial sums. `tap_readings`: powers read inside a mesh.
    Core calls and additions are counted once more under the pass of a network that they belong to (`PASSES`).

    What time depends on, since all cores of a chip work side by side: `vectors`, one after the other; `settled`, how
    often they had to wait for what was written before; `loads`, blocks taken up by a pass. `clock_seconds`: what the
    clock went on by (`Meter.clock`).
    """

    core_calls: int = 0
    evaluations: int = 0
    writes: int = 0
    accumulation_steps: int = 0
    tap_readings: int = 0
    forward_core_calls: int = 0
    weight_gradient_core_calls: int = 0
    input_gradient_core_calls: int = 0
    forward_accumulation_steps: int = 0
    weight_gradient_accumulation_steps: int = 0
    input_gradient_accumulation_steps: int = 0
    vectors: int = 0
    settled: int = 0
    loads: int = 0
    clock_seconds: float = 0.0


Told = dict[str, dict[str, Any]]
"""Counts by stage, as plain numbers."""
Count = int | np.intp | np.int64
"""A whole number. One of a GPU counts as such: nobody waits for it."""


class Counted(TypedDict, total=False):
    """What `Meter.count` is told."""

    core_calls: Count
    evaluations: Count
    writes: Count
    accumulation_steps: Count
    tap_readings: Count
    vectors: int
    settled: int
    loads: Count


BY_PASS = ("core_calls", "accumulation_steps")
"""What is counted once more under the pass of a network."""
PASSES = ("forward", "weight_gradient", "input_gradient")
"""What light is sent for in a network; searches for phases are none of these."""


TESTS = "test"
"""The stage of what an observer does: it takes no time from the chips."""


class Meter:
    """Counts by stage. Chips of one network share a meter: each has a part of it, made by `of`, which counts its own,
    and the whole is their sum.

    `own` are the counts of this meter alone, by stage; `whole` is the meter that it is a part of, which knows the stage
    and the pass of a network (of `PASSES`) that are counted now.

    `clock` is the chips' time, s: every vector takes `call_seconds`, every wait for what was written `settle_seconds`.
    """

    def __init__(self, call_seconds: float = 0.0, settle_seconds: float = 0.0, whole: Meter | None = None) -> None:
        self.parts: dict[str, Meter] = {}
        self.call_seconds, self.settle_seconds = call_seconds, settle_seconds
        self.whole = self if whole is None else whole
        self.own: dict[str, Counts] = {}
        self.stage_now, self.pass_now = "idle", ""
        self._longest: int | None = None

    def of(self, chip: str) -> Meter:
        """The part of this meter that counts what is asked of `chip`."""
        return self.parts.setdefault(chip, Meter(whole=self))

    @property
    def current(self) -> str:
        """The stage that is counted now."""
        return self.whole.stage_now

    @property
    def clock(self) -> float:
        """Chip time that has passed, s: the sum of all stages, so that a checkpoint of the counts keeps it."""
        return sum(counts.clock_seconds for counts in self.whole.own.values())

    @property
    def stages(self) -> dict[str, Counts]:
        """The counts by stage, those of the parts added: sums to read, not to write."""
        if not self.parts:
            return self.own
        stages = dict.fromkeys(stage for meter in (self, *self.parts.values()) for stage in meter.own)
        return {stage: self.spent(stage) for stage in stages}

    def spent(self, stage: str) -> Counts:
        """The counts of one stage, those of the parts added; zeros where nothing was asked."""
        counted = [meter.own[stage] for meter in (self, *self.parts.values()) if stage in meter.own]
        if len(counted) == 1:
            return counted[0]
        return Counts(**{name: sum([getattr(counts, name) for counts in counted]) for name in COUNTED})

    def wait(self, seconds: float) -> None:
        """Let chip time pass. ChipError unless it goes forward."""
        self._passed(scalar(seconds, "a time to wait, s,", 0.0))

    def count(self, **numbers: Unpack[Counted]) -> None:
        """Add whole numbers to the current stage; those that may be on a GPU nobody waits for."""
        root = self.whole
        counts = self.own.get(root.stage_now) or self.own.setdefault(root.stage_now, Counts())
        if self._longest is not None:
            self._longest, numbers["vectors"] = max(self._longest, numbers.get("vectors", 0)), 0
        own, sent_for = counts.__dict__, root.pass_now
        for name, number in numbers.items():
            if type(number) is int and not number:  # an array of a GPU is not asked
                continue
            own[name] += number
            if sent_for and name in BY_PASS:
                own[f"{sent_for}_{name}"] += number
        vectors, settled = numbers.get("vectors", 0), numbers.get("settled", 0)
        if vectors or settled:
            self._passed(vectors * root.call_seconds + settled * root.settle_seconds)

    @contextmanager
    def side_by_side(self) -> Iterator[None]:
        """What the block asks of different cores happens at the same time: the longest probe counts as `vectors`."""
        self._longest = 0
        try:
            yield
        finally:
            longest, self._longest = self._longest, None
            self.count(vectors=longest)

    def _passed(self, seconds: float) -> None:
        """Move the clock on; tests by an observer take no time. Only the whole has a clock."""
        root = self.whole
        if seconds and root.stage_now != TESTS:
            (root.own.get(root.stage_now) or root.own.setdefault(root.stage_now, Counts())).clock_seconds += seconds

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what the block does under `name`."""
        root = self.whole
        before, root.stage_now = root.stage_now, name
        try:
            yield
        finally:
            root.stage_now = before

    def during(self, sent_for: str) -> During:
        """Count what the block does under a pass of `PASSES` too."""
        return During(self.whole, sent_for)

    def state(self) -> Told:
        """Everything counted so far, as plain numbers."""
        return {stage: plain(counts) for stage, counts in self.stages.items()}

    def restore(self, state: Told, parts: dict[str, Told] | None = None) -> None:
        """Continue from what `state` returned, of the whole and of its parts by chip."""
        self.own = msgspec.convert(state, dict[str, Counts])
        for part in self.parts.values():
            part.restore({})
        for chip, counted in (parts or {}).items():
            self.of(chip).restore(counted)
            for stage, counts in counted.items():
                for name, number in counts.items():
                    setattr(self.own[stage], name, getattr(self.own[stage], name) - number)


class During:
    """The block of `Meter.during`: a small step has several, and a generator would cost it three times as much."""

    def __init__(self, root: Meter, sent_for: str) -> None:
        self._root, self._sent_for = root, sent_for

    def __enter__(self) -> None:
        self._before, self._root.pass_now = self._root.pass_now, self._sent_for

    def __exit__(self, *error: object) -> None:
        self._root.pass_now = self._before


class Settling:
    """Heaters settle after they were written: the light that is sent next waits for all of them, once. What is lit
    together shares one (the two meshes and the attenuators of an `SvdChip`)."""

    def __init__(self) -> None:
        self.restless = False

    def wrote(self) -> None:
        """Something was written."""
        self.restless = True

    def waits(self) -> int:
        """How often light that is sent now has to wait: 1 after something was written, else 0."""
        waits, self.restless = int(self.restless), False
        return waits


COUNTED = tuple(item.name for item in fields(Counts))


def plain(counts: Counts) -> dict[str, Any]:
    """Counts by name as plain numbers, which wait for those of a GPU."""
    values = [(name, getattr(counts, name)) for name in COUNTED]
    return {name: value if isinstance(value, float) else int(value) for name, value in values}
