"""One point of a sweep, as a worker runs it. `python -m l2sim.sweep.point` is such a worker: tasks come in as lines
of JSON, each is answered by one. It lives for many points, so that imports and compiled kernels are loaded once, and
ends at once when whoever feeds it is gone; then the point's folder holds its last checkpoint.

A task has `root` (the sweep's folder), `folder` (of this run, below it), `job`, `data`, `threads`; `source`, the
checkpoint RUN@STAGE below the root to start from; `stage`, where the run ends that makes a shared checkpoint; `fresh`
where what an earlier attempt left is not to be gone on with. Nothing heavy is imported before there is a task.
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
from pathlib import Path
from typing import Any

from l2sim import files
from l2sim._version import __version__
from l2sim.errors import L2simError
from l2sim.store.source import parse

VERSIONS = {"l2sim": __version__, "python": ".".join(platform.python_version_tuple()[:2])}
WAIT = 1.0
"""Seconds between looks at a folder that another process still writes."""
APART = ("seconds", "by_chip")
"""Of a report: what differs from run to run, and what has other columns for every model."""
Task = dict[str, Any]
Outcome = dict[str, Any]


def run(task: Task) -> Outcome:
    """Run a task, or find that it is done. `status` "done" with `row` and `seconds`, or "failed" with a line `error`;
    `unfit` where this machine is to blame and should get no more of them."""
    out = Path(task["root"]) / task["folder"]
    try:
        return {"status": "done", **_made(task, out)}
    except L2simError as error:
        return {"status": "failed", "error": _line(error)}
    except MemoryError:
        return {"status": "failed", "error": "out of memory; use fewer workers, or a smaller batch or model"}
    except Exception as error:
        line = None
        if isinstance(error, OSError):
            error.filename = error.filename or str(out)  # a file that is open does not say its name
            line = files.refusal(error)
        if line:
            return {"status": "failed", "error": _line(line), "unfit": True}
        with contextlib.suppress(OSError):
            (out / "crash.log").write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        return {"status": "failed", "error": f"internal error ({_line(f'{type(error).__name__}: {error}')[:200]})"}


def _line(error: object) -> str:
    return " ".join(str(error).split("\n"))


def _made(task: Task, out: Path) -> Outcome:
    from l2sim.job import job as jobs
    from l2sim.runs.execute import execute
    from l2sim.store.events import Checkpoint

    job = jobs.from_dict(task["job"])
    stage = task.get("stage", "")
    fresh = task.get("fresh", False)
    while True:
        if (found := finished(out, stage)) is not None:
            return found
        try:
            events = execute(
                job, out, data=Path(task["data"]) if task["data"] else None, threads=task["threads"],
                **_start(task, out, fresh), page=False,
            )  # fmt: skip
            for event in events:
                if stage and isinstance(event, Checkpoint) and (event.stage, event.epoch) == (stage, -1):
                    events.close()  # type: ignore[attr-defined]
                    return {}
        except files.Busy:
            time.sleep(WAIT)  # the worker of a client that was killed, say; it will be done, or gone
        fresh = False


def _start(task: Task, out: Path, fresh: bool) -> dict[str, Any]:
    """How to begin: where this run was stopped, from what it shares with others, or from nothing."""
    kept = (out / "checkpoints" / "latest.safetensors").exists() and (out / "manifest.json").exists()
    if kept and not fresh:
        return {"resume": True}
    if out.exists():
        for path in out.iterdir():  # all but the lock, which somebody may hold
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != ".lock":
                path.unlink()
    if not task.get("source"):
        return {}
    shared = parse(task["source"])
    source = shared._replace(folder=Path(task["root"]) / shared.folder)
    there = (source.folder / "checkpoints" / f"{source.stage}.safetensors").exists()
    return {"source": str(source)} if there else {}


def finished(out: Path, stage: str = "") -> Outcome | None:
    """What a finished run gave; of one that makes the checkpoint of `stage`, an empty answer. None if it is not."""
    if stage:
        return {} if (out / "checkpoints" / f"{stage}.safetensors").exists() else None
    try:
        done = json.loads((out / "manifest.json").read_text())["state"] == "done"
        report = json.loads((out / "report.json").read_text()) if done else None
    except (FileNotFoundError, ValueError, KeyError, NotADirectoryError):
        return None
    if report is None:
        return None
    times = {stage["name"]: stage["seconds"] for stage in report["stages"] if "seconds" in stage}
    return {"row": row(report), "seconds": times}


def row(report: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a report, but for `APART`, by column such as `map.accuracy`."""
    found: dict[str, Any] = {}
    for stage in report["stages"]:
        _flatten(stage["name"], {key: value for key, value in stage.items() if key != "name"}, found)
    _flatten("test", report.get("test_cost", {}), found)
    return found


def _flatten(path: str, value: Any, found: dict[str, Any]) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in APART:
                _flatten(f"{path}.{key}", item, found)
    elif value is None or isinstance(value, bool | int | float):
        found[path] = value


def main() -> None:
    """Answer tasks until the pipe they come through is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the client's, which closes the pipe
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever prints must not be taken for an answer
    from l2sim import blas

    blas.prepare()
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            tasks.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        answers.write(json.dumps(run(json.loads(tasks.get()))) + "\n")


if __name__ == "__main__":
    main()
