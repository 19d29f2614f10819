"""What a lab cannot know about a chip, computed by an observer from its hidden state. Nothing in `learn/` uses this."""

from __future__ import annotations

import numpy as np

from l2sim.backend import Array
from l2sim.chip.chip import Chip
from l2sim.chip.grid import arrays
from l2sim.chip.light import MeshChip
from l2sim.learn.mapping import Target
from l2sim.nn.optics import MeshLayer


def identity_error(chip: Chip) -> dict[str, Array]:
    """mean_ab (|U| - I)^2 of the present U and V of every core, (p, q) each; blind to signs (spec section c)."""
    eye = arrays(chip).eye(chip.mesh.modes)
    return {part: ((np.abs(chip.oracle_matrix(part)) - eye) ** 2).mean(axis=(-1, -2)) for part in ("u", "v")}


def mapping_error(chip: Chip, aim: Target) -> tuple[Array, Array]:
    """Numerator and denominator of ||U S V - W||_F^2 / ||U S V||_F^2 of every core as it is now, (p, q) each."""
    weight = chip.oracle_weights()
    return (np.abs(weight - aim.weight) ** 2).sum(axis=(-1, -2)), (np.abs(weight) ** 2).sum(axis=(-1, -2))


def projection(chip: Chip, aim: Target) -> Array:
    """The sigma (p, q, k) nearest to the target for the true meshes: diag(U' W V')."""
    u, v = chip.oracle_matrix("u"), chip.oracle_matrix("v")
    return np.einsum("pqai,pqab,pqib->pqi", u, aim.weight, v).real


def gradients(layer: MeshLayer) -> tuple[Array, Array]:
    """The true and the last measured gradient of a mesh, for the same light and cotangents: theta, then phi (2 n,)."""
    chip = layer.hardware
    assert isinstance(chip, MeshChip) and layer.sent is not None, "a simulated mesh that was just measured"
    true, found = chip.oracle_gradient(*layer.sent), layer.gradients()
    pairs = (true.theta, true.phi), (found["theta"], found["phi"])
    a, b = (np.concatenate(pair).astype(float) for pair in pairs)
    return a, b


def gradient_error(layer: MeshLayer) -> float:
    """1 - cos of the angle between them. 0 where both vanish."""
    a, b = gradients(layer)
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return max(0.0, 1.0 - float(a @ b) / size) if size else float(np.linalg.norm(a - b) > 0)
