"""The published training on Fashion-MNIST: its printed curve beside ours, with and without its fault in Adam.

    python -m l2sim.study.insitu_fashion --data DIR --out docs/results

The preset `insitu-fashion` trains what the notebook "Scalability of in situ backpropagation" (Pai et al., Science 380,
398 (2023)) trains. The notebook restarts the step count of Adam every epoch (`learn.legacy_adam`), which keeps its
effective learning rate at a third or less for ever.
"""

from __future__ import annotations

from l2sim.blas import prepare

if __name__ == "__main__":
    prepare()  # before anything imports NumPy

import csv
from pathlib import Path
from typing import Any

import numpy as np

from l2sim.backend import Array
from l2sim.job.job import Job
from l2sim.report.insitu import NOTEBOOK
from l2sim.study import runs

SEEDS = (1, 2, 3)
NEAR = 0.008
"""How close the mean of the seeds is wanted to the printed curve."""
WAYS: dict[str, dict[str, Any]] = {"restart": {"learn.legacy_adam": True}, "plain": {}}


def tasks(folder: Path) -> dict[str, list[tuple[Job, Path]]]:
    """The job and run folder of every seed, by way."""
    return {
        way: [(Job.preset("insitu-fashion", {"seed": s} | more), folder / f"fashion-{way}-{s}") for s in SEEDS]
        for way, more in WAYS.items()
    }


def table(curves: dict[str, Array]) -> str:
    """The page for people; `curves` (seeds, epochs) by way."""
    lines = [
        "# In situ training on Fashion-MNIST", "",
        "Made by `python -m l2sim.study.insitu_fashion --data DIR`; every epoch of every seed is in",
        "[insitu-fashion.csv](insitu-fashion.csv).", "",
        "![Test accuracy over epochs: the two curves with the restart lie on the printed points](insitu-fashion.png)",
        "",
        "Test accuracy of three 64-mode meshes on 64 Fourier features (preset `insitu-fashion`): mean of the seeds",
        f"{', '.join(map(str, SEEDS))}, and the smallest and largest of them. `restart`: Adam's step count restarts",
        "every epoch, as the notebook has it (`--set learn.legacy_adam=true`).", "",
        "| epoch | the notebook, as printed | restart | difference | without the restart |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for epoch, printed in NOTEBOOK.items():
        told = {way: values[:, epoch - 1] for way, values in curves.items()}
        cells = [f"{v.mean():.4f} ({v.min():.4f} to {v.max():.4f})" for v in told.values()]
        lines.append(f"| {epoch} | {printed:.4f} | {cells[0]} | {told['restart'].mean() - printed:+.4f} | {cells[1]} |")
    worst = max(abs(curves["restart"][:, epoch - 1].mean() - printed) for epoch, printed in NOTEBOOK.items())
    within = "within" if worst <= NEAR else "not within"
    lines += [
        "", f"The mean with the restart is {within} {NEAR} of the printed curve: it is off by {worst:.4f} at most.",
        "", "As in the notebook: random unitaries to start from, Adam 1e-3, 50 epochs of 117 mini-batches of 512 in",
        "order, the last 96 images never seen. Otherwise than there: the loss is the mean over samples, not over",
        "samples and classes (Adam does not mind), and screens are not trained, since their gradient behind |.| is",
        "zero.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def picture(curves: dict[str, Array], path: Path) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    from l2sim.report import figures

    with matplotlib.rc_context(figures.STYLE):
        sheet = Figure((7, 4.2), 140, layout="constrained")
        ax = sheet.subplots()
        words = {"restart": "Adam's count restarts every epoch (legacy_adam)", "plain": "Adam as it should be"}
        for (way, values), colour in zip(curves.items(), (figures.BLUE, figures.GREEN)):
            epochs = np.arange(1, values.shape[1] + 1)
            ax.fill_between(epochs, 100 * values.min(0), 100 * values.max(0), color=colour, alpha=0.2, lw=0)
            ax.plot(epochs, 100 * values.mean(0), color=colour, label=f"{words[way]}, mean of {len(values)} seeds")
        ax.plot([*NOTEBOOK], [100 * v for v in NOTEBOOK.values()], "o", color=figures.VERMILLION, label="the notebook")
        ax.set(xlabel="epochs", ylabel="test accuracy (%)", title="Fashion-MNIST, three 64-mode meshes trained in situ")
        ax.legend(loc="lower right")
        sheet.savefig(path, facecolor="white", metadata={"Software": None})


def main(args: list[str] | None = None) -> None:
    options = runs.parser(__doc__.partition("\n")[0]).parse_args(args)
    wanted = tasks(options.runs)
    runs.complete([task for way in wanted.values() for task in way], options.data)
    found = {way: [runs.accuracy(*task) for task in each] for way, each in wanted.items()}
    curves = {way: np.array([values for values in each if values is not None]) for way, each in found.items()}
    if any(len(values) < len(SEEDS) for values in curves.values()):
        print("not all runs are finished; start the study again when the other process is done")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    with open(options.out / "insitu-fashion.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["way", "seed", "epoch", "test_accuracy"])
        for way, values in curves.items():
            for seed, curve in zip(SEEDS, values):
                rows.writerows([way, seed, epoch, f"{value:.4f}"] for epoch, value in enumerate(curve, 1))
    (options.out / "insitu-fashion.md").write_text(table(curves), encoding="utf-8")
    picture(curves, options.out / "insitu-fashion.png")
    print(options.out / "insitu-fashion.md")


if __name__ == "__main__":
    main()
