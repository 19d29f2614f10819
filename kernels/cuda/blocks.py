"""A grid of cores and its one matrix (`kernels.blocks`): one thread for every number of the result.

`sparse` has no counterpart: cuBLAS multiplies a matrix with blocks of zeros faster than a kernel of ours skips them.
"""

from __future__ import annotations

from numba import cuda

from .launch import entry, narrow, parted, spread


@entry
def weights(u, sigma, v, out):
    """The loop of `assemble`: a thread for every number of the whole matrix."""
    k, wide = u.shape[1], out.shape[1]
    q = wide // k
    for index in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        row, column = parted(index, wide)
        (p, i), (c, j) = parted(row, k), parted(column, k)
        m = p * q + c
        total = u.dtype.type(0.0)
        for l in range(k):
            total += u[m, i, l] * (sigma[p, c, l] * v[m, l, j])
        out[row, column] = total


@entry
def diagonals(left, grid, right, out):
    """The loop of `project`: a thread for every sigma."""
    k, q = left.shape[1], out.shape[1]
    for index in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        m, l = parted(index, k)
        p, c = parted(m, q)
        total = left.dtype.type(0.0)
        for j in range(k):
            part = left.dtype.type(0.0)
            for i in range(k):
                part += left[m, i, l] * grid[p * k + i, c * k + j]
            total += part * right[m, j, l]
        out[p, c, l] = total


def assemble(u, sigma, v, depth, out):
    """As `kernels.blocks.assemble`."""
    spread(weights, narrow(out.size), u, sigma, v, out)


def project(left, grid, right, depth, out):
    """As `kernels.blocks.project`."""
    spread(diagonals, narrow(out.size), left, grid, right, out)
