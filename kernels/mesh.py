"""Real MZI meshes: effective phases to orthogonal matrices.

A push-pull MZI with 50:50 splitters rotates its two rails (r, r + 1) by its phase,

    T = [[cos phi, -sin phi], [sin phi, cos phi]],        U = diag(signs) T_{n-1} ... T_1 T_0,

fields being columns and T_0 nearest the input (Clements et al., Optica 3, 1460 (2016); Reck et al., PRL 73, 58 (1994)).
`flip` (n,) per mesh is +1 or -1 and multiplies sin phi: it carries pi shifters that sit inside the mesh instead of at
its output, since R(phi) diag(1, -1) = diag(1, -1) R(-phi).
"""

from __future__ import annotations

from numba import njit

from . import threads
from .lanes import LANES, angles, copy, fast, room, rotate, spread


@fast
def build(phase, flip, signs, rails, tables, out):
    """The matrices `out` (k, k, LANES) of all lanes from phases, flips (n, LANES) and signs (k, LANES)."""
    k = out.shape[0]
    out[:] = 0.0
    for i in range(k):
        out[i, i, :] = 1.0
    for t in range(rails.size):
        copy(tables[t, 1], phase[t])
        angles(tables[t, 0], tables[t, 1], flip[t])
        rotate(out[rails[t]], out[rails[t] + 1], tables[t, 0], tables[t, 1])
    for i in range(k):
        row, sign = out[i], signs[i]
        for j in range(k):
            x = row[j]
            for l in range(x.size):
                x[l] *= sign[l]


@njit(cache=True, nogil=True)
def matrices_piece(begin, end, phases, flip, signs, rails, out):
    """`matrices` for the groups of LANES meshes from `begin` to `end`."""
    (cores, n), k = phases.shape, out.shape[1]
    rest = room(2 * n + k, 1, phases).reshape(2 * n + k, LANES)
    phase, own_flip, own_signs = rest[:n], rest[n : 2 * n], rest[2 * n :]
    tables, u = room(n, 2, phases), room(k, k, phases)
    for group in range(begin, end):
        lo = group * LANES
        spread(phases, lo, LANES, phase)
        spread(flip, lo, LANES, own_flip)
        spread(signs, lo, LANES, own_signs)
        build(phase, own_flip, own_signs, rails, tables, u)
        for l in range(min(LANES, cores - lo)):
            to = out[lo + l]
            for i in range(k):
                for j in range(k):
                    to[i, j] = u[i, j, l]


def matrices(phases, flip, signs, rails, out):
    """Effective phases (M, n) in travel order to matrices `out` (M, k, k). `signs` (M, k), `rails` (n,) upper rails."""
    groups = -(-phases.shape[0] // LANES)
    work = 0.1 * groups * LANES * rails.size * (out.shape[1] + 4)
    threads.share(matrices_piece, groups, work, phases, flip, signs, rails, out)
