"""The general model of a core: it is the chip's, and its derivatives are those of what it reads."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from l2sim.backend import generator, kernels
from l2sim.chip.complex_core_chip import ComplexChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.learn.twin import attenuators, identify, model, wide
from l2sim.learn.twin.fit import Drive
from l2sim.learn.twin.noise import Noise
from l2sim.mesh.mesh import Mesh
from tests.doubles import PUBLISHED

reference = kernels.reference


def core(power: bool, k: int = 4, settings: int = 5) -> model.Core:
    """A core with settings, light and noise at random."""
    mesh, rng = Mesh("rectangular", k), generator(1, "core")
    shape = settings, k, k + 1
    seen = model.Seen(
        rng.uniform(0.5, 5.5, (settings, 2 * mesh.count)), rng.uniform(0.4, 2.6, (settings, k)),
        rng.uniform(0.5, 1.0, settings), rng.normal(size=shape), rng.normal(size=shape),
        rng.uniform(0.5, 2.0, shape), power, np.maximum(np.arange(settings) - 1, 0),
    )  # fmt: skip
    return model.Core(mesh, Drive(np.empty(0), False), seen)


def unknowns(it: model.Core) -> np.ndarray:
    """All unknowns at random, about as large as their priors say."""
    precision, centre = model.held(it.mesh, it.drive, PUBLISHED, len(it.seen.q))
    x = centre + generator(2, "x").normal(size=len(centre)) * np.minimum(precision**-0.5, 0.2)
    x[it.layout["lag"]] = x[it.layout["die"]] = 0.0
    return x


@pytest.mark.parametrize("power", (False, True))
def test_derivatives_are_those_of_what_is_read(power: bool) -> None:
    """Against central differences, by every unknown. What lag and the die add to the derivatives by heat is left
    out, so there is neither here."""
    it = core(power)
    x, groups = unknowns(it), tuple(name for name in it.layout if name != "unsteady")
    rest, rows = it.linear(x, groups)
    np.testing.assert_allclose(rest, ((it.seen.read - it.answer(x)) / it.seen.std).ravel(), atol=1e-5)
    for place, row in zip(it.layout.indices(groups), rows):
        step = np.zeros_like(x)
        step[place] = 2e-3
        near = [it.answer(x + s * step) for s in (1.0, -1.0)]
        wanted = (near[0] - near[1]) / 4e-3 / it.seen.std
        np.testing.assert_allclose(row, wanted.ravel(), atol=1e-2 * max(1.0, np.abs(wanted).max()))


def test_a_normal_matrix_is_that_of_its_rows() -> None:
    rows = generator(3).normal(size=(7, 40)).astype(np.float32)
    np.testing.assert_allclose(model.gram(rows), rows.astype(float) @ rows.T.astype(float), rtol=1e-5, atol=1e-4)
    table = model.gram(rows) + np.eye(7)
    np.testing.assert_allclose(model.inverse(table) @ table, np.eye(7), atol=1e-5)


def test_the_model_with_nothing_on_is_a_product_of_rotations() -> None:
    it = core(False)
    x = model.held(it.mesh, it.drive, PUBLISHED, len(it.seen.q))[1]
    n, mask = it.mesh.count, it.mesh.mask
    for t, q in enumerate(it.seen.q):
        u, v = (reference.matrix(it.mesh.scatter(half), mask) for half in (q[:n], q[n:]))
        share = it.seen.gain[t] * np.cos(it.seen.alpha[t])
        np.testing.assert_allclose(it.answer(x)[t], u @ (share[:, None] * v) @ it.seen.light[t], atol=1e-5)


@pytest.mark.parametrize("changes", (
    {}, {"splitter_error_std": 0.05, "loss_db": 0.1, "loss_db_std": 0.05}, {"crosstalk": 0.03, "heat_wraps": False},
))  # fmt: skip
def test_a_model_that_knows_everything_reads_as_the_chip(changes: dict[str, float]) -> None:
    sheet = msgspec.structs.replace(PUBLISHED, exact_sigma=True, **changes)
    mesh = Mesh("rectangular", 5)
    chip = ComplexChip((1, 1), mesh, sheet, seed=1)
    drive, known = Drive.of(sheet), identify.blank(1, mesh)
    probes = identify.measure(chip, *identify.draw(drive, mesh, 4, generator(2)))
    known.bias = np.concatenate([chip.oracle_biases(part) for part in "uv"], axis=1)
    known.ratio = np.concatenate([chip._chain[part][0] for part in "uv"], axis=1)
    known.crosstalk[:] = sheet.crosstalk
    for part, name in enumerate("uv"):
        chip._matrix(name)
        splitters, arms = chip._scaled[1][name]
        known.passive[0, part, :2] = np.arctan2(splitters[0, 1::2], splitters[0, ::2]) - np.pi / 4
        known.passive[0, part, 2:] = np.log(arms[0])
    it = wide.of_probes(mesh, drive, probes, Noise(1.0, 0.0, 1.0, 0))
    np.testing.assert_allclose(it.answer(wide.begun(it, known, 0)), probes.seen[0], atol=2e-5)


def test_neighbours_are_at_one_pitch_and_all_others_farther() -> None:
    for k in (3, 4, 9):
        mesh = Mesh("rectangular", k)
        ways, n = model.ways(mesh), mesh.count
        beside = np.zeros((n, n), bool)
        for h, row in enumerate(mesh.around):
            beside[h, row[row >= 0]] = True
        np.testing.assert_array_equal(ways.near[:n, :n] > 0.0, beside)
        assert not ways.near[:n, n:].any() and not ways.reach[:, :n, n:].any()
        assert not np.diagonal(ways.reach, axis1=1, axis2=2).any()


@pytest.mark.parametrize("bits", (0, 8, 5))
def test_attenuators_are_commanded_to_let_through_what_is_wanted(bits: int) -> None:
    drive = Drive.of(Nonidealities(phase_bits=bits))
    rng = generator(5)
    known = np.stack((rng.uniform(-0.3, 0.3, (20, 6)), rng.normal(1.0, 0.01, (20, 6))), axis=1)
    wanted = rng.normal(size=(20, 6))
    wanted[0] = 0.0
    sigma = attenuators.command(drive, known, wanted)
    got = attenuators.shares(drive, known, sigma[:, None])[:, 0]
    coarse = np.abs(wanted).max(axis=1) * (0.5 * np.pi / (2**bits - 1) if bits else 1e-9)
    # Beside the shares that a biased heater does not reach any more, within half a level of what it should be.
    off = np.abs(got - wanted)
    assert np.median(off / (coarse[:, None] + 1e-12), axis=1)[1:].max() < 1.05 and not got[0].any()
