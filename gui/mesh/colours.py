"""Numbers to colours: scales, and the maps they are drawn with on a dark and on a light canvas.

Angles take cyclic maps that colour-blind eyes can tell apart: CET-C3 on light, CET-CBTC1, whose darkest colour still
stands out, on dark (Kovesi, arXiv 1509.03700; the maps come with pyqtgraph). Differences run from blue to orange
through the colour of the canvas, amounts from the canvas to one hue. What is no number, or outside the range that its
quantity can have, is `MARKED`: drawn hatched, never by colour alone.
"""

from __future__ import annotations

from functools import cache
from math import tau
from typing import NamedTuple

import numpy as np
import pyqtgraph as pg
from numba import njit

from l2sim.backend import Array

from .raster import MARKED

SHADES = 1024
CYCLIC = {"dark": "CET-CBTC1", "light": "CET-C3"}
DIVERGING = {
    "dark": ((0x56, 0xB4, 0xFF), (0x2B, 0x30, 0x38), (0xFF, 0xA0, 0x3A)),
    "light": ((0x0A, 0x57, 0xA8), (0xE9, 0xEB, 0xEE), (0xB4, 0x4A, 0x00)),
}
SEQUENTIAL = {
    "dark": ((0x22, 0x2A, 0x28), (0x1D, 0x6B, 0x4A), (0x9B, 0xFF, 0xC4)),
    "light": ((0xE6, 0xEF, 0xE9), (0x3C, 0x9A, 0x66), (0x00, 0x3D, 0x20)),
}
CANVAS = {"dark": 0xFF15171B, "light": 0xFFFFFFFF}
GUIDE = {"dark": 0xFF5A6472, "light": 0xFF9AA3AE}
QUIET = {"dark": 0xFF343A43, "light": 0xFFD9DDE2}
"""Boxes that the quantity on show says nothing about."""
HATCH = {"dark": 0xFFFF6B5E, "light": 0xFFC22F1F}


class Scale(NamedTuple):
    """How numbers become colours: `kind` cyclic, diverging or sequential, from `low` to `high`, in `unit`. `limits` is
    the range outside which a value is marked as wrong."""

    kind: str
    low: float
    high: float
    unit: str = ""
    limits: tuple[float, float] = (-np.inf, np.inf)

    def ticks(self) -> list[tuple[float, str]]:
        """Where the legend says what, as (share of its length, text)."""
        if self.kind == "cyclic":
            return [(i / 4, text) for i, text in enumerate(("0", "π/2", "π", "3π/2", "2π"))]
        if self.kind == "diverging":
            return [(0.0, number(self.low)), (0.5, "0"), (1.0, number(self.high))]
        return [(0.0, number(self.low)), (0.5, number((self.low + self.high) / 2)), (1.0, number(self.high))]


def number(value: float) -> str:
    """A number in few characters."""
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e") if np.isfinite(value) else str(value)


PHASE = Scale("cyclic", 0.0, tau, "rad")


def diverging(values: list[Array], unit: str, least: float = 0.0) -> Scale:
    """A scale around zero that takes in all finite `values`, and `least` at any rate: what is below it is rounding."""
    most = max((float(np.abs(v[np.isfinite(v)]).max(initial=0.0)) for v in values), default=0.0)
    most = max(most, least) or 1.0
    return Scale("diverging", -most, most, unit)


def sequential(values: list[Array], unit: str, high: float = 0.0) -> Scale:
    """A scale from zero that takes in all finite `values`, and `high`."""
    most = max((float(v[np.isfinite(v)].max(initial=high)) for v in values), default=high)
    return Scale("sequential", 0.0, most or 1.0, unit)


@cache
def shades(kind: str, theme: str) -> Array:
    """The map of a kind of scale, (SHADES,) uint32 0xFFRRGGBB."""
    if kind == "cyclic":
        rgb = pg.colormap.get(CYCLIC[theme]).getLookupTable(nPts=SHADES + 1)[:-1, :3].astype(np.uint32)
    else:
        stops = np.array((DIVERGING if kind == "diverging" else SEQUENTIAL)[theme], float)
        at = np.linspace(0, 1, SHADES)
        rgb = np.column_stack([np.interp(at, (0.0, 0.5, 1.0), stops[:, i]) for i in range(3)]).astype(np.uint32)
    table: Array = np.uint32(0xFF000000) | rgb[:, 0] << np.uint32(16) | rgb[:, 1] << np.uint32(8) | rgb[:, 2]
    return table


@njit(cache=True, nogil=True)
def _paint(
    values: Array, cyclic: bool, low: float, high: float, least: float, most: float,
    table: Array, marked: np.uint32, out: Array,
) -> int:  # fmt: skip
    bad, size = 0, table.shape[0]
    for i in range(values.shape[0]):
        value = values[i]
        if not (least <= value <= most) or np.isinf(value):
            out[i] = marked
            bad += 1
            continue
        share = (value - low) / (high - low)
        if cyclic:
            share -= np.floor(share)
        at = int(share * size)
        out[i] = table[min(max(at, 0), size - 1)]
    return bad


def paint(values: Array, scale: Scale, theme: str, out: Array) -> int:
    """Colours of `values` (n,) into `out` (n,) uint32. How many are no numbers, or outside the limits."""
    table = shades(scale.kind, theme)
    flat = np.ascontiguousarray(values, np.float64)
    return int(_paint(flat, scale.kind == "cyclic", scale.low, scale.high, *scale.limits, table, MARKED, out))
