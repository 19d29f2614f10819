"""Models as descriptions: what the layers are, not what computes them.

A `ModelSpec` is frozen data (it reads and writes as TOML or JSON through msgspec; there `type` is the class name).
`place` names its layers and works out every shape; `network.build` turns the result into layers over electronic or
photonic weights, and `count` prices it.
The published models are those of L2ight (Gu et al., NeurIPS 2021) and its released configurations, and `onn`, the
network of meshes trained in situ (Pai et al., Science 380, 398 (2023)).

Shapes are of one sample: an image (C, H, W) or features (F,), which may be a field of light at F ports.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from l2sim.chip import mesh as layout
from l2sim.errors import ModelError
from l2sim.nn.conv import window_count

__all__ = [
    "MODELS",
    "Abs",
    "AdaptiveAveragePool",
    "AveragePool",
    "BatchNorm",
    "Conv",
    "Count",
    "Counts",
    "Dropout",
    "ElectroOptic",
    "Flatten",
    "GlobalAveragePool",
    "LayerSpec",
    "Linear",
    "MaxPool",
    "Mesh",
    "ModelSpec",
    "Normalise",
    "Placed",
    "Ports",
    "Power",
    "ReLU",
    "ReLUN",
    "Residual",
    "Saturable",
    "cnn_l",
    "cnn_s",
    "count",
    "get",
    "matrix_shape",
    "mlp",
    "onn",
    "place",
    "resnet18",
    "vgg8",
]

Shape = tuple[int, ...]
Image = tuple[int, int, int]


class Conv(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Convolution to `out` channels, without bias; `k` is the size of its tensor cores."""

    out: int
    kernel: int = 3
    stride: int = 1
    padding: int = 0
    k: int = 9


