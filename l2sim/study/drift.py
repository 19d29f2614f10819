"""Accuracy of `digits` while phase biases wander, and what each policy of upkeep costs to hold it.

    python -m l2sim.study.drift --out docs/results --runs runs/study

The network is trained, identified by twins, programmed and learnt on, at 1 % readout noise; then its chips serve for
DAYS. For every policy (`l2sim.learn.upkeep`) the interval between looks, the threshold or the number of mini-batches is
searched: the cheapest one with which the accuracy as found, before upkeep acts, stays within POINTS percentage points
of that when service began, in the mean over looks and seeds. All policies of a seed see the same weather.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from l2sim.flow import session as sessions
from l2sim.flow.l2ight import session as l2ight
from l2sim.job.job import Job
from l2sim.report import figures
from l2sim.store import checkpoint as checkpoints
from l2sim.study.harness import Settings, Study, Table, grouped, interval, markdown, note, through

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
BASE: Settings = WEATHER | {"calibrate.method": "twin", "map.compare": False, "learn.epochs": 5}
TRIGGER_HOURS = 1.0
SEARCHED: Settings = {"calibrate.method": "zcd", "upkeep.policy": "periodic"}

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
    path = runs / f"drift-{seed}.safetensors"
    if not path.exists():
        session = l2ight.open_session(Job.preset("digits", BASE | {"seed": seed}), None)
        through(session, "pretrain", "deploy", "calibrate", "map", "learn")
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoints.write(path, sessions.snapshot(session, "learn", -1), None)
    return path


def served(way: Way, value: float, seed: int, runs: Path, days: float | None = None) -> list[Look]:
    """One seed in service."""
    hours = 24.0 * (DAYS if days is None else days)
    searched = int(value) if way.what == "upkeep.batches" else value
    settings = BASE | {"seed": seed, "upkeep.hours": hours} | way.fixed | {way.what: searched}
    session = l2ight.open_session(Job.preset("digits", settings), None)
    sessions.restore(session, checkpoints.read(learnt(seed, runs))[0])
    through(session, "upkeep")
    cores = sum(int(np.prod(chip.shape)) for chip in session.chips.values())
    start, *rest = session.looks
    return [
        Look(way.name, value, seed, row["hours"], start["accuracy"], row["accuracy"], row["core_calls"] / cores,
             row["evaluations"] / cores, row["recalibrated"] / cores)
        for row in rest
    ]  # fmt: skip


def lost(looks: list[Look]) -> float:
    """Percentage points below the start, mean over looks of every seed, then over seeds."""
    seeds = grouped(looks, lambda look: look.seed).values()
    return float(np.mean([np.mean([100 * (look.start - look.accuracy) for look in seed]) for seed in seeds]))


class Looks:
    """The looks made so far, kept in a file, so that a study that was stopped goes on."""

    def __init__(self, runs: Path) -> None:
        self.runs, self.path = runs, runs / "drift-looks.csv"
        self.table = Table(Look, "")
        self.looks = self.table.read(self.path)

    def get(self, way: Way, value: float, seed: int) -> list[Look]:
        """The looks of one seed, made now where they are not there yet."""
        looks = [look for look in self.looks if look[:3] == (way.name, value, seed)]
        if not looks:
            looks = served(way, value, seed, self.runs)
            self.looks += looks
            self.table.append(looks, self.path)
            print(way.name, value, seed, f"{lost(looks):.2f} points lost", flush=True)
        return looks

    def tried(self, way: Way, value: float) -> list[Look]:
        """All seeds, or the first where that is hopeless."""
        looks = self.get(way, value, SEEDS[0])
        if lost(looks) > HOPELESS and way is not NOTHING:
            return looks
        return [look for seed in SEEDS for look in self.get(way, value, seed)]


def search(kept: Looks, way: Way) -> tuple[float, bool]:
    """The cheapest setting that holds, by halving: a dearer one is taken to lose no more. False where none holds; then
    the dearest."""
    low, high = 0, len(way.values)
    while low < high:
        middle = (low + high) // 2
        if lost(kept.tried(way, way.values[middle])) <= POINTS:
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


Results = tuple[list[Row], list[Look]]
"""A row a policy, and all looks."""


def row(way: Way, value: float, holds: bool, looks: list[Look]) -> Row:
    """Sum up the looks of one setting."""
    seeds = list(grouped(looks, lambda look: look.seed).values())
    each, ends = [lost(seed) for seed in seeds], [seed[-1] for seed in seeds]
    spread = interval(each) if len(each) > 1 else 0.0
    days = ends[0].hours / 24.0
    anew = sum(look.recalibrated for look in looks) / len(seeds)
    return Row(
        way.name, f"{value:g} {way.unit}" if way is not NOTHING else "", holds, float(np.mean(each)), spread,
        100 * min(look.accuracy for look in looks), float(np.mean([end.core_calls for end in ends])) / days,
        float(np.mean([end.evaluations for end in ends])) / days, anew / days,
    )  # fmt: skip


def page(results: Results) -> list[str]:
    """The results as lines of Markdown."""
    rows, looks = results
    start = 100 * np.mean([look.start for look in looks if look.way == NOTHING.name])
    return [
        "# Drift and upkeep", "",
        "Made by `python -m l2sim.study.drift --out docs/results`; every look is in [drift.csv](drift.csv).", "",
        f"`digits`, {len(SEEDS)} seeds, {DAYS * 24} hours of chip time, readings within 1 %. Assumed: every bias "
        f"wanders by {WEATHER['nonidealities.drift_std']:g} rad (Ornstein-Uhlenbeck, correlation time 24 h), and a "
        f"thermal step of {WEATHER['nonidealities.step_std']:g} rad comes every 12 h (mean). That is 0.7 K and 0.07 K "
        "between the arms of a heater 100 micrometres long, at 0.075 rad/K (Komma et al., Appl. Phys. Lett. 101, "
        "041905 (2012)): round numbers of our own, not measured ones. A step moves the heaters of a mesh together, "
        "which does far more harm than as much to each by itself. What counts is how far a bias moves between looks, "
        "and at first that grows as the square root of time: with half the drift, intervals may be some four times as "
        "long.", "",
        f"When service began: {start:.2f} % (mean). Given is the cheapest setting tried with which the "
        f"accuracy as found, before upkeep acts, stays within {POINTS:g} point of that (mean over looks and seeds, "
        "with its 95 % interval). Counts are a core's, a day of chip time; an evaluation is nine core calls.", "",
        "![Accuracy over chip time, and the probes that policies take](drift.png)", "",
        *markdown((
            "policy", "cheapest setting that holds", "points lost", "lowest as found", "core calls", "evaluations",
            "calibrated anew",
        ), (
            (r.way, r.setting if r.holds or not r.setting else f"none of those tried; {r.setting}:",
             f"{r.lost:.2f} ± {r.interval:.2f}", f"{r.lowest:.1f} %", f"{r.core_calls:,.0f}", f"{r.evaluations:,.0f}",
             f"{r.recalibrated:.1f}")
            for r in rows
        )),
        "", *note("drift"),
    ]  # fmt: skip


def draw(results: Results) -> Figure:
    """Accuracy over chip time of every policy, and its probes a day."""
    tints = figures.INK, figures.BLUE, "#56B4E9", figures.VERMILLION, "#A8D5C5", figures.GREEN, "#00604A", "#CC79A7"
    colours = dict(zip([NOTHING.name, *(way.name for way in WAYS)], tints))
    sheet = Figure((11, 4.4), layout="constrained")
    left, right = sheet.subplots(1, 2, width_ratios=(1.25, 1))
    rows, looks = results
    wandering(left, rows, looks, colours)
    probes(right, [r for r in rows if r.way != NOTHING.name][::-1], colours)
    return sheet


def wandering(ax: Axes, rows: list[Row], looks: list[Look], colours: dict[str, str]) -> None:
    """Accuracy over chip time, mean of the seeds, of every policy at its setting."""
    start = float(100 * np.mean([look.start for look in looks]))
    ax.axhspan(start - POINTS, start, color=figures.GREY, alpha=0.25, lw=0, label="within one point")
    for r in rows:
        some = [look for look in looks if look.way == r.way]
        value = float(r.setting.split()[0]) if r.setting else some[0].value
        by_hour = grouped((look for look in some if look.value == value), lambda look: round(look.hours, 2))
        hours = sorted(by_hour)
        accuracy = [float(np.mean([100 * look.accuracy for look in by_hour[hour]])) for hour in hours]
        wide, style = r.way == NOTHING.name, (0, (5, 1.2)) if "search" in r.way else "-"
        ax.plot([0, *hours], [start, *accuracy], color=colours[r.way], lw=2.4 if wide else 1.4, ls=style, label=r.way)
    ax.set(xlabel="hours of service (chip time)", ylabel="test accuracy as found (%), mean of the seeds",
           title="While biases wander")  # fmt: skip
    ax.legend(loc="best", fontsize=8)


def probes(ax: Axes, rows: list[Row], colours: dict[str, str]) -> None:
    """Core calls a day of every policy."""
    for at, r in enumerate(rows):
        ax.barh(at, r.core_calls, 0.6, color=colours[r.way], hatch="" if r.holds else "///",
                alpha=1.0 if r.holds else 0.45)  # fmt: skip
        words = figures.engineering(r.core_calls) + ("" if r.holds else " (does not hold)")
        ax.annotate(words, (r.core_calls, at), (4, 0), textcoords="offset points", va="center", fontsize=8.5)
    ax.set_yticks(range(len(rows)), [r.way for r in rows])
    ax.set_xscale("log")
    ax.set_xlim(ax.get_xlim()[0], 12 * max(r.core_calls for r in rows))
    ax.grid(axis="y", visible=False)
    ax.set(xlabel="core calls of a core, a day of chip time", title="What it takes to lose no more than a point")


def compute(options: Namespace) -> Iterator[Results]:
    """Search every policy for its cheapest setting; looks made before are kept."""
    kept = Looks(options.runs)
    kept.tried(NOTHING, NOTHING.values[0])
    chosen = [(NOTHING, NOTHING.values[0], False), *((way, *search(kept, way)) for way in WAYS)]
    yield [row(way, value, holds, kept.tried(way, value)) for way, value, holds in chosen], sorted(kept.looks)


CSV = Table(Look, ".6g", {"value": ""})
STUDY = Study(
    "drift", __doc__, compute, page, lambda both, path: CSV.write(both[1], path), draw, 150, signed=False, runs=True
)

if __name__ == "__main__":
    STUDY.main()
