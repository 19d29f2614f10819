"""What loss does to gradients measured in situ, over the size of the mesh, and what its correction brings back.

    python -m l2sim.study.loss_bias --out docs/results

Digital and analog subtraction assume that light sent in reverse is the time reverse of light sent forward, which loss
breaks (Pai et al., Science 380, 398 (2023); `l2sim.learn.insitu`). A known uniform loss is corrected exactly; what an
arm loses more or less than the mean stays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from l2sim.backend import generator
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.learn.insitu import measure
from l2sim.mesh.mesh import Mesh
from l2sim.mesh.unitary import haar
from l2sim.study.harness import Study, Table, grouped, markdown, plain

SIZES = (4, 8, 16, 32, 64)
SEEDS = 8
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
    """One point: mean over seeds of the relative error |measured - true| / |true| and of the angle between the two."""

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


def table(sizes: tuple[int, ...] = SIZES, seeds: int = SEEDS) -> list[Row]:
    """Every point of the study."""
    rows = []
    for modes in sizes:
        for name, imperfect in CHIPS.items():
            points = [point(modes, imperfect, seed) for seed in range(seeds)]
            for scheme, correction in points[0]:
                mean = np.mean([each[scheme, correction] for each in points], axis=0)
                rows.append(Row(modes, name, scheme, correction, *map(float, mean)))
    return rows


CURVES = {
    ("uniform", "digital", "none"): ("tab:red", "-", "digital, as read"),
    ("uniform", "analog", "none"): ("tab:blue", "-", "analog, as read"),
    ("uniform", "digital", "opposite"): ("0.6", ":", "digital, corrected the wrong way round"),
    ("spread", "digital", "corrected"): ("tab:red", "--", "digital, corrected; arms differ"),
    ("spread", "analog", "corrected"): ("tab:blue", "--", "analog, corrected; arms differ"),
    ("uniform", "digital", "corrected"): ("tab:green", "-", "either, corrected; all arms alike"),
}


def draw(rows: list[Row]) -> Figure:
    """The figure: relative error and angle over the number of modes."""
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (loss, scheme, correction), (colour, style, label) in CURVES.items():
        seen = [row for row in rows if (row.loss, row.scheme, row.correction) == (loss, scheme, correction)]
        modes = [row.modes for row in seen]
        left.plot(modes, [row.relative_error for row in seen], style, color=colour, marker="o", ms=4, label=label)
        right.plot(modes, [row.angle_degrees for row in seen], style, color=colour, marker="o", ms=4)
    left.set(yscale="log", ylabel="|measured − true| / |true|", title="Error of the gradient (1 = as large as it)")
    left.set_ylim(0.008, 300)
    exact = max(row.relative_error for row in rows if (row.loss, row.correction) == ("uniform", "corrected"))
    note = f"↓ all arms alike, corrected: below {10.0 ** np.ceil(np.log10(exact)):.0e}"
    left.annotate(note, (0.02, 0.03), xycoords="axes fraction", color="tab:green")
    left.axhline(1.0, color="0.8", lw=1, zorder=0)
    right.set(ylabel="angle, degrees", title="Direction (90° = useless)", ylim=(-3, 95))
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted({row.modes for row in rows}), sorted({row.modes for row in rows}))
        axes.set_xlabel("modes N of the mesh (N columns)")
        plain(axes)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(
        f"In situ gradients of a rectangular mesh that loses {LOSS_DB} dB per arm section "
        f"(“arms differ”: spread {SPREAD_DB} dB); mean of {SEEDS} meshes",
        fontsize=10.5,
    )
    return figure


def page(rows: list[Row]) -> list[str]:
    """The results as lines of Markdown."""
    return [
        "# What loss does to gradients measured in situ", "",
        "Made by `python -m l2sim.study.loss_bias --out docs/results`.", "",
        "![Relative error and angle of the measured gradient over N](loss-bias.png)", "",
        f"Haar random rectangular meshes, {BATCH} vectors, {LOSS_DB} dB lost in every arm section (two a column),",
        f"light and cotangents normalised; \"spread\": sections differ by {SPREAD_DB} dB (one standard deviation).",
        "Relative error of theta and phi together, in brackets the angle to the true gradient; mean of",
        f"{SEEDS} meshes.", "",
        *markdown(["loss", "read-out", "correction", *(f"N = {n}" for n in sorted({r.modes for r in rows}))], (
            (*key, *(f"{row.relative_error:.2g} ({row.angle_degrees:.2g}°)" for row in seen))
            for key, seen in grouped(rows, lambda row: row[1:4]).items()
        )), "",
        "A known uniform loss is corrected to rounding: forward and sum powers divided by t^{2d}, backward powers",
        "multiplied by it, d columns in (`l2sim/learn/insitu.py`). Corrected the other way round the gradient is worse",
        "than as read. What remains is each arm's departure from the mean loss.",
    ]  # fmt: skip


STUDY = Study("loss-bias", __doc__, lambda _: [table()], page, Table(Row, ".4g").write, draw, 130, styled=False)

if __name__ == "__main__":
    STUDY.main()
