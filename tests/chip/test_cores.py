"""Complex tensor cores: the one MZI of both flows, readings of complex amplitudes, and the L2ight flow on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from l2sim.backend import generator, kernels
from l2sim.chip import grid
from l2sim.chip.complex_core_chip import ComplexChip, fabricated_as
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.nonidealities import PRESETS, Nonidealities
from l2sim.chip.protocol import Hardware, command, lacks
from l2sim.chip.recorded import Recorder, Replay
from l2sim.errors import ChipError
from l2sim.job.job import Job
from l2sim.learn.search import calibrate, mapping, zeroth
from l2sim.learn.search.zeroth import Search
from l2sim.mesh.mesh import KINDS, Mesh
from tests.doubles import PUBLISHED, Sealed, random_commands
from tests.tolerances import DTYPES, TRAJECTORY, kernel

HARD = msgspec.structs.replace(PUBLISHED, splitter_error_std=0.05, loss_db=0.1, loss_db_std=0.05)


def chip_of(it: Nonidealities = HARD, shape: tuple[int, int] = (1, 2), k: int = 4, **options: Any) -> ComplexChip:
    chip = ComplexChip(shape, Mesh(options.pop("kind", "rectangular"), k), it, seed=1, **options)
    commands = random_commands(chip, generator(3))
    command(chip, u=commands, v=commands)
    chip.set_sigma(generator(4).uniform(0.2, 1.0, (*shape, k)))
    return chip


def bare(**changes: Any) -> Nonidealities:
    return Nonidealities(exact_sigma=True, **changes)


def mzi(phase: float, errors: tuple[float, float], arms: tuple[float, float], single: bool) -> np.ndarray:
    """T = -i D(er) diag(a0 e^{ia}, a1 e^{-ia}) D(el) diag(1, -1), a = pi/2 - phi, as design.md writes it."""
    a = np.pi / 2 - phase
    left, right = (kernels.reference.coupler(e) for e in errors)
    both = (2j * a, 0.0) if single else (1j * a, -1j * a)
    return -1j * right @ np.diag(arms * np.exp(both)) @ left @ np.diag([1, -1])


# -- the MZI -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("single", (False, True))
def test_one_mzi(single: bool) -> None:
    rng = generator(1)
    for _ in range(20):
        phase, errors, arms = rng.uniform(-7, 7), tuple(rng.normal(0, 0.1, 2)), tuple(rng.uniform(0.5, 1, 2))
        angles = np.pi / 4 + np.array(errors)
        splitters = np.array([np.cos(angles[0]), np.sin(angles[0]), np.cos(angles[1]), np.sin(angles[1])])
        out = np.empty((1, 2, 2), complex)
        kernels.cores.matrices(
            np.array([[phase]]), splitters[None, :, None], np.array(arms)[None, :, None], single, np.ones((1, 2)),
            np.array([0]), out,
        )  # fmt: skip
        np.testing.assert_allclose(out[0], mzi(phase, errors, arms, single), rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", (2, 5, 9))
def test_without_errors_a_complex_chip_is_the_real_one(kind: str, dtype: type, k: int) -> None:
    complex_chip = chip_of(PUBLISHED, k=k, kind=kind, dtype=dtype)
    real = CoreChip((1, 2), Mesh(kind, k), PUBLISHED, seed=1, dtype=dtype)
    commands = random_commands(real, generator(3))
    command(real, u=commands, v=commands)
    real.set_sigma(generator(4).uniform(0.2, 1.0, (1, 2, k)))
    x = generator(5).normal(size=(1, 2, k, 7))
    for readout in ("quadrature", "power"):
        for way in ("forward", "backward"):
            found, wanted = (getattr(chip, way)(x, readout=readout) for chip in (complex_chip, real))
            assert found.dtype == wanted.dtype
            np.testing.assert_allclose(found, wanted, rtol=0, atol=40 * kernel(dtype, k))
    assert np.abs(complex_chip.forward(x, readout="field").imag).max() < 40 * kernel(dtype, k)
    assert complex_chip.meter.state()["idle"]["writes"] == real.meter.state()["idle"]["writes"]


def test_push_pull_and_single_arm_differ_by_a_phase_of_each_mzi() -> None:
    chips = [chip_of(bare(single_arm=single), k=2) for single in (False, True)]
    u = [chip.oracle_matrix("u") for chip in chips]
    np.testing.assert_allclose(np.abs(u[1]), np.abs(u[0]), atol=1e-12)
    turned = np.angle(u[1][0, 0, 0, 0] / u[0][0, 0, 0, 0])
    np.testing.assert_allclose(u[1][0, 0], u[0][0, 0] * np.exp(1j * turned), atol=1e-12)
    wide = chip_of(bare(single_arm=True), k=4).oracle_matrix("u")
    assert np.abs(wide.imag).max() > 0.1
    np.testing.assert_allclose(wide @ wide.conj().swapaxes(-1, -2), np.broadcast_to(np.eye(4), wide.shape), atol=1e-12)


def test_splitter_errors_keep_energy_and_loss_takes_it() -> None:
    u = chip_of(bare(splitter_error_std=0.1)).oracle_matrix("u")
    np.testing.assert_allclose(u @ u.conj().swapaxes(-1, -2), np.broadcast_to(np.eye(4), u.shape), atol=1e-12)
    assert np.abs(u.imag).max() > 0.01
    lossy = chip_of(bare(loss_db=0.5)).oracle_matrix("u")
    np.testing.assert_allclose(np.linalg.norm(lossy, axis=(-1, -2)) < 2 * 10 ** (-0.5 / 20), True)


# -- readings ----------------------------------------------------------------------------------------------------------


def test_readouts_of_a_complex_amplitude() -> None:
    chip, x = chip_of(), generator(5).normal(size=(1, 2, 4, 6))
    y = chip.forward(x, readout="field")
    np.testing.assert_allclose(y, chip.oracle_weights() @ x, atol=1e-13)
    np.testing.assert_allclose(chip.forward(x), y.real, atol=1e-13)
    np.testing.assert_allclose(chip.forward(x, readout="power"), np.abs(y) ** 2, atol=1e-13)
    back = chip.oracle_weights().swapaxes(-1, -2) @ x
    np.testing.assert_allclose(chip.backward(x, readout="field"), back, atol=1e-13)
    np.testing.assert_allclose(chip.forward(1j * x), -y.imag, atol=1e-13)
    mask = np.array([[True, False]])
    assert not chip.forward(x, cores=mask)[0, 1].any()
    assert chip.meter.state()["idle"]["core_calls"] == 5 * 12 + 6


@pytest.mark.parametrize("readout", ("quadrature", "field", "power"))
def test_noise_of_a_reading(readout: str) -> None:
    it = msgspec.structs.replace(bare(splitter_error_std=0.05), readout_noise=0.02)
    chip, quiet = chip_of(it, shape=(1, 1)), chip_of(bare(splitter_error_std=0.05), shape=(1, 1))
    x = np.repeat(generator(5).normal(size=(1, 1, 4, 1)), 4000, axis=3)
    gain = np.abs(generator(4).uniform(0.2, 1.0, (1, 1, 4))).max()
    off = chip.forward(x, readout=readout) - quiet.forward(x, readout=readout)
    wanted = 0.02 * gain * (gain if readout == "power" else 1.0)
    for part in (off.real, off.imag) if readout == "field" else (off,):
        np.testing.assert_allclose(part.std(axis=-1), wanted, rtol=0.06)
        assert np.abs(part.mean()) < 0.1 * wanted


def test_the_reference_turns_all_of_a_vector() -> None:
    chip = chip_of(bare(reference_phase_std=0.3))
    x = generator(5).normal(size=(1, 2, 4, 50))
    turned = np.angle(chip.forward(x, readout="field") / (chip.oracle_weights() @ x))
    assert np.ptp(turned, axis=2).max() < 1e-9 and 0.2 < turned.std() < 0.4


def test_fused_operations_are_not_offered() -> None:
    chip = chip_of()
    assert not grid.fused(chip, "product") and lacks(chip) == []
    light, rest = np.ones((8, 1)), random_commands(chip, generator(1))
    asked: dict[str, tuple[Any, ...]] = {
        "descend": ("u",), "product": (light,), "product_back": (light[:4], None),
        "sigma_gradient": (light, light[:4], rest),
    }  # fmt: skip
    for name, arguments in asked.items():
        with pytest.raises(ChipError, match="no fused operations"):
            getattr(chip, name)(*arguments)


def test_refusals() -> None:
    with pytest.raises(ChipError, match="make cores complex"):
        CoreChip((1, 1), Mesh("rectangular", 4), PRESETS["silicon-push-pull"], seed=1)
    with pytest.raises(ChipError, match="without inner_signs"):
        ComplexChip((1, 1), Mesh("rectangular", 4, inner_signs=True), HARD, seed=1)
    with pytest.raises(ChipError, match="no 'tap_power' readout"):
        chip_of().forward(np.ones((1, 2, 4, 1)), readout="tap_power")
    with pytest.raises(ChipError, match="does not fit this chip"):
        chip_of().forward(np.ones((2, 2, 4, 1)))
    assert fabricated_as(PUBLISHED, "quadrature") is CoreChip
    assert fabricated_as(PUBLISHED, "field") is fabricated_as(HARD, "power") is ComplexChip


# -- the flow on complex cores -----------------------------------------------------------------------------------------


def flow(chip: Hardware, readout: str, noise: bool = False) -> dict[str, np.ndarray]:
    """Calibrate, map, project and measure a gradient, by the public path."""
    task, how = calibrate.problem(chip, readout), Search("zcd", lr=0.3, shuffle=True)
    state = zeroth.start(task, how, calibrate.zero_phases(chip))
    for epoch in range(2):
        zeroth.METHODS["zcd"](task, how, state, generator(1, epoch))
    rest = calibrate.pseudo_identities(chip, state)
    (p, q), k = chip.shape, chip.mesh.modes
    aim = mapping.target(chip, generator(2).normal(size=(p * k, q * k)))
    task = mapping.problem(chip, aim, readout)
    mapped = type(rest)(mapping.start_phases(aim, rest), aim.commands.signs)
    command(chip, u=mapped, v=mapped)
    sigma = mapping.project(chip, aim, mapped, rest, readout)
    x, dy = generator(6).normal(size=(q * k, 5)), generator(7).normal(size=(p * k, 5))
    gradient = grid.sigma_gradient(chip, x, dy, mapped, rest, sigma, readout)
    return {"best": state.best, "loss": task.loss(), "sigma": sigma, "gradient": gradient, "y": grid.product(chip, x)}


@pytest.mark.parametrize("readout", ("quadrature", "field"))
def test_hidden_state_is_not_needed_and_a_recording_can_be_replayed(readout: str, tmp_path: Path) -> None:
    def fresh(noise: float) -> ComplexChip:
        it = msgspec.structs.replace(PRESETS["silicon-push-pull"], readout_noise=noise)
        return ComplexChip((1, 2), Mesh("rectangular", 3), it, seed=1)

    plain, sealed = flow(fresh(0.0), readout), flow(Sealed(fresh(0.0)), readout)
    for name, wanted in plain.items():
        np.testing.assert_allclose(sealed[name], wanted, rtol=0, atol=TRAJECTORY, err_msg=name)
        assert np.isrealobj(wanted)
    recorder = Recorder(Sealed(fresh(0.01)))
    noisy = flow(recorder, readout)
    recorder.save(tmp_path / "chip.npz")
    replayed = flow(Replay.load(tmp_path / "chip.npz"), readout)
    assert all(np.array_equal(replayed[name], noisy[name]) for name in noisy)


def test_the_gradient_of_sigma_needs_the_field() -> None:
    """Through exact pseudo-identities I = 1: dL/dsigma_i = Re sum (U' dy)_i (V x)_i."""
    chip = ComplexChip((1, 1), Mesh("rectangular", 3), bare(single_arm=True), seed=1)
    phases = np.full((1, 1, *chip.mesh.shape), 0.0)
    still = random_commands(chip, generator(8))
    rest = type(still)({part: phases for part in "uv"}, {part: np.ones((1, 1, 3)) for part in "uv"})
    command(chip, u=rest, v=rest)
    identities = {part: chip.oracle_matrix(part)[0, 0] for part in "uv"}
    x, dy = generator(6).normal(size=(3, 5)), generator(7).normal(size=(3, 5))
    sigma = np.ones((1, 1, 3))
    command(chip, u=still, v=still)
    u, v = chip.oracle_matrix("u")[0, 0], chip.oracle_matrix("v")[0, 0]
    found = grid.sigma_gradient(chip, x, dy, still, rest, sigma, "field")[0, 0]
    wanted = ((identities["v"].T @ u.T @ dy) * (identities["u"] @ v @ x)).real.sum(axis=1)
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_a_job_takes_silicon() -> None:
    job = Job.preset("digits", {"nonidealities.base": "silicon", "chip.readout": "field"})
    assert job.nonidealities.base == "silicon" and job.chip.readout == "field"
    it = PRESETS["silicon"]
    assert it.phase_of(np.array(it.v_max)) > 2 * np.pi, "every phase can be driven"
    assert not it.real and it.phase_bias == np.pi and not it.heat_wraps
