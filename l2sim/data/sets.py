"""Data sets: the digits that ship with l2sim, published ones from a folder or fetched, one's own, and a synthetic one.

Images are (N, C, H, W), float64 in [0, 1] or bytes, which a network divides by 255; classes int64. Where they lie is
decided in `published`, how they are read in `formats`.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from l2sim.backend import Array, generator
from l2sim.data import formats, published
from l2sim.data.formats import Size
from l2sim.errors import DataError

GREY = ("mnist", "fashion-mnist")
"""Sets that are resized without rounding to bytes again, and kept as floats."""


@dataclass(frozen=True)
class DataSet:
    """`train_x`, `test_x`: (N, C, H, W) floats in [0, 1] or bytes; `train_y`, `test_y`: (N,) int64 below `classes`."""

    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array
    classes: int


DIGITS = Path(__file__).with_name("digits.csv.gz")


# --------------------------------------------------------------------------------------------------- loading


def load(name: str, directory: Path | None = None, image_size: Size | None = None, channels: int = 1) -> DataSet:
    """The data set `name` with images of `image_size` (H, W); None: as they are.

    `directory` names the folder of published sets (`published`), or what "own" is; `channels` of the synthetic set.
    Raises DataError for an unknown, missing, damaged or unfitting set.
    """
    if name == "synthetic":
        return _synthetic(image_size or (28, 28), channels)
    if name == "digits":
        return _digits(image_size or (8, 8))
    if name == "own":
        path = published.named(directory)
        if path is None:
            raise DataError("data.name = own needs a .npz file or a folder of pictures; name it with --data")
        train, test, classes = formats.own(path)
    else:
        classes = published.get(name).classes
        train, test = published.read(name, directory)
    (train_x, train_y), (test_x, test_y) = train, test
    fitted = (_fitted(x, image_size, name in GREY) for x in (train_x, test_x))
    return DataSet(next(fitted), train_y, next(fitted), test_y, classes)


def _fitted(images: Array, size: Size | None, floats: bool) -> Array:
    """Images (N, C, H, W) at `size`: floats in [0, 1], or bytes, which a resize rounds to as Pillow does."""
    size = size or (images.shape[2], images.shape[3])
    if floats:
        out = resize(images.reshape(-1, *images.shape[2:]), size).reshape(*images.shape[:2], *size)
        out /= 255.0
        return out
    if images.shape[2:] == size:
        return images
    out = np.empty((*images.shape[:2], *size), images.dtype)
    for channel in range(images.shape[1]):
        resized = resize(images[:, channel], size)
        out[:, channel] = np.rint(resized) if images.dtype == np.uint8 else resized
    return out


def hold_out(data: DataSet, share: float, rng: np.random.Generator) -> tuple[DataSet, Array, Array]:
    """`data` without a random `share` of its training images, and those images and classes, kept for choosing."""
    count = round(share * len(data.train_y))
    order = rng.permutation(len(data.train_y))
    kept, out = np.sort(order[count:]), np.sort(order[:count])
    smaller = replace(data, train_x=data.train_x[kept], train_y=data.train_y[kept])
    return smaller, data.train_x[out], data.train_y[out]


def batches(count: int, size: int, rng: np.random.Generator | None = None) -> Iterator[Array]:
    """Indices of mini-batches of `size` over `count` images, in order or shuffled by `rng`; the last may be smaller."""
    order = np.arange(count) if rng is None else rng.permutation(count)
    for start in range(0, count, size):
        yield order[start : start + size]


def moments(images: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of `images` (N, C, H, W), as numbers in [0, 1]."""
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    mean, square = np.zeros(images.shape[1]), np.zeros(images.shape[1])
    for start in range(0, len(images), 4096):
        part = images[start : start + 4096] / scale
        mean += part.sum(axis=(0, 2, 3))
        square += (part**2).sum(axis=(0, 2, 3))
    count = images.size / images.shape[1]
    mean /= count
    std = np.sqrt(np.maximum(square / count - mean**2, 0.0))
    return tuple(mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist())


def resize(images: Array, size: Size) -> Array:
    """Bilinear resize of (N, H, W) to `size`, in float64.

    Pixel centres are aligned at half integers (`align_corners=False`). Shrinking widens the triangle filter against
    aliasing, as Pillow's and torchvision's `Resize` do; enlarging is plain interpolation with clamped borders.
    """
    if images.shape[1:] == size:
        return images.astype(float)
    rows, columns = (_triangle(old, new) for old, new in zip(images.shape[1:], size))
    out = np.empty((len(images), *size))
    for start in range(0, len(images), 4096):  # in parts: a float64 copy of all of MNIST is 0.4 GB
        part = slice(start, start + 4096)
        out[part] = rows @ images[part].astype(float) @ columns.T
    return out


def _triangle(old: int, new: int) -> Array:
    """The (new, old) matrix that resizes one axis; rows sum to one."""
    scale = old / new
    centres = (np.arange(new)[:, None] + 0.5) * scale
    distance = np.abs(np.arange(old) + 0.5 - centres) / max(scale, 1.0)
    weights = np.maximum(0.0, 1.0 - distance)
    shares: Array = weights / weights.sum(axis=1, keepdims=True)
    return shares


def _digits(image_size: Size) -> DataSet:
    try:
        with gzip.open(DIGITS, "rt", encoding="ascii") as lines:
            table = np.loadtxt(lines, delimiter=",", dtype=np.int64)
    except (OSError, ValueError, *formats.DAMAGED) as error:
        raise DataError(f"{DIGITS} is missing or damaged ({error}); reinstall l2sim") from None
    images = resize(table[:, :64].reshape(-1, 8, 8) / 16.0, image_size)[:, None]
    # The split is prescribed by NumPy's legacy generator, whose stream is frozen for ever; the object is local.
    order = np.random.RandomState(0).permutation(len(table))
    train, test = order[:1437], order[1437:]
    return DataSet(images[train], table[train, 64], images[test], table[test, 64], 10)


def _synthetic(image_size: Size, channels: int, train: int = 256, test: int = 128) -> DataSet:
    """Ten classes of noisy blobs around the image's centre: learnable, always the same, made in milliseconds."""
    rng = generator(0, "data", "synthetic")
    y = rng.permutation(np.arange(train + test) % 10)
    angle = 2 * math.pi * y / 10
    height, width = image_size
    row = (0.5 + 0.3 * np.sin(angle))[:, None, None] - (np.arange(height)[:, None] + 0.5) / height
    column = (0.5 + 0.3 * np.cos(angle))[:, None, None] - (np.arange(width) + 0.5) / width
    blob = np.exp(-(row**2 + column**2) / 0.02)[:, None]
    x = np.clip(blob + 0.1 * rng.standard_normal((train + test, channels, height, width)), 0, 1)
    return DataSet(x[:train], y[:train], x[train:], y[train:], 10)
