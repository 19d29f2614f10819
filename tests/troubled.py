"""Small runs in which one thing is wrong: a heater among 400 cores, learning that diverges, a log that is damaged.

`python -m tests.troubled` makes those in tests/gui/runs again, which are as they were when they went wrong.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from l2sim.gui.window.first import examples

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


KEPT = Path(__file__).parent / "gui" / "runs"
DEAD = ("fc1", 205, Heater("u", "theta", 4))
"""Layer, core and heater that is dead in the run that is kept."""
SHARE = 0.6
"""Of its phases that the damaged run has kept."""


def kept(name: str, folder: Path) -> Path:
    """A copy of one of the runs that are kept: one-dead-heater, divergence, damaged-log."""
    examples.write(KEPT / f"{name}.tar.xz", folder)
    return folder


def one_dead_heater(out: Path, first: int = 1) -> tuple[str, int, Heater]:
    """A run on a chip of which one heater alone is dead, among 400 cores; its layer, core and which one. Of the seeds
    from the `first` on that which has it."""
    for seed in itertools.count(first):
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


def cut(folder: Path, name: str = "phase-0000.bin", share: float = SHARE) -> Path:
    """Cut the end off a log of a run."""
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: int(share * len(whole))])
    return folder


def main() -> None:
    """Make all runs that are kept."""
    KEPT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        dead, diverged = Path(made) / "one-dead-heater", Path(made) / "divergence"
        assert one_dead_heater(dead) == DEAD
        divergence(diverged)
        damaged = cut(Path(shutil.copytree(examples.unpack("calibrate-a-chip"), Path(made) / "damaged-log")))
        for folder in (dead, diverged, damaged):
            examples.pack(folder, KEPT / f"{folder.name}.tar.xz")


if __name__ == "__main__":
    main()
