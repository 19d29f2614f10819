"""The 6 x 6 window of `kernels.descent_by_column`: the loss of one probe from what it turns, a vector of cores at once.

The window of a heater on rails r, r + 1 holds rails r - 2 to r + 3. Numbered from 0, a probe turns the pairs (1, 2) and
(3, 4) of the column before (D), (0, 1), (2, 3), (4, 5) of its own (A), and (1, 2), (3, 4) of the one after (D'), by
rotations [[c, -s], [s, c]]. Up to a constant k^2 L is

    -2 tr(M F) + tr(K M H M'),         M = D' A D,

F, H and K standing for the windows of E - N, H and K there. H and K are symmetric: what lies on and above the diagonal
is all that is stored, and all that is read.

tr(K M H M') = tr(K1 A H1 A'), H1 = D H D', K1 = D'' K D' (D'' the transpose of D'), is a sum over pairs of the 2 x 2
blocks that A turns, of <K1_ab, R_a H1_ab R_b'>, each bilinear in (cos, sin) of its two angles.

Every function sees vectors as numbers. `turns` of a probe: (cos, sin) of the pairs (0, 1), (2, 3), (4, 5) of A, then of
D and of D', 14 in all.
"""

from __future__ import annotations

from .lanes import fast, flat, middle

WINDOW = 6


@flat
def trace(f, turns):
    """-2 tr(M F) of the window `f`. Only what the trace needs is computed."""
    c0, s0, c2, s2, c4, s4, a, b, c, d, e, g, h, i = turns
    f10, f11, f12 = a * f[1, 0] - b * f[2, 0], a * f[1, 1] - b * f[2, 1], a * f[1, 2] - b * f[2, 2]
    f21, f22 = b * f[1, 1] + a * f[2, 1], b * f[1, 2] + a * f[2, 2]
    f23, f24 = b * f[1, 3] + a * f[2, 3], b * f[1, 4] + a * f[2, 4]
    f31, f32 = c * f[3, 1] - d * f[4, 1], c * f[3, 2] - d * f[4, 2]
    f33, f34 = c * f[3, 3] - d * f[4, 3], c * f[3, 4] - d * f[4, 4]
    f43, f44, f45 = d * f[3, 3] + c * f[4, 3], d * f[3, 4] + c * f[4, 4], d * f[3, 5] + c * f[4, 5]
    x11, x12 = s0 * f[0, 1] + c0 * f11, s0 * f[0, 2] + c0 * f12
    x21, x22 = c2 * f21 - s2 * f31, c2 * f22 - s2 * f32
    x33, x34 = s2 * f23 + c2 * f33, s2 * f24 + c2 * f34
    x43, x44 = c4 * f43 - s4 * f[5, 3], c4 * f44 - s4 * f[5, 4]
    near = e * (x11 + x22) + g * (x12 - x21)
    far = h * (x33 + x44) + i * (x34 - x43)
    total = (((c0 * f[0, 0] - s0 * f10) + near) + far) + (s4 * f45 + c4 * f[5, 5])
    return -(total + total)


@flat
def rest_trace(f, c0, s0, c2, s2, c4, s4):
    """`trace` where D and D' turn nothing."""
    near = c0 * (f[0, 0] + f[1, 1]) + s0 * (f[0, 1] - f[1, 0])
    own = c2 * (f[2, 2] + f[3, 3]) + s2 * (f[2, 3] - f[3, 2])
    far = c4 * (f[4, 4] + f[5, 5]) + s4 * (f[4, 5] - f[5, 4])
    total = (near + own) + far
    return -(total + total)


@flat
def pair(x, y, c, s):
    """The pair (x, y) turned by [[c, -s], [s, c]]."""
    return c * x - s * y, s * x + c * y


