"""The fit of twins to whole responses: Levenberg-Marquardt, core by core, where sigma is +1 or -1.

Then all of a core is orthogonal, R = A B for what lies behind and before any heater, and of the normal matrix no
derivative is needed. With E = e_j e_i^T - e_i e_j^T on the rails i, j of a heater h, dR/dphi_h = A_h E_h B_h; and for g
on the rails a, b before it, with M between the two,

    <dR/dphi_g, dR/dphi_h> = tr(M^T E_h^T M E_g) = 2 (M_ia M_jb - M_ib M_ja),

a minor of M, for A_h and B_g drop out. Walking M from each column to the end costs a sixteenth of the products of
derivatives (`kernels.twin.normal`, which tests compare with). The use of this identity is our own.

The gradient comes from sending the residual back: lambda is undone rotation by rotation with the light C,
dL/dphi_h = sum over columns of light (lambda_j C_i - lambda_i C_j). It costs a tenth of a normal matrix, so that one
matrix serves several steps, until they stop to shrink as they should.

All settings of a core go side by side: arrays end in T of them, the last ones of weight 0 that fill a register.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from . import threads
from .chain import wrapped
from .couplers import SUMMED
from .lanes import fast, sincos, width
from .lanes import room as aligned
from .vectors import view

LANES = 16
"""Settings come in multiples of this."""
SHRINK = 0.05
"""A step that foresees more than this share of what the last one did shows that the normal matrix is out of date."""
MOVED = 0.2
"""Phase, rad, from which on variances want a normal matrix of where the fit ended."""
ENOUGH = 0.1
"""Gain of the sum of squares, in variances of a reading, below which a fit has ended."""
LEAST, MOST = 1e-7, 1e6
"""Damping where steps do what they foresee, and where none does any more."""
HELD = 1e11
"""Inverse variance from which on an unknown that is none stays so to the last digit: below none, heat would wrap."""

summed = njit(fastmath=SUMMED, _nrt=False)  # type: ignore[call-overload]
plain = njit(_nrt=False)  # type: ignore[call-overload]


@fast
def rotate(x, y, c, s):
    """Rotate two rows (B, T) by the angles of T settings: (x, y) <- (c x - s y, s x + c y)."""
    for b in range(x.shape[0]):
        p, q = x[b], y[b]
        for t in range(c.size):
            top = c[t] * p[t] - s[t] * q[t]
            q[t] = s[t] * p[t] + c[t] * q[t]
            p[t] = top


@fast
def undo(x, y, u, v, c, s, slope):
    """Rotate (x, y) and (u, v) back, and `slope` (T,) = sum over B of v x - u y, which no rotation of both changes."""
    for t in range(c.size):
        slope[t] = 0.0
    for b in range(x.shape[0]):
        p, q, g, h = x[b], y[b], u[b], v[b]
        for t in range(c.size):
            slope[t] += h[t] * p[t] - g[t] * q[t]
            top, low = c[t] * p[t] + s[t] * q[t], c[t] * g[t] + s[t] * h[t]
            q[t] = c[t] * q[t] - s[t] * p[t]
            h[t] = c[t] * h[t] - s[t] * g[t]
            p[t] = top
            g[t] = low


@fast
def heated(q, ratio, bias, crosstalk, around, rewrap, tables, leak):
    """Cosine and sine of all phases into `tables` (2 n, 2, T), and what leaks to each heater into `leak` (2 n, T)."""
    n, f = around.shape[0], tables.dtype.type
    for h in range(2 * n):
        heat, driven, strength = tables[h, 0], q[h], f(ratio[h])
        if rewrap:
            for t in range(heat.size):
                heat[t] = wrapped(driven[t] * strength)
        else:
            for t in range(heat.size):
                heat[t] = driven[t] * strength
    for h in range(2 * n):
        total, own, phase, part, b = leak[h], tables[h, 0], tables[h, 1], h // n * n, f(bias[h])
        for t in range(own.size):
            total[t] = 0.0
        for i in range(around.shape[1]):
            if around[h - part, i] >= 0:
                near = tables[part + around[h - part, i], 0]
                for t in range(own.size):
                    total[t] += near[t]
        for t in range(own.size):
            phase[t] = own[t] + f(crosstalk) * total[t] + b
    for h in range(2 * n):
        turned(tables[h, 0], tables[h, 1])


@fast
def turned(cosine, sine):
    """Cosine and sine of the phases in `sine`; both begin where vectors may stand."""
    wide = width(sine)
    c, s = view(cosine.reshape(cosine.size // wide, wide)), view(sine.reshape(sine.size // wide, wide))
    for t in range(s.size):
        s[t], c[t] = sincos(s[t])


@summed
def answered(sigma, weight, rails, tables, field, seen, back):
    """The light `field` (k, k, T) behind all of a core, its residual `back` = seen - field, and the square of that."""
    n, k, one = rails.size, field.shape[0], field.dtype.type(1.0)
    for i in range(k):
        for b in range(k):
            row = field[i, b]
            for t in range(row.size):
                row[t] = 1.0 if i == b else 0.0
    for h in range(n):
        rotate(field[rails[h]], field[rails[h] + 1], tables[n + h, 0], tables[n + h, 1])
    for i in range(k):
        signed(field[i], sigma[i])
    for h in range(n):
        rotate(field[rails[h]], field[rails[h] + 1], tables[h, 0], tables[h, 1])
    total = 0.0
    for i in range(k):
        for b in range(k):
            y, wanted, wrong = field[i, b], seen[i, b], back[i, b]
            part = field[0, 0, 0] * 0
            for t in range(y.size):
                wrong[t] = (wanted[t] - y[t]) * min(weight[t], one)
                part += wrong[t] * wrong[t]
            total += part
    return total


@fast
def signed(rows, signs):
    """Rows (B, T) times the signs of T settings."""
    for b in range(rows.shape[0]):
        row = rows[b]
        for t in range(signs.size):
            row[t] *= signs[t]


@fast
def returned(sigma, rails, tables, field, back, slope):
    """Send residuals back: `slope` (2 n, T), the derivative by every phase of half the square, negative."""
    n = rails.size
    for h in range(n - 1, -1, -1):
        r = rails[h]
        undo(field[r], field[r + 1], back[r], back[r + 1], tables[h, 0], tables[h, 1], slope[h])
    for i in range(field.shape[0]):
        signed(field[i], sigma[i])
        signed(back[i], sigma[i])
    for h in range(n - 1, -1, -1):
        r = rails[h]
        undo(field[r], field[r + 1], back[r], back[r + 1], tables[n + h, 0], tables[n + h, 1], slope[n + h])


@summed
def product(x, y):
    """Their scalar product."""
    total = x[0] * 0
    for t in range(x.size):
        total += x[t] * y[t]
    return total


@summed
def whole(x):
    """The sum of x."""
    total = x[0] * 0
    for t in range(x.size):
        total += x[t]
    return total


@plain
def gathered(q, leak, slope, crosstalk, around, down):
    """The gradient `down` (4 n + 1,) by biases, ratios and crosstalk from that by phases."""
    n = around.shape[0]
    last = 0.0
    for h in range(2 * n):
        part = h // n * n
        down[h] = whole(slope[h])
        near = product(q[h], slope[h])
        for i in range(around.shape[1]):
            if around[h - part, i] >= 0:
                near += crosstalk * product(q[h], slope[part + around[h - part, i]])
        down[2 * n + h] = near
        last += product(leak[h], slope[h])
    down[4 * n] = last


@summed
def moments(a, b, c, d, weight, q, z, p, w):
    """Sums over settings of the minor a d - b c, by weight, times 1, q, p, q p, z, q w, w, p z and z w: (q, z) driven
    phase and leak of one heater, (p, w) of the other."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = a[0] * 0
    for t in range(a.size):
        g = weight[t] * (a[t] * d[t] - b[t] * c[t])
        x, y = g * q[t], g * w[t]
        s0 += g
        s1 += x
        s2 += g * p[t]
        s3 += x * p[t]
        s4 += g * z[t]
        s5 += q[t] * y
        s6 += y
        s7 += g * z[t] * p[t]
        s8 += y * z[t]
    return s0, s1, s2, s3, s4, s5, s6, s7, s8


