"""Twins kept up to date: accuracy of `digits` while its chips drift, against the probes spent an interval.

    python -m l2sim.study.twin_drift             a quick look
    python -m l2sim.study.twin_drift --full      the page

The network is trained, its chips are identified by twins and programmed, at 1 % readout noise. Then every bias moves at
its own constant rate, RATE rad an interval (rms). After each interval the twins are tracked
(`l2sim.learn.twin.identify.track`) by so many random settings and the chips programmed anew; or nothing is done.
"""

from __future__ import annotations

from argparse import Namespace
from typing import NamedTuple

import msgspec
import numpy as np

from l2sim.backend import generator
from l2sim.flow import training
from l2sim.flow.l2ight import session as l2ight
from l2sim.flow.l2ight import twins
from l2sim.job.imperfections import chip_nonidealities
from l2sim.job.job import Job
from l2sim.learn.twin import identify as twin
from l2sim.study import harness
from l2sim.study.harness import (
    Study,
    Table,
    gathered,
    grouped,
    listed,
    magnitude,
    markdown,
    percent,
    share,
    sized,
    some,
    through,
)  # fmt: skip
from l2sim.study.twin_digits import mapping_error

RATE = 0.03
INTERVALS = 10
PROBES = (0, 1, 2, 4, 8)
SEEDS = tuple(range(1, 11))


class Row(NamedTuple):
    """After an interval. `mapping_error`: mean over cores, an observer's; `identified`: share of the cores."""

    seed: int
    probes: int
    interval: int
    drift: float
    evaluations: float
    identified: float
    mapping_error: float
    accuracy: float


def job(seed: int) -> Job:
    """What is run."""
    settings = {"calibrate.method": "twin", "nonidealities.readout_noise": 0.01, "map.compare": False, "seed": seed}
    return Job.preset("digits", settings)


def table(probes: int, job: Job) -> list[Row]:
    """One run with so many probes an interval."""
    session = l2ight.open_session(job, None)
    through(session, "pretrain", "deploy", "calibrate", "map")
    sheet, rows = chip_nonidealities(session.job), []
    for interval in range(INTERVALS + 1):
        for name, chip in session.chips.items():
            chip.nonidealities = msgspec.structs.replace(sheet, phase_error_std=RATE * interval)
            if interval and probes:
                rng = generator(7, name, interval)
                session.twins[name] = twin.track(chip, sheet, session.twins[name], RATE, rng, probes)
                twins.program(session, name)
        known = list(session.twins.values())
        rows.append(Row(
            job.seed, probes, interval, RATE * interval, float(np.concatenate([t.evaluations for t in known]).mean()),
            float(np.concatenate([t.identified for t in known]).mean()), mapping_error(session),
            training.scores(session, session.network, validate=False)["accuracy"],
        ))  # fmt: skip
    return rows


def page(rows: list[Row]) -> list[str]:
    """The results as lines of Markdown."""
    table = []
    for probes, every in grouped((row for row in rows if row.interval), lambda row: row.probes).items():
        runs = list(grouped(every, lambda row: row.seed).values())
        lost = 100 * (1.0 - min(row.identified for row in every))
        mean = share([float(np.mean([row.accuracy for row in run])) for run in runs])
        lowest = share([min(row.accuracy for row in run) for run in runs])
        end = share([run[-1].accuracy for run in runs])
        error = magnitude([run[-1].mapping_error for run in runs])
        table.append((probes, *map(percent, (mean, lowest, end)), f"{error.mean:.2g}", f"{lost:.0f} %"))
    first = [row for row in rows if row.interval == 0 and row.probes == rows[0].probes]
    start = percent(share([row.accuracy for row in first]))
    return [
        "# Twins while the chips drift", "",
        "Made by `python -m l2sim.study.twin_drift --full`; every row is in [twin-drift.csv](twin-drift.csv).", "",
        f"`digits`, {listed(row.seed for row in rows)}, readings within 1 % (those of the test too); every bias moves "
        f"at its own rate, {RATE} rad an interval (rms), for {INTERVALS} intervals. As programmed at the start: "
        f"{start} %, mapping error {np.mean([row.mapping_error for row in first]):.2g}. "
        f"Accuracies in %. {harness.INTERVALS}",
        "",
        *markdown((
            "probes an interval", "mean accuracy", "lowest", "at the end", "mapping error at the end", "lost cores",
        ), table),
    ]  # fmt: skip


def compute(options: Namespace) -> list[Row]:
    """All runs."""
    points = [(probes, sized(job(seed), options)) for seed in some(SEEDS, options) for probes in some(PROBES, options)]
    return gathered(
        points, lambda point: table(*point), TABLE, options.runs / "twin-drift.csv",
        lambda row, point: (row.probes, row.seed) == (point[0], point[1].seed),
    )  # fmt: skip


TABLE = Table(Row, ".5g")
STUDY = Study("twin-drift", __doc__, compute, page, TABLE.write, TABLE.read)

if __name__ == "__main__":
    STUDY.main()
