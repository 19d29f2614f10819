"""Shapes to pixels: numbers of colours are drawn once for a view, and every frame is one gather.

A rail is stroked as a whole: what a pixel sees of it follows from its distance to the nearest point of the rail's
middle, so that joins are round and nothing gaps or bulges where pieces meet. Where a pixel sees one colour, a frame
costs one look-up; the others are listed with up to `KEPT` colours and their shares. The cost is that of the pixels,
whatever is drawn.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from l2sim.backend import Array

from .shapes import Quads, Shapes, Strokes

KEPT = 4
"""Colours of a pixel that are kept apart: two of a guide, its neighbour's, the canvas."""
WHOLE, SHIFT = 256, 8
"""Shares of a pixel's colours are in parts of it; it is two to `SHIFT`."""
CLAIM = 0.4
"""How much of a pixel a shape has to cover to be what is picked there."""
HALO = 0.30
"""How much of the canvas beside a lit guide takes its colour, falling to nothing at the halo's end."""
PLAIN, TILED = -1, -2
MARKED = np.uint32(0x01000000)
"""A colour whose top byte is this one is drawn hatched; other colours have 0xFF there."""
STRIPE = 4
"""Pixels of a hatch's stripe."""


class Raster(NamedTuple):
    """`pick` (H, W): the colour that counts at a pixel. The pixels at `edges` (E,), flat, see the colours `parts`
    (E, KEPT) by `shares` (E, KEPT), which add up to `WHOLE`."""

    pick: Array
    edges: Array
    parts: Array
    shares: Array


class Layers(NamedTuple):
    """A raster while it is drawn: `mixed` (H, W) is where a pixel is listed, `PLAIN` for those of one colour, `TILED`
    for those of tiles; `total` (1,) how many are listed. Scratch for one rail: the squared distance of every pixel
    (H, W), and the place that is nearest."""

    pick: Array
    mixed: Array
    edges: Array
    parts: Array
    shares: Array
    total: Array
    apart: Array
    nearest: Array


@njit(inline="always")
def put(parts: Array, shares: Array, at: int, colour: int, share: float) -> None:
    """Add a share of a colour to a listed pixel, in place of its least one where all are taken."""
    least = 0
    for i in range(KEPT):
        if parts[at, i] == colour and shares[at, i] > 0:
            shares[at, i] += share
            return
        if shares[at, i] < shares[at, least]:
            least = i
    parts[at, least] = colour
    shares[at, least] += share


@njit(inline="always")
def over(layers: Layers, y: int, x: int, colour: int, other: int, mix: float, cover: float) -> None:
    """Cover so much of a pixel with a colour, of which `mix` is another one."""
    pick, mixed, edges, parts, shares, total, _, _ = layers
    at = mixed[y, x]
    if at < 0:
        if cover > 0.996 and (mix < 0.004 or colour == other):
            pick[y, x] = colour
            return
        at = total[0]
        total[0] += 1
        mixed[y, x] = at
        edges[at] = y * pick.shape[1] + x
        for i in range(KEPT):
            parts[at, i] = pick[y, x]
            shares[at, i] = 1.0 if i == 0 else 0.0
    for i in range(KEPT):
        shares[at, i] *= 1.0 - cover
    put(parts, shares, at, colour, cover * (1.0 - mix))
    if mix > 0.0:
        put(parts, shares, at, other, cover * mix)
    if cover >= CLAIM:
        pick[y, x] = other if mix > 0.5 else colour


@njit
def spare(x: Array, y: Array, k: int, step: int, reach: float) -> float:
    """How far on past its end, towards the next piece (`step` 1) or the one before (-1), a piece of a line has to be
    measured for no place within `reach` to be left out where the line turns."""
    dx, dy, i = x[k + 1] - x[k], y[k + 1] - y[k], k + step
    while 0 <= i < x.shape[0] - 1:
        ex, ey = x[i + 1] - x[i], y[i + 1] - y[i]
        size = np.sqrt((dx * dx + dy * dy) * (ex * ex + ey * ey))
        if size > 0.0:
            cosine = (dx * ex + dy * ey) / size
            return float(reach * min(1.0, np.sqrt(max(1.0 - cosine, 0.0) / max(1.0 + cosine, 1e-9))) + 0.5)
        i += step
    return reach


