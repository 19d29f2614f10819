"""The rows of the table: each is one piece of work, done in several ways that take turns.

A row's `ways` are functions without arguments. `ratios` are what `--check` compares with the committed table: medians
of quotients within a round, so that other work on the machine hits both halves. `work` is FLOP and bytes that the first
way cannot do without, `target` what is aimed at, in words.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np

from benchmarks import chips, insitu, noise, steps, sweeps
from benchmarks.decomposition import complex_nulled
from benchmarks.measure import FMA, MATMUL, Bench
from l2sim.mesh import unitary
from l2sim.mesh.mesh import Mesh

Way = Callable[[], object]


@dataclass
class Row:
    """One piece of work. `scale`: by way, how many of these make one of the row (others are run for a part of it).
    `rate`: which of the machine's limits the FLOP are held against, in `dtype`. `timed`: the ways themselves return
    their seconds, and are not warmed up."""

    ways: dict[str, Way]
    flops: float = 0.0
    size: float = 0.0
    rate: str = MATMUL
    dtype: str = "float32"
    ratios: tuple[tuple[str, str], ...] = ()
    target: str = ""
    repeats: int = 7
    scale: dict[str, float] = field(default_factory=dict)
    timed: bool = False


def rows(bench: Bench, peers: ModuleType | None) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Names of rows and what makes them, in the table's order: one at a time, since each holds networks and chips."""
    blocks = 16 if bench.quick else noise.BLOCKS
    for model in ("cnn-s", "cnn-l", "vgg8"):
        yield f"step of {model}, readout noise", partial(_noisy_step, bench, model)
    for stage in ("calibrate", "map"):
        for k in (4,) if bench.quick else (9, 16):
            name = f"epoch: {stage}, k = {k}, {blocks:,} cores, readout noise"
            yield name, partial(_noisy_epoch, stage, k, blocks)
    for model in ("cnn-s", "cnn-l", "vgg8"):
        yield f"step of {model}", partial(_step, bench, model, peers)
    for model in ("cnn-l", "vgg8"):
        yield f"inference of {model}", partial(_inference, bench, model, peers)
    for stage in ("calibrate", "map"):
        for k in (4,) if bench.quick else (9, 16, 32):
            yield f"epoch: {stage}, k = {k}, {blocks:,} cores", partial(_epoch, stage, k, blocks, peers)
    for modes in (10,) if bench.quick else (64, 256):
        yield f"step in situ, {insitu.LAYERS} meshes of {modes} modes", partial(_in_situ, bench, modes, peers)
    modes = 16 if bench.quick else 128
    yield f"decomposition, {modes} modes, complex", partial(_decomposition, modes)
    for smoke in (True,) if bench.quick else (True, False):
        yield f"l2sim run digits{' --smoke' if smoke else ''}, processor time", partial(_first_run, smoke)


def _noisy_step(bench: Bench, model: str) -> Row:
    ways = noise.steps_of(model, 2 if bench.quick else steps.BATCH)
    ratios = tuple((f"{way} noisy", f"{way} exact") for way in ("dense", "sampled"))
    return Row(ways, ratios=ratios, target="at most 1.4 times exact")


def _noisy_epoch(stage: str, k: int, blocks: int) -> Row:
    ways: dict[str, Way] = {}
    for order in ("published", "layer"):
        for name, value in (("exact", 0.0), ("noisy", noise.NOISE)):
            ways[f"{_ORDERS[order]} {name}"] = noise.epoch(stage, order, value, k, blocks)
    ratios = tuple((f"{way} noisy", f"{way} exact") for way in _ORDERS.values())
    return Row(ways, ratios=ratios, target="at most 1.4 times exact")


_ORDERS = {"published": "direct", "layer": "by column"}


def _step(bench: Bench, model: str, peers: ModuleType | None) -> Row:
    batch, rng = (2 if bench.quick else steps.BATCH), np.random.default_rng(1)
    net = chips.photonic(model, rng)
    step, products = steps.stepper(net, batch), steps.Products(net, batch, rng)
    ways: dict[str, Way] = {
        "dense": partial(step, False), "products": products.dense, "sampled": partial(step, True),
    }  # fmt: skip
    if peers is not None:
        ways |= peers.steps(net, batch)
    ratios = (("dense", "products"), ("sampled", "dense"))
    target = "dense at most 1.15 times products" if model != "cnn-s" else "0.4 ms on a core of 105 GFLOP/s"
    return Row(ways, products.flops(), 3 * _bytes(products), ratios=ratios, target=target, repeats=11)


