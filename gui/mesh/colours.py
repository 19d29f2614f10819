"""Numbers to colours: scales, and the maps they are drawn with on a dark and on a light canvas.

Angles take cyclic maps that colour-blind eyes can tell apart: CET-C3 on light, CET-CBTC1, whose darkest colour still
stands out, on dark (Kovesi, arXiv 1509.03700; the maps come with pyqtgraph). Differences run from blue to orange
through the colour of the canvas, amounts from the canvas to one hue, errors to another, which is the same on both.
Light is as bright as its power, from the colour of dark glass on, and has the hue of its phase where that is known: all
phases of one power are equally light (Oklch; B. Ottosson, "A perceptual color space for image processing", 2020). What
is no number, or outside the range that its quantity can have, is `MARKED`: drawn hatched, never by colour alone.
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
WORST = (0xE8, 0x30, 0x84)
ERROR = {
    "dark": ((0x27, 0x22, 0x2A), (0x86, 0x29, 0x5A), WORST),
    "light": ((0xF1, 0xEC, 0xF0), (0xF0, 0x93, 0xBE), WORST),
}
"""The largest error looks alike on both."""
LIGHT = {
    "dark": ((0x2D, 0x33, 0x3C), (0xA8, 0x86, 0x3F), (0xFF, 0xF0, 0xC2)),
    "light": ((0xDA, 0xDE, 0xE3), (0xC9, 0x8F, 0x1E), (0x5A, 0x2E, 0x00)),
}
"""Light whose phase is not known."""
RAMPS = {"diverging": DIVERGING, "sequential": SEQUENTIAL, "error": ERROR, "light": LIGHT}
WHEEL = {"dark": (0.80, 0.135), "light": (0.56, 0.15)}
"""Lightness and chroma of light at full power."""
CANVAS = {"dark": 0xFF15171B, "light": 0xFFFFFFFF}
GUIDE = {"dark": 0xFF5A6472, "light": 0xFF9AA3AE}
QUIET = {"dark": 0xFF343A43, "light": 0xFFD9DDE2}
DIM = 0.22
"""How much of its colour is left of what is smaller than a threshold; the rest is the canvas."""
"""Boxes that the quantity on show says nothing about."""
HATCH = {"dark": 0xFFFF6B5E, "light": 0xFFC22F1F}


class Scale(NamedTuple):
    """How numbers become colours: `kind` cyclic, diverging, sequential, error (by size, whatever the sign) or light,
    from `low` to `high`, in `unit`. `limits` is the range outside which a value is marked as wrong."""

    kind: str
    low: float
    high: float
    unit: str = ""
    limits: tuple[float, float] = (-np.inf, np.inf)

    def size(self, values: Array) -> Array:
        """How large values are: without their sign, but for levels of light in dB, which rise with the power."""
        return values if self.kind == "light" else np.abs(values)

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


def error(values: list[Array], unit: str) -> Scale:
    """A scale of errors that takes in all finite `values`, as they are or smaller."""
    return diverging(values, unit)._replace(kind="error", low=0.0)


def sequential(values: list[Array], unit: str, high: float = 0.0) -> Scale:
    """A scale from zero that takes in all finite `values`, and `high`."""
    most = max((float(v[np.isfinite(v)].max(initial=high)) for v in values), default=high)
    return Scale("sequential", 0.0, most or 1.0, unit)


@cache
def shades(kind: str, theme: str) -> Array:
    """The map of a kind of scale, (SHADES,) uint32 0xFFRRGGBB; of "grey light", that of `lit` without its hues."""
    if kind == "cyclic":
        rgb = pg.colormap.get(CYCLIC[theme]).getLookupTable(nPts=SHADES + 1)[:-1, :3].astype(np.uint32)
    else:
        stops, at = np.array(RAMPS.get(kind, LIGHT)[theme], float), np.linspace(0, 1, SHADES)
        if kind == "grey light":
            stops[2] = wheel(theme).mean()
            stops[1] = (stops[0] + stops[2]) / 2
        rgb = np.column_stack([np.interp(at, (0.0, 0.5, 1.0), stops[:, i]) for i in range(3)]).astype(np.uint32)
    return _packed(rgb)


def _packed(rgb: Array) -> Array:
    table: Array = np.uint32(0xFF000000) | rgb[:, 0] << np.uint32(16) | rgb[:, 1] << np.uint32(8) | rgb[:, 2]
    return table


@cache
def wheel(theme: str) -> Array:
    """The hues of phases from 0 to a turn, at full power, (SHADES, 3) red, green, blue up to 255: a circle in Oklab."""
    lightness, chroma = WHEEL[theme]
    turn = np.linspace(0, tau, SHADES, endpoint=False) + 0.5
    a, b = chroma * np.cos(turn), chroma * np.sin(turn)
    cones = np.stack((
        lightness + 0.3963377774 * a + 0.2158037573 * b,
        lightness - 0.1055613458 * a - 0.0638541728 * b,
        lightness - 0.0894841775 * a - 1.2914855480 * b,
    ))  # fmt: skip
    linear = np.array((
        (4.0767416621, -3.3077115913, 0.2309699292),
        (-1.2684380046, 2.6097574011, -0.3413193965),
        (-0.0041960863, -0.7034186147, 1.7076147010),
    )) @ cones**3  # fmt: skip
    linear = np.clip(linear.T, 0.0, 1.0)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def lit(level: Array, phase: Array, scale: Scale, theme: str, out: Array) -> int:
    """Colours of light of a `level` (n,) on `scale` and a `phase` (n,) into `out` (n,) uint32. How many are no
    numbers."""
    fine = np.isfinite(level) & np.isfinite(phase)
    bright = np.where(fine, np.clip((level - scale.low) / (scale.high - scale.low), 0.0, 1.0), 0.0)[:, None]
    hue = wheel(theme)[(np.mod(np.where(fine, phase, 0.0) / tau, 1.0) * SHADES).astype(np.int64) % SHADES]
    glass = np.array(LIGHT[theme][0], float)
    out[:] = np.where(fine, _packed((glass + (hue - glass) * bright).astype(np.uint32)), MARKED)
    return int((~fine).sum())


@njit(cache=True, nogil=True)
def _paint(
    values: Array, cyclic: bool, size_only: bool, low: float, high: float, least: float, most: float,
    table: Array, marked: np.uint32, out: Array,
) -> int:  # fmt: skip
    bad, size = 0, table.shape[0]
    for i in range(values.shape[0]):
        value = values[i]
        if not (least <= value <= most) or np.isinf(value):
            out[i] = marked
            bad += 1
            continue
        share = ((abs(value) if size_only else value) - low) / (high - low)
        if cyclic:
            share -= np.floor(share)
        at = int(share * size)
        out[i] = table[min(max(at, 0), size - 1)]
    return bad


def paint(values: Array, scale: Scale, theme: str, out: Array) -> int:
    """Colours of `values` (n,) into `out` (n,) uint32. How many are no numbers, or outside the limits."""
    table = shades(scale.kind, theme)
    flat, kind = np.ascontiguousarray(values, np.float64), scale.kind
    ends = scale.low, scale.high, *scale.limits
    return int(_paint(flat, kind == "cyclic", kind == "error", *ends, table, MARKED, out))


def dim(size: Array, least: float, theme: str, out: Array) -> None:
    """Take the colours `out` (n,) uint32 of what is smaller than `least` near to the canvas. What is no number keeps
    its hatch."""
    small = (size < least) & (out >> 24 == 0xFF)
    rgb, ground = (np.stack([c >> s & 0xFF for s in (16, 8, 0)], axis=-1) for c in (out[small], CANVAS[theme]))
    out[small] = _packed((DIM * rgb + (1 - DIM) * ground).astype(np.uint32))
