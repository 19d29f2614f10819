"""Where the heaters of a whole mesh lie: which stand beside each other, in which column and on which rail."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from l2sim.backend import Array
from l2sim.mesh.mesh import Mesh


class Wiring(NamedTuple):
    """The heaters of a whole mesh: theta, then phi in travel order, then the screen. `around`: see `wiring`. (2 n + N,)
    `column`, of heaters, and the rails `top` of the heated arm and `bottom` of the other, the same of the screen."""

    around: Array
    column: Array
    top: Array
    bottom: Array


@lru_cache(maxsize=4)
def wiring(mesh: Mesh) -> Wiring:
    """Which heaters stand beside each other, -1 for none, (2 n + N, W).

    In each column phi stands before theta. Neighbours are: the two of one MZI; equal ones of MZIs beside it in its
    column; theta of one column and phi of the next; and screens of adjacent rails.
    """
    n, modes = mesh.count, mesh.modes
    beside = mesh.around
    ahead = np.where(beside >= 0, mesh.column[beside] - mesh.column[:, None], 0) if n else beside
    own = np.arange(n)[:, None]
    thetas = [own + n, np.where((beside >= 0) & (ahead == 0), beside, -1), np.where(ahead > 0, beside + n, -1)]
    phis = [own, np.where((beside >= 0) & (ahead == 0), beside + n, -1), np.where(ahead < 0, beside, -1)]
    width = 1 + 2 * beside.shape[1]
    screens = np.full((modes, width), -1, np.int64)
    rails = 2 * n + np.arange(modes)
    screens[1:, 0], screens[:-1, 1] = rails[:-1], rails[1:]
    around = np.concatenate([np.hstack(thetas), np.hstack(phis), screens]).astype(np.int64)
    column = np.concatenate((2 * mesh.column + 1, 2 * mesh.column, np.full(modes, 2 * mesh.columns)))
    top, bottom = (np.concatenate((rail, rail, np.arange(modes))) for rail in (mesh.top, mesh.bottom))
    for array in (around, column, top, bottom):
        array.flags.writeable = False  # it is shared
    return Wiring(around, column, top, bottom)


def places(mesh: Mesh) -> Array:
    """Column and rail of every heater of a whole mesh, (2 n + N, 2), in the order of `wiring`."""
    own = np.stack((mesh.column, mesh.top), axis=1)
    ends = np.stack((np.full(mesh.modes, mesh.columns), np.arange(mesh.modes)), axis=1)
    return np.concatenate((own, own, ends))


@lru_cache(maxsize=4)
def skipped(mesh: Mesh) -> tuple[Array, Array, Array]:
    """Columns that each rail passes without a coupler: before every coupler on its top and on its bottom rail (n,), and
    behind the last one of each rail (N,)."""
    last = np.full(mesh.modes, -1)
    rails, before = np.stack((mesh.top, mesh.bottom)), np.zeros((2, mesh.count), np.int64)
    order, ends = np.argsort(mesh.column, kind="stable"), np.cumsum(np.bincount(mesh.column, minlength=mesh.columns))
    for column, here in enumerate(np.split(order, ends)[:-1]):  # no two of a column share a rail
        before[:, here] = column - 1 - last[rails[:, here]]
        last[rails[:, here]] = column
    behind = mesh.columns - 1 - last
    for array in (before, behind):
        array.flags.writeable = False  # it is shared
    return before[0], before[1], behind
