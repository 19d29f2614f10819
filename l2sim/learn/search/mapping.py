"""Deployment and parallel mapping of pretrained weights (L2ight, NeurIPS 2021, section 3.3; spec section d)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l2sim.backend import Array, host
from l2sim.chip import grid
from l2sim.chip.protocol import PARTS, Commands, Hardware, check, command
from l2sim.learn.search.zeroth import Problem
from l2sim.mesh import thetaphi
from l2sim.mesh.orthogonal import decompose

STILL = 1e-3
"""Weight of the target's own sigma beside what is seen: it decides only where a response shows nothing. Ours."""
RESTART_ABOVE = 0.4
"""Mapping error above which an adaptive search starts a core again."""


@dataclass(frozen=True)
class Target:
    """What a grid of cores is to become: `weight` blocks (p, q, k, k), and the commands and sigma (p, q, k) that would
    realise them on an ideal chip. `outputs`, `inputs` (p, q, k): 1 for ports of the matrix, 0 for those of the padding,
    about which nobody cares; None where the blocks are whole. `still`: the phases at which an ideal mesh is an
    identity, 0 or (2 C + 1, k)."""

    weight: Array
    commands: Commands
    sigma: Array
    outputs: Array | None = None
    inputs: Array | None = None
    still: Array | float = 0.0

    def wanted(self, seen: Array) -> Array:
        """The target (p, q, k, k), with what is `seen` of the padding, so that it asks for no change."""
        if self.outputs is None or self.inputs is None:
            return self.weight
        return self.weight + (1.0 - self.outputs[:, :, :, None] * self.inputs[:, :, None, :]) * seen


def target(hardware: Hardware, weight: Array) -> Target:
    """Cut `weight` (out, in) into blocks W = U diag(sigma) V* and decompose U and V* into mesh phases and signs.

    Done once, and on the host whatever the hardware.
    """
    check(hardware)
    k = hardware.mesh.modes
    blocks = grid.blocks(host(weight), k)
    u, sigma, v = np.linalg.svd(blocks)
    phases, signs, there = {}, {}, grid.arrays(hardware).asarray
    for part, matrices in (("u", u), ("v", v)):
        phases[part], signs[part] = map(there, decompose(hardware.mesh, matrices))
    commands = Commands(phases, signs)
    still = there(thetaphi.identity(hardware.mesh)) if hardware.mesh.phi else 0.0
    if not (weight.shape[0] % k or weight.shape[1] % k):
        return Target(there(blocks), commands, there(sigma), still=still)
    outputs, inputs = (
        np.broadcast_to((np.arange(whole * k) < real).reshape(shape).astype(blocks.dtype), sigma.shape)
        for whole, real, shape in zip(sigma.shape, weight.shape, ((-1, 1, k), (1, -1, k)))
    )
    return Target(there(blocks), commands, there(sigma), there(outputs), there(inputs), still)


def deploy(hardware: Hardware, aim: Target) -> None:
    """Command the ideal phases, as if the chip had no imperfections."""
    command(hardware, u=aim.commands, v=aim.commands)
    hardware.set_sigma(aim.sigma)


def problem(hardware: Hardware, aim: Target, readout: str = "quadrature", fresh: bool = True) -> Problem:
    """Set the target's signs and sigma, and minimise mean_ab ((U diag(sigma) V)_ab - W_ab)^2 over the phases.

    The rows and columns of the padding do not count. With phi as `calibrate.problem`.
    """
    hardware.set_signs(**aim.commands.signs)
    if fresh or not hardware.mesh.phi:
        hardware.set_sigma(aim.sigma)
    if fresh and hardware.mesh.phi:
        grid.amplified(hardware, aim.sigma, readout)
    inputs = np.ones_like(aim.sigma) if aim.inputs is None else aim.inputs.copy()
    return Problem(hardware, inputs, aim.weight, readout, aim.outputs)


def start_phases(aim: Target, rest: Commands | None) -> dict[str, Array]:
    """Where mapping starts: the target's ideal phases, offset by what the calibrated ones are off an ideal identity,
    where there are any."""
    if rest is None:
        return {part: aim.commands.phases[part].copy() for part in PARTS}
    return {part: aim.commands.phases[part] + (rest.phases[part] - aim.still) for part in PARTS}


