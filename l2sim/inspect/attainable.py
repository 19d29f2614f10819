"""How near a core could come to its target if its commands were found by somebody who knows everything about it.

An observer's search, not a lab's: Levenberg-Marquardt over the effective phases of both meshes, with exact derivatives,
from several starts (More, Lecture Notes in Mathematics 630, 105 (1978)). What a heater that does not obey holds stays;
then the phases are carried back through the noise chain to commands, and settled by ternary probing. Sigma makes up for
the light that is lost on average, and ends as the least squares say.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from l2sim.backend import Array, generator, kernels, threads
from l2sim.chip import complex_core_chip
from l2sim.chip.complex_core_chip import ComplexChip
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.fabrication import chain_parameters, optics_in
from l2sim.chip.nonidealities import WAVELENGTH_NM
from l2sim.chip.parts import drawn
from l2sim.chip.protocol import PARTS
from l2sim.flow import oracle
from l2sim.given import wrapped
from l2sim.inspect.chips import heaters_of
from l2sim.learn.search import zeroth
from l2sim.learn.search.mapping import Target

MODES = 32
"""Modes up to which it is done: its cost grows as the sixth power."""
STARTS, COMPLEX_STARTS, STEPS, GOOD = 8, 3, 120, 1e-6
"""Starts besides the present phases and the target's (of complex cores few: none of them is ever good), steps of each,
and the error that needs no further start."""
SETTLED = 1e-5
"""A descent ends where a step gains less than this share."""
POLISH, COMPLEX_POLISH = 30, 3
"""Epochs of probing at the end; of complex cores, whose every probe builds a matrix, few."""
QUIET = {"readout_noise": 0.0, "shot_noise": 0.0, "reference_phase_std": 0.0}
"""An observer reads without noise."""


class Meshes:
    """Both meshes of one core as functions of their effective phases (n,)."""

    def __init__(self, chip: CoreChip, signs: dict[str, Array]) -> None:
        self.mesh, self._imperfect = chip.mesh, chip.nonidealities
        self._signs = {part: np.asarray(signs[part], float)[None] for part in PARTS}
        self._passive: dict[str, complex_core_chip.Passive] = {}
        if isinstance(chip, ComplexChip):
            draws, mesh = chip.oracle_fabrication(), chip.mesh
            self._passive = {
                part: complex_core_chip.passive(mesh, optics_in(draws, part), self._imperfect) for part in PARTS
            }

    def build(self, part: str, phases: Array) -> Array:
        """Matrices (M, k, k) at phases (M, n)."""
        phases, count = np.ascontiguousarray(phases, float), len(phases)
        if self._passive:
            splitters, amplitudes = (np.repeat(a, count, axis=0) for a in self._passive[part])
            ends = np.repeat(self._signs[part], count, axis=0)
            return complex_core_chip.matrices(self.mesh, phases, (splitters, amplitudes), ends, self._imperfect)
        flip, signs = (np.repeat(a, count, axis=0) for a in self.mesh.resolve_signs(self._signs[part]))
        out = np.empty((count, self.mesh.modes, self.mesh.modes))
        kernels.mesh.matrices(phases, flip, signs, self.mesh.rail, out)
        return out

    def slopes(self, part: str, phases: Array, free: Array) -> Array:
        """dU/dphase of the free ones, (f, k, k): U is a cos + b sin of any one phase, and c e^{2i phase} + d where one
        arm is driven, so that half its difference between a quarter turn more and less is its derivative, as of
        c e^{i phase} + d (with phi); of one arm the difference between an eighth more and less. Detuning stretches all
        phases."""
        stretch = 1.0 + self._imperfect.detuning_nm / WAVELENGTH_NM
        single = bool(self._passive) and self._imperfect.single_arm and not self.mesh.phi
        turn = (0.25 if single else 0.5) * np.pi * stretch * np.eye(phases.size)[free]
        apart = self.build(part, phases + turn) - self.build(part, phases - turn)
        return (1.0 if single else 0.5) / stretch * apart


@dataclass(frozen=True)
class Drive:
    """The noise chain of the heaters of one mesh (`kernels.chain`) but for what the drive rounds.

    (n,) `ratio` of heat to command, `fixed` heat of those that do not obey (NaN for the others), `bias` with what has
    drifted by now and the phase at 0 V, the `offset`; which stand `around` each (n, W), the `share` of heat that leaks
    there; `rewrap`: heat is taken modulo a turn; `lowest` heat, of the turn that a heater is driven over.
    """

    ratio: Array
    fixed: Array
    bias: Array
    around: Array
    share: float
    rewrap: bool
    offset: float
    lowest: float

    @classmethod
    def of(cls, chip: CoreChip, part: str) -> Drive:
        """That of one part of a chip of one core."""
        ratio, fixed, _, around, _, _, _, share, rewrap = chain_parameters(
            chip.mesh, heaters_of(chip, part), chip.nonidealities, np.dtype(float)
        )
        bias = np.asarray(chip.oracle_offsets(part)[0], float)
        sheet = chip.nonidealities
        lowest = -2 * np.pi if sheet.falls else 0.0
        return cls(ratio[0], fixed[0], bias, around, share, rewrap, sheet.offset, lowest)

    def commands(self, wanted: Array) -> Array:
        """Commands (n,) whose effective phases are `wanted`: the chain backwards, the leak by iteration."""
        obeys = np.isnan(self.fixed)
        heat = np.where(obeys, self.lowest + wrapped(wanted - self.bias), self.fixed)
        for _ in range(20):
            warm = np.append(wrapped(heat) if self.rewrap else heat, 0.0)
            leak = self.share * warm[self.around].sum(axis=1)
            heat = np.where(obeys, self.lowest + wrapped(wanted - self.bias - leak), self.fixed)
        return np.where(obeys, heat / self.ratio + self.offset, 0.0)


def tune(chip: CoreChip, target: Target, seed: int) -> float:
    """Command a chip of one core, its `sigma` included, as near to its target as can be; returns the mapping error
    reached: NaN, and nothing is done, above `MODES` and of heaters, splitters and attenuators that are not the
    published ones. The chip's readings are without noise from then on."""
    if chip.mesh.modes > MODES or not drawn.published(chip.nonidealities):
        return float("nan")
    with threads(1):  # so small are its matrices that waking other threads takes longer, much longer on a busy machine
        return _tune(chip, target, seed)


