"""Model descriptions: published sizes, names, shapes, files and errors."""

from __future__ import annotations

import msgspec
import pytest

from l2sim.errors import ModelError
from l2sim.nn import models
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


@pytest.mark.parametrize(
    "name, blocks, sigma",
    [("cnn-s", 31, 279), ("cnn-l", 1432, 12488), ("vgg8", 48586, 437274), ("resnet18", 139242, 1253178)],
)
def test_published_sizes(name, blocks, sigma):
    total = models.count(models.get(name)).total
    assert (total.blocks, total.sigma) == (blocks, sigma)


def test_counts_of_cnn_s_by_layer():
    layers, total = models.count(models.cnn_s())
    assert {name: c.blocks for name, c in layers.items()} == {"conv1": 1, "bn1": 0, "conv2": 8, "bn2": 0, "fc1": 22}
    assert layers["conv2"] == models.Count(parameters=6 * 72, blocks=8, sigma=72, mzis=8 * 72)
    assert layers["bn2"] == models.Count(parameters=12)
    assert total.parameters == 8 * 9 + 16 + 6 * 72 + 12 + 96 * 10
    assert total.mzis == 31 * 72


def test_counts_of_the_mlp():
    layers, total = models.count(models.mlp())
    assert [c.blocks for c in layers.values()] == [8 * 98, 8 * 8, 2 * 8]
    assert total.parameters == 784 * 64 + 64 * 64 + 64 * 10


def test_resnet_has_the_usual_parameters():
    # torchvision's CIFAR variant: 11,173,962 with the 10 biases of its last layer
    assert models.count(models.get("resnet18")).total.parameters == 11_173_962 - 10


def shapes(placed):
    for item in placed:
        yield item.name, item.output
        yield from shapes(item.body)
        yield from shapes(item.shortcut)


def test_names_and_shapes():
    found = dict(shapes(models.place(models.get("resnet18"))))
    assert found["conv1"] == (64, 32, 32)
    assert found["block3.conv1"] == found["block3.shortcut.conv1"] == found["block3"] == (128, 16, 16)
    assert "block4.shortcut.conv1" not in found
    assert found["block8"] == (512, 4, 4)
    assert found["fc1"] == (10,)
    assert dict(shapes(models.place(models.cnn_l())))["pool1"] == (64, 5, 5)
    assert list(dict(shapes(models.place(models.cnn_s())))) == [
        *("conv1", "bn1", "relu1", "conv2", "bn2", "relu2", "flatten1", "fc1")
    ]


def test_sizes_that_the_models_allow():
    assert models.count(models.mlp(4, (1, 4, 4), (8,))).total.parameters == 16 * 8 + 8 * 4
    small, large = models.get("vgg8", 100), models.get("vgg8", 100, (3, 64, 64))
    assert models.count(small).total == models.count(large).total
    assert Dropout(0.5) in small.layers and Dropout(0.5) not in large.layers
    assert GlobalAveragePool() in large.layers
    found = dict(shapes(models.place(models.get("resnet18", 10, (3, 224, 224)))))
    assert (found["conv1"], found["pool1"], found["block8"]) == ((64, 112, 112), (64, 56, 56), (512, 7, 7))
    assert models.get("CNN-S", 4, (1, 8, 8)) == models.cnn_s(4, (1, 8, 8))


def test_a_description_reads_back_from_a_file():
    for name in models.MODELS:
        spec = models.get(name)
        assert msgspec.json.decode(msgspec.json.encode(spec), type=ModelSpec) == spec
        assert msgspec.convert(msgspec.to_builtins(spec), ModelSpec) == spec
    with pytest.raises(msgspec.ValidationError, match="strid"):
        msgspec.convert({"type": "Conv", "out": 3, "strid": 2}, Conv)


def test_unknown_model():
    with pytest.raises(ModelError, match="did you mean resnet18"):
        models.get("resnet-18")
    with pytest.raises(ModelError, match="models: mlp, cnn-s"):
        models.get("x")


@pytest.mark.parametrize(
    "layers, message",
    [
        ((Linear(10),), "fc1: .*put Flatten before it"),
        ((Flatten(), Conv(3)), "conv1: Conv needs an image"),
        ((Flatten(), Flatten()), "flatten2: .*needs an image"),
        ((Conv(3), Conv(3, 3), Flatten(), Linear(10)), "conv2: a 3x3 window with padding 0 does not fit the 2x2"),
        ((AveragePool(5, 1),), "pool1: a 5x5 window"),
        ((MaxPool(2, 2), MaxPool(2, 2), MaxPool(2, 2)), "pool3: a 2x2 window"),
        ((Flatten(), Linear(9)), r"end with Linear\(out=10\)"),
        ((), r"end with Linear\(out=10\)"),
        ((Residual((Conv(2, 3, 1, 1),)),), r"block1: the body gives \(2, 4, 4\) but the shortcut \(1, 4, 4\)"),
        ((Residual((Linear(2),)),), r"block1\.fc1: "),
        ((Residual((Conv(2),), (ReLU(), Conv(2, 9))),), r"block1\.shortcut\.conv1: "),
        ((Conv(0),), "out = 0 is too small"),
        ((Conv(1, stride=0),), "stride = 0"),
        ((Conv(1, padding=-1),), "padding = -1"),
        ((Conv(1, k=1),), "k = 1 is too small; use at least 2"),
        ((MaxPool(2, 2, 2),), "padding 2 makes empty windows"),
        ((ReLUN(0),), "limit = 0"),
        ((Dropout(1.0),), "p = 1.0"),
    ],
)
def test_layers_that_do_not_fit(layers, message):
    with pytest.raises(ModelError, match=message):
        models.place(ModelSpec("odd", (1, 4, 4), 10, (BatchNorm(), *layers)))


def test_input_that_is_no_image():
    with pytest.raises(ModelError, match="give \\(channels, height, width\\)"):
        models.place(ModelSpec("odd", (1, 0, 4), 10, (Flatten(), Linear(10))))