@njit(inline="always")
def cut(low: float, high: float, slope: float, least: float, most: float) -> tuple[float, float]:
    """The part of a span `low` to `high` of y in which slope * y is from `least` to `most`."""
    if slope == 0.0:
        return (low, high) if least <= 0.0 <= most else (low, low)
    one, other = least / slope, most / slope
    return max(low, min(one, other)), min(high, max(one, other))


@njit
def measure(layers: Layers, x: Array, y: Array, place: Array, reach: float, low: Array, high: Array) -> None:
    """How far every pixel near one rail is from its middle, and at what place of it the nearest point lies. The rows
    that were touched in each column are `low` up to `high`."""
    height, width = layers.pick.shape
    away, nearest = layers.apart, layers.nearest
    for k in range(x.shape[0] - 1):
        ax, ay, dx, dy = x[k], y[k], x[k + 1] - x[k], y[k + 1] - y[k]
        long = np.sqrt(dx * dx + dy * dy)
        x0, x1 = max(int(min(ax, ax + dx) - reach), 0), min(int(max(ax, ax + dx) + reach) + 1, width)
        if long == 0.0 or x0 >= x1:
            continue
        before, behind = spare(x, y, k, -1, reach) * long, long * long + spare(x, y, k, 1, reach) * long
        for column in range(x0, x1):
            px = column + 0.5 - ax
            # Of the column only what lies beside this piece, and no farther off than is asked.
            top, end = cut(min(dy, 0.0) - reach, max(dy, 0.0) + reach, dy, -before - px * dx, behind - px * dx)
            top, end = cut(top, end, dx, px * dy - reach * long, px * dy + reach * long)
            y0, y1 = max(int(np.ceil(ay + top - 0.5)), 0), min(int(np.floor(ay + end - 0.5)) + 1, height)
            if y0 >= y1:
                continue
            for row in range(y0, y1):
                py = row + 0.5 - ay
                along = min(max((px * dx + py * dy) / (long * long), 0.0), 1.0)
                ex, ey = px - along * dx, py - along * dy
                apart = ex * ex + ey * ey
                if apart < away[row, column]:
                    away[row, column] = apart
                    nearest[row, column] = place[k] + along * (place[k + 1] - place[k])
            low[column], high[column] = min(low[column], y0), max(high[column], y1)


@njit(cache=True, nogil=True)
def stroke(
    layers: Layers, x: Array, y: Array, place: Array, first: Array, step: int, half: float, halo: float, lit: bool
) -> None:
    """Rails whose middles run through `x` (X,), `y` (R, X), half as wide as `half`. At `place` (X,) their colours are
    `first` (R,) + `step` * place, and mixed in between where they are `lit`."""
    height, width = layers.pick.shape
    mixed, away, nearest = layers.mixed, layers.apart, layers.nearest
    low, high = np.full(width, height), np.zeros(width, np.int64)
    most = min(1.0, 2.0 * half)
    for rail in range(y.shape[0]):
        measure(layers, x, y[rail], place, half + max(halo, 1.0), low, high)
        for column in range(width):
            for row in range(low[column], high[column]):
                if away[row, column] == np.inf:
                    continue
                if mixed[row, column] == TILED:
                    away[row, column] = np.inf
                    continue
                apart = np.sqrt(away[row, column]) - half
                cover = min(max(0.5 - apart, 0.0), most)
                if halo > 0.0:
                    fade = min(max(1.0 - apart / halo, 0.0), 1.0)
                    cover += (1.0 - cover) * HALO * fade * fade
                if cover > 0.02:
                    at = nearest[row, column]
                    whole = int(at) if lit else int(at + 0.5)
                    colour = first[rail] + step * whole
                    mix = at - whole if lit else 0.0
                    over(layers, row, column, colour, colour + step if mix > 0.0 else colour, mix, cover)
                away[row, column] = np.inf
            low[column], high[column] = height, 0


