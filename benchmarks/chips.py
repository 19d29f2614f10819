"""Chips and networks in a plausible state, without a run."""

from __future__ import annotations

import numpy as np

from l2sim.backend import Array
from l2sim.chip import nonidealities
from l2sim.chip.chip import Chip
from l2sim.chip.mesh import Mesh
from l2sim.chip.protocol import Commands
from l2sim.nn import models, network
from l2sim.nn.network import Network
from l2sim.nn.photonic import PhotonicWeight


def commands(chip: Chip, rng: np.random.Generator) -> Commands:
    """Small random phases, all signs +1."""
    heaters = *chip.shape, chip.mesh.count
    phases = {part: chip.mesh.scatter(rng.normal(0.0, 0.3, heaters).astype(chip.dtype)) for part in "uv"}
    signs = {part: np.ones((*chip.shape, chip.mesh.modes), chip.dtype) for part in "uv"}
    return Commands(phases, signs)


def chip(blocks: int, k: int, name: str = "bench", dtype: str = "float32") -> Chip:
    """A row of cores of the published preset: 8 bit, gamma, crosstalk, bias."""
    preset = nonidealities.PRESETS["l2ight-2021"]
    return Chip((1, blocks), Mesh("rectangular", k), preset, seed=1, name=name, dtype=np.dtype(dtype))


def photonic(model: str, rng: np.random.Generator, dtype: str = "float32") -> Network:
    """A network on chips that were mapped onto random weights."""
    preset = nonidealities.PRESETS["l2ight-2021"]

    def make(name: str, out_features: int, in_features: int, k: int) -> PhotonicWeight:
        shape = -(-out_features // k), -(-in_features // k)
        own = Chip(shape, Mesh("rectangular", k), preset, seed=1, name=name, dtype=np.dtype(dtype))
        mapped, rest = commands(own, rng), commands(own, rng)
        own.set_phases(**mapped.phases)
        sigma: Array = (rng.standard_normal((*shape, k)) / np.sqrt(in_features)).astype(dtype)
        own.set_sigma(sigma)
        return PhotonicWeight(own, out_features, in_features, mapped, rest, sigma)

    return network.build(models.get(model), make, np.dtype(dtype))
