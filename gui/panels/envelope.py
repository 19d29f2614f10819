"""What a chart draws, and curves of millions of points drawn with as many as the screen has columns. No Qt here.

A pyramid keeps the least and the greatest value of every 2^n points and grows with the curve, so that a picture costs
by its width and not by the length of the run. (pyqtgraph's own decimation reads every point for every picture: 12 ms
for two curves of a million points.)
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from l2sim.backend import Array

BASE = 32
"""Points under one entry of the lowest level."""


class Band(NamedTuple):
    """A stage: its steps from `first` to `last`, its name, and which shade it has."""

    first: float
    last: float
    name: str
    shade: int


class Flag(NamedTuple):
    """Something that happened at a place, in words."""

    at: float
    words: str


class Line(NamedTuple):
    """A curve (n,) in the chart's own numbers, log10 on a logarithmic axis; gaps are NaN. `marks`: points, no line."""

    x: Array
    y: Array
    colour: str
    faint: bool = False
    dashed: bool = False
    marks: str = ""
    """"", "o" or "t": dots or triangles."""


class View(NamedTuple):
    """What is seen: steps from `low` to `high`, values (log10 on a logarithmic axis) from `bottom` to `top`."""

    low: float = 0.0
    high: float = 1.0
    bottom: float = 0.0
    top: float = 1.0


class Growing:
    """An array that grows at its end without being copied every time."""

    def __init__(self) -> None:
        self._values = np.empty(1024)
        self.size = 0

    def append(self, values: Array) -> None:
        """Add values at the end."""
        need = self.size + len(values)
        if need > len(self._values):
            longer = np.empty(max(need, 2 * len(self._values)))
            longer[: self.size] = self._values[: self.size]
            self._values = longer
        self._values[self.size : need] = values
        self.size = need

    @property
    def values(self) -> Array:
        """All of them, as a view."""
        return self._values[: self.size]


class Envelope:
    """The pyramid over one curve. Values that are not finite are left out and counted in `lost`."""

    def __init__(self) -> None:
        self._low: list[Growing] = []
        self._high: list[Growing] = []
        self.done = 0
        self.lost = 0

    def extend(self, values: Array) -> None:
        """Take in a curve (n,), of which all but the end was there before."""
        new = values[self.done :]
        self.lost += int(new.size - np.count_nonzero(np.isfinite(new)))
        self.done = len(values)
        level, low, high = 0, values, values
        while True:
            if level == len(self._low):
                self._low.append(Growing())
                self._high.append(Growing())
            factor = BASE if level == 0 else 2
            first = self._low[level].size
            count = len(low) // factor - first
            if count <= 0:
                break
            part = slice(first * factor, (first + count) * factor)
            self._low[level].append(np.fmin.reduce(_finite(low[part]).reshape(count, factor), axis=1))
            self._high[level].append(np.fmax.reduce(_finite(high[part]).reshape(count, factor), axis=1))
            low, high, level = self._low[level].values, self._high[level].values, level + 1

    def draw(self, steps: Array, values: Array, first: int, last: int, columns: int) -> tuple[Array, Array]:
        """Points (x, y) of a line that looks like the points `first` to `last` (not included) on so many columns."""
        count = last - first
        if count <= 4 * columns:
            return np.asarray(steps[first:last], float), _finite(values[first:last])
        size = BASE
        level = 0
        while size * 2 * columns <= count and level + 1 < len(self._low) and self._low[level + 1].size:
            size, level = size * 2, level + 1
        begin, end = first // size, min(last // size, self._low[level].size)
        low, high = self._low[level].values[begin:end], self._high[level].values[begin:end]
        x = np.repeat(np.asarray(steps[begin * size : end * size : size], float), 2)
        y = np.stack((low, high), axis=1).ravel()
        rest = _finite(values[end * size : last])
        if rest.size:
            x = np.append(x, (steps[end * size], steps[last - 1]))
            y = np.append(y, (np.fmin.reduce(rest), np.fmax.reduce(rest)))
        return x, y

    def span(self, values: Array, first: int, last: int) -> tuple[float, float]:
        """Least and greatest finite value of the points `first` to `last`; NaN where there is none."""
        _, y = self.draw(values, values, first, last, 256)
        return float(np.fmin.reduce(y, initial=np.nan)), float(np.fmax.reduce(y, initial=np.nan))


class Smooth:
    """The exponential moving average of a curve, started without bias: sum_i b^i v_(n-i) / sum_i b^i, finite v only."""

    def __init__(self, memory: float) -> None:
        self.memory = memory
        self._values = Growing()
        self._state = np.zeros(2)
        self.envelope = Envelope()

    def extend(self, values: Array) -> None:
        """Take in a curve of which all but the end was there before."""
        new = np.ascontiguousarray(values[self._values.size :], float)
        if new.size:
            self._values.append(_average(new, self.memory, self._state))
            self.envelope.extend(self._values.values)

    @property
    def values(self) -> Array:
        """The average after every point."""
        return self._values.values


@numba.njit(cache=True)
def _average(values, memory, state):  # type: ignore[no-untyped-def]
    """The next averages; `state` holds both sums and is carried on."""
    out = np.empty_like(values)
    for i in range(len(values)):
        if np.isfinite(values[i]):
            state[0] = memory * state[0] + values[i]
            state[1] = memory * state[1] + 1.0
        out[i] = state[0] / state[1] if state[1] > 0 else np.nan
    return out


def _finite(values: Array) -> Array:
    finite = np.isfinite(values)
    return values if finite.all() else np.where(finite, values, np.nan)
