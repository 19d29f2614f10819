"""The matrix inside a layer: one Protocol, so that an electronic array and a photonic chip are interchangeable.

Shapes: N columns, whatever they stand for (samples of a dense layer, pixels times samples of a convolution).
"""

from __future__ import annotations

from typing import Protocol, TypeGuard, runtime_checkable

import numpy as np

from l2sim.backend import Array, namespace
from l2sim.chip.fused import pieces
from l2sim.chip.fused.pieces import Pieces

__all__ = ["ElectronicWeight", "Weight"]


@runtime_checkable
class Weight(Protocol):
    """A trainable matrix M of shape (out, in), known only by what it does to columns."""

    @property
    def out_features(self) -> int:
        """Rows of M."""
        ...

    @property
    def in_features(self) -> int:
        """Columns of M."""
        ...

    def forward(self, x: Array, rng: np.random.Generator | None = None) -> Array:
        """M x: (in, N) -> (out, N). `rng` is given in training only, to those that sample what they compute."""
        ...

    def transpose(self, dy: Array, rng: np.random.Generator | None = None) -> Array:
        """The input gradient M^T dy, or an estimate of it that may draw from `rng`: (out, N) -> (in, N)."""
        ...

    def accumulate(
        self, dy: Array, x: Array, factor: float = 1.0, rng: np.random.Generator | None = None
    ) -> None:
        """Store the parameter gradient `factor` * dy x^T, summed over the columns, or an estimate of it that may draw
        from `rng`; it replaces the one before."""
        ...

    def parameters(self) -> dict[str, Array]:
        """Trainable arrays; the optimiser writes into them."""
        ...

    def gradients(self) -> dict[str, Array]:
        """The gradients stored last, under the names of `parameters`."""
        ...


class PiecewiseWeight(Weight, Protocol):
    """A `Weight` whose `forward` and `accumulate` also take columns `x` in pieces, while `in_pieces`."""

    @property
    def in_pieces(self) -> bool:
        """Whether it does so now."""
        ...

    def transpose_into(self, dy: Array, rng: np.random.Generator | None, into: Pieces) -> None:
        """`transpose`, whose result `into` takes up."""
        ...


def in_pieces(weight: Weight) -> TypeGuard[PiecewiseWeight]:
    """Whether columns may go to `weight`, and come from it, in pieces."""
    return getattr(weight, "in_pieces", False)


class ElectronicWeight:
    """A `Weight` that is a plain array `matrix` (out, in): pretraining, and the digital baseline."""

    def __init__(self, matrix: Array) -> None:
        self.matrix = matrix
        self.gradient = np.zeros_like(matrix)

    @property
    def out_features(self) -> int:
        """Rows of `matrix`."""
        return len(self.matrix)

    @property
    def in_features(self) -> int:
        """Columns of `matrix`."""
        return int(self.matrix.shape[1])

    @property
    def in_pieces(self) -> bool:
        """On the CPU, columns may come in pieces."""
        return namespace(self.matrix) is np

    def forward(self, x: Array | Pieces, rng: np.random.Generator | None = None) -> Array:
        """M x, exactly: (in, N) -> (out, N). `rng` is not used."""
        return pieces.times(self.matrix, x)

    def transpose(self, dy: Array, rng: np.random.Generator | None = None) -> Array:
        """M^T dy, exactly: (out, N) -> (in, N). `rng` is not used."""
        return pieces.back(self.matrix, dy)

    def transpose_into(self, dy: Array, rng: np.random.Generator | None, into: Pieces) -> None:
        """`transpose`, whose result `into` takes up."""
        for at, room in into.adding():
            pieces.back(self.matrix, dy[:, at], room)

    def accumulate(
        self, dy: Array, x: Array | Pieces, factor: float = 1.0, rng: np.random.Generator | None = None
    ) -> None:
        """Store `factor` * dy x^T (out, in) in `gradient`, from dy (out, N) and x (in, N). `rng` is not used."""
        pieces.outer(dy, x, self.gradient)
        if factor != 1.0:
            self.gradient *= factor

    def parameters(self) -> dict[str, Array]:
        """`matrix` (out, in), live, as "weight"."""
        return {"weight": self.matrix}

    def gradients(self) -> dict[str, Array]:
        """The gradient (out, in) stored last, as "weight"; zeros before the first."""
        return {"weight": self.gradient}
