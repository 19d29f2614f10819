"""Recorded frames of one block, as many as a picture has columns for, read a little at a time. No Qt."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from l2sim.backend import Array

from ...mesh import values as mesh_values
from ...mesh.geometry import travel
from ...mesh.history import recorded

if TYPE_CHECKING:
    from ...base.model import Layer, RunModel

COLUMNS = 512
"""Columns at most: of a longer run every second frame is shown, or every fourth, and so on."""
BUDGET = 0.012
"""Seconds of its own that one look may take; what is left is read at the next one."""


class Row(NamedTuple):
    """Whose phase a row is."""

    side: str
    element: int


class Sampled:
    """Phases of one kind of one block, step by step: `steps` (C,) of the columns, each the last of `stride` recorded
    ones, and the MZIs of the `rows`. What was read is kept, also when the stride doubles.

    `pending` says that not all columns are read yet: look again.
    """

    def __init__(self) -> None:
        self._of: tuple[RunModel | None, str, int, str] = (None, "", 0, "")
        self._resumed = 0
        self.recorded: Array = np.zeros(0, np.int64)
        self.steps: Array = np.zeros(0, np.int64)
        self.stride = 1
        self.pending = False
        self._read: dict[int, Array] = {}
        self._moved: dict[int, Array] = {}
        self._began: dict[int, Array] = {}

    def of(self, model: RunModel, layer: str, block: int, kind: str) -> None:
        """Turn to the phases of a `kind`, theta or phi, of a block."""
        if (model, layer, block, kind) != self._of or model.resumed != self._resumed:
            self._of, self._resumed = (model, layer, block, kind), model.resumed
            self._forget()

    def _forget(self) -> None:
        self._read, self._moved, self._began = {}, {}, {}
        self.recorded = self.steps = np.zeros(0, np.int64)

    @property
    def rows(self) -> list[Row]:
        """The MZIs in the order of the light, first V*, then U."""
        model, name, _, _ = self._of
        if model is None:
            return []
        parts = model.layers[name].parts
        return [Row(side, i) for side in travel(model.layers[name]) for i in range(len(parts[side].columns))]

    def look(self) -> None:
        """Take in new frames, as far as there is time for: first a few from everywhere, then those between."""
        model, name, *_ = self._of
        if model is None:
            return
        layer = model.layers[name]
        every = recorded(model, layer)
        self.recorded = every
        self.stride = 1
        while len(every) > COLUMNS * self.stride:
            self.stride *= 2
        ends = np.minimum(np.arange(self.stride - 1, len(every) + self.stride - 1, self.stride), len(every) - 1)
        self.steps = every[ends]
        kept = set(self.steps.tolist())
        for of_step in (self._read, self._moved):
            for step in of_step.keys() - kept:
                del of_step[step]
        end = time.thread_time() + BUDGET
        for at in _coarse_first(len(self.steps)):
            step = int(self.steps[at])
            if step not in self._read:
                if time.thread_time() > end:
                    break
                self._take(layer, step)
        self.pending = len(self._read) < len(self.steps)

    def _take(self, layer: Layer, step: int) -> None:
        """Read the column of a step."""
        model = self._of[0]
        assert model is not None
        phases = self._phases(layer, step)
        since = mesh_values.began(model, self.recorded, step)
        if since not in self._began:
            self._began[since] = self._phases(layer, since)
        self._read[step] = phases
        self._moved[step] = mesh_values.turned(phases - self._began[since])

    def _phases(self, layer: Layer, step: int) -> Array:
        """The phases of all rows at a step, NaN where there are none."""
        model, _, block, kind = self._of
        assert model is not None
        columns = []
        for side in travel(layer):
            frame = model.frame(layer.phases[side or kind], step)
            nothing = np.full(len(layer.parts[side].columns), np.nan)
            of_block = nothing if frame is None else frame.values[block] if layer.sigma else frame.values
            columns.append(np.asarray(of_block, np.float32))
        return np.concatenate(columns)

    def values(self, moved: bool) -> Array:
        """What was read, (C, rows): how far phases have moved since their stage began, or the phases themselves. A
        column that is not read yet is as the one before."""
        source = self._moved if moved else self._read
        known = [at for at, step in enumerate(self.steps.tolist()) if step in source]
        if not known:
            return np.zeros((0, len(self.rows)), np.float32)
        nearest = np.maximum(np.searchsorted(known, np.arange(len(self.steps)), side="right") - 1, 0)
        table: Array = np.stack([source[int(self.steps[at])] for at in known])[nearest]
        return table

    def column(self, step: int) -> int:
        """The column that `step` is in, -1 before the first."""
        return (int(np.searchsorted(self.recorded, step, side="right")) - 1) // self.stride


def _coarse_first(count: int) -> Array:
    """The last of `count` places, then every 512th, every 256th, and so on to all that are between."""
    at = np.arange(count)
    twos = np.where(at > 0, at & -at, COLUMNS * 2)
    twos[-1:] = COLUMNS * 4
    order: Array = np.argsort(-twos, kind="stable")
    return order
