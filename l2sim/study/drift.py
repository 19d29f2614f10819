"""Accuracy of `digits` while phase biases wander, and what each policy of upkeep costs to hold it.

    python -m l2sim.study.drift --out docs/results --runs runs/study

The network is trained, identified by twins, programmed and learnt on, at 1 % readout noise; then its chips serve for
DAYS. For every policy (`l2sim.learn.upkeep`) the interval between looks, the threshold or the number of mini-batches is
searched: the cheapest one with which the accuracy as found, before upkeep acts, stays within POINTS percentage points
of that when service began, in the mean over looks and seeds. All policies of a seed see the same weather.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from l2sim.blas import prepare
from l2sim.study import results

SEEDS = (1, 2, 3)
DAYS = 1
POINTS = 1.0
HOPELESS = 4.0
"""Percentage points lost on the first seed from which on the other seeds are not tried."""

# What is assumed. A heater 100 micrometres long turns by 0.075 rad per kelvin between its arms (dn/dT of silicon is
# 1.86e-4 /K at 1.55 micrometres: Komma et al., Appl. Phys. Lett. 101, 041905 (2012)), so this is 0.7 K that comes
# and goes within a day, and 0.07 K twice a day when something is switched. Round numbers of our own.
WEATHER = {
    "nonidealities.drift_std": 0.05, "nonidealities.drift_seconds": 86400.0, "nonidealities.step_std": 0.005,
    "nonidealities.step_seconds": 43200.0, "nonidealities.readout_noise": 0.01,
}  # fmt: skip
BASE = WEATHER | {"calibrate.method": "twin", "map.compare": False, "learn.epochs": 5}
TRIGGER_HOURS = 1.0
SEARCHED = {"calibrate.method": "zcd", "upkeep.policy": "periodic"}

Settings = dict[str, Any]


class Way(NamedTuple):
    """A policy and its settings from the cheapest on; `what` is searched, `unit` says what it is in."""

    name: str
    fixed: Settings
    what: str
    unit: str
    values: tuple[float, ...]


WAYS = (
    Way("periodic, by twins", {"upkeep.policy": "periodic"}, "upkeep.every", "h between looks",
        (12, 6, 4, 3, 2, 1)),
    Way("periodic, by search", SEARCHED, "upkeep.every", "h between looks", (12, 6, 4, 3, 2, 1)),
    Way("triggered, by twins", {"upkeep.policy": "triggered", "upkeep.every": TRIGGER_HOURS, "upkeep.probes": 4},
        "upkeep.threshold", "error of a core", (0.1, 0.05, 0.03, 0.01, 0.003, 0.001)),
    Way("track, 1 setting", {"upkeep.policy": "track", "upkeep.probes": 1}, "upkeep.every", "h between looks",
        (6, 4, 3, 2, 1)),
    Way("track, 2 settings", {"upkeep.policy": "track", "upkeep.probes": 2}, "upkeep.every", "h between looks",
        (12, 6, 4, 3, 2, 1, 0.5)),
    Way("track, 4 settings", {"upkeep.policy": "track", "upkeep.probes": 4}, "upkeep.every", "h between looks",
        (12, 6, 4, 3, 2, 1)),
    Way("learn", {"upkeep.policy": "learn", "upkeep.every": 2.0}, "upkeep.batches", "mini-batches every 2 h",
        (2, 5, 10, 20, 40)),
)  # fmt: skip
NOTHING = Way("none", {"upkeep.policy": "none"}, "upkeep.every", "h between looks", (2.0,))


class Look(NamedTuple):
    """The chips of one seed at one look, accuracy as found; counts since service began, a core (mean)."""

    way: str
    value: float
    seed: int
    hours: float
    start: float
    accuracy: float
    core_calls: float
    evaluations: float
    recalibrated: float


def learnt(seed: int, runs: Path) -> Path:
    """The checkpoint of a network before service, made once."""
    from l2sim.flow import session as sessions
    from l2sim.flow.l2ight import session as l2ight
    from l2sim.flow.l2ight import stages
    from l2sim.job.job import Job
    from l2sim.store import checkpoint as checkpoints
    from l2sim.store.logs import Positions

    path = runs / f"drift-{seed}.safetensors"
    if not path.exists():
        session = l2ight.open_session(Job.preset("digits", BASE | {"seed": seed}), None)
        for stage in ("pretrain", "deploy", "calibrate", "map", "learn"):
            for _ in stages.STAGES[stage](session, 0):
                pass
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoints.write(path, sessions.snapshot(session, "learn", -1), Positions(0, 0, 0, 0, 0))
    return path


def served(way: Way, value: float, seed: int, runs: Path, days: float | None = None) -> list[Look]:
    """One seed in service."""
    from l2sim.flow import session as sessions
    from l2sim.flow.l2ight import session as l2ight
    from l2sim.flow.l2ight import stages
    from l2sim.job.job import Job
    from l2sim.store import checkpoint as checkpoints

    hours = 24.0 * (DAYS if days is None else days)
    settings = BASE | {"seed": seed, "upkeep.hours": hours} | way.fixed | {way.what: value}
    if way.what == "upkeep.batches":
        settings[way.what] = int(value)
    session = l2ight.open_session(Job.preset("digits", settings), None)
    sessions.restore(session, checkpoints.read(learnt(seed, runs))[0])
    for _ in stages.STAGES["upkeep"](session, 0):
        pass
    cores = sum(int(np.prod(chip.shape)) for chip in session.chips.values())
    start, *rest = session.looks
    return [
        Look(way.name, value, seed, row["hours"], start["accuracy"], row["accuracy"], row["core_calls"] / cores,
             row["evaluations"] / cores, row["recalibrated"] / cores)
        for row in rest
    ]  # fmt: skip


def lost(looks: list[Look]) -> float:
    """Percentage points below the start, mean over looks of every seed, then over seeds."""
    seeds = dict.fromkeys(look.seed for look in looks)
    return float(np.mean([np.mean([100 * (it.start - it.accuracy) for it in looks if it.seed == s]) for s in seeds]))


class Table:
    """The looks made so far, kept in a file, so that a study that was stopped goes on."""

    def __init__(self, runs: Path) -> None:
        self.runs, self.path = runs, runs / "drift-looks.csv"
        self.looks: list[Look] = []
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                for name, value, seed, *rest in csv.reader(file):
                    self.looks.append(Look(name, float(value), int(seed), *map(float, rest)))

    def get(self, way: Way, value: float, seed: int) -> list[Look]:
        """The looks of one seed, made now where they are not there yet."""
        found = [it for it in self.looks if (it.way, it.value, it.seed) == (way.name, value, seed)]
        if not found:
            found = served(way, value, seed, self.runs)
            self.looks += found
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(found)
            print(way.name, value, seed, f"{lost(found):.2f} points lost", flush=True)
        return found

    def tried(self, way: Way, value: float) -> list[Look]:
        """All seeds, or the first where that is hopeless."""
        looks = self.get(way, value, SEEDS[0])
        if lost(looks) > HOPELESS and way is not NOTHING:
            return looks
        return [it for seed in SEEDS for it in self.get(way, value, seed)]


def search(table: Table, way: Way) -> tuple[float, bool]:
    """The cheapest setting that holds, by halving: a dearer one is taken to lose no more. False where none holds; then
    the dearest."""
    low, high = 0, len(way.values)
    while low < high:
        middle = (low + high) // 2
        if lost(table.tried(way, way.values[middle])) <= POINTS:
            high = middle
        else:
            low = middle + 1
    return way.values[min(low, len(way.values) - 1)], low < len(way.values)


class Row(NamedTuple):
    """One policy at its cheapest setting. Points lost: mean over seeds, and half of its 95 % interval; counts a core
    and a day."""

    way: str
    setting: str
    holds: bool
    lost: float
    interval: float
    lowest: float
    core_calls: float
    evaluations: float
    recalibrated: float


STUDENT = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776}
"""Two-sided 95 % quantiles of Student's t by the number of seeds."""


