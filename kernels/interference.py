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
from .lanes import flat
from .propagate import NANOSECONDS, NARROW, PARTS, WIDE, alone, gather, laid, light, pack, returned, unscreen
from .vectors import full, total, view


@flat
def product(strip, i, j, w, ar, ai, br, bi, cr, ci, dr, di, kr, ks):
    """f and c back through one coupler of the rails i and j; returns -Im and Re of conj(c) f at theta, and at phi."""
    theta_im = full(strip[i, 0], 0.0)
    theta_re, phi_im, phi_re = theta_im, theta_im, theta_im
    for k in range(w):
        xr, xi, ur, ui = strip[i, k], strip[i, k + w], strip[i, k + 2 * w], strip[i, k + 3 * w]
        yr, yi, vr, vi = strip[j, k], strip[j, k + w], strip[j, k + 2 * w], strip[j, k + 3 * w]
        fr, fi, gr, gi = kr * xr + ks * yi, kr * xi - ks * yr, kr * ur + ks * vi, kr * ui - ks * vr
        theta_im = theta_im + gi * fr
        theta_im = theta_im - gr * fi
        theta_re = theta_re + gi * fi
        theta_re = theta_re + gr * fr
        xr, xi, yr, yi = returned(ar, ai, br, bi, cr, ci, dr, di, xr, xi, yr, yi)
        ur, ui, vr, vi = returned(ar, ai, br, bi, cr, ci, dr, di, ur, ui, vr, vi)
        phi_im = phi_im + ui * xr
        phi_im = phi_im - ur * xi
        phi_re = phi_re + ur * xr
        phi_re = phi_re + ui * xi
        strip[i, k], strip[i, k + w], strip[i, k + 2 * w], strip[i, k + 3 * w] = xr, xi, ur, ui
        strip[j, k], strip[j, k + w], strip[j, k + 2 * w], strip[j, k + 3 * w] = yr, yi, vr, vi
    return total(theta_im), total(theta_re), total(phi_im), total(phi_re)


@flat
def home(e, splitters, top, bottom, strip, w, lit, sums):
    """f and c back through all couplers, adding what `product` gives. Where c is not `lit` yet, it is zero."""
    for s in range(top.shape[0]):
        t = np.uint64(top.shape[0] - 1 - s)
        i, j = np.uint64(top[t]), np.uint64(bottom[t])
        ar, ai, br, bi, cr, ci, dr, di = e[0, t], e[1, t], e[2, t], e[3, t], e[4, t], e[5, t], e[6, t], e[7, t]
        if lit[i] or lit[j]:
            lit[i] = True
            lit[j] = True
            kr, ks = e.dtype.type(splitters[2, t]), e.dtype.type(splitters[3, t])
            a, b, c, d = product(strip, i, j, w, ar, ai, br, bi, cr, ci, dr, di, kr, ks)
            sums[0, t] += a
            sums[1, t] += b
            sums[2, t] += c
            sums[3, t] += d
        else:
            alone(strip, i, j, w, ar, ai, br, bi, cr, ci, dr, di)


@njit
def part(e, splitters, top, bottom, screen, form, first, last, w, sums):
    """`forms` for the strips from `first` to `last` of one mesh; its own sums (4, n)."""
    modes = form.shape[1]
    memory, nowhere, lit = laid(modes, 4 * w, form), np.zeros(modes, form.dtype), np.empty(modes, np.bool_)
    numbers, strip, wide = memory.reshape(modes, 4 * w), view(memory), memory.shape[1] // 4
    sums[:] = 0.0
    for index in range(first, last):
        numbers[:] = 0.0
        pack(form, index * w, numbers, 0, w, 1)
        light(numbers, 2 * w, w, index * w, lit)
        unscreen(strip, wide, screen, nowhere)
        home(e, splitters, top, bottom, strip, wide, lit, sums)


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
