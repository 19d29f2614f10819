"""Phase biases that wander while chip time passes: slow ones by themselves, and all at once when heat steps.

**Slow.** The bias of every heater is an Ornstein-Uhlenbeck process of stationary deviation s and correlation time tau
that starts at nought, where the fab left it (Uhlenbeck and Ornstein, Phys. Rev. 36, 823 (1930)):

    b(t + d) = b(t) e^{-d/tau} + s sqrt(1 - e^{-2d/tau}) z        exact for any d, z standard normal.

**Steps.** Something near switches on or off: at the moments of a Poisson process, the same for all chips of a seed,
every mesh is moved for good. What a balanced MZI feels is the difference between its arms, the local gradient of the
temperature; far from the source that is smooth, a constant and a slope along and across the mesh (heat reaches far on a
chip: Milanizadeh et al., J. Lightwave Technol. 37, 1325 (2019)). Their three coefficients are normal, drawn for every
mesh and step, and give a phase of the deviation `step_std` (rms over heaters).

The path is a function of the seed and of time, not of when it was looked at: normal variates are named by the place in
time that they belong to. At whole tau the chain above is drawn; in between Levy's construction halves the interval,
X((a + b)/2) given both ends a distance 2h apart being normal with

    mean (X_a + X_b) / (2 cosh h/tau),   variance s^2 tanh h/tau,

down to ticks of tau / 2^16, at which biases move (by 0.006 s). So two policies, or a run that was stopped and resumed,
see the same weather.
"""

from __future__ import annotations

import math
from copy import copy
from typing import NamedTuple

import numpy as np

from l2sim.backend import Array, generator
from l2sim.chip.nonidealities import Nonidealities

LEVELS = 16
TICKS = 1 << LEVELS
"""Moments in a correlation time at which slow biases move."""


class Age(NamedTuple):
    """How old a process is in its own unit of time (tau, the mean time between steps): `done` units at `clock`, and one
    more every `unit` seconds since. So a unit that changes while a run goes on bends the path and does not tear it."""

    done: float
    clock: float
    unit: float

    def at(self, clock: float) -> float:
        """The age when the clock shows `clock`."""
        return max(0.0, self.done + (clock - self.clock) / self.unit)


