"""Operations on lanes: many cores side by side, the lane innermost, so that each loop is a few vector instructions.

The building blocks of `kernels.sweep`, `kernels.structured` and `kernels.mesh`. A matrix of all lanes is stored as
(rows, columns, LANES) and taken apart by integer indices; windows and work buffers are one-dimensional with constant
offsets, which is what lets the compiler vectorise without checks for overlap. It unrolls loops over lanes of fewer than
some ten instructions, and then does not vectorise them: such short ones count to an array's size instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .chain import wrapped

LANES = 32
PIECES = 4
"""Pieces a thread that a launch is cut into, each with its own scratch: fresh memory costs as much as a sweep."""
WINDOW = 6
# pi/2 in parts of 18 bits, so that small multiples of the first three are exact in either precision (Cody and Waite).
P1, P2, P3, P4 = 1.5707931518554688, 3.1749368645250797e-06, 2.5633384304057927e-12, 5.721188726109832e-18

# Rows of the work buffer `z`, LANES numbers each. One buffer with constant offsets lets the loops over lanes vectorise.
LR, HERE, DUP, DDOWN, PLUS, MINUS, BASE, ONE, ZERO, NEGATIVE, WRITES = range(11)
# Rows of one probe's angles, from UPS and DOWNS on: delta; epsilon; the MZI, the one above, the one below, turned;
# epsilon or no turn for the column before (two MZIs) and after.
DC, DS, EC, ES, C0, S0, C2, S2, C4, S4, PC1, PS1, PC2, PS2, NC1, NS1, NC2, NS2 = range(18)
STAY, UPS, DOWNS, CHOSEN = 11, 29, 47, 65
ROWS = 69


OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "_nrt": False}
"""Fused multiply-adds, and nothing that reorders a sum; and no reference counts, for two atomic operations a view cost
more than the arithmetic on it. So these functions take views and never allocate."""
fast = njit(**OPTIONS)


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
            level = levels[np.searchsorted(thresholds, wrapped(phase[l]))]
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
def trace(f, z, out):
    """-2 tr(D' A D E) on the window `f` (36 LANES,) of E, row by row, into `out`; `z` the angles of one probe.

    D turns the pairs of rows (1, 2), (3, 4) by PC, PS; A the pairs (0, 1), (2, 3), (4, 5) by C0, C2, C4; D' the pairs
    (1, 2), (3, 4) by NC, NS. Only what the trace needs is computed.
    """
    w = LANES
    for l in range(LANES):
        a, b = z[PC1 * w + l], z[PS1 * w + l]
        f10 = a * f[6 * w + l] - b * f[12 * w + l]
        f11 = a * f[7 * w + l] - b * f[13 * w + l]
        f12 = a * f[8 * w + l] - b * f[14 * w + l]
        f21 = b * f[7 * w + l] + a * f[13 * w + l]
        f22 = b * f[8 * w + l] + a * f[14 * w + l]
        f23 = b * f[9 * w + l] + a * f[15 * w + l]
        f24 = b * f[10 * w + l] + a * f[16 * w + l]
        a, b = z[PC2 * w + l], z[PS2 * w + l]
        f31 = a * f[19 * w + l] - b * f[25 * w + l]
        f32 = a * f[20 * w + l] - b * f[26 * w + l]
        f33 = a * f[21 * w + l] - b * f[27 * w + l]
        f34 = a * f[22 * w + l] - b * f[28 * w + l]
        f43 = b * f[21 * w + l] + a * f[27 * w + l]
        f44 = b * f[22 * w + l] + a * f[28 * w + l]
        f45 = b * f[23 * w + l] + a * f[29 * w + l]
        x00 = z[C0 * w + l] * f[l] - z[S0 * w + l] * f10
        x11 = z[S0 * w + l] * f[w + l] + z[C0 * w + l] * f11
        x12 = z[S0 * w + l] * f[2 * w + l] + z[C0 * w + l] * f12
        x21 = z[C2 * w + l] * f21 - z[S2 * w + l] * f31
        x22 = z[C2 * w + l] * f22 - z[S2 * w + l] * f32
        x33 = z[S2 * w + l] * f23 + z[C2 * w + l] * f33
        x34 = z[S2 * w + l] * f24 + z[C2 * w + l] * f34
        x43 = z[C4 * w + l] * f43 - z[S4 * w + l] * f[33 * w + l]
        x44 = z[C4 * w + l] * f44 - z[S4 * w + l] * f[34 * w + l]
        x55 = z[S4 * w + l] * f45 + z[C4 * w + l] * f[35 * w + l]
        near = z[NC1 * w + l] * (x11 + x22) + z[NS1 * w + l] * (x12 - x21)
        far = z[NC2 * w + l] * (x33 + x44) + z[NS2 * w + l] * (x34 - x43)
        total = ((x00 + near) + far) + x55
        out[l] = -(total + total)


@fast
def window_rows(f, a, c, s):
    """Rotate rows a, a + 1 of a window (36 LANES,) from the left; written out, so that one loop does all of it."""
    w = LANES
    x = f[6 * a * w : 6 * (a + 2) * w]
    for l in range(LANES):
        p, q = x[l], x[6 * w + l]
        x[l], x[6 * w + l] = c[l] * p - s[l] * q, s[l] * p + c[l] * q
        p, q = x[1 * w + l], x[7 * w + l]
        x[1 * w + l], x[7 * w + l] = c[l] * p - s[l] * q, s[l] * p + c[l] * q
        p, q = x[2 * w + l], x[8 * w + l]
        x[2 * w + l], x[8 * w + l] = c[l] * p - s[l] * q, s[l] * p + c[l] * q
        p, q = x[3 * w + l], x[9 * w + l]
        x[3 * w + l], x[9 * w + l] = c[l] * p - s[l] * q, s[l] * p + c[l] * q
        p, q = x[4 * w + l], x[10 * w + l]
        x[4 * w + l], x[10 * w + l] = c[l] * p - s[l] * q, s[l] * p + c[l] * q
        p, q = x[5 * w + l], x[11 * w + l]
        x[5 * w + l], x[11 * w + l] = c[l] * p - s[l] * q, s[l] * p + c[l] * q


@fast
def window_columns(f, a, c, s):
    """Rotate columns a, a + 1 of a window from the right."""
    w = LANES
    x = f[a * w :]
    for l in range(LANES):
        p, q = x[l], x[1 * w + l]
        x[l], x[1 * w + l] = c[l] * p + s[l] * q, c[l] * q - s[l] * p
        p, q = x[6 * w + l], x[7 * w + l]
        x[6 * w + l], x[7 * w + l] = c[l] * p + s[l] * q, c[l] * q - s[l] * p
        p, q = x[12 * w + l], x[13 * w + l]
        x[12 * w + l], x[13 * w + l] = c[l] * p + s[l] * q, c[l] * q - s[l] * p
        p, q = x[18 * w + l], x[19 * w + l]
        x[18 * w + l], x[19 * w + l] = c[l] * p + s[l] * q, c[l] * q - s[l] * p
        p, q = x[24 * w + l], x[25 * w + l]
        x[24 * w + l], x[25 * w + l] = c[l] * p + s[l] * q, c[l] * q - s[l] * p
        p, q = x[30 * w + l], x[31 * w + l]
        x[30 * w + l], x[31 * w + l] = c[l] * p + s[l] * q, c[l] * q - s[l] * p


@fast
def quadratic(h, k, z, left, right, out):
    """Add tr(K M H M') = <K M, M H> on windows h, k (36 LANES,) to `out`, M = D' A D as in `trace`."""
    copy(left, k)
    copy(right, h)
    before, here, after = ((1, PC1), (3, PC2)), ((0, C0), (2, C2), (4, C4)), ((1, NC1), (3, NC2))
    for a, t in before:
        window_rows(right, a, z[t * LANES : (t + 1) * LANES], z[(t + 1) * LANES : (t + 2) * LANES])
    for a, t in here:
        window_rows(right, a, z[t * LANES : (t + 1) * LANES], z[(t + 1) * LANES : (t + 2) * LANES])
    for a, t in after:
        window_rows(right, a, z[t * LANES : (t + 1) * LANES], z[(t + 1) * LANES : (t + 2) * LANES])
    for a, t in after:
        window_columns(left, a, z[t * LANES : (t + 1) * LANES], z[(t + 1) * LANES : (t + 2) * LANES])
    for a, t in here:
        window_columns(left, a, z[t * LANES : (t + 1) * LANES], z[(t + 1) * LANES : (t + 2) * LANES])
    for a, t in before:
        window_columns(left, a, z[t * LANES : (t + 1) * LANES], z[(t + 1) * LANES : (t + 2) * LANES])
    w = LANES
    for i in range(0, 36 * w, 6 * w):
        x, y = left[i : i + 6 * w], right[i : i + 6 * w]
        for l in range(LANES):
            near = x[l] * y[l] + x[w + l] * y[w + l] + x[2 * w + l] * y[2 * w + l]
            out[l] += near + (x[3 * w + l] * y[3 * w + l] + x[4 * w + l] * y[4 * w + l] + x[5 * w + l] * y[5 * w + l])


@fast
def outside(h, k, at, heaters, tables, cross, turned):
    """Cross term N = H_wo A_o' K_ow of the window from padded rail `at` into `cross` (36 LANES,).

    `heaters` (padded rails,): the heater whose MZI starts on a rail in this column, -1 for none. `turned` is scratch.
    """
    w = LANES
    for i in range(cross.size):
        cross[i] = 0.0
    o, end = 2, h.shape[0] - 2
    while o < end:
        if at <= o < at + WINDOW:
            o = at + WINDOW
            continue
        first = turned[: WINDOW * w]
        copy(first, k[o].reshape(-1)[at * w : (at + WINDOW) * w])
        if heaters[o] >= 0:
            second = turned[WINDOW * w : 2 * WINDOW * w]
            copy(second, k[o + 1].reshape(-1)[at * w : (at + WINDOW) * w])
            # A' K: the rotation backwards.
            c, s = tables[heaters[o], 0], tables[heaters[o], 1]
            for j in range(0, WINDOW * w, w):
                x, y = first[j : j + w], second[j : j + w]
                for l in range(LANES):
                    p, q = x[l], y[l]
                    x[l] = c[l] * p + s[l] * q
                    y[l] = c[l] * q - s[l] * p
            for i in range(WINDOW):
                add_product(cross[6 * i * w : 6 * (i + 1) * w], h[at + i, o + 1], second)
        for i in range(WINDOW):
            add_product(cross[6 * i * w : 6 * (i + 1) * w], h[at + i, o], first)
        o += 1 if heaters[o] < 0 else 2


@fast
def copy(to, origin):
    """to <- origin, one-dimensional."""
    for l in range(to.size):
        to[l] = origin[l]


@fast
def add_product(to, x, y):
    """to <- to + x y for six entries (6 LANES,) y and one x (LANES,)."""
    w = LANES
    for l in range(LANES):
        to[l] += x[l] * y[l]
        to[1 * w + l] += x[l] * y[1 * w + l]
        to[2 * w + l] += x[l] * y[2 * w + l]
        to[3 * w + l] += x[l] * y[3 * w + l]
        to[4 * w + l] += x[l] * y[4 * w + l]
        to[5 * w + l] += x[l] * y[5 * w + l]


@fast
def probe(driven, to, crosstalk, sense, own, above, below, prev, follow, z):
    """Angles of the step of one heater from `driven` to `to` (LANES,), into `z` (the rows DC to NS2).

    `own`, `above`, `below` (2 LANES,): (cos, sin) of the heater and of its neighbours in the column, or of no turn.
    """
    w = LANES
    for l in range(LANES):
        delta = to[l] - driven[l]
        s, c = sincos(delta)
        z[DC * w + l] = c
        z[DS * w + l] = sense * s
        s, c = sincos(crosstalk * delta)
        z[EC * w + l] = c
        z[ES * w + l] = sense * s
    for l in range(LANES):
        dc, ds, ec, es = z[DC * w + l], z[DS * w + l], z[EC * w + l], z[ES * w + l]
        z[C2 * w + l] = own[l] * dc - own[w + l] * ds
        z[S2 * w + l] = own[w + l] * dc + own[l] * ds
        z[C0 * w + l] = above[l] * ec - above[w + l] * es
        z[S0 * w + l] = above[w + l] * ec + above[l] * es
        z[C4 * w + l] = below[l] * ec - below[w + l] * es
        z[S4 * w + l] = below[w + l] * ec + below[l] * es
    for t in range(2):
        neighbour(z, PC1 + 2 * t, prev[t] >= 0)
        neighbour(z, NC1 + 2 * t, follow[t] >= 0)


@fast
def unturned(z, row):
    """No turn in rows `row` (cos) and `row` + 1 (sin)."""
    z[row * LANES : (row + 1) * LANES] = 1.0
    z[(row + 1) * LANES : (row + 2) * LANES] = 0.0


@fast
def neighbour(z, row, exists):
    """(cos, sin) of epsilon into rows `row`, `row` + 1, or of no turn where there is no neighbour."""
    if exists:
        copy(z[row * LANES : (row + 2) * LANES], z[EC * LANES : (EC + 2) * LANES])
    else:
        unturned(z, row)
