"""The start of a twin's fit from powers: responses from what detectors see, then the walk of `twin.start`.

A power is quadratic in the light, |r x|^2 = sum_ij (r_i r_j) x_i x_j for a row r of the response. Six evaluations, one
of unit light in each input and five of random signs in all, give the k (k + 1) / 2 products by least squares, and r as
their leading vector, up to its sign. Along a walk of eighth turns a row turns by less than a quarter, so that its sign
is kept from setting to setting; light sent backwards into two outputs at once tells their signs apart. The sign of the
whole core is left: a rotation of an odd number of rails has one, of an even number either will do, and no power tells.
"""

from __future__ import annotations

import numpy as np

from l2sim.backend import Array, host
from l2sim.chip.protocol import Hardware
from l2sim.learn.twin import start
from l2sim.mesh.mesh import Mesh

DEEP = 6
"""Evaluations for one response up to signs."""
DIMMED = 0.3
"""Sigma of every second rail in the last setting: not of the other sign, for rows must not turn far."""


def light(k: int, rng: np.random.Generator) -> Array:
    """What is sent (k, 6 k): unit light in every input, and random signs in all."""
    return np.concatenate((np.eye(k), rng.choice([-1.0, 1.0], (k, (DEEP - 1) * k))), axis=1)


def walk(mesh: Mesh, eighth: Array, first: Array) -> tuple[Array, Array]:
    """`twin.start.walk` in smaller turns, with the last sigma dimmed: (2 C, 2 n) and sigma (2 C, k)."""
    drive, sigma = start.walk(mesh, eighth, first)
    sigma[-1, 1::2] = DIMMED
    return drive, sigma


def responses(powers: Array, sent: Array) -> Array:
    """Powers (M, S, k, B) of light (k, B) to responses (M, S, k, k): rows signed as in the setting before."""
    k = len(sent)
    i, j = np.triu_indices(k)
    products = sent[i] * sent[j] * np.where(i == j, 1.0, 2.0)[:, None]
    pairs = powers @ np.linalg.pinv(products)  # (M, S, k, k (k + 1) / 2)
    lifted = np.empty((*powers.shape[:3], k, k))
    lifted[..., i, j] = lifted[..., j, i] = pairs
    size, vectors = np.linalg.eigh(lifted)
    rows: Array = np.sqrt(np.maximum(size[..., -1:], 0.0)) * vectors[..., -1]
    for s in range(1, rows.shape[1]):
        rows[:, s] *= np.where((rows[:, s] * rows[:, s - 1]).sum(axis=-1, keepdims=True) < 0, -1.0, 1.0)
    return rows


def backward(hardware: Hardware, cores: Array | None) -> Array:
    """One evaluation backwards at the setting as it is: powers (M, k, k) at every input of light in the first output,
    alone and with each other one."""
    k = hardware.mesh.modes
    sent = np.eye(k)
    sent[0] = 1.0
    hardware.meter.count(evaluations=np.prod(hardware.shape) if cores is None else np.count_nonzero(cores))
    seen = host(hardware.backward(np.broadcast_to(sent, (*hardware.shape, k, k)), cores=cores, readout="power"))
    return seen.reshape(-1, k, k) if cores is None else seen[cores]


def signed(rows: Array, back: Array) -> Array:
    """Responses (M, S, k, k) with the signs that `back` (M, k, k), read at the first setting, asks for."""
    at = rows[:, 0]
    together = back - (at**2).swapaxes(-1, -2) - at[:, 0, :, None] ** 2  # 2 s_0 s_r r_0 r_r by input and r
    agree = (together * at[:, 0, :, None] * at.swapaxes(-1, -2)).sum(axis=1)
    signs = np.where(agree < 0, -1.0, 1.0)
    signs[:, 0] = 1.0
    if rows.shape[-1] % 2:
        signs *= np.sign(np.linalg.det(at) * signs.prod(axis=1))[:, None]
    return rows * signs[:, None, :, None]
