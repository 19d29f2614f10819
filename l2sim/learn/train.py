"""First-order training of a network, electronic (pretraining) or photonic (subspace learning of sigma)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from l2sim.backend import Array, like
from l2sim.nn import optim
from l2sim.nn.losses import accuracy, cross_entropy
from l2sim.nn.network import Network
from l2sim.nn.photonic import PhotonicWeight

TEST_BATCH = 128

Objective = Callable[[Array, Array], tuple[Any, Array]]
"""objective(logits (K, B), labels (B,)): the loss and its gradient (K, B)."""


def rate(schedule: str, lr: float, epoch: int, epochs: int, decay: float, floor: float) -> float:
    """Learning rate of `epoch` (from 0)."""
    if schedule == "cosine":
        return optim.cosine(lr, epoch, epochs, floor)
    return optim.exponential(lr, epoch, decay, floor)


def epoch(
    network: Network,
    optimiser: optim.Optimiser,
    images: Array,
    labels: Array,
    *,
    batch: int,
    lr: float,
    weight_decay: float,
    stream: Callable[[str | int], np.random.Generator],
    skip: float = 0.0,
    objective: Objective = cross_entropy,
    shuffle: bool = True,
) -> Iterator[dict[str, Any]]:
    """Learn from every image once, in shuffled mini-batches; yields loss and accuracy of each (before its step).

    Without `shuffle` they come in order, and what is left over at the end stays out. `skip` leaves mini-batches out at
    random (data sampling): nothing is probed for them, and nothing is yielded.
    `stream(name)` gives the random stream of this epoch under that name or step number.
    """
    order = like(images, stream("order").permutation(labels.size)) if shuffle else None
    drawn = stream("skip").random(-(-labels.size // batch))
    count = labels.size if shuffle else labels.size // batch * batch
    for number, first in enumerate(range(0, count, batch)):
        if drawn[number] < skip:
            continue
        chosen = slice(first, first + batch) if order is None else order[first : first + batch]
        logits = network.forward(images[chosen], train=True, rng=stream(number))
        loss, dlogits = objective(logits, labels[chosen])
        network.backward(dlogits)
        optim.step(optimiser, network.parameters(), network.gradients(), lr=lr, weight_decay=weight_decay)
        write(network)
        yield {"loss": loss, "accuracy": accuracy(logits, labels[chosen])}


def write(network: Network) -> None:
    """Send the trained sigma or phases of every photonic layer to its chip."""
    for weight in network.weights.values():
        if isinstance(weight, PhotonicWeight):
            weight.write()
    for mesh in network.meshes.values():
        mesh.write()


def test(
    network: Network, images: Array, labels: Array, objective: Objective = cross_entropy, batch: int = TEST_BATCH
) -> dict[str, float]:
    """Mean loss and accuracy over a data set, in batches."""
    loss: Any = 0.0
    right: Any = 0.0
    for first in range(0, labels.size, batch):
        at = slice(first, first + batch)
        logits = network.forward(images[at])
        loss += objective(logits, labels[at])[0] * labels[at].size
        right += accuracy(logits, labels[at]) * labels[at].size
    return {"loss": float(loss / labels.size), "accuracy": float(right / labels.size)}
