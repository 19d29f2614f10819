"""What a lab cannot know about a chip, computed by an observer from its hidden state. Nothing in `learn/` uses this."""

from __future__ import annotations

import numpy as np

from l2sim.backend import Array
from l2sim.chip.chip import Chip
from l2sim.learn.mapping import Target


def identity_error(chip: Chip) -> dict[str, Array]:
    """mean_ab (|U| - I)^2 of the present U and V of every core, (p, q) each; blind to signs (spec section c)."""
    eye = np.eye(chip.mesh.modes)
    return {part: ((np.abs(chip.oracle_matrix(part)) - eye) ** 2).mean(axis=(-1, -2)) for part in ("u", "v")}


def mapping_error(chip: Chip, aim: Target) -> tuple[Array, Array]:
    """Numerator and denominator of ||U S V - W||_F^2 / ||U S V||_F^2 of every core as it is now, (p, q) each."""
    weight = chip.oracle_weights()
    return ((weight - aim.weight) ** 2).sum(axis=(-1, -2)), (weight**2).sum(axis=(-1, -2))


def projection(chip: Chip, aim: Target) -> Array:
    """The sigma (p, q, k) nearest to the target for the true meshes: diag(U' W V')."""
    u, v = chip.oracle_matrix("u"), chip.oracle_matrix("v")
    return np.einsum("pqai,pqab,pqib->pqi", u, aim.weight, v)
