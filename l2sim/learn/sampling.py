"""Multi-level sampling of subspace learning (L2ight, NeurIPS 2021, section 3.4; spec section f).

feedback  which cores carry the error back       columns  which pixels enter the gradient of a convolution
data      which mini-batches are learnt from at all

A kept fraction is always the one realised by the mask at hand. Normalisation: none 1; exp 1 / f; var 1 / sqrt(f).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from l2sim.backend import Array
from l2sim.nn.photonic import Feedback

TINY = 1e-12


def factor(norm: str, kept: float) -> float:
    """The factor that makes up for keeping the fraction `kept`."""
    return {"none": 1.0, "exp": 1.0 / (kept + TINY), "var": 1.0 / np.sqrt(kept + TINY)}[norm]


def feedback(rule: str, sparsity: float, norm: str) -> Feedback:
    """Sampler of cores by the norm of their weight, ||W_ij||_F = ||sigma_ij||.

    `btopk` keeps in every block column those at or above its `sparsity` quantile (balanced over block rows), `gtopk`
    those above the quantile of all, `uniform` each with probability 1 - sparsity.
    """

    def sample(sigma: Array, rng: np.random.Generator) -> tuple[Array, float]:
        if rule == "uniform":
            mask = rng.random(sigma.shape[:2]) >= sparsity
        else:
            size = np.sqrt((sigma**2).sum(axis=-1))
            mask = size >= np.quantile(size, sparsity, axis=0 if rule == "btopk" else None)
        return mask, factor(norm, float(mask.mean()))

    return sample


def columns(sparsity: float, norm: str) -> Callable[[int, np.random.Generator], tuple[Array, float]]:
    """Sampler of the output pixels of a convolution, shared over the mini-batch: each kept with 1 - sparsity."""

    def sample(count: int, rng: np.random.Generator) -> tuple[Array, float]:
        mask = rng.random(count) >= sparsity
        return mask, factor(norm, float(mask.mean()))

    return sample
