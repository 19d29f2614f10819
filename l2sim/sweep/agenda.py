"""A sweep in its folder: which points are open, what they wait for, who runs them, and what is written down.

The folder is the truth. A point whose folder is finished is done, whoever finished it; `log.jsonl` only saves looking
at every folder. So any process may be killed at any moment: running the sweep again goes on.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec
from msgspec import UNSET, UnsetType

from l2sim import files
from l2sim._version import __version__
from l2sim.errors import L2simError, RunError
from l2sim.job import job as jobs
from l2sim.store.door import Newer, versioned
from l2sim.store.source import file_of
from l2sim.sweep import page, share, table
from l2sim.sweep.local import Engine
from l2sim.sweep.log import DONE, FAILED, Entry, Log
from l2sim.sweep.plan import Plan, plan
from l2sim.sweep.point import VERSIONS, Outcome, Task
from l2sim.sweep.share import Link

FORMAT = 1
"""The newest `sweep.json` this code reads."""
LOSSES = 5
"""How often a point is tried whose worker dies; a point that kills its worker must end somewhere."""
AHEAD = 10_000
"""Points that may wait for checkpoints being made, while later ones are looked at that need none of these."""
TOLD = 10
"""Failures that are told one by one."""
TABLES_EVERY = 30.0
"""Seconds between tables while the sweep goes on; more where they take long, so that they cost 1 % at most."""


# ------------------------------------------------------------------------------------------------- the folder of it


def begin(planned: Plan, out: Path) -> tuple[IO[str], str]:
    """Make the folder of a sweep, or see that it is this one's. Its lock, and the id it has. Raises RunError."""
    return claimed(out, "points", "a sweep is going on", lambda: _id(planned, out))


def claimed(out: Path, inside: str, going_on: str, identify: Callable[[], str]) -> tuple[IO[str], str]:
    """A folder made with the folder `inside`, held, and identified once it is: its lock and its id. Raises RunError;
    Busy says what is `going_on` there."""
    try:
        (out / inside).mkdir(parents=True, exist_ok=True)
        lock = files.hold(out)
    except OSError as error:
        raise RunError(f"cannot make the folder {out}: {error.strerror}; choose another with --out") from None
    except files.Busy:
        raise files.Busy(f"{going_on} in {out}; wait for it, stop it, or choose another --out") from None
    try:
        return lock, identify()
    except BaseException:
        lock.close()
        raise


class Begun(msgspec.Struct, frozen=True):
    """What `sweep.json` says: the sweep's id and digest, how many points it has, and its plan as plain values."""

    format: str
    version: int
    id: str
    l2sim: str
    digest: str
    points: int
    plan: dict[str, Any]


def _id(planned: Plan, out: Path) -> str:
    """The id of the sweep in a folder that is locked; a new one where there is none yet."""
    if (out / "sweep.json").exists():
        begun = read(out)
        if begun.digest != planned.digest:
            raise RunError(f"{out} holds another sweep{_difference(begun.plan, planned)}; choose another --out")
        return begun.id
    if any(path.name not in ("points", files.LOCK) for path in out.iterdir()):
        raise RunError(f"{out} is in use; choose another folder with --out")
    key = uuid.uuid4().hex
    begun = Begun("l2sim-sweep", FORMAT, key, __version__, planned.digest, len(planned), planned.source)
    files.write(out / "sweep.json", (json.dumps(msgspec.to_builtins(begun), indent=1) + "\n").encode())
    return key


def read(out: Path) -> Begun:
    """What `sweep.json` of a sweep's folder says. Raises RunError."""
    try:
        begun = versioned((out / "sweep.json").read_bytes(), Begun, FORMAT)
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{out} is not the folder of a sweep (it has no sweep.json); name a file, or one") from None
    except ValueError:
        raise RunError(f"{out / 'sweep.json'} is damaged; start the sweep again in another folder") from None
    except Newer as error:
        line = f"{out} was written by a newer l2sim (format {error.number}); install that version to go on"
        raise RunError(line) from None
    if begun.l2sim != __version__:
        raise RunError(f"{out} was begun with l2sim {begun.l2sim}, and this is {__version__}; go on with that version")
    return begun


def stored(out: Path) -> Plan:
    """The plan of a sweep that was begun in `out`. Raises RunError."""
    return plan(read(out).plan)


