"""Zeroth-order sweeps: identity calibration and parallel mapping, one epoch (every heater of U, then of V)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from benchmarks import chips
from benchmarks.measure import FMA, GFLOPS, Bench, Measurement
from l2sim.backend import kernels
from l2sim.chip.chip import Chip
from l2sim.learn import calibrate, mapping, zeroth
from l2sim.learn.zeroth import METHODS, Search, there_and_back

SIZES = (4, 8, 9, 16, 32)
BLOCKS = (128, 1024, 50_000)
VGG8_BLOCKS = 48_586
LONGEST = 5e12
"""FLOP of an epoch beyond which a `direct` case is left out."""


def flops(k: int) -> int:
    """Of one evaluation of one core, by rebuilding it: 6 k a rotation, and the loss."""
    return 6 * k * (k * (k - 1) // 2) + 3 * k * k


def _epoch(chip: Chip, gain: np.ndarray, target: np.ndarray, structured: bool) -> Callable[[], object]:
    lr, loss, rng = np.full(chip.shape, 0.1), np.full(chip.shape, np.inf), np.random.default_rng(0)

    def epoch() -> None:
        here = loss
        for part in ("u", "v"):
            order = rng.permutation(chip.mesh.count) if not structured else there_and_back(chip.mesh.columns, rng)
            _, here = chip.sweep(part, "zcd", gain, target, order, lr, here, by_column=structured)

    return epoch


def _sweep(case: str, calibrate: bool, bench: Bench) -> Iterator[Measurement]:
    rng = np.random.default_rng(0)
    for k in (4, 9) if bench.quick else SIZES:
        for blocks in (32,) if bench.quick else BLOCKS:
            n = k * (k - 1) // 2
            chip = chips.chip(blocks, k)
            work = 4.0 * n * blocks * flops(k)
            target = np.eye(k) if calibrate else rng.standard_normal((1, blocks, k, k)) / np.sqrt(k)
            # Calibration probes with distinct amplitudes, mapping with ones (spec, sections c and d).
            gain = np.linspace(1.0, 1.0 / k, k) if calibrate else np.ones(k)
            epochs = {} if work > LONGEST else {"direct": _epoch(chip, gain, target, False)}
            if hasattr(kernels, "structured"):
                epochs["structured"] = _epoch(chips.chip(blocks, k), gain, target, True)
            repeats = 1 if work > 1e11 else 3
            for variant, seconds in bench.paired(epochs, repeats).items():
                best = min(seconds)
                sizes = {"k": k, "blocks": blocks, "evaluations": 4 * n * blocks}
                yield Measurement(case, variant, best, work, GFLOPS, FMA, sizes=sizes)


def ic(bench: Bench) -> Iterator[Measurement]:
    """Identity calibration by ZCD; `structured` does less work and is rated by that of `direct`."""
    return _sweep("sweep-ic", True, bench)


def pm(bench: Bench) -> Iterator[Measurement]:
    """Parallel mapping by ZCD."""
    return _sweep("sweep-pm", False, bench)


def vgg8(bench: Bench) -> Iterator[Measurement]:
    """All cores of VGG8, k = 9: ten epochs of calibration and of mapping as the stages run them, in both orders.

    `whole` is what 400 + 300 epochs take at that pace.
    """
    blocks, epochs = (64, 2) if bench.quick else (VGG8_BLOCKS, 10)
    k, rng = 9, np.random.default_rng(0)
    weight = rng.standard_normal((k, k * blocks)) / np.sqrt(k)
    for order in ("published", "layer"):
        search, chip = Search("zcd", order=order, shuffle=True), chips.chip(blocks, k)
        pace = {}
        for stage in ("calibrate", "map"):
            if stage == "calibrate":
                problem, phases = calibrate.problem(chip), calibrate.zero_phases(chip)
            else:
                aim = mapping.target(chip, weight)
                problem, phases = mapping.problem(chip, aim), mapping.start_phases(aim, None)
            state = zeroth.start(problem, search, phases)
            METHODS["zcd"](problem, search, state, rng)  # compiles
            begin = bench.clock()
            for _ in range(epochs):
                METHODS["zcd"](problem, search, state, rng)
            seconds = bench.clock() - begin
            pace[stage] = seconds / epochs
            work = 4.0 * chip.mesh.count * blocks * flops(k) * epochs
            sizes = {"stage": stage, "k": k, "blocks": blocks, "epochs": epochs}
            yield Measurement("vgg8-ic-pm", f"{stage} {order}", seconds, work, GFLOPS, FMA, sizes=sizes)
        whole = 400 * pace["calibrate"] + 300 * pace["map"]
        sizes = {"blocks": blocks, "epochs": 700, "extrapolated": True}
        yield Measurement("vgg8-ic-pm", f"whole {order}", whole, 700.0, "epochs/s", sizes=sizes)


CASES = (("sweep-ic", ic), ("sweep-pm", pm), ("vgg8-ic-pm", vgg8))
