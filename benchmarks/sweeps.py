"""Zeroth-order sweeps: identity calibration and parallel mapping, one epoch (every heater of U, then of V)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from benchmarks import chips
from benchmarks.measure import FMA, GFLOPS, Bench, LeftOut, Measurement
from l2sim.backend import Device, host
from l2sim.chip.complex_core_chip import fabricated_as
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.nonidealities import PRESETS
from l2sim.learn.search import calibrate, mapping, zeroth
from l2sim.learn.search.zeroth import METHODS, Search, there_and_back
from l2sim.mesh.mesh import Mesh

SIZES = (4, 8, 9, 16, 32)
BLOCKS = (128, 1024, 50_000)
VGG8_BLOCKS = 48_586
BANK_BLOCKS, BANK_PART = 12_345_679, 400_000
"""Cores that hold a billion weights, and how many of them are measured."""
EPOCHS = {"calibrate": 400, "map": 300}
LONGEST = 5e12
"""FLOP of an epoch beyond which a `direct` case is left out."""


def flops(k: int) -> int:
    """Of one evaluation of one core, by rebuilding it: 6 k a rotation, and the loss."""
    return 6 * k * (k * (k - 1) // 2) + 3 * k * k


def _epoch(chip: CoreChip, gain: np.ndarray, target: np.ndarray, structured: bool) -> Callable[[], object]:
    xp, rng = chip.xp, np.random.default_rng(0)
    lr, loss, gain, target = xp.full(chip.shape, 0.1), xp.full(chip.shape, np.inf), xp.asarray(gain), xp.asarray(target)

    def epoch() -> None:
        here = loss
        for part in ("u", "v"):
            order = rng.permutation(chip.mesh.count) if not structured else there_and_back(chip.mesh.columns, rng)
            _, here = chip.descend(part, "zcd", gain, target, order, lr, here, by_column=structured)

    return epoch


def _sweep(case: str, calibrate: bool, bench: Bench) -> Iterator[Measurement]:
    rng, there = np.random.default_rng(0), bool(bench.device.numbers)
    for k in ((2,) if there else (4, 9)) if bench.quick else SIZES:
        for blocks in ((3,) if there else (32,)) if bench.quick else BLOCKS:
            n = k * (k - 1) // 2
            chip = chips.chip(blocks, k)
            work = 4.0 * n * blocks * flops(k)
            target = np.eye(k) if calibrate else rng.standard_normal((1, blocks, k, k)) / np.sqrt(k)
            # Calibration probes with distinct amplitudes, mapping with ones (spec, sections c and d).
            gain = np.linspace(1.0, 1.0 / k, k) if calibrate else np.ones(k)
            epochs = {} if work > LONGEST and not there else {"direct": _epoch(chip, gain, target, False)}
            if not there:  # a GPU takes the direct descent in any order
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


def phi(bench: Bench) -> Iterator[Measurement]:
    """An epoch of calibration of cores of `silicon`, theta and phi in every MZI, beside one of the published cores: as
    many cores, but 2 k^2 heaters of complex matrices for k (k - 1) of real ones. With readout noise, and without."""
    if bench.device.numbers:
        raise LeftOut("complex cores compute on the CPU")
    for k in (4, 9) if bench.quick else (4, 9, 16):
        blocks, epochs = 32 if bench.quick else 1024, {}
        for name in ("l2ight-2021", "silicon"):
            for noise in (0.0, 0.01):
                sheet = msgspec.structs.replace(PRESETS[name], readout_noise=noise)
                kind = fabricated_as(sheet, "quadrature")
                chip = kind((1, blocks), Mesh("rectangular", k), sheet, seed=1, dtype=np.dtype("float32"))
                for structured in (False, True):
                    way = f"{name}{', by column' if structured else ''}{', noisy' if noise else ''}"
                    epochs[way] = _epoch(chip, np.linspace(1.0, 1.0 / k, k), np.eye(k), structured)
        # Of silicon: a complex coupler is 28 a column, half of them are passed twice and all of them once.
        for way, seconds in bench.paired(epochs, 3).items():
            heaters, each = k * (k - 1), flops(k)
            if "silicon" in way:
                heaters, each = 2 * k * k, 28 * k * (k * (k - 1) // 2) * 3 // 4 + 5 * k * k
            work = 2.0 * heaters * blocks * each
            sizes = {"k": k, "blocks": blocks, "evaluations": 2 * heaters * blocks}
            yield Measurement("sweep-phi", way, min(seconds), work, GFLOPS, FMA, sizes=sizes)


def pace(bench: Bench, chip: CoreChip, order: str, epochs: int, weight: np.ndarray) -> dict[str, float]:
    """Seconds of so many epochs of calibration and of mapping onto `weight`, as the stages run them."""
    search, rng, seconds = Search("zcd", order=order, shuffle=True), np.random.default_rng(0), {}
    for stage in ("calibrate", "map"):
        if stage == "calibrate":
            problem, phases = calibrate.problem(chip), calibrate.zero_phases(chip)
        else:
            aim = mapping.target(chip, weight)
            problem, phases = mapping.problem(chip, aim), mapping.start_phases(aim, None)
        state = zeroth.start(problem, search, phases)
        METHODS["zcd"](problem, search, state, rng)  # compiles
        bench.device.settle()
        begin = bench.clock()
        for _ in range(epochs):
            METHODS["zcd"](problem, search, state, rng)
        bench.device.settle()
        seconds[stage] = bench.clock() - begin
    return seconds


def vgg8(bench: Bench) -> Iterator[Measurement]:
    """All cores of VGG8, k = 9: ten epochs of calibration and of mapping, in both orders (a GPU knows no difference).

    `whole` is what 400 + 300 epochs take at that pace.
    """
    there = bool(bench.device.numbers)
    blocks, epochs, k = (3, 1, 2) if bench.quick and there else (64, 2, 9) if bench.quick else (VGG8_BLOCKS, 10, 9)
    weight = np.random.default_rng(0).standard_normal((k, k * blocks)) / np.sqrt(k)
    for order in ("published",) if there else ("published", "layer"):
        chip = chips.chip(blocks, k)
        seconds = pace(bench, chip, order, epochs, weight)
        for stage, took in seconds.items():
            work = 4.0 * chip.mesh.count * blocks * flops(k) * epochs
            sizes = {"stage": stage, "k": k, "blocks": blocks, "epochs": epochs}
            yield Measurement("vgg8-ic-pm", f"{stage} {order}", took, work, GFLOPS, FMA, sizes=sizes)
        sizes = {"blocks": blocks, "epochs": 700, "extrapolated": True}
        whole = sum(EPOCHS[stage] * took for stage, took in seconds.items()) / epochs
        yield Measurement("vgg8-ic-pm", f"whole {order}", whole, 700.0, "epochs/s", sizes=sizes)


@dataclass(frozen=True)
class Share(Device):
    """A device of which only a share of the memory is to be used."""

    share: float = 1.0

    def free(self, number: int | None = None) -> int:
        return int(super().free(number) * self.share)

    def room(self, number: int | None = None) -> int:
        return int(super().room(number) * self.share)


def bank(bench: Bench) -> Iterator[Measurement]:
    """A bank of a billion weights, k = 9, on a GPU: part of it measured, with the same part of the GPU's memory.

    `epochs`: epoch after epoch of all cores, as a run does it; where the bank does not fit, every sweep streams it
    through. `batches`: cores being independent, as many as fit go through all their epochs before the next ones come,
    so that each is carried there and back once (`carried`: what the chip holds). Both extrapolated to 400 + 300 epochs
    of the whole bank, without fabrication and decomposition, which are the host's.
    """
    if not bench.device.numbers:
        raise LeftOut("it needs a GPU")
    blocks, epochs, k = (3, 1, 2) if bench.quick else (BANK_PART, 3, 9)
    weight = np.random.default_rng(0).standard_normal((k, k * blocks)).astype(np.float32) / np.sqrt(k)
    work = 4.0 * (k * (k - 1) // 2) * BANK_BLOCKS * flops(k) * sum(EPOCHS.values())
    for variant, share in (("epochs", blocks / BANK_BLOCKS), ("batches", 1.0)):
        on = Share(bench.device.name, bench.device.xp, bench.device.numbers, share)
        chip = chips.chip(blocks, k, device=on)
        seconds = pace(bench, chip, "published", epochs, weight)
        whole = sum(EPOCHS[stage] * took for stage, took in seconds.items()) / epochs
        carried = bench.time(lambda chip=chip: carry(chip), 1) if variant == "batches" else 0.0  # type: ignore[misc]
        sizes = {
            "k": k, "blocks": BANK_BLOCKS, "measured": blocks, "epochs": epochs, "extrapolated": True,
            "carried": carried * BANK_BLOCKS / blocks, "arrays_on": "host" if chip.xp is np else "device",
        }  # fmt: skip
        took = (whole + carried) * BANK_BLOCKS / blocks
        yield Measurement("bank-ic-pm", variant, took, work, GFLOPS, FMA, sizes=sizes)


def carry(chip: CoreChip) -> None:
    """What the chip holds to the host and back."""
    arrays, values = chip.state()
    chip.restore({name: host(a) for name, a in arrays.items()}, values)


CASES = (("sweep-ic", ic), ("sweep-pm", pm), ("sweep-phi", phi), ("vgg8-ic-pm", vgg8), ("bank-ic-pm", bank))
