"""Sums of products of noisy readings: the law against readings drawn one by one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from l2sim.backend import generator, kernels
from l2sim.chip import grid
from l2sim.chip.fused import blocks
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import command
from l2sim.streams import Stream
from tests.chip.test_chip_fused import Sealed, random_chip, random_commands

NOISY = Nonidealities(phase_bits=8, phase_bias=1.0, readout_noise=0.05)
CASES = {
    "one reading": (1, 1.0, 1.0), "two readings": (2, 1.0, 1.0), "a batch": (40, 1.0, 1.0),
    "drowned": (5, 1e-3, 1e-3), "no light": (5, 0.0, 1.0), "no error": (5, 1.0, 0.0), "nothing": (3, 0.0, 0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_entry_has_the_distribution_of_readings_drawn_one_by_one(name: str) -> None:
    (count, size_s, size_t), draws, a, b = CASES[name], 20_000, 0.3, 0.7
    rng = generator(4, "entry", name)
    s, t = size_s * rng.normal(size=count), size_t * rng.normal(size=count)
    direct = ((s + a * rng.normal(size=(draws, count))) * (t + b * rng.normal(size=(draws, count)))).sum(axis=1)
    chi = rng.chisquare(count - 2, draws) if count > 2 else np.zeros(draws)
    drawn = np.column_stack((rng.normal(size=(draws, 3)), chi))
    ours = np.array([kernels.noisy.entry(s @ t, s @ s, t @ t, count, a, b, row) for row in drawn])
    assert stats.ks_2samp(ours, direct).pvalue > 1e-3
    assert stats.ks_2samp(ours, ours.mean() + 1.04 * (direct - ours.mean())).pvalue < 0.2  # it can tell
    spread = direct.std()
    tails = [(np.abs(each - s @ t) > 2.5 * spread).mean() for each in (ours, direct)]
    assert tails[0] == pytest.approx(tails[1], abs=4 * np.sqrt(2 * max(tails[1], 1e-3) / draws))


@pytest.mark.parametrize(("rows", "count", "k"), [(18, 1300, 9), (16, 7, 9), (5, 512, 4), (1, 1, 3)])
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_grams_are_products_of_blocks_and_missing_rows_are_dark(rows: int, count: int, k: int, dtype: type) -> None:
    x = generator(1, "gram").normal(size=(rows, count)).astype(dtype)
    whole = grid.padded(x, -(-rows // k) * k).reshape(-1, k, count)
    close = 1e-3 if dtype == np.float32 else 1e-9
    made = blocks.grams(x, (len(whole), k, k), x.dtype)
    np.testing.assert_allclose(made, whole @ whole.swapaxes(1, 2), rtol=1e-4, atol=close)


@pytest.mark.parametrize(("count", "chosen"), [(1, False), (2, False), (12, False), (6, True)])
def test_a_noisy_sigma_gradient_has_the_distribution_of_the_public_path(count: int, chosen: bool) -> None:
    found, draws = [], 2000
    for seal in (lambda chip: chip, Sealed):
        chip, rng = random_chip(it=NOISY), generator(1)
        rest, mapped = random_commands(chip, rng), random_commands(chip, rng)
        command(chip, u=mapped, v=mapped)
        x, dy = generator(2, "x").normal(size=(9, count)), generator(2, "y").normal(size=(6, count))
        vectors = generator(2, "v").random((3, count)) < 0.5 if chosen else None
        act = seal(chip), x, dy, mapped, rest, np.ones((2, 3, 3))
        found.append(np.array([grid.sigma_gradient(*act, vectors=vectors).ravel() for _ in range(draws)]))
    one, two = found
    spread = two.std(axis=0)
    assert (spread > 0.01).all()
    assert (np.abs(one.mean(axis=0) - two.mean(axis=0)) < 5 * spread * np.sqrt(2 / draws)).all()
    np.testing.assert_allclose(one.std(axis=0), spread, rtol=0.12)
    assert min(stats.ks_2samp(a, b).pvalue for a, b in zip(one.T, two.T)) > 1e-4
    assert np.abs(np.corrcoef(one.T) - np.eye(one.shape[1])).max() < 0.12, "every reading has noise of its own"


def test_a_noisy_gradient_is_metered_as_the_public_path() -> None:
    counts = []
    for seal in (lambda chip: chip, Sealed):
        chip, rng = random_chip(it=NOISY), generator(1)
        rest, mapped = random_commands(chip, rng), random_commands(chip, rng)
        command(chip, u=mapped, v=mapped)
        sigma = rng.normal(size=(2, 3, 3))
        chip.set_sigma(sigma)
        grid.sigma_gradient(seal(chip), np.ones((9, 2)), np.ones((6, 2)), mapped, rest, sigma)
        counts.append(chip.meter.state())
    assert counts[0] == counts[1]


def test_threads_do_not_change_it() -> None:
    rng, found = generator(8), []
    left, right = (rng.normal(size=(30, 4, 4)) for _ in range(2))
    x, dy, dot = rng.normal(size=(20, 50)), rng.normal(size=(24, 50)), rng.normal(size=(6, 5, 4))
    before = kernels.threads.count()
    for threads in (1, 2):
        kernels.threads.use(threads)
        gradient = dot.copy()
        sent = blocks.grams(x, (5, 4, 4), x.dtype)
        blocks.add_noise(Stream(1, "g"), gradient, left, right, sent, dy, None, (0.1, 0.2))
        found.append(gradient)
    kernels.threads.use(before)
    np.testing.assert_array_equal(*found)
