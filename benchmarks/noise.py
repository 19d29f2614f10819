"""What noise of readings costs: training steps on chips and epochs of search, beside the same without noise.

The `fraction` is of the time without: 1 over it is how many times as long it takes (at most 1.4 is aimed at).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import msgspec
import numpy as np

from benchmarks import chips
from benchmarks.measure import Bench, Measurement, median
from benchmarks.steps import BATCH, stepper
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.nonidealities import PRESETS
from l2sim.learn.search import calibrate, mapping, zeroth
from l2sim.learn.search.zeroth import METHODS, Search
from l2sim.mesh.mesh import Mesh

NOISE = 0.01
"""Standard deviation of a reading, of unit amplitude."""
SIZES = (9, 16)
BLOCKS = 1024


def steps_of(model: str, batch: int) -> dict[str, Callable[[], object]]:
    """Steps of a network, dense and sampled, on exact chips and on noisy ones."""
    ways: dict[str, Callable[[], object]] = {}
    for name, noise in (("exact", 0.0), ("noisy", NOISE)):
        net = chips.photonic(model, np.random.default_rng(1))
        for weight in net.weights.values():
            own = weight.hardware  # type: ignore[attr-defined]
            own.nonidealities = msgspec.structs.replace(own.nonidealities, readout_noise=noise)
        step = stepper(net, batch)
        ways |= {f"dense {name}": partial(step, False), f"sampled {name}": partial(step, True)}
    return ways


def _step(model: str, bench: Bench) -> Iterator[Measurement]:
    batch = 2 if bench.quick else BATCH
    yield from _pairs(f"noise-{model}", steps_of(model, batch), bench, {"batch": batch}, 2 if bench.quick else 11)


def _sweeps(bench: Bench) -> Iterator[Measurement]:
    """Calibration and mapping by ZCD in both orders."""
    for k in (4,) if bench.quick else SIZES:
        blocks, ways = (16 if bench.quick else BLOCKS), dict[str, Callable[[], object]]()
        for stage in ("calibrate", "map"):
            for order in ("published", "layer"):
                for name, noise in (("exact", 0.0), ("noisy", NOISE)):
                    ways[f"{stage} {order} {name}"] = epoch(stage, order, noise, k, blocks)
        yield from _pairs("noise-sweep", ways, bench, {"k": k, "blocks": blocks}, 2 if bench.quick else 7)


def epoch(stage: str, order: str, noise: float, k: int, blocks: int) -> Callable[[], object]:
    """epoch(): one of the stage, as it runs it, of so many cores of k modes with readout noise."""
    imperfect = msgspec.structs.replace(PRESETS["l2ight-2021"], readout_noise=noise)
    chip = CoreChip((1, blocks), Mesh("rectangular", k), imperfect, seed=1, dtype=np.float32)
    rng, search = np.random.default_rng(0), Search("zcd", order=order, shuffle=stage == "calibrate")
    if stage == "calibrate":
        problem, phases = calibrate.problem(chip), calibrate.zero_phases(chip)
    else:
        aim = mapping.target(chip, rng.standard_normal((k, k * blocks)) / np.sqrt(k))
        problem, phases = mapping.problem(chip, aim), mapping.start_phases(aim, None)
    state = zeroth.start(problem, search, phases)
    return lambda: METHODS["zcd"](problem, search, state, rng)


def _pairs(
    case: str, ways: dict[str, Callable[[], object]], bench: Bench, sizes: dict[str, object], repeats: int
) -> Iterator[Measurement]:
    seconds = bench.paired(ways, repeats)
    for variant, runs in seconds.items():
        exact = seconds[variant.replace("noisy", "exact")]
        share, best = median([a / b for a, b in zip(exact, runs)]), min(runs)
        yield Measurement(case, variant, best, 1.0, "runs/s", "the same without noise", bound=share * best, sizes=sizes)


CASES = (
    *((f"noise-{model}", partial(_step, model)) for model in ("cnn-s", "cnn-l", "vgg8")),
    ("noise-sweep", _sweeps),
)  # fmt: skip
