"""Small runs in which one thing is wrong: a heater among 400 cores, learning that diverges, a log that is damaged."""

from __future__ import annotations

import itertools
from contextlib import suppress
from pathlib import Path

import numpy as np

from l2sim.chip import fabrication
from l2sim.chip.protocol import PARTS
from l2sim.errors import Diverged
from l2sim.inspect.bench import Heater
from l2sim.job import grids
from l2sim.job.job import Job
from l2sim.runs.execute import execute

LAYERS = ({"type": "Flatten"}, {"type": "Linear", "out": 100, "k": 4}, {"type": "ReLU"}, {"type": "Linear", "out": 10})
"""On pictures of 8 x 8: 25 x 16 cores of 4 modes, then a few of 9."""


def many(**more: object) -> Job:
    """A job of 400 cores in its first layer and a few in its second that takes seconds."""
    values = {
        "name": "many", "model.name": "custom", "model.input": (1, 8, 8), "model.layers": LAYERS,
        "calibrate.epochs": 24, "map.epochs": 2, "pretrain.epochs": 1, "learn.epochs": 1, "data.name": "synthetic",
        **more,
    }  # fmt: skip
    return Job.preset("digits", values)


def one_dead_heater(out: Path) -> tuple[str, int, Heater]:
    """A run on a chip of which one heater alone is dead, among 400 cores; its layer, core and which one."""
    for seed in itertools.count(1):
        draws = {
            (layer, part): fabrication.fates(seed, layer, part, (grid.p * grid.q, grid.mesh.count))
            for layer, grid in grids.grids(many()).items() for part in PARTS
        }  # fmt: skip
        (layer, part), draw = min(draws.items(), key=lambda item: item[1].min())
        if len(draw) == 400:
            break
    every = np.sort(np.concatenate([draw.ravel() for draw in draws.values()]))
    run(many(**{"seed": seed, "nonidealities.dead": float(every[:2].mean())}), out)
    core, number = np.unravel_index(int(draw.argmin()), draw.shape)
    return layer, int(core), Heater(part, "theta", int(number))


def divergence(out: Path) -> Path:
    """A run that learns with far too large steps, and stops."""
    return run(many(**{"calibrate.epochs": 1, "map.epochs": 1, "learn.epochs": 3, "learn.lr": 100.0}), out)


def run(job: Job, out: Path) -> Path:
    """Run a job to its end, or to where it diverges."""
    with suppress(Diverged):
        for _ in execute(job, out):
            pass
    return out