def _inference(bench: Bench, model: str, peers: ModuleType | None) -> Row:
    batch, rng = (2 if bench.quick else 128), np.random.default_rng(1)
    net = chips.photonic(model, rng)
    images, products = rng.random((batch, *net.spec.input)).astype(net.dtype), steps.Products(net, batch, rng)
    ways: dict[str, Way] = {"l2sim": partial(net.forward, images), "products": products.forward}
    if peers is not None:
        ways |= peers.inference(net, images)
    flops = sum(2.0 * m.size * x.shape[1] for m, x, *_ in products.jobs)
    target = f"{batch} images at most 1.15 times torch"
    return Row(ways, flops, _bytes(products), ratios=(("l2sim", "products"),), target=target)


def _bytes(products: steps.Products) -> float:
    """Of the weights, what goes in and what comes out, once each."""
    return sum(float(m.nbytes + x.nbytes + y.nbytes) for m, x, y, *_ in products.jobs)


def _epoch(stage: str, k: int, blocks: int, peers: ModuleType | None) -> Row:
    count = k * (k - 1) // 2
    ways: dict[str, Way] = {
        name: noise.epoch(stage, order, 0.0, k, blocks) for order, name in _ORDERS.items()
    }  # fmt: skip
    scale: dict[str, float] = {}
    if peers is not None:
        more, scale = peers.epoch(stage, k, blocks)
        ways |= more
    work, size = 4.0 * count * blocks * sweeps.flops(k), 4.0 * blocks * (4 * count + 2 * k * k)
    times = {9: 150, 32: 1000}.get(k)
    target = f"direct 0.4 of the limit{f'; by column {times:,} times L2ight' if times else ''}"
    ratios, repeats = (("by column", "direct"),), 7 if k < 32 else 2
    return Row(ways, work, size, FMA, ratios=ratios, target=target, repeats=repeats, scale=scale)


def _in_situ(bench: Bench, modes: int, peers: ModuleType | None) -> Row:
    batch = 32 if bench.quick else 512
    ways: dict[str, Way] = {name: insitu.stepper(modes, batch, "cpu", more) for name, more in insitu.CHIPS.items()}
    if peers is not None:
        ways |= peers.in_situ(modes, insitu.LAYERS, batch)
    size = insitu.LAYERS * 8.0 * modes * batch * 4
    time = {64: "2.5 ms at 200 GFLOP/s, ", 256: "40 ms at 200 GFLOP/s, "}.get(modes, "")
    target = f"{time}noise at most 1.4 times exact"
    ratios = tuple((name, "exact") for name in insitu.CHIPS if name != "exact")
    return Row(ways, insitu.flops(modes, batch), size, ratios=ratios, target=target)


def _decomposition(modes: int) -> Row:
    mesh, target = Mesh("rectangular", modes), unitary.haar_matrix(np.random.default_rng(0), modes)
    ways: dict[str, Way] = {
        "l2sim": lambda: unitary.decompose(mesh, target), "rotation by rotation": lambda: complex_nulled(target),
    }  # fmt: skip
    count, ratios = modes * (modes - 1) // 2, (("l2sim", "rotation by rotation"),)
    return Row(ways, 28.0 * count * modes / 2, 16.0 * modes**2, FMA, "float64", ratios, repeats=3)


def _first_run(smoke: bool) -> Row:
    """Processor time of `l2sim run digits`: a process of its own, on an empty cache of compiled code and then again."""
    folder = tempfile.TemporaryDirectory()
    target = "18 and 3 s" if smoke else "28 and 10 s"
    ways: dict[str, Way] = {
        "nothing compiled": partial(_digits, smoke, folder, True), "compiled": partial(_digits, smoke, folder, False),
    }  # fmt: skip
    ways["compiled"]()
    return Row(ways, target=target, repeats=1, timed=True)


def _digits(smoke: bool, folder: tempfile.TemporaryDirectory[str], empty: bool) -> float:
    """Seconds of processor time of a run in a process of its own, from bytecode, as an installed package has it."""
    with tempfile.TemporaryDirectory() as place:
        cache = place if empty else folder.name
        line = [sys.executable, "-m", "l2sim", "run", "digits", "--quiet", "--threads", "1"]
        line += ["--out", str(Path(place) / "run"), *(["--smoke"] if smoke else [])]
        own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        before = _children()
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL, env=own | {"NUMBA_CACHE_DIR": cache})
        return _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
