"""The tables of a sweep: `results.csv` (and `.parquet` with pyarrow), a row for every point; `runs.csv`, how each ran.

No time and no name of a worker stands in the results: whatever ran them in whatever order, their bytes are the same.
Rows are read from the log one by one, so that a table of any length takes little memory.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from l2sim import files
from l2sim.store.events import every_stage
from l2sim.sweep.log import STATES, Log
from l2sim.sweep.plan import Plan
from l2sim.sweep.point import Number

ROWS = 10_000
"""Rows of a Parquet file that are held at a time."""


def write(plan: Plan, log: Log, out: Path) -> None:
    """Write the tables of what there is."""
    columns = _columns(log)
    kinds: dict[str, str] = {}
    _replace(out / "results.csv", lambda file: kinds.update(_results(file, plan, log, columns)))
    _replace(out / "runs.csv", lambda file: _runs(file, log))
    _parquet(out, kinds)


def columns_of(stages: Iterable[str]) -> list[str]:
    """Columns in the order of the stages that they are about; of one stage, as its results have them."""
    known = {name: number for number, name in enumerate((*every_stage(), "test"))}
    return sorted(dict.fromkeys(stages), key=lambda column: known.get(column.partition(".")[0], len(known)))


def _columns(log: Log) -> list[str]:
    seen: dict[str, None] = {}
    for index in range(len(log.states)):
        if (entry := log.entry(index)) is not None:
            seen |= dict.fromkeys(entry.row)
    return columns_of(seen)


def rows(plan: Plan, log: Log) -> Iterator[tuple[str, dict[str, object], str, dict[str, Number]]]:
    """Name, what varies, state and results of every point, in order."""
    for index in range(len(plan)):
        entry = log.entry(index)
        name = entry.name if entry else plan.name(index)
        yield name, plan.values(index), STATES[log.states[index]], entry.row if entry else {}


def _results(file: IO[str], plan: Plan, log: Log, columns: list[str]) -> dict[str, str]:
    """Write the rows; what each column holds: int, float, bool or str."""
    heads = ["point", *plan.fields, "status", *columns]
    kinds: dict[str, str] = dict.fromkeys(heads, "")
    table = csv.writer(file, lineterminator="\n")
    table.writerow(heads)
    for name, values, status, row in rows(plan, log):
        cells = [name, *values.values(), status, *(row.get(column) for column in columns)]
        for head, cell in zip(heads, cells):
            kinds[head] = _kind(kinds[head], cell)
        table.writerow([cell_text(cell) for cell in cells])
    return kinds


def _kind(before: str, cell: object) -> str:
    if cell is None:
        return before
    now = type(cell).__name__ if isinstance(cell, bool | int | float) else "str"
    if before in ("", now):
        return now
    return "float" if {before, now} == {"int", "float"} else "str"


def cell_text(cell: object) -> str:
    """A cell as it stands in a CSV: nothing for what is missing or not finite; numbers as Python reads them back."""
    if cell is None or isinstance(cell, str):
        return cell or ""
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        return repr(cell)
    return json.dumps(cell, default=str)


def _runs(file: IO[str], log: Log) -> None:
    stages = every_stage()
    table = csv.writer(file, lineterminator="\n")
    times = [f"{name}.seconds" for name in stages]
    table.writerow(["point", "status", "attempts", "worker", "seconds", *times, "error"])
    for index in range(len(log.states)):
        if (entry := log.entry(index)) is not None:
            took = [f"{entry.seconds[name]:.3f}" if name in entry.seconds else "" for name in stages]
            total = f"{sum(entry.seconds.values()):.3f}" if entry.seconds else ""
            table.writerow([entry.name, entry.status, entry.attempts, entry.worker, total, *took, entry.error])


def _replace(path: Path, write: Callable[[IO[str]], None]) -> None:
    with files.replacing(path, durable=False) as raw:
        file = io.TextIOWrapper(raw, encoding="utf-8", newline="")
        write(file)
        file.detach()


def _parquet(out: Path, kinds: dict[str, str]) -> None:
    """results.csv with typed columns, where pyarrow is installed."""
    try:
        import pyarrow as pa  # late: an optional package
        from pyarrow import parquet  # late: an optional package
    except ImportError:
        return
    types = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    schema = pa.schema([(name, types.get(kind, pa.string())) for name, kind in kinds.items()])
    made: dict[str, Callable[[str], Number]] = {"int": int, "float": float, "bool": lambda text: text == "true"}
    beside = out / "results.parquet.part"
    with open(out / "results.csv", newline="", encoding="utf-8") as file, parquet.ParquetWriter(beside, schema) as to:
        table = csv.reader(file)
        next(table)
        while block := [row for _, row in zip(range(ROWS), table)]:
            columns = [
                pa.array([made.get(kind, str)(text) if text else None for text in column], types.get(kind, pa.string()))
                for kind, column in zip(kinds.values(), zip(*block))
            ]
            to.write_table(pa.table(columns, schema=schema))
    beside.replace(out / "results.parquet")
