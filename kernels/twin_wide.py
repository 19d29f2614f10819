"""The general twin of one core: what it answers to all settings of a fit, and the derivatives by all that makes it.

A core answers light X (k, B) with Y = U diag(s) V X; U and V are products of MZIs with errors e of both splitters and
losses of both arms (`kernels.cores`),

    T = -i D(e_r) diag(e^{a0 + i a}, e^{a1 - i a}) D(e_l) diag(1, -1),   a = pi/2 - phi

For an MZI with A (k, 2) behind it and the light F (2, B) before it, dY = A dT F: one pass forward keeps every F, one
pass back makes every A, and of each MZI five derivatives follow, by phi, e_l, e_r, a0 and a1. Those by the share s_i of
an attenuator and by a modulator's gain are the same with vectors in place of A and F. Where readings are quadratures
the real part of dY counts, where they are powers 2 Re(Y* dY).

A row of a derivative holds all settings side by side, so that normal matrices are one product (BLAS).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

KINDS = 5
"""Derivatives of an MZI: by its phase, the errors of the left and the right splitter, the logs of both amplitudes."""

quick = njit(fastmath={"contract", "nsz", "arcp", "nnan", "ninf"})


@quick
def mzi(phase, errors, out, slopes, wide):
    """T (2, 2) of an MZI into `out` and, into `slopes` (KINDS, 2, 2), its derivatives; only that by phase unless
    `wide`."""
    left, right = 0.25 * math.pi + errors[0], 0.25 * math.pi + errors[1]
    cl, sl, cr, sr = math.cos(left), math.sin(left), math.cos(right), math.sin(right)
    turn = 0.5 * math.pi - phase
    upper = math.exp(errors[2]) * complex(math.cos(turn), math.sin(turn))
    lower = math.exp(errors[3]) * complex(math.cos(turn), -math.sin(turn))
    joined(cl, sl, cr, sr, upper, lower, out)
    joined(cl, sl, cr, sr, -1j * upper, 1j * lower, slopes[0])
    if wide:
        joined(-sl, cl, cr, sr, upper, lower, slopes[1])
        joined(cl, sl, -sr, cr, upper, lower, slopes[2])
        joined(cl, sl, cr, sr, upper, 0j, slopes[3])
        joined(cl, sl, cr, sr, 0j, lower, slopes[4])


@quick
def joined(cl, sl, cr, sr, upper, lower, out):
    """Splitters of these cosines and sines around two arms."""
    out[0, 0] = -1j * (cr * cl * upper - sr * sl * lower)
    out[0, 1] = -(cr * sl * upper + sr * cl * lower)
    out[1, 0] = sr * cl * upper + cr * sl * lower
    out[1, 1] = 1j * (cr * cl * lower - sr * sl * upper)


@quick
def passed(t, xr, xi, yr, yi):
    """Two rows of light, real and imaginary parts (B,), through T."""
    ar, ai, br, bi = t[0, 0].real, t[0, 0].imag, t[0, 1].real, t[0, 1].imag
    cr, ci, dr, di = t[1, 0].real, t[1, 0].imag, t[1, 1].real, t[1, 1].imag
    for b in range(xr.size):
        p, q, u, v = xr[b], xi[b], yr[b], yi[b]
        xr[b] = ar * p - ai * q + br * u - bi * v
        xi[b] = ar * q + ai * p + br * v + bi * u
        yr[b] = cr * p - ci * q + dr * u - di * v
        yi[b] = cr * q + ci * p + dr * v + di * u


@quick
def moved(e, before, to):
    """dT F: `before` and `to` (2 rails, 2 parts, B)."""
    for r in range(2):
        ar, ai, br, bi = e[r, 0].real, e[r, 0].imag, e[r, 1].real, e[r, 1].imag
        re, im = to[r, 0], to[r, 1]
        pr, pi, qr, qi = before[0, 0], before[0, 1], before[1, 0], before[1, 1]
        for b in range(re.size):
            re[b] = ar * pr[b] - ai * pi[b] + br * qr[b] - bi * qi[b]
            im[b] = ar * pi[b] + ai * pr[b] + br * qi[b] + bi * qr[b]


@quick
def outer(left, right, field, power, row):
    """The readings' change `row` (k B,) where amplitudes change by the sum over r of left[:, r] right[r]: `left`
    (k, rails, 2 parts), `right` (rails, 2 parts, B), `field` (k, 2 parts, B) the amplitudes."""
    width = right.shape[2]
    for a in range(left.shape[0]):
        to = row[a * width : (a + 1) * width]
        if power:
            re, im = field[a, 0], field[a, 1]
            for b in range(width):
                to[b] = 0.0
            for r in range(left.shape[1]):
                p, q, u, v = left[a, r, 0], left[a, r, 1], right[r, 0], right[r, 1]
                for b in range(width):
                    to[b] += 2.0 * (re[b] * (p * u[b] - q * v[b]) + im[b] * (p * v[b] + q * u[b]))
        elif left.shape[1] == 2:
            p, q, u, v = left[a, 0, 0], left[a, 0, 1], right[0, 0], right[0, 1]
            g, h, w, z = left[a, 1, 0], left[a, 1, 1], right[1, 0], right[1, 1]
            for b in range(width):
                to[b] = p * u[b] - q * v[b] + g * w[b] - h * z[b]
        else:
            p, q, u, v = left[a, 0, 0], left[a, 0, 1], right[0, 0], right[0, 1]
            for b in range(width):
                to[b] = p * u[b] - q * v[b]


@njit(cache=True, nogil=True)
def answers(phases, errors, share, light, rails, power, out):
    """What a core reads, `out` (S, k, B): `phases` (S, 2 n) of U, then V; `errors` (2, 4, n); `share` (S, k) of the
    attenuators; `light` (S, k, B)."""
    settings, k, width = out.shape
    n = rails.size
    field = np.empty((k, 2, width), out.dtype)
    t, slopes = np.empty((2, 2), np.complex128), np.empty((KINDS, 2, 2), np.complex128)
    for m in range(settings):
        field[:, 0], field[:, 1] = light[m], 0.0
        for part in range(1, -1, -1):
            for h in range(n):
                r = rails[h]
                mzi(phases[m, part * n + h], errors[part, :, h], t, slopes, False)
                passed(t, field[r, 0], field[r, 1], field[r + 1, 0], field[r + 1, 1])
            if part:
                for i in range(k):
                    field[i] *= share[m, i]
        for a in range(k):
            for b in range(width):
                re, im = field[a, 0, b], field[a, 1, b]
                out[m, a, b] = re * re + im * im if power else re


@njit(cache=True, nogil=True)
def derivatives(phases, errors, share, light, rails, power, out, by_mzi, by_share, by_light):
    """`answers`, and their derivatives: `by_mzi` (kinds, 2 n, S, k B), one kind (by phase) or KINDS of them,
    `by_share` (k, S, k B), `by_light` (k, S, k B), by the logarithm of the light of each input."""
    settings, k, width = out.shape
    n, kinds, kind = rails.size, by_mzi.shape[0], out.dtype
    field, behind = np.empty((k, 2, width), kind), np.empty((k, k, 2), kind)
    before, middle = np.empty((2 * n, 2, 2, width), kind), np.empty((k, 2, width), kind)
    each = np.empty((2 * n, 2, 2), np.complex128)
    slopes = np.empty((2 * n, KINDS, 2, 2), np.complex128)
    change = np.empty((2, 2, width), kind)
    for m in range(settings):
        field[:, 0], field[:, 1] = light[m], 0.0
        for part in range(1, -1, -1):
            for h in range(n):
                r, own = rails[h], part * n + h
                mzi(phases[m, own], errors[part, :, h], each[own], slopes[own], kinds > 1)
                before[own] = field[r : r + 2]
                passed(each[own], field[r, 0], field[r, 1], field[r + 1, 0], field[r + 1, 1])
            if part:
                middle[:] = field
                for i in range(k):
                    field[i] *= share[m, i]
        for a in range(k):
            for b in range(width):
                re, im = field[a, 0, b], field[a, 1, b]
                out[m, a, b] = re * re + im * im if power else re
        behind[:] = 0.0
        for i in range(k):
            behind[i, i, 0] = 1.0
        for part in range(2):
            for h in range(n - 1, -1, -1):
                r, own = rails[h], part * n + h
                for j in range(kinds):
                    moved(slopes[own, j], before[own], change)
                    outer(behind[:, r : r + 2], change, field, power, by_mzi[j, own, m])
                through(each[own], behind, r)
            if part == 0:
                for i in range(k):
                    outer(behind[:, i : i + 1], middle[i : i + 1], field, power, by_share[i, m])
                    behind[:, i] *= share[m, i]
        for i in range(k):
            change[0, 0], change[0, 1] = light[m, i], 0.0
            outer(behind[:, i : i + 1], change[:1], field, power, by_light[i, m])


@quick
def through(t, behind, r):
    """What is behind an MZI on the rails r and r + 1, `behind` (k, k, 2 parts), to what is before it: A T."""
    for a in range(behind.shape[0]):
        x = complex(behind[a, r, 0], behind[a, r, 1])
        y = complex(behind[a, r + 1, 0], behind[a, r + 1, 1])
        p, q = x * t[0, 0] + y * t[1, 0], x * t[0, 1] + y * t[1, 1]
        behind[a, r, 0], behind[a, r, 1] = p.real, p.imag
        behind[a, r + 1, 0], behind[a, r + 1, 1] = q.real, q.imag
