"""Windows of images (`kernels.im2col`): one thread for every value that is written, so that sums need no atomics."""

from __future__ import annotations

from numba import cuda

from .launch import entry, spread


@entry
def gather(x, kernel, stride, padding, height, width, out):
    """The loop of `im2col`: a thread for every value of the columns."""
    channels, rows, columns, batch = x.shape
    size = height * width * batch
    for index in range(cuda.grid(1), channels * kernel * kernel * size, cuda.gridsize(1)):
        row, at = index // size, index % size
        c, r, s = row // (kernel * kernel), row // kernel % kernel, row % kernel
        y = at // (width * batch) * stride + r - padding
        z = at // batch % width * stride + s - padding
        value = x.dtype.type(0.0)
        if 0 <= y < rows and 0 <= z < columns:
            value = x[c, y, z, at % batch]
        out[row, at] = value


@entry
def collect(columns, kernel, stride, padding, height, width, out):
    """The loop of `col2im`: a thread for every pixel."""
    _, rows, wide, batch = out.shape
    for index in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        c, y = index // (rows * wide * batch), index // (wide * batch) % rows
        z, b = index // batch % wide, index % batch
        total = columns.dtype.type(0.0)
        for r in range(kernel):
            h = y + padding - r
            if h >= 0 and h % stride == 0 and h // stride < height:
                for s in range(kernel):
                    w = z + padding - s
                    if w >= 0 and w % stride == 0 and w // stride < width:
                        at = (h // stride * width + w // stride) * batch + b
                        total += columns[(c * kernel + r) * kernel + s, at]
        out[c, y, z, b] = total


@entry
def pool(x, kernel, stride, padding, out, winner):
    """The loop of `max_pool`: a thread for every window."""
    _, height, width, batch = out.shape
    for index in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        c, h = index // (height * width * batch), index // (width * batch) % height
        w, b = index // batch % width, index % batch
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
        c, y = index // (rows * wide * batch), index // (wide * batch) % rows
        z, b = index // batch % wide, index % batch
        total = dy.dtype.type(0.0)
        # Windows from the first that has this pixel, as the CPU adds them up.
        for r in range(kernel - 1, -1, -1):
            h = y + padding - r
            if h >= 0 and h % stride == 0 and h // stride < dy.shape[1]:
                for s in range(kernel - 1, -1, -1):
                    w = z + padding - s
                    inside = w >= 0 and w % stride == 0 and w // stride < dy.shape[2]
                    if inside and winner[c, h // stride, w // stride, b] == r * kernel + s:
                        total += dy[c, h // stride, w // stride, b]
        out[c, y, z, b] = total


def im2col(x, kernel, stride, padding, height, width, out):
    """As `kernels.im2col.im2col`."""
    spread(gather, out.size, x, kernel, stride, padding, height, width, out)


def col2im(columns, kernel, stride, padding, height, width, out):
    """As `kernels.im2col.col2im`."""
    spread(collect, out.size, columns, kernel, stride, padding, height, width, out)


def max_pool(x, kernel, stride, padding, out, winner):
    """As `kernels.im2col.max_pool`."""
    spread(pool, out.size, x, kernel, stride, padding, out, winner)


def max_pool_back(dy, winner, kernel, stride, padding, out):
    """As `kernels.im2col.max_pool_back`."""
    spread(pool_back, out.size, dy, winner, kernel, stride, padding, out)
