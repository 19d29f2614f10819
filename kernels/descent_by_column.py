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

Layout: a core a lane (`kernels.lanes`), and every function sees vectors as numbers. Rails are padded by two on either
side; what lies outside is zero. Angles of V count backwards (`sense` = -1), its columns too. X and T are laid out on
the way into the lanes, and the matrix that the mesh then has is left behind: elsewhere these are passes over all cores.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from . import threads
from .descent import ZCD
from .descent_window import WINDOW, outside, quadratic, rest_quadratic, rest_trace, trace
from .lanes import (
    added,
    both,
    collect,
    columns,
    drive,
    flat,
    merged,
    room,
    rounded,
    rows,
    sincos,
    spread,
    transpose,
    turn,
    turned,
    width,
)
from .mesh import build
from .vectors import corner, full, product, root, size, view, where

LR, HERE, TRUE, WRITES, LEAST, DARK = range(6)
"""Vectors of a group: step, last reading, loss without noise, writes, the noise's least amplitude, k^2 L of entries
without noise."""


@flat
def lit(uncertain, number, total, mean, noise, z):
    """Reading `number` of an epoch of the losses `total` of all lanes."""
    if not uncertain:
        return total
    _, lo, variates, drawn, room = noise
    last = variates.shape[0] - 1
    for l in range(size(total)):
        some = variates[min(lo + l, last), number]
        room[0, l], room[1, l] = some[0], some[1]
    value, least = total / mean, z[LEAST]
    rest, one = value - z[DARK], least * drawn[0]
    value = value + (one + one) * root(where(rest > 0.0, rest, 0.0)) + one * one + least * least * drawn[1]
    return value * mean


@merged
def start_group(uneven, problem, first, rails, tables, sense, e, h, q):
    """Fill E, H and K at the first column visited; returns k^2 L.

    X, still without its factors `left` and `right` (k,), and T (k, k), g (k,).
    """
    x, left, right, target, gains = problem
    k, zero = gains.size, full(gains[0], 0.0)
    total = zero
    for i in range(k):
        for j in range(k):
            x[i, j] = x[i, j] * left[i] * right[j]
    for i in range(k):
        own, other = zero, zero
        for j in range(k):
            own += x[i, j] * x[i, j]
            other += target[i, j] * target[i, j]
        total += other
        if uneven:
            for j in range(h.shape[0]):
                h[i + 2, j], q[i + 2, j] = zero, zero
            h[i + 2, i + 2], q[i + 2, i + 2] = own, gains[i] * gains[i]
        else:
            total += own
        for j in range(k):
            to = zero
            for t in range(k):
                to += x[i, t] * target[j, t]
            e[i + 2, j + 2] = to * gains[j]
    count = first.size - 1
    for step in range(count - 1, 0, -1):
        c = step if sense > 0 else count - 1 - step
        for i in range(first[c], first[c + 1]):
            columns(e, rails[i] + 2, tables[i, 0], tables[i, 1])
            if uneven:
                both(q, rails[i] + 2, tables[i, 0], -tables[i, 1])
    # tr(A_0 E), and tr(K A_0 H A_0') with H diagonal.
    c = 0 if sense > 0 else count - 1
    for r in range(2, k + 2):
        total -= e[r, r] + e[r, r]
        if uneven:
            total += q[r, r] * h[r, r]
    for i in range(first[c], first[c + 1]):
        a, cc, ss = rails[i] + 2, tables[i, 0], tables[i, 1]
        e00, e01, e10, e11 = e[a, a], e[a, a + 1], e[a + 1, a], e[a + 1, a + 1]
        change = (cc * e00 - ss * e10 + ss * e01 + cc * e11) - (e00 + e11)
        total -= change + change
        if uneven:
            h0, h1 = h[a, a], h[a + 1, a + 1]
            q0, q1, qx = q[a, a], q[a + 1, a + 1], q[a, a + 1]
            z00, z11, z01 = cc * cc * h0 + ss * ss * h1, ss * ss * h0 + cc * cc * h1, cc * ss * (h0 - h1)
            total += q0 * z00 + q1 * z11 + (qx + qx) * z01 - q0 * h0 - q1 * h1
    return total


@merged
def carry(uneven, near, far, onward, first, rails, tables, e, h, q):
    """Carry E, H and K to a neighbouring column: from `near` to `far`, or back if not `onward`."""
    for i in range(first[near], first[near + 1]):
        s = tables[i, 1] if onward else -tables[i, 1]
        rows(e, rails[i] + 2, tables[i, 0], s)
        if uneven:
            both(h, rails[i] + 2, tables[i, 0], s)
    for i in range(first[far], first[far + 1]):
        s = tables[i, 1] if onward else -tables[i, 1]
        columns(e, rails[i] + 2, tables[i, 0], -s)
        if uneven:
            both(q, rails[i] + 2, tables[i, 0], s)