def error_scale(aim: Target) -> Array:
    """What turns a loss into the mapping error ||U S V - W||^2 / ||U S V||^2, (p, q); U, V orthogonal, so the
    denominator is the sum of sigma squared (one for an all-zero block)."""
    power = (aim.sigma**2).sum(axis=-1)
    scale: Array = aim.sigma.shape[-1] ** 2 / np.where(power > 0, power, 1.0)
    return scale


def project(
    hardware: Hardware, aim: Target, mapped: Commands, rest: Commands, readout: str = "quadrature"
) -> Array:
    """The sigma (p, q, k) nearest to the target for the meshes as they are, from two passes a lab can do:

        sigma = diag(I_U V W' U I_V)

    First U mapped and V resting shows U I_V; then U resting and V mapped is sent W' U I_V. Two evaluations a core. The
    real part counts where the `readout` is "field". Where there is padding, W is what the core shows there: read first,
    with the target's sigma; so the projection cannot end farther from the rest of W than it began.

    Of cores with phi it is `least`: their u_i v_i' are orthogonal to each other in both parts together only.
    """
    if hardware.mesh.phi:
        return _seen_one_by_one(hardware, aim, mapped)
    weight = aim.weight
    if aim.outputs is not None:
        hardware.set_sigma(aim.sigma)
        command(hardware, u=mapped, v=mapped)
        weight = aim.wanted(grid.respond(hardware, readout).real)
    hardware.set_sigma(np.ones_like(aim.sigma))
    command(hardware, u=mapped, v=rest)
    shown = grid.respond(hardware, readout)
    light = weight.swapaxes(-1, -2) @ shown
    scale = np.abs(light).max(axis=(-1, -2), keepdims=True)
    scale = np.where(scale > 0, scale, 1.0)
    command(hardware, u=rest, v=mapped)
    hardware.meter.count(evaluations=hardware.shape[0] * hardware.shape[1])
    back = scale * hardware.forward(light / scale, readout=readout).real
    command(hardware, u=mapped, v=mapped)
    return np.diagonal(back, axis1=-2, axis2=-1).copy()


def _seen_one_by_one(hardware: Hardware, aim: Target, mapped: Commands) -> Array:
    """`least` of what quadratures show with one attenuator open after the other: k evaluations a core."""
    command(hardware, u=mapped, v=mapped)
    shown = []
    for i in range(hardware.mesh.modes):
        hardware.set_sigma(np.eye(hardware.mesh.modes)[i] * np.ones_like(aim.sigma))
        shown.append(grid.respond(hardware))
    return least(aim, np.stack(shown, axis=-3))


def least(aim: Target, shown: Array) -> Array:
    """The sigma (p, q, k) with which sum_i sigma_i R_i is nearest to the target, R_i = `shown` (p, q, k, k, k). What
    the target does not ask for stays as it is there."""
    there = np.ones(aim.weight.shape)
    if aim.outputs is not None and aim.inputs is not None:
        there = aim.outputs[..., :, None] * aim.inputs[..., None, :]
    rows = (shown * there[:, :, None]).reshape(*aim.sigma.shape, -1)
    weight = (aim.weight * there).reshape(*aim.sigma.shape[:2], -1, 1)
    gram = rows @ rows.swapaxes(-1, -2)
    still = STILL * np.trace(gram, axis1=-2, axis2=-1)[..., None]
    gram += still[..., None] * np.eye(aim.sigma.shape[-1])
    wanted = rows @ weight + (still * aim.sigma)[..., None]
    sigma: Array = np.linalg.solve(gram, wanted)[..., 0]
    return sigma


def keep_better(task: Problem, sigma: Array, before: Array) -> Array:
    """Set `sigma`, read the loss with it and with the sigma `before`, and keep for every core the better of the two."""
    losses = []
    for choice in (before, sigma):
        task.hardware.set_sigma(choice)
        losses.append(task.loss())
    best = np.where((losses[1] < losses[0])[..., None], sigma, before)
    task.hardware.set_sigma(best)
    return best
