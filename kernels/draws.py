"""Random numbers by their place: what is drawn does not depend on threads, devices or on who drew before.

    words    four numbers of 32 bits from a counter of four and a key of two: Philox4x32-10 (Salmon et al., SC 2011)
    normal   two from two words: sqrt(-2 ln u) (cos, sin)(2 pi v) (Box and Muller, Ann. Math. Stat. 29, 610 (1958));
             u and v have 32 bits, so that no |z| exceeds 6.8: of 1e11 numbers, one would
    gamma    of shape a >= 1/2 by rejection (Marsaglia and Tsang, ACM Trans. Math. Softw. 26, 363 (2000)); twice a gamma
             of shape d/2 is a chi-square of d degrees of freedom

A stream is a key (2,) and is drawn from page by page (`l2sim.streams`). The counter of four words: the place on the
page (64 bits), the page (32 bits), and a word with 24 bits more of the page and 8 that count the attempts at a gamma.
Normal numbers are made in single precision whatever precision they are asked for, and have its 24 bits. Work is done
in tiles, the place innermost, so that loops over a tile are vector operations; division never raises, for a check would
keep them from it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numba.core.cgutils import ir
from numba.extending import intrinsic

from . import threads

TILE = 256
"""Counters that are worked at a time: four words each."""
NUMBERS = 4 * TILE
"""Normal numbers of a tile."""
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
SINGLE, DOUBLE = np.float32, np.float64
LN2 = 0.6931471805599453
ROOT, MANTISSA, WIDTH = np.int32(0x3F3504F3), np.int32(0x007FFFFF), np.int32(23)
ROOT_2, MANTISSA_2, WIDTH_2 = np.int64(0x3FE6A09E667F3BCD), np.int64(0x000FFFFFFFFFFFFF), np.int64(52)
"""The bits of sqrt(1/2), those of a mantissa and their number, in single and in double precision."""
QUARTER, EIGHTH = np.int32(30), np.int32(1 << 29)
"""A turn has 2^32 parts: the bits of a quarter of it, and an eighth."""
TINY = 1e-300
BLOCK = np.uint64(48)
"""More than four numbers of one place are drawn at places this many bits higher."""

fast = njit(fastmath={"contract"}, error_model="numpy")
inline = njit(inline="always", fastmath={"contract"}, error_model="numpy")


@inline
def round_(x0, x1, x2, x3, k0, k1):
    """One round of Philox4x32; words of 32 bits in numbers of 64."""
    a, b = M0 * x0, M1 * x2
    return (b >> HALF) ^ x1 ^ k0, b & LOW, (a >> HALF) ^ x3 ^ k1, a & LOW


@inline
def philox(x0, x1, x2, x3, k0, k1):
    """The four words of a counter under a key."""
    for _ in range(9):
        x0, x1, x2, x3 = round_(x0, x1, x2, x3, k0, k1)
        k0, k1 = (k0 + W0) & LOW, (k1 + W1) & LOW
    return round_(x0, x1, x2, x3, k0, k1)


@fast
def words(first, page, attempt, key, w0, w1, w2, w3):
    """The words, uint32, of as many counters from place `first` on as the arrays have room for."""
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    x2 = np.uint64(page) & LOW
    x3 = ((np.uint64(page) >> HALF) << np.uint64(8)) | np.uint64(attempt)
    begin = np.uint64(first)
    for l in range(w0.size):
        at = begin + np.uint64(l)
        a, b, c, d = philox(at & LOW, at >> HALF, x2, x3, k0, k1)
        w0[l], w1[l], w2[l], w3[l] = np.uint32(a), np.uint32(b), np.uint32(c), np.uint32(d)


def same_bits(number, of, name):
    """The intrinsic that takes the bits of one type for those of another."""
    kinds = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}
    kind = kinds[number] if number in kinds else ir.IntType(number.bitwidth)

    def cast(typing, x):
        return number(of), lambda context, builder, signature, args: builder.bitcast(args[0], kind)

    cast.__name__ = name
    return intrinsic(cast)


bits, real = same_bits(types.int32, types.float32, "bits"), same_bits(types.float32, types.int32, "real")
bits_2, real_2 = same_bits(types.int64, types.float64, "bits_2"), same_bits(types.float64, types.int64, "real_2")


@inline
def log(x):
    """ln x of a normal x > 0 without a branch: x = 2^e m with m around 1, ln m = 2 artanh((m - 1) / (m + 1))."""
    shifted = bits_2(x) - ROOT_2
    m = real_2((shifted & MANTISSA_2) + ROOT_2)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    p = 2.0 / 11.0 + z * (2.0 / 13.0 + z * (2.0 / 15.0 + z * (2.0 / 17.0)))
    p = 2.0 / 3.0 + z * (2.0 / 5.0 + z * (2.0 / 7.0 + z * (2.0 / 9.0 + z * p)))
    return DOUBLE(shifted >> WIDTH_2) * LN2 + s * (2.0 + z * p)


@inline
def log_of_share(word):
    """ln u of the u in (0, 1] that a word of 32 bits stands for, in single precision: u has 24 bits near 1."""
    shifted = bits(SINGLE(word) + SINGLE(0.5)) - ROOT
    m = real((shifted & MANTISSA) + ROOT)
    s = (m - SINGLE(1.0)) / (m + SINGLE(1.0))
    z = s * s
    p = SINGLE(2.0 / 3.0) + z * (SINGLE(2.0 / 5.0) + z * (SINGLE(2.0 / 7.0) + z * SINGLE(2.0 / 9.0)))
    return SINGLE((shifted >> WIDTH) - np.int32(32)) * SINGLE(LN2) + s * (SINGLE(2.0) + z * p)


@inline
def pair(a, b):
    """Two normal numbers from two words, in single precision. The angle is cut at odd eighths of a turn, exactly."""
    r = np.sqrt(SINGLE(-2.0) * log_of_share(a))
    angle = np.int32(b)
    quarter = (angle + EIGHTH) >> QUARTER
    y = SINGLE(angle - (quarter << QUARTER)) * SINGLE(math.pi / 2.0**31)
    z = y * y
    sin = z * (SINGLE(1.0 / 120.0) + z * (SINGLE(-1.0 / 5040.0) + z * SINGLE(1.0 / 362880.0)))
    sin = y + y * (z * SINGLE(-1.0 / 6.0) + z * sin)
    cos = SINGLE(1.0 / 24.0) + z * (SINGLE(-1.0 / 720.0) + z * SINGLE(1.0 / 40320.0))
    cos = SINGLE(1.0) + z * (SINGLE(-0.5) + z * cos)
    odd, back = (quarter & np.int32(1)) != np.int32(0), (quarter & np.int32(2)) != np.int32(0)
    x, w = (sin, cos) if odd else (cos, sin)
    return r * (-x if odd != back else x), r * (-w if back else w)


@fast
def pairs(a, b, x, y):
    """Normal numbers x and y from words a and b."""
    for l in range(a.size):
        x[l], y[l] = pair(a[l], b[l])


# -- many normal numbers -----------------------------------------------------------------------------------------------


@fast
def tile(number, page, key, w, z):
    """Tile `number` of a page of normal numbers, z (NUMBERS,); `w` (4, TILE) is room for words."""
    words(np.uint64(number * TILE), page, 0, key, w[0], w[1], w[2], w[3])
    pairs(w[0], w[1], z[:TILE], z[TILE : 2 * TILE])
    pairs(w[2], w[3], z[2 * TILE : 3 * TILE], z[3 * TILE :])


@njit(cache=True, nogil=True)
def normal_tiles(begin, end, page, key, out):
    """Tiles `begin` to `end` of a page of normal numbers out (any,)."""
    w, z = np.empty((4, TILE), np.uint32), np.empty(NUMBERS, np.float32)
    for number in range(begin, end):
        tile(number, page, key, w, z)
        own = out[number * NUMBERS : (number + 1) * NUMBERS]
        for i in range(own.size):
            own[i] = z[i]


def normal(page, key, out):
    """A page of normal numbers, out (any,)."""
    threads.share(normal_tiles, -(-out.size // NUMBERS), 1.5 * out.size, page, key, out)


@fast
def add_some(own, std, z):
    """own += std z."""
    for i in range(own.size):
        own[i] += std * z[i]


@njit(cache=True, nogil=True)
def add_tiles(begin, end, page, key, std, columns, flat):
    """Tiles `begin` to `end` of a page of normal numbers times std (rows,), added to flat (rows columns,)."""
    w, z = np.empty((4, TILE), np.uint32), np.empty(NUMBERS, np.float32)
    for number in range(begin, end):
        tile(number, page, key, w, z)
        first, last = number * NUMBERS, min((number + 1) * NUMBERS, flat.size)
        at = first
        while at < last:  # row by row
            row = at // columns
            to = min(last, (row + 1) * columns)
            add_some(flat[at:to], std[row], z[at - first : to - first])
            at = to


def add(page, key, std, out):
    """A page of normal numbers times std (rows,), added to out (rows, columns), contiguous."""
    tiles = -(-out.size // NUMBERS)
    threads.share(add_tiles, tiles, 2.0 * out.size, page, key, std, out.shape[1], out.reshape(-1))


# -- readings: normal numbers and a chi-square ------------------------------------------------------------------------


@fast
def gammas(shape, x, word, out, taken):
    """One attempt at gammas of `shape`, from normal numbers `x` and words; `taken` says where it succeeded."""
    for l in range(x.size):
        d = shape[l] - 1.0 / 3.0
        root = 1.0 + x[l] / np.sqrt(9.0 * d)
        v = root * root * root
        bound = 0.5 * x[l] * x[l] + d * (1.0 - v + log(v if v > TINY else TINY))
        taken[l] = (root > 0.0) & (log_of_share(word[l]) < bound)
        out[l] = d * v


@njit(error_model="numpy")
def again(shape, place, page, key, w, x):
    """A gamma of `shape` by further attempts of this place; room for a word each."""
    for attempt in range(1, 256):
        words(place, page, attempt, key, *w)
        x[0] = pair(w[0][0], w[1][0])[0]
        root = 1.0 + x[0] / math.sqrt(9.0 * (shape - 1.0 / 3.0))
        if root > 0.0:
            d, v = shape - 1.0 / 3.0, root * root * root
            if log_of_share(w[2][0]) < 0.5 * x[0] * x[0] + d * (1.0 - v + math.log(v)):
                return d * v
    return shape  # of 256 attempts at shape 1/2, all fail once in 1e100


@fast
def mixed(word, kind, thresholds, aliases, shape):
    """shape += a whole number of the distribution `kind`, by Walker's table (Electron. Lett. 10, 127 (1974))."""
    size = thresholds.shape[1]
    width = 0
    while 1 << width < size:
        width += 1
    for l in range(word.size):
        number = np.int64(word[l]) * size >> 32
        part = np.uint32(np.int64(word[l]) << width & 0xFFFFFFFF)
        own = kind[l]
        shape[l] += number if part < thresholds[own, number] else aliases[own, number]


