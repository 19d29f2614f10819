"""The training objective and the score. Logits are (K, B): K classes, B samples; labels (B,) are integers in 0..K-1."""

from __future__ import annotations

import numpy as np

from l2sim.backend import Array
from l2sim.errors import ModelError

__all__ = ["accuracy", "cross_entropy"]


def cross_entropy(logits: Array, labels: Array) -> tuple[float, Array]:
    """Mean cross entropy of the softmax over classes, and its gradient (K, B) with respect to the logits.

    Raises ModelError when the labels do not fit the logits.
    """
    classes, batch = logits.shape
    if labels.shape != (batch,):
        raise ModelError(f"labels have shape {labels.shape} but the logits hold {batch} samples; give one label each")
    if batch and not 0 <= labels.min() <= labels.max() < classes:
        raise ModelError(f"labels run from {labels.min()} to {labels.max()} but the model has {classes} classes")
    picked = labels, np.arange(batch)
    shifted = logits - logits.max(axis=0)  # exp cannot overflow
    gradient = np.exp(shifted)
    total = gradient.sum(axis=0)
    loss = float(np.mean(np.log(total) - shifted[picked]))
    gradient /= total
    gradient[picked] -= 1.0
    gradient /= batch
    return loss, gradient


def accuracy(logits: Array, labels: Array) -> float:
    """Share of the samples whose largest logit is at the label, 0 to 1."""
    return float(np.mean(logits.argmax(axis=0) == labels))
