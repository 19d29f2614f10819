"""The fast fit of twins beside the slow one: the same normal matrix, gradient, minimum and uncertainty."""

from __future__ import annotations

from functools import partial

import msgspec
import numpy as np
import pytest

from l2sim.backend import generator, kernels
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.nonidealities import PRESETS
from l2sim.learn.twin import fit, identify
from l2sim.mesh.mesh import Mesh
from tests.doubles import PUBLISHED

LANES = kernels.twin_fit.LANES


@pytest.mark.parametrize("modes", (2, 5, 8))
@pytest.mark.parametrize("wraps", (True, False))
def test_normal_matrix_and_gradient_are_those_of_the_derivatives(modes: int, wraps: bool) -> None:
    rng, mesh, settings = np.random.default_rng(modes), Mesh("rectangular", modes), 19
    n, size = mesh.count, 4 * mesh.count + 1
    drive, sigma = rng.uniform(0, 7, (1, settings, 2 * n)), rng.choice([-1.0, 1.0], (1, settings, modes))
    x = np.concatenate((rng.normal(size=2 * n), rng.normal(1.0, 0.02, 2 * n), [0.005]))
    seen = rng.normal(size=(1, settings, modes, modes)).astype(np.float32)
    light = np.broadcast_to(np.eye(modes, dtype=np.float32), seen.shape[1:]).copy()
    slow = np.empty((1, size, size)), np.empty((1, size)), np.empty(1)
    kernels.twin.normal(
        drive, sigma, light, seen, False, x[None, 2 * n : -1].copy(), x[None, : 2 * n].copy(), x[-1:], mesh.around,
        wraps, mesh.rail, *slow,
    )  # fmt: skip
    lanes = -(-settings // LANES) * LANES
    q, signs, weight = (np.zeros((rows, lanes), np.float32) for rows in (2 * n, modes, 1))
    q[:, :settings], signs[:, :settings], weight[0, :settings] = drive[0].T, sigma[0].T, 2.0
    signs[:, settings:] = 1.0
    tables = kernels.lanes.room(4 * n, lanes // kernels.lanes.width(seen), seen).reshape(2 * n, 2, lanes)
    leak, slope = np.empty((2, 2 * n, lanes), np.float32)
    field, back, wanted = np.zeros((3, modes, modes, lanes), np.float32)
    wanted[..., :settings] = seen[0].transpose(1, 2, 0)
    down, full = np.empty(size), np.empty((size, size))
    wrong = kernels.twin_fit.evaluate(
        x, q, signs, weight[0], mesh.around, wraps, mesh.rail, tables, leak, field, wanted, back, slope, down
    )
    kernels.twin_fit.matrix(q, signs, weight[0], mesh.first, mesh.rail, tables, leak, field, full)
    assert wrong == pytest.approx(slow[2][0], rel=1e-5)
    np.testing.assert_allclose(down, slow[1][0], atol=1e-4 * np.abs(slow[1]).max())
    np.testing.assert_allclose(np.tril(full), np.tril(slow[0][0]), atol=1e-5 * np.abs(slow[0]).max())


def test_factor_solution_and_inverse() -> None:
    rng = np.random.default_rng(0)
    half = rng.normal(size=(21, 20))
    full, prior = half.T @ half, rng.uniform(1.0, 2.0, 20)
    root, room, out, right = np.zeros((20, 20)), np.empty((20, 20)), np.empty(20), rng.normal(size=20)
    assert kernels.twin_fit.factor(full, 3.0, prior, 0.0, root)
    whole = 3.0 * full + np.diag(prior)
    np.testing.assert_allclose(root @ root.T, whole, rtol=1e-9, atol=1e-9)
    kernels.twin_fit.solve(root, right, out)
    np.testing.assert_allclose(out, np.linalg.solve(whole, right), rtol=1e-8)
    kernels.twin_fit.inverse_diagonal(root, room, out)
    np.testing.assert_allclose(out, np.diag(np.linalg.inv(whole)), rtol=1e-8)
    assert not kernels.twin_fit.factor(-full, 3.0, prior, 0.0, root)


@pytest.mark.parametrize("noise", (0.0, 0.01))
@pytest.mark.parametrize("base", ("l2ight-2021", "dead", "unknown"))
def test_both_fits_end_in_the_same_twin(base: str, noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = msgspec.structs.replace(PRESETS["l2ight-2021"], readout_noise=noise)
    if base == "dead":
        sheet = msgspec.structs.replace(sheet, dead=0.01, stuck=0.01)
    elif base == "unknown":
        sheet = msgspec.structs.replace(PUBLISHED, phase_bias=np.pi, readout_noise=noise)
    twins = []
    for fast in (True, False):
        if not fast:
            monkeypatch.setattr(fit, "_whole", lambda probes: False)
        chip = CoreChip((3, 4), Mesh("rectangular", 6), sheet, seed=5)
        twins.append(identify.identify(chip, sheet, partial(generator, 1)))
    quick, slow = twins
    assert (quick.identified == slow.identified).all() and slow.identified.mean() > 0.7
    same = np.flatnonzero(slow.identified & ~slow.wide & ~(slow.ratio < fit.STUCK).any(axis=1))
    d = slow.bias.shape[1]
    off = np.mod(quick.bias - slow.bias + 0.5 * np.pi, np.pi) - 0.5 * np.pi
    assert np.abs(off / slow.spread[:, :d])[same].max() < 0.3  # of a standard deviation; both end within a gain of 0.1
    assert np.abs((quick.ratio - slow.ratio) / slow.spread[:, d:-1])[same].max() < 0.3
    np.testing.assert_allclose(quick.spread[same], slow.spread[same], rtol=0.1)
