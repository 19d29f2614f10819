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

Layout: a core a lane (`kernels.lanes`), and every function sees vectors as numbers: all cores visit the same heater at
once and differ in their angles and decisions only. A core of more than `WIDEST` modes takes several lanes, each with
its share of the columns of X, so that few large cores fill the lanes as well. Lane l of a vector is share
l // (cores a vector) of core l % (cores a vector).

A column of P X stays in registers from the first rotation to the last: so k is known when compiling, and rotations
stand as a brick wall (`wall`), whose layers turn every other pair of rails.

Arrays: M cores, n heaters in travel order, k modes. `rails` (n,), `around` (n, 6), `order` (n,) visiting order.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.core.cgutils import ir
from numba.extending import intrinsic

from . import threads
from .lanes import drive, fast, flat, negate, room, spread, turned, width
from .vectors import FUSED, full, root, size, view, where

ZCD = 0
ZTP = 1
WIDEST = 16
"""Columns of X that a lane holds at most: what a vector of cores needs then stays in the nearest caches."""

LR, HERE, WRITES, DARK, LEAST, TOTAL = range(6)
"""Vectors of a group: step, last reading, writes, the noise's (see `descend`), and one that is read lane by lane."""


def wall(rails, k, reverse):
    """Rotations as layers, (slot of each (n,), number of slots, layers, whether the first turns odd rails).

    A layer turns every other pair of rails, from rail 0 or from rail 1 on, one after the other; a rotation is in the
    first that it can be in, which does not change the product, since rotations of different rails commute. Slots that
    no rotation has turn by nothing. `reverse`: the layers from the last to the first.
    """
    return _wall(tuple(rails.tolist()), k, reverse)


