"""The engine of Dask's workers: the same tasks, run by the same worker processes (`l2sim.sweep.point`), one for every
thread of a Dask worker. So a point has its threads, its BLAS and its signals to itself, and gives the numbers it gives
here.

A worker that sees the sweep's folder works in it. One that does not, or is told not to (`shared = false`), works in its
own, and what a point wrote comes back with its outcome, but for checkpoints; shared ones go to it with the task.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import threading
import time
from collections import OrderedDict
from pathlib import Path
from types import TracebackType

import msgspec

from l2sim import files
from l2sim.errors import RunError
from l2sim.store.door import parsed
from l2sim.store.source import parse
from l2sim.sweep.agenda import pack, unpack
from l2sim.sweep.cluster import Client, Cluster, Future
from l2sim.sweep.local import Child
from l2sim.sweep.point import VERSIONS, Outcome, Task

GONE = 15.0
"""Seconds after which a scheduler that was lost is given up."""
FETCH = 60.0
"""Seconds that a finished result may take to arrive; after that its point is run again."""
KEPT = 8
"""Shared checkpoints held by Dask at a time."""
HEADS = ("sweep.json", "bank.json")
"""The files by which a folder is known."""
LOOK = 1.0
"""Seconds between looks at which workers there are."""


class Dask:
    """The engine of the workers of a Dask client. `cluster` is closed with it; `shared` says whether workers may use
    the sweep's folder (None: those that see it)."""

    def __init__(
        self, client: Client, out: Path, cluster: Cluster | None = None, shared: bool | None = None
    ) -> None:
        self._client, self._out, self._cluster, self._shared = client, out, cluster, shared
        self._ended: queue.Queue[tuple[Task, Future]] = queue.Queue()
        self._futures: dict[str, tuple[Future, list[str]]] = {}
        self._sent: OrderedDict[str, Future] = OrderedDict()
        self._bad: set[str] = set()
        self._workers: dict[str, int] = {}
        self._seen: dict[str, bool] = {}
        self._address = client.scheduler.address
        self.notes: list[str] = []
        self._looked, self._well, self._serial = 0.0, time.monotonic(), 0

    def __enter__(self) -> Dask:
        try:
            self._compare()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(Exception):  # a scheduler that is gone cannot be told
            self._client.close(timeout=2)
        with contextlib.suppress(Exception):
            if self._cluster is not None:
                self._cluster.close(timeout=30)

    def _compare(self) -> None:
        """Give nothing to workers of another l2sim or Python; RunError where there are no others."""
        answers = self._client.run(about, on_error="return")
        wrong = {}
        for address, versions in list(answers.items()):
            if isinstance(versions, OSError):  # it was lost on the way: what it has nobody knows
                del answers[address]
            elif versions != VERSIONS:
                wrong[address] = mismatch(VERSIONS, versions if isinstance(versions, dict) else {})
        if wrong and len(wrong) == len(answers):
            raise RunError(f"worker {min(wrong)} {wrong[min(wrong)]}, and no other worker fits")
        self._bad = set(wrong)
        self.notes = [f"worker {address} gets no points: it {line}" for address, line in sorted(wrong.items())]
        if not answers:
            self.notes.append("the scheduler has no workers yet; waiting for them")

    def room(self) -> int:
        """How many more tasks it can use now."""
        if self._client.status != "running":
            return 0
        if time.monotonic() - self._looked > LOOK:
            with contextlib.suppress(Exception):  # while the scheduler is away
                self._workers = dict(self._client.nthreads())
            self._looked = time.monotonic()
            for future, pinned in list(self._futures.values()):
                if pinned and self._workers and not self._workers.keys() & set(pinned):
                    future.cancel()  # nobody is left who may run it
        fit = [threads for address, threads in self._workers.items() if address not in self._bad]
        fit = fit or list(self._workers.values())
        return max(0, sum(fit) + len(fit) - len(self._futures))  # one more for each: it need not wait for the next

    def submit(self, task: Task) -> None:
        """Take a task."""
        self._serial += 1
        name = f"l2sim-{task.name}-{task.sweep[:8]}-{self._serial}-{time.monotonic_ns()}"
        good = [address for address in self._workers if address not in self._bad]
        pinned = good if self._bad else []
        more = {"workers": pinned, "allow_other_workers": False} if pinned else {}
        plain = msgspec.to_builtins(msgspec.structs.replace(task, shared=self._shared))
        future = self._client.submit(work, plain, self._source(task), key=name, pure=False, **more)
        self._futures[name] = future, pinned
        future.add_done_callback(lambda done: self._ended.put((task, done)))

    def _source(self, task: Task) -> Future | None:
        """The shared checkpoint a task starts from, for workers that do not see it: a future of its files."""
        if self._shared or not task.source:
            return None
        if self._shared is None and all(self._sees(task.sweep).values()):
            return None
        source = parse(task.source)
        run, stage = str(source.folder), source.stage
        if run in self._sent and self._sent[run].status == "finished":
            self._sent.move_to_end(run)
            return self._sent[run]
        with contextlib.suppress(Exception):  # a point without it takes longer, and gives the same numbers
            self._sent[run] = self._client.scatter([pack(self._out / run, stage)], hash=False)[0]
            if len(self._sent) > KEPT:
                self._sent.popitem(last=False)
            return self._sent[run]
        return None

    def _sees(self, sweep: str) -> dict[str, bool]:
        """Which workers see the folder of the sweep of this id."""
        if set(self._seen) != set(self._workers):
            answers = self._client.run(sees, str(self._out.absolute()), sweep, on_error="return")
            self._seen = {address: answer is True for address, answer in answers.items()}
        return self._seen

    def wait(self, seconds: float) -> list[tuple[Task, Outcome]]:
        """What has ended, after so many seconds at most."""
        self._watch_scheduler()
        ended = []
        with contextlib.suppress(queue.Empty):
            ended.append(self._outcome(*self._ended.get(timeout=seconds)))
            while True:
                ended.append(self._outcome(*self._ended.get_nowait()))
        return ended

    def _watch_scheduler(self) -> None:
        if self._client.status == "running":
            self._well = time.monotonic()
        elif time.monotonic() - self._well > GONE or self._client.status == "closed":
            raise RunError(
                f"the scheduler at {self._address} is gone; what is finished is in {self._out}: start one, then run "
                "this command again"
            )

    def _outcome(self, task: Task, future: Future) -> tuple[Task, Outcome]:
        self._futures.pop(future.key, None)
        try:
            return task, msgspec.convert(future.result(timeout=FETCH), Outcome)
        except Exception as error:  # worker or scheduler gone, or a worker that cannot even begin
            kind = type(error).__name__
            if isinstance(error, ImportError):
                return task, Outcome("failed", error=f"a worker cannot import l2sim ({error}); install it there")
            return task, Outcome("lost", error=f"its worker was lost ({kind})")

    def exclude(self, worker: str) -> bool:
        """Give a worker nothing more; False where there is no other."""
        others = [address for address in self._workers if address not in {*self._bad, worker}]
        new = worker not in self._bad
        self._bad.add(worker)
        return bool(others) and new


