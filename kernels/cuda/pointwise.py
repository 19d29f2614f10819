"""Batch normalisation and clipping (`kernels.pointwise`): a block for every channel, its sums a tree in float64."""

from __future__ import annotations

import math

from numba import cuda, float64

from .launch import SIMULATED, entry, run, spread

SIDE = 2 if SIMULATED else 256
"""Threads of a channel; a power of two, for the tree."""


@cuda.jit(device=True)
def tree(value, shared):
    """The sum of every thread's `value`, in all threads."""
    t = cuda.threadIdx.x
    cuda.syncthreads()
    shared[t] = value
    half = SIDE // 2
    while half > 0:
        cuda.syncthreads()
        if t < half:
            shared[t] += shared[t + half]
        half //= 2
    cuda.syncthreads()
    return shared[0]


@entry
def forward(x, weight, bias, eps, mean, var, inverse, y):
    """The loop of `normalise`: a block of threads for every channel."""
    shared = cuda.shared.array(SIDE, float64)
    c, n = cuda.blockIdx.x, x.shape[1]
    value = 0.0
    for i in range(cuda.threadIdx.x, n, SIDE):
        value += x[c, i]
    real = x.dtype.type
    centre = real(tree(value, shared) / n)
    value = 0.0
    for i in range(cuda.threadIdx.x, n, SIDE):
        d = x[c, i] - centre
        value += d * d
    spread_ = tree(value, shared) / n
    by = real(1.0 / math.sqrt(spread_ + eps))
    scale, shift = weight[c] * by, bias[c]
    for i in range(cuda.threadIdx.x, n, SIDE):
        y[c, i] = (x[c, i] - centre) * scale + shift
    if cuda.threadIdx.x == 0:
        mean[c], var[c], inverse[c] = centre, spread_, by


@entry
def backward(dy, x, weight, mean, inverse, dweight, dbias, dx):
    """The loop of `normalise_back`: a block of threads for every channel."""
    shared = cuda.shared.array(SIDE, float64)
    c, n = cuda.blockIdx.x, x.shape[1]
    centre, by = mean[c], inverse[c]
    plain, weighted = 0.0, 0.0
    for i in range(cuda.threadIdx.x, n, SIDE):
        plain += dy[c, i]
        weighted += dy[c, i] * (x[c, i] - centre)
    plain, weighted = tree(plain, shared), tree(weighted, shared)
    if cuda.threadIdx.x == 0:
        dbias[c] = plain
        dweight[c] = weighted * by
    if dx.shape[0] > 0:
        real = x.dtype.type
        scale, drop, tilt = weight[c] * by, real(plain / n), real(weighted * by * by / n)
        for i in range(cuda.threadIdx.x, n, SIDE):
            dx[c, i] = scale * (dy[c, i] - drop - (x[c, i] - centre) * tilt)


@entry
def clip_all(x, limit, y):
    """The loop of `clip`: a thread for every value."""
    n, zero = x.shape[1], x.dtype.type(0.0)
    for index in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        a = x[index // n, index % n]
        if a < zero:
            a = zero
        y[index // n, index % n] = limit if a > limit else a


@entry
def clip_back_all(dy, y, limit, dx):
    """The loop of `clip_back`: a thread for every value."""
    n, zero = y.shape[1], y.dtype.type(0.0)
    for index in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        c, i = index // n, index % n
        dx[c, i] = dy[c, i] if zero < y[c, i] and y[c, i] < limit else zero


def normalise(x, weight, bias, eps, mean, var, inverse, y):
    """As `kernels.pointwise.normalise`."""
    run(forward, x.shape[0], SIDE, x, weight, bias, eps, mean, var, inverse, y)


def normalise_back(dy, x, weight, mean, inverse, dweight, dbias, dx):
    """As `kernels.pointwise.normalise_back`."""
    run(backward, x.shape[0], SIDE, dy, x, weight, mean, inverse, dweight, dbias, dx)


def clip(x, limit, y):
    """As `kernels.pointwise.clip`."""
    spread(clip_all, x.size, x, limit, y)


def clip_back(dy, y, limit, dx):
    """As `kernels.pointwise.clip_back`."""
    spread(clip_back_all, y.size, dy, y, limit, dx)
