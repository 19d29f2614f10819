"""Coordinate descent in layer order at the price of a 6 x 6 window a probe, sixteen cores side by side.

The problem is that of `kernels.sweep`, k^2 L = |diag(g) P X - T|^2, for a mesh P = A_{C-1} ... A_0 that moves. Where
|g_i| = 1 the first term is constant, P being orthogonal, and with C = X T' diag(g)

    k^2 L = const - 2 tr(P C) = const - 2 tr(A_c E),      E = A_{c-1} ... A_0 C A_{C-1} ... A_{c+1}.

A step of one heater turns its own MZI by delta and, through crosstalk, its up to six neighbours by epsilon: two in the
same column, two in each adjacent one. So A_c changes on the six rails around it, and E by rotations of two pairs of
rows (the column before) and two pairs of columns (the column after): a probe is the trace of a 6 x 6 window. E is
carried along: accepted steps rotate it, and the next column is reached by E <- A_c E A_{c+1}'.

Where g differs (calibration, when V moves) X X' is diagonal, H0, since the resting mesh is orthogonal, and

    |diag(g) P X|^2 = tr(K M H M'),   H = A_{c-1} ... A_0 H0 (...)',   K = (...)' diag(g^2) A_{C-1} ... A_{c+1},

M being A_c with its neighbours' turns. M changes on the window w only, so that this is tr(K_ww M_w H_ww M_w') plus
2 tr(M_w N), N = H_wo A_o' K_ow the cross term to the rails o outside, plus a constant: N joins E, and H and K are
carried along like E.

Layout: structure of arrays, the lane (core) innermost, so that every loop over lanes is one vector operation. Rails are
padded by two on either side; what lies outside is zero. Angles of V count backwards (`sense` = -1), its columns too.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from .lanes import (
    BASE,
    C0,
    C2,
    C4,
    CHOSEN,
    DDOWN,
    DOWNS,
    DUP,
    HERE,
    LANES,
    LR,
    MINUS,
    NC1,
    NC2,
    NEGATIVE,
    ONE,
    PC1,
    PC2,
    PLUS,
    ROWS,
    STAY,
    UPS,
    WINDOW,
    WRITES,
    columns,
    copy,
    drives,
    fast,
    lane,
    outside,
    probe,
    quadratic,
    rows,
    sincos,
    trace,
    turn,
    unturned,
)
from .sweep import ZCD


@fast
def choose(rule, phase, driven, z):
    """Settle one heater of all lanes by the rule of `kernels.sweep`; CHOSEN gets (cos, sin) of delta and epsilon."""
    w = LANES
    if rule == ZCD:
        for l in range(LANES):
            up = phase[l] + z[LR * w + l]
            take = z[PLUS * w + l] < z[HERE * w + l]
            phase[l] = up if take else up - (z[LR * w + l] + z[LR * w + l])
            driven[l] = z[DUP * w + l] if take else z[DDOWN * w + l]
            z[HERE * w + l] = z[PLUS * w + l] if take else z[MINUS * w + l]
            z[(CHOSEN + 0) * w + l] = z[(UPS + 0) * w + l] if take else z[(DOWNS + 0) * w + l]
            z[(CHOSEN + 1) * w + l] = z[(UPS + 1) * w + l] if take else z[(DOWNS + 1) * w + l]
            z[(CHOSEN + 2) * w + l] = z[(UPS + 2) * w + l] if take else z[(DOWNS + 2) * w + l]
            z[(CHOSEN + 3) * w + l] = z[(UPS + 3) * w + l] if take else z[(DOWNS + 3) * w + l]
            z[WRITES * w + l] += z[ONE * w + l] if take else z[ONE * w + l] + z[ONE * w + l]
        return
    for l in range(LANES):
        here, plus, minus = z[HERE * w + l], z[PLUS * w + l], z[MINUS * w + l]
        low = minus <= here and minus <= plus
        stay = (not low) and here <= plus
        up = phase[l] + z[LR * w + l]
        moved = up - (z[LR * w + l] + z[LR * w + l]) if low else up
        phase[l] = phase[l] if stay else moved
        to = z[DDOWN * w + l] if low else z[DUP * w + l]
        driven[l] = driven[l] if stay else to
        value = minus if low else plus
        z[HERE * w + l] = here if stay else value
        for t in range(4):
            turned = z[(DOWNS + t) * w + l] if low else z[(UPS + t) * w + l]
            z[(CHOSEN + t) * w + l] = z[(ONE + t % 2) * w + l] if stay else turned
        z[WRITES * w + l] += 2 if low else 3


@fast
def start_group(uneven, x, target, gains, first, rails, tables, sense, e, h, q, here, mean):
    """Fill E, H and K at column 0 of the sweep, and `here` with the loss, from X, T (k, k, LANES), g (k, LANES)."""
    k = x.shape[0]
    total = np.zeros(LANES, e.dtype)
    for i in range(k):
        for j in range(k):
            to = lane(e, i + 2, j + 2)
            for l in range(LANES):
                to[l] = 0.0
            for t in range(k):
                a, b = x[i, t], target[j, t]
                for l in range(LANES):
                    to[l] += a[l] * b[l]
            g, a, b = gains[j], x[i, j], target[i, j]
            for l in range(LANES):
                to[l] *= g[l]
                total[l] += b[l] * b[l]
                if not uneven:
                    total[l] += a[l] * a[l]
            if uneven:
                if i == j:
                    for l in range(LANES):
                        h[i + 2, (i + 2) * LANES + l] = 0.0
                        q[i + 2, (i + 2) * LANES + l] = g[l] * g[l]
                    for t in range(k):
                        for l in range(LANES):
                            h[i + 2, (i + 2) * LANES + l] += x[i, t, l] * x[i, t, l]
                else:
                    for l in range(LANES):
                        h[i + 2, (j + 2) * LANES + l] = 0.0
                        q[i + 2, (j + 2) * LANES + l] = 0.0
    columns_count = first.size - 1
    minus = np.empty(LANES, e.dtype)
    for turned in range(columns_count - 1, 0, -1):
        c = turned if sense > 0 else columns_count - 1 - turned
        for i in range(first[c], first[c + 1]):
            columns(e, rails[i] + 2, tables[i, 0], tables[i, 1])
            if uneven:
                for l in range(LANES):
                    minus[l] = -tables[i, 1, l]
                rows(q, rails[i] + 2, tables[i, 0], minus)
                columns(q, rails[i] + 2, tables[i, 0], tables[i, 1])
    # tr(A_0 E), and tr(K A_0 H A_0') with H diagonal.
    c = 0 if sense > 0 else columns_count - 1
    for r in range(k):
        for l in range(LANES):
            total[l] -= e[r + 2, (r + 2) * LANES + l] + e[r + 2, (r + 2) * LANES + l]
            if uneven:
                total[l] += q[r + 2, (r + 2) * LANES + l] * h[r + 2, (r + 2) * LANES + l]
    for i in range(first[c], first[c + 1]):
        a = rails[i] + 2
        for l in range(LANES):
            cc, ss = tables[i, 0, l], tables[i, 1, l]
            e00, e01 = e[a, a * LANES + l], e[a, (a + 1) * LANES + l]
            e10, e11 = e[a + 1, a * LANES + l], e[a + 1, (a + 1) * LANES + l]
            change = (cc * e00 - ss * e10 + ss * e01 + cc * e11) - (e00 + e11)
            total[l] -= change + change
            if uneven:
                h0, h1 = h[a, a * LANES + l], h[a + 1, (a + 1) * LANES + l]
                q0, q1, qx = q[a, a * LANES + l], q[a + 1, (a + 1) * LANES + l], q[a, (a + 1) * LANES + l]
                z00, z11, z01 = cc * cc * h0 + ss * ss * h1, ss * ss * h0 + cc * cc * h1, cc * ss * (h0 - h1)
                total[l] += q0 * z00 + q1 * z11 + (qx + qx) * z01 - q0 * h0 - q1 * h1
    for l in range(LANES):
        here[l] = total[l] * mean


@fast
def advance(uneven, column, after, first, rails, tables, e, h, q, minus):
    """Carry E, H and K from one column of the sweep to the next (`after`, -1 past the end)."""
    for i in range(first[column], first[column + 1]):
        rows(e, rails[i] + 2, tables[i, 0], tables[i, 1])
        if uneven:
            for l in range(LANES):
                minus[l] = -tables[i, 1, l]
            rows(h, rails[i] + 2, tables[i, 0], tables[i, 1])
            columns(h, rails[i] + 2, tables[i, 0], minus)
    if after >= 0:
        for i in range(first[after], first[after + 1]):
            for l in range(LANES):
                minus[l] = -tables[i, 1, l]
            columns(e, rails[i] + 2, tables[i, 0], minus)
            if uneven:
                rows(q, rails[i] + 2, tables[i, 0], tables[i, 1])
                columns(q, rails[i] + 2, tables[i, 0], minus)


@fast
def settle(uneven, i, prev, follow, beside, rails, tables, z, e, h, q):
    """Turn what the accepted step of heater `i` turns: its MZI, its column's, and those of E, H and K."""
    w = LANES
    dc, ds = z[CHOSEN * w : (CHOSEN + 1) * w], z[(CHOSEN + 1) * w : (CHOSEN + 2) * w]
    ec, es = z[(CHOSEN + 2) * w : (CHOSEN + 3) * w], z[(CHOSEN + 3) * w : (CHOSEN + 4) * w]
    minus = z[NEGATIVE * w : (NEGATIVE + 1) * w]
    for l in range(LANES):
        minus[l] = -es[l]
    turn(tables[i, 0], tables[i, 1], dc, ds)
    for t in range(2):
        if beside[t] >= 0:
            turn(tables[beside[t], 0], tables[beside[t], 1], ec, es)
        j = prev[t]
        if j >= 0:
            rows(e, rails[j] + 2, ec, es)
            if uneven:
                rows(h, rails[j] + 2, ec, es)
                columns(h, rails[j] + 2, ec, minus)
        j = follow[t]
        if j >= 0:
            turn(tables[j, 0], tables[j, 1], ec, es)
            columns(e, rails[j] + 2, ec, es)
            if uneven:
                rows(q, rails[j] + 2, ec, minus)
                columns(q, rails[j] + 2, ec, es)