@njit(cache=True, nogil=True)
def cover(layers: Layers, corners: Array, colours: Array, radius: float) -> None:
    """Convex quads (Q, 4, 2) with round corners, each over those before."""
    height, width = layers.pick.shape
    for q in range(colours.shape[0]):
        quad = corners[q]
        x0, x1 = max(int(quad[:, 0].min() - 1), 0), min(int(quad[:, 0].max() + 2), width)
        y0, y1 = max(int(quad[:, 1].min() - 1), 0), min(int(quad[:, 1].max() + 2), height)
        cx, cy = quad[:, 0].mean(), quad[:, 1].mean()
        for row in range(y0, y1):
            for column in range(x0, x1):
                px, py = column + 0.5, row + 0.5
                inside, nearest = np.inf, np.inf
                for i in range(4):
                    ax, ay, bx, by = quad[i, 0], quad[i, 1], quad[(i + 1) % 4, 0], quad[(i + 1) % 4, 1]
                    dx, dy = bx - ax, by - ay
                    size = max(np.sqrt(dx * dx + dy * dy), 1e-6)
                    sense = 1.0 if dx * (cy - ay) - dy * (cx - ax) > 0 else -1.0
                    # From the side, moved inwards by the radius: a corner is an arc around where two such sides meet.
                    within = sense * (dx * (py - ay) - dy * (px - ax)) / size - radius
                    if within < inside:
                        inside, nearest = within, inside
                    elif within < nearest:
                        nearest = within
                apart = -inside if nearest > 0.0 or inside > 0.0 else np.sqrt(inside * inside + nearest * nearest)
                share = min(max(radius + 0.5 - apart, 0.0), 1.0)
                if share > 0.01:
                    over(layers, row, column, colours[q], colours[q], 0.0, share)


@njit(cache=True, nogil=True)
def tile(layers: Layers, corners: Array, colours: Array, across: int, down: int) -> None:
    """Upright rectangles, as quads (Q, 4, 2), to the nearest pixels: neighbours share an edge, but for a seam of so
    many pixels at the right and below, where the canvas is seen. Rails that come later lie under both."""
    height, width = layers.pick.shape
    for q in range(colours.shape[0]):
        begin, end = np.floor(corners[q, 0] + 0.5), np.floor(corners[q, 2] + 0.5)
        x0, x1, y0, y1 = max(int(begin[0]), 0), int(end[0]), max(int(begin[1]), 0), int(end[1])
        for row in range(y0, min(y1, height)):
            for column in range(x0, min(x1, width)):
                inside = column < x1 - across and row < y1 - down
                layers.pick[row, column] = colours[q] if inside else 0
                layers.mixed[row, column] = TILED


@njit(cache=True, nogil=True)
def rounded(shares: Array, out: Array) -> None:
    """Shares in whole parts that add up to `WHOLE`: the largest one takes what is left over."""
    for e in range(shares.shape[0]):
        left, most = WHOLE, 0
        for i in range(KEPT):
            part = int(shares[e, i] * WHOLE + 0.5)
            out[e, i] = part
            left -= part
            if shares[e, i] > shares[e, most]:
                most = i
        out[e, most] += left


@njit(inline="always")
def seen(colour: np.uint32, x: int, y: int, hatch: np.uint32, canvas: np.uint32) -> np.uint32:
    """A colour as it is drawn at a pixel."""
    if colour >> 24 == 1:
        return hatch if (x + y) // STRIPE % 2 else canvas
    return colour


@njit(inline="always")
def mean(total_outer: int, total_inner: int) -> int:
    """A colour from the sums, weighted by shares, of its red and blue and of its green."""
    return 0xFF000000 | (total_outer >> SHIFT) & 0xFF00FF | (total_inner >> SHIFT) & 0x00FF00


