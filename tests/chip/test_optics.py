"""Splitters of a chip that have a mean, a slope, and neighbours like themselves."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.chip import fabrication
from l2sim.chip.complex_core_chip import ComplexChip
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.parts import optics
from l2sim.mesh.mesh import Mesh

PLAIN = Nonidealities(splitter_error_std=0.02)


def errors(it: Nonidealities, mesh: Mesh, meshes: int = 2000, phi: bool = False, part: str = "u") -> np.ndarray:
    """Errors of all splitters, (M, 2, n)."""
    white = fabrication.fabricate_optics(1, "chip", part, (meshes, mesh.count))
    at = optics.places(mesh.column, mesh.top, mesh.bottom, phi)
    return optics.errors(white, optics.fabricate(1, "chip", part, meshes), *at, it)


def test_what_is_off_changes_nothing() -> None:
    mesh = Mesh("clements", 6)
    for more in ({}, {"splitter_length": 0.0}, {"splitter_length": 5.0, "splitter_error_std": 0.0}):
        assert optics.published(msgspec.structs.replace(PLAIN, **more))
    white = fabrication.fabricate_optics(1, "chip", "u", (3, mesh.count)).splitters
    assert np.array_equal(errors(PLAIN, mesh, 3), 0.02 * white)


@pytest.mark.parametrize("phi", (False, True))
def test_the_field_has_the_covariance_of_distance(phi: bool) -> None:
    """Against exp(-d^2 / 2 L^2) of all pairs, one by one; each within five standard errors."""
    mesh, length = Mesh("rectangular", 5), 1.7
    it = Nonidealities(splitter_error_std=0.5, splitter_length=length)
    made = errors(it, mesh, 4000, phi).reshape(4000, -1) / 0.5
    x, y = (a.ravel() for a in optics.places(mesh.column, mesh.top, mesh.bottom, phi))
    distance = np.hypot(np.subtract.outer(x, x), np.subtract.outer(y, y))
    wanted = np.exp(-(distance**2) / (2 * length**2))
    assert np.abs(made.T @ made / 4000 - wanted).max() < 5 * np.sqrt(2 / 4000)


def test_places_are_as_far_apart_as_heaters() -> None:
    mesh = Mesh("rectangular", 6)
    x, y = optics.places(mesh.column, mesh.top, mesh.bottom, False)
    here, below = np.flatnonzero((mesh.column == 2) & (mesh.top <= 2))
    assert np.isclose(y[0, below] - y[0, here], 1.0) and x[0, here] == x[0, below]
    ahead = np.flatnonzero((mesh.column == 3) & (mesh.top == mesh.top[here] + 1))[0]
    assert np.isclose(np.hypot(x[0, ahead] - x[0, here], y[0, ahead] - y[0, here]), 1.0)
    assert (x[1] > x[0]).all()


def test_long_fields_are_one_number_and_short_ones_white() -> None:
    mesh = Mesh("rectangular", 5)
    long = errors(msgspec.structs.replace(PLAIN, splitter_length=1e3), mesh, 50)
    assert np.ptp(long.reshape(50, -1), axis=1).max() < 0.02 * 0.05 and 0.01 < long.std() < 0.03
    short = errors(msgspec.structs.replace(PLAIN, splitter_length=1e-3), mesh).reshape(2000, -1) / 0.02
    assert np.abs(short.T @ short / 2000 - np.eye(short.shape[1])).max() < 5 * np.sqrt(2 / 2000)


def test_the_mean_is_that_of_a_chip_and_the_slope_of_a_mesh() -> None:
    mesh = Mesh("rectangular", 6)
    only = errors(Nonidealities(splitter_chip_std=0.09), mesh, 4)
    assert np.ptp(only) == 0.0 and only.any()
    assert np.array_equal(only, errors(Nonidealities(splitter_chip_std=0.09), mesh, 4, part="v"))
    sloped = errors(Nonidealities(splitter_gradient=0.05), mesh, 4000)
    x, _ = optics.places(mesh.column, mesh.top, mesh.bottom, False)
    low, high = np.unravel_index([x.argmin(), x.argmax()], x.shape)
    rise = sloped[:, low[1], high[1]] - sloped[:, low[0], high[0]]
    assert 0.045 < np.std(rise) < 0.06
    spread = np.std([optics.fabricate(seed, "chip", "u", 1).mean[0] for seed in range(300)])
    assert 0.85 < spread < 1.15


def test_a_large_mesh_is_drawn_exactly_and_soon() -> None:
    mesh = Mesh("clements", 256)
    made = errors(Nonidealities(splitter_error_std=0.1, splitter_length=20.0), mesh, 1, True)
    assert made.shape == (1, 2, mesh.count) and 0.05 < made.std() < 0.2


def test_chips_are_made_of_them_and_made_again() -> None:
    it = msgspec.structs.replace(PLAIN, splitter_chip_std=0.09, splitter_length=2.0, splitter_gradient=0.02)
    chip = MeshChip(Mesh("clements", 5), it, seed=2, dtype=float)
    mesh = chip.mesh
    at = optics.places(mesh.column, mesh.top, mesh.bottom, True)
    white = fabrication.fabricate_optics(2, "mesh", "mesh", (1, mesh.count))
    wanted = optics.errors(white, optics.fabricate(2, "mesh", "mesh", 1), *at, it)
    angles = np.arctan2(chip._splitters[:, 1::2], chip._splitters[:, ::2])
    np.testing.assert_allclose(angles - np.pi / 4, wanted, atol=1e-12)
    other = MeshChip(mesh, it, seed=3, dtype=float)
    other.refabricate(chip.oracle_fabrication())
    assert np.array_equal(chip.oracle_matrix(), other.oracle_matrix())
    core, again = (ComplexChip((1, 2), Mesh("rectangular", 4), it, seed=seed) for seed in (1, 2))
    phases = generator(1).uniform(0, 6, (1, 2, *core.mesh.shape))
    assert core.oracle_matrix("u").shape == (1, 2, 4, 4)
    again.refabricate(core.oracle_fabrication())
    for one in (core, again):
        one.set_phases(u=phases)
    assert np.array_equal(core.oracle_weights(), again.oracle_weights())
