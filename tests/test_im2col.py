"""Windows, pooling, batch normalisation and clipping against plain NumPy definitions."""

from __future__ import annotations

import numpy as np
import pytest

from l2sim.backend import Array, generator, kernels
from l2sim.nn import conv, layers
from tests.tolerances import DTYPES, kernel

WINDOWS = ((1, 1, 0), (1, 2, 0), (2, 2, 0), (3, 1, 1), (3, 2, 1), (3, 1, 0), (3, 3, 2), (5, 2, 2), (2, 3, 1), (4, 1, 3))


def image(*shape: int, dtype: object = np.float64) -> Array:
    return generator(3, "image").standard_normal(shape).astype(dtype)


def windows(x: Array, kernel: int, stride: int, padding: int, value: float = 0.0) -> Array:
    """(C, kernel^2, H', W', B), by the definition."""
    framed = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), constant_values=value)
    seen = np.lib.stride_tricks.sliding_window_view(framed, (kernel, kernel), axis=(1, 2))[:, ::stride, ::stride]
    c, h, w, b = seen.shape[:4]
    return seen.transpose(0, 4, 5, 1, 2, 3).reshape(c, kernel * kernel, h, w, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("window", WINDOWS)
def test_columns_and_back(dtype: object, window: tuple[int, int, int]) -> None:
    for shape in ((2, 6, 6, 3), (1, 5, 8, 1), (3, 7, 4, 16)):
        x = image(*shape, dtype=dtype)
        columns = conv.im2col(x, *window)
        assert np.array_equal(columns, windows(x, *window).reshape(columns.shape))
        other = image(*columns.shape, dtype=dtype)
        back = conv.col2im(other, x.shape, *window)
        one, two = (columns.astype(float) * other).sum(), (x.astype(float) * back).sum()
        np.testing.assert_allclose(one, two, atol=kernel(dtype) * 100 * x.size**0.5)


@pytest.mark.parametrize("window", [w for w in WINDOWS if 2 * w[2] <= w[0]])
def test_pooling(window: tuple[int, int, int]) -> None:
    x = np.round(image(2, 6, 7, 5) * 2)  # with ties
    seen = windows(x, *window, -np.inf)
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
    wide, error = x.astype(np.float64), dy.astype(np.float64)
    std = np.sqrt(wide.var(axis=1, keepdims=True) + 1e-5)
    hat = (wide - wide.mean(axis=1, keepdims=True)) / std
    atol = kernel(dtype) * 10
    np.testing.assert_allclose(mean, wide.mean(axis=1), atol=atol)
    np.testing.assert_allclose(var, wide.var(axis=1), atol=atol * 10)
    np.testing.assert_allclose(y, weight[:, None] * hat + bias[:, None], atol=atol)
    np.testing.assert_allclose(dbias, error.sum(axis=1), atol=atol * n**0.5)
    np.testing.assert_allclose(dweight, (error * hat).sum(axis=1), atol=atol * n**0.5)
    centred = error - error.mean(axis=1, keepdims=True) - hat * (error * hat).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(dx, weight[:, None] / std * centred, atol=atol)


def test_clipping() -> None:
    x = np.array([[-1.0, 0.0, 1e-300, 3.0, 6.0, 7.0]])
    layer = layers.ReLUN(6.0)
    assert layer.forward(x, train=True).tolist() == [[0.0, 0.0, 1e-300, 3.0, 6.0, 6.0]]
    assert layer.backward(np.full_like(x, 2.0)).tolist() == [[0.0, 0.0, 2.0, 2.0, 0.0, 0.0]]  # type: ignore[union-attr]
