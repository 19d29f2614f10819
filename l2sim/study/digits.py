"""The preset `digits` (`l2sim run`) with ten seeds: the accuracy after every stage, and how far seeds differ.

    python -m l2sim.study.digits             a quick look
    python -m l2sim.study.digits --full      the page

A seed is another chip, other weights to start from, and other noise; the data are the same.
"""

from __future__ import annotations

from argparse import Namespace
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
    listed,
    magnitude,
    markdown,
    percent,
    share,
    sized,
    some,
)  # fmt: skip

SEEDS = tuple(range(1, 11))


class Row(NamedTuple):
    """One run: test accuracies after the stages, `projected` with the projection that knows the meshes after mapping;
    errors are means over all cores, known to an observer."""

    seed: int
    pretrained: float
    deployed: float
    identity_error: float
    mapping_error: float
    mapped: float
    projected: float
    learned: float


STAGES = {
    "pretrained": "pretrain\n(electronic)", "deployed": "deploy\n(as is)", "mapped": "map\n(calibrated)",
    "learned": "learn\n(on chip)",
}  # fmt: skip


def row(run: Run) -> Row:
    """What a finished run tells."""
    stages = run.stages()
    identity, mapped = stages["calibrate"].oracle_identity_error, stages["map"]
    return Row(
        run.job.seed, stages["pretrain"].accuracy, stages["deploy"].accuracy, (identity["u"] + identity["v"]) / 2,
        mapped.oracle_mapping_error, mapped.accuracy, mapped.oracle_accuracy, stages["learn"].accuracy,
    )  # fmt: skip


def shares(rows: list[Row], name: str) -> Spread:
    """The mean of an accuracy over the seeds."""
    return share([getattr(row, name) for row in rows])


def page(rows: list[Row]) -> list[str]:
    """The results as lines of Markdown."""
    identity = magnitude([row.identity_error for row in rows])
    mapping = magnitude([row.mapping_error for row in rows])
    mapped = [100 * row.mapped for row in rows]
    stages = (
        ("pretrain", "electronic weights", "pretrained"), ("deploy", "their ideal phases on the chip", "deployed"),
        ("map", "phases are searched for the weights", "mapped"),
        ("map", "the same, sigma projected by who knows the meshes (oracle)", "projected"),
        ("learn", "sigma and batch norm are trained on the chip", "learned"),
    )  # fmt: skip
    return [
        "# `l2sim run` with ten seeds" if len(rows) == 10 else f"# `l2sim run` with {listed(r.seed for r in rows)}", "",
        "Made by `python -m l2sim.study.digits --full`; every run is in [digits.csv](digits.csv).", "",
        "![Accuracy after each stage: every seed a dot, means with their intervals](digits.png)", "",
        f"Preset `digits`, {listed(row.seed for row in rows)}: accuracy on the test set (360 images), mean over the",
        f"seeds. {INTERVALS}", "",
        *markdown(("stage", "what happens", "accuracy, %", "lowest seed, %", "highest seed, %"), (
            (stage, words, percent(shares(rows, name)), *(
                f"{100 * end([getattr(row, name) for row in rows]):.1f}" for end in (min, max)
            ))
            for stage, words, name in stages
        )), "",
        f"After calibration the identity error of a core is {identity.mean:.2g} ({identity.low:.2g} to "
        f"{identity.high:.2g}), after mapping its error {mapping.mean:.2g} ({mapping.low:.2g} to {mapping.high:.2g}).",
        f"Accuracy after mapping is what differs most from chip to chip ({min(mapped):.1f} to {max(mapped):.1f} %):",
        "a single run says little of it.",
    ]  # fmt: skip


def draw(rows: list[Row]) -> Figure:
    """Accuracy by stage: seeds as dots, means with intervals."""
    sheet = Figure((6.6, 3.6), layout="constrained")
    ax = sheet.subplots()
    for at, name in enumerate(STAGES):
        mean = shares(rows, name)
        every = np.array([100 * getattr(row, name) for row in rows])
        ax.bar(at, 100 * mean.mean, 0.5, color=figures.GREY if name == "pretrained" else figures.SKY)
        ax.plot(at + np.linspace(-0.18, 0.18, len(every)), every, "o", ms=4, mfc="white", mec=figures.INK, mew=0.8)
        bars(ax, [at + 0.32], [mean], figures.LOOKS[0], scale=100, color=figures.INK, marker="")
        figures.note(ax, f"{100 * mean.mean:.1f} %", at, max(every.max(), 100 * mean.mean), 5, fontweight="bold")
    ax.plot([], [], "o", ms=4, mfc="white", mec=figures.INK, mew=0.8, label="one seed")
    bars(ax, [], [], figures.LOOKS[0], color=figures.INK, marker="", label="95 % interval of the mean")
    ax.axhline(10, color=figures.INK, lw=1, ls=(0, (4, 3)), zorder=0.9)
    ax.annotate("chance", (3.55, 10), (0, 3), textcoords="offset points", ha="right", fontsize=8)
    ax.set_xticks(range(len(STAGES)), list(STAGES.values()))
    ax.set(ylim=(0, 112), ylabel="test accuracy (%)", xlim=(-0.5, 3.6))
    ax.set_yticks(range(0, 101, 20))
    ax.grid(axis="x", visible=False)
    ax.set_title(f"How accurate is the network after each stage? Means of {listed(row.seed for row in rows)}")
    ax.legend(loc="upper center", bbox_to_anchor=(0.37, 0.9))
    return sheet


def compute(options: Namespace) -> list[Row] | None:
    """Make the runs; their rows where all are finished."""
    runs = [
        Run(sized(Job.preset("digits", {"seed": seed}), options), options.runs / f"digits-{seed}")
        for seed in some(SEEDS, options)
    ]
    return [row(run) for run in runs] if complete(runs, options.data) else None


TABLE = Table(Row, ".5g")
STUDY = Study("digits", __doc__, compute, page, TABLE.write, TABLE.read, {"": draw})

if __name__ == "__main__":
    STUDY.main()
