"""Losses, optimisers and schedules against formulas written out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.errors import ModelError
from l2sim.nn import optim
from l2sim.nn.losses import accuracy, cross_entropy


def test_cross_entropy_and_its_gradient():
    rng = generator(1)
    logits, labels = rng.standard_normal((4, 6)), rng.integers(0, 4, 6)
    loss, gradient = cross_entropy(logits, labels)
    probability = np.exp(logits) / np.exp(logits).sum(0)
    assert loss == pytest.approx(-np.mean([math.log(probability[y, i]) for i, y in enumerate(labels)]), rel=1e-12)
    for i in np.ndindex(logits.shape):
        step = np.zeros_like(logits)
        step[i] = 1e-6
        slope = (cross_entropy(logits + step, labels)[0] - cross_entropy(logits - step, labels)[0]) / 2e-6
        assert gradient[i] == pytest.approx(slope, abs=1e-9)


def test_cross_entropy_is_stable():
    loss, gradient = cross_entropy(np.array([[1e4, -1e4], [-1e4, 1e4]]), np.array([0, 0]))
    assert loss == pytest.approx(1e4)
    assert gradient.tolist() == [[0, -0.5], [0, 0.5]]
    assert cross_entropy(np.zeros((3, 2), np.float32), np.array([0, 1]))[1].dtype == np.float32


def test_labels_are_checked():
    with pytest.raises(ModelError, match="one label each"):
        cross_entropy(np.zeros((3, 2)), np.array([0, 1, 2]))
    for bad in (-1, 3):
        with pytest.raises(ModelError, match="3 classes"):
            cross_entropy(np.zeros((3, 2)), np.array([0, bad]))


def test_accuracy():
    assert accuracy(np.array([[1, 0, 3.0], [0, 2, 1]]), np.array([0, 1, 1])) == pytest.approx(2 / 3)


def reference(name, p, gradients, lr, decay):
    """Scalar rules, one number at a time, as PyTorch documents them."""
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        if name == "adamw":
            p = p - lr * decay * p
        else:
            g = g + decay * p
        if name == "sgd":
            m = g if t == 1 else 0.9 * m + g
            p = p - lr * (g + 0.9 * m)
        else:
            m = 0.9 * m + 0.1 * g
            v = 0.999 * v + 0.001 * g * g
            p = p - lr * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return p


def follow(name, p, gradients, lr, optimiser=None, **settings):
    optimiser = optimiser or optim.start(name, {"a": p})
    for g in gradients:
        optim.step(optimiser, {"a": p}, {"a": g}, lr=lr, **settings)
    return optimiser


@pytest.mark.parametrize("name", optim.OPTIMISERS)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_rules_follow_the_formulas(name, decay):
    rng = generator(2)
    p, gradients = rng.standard_normal(5), rng.standard_normal((4, 5))
    gradients[:, 0] = [1e-9, 2e-9, -1e-9, 3e-9]  # comparable with eps: shows where eps stands
    expected = [reference(name, p[i], gradients[:, i], 0.01, decay) for i in range(5)]
    kept = gradients.copy()
    follow(name, p, gradients, 0.01, weight_decay=decay)
    np.testing.assert_allclose(p, expected, rtol=1e-12)
    assert np.array_equal(gradients, kept), "a step wrote into the gradients"


def test_plain_momentum():
    p = np.array([1.0])
    follow("sgd", p, np.array([[1.0], [1.0]]), 0.1, momentum=0.5, nesterov=False)
    assert p[0] == pytest.approx(1 - 0.1 - 0.15)


def test_default_weight_decay_is_pytorchs():
    for name, moves in (("sgd", False), ("adam", False), ("adamw", True)):
        p = np.array([1.0])
        follow(name, p, np.zeros((1, 1)), 0.1)
        assert (p[0] != 1.0) == moves


@pytest.mark.parametrize("name", optim.OPTIMISERS)
def test_large_parameters_are_updated_alike(name):
    rng = generator(3)
    p, g = rng.standard_normal((300, 251)), rng.standard_normal((300, 251))
    row, other = p[:1].copy(), np.asfortranarray(p)
    follow(name, p, [g, g], 0.01)
    follow(name, row, [g[:1], g[:1]], 0.01)
    follow(name, other, [g, g], 0.01)
    assert np.array_equal(p[:1], row)
    assert np.array_equal(p, other)


@pytest.mark.parametrize("name", optim.OPTIMISERS)
def test_state_resumes_bit_for_bit(name):
    rng = generator(4)
    start, gradients = rng.standard_normal(6), rng.standard_normal((5, 6))
    whole = start.copy()
    follow(name, whole, gradients, 0.01)
    half = start.copy()
    first = follow(name, half, gradients[:2], 0.01)
    saved = optim.state(first)
    follow(name, start.copy(), gradients, 0.01, first)  # must not reach what was saved
    resumed = optim.start(name, {"a": half})
    optim.load(resumed, saved)
    follow(name, half, gradients[2:], 0.01, resumed)
    assert np.array_equal(whole, half)
    assert resumed.steps == 5
    assert saved[optim.STEPS] == 2


@pytest.mark.parametrize("name", optim.OPTIMISERS)
def test_parameters_together_are_updated_as_each_alone(name):
    """Small ones of a number type are one array to the rule; every bit is the same, and shapes stay."""
    rng = generator(3)
    shapes = {"a": (3, 4), "b": (5,), "wide": (2, optim.PIECE), "c": (2, 2, 2), "d": (1,)}
    types = dict.fromkeys(shapes, np.float32) | {"d": np.float64}
    start = {key: rng.standard_normal(shape).astype(types[key]) for key, shape in shapes.items()}
    together, alone = ({key: p.copy() for key, p in start.items()} for _ in range(2))
    all_, each = optim.start(name, together), {key: optim.start(name, {key: p}) for key, p in alone.items()}
    for _ in range(3):
        slopes = {key: rng.standard_normal(p.shape).astype(p.dtype) for key, p in start.items()}
        optim.step(all_, together, slopes, lr=0.1, weight_decay=0.1)
        for key, p in alone.items():
            optim.step(each[key], {key: p}, slopes, lr=0.1, weight_decay=0.1)
    assert [group.keys for group in all_.groups] == [["a", "b"], ["wide"], ["c"], ["d"]]
    for key, p in alone.items():
        np.testing.assert_array_equal(together[key], p)
        for text, a in each[key].arrays.items():
            np.testing.assert_array_equal(all_.arrays[text], a)


def test_optimiser_errors():
    with pytest.raises(ModelError, match="use one of sgd, adam, adamw"):
        optim.start("lion", {})
    optimiser = optim.start("adam", {"a": np.zeros(2)})
    with pytest.raises(ModelError, match=r"a\.mean"):
        optim.load(optimiser, optim.state(optim.start("adam", {"a": np.zeros(3)})))
    with pytest.raises(ModelError, match=r"a\.square"):
        optim.load(optimiser, {optim.STEPS: np.array(1), "a.mean": np.zeros(2)})
    assert optimiser.steps == 0


def test_schedules():
    cosine, exponential = optim.cosine, optim.exponential
    assert cosine(0.2, 0, 100, 0.02) == pytest.approx(0.2)
    assert cosine(0.2, 50, 100, 0.02) == pytest.approx(0.11)
    assert cosine(0.2, 100, 100, 0.02) == pytest.approx(0.02)
    assert cosine(1.0, 25, 100) == pytest.approx(0.5 + math.sqrt(0.125))
    assert exponential(0.1, 2, 0.5) == pytest.approx(0.025)
    assert exponential(0.1, 20, 0.5, 0.01) == 0.01
