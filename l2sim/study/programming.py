"""How near a mesh with splitter errors comes to its target, by the way it is programmed and by the nodes it is made of.

    python -m l2sim.study.programming             a quick look
    python -m l2sim.study.programming --full      the page

An MZI whose splitters are off by e cannot cross all light over: it is *clipped* where the target asks for more than
cos^2(el + er). The larger the mesh, the more MZIs have to cross nearly all (`l2sim.mesh.layouts`), so that some are
always clipped. Methods: `l2sim.learn.search.selfconfigure`; nodes: Hamerly et al., Nature Communications 13,
6831 (2022).
"""

from __future__ import annotations

import itertools
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from l2sim.backend import Array, generator
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.learn.search import selfconfigure
from l2sim.mesh import unitary
from l2sim.mesh.mesh import Mesh
from l2sim.report import figures
from l2sim.study.harness import Study, Table, grouped, markdown, some

SIZES = (4, 8, 16, 32, 64)
SEEDS = tuple(range(8))
ERROR = 0.03
"""Standard deviation of the splitters' angles, radians."""
ITERATIONS = 500
METHODS = {
    "parallel nullification": "parallel nullification",
    "none": "none: ideal phases",
    "progressive": "progressive, read at the ports only (triangular)",
    "local": "MZI by MZI, errors known",
    "optimised": f"the same, then {ITERATIONS} steps of L-BFGS",
}
NODES = {
    ("mzi", "alike"): "MZI, its two splitters off alike",
    ("mzi", "apart"): "MZI",
    ("crossing", "apart"): "MZI + crossing",
    ("crossing", "alike"): "MZI + crossing, splitters off alike",
    ("three_splitter", "apart"): "three-splitter MZI",
}
"""Nodes, with splitter errors drawn apart or alike for the two splitters of an MZI."""
FLOOR = 1e-4
"""Errors below are drawn at the foot of the figure."""


class Row(NamedTuple):
    """One point: normalised error, mean, smallest and largest of the meshes, and the mean number of clipped MZIs."""

    modes: int
    node: str
    errors: str
    method: str
    error: float
    least: float
    most: float
    clipped: float


Results = tuple[list[Row], dict[str, list[float]]]
"""Every point of the study, and the errors by iteration of the first of the largest meshes."""


class Step(NamedTuple):
    """One step of the descent: the error from Clements' phases of the ideal mesh, and from those corrected locally."""

    step: int
    from_none: float
    from_local: float


def drawn(mesh: Mesh, seed: int, errors: str) -> Array:
    """Splitter errors (2, n)."""
    out = ERROR * generator(seed, "programming", "errors", mesh.modes).normal(size=(2, mesh.count))
    return np.stack((out[0], out[0])) if errors == "alike" else out


def target_of(modes: int, seed: int) -> Array:
    """A Haar random target (N, N)."""
    return unitary.haar_matrix(generator(seed, "programming", "target", modes), modes)


def measured(modes: int, seed: int) -> float:
    """The error of a triangular mesh that programmed itself from powers at its ports; nobody knew its splitters."""
    target = target_of(modes, seed)
    chip = MeshChip(Mesh("chain_cascade", modes), Nonidealities(splitter_error_std=ERROR), seed, dtype="float64")
    selfconfigure.progressive(chip, target)
    return unitary.error(target, chip.oracle_matrix())


def rectangle(modes: int, seed: int) -> tuple[dict[str, tuple[float, int]], dict[str, list[float]]]:
    """(error, clipped) by method of a rectangular mesh of plain MZIs, and errors by iteration from two starts."""
    mesh, target = Mesh("rectangular", modes), target_of(modes, seed)
    errors = drawn(mesh, seed, "apart")
    ideal = unitary.decompose(mesh, target)
    nulled, spoilt = selfconfigure.nullify(mesh, ideal, errors)
    local, clipped = unitary.transfer(mesh, ideal, errors)
    curves = {
        "local": selfconfigure.optimise(mesh, target, local, errors, ITERATIONS)[1],
        "none": selfconfigure.optimise(mesh, target, ideal, errors, ITERATIONS)[1],
    }
    methods = {
        "none": (curves["none"][0], 0),
        "parallel nullification": (unitary.error(target, unitary.matrix(mesh, nulled, errors)), spoilt),
        "local": (curves["local"][0], clipped),
        "optimised": (curves["local"][-1], clipped),
        "progressive": (measured(modes, seed), 0),
    }
    return methods, curves


