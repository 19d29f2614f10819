"""Unitary matrices -> phases of complex meshes: by nulling, by Clements' elimination, and around splitter errors.

Everything here rests on one step: the phases of an MZI T (conventions of `kernels.propagate`) that darken one of its
outputs for fields (a, b) at its inputs, whatever the angles l and r of its splitters (c, s: their cos and sin):

    |T12|^2 = sin^2(l + r) cos^2(theta/2) + sin^2(l - r) sin^2(theta/2) = |a|^2 / (|a|^2 + |b|^2)
    phi = pi + arg b - arg a + arg i (cr sl E + sr cl) - arg (cr cl E - sr sl),    E = e^{i theta}

for the top output (spec/insitu.md, section 1), and with T21, T22 for the bottom one. Where no theta has that ratio (it
is *clipped*) the nearest is taken. A field below `DARK` is none: rounding put it there. An MZI with a dark input
passes or crosses light, and its phi is free: zero. One without light passes straight on. A **node** is an MZI with an
optional splitter of angle `front` in front of it and an optional crossing i X behind it (`swap`):

    H = (i X)^swap T(theta, phi) D(front),    D(0) = 1

Arrays: n nodes in travel order, rails `top`, `bottom` (n,); `angles` (3, n): splitters in front, left, right, in
radians from no to full crossing (pi/4 is ideal, 0 in front is none); `swap` (n,) bool. Work is done in complex128.
"""

from __future__ import annotations

import cmath
import math

import numpy as np
from numba import njit

from .couplers import cossin

DARK = 1e-24
"""Power, of unit vectors, below which there is no light."""


@njit
def wrapped(phase):
    """A phase modulo a turn, in [0, 2 pi): of -1e-17 Python's modulo is 2 pi."""
    phase = phase % (2.0 * math.pi)
    return phase if phase < 2.0 * math.pi else 0.0


@njit
def power(z):
    """|z|^2."""
    return z.real * z.real + z.imag * z.imag


@njit
def null(a, b, left, right, bottom):
    """theta in [0, pi], phi in [0, 2 pi) of an MZI that darken its top output (or its `bottom` one) for inputs a, b."""
    p, q = (power(b), power(a)) if bottom else (power(a), power(b))
    p, q = p if p > DARK else 0.0, q if q > DARK else 0.0
    if p == 0.0 and q == 0.0:  # straight on
        q = 1.0
    most, least = math.sin(left + right) ** 2, math.sin(left - right) ** 2
    up, down = math.cos(left + right) ** 2, math.cos(left - right) ** 2
    over, under = max(most * q - up * p, 0.0), max(down * p - least * q, 0.0)
    theta = 2.0 * math.atan2(math.sqrt(over), math.sqrt(under))
    if p == 0.0 or q == 0.0:
        return theta, 0.0
    (cl, sl), (cr, sr) = cossin(left), cossin(right)
    e = cmath.exp(1j * theta)
    if bottom:
        by_b, by_a = cr * cl - sr * sl * e, 1j * (sr * cl * e + cr * sl)
    else:
        by_b, by_a = 1j * (cr * sl * e + sr * cl), cr * cl * e - sr * sl
    phi = math.pi + cmath.phase(b) - cmath.phase(a) + cmath.phase(by_b) - cmath.phase(by_a)
    return theta, wrapped(phi)


@njit
def node(theta, phi, front, left, right, swap):
    """The matrix of a node: H11, H12, H21, H22."""
    (cf, sf), (cl, sl), (cr, sr) = cossin(front), cossin(left), cossin(right)
    e, f = cmath.exp(1j * theta), cmath.exp(1j * phi)
    t11, t12 = (cr * cl * e - sr * sl) * f, 1j * (cr * sl * e + sr * cl)
    t21, t22 = 1j * (sr * cl * e + cr * sl) * f, cr * cl - sr * sl * e
    h11, h12 = t11 * cf + 1j * t12 * sf, 1j * t11 * sf + t12 * cf
    h21, h22 = t21 * cf + 1j * t22 * sf, 1j * t21 * sf + t22 * cf
    if swap:
        return 1j * h21, 1j * h22, 1j * h11, 1j * h12
    return h11, h12, h21, h22


