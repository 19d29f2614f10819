"""Quads to pixels: numbers of colours are drawn once for a view, and every frame is one gather.

Each pixel is looked at in SUB x SUB places, so that edges are smooth. Where they all see one colour, a frame costs one
look-up; the others are listed with what each of their places sees. The cost is that of the pixels, whatever is drawn.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from l2sim.backend import Array

SUB = 2
SHIFT = 2
"""SUB^2 as a power of two."""
MARKED = np.uint32(0x01000000)
"""A colour whose top byte is this one is drawn hatched; other colours have 0xFF there."""
STRIPE = 4
"""Pixels of a hatch's stripe."""


class Raster(NamedTuple):
    """`pick` (H, W): the colour that counts at a pixel. Of the pixels at `edges` (E,), flat, `parts` (E, SUB^2) are the
    colours of all places."""

    pick: Array
    edges: Array
    parts: Array


@njit(cache=True, nogil=True)
def fill(corners: Array, colours: Array, out: Array) -> None:
    """Convex quads (Q, 4, 2) into `out` (H, W), each over those before: places whose middle lies inside."""
    height, width = out.shape
    for q in range(colours.shape[0]):
        low, high = corners[q, 0, 1], corners[q, 0, 1]
        for i in range(1, 4):
            low, high = min(low, corners[q, i, 1]), max(high, corners[q, i, 1])
        if not (high > 0 and low < height):
            continue
        for y in range(max(0, int(np.ceil(low - 0.5))), min(height, int(np.ceil(high - 0.5)))):
            middle = y + 0.5
            left, right = np.inf, -np.inf
            for i in range(4):
                ax, ay = corners[q, i, 0], corners[q, i, 1]
                bx, by = corners[q, (i + 1) % 4, 0], corners[q, (i + 1) % 4, 1]
                if (ay <= middle) != (by <= middle):
                    x = ax + (middle - ay) * (bx - ax) / (by - ay)
                    left, right = min(left, x), max(right, x)
            if left < right:
                begin = max(0.0, np.ceil(left - 0.5))
                end = min(float(width), np.ceil(right - 0.5))
                for x in range(int(begin), int(end)):
                    out[y, x] = colours[q]


@njit(cache=True, nogil=True)
def gather(fine: Array, pick: Array, edges: Array, parts: Array) -> int:
    """Places (SUB H, SUB W) to pixels, of which the last number counts (boxes come after guides). Number of edges."""
    count = 0
    for y in range(pick.shape[0]):
        for x in range(pick.shape[1]):
            first = fine[SUB * y, SUB * x]
            most, same = first, True
            for i in range(SUB):
                for j in range(SUB):
                    seen = fine[SUB * y + i, SUB * x + j]
                    same &= seen == first
                    most = max(most, seen)
            pick[y, x] = most
            if not same:
                edges[count] = y * pick.shape[1] + x
                for i in range(SUB):
                    for j in range(SUB):
                        parts[count, SUB * i + j] = fine[SUB * y + i, SUB * x + j]
                count += 1
    return count


@njit(inline="always")
def seen(colour: np.uint32, x: int, y: int, hatch: np.uint32, canvas: np.uint32) -> np.uint32:
    """A colour as it is drawn at a pixel."""
    if colour >> 24 == 1:
        return hatch if (x + y) // STRIPE % 2 else canvas
    return colour


@njit(inline="always")
def mean(total_outer: int, total_inner: int) -> int:
    """A colour from the sums, over SUB^2 places, of its red and blue and of its green."""
    return 0xFF000000 | (total_outer >> SHIFT) & 0xFF00FF | (total_inner >> SHIFT) & 0x00FF00


@njit(cache=True, nogil=True)
def shade(
    pick: Array, edges: Array, parts: Array, palette: Array, hatch: np.uint32, canvas: np.uint32, out: Array
) -> None:
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
        for i in range(parts.shape[1]):
            colour = palette[parts[e, i]]
            if marked:
                colour = seen(colour, edges[e] % width, edges[e] // width, hatch, canvas)
            # Red and blue are far enough apart to be summed at once.
            outer += int(colour) & 0xFF00FF
            inner += int(colour) & 0x00FF00
        flat[edges[e]] = np.uint32(mean(outer, inner))


class Rasteriser:
    """Draws quads for one canvas, into memory that it keeps."""

    def __init__(self) -> None:
        self._fine = np.empty((0, 0), np.int32)

    def draw(self, corners: Array, colours: Array, size: tuple[int, int]) -> Raster:
        """Quads, corners in pixels, on a canvas of `size` (width, height). The last raster is overwritten."""
        width, height = size
        if self._fine.shape != (SUB * height, SUB * width):
            self._fine = np.empty((SUB * height, SUB * width), np.int32)
            self._pick = np.empty((height, width), np.int32)
            self._edges = np.empty(height * width, np.int32)
            self._parts = np.empty((height * width, SUB * SUB), np.int32)
        self._fine.fill(0)
        fill(np.ascontiguousarray(corners * np.float32(SUB)), np.ascontiguousarray(colours, np.int32), self._fine)
        count = gather(self._fine, self._pick, self._edges, self._parts)
        return Raster(self._pick, self._edges[:count], self._parts[:count])


def warm() -> None:
    """Compile everything, which the first picture would have to wait for."""
    picture = Rasteriser().draw(np.zeros((1, 4, 2), np.float32), np.zeros(1, np.int32), (4, 4))
    shade(*picture, np.full(1, 0xFF000000, np.uint32), np.uint32(0), np.uint32(0), np.empty((4, 4), np.uint32))
