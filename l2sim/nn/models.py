"""The published models: those of L2ight (Gu et al., NeurIPS 2021) and its released configurations, and `onn`, the
network of meshes trained in situ (Pai et al., Science 380, 398 (2023)).

The descriptions they are made of (`specs`) and what is known of them (`place`) are at hand here too.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial

import msgspec

from l2sim.errors import ModelError
from l2sim.nn.place import Count, Counts, Placed, count, matrix_shape, place
from l2sim.nn.specs import (
    Abs,
    AdaptiveAveragePool,
    AveragePool,
    BatchNorm,
    Conv,
    Dropout,
    ElectroOptic,
    Flatten,
    GlobalAveragePool,
    Image,
    LayerSpec,
    Linear,
    MaxPool,
    Mesh,
    ModelSpec,
    Normalise,
    Ports,
    Power,
    ReLU,
    ReLUN,
    Residual,
    Saturable,
    Shape,
    Standardise,
)

__all__ = [
    "MODELS", "Abs", "AdaptiveAveragePool", "AveragePool", "BatchNorm", "Conv", "Count", "Counts", "Dropout",
    "ElectroOptic", "Flatten", "GlobalAveragePool", "LayerSpec", "Linear", "MaxPool", "Mesh", "ModelSpec", "Normalise",
    "Placed", "Ports", "Power", "ReLU", "ReLUN", "Residual", "Saturable", "Standardise", "biased", "cnn_l", "cnn_s",
    "count", "get", "matrix_shape", "mlp", "narrow", "onn", "place", "resnet", "vgg",
]  # fmt: skip


def mlp(classes: int = 10, input: Image = (1, 28, 28), hidden: tuple[int, ...] = (64, 64)) -> ModelSpec:
    """Multilayer perceptron 784-64-64-10 with ReLU4, k = 8."""
    layers: list[LayerSpec] = [Flatten()]
    for width in hidden:
        layers += [Linear(width, k=8), ReLUN(4)]
    return ModelSpec("mlp", input, classes, (*layers, Linear(classes, k=8)))


def cnn_s(classes: int = 10, input: Image = (1, 16, 16)) -> ModelSpec:
    """CNN-S: two strided 3x3 convolutions (8, 6 channels) with ReLU6, then one dense layer."""
    layers = (*_conv(8, 6, stride=2), *_conv(6, 6, stride=2), Flatten(), Linear(classes))
    return ModelSpec("cnn-s", input, classes, layers)


def cnn_l(classes: int = 10, input: Image = (1, 28, 28)) -> ModelSpec:
    """CNN-L: three 3x3 convolutions of 64 channels with ReLU4, pooled to 5x5, then one dense layer of k = 8."""
    layers = (*_conv(64, 4) * 3, AdaptiveAveragePool(5), Flatten(), Linear(classes, k=8))
    return ModelSpec("cnn-l", input, classes, layers)


_VGG: dict[str, tuple[tuple[int, ...], ...]] = {
    "vgg8": ((64,), (128,), (256,), (512,), (512,)),
    "vgg11": ((64,), (128,), (256,) * 2, (512,) * 2, (512,) * 2),
    "vgg13": ((64,) * 2, (128,) * 2, (256,) * 2, (512,) * 2, (512,) * 2),
    "vgg16": ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
    "vgg19": ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4),
}
"""Channels of the convolutions between the poolings."""


def vgg(name: str = "vgg8", classes: int = 10, input: Image = (3, 32, 32)) -> ModelSpec:
    """VGG8 to VGG19: 3x3 convolutions with ReLU6 and 2x2 max pooling, then one dense layer behind dropout.

    Images other than 32x32 end in a global average pool and, for VGG8 as published, have no dropout.
    """
    layers: list[LayerSpec] = []
    for stage in _VGG[name]:
        for channels in stage:
            layers += _conv(channels, 6)
        layers.append(MaxPool(2, 2))
    if input[1:] != (32, 32):
        layers[-1] = GlobalAveragePool()
    layers.append(Flatten())
    if input[1:] == (32, 32) or name != "vgg8":
        layers.append(Dropout(0.5))
    return ModelSpec(name, input, classes, (*layers, Linear(classes)))


_RESNET = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
"""Blocks of the four stages."""


def resnet(name: str = "resnet18", classes: int = 10, input: Image = (3, 32, 32)) -> ModelSpec:
    """ResNet18 or 34 with a 3x3 stem and ReLU6 in the blocks; images above 64 pixels are first reduced four times."""
    large = input[2] > 64
    layers: list[LayerSpec] = [Conv(64, 3, 2 if large else 1, 1), BatchNorm(), ReLU()]
    if large:
        layers.append(MaxPool(3, 2, 1))
    before = 64
    for channels, first, blocks in zip((64, 128, 256, 512), (1, 2, 2, 2), _RESNET[name]):
        for stride in (first, *(1,) * (blocks - 1)):
            body = (*_conv(channels, 6, stride=stride), Conv(channels, 3, 1, 1), BatchNorm())
            shortcut = () if before == channels else (Conv(channels, 1, stride), BatchNorm())
            layers += [Residual(body, shortcut), ReLUN(6)]
            before = channels
    return ModelSpec(name, input, classes, (*layers, GlobalAveragePool(), Flatten(), Linear(classes)))


NONLINEARITIES: dict[str, LayerSpec] = {
    "abs": Abs(),
    "power": Power(),
    "electro-optic": ElectroOptic(),
    "saturable": Saturable(),
}


def onn(
    classes: int = 10,
    input: Shape = (64,),
    modes: int = 64,
    layers: int = 3,
    kind: str = "rectangular",
    nonlinearity: str = "abs",
    group: int = 1,
    driven: ElectroOptic | None = None,
    power: float = 0.0,
) -> ModelSpec:
    """Meshes of `modes` ports, each followed by `nonlinearity`; logits are the powers of the first ports, or groups.

    `driven`: what "electro-optic" is set to. `power`: behind every nonlinearity, light is brought back to that total;
    0: it stays as it comes.

    Behind |.| and |.|^2 the screen of a mesh does nothing, so that it is not trained.
    """
    blind = nonlinearity in ("abs", "power")
    item = driven if driven is not None and nonlinearity == "electro-optic" else NONLINEARITIES[nonlinearity]
    behind = (item, Normalise(power)) if power else (item,)
    body = (Mesh(modes, kind, not blind), *behind) * layers
    if nonlinearity == "power":  # the last one is the detector
        body = body[: -len(behind)]
    return ModelSpec("onn", input, classes, (*body, Power(), Ports(classes, group)))


def _conv(channels: int, limit: float, stride: int = 1) -> tuple[LayerSpec, ...]:
    """The convolution block of all models: 3x3 convolution, batch normalisation, clipped ReLU."""
    return Conv(channels, 3, stride, 1), BatchNorm(), ReLUN(limit)


MODELS: dict[str, Callable[..., ModelSpec]] = {
    "mlp": mlp,
    "cnn-s": cnn_s,
    "cnn-l": cnn_l,
    **{name: partial(vgg, name) for name in _VGG},
    **{name: partial(resnet, name) for name in _RESNET},
}
"""The published models by name: functions of the classes and the input."""


def get(name: str, classes: int = 10, input: Image | None = None, width: float = 1.0) -> ModelSpec:
    """A published model by name, in any case; `input` (C, H, W) defaults to the published size, `width` as in `narrow`.

    Raises ModelError with the nearest name when there is no such model.
    """
    from l2sim.given import scalar, whole, word  # late: a job needs no arrays

    key = word(name, "a model", ModelError).lower()
    classes = whole(classes, "a number of classes", 1, refuse=ModelError)
    if input is not None and (not isinstance(input, tuple) or len(input) != 3):
        raise ModelError("a model's input is (channels, height, width)")
    for size in input or ():
        whole(size, "a side of a model's input", 1, refuse=ModelError)
    width = scalar(width, "a width", 0.0, 1e3, ModelError)
    if key not in MODELS:
        near = difflib.get_close_matches(key, MODELS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ModelError(f"model {name!r} is unknown; {hint}models: {', '.join(MODELS)}")
    return narrow(MODELS[key](classes) if input is None else MODELS[key](classes, input), width)


def biased(spec: ModelSpec) -> ModelSpec:
    """`spec` with a bias in every convolution and dense layer but those that a batch norm follows, which has one."""

    def some(layers: tuple[LayerSpec, ...]) -> tuple[LayerSpec, ...]:
        return tuple(one(layer, after) for layer, after in zip(layers, (*layers[1:], None)))

    def one(layer: LayerSpec, after: LayerSpec | None) -> LayerSpec:
        if isinstance(layer, Residual):
            return Residual(some(layer.body), some(layer.shortcut))
        if isinstance(layer, Conv | Linear) and not isinstance(after, BatchNorm):
            return msgspec.structs.replace(layer, bias=True)
        return layer

    return msgspec.structs.replace(spec, layers=some(spec.layers))


def narrow(spec: ModelSpec, width: float) -> ModelSpec:
    """`spec` with the share `width` of its channels and hidden features, at least one each."""

    def some(layers: tuple[LayerSpec, ...]) -> tuple[LayerSpec, ...]:
        return tuple(map(one, layers))

    def one(layer: LayerSpec) -> LayerSpec:
        if isinstance(layer, Residual):
            return Residual(some(layer.body), some(layer.shortcut))
        if isinstance(layer, Conv | Linear):
            return msgspec.structs.replace(layer, out=max(1, round(width * layer.out)))
        return layer

    *before, last = spec.layers
    return msgspec.structs.replace(spec, layers=(*some(tuple(before)), last))
