"""A grid of p x q cores and its one matrix M (p k, q k), whose blocks are W_ij = U_ij diag(sigma_ij) V*_ij.

    assemble   M from the meshes and sigma
    project    d sigma_l = (A' G B')_ll of every block G of a matrix like M, for A, B (k, k) per core
    sparse     out_j += sum over the kept blocks i of column j of W_ij' y_i: the masked product M' y, blocks skipped

The first two read cores in planes (p pieces, k, k, lanes): each block row cut into pieces of as many cores as a vector
register has lanes, the core being the innermost index, zeros at the end of a row.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange, types
from numba.core import cgutils
from numba.core.cgutils import ir
from numba.extending import intrinsic

VECTOR = 64
"""Bytes of a vector register; where the processor has narrower ones, one of these is two of its own."""
OUTPUTS, REGISTERS, RUN = 9, 27, 8
"""`sparse` computes at most so many rows of the result at a time, in so many vector registers, and so many tiles of
columns in a run."""


@njit(parallel=True, cache=True, nogil=True)
def planes(cores, columns, out):
    """Cores (M, k, k) of a grid with so many columns to `out` (p pieces, k, k, lanes): see the module."""
    lanes = out.shape[3]
    pieces = (columns + lanes - 1) // lanes
    for task in prange(out.shape[0]):
        first = task % pieces * lanes
        m = task // pieces * columns + first
        count = min(lanes, columns - first)
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                line = out[task, i, j]
                for t in range(count):
                    line[t] = cores[m + t, i, j]
                line[count:] = 0.0


@intrinsic
def dots(typing, a, b, out):
    """out[t] = sum over l of a[l, t] b[l, t] for one vector register of t. Rows are contiguous, any distance apart."""
    itemsize = out.dtype.bitwidth // 8
    lanes = VECTOR // itemsize

    def codegen(context, builder, signature, args):
        a, b, out = (context.make_array(t)(context, builder, v) for t, v in zip(signature.args, args))
        vector, index = ir.VectorType(context.get_data_type(signature.args[0].dtype), lanes), ir.IntType(64)
        steps = [
            builder.sdiv(cgutils.unpack_tuple(builder, array.strides)[0], index(itemsize)) for array in (a, b)
        ]  # fmt: skip
        total = cgutils.alloca_once(builder, vector)
        builder.store(vector([0.0] * lanes), total)
        with cgutils.for_range(builder, cgutils.unpack_tuple(builder, a.shape)[0], intp=index) as loop:
            x, y = (
                builder.load(
                    builder.bitcast(builder.gep(array.data, [builder.mul(loop.index, step)]), vector.as_pointer()),
                    align=itemsize,
                )
                for array, step in zip((a, b), steps)
            )
            product = builder.fmul(x, y, flags=("contract",))
            builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
        builder.store(builder.load(total), builder.bitcast(out.data, vector.as_pointer()), align=itemsize)
        return context.get_dummy_value()

    return types.void(a, b, out), codegen


@njit(parallel=True, cache=True, nogil=True)
def assemble(u, sigma, v, out):
    """U and V* in planes (p pieces, k, k, lanes) and `sigma` (p, q, k) to `out` (p k, q k)."""
    k, lanes, columns = u.shape[1], u.shape[3], sigma.shape[1]
    pieces = (columns + lanes - 1) // lanes
    for p in prange(out.shape[0] // k):
        right, gain, o = np.empty((k, k, lanes), out.dtype), np.zeros(lanes, out.dtype), np.empty(lanes, out.dtype)
        for piece in range(pieces):
            q = piece * lanes
            count = min(lanes, columns - q)
            left, across = u[p * pieces + piece], v[p * pieces + piece]
            for l in range(k):
                for t in range(count):
                    gain[t] = sigma[p, q + t, l]
                for j in range(k):
                    for t in range(lanes):
                        right[l, j, t] = gain[t] * across[l, j, t]
            for i in range(k):
                target = out[p * k + i, q * k : (q + count) * k]
                for j in range(k):
                    dots(left[i], right[:, j], o)
                    for t in range(count):
                        target[t * k + j] = o[t]


@njit(parallel=True, cache=True, nogil=True)
def project(left, grid, right, out):
    """The diagonals (p, q, k) of A' G B', blocks G of `grid` (p k, q k); A and B in planes (p pieces, k, k, lanes)."""
    k, lanes, columns = left.shape[1], left.shape[3], out.shape[1]
    pieces = (columns + lanes - 1) // lanes
    for p in prange(out.shape[0]):
        g, row, o = np.zeros((k, k, lanes), out.dtype), np.empty((k, lanes), out.dtype), np.empty(lanes, out.dtype)
        for piece in range(pieces):
            q = piece * lanes
            count = min(lanes, columns - q)
            a, b = left[p * pieces + piece], right[p * pieces + piece]
            for i in range(k):
                source = grid[p * k + i, q * k : (q + count) * k]
                for j in range(k):
                    line = g[i, j]
                    for t in range(count):
                        line[t] = source[t * k + j]
            for l in range(k):
                for j in range(k):
                    dots(a[:, l], g[:, j], row[j])
                dots(row, b[l], o)
                for t in range(count):
                    out[p, q + t, l] = o[t]


@intrinsic
def fan(typing, y, rows, weights, out, outputs, vectors):
    """out[o, n] = sum over t of weights[rows[t], o] y[rows[t], n]: `outputs` rows o, `vectors` vector registers of n.

    `outputs` and `vectors` are tuples of that length: so the numbers are part of the types, known when compiling.
    `y` is contiguous, and so are the rows of `weights` and of `out`.

    Written as vector instructions, because no loop that Numba offers keeps the sums in registers.
    """
    itemsize = y.dtype.bitwidth // 8
    lanes = VECTOR // itemsize

    def codegen(context, builder, signature, args):
        view = [context.make_array(t)(context, builder, a) for t, a in zip(signature.args[:4], args[:4])]
        number = context.get_data_type(y.dtype)
        vector = ir.VectorType(number, lanes)
        index = ir.IntType(64)
        stride, pitch = (
            builder.sdiv(cgutils.unpack_tuple(builder, view[i].strides)[0], index(itemsize)) for i in (0, 2)
        )
        count = cgutils.unpack_tuple(builder, view[1].shape)[0]

        def place(data, row, step, offset):
            pointer = builder.gep(data, [builder.add(builder.mul(row, step), index(offset))])
            return builder.bitcast(pointer, vector.as_pointer())

        sums = [[cgutils.alloca_once_value(builder, vector([0.0] * lanes)) for _ in range(vectors.count)]
                for _ in range(outputs.count)]  # fmt: skip
        for line in sums:
            for total in line:
                builder.store(vector([0.0] * lanes), total)
        with cgutils.for_range(builder, count, intp=index) as loop:
            row = builder.load(builder.gep(view[1].data, [loop.index]))
            at = [place(view[0].data, row, stride, i * lanes) for i in range(len(sums[0]))]
            xs = [builder.load(pointer, align=itemsize) for pointer in at]
            for o, line in enumerate(sums):
                w = builder.add(builder.mul(row, pitch), index(o))
                w = builder.load(builder.gep(view[2].data, [w]))
                one = builder.insert_element(vector(ir.Undefined), w, ir.IntType(32)(0))
                w = builder.shuffle_vector(one, one, ir.VectorType(ir.IntType(32), lanes)([0] * lanes))
                for x, total in zip(xs, line):
                    product = builder.fmul(w, x, flags=("contract",))
                    builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
        pitch = builder.sdiv(cgutils.unpack_tuple(builder, view[3].strides)[0], index(itemsize))
        for o, line in enumerate(sums):
            for i, total in enumerate(line):
                builder.store(builder.load(total), place(view[3].data, index(o), pitch, i * lanes), align=itemsize)
        return context.get_dummy_value()

    return types.void(y, rows, weights, out, outputs, vectors), codegen


def outputs(k):
    """How many rows of the result `sparse` computes at a time for cores of size k."""
    return -(-k // -(-k // OUTPUTS))


@njit(parallel=True, cache=True, nogil=True)
def tile(y, out):
    """`y` in tiles (tiles, R, width); rows that `y` lacks, and what is left of the last tile, are zero."""
    width = out.shape[2]
    for task in prange(out.shape[0]):
        lo = task * width
        hi = min(lo + width, y.shape[1])
        for r in range(y.shape[0]):
            out[task, r, : hi - lo] = y[r, lo:hi]
            out[task, r, hi - lo :] = 0.0
        out[task, y.shape[0] :] = 0.0


@njit(parallel=True, cache=True, nogil=True)
def sparse(starts, rows, grid, tiles, k, outputs, vectors, out):
    """M' y by the kept blocks of M, `grid` (p k, q k), only: y in `tiles` to `out` (q k, N), overwritten.

    `rows` from `starts[q]` to `starts[q + 1]`: the kept rows of M in block column q. `tiles` (tiles, p k, width), of
    `vectors` registers; `outputs` and `vectors` as in `fan`. Where k is no multiple of `outputs`, groups overlap.
    """
    columns, width, high = starts.shape[0] - 1, tiles.shape[2], len(outputs)
    runs = (tiles.shape[0] + RUN - 1) // RUN
    for task in prange(runs * columns):
        q, first = task % columns, task // columns * RUN
        kept = rows[starts[q] : starts[q + 1]]
        strip = np.empty((high, width), out.dtype)
        for g in range((k + high - 1) // high):
            top = q * k + min(g * high, k - high)
            weights = grid[:, top : top + high]
            for number in range(first, min(first + RUN, tiles.shape[0])):
                lo = number * width
                hi = min(lo + width, out.shape[1])
                if hi == lo + width:
                    fan(tiles[number], kept, weights, out[top : top + high, lo:hi], outputs, vectors)
                else:
                    fan(tiles[number], kept, weights, strip, outputs, vectors)
                    out[top : top + high, lo:hi] = strip[:, : hi - lo]
