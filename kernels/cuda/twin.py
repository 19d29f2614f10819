"""Twins of real cores (`kernels.twin`): all cores and settings at once, one thread for every column of light.

What stands behind each heater (one thread for every column of the suffix) and the light before it (one for every
column of light) give the derivatives by phase of all settings, which are kept; their products with each other are
cuBLAS's, and one thread for every number gathers the normal matrix. `settle` has no counterpart: rounding is done on
the host.
"""

from __future__ import annotations

import math

from numba import cuda

from .. import twin as cpu
from .launch import device, entry, scratch, spread

driven_phases = device(cpu.driven_phases)


@entry
def drive_all(q, ratio, bias, crosstalk, around, rewrap, heat, leak, phases, cosines, sines):
    """Phases of every setting of every core: (cores, M, 2 n)."""
    cores, settings, heaters = cosines.shape
    for index in range(cuda.grid(1), cores * settings, cuda.gridsize(1)):
        m, t = index // settings, index % settings
        driven_phases(
            q[m % q.shape[0], t], ratio[m], bias[m], crosstalk[m], around, rewrap, heat[m, t], leak[m, t], phases[m, t]
        )
        for h in range(heaters):
            cosines[m, t, h] = math.cos(phases[m, t, h])
            sines[m, t, h] = math.sin(phases[m, t, h])


@cuda.jit(device=True)
def turn(field, r, b, c, s):
    """Rotate rails r, r + 1 of column b, as `kernels.twin.turn` does of all."""
    x, y = field[r, b], field[r + 1, b]
    field[r, b] = c * x - s * y
    field[r + 1, b] = s * x + c * y


@entry
def send_all(cosines, sines, sigma, signs, rails, light, inner, out):
    """As `kernels.twin.answer`: `inner` and `out` (cores, M, k, B)."""
    cores, settings, k, width = out.shape
    n = rails.size
    for index in range(cuda.grid(1), cores * settings * width, cuda.gridsize(1)):
        m, t, b = index // (settings * width), index // width % settings, index % width
        x, y, c, s = inner[m, t], out[m, t], cosines[m, t], sines[m, t]
        for i in range(k):
            x[i, b] = light[t, i, b]
        for h in range(n):
            turn(x, rails[h], b, c[n + h], s[n + h])
        for i in range(k):
            y[i, b] = sigma[m % sigma.shape[0], t, i] * x[i, b]
        for h in range(n):
            turn(y, rails[h], b, c[h], s[h])
        for i in range(k):
            y[i, b] *= signs[m % signs.shape[0], i]


@entry
def suffix_all(cosines, sines, sigma, rails, running, behind):
    """Rows i, j of the product behind every heater, from the outputs inwards: `behind` (cores, M, 2 n, 2, k)."""
    cores, settings, k = running.shape[:3]
    n = rails.size
    for index in range(cuda.grid(1), cores * settings * k, cuda.gridsize(1)):
        m, t, a = index // (settings * k), index // k % settings, index % k
        rows, to = running[m, t], behind[m, t]
        for i in range(k):
            rows[i, a] = rows.dtype.type(1.0 if i == a else 0.0)
        for back in range(2 * n):
            h = n - 1 - back if back < n else 3 * n - 1 - back
            if back == n:
                for i in range(k):
                    rows[i, a] *= sigma[m % sigma.shape[0], t, i]
            r = rails[h % n]
            to[h, 0, a], to[h, 1, a] = rows[r, a], rows[r + 1, a]
            turn(rows, r, a, cosines[m, t, h], -sines[m, t, h])


@entry
def slope_all(cosines, sines, rails, behind, seen, power, inner, running, out, rest, jacobian):
    """As `kernels.twin.tangents` and `compare`: `rest` (cores, M, k B), `jacobian` (cores, M, 2 n, k B).

    `running`: a copy of `out`, which is undone heater by heater."""
    cores, settings, k, width = out.shape
    n = rails.size
    for index in range(cuda.grid(1), cores * settings * width, cuda.gridsize(1)):
        m, t, b = index // (settings * width), index // width % settings, index % width
        x, y = running[m, t], out[m, t]
        for a in range(k):
            value = y[a, b]
            rest[m, t, a * width + b] = seen[m, t, a, b] - (value * value if power else value)
        for back in range(2 * n):
            h = n - 1 - back if back < n else 3 * n - 1 - back
            if back == n:
                for i in range(k):
                    x[i, b] = inner[m, t, i, b]
            r = rails[h % n]
            upper, lower = x[r, b], x[r + 1, b]
            for a in range(k):
                slope = behind[m, t, h, 1, a] * upper - behind[m, t, h, 0, a] * lower
                jacobian[m, t, h, a * width + b] = slope * (y[a, b] + y[a, b]) if power else slope
            turn(x, r, b, cosines[m, t, h], -sines[m, t, h])


