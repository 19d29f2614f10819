"""What a step of subspace learning costs, by two sets of rules (L2ight, NeurIPS 2021, section 4.2; spec section g).

`metered` is what the chips' own meter counts when the step is made (`chip.grid`): core calls are vectors sent through a
core, accumulation steps sequential additions of partial sums. `legacy` follows the published program's profiler, units
and slips included: dense layers pay for one pass of the weight gradient and square the batch in its additions, nothing
is saved by spatial sampling unless kernels are 1 x 1, strided convolutions send back a vector for every input pixel.

`activations` is what has to be remembered between forward and backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from l2sim.backend import Array, host
from l2sim.chip.meter import PASSES
from l2sim.nn import models
from l2sim.nn.models import Placed
from l2sim.nn.network import Network
from l2sim.nn.photonic import PhotonicWeight

__all__ = ["Activations", "Step", "activations", "counts", "legacy", "metered", "steps"]

FLOAT = 4.0
"""Bytes of a value that is remembered."""


@dataclass(frozen=True)
class Step:
    """One layer in one step: `grid` (p, q) of cores of size `k`, `batch` samples; of a convolution its `kernel` and
    `stride`, the image (C, H, W) it reads and the pixels (H', W') it makes, else kernel 0. `masks` by name as in
    `drawn` of the layers: cores, feedback (p, q), vectors (q, B), columns (H'*W',), spatial (H, W). `sends_back`: an
    input gradient is wanted."""

    grid: tuple[int, int]
    k: int
    batch: int
    kernel: int = 0
    stride: int = 1
    image: tuple[int, int, int] = (0, 0, 0)
    pixels: tuple[int, int] = (1, 1)
    masks: dict[str, Array] = field(default_factory=dict)
    sends_back: bool = True

    def cores(self, *names: str) -> Array:
        """The first of these masks (p, q) that was drawn; else all cores."""
        drawn = (self.masks[name] for name in names if name in self.masks)
        return np.asarray(next(drawn, np.ones(self.grid, bool)))

    @property
    def vectors(self) -> int:
        """Vectors sent forward: samples, or pixels times samples."""
        return self.batch * math.prod(self.pixels)


def steps(network: Network, batch: int, dense: bool = False) -> Iterator[Step]:
    """Every photonic layer of `network` in its last training step on `batch` samples; `dense`: without its masks."""
    places = {item.name: item for item in _leaves(models.place(network.spec))}
    first = next(iter(network.parameters())).rpartition(".")[0]
    for name, weight in network.weights.items():
        assert isinstance(weight, PhotonicWeight)
        layer, conv, more = places[name].layer, network.convs.get(name), {}
        masks = {} if dense else dict(weight.drawn)
        if conv is not None and isinstance(layer, models.Conv):
            masks |= {} if dense else conv.drawn
            more = {
                "kernel": layer.kernel, "stride": layer.stride, "image": places[name].input,
                "pixels": places[name].output[1:],
            }  # fmt: skip
        masks = {key: host(mask) for key, mask in masks.items()}
        grid, k = weight.hardware.shape, weight.hardware.mesh.modes
        yield Step(grid, k, batch, masks=masks, sends_back=name != first, **more)  # type: ignore[arg-type]


def _leaves(placed: tuple[Placed, ...]) -> Iterator[Placed]:
    """The layers that compute, in order: those inside residual blocks in place of the blocks."""
    for item in placed:
        if isinstance(item.layer, models.Residual):
            yield from _leaves(item.body + item.shortcut)
        else:
            yield item


Cost = dict[str, int]
"""`PASS_core_calls` and `PASS_accumulation_steps` of every pass."""


def _cost(forward: tuple[int, int], weight: tuple[int, int], back: tuple[int, int]) -> Cost:
    """The cost of three passes, each given as (core calls, accumulation steps)."""
    out: Cost = {}
    for name, (calls, additions) in zip(PASSES, (forward, weight, back)):
        out |= {f"{name}_core_calls": int(calls), f"{name}_accumulation_steps": int(additions)}
    return out


def counts(costs: Iterator[Cost]) -> Cost:
    """The sum of several costs, counter by counter; zeros of none."""
    total = _cost((0, 0), (0, 0), (0, 0))
    for cost in costs:
        total = {name: total[name] + cost[name] for name in total}
    return total


def metered(step: Step) -> Cost:
    """What the meter of the chips counts for this step."""
    ahead, back = step.cores("cores"), step.cores("cores", "feedback")
    sent = _kept_pixels(step) * step.batch
    if "vectors" in step.masks:
        taken = step.masks["vectors"].sum(axis=1)
        weight = 2 * step.grid[0] * taken.sum(), taken.max()
    else:
        weight = 2 * step.grid[0] * step.grid[1] * sent, sent
    n = step.vectors
    behind = (back.sum() * n, max(back.sum(axis=0).max() - 1, 0) * n) if step.sends_back else (0, 0)
    return _cost((ahead.sum() * n, max(ahead.sum(axis=1).max() - 1, 0) * n), weight, behind)


def _kept_pixels(step: Step) -> int:
    """Output pixels that enter the weight gradient."""
    kept = np.ones(math.prod(step.pixels), bool)
    if "columns" in step.masks:
        kept = kept & step.masks["columns"].ravel()
    if "spatial" in step.masks and step.kernel == 1:
        kept = kept & step.masks["spatial"][:: step.stride, :: step.stride].ravel()
    return int(kept.sum())


def legacy(step: Step) -> Cost:
    """What the published program's profiler counts for this step (spec section g)."""
    (p, q), k, batch, n = step.grid, step.k, step.batch, step.vectors
    ahead, back = step.cores("cores"), step.cores("cores", "feedback")
    forward = ahead.sum() * n, max(0, ahead.sum(axis=1).max() - 1) * n + -(-n // k)
    if step.kernel:
        sent = _kept_pixels(step) * batch
        weight = 2 * p * q * sent, 4 * sent
    else:
        taken = step.masks.get("vectors", np.ones((q, batch), bool)).sum(axis=1)
        weight = p * taken.sum(), batch * taken.max()
    if not step.sends_back:
        return _cost(forward, weight, (0, 0))
    channels, height, width = step.image
    returned = batch * height * width if step.kernel > 1 else n
    tallest = back.sum(axis=0).max()
    additions = returned * max(0, tallest - 1)
    if step.kernel > 1:
        additions = returned * -(-channels // p) * math.ceil(math.log2(2 * k)) * -(-tallest // 2)
    return _cost(forward, weight, (back.sum() * returned, additions))


@dataclass(frozen=True)
class Activations:
    """Bytes remembered between forward and backward pass: `dense`, and what sampling leaves to be `kept`."""

    dense: float
    kept: float


def activations(network: Network, batch: int, nominal: dict[str, float] | None = None) -> Activations:
    """What a step on `batch` samples has to remember.

    Inputs of convolutions, dense layers and batch normalisation as numbers of 32 bit, one bit for every value that an
    activation or dropout passes or stops, and log2(window) bits for every winner of a pooling. What spatial and feature
    sampling drop is as realised in the last step. With `nominal` shares dropped ("spatial" and "features") it is the
    published program's sum instead, in values, not bytes: it counts winners as values and forgets activations.
    """
    dense = kept = 0.0
    convs = list(network.convs)
    for item in _leaves(models.place(network.spec)):
        size, share = batch * float(math.prod(item.input)), 1.0
        match item.layer:
            case models.Conv():
                share = _spatial_share(network, item.name, convs, nominal)
            case models.Linear():
                share = _feature_share(network, item.name, nominal)
            case models.BatchNorm():
                pass
            case models.MaxPool(kernel=kernel):
                bits = 2 * math.log2(kernel)
                size = batch * math.prod(item.output) * (bits if nominal is not None else bits / 32)
            case models.ReLU() | models.ReLUN() | models.Dropout():
                size = 0.0 if nominal is not None else size / 32
            case _:
                continue
        dense += size
        kept += size * share
    unit = 1.0 if nominal is not None else FLOAT
    return Activations(unit * dense, unit * kept)


def _spatial_share(network: Network, name: str, convs: list[str], nominal: dict[str, float] | None) -> float:
    """The share of its input pixels that a convolution remembers."""
    if nominal is not None:
        return 1.0 - (nominal.get("spatial", 0.0) if name != convs[0] else 0.0)
    mask = network.convs[name].drawn.get("spatial")
    return 1.0 if mask is None else float(host(mask).mean())


def _feature_share(network: Network, name: str, nominal: dict[str, float] | None) -> float:
    """The share of its inputs that a dense layer remembers."""
    if nominal is not None:
        return 1.0 - nominal.get("features", 0.0)
    weight = network.weights[name]
    mask = weight.drawn.get("vectors") if isinstance(weight, PhotonicWeight) else None
    return 1.0 if mask is None else float(host(mask).mean())