def _tune(chip: CoreChip, target: Target, seed: int) -> float:
    chip.nonidealities = msgspec.structs.replace(chip.nonidealities, **QUIET)
    signs = {part: target.commands.signs[part][0, 0] for part in PARTS}
    present = {part: chip.mesh.gather(chip.oracle_phases(part))[0, 0].astype(float) for part in PARTS}
    drives = {part: Drive.of(chip, part) for part in PARTS}
    free = {part: np.isnan(drives[part].fixed) for part in PARTS}
    ideal = {part: chip.mesh.gather(target.commands.phases[part])[0, 0] for part in PARTS}
    reached: list[tuple[float, dict[str, Array]]] = []
    rng = generator(seed, "attain")
    for number in range((COMPLEX_STARTS if chip.complex_cores else STARTS) + 2):
        random = {part: rng.uniform(-np.pi, np.pi, present[part].size) for part in PARTS}
        start = (present, ideal)[number] if number < 2 else random
        start = {part: np.where(free[part], start[part], present[part]) for part in PARTS}
        reached.append(_descend(Meshes(chip, signs), target, start, free))
        if reached[-1][0] < GOOD:
            break
    _, best = min(reached, key=lambda end: end[0])
    chip.set_signs(**target.commands.signs)
    commands = {part: drives[part].commands(best[part]) for part in PARTS}
    phases = {part: chip.mesh.scatter(commands[part])[None, None].astype(chip.dtype) for part in PARTS}
    chip.set_phases(**phases)
    chip.set_sigma(_sigma(chip, target).astype(chip.dtype))
    _settle(chip, target, phases, seed)
    error = _error(chip, target)
    chip.set_sigma(_sigma(chip, target).astype(chip.dtype))
    return min(error, _error(chip, target))


