"""Twins of real cores: the response of a core to settings, its derivatives, and the normal equations of a fit.

A core answers light X (k, B) with Y = G R X, R = diag(su) U diag(s) V, U and V being meshes of rotations
(`kernels.mesh`) at phases phi = (I + c N) D q + b: q (2 n,) driven phases of U, then of V, D = diag(ratio), N the
neighbours of each heater, b biases (`kernels.chain`). A rotation of rails i, j turns its own derivative into

    dY / dphi_h = A[:, j] (x) C[i] - A[:, i] (x) C[j]

with A the suffix product behind heater h and C the rows of the running product up to it: one pass back through both
meshes gives all 2 n derivatives, undoing the rotations on the way.

The unknowns of a core are b (2 n), ratio (2 n) and c. With J (2 n, k B) the derivatives by phase, G = J J' and
z = N D q, the normal matrix of a setting is made of G, G q', q G q', G z, q G z and z' G z: the Jacobian of the
unknowns is never formed. There N is left out beside I: a fraction c of a derivative only slows convergence, and the
gradient is exact.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from . import threads
from .chain import wrapped
from .couplers import SUMMED


@njit(fastmath={"contract"})
def driven_phases(q, ratio, bias, crosstalk, around, rewrap, heat, leak, phases):
    """Driven phases q (2 n,) to `heat` = D q, `leak` = N D q and `phases` of U, then of V."""
    n = around.shape[0]
    for h in range(2 * n):
        heat[h] = wrapped(q[h] * ratio[h]) if rewrap else q[h] * ratio[h]
    for part in range(2):
        for h in range(n):
            total = heat[0] * 0.0
            for t in range(around.shape[1]):
                if around[h, t] >= 0:
                    total += heat[part * n + around[h, t]]
            leak[part * n + h] = total
    for h in range(2 * n):
        phases[h] = heat[h] + crosstalk * leak[h] + bias[h]


@njit(fastmath={"contract"})
def turn(x, y, c, s):
    """Rotate two rows: (x, y) <- (c x - s y, s x + c y)."""
    for b in range(x.size):
        top = c * x[b] - s * y[b]
        y[b] = s * x[b] + c * y[b]
        x[b] = top


@njit(fastmath={"contract"})
def answer(cosines, sines, sigma, signs, rails, light, inner, out):
    """The response `out` (k, B) to `light`, and `inner` = V X (k, B) on the way. Arrays by heater: U, then V."""
    n = rails.size
    inner[:] = light
    for h in range(n):
        turn(inner[rails[h]], inner[rails[h] + 1], cosines[n + h], sines[n + h])
    for i in range(out.shape[0]):
        for b in range(out.shape[1]):
            out[i, b] = sigma[i] * inner[i, b]
    for h in range(n):
        turn(out[rails[h]], out[rails[h] + 1], cosines[h], sines[h])
    for i in range(out.shape[0]):
        for b in range(out.shape[1]):
            out[i, b] *= signs[i]


@njit(fastmath={"contract"})
def tangents(cosines, sines, sigma, signs, rails, inner, out, running, suffix, jacobian):
    """dY/dphi of every heater, `jacobian` (2 n, k B), from the response `out` and `inner` of `answer`.

    dY/dphi_h = A[:, j] (x) C[i] - A[:, i] (x) C[j]: an MZI's matrix T has dT/dphi = E T, E = [[0, -1], [1, 0]].
    """
    n, (k, width) = rails.size, out.shape
    suffix[:] = 0.0
    for i in range(k):
        suffix[i, i] = signs[i]
        for b in range(width):
            running[i, b] = signs[i] * out[i, b]
    for back in range(2 * n):
        h = n - 1 - back if back < n else 3 * n - 1 - back
        if back == n:
            for i in range(k):
                for a in range(k):
                    suffix[i, a] *= sigma[i]
            running[:] = inner
        r = rails[h] if h < n else rails[h - n]
        ai, aj, ci, cj, row = suffix[r], suffix[r + 1], running[r], running[r + 1], jacobian[h]
        for a in range(k):
            u, v = aj[a], ai[a]
            to = row[a * width : (a + 1) * width]
            for b in range(width):
                to[b] = u * ci[b] - v * cj[b]
        turn(ci, cj, cosines[h], -sines[h])
        turn(ai, aj, cosines[h], -sines[h])


@njit(cache=True, nogil=True)
def responses_piece(begin, end, drive, sigma, signs, light, ratio, bias, crosstalk, around, rewrap, rails, out):
    """`responses` for the cores from `begin` to `end`."""
    _, settings, k, width = out.shape
    n = rails.size
    for m in range(begin, end):
        heat, leak, phases = np.empty(2 * n), np.empty(2 * n), np.empty(2 * n)
        inner = np.empty((k, width))
        y = np.empty((k, width))
        for t in range(settings):
            q, s = drive[m % drive.shape[0], t], sigma[m % sigma.shape[0], t]
            driven_phases(q, ratio[m], bias[m], crosstalk[m], around, rewrap, heat, leak, phases)
            answer(np.cos(phases), np.sin(phases), s, signs[m % signs.shape[0]], rails, light[t], inner, y)
            out[m, t] = y


def responses(drive, sigma, signs, light, ratio, bias, crosstalk, around, rewrap, rails, out):
    """The answers `out` (cores, M, k, B) of twins. Arguments as of `normal`; `signs` (cores, k) at the outputs of U."""
    work = 2.0 * out.shape[0] * out.shape[1] * rails.size * out.shape[3]
    threads.share(
        responses_piece, len(out), work, drive, sigma, signs, light, ratio, bias, crosstalk, around, rewrap, rails, out
    )  # fmt: skip


@njit(cache=True, nogil=True)
def normal_piece(
    begin, end, drive, sigma, light, seen, power, ratio, bias, crosstalk, around, rewrap, rails, hessian, gradient,
    misfit,
):
    """`normal` for the cores from `begin` to `end`."""
    for m in range(begin, end):
        misfit[m] = normal_of_one(
            drive[m % len(drive)], sigma[m % len(sigma)], light, seen[m], power, ratio[m], bias[m], crosstalk[m],
            around, rewrap, rails, hessian[m], gradient[m],
        )  # fmt: skip


def normal(
    drive, sigma, light, seen, power, ratio, bias, crosstalk, around, rewrap, rails, hessian, gradient, misfit
):
    """J'J, J'(seen - model) and |seen - model|^2 over all settings, per core, of the unknowns (bias, ratio, crosstalk).

    `drive` (cores or 1, M, 2 n); `sigma` (cores or 1, M, k); `light` (M, k, B), in the precision of the products;
    `seen` (cores, M, k, B), powers if `power`; `ratio`, `bias` (cores, 2 n); `crosstalk` (cores,). Writes `hessian`
    (cores, 4 n + 1, 4 n + 1), `gradient` (cores, 4 n + 1), `misfit` (cores,).
    """
    threads.share(
        normal_piece, len(seen), 1e4 * seen.size, drive, sigma, light, seen, power, ratio, bias, crosstalk, around,
        rewrap, rails, hessian, gradient, misfit,
    )  # fmt: skip


@njit(nogil=True)
def normal_of_one(
    drive, sigma, light, seen, power, ratio, bias, crosstalk, around, rewrap, rails, full, down
):
    """`normal` of one core; returns its misfit."""
    settings, k, width = seen.shape
    d = 2 * rails.size
    heat, leak, phases, slope, spread = np.empty(d), np.empty(d), np.empty(d), np.empty(d), np.empty(d)
    inner, running, y = np.empty_like(light[0]), np.empty_like(light[0]), np.empty_like(light[0])
    suffix, ends = np.empty((k, k), light.dtype), np.ones(k, light.dtype)
    jacobian, gram = np.empty((d, k * width), light.dtype), np.empty((d, d), light.dtype)
    rest = np.empty(k * width, light.dtype)
    c, s, gain = np.empty(d, light.dtype), np.empty(d, light.dtype), np.empty(k, light.dtype)
    full[:] = 0.0
    down[:] = 0.0
    total = 0.0
    for t in range(settings):
        driven_phases(drive[t], ratio, bias, crosstalk, around, rewrap, heat, leak, phases)
        for h in range(d):
            c[h], s[h] = math.cos(phases[h]), math.sin(phases[h])
        gain[:] = sigma[t]
        answer(c, s, gain, ends, rails, light[t], inner, y)
        tangents(c, s, gain, ends, rails, inner, y, running, suffix, jacobian)
        total += compare(seen[t], y, power, rest, jacobian)
        np.dot(jacobian, jacobian.T, gram)
        np.dot(jacobian, rest, c)
        slope[:] = c
        collect(drive[t], leak, gram, slope, spread, crosstalk, around, full, down)
    for i in range(full.shape[0]):
        for j in range(i):
            full[i, j] = full[j, i]
    return total


@njit(fastmath=SUMMED)
def compare(seen, y, power, rest, jacobian):
    """`rest` = seen - model and its square; of powers, derivatives become those of powers."""
    total, width = 0.0, y.shape[1]
    for a in range(y.shape[0]):
        for b in range(width):
            value = y[a, b]
            wrong = seen[a, b] - (value * value if power else value)
            total += wrong * wrong
            rest[a * width + b] = wrong
            if power:
                for h in range(jacobian.shape[0]):
                    jacobian[h, a * width + b] *= value + value
    return total


@njit(fastmath=SUMMED)
def collect(q, leak, gram, slope, spread, crosstalk, around, full, down):
    """Add one setting to the upper half of the normal matrix `full` and to the gradient `down`."""
    n = around.shape[0]
    d = 2 * n
    for part in range(2):
        for h in range(n):
            total = slope[part * n + h]
            for t in range(around.shape[1]):
                if around[h, t] >= 0:
                    total += crosstalk * slope[part * n + around[h, t]]
            spread[part * n + h] = total
    last = 0.0
    for i in range(d):
        row, to, other = gram[i], full[i], full[d + i]
        qi, away = q[i], 0.0
        for j in range(d):
            away += row[j] * leak[j]
            to[d + j] += row[j] * q[j]
        for j in range(i, d):
            to[j] += row[j]
            other[d + j] += qi * row[j] * q[j]
        to[2 * d] += away
        other[2 * d] += qi * away
        last += leak[i] * away
        down[i] += slope[i]
        down[d + i] += qi * spread[i]
        down[2 * d] += leak[i] * slope[i]
    full[2 * d, 2 * d] += last


# -- rounding ----------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def settle_piece(
    begin, end, drive, signs_u, signs_v, sigma, target, ratio, bias, crosstalk, around, rewrap, rails, levels, tops,
    first, error,
):
    """`settle` for the cores from `begin` to `end`."""
    for m in range(begin, end):
        error[m] = settle_one(
            drive[m], signs_u[m], signs_v[m], sigma[m], target[m], ratio[m], bias[m], crosstalk[m], around, rewrap,
            rails, levels, tops[m], first,
        )  # fmt: skip


def settle(
    drive, signs_u, signs_v, sigma, target, ratio, bias, crosstalk, around, rewrap, rails, levels, tops, first,
    error,
):
    """Round driven phases jointly: the levels for which the core comes nearest to its target with sigma left free.

        min over levels, sigma of |W(q, sigma) - W|^2 ~ |P (rho + J M x)|^2,     M = (I + c N) D,  x = q - q0

    P projects out the directions u_i v_i^T in which sigma moves. `first`: from continuous phases, by nearest-plane
    rounding (Babai) in the order of a pivoted Cholesky factor; then, and else, by single and paired steps of one level
    while they lower the error. `drive` (cores, 2 n) is replaced by levels (L,), of
    which each heater uses those up to `tops` (cores, 2 n); `sigma` (cores, k) by the projection;
    `target` (cores, k, k); `signs_u`, `signs_v` (cores, k); `error` (cores,) gets |W(q, sigma) - W|^2.
    """
    threads.share(
        settle_piece, len(drive), 1e6 * len(drive), drive, signs_u, signs_v, sigma, target, ratio, bias, crosstalk,
        around, rewrap, rails, levels, tops, first, error,
    )  # fmt: skip


@njit(nogil=True)
def settle_one(
    drive, signs_u, signs_v, sigma, target, ratio, bias, crosstalk, around, rewrap, rails, levels, tops, first
):
    """`settle` of one core; returns its error."""
    n, k, d = rails.size, target.shape[0], drive.size
    heat, leak, phases = np.empty(d), np.empty(d), np.empty(d)
    eye, left, right, inner, y = np.eye(k), np.empty((k, k)), np.empty((k, k)), np.empty((k, k)), np.empty((k, k))
    driven_phases(drive, ratio, bias, crosstalk, around, rewrap, heat, leak, phases)
    c, s = np.cos(phases), np.sin(phases)
    project(c, s, signs_u, signs_v, sigma, target, rails, eye, left, right)
    answer(c, s, sigma * signs_v, signs_u, rails, eye, inner, y)
    if levels.size > 0:
        jacobian = np.empty((d, k * k))
        tangents(c, s, sigma * signs_v, signs_u, rails, inner, y, np.empty((k, k)), np.empty((k, k)), jacobian)
        rest = np.empty(k * k)
        for a in range(k):
            for b in range(k):
                rest[a * k + b] = y[a, b] - target[a, b]
        free = np.empty((k, k * k))
        for i in range(k):
            for a in range(k):
                for b in range(k):
                    free[i, a * k + b] = left[a, i] * right[i, b]
        jacobian -= np.dot(np.dot(jacobian, free.T), free)
        moved = np.zeros((d, k * k))
        for h in range(d):
            part = h // n * n
            moved[h] += jacobian[h]
            for t in range(around.shape[1]):
                if around[h - part, t] >= 0:
                    moved[h] += crosstalk * jacobian[part + around[h - part, t]]
            moved[h] *= ratio[h]
        gram = np.dot(moved, moved.T)
        slope = np.dot(moved, rest)
        if first:
            nearest_plane(drive, gram, slope, levels, tops)
        descend(drive, gram, slope, levels, tops)
        driven_phases(drive, ratio, bias, crosstalk, around, rewrap, heat, leak, phases)
        c, s = np.cos(phases), np.sin(phases)
        project(c, s, signs_u, signs_v, sigma, target, rails, eye, left, right)
        answer(c, s, sigma * signs_v, signs_u, rails, eye, inner, y)
    total = 0.0
    for a in range(k):
        for b in range(k):
            total += (y[a, b] - target[a, b]) ** 2
    return total


@njit(fastmath={"contract"})
def project(c, s, signs_u, signs_v, sigma, target, rails, eye, left, right):
    """`left` = U, `right` = V with their signs, and sigma_i = u_i' W v_i."""
    n, k = rails.size, eye.shape[0]
    left[:] = eye
    right[:] = eye
    for h in range(n):
        turn(left[rails[h]], left[rails[h] + 1], c[h], s[h])
        turn(right[rails[h]], right[rails[h] + 1], c[n + h], s[n + h])
    for i in range(k):
        for b in range(k):
            left[i, b] *= signs_u[i]
            right[i, b] *= signs_v[i]
    for i in range(k):
        total = 0.0
        for a in range(k):
            for b in range(k):
                total += left[a, i] * target[a, b] * right[i, b]
        sigma[i] = total


