"""Coordinate descent column by column at the price of a 6 x 6 window a probe, thirty-two cores side by side.

The problem is that of `kernels.descent`, k^2 L = |diag(g) P X - T|^2, for a mesh P = A_{C-1} ... A_0 that moves. Where
|g_i| = 1 the first term is constant, P being orthogonal, and with C = X T' diag(g)

    k^2 L = const - 2 tr(P C) = const - 2 tr(A_c E),      E = A_{c-1} ... A_0 C A_{C-1} ... A_{c+1}.

A step of one heater turns its own MZI by delta and, through crosstalk, its up to six neighbours by epsilon: two in the
same column, two in each adjacent one. So A_c changes on the six rails around it, and E by rotations of two pairs of
rows (the column before) and two pairs of columns (the column after): a probe is the trace of a 6 x 6 window. E is
carried along: accepted steps rotate it, the next column is reached by E <- A_c E A_{c+1}', the one before by
E <- A_{c-1}' E A_c, and any other by such steps.

Where g differs (calibration, when V moves) X X' is diagonal, H0, since the resting mesh is orthogonal, and

    |diag(g) P X|^2 = tr(K M H M'),   H = A_{c-1} ... A_0 H0 (...)',   K = (...)' diag(g^2) A_{C-1} ... A_{c+1},

M being A_c with its neighbours' turns. M changes on the window w only, so that this is tr(K_ww M_w H_ww M_w') plus
2 tr(M_w N), N = H_wo A_o' K_ow the cross term to the rails o outside, plus a constant: N joins E, and H and K are
carried along like E. They are symmetric: only what lies on and above the diagonal is stored. What a probe costs is in
`kernels.descent_window`.

Readout noise needs the whole residual only, where its amplitudes are alike (`kernels.descent`): the loss without noise
is carried along, and readings of it decide.

Layout: structure of arrays, the lane (core) innermost, so that every loop over lanes is one vector operation. Rails are
padded by two on either side; what lies outside is zero. Angles of V count backwards (`sense` = -1), its columns too.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from . import threads
from .descent import ZCD, even_reading
from .descent_window import (
    BASE,
    C0,
    C2,
    C4,
    CHOSEN,
    DARK,
    DDOWN,
    DOWNS,
    DUP,
    HERE,
    LEAST,
    LR,
    MINUS,
    NEGATIVE,
    NEXT,
    ONE,
    PLUS,
    ROWS,
    STAY,
    TRUE,
    UPS,
    WINDOW,
    WRITES,
    outside,
    probe,
    quadratic,
    rest_quadratic,
    rest_trace,
    trace,
    unturned,
)
from .lanes import LANES, both, columns, copy, dot, drives, fast, flat, room, rows, spread, turn, turned


@flat
def choose(rule, phase, driven, z):
    """Settle one heater of all lanes by the rule of `kernels.descent`; CHOSEN gets (cos, sin) of delta and epsilon."""
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
def noisy(row, number, lo, variates, mean, z, out):
    """Row `out` <- reading `number` of an epoch of the losses in `row`, of every lane."""
    w, last = LANES, variates.shape[0] - 1
    for l in range(LANES):
        drawn = variates[min(lo + l, last), number]
        z[out * w + l] = even_reading(z[row * w + l] / mean, z[DARK * w + l], z[LEAST * w + l], drawn) * mean


@fast
def read(rule, number, lo, variates, mean, z):
    """Read the two probes, of true losses PLUS and MINUS, in place; NEXT gets the true loss of what `choose` takes."""
    w = LANES
    for l in range(LANES):
        z[(CHOSEN + 0) * w + l], z[(CHOSEN + 1) * w + l] = z[PLUS * w + l], z[MINUS * w + l]
    noisy(PLUS, number, lo, variates, mean, z, PLUS)
    noisy(MINUS, number + 1, lo, variates, mean, z, MINUS)
    for l in range(LANES):
        here, plus, minus = z[HERE * w + l], z[PLUS * w + l], z[MINUS * w + l]
        low = (not plus < here) if rule == ZCD else (minus <= here and minus <= plus)
        stay = rule != ZCD and (not low) and here <= plus
        moved = z[(CHOSEN + 1) * w + l] if low else z[(CHOSEN + 0) * w + l]
        z[NEXT * w + l] = z[TRUE * w + l] if stay else moved


@fast
def start_group(uneven, problem, first, rails, tables, sense, e, h, q, total, minus):
    """Fill E, H and K at the first column visited, and `total` (LANES,) with k^2 L.

    X, T (k, columns, LANES) with columns padded with zeros to a multiple of four; g (k, LANES).
    """
    x, target, gains = problem
    k, width = x.shape[0], 4 * LANES
    total[:] = 0.0
    if uneven:
        h[:] = 0.0
        q[:] = 0.0
    for i in range(k):
        a, g = x[i].reshape(-1), gains[i]
        own = target[i].reshape(-1)
        for t in range(0, a.size, width):
            dot(total, own[t : t + width], own[t : t + width])
            if uneven:
                dot(h[i + 2, i + 2], a[t : t + width], a[t : t + width])
            else:
                dot(total, a[t : t + width], a[t : t + width])
        if uneven:
            product(q[i + 2, i + 2], g, g)
        for j in range(k):
            to, b = e[i + 2, j + 2], target[j].reshape(-1)
            to[:] = 0.0
            for t in range(0, a.size, width):
                dot(to, a[t : t + width], b[t : t + width])
            product(to, to, gains[j])
    columns_count = first.size - 1
    for step in range(columns_count - 1, 0, -1):
        c = step if sense > 0 else columns_count - 1 - step
        for i in range(first[c], first[c + 1]):
            columns(e, rails[i] + 2, tables[i, 0], tables[i, 1])
            if uneven:
                negative(minus, tables[i, 1])
                both(q, rails[i] + 2, tables[i, 0], minus)
    # tr(A_0 E), and tr(K A_0 H A_0') with H diagonal.
    c = 0 if sense > 0 else columns_count - 1
    for r in range(2, k + 2):
        own, a, b = e[r, r], h[r, r], q[r, r]
        for l in range(total.size):
            total[l] -= own[l] + own[l]
            if uneven:
                total[l] += b[l] * a[l]
    for i in range(first[c], first[c + 1]):
        a = rails[i] + 2
        for l in range(LANES):
            cc, ss = tables[i, 0, l], tables[i, 1, l]
            e00, e01, e10, e11 = e[a, a, l], e[a, a + 1, l], e[a + 1, a, l], e[a + 1, a + 1, l]
            change = (cc * e00 - ss * e10 + ss * e01 + cc * e11) - (e00 + e11)
            total[l] -= change + change
            if uneven:
                h0, h1 = h[a, a, l], h[a + 1, a + 1, l]
                q0, q1, qx = q[a, a, l], q[a + 1, a + 1, l], q[a, a + 1, l]
                z00, z11, z01 = cc * cc * h0 + ss * ss * h1, ss * ss * h0 + cc * cc * h1, cc * ss * (h0 - h1)
                total[l] += q0 * z00 + q1 * z11 + (qx + qx) * z01 - q0 * h0 - q1 * h1


@fast
def product(to, x, y):
    """to <- x y."""
    for l in range(to.size):
        to[l] = x[l] * y[l]


@fast
def negative(to, x):
    """to <- -x."""
    for l in range(to.size):
        to[l] = -x[l]


@fast
def carry(uneven, near, far, onward, first, rails, tables, e, h, q, minus):
    """Carry E, H and K to a neighbouring column: from `near` to `far`, or back if not `onward`."""
    for i in range(first[near], first[near + 1]):
        negative(minus, tables[i, 1])
        a, b = (tables[i, 1], minus) if onward else (minus, tables[i, 1])
        rows(e, rails[i] + 2, tables[i, 0], a)
        if uneven:
            both(h, rails[i] + 2, tables[i, 0], a)
    for i in range(first[far], first[far + 1]):
        negative(minus, tables[i, 1])
        a, b = (tables[i, 1], minus) if onward else (minus, tables[i, 1])
        columns(e, rails[i] + 2, tables[i, 0], b)
        if uneven:
            both(q, rails[i] + 2, tables[i, 0], a)


@flat
def settle(uneven, i, prev, follow, beside, rails, tables, z, e, h, q):
    """Turn what the accepted step of heater `i` turns: its MZI, its column's, and those of E, H and K."""
    w = LANES
    dc, ds = z[CHOSEN * w : (CHOSEN + 1) * w], z[(CHOSEN + 1) * w : (CHOSEN + 2) * w]
    ec, es = z[(CHOSEN + 2) * w : (CHOSEN + 3) * w], z[(CHOSEN + 3) * w : (CHOSEN + 4) * w]
    minus = z[NEGATIVE * w : (NEGATIVE + 1) * w]
    negative(minus, es)
    turn(tables[i, 0], tables[i, 1], dc, ds)
    for t in range(2):
        if beside[t] >= 0:
            turn(tables[beside[t], 0], tables[beside[t], 1], ec, es)
        j = prev[t]
        if j >= 0:
            turn(tables[j, 0], tables[j, 1], ec, es)
            rows(e, rails[j] + 2, ec, es)
            if uneven:
                both(h, rails[j] + 2, ec, es)
        j = follow[t]
        if j >= 0:
            turn(tables[j, 0], tables[j, 1], ec, es)
            columns(e, rails[j] + 2, ec, es)
            if uneven:
                both(q, rails[j] + 2, ec, minus)


