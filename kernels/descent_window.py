"""The 6 x 6 window of `kernels.descent_by_column`: the loss of one probe from what it turns, 32 cores at a time.

The window of a heater on rails r, r + 1 holds rails r - 2 to r + 3. Numbered from 0, a probe turns the pairs (1, 2) and
(3, 4) of the column before (D), (0, 1), (2, 3), (4, 5) of its own (A), and (1, 2), (3, 4) of the one after (D'), by
rotations [[c, -s], [s, c]]. Up to a constant k^2 L is

    -2 tr(M F) + tr(K M H M'),         M = D' A D,

F, H and K standing for the windows of E - N, H and K there. H and K are symmetric: what lies on and above the diagonal
is all that is stored, and all that is read.

tr(K M H M') = tr(K1 A H1 A'), H1 = D H D', K1 = D'' K D' (D'' the transpose of D'), is a sum over pairs of the 2 x 2
blocks that A turns, of <K1_ab, R_a H1_ab R_b'>, each bilinear in (cos, sin) of its two angles.
"""

from __future__ import annotations

from .lanes import LANES, copy, fast, flat, sincos

WINDOW = 6

# Rows of the work buffer `z`, LANES numbers each. One buffer with constant offsets lets the loops over lanes vectorise.
LR, HERE, DUP, DDOWN, PLUS, MINUS, BASE, ONE, ZERO, NEGATIVE, WRITES = range(11)
# Rows of one probe's angles, from UPS and DOWNS on: delta; epsilon; the MZI, the one above, the one below, turned;
# epsilon or no turn for the column before (two MZIs) and after.
DC, DS, EC, ES, C0, S0, C2, S2, C4, S4, PC1, PS1, PC2, PS2, NC1, NS1, NC2, NS2 = range(18)
STAY, UPS, DOWNS, CHOSEN = 11, 29, 47, 65
TRUE, NEXT, DARK, LEAST = 69, 70, 71, 72
"""Rows of noise: the loss without it, now and after the step; what entries without noise add to k^2 L; amplitudes."""
ROWS = 73


@flat
def probe(driven, to, crosstalk, sense, own, above, below, prev, follow, z):
    """Angles of the step of one heater from `driven` to `to` (LANES,), into `z` (the rows DC to NS2).

    `own`, `above`, `below` (2 LANES,): (cos, sin) of the heater and of its neighbours in the column, or of no turn.
    """
    w = LANES
    for l in range(LANES):
        delta = to[l] - driven[l]
        s, c = sincos(delta)
        z[DC * w + l] = c
        z[DS * w + l] = sense * s
        s, c = sincos(crosstalk * delta)
        z[EC * w + l] = c
        z[ES * w + l] = sense * s
    for l in range(LANES):
        dc, ds, ec, es = z[DC * w + l], z[DS * w + l], z[EC * w + l], z[ES * w + l]
        z[C2 * w + l] = own[l] * dc - own[w + l] * ds
        z[S2 * w + l] = own[w + l] * dc + own[l] * ds
        z[C0 * w + l] = above[l] * ec - above[w + l] * es
        z[S0 * w + l] = above[w + l] * ec + above[l] * es
        z[C4 * w + l] = below[l] * ec - below[w + l] * es
        z[S4 * w + l] = below[w + l] * ec + below[l] * es
    for t in range(2):
        neighbour(z, PC1 + 2 * t, prev[t] >= 0)
        neighbour(z, NC1 + 2 * t, follow[t] >= 0)


@flat
def unturned(z, row):
    """No turn in rows `row` (cos) and `row` + 1 (sin)."""
    z[row * LANES : (row + 1) * LANES] = 1.0
    z[(row + 1) * LANES : (row + 2) * LANES] = 0.0


@flat
def neighbour(z, row, exists):
    """(cos, sin) of epsilon into rows `row`, `row` + 1, or of no turn where there is no neighbour."""
    if exists:
        copy(z[row * LANES : (row + 2) * LANES], z[EC * LANES : (EC + 2) * LANES])
    else:
        unturned(z, row)