def corrected(modes: int, node: str, errors: str, seed: int) -> tuple[float, int]:
    """(error, clipped) of a rectangular mesh of nodes, corrected node by node."""
    mesh, target = Mesh("rectangular", modes, node=node), target_of(modes, seed)
    off = drawn(mesh, seed, errors)
    settings, clipped = unitary.transfer(mesh, unitary.decompose(Mesh("rectangular", modes), target), off)
    return unitary.error(target, unitary.matrix(mesh, settings, off)), clipped


def summary(modes: int, node: str, errors: str, method: str, points: list[tuple[float, int]]) -> Row:
    """The row of so many meshes; `points` are (error, clipped) of each."""
    off, clipped = np.array(points, float).T
    return Row(
        modes, node, errors, method, float(off.mean()), float(off.min()), float(off.max()), float(clipped.mean())
    )


def table(sizes: Sequence[int] = SIZES, seeds: Sequence[int] = SEEDS) -> Results:
    """Compute every point."""
    rows, curves = [], {}
    for modes in sizes:
        points = []
        for seed in seeds:
            methods, both = rectangle(modes, seed)
            points.append(methods)
            if seed == seeds[0]:
                curves = both
        for method in METHODS:
            rows.append(summary(modes, "mzi", "apart", method, [methods[method] for methods in points]))
        for node, errors in NODES:
            by_node = [corrected(modes, node, errors, seed) for seed in seeds]
            rows.append(summary(modes, node, errors, "node by node", by_node))
    return rows, curves


def over_modes(ax: Axes, rows: list[Row], label: str, look: figures.Look) -> None:
    """Mean error over N, with a bar from the smallest to the largest of the meshes beside those of the other lines."""
    least, mean, most = (np.maximum([getattr(row, of) for row in rows], FLOOR) for of in ("least", "error", "most"))
    modes = [row.modes * 2 ** (0.07 * (figures.LOOKS.index(look) - 2)) for row in rows]
    ax.errorbar(modes, mean, [mean - least, most - mean], label=label, capsize=2, elinewidth=1.0, **look.line())


def framed(title: str, sizes: Sequence[int]) -> tuple[Figure, Axes]:
    """Axes for errors over N."""
    sheet = Figure((7.8, 4.2), layout="constrained")
    ax = sheet.subplots()
    ax.set(yscale="log", ylim=(FLOOR / 2.0, 2.0), ylabel="normalised error (1 = unrelated)", title=title)
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [str(n) for n in sizes])
    ax.set_xlabel("modes N (mean of the meshes; bars: smallest to largest)")
    ax.annotate(f"↓ exact, or below {FLOOR:g}", (0.03, 0.015), xycoords="axes fraction", fontsize=8)
    return sheet, ax


def draw(results: Results) -> Figure:
    """Methods over N."""
    rows, _ = results
    title = f"Splitters off by {ERROR} rad: known errors are corrected until MZIs are clipped"
    sheet, ax = framed(title, sorted({row.modes for row in rows}))
    for (method, label), look in zip(METHODS.items(), figures.LOOKS):
        over_modes(ax, [row for row in rows if row.method == method], label, look)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="correction")
    return sheet


