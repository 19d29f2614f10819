"""Effective phases to matrices (`kernels.mesh`): one thread for every column of every matrix, in place in `out`."""

from __future__ import annotations

import math

from numba import cuda

from .launch import entry, spread


@entry
def build(phases, flip, signs, rails, out):
    """The loop of `matrices`: a thread for every column of every matrix."""
    k = out.shape[1]
    for index in range(cuda.grid(1), out.shape[0] * k, cuda.gridsize(1)):
        m, j = index // k, index % k
        for i in range(k):
            out[m, i, j] = 1.0 if i == j else 0.0
        for t in range(phases.shape[1]):
            r = rails[t]
            c, s = math.cos(phases[m, t]), flip[m, t] * math.sin(phases[m, t])
            a, b = out[m, r, j], out[m, r + 1, j]
            out[m, r, j] = c * a - s * b
            out[m, r + 1, j] = s * a + c * b
        for i in range(k):
            out[m, i, j] *= signs[m, i]


def matrices(phases, flip, signs, rails, out):
    """As `kernels.mesh.matrices`."""
    spread(build, out.shape[0] * out.shape[1], phases, flip, signs, rails, out)
