"""Operations on lanes: many cores side by side, the lane innermost, so that each loop is a few vector instructions.

The building blocks of `kernels.descent`, `descent_by_column` and `kernels.mesh`. A matrix of all lanes is stored as
(rows, columns, LANES) and taken apart by integer indices; windows and work buffers are one-dimensional with constant
offsets, which is what lets the compiler vectorise without checks for overlap. It unrolls loops over lanes of fewer than
some ten instructions, and then does not vectorise them: such short ones count to an array's size instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .chain import below, wrapped

LANES = 32
# pi/2 in parts of 18 bits, so that small multiples of the first three are exact in either precision (Cody and Waite).
P1, P2, P3, P4 = 1.5707931518554688, 3.1749368645250797e-06, 2.5633384304057927e-12, 5.721188726109832e-18


OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "_nrt": False}
"""Fused multiply-adds, and nothing that reorders a sum; and no reference counts, for two atomic operations a view cost
more than the arithmetic on it. So these functions take views and never allocate."""
fast = njit(**OPTIONS)
flat = njit(forceinline=True, **OPTIONS)
"""For what is called with many arrays: a call passes each of them as some ten words, which cost more than the work."""


@njit(inline="always", fastmath={"contract"})
def sincos(x):
    """(sin x, cos x) without a branch, so that loops over lanes vectorise: Taylor terms on [-pi/4, pi/4]."""
    f = type(x)
    n = np.rint(x * f(0.6366197723675814))
    y = (((x - n * f(P1)) - n * f(P2)) - n * f(P3)) - n * f(P4)
    half = np.floor(n * f(0.5))
    odd = n - f(2.0) * half
    turned = half - f(2.0) * np.floor(half * f(0.5))
    z = y * y
    s = f(-1.0 / 1307674368000.0) + z * f(1.0 / 355687428096000.0)
    s = f(-1.0 / 39916800.0) + z * (f(1.0 / 6227020800.0) + z * s)
    s = f(-1.0 / 5040.0) + z * (f(1.0 / 362880.0) + z * s)
    s = f(-1.0 / 6.0) + z * (f(1.0 / 120.0) + z * s)
    s = y + y * (z * s)
    c = f(-1.0 / 87178291200.0) + z * (f(1.0 / 20922789888000.0) + z * f(-1.0 / 6402373705728000.0))
    c = f(-1.0 / 3628800.0) + z * (f(1.0 / 479001600.0) + z * c)
    c = f(-1.0 / 720.0) + z * (f(1.0 / 40320.0) + z * c)
    c = f(-0.5) + z * (f(1.0 / 24.0) + z * c)
    c = f(1.0) + z * c
    a = c if odd > f(0.5) else s
    b = s if odd > f(0.5) else c
    a = -a if turned > f(0.5) else a
    b = -b if (odd > f(0.5)) != (turned > f(0.5)) else b
    return a, b


@njit(inline="always", fastmath={"contract"})
def held(phase, fixed, rewrap):
    """Step 3 of the noise chain, behind the heater: a broken one gives its fixed phase instead."""
    phase = fixed if fixed == fixed else phase
    return wrapped(phase) if rewrap else phase


@fast
def drives(phase, ratio, fixed, lsb, levels, thresholds, rewrap, out):
    """Steps 1-3 (and the wrap of step 4) of the noise chain (`kernels.chain.drive`) for one heater of all lanes."""
    if levels.size > 0:
        for l in range(LANES):
            level = levels[below(thresholds, wrapped(phase[l]))]
            out[l] = held(level * ratio[l], fixed[l], rewrap)
    elif lsb > 0.0:
        for l in range(LANES):
            out[l] = held(lsb * np.rint(wrapped(phase[l]) / lsb) * ratio[l], fixed[l], rewrap)
    else:
        for l in range(LANES):
            out[l] = held(wrapped(phase[l]) * ratio[l], fixed[l], rewrap)


@fast
def turned(i, driven, bias, flip, around, crosstalk, tables):
    """Steps 4-5 for heater `i` of all lanes, and (cos, flip sin) of its phase into `tables` (n, 2, LANES).

    `driven` (n + 1, LANES) ends in zeros, which is where the -1 of a missing neighbour leads.
    """
    cosine, sine, own, turn, sign = tables[i, 0], tables[i, 1], driven[i], bias[i], flip[i]
    if crosstalk > 0.0:
        a, b, c = driven[around[i, 0]], driven[around[i, 1]], driven[around[i, 2]]
        d, e, f = driven[around[i, 3]], driven[around[i, 4]], driven[around[i, 5]]
        for l in range(LANES):
            sine[l] = own[l] + crosstalk * (a[l] + b[l] + c[l] + d[l] + e[l] + f[l]) + turn[l]
    else:
        for l in range(sine.size):
            sine[l] = own[l] + turn[l]
    angles(cosine, sine, sign)


@fast
def angles(cosine, sine, sign):
    """(cos, sign sin) of the phases of all lanes, which stand in `sine`: in place, for overlap stops vectorisation."""
    for l in range(LANES):
        s, c = sincos(sine[l])
        cosine[l] = c
        sine[l] = sign[l] * s


@njit
def room(rows, columns, like):
    """An empty (rows, columns, LANES) of the dtype of `like` from a cache line on: no register load straddles two."""
    size = rows * columns * LANES
    memory = np.empty(size + 64 // like.itemsize, like.dtype)
    start = (-memory.ctypes.data % 64) // like.itemsize
    return memory[start : start + size].reshape(rows, columns, LANES)


@njit
def spread(array, lo, width, to):
    """Rows of `array` (M, n) of the `width` cores from `lo` on into the lanes of `to` (n, LANES), again and again."""
    for l in range(LANES):
        row = array[min(lo + l % width, array.shape[0] - 1)]
        for i in range(row.size):
            to[i, l] = row[i]


@njit
def negate(to):
    """to <- -to, two-dimensional: what NumPy writes in one line takes Numba seconds to compile."""
    for i in range(to.shape[0]):
        for j in range(to.shape[1]):
            to[i, j] = -to[i, j]


@fast
def rotate(x, y, c, s):
    """Rotate two rows (columns, LANES) of a matrix in place."""
    for j in range(x.shape[0]):
        a, b = x[j], y[j]
        for l in range(LANES):
            p, q = a[l], b[l]
            a[l] = c[l] * p - s[l] * q
            b[l] = s[l] * p + c[l] * q


@fast
def rows(e, a, c, s):
    """Rotate rows a, a + 1 of `e` (size, size, LANES), padded, from the left: e <- R e."""
    end = e.shape[1] - 2
    rotate(e[a, 2:end], e[a + 1, 2:end], c, s)


@fast
def columns(e, a, c, s):
    """Rotate columns a, a + 1 of `e` from the right: e <- e R."""
    for i in range(2, e.shape[0] - 2):
        x, y = e[i, a], e[i, a + 1]
        for l in range(LANES):
            p, q = x[l], y[l]
            x[l] = c[l] * p + s[l] * q
            y[l] = c[l] * q - s[l] * p


@fast
def both(h, a, c, s):
    """h <- R h R' on rows, columns a, a + 1 of a symmetric `h` (padded), of which the upper triangle is stored."""
    end = h.shape[0] - 2
    for i in range(2, a):
        x, y = h[i, a], h[i, a + 1]
        for l in range(LANES):
            p, q = x[l], y[l]
            x[l] = c[l] * p - s[l] * q
            y[l] = s[l] * p + c[l] * q
    x, y, z = h[a, a], h[a, a + 1], h[a + 1, a + 1]
    for l in range(LANES):
        p, q, r, cc, ss = x[l], y[l], z[l], c[l], s[l]
        rise = ss * (ss * (p - r) + (cc + cc) * q)
        x[l], z[l] = p - rise, r + rise
        y[l] = cc * ss * (p - r) + (cc * cc - ss * ss) * q
    rotate(h[a, a + 2 : end], h[a + 1, a + 2 : end], c, s)


@fast
def dot(to, x, y):
    """to += x_0 y_0 + ... + x_3 y_3 for rows of four numbers (4 LANES,)."""
    w = LANES
    for l in range(LANES):
        near = x[l] * y[l] + x[w + l] * y[w + l]
        to[l] += near + (x[2 * w + l] * y[2 * w + l] + x[3 * w + l] * y[3 * w + l])


@fast
def turn(c, s, dc, ds):
    """(c, s) <- the angle plus that of (dc, ds)."""
    for l in range(LANES):
        p, q = c[l], s[l]
        c[l] = p * dc[l] - q * ds[l]
        s[l] = q * dc[l] + p * ds[l]



@fast
def copy(to, origin):
    """to <- origin, one-dimensional."""
    for l in range(to.size):
        to[l] = origin[l]
