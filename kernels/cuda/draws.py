"""Random numbers by their place (`kernels.draws`): a thread for every counter, the same words as on the CPU.

Words are the same bit for bit; what is made of them differs by the rounding of a square root, a division or a product
that is added in one step.
"""

from __future__ import annotations

import math

import numpy as np
from numba import cuda, float64, uint32, uint64

from .. import draws as cpu
from .launch import SIMULATED, device, entry, spread

TILE, NUMBERS, BLOCK = cpu.TILE, cpu.NUMBERS, int(cpu.BLOCK)
philox, pair, log_of_share = device(cpu.philox), device(cpu.pair), device(cpu.log_of_share)
log = device(cpu.log)
if SIMULATED:  # NumPy's whole numbers warn where they wrap
    philox, pair, log_of_share, log = (np.errstate(over="ignore")(f.fn) for f in (philox, pair, log_of_share, log))


@cuda.jit(device=True)
def words(place, page, attempt, k0, k1):
    """The four words of a place, under the key of two words."""
    at, last = uint64(place), uint64(page)
    low, half = uint64(0xFFFFFFFF), uint64(32)
    return philox(
        at & low, at >> half, last & low, ((last >> half) << uint64(8)) | uint64(attempt), uint64(k0), uint64(k1)
    )  # fmt: skip


@cuda.jit(device=True)
def normal_at(index, page, k0, k1):
    """Number `index` of a page of normal numbers, where `kernels.draws.tile` has it."""
    number, rest = index // NUMBERS, index % NUMBERS
    a, b, c, d = words(number * TILE + rest % TILE, page, 0, k0, k1)
    quarter = rest // TILE
    x, y = pair(uint32(a if quarter < 2 else c), uint32(b if quarter < 2 else d))
    return x if quarter % 2 == 0 else y


@entry
def normal_all(page, k0, k1, out):
    """The loop of `normal`."""
    for index in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        out[index] = normal_at(index, page, k0, k1)


@entry
def add_all(page, k0, k1, std, out):
    """The loop of `add`."""
    columns = out.shape[1]
    for index in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        row = index // columns
        out[row, index % columns] += std[row] * normal_at(index, page, k0, k1)


@cuda.jit(device=True)
def attempt_at(shape, x, word):
    """One attempt at a gamma of `shape` (`kernels.draws.gammas`), 0 where it fails."""
    d = shape - 1.0 / 3.0
    root = 1.0 + x / math.sqrt(9.0 * d)
    v = root * root * root
    bound = 0.5 * x * x + d * (1.0 - v + log(float64(v if v > cpu.TINY else cpu.TINY)))
    return d * v if root > 0.0 and log_of_share(uint32(word)) < bound else 0.0


@cuda.jit(device=True)
def gamma_at(shape, place, page, k0, k1, x, word):
    """A gamma of `shape`, by as many attempts as it takes (`kernels.draws.again`)."""
    gamma = attempt_at(shape, float64(x), word)
    attempt = 1
    while gamma == 0.0 and attempt < 256:
        a, b, c, _ = words(place, page, attempt, k0, k1)
        gamma = attempt_at(shape, float64(pair(uint32(a), uint32(b))[0]), c)
        attempt += 1
    return gamma if gamma > 0.0 else shape


@cuda.jit(device=True)
def numbers_at(place, page, k0, k1, a, b, c, shape, out):
    """out (m,) <- m - 1 normal numbers of a place and twice a gamma of `shape` (0: none); words a, b, c are of
    the first attempt."""
    last = out.shape[0] - 1
    x, z = pair(uint32(a), uint32(b))
    out[0] = z
    out[last] = 2.0 * gamma_at(shape, place, page, k0, k1, x, c) if shape > 0.0 else 0.0
    for n in range(1, last, 2):
        if n % 4 == 1:
            a, b, c, d = words(uint64(place) | uint64((n + 3) // 4) << uint64(BLOCK), page, 0, k0, k1)
            x, z = pair(uint32(a), uint32(b))
        else:
            x, z = pair(uint32(c), uint32(d))
        out[n] = x
        if n + 1 < last:
            out[n + 1] = z


@entry
def readings_all(page, k0, k1, first, kind, shapes, thresholds, aliases, out):
    """The loop of `readings`: a thread for every reading."""
    each, size = out.shape[1], thresholds.shape[1]
    for index in range(cuda.grid(1), out.shape[0] * each, cuda.gridsize(1)):
        core, at = index // each, index % each
        place, own = first * each + index, kind[core]
        a, b, c, d = words(place, page, 0, k0, k1)
        shape = shapes[own]
        if size > 0:  # Walker's table, as `kernels.draws.mixed`
            scaled = uint64(d) * uint64(size)
            number = int(scaled >> uint64(32))
            shape += number if (scaled & uint64(0xFFFFFFFF)) < uint64(thresholds[own, number]) else aliases[own, number]
        numbers_at(place, page, k0, k1, a, b, c, shape, out[core, at])


def normal(page, key, out):
    """As `kernels.draws.normal`."""
    spread(normal_all, out.size, page, *map(int, key), out)


def add(page, key, std, out):
    """As `kernels.draws.add`."""
    spread(add_all, out.size, page, *map(int, key), std, out)


def readings(page, key, first, kind, shapes, thresholds, aliases, out):
    """As `kernels.draws.readings`."""
    count, where = out.shape[0] * out.shape[1], (page, *map(int, key), first)
    spread(readings_all, count, *where, kind, shapes, thresholds, aliases, out)
