"""Accuracy and cost of every way to learn on a chip, from one mapped checkpoint: CNN-S on MNIST, VGG8 on CIFAR-10.

    python -m l2sim.study.l2ight cnn-s --data DIR --out docs/results
    python -m l2sim.study.l2ight vgg8 --data DIR --out docs/results

Started twice (or more often) it shares the runs between processes; stopped, it goes on. Budgets are `EXPERIMENTS`.
"""

from __future__ import annotations

from l2sim.blas import prepare

if __name__ == "__main__":
    prepare()  # before anything imports NumPy

import csv
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from l2sim.chip.meter import PASSES
from l2sim.job.job import Job
from l2sim.store import logs
from l2sim.study import runs

SEEDS = (1, 2, 3)
"""Of the order of images and of every mask; chip, weights and mapping are those of the first."""

FEEDBACK = {"learn.feedback_sparsity": 0.6, "learn.feedback_rule": "btopk", "learn.feedback_norm": "exp"}
COLUMN = FEEDBACK | {"learn.column_sparsity": 0.6, "learn.column_norm": "none"}
SAMPLED: dict[str, dict[str, Any]] = {
    "dense": {},
    "feedback": FEEDBACK,
    "+ column": COLUMN,
    "+ data (L2ight)": COLUMN | {"learn.data_sparsity": 0.5},
    "RAD": {"learn.spatial_sparsity": 0.85, "learn.spatial_norm": "exp"},
    "SWAT-U": {
        "learn.forward_sparsity": 0.3, "learn.forward_rule": "uniform", "learn.forward_norm": "exp",
        "learn.spatial_sparsity": 0.6, "learn.spatial_norm": "none",
    },
}  # fmt: skip
"""The settings of the published scripts (spec, experiment settings)."""
BLIND = {"learn.schedule": "exponential", "learn.decay": 0.99, "learn.lr_floor": 0.0}
FLOPS = BLIND | {"learn.protocol": "flops", "learn.lr": 2.0, "learn.probe_std": 0.1, "learn.epochs": 50}
MIXEDTRN = BLIND | {
    "learn.protocol": "mixedtrn", "learn.lr": 0.0245, "learn.frozen_share": 0.85, "learn.skipped_share": 0.9,
    "learn.epochs": 20,
}  # fmt: skip
EQUAL = ", equal calls"
"""Ends the name of a method that stops when it has had the core calls of the dense run."""
LONG = ("FLOPS", "MixedTrn")
"""Take many times longer than all others together, and so come last."""


class Experiment(NamedTuple):
    """`base` is the run whose mapped checkpoint all others start from; `learn` what they have in common; `methods` what
    they differ in; `budget` in words."""

    base: dict[str, Any]
    learn: dict[str, Any]
    methods: dict[str, dict[str, Any]]
    budget: str


EXPERIMENTS = {
    "cnn-s": Experiment(
        {"model.name": "cnn-s", "data.name": "mnist", "precision": "float32", "map.compare": False, "learn.epochs": 1},
        {"learn.lr": 1e-4, "learn.lr_floor": 0.0, "learn.epochs": 10},
        SAMPLED | {f"FLOPS{EQUAL}": FLOPS, f"MixedTrn{EQUAL}": MIXEDTRN, "FLOPS": FLOPS, "MixedTrn": MIXEDTRN},
        "Published epochs: pretraining 100, calibration 400, mapping 300, learning 10 at rate 1e-4 (FLOPS 50 at 2, "
        "MixedTrn 20 at 0.0245), batches of 32.",
    ),
    "vgg8": Experiment(
        {
            "model.name": "vgg8", "data.name": "cifar10", "precision": "float32", "map.compare": False,
            "pretrain.epochs": 12, "learn.epochs": 1,
        },
        {"learn.lr": 2e-4, "learn.lr_floor": 0.0, "learn.epochs": 4},
        SAMPLED,
        "A budget for two cores and two hours: 20,000 training and 10,000 test images, pretraining 12 epochs "
        "(published: 200), calibration 400 and mapping 300 as published, learning 4 epochs at rate 2e-4 (published: "
        "20), batches of 32.",
    ),
}  # fmt: skip


