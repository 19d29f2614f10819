"""The meter: what a chip was asked to do, counted where it is done and never estimated from outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from l2sim.backend import namespace


@dataclass
class Counts:
    """Totals of one stage, over all cores.

    `core_calls`: vectors sent through a core or a whole mesh, either way. `evaluations`: whole k x k responses read (k
    core calls each, which are counted in `core_calls` too). `writes`: heater and attenuator commands that changed.
    `accumulation_steps`: sequential electronic additions of partial sums. `tap_readings`: powers read inside a mesh.
    Core calls and additions are counted once more under the pass of a network that they belong to (`PASSES`).
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


PASSES = ("forward", "weight_gradient", "input_gradient")
"""What light is sent for in a network; searches for phases are none of these."""


@dataclass
class Meter:
    """Counts by stage. Chips of one network share a meter."""

    current: str = "idle"
    sent_for: str = ""
    stages: dict[str, Counts] = field(default_factory=dict)

    def count(
        self,
        *,
        core_calls: Any = 0,
        evaluations: Any = 0,
        writes: Any = 0,
        accumulation_steps: Any = 0,
        tap_readings: Any = 0,
    ) -> None:
        """Add whole numbers to the current stage; some may be on a GPU, which nobody waits for."""
        counts = self.stages.setdefault(self.current, Counts())
        counts.core_calls += _whole(core_calls)
        counts.evaluations += _whole(evaluations)
        counts.writes += _whole(writes)
        counts.accumulation_steps += _whole(accumulation_steps)
        counts.tap_readings += _whole(tap_readings)
        if self.sent_for:
            for what, number in (("core_calls", core_calls), ("accumulation_steps", accumulation_steps)):
                name = f"{self.sent_for}_{what}"
                setattr(counts, name, getattr(counts, name) + _whole(number))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what the block does under `name`."""
        before, self.current = self.current, name
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def during(self, sent_for: str) -> Iterator[None]:
        """Count what the block does under a pass of `PASSES` too."""
        before, self.sent_for = self.sent_for, sent_for
        try:
            yield
        finally:
            self.sent_for = before

    def state(self) -> dict[str, dict[str, int]]:
        """Everything counted so far, as plain numbers."""
        return {
            name: {item.name: int(getattr(counts, item.name)) for item in fields(counts)}
            for name, counts in self.stages.items()
        }

    def restore(self, state: dict[str, dict[str, int]]) -> None:
        """Continue from what `state` returned."""
        self.stages = {name: Counts(**counts) for name, counts in state.items()}


def _whole(count: Any) -> Any:
    """A count as a whole number; one that a GPU has yet to tell stays there until somebody asks."""
    return int(count) if namespace(count) is np else count