@entry
def collect_all(q, gram, full):
    """The blocks of the normal matrix by bias and ratio, of `gram` (cores, M, 2 n, 2 n) of all settings."""
    cores, settings, d = gram.shape[:3]
    for index in range(cuda.grid(1), cores * d * d, cuda.gridsize(1)):
        m, i, j = index // (d * d), index // d % d, index % d
        at, across, both = 0.0, 0.0, 0.0
        for t in range(settings):
            value, qi, qj = gram[m, t, i, j], q[m % q.shape[0], t, i], q[m % q.shape[0], t, j]
            at += value
            across += value * qj
            both += qi * value * qj
        full[m, i, j] = at
        full[m, i, d + j] = across
        full[m, d + j, i] = across
        full[m, d + i, d + j] = both


@entry
def edge_all(q, away, slope, crosstalk, around, full, down):
    """The column of the crosstalk, of `away` = gram @ leak, and the gradient, of `slope` (cores, M, 2 n)."""
    cores, settings, d = slope.shape
    n = around.shape[0]
    for index in range(cuda.grid(1), cores * d, cuda.gridsize(1)):
        m, i = index // d, index % d
        first, second, by_bias, by_ratio = 0.0, 0.0, 0.0, 0.0
        for t in range(settings):
            qi, spread_ = q[m % q.shape[0], t, i], 0.0
            for g in range(around.shape[1]):
                if around[i % n, g] >= 0:
                    spread_ += slope[m, t, i // n * n + around[i % n, g]]
            first += away[m, t, i]
            second += qi * away[m, t, i]
            by_bias += slope[m, t, i]
            by_ratio += qi * (slope[m, t, i] + crosstalk[m] * spread_)
        full[m, i, 2 * d] = first
        full[m, 2 * d, i] = first
        full[m, d + i, 2 * d] = second
        full[m, 2 * d, d + i] = second
        down[m, i] = by_bias
        down[m, d + i] = by_ratio


def _turned(drive, ratio, bias, crosstalk, around, rewrap, settings, dtype):
    """Cosines, sines and leaks of every setting of every core, (cores, M, 2 n)."""
    shape = (len(ratio), settings, ratio.shape[1])
    heat, leak, phases = (scratch(ratio, shape) for _ in range(3))
    cosines, sines = (scratch(ratio, shape, dtype) for _ in range(2))
    count = shape[0] * settings
    spread(drive_all, count, drive, ratio, bias, crosstalk, around, rewrap, heat, leak, phases, cosines, sines)
    return cosines, sines, leak


def responses(drive, sigma, signs, light, ratio, bias, crosstalk, around, rewrap, rails, out):
    """As `kernels.twin.responses`."""
    cores, settings, _, width = out.shape
    cosines, sines, _ = _turned(drive, ratio, bias, crosstalk, around, rewrap, settings, light.dtype)
    inner = scratch(out, out.shape)
    spread(send_all, cores * settings * width, cosines, sines, sigma, signs, rails, light, inner, out)


def normal(
    drive, sigma, light, seen, power, ratio, bias, crosstalk, around, rewrap, rails, hessian, gradient, misfit
):
    """As `kernels.twin.normal`."""
    cores, settings, k, width = seen.shape
    d = 2 * rails.size
    cosines, sines, leak = _turned(drive, ratio, bias, crosstalk, around, rewrap, settings, light.dtype)
    inner, out = (scratch(light, seen.shape) for _ in range(2))
    ends = scratch(light, (1, k))
    ends[:] = 1.0
    spread(send_all, cores * settings * width, cosines, sines, sigma, ends, rails, light, inner, out)
    running, behind = scratch(light, (cores, settings, k, k)), scratch(light, (cores, settings, d, 2, k))
    spread(suffix_all, cores * settings * k, cosines, sines, sigma, rails, running, behind)
    running, rest = out.copy(), scratch(light, (cores, settings, k * width))
    jacobian = scratch(light, (cores, settings, d, k * width))
    spread(
        slope_all, cores * settings * width, cosines, sines, rails, behind, seen, power, inner, running, out, rest,
        jacobian,
    )  # fmt: skip
    gram = jacobian @ jacobian.swapaxes(-1, -2)
    slope = (jacobian @ rest[..., None])[..., 0]
    away = (gram @ leak.astype(light.dtype)[..., None])[..., 0]
    spread(collect_all, cores * d * d, drive, gram, hessian)
    spread(edge_all, cores * d, drive, away, slope, crosstalk, around, hessian, gradient)
    hessian[:, 2 * d, 2 * d] = (leak * away).sum(axis=(1, 2))
    gradient[:, 2 * d] = (leak * slope).sum(axis=(1, 2))
    misfit[:] = (rest.astype("float64") ** 2).sum(axis=(1, 2))
