"""Power at every phase shifter of a complex mesh (`kernels.powers`), summed over the batch or of every sample.

Sums are found as those of the adjoint are (`propagate`): a strip of the batch to a block, added up in a second launch,
in float64. Of every sample: fields stay in the device's memory, a strip of the batch to a block.
"""

from __future__ import annotations

from functools import cache

from numba import cuda

from .launch import entry, run, scratch, spread
from .propagate import (
    ACROSS,
    THREADS,
    behind,
    capacity,
    collect_both,
    forth,
    layout,
    real_of,
    room,
    run_in_place,
    screened,
)  # fmt: skip


@cuda.jit(device=True)
def alone(field, m, i, b):
    """Power at one place."""
    return field[m, 0, i, b] * field[m, 0, i, b] + field[m, 1, i, b] * field[m, 1, i, b]


@cuda.jit(device=True)
def mixed(field, m, i, j, b, ar, ai, br, bi):
    """Power of a x + b y, x and y being what is on rails i and j."""
    xr, xi, yr, yi = field[m, 0, i, b], field[m, 1, i, b], field[m, 0, j, b], field[m, 1, j, b]
    hr = ar * xr - ai * xi + br * yr - bi * yi
    hi = ar * xi + ai * xr + br * yi + bi * yr
    return hr * hr + hi * hi


@cuda.jit(device=True)
def onward(e, t, i, j, field, m, b, at):
    """Coupler t of mesh m on column b of field `at`: powers behind theta and in front of phi, on the top arm."""
    by_phi = alone(field, at, i, b)
    by_theta = mixed(field, at, i, j, b, e[m, 8, t], e[m, 9, t], e[m, 10, t], e[m, 11, t])
    forth(e, t, i, j, field, m, b, at)
    return by_theta, by_phi


@cache
def watcher(real, rails, width):
    """The kernel of `powers` for one size of tile, as `propagate.sender`."""
    shape, side = ((1, 2, rails, width), width) if width else ((1, 1, 1, 1), 1)
    half = rails // 2

    @entry
    def watch(e, splitters, top, bottom, starts, screen, reverse, field, far, sums):
        near = cuda.shared.array(shape, real)
        notes = cuda.shared.array((rails, side), real)
        thread, threads = cuda.threadIdx.x, cuda.blockDim.x
        x, y, many = thread % side, thread // side, threads // side
        m, modes, batch, columns = cuda.blockIdx.y, field.shape[2], field.shape[3], starts.shape[0] - 1
        n, block = top.shape[0], m * cuda.gridDim.x + cuda.blockIdx.x
        tile, own = (near, 0) if width else (far, block)
        out = sums[block]
        for index in range(thread, 2 * n, threads):
            out[index] = 0.0
        for strip in range(cuda.blockIdx.x, (batch + side - 1) // side, cuda.gridDim.x):
            b = strip * side + x
            for i in range(y, modes, many):
                tile[own, 0, i, x] = field[m, 0, i, b] if b < batch else real(0.0)
                tile[own, 1, i, x] = field[m, 1, i, b] if b < batch else real(0.0)
                if reverse:
                    screened(screen, tile, m, i, x, own, 1)
            cuda.syncthreads()
            for s in range(columns):
                column = columns - 1 - s if reverse else s
                first, count = starts[column], starts[column + 1] - starts[column]
                for c in range(y, count, many):
                    t = first + c
                    i, j = top[t], bottom[t]
                    if reverse:  # between right coupler and theta, and behind phi
                        kr, ks = real(splitters[m, 2, t]), real(splitters[m, 3, t])
                        notes[c, x] = mixed(tile, own, i, j, x, kr, real(0.0), real(0.0), ks)
                        behind(e, t, i, j, tile, m, x, own)
                        notes[half + c, x] = alone(tile, own, i, x)
                    else:
                        notes[c, x], notes[half + c, x] = onward(e, t, i, j, tile, m, x, own)
                cuda.syncthreads()
                collect_both(notes, half, side, first, count, n, out)
                cuda.syncthreads()
            for i in range(y, modes, many):
                if not reverse:
                    screened(screen, tile, m, i, x, own, 1)
                if b < batch:
                    field[m, 0, i, b], field[m, 1, i, b] = tile[own, 0, i, x], tile[own, 1, i, x]
            cuda.syncthreads()

    return watch


@entry
def added(sums, blocks, amplitudes, reverse, by_theta, by_phi):
    """The blocks' sums of powers added up, `by_theta` and `by_phi` (M, n), each as its tap sees it."""
    n = by_theta.shape[1]
    for index in range(cuda.grid(1), by_theta.size, cuda.gridsize(1)):
        m, t = index // n, index % n
        theta, phi = 0.0, 0.0
        for block in range(blocks):
            theta += sums[m * blocks + block, t]
            phi += sums[m * blocks + block, n + t]
        loss = amplitudes[m, 2, t] * amplitudes[m, 2, t]
        by_theta[m, t] = theta
        # The coupler's side of phi: behind its arm's loss on the way in, in front of it on the way back.
        by_phi[m, t] = phi / loss if reverse else phi * loss


@entry
def watch_each(e, amplitudes, top, bottom, starts, screen, field, by_theta, by_phi):
    """The loop of `each`: a strip of the batch to a block, the couplers of a column side by side."""
    x, y, many = cuda.threadIdx.x % ACROSS, cuda.threadIdx.x // ACROSS, cuda.blockDim.x // ACROSS
    m, modes, batch = cuda.blockIdx.y, field.shape[2], field.shape[3]
    for strip in range(cuda.blockIdx.x, (batch + ACROSS - 1) // ACROSS, cuda.gridDim.x):
        b = strip * ACROSS + x
        for column in range(starts.shape[0] - 1):
            if b < batch:
                for t in range(starts[column] + y, starts[column + 1], many):
                    theta, phi = onward(e, t, top[t], bottom[t], field, m, b, m)
                    by_theta[m, t, b] = theta
                    by_phi[m, t, b] = phi * (amplitudes[m, 2, t] * amplitudes[m, 2, t])
            cuda.syncthreads()
        if b < batch:
            for i in range(y, modes, many):
                screened(screen, field, m, i, b, m, 1)


def powers(elements, splitters, amplitudes, top, bottom, screen, reverse, field, by_theta, by_phi):
    """As `kernels.powers.powers`."""
    meshes, _, modes, batch = field.shape
    size = 2 * top.shape[0]
    top, bottom, starts = layout(top, bottom)
    rails, width = capacity(modes, batch, 3, field.dtype.itemsize)
    blocks = room(meshes, batch, width, 8 * size)
    sums = scratch(by_theta, (meshes * blocks, size))
    far = scratch(field, (1 if width else meshes * blocks, 2, 1 if width else modes, 1))
    run(
        watcher(real_of(field), rails, width), (blocks, meshes), THREADS, elements, splitters, top, bottom, starts,
        screen, reverse, field, far, sums,
    )  # fmt: skip
    spread(added, by_theta.size, sums, blocks, amplitudes, reverse, by_theta, by_phi)


def each(elements, amplitudes, top, bottom, screen, field, by_theta, by_phi):
    """As `kernels.powers.each`."""
    run_in_place(
        watch_each, field.shape[0], field.shape[3], elements, amplitudes, *layout(top, bottom), screen, field, by_theta,
        by_phi,
    )  # fmt: skip