@merged
def settle(uneven, i, turns, prev, follow, beside, rails, tables, e, h, q):
    """Turn what the accepted step of heater `i` turns: its MZI, its column's, and those of E, H and K."""
    dc, ds, ec, es = turns
    turn(tables, i, dc, ds)
    for t in range(2):
        if beside[t] >= 0:
            turn(tables, beside[t], ec, es)
        j = prev[t]
        if j >= 0:
            turn(tables, j, ec, es)
            rows(e, rails[j] + 2, ec, es)
            if uneven:
                both(h, rails[j] + 2, ec, es)
        j = follow[t]
        if j >= 0:
            turn(tables, j, ec, es)
            columns(e, rails[j] + 2, ec, es)
            if uneven:
                both(q, rails[j] + 2, ec, -es)


@flat
def step(driven, to, crosstalk, sense):
    """(cos, sin) of delta and epsilon where a heater is driven from `driven` to `to`."""
    delta = to - driven
    ds, dc = sincos(delta)
    es, ec = sincos(crosstalk * delta)
    return dc, sense * ds, ec, sense * es


@flat
def beheld(j, tables, ec, es):
    """Cos and sin of a neighbour in the column and of the same further by epsilon, or of no turn for none (j < 0)."""
    if j < 0:
        one, zero = full(ec, 1.0), full(ec, 0.0)
        return one, zero
    return added(tables[j, 0], tables[j, 1], ec, es)


@flat
def apart(j, ec, es):
    """Epsilon where there is a neighbour, else no turn."""
    return (ec, es) if j >= 0 else (full(ec, 1.0), full(ec, 0.0))


@flat
def probe(uneven, turns, i, beside, prev, follow, tables, f, hw, kw, left, right):
    """k^2 L of the window where heater `i` makes the step `turns`."""
    dc, ds, ec, es = turns
    c0, s0 = beheld(beside[0], tables, ec, es)
    c2, s2 = added(tables[i, 0], tables[i, 1], dc, ds)
    c4, s4 = beheld(beside[1], tables, ec, es)
    a, b = apart(prev[0], ec, es)
    c, d = apart(prev[1], ec, es)
    p, q = apart(follow[0], ec, es)
    r, s = apart(follow[1], ec, es)
    whole = c0, s0, c2, s2, c4, s4, a, b, c, d, p, q, r, s
    total = trace(f, whole)
    if uneven:
        total += quadratic(hw, kw, whole, left, right)
    return total


@flat
def at_rest(uneven, i, beside, tables, f, hw, kw):
    """The same where it stays."""
    one, zero = full(tables[i, 0], 1.0), full(tables[i, 0], 0.0)
    c0, s0 = beheld(beside[0], tables, one, zero)
    c4, s4 = beheld(beside[1], tables, one, zero)
    c2, s2 = tables[i, 0], tables[i, 1]
    total = rest_trace(f, c0, s0, c2, s2, c4, s4)
    if uneven:
        total += rest_quadratic(hw, kw, c0, s0, c2, s2, c4, s4)
    return total


