"""A description put in place: every layer's full name and shapes, whether they fit together, and what they cost.

Shapes are of one sample: an image (C, H, W) or features (F,), which may be a field of light at F ports.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from l2sim.errors import ModelError
from l2sim.mesh import mesh as layout
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

__all__ = ["Count", "Counts", "Placed", "count", "matrix_shape", "place", "window_count"]


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
    Standardise: "standardise",
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


def window_count(size: int, kernel: int, stride: int, padding: int = 0) -> int:
    """How many windows of `kernel` fit along an axis of `size` padded on both sides; an incomplete one is dropped."""
    return (size + 2 * padding - kernel) // stride + 1


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
        case Standardise(mean=mean, std=std):
            if not len(mean) == len(std) == c:
                raise ModelError(f"{where}: {len(mean)} means and {len(std)} deviations do not fit {c} channels")
            return shape
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
    k = getattr(layer, "k", 2)
    if k > layout.MODES[1]:
        raise ModelError(
            f"{where}: k = {k} does not fit; tensor cores have {layout.MODES[0]} to {layout.MODES[1]} modes"
        )
    if isinstance(layer, MaxPool) and layer.padding > layer.kernel // 2:
        raise ModelError(f"{where}: padding {layer.padding} makes empty windows; use at most {layer.kernel // 2}")
    if isinstance(layer, ReLUN) and not layer.limit > 0:
        raise ModelError(f"{where}: limit = {layer.limit} clips everything; use a positive limit")
    if isinstance(layer, ElectroOptic) and not 0 <= layer.tapped < 1:
        raise ModelError(f"{where}: tapped = {layer.tapped} is not a share of the light; use 0 <= tapped < 1")
    if isinstance(layer, Normalise) and not 0 < layer.power < math.inf:
        raise ModelError(f"{where}: power = {layer.power} is none that light can be brought to; use a positive one")
    if isinstance(layer, Saturable) and not (layer.saturation > 0 and layer.depth >= 0):
        raise ModelError(f"{where}: depth = {layer.depth}, saturation = {layer.saturation}; neither may be negative")
    if isinstance(layer, Standardise) and not all(std > 0 for std in layer.std):
        raise ModelError(f"{where}: std = {layer.std} cannot divide; use positive deviations")
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
                layers[item.name] = Count(out * width + out * item.layer.bias, blocks, blocks * k, blocks * k * (k - 1))
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
