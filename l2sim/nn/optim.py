"""Optimisers and learning-rate schedules as functions of plain arrays.

    optimiser = start("adamw", network.parameters())
    step(optimiser, network.parameters(), network.gradients(), lr=1e-3, weight_decay=0.01)

The state is a step count and a flat dictionary of arrays, so `state` and `load` carry it through a checkpoint bit for
bit. The update rules follow PyTorch's `torch.optim` to the placement of eps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from l2sim import naming
from l2sim.backend import Array, kernels, like, namespace
from l2sim.errors import ModelError

__all__ = [
    "OPTIMISERS",
    "Optimiser",
    "adam",
    "adamw",
    "cosine",
    "exponential",
    "load",
    "sgd",
    "start",
    "state",
    "step",
]


STEPS = naming.name("optimiser", "steps", "count")
"""What the step count is called among the arrays of `state`."""
PIECE = 1 << 15
"""Numbers that are updated at a time: they stay in the cache across the dozen passes of an update."""


@dataclass
class Optimiser:
    """Which rule, how many steps it took, and its memory: arrays named "parameter.slot", shaped like the parameter."""

    name: str
    steps: int
    arrays: dict[str, Array]
    groups: list[Group]
    places: Places | None = field(default=None, repr=False, compare=False)


class Group(NamedTuple):
    """Parameters that are updated at once, and their memory, slot by slot: of several small ones (numbers,), whose
    views are in `Optimiser.arrays`."""

    keys: list[str]
    memory: list[Array]


class Places(NamedTuple):
    """Where parameters, gradients and memory lie on a GPU: `addresses` as the host knows them, and there `table`
    (P, 2 + slots) and `sizes` (P,); `largest` of the sizes."""

    addresses: list[list[int]]
    table: Array
    sizes: Array
    largest: int


def start(name: str, parameters: Mapping[str, Array]) -> Optimiser:
    """A fresh optimiser `name` (a key of `OPTIMISERS`) for these parameters. ModelError for an unknown name."""
    if name not in OPTIMISERS:
        raise ModelError(f"optimiser {name!r} is unknown; use one of {', '.join(OPTIMISERS)}")
    groups = [Group(keys, []) for keys in _grouped(parameters)]
    arrays: dict[str, Array] = {}
    for slot in OPTIMISERS[name].slots:
        for keys, memory in groups:
            own = [parameters[key] for key in keys]
            memory.append(np.zeros_like(own[0] if len(own) == 1 else _flat(own)))
            views = memory[-1:] if len(own) == 1 else _cut(memory[-1], own)
            arrays |= {naming.name(key, slot): view for key, view in zip(keys, views)}
    return Optimiser(name, 0, arrays, groups)


def step(
    optimiser: Optimiser, parameters: Mapping[str, Array], gradients: Mapping[str, Array], lr: float, **settings: Any
) -> None:
    """One update of all parameters, in place. `settings` are the rule's own: weight_decay, momentum, betas, ..."""
    optimiser.steps += 1
    if _at_once(optimiser, parameters, gradients, lr, settings):
        return
    update = OPTIMISERS[optimiser.name].update
    for keys, memory in optimiser.groups:
        own, slopes = [parameters[key] for key in keys], [gradients[key] for key in keys]
        if len(keys) == 1:
            for piece in _pieces(own[0], slopes[0], *memory):
                update(*piece, steps=optimiser.steps, lr=lr, **settings)
            continue
        flat = _flat(own)
        update(flat, _flat(slopes), *memory, steps=optimiser.steps, lr=lr, **settings)
        for p, now in zip(own, _cut(flat, own)):
            p[...] = now


