"""The checked door to `kernels.blocks`: a grid of p x q cores as one matrix M (p k, q k)."""

from __future__ import annotations

import numpy as np

from l2sim.backend import Array, kernels
from l2sim.errors import ChipError


def planes(cores: Array, columns: int) -> Array:
    """Cores (M, k, k) of a grid with so many columns as `kernels.blocks` reads them: (p pieces, k, k, lanes)."""
    lanes = kernels.blocks.VECTOR // cores.dtype.itemsize
    pieces = -(-columns // lanes)
    out = np.empty((cores.shape[0] // columns * pieces, *cores.shape[1:], lanes), cores.dtype)
    kernels.blocks.planes(np.ascontiguousarray(cores), columns, out)
    return out


def assemble(u: Array, sigma: Array, v: Array) -> Array:
    """M (p k, q k) with blocks U diag(sigma) V*: `u` and `v` in planes, `sigma` (p, q, k)."""
    p, q, k = sigma.shape
    out = np.empty((p * k, q * k), u.dtype)
    kernels.blocks.assemble(u, np.ascontiguousarray(sigma, u.dtype), v, out)
    return out


def diagonals(left: Array, matrix: Array, right: Array) -> Array:
    """diag(A' G B') (p, q, k) for every block G of `matrix` (p k, q k), A = `left` and B = `right` in planes."""
    k = left.shape[1]
    out = np.empty((matrix.shape[0] // k, matrix.shape[1] // k, k), left.dtype)
    kernels.blocks.project(left, np.ascontiguousarray(matrix, left.dtype), right, out)
    return out


def product_back(matrix: Array, cores: Array, y: Array, k: int) -> Array:
    """M' y by the blocks in the mask `cores` (p, q) only, the others skipped: `y` (p k, N) -> (q k, N).

    Rows missing at the end of `y` are zero.
    """
    p, q = cores.shape
    if y.shape[0] > p * k:
        raise ChipError(f"light of shape {y.shape} does not fit a grid of {p} x {q} cores of size {k}")
    of = kernels.blocks
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
