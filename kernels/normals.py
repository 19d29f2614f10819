"""Standard normal numbers, many at a time: a counter is hashed, and two uniform numbers make two normal ones.

    z0 = sqrt(-2 ln u) cos(2 pi v),   z1 = sqrt(-2 ln u) sin(2 pi v)     (Box & Muller, Ann. Math. Stat. 29, 610 (1958))

The hash multiplies and folds a 32-bit counter under a 64-bit key, as MurmurHash3 ends (A. Appleby), with a word of
the key mixed in before each round. Every number is its own and no loop has a branch, which makes it several times as
fast as a generator that goes on from number to number. Keys come from NumPy's generators, a fresh one for each array.

In single precision; u has 32 bits, so that no |z| is larger than 6.7.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .couplers import FUSED

A, B, C = np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35), np.uint32(0x9E3779B9)
ROOT = np.uint32(0x3F3504F3)
"""sqrt(1/2) as a float32 is stored."""
OVER = np.uint32(0x3F800000 - 0x3F3504F3)
SIZE = 1024
"""Numbers that are made at once: what lies between is in the first cache."""
# ln m on [sqrt(1/2), sqrt(2)) in s = (m - 1) / (m + 1): 2 (s + s^3 / 3 + ...), to 2e-8.
L3, L5, L7, L9 = (np.float32(2.0 / k) for k in (3, 5, 7, 9))
LN2 = np.float32(0.6931471805599453)
# sin and cos of pi/2 r, r in [-1/2, 1/2]: Taylor, to 4e-8.
QUARTER = 1.5707963267948966
S = tuple(np.float32(QUARTER**k / f) for k, f in ((1, 1), (3, -6), (5, 120), (7, -5040), (9, 362880)))
D = tuple(np.float32(QUARTER**k / f) for k, f in ((2, -2), (4, 24), (6, -720), (8, 40320)))


@njit(inline="always")
def mixed(x, low, high):
    """32 bits of a counter under two words of a key. Numba widens every operation, and each is cut back."""
    x = np.uint32(np.uint32(x * C) ^ low)
    x = np.uint32(x ^ np.uint32(x >> np.uint32(16)))
    x = np.uint32(np.uint32(x * A) ^ high)
    x = np.uint32(x ^ np.uint32(x >> np.uint32(13)))
    x = np.uint32(np.uint32(x * B) + low)
    x = np.uint32(x ^ np.uint32(x >> np.uint32(16)))
    x = np.uint32(np.uint32(x * A) ^ np.uint32(high >> np.uint32(3)))
    x = np.uint32(x ^ np.uint32(x >> np.uint32(15)))
    x = np.uint32(x * B)
    return np.uint32(x ^ np.uint32(x >> np.uint32(16)))


@njit(fastmath=FUSED, error_model="numpy")
def block(first, low, high, angles, radii, exponents, mantissas, out):
    """Numbers from `first` on, `out` (2 m,) float32, by way of four buffers (m,)."""
    m = angles.shape[0]
    whole, bits = exponents, mantissas.view(np.uint32)
    for j in range(m):
        at = np.uint32(2 * (first + j))
        u = mixed(at, low, high)
        angles[j] = mixed(np.uint32(at + np.uint32(1)), low, high)
        # u / 2^32 = mantissa 2^(exponent - 32), the mantissa in [sqrt(1/2), sqrt(2)) of a float32 taken apart.
        radii[j] = np.float32(u) + np.float32(0.5)
    pieces = radii.view(np.uint32)
    for j in range(m):
        b = np.uint32(pieces[j] + OVER)
        whole[j] = np.int32(np.int32(b >> np.uint32(23)) - np.int32(127 + 32))
        bits[j] = np.uint32(np.uint32(b & np.uint32(0x007FFFFF)) + ROOT)
    for j in range(m):
        s = (mantissas[j] - np.float32(1.0)) / (mantissas[j] + np.float32(1.0))
        q = s * s
        ln = np.float32(2.0) * s + s * q * (L3 + q * (L5 + q * (L7 + q * L9))) + np.float32(whole[j]) * LN2
        radii[j] = np.sqrt(max(np.float32(-2.0) * ln, np.float32(0.0)))
    for j in range(m):
        # v = angle / 2^32 in quarters of a turn: two bits say which, thirty are the rest in [-1/2, 1/2).
        quarter = np.uint32(angles[j] >> np.uint32(30))
        r = np.float32(np.int32(np.uint32(angles[j] << np.uint32(2)))) * np.float32(2.0**-32)
        z = r * r
        sine = r * (S[0] + z * (S[1] + z * (S[2] + z * (S[3] + z * S[4]))))
        cosine = np.float32(1.0) + z * (D[0] + z * (D[1] + z * (D[2] + z * D[3])))
        odd = np.uint32(quarter & np.uint32(1)) != np.uint32(0)
        x = sine if odd else cosine
        y = cosine if odd else sine
        out[j] = radii[j] * (-x if np.uint32(np.uint32(quarter + np.uint32(1)) & np.uint32(2)) != np.uint32(0) else x)
        out[m + j] = radii[j] * (-y if np.uint32(quarter & np.uint32(2)) != np.uint32(0) else y)


@njit(cache=True, nogil=True)
def fill(key, out):
    """Standard normal numbers, float32, into `out` (n,) under a 64-bit `key`: one array a key."""
    low, high = np.uint32(key & np.uint64(0xFFFFFFFF)), np.uint32(key >> np.uint64(32))
    m = SIZE // 2
    angles, radii = np.empty(m, np.uint32), np.empty(m, np.float32)
    exponents, mantissas, spare = np.empty(m, np.int32), np.empty(m, np.float32), np.empty(SIZE, np.float32)
    for lo in range(0, out.size, SIZE):
        if lo + SIZE <= out.size:
            block(lo // 2, low, high, angles, radii, exponents, mantissas, out[lo : lo + SIZE])
        else:
            block(lo // 2, low, high, angles, radii, exponents, mantissas, spare)
            out[lo:] = spare[: out.size - lo]
