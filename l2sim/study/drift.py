"""Accuracy of `digits` while phase biases wander, and what each policy of upkeep costs to hold it.

    python -m l2sim.study.drift             a quick look
    python -m l2sim.study.drift --full      the page

The network is trained, identified by twins, programmed and learnt on, at 1 % readout noise; then its chips serve for
DAYS. For every policy (`l2sim.learn.upkeep`) the interval between looks, the threshold or the number of mini-batches is
searched: the cheapest one with which the accuracy as found, before upkeep acts, stays within POINTS percentage points
of that when service began: the mean over looks and seeds, and the end of its 95 % interval too. All policies of a seed
see the same weather.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from l2sim.flow import session as sessions
from l2sim.flow.l2ight import session as l2ight
from l2sim.job.job import Job, smoke
from l2sim.report import figures
from l2sim.store import checkpoint as checkpoints
from l2sim.study.harness import (
    Settings,
    Spread,
    Study,
    Table,
    grouped,
    listed,
    markdown,
    note,
    some,
    spread,
    through,
)  # fmt: skip

SEEDS = tuple(range(1, 11))
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
TRIGGER_HOURS = 0.25
SEARCHED: Settings = {"calibrate.method": "zcd", "upkeep.policy": "periodic"}

class Way(NamedTuple):
    """A policy and its settings from the cheapest on; `what` is searched, `unit` says what it is in."""

    name: str
    fixed: Settings
    what: str
    unit: str
    values: tuple[float, ...]


HOURS = (12, 6, 4, 3, 2, 1, 0.5, 0.25)
WAYS = (
    Way("periodic, by twins", {"upkeep.policy": "periodic"}, "upkeep.every", "h between looks",
        HOURS),
    Way("periodic, by search", SEARCHED, "upkeep.every", "h between looks", HOURS),
    Way("triggered, by twins", {"upkeep.policy": "triggered", "upkeep.every": TRIGGER_HOURS, "upkeep.probes": 4},
        "upkeep.threshold", "error of a core", (0.1, 0.05, 0.03, 0.01, 0.003, 0.001)),
    Way("track, 1 setting", {"upkeep.policy": "track", "upkeep.probes": 1}, "upkeep.every", "h between looks",
        HOURS),
    Way("track, 2 settings", {"upkeep.policy": "track", "upkeep.probes": 2}, "upkeep.every", "h between looks",
        HOURS),
    Way("track, 4 settings", {"upkeep.policy": "track", "upkeep.probes": 4}, "upkeep.every", "h between looks",
        HOURS),
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


def learnt(job: Job, runs: Path) -> Path:
    """The checkpoint of a network before service, made once."""
    seed = job.seed
    path = runs / f"drift-{seed}.safetensors"
    if not path.exists():
        session = l2ight.open_session(job, None)
        through(session, "pretrain", "deploy", "calibrate", "map", "learn")
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoints.write(path, sessions.snapshot(session, "learn", -1), None)
    return path


def served(way: Way, value: float, seed: int, runs: Path, whole: bool = True) -> list[Look]:
    """One seed in service; a short one of a small network where it is not to be the `whole`."""
    searched = int(value) if way.what == "upkeep.batches" else value
    settings = BASE | {"seed": seed, "upkeep.hours": 24.0 * DAYS} | way.fixed | {way.what: searched}
    first, job = Job.preset("digits", BASE | {"seed": seed}), Job.preset("digits", settings)
    if not whole:
        first, job = smoke(first), smoke(job)
    session = l2ight.open_session(job, None)
    sessions.restore(session, checkpoints.read(learnt(first, runs))[0])
    through(session, "upkeep")
    cores = sum(int(np.prod(chip.shape)) for chip in session.chips.values())
    start, *rest = session.looks
    return [
        Look(way.name, value, seed, row["hours"], start["accuracy"], row["accuracy"], row["core_calls"] / cores,
             row["evaluations"] / cores, row["recalibrated"] / cores)
        for row in rest
    ]  # fmt: skip


def lost(looks: list[Look]) -> Spread:
    """Percentage points below the start: the mean over looks of every seed, over seeds."""
    seeds = grouped(looks, lambda look: look.seed).values()
    return spread([float(np.mean([100 * (look.start - look.accuracy) for look in seed])) for seed in seeds])


class Looks:
    """The looks made so far, kept in a file, so that a study that was stopped goes on. `whole`: as in `served`."""

    def __init__(self, runs: Path, seeds: Sequence[int], whole: bool, looks: Iterable[Look] = ()) -> None:
        self.runs, self.path, self.seeds, self.whole = runs, runs / "drift-looks.csv", seeds, whole
        self.table = Table(Look, "")
        self.looks = [*looks] or self.table.read(self.path)

    def get(self, way: Way, value: float, seed: int) -> list[Look]:
        """The looks of one seed, made now where they are not there yet."""
        looks = [look for look in self.looks if look[:3] == (way.name, value, seed)]
        if not looks:
            looks = served(way, value, seed, self.runs, self.whole)
            self.looks += looks
            self.table.append(looks, self.path)
            print(way.name, value, seed, f"{lost(looks).mean:.2f} points lost", flush=True)
        return looks

    def tried(self, way: Way, value: float) -> list[Look]:
        """All seeds, or the first where that is hopeless."""
        looks = self.get(way, value, self.seeds[0])
        if lost(looks).mean > HOPELESS and way is not NOTHING:
            return looks
        return [look for seed in self.seeds for look in self.get(way, value, seed)]


def search(kept: Looks, way: Way) -> tuple[float, bool]:
    """The cheapest setting that holds, by halving: a dearer one is taken to lose no more. False where none holds; then
    the dearest. One seed has no interval and holds nothing."""
    low, high = 0, len(way.values)
    while low < high:
        middle = (low + high) // 2
        if lost(kept.tried(way, way.values[middle])).high <= POINTS:
            high = middle
        else:
            low = middle + 1
    return way.values[min(low, len(way.values) - 1)], low < len(way.values)


class Row(NamedTuple):
    """One policy at its cheapest setting. Points lost: mean over seeds, with its interval; counts a core and a day."""

    way: str
    setting: str
    holds: bool
    lost: Spread
    lowest: float
    core_calls: float
    evaluations: float
    recalibrated: float


Results = tuple[list[Row], list[Look]]
"""A row a policy, and all looks."""


def row(way: Way, value: float, holds: bool, looks: list[Look]) -> Row:
    """Sum up the looks of one setting."""
    seeds = list(grouped(looks, lambda look: look.seed).values())
    ends = [seed[-1] for seed in seeds]
    days = ends[0].hours / 24.0
    anew = sum(look.recalibrated for look in looks) / len(seeds)
    return Row(
        way.name, f"{value:g} {way.unit}" if way is not NOTHING else "", holds, lost(looks),
        100 * min(look.accuracy for look in looks), float(np.mean([end.core_calls for end in ends])) / days,
        float(np.mean([end.evaluations for end in ends])) / days, anew / days,
    )  # fmt: skip


def page(results: Results) -> list[str]:
    """The results as lines of Markdown."""
    rows, looks = results
    start = 100 * np.mean([look.start for look in looks if look.way == NOTHING.name])
    return [
        "# Drift and upkeep", "",
        "Made by `python -m l2sim.study.drift --full`; every look is in [drift.csv](drift.csv).", "",
        f"`digits`, {listed(look.seed for look in looks)}, {DAYS * 24} hours of chip time, "
        f"readings within 1 %. Assumed: every bias wanders by {WEATHER['nonidealities.drift_std']:g} rad "
        f"(Ornstein-Uhlenbeck, correlation time 24 h), and a "
        f"thermal step of {WEATHER['nonidealities.step_std']:g} rad comes every 12 h (mean). That is 0.7 K and 0.07 K "
        "between the arms of a heater 100 micrometres long, at 0.075 rad/K (Komma et al., Appl. Phys. Lett. 101, "
        "041905 (2012)): round numbers of our own, not measured ones. A step moves the heaters of a mesh together, "
        "which does far more harm than as much to each by itself. What counts is how far a bias moves between looks, "
        "and at first that grows as the square root of time: with half the drift, intervals may be some four times as "
        "long.", "",
        f"When service began: {start:.2f} % (mean). Given is the cheapest setting tried with which the "
        f"accuracy as found, before upkeep acts, stays within {POINTS:g} point of that: not only the mean over looks "
        "and seeds but the end of its 95 % interval too, which stands in brackets (Student's t over the seeds). "
        "Counts are a core's, a day of chip time; an evaluation is nine core calls.", "",
        "![Accuracy over chip time, policy by policy](drift.png)", "",
        "![Core calls a day of every policy](drift-cost.png)", "",
        *markdown((
            "policy", "cheapest setting that holds", "points lost", "lowest as found", "core calls", "evaluations",
            "calibrated anew",
        ), (
            (r.way, r.setting if r.holds or not r.setting else f"none of those tried; {r.setting}:",
             f"{r.lost.mean:.2f} ({r.lost.low:.2f} to {r.lost.high:.2f})", f"{r.lowest:.1f} %",
             f"{r.core_calls:,.0f}", f"{r.evaluations:,.0f}",
             f"{r.recalibrated:.1f}")
            for r in rows
        )),
        "", *note("drift"),
    ]  # fmt: skip


def looks_of(row: Row, looks: list[Look]) -> list[Look]:
    """The looks at the setting of a row."""
    mine = [look for look in looks if look.way == row.way]
    value = float(row.setting.split()[0]) if row.setting else mine[0].value
    return [look for look in mine if look.value == value]


def draw(results: Results) -> Figure:
    """Points lost over chip time of every policy, mean of the seeds."""
    rows, looks = results
    sheet = Figure((7.4, 4.4), layout="constrained")
    ax = sheet.subplots()
    ax.axhspan(0, POINTS, color=figures.GREY, alpha=0.25, lw=0, label=f"within {POINTS:g} point")
    for r, look in zip(rows, figures.LOOKS):
        by_hour = grouped(looks_of(r, looks), lambda look: round(look.hours, 2))
        hours = sorted(by_hour)
        below = [float(np.mean([100 * (one.start - one.accuracy) for one in by_hour[hour]])) for hour in hours]
        style = look.line(markevery=max(1, len(hours) // 6), ms=4, lw=1.3, clip_on=False)
        ax.plot([0, *hours], [0, *below], label=f"{r.way}: {r.setting}" if r.setting else "no upkeep", **style)
    ax.set(xlabel="hours of service (chip time)", xlim=(0, 24 * DAYS), ylim=(0, None))
    ax.set_ylabel("test accuracy lost, as found (points)")
    without, best = rows[0].lost.mean, min((r for r in rows if r.setting), key=lambda r: r.lost.mean)
    ax.set_title(f"Without upkeep {without:.0f} points are lost, with the best policy {best.lost.mean:.1f} "
                 f"(means of {listed(look.seed for look in looks).partition(' (')[0]})")  # fmt: skip
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="policy: cheapest that holds,\nor the dearest")
    return sheet


def probes(results: Results) -> Figure:
    """Core calls a day of every policy."""
    rows = [row for row in results[0] if row.setting][::-1]
    sheet = Figure((7.4, 3.2), layout="constrained")
    ax = sheet.subplots()
    for at, r in enumerate(rows):
        look = figures.LOOKS[0 if r.holds else 7]
        ax.plot([1, r.core_calls], [at, at], color=look.colour, lw=1)
        ax.plot(r.core_calls, at, look.mark if r.holds else "X", color=look.colour, ms=8)
        words = f"{figures.engineering(r.core_calls)}, {r.lost.mean:.1f} points lost" + ("" if r.holds else ", ×")
        ax.annotate(words, (r.core_calls, at), (9, 0), textcoords="offset points", va="center", fontsize=8.5)
    ax.set_yticks(range(len(rows)), [f"{r.way}\n{r.setting}" for r in rows], fontsize=8)
    ax.set_xscale("log")
    ax.set_xlim(50, 100 * max(r.core_calls for r in rows))
    ax.grid(axis="y", visible=False)
    ax.set(xlabel="core calls of a core, a day of chip time (× does not hold)")
    cheapest = min((r for r in rows if r.holds), key=lambda r: r.core_calls, default=None)
    answer = "No policy tried" if cheapest is None else f"“{cheapest.way}” is the cheapest that"
    ax.set_title(f"{answer} holds accuracy within {POINTS:g} point")
    return sheet


def chosen(kept: Looks, ways: Sequence[Way]) -> Results:
    """Every policy at its cheapest setting; looks that are not there are made."""
    kept.tried(NOTHING, NOTHING.values[0])
    best = [(NOTHING, NOTHING.values[0], False), *((way, *search(kept, way)) for way in ways)]
    return [row(way, value, holds, kept.tried(way, value)) for way, value, holds in best], sorted(kept.looks)


def compute(options: Namespace) -> Results:
    """Search every policy for its cheapest setting."""
    return chosen(Looks(options.runs, some(SEEDS, options), options.full), some(WAYS, options))


def read(path: Path) -> Results:
    """The results from all looks."""
    looks = CSV.read(path)
    return chosen(Looks(path.parent, sorted({look.seed for look in looks}), True, looks), WAYS)


CSV = Table(Look, ".6g", {"value": ""})
STUDY = Study(
    "drift", __doc__, compute, page, lambda both, path: CSV.write(both[1], path), read, {"": draw, "cost": probes}
)

if __name__ == "__main__":
    STUDY.main()
