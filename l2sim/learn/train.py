"""First-order training of a network, electronic (pretraining) or photonic (subspace learning of sigma)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from l2sim.backend import Array
from l2sim.nn import optim
from l2sim.nn.losses import accuracy, cross_entropy
from l2sim.nn.network import Network
from l2sim.nn.photonic import PhotonicWeight

TEST_BATCH = 128


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
) -> Iterator[dict[str, float]]:
    """Learn from every image once, in shuffled mini-batches; yields loss and accuracy of each (before its step).

    `skip` leaves mini-batches out at random (data sampling): nothing is probed for them, and nothing is yielded.
    `stream(name)` gives the random stream of this epoch under that name or step number.
    """
    order = stream("order").permutation(labels.size)
    drawn = stream("skip").random(-(-labels.size // batch))
    for number, first in enumerate(range(0, labels.size, batch)):
        if drawn[number] < skip:
            continue
        chosen = order[first : first + batch]
        logits = network.forward(images[chosen], train=True, rng=stream(number))
        loss, dlogits = cross_entropy(logits, labels[chosen])
        network.backward(dlogits)
        optim.step(optimiser, network.parameters(), network.gradients(), lr=lr, weight_decay=weight_decay)
        write(network)
        yield {"loss": loss, "accuracy": accuracy(logits, labels[chosen])}


def write(network: Network) -> None:
    """Send the trained sigma of every photonic layer to its chip."""
    for weight in network.weights.values():
        if isinstance(weight, PhotonicWeight):
            weight.write()


def test(network: Network, images: Array, labels: Array) -> dict[str, float]:
    """Mean loss and accuracy over a data set, in batches."""
    loss = right = 0.0
    for first in range(0, labels.size, TEST_BATCH):
        at = slice(first, first + TEST_BATCH)
        logits = network.forward(images[at])
        loss += cross_entropy(logits, labels[at])[0] * labels[at].size
        right += accuracy(logits, labels[at]) * labels[at].size
    return {"loss": loss / labels.size, "accuracy": right / labels.size}