@fast
def measure(uneven, f, hw, kw, z, base, left, right, out):
    """k^2 L of the window up to a constant, at the angles from row `base` of `z` on, into row `out`."""
    to = z[out * LANES : (out + 1) * LANES]
    angles = z[base * LANES : (base + 18) * LANES]
    trace(f, angles, to)
    if uneven:
        quadratic(hw, kw, angles, left, right, to)


@fast
def windows(uneven, at, heaters, tables, e, h, q, f, hw, kw, cross, turned):
    """Copy the windows of E (less the cross term), H and K from padded rail `at` on."""
    size = WINDOW * LANES
    for a in range(WINDOW):
        copy(f[a * size : (a + 1) * size], e[at + a, at * LANES : (at + WINDOW) * LANES])
    if uneven:
        outside(h, q, at, heaters, tables, cross, turned)
        for l in range(f.size):
            f[l] -= cross[l]
        for a in range(WINDOW):
            copy(hw[a * size : (a + 1) * size], h[at + a, at * LANES : (at + WINDOW) * LANES])
            copy(kw[a * size : (a + 1) * size], q[at + a, at * LANES : (at + WINDOW) * LANES])


@fast
def heater(rule, uneven, i, column, phase, ratio, fixed, driven, static, sense, scratch):
    """Probe heater `i` up and down and settle it, in all lanes."""
    around, rails, _first, column_heaters, lsb, levels, thresholds, crosstalk, rewrap, mean = static
    tables, e, h, q, buffers, z = scratch
    f, hw, kw, left, right, cross = buffers
    w = LANES
    beside, before, after = around[i, 0:2], around[i, 2:4], around[i, 4:6]
    prev, follow = (before, after) if sense > 0 else (after, before)
    dup, ddown, lr = z[DUP * w : (DUP + 1) * w], z[DDOWN * w : (DDOWN + 1) * w], z[LR * w : (LR + 1) * w]
    trial = z[BASE * w : (BASE + 1) * w]
    for l in range(LANES):
        trial[l] = phase[l] + lr[l]
    drives(trial, ratio, fixed, lsb, levels, thresholds, rewrap, dup)
    for l in range(LANES):
        trial[l] = trial[l] - (lr[l] + lr[l])
    drives(trial, ratio, fixed, lsb, levels, thresholds, rewrap, ddown)
    windows(uneven, rails[i], column_heaters[column], tables, e, h, q, f, hw, kw, cross, left)
    still = z[ONE * w : (ONE + 2) * w]
    own = tables[i].reshape(-1)
    above = tables[beside[0]].reshape(-1) if beside[0] >= 0 else still
    below = tables[beside[1]].reshape(-1) if beside[1] >= 0 else still
    for row, angles in ((C0, above), (C2, own), (C4, below)):
        to = z[(STAY + row) * w : (STAY + row + 2) * w]
        copy(to, angles)
    measure(uneven, f, hw, kw, z, STAY, left, right, BASE)
    angles = z[UPS * w : (UPS + 18) * w]
    probe(driven, dup, crosstalk, sense, own, above, below, prev, follow, angles)
    if beside[0] < 0:
        unturned(angles, C0)
    if beside[1] < 0:
        unturned(angles, C4)
    measure(uneven, f, hw, kw, z, UPS, left, right, PLUS)
    angles = z[DOWNS * w : (DOWNS + 18) * w]
    probe(driven, ddown, crosstalk, sense, own, above, below, prev, follow, angles)
    if beside[0] < 0:
        unturned(angles, C0)
    if beside[1] < 0:
        unturned(angles, C4)
    measure(uneven, f, hw, kw, z, DOWNS, left, right, MINUS)
    # An unchanged driven phase has an equal loss by construction, so that ties fall as in exact arithmetic.
    for l in range(LANES):
        here, base = z[HERE * w + l], z[BASE * w + l]
        plus = here + (z[PLUS * w + l] - base) * mean
        minus = here + (z[MINUS * w + l] - base) * mean
        z[PLUS * w + l] = here if z[DUP * w + l] == driven[l] else plus
        z[MINUS * w + l] = here if z[DDOWN * w + l] == driven[l] else minus
    choose(rule, phase, driven, z)
    settle(uneven, i, prev, follow, beside, rails, tables, z, e, h, q)


