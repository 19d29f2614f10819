"""Quadratic forms of the light at every phase shifter: what taps read of a whole batch, from one N x N matrix.

Powers summed over the batch are quadratic in the light that was sent, so that of a batch X only its covariance counts:

    P_p = sum_b |f_pb|^2 = F_p C F_p^+,   C = X X^+,   F_p the row that leads from the inputs to shifter p

and of readings that are added with weights w_j only Z = sum_j (r_j + i w_j) C_j, since every C_j is Hermitian:

    Re F_p Z F_p^+ = sum_j r_j P_pj,    Im F_p Z F_p^+ = sum_j w_j P_pj

Both come from one pass: the columns of U Z U^+ and the unit vectors run back through a lossless mesh together, as field
and cotangent do in `kernels.propagate.gradients`. Conventions and arrays as there.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from . import threads
from .couplers import FUSED, SUMMED
from .propagate import NANOSECONDS, NARROW, PARTS, WIDE, alone, gather, light, pack, room, slope, unscreen


@njit(fastmath=FUSED)
def along(kr, ks, xr, xi, yr, yi, ur, ui, vr, vi):
    """One lane of Re conj(c) f between theta and the right coupler; `slope` is -Im of it."""
    return (kr * ui - ks * vr) * (kr * xi - ks * yr) + (kr * ur + ks * vi) * (kr * xr + ks * yi)


@njit(inline="always")
def product(top, bottom, w, ar, ai, br, bi, cr, ci, dr, di, kr, ks):
    """f and c back through one coupler; returns -Im and Re of conj(c) f at theta, and at phi."""
    theta_im, theta_re = ar * 0, ar * 0
    for j in range(w):
        xr, xi, ur, ui = top[j], top[j + w], top[j + 2 * w], top[j + 3 * w]
        yr, yi, vr, vi = bottom[j], bottom[j + w], bottom[j + 2 * w], bottom[j + 3 * w]
        theta_im += slope(kr, ks, xr, xi, yr, yi, ur, ui, vr, vi)
        theta_re += along(kr, ks, xr, xi, yr, yi, ur, ui, vr, vi)
    alone(top, bottom, w, ar, ai, br, bi, cr, ci, dr, di)
    alone(top[2 * w :], bottom[2 * w :], w, ar, ai, br, bi, cr, ci, dr, di)
    phi_im, phi_re = ar * 0, ar * 0
    for j in range(w):
        phi_im += top[j + 3 * w] * top[j] - top[j + 2 * w] * top[j + w]
        phi_re += top[j + 2 * w] * top[j] + top[j + 3 * w] * top[j + w]
    return theta_im, theta_re, phi_im, phi_re


@njit(inline="always")
def home(e, splitters, top, bottom, strip, w, lit, sums):
    """f and c back through all couplers, adding what `product` gives. Where c is not `lit` yet, it is zero."""
    n = top.shape[0]
    e0, e1, e2, e3, e4, e5, e6, e7 = e[0], e[1], e[2], e[3], e[4], e[5], e[6], e[7]
    cosines, sines = splitters[2], splitters[3]
    for s in range(n):
        t = np.uint64(n - 1 - s)
        i, j = np.uint64(top[t]), np.uint64(bottom[t])
        if lit[i] or lit[j]:
            lit[i] = True
            lit[j] = True
            kr, ks = strip.dtype.type(cosines[t]), strip.dtype.type(sines[t])
            a, b, c, d = product(
                strip[i], strip[j], w, e0[t], e1[t], e2[t], e3[t], e4[t], e5[t], e6[t], e7[t], kr, ks
            )  # fmt: skip
            sums[0, t] += a
            sums[1, t] += b
            sums[2, t] += c
            sums[3, t] += d
        else:
            alone(strip[i], strip[j], w, e0[t], e1[t], e2[t], e3[t], e4[t], e5[t], e6[t], e7[t])


@njit(fastmath=SUMMED)
def part(e, splitters, top, bottom, screen, form, first, last, w, sums):
    """`forms` for the strips from `first` to `last` of one mesh; its own sums (4, n)."""
    strip, nowhere = room(form.shape[1], 4 * w, form), np.zeros(form.shape[1], form.dtype)
    lit = np.empty(form.shape[1], np.bool_)
    sums[:] = 0.0
    for index in range(first, last):
        strip[:] = 0.0
        pack(form, index * w, strip, 0, w, 1)
        light(strip, 2 * w, w, index * w, lit)
        unscreen(strip, w, screen, nowhere)
        if w == WIDE:
            home(e, splitters, top, bottom, strip, WIDE, lit, sums)
        else:
            home(e, splitters, top, bottom, strip, NARROW, lit, sums)


@njit(cache=True, nogil=True)
def forms_piece(begin, end, parts, elements, splitters, top, bottom, screen, form, sums):
    """Tasks `begin` to `end` of `forms`: part p of mesh m is task m parts + p."""
    modes = form.shape[2]
    w = WIDE if modes > NARROW else NARROW
    strips = -(-modes // w)
    for task in range(begin, end):
        m, p = task // parts, task % parts
        part(
            elements[m], splitters[m], top, bottom, screen[m], form[m],
            p * strips // parts, (p + 1) * strips // parts, w, sums[task],
        )  # fmt: skip


def forms(elements, splitters, top, bottom, screen, form, by_theta, by_phi):
    """The quadratic forms of `form` (M, 2, N, N) = U Z U^+ at theta and phi of M lossless meshes, `by_theta`, `by_phi`
    (M, 2 n): the imaginary parts, negative, then the real parts."""
    meshes, modes, n = form.shape[0], form.shape[2], top.shape[0]
    parts = max(1, min(PARTS, -(-modes // (WIDE if modes > NARROW else NARROW))))
    sums = np.empty((meshes * parts, 4, n), form.dtype)
    threads.share(
        forms_piece, meshes * parts, 5.0 * NANOSECONDS * meshes * modes * n, parts, elements, splitters, top, bottom,
        screen, form, sums,
    )  # fmt: skip
    gather(sums.reshape(meshes, parts, 4 * n), by_theta, by_phi)
