"""Light through complex meshes (`kernels.propagate`): a strip of the batch to a block.

A block takes its strip of columns into shared memory and sends them through one column of couplers after the other:
threads side by side have columns of the batch side by side, and the rest of the block has the other couplers. Gradients
sum over the batch: threads note what they found, and one of them adds up each coupler's notes, for this block. Blocks
are added in a second launch, always in one order.

`top` and `bottom` are arrays of the host that live as long as the program: what the couplers look like is found and
taken to the GPU once (`layout`).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import cuda, float32, float64

from .couplers import cossin
from .launch import SHARED_BYTES, SIMULATED, device_number, entry, run, scratch, spread

SUM_BYTES = 1 << 29
"""The blocks' own sums of gradients, and the fields that a lossy adjoint keeps on the way, all together."""
MOST_BLOCKS = 2 if SIMULATED else 1 << 12
THREADS, WIDE, NARROW = (4, 2, 2) if SIMULATED else (256, 32, 4)
"""Threads of a block; the most columns of the batch that it takes at a time, and the fewest where more would fit."""
BLOCKS = 128
"""About as many as a GPU works on at once."""

ACROSS = 2 if SIMULATED else 8
"""Columns of the batch to a block whose fields stay in the device's memory: what one access to it brings."""

_layouts: dict[tuple[int, int, int], object] = {}


def levels(top, bottom):
    """Where each column of couplers begins in travel order, (L + 1,): those of a column have no rail in common."""
    starts, busy = [0], set()
    for t, rails in enumerate(zip(top.tolist(), bottom.tolist())):
        if busy.intersection(rails):
            starts.append(t)
            busy = set()
        busy.update(rails)
    return np.array([*starts, len(top)] if len(top) else [0], np.int64)


def layout(top, bottom):
    """`top`, `bottom` and `levels` on the GPU in use."""
    key = id(top), id(bottom), device_number()
    if key not in _layouts:
        there = tuple(cuda.to_device(a) for a in (top, bottom, levels(top, bottom)))
        _layouts[key] = (top, bottom), there  # the arrays of the host are kept, so that no other has their id
    return _layouts[key][1]


def capacity(modes, batch, tiles, itemsize):
    """Rails and columns of the batch that a block makes room for, in so many tiles; 0 columns where one does not fit.

    Rails are rounded up to a power of two, so that few kernels are compiled; and the fewer columns, the more blocks
    there are to keep a GPU busy.
    """
    rails, width = 2 if SIMULATED else 16, WIDE
    while rails < modes:
        rails *= 2
    while width and tiles * rails * width * itemsize > SHARED_BYTES:
        width //= 2
    while width > NARROW and batch < width * BLOCKS:
        width //= 2
    return rails, width


@cuda.jit(device=True)
def pair(field, m, i, j, b, ar, ai, br, bi, cr, ci, dr, di):
    """(top, bottom) <- [[a, b], [c, d]] (top, bottom) of column b."""
    xr, xi, yr, yi = field[m, 0, i, b], field[m, 1, i, b], field[m, 0, j, b], field[m, 1, j, b]
    field[m, 0, i, b] = ar * xr - ai * xi + br * yr - bi * yi
    field[m, 1, i, b] = ar * xi + ai * xr + br * yi + bi * yr
    field[m, 0, j, b] = cr * xr - ci * xi + dr * yr - di * yi
    field[m, 1, j, b] = cr * xi + ci * xr + dr * yi + di * yr


@cuda.jit(device=True)
def unpair(field, m, i, j, b, ar, ai, br, bi, cr, ci, dr, di):
    """(top, bottom) <- [[a, b], [c, d]]^+ (top, bottom) of column b."""
    pair(field, m, i, j, b, ar, -ai, cr, -ci, br, -bi, dr, -di)


@cuda.jit(device=True)
def behind(e, t, i, j, field, m, b, at):
    """Coupler t of mesh m transposed on column b of field `at`: light that goes back."""
    pair(
        field, at, i, j, b, e[m, 0, t], e[m, 1, t], e[m, 4, t], e[m, 5, t],
        e[m, 2, t], e[m, 3, t], e[m, 6, t], e[m, 7, t],
    )  # fmt: skip