def _difference(begun: dict[str, Any], planned: Plan) -> str:
    for key in {**begun, **planned.source}:
        if key not in ("attempts", "cluster") and begun.get(key) != planned.source.get(key):
            if key != "job":
                return f" (another {key})" if key == "threads" else f" (another [{key}])"
            if paths := jobs.differences(jobs.from_dict(begun[key]), planned.base):
                return f" (its job has another {paths[0]})"
    return ""


# ---------------------------------------------------------------------------------------------------- what is next


@dataclass
class Agenda:
    """The tasks that are left, in an order in which nobody waits for what another one makes.

    A point needs the checkpoints of its `share.chain`, one after the other: the first one that is missing becomes a
    task of its own, and the points that need it wait for that. One that cannot be made is done without.
    """

    planned: Plan
    out: Path
    log: Log
    data: Path | None
    sweep: str
    shared: tuple[str, ...] = ()
    tries: dict[int, int] = field(default_factory=dict)
    losses: dict[int, int] = field(default_factory=dict)
    made: dict[str, bool] = field(default_factory=dict)
    """Shared checkpoints by key: there, or not to be had."""
    running: int = 0

    def __post_init__(self) -> None:
        self._open = self.log.open_points()
        self._ready: deque[int] = deque()
        self._again: deque[int] = deque()
        self._waiting: dict[str, list[int]] = {}
        self._lost: dict[str, int] = {}
        self._waits = 0

    def next(self) -> Task | None:
        """The next task, if there is one that can start now."""
        while True:
            if self._ready:
                index = self._ready.popleft()
            elif self._waits < AHEAD and (fresh := next(self._open, None)) is not None:
                index = fresh
            elif self._again:
                index = self._again.popleft()
            else:
                return None
            if (task := self._task(index)) is not None:
                return task

    def _task(self, index: int) -> Task | None:
        """The task of a point, or of what it needs first; None where that is being made."""
        job = self.planned[index]
        before: Link | None = None
        for link in self._chain(job):
            if self._has(link):
                before = link
            elif self.made.get(link.key) is None:
                beginning = link.key not in self._waiting
                self._waiting.setdefault(link.key, []).append(index)
                self._waits += 1
                if not beginning:
                    return None
                return self._handed(-1, link.key, f"shared/{link.key}", job, before, stage=link.stage)
        name, fresh = self.planned.name(index), self.tries.get(index, 0) > 0
        return self._handed(index, name, f"points/{name}", job, before, fresh=fresh)

    def _chain(self, job: jobs.Job) -> list[Link]:
        try:
            return share.chain(job, self.shared)
        except L2simError:  # weights that cannot be read: the point says so itself
            return []

    def _has(self, link: Link) -> bool:
        if link.key not in self.made and file_of(self.out / "shared" / link.key, link.stage).exists():
            self.made[link.key] = True
        return self.made.get(link.key, False)

    def _handed(
        self, index: int, name: str, folder: str, job: jobs.Job, source: Link | None,
        stage: str | UnsetType = UNSET, fresh: bool | UnsetType = UNSET,
    ) -> Task:  # fmt: skip
        return Task(
            index=index, name=name, folder=folder, stage=stage, fresh=fresh, root=str(self.out.absolute()),
            sweep=self.sweep, job=jobs.to_dict(job), data=str(self.data.absolute()) if self.data else "",
            threads=self.planned.threads, source=f"shared/{source.key}@{source.stage}" if source else "",
            versions=VERSIONS,
        )  # fmt: skip

    def ended(self, task: Task, outcome: Outcome) -> Entry | None:
        """Take note of what became of a task; the end of a point, if it was that."""
        self.running -= 1
        if task.index < 0:
            self._shared(task.name, outcome.status)
            return None
        index, status = task.index, outcome.status
        if status != "done":
            counts, most = (self.losses, LOSSES) if status == "lost" else (self.tries, self.planned.attempts)
            counts[index] = counts.get(index, 0) + 1
            if counts[index] < most:
                self._again.append(index)
                return None
        attempts = self.tries.pop(index, 0) + self.losses.pop(index, 0) + (status == "done")
        return Entry(
            index, task.name, "done" if status == "done" else "failed", attempts, outcome.worker, outcome.error,
            outcome.seconds, outcome.row,
        )  # fmt: skip

    def _shared(self, key: str, status: str) -> None:
        """A shared checkpoint was made, or not: who waited for it goes on, and makes it part of its run if need be."""
        if status == "lost":
            self._lost[key] = self._lost.get(key, 0) + 1
        if status != "lost" or self._lost[key] >= LOSSES:
            self.made[key] = status == "done"
        waited = self._waiting.pop(key, [])
        self._ready.extend(waited)
        self._waits -= len(waited)


