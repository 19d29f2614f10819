"""Mini-batches in a seeded order, with seeded augmentation, made ready one ahead of the one that is learned from.

Every batch depends on named random streams and its number only, so the same bytes come whatever the threads' timing.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from l2sim.backend import Array, Stream, like, namespace

__all__ = ["Augment", "Batch", "batches"]

Batch = tuple[int, Array, Array]
"""Number, images (B, ...) and labels (B,) of a mini-batch."""


class Augment(NamedTuple):
    """Random changes of training images (N, C, H, W): shifts by up to `pad` pixels, black coming in; mirror images."""

    pad: int = 0
    flip: bool = False

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """The images changed, each by its own draws."""
        n, c, h, w = images.shape
        if self.pad:
            at = rng.integers(0, 2 * self.pad + 1, (2, n, 1))
            xp = namespace(images)
            wide = xp.zeros((n, c, h + 2 * self.pad, w + 2 * self.pad), images.dtype)
            wide[:, :, self.pad : self.pad + h, self.pad : self.pad + w] = images
            rows, columns = like(images, at[0] + np.arange(h)), like(images, at[1] + np.arange(w))
            each = like(images, np.arange(n))[:, None, None]
            images = wide.transpose(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]].transpose(0, 3, 1, 2)
        if self.flip:
            turned = like(images, rng.random((n,)) < 0.5)
            images = images.copy()
            images[turned] = images[turned][..., ::-1]
        return images


def batches(
    images: Array,
    labels: Array,
    size: int,
    stream: Stream,
    *,
    shuffle: bool = True,
    skip: float = 0.0,
    augment: Augment | None = None,
) -> Iterator[Batch]:
    """The mini-batches of an epoch, `size` images each, the last one possibly smaller.

    The order is drawn from `stream("order")`; without `shuffle` batches come in order, and what is left over at the end
    stays out. `skip` leaves batches out at random, as `stream("skip")` says. A batch is augmented by
    `stream("augment", number)`.
    """
    order = like(images, stream("order").permutation(labels.size)) if shuffle else None
    count = labels.size if shuffle else labels.size // size * size
    drawn = stream("skip").random(-(-labels.size // size))
    numbers = [number for number in range(-(-count // size)) if drawn[number] >= skip]

    def make(number: int) -> Batch:
        at = slice(number * size, min((number + 1) * size, count))
        chosen = at if order is None else order[at]
        some = images[chosen]
        return number, augment(some, stream("augment", number)) if augment else some, labels[chosen]

    if namespace(images) is not np or augment is None:  # picking rows is no work worth a thread
        yield from map(make, numbers)
        return
    with ThreadPoolExecutor(1) as pool:
        ahead: Future[Batch] | None = None
        for number, after in zip(numbers, [*numbers[1:], None]):
            ready = pool.submit(make, number) if ahead is None else ahead
            made = ready.result()
            ahead = None if after is None else pool.submit(make, after)
            yield made
