"""Batch normalisation and clipping, each in as few passes over memory as there can be.

    xhat = (x - mean) / sqrt(var + eps)     y = w xhat + b                      (Ioffe & Szegedy 2015, Alg. 1)
    db = sum dy,  dw = sum dy xhat          dx = w / sqrt(var + eps) (dy - db / n - xhat dw / n)

per channel, arrays (C, n). `normalise_clip` clips y to [0, limit] in the same pass, and `affine_clip` does so with
statistics that are given; both give what two passes give. One channel stays in the cache between its passes. Sums run
over pieces of PIECE values in the array's precision and over pieces in float64.
"""

from __future__ import annotations

import math

from numba import njit

from . import threads

PIECE = 1024


@njit(fastmath={"contract", "reassoc"})
def total(x):
    """Sum of a piece."""
    sum_ = x.dtype.type(0.0)
    for i in range(x.shape[0]):
        sum_ += x[i]
    return sum_


@njit(fastmath={"contract", "reassoc"})
def spread(x, mean):
    """Sum of (x - mean)^2 of a piece."""
    sum_ = x.dtype.type(0.0)
    for i in range(x.shape[0]):
        d = x[i] - mean
        sum_ += d * d
    return sum_


@njit(fastmath={"contract", "reassoc"})
def along(dy, x, mean):
    """Sums of dy and of dy (x - mean) of a piece."""
    plain = x.dtype.type(0.0)
    weighted = x.dtype.type(0.0)
    for i in range(x.shape[0]):
        plain += dy[i]
        weighted += dy[i] * (x[i] - mean)
    return plain, weighted


@njit(cache=True, nogil=True)
def normalise_piece(begin, end, x, weight, bias, eps, mean, var, inverse, y):
    """`normalise` for the channels from `begin` to `end`."""
    n = x.shape[1]
    for c in range(begin, end):
        line, target = x[c], y[c]
        big = 0.0
        for lo in range(0, n, PIECE):
            big += total(line[lo : lo + PIECE])
        mean[c] = big / n
        centre = mean[c]
        big = 0.0
        for lo in range(0, n, PIECE):
            big += spread(line[lo : lo + PIECE], centre)
        var[c] = big / n
        inverse[c] = 1.0 / math.sqrt(big / n + eps)
        scale, shift = weight[c] * inverse[c], bias[c]
        for i in range(n):
            target[i] = (line[i] - centre) * scale + shift


def normalise(x, weight, bias, eps, mean, var, inverse, y):
    """Normalise every channel of `x` (C, n) by its own batch; also writes `mean`, biased `var`, 1 / std (C,)."""
    threads.share(normalise_piece, x.shape[0], 0.2 * x.size, x, weight, bias, eps, mean, var, inverse, y)


@njit(cache=True, nogil=True)
def normalise_back_piece(begin, end, dy, x, weight, mean, inverse, dweight, dbias, dx):
    """`normalise_back` for the channels from `begin` to `end`."""
    n = x.shape[1]
    for c in range(begin, end):
        line, error, centre = x[c], dy[c], mean[c]
        plain, weighted = 0.0, 0.0
        for lo in range(0, n, PIECE):
            a, b = along(error[lo : lo + PIECE], line[lo : lo + PIECE], centre)
            plain += a
            weighted += b
        dbias[c] = plain
        dweight[c] = weighted * inverse[c]
        if dx.shape[0] > 0:
            target, scale = dx[c], weight[c] * inverse[c]
            drop, tilt = dbias.dtype.type(plain / n), dbias.dtype.type(weighted * inverse[c] * inverse[c] / n)
            for i in range(n):
                target[i] = scale * (error[i] - drop - (line[i] - centre) * tilt)


def normalise_back(dy, x, weight, mean, inverse, dweight, dbias, dx):
    """The gradients `dweight`, `dbias` (C,) and, where `dx` has channels, the input gradient `dx` (C, n)."""
    threads.share(normalise_back_piece, x.shape[0], 0.2 * x.size, dy, x, weight, mean, inverse, dweight, dbias, dx)


@njit(inline="always")
def clipped(a, low, high):
    """`a` clipped to [low, high]; a NaN stays."""
    a = low if a < low else a
    return high if a > high else a


@njit(inline="always")
def moments(line, eps):
    """Mean, biased variance and 1 / std of a channel."""
    n = line.shape[0]
    big = 0.0
    for lo in range(0, n, PIECE):
        big += total(line[lo : lo + PIECE])
    mean = line.dtype.type(big / n)
    big = 0.0
    for lo in range(0, n, PIECE):
        big += spread(line[lo : lo + PIECE], mean)
    return mean, big / n, 1.0 / math.sqrt(big / n + eps)


@njit(cache=True, nogil=True)
def normalise_clip_piece(begin, end, x, weight, bias, eps, limit, mean, var, inverse, y):
    """`normalise_clip` for the channels from `begin` to `end`."""
    low = x.dtype.type(0.0)
    for c in range(begin, end):
        line, target = x[c], y[c]
        mean[c], var[c], inverse[c] = moments(line, eps)
        centre, scale, shift = mean[c], weight[c] * inverse[c], bias[c]
        for i in range(x.shape[1]):
            target[i] = clipped((line[i] - centre) * scale + shift, low, limit)


