"""The last frames of one block: how often each phase changed, and how one went. No Qt."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from l2sim.backend import Array

if TYPE_CHECKING:
    from ..base.model import Layer, RunModel

KEPT = 512
BUDGET = 0.004
"""Seconds of its own that one look may take; what is left is read at the next one."""
LATER = 30
"""Milliseconds until the next look."""

Key = tuple[str, str]
"""A side and a kind: what an array of values belongs to."""
Numbers = dict[Key, Array]


def series(layer: Layer) -> list[tuple[Key, str]]:
    """The series that the phases of a layer are recorded under."""
    if layer.sigma is None:
        return [(("", kind), name) for kind, name in layer.phases.items()]
    return [*(((side, "theta"), name) for side, name in layer.phases.items()), (("sigma", "sigma"), layer.sigma)]


class History:
    """Frames of one block of one run, the last `KEPT`, read when asked for, newest first, and only where they are new.

    `pending` says that not all of them are read yet: ask again.
    """

    def __init__(self) -> None:
        self._of: tuple[RunModel | None, str, int] = (None, "", 0)
        self._frames: dict[int, Numbers] = {}
        self._steps: list[int] = []
        self._counted: tuple[list[int], Numbers] = ([], {})
        self.pending = False

    def of(self, model: RunModel | None, layer: str, block: int) -> None:
        """Turn to a block."""
        if (model, layer, block) != self._of:
            self._of = model, layer, block
            self._frames, self._steps, self._counted, self.pending = {}, [], ([], {}), False

    def _follow(self, step: int | None) -> None:
        """Keep the last frames at or before `step`."""
        model, name, block = self._of
        if model is None or name not in model.layers:
            return
        layer = model.layers[name]
        wanted = recorded(model, layer)
        if step is not None:
            wanted = wanted[: np.searchsorted(wanted, step, side="right")]
        end = time.thread_time() + BUDGET
        frames: dict[int, Numbers] = {}
        keep = wanted[-KEPT:].tolist()
        for s in reversed(keep):
            if s not in self._frames and time.thread_time() > end and frames:
                break
            frame = self._frames.get(s)
            frames[s] = _read(model, layer, block, s) if frame is None else frame
        self.pending = len(frames) < len(keep)
        self._frames, self._steps = frames, sorted(frames)

    def updates(self, step: int | None) -> tuple[Numbers, int]:
        """How many of the last frames changed each value, by key, and how many frames these were."""
        self._follow(step)
        steps, counts = self._counted
        if not steps or self._steps[: len(steps)] != steps:
            steps, counts = self._steps[:1], {}
        for before, now in zip(self._steps[len(steps) - 1 :], self._steps[len(steps) :]):
            for key, values in self._frames[now].items():
                if key in self._frames[before]:
                    counts.setdefault(key, np.zeros(len(values)))
                    counts[key] += self._frames[before][key] != values
        self._counted = list(self._steps), counts
        return {key: count.copy() for key, count in counts.items()}, len(self._steps)

    def lines(self, keys: Iterable[Key], index: int, step: int | None) -> Iterator[tuple[Array, Array]]:
        """(steps, values) of one phase of each key over the last frames."""
        self._follow(step)
        for key in keys:
            points = [(s, self._frames[s][key][index]) for s in self._steps if key in self._frames[s]]
            steps, values = zip(*points) if points else ((), ())
            yield np.array(steps, float), np.array(values, float)


def _read(model: RunModel, layer: Layer, block: int, step: int) -> Numbers:
    """One frame: of a whole mesh the arrays that the model holds, of a core a copy of its part."""
    values = {}
    for key, name in series(layer):
        frame = model.frame(name, step)
        if frame is not None:
            values[key] = frame.values if layer.sigma is None else np.array(frame.values[block])
    return values


def recorded(model: RunModel, layer: Layer) -> Array:
    """Steps that have a frame of the layer, in order."""
    names = [name for _, name in series(layer)][: None if layer.sigma else 1]
    return np.unique(np.concatenate([np.asarray(model.frames(name), np.int64) for name in names]))
