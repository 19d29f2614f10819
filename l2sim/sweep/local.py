"""Workers of this machine: processes that run points one after the other, and the engine that feeds them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

import msgspec

from l2sim.errors import RunError
from l2sim.store.door import parsed
from l2sim.sweep.point import Outcome, Task

WORKER = [sys.executable, "-m", "l2sim.sweep.point"]
LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PATIENCE = 5.0
"""Seconds that a worker has to end when it is told to."""
BIRTHS = 3
"""Workers that may die one after the other without ever answering."""


class Engine(Protocol):
    """Who runs tasks; `notes` are what people should know of it.

    Each task handed in comes out of `wait` once, with an outcome as of `l2sim.sweep.point.run`, or of status "lost"
    where its worker died; `worker` says where it ran, `files` brings what lies elsewhere.
    """

    notes: list[str]

    def __enter__(self) -> Engine: ...
    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
    def room(self) -> int:
        """How many more tasks it can use now."""
    def submit(self, task: Task) -> None:
        """Take a task."""
    def wait(self, seconds: float) -> list[tuple[Task, Outcome]]:
        """What has ended, after so many seconds at most."""
    def exclude(self, worker: str) -> bool:
        """Give a worker nothing more; False where there is no other."""


class Child:
    """One worker process. `gpu` is the one it sees; what it prints goes to the end of the file `words`."""

    def __init__(self, threads: int, gpu: str = "", words: Path | None = None) -> None:
        environ = os.environ | dict.fromkeys(LIMITS, str(threads))
        if gpu:
            environ["CUDA_VISIBLE_DEVICES"] = gpu
        with open(words or os.devnull, "ab") as log:
            # A session of its own: Ctrl-C in the terminal reaches the client alone.
            self._process = subprocess.Popen(
                WORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environ, start_new_session=True
            )
        assert self._process.stdin and self._process.stdout
        self._in, self.out = self._process.stdin, self._process.stdout
        self.pid = self._process.pid
        self.answered = False

    def send(self, task: Task) -> None:
        """Hand over a task; a worker that is dead says so in `receive`."""
        with contextlib.suppress(OSError):
            self._in.write(json.dumps(msgspec.to_builtins(task)).encode() + b"\n")
            self._in.flush()

    def receive(self) -> Outcome:
        """Wait for the answer to the last task."""
        line = self.out.readline()
        if line.endswith(b"\n"):
            self.answered = True
            return parsed(line, Outcome)
        code = self._process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return Outcome("lost", error=f"its worker {how}" + (" (out of memory?)" if code == -9 else ""))

    def call(self, task: Task) -> Outcome:
        """Run a task."""
        self.send(task)
        return self.receive()

    @property
    def ended(self) -> bool:
        """Whether it is dead."""
        return self._process.poll() is not None

    def close(self) -> None:
        """End it; what it runs is left at its last checkpoint."""
        with contextlib.suppress(OSError):
            self._in.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.out.close()


def gpus() -> Sequence[str]:
    """The GPUs of this machine as CUDA_VISIBLE_DEVICES names them."""
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in chosen.split(",") if name.strip()]
    matches = (re.fullmatch(r"nvidia(\d+)", name) for name in os.listdir("/dev"))
    return sorted((match[1] for match in matches if match), key=int)


class Local:
    """The engine of `workers` processes here, started when there is something for them; one that dies is replaced."""

    def __init__(self, workers: int, threads: int, words: Path | None = None) -> None:
        self._threads, self._words, self._gpus = threads, words, gpus()
        self._children: list[Child | None] = [None] * workers
        self._tasks: list[Task | None] = [None] * workers
        self._selector = selectors.DefaultSelector()
        self._stillborn = 0
        self.notes: list[str] = []

    def __enter__(self) -> Local:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for child in self._children:
            if child:
                child.close()
        self._selector.close()

    def room(self) -> int:
        """How many more tasks it can use now."""
        return self._tasks.count(None)

    def submit(self, task: Task) -> None:
        """Take a task."""
        free = [number for number, given in enumerate(self._tasks) if given is None]
        number = next((number for number in free if self._children[number]), free[0])
        child = self._children[number]
        if child is None:
            gpu = self._gpus[number % len(self._gpus)] if self._gpus else ""
            child = self._children[number] = Child(self._threads, gpu, self._words)
            self._selector.register(child.out, selectors.EVENT_READ, number)
        self._tasks[number] = task
        child.send(task)

    def wait(self, seconds: float) -> list[tuple[Task, Outcome]]:
        """What has ended, after so many seconds at most."""
        ended = []
        for ready, _ in self._selector.select(seconds):
            number: int = ready.data
            child, task = self._children[number], self._tasks[number]
            assert child
            outcome = child.receive()
            if outcome.status == "lost":
                self._selector.unregister(child.out)
                self._children[number] = None
                child.close()
                self._stillborn = 0 if child.answered else self._stillborn + 1
                if self._stillborn > BIRTHS * len(self._children):
                    where = f"; {self._words} holds what they said" if self._words else ""
                    raise RunError(f"workers end before their first answer: {outcome.error}{where}")
            else:
                self._stillborn = 0
            self._tasks[number] = None
            if task is not None:
                ended.append((task, msgspec.structs.replace(outcome, worker=f"worker {number}")))
        return ended

    def exclude(self, worker: str) -> bool:
        """Give a worker nothing more; False where there is no other."""
        return False  # they share a disk