def nodes(results: Results) -> Figure:
    """Nodes over N."""
    rows, _ = results
    title = "Which node leaves the smallest error, each corrected by itself?"
    sheet, ax = framed(title, sorted({row.modes for row in rows}))
    for ((node, errors), label), look in zip(NODES.items(), figures.LOOKS):
        over_modes(ax, [row for row in rows if row[1:4] == (node, errors, "node by node")], label, look)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="node of the mesh")
    return sheet


def steps(results: Results) -> Figure:
    """Optimisation over its steps."""
    rows, curves = results
    largest = max(row.modes for row in rows)
    sheet = Figure((6.6, 3.8), layout="constrained")
    ax = sheet.subplots()
    words = {"none": "from ideal phases", "local": "from phases corrected MZI by MZI"}
    for (start, label), look in zip(words.items(), figures.LOOKS):
        ax.plot(np.maximum(curves[start], FLOOR), label=label, **look.line(markevery=50))
    ax.set(yscale="log", xlabel="step of L-BFGS", ylabel="normalised error")
    ax.set_title(f"Optimising one mesh of {largest} modes: does the start matter?")
    ax.legend(loc="best")
    return sheet


def page(results: Results) -> list[str]:
    """The results as lines of Markdown."""
    rows, _ = results
    sizes = sorted({row.modes for row in rows})
    return [
        "# Programming meshes with splitter errors", "",
        "Made by `python -m l2sim.study.programming --full`.", "",
        "![Normalised error over N by method](programming.png)", "",
        "![Normalised error over N by node](programming-nodes.png)", "",
        "![Normalised error over steps of the optimisation](programming-optimised.png)", "",
        f"Haar random targets, splitters off by {ERROR} rad (standard deviation), {len(SEEDS)} meshes each (seeds 0",
        f"to {SEEDS[-1]}).",
        "Normalised error sqrt(1 - |tr(U^+ V)|^2 / N^2): mean [smallest to largest mesh]; in brackets how many MZIs",
        "were clipped.", "",
        *markdown(["node", "splitters of an MZI", "programmed", *(f"N = {n}" for n in sizes)], (
            (*key, *map(shown, same))
            for key, same in grouped(rows, lambda row: row[1:4]).items()
        )), "",
        "*none*: phases of ideal MZIs. *parallel nullification*: column by column with the null basis of the ideal",
        "mesh, screen refitted: to rounding until MZIs are clipped, from N = 32 on worse than none. *progressive*: a",
        "triangular mesh that programs itself from powers at its ports; its splitters are unknown to it. *local*,",
        "*node by node*: every node is set to do what the ideal MZI does, up to phases that move on",
        "(`unitary.transfer`). *optimised*: from there by gradients (`selfconfigure.optimise`).",
    ]  # fmt: skip


def shown(row: Row) -> str:
    """The cell of one point."""
    clipped = f" ({row.clipped:.3g})" if row.clipped else ""
    return f"{row.error:.2g} [{row.least:.1g} to {row.most:.1g}]{clipped}"


def steps_beside(path: Path) -> Path:
    """Where the errors by step are."""
    return path.with_name(f"{path.stem}-steps.csv")


def write(results: Results, path: Path) -> None:
    """Write the points to `path`, and the errors by step beside it."""
    rows, curves = results
    TABLE.write(rows, path)
    STEPS.write((Step(*step) for step in zip(itertools.count(), curves["none"], curves["local"])), steps_beside(path))


def read(path: Path) -> Results:
    """The inverse of `write`."""
    by_step = STEPS.read(steps_beside(path))
    return TABLE.read(path), {"none": [s.from_none for s in by_step], "local": [s.from_local for s in by_step]}


def compute(options: Namespace) -> Results:
    """Every point, of two small sizes and meshes for a quick look."""
    return table(some(SIZES, options, 2), some(SEEDS, options, 2))


TABLE, STEPS = Table(Row, ".4g"), Table(Step, ".4g")
STUDY = Study(
    "programming", __doc__, compute, page, write, read, {"": draw, "nodes": nodes, "optimised": steps}, runs=False
)

if __name__ == "__main__":
    STUDY.main()
