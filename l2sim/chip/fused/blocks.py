"""The checked door to `kernels.blocks`: a grid of p x q cores as one matrix M (p k, q k)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from l2sim import pages
from l2sim.backend import Array, Scalar, host, kernels_of, like, namespace
from l2sim.chip.fused import pieces
from l2sim.errors import ChipError
from l2sim.streams import Stream


def assemble(u: Array, sigma: Array, v: Array) -> Array:
    """M (p k, q k) with blocks U diag(sigma) V*: `u` and `v` (p q, k, k), `sigma` (p, q, k)."""
    p, q, k = sigma.shape
    xp = namespace(u)
    out = pages.like(u, (p * k, q * k))
    kernels_of(u).blocks.assemble(u, xp.ascontiguousarray(sigma, u.dtype), v, (0,) * k, out)
    return out


def outer(
    y: Array, x: Array | pieces.Pieces, shape: tuple[int, int], see: Callable[[Array], object] | None = None
) -> Array:
    """y x' in the first rows and columns of a matrix of `shape`, zeros elsewhere: `y` (P, N), `x` (R, N); `see` as in
    `pieces.outer`."""
    out = pages.like(y, shape)
    if len(y) < shape[0]:
        out[len(y) :] = 0.0
    if len(x) < shape[1]:
        out[: len(y), len(x) :] = 0.0
    pieces.outer(y, x, out[: len(y), : len(x)], see)
    return out


def diagonals(left: Array, matrix: Array, right: Array) -> Array:
    """diag(A' G B) (p, q, k) for every block G of `matrix` (p k, q k), A = `left` and B = `right` (p q, k, k)."""
    k = left.shape[1]
    xp = namespace(left)
    out: Array = xp.empty((matrix.shape[0] // k, matrix.shape[1] // k, k), left.dtype)
    kernels_of(left).blocks.project(left, xp.ascontiguousarray(matrix, left.dtype), right, (0,) * k, out)
    return out


def add_noise(
    stream: Stream, gradient: Array, left: Array, right: Array, sent: Array, dy: Array, vectors: Array | None,
    amplitudes: tuple[Scalar, Scalar],
) -> None:  # fmt: skip
    """Add to sigma's `gradient` (p, q, k) of x and dy what noise of these amplitudes, forward and back, adds to it
    (`kernels.noisy`); arguments as in `CoreChip.sigma_gradient`, `left` and `right` (p q, k, k) the two passes, `sent`
    (q, k, k) the grams of x. What lives elsewhere goes where the gradient is."""
    p, q, k = gradient.shape
    xp, there = namespace(dy), host if namespace(gradient) is np else partial(like, gradient)
    if vectors is None:
        counts, back = xp.full(q, dy.shape[1]), grams(dy, (p, k, k), gradient.dtype)[:, None]
    else:
        counts, back = np.count_nonzero(vectors, axis=1), xp.empty((p, q, k, k), gradient.dtype)
        kernels_of(dy).noisy.masked_grams(dy, vectors, back)
    made = map(there, (sent, back, counts, *map(xp.asarray, amplitudes)))
    sent, back, counts, *both = made
    kernels_of(gradient).noisy.add(stream.turn(), stream.key, left, right, sent, back, counts, both, gradient)


def parted(left: Array, right: Array) -> list[tuple[Array, Array]]:
    """A and B (M, k, k) as real ones, contiguous: (A, B), of complex ones (Re A, Re B) and (Im A, Im B)."""
    lay = namespace(left).ascontiguousarray
    parts = [(left.real, right.real), (left.imag, right.imag)] if np.iscomplexobj(left) else [(left, right)]
    return [(lay(a), lay(b)) for a, b in parts]


def measured(
    stream: Stream, passes: list[tuple[Array, Array]], outer: Array, sent: Array | None, dy: Array,
    vectors: Array | None, amplitudes: tuple[Scalar, Scalar],
) -> Array:  # fmt: skip
    """Sigma's gradient (p, q, k) from `outer`, dy x', and the two passes A and B as `parted` has them: Re diag(A' G B)
    is what the real parts give less what the imaginary ones do. With noise, as `add_noise`, where `sent` is given: a
    field has noise of its own in either part."""
    parts = []
    for left, right in passes:
        parts.append(diagonals(left, outer, right))
        if sent is not None:
            add_noise(stream, parts[-1], left, right, sent, dy, vectors, amplitudes)
    return parts[0] - parts[1] if len(parts) > 1 else parts[0]


def grams(x: Array, shape: tuple[int, int, int], dtype: np.dtype[np.generic]) -> Array:
    """x x' of every block of k rows of `x` (rows, N), of `shape` (blocks, k, k)."""
    out: Array = namespace(x).zeros(shape, dtype)
    add_grams(x, out)
    return out


def add_grams(x: Array, out: Array) -> None:
    """Add the `grams` of more columns `x` to `out`."""
    kernels_of(x).noisy.add_grams(namespace(x).ascontiguousarray(x, out.dtype), out)


SPARSE = 0.75
"""A masked product skips blocks where fewer than this share of them is kept."""


def kept(matrix: Array, cores: Array, k: int) -> Array:
    """`matrix` (p k, q k) with the blocks outside the mask `cores` (p, q) dark."""
    p, q = cores.shape
    some = matrix.reshape(p, k, q, k) * like(matrix, cores)[:, None, :, None]
    return some.reshape(matrix.shape).astype(matrix.dtype, copy=False)


def turned(matrix: Array, cores: Array | None, k: int) -> Callable[..., Array]:
    """back(y, out=None): M' y, by the blocks of the mask `cores` (p, q) only; `out` as in `product_back`."""
    if cores is None:
        return partial(pieces.back, matrix)
    if namespace(matrix) is np and np.count_nonzero(cores) < SPARSE * cores.size:
        return partial(product_back, matrix, cores, k=k)
    return partial(pieces.back, kept(matrix, cores, k))


def product_back(matrix: Array, cores: Array, y: Array, k: int, out: Array | None = None) -> Array:
    """M' y by the blocks in the mask `cores` (p, q) only, the others skipped: `y` (p k, N) -> (q k, N), or what of it
    there is `out` for.

    Rows missing at the end of `y` are zero.
    """
    p, q = cores.shape
    if y.shape[0] > p * k:
        raise ChipError(f"light of shape {y.shape} does not fit a grid of {p} x {q} cores of size {k}")
    of = kernels_of(matrix).blocks
    outputs = of.outputs(k)
    vectors = of.REGISTERS // outputs
    width = vectors * of.VECTOR // matrix.dtype.itemsize
    lit = np.repeat(cores.T, k, axis=1)[:, : len(y)]  # rows of M, by block column
    starts = np.zeros(q + 1, np.int64)
    np.cumsum(np.count_nonzero(lit, axis=1), out=starts[1:])
    rows = np.ascontiguousarray(np.nonzero(lit)[1])
    tiles = pages.empty((-(-y.shape[1] // width), len(y), width), matrix.dtype)
    of.tile(np.ascontiguousarray(y, matrix.dtype), tiles)
    whole = out if out is not None and len(out) == q * k else pages.empty((q * k, y.shape[1]), matrix.dtype)
    of.sparse(starts, rows, matrix, tiles, k, (0,) * outputs, (0,) * vectors, whole)
    if out is None:
        return whole
    if whole is not out:
        out[...] = whole[: len(out)]
    return out