@cuda.jit(device=True)
def turn(field, m, i, b, cosine, sine):
    """One value times cosine + i sine."""
    xr, xi = field[m, 0, i, b], field[m, 1, i, b]
    field[m, 0, i, b] = cosine * xr - sine * xi
    field[m, 1, i, b] = cosine * xi + sine * xr


@cuda.jit(device=True)
def forth(e, t, i, j, field, m, b, at):
    """Coupler t of mesh m on column b of field `at`."""
    pair(
        field, at, i, j, b, e[m, 0, t], e[m, 1, t], e[m, 2, t], e[m, 3, t],
        e[m, 4, t], e[m, 5, t], e[m, 6, t], e[m, 7, t],
    )  # fmt: skip


@cuda.jit(device=True)
def screened(screen, field, m, i, b, at, sense):
    """Rail i of the screen of mesh m on column b of field `at`; `sense` -1 takes it back."""
    c, s = cossin(float64(screen[m, i]))
    turn(field, at, i, b, field.dtype.type(c), field.dtype.type(sense * s))


@cache
def sender(real, rails, width):
    """The kernel of `forward`, `backward` and `matrices` for one size of tile; `width` 0: it lies in `far`."""
    shape, side = ((1, 2, rails, width), width) if width else ((1, 1, 1, 1), 1)

    @entry
    def send(e, top, bottom, starts, screen, back, unit, field, far):
        near = cuda.shared.array(shape, real)
        x, y, many = cuda.threadIdx.x % side, cuda.threadIdx.x // side, cuda.blockDim.x // side
        m, modes, batch, columns = cuda.blockIdx.y, field.shape[2], field.shape[3], starts.shape[0] - 1
        tile, own = (near, 0) if width else (far, m * cuda.gridDim.x + cuda.blockIdx.x)
        for strip in range(cuda.blockIdx.x, (batch + side - 1) // side, cuda.gridDim.x):
            b = strip * side + x
            for i in range(y, modes, many):
                xr, xi = real(0.0), real(0.0)
                if unit:
                    xr = real(1.0 if i == b else 0.0)
                elif b < batch:
                    xr, xi = field[m, 0, i, b], field[m, 1, i, b]
                tile[own, 0, i, x], tile[own, 1, i, x] = xr, xi
                if back:
                    screened(screen, tile, m, i, x, own, 1)
            cuda.syncthreads()
            for s in range(columns):
                column = columns - 1 - s if back else s
                for t in range(starts[column] + y, starts[column + 1], many):
                    if back:
                        behind(e, t, top[t], bottom[t], tile, m, x, own)
                    else:
                        forth(e, t, top[t], bottom[t], tile, m, x, own)
                cuda.syncthreads()
            for i in range(y, modes, many):
                if not back:
                    screened(screen, tile, m, i, x, own, 1)
                if b < batch:
                    field[m, 0, i, b], field[m, 1, i, b] = tile[own, 0, i, x], tile[own, 1, i, x]
            cuda.syncthreads()

    return send


@cuda.jit(device=True)
def collect(notes, row, width, sums, at):
    """Add up what the threads noted of one shifter; each row from another place on, since a bank of the shared memory
    serves one thread at a time. `width` is a power of two."""
    total = notes[row, row & (width - 1)]
    for x in range(1, width):
        total += notes[row, (row + x) & (width - 1)]
    sums[at] += total


@cuda.jit(device=True)
def collect_both(notes, half, width, first, count, n, sums):
    """`collect` for theta (rows from 0) and phi (rows from `half`) of `count` couplers, dealt out to the block."""
    for index in range(cuda.threadIdx.x, 2 * count, cuda.blockDim.x):
        if index < count:
            collect(notes, index, width, sums, first + index)
        else:
            collect(notes, half + index - count, width, sums, n + first + index - count)


@cache
def reverser(real, rails, width):
    """The lossless adjoint for one size of tile (see `sender`). `unit`: cotangents 1, nothing is changed."""
    shape, side = ((1, 2, rails, width), width) if width else ((1, 1, 1, 1), 1)
    half = rails // 2

    @entry
    def reverse(e, splitters, top, bottom, starts, screen, unit, field, cotangent, far, sums):
        near = cuda.shared.array(shape, real)
        beside = cuda.shared.array(shape, real)
        notes = cuda.shared.array((rails, side), real)
        thread, threads = cuda.threadIdx.x, cuda.blockDim.x
        x, y, many = thread % side, thread // side, threads // side
        m, modes, batch, columns = cuda.blockIdx.y, field.shape[2], field.shape[3], starts.shape[0] - 1
        n, block = top.shape[0], m * cuda.gridDim.x + cuda.blockIdx.x
        f, own = (near, 0) if width else (far, 2 * block)
        a, other = (beside, 0) if width else (far, 2 * block + 1)
        out = sums[block]
        for index in range(thread, 2 * n + modes, threads):
            out[index] = 0.0
        for strip in range(cuda.blockIdx.x, (batch + side - 1) // side, cuda.gridDim.x):
            b = strip * side + x
            for i in range(y, modes, many):
                xr, xi, ur, ui = real(0.0), real(0.0), real(0.0), real(0.0)
                if b < batch:
                    xr, xi = field[m, 0, i, b], field[m, 1, i, b]
                    if unit:
                        ur = real(1.0 if i == b else 0.0)
                    else:
                        ur, ui = cotangent[m, 0, i, b], cotangent[m, 1, i, b]
                f[own, 0, i, x], f[own, 1, i, x] = xr, xi
                a[other, 0, i, x], a[other, 1, i, x] = ur, ui
                notes[i, x] = -(ur * xi + ui * xr)
                screened(screen, f, m, i, x, own, -1)
                screened(screen, a, m, i, x, other, 1)
            cuda.syncthreads()
            for i in range(thread, modes, threads):
                collect(notes, i, side, out, 2 * n + i)
            cuda.syncthreads()
            for s in range(columns):
                first = starts[columns - 1 - s]
                count = starts[columns - s] - first
                for c in range(y, count, many):
                    t = first + c
                    i, j = top[t], bottom[t]
                    kr, ks = real(splitters[m, 2, t]), real(splitters[m, 3, t])
                    # Between theta and the right coupler: f is kr f_top - i ks f_bottom, and a with + i ks.
                    hr = kr * f[own, 0, i, x] + ks * f[own, 1, j, x]
                    hi = kr * f[own, 1, i, x] - ks * f[own, 0, j, x]
                    ur = kr * a[other, 0, i, x] - ks * a[other, 1, j, x]
                    ui = kr * a[other, 1, i, x] + ks * a[other, 0, j, x]
                    notes[c, x] = -(ur * hi + ui * hr)
                    unpair(
                        f, own, i, j, x, e[m, 0, t], e[m, 1, t], e[m, 2, t], e[m, 3, t],
                        e[m, 4, t], e[m, 5, t], e[m, 6, t], e[m, 7, t],
                    )  # fmt: skip
                    behind(e, t, i, j, a, m, x, other)
                    notes[half + c, x] = -(
                        a[other, 0, i, x] * f[own, 1, i, x] + a[other, 1, i, x] * f[own, 0, i, x]
                    )
                cuda.syncthreads()
                collect_both(notes, half, side, first, count, n, out)
                cuda.syncthreads()
            if not unit:
                for i in range(y, modes, many):
                    if b < batch:
                        field[m, 0, i, b], field[m, 1, i, b] = f[own, 0, i, x], f[own, 1, i, x]
                        cotangent[m, 0, i, b], cotangent[m, 1, i, b] = a[other, 0, i, x], a[other, 1, i, x]
            cuda.syncthreads()

    return reverse


@cuda.jit(device=True)
def met(e, splitters, t, i, j, kept, a, m, b, at):
    """Send cotangents back through coupler t of mesh m, column b of `a` at `at`, and meet the field that was `kept` in
    front of it: (slope by theta, by phi)."""
    real = a.dtype.type
    kr, ks = real(splitters[m, 2, t]), real(splitters[m, 3, t])
    xr, xi, yr, yi = kept[t, 0, b], kept[t, 1, b], kept[t, 2, b], kept[t, 3, b]
    z0r, z0i, z1r, z1i = e[m, 8, t], e[m, 9, t], e[m, 10, t], e[m, 11, t]
    hr = z0r * xr - z0i * xi + z1r * yr - z1i * yi
    hi = z0r * xi + z0i * xr + z1r * yi + z1i * yr
    ur = kr * a[at, 0, i, b] - ks * a[at, 1, j, b]
    ui = kr * a[at, 1, i, b] + ks * a[at, 0, j, b]
    behind(e, t, i, j, a, m, b, at)
    return -(ur * hi + ui * hr), -(a[at, 0, i, b] * xi + a[at, 1, i, b] * xr)


@cache
def lossy(real, rails, width):
    """The adjoint with loss for one size of tile (see `sender`): the way there is kept, the way back meets it."""
    shape, side = ((1, 2, rails, width), width) if width else ((1, 1, 1, 1), 1)
    half = rails // 2

    @entry
    def there_and_back(e, splitters, top, bottom, starts, screen, field, cotangent, far, trail, sums):
        near = cuda.shared.array(shape, real)
        beside = cuda.shared.array(shape, real)
        notes = cuda.shared.array((rails, side), real)
        thread, threads = cuda.threadIdx.x, cuda.blockDim.x
        x, y, many = thread % side, thread // side, threads // side
        m, modes, batch, columns = cuda.blockIdx.y, field.shape[2], field.shape[3], starts.shape[0] - 1
        n, block = top.shape[0], m * cuda.gridDim.x + cuda.blockIdx.x
        f, own = (near, 0) if width else (far, 2 * block)
        a, other = (beside, 0) if width else (far, 2 * block + 1)
        kept, out = trail[block], sums[block]
        for index in range(thread, 2 * n + modes, threads):
            out[index] = 0.0
        for strip in range(cuda.blockIdx.x, (batch + side - 1) // side, cuda.gridDim.x):
            b = strip * side + x
            for i in range(y, modes, many):
                xr, xi, ur, ui = real(0.0), real(0.0), real(0.0), real(0.0)
                if b < batch:
                    xr, xi = field[m, 0, i, b], field[m, 1, i, b]
                    ur, ui = cotangent[m, 0, i, b], cotangent[m, 1, i, b]
                f[own, 0, i, x], f[own, 1, i, x] = xr, xi
                a[other, 0, i, x], a[other, 1, i, x] = ur, ui
            cuda.syncthreads()
            for s in range(columns):
                for t in range(starts[s] + y, starts[s + 1], many):
                    i, j = top[t], bottom[t]
                    kept[t, 0, x], kept[t, 1, x] = f[own, 0, i, x], f[own, 1, i, x]
                    kept[t, 2, x], kept[t, 3, x] = f[own, 0, j, x], f[own, 1, j, x]
                    forth(e, t, i, j, f, m, x, own)
                cuda.syncthreads()
            for i in range(y, modes, many):
                screened(screen, f, m, i, x, own, 1)
                notes[i, x] = -(a[other, 0, i, x] * f[own, 1, i, x] + a[other, 1, i, x] * f[own, 0, i, x])
                screened(screen, a, m, i, x, other, 1)
            cuda.syncthreads()
            for i in range(thread, modes, threads):
                collect(notes, i, side, out, 2 * n + i)
            cuda.syncthreads()
            for s in range(columns):
                first = starts[columns - 1 - s]
                count = starts[columns - s] - first
                for c in range(y, count, many):
                    t = first + c
                    notes[c, x], notes[half + c, x] = met(e, splitters, t, top[t], bottom[t], kept, a, m, x, other)
                cuda.syncthreads()
                collect_both(notes, half, side, first, count, n, out)
                cuda.syncthreads()
            for i in range(y, modes, many):
                if b < batch:
                    cotangent[m, 0, i, b], cotangent[m, 1, i, b] = a[other, 0, i, x], a[other, 1, i, x]
            cuda.syncthreads()

    return there_and_back


@entry
def gather(sums, blocks, by_theta, by_phi, by_screen):
    """The blocks' sums of gradients added up: `by_theta`, `by_phi` (M, n) and `by_screen` (M, N)."""
    n, modes = by_theta.shape[1], by_screen.shape[1]
    size = 2 * n + modes
    for index in range(cuda.grid(1), by_theta.shape[0] * size, cuda.gridsize(1)):
        m, at = index // size, index % size
        total = sums.dtype.type(0.0)
        for block in range(blocks):
            total += sums[m * blocks + block, at]
        if at < n:
            by_theta[m, at] = total
        elif at < 2 * n:
            by_phi[m, at - n] = total
        else:
            by_screen[m, at - 2 * n] = total


def run_in_place(kernel, meshes, batch, *args):
    """Launch a kernel that works on fields in the device's memory: a strip of `ACROSS` columns of the batch to a block,
    whose other threads have the other couplers of a column."""
    run(kernel, (room(meshes, batch, ACROSS, 0), meshes), THREADS, *args)


def real_of(field):
    """The type of the numbers of a field, as kernels name it."""
    return float32 if field.dtype == np.float32 else float64


def room(meshes, batch, width, row):
    """Blocks for each mesh: a strip each, as long as the `row` bytes of each do not fill the memory. One at least, so
    that no sum is left unwritten."""
    most = min(MOST_BLOCKS, SUM_BYTES // max(1, row)) // max(1, meshes)
    return max(1, min(-(-batch // max(1, width)), most))


def _send(elements, top, bottom, screen, field, back, unit):
    meshes, _, modes, batch = field.shape
    top, bottom, starts = layout(top, bottom)
    rails, width = capacity(modes, batch, 2, field.dtype.itemsize)
    blocks = room(meshes, batch, width, 0)
    far = scratch(field, (1 if width else meshes * blocks, 2, 1 if width else modes, 1))
    run(
        sender(real_of(field), rails, width), (blocks, meshes), THREADS, elements, top, bottom, starts, screen, back,
        unit, field, far,
    )  # fmt: skip


def forward(elements, top, bottom, screen, field):
    """As `kernels.propagate.forward`."""
    _send(elements, top, bottom, screen, field, False, False)


def backward(elements, top, bottom, screen, field):
    """As `kernels.propagate.backward`."""
    _send(elements, top, bottom, screen, field, True, False)


def matrices(elements, top, bottom, screen, out):
    """As `kernels.propagate.matrices`."""
    _send(elements, top, bottom, screen, out, False, True)


def _reverse(elements, splitters, top, bottom, screen, unit, field, cotangent, by_theta, by_phi, by_screen):
    meshes, _, modes, batch = field.shape
    size = 2 * top.shape[0] + modes
    top, bottom, starts = layout(top, bottom)
    rails, width = capacity(modes, batch, 5, field.dtype.itemsize)
    blocks = room(meshes, batch, width, size * field.dtype.itemsize)
    sums = scratch(field, (meshes * blocks, size))
    far = scratch(field, (1 if width else 2 * meshes * blocks, 2, 1 if width else modes, 1))
    run(
        reverser(real_of(field), rails, width), (blocks, meshes), THREADS, elements, splitters, top, bottom, starts,
        screen, unit, field, cotangent, far, sums,
    )  # fmt: skip
    spread(gather, by_theta.size * 2 + by_screen.size, sums, blocks, by_theta, by_phi, by_screen)


def adjoint(elements, splitters, top, bottom, screen, field, cotangent, by_theta, by_phi, by_screen):
    """As `kernels.propagate.adjoint`."""
    _reverse(elements, splitters, top, bottom, screen, False, field, cotangent, by_theta, by_phi, by_screen)


def gradients(elements, splitters, top, bottom, screen, product, by_theta, by_phi, by_screen):
    """As `kernels.propagate.gradients`."""
    _reverse(elements, splitters, top, bottom, screen, True, product, product, by_theta, by_phi, by_screen)


def adjoint_lossy(elements, splitters, top, bottom, screen, field, cotangent, by_theta, by_phi, by_screen):
    """As `kernels.propagate.adjoint_lossy`."""
    meshes, _, modes, batch = field.shape
    n, itemsize = top.shape[0], field.dtype.itemsize
    top, bottom, starts = layout(top, bottom)
    rails, width = capacity(modes, batch, 5, itemsize)
    side = max(1, width)
    blocks = room(meshes, batch, width, (2 * n + modes + 4 * n * side) * itemsize)
    sums, trail = scratch(field, (meshes * blocks, 2 * n + modes)), scratch(field, (meshes * blocks, n, 4, side))
    far = scratch(field, (1 if width else 2 * meshes * blocks, 2, 1 if width else modes, 1))
    run(
        lossy(real_of(field), rails, width), (blocks, meshes), THREADS, elements, splitters, top, bottom, starts,
        screen, field, cotangent, far, trail, sums,
    )  # fmt: skip
    spread(gather, by_theta.size * 2 + by_screen.size, sums, blocks, by_theta, by_phi, by_screen)
