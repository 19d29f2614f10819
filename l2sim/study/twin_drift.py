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
from l2sim.blas import prepare
from l2sim.study import results

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
    from l2sim.flow import oracle, training
    from l2sim.flow.l2ight import session as l2ight
    from l2sim.flow.l2ight import stages, twins
    from l2sim.job.imperfections import chip_nonidealities
    from l2sim.job.job import Job
    from l2sim.learn.twin import identify as twin

    settings = {"calibrate.method": "twin", "nonidealities.readout_noise": 0.01, "map.compare": False} | changes
    session = l2ight.open_session(Job.preset("digits", settings), None)
    for stage in ("pretrain", "deploy", "calibrate", "map"):
        for _ in stages.STAGES[stage](session, 0):
            pass
    sheet, rows = chip_nonidealities(session.job), []
    for interval in range(INTERVALS + 1):
        errors, known = [], list(session.twins.values())
        for name, chip in session.chips.items():
            chip.nonidealities = msgspec.structs.replace(sheet, phase_error_std=RATE * interval)
            if interval and probes:
                rng = generator(7, name, interval)
                session.twins[name] = twin.track(chip, sheet, session.twins[name], RATE, rng, probes)
                twins.program(session, name)
            above, below = oracle.mapping_error(chip, session.aims[name])
            errors.append((above / below)[below > 0])
        known = list(session.twins.values())
        rows.append(Row(
            probes, interval, RATE * interval, float(np.concatenate([t.evaluations for t in known]).mean()),
            float(np.concatenate([t.identified for t in known]).mean()), float(np.concatenate(errors).mean()),
            training.scores(session, session.network, validate=False)["accuracy"],
        ))  # fmt: skip
    return rows


def page(rows: list[Row]) -> str:
    """The results as a page of Markdown."""
    start = next(row for row in rows if row.interval == 0)
    text = (
        "# Twins while the chips drift\n\n"
        "Made by `python -m l2sim.study.twin_drift --out docs/results`; every row is in "
        "[twin-drift.csv](twin-drift.csv).\n\n"
        "`digits`, readings within 1 % (those of the test too); every bias moves at its own rate, "
        f"{RATE} rad an interval (rms), for {INTERVALS} intervals. As programmed at the start: "
        f"{100 * start.accuracy:.2f} %, mapping error {start.mapping_error:.2g}.\n\n"
    )
    text += "| probes an interval | mean accuracy | lowest | at the end | mapping error at the end | lost cores |\n"
    text += "|---|---|---|---|---|---|\n"
    for probes in dict.fromkeys(row.probes for row in rows):
        some = [row for row in rows if row.probes == probes and row.interval]
        lost = 100 * (1.0 - min(row.identified for row in some))
        mean = float(np.mean([row.accuracy for row in some]))
        text += f"| {probes} | {100 * mean:.2f} % | {100 * min(row.accuracy for row in some):.2f} % | "
        text += f"{100 * some[-1].accuracy:.2f} % | "
        text += f"{some[-1].mapping_error:.2g} | {lost:.0f} % |\n"
    return text


def main(arguments: list[str] | None = None) -> None:
    """Write twin-drift.csv and twin-drift.md to the folder `--out`."""
    prepare()
    out = results.folder(__doc__, arguments)
    rows: list[Row] = []
    for probes in PROBES:
        rows += table(probes)
        print(*rows[-1], flush=True)
    results.write(out / "twin-drift.csv", rows, 2, 5)
    (out / "twin-drift.md").write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
