"""Cores with theta and phi in every MZI: the light in them, and fused operations against the public path."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from scipy import stats

from l2sim.backend import generator
from l2sim.chip import grid
from l2sim.chip.complex_core_chip import ComplexChip, fabricated_as
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.meter import Meter
from l2sim.chip.nonidealities import PRESETS, WAVELENGTH_NM, Nonidealities
from l2sim.chip.protocol import Commands, Hardware, command
from l2sim.errors import ChipError
from l2sim.learn.search import calibrate, mapping, zeroth
from l2sim.mesh import thetaphi, unitary
from l2sim.mesh.mesh import KINDS, Mesh
from tests.chip.test_chip import counts
from tests.doubles import Sealed, random_commands
from tests.tolerances import TRAJECTORY

ALL = msgspec.structs.replace(
    PRESETS["silicon"], attenuators="published", splitter_error_std=0.05, splitter_chip_std=0.0, detuning_nm=3.0,
    loss_db=0.1, loss_db_std=0.05, crosstalk=0.02, stuck=0.02, dead=0.02, readout_noise=0.0, tap_noise=0.0,
)  # fmt: skip
MZIS = msgspec.structs.replace(ALL, attenuators="mzi", sigma_bias=0.4, splitter_chip_std=0.05, splitter_length=2.0)
"""The same with attenuators and signs as they are built, and splitters that are alike."""
IDEAL = Nonidealities(phi=True, exact_sigma=True)
READOUTS = ("quadrature", "field")


def chip_of(it: Nonidealities = ALL, shape: tuple[int, int] = (2, 3), k: int = 4, **options: Any) -> ComplexChip:
    chip = ComplexChip(shape, Mesh(options.pop("kind", "rectangular"), k), it, seed=1, **options)
    commands = random_commands(chip, generator(3))
    command(chip, u=commands, v=commands)
    chip.set_sigma(generator(4).uniform(0.2, 1.0, (*shape, k)))
    return chip


# -- light -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_matrix_is_that_of_a_mesh_with_these_splitters_and_arms(kind: str) -> None:
    chip = chip_of(kind=kind)
    mesh, state = chip.mesh, chip.state()[0]
    assert mesh.phi and mesh.count == 16
    for part in "uv":
        optics = {name: chip.oracle_fabrication()[f"{part}_optics.noise_{name}"] for name in ("splitters", "arms")}
        phases = mesh.gather(chip.oracle_phases(part)).reshape(6, -1) / (1.0 + 3.0 / WAVELENGTH_NM)
        for m in range(6):
            angles = (np.pi / 4 + 0.05 * optics["splitters"][m]) * (1.0 + 3.0 * chip.nonidealities.dispersion)
            loss = np.maximum(0.1 + 0.05 * optics["arms"][m], 0.0)
            settings = unitary.Settings(*(phases[m][at] for at in mesh.phases_of))
            wanted = unitary.matrix(mesh.mzis, settings, angles - np.pi / 4, 10.0 ** (-loss / 20.0))
            wanted = state[f"{part}.signs"][m][:, None] * wanted
            np.testing.assert_allclose(chip.oracle_matrix(part).reshape(6, 4, 4)[m], wanted, atol=1e-12)


def test_without_loss_meshes_are_unitary_and_always_reciprocal() -> None:
    chip = chip_of(msgspec.structs.replace(ALL, loss_db=0.0, loss_db_std=0.0))
    for part in "uv":
        u = chip.oracle_matrix(part)
        np.testing.assert_allclose(u @ u.conj().swapaxes(-1, -2), np.broadcast_to(np.eye(4), u.shape), atol=1e-12)
    chip, eye = chip_of(), np.broadcast_to(np.eye(4), (2, 3, 4, 4))
    there, back = (probe(eye, readout="field") for probe in (chip.forward, chip.backward))
    np.testing.assert_allclose(there, back.swapaxes(-1, -2), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_an_ideal_core_shows_its_weight_as_a_real_core_does(kind: str) -> None:
    weight = generator(5).normal(size=(8, 9))
    seen = []
    for it, cls in ((IDEAL, ComplexChip), (Nonidealities(exact_sigma=True), CoreChip)):
        chip = cls((2, 3), Mesh(kind, 4), it, seed=1)
        mapping.deploy(chip, mapping.target(chip, weight))
        seen.append(grid.product(chip, np.eye(12)))
        if cls is ComplexChip:
            assert np.abs(chip.oracle_weights().imag).max() < 1e-12, "no light is lost to the other quadrature"
    np.testing.assert_allclose(seen[0], np.pad(weight, ((0, 0), (0, 3))), atol=1e-12)
    np.testing.assert_allclose(*seen, atol=1e-12)


def test_the_chip_has_the_heaters_that_its_sheet_says() -> None:
    assert not ALL.real and fabricated_as(ALL, "quadrature") is ComplexChip
    assert ComplexChip((1, 1), Mesh("rectangular", 4, phi=True), ALL, seed=1).mesh == chip_of().mesh
    with pytest.raises(ChipError, match="fabricate another one"):
        ComplexChip((1, 1), Mesh("rectangular", 4, phi=True), Nonidealities(), seed=1)
    chip = chip_of()
    with pytest.raises(ChipError, match="fabricate another one"):
        chip.nonidealities = msgspec.structs.replace(ALL, phi=False)
    chip.nonidealities = msgspec.structs.replace(ALL, crosstalk=0.0)
    with pytest.raises(ChipError, match="make cores complex"):
        CoreChip((1, 1), Mesh("rectangular", 4), IDEAL, seed=1)
    assert not ComplexChip((1, 1), Mesh("rectangular", 4), PRESETS["silicon-push-pull"], seed=1).fuses("quadrature")
    assert chip.fuses("field") and not chip.fuses("power")
    drifting = chip_of(msgspec.structs.replace(ALL, reference_phase_std=0.1))
    assert not drifting.fuses("quadrature")


def test_presets() -> None:
    silicon, before, lab = PRESETS["silicon"], PRESETS["silicon-push-pull"], PRESETS["silicon-lab"]
    assert silicon.phi and silicon.phase_bits == 8 and lab == msgspec.structs.replace(silicon, phase_bits=14)
    assert not before.phi and before.splitter_error_std == 0.02 and not before.splitter_chip_std
    same = ("curve", "v_max", "phase_bias", "gamma_std", "crosstalk", "loss_db", "loss_db_std", "readout_noise")
    assert all(getattr(silicon, name) == getattr(before, name) for name in same)


# -- fused operations --------------------------------------------------------------------------------------------------


def pair(kind: str = "rectangular", **options: Any) -> list[tuple[ComplexChip, Hardware]]:
    """Two equal chips, and what is asked of them: all, and the public path only."""
    chips = [chip_of(kind=kind, meter=Meter(), **options) for _ in range(2)]
    return [(chips[0], chips[0]), (chips[1], Sealed(chips[1]))]


def same(chips: list[tuple[ComplexChip, Hardware]]) -> None:
    """Both are in the same state, and have cost the same."""
    (a, _), (b, _) = chips
    for name, values in a.state()[0].items():
        np.testing.assert_allclose(values, b.state()[0][name], atol=TRAJECTORY)
    ours, theirs = (counts(chip) for chip in (a, b))
    waits = [cost.pop("settled", 0) for cost in (ours, theirs)]  # fused descent waits also where no core had to move
    assert ours == theirs and waits[0] >= waits[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("order, it", (("published", ALL), ("layer", ALL), ("published", MZIS)))
def test_descents_are_those_of_single_probes(kind: str, readout: str, order: str, it: Nonidealities) -> None:
    results = []
    both = pair(kind, it=it)
    for _, hardware in both:
        search = zeroth.Search("zcd", order=order, shuffle=True)
        task = calibrate.problem(hardware, readout)
        state = zeroth.start(task, search, calibrate.zero_phases(hardware))
        zeroth.zcd(task, search, state, generator(1, "a"))
        zeroth.ztp(task, search, state, generator(1, "b"))
        aim = mapping.target(hardware, generator(2).normal(size=(7, 10)))  # cores of padding, too
        task = mapping.problem(hardware, aim, readout)
        rest = calibrate.pseudo_identities(hardware, state)
        mapped = zeroth.start(task, search, mapping.start_phases(aim, rest))
        zeroth.zcd(task, search, mapped, generator(1, "c"))
        found = mapping.project(hardware, aim, Commands(mapped.phases(), aim.commands.signs), rest, readout)
        results.append((*state.arrays().values(), *mapped.arrays().values(), found))
    for ours, theirs in zip(*results):
        np.testing.assert_allclose(ours, theirs, atol=1e-9)
    same(both)


def test_descents_of_many_cores_do_not_depend_on_who_stands_beside() -> None:
    search, ends = zeroth.Search("zcd"), []
    for shape in ((1, 37), (1, 5)):
        chip = ComplexChip(shape, Mesh("rectangular", 5), msgspec.structs.replace(IDEAL, crosstalk=0.01), seed=1)
        task = calibrate.problem(chip)
        start = {part: generator(7, part).uniform(0, 7, (1, 37, 11, 5))[:, : shape[1]] for part in "uv"}
        state = zeroth.start(task, search, start)
        zeroth.zcd(task, search, state, generator(1))
        ends.append(state.loss[0, :5])
    np.testing.assert_array_equal(*ends)


def test_products_and_gradients_are_those_of_single_probes() -> None:
    rng, both = generator(6), pair()
    x, dy = rng.normal(size=(12, 7)), rng.normal(size=(8, 7))
    cores, vectors = rng.random((2, 3)) < 0.6, rng.random((3, 7)) < 0.7
    mapped, rest = (random_commands(both[0][0], rng) for _ in range(2))
    sigma = rng.normal(size=(2, 3, 4))
    results = []
    for chip, hardware in both:
        command(chip, u=mapped, v=mapped)
        chip.set_sigma(sigma)
        results.append([
            grid.product(hardware, x), grid.product(hardware, x, cores, 5), grid.product_back(hardware, dy),
            grid.product_back(hardware, dy, cores),
            *(grid.sigma_gradient(hardware, x, dy, mapped, rest, sigma, r) for r in READOUTS),
            grid.sigma_gradient(hardware, x, dy, mapped, rest, sigma, vectors=vectors),
        ])  # fmt: skip
    for ours, theirs in zip(*results):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)
    np.testing.assert_array_equal(results[0][4], results[0][5])
    same(both)


def test_the_gradient_is_the_derivative_whatever_phases_the_resting_meshes_give() -> None:
    chip, rng = chip_of(IDEAL), generator(8)
    shape, k, mesh = chip.shape, 4, chip.mesh
    gauge = np.exp(1j * rng.uniform(0, 7, (*shape, k)))
    ones = {part: np.ones((*shape, k)) for part in "uv"}
    still = {"u": gauge, "v": np.conj(gauge)}
    rest = Commands(
        {part: thetaphi.decompose(mesh, a[..., None] * np.eye(k)) for part, a in still.items()}, ones
    )
    aim = mapping.target(chip, rng.normal(size=(8, 12)))
    u = thetaphi.decompose(mesh, thetaphi.matrix(mesh, aim.commands.phases["u"]) * gauge.conj()[..., None, :])
    v = thetaphi.decompose(mesh, gauge[..., None] * thetaphi.matrix(mesh, aim.commands.phases["v"]))
    x, dy, sigma = rng.normal(size=(12, 5)), rng.normal(size=(8, 5)), rng.normal(size=(2, 3, 4))
    mapped = Commands({"u": u, "v": v}, ones)
    command(chip, u=mapped, v=mapped)
    measured = grid.sigma_gradient(chip, x, dy, mapped, rest, sigma)

    def objective(values: np.ndarray) -> float:
        chip.set_sigma(values)
        return float((dy * grid.product(chip, x)).sum())

    step = 1e-4
    for at in np.ndindex(*sigma.shape):
        one = np.zeros_like(sigma)
        one[at] = step
        slope = (objective(sigma + one) - objective(sigma - one)) / (2 * step)
        assert measured[at] == pytest.approx(slope, abs=1e-7)


def test_sigma_by_least_squares_is_the_best_there_is() -> None:
    chip = chip_of(msgspec.structs.replace(ALL, exact_sigma=True))
    aim = mapping.target(chip, generator(9).normal(size=(7, 10)))
    mapped = Commands({part: aim.commands.phases[part] for part in "uv"}, aim.commands.signs)
    sigma = mapping.project(chip, aim, mapped, mapped)
    assert aim.outputs is not None and aim.inputs is not None
    there = aim.outputs[..., :, None] * aim.inputs[..., None, :]
    shown = np.einsum("pqai,pqib->pqiab", chip.oracle_matrix("u"), chip.oracle_matrix("v")).real * there[:, :, None]
    for at in np.ndindex(2, 3):
        rows, wanted = shown[at].reshape(4, -1).T, (aim.weight * there)[at].ravel()
        best = rows @ np.linalg.lstsq(rows, wanted, rcond=None)[0] - wanted
        assert np.linalg.norm(rows @ sigma[at] - wanted) <= 1.02 * np.linalg.norm(best) + 1e-6


@pytest.mark.parametrize("readout", ("quadrature", "power"))
def test_searches_amplify_what_is_lost(readout: str) -> None:
    chip = chip_of(msgspec.structs.replace(ALL, exact_sigma=True))
    probe = np.geomspace(0.2, 1.0, 4)
    calibrate.problem(chip, readout, probe)
    seen = np.abs(chip.oracle_weights()) ** 2
    np.testing.assert_allclose(seen.sum(axis=(-1, -2)), (probe**2).sum(), rtol=1e-12)
    gained = chip.state()[0]["sigma.commanded"]
    assert (gained > 1.05 * probe).all()
    calibrate.problem(chip, readout, probe, fresh=False)
    np.testing.assert_array_equal(chip.state()[0]["sigma.commanded"], gained)
    aim = mapping.target(chip, generator(2).normal(size=(8, 12)))
    mapping.problem(chip, aim, readout)
    seen = np.abs(chip.oracle_weights()) ** 2
    np.testing.assert_allclose(seen.sum(axis=(-1, -2)), (aim.sigma**2).sum(axis=-1), rtol=1e-12)


# -- noise -------------------------------------------------------------------------------------------------------------

NOISY = msgspec.structs.replace(IDEAL, readout_noise=0.05, phase_bits=8)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("part", ("u", "v"))
@pytest.mark.parametrize("even", (True, False))
def test_noise_of_descents_has_the_law_of_single_readings(readout: str, part: str, even: bool) -> None:
    """The last losses of an epoch of ternary probing that visits one heater, of many cores that are alike."""
    losses = []
    for sealed in (False, True):
        chip = ComplexChip((1, 3000), Mesh("rectangular", 3), NOISY, seed=1)
        hardware: Any = Sealed(chip) if sealed else chip
        rng = generator(10)
        phases = {p: np.repeat(rng.uniform(0, 7, (1, 1, *chip.mesh.shape)), 3000, axis=1) for p in "uv"}
        task = calibrate.problem(hardware, readout, np.ones(3) if even else np.geomspace(0.2, 1.0, 3))
        search = zeroth.Search("zcd", lr=0.3)
        state = zeroth.start(task, search, phases)
        zeroth.descend("zcd", task, state, part, np.array([3, 7]))
        losses.append(state.loss.ravel())
    assert stats.ks_2samp(*losses).pvalue > 1e-3


def test_noise_of_gradients_has_the_law_of_single_readings() -> None:
    rng = generator(11)
    x, dy = rng.normal(size=(6, 5)), rng.normal(size=(3, 5))
    drawn = []
    for sealed in (False, True):
        chip = chip_of(msgspec.structs.replace(NOISY, readout_noise=0.2), shape=(1, 2), k=3)
        hardware: Any = Sealed(chip) if sealed else chip
        mapped, rest = (random_commands(chip, generator(12, name)) for name in ("mapped", "rest"))
        sigma = np.ones((1, 2, 3))
        command(chip, u=mapped, v=mapped)
        chip.set_sigma(sigma)
        drawn.append([grid.sigma_gradient(hardware, x, dy, mapped, rest, sigma).ravel() for _ in range(1500)])
    for ours, theirs in zip(np.transpose(drawn[0]), np.transpose(drawn[1])):
        assert stats.ks_2samp(ours, theirs).pvalue > 1e-4


# -- keeping -----------------------------------------------------------------------------------------------------------


def test_checkpoints_and_recordings() -> None:
    chip, other = chip_of(PRESETS["silicon"]), ComplexChip((2, 3), Mesh("rectangular", 4), PRESETS["silicon"], seed=1)
    other.restore(*chip.state())
    eye = np.broadcast_to(np.eye(4), (2, 3, 4, 4))
    np.testing.assert_array_equal(chip.forward(eye), other.forward(eye))
    other = ComplexChip((2, 3), Mesh("rectangular", 4), PRESETS["silicon"], seed=2)
    other.refabricate(chip.oracle_fabrication())
    other.restore(*chip.state())
    np.testing.assert_array_equal(chip.oracle_weights(), other.oracle_weights())
