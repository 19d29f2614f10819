"""Whole networks: gradients, training, saving, errors."""

from __future__ import annotations

import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.errors import ModelError
from l2sim.nn import models, network, optim
from l2sim.nn.losses import accuracy, cross_entropy
from l2sim.nn.models import (
    AveragePool,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    GlobalAveragePool,
    Linear,
    MaxPool,
    ModelSpec,
    ReLU,
    ReLUN,
    Residual,
)
from l2sim.nn.weights import ElectronicWeight

SMALL = ModelSpec(
    "small",
    (2, 7, 6),
    3,
    (
        Conv(3, 3, 1, 1),
        BatchNorm(),
        ReLUN(2.0),
        MaxPool(2, 2),
        Residual((Conv(4, 3, 2, 1), BatchNorm(), ReLU(), Conv(4, 3, 1, 1)), (Conv(4, 1, 2), BatchNorm())),
        Residual((ReLU(), Conv(4, 3, 1, 1))),
        AveragePool(2, 1),
        Dropout(0.2),
        GlobalAveragePool(),
        Flatten(),
        Linear(5),
        BatchNorm(),
        Linear(3),
    ),
)


def build(spec, dtype=np.float64):
    return network.build(spec, network.electronic(generator(1, spec.name), dtype), dtype)


def data(spec, batch, seed=2):
    rng = generator(seed)
    return rng.random((batch, *spec.input)), rng.integers(0, spec.classes, batch)


def test_whole_network_against_finite_differences():
    net = build(SMALL)
    images, labels = data(SMALL, 3)

    def loss():
        return cross_entropy(net.forward(images, train=True, rng=generator(3)), labels)[0]

    net.backward(cross_entropy(net.forward(images, train=True, rng=generator(3)), labels)[1])
    gradients = {name: g.copy() for name, g in net.gradients().items()}
    assert gradients.keys() == net.parameters().keys()
    for name, p in net.parameters().items():
        direction = generator(4, name).standard_normal(p.shape)
        kept = p.copy()
        p += 1e-6 * direction
        up = loss()
        p[...] = kept - 1e-6 * direction
        down = loss()
        p[...] = kept
        assert np.sum(gradients[name] * direction) == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-8), name
        assert np.abs(gradients[name]).max() > 1e-6, name


def test_names():
    net = build(SMALL)
    assert list(net.weights) == [
        *("conv1", "block1.conv1", "block1.conv2", "block1.shortcut.conv1", "block2.conv1", "fc1", "fc2")
    ]
    assert list(net.convs) == [name for name in net.weights if "conv" in name]
    assert net.parameters()["block1.shortcut.conv1.weight"] is net.weights["block1.shortcut.conv1"].matrix
    assert {"bn1.weight", "block1.shortcut.bn1.bias"} <= net.parameters().keys()
    assert {"bn2.running_var", "block1.bn1.running_mean"} <= net.buffers().keys()


def test_images_arrive_in_order():
    spec = ModelSpec("dense", (2, 3, 4), 5, (Flatten(), Linear(5)))
    net = build(spec)
    images, _ = data(spec, 6)
    np.testing.assert_allclose(net.forward(images), net.weights["fc1"].matrix @ images.reshape(6, -1).T, rtol=1e-12)


def test_make_weight_is_told_what_to_make():
    asked = []

    def make_weight(*arguments):
        asked.append(arguments)
        return ElectronicWeight(np.zeros(arguments[1:3]))

    network.build(models.cnn_l(), make_weight)
    assert asked == [("conv1", 64, 9, 9), ("conv2", 64, 576, 9), ("conv3", 64, 576, 9), ("fc1", 10, 1600, 8)]


def test_electronic_weights_have_the_variance_of_he():
    for dtype in (np.float32, np.float64):
        weight = network.electronic(generator(1), dtype)("fc1", 200, 500, 9)
        assert weight.matrix.dtype == dtype
        assert weight.matrix.std() == pytest.approx(np.sqrt(2 / 500), rel=0.02)


def test_first_weight_computes_no_input_gradient(monkeypatch):
    net = build(SMALL)
    asked = []
    transpose = ElectronicWeight.transpose

    def record(self, dy, rng=None):
        asked.append((next(name for name, w in net.weights.items() if w is self), rng))
        return transpose(self, dy, rng)

    monkeypatch.setattr(ElectronicWeight, "transpose", record)
    monkeypatch.setattr(ElectronicWeight, "in_pieces", False)
    images, labels = data(SMALL, 2)
    rng = generator(3)
    net.backward(cross_entropy(net.forward(images, train=True, rng=rng), labels)[1])
    assert {name for name, _ in asked} == net.weights.keys() - {"conv1"}
    assert all(given is rng for _, given in asked)