@fast
def group(rule, uneven, phase, ratio, fixed, bias, x, target, gains, static, sense, driven, scratch):
    """One sweep of LANES cores. Arrays (n, LANES), (k, k, LANES), ... are in lane layout already; see `sweep`."""
    around, rails, first, _column_heaters, lsb, levels, thresholds, crosstalk, rewrap, mean = static
    tables, e, h, q, _buffers, z = scratch
    total = z[BASE * LANES : (BASE + 1) * LANES]
    columns_count = first.size - 1
    for i in range(rails.size):
        drives(phase[i], ratio[i], fixed[i], lsb, levels, thresholds, rewrap, driven[i])
    for i in range(rails.size):
        for l in range(LANES):
            total[l] = driven[i, l] + bias[i, l]
        for t in range(6):
            if around[i, t] >= 0:
                d = driven[around[i, t]]
                for l in range(LANES):
                    total[l] += crosstalk * d[l]
        cosine, sine = tables[i, 0], tables[i, 1]
        for l in range(LANES):
            s, c = sincos(total[l])
            cosine[l] = c
            sine[l] = sense * s
    here = z[HERE * LANES : (HERE + 1) * LANES]
    start_group(uneven, x, target, gains, first, rails, tables, sense, e, h, q, here, mean)
    for step in range(columns_count):
        column = step if sense > 0 else columns_count - 1 - step
        for i in range(first[column], first[column + 1]):
            heater(rule, uneven, i, column, phase[i], ratio[i], fixed[i], driven[i], static, sense, scratch)
        following = -1
        if step + 1 < columns_count:
            following = step + 1 if sense > 0 else columns_count - 2 - step
        advance(uneven, column, following, first, rails, tables, e, h, q, total)


