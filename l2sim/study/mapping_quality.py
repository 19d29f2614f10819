"""Accuracy against mapping quality: how much of a bad mapping learning on the chip makes good.

    python -m l2sim.study.mapping_quality --out docs/results

Preset `digits`; mapping is stopped after some epochs (`map.snapshots`) and subspace learning goes on from there (`l2sim
run --from RUN@map:EPOCH`), as in L2ight, NeurIPS 2021, where VGG8 on CIFAR-10 is learnt from seven mappings.
"""

from __future__ import annotations

from l2sim.blas import prepare

if __name__ == "__main__":
    prepare()  # before anything imports NumPy

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from l2sim.job.job import Job
from l2sim.study import results, runs

SEEDS = (1, 2, 3)
SNAPSHOTS = (2, 5, 10, 20, 40, 80, 160, 250)
"""Mapping epochs that learning starts from; the last 50 of the preset's 300 are a polish, which these do without."""
LEARN = 10
NEAR = 0.02
"""How near to the best learnt accuracy is good, in the words of the page."""
SETUP: dict[str, Any] = {"pretrain.epochs": 60, "map.compare": False, "learn.epochs": LEARN}
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


def tasks(folder: Path, seed: int) -> list[tuple[Job, Path, str | None]]:
    """(job, folder, what it starts from) of the whole run, and then of learning from each of its snapshots."""
    whole = folder / f"mapping-quality-{seed}"
    job = Job.preset("digits", SETUP | {"seed": seed, "map.snapshots": list(SNAPSHOTS)})
    found: list[tuple[Job, Path, str | None]] = [(job, whole, None)]
    for epochs in SNAPSHOTS:
        early = Job.preset("digits", SETUP | {"seed": seed, "map.epochs": epochs, "map.polish": 0})
        found.append((early, folder / f"mapping-quality-{seed}-{epochs}", f"{whole}@map:{epochs}"))
    return found


def row(job: Job, out: Path) -> Row:
    """What a finished run tells."""
    stages = {stage["name"]: stage for stage in json.loads((out / "report.json").read_text())["stages"]}
    mapped, epochs = stages["map"], 0 if job.map.snapshots else job.map.epochs
    return Row(
        job.seed, epochs, mapped["mapping_error"], mapped["accuracy"], stages["learn"]["accuracy"],
        stages["pretrain"]["accuracy"],
    )  # fmt: skip


def summary(rows: list[Row]) -> list[tuple[int, list[tuple[float, float]]]]:
    """(epochs, [(mean, half the width of its 95 % interval) of error, mapped, learned]), by number of seeds."""
    found = []
    for epochs in (*SNAPSHOTS, 0):
        same = [row for row in rows if row.epochs == epochs]
        if same:
            values = np.array([(r.mapping_error, r.mapped, r.learned) for r in same]).T
            found.append((epochs, [(float(v.mean()), runs.interval(v.tolist())) for v in values]))
    return found


def draw(rows: list[Row]) -> Any:
    """Accuracy over mapping epochs, and accuracy learnt over accuracy mapped."""
    import matplotlib
    from matplotlib.figure import Figure

    from l2sim.report import figures

    whole = 450
    with matplotlib.rc_context(figures.STYLE):
        sheet = Figure((10.5, 4.3), layout="constrained")
        left, right = sheet.subplots(1, 2)
        means = summary(rows)
        x = [epochs or whole for epochs, _ in means]
        for at, colour, mark, words in (
            (1, figures.VERMILLION, "s", "mapped"), (2, figures.BLUE, "o", f"and learnt, {LEARN} epochs"),
        ):  # fmt: skip
            mean, width = 100 * np.array([told[at] for _, told in means]).T
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


def page(rows: list[Row]) -> str:
    """The results as a page of Markdown."""
    seeds = len({row.seed for row in rows})
    lines = [
        "# Accuracy against mapping quality", "",
        "Made by `python -m l2sim.study.mapping_quality --out docs/results`; every run is in",
        "[mapping-quality.csv](mapping-quality.csv).", "",
        "![Accuracy mapped and learnt over mapping epochs, and one over the other](mapping-quality.png)", "",
        f"`digits` (CNN-S, the chip of L2ight), {seeds} seeds: mean ± half the width of the 95 % confidence interval.",
        f"The electronic network ({SETUP['pretrain.epochs']} epochs) has "
        f"{100 * np.mean([row.pretrained for row in rows]):.1f} %; learning takes {LEARN} epochs.",
        "The whole mapping of the preset has 300 epochs and ends with a polish.", "",
        "| mapping epochs | mapping error | mapped, % | learnt, % |", "|---|---|---|---|",
    ]  # fmt: skip
    for epochs, ((error, spread), mapped, learned) in summary(rows):
        cells = (f"{100 * mean:.1f} ± {100 * width:.1f}" for mean, width in (mapped, learned))
        lines.append(f"| {epochs or 'whole'} | {error:.2g} ± {spread:.1g} | " + " | ".join(cells) + " |")
    first, last = summary(rows)[0], summary(rows)[-1]
    best = max(told[2][0] for _, told in summary(rows))
    epochs, good = next((n, told) for n, told in summary(rows) if told[2][0] >= best - NEAR)
    lines += [
        "",
        f"Learning from {epochs or 'all'} epochs of mapping (error {good[0][0]:.2g}, {100 * good[1][0]:.0f} % mapped)",
        f"ends within {100 * NEAR:g} points of the best; from {first[0]} epochs ({100 * first[1][1][0]:.0f} % mapped)",
        f"it ends {100 * (last[1][2][0] - first[1][2][0]):.0f} points below. This is a small network on an easy set:",
        "the publication's figure is of VGG8 on CIFAR-10, from mappings of 59.6 to 89.1 %, learnt for 50 epochs.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main(args: list[str] | None = None) -> None:
    """Write mapping-quality.csv, mapping-quality.png and mapping-quality.md to the folder `--out`."""
    options = runs.parser(__doc__.partition("\n")[0]).parse_args(args)
    rows = []
    for seed in SEEDS:
        for job, out, source in tasks(options.runs, seed):
            runs.complete([(job, out)], options.data, source)
            if runs.accuracy(job, out) is not None:
                rows.append(row(job, out))
    options.out.mkdir(parents=True, exist_ok=True)
    results.write(options.out / "mapping-quality.csv", rows, 2, 5)
    draw(rows).savefig(options.out / "mapping-quality.png", dpi=120)
    (options.out / "mapping-quality.md").write_text(page(rows), encoding="utf-8")
    print(options.out / "mapping-quality.md")


if __name__ == "__main__":
    main()
