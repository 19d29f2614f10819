"""Twins of whole meshes: powers at outputs or at taps, and how they change with every part of every MZI.

The field behind the mesh is y = S_t (D before_t) for a change D of the element of MZI t, before_t the light on its two
rails and S_t what is behind it, so that of a power |y|^2

    d |y_r|^2 = 2 Re( conj(y_r) S_t[r] D before_t ).

At taps inside the mesh the change goes on from MZI to MZI. Arrays: elements T (n, 2, 2) and their derivatives by K
kinds (K, n, 2, 2), complex; half (n, 2), the field behind theta on the top arm as a row on the two rails in front, and
its derivatives (K, n, 2) (`l2sim.learn.twin.whole.fit.elements`).
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def outputs(element, by, top, bottom, light, powers, slopes):
    """Powers (N, B) at the outputs and their derivatives, float32, (K, n, N, B), for light (N, B)."""
    kinds, n = by.shape[0], top.size
    modes, width = light.shape
    field, before = light.copy(), np.empty((n, 2, width), light.dtype)
    for t in range(n):
        i, j = top[t], bottom[t]
        e = element[t]
        for b in range(width):
            x, y = field[i, b], field[j, b]
            before[t, 0, b], before[t, 1, b] = x, y
            field[i, b], field[j, b] = e[0, 0] * x + e[0, 1] * y, e[1, 0] * x + e[1, 1] * y
    for r in range(modes):
        for b in range(width):
            powers[r, b] = field[r, b].real ** 2 + field[r, b].imag ** 2
    if kinds == 0:
        return
    rest = np.zeros((modes, modes), light.dtype)
    for r in range(modes):
        rest[r, r] = 1.0
    moved = np.empty((2, width), light.dtype)
    for t in range(n - 1, -1, -1):
        i, j = top[t], bottom[t]
        for kind in range(kinds):
            d = by[kind, t]
            for b in range(width):
                x, y = before[t, 0, b], before[t, 1, b]
                moved[0, b], moved[1, b] = d[0, 0] * x + d[0, 1] * y, d[1, 0] * x + d[1, 1] * y
            for r in range(modes):
                p, q = rest[r, i], rest[r, j]
                row, out = slopes[kind, t, r], field[r]
                for b in range(width):
                    z = p * moved[0, b] + q * moved[1, b]
                    row[b] = 2.0 * (out[b].real * z.real + out[b].imag * z.imag)
        e = element[t]
        for r in range(modes):
            p, q = rest[r, i], rest[r, j]
            rest[r, i], rest[r, j] = p * e[0, 0] + q * e[1, 0], p * e[0, 1] + q * e[1, 1]


@njit(cache=True, nogil=True)
def taps(element, half, by, by_half, top, bottom, light, powers, slopes):
    """Powers (2 n + N, B) behind every theta, in front of every phi and at the outputs, and their derivatives (K, n,
    2 n + N, B)."""
    kinds, n = by.shape[0], top.size
    modes, width = light.shape
    field, before = light.copy(), np.empty((n, 2, width), light.dtype)
    behind = np.empty((n, width), light.dtype)
    slopes[:] = 0.0
    for t in range(n):
        i, j = top[t], bottom[t]
        e = element[t]
        for b in range(width):
            x, y = field[i, b], field[j, b]
            before[t, 0, b], before[t, 1, b] = x, y
            powers[n + t, b] = x.real**2 + x.imag**2
            behind[t, b] = half[t, 0] * x + half[t, 1] * y
            powers[t, b] = behind[t, b].real ** 2 + behind[t, b].imag ** 2
            field[i, b], field[j, b] = e[0, 0] * x + e[0, 1] * y, e[1, 0] * x + e[1, 1] * y
    for r in range(modes):
        for b in range(width):
            powers[2 * n + r, b] = field[r, b].real ** 2 + field[r, b].imag ** 2
    moved = np.zeros((modes, width), light.dtype)
    for kind in range(kinds):
        for t in range(n):
            lit = np.zeros(modes, np.bool_)
            for side in range(2):
                rail = top[t] if side == 0 else bottom[t]
                lit[rail] = True
                d = by[kind, t, side]
                for b in range(width):
                    moved[rail, b] = d[0] * before[t, 0, b] + d[1] * before[t, 1, b]
            own = by_half[kind, t]
            for b in range(width):
                z = own[0] * before[t, 0, b] + own[1] * before[t, 1, b]
                slopes[kind, t, t, b] = 2.0 * (behind[t, b].real * z.real + behind[t, b].imag * z.imag)
            for u in range(t + 1, n):
                i, j = top[u], bottom[u]
                if not (lit[i] or lit[j]):
                    continue
                for rail in (i, j):
                    if not lit[rail]:
                        lit[rail] = True
                        for b in range(width):
                            moved[rail, b] = 0.0
                e, h = element[u], half[u]
                for b in range(width):
                    x, y = moved[i, b], moved[j, b]
                    f = before[u, 0, b]
                    slopes[kind, t, n + u, b] = 2.0 * (f.real * x.real + f.imag * x.imag)
                    z, g = h[0] * x + h[1] * y, behind[u, b]
                    slopes[kind, t, u, b] = 2.0 * (g.real * z.real + g.imag * z.imag)
                    moved[i, b], moved[j, b] = e[0, 0] * x + e[0, 1] * y, e[1, 0] * x + e[1, 1] * y
            for r in range(modes):
                if lit[r]:
                    for b in range(width):
                        x, f = moved[r, b], field[r, b]
                        slopes[kind, t, 2 * n + r, b] = 2.0 * (f.real * x.real + f.imag * x.imag)