def _at_once(
    optimiser: Optimiser, parameters: Mapping[str, Array], gradients: Mapping[str, Array], lr: float,
    settings: Mapping[str, Any],
) -> bool:  # fmt: skip
    """`step` on a GPU in one launch, where all arrays are of one real type and contiguous. False where it was not."""
    if not parameters or namespace(next(iter(parameters.values()))) is np:
        return False
    slots, _, scalars = OPTIMISERS[optimiser.name]
    rows = [
        (p, gradients[key], *(optimiser.arrays[naming.name(key, slot)] for slot in slots))
        for key, p in parameters.items()
    ]
    kind, xp = rows[0][0].dtype, namespace(rows[0][0])
    if kind.kind != "f" or not all(a.dtype == kind and a.flags.c_contiguous for row in rows for a in row):
        return False
    of, places = kernels.cuda, optimiser.places
    addresses = [[of.launch.address(a) for a in row] for row in rows]
    if places is None or places.addresses != addresses:
        sizes = [row[0].size for row in rows]
        places = Places(addresses, xp.asarray(np.array(addresses)), xp.asarray(np.array(sizes)), max(sizes))
        optimiser.places = places
    rule = getattr(of.pointwise, "sgd" if optimiser.name == "sgd" else "adam")
    own = scalars(steps=optimiser.steps, lr=lr, **settings)
    of.pointwise.updated(rule, kind.type, places.largest, places.table, places.sizes, *own)
    return True


def state(optimiser: Optimiser) -> dict[str, Array]:
    """A copy of the state as flat arrays; `STEPS` holds the step count."""
    return {STEPS: np.array(optimiser.steps)} | {key: a.copy() for key, a in optimiser.arrays.items()}


