"""Jobs as processes of their own: started, resumed and killed from the window, and not tied to its life. No Qt here.

A job never runs inside the window: a forked Qt crashes, and a thread would make the window stutter. It is a new session
whose output goes to a file, so that it outlives the window and the terminal that the window came from.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from l2sim.errors import RunError
from l2sim.files import held
from l2sim.store.manifest import read_manifest

STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
"""Exit codes of a job that was asked to stop, by the keyboard, an order or a signal."""


class Process:
    """A job that this window started. `folder` is its run folder, which the job fills."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self.folder = folder
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        command = [sys.executable, "-m", "l2sim", "run", *arguments]
        quiet = subprocess.DEVNULL
        try:
            self._process = subprocess.Popen(
                command, stdin=quiet, stdout=quiet, stderr=self._output, start_new_session=True
            )
        except OSError as error:
            raise RunError(f"the job cannot be started: {error.strerror}; free some memory or processes") from None

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def ready(self) -> bool:
        """Whether the run folder can be opened: a job writes its manifest first, then its settings."""
        return all((self.folder / name).exists() for name in ("manifest.json", "job.toml"))

    @property
    def code(self) -> int | None:
        """How it ended, negative for a signal; None while it runs."""
        return self._process.poll()

    def let_go(self) -> None:
        """Forget the process, which runs on if it still does, as it shall."""
        if self._process.poll() is None:
            self._process.returncode = 0  # else Python warns that nobody waited for it
        self._output.close()

    def said(self) -> str:
        """The last line it wrote to stderr, without its name."""
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("l2sim: error: ") if lines else ""


def start(source: str, settings: Iterable[str] = (), *, name: str, runs: Path, more: Iterable[str] = ()) -> Process:
    """Start a preset or job file as a job in the first free folder of `runs`. RunError where that is impossible."""
    folder = _claim(runs, name)
    arguments = [source, *(part for setting in settings for part in ("--set", setting)), "--out", str(folder)]
    return Process([*arguments, *_common(), *more], folder)


def resume(folder: Path, more: Iterable[str] = ()) -> Process:
    """Go on with a run that was stopped or killed. RunError where it is none, is done, or still runs."""
    manifest = read_manifest(folder)
    if held(folder):
        raise RunError(f"the run in {folder} is going on; attach to it instead")
    if manifest.state == "done":
        raise RunError(f"the run in {folder} is finished; start a new one with its job")
    return Process(["--resume", "--out", str(folder), *_common(), *more], folder)


def kill(folder: Path) -> int:
    """End the job of a run folder at once, by SIGKILL; what it saved stays. Returns its id; RunError if none runs."""
    manifest = read_manifest(folder)
    number = manifest.process
    if not held(folder) or number <= 1:
        raise RunError(f"no job runs in {folder}")
    try:
        os.kill(number, signal.SIGKILL)
    except OSError as error:
        raise RunError(f"process {number} cannot be killed: {error.strerror}; is it another user's?") from None
    return number


def _common() -> list[str]:
    # One core stays free for the window: with all of them busy its frames come late.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ["--threads", str(max(1, cores - 1)), "--live"]


def _claim(runs: Path, name: str) -> Path:
    """Make the first free folder NAME-N, which reserves it."""
    try:
        runs.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            try:
                (runs / f"{name}-{number}").mkdir()
                return runs / f"{name}-{number}"
            except FileExistsError:
                number += 1
    except OSError as error:
        raise RunError(f"cannot make a run folder in {runs}: {error.strerror}; start l2sim-gui elsewhere") from None


class Summary(NamedTuple):
    """What a list of runs says of one: `started` in s since 1970, the last `accuracy` from 0 to 1, and what is the
    `problem` with its folder, if there is one."""

    folder: Path
    state: str
    started: float = 0.0
    accuracy: float | None = None
    problem: str = ""


def summary(folder: Path) -> Summary:
    """The summary of the run in `folder`; `unreadable` is the state of a folder that is none."""
    try:
        manifest = read_manifest(folder)
    except RunError as error:
        return Summary(folder, "unreadable", problem=str(error))
    state = manifest.state
    if state == "running" and not held(folder):
        state = "killed"
    return Summary(folder, state, manifest.started, _accuracy(folder))


class _Stage(msgspec.Struct):
    accuracy: float | None = None


class _Report(msgspec.Struct):
    stages: list[_Stage]


def _accuracy(folder: Path) -> float | None:
    """The accuracy after the last stage that has one, by the run's report; None where there is none."""
    path = folder / "report.json"
    try:
        return _reported(path, path.stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=4096)
def _reported(path: Path, changed: int) -> float | None:
    """Lists of runs ask every other second; a report is read again only where it was `changed` (ns) since."""
    try:
        report = msgspec.convert(json.loads(path.read_text()), _Report)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None
    return next((stage.accuracy for stage in reversed(report.stages) if stage.accuracy is not None), None)


def summaries(runs: Path, recent: Iterable[Path] = ()) -> list[Summary]:
    """Summaries of the runs in a folder and of recent ones elsewhere, newest first."""
    places = {path.resolve() for path in recent if (path / "manifest.json").exists()}
    with contextlib.suppress(OSError):
        places |= {path.parent.resolve() for path in runs.glob("*/manifest.json")}
    return sorted((summary(path) for path in places), key=lambda run: -run.started)
