"""Light through complex MZI meshes: forward, reversed, and the adjoint with every phase gradient.

A mesh is a list of 2 x 2 couplers on two rails, top and bottom, in an order in which light can travel:

    U = diag(e^{i screen}) T_{n-1} ... T_1 T_0,   T = D(er) diag(a0 e^{i theta}, a1) D(el) diag(a2 e^{i phi}, a3),
    D(e) = [[cos(pi/4 + e), i sin(pi/4 + e)], [i sin(pi/4 + e), cos(pi/4 + e)]]          (spec/insitu.md, section 1)

Clements et al., Optica 3, 1460 (2016); Reck et al., PRL 73, 58 (1994). Reversed light sees U^T. With x sent forward,
f = field at a shifter, and g = dL/dRe y - i dL/dIm y sent backward, a = field at the same place, a_in = U^T g and

    dL/dp = -Im(a f), summed over the batch, for every theta, phi and screen
                                                       (Pai et al., Science 380, 398 (2023); spec/insitu.md, section 2)

A lossless adjoint makes f afresh by running the mesh in reverse (T^-1 = T^+), so that its memory does not grow with the
depth; conj(a) obeys the same recursion, so one pass carries both. A lossy one recomputes f, a strip of the batch at a
time. For a batch larger than N the gradient needs the batch in one N x N matrix only:

    sum_b g_b^T dU x_b = tr(dU X G^T) = sum_k e_k^T dU (X G^T)_k:   the batch X G^T with the cotangents 1,

and Y G^T = U X G^T is where the reversed run starts (`gradients`).

Arrays: M meshes, n couplers in travel order, N modes, B batch. Fields are planes (M, 2, N, B): real, imaginary.
`theta`, `phi` (M, n) and `screen` (M, N) in radians. `splitters` (M, 4, n): cos, sin of pi/4 + e, left, then right.
`amplitudes` (M, 4, n): a0 ... a3. `elements` (M, 12, n): what `kernels.couplers` writes. `top`, `bottom` (n,) rails.
Light is worked on in strips of up to 64 columns that fit the cache while all couplers are applied to them. Strips and
the order in which their gradients are added do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from . import threads
from .couplers import cossin
from .lanes import flat, room, width
from .vectors import full, total, view

WIDE = 64
"""Columns of the batch in a strip: wide enough to hide what a coupler costs once, narrow enough for the cache."""
NARROW = 16
"""The same for a small batch: one AVX-512 register of float32."""
PARTS = 16
"""The most parts that a batch is dealt into; each sums its own gradients."""
NANOSECONDS = 0.2
"""What a coupler takes on one column of the batch, roughly; with gradients four times that."""


# -- strips ------------------------------------------------------------------------------------------------------------
#
# Of w columns, as numbers (N, 2 w lanes) or as vectors (N, 2 w): w vectors of real parts, then w of imaginary parts of
# every rail. What runs over couplers takes vectors (`kernels.vectors`), what fills and empties strips numbers.


@njit
def laid(rows, columns, like):
    """Memory of a strip: rows of so many numbers of the dtype of `like`, from a cache line on."""
    lanes = width(like)
    return room(rows, columns // lanes, like)


@flat
def pair(strip, i, j, w, ar, ai, br, bi, cr, ci, dr, di):
    """(x, y) <- [[a, b], [c, d]] (x, y) for the rails i and j of a strip of `w` vectors."""
    for k in range(w):
        xr, xi, yr, yi = strip[i, k], strip[i, k + w], strip[j, k], strip[j, k + w]
        strip[i, k] = ar * xr - ai * xi + br * yr - bi * yi
        strip[i, k + w] = ar * xi + ai * xr + br * yi + bi * yr
        strip[j, k] = cr * xr - ci * xi + dr * yr - di * yi
        strip[j, k + w] = cr * xi + ci * xr + dr * yi + di * yr


@flat
def turn(strip, w, screen):
    """Every rail of a strip times e^{i screen}."""
    for i in range(strip.shape[0]):
        c, s = cossin(np.float64(screen[i]))
        for k in range(w):
            xr, xi = strip[i, k], strip[i, k + w]
            strip[i, k] = c * xr - s * xi
            strip[i, k + w] = c * xi + s * xr


@njit(inline="always")
def pack(field, lo, strip, at, w, sign):
    """Columns from `lo` of a field (2, N, B) into a strip, real parts from lane `at`; zeros behind the last."""
    count = min(w, field.shape[2] - lo)
    for i in range(field.shape[1]):
        real, imag, row = field[0, i, lo : lo + count], field[1, i, lo : lo + count], strip[i]
        for j in range(count):
            row[at + j] = real[j]
        for j in range(count):
            row[at + w + j] = sign * imag[j]
        for j in range(count, w):
            row[at + j] = 0.0
            row[at + w + j] = 0.0


@njit(inline="always")
def unpack(strip, at, w, sign, lo, field):
    """What `pack` did, undone."""
    count = min(w, field.shape[2] - lo)
    for i in range(field.shape[1]):
        real, imag, row = field[0, i, lo : lo + count], field[1, i, lo : lo + count], strip[i]
        for j in range(count):
            real[j] = row[at + j]
        for j in range(count):
            imag[j] = sign * row[at + w + j]


@njit(inline="always")
def light(strip, at, w, lo, lit):
    """Basis columns from `lo` into the real parts from lane `at` of a strip of zeros, and the rails that they light."""
    lit[:] = False
    for j in range(min(w, strip.shape[0] - lo)):
        strip[lo + j, at + j] = 1.0
        lit[lo + j] = True


@flat
def ahead(e, top, bottom, strip, w, lit):
    """All couplers over a strip. Pairs of rails that are not `lit` (N,) carry no light yet and are passed over."""
    for t in range(top.shape[0]):
        i, j = np.uint64(top[t]), np.uint64(bottom[t])  # unsigned: no test for indices from the end
        if lit[i] or lit[j]:
            lit[i] = True
            lit[j] = True
            pair(strip, i, j, w, e[0, t], e[1, t], e[2, t], e[3, t], e[4, t], e[5, t], e[6, t], e[7, t])


@flat
def behind(e, top, bottom, strip, w):
    """All couplers transposed over a strip, the last first."""
    for s in range(top.shape[0]):
        t = np.uint64(top.shape[0] - 1 - s)
        i, j = np.uint64(top[t]), np.uint64(bottom[t])
        pair(strip, i, j, w, e[0, t], e[1, t], e[4, t], e[5, t], e[2, t], e[3, t], e[6, t], e[7, t])


@njit
def forward_strip(e, top, bottom, screen, field, lo, w):
    """`forward` for one strip of `w` columns of the batch from `lo` on."""
    memory, lit = laid(field.shape[1], 2 * w, field), np.ones(field.shape[1], np.bool_)
    numbers, strip, wide = memory.reshape(field.shape[1], 2 * w), view(memory), memory.shape[1] // 2
    pack(field, lo, numbers, 0, w, 1)
    ahead(e, top, bottom, strip, wide, lit)
    turn(strip, wide, screen)
    unpack(numbers, 0, w, 1, lo, field)


@njit
def backward_strip(e, top, bottom, screen, field, lo, w):
    """`backward` for one strip of `w` columns of the batch from `lo` on."""
    memory = laid(field.shape[1], 2 * w, field)
    numbers, strip, wide = memory.reshape(field.shape[1], 2 * w), view(memory), memory.shape[1] // 2
    pack(field, lo, numbers, 0, w, 1)
    turn(strip, wide, screen)
    behind(e, top, bottom, strip, wide)
    unpack(numbers, 0, w, 1, lo, field)


@njit
def matrix_strip(e, top, bottom, screen, field, lo, w):
    """`matrices` for one strip of `w` columns from `lo` on."""
    memory, lit = laid(field.shape[1], 2 * w, field), np.empty(field.shape[1], np.bool_)
    numbers, strip, wide = memory.reshape(field.shape[1], 2 * w), view(memory), memory.shape[1] // 2
    numbers[:] = 0.0
    light(numbers, 0, w, lo, lit)
    ahead(e, top, bottom, strip, wide, lit)
    turn(strip, wide, screen)
    unpack(numbers, 0, w, 1, lo, field)


def cut(batch):
    """How many strips a batch is worked on in."""
    return -(-batch // (WIDE if batch > NARROW else NARROW))


@njit(cache=True, nogil=True)
def forward_piece(begin, end, elements, top, bottom, screen, field):
    """`forward` for the strips from `begin` to `end`."""
    batch = field.shape[3]
    w = WIDE if batch > NARROW else NARROW
    strips = -(-batch // w)
    for task in range(begin, end):
        m = task // strips
        forward_strip(elements[m], top, bottom, screen[m], field[m], task % strips * w, w)


def forward(elements, top, bottom, screen, field):
    """field <- U field, in place, for M meshes."""
    work = NANOSECONDS * field.shape[0] * field.shape[3] * top.shape[0]
    threads.share(forward_piece, field.shape[0] * cut(field.shape[3]), work, elements, top, bottom, screen, field)


@njit(cache=True, nogil=True)
def backward_piece(begin, end, elements, top, bottom, screen, field):
    """`backward` for the strips from `begin` to `end`."""
    batch = field.shape[3]
    w = WIDE if batch > NARROW else NARROW
    strips = -(-batch // w)
    for task in range(begin, end):
        m = task // strips
        backward_strip(elements[m], top, bottom, screen[m], field[m], task % strips * w, w)


def backward(elements, top, bottom, screen, field):
    """field <- U^T field, in place: light sent into the outputs."""
    work = NANOSECONDS * field.shape[0] * field.shape[3] * top.shape[0]
    threads.share(backward_piece, field.shape[0] * cut(field.shape[3]), work, elements, top, bottom, screen, field)


@njit(cache=True, nogil=True)
def matrices_piece(begin, end, elements, top, bottom, screen, out):
    """`matrices` for the strips from `begin` to `end`."""
    batch = out.shape[3]
    w = WIDE if batch > NARROW else NARROW
    strips = -(-batch // w)
    for task in range(begin, end):
        m = task // strips
        matrix_strip(elements[m], top, bottom, screen[m], out[m], task % strips * w, w)


def matrices(elements, top, bottom, screen, out):
    """The matrices U, `out` (M, 2, N, N). Rails that a basis column has not reached yet cost nothing."""
    work = NANOSECONDS * out.shape[0] * out.shape[3] * top.shape[0]
    threads.share(matrices_piece, out.shape[0] * cut(out.shape[3]), work, elements, top, bottom, screen, out)


# -- gradients: strips (N, 4 w) of the field f and of c = conj(a), real and imaginary parts ----------------------------


@flat
def returned(ar, ai, br, bi, cr, ci, dr, di, xr, xi, yr, yi):
    """T^+ (x, y) for T = [[a, b], [c, d]]."""
    return (
        ar * xr + ai * xi + cr * yr + ci * yi, ar * xi - ai * xr + cr * yi - ci * yr,
        br * xr + bi * xi + dr * yr + di * yi, br * xi - bi * xr + dr * yi - di * yr,
    )  # fmt: skip


@flat
def alone(strip, i, j, w, ar, ai, br, bi, cr, ci, dr, di):
    """(f_top, f_bottom) <- T^+ (f_top, f_bottom) for the rails i and j; c stays."""
    for k in range(w):
        strip[i, k], strip[i, k + w], strip[j, k], strip[j, k + w] = returned(
            ar, ai, br, bi, cr, ci, dr, di, strip[i, k], strip[i, k + w], strip[j, k], strip[j, k + w]
        )


@flat
def both(strip, i, j, w, ar, ai, br, bi, cr, ci, dr, di, kr, ks):
    """The same for f and c at once; returns dL/dtheta and dL/dphi of this coupler.

    Between theta and the right coupler f is h = kr f_top - i ks f_bottom, and c follows suit.
    """
    by_theta = full(strip[i, 0], kr * 0)
    by_phi = by_theta
    for k in range(w):
        xr, xi, ur, ui = strip[i, k], strip[i, k + w], strip[i, k + 2 * w], strip[i, k + 3 * w]
        yr, yi, vr, vi = strip[j, k], strip[j, k + w], strip[j, k + 2 * w], strip[j, k + 3 * w]
        by_theta = by_theta + (kr * ui - ks * vr) * (kr * xr + ks * yi)
        by_theta = by_theta - (kr * ur + ks * vi) * (kr * xi - ks * yr)
        xr, xi, yr, yi = returned(ar, ai, br, bi, cr, ci, dr, di, xr, xi, yr, yi)
        ur, ui, vr, vi = returned(ar, ai, br, bi, cr, ci, dr, di, ur, ui, vr, vi)
        by_phi = by_phi + ui * xr
        by_phi = by_phi - ur * xi
        strip[i, k], strip[i, k + w], strip[i, k + 2 * w], strip[i, k + 3 * w] = xr, xi, ur, ui
        strip[j, k], strip[j, k + w], strip[j, k + 2 * w], strip[j, k + 3 * w] = yr, yi, vr, vi
    return total(by_theta), total(by_phi)


@flat
def unscreen(strip, w, screen, by_screen):
    """f and c at the outputs to before the screen, adding its gradient."""
    for i in range(strip.shape[0]):
        c, s = cossin(np.float64(screen[i]))
        slope = full(strip[i, 0], by_screen[i] * 0)
        for k in range(w):
            xr, xi, ur, ui = strip[i, k], strip[i, k + w], strip[i, k + 2 * w], strip[i, k + 3 * w]
            slope = slope + ui * xr
            slope = slope - ur * xi
            strip[i, k], strip[i, k + w] = c * xr + s * xi, c * xi - s * xr
            strip[i, k + 2 * w], strip[i, k + 3 * w] = c * ur + s * ui, c * ui - s * ur
        by_screen[i] += total(slope)


@flat
def reverse(e, splitters, top, bottom, strip, w, lit, by_theta, by_phi):
    """f and c of a lossless mesh back through all couplers, adding the gradients. Not `lit`: c is zero there."""
    for s in range(top.shape[0]):
        t = np.uint64(top.shape[0] - 1 - s)
        i, j = np.uint64(top[t]), np.uint64(bottom[t])
        ar, ai, br, bi, cr, ci, dr, di = e[0, t], e[1, t], e[2, t], e[3, t], e[4, t], e[5, t], e[6, t], e[7, t]
        if lit[i] or lit[j]:
            lit[i] = True
            lit[j] = True
            kr, ks = e.dtype.type(splitters[2, t]), e.dtype.type(splitters[3, t])
            g, h = both(strip, i, j, w, ar, ai, br, bi, cr, ci, dr, di, kr, ks)
            by_theta[t] += g
            by_phi[t] += h
        else:
            alone(strip, i, j, w, ar, ai, br, bi, cr, ci, dr, di)


@flat
def reverse_strip(e, splitters, top, bottom, screen, strip, w, lit, sums):
    """Field and cotangent of a strip sent back through one mesh; adds what every phase does to `sums` (2 n + N,)."""
    n = top.shape[0]
    unscreen(strip, w, screen, sums[2 * n :])
    reverse(e, splitters, top, bottom, strip, w, lit, sums[:n], sums[n : 2 * n])


@njit
def adjoint_part(e, splitters, top, bottom, screen, field, cotangent, first, last, w, sums):
    """`adjoint` for the strips from `first` to `last` of one mesh; its own sums."""
    memory, lit = laid(field.shape[1], 4 * w, field), np.ones(field.shape[1], np.bool_)
    numbers, strip, wide = memory.reshape(field.shape[1], 4 * w), view(memory), memory.shape[1] // 4
    sums[:] = 0.0
    for index in range(first, last):
        pack(field, index * w, numbers, 0, w, 1)
        pack(cotangent, index * w, numbers, 2 * w, w, -1)
        reverse_strip(e, splitters, top, bottom, screen, strip, wide, lit, sums)
        unpack(numbers, 0, w, 1, index * w, field)
        unpack(numbers, 2 * w, w, -1, index * w, cotangent)


@njit
def gradient_part(e, splitters, top, bottom, screen, product, first, last, w, sums):
    """`gradients` for the strips from `first` to `last` of one mesh; its own sums."""
    memory, lit = laid(product.shape[1], 4 * w, product), np.empty(product.shape[1], np.bool_)
    numbers, strip, wide = memory.reshape(product.shape[1], 4 * w), view(memory), memory.shape[1] // 4
    sums[:] = 0.0
    for index in range(first, last):
        numbers[:] = 0.0
        pack(product, index * w, numbers, 0, w, 1)
        light(numbers, 2 * w, w, index * w, lit)
        reverse_strip(e, splitters, top, bottom, screen, strip, wide, lit, sums)


def dealt(meshes, strips, numbers, dtype):
    """Room for the sums (M, parts, numbers) of the parts that so many strips of M meshes are dealt into."""
    return np.empty((meshes, max(1, min(PARTS, strips)), numbers), dtype)


def gather(sums, *outs):
    """Add the parts' sums (M, parts, numbers), always in the same order, and lay the numbers into arrays (M, ...)."""
    total = sums[:, 0]
    for p in range(1, sums.shape[1]):
        total += sums[:, p]
    at = 0
    for out in outs:
        out[:] = total[:, at : at + out.shape[1]]
        at += out.shape[1]


