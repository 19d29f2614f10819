"""Light through complex meshes (`kernels.propagate`): one thread for every column of the batch.

Threads side by side have columns side by side, so all of them turn by the same coupler and what they load lies in one
line of the cache. Gradients sum over the batch: a block notes what its threads found at WARP couplers in a square of
shared memory, and then every thread adds up one row of it. Blocks are added in a second launch, always in one order.
"""

from __future__ import annotations

from numba import cuda, float32, float64

from .. import propagate as cpu
from .launch import SIMULATED, WARP, device, run, scratch, spread

cossin = device(cpu.cossin)
element = device(cpu.element)
TRAIL_BYTES = 1 << 28
"""Fields that a lossy adjoint keeps on the way, in all blocks together."""
MOST_BLOCKS = 2 if SIMULATED else 1 << 12


@cuda.jit
def split(left, right, out):
    n = left.shape[1]
    for index in range(cuda.grid(1), left.size, cuda.gridsize(1)):
        m, t = index // n, index % n
        out[m, 0, t], out[m, 1, t] = cossin(0.7853981633974483 + left[m, t])
        out[m, 2, t], out[m, 3, t] = cossin(0.7853981633974483 + right[m, t])


@cuda.jit
def couplers(theta, phi, splitters, amplitudes, out):
    n = theta.shape[1]
    for index in range(cuda.grid(1), theta.size, cuda.gridsize(1)):
        m, t = index // n, index % n
        er, ei = cossin(float64(theta[m, t]))
        fr, fi = cossin(float64(phi[m, t]))
        a, s = amplitudes[m], splitters[m]
        (
            out[m, 0, t], out[m, 1, t], out[m, 2, t], out[m, 3, t], out[m, 4, t], out[m, 5, t],
            out[m, 6, t], out[m, 7, t], out[m, 8, t], out[m, 9, t], out[m, 10, t], out[m, 11, t],
        ) = element(
            a[0, t] * er, a[0, t] * ei, a[2, t] * fr, a[2, t] * fi, s[0, t], s[1, t], s[2, t], s[3, t], a[1, t], a[3, t]
        )  # fmt: skip


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
def turn(field, m, i, b, cosine, sine):
    """One value times cosine + i sine."""
    xr, xi = field[m, 0, i, b], field[m, 1, i, b]
    field[m, 0, i, b] = cosine * xr - sine * xi
    field[m, 1, i, b] = cosine * xi + sine * xr


@cuda.jit(device=True)
def ahead(e, top, bottom, screen, field, m, b):
    """Column b of `field` through mesh m."""
    for t in range(top.shape[0]):
        pair(
            field, m, top[t], bottom[t], b, e[m, 0, t], e[m, 1, t], e[m, 2, t], e[m, 3, t],
            e[m, 4, t], e[m, 5, t], e[m, 6, t], e[m, 7, t],
        )  # fmt: skip
    for i in range(field.shape[2]):
        c, s = cossin(float64(screen[m, i]))
        turn(field, m, i, b, field.dtype.type(c), field.dtype.type(s))


