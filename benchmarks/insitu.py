"""The training step of the in situ flow as a run takes it: stage `learn`, event by event, of three meshes.

A step is a mini-batch taken up, light forward through every mesh, the loss, every phase gradient measured, Adam, and
the phases written. `work` is that of the step without noise (`flops`). Other chips are held against that step:
`times_exact` is the median of ratios within rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from benchmarks.measure import GFLOPS, MATMUL, Bench, Measurement, median
from benchmarks.propagation import ADJOINT, PAIR, PRODUCT
from l2sim import backend
from l2sim.data.sets import DataSet
from l2sim.flow.insitu import session as insitu_session
from l2sim.flow.insitu import stages
from l2sim.job.job import Job
from l2sim.store.events import Step

CHIPS: dict[str, dict[str, object]] = {
    "exact": {},
    "tap noise": {"nonidealities.tap_noise": 0.01},
    "readout noise": {"nonidealities.readout_noise": 0.01},
    "tap, readout noise": {"nonidealities.tap_noise": 0.01, "nonidealities.readout_noise": 0.01},
    "port errors": {"nonidealities.io_amplitude_error": 0.02, "nonidealities.io_phase_error": 0.02},
    "loss": {"nonidealities.loss_db": 0.05},
}
LAYERS = 3
BATCHES = 32
"""Mini-batches of an epoch; what happens between epochs is not measured."""


def stepper(modes: int, batch: int, device: str, more: dict[str, object]) -> Callable[[], None]:
    """step(): the next step of a run of the preset `insitu-digits` with `modes` ports, on complex light."""
    size = {"insitu.modes": modes, "insitu.layers": LAYERS, "learn.batch": batch, "learn.epochs": 1000}
    job = Job.preset("insitu-digits", {"device": device, **size, **more})
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCHES * batch, modes)) + 1j * rng.standard_normal((BATCHES * batch, modes))
    y = rng.integers(0, min(10, modes), len(x))
    x, y = (backend.device(device).put(a) for a in (x, y))
    session = insitu_session.Insitu(job, DataSet(x, y, x[:batch], y[:batch], min(10, modes)), x[:0], y[:0], job.seed)
    insitu_session.fabricate(session)
    events = stages.learn(session, 0)

    def step() -> None:
        while not isinstance(next(events), Step):
            pass

    return step


def flops(modes: int, batch: int) -> float:
    """FLOP of a step: matrices and reversed runs with their gradients, N columns each; U (X G^T); whole products
    forward and X G^T of the first mesh, and of the others, whose light is real, halves forward, back and X G^T."""
    product, couplers = PRODUCT * modes**2 * batch, (PAIR + ADJOINT) * modes * modes * (modes - 1) / 2
    return LAYERS * (couplers + PRODUCT * modes**3) + 2 * product + (LAYERS - 1) * 1.5 * product


def insitu(bench: Bench) -> Iterator[Measurement]:
    """Steps of three meshes of N modes."""
    there = bool(bench.device.numbers)
    for modes in (10,) if bench.quick else (64, 256):
        batch = (3 if there else 32) if bench.quick else 512
        functions = {name: stepper(modes, batch, bench.device.name, more) for name, more in CHIPS.items()}
        # A GPU tells of its steps when an epoch is over: one is then timed as a whole.
        count = (2 if bench.quick else BATCHES) if there else 1
        whole = {name: partial(_again, step, count) for name, step in functions.items()}
        seconds = {name: [s / count for s in runs] for name, runs in bench.paired(whole).items()}
        for variant, runs in seconds.items():
            sizes: dict[str, object] = {"modes": modes, "batch": batch}
            bound = 0.0
            if variant != "exact":
                sizes["times_exact"] = round(median([a / b for a, b in zip(runs, seconds["exact"])]), 3)
                bound = min(seconds["exact"])
            work, limit = flops(modes, batch), "exact" if bound else MATMUL
            yield Measurement("insitu-3-meshes", variant, min(runs), work, GFLOPS, limit, bound=bound, sizes=sizes)


def _again(step: Callable[[], None], count: int) -> None:
    for _ in range(count):
        step()


CASES = (("insitu-3-meshes", insitu),)
