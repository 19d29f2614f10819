"""Windows of images (C, H, W, B): convolution columns and back, and max pooling.

    columns[c R^2 + r R + s, (h, w, b)] = x[c, h S + r - P, w S + s - P, b]        0 outside the image

for kernel R, stride S, padding P; `col2im` is the adjoint. Max pooling remembers which place of the window won, the
first of equals, counted r R + s. Every inner loop runs over contiguous values of one image row or of the batch.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from . import threads


@njit(inline="always")
def span(size, count, stride, shift):
    """The windows lo <= i < hi, out of `count`, whose pixel i stride + shift lies inside an image of `size`."""
    lo = 0 if shift >= 0 else (-shift + stride - 1) // stride
    hi = 0 if size <= shift else min(count, (size - 1 - shift) // stride + 1)
    return min(lo, count), max(hi, min(lo, count))


@njit(inline="always")
def put(target, source):
    """target <- source; one-dimensional contiguous slices. Numba takes two seconds to compile `target[:] = source`."""
    for i in range(target.shape[0]):
        target[i] = source[i]


@njit(inline="always")
def clear(target):
    """target <- 0, as `put`."""
    for i in range(target.shape[0]):
        target[i] = 0


@njit(cache=True, nogil=True)
def im2col_piece(begin, end, x, kernel, stride, padding, height, width, out):
    """`im2col` for the columns from `begin` to `end`."""
    b = x.shape[3]
    for row in range(begin, end):
        c, r, s = row // (kernel * kernel), row // kernel % kernel, row % kernel
        line = out[row]
        top, bottom = span(x.shape[1], height, stride, r - padding)
        left, right = span(x.shape[2], width, stride, s - padding)
        clear(line[: top * width * b])
        clear(line[bottom * width * b :])
        for h in range(top, bottom):
            source = x[c, h * stride + r - padding].reshape(-1)
            target = line[h * width * b : (h + 1) * width * b]
            clear(target[: left * b])
            clear(target[right * b :])
            if stride == 1:
                first = (left + s - padding) * b
                put(target[left * b : right * b], source[first : first + (right - left) * b])
            else:
                for w in range(left, right):
                    first = (w * stride + s - padding) * b
                    put(target[w * b : (w + 1) * b], source[first : first + b])


def im2col(x, kernel, stride, padding, height, width, out):
    """Images (C, H, W, B) to columns `out` (C R^2, height width B)."""
    threads.share(im2col_piece, out.shape[0], 0.2 * out.size, x, kernel, stride, padding, height, width, out)


@njit(inline="always")
def add(target, source):
    """target += source, as `put`."""
    for i in range(target.shape[0]):
        target[i] += source[i]


@njit(cache=True, nogil=True)
def col2im_piece(begin, end, columns, kernel, stride, padding, height, width, out):
    """`col2im` for the channels from `begin` to `end`."""
    b = out.shape[3]
    for c in range(begin, end):
        out[c] = 0.0
        for r in range(kernel):
            top, bottom = span(out.shape[1], height, stride, r - padding)
            for s in range(kernel):
                left, right = span(out.shape[2], width, stride, s - padding)
                line = columns[(c * kernel + r) * kernel + s]
                for h in range(top, bottom):
                    target = out[c, h * stride + r - padding].reshape(-1)
                    source = line[h * width * b : (h + 1) * width * b]
                    if stride == 1:
                        first = (left + s - padding) * b
                        add(target[first : first + (right - left) * b], source[left * b : right * b])
                    else:
                        for w in range(left, right):
                            first = (w * stride + s - padding) * b
                            add(target[first : first + b], source[w * b : (w + 1) * b])


def col2im(columns, kernel, stride, padding, height, width, out):
    """Columns (C R^2, height width B) added up in the images `out` (C, H, W, B), which are overwritten."""
    threads.share(col2im_piece, out.shape[0], 0.2 * columns.size, columns, kernel, stride, padding, height, width, out)


@njit(cache=True, nogil=True)
def runs(windows, width):
    """Sorted windows, counted row by row of `width`, as runs (n, 4) of neighbours: row, first, behind the last, place.

    The place is that of the first of them in `windows`."""
    out = np.empty((windows.shape[0], 4), np.int64)
    count = 0
    for i in range(windows.shape[0]):
        h, w = windows[i] // width, windows[i] % width
        if count > 0 and out[count - 1, 0] == h and out[count - 1, 2] == w:
            out[count - 1, 2] = w + 1
        else:
            out[count, 0], out[count, 1], out[count, 2], out[count, 3] = h, w, w + 1, i
            count += 1
    return out[:count]


@njit(inline="always")
def inside(run, size, count, stride, shift):
    """The windows of a run, out of `count` in a row, whose pixel lies inside an image of width `size`, as `span`."""
    left, right = span(size, count, stride, shift)
    left = min(max(left, run[1]), run[2])
    return left, max(min(right, run[2]), left)


@njit(cache=True, nogil=True)
def gather_piece(begin, end, x, kernel, stride, padding, some, out):
    """`gather` for the rows from `begin` to `end`."""
    height, width, b = x.shape[1], x.shape[2], x.shape[3]
    count = (width + 2 * padding - kernel) // stride + 1
    for row in range(begin, end):
        c, r, s = row // (kernel * kernel), row // kernel % kernel, row % kernel
        line = out[row]
        for i in range(some.shape[0]):
            run = some[i]
            y, at = run[0] * stride + r - padding, (run[3] - run[1]) * b
            if y < 0 or y >= height:
                clear(line[at + run[1] * b : at + run[2] * b])
                continue
            left, right = inside(run, width, count, stride, s - padding)
            clear(line[at + run[1] * b : at + left * b])
            clear(line[at + right * b : at + run[2] * b])
            source = x[c, y].reshape(-1)
            if stride == 1:
                first = (left + s - padding) * b
                put(line[at + left * b : at + right * b], source[first : first + (right - left) * b])
            else:
                for w in range(left, right):
                    first = (w * stride + s - padding) * b
                    put(line[at + w * b : at + (w + 1) * b], source[first : first + b])


def gather(x, kernel, stride, padding, some, out):
    """The columns `out` (C R^2, n B) of some windows, given as `runs`, of the images (C, H, W, B)."""
    threads.share(gather_piece, out.shape[0], 0.3 * out.size, x, kernel, stride, padding, some, out)


@njit(cache=True, nogil=True)
def scatter_piece(begin, end, columns, kernel, stride, padding, some, out):
    """`scatter` for the channels from `begin` to `end`."""
    height, width, b = out.shape[1], out.shape[2], out.shape[3]
    count = (width + 2 * padding - kernel) // stride + 1
    for row in range(begin * kernel * kernel, end * kernel * kernel):
        c, r, s = row // (kernel * kernel), row // kernel % kernel, row % kernel
        line = columns[row]
        for i in range(some.shape[0]):
            run = some[i]
            y, at = run[0] * stride + r - padding, (run[3] - run[1]) * b
            if y < 0 or y >= height:
                continue
            left, right = inside(run, width, count, stride, s - padding)
            target = out[c, y].reshape(-1)
            if stride == 1:
                first = (left + s - padding) * b
                add(target[first : first + (right - left) * b], line[at + left * b : at + right * b])
            else:
                for w in range(left, right):
                    first = (w * stride + s - padding) * b
                    add(target[first : first + b], line[at + w * b : at + (w + 1) * b])


def scatter(columns, kernel, stride, padding, some, out):
    """The columns (C R^2, n B) of some windows, given as `runs`, added to the images `out` (C, H, W, B)."""
    threads.share(scatter_piece, out.shape[0], 0.3 * columns.size, columns, kernel, stride, padding, some, out)


@njit(inline="always")
def challenge(best, winner, value, place):
    """Where `value` beats `best` put it there, and its place into `winner`; a NaN wins and stays."""
    for i in range(best.shape[0]):
        a, b = value[i], best[i]
        wins = (a > b) | (a != a)
        best[i] = a if wins else b
        winner[i] = place if wins else winner[i]


@njit(cache=True, nogil=True)
def max_pool_piece(begin, end, x, kernel, stride, padding, out, winner):
    """`max_pool` for the channels from `begin` to `end`."""
    for c in range(begin, end):
        for h in range(out.shape[1]):
            for w in range(out.shape[2]):
                best, place = out[c, h, w], winner[c, h, w]
                best[:] = -np.inf
                place[:] = 0
                for r in range(kernel):
                    y = h * stride + r - padding
                    for s in range(kernel):
                        z = w * stride + s - padding
                        if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]:
                            challenge(best, place, x[c, y, z], winner.dtype.type(r * kernel + s))


def max_pool(x, kernel, stride, padding, out, winner):
    """The largest value of every window of `x` (C, H, W, B) into `out` (C, H', W', B), its place into `winner`."""
    work = 0.3 * kernel * kernel * out.size
    threads.share(max_pool_piece, out.shape[0], work, x, kernel, stride, padding, out, winner)


@njit(inline="always")
def add_where(target, source, winner, place):
    """target += source where `place` won."""
    for i in range(target.shape[0]):
        target[i] += source[i] if winner[i] == place else source.dtype.type(0.0)


@njit(cache=True, nogil=True)
def max_pool_back_piece(begin, end, dy, winner, kernel, stride, padding, out):
    """`max_pool_back` for the channels from `begin` to `end`."""
    for c in range(begin, end):
        out[c] = 0.0
        for h in range(dy.shape[1]):
            for w in range(dy.shape[2]):
                for r in range(kernel):
                    y = h * stride + r - padding
                    for s in range(kernel):
                        z = w * stride + s - padding
                        if 0 <= y < out.shape[1] and 0 <= z < out.shape[2]:
                            place = winner.dtype.type(r * kernel + s)
                            add_where(out[c, y, z], dy[c, h, w], winner[c, h, w], place)


def max_pool_back(dy, winner, kernel, stride, padding, out):
    """Every value of `dy` (C, H', W', B) added to the pixel that won, in `out` (C, H, W, B), which is overwritten."""
    work = 0.3 * kernel * kernel * dy.size
    threads.share(max_pool_back_piece, out.shape[0], work, dy, winner, kernel, stride, padding, out)
