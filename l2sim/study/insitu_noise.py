"""The published noise sweep on MNIST: final test errors beside the published ones, and with honest noise.

    python -m l2sim.study.insitu_noise             a quick look
    python -m l2sim.study.insitu_noise --full      the page

`published` is what the simulation behind Pai et al., Science 380, 398 (2023) is understood to do (presets
`insitu-noise-...`): noise on the matrix, drawn once and kept, and a softmax over the samples of a batch. `fresh` draws
noise for every measurement, measures with the data themselves, and takes the softmax over the classes.
"""

from __future__ import annotations

import itertools
from argparse import Namespace
from typing import NamedTuple

from matplotlib.figure import Figure

from l2sim.job.job import Job
from l2sim.report import figures
from l2sim.study.harness import (
    INTERVALS,
    Run,
    Settings,
    Spread,
    Study,
    Table,
    bars,
    finished,
    grouped,
    listed,
    markdown,
    note,
    percent,
    share,
    sized,
    some,
)  # fmt: skip

SEEDS = {"published": (1, 2, 3, 4, 5), "fresh": (1, 2, 3)}
"""Seeds of each way; more where noise is drawn once, because a run then is one chip's luck. A run takes minutes."""
NEAR = 1.0
"""How close the mean of the seeds is wanted to the published error, percentage points."""
LEVELS: dict[str, float] = {
    "none": 3.06,
    "tap-0.005": 3.24,
    "tap-0.01": 3.84,
    "tap-0.02": 4.86,
    "phase-0.025": 3.37,
    "phase-0.05": 5.21,
    "amplitude-0.025": 3.15,
    "amplitude-0.05": 3.41,
}
"""The published final test error of each level, %."""
KINDS = {
    "tap": "tap noise s (at unit power)", "phase": "I/O phase error (units of π rad)",
    "amplitude": "I/O amplitude error (relative)",
}  # fmt: skip
WAYS: dict[str, Settings] = {
    "published": {},
    "fresh": {"insitu.light": "batch", "insitu.noise": "fresh", "insitu.loss": "cross-entropy"},
}


class Final(NamedTuple):
    """The final test error of a run."""

    way: str
    noise: str
    seed: int
    test_error_percent: float
    published_percent: float


class Row(NamedTuple):
    """Final test errors of one level in one way, as shares: mean with its interval, smallest and largest."""

    way: str
    level: str
    published: float
    mean: Spread
    least: float
    most: float


def job(way: str, level: str, seed: int) -> Job:
    """What is run."""
    return Job.preset("insitu-noise" if level == "none" else f"insitu-noise-{level}", {"seed": seed} | WAYS[way])


def summary(finals: list[Final]) -> list[Row]:
    """The levels in both ways, over the seeds."""
    errors = grouped(finals, lambda final: final[:2])
    rows = []
    for way, level in itertools.product(WAYS, LEVELS):
        if values := [final.test_error_percent for final in errors.get((way, level), ())]:
            mean = share([value / 100 for value in values])
            rows.append(Row(way, level, LEVELS[level], mean, min(values), max(values)))
    return rows


def disorder(rows: list[Row], way: str) -> list[str]:
    """Where the error falls with more noise of one kind by more than the spread of the seeds."""
    by_level = {row.level: row for row in rows if row.way == way}
    wrong = []
    for kind in KINDS:
        steps = [by_level[level] for level in LEVELS if level in by_level and level.startswith(("none", kind))]
        for below, above in itertools.pairwise(steps):
            if 100 * (below.mean.mean - above.mean.mean) > max(r.most - r.least for r in (below, above)):
                wrong.append(f"{below.level} to {above.level}")
    return wrong


def shown(row: Row | None) -> str:
    """The cell of one level in one way."""
    if row is None:
        return "not run yet"
    return percent(row.mean, 2)


