"""Multi-level sampling of subspace learning (L2ight, NeurIPS 2021, section 3.4; spec section f).

feedback  which cores carry the error back       columns  which pixels enter the gradient of a convolution
data      which mini-batches are learnt from at all

A kept fraction is always the one realised by the mask at hand. Normalisation: none 1; exp 1 / f; var 1 / sqrt(f).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from l2sim.backend import Array, like, namespace, number
from l2sim.nn.photonic import Feedback

TINY = 1e-12


def factor(norm: str, kept: Any) -> Any:
    """The factor that makes up for keeping the fraction `kept`."""
    return {"none": 1.0, "exp": 1.0 / (kept + TINY), "var": 1.0 / np.sqrt(kept + TINY)}[norm]


def feedback(rule: str, sparsity: float, norm: str) -> Feedback:
    """Sampler of cores by the norm of their weight, ||W_ij||_F = ||sigma_ij||.

    `btopk` keeps in every block column those at or above its `sparsity` quantile (balanced over block rows), `gtopk`
    those above the quantile of all, `uniform` each with probability 1 - sparsity.
    """

    def sample(sigma: Array, rng: np.random.Generator) -> tuple[Array, Any]:
        if rule == "uniform":
            mask = like(sigma, rng.random(sigma.shape[:2]) >= sparsity)
        else:
            size = np.sqrt(namespace(sigma).einsum("pqk,pqk->pq", sigma, sigma))
            mask = size >= quantile(size if rule == "btopk" else size.reshape(-1), sparsity)
        return mask, factor(norm, number(mask.mean()))

    return sample


def quantile(a: Array, share: float) -> Array:
    """np.quantile along the first axis. CuPy's would wait for the GPU."""
    if namespace(a) is np:
        return np.quantile(a, share, axis=0)
    rank = share * (len(a) - 1)
    low, part = int(rank), rank - int(rank)
    rising = np.sort(a, axis=0)
    below, above = rising[low], rising[min(low + 1, len(a) - 1)]
    return below + (above - below) * part if part < 0.5 else above - (above - below) * (1.0 - part)


def columns(sparsity: float, norm: str) -> Callable[[int, np.random.Generator], tuple[Array, float]]:
    """Sampler of the output pixels of a convolution, shared over the mini-batch: each kept with 1 - sparsity."""

    def sample(count: int, rng: np.random.Generator) -> tuple[Array, float]:
        mask = rng.random(count) >= sparsity
        return mask, factor(norm, float(mask.mean()))

    return sample
