"""Convolution and pooling on images (C, H, W, B).

Every window is read as kernel^2 shifted views of the padded image (`taps`), so all of them are plain slice arithmetic
with contiguous runs over the batch, and a convolution is `M @ im2col(x)` reshaped, without a transpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

from l2sim import pages
from l2sim.backend import Array, kernels_of, like, namespace
from l2sim.errors import ModelError
from l2sim.nn.layers import Alignment, Bias, Layer
from l2sim.nn.place import window_count
from l2sim.nn.weights import Weight, in_pieces
from l2sim.nn.windows import BYTES, Windows

__all__ = [
    "AdaptiveAveragePool",
    "AveragePool",
    "Conv2d",
    "GlobalAveragePool",
    "MaxPool",
    "bins",
    "col2im",
    "im2col",
]


def taps(x: Array, kernel: int, stride: int) -> Iterator[tuple[int, int, Array]]:
    """For each place (r, s) in the window the view (C, H', W', B) of what all windows see there."""
    h, w = window_count(x.shape[1], kernel, stride), window_count(x.shape[2], kernel, stride)
    for r in range(kernel):
        for s in range(kernel):
            yield r, s, x[:, r : r + stride * h : stride, s : s + stride * w : stride]


def im2col(x: Array, kernel: int, stride: int = 1, padding: int = 0) -> Array:
    """The windows of `x` (C, H, W, B) as columns (C*kernel^2, H'*W'*B).

    Row c*kernel^2 + r*kernel + s; columns ordered H', W', B.
    A 1 x 1 kernel that moves by 1 sees the image as it is: then the result is a view where it can be.
    """
    c, h, w, b = x.shape
    if kernel == 1 and stride == 1 and padding == 0:
        return x.reshape(c, -1)
    h, w = window_count(h, kernel, stride, padding), window_count(w, kernel, stride, padding)
    xp = namespace(x)
    columns: Array = pages.like(x, (c * kernel * kernel, h * w * b))
    kernels_of(x).im2col.im2col(xp.ascontiguousarray(x), kernel, stride, padding, h, w, columns)
    return columns


def col2im(columns: Array, shape: tuple[int, ...], kernel: int, stride: int = 1, padding: int = 0) -> Array:
    """The adjoint of `im2col`: add every column back to the pixels it came from, in an image `shape` (C, H, W, B)."""
    if kernel == 1 and stride == 1 and padding == 0:
        return columns.reshape(shape)
    xp = namespace(columns)
    image: Array = pages.like(columns, shape)
    h, w = (window_count(n, kernel, stride, padding) for n in shape[1:3])
    kernels_of(columns).im2col.col2im(xp.ascontiguousarray(columns), kernel, stride, padding, h, w, image)
    return image


class Conv2d(Layer):
    """Convolution as one matrix product: (C, H, W, B) -> (C', H', W', B), M of shape (C', C*kernel^2); `bias` (C',) or
    none.

    Two places for samplers of the weight gradient, with bool masks shared by the batch; the input gradient uses all.
    `columns`: `mask, factor = columns(H'*W', rng)`; only the kept columns reach `weight.accumulate`, with that factor.
    (Gu et al., L2ight, NeurIPS 2021, section 3.4.2: column sampling.)
    `spatial`: `mask, factor = spatial((H, W), rng)` of input pixels; the others are dark. (Oktay et al., Randomized
    automatic differentiation, ICLR 2021.) A 1 x 1 kernel then needs fewer columns, a larger one as many as before.
    `drawn` has the masks of the last step. They are drawn in this order, before the weight draws for its own sampling,
    from the generator given to `forward`. `alignment`, when set, replaces the input gradient.
    """

    def __init__(
        self, weight: Weight, kernel: int, stride: int = 1, padding: int = 0, bias: Array | None = None
    ) -> None:
        self.weight, self.bias = weight, Bias(bias)
        self.kernel = kernel
        self.stride = stride
        self.padding = padding
        self.columns: Callable[[int, np.random.Generator], tuple[Array, float]] | None = None
        self.spatial: Callable[[tuple[int, int], np.random.Generator], tuple[Array, float]] | None = None
        self.alignment: Alignment | None = None
        self.drawn: dict[str, Array] = {}

    def forward(self, x: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """y = M im2col(x), zeros around the image: (C, H, W, B) -> (C', H', W', B).

        `train` remembers the columns and `rng` for `backward` and lets the weight sample.
        """
        h = window_count(x.shape[1], self.kernel, self.stride, self.padding)
        w = window_count(x.shape[2], self.kernel, self.stride, self.padding)
        columns = self._seen(x, self.kernel**2 * h * w * x[:, 0, 0].nbytes)
        if train:
            self._columns, self._shape, self._rng = columns, x.shape, rng
        y = self.weight.forward(columns, rng if train else None)  # type: ignore[arg-type]  # pieces where it takes them
        return self.bias.add(y).reshape(-1, h, w, x.shape[3])

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Have the weight store its gradient, from the columns that samplers keep; return dL/dx (C, H, W, B).

        `alignment` puts another array in its place; None unless `need_dx`. ModelError where a sampler has no generator.
        """
        flat = dy.reshape(len(dy), -1)
        self.bias.accumulate(flat)
        if self.columns is None and self.spatial is None:
            self.drawn = {}
            self.weight.accumulate(flat, self._columns, rng=self._rng)  # type: ignore[arg-type]
        else:
            mask, factor = self._draw(dy.shape[1] * dy.shape[2])
            pixels = np.flatnonzero(mask)
            kept_x = self._kept(mask.size, pixels)
            self.weight.accumulate(_pick(flat, mask.size, pixels), kept_x, factor, self._rng)  # type: ignore[arg-type]
        if not need_dx:
            return None
        if self.alignment is not None:
            return self.alignment(self._shape)
        window = self.kernel, self.stride, self.padding
        if isinstance(self._columns, Windows) and in_pieces(self.weight):
            dx = Windows(pages.empty(self._shape, flat.dtype), *window)
            self.weight.transpose_into(flat, self._rng, dx)
            return dx.image
        return col2im(self.weight.transpose(flat, self._rng), self._shape, *window)

    def _seen(self, x: Array, size: int) -> Array | Windows:
        """What the weight is given of `x` (C, H, W, B): the columns, in pieces where it takes them and their `size` in
        bytes is more than one."""
        window = self.kernel, self.stride, self.padding
        if size > BYTES and window != (1, 1, 0) and namespace(x) is np and in_pieces(self.weight):
            return Windows(np.ascontiguousarray(x), *window)
        return im2col(x, *window)

    def _kept(self, count: int, pixels: Array) -> Array | Windows:
        """Of the last columns those of `pixels`, out of `count`."""
        dark = "spatial" in self.drawn and self.kernel > 1
        if isinstance(self._columns, Windows):
            some = self._columns.some(pixels)
            if not dark:
                return some
            kept = some.whole()
        else:
            kept = _pick(self._columns, count, pixels)
        if dark:
            self._darken(kept, pixels)
        return kept

    def _draw(self, count: int) -> tuple[Array, float]:
        """The mask (H'*W',) of the columns to keep, and the factor of the gradient; fills `drawn`."""
        if self._rng is None:
            raise ModelError("column and spatial sampling need a random generator in training; pass rng to forward")
        self.drawn, factor = {}, 1.0
        mask = np.ones(count, bool)
        if self.columns is not None:
            mask, factor = self.columns(count, self._rng)
            self.drawn["columns"] = mask
        if self.spatial is not None:
            seen, more = self.spatial(self._shape[1:3], self._rng)
            self.drawn["spatial"] = seen
            factor *= more
            if self.kernel == 1:
                mask = mask & self._windows(seen)[0]
        return mask, factor

    def _windows(self, seen: Array) -> Array:
        """What each place of the kernel sees of a mask (H, W) in every window: (kernel^2, H'*W')."""
        return im2col(seen.astype(np.float64)[None, :, :, None], self.kernel, self.stride, self.padding) > 0.5

    def _darken(self, columns: Array, pixels: Array) -> None:
        """Make input pixels outside the spatial mask dark in `columns` (R, n B) of the windows `pixels` (n,)."""
        seen = like(columns, self._windows(self.drawn["spatial"])[:, pixels].astype(columns.dtype))
        parts = columns.reshape(-1, len(seen), pixels.size, self._shape[3])
        parts *= seen[:, :, None]

    def parameters(self) -> dict[str, Array]:
        """The weight's trainable arrays, live: electronic "weight" (C', C*kernel^2), or "sigma" (p, q, k) of cores."""
        return self.weight.parameters() | self.bias.parameters()

    def gradients(self) -> dict[str, Array]:
        """What the weight's last gradient was, under the names and in the shapes of `parameters`."""
        return self.weight.gradients() | self.bias.gradients()


def _pick(columns: Array, count: int, pixels: Array) -> Array:
    """Of `columns` (R, count B) those of `pixels` (n,): (R, n B)."""
    grid = columns.reshape(len(columns), count, -1)
    if namespace(columns) is not np:
        return grid[:, like(columns, pixels)].reshape(len(columns), -1)
    out = pages.empty((len(columns), pixels.size * grid.shape[2]), columns.dtype)
    np.take(grid, pixels, axis=1, out=out.reshape(len(columns), pixels.size, grid.shape[2]), mode="clip")
    return out


class AveragePool(Layer):
    """Mean over windows of `kernel`; pixels of an incomplete window are left out."""

    def __init__(self, kernel: int, stride: int) -> None:
        self.kernel = kernel
        self.stride = stride

    def forward(self, x: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """The mean of every whole window: (C, H, W, B) -> (C, H', W', B). `train` remembers the shape of x."""
        if train:
            self._shape = x.shape
        views = [view for _, _, view in taps(x, self.kernel, self.stride)]
        total: Array = np.add.reduce(views) if namespace(x) is np else sum(views[1:], views[0])
        return total / self.kernel**2

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """dL/dx: dy / kernel^2 added to all pixels of its window, (C, H', W', B) -> (C, H, W, B)."""
        dx: Array = namespace(dy).zeros(self._shape, dy.dtype)
        share = dy / self.kernel**2
        for _, _, view in taps(dx, self.kernel, self.stride):
            view += share
        return dx


class MaxPool(Layer):
    """Largest value of each window of `kernel`; of equal ones the first, row by row, receives the gradient."""

    def __init__(self, kernel: int, stride: int, padding: int = 0) -> None:
        self.kernel = kernel
        self.stride = stride
        self.padding = padding

    def forward(self, x: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """The largest value of every window: (C, H, W, B) -> (C, H', W', B). `train` remembers where each stood."""
        c, h, w, b = x.shape
        h, w = (window_count(n, self.kernel, self.stride, self.padding) for n in (h, w))
        xp = namespace(x)
        y: Array = pages.like(x, (c, h, w, b))
        winner = xp.empty(y.shape, np.uint8 if self.kernel < 16 else np.uint16)
        kernels_of(x).im2col.max_pool(xp.ascontiguousarray(x), self.kernel, self.stride, self.padding, y, winner)
        if train:
            self._shape, self._winner = x.shape, winner
        return y

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """dL/dx: dy added to the pixel that was largest in its window, (C, H', W', B) -> (C, H, W, B)."""
        xp = namespace(dy)
        dx: Array = pages.like(dy, self._shape)
        dy = xp.ascontiguousarray(dy)
        kernels_of(dy).im2col.max_pool_back(dy, self._winner, self.kernel, self.stride, self.padding, dx)
        return dx


class AdaptiveAveragePool(Layer):
    """Mean over `out` x `out` bins that cover the image, whatever its size: (C, H, W, B) -> (C, out, out, B)."""

    def __init__(self, out: int) -> None:
        self.out = out

    def forward(self, x: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """The mean of every bin, by a product with `bins` for each axis: (C, H, W, B) -> (C, out, out, B)."""
        c, h, w, b = x.shape
        rows, cols = (like(x, bins(n, self.out).astype(x.dtype)) for n in (h, w))
        if train:
            self._rows, self._cols = rows, cols
        narrow = rows @ x.reshape(c, h, w * b)
        small: Array = cols @ narrow.reshape(c * self.out, w, b)
        return small.reshape(c, self.out, self.out, b)

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """dL/dx: dy shared evenly among the pixels of its bin, (C, out, out, B) -> (C, H, W, B)."""
        c, n, _, b = dy.shape
        h, w = self._rows.shape[1], self._cols.shape[1]
        wide = self._cols.T @ dy.reshape(c * n, n, b)
        whole: Array = self._rows.T @ wide.reshape(c, n, w * b)
        return whole.reshape(c, h, w, b)


@lru_cache(64)
def bins(size: int, out: int) -> Array:
    """The averaging matrix (out, size) of adaptive pooling: bin i is floor(i size/out) to ceil((i+1) size/out).

    PyTorch's rule: bins overlap where `out` does not divide `size`.
    """
    matrix = np.zeros((out, size))
    for i in range(out):
        start, stop = i * size // out, -(-(i + 1) * size // out)
        matrix[i, start:stop] = 1.0 / (stop - start)
    return matrix


class GlobalAveragePool(Layer):
    """Mean over each image: (C, H, W, B) -> (C, 1, 1, B)."""

    def forward(self, x: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """The mean over H and W: (C, H, W, B) -> (C, 1, 1, B). `train` remembers the shape of x."""
        if train:
            self._shape = x.shape
        mean: Array = x.mean(axis=(1, 2), keepdims=True)
        return mean

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """dL/dx: dy / (H W) at every pixel, (C, 1, 1, B) -> (C, H, W, B)."""
        _, h, w, _ = self._shape
        return np.broadcast_to(dy / (h * w), self._shape).copy()