@merged
def heater(rule, uneven, i, number, column, lanes, static, noise, sense, scratch):
    """Probe heater `i` up and down, readings `number` and the next, and settle it, in all lanes."""
    phase, ratio, fixed, _bias, _signs, driven = lanes
    around, rails, _first, heaters, lsb, levels, thresholds, crosstalk, rewrap, mean = static
    tables, e, h, q, buffers, w, z = scratch
    left, right, uncertain, at = buffers[1], buffers[2], noise[0], rails[i]
    beside, before, after = around[i, 0:2], around[i, 2:4], around[i, 4:6]
    prev, follow = (before, after) if sense > 0 else (after, before)
    now, lr, here, true = driven[i], z[LR], z[HERE], z[TRUE]
    up = phase[i] + lr
    down = up - (lr + lr)
    dup = drive(up, ratio[i], fixed[i], lsb, levels, thresholds, rewrap)
    ddown = drive(down, ratio[i], fixed[i], lsb, levels, thresholds, rewrap)
    f, hw, kw = corner(e, at, at), corner(h, at, at), corner(q, at, at)
    if uneven:
        outside(buffers[0], f, h, q, at, heaters[column], tables, w)
        f = buffers[0]
    base = at_rest(uneven, i, beside, tables, f, hw, kw)
    ups, downs = step(now, dup, crosstalk, sense), step(now, ddown, crosstalk, sense)
    plus = true + (probe(uneven, ups, i, beside, prev, follow, tables, f, hw, kw, left, right) - base) * mean
    minus = true + (probe(uneven, downs, i, beside, prev, follow, tables, f, hw, kw, left, right) - base) * mean
    # An unchanged driven phase has an equal loss by construction, so that ties fall as in exact arithmetic.
    plus, minus = where(dup == now, true, plus), where(ddown == now, true, minus)
    seen_plus = lit(uncertain, number, plus, mean, noise, z)
    seen_minus = lit(uncertain, number + 1, minus, mean, noise, z)
    one = full(plus, 1.0)
    if rule == ZCD:
        take = seen_plus < here
        phase[i], driven[i] = where(take, up, down), where(take, dup, ddown)
        z[TRUE] = where(take, plus, minus)
        # The state of the decision is read again.
        z[HERE] = lit(uncertain, number + 1, z[TRUE], mean, noise, z)
        z[WRITES] += where(take, one, one + one)
        dc, ds = where(take, ups[0], downs[0]), where(take, ups[1], downs[1])
        ec, es = where(take, ups[2], downs[2]), where(take, ups[3], downs[3])
    else:
        low = (seen_minus <= here) & (seen_minus <= seen_plus)
        stay = here <= seen_plus
        phase[i] = where(low, down, where(stay, phase[i], up))
        driven[i] = where(low, ddown, where(stay, now, dup))
        z[TRUE] = where(low, minus, where(stay, true, plus))
        z[HERE] = where(low, seen_minus, where(stay, here, seen_plus))
        z[WRITES] += where(low, one + one, one + one + one)
        dc, ds = where(low, downs[0], where(stay, one, ups[0])), where(low, downs[1], where(stay, 0.0, ups[1]))
        ec, es = where(low, downs[2], where(stay, one, ups[2])), where(low, downs[3], where(stay, 0.0, ups[3]))
    settle(uneven, i, (dc, ds, ec, es), prev, follow, beside, rails, tables, e, h, q)


@flat
def group(rule, uneven, lanes, problem, static, noise, sense, steps, scratch):
    """One epoch of the cores of a vector, whose arrays, (n,), (k, k), ..., are in lane layout already."""
    phase, ratio, fixed, bias, signs, driven = lanes
    around, rails, first, _heaters, lsb, levels, thresholds, crosstalk, rewrap, mean = static
    tables, e, h, q, _buffers, _w, z = scratch
    count = first.size - 1
    for i in range(rails.size):
        driven[i] = drive(phase[i], ratio[i], fixed[i], lsb, levels, thresholds, rewrap)
    for i in range(rails.size):
        tables[i, 0], tables[i, 1] = turned(i, driven, bias, signs, around, crosstalk)
    z[TRUE] = start_group(uneven, problem, first, rails, tables, sense, e, h, q) * mean
    if not noise[0]:
        z[HERE] = z[TRUE]
    at, number = 0, 0
    for step in steps:
        while at != step:
            near = min(at, at + 1 if step > at else at - 1)
            a, b = (near, near + 1) if sense > 0 else (count - 1 - near, count - 2 - near)
            carry(uneven, a, b, step > at, first, rails, tables, e, h, q)
            at += 1 if step > at else -1
        column = at if sense > 0 else count - 1 - at
        for i in range(first[column], first[column + 1]):
            heater(rule, uneven, i, number, column, lanes, static, noise, sense, scratch)
            number += 2


@rounded
def effective(driven, bias, around, crosstalk, phase):
    """Steps 4-5 of the noise chain for all heaters (n,), rounded as `chain.apply` does."""
    for i in range(phase.size):
        leak = full(bias[i], 0.0)
        if crosstalk > 0.0:
            for t in range(around.shape[1]):
                leak += driven[around[i, t]]  # the -1 of a missing neighbour leads to the zero at the end
        phase[i] = driven[i] + product(leak, crosstalk) + bias[i]


