"""Attenuators of cores as twins know them: what lets light through is cos(ratio alpha + bias) for a commanded alpha.

At sigma of +1 and -1 the cosine is flat, and a bias b shows as 1 - b^2 / 2 only. So a few settings have sigma in
between. There, U and V being known, each share is read straight off the response R to the setting,

    s_i = u_i' R v_i,

within the noise of one reading, and its bias and ratio follow by least squares (`fitted`). Wider twins have them among
their unknowns (`l2sim.learn.twin.model`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from l2sim.backend import Array, kernels
from l2sim.chip.nonidealities import GAMMA, Nonidealities
from l2sim.given import wrapped
from l2sim.learn.twin.fit import Drive, Probes, Twin, random_phases
from l2sim.learn.twin.model import held
from l2sim.learn.twin.start import leak
from l2sim.mesh.mesh import Mesh

WITHIN = 0.12, 0.88
"""Share of half a turn in which phases of attenuators are drawn."""
STEPS = 8
"""Of Gauss and Newton, the second half with prior spreads as they show."""
ENOUGH = 32
"""Attenuators from which on together they say how far they spread."""


def settings(mesh: Mesh, drive: Drive, rng: np.random.Generator) -> tuple[Array, Array]:
    """Commands (A, 2 n) and sigma (A, k) of k / 2 + 1 settings that show attenuators. One of each is open, so that the
    electronic gain is one."""
    count = mesh.modes // 2 + 1
    sigma = np.cos(np.pi * rng.uniform(*WITHIN, (count, mesh.modes)))
    sigma[np.arange(count), rng.permutation(mesh.modes)[:count]] = rng.choice([-1.0, 1.0], count)
    return drive.command(random_phases(drive, (count, 2 * mesh.count), rng)), sigma


def told(drive: Drive, sigma: Array) -> tuple[Array, Array]:
    """Phases alpha (..., k) of attenuators for a commanded sigma (..., k), and the gain (...) behind the core."""
    gain = np.abs(sigma).max(axis=-1)
    alpha = np.arccos(np.clip(sigma / np.where(gain > 0.0, gain, 1.0)[..., None], -1.0, 1.0))
    lsb = drive.share_lsb
    return (lsb * np.rint(alpha / lsb) if lsb else alpha), gain


def shares(drive: Drive, known: Array, sigma: Array) -> Array:
    """What is let through, gain included, (M, A, k) where sigma (M or 1, A, k) is commanded of attenuators `known`
    (M, 2, k)."""
    alpha, gain = told(drive, sigma)
    made: Array = gain[..., None] * np.cos(known[:, 1, None] * alpha + known[:, 0, None])
    return made


def command(drive: Drive, known: Array, wanted: Array) -> Array:
    """What sigma (M, k) to command so that attenuators `known` (M, 2, k) let `wanted` (M, k) through.

    One attenuator is open, or closed to -1, and the gain makes good for what it takes; the others follow.
    """
    if drive.exact_sigma:
        return wanted
    bias, ratio = known[:, 0], known[:, 1]
    cores = np.arange(len(wanted))
    ends = np.where(wanted >= 0.0, 0.0, np.pi)
    full = np.cos(ratio * ends + bias)  # what the nearer end lets through
    gains = wanted / np.where(np.abs(full) > 0.05, full, np.copysign(0.05, full + 1e-300))
    first = np.abs(gains).argmax(axis=1)
    gain = np.abs(gains[cores, first])
    safe = np.where(gain > 0.0, gain, 1.0)[:, None]
    lsb = drive.share_lsb
    best, off = np.zeros_like(wanted), np.full(wanted.shape, np.inf)
    turn = np.arccos(np.clip(wanted / safe, -1.0, 1.0))
    for side in (turn, -turn, 2.0 * np.pi - turn):
        alpha = np.clip((side - bias) / np.where(np.abs(ratio) > 0.1, ratio, 1.0), 0.0, np.pi)
        alpha = lsb * np.rint(alpha / lsb) if lsb else alpha
        wrong = np.abs(np.cos(ratio * alpha + bias) - wanted / safe)
        best, off = np.where(wrong < off, alpha, best), np.minimum(off, wrong)
    best[cores, first] = ends[cores, first]
    sigma: Array = gain[:, None] * np.cos(best)
    return sigma


def matrices(mesh: Mesh, drive: Drive, twin: Twin, q: Array) -> tuple[Array, Array]:
    """U and V (M, A, k, k) of narrow twins at driven phases (M or 1, A, 2 n), without signs at their outputs."""
    n, k, (cores, count) = mesh.count, mesh.modes, (len(twin.bias), q.shape[1])
    heat = q * twin.ratio[:, None]
    heat = wrapped(heat) if drive.rewrap else heat
    phases = heat + twin.crosstalk[:, None, None] * leak(mesh, heat) + twin.bias[:, None]
    flip, ends = mesh.resolve_signs(np.ones((cores * count, k)))
    made = []
    for part in range(2):
        out = np.empty((cores * count, k, k))
        own = np.ascontiguousarray(phases[..., part * n : part * n + n].reshape(-1, n))
        kernels.mesh.matrices(own, flip, ends, mesh.rail, out)
        made.append(out.reshape(cores, count, k, k))
    return made[0], made[1]


def unseen(sheet: Nonidealities) -> Array:
    """The variances (3,) of attenuators that no setting shows, as the data sheet has them."""
    return np.array([sheet.sigma_bias**2 / 3.0, 0.0, (sheet.gamma_std / GAMMA) ** 2])


class Found(NamedTuple):
    """What responses say of attenuators: bias and ratio (M, 2, k), their variances and covariance (M, 3, k), (bias,
    both, ratio); the squared residual (M,) that is left, and how many unknowns (M,) were determined."""

    known: Array
    spread: Array
    wrong: Array
    taken: Array


def fitted(mesh: Mesh, drive: Drive, sheet: Nonidealities, twin: Twin, probes: Probes, noise: float) -> Found:
    """What whole responses `probes` to `settings` say of the attenuators of narrow twins.

    The prior spreads are those that all attenuators together show, within what `model` allows (empirical Bayes): where
    they have no bias, none is sought.
    """
    u, v = matrices(mesh, drive, twin, drive.driven(probes.drive))
    seen = probes.seen.astype(float)
    read = np.einsum("mtai,mtai->mti", u, np.matmul(seen, v.swapaxes(-1, -2)))
    alpha, gain = told(drive, probes.sigma)
    shape = len(seen), mesh.modes
    known = np.stack((np.zeros(shape), np.ones(shape)), axis=1)
    spread, taken = np.zeros((shape[0], 3, shape[1])), np.zeros(shape[0])
    if not drive.exact_sigma:
        precision, _ = held(mesh, drive, sheet, 0)
        at = 4 * mesh.count + 1
        widest = 1.0 / precision[[at, at + mesh.modes]]
        weak = widest
        for step in range(STEPS):
            turned = known[:, 1, None] * alpha + known[:, 0, None]
            slope = -gain[..., None] * np.sin(turned)
            rest = read - gain[..., None] * np.cos(turned)
            a, b, c = ((slope * slope * alpha**p).sum(axis=1) for p in (0, 1, 2))
            own = noise**2 / weak
            a, c = a + own[0], c + own[1]
            det = a * c - b * b
            x = (slope * rest).sum(axis=1) - own[0] * known[:, 0]
            y = (slope * alpha * rest).sum(axis=1) - own[1] * (known[:, 1] - 1.0)
            known[:, 0] += (c * x - b * y) / det
            known[:, 1] += (a * y - b * x) / det
            spread = noise**2 * np.stack((c, -b, a), axis=1) / det[:, None]
            if step >= STEPS // 2 and known[:, 0].size >= ENOUGH:
                away = known - np.array([[0.0], [1.0]])
                weak = np.array([(away[:, i] ** 2 + spread[:, 2 * i]).mean() for i in range(2)])
                weak = np.clip(weak, [1e-8, widest[1] / 4.0], [widest[0], 100.0 * widest[1]])
        taken = 2.0 * shape[1] - (own[:, None] * spread[:, [0, 2]].sum(axis=2).T / noise**2).sum(axis=0)
    share = shares(drive, known, probes.sigma)
    wrong = ((seen - np.matmul(u * share[..., None, :], v)) ** 2).sum(axis=(1, 2, 3))
    return Found(known, spread, wrong, taken)


def unsure(drive: Drive, known: Array, spread: Array, sigma: Array) -> Array:
    """Mean squared error (M,) of all that is let through where sigma (M, k) is commanded."""
    if drive.exact_sigma:
        return np.zeros(len(sigma))
    alpha, gain = told(drive, sigma)
    slope = gain[:, None] * np.sin(known[:, 1] * alpha + known[:, 0])
    each = slope**2 * (spread[:, 0] + 2.0 * alpha * spread[:, 1] + alpha**2 * spread[:, 2])
    made: Array = each.sum(axis=1)
    return made