@flat
def own_block(k, h, a, c, s):
    """tr(K R H R') of the blocks of the symmetric K and H from rail `a` on."""
    x, y, z = middle(h[a, a], h[a, a + 1], h[a + 1, a + 1], c, s)
    b = k[a, a + 1]
    return k[a, a] * x + k[a + 1, a + 1] * z + (b + b) * y


@flat
def two_blocks(k, h, i, j, c0, s0, c1, s1):
    """2 <K, R_0 H R_1'> of the blocks of K and H on rails i, i + 1 and j, j + 1."""
    a, b, c, d = k[i, j], k[i, j + 1], k[i + 1, j], k[i + 1, j + 1]
    p, r = pair(h[i, j], h[i + 1, j], c0, s0)
    q, s = pair(h[i, j + 1], h[i + 1, j + 1], c0, s0)
    along = (a * p + b * q) + (c * r + d * s)
    across = (b * p - a * q) + (d * r - c * s)
    half = c1 * along + s1 * across
    return half + half


@fast
def rest_quadratic(h, k, c0, s0, c2, s2, c4, s4):
    """`quadratic` where D and D' turn nothing."""
    own = own_block(k, h, 0, c0, s0) + own_block(k, h, 2, c2, s2) + own_block(k, h, 4, c4, s4)
    two = two_blocks(k, h, 0, 2, c0, s0, c2, s2) + two_blocks(k, h, 0, 4, c0, s0, c4, s4)
    return own + (two + two_blocks(k, h, 2, 4, c2, s2, c4, s4))


@fast
def congruent(h, c, s, d, t, to):
    """Both sides of the symmetric window `h` turned on (1, 2) by (c, s) and on (3, 4) by (d, t), into `to`."""
    to[0, 0], to[0, 5], to[5, 5] = h[0, 0], h[0, 5], h[5, 5]
    to[0, 1], to[0, 2] = pair(h[0, 1], h[0, 2], c, s)
    to[1, 5], to[2, 5] = pair(h[1, 5], h[2, 5], c, s)
    to[1, 1], to[1, 2], to[2, 2] = middle(h[1, 1], h[1, 2], h[2, 2], c, s)
    h13, h23 = pair(h[1, 3], h[2, 3], c, s)
    h14, h24 = pair(h[1, 4], h[2, 4], c, s)
    to[1, 3], to[1, 4] = pair(h13, h14, d, t)
    to[2, 3], to[2, 4] = pair(h23, h24, d, t)
    to[0, 3], to[0, 4] = pair(h[0, 3], h[0, 4], d, t)
    to[3, 5], to[4, 5] = pair(h[3, 5], h[4, 5], d, t)
    to[3, 3], to[3, 4], to[4, 4] = middle(h[3, 3], h[3, 4], h[4, 4], d, t)


@flat
def quadratic(h, k, turns, left, right):
    """tr(K M H M') of the windows `h`, `k`; `left` and `right` are scratch."""
    c0, s0, c2, s2, c4, s4, a, b, c, d, e, g, p, q = turns
    congruent(h, a, b, c, d, right)
    congruent(k, e, -g, p, -q, left)
    return rest_quadratic(right, left, c0, s0, c2, s2, c4, s4)


@flat
def beside(o, at, size):
    """Where row `o` of a symmetric (size, size), stored above the diagonal, has column `at`, and how far apart its
    columns are."""
    return (o * size + at, 1) if o < at else (at * size + o, size)


@fast
def turned_rows(k, at, heaters, tables, w):
    """Rows o outside the window from `at` on of A_o' K_ow, into `w` (size, WINDOW); `k` (size^2,), flat."""
    size = w.shape[0]
    o = 2
    while o < size - 2:
        if at <= o < at + WINDOW:
            o = at + WINDOW
            continue
        i = heaters[o]
        x, step = beside(o, at, size)
        if i >= 0:
            y = beside(o + 1, at, size)[0]
            c, s = tables[i, 0], tables[i, 1]
            for b in range(WINDOW):
                p, q = k[x + b * step], k[y + b * step]
                w[o, b] = c * p + s * q
                w[o + 1, b] = c * q - s * p
            o += 2
        else:
            for b in range(WINDOW):
                w[o, b] = k[x + b * step]
            o += 1


