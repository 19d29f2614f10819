"""The checked door to `kernels.blocks`: a grid of p x q cores as one matrix M (p k, q k)."""

from __future__ import annotations

import numpy as np

from l2sim.backend import Array, kernels, kernels_of, namespace
from l2sim.chip import grid
from l2sim.errors import ChipError
from l2sim.streams import Stream


def assemble(u: Array, sigma: Array, v: Array) -> Array:
    """M (p k, q k) with blocks U diag(sigma) V*: `u` and `v` (p q, k, k), `sigma` (p, q, k)."""
    p, q, k = sigma.shape
    xp = namespace(u)
    out: Array = xp.empty((p * k, q * k), u.dtype)
    kernels_of(u).blocks.assemble(u, xp.ascontiguousarray(sigma, u.dtype), v, (0,) * k, out)
    return out


def diagonals(left: Array, matrix: Array, right: Array) -> Array:
    """diag(A' G B) (p, q, k) for every block G of `matrix` (p k, q k), A = `left` and B = `right` (p q, k, k)."""
    k = left.shape[1]
    xp = namespace(left)
    out: Array = xp.empty((matrix.shape[0] // k, matrix.shape[1] // k, k), left.dtype)
    kernels_of(left).blocks.project(left, xp.ascontiguousarray(matrix, left.dtype), right, (0,) * k, out)
    return out


def add_noise(
    stream: Stream, gradient: Array, left: Array, right: Array, x: Array, dy: Array, vectors: Array | None, noise: float
) -> None:
    """Add to sigma's `gradient` (p, q, k) of x and dy what readings with `noise` add to it (`kernels.noisy`); arguments
    as in `CoreChip.sigma_gradient`, `left` and `right` (p q, k, k) the two passes."""
    (p, q, k), count, dtype = gradient.shape, x.shape[1], gradient.dtype
    scales = grid.full_scale(x), grid.full_scale(dy)
    x, dy = (np.ascontiguousarray(a, dtype) for a in (x, dy))
    sent = grams(x, q, k)
    if vectors is None:
        counts, back = np.full(q, count), grams(dy, p, k)[:, None]
    else:
        counts = np.count_nonzero(vectors, axis=1)
        back = np.stack([grams(np.ascontiguousarray(dy[:, mask]), p, k) for mask in vectors], axis=1)
    amplitudes = noise * scales[0], noise * scales[1]
    kernels.noisy.add(stream.turn(), stream.key, left, right, sent, back, counts, amplitudes, gradient)


def grams(x: Array, blocks: int, k: int) -> Array:
    """x x' of every block of k rows of `x` (rows, N), (blocks, k, k)."""
    out: Array = np.empty((blocks, k, k), x.dtype)
    kernels.noisy.grams(x, out)
    return out


def product_back(matrix: Array, cores: Array, y: Array, k: int) -> Array:
    """M' y by the blocks in the mask `cores` (p, q) only, the others skipped: `y` (p k, N) -> (q k, N).

    Rows missing at the end of `y` are zero.
    """
    p, q = cores.shape
    if y.shape[0] > p * k:
        raise ChipError(f"light of shape {y.shape} does not fit a grid of {p} x {q} cores of size {k}")
    of = kernels_of(matrix).blocks
    outputs = of.outputs(k)
    vectors = of.REGISTERS // outputs
    width = vectors * of.VECTOR // matrix.dtype.itemsize
    starts = np.zeros(q + 1, np.int64)
    np.cumsum(k * np.count_nonzero(cores, axis=0), out=starts[1:])
    rows = (k * np.nonzero(cores.T)[1][:, None] + np.arange(k)).reshape(-1)
    tiles = np.empty((-(-y.shape[1] // width), p * k, width), matrix.dtype)
    of.tile(np.ascontiguousarray(y, matrix.dtype), tiles)
    out = np.empty((q * k, y.shape[1]), matrix.dtype)
    of.sparse(starts, rows, matrix, tiles, k, (0,) * outputs, (0,) * vectors, out)
    return out
