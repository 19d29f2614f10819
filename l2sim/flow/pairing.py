"""Which layer of a file is which layer of a network, where the file calls them otherwise.

Shapes decide. Where layers of one shape could be exchanged, their order in the file does, if the file has one: a .npz
file and a dictionary keep the order in which their writer went through the network; a safetensors file has none (its
writers sort by name). There, and only there, names decide that differ in nothing but numbers (features.0, features.3;
layer1.0.conv1, layer1.1.conv1), since every framework numbers the layers of a sequence in the order of the light; but
not where people number by resolution, as the two halves of a U-Net (up3, up2, up1 or up1, up2, up3), nor where the
numbers contradict the order that a file has. A batch norm goes with the convolution in front of it: bn1 with conv1,
features.1 with features.0. All else is refused, with two of the ways that fit, until a table says which it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from l2sim.errors import ModelError

__all__ = ["Layer", "named", "paired"]

Shape = tuple[int, ...]
NORM = "batch norm"
"""The kind that no other layer could be taken for; a convolution may be stored as its matrix."""
EITHER_WAY = re.compile(r"(?<![a-z])(?:up|down|dec|enc)[a-z]*[_-]?$", re.IGNORECASE)
"""What a number stands behind that may as well fall as rise with the depth, of halves that people number by resolution:
up3, dec_2, decoder1; not decoder.1, which a framework numbers. Ours."""
CURE = "say which it is with --weights-map FILE, or with pretrain.weights_map in the job"


class Layer(NamedTuple):
    """A layer here: what kind it is, the shape of its weight, and the layer that its light comes from. Where nothing of
    that shape is left, a classifier of `features` takes one of other classes, and a first convolution one that is
    `larger`."""

    name: str
    kind: str
    shape: Shape
    behind: str = ""
    features: int = 0
    larger: frozenset[Shape] = frozenset()


def named(entries: Iterable[str], names: Iterable[str], layers: Iterable[str]) -> dict[str, str]:
    """The table "THEIRS = OURS" as layer here by layer of the file, "" for one that is to be left out.

    ModelError for a line that is none, for a layer that is not there, and for one that is there twice.
    """
    theirs, ours, made = set(names), set(layers), dict[str, str]()
    for entry in entries:
        if not isinstance(entry, str):
            raise ModelError(f"{entry!r} is no line of a weights map; write 'name in the file = layer here'")
        left, equals, right = (part.strip() for part in entry.rpartition("="))
        left = left.removesuffix(".weight") if right else left
        if not equals or not left:
            raise ModelError(f"{entry!r} is no line of a weights map; write 'name in the file = layer here'")
        if left not in theirs:
            raise ModelError(f"the weights map names {left!r}, which the file lacks; it has {_some(theirs)}")
        if right and right not in ours:
            raise ModelError(f"the weights map names the layer {right!r}; this network has {_some(ours)}")
        if left in made or (right and right in made.values()):
            raise ModelError(f"the weights map names {left if left in made else right!r} twice; leave one of the lines")
        made[left] = right
    return made


def paired(layers: Sequence[Layer], theirs: Mapping[str, tuple[str, Shape]], ordered: bool) -> dict[str, str]:
    """The name in the file of every layer. `theirs`: kind and shape of the weight of every layer of the file, in its
    order, which counts if `ordered`. ModelError where nothing fits, and where several ways fit and nothing decides."""
    own = {layer.name: theirs[layer.name][0] for layer in layers if layer.name in theirs}
    if all((own.get(layer.name) == NORM) == (layer.kind == NORM) and layer.name in own for layer in layers):
        return {layer.name: layer.name for layer in layers}
    pairs: dict[str, str] = {}
    for kind in dict.fromkeys(layer.kind for layer in layers):
        ours = [layer for layer in layers if layer.kind == kind]
        names = [name for name, (own, _) in theirs.items() if own == kind]
        if len(ours) != len(names):
            numbers = f"it holds {len(names)} of kind {kind} where the model has {len(ours)}"
            raise ModelError(f"{numbers}; give weights of this model, or {CURE}")
        beside = _beside(ours, names, theirs, pairs)
        pairs |= beside or _in_order(ours, names, theirs, ordered)
    kinds = {layer.kind for layer in layers}
    extra = [kind for kind, _ in theirs.values() if kind not in kinds]
    if extra:
        raise ModelError(f"it holds layers of kind {extra[0]}, which the model lacks; give weights of this model")
    return pairs


def _in_order(
    ours: list[Layer], names: list[str], theirs: Mapping[str, tuple[str, Shape]], ordered: bool
) -> dict[str, str]:
    """Layers of one kind by shape, and where shapes do not tell by order."""
    pairs = _special(ours, names, theirs)
    rest = [layer for layer in ours if layer.name not in pairs]
    left = [name for name in names if name not in pairs.values()]
    for shape in dict.fromkeys(layer.shape for layer in rest):
        mine = [layer for layer in rest if layer.shape == shape]
        fit = [name for name in left if theirs[name][1] == shape]
        if len(fit) != len(mine):
            far = [name for name in left if not any(theirs[name][1] == layer.shape for layer in rest)]
            if len(far) == len(mine) == 1:
                said = f"{far[0]}.weight has shape {theirs[far[0]][1]} but {mine[0].name} needs {shape}"
            else:
                there = ", ".join(f"{name} {theirs[name][1]}" for name in (fit or left)[:4])
                need = f"{len(mine)} layers like {mine[0].name} need {shape}"
                said = f"{need}, which {len(fit)} of the file have: {there}"
            raise ModelError(f"{said}; give weights of this model, or {CURE}")
        pairs |= dict(zip((layer.name for layer in mine), _sequence(fit, ordered, mine)))
    return pairs


def _special(ours: list[Layer], names: list[str], theirs: Mapping[str, tuple[str, Shape]]) -> dict[str, str]:
    """A classifier of other classes and a first convolution that is larger, where one of the file fits nowhere else."""
    places = {layer.shape for layer in ours}
    stray = [name for name in names if theirs[name][1] not in places]
    made: dict[str, str] = {}
    for layer in ours:
        own = [name for name in names if theirs[name][1] == layer.shape]
        if len(own) >= sum(layer.shape == other.shape for other in ours):
            continue
        fit = [
            name for name in stray
            if theirs[name][1] in layer.larger or (layer.features and theirs[name][1][1:] == (layer.features,))
        ]  # fmt: skip
        if len(fit) == 1:
            made[layer.name] = fit[0]
    return made


def _sequence(names: list[str], ordered: bool, ours: list[Layer]) -> list[str]:
    """Names of layers that could be exchanged, in the order of the light. ModelError where nothing tells it."""
    if len(names) < 2:
        return names
    natural = sorted(names, key=numbered)
    counted = len({tuple(map(int, re.findall(r"\d+", name))) for name in names}) == len(names)
    alike = counted and len({re.sub(r"\d+", "#", name) for name in names}) == 1 and not interleaved(names)
    if ordered and (natural == names or not alike):
        return names
    if alike and not ordered and not either_way(names):
        return natural
    other = names if ordered else [natural[1], natural[0], *natural[2:]]
    one, two = (", ".join(f"{layer.name} = {name}" for layer, name in zip(ours, way)) for way in (natural, other))
    why = "its order and its numbers differ" if ordered else "a safetensors file keeps no order"
    if alike and not ordered:
        why += ", and such numbers may fall with depth"
    raise ModelError(f"several ways fit, and {why}: {one}; or {two}; {CURE}")


def either_way(names: list[str]) -> bool:
    """Whether names that differ in numbers only count something that may rise or fall in the order of the light."""
    pieces = [re.split(r"(\d+)", name) for name in names]
    differ = [at for at in range(1, len(pieces[0]), 2) if len({name[at] for name in pieces}) > 1]
    return any(EITHER_WAY.search(pieces[0][at - 1]) for at in differ)


def interleaved(names: list[str]) -> bool:
    """Whether names could be of lists whose layers the light meets in turn: lin1.0, lin2.0, lin1.1."""
    leaves = all(name.rpartition(".")[2].isdigit() for name in names)
    lists = {tuple(part for part in name.split(".")[:-1] if not part.isdigit()) for name in names}
    return leaves and len(lists) > 1


def _beside(
    ours: list[Layer], names: list[str], theirs: Mapping[str, tuple[str, Shape]], pairs: Mapping[str, str]
) -> dict[str, str]:
    """Batch norms by the convolutions in front of them, whose pairs are known; nothing where that does not tell all."""
    made: dict[str, str] = {}
    for layer in ours:
        front = pairs.get(layer.behind)
        fit = [name for name in names if front and theirs[name][1] == layer.shape and follows(name, front)]
        if len(fit) != 1:
            return {}
        made[layer.name] = fit[0]
    return made if len(set(made.values())) == len(made) else {}


def follows(norm: str, conv: str) -> bool:
    """Whether names say that a batch norm stands behind a convolution: the next one of a sequence, or of one number."""
    (parent, _, leaf), (above, _, front) = norm.rpartition("."), conv.rpartition(".")
    if parent != above:
        return False
    if leaf.isdigit() and front.isdigit():
        return int(leaf) == int(front) + 1
    return re.findall(r"\d+", leaf) == re.findall(r"\d+", front)


def numbered(name: str) -> list[tuple[int, str]]:
    """A name to sort by, so that layer10 comes behind layer9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _some(names: Iterable[str]) -> str:
    listed = sorted(names, key=numbered)
    return ", ".join(listed[:8]) + (" ..." if len(listed) > 8 else "")