@fast
def upper_rows(f, e, h, at, w):
    """The first three rows of the window of E less the cross term, as far as `trace` reads them; `h` flat."""
    size = w.shape[0]
    f00, f01, f02 = e[0, 0], e[0, 1], e[0, 2]
    f10, f11, f12, f13, f14 = e[1, 0], e[1, 1], e[1, 2], e[1, 3], e[1, 4]
    f20, f21, f22, f23, f24 = e[2, 0], e[2, 1], e[2, 2], e[2, 3], e[2, 4]
    for o in range(2, size - 2):
        if at <= o < at + WINDOW:
            continue
        x, step = beside(o, at, size)
        p, q, r = h[x], h[x + step], h[x + 2 * step]
        a, b, c, d, g = w[o, 0], w[o, 1], w[o, 2], w[o, 3], w[o, 4]
        f00, f01, f02 = f00 - p * a, f01 - p * b, f02 - p * c
        f10, f11, f12, f13, f14 = f10 - q * a, f11 - q * b, f12 - q * c, f13 - q * d, f14 - q * g
        f20, f21, f22, f23, f24 = f20 - r * a, f21 - r * b, f22 - r * c, f23 - r * d, f24 - r * g
    f[0, 0], f[0, 1], f[0, 2] = f00, f01, f02
    f[1, 0], f[1, 1], f[1, 2], f[1, 3], f[1, 4] = f10, f11, f12, f13, f14
    f[2, 0], f[2, 1], f[2, 2], f[2, 3], f[2, 4] = f20, f21, f22, f23, f24


@fast
def lower_rows(f, e, h, at, w):
    """The last three rows of the same."""
    size = w.shape[0]
    f31, f32, f33, f34, f35 = e[3, 1], e[3, 2], e[3, 3], e[3, 4], e[3, 5]
    f41, f42, f43, f44, f45 = e[4, 1], e[4, 2], e[4, 3], e[4, 4], e[4, 5]
    f53, f54, f55 = e[5, 3], e[5, 4], e[5, 5]
    for o in range(2, size - 2):
        if at <= o < at + WINDOW:
            continue
        x, step = beside(o, at, size)
        p, q, r = h[x + 3 * step], h[x + 4 * step], h[x + 5 * step]
        a, b, c, d, g = w[o, 1], w[o, 2], w[o, 3], w[o, 4], w[o, 5]
        f31, f32, f33, f34, f35 = f31 - p * a, f32 - p * b, f33 - p * c, f34 - p * d, f35 - p * g
        f41, f42, f43, f44, f45 = f41 - q * a, f42 - q * b, f43 - q * c, f44 - q * d, f45 - q * g
        f53, f54, f55 = f53 - r * c, f54 - r * d, f55 - r * g
    f[3, 1], f[3, 2], f[3, 3], f[3, 4], f[3, 5] = f31, f32, f33, f34, f35
    f[4, 1], f[4, 2], f[4, 3], f[4, 4], f[4, 5] = f41, f42, f43, f44, f45
    f[5, 3], f[5, 4], f[5, 5] = f53, f54, f55


@flat
def outside(f, e, h, k, at, heaters, tables, w):
    """F = E - N of the window, `e` its corner of E: N = H_wo A_o' K_ow is the cross term of the window from padded rail
    `at` on to the rails o outside it.

    `heaters` (padded rails,): the heater whose MZI starts on a rail in this column, -1 for none. `w` is scratch.
    """
    above, below = h.reshape(-1), k.reshape(-1)
    turned_rows(below, at, heaters, tables, w)
    upper_rows(f, e, above, at, w)
    lower_rows(f, e, above, at, w)
