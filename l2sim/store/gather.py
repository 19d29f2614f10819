"""What a run folder holds for its readers: the results, and the curves and frames that the logs keep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l2sim import naming
from l2sim.backend import Array
from l2sim.errors import RunError
from l2sim.job import job as jobs
from l2sim.job.flows import FLOWS
from l2sim.job.job import Job
from l2sim.store import checkpoint as checkpoints
from l2sim.store import logs, results
from l2sim.store.door import parsed
from l2sim.store.events import EpochEnd, Record, StageEnd
from l2sim.store.manifest import Manifest, read_manifest
from l2sim.store.results import Report
from l2sim.store.source import file_of

SEARCHES = ("calibrate", "map")
TRAININGS = ("pretrain", "learn")
"""The stages that search phases, and those that train."""


@dataclass(frozen=True)
class Material:
    """All that a page shows, read from a run folder.

    `report` and `figures` are the JSON files, or what an unfinished run has of them. By stage: `scalars` of the
    searches (a value an epoch), `training` curves as (epochs, values) by quantity and who measured it, `phases` of all
    heaters of U and V at the end (rad). `sigma`: all sigma after mapping and after learning, if both are known.
    `raw`: every scalar as logged, (steps, values) by stage; `frame`: the last phases by series.
    """

    report: Report
    figures: dict[str, Any]
    manifest: Manifest
    finished: bool
    events: list[Record]
    scalars: dict[str, dict[str, Array]]
    training: dict[str, dict[str, tuple[Array, Array]]]
    phases: dict[str, dict[str, Array]]
    sigma: tuple[Array, Array] | None
    raw: dict[str, dict[str, tuple[Array, Array]]]
    frame: dict[str, Array]

    @property
    def job(self) -> Job:
        """The job of the run, as it was at the start."""
        return jobs.from_dict(self.report.job)

    @property
    def classes(self) -> int | None:
        """How many classes the data have; of a run that did not write it down, and whose job does not say, None."""
        classes = self.report.classes
        return classes or (None if self.job.data.name == "own" else FLOWS[self.job.flow].model(self.job).classes)

    def stage(self, name: str) -> dict[str, Any]:
        """The entry of a stage in the report; empty if it has none."""
        return next((stage for stage in self.report.stages if stage["name"] == name), {})


def gather(out: Path) -> Material:
    """Read a run folder, finished or not. RunError where it is none, damaged, or of a newer l2sim."""
    manifest = read_manifest(out)
    events = logs.events(out)
    finished = (out / "report.json").exists()
    if finished:
        report = results.read(out / "report.json")
        figures = _figures(out / "figures.json")
    else:
        report, figures = _so_far(out, manifest, events), {}
    ends: dict[str, list[int]] = {}
    for event in events:
        if isinstance(event, EpochEnd):
            ends.setdefault(event.stage, []).append(event.step)
    scalars: dict[str, dict[str, tuple[Array, Array]]] = {}
    for name, (steps, _, values) in logs.scalars(out).items():
        stage, _, what = name.partition("/")
        if values.size:
            scalars.setdefault(stage, {})[what] = steps, values
    phases, frame = _phases(out, ends)
    return Material(
        report, figures, manifest, finished, events,
        {s: _search(scalars[s]) for s in SEARCHES if s in scalars},
        {s: _training(scalars[s], ends[s]) for s in TRAININGS if s in scalars and s in ends},
        phases, _sigma(out), scalars, frame,
    )  # fmt: skip


def _figures(path: Path) -> dict[str, Any]:
    """What `figures.json` holds; nothing where there is none."""
    try:
        return parsed(path.read_bytes(), dict[str, Any])
    except FileNotFoundError:
        return {}
    except ValueError:
        raise RunError(results.damaged(path)) from None


def _so_far(out: Path, manifest: Manifest, events: list[Record]) -> Report:
    """The report of an unfinished run as far as its events tell it."""
    job = jobs.load(out / "job.toml")
    stages = [event.result for event in events if isinstance(event, StageEnd)]
    version = manifest.versions.get("l2sim", "?")
    seconds = sum(stage.seconds or 0.0 for stage in map(results.stage, stages))
    return Report(jobs.to_dict(job), job.seed, job.device, seconds, stages, {}, l2sim=version)


def _search(scalars: dict[str, tuple[Array, Array]]) -> dict[str, Array]:
    """The scalars of a search for the epochs that have all of them: the last may be torn, or half written."""
    last = {"oracle_identity_error_v", "oracle_mapping_error"}  # written last
    if "evaluations" not in scalars or not last & scalars.keys():  # of stages that search
        return {}
    whole = min(values.size for _, values in scalars.values())
    return {what: values[:whole] for what, (_, values) in scalars.items()}


def _training(scalars: dict[str, tuple[Array, Array]], ends: list[int]) -> dict[str, tuple[Array, Array]]:
    """The curves of a stage of training; `ends` are the steps at which its epochs ended."""
    ends = ends[: scalars["lr"][1].size if "lr" in scalars else 0]  # lr is written last: these epochs are whole
    epochs = np.arange(1, len(ends) + 1)
    curves: dict[str, tuple[Array, Array]] = {}
    for quantity in ("loss", "accuracy") if ends else ():
        for who, name in (("batch", ""), ("test", "test_"), ("train", "train_"), ("validation", "validation_")):
            if name + quantity not in scalars:
                continue
            at, values = scalars[name + quantity]
            if who == "batch":
                x = np.interp(at.astype(float), [float(at[0]) - 1, *ends], [0, *epochs])
            else:  # an epoch that skipped all its batches has no training mean, and shares its step with the one before
                x = epochs[: values.size] if who != "train" else np.searchsorted(ends, at) + 1
            curves[f"{quantity}/{who}"] = x[: values.size], values[: len(x)]
    return curves


def _phases(out: Path, ends: dict[str, list[int]]) -> tuple[dict[str, dict[str, Array]], dict[str, Array]]:
    """The last commanded phases of U and V of every stage that sets them, all layers in one row, rad; and the newest
    frame of every series, whatever its stage. One pass through the log."""
    if not ends:
        return {}, {}
    stages, newest = [stage for stage in ("deploy", *SEARCHES) if stage in ends], max(map(max, ends.values()))
    *at_ends, last = logs.frames_at(out, [*(ends[stage][-1] for stage in stages), newest])
    phases = {}
    for stage, frames in zip(stages, at_ends):
        parts = {
            part: [f.ravel() for name, f in frames.items() if naming.apart(name)[1:] == (part, "phases")]
            for part in ("u", "v")
        }
        if all(parts.values()):
            phases[stage] = {part: np.concatenate(rows) for part, rows in parts.items()}
    return phases, last


def _sigma(out: Path) -> tuple[Array, Array] | None:
    """All sigma after mapping and after learning, from the checkpoints: the log has none of the projection's."""
    sigmas = []
    for stage in ("map", "learn"):
        path = file_of(out, stage)
        if not path.exists():
            return None
        try:
            arrays = checkpoints.read(path)[0].arrays
        except RunError:  # a report can do without
            return None
        names = sorted(name for name in arrays if naming.apart(name)[1:] == ("sigma", "photonic"))
        sigmas.append(np.concatenate([arrays[name].ravel() for name in names] or [np.empty(0)]))
    mapped, learnt = sigmas
    return (mapped, learnt) if mapped.shape == learnt.shape and mapped.size else None
