"""What the light of a mesh network carries: a data set as fields (S, N), a row a sample, a column a port.

    fourier   the lowest 2r x 2r spatial frequencies of a picture, complex: fft2, fftshift, the middle cut out
    pca       its principal components, fitted to the training pictures
    pixels    the picture resized to the largest square that fits
Each sample is divided by the mean of |x| over its features (the notebook of Pai et al., Science 380, 398 (2023)).

A point (x, y) of the plane is two amplitudes, and two more ports carry the rest of a total power of POWER:
sqrt((POWER - x^2 - y^2) / 2) each (the 4-mode experiment of the same paper).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from l2sim.backend import Array, generator
from l2sim.data import sets
from l2sim.data.sets import DataSet
from l2sim.errors import DataError

POWER = 9.0
"""Total power of a point of the plane."""
PLANE_PORTS = 4
SIZES = {"digits": (8, 8), "synthetic": (16, 16)}
"""Pictures are taken as they are: 28 x 28 unless said here."""


def dataset(name: str, features: str, modes: int, source: Path | DataSet | None = None) -> DataSet:
    """The data set `name` as fields at no more than `modes` ports: pictures as `features` says, or points of the plane.

    `source` is the folder it is in, or the set itself. DataError where the modes are too few, the data are missing or
    in colour.
    """
    if name in PLANES:
        if modes < PLANE_PORTS:
            raise DataError(f"{name} needs {PLANE_PORTS} modes, two of them for bias, not {modes}; use more")
        x, y = points(name)
        x = bias(x)
        test = len(x) // 5
        return DataSet(x[test:], y[test:], x[:test], y[:test], 2)
    images = source if isinstance(source, DataSet) else sets.load(name, source, SIZES.get(name, (28, 28)))
    if images.train_x.shape[1] != 1:
        raise DataError(f"{name} is in colour, and light carries one number a pixel here; use grey pictures")
    return FRONT_ENDS[features](images, modes)


def _fields(images: DataSet, turn: Callable[[Array], Array]) -> DataSet:
    """`images` with `turn` (S, H, W) -> (S, F) done to training and test pictures, and every sample normalised."""

    def fields(x: Array) -> Array:
        return normalise(turn(x[:, 0] / 255.0 if x.dtype == np.uint8 else x[:, 0]))

    return replace(images, train_x=fields(images.train_x), test_x=fields(images.test_x))


def normalise(x: Array) -> Array:
    """Each row of `x` (S, F) divided by its mean |x|; an empty one stays zero."""
    size = np.abs(x).mean(axis=1, keepdims=True)
    return x / np.where(size > 0, size, 1.0)


def fourier(images: Array, r: int) -> Array:
    """The 2r x 2r lowest frequencies of pictures (S, H, W), row by row: (S, 4 r^2) complex; DC at (r, r)."""
    h, w = images.shape[1] // 2, images.shape[2] // 2
    out = np.empty((len(images), 4 * r * r), complex)
    for start in range(0, len(images), 4096):  # in parts: whole spectra of all of MNIST are 0.75 GB
        spectrum = np.fft.fftshift(np.fft.fft2(images[start : start + 4096]), axes=(1, 2))
        crop = spectrum[:, h - r : h + r, w - r : w + r]
        out[start : start + 4096] = crop.reshape(len(crop), -1)
    return out


def _fourier(images: DataSet, modes: int) -> DataSet:
    side = min(images.train_x.shape[2:])
    r = min(math.isqrt(modes // 4), side // 2)
    if r < 1:
        raise DataError(f"{modes} modes are too few for Fourier features, which need 4; use more, or features = pixels")
    return _fields(images, lambda x: fourier(x, r))


def _pca(images: DataSet, modes: int) -> DataSet:
    flat = images.train_x.reshape(len(images.train_x), -1).astype(float)
    flat /= 255.0 if images.train_x.dtype == np.uint8 else 1.0
    mean = flat.mean(axis=0)
    scatter = flat.T @ flat - len(flat) * np.outer(mean, mean)
    count = min(modes, len(mean), len(flat))
    _, vectors = np.linalg.eigh(scatter)
    vectors = vectors[:, ::-1][:, :count]
    vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(count)])  # eigh leaves the signs open
    return _fields(images, lambda x: (x.reshape(len(x), -1) - mean) @ vectors)


def _pixels(images: DataSet, modes: int) -> DataSet:
    side = min(math.isqrt(modes), *images.train_x.shape[2:])
    return _fields(images, lambda x: sets.resize(x, (side, side)).reshape(len(x), -1))


FRONT_ENDS: dict[str, Callable[[DataSet, int], DataSet]] = {"fourier": _fourier, "pca": _pca, "pixels": _pixels}


# -- points of the plane -----------------------------------------------------------------------------------------------


def bias(points: Array) -> Array:
    """Points (S, 2) as amplitudes at four ports (S, 4) of total power POWER; none is left beyond radius sqrt(POWER)."""
    rest = np.sqrt(np.maximum(POWER - (points**2).sum(axis=1), 0.0) / 2)
    return np.column_stack([points, rest, rest])


def points(name: str, count: int = 1000) -> tuple[Array, Array]:
    """`count` points (S, 2) within radius 3 and their classes 0 or 1, in random order; always the same."""
    rng = generator(0, "data", name)
    y = rng.permutation(np.arange(count) % 2)
    x = PLANES[name](y, rng)
    far = np.sqrt((x**2).sum(axis=1) / POWER)
    return x / np.maximum(far, 1.0)[:, None], y


def _moons(y: Array, rng: np.random.Generator) -> Array:
    turn = math.pi * (rng.random(y.size) + y)
    x = np.column_stack([np.cos(turn) + 0.5 * (2 * y - 1), np.sin(turn) + 0.25 * (2 * y - 1)])
    return 1.3 * (x + 0.12 * rng.standard_normal(x.shape))


def _circles(y: Array, rng: np.random.Generator) -> Array:
    turn, radius = 2 * math.pi * rng.random(y.size), np.where(y, 1.0, 2.2)
    places: Array = radius[:, None] * np.column_stack([np.cos(turn), np.sin(turn)])
    return places + 0.15 * rng.standard_normal((y.size, 2))


def _blobs(y: Array, rng: np.random.Generator) -> Array:
    places: Array = (2 * y - 1)[:, None] * np.array([1.0, 0.7]) + 0.55 * rng.standard_normal((y.size, 2))
    return places


def _ring(y: Array, rng: np.random.Generator) -> Array:
    """A ring of one class with the other inside and outside of it."""
    turn = 2 * math.pi * rng.random(y.size)
    inside = np.where(rng.random(y.size) < 0.4, 0.7 * np.sqrt(rng.random(y.size)), 2.2 + 0.7 * rng.random(y.size))
    radius = np.where(y, 1.1 + 0.7 * rng.random(y.size), inside)
    places: Array = radius[:, None] * np.column_stack([np.cos(turn), np.sin(turn)])
    return places


PLANES: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "moons": _moons,
    "circles": _circles,
    "blobs": _blobs,
    "ring": _ring,
}
