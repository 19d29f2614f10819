"""What a sweep costs besides its work: points that sleep, and a hundred thousand that do not even that."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from benchmarks import sleeper
from benchmarks.measure import Bench, LeftOut, Measurement
from l2sim.sweep import agenda
from l2sim.sweep import local as sweep_local
from l2sim.sweep import plan as sweep_plan
from l2sim.sweep.local import Local
from l2sim.sweep.log import Log
from l2sim.sweep.point import Outcome, Task

WORKERS = 4
TEN = 10.0
"""Seconds of a point that the overhead is told as a share of."""


def plan(points: int, seconds: float) -> sweep_plan.Plan:
    """So many points, which sleep so long; nothing is shared."""
    overrides = {"learn.lr": seconds, "learn.lr_floor": 0.0}
    return sweep_plan.plan({"job": "digits", "overrides": overrides, "grid": {"seed": [*range(points)]}})


def sleeping(bench: Bench) -> Iterator[Measurement]:
    """Sleeping points on four workers: `a_point`, seconds of a worker besides the sleep, with the start of the workers
    and the tables, and that as a share of points of ten seconds, `overhead`."""
    if bench.threads > 1:
        raise LeftOut("it is measured with one thread")
    before = list(sweep_local.WORKER)
    sleeper.use()
    try:
        for points, seconds in ((40, 0.1),) if bench.quick else ((50, 0.5), (200, 0.5), (800, 0.5)):
            with tempfile.TemporaryDirectory() as place:
                began = time.perf_counter()
                counts = agenda.run(plan(points, seconds), Path(place) / "s", lambda: Local(WORKERS, 1))
                taken = time.perf_counter() - began
                assert counts.done == points
            more = taken * WORKERS / points - seconds
            sizes = {"points": points, "sleep": seconds, "a_point": more, "overhead": more / TEN}
            yield Measurement("points", f"sleep {seconds:g} s", taken, points, "points/s", dtype="", sizes=sizes)
    finally:
        sweep_local.WORKER[:] = before


class Instant:
    """An engine whose tasks are done when they are handed in."""

    notes: list[str] = []  # noqa: RUF012

    def __enter__(self) -> Instant:
        self._ended: list[tuple[Task, Outcome]] = []
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def room(self) -> int:
        return 8 - len(self._ended)

    def submit(self, task: Task) -> None:
        names = [f"{stage}.{name}" for stage in sleeper.STAGES for name in ("accuracy", "loss", "core_calls")]
        row = dict.fromkeys(names, task.index / 7)
        self._ended.append((task, Outcome("done", row, {"learn": 1.0}, worker="w")))

    def wait(self, seconds: float) -> list[tuple[Task, Outcome]]:
        ended, self._ended = self._ended, []
        return ended

    def exclude(self, worker: str) -> bool:
        return False


def many(bench: Bench) -> Iterator[Measurement]:
    """A plan checked, run without work, taken up again, its tables written: seconds, and the most memory that this
    process ever had (`mebibytes`)."""
    if bench.threads > 1:
        raise LeftOut("it is measured with one thread")
    for points in (1000, 2000) if bench.quick else (10_000, 100_000):
        with tempfile.TemporaryDirectory() as place:
            for name, taken in steps(points, Path(place) / "s"):
                used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                sizes = {"points": points, "mebibytes": used}
                yield Measurement("points", name, taken, points, "points/s", dtype="", sizes=sizes)


def steps(points: int, out: Path) -> Iterator[tuple[str, float]]:
    """What a sweep does, in order, and the seconds it takes."""
    planned = plan(points, 0.0)
    works: dict[str, Callable[[], object]] = {
        "check": planned.check,
        "hand out, write down": lambda: agenda.run(planned, out, Instant),
        "take up again": lambda: taken_up(out, points),
        "tables and report": lambda: agenda.run(planned, out, Instant),
    }
    for name, work in works.items():
        began = time.perf_counter()
        work()
        yield name, time.perf_counter() - began


def taken_up(out: Path, points: int) -> None:
    """What happens before the first point of a sweep that is gone on with."""
    planned = agenda.stored(out)
    with closing(Log(out / "log.jsonl", len(planned))) as log:
        assert log.count(1) == points and next(log.open_points(), None) is None


CASES = (("points-sweep", sleeping), ("points-sweep-many", many))