@flat
def windows(uneven, at, heaters, tables, e, h, q, f, hw, kw, rows, z):
    """Copy the windows of E (less the cross term), H and K (above the diagonal) from padded rail `at` on."""
    size = WINDOW * LANES
    for a in range(WINDOW):
        copy(f[a * size : (a + 1) * size], e[at + a, at : at + WINDOW].reshape(-1))
    if uneven:
        outside(f, h, q, at, heaters, tables, z, rows)
        for a in range(WINDOW):
            copy(hw[a * size : (a + 1) * size], h[at + a, at : at + WINDOW].reshape(-1))
            copy(kw[a * size : (a + 1) * size], q[at + a, at : at + WINDOW].reshape(-1))


@flat
def heater(rule, uneven, i, number, column, phase, ratio, fixed, driven, static, noise, sense, scratch):
    """Probe heater `i` up and down, readings `number` and the next, and settle it, in all lanes."""
    uncertain, lo, variates = noise
    around, rails, _first, column_heaters, lsb, levels, thresholds, crosstalk, rewrap, mean = static
    tables, e, h, q, buffers, z = scratch
    f, hw, kw, left, right = buffers
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
    windows(uneven, rails[i], column_heaters[column], tables, e, h, q, f, hw, kw, left, z)
    still = z[ONE * w : (ONE + 2) * w]
    own = tables[i].reshape(-1)
    above = tables[beside[0]].reshape(-1) if beside[0] >= 0 else still
    below = tables[beside[1]].reshape(-1) if beside[1] >= 0 else still
    for row, angles in ((C0, above), (C2, own), (C4, below)):
        to = z[(STAY + row) * w : (STAY + row + 2) * w]
        copy(to, angles)
    base, angles = z[BASE * w : (BASE + 1) * w], z[STAY * w : (STAY + 18) * w]
    rest_trace(f, angles, base)
    if uneven:
        rest_quadratic(hw, kw, angles, base)
    for driven_to, row, out in ((dup, UPS, PLUS), (ddown, DOWNS, MINUS)):
        angles = z[row * w : (row + 18) * w]
        probe(driven, driven_to, crosstalk, sense, own, above, below, prev, follow, angles)
        if beside[0] < 0:
            unturned(angles, C0)
        if beside[1] < 0:
            unturned(angles, C4)
        to = z[out * w : (out + 1) * w]
        trace(f, angles, to)
        if uneven:
            quadratic(hw, kw, angles, left, right, to)
    # An unchanged driven phase has an equal loss by construction, so that ties fall as in exact arithmetic.
    for l in range(LANES):
        here, base = z[TRUE * w + l], z[BASE * w + l]
        plus = here + (z[PLUS * w + l] - base) * mean
        minus = here + (z[MINUS * w + l] - base) * mean
        z[PLUS * w + l] = here if z[DUP * w + l] == driven[l] else plus
        z[MINUS * w + l] = here if z[DDOWN * w + l] == driven[l] else minus
    if uncertain:
        read(rule, number, lo, variates, mean, z)
    choose(rule, phase, driven, z)
    if uncertain:
        copy(z[TRUE * w : (TRUE + 1) * w], z[NEXT * w : (NEXT + 1) * w])
        if rule == ZCD:  # the state of the decision is read again
            noisy(TRUE, number + 1, lo, variates, mean, z, HERE)
    else:
        copy(z[TRUE * w : (TRUE + 1) * w], z[HERE * w : (HERE + 1) * w])
    settle(uneven, i, prev, follow, beside, rails, tables, z, e, h, q)


