"""The L2ight flow on harder chips: what breaks, as a table.

    python -m l2sim.study.silicon             a quick look
    python -m l2sim.study.silicon --full      the page

Runs `digits` on the published chip and on a realistic one (`l2sim.chip.nonidealities.PRESETS`), with push-pull and with
single-arm MZIs (`kernels.cores`), and calibrates and maps by each kind of reading. Cores that are complex take the
public path, probe by probe, so that epochs are fewer than in the preset; the published chip is run with as many.
"""

from __future__ import annotations

import itertools
from argparse import Namespace
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from l2sim.flow import flow
from l2sim.job.job import Job
from l2sim.store.events import Done
from l2sim.study.harness import (
    INTERVALS,
    Report,
    Settings,
    Spread,
    Study,
    Table,
    gathered,
    grouped,
    listed,
    magnitude,
    markdown,
    note,
    percent,
    share,
    sized,
    some,
)  # fmt: skip

CHIPS = ("l2ight-2021", "silicon-push-pull")
DRIVES = {"push-pull": False, "single-arm": True}
READOUTS = ("quadrature", "power", "field")
EPOCHS = {"calibrate.epochs": 120, "calibrate.polish": 20, "map.epochs": 120, "map.polish": 20, "learn.epochs": 10}
LIGHTER: dict[str, Settings] = {
    "l2ight-2021": {},
    "silicon-push-pull": {},
    "silicon-push-pull, readings without noise": {"readout_noise": 0.0},
    # A trace of loss keeps this run, too, on the public path.
    "silicon-push-pull, exact splitters, no loss": {"splitter_error_std": 0.0, "loss_db": 0.0, "loss_db_std": 1e-6},
    "silicon-push-pull, biases within 1 rad": {"phase_bias": 1.0},
}
"""What the last rows leave out of the realistic chip, to see which imperfection does the harm."""


SEEDS = tuple(range(1, 11))


class Row(NamedTuple):
    """One run. Accuracies on the test set after each stage; errors are means over all cores, known to an observer."""

    chip: str
    drive: str
    readout: str
    seed: int
    pretrained: float
    deployed: float
    identity_error: float
    mapping_error: float
    mapped: float
    learned: float


class Mean(NamedTuple):
    """Means over the seeds of the fields of a `Row`."""

    key: tuple[str, str, str]
    pretrained: Spread
    deployed: Spread
    identity_error: Spread
    mapping_error: Spread
    mapped: Spread
    learned: Spread


def means(rows: list[Row]) -> dict[tuple[str, str, str], Mean]:
    """By chip, drive and readout."""
    means = {}
    for key, same in grouped(rows, lambda row: row[:3]).items():
        columns = {name: [getattr(row, name) for row in same] for name in Mean._fields[1:]}
        means[key] = Mean(key, **{
            name: magnitude(column) if name.endswith("error") else share(column) for name, column in columns.items()
        })  # fmt: skip
    return means


def settings() -> Iterator[tuple[str, str, str]]:
    """Chip, drive and readout of every run."""
    yield from itertools.product(CHIPS, DRIVES, READOUTS)
    yield from ((name, "push-pull", "quadrature") for name in LIGHTER if name not in CHIPS)


def job(chip: str, drive: str, readout: str, seed: int) -> Job:
    """What is run."""
    return Job.preset(
        "digits",
        {
            "nonidealities.base": chip.partition(",")[0],
            "nonidealities.single_arm": DRIVES[drive],
            "calibrate.readout" if readout == "power" else "chip.readout": readout,
            "map.compare": False,
            "seed": seed,
            **{f"nonidealities.{name}": value for name, value in LIGHTER[chip].items()},
            **EPOCHS,
        },
    )