def own(name: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Those of `arrays` that are the state of an optimiser `name`, and of nothing else."""
    kinds = {"count", *OPTIMISERS[name].slots}
    return {key: a for key, a in arrays.items() if naming.apart(key).kind in kinds}


def load(optimiser: Optimiser, arrays: Mapping[str, Array]) -> None:
    """Put back what `state` gave. ModelError when the arrays belong to another optimiser or model."""
    wanted = {key: a.shape for key, a in optimiser.arrays.items()} | {STEPS: ()}
    given = {key: np.shape(a) for key, a in arrays.items()}
    if wanted != given:
        odd = sorted(key for key in wanted.keys() | given.keys() if wanted.get(key) != given.get(key))
        raise ModelError(
            f"the saved {optimiser.name} state does not fit: {odd[0]!r} is {given.get(odd[0])}, "
            f"expected {wanted.get(odd[0])}; load it into the optimiser and model it was saved from"
        )
    optimiser.steps = int(arrays[STEPS])
    for key, a in optimiser.arrays.items():
        a[...] = like(a, arrays[key])


def _grouped(parameters: Mapping[str, Array]) -> Iterator[list[str]]:
    """The parameters, small neighbours of one number type together: a dozen calls then update all of them. On a GPU
    each alone."""
    keys: list[str] = []
    for key, p in parameters.items():
        some = [parameters[other] for other in keys]
        fits = namespace(p) is np and sum(a.size for a in some) + p.size <= PIECE
        if keys and not (fits and some[0].dtype == p.dtype):
            yield keys
            keys = []
        keys = [*keys, key]
    if keys:
        yield keys


def _flat(arrays: Sequence[Array]) -> Array:
    """The numbers of all arrays, one after the other."""
    return np.concatenate([a.reshape(-1) for a in arrays])


def _cut(flat: Array, arrays: Sequence[Array]) -> Iterator[Array]:
    """What `_flat` gave, in the shapes of the arrays."""
    at = 0
    for a in arrays:
        yield flat[at : at + a.size].reshape(a.shape)
        at += a.size


def _pieces(p: Array, *others: Array) -> Iterator[tuple[Array, ...]]:
    """The arrays in slices that stay in the cache across the dozen passes of an update; the arithmetic is the same."""
    if p.size <= PIECE or namespace(p) is not np or not p.flags.c_contiguous:
        yield p, *others
        return
    flat = [a.reshape(-1) for a in (p, *others)]
    for i in range(0, p.size, PIECE):
        yield tuple(a[i : i + PIECE] for a in flat)


def sgd(
    p: Array,
    g: Array,
    velocity: Array,
    *,
    steps: int,
    lr: float,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    nesterov: bool = True,
) -> None:
    """Stochastic gradient descent: v <- momentum v + g;  p <- p - lr (g + momentum v), or lr v without Nesterov."""
    if weight_decay:
        g = g + weight_decay * p
    velocity *= momentum
    velocity += g
    p -= lr * (g + momentum * velocity if nesterov else velocity)


def adam(
    p: Array,
    g: Array,
    mean: Array,
    square: Array,
    *,
    steps: int,
    lr: float,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> None:
    """Adam (Kingma & Ba 2015): p <- p - lr/(1 - b1^t) m / (sqrt(v)/sqrt(1 - b2^t) + eps); decay enters the gradient."""
    if weight_decay:
        g = g + weight_decay * p
    mean += (1.0 - betas[0]) * (g - mean)
    square *= betas[1]
    scratch = g * g
    scratch *= 1.0 - betas[1]
    square += scratch
    np.sqrt(square, out=scratch)
    scratch /= math.sqrt(1.0 - betas[1] ** steps)
    scratch += eps
    np.divide(mean, scratch, out=scratch)
    scratch *= lr / (1.0 - betas[0] ** steps)
    p -= scratch


def adamw(
    p: Array,
    g: Array,
    mean: Array,
    square: Array,
    *,
    steps: int,
    lr: float,
    weight_decay: float = 0.01,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> None:
    """AdamW (Loshchilov & Hutter 2019): p <- p (1 - lr weight_decay), then Adam without decay in the gradient."""
    p *= 1.0 - lr * weight_decay
    adam(p, g, mean, square, steps=steps, lr=lr, betas=betas, eps=eps)


class Rule(NamedTuple):
    """The arrays a rule remembers per parameter, and the rule itself: update(p, g, *slots, steps=, lr=, ...). On a GPU:
    scalars(steps=, lr=, ...), what its kernel is told (`kernels.cuda.pointwise`)."""

    slots: tuple[str, ...]
    update: Callable[..., None]
    scalars: Callable[..., tuple[float | bool, ...]]


def _of_sgd(
    *, steps: int, lr: float, weight_decay: float = 0.0, momentum: float = 0.9, nesterov: bool = True
) -> tuple[float | bool, ...]:
    return weight_decay, momentum, nesterov, lr


def _of_adam(
    *, steps: int, lr: float, weight_decay: float = 0.0, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
    shrink: float = 1.0,
) -> tuple[float | bool, ...]:  # fmt: skip
    root, rate = math.sqrt(1.0 - betas[1] ** steps), lr / (1.0 - betas[0] ** steps)
    return weight_decay, shrink, *betas, root, eps, rate


def _of_adamw(*, lr: float, weight_decay: float = 0.01, **more: Any) -> tuple[float | bool, ...]:
    return _of_adam(lr=lr, shrink=1.0 - lr * weight_decay, **more)


OPTIMISERS = {
    "sgd": Rule(("velocity",), sgd, _of_sgd),
    "adam": Rule(("mean", "square"), adam, _of_adam),
    "adamw": Rule(("mean", "square"), adamw, _of_adamw),
}


def cosine(lr: float, epoch: int, epochs: int, floor: float = 0.0) -> float:
    """Half a cosine from `lr` at epoch 0 to `floor` at `epochs` (Loshchilov & Hutter 2017, one period)."""
    return floor + (lr - floor) * (1.0 + math.cos(math.pi * epoch / epochs)) / 2.0


def exponential(lr: float, epoch: int, decay: float, floor: float = 0.0) -> float:
    """lr decay^epoch, never below `floor`."""
    return max(floor, lr * decay**epoch)
