"""How near a core could come to its target if its phases were found by somebody who knows everything about it.

An observer's search, not a lab's: Levenberg-Marquardt over the effective phases of both meshes, with exact derivatives,
from several starts (More, Lecture Notes in Mathematics 630, 105 (1978)). What a heater that does not obey holds stays;
then the phases are carried back through the noise chain to commands, and settled by ternary probing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from l2sim.backend import Array, generator, kernels
from l2sim.chip.chip import PARTS, Chip
from l2sim.chip.fabrication import chain_parameters
from l2sim.learn import zeroth
from l2sim.learn.mapping import Target
from l2sim.run import oracle

MODES = 32
"""Modes up to which it is done: its cost grows as the sixth power."""
STARTS, STEPS, GOOD = 8, 120, 1e-6
"""Starts besides the present phases, steps of each, and the error that needs no further start."""
POLISH = 30


class Meshes:
    """Both real meshes of one core as functions of their effective phases (n,)."""

    def __init__(self, chip: Chip, signs: dict[str, Array]) -> None:
        self.mesh = chip.mesh
        self.ends = {part: chip.mesh.resolve_signs(np.asarray(signs[part], float)[None]) for part in PARTS}

    def build(self, part: str, phases: Array) -> Array:
        """Matrices (M, k, k) at phases (M, n)."""
        flip, signs = (np.repeat(a, len(phases), axis=0) for a in self.ends[part])
        out = np.empty((len(phases), self.mesh.modes, self.mesh.modes))
        kernels.mesh.matrices(np.ascontiguousarray(phases, float), flip, signs, self.mesh.rail, out)
        return out

    def slopes(self, part: str, phases: Array, free: Array) -> Array:
        """dU/dphase of the free ones, (f, k, k): a rotation is a cos + b sin, so that half the difference between a
        quarter turn more and less is its derivative."""
        turn = 0.5 * np.pi * np.eye(phases.size)[free]
        return 0.5 * (self.build(part, phases + turn) - self.build(part, phases - turn))


def tune(chip: Chip, target: Target, seed: int) -> float:
    """Command a chip of one real core, its `sigma` included, as near to its target as can be; returns the mapping
    error reached: NaN, and nothing is done, for complex cores and above `MODES`."""
    if chip.complex_cores or chip.mesh.modes > MODES:
        return float("nan")
    signs = {part: target.commands.signs[part][0, 0] for part in PARTS}
    present = {part: chip.mesh.gather(chip.oracle_phases(part))[0, 0].astype(float) for part in PARTS}
    it, exact = chip.nonidealities, np.dtype(float)
    chains = {part: chain_parameters(chip.mesh, chip._heaters[part], it, exact) for part in PARTS}
    free = {part: np.isnan(chains[part][1][0]) for part in PARTS}
    ideal = {part: chip.mesh.gather(target.commands.phases[part])[0, 0] for part in PARTS}
    found: list[tuple[float, dict[str, Array]]] = []
    rng = generator(seed, "attain")
    for number in range(STARTS + 2):
        random = {part: rng.uniform(-np.pi, np.pi, present[part].size) for part in PARTS}
        start = (present, ideal)[number] if number < 2 else random
        start = {part: np.where(free[part], start[part], present[part]) for part in PARTS}
        found.append(_descend(Meshes(chip, signs), target, start, free))
        if found[-1][0] < GOOD:
            break
    _, best = min(found, key=lambda it: it[0])
    chip.set_signs(**target.commands.signs)
    chip.set_sigma(target.sigma)
    commands = {part: _commanded(best[part], chains[part]) for part in PARTS}
    inputs = np.ones_like(target.sigma) if target.inputs is None else target.inputs
    problem = zeroth.Problem(chip, inputs, target.weight, "quadrature", target.outputs)
    search = zeroth.Search("ztp", lr=2 * np.pi / (2**it.phase_bits - 1) if it.phase_bits else 0.002)
    told = {part: chip.mesh.scatter(commands[part])[None, None].astype(chip.dtype) for part in PARTS}
    state = zeroth.start(problem, search, told)
    for epoch in range(POLISH):
        zeroth.polish(problem, search, state, generator(seed, "attain", epoch))
    chip.set_phases(**state.phases(best=True))
    reached = _error(chip, target)
    chip.set_sigma(oracle.projection(chip, target).astype(chip.dtype))
    return min(reached, _error(chip, target))


def _error(chip: Chip, target: Target) -> float:
    above, below = oracle.mapping_error(chip, target)
    return float(above[0, 0] / max(float(below[0, 0]), 1e-30))


def _descend(meshes: Meshes, target: Target, start: dict[str, Array], free: dict[str, Array]) -> tuple[float, Any]:
    """Levenberg-Marquardt from one start: the error |missing|^2 / |sigma|^2 and the phases."""
    sigma, weight = target.sigma[0, 0].astype(float), target.weight[0, 0].astype(float)
    ports = np.ones_like(weight)
    if target.outputs is not None and target.inputs is not None:
        ports = target.outputs[0, 0][:, None] * target.inputs[0, 0][None, :]
    size = float((sigma**2).sum()) or 1.0
    x, damping = {part: a.copy() for part, a in start.items()}, 1e-2

    def missing(at: dict[str, Array]) -> tuple[Array, Array, Array]:
        u, v = (meshes.build(part, at[part][None])[0] for part in PARTS)
        return u, v, (ports * ((u * sigma) @ v - weight)).ravel()

    u, v, r = missing(x)
    for _ in range(STEPS):
        slopes = np.concatenate([
            meshes.slopes("u", x["u"], free["u"]) @ (sigma[:, None] * v),
            (u * sigma) @ meshes.slopes("v", x["v"], free["v"]),
        ])  # fmt: skip
        j = (ports * slopes).reshape(len(slopes), -1)
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
        if r @ r < GOOD * size or fell < 1e-5 * float(r @ r):
            break
    return float(r @ r) / size, x


def _commanded(wanted: Array, chain: tuple[Any, ...]) -> Array:
    """Commands (n,) whose effective phases are `wanted`, but for what the drive rounds: the chain of `kernels.chain`
    backwards, the leak by iteration."""
    ratio, fixed, bias, around, _, _, _, share, rewrap = chain
    heat = np.where(np.isnan(fixed[0]), np.mod(wanted - bias[0], 2 * np.pi), fixed[0])
    for _ in range(20):
        warm = np.append(np.mod(heat, 2 * np.pi) if rewrap else heat, 0.0)
        leak = share * warm[around].sum(axis=1)
        heat = np.where(np.isnan(fixed[0]), np.mod(wanted - bias[0] - leak, 2 * np.pi), fixed[0])
    return np.where(np.isnan(fixed[0]), heat / ratio[0], 0.0)
