"""NumPy's functions of numbers for the GPU, where Numba's CUDA target has none: `launch.device` puts them in place."""

from __future__ import annotations

import math

import numpy as np
from numba import cuda

float64 = np.float64
int32, int64, uint32, uint64 = np.int32, np.int64, np.uint32, np.uint64


@cuda.jit(device=True)
def mod(x, y):
    """As NumPy: the sign is that of y."""
    return x % y


@cuda.jit(device=True)
def rint(x):
    """The nearest whole number, of two the even one."""
    return type(x)(round(x))


@cuda.jit(device=True)
def floor(x):
    """The largest whole number that is not above `x`."""
    return type(x)(math.floor(x))


@cuda.jit(device=True)
def searchsorted(a, x, side):
    """How many of the rising `a` lie below x (side "left")."""
    lo, hi = 0, a.size
    while lo < hi:
        middle = (lo + hi) // 2
        if a[middle] < x:
            lo = middle + 1
        else:
            hi = middle
    return lo


@cuda.jit(device=True)
def sqrt(x):
    """The square root, in the precision of x."""
    return math.sqrt(x)