def one(chip: str, drive: str, readout: str, seed: int, job: Job) -> Row:
    """Run the flow once."""
    *_, done = flow.run(job)
    assert isinstance(done, Done)
    stages = msgspec.convert(done.report, Report).by_name
    identity = stages["calibrate"].oracle_identity_error
    return Row(
        chip, drive, readout, seed, stages["pretrain"].accuracy, stages["deploy"].accuracy,
        (identity["u"] + identity["v"]) / 2, stages["map"].oracle_mapping_error, stages["map"].accuracy,
        stages["learn"].accuracy,
    )  # fmt: skip


HEAD = """# The L2ight flow on harder chips

Made by `python -m l2sim.study.silicon --full`; every run is in [silicon.csv](silicon.csv).

`digits` with {calibrate} epochs of calibration, {map} of mapping and {learn} of learning. Calibration and mapping are
read by `readout`; with `field` the gradient of sigma is too, which otherwise, as inference always, is read by
quadratures. Errors are means over all cores; accuracies are those on the test set, in %. Means of {seeds}.
{intervals} The electronic network has {pretrained:.1f} %.

"""


def page(rows: list[Row]) -> list[str]:
    """The results as lines of Markdown."""
    epochs = {name.partition(".")[0]: count for name, count in EPOCHS.items() if name.endswith("epochs")}
    by_way = means(rows)
    first = next(iter(by_way.values()))
    return [
        *HEAD.format(
            **epochs, seeds=listed(row.seed for row in rows), intervals=INTERVALS,
            pretrained=100 * first.pretrained.mean,
        ).splitlines(),
        *markdown(
            ("chip", "drive", "readout", "deployed", "identity error", "mapping error", "mapped", "learned"), ((
                *row.key, percent(row.deployed), f"{row.identity_error.mean:.3f}", f"{row.mapping_error.mean:.2g}",
                percent(row.mapped), percent(row.learned),
            ) for row in by_way.values()),
        ), "",
        "What breaks:", "",
        *verdict(by_way).splitlines(),
    ]  # fmt: skip


def overlap(a: Spread, b: Spread) -> bool:
    """Whether two intervals have something in common."""
    return a.low <= b.high and b.low <= a.high


def verdict(by_way: dict[tuple[str, str, str], Mean]) -> str:
    """What breaks, said of these results."""
    text, whole = "", by_way["silicon-push-pull", "push-pull", "quadrature"]
    for chip, drive in itertools.product(CHIPS, DRIVES):
        seen = {readout: by_way[chip, drive, readout] for readout in READOUTS}
        best = max(row.learned.mean for row in seen.values())
        broken = " and ".join(name for name, row in seen.items() if row.learned.mean < best - 0.15) or "nothing"
        numbers = ", ".join(f"{readout} {100 * row.learned.mean:.1f} %" for readout, row in seen.items())
        text += f"- {chip}, {drive}: {numbers}; {100 * (whole.pretrained.mean - best):.1f} points below the\n"
        text += f"  electronic network at best, and {broken} more than fifteen points below that.\n"
    text += "\n".join(["", *note("silicon"), "", ""])
    for (chip, _, _), row in by_way.items():
        if chip not in CHIPS:
            text += f"- {chip}: learned {100 * row.learned.mean:.1f} % instead of {100 * whole.learned.mean:.1f} %,\n"
            text += f"  mapping error {row.mapping_error.mean:.2g} instead of {whole.mapping_error.mean:.2g}; the\n"
            words = "overlap" if overlap(row.learned, whole.learned) else "are apart"
            text += f"  intervals of both accuracies {words}.\n"
    return text


def compute(options: Namespace) -> list[Row]:
    """Every run, all ways of one seed before the next seed; the page compares all of them."""
    points = [(*way, seed) for seed in some(SEEDS, options) for way in settings()]
    return gathered(
        points, lambda point: [one(*point, sized(job(*point), options))], TABLE, options.runs / "silicon.csv",
        lambda row, point: row[:4] == point,
    )  # fmt: skip


TABLE = Table(Row, ".5g")
STUDY = Study("silicon", __doc__, compute, page, TABLE.write, TABLE.read)

if __name__ == "__main__":
    STUDY.main()