@flat
def group(rule, uneven, lanes, problem, static, noise, sense, steps, scratch):
    """One epoch of LANES cores, whose arrays, (n, LANES), (k, columns, LANES), ..., are in lane layout already."""
    phase, ratio, fixed, bias, signs, driven = lanes
    around, rails, first, _column_heaters, lsb, levels, thresholds, crosstalk, rewrap, mean = static
    tables, e, h, q, _buffers, z = scratch
    total, spare = z[TRUE * LANES : (TRUE + 1) * LANES], z[BASE * LANES : (BASE + 1) * LANES]
    columns_count = first.size - 1
    for i in range(rails.size):
        drives(phase[i], ratio[i], fixed[i], lsb, levels, thresholds, rewrap, driven[i])
    for i in range(rails.size):
        turned(i, driven, bias, signs, around, crosstalk, tables)
    start_group(uneven, problem, first, rails, tables, sense, e, h, q, total, spare)
    for l in range(total.size):
        total[l] *= mean
    if not noise[0]:
        copy(z[HERE * LANES : (HERE + 1) * LANES], total)
    at, number = 0, 0
    for step in steps:
        while at != step:
            near = min(at, at + 1 if step > at else at - 1)
            a, b = (near, near + 1) if sense > 0 else (columns_count - 1 - near, columns_count - 2 - near)
            carry(uneven, a, b, step > at, first, rails, tables, e, h, q, spare)
            at += 1 if step > at else -1
        column = at if sense > 0 else columns_count - 1 - at
        for i in range(first[column], first[column + 1]):
            heater(
                rule, uneven, i, number, column, phase[i], ratio[i], fixed[i], driven[i], static, noise, sense, scratch
            )
            number += 2


