"""Descriptions of layers and models: frozen data that reads and writes as TOML or JSON (`type` is the class name).

They say what the layers are, not what computes them; `place` works out their shapes, `network.build` their mathematics.
"""

from __future__ import annotations

import math

import msgspec

Shape = tuple[int, ...]
Image = tuple[int, int, int]


class Conv(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Convolution to `out` channels; `k` is the size of its tensor cores, a `bias` is electronic."""

    out: int
    kernel: int = 3
    stride: int = 1
    padding: int = 0
    k: int = 9
    bias: bool = False


class Linear(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Dense layer to `out` features; `k` is the size of its tensor cores, a `bias` is electronic."""

    out: int
    k: int = 9
    bias: bool = False


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


class Standardise(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """(x - mean) / std per channel of the pictures: what a network was trained with."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


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
    """Each sample brought to the total `power`."""

    power: float = 1.0


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
    | Standardise
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

class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole model: images `input` (C, H, W) or features (F,) to `classes` logits."""

    name: str
    input: Shape
    classes: int
    layers: tuple[LayerSpec, ...]