@fast
def trace(f, z, out):
    """-2 tr(M F) of the window `f` (36 LANES,), row by row, into `out`; `z` the angles of one probe.

    Only what the trace needs is computed.
    """
    w = LANES
    for l in range(LANES):
        a, b = z[PC1 * w + l], z[PS1 * w + l]
        f10 = a * f[6 * w + l] - b * f[12 * w + l]
        f11 = a * f[7 * w + l] - b * f[13 * w + l]
        f12 = a * f[8 * w + l] - b * f[14 * w + l]
        f21 = b * f[7 * w + l] + a * f[13 * w + l]
        f22 = b * f[8 * w + l] + a * f[14 * w + l]
        f23 = b * f[9 * w + l] + a * f[15 * w + l]
        f24 = b * f[10 * w + l] + a * f[16 * w + l]
        a, b = z[PC2 * w + l], z[PS2 * w + l]
        f31 = a * f[19 * w + l] - b * f[25 * w + l]
        f32 = a * f[20 * w + l] - b * f[26 * w + l]
        f33 = a * f[21 * w + l] - b * f[27 * w + l]
        f34 = a * f[22 * w + l] - b * f[28 * w + l]
        f43 = b * f[21 * w + l] + a * f[27 * w + l]
        f44 = b * f[22 * w + l] + a * f[28 * w + l]
        f45 = b * f[23 * w + l] + a * f[29 * w + l]
        x00 = z[C0 * w + l] * f[l] - z[S0 * w + l] * f10
        x11 = z[S0 * w + l] * f[w + l] + z[C0 * w + l] * f11
        x12 = z[S0 * w + l] * f[2 * w + l] + z[C0 * w + l] * f12
        x21 = z[C2 * w + l] * f21 - z[S2 * w + l] * f31
        x22 = z[C2 * w + l] * f22 - z[S2 * w + l] * f32
        x33 = z[S2 * w + l] * f23 + z[C2 * w + l] * f33
        x34 = z[S2 * w + l] * f24 + z[C2 * w + l] * f34
        x43 = z[C4 * w + l] * f43 - z[S4 * w + l] * f[33 * w + l]
        x44 = z[C4 * w + l] * f44 - z[S4 * w + l] * f[34 * w + l]
        x55 = z[S4 * w + l] * f45 + z[C4 * w + l] * f[35 * w + l]
        near = z[NC1 * w + l] * (x11 + x22) + z[NS1 * w + l] * (x12 - x21)
        far = z[NC2 * w + l] * (x33 + x44) + z[NS2 * w + l] * (x34 - x43)
        total = ((x00 + near) + far) + x55
        out[l] = -(total + total)


@fast
def rest_trace(f, z, out):
    """`trace` where D and D' turn nothing."""
    w = LANES
    for l in range(LANES):
        near = z[C0 * w + l] * (f[l] + f[7 * w + l]) + z[S0 * w + l] * (f[w + l] - f[6 * w + l])
        own = z[C2 * w + l] * (f[14 * w + l] + f[21 * w + l]) + z[S2 * w + l] * (f[15 * w + l] - f[20 * w + l])
        far = z[C4 * w + l] * (f[28 * w + l] + f[35 * w + l]) + z[S4 * w + l] * (f[29 * w + l] - f[34 * w + l])
        total = (near + own) + far
        out[l] = -(total + total)


@flat
def pair(x, y, c, s):
    """The pair (x, y) turned by [[c, -s], [s, c]]."""
    return c * x - s * y, s * x + c * y


@flat
def middle(x, y, z, c, s):
    """The symmetric [[x, y], [y, z]] turned on both sides."""
    d = x - z
    rise = s * (s * d + (c + c) * y)  # x - x'
    return x - rise, c * s * d + (c * c - s * s) * y, z + rise


@flat
def own_block(a, b, d, p, q, r, c, s):
    """tr(K R H R') of the symmetric K = [[a, b], [b, d]] and H = [[p, q], [q, r]]."""
    x, y, z = middle(p, q, r, c, s)
    return a * x + d * z + (b + b) * y


