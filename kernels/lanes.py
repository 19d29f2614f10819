"""Operations on lanes: as many cores side by side as a vector has numbers, each core in a lane of its own.

The building blocks of `kernels.descent`, `descent_by_column` and `kernels.mesh`. Memory is (rows, columns, lanes) of
numbers while cores are put into lanes and taken out, and (rows, columns) of vectors (`kernels.vectors`) between.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .chain import TAU, below
from .vectors import BYTES, floor, get, put, rint, size, turn_block, where

# pi/2 in parts of 18 bits, so that small multiples of the first three are exact in either precision (Cody and Waite).
P1, P2, P3, P4 = 1.5707931518554688, 3.1749368645250797e-06, 2.5633384304057927e-12, 5.721188726109832e-18


OPTIONS: dict[str, Any] = {
    "fastmath": {"contract"}, "_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True,
}  # fmt: skip
"""Fused multiply-adds, and nothing that reorders a sum; no reference counts, for two atomic operations a view cost more
than the arithmetic on it; and no doors from Python, which take long to compile. So these functions take views, never
allocate, and are called by kernels only."""
fast = njit(**OPTIONS)
rounded = njit(**{name: value for name, value in OPTIONS.items() if name != "fastmath"})
"""The same where every operation is rounded (`vectors.product`), to equal another's to the last bit."""
flat = njit(forceinline=True, **OPTIONS)
"""For what is called with many arrays: a call passes each of them as some ten words, which cost more than the work."""
merged = njit(inline="always", **OPTIONS)
"""For the large ones among these with one caller: they become part of it before they are compiled, so once."""


@njit
def width(like):
    """Lanes of an array, or dtype, of numbers."""
    return BYTES // like.itemsize


@fast
def sincos(x):
    """(sin x, cos x) of a vector: Taylor terms on [-pi/4, pi/4]."""
    n = rint(x * 0.6366197723675814)
    y = (((x - n * P1) - n * P2) - n * P3) - n * P4
    half = floor(n * 0.5)
    odd = n - 2.0 * half
    turned = half - 2.0 * floor(half * 0.5)
    z = y * y
    s = z * (1.0 / 355687428096000.0) + -1.0 / 1307674368000.0
    s = -1.0 / 39916800.0 + z * (1.0 / 6227020800.0 + z * s)
    s = -1.0 / 5040.0 + z * (1.0 / 362880.0 + z * s)
    s = -1.0 / 6.0 + z * (1.0 / 120.0 + z * s)
    s = y + y * (z * s)
    c = -1.0 / 87178291200.0 + z * (1.0 / 20922789888000.0 + z * (-1.0 / 6402373705728000.0))
    c = -1.0 / 3628800.0 + z * (1.0 / 479001600.0 + z * c)
    c = -1.0 / 720.0 + z * (1.0 / 40320.0 + z * c)
    c = -0.5 + z * (1.0 / 24.0 + z * c)
    c = 1.0 + z * c
    swap = odd > 0.5
    a, b = where(swap, c, s), where(swap, s, c)
    # The sign of sin changes in the third and fourth quarter, that of cos in the second and third.
    return where(turned > 0.5, -a, a), where(odd + turned == 1.0, -b, b)


@fast
def wrapped(x):
    """`chain.wrapped` of a vector."""
    y = x - TAU * floor(x * (1.0 / TAU))
    y = where(y < 0.0, y + TAU, y)
    return where(y >= TAU, y - TAU, y)


@fast
def level(phase, levels, thresholds):
    """What a driver in volts gives instead of the wrapped phases of a vector."""
    for l in range(size(phase)):
        phase = put(phase, l, levels[below(thresholds, get(phase, l))])
    return phase


@fast
def drive(phase, ratio, fixed, lsb, levels, thresholds, rewrap):
    """Steps 1-3 (and the wrap of step 4) of the noise chain (`kernels.chain.drive`) for one heater of all lanes."""
    phase = wrapped(phase)
    if levels.size > 0:
        phase = level(phase, levels, thresholds)
    elif lsb > 0.0:
        phase = lsb * rint(phase / lsb)
    phase = phase * ratio
    phase = where(fixed == fixed, fixed, phase)
    if rewrap:
        phase = wrapped(phase)
    return phase