@njit
def null_node(a, b, front, left, right, swap, bottom):
    """The phases of a node that darken one of its outputs; without light, those with which it passes straight on."""
    if power(a) <= DARK and power(b) <= DARK:
        a, b = (1.0 + 0.0j, 0.0j) if bottom else (0.0j, 1.0 + 0.0j)
    cf, sf = cossin(front)
    return null(cf * a + 1j * sf * b, cf * b + 1j * sf * a, left, right, bottom != swap)


@njit
def turn(upper, lower, t11, t12, t21, t22):
    """(upper, lower) <- T (upper, lower), two rows in place."""
    for k in range(upper.shape[0]):
        x, y = upper[k], lower[k]
        upper[k] = t11 * x + t12 * y
        lower[k] = t21 * x + t22 * y


@njit(cache=True, nogil=True)
def nullify(top, bottom, angles, swap, which, dark_bottom, waves, theta, phi):
    """Program nodes one after the other: node t darkens an output for the wave `which[t]`, all nodes before it set.

    `waves` (N, K) fields at the inputs, replaced by the fields at the outputs. Writes `theta`, `phi` (n,); returns how
    many nodes were clipped, so that their output stays brighter than rounding.
    """
    clipped = 0
    for t in range(top.shape[0]):
        i, j, k = top[t], bottom[t], which[t]
        front, left, right = angles[0, t], angles[1, t], angles[2, t]
        total = power(waves[i, k]) + power(waves[j, k])
        theta[t], phi[t] = null_node(waves[i, k], waves[j, k], front, left, right, swap[t], dark_bottom)
        h11, h12, h21, h22 = node(theta[t], phi[t], front, left, right, swap[t])
        turn(waves[i], waves[j], h11, h12, h21, h22)
        if power(waves[j if dark_bottom else i, k]) > max(1e-20 * total, DARK):
            clipped += 1
    return clipped


@njit(cache=True, nogil=True)
def correct(top, bottom, angles, swap, theta, phi, screen):
    """Phases of ideal MZIs to those of these nodes, in place: local error correction. Returns how many were clipped.

    Bandyopadhyay et al., Optica 8, 1247 (2021). Every node darkens its top output for the fields for which the ideal
    MZI does; then the two agree up to phases at the two outputs, which move on to the nodes behind and to `screen`
    (N,).
    """
    ahead = np.ones(screen.shape[0], np.complex128)  # ideal fields = ahead * fields of the nodes
    clipped = 0
    for t in range(top.shape[0]):
        i, j = top[t], bottom[t]
        t11, t12, t21, t22 = node(theta[t], phi[t], 0.0, 0.25 * math.pi, 0.25 * math.pi, False)
        t11, t12, t21, t22 = t11 * ahead[i], t12 * ahead[j], t21 * ahead[i], t22 * ahead[j]
        front, left, right = angles[0, t], angles[1, t], angles[2, t]
        theta[t], phi[t] = null_node(t12, -t11, front, left, right, swap[t], False)
        h11, h12, h21, h22 = node(theta[t], phi[t], front, left, right, swap[t])
        if power(h11 * t12 - h12 * t11) > 1e-20:
            clipped += 1
        above, below = t11 * h11.conjugate() + t12 * h12.conjugate(), t21 * h21.conjugate() + t22 * h22.conjugate()
        ahead[i], ahead[j] = cmath.exp(1j * cmath.phase(above)), cmath.exp(1j * cmath.phase(below))
    for n in range(screen.shape[0]):
        screen[n] += cmath.phase(ahead[n])
    return clipped