@cuda.jit
def forward_all(e, top, bottom, screen, field):
    batch = field.shape[3]
    for index in range(cuda.grid(1), field.shape[0] * batch, cuda.gridsize(1)):
        ahead(e, top, bottom, screen, field, index // batch, index % batch)


@cuda.jit
def backward_all(e, top, bottom, screen, field):
    batch = field.shape[3]
    for index in range(cuda.grid(1), field.shape[0] * batch, cuda.gridsize(1)):
        m, b = index // batch, index % batch
        for i in range(field.shape[2]):
            c, s = cossin(float64(screen[m, i]))
            turn(field, m, i, b, field.dtype.type(c), field.dtype.type(s))
        for t in range(top.shape[0] - 1, -1, -1):
            pair(
                field, m, top[t], bottom[t], b, e[m, 0, t], e[m, 1, t], e[m, 4, t], e[m, 5, t],
                e[m, 2, t], e[m, 3, t], e[m, 6, t], e[m, 7, t],
            )  # fmt: skip


@cuda.jit
def matrices_all(e, top, bottom, screen, out):
    modes = out.shape[3]
    for index in range(cuda.grid(1), out.shape[0] * modes, cuda.gridsize(1)):
        m, b = index // modes, index % modes
        for i in range(modes):
            out[m, 0, i, b] = 1.0 if i == b else 0.0
            out[m, 1, i, b] = 0.0
        ahead(e, top, bottom, screen, out, m, b)


@cuda.jit(device=True)
def settle(square, lane, many, sums, first, step):
    """Add up what the threads noted of `many` shifters, and add it to sums[first], sums[first + step], ..."""
    cuda.syncthreads()
    if lane < many:
        total = square[lane, 0]
        for other in range(1, WARP):
            total += square[lane, other]
        sums[first + step * lane] += total
    cuda.syncthreads()


@cuda.jit(device=True)
def slope(f, a, m, i, b):
    """-Im(a f) at one place."""
    return -(a[m, 0, i, b] * f[m, 1, i, b] + a[m, 1, i, b] * f[m, 0, i, b])


@cuda.jit(device=True)
def least(a, b):
    return a if a < b else b


def reverser(real):
    """The lossless adjoint in one precision: shared memory wants its type when it is compiled."""

    @cuda.jit
    def reverse(e, splitters, top, bottom, screen, field, cotangent, strips, sums):
        squares = cuda.shared.array((2, WARP, WARP), real)
        lane, n, modes, batch = cuda.threadIdx.x, top.shape[0], field.shape[2], field.shape[3]
        m, block, blocks = cuda.blockIdx.y, cuda.blockIdx.x, cuda.gridDim.x
        out = sums[m * blocks + block]
        for index in range(lane, 2 * n + modes, WARP):
            out[index] = 0.0
        for strip in range(block, strips, blocks):
            b = strip * WARP + lane
            alive = b < batch
            for first in range(0, modes, WARP):
                many = least(WARP, modes - first)
                for i in range(first, first + many):
                    found = real(0.0)
                    if alive:
                        found = slope(field, cotangent, m, i, b)
                        cosine, sine = cossin(float64(screen[m, i]))
                        turn(field, m, i, b, real(cosine), -real(sine))
                        turn(cotangent, m, i, b, real(cosine), real(sine))
                    squares[0, i - first, lane] = found
                settle(squares[0], lane, many, out, 2 * n + first, 1)
            for last in range(n - 1, -1, -WARP):
                many = least(WARP, last + 1)
                for t in range(last, last - many, -1):
                    by_theta, by_phi = real(0.0), real(0.0)
                    if alive:
                        i, j = top[t], bottom[t]
                        kr, ks = real(splitters[m, 2, t]), real(splitters[m, 3, t])
                        # Between theta and the right coupler: f is kr f_top - i ks f_bottom, and a with + i ks.
                        hr = kr * field[m, 0, i, b] + ks * field[m, 1, j, b]
                        hi = kr * field[m, 1, i, b] - ks * field[m, 0, j, b]
                        ur = kr * cotangent[m, 0, i, b] - ks * cotangent[m, 1, j, b]
                        ui = kr * cotangent[m, 1, i, b] + ks * cotangent[m, 0, j, b]
                        by_theta = -(ur * hi + ui * hr)
                        unpair(
                            field, m, i, j, b, e[m, 0, t], e[m, 1, t], e[m, 2, t], e[m, 3, t],
                            e[m, 4, t], e[m, 5, t], e[m, 6, t], e[m, 7, t],
                        )  # fmt: skip
                        pair(
                            cotangent, m, i, j, b, e[m, 0, t], e[m, 1, t], e[m, 4, t], e[m, 5, t],
                            e[m, 2, t], e[m, 3, t], e[m, 6, t], e[m, 7, t],
                        )  # fmt: skip
                        by_phi = slope(field, cotangent, m, i, b)
                    squares[0, last - t, lane] = by_theta
                    squares[1, last - t, lane] = by_phi
                settle(squares[0], lane, many, out, last, -1)
                settle(squares[1], lane, many, out, n + last, -1)

    return reverse


def lossy(real):
    """The adjoint with loss: the way there is kept, the way back meets it."""

    @cuda.jit
    def there_and_back(e, splitters, top, bottom, screen, field, cotangent, strips, work, trail, sums):
        squares = cuda.shared.array((2, WARP, WARP), real)
        lane, n, modes, batch = cuda.threadIdx.x, top.shape[0], field.shape[2], field.shape[3]
        m, block, blocks = cuda.blockIdx.y, cuda.blockIdx.x, cuda.gridDim.x
        own = m * blocks + block
        out = sums[own]
        for index in range(lane, 2 * n + modes, WARP):
            out[index] = 0.0
        for strip in range(block, strips, blocks):
            b = strip * WARP + lane
            alive = b < batch
            if alive:
                for i in range(modes):
                    work[own, 0, i, lane], work[own, 1, i, lane] = field[m, 0, i, b], field[m, 1, i, b]
                for t in range(n):
                    i, j = top[t], bottom[t]
                    trail[own, t, 0, lane], trail[own, t, 1, lane] = work[own, 0, i, lane], work[own, 1, i, lane]
                    trail[own, t, 2, lane], trail[own, t, 3, lane] = work[own, 0, j, lane], work[own, 1, j, lane]
                    pair(
                        work, own, i, j, lane, e[m, 0, t], e[m, 1, t], e[m, 2, t], e[m, 3, t],
                        e[m, 4, t], e[m, 5, t], e[m, 6, t], e[m, 7, t],
                    )  # fmt: skip
            for first in range(0, modes, WARP):
                many = least(WARP, modes - first)
                for i in range(first, first + many):
                    found = real(0.0)
                    if alive:
                        cosine, sine = cossin(float64(screen[m, i]))
                        turn(work, own, i, lane, real(cosine), real(sine))
                        found = -(
                            cotangent[m, 0, i, b] * work[own, 1, i, lane]
                            + cotangent[m, 1, i, b] * work[own, 0, i, lane]
                        )
                        turn(cotangent, m, i, b, real(cosine), real(sine))
                    squares[0, i - first, lane] = found
                settle(squares[0], lane, many, out, 2 * n + first, 1)
            for last in range(n - 1, -1, -WARP):
                many = least(WARP, last + 1)
                for t in range(last, last - many, -1):
                    by_theta, by_phi = real(0.0), real(0.0)
                    if alive:
                        i, j = top[t], bottom[t]
                        kr, ks = real(splitters[m, 2, t]), real(splitters[m, 3, t])
                        xr, xi = trail[own, t, 0, lane], trail[own, t, 1, lane]
                        yr, yi = trail[own, t, 2, lane], trail[own, t, 3, lane]
                        z0r, z0i, z1r, z1i = e[m, 8, t], e[m, 9, t], e[m, 10, t], e[m, 11, t]
                        hr = z0r * xr - z0i * xi + z1r * yr - z1i * yi
                        hi = z0r * xi + z0i * xr + z1r * yi + z1i * yr
                        ur = kr * cotangent[m, 0, i, b] - ks * cotangent[m, 1, j, b]
                        ui = kr * cotangent[m, 1, i, b] + ks * cotangent[m, 0, j, b]
                        by_theta = -(ur * hi + ui * hr)
                        pair(
                            cotangent, m, i, j, b, e[m, 0, t], e[m, 1, t], e[m, 4, t], e[m, 5, t],
                            e[m, 2, t], e[m, 3, t], e[m, 6, t], e[m, 7, t],
                        )  # fmt: skip
                        by_phi = -(cotangent[m, 0, i, b] * xi + cotangent[m, 1, i, b] * xr)
                    squares[0, last - t, lane] = by_theta
                    squares[1, last - t, lane] = by_phi
                settle(squares[0], lane, many, out, last, -1)
                settle(squares[1], lane, many, out, n + last, -1)

    return there_and_back


REVERSE = {"float32": reverser(float32), "float64": reverser(float64)}
LOSSY = {"float32": lossy(float32), "float64": lossy(float64)}


@cuda.jit
def basis(out):
    modes = out.shape[3]
    for index in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        i, b = index // modes % modes, index % modes
        plane = index // (modes * modes) % 2
        out[index // (2 * modes * modes), plane, i, b] = 1.0 if plane == 0 and i == b else 0.0


@cuda.jit
def gather(sums, blocks, by_theta, by_phi, by_screen):
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


def splitters(left, right, out):
    """As `kernels.propagate.splitters`."""
    spread(split, left.size, left, right, out)


def elements(theta, phi, splitters, amplitudes, out):
    """As `kernels.propagate.elements`."""
    spread(couplers, theta.size, theta, phi, splitters, amplitudes, out)


def forward(elements, top, bottom, screen, field):
    """As `kernels.propagate.forward`."""
    spread(forward_all, field.shape[0] * field.shape[3], elements, top, bottom, screen, field)


def backward(elements, top, bottom, screen, field):
    """As `kernels.propagate.backward`."""
    spread(backward_all, field.shape[0] * field.shape[3], elements, top, bottom, screen, field)


def matrices(elements, top, bottom, screen, out):
    """As `kernels.propagate.matrices`."""
    spread(matrices_all, out.shape[0] * out.shape[3], elements, top, bottom, screen, out)


def _strips(field, most):
    """Strips of the batch, and the blocks of a mesh that share them: one at least, so that no sum is left unwritten."""
    strips = -(-field.shape[3] // WARP)
    return strips, max(1, min(strips, most // max(1, field.shape[0])))


def adjoint(elements, splitters, top, bottom, screen, field, cotangent, by_theta, by_phi, by_screen):
    """As `kernels.propagate.adjoint`."""
    meshes, n, modes = field.shape[0], top.shape[0], field.shape[2]
    strips, blocks = _strips(field, MOST_BLOCKS)
    sums = scratch(field, (meshes * blocks, 2 * n + modes))
    run(
        REVERSE[str(field.dtype)], (blocks, meshes), WARP, elements, splitters, top, bottom, screen, field, cotangent,
        strips, sums,
    )  # fmt: skip
    spread(gather, by_theta.size * 2 + by_screen.size, sums, blocks, by_theta, by_phi, by_screen)


def gradients(elements, splitters, top, bottom, screen, product, by_theta, by_phi, by_screen):
    """As `kernels.propagate.gradients`."""
    field, unit = product.copy(), scratch(product, product.shape)
    spread(basis, unit.size, unit)
    adjoint(elements, splitters, top, bottom, screen, field, unit, by_theta, by_phi, by_screen)


def adjoint_lossy(elements, splitters, top, bottom, screen, field, cotangent, by_theta, by_phi, by_screen):
    """As `kernels.propagate.adjoint_lossy`."""
    meshes, n, modes = field.shape[0], top.shape[0], field.shape[2]
    strips, blocks = _strips(field, min(MOST_BLOCKS, TRAIL_BYTES // (4 * max(1, n) * WARP * field.dtype.itemsize)))
    work = scratch(field, (meshes * blocks, 2, modes, WARP))
    trail = scratch(field, (meshes * blocks, n, 4, WARP))
    sums = scratch(field, (meshes * blocks, 2 * n + modes))
    run(
        LOSSY[str(field.dtype)], (blocks, meshes), WARP, elements, splitters, top, bottom, screen, field, cotangent,
        strips, work, trail, sums,
    )  # fmt: skip
    spread(gather, by_theta.size * 2 + by_screen.size, sums, blocks, by_theta, by_phi, by_screen)
