"""Slow NumPy definitions of what the kernels compute. Tests compare every kernel with these."""

from __future__ import annotations

import numpy as np

TAU = 2.0 * np.pi


def quantise(phases, bits):
    """Steps 1-2 of the noise chain in the phase domain; `bits` 0 leaves the phase continuous."""
    phases = np.mod(phases, TAU)
    if bits == 0:
        return phases
    lsb = TAU / (2**bits - 1)
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
        phases = crosstalk(np.where(mask, np.mod(phases, TAU), 0.0), factor)
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


def sweep(rule, build, phases, order, lr, start):
    """Coordinate descent over one vector of phases: `build(phases) -> loss`; returns (phases, loss).

    The rules "zcd" and "ztp" are those of `kernels.sweep`.
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
