"""Accuracy against mapping quality: how much of a bad mapping learning on the chip makes good.

    python -m l2sim.study.mapping_quality             a quick look
    python -m l2sim.study.mapping_quality --full      the page

Preset `digits`; mapping is stopped after some epochs (`map.snapshots`) and subspace learning goes on from there (`l2sim
run --from RUN@map:EPOCH`), as in L2ight, NeurIPS 2021, where VGG8 on CIFAR-10 is learnt from seven mappings.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from l2sim.job.job import Job
from l2sim.report import figures
from l2sim.study.harness import (
    INTERVALS,
    Run,
    Spread,
    Study,
    Table,
    bars,
    complete,
    grouped,
    listed,
    magnitude,
    markdown,
    percent,
    share,
    some,
)  # fmt: skip

SEEDS = tuple(range(1, 11))
SNAPSHOTS = (2, 5, 10, 20, 40, 80, 160, 250)
"""Mapping epochs that learning starts from; the last 50 of the preset's 300 are a polish, which these do without."""
LEARN = 10
NEAR = 0.02
"""How near to the best learnt accuracy is good, in the words of the page."""
SETUP = {"pretrain.epochs": 60, "map.compare": False, "learn.epochs": LEARN}
"""The preset's mapping, with less pretraining and learning."""
SHORT = {
    "pretrain.epochs": 2, "calibrate.epochs": 3, "calibrate.polish": 0, "map.epochs": 8, "map.polish": 0,
    "learn.epochs": 1,
}  # fmt: skip
"""What a quick look has less of."""


class Row(NamedTuple):
    """One run: how it was mapped, and the test accuracies after mapping and after learning. `epochs` 0: the whole
    mapping of the preset, polish included."""

    seed: int
    epochs: int
    mapping_error: float
    mapped: float
    learned: float
    pretrained: float


def tasks(folder: Path, seed: int, snapshots: Sequence[int], all_of_it: bool = True) -> list[Run]:
    """The whole run, and then those that learn from each of its snapshots; short ones where it is not `all_of_it`."""
    whole = folder / f"mapping-quality-{seed}"
    setup = SETUP | ({} if all_of_it else SHORT)
    job = Job.preset("digits", setup | {"seed": seed, "map.snapshots": list(snapshots)})
    runs = [Run(job, whole)]
    for epochs in snapshots:
        early = Job.preset("digits", setup | {"seed": seed, "map.epochs": epochs, "map.polish": 0})
        runs.append(Run(early, folder / f"mapping-quality-{seed}-{epochs}", f"{whole}@map:{epochs}"))
    return runs


def row(run: Run) -> Row:
    """What a finished run tells."""
    stages, plan = run.stages(), run.job.map
    mapped, learned, pretrained = stages["map"], stages["learn"].accuracy, stages["pretrain"].accuracy
    epochs = 0 if plan.snapshots else plan.epochs
    return Row(run.job.seed, epochs, mapped.oracle_mapping_error, mapped.accuracy, learned, pretrained)


def summary(rows: list[Row]) -> list[tuple[int, list[Spread]]]:
    """(epochs, means of error, accuracy mapped, accuracy learnt)."""
    means, by_epochs = [], grouped(rows, lambda row: row.epochs)
    for epochs in (*SNAPSHOTS, 0):
        if same := by_epochs.get(epochs):
            error, mapped, learned = zip(*(row[2:5] for row in same))
            means.append((epochs, [magnitude(error), share(mapped), share(learned)]))
    return means


def draw(rows: list[Row]) -> Figure:
    """Accuracy mapped and learnt over mapping epochs."""
    whole, means = 450, summary(rows)
    sheet = Figure((7.2, 4.3), layout="constrained")
    ax = sheet.subplots()
    x = [epochs or whole for epochs, _ in means]
    for at, look, words in (
        (2, figures.LOOKS[0], f"mapped, then learnt on the chip for {LEARN} epochs"), (1, figures.LOOKS[1], "mapped"),
    ):  # fmt: skip
        bars(ax, x, [values[at] for _, values in means], look, 100, label=words)
    top = 100 * float(np.mean([row.pretrained for row in rows]))
    ax.axhline(top, color=figures.INK, lw=1, ls=(0, (4, 3)), label="electronic network")
    ax.set(xscale="log", xlabel="mapping epochs", ylabel="test accuracy (%)", ylim=(0, 102))
    ax.set_xticks(x, [str(epochs) if epochs else "300,\npolished" for epochs, _ in means])
    ax.minorticks_off()
    sheet.legend(loc="outside lower center", ncols=3)
    best = max(values[2].mean for _, values in means)
    epochs = next(n for n, values in means if values[2].mean >= best - NEAR)
    ax.set_title(f"Learning makes good what mapping leaves: {epochs or 'all'} epochs are enough "
                 f"(means of {listed(row.seed for row in rows).partition(' (')[0]})")  # fmt: skip
    return sheet


def page(rows: list[Row]) -> list[str]:
    """The results as lines of Markdown."""
    means = summary(rows)
    (few, first), (_, last) = means[0], means[-1]
    best = max(values[2].mean for _, values in means)
    epochs, good = next((n, values) for n, values in means if values[2].mean >= best - NEAR)
    return [
        "# Accuracy against mapping quality", "",
        "Made by `python -m l2sim.study.mapping_quality --full`; every run is in",
        "[mapping-quality.csv](mapping-quality.csv).", "",
        "![Accuracy mapped and learnt over mapping epochs](mapping-quality.png)", "",
        f"`digits` (CNN-S, the chip of L2ight), {listed(row.seed for row in rows)}: means. {INTERVALS}",
        f"The electronic network ({SETUP['pretrain.epochs']} epochs) has "
        f"{100 * np.mean([row.pretrained for row in rows]):.1f} %; learning takes {LEARN} epochs.",
        "The whole mapping of the preset has 300 epochs and ends with a polish.", "",
        *markdown(("mapping epochs", "mapping error", "mapped, %", "learnt, %"), (
            (epochs or "whole", f"{error.mean:.2g} ({error.low:.2g} to {error.high:.2g})", *map(percent, accuracies))
            for epochs, (error, *accuracies) in means
        )), "",
        f"Learning from {epochs or 'all'} epochs of mapping (error {good[0].mean:.2g}, "
        f"{100 * good[1].mean:.0f} % mapped)",
        f"ends within {100 * NEAR:g} points of the best; from {few} epochs ({100 * first[1].mean:.0f} % mapped)",
        f"it ends {100 * (last[2].mean - first[2].mean):.0f} points below. This is a small network on an easy set:",
        "the publication's figure is of VGG8 on CIFAR-10, from mappings of 59.6 to 89.1 %, learnt for 50 epochs.",
    ]  # fmt: skip


def compute(options: Namespace) -> list[Row] | None:
    """Make the runs; their rows where all are finished."""
    snapshots = some(SNAPSHOTS, options, 2)
    runs = [run for seed in some(SEEDS, options) for run in tasks(options.runs, seed, snapshots, options.full)]
    return [row(run) for run in runs] if complete(runs, options.data) else None


TABLE = Table(Row, ".5g")
STUDY = Study("mapping-quality", __doc__, compute, page, TABLE.write, TABLE.read, {"": draw})

if __name__ == "__main__":
    STUDY.main()
