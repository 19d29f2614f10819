"""The wider twin: splitter errors and losses besides, for cores that the narrow one leaves unexplained.

A core is then complex (`kernels.cores`). Its unknowns are, of every MZI, bias, heater ratio, the errors of both
splitters and the loss of both arms, and the crosstalk: 12 n + 1. It is fitted from where the narrow twin ended, to the
same probes, one core at a time and with derivatives by differences: it is for the few (or for a chip whose data sheet
says so), not for speed. The wider model is kept where it explains what the narrow one does not (chi squared).

Programming starts from the narrow closed form; Levenberg-Marquardt on the phases, sigma with them, then finds what the
real part of the wider twin needs, and the levels are chosen jointly as before. It serves cores with stuck heaters too,
whose other heaters make good for these as far as they can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from l2sim.backend import Array, generator, kernels
from l2sim.chip.nonidealities import Nonidealities
from l2sim.given import wrapped
from l2sim.learn.twin.fit import NOISE_FLOOR, ROUNDS, SURE, Drive, Probes, Twin, priors
from l2sim.learn.twin.start import leak
from l2sim.mesh.mesh import Mesh

LOSS_STD = 0.01
SPLITTER_STD = 0.03
"""Prior spreads of the logarithm of an arm's amplitude and of a splitter's error, rad, around none."""
KICK = 0.01
"""Errors of splitters, rad, that a fit starts from. With none at all the quadratures of a core do not change to first
order: an error turns what was real into what is imaginary, and the fit would sit on a saddle."""
STEPS, PASSES = 40, 3
"""Of programming: Levenberg-Marquardt at most, and rounding to levels."""


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
    heat = wrapped(heat) if drive.rewrap else heat
    return heat + crosstalk * leak(mesh, heat) + bias


def elements(phases: Array, passive: Array) -> tuple[Array, Array]:
    """T (S, n, 2, 2) of every MZI (`kernels.cores`), and its derivatives (S, n, 5, 2, 2) by phase and the four passive
    parts, from phases (S, n) and passive parts (4, n)."""
    eye, cross = np.eye(2), 1j * (1.0 - np.eye(2))
    splitters = []
    for error in passive[:2]:
        c, s = np.cos(np.pi / 4 + error)[:, None, None], np.sin(np.pi / 4 + error)[:, None, None]
        splitters.append((c * eye + s * cross, c * cross - s * eye))
    (left, by_left), (right, by_right) = splitters
    left, by_left, right = left * [1.0, -1.0], by_left * [1.0, -1.0], -1j * right
    by_right = -1j * by_right
    turn = 0.5 * np.pi - phases
    arms = np.exp(passive[2:].T + 1j * np.stack((turn, -turn), axis=-1))[..., None]  # (S, n, 2, 1)
    there = arms * left
    kinds = (arms * [[-1j], [1j]] * left, arms * by_left, None, [[1.0], [0.0]] * there, [[0.0], [1.0]] * there)
    return right @ there, np.stack([by_right @ there if a is None else right @ a for a in kinds], axis=2)


def inside(mesh: Mesh, each: Array, light: Array) -> tuple[Array, Array, Array]:
    """Light (S, k, B) behind a mesh of MZIs `each` (S, n, 2, 2), before each MZI on its two rails (S, n, 2, B), and
    what is behind an MZI as a matrix from its rails (S, n, k, 2)."""
    settings, n, k = len(each), mesh.count, mesh.modes
    field, before = light.astype(complex), np.empty((settings, n, 2, light.shape[-1]), complex)
    for h, r in enumerate(mesh.rail):
        before[:, h] = field[:, r : r + 2]
        field[:, r : r + 2] = each[:, h] @ before[:, h]
    rest = np.broadcast_to(np.eye(k, dtype=complex), (settings, k, k)).copy()
    behind = np.empty((settings, n, k, 2), complex)
    for h in range(n - 1, -1, -1):
        r = mesh.rail[h]
        behind[:, h] = rest[:, :, r : r + 2]
        rest[:, :, r : r + 2] = behind[:, h] @ each[:, h]
    return field, before, behind


def tangents(
    mesh: Mesh, phases: Array, passive: Array, sigma: Array, light: Array, power: bool = False
) -> tuple[Array, Array]:
    """What is read (S, k, B) and its derivatives (S, 2, 5, n, k B) by phase and passive parts of every MZI.

    `phases` (S, 2 n), `passive` (2, 4, n), `sigma` (S, k), `light` (S, k, B); real parts, or powers if `power`.
    """
    n, k, settings = mesh.count, mesh.modes, len(phases)
    (u, by_u), (v, by_v) = (elements(phases[:, i * n : i * n + n], passive[i]) for i in range(2))
    field, before_v, behind_v = inside(mesh, v, light)
    field, before_u, behind_u = inside(mesh, u, sigma[:, :, None] * field)
    matrix = inside(mesh, u, np.broadcast_to(np.eye(k), (settings, k, k)))[0]
    behind_v = (matrix * sigma[:, None, :])[:, None] @ behind_v
    out = np.empty((settings, 2, 5, n, k * light.shape[-1]), np.float32)
    weight = 2.0 * field.conj() if power else np.ones_like(field)
    for part, (by, before, behind) in enumerate(((by_u, before_u, behind_u), (by_v, before_v, behind_v))):
        for kind in range(5):
            slope = behind @ (by[:, :, kind] @ before)
            out[:, part, kind] = (weight[:, None] * slope).real.reshape(settings, n, -1)
    return (np.abs(field) ** 2 if power else field.real), out


def fit(mesh: Mesh, drive: Drive, sheet: Nonidealities, probes: Probes, start: Twin, core: int) -> Wide:
    """The wider twin of core `core` of `start`; `probes` are of that core alone."""
    n = mesh.count
    noise = max(sheet.readout_noise, NOISE_FLOOR)
    own, kick = np.zeros(8 * n), np.zeros((2, 4, n))
    kick[:, :2] = KICK * generator(1, "kick").normal(size=(2, 2, n))
    here = np.concatenate((start.bias[core], start.ratio[core], [start.crosstalk[core]], kick.ravel()))
    centre = np.concatenate((np.full(2 * n, drive.offset), np.ones(2 * n), [0.0], own))
    stds = np.repeat([max(sheet.splitter_error_std, SPLITTER_STD)] * 2 + [LOSS_STD] * 2, n)
    precision = np.concatenate((priors(sheet, n), np.tile(stds, 2) ** -2.0))
    q, sigma, seen = drive.driven(probes.drive[0]), probes.sigma[0], probes.seen[0].astype(float)
    cost, damping, best, misfit = np.inf, 0.1, here, np.inf
    normal, down = np.empty(0), np.empty(0)
    for _ in range(ROUNDS):
        bias, ratio, crosstalk, passive = split(here, n)
        phases = effective(mesh, drive, q, bias, ratio, crosstalk)
        value, slopes = tangents(mesh, phases, passive, sigma, probes.light, probes.power)
        wrong = seen - value
        total = (wrong**2).sum() / noise**2 + (precision * (here - centre) ** 2).sum()
        if total < cost:
            gained, cost, best, misfit = cost - total, total, here, float((wrong**2).sum())
            heat = wrapped(q * ratio) if drive.rewrap else q * ratio
            by_phase = slopes[:, :, 0].reshape(len(q), 2 * n, -1)
            spread = by_phase + crosstalk * leak(mesh, by_phase.swapaxes(1, 2)).swapaxes(1, 2)
            columns = (by_phase, q[:, :, None] * spread, leak(mesh, heat)[:, None] @ by_phase)
            passives = slopes[:, :, 1:].reshape(len(q), 8 * n, -1)
            table = np.concatenate((*columns, passives), axis=1, dtype=np.float32)
            jacobian = table.swapaxes(0, 1).reshape(len(here), -1)
            normal = (jacobian @ jacobian.T).astype(float) / noise**2 + np.diag(precision)
            down = jacobian @ wrong.ravel().astype(np.float32) / noise**2 - precision * (here - centre)
            damping = max(0.2 * damping, 1e-3)
            if gained < 0.1:
                break
        elif total < cost + 0.1:
            break
        else:
            damping *= 8.0
        here = best + np.linalg.solve(normal + damping * np.diag(np.diag(normal)), down)
    variance = np.diag(np.linalg.inv(normal))
    freedom = max(1.0, seen.size - (1.0 - precision * variance).sum())
    level, spread = misfit / noise**2 / freedom, np.sqrt(variance)
    return Wide(best, spread, level, bool(level < 1.0 + SURE * np.sqrt(2.0 / freedom)))


def program(
    mesh: Mesh, drive: Drive, twin: Twin, q: Array, signs: Sequence[Array], weight: Array, tops: Array
) -> tuple[Array, Array, float]:
    """Driven phases (2 n,), sigma (k,) and error |W(q, sigma) - W|^2 of one core `twin` for a weight (k, k), from
    phases `q` (2 n,) with signs (k,) of U and V: Levenberg-Marquardt, then levels, up to `tops` (2 n,), chosen
    jointly."""
    n, k = mesh.count, mesh.modes
    bias, ratio, crosstalk, passive = twin.bias[0], twin.ratio[0], float(twin.crosstalk[0]), twin.passive[0]
    passive = passive.astype(float)
    ends, eye = signs[0][:, None], np.eye(k)[None]

    def look(at: Array) -> tuple[Array, float, Array, Array]:
        """The best sigma (k,) at driven phases (2 n,) and the error it leaves; J J' (2 n, 2 n) and J r of what moving
        the phases does that sigma cannot make good."""
        phases = effective(mesh, drive, at, bias, ratio, crosstalk)[None]
        u, v = (
            inside(mesh, elements(phases[:, i * n : i * n + n], passive[i])[0], eye)[0][0] for i in range(2)
        )  # fmt: skip
        free = np.stack([(ends * np.outer(u[:, i], signs[1][i] * v[i])).real.ravel() for i in range(k)])
        sigma = np.linalg.lstsq(free.T, weight.ravel(), rcond=None)[0]
        _, slopes = tangents(mesh, phases, passive, (sigma * signs[1])[None], eye)
        by = (ends * slopes[0, :, 0].astype(float).reshape(2 * n, k, k)).reshape(2 * n, -1)
        by = ratio[:, None] * (by + crosstalk * leak(mesh, by.T).T)
        basis, rest = np.linalg.qr(free.T)[0], sigma @ free - weight.ravel()
        by = by - (by @ basis) @ basis.T
        return sigma, float(rest @ rest), by @ by.T, by @ rest

    here, damping = look(q), 1e-2
    for _ in range(STEPS):
        error, gram, slope = here[1:]
        ridge = damping * np.trace(gram) / len(gram)
        trial = np.clip(q - np.linalg.solve(gram + ridge * np.eye(len(gram)), slope), 0.0, drive.top)
        there = look(trial)
        damping *= 0.3 if there[1] < error else 5.0
        if there[1] < error:
            q, here = trial, there
        if damping > 1e4 or 0.0 < error - there[1] < 1e-3 * error:
            break
    if not drive.levels.size:
        return q, here[0], here[1]
    best_q, best = q, (here[0], np.inf)
    for turn in range(PASSES):
        q = q.copy()
        if turn == 0:
            kernels.twin.nearest_plane(q, *here[2:], drive.levels, tops)
        kernels.twin.descend(q, *here[2:], drive.levels, tops)
        here = look(q)
        if here[1] < best[1]:
            best_q, best = q, here[:2]
    return best_q, *best