@njit(cache=True, nogil=True)
def piece(
    begin, end, rule, uneven, phases, loss, lr, chain, rails, first, column_heaters, sense, steps, start, gains, target,
    uncertain, amplitudes, variates, writes,
):
    """The groups of LANES cores from `begin` to `end`, with scratch of their own."""
    ratio, fixed, bias, around, lsb, levels, thresholds, crosstalk, rewrap = chain
    (cores, n), k, dtype = phases.shape, start.shape[1], phases.dtype
    padded = -(-k // 4) * 4
    tables, matrices = room(n, 2, start), room(3 * (k + 4), k + 4, start)
    matrices[:] = 0.0
    e, h, q = matrices[: k + 4], matrices[k + 4 : 2 * k + 8], matrices[2 * k + 8 :]
    b, z = room(5, 36, start).reshape(5, 36 * LANES), room(ROWS, 1, start).reshape(ROWS * LANES)
    z[:] = 0.0
    z[ONE * LANES : (ONE + 1) * LANES] = 1.0
    scratch = tables, e, h, q, (b[0], b[1], b[2], b[3], b[4]), z
    mean = dtype.type(1.0 / (k * k))
    static = around, rails, first, column_heaters, lsb, levels, thresholds, crosstalk, rewrap, mean
    rest = room(6 * n + 1 + k, 1, start).reshape(6 * n + 1 + k, LANES)
    phase, own_ratio, own_fixed = rest[:n], rest[n : 2 * n], rest[2 * n : 3 * n]
    own_bias, signs, driven, g = rest[3 * n : 4 * n], rest[4 * n : 5 * n], rest[5 * n : 6 * n + 1], rest[6 * n + 1 :]
    signs[:], driven[n] = sense, 0.0
    both = room(2 * k, padded, start)
    both[:] = 0.0
    x, t = both[:k], both[k:]
    for number in range(begin, end):
        lo = number * LANES
        spread(phases, lo, LANES, phase)
        spread(ratio, lo, LANES, own_ratio)
        spread(fixed, lo, LANES, own_fixed)
        spread(bias, lo, LANES, own_bias)
        spread(gains, lo, LANES, g)
        for l in range(LANES):
            m = min(lo + l, cores - 1)
            z[LR * LANES + l], z[WRITES * LANES + l], z[HERE * LANES + l] = lr[m], 0.0, loss[m]
            z[LEAST * LANES + l], z[DARK * LANES + l] = amplitudes[0][m], amplitudes[1][m]
            for i in range(k):
                for j in range(k):
                    x[i, j, l], t[i, j, l] = start[m, i, j], target[m, i, j]
        lanes = phase, own_ratio, own_fixed, own_bias, signs, driven
        group(rule, uneven, lanes, (x, t, g), static, (uncertain, lo, variates), sense, steps, scratch)
        for l in range(min(LANES, cores - lo)):
            m = lo + l
            loss[m] = z[HERE * LANES + l]
            writes[m] += np.int64(z[WRITES * LANES + l])
            for i in range(n):
                phases[m, i] = phase[i, l]


def descend(
    rule, uneven, phases, loss, lr, chain, rails, first, column_heaters, sense, steps, start, gains, target, uncertain,
    amplitudes, variates, writes,
):  # fmt: skip
    """One epoch of descent over one mesh of M cores, column by column. Updates `phases` (M, n), `loss`, `writes` (M,).

    Arguments as in `descent.descend`; where readings are `uncertain`, `amplitudes` are the least and the dark ones and
    `variates` have one normal number a reading. `first` (C + 1,) where each column's heaters begin in travel
    order, `column_heaters` (C, k + 4) as in `outside`, `sense` +1 for U and -1 for V, `steps` (C,) the columns as
    visited, counted from the one nearest sigma, `gains` (M, k) the g of above
    (`uneven`: not all of magnitude one).
    """
    groups = -(-phases.shape[0] // LANES)
    threads.share(
        piece, groups, 2.5 * LANES * groups * rails.size * start.shape[1], rule, uneven, phases, loss, lr, chain,
        rails, first, column_heaters, sense, steps, start, gains, target, uncertain, amplitudes, variates, writes,
    )  # fmt: skip
