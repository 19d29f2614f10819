"""Twins of whole complex meshes: from powers alone, at any bias."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.errors import ChipError
from l2sim.learn.twin.fit import Drive
from l2sim.learn.twin.whole import by_taps
from l2sim.learn.twin.whole import fit as mesh_fit
from l2sim.mesh import unitary
from l2sim.mesh.mesh import Mesh
from tests.doubles import Sealed, lit_mesh

NOISY = Nonidealities(phase_bits=8, phase_bias=np.pi, gamma_std=0.002, crosstalk=0.005, tap_noise=0.01)


def chip(modes: int, it: Nonidealities = NOISY) -> MeshChip:
    return MeshChip(Mesh("rectangular", modes), it, seed=3, dtype="float64")


@pytest.mark.parametrize("modes", (2, 3, 4, 7))
def test_the_model_is_the_chip(modes: int) -> None:
    it = Nonidealities(phase_bias=1.0)
    mesh = lit_mesh(Mesh("rectangular", modes), it)
    rng = generator(1, modes)
    light = rng.normal(size=(modes, 3)) + 1j * rng.normal(size=(modes, 3))
    seen = mesh.oracle_phases()
    phases, exact = np.concatenate((seen["theta"], seen["phi"])), np.zeros((6, mesh.mesh.count))
    powers, _ = mesh_fit.follow(mesh.mesh, phases, light, exact)
    np.testing.assert_allclose(powers, np.concatenate(mesh.taps(light)[1]), atol=1e-12)


@pytest.mark.parametrize("modes", (2, 3, 4, 7, 8))
def test_any_biases_are_found_in_closed_form(modes: int) -> None:
    it = Nonidealities(phase_bits=8, phase_bias=np.pi)
    mesh = chip(modes, it)
    found = by_taps.identify(mesh, it, generator(2), settings=4)
    true = mesh.oracle_biases()[: 2 * mesh.mesh.count]
    assert np.abs(np.mod(found.bias - true + np.pi, 2 * np.pi) - np.pi).max() < 2e-3
    assert found.identified


@pytest.mark.parametrize("modes", (4, 8))
def test_noisy_taps_identify_a_mesh_up_to_the_phases_of_its_outputs(modes: int) -> None:
    mesh = chip(modes)
    found = by_taps.identify(Sealed(mesh), NOISY, generator(2))
    assert found.identified and found.readings == 15 * modes == mesh.meter.state()["idle"]["core_calls"]
    true = mesh.oracle_biases()[: 2 * mesh.mesh.count]
    pull = (np.mod(found.bias - true + np.pi, 2 * np.pi) - np.pi) / found.spread[: true.size]
    assert 0.6 < np.sqrt(np.mean(pull**2)) < 1.4
    target = unitary.haar_matrix(generator(4), modes)
    mesh.set_phases(*mesh_fit.program(mesh.mesh, Drive.of(NOISY), found, target))
    assert mesh_fit.row_error(target, mesh.oracle_matrix()) < 1e-3


def test_splitter_errors_show_and_are_fitted_then() -> None:
    it = msgspec.structs.replace(NOISY, splitter_error_std=0.03)
    mesh = chip(4, it)
    found = by_taps.identify(mesh, it, generator(2), settings=6)
    assert found.identified and found.spread.size == 12 * mesh.mesh.count + 3 + 4
    target = unitary.haar_matrix(generator(4), 4)
    mesh.set_phases(*mesh_fit.program(mesh.mesh, Drive.of(it), found, target))
    assert mesh_fit.row_error(target, mesh.oracle_matrix()) < 2e-3


def test_a_mesh_that_the_model_does_not_explain_is_named() -> None:
    believed = msgspec.structs.replace(NOISY, drive="voltage", v_max=6.5, heat_wraps=False)
    it = msgspec.structs.replace(believed, curve=(0.0, 0.0, 0.1653, 0.0, -4e-4))
    assert not by_taps.identify(chip(4, it), believed, generator(2)).identified


@pytest.mark.parametrize("changes", [{"loss_db": 0.3}, {"loss_db": 0.05, "loss_db_std": 0.02}])
def test_losses_are_in_the_model(changes: dict[str, float]) -> None:
    mesh = chip(6, msgspec.structs.replace(NOISY, **changes))
    found = by_taps.identify(mesh, NOISY, generator(2))
    assert found.identified and abs(found.loss - changes["loss_db"] / 20 * np.log(10)) < 2e-3
    target = unitary.haar_matrix(generator(4), 6)
    mesh.set_phases(*mesh_fit.program(mesh.mesh, Drive.of(NOISY), found, target))
    assert mesh_fit.row_error(target, mesh.oracle_matrix()) < 2e-3


@pytest.mark.parametrize("heater", range(0, 12, 2))
def test_heaters_that_answer_to_nothing_are_found(heater: int) -> None:
    mesh = chip(4, msgspec.structs.replace(NOISY, dead=1e-6))
    draws = mesh.oracle_fabrication()
    draws["heaters.noise_fate"][:] = 1.0
    draws["heaters.noise_fate"][0, heater] = -1.0
    mesh.refabricate(draws)
    found = by_taps.identify(mesh, NOISY, generator(2))
    assert found.identified and list(np.flatnonzero(found.dead)) == [heater]


@pytest.mark.parametrize("taps", (False, True))
def test_derivatives_are_those_of_what_is_read(taps: bool) -> None:
    """Every kind, against differences, with splitter errors and arms that are not exact."""
    mesh, rng = Mesh("rectangular", 5), generator(8)
    n = mesh.count
    light = rng.normal(size=(5, 2)) + 1j * rng.normal(size=(5, 2))
    at = np.concatenate((rng.uniform(0, 6, 2 * n), rng.normal(0, 0.05, 6 * n)))

    def read(x: np.ndarray, kinds: int = 0) -> tuple[np.ndarray, np.ndarray]:
        return mesh_fit.follow(mesh, x[: 2 * n], light, x[2 * n :].reshape(6, n), kinds, taps)

    slopes = read(at, mesh_fit.KINDS)[1]
    for i in range(len(at)):
        step = np.zeros(len(at))
        step[i] = 1e-6
        wanted = (read(at + step)[0] - read(at - step)[0]) / 2e-6
        np.testing.assert_allclose(slopes[i], wanted, atol=2e-5)


def test_meshes_that_no_twin_can_do() -> None:
    with pytest.raises(ChipError, match="are rectangular"):
        by_taps.identify(MeshChip(Mesh("triangular", 4), NOISY, 1), NOISY, generator(1))
    with pytest.raises(ChipError, match="needs the readout 'tap_power'"):
        by_taps.identify(MeshChip(Mesh("rectangular", 4), NOISY, 1, readouts=("power",)), NOISY, generator(1))