def normalise_clip(x, weight, bias, eps, limit, mean, var, inverse, y):
    """`normalise`, and `clip` of what it gives."""
    threads.share(
        normalise_clip_piece, x.shape[0], 0.2 * x.size, x, weight, bias, eps, limit, mean, var, inverse, y
    )


@njit(cache=True, nogil=True)
def normalise_clip_back_piece(begin, end, dy, x, weight, bias, mean, inverse, limit, dweight, dbias, dx):
    """`normalise_clip_back` for the channels from `begin` to `end`."""
    n, none = x.shape[1], dy.dtype.type(0.0)
    for c in range(begin, end):
        line, error, target, centre = x[c], dy[c], dx[c], mean[c]
        scale, shift = weight[c] * inverse[c], bias[c]
        plain, weighted = 0.0, 0.0
        for lo in range(0, n, PIECE):
            for i in range(lo, min(lo + PIECE, n)):
                a = (line[i] - centre) * scale + shift
                target[i] = error[i] if (a > none) & (a < limit) else none
            a, b = along(target[lo : lo + PIECE], line[lo : lo + PIECE], centre)
            plain += a
            weighted += b
        dbias[c] = plain
        dweight[c] = weighted * inverse[c]
        drop, tilt = dbias.dtype.type(plain / n), dbias.dtype.type(weighted * inverse[c] * inverse[c] / n)
        for i in range(n):
            target[i] = scale * (target[i] - drop - (line[i] - centre) * tilt)


def normalise_clip_back(dy, x, weight, bias, mean, inverse, limit, dweight, dbias, dx):
    """`normalise_back` of what `clip_back` gives. `dx` has channels, wanted or not."""
    threads.share(
        normalise_clip_back_piece, x.shape[0], 0.2 * x.size, dy, x, weight, bias, mean, inverse, limit, dweight, dbias,
        dx,
    )  # fmt: skip


@njit(cache=True, nogil=True)
def affine_clip_piece(begin, end, x, mean, scale, bias, low, high, y):
    """`affine_clip` for the channels from `begin` to `end`."""
    for c in range(begin, end):
        line, target, centre, tilt, shift = x[c], y[c], mean[c], scale[c], bias[c]
        for i in range(x.shape[1]):
            target[i] = clipped((line[i] - centre) * tilt + shift, low, high)


def affine_clip(x, mean, scale, bias, low, high, y):
    """(x - mean) scale + bias of every channel of `x` (C, n), clipped to [low, high]."""
    threads.share(affine_clip_piece, x.shape[0], 0.1 * x.size, x, mean, scale, bias, low, high, y)


@njit(cache=True, nogil=True)
def clip_piece(begin, end, x, limit, y):
    """`clip` for the channels from `begin` to `end`."""
    for c in range(begin, end):
        line, target = x[c], y[c]
        for i in range(x.shape[1]):
            a = line[i]
            a = x.dtype.type(0.0) if a < 0.0 else a
            target[i] = limit if a > limit else a


def clip(x, limit, y):
    """`x` (C, n) clipped to [0, limit]; a NaN stays."""
    threads.share(clip_piece, x.shape[0], 0.1 * x.size, x, limit, y)


@njit(cache=True, nogil=True)
def clip_back_piece(begin, end, dy, y, limit, dx):
    """`clip_back` for the channels from `begin` to `end`."""
    for c in range(begin, end):
        line, source, target = y[c], dy[c], dx[c]
        for i in range(y.shape[1]):
            inside = (line[i] > 0.0) & (line[i] < limit)
            target[i] = source[i] if inside else dy.dtype.type(0.0)


def clip_back(dy, y, limit, dx):
    """`dy` (C, n) where the clipped `y` lies inside (0, limit), else 0."""
    threads.share(clip_back_piece, y.shape[0], 0.15 * y.size, dy, y, limit, dx)


@njit(cache=True, nogil=True)
def amplitude_back_piece(begin, end, dy, x, y, tiny, out):
    """`amplitude_back` for the rows from `begin` to `end`."""
    for c in range(begin, end):
        error, line, size, target = dy[c], x[c], y[c], out[c]
        for i in range(size.shape[0]):
            share = error[i] / (tiny if size[i] < tiny else size[i])
            target[2 * i] = line[2 * i] * share
            target[2 * i + 1] = line[2 * i + 1] * -share


def amplitude_back(dy, x, y, tiny, out):
    """dy conj(x) / |x| of fields `x` (N, 2 B), real and imaginary parts in turns, with |x| = `y` (N, B), at least
    `tiny`; `dy` (N, B), `out` as `x`."""
    threads.share(amplitude_back_piece, y.shape[0], 1.0 * y.size, dy, x, y, tiny, out)
