"""Multi-level sampling of subspace learning (L2ight, NeurIPS 2021, section 3.4; spec section f) and its rivals.

    blocks     cores that carry the error back ("feedback"), or light both ways (SWAT-U, Raihan & Aamodt, NeurIPS 2020)
    columns    which output pixels enter the gradient of a convolution
    spatial    which input pixels do (RAD, Oktay et al., ICLR 2021)
    features   which blocks of the inputs of a dense layer do, sample by sample
    rank       which sigma of every core are learnt in a step
    importance which images of a mini-batch are learnt from: those that a teacher is least sure of
    (smd       which mini-batches are, at random: `train.epoch(skip=...)`; E2-Train, Wang et al., NeurIPS 2019)

Each function makes one sampler, a plain function of what it chooses from and of a random generator; any other with the
same signature may stand in its place (`nn.photonic.Cores`, `Vectors`, `Rank`; `nn.conv.Conv2d`; `train.Samples`).

A kept fraction f is always the one realised by the mask at hand. Normalisation: none 1; exp 1 / f; var 1 / sqrt(f).
With exp a random mask is unbiased, but for the rare one that keeps nothing: the expectation is 1 - P(nothing kept)
times the whole. Choices by size (btopk, gtopk, topk) and signs are biased whatever the factor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import overload

import numpy as np

from l2sim.backend import Array, Scalar, host, like, namespace, number
from l2sim.errors import ModelError
from l2sim.learn.train import Samples
from l2sim.nn.network import Network
from l2sim.nn.photonic import Cores, Rank

__all__ = ["blocks", "checked", "columns", "factor", "features", "feedback", "importance", "rank", "spatial"]

TINY = 1e-12
"""Keeps divisions and logarithms finite where nothing is kept or a class has no share."""


@overload
def factor(norm: str, kept: float) -> float:
    """The factor for a fraction that is known, a float."""


@overload
def factor(norm: str, kept: Scalar) -> Scalar:
    """The factor for a fraction that a GPU may have yet to compute, an array without axes there."""


def factor(norm: str, kept: Scalar) -> Scalar:
    """The factor that makes up for keeping the fraction `kept`, by the normalisation "none", "exp" or "var"."""
    factors: dict[str, Scalar] = {"none": 1.0, "exp": 1.0 / (kept + TINY), "var": 1.0 / np.sqrt(kept + TINY)}
    return factors[norm]


def checked(sparsity: float) -> float:
    """`sparsity` if it lies in [0, 1), else ModelError."""
    if not 0.0 <= sparsity < 1.0:
        raise ModelError(f"sparsity {sparsity:g} leaves nothing or more than everything; use 0 up to, not including, 1")
    return sparsity


def blocks(rule: str, sparsity: float, norm: str, along: int = 0) -> Cores:
    """Sampler of cores by the norm of their weight, ||W_ij||_F = ||sigma_ij||.

    `btopk` keeps in every block column (`along` 0; block row: 1) those at or above its `sparsity` quantile: balanced.
    `gtopk` keeps those above the quantile of all, `uniform` each with probability 1 - sparsity. Raises ModelError.
    """
    checked(sparsity)
    if rule not in ("btopk", "gtopk", "uniform"):
        raise ModelError(f"sampling rule {rule!r} is unknown; use btopk, gtopk or uniform")

    def sample(sigma: Array, rng: np.random.Generator) -> tuple[Array, Scalar]:
        if rule == "uniform":
            mask = like(sigma, rng.random(sigma.shape[:2]) >= sparsity)
        else:
            size = np.sqrt(namespace(sigma).einsum("pqk,pqk->pq", sigma, sigma))
            if rule == "gtopk":
                mask = size >= quantile(size.reshape(-1), sparsity)
            elif along:
                mask = size >= quantile(size.T, sparsity)[:, None]
            else:
                mask = size >= quantile(size, sparsity)
        return mask, factor(norm, number(mask.mean()))

    return sample


def feedback(rule: str, sparsity: float, norm: str) -> Cores:
    """Sampler of the cores that carry the error back."""
    return blocks(rule, sparsity, norm)


Uniform = Callable[[int | tuple[int, int], np.random.Generator], tuple[Array, float]]
"""uniform(shape, rng) -> mask of that shape, and the factor of what it keeps."""


def quantile(a: Array, share: float) -> Array:
    """np.quantile along the first axis; takes a tenth of its time, and a GPU is not waited for."""
    rank = share * (len(a) - 1)
    low, part = int(rank), rank - int(rank)
    rising = np.sort(a, axis=0)
    below: Array = rising[low]
    above: Array = rising[min(low + 1, len(a) - 1)]
    between: Array = below + (above - below) * part if part < 0.5 else above - (above - below) * (1.0 - part)
    return between


def columns(sparsity: float, norm: str) -> Uniform:
    """Sampler of the output pixels of a convolution, shared over the mini-batch: each kept with 1 - sparsity."""
    return _uniform(sparsity, norm)


def spatial(sparsity: float, norm: str) -> Uniform:
    """Sampler of the input pixels of a convolution, shared over batch and channels: each kept with 1 - sparsity."""
    return _uniform(sparsity, norm)


def features(sparsity: float, norm: str) -> Uniform:
    """Sampler of the inputs of a dense layer, by sample and block column: each kept with 1 - sparsity."""
    return _uniform(sparsity, norm)


def _uniform(sparsity: float, norm: str) -> Uniform:
    """Sampler of anything: each kept with probability 1 - sparsity. Raises ModelError."""
    checked(sparsity)

    def sample(shape: int | tuple[int, int], rng: np.random.Generator) -> tuple[Array, float]:
        mask = np.asarray(rng.random(shape) >= sparsity)
        return mask, factor(norm, float(mask.mean()))

    return sample


def rank(count: int, rule: str = "topk", sign: bool = False, norm: str = "none") -> Rank:
    """Sampler of `count` sigma of every core, the others having gradient zero; 0 is all.

    `topk` takes the largest |sigma|, `uniform` any, without replacement. `sign` follows the gradient's sign only.
    Raises ModelError; the sampler too, where a core has fewer sigma than `count`.
    """
    if count < 0 or rule not in ("topk", "uniform"):
        raise ModelError(f"rank sampling of {count} by {rule!r} is not possible; use 0 or more, by topk or uniform")

    def sample(sigma: Array, gradient: Array, rng: np.random.Generator) -> Array:
        k = sigma.shape[-1]
        if count > k:
            raise ModelError(f"rank {count} is above k = {k}, the number of sigma of a core; use at most {k}")
        if 0 < count < k:
            size = np.abs(sigma) if rule == "topk" else like(sigma, rng.random(sigma.shape))
            order = np.argsort(-size, axis=-1)
            mask = namespace(sigma).zeros(sigma.shape, bool)
            namespace(sigma).put_along_axis(mask, order[..., :count], True, -1)
            gradient = np.where(mask, gradient * factor(norm, count / k), 0.0)
        return np.sign(gradient) if sign else gradient

    return sample


def importance(teacher: Network, sparsity: float) -> Samples:
    """The images whose class the `teacher` is least sure of: entropy of its softmax above the batch's quantile."""
    checked(sparsity)

    def sample(images: Array, rng: np.random.Generator) -> Array | None:
        logits = host(teacher.forward(images)).astype(np.float64)
        share = np.exp(logits - logits.max(axis=0))
        share /= share.sum(axis=0)
        entropy = -(share * np.log(share + TINY)).sum(axis=0)
        unsure: Array = entropy > np.quantile(entropy, sparsity)
        return unsure

    return sample
