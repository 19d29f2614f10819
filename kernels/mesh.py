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
from .lanes import collect, fast, room, rotate, sincos, spread, width
from .vectors import full, view


@fast
def build(phase, flip, signs, rails, out):
    """The matrices `out` (k, k) of all lanes from phases, flips (n,) and signs (k,)."""
    k = out.shape[0]
    for i in range(k):
        for j in range(k):
            out[i, j] = full(signs[0], 1.0 if i == j else 0.0)
    for t in range(rails.size):
        s, c = sincos(phase[t])
        rotate(out[rails[t]], out[rails[t] + 1], c, flip[t] * s)
    for i in range(k):
        for j in range(k):
            out[i, j] = out[i, j] * signs[i]


@njit(cache=True, nogil=True)
def place_piece(begin, end, values, places, out):
    """`place` for the meshes from `begin` to `end`."""
    for m in range(begin, end):
        for i in range(places.size):
            out[m, i] = values[m, places[i]] if places[i] >= 0 else 0.0


def place(values, places, out):
    """`out` (M, P): of `values` (M, n) the one of `places` (P,), and zero where that is -1."""
    threads.share(place_piece, len(out), 0.5 * out.size, values, places, out)


@njit(cache=True, nogil=True)
def matrices_piece(begin, end, phases, flip, signs, rails, out):
    """`matrices` for the vectors of meshes from `begin` to `end`."""
    (cores, n), k, lanes = phases.shape, out.shape[1], width(phases)
    rest = room(2 * n + k, 1, phases).reshape(2 * n + k, lanes)
    phase, own_flip, own_signs = rest[:n], rest[n : 2 * n], rest[2 * n :]
    u = room(k, k, phases)
    for group in range(begin, end):
        lo = group * lanes
        spread(phases, lo, lanes, phase)
        spread(flip, lo, lanes, own_flip)
        spread(signs, lo, lanes, own_signs)
        build(view(phase), view(own_flip), view(own_signs), rails, view(u))
        collect(u.reshape(k * k, lanes), out.reshape(cores, k * k), lo)


def matrices(phases, flip, signs, rails, out):
    """Effective phases (M, n) in travel order to matrices `out` (M, k, k). `signs` (M, k), `rails` (n,) upper rails."""
    lanes = width.py_func(phases.dtype)
    groups = -(-phases.shape[0] // lanes)
    work = 0.1 * groups * lanes * rails.size * (out.shape[1] + 4)
    threads.share(matrices_piece, groups, work, phases, flip, signs, rails, out)
