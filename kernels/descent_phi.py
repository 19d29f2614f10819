"""Coordinate descent over the heaters of one mesh of cores with theta and phi in every MZI, all cores in one launch.

Rules, noise and arguments are those of `kernels.descent`, whose P X is complex here, of couplers T (`kernels.couplers`)
and the screen; what a quadrature shows of it is its real part, what a field reading shows both parts:

    quadrature  L = 1/k^2 sum_ij (g_i Re(P X)_ij - T_ij)^2      field  L = 1/k^2 sum_ij |g_i (P X)_ij - T_ij|^2
    U moves:  P = e^{i screen} T_{n-1} ... T_0                  V moves:  P = T_0' ... T_{n-1}' e^{i screen}

Readings of both parts have noise in each, so that a column has twice as many entries. A coupler is, with c, s of theta
and e^{i phi} and the eight products of splitters and arms that `passive` holds,

    T = [[(p1 E - p2) F, i (r1 E + r2)], [i (q1 E + q2) F, s1 - s2 E]],    E = e^{i theta}, F = e^{i phi}

A core a lane, vectors as numbers (`kernels.vectors`). P X of the couplers that a heater does not touch, those before
its neighbours, is kept for both of its probes, and goes on from one heater to the next where these stand behind: a
search column by column computes half of what one at random does.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from . import threads
from .descent import DARK, HERE, LEAST, LR, TOTAL, WRITES, ZCD, lit
from .lanes import drive, fast, flat, room, sincos, spread, width
from .propagate import pair
from .vectors import full, view, where

PASSIVE, PARTS = 8, 8
"""Numbers of a coupler that the fab made, and parts of the elements of its matrix."""


@fast
def phase_of(i, driven, bias, around, crosstalk, stretch):
    """Steps 4-5 of the noise chain for heater `i` of all lanes, off the design wavelength: (cos, sin)."""
    phase = driven[i]
    if crosstalk > 0.0:
        total = driven[around[i, 0]]
        for t in range(1, around.shape[1]):
            total += driven[around[i, t]]
        phase = phase + crosstalk * total
    s, c = sincos((phase + bias[i]) * stretch)
    return c, s


@fast
def couple(t, theta, phi, turns, made, parts):
    """The elements of coupler `t` from the phases that light sees (`turns`: cos, sin) and what the fab made."""
    er, ei, fr, fi = turns[theta, 0], turns[theta, 1], turns[phi, 0], turns[phi, 1]
    pr, pi = made[0, t] * er - made[1, t], made[0, t] * ei
    qr, qi = made[2, t] * er + made[3, t], made[2, t] * ei
    parts[t, 0], parts[t, 1] = pr * fr - pi * fi, pr * fi + pi * fr
    parts[t, 2], parts[t, 3] = -(made[4, t] * ei), made[4, t] * er + made[5, t]
    parts[t, 4], parts[t, 5] = -(qr * fi + qi * fr), qr * fr - qi * fi
    parts[t, 6], parts[t, 7] = made[6, t] - made[7, t] * er, -(made[7, t] * ei)


@fast
def command(i, to, driven, bias, static, turns, made, parts):
    """Drive heater `i` of all lanes to `to`, and turn it and those that it heats."""
    around, crosstalk, stretch, stands, thetas, phis = static
    driven[i] = to
    for t in range(-1, around.shape[1] if crosstalk > 0.0 else 0):
        j = i if t < 0 else around[i, t]
        if j < driven.size - 1:
            turns[j, 0], turns[j, 1] = phase_of(j, driven, bias, around, crosstalk, stretch)
            at = stands[j]
            if at < thetas.size:
                couple(at, thetas[at], phis[at], turns, made, parts)


@fast
def screened(strip, w, screens, turns):
    """Every rail of a strip times its e^{i screen}."""
    for i in range(strip.shape[0]):
        c, s = turns[screens[i], 0], turns[screens[i], 1]
        for j in range(w):
            x, y = strip[i, j], strip[i, j + w]
            strip[i, j], strip[i, j + w] = c * x - s * y, s * x + c * y


@fast
def through(strip, w, rails, first, last, reverse, parts):
    """A strip through the couplers from `first` to `last` in the order in which P is made of them."""
    for place in range(first, last):
        t = rails.size - 1 - place if reverse else place
        r = rails[t]
        b, c = (4, 2) if reverse else (2, 4)
        pair(
            strip, r, r + 1, w, parts[t, 0], parts[t, 1], parts[t, b], parts[t, b + 1], parts[t, c], parts[t, c + 1],
            parts[t, 6], parts[t, 7],
        )  # fmt: skip


@fast
def residuals(strip, g, want, screens, turns, ahead, both, sums, own):
    """k^2 L of all lanes without noise; `sums` and `own` (k,): of every column, and of every row. `ahead`: the screen
    is behind the couplers, and has yet to act."""
    w = want.shape[1]
    zero = full(g[0], 0.0)
    for j in range(w):
        sums[j] = zero
    total = zero
    for i in range(strip.shape[0]):
        c, s, row = full(g[0], 1.0), zero, zero
        if ahead:
            c, s = turns[screens[i], 0], turns[screens[i], 1]
        for j in range(w):
            x, y = strip[i, j], strip[i, j + w]
            d = g[i] * (c * x - s * y) - want[i, j]
            square = d * d
            if both:
                d = g[i] * (s * x + c * y)
                square = square + d * d
            sums[j] += square
            row = row + square
        own[i] = row
        total = total + row
    return total


@flat
def copied(source, to):
    """to <- source, two-dimensional."""
    for i in range(source.shape[0]):
        for j in range(source.shape[1]):
            to[i, j] = source[i, j]


@flat
def group(rule, lo, lanes, static, shared, problem, noise, keep, scratch, optics, strips, z, numbers):
    """One epoch of the cores of a vector, from `lo` on, whose arrays are in lane layout already."""
    phase, ratio, fixed, bias, driven = lanes
    order, earliest, rails, screens, lsb, levels, thresholds, rewrap, reverse, both, mean = static
    around, crosstalk, stretch, _, thetas, phis = shared
    x, g, want = problem
    turns, made, parts = optics
    known, strip = strips
    sums, own, _ = scratch
    noisy, w, count = noise[0], want.shape[1], rails.size
    heaters = phase.size
    for i in range(heaters):
        driven[i] = drive(phase[i], ratio[i], fixed[i], lsb, levels, thresholds, rewrap)
    for i in range(heaters):
        turns[i, 0], turns[i, 1] = phase_of(i, driven, bias, around, crosstalk, stretch)
    for t in range(count):
        couple(t, thetas[t], phis[t], turns, made, parts)
    at = -1  # how many couplers `known` went through; -1: not through the screen of V either
    copied(x, known)
    if not noisy:
        copied(x, strip)
        if reverse:
            screened(strip, w, screens, turns)
        through(strip, w, rails, 0, count, reverse, parts)
        start = residuals(strip, g, want, screens, turns, not reverse, both, sums, own) * mean
        z[HERE] = where(keep == 1.0, z[HERE], start)
    one, lr = full(z[LR], 1.0), z[LR]
    for v in range(order.size):
        i = order[v]
        need = earliest[i]
        if need < at:
            copied(x, known)
            at = -1
        if at < 0 <= need:
            if reverse:
                screened(known, w, screens, turns)
            at = 0
        if need > at:
            through(known, w, rails, at, need, reverse, parts)
            at = need
        now, here, plus, minus = phase[i], z[HERE], one, one
        up, down, take = now + lr, now + lr - (lr + lr), one < one
        for probe in range(2):
            trial = up if probe == 0 else where(take, up, down)
            old = driven[i]
            to = drive(trial, ratio[i], fixed[i], lsb, levels, thresholds, rewrap)
            command(i, to, driven, bias, shared, turns, made, parts)
            copied(known, strip)
            if reverse and at < 0:
                screened(strip, w, screens, turns)
            through(strip, w, rails, max(at, 0), count, reverse, parts)
            total = residuals(strip, g, want, screens, turns, not reverse, both, sums, own)
            if noisy:
                total = lit(total, 2 * v + probe, lo, reverse, w, 1, noise, z, scratch, numbers)
            total = total * mean
            if probe == 0:
                # Without noise the loss is equal by construction where nothing changed.
                plus = total if noisy else where(to == old, here, total)
                if rule == ZCD:
                    take = plus < here
            else:
                minus = total if noisy else where(to == old, plus, total)
        if rule == ZCD:
            phase[i], z[HERE] = where(take, up, down), minus
            z[WRITES] += where(take, one, one + one)
            continue
        low, stay = (minus <= here) & (minus <= plus), here <= plus
        phase[i] = where(low, down, where(stay, now, up))
        z[HERE] = where(low, minus, where(stay, here, plus))
        z[WRITES] += where(low, one + one, one + one + one)
        to = drive(phase[i], ratio[i], fixed[i], lsb, levels, thresholds, rewrap)
        command(i, to, driven, bias, shared, turns, made, parts)


@njit
def products(splitters, arms, out):
    """What the fab made of the couplers of one core (4, n) as the eight numbers (8, n) of the head of this file."""
    for t in range(splitters.shape[1]):
        cl, sl, cr, sr = splitters[0, t], splitters[1, t], splitters[2, t], splitters[3, t]
        a0, a1, a2, a3 = arms[0, t], arms[1, t], arms[2, t], arms[3, t]
        out[0, t], out[1, t] = cr * cl * a0 * a2, sr * sl * a1 * a2
        out[2, t], out[3, t] = sr * cl * a0 * a2, cr * sl * a1 * a2
        out[4, t], out[5, t] = cr * sl * a0 * a3, sr * cl * a1 * a3
        out[6, t], out[7, t] = cr * cl * a1 * a3, sr * sl * a0 * a3


@njit(cache=True, nogil=True)
def piece(
    first, last, rule, phases, loss, carry, lr, order, chain, splitters, arms, stretch, places, rails, reverse, both,
    start, rows, target, noisy, amplitudes, variates, writes,
):  # fmt: skip
    """The vectors of cores from `first` to `last`, with scratch of their own."""
    ratio, fixed, bias, beside, lsb, levels, thresholds, crosstalk, rewrap = chain
    thetas, phis, screens, stands, earliest = places
    (cores, h), k, n, lanes = phases.shape, start.shape[1], rails.size, width(rows)
    around = np.where(beside < 0, h, beside)
    arrays = room(5 * h + 1, 1, rows).reshape(5 * h + 1, lanes)
    phase, own_ratio, own_fixed = arrays[:h], arrays[h : 2 * h], arrays[2 * h : 3 * h]
    own_bias, driven = arrays[3 * h : 4 * h], arrays[4 * h :]
    driven[h] = 0.0  # where the -1 of a missing neighbour leads
    own = view(phase), view(own_ratio), view(own_fixed), view(own_bias), view(driven)
    x, t, g = room(k, 2 * k, rows), room(k, k, rows), room(k, 1, rows).reshape(k, lanes)
    line = room(2 * k + 3, 1, rows).reshape(2 * k + 3, lanes)
    line[:] = 0.0
    sums, made, eight = view(line), room(PASSIVE, n, rows), np.empty((PASSIVE, n))
    optics = view(room(h, 2, rows)), view(made), view(room(n, PARTS, rows))
    strips = view(room(k, 2 * k, rows)), view(room(k, 2 * k, rows))
    numbers, keep = room(TOTAL + 1, 1, rows).reshape(TOTAL + 1, lanes), room(1, 1, rows).reshape(1, lanes)
    size, drawn = room(k, 1, rows).reshape(k, lanes), room(k + 1, 1, rows).reshape(k + 1, lanes)
    noise, z = (noisy, variates, view(size), view(drawn), drawn), view(numbers)
    mean = rows.dtype.type(1.0 / (k * k))
    static = order, earliest, rails, screens, lsb, levels, thresholds, rewrap, reverse, both, mean
    shared = around, crosstalk, stretch, stands, thetas, phis
    for number in range(first, last):
        lo = number * lanes
        spread(phases, lo, lanes, phase)
        spread(ratio, lo, lanes, own_ratio)
        spread(fixed, lo, lanes, own_fixed)
        spread(bias, lo, lanes, own_bias)
        spread(amplitudes[0], lo, lanes, size)
        spread(rows, lo, lanes, g)
        for l in range(lanes):
            m = min(lo + l, cores - 1)
            numbers[LR, l], numbers[HERE, l], numbers[WRITES, l], keep[0, l] = lr[m], loss[m], 0.0, carry[m]
            numbers[LEAST, l], numbers[DARK, l] = amplitudes[1][m], amplitudes[2][m]
            products(splitters[m], arms[m], eight)
            for i in range(PASSIVE):
                for j in range(n):
                    made[i, j, l] = eight[i, j]
            for i in range(k):
                for j in range(k):
                    x[i, j, l], x[i, j + k, l], t[i, j, l] = start[m, i, j, 0], start[m, i, j, 1], target[m, i, j]
        group(
            rule, lo, own, static, shared, (view(x), view(g), view(t)), noise, view(keep)[0],
            (sums[: k + 3], sums[k + 3 :], line), optics, strips, z, numbers,
        )  # fmt: skip
        for l in range(min(lanes, cores - lo)):
            m = lo + l
            loss[m] = numbers[HERE, l]
            writes[m] += np.int64(numbers[WRITES, l])
            for i in range(h):
                phases[m, i] = phase[i, l]


def placed(places, around, reverse, crosstalk):
    """`places` (theta (n,), phi (n,) of MZIs, screen (k,)) and, by heater: which coupler it stands in, from n on the
    outputs; and how many couplers, in the order in which P is made of them, are before all that it turns: -1 where that
    is the screen of V, which is before them."""
    thetas, phis, screens = places
    n, k = len(thetas), len(screens)
    stands = np.empty(2 * n + k, np.int64)
    stands[thetas] = stands[phis] = np.arange(n)
    stands[screens] = n + np.arange(k)
    own = np.where(stands < n, n - 1 - stands if reverse else stands, -1 if reverse else n)
    beside = np.where(around < 0, n, own[around]) if crosstalk > 0.0 else np.full_like(around, n)
    return thetas, phis, screens, stands, np.minimum(own, beside.min(axis=1))


def descend(
    rule, phases, loss, carry, lr, order, chain, optics, places, rails, reverse, both, start, rows, target, noisy,
    amplitudes, variates, writes,
):  # fmt: skip
    """One epoch of descent over one mesh of M cores. Updates `phases` (M, h), `loss` (M,), adds to `writes` (M,).

    As `kernels.descent.descend`; `start` (M, k, k) is complex; `optics`: splitters and arms (M, 4, n), and what a phase
    is times off the design wavelength; `places` and `rails` as in `kernels.cores.with_phi`; `both`: fields are read.
    """
    k, n = start.shape[1], rails.size
    splitters, arms, stretch = optics
    number = rows.dtype.type
    wide = width.py_func(rows.dtype)
    groups = -(-phases.shape[0] // wide)
    parts = np.ascontiguousarray(start).view(rows.dtype).reshape(*start.shape, 2)
    threads.share(
        piece, groups, 1.5 * groups * wide * phases.shape[1] * n * k, rule, phases, loss, carry, lr, order, chain,
        splitters, arms, number(stretch), placed(places, chain[3], reverse, chain[7]), rails, reverse, both, parts,
        rows, target, noisy, amplitudes, variates, writes,
    )  # fmt: skip
