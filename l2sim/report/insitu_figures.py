"""The figures of the in situ flow, from plain data; in the style of `figures`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from l2sim.backend import Array
from l2sim.given import wrapped
from l2sim.report.figures import BLUE, GREEN, INK, LOOKS, PURPLE, VERMILLION, legend, log_scale, note

LINES = ((BLUE, "-"), (VERMILLION, (0, (5, 1.5))), (GREEN, (0, (1.5, 1))), (PURPLE, (0, (6, 1, 1, 1))))
"""Colour and dash of the meshes, in turn."""
EXACT = 1e-6
"""Gradient errors below this are rounding."""


def beginning(ax: Axes, x: float, y: float, text: str) -> None:
    """Mark where a curve starts from."""
    ax.plot(x, y, "o", ms=5, mfc="none", mec=VERMILLION, mew=1.5, clip_on=False)
    note(ax, text, x, y, 5, ha="left")
    ax.set_ylim(0, 101)


def by_layer(ax: Axes, lines: dict[str, tuple[Array, Array]]) -> None:
    """Values over epochs from 0 up, one line a layer, that of "all" thick."""
    for (name, (x, y)), look in zip(lines.items(), itertools.cycle(LOOKS)):
        style = look.line(**({"color": INK, "ls": "-", "lw": 2.4} if name == "all" else {}))
        ax.plot(x, y, label=name, markevery=max(1, x.size // 8), **style)
    ax.set_xlim(0, None)
    ax.set_ylim(0, 1.05 * ax.get_ylim()[1])
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(lines) <= 8:
        legend(ax)


def gradient_errors(ax: Axes, lines: dict[str, tuple[Array, Array]]) -> None:
    """1 - cos between measured and true gradient over epochs, one line a mesh."""
    top = max((float(np.nanmax(y)) for _, y in lines.values() if y.size), default=0.0)
    for (name, (x, y)), (colour, dash) in zip(lines.items(), LINES * (len(lines) // 4 + 1)):
        mark = "o" if x.size == 1 else ""
        ax.plot(x, np.maximum(y, 0), color=colour, ls=dash, lw=1.5, marker=mark, ms=5, label=name)
    if top > EXACT:
        log_scale(ax)
    else:
        ax.set_ylim(-0.05, 1)
        ax.text(0.5, 0.5, "exact, to rounding", transform=ax.transAxes, ha="center")
    ax.set_xlim(0, None)
    ax.set(xlabel="epochs", ylabel="1 - cos(measured, true)", title="Error of the gradients (oracle)")
    if len(lines) <= 8:
        legend(ax)


def gradient_scatter(ax: Axes, drawn: dict[str, dict[str, list[float]]]) -> None:
    """Measured against true gradients, phase by phase, each mesh scaled to its largest true one."""
    for (name, pair), (colour, _) in zip(drawn.items(), LINES * (len(drawn) // 4 + 1)):
        true, measured = np.array(pair["true"], float), np.array(pair["measured"], float)
        scale = np.abs(true).max() or 1.0
        size = 3 if true.size > 50 else 7
        ax.plot(true / scale, measured / scale, "o", color=colour, ms=size, alpha=0.6, mew=0, label=name)
    ax.plot([-1, 1], [-1, 1], color=INK, lw=1, ls=(0, (4, 3)), label="exact")
    ax.set(xlabel="true gradient (largest of a mesh = 1)", ylabel="measured gradient", title="After the last epoch")
    if len(drawn) <= 8:
        legend(ax)


def boundary(ax: Axes, drawn: Mapping[str, Sequence[object]]) -> None:
    """The share of class 1 over the plane, and the test points, as figures.json has them."""
    grid, share, points, classes = (np.array(drawn[key], float) for key in ("grid", "share", "points", "classes"))
    span = (grid[0], grid[-1], grid[0], grid[-1])
    image = ax.imshow(
        share, origin="lower", extent=span, cmap="RdBu_r", vmin=0, vmax=1, alpha=0.75, interpolation="bilinear"
    )
    for number, (colour, mark) in enumerate((("#053061", "o"), ("#67001f", "^"))):
        at = classes == number
        ax.plot(*points[at].T, mark, color=colour, ms=3.5, mec="white", mew=0.4, ls="", label=f"class {number}")
    turn = np.linspace(0, 2 * np.pi, 200)
    ax.plot(grid[-1] * np.cos(turn), grid[-1] * np.sin(turn), color=INK, lw=1, ls=(0, (4, 3)))
    ax.grid(visible=False)
    ax.figure.colorbar(image, ax=ax, label="share of class 1", shrink=0.85)
    right = np.mean((_at(share, grid, points) > 0.5) == (classes > 0.5))
    ax.set(xlabel="x", ylabel="y", aspect="equal", title=f"Decision ({100 * right:.1f} % of the test points)")
    ax.legend(loc="upper left", frameon=True, framealpha=0.8)


def _at(share: Array, grid: Array, points: Array) -> Array:
    """`share` at the grid points nearest to `points`."""
    step = grid[1] - grid[0]
    column, row = np.clip(np.rint((points.T - grid[0]) / step).astype(int), 0, grid.size - 1)
    nearest: Array = share[row, column]
    return nearest


def mesh_phases(ax: Axes, column: Array, top: Array, bottom: Array, phases: Array) -> AxesImage:
    """Phases (n,) of a mesh where they stand: rails from the top, columns from the left; each covers its two rails."""
    picture = np.full((int(bottom.max(initial=0)) + 1, int(column.max(initial=0)) + 1), np.nan)
    for rail in (top, bottom):
        picture[rail, column] = wrapped(phases)
    cmap = colormaps["twilight"].with_extremes(bad=(0.5, 0.5, 0.5, 0.15))
    image = ax.imshow(picture, cmap=cmap, vmin=0, vmax=2 * np.pi, interpolation="nearest", aspect="auto")
    ax.grid(visible=False)
    ax.set_xlabel("column")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5, integer=True))
    return image


def phase_scale(sheet: Figure, image: AxesImage, axes: Array) -> None:
    """One colour scale for all pictures of phases."""
    scale = sheet.colorbar(image, ax=axes.ravel().tolist(), shrink=0.6, ticks=[0, np.pi, 2 * np.pi])
    scale.ax.set_yticklabels(["0", "π", "2π"])
    scale.set_label("phase (rad)")