@plain
def entered(h, o, sums, full):
    """Put the `moments` of the heaters h and o into the lower half of the normal matrix, (4 n + 1, 4 n + 1)."""
    s0, s1, s2, s3, s4, s5, s6, s7, s8 = sums
    d = (full.shape[0] - 1) // 2
    full[max(h, o), min(h, o)] = s0
    full[d + h, o] = s1
    full[d + o, h] = s2
    full[d + max(h, o), d + min(h, o)] = s3
    full[2 * d, o] += s4
    full[2 * d, d + h] += s5
    if h != o:
        full[2 * d, h] += s6
        full[2 * d, d + o] += s7
        full[2 * d, 2 * d] += 2.0 * s8
    else:
        full[2 * d, 2 * d] += s8


@plain
def matrix(q, sigma, weight, first, rails, tables, leak, between, full):
    """The lower half of the normal matrix at the phases of `tables`; `between` (k, k, T) is the M of the module.

    `weight` (T,) is 2 for settings, 0 for those that fill up. Neighbours are left out of the derivatives by ratios, as
    in `kernels.twin`.
    """
    n, k, columns = rails.size, between.shape[0], first.size - 1
    full[:] = 0.0
    for group in range(2 * columns):
        start = n if group < columns else 0  # V, then U: as light goes
        column = group % columns
        for i in range(k):
            for b in range(k):
                between[i, b, :] = 1.0 if i == b else 0.0
        for h in range(first[column], first[column + 1]):
            r, own = rails[h], start + h
            entered(own, own, moments(
                between[r, r], between[r, r + 1], between[r + 1, r], between[r + 1, r + 1], weight, q[own], leak[own],
                q[own], leak[own],
            ), full)  # fmt: skip
        for later in range(group + 1, 2 * columns):
            if later == columns:
                for i in range(k):
                    signed(between[i], sigma[i])
            end = n if later < columns else 0
            for o in range(first[later % columns], first[later % columns + 1]):
                top, other = rails[o], end + o
                rotate(between[top], between[top + 1], tables[other, 0], tables[other, 1])
                for h in range(first[column], first[column + 1]):
                    r, own = rails[h], start + h
                    entered(own, other, moments(
                        between[top, r], between[top, r + 1], between[top + 1, r], between[top + 1, r + 1], weight,
                        q[own], leak[own], q[other], leak[other],
                    ), full)  # fmt: skip


