"""What the fab did to a chip: unit draws made once, scaled later by the non-idealities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l2sim.backend import Array, generator
from l2sim.chip.mesh import Mesh
from l2sim.chip.nonidealities import GAMMA, Nonidealities


@dataclass(frozen=True)
class Heaters:
    """Unit draws of the heaters of M meshes, each (M, n) in travel order.

    `bias` in [-1, 1); `gamma` normal, cut at +-2 standard deviations; `fate` and `stuck_at` in [0, 1).
    """

    bias: Array
    gamma: Array
    fate: Array
    stuck_at: Array


def truncated_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Standard normal variates conditioned on |z| <= 2, by redrawing those outside."""
    draw = rng.standard_normal(shape)
    while (outside := np.abs(draw) > 2.0).any():
        draw[outside] = rng.standard_normal(int(outside.sum()))
    return draw


def fabricate(seed: int, name: str, part: str, shape: tuple[int, int]) -> Heaters:
    """Draw the heaters of one part ("u", "v" or "sigma") of the chip `name`, each quantity from a stream of its own."""

    def stream(what: str) -> np.random.Generator:
        return generator(seed, "fabrication", name, part, what)

    return Heaters(
        bias=stream("bias").uniform(-1.0, 1.0, shape),
        gamma=truncated_normal(stream("gamma"), shape),
        fate=stream("fate").uniform(size=shape),
        stuck_at=stream("stuck").uniform(size=shape),
    )


def chain_parameters(mesh: Mesh, heaters: Heaters, nonidealities: Nonidealities, dtype: np.dtype) -> tuple:
    """The arguments of `kernels.chain` for these heaters: (ratio, fixed, bias, around, lsb, levels, thresholds,
    crosstalk, rewrap)."""
    it = nonidealities
    fixed = np.where(heaters.fate < it.dead, 0.0, np.nan)
    stuck = (heaters.fate >= it.dead) & (heaters.fate < it.dead + it.stuck)
    fixed = np.where(stuck, 2.0 * np.pi * heaters.stuck_at, fixed)
    levels, thresholds = it.levels()
    # The published model leaves crosstalk (and the wrap that comes with it) out below 1e-5.
    coupled = it.crosstalk > 1e-5
    return (
        (1.0 + heaters.gamma * (it.gamma_std / GAMMA)).astype(dtype),
        fixed.astype(dtype),
        (it.phase_bias * heaters.bias).astype(dtype),
        mesh.around,
        dtype.type(it.lsb()),
        levels.astype(dtype),
        thresholds.astype(dtype),
        dtype.type(it.crosstalk if coupled else 0.0),
        coupled,
    )
