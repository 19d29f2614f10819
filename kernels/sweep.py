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
column b and A_b = gain_b * scale * sigma, |r_b + A_b z_b|^2 = |r_b|^2 + 2 A_b |r_b| z' + A_b^2 (z'^2 + chi2_{k-1}) in
distribution, z' being the component of z_b along r_b: two variates a column instead of k. `variates`
(M, 2n, 2, k) supplies z' and chi2; with noise every reading is fresh, as it is in a lab.

Arrays: M cores, n heaters in travel order, k modes. `rails` (n,), `around` (n, 6), `order` (n,) visiting order.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from .chain import couple, drive
from .mesh import rotate

ZCD = 0
ZTP = 1


@njit
def residuals(cosines, sines, rails, reverse, start, rows, target, work, columns):
    """Squared residual of every column of the response into `columns` (k,); returns k^2 L without noise."""
    k = start.shape[0]
    n = rails.shape[0]
    for i in range(k):
        to, origin = work[i], start[i]
        for j in range(k):
            to[j] = origin[j]
    if reverse:
        for t in range(n - 1, -1, -1):
            rotate(work[rails[t]], work[rails[t] + 1], cosines[t], -sines[t])
    else:
        for t in range(n):
            rotate(work[rails[t]], work[rails[t] + 1], cosines[t], sines[t])
    total = start.dtype.type(0.0)
    if reverse:
        for i in range(k):
            row, want = work[i], target[i]
            square = start.dtype.type(0.0)
            for j in range(k):
                d = rows[i] * row[j] - want[j]
                square += d * d
            columns[i] = square
            total += square
    else:
        for j in range(k):
            columns[j] = 0.0
        for i in range(k):
            row, want = work[i], target[i]
            for j in range(k):
                d = rows[i] * row[j] - want[j]
                columns[j] += d * d
        for j in range(k):
            total += columns[j]
    return total


@njit
def reading(total, columns, amplitudes, variates):
    """One noisy reading of k^2 L; `variates` (2, k): z' and chi2 (see the head of this file)."""
    for b in range(columns.shape[0]):
        z = variates[0, b]
        total += 2.0 * amplitudes[b] * math.sqrt(columns[b]) * z + amplitudes[b] ** 2 * (z * z + variates[1, b])
    return total


@njit
def move(m, i, phase, driven, cosines, sines, chain, flip):
    """Command heater `i` of core `m`: update the driven phase and the rotations it reaches. False: nothing changed."""
    ratio, fixed, bias, around, lsb, levels, thresholds, crosstalk, rewrap = chain
    now = drive(phase, ratio[m, i], fixed[m, i], lsb, levels, thresholds, rewrap)
    if now == driven[i]:
        return False
    driven[i] = now
    turned = couple(driven, around, i, crosstalk, bias[m, i])
    cosines[i] = math.cos(turned)
    sines[i] = flip[m, i] * math.sin(turned)
    if crosstalk > 0.0:
        for t in range(around.shape[1]):
            j = around[i, t]
            if j >= 0:
                turned = couple(driven, around, j, crosstalk, bias[m, j])
                cosines[j] = math.cos(turned)
                sines[j] = flip[m, j] * math.sin(turned)
    return True


@njit(parallel=True, cache=True, nogil=True)
def sweep(
    rule, phases, loss, carry, lr, order, chain, flip, rails, reverse, start, rows, target, noisy, amplitudes, variates,
    writes,
):
    """Visit every heater of one mesh of M cores once. Updates `phases` (M, n), `loss` (M,), adds to `writes` (M,).

    `loss` is the last reading before the sweep. Without noise it is computed afresh here, so that equal states have
    bitwise equal losses, except where `carry` (M,) says that it must be kept as it is (the reference's stale losses).

    `chain` = (ratio, fixed, bias, around, lsb, levels, thresholds, crosstalk, rewrap) as in `chain.apply`. `start`,
    `target` (M, k, k), `rows` (M, k), `amplitudes` (M, k). Two evaluations a heater, whatever the rule.
    """
    ratio, fixed, bias, around, lsb, levels, thresholds, crosstalk, rewrap = chain
    k = start.shape[1]
    n = phases.shape[1]
    for m in prange(phases.shape[0]):
        work = np.empty((k, k), start.dtype)
        columns = np.empty(k, start.dtype)
        driven = np.empty(n, phases.dtype)
        cosines = np.empty(n, phases.dtype)
        sines = np.empty(n, phases.dtype)
        for i in range(n):
            driven[i] = drive(phases[m, i], ratio[m, i], fixed[m, i], lsb, levels, thresholds, rewrap)
        for i in range(n):
            turned = couple(driven, around, i, crosstalk, bias[m, i])
            cosines[i] = math.cos(turned)
            sines[i] = flip[m, i] * math.sin(turned)
        two = phases.dtype.type(2.0)
        mean = phases.dtype.type(1.0) / phases.dtype.type(k * k)
        # Noise-free loss of the state that the rotations hold, kept beside the last reading.
        total = residuals(cosines, sines, rails, reverse, start[m], rows[m], target[m], work, columns)
        here = loss[m] if noisy or carry[m] else total * mean
        for v in range(n):
            i = order[v]
            phase = phases[m, i]
            up = phase + lr[m]
            moved = move(m, i, up, driven, cosines, sines, chain, flip)
            if moved:
                total = residuals(cosines, sines, rails, reverse, start[m], rows[m], target[m], work, columns)
            if noisy:
                plus = reading(total, columns, amplitudes[m], variates[m, 2 * v]) * mean
            else:
                plus = total * mean if moved else here
            writes[m] += 1
            if rule == ZCD and plus < here:
                phases[m, i] = up
                here = reading(total, columns, amplitudes[m], variates[m, 2 * v + 1]) * mean if noisy else plus
                continue
            down = up - two * lr[m]
            moved = move(m, i, down, driven, cosines, sines, chain, flip)
            if moved:
                total = residuals(cosines, sines, rails, reverse, start[m], rows[m], target[m], work, columns)
            if noisy:
                minus = reading(total, columns, amplitudes[m], variates[m, 2 * v + 1]) * mean
            else:
                minus = total * mean if moved else plus
            writes[m] += 1
            if rule == ZCD or (minus <= here and minus <= plus):
                phases[m, i] = down
                here = minus
                continue
            if here <= plus:
                phases[m, i] = phase
            else:
                phases[m, i] = up
                here = plus
            writes[m] += 1
            moved = move(m, i, phases[m, i], driven, cosines, sines, chain, flip)
            if moved:
                total = residuals(cosines, sines, rails, reverse, start[m], rows[m], target[m], work, columns)
        loss[m] = here
