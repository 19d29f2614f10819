"""Coordinate descent over the heaters of one mesh of every core, all cores in one launch.

While the other mesh rests, the response of a core is linear in the matrix P of the mesh that moves, so that every probe
is a product of rotations applied to one fixed matrix X:

    L = 1/k^2 sum_ij (g_i (P X)_ij - T_ij)^2                                                    (spec sections c, d)

    U moves:  P = T_{n-1} ... T_0 of U, X = diag(sigma) V diag(gain), g = signs of U, T = target
    V moves:  P = T_0' ... T_{n-1}' of V, X = diag(signs of V) diag(sigma) U', g = gain, T = target' (all transposed)

Rules (L2ight, NeurIPS 2021, Alg. 1-2 and its public reference), per coordinate and core, step `lr`:
    zcd  phi + lr is tried; unless its loss is strictly lower, phi - lr is taken, unseen. The state is read again.
    ztp  phi + lr and phi - lr are tried; the lowest of (minus, stay, plus) is taken, the first on ties.
Where a step leaves the driven phase unchanged (smaller than half a level) the loss is equal by construction.

Readout noise. Entry (a, b) of a reading carries gain_b * scale * sigma * z, z ~ N(0, 1). With r_b the residual of
column b, A_b = gain_b * scale * sigma and z_b the component of the noise along r_b, |r_b + A_b noise|^2 is in
distribution |r_b|^2 + 2 A_b |r_b| z_b + A_b^2 (z_b^2 + chi2_{rows - 1}), and the chi-squares of all columns together
one number, for they do not depend on the residuals (`l2sim.streams.weighted`). Where all A_b that are not 0 are alike,
the whole residual r of what has noise is as one column: |r|^2 + 2 A |r| z + A^2 (z^2 + chi2). `variates` (M, 2n, m)
has the normal numbers, one or one a column, and the chi-square in units of the least A^2; with noise every reading is
fresh, as it is in a lab.

Layout: structure of arrays, `lanes.LANES` lanes side by side, so that every loop over lanes is a few vector operations:
all cores visit the same heater at once and differ in their angles and decisions only. A core of more than `WIDEST`
modes takes several lanes, each with its share of the columns of X, so that few large cores fill the lanes as well. Lane
l of a group is share l // (cores a group) of core l % (cores a group).

Arrays: M cores, n heaters in travel order, k modes. `rails` (n,), `around` (n, 6), `order` (n,) visiting order.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from . import threads
from .lanes import LANES, copy, drives, fast, negate, room, rotate, spread, turned

ZCD = 0
ZTP = 1
WIDEST = 9
"""Columns of X that a lane holds at most: the response of all lanes then stays in the first-level cache."""

# Rows of the buffer of a group, LANES numbers each: offsets in one array tell the compiler that they do not overlap.
ROWS = 9
PHASE, LR, HERE, OLD, TRIAL, DRIVEN, PLUS, TOTAL, WRITES = (LANES * row for row in range(ROWS))


@fast
def shares(k):
    """Lanes a core, a power of two."""
    parts = 1
    while parts * WIDEST < k:
        parts *= 2
    return parts


@fast
def squared(g, want, work, sums):
    """Squared residuals (g work - want)^2, summed over the rows of (k, columns LANES), into `sums` (columns LANES,)."""
    sums[:] = 0.0
    for i in range(want.shape[0]):
        a, x, b = g[i], work[i], want[i]
        for t in range(sums.size):
            d = a[t] * x[t] - b[t]
            sums[t] += d * d


@fast
def add_four(to, a, b, c, d):
    """to += a + b + c + d: four at a time, for the compiler unrolls shorter loops and does not vectorise them."""
    for l in range(LANES):
        to[l] += (a[l] + b[l]) + (c[l] + d[l])


@fast
def residuals(tables, rails, reverse, problem, total, parts):
    """k^2 L without noise into `total` (LANES,), from the angles' (cos, sin) in `tables` (n, 2, LANES).

    `problem`: X, g (of every column), T and the response (k, columns, LANES); sums of squares of its columns
    (columns + 3, LANES), of which the last three are zero.
    """
    start, g, want, work, sums = problem
    n, (k, columns, _) = rails.size, work.shape
    copy(work.reshape(-1), start.reshape(-1))
    for step in range(n):
        t = n - 1 - step if reverse else step
        rotate(work[rails[t]], work[rails[t] + 1], tables[t, 0], tables[t, 1])
    squared(g.reshape(k, -1), want.reshape(k, -1), work.reshape(k, -1), sums.reshape(-1)[: columns * LANES])
    total[:] = 0.0
    for b in range(0, columns, 4):
        add_four(total, sums[b], sums[b + 1], sums[b + 2], sums[b + 3])
    gather(total, parts)


@fast
def gather(total, parts):
    """The sum over the shares of every core, in all of its lanes."""
    width = LANES // parts
    for part in range(1, parts):
        for l in range(width):
            total[l] += total[part * width + l]
    for l in range(width, LANES if parts > 1 else width):
        total[l] = total[l - width]


@njit
def reading(total, columns, amplitudes, least, drawn):
    """One noisy reading of k^2 L, its columns known (see the head of this file)."""
    last = drawn.shape[0] - 1
    for b in range(columns.shape[0]):
        z = amplitudes[b] * drawn[b]
        total += 2.0 * z * math.sqrt(columns[b]) + z * z
    return total + least * least * drawn[last]


@njit
def even_reading(total, dark, least, drawn):
    """The same where all amplitudes that are not 0 are alike; `dark`: what entries without noise add."""
    z = least * drawn[0]
    return total + 2.0 * z * math.sqrt(max(total - dark, 0.0)) + z * z + least * least * drawn[1]


@fast
def norms(reverse, problem, parts, own):
    """Squared norms own (k, LANES) of the columns of every core's residual, which are rows where the problem is
    transposed; in the first LANES / parts lanes."""
    _, g, want, work, sums = problem
    k, columns, width = own.shape[0], work.shape[1], LANES // parts
    for b in range(k):
        to = own[b]
        if reverse:
            to[:] = 0.0
            for j in range(columns):
                a, x, c = g[b, j], work[b, j], want[b, j]
                for l in range(to.size):
                    d = a[l] * x[l] - c[l]
                    to[l] += d * d
            gather(to, parts)
        else:
            first, line = b // columns * width, sums[b % columns]
            for l in range(width):
                to[l] = line[first + l]


@fast
def read(number, lo, reverse, problem, noise, z, parts):
    """Make reading `number` of an epoch of every core from row TOTAL, in place."""
    _, (_, least, dark), variates, (size, own, drawn) = noise
    k, last, width = own.shape[0], variates.shape[0] - 1, LANES // parts
    if variates.shape[2] == 2:
        for l in range(LANES):
            m = min(lo + l % width, last)
            z[TOTAL + l] = even_reading(z[TOTAL + l], dark[m], least[m], variates[m, number])
        return
    norms(reverse, problem, parts, own)
    for l in range(width):
        m = min(lo + l, last)
        some = variates[m, number]
        for b in range(k):
            drawn[b, l] = some[b]
        z[TOTAL + l] += least[m] * least[m] * some[k]
    total = z[TOTAL : TOTAL + LANES]
    for b in range(k):
        a, x, norm = size[b], drawn[b], own[b]
        for l in range(width):
            n = a[l] * x[l]
            total[l] += (n + n) * np.sqrt(norm[l]) + n * n
    for l in range(width, LANES):
        total[l] = total[l - width]


@fast
def command(i, driven, bias, flip, around, crosstalk, tables, z):
    """Drive heater `i` of all lanes to row DRIVEN: turn its rotation and those that it heats."""
    to = driven[i]
    for l in range(to.size):
        to[l] = z[DRIVEN + l]
    turned(i, driven, bias, flip, around, crosstalk, tables)
    if crosstalk > 0.0:
        for t in range(6):
            if around[i, t] >= 0:
                turned(around[i, t], driven, bias, flip, around, crosstalk, tables)


@fast
def judge(noisy, mean, z):
    """PLUS <- the loss of the trial in row TOTAL; without noise it is HERE by construction where nothing changed."""
    for l in range(LANES):
        value = z[TOTAL + l] * mean
        same = (not noisy) and z[DRIVEN + l] == z[OLD + l]
        z[PLUS + l] = z[HERE + l] if same else value


@fast
def second(rule, z):
    """The phase of the second probe: for ZCD that of the decision."""
    for l in range(LANES):
        up, two = z[PHASE + l] + z[LR + l], z[LR + l] + z[LR + l]
        take = rule == ZCD and z[PLUS + l] < z[HERE + l]
        z[TRIAL + l] = up if take else up - two
        z[WRITES + l] += 1.0 if take else 2.0
        z[OLD + l] = z[DRIVEN + l]


@fast
def settle(rule, noisy, mean, z):
    """Decide by the second probe; TRIAL gets the phase to keep, HERE its loss."""
    for l in range(LANES):
        here, plus, up = z[HERE + l], z[PLUS + l], z[PHASE + l] + z[LR + l]
        value = z[TOTAL + l] * mean
        same = (not noisy) and z[DRIVEN + l] == z[OLD + l]
        minus = plus if same else value
        low = rule == ZCD or (minus <= here and minus <= plus)
        stay = (not low) and here <= plus
        other = z[PHASE + l] if stay else up
        z[TRIAL + l] = z[TRIAL + l] if low else other
        rest = here if stay else plus
        z[HERE + l] = minus if low else rest
        z[WRITES + l] += 0.0 if low else 1.0


@fast
def group(rule, lo, reverse, lanes, static, problem, noise, keep, scratch, tables, z):
    """One epoch of the cores from `lo` on, whose arrays are in lane layout already."""
    phase, ratio, fixed, bias, flip, driven = lanes
    order, rails, around, lsb, levels, thresholds, crosstalk, rewrap, parts, mean = static
    total, trial, drive = scratch
    noisy = noise[0]
    for i in range(rails.size):
        drives(phase[i], ratio[i], fixed[i], lsb, levels, thresholds, rewrap, driven[i])
    for i in range(rails.size):
        turned(i, driven, bias, flip, around, crosstalk, tables)
    # Noise-free loss of the state that the rotations hold, kept beside the last reading.
    residuals(tables, rails, reverse, problem, total, parts)
    for l in range(LANES):
        z[HERE + l] = z[HERE + l] if noisy or keep[l] else z[TOTAL + l] * mean
    for v in range(order.size):
        i = order[v]
        here, now = phase[i], driven[i]
        for l in range(here.size):
            z[PHASE + l] = here[l]
            z[TRIAL + l] = here[l] + z[LR + l]
            z[OLD + l] = now[l]
        for probe in range(2):
            drives(trial, ratio[i], fixed[i], lsb, levels, thresholds, rewrap, drive)
            command(i, driven, bias, flip, around, crosstalk, tables, z)
            residuals(tables, rails, reverse, problem, total, parts)
            if noisy:
                read(2 * v + probe, lo, reverse, problem, noise, z, parts)
            if probe == 0:
                judge(noisy, mean, z)
                second(rule, z)
        settle(rule, noisy, mean, z)
        for l in range(here.size):
            here[l] = z[TRIAL + l]
        if rule == ZTP:
            drives(trial, ratio[i], fixed[i], lsb, levels, thresholds, rewrap, drive)
            command(i, driven, bias, flip, around, crosstalk, tables, z)


@njit(cache=True, nogil=True)
def piece(
    first, last, rule, phases, loss, carry, lr, order, chain, flip, rails, reverse, start, rows, target, noisy,
    amplitudes, variates, writes,
):  # fmt: skip
    """The groups of cores from `first` to `last`, with scratch of their own."""
    ratio, fixed, bias, around, lsb, levels, thresholds, crosstalk, rewrap = chain
    (cores, n), k = phases.shape, start.shape[1]
    parts = shares(k)
    width, columns = LANES // parts, -(-k // parts)
    arrays = room(6 * n + 1, 1, start).reshape(6 * n + 1, LANES)
    lanes = arrays[:n], arrays[n : 2 * n], arrays[2 * n : 3 * n], arrays[3 * n : 4 * n], arrays[4 * n : 5 * n]
    driven = arrays[5 * n :]
    driven[n] = 0.0
    matrices = room(4 * k, columns, start)
    x, g, t, work = matrices[:k], matrices[k : 2 * k], matrices[2 * k : 3 * k], matrices[3 * k :]
    sums = room(columns + 3, 1, start).reshape(columns + 3, LANES)
    sums[:] = 0.0
    tables = room(n, 2, start)
    buffer = room(ROWS, 1, start).reshape(ROWS, LANES)
    z, keep = buffer.reshape(-1), np.empty(LANES, np.bool_)
    noisy_room = room(3 * k, 1, start).reshape(3 * k, LANES)
    size, own, drawn = noisy_room[:k], noisy_room[k : 2 * k], noisy_room[2 * k :]
    scratch = buffer[TOTAL // LANES], buffer[TRIAL // LANES], buffer[DRIVEN // LANES]
    static = order, rails, around, lsb, levels, thresholds, crosstalk, rewrap, parts, start.dtype.type(1.0 / (k * k))
    for number in range(first, last):
        lo = number * width
        spread(phases, lo, width, lanes[0])
        spread(ratio, lo, width, lanes[1])
        spread(fixed, lo, width, lanes[2])
        spread(bias, lo, width, lanes[3])
        spread(flip, lo, width, lanes[4])
        if reverse:  # the transposed rotations
            negate(lanes[4])
        spread(amplitudes[0], lo, width, size)
        for l in range(LANES):
            m, share = min(lo + l % width, cores - 1), l // width
            z[LR + l], z[HERE + l], z[WRITES + l], keep[l] = lr[m], loss[m], 0.0, carry[m]
            for j in range(columns):
                b = share * columns + j
                for i in range(k):
                    x[i, j, l] = start[m, i, b] if b < k else 0.0
                    t[i, j, l] = target[m, i, b] if b < k else 0.0
                    g[i, j, l] = rows[m, i]
        group(
            rule, lo, reverse, (*lanes, driven), static, (x, g, t, work, sums),
            (noisy, amplitudes, variates, (size, own, drawn)),
            keep, scratch, tables, z,
        )  # fmt: skip
        for l in range(min(width, cores - lo)):
            m = lo + l
            loss[m] = z[HERE + l]
            writes[m] += np.int64(z[WRITES + l])
            for i in range(n):
                phases[m, i] = lanes[0][i, l]


def descend(
    rule, phases, loss, carry, lr, order, chain, flip, rails, reverse, start, rows, target, noisy, amplitudes, variates,
    writes,
):  # fmt: skip
    """One epoch of descent over one mesh of M cores. Updates `phases` (M, n), `loss` (M,), adds to `writes` (M,).

    `loss` is the last reading before this epoch. Without noise it is computed afresh here, so that equal states have
    bitwise equal losses, except where `carry` (M,) says that it must be kept as it is (the reference's stale losses).

    `chain` = (ratio, fixed, bias, around, lsb, levels, thresholds, crosstalk, rewrap) as in `chain.apply`. `start`,
    `target` (M, k, k), `rows` (M, k). `amplitudes` of the noise: (M, k) of each column, (M,) the least that is not 0,
    (M,) what entries without noise add to k^2 L. Two evaluations a heater, whatever the rule.
    """
    k, n = start.shape[1], rails.size
    width = LANES // shares.py_func(k)
    groups = -(-phases.shape[0] // width)
    threads.share(
        piece, groups, 0.25 * groups * width * n * n * k, rule, phases, loss, carry, lr, order, chain, flip, rails,
        reverse, start, rows, target, noisy, amplitudes, variates, writes,
    )  # fmt: skip