# ------------------------------------------------------------------------------------------------------ running it


@dataclass
class Counts:
    """How far a sweep is; `session` are the points that ended since it was started this time."""

    points: int
    done: int
    failed: int
    running: int = 0
    session: int = 0
    seconds: float = 0.0

    @property
    def left(self) -> float | None:
        """Seconds that are left at the present pace."""
        rest = self.points - self.done - self.failed
        return self.seconds / self.session * rest if self.session else None


def run(
    planned: Plan,
    out: Path,
    engine: Callable[[], Engine],
    data: Path | None = None,
    watch: Callable[[Counts], None] = lambda counts: None,
    say: Callable[[str], None] = lambda line: None,
) -> Counts:
    """Run what is open of a sweep in the folder `out`, on the engine that `engine` opens once there is something to do.

    `watch` is told how far it is several times a second, `say` what people should know. Tables and report are written
    in the end, however it ends.
    """
    lock, sweep = begin(planned, out)
    with lock, contextlib.closing(Log(out / "log.jsonl", len(planned), write=True)) as log:
        counts = Counts(len(planned), log.count(DONE), 0)
        if counts.done < len(planned):
            agenda = Agenda(planned, out, log, data, sweep, share.stages(planned))
            try:
                with engine() as opened:
                    for note in opened.notes:
                        say(note)
                    for _ in _rounds(agenda, opened, counts, watch, say):
                        pass
            except BaseException:
                with contextlib.suppress(OSError):  # a full disk must not hide why it ended
                    _show(planned, log, out)
                raise
        _show(planned, log, out)
        counts.failed = log.count(FAILED)
    return counts


def _show(planned: Plan, log: Log, out: Path) -> None:
    """Write the tables and the page of what there is."""
    table.write(planned, log, out)
    page.write(planned, log, out)


def _rounds(
    agenda: Agenda, engine: Engine, counts: Counts, watch: Callable[[Counts], None], say: Callable[[str], None]
) -> Iterator[None]:
    """Hand out tasks and take in what ends, until nothing is left."""
    began, written, took = time.monotonic(), time.monotonic(), 0.0
    task: Task | None = None
    while True:
        for _ in range(engine.room()):
            if (task := task or agenda.next()) is None:
                break
            engine.submit(task)
            agenda.running, task = agenda.running + 1, None
        if (task := task or agenda.next()) is None and not agenda.running:
            return
        for ended, outcome in engine.wait(0.2):
            _take_in(agenda, engine, ended, outcome, counts, say)
        counts.running, counts.seconds = agenda.running, time.monotonic() - began
        watch(counts)
        if (now := time.monotonic()) - written > max(TABLES_EVERY, 100 * took):
            table.write(agenda.planned, agenda.log, agenda.out)
            written = time.monotonic()
            took = written - now
        yield


def _take_in(
    agenda: Agenda, engine: Engine, task: Task, outcome: Outcome, counts: Counts, say: Callable[[str], None]
) -> None:
    if outcome.files:
        unpack(outcome.files, agenda.out / task.folder)
    if outcome.unfit and engine.exclude(outcome.worker):
        say(f"{outcome.worker} gets no more points: {outcome.error}")
    entry = agenda.ended(task, outcome)
    if entry is None:
        return
    agenda.log.add(entry)
    counts.session += 1
    if entry.status == "done":
        counts.done += 1
    else:
        counts.failed += 1
        if counts.failed <= TOLD:
            say(f"{entry.name} failed, {entry.attempts} times: {entry.error}")
        elif counts.failed == TOLD + 1:
            say("more points failed; runs.csv has all")


def pack(folder: Path, checkpoint: str = "") -> dict[str, bytes]:
    """The files of a run folder by name, without its checkpoints but for one that is named."""
    content = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != files.LOCK}
    if checkpoint:
        path = file_of(folder, checkpoint)
        about = {name: content[name] for name in ("manifest.json", "job.toml") if name in content}
        return about | {str(path.relative_to(folder)): path.read_bytes()}
    return content


def unpack(content: dict[str, bytes], folder: Path) -> None:
    """Put what `pack` gave into `folder`, all or nothing."""
    beside = folder.with_name(folder.name + ".part")
    if beside.exists():
        shutil.rmtree(beside)
    for name, raw in content.items():
        path = beside / name
        if beside not in path.parents or ".." in path.parts:
            raise RunError(f"a worker sent a file named {name!r}, outside of its folder; look at what it runs")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    if folder.exists():
        shutil.rmtree(folder)
    beside.rename(folder)
