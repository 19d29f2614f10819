"""A layer's matrix on a chip: only sigma is trained, the meshes stay as they were mapped (L2ight, NeurIPS 2021)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from l2sim.backend import Array, Scalar, like, namespace
from l2sim.chip import grid
from l2sim.chip.fused.pieces import Pieces
from l2sim.chip.protocol import Commands, Hardware, check

__all__ = ["Cores", "PhotonicWeight", "Rank", "Vectors"]

Cores = Callable[[Array, np.random.Generator], tuple[Array, Scalar]]
"""cores(sigma (p, q, k), rng) -> mask (p, q) of the cores that take part, and the factor of the result."""
Vectors = Callable[[tuple[int, int], np.random.Generator], tuple[Array, Scalar]]
"""vectors((q, N), rng) -> mask (q, N) of the vectors that enter sigma's gradient, by block column, and the factor."""
Rank = Callable[[Array, Array, np.random.Generator], Array]
"""rank(sigma, its gradient, rng), all (p, q, k) -> the gradient that is followed."""


class PhotonicWeight:
    """A `Weight` of shape (out, in) on `hardware`, whose grid may be larger: what is left over stays dark.

    `mapped`: the commands that realise the mapped meshes; `rest`: those of the calibrated pseudo-identities, through
    which the gradient is measured; `sigma` (p, q, k): the trained parameter, which `write` sends to the chip. All is
    read by `readout`; fields are in the gradient only, and quadratures elsewhere.

    Four places for samplers (`l2sim.learn.sampling`, or your own), used only where a random generator is given:
    `feedback` chooses the cores that carry the error back, `cores` those that carry light both ways, `vectors` what
    enters sigma's gradient and `rank` what of that gradient is followed. `drawn` has the masks of the last step.

    `model`: a second weight whose gradients are taken in place of this one's: a digital model of this chip.
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
        check(hardware)
        self.hardware, self.mapped, self.rest, self.sigma, self.readout = hardware, mapped, rest, sigma, readout
        self.gradient = np.zeros_like(sigma)
        self.feedback: Cores | None = None
        self.cores: Cores | None = None
        self.vectors: Vectors | None = None
        self.rank: Rank | None = None
        self.model: PhotonicWeight | None = None
        self.drawn: dict[str, Array] = {}
        self._shape, self._signed = (out_features, in_features), "quadrature" if readout == "field" else readout
        self._both_ways: tuple[Array, Scalar] | None = None

    @property
    def out_features(self) -> int:
        """Rows of W that are used, at most p k."""
        return self._shape[0]

    @property
    def in_features(self) -> int:
        """Columns of W that are used, at most q k."""
        return self._shape[1]

    def write(self) -> None:
        """Command the attenuators to the present sigma."""
        self.hardware.set_sigma(self.sigma)
        if self.model is not None:
            self.model.sigma[...] = self.sigma
            self.model.write()

    @property
    def in_pieces(self) -> bool:
        """Whether columns may come in pieces: where the chip can, and no model answers instead."""
        return self.model is None and grid.in_pieces(self.hardware) and self._signed == "quadrature"

    def forward(self, x: Array | Pieces, rng: np.random.Generator | None = None) -> Array:
        """W x by light sent forward and read: (in, N) -> (out, N).

        With `rng`, through the cores only that the sampler `cores` draws, times its factor; so in `transpose`.
        """
        self._both_ways, self.drawn = None, {}
        if self.cores is None or rng is None:
            return grid.product(self.hardware, x, rows=self.out_features, readout=self._signed)
        cores, factor = self._both_ways = self.cores(self.sigma, rng)
        self.drawn["cores"] = cores
        return _scaled(grid.product(self.hardware, x, cores, self.out_features, self._signed), factor)

    def transpose(self, dy: Array, rng: np.random.Generator | None = None) -> Array:
        """W^T dy by light sent backward and read: (out, N) -> (in, N). Where there is a `model`, it answers instead.

        Only the cores that `forward` drew take part; or, with `rng`, those that the sampler `feedback` draws.
        """
        if self.model is not None:
            return self.model.transpose(dy, rng)
        sent, cores = self._sent_back(dy, rng)
        return grid.product_back(self.hardware, sent, cores, self._signed)[: self.in_features]

    def transpose_into(self, dy: Array, rng: np.random.Generator | None, into: Pieces) -> None:
        """`transpose`, whose result `into` takes up."""
        assert grid.in_pieces(self.hardware)
        sent, cores = self._sent_back(dy, rng)
        grid.product_back_into(self.hardware, sent, cores, into)

    def _sent_back(self, dy: Array, rng: np.random.Generator | None) -> tuple[Array, Array | None]:
        """What is sent back for dy (out, N), and the cores that it is sent through; None: all."""
        if self._both_ways is not None:
            cores, factor = self._both_ways
        elif self.feedback is None or rng is None:
            return dy, None
        else:
            cores, factor = self.feedback(self.sigma, rng)
            self.drawn["feedback"] = cores
        # The error has fewer rows than the result.
        return _scaled(dy, factor), cores

    def accumulate(
        self, dy: Array, x: Array | Pieces, factor: float = 1.0, rng: np.random.Generator | None = None
    ) -> None:
        """Measure dL/dsigma (p, q, k) from dy (out, N) and x (in, N); store it in `gradient`, times `factor`.

        With `rng` the sampler `vectors` draws what is sent and `rank` what is followed. A `model` answers instead.
        """
        if self.model is not None:
            self.model.accumulate(dy, x, factor, rng)
            self.gradient[...] = self.model.gradient
            return
        vectors: Array | None = None
        scale: Scalar = factor
        if self.vectors is not None and rng is not None:
            mask, more = self.vectors((self.hardware.shape[1], x.shape[1]), rng)
            vectors, scale = like(dy, mask), factor * more
            self.drawn["vectors"] = vectors
        measured = grid.sigma_gradient(
            self.hardware, x, dy, self.mapped, self.rest, self.sigma, self.readout, vectors
        )
        self.gradient[...] = measured if isinstance(scale, float) and scale == 1.0 else scale * measured
        if self.rank is not None and rng is not None:
            self.gradient[...] = self.rank(self.sigma, self.gradient, rng)

    def parameters(self) -> dict[str, Array]:
        """The trained sigma (p, q, k), live; `write` sends it to the chip."""
        return {"sigma": self.sigma}

    def gradients(self) -> dict[str, Array]:
        """dL/dsigma (p, q, k) as `accumulate` stored it last; zeros before the first."""
        return {"sigma": self.gradient}


def _scaled(x: Array, factor: Scalar) -> Array:
    """`x` times a factor, in the precision of `x`; one that a GPU has yet to tell stays there."""
    if isinstance(factor, float) or namespace(factor) is np:
        return x if factor == 1.0 else x * x.dtype.type(factor)
    scaled: Array = x * factor.astype(x.dtype)
    return scaled
