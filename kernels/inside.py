"""Looking inside a complex mesh: the field after every part of every coupler, and at every phase shifter.

Conventions and arrays as in `kernels.propagate`, whose couplers are taken here piece by piece.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from . import threads
from .couplers import FUSED, cossin
from .propagate import NANOSECONDS, WIDE


@njit(inline="always")
def shift(real, imag, factor, phase):
    """A row times factor e^{i phase}."""
    cosine, sine = cossin(np.float64(phase))
    c, s = real.dtype.type(factor * cosine), real.dtype.type(factor * sine)
    for j in range(real.shape[0]):
        xr, xi = real[j], imag[j]
        real[j] = c * xr - s * xi
        imag[j] = c * xi + s * xr


@njit(inline="always")
def split(xr, xi, yr, yi, cosine, sine):
    """D(e) on two rows."""
    c, s = xr.dtype.type(cosine), xr.dtype.type(sine)
    for j in range(xr.shape[0]):
        ar, ai, br, bi = xr[j], xi[j], yr[j], yi[j]
        xr[j] = c * ar - s * bi
        xi[j] = c * ai + s * br
        yr[j] = c * br - s * ai
        yi[j] = c * bi + s * ar


@njit(fastmath=FUSED)
def piece(which, t, theta, phi, splitters, amplitudes, top, bottom, field, lo, hi):
    """One piece of coupler `t` on columns lo ... hi: 0 phi, 1 left coupler, 2 theta, 3 right coupler."""
    i, j = top[t], bottom[t]
    xr, xi, yr, yi = field[0, i, lo:hi], field[1, i, lo:hi], field[0, j, lo:hi], field[1, j, lo:hi]
    if which == 1:
        split(xr, xi, yr, yi, splitters[0, t], splitters[1, t])
    elif which == 3:
        split(xr, xi, yr, yi, splitters[2, t], splitters[3, t])
    else:
        at = 2 - which
        shift(xr, xi, amplitudes[at, t], phi[t] if which == 0 else theta[t])
        shift(yr, yi, amplitudes[at + 1, t], 0.0)


@njit
def copy(origin, to):
    """One field (2, N, B) to another."""
    for i in range(to.shape[1]):
        for plane in range(2):
            row, seen = to[plane, i], origin[plane, i]
            for j in range(row.shape[0]):
                row[j] = seen[j]


@njit(fastmath=FUSED)
def trace_one(theta, phi, splitters, amplitudes, top, bottom, starts, screen, reverse, out):
    """The field everywhere in one mesh, `out` (4 C + 2, 2, N, B)."""
    columns, modes, batch = starts.shape[0] - 1, out.shape[2], out.shape[3]
    at = 0
    if reverse:
        copy(out[0], out[1])
        for i in range(modes):
            shift(out[1, 0, i], out[1, 1, i], 1.0, screen[i])
        at = 1
    for s in range(columns):
        column = columns - 1 - s if reverse else s
        for k in range(4):
            copy(out[at], out[at + 1])
            at += 1
            for t in range(starts[column], starts[column + 1]):
                which = 3 - k if reverse else k
                piece(which, t, theta, phi, splitters, amplitudes, top, bottom, out[at], 0, batch)
    if not reverse:
        copy(out[at], out[at + 1])
        for i in range(modes):
            shift(out[at + 1, 0, i], out[at + 1, 1, i], 1.0, screen[i])


@njit(cache=True, nogil=True)
def trace_piece(begin, end, theta, phi, splitters, amplitudes, top, bottom, starts, screen, reverse, out):
    """`trace` for the meshes from `begin` to `end`."""
    for m in range(begin, end):
        trace_one(theta[m], phi[m], splitters[m], amplitudes[m], top, bottom, starts, screen[m], reverse, out[m])


def trace(theta, phi, splitters, amplitudes, top, bottom, starts, screen, reverse, out):
    """The field everywhere, `out` (M, 4 C + 2, 2, N, B), from the light that `out[:, 0]` holds.

    Forward: in, (phi, left coupler, theta, right coupler) of each column, screen. `reverse`: light sent into the
    outputs, in, screen, (right coupler, theta, left coupler, phi) of each column from the last. Each behind the piece.
    Couplers are sorted by column; `starts` (C + 1,) says where each column's begin.
    """
    threads.share(
        trace_piece, out.shape[0], 0.5 * out.size, theta, phi, splitters, amplitudes, top, bottom, starts, screen,
        reverse, out,
    )  # fmt: skip


@njit(fastmath=FUSED)
def tap_strip(theta, phi, splitters, amplitudes, top, bottom, screen, reverse, field, taps, lo, hi):
    """`tap` for the columns of the batch from `lo` to `hi` of one mesh."""
    n = top.shape[0]
    if reverse:
        for i in range(field.shape[1]):
            shift(field[0, i, lo:hi], field[1, i, lo:hi], 1.0, screen[i])
    for s in range(n):
        t = n - 1 - s if reverse else s
        for k in range(4):
            which = 3 - k if reverse else k
            piece(which, t, theta, phi, splitters, amplitudes, top, bottom, field, lo, hi)
            # Between phi and the left coupler, and between theta and the right one, whatever the direction.
            if (which == 0 or which == 2) != reverse:
                shifter = 1 if which >= 2 else 0
                for plane in range(2):
                    row, seen = field[plane, top[t], lo:hi], taps[shifter, plane, t, lo:hi]
                    for j in range(hi - lo):
                        seen[j] = row[j]
    if not reverse:
        for i in range(field.shape[1]):
            shift(field[0, i, lo:hi], field[1, i, lo:hi], 1.0, screen[i])


@njit(cache=True, nogil=True)
def tap_piece(begin, end, theta, phi, splitters, amplitudes, top, bottom, screen, reverse, field, taps):
    """`tap` for the strips from `begin` to `end`."""
    batch = field.shape[3]
    strips = -(-batch // WIDE)
    for task in range(begin, end):
        m, lo = task // strips, task % strips * WIDE
        tap_strip(
            theta[m], phi[m], splitters[m], amplitudes[m], top, bottom, screen[m], reverse, field[m], taps[m],
            lo, min(batch, lo + WIDE),
        )  # fmt: skip


def tap(theta, phi, splitters, amplitudes, top, bottom, screen, reverse, field, taps):
    """field <- U field, or U^T field if `reverse`, and the field at every shifter, `taps` (M, 2, 2, n, B).

    taps[:, 0] is at phi, taps[:, 1] at theta, then planes; both directions look at the same place, on the coupler's
    side of the shifter. The screen's shifters see the output itself (or, reversed, what was sent in).
    """
    meshes, batch = field.shape[0], field.shape[3]
    work = 4.0 * NANOSECONDS * meshes * batch * top.shape[0]
    threads.share(
        tap_piece, meshes * -(-batch // WIDE), work, theta, phi, splitters, amplitudes, top, bottom, screen, reverse,
        field, taps,
    )  # fmt: skip
