"""What a run cost on its chips, and what a mesh on paper would: the numbers of `l2sim cost` and of the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from l2sim.chip import energy as cost
from l2sim.chip.meter import PASSES
from l2sim.errors import L2simError, RunError
from l2sim.job import job as jobs
from l2sim.report import html
from l2sim.store.gather import Material, gather
from l2sim.store.results import Report

TESTING = "testing"


class Bill(NamedTuple):
    """One stage of a run: its core calls, the joules by part and seconds that its chips took, and of these joules the
    calls of a network's passes, without holding phases and writing."""

    stage: str
    core_calls: int
    spent: cost.Spent
    passes_j: dict[str, float]


def table_of(name: str, settings: Iterable[str] = ()) -> cost.Table:
    """The table `name` with settings such as `bits=6`. L2simError for what it does not know."""
    if name not in cost.TABLES:
        raise L2simError(f"there is no device table {name!r}; use {', '.join(cost.TABLES)}")
    changes: dict[str, float] = {}
    for setting in settings:
        constant, _, text = (part.strip() for part in setting.partition("="))
        try:
            changes[constant] = int(text) if constant == "bits" else float(text)
        except ValueError:
            raise L2simError(f"{setting!r} sets no constant; write NAME=NUMBER, e.g. adc_j_per_step=1e-14") from None
    return cost.changed(cost.TABLES[name], **changes)


def table_for(out: Path, name: str, settings: Iterable[str]) -> cost.Table:
    """The table to bill a run folder by: `name`, else the job's; with settings."""
    return table_of(name or jobs.load(out / "job.toml").cost.table, settings)


# ------------------------------------------------------------------------------------------------------ of a run


class Shape(msgspec.Struct, frozen=True):
    """A chip's `Geometry`, as report.json has it."""

    blocks: int
    modes: int
    heaters: int
    columns: int
    whole: bool = False
    port: cost.Port | None = None

    def geometry(self) -> cost.Geometry:
        """It as a `Geometry`. Reports of before ports were described say nothing of them: all were billed as one
        converter each way and a reference."""
        port = cost.SIGNED if self.port is None else self.port
        return cost.Geometry(self.blocks, self.modes, self.heaters, self.columns, self.whole, port)


class Asked(msgspec.Struct, frozen=True):
    """What one chip was asked in a stage, as report.json has it."""

    geometry: Shape
    counts: dict[str, int]


class Costs(msgspec.Struct, frozen=True):
    """An entry of report.json as far as a bill needs it: a stage's, or that of testing, which has no name."""

    name: str = TESTING
    core_calls: int = 0
    by_chip: dict[str, Asked] = {}


class TableOf(msgspec.Struct, frozen=True):
    """The device table that a job names."""

    table: str = "thermal"


class CoresOf(msgspec.Struct, frozen=True):
    """How many cores the chips of a job share in time, 0 for as many as there are blocks."""

    cores: int = 0


class Ordered(msgspec.Struct, frozen=True):
    """What of its job decides a bill; older jobs do not say it."""

    cost: TableOf = TableOf()
    chip: CoresOf = CoresOf()


class Costed(msgspec.Struct, frozen=True):
    """A report as far as its bills need it."""

    job: Ordered
    stages: list[Costs]
    test_cost: Costs


def read(
    report: Report | Mapping[str, object], table: cost.Table | None = None, cores: int | None = None
) -> list[Bill]:
    """The bills of the stages of a report that asked something of chips, testing last; by another `table`, or with
    another number of shared `cores`, than the job's where one is given."""
    costed = msgspec.convert(report, Costed, from_attributes=True)
    table = cost.TABLES[costed.job.cost.table] if table is None else table
    cores = costed.job.chip.cores if cores is None else cores
    bills = []
    for stage in (*costed.stages, costed.test_cost):
        if chips := stage.by_chip:
            at = {name: asked.geometry.geometry() for name, asked in chips.items()}
            counts = {name: EMPTY | asked.counts for name, asked in chips.items()}
            spent = cost.spent_by(counts, at, table, cores)
            call_j = {name: sum(cost.call_energy(table, one.modes, one.port).values()) for name, one in at.items()}
            passes = {
                one: sum(asked.counts.get(f"{one}_core_calls", 0) * call_j[name] for name, asked in chips.items())
                for one in PASSES
            }
            bills.append(Bill(stage.name, stage.core_calls, spent, passes))
    return bills