@njit(cache=True, nogil=True)
def piece(
    begin, end, rule, uneven, phases, loss, lr, chain, rails, first, column_heaters, sense, steps, problem, uncertain,
    amplitudes, variates, signs, writes, made,
):  # fmt: skip
    """The vectors of cores from `begin` to `end`, with scratch of their own."""
    ratio, fixed, bias, around, lsb, levels, thresholds, crosstalk, rewrap = chain
    rest, left, right, target, gains = problem
    (cores, n), k, dtype, lanes = phases.shape, rest.shape[1], phases.dtype, width(phases)
    matrices = room(3 * (k + 4), k + 4, rest)
    matrices[:] = 0.0
    whole, b = view(matrices), view(room(18, WINDOW, rest))
    e, h, q = whole[: k + 4], whole[k + 4 : 2 * k + 8], whole[2 * k + 8 :]
    numbers, drawn = room(DARK + 1, 1, rest).reshape(DARK + 1, lanes), room(2, 1, rest).reshape(2, lanes)
    z = view(numbers)
    scratch = view(room(n, 2, rest)), e, h, q, (b[:6], b[6:12], b[12:]), view(room(k + 4, WINDOW, rest)), z
    mean = dtype.type(1.0 / (k * k))
    static = around, rails, first, column_heaters, lsb, levels, thresholds, crosstalk, rewrap, mean
    lines = room(6 * n + 1, 1, rest).reshape(6 * n + 1, lanes)
    phase, own_ratio, own_fixed = lines[:n], lines[n : 2 * n], lines[2 * n : 3 * n]
    own_bias, turns, driven = lines[3 * n : 4 * n], lines[4 * n : 5 * n], lines[5 * n :]
    driven[n] = 0.0
    own = view(phase), view(own_ratio), view(own_fixed), view(own_bias), view(turns), view(driven)
    ends = room(4 * k, 1, rest).reshape(4 * k, lanes)
    g, by_row, by_column, own_signs = ends[:k], ends[k : 2 * k], ends[2 * k : 3 * k], ends[3 * k :]
    x, t, end_signs = room(k, k, rest), room(k, k, rest), view(own_signs)
    own_problem = view(x), view(by_row), view(by_column), view(t), view(g)
    for number in range(begin, end):
        lo = number * lanes
        spread(phases, lo, lanes, phase)
        spread(ratio, lo, lanes, own_ratio)
        spread(fixed, lo, lanes, own_fixed)
        spread(bias, lo, lanes, own_bias)
        spread(gains, lo, lanes, g)
        spread(left, lo, lanes, by_row)
        spread(right, lo, lanes, by_column)
        spread(signs, lo, lanes, own_signs)
        spread(rest.reshape(cores, k * k), lo, lanes, x.reshape(k * k, lanes))
        spread(target.reshape(cores, k * k), lo, lanes, t.reshape(k * k, lanes))
        if sense < 0.0:
            transpose(own_problem[0])
            transpose(own_problem[3])
        turns[:] = sense
        for l in range(lanes):
            m = min(lo + l, cores - 1)
            numbers[LR, l], numbers[WRITES, l], numbers[HERE, l] = lr[m], 0.0, loss[m]
            numbers[LEAST, l], numbers[DARK, l] = amplitudes[0][m], amplitudes[1][m]
        group(
            rule, uneven, own, own_problem, static, (uncertain, lo, variates, view(drawn), drawn), sense, steps, scratch
        )
        for l in range(min(lanes, cores - lo)):
            m = lo + l
            loss[m] = numbers[HERE, l]
            writes[m] += np.int64(numbers[WRITES, l])
        collect(phase, phases, lo)
        effective(own[5], own[3], around, crosstalk, own[0])
        turns[:] = 1.0
        build(own[0], own[4], end_signs, rails, own_problem[0])
        collect(x.reshape(k * k, lanes), made.reshape(cores, k * k), lo)


def descend(
    rule, uneven, phases, loss, lr, chain, rails, first, column_heaters, sense, steps, problem, uncertain, amplitudes,
    variates, signs, writes, made,
):  # fmt: skip
    """One epoch of descent over one mesh of M cores, column by column. Updates `phases` (M, n), `loss`, `writes` (M,),
    and fills `made` (M, k, k) with the matrices that the mesh, with `signs` (M, k) at its outputs, then has.

    Arguments as in `descent.descend`; where readings are `uncertain`, `amplitudes` are the least and the dark ones and
    `variates` have one normal number a reading. `first` (C + 1,) where each column's heaters begin in travel
    order, `column_heaters` (C, k + 4) as in `outside`, `sense` +1 for U and -1 for V, `steps` (C,) the columns as
    visited, counted from the one nearest sigma. `problem`: Y, left, right, T, g, of which X = diag(left) Y diag(right),
    for V with the transposes of Y and T (M, k, k); the others are (M, k) (`uneven`: g is not all of magnitude one).
    """
    lanes = width.py_func(phases.dtype)
    groups = -(-phases.shape[0] // lanes)
    threads.share(
        piece, groups, 2.5 * lanes * groups * rails.size * made.shape[1], rule, uneven, phases, loss, lr, chain,
        rails, first, column_heaters, sense, steps, problem, uncertain, amplitudes, variates, signs, writes, made,
    )  # fmt: skip
