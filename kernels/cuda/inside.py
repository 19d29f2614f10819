"""The field inside a complex mesh (`kernels.inside`): a strip of the batch to a block.

Threads that follow each other have columns of the batch that do, and the rest of the block has the other couplers of a
column of the mesh, or rails; all meet before the next one.
"""

from __future__ import annotations

from numba import cuda, float64

from .couplers import cossin
from .launch import entry
from .propagate import ACROSS, layout, run_in_place, turn


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
def copied(out, m, at, b, y, many):
    """Column b of picture `at` of mesh m to the next: rails y, y + many, ..."""
    for i in range(y, out.shape[3], many):
        out[m, at + 1, 0, i, b] = out[m, at, 0, i, b]
        out[m, at + 1, 1, i, b] = out[m, at, 1, i, b]


@entry
def trace_all(theta, phi, splitters, amplitudes, top, bottom, starts, screen, reverse, out):
    """The loop of `trace`."""
    x, y, many = cuda.threadIdx.x % ACROSS, cuda.threadIdx.x // ACROSS, cuda.blockDim.x // ACROSS
    m, columns, modes, batch = cuda.blockIdx.y, starts.shape[0] - 1, out.shape[3], out.shape[4]
    field = out[m]
    for strip in range(cuda.blockIdx.x, (batch + ACROSS - 1) // ACROSS, cuda.gridDim.x):
        b, at = strip * ACROSS + x, 0
        if reverse:
            if b < batch:
                copied(out, m, at, b, y, many)
                for i in range(y, modes, many):
                    factor(field, 1, i, b, 1.0, screen[m, i])
            at = 1
            cuda.syncthreads()
        for s in range(columns):
            column = columns - 1 - s if reverse else s
            for k in range(4):
                if b < batch:
                    copied(out, m, at, b, y, many)
                cuda.syncthreads()
                at += 1
                if b < batch:
                    for t in range(starts[column] + y, starts[column + 1], many):
                        which = 3 - k if reverse else k
                        piece(which, t, theta, phi, splitters, amplitudes, top, bottom, m, field, at, b)
                cuda.syncthreads()
        if not reverse and b < batch:
            copied(out, m, at, b, y, many)
            for i in range(y, modes, many):
                factor(field, at + 1, i, b, 1.0, screen[m, i])


@entry
def tap_all(theta, phi, splitters, amplitudes, top, bottom, starts, screen, reverse, field, taps):
    """The loop of `tap`."""
    x, y, many = cuda.threadIdx.x % ACROSS, cuda.threadIdx.x // ACROSS, cuda.blockDim.x // ACROSS
    m, columns, modes, batch = cuda.blockIdx.y, starts.shape[0] - 1, field.shape[2], field.shape[3]
    for strip in range(cuda.blockIdx.x, (batch + ACROSS - 1) // ACROSS, cuda.gridDim.x):
        b = strip * ACROSS + x
        if reverse and b < batch:
            for i in range(y, modes, many):
                factor(field, m, i, b, 1.0, screen[m, i])
        cuda.syncthreads()
        for s in range(columns):
            column = columns - 1 - s if reverse else s
            if b < batch:
                for t in range(starts[column] + y, starts[column + 1], many):
                    for k in range(4):
                        which = 3 - k if reverse else k
                        piece(which, t, theta, phi, splitters, amplitudes, top, bottom, m, field, m, b)
                        # Between phi and the left coupler, and between theta and the right one, either way.
                        if (which == 0 or which == 2) != reverse:
                            shifter = 1 if which >= 2 else 0
                            taps[m, shifter, 0, t, b] = field[m, 0, top[t], b]
                            taps[m, shifter, 1, t, b] = field[m, 1, top[t], b]
            cuda.syncthreads()
        if not reverse and b < batch:
            for i in range(y, modes, many):
                factor(field, m, i, b, 1.0, screen[m, i])


def trace(theta, phi, splitters, amplitudes, top, bottom, starts, screen, reverse, out):
    """As `kernels.inside.trace`."""
    top, bottom, _ = layout(top, bottom)
    run_in_place(
        trace_all, out.shape[0], out.shape[4], theta, phi, splitters, amplitudes, top, bottom, starts, screen, reverse,
        out,
    )  # fmt: skip


def tap(theta, phi, splitters, amplitudes, top, bottom, screen, reverse, field, taps):
    """As `kernels.inside.tap`."""
    run_in_place(
        tap_all, field.shape[0], field.shape[3], theta, phi, splitters, amplitudes, *layout(top, bottom), screen,
        reverse, field, taps,
    )  # fmt: skip
