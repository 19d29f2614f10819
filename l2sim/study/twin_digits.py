"""Where twins lose accuracy at readout noise: in what they program, or in the readings of the test itself.

    python -m l2sim.study.twin_digits --out docs/results

`digits` is trained and mapped by twins whose probes are noisy. Then it is tested with and without noise in the readings
of the test; and so are chips without any imperfection that have the trained weights exactly. Noisy tests are repeated.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np

from l2sim.blas import prepare
from l2sim.study import results

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
    from l2sim.chip.nonidealities import Nonidealities
    from l2sim.flow import oracle, training
    from l2sim.flow.l2ight import session as l2ight
    from l2sim.flow.l2ight import stages
    from l2sim.job.imperfections import chip_nonidealities
    from l2sim.job.job import Job
    from l2sim.learn.search import mapping
    from l2sim.nn.photonic import PhotonicWeight

    settings = {"calibrate.method": "twin", "map.compare": False, "seed": seed} | changes
    session = l2ight.open_session(Job.preset("digits", settings), None)
    for stage in ("pretrain", "deploy"):
        for _ in stages.STAGES[stage](session, 0):
            pass
    sheet, chips = chip_nonidealities(session.job), session.chips

    def tested(it: Any) -> float:
        for chip in chips.values():
            chip.nonidealities = it
        repeats = REPEATS if it.readout_noise else 1
        return float(np.mean([
            training.scores(session, session.network, validate=False)["accuracy"] for _ in range(repeats)
        ]))  # fmt: skip

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
        for stage in ("calibrate", "map"):
            for _ in stages.STAGES[stage](session, 0):
                pass
        errors = []
        for name, chip in chips.items():
            above, below = oracle.mapping_error(chip, session.aims[name])
            errors.append((above / below)[below > 0])
        known = np.concatenate([twin.evaluations for twin in session.twins.values()])
        quiet = tested(msgspec.structs.replace(noisy, readout_noise=0.0))
        rows.append(Row(
            noise, seed, float(known.mean()), float(np.concatenate(errors).mean()), exact, exact_noisy, quiet,
            tested(noisy),
        ))  # fmt: skip
    return rows


def page(rows: list[Row]) -> str:
    """The results as a page of Markdown."""
    text = (
        "# Twins and the accuracy of `digits` at readout noise\n\n"
        "Made by `python -m l2sim.study.twin_digits --out docs/results`; every row is in "
        "[twin-digits.csv](twin-digits.csv).\n\n"
        f"Means of {len({row.seed for row in rows})} networks; noisy tests are repeated {REPEATS} times. The trained "
        "weights on chips without any imperfection, and as the twins programmed them from probes with that noise; each "
        "tested by readings without noise, and with it. What noise costs is lost in the readings of the test, which "
        "cost chips with the exact weights as much; what twins cost is the difference within either kind of test, a "
        "picture or so of 360, and no more than where probes have no noise at all.\n\n"
        "| noise | evaluations a core | mapping error | trained, quiet test | trained, noisy test | "
        "twin, quiet test | twin, noisy test |\n|" + "---|" * 7 + "\n"
    )
    for noise in dict.fromkeys(row.noise for row in rows):
        mean = np.mean([row[2:] for row in rows if row.noise == noise], axis=0)
        cells = " | ".join(f"{100 * value:.2f} %" for value in mean[2:])
        text += f"| {noise:g} | {mean[0]:.0f} | {mean[1]:.2g} | {cells} |\n"
    return text


def main(arguments: list[str] | None = None) -> None:
    """Write twin-digits.csv and twin-digits.md into the folder `--out`."""
    prepare()
    out = results.folder(__doc__, arguments)
    rows: list[Row] = []
    for seed in SEEDS:
        rows += table(seed)
        results.write(out / "twin-digits.csv", rows, 0, 5)
        (out / "twin-digits.md").write_text(page(rows), encoding="utf-8")
        print(*rows[-len(NOISE) :], sep="\n", flush=True)


if __name__ == "__main__":
    main()
