"""Attenuators and sign shifters of cores: offsets, and MZIs as they are built."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.chip import grid
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.fabrication import fabricate
from l2sim.chip.nonidealities import GAMMA, Nonidealities
from l2sim.chip.protocol import Commands, command
from l2sim.mesh.mesh import Mesh
from tests.doubles import Sealed
from tests.tolerances import kernel

EXACT = kernel(np.float64)

BIASED = Nonidealities(phase_bits=8, phase_bias=1.0, gamma_std=0.002, crosstalk=0.005, sigma_bias=0.4)


def chip_of(it: Nonidealities, seed: int = 3, dtype: type = np.float64) -> CoreChip:
    """A grid of 2 x 3 cores of k = 4, commanded at random."""
    chip, rng = CoreChip((2, 3), Mesh("rectangular", 4), it, seed=seed, dtype=dtype), generator(seed, "commands")
    phases = {part: rng.uniform(0, 6, (2, 3, *chip.mesh.shape)) for part in "uv"}
    chip.set_phases(**phases)
    chip.set_sigma(rng.uniform(-2, 2, (2, 3, 4)))
    return chip


def test_an_offset_turns_every_attenuator() -> None:
    chip, sigma = chip_of(BIASED), generator(3, "sigma").uniform(-2, 2, (2, 3, 4))
    chip.set_sigma(sigma)
    heaters, gain = fabricate(3, "chip", "sigma", (6, 4)), np.abs(sigma).max(axis=2, keepdims=True)
    step = np.pi / 255
    alpha = step * np.rint(np.arccos(sigma / gain) / step)
    phase = alpha.reshape(6, 4) * (1 + 0.002 / GAMMA * heaters.gamma) + 0.4 * heaters.bias
    np.testing.assert_allclose(chip.oracle_sigma().reshape(6, 4), gain.reshape(6, 1) * np.cos(phase), atol=EXACT)
    still = chip_of(msgspec.structs.replace(BIASED, sigma_bias=0.0))
    chip.nonidealities = still.nonidealities
    still.set_sigma(sigma)
    assert np.array_equal(chip.oracle_sigma(), still.oracle_sigma()), "off is as it was"
    chip.nonidealities = msgspec.structs.replace(BIASED, exact_sigma=True)
    assert np.array_equal(chip.oracle_sigma(), sigma)


@pytest.mark.parametrize("sheet", (BIASED, msgspec.structs.replace(BIASED, exact_sigma=True)))
def test_the_fused_gradient_knows_attenuators_that_do_not_open(sheet: Nonidealities) -> None:
    fused, slow = chip_of(sheet), Sealed(chip_of(sheet))
    rng = generator(5)
    x, dy = rng.normal(size=(12, 7)), rng.normal(size=(8, 7))
    sigma = rng.uniform(-2, 2, (2, 3, 4))
    mapped, rest = (
        Commands(
            {part: rng.uniform(0, 6, (2, 3, *fused.mesh.shape)) for part in "uv"},
            {part: np.ones((2, 3, 4)) for part in "uv"},
        )
        for _ in range(2)
    )
    gradients = []
    for chip in (fused, slow):
        command(chip, u=mapped, v=mapped)
        chip.set_sigma(sigma)
        gradients.append(grid.sigma_gradient(chip, x, dy, mapped, rest, sigma))
        gradients.append(grid.product(chip, x))
    np.testing.assert_allclose(gradients[0], gradients[2], atol=1e-10)
    np.testing.assert_allclose(gradients[1], gradients[3], atol=1e-10)