def row(way: Way, value: float, holds: bool, looks: list[Look]) -> Row:
    """Sum up the looks of one setting."""
    seeds = list(dict.fromkeys(it.seed for it in looks))
    each = [lost([it for it in looks if it.seed == seed]) for seed in seeds]
    error = float(np.std(each, ddof=1)) / np.sqrt(len(seeds)) if len(seeds) > 1 else 0.0
    spread = STUDENT.get(len(seeds), 1.96) * error
    ends = [[it for it in looks if it.seed == seed][-1] for seed in seeds]
    days = ends[0].hours / 24.0
    anew = sum(it.recalibrated for it in looks) / len(seeds)
    return Row(
        way.name, f"{value:g} {way.unit}" if way is not NOTHING else "", holds, float(np.mean(each)), float(spread),
        100 * min(it.accuracy for it in looks), float(np.mean([it.core_calls for it in ends])) / days,
        float(np.mean([it.evaluations for it in ends])) / days, anew / days,
    )  # fmt: skip


def page(rows: list[Row], start: float) -> str:
    """The results as a page of Markdown."""
    it = WEATHER
    text = (
        "# Drift and upkeep\n\n"
        "Made by `python -m l2sim.study.drift --out docs/results`; every look is in [drift.csv](drift.csv).\n\n"
        f"`digits`, {len(SEEDS)} seeds, {DAYS * 24} hours of chip time, readings within 1 %. Assumed: every bias "
        f"wanders by {it['nonidealities.drift_std']:g} rad (Ornstein-Uhlenbeck, correlation time 24 h), and a thermal "
        f"step of {it['nonidealities.step_std']:g} rad comes every 12 h (mean). That is 0.7 K and 0.07 K between the "
        "arms of a heater 100 micrometres long, at 0.075 rad/K (Komma et al., Appl. Phys. Lett. 101, 041905 (2012)): "
        "round numbers of our own, not measured ones. A step moves the heaters of a mesh together, which does far more "
        "harm than as much to each by itself. What counts is how far a bias moves between looks, and at first that "
        "grows as the square root of time: with half the drift, intervals may be some four times as long.\n\n"
        f"When service began: {100 * start:.2f} % (mean). Given is the cheapest setting tried with which the accuracy "
        f"as found, before upkeep acts, stays within {POINTS:g} point of that (mean over looks and seeds, with its "
        "95 % interval). Counts are a core's, a day of chip time; an evaluation is nine core calls.\n\n"
        "![Accuracy over chip time, and the probes that policies take](drift.png)\n\n"
        "| policy | cheapest setting that holds | points lost | lowest as found | core calls | evaluations | "
        "calibrated anew |\n|---|---|---|---|---|---|---|\n"
    )
    for r in rows:
        setting = r.setting if r.holds or not r.setting else f"none of those tried; {r.setting}:"
        text += (
            f"| {r.way} | {setting} | {r.lost:.2f} ± {r.interval:.2f} | {r.lowest:.1f} % | {r.core_calls:,.0f} | "
            f"{r.evaluations:,.0f} | {r.recalibrated:.1f} |\n"
        )
    return text