@njit(cache=True, nogil=True)
def clements(u, theta, phi, screen):
    """Unitary u (N, N), overwritten, to the ideal rectangular mesh: `theta`, `phi` [column, rail] (N, N - 1), `screen`.

    Clements et al., Optica 3, 1460 (2016). Diagonal by diagonal from the corner u[N - 1, 0], even ones by T^-1 from the
    right, odd ones by T from the left, until L u R^-1 = D. Then u = L^-1 D R, and D moves through L^-1 to the output:

        T(theta, phi)^-1 diag(d1, d2) = -e^{-i theta} d2 diag(e^{-i phi}, 1) T(theta, arg d1 - arg d2)
    """
    n, ideal = u.shape[0], 0.25 * math.pi
    for i in range(n - 1):
        for j in range(i + 1):
            if i % 2 == 0:
                row, c = n - 1 - j, i - j
                x, y = np.conj(u[row, c]), np.conj(u[row, c + 1])
                theta[j, c], phi[j, c] = null(x, y, ideal, ideal, False)
                t11, t12, t21, t22 = node(theta[j, c], phi[j, c], 0.0, ideal, ideal, False)
                t11, t12, t21, t22 = np.conj(t11), np.conj(t12), np.conj(t21), np.conj(t22)
                for r in range(row + 1):
                    x, y = u[r, c], u[r, c + 1]
                    u[r, c] = x * t11 + y * t12
                    u[r, c + 1] = x * t21 + y * t22
            else:
                r, c = n - 2 - i + j, n - 1 - j
                theta[c, r], phi[c, r] = null(u[r, j], u[r + 1, j], ideal, ideal, True)
                t11, t12, t21, t22 = node(theta[c, r], phi[c, r], 0.0, ideal, ideal, False)
                turn(u[r, j:], u[r + 1, j:], t11, t12, t21, t22)
    for r in range(n):
        screen[r] = cmath.phase(u[r, r])
    for i in range(n - 2 + n % 2 - 1, 0, -2):
        for j in range(i, -1, -1):
            r, c = n - 2 - i + j, n - 1 - j
            common = math.pi - theta[c, r] + screen[r + 1]
            screen[r], screen[r + 1], phi[c, r] = common - phi[c, r], common, screen[r] - screen[r + 1]


@njit(cache=True, nogil=True)
def clements_of_cores(u, theta, phi, screen):
    """`clements` of M matrices u (M, N, N)."""
    for m in range(len(u)):
        clements(u[m], theta[m], phi[m], screen[m])


@njit(cache=True, nogil=True)
def flow(top, bottom, crossed, first, common, ahead, phi, screen):
    """Push phases on the rails through the couplers from `first` on, to the output: the common mode flow, in place.

    T diag(e^{i p}, e^{i q}) = e^{i q} T with phi + p - q, whatever the splitters are: `ahead` (N,), the phases on the
    rails, turn into changes of `phi` (n,) and at last of `screen` (N,), and the matrix stays. Coupler t adds
    `common[t]` to both of its rails; `crossed` (n,) ones only swap them.
    """
    for t in range(first, top.shape[0]):
        i, j = top[t], bottom[t]
        if crossed[t]:
            ahead[i], ahead[j] = ahead[j], ahead[i]
        else:
            phi[t] += ahead[i] - ahead[j]
            ahead[i] = ahead[j] = ahead[j] + common[t]
    for n in range(screen.shape[0]):
        screen[n] += ahead[n]


@njit(cache=True, nogil=True)
def flow_back(top, bottom, crossed, by_phi, by_screen, by_common):
    """The adjoint of `flow` from the input: dL/dcommon (n,) from dL/dphi (n,) and dL/dscreen (N,)."""
    ahead = by_screen.copy()
    for s in range(top.shape[0]):
        t = top.shape[0] - 1 - s
        i, j = top[t], bottom[t]
        if crossed[t]:
            by_common[t] = 0.0
            ahead[i], ahead[j] = ahead[j], ahead[i]
        else:
            by_common[t] = ahead[i] + ahead[j]
            ahead[i], ahead[j] = by_phi[t], by_common[t] - by_phi[t]
