"""Convolutions on noisy chips, worked in pieces: the numbers and the noise of columns that are made whole."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from l2sim.backend import generator, kernels
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.fused.pieces import Pieces, peak
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import command
from l2sim.mesh.mesh import Mesh
from l2sim.nn.conv import Conv2d, col2im, im2col
from l2sim.nn.photonic import PhotonicWeight
from l2sim.nn.windows import Windows
from tests.chip.test_chip_fused import random_commands

SHAPES = {
    "all pixels": (3, 1, 1), "some pixels in no window": (3, 2, 0), "pixels between windows": (2, 3, 1),
    "single pixels": (1, 2, 0), "no padding": (2, 1, 0),
}  # fmt: skip
"""Kernel, stride and padding."""


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l2sim.nn.conv.BYTES", 0)
    monkeypatch.setattr("l2sim.nn.windows.BYTES", 0)
    monkeypatch.setattr("l2sim.nn.windows.LEAST", 12)


def image(*shape: int) -> np.ndarray:
    return generator(1, "image").normal(size=shape)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_largest_amplitude_is_that_of_the_columns(shape: tuple[int, int, int]) -> None:
    x = image(2, 8, 7, 3)
    for place in ((0, 7, 6, 2), (1, 1, 1, 0), (0, 2, 2, 1)):  # a corner, and pixels that some windows leave out
        x[place] = -50.0
        windows = Windows(x, *shape)
        assert windows.largest == peak(im2col(x, *shape)) == Pieces.largest.func(windows)
        some = windows.some(np.array([0, 2, 3]))
        assert some.largest == peak(some.whole())
        x[place] = 0.0


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_variance_of_a_pixel_is_the_sum_over_the_windows_that_see_it(shape: tuple[int, int, int]) -> None:
    windows = Windows(image(2, 8, 7, 3), *shape)
    variance = generator(2, "variance").random(len(windows))
    taken, summed = windows.taken(variance)
    assert taken.shape == (2 * 8 * 7, 3) and np.shares_memory(taken, windows.image)
    spread = np.repeat(variance[:, None], windows.shape[1] // 3, axis=1)
    np.testing.assert_allclose(summed, col2im(spread, (2, 8, 7, 1), *shape).ravel(), rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_noisy_convolution_in_pieces_has_the_noise_of_the_whole_one(
    shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    results, draws = [], 1500
    for pieces in (True, False):
        monkeypatch.setattr(CoreChip, "in_pieces", pieces)
        noisy = Nonidealities(phase_bits=8, phase_bias=1.0, readout_noise=0.05)
        inputs = 2 * shape[0] ** 2
        chip, rng = CoreChip((2, -(-inputs // 3)), Mesh("rectangular", 3), noisy, seed=1), generator(3, "commands")
        rest, mapped = random_commands(chip, rng), random_commands(chip, rng)
        command(chip, u=mapped, v=mapped)
        sigma = rng.normal(size=(*chip.shape, 3))
        conv = Conv2d(PhotonicWeight(chip, 5, inputs, mapped, rest, sigma), *shape)
        conv.weight.write()
        found = []
        for _ in range(draws):
            y = conv.forward(image(2, 6, 5, 2), train=True)
            dx = conv.backward(generator(4, "dy").normal(size=y.shape))
            assert dx is not None
            found.append(np.concatenate([y.ravel(), dx.ravel(), conv.weight.gradients()["sigma"].ravel()]))
        assert isinstance(conv._columns, Windows) == pieces
        results.append(np.array(found))
    one, two = results
    spread = two.std(axis=0)
    lit = spread > 0.0  # pixels in no window have neither light nor noise
    assert (one.std(axis=0)[~lit] == 0.0).all() and lit.mean() > 0.4
    assert (np.abs(one.mean(axis=0) - two.mean(axis=0)) <= 5.5 * spread * np.sqrt(2 / draws)).all()
    np.testing.assert_allclose(one.std(axis=0)[lit], spread[lit], rtol=0.13)
    assert min(stats.ks_2samp(a, b).pvalue for a, b in zip(one.T[lit], two.T[lit])) > 1e-5
    assert np.abs(np.corrcoef(one.T[lit]) - np.eye(lit.sum())).max() < 0.14, "no two of them share noise"


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_threads_do_not_change_it(shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels.threads, "SMALL", 0)
    before, found = kernels.threads.count(), []
    for threads in (1, 2):
        kernels.threads.use(threads)
        some = Windows(image(5, 8, 7, 3), *shape).some(np.array([0, 2, 3, 5]))
        columns, back = some.whole(), Windows(np.empty((5, 8, 7, 3)), *shape)
        for at, room in back.adding():
            room[...] = at.start + np.arange(room.size).reshape(room.shape)
        found.append((columns, back.image))
    kernels.threads.use(before)
    for one, two in zip(*found):
        np.testing.assert_array_equal(one, two)
