"""The sum over a batch of the products of two noisy readings, drawn from its exact law instead of reading by reading.

The gradient of sigma is sum_b (s_b + a e_b)(t_b + b h_b), s and t in R^N what is read forward and backward, e and h
standard normal, independent (L2ight, NeurIPS 2021, eq. 8, with readout noise). Given e, h enters as one normal number
times |s + a e|; and of e only its component along t matters, e1, and the length of s + a e. So in distribution

    g = s.t + a |t| e1 + b |s + a e| h1,    |s + a e|^2 = (s1 + a e1)^2 + (s2 + a e2)^2 + a^2 chi2_{N - 2},

s1 = s.t / |t| along t, s2 = sqrt(|s|^2 - s1^2) across it, e1, e2, h1 normal. |s|^2 and |t|^2 are B' X B and A' Y A on
the diagonals, X = x x' and Y = dy dy' of a block column and row: the light itself is not followed through the cores.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from . import threads
from .blocks import WHOLE
from .draws import TILE, desk, several
from .lanes import fast

DRAWN = 4
"""Numbers an entry: e1, e2, h1 and the chi-square."""
RUN = 512
"""Numbers of a row that are worked at a time: k rows of them stay in the first-level cache."""
LANES = 32


@fast
def copy(to, origin):
    """to <- origin, one-dimensional."""
    for l in range(to.size):
        to[l] = origin[l]


@fast
def products(to, x, y):
    """to (LANES,) += x y (RUN,), four at a time."""
    w = LANES
    for t in range(0, RUN, 4 * w):
        for l in range(LANES):
            near = x[t + l] * y[t + l] + x[t + w + l] * y[t + w + l]
            to[l] += near + (x[t + 2 * w + l] * y[t + 2 * w + l] + x[t + 3 * w + l] * y[t + 3 * w + l])


@njit(cache=True, nogil=True)
def grams_of(begin, end, x, out):
    """Blocks `begin` to `end` of `grams`."""
    k, count = out.shape[1], x.shape[1]
    some, sums = np.empty((k, RUN), x.dtype), np.empty((k, k, LANES), x.dtype)
    for q in range(begin, end):
        block, own = x[q * k : (q + 1) * k], out[q]
        sums[:] = 0.0
        for at in range(0, count, RUN):
            width = min(RUN, count - at)
            for i in range(block.shape[0]):
                copy(some[i, :width], block[i, at : at + width])
                some[i, width:] = 0.0
            for i in range(block.shape[0]):
                for j in range(i, block.shape[0]):
                    products(sums[i, j], some[i], some[j])
        for i in range(k):
            for j in range(k):
                total = x.dtype.type(0.0)
                for l in range(LANES):
                    total += sums[min(i, j), max(i, j), l]
                own[i, j] = total


def grams(x, out):
    """x x' of every block of k rows of x (rows, N): out (blocks, k, k); rows that are missing are dark."""
    threads.share(grams_of, len(out), 0.05 * x.size * out.shape[1], x, out)


@njit(fastmath={"contract"})
def norms(cores, gram, depth, square):
    """square (k,) <- the diagonal of C' G C, C the (k, k) that `cores` begins with and G = `gram` (k, k).

    As `blocks.project`: `depth` is a tuple of length k, and what lies behind the k-th is worked too, where it is there.
    """
    k, wide = len(depth), square.size
    count = wide if cores.size >= k * k + wide else k
    for l in range(count):
        square[l] = 0.0
    for i in range(k):
        g, line = gram[i], cores[i * k :]
        for l in range(count):
            sum_ = g[0] * cores[l]
            for j in range(1, k):
                sum_ += g[j] * cores[j * k + l]
            square[l] += line[l] * sum_


@njit(error_model="numpy")
def entry(dot, forward, backward, count, a, b, drawn):
    """One entry of the gradient from s.t, |s|^2, |t|^2, the number of readings, both amplitudes and what is drawn."""
    far = math.sqrt(max(backward, 0.0))
    along = dot / far if far > 0.0 else 0.0
    across = math.sqrt(max(forward - along * along, 0.0))
    square = (along + a * drawn[0]) ** 2
    if count > 1:
        square += (across + a * drawn[1]) ** 2 + a * a * drawn[3]
    return dot + a * far * drawn[0] + b * math.sqrt(square) * drawn[2]


@njit(cache=True, nogil=True)
def add_rows(begin, end, page, key, left, right, sent, back, counts, a, b, depth, out):
    """Block rows `begin` to `end` of `add`; `depth` is a tuple of length k."""
    columns, k = out.shape[1], len(depth)
    shapes = np.maximum(counts - 2, 0) / 2.0
    none, plain = np.empty((columns, 0), np.uint32), np.empty((columns, 0), np.int64)
    kind = np.repeat(np.arange(columns), k)
    room, drawn = desk(), np.empty((columns * k, DRAWN))
    wide, lefts, rights = -(-k // WHOLE) * WHOLE, left.reshape(-1), right.reshape(-1)
    forward, backward = np.empty(wide, out.dtype), np.empty(wide, out.dtype)
    for i in range(begin, end):
        for at in range(0, columns * k, TILE):
            to = min(at + TILE, columns * k)
            several(i * columns * k + at, page, key, kind[at:to], shapes, none, plain, room, drawn[at:to])
        for j in range(columns):
            first = (i * columns + j) * k * k
            norms(rights[first:], sent[j], depth, forward)
            norms(lefts[first:], back[i, j if back.shape[1] > 1 else 0], depth, backward)
            for l in range(k):
                out[i, j, l] = entry(out[i, j, l], forward[l], backward[l], counts[j], a, b, drawn[j * k + l])


def add(page, key, left, right, sent, back, counts, amplitudes, out):
    """Turn s.t in `out` (p, q, k) into noisy gradients of sigma.

    `left` A and `right` B (p q, k, k); `sent` X (q, k, k) and `back` Y (p, q, k, k) or (p, 1, k, k); `counts` (q,) of
    readings; `amplitudes` of the noise, forward and backward.
    """
    k = out.shape[2]
    cost = 5.0 * out.size * k
    threads.share(add_rows, len(out), cost, page, key, left, right, sent, back, counts, *amplitudes, (0,) * k, out)
