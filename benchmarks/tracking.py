"""What it costs a run to be tracked: 700 epochs of 10 ms with twelve scalars each, processor time of the whole process.

The epochs keep the processor busy for their 10 ms of it, so that what is measured beyond them is the tracker's, its
thread and the start of its package included. `untracked` is the stand-in alone.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Bench, LeftOut, Measurement
from l2sim.job import job as jobs
from l2sim.job.job import Job
from l2sim.runs import track
from l2sim.store.events import Epoch, Event, StageStarted

EPOCHS, LONG, SCALARS = 700, 0.01, 12
PLACES = {"untracked": "", "tensorboard": "tensorboard:tb", "mlflow folder": "mlflow:ml", "wandb offline": "wandb:p"}


def events(epochs: int) -> Iterator[Event]:
    """The stand-in of a run."""
    yield StageStarted("map", epochs)
    for epoch in range(epochs):
        until = time.thread_time() + LONG
        while time.thread_time() < until:
            pass
        yield Epoch("map", epoch + 1, epochs, epoch + 1, {f"scalar_{i}": 1 / (epoch + 1) for i in range(SCALARS)})


def spent(spec: str, epochs: int) -> tuple[float, float]:
    """(processor time, seconds) of a tracked stand-in, in a process of its own."""
    import subprocess

    code = f"from benchmarks import tracking; tracking.alone({spec!r}, {epochs})"
    environment = os.environ | {"WANDB_MODE": "offline"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    if "warning" in done.stderr:
        raise RuntimeError(done.stderr)
    cpu, wall = json.loads(done.stdout.splitlines()[-1])
    return cpu, wall


def alone(spec: str, epochs: int) -> None:
    """What the process of its own does."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        out.mkdir()
        (out / "job.toml").write_text(jobs.to_toml(Job.preset("digits")))
        spec = spec.replace(":", f":{folder}/") if not spec.startswith("wandb") else spec
        begin = time.process_time(), time.perf_counter()
        for _ in track.follow(events(epochs), track.readers([spec] if spec else []), out):
            pass
        print(json.dumps([time.process_time() - begin[0], time.perf_counter() - begin[1]]))


def tracked(bench: Bench) -> Iterator[Measurement]:
    """Every kind of tracker whose package is there."""
    if bench.threads > 1:
        raise LeftOut("it is measured with one thread")
    epochs = 70 if bench.quick else EPOCHS
    for name, spec in PLACES.items():
        if spec and not track.readers([spec], say=lambda line: None):
            continue
        cpu, wall = spent(spec, epochs)
        share = cpu / (epochs * LONG) - 1.0
        sizes = {"epochs": epochs, "wall": wall, "beyond_the_epochs": share}
        yield Measurement("track", name, cpu, epochs, "epochs/s", sizes=sizes)


CASES = (("track", tracked),)
