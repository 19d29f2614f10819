"""What loss does to gradients measured in situ, over the size of the mesh, and what its correction brings back.

    python -m l2sim.study.loss_bias             a quick look
    python -m l2sim.study.loss_bias --full      the page

Digital and analog subtraction assume that light sent in reverse is the time reverse of light sent forward, which loss
breaks (Pai et al., Science 380, 398 (2023); `l2sim.learn.insitu`). A known uniform loss is corrected exactly; what an
arm loses more or less than the mean stays.
"""

from __future__ import annotations

import itertools
from argparse import Namespace
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from l2sim.backend import generator
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.learn.insitu import measure
from l2sim.mesh.mesh import Mesh
from l2sim.mesh.unitary import haar
from l2sim.report import figures
from l2sim.study.harness import Study, Table, grouped, listed, markdown, some, spread

SIZES = (4, 8, 16, 32, 64)
SEEDS = tuple(range(8))
BATCH = 32
LOSS_DB = 0.1
SPREAD_DB = 0.05
"""Mean loss of an arm section and its spread; a column has two sections."""
CHIPS = {
    "uniform": Nonidealities(loss_db=LOSS_DB),
    "spread": Nonidealities(loss_db=LOSS_DB, loss_db_std=SPREAD_DB),
}
CORRECTIONS = {"none": 0.0, "corrected": 2 * LOSS_DB, "opposite": -2 * LOSS_DB}
SCHEMES = ("digital", "analog")


class Row(NamedTuple):
    """One mesh: the relative error |measured - true| / |true|, and the angle between the two."""

    seed: int
    modes: int
    loss: str
    scheme: str
    correction: str
    relative_error: float
    angle_degrees: float


def point(modes: int, imperfect: Nonidealities, seed: int) -> dict[tuple[str, str], tuple[float, float]]:
    """(relative error, angle in degrees) of one Haar random mesh by (scheme, correction).

    L = mean over B of sum_n w_n |y_n|^2 + Re conj(t_n) y_n, all random; theta and phi together.
    """
    draw = generator(seed, "loss bias", modes)
    chip = MeshChip(Mesh("rectangular", modes), imperfect, seed, dtype="float64")
    settings = haar(chip.mesh, draw)
    chip.set_phases(settings.theta, settings.phi, settings.screen)
    z = draw.normal(size=(4, modes, BATCH)) / np.sqrt(2 * modes)
    x, target = z[0] + 1j * z[1], z[2] + 1j * z[3]
    g = (2 * draw.uniform(size=(modes, 1)) * np.conj(chip.forward(x)) + np.conj(target)) / BATCH
    true = np.concatenate(chip.oracle_gradient(x, g)[:2])
    errors = {}
    for scheme in SCHEMES:
        for name, loss in CORRECTIONS.items():
            seen = np.concatenate(measure(chip, x, g, scheme, loss_per_column=loss)[:2])
            cosine = seen @ true / (np.linalg.norm(seen) * np.linalg.norm(true))
            error = np.linalg.norm(seen - true) / np.linalg.norm(true)
            errors[scheme, name] = float(error), float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return errors


def table(sizes: Sequence[int] = SIZES, seeds: Sequence[int] = SEEDS) -> list[Row]:
    """Every point of the study, of every mesh."""
    return [
        Row(seed, modes, name, scheme, correction, error, angle)
        for modes, (name, imperfect), seed in itertools.product(sizes, CHIPS.items(), seeds)
        for (scheme, correction), (error, angle) in point(modes, imperfect, seed).items()
    ]


CURVES = {
    ("uniform", "digital", "none"): "digital, as read",
    ("uniform", "analog", "none"): "analog, as read",
    ("spread", "digital", "corrected"): "digital, corrected; arms differ",
    ("spread", "analog", "corrected"): "analog, corrected; arms differ",
    ("uniform", "digital", "opposite"): "digital, corrected the wrong way round",
}


def draw(rows: list[Row]) -> Figure:
    """Relative error over the number of modes."""
    sheet = Figure((7.6, 4.4), layout="constrained")
    ax = sheet.subplots()
    for (key, label), look in zip(CURVES.items(), figures.LOOKS):
        by_modes = grouped((row for row in rows if row[2:5] == key), lambda row: row.modes)
        means = [spread([row.relative_error for row in same]) for same in by_modes.values()]
        ax.plot([*by_modes], [mean.mean for mean in means], label=label, **look.line())
        low = [max(mean.low, 0.2 * mean.mean) for mean in means]
        ax.fill_between([*by_modes], low, [mean.high for mean in means], color=look.colour, alpha=0.15, lw=0)
    ax.axhline(1.0, color=figures.INK, lw=1, ls=(0, (4, 3)), zorder=0.9)
    sizes = sorted({row.modes for row in rows})
    ax.annotate("as large as the gradient", (sizes[-1], 1), (0, 3), textcoords="offset points", ha="right", fontsize=8)
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [str(n) for n in sizes])
    ax.set(yscale="log", ylabel="error of the gradient, |measured − true| / |true|", xlabel="modes N of the mesh")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    ax.set_title("Loss ruins gradients measured in situ; corrected, what is left is how arms differ")
    return sheet


def page(rows: list[Row]) -> list[str]:
    """The results as lines of Markdown."""
    return [
        "# What loss does to gradients measured in situ", "",
        "Made by `python -m l2sim.study.loss_bias --full`; every mesh is in [loss-bias.csv](loss-bias.csv).", "",
        "![Relative error of the measured gradient over N](loss-bias.png)", "",
        f"Haar random rectangular meshes, {BATCH} vectors, {LOSS_DB} dB lost in every arm section (two a column),",
        f"light and cotangents normalised; \"spread\": sections differ by {SPREAD_DB} dB (one standard deviation).",
        f"Relative error of theta and phi together: mean of {listed(r.seed for r in rows)}, a mesh each, with half the",
        "width of its 95 % interval (Student's t); in brackets the mean angle to the true gradient.", "",
        *markdown(["loss", "read-out", "correction", *(f"N = {n}" for n in sorted({r.modes for r in rows}))], (
            (*key, *map(shown, grouped(same, lambda row: row.modes).values()))
            for key, same in grouped(rows, lambda row: row[2:5]).items()
        )), "",
        "A known uniform loss is corrected to rounding: forward and sum powers divided by t^{2d}, backward powers",
        "multiplied by it, d columns in (`l2sim/learn/insitu.py`). Corrected the other way round the gradient is worse",
        "than as read. What remains is each arm's departure from the mean loss.",
    ]  # fmt: skip


def shown(same: list[Row]) -> str:
    """The cell of one point."""
    error, angle = spread([row.relative_error for row in same]), np.mean([row.angle_degrees for row in same])
    return "exact" if error.mean < 1e-9 else f"{error.mean:.2g} ± {error.high - error.mean:.1g} ({angle:.2g}°)"


def compute(options: Namespace) -> list[Row]:
    """Every point, of two small sizes and meshes for a quick look."""
    return table(some(SIZES, options, 2), some(SEEDS, options, 2))


TABLE = Table(Row, ".4g")
STUDY = Study("loss-bias", __doc__, compute, page, TABLE.write, TABLE.read, {"": draw}, runs=False)

if __name__ == "__main__":
    STUDY.main()
