"""Complex tensor cores: effective phases to the matrices of meshes of imperfect push-pull or single-arm MZIs.

    T = -i D(er) diag(a0 e^{ia}, a1 e^{-ia}) D(el) diag(1, -1),   a = pi/2 - phi,
    D(e) = [[cos(pi/4 + e), i sin(pi/4 + e)], [i sin(pi/4 + e), cos(pi/4 + e)]],   U = diag(signs) T_{n-1} ... T_0

which is the rotation [[cos phi, -sin phi], [sin phi, cos phi]] of `kernels.mesh` at e = 0, a0 = a1 = 1. Heating one arm
only, diag(a0 e^{2ia}, a1), multiplies T by e^{ia}: a phase that depends on the angle, so that a mesh is no longer real.

Meshes with phi in front of every MZI and a screen behind the last undo that (`l2sim.mesh.thetaphi`): there T is that of
`kernels.couplers`, and U = diag(signs e^{i screen}) T_{n-1} ... T_0.
"""

from __future__ import annotations

import math

from numba import njit

from . import threads
from .couplers import cossin, element


@njit(inline="always")
def mzi(phase, cl, sl, cr, sr, a0, a1, single):
    """The four elements of T."""
    a = 0.5 * math.pi - phase
    if single:
        upper = a0 * complex(math.cos(2.0 * a), math.sin(2.0 * a))
        lower = complex(a1, 0.0)
    else:
        upper = a0 * complex(math.cos(a), math.sin(a))
        lower = a1 * complex(math.cos(a), -math.sin(a))
    return (
        -1j * (cr * cl * upper - sr * sl * lower),
        -(cr * sl * upper + sr * cl * lower),
        sr * cl * upper + cr * sl * lower,
        1j * (cr * cl * lower - sr * sl * upper),
    )


@njit(cache=True, nogil=True)
def matrices_piece(begin, end, phases, splitters, arms, single, signs, rails, out):
    """`matrices` for the cores from `begin` to `end`."""
    k = out.shape[1]
    for m in range(begin, end):
        u = out[m]
        for i in range(k):
            for j in range(k):
                u[i, j] = 1.0 if i == j else 0.0
        for t in range(phases.shape[1]):
            s, r = splitters[m], rails[t]
            a, b, c, d = mzi(phases[m, t], s[0, t], s[1, t], s[2, t], s[3, t], arms[m, 0, t], arms[m, 1, t], single)
            top, bottom = u[r], u[r + 1]
            for j in range(k):
                x, y = top[j], bottom[j]
                top[j] = a * x + b * y
                bottom[j] = c * x + d * y
        for i in range(k):
            for j in range(k):
                u[i, j] *= signs[m, i]


def matrices(phases, splitters, arms, single, signs, rails, out):
    """Effective phases (M, n) in travel order to complex matrices `out` (M, k, k).

    `splitters` (M, 4, n): cos, sin of pi/4 + e, left, then right; `arms` (M, 2, n): a0, a1; `signs` (M, k); `rails`
    (n,) upper rails.
    """
    work = 5.0 * phases.size * out.shape[1] + 40.0 * phases.size
    threads.share(matrices_piece, phases.shape[0], work, phases, splitters, arms, single, signs, rails, out)


@njit(cache=True, nogil=True)
def with_phi_piece(begin, end, phases, thetas, phis, screens, splitters, arms, signs, rails, out):
    """`with_phi` for the cores from `begin` to `end`."""
    k = out.shape[1]
    for m in range(begin, end):
        u, s, amplitude = out[m], splitters[m], arms[m]
        for i in range(k):
            for j in range(k):
                u[i, j] = 1.0 if i == j else 0.0
        for t in range(rails.size):
            c, d = cossin(phases[m, thetas[t]])
            e, f = cossin(phases[m, phis[t]])
            a0, a2 = amplitude[0, t], amplitude[2, t]
            values = element(
                a0 * c, a0 * d, a2 * e, a2 * f, s[0, t], s[1, t], s[2, t], s[3, t], amplitude[1, t], amplitude[3, t]
            )
            t11, t12 = complex(values[0], values[1]), complex(values[2], values[3])
            t21, t22 = complex(values[4], values[5]), complex(values[6], values[7])
            top, bottom = u[rails[t]], u[rails[t] + 1]
            for j in range(k):
                x, y = top[j], bottom[j]
                top[j] = t11 * x + t12 * y
                bottom[j] = t21 * x + t22 * y
        for i in range(k):
            c, d = cossin(phases[m, screens[i]])
            turned = signs[m, i] * complex(c, d)
            for j in range(k):
                u[i, j] *= turned


def with_phi(phases, places, splitters, arms, signs, rails, out):
    """Effective phases (M, heaters) in travel order to complex matrices `out` (M, k, k) of meshes with phi.

    `places`: which heater is theta (n,) and phi (n,) of every MZI, and of the screen (k,); `arms` (M, 4, n): a0 ... a3;
    `rails` (n,) upper rails of the MZIs; the others as in `matrices`.
    """
    work = 5.0 * phases.size * out.shape[1] + 60.0 * phases.size
    threads.share(with_phi_piece, phases.shape[0], work, phases, *places, splitters, arms, signs, rails, out)