@fast
def turned(i, driven, bias, flip, around, crosstalk):
    """Steps 4-5 for heater `i` of all lanes: (cos, flip sin) of its phase.

    `driven` (n + 1,) ends in zero, which is where the -1 of a missing neighbour leads.
    """
    phase = driven[i]
    if crosstalk > 0.0:
        a, b, c = driven[around[i, 0]], driven[around[i, 1]], driven[around[i, 2]]
        d, e, f = driven[around[i, 3]], driven[around[i, 4]], driven[around[i, 5]]
        phase = phase + crosstalk * (a + b + c + d + e + f)
    s, c = sincos(phase + bias[i])
    return c, flip[i] * s


@njit
def room(rows, columns, like):
    """Numbers (rows, columns, lanes) of the dtype of `like` from a cache line on, as vectors must stand."""
    lanes = width(like)
    count = rows * columns * lanes
    memory = np.empty(count + lanes, like.dtype)
    start = (-memory.ctypes.data % BYTES) // like.itemsize
    return memory[start : start + count].reshape(rows, columns, lanes)


@fast
def spread(array, lo, wide, to):
    """Rows of `array` (M, n) of the `wide` cores from `lo` on into the lanes of `to` (n, lanes), again and again."""
    lanes, n = to.shape[1], array.shape[1]
    if wide == lanes <= n and lo + lanes <= array.shape[0]:
        for i in range(0, n, lanes):
            turn_block(array, lo, min(i, n - lanes), to, min(i, n - lanes), 0)
        return
    for l in range(lanes):
        m = min(lo + l % wide, array.shape[0] - 1)
        for i in range(n):
            to[i, l] = array[m, i]


@fast
def collect(lanes, to, lo):
    """The lanes of `lanes` (n, lanes) into the rows of `to` (M, n) from `lo` on: the way back of `spread`."""
    n, wide = lanes.shape
    if wide <= n and lo + wide <= to.shape[0]:
        for i in range(0, n, wide):
            turn_block(lanes, min(i, n - wide), 0, to, lo, min(i, n - wide))
        return
    for l in range(min(wide, to.shape[0] - lo)):
        for i in range(n):
            to[lo + l, i] = lanes[i, l]


@fast
def transpose(x):
    """The square `x` transposed in place."""
    for i in range(x.shape[0]):
        for j in range(i):
            x[i, j], x[j, i] = x[j, i], x[i, j]


@njit
def negate(to):
    """to <- -to, two-dimensional: what NumPy writes in one line takes Numba seconds to compile."""
    for i in range(to.shape[0]):
        for j in range(to.shape[1]):
            to[i, j] = -to[i, j]


@fast
def rotate(x, y, c, s):
    """Rotate two rows (columns,) of a matrix in place."""
    for j in range(x.size):
        p, q = x[j], y[j]
        x[j] = c * p - s * q
        y[j] = s * p + c * q


@fast
def rows(e, a, c, s):
    """Rotate rows a, a + 1 of `e` (size, size), padded, from the left: e <- R e."""
    for j in range(2, e.shape[1] - 2):
        p, q = e[a, j], e[a + 1, j]
        e[a, j] = c * p - s * q
        e[a + 1, j] = s * p + c * q


@fast
def columns(e, a, c, s):
    """Rotate columns a, a + 1 of `e` from the right: e <- e R."""
    for i in range(2, e.shape[0] - 2):
        p, q = e[i, a], e[i, a + 1]
        e[i, a] = c * p + s * q
        e[i, a + 1] = c * q - s * p


@flat
def middle(x, y, z, c, s):
    """The symmetric [[x, y], [y, z]] turned on both sides."""
    d = x - z
    rise = s * (s * d + (c + c) * y)  # x - x'
    return x - rise, c * s * d + (c * c - s * s) * y, z + rise


@fast
def both(h, a, c, s):
    """h <- R h R' on rows, columns a, a + 1 of a symmetric `h` (padded), of which the upper triangle is stored."""
    for i in range(2, a):
        p, q = h[i, a], h[i, a + 1]
        h[i, a] = c * p - s * q
        h[i, a + 1] = s * p + c * q
    h[a, a], h[a, a + 1], h[a + 1, a + 1] = middle(h[a, a], h[a, a + 1], h[a + 1, a + 1], c, s)
    for j in range(a + 2, h.shape[1] - 2):
        p, q = h[a, j], h[a + 1, j]
        h[a, j] = c * p - s * q
        h[a + 1, j] = s * p + c * q


@flat
def added(c, s, dc, ds):
    """(cos, sin) of the angle (c, s) plus that of (dc, ds)."""
    return c * dc - s * ds, s * dc + c * ds


@fast
def turn(tables, i, dc, ds):
    """The rotation `i` of `tables` (n, 2) turned further by (dc, ds)."""
    tables[i, 0], tables[i, 1] = added(tables[i, 0], tables[i, 1], dc, ds)