class Wander:
    """What the biases of a chip's heaters have wandered by. `sizes`: (M, n) of each part; `places` (n, 2): where the
    heaters of a mesh stand, along the light and across it."""

    def __init__(self, seed: int, name: str, sizes: dict[str, tuple[int, int]], places: Array) -> None:
        self._seed, self._name, self._sizes = seed, name, sizes
        self._profile = profile(places)
        self._std = self._step_std = 0.0
        self._slow = self._steps = Age(0.0, 0.0, math.inf)
        self._nodes: dict[str, tuple[int, Array, Array]] = {}
        self._interval = 0, 0, self._moments(0)
        self._told = 0, 0
        self.rows = slice(None)

    def of_core(self, row: int) -> Wander:
        """The same for a chip of one core, which is number `row` of the grid."""
        core = copy(self)
        core.rows = slice(row, row + 1)
        return core

    def tune(self, sheet: Nonidealities, clock: float) -> None:
        """Go on with these parameters from `clock`; biases are to be taken as not wandered until `moved` says so."""
        self._std, self._step_std, self._told = sheet.drift_std, sheet.step_std, (0, 0)
        if self._slow.unit != sheet.drift_seconds:
            self._slow = Age(self._slow.at(clock), clock, sheet.drift_seconds)
        if self._steps.unit != sheet.step_seconds:
            self._steps = Age(self._steps.at(clock), clock, sheet.step_seconds)

    def moved(self, clock: float) -> bool:
        """Whether biases are others than when this was last asked."""
        if not (self._std or self._step_std):
            return False
        tick = int(self._slow.at(clock) * TICKS) if self._std else 0
        steps = self._count(self._steps.at(clock)) if self._step_std else 0
        if (tick, steps) == self._told:
            return False
        self._told = tick, steps
        return True

    def biases(self, part: str) -> Array:
        """What adds to the biases of a part now, (M, n), rad; as of the last `moved`."""
        tick, steps = self._told
        out = np.zeros(self._sizes[part])
        if self._std and tick:
            out += self._std * self._path(part, tick)
        if self._step_std and steps:
            out += self._step_std * (self._stepped(part, steps) @ self._profile.T)
        return out[self.rows]

    def state(self) -> list[list[float]]:
        """What a checkpoint needs beside the clock."""
        return [list(self._slow), list(self._steps)]

    def restore(self, state: list[list[float]]) -> None:
        """Go on from what `state` returned."""
        self._slow, self._steps = (Age(*values) for values in state)
        self._told = 0, 0

    # -- slow ----------------------------------------------------------------------------------------------------------

    def _normal(self, part: str, segment: int, tick: int) -> Array:
        """The variates of the moment `tick` of a correlation time."""
        return generator(self._seed, "drift", self._name, part, segment, tick).standard_normal(self._sizes[part])

    def _path(self, part: str, tick: int) -> Array:
        """The process of unit deviation and unit correlation time at so many ticks, (M, n)."""
        segment, within = divmod(tick, TICKS)
        low, high = self._ends(part, segment)
        at, span = 0, TICKS
        while at < within:
            half = span // 2
            h = half / TICKS
            middle = (low + high) / (2.0 * math.cosh(h))
            middle += math.sqrt(math.tanh(h)) * self._normal(part, segment, at + half)
            low, high, at = (middle, high, at + half) if within >= at + half else (low, middle, at)
            span = half
        return low

    def _ends(self, part: str, segment: int) -> tuple[Array, Array]:
        """The process at the beginning and at the end of a correlation time."""
        known = self._nodes.get(part)
        if known is None or known[0] > segment:
            zero = np.zeros(self._sizes[part])
            known = 0, zero, self._next(part, 0, zero)
        while known[0] < segment:
            known = known[0] + 1, known[2], self._next(part, known[0] + 1, known[2])
        self._nodes[part] = known
        return known[1], known[2]

    def _next(self, part: str, segment: int, low: Array) -> Array:
        """One correlation time later."""
        return math.exp(-1.0) * low + math.sqrt(1.0 - math.exp(-2.0)) * self._normal(part, segment, 0)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _moments(self, interval: int) -> Array:
        """When within a mean time between steps there are some, in order: the same for all chips of a seed."""
        rng = generator(self._seed, "drift", "steps", interval)
        return np.sort(rng.uniform(size=rng.poisson(1.0)))

    def _count(self, age: float) -> int:
        """How many steps there have been."""
        whole, (at, before, moments) = int(age), self._interval
        if whole < at:
            at, before, moments = 0, 0, self._moments(0)
        while at < whole:
            at, before, moments = at + 1, before + moments.size, self._moments(at + 1)
        self._interval = at, before, moments
        return before + int(np.searchsorted(moments, age - whole, side="right"))

    def _stepped(self, part: str, steps: int) -> Array:
        """The sum of the coefficients of so many steps, (M, 3)."""
        total, meshes = np.zeros((self._sizes[part][0], 3)), self._sizes[part][0]
        for number in range(steps):
            rng = generator(self._seed, "drift", "step", self._name, part, number)
            total += rng.standard_normal((meshes, 3))
        return total


def profile(places: Array) -> Array:
    """A constant and two slopes over the heaters of a mesh, (n, 3), of equal weight and one in all (rms)."""
    columns = [np.ones(len(places))]
    for axis in places.T.astype(float):
        centred = axis - axis.mean() if axis.size else axis
        size = np.sqrt(np.mean(centred**2)) if axis.size else 0.0
        columns.append(centred / size if size else np.zeros_like(centred))
    out = np.stack(columns, axis=1)
    even: Array = out / np.sqrt(max(1, int((out != 0).any(axis=0).sum())))
    return even
