"""Where twins lose accuracy at readout noise: in what they program, or in the readings of the test itself.

    python -m l2sim.study.twin_digits --out docs/results

`digits` is trained and mapped by twins whose probes are noisy. Then it is tested with and without noise in the readings
of the test; and so are chips without any imperfection that have the trained weights exactly. Noisy tests are repeated.
"""

from __future__ import annotations

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
from l2sim.study.harness import Study, Table, gathered, grouped, markdown, through

NOISE = (0.0, 0.01, 0.02)
SEEDS = (1, 2)
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


def table(seed: int, noises: tuple[float, ...] = NOISE, **changes: object) -> list[Row]:
    """One network at all `noises`."""
    settings = {"calibrate.method": "twin", "map.compare": False, "seed": seed} | changes
    session = through(l2ight.open_session(Job.preset("digits", settings), None), "pretrain", "deploy")
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
        job = msgspec.structs.replace(
            session.job, nonidealities=msgspec.structs.replace(session.job.nonidealities, readout_noise=noise)
        )
        session.job, noisy = job, msgspec.structs.replace(sheet, readout_noise=noise)
        for chip in chips.values():
            chip.nonidealities = noisy
        through(session, "calibrate", "map")
        known = np.concatenate([twin.evaluations for twin in session.twins.values()])
        error, quiet = mapping_error(session), tested(msgspec.structs.replace(noisy, readout_noise=0.0))
        rows.append(Row(
            noise, seed, float(known.mean()), error, exact, exact_noisy, quiet, tested(noisy),
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
    means = {
        noise: np.mean([row[2:] for row in same], axis=0)
        for noise, same in grouped(rows, lambda row: row.noise).items()
    }
    return [
        "# Twins and the accuracy of `digits` at readout noise", "",
        "Made by `python -m l2sim.study.twin_digits --out docs/results`; every row is in "
        "[twin-digits.csv](twin-digits.csv).", "",
        f"Means of {len({row.seed for row in rows})} networks; noisy tests are repeated {REPEATS} times. The trained "
        "weights on chips without any imperfection, and as the twins programmed them from probes with that noise; each "
        "tested by readings without noise, and with it. What noise costs is lost in the readings of the test, which "
        "cost chips with the exact weights as much; what twins cost is the difference within either kind of test, a "
        "picture or so of 360, and no more than where probes have no noise at all.", "",
        *markdown((
            "noise", "evaluations a core", "mapping error", "trained, quiet test", "trained, noisy test",
            "twin, quiet test", "twin, noisy test",
        ), (
            (f"{noise:g}", f"{mean[0]:.0f}", f"{mean[1]:.2g}", *(f"{100 * value:.2f} %" for value in mean[2:]))
            for noise, mean in means.items()
        )),
    ]  # fmt: skip


STUDY = Study("twin-digits", __doc__, lambda _: gathered(SEEDS, table), page, Table(Row, ".5g").write)

if __name__ == "__main__":
    STUDY.main()