@pytest.mark.parametrize("name, batch", [("mlp", 8), ("cnn-s", 8), ("cnn-l", 2), ("vgg8", 2), ("resnet18", 1)])
def test_one_step_of_every_model(name, batch):
    spec = models.get(name)
    net = build(spec, np.float32)
    images, labels = data(spec, batch)
    losses = []
    optimiser = optim.start("sgd", net.parameters())
    for _ in range(2):
        logits = net.forward(images, train=True, rng=generator(3))
        assert logits.shape == (10, batch) and logits.dtype == np.float32
        loss, gradient = cross_entropy(logits, labels)
        net.backward(gradient)
        optim.step(optimiser, net.parameters(), net.gradients(), lr=1e-3)
        losses.append(loss)
    assert losses[1] < losses[0] < np.inf
    assert np.isfinite(net.forward(images)).all()


def test_it_learns():
    spec = models.cnn_s(3, (1, 8, 8))
    net = build(spec)
    rng = generator(5)
    patterns = rng.random((3, 1, 8, 8))
    labels = rng.integers(0, 3, 96)
    images = patterns[labels] + 0.2 * rng.standard_normal((96, 1, 8, 8))
    optimiser = optim.start("adamw", net.parameters())
    before = accuracy(net.forward(images), labels)
    for i in range(60):
        part = slice(i % 3 * 32, i % 3 * 32 + 32)
        net.backward(cross_entropy(net.forward(images[part], train=True), labels[part])[1])
        optim.step(optimiser, net.parameters(), net.gradients(), lr=1e-2)
    assert before < 0.7 and accuracy(net.forward(images), labels) > 0.95


def test_evaluation_has_no_memory_and_no_chance():
    net = build(SMALL)
    images, _ = data(SMALL, 4)
    before = net.state()
    together = net.forward(images)
    alone = np.concatenate([net.forward(images[i : i + 1]) for i in range(4)], axis=1)
    np.testing.assert_allclose(together, alone, atol=1e-12)
    assert all(np.array_equal(before[name], a) for name, a in net.state().items())


def test_evaluation_between_forward_and_backward_changes_nothing():
    net = build(SMALL)
    images, labels = data(SMALL, 4)
    gradients = []
    for look in (False, True):
        _, gradient = cross_entropy(net.forward(images, train=True, rng=generator(1)), labels)
        if look:
            net.forward(images[:2] + 1)
        net.backward(gradient)
        gradients.append({name: g.copy() for name, g in net.gradients().items()})
    assert all(np.array_equal(gradients[0][name], g) for name, g in gradients[1].items())


def test_state_round_trip():
    net, other = build(SMALL), network.build(SMALL, network.electronic(generator(9)))
    images, _ = data(SMALL, 4)
    net.forward(images, train=True, rng=generator(1))
    saved = net.state()
    live = other.parameters()["conv1.weight"]
    assert not np.array_equal(other.forward(images), net.forward(images))
    other.load(saved)
    assert np.array_equal(other.forward(images), net.forward(images))
    assert other.parameters()["conv1.weight"] is live, "loading copies in place"
    net.parameters()["conv1.weight"] += 1
    assert not np.array_equal(saved["conv1.weight"], net.parameters()["conv1.weight"]), "the state is a copy"


def test_load_is_all_or_nothing():
    net = build(SMALL)
    saved = net.state()
    bad = {name: a + 1 for name, a in saved.items()}
    for change, message in (
        ({"fc9.weight": np.zeros(1)}, "'fc9.weight' is not part"),
        ({"bn1.bias": None}, "'bn1.bias' is missing"),
        ({"fc2.weight": np.zeros((2, 2))}, r"'fc2.weight' has shape \(2, 2\)"),
    ):
        arrays = {name: a for name, a in (bad | change).items() if a is not None}
        with pytest.raises(ModelError, match=message):
            net.load(arrays)
        assert all(np.array_equal(saved[name], a) for name, a in net.state().items())


def test_wrong_use():
    net = build(SMALL)
    with pytest.raises(ModelError, match=r"takes images \(B, 2, 7, 6\) but got \(3, 2, 6, 7\)"):
        net.forward(np.zeros((3, 2, 6, 7)))
    net.forward(np.zeros((3, 2, 7, 6)))
    with pytest.raises(ModelError, match="train=True"):
        net.backward(np.zeros((3, 3)))
    with pytest.raises(ModelError, match="conv1: the weight is 1 x 1 but the layer needs 3 x 18"):
        network.build(SMALL, lambda *_: ElectronicWeight(np.zeros((1, 1))))