@njit(error_model="numpy")
def several(first, page, key, kind, shapes, thresholds, aliases, room, out):
    """out (count, m), at most TILE places from `first` on: m - 1 normal numbers and a chi-square each.

    `kind` (count,): which of the `shapes`, and of the tables that add to them (if there are any), a place has; a shape
    of 0 gives 0.
    """
    w, x, z, gamma, shape, taken = room
    count, last = out.shape[0], out.shape[1] - 1
    w0, w1, w2, w3 = w[0, :count], w[1, :count], w[2, :count], w[3, :count]
    x, z, gamma, shape, taken = x[:count], z[:count], gamma[:count], shape[:count], taken[:count]
    begin = np.uint64(first)
    words(begin, page, 0, key, w0, w1, w2, w3)
    for l in range(count):
        shape[l] = shapes[kind[l]]
    if thresholds.shape[1]:
        mixed(w3, kind, thresholds, aliases, shape)
    pairs(w0, w1, x, z)
    for l in range(count):
        out[l, 0] = z[l]
    gammas(shape, x, w2, gamma, taken)
    for l in range(count):
        if shape[l] == 0.0:
            gamma[l] = 0.0
        elif not taken[l]:
            gamma[l] = again(shape[l], begin + np.uint64(l), page, key, (w0[:1], w1[:1], w2[:1], w3[:1]), x[:1])
        out[l, last] = 2.0 * gamma[l]
    for n in range(1, last, 2):
        if n % 4 == 1:
            words(begin | np.uint64((n + 3) // 4) << BLOCK, page, 0, key, w0, w1, w2, w3)
            pairs(w0, w1, x, z)
        else:
            pairs(w2, w3, x, z)
        for l in range(count):
            out[l, n] = x[l]
        if n + 1 < last:
            for l in range(count):
                out[l, n + 1] = z[l]


@njit
def desk():
    """Room for `several`."""
    words, numbers, wide = np.empty((4, TILE), np.uint32), np.empty((2, TILE), np.float32), np.empty((2, TILE))
    return words, numbers[0], numbers[1], wide[0], wide[1], np.empty(TILE, np.bool_)


@njit(cache=True, nogil=True)
def reading_tiles(begin, end, page, key, first, each, kind, shapes, thresholds, aliases, flat):
    """Tiles `begin` to `end` of `readings`: flat (cores each, m)."""
    room, own = desk(), np.empty(TILE, np.int64)
    for number in range(begin, end):
        start, last = number * TILE, min((number + 1) * TILE, flat.shape[0])
        at = start
        while at < last:
            core = at // each
            to = min(last, (core + 1) * each)
            own[at - start : to - start] = kind[core]
            at = to
        some = flat[start:last]
        several(first * each + start, page, key, own[: last - start], shapes, thresholds, aliases, room, some)


def readings(page, key, first, kind, shapes, thresholds, aliases, out):
    """What readings of cores need, out (cores, readings, m), from core `first` of the page on.

    m - 1 normal numbers and a chi-square of 2 shapes[kind] degrees of freedom a reading; or, where there are tables
    (kinds, 2^b), twice a gamma whose shape is larger by what they say.
    """
    (_, each, m), flat = out.shape, out.reshape(-1, out.shape[2])
    threads.share(
        reading_tiles, -(-len(flat) // TILE), 4.0 * len(flat) * m, page, key, first, each, kind, shapes, thresholds,
        aliases, flat,
    )  # fmt: skip
