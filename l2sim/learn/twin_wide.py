"""The wider twin: splitter errors and losses besides, for cores that the narrow one leaves unexplained.

A core is then complex (`kernels.cores`). Its unknowns are, of every MZI, bias, heater ratio, the errors of both
splitters and the loss of both arms, and the crosstalk: 12 n + 1. It is fitted from where the narrow twin ended, to the
same probes, one core at a time and with derivatives by differences: it is for the few (or for a chip whose data sheet
says so), not for speed. The wider model is kept where it explains what the narrow one does not (chi squared).

Programming starts from the narrow closed form; a few Gauss-Newton steps on the phases, sigma with them, then find what
the real part of the wider twin needs, and the levels are chosen jointly as before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l2sim.backend import Array, kernels
from l2sim.chip.mesh import Mesh
from l2sim.chip.nonidealities import Nonidealities
from l2sim.learn.twin_fit import NOISE_FLOOR, SURE, Drive, Probes, Twin, priors
from l2sim.learn.twin_start import leak

LOSS_STD = 0.01
SPLITTER_STD = 0.03
"""Prior spreads of the logarithm of an arm's amplitude and of a splitter's error, rad, around none."""
ROUNDS = 12
STEP = 1e-5


@dataclass(frozen=True)
class Wide:
    """A complex core: `unknowns` (12 n + 1,) bias, ratio, crosstalk as in `Twin`, then (2, 4, n) of U and V the errors
    of left and right splitters and the log amplitudes of both arms; `spread` (12 n + 1,) their standard deviations."""

    unknowns: Array
    spread: Array
    misfit: float
    identified: bool

    def enter(self, twin: Twin, core: int) -> None:
        """Replace what `twin` has of a core."""
        n = twin.passive.shape[-1]
        twin.bias[core], twin.ratio[core], twin.crosstalk[core], twin.passive[core] = split(self.unknowns, n)
        twin.spread[core] = self.spread[: 4 * n + 1]
        twin.misfit[core], twin.identified[core], twin.wide[core] = self.misfit, self.identified, True


def split(unknowns: Array, n: int) -> tuple[Array, Array, float, Array]:
    """Unknowns (12 n + 1,) to bias, ratio (2 n,), crosstalk and passive parts (2, 4, n)."""
    return unknowns[: 2 * n], unknowns[2 * n : 4 * n], float(unknowns[4 * n]), unknowns[4 * n + 1 :].reshape(2, 4, n)


def effective(mesh: Mesh, drive: Drive, q: Array, bias: Array, ratio: Array, crosstalk: float) -> Array:
    """Phases (..., 2 n) that the light sees."""
    heat = q * ratio
    heat = np.mod(heat, 2.0 * np.pi) if drive.rewrap else heat
    return heat + crosstalk * leak(mesh, heat) + bias


def meshes(mesh: Mesh, phases: Array, passive: Array) -> Array:
    """Phases (M, n) and passive parts (M, 4, n) to complex matrices (M, k, k)."""
    left, right = np.pi / 4 + passive[:, 0], np.pi / 4 + passive[:, 1]
    splitters = np.stack((np.cos(left), np.sin(left), np.cos(right), np.sin(right)), axis=1)
    out = np.empty((len(phases), mesh.modes, mesh.modes), complex)
    ends = np.ones((len(phases), mesh.modes))
    kernels.cores.matrices(
        np.ascontiguousarray(phases), np.ascontiguousarray(splitters), np.ascontiguousarray(np.exp(passive[:, 2:])),
        False, ends, mesh.rail, out,
    )  # fmt: skip
    return out


def tangents(mesh: Mesh, phases: Array, passive: Array, sigma: Array, all_: bool) -> tuple[Array, Array]:
    """Re R (S, k, k) of settings and its derivatives (S, 2, 5 or 1, n, k, k) by phase and passive parts of every MZI.

    `phases` (S, 2 n), `passive` (2, 4, n), `sigma` (S, k).
    """
    n, k, settings = mesh.count, mesh.modes, len(phases)
    kinds = 5 if all_ else 1
    base = [meshes(mesh, phases[:, i * n : i * n + n], np.repeat(passive[i][None], settings, 0)) for i in range(2)]
    out = np.empty((settings, 2, kinds, n, k, k))
    u, v = base[0] * sigma[:, None, :], sigma[:, :, None] * base[1]
    for part in range(2):
        for kind in range(kinds):
            moved = np.repeat(phases[:, None, part * n : part * n + n], n, axis=1)
            parts = np.repeat(np.repeat(passive[part][None, None], n, axis=1), settings, axis=0)
            if kind == 0:
                moved[:, np.arange(n), np.arange(n)] += STEP
            else:
                parts[:, np.arange(n), kind - 1, np.arange(n)] += STEP
            near = meshes(mesh, moved.reshape(-1, n), parts.reshape(-1, 4, n)).reshape(settings, n, k, k)
            slope = (near - base[part][:, None]) / STEP
            out[:, part, kind] = (slope @ v[:, None] if part == 0 else u[:, None] @ slope).real
    return (u @ base[1]).real, out


def fit(mesh: Mesh, drive: Drive, sheet: Nonidealities, probes: Probes, start: Twin, core: int) -> Wide:
    """The wider twin of core `core` of `start`, whose quadratures of unit light are `probes` (of that core alone)."""
    n, k = mesh.count, mesh.modes
    noise = max(sheet.readout_noise, NOISE_FLOOR)
    own = np.zeros(8 * n)
    here = np.concatenate((start.bias[core], start.ratio[core], [start.crosstalk[core]], own))
    centre = np.concatenate((np.zeros(2 * n), np.ones(2 * n), [0.0], own))
    stds = np.repeat([max(sheet.splitter_error_std, SPLITTER_STD)] * 2 + [LOSS_STD] * 2, n)
    precision = np.concatenate((priors(sheet, n), np.tile(stds, 2) ** -2.0))
    q, sigma, seen = probes.drive[0], probes.sigma[0], probes.seen[0].astype(float)
    cost, damping, best, misfit = np.inf, 1e-3, here, np.inf
    normal, down = np.empty(0), np.empty(0)
    for _ in range(ROUNDS):
        bias, ratio, crosstalk, passive = split(here, n)
        value, slopes = tangents(mesh, effective(mesh, drive, q, bias, ratio, crosstalk), passive, sigma, True)
        wrong = seen - value
        total = (wrong**2).sum() / noise**2 + (precision * (here - centre) ** 2).sum()
        if total < cost:
            gained, cost, best, misfit = cost - total, total, here, float((wrong**2).sum())
            heat = np.mod(q * ratio, 2.0 * np.pi) if drive.rewrap else q * ratio
            flat = slopes.reshape(len(q), 2, 5, n, k * k)
            by_phase = flat[:, :, 0].reshape(len(q), 2 * n, k * k)
            spread = by_phase + crosstalk * leak(mesh, by_phase.swapaxes(1, 2)).swapaxes(1, 2)
            columns = [by_phase, q[:, :, None] * spread, (leak(mesh, heat)[:, None] @ by_phase)]
            jacobian = np.concatenate((*columns, flat[:, :, 1:].reshape(len(q), 8 * n, k * k)), axis=1)
            jacobian = jacobian.swapaxes(0, 1).reshape(len(here), -1)
            normal = jacobian @ jacobian.T / noise**2 + np.diag(precision)
            down = jacobian @ wrong.ravel() / noise**2 - precision * (here - centre)
            damping = max(0.2 * damping, 1e-6)
            if gained < 0.1:
                break
        else:
            damping *= 6.0
        here = best + np.linalg.solve(normal + damping * np.diag(np.diag(normal)), down)
    variance = np.diag(np.linalg.inv(normal))
    freedom = max(1.0, seen.size - (1.0 - precision * variance).sum())
    level, spread = misfit / noise**2 / freedom, np.sqrt(variance)
    return Wide(best, spread, level, bool(level < 1.0 + SURE * np.sqrt(2.0 / freedom)))


def program(
    mesh: Mesh, drive: Drive, twin: Twin, core: int, q: Array, signs: tuple[Array, Array], sigma: Array, weight: Array
) -> tuple[Array, Array, float]:
    """Driven phases (2 n,), sigma (k,) and error |W(q, sigma) - W|^2 for a weight (k, k), from those of the narrow twin
    with its signs (k,) of U and V."""
    n, k = mesh.count, mesh.modes
    bias, ratio, crosstalk, passive = (
        twin.bias[core], twin.ratio[core], float(twin.crosstalk[core]), twin.passive[core].astype(float)
    )
    levels = drive.levels
    tops = np.full(2 * n, len(levels) - 1)
    ends = signs[0][:, None]

    def linear(at: Array, gain: Array) -> tuple[Array, Array]:
        """Derivatives of the core by driven phase (2 n, k k) and by sigma (k, k k)."""
        phases = effective(mesh, drive, at, bias, ratio, crosstalk)[None]
        _, slopes = tangents(mesh, phases, passive, (gain * signs[1])[None], False)
        u, v = (meshes(mesh, phases[:, i * n : i * n + n], passive[i : i + 1])[0] for i in range(2))
        by = (ends * slopes[0].reshape(2 * n, k, k)).reshape(2 * n, -1)
        by = ratio[:, None] * (by + crosstalk * leak(mesh, by.T).T)
        free = np.stack([(ends * np.outer(u[:, i], signs[1][i] * v[i])).real.ravel() for i in range(k)])
        return by, free

    best_q, best_sigma, best = q.copy(), sigma.copy(), np.inf
    for turn in range(8):
        by, free = linear(q, sigma)
        sigma = np.linalg.lstsq(free.T, weight.ravel(), rcond=None)[0]
        rest = (sigma @ free) - weight.ravel()
        basis = np.linalg.qr(free.T)[0]
        by = by - (by @ basis) @ basis.T
        gram, slope = by @ by.T, by @ rest
        error = float(rest @ rest)
        if (turn > 4 or not levels.size) and error < best:
            best_q, best_sigma, best = q.copy(), sigma.copy(), error
        if turn < 4 or not levels.size:
            ridge = 1e-2 * np.trace(gram) / len(gram)
            q = np.clip(q - np.linalg.solve(gram + ridge * np.eye(len(gram)), slope), 0.0, drive.top)
            continue
        q = q.copy()
        if turn == 4:
            kernels.twin.nearest_plane(q, gram, slope, levels, tops)
        kernels.twin.descend(q, gram, slope, levels, tops)
    return best_q, best_sigma, best
