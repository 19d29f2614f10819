"""Twins of whole complex meshes from the powers at their outputs alone, at any bias."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from l2sim.backend import Array, generator
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.errors import ChipError
from l2sim.learn.twin.fit import Drive
from l2sim.learn.twin.whole import by_outputs
from l2sim.learn.twin.whole import fit as mesh_fit
from l2sim.mesh import unitary
from l2sim.mesh.mesh import Mesh
from tests.doubles import Sealed, lit_mesh

NOISY = Nonidealities(phase_bits=8, phase_bias=np.pi, gamma_std=0.002, crosstalk=0.005, readout_noise=0.01)


def chip(modes: int, it: Nonidealities = NOISY, seed: int = 3) -> MeshChip:
    return MeshChip(Mesh("rectangular", modes), it, seed=seed, dtype="float64", readouts=("power",))


def off(mesh: MeshChip, bias: Array) -> Array:
    """Errors of biases (2 n,), within a turn."""
    return np.mod(bias - mesh.oracle_biases()[: bias.size] + np.pi, 2 * np.pi) - np.pi


def walked(mesh: MeshChip, it: Nonidealities) -> Array:
    """Errors (2 n,) of the biases that a walk finds in closed form."""
    rng, size = generator(2), (mesh.mesh.modes, by_outputs.FIELDS)
    light = rng.uniform(0.3, 1.0, size) * np.exp(2j * np.pi * rng.uniform(size=size))
    walk = by_outputs.Walk(mesh, it, light)
    by_outputs.begin(walk)
    return off(mesh, walk.bias)


def programmed(mesh: MeshChip, it: Nonidealities, found: mesh_fit.MeshTwin) -> float:
    """The error of a random matrix programmed by a twin."""
    target = unitary.haar_matrix(generator(4), mesh.mesh.modes)
    mesh.set_phases(*mesh_fit.program(mesh.mesh, Drive.of(it), found, target))
    return mesh_fit.row_error(target, mesh.oracle_matrix())


def test_an_mzi_is_that_of_the_chip() -> None:
    mesh = lit_mesh(Mesh("rectangular", 2))
    seen = mesh.oracle_phases()
    mine = np.exp(1j * seen["screen"])[:, None] * by_outputs.mzi(seen["theta"][0], seen["phi"][0])
    np.testing.assert_allclose(mine, mesh.oracle_matrix(), atol=1e-12)


@pytest.mark.parametrize("bias", (0.0, 1.0, np.pi))
@pytest.mark.parametrize("modes", (2, 3, 4, 7, 8))
def test_any_biases_are_found_in_closed_form(modes: int, bias: float) -> None:
    it = Nonidealities(phase_bias=bias)
    assert np.abs(walked(chip(modes, it), it)).max() < 1e-6


@pytest.mark.parametrize("seed", (0, 1, 2))
def test_a_start_is_within_the_reach_of_the_fit(seed: int) -> None:
    """Errors add up over the columns as a random walk: 24 columns are no harm, with noise and all."""
    wrong = walked(chip(24, NOISY, seed), NOISY).reshape(2, -1)
    theta, phi = np.sqrt((wrong**2).mean(axis=1))
    assert theta < 0.08 and phi < 0.4


@pytest.mark.parametrize("modes", (2, 3, 4, 8, 16))
def test_noisy_powers_identify_a_mesh_up_to_the_phases_of_its_outputs(modes: int) -> None:
    mesh = chip(modes)
    found = by_outputs.identify(Sealed(mesh), NOISY, generator(2))
    assert found.identified and found.readings == mesh.meter.state()["idle"]["core_calls"]
    wanted = 63 * modes if modes > 2 else 78
    assert found.readings == wanted, "63 evaluations whatever the size; one column for two"
    pull = off(mesh, found.bias) / found.spread[: found.bias.size]
    assert 0.3 < np.sqrt(np.mean(pull**2)) < 1.6
    assert programmed(mesh, NOISY, found) < 2e-3


def test_splitter_errors_show_and_are_fitted_then() -> None:
    it = msgspec.structs.replace(NOISY, splitter_error_std=0.03)
    mesh = chip(6, it)
    found = by_outputs.identify(mesh, it, generator(2))
    assert found.identified and found.spread.size == 10 * mesh.mesh.count + 3 + 6
    assert programmed(mesh, it, found) < 2e-3


def test_heaters_that_are_driven_by_voltage_and_leak_all_of_their_heat() -> None:
    curve = (0.0, 0.0, 0.1653, 0.0, -1e-4)
    it = msgspec.structs.replace(NOISY, drive="voltage", v_max=6.5, curve=curve, heat_wraps=False)
    mesh = chip(5, it)
    found = by_outputs.identify(mesh, it, generator(2))
    assert found.identified and programmed(mesh, it, found) < 2e-3


def test_another_walk_is_taken_where_one_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh, first, begin = chip(3), [], by_outputs.begin

    def stumble(walk: by_outputs.Walk) -> None:
        begin(walk)
        if not first:
            first.append(True)
            walk.bias += generator(1).uniform(-np.pi, np.pi, walk.bias.size)

    monkeypatch.setattr(by_outputs, "begin", stumble)
    found = by_outputs.identify(mesh, NOISY, generator(2))
    assert found.identified and found.readings == 36 + 9 + 2 * 144 == mesh.meter.state()["idle"]["core_calls"]


VOLTS = msgspec.structs.replace(NOISY, drive="voltage", v_max=6.5, heat_wraps=False)


def test_a_mesh_that_the_model_does_not_explain_is_named() -> None:
    """Heaters whose phase lags behind the curve that the data sheet gives them."""
    mesh = chip(4, msgspec.structs.replace(VOLTS, curve=(0.0, 0.0, 0.1653, 0.0, -1e-3)))
    found = by_outputs.identify(mesh, VOLTS, generator(2))
    assert not found.identified and found.readings == mesh.meter.state()["idle"]["core_calls"]


@pytest.mark.parametrize("db", (0.001, 0.05, 0.5))
def test_equal_loss_in_every_arm_is_a_factor_and_never_matters(db: float) -> None:
    mesh = chip(8, msgspec.structs.replace(NOISY, loss_db=db))
    found = by_outputs.identify(mesh, NOISY, generator(2))
    assert found.identified and programmed(mesh, NOISY, found) < 2e-3 * 10 ** (1.6 * db)
    power = -db / 10 * np.log(10) * 2 * 8
    assert abs(found.gain - power) < 0.02 + 0.02 * abs(power)


@pytest.mark.parametrize("unit", (1e-6, 0.02, 300.0))
def test_powers_may_be_read_in_any_unit(unit: float) -> None:
    one, other = chip(6), chip(6)
    read = other.forward
    other.forward = lambda x, readout="power": unit * read(x, readout)  # type: ignore[method-assign]
    known, found = (by_outputs.identify(it, NOISY, generator(2)) for it in (one, other))
    assert known.identified and found.identified
    np.testing.assert_allclose(found.bias, known.bias, atol=3e-3)
    assert abs(found.gain - known.gain - np.log(unit)) < 1e-3


@pytest.mark.parametrize("factor", (0.3, 3.0))
def test_noise_is_measured_whatever_the_data_sheet_says(factor: float) -> None:
    mesh = chip(6)
    believed = msgspec.structs.replace(NOISY, readout_noise=0.01 * factor)
    found = by_outputs.identify(mesh, believed, generator(2))
    assert found.identified and abs(found.noise * factor**2 - 1) < 6 * np.sqrt(2 / (3 * 36))
    pull = off(mesh, found.bias) / found.spread[: found.bias.size]
    assert 0.6 < np.sqrt(np.mean(pull**2)) < 1.6


def broken(modes: int, heaters: tuple[int, ...], stuck: bool) -> MeshChip:
    """A mesh whose `heaters` are dead or stuck, and no others."""
    mesh = chip(modes, msgspec.structs.replace(NOISY, **{"stuck" if stuck else "dead": 1e-6}))
    draws = mesh.oracle_fabrication()
    draws["heaters.noise_fate"][:] = 1.0
    draws["heaters.noise_fate"][0, list(heaters)] = -1.0 if not stuck else 0.0
    mesh.refabricate(draws)
    return mesh


@pytest.mark.parametrize(("heaters", "stuck"), [((2,), False), ((9,), False), ((4,), True), ((1, 11), False)])
def test_heaters_that_answer_to_nothing_are_found(heaters: tuple[int, ...], stuck: bool) -> None:
    mesh = broken(4, heaters, stuck)
    found = by_outputs.identify(mesh, NOISY, generator(3))
    assert found.identified and tuple(np.flatnonzero(found.dead)) == heaters
    assert found.readings == mesh.meter.state()["idle"]["core_calls"]


@pytest.mark.parametrize("modes", (3, 4, 5))
def test_what_no_output_power_shows_are_phases_of_rows_and_of_columns(modes: int) -> None:
    """The rank of the Jacobian by all biases: all of theta and phi are seen, but for the relative phases of inputs that
    are lit one at a time. The screen, N more biases, is never seen."""
    mesh, rng = Mesh("rectangular", modes), generator(6, modes)
    n = mesh.count
    driven, exact = rng.uniform(0, 6, (8, 2 * n)), np.zeros((6, n))
    together = rng.normal(size=(modes, 3 * modes)) + 1j * rng.normal(size=(modes, 3 * modes))
    for light, hidden in ((together, 0), (np.eye(modes), modes - 1)):
        slopes = [mesh_fit.follow(mesh, q, light, exact, 2, taps=False)[1].reshape(2 * n, -1) for q in driven]
        assert np.linalg.matrix_rank(np.concatenate(slopes, axis=1), tol=1e-3) == 2 * n - hidden


def test_meshes_that_no_twin_by_outputs_can_do() -> None:
    with pytest.raises(ChipError, match="are rectangular"):
        by_outputs.identify(MeshChip(Mesh("triangular", 4), NOISY, 1), NOISY, generator(1))
    with pytest.raises(ChipError, match="of two rails or more"):
        by_outputs.identify(MeshChip(Mesh("rectangular", 1), NOISY, 1), NOISY, generator(1))
    with pytest.raises(ChipError, match="needs the readout 'power'"):
        by_outputs.identify(MeshChip(Mesh("rectangular", 4), NOISY, 1, readouts=("field",)), NOISY, generator(1))
    weak = msgspec.structs.replace(NOISY, drive="voltage", v_max=4.0)
    with pytest.raises(ChipError, match="raise v_max"):
        by_outputs.identify(MeshChip(Mesh("rectangular", 4), weak, 1), weak, generator(1))
