"""One coupler of a complex mesh, for each of them: its splitters, and its 2 x 2 matrix from the phases at hand.

    T = D(er) diag(a0 e^{i theta}, a1) D(el) diag(a2 e^{i phi}, a3),
    D(e) = [[cos(pi/4 + e), i sin(pi/4 + e)], [i sin(pi/4 + e), cos(pi/4 + e)]]          (spec/insitu.md, section 1)

Conventions and arrays as in `kernels.propagate`, which sends light through the elements that are written here.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from . import threads

FUSED = {"contract"}
SUMMED = {"contract", "reassoc"}
"""`reassoc` lets a sum over lanes be kept in one register. Its order is fixed when compiled, but what Numba loads from
its cache was optimised once more than what it ran when compiling: what is summed must be one product, or a function of
its own without `reassoc`."""

# pi/2 in three parts for the argument reduction, and the polynomials of fdlibm's k_sin.c and k_cos.c on [-pi/4, pi/4].
HALF_PI = (1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624871116645580e-21)
S1, S2, S3 = -1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04
S4, S5, S6 = 2.75573137070700676789e-06, -2.50507602534068634195e-08, 1.58969099521155010221e-10
C1, C2, C3 = 4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05
C4, C5, C6 = -2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11


@njit(fastmath=FUSED)
def cossin(x):
    """cos x and sin x in float64 without a branch, so that a loop over phases vectorises. |x| < 1e6."""
    turns = np.rint(x * 0.6366197723675814)
    r = x - turns * HALF_PI[0]
    r = r - turns * HALF_PI[1]
    r = r - turns * HALF_PI[2]
    z = r * r
    s = r + r * z * (S1 + z * (S2 + z * (S3 + z * (S4 + z * (S5 + z * S6)))))
    c = 1.0 - 0.5 * z + z * z * (C1 + z * (C2 + z * (C3 + z * (C4 + z * (C5 + z * C6)))))
    quarter = turns - 4.0 * np.floor(0.25 * turns)
    odd = quarter == 1.0 or quarter == 3.0
    cosine = s if odd else c
    sine = c if odd else s
    return (-cosine if quarter == 1.0 or quarter == 2.0 else cosine), (-sine if quarter >= 2.0 else sine)


@njit(fastmath=FUSED)
def element(er, ei, fr, fi, cl, sl, cr, sr, a1, a3):
    """T and z of one coupler, with E = a0 e^{i theta} = er + i ei and F = a2 e^{i phi} = fr + i fi.

    T11 = (cr cl E - sr sl a1) F      T12 = i (cr sl E + sr cl a1) a3
    T21 = i (sr cl E + cr sl a1) F    T22 = (cr cl a1 - sr sl E) a3

    z is the field behind theta on the top arm, (E cl F, i E sl a3) . input, so that dT/dtheta = i (cr, i sr) z^T and
    dT/dphi = i T diag(1, 0). Twelve numbers: real and imaginary T11, T12, T21, T22, z0, z1.
    """
    pr, pi = cr * cl * er - sr * sl * a1, cr * cl * ei
    qr, qi = sr * cl * er + cr * sl * a1, sr * cl * ei
    return (
        pr * fr - pi * fi,
        pr * fi + pi * fr,
        -cr * sl * ei * a3,
        (cr * sl * er + sr * cl * a1) * a3,
        -(qr * fi + qi * fr),
        qr * fr - qi * fi,
        (cr * cl * a1 - sr * sl * er) * a3,
        -sr * sl * ei * a3,
        cl * (er * fr - ei * fi),
        cl * (er * fi + ei * fr),
        -sl * ei * a3,
        sl * er * a3,
    )


@njit(cache=True, nogil=True)
def splitters_piece(begin, end, left, right, out):
    """`splitters` for the meshes from `begin` to `end`."""
    for m in range(begin, end):
        for t in range(left.shape[1]):
            out[m, 0, t], out[m, 1, t] = cossin(0.25 * math.pi + left[m, t])
            out[m, 2, t], out[m, 3, t] = cossin(0.25 * math.pi + right[m, t])


def splitters(left, right, out):
    """Splitter errors `left`, `right` (M, n) in radians to their cos and sin, `out` (M, 4, n)."""
    threads.share(splitters_piece, left.shape[0], 20.0 * left.size, left, right, out)


@njit(fastmath=FUSED)
def elements_one(theta, phi, splitters, amplitudes, out):
    """The elements of every coupler of one mesh, `out` (12, n)."""
    cl, sl, cr, sr = splitters[0], splitters[1], splitters[2], splitters[3]
    a0, a1, a2, a3 = amplitudes[0], amplitudes[1], amplitudes[2], amplitudes[3]
    o0, o1, o2, o3, o4, o5 = out[0], out[1], out[2], out[3], out[4], out[5]
    o6, o7, o8, o9, o10, o11 = out[6], out[7], out[8], out[9], out[10], out[11]
    n = theta.shape[0]
    size = 64
    angles = np.empty((4, size), np.float64)
    er, ei, fr, fi = angles[0], angles[1], angles[2], angles[3]
    for lo in range(0, n, size):
        count = min(size, n - lo)
        # Three loops: each writes few enough arrays for the compiler to check that none overlaps another.
        for j in range(count):
            er[j], ei[j] = cossin(np.float64(theta[lo + j]))
        for j in range(count):
            fr[j], fi[j] = cossin(np.float64(phi[lo + j]))
        for j in range(count):
            t = lo + j
            (o0[t], o1[t], o2[t], o3[t], o4[t], o5[t], o6[t], o7[t], o8[t], o9[t], o10[t], o11[t]) = element(
                a0[t] * er[j], a0[t] * ei[j], a2[t] * fr[j], a2[t] * fi[j], cl[t], sl[t], cr[t], sr[t], a1[t], a3[t]
            )


@njit(cache=True, nogil=True)
def elements_piece(begin, end, theta, phi, splitters, amplitudes, out):
    """`elements` for the meshes from `begin` to `end`."""
    for m in range(begin, end):
        elements_one(theta[m], phi[m], splitters[m], amplitudes[m], out[m])


def elements(theta, phi, splitters, amplitudes, out):
    """The elements of every coupler, `out` (M, 12, n), as `element` gives them."""
    threads.share(elements_piece, theta.shape[0], 10.0 * theta.size, theta, phi, splitters, amplitudes, out)
