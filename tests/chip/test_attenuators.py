"""Attenuators and sign shifters of cores: offsets, and MZIs as they are built."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.chip import grid
from l2sim.chip.complex_core_chip import ComplexChip
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.fabrication import fabricate, fabricate_optics
from l2sim.chip.nonidealities import GAMMA, Nonidealities
from l2sim.chip.protocol import Commands, command
from l2sim.chip.svd_chip import SvdChip
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


# -- MZIs --------------------------------------------------------------------------------------------------------------

MZI = Nonidealities(attenuators="mzi")


def complex_chip(it: Nonidealities, seed: int = 3, shape: tuple[int, int] = (2, 3)) -> ComplexChip:
    chip, rng = ComplexChip(shape, Mesh("rectangular", 4), it, seed=seed), generator(seed, "commands")
    chip.set_phases(**{part: rng.uniform(0, 6, (*shape, *chip.mesh.shape)) for part in "uv"})
    chip.set_signs(**{part: rng.choice([-1.0, 1.0], (*shape, 4)) for part in "uv"})
    return chip


def coupler(error: float) -> np.ndarray:
    """The matrix of a splitter."""
    c, s = np.cos(np.pi / 4 + error), np.sin(np.pi / 4 + error)
    return np.array([[c, 1j * s], [1j * s, c]])


@pytest.mark.parametrize("single", (False, True))
def test_an_mzi_against_its_scattering_matrix(single: bool) -> None:
    """Splitter, arms, splitter; light goes on at the other port, less the i of that."""
    it = msgspec.structs.replace(
        MZI, splitter_error_std=0.1, loss_db=0.3, loss_db_std=0.1, sigma_bias=0.3, single_arm=single, gamma_std=0.004
    )
    chip, sigma = complex_chip(it), generator(4).uniform(-1, 1, (2, 3, 4))
    chip.set_sigma(sigma)
    draws, optics = fabricate(3, "chip", "sigma", (6, 4)), fabricate_optics(3, "chip", "sigma", (6, 4))
    gain = np.abs(sigma).max(axis=2).ravel()
    seen = chip.oracle_sigma().reshape(6, 4)
    for m in range(6):
        for r in range(4):
            alpha = np.arccos(sigma.reshape(6, 4)[m, r] / gain[m])
            alpha = alpha * (1 + 0.004 / GAMMA * draws.gamma[m, r]) + 0.3 * draws.bias[m, r]
            arms = np.diag([np.exp(2j * alpha), 1.0] if single else [np.exp(1j * alpha), np.exp(-1j * alpha)])
            left, right = (coupler(0.1 * optics.splitters[m, side, r]) for side in (0, 1))
            lost = 10 ** (-max(0.3 + 0.1 * optics.arms[m, 0, r], 0) / 20)
            wanted = gain[m] * lost * (right @ arms @ left)[1, 0] / 1j
            assert abs(seen[m, r] - wanted) < EXACT


def test_ideal_mzis_and_shifters_are_the_published_ones_without_bits() -> None:
    plain = msgspec.structs.replace(MZI, attenuators="published", loss_db=1e-12)
    one, two = complex_chip(MZI), complex_chip(plain)
    for chip in (one, two):
        chip.set_sigma(generator(4).uniform(-1, 1, (2, 3, 4)))
    np.testing.assert_allclose(one.oracle_weights(), two.oracle_weights(), atol=1e-10)
    one.set_sigma(np.zeros((2, 3, 4)))
    assert not one.oracle_weights().any()


def test_an_attenuator_closes_only_as_far_as_its_splitters_are_alike() -> None:
    chip = complex_chip(msgspec.structs.replace(MZI, splitter_error_std=0.05))
    sigma = np.zeros((2, 3, 4))
    sigma[..., 0] = 1.0
    chip.set_sigma(sigma)
    optics = fabricate_optics(3, "chip", "sigma", (6, 4))
    off = 0.05 * (optics.splitters[:, 1] - optics.splitters[:, 0])
    np.testing.assert_allclose(np.abs(chip.oracle_sigma().reshape(6, 4)[:, 1:]), np.abs(np.sin(off))[:, 1:], atol=EXACT)
    chip.nonidealities = msgspec.structs.replace(chip.nonidealities, splitter_shared=True)
    assert np.abs(chip.oracle_sigma()[..., 1:]).max() < EXACT


def test_attenuators_leak_to_those_beside_them_get_stuck_and_bend() -> None:
    it = msgspec.structs.replace(MZI, crosstalk=0.02, heat_wraps=False)
    chip = complex_chip(it, shape=(1, 1))
    alpha = np.array([0.0, 0.5, 1.5, 2.5])
    chip.set_sigma(np.cos(alpha)[None, None])
    leaked = alpha + 0.02 * np.array([0.5, 0.0 + 1.5, 0.5 + 2.5, 1.5])
    np.testing.assert_allclose(chip.oracle_sigma()[0, 0], np.cos(leaked), atol=EXACT)
    chip.nonidealities = msgspec.structs.replace(it, crosstalk_range=2.0)
    far = np.exp(-(np.abs(np.subtract.outer(np.arange(4), np.arange(4))) - 1) / 2.0) * (1 - np.eye(4))
    np.testing.assert_allclose(chip.oracle_sigma()[0, 0], np.cos(alpha + 0.02 * far @ alpha), atol=EXACT)
    chip.nonidealities = msgspec.structs.replace(MZI, bend=0.1)
    bent = alpha * (1 - 0.1 * alpha / (2 * np.pi))
    np.testing.assert_allclose(chip.oracle_sigma()[0, 0], np.cos(bent), atol=EXACT)
    chip.nonidealities = msgspec.structs.replace(MZI, dead=1.0)
    np.testing.assert_allclose(chip.oracle_sigma()[0, 0], np.ones(4), atol=EXACT)


def test_signs_are_shifters_with_bits_and_offsets() -> None:
    it = msgspec.structs.replace(MZI, phase_bits=4, sigma_bias=0.2)
    chip, ideal = complex_chip(it), complex_chip(msgspec.structs.replace(MZI))
    signs = np.ones((2, 3, 4))
    signs[0, 0, 1] = -1.0
    still = {part: np.zeros((2, 3, *chip.mesh.shape)) for part in "uv"}
    for one in (chip, ideal):
        one.set_phases(**still)
        one.set_signs(u=signs)
        one.nonidealities = msgspec.structs.replace(one.nonidealities, exact_sigma=True)
    ends = np.einsum("pqii,pqii->pqi", chip.oracle_matrix("u"), ideal.oracle_matrix("u").conj())
    step, offset = 2 * np.pi / 15, 0.2 * fabricate(3, "chip", "u_signs", (6, 4)).bias.reshape(2, 3, 4)
    rounded = np.where(signs < 0, step * np.rint(np.pi / step) - np.pi, 0.0)
    np.testing.assert_allclose(ends, np.exp(1j * (offset + rounded)), atol=EXACT)


def test_a_core_with_mzis_is_made_again_from_its_draws() -> None:
    it = msgspec.structs.replace(
        MZI, splitter_error_std=0.05, sigma_bias=0.3, loss_db=0.1, loss_db_std=0.05, bend_std=0.02, crosstalk=0.01,
        crosstalk_range=1.0, crosstalk_pairs=0.5, splitter_chip_std=0.09, splitter_length=3.0, splitter_gradient=0.01,
    )  # fmt: skip
    chip = complex_chip(it)
    other = ComplexChip((2, 3), chip.mesh, it, seed=8, name="other")
    assert not np.allclose(other.oracle_fabrication()["sigma_optics.noise_arms"],
                           chip.oracle_fabrication()["sigma_optics.noise_arms"])  # fmt: skip
    other.refabricate(chip.oracle_fabrication())
    other.restore(*chip.state())
    assert np.array_equal(other.oracle_weights(), chip.oracle_weights())


@pytest.mark.parametrize("single", (False, True))
def test_the_chip_of_any_matrix_has_them_too(single: bool) -> None:
    it = msgspec.structs.replace(MZI, single_arm=single)
    chip = SvdChip(Mesh("clements", 4), it, seed=1, dtype=float)
    sigma = np.array([1.0, 0.3, -0.2, 0.0])
    chip.set_sigma(sigma)
    np.testing.assert_allclose(chip._realised[:, 0], sigma * np.exp(1j * np.arccos(sigma)), atol=EXACT)


@pytest.mark.parametrize("readout", ("quadrature", "field"))
def test_cores_with_phi_fuse_them(readout: str) -> None:
    """Products and gradients of cores with MZIs everywhere, far heat and alike splitters, fused against public."""
    it = Nonidealities(
        phi=True, single_arm=True, attenuators="mzi", sigma_bias=0.3, splitter_error_std=0.03, splitter_chip_std=0.05,
        splitter_length=2.0, loss_db=0.1, phase_bits=8, crosstalk=0.01, crosstalk_range=1.5, crosstalk_arms=True,
        bend_std=0.02, heater_inl=0.002,
    )  # fmt: skip
    fused = ComplexChip((2, 3), Mesh("rectangular", 4), it, seed=1)
    slow = Sealed(ComplexChip((2, 3), Mesh("rectangular", 4), it, seed=1))
    assert not grid.fused(fused, "sweep", readout), "far heat is not fused"
    assert grid.fused(fused, "sigma_gradient", readout)
    rng = generator(5)
    x, dy, sigma = rng.normal(size=(12, 7)), rng.normal(size=(8, 7)), rng.uniform(-2, 2, (2, 3, 4))
    mapped, rest = (
        Commands(
            {part: rng.uniform(0, 6, (2, 3, *fused.mesh.shape)) for part in "uv"},
            {part: rng.choice([-1.0, 1.0], (2, 3, 4)) for part in "uv"},
        )
        for _ in range(2)
    )
    seen = []
    for chip in (fused, slow):
        command(chip, u=mapped, v=mapped)
        chip.set_sigma(sigma)
        seen.append((grid.product(chip, x), grid.product_back(chip, dy)))
        seen[-1] += (grid.sigma_gradient(chip, x, dy, mapped, rest, sigma, readout),)
    for a, b in zip(*seen):
        np.testing.assert_allclose(a, b, atol=1e-10)