def page(finals: list[Final]) -> list[str]:
    """The page for people."""
    rows, table = summary(finals), []
    by_place = {(row.way, row.level): row for row in rows}
    for level, published in LEVELS.items():
        first, fresh = (by_place.get((way, level)) for way in WAYS)
        gap = f"{100 * first.mean.mean - published:+.2f}" if first else ""
        table.append((level, f"{published:.2f}", shown(first), gap, shown(fresh)))
    ours = [row for row in rows if row.way == "published"]
    far = [row.level for row in ours if abs(100 * row.mean.mean - row.published) > NEAR]
    unsure = [row.level for row in ours if max(abs(100 * end - row.published) for end in row.mean[1:3]) > NEAR]
    reproduced = f"all but {', '.join(far)}" if far else "all"
    intervals = f"all but {', '.join(unsure)}" if unsure else "all"
    seeds = {way: listed(final.seed for final in finals if final.way == way) for way in {f.way for f in finals}}
    lines = [
        "# The published noise sweep", "",
        "Made by `python -m l2sim.study.insitu_noise --full --data DIR`; all final errors are in",
        "[insitu-noise.csv](insitu-noise.csv).", "",
        "![Final test error over the level of each kind of noise, published and simulated](insitu-noise.png)", "",
        f"Test error on MNIST after 100 epochs, %: means of {seeds.get('published', 'no seeds')}, where noise is fresh",
        f"of {seeds.get('fresh', 'no seeds')}. {INTERVALS}",
        "The published errors are of one run each.", "",
        *markdown(
            ("noise", "as published", "reproduced", "difference", "fresh noise, data batches"), table
        ), "",
        f"The mean is within one percentage point of the published error: {reproduced}; all of its interval is:",
        f"{intervals}.",
    ]  # fmt: skip
    for way in WAYS:
        if any((way, level) not in by_place for level in LEVELS):
            continue
        wrong = disorder(rows, way)
        lines.append(f"Where more noise of a kind lowers the error by more than the spread of the seeds ({way}): " +
                     (", ".join(wrong) or "nowhere") + ".")  # fmt: skip
    return [*lines, "", *note("insitu-noise")]


def draw(finals: list[Final]) -> Figure:
    """Final test error over the level of each kind of noise."""
    sheet = Figure((11, 3.8), layout="constrained")
    for ax, (kind, words) in zip(sheet.subplots(1, len(KINDS), sharey=True), KINDS.items()):
        levels = [level for level in LEVELS if level == "none" or level.startswith(kind)]
        x = [0.0 if level == "none" else float(level.rpartition("-")[2]) for level in levels]
        published = figures.LOOKS[5].line(ls=(0, (1.5, 1)), ms=7)
        ax.plot(x, [LEVELS[level] for level in levels], **published, label="published, one run each")
        for way, look, words_of_way in zip(WAYS, figures.LOOKS[:2], ("reproduced: noise drawn once", "fresh noise")):
            by_level = {row.level: row for row in summary(finals) if row.way == way}
            here = [(at, by_level[level]) for at, level in zip(x, levels) if level in by_level]
            aside = (-0.008, 0.008)[way == "fresh"] * max(x)  # so that intervals do not lie on one another
            bars(ax, [at + aside for at, _ in here], [row.mean for _, row in here], look, 100, label=words_of_way)
        ax.set(xlabel=words)
    sheet.axes[0].set_ylabel("final test error (%)")
    sheet.axes[0].set_ylim(0, None)
    sheet.axes[0].legend(loc="lower left")
    title = "What does noise cost? Much if it is drawn once and kept, little if it is fresh (means, 95 % intervals)"
    sheet.suptitle(title, x=0.01, ha="left", fontsize=10.5)
    return sheet


def compute(options: Namespace) -> list[Final]:
    """Make the runs; the final errors of those that are finished."""
    runs = {
        (way, level, seed): Run(sized(job(way, level, seed), options), options.runs / f"noise-{way}-{level}-{seed}")
        for way in WAYS for seed in some(SEEDS[way], options)
        for level in some(tuple(LEVELS), options, 3)
    }  # fmt: skip
    ends = ((key, float(curve[-1])) for key, curve in finished(runs, options.data).items())
    return [Final(way, level, seed, 100.0 - 100.0 * end, LEVELS[level]) for (way, level, seed), end in ends]


TABLE = Table(Final, ".2f")
STUDY = Study("insitu-noise", __doc__, compute, page, TABLE.write, TABLE.read, {"": draw})

if __name__ == "__main__":
    STUDY.main()
