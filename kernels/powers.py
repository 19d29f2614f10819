"""Power at every phase shifter of a complex mesh, summed over the batch while the light goes through.

    P_p = sum_b |f_pb|^2,   f the field at shifter p, on the coupler's side of it (`kernels.inside.tap`)

Three such sums are what digital subtraction needs, -Im sum_b a f = (P(f - i conj a) - P(f) - P(a)) / 2 (Pai et al.,
Science 380, 398 (2023)), and they are the variance of its tap noise; so no field at any shifter is ever stored.
Conventions and arrays as in `kernels.propagate`; sums are float64 whatever the light is.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from . import threads
from .lanes import flat
from .propagate import NANOSECONDS, NARROW, WIDE, cut, dealt, gather, laid, pack, pair, turn, unpack
from .vectors import full, total, view


@flat
def alone(strip, i, w):
    """Power in rail i of a strip of `w` vectors."""
    power = full(strip[i, 0], 0.0)
    for k in range(2 * w):
        power = power + strip[i, k] * strip[i, k]
    return total(power)


@flat
def mixed(strip, i, j, w, ar, ai, br, bi):
    """Power of a x + b y for the rails i and j of a strip."""
    power = full(strip[i, 0], 0.0)
    for k in range(w):
        hr = ar * strip[i, k] - ai * strip[i, k + w] + br * strip[j, k] - bi * strip[j, k + w]
        hi = ar * strip[i, k + w] + ai * strip[i, k] + br * strip[j, k + w] + bi * strip[j, k]
        power = power + hr * hr
        power = power + hi * hi
    return total(power)


@flat
def onward(e, top, bottom, strip, w, by_theta, by_phi):
    """All couplers over a strip, adding |field in front of phi|^2 and |field behind theta|^2 on the top arms."""
    for t in range(top.shape[0]):
        i, j = np.uint64(top[t]), np.uint64(bottom[t])
        by_phi[t] += alone(strip, i, w)
        by_theta[t] += mixed(strip, i, j, w, e[8, t], e[9, t], e[10, t], e[11, t])
        pair(strip, i, j, w, e[0, t], e[1, t], e[2, t], e[3, t], e[4, t], e[5, t], e[6, t], e[7, t])


@flat
def homeward(e, splitters, top, bottom, strip, w, by_theta, by_phi):
    """The same for light sent into the outputs: between right coupler and theta, and behind phi."""
    for s in range(top.shape[0]):
        t = np.uint64(top.shape[0] - 1 - s)
        i, j = np.uint64(top[t]), np.uint64(bottom[t])
        kr, ks = e.dtype.type(splitters[2, t]), e.dtype.type(splitters[3, t])
        by_theta[t] += mixed(strip, i, j, w, kr, kr * 0, kr * 0, ks)
        pair(strip, i, j, w, e[0, t], e[1, t], e[4, t], e[5, t], e[2, t], e[3, t], e[6, t], e[7, t])
        by_phi[t] += alone(strip, i, w)


@njit
def part(e, splitters, top, bottom, screen, reverse, field, first, last, w, sums):
    """Sums (2 n,) of the powers at theta and phi over the strips from `first` to `last` of one mesh."""
    n, memory = top.shape[0], laid(field.shape[1], 2 * w, field)
    numbers, strip, wide = memory.reshape(field.shape[1], 2 * w), view(memory), memory.shape[1] // 2
    sums[:] = 0.0
    by_theta, by_phi = sums[:n], sums[n : 2 * n]
    for index in range(first, last):
        pack(field, index * w, numbers, 0, w, 1)
        if reverse:
            turn(strip, wide, screen)
            homeward(e, splitters, top, bottom, strip, wide, by_theta, by_phi)
        else:
            onward(e, top, bottom, strip, wide, by_theta, by_phi)
            turn(strip, wide, screen)
        unpack(numbers, 0, w, 1, index * w, field)


@njit(cache=True, nogil=True)
def powers_piece(begin, end, elements, splitters, top, bottom, screen, reverse, field, sums):
    """`powers` for the parts from `begin` to `end`."""
    batch = field.shape[3]
    w = WIDE if batch > NARROW else NARROW
    strips, parts = -(-batch // w), sums.shape[1]
    for task in range(begin, end):
        m, p = task // parts, task % parts
        part(
            elements[m], splitters[m], top, bottom, screen[m], reverse, field[m],
            p * strips // parts, (p + 1) * strips // parts, w, sums[m, p],
        )  # fmt: skip


def powers(elements, splitters, amplitudes, top, bottom, screen, reverse, field, by_theta, by_phi):
    """field <- U field, or U^T field if `reverse`, in place; the summed powers to `by_theta`, `by_phi` (M, n) float64.

    The screen's shifters see the output itself, or reversed what was sent in.
    """
    meshes, batch, n = field.shape[0], field.shape[3], top.shape[0]
    sums = dealt(meshes, cut(batch), 2 * n, np.float64)
    work = 2.0 * NANOSECONDS * meshes * batch * n
    threads.share(
        powers_piece, meshes * sums.shape[1], work, elements, splitters, top, bottom, screen, reverse, field, sums
    )  # fmt: skip
    gather(sums, by_theta, by_phi)
    # The coupler's side of phi: behind its arm's loss on the way in, in front of it on the way back.
    loss = amplitudes[:, 2] ** 2
    if reverse:
        by_phi /= loss
    else:
        by_phi *= loss


# -- of every sample by itself -----------------------------------------------------------------------------------------


@njit(inline="always")
def seen(x, y, w, count, ar, ai, br, bi, out):
    """|a x + b y|^2 of each column of two rows of a strip."""
    for j in range(count):
        hr = ar * x[j] - ai * x[j + w] + br * y[j] - bi * y[j + w]
        hi = ar * x[j + w] + ai * x[j] + br * y[j + w] + bi * y[j]
        out[j] = hr * hr + hi * hi


@njit(fastmath={"contract"})
def watched_strip(e, top, bottom, screen, field, lo, w, by_theta, by_phi):
    """`each` for one strip of `w` columns of the batch from `lo` on: `onward` with the power of every column."""
    memory, one, none = laid(field.shape[1], 2 * w, field), field.dtype.type(1.0), field.dtype.type(0.0)
    numbers, strip, wide = memory.reshape(field.shape[1], 2 * w), view(memory), memory.shape[1] // 2
    pack(field, lo, numbers, 0, w, 1)
    hi = min(lo + w, field.shape[2])
    for t in range(top.shape[0]):
        i, j = np.uint64(top[t]), np.uint64(bottom[t])
        x, y = numbers[i], numbers[j]
        seen(x, y, w, hi - lo, one, none, none, none, by_phi[t, lo:hi])
        seen(x, y, w, hi - lo, e[8, t], e[9, t], e[10, t], e[11, t], by_theta[t, lo:hi])
        pair(strip, i, j, wide, e[0, t], e[1, t], e[2, t], e[3, t], e[4, t], e[5, t], e[6, t], e[7, t])
    turn(strip, wide, screen)
    unpack(numbers, 0, w, 1, lo, field)


@njit(cache=True, nogil=True)
def each_piece(begin, end, elements, top, bottom, screen, field, by_theta, by_phi):
    """`each` for the strips from `begin` to `end`."""
    batch = field.shape[3]
    w = WIDE if batch > NARROW else NARROW
    strips = -(-batch // w)
    for task in range(begin, end):
        m = task // strips
        watched_strip(
            elements[m], top, bottom, screen[m], field[m], task % strips * w, w, by_theta[m], by_phi[m]
        )  # fmt: skip


def each(elements, amplitudes, top, bottom, screen, field, by_theta, by_phi):
    """field <- U field in place; the power of every sample at every shifter to `by_theta`, `by_phi` (M, n, B).

    What `kernels.inside.tap` gives for light sent forward, some ten times faster.
    """
    meshes, batch = field.shape[0], field.shape[3]
    work = 3.0 * NANOSECONDS * meshes * batch * top.shape[0]
    threads.share(each_piece, meshes * cut(batch), work, elements, top, bottom, screen, field, by_theta, by_phi)
    by_phi *= amplitudes[:, 2, :, None] ** 2