def _settle(chip: CoreChip, target: Target, phases: dict[str, Array], seed: int) -> None:
    """Ternary probing from `phases`: the drive rounds, and heaters act on each other."""
    field = isinstance(chip, ComplexChip)
    inputs = np.ones_like(target.sigma) if target.inputs is None else target.inputs
    problem = zeroth.Problem(chip, inputs, target.weight, "field" if field else "quadrature", target.outputs)
    search = zeroth.Search("ztp", lr=chip.nonidealities.step() or 0.002)
    state = zeroth.start(problem, search, phases)
    for epoch in range(COMPLEX_POLISH if field else POLISH):
        zeroth.polish(problem, search, state, generator(seed, "attain", epoch))
    chip.set_phases(**state.phases(best=True))


def _sigma(chip: CoreChip, target: Target) -> Array:
    """The best sigma (1, 1, k) for the meshes as they are, by least squares. In the padding W is what the target's
    sigma gives there, as for `oracle.projection`, which is the same where no light is lost."""
    u, v = (chip.oracle_matrix(part)[0, 0] for part in PARTS)
    wanted = target.wanted(((u * target.sigma[0, 0]) @ v).real[None, None])[0]
    columns = _flat(np.einsum("ai,ib->iab", u, v))
    sigma: Array = np.linalg.lstsq(columns.T, _flat(wanted.astype(u.dtype))[0], rcond=None)[0]
    return sigma[None, None]


def _ports(target: Target) -> Array:
    """1 where a weight counts, (k, k) or a number."""
    if target.outputs is None or target.inputs is None:
        return np.ones(())
    counts: Array = target.outputs[0, 0][:, None] * target.inputs[0, 0][None, :]
    return counts


def _flat(matrices: Array) -> Array:
    """Matrices (M, k, k) as rows of real numbers."""
    rows: Array = matrices.reshape(len(matrices), -1)
    return np.concatenate([rows.real, rows.imag], axis=1) if np.iscomplexobj(rows) else rows


def _error(chip: CoreChip, target: Target) -> float:
    above, below = oracle.mapping_error(chip, target)
    return float(above[0, 0] / max(float(below[0, 0]), 1e-30))


def _descend(
    meshes: Meshes, target: Target, start: dict[str, Array], free: dict[str, Array]
) -> tuple[float, dict[str, Array]]:
    """Levenberg-Marquardt from one start: the error |missing|^2 / |target's sigma|^2, and the phases."""
    weight, ports = target.weight[0, 0].astype(float), _ports(target)
    size, damping = float((target.sigma**2).sum()) or 1.0, 1e-2
    x = {part: a.copy() for part, a in start.items()}
    kept = np.prod([np.linalg.norm(meshes.build(part, x[part][None])[0]) for part in PARTS]) / len(weight)
    sigma = target.sigma[0, 0].astype(float) / max(kept, 1e-6)

    def missing(at: dict[str, Array]) -> tuple[Array, Array, Array]:
        u, v = (meshes.build(part, at[part][None])[0] for part in PARTS)
        return u, v, _flat((ports * ((u * sigma) @ v - weight))[None])[0]

    u, v, r = missing(x)
    for _ in range(STEPS):
        slopes = np.concatenate([
            meshes.slopes("u", x["u"], free["u"]) @ (sigma[:, None] * v),
            (u * sigma) @ meshes.slopes("v", x["v"], free["v"]),
        ])  # fmt: skip
        j = _flat(ports * slopes)
        normal, down = j @ j.T, j @ r
        while damping < 1e6:
            step = np.linalg.solve(normal + damping * (np.diag(np.diag(normal)) + 1e-9 * size * np.eye(len(j))), -down)
            trial = {part: a.copy() for part, a in x.items()}
            trial["u"][free["u"]] += step[: free["u"].sum()]
            trial["v"][free["v"]] += step[free["u"].sum() :]
            seen = missing(trial)
            if seen[2] @ seen[2] < r @ r:
                break
            damping *= 4
        else:
            break
        fell = float(r @ r - seen[2] @ seen[2])
        x, (u, v, r), damping = trial, seen, max(damping / 5, 1e-9)
        if r @ r < GOOD * size or fell < SETTLED * float(r @ r):
            break
    return float(r @ r) / size, x
