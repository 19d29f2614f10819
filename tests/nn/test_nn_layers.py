"""Every layer against its definition and against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2sim.backend import generator
from l2sim.errors import ModelError
from l2sim.nn import conv, layers
from l2sim.nn.weights import ElectronicWeight, Weight


def electronic(out, width, dtype=np.float64):
    return ElectronicWeight(generator(1, "weight", out, width).standard_normal((out, width)).astype(dtype))


def draws(*shape, name="x"):
    return generator(2, name, *shape).standard_normal(shape)


def numerical(f, array, h=1e-6):
    """Central differences of the scalar `f()` with respect to every entry of `array`, in place."""
    out = np.zeros_like(array)
    for i in np.ndindex(array.shape):
        kept = array[i]
        array[i] = kept + h
        up = f()
        array[i] = kept - h
        down = f()
        array[i] = kept
        out[i] = (up - down) / (2 * h)
    return out


def check_gradients(layer, x):
    """The layer's gradients of sum(c * y) equal finite differences, for its input and all its parameters."""

    def forward():
        return layer.forward(x, train=True, rng=generator(3))

    c = draws(*forward().shape, name="c")
    before = c.copy()
    dx = layer.backward(c)
    gradients = {key: g.copy() for key, g in layer.gradients().items()}
    assert np.array_equal(c, before), "backward wrote into its argument"
    assert gradients.keys() == layer.parameters().keys()
    kept = x.copy()
    assert dx.shape == x.shape
    np.testing.assert_allclose(dx, numerical(lambda: np.sum(c * forward()), x), rtol=1e-6, atol=1e-7)
    assert np.array_equal(x, kept), "forward wrote into its argument"
    for key, p in layer.parameters().items():
        np.testing.assert_allclose(gradients[key], numerical(lambda: np.sum(c * forward()), p), rtol=1e-6, atol=1e-7)


def norm(channels, dtype=np.float64):
    layer = layers.BatchNorm(channels, dtype)
    layer.weight[:] = draws(channels, name="w")
    layer.bias[:] = draws(channels, name="b")
    return layer


def residual(shortcut):
    body = layers.Chain({"conv1": conv.Conv2d(electronic(2, 18), 3, 1, 1), "bn1": norm(2), "relu1": layers.ReLU()})
    return layers.Residual(body, layers.Chain({"conv1": conv.Conv2d(electronic(2, 2), 1)} if shortcut else {}))


