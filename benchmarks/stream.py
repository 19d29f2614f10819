"""What it costs a run to be watched, on one thread: alone, served but unwatched, and with a window's model attached."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Bench, LeftOut, Measurement, median
from l2sim import naming
from l2sim.job import job as jobs
from l2sim.job.job import Job
from l2sim.runs import execute
from l2sim.store import logs
from l2sim.store.events import StageStarted, Step
from l2sim.store.logs import Logs
from l2sim.store.manifest import FORMAT, Manifest, write_manifest

ROUNDS = 3
"""Runs of each way; the middle one counts."""


def watch(out: str, ready: Any, done: Any) -> None:
    """What a window does besides painting, in a process of its own: poll, and look at phases, metrics and curves."""
    from l2sim.gui.base.model import open_run

    while not (Path(out) / "live.json").exists():
        time.sleep(0.01)
    model = open_run(out)
    layer = list(model.layers)[-1]
    side = "u" if model.layers[layer].sigma else ""
    while not done.is_set():
        model.poll()
        model.phases(layer, 0, side)
        model.metric(layer, "gradient")
        for name in model.series:
            model.scalar(name)
        if model.live:
            ready.set()
        time.sleep(0.033)
    model.close()


class Timed:
    """Adds up the processor time that this thread spends between iterations, and times `steps` mini-batches."""

    def __init__(self, between: Any) -> None:
        self.spent, self._between = 0.0, between

    def __call__(self, *arguments: Any) -> Iterator[Any]:
        begin = time.thread_time()
        events = list(self._between(*arguments))
        self.spent += time.thread_time() - begin
        return iter(events)


def zeromq_seconds() -> float:
    """Processor time of ZeroMQ's threads in this process so far."""
    total = 0.0
    for task in Path("/proc/self/task").iterdir():
        if (task / "comm").read_text().startswith("ZMQbg"):
            total += 1e-9 * int((task / "schedstat").read_text().split()[0])
    return total


def share(job: Job, way: str, steps: int) -> tuple[float, float]:
    """Seconds of a mini-batch of the stage of learning, `way` alone, served or watched, and the share of it that being
    served costs: in processor time, with the threads of ZeroMQ, which other work on the machine disturbs least."""
    spawn = multiprocessing.get_context("spawn")
    ready, done = spawn.Event(), spawn.Event()
    timed: list[Timed] = []
    plain = execute._control

    def control(*arguments: Any) -> Any:
        made = plain(*arguments)
        timed.append(Timed(made.between))
        made.between = timed[0]  # type: ignore[method-assign]
        return made

    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "run"
        reader = spawn.Process(target=watch, args=(str(out), ready, done)) if way == "watched" else None
        if reader:
            reader.start()
        execute._control = control
        try:
            events = execute.execute(job, out, live=way != "alone")
            count, spent, thread, beside = -1, 0.0, 0.0, 0.0
            for event in events:
                if not isinstance(event, Step) or event.stage != "learn":
                    continue
                if reader and not reader.is_alive():
                    raise RuntimeError("the reader has ended")
                if count < 0 and (not reader or ready.is_set()):
                    count, spent, thread, beside = 0, timed[0].spent, time.thread_time(), zeromq_seconds()
                elif count >= 0:
                    count += 1
                if count == steps:
                    break
        finally:
            execute._control = plain
        spent, thread, beside = timed[0].spent - spent, time.thread_time() - thread, zeromq_seconds() - beside
        events.close()  # type: ignore[attr-defined]
        done.set()
        if reader:
            reader.join()
    return thread / steps, (spent + beside) / (thread - spent)


def overhead(bench: Bench) -> Iterator[Measurement]:
    """Three 64-mode meshes learning in situ, and CNN-S on its cores, on one thread: what a mini-batch takes, and which
    share more than alone (`overhead`; `floor` is what the same measurement finds alone)."""
    quick = {"pretrain.epochs": 1, "calibrate.epochs": 1, "map.epochs": 1, "map.compare": False}
    cases = {
        "64 modes": (Job.preset("insitu-digits", {"learn.epochs": 10_000}), 3000),
        "cnn-s": (Job.preset("digits", quick | {"learn.epochs": 10_000, "calibrate.polish": 0, "map.polish": 0}), 8000),
    }
    if bench.threads > 1:  # idle kernel threads would count as what it costs to be served
        raise LeftOut("it is measured with one thread")
    for name, (job, steps) in cases.items():
        steps, floor = steps // 20 if bench.quick else steps, 0.0
        for way in ("alone", "served", "watched"):
            shares = [share(job, way, steps) for _ in range(1 if bench.quick else ROUNDS)]
            more = median([more for _, more in shares])
            floor = floor or more  # alone: what it costs to measure, two looks at the clock a step
            sizes = {"overhead": more - floor, "floor": floor, "steps": steps}
            taken = median([seconds for seconds, _ in shares])
            yield Measurement("stream", f"{name}, {way}", taken, 1.0, "steps/s", dtype="", sizes=sizes)


def opening(bench: Bench) -> Iterator[Measurement]:
    """Opening the folder of a run of a million steps, two scalars each, in a model."""
    from l2sim.gui.base.model import open_run

    steps = 10_000 if bench.quick else 1_000_000
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / "job.toml").write_text(jobs.to_toml(Job.preset("insitu-digits")))
        write_manifest(root, Manifest(version=FORMAT, id="1", state="done", process=1))
        log = Logs(root)
        log.event(StageStarted("learn", 1))
        log.scalars(0, 0.0, {"learn/loss": 0.0, "learn/accuracy": 0.0})
        for step in range(1, steps, steps // 1000):
            blank = np.zeros(2016, np.float32)
            log.phases(step, {naming.name("mesh1", part, "phases"): blank for part in ("theta", "phi")})
        log.close()
        table = np.zeros(2 * steps, logs.SCALARS)
        table["step"], table["series"] = np.repeat(np.arange(1, steps + 1), 2), np.tile([0, 1], steps)
        table["value"] = np.random.default_rng(0).normal(size=2 * steps)
        table["crc"] = logs.checksums(table.tobytes(), logs.SCALARS)
        with open(root / "scalars.bin", "ab") as file:
            file.write(table.tobytes())
        taken = bench.time(lambda: open_run(root).close(), 3)
        assert open_run(root).newest == steps
    yield Measurement("stream", "open a run", taken, 1.0, "runs/s", dtype="", sizes={"steps": steps})


CASES = (("stream", overhead), ("stream-open", opening))
