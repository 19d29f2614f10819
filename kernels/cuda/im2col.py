"""Windows of images (`kernels.im2col`): one thread for every value that is written, so that sums need no atomics."""

from __future__ import annotations

from numba import cuda

from .launch import entry, narrow, parted, spread


@cuda.jit(device=True)
def pixel(index, rows, wide, batch):
    """Channel, row, column and sample of a value of an image (channels, rows, wide, batch)."""
    up, b = parted(index, batch)
    up, z = parted(up, wide)
    c, y = parted(up, rows)
    return c, y, z, b


@cuda.jit(device=True)
def window(place, stride, count):
    """The window, of `count`, that begins at `place`; -1 where none does."""
    if place < 0:
        return -1
    at, rest = parted(place, stride)
    return at if rest == 0 and at < count else -1


@entry
def gather(x, kernel, stride, padding, height, width, out):
    """The loop of `im2col`: a thread for every value of the columns."""
    channels, rows, columns, batch = x.shape
    size = height * width * batch
    for index in range(cuda.grid(1), channels * kernel * kernel * size, cuda.gridsize(1)):
        row, at = parted(index, size)
        up, s = parted(row, kernel)
        c, r = parted(up, kernel)
        h, rest = parted(at, width * batch)
        w, b = parted(rest, batch)
        y, z = h * stride + r - padding, w * stride + s - padding
        value = x.dtype.type(0.0)
        if 0 <= y < rows and 0 <= z < columns:
            value = x[c, y, z, b]
        out[row, at] = value


@entry
def collect(columns, kernel, stride, padding, height, width, out):
    """The loop of `col2im`: a thread for every pixel."""
    _, rows, wide, batch = out.shape
    for index in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        c, y, z, b = pixel(index, rows, wide, batch)
        total = columns.dtype.type(0.0)
        for r in range(kernel):
            down = window(y + padding - r, stride, height)
            if down >= 0:
                for s in range(kernel):
                    across = window(z + padding - s, stride, width)
                    if across >= 0:
                        total += columns[(c * kernel + r) * kernel + s, (down * width + across) * batch + b]
        out[c, y, z, b] = total


@entry
def pool(x, kernel, stride, padding, out, winner):
    """The loop of `max_pool`: a thread for every window."""
    _, height, width, batch = out.shape
    for index in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        c, h, w, b = pixel(index, height, width, batch)
        best, place = -x.dtype.type(float("inf")), 0
        for r in range(kernel):
            y = h * stride + r - padding
            for s in range(kernel):
                z = w * stride + s - padding
                if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]:
                    value = x[c, y, z, b]
                    if value > best or value != value:  # a NaN wins and stays
                        best, place = value, r * kernel + s
        out[c, h, w, b] = best
        winner[c, h, w, b] = place


@entry
def pool_back(dy, winner, kernel, stride, padding, out):
    """The loop of `max_pool_back`: a thread for every pixel."""
    _, rows, wide, batch = out.shape
    for index in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        c, y, z, b = pixel(index, rows, wide, batch)
        total = dy.dtype.type(0.0)
        # Windows from the first that has this pixel, as the CPU adds them up.
        for r in range(kernel - 1, -1, -1):
            down = window(y + padding - r, stride, dy.shape[1])
            if down >= 0:
                for s in range(kernel - 1, -1, -1):
                    across = window(z + padding - s, stride, dy.shape[2])
                    if across >= 0 and winner[c, down, across, b] == r * kernel + s:
                        total += dy[c, down, across, b]
        out[c, y, z, b] = total


def im2col(x, kernel, stride, padding, height, width, out):
    """As `kernels.im2col.im2col`."""
    spread(gather, narrow(out.size), x, kernel, stride, padding, height, width, out)


def col2im(columns, kernel, stride, padding, height, width, out):
    """As `kernels.im2col.col2im`."""
    spread(collect, narrow(out.size), columns, kernel, stride, padding, height, width, out)


def max_pool(x, kernel, stride, padding, out, winner):
    """As `kernels.im2col.max_pool`."""
    spread(pool, narrow(out.size), x, kernel, stride, padding, out, winner)


def max_pool_back(dy, winner, kernel, stride, padding, out):
    """As `kernels.im2col.max_pool_back`."""
    spread(pool_back, narrow(out.size), dy, winner, kernel, stride, padding, out)