@njit(cache=True, nogil=True)
def adjoint_piece(begin, end, elements, splitters, top, bottom, screen, field, cotangent, sums):
    """`adjoint` for the parts from `begin` to `end`."""
    batch = field.shape[3]
    w = WIDE if batch > NARROW else NARROW
    strips, parts = -(-batch // w), sums.shape[1]
    for task in range(begin, end):
        m, p = task // parts, task % parts
        adjoint_part(
            elements[m], splitters[m], top, bottom, screen[m], field[m], cotangent[m],
            p * strips // parts, (p + 1) * strips // parts, w, sums[m, p],
        )  # fmt: skip


def adjoint(elements, splitters, top, bottom, screen, field, cotangent, by_theta, by_phi, by_screen):
    """Back through M lossless meshes: field <- U^-1 field, cotangent <- U^T cotangent, and every phase gradient.

    `field` (M, 2, N, B) comes in as y = U x and leaves as x; `cotangent` comes in as g (see the head of this file).
    Gradients, summed over the batch, are written to `by_theta`, `by_phi` (M, n) and `by_screen` (M, N).
    """
    meshes, modes, batch = field.shape[0], field.shape[2], field.shape[3]
    n = top.shape[0]
    sums = dealt(meshes, cut(batch), 2 * n + modes, field.dtype)
    work = 4.0 * NANOSECONDS * meshes * batch * n
    light = elements, splitters, top, bottom, screen, field, cotangent
    threads.share(adjoint_piece, meshes * sums.shape[1], work, *light, sums)
    gather(sums, by_theta, by_phi, by_screen)


@njit(cache=True, nogil=True)
def gradients_piece(begin, end, elements, splitters, top, bottom, screen, product, sums):
    """`gradients` for the parts from `begin` to `end`."""
    modes = product.shape[2]
    w = WIDE if modes > NARROW else NARROW
    strips, parts = -(-modes // w), sums.shape[1]
    for task in range(begin, end):
        m, p = task // parts, task % parts
        gradient_part(
            elements[m], splitters[m], top, bottom, screen[m], product[m],
            p * strips // parts, (p + 1) * strips // parts, w, sums[m, p],
        )  # fmt: skip


def gradients(elements, splitters, top, bottom, screen, product, by_theta, by_phi, by_screen):
    """Every phase gradient of M lossless meshes from `product` (M, 2, N, N) = Y G^T; O(N n), whatever the batch."""
    meshes, modes = product.shape[0], product.shape[2]
    n = top.shape[0]
    sums = dealt(meshes, cut(modes), 2 * n + modes, product.dtype)
    work = 4.0 * NANOSECONDS * meshes * modes * n
    light = elements, splitters, top, bottom, screen, product
    threads.share(gradients_piece, meshes * sums.shape[1], work, *light, sums)
    gather(sums, by_theta, by_phi, by_screen)


# -- lossy meshes: the fields cannot be had by running light in reverse ------------------------------------------------


@flat
def again(e, top, bottom, strip, trail, w):
    """`ahead` for the whole light, with what every coupler is met by kept in `trail` (n, 4 w)."""
    for t in range(top.shape[0]):
        i, j = np.uint64(top[t]), np.uint64(bottom[t])
        for k in range(2 * w):
            trail[t, k], trail[t, k + 2 * w] = strip[i, k], strip[j, k]
        pair(strip, i, j, w, e[0, t], e[1, t], e[2, t], e[3, t], e[4, t], e[5, t], e[6, t], e[7, t])


@flat
def lossy_reverse(e, splitters, top, bottom, strip, trail, w, by_theta, by_phi):
    """The cotangent in `strip` back through all couplers, which `trail` says what light met, adding the gradients."""
    for s in range(top.shape[0]):
        t = np.uint64(top.shape[0] - 1 - s)
        i, j = np.uint64(top[t]), np.uint64(bottom[t])
        kr, ks = e.dtype.type(splitters[2, t]), e.dtype.type(splitters[3, t])
        z0r, z0i, z1r, z1i = e[8, t], e[9, t], e[10, t], e[11, t]
        slope = full(strip[i, 0], 0.0)
        for k in range(w):
            xr, xi, yr, yi = trail[t, k], trail[t, k + w], trail[t, k + 2 * w], trail[t, k + 3 * w]
            ur, ui, vr, vi = strip[i, k], strip[i, k + w], strip[j, k], strip[j, k + w]
            slope = slope - (kr * ur - ks * vi) * (z0r * xi + z0i * xr + z1r * yi + z1i * yr)
            slope = slope - (kr * ui + ks * vr) * (z0r * xr - z0i * xi + z1r * yr - z1i * yi)
        by_theta[t] += total(slope)
        pair(strip, i, j, w, e[0, t], e[1, t], e[4, t], e[5, t], e[2, t], e[3, t], e[6, t], e[7, t])
        slope = full(strip[i, 0], 0.0)
        for k in range(w):
            slope = slope - strip[i, k] * trail[t, k + w]
            slope = slope - strip[i, k + w] * trail[t, k]
        by_phi[t] += total(slope)


@njit
def lossy_part(e, splitters, top, bottom, screen, field, cotangent, first, last, sums):
    """`adjoint_lossy` for the strips from `first` to `last` of one mesh; its own sums."""
    n, modes, w = top.shape[0], field.shape[1], NARROW
    memory, memory_back = laid(modes, 2 * w, field), laid(modes, 2 * w, field)
    numbers, back = memory.reshape(modes, 2 * w), memory_back.reshape(modes, 2 * w)
    strip, other, trail, wide = view(memory), view(memory_back), view(laid(n, 4 * w, field)), memory.shape[1] // 2
    sums[:] = 0.0
    for index in range(first, last):
        pack(field, index * w, numbers, 0, w, 1)
        pack(cotangent, index * w, back, 0, w, 1)
        again(e, top, bottom, strip, trail, wide)
        turn(strip, wide, screen)
        for i in range(modes):
            slope = full(strip[i, 0], 0.0)
            for k in range(wide):
                slope = slope - other[i, k] * strip[i, k + wide]
                slope = slope - other[i, k + wide] * strip[i, k]
            sums[2 * n + i] += total(slope)
        turn(other, wide, screen)
        lossy_reverse(e, splitters, top, bottom, other, trail, wide, sums[:n], sums[n : 2 * n])
        unpack(back, 0, w, 1, index * w, cotangent)


@njit(cache=True, nogil=True)
def adjoint_lossy_piece(begin, end, elements, splitters, top, bottom, screen, field, cotangent, sums):
    """`adjoint_lossy` for the parts from `begin` to `end`."""
    strips, parts = -(-field.shape[3] // NARROW), sums.shape[1]
    for task in range(begin, end):
        m, p = task // parts, task % parts
        lossy_part(
            elements[m], splitters[m], top, bottom, screen[m], field[m], cotangent[m],
            p * strips // parts, (p + 1) * strips // parts, sums[m, p],
        )  # fmt: skip


def adjoint_lossy(elements, splitters, top, bottom, screen, field, cotangent, by_theta, by_phi, by_screen):
    """As `adjoint` for meshes with loss, from the input: `field` holds x and is only read; cotangent <- U^T cotangent.

    The forward run is repeated, NARROW columns of the batch at a time: 4 n NARROW numbers a thread, whatever the batch.
    With X G^T as the field and the identity as the cotangent it gives the gradients of any batch.
    """
    meshes, modes, batch = field.shape[0], field.shape[2], field.shape[3]
    n = top.shape[0]
    sums = dealt(meshes, -(-batch // NARROW), 2 * n + modes, field.dtype)
    work = 4.0 * NANOSECONDS * meshes * batch * n
    light = elements, splitters, top, bottom, screen, field, cotangent
    threads.share(adjoint_lossy_piece, meshes * sums.shape[1], work, *light, sums)
    gather(sums, by_theta, by_phi, by_screen)