# ----------------------------------------------------------------------------------------------------- on a worker


def about() -> dict[str, str]:
    """The versions of a worker."""
    return VERSIONS


def mismatch(wanted: dict[str, str], given: dict[str, str]) -> str:
    """Which version is another one, in words."""
    for name, version in wanted.items():
        if given.get(name) != version:
            there = f"has {name} {given[name]}" if name in given else f"has no {name}"
            return f"{there}, and this is {name} {version}; install the same there"
    return "differs"


class _Named(msgspec.Struct):
    id: str


def sees(folder: str, sweep: str) -> bool:
    """Whether this process sees the folder of the sweep or the bank of that id, by its sweep.json or bank.json."""
    for name in HEADS:
        with contextlib.suppress(OSError, ValueError):
            return parsed((Path(folder) / name).read_bytes(), _Named).id == sweep
    return False


_mine = threading.local()


def work(plain: dict[str, object], source: dict[str, bytes] | None) -> dict[str, object]:
    """Run a task on a Dask worker. Task and outcome are plain values: whoever sends one may have another l2sim."""
    from distributed import get_worker  # late: an optional package

    worker = get_worker()
    if plain["versions"] != VERSIONS:
        theirs = msgspec.convert(plain["versions"], dict[str, str])
        outcome = Outcome("failed", error=f"its worker {mismatch(theirs, VERSIONS)}", unfit=True)
    else:
        outcome = _worked(msgspec.convert(plain, Task), source, Path(worker.local_directory))
    answer = msgspec.to_builtins(msgspec.structs.replace(outcome, worker=worker.address), builtin_types=(bytes,))
    return dict(answer)


def _worked(task: Task, source: dict[str, bytes] | None, place: Path) -> Outcome:
    """What becomes of a task whose files, where this worker does not use the sweep's folder, go to the folder `place`.
    """
    root = Path(task.root)
    apart = task.shared is False or not sees(task.root, task.sweep)
    if apart and task.shared:
        line = f"its worker does not see {root}; mount it there, or leave out shared = true"
        return Outcome("failed", error=line, unfit=True)
    root = place / "l2sim" / task.sweep if apart else root
    try:
        if apart and source and not (shared := root / parse(task.source).folder).exists():
            _take(source, shared)
        outcome = _child(task.threads).call(msgspec.structs.replace(task, root=str(root)))
        if apart and outcome.status == "done":
            outcome = msgspec.structs.replace(outcome, files=pack(root / task.folder, task.stage or ""))
            if not task.stage:
                shutil.rmtree(root / task.folder)
        return outcome
    except OSError as error:
        line = files.refusal(error) or f"{type(error).__name__}: {error}"
        return Outcome("failed", error=line, unfit=True)


def _take(source: dict[str, bytes], folder: Path) -> None:
    """Put a shared checkpoint into this worker's folder, where another thread of it may be doing the same."""
    beside = folder.with_name(f"{folder.name}-{threading.get_ident()}")
    beside.parent.mkdir(parents=True, exist_ok=True)
    unpack(source, beside)
    try:
        beside.rename(folder)
    except OSError:  # it is there
        shutil.rmtree(beside)


def _child(threads: int) -> Child:
    """The process that runs points for this thread of the worker."""
    child: Child | None = getattr(_mine, "child", None)
    if child is None or child.ended or _mine.threads != threads:
        if child is not None:
            child.close()
        child, _mine.threads = Child(threads), threads
        _mine.child = child
    return child