class Row(NamedTuple):
    """A finished run."""

    method: str
    seed: int
    start: float
    accuracy: float
    cost: dict[str, float]


def base_job(name: str) -> Job:
    """The run that maps."""
    return Job.preset("digits", {"name": f"study-{name}", "seed": SEEDS[0]} | EXPERIMENTS[name].base)


def job(name: str, method: str, seed: int, calls: int = 0) -> Job:
    """The run of `method` from the mapped checkpoint; `calls` of the dense run end those at equal cost."""
    it = EXPERIMENTS[name]
    limit = {"learn.core_calls": calls} if method.endswith(EQUAL) else {}
    named = {"name": f"study-{name}", "seed": seed}
    return Job.preset("digits", named | it.base | it.learn | it.methods[method] | limit)


def place(folder: Path, name: str, method: str = "base", seed: int = 0) -> Path:
    """Its run folder."""
    plain = re.sub(r"\W+", "-", method.lower()).strip("-")
    return folder / (f"l2ight-{name}-{plain}-{seed}" if seed else f"l2ight-{name}-{plain}")


def dense_calls(folder: Path, name: str) -> int:
    """Core calls of the dense run, where it is finished; else 0."""
    path = place(folder, name, "dense", SEEDS[0]) / "report.json"
    return int(stages(path.parent)["learn"]["core_calls"]) if path.exists() else 0


def stages(out: Path) -> dict[str, dict[str, Any]]:
    """The stages of a finished run by name."""
    return {stage["name"]: stage for stage in json.loads((out / "report.json").read_text())["stages"]}


def complete(name: str, folder: Path, data: Path | None) -> None:
    """Make what is not yet made."""
    base = place(folder, name)
    runs.complete([(base_job(name), base)], data)
    if runs.accuracy(base_job(name), base) is None:
        return  # another process is mapping
    methods = EXPERIMENTS[name].methods
    quick = [(method, seed) for seed in SEEDS for method in methods if method not in LONG]
    for method, seed in quick + [(method, seed) for seed in SEEDS for method in LONG if method in methods]:
        calls = dense_calls(folder, name)
        if calls or not method.endswith(EQUAL):
            task = job(name, method, seed, calls), place(folder, name, method, seed)
            runs.complete([task], data, source=f"{base}@map")


def finished(name: str, folder: Path) -> list[Row]:
    """What is there, method by method."""
    calls, found = dense_calls(folder, name), []
    for method in EXPERIMENTS[name].methods:
        for seed in SEEDS:
            out = place(folder, name, method, seed)
            curve = runs.accuracy(job(name, method, seed, calls), out) if (out / "report.json").exists() else None
            if curve is not None:
                of = stages(out)
                cost = {key: value for key, value in of["learn"].items() if isinstance(value, int | float)}
                found.append(Row(method, seed, of["map"]["accuracy"], float(curve[-1]), cost))
    return found


def differs(points: list[float]) -> str:
    """Mean of differences in points with its 95 % confidence interval, if there is one."""
    return f"{np.mean(points):+.2f}" + (f" ± {runs.interval(points):.2f}" if len(points) > 1 else "")


