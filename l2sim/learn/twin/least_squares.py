"""Levenberg-Marquardt with priors, many small problems side by side: the one loop of all fits of `learn.twin`.

    min over x of  |r(x)|^2 + sum precision (x - centre)^2,      r in units of the noise

    (J'J + diag(precision)) (I + damping on the diagonal) step = J'r - precision (x - centre)

A step is taken where it lowers the sum, and damping falls; else it rises. A problem has ended when a step gains less
than `enough`, a tenth of a variance: that is far below what noise moves. `kernels.twin_fit` is this rule compiled, for
whole responses with sigma of +1 and -1, where normal matrices are had for a sixteenth and are used more than once.
Levenberg, Q. Appl. Math. 2, 164 (1944); Marquardt, SIAM J. Appl. Math. 11, 431 (1963).
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import numpy as np

from l2sim.backend import Array, host, kernels

DAMPING = 1e-3
"""That of the first step; of steps that did well it is `least`; above `kernels.twin_fit.MOST` none does any more."""
DOWN, UP = 0.2, 6.0
"""Factors on it after a step that was taken, and one that was not."""

Normal = Callable[[Array], tuple[Array, Array]]
"""normal(which) of some of the problems just looked at: J'J (m, P, P), where they are computed, and J'r (m, P)."""
Look = Callable[[Array, Array], tuple[Array, Normal]]
"""look(x (m, P), problems (m,)): |r|^2 (m,) there, and what gives the normal equations."""


class Found(NamedTuple):
    """Where problems ended: x (M, P), |r|^2 (M,), the sum with priors (M,), and J'J + diag(precision) (M, P, P), where
    it was computed."""

    x: Array
    misfit: Array
    cost: Array
    normal: Array


def minimise(
    look: Look, start: Array, precision: Array, centre: Array, rounds: int, *, least: float | None = None,
    enough: float | None = None, fixed: Array | None = None, within: tuple[float, float] = (-np.inf, np.inf),
    xp: ModuleType = np,
) -> Found:  # fmt: skip
    """From `start` (M, P), `rounds` steps at most; `precision` and `centre` (M, P). What is `fixed` (M, P) stays at 0
    to the last digit; x stays `within` two bounds. `least` and `enough` are of `kernels.twin_fit` if left out.
    `xp`: the module of the normal matrices."""
    (problems, size), there, rule = start.shape, xp.asarray, kernels.twin_fit
    least = rule.LEAST if least is None else least
    enough = rule.ENOUGH if enough is None else enough
    diagonal = there(np.arange(size))
    here, best, damping = start.copy(), start.copy(), np.full(problems, DAMPING)
    matrix, slope = xp.zeros((problems, size, size)), np.zeros((problems, size))
    misfit, cost = np.full(problems, np.inf), np.full(problems, np.inf)
    left = np.arange(problems)
    for turn in range(rounds + 1):
        trial = here[left]
        wrong, normal = look(trial, left)
        weak, away = precision[left], trial - centre[left]
        total = wrong + (weak * away**2).sum(axis=1)
        better, gained = total < cost[left], cost[left] - total
        at = left[better]
        best[at], cost[at], misfit[at] = trial[better], total[better], wrong[better]
        if len(at):
            made, down = normal(np.flatnonzero(better))
            matrix[there(at)] = made
            matrix[there(at)[:, None], diagonal, diagonal] += there(precision[at])
            slope[at] = host(down) - (weak * away)[better]
        damping[left] = np.where(better, np.maximum(DOWN * damping[left], least), UP * damping[left])
        done = (np.abs(gained) < enough) | (damping[left] > rule.MOST)
        left = left[~done]
        if not len(left) or turn == rounds:
            break
        table = matrix[there(left)]
        table[:, diagonal, diagonal] *= there(1.0 + damping[left][:, None])
        step = host(xp.linalg.solve(table, there(slope[left][..., None])))[..., 0]
        here[left] = np.clip(best[left] + step, *within)
        if fixed is not None:
            here[fixed] = 0.0
    return Found(best, misfit, cost, matrix)
