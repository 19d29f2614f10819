"""How near a mesh with splitter errors comes to its target, by the way it is programmed and by the nodes it is made of.

    python -m l2sim.study.programming --out docs/results

An MZI whose splitters are off by e cannot cross all light over: it is *clipped* where the target asks for more than
cos^2(el + er). The larger the mesh, the more MZIs have to cross nearly all (`l2sim.mesh.layouts`), so that some are
always clipped. Methods: `l2sim.learn.search.selfconfigure`; nodes: Hamerly et al., Nature Communications 13,
6831 (2022).
"""

from __future__ import annotations

import itertools
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
from l2sim.study.harness import Study, Table, grouped, markdown, plain

SIZES = (4, 8, 16, 32, 64)
SEEDS = 8
ERROR = 0.03
"""Standard deviation of the splitters' angles, radians."""
ITERATIONS = 500
METHODS = {
    "parallel nullification": ("tab:red", "parallel nullification"),
    "none": ("0.5", "none: ideal phases"),
    "progressive": ("tab:purple", "progressive, read at the ports only (triangular)"),
    "local": ("tab:blue", "MZI by MZI, errors known"),
    "optimised": ("tab:green", f"the same, then {ITERATIONS} steps of L-BFGS"),
}
NODES = {
    ("mzi", "alike"): ("tab:blue", "--", "MZI, its two splitters off alike"),
    ("mzi", "apart"): ("tab:blue", "-", "MZI"),
    ("crossing", "apart"): ("tab:orange", "-", "MZI + crossing"),
    ("crossing", "alike"): ("tab:orange", "--", "MZI + crossing, splitters off alike"),
    ("three_splitter", "apart"): ("tab:green", "-", "three-splitter MZI"),
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


def table(sizes: tuple[int, ...] = SIZES, seeds: int = SEEDS) -> Results:
    """Compute every point."""
    rows, curves = [], {}
    for modes in sizes:
        points = []
        for seed in range(seeds):
            methods, both = rectangle(modes, seed)
            points.append(methods)
            if seed == 0:
                curves = both
        for method in METHODS:
            rows.append(summary(modes, "mzi", "apart", method, [methods[method] for methods in points]))
        for node, errors in NODES:
            by_node = [corrected(modes, node, errors, seed) for seed in range(seeds)]
            rows.append(summary(modes, node, errors, "node by node", by_node))
    return rows, curves


def curve(axes: Axes, rows: list[Row], colour: str, style: str, label: str) -> None:
    """Mean error over N."""
    seen = np.maximum([row.error for row in rows], FLOOR)
    axes.plot([row.modes for row in rows], seen, style, color=colour, marker="o", ms=4, label=label)


def draw(results: Results) -> Figure:
    """The figure: methods over N, optimisation over its steps, nodes over N."""
    rows, curves = results
    figure = Figure(figsize=(13.5, 5.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3, sharey=True)
    for method, (colour, label) in METHODS.items():
        curve(left, [row for row in rows if row.method == method], colour, "-", label)
    for (node, errors), (colour, style, label) in NODES.items():
        seen = [row for row in rows if (row.node, row.errors, row.method) == (node, errors, "node by node")]
        curve(right, seen, colour, style, label)
    largest = max(row.modes for row in rows)
    middle.plot(np.maximum(curves["none"], FLOOR), color="0.5", label="from ideal phases")
    middle.plot(np.maximum(curves["local"], FLOOR), color="tab:green", label="from phases corrected MZI by MZI")
    spoilt = next(row.error for row in rows if (row.modes, row.method) == (largest, "parallel nullification"))
    middle.axhline(spoilt, color="tab:red", ls=":", label="parallel nullification")
    middle.set(xlabel="step of L-BFGS", title=f"Optimisation of one mesh of {largest} modes")
    left.set(yscale="log", ylim=(FLOOR / 2.0, 2.0), ylabel="normalised error (0 = the target, 1 = unrelated)")
    left.set_title("Rectangular mesh of MZIs, by correction")
    right.set_title("Rectangular mesh, by node, each corrected")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted({row.modes for row in rows}), sorted({row.modes for row in rows}))
        axes.set_xlabel("modes N")
        axes.annotate(f"↓ exact, or below {FLOOR:g}", (0.03, 0.015), xycoords="axes fraction", color="0.4", fontsize=9)
    for axes in (left, middle, right):
        plain(axes)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), frameon=False, fontsize=9)
    figure.suptitle(
        f"Programming a random unitary on a mesh whose splitters are off by {ERROR} rad (standard deviation): "
        f"mean of {SEEDS} meshes",
        fontsize=11,
    )
    return figure


def page(results: Results) -> list[str]:
    """The results as lines of Markdown."""
    rows, _ = results
    sizes = sorted({row.modes for row in rows})
    return [
        "# Programming meshes with splitter errors", "",
        "Made by `python -m l2sim.study.programming --out docs/results`.", "",
        "![Normalised error over N by method, over steps, and over N by node](programming.png)", "",
        f"Haar random targets, splitters off by {ERROR} rad (standard deviation), {SEEDS} meshes each.",
        "Normalised error sqrt(1 - |tr(U^+ V)|^2 / N^2), mean; in brackets how many MZIs were clipped.", "",
        *markdown(["node", "splitters of an MZI", "programmed", *(f"N = {n}" for n in sizes)], (
            (*key, *(f"{row.error:.2g}" + (f" ({row.clipped:.3g})" if row.clipped else "") for row in same))
            for key, same in grouped(rows, lambda row: row[1:4]).items()
        )), "",
        "*none*: phases of ideal MZIs. *parallel nullification*: column by column with the null basis of the ideal",
        "mesh, screen refitted: exact until an MZI is clipped, useless after that. *progressive*: a triangular mesh",
        "that programs itself from powers at its ports; its splitters are unknown to it. *local*, *node by node*:",
        "every node is set to do what the ideal MZI does, up to phases that move on (`unitary.transfer`). *optimised*:",
        "from there by gradients (`selfconfigure.optimise`).",
    ]  # fmt: skip


def write(results: Results, path: Path) -> None:
    """Write the points to `path`, and programming-steps.csv beside it."""
    rows, curves = results
    Table(Row, ".4g").write(rows, path)
    steps = (Step(*step) for step in zip(itertools.count(), curves["none"], curves["local"]))
    Table(Step, ".4g").write(steps, path.with_name("programming-steps.csv"))


STUDY = Study("programming", __doc__, lambda _: [table()], page, write, draw, 130, styled=False)

if __name__ == "__main__":
    STUDY.main()
