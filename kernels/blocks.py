"""A grid of p x q cores and its one matrix M (p k, q k), whose blocks are W_ij = U_ij diag(sigma_ij) V*_ij.

    assemble   M from the meshes and sigma
    project    d sigma_l = (A' G B)_ll of every block G of a matrix like M, for A, B (k, k) per core
    sparse     out_j += sum over the kept blocks i of column j of W_ij' y_i: the masked product M' y, blocks skipped

The first two are written for the compiler: the block size is the length of a tuple and thereby known when compiling, so
that the short sum in the middle is unrolled and the loop around it fills whole vector registers: it covers `WHOLE`
columns or a multiple, and what lies behind the k-th is not used.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.core.cgutils import ir
from numba.extending import intrinsic

from . import threads
from .im2col import put

WHOLE = 8
OUTPUTS, REGISTERS, RUN = 9, 27, 8
"""`sparse` computes at most so many rows of the result at a time, in so many vector registers, and so many tiles of
columns in a run."""
VECTOR = 64
"""Bytes of a vector register of `sparse`; where the processor has narrower ones, one of these is two of its own."""
AHEAD = 9
"""Rows of light that `sparse` asks the memory for in advance: what comes after a skipped block cannot be guessed."""


@njit(cache=True, nogil=True, fastmath={"contract"})
def assemble_piece(begin, end, u, sigma, v, depth, out):
    """`assemble` for the rows of cores from `begin` to `end`."""
    k, columns = len(depth), sigma.shape[1]
    wide = -(-k // WHOLE) * WHOLE
    for p in range(begin, end):
        scaled, block = np.zeros((k, wide), out.dtype), np.empty((k, wide), out.dtype)
        for q in range(columns):
            left, gain, right = u[p * columns + q], sigma[p, q], v[p * columns + q]
            for l in range(k):
                g = gain[l]
                for j in range(k):
                    scaled[l, j] = g * right[l, j]
            for i in range(k):
                line = block[i]
                for j in range(wide):
                    sum_ = left[i, 0] * scaled[0, j]
                    for l in range(1, k):
                        sum_ += left[i, l] * scaled[l, j]
                    line[j] = sum_
            for i in range(k):
                target = out[p * k + i, q * k : q * k + k]
                for j in range(k):
                    target[j] = block[i, j]


def assemble(u, sigma, v, depth, out):
    """U and V* (p q, k, k) and `sigma` (p, q, k) to `out` (p k, q k); `depth` is a tuple of length k."""
    threads.share(assemble_piece, sigma.shape[0], out.size, u, sigma, v, depth, out)


@njit(cache=True, nogil=True, fastmath={"contract"})
def project_piece(begin, end, left, grid, right, depth, out):
    """`project` for the rows of cores from `begin` to `end`."""
    k, columns = len(depth), out.shape[1]
    wide = -(-k // WHOLE) * WHOLE
    flat, other = left.reshape(-1), right.reshape(-1)
    for p in range(begin, end):
        total = np.empty(wide, out.dtype)
        for q in range(columns):
            first = (p * columns + q) * k * k
            a, b = flat[first:], other[first:]
            count = wide if a.shape[0] >= k * k + wide else k  # no further than the last core reaches
            for l in range(count):
                total[l] = 0.0
            for i in range(k):
                g, line = grid[p * k + i, q * k : q * k + k], a[i * k :]
                for l in range(count):
                    sum_ = g[0] * b[l]
                    for j in range(1, k):
                        sum_ += g[j] * b[j * k + l]
                    total[l] += line[l] * sum_
            for l in range(k):
                out[p, q, l] = total[l]


def project(left, grid, right, depth, out):
    """The diagonals `out` (p, q, k) of A' G B, blocks G of `grid` (p k, q k), A = `left`, B = `right` (p q, k, k)."""
    threads.share(project_piece, out.shape[0], grid.size, left, grid, right, depth, out)


def fetch(builder, pointer):
    """LLVM's prefetch of what lies at `pointer`, to be read, into the nearest cache."""
    word, byte = ir.IntType(32), ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [builder.bitcast(pointer, byte), word(0), word(3), word(1)])


@intrinsic
def fan(typing, y, rows, weights, out, outputs, vectors):
    """out[o, n] = sum over t of weights[rows[t], o] y[rows[t], n]: `outputs` rows o, `vectors` vector registers of n.

    `outputs` and `vectors` are tuples of that length: so the numbers are part of the types, known when compiling.
    `y` is contiguous, and so are the rows of `weights` and of `out`.

    Written as vector instructions, because no loop that Numba offers keeps the sums in registers: the best plain loops
    tried (three or four outputs at a time, unrolled over the rows of a core) reached 0.7 of this rate at k = 8 and 9,
    and as much as this at k = 4 and 16 (one core, float32, one after the other, before rows were fetched ahead).
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
            later = builder.add(loop.index, index(AHEAD))
            later = builder.select(builder.icmp_signed("<", later, count), later, loop.index)
            later = builder.load(builder.gep(view[1].data, [later]))
            for i in range(len(sums[0])):
                fetch(builder, place(view[0].data, later, stride, i * lanes))
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


@njit(cache=True, nogil=True)
def tile_piece(begin, end, y, out):
    """`tile` for the tiles from `begin` to `end`."""
    width = out.shape[2]
    for task in range(begin, end):
        lo = task * width
        hi = min(lo + width, y.shape[1])
        for r in range(y.shape[0]):
            put(out[task, r, : hi - lo], y[r, lo:hi])
            out[task, r, hi - lo :] = 0.0
        out[task, y.shape[0] :] = 0.0


def tile(y, out):
    """`y` in tiles (tiles, R, width); rows that `y` lacks, and what is left of the last tile, are zero."""
    threads.share(tile_piece, out.shape[0], 0.2 * out.size, y, out)


@njit(cache=True, nogil=True)
def sparse_piece(begin, end, starts, rows, grid, tiles, k, outputs, vectors, out):
    """`sparse` for the runs of columns from `begin` to `end`."""
    columns, width, high = starts.shape[0] - 1, tiles.shape[2], len(outputs)
    for task in range(begin, end):
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
                    for i in range(high):
                        put(out[top + i, lo:hi], strip[i, : hi - lo])


def sparse(starts, rows, grid, tiles, k, outputs, vectors, out):
    """M' y by the kept blocks of M, `grid` (p k, q k), only: y in `tiles` to `out` (q k, N), overwritten.

    `rows` from `starts[q]` to `starts[q + 1]`: the kept rows of M in block column q. `tiles` (tiles, p k, width), of
    `vectors` registers; `outputs` and `vectors` as in `fan`. Where k is no multiple of `outputs`, groups overlap.
    """
    items = (tiles.shape[0] + RUN - 1) // RUN * (starts.shape[0] - 1)
    work = 0.01 * rows.size * k * out.shape[1]
    threads.share(sparse_piece, items, work, starts, rows, grid, tiles, k, outputs, vectors, out)
