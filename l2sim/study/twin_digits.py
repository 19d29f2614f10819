"""Where twins lose accuracy at readout noise: in what they program, or in the readings of the test itself.

    python -m l2sim.study.twin_digits             a quick look
    python -m l2sim.study.twin_digits --full      the page

`digits` is trained and mapped by twins whose probes are noisy. Then it is tested with and without noise in the readings
of the test; and so are chips without any imperfection that have the trained weights exactly. Noisy tests are repeated.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from l2sim.chip.nonidealities import Nonidealities
from l2sim.flow import oracle, training
from l2sim.flow.l2ight import session as l2ight
from l2sim.job.imperfections import chip_nonidealities
from l2sim.job.job import Job
from l2sim.learn.search import mapping
from l2sim.nn.photonic import PhotonicWeight
from l2sim.study.harness import (
    INTERVALS,
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
    spread,
    through,
)  # fmt: skip

NOISE = (0.0, 0.01, 0.02)
SEEDS = tuple(range(1, 11))
REPEATS = 10


class Row(NamedTuple):
    """Accuracies: of the trained weights, without and with noise in the test's readings; and as the twins programmed
    them, likewise. `mapping_error`: mean over cores, an observer's."""

    noise: float
    seed: int
    evaluations: float
    mapping_error: float
    exact: float
    exact_noisy: float
    twin: float
    twin_noisy: float


def job(seed: int) -> Job:
    """What is run."""
    return Job.preset("digits", {"calibrate.method": "twin", "map.compare": False, "seed": seed})


def table(job: Job, noises: Sequence[float] = NOISE) -> list[Row]:
    """One network at all `noises`."""
    session = through(l2ight.open_session(job, None), "pretrain", "deploy")
    sheet, chips = chip_nonidealities(session.job), session.chips

    def tested(imperfect: Nonidealities) -> float:
        for chip in chips.values():
            chip.nonidealities = imperfect
        repeats = range(REPEATS if imperfect.readout_noise else 1)
        return float(np.mean([training.scores(session, session.network, validate=False)["accuracy"] for _ in repeats]))

    rows = []
    for noise in noises:
        ideal = Nonidealities(exact_sigma=True)
        for name, chip in chips.items():
            mapping.deploy(chip, session.aims[name])
            weight = session.network.weights[name]
            assert isinstance(weight, PhotonicWeight)
            weight.sigma[...] = session.aims[name].sigma
        exact, exact_noisy = (tested(msgspec.structs.replace(ideal, readout_noise=n)) for n in (0.0, noise))
        imperfect = msgspec.structs.replace(session.job.nonidealities, readout_noise=noise)
        session.job, noisy = (
            msgspec.structs.replace(session.job, nonidealities=imperfect),
            msgspec.structs.replace(sheet, readout_noise=noise),
        )
        for chip in chips.values():
            chip.nonidealities = noisy
        through(session, "calibrate", "map")
        known = np.concatenate([twin.evaluations for twin in session.twins.values()])
        error, quiet = mapping_error(session), tested(msgspec.structs.replace(noisy, readout_noise=0.0))
        rows.append(Row(
            noise, job.seed, float(known.mean()), error, exact, exact_noisy, quiet, tested(noisy),
        ))  # fmt: skip
    return rows


def mapping_error(session: l2ight.L2ight) -> float:
    """Mean mapping error of all cores (an observer's) that are to be anything but zero."""
    errors = []
    for name, chip in session.chips.items():
        above, below = oracle.mapping_error(chip, session.aims[name])
        errors.append((above / below)[below > 0])
    return float(np.concatenate(errors).mean())


def page(rows: list[Row]) -> list[str]:
    """The results as lines of Markdown."""
    lines, gaps = [], []
    for noise, same in grouped(rows, lambda row: row.noise).items():
        error = magnitude([row.mapping_error for row in same])
        accuracies = (share([getattr(row, name) for row in same]) for name in Row._fields[4:])
        cells = f"{noise:g}", f"{np.mean([row.evaluations for row in same]):.0f}", f"{error.mean:.2g}"
        lines.append((*cells, *(percent(mean) for mean in accuracies)))
        for test in ("", "_noisy"):
            gap = spread([100 * (getattr(row, f"exact{test}") - getattr(row, f"twin{test}")) for row in same])
            ends = f"{gap.mean:.2f} ({gap.low:.2f} to {gap.high:.2f})"
            gaps.append((f"{noise:g}", "noisy" if test else "quiet", ends))
    worst = max(rows, key=lambda row: row.exact - row.twin)
    return [
        "# Twins and the accuracy of `digits` at readout noise", "",
        "Made by `python -m l2sim.study.twin_digits --full`; every row is in [twin-digits.csv](twin-digits.csv).", "",
        f"Means of {listed(row.seed for row in rows)}, each a network and a chip; noisy tests are repeated {REPEATS} "
        "times. The trained weights on chips without any imperfection, and as the twins programmed them from probes "
        f"with that noise; each tested by readings without noise, and with it. Accuracies in %. {INTERVALS}", "",
        *markdown((
            "noise", "evaluations a core", "mapping error", "trained, quiet test", "trained, noisy test",
            "twin, quiet test", "twin, noisy test",
        ), lines), "",
        "What twins cost, in percentage points: differences within a seed, and the interval of their mean.", "",
        *markdown(("noise", "test", "points lost to twins"), gaps), "",
        "Most of what noise costs is lost in the readings of the test, which cost chips with the exact weights too. "
        f"The seed that loses most to its twins is {worst.seed}, at noise {worst.noise:g}: {100 * worst.exact:.1f} % "
        f"trained, {100 * worst.twin:.1f} % as programmed, in the quiet test.",
    ]  # fmt: skip


def compute(options: Namespace) -> list[Row]:
    """All networks."""
    jobs = [sized(job(seed), options) for seed in some(SEEDS, options)]
    kept = options.runs / "twin-digits.csv"
    return gathered(jobs, table, TABLE, kept, lambda row, job: row.seed == job.seed)


TABLE = Table(Row, ".5g")
STUDY = Study("twin-digits", __doc__, compute, page, TABLE.write, TABLE.read)

if __name__ == "__main__":
    STUDY.main()
