"""Whole subspace-learning steps: dense, sampled, their matrix products alone, and `direct`: probe by probe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from benchmarks import chips
from benchmarks.measure import GFLOPS, MATMUL, Bench, Measurement, median
from l2sim.backend import Array
from l2sim.chip.fused import blocks
from l2sim.learn import sampling, train
from l2sim.nn import models, optim
from l2sim.nn.losses import cross_entropy
from l2sim.nn.network import Network

BATCH = 32
SPARSITY = 0.6
DIRECT = 50_000
"""Blocks up to which a step is also taken probe by probe: the fields behind single cores fill gigabytes."""


class Products:
    """The matrix products of one step, on arrays of their own: forward, weight gradient, input gradient.

    Of the rows and columns that a layer has, not of all that its grid of cores has: as the step takes them.
    """

    def __init__(self, net: Network, batch: int, rng: np.random.Generator) -> None:
        self.jobs: list[tuple[Array, Array, Array, Array, Array, Array, Array, int]] = []
        for item in _leaves(models.place(net.spec)):
            if not isinstance(item.layer, models.Conv | models.Linear):
                continue
            k, image = item.layer.k, isinstance(item.layer, models.Conv)
            columns = batch * (item.output[1] * item.output[2] if image else 1)
            rows, across = models.matrix_shape(item)
            p, q = -(-rows // k), -(-across // k)
            shapes = (p * k, q * k), (across, columns), (rows, columns), (rows, across)
            grid, x, y, m = (net.device.put(rng.standard_normal(shape).astype(net.dtype)) for shape in shapes)
            mask = rng.random((p, q)) >= SPARSITY
            outs = np.empty_like(y), np.empty_like(m), np.empty_like(x)
            self.jobs.append((grid, x, y, *outs, mask, k if image else -k))

    def flops(self, forward: bool = True) -> float:
        """Of the dense step (or of its backward products)."""
        sizes = [2.0 * len(y) * x.size for _, x, y, *_ in self.jobs]
        return sum(sizes) * (3 if forward else 2) - sizes[0]

    def forward(self) -> None:
        for grid, x, _, y, *_ in self.jobs:
            np.matmul(grid[: len(y), : len(x)], x, out=y)

    def backward(self) -> None:
        for i, (grid, x, dy, _, dm, dx, _, _) in enumerate(self.jobs):
            np.matmul(dy, x.T, out=dm)
            if i:
                np.matmul(grid[: len(dy), : len(x)].T, dy, out=dx)

    def sampled(self) -> None:
        """Backward with blocks and columns left out (columns of convolutions, not of the first layer)."""
        for i, (grid, x, dy, _, dm, _, mask, k) in enumerate(self.jobs):
            kept = round((1.0 - SPARSITY) * x.shape[1]) if i and k > 0 else x.shape[1]
            np.matmul(dy[:, :kept], x[:, :kept].T, out=dm)
            if i:
                blocks.product_back(grid, mask, dy, abs(k))

    def dense(self) -> None:
        self.forward()
        self.backward()


def _leaves(items: tuple[models.Placed, ...]) -> Iterator[models.Placed]:
    for item in items:
        if item.body or item.shortcut:
            yield from _leaves(item.body)
            yield from _leaves(item.shortcut)
        else:
            yield item


def stepper(net: Network, batch: int) -> Callable[[bool], None]:
    """step(sampled): forward, loss, backward, AdamW, write sigma."""
    rng = np.random.default_rng(0)
    images = rng.random((batch, *net.spec.input)).astype(net.dtype)
    labels = net.device.put(np.arange(batch) % net.spec.classes)
    optimiser = optim.start("adamw", net.parameters())
    feedback, columns = sampling.feedback("btopk", SPARSITY, "exp"), sampling.columns(SPARSITY, "none")

    def step(sampled: bool) -> None:
        for weight in net.weights.values():
            weight.feedback = feedback if sampled else None  # type: ignore[attr-defined]
        for i, conv in enumerate(net.convs.values()):
            conv.columns = columns if sampled and i else None
        logits = net.forward(images, train=True, rng=np.random.default_rng(optimiser.steps))
        _, dlogits = cross_entropy(logits, labels)
        net.backward(dlogits)
        optim.step(optimiser, net.parameters(), net.gradients(), lr=1e-4, weight_decay=0.01)
        train.write(net)

    return step


def _step(model: str, bench: Bench) -> Iterator[Measurement]:
    batch, rng = (2 if bench.quick else BATCH), np.random.default_rng(1)
    net = chips.photonic(model, rng)
    if bench.device.numbers:
        step, products = stepper(net, batch), Products(net, batch, rng)
        ways = {"dense": partial(step, False), "sampled": partial(step, True), "products": products.dense}
        for variant, seconds in bench.paired(ways).items():
            sizes = {"model": model, "batch": batch, "blocks": _blocks(net)}
            yield Measurement(f"step-{model}", variant, min(seconds), products.flops(), GFLOPS, MATMUL, sizes=sizes)
        return
    if _blocks(net) <= DIRECT:
        plain = stepper(chips.photonic(model, np.random.default_rng(1), kind=chips.Plain), batch)
        seconds = bench.paired({"direct": partial(plain, False)}, 1)["direct"]
        work = Products(net, batch, rng).flops()
        sizes = {"model": model, "batch": batch, "blocks": _blocks(net)}
        yield Measurement(f"step-{model}", "direct", min(seconds), work, GFLOPS, MATMUL, sizes=sizes)
        del plain
    step, products = stepper(net, batch), Products(net, batch, rng)
    parts: dict[str, Callable[[], object]] = {
        "dense": partial(step, False), "sampled": partial(step, True), "products": products.dense,
        "backward": products.backward, "backward sampled": products.sampled,
    }  # fmt: skip
    repeats = 2 if bench.quick else 5 if model == "resnet18" else 11
    seconds = bench.paired(parts, repeats)
    whole, back = products.flops(), products.flops(forward=False)
    work = {"dense": whole, "sampled": whole, "products": whole, "backward": back, "backward sampled": back}
    # Medians of ratios within a round: other work on the machine hits both halves of a pair.
    spare = median([1.0 - SPARSITY * b / d for b, d in zip(seconds["backward"], seconds["dense"])])
    against = {"dense": "products", "sampled": "dense", "backward sampled": "backward"}
    for variant, runs in seconds.items():
        other = against.get(variant)
        share = median([a / b for a, b in zip(seconds[other], runs)]) if other else 0.0
        limit = other or MATMUL
        sizes = {"model": model, "batch": batch, "blocks": _blocks(net)}
        if variant == "sampled":
            sizes["amdahl"] = round(1.0 / spare, 3)
        best = min(runs)
        yield Measurement(f"step-{model}", variant, best, work[variant], GFLOPS, limit, bound=share * best, sizes=sizes)


def _blocks(net: Network) -> int:
    return sum(weight.hardware.shape[0] * weight.hardware.shape[1] for weight in net.weights.values())  # type: ignore[attr-defined]


CASES = tuple((f"step-{model}", partial(_step, model)) for model in ("cnn-s", "cnn-l", "vgg8", "resnet18"))
