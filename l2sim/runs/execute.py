"""The run folder: a reader of the event stream that writes it down as it passes (docs/formats.md)."""

from __future__ import annotations

import os
import platform
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from l2sim import backend, files
from l2sim._version import __version__
from l2sim.errors import RunError
from l2sim.flow import flow
from l2sim.flow.control import Control
from l2sim.job import job as jobs
from l2sim.job.job import Job
from l2sim.report import page as report
from l2sim.store import checkpoint as checkpoints
from l2sim.store import source as sources
from l2sim.store.events import Changed, Checkpoint, Done, Epoch, Event, StageDone, StageStarted, Step, Warned
from l2sim.store.events import stages as stages_of
from l2sim.store.logs import Logs, Positions, events
from l2sim.store.manifest import FORMAT, read_manifest, write_manifest

DURABLE_EVERY = 5.0
"""Seconds between checkpoints that wait for the disk; the ones between survive a killed process, not a power cut."""
FLUSH_EVERY = 1.0
"""Seconds after which the steps of a long epoch are handed to the operating system, for readers that follow."""


def execute(
    job: Job,
    out: Path,
    *,
    data: Path | None = None,
    threads: int = 1,
    resume: bool = False,
    source: str | None = None,
    live: bool = False,
    pace: float = 0.0,
    page: bool = True,
) -> Iterator[Event]:
    """Run `job` into the folder `out`, yielding every event after it was written down.

    `live` serves readers that watch and command (`run.stream`), at most `pace` steps a second where that is not 0.
    Without `page` it leaves `report.html` to `l2sim report`: that page takes longer than a small run.

    `resume` goes on with what `out` holds; `source` RUN[@stage[:epoch]] starts from another run's checkpoint.
    Close the generator (or interrupt it) at any moment: what was finished stays and can be resumed.
    """
    with backend.threads(threads):
        checkpoint, positions, changes = None, None, []
        if source is not None and not resume:  # before the folder is made: a mistyped name leaves nothing behind
            checkpoint, job = _start_from(source, job)
        lock = files.hold(out)
        try:
            if resume:
                checkpoint, positions = latest(out)
                # Those behind the checkpoint are cut off with the logs, and made again.
                changes = [event for event in events(out) if event["type"] == "parameter"]
            manifest = _manifest(out, job, threads, source)
            if not resume:
                files.write(out / "job.toml", jobs.to_toml(job).encode())
            (out / "checkpoints").mkdir(exist_ok=True)
            with closing(_control(out, manifest, changes, live, pace)) as control:
                stream = flow.run(job, data, checkpoint, control)
                yield from _record(stream, out, manifest, positions if resume else None, resume, control, page)
        finally:
            lock.close()


def _control(out: Path, manifest: dict[str, Any], changes: list[dict[str, Any]], live: bool, pace: float) -> Control:
    changes = [{name: value for name, value in change.items() if name != "type"} for change in changes]
    if not live:
        return Control(changes)
    from l2sim.runs.live import Live

    return Live(out, manifest, changes, pace)


def _record(
    stream: Iterator[Event],
    out: Path,
    manifest: dict[str, Any],
    positions: Positions | None,
    resume: bool,
    control: Control,
    page: bool,
) -> Iterator[Event]:
    """Write every event of `stream` into the folder, then pass it on."""
    if resume and positions is None:
        positions = Positions(0, 0, 0, 0, 0)
    logs = Logs(out, positions)
    writer = _Checkpoints(out / "checkpoints")
    control.flush, flushed = logs.flush, time.monotonic()
    state = "failed"
    try:
        for event in stream:
            match event:
                case StageStarted():
                    logs.event("stage", stage=event.stage, epochs=event.epochs, done=event.done)
                case Step():
                    logs.scalars(event.step, time.time(), _named(event.stage, event.scalars))
                    if time.monotonic() - flushed > FLUSH_EVERY:
                        logs.flush()
                        flushed = time.monotonic()
                case Epoch():
                    logs.scalars(event.step, time.time(), _named(event.stage, event.scalars))
                    logs.phases(event.step, event.phases)
                    logs.event("epoch", stage=event.stage, epoch=event.epoch, step=event.step)
                case Warned():
                    logs.event("warning", stage=event.stage, message=event.message)
                case Changed():
                    logs.event("parameter", **msgspec.structs.asdict(event))
                    logs.flush()
                case StageDone():
                    logs.event("stage_done", stage=event.stage, result=event.result)
                case Checkpoint():
                    if event.keep:
                        logs.event("checkpoint", stage=event.stage, epoch=event.epoch, step=event.step)
                    writer.write(event, logs)
                case Done():
                    logs.event("done")
                    logs.flush()
                    report.write(out, event.report, event.figures, page)
                    state = "done"
            yield event
    except (KeyboardInterrupt, GeneratorExit):
        state = "stopped"
        raise
    finally:
        # A full disk must not hide why the run ended.
        try:
            logs.close()
            write_manifest(out, manifest | {"state": state})
        except OSError:
            pass


