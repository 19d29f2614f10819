"""Tables of presets and of every field of a job, for `l2sim presets`."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from rich.table import Table

from l2sim.run.job import Job, describe
from l2sim.run.presets import PRESETS


def presets_table() -> Table:
    """The presets with what they run and where their settings come from."""
    table = Table("preset", "what it runs", "settings from")
    for name, preset in PRESETS.items():
        table.add_row(name, preset.about, preset.source)
    return table


def fields_table(job: Job) -> Table:
    """Every field of `job` by section: path, value, unit, range, meaning."""
    table = Table(title=f"fields of a job, with the values of {job.name}", title_justify="left")
    table.add_column("field", no_wrap=True)
    table.add_column("value", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    table.add_column("range", max_width=30)
    table.add_column("meaning")
    for _, fields in groupby(describe(job), lambda field: field.path.rpartition(".")[0]):
        for field in fields:
            table.add_row(field.path, _shown(field.value), field.unit, field.range, field.meaning)
        table.add_section()
    return table


def _shown(value: Any) -> str:
    if value is None:
        return "(base)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str(list(value))
    return f"{value:g}" if isinstance(value, float) else str(value)