class Linear(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Dense layer to `out` features, without bias; `k` is the size of its tensor cores."""

    out: int
    k: int = 9


class BatchNorm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Batch normalisation per channel."""


class ReLU(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """max(x, 0)."""


class ReLUN(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Clip to [0, limit]."""

    limit: float


class AveragePool(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Mean over windows."""

    kernel: int
    stride: int


class MaxPool(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Maximum over windows."""

    kernel: int
    stride: int
    padding: int = 0


class AdaptiveAveragePool(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Mean over `out` x `out` bins."""

    out: int


class GlobalAveragePool(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Mean over each image."""


class Dropout(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Zero values with probability `p` in training."""

    p: float


class Flatten(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Image to features."""


class Mesh(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """A whole MZI mesh of `modes` ports; with fewer features the last ports stay dark. `screen`: its phases are trained
    too."""

    modes: int
    kind: str = "rectangular"
    screen: bool = False


class Abs(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """|y| of a field."""


class Power(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """|y|^2 of a field."""


class ElectroOptic(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """A tapped share of the light modulates the rest; `gain` in rad per unit power, `bias` in rad."""

    tapped: float = 0.1
    gain: float = 0.05 * math.pi
    bias: float = math.pi


class Saturable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Saturable absorber of optical `depth`, halved at the power `saturation`."""

    depth: float = 1.0
    saturation: float = 1.0


class Normalise(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Each sample divided by the root of its total power."""


class Ports(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """The first `out` groups of `group` neighbouring ports, each added up; the rest is dropped."""

    out: int
    group: int = 1


class Residual(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """body(x) + shortcut(x); an empty shortcut is the identity."""

    body: tuple[LayerSpec, ...]
    shortcut: tuple[LayerSpec, ...] = ()


LayerSpec = (
    Conv
    | Linear
    | BatchNorm
    | ReLU
    | ReLUN
    | AveragePool
    | MaxPool
    | AdaptiveAveragePool
    | GlobalAveragePool
    | Dropout
    | Flatten
    | Mesh
    | Abs
    | Power
    | ElectroOptic
    | Saturable
    | Normalise
    | Ports
    | Residual
)

_PREFIXES: dict[type, str] = {
    Conv: "conv",
    Linear: "fc",
    BatchNorm: "bn",
    ReLU: "relu",
    ReLUN: "relu",
    AveragePool: "pool",
    MaxPool: "pool",
    AdaptiveAveragePool: "pool",
    GlobalAveragePool: "pool",
    Dropout: "dropout",
    Flatten: "flatten",
    Mesh: "mesh",
    Abs: "abs",
    Power: "power",
    ElectroOptic: "eo",
    Saturable: "saturable",
    Normalise: "norm",
    Ports: "ports",
    Residual: "block",
}


class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole model: images `input` (C, H, W) or features (F,) to `classes` logits."""

    name: str
    input: Shape
    classes: int
    layers: tuple[LayerSpec, ...]


class Placed(NamedTuple):
    """A layer in its place: full name, shapes of one sample in and out, and the layers inside a `Residual`."""

    name: str
    layer: LayerSpec
    input: Shape
    output: Shape
    body: tuple[Placed, ...] = ()
    shortcut: tuple[Placed, ...] = ()


def place(spec: ModelSpec) -> tuple[Placed, ...]:
    """Name every layer (conv1, bn1, conv2, fc1, block1.conv1, block1.shortcut.conv1, ...) and work out its shapes.

    Raises ModelError, naming the layer, where the layers do not fit together.
    """
    if len(spec.input) not in (1, 3) or min(spec.input) < 1:
        raise ModelError(f"model {spec.name}: input {spec.input} is not an image; give (channels, height, width)")
    placed = _place(spec.layers, spec.input, f"model {spec.name}: ", "")
    last = placed[-1].output if placed else spec.input
    if last != (spec.classes,):
        raise ModelError(f"model {spec.name}: the last layer gives {last}; end with Linear(out={spec.classes})")
    if _lit(placed, False, f"model {spec.name}: "):
        raise ModelError(f"model {spec.name}: the last layer gives light, not logits; end with Power or Abs")
    return placed


def _lit(placed: Iterable[Placed], light: bool, where: str) -> bool:
    """Whether complex light leaves these layers where `light` says what enters; ModelError if electronics reads it."""
    for item in placed:
        match item.layer:
            case Mesh() | ElectroOptic():
                light = True
            case Abs() | Power():
                light = False
            case Residual():
                light = _lit(item.body, light, where) | _lit(item.shortcut, light, where)
            case Saturable() | Normalise() | Ports() | Flatten():
                pass
            case _ if light:
                raise ModelError(f"{where}{item.name}: {type(item.layer).__name__} reads no light; put Abs before it")
    return light


def _place(layers: tuple[LayerSpec, ...], shape: Shape, where: str, prefix: str) -> tuple[Placed, ...]:
    numbers: dict[str, int] = {}
    placed = []
    for layer in layers:
        kind = _PREFIXES[type(layer)]
        numbers[kind] = numbers.get(kind, 0) + 1
        name = f"{prefix}{kind}{numbers[kind]}"
        if isinstance(layer, Residual):
            body = _place(layer.body, shape, where, f"{name}.")
            shortcut = _place(layer.shortcut, shape, where, f"{name}.shortcut.")
            output, other = (inner[-1].output if inner else shape for inner in (body, shortcut))
            if output != other:
                raise ModelError(
                    f"{where}{name}: the body gives {output} but the shortcut {other}; "
                    "give the shortcut a 1x1 Conv with the same channels and stride"
                )
            placed.append(Placed(name, layer, shape, output, body, shortcut))
        else:
            output = _output(layer, shape, where + name)
            placed.append(Placed(name, layer, shape, output))
        shape = output
    return tuple(placed)


def _output(layer: LayerSpec, shape: Shape, where: str) -> Shape:
    """The shape behind `layer`, or a ModelError at `where`."""
    _check(layer, where)
    match layer:
        case BatchNorm() | ReLU() | ReLUN() | Dropout():
            return shape
        case Linear(out=out):
            if len(shape) != 1:
                raise ModelError(f"{where}: a dense layer cannot read the image {shape}; put Flatten before it")
            return (out,)
        case Mesh() | Ports() | Abs() | Power() | ElectroOptic() | Saturable() | Normalise():
            return _optical(layer, shape, where)
    if len(shape) != 3:
        raise ModelError(f"{where}: {type(layer).__name__} needs an image but gets {shape[0]} features; move it up")
    c, h, w = shape
    match layer:
        case Flatten():
            return (c * h * w,)
        case GlobalAveragePool():
            return (c, 1, 1)
        case AdaptiveAveragePool(out=out):
            return (c, out, out)
        case Conv(kernel=kernel, stride=stride, padding=padding) | MaxPool(
            kernel=kernel, stride=stride, padding=padding
        ):
            pass
        case AveragePool(kernel=kernel, stride=stride):
            padding = 0
    h, w = (window_count(size, kernel, stride, padding) for size in (h, w))
    if min(h, w) < 1:
        raise ModelError(
            f"{where}: a {kernel}x{kernel} window with padding {padding} does not fit the {shape[1]}x{shape[2]} image; "
            "use larger images, fewer pools or more padding"
        )
    return (layer.out if isinstance(layer, Conv) else c, h, w)


def _optical(layer: LayerSpec, shape: Shape, where: str) -> Shape:
    """The shape behind a layer of light."""
    if len(shape) != 1:
        raise ModelError(f"{where}: {type(layer).__name__} cannot read the image {shape}; put Flatten before it")
    match layer:
        case Mesh(modes=modes):
            if shape[0] > modes:
                raise ModelError(f"{where}: {shape[0]} features do not fit {modes} modes; use more modes or a Linear")
            return (modes,)
        case Ports(out=out, group=group):
            if out * group > shape[0]:
                raise ModelError(f"{where}: {out} groups of {group} ports need {out * group} but there are {shape[0]}")
            return (out,)
    return shape


def _check(layer: LayerSpec, where: str) -> None:
    """ModelError for a number that no layer can have."""
    least = {"out": 1, "kernel": 1, "stride": 1, "padding": 0, "k": 2, "modes": 1, "group": 1}
    for field, low in least.items():
        value = getattr(layer, field, low)
        if value < low:
            raise ModelError(f"{where}: {field} = {value} is too small; use at least {low}")
    if isinstance(layer, MaxPool) and layer.padding > layer.kernel // 2:
        raise ModelError(f"{where}: padding {layer.padding} makes empty windows; use at most {layer.kernel // 2}")
    if isinstance(layer, ReLUN) and not layer.limit > 0:
        raise ModelError(f"{where}: limit = {layer.limit} clips everything; use a positive limit")
    if isinstance(layer, ElectroOptic) and not 0 <= layer.tapped < 1:
        raise ModelError(f"{where}: tapped = {layer.tapped} is not a share of the light; use 0 <= tapped < 1")
    if isinstance(layer, Saturable) and not (layer.saturation > 0 and layer.depth >= 0):
        raise ModelError(f"{where}: depth = {layer.depth}, saturation = {layer.saturation}; neither may be negative")
    if isinstance(layer, Dropout) and not 0 <= layer.p < 1:
        raise ModelError(f"{where}: p = {layer.p} is not a dropout probability; use 0 <= p < 1")


class Count(NamedTuple):
    """What a layer is made of.

    `parameters`: trainable numbers of the electronic version. On the chip, cores being padded to whole k x k:
    `blocks` tensor cores, `sigma` singular values, `mzis` in the U and V meshes (k (k - 1) per core).
    Those of a whole mesh are its phases.
    """

    parameters: int = 0
    blocks: int = 0
    sigma: int = 0
    mzis: int = 0


class Counts(NamedTuple):
    """`layers` by full name (only those with parameters), and their sum."""

    layers: dict[str, Count]
    total: Count


def count(spec: ModelSpec) -> Counts:
    """Parameters, tensor cores, singular values and MZIs of a model, per layer and in total."""
    layers: dict[str, Count] = {}

    def visit(placed: tuple[Placed, ...]) -> None:
        for item in placed:
            visit(item.body)
            visit(item.shortcut)
            if isinstance(item.layer, BatchNorm):
                layers[item.name] = Count(parameters=2 * item.input[0])
            elif isinstance(item.layer, Conv | Linear):
                out, width = matrix_shape(item)
                k = item.layer.k
                blocks = math.ceil(out / k) * math.ceil(width / k)
                layers[item.name] = Count(out * width, blocks, blocks * k, blocks * k * (k - 1))
            elif isinstance(item.layer, Mesh):
                n = layout.Mesh(item.layer.kind, item.layer.modes).count
                layers[item.name] = Count(2 * n + item.layer.screen * item.layer.modes, mzis=n)

    visit(place(spec))
    return Counts(layers, Count(*map(sum, zip(*layers.values()))) if layers else Count())


def matrix_shape(item: Placed) -> tuple[int, int]:
    """Rows and columns of the matrix of a placed `Conv` or `Linear`: (out, in) or (out, channels kernel^2)."""
    if isinstance(item.layer, Conv):
        return item.layer.out, item.input[0] * item.layer.kernel**2
    return item.output[0], item.input[0]


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


def vgg8(classes: int = 10, input: Image = (3, 32, 32)) -> ModelSpec:
    """VGG8: five 3x3 convolutions (64 to 512 channels) with ReLU6 and 2x2 max pooling.

    Images other than 32x32 end in a global average pool and, as published, have no dropout.
    """
    layers: list[LayerSpec] = []
    for channels in (64, 128, 256, 512, 512):
        layers += [*_conv(channels, 6), MaxPool(2, 2)]
    if input[1:] == (32, 32):
        layers += [Flatten(), Dropout(0.5)]
    else:
        layers[-1:] = [GlobalAveragePool(), Flatten()]
    return ModelSpec("vgg8", input, classes, (*layers, Linear(classes)))


def resnet18(classes: int = 10, input: Image = (3, 32, 32)) -> ModelSpec:
    """ResNet18 with a 3x3 stem and ReLU6 in the blocks; images above 64 pixels are first reduced four times."""
    large = input[2] > 64
    layers: list[LayerSpec] = [Conv(64, 3, 2 if large else 1, 1), BatchNorm(), ReLU()]
    if large:
        layers.append(MaxPool(3, 2, 1))
    before = 64
    for channels, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first, 1):
            body = (*_conv(channels, 6, stride=stride), Conv(channels, 3, 1, 1), BatchNorm())
            shortcut = () if before == channels else (Conv(channels, 1, stride), BatchNorm())
            layers += [Residual(body, shortcut), ReLUN(6)]
            before = channels
    return ModelSpec("resnet18", input, classes, (*layers, GlobalAveragePool(), Flatten(), Linear(classes)))


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
) -> ModelSpec:
    """Meshes of `modes` ports, each followed by `nonlinearity`; logits are the powers of the first ports, or groups.

    Behind |.| and |.|^2 the screen of a mesh does nothing, so that it is not trained.
    """
    blind = nonlinearity in ("abs", "power")
    item = NONLINEARITIES[nonlinearity]
    body = (Mesh(modes, kind, not blind), item) * layers
    if nonlinearity == "power":  # the last one is the detector
        body = body[:-1]
    return ModelSpec("onn", input, classes, (*body, Power(), Ports(classes, group)))


def _conv(channels: int, limit: float, stride: int = 1) -> tuple[LayerSpec, ...]:
    """The convolution block of all models: 3x3 convolution, batch normalisation, clipped ReLU."""
    return Conv(channels, 3, stride, 1), BatchNorm(), ReLUN(limit)


MODELS = {"mlp": mlp, "cnn-s": cnn_s, "cnn-l": cnn_l, "vgg8": vgg8, "resnet18": resnet18}


def get(name: str, classes: int = 10, input: Image | None = None) -> ModelSpec:
    """A published model by name, in any case; `input` (C, H, W) defaults to the published size.

    Raises ModelError with the nearest name when there is no such model.
    """
    key = name.lower()
    if key not in MODELS:
        near = difflib.get_close_matches(key, MODELS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ModelError(f"model {name!r} is unknown; {hint}models: {', '.join(MODELS)}")
    return MODELS[key](classes) if input is None else MODELS[key](classes, input)