@njit
def nearest_level(levels, phase):
    """The index of the level nearest to a phase."""
    at = np.searchsorted(levels, phase)
    if at == 0:
        return 0
    if at == levels.size:
        return levels.size - 1
    return at if levels[at] - phase < phase - levels[at - 1] else at - 1


RIDGE = 0.02
"""What a step costs beside its effect, relative to the mean effect: directions without effect are left alone."""


@njit(cache=True)
def nearest_plane(drive, gram, slope, levels, tops):
    """Babai's rounding of `drive` (2 n,) for the error x' G x + 2 slope x; `slope` is kept up to date.

    Heaters are rounded one after the other, the one with the largest pivot last, and those that are left move to make
    good for it.
    """
    d = drive.size
    ridge = 0.0
    for h in range(d):
        ridge += gram[h, h] * RIDGE / d
    # The inverse of what is left: its diagonal says how well the others can make good for a heater.
    cover = gram.copy()
    for h in range(d):
        cover[h, h] += ridge + 1e-300
    inverse = np.linalg.inv(cover)
    wish = -np.dot(inverse, slope)  # where the free ones want to be, from `drive`
    open_, moves = np.ones(d, np.bool_), np.zeros(d)
    for _ in range(d):
        best, h = np.inf, -1
        for i in range(d):
            if open_[i] and inverse[i, i] < best:
                best, h = inverse[i, i], i
        level = levels[min(tops[h], nearest_level(levels, drive[h] + wish[h]))]
        moves[h] = level - drive[h]
        off = (moves[h] - wish[h]) / inverse[h, h]
        open_[h] = False
        column = inverse[:, h].copy()
        for i in range(d):
            if open_[i]:
                wish[i] += column[i] * off
        pivot = column[h]
        for i in range(d):
            if open_[i]:
                scale = column[i] / pivot
                for j in range(d):
                    inverse[i, j] -= scale * column[j]
    for h in range(d):
        for i in range(d):
            slope[i] += gram[i, h] * moves[h]
        drive[h] += moves[h]