@njit(cache=True, nogil=True)
def shade(
    pick: Array, edges: Array, parts: Array, shares: Array, palette: Array, hatch: np.uint32, canvas: np.uint32,
    out: Array,
) -> None:  # fmt: skip
    """Pixels `out` (H, W) uint32 from the colours `palette` by number. Marked ones are striped `hatch` and `canvas`."""
    height, width = pick.shape
    marked = False
    for colour in palette:
        marked |= colour >> 24 == 1
    for y in range(height):
        row, to = pick[y], out[y]
        for x in range(width):
            to[x] = palette[row[x]]
    if marked:
        for y in range(height):
            to = out[y]
            for x in range(width):
                to[x] = seen(to[x], x, y, hatch, canvas)
    flat = out.reshape(-1)
    for e in range(edges.shape[0]):
        outer, inner = 0, 0
        for i in range(KEPT):
            share = int(shares[e, i])
            if share == 0:
                continue
            colour = palette[parts[e, i]]
            if marked:
                colour = seen(colour, edges[e] % width, edges[e] // width, hatch, canvas)
            # Red and blue are far enough apart to be summed at once.
            outer += (int(colour) & 0xFF00FF) * share
            inner += (int(colour) & 0x00FF00) * share
        flat[edges[e]] = np.uint32(mean(outer, inner))


class Rasteriser:
    """Draws shapes for one canvas, into memory that it keeps."""

    def __init__(self) -> None:
        self._layers = _layers(0, 0)

    def draw(self, shapes: Shapes, size: tuple[int, int], ratio: float = 1.0) -> Raster:
        """Shapes on a canvas of `size` (width, height) pixels, `ratio` of which are one of theirs. The last raster is
        overwritten."""
        width, height = size
        if self._layers.pick.shape != (height, width):
            self._layers = _layers(width, height)
        to = self._layers
        to.pick.fill(0)
        to.mixed.fill(PLAIN)
        to.total[0] = 0
        tile(to, shapes.cells.corners * ratio, shapes.cells.colours, *shapes.seam)
        if shapes.lit:
            cover(to, shapes.plates.corners * ratio, shapes.plates.colours, shapes.radius * ratio)
        for rails in shapes.strokes:
            x, y, half, halo = rails.x * ratio, rails.y * ratio, shapes.wide / 2 * ratio, shapes.halo * ratio
            stroke(to, x, y, rails.place, rails.first + rails.rails, rails.modes, half, halo, shapes.lit)
        if not shapes.lit:
            cover(to, shapes.plates.corners * ratio, shapes.plates.colours, shapes.radius * ratio)
        count = int(to.total[0])
        shares = np.empty((count, KEPT), np.uint16)
        rounded(to.shares[:count], shares)
        return Raster(to.pick, to.edges[:count], to.parts[:count], shares)


def _layers(width: int, height: int) -> Layers:
    pixels, shape = width * height, (height, width)
    return Layers(
        np.empty(shape, np.int32), np.empty(shape, np.int32), np.empty(pixels, np.int32),
        np.empty((pixels, KEPT), np.int32), np.empty((pixels, KEPT), np.float32), np.zeros(1, np.int64),
        np.full(shape, np.inf, np.float32), np.empty(shape, np.float32),
    )  # fmt: skip


def warm() -> None:
    """Compile everything, which the first picture would have to wait for."""
    box = Quads(np.zeros((1, 4, 2)), np.zeros(1, np.int32))
    rail = Strokes("", np.zeros(1, np.int64), np.zeros(2), np.zeros((1, 2)), np.zeros(2), 0, 1)
    picture = Rasteriser().draw(Shapes([rail], box, box, (0, 0), 1.0, 0.0, 0.0, False), (4, 4))
    shade(*picture, np.full(1, 0xFF000000, np.uint32), np.uint32(0), np.uint32(0), np.empty((4, 4), np.uint32))
