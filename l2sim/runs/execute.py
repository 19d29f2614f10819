"""The run folder: a reader of the event stream that writes it down as it passes (docs/formats.md)."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import msgspec

from l2sim import backend, files
from l2sim.errors import RunError
from l2sim.flow import flow
from l2sim.flow.control import Control
from l2sim.flow.session import kept
from l2sim.job import job as jobs
from l2sim.job.job import Job
from l2sim.report import page as report
from l2sim.runs.live import Live
from l2sim.store import checkpoint as checkpoints
from l2sim.store import events as of
from l2sim.store import source as sources
from l2sim.store.events import Changed, Checkpoint, Epoch, Event
from l2sim.store.logs import Logs, Positions, events
from l2sim.store.manifest import Manifest, begin_manifest, read_manifest, write_manifest

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
    settings: Mapping[str, object] | None = None,
    source: str | None = None,
    live: bool = False,
    pace: float | None = None,
    page: bool = True,
) -> Generator[Event]:
    """Run `job` into the folder `out`, yielding every event after it was written down.

    `live` serves readers that watch and command (`l2sim.runs.live`), at most `pace` steps a second where that is not 0.
    With a pace it is live; where that is None a run that is resumed keeps its own.
    Without `page` it leaves `report.html` to `l2sim report`: that page takes longer than a small run.

    `resume` goes on with what `out` holds; `settings` then change fields that may change while a run goes on.
    `source` RUN[@stage[:epoch]] starts from another run's checkpoint.
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
                changes = _with_settings(
                    [event for event in events(out) if isinstance(event, Changed)], settings or {}, checkpoint, job
                )
            manifest = begin_manifest(out, job.name, threads, source, pace)
            if not resume:
                files.write(out / "job.toml", jobs.to_toml(job).encode())
            (out / "checkpoints").mkdir(exist_ok=True)
            with closing(_control(out, manifest, changes, live)) as control:
                stream = flow.run(job, data, checkpoint, control)
                yield from _record(stream, out, manifest, positions if resume else None, resume, control, page)
        finally:
            lock.close()


def _with_settings(
    changes: list[Changed], settings: Mapping[str, object], checkpoint: Checkpoint | None, job: Job
) -> list[Changed]:
    """What a resumed run changes: `changes` of before and, as soon as it goes on, `settings`, which replace those of
    the same fields behind the checkpoint. RunError where the run has no stage left."""
    if not settings:
        return changes
    names, done, step = of.stages(job), 0, 0
    stage = names[0]
    if checkpoint is not None:
        done = len(kept(checkpoint.values).changes)
        stage, step = checkpoint.stage, checkpoint.step
        if checkpoint.epoch < 0:
            later = names[names.index(stage) + 1 :]
            if not later:
                raise RunError(f"the stages of this run are over; nothing is left to do with another {min(settings)}")
            stage = later[0]
    asked = [Changed(stage, step, "stage", path, value) for path, value in settings.items()]
    return [*changes[:done], *asked, *(change for change in changes[done:] if change.path not in settings)]


def _control(out: Path, manifest: Manifest, changes: list[Changed], live: bool) -> Control:
    made = [msgspec.structs.asdict(change) for change in changes]
    return Live(out, manifest, made, manifest.pace) if live or manifest.pace else Control(made)


def _record(
    stream: Iterator[Event],
    out: Path,
    manifest: Manifest,
    positions: Positions | None,
    resume: bool,
    control: Control,
    page: bool,
) -> Iterator[Event]:
    """Write every event of `stream` into the folder, then pass it on."""
    if resume and positions is None:
        positions = Positions()
    logs = Logs(out, positions)
    writer = _Checkpoints(out)
    control.flush, flushed = logs.flush, time.monotonic()
    state = "failed"
    try:
        for event in stream:
            match event:
                case of.StageStarted() | of.Noted() | of.Warned() | of.Trouble():
                    logs.event(event)
                case of.Step():
                    logs.scalars(event.step, time.time(), _named(event.stage, event.scalars))
                    if time.monotonic() - flushed > FLUSH_EVERY:
                        logs.flush()
                        flushed = time.monotonic()
                case Epoch():
                    logs.scalars(event.step, time.time(), _named(event.stage, event.scalars))
                    logs.phases(event.step, event.phases)
                    logs.event(of.EpochEnd(event.stage, event.epoch, event.step))
                case Changed():
                    logs.event(event)
                    logs.flush()
                case of.StageDone():
                    logs.event(of.StageEnd(event.stage, event.result))
                case Checkpoint():
                    if event.keep:
                        logs.event(of.Kept(event.stage, event.epoch, event.step))
                    writer.write(event, logs)
                case of.Done():
                    logs.event(of.RunEnd())
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
            write_manifest(out, msgspec.structs.replace(manifest, state=state))
        except OSError:
            pass


class _Checkpoints:
    """Keeps `latest`, the one before it, and a copy of those that other runs may start from."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._durable = 0.0

    def write(self, event: Checkpoint, logs: Logs) -> None:
        """Write one down, with how long the logs are."""
        path = sources.file_of(self._out, "latest")
        durable = event.keep or time.monotonic() - self._durable > DURABLE_EVERY
        positions = logs.flush(durable)
        if durable:
            self._durable = time.monotonic()
        if path.exists():
            os.replace(path, sources.file_of(self._out, "previous"))
        checkpoints.write(path, event, positions, durable)
        if event.keep:
            kept = sources.file_of(self._out, event.stage, event.epoch)
            with files.replacing(kept, durable=False) as copy, open(path, "rb") as whole:
                shutil.copyfileobj(whole, copy, 1 << 20)


def latest(out: Path) -> tuple[Checkpoint | None, Positions | None]:
    """The newest whole checkpoint of a run folder, or nothing if the run ended before its first."""
    manifest = read_manifest(out)
    if manifest.state == "done":
        raise RunError(f"the run in {out} is finished; `l2sim report {out}` shows it, or choose another --out")
    errors = []
    for name in ("latest", "previous"):
        path = sources.file_of(out, name)
        if path.exists():
            try:
                return checkpoints.read(path)
            except RunError as error:
                errors.append(error)
    if errors:
        raise errors[0]
    return None, None


def _start_from(text: str, job: Job) -> tuple[Checkpoint, Job]:
    """The checkpoint RUN[@stage[:epoch]] and the job that goes on from it."""
    source = sources.parse(text)
    read_manifest(source.folder)
    last = of.stages(job)[-1]  # from which nothing follows, unless it is named
    stage, path = sources.checkpoint(source, [name for name in of.stages(job) if source.stage or name != last])
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