@flat
def two_blocks(a, b, c, d, p, q, r, s, c0, s0, c1, s1):
    """2 <K, R_0 H R_1'> of K = [[a, b], [c, d]] and H = [[p, q], [r, s]]."""
    p, r = pair(p, r, c0, s0)
    q, s = pair(q, s, c0, s0)
    along = (a * p + b * q) + (c * r + d * s)
    across = (b * p - a * q) + (d * r - c * s)
    half = c1 * along + s1 * across
    return half + half


@fast
def rest_quadratic(h, k, z, out):
    """`quadratic` where D and D' turn nothing."""
    w = LANES
    for l in range(LANES):
        a, b = z[C0 * w + l], z[S0 * w + l]
        c, d = z[C2 * w + l], z[S2 * w + l]
        e, f = z[C4 * w + l], z[S4 * w + l]
        own = own_block(k[l], k[w + l], k[7 * w + l], h[l], h[w + l], h[7 * w + l], a, b)
        own += own_block(
            k[14 * w + l], k[15 * w + l], k[21 * w + l], h[14 * w + l], h[15 * w + l], h[21 * w + l], c, d
        )  # fmt: skip
        own += own_block(
            k[28 * w + l], k[29 * w + l], k[35 * w + l], h[28 * w + l], h[29 * w + l], h[35 * w + l], e, f
        )  # fmt: skip
        two = two_blocks(
            k[2 * w + l], k[3 * w + l], k[8 * w + l], k[9 * w + l],
            h[2 * w + l], h[3 * w + l], h[8 * w + l], h[9 * w + l], a, b, c, d,
        )  # fmt: skip
        two += two_blocks(
            k[4 * w + l], k[5 * w + l], k[10 * w + l], k[11 * w + l],
            h[4 * w + l], h[5 * w + l], h[10 * w + l], h[11 * w + l], a, b, e, f,
        )  # fmt: skip
        two += two_blocks(
            k[16 * w + l], k[17 * w + l], k[22 * w + l], k[23 * w + l],
            h[16 * w + l], h[17 * w + l], h[22 * w + l], h[23 * w + l], c, d, e, f,
        )  # fmt: skip
        out[l] += own + two


@fast
def congruent(h, z, row, sign, to):
    """Both sides of the symmetric window `h` turned on (1, 2) and (3, 4) by the angles from row `row` on, into `to`.

    With `sign` -1 they are turned back.
    """
    w = LANES
    for l in range(LANES):
        c, s = z[row * w + l], sign * z[(row + 1) * w + l]
        to[l], to[5 * w + l], to[35 * w + l] = h[l], h[5 * w + l], h[35 * w + l]
        to[w + l], to[2 * w + l] = pair(h[w + l], h[2 * w + l], c, s)
        to[11 * w + l], to[17 * w + l] = pair(h[11 * w + l], h[17 * w + l], c, s)
        to[7 * w + l], to[8 * w + l], to[14 * w + l] = middle(h[7 * w + l], h[8 * w + l], h[14 * w + l], c, s)
        h13, h23 = pair(h[9 * w + l], h[15 * w + l], c, s)
        h14, h24 = pair(h[10 * w + l], h[16 * w + l], c, s)
        c, s = z[(row + 2) * w + l], sign * z[(row + 3) * w + l]
        to[9 * w + l], to[10 * w + l] = pair(h13, h14, c, s)
        to[15 * w + l], to[16 * w + l] = pair(h23, h24, c, s)
        to[3 * w + l], to[4 * w + l] = pair(h[3 * w + l], h[4 * w + l], c, s)
        to[23 * w + l], to[29 * w + l] = pair(h[23 * w + l], h[29 * w + l], c, s)
        to[21 * w + l], to[22 * w + l], to[28 * w + l] = middle(h[21 * w + l], h[22 * w + l], h[28 * w + l], c, s)


@flat
def quadratic(h, k, z, left, right, out):
    """Add tr(K M H M') of the windows `h`, `k` (36 LANES,) to `out`; `z` the angles of one probe, the rest scratch."""
    congruent(h, z, PC1, 1, right)
    congruent(k, z, NC1, -1, left)
    rest_quadratic(right, left, z, out)


