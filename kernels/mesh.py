"""Real MZI meshes: effective phases to orthogonal matrices.

A push-pull MZI with 50:50 splitters rotates its two rails (r, r + 1) by its phase,

    T = [[cos phi, -sin phi], [sin phi, cos phi]],        U = diag(signs) T_{n-1} ... T_1 T_0,

fields being columns and T_0 nearest the input (Clements et al., Optica 3, 1460 (2016); Reck et al., PRL 73, 58 (1994)).
`flip` (n,) per mesh is +1 or -1 and multiplies sin phi: it carries pi shifters that sit inside the mesh instead of at
its output, since R(phi) diag(1, -1) = diag(1, -1) R(-phi).
"""

from __future__ import annotations

import math

from numba import njit, prange


@njit(inline="always")
def rotate(top, bottom, c, s):
    """Rotate two rows in place; one-dimensional contiguous slices, so that the loop vectorises."""
    for j in range(top.shape[0]):
        a = top[j]
        b = bottom[j]
        top[j] = c * a - s * b
        bottom[j] = s * a + c * b


@njit(parallel=True, cache=True, nogil=True)
def matrices(phases, flip, signs, rails, out):
    """Effective phases (M, n) in travel order to matrices `out` (M, k, k). `signs` (M, k), `rails` (n,) upper rails."""
    k = out.shape[1]
    for m in prange(phases.shape[0]):
        u = out[m]
        for i in range(k):
            for j in range(k):
                u[i, j] = 1.0 if i == j else 0.0
        for t in range(phases.shape[1]):
            r = rails[t]
            rotate(u[r], u[r + 1], math.cos(phases[m, t]), flip[m, t] * math.sin(phases[m, t]))
        for i in range(k):
            for j in range(k):
                u[i, j] *= signs[m, i]