class _Checkpoints:
    """Keeps `latest`, the one before it, and a copy of those that other runs may start from."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._durable = 0.0

    def write(self, event: Checkpoint, logs: Logs) -> None:
        """Write one down, with how long the logs are."""
        path = self._folder / "latest.safetensors"
        durable = event.keep or time.monotonic() - self._durable > DURABLE_EVERY
        positions = logs.flush(durable)
        if durable:
            self._durable = time.monotonic()
        if path.exists():
            os.replace(path, self._folder / "previous.safetensors")
        checkpoints.write(path, event, positions._asdict(), durable)
        if event.keep:
            name = f"{event.stage}.safetensors" if event.epoch < 0 else f"{event.stage}-{event.epoch:05d}.safetensors"
            with files.replacing(self._folder / name, durable=False) as copy, open(path, "rb") as whole:
                shutil.copyfileobj(whole, copy, 1 << 20)


def latest(out: Path) -> tuple[Checkpoint | None, Positions | None]:
    """The newest whole checkpoint of a run folder, or nothing if the run ended before its first."""
    manifest = read_manifest(out)
    if manifest["state"] == "done":
        raise RunError(f"the run in {out} is finished; `l2sim report {out}` shows it, or choose another --out")
    folder = out / "checkpoints"
    errors = []
    for name in ("latest", "previous"):
        path = folder / f"{name}.safetensors"
        if path.exists():
            try:
                checkpoint, logs = checkpoints.read(path)
                return checkpoint, Positions(**logs)
            except RunError as error:
                errors.append(error)
    if errors:
        raise errors[0]
    return None, None


def _start_from(text: str, job: Job) -> tuple[Checkpoint, Job]:
    """The checkpoint RUN[@stage[:epoch]] and the job that goes on from it."""
    source = sources.parse(text)
    read_manifest(source.folder)
    last = stages_of(job)[-1]  # from which nothing follows, unless it is named
    stage, path = sources.checkpoint(source, [name for name in stages_of(job) if source.stage or name != last])
    checkpoint, _ = checkpoints.read(path)
    checkpoint.values.pop("changes", None)  # this job says what holds
    if source.epoch is not None:
        # The stage ends at that epoch: its projection is made there, and the next stage follows.
        job = jobs.with_overrides(job, [f"{stage}.epochs={source.epoch}"])
        if stage in ("calibrate", "map"):
            job = jobs.with_overrides(job, [f"{stage}.polish=0"])
    return checkpoint, job


def _named(stage: str, scalars: dict[str, float]) -> dict[str, float]:
    return {f"{stage}/{name}": value for name, value in scalars.items()}


def _manifest(out: Path, job: Job, threads: int, source: str | None) -> dict[str, Any]:
    path = out / "manifest.json"
    before = read_manifest(out) if path.exists() else {}
    manifest = {
        "format": "l2sim-run",
        "version": FORMAT,
        "id": before.get("id", uuid.uuid4().hex),
        "name": job.name,
        "state": "running",
        "process": os.getpid(),
        "started": before.get("started", time.time()),
        "threads": threads,
        "source": before.get("source", source),
        "versions": {"l2sim": __version__, "python": platform.python_version(), "numpy": np.__version__},
    }
    write_manifest(out, manifest)
    return manifest
