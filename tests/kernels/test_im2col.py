"""Windows, pooling, batch normalisation and clipping against plain NumPy definitions."""

from __future__ import annotations

import numpy as np
import pytest

from l2sim.backend import Array, generator, kernels
from l2sim.chip.fused import pieces
from l2sim.nn import conv, layers, windows
from tests.tolerances import DTYPES, kernel

reference = kernels.reference
WINDOWS = ((1, 1, 0), (1, 2, 0), (2, 2, 0), (3, 1, 1), (3, 2, 1), (3, 1, 0), (3, 3, 2), (5, 2, 2), (2, 3, 1), (4, 1, 3))


def image(*shape: int, dtype: object = np.float64) -> Array:
    return generator(3, "image").standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("window", WINDOWS)
def test_columns_and_back(dtype: object, window: tuple[int, int, int]) -> None:
    for shape in ((2, 6, 6, 3), (1, 5, 8, 1), (3, 7, 4, 16)):
        x = image(*shape, dtype=dtype)
        columns = conv.im2col(x, *window)
        assert np.array_equal(columns, reference.windows(x, *window).reshape(columns.shape))
        other = image(*columns.shape, dtype=dtype)
        back = conv.col2im(other, x.shape, *window)
        one, two = (columns.astype(float) * other).sum(), (x.astype(float) * back).sum()
        np.testing.assert_allclose(one, two, atol=kernel(dtype) * 100 * x.size**0.5)


@pytest.mark.parametrize("window", WINDOWS)
def test_windows_in_pieces(window: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces are the columns of the whole image, and what they take up is added up as the whole is; of some too."""
    monkeypatch.setattr(windows, "LEAST", 20)
    monkeypatch.setattr(windows, "BYTES", 0)
    for shape in ((2, 6, 6, 3), (1, 5, 8, 1), (3, 7, 4, 16)):
        x = image(*shape)
        columns = conv.im2col(x, *window)
        every = np.arange(columns.shape[1] // shape[3])
        for only in (None, every[::2], every[1:5], every[:0]):
            seen = windows.Windows(x, *window, only)
            kept = columns.reshape(len(columns), -1, shape[3])[:, every if only is None else only]
            assert seen.shape == (len(columns), kept[0].size)
            assert np.array_equal(seen.whole(), kept.reshape(seen.shape))
            other = image(*seen.shape)
            spread = np.zeros((len(columns), every.size, shape[3]))
            spread[:, every if only is None else only] = other.reshape(kept.shape)
            back = windows.Windows(image(*shape), *window, only)
            for at, room in back.adding():
                room[...] = other[:, at]
            whole = conv.col2im(spread.reshape(columns.shape), x.shape, *window)
            np.testing.assert_allclose(back.image, whole, atol=1e-13)


def test_products_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "LEAST", 20)
    monkeypatch.setattr(windows, "BYTES", 0)
    x = image(2, 6, 6, 5)
    seen, columns = windows.Windows(x, 3, 1, 1), conv.im2col(x, 3, 1, 1)
    matrix, y = image(4, 18), image(4, columns.shape[1])
    np.testing.assert_allclose(pieces.times(matrix, seen), matrix @ columns, atol=1e-12)
    gradient = np.empty_like(matrix)
    pieces.outer(y, seen, gradient)
    np.testing.assert_allclose(gradient, y @ columns.T, atol=1e-12)


@pytest.mark.parametrize("window", [w for w in WINDOWS if 2 * w[2] <= w[0]])
def test_pooling(window: tuple[int, int, int]) -> None:
    x = np.round(image(2, 6, 7, 5) * 2)  # with ties
    seen = reference.windows(x, *window, -np.inf)
    layer = conv.MaxPool(*window)
    y = layer.forward(x, train=True)
    assert np.array_equal(y, seen.max(axis=1))
    dy = image(*y.shape)
    won = np.eye(window[0] ** 2)[seen.argmax(axis=1)].transpose(0, 4, 1, 2, 3) * dy[:, None]
    np.testing.assert_allclose(
        layer.backward(dy), conv.col2im(won.reshape(-1, y[0].size), x.shape, *window), atol=1e-12
    )


def test_a_nan_is_not_hidden() -> None:
    x = image(1, 4, 4, 2)
    x[0, 1, 1, 0] = np.nan
    assert np.isnan(conv.MaxPool(2, 2).forward(x)[0, 0, 0, 0])
    assert np.isnan(layers.ReLUN(6.0).forward(x)[0, 1, 1, 0])
    assert np.isnan(layers.BatchNorm(1).forward(x, train=True)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", (2, 7, 1024, 5000))
def test_normalisation(dtype: object, n: int) -> None:
    x, dy = image(3, n, dtype=dtype) * 3 + 5, image(3, n, dtype=dtype)[:, ::-1].copy()
    weight, bias = np.array([0.5, 1.0, -2.0], dtype), np.array([0.0, 1.0, 2.0], dtype)
    mean, var, inverse, dweight, dbias = (np.empty(3, dtype) for _ in range(5))
    y, dx = np.empty_like(x), np.empty_like(x)
    kernels.pointwise.normalise(x, weight, bias, 1e-5, mean, var, inverse, y)
    kernels.pointwise.normalise_back(dy, x, weight, mean, inverse, dweight, dbias, dx)
    atol = kernel(dtype) * 10
    for ours, wanted, scale in zip((y, mean, var, inverse), reference.normalise(x, weight, bias, 1e-5), (1, 1, 10, 1)):
        np.testing.assert_allclose(ours, wanted, atol=atol * scale)
    wanted = reference.normalise_back(dy, x, weight, 1e-5)
    for ours, other, scale in zip((dx, dweight, dbias), wanted, (1, n**0.5, n**0.5)):
        np.testing.assert_allclose(ours, other, atol=atol * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("train", (True, False))
def test_normalisation_that_clips_is_both_layers(dtype: object, train: bool) -> None:
    x, dy = image(3, 5, 7, 90, dtype=dtype), generator(4).standard_normal((3, 5, 7, 90)).astype(dtype)
    plain, clip, both = layers.BatchNorm(3, dtype), layers.ReLUN(0.75), layers.BatchNorm(3, dtype, limit=0.75)
    for layer in (plain, both):
        layer.weight[:], layer.bias[:] = (0.5, -1.0, 2.0), (0.1, 0.4, -0.2)
    assert np.array_equal(clip.forward(plain.forward(x, train), train), both.forward(x, train))
    if train:
        assert np.array_equal(plain.backward(clip.backward(dy)), both.backward(dy))
        for name, gradient in plain.gradients().items():
            assert np.array_equal(gradient, both.gradients()[name])
        assert both.backward(dy, need_dx=False) is None


def test_clipping() -> None:
    x = np.array([[-1.0, 0.0, 1e-300, 3.0, 6.0, 7.0]])
    layer = layers.ReLUN(6.0)
    assert np.array_equal(layer.forward(x, train=True), reference.clip(x, 6.0))
    assert layer.backward(np.full_like(x, 2.0)).tolist() == [[0.0, 0.0, 2.0, 2.0, 0.0, 0.0]]  # type: ignore[union-attr]