@fast
def beyond(f, x, y, u, v, c, s):
    """F -= H_wo R' K_ow for two rails o: `x`, `y` (6 LANES,) their rows of H, `u`, `v` of K, R by `c`, `s` (LANES,).

    What `trace` does not read of F is left out.
    """
    w = LANES
    for l in range(LANES):
        a, b = c[l], -s[l]
        u0, v0 = pair(u[l], v[l], a, b)
        u1, v1 = pair(u[w + l], v[w + l], a, b)
        u2, v2 = pair(u[2 * w + l], v[2 * w + l], a, b)
        u3, v3 = pair(u[3 * w + l], v[3 * w + l], a, b)
        u4, v4 = pair(u[4 * w + l], v[4 * w + l], a, b)
        u5, v5 = pair(u[5 * w + l], v[5 * w + l], a, b)
        p, q = x[l], y[l]
        f[l] -= p * u0 + q * v0
        f[w + l] -= p * u1 + q * v1
        f[2 * w + l] -= p * u2 + q * v2
        p, q = x[w + l], y[w + l]
        f[6 * w + l] -= p * u0 + q * v0
        f[7 * w + l] -= p * u1 + q * v1
        f[8 * w + l] -= p * u2 + q * v2
        f[9 * w + l] -= p * u3 + q * v3
        f[10 * w + l] -= p * u4 + q * v4
        p, q = x[2 * w + l], y[2 * w + l]
        f[12 * w + l] -= p * u0 + q * v0
        f[13 * w + l] -= p * u1 + q * v1
        f[14 * w + l] -= p * u2 + q * v2
        f[15 * w + l] -= p * u3 + q * v3
        f[16 * w + l] -= p * u4 + q * v4
        p, q = x[3 * w + l], y[3 * w + l]
        f[19 * w + l] -= p * u1 + q * v1
        f[20 * w + l] -= p * u2 + q * v2
        f[21 * w + l] -= p * u3 + q * v3
        f[22 * w + l] -= p * u4 + q * v4
        f[23 * w + l] -= p * u5 + q * v5
        p, q = x[4 * w + l], y[4 * w + l]
        f[25 * w + l] -= p * u1 + q * v1
        f[26 * w + l] -= p * u2 + q * v2
        f[27 * w + l] -= p * u3 + q * v3
        f[28 * w + l] -= p * u4 + q * v4
        f[29 * w + l] -= p * u5 + q * v5
        p, q = x[5 * w + l], y[5 * w + l]
        f[33 * w + l] -= p * u3 + q * v3
        f[34 * w + l] -= p * u4 + q * v4
        f[35 * w + l] -= p * u5 + q * v5


@fast
def outside(f, h, k, at, heaters, tables, z, rows):
    """F <- F - N, N = H_wo A_o' K_ow the cross term of the window from padded rail `at` on to the rails o outside it.

    `heaters` (padded rails,): the heater whose MZI starts on a rail in this column, -1 for none. `rows` is scratch.
    """
    w, size, end = LANES, WINDOW * LANES, h.shape[0] - 2
    x, y = rows[:size], rows[size : 2 * size]
    u, v = rows[2 * size : 3 * size], rows[3 * size : 4 * size]
    above, below = h.reshape(-1), k.reshape(-1)
    o = 2
    while o < end:
        if at <= o < at + WINDOW:
            o = at + WINDOW
            continue
        i = heaters[o]
        beside(above, o, at, h.shape[0], x)
        beside(below, o, at, h.shape[0], u)
        if i >= 0:
            beside(above, o + 1, at, h.shape[0], y)
            beside(below, o + 1, at, h.shape[0], v)
            beyond(f, x, y, u, v, tables[i, 0], tables[i, 1])
        else:
            y[:], v[:] = 0.0, 0.0
            beyond(f, x, y, u, v, z[ONE * w : (ONE + 1) * w], z[ZERO * w : (ZERO + 1) * w])
        o += 1 if i < 0 else 2


@flat
def beside(h, o, at, size, to):
    """Row `o` of the symmetric `h`, stored above the diagonal (size^2 LANES,), from column `at` on into `to`."""
    w = LANES
    if o < at:
        copy(to, h[(o * size + at) * w : (o * size + at + WINDOW) * w])
        return
    for i in range(WINDOW):
        copy(to[i * w : (i + 1) * w], h[((at + i) * size + o) * w : ((at + i) * size + o + 1) * w])
