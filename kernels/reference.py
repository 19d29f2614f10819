"""Slow NumPy definitions of what the kernels compute. Tests compare every kernel with these."""

from __future__ import annotations

from math import tau

import numpy as np


def quantise(phases, bits):
    """Steps 1-2 of the noise chain in the phase domain; `bits` 0 leaves the phase continuous."""
    phases = np.mod(phases, tau)
    if bits == 0:
        return phases
    lsb = tau / (2**bits - 1)
    return lsb * np.round(phases / lsb)


def crosstalk(phases, factor):
    """Step 4 on full mesh arrays (..., column, rail), zero where there is no MZI.

    phi'[l, r] = phi[l, r] + c (phi[l, r-2] + phi[l, r+2] + the four phi[l+-1, r+-1])
    """
    padded = np.pad(phases, [(0, 0)] * (phases.ndim - 2) + [(1, 1), (2, 2)])
    total = phases.copy()
    columns, rails = phases.shape[-2:]
    for dl, dr in ((0, -2), (0, 2), (-1, -1), (-1, 1), (1, -1), (1, 1)):
        total = total + factor * padded[..., 1 + dl : 1 + dl + columns, 2 + dr : 2 + dr + rails]
    return total


def chain(phases, mask, *, bits=0, ratio=1.0, factor=0.0, bias=0.0, fixed=None):
    """The whole noise chain on mesh arrays (..., column, rail) with the MZIs at `mask`."""
    phases = quantise(phases, bits) * ratio
    if fixed is not None:
        phases = np.where(np.isnan(fixed), phases, fixed)
    if factor > 1e-5:
        phases = crosstalk(np.where(mask, np.mod(phases, tau), 0.0), factor)
    return np.where(mask, phases + bias, 0.0)


def matrix(phases, mask, signs=None):
    """U = diag(signs) T_{C-1} ... T_0 of one real mesh by dense products: phases (C, k - 1) -> (k, k)."""
    k = mask.shape[1] + 1
    u = np.eye(k)
    for column in range(mask.shape[0]):
        for rail in np.flatnonzero(mask[column]):
            t = np.eye(k)
            c, s = np.cos(phases[column, rail]), np.sin(phases[column, rail])
            t[rail : rail + 2, rail : rail + 2] = [[c, -s], [s, c]]
            u = t @ u
    return u if signs is None else signs[:, None] * u


def loss(u, sigma, v, gain, target):
    """L = 1/k^2 sum_ab ((U diag(sigma) V)_ab gain_b - T_ab)^2 of one core."""
    return float(np.mean(((u * sigma) @ v * gain - target) ** 2))


def descend(rule, build, phases, order, lr, start):
    """Coordinate descent over one vector of phases: `build(phases) -> loss`; returns (phases, loss).

    The rules "zcd" and "ztp" are those of `kernels.descent`.
    """
    phases = phases.copy()
    here = start
    for i in order:
        stay = phases[i]
        phases[i] = stay + lr
        plus = build(phases)
        if rule == "zcd":
            if not plus < here:
                phases[i] -= 2 * lr
            here = build(phases)
            continue
        phases[i] -= 2 * lr
        minus = build(phases)
        choice = int(np.argmin([minus, here, plus]))
        phases[i] = (phases[i], stay, stay + lr)[choice]
        here = (minus, here, plus)[choice]
    return phases, here


def coupler(error):
    """D(e) = [[cos(pi/4 + e), i sin(pi/4 + e)], [i sin(pi/4 + e), cos(pi/4 + e)]]."""
    c, s = np.cos(np.pi / 4 + error), np.sin(np.pi / 4 + error)
    return np.array([[c, 1j * s], [1j * s, c]])


def pieces(theta, phi, errors=(0.0, 0.0), amplitudes=(1.0, 1.0, 1.0, 1.0)):
    """phi, left coupler, theta, right coupler of one complex MZI, as light meets them (`kernels.propagate`)."""
    return [
        np.diag([amplitudes[2] * np.exp(1j * phi), amplitudes[3]]),
        coupler(errors[0]),
        np.diag([amplitudes[0] * np.exp(1j * theta), amplitudes[1]]),
        coupler(errors[1]),
    ]


def complex_pieces(theta, phi, screen, top, bottom, errors, amplitudes):
    """Dense (N, N) factors of one complex mesh, input first: four a coupler, and the screen.

    `theta`, `phi` (n,), `errors` (n, 2) left and right, `amplitudes` (n, 4), rails `top`, `bottom` (n,).
    """
    factors = []
    for t in range(len(theta)):
        for small in pieces(theta[t], phi[t], errors[t], amplitudes[t]):
            large = np.eye(len(screen), dtype=complex)
            large[np.ix_((top[t], bottom[t]), (top[t], bottom[t]))] = small
            factors.append(large)
    return [*factors, np.diag(np.exp(1j * np.asarray(screen)))]


