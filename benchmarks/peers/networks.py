"""Networks in PyTorch: electronic convolutions, and the published form of L2ight's (Gu et al., NeurIPS 2021).

L2ight's weights are blocks W = U diag(S) V*, multiplied out in every forward pass; light goes through W as columns of
patches (`unfold`), and S is learnt through autograd. Feedback sampling keeps blocks of W^T where the error goes back,
column sampling keeps some columns of the patches where dL/dW is summed; blocks that are left out are multiplied by 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.steps import SPARSITY
from l2sim.backend import Array
from l2sim.nn import models
from l2sim.nn.network import Network

Way = Callable[[], object]


class Sampled(torch.autograd.Function):
    """y = W x (columns of x): backward with masked blocks of W^T, and columns left out of dL/dW."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: Tensor, mask: Tensor, columns: Tensor) -> Tensor:
        ctx.save_for_backward(weight, x, mask, columns)
        return weight @ x

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        weight, x, mask, columns = ctx.saved_tensors
        (dy,) = cotangents
        dx = (weight * mask).T @ dy if ctx.needs_input_grad[1] else None
        return dy[:, columns] @ x[:, columns].T, dx, None, None


class Blocks(nn.Module):
    """A weight as a grid of blocks; `kernel` 0: dense. Columns of patches go through it."""

    def __init__(self, u: Array, s: Array, v: Array, item: models.Placed, sampled: bool) -> None:
        super().__init__()
        self.u, self.v = torch.from_numpy(u.copy()), torch.from_numpy(v.copy())
        self.s = nn.Parameter(torch.from_numpy(s.copy()))
        self.item, self.sampled = item, sampled

    def weight(self) -> Tensor:
        """(P, Q), padding included."""
        p, q, k = self.s.shape
        whole: Tensor = ((self.u * self.s[:, :, None, :]) @ self.v).permute(0, 2, 1, 3).reshape(p * k, q * k)
        return whole

    def forward(self, x: Tensor) -> Tensor:
        layer, batch, size = self.item.layer, len(x), self.item.output
        rows, across = models.matrix_shape(self.item)
        if isinstance(layer, models.Conv):
            x = functional.unfold(x, layer.kernel, padding=layer.padding, stride=layer.stride)
            x = x.transpose(0, 1).reshape(x.shape[1], -1)
        else:
            x = x.T
        weight = self.weight()[:rows, :across]
        if self.sampled and self.training:
            p, q, k = self.s.shape
            kept = (torch.rand(p, q) >= SPARSITY).float().repeat_interleave(k, 0).repeat_interleave(k, 1)
            count = max(1, round((1.0 - SPARSITY) * x.shape[1])) if isinstance(layer, models.Conv) else x.shape[1]
            columns = torch.randperm(x.shape[1])[:count]
            y = Sampled.apply(weight, x, kept[:rows, :across], columns)
        else:
            y = weight @ x
        if isinstance(layer, models.Conv):
            image: Tensor = y.reshape(rows, batch, size[1], size[2]).transpose(0, 1)
            return image
        return y.T


def network(net: Network, kind: str) -> nn.Sequential:
    """`net` in PyTorch, with the weights that its chips have: `kind` "conv", "l2ight" or "l2ight sampled"."""
    weights, made = list(net.weights.values()), list[nn.Module]()
    for item in models.place(net.spec):
        layer, before = item.layer, item.input
        if isinstance(layer, models.Conv | models.Linear):
            made.append(_weight(weights[sum(hasattr(m, "of_chip") for m in made)], item, kind))
            made[-1].of_chip = True  # type: ignore[assignment]
        elif isinstance(layer, models.BatchNorm):
            made.append(nn.BatchNorm2d(before[0]) if len(before) == 3 else nn.BatchNorm1d(before[0]))
        else:
            made.append(_plain(layer))
    return nn.Sequential(*made)


def _plain(layer: object) -> nn.Module:
    match layer:
        case models.ReLUN():
            return nn.Hardtanh(0.0, layer.limit)
        case models.MaxPool():
            return nn.MaxPool2d(layer.kernel, layer.stride, layer.padding)
        case models.AdaptiveAveragePool():
            return nn.AdaptiveAvgPool2d(layer.out)
        case models.Dropout():
            return nn.Dropout(layer.p)
        case models.Flatten():
            return nn.Flatten()
    raise NotImplementedError(f"{layer!r} has no counterpart here")


def _weight(weight: Any, item: models.Placed, kind: str) -> nn.Module:
    chip, layer = weight.hardware, item.layer
    u, v, s = chip.oracle_matrix("u"), chip.oracle_matrix("v"), chip.oracle_sigma()
    if kind != "conv":
        return Blocks(u, s, v, item, sampled=kind == "l2ight sampled")
    rows, across = models.matrix_shape(item)
    p, q, k = s.shape
    matrix = np.einsum("pqik,pqk,pqkj->piqj", u, s, v).reshape(p * k, q * k)[:rows, :across]
    values = torch.from_numpy(np.ascontiguousarray(matrix, np.float32))
    if isinstance(layer, models.Linear):
        dense = nn.Linear(across, rows, bias=False)
        dense.weight = nn.Parameter(values)
        return dense
    conv = nn.Conv2d(item.input[0], rows, layer.kernel, layer.stride, layer.padding, bias=False)
    conv.weight = nn.Parameter(values.reshape(conv.weight.shape))
    return conv


def _agree(net: Network, there: nn.Module, images: Array) -> None:
    """Raise AssertionError where the logits of a network in PyTorch are not ours."""
    with torch.no_grad():
        theirs = there.eval()(torch.from_numpy(images)).numpy().T
    ours = net.forward(images)
    np.testing.assert_allclose(theirs, ours, atol=2e-4 * np.abs(ours).max())


def _stepper(there: nn.Module, images: Tensor, classes: int) -> Way:
    there.train()
    labels = torch.arange(len(images)) % classes
    optimiser = torch.optim.AdamW(there.parameters(), lr=1e-4, weight_decay=0.01)

    def step() -> None:
        optimiser.zero_grad()
        functional.cross_entropy(there(images), labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def steps(net: Network, batch: int) -> dict[str, Way]:
    """Training steps of the same network: L2ight's, dense and sampled, and electronic convolutions in both layouts."""
    images = np.random.default_rng(0).random((batch, *net.spec.input)).astype(np.float32)
    ways: dict[str, Way] = {}
    for name, kind in (("L2ight", "l2ight"), ("L2ight, sampled", "l2ight sampled"), ("torch", "conv")):
        there = network(net, kind)
        _agree(net, there, images)
        ways[name] = _stepper(there, torch.from_numpy(images), net.spec.classes)
    last = network(net, "conv").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    light = torch.from_numpy(images).to(memory_format=torch.channels_last)
    return ways | {"torch, channels last": _stepper(last, light, net.spec.classes)}


def inference(net: Network, images: Array) -> dict[str, Way]:
    """Logits of electronic convolutions in both layouts."""
    there = network(net, "conv")
    _agree(net, there, images)
    last = network(net, "conv").eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    light = torch.from_numpy(images)

    @torch.no_grad()
    def run(module: nn.Module, x: Tensor) -> None:
        module(x)

    return {
        "torch": partial(run, there, light),
        "torch, channels last": partial(run, last, light.to(memory_format=torch.channels_last)),
    }
