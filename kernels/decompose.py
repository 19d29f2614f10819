"""Orthogonal matrices to mesh phases, by Givens nulling.

Rectangular: Clements et al., Optica 3, 1460 (2016), in the real form of the L2ight reference (spec section a).
Triangular: Reck et al., PRL 73, 58 (1994). Both end in a diagonal of signs. Phases go into a (k, k) "cell" array
whose meaning is the reference's: rectangular [upper rail, column], triangular [k - 2 - i, j] of chain i, step j;
`l2sim.mesh.reference` converts. Work is done in float64 whatever the input.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from . import threads

TINY = 1e-7


@njit
def angle(a, b):
    """The angle that rotates (a, b) onto its first component, with the reference's choices where one is zero."""
    if abs(a) < TINY and abs(b) < TINY:
        return 0.0
    if abs(b) < TINY:
        return 0.0 if a > TINY else -math.pi
    if abs(a) < TINY:
        return -0.5 * math.pi if b > TINY else 0.5 * math.pi
    return math.atan2(-b, a)


@njit
def rectangular_one(u, cells):
    """Null `u` (k, k) in place, alternating columns from the right and rows from the left (Clements)."""
    k = u.shape[0]
    for i in range(k - 1):
        for j in range(i + 1):
            if i % 2 == 0:
                row, low = k - 1 - j, i - j
                phase = -angle(u[row, low + 1], u[row, low])
                c, s = math.cos(phase), math.sin(phase)
                for r in range(row + 1):
                    a, b = u[r, low + 1], u[r, low]
                    u[r, low + 1] = c * a + s * b
                    u[r, low] = c * b - s * a
                cells[i - j, j] = phase
            else:
                row, col = k - 1 - i + j, j
                turn = angle(u[row - 1, col], u[row, col])
                c, s = math.cos(turn), math.sin(turn)
                for q in range(j, k):
                    a, b = u[row - 1, q], u[row, q]
                    u[row - 1, q] = c * a - s * b
                    u[row, q] = c * b + s * a
                cells[k + j - i - 2, k - 1 - j] = -turn


@njit
def triangular_one(u, cells):
    """Null `u` (k, k) in place, row after row from the right (Reck)."""
    k = u.shape[0]
    for i in range(k - 1):
        for j in range(i + 1):
            col = k - 1 - i + j
            turn = angle(u[j, col - 1], u[j, col])
            c, s = math.cos(turn), math.sin(turn)
            for r in range(j, k):
                a, b = u[r, col - 1], u[r, col]
                u[r, col - 1] = c * a - s * b
                u[r, col] = c * b + s * a
            cells[k - 2 - i, j] = turn


@njit(cache=True, nogil=True)
def decompose_piece(begin, end, matrices, triangular, cells, signs):
    """`decompose` for the matrices from `begin` to `end`."""
    for m in range(begin, end):
        if triangular:
            triangular_one(matrices[m], cells[m])
        else:
            rectangular_one(matrices[m], cells[m])
        for r in range(matrices.shape[1]):
            signs[m, r] = np.sign(matrices[m, r, r]) if matrices[m, r, r] != 0.0 else 1.0


def decompose(matrices, triangular, cells, signs):
    """Orthogonal matrices (M, k, k), overwritten, to `cells` (M, k, k) and `signs` (M, k) in the reference's places."""
    work = 2.0 * matrices.size * matrices.shape[1]
    threads.share(decompose_piece, matrices.shape[0], work, matrices, triangular, cells, signs)