@summed
def less(x, y, many):
    """The scalar product of the first `many`."""
    total = 0.0
    for i in range(many):
        total += x[i] * y[i]
    return total


@plain
def factor(full, scale, precision, damping, root):
    """Cholesky's factor `root` of (full scale + precision) with its diagonal times 1 + damping; False where it has
    none. Of `full` the lower half counts."""
    for i in range(full.shape[0]):
        row, under = full[i], root[i]
        for j in range(i):
            under[j] = (row[j] * scale - less(under, root[j], j)) / root[j, j]
        left = (row[i] * scale + precision[i]) * (1.0 + damping) - less(under, under, i)
        if not left > 0.0:
            return False
        under[i] = math.sqrt(left)
    return True


@plain
def solve(root, right, out):
    """`out` = the inverse of root root' times `right`."""
    size = right.size
    for i in range(size):
        out[i] = (right[i] - less(root[i], out, i)) / root[i, i]
    for i in range(size - 1, -1, -1):
        out[i] /= root[i, i]
        subtract(out, root[i], out[i], i)


@fast
def subtract(x, y, factor, many):
    """x -= factor y, of the first `many`."""
    for i in range(many):
        x[i] -= factor * y[i]


@plain
def inverse_diagonal(root, inverse, out):
    """`out` = the diagonal of the inverse of root root'; `inverse` is room for that of root."""
    size = out.size
    out[:] = 0.0
    for i in range(size):
        row = inverse[i]
        row[: i + 1] = 0.0
        row[i] = 1.0
        for j in range(i):
            subtract(row, inverse[j], root[i, j], j + 1)
        for j in range(i + 1):
            row[j] /= root[i, i]
            out[j] += row[j] * row[j]


@fast
def copied(to, what):
    """Copy an array of one dimension."""
    for i in range(to.size):
        to[i] = what[i]


@plain
def evaluate(x, q, sigma, weight, around, rewrap, rails, tables, leak, field, seen, back, slope, down):
    """|seen - model|^2 of a core with the unknowns x (4 n + 1,); `down`: the gradient of half of it, negative."""
    d = 2 * rails.size
    heated(q, x[d : 2 * d], x[:d], x[2 * d], around, rewrap, tables, leak)
    total = answered(sigma, weight, rails, tables, field, seen, back)
    returned(sigma, rails, tables, field, back, slope)
    gathered(q, leak, slope, x[2 * d], around, down)
    return total


@plain
def pulled(down, x, precision, centre, scale, wrong, grad):
    """What is minimised at x, priors included, and `grad`, its gradient, of half of it and negative."""
    cost = wrong * scale
    for i in range(x.size):
        away = x[i] - centre[i]
        grad[i] = down[i] * scale - precision[i] * away
        cost += precision[i] * away * away
    return cost


