"""Batch normalisation and clipping (`kernels.pointwise`): a block for every channel, its sums a tree in float64.

And the optimisers (`l2sim.nn.optim`): all parameters in one launch, a row of blocks for each. Their addresses stand in
a table (P, 2 + slots) of the parameter, its gradient and its memory, beside their sizes (P,).
"""

from __future__ import annotations

import math

from numba import cuda, float64

from .launch import SIMULATED, THREADS, entry, memory, narrow, parted, run, spread

SIDE = 2 if SIMULATED else 256
"""Threads of a channel; a power of two, for the tree."""
ROW = 1 if SIMULATED else 1 << 8
"""The most blocks of a parameter."""


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
def forward(x, weight, bias, eps, low, high, momentum, running_mean, running_var, mean, inverse, y):
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
        a = (x[c, i] - centre) * scale + shift
        a = low if a < low else a
        y[c, i] = high if a > high else a
    if cuda.threadIdx.x == 0:
        mean[c], inverse[c] = centre, by
        running_mean[c] += momentum * (centre - running_mean[c])
        running_var[c] += momentum * (spread_ * n / (n - 1.0) - running_var[c])


@entry
def backward(dy, x, weight, bias, mean, inverse, low, high, dweight, dbias, dx):
    """The loop of `normalise_back`: a block of threads for every channel."""
    shared = cuda.shared.array(SIDE, float64)
    c, n = cuda.blockIdx.x, x.shape[1]
    centre, by = mean[c], inverse[c]
    scale, shift = weight[c] * by, bias[c]
    plain, weighted = 0.0, 0.0
    for i in range(cuda.threadIdx.x, n, SIDE):
        a = (x[c, i] - centre) * scale + shift
        if low < a and a < high:
            plain += dy[c, i]
            weighted += dy[c, i] * (x[c, i] - centre)
    plain, weighted = tree(plain, shared), tree(weighted, shared)
    if cuda.threadIdx.x == 0:
        dbias[c] = plain
        dweight[c] = weighted * by
    if dx.shape[0] > 0:
        real = x.dtype.type
        drop, tilt = real(plain / n), real(weighted * by * by / n)
        for i in range(cuda.threadIdx.x, n, SIDE):
            a = (x[c, i] - centre) * scale + shift
            own = dy[c, i] if low < a and a < high else real(0.0)
            dx[c, i] = scale * (own - drop - (x[c, i] - centre) * tilt)


@entry
def affine_all(x, mean, scale, bias, low, high, y):
    """The loop of `affine_clip`: a thread for every value."""
    n = x.shape[1]
    for index in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        c, i = parted(index, n)
        a = (x[c, i] - mean[c]) * scale[c] + bias[c]
        a = low if a < low else a
        y[c, i] = high if a > high else a


@entry
def clip_all(x, limit, y):
    """The loop of `clip`: a thread for every value."""
    n, zero = x.shape[1], x.dtype.type(0.0)
    for index in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        c, i = parted(index, n)
        a = x[c, i]
        if a < zero:
            a = zero
        y[c, i] = limit if a > limit else a


@entry
def clip_back_all(dy, y, limit, dx):
    """The loop of `clip_back`: a thread for every value."""
    n, zero = y.shape[1], y.dtype.type(0.0)
    for index in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        c, i = parted(index, n)
        dx[c, i] = dy[c, i] if zero < y[c, i] and y[c, i] < limit else zero


def normalise(x, weight, bias, eps, low, high, momentum, running_mean, running_var, mean, inverse, y):
    """`kernels.pointwise.normalise`, what it gives clipped to [low, high]; running statistics move by `momentum` to
    those of the batch."""
    run(
        forward, x.shape[0], SIDE, x, weight, bias, eps, low, high, momentum, running_mean, running_var, mean, inverse,
        y,
    )  # fmt: skip


def normalise_back(dy, x, weight, bias, mean, inverse, low, high, dweight, dbias, dx):
    """The gradients of `normalise`, as `kernels.pointwise.normalise_back` and `normalise_clip_back`."""
    run(backward, x.shape[0], SIDE, dy, x, weight, bias, mean, inverse, low, high, dweight, dbias, dx)


def affine_clip(x, mean, scale, bias, low, high, y):
    """As `kernels.pointwise.affine_clip`."""
    spread(affine_all, narrow(x.size), x, mean, scale, bias, low, high, y)


def clip(x, limit, y):
    """As `kernels.pointwise.clip`."""
    spread(clip_all, narrow(x.size), x, limit, y)


def clip_back(dy, y, limit, dx):
    """As `kernels.pointwise.clip_back`."""
    spread(clip_back_all, narrow(y.size), dy, y, limit, dx)


# -- optimisers --------------------------------------------------------------------------------------------------------


# In the module: around a kernel they would be part of what it is kept by on disk, and new in every process.
load, store = memory()


@entry
def adam(table, sizes, one, decay, shrink, first, second, root, eps, rate):
    """`l2sim.nn.optim.adam`, and with `shrink` `adamw`. All scalars are of the parameters' type."""
    row = table[cuda.blockIdx.y]
    for i in range(cuda.grid(1), sizes[cuda.blockIdx.y], cuda.gridsize(1)):
        p = load(row[0], i, one) * shrink
        g = load(row[1], i, one) + decay * p
        mean = load(row[2], i, one)
        mean += (one - first) * (g - mean)
        square = load(row[3], i, one) * second + g * g * (one - second)
        store(row[2], i, mean)
        store(row[3], i, square)
        store(row[0], i, p - rate * (mean / (type(one)(math.sqrt(square)) / root + eps)))


@entry
def sgd(table, sizes, one, decay, momentum, nesterov, rate):
    """`l2sim.nn.optim.sgd`; `nesterov` 0 or 1."""
    row = table[cuda.blockIdx.y]
    for i in range(cuda.grid(1), sizes[cuda.blockIdx.y], cuda.gridsize(1)):
        p = load(row[0], i, one)
        g = load(row[1], i, one) + decay * p
        velocity = load(row[2], i, one) * momentum + g
        store(row[2], i, velocity)
        store(row[0], i, p - rate * (g + momentum * velocity if nesterov > 0 else velocity))


def updated(rule, real, largest, table, sizes, *scalars):
    """One step by a rule, `adam` or `sgd`, of parameters of NumPy's type `real`, the largest of so many numbers."""
    blocks = min(-(-largest // THREADS), ROW)
    run(rule, (blocks, sizes.size), THREADS, table, sizes, real(1.0), *map(real, scalars))
