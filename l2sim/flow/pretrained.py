"""Weights that were trained elsewhere, put into an electronic network.

The file holds arrays in PyTorch's layout: `NAME.weight` (out, in, height, width) of a convolution or (out, in) of a
dense layer, `NAME.bias` (out,) of either, and `NAME.weight`, `.bias`, `.running_mean`, `.running_var` of a batch norm.
Names are those of l2sim (`conv1`, `block1.conv2`, `bn1`, `fc1`; what `l2sim export` writes) or any others, which are
then matched by shape and order (`pairing`), as in torchvision's ResNet and VGG (with batch norm):

    conv1, layer1.0.conv1, layer1.0.conv2 ... layer2.0.downsample.0      conv1, block1.conv1, block1.conv2 ...
                                                                         block3.shortcut.conv1
    bn1, layer1.0.bn1, layer1.0.bn2 ... layer2.0.downsample.1            bn1, block1.bn1 ... block3.shortcut.bn1
    fc                                                                   fc1

What the layers here lack is fitted: the bias of a convolution goes into the mean of the batch norm behind it; the
middle of a larger first kernel (the 7 x 7 stem of ImageNet's ResNets) is cut out for small images; a classifier of
other classes starts anew. Every other array must have its place: one that no layer takes is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from l2sim import given
from l2sim.backend import Array
from l2sim.errors import ModelError
from l2sim.flow import pairing
from l2sim.nn import models
from l2sim.nn.models import ModelSpec, Placed
from l2sim.nn.network import Network
from l2sim.store import tensors

KINDS = {models.Conv: "convolution", models.Linear: "dense layer", models.BatchNorm: pairing.NORM}
NORM = ("weight", "bias", "running_mean", "running_var")
LARGEST = 15
"""The largest first kernel whose middle is cut out."""


COUNTER = "num_batches_tracked"
"""What PyTorch's batch norms count beside their statistics; no network computes with it."""
TEXT = "l2sim"
"""The text that says that `l2sim export` wrote a file, which then holds more than the network."""


class Loaded(NamedTuple):
    """What was done with a file: of every layer here what of the file it is, and what was changed to make it fit."""

    places: list[str]
    changes: list[str]


class Fitted(NamedTuple):
    """Arrays by the names of `Network.parameters` and `buffers`, what was changed to make them fit, and of every layer
    here what of the file it is."""

    arrays: dict[str, Array]
    notes: list[str]
    places: dict[str, str]


def load_weights(
    path: str | Path, network: Network, new_classifier: bool = True, weights_map: Iterable[str] = ()
) -> Loaded:
    """Put the weights of a file into `network`; returns what went where, and what was changed to make it fit.

    `new_classifier`: a classifier of other classes may stay as it is. `weights_map`: lines "NAME IN THE FILE = LAYER
    HERE", nothing behind = for what is to be left out. Raises ModelError, before anything changes.
    """
    path = given.path(path, "a file of weights", ModelError)
    if not isinstance(network, Network):
        raise ModelError(f"weights are put into a network, not a {type(network).__name__}; build one of a model")
    if isinstance(weights_map, str) or not isinstance(weights_map, Iterable):
        raise ModelError("a weights map is a list of lines 'name in the file = layer here'")
    arrays, texts = tensors.read(path)
    try:
        fitted = fit(network.spec, arrays, path.suffix == ".npz", weights_map, TEXT in texts)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    missing = network.state().keys() - fitted.arrays.keys()
    if missing and not new_classifier:
        raise ModelError(f"{path}: {fitted.notes[-1]}; train it (pretrain.epochs), or give weights for these classes")
    network.load({**network.state(), **fitted.arrays})
    return Loaded([f"{ours} is {theirs}" for ours, theirs in fitted.places.items()], fitted.notes)