@plain
def fit_one(
    q, signs, weight, settings, around, rewrap, rails, first, precision, centre, scale, rounds, tables, leak, slope,
    field, back, wanted, full, root, room, down, grad, step, trial, there, x, variance,
):  # fmt: skip
    """`fit` of one core from x, which ends where the fit does; returns the misfit."""
    size, d = x.size, 2 * rails.size
    wrong = evaluate(x, q, signs, weight, around, rewrap, rails, tables, leak, field, wanted, back, slope, down)
    cost = pulled(down, x, precision, centre, scale, wrong, grad)
    damping, used, last, left = 1e-3, -1.0, math.inf, True  # `left`: x is not where `full` is of
    for _ in range(rounds):
        if left and (used < 0.0 or last == 0.0):
            matrix(q, signs, weight, first, rails, tables, leak, field, full)
            copied(there, x)
            left, used = False, -1.0
        if used != damping:
            while not factor(full, scale, precision, damping, root):
                damping = 6.0 * max(damping, 1e-6)
            used = damping
        solve(root, grad, step)
        foreseen = less(step, grad, size)
        if foreseen < ENOUGH:
            break
        if left and foreseen > SHRINK * last:
            last = 0.0
            heated(q, x[d : 2 * d], x[:d], x[2 * d], around, rewrap, tables, leak)
            continue
        for i in range(size):
            trial[i] = 0.0 if x[i] == 0.0 and precision[i] >= HELD else x[i] + step[i]
        fresh = evaluate(
            trial, q, signs, weight, around, rewrap, rails, tables, leak, field, wanted, back, slope, down
        )
        new = pulled(down, trial, precision, centre, scale, fresh, step)
        gained = cost - new
        if gained > 0.0:
            damping = LEAST if gained > 0.5 * foreseen else max(0.2 * damping, LEAST)
            copied(x, trial)
            copied(grad, step)
            cost, wrong, last, left = new, fresh, foreseen, True
            if gained < ENOUGH:
                break
        elif left:  # an old matrix may be to blame
            last = 0.0
            heated(q, x[d : 2 * d], x[:d], x[2 * d], around, rewrap, tables, leak)
        else:
            damping *= 6.0
            if damping > MOST or gained > -ENOUGH:
                break
    far = 0.0
    for i in range(d):
        far = max(far, abs(x[i] - there[i]))
    if far > MOVED:
        heated(q, x[d : 2 * d], x[:d], x[2 * d], around, rewrap, tables, leak)
        matrix(q, signs, weight, first, rails, tables, leak, field, full)
    if far > MOVED or used > LEAST:
        damping = 0.0
        while not factor(full, scale, precision, damping, root):
            damping = max(10.0 * damping, 1e-9)
    inverse_diagonal(root, room, variance)
    return wrong


@njit(cache=True, nogil=True)
def fit_piece(
    begin, end, drive, sigma, seen, around, rewrap, rails, first, precision, centre, noise, rounds, x, misfit, variance
):
    """`fit` for the cores from `begin` to `end`."""
    _, settings, k, _ = seen.shape
    size, d = x.shape[1], 2 * rails.size
    lanes = (settings + LANES - 1) // LANES * LANES
    f = seen.dtype
    q, signs, weight = np.zeros((d, lanes), f), np.ones((k, lanes), f), np.zeros(lanes, f)
    tables = aligned(2 * d, lanes // width(seen), seen).reshape(d, 2, lanes)
    leak, slope = np.empty((d, lanes), f), np.empty((d, lanes), f)
    field, back, wanted = np.empty((k, k, lanes), f), np.empty((k, k, lanes), f), np.empty((k, k, lanes), f)
    full, root, room = np.empty((size, size)), np.empty((size, size)), np.empty((size, size))
    down, grad, step, trial, there = np.empty(size), np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    weight[:settings] = 2.0
    scale = 1.0 / noise**2
    for m in range(begin, end):
        if m == begin or drive.shape[0] > 1:
            q[:, :settings] = drive[m % drive.shape[0]].T
        if m == begin or sigma.shape[0] > 1:
            signs[:, :settings] = sigma[m % sigma.shape[0]].T
        for i in range(k):
            for b in range(k):
                for t in range(settings):
                    wanted[i, b, t] = seen[m, t, i, b]
                for t in range(settings, lanes):
                    wanted[i, b, t] = 0.0
        misfit[m] = fit_one(
            q, signs, weight, settings, around, rewrap, rails, first, precision[m], centre[m], scale, rounds, tables,
            leak, slope, field, back, wanted, full, root, room, down, grad, step, trial, there, x[m], variance[m],
        )  # fmt: skip


def fit(drive, sigma, seen, around, rewrap, rails, first, precision, centre, noise, rounds, x, misfit, variance):
    """Fit every core to the whole responses `seen` (cores, M, k, k), float32, of settings with sigma of +1 and -1.

        min over x of  |seen - model(x)|^2 / noise^2 + sum precision (x - centre)^2

    `drive` (cores or 1, M, 2 n) driven phases of U, then V; `sigma` (cores or 1, M, k); `first` (C + 1,): the first
    heater of each column; `precision` and `centre` (cores, 4 n + 1). x (cores, 4 n + 1), bias, ratio and crosstalk,
    is where the fit starts, and ends after `rounds` at most; `misfit` (cores,) gets the first term without the noise,
    `variance` (cores, 4 n + 1) the diagonal of the inverse of the normal matrix.
    """
    threads.share(
        fit_piece, len(seen), 1e6 * len(seen), drive, sigma, seen, around, rewrap, rails, first, precision, centre,
        noise, rounds, x, misfit, variance,
    )  # fmt: skip
