"""Chips and networks in a plausible state, without a run."""

from __future__ import annotations

import numpy as np

from l2sim.backend import CPU, Array, Device
from l2sim.chip import nonidealities
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.protocol import Commands
from l2sim.mesh.mesh import Mesh
from l2sim.nn import models, network
from l2sim.nn.network import Network
from l2sim.nn.photonic import PhotonicWeight

TINY = models.ModelSpec(
    "cnn-s", (1, 3, 3), 3,
    (models.Conv(2, 2, 1, 0, k=2), models.BatchNorm(), models.ReLUN(6.0), models.MaxPool(2, 2), models.Flatten(),
     models.Linear(3, k=3)),
)  # fmt: skip
"""What stands for every model where Numba's simulator stands for the GPU."""
DEVICE = CPU
"""Where chips and networks are made; set once, by `--device`."""


def commands(chip: CoreChip, rng: np.random.Generator) -> Commands:
    """Small random phases, all signs +1."""
    heaters = *chip.shape, chip.mesh.count
    xp = chip.xp
    phases = {part: chip.mesh.scatter(xp.asarray(rng.normal(0.0, 0.3, heaters).astype(chip.dtype))) for part in "uv"}
    signs = {part: xp.ones((*chip.shape, chip.mesh.modes), chip.dtype) for part in "uv"}
    return Commands(phases, signs)


def chip(blocks: int, k: int, name: str = "bench", dtype: str = "float32", device: Device | None = None) -> CoreChip:
    """A row of cores of the published preset: 8 bit, gamma, crosstalk, bias."""
    preset = nonidealities.PRESETS["l2ight-2021"]
    mesh = Mesh("rectangular", k)
    return CoreChip((1, blocks), mesh, preset, seed=1, name=name, dtype=np.dtype(dtype), device=device or DEVICE)


class Plain(CoreChip):
    """A chip without fused operations: every probe goes through every core, whose matrix is built for it."""

    def fuses(self, readout: str) -> bool:
        return False


def photonic(model: str, rng: np.random.Generator, dtype: str = "float32", kind: type[CoreChip] = CoreChip) -> Network:
    """A network on chips that were mapped onto random weights."""
    preset = nonidealities.PRESETS["l2ight-2021"]

    def make(name: str, out_features: int, in_features: int, k: int) -> PhotonicWeight:
        shape = -(-out_features // k), -(-in_features // k)
        own = kind(shape, Mesh("rectangular", k), preset, seed=1, name=name, dtype=np.dtype(dtype), device=DEVICE)
        mapped, rest = commands(own, rng), commands(own, rng)
        own.set_phases(**mapped.phases)
        sigma: Array = own.xp.asarray((rng.standard_normal((*shape, k)) / np.sqrt(in_features)).astype(dtype))
        own.set_sigma(sigma)
        return PhotonicWeight(own, out_features, in_features, mapped, rest, sigma)

    simulated = DEVICE.numbers and not hasattr(DEVICE.xp, "cuda")
    return network.build(TINY if simulated else models.get(model), make, np.dtype(dtype), device=DEVICE)
