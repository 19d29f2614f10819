"""Accuracy against mapping quality: how much of a bad mapping learning on the chip makes good.

    python -m l2sim.study.mapping_quality --out docs/results

Preset `digits`; mapping is stopped after some epochs (`map.snapshots`) and subspace learning goes on from there (`l2sim
run --from RUN@map:EPOCH`), as in L2ight, NeurIPS 2021, where VGG8 on CIFAR-10 is learnt from seven mappings.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from l2sim.job.job import Job
from l2sim.report import figures
from l2sim.study.harness import Run, Study, Table, complete, grouped, interval, markdown

SEEDS = (1, 2, 3)
SNAPSHOTS = (2, 5, 10, 20, 40, 80, 160, 250)
"""Mapping epochs that learning starts from; the last 50 of the preset's 300 are a polish, which these do without."""
LEARN = 10
NEAR = 0.02
"""How near to the best learnt accuracy is good, in the words of the page."""
SETUP = {"pretrain.epochs": 60, "map.compare": False, "learn.epochs": LEARN}
"""The preset's mapping, with less pretraining and learning."""


class Row(NamedTuple):
    """One run: how it was mapped, and the test accuracies after mapping and after learning. `epochs` 0: the whole
    mapping of the preset, polish included."""

    seed: int
    epochs: int
    mapping_error: float
    mapped: float
    learned: float
    pretrained: float


def tasks(folder: Path, seed: int) -> list[Run]:
    """The whole run, and then those that learn from each of its snapshots."""
    whole = folder / f"mapping-quality-{seed}"
    job = Job.preset("digits", SETUP | {"seed": seed, "map.snapshots": list(SNAPSHOTS)})
    runs = [Run(job, whole)]
    for epochs in SNAPSHOTS:
        early = Job.preset("digits", SETUP | {"seed": seed, "map.epochs": epochs, "map.polish": 0})
        runs.append(Run(early, folder / f"mapping-quality-{seed}-{epochs}", f"{whole}@map:{epochs}"))
    return runs


def row(run: Run) -> Row:
    """What a finished run tells."""
    stages, plan = run.stages(), run.job.map
    mapped, learned, pretrained = stages["map"], stages["learn"].accuracy, stages["pretrain"].accuracy
    epochs = 0 if plan.snapshots else plan.epochs
    return Row(run.job.seed, epochs, mapped.mapping_error, mapped.accuracy, learned, pretrained)


def summary(rows: list[Row]) -> list[tuple[int, list[tuple[float, float]]]]:
    """(epochs, [(mean, half the width of its 95 % interval) of error, mapped, learned]), by number of seeds."""
    means, by_epochs = [], grouped(rows, lambda row: row.epochs)
    for epochs in (*SNAPSHOTS, 0):
        if same := by_epochs.get(epochs):
            values = np.array([row[2:5] for row in same]).T
            means.append((epochs, [(float(v.mean()), interval(v.tolist())) for v in values]))
    return means


def draw(rows: list[Row]) -> Figure:
    """Accuracy over mapping epochs, and accuracy learnt over accuracy mapped."""
    whole = 450
    sheet = Figure((10.5, 4.3), layout="constrained")
    left, right = sheet.subplots(1, 2)
    means = summary(rows)
    x = [epochs or whole for epochs, _ in means]
    for at, colour, mark, words in (
        (1, figures.VERMILLION, "s", "mapped"), (2, figures.BLUE, "o", f"and learnt, {LEARN} epochs"),
    ):  # fmt: skip
        mean, width = 100 * np.array([values[at] for _, values in means]).T
        left.errorbar(x, mean, width, color=colour, marker=mark, ms=5, capsize=3, label=words)
    top = 100 * np.mean([row.pretrained for row in rows])
    left.axhline(top, color=figures.GREY, lw=1, ls=(0, (4, 3)), label="electronic network")
    left.set(xscale="log", xlabel="mapping epochs", ylabel="test accuracy (%)", ylim=(0, 101))
    left.set_xticks(x, [str(epochs) if epochs else "300,\npolished" for epochs, _ in means])
    left.minorticks_off()
    left.legend(loc="lower right")
    left.set_title("Learning makes good what mapping leaves")
    for seed, mark in zip(dict.fromkeys(row.seed for row in rows), "osD^v"):
        mine = [row for row in rows if row.seed == seed]
        mapped, learned = (100 * np.array([getattr(row, what) for row in mine]) for what in ("mapped", "learned"))
        right.plot(mapped, learned, mark, color=figures.BLUE, ms=6, mfc="none", label=f"chip {seed}")
    right.plot([0, 100], [0, 100], color=figures.GREY, lw=1, ls=(0, (4, 3)), label="unchanged")
    right.set(xlabel="accuracy mapped (%)", ylabel="accuracy learnt (%)", xlim=(0, 101), ylim=(0, 101))
    right.legend(loc="lower right")
    right.set_title("What learning makes of a mapping")
    return sheet


def page(rows: list[Row]) -> list[str]:
    """The results as lines of Markdown."""
    seeds, means = len({row.seed for row in rows}), summary(rows)
    (few, first), (_, last) = means[0], means[-1]
    best = max(values[2][0] for _, values in means)
    epochs, good = next((n, values) for n, values in means if values[2][0] >= best - NEAR)
    return [
        "# Accuracy against mapping quality", "",
        "Made by `python -m l2sim.study.mapping_quality --out docs/results`; every run is in",
        "[mapping-quality.csv](mapping-quality.csv).", "",
        "![Accuracy mapped and learnt over mapping epochs, and one over the other](mapping-quality.png)", "",
        f"`digits` (CNN-S, the chip of L2ight), {seeds} seeds: mean ± half the width of the 95 % confidence interval.",
        f"The electronic network ({SETUP['pretrain.epochs']} epochs) has "
        f"{100 * np.mean([row.pretrained for row in rows]):.1f} %; learning takes {LEARN} epochs.",
        "The whole mapping of the preset has 300 epochs and ends with a polish.", "",
        *markdown(("mapping epochs", "mapping error", "mapped, %", "learnt, %"), (
            (epochs or "whole", f"{error:.2g} ± {spread:.1g}",
             *(f"{100 * mean:.1f} ± {100 * width:.1f}" for mean, width in accuracies))
            for epochs, ((error, spread), *accuracies) in means
        )), "",
        f"Learning from {epochs or 'all'} epochs of mapping (error {good[0][0]:.2g}, {100 * good[1][0]:.0f} % mapped)",
        f"ends within {100 * NEAR:g} points of the best; from {few} epochs ({100 * first[1][0]:.0f} % mapped)",
        f"it ends {100 * (last[2][0] - first[2][0]):.0f} points below. This is a small network on an easy set:",
        "the publication's figure is of VGG8 on CIFAR-10, from mappings of 59.6 to 89.1 %, learnt for 50 epochs.",
    ]  # fmt: skip


def compute(options: Namespace) -> Iterator[list[Row]]:
    """Make the runs; the rows of those that are finished."""
    rows = []
    for run in (run for seed in SEEDS for run in tasks(options.runs, seed)):
        complete([run], options.data)
        if run.accuracy() is not None:
            rows.append(row(run))
    yield rows


STUDY = Study("mapping-quality", __doc__, compute, page, Table(Row, ".5g").write, draw, 120, runs=True)

if __name__ == "__main__":
    STUDY.main()