@njit(parallel=True, cache=True, nogil=True)
def sweep(
    rule, uneven, phases, loss, lr, chain, rails, first, column_heaters, sense, start, gains, target, writes, chunks
):
    """Visit every heater of one mesh of M cores once, column by column. Updates `phases` (M, n), `loss`, `writes` (M,).

    Arguments as in `kernels.sweep.sweep` (without noise); `first` (C + 1,) where each column's heaters begin in travel
    order, `column_heaters` (C, k + 4) as in `outside`, `sense` +1 for U and -1 for V, `gains` (M, k) the g of above
    (`uneven`: not all of magnitude one), `chunks` how many pieces the work is cut into.
    """
    ratio, fixed, bias, around, lsb, levels, thresholds, crosstalk, rewrap = chain
    cores, n = phases.shape
    modes = start.shape[1]
    groups = (cores + LANES - 1) // LANES
    for chunk in prange(chunks):
        dtype = phases.dtype
        p = modes + 4
        mean = dtype.type(1.0 / (modes * modes))
        tables, e = np.zeros((n, 2, LANES), dtype), np.zeros((p, p * LANES), dtype)
        h, q = np.zeros((p, p * LANES), dtype), np.zeros((p, p * LANES), dtype)
        b, z = np.zeros((6, 36 * LANES), dtype), np.zeros(ROWS * LANES, dtype)
        z[ONE * LANES : (ONE + 1) * LANES] = 1.0
        for row in (PC1, PC2, NC1, NC2):
            z[(STAY + row) * LANES : (STAY + row + 1) * LANES] = 1.0
        scratch = (tables, e, h, q, (b[0], b[1], b[2], b[3], b[4], b[5]), z)
        static = (around, rails, first, column_heaters, lsb, levels, thresholds, crosstalk, rewrap, mean)
        lanes = np.empty((5, n, LANES), dtype)
        x, t = np.empty((modes, modes, LANES), dtype), np.empty((modes, modes, LANES), dtype)
        g = np.empty((modes, LANES), dtype)
        for number in range(groups * chunk // chunks, groups * (chunk + 1) // chunks):
            lo = number * LANES
            for l in range(LANES):
                m = min(lo + l, cores - 1)
                z[LR * LANES + l], z[WRITES * LANES + l] = lr[m], 0.0
                for i in range(n):
                    lanes[0, i, l], lanes[1, i, l] = phases[m, i], ratio[m, i]
                    lanes[2, i, l], lanes[3, i, l] = fixed[m, i], bias[m, i]
                for i in range(modes):
                    g[i, l] = gains[m, i]
                    for j in range(modes):
                        x[i, j, l], t[i, j, l] = start[m, i, j], target[m, i, j]
            group(rule, uneven, lanes[0], lanes[1], lanes[2], lanes[3], x, t, g, static, sense, lanes[4], scratch)
            for l in range(min(LANES, cores - lo)):
                m = lo + l
                loss[m] = z[HERE * LANES + l]
                writes[m] += np.int64(z[WRITES * LANES + l])
                for i in range(n):
                    phases[m, i] = lanes[0, i, l]
