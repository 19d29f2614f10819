"""The meter: what a chip was asked to do, counted where it is done and never estimated from outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field


@dataclass
class Counts:
    """Totals of one stage, over all cores.

    `core_calls`: vectors sent through a core, either way. `evaluations`: whole k x k responses read (k core calls
    each, which are counted in `core_calls` too). `writes`: heater and attenuator commands that changed.
    `accumulation_steps`: sequential electronic additions of partial sums.
    """

    core_calls: int = 0
    evaluations: int = 0
    writes: int = 0
    accumulation_steps: int = 0


@dataclass
class Meter:
    """Counts by stage. Chips of one network share a meter."""

    current: str = "idle"
    stages: dict[str, Counts] = field(default_factory=dict)

    def count(self, *, core_calls: int = 0, evaluations: int = 0, writes: int = 0, accumulation_steps: int = 0) -> None:
        """Add to the current stage."""
        counts = self.stages.setdefault(self.current, Counts())
        counts.core_calls += int(core_calls)
        counts.evaluations += int(evaluations)
        counts.writes += int(writes)
        counts.accumulation_steps += int(accumulation_steps)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what the block does under `name`."""
        before, self.current = self.current, name
        try:
            yield
        finally:
            self.current = before

    def state(self) -> dict[str, dict[str, int]]:
        """Everything counted so far, as plain numbers."""
        return {name: asdict(counts) for name, counts in self.stages.items()}

    def restore(self, state: dict[str, dict[str, int]]) -> None:
        """Continue from what `state` returned."""
        self.stages = {name: Counts(**counts) for name, counts in state.items()}
