"""Twins kept up to date: accuracy of `digits` while its chips drift, against the probes spent an interval.

    python -m l2sim.study.twin_drift --out docs/results

The network is trained, its chips are identified by twins and programmed, at 1 % readout noise. Then every bias moves at
its own constant rate, RATE rad an interval (rms). After each interval the twins are tracked
(`l2sim.learn.twin.identify.track`) by so many random settings and the chips programmed anew; or nothing is done.
"""

from __future__ import annotations

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
from l2sim.study.harness import Study, Table, gathered, grouped, markdown, through
from l2sim.study.twin_digits import mapping_error

RATE = 0.03
INTERVALS = 10
PROBES = (0, 1, 2, 4, 8)


class Row(NamedTuple):
    """After an interval. `mapping_error`: mean over cores, an observer's; `identified`: share of the cores."""

    probes: int
    interval: int
    drift: float
    evaluations: float
    identified: float
    mapping_error: float
    accuracy: float


def table(probes: int, **changes: object) -> list[Row]:
    """One run with so many probes an interval."""
    settings = {"calibrate.method": "twin", "nonidealities.readout_noise": 0.01, "map.compare": False} | changes
    session = l2ight.open_session(Job.preset("digits", settings), None)
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
            probes, interval, RATE * interval, float(np.concatenate([t.evaluations for t in known]).mean()),
            float(np.concatenate([t.identified for t in known]).mean()), mapping_error(session),
            training.scores(session, session.network, validate=False)["accuracy"],
        ))  # fmt: skip
    return rows


def page(rows: list[Row]) -> list[str]:
    """The results as lines of Markdown."""
    start, table = next(row for row in rows if row.interval == 0), []
    for probes, some in grouped((row for row in rows if row.interval), lambda row: row.probes).items():
        lost = 100 * (1.0 - min(row.identified for row in some))
        accuracies = [row.accuracy for row in some]
        shares = (float(np.mean(accuracies)), min(accuracies), accuracies[-1])
        cells = (f"{100 * share:.2f} %" for share in shares)
        table.append((probes, *cells, f"{some[-1].mapping_error:.2g}", f"{lost:.0f} %"))
    return [
        "# Twins while the chips drift", "",
        "Made by `python -m l2sim.study.twin_drift --out docs/results`; every row is in "
        "[twin-drift.csv](twin-drift.csv).", "",
        "`digits`, readings within 1 % (those of the test too); every bias moves at its own rate, "
        f"{RATE} rad an interval (rms), for {INTERVALS} intervals. As programmed at the start: "
        f"{100 * start.accuracy:.2f} %, mapping error {start.mapping_error:.2g}.", "",
        *markdown((
            "probes an interval", "mean accuracy", "lowest", "at the end", "mapping error at the end", "lost cores",
        ), table),
    ]  # fmt: skip


STUDY = Study("twin-drift", __doc__, lambda _: gathered(PROBES, table), page, Table(Row, ".5g").write)

if __name__ == "__main__":
    STUDY.main()
