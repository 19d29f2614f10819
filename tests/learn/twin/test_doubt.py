"""What twins say of their own errors: noise is measured, misfits are explained, limits hold, reading back agrees."""

from __future__ import annotations

from functools import partial

import msgspec
import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.chip.complex_core_chip import fabricated_as
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import command
from l2sim.learn.search import mapping
from l2sim.learn.twin import identify, least_squares, noise, program
from l2sim.learn.twin.fit import Drive, Probes
from l2sim.mesh.mesh import Mesh
from tests.doubles import PUBLISHED

NOISY = msgspec.structs.replace(PUBLISHED, readout_noise=0.01)


def programmed(
    real: Nonidealities, believed: Nonidealities, k: int = 6, cores: int = 24
) -> tuple[identify.Twin, program.Expected, program.Expected, np.ndarray]:
    """A chip identified and programmed by what is believed of it: twins, what is expected, before and after reading
    back, and the true errors (cores,)."""
    chip = fabricated_as(real, "quadrature")((cores, 1), Mesh("rectangular", k), real, seed=3)
    aim = mapping.target(chip, generator(5).normal(size=(cores * k, k)))
    known = identify.identify(chip, believed, partial(generator, 1))
    told, sigma, said = program.program(chip.mesh, Drive.of(believed), known, aim)
    command(chip, u=told, v=told)
    chip.set_sigma(sigma)
    after = program.read_back(chip, known, aim, sigma, said)
    weight = chip.oracle_weights().real
    true = ((weight - aim.weight) ** 2).sum(axis=(2, 3)) / (weight**2).sum(axis=(2, 3))
    return known, said, after, true.ravel()


@pytest.mark.parametrize("changes", (
    {}, {"readout_noise": 0.002}, {"readout_noise": 0.03}, {"crosstalk": 0.03}, {"gamma_std": 0.008},
    {"loss_db": 0.05}, {"splitter_error_std": 0.05},
))  # fmt: skip
def test_limits_hold_whatever_the_data_sheet_says(changes: dict[str, float]) -> None:
    """The chip departs from what is believed of it; what is known is true, and is not bought by saying nothing."""
    _, _, said, true = programmed(msgspec.structs.replace(NOISY, **changes), NOISY)
    sure, limit, median = said.known.ravel(), said.limit.ravel(), said.median.ravel()
    assert sure.mean() > 0.9
    assert (true < limit)[sure].mean() > 0.8
    assert (true[sure] < 2.0 * limit[sure]).mean() >= 0.95 and np.median(limit / median) < 3.0
    assert np.median(true) < 2e-3


def test_what_is_not_in_the_model_is_not_known() -> None:
    """Single-arm drive turns phases that nothing undoes."""
    _, _, said, true = programmed(msgspec.structs.replace(NOISY, single_arm=True), NOISY, cores=4)
    assert true.min() > 0.01 and not said.known.any()


def test_noise_is_measured_by_reading_again() -> None:
    """Whatever the data sheet says, and by its law."""
    rng, cores = generator(1), 200
    drive, sigma = rng.uniform(0, 6, (1, 5, 12)), np.ones((1, 5, 4))
    drive[:, 2:] = drive[:, 2:3]
    level = np.repeat(rng.uniform(-1, 1, (cores, 1, 4, 4)), 5, axis=1)
    for floor, relative in ((0.02, 0.0), (0.003, 0.05)):
        std = np.sqrt(floor**2 + (relative * level) ** 2)
        seen = level + std * rng.normal(size=level.shape)
        seen[:, 2] += 0.3  # the first reading may show what was commanded before
        seen[:, 4] *= 1.1  # and a laser may change
        found = noise.measured(Probes(drive, sigma, np.broadcast_to(np.eye(4), (5, 4, 4)), seen), NOISY)
        assert abs(found.floor / floor - 1.0) < 0.1 and abs(found.relative - relative) < 0.01
        assert found.differences == cores * 16
    once = Probes(drive[:, :2], sigma[:, :2], np.ones((2, 4, 4)), seen[:, :2])
    assert noise.measured(once, NOISY).differences == 0


def test_reading_back_unmasks_what_a_twin_does_not_know() -> None:
    """A core that somebody disturbed after it was identified looks well known until it is read."""
    k, cores = 6, 4
    chip = fabricated_as(NOISY, "quadrature")((cores, 1), Mesh("rectangular", k), NOISY, seed=3)
    aim = mapping.target(chip, generator(5).normal(size=(cores * k, k)))
    known = identify.identify(chip, NOISY, partial(generator, 1))
    known.bias[1, 3] += 0.5
    told, sigma, said = program.program(chip.mesh, Drive.of(NOISY), known, aim)
    command(chip, u=told, v=told)
    chip.set_sigma(sigma)
    before = chip.meter.state()["idle"]["evaluations"]
    after = program.read_back(chip, known, aim, sigma, said)
    assert chip.meter.state()["idle"]["evaluations"] - before == program.READINGS * cores
    assert said.known.all() and (after.known.ravel() == [True, False, True, True]).all()


def test_levenberg_and_marquardt_end_at_the_least_squares() -> None:
    """Many problems at once, with priors; what is fixed stays at none, and bounds are kept."""
    rng = generator(2)
    tables, wanted = rng.normal(size=(5, 8, 3)), rng.normal(size=(5, 8))

    def look(x: np.ndarray, some: np.ndarray) -> tuple[np.ndarray, least_squares.Normal]:
        j = tables[some]
        rest = wanted[some] - np.einsum("mri,mi->mr", j, x)
        made = np.einsum("mri,mrj->mij", j, j), np.einsum("mri,mr->mi", j, rest)
        return (rest**2).sum(axis=1), lambda which: (made[0][which], made[1][which])

    precision, centre = np.full((5, 3), 0.5), np.full((5, 3), 0.1)
    found = least_squares.minimise(look, np.zeros((5, 3)), precision, centre, 30, enough=1e-12)
    normal = np.einsum("mri,mrj->mij", tables, tables) + 0.5 * np.eye(3)
    down = np.einsum("mri,mr->mi", tables, wanted) + 0.05
    np.testing.assert_allclose(found.x, np.linalg.solve(normal, down[..., None])[..., 0], atol=1e-6)
    np.testing.assert_allclose(found.normal, normal)
    fixed = np.zeros((5, 3), bool)
    fixed[:, 1] = True
    start = np.zeros((5, 3))
    low = least_squares.minimise(look, start, precision, centre, 30, fixed=fixed, within=(-0.05, 0.05))
    assert not low.x[:, 1].any() and np.abs(low.x).max() <= 0.05
