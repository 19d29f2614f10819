"""Twins of cores with stuck heaters: which of two mirror images is the right one.

A stuck heater holds its MZI at some theta whatever is commanded. -theta looks almost the same: with Z the signs that
turn all rails on one side of this MZI, its own rail there included,

    Z R(theta) Z = R(-theta),

MZIs with both rails in Z do not change, and where these rails pair up in the columns before and behind, Z is a half
turn of the MZIs there, whose biases take it up. A healthy heater would have to turn backwards. Only what its neighbours
leak tells: it adds to theta in one image, and takes from it in the other. So a fit that began in the wrong one stays
there, with a residual a little higher than noise explains, or not identified; both are tried. The use of this
identity is our own; `tests/learn/twin/test_twin.py` holds it against products of dense rotations.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from l2sim.backend import Array
from l2sim.learn.twin.fit import STUCK, Probes, Twin
from l2sim.mesh.mesh import Mesh

CLEAR = 0.999
"""Share of the misfit below which an image explains more. Without crosstalk both explain as much: either will do."""


def settled(mesh: Mesh, twins: Twin, probes: Probes, fit: Callable[[Probes, Twin], Twin]) -> Twin:
    """The twins (M) `twins` from `probes`, where heaters are stuck fitted once more with these held at no strength, and
    from mirror images, which are kept where they explain more; if all that does not identify a core, as it was."""
    turns, trial = half_turns(mesh), twins.of(np.arange(len(twins.misfit)))
    left = np.flatnonzero((trial.ratio < STUCK).any(axis=1))

    def again(cores: Array, start: Twin, clear: float) -> Array:
        start.ratio[start.ratio < STUCK] = 0.0
        fresh = fit(probes.of(cores), start)
        better = fresh.misfit < clear * start.misfit
        trial.put(cores[better], fresh.of(better))
        return cores[better]

    while len(left):
        again(left, trial.of(left), np.inf)
        moved = [left[((trial.ratio[left] < STUCK) & (trial.ratio[left] != 0.0)).any(axis=1)]]  # one shows another
        for heater in np.flatnonzero((trial.ratio[left] < STUCK).any(axis=0) & turns.any(axis=1)):
            cores = left[trial.ratio[left, heater] < STUCK]
            start = trial.of(cores)
            start.bias[:, heater] *= -1.0
            start.bias += np.pi * turns[heater]
            moved.append(again(cores, start, CLEAR))
        left = np.unique(np.concatenate(moved))  # in these another image may explain more now
    twins.put(trial.identified, trial.of(trial.identified))
    return twins


def half_turns(mesh: Mesh) -> Array:
    """Which heaters (2 n, 2 n) make good by a half turn that one is mirrored; none where its image is another core.

    Light passes the columns of V, then, sigma being signs, those of U."""
    n, columns, rails = mesh.count, int(mesh.column[-1]) + 1, np.arange(mesh.modes)
    place = np.concatenate((mesh.column + columns, mesh.column))  # U, then V, in the order in which light passes
    top = np.concatenate((mesh.top, mesh.top))
    turned = np.zeros((2 * n, 2 * n), bool)
    for heater in range(2 * n):
        for side in (rails > top[heater], rails <= top[heater]):
            beside = [np.flatnonzero((place == place[heater] + step) & side[top] & side[top + 1]) for step in (-1, 1)]
            if all(2 * len(some) == side.sum() for some in beside):
                turned[heater, np.concatenate(beside)] = True
                break
    return turned
