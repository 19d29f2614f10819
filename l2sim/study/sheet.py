"""Chips that depart from their data sheets: what twins find out, and what they say of it.

    python -m l2sim.study.sheet             a quick look
    python -m l2sim.study.sheet --full      the page

Every row is a grid of cores with one departure that the data sheet does not speak of. They are identified and
programmed by what is believed, and read back; what is said of each is compared with an observer's truth. The list of
rows was written before any was run. Rows are appended to sheet.csv; delete one to make it again.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import msgspec
import numpy as np

from l2sim.backend import Array, generator
from l2sim.chip.complex_core_chip import fabricated_as
from l2sim.chip.nonidealities import PRESETS, Nonidealities
from l2sim.chip.protocol import command
from l2sim.flow import oracle
from l2sim.learn.search import mapping
from l2sim.learn.twin import identify as twin
from l2sim.learn.twin import program
from l2sim.learn.twin.fit import Drive
from l2sim.mesh.mesh import Mesh
from l2sim.study.harness import Study, Table, markdown, note, some

MODES, SEED = 9, 3
CORES = {"quadrature": 500, "two_readings": 300}
QUICK = 16
LSB = 1.0 / 255.0
"""One step of 8 bits, of the full scale."""
BELIEVED = msgspec.structs.replace(PRESETS["l2ight-2021"], readout_noise=0.01)
"""The data sheet."""
Departure = dict[str, object]
DEPARTURES: dict[str, Departure] = {
    "as believed": {},
    "noise x 1/10": {"readout_noise": 0.001},
    "noise x 1/3": {"readout_noise": 0.01 / 3},
    "noise x 3": {"readout_noise": 0.03},
    "crosstalk 0.02": {"crosstalk": 0.02},
    "crosstalk 0.05": {"crosstalk": 0.05},
    "crosstalk of range e^-r": {"crosstalk_range": 1.0},
    "crosstalk of range e^(-r/2)": {"crosstalk_range": 2.0},
    "crosstalk to arms, 0.02, e^(-r/2)": {"crosstalk": 0.02, "crosstalk_range": 2.0, "crosstalk_arms": True},
    "crosstalk of pairs +-50 %": {"crosstalk_pairs": 0.5},
    "die 0.03 rad": {"die_heat": 0.03},
    "gamma x 2": {"gamma_std": 0.004},
    "gamma x 5": {"gamma_std": 0.01},
    "curves bent 1 %": {"bend": 0.01},
    "curves bent 3 %": {"bend": 0.03},
    "curves bent 1 % each": {"bend_std": 0.01},
    "INL 1/2 LSB": {"heater_inl": LSB / 2},
    "INL 1 LSB": {"heater_inl": LSB},
    "splitters 0.02": {"splitter_error_std": 0.02},
    "splitters 0.05": {"splitter_error_std": 0.05},
    "loss 0.05 dB": {"loss_db": 0.05},
    "stuck 2 %": {"stuck": 0.02},
    "dead 1 %": {"dead": 0.01},
    "gain 2 %": {"gain_std": 0.02},
    "offset 0.005": {"offset_std": 0.005},
    "offset 0.01": {"offset_std": 0.01},
    "saturation 3 %": {"saturation": 0.03},
    "reference 0.1 rad": {"reference_phase_std": 0.1},
    "laser 1 % a probe": {"laser_std": 0.01},
    "laser 1 % a probe, as a walk": {"laser_walk": 0.01},
    "lag 1 %": {"lag": 0.01},
    "lag 3 %": {"lag": 0.03},
    "attenuator bias 0.05": {"sigma_bias": 0.05},
    "attenuator bias 0.2": {"sigma_bias": 0.2},
    "attenuator bias 0.5": {"sigma_bias": 0.5},
    "noise x 1/3 and crosstalk of range e^(-r/2)": {"readout_noise": 0.01 / 3, "crosstalk_range": 2.0},
}
"""What the chip has and the data sheet does not."""
LEVELS: dict[str, Departure] = {f"{bits} bits": {"phase_bits": bits} for bits in (5, 6, 12)}
"""What both have."""


class Row(NamedTuple):
    """One grid. `known`: the share of cores whose limit is below the bound; `wrong`: the share that is, although the
    error is above the bound and twice the limit (false confidence); `within`: the share of cores known whose error is
    below the limit; `alarm`: of all, not known although the error is below the bound; `error`, `median`, `limit`: the
    median of the true error, of what is expected, of the 95 % limit; `times`: median of limit over what is expected;
    `pull` of the biases; `evaluations` and `milliseconds` a core."""

    case: str
    readout: str
    cores: int
    known: float
    wrong: float
    within: float
    alarm: float
    error: float
    median: float
    limit: float
    times: float
    misfit: float
    wide: float
    pull: float
    evaluations: float
    milliseconds: float


def rows() -> Iterator[tuple[str, str, Nonidealities, Nonidealities]]:
    """Case, readout, the chip, and what is believed of it."""
    for readout in CORES:
        for case, changes in (DEPARTURES | LEVELS).items():
            real = msgspec.structs.replace(BELIEVED, **changes)
            yield case, readout, real, real if case in LEVELS else BELIEVED


def made(case: str, readout: str, real: Nonidealities, believed: Nonidealities, cores: int) -> Row:
    """Identify, program and read back a grid of so many cores."""
    chip = fabricated_as(real, readout)((cores, 1), Mesh("rectangular", MODES), real, seed=SEED)
    weight = generator(5, "weights").normal(size=(cores * MODES, MODES)) * np.sqrt(2.0 / (8 * MODES**2))
    aim = mapping.target(chip, weight)
    began = time.process_time()
    known = twin.identify(chip, believed, partial(generator, 1), readout)
    commands, sigma, said = program.program(chip.mesh, Drive.of(believed), known, aim)
    command(chip, u=commands, v=commands)
    chip.set_sigma(sigma)
    said = program.read_back(chip, known, aim, sigma, said, readout)
    spent = time.process_time() - began
    seen = chip.oracle_weights().real  # what quadratures are of
    below = (seen**2).sum(axis=(2, 3))
    error = np.ravel(((seen - aim.weight) ** 2).sum(axis=(2, 3)) / below)
    sure, limit, median = (np.ravel(a) for a in (said.known, said.limit, said.median))
    pulls = oracle.bias_error(chip, known)[1]
    high = error > np.maximum(program.BOUND, program.COARSE * np.ravel(said.rounded) / np.ravel(below))

    def share(which: Array, of: Array) -> float:
        return float(which[of].mean()) if of.any() else float("nan")

    return Row(
        case, readout, cores, float(sure.mean()), float((sure & high & (error > 2.0 * limit)).mean()),
        share(error < limit, sure), float((~sure & ~high).mean()), float(np.median(error)), float(np.median(median)),
        float(np.median(limit)), float(np.median(limit / median)), float(np.median(known.misfit)),
        float(known.wide.mean()), float(np.sqrt(np.mean(pulls**2))) if pulls.size else float("nan"),
        float(known.evaluations.mean()), 1e3 * spent / cores,
    )  # fmt: skip


COLUMNS = (
    "chip", "read by", "cores", "known", "false confidence", "within limit", "false alarm", "error", "expected",
    "limit", "misfit", "wide", "pull", "evaluations", "ms",
)  # fmt: skip


def page(rows: list[Row]) -> list[str]:
    """The results as lines of Markdown."""
    return [*note("sheet"), "", *markdown(COLUMNS, map(cells, rows)), ""]


def cells(row: Row) -> tuple[object, ...]:
    """A row for people."""
    shares = (f"{100 * value:.1f} %" for value in (row.known, row.wrong, row.within, row.alarm))
    errors = (f"{value:.2g}" for value in (row.error, row.median, row.limit))
    rest = f"{row.misfit:.2f}", f"{100 * row.wide:.0f} %", f"{row.pull:.2f}", f"{row.evaluations:.0f}"
    return row.case, row.readout, row.cores, *shares, *errors, *rest, f"{row.milliseconds:.1f}"


def compute(options: Namespace) -> list[Row]:
    """Add the missing rows to sheet.csv; all rows that there are. A quick look is at the first."""
    path = (options.out if options.full else options.runs) / "sheet.csv"
    for case, readout, real, believed in some(tuple(rows()), options):
        if any((row.case, row.readout) == (case, readout) for row in TABLE.read(path)):
            continue
        row = made(case, readout, real, believed, CORES[readout] if options.full else QUICK)
        TABLE.append([row], path)
        print(*cells(row), flush=True)
    return TABLE.read(path)


TABLE = Table(Row, ".5g")
STUDY = Study("sheet", __doc__, compute, page, TABLE.write, TABLE.read)

if __name__ == "__main__":
    STUDY.main()
