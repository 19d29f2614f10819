"""Errors of modulators and detectors, drawn and applied in one pass over a batch of light.

    sent as      |1 + a n| e^{i b n'} y           (`l2sim.chip.readout.modulated`; b in radians)
    read as      y + sigma (n + i n')             (`l2sim.chip.readout.field`)

Light y (any,) is real or complex, in single precision; n is a page of `kernels.draws.normal`, n' the page after it,
drawn in the tiles and in the precision of that.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from . import threads
from .draws import NUMBERS, SINGLE, TILE, fast, inline, tile


@inline
def circle(angle):
    """(cos, sin) of an angle in radians in single precision: Taylor terms on an eighth of a turn to both sides."""
    n = np.rint(angle * SINGLE(2.0 / math.pi))
    y = (angle - n * SINGLE(1.5703125)) - n * SINGLE(math.pi / 2.0 - 1.5703125)  # the first product is exact
    z = y * y
    sin = y + y * (z * (SINGLE(-1.0 / 6.0) + z * (SINGLE(1.0 / 120.0) + z * SINGLE(-1.0 / 5040.0))))
    cos = SINGLE(-0.5) + z * (SINGLE(1.0 / 24.0) + z * (SINGLE(-1.0 / 720.0) + z * SINGLE(1.0 / 40320.0)))
    cos = SINGLE(1.0) + z * cos
    quarter = np.int32(n)
    odd, back = (quarter & np.int32(1)) != np.int32(0), (quarter & np.int32(2)) != np.int32(0)
    x, w = (sin, cos) if odd else (cos, sin)
    return (-x if odd != back else x), (-w if back else w)


@fast
def errors(amplitude, phase, a, b):
    """Normal numbers a, b to the real and imaginary parts of |1 + amplitude a| e^{i phase b}, in place."""
    for i in range(a.size):
        size = SINGLE(1.0) + amplitude * a[i]
        size = size if size > SINGLE(0.0) else -size
        c, s = circle(phase * b[i])
        a[i], b[i] = size * c, size * s


@fast
def turned(y, a, b, out):
    """Light y times a + i b, to the real and imaginary parts `out` (any, 2)."""
    for i in range(y.size):
        real, imag = y[i].real, y[i].imag
        out[i, 0] = real * a[i] - imag * b[i]
        out[i, 1] = real * b[i] + imag * a[i]


@fast
def shaken(y, sigma, a, b, out):
    """Light y and sigma (a + i b), to the real and imaginary parts `out` (any, 2)."""
    for i in range(y.size):
        out[i, 0] = y[i].real + sigma * a[i]
        out[i, 1] = y[i].imag + sigma * b[i]


@njit(cache=True, nogil=True)
def modulated_tiles(begin, end, page, key, amplitude, phase, y, out):
    """Tiles `begin` to `end` of `modulated`."""
    w, a, b = np.empty((4, TILE), np.uint32), np.empty(NUMBERS, np.float32), np.empty(NUMBERS, np.float32)
    for number in range(begin, end):
        if amplitude != 0.0:
            tile(number, page, key, w, a)
        else:
            a[:] = 0.0
        tile(number, page + (amplitude != 0.0), key, w, b)
        some = slice(number * NUMBERS, (number + 1) * NUMBERS)
        errors(amplitude, phase, a, b)
        turned(y[some], a, b, out[some])


def modulated(page, key, amplitude, phase, y, out):
    """Light y as it is sent, `out` (any, 2) float32: relative `amplitude` and `phase` (radians) errors of such standard
    deviations. Where there is no amplitude error, none is drawn and n' is of `page`."""
    pieces = -(-y.size // NUMBERS)
    threads.share(modulated_tiles, pieces, 4.0 * y.size, page, key, SINGLE(amplitude), SINGLE(phase), y, out)


@njit(cache=True, nogil=True)
def read_tiles(begin, end, page, key, sigma, y, out):
    """Tiles `begin` to `end` of `read`."""
    w, a, b = np.empty((4, TILE), np.uint32), np.empty(NUMBERS, np.float32), np.empty(NUMBERS, np.float32)
    for number in range(begin, end):
        tile(number, page, key, w, a)
        tile(number, page + 1, key, w, b)
        some = slice(number * NUMBERS, (number + 1) * NUMBERS)
        shaken(y[some], sigma, a, b, out[some])


def read(page, key, sigma, y, out):
    """Light y as it is read, `out` (any, 2) float32: noise of the standard deviation `sigma` in each quadrature."""
    threads.share(read_tiles, -(-y.size // NUMBERS), 3.0 * y.size, page, key, SINGLE(sigma), y, out)
