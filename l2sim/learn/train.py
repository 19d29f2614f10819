"""First-order training of a network, electronic (pretraining) or photonic (subspace learning of sigma)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from l2sim.backend import Array, Scalar, Stream
from l2sim.learn.loader import Augment, batches
from l2sim.nn import optim
from l2sim.nn.losses import accuracy, cross_entropy
from l2sim.nn.network import Network
from l2sim.nn.photonic import PhotonicWeight

__all__ = ["TEST_BATCH", "Objective", "Samples", "Step", "descent", "epoch", "rate", "test", "write"]

TEST_BATCH = 128
"""Images that go through a network at a time when it is tested."""

Objective = Callable[[Array, Array], tuple[Scalar, Array]]
"""objective(logits (K, B), labels (B,)): the loss and its gradient (K, B)."""

Step = Callable[[Array, Array, np.random.Generator, float], dict[str, Scalar]]
"""step(images, labels, rng, lr) learns from a mini-batch and returns its loss and accuracy from before."""

Samples = Callable[[Array, np.random.Generator], Array | None]
"""samples(images (B, ...), rng) -> mask (B,) of those that are learnt from; None for all of them."""


def rate(schedule: str, lr: float, epoch: int, epochs: int, decay: float, floor: float) -> float:
    """Learning rate of `epoch`, counted from 0, of `epochs`: a "cosine" from `lr` to `floor`, or lr decay^epoch."""
    if schedule == "cosine":
        return optim.cosine(lr, epoch, epochs, floor)
    return optim.exponential(lr, epoch, decay, floor)


def epoch(
    images: Array,
    labels: Array,
    step: Step,
    *,
    batch: int,
    lr: float,
    stream: Stream,
    shuffle: bool = True,
    skip: float = 0.0,
    augment: Augment | None = None,
    samples: Samples | None = None,
) -> Iterator[dict[str, Scalar]]:
    """Learn from every image once, in shuffled mini-batches; yields loss and accuracy of each (before its step).

    `images` (N, ...) and `labels` (N,); `step` learns from a mini-batch of `batch` of them (`descent`, or a protocol of
    `learn.protocols`). `shuffle`, `skip` (data sampling: nothing is probed for what is left out, and nothing is
    yielded) and `augment` as in `loader.batches`; `samples` chooses what of a mini-batch is learnt from
    (`learn.sampling`), and where it chooses nothing, nothing happens. `stream(name)` gives the random stream of this
    epoch under that name or step number.
    """
    for number, some, wanted in batches(images, labels, batch, stream, shuffle=shuffle, skip=skip, augment=augment):
        kept = None if samples is None else samples(some, stream("samples", number))
        if kept is not None:
            if not kept.any():
                continue
            some, wanted = some[kept], wanted[kept]
        yield step(some, wanted, stream(number), lr)


def descent(
    network: Network, optimiser: optim.Optimiser, weight_decay: float, objective: Objective = cross_entropy
) -> Step:
    """A gradient step of everything that `network` trains; photonic weights measure theirs on their chips."""

    def step(images: Array, labels: Array, rng: np.random.Generator, lr: float) -> dict[str, Scalar]:
        logits = network.forward(images, train=True, rng=rng)
        loss, dlogits = objective(logits, labels)
        network.backward(dlogits)
        optim.step(optimiser, network.parameters(), network.gradients(), lr=lr, weight_decay=weight_decay)
        write(network)
        return {"loss": loss, "accuracy": accuracy(logits, labels)}

    return step


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
    loss: Scalar = 0.0
    right: Scalar = 0.0
    for first in range(0, labels.size, batch):
        at = slice(first, first + batch)
        logits = network.forward(images[at])
        loss += objective(logits, labels[at])[0] * labels[at].size
        right += accuracy(logits, labels[at]) * labels[at].size
    return {"loss": float(loss / labels.size), "accuracy": float(right / labels.size)}