EMPTY = dict.fromkeys(cost.COUNTED, 0)
"""Counts that a report leaves out are zero."""


def of_run(out: Path, table: cost.Table | None = None, cores: int | None = None) -> list[Bill]:
    """The bills of a run folder, finished or not. RunError where it says nothing."""
    bills = read(gather(out).report, table, cores)
    if not bills:
        raise RunError(f"{out} says nothing of single chips: nothing was asked of them, or an older l2sim wrote it")
    return bills


def rows(bills: list[Bill]) -> list[tuple[str, str, list[str]]]:
    """Energy by part, total, seconds and core calls: (label, unit, a cell a bill)."""
    parts = [part for part in cost.PARTS if any(bill.spent.energy_j[part] for bill in bills)]
    table = [(WORDS[part], "J", [energy(bill.spent.energy_j[part]) for bill in bills]) for part in parts]
    table.append(("all of it", "J", [energy(bill.spent.total_j) for bill in bills]))
    for one in PASSES:
        if any(bill.passes_j[one] for bill in bills):
            words = f"of it calls {'forward' if one == 'forward' else 'for ' + one.replace('_', ' ') + 's'}"
            table.append((words, "J", [energy(bill.passes_j[one]) for bill in bills]))
    table.append(("time", "s", [energy(bill.spent.seconds) for bill in bills]))
    table.append(("core calls", "", [f"{bill.core_calls:,}" for bill in bills]))
    return table


WORDS = {
    "laser": "laser", "modulator": "modulators", "dac": "digital to analog", "tia": "amplifiers",
    "adc": "analog to digital", "other": "all of a port, as published", "memory": "memory",
    "digital": "multiply and add", "taps": "power taps", "writes": "writes", "heaters": "holding phases",
}  # fmt: skip


def energy(value: float) -> str:
    """Joules or seconds with three digits; nothing for zero."""
    return f"{value:.3g}" if value else ""


def section(material: Material) -> str:
    """Energy and time on the chips as a section of the report."""
    title, bills = "Energy and time on the chips", read(material.report)
    if not bills:
        return html.section(title, html.missing("Nothing is known of what single chips were asked."))
    job = material.job
    shared = f", {job.chip.cores:,} cores shared in time" if job.chip.cores else ""
    text = (
        f"<p>What was metered, in joules and seconds of the device table <code>{job.cost.table}</code> "
        f"({cost.TABLES[job.cost.table].title}){shared}. Time is the chips' own: vectors at "
        f"{cost.TABLES[job.cost.table].rate_hz:.3g} a second, waits for what was written, additions. "
        "<code>l2sim cost FOLDER --table NAME</code> says it for other devices.</p>"
    )
    body = [(f"{label}, {unit}" if unit else label, "", cells) for label, unit, cells in rows(bills)]
    return html.section(title, text + html.table(["", *(bill.stage for bill in bills)], body))


# ---------------------------------------------------------------------------------------------------- on paper


class Paper(NamedTuple):
    """A mesh of `modes` on paper: TOPS/W of a product and of a step, J of a vector by part, light per port (W), power
    of all shifters (W), time of flight (s), time of a step (s)."""

    modes: int
    mvm: float
    step: float
    vector_j: dict[str, float]
    port_w: float
    static_w: float
    flight_s: float
    step_s: float


def paper(table: cost.Table, modes: int, batch: int, operations: str) -> Paper:
    """One mesh, its light paid for (`cost.lit`)."""
    lit = cost.lit(table, modes)
    mvm, step = (cost.design(kind, lit, modes, batch, operations) for kind in ("mvm", "step"))
    return Paper(
        modes,
        cost.efficiency("mvm", lit, modes, 1, operations), cost.efficiency("step", lit, modes, batch, operations),
        mvm.energy_j, lit.port_w, modes**2 * lit.pi_w, cost.flight_seconds(lit, modes), step.seconds,
    )  # fmt: skip
