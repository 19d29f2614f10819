"""How noisy readings are: measured where a setting was read more than once, believed from the data sheet elsewhere.

Readings of one setting differ by noise alone, once heat has come to rest: the first of them is left out, for it may
show what was commanded before. So does how bright all cores are together, if the laser changes: that is taken off. Over
all cores (one lab, one kind of detector) the mean square of their differences is fitted by a law,

    std^2 = floor^2 + (relative level)^2,

the second term where it is seen. What is read again is the last setting, without a write between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from l2sim.backend import Array
from l2sim.chip.nonidealities import Nonidealities
from l2sim.learn.twin.fit import NOISE_FLOOR, Probes, Twin

WANTED, MOST = 4000, 8
"""Differences that say enough of the noise, and repeated readings at most."""
SEEN = 4.0
"""Standard deviations from which on noise is taken to grow with the level."""


class Noise(NamedTuple):
    """The law of readings' noise: `floor`, `relative`; the root mean square `level` of it over what was read; how many
    `differences` it was measured from, 0 where it is believed."""

    floor: float
    relative: float
    level: float
    differences: int

    def std(self, read: Array) -> Array:
        """Standard deviations of readings around `read`."""
        std: Array = np.sqrt(self.floor**2 + (self.relative * read) ** 2)
        return std

    @property
    def unsure(self) -> float:
        """The variance of the logarithm of its square."""
        return 2.0 / self.differences if self.differences else 0.0


@dataclass(frozen=True)
class Record:
    """What was read of cores: `base` settings with sigma of +1 and -1, those `beside` that show attenuators, if any,
    and the `noise` of both."""

    base: Probes
    beside: Probes | None
    noise: Noise

    def of(self, cores: Array) -> Record:
        """That of the cores with these indices."""
        return Record(self.base.of(cores), self.beside and self.beside.of(cores), self.noise)

    def then(self, more: Record) -> Record:
        """This and what was read later of the same cores. The noise that was measured from more cores counts."""
        noise = self.noise if self.noise.differences >= more.noise.differences else more.noise
        both = self.beside is not None and more.beside is not None
        beside = self.beside.then(more.beside) if both else self.beside or more.beside  # type: ignore[union-attr, arg-type]
        return Record(self.base.then(more.base), beside, noise)

    @property
    def whole(self) -> Probes:
        """All settings."""
        return self.base if self.beside is None else self.base.then(self.beside)


def repeats(cores: int, modes: int) -> int:
    """How many times the last setting is read again."""
    return int(min(MOST, 1 + max(1, -(-WANTED // (cores * modes * modes)))))


def believed(sheet: Nonidealities) -> Noise:
    """What the data sheet says."""
    level = max(sheet.readout_noise, NOISE_FLOOR)
    return Noise(level, 0.0, level, 0)


def of_twins(twins: Twin, sheet: Nonidealities) -> float:
    """The noise that was measured when twins were identified; the data sheet's where none was."""
    known = twins.noise[twins.noise > 0.0]
    return float(np.median(known)) if known.size else believed(sheet).level


def measured(probes: Probes, sheet: Nonidealities) -> Noise:
    """From settings of `probes` that are the same as the one before; the data sheet's where there are none."""
    again = np.ones(probes.seen.shape[1], bool)
    for commands in (probes.drive, probes.sigma, probes.light[None]):
        same = (commands[:, 1:] == commands[:, :-1]).reshape(*commands[:, 1:].shape[:2], -1).all(axis=(0, 2))
        again[1:] &= same
    again[0] = False
    if not again.any():
        return believed(sheet)
    at = np.flatnonzero(again)
    first = at[0] - (len(at) == 1)
    runs = probes.seen[:, first : at[-1] + 1].astype(float)  # the same setting, read several times
    mean = runs.mean(axis=1)
    off = runs - mean[:, None]
    bright = (off * mean[:, None]).sum(axis=(0, 2, 3)) / max(float((mean**2).sum()), 1e-30)
    off -= bright[:, None, None] * mean[:, None]
    square = (off**2).sum(axis=1) / (runs.shape[1] - 1)
    return _law(square.ravel(), mean.ravel() ** 2, runs.shape[1] - 1, probes)


def _law(square: Array, power: Array, each: int, probes: Probes) -> Noise:
    """The law by squares of deviations at levels of this `power`, of so many differences `each`."""
    floor, slope, sure = float(square.mean()), 0.0, False
    for _ in range(4):
        weight = 1.0 / np.maximum(floor + slope * power, 1e-12) ** 2
        table = np.stack((np.ones_like(power), power), axis=1)
        normal = (table * weight[:, None]).T @ table
        fitted = np.linalg.solve(normal, (table * weight[:, None]).T @ square)
        sure = bool(fitted[1] > SEEN * np.sqrt(2.0 / each * np.linalg.inv(normal)[1, 1]))
        floor, slope = max(float(fitted[0]), 1e-3 * float(square.mean())), max(float(fitted[1]), 0.0)
    if not sure:
        floor, slope = float(square.mean()), 0.0
    floor = max(floor, NOISE_FLOOR**2)
    level = float(np.sqrt(floor + slope * np.mean(probes.seen.astype(float) ** 2)))
    return Noise(float(np.sqrt(floor)), float(np.sqrt(slope)), level, square.size * each)