@lru_cache(64)
def _wall(rails, k, reverse):
    """`wall`, which every epoch of a descent asks for; nobody writes into it."""
    free, layer = np.zeros(k, np.int64), np.empty(len(rails), np.int64)
    for t, r in enumerate(rails):
        level = max(free[r], free[r + 1])
        layer[t] = level + (level + r) % 2
        free[r] = free[r + 1] = layer[t] + 1
    count = int(free.max(initial=0))
    if reverse:
        layer = count - 1 - layer
    odd = bool(reverse and count % 2 == 0)
    sizes = [(k - (number + odd) % 2) // 2 for number in range(count)]
    begins = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    return begins[layer] + np.array(rails, np.int64) // 2, int(begins[-1]), count, odd


@intrinsic
def column(typing, x, g, want, tables, layers, odd, by_row, rows, modes):
    """The sum over i of (g_i (P x)_i - want_i)^2, of vectors.

    `x`, `g`, `want` (k,), `tables` (slots, 2) of the `wall`; with `by_row`, rows (k,) += the squares. `modes` is a
    tuple of length k, which so is part of the types.

    Written as instructions, because a loop that Numba offers keeps no array in registers.
    """
    k = modes.count

    def code(context, builder, sig, args):
        data = [context.make_array(kind)(context, builder, a).data for kind, a in zip(sig.args[:4], args[:4])]
        sums = context.make_array(sig.args[7])(context, builder, args[7]).data
        index = ir.IntType(64)

        def at(pointer, i):
            return builder.gep(pointer, [index(i) if isinstance(i, int) else i])

        def times(a, b):
            return builder.fmul(a, b, flags=FUSED)

        cells = [cgutils.alloca_once_value(builder, builder.load(at(data[0], i))) for i in range(k)]
        place = cgutils.alloca_once_value(builder, data[3])

        def layer(first):
            here, rails = builder.load(place), range(first, k - 1, 2)
            for n, r in enumerate(rails):
                c, s = builder.load(at(here, 2 * n)), builder.load(at(here, 2 * n + 1))
                p, q = builder.load(cells[r]), builder.load(cells[r + 1])
                builder.store(builder.fsub(times(c, p), times(s, q), flags=FUSED), cells[r])
                builder.store(builder.fadd(times(s, p), times(c, q), flags=FUSED), cells[r + 1])
            builder.store(at(here, 2 * len(rails)), place)

        with builder.if_then(args[5]):
            layer(1)
        left = builder.sub(args[4], builder.zext(args[5], index))
        with cgutils.for_range(builder, builder.ashr(left, index(1)), intp=index):
            layer(0)
            layer(1)
        with builder.if_then(builder.trunc(left, ir.IntType(1))):
            layer(0)

        def residual(i):
            product = times(builder.load(at(data[1], i)), builder.load(cells[i]))
            return builder.fsub(product, builder.load(at(data[2], i)), flags=FUSED)

        with builder.if_then(args[6]):
            for i in range(k):
                d = residual(i)
                builder.store(builder.fadd(builder.load(at(sums, i)), times(d, d), flags=FUSED), at(sums, i))
        total = context.get_data_type(x.dtype)([0.0] * x.dtype.width)
        for i in range(k):
            d = residual(i)
            total = builder.fadd(total, times(d, d), flags=FUSED)
        return total

    return x.dtype(x, g, want, tables, types.int64, types.boolean, types.boolean, rows, modes), code


@fast
def shares(k):
    """Lanes a core, a power of two."""
    parts = 1
    while parts * WIDEST < k:
        parts *= 2
    return parts


@fast
def gather(total, parts):
    """The sum over the shares of every core, in all of its lanes; `total` (lanes,) numbers."""
    wide = total.size // parts
    for part in range(1, parts):
        for l in range(wide):
            total[l] += total[part * wide + l]
    for l in range(wide, total.size if parts > 1 else wide):
        total[l] = total[l - wide]


@flat
def whole(total, parts, z, numbers):
    """The sum over the shares of every core of a vector, in all of its lanes."""
    if parts == 1:
        return total
    z[TOTAL] = total
    gather(numbers[TOTAL], parts)
    return z[TOTAL]


@fast
def residuals(problem, tables, layout, by_row, z, numbers, sums, own, modes):
    """k^2 L of all lanes without noise. `sums` (columns + 3,): of every column, and zeros; with `by_row`, `own` (k,):
    of every row, over the columns of a lane."""
    x, g, want = problem
    layers, odd, parts = layout
    zero = full(g[0], 0.0)
    if by_row:
        for i in range(own.size):
            own[i] = zero
    for j in range(x.shape[0]):
        sums[j] = column(x[j], g, want[j], tables, layers, odd, by_row, own, modes)
    total = zero
    for j in range(0, x.shape[0], 4):
        total += (sums[j] + sums[j + 1]) + (sums[j + 2] + sums[j + 3])
    return whole(total, parts, z, numbers)


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
def norms(by_row, columns, parts, sums, own, numbers):
    """Squared norms `own` (k,) of the columns of every core's residual, which are rows where the problem is transposed;
    in the first lanes, one a core. `numbers` (columns + 3 + k, lanes): those of `sums`, then of `own`."""
    wide, first = numbers.shape[1] // parts, columns + 3
    if by_row:
        if parts > 1:
            for b in range(own.size):
                gather(numbers[first + b], parts)
    elif parts == 1:
        for b in range(own.size):
            own[b] = sums[b]
    else:
        for b in range(own.size):
            for l in range(wide):
                numbers[first + b, l] = numbers[b % columns, b // columns * wide + l]


@fast
def lit(total, number, lo, by_row, columns, parts, noise, z, scratch, numbers):
    """Reading `number` of an epoch of every core, from its k^2 L without noise."""
    _, variates, amplitudes, drawn, drawn_numbers = noise
    sums, own, line = scratch
    last, wide = variates.shape[0] - 1, size(total) // parts
    for l in range(size(total)):
        some = variates[min(lo + l % wide, last), number]
        for b in range(some.size):
            drawn_numbers[b, l] = some[b]
    least, count = z[LEAST], variates.shape[2] - 1
    if count == 1:
        rest, one = total - z[DARK], least * drawn[0]
        return total + (one + one) * root(where(rest > 0.0, rest, 0.0)) + one * one + least * least * drawn[1]
    norms(by_row, columns, parts, sums, own, line)
    total = total + least * least * drawn[count]
    for b in range(count):
        one = amplitudes[b] * drawn[b]
        total = total + ((one + one) * root(own[b]) + one * one)
    if parts > 1:  # only a core's first lane has its norms
        z[TOTAL] = total
        for l in range(wide, size(total)):
            numbers[TOTAL, l] = numbers[TOTAL, l - wide]
        total = z[TOTAL]
    return total


@fast
def command(i, to, driven, bias, flip, around, crosstalk, slots, tables):
    """Drive heater `i` of all lanes to `to`: turn its rotation and those that it heats."""
    driven[i] = to
    tables[slots[i], 0], tables[slots[i], 1] = turned(i, driven, bias, flip, around, crosstalk)
    if crosstalk > 0.0:
        for t in range(6):
            j = around[i, t]
            if j >= 0:
                tables[slots[j], 0], tables[slots[j], 1] = turned(j, driven, bias, flip, around, crosstalk)


@flat
def group(rule, lo, lanes, static, problem, layout, noise, keep, scratch, tables, z, numbers, modes):
    """One epoch of the cores of a vector, from `lo` on, whose arrays are in lane layout already."""
    phase, ratio, fixed, bias, flip, driven = lanes
    order, slots, around, lsb, levels, thresholds, crosstalk, rewrap, by_row, mean = static
    sums, own, _ = scratch
    noisy, columns, parts = noise[0], problem[0].shape[0], layout[2]
    for i in range(slots.size):
        driven[i] = drive(phase[i], ratio[i], fixed[i], lsb, levels, thresholds, rewrap)
    for i in range(slots.size):
        tables[slots[i], 0], tables[slots[i], 1] = turned(i, driven, bias, flip, around, crosstalk)
    by_row = by_row and noisy
    # Noise-free loss of the state that the rotations hold, kept beside the last reading.
    if not noisy:
        start = residuals(problem, tables, layout, by_row, z, numbers, sums, own, modes) * mean
        z[HERE] = where(keep == 1.0, z[HERE], start)
    one, lr = full(z[LR], 1.0), z[LR]
    for v in range(order.size):
        i = order[v]
        now, here, plus, minus = phase[i], z[HERE], one, one
        up, down, take = now + lr, now + lr - (lr + lr), one < one
        for probe in range(2):
            trial = up if probe == 0 else where(take, up, down)
            old = driven[i]
            to = drive(trial, ratio[i], fixed[i], lsb, levels, thresholds, rewrap)
            command(i, to, driven, bias, flip, around, crosstalk, slots, tables)
            total = residuals(problem, tables, layout, by_row, z, numbers, sums, own, modes)
            if noisy:
                total = lit(total, 2 * v + probe, lo, by_row, columns, parts, noise, z, scratch, numbers)
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
        command(i, to, driven, bias, flip, around, crosstalk, slots, tables)


@njit(cache=True, nogil=True)
def piece(
    first, last, rule, phases, loss, carry, lr, order, chain, flip, bricks, reverse, start, rows, target, noisy,
    amplitudes, variates, writes, modes,
):  # fmt: skip
    """The vectors of cores from `first` to `last`, with scratch of their own."""
    ratio, fixed, bias, around, lsb, levels, thresholds, crosstalk, rewrap = chain
    slots, count, layers, odd = bricks
    (cores, n), k, lanes = phases.shape, start.shape[1], width(start)
    parts = shares(k)
    wide, columns = lanes // parts, -(-k // parts)
    arrays = room(6 * n + 1, 1, start).reshape(6 * n + 1, lanes)
    phase, own_ratio, own_fixed = arrays[:n], arrays[n : 2 * n], arrays[2 * n : 3 * n]
    own_bias, own_flip, driven = arrays[3 * n : 4 * n], arrays[4 * n : 5 * n], arrays[5 * n :]
    driven[n] = 0.0
    own = view(phase), view(own_ratio), view(own_fixed), view(own_bias), view(own_flip), view(driven)
    x, t, g = room(columns, k, start), room(columns, k, start), room(k, 1, start).reshape(k, lanes)
    line = room(columns + 3 + k, 1, start).reshape(columns + 3 + k, lanes)
    line[:] = 0.0
    sums = view(line)
    turns = room(count, 2, start)
    turns[:, 0], turns[:, 1] = 1.0, 0.0
    numbers, keep = room(TOTAL + 1, 1, start).reshape(TOTAL + 1, lanes), room(1, 1, start).reshape(1, lanes)
    size, drawn = room(k, 1, start).reshape(k, lanes), room(k + 1, 1, start).reshape(k + 1, lanes)
    noise, z = (noisy, variates, view(size), view(drawn), drawn), view(numbers)
    static = order, slots, around, lsb, levels, thresholds, crosstalk, rewrap, reverse, start.dtype.type(1.0 / (k * k))
    for number in range(first, last):
        lo = number * wide
        spread(phases, lo, wide, phase)
        spread(ratio, lo, wide, own_ratio)
        spread(fixed, lo, wide, own_fixed)
        spread(bias, lo, wide, own_bias)
        spread(flip, lo, wide, own_flip)
        if reverse:  # the transposed rotations
            negate(own_flip)
        spread(amplitudes[0], lo, wide, size)
        spread(rows, lo, wide, g)
        for l in range(lanes):
            m, share = min(lo + l % wide, cores - 1), l // wide
            numbers[LR, l], numbers[HERE, l], numbers[WRITES, l], keep[0, l] = lr[m], loss[m], 0.0, carry[m]
            numbers[LEAST, l], numbers[DARK, l] = amplitudes[1][m], amplitudes[2][m]
            for j in range(columns):
                b = share * columns + j
                for i in range(k):
                    x[j, i, l] = start[m, i, b] if b < k else 0.0
                    t[j, i, l] = target[m, i, b] if b < k else 0.0
        group(
            rule, lo, own, static, (view(x), view(g), view(t)), (layers, odd, parts), noise, view(keep)[0],
            (sums[: columns + 3], sums[columns + 3 :], line), view(turns), z, numbers, modes,
        )  # fmt: skip
        for l in range(min(wide, cores - lo)):
            m = lo + l
            loss[m] = numbers[HERE, l]
            writes[m] += np.int64(numbers[WRITES, l])
            for i in range(n):
                phases[m, i] = phase[i, l]


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
    wide = width.py_func(start.dtype) // shares.py_func(k)
    groups = -(-phases.shape[0] // wide)
    threads.share(
        piece, groups, 0.25 * groups * wide * n * n * k, rule, phases, loss, carry, lr, order, chain, flip,
        wall(rails, k, reverse), reverse, start, rows, target, noisy, amplitudes, variates, writes, (0,) * k,
    )  # fmt: skip
