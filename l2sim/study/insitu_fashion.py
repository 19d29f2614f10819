"""The published training on Fashion-MNIST: its printed curve beside ours, with and without its fault in Adam.

    python -m l2sim.study.insitu_fashion             a quick look
    python -m l2sim.study.insitu_fashion --full      the page

The preset `insitu-fashion` trains what the notebook "Scalability of in situ backpropagation" (Pai et al., Science 380,
398 (2023)) trains. The notebook restarts the step count of Adam every epoch (`learn.legacy_adam`), which keeps its
effective learning rate at a third or less for ever.
"""

from __future__ import annotations

from argparse import Namespace
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from l2sim.backend import Array
from l2sim.job.job import Job
from l2sim.report import figures
from l2sim.report.insitu import NOTEBOOK
from l2sim.study.harness import (
    INTERVALS,
    Run,
    Settings,
    Study,
    Table,
    finished,
    grouped,
    listed,
    markdown,
    percent,
    share,
    sized,
    some,
)  # fmt: skip

SEEDS = (1, 2, 3)
NEAR = 0.008
"""How close the mean of the seeds is wanted to the printed curve."""
WAYS: dict[str, Settings] = {"restart": {"learn.legacy_adam": True}, "plain": {}}


class Row(NamedTuple):
    """An epoch of one seed in one way."""

    way: str
    seed: int
    epoch: int
    test_accuracy: float


def curves(rows: list[Row]) -> dict[str, Array]:
    """Accuracy (seeds, epochs) by way."""
    return {
        way: np.array([row.test_accuracy for row in same]).reshape(len({row.seed for row in same}), -1)
        for way, same in grouped(rows, lambda row: row.way).items()
    }


def page(rows: list[Row]) -> list[str]:
    """The page for people."""
    by_way, table = curves(rows), []
    length = min(values.shape[1] for values in by_way.values())
    printed_at = {epoch: printed for epoch, printed in NOTEBOOK.items() if epoch <= length}
    for epoch, printed in printed_at.items():
        ends = {way: share(values[:, epoch - 1].tolist()) for way, values in by_way.items()}
        restart, other = (percent(mean, 2) for mean in ends.values())
        table.append((epoch, f"{100 * printed:.2f}", restart, f"{100 * (ends['restart'].mean - printed):+.2f}", other))
    worst = max(abs(by_way["restart"][:, epoch - 1].mean() - printed) for epoch, printed in printed_at.items())
    within = "within" if worst <= NEAR else "not within"
    return [
        "# In situ training on Fashion-MNIST", "",
        "Made by `python -m l2sim.study.insitu_fashion --full --data DIR`; every epoch of every seed is in",
        "[insitu-fashion.csv](insitu-fashion.csv).", "",
        "![Test accuracy over epochs: the two curves with the restart lie on the printed points](insitu-fashion.png)",
        "",
        "Test accuracy of three 64-mode meshes on 64 Fourier features (preset `insitu-fashion`), %: means of",
        f"{listed(row.seed for row in rows)}. {INTERVALS} `restart`: Adam's step count restarts",
        "every epoch, as the notebook has it (`--set learn.legacy_adam=true`).", "",
        *markdown(
            ("epoch", "the notebook, as printed", "restart", "difference", "without the restart"), table
        ), "",
        f"The mean with the restart is {within} {100 * NEAR:g} points of the printed curve: it is off by",
        f"{100 * worst:.2f} points at most.",
        "", "As in the notebook: random unitaries to start from, Adam 1e-3, 50 epochs of 117 mini-batches of 512 in",
        "order, the last 96 images never seen. Otherwise than there: the loss is the mean over samples, not over",
        "samples and classes (Adam does not mind), and screens are not trained, since their gradient behind |.| is",
        "zero.",
    ]  # fmt: skip


def draw(rows: list[Row]) -> Figure:
    """Test accuracy over epochs, mean and range of the seeds, and the printed points."""
    sheet = Figure((7, 4.2), layout="constrained")
    ax = sheet.subplots()
    words = {"restart": "Adam's count restarts every epoch (legacy_adam)", "plain": "Adam as it should be"}
    for (way, values), look in zip(curves(rows).items(), figures.LOOKS):
        epochs = np.arange(1, values.shape[1] + 1)
        ax.fill_between(epochs, 100 * values.min(0), 100 * values.max(0), color=look.colour, alpha=0.2, lw=0)
        style = look.line(marker="")
        ax.plot(epochs, 100 * values.mean(0), label=f"{words[way]}, mean and range of {len(values)} seeds", **style)
    ax.plot([*NOTEBOOK], [100 * v for v in NOTEBOOK.values()], "o", color=figures.INK, label="the notebook, one run")
    ax.set(xlabel="epochs", ylabel="test accuracy (%)", 
           title="Restarting Adam's count every epoch reproduces the printed curve, and costs accuracy")
    ax.legend(loc="lower right")
    return sheet


def compute(options: Namespace) -> list[Row] | None:
    """Make the runs; every epoch of all of them, or nothing while another process is at one."""
    runs = {
        (way, seed): Run(
            sized(Job.preset("insitu-fashion", {"seed": seed} | more), options), options.runs / f"fashion-{way}-{seed}"
        )
        for way, more in WAYS.items() for seed in some(SEEDS, options)
    }  # fmt: skip
    curves = finished(runs, options.data)
    if len(curves) < len(runs):
        return None
    return [Row(*key, epoch, one) for key, curve in curves.items() for epoch, one in enumerate(curve.tolist(), 1)]


TABLE = Table(Row, ".4f")
STUDY = Study("insitu-fashion", __doc__, compute, page, TABLE.write, TABLE.read, {"": draw})

if __name__ == "__main__":
    STUDY.main()
