"""Measured gradients of sigma beside the true ones, mini-batch by mini-batch, while a network learns on its chips.

An observer's network has the true matrices of the chips in its layers. It is shown every mini-batch before the step
that learns from it, with a copy of that step's random stream, and touches neither chips nor network: training goes on
as if nobody looked.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np

from l2sim.backend import Array, Scalar, host, like
from l2sim.chip.core_chip import CoreChip
from l2sim.flow import oracle
from l2sim.flow.l2ight.session import L2ight
from l2sim.learn.train import Step
from l2sim.nn import network
from l2sim.nn.photonic import PhotonicWeight


class TrueWeight:
    """A `Weight` that is what the chip behind `photonic` truly is at the moment; sigma is its parameter."""

    def __init__(self, photonic: PhotonicWeight, chip: CoreChip) -> None:
        self._photonic, self._chip = photonic, chip
        self.gradient = np.zeros_like(photonic.sigma)

    @property
    def out_features(self) -> int:
        """Rows of W that are used."""
        return self._photonic.out_features

    @property
    def in_features(self) -> int:
        """Columns of W that are used."""
        return self._photonic.in_features

    def forward(self, x: Array, rng: np.random.Generator | None = None) -> Array:
        """W x: (in, N) -> (out, N)."""
        self._matrix = like(x, _whole(self._chip.oracle_weights().real)[: self.out_features, : self.in_features])
        y: Array = self._matrix @ x
        return y

    def transpose(self, dy: Array, rng: np.random.Generator | None = None) -> Array:
        """W^T dy: (out, N) -> (in, N)."""
        dx: Array = self._matrix.T @ dy
        return dx

    def accumulate(
        self, dy: Array, x: Array, factor: float = 1.0, rng: np.random.Generator | None = None
    ) -> None:
        """Store dL/dsigma (p, q, k) = Re diag(U^T dW V^T) of every core, dW = dy x^T."""
        (p, q), k = self._chip.shape, self._chip.mesh.modes
        outer = np.zeros((p * k, q * k), self.gradient.dtype)
        outer[: self.out_features, : self.in_features] = host(dy @ x.T)
        blocks = outer.reshape(p, k, q, k).swapaxes(1, 2)
        u, v = (host(self._chip.oracle_matrix(part)) for part in ("u", "v"))
        self.gradient[...] = like(self.gradient, factor * np.einsum("pqai,pqab,pqib->pqi", u, blocks, v).real)

    def parameters(self) -> dict[str, Array]:
        """The sigma of the layer that is watched, live."""
        return self._photonic.parameters()

    def gradients(self) -> dict[str, Array]:
        """dL/dsigma stored last."""
        return {"sigma": self.gradient}


def _whole(blocks: Array) -> Array:
    """Blocks (p, q, k, k) as one matrix (p k, q k)."""
    p, q, k, _ = blocks.shape
    return blocks.swapaxes(1, 2).reshape(p * k, q * k)


class Comparison:
    """Watches the steps of the stage that learns, of `session`: `around` a step the true gradient is taken before, and
    the measured one compared with it after; `observe` gives the means over the mini-batches of an epoch."""

    def __init__(self, session: L2ight) -> None:
        self._session = session
        self._rows: list[dict[str, float]] = []

        def make(name: str, out_features: int, in_features: int, k: int) -> TrueWeight:
            weight = session.network.weights[name]
            assert isinstance(weight, PhotonicWeight)
            return TrueWeight(weight, session.chips[name])

        electronic = session.electronic
        self._true = network.build(electronic.spec, make, electronic.dtype, device=electronic.device)

    def around(self, step: Step) -> Step:
        """`step`, watched."""

        def watched(images: Array, labels: Array, rng: np.random.Generator, lr: float) -> dict[str, Scalar]:
            true = self._gradients(images, labels, deepcopy(rng))
            scalars = step(images, labels, rng, lr)
            weights = self._session.network.weights.items()
            self._rows.append(oracle.comparison({name: (true[name], w.gradients()["sigma"]) for name, w in weights}))
            return scalars

        return watched

    def _gradients(self, images: Array, labels: Array, rng: np.random.Generator) -> dict[str, Array]:
        """The true dL/dsigma of a mini-batch, by layer."""
        ours = self._session.network
        now = ours.parameters() | ours.buffers()
        for name, array in (self._true.parameters() | self._true.buffers()).items():
            if array is not now[name]:
                array[...] = now[name]
        logits = self._true.forward(images, train=True, rng=rng)
        self._true.backward(self._session.objective(logits, labels)[1])
        return {name: host(weight.gradients()["sigma"]) for name, weight in self._true.weights.items()}

    def observe(self) -> dict[str, float]:
        """Means over the mini-batches since the last call."""
        rows, self._rows = self._rows, []
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}
