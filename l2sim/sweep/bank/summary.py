"""What came out of a bank: errors of its cores and what its chips were asked, as files and as a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np

from l2sim import files
from l2sim.chip import energy
from l2sim.job import job as jobs
from l2sim.job.imperfections import chip_nonidealities
from l2sim.mesh.mesh import Mesh
from l2sim.sweep.bank import chunk
from l2sim.sweep.bank.plan import Bank

STAGES = ("calibrate", "map")


class Cost(msgspec.Struct, frozen=True):
    """What a stage asked of all chips: core calls, writes, joules; and the seconds that it takes where all cores work
    side by side, each with devices of its own."""

    core_calls: int
    writes: int
    energy_j: float
    seconds: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The results of a bank. `error` ||U S V - W||^2 / ||U S V||^2 of its cores: median, 95th percentile, worst and
    mean over the `lit` ones, which have weights; `identified` of them by twins; `loss` of calibration by search."""

    weights: int
    cores: int
    k: int
    by: str
    lit: int
    error_median: float
    error_p95: float
    error_worst: float
    error_mean: float
    identified: int | None = None
    loss_median: float | None = None
    costs: dict[str, Cost] = {}


class Used(msgspec.Struct):
    """A line of `usage.jsonl`: who made a chunk of so many `cores`, its processor time, s, and the most memory that
    this worker had taken by then, MiB."""

    chunk: int
    worker: str
    cores: int
    processor_s: float
    peak_mib: float


def summarise(bank: Bank, out: Path, paths: Iterable[Path]) -> Summary:
    """Sum up the files of all chunks, and write `summary.json` and `summary.csv`. Raises RunError."""
    job, errors, identified, losses = jobs.from_dict(bank.job), [], 0, []
    sheet, by = chip_nonidealities(job), job.calibrate.by(job.chip)
    table, mesh = energy.TABLES[job.cost.table], Mesh(job.chip.mesh, bank.k, phi=sheet.phi)
    port = energy.Port.of(sheet, by, by == "field")
    totals = {stage: [0, 0, 0.0, 0.0] for stage in STAGES}
    for path in paths:
        arrays, counts = chunk.read(path)
        errors.append(arrays["error"])
        identified += int(arrays["identified"].sum()) if "identified" in arrays else 0
        losses.append(arrays.get("loss", np.empty(0, np.float32)))
        at = energy.blocked((1, len(arrays["error"])), mesh, port)
        for stage, total in totals.items():
            spent = energy.spent(table, counts[stage], at)  # type: ignore[arg-type]  # whole numbers but for the clock
            for i, value in enumerate((counts[stage]["core_calls"], counts[stage]["writes"], spent.total_j)):
                total[i] += value
            total[3] = max(total[3], spent.seconds)
    error = np.concatenate(errors)
    error = error[~np.isnan(error)]
    median, high = (float(p) for p in np.percentile(error, (50, 95))) if error.size else (0.0, 0.0)
    loss = np.concatenate(losses)
    made = Summary(
        weights=bank.weights, cores=bank.cores, k=bank.k, by=bank.by, lit=error.size, error_median=median,
        error_p95=high, error_worst=float(error.max(initial=0.0)), error_mean=float(error.mean(dtype=float)),
        identified=identified if bank.by == "twin" else None,
        loss_median=float(np.median(loss)) if bank.by == "search" else None,
        costs={stage: Cost(int(a), int(b), float(c), float(d)) for stage, (a, b, c, d) in totals.items()},
    )  # fmt: skip
    files.write(out / "summary.json", (json.dumps(msgspec.to_builtins(made), indent=1) + "\n").encode())
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("what", "value"), *flat(made)])
    files.write(out / "summary.csv", text.getvalue().encode())
    return made


def flat(made: Summary) -> list[tuple[str, str]]:
    """The numbers of a summary by name, `STAGE.NAME` of costs; without those that it does not have."""
    plain = msgspec.to_builtins(made)
    costs = {f"{stage}.{name}": value for stage, cost in plain.pop("costs").items() for name, value in cost.items()}
    return [(name, f"{value}") for name, value in {**plain, **costs}.items() if value is not None]


def used(path: Path) -> list[Used]:
    """The lines of `usage.jsonl`, without any that cannot be read."""
    lines = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            lines.append(msgspec.json.decode(line, type=Used))
        except ValueError:
            continue  # torn when it was killed
    return lines


def rows(made: Summary, usage: list[Used], client_mib: float) -> list[tuple[str, str]]:
    """What people read: a label and a value each."""
    table = [
        ("weights", f"{made.weights:,}"),
        ("cores", f"{made.cores:,} of {made.k} x {made.k}"),
        ("mapping error, median", f"{made.error_median:.3g}"),
        ("mapping error, 95 % of cores below", f"{made.error_p95:.3g}"),
        ("mapping error, worst", f"{made.error_worst:.3g}"),
    ]
    if made.identified is not None:
        table.append(("identified", f"{made.identified:,} ({100 * made.identified / made.cores:.4g} %)"))
    if made.loss_median is not None:
        table.append(("loss of calibration, median", f"{made.loss_median:.3g}"))
    for stage, cost in made.costs.items():
        table += [
            (f"{stage}: core calls", f"{cost.core_calls:,}"),
            (f"{stage}: energy, J", f"{cost.energy_j:.3g}"),
            (f"{stage}: time, all cores side by side, s", f"{cost.seconds:.3g}"),
        ]
    if usage:
        whole = [1e3 * line.processor_s / line.cores for line in usage]
        table.append(("processor time a core, median, ms", f"{float(np.median(whole)):.3g}"))
        peaks = [max(line.peak_mib for line in usage if line.worker == one) for one in {line.worker for line in usage}]
        table.append(("peak memory of all processes, MiB", f"{client_mib + sum(peaks):.0f}"))
    return table
