"""What a run found, as `report.json` holds it (docs/formats.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from l2sim import naming
from l2sim.errors import RunError
from l2sim.store.door import Newer, parsed, versioned

VERSION = 2
"""The newest `report.json` this code reads, and the one it writes. Version 1 called `oracle_mapping_error` without its
prefix."""


class StageResult(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of `stages`, as far as it is promised. None: the stage has none, or it is not a finite number."""

    name: str = ""
    seconds: float | None = None
    accuracy: float | None = None
    loss: float | None = None
    validation_loss: float | None = None
    oracle_accuracy: float | None = None
    calibration_loss: float | None = None
    oracle_identity_error: dict[str, float | None] = {}
    oracle_mapping_error: float | None = None
    comparisons: dict[str, dict[str, float | None]] = {}
    evaluations: int | None = None
    core_calls: int | None = None
    writes: int | None = None
    accumulation_steps: int | None = None


class _Finished(StageResult, frozen=True, kw_only=True):
    """The same with what every report has."""

    name: str
    seconds: float


class Report(msgspec.Struct, frozen=True):
    """A report as it is read: what must be there, and `classes` where the run wrote it down. `stages` have more than
    `StageResult` knows, which the page shows."""

    job: dict[str, Any]
    seed: int
    device: str
    seconds: float
    stages: list[dict[str, Any]]
    test_cost: dict[str, Any]
    l2sim: str
    classes: int | None = None


class _Form(msgspec.Struct):
    """What says that a file is a report."""

    format: str = ""


def stage(entry: Mapping[str, object]) -> StageResult:
    """The entry of a stage, read from a file or as the run made it. ValueError where it is none."""
    return parsed(json.dumps(entry), StageResult)  # as text: what a run made has numbers of NumPy's


class _Stages(msgspec.Struct):
    stages: list[StageResult]


def stages(report: Mapping[str, object]) -> list[StageResult]:
    """The entries of the stages of a report that a run made. ValueError where it is none."""
    return parsed(json.dumps(report), _Stages).stages


def read(path: Path) -> Report:
    """The report in the file `path`. RunError where it is damaged, none, or of a newer l2sim."""
    content = path.read_bytes()
    try:
        form = parsed(content, _Form).format
    except ValueError:
        raise RunError(damaged(path)) from None
    try:
        if form != "l2sim-report":
            raise ValueError(f"its format is {form!r}")
        report = versioned(content, Report, VERSION)
        report = msgspec.structs.replace(report, stages=[naming.of_result_1(entry) for entry in report.stages])
        for entry in report.stages:
            msgspec.convert(entry, _Finished)
        return report
    except Newer as error:
        line = f"{path} was written by a newer l2sim (format {error.number}); install that version to read it"
        raise RunError(line) from None
    except ValueError as error:
        raise RunError(f"{path} is not the report of a run ({error}); copy it from the run again") from None


def damaged(path: Path) -> str:
    """The line for a damaged file of results."""
    return f"{path} is damaged; delete it, and `l2sim report {path.parent}` shows what the logs hold"
