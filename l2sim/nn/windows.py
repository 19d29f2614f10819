"""The windows of images as columns, made and added up piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from l2sim import pages
from l2sim.backend import Array, kernels
from l2sim.chip.fused.pieces import Pieces, peak
from l2sim.nn.place import window_count

BYTES = 1 << 22
"""Of a piece: about what the second cache of a core holds."""
LEAST = 1024
"""Columns of a piece, where there are so many: a product with fewer is slow."""


class Windows(Pieces):
    """The columns of `image` (C, H, W, B), contiguous, as `conv.im2col` orders them: (C R^2, n B) for kernel R.

    Of the windows `only` (n,), sorted numbers of windows counted row by row; of all, where there is none.
    """

    def __init__(
        self, image: Array, kernel: int, stride: int = 1, padding: int = 0, only: Array | None = None
    ) -> None:
        self.image, self.only = image, only
        self._window = kernel, stride, padding
        self._width = window_count(image.shape[2], *self._window)
        count = self._width * window_count(image.shape[1], *self._window)
        self._count = count if only is None else len(only)
        self.shape = image.shape[0] * kernel * kernel, self._count * image.shape[3]
        self.dtype = image.dtype

    def some(self, only: Array) -> Windows:
        """Those of `only` (n,)."""
        return Windows(self.image, *self._window, only)

    def reading(self) -> Iterator[tuple[slice, Array]]:
        """Windows copied out of the image."""
        for at, runs, piece in self._pieces():
            kernels.im2col.gather(self.image, *self._window, runs, piece)
            yield at, piece

    def adding(self) -> Iterator[tuple[slice, Array]]:
        """Windows added up in the image, which begins at zero: the adjoint of `reading`."""
        self.image[...] = 0.0
        for at, runs, piece in self._pieces():
            yield at, piece
            kernels.im2col.scatter(piece, *self._window, runs, self.image)

    def taken(self, variance: Array) -> tuple[Array, Array]:
        """The image, a row a pixel, and the variance of each: the sum over the windows that see it."""
        alone = Windows(np.empty((*self.image.shape[:3], 1), self.dtype), *self._window, self.only)
        for _, room in alone.adding():
            room[...] = variance[:, None]
        return self.image.reshape(-1, self.image.shape[3]), alone.image.reshape(-1)

    @cached_property
    def largest(self) -> float:
        """That of the image, where every pixel is in some window; else of the pixels that are."""
        kernel, stride, padding = self._window
        over = [(size + 2 * padding - kernel) % stride for size in self.image.shape[1:3]]
        if self.only is None and stride <= kernel and not any(over):
            return peak(self.image)
        low, high = self.image.min(axis=0).min(axis=2), self.image.max(axis=0).max(axis=2)
        seen = Windows(np.maximum(high, -low)[None, :, :, None], *self._window, self.only)
        return max((peak(piece) for _, piece in seen.reading()), default=0.0)

    def _pieces(self) -> Iterator[tuple[slice, Array, Array]]:
        """Which columns, the runs of windows that they are, and room for them."""
        rows, batch = self.shape[0], self.image.shape[3]
        most = max(LEAST, BYTES // (rows * self.dtype.itemsize)) // batch
        number = -(-self._count // max(most, 1))  # of pieces
        each = -(-self._count // number) if number else 1
        room = pages.empty((rows * each * batch,), self.dtype)
        for lo in range(0, self._count, each):
            hi = min(lo + each, self._count)
            windows = np.arange(lo, hi) if self.only is None else self.only[lo:hi]
            piece = room[: rows * (hi - lo) * batch].reshape(rows, -1)
            yield slice(lo * batch, hi * batch), kernels.im2col.runs(windows, self._width), piece