def fit(
    spec: ModelSpec,
    arrays: Mapping[str, Array],
    ordered: bool = False,
    weights_map: Iterable[str] = (),
    exported: bool = False,
) -> Fitted:
    """The arrays of a file for the model `spec`; `ordered` where the order of `arrays` is that of their network, and
    `exported` where l2sim wrote them, with others. Raises ModelError naming what does not fit, or has no place."""
    layers = _layers(models.place(spec))
    groups = _groups(arrays)
    chosen = pairing.named(weights_map, [*groups, *arrays], (item.name for item, _ in layers))
    pairs = _paired(layers, groups, chosen, ordered)
    norms = {pairs[item.name] for item, _ in layers if isinstance(item.layer, models.BatchNorm)}
    _check_all(arrays, set(pairs.values()), norms, [name for name, ours in chosen.items() if not ours], exported)
    convs = [item.name for item, _ in layers if isinstance(item.layer, models.Conv)]
    last = layers[-1][0].name
    fitted, shifts = Fitted({}, [], pairs), dict[str, Array]()
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
        if bias is not None and bias.shape != (classes,):
            raise ModelError(f"{theirs}.bias has shape {bias.shape} but {item.name} needs {(classes,)}")
        _fit_bias(item, norm, theirs, bias, fitted, shifts)
    return fitted


def _fit_bias(
    item: Placed, norm: str, theirs: str, bias: Array | None, fitted: Fitted, shifts: dict[str, Array]
) -> None:
    """Take the bias of a layer, or put it into the batch norm behind."""
    assert isinstance(item.layer, models.Conv | models.Linear)
    if item.layer.bias:
        if bias is None:
            fitted.notes.append(f"{theirs} has no bias: that of {item.name} begins at zero")
        fitted.arrays[f"{item.name}.bias"] = np.zeros(models.matrix_shape(item)[0]) if bias is None else bias
    elif bias is not None and bias.any():
        if not norm:
            cure = "model.bias=true gives the layers here one too"
            raise ModelError(f"{theirs}.bias has no place: {item.name} has no bias; {cure}")
        shifts[norm] = bias


def _paired(
    layers: list[tuple[Placed, str]], groups: dict[str, dict[str, Array]], chosen: dict[str, str], ordered: bool
) -> dict[str, str]:
    """The name in the file of every layer: as chosen, its own, or by shape and order."""
    front = {norm: item.name for item, norm in layers if norm}
    fixed = {ours: theirs for theirs, ours in chosen.items() if ours}
    mine = []
    for i, (item, _) in enumerate(layers):
        if item.name not in fixed:
            first = not any(isinstance(other.layer, models.Conv) for other, _ in layers[:i])
            behind = front.get(item.name, "")
            features = item.input[0] if i == len(layers) - 1 and isinstance(item.layer, models.Linear) else 0
            shape, larger = _shape(item), _larger(item) if first else frozenset()
            mine.append(pairing.Layer(item.name, KINDS[type(item.layer)], shape, behind, features, larger))
    kinds = {name: (_kind(group), group) for name, group in groups.items() if name not in chosen}
    theirs = {name: (kind, group["weight"].shape) for name, (kind, group) in kinds.items() if kind}
    return fixed | pairing.paired(mine, theirs, ordered)


def _shape(item: Placed) -> tuple[int, ...]:
    """The shape of a layer's weight in PyTorch's layout."""
    return item.input[:1] if isinstance(item.layer, models.BatchNorm) else _wanted(item)


def _larger(item: Placed) -> frozenset[tuple[int, ...]]:
    """Shapes of larger kernels, whose middle a convolution takes."""
    if not isinstance(item.layer, models.Conv):
        return frozenset()
    sizes = range(item.layer.kernel + 2, LARGEST + 1, 2)
    return frozenset((*_wanted(item)[:2], size, size) for size in sizes)


def _check_all(arrays: Iterable[str], taken: set[str], norms: set[str], left: list[str], exported: bool) -> None:
    """ModelError for an array of the file that no layer takes: of `taken` layers, those of `norms` have statistics, and
    what is `left` out on purpose is passed over."""
    for name in arrays:
        layer, _, end = name.rpartition(".")
        ends = (*NORM, COUNTER) if layer in norms else NORM[:2]
        if exported or name in left or layer in left or (layer in taken and end in ends):
            continue
        alone = layer in taken or end not in NORM
        line = f'"{name if alone else layer}" = ""'
        cure = f"give weights of this model, or leave it out with the line {line} in a weights map"
        raise ModelError(f"{name} belongs to no layer of this network, which would compute something else; {cure}")


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
        if end in NORM and layer:
            groups.setdefault(layer, {})[end] = array
    return groups


def _kind(group: dict[str, Array]) -> str:
    if "running_mean" in group:
        return pairing.NORM if set(NORM) <= group.keys() else ""
    return {4: "convolution", 2: "dense layer"}.get(group["weight"].ndim, "") if "weight" in group else ""


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
