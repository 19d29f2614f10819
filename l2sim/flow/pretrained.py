"""Weights that were trained elsewhere, put into an electronic network.

The file holds arrays in PyTorch's layout: `NAME.weight` (out, in, height, width) of a convolution or (out, in) of a
dense layer, and `NAME.weight`, `.bias`, `.running_mean`, `.running_var` of a batch norm. Names are those of l2sim
(`conv1`, `block1.conv2`, `bn1`, `fc1`; what `l2sim export` writes) or any others: then the layers of each kind are
matched one by one, in the natural order of their names, which is the order of the light in torchvision's ResNet and
VGG (with batch norm):

    conv1, layer1.0.conv1, layer1.0.conv2 ... layer2.0.downsample.0      conv1, block1.conv1, block1.conv2 ...
                                                                         block3.shortcut.conv1
    bn1, layer1.0.bn1, layer1.0.bn2 ... layer2.0.downsample.1            bn1, block1.bn1 ... block3.shortcut.bn1
    fc                                                                   fc1

What the layers here lack is fitted: a convolution's bias goes into the mean of the batch norm behind it; the middle of
a larger first kernel (the 7 x 7 stem of ImageNet's ResNets) is cut out for small images; a classifier of other classes
starts anew; a dense layer's bias is left out, and said so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from l2sim.backend import Array
from l2sim.errors import ModelError
from l2sim.nn import models
from l2sim.nn.models import ModelSpec, Placed
from l2sim.nn.network import Network
from l2sim.store import tensors

KINDS = {models.Conv: "convolution", models.Linear: "dense layer", models.BatchNorm: "batch norm"}
NORM = ("weight", "bias", "running_mean", "running_var")


class Fitted(NamedTuple):
    """Arrays by the names of `Network.parameters` and `buffers`, and what was changed to make them fit."""

    arrays: dict[str, Array]
    notes: list[str]


def load_weights(path: Path, network: Network, new_classifier: bool = True) -> list[str]:
    """Put the weights of a file into `network`; returns what was changed to make them fit.

    `new_classifier`: a classifier of other classes may stay as it is. Raises ModelError, before anything changes.
    """
    arrays, _ = tensors.read(path)
    try:
        fitted = fit(network.spec, arrays)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    missing = network.state().keys() - fitted.arrays.keys()
    if missing and not new_classifier:
        raise ModelError(f"{path}: {fitted.notes[-1]}; train it (pretrain.epochs), or give weights for these classes")
    network.load({**network.state(), **fitted.arrays})
    return fitted.notes


def fit(spec: ModelSpec, arrays: Mapping[str, Array]) -> Fitted:
    """The arrays of a file for the model `spec`. Raises ModelError naming what does not fit."""
    layers = _layers(models.place(spec))
    groups = _groups(arrays)
    mine = {item.name: KINDS[type(item.layer)] for item, _ in layers}
    pairs = _paired(mine, groups)
    convs = [name for name, kind in mine.items() if kind == "convolution"]
    last = layers[-1][0].name
    fitted, shifts = Fitted({}, []), dict[str, Array]()
    for item, norm in layers:
        theirs = pairs[item.name]
        group = {end: _numbers(f"{theirs}.{end}", a) for end, a in groups[theirs].items()}
        if isinstance(item.layer, models.BatchNorm):
            _fit_norm(item, theirs, group, shifts.get(item.name), fitted)
            continue
        weight, bias = group["weight"], group.get("bias")
        if weight.ndim == 4 and item.name in convs[:1]:
            weight = _cropped(weight, item, theirs, fitted.notes)
        classes = models.matrix_shape(item)[0]
        if item.name == last and weight.ndim == 2 and _anew(weight, item):
            fitted.notes.append(
                f"{theirs}.weight has {len(weight)} classes where {classes} are wanted: {last} starts anew"
            )
            continue
        fitted.arrays[f"{item.name}.weight"] = _fit_weight(weight, item, theirs)
        if bias is not None and bias.any():
            if norm and isinstance(item.layer, models.Conv):
                shifts[norm] = bias
            else:
                fitted.notes.append(f"{theirs}.bias is left out: layers here have no bias")
    return fitted


def _fit_norm(item: Placed, theirs: str, group: dict[str, Array], shift: Array | None, fitted: Fitted) -> None:
    """Take the arrays of a batch norm; `shift` is the bias of the convolution before it."""
    for end in NORM:
        if group[end].shape != item.input[:1]:
            shapes = f"has shape {group[end].shape} but {item.name} needs {item.input[:1]}"
            raise ModelError(f"{theirs}.{end} {shapes}; give weights of this model")
        fitted.arrays[f"{item.name}.{end}"] = group[end]
    if shift is not None:
        fitted.arrays[f"{item.name}.running_mean"] = group["running_mean"] - shift


def _anew(weight: Array, item: Placed) -> bool:
    """Whether a classifier is of the same features and of other classes."""
    classes, features = models.matrix_shape(item)
    return bool(weight.shape[0] != classes and weight.shape[1] == features)


def _fit_weight(weight: Array, item: Placed, theirs: str) -> Array:
    """The weight of a layer as a matrix."""
    shape = models.matrix_shape(item)
    kernel = (item.layer.kernel,) * 2 if isinstance(item.layer, models.Conv) and weight.ndim == 4 else weight.shape[2:]
    # The same numbers in windows of another size are no fit.
    if weight.shape[2:] != kernel or weight.reshape(len(weight), -1).shape != shape:
        shapes = f"has shape {weight.shape} but {item.name} needs {_wanted(item)}"
        raise ModelError(f"{theirs}.weight {shapes}; give weights of this model")
    return weight.reshape(shape)


def _layers(placed: tuple[Placed, ...]) -> list[tuple[Placed, str]]:
    """Every layer with weights, in the order of the light, a body before its shortcut; and the batch norm behind it."""
    layers = []
    for item, after in zip(placed, (*placed[1:], None)):
        if isinstance(item.layer, models.Residual):
            layers += _layers(item.body) + _layers(item.shortcut)
        elif type(item.layer) in KINDS:
            norm = after.name if after is not None and isinstance(after.layer, models.BatchNorm) else ""
            layers.append((item, norm))
    return layers


def _groups(arrays: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """The arrays by layer: what stands before the last dot of their names."""
    groups: dict[str, dict[str, Array]] = {}
    for name, array in arrays.items():
        layer, _, end = name.rpartition(".")
        if end in NORM:
            groups.setdefault(layer, {})[end] = array
    return groups


def _paired(mine: dict[str, str], groups: dict[str, dict[str, Array]]) -> dict[str, str]:
    """The name in the file of every layer: its own, or by kind and order."""
    kinds = {name: kind for name, group in groups.items() if (kind := _kind(group))}
    if all((kinds.get(name) == KINDS[models.BatchNorm]) == (kind == KINDS[models.BatchNorm]) and name in kinds
           for name, kind in mine.items()):
        return {name: name for name in mine}
    pairs: dict[str, str] = {}
    for kind in KINDS.values():
        ours = [name for name, own in mine.items() if own == kind]
        theirs = sorted((name for name, own in kinds.items() if own == kind), key=_natural)
        if len(ours) != len(theirs):
            numbers = f"it holds {len(theirs)} of kind {kind} where the model has {len(ours)}"
            raise ModelError(f"{numbers}; give weights of this model")
        pairs |= dict(zip(ours, theirs))
    return pairs


def _kind(group: dict[str, Array]) -> str:
    if "running_mean" in group:
        return "batch norm" if set(NORM) <= group.keys() else ""
    return {4: "convolution", 2: "dense layer"}.get(group["weight"].ndim, "") if "weight" in group else ""


def _natural(name: str) -> list[tuple[int, str]]:
    """So that layer10 comes behind layer9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _numbers(name: str, array: Array) -> Array:
    if array.dtype.kind != "f":
        raise ModelError(f"{name} holds {array.dtype}, not numbers with a fraction; give float arrays")
    if not np.isfinite(array).all():
        raise ModelError(f"{name} holds NaN or infinity; give finite weights")
    return array.astype(np.float64)


def _cropped(weight: Array, item: Placed, theirs: str, notes: list[str]) -> Array:
    """The middle of a kernel that is larger by an even number."""
    assert isinstance(item.layer, models.Conv)
    kernel, theirs_size = item.layer.kernel, weight.shape[2]
    cut = theirs_size - kernel
    if cut <= 0 or cut % 2 or weight.shape[2] != weight.shape[3]:
        return weight
    notes.append(f"{theirs}.weight is cut from {theirs_size} x {theirs_size} to its middle {kernel} x {kernel}")
    return weight[:, :, cut // 2 : cut // 2 + kernel, cut // 2 : cut // 2 + kernel]


def _wanted(item: Placed) -> tuple[int, ...]:
    """The shape of a layer's weight in PyTorch's layout."""
    if isinstance(item.layer, models.Conv):
        return item.layer.out, item.input[0], item.layer.kernel, item.layer.kernel
    return models.matrix_shape(item)
