"""One point of a sweep, as a worker runs it. `python -m l2sim.sweep.point` is such a worker: tasks come in as lines
of JSON, each is answered by one. It lives for many points, so that imports and compiled kernels are loaded once, and
ends at once when whoever feeds it is gone; then the point's folder holds its last checkpoint.

Nothing heavy is imported before there is a task.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import queue
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path

import msgspec

from l2sim import blas, files
from l2sim._version import __version__
from l2sim.errors import L2simError, RunError
from l2sim.store.door import parsed
from l2sim.store.manifest import read_manifest
from l2sim.store.source import Source, file_of, parse

VERSIONS = {"l2sim": __version__, "python": ".".join(platform.python_version_tuple()[:2])}
"""What must be the same where points of one sweep run."""
WAIT = 1.0
"""Seconds between looks at a folder that another process still writes."""
APART = ("seconds", "by_chip")
"""Of a report: what differs from run to run, and what has other columns for every model."""
Number = bool | int | float | None
"""What stands in a cell of a row; None where it is not finite."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A run of a sweep: `index` and `name` of its point (-1 and a key where it makes a shared checkpoint), its `folder`
    below `root`, the sweep's; `job`; the folder of `data`, or ""; `source`, the checkpoint RUN@STAGE below the root
    that it starts from, or "". `sweep` is the id of the sweep, `versions` those of whoever hands it out."""

    index: int
    name: str
    folder: str
    stage: str | msgspec.UnsetType = msgspec.UNSET
    """Where the run ends that makes a shared checkpoint."""
    fresh: bool | msgspec.UnsetType = msgspec.UNSET
    """Whether what an earlier attempt left is not to be gone on with."""
    root: str
    sweep: str
    job: dict[str, object]
    bank: dict[str, object] | msgspec.UnsetType = msgspec.UNSET
    """Where the task is a chunk of a bank (`l2sim.sweep.bank`), not a run: the bank, but for its job."""
    data: str
    threads: int
    source: str
    versions: dict[str, str]
    shared: bool | msgspec.UnsetType | None = msgspec.UNSET
    """Of the workers of a cluster: whether they use the sweep's folder (None: those that see it)."""


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a task: `status` "done" with the numbers of its report by column (`row`) and what each stage took
    (`seconds`), "failed" with a line `error`, or "lost" with its worker. `unfit` where the machine is to blame and
    should get no more of them; `files` of the run folder where that lies elsewhere."""

    status: str
    row: dict[str, Number] = {}
    seconds: dict[str, float] = {}
    error: str = ""
    unfit: bool = False
    worker: str = ""
    files: dict[str, bytes] = {}


def run(task: Task) -> Outcome:
    """Run a task, or find that it is done."""
    out = Path(task.root) / task.folder
    try:
        return _made(task, out)
    except L2simError as error:
        return Outcome("failed", error=_line(error))
    except MemoryError:
        return Outcome("failed", error="out of memory; use fewer workers, or a smaller batch or model")
    except Exception as error:
        line = None
        if isinstance(error, OSError):
            error.filename = error.filename or str(out)  # a file that is open does not say its name
            line = files.refusal(error)
        if line:
            return Outcome("failed", error=_line(line), unfit=True)
        with contextlib.suppress(OSError):
            (out / "crash.log").write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        return Outcome("failed", error=f"internal error ({_line(f'{type(error).__name__}: {error}')[:200]})")


def _line(error: object) -> str:
    return " ".join(str(error).split("\n"))


def _made(task: Task, out: Path) -> Outcome:
    if task.bank:
        return _chunk(task, out)
    from l2sim.job import job as jobs  # late: before there is a task nothing heavy is imported
    from l2sim.runs.execute import execute  # late: the same
    from l2sim.store.events import Checkpoint  # late: the same

    job = jobs.from_dict(task.job)
    stage, fresh = task.stage or "", bool(task.fresh)
    while True:
        if (outcome := finished(out, stage)) is not None:
            return outcome
        resume, source = _start(task, out, fresh)
        data = Path(task.data) if task.data else None
        try:
            with contextlib.closing(
                execute(job, out, data=data, threads=task.threads, resume=resume, source=source, page=False)
            ) as events:
                for event in events:
                    if stage and isinstance(event, Checkpoint) and (event.stage, event.epoch) == (stage, -1):
                        return Outcome("done")
        except files.Busy:
            time.sleep(WAIT)  # the worker of a client that was killed, say; it will be done, or gone
        fresh = False


def _chunk(task: Task, out: Path) -> Outcome:
    """Make a chunk of a bank."""
    from l2sim.sweep.bank import chunk  # late: before there is a task nothing heavy is imported
    from l2sim.sweep.bank.plan import Bank  # late: the same

    bank = msgspec.convert({**(task.bank or {}), "job": task.job}, Bank)
    return Outcome("done", row=dict(chunk.make(bank, task.index, out, task.threads)))


def _start(task: Task, out: Path, fresh: bool) -> tuple[bool, str | None]:
    """How to begin: whether where this run was stopped; else from what it shares with others, or (None) from nothing.
    """
    if not fresh and file_of(out, "latest").exists() and (out / "manifest.json").exists():
        return True, None
    if out.exists():
        for path in out.iterdir():  # all but the lock, which somebody may hold
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != files.LOCK:
                path.unlink()
    if not task.source:
        return False, None
    shared = parse(task.source)
    source = Source(Path(task.root) / shared.folder, shared.stage)
    return False, str(source) if file_of(source.folder, source.stage).exists() else None


class _Results(msgspec.Struct):
    """The numbers of a finished run: what its `report.json` says of its stages, and of all tests."""

    stages: list[dict[str, object]]
    test_cost: dict[str, object] = {}
    troubles: list[dict[str, object]] = []


def finished(out: Path, stage: str = "") -> Outcome | None:
    """What a finished run gave; of one that makes the checkpoint of `stage`, nothing but that. None if it is not."""
    if stage:
        return Outcome("done") if file_of(out, stage).exists() else None
    try:
        if read_manifest(out).state != "done":
            return None
        results = parsed((out / "report.json").read_bytes(), _Results)
        times = {stage["name"]: stage["seconds"] for stage in results.stages if "seconds" in stage}
        seconds = msgspec.convert(times, dict[str, float])
        wrong = {"troubles": len(results.troubles)} if results.troubles else {}
        return Outcome("done", row=row(results.stages, results.test_cost) | wrong, seconds=seconds)
    except (FileNotFoundError, NotADirectoryError, RunError, ValueError, KeyError):
        return None


def row(stages: list[dict[str, object]], test_cost: Mapping[str, object]) -> dict[str, Number]:
    """The numbers of a report, but for `APART`, by column such as `map.accuracy`."""
    cells: dict[str, Number] = {}
    for stage in stages:
        _flatten(str(stage["name"]), {key: value for key, value in stage.items() if key != "name"}, cells)
    _flatten("test", test_cost, cells)
    return cells


def _flatten(path: str, value: object, cells: dict[str, Number]) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in APART:
                _flatten(f"{path}.{key}", item, cells)
    elif value is None or isinstance(value, bool | int | float):
        cells[path] = value


def main() -> None:
    """Answer tasks until the pipe they come through is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the client's, which closes the pipe
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever prints must not be taken for an answer
    blas.choose()
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            tasks.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        answers.write(json.dumps(msgspec.to_builtins(run(parsed(tasks.get(), Task)))) + "\n")


if __name__ == "__main__":
    main()