NOTE = """
What upkeep is: *periodic* identifies every core anew by a twin and programs it, or (*by search*) goes on with ternary
probing from where it is, 10 sweeps of the pseudo-identities and 10 of the mapped state, and the projection. *Triggered*
sends 4 test vectors through every core each hour and identifies anew those that answer with an error above the
threshold. *Track* brings the twins up to date by a few random settings, with what was known before as the prior, and
programs anew. *Learn* goes on with subspace learning, 32 labelled images a mini-batch; only sigma and batch norm
follow. Eight readings of every core when service begins (72 core calls, once) say what the cores are to stay; they are
counted.
"""


def picture(rows: list[Row], looks: list[Look], out: Path) -> None:
    """Accuracy over chip time of every policy, and its probes a day."""
    import matplotlib
    from matplotlib.figure import Figure

    from l2sim.report import figures

    tints = figures.INK, figures.BLUE, "#56B4E9", figures.VERMILLION, "#A8D5C5", figures.GREEN, "#00604A", "#CC79A7"
    colours = dict(zip([NOTHING.name, *(way.name for way in WAYS)], tints))
    with matplotlib.rc_context(figures.STYLE):
        sheet = Figure((11, 4.4), layout="constrained")
        left, right = sheet.subplots(1, 2, width_ratios=(1.25, 1))
        start = np.mean([it.start for it in looks])
        left.axhspan(100 * start - POINTS, 100 * start, color=figures.GREY, alpha=0.25, lw=0, label="within one point")
        for r in rows:
            some = [it for it in looks if it.way == r.way and (not r.setting or f"{it.value:g} " in r.setting + " ")]
            value = float(r.setting.split()[0]) if r.setting else some[0].value
            some = [it for it in some if it.value == value]
            hours = sorted({round(it.hours, 2) for it in some})
            at = [np.mean([100 * it.accuracy for it in some if round(it.hours, 2) == h]) for h in hours]
            wide = r.way == NOTHING.name
            left.plot([0, *hours], [100 * start, *at], color=colours[r.way], lw=2.4 if wide else 1.4,
                      ls="-" if wide else (0, (5, 1.2)) if "search" in r.way else "-", label=r.way)  # fmt: skip
        left.set(xlabel="hours of service (chip time)", ylabel="test accuracy as found (%), mean of the seeds",
                 title="While biases wander")  # fmt: skip
        left.legend(loc="best", fontsize=8)
        kept = [r for r in rows if r.way != NOTHING.name][::-1]
        for at_, r in enumerate(kept):
            right.barh(at_, r.core_calls, 0.6, color=colours[r.way], hatch="" if r.holds else "///",
                       alpha=1.0 if r.holds else 0.45)  # fmt: skip
            words = figures.engineering(r.core_calls) + ("" if r.holds else " (does not hold)")
            right.annotate(words, (r.core_calls, at_), (4, 0), textcoords="offset points", va="center", fontsize=8.5)
        right.set_yticks(range(len(kept)), [r.way for r in kept])
        right.set_xscale("log")
        right.set_xlim(right.get_xlim()[0], 12 * max(r.core_calls for r in kept))
        right.grid(axis="y", visible=False)
        right.set(xlabel="core calls of a core, a day of chip time", title="What it takes to lose no more than a point")
        sheet.savefig(out, dpi=150, facecolor="white", metadata={"Software": None})


def main(arguments: list[str] | None = None) -> None:
    """Write drift.csv, drift.md and drift.png to the folder `--out`."""
    prepare()
    from l2sim.study import runs

    told = runs.parser(__doc__.partition("\n")[0]).parse_args(arguments)
    out: Path = told.out
    out.mkdir(parents=True, exist_ok=True)
    table = Table(told.runs)
    chosen = [(NOTHING, NOTHING.values[0], False)]
    table.tried(NOTHING, NOTHING.values[0])
    chosen += [(way, *search(table, way)) for way in WAYS]
    rows = [row(way, value, holds, table.tried(way, value)) for way, value, holds in chosen]
    results.write(out / "drift.csv", sorted(table.looks), 3, 6)
    start = float(np.mean([it.start for it in table.looks if it.way == NOTHING.name]))
    (out / "drift.md").write_text(page(rows, start) + NOTE, encoding="utf-8")
    picture(rows, table.looks, out / "drift.png")


if __name__ == "__main__":
    main()
