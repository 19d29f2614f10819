"""A layer's matrix on a chip: only sigma is trained, the meshes stay as they were mapped (L2ight, NeurIPS 2021)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from l2sim.backend import Array, like, namespace
from l2sim.chip import grid
from l2sim.chip.protocol import Commands, Hardware

__all__ = ["Feedback", "PhotonicWeight"]

Feedback = Callable[[Array, np.random.Generator], tuple[Array, Any]]
"""feedback(sigma (p, q, k), rng) -> mask (p, q) of the cores that carry the error back, and the result's factor."""


class PhotonicWeight:
    """A `Weight` of shape (out, in) on `hardware`, whose grid may be larger: what is left over stays dark.

    `mapped`: the commands that realise the mapped meshes; `rest`: those of the calibrated pseudo-identities, through
    which the gradient is measured, by `readout`; `sigma` (p, q, k): the trained parameter, which `write` sends to the
    chip.
    """

    def __init__(
        self,
        hardware: Hardware,
        out_features: int,
        in_features: int,
        mapped: Commands,
        rest: Commands,
        sigma: Array,
        readout: str = "quadrature",
    ) -> None:
        self.hardware, self.mapped, self.rest, self.sigma, self.readout = hardware, mapped, rest, sigma, readout
        self.gradient = np.zeros_like(sigma)
        self.feedback: Feedback | None = None
        self._shape = out_features, in_features

    @property
    def out_features(self) -> int:
        return self._shape[0]

    @property
    def in_features(self) -> int:
        return self._shape[1]

    def write(self) -> None:
        """Command the attenuators to the present sigma."""
        self.hardware.set_sigma(self.sigma)

    def forward(self, x: Array) -> Array:
        return grid.product(self.hardware, x)[: self.out_features]

    def transpose(self, dy: Array, rng: np.random.Generator | None = None) -> Array:
        if self.feedback is None or rng is None:
            return grid.product_back(self.hardware, dy)[: self.in_features]
        cores, factor = self.feedback(self.sigma, rng)
        if namespace(factor) is not np:
            dy = dy * like(dy, factor).astype(dy.dtype)
        elif factor != 1.0:
            dy = dy * dy.dtype.type(factor)  # fewer rows than the result
        return grid.product_back(self.hardware, dy, cores)[: self.in_features]

    def accumulate(self, dy: Array, x: Array, factor: float = 1.0) -> None:
        self.gradient[...] = factor * grid.sigma_gradient(
            self.hardware, x, dy, self.mapped, self.rest, self.sigma, self.readout
        )

    def parameters(self) -> dict[str, Array]:
        return {"sigma": self.sigma}

    def gradients(self) -> dict[str, Array]:
        return {"sigma": self.gradient}
