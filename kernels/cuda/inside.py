"""The field inside a complex mesh (`kernels.inside`): one thread for every column of the batch."""

from __future__ import annotations

from numba import cuda, float64

from .couplers import cossin
from .launch import entry, spread
from .propagate import layout, turn


@cuda.jit(device=True)
def factor(field, m, i, b, amplitude, phase):
    """One value times amplitude e^{i phase}."""
    c, s = cossin(float64(phase))
    turn(field, m, i, b, field.dtype.type(amplitude * c), field.dtype.type(amplitude * s))


@cuda.jit(device=True)
def piece(which, t, theta, phi, splitters, amplitudes, top, bottom, mesh, field, m, b):
    """One piece of coupler `t` of `mesh` on column b: 0 phi, 1 left coupler, 2 theta, 3 right coupler."""
    i, j = top[t], bottom[t]
    if which == 1 or which == 3:
        c = field.dtype.type(splitters[mesh, which - 1, t])
        s = field.dtype.type(splitters[mesh, which, t])
        ar, ai, br, bi = field[m, 0, i, b], field[m, 1, i, b], field[m, 0, j, b], field[m, 1, j, b]
        field[m, 0, i, b], field[m, 1, i, b] = c * ar - s * bi, c * ai + s * br
        field[m, 0, j, b], field[m, 1, j, b] = c * br - s * ai, c * bi + s * ar
    else:
        phase = phi[mesh, t] if which == 0 else theta[mesh, t]
        factor(field, m, i, b, amplitudes[mesh, 2 - which, t], phase)
        factor(field, m, j, b, amplitudes[mesh, 3 - which, t], 0.0)


@cuda.jit(device=True)
def copied(out, m, at, b):
    """Column b of picture `at` of mesh m to the next."""
    for plane in range(2):
        for i in range(out.shape[3]):
            out[m, at + 1, plane, i, b] = out[m, at, plane, i, b]


@entry
def trace_all(theta, phi, splitters, amplitudes, top, bottom, starts, screen, reverse, out):
    """The loop of `trace`: a thread for every column of the batch."""
    columns, modes, batch = starts.shape[0] - 1, out.shape[3], out.shape[4]
    for index in range(cuda.grid(1), out.shape[0] * batch, cuda.gridsize(1)):
        m, b, at = index // batch, index % batch, 0
        field = out[m]
        if reverse:
            copied(out, m, at, b)
            at = 1
            for i in range(modes):
                factor(field, at, i, b, 1.0, screen[m, i])
        for s in range(columns):
            column = columns - 1 - s if reverse else s
            for k in range(4):
                copied(out, m, at, b)
                at += 1
                for t in range(starts[column], starts[column + 1]):
                    which = 3 - k if reverse else k
                    piece(which, t, theta, phi, splitters, amplitudes, top, bottom, m, field, at, b)
        if not reverse:
            copied(out, m, at, b)
            for i in range(modes):
                factor(field, at + 1, i, b, 1.0, screen[m, i])


@entry
def tap_all(theta, phi, splitters, amplitudes, top, bottom, screen, reverse, field, taps):
    """The loop of `tap`: a thread for every column of the batch."""
    n, modes, batch = top.shape[0], field.shape[2], field.shape[3]
    for index in range(cuda.grid(1), field.shape[0] * batch, cuda.gridsize(1)):
        m, b = index // batch, index % batch
        if reverse:
            for i in range(modes):
                factor(field, m, i, b, 1.0, screen[m, i])
        for s in range(n):
            t = n - 1 - s if reverse else s
            for k in range(4):
                which = 3 - k if reverse else k
                piece(which, t, theta, phi, splitters, amplitudes, top, bottom, m, field, m, b)
                # Between phi and the left coupler, and between theta and the right one, whatever the direction.
                if (which == 0 or which == 2) != reverse:
                    shifter = 1 if which >= 2 else 0
                    for plane in range(2):
                        taps[m, shifter, plane, t, b] = field[m, plane, top[t], b]
        if not reverse:
            for i in range(modes):
                factor(field, m, i, b, 1.0, screen[m, i])


def trace(theta, phi, splitters, amplitudes, top, bottom, starts, screen, reverse, out):
    """As `kernels.inside.trace`."""
    top, bottom, _ = layout(top, bottom)
    count = out.shape[0] * out.shape[4]
    spread(trace_all, count, theta, phi, splitters, amplitudes, top, bottom, starts, screen, reverse, out)


def tap(theta, phi, splitters, amplitudes, top, bottom, screen, reverse, field, taps):
    """As `kernels.inside.tap`."""
    top, bottom, _ = layout(top, bottom)
    count = field.shape[0] * field.shape[3]
    spread(tap_all, count, theta, phi, splitters, amplitudes, top, bottom, screen, reverse, field, taps)