@njit(cache=True)
def descend(drive, gram, slope, levels, tops):
    """Steps of one level of one heater, then of two, while they lower x' G x + 2 slope x."""
    d = drive.size
    at = np.empty(d, np.int64)
    for h in range(d):
        at[h] = min(tops[h], nearest_level(levels, drive[h]))
        step(h, levels[at[h]] - drive[h], drive, gram, slope)
    delta = np.zeros((d, 2))
    for _ in range(4 * d):
        gain, one, two, p, r = -1e-12, -1, -1, 0, 0
        for h in range(d):
            delta[h, 0] = levels[at[h]] - levels[at[h] - 1] if at[h] > 0 else 0.0
            delta[h, 1] = levels[at[h] + 1] - levels[at[h]] if at[h] < tops[h] else 0.0
            delta[h, 0] = -delta[h, 0]
            for u in range(2):
                x = delta[h, u]
                value = x * (2.0 * slope[h] + gram[h, h] * x)
                if value < gain:
                    gain, one, two, p = value, h, -1, u
        if one < 0:
            for h in range(d):
                for u in range(2):
                    x = delta[h, u]
                    alone = x * (2.0 * slope[h] + gram[h, h] * x)
                    for i in range(h):
                        cross = 2.0 * x * gram[h, i]
                        for v in range(2):
                            z = delta[i, v]
                            value = alone + z * (2.0 * slope[i] + gram[i, i] * z + cross)
                            if value < gain:
                                gain, one, two, p, r = value, h, i, u, v
        if one < 0:
            return
        step(one, delta[one, p], drive, gram, slope)
        at[one] += 2 * p - 1
        if two >= 0:
            step(two, delta[two, r], drive, gram, slope)
            at[two] += 2 * r - 1


@njit(fastmath={"contract"})
def step(h, x, drive, gram, slope):
    """Move one heater by x."""
    drive[h] += x
    for i in range(slope.size):
        slope[i] += gram[i, h] * x