LAYERS = {
    "linear": (layers.Linear(electronic(3, 5)), (5, 4)),
    "linear, batch 1": (layers.Linear(electronic(3, 5)), (5, 1)),
    "conv": (conv.Conv2d(electronic(3, 18), 3, 1, 1), (2, 4, 5, 2)),
    "conv, stride 2": (conv.Conv2d(electronic(3, 18), 3, 2, 1), (2, 5, 6, 2)),
    "conv, no padding, batch 1": (conv.Conv2d(electronic(2, 18), 3, 2, 0), (2, 6, 5, 1)),
    "conv, wide padding": (conv.Conv2d(electronic(2, 4), 2, 3, 2), (1, 4, 3, 2)),
    "conv 1x1": (conv.Conv2d(electronic(4, 3), 1), (3, 3, 2, 2)),
    "conv 1x1, stride 2": (conv.Conv2d(electronic(4, 3), 1, 2), (3, 5, 4, 2)),
    "norm of features": (norm(3), (3, 6)),
    "norm of images": (norm(2), (2, 3, 2, 3)),
    "norm, batch 1": (norm(2), (2, 3, 4, 1)),
    "relu": (layers.ReLU(), (3, 4)),
    "relun": (layers.ReLUN(0.7), (2, 3, 3, 2)),
    "average pool": (conv.AveragePool(2, 2), (2, 5, 4, 2)),
    "average pool, overlapping": (conv.AveragePool(3, 2), (2, 5, 7, 1)),
    "max pool": (conv.MaxPool(2, 2), (2, 5, 4, 2)),
    "max pool, overlapping": (conv.MaxPool(3, 2, 1), (2, 5, 6, 2)),
    "adaptive pool": (conv.AdaptiveAveragePool(3), (2, 7, 5, 2)),
    "adaptive pool to more": (conv.AdaptiveAveragePool(4), (1, 3, 6, 2)),
    "global pool": (conv.GlobalAveragePool(), (2, 3, 4, 2)),
    "dropout": (layers.Dropout(0.4), (5, 6)),
    "flatten": (layers.Flatten(), (2, 3, 2, 3)),
    "residual": (residual(shortcut=True), (2, 3, 4, 2)),
    "residual, identity": (residual(shortcut=False), (2, 3, 4, 2)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_match_finite_differences(name):
    layer, shape = LAYERS[name]
    check_gradients(layer, draws(*shape))


FLOAT32 = {
    "linear": layers.Linear(electronic(3, 5, np.float32)),
    "conv": conv.Conv2d(electronic(3, 18, np.float32), 3, 1, 1),
    "norm of images": norm(2, np.float32),
} | {name: layer for name, (layer, _) in LAYERS.items() if not layer.parameters()}


@pytest.mark.parametrize("name", FLOAT32)
def test_float32_stays_float32(name):
    layer, x = FLOAT32[name], draws(*LAYERS[name][1]).astype(np.float32)
    y = layer.forward(x, train=True, rng=generator(3))
    dx = layer.backward(np.ones_like(y))
    arrays = (y, layer.forward(x), dx, *layer.gradients().values(), *layer.buffers().values())
    assert {a.dtype for a in arrays} == {np.dtype(np.float32)}


def direct_convolution(matrix, x, kernel, stride, padding):
    """The definition, one output pixel at a time."""
    c, h, w, b = x.shape
    framed = np.zeros((c, h + 2 * padding, w + 2 * padding, b))
    framed[:, padding : padding + h, padding : padding + w] = x
    out = np.zeros((len(matrix), (h + 2 * padding - kernel) // stride + 1, (w + 2 * padding - kernel) // stride + 1, b))
    for o, i, j, n in np.ndindex(out.shape):
        for ch in range(c):
            for r in range(kernel):
                for s in range(kernel):
                    place = framed[ch, i * stride + r, j * stride + s, n]
                    out[o, i, j, n] += matrix[o, ch * kernel**2 + r * kernel + s] * place
    return out


geometries = st.tuples(
    st.integers(1, 3), st.integers(3, 6), st.integers(3, 6), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2)
)


@settings(max_examples=20, deadline=None)
@given(geometries, st.integers(1, 3))
def test_convolution_matches_its_definition(geometry, kernel):
    c, h, w, b, stride, padding = geometry
    x, weight = draws(c, h, w, b), electronic(2, c * kernel**2)
    layer = conv.Conv2d(weight, kernel, stride, padding)
    expected = direct_convolution(weight.matrix, x, kernel, stride, padding)
    np.testing.assert_allclose(layer.forward(x), expected, atol=1e-12)
    np.testing.assert_allclose(layer.forward(x, train=True), expected, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(geometries, st.integers(1, 3))
def test_col2im_is_the_adjoint_of_im2col(geometry, kernel):
    c, h, w, b, stride, padding = geometry
    x = draws(c, h, w, b)
    columns = conv.im2col(x, kernel, stride, padding)
    y = draws(*columns.shape, name="y")
    assert np.sum(columns * y) == pytest.approx(np.sum(x * conv.col2im(y, x.shape, kernel, stride, padding)), abs=1e-10)


def test_order_of_rows_and_columns():
    c, h, w, b = 2, 4, 5, 3
    x = np.arange(c * h * w * b, dtype=float).reshape(c, h, w, b)
    columns = conv.im2col(x, 3)
    for ch, r, s, i, j, n in np.ndindex(c, 3, 3, 2, 3, b):
        assert columns[ch * 9 + r * 3 + s, (i * 3 + j) * b + n] == x[ch, i + r, j + s, n]


def test_the_column_buffer_follows_the_batch():
    layer = conv.Conv2d(electronic(2, 9), 3, 1, 1)
    for batch in (4, 2, 4):
        x = draws(1, 5, 5, batch)
        y = layer.forward(x, train=True)
        np.testing.assert_allclose(y, direct_convolution(layer.weight.matrix, x, 3, 1, 1), atol=1e-12)
        assert layer.backward(np.ones_like(y)).shape == x.shape


@pytest.mark.parametrize("kernel, stride, padding", [(3, 1, 1), (3, 2, 0), (1, 1, 0)])
def test_column_sampling_is_the_masked_dense_gradient(kernel, stride, padding):
    x = draws(2, 5, 5, 3)
    layer = conv.Conv2d(electronic(4, 2 * kernel**2), kernel, stride, padding)
    y = layer.forward(x, train=True, rng=generator(5))
    dy = draws(*y.shape, name="dy")
    dense_dx = layer.backward(dy)
    seen = []

    def columns(n, rng):
        seen.append((n, rng.random(n) < 0.5))
        return seen[-1][1], 1.7

    layer.columns = columns
    received = []
    accumulate = layer.weight.accumulate

    def counted(dy, x, factor, rng):
        received.append((dy.shape, x.shape))
        accumulate(dy, x, factor, rng)

    layer.weight.accumulate = counted
    layer.forward(x, train=True, rng=generator(5))
    dx = layer.backward(dy)
    n, mask = seen[0]
    assert n == y.shape[1] * y.shape[2]
    assert np.array_equal(mask, generator(5).random(n) < 0.5), "the generator given to forward draws the mask"
    assert 0 < mask.sum() < n
    assert received == [((4, 3 * mask.sum()), (2 * kernel**2, 3 * mask.sum()))], "dropped columns are not computed"
    masked = (dy.reshape(4, n, 3) * mask[:, None]).reshape(4, -1)
    expected = 1.7 * masked @ conv.im2col(x, kernel, stride, padding).T
    np.testing.assert_allclose(layer.gradients()["weight"], expected, atol=1e-12)
    np.testing.assert_allclose(dx, dense_dx, atol=1e-12)


def test_column_sampling_may_keep_nothing():
    layer = conv.Conv2d(electronic(2, 9), 3, 1, 1)
    layer.columns = lambda n, rng: (np.zeros(n, bool), 1.0)
    y = layer.forward(draws(1, 4, 4, 2), train=True, rng=generator(0))
    layer.backward(y)
    assert not layer.gradients()["weight"].any()


def test_column_sampling_needs_a_generator():
    layer = conv.Conv2d(electronic(2, 9), 3)
    layer.columns = lambda n, rng: (np.ones(n, bool), 1.0)
    y = layer.forward(draws(1, 4, 4, 2), train=True)
    with pytest.raises(ModelError, match="pass rng"):
        layer.backward(y)


class Recorder(ElectronicWeight):
    """An electronic weight that remembers which input gradients were asked for, with which generator."""

    def __init__(self, matrix):
        super().__init__(matrix)
        self.asked = []

    in_pieces = False

    def transpose(self, dy, rng=None):
        self.asked.append(rng)
        return super().transpose(dy, rng)


def test_input_gradient_is_skipped_or_gets_the_generator():
    rng = generator(1)
    for layer, x in (
        (layers.Linear(Recorder(np.ones((2, 3)))), draws(3, 2)),
        (conv.Conv2d(Recorder(np.ones((2, 9))), 3), draws(1, 4, 4, 2)),
    ):
        y = layer.forward(x, train=True, rng=rng)
        assert layer.backward(y, need_dx=False) is None
        assert layer.weight.asked == []
        assert layer.backward(y) is not None
        assert layer.weight.asked == [rng]
    assert isinstance(layer.weight, Weight)


def test_chain_skips_what_nobody_needs():
    first, second = Recorder(np.ones((3, 4))), Recorder(np.ones((2, 3)))
    chain = layers.Chain({"relu": layers.ReLU(), "fc1": layers.Linear(first), "fc2": layers.Linear(second)})
    y = chain.forward(draws(4, 2), train=True)
    assert chain.backward(y, need_dx=False) is None
    assert (len(first.asked), len(second.asked)) == (0, 1)
    assert chain.backward(y).shape == (4, 2)
    assert (len(first.asked), len(second.asked)) == (1, 2)


def test_batch_norm_trains_and_evaluates():
    layer, x = norm(3), draws(3, 2, 2, 5) * 3 + 1
    y = layer.forward(x, train=True)
    flat = x.reshape(3, -1)
    expected = (flat - flat.mean(1)[:, None]) / np.sqrt(flat.var(1) + 1e-5)[:, None]
    np.testing.assert_allclose(
        y.reshape(3, -1), layer.weight[:, None] * expected + layer.bias[:, None], rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(layer.running_mean, 0.1 * flat.mean(1), rtol=1e-13)
    np.testing.assert_allclose(layer.running_var, 0.9 + 0.1 * flat.var(1, ddof=1), rtol=1e-13)
    kept = {key: a.copy() for key, a in layer.buffers().items()}
    y = layer.forward(x)
    mean, var = (a[:, None, None, None] for a in (layer.running_mean, layer.running_var))
    w, b = (a[:, None, None, None] for a in (layer.weight, layer.bias))
    np.testing.assert_allclose(y, w * (x - mean) / np.sqrt(var + 1e-5) + b, rtol=1e-12, atol=1e-12)
    assert all(np.array_equal(kept[key], a) for key, a in layer.buffers().items()), "evaluation moved the statistics"
    with pytest.raises(ModelError, match="larger batch"):
        layer.forward(np.ones((3, 1)), train=True)


def test_dropout_keeps_the_expectation():
    layer, x = layers.Dropout(0.3), np.ones((50, 400))
    y = layer.forward(x, train=True, rng=generator(4))
    assert set(np.unique(y)) == {0.0, 1 / 0.7}
    assert y.mean() == pytest.approx(1.0, abs=0.02)
    assert layer.forward(x) is x
    with pytest.raises(ModelError, match="pass rng"):
        layer.forward(x, train=True)


def test_activations_clip():
    x = np.array([[-1.0, 0.0, 0.5, 4.0, 5.0]])
    assert layers.ReLU().forward(x).tolist() == [[0, 0, 0.5, 4, 5]]
    layer = layers.ReLUN(4)
    assert layer.forward(x, train=True).tolist() == [[0, 0, 0.5, 4, 4]]
    assert layer.backward(np.ones_like(x)).tolist() == [[0, 0, 1, 0, 0]]


def test_max_pool_gives_a_tie_to_the_first():
    layer = conv.MaxPool(2, 2)
    layer.forward(np.ones((1, 2, 2, 1)), train=True)
    assert layer.backward(np.ones((1, 1, 1, 1))).ravel().tolist() == [1, 0, 0, 0]


def test_max_pool_padding_never_wins():
    assert conv.MaxPool(3, 2, 1).forward(np.full((1, 4, 4, 1), -5.0)).ravel().tolist() == [-5.0] * 4


def test_adaptive_bins_follow_pytorch():
    # AdaptiveAvgPool from 7 to 3: [0, 3), [2, 5), [4, 7)
    starts = [(np.flatnonzero(row)[0], np.flatnonzero(row)[-1] + 1) for row in conv.bins(7, 3)]
    assert starts == [(0, 3), (2, 5), (4, 7)]
    np.testing.assert_allclose(conv.bins(7, 3).sum(1), 1)
    x = draws(2, 7, 5, 2)
    y = conv.AdaptiveAveragePool(3).forward(x)
    np.testing.assert_allclose(y[:, 1, 2], x[:, 2:5, 3:5].mean(axis=(1, 2)))


def test_flatten_orders_channel_row_column():
    x = np.arange(24.0).reshape(2, 3, 2, 2)
    y = layers.Flatten().forward(x)
    for c, h, w, b in np.ndindex(x.shape):
        assert y[(c * 3 + h) * 2 + w, b] == x[c, h, w, b]


def test_residual_names_and_buffers():
    layer = residual(shortcut=True)
    assert list(layer.parameters()) == ["conv1.weight", "bn1.weight", "bn1.bias", "shortcut.conv1.weight"]
    assert list(layer.buffers()) == ["bn1.running_mean", "bn1.running_var"]
