"""Epochs of L2ight's coordinate descent in PyTorch: every evaluation builds the whole mesh of all cores anew.

The public reference's form (Gu et al., NeurIPS 2021, sections 3.2 and 3.3): one evaluation quantises the commanded
phases, scales them by gamma, adds crosstalk and biases, multiplies the rotations of one mesh, multiplies it with sigma
and the other mesh, and takes the mean square from the target. A heater costs two of them. Evaluations cost the same
wherever they stand, so some are timed and the epoch is that many times as long.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from l2sim.mesh.mesh import Mesh, matrix

LSB = 2 * math.pi / 255
"""Eight bits."""
HEATERS = 4
"""That are timed."""


class Search:
    """Cores (B, k, k): which mesh a call of `probe` moves is `part`, "u" or "v"."""

    def __init__(self, stage: str, k: int, blocks: int) -> None:
        self.mesh, make = Mesh("rectangular", k), torch.Generator().manual_seed(0)
        count = self.mesh.count
        self.rails = [int(rail) for rail in self.mesh.top]
        self.around = torch.from_numpy(np.where(self.mesh.around >= 0, self.mesh.around, count))
        self.phases = {part: torch.zeros(blocks, count) for part in "uv"}
        self.gamma = {part: 1.0 + 0.002 * torch.randn(blocks, count, generator=make) for part in "uv"}
        self.bias = {part: 2 * math.pi * torch.rand(blocks, count, generator=make) for part in "uv"}
        self.sigma = torch.linspace(0.1, 1.0, k).expand(blocks, k)
        self.target = torch.eye(k).expand(blocks, k, k)
        if stage == "map":
            self.target = torch.randn(blocks, k, k, generator=make) / math.sqrt(k)
            self.sigma = torch.linalg.svdvals(self.target)
        self.gain = 1.0 / self.sigma if stage == "calibrate" else torch.ones_like(self.sigma)
        self.built = {part: self.rotated(self.effective(part)) for part in "uv"}
        self.loss = self.evaluate("u")

    def effective(self, part: str) -> Tensor:
        """What the light sees of the commanded phases (B, n)."""
        phases = torch.round(torch.remainder(self.phases[part], 2 * math.pi) / LSB) * LSB * self.gamma[part]
        driven = torch.cat([torch.remainder(phases, 2 * math.pi), torch.zeros(len(phases), 1)], dim=1)
        return driven[:, :-1] + 0.005 * driven[:, self.around].sum(-1) + self.bias[part]

    def rotated(self, phases: Tensor) -> Tensor:
        """Meshes (B, k, k) of effective phases (B, n), rotation after rotation."""
        c, s = torch.cos(phases)[:, :, None], torch.sin(phases)[:, :, None]
        u = torch.eye(self.mesh.modes).repeat(len(phases), 1, 1)
        for t, rail in enumerate(self.rails):
            x, y = u[:, rail], u[:, rail + 1]
            u[:, rail], u[:, rail + 1] = c[:, t] * x - s[:, t] * y, s[:, t] * x + c[:, t] * y
        return u

    def evaluate(self, part: str) -> Tensor:
        """Losses (B,) with one mesh built anew."""
        self.built[part] = self.rotated(self.effective(part))
        response = (self.built["u"] * self.sigma[:, None, :]) @ self.built["v"] * self.gain[:, None, :]
        return ((response - self.target) ** 2).mean(dim=(1, 2))

    def probe(self, part: str, heater: int) -> None:
        """ZCD on one heater of all cores: + lr where that lowers the loss, else - lr."""
        self.phases[part][:, heater] += 0.1
        loss = self.evaluate(part)
        self.phases[part][:, heater] -= torch.where(loss < self.loss, 0.0, 0.2)
        self.loss = self.evaluate(part)


def epoch(stage: str, k: int, blocks: int) -> tuple[dict[str, Callable[[], object]], dict[str, float]]:
    """A part of an epoch, and how many of these make one."""
    search = Search(stage, k, blocks)
    _agree(search)
    heaters = min(HEATERS, search.mesh.count)

    @torch.no_grad()
    def some() -> None:
        for heater in range(heaters):
            search.probe("uv"[heater % 2], heater)

    return {"L2ight": some}, {"L2ight": 2.0 * search.mesh.count / heaters}


def _agree(search: Search) -> None:
    """Raise AssertionError where meshes are not those that l2sim makes of the same phases."""
    phases = search.effective("u")
    ours = matrix(search.mesh, search.mesh.scatter(phases.numpy()))
    np.testing.assert_allclose(search.rotated(phases).numpy(), ours, atol=1e-5)
