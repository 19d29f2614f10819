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

DRAWN = 4
"""Numbers an entry: e1, e2, h1 and the chi-square."""
RUN = 1024
"""Numbers of a row that are worked at a time: k rows of them stay in the first-level cache."""


@njit(fastmath={"contract", "reassoc"}, nogil=True)
def nine(a, b, c, u, v, w, out):
    """out (9,) <- the products of each of three rows a, b, c with each of u, v, w: six loads for nine multiply-adds,
    and the sums in registers."""
    au = av = aw = bu = bv = bw = cu = cv = cw = a.dtype.type(0.0)
    for t in range(a.size):
        au += a[t] * u[t]
        av += a[t] * v[t]
        aw += a[t] * w[t]
        bu += b[t] * u[t]
        bv += b[t] * v[t]
        bw += b[t] * w[t]
        cu += c[t] * u[t]
        cv += c[t] * v[t]
        cw += c[t] * w[t]
    out[0], out[1], out[2] = au, av, aw
    out[3], out[4], out[5] = bu, bv, bw
    out[6], out[7], out[8] = cu, cv, cw


@njit(cache=True, nogil=True)
def grams_piece(begin, end, x, out):
    """Blocks `begin` to `end` of `add_grams`. Where k is no multiple of three, the last rows are there twice."""
    k, sums = out.shape[1], np.empty(9, x.dtype)
    for q in range(begin, end):
        block, own = x[q * k : (q + 1) * k], out[q]
        last = block.shape[0] - 1
        for at in range(0, x.shape[1], RUN):
            to = min(at + RUN, x.shape[1])  # each row is cut by itself: then the compiler knows that it is contiguous
            for i in range(0, last + 1, 3):
                a, b, c = block[i, at:to], block[min(i + 1, last), at:to], block[min(i + 2, last), at:to]
                for j in range(i, last + 1, 3):
                    u, v, w = block[j, at:to], block[min(j + 1, last), at:to], block[min(j + 2, last), at:to]
                    nine(a, b, c, u, v, w, sums)
                    for m in range(i, min(i + 3, last + 1)):
                        for n in range(j, min(j + 3, last + 1)):
                            own[m, n] += sums[3 * (m - i) + n - j]
        for m in range(k):
            for n in range(m):
                own[m, n] = own[n, m]


def add_grams(x, out):
    """Add x x' of every block of k rows of x (rows, N) to out (blocks, k, k); rows that are missing are dark."""
    threads.share(grams_piece, len(out), 0.04 * x.size * out.shape[1], x, out)


def masked_grams(x, masks, out):
    """out (p, q, k, k) <- x x' of every block of k rows of x (rows, N), of the columns that each of the `masks` (q, N)
    chooses."""
    out[...] = 0.0
    for j, mask in enumerate(masks):
        own = np.zeros_like(out[:, j])
        add_grams(np.ascontiguousarray(x[:, mask]), own)
        out[:, j] = own


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
    a, b = map(float, amplitudes)
    threads.share(add_rows, len(out), cost, page, key, left, right, sent, back, counts, a, b, (0,) * k, out)