def complex_matrix(*mesh):
    """U = diag(e^{i screen}) T_{n-1} ... T_0 by dense products; arguments as `complex_pieces`."""
    u = np.eye(len(mesh[2]), dtype=complex)
    for factor in complex_pieces(*mesh):
        u = factor @ u
    return u


def complex_fields(x, *mesh):
    """The fields (4 n + 2, N, B) of x sent forward: in, behind every factor."""
    fields = [np.asarray(x, complex)]
    for factor in complex_pieces(*mesh):
        fields.append(factor @ fields[-1])
    return np.array(fields)


def complex_gradients(x, g, *mesh):
    """dL/dtheta, dL/dphi, dL/dscreen of dL = sum Re(g^T dy), y = U x, each from its own dense derivative of U."""
    factors = complex_pieces(*mesh)
    n, modes = len(mesh[0]), len(mesh[2])

    def slope(index, rail):
        u = np.eye(modes, dtype=complex)
        for k, factor in enumerate(factors):
            u = factor @ u
            if k == index:
                u = 1j * np.outer(np.eye(modes)[rail], u[rail])  # d e^{ip}/dp = i e^{ip}, zero off the shifter
        return float(np.real(np.sum(g * (u @ x))))

    top = mesh[3]
    return (
        np.array([slope(4 * t + 2, top[t]) for t in range(n)]),
        np.array([slope(4 * t, top[t]) for t in range(n)]),
        np.array([slope(4 * n, i) for i in range(modes)]),
    )


def assemble(u, sigma, v):
    """M (p k, q k) of the blocks U diag(sigma) V*: `u`, `v` (p q, k, k), `sigma` (p, q, k)."""
    p, q, k = sigma.shape
    return (u @ (sigma.reshape(-1, k, 1) * v)).reshape(p, q, k, k).swapaxes(1, 2).reshape(p * k, q * k)


def diagonals(left, grid, right, k):
    """diag(A' G B) (p, q, k) of the blocks G of `grid` (p k, q k), A = `left`, B = `right` (p q, k, k)."""
    p, q = grid.shape[0] // k, grid.shape[1] // k
    cut = grid.reshape(p, k, q, k).swapaxes(1, 2).reshape(p * q, k, k)
    return np.diagonal(left.swapaxes(1, 2) @ cut @ right, axis1=1, axis2=2).reshape(p, q, k)


def masked(grid, cores, k):
    """`grid` (p k, q k) with the blocks outside the mask `cores` (p, q) zero."""
    return np.where(np.kron(cores, np.ones((k, k))) > 0, grid, 0.0)


def windows(x, kernel, stride, padding, value=0.0):
    """What every window of the images (C, H, W, B) sees: (C, kernel^2, H', W', B), `value` outside the image."""
    framed = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), constant_values=value)
    seen = np.lib.stride_tricks.sliding_window_view(framed, (kernel, kernel), axis=(1, 2))[:, ::stride, ::stride]
    c, h, w, b = seen.shape[:4]
    return seen.transpose(0, 4, 5, 1, 2, 3).reshape(c, kernel * kernel, h, w, b)


def normalise(x, weight, bias, eps):
    """Batch normalisation of the channels of (C, n), in float64: y, mean, var, 1 / std."""
    x = x.astype(np.float64)
    mean, var = x.mean(axis=1), x.var(axis=1)
    inverse = 1.0 / np.sqrt(var + eps)
    return weight[:, None] * inverse[:, None] * (x - mean[:, None]) + bias[:, None], mean, var, inverse


def normalise_back(dy, x, weight, eps):
    """Its gradients in float64: dx, dweight, dbias."""
    dy = dy.astype(np.float64)
    hat, _, _, inverse = normalise(x, np.ones(len(x)), np.zeros(len(x)), eps)
    tilt = (dy * hat).mean(axis=1, keepdims=True)
    dx = (weight * inverse)[:, None] * (dy - dy.mean(axis=1, keepdims=True) - hat * tilt)
    return dx, (dy * hat).sum(axis=1), dy.sum(axis=1)


def clip(x, limit):
    """Clipped to [0, limit]; its gradient is one where the result lies inside (0, limit)."""
    return np.minimum(np.maximum(x, 0.0), limit)


def philox(counter, key):
    """Philox4x32-10: four words from a counter of four and a key of two (Salmon et al., SC 2011, section 3)."""
    word, half = 0xFFFFFFFF, 32
    c, k = [int(x) for x in counter], [int(x) for x in key]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> half) ^ c[1] ^ k[0], b & word, (a >> half) ^ c[3] ^ k[1], a & word]
        k = [(k[0] + 0x9E3779B9) & word, (k[1] + 0xBB67AE85) & word]
    return c


def normal(a, b):
    """Two normal numbers from two words of 32 bits, whose angle counts as a signed number (Box and Muller, 1958)."""
    angle = tau * (np.where(b < 2**31, b, b - 2.0**32) / 2**32)
    r = np.sqrt(-2.0 * np.log((a + 0.5) / 2**32))
    return r * np.cos(angle), r * np.sin(angle)
