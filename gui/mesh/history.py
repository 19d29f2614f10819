"""The last frames of one block: how often each phase changed, and how one went. No Qt."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from l2sim.backend import Array
from l2sim.chip.protocol import PHASES

from .values import Key

if TYPE_CHECKING:
    from ..base.model import Layer, RunModel

KEPT = 512
BUDGET = 0.004
"""Seconds of its own that one look may take; what is left is read at the next one."""
LATER = 30
"""Milliseconds until the next look."""

Numbers = dict[Key, Array]


def series(layer: str, it: Layer) -> list[tuple[Key, str]]:
    """The series that the phases of a layer are recorded under."""
    if it.sigma is None:
        return [(("", kind), f"{layer}.{kind}") for kind in PHASES]
    return [*(((side, "theta"), part.name) for side, part in it.parts.items()), (("sigma", "sigma"), it.sigma)]


class History:
    """Frames of one block of one run, the last `KEPT`, read when asked for, newest first, and only where they are new.

    `pending` says that not all of them are read yet: ask again.
    """

    def __init__(self) -> None:
        self._of: tuple[Any, ...] = ()
        self._held: dict[int, Numbers] = {}
        self._steps: list[int] = []
        self._model: RunModel | None = None
        self._place = ("", 0)
        self._counted: tuple[list[int], Numbers] = ([], {})
        self.pending = False

    def of(self, model: RunModel | None, layer: str, block: int) -> None:
        """Turn to a block."""
        if (model, layer, block) != self._of:
            self._of, self._model, self._place = (model, layer, block), model, (layer, block)
            self._held, self._steps, self._counted, self.pending = {}, [], ([], {}), False

    def _follow(self, step: int | None) -> None:
        """Hold the last frames at or before `step`."""
        layer, block = self._place
        if self._model is None or layer not in self._model.layers:
            return
        wanted = self._recorded(layer)
        if step is not None:
            wanted = wanted[: np.searchsorted(wanted, step, side="right")]
        end = time.thread_time() + BUDGET
        held: dict[int, Numbers] = {}
        keep = wanted[-KEPT:].tolist()
        for s in reversed(keep):
            if s not in self._held and time.thread_time() > end and held:
                break
            frame = self._held.get(s)
            held[s] = self._read(layer, block, s) if frame is None else frame
        self.pending = len(held) < len(keep)
        self._held, self._steps = held, sorted(held)

    def _read(self, layer: str, block: int, step: int) -> Numbers:
        """One frame: of a whole mesh the arrays that the model holds, of a core a copy of its part."""
        assert self._model is not None
        it, found = self._model.layers[layer], {}
        for key, name in series(layer, it):
            frame = self._model.frame(name, step)
            if frame is not None:
                found[key] = frame.values if it.sigma is None else np.array(frame.values[block])
        return found

    def _recorded(self, layer: str) -> Array:
        assert self._model is not None
        it = self._model.layers[layer]
        names = [name for _, name in series(layer, it)][: None if it.sigma else 1]
        return np.unique(np.concatenate([np.asarray(self._model.frames(name), np.int64) for name in names]))

    def updates(self, step: int | None) -> tuple[Numbers, int]:
        """How many of the last frames changed each value, by key, and how many frames these were."""
        self._follow(step)
        steps, counts = self._counted
        if not steps or self._steps[: len(steps)] != steps:
            steps, counts = self._steps[:1], {}
        for before, now in zip(self._steps[len(steps) - 1 :], self._steps[len(steps) :]):
            for key, values in self._held[now].items():
                if key in self._held[before]:
                    counts.setdefault(key, np.zeros(len(values)))
                    counts[key] += self._held[before][key] != values
        self._counted = list(self._steps), counts
        return {key: count.copy() for key, count in counts.items()}, len(self._steps)

    def lines(self, keys: Iterable[Key], index: int, step: int | None) -> Iterator[tuple[Array, Array]]:
        """(steps, values) of one phase of each key over the last frames."""
        self._follow(step)
        for key in keys:
            found = [(s, self._held[s][key][index]) for s in self._steps if key in self._held[s]]
            steps, values = zip(*found) if found else ((), ())
            yield np.array(steps, float), np.array(values, float)
