"""The training objectives and the score. Logits are (K, B): K classes, B samples.

Labels (B,) are integers in 0..K-1. What is a number is a float; on a GPU, an array that nobody has waited for.
"""

from __future__ import annotations

import numpy as np

from l2sim.backend import Array, Scalar, namespace, number
from l2sim.errors import ModelError
from l2sim.given import reals

__all__ = ["OBJECTIVES", "accuracy", "batch_softmax", "cross_entropy", "squared_error"]


def cross_entropy(logits: Array, labels: Array) -> tuple[Scalar, Array]:
    """Mean cross entropy of the softmax over classes, and its gradient (K, B) with respect to the logits.

    Raises ModelError when the labels do not fit the logits.
    """
    logits, labels, picked = _fitting(logits, labels)
    shifted = logits - logits.max(axis=0)  # exp cannot overflow
    gradient = np.exp(shifted)
    total = gradient.sum(axis=0)
    loss = number((np.log(total) - shifted[picked]).sum() / labels.size)
    gradient /= total
    gradient[picked] -= 1.0
    gradient /= labels.size
    return loss, gradient


def squared_error(logits: Array, labels: Array) -> tuple[Scalar, Array]:
    """Squared distance of the output powers from 1 at the label and 0 elsewhere, mean over the batch; its gradient."""
    logits, labels, picked = _fitting(logits, labels)
    gradient = logits.copy()
    gradient[picked] -= 1.0
    loss = number((gradient * gradient).sum() / labels.size)
    gradient *= 2.0 / labels.size
    return loss, gradient


def batch_softmax(logits: Array, labels: Array) -> tuple[Scalar, Array]:
    """A published slip, kept to reproduce it: the softmax runs over the samples of a batch, not over the classes.

    L = - sum_b log(e^{z_kb} / sum_c e^{z_kc}) / (K B) with k the label of b; and its gradient.
    """
    logits, labels, picked = _fitting(logits, labels)
    classes = len(logits)
    shifted = logits - logits.max(axis=1, keepdims=True)
    share = np.exp(shifted)
    total = share.sum(axis=1)
    loss = number((np.log(total)[labels] - shifted[picked]).sum() / logits.size)
    count = (labels == namespace(labels).arange(classes)[:, None]).sum(axis=1)  # CuPy's bincount would wait for the GPU
    gradient = share * (count / total).astype(logits.dtype)[:, None]
    gradient[picked] -= 1.0
    gradient /= logits.size
    return loss, gradient


OBJECTIVES = {"cross-entropy": cross_entropy, "mse": squared_error, "batch-softmax": batch_softmax}


def _fitting(logits: Array, labels: Array) -> tuple[Array, Array, tuple[Array, Array]]:
    """Logits (K, B) as floats, labels (B,) as whole numbers, and the index of every sample's label. ModelError where
    they are none or do not fit each other."""
    logits = reals(logits, "logits", ModelError)
    if getattr(labels, "dtype", np.dtype(bool)).kind not in "iu":
        labels = _whole(labels)
    if logits.ndim != 2:
        raise ModelError(f"logits of shape {logits.shape} are not (classes, samples)")
    classes, batch = logits.shape
    if labels.shape != (batch,):
        raise ModelError(f"labels have shape {labels.shape} but the logits hold {batch} samples; give one label each")
    if namespace(labels) is np and batch and not 0 <= labels.min() <= labels.max() < classes:
        raise ModelError(f"labels run from {labels.min()} to {labels.max()} but the model has {classes} classes")
    return logits, labels, (labels, namespace(labels).arange(batch))


def _whole(labels: Array) -> Array:
    """Labels of other number types as whole numbers. ModelError where they are none."""
    values = reals(labels, "labels", ModelError)
    if not np.isfinite(values).all() or (values != np.floor(values)).any():
        raise ModelError("labels must be whole numbers, the number of the class of each sample")
    whole: Array = values.astype(np.int64)
    return whole


def accuracy(logits: Array, labels: Array) -> Scalar:
    """Share of the samples whose largest logit is at the label, 0 to 1."""
    logits, labels, _ = _fitting(logits, labels)
    return number(np.mean(logits.argmax(axis=0) == labels))