def table(name: str, found: list[Row]) -> list[str]:
    """The rows for people."""
    dense = {row.seed: row for row in found if row.method == "dense"}
    whole = np.mean([row.cost["core_calls"] for row in dense.values()]) if dense else float("nan")
    added = np.mean([row.cost["accumulation_steps"] for row in dense.values()]) if dense else float("nan")
    lines = [
        "| method | accuracy, % | below dense, points | forward | weight gradient | input gradient | all core calls | "
        "saved | accumulation steps saved | seeds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for method in EXPERIMENTS[name].methods:
        mine = [row for row in found if row.method == method]
        if not mine:
            lines.append(f"| {method} | not run yet |" + " |" * 8)
            continue
        accuracy = [100 * row.accuracy for row in mine]
        loss = [100 * (dense[row.seed].accuracy - row.accuracy) for row in mine if row.seed in dense]
        parts = [np.mean([row.cost[f"{one}_core_calls"] for row in mine]) for one in PASSES]
        total = np.mean([row.cost["core_calls"] for row in mine])
        steps = np.mean([row.cost["accumulation_steps"] for row in mine])
        below = differs(loss) if loss and method != "dense" else ""
        cells = [
            f"{np.mean(accuracy):.2f} ± {np.std(accuracy, ddof=min(1, len(mine) - 1)):.2f}", below,
            *(f"{part / 1e6:,.1f} M" for part in parts), f"{total / 1e6:,.1f} M", f"{whole / total:.2f} ×",
            f"{added / steps:.2f} ×", str(len(mine)),
        ]  # fmt: skip
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return lines


def verdict(found: list[Row]) -> list[str]:
    """How the measured order compares with what the publication claims, in sentences."""
    mean = {m: np.mean([r.accuracy for r in found if r.method == m]) for m in dict.fromkeys(r.method for r in found)}
    dense = {row.seed: row.accuracy for row in found if row.method == "dense"}
    sampled = [row for row in found if row.method == "+ data (L2ight)" and row.seed in dense]
    if not sampled:
        return []
    loss = [100 * (dense[row.seed] - row.accuracy) for row in sampled]
    cost = {m: np.mean([r.cost["core_calls"] for r in found if r.method == m]) for m in mean}
    half = runs.interval(loss)
    inside = "contains zero" if abs(np.mean(loss)) <= half else "does not contain zero"
    lines = [
        f"L2ight's sampling ends {differs(loss)} points below dense learning (95 % interval of the "
        f"difference by seed, which {inside}; the publication claims about none) for "
        f"{cost['dense'] / cost['+ data (L2ight)']:.2f} times fewer core calls.",
    ]
    ours = {row.seed: row.accuracy for row in found if row.method == "+ data (L2ight)"}
    for rival in ("RAD", "SWAT-U"):
        above = [100 * (r.accuracy - ours[r.seed]) for r in found if r.method == rival and r.seed in ours]
        if above:
            below = [-points for points in above]
            higher = np.mean(above) > 0
            ends = f"{rival} ends {differs(above if higher else below)} points {'above' if higher else 'below'} L2ight"
            times = cost[rival] / cost["+ data (L2ight)"]
            words = "L2ight is at least as accurate and cheaper, as claimed"
            if higher:
                words = "cheaper as claimed, but the publication has L2ight ahead in accuracy too"
            lines.append(f"{ends} for {times:.2f} times its core calls: {words}.")
    blind = [m for m in mean if m.startswith(("FLOPS", "MixedTrn"))]
    if blind:
        behind = all(mean[m] <= mean["+ data (L2ight)"] for m in blind)
        told = ", ".join(f"{m} {100 * mean[m]:.2f} %" for m in blind)
        words = "all end below L2ight, as claimed" if behind else "the publication claims that all end below L2ight"
        lines.append(f"Without gradients: {told}; {words}.")
    worse = [method for method in mean if mean[method] < found[0].start]
    if worse:
        lines.append(f"Below the mapped state that they start from: {'; '.join(worse)}.")
    return lines


def page(name: str, found: list[Row]) -> str:
    """The results as a page of Markdown."""
    it = EXPERIMENTS[name]
    start = f"{100 * found[0].start:.2f} %" if found else "not run yet"
    lines = [
        f"# Ways to learn on a chip: {name}", "",
        f"Made by `python -m l2sim.study.l2ight {name} --data DIR`; all runs are in",
        f"[l2ight-{name}.csv](l2ight-{name}.csv).", "",
        f"![Test error over core calls, method by method](l2ight-{name}.png)", "",
        f"{it.budget} All start from the same mapped checkpoint (test accuracy {start}).",
        f"Accuracy of the last epoch on the test set: mean ± standard deviation over up to {len(SEEDS)} seeds; what a",
        "method ends below dense learning: mean of the differences by seed, with its 95 % confidence interval.",
        "Core calls (vectors through a core, millions) are as metered by the chips while learning; \"saved\" is how",
        "many times fewer than dense.", "",
        *table(name, found), "", *verdict(found),
    ]  # fmt: skip
    if name == "cnn-s":
        lines += [
            "", "Feedback sampling is of convolutions and drops block rows. The second convolution of CNN-S has one,",
            "and the first sends nothing back, so that here it has nothing to drop; on VGG8 it has.",
        ]  # fmt: skip
    if any(method.endswith(EQUAL) for method in it.methods):
        lines += [
            "", "\"Equal calls\" stops in the step in which the core calls of the dense run are reached; FLOPS and",
            "MixedTrn by themselves run their published epochs. Both as published, faults of the public program",
            "mended: samples averaged, updates committed, fresh batches, no step for the worse.",
        ]  # fmt: skip
    return "\n".join(lines) + "\n"


def picture(name: str, found: list[Row], folder: Path, path: Path) -> None:
    """Error over core calls: a line a method, the mean of its seeds."""
    import matplotlib
    from matplotlib.figure import Figure

    from l2sim.report import figures

    with matplotlib.rc_context(figures.STYLE):
        sheet = Figure((8.6, 5.2), 140, layout="constrained")
        axes = sheet.subplots()
        for number, method in enumerate(EXPERIMENTS[name].methods):
            curves = [curve(place(folder, name, method, row.seed)) for row in found if row.method == method]
            if not curves:
                continue
            length = min(len(calls) for calls, _ in curves)
            calls = np.mean([calls[:length] for calls, _ in curves], axis=0)
            error = 100 * (1 - np.mean([seen[:length] for _, seen in curves], axis=0))
            style: dict[str, Any] = {"marker": "osD^vPXp<>"[number % 10], "ms": 4, "color": f"C{number}"}
            axes.plot(calls, error, "--" if method.endswith(EQUAL) else "-", label=method, **style)
        axes.set(xscale="log", yscale="log", xlabel="core calls while learning", ylabel="test error (%)")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.set_title(f"{name}: error over what it cost, from one mapped checkpoint (an epoch a mark)")
        axes.legend(loc="best", fontsize=8)
        sheet.savefig(path, facecolor="white", metadata={"Software": None})


def curve(out: Path) -> tuple[np.ndarray, np.ndarray]:
    """Core calls and test accuracy after every epoch of a finished run."""
    seen = logs.scalars(out)
    return np.asarray(seen["learn/core_calls"][2], float), np.asarray(seen["learn/test_accuracy"][2], float)


def write(name: str, folder: Path, to: Path) -> None:
    """Write l2ight-NAME.csv, .md and .png of what is finished in `folder`."""
    found = finished(name, folder)
    to.mkdir(parents=True, exist_ok=True)
    keys = ["core_calls", *(f"{one}_core_calls" for one in PASSES), "accumulation_steps", "writes", "images", "seconds"]
    with open(to / f"l2ight-{name}.csv", "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["method", "seed", "accuracy_mapped", "accuracy", *keys])
        for row in found:
            told = [f"{row.cost[key]:.0f}" for key in keys]
            out.writerow([row.method, row.seed, f"{row.start:.4f}", f"{row.accuracy:.4f}", *told])
    (to / f"l2ight-{name}.md").write_text(page(name, found), encoding="utf-8")
    picture(name, found, folder, to / f"l2ight-{name}.png")
    print(to / f"l2ight-{name}.md")


def main(arguments: list[str] | None = None) -> None:
    """Complete the runs of an experiment and write what came out."""
    parser = runs.parser(__doc__.partition("\n")[0])
    parser.add_argument("name", choices=EXPERIMENTS, help="network")
    options = parser.parse_args(arguments)
    complete(options.name, options.runs, options.data)
    write(options.name, options.runs, options.out)


if __name__ == "__main__":
    main()
