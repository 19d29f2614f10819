"""Layers and their gradients, written out: no framework, no tape.

Features come first and the batch last: dense (F, B), images (C, H, W, B). A convolution is then one matrix product on
columns, `Flatten` is a view, and every slice that NumPy copies ends in a contiguous run over the batch.

`forward(x, train, rng)` keeps what `backward(dy, need_dx)` needs only when `train`. `parameters` are the trainable
arrays, updated in place; `gradients` has the same names and is valid after `backward`; `buffers` are updated by
`forward` itself. No layer writes into its input, because a residual branch shares it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import DTypeLike

from l2sim import pages
from l2sim.backend import CPU, Array, Device, kernels, kernels_of, like, namespace
from l2sim.errors import ModelError
from l2sim.nn.weights import Weight

__all__ = ["BatchNorm", "Chain", "Dropout", "Flatten", "Layer", "Linear", "ReLU", "ReLUN", "Residual", "Standardise"]


class Layer(Protocol):
    """What the network asks of every layer; one without arrays inherits the empty dictionaries."""

    def forward(self, x: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """The layer's output for `x`; randomness comes from `rng` and only when `train`."""
        ...

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Store the parameter gradients of the last `forward(train=True)` and return the input gradient.

        Without `need_dx` a layer with parameters skips the input gradient and returns None.
        """
        ...

    def parameters(self) -> dict[str, Array]:
        """The trainable arrays, live; the optimiser writes into them."""
        return {}

    def gradients(self) -> dict[str, Array]:
        """The gradients of the last `backward`, under the names of `parameters`."""
        return {}

    def buffers(self) -> dict[str, Array]:
        """Arrays that `forward` updates itself, live, such as running statistics."""
        return {}


Alignment = Callable[[tuple[int, ...]], Array]
"""alignment(shape): what a layer passes back in place of its input gradient, of that shape."""


class Bias:
    """An electronic bias (out,), added to what a matrix gives; or none."""

    def __init__(self, values: Array | None) -> None:
        self.values = values
        self.gradient = None if values is None else np.zeros_like(values)

    def add(self, y: Array) -> Array:
        """y (out, N) + bias, in place."""
        if self.values is not None:
            y += self.values[:, None]
        return y

    def accumulate(self, dy: Array) -> None:
        """Store the gradient, the sum of dy (out, N) over the columns."""
        if self.gradient is not None:
            self.gradient[...] = dy.sum(axis=1)

    def parameters(self) -> dict[str, Array]:
        """`values`, live, as "bias"."""
        return {} if self.values is None else {"bias": self.values}

    def gradients(self) -> dict[str, Array]:
        """The gradient stored last, as "bias"."""
        return {} if self.gradient is None else {"bias": self.gradient}


class Linear(Layer):
    """Dense layer y = M x + b: (in, B) -> (out, B), b (out,) or none. `alignment`, when set, replaces the input
    gradient."""

    def __init__(self, weight: Weight, bias: Array | None = None) -> None:
        self.weight, self.bias = weight, Bias(bias)
        self.alignment: Alignment | None = None

    def forward(self, x: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """y = M x + b: (in, B) -> (out, B). `train` remembers x and `rng` for `backward` and lets the weight sample."""
        if train:
            self._x, self._rng = x, rng
        return self.bias.add(self.weight.forward(x, rng if train else None))

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Have the weight store its gradient, of dy x^T; return dL/dx = M^T dy (in, B), or what `alignment` puts in its
        place. None unless `need_dx`."""
        self.weight.accumulate(dy, self._x, rng=self._rng)
        self.bias.accumulate(dy)
        if need_dx and self.alignment is not None:
            return self.alignment(self._x.shape)
        return self.weight.transpose(dy, self._rng) if need_dx else None

    def parameters(self) -> dict[str, Array]:
        """The weight's trainable arrays, live: electronic "weight" (out, in), or "sigma" (p, q, k) of cores; "bias"."""
        return self.weight.parameters() | self.bias.parameters()

    def gradients(self) -> dict[str, Array]:
        """What the weight's last gradient was, under the names and in the shapes of `parameters`."""
        return self.weight.gradients() | self.bias.gradients()


class BatchNorm(Layer):
    """Batch normalisation per channel, over all other axes: (C, ..., B) -> (C, ..., B).

    Training normalises with the biased variance of the batch and moves the running statistics by `MOMENTUM` towards
    the batch mean and its unbiased variance; evaluation uses the running statistics. (Ioffe & Szegedy 2015, Alg. 1.)
    With a `limit`, the `ReLUN` of that limit behind it is done in the same pass over memory.
    Raises ModelError when a training batch holds one value per channel, whose variance is undefined.
    """

    EPS = 1e-5
    MOMENTUM = 0.1

    def __init__(
        self, channels: int, dtype: DTypeLike = np.float64, device: Device = CPU, limit: float | None = None
    ) -> None:
        xp = device.xp
        self._limit = None if limit is None else np.array(limit, dtype)[()]
        self.weight = xp.ones(channels, dtype)
        self.bias = xp.zeros(channels, dtype)
        self.running_mean = xp.zeros(channels, dtype)
        self.running_var = xp.ones(channels, dtype)
        self._dweight = xp.zeros(channels, dtype)
        self._dbias = xp.zeros(channels, dtype)

    def forward(self, x: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """y = weight (x - mean) / sqrt(var + EPS) + bias, (C, ..., B): running statistics; the batch's if `train`.

        Training moves the running statistics and remembers x; ModelError where a channel has a single value.
        """
        xp = namespace(x)
        flat = xp.ascontiguousarray(x.reshape(len(x), -1))
        if not train:
            return self._evaluated(flat).reshape(x.shape)
        n = flat.shape[1]
        if n < 2:
            raise ModelError("batch normalisation cannot train on one value per channel; use a larger batch")
        mean, var, inverse = (np.empty_like(self.weight) for _ in range(3))
        y: Array = pages.like(self.weight, flat.shape)
        given, made = (flat, self.weight, self.bias, self.EPS), (mean, var, inverse, y)
        if xp is not np:
            running = self.running_mean, self.running_var
            kernels.cuda.pointwise.normalise(*given, *self._range(), self.MOMENTUM, *running, mean, inverse, y)
        else:
            if self._limit is None:
                kernels.pointwise.normalise(*given, *made)
            else:
                kernels.pointwise.normalise_clip(*given, self._limit, *made)
            self.running_mean *= 1.0 - self.MOMENTUM
            self.running_mean += self.MOMENTUM * mean
            self.running_var *= 1.0 - self.MOMENTUM
            self.running_var += self.MOMENTUM * (n / (n - 1)) * var
        self._x, self._mean, self._inverse = flat, mean, inverse
        return y.reshape(x.shape)

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Store dL/dweight and dL/dbias (C,); if `need_dx` return dL/dx (C, ..., B), by the batch's statistics too."""
        xp = namespace(dy)
        flat = xp.ascontiguousarray(dy.reshape(len(dy), -1))
        whole = need_dx or (xp is np and self._limit is not None)
        dx: Array = pages.like(flat, flat.shape if whole else (0, 0))
        gradients = self._dweight, self._dbias, dx
        seen = flat, self._x, self.weight
        if xp is not np:
            given = *seen, self.bias, self._mean, self._inverse, *self._range()
            kernels.cuda.pointwise.normalise_back(*given, *gradients)
        elif self._limit is None:
            kernels.pointwise.normalise_back(*seen, self._mean, self._inverse, *gradients)
        else:
            kernels.pointwise.normalise_clip_back(
                *seen, self.bias, self._mean, self._inverse, self._limit, *gradients
            )
        return dx.reshape(dy.shape) if need_dx else None

    def _range(self) -> tuple[Array, Array]:
        """What y is clipped to."""
        kind = self.weight.dtype.type
        return (kind(-np.inf), kind(np.inf)) if self._limit is None else (kind(0.0), kind(self._limit))

    def _evaluated(self, flat: Array) -> Array:
        """`flat` (C, n) by the running statistics."""
        scale = self.weight / np.sqrt(self.running_var + self.EPS)
        y: Array = pages.like(self.weight, flat.shape)
        kernels_of(flat).pointwise.affine_clip(flat, self.running_mean, scale, self.bias, *self._range(), y)
        return y

    def parameters(self) -> dict[str, Array]:
        """Scale `weight` and shift `bias` of every channel, (C,) each, live."""
        return {"weight": self.weight, "bias": self.bias}

    def gradients(self) -> dict[str, Array]:
        """dL/dweight and dL/dbias (C,) of the last `backward`; zeros before the first."""
        return {"weight": self._dweight, "bias": self._dbias}

    def buffers(self) -> dict[str, Array]:
        """Running mean and variance of every channel, (C,) each, live."""
        return {"running_mean": self.running_mean, "running_var": self.running_var}


class ReLU(Layer):
    """max(x, 0), any shape; the gradient at 0 is 0."""

    def forward(self, x: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """y = max(x, 0) element by element; `train` remembers where x > 0."""
        if train:
            self._open = x > 0
        return np.maximum(x, 0)

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """dL/dx: dy where x > 0, else 0."""
        return dy * self._open


class ReLUN(Layer):
    """Clip to [0, limit], any shape; the gradient at both ends is 0."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def forward(self, x: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """y = min(max(x, 0), limit) element by element; `train` remembers y."""
        y: Array = pages.like(x, x.shape)
        limit = x.dtype.type(self.limit)
        kernels_of(x).pointwise.clip(_rows(x), limit, y.reshape(_rows(x).shape))
        if train:
            self._y = y  # inside the limits exactly where the input was
        return y

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """dL/dx: dy where 0 < y < limit, else 0."""
        dx: Array = pages.like(dy, dy.shape)
        flat = _rows(dy)
        kernels_of(dy).pointwise.clip_back(flat, _rows(self._y), dy.dtype.type(self.limit), dx.reshape(flat.shape))
        return dx


def _rows(x: Array) -> Array:
    """Any array as contiguous rows (n, m)."""
    plain: Array = namespace(x).ascontiguousarray(x)
    return plain.reshape(len(x) if x.ndim else 1, -1)


class Standardise(Layer):
    """(x - mean) / std per channel: (C, H, W, B) -> the same."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.mean, self.std = mean, std

    def forward(self, x: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """y = (x - mean) / std with the mean and std of each channel: (C, H, W, B)."""
        mean, std = (like(x, np.array(a, x.dtype))[:, None, None, None] for a in (self.mean, self.std))
        return (x - mean) / std

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """dL/dx = dy / std by channel: (C, H, W, B). None unless `need_dx`."""
        return dy / like(dy, np.array(self.std, dy.dtype))[:, None, None, None] if need_dx else None


class Dropout(Layer):
    """Zero each value with probability `p` in training and divide the rest by 1 - p; the identity in evaluation."""

    def __init__(self, p: float) -> None:
        self.p = p

    def forward(self, x: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """x itself, or if `train` x times a random mask that it remembers. ModelError if `train` without `rng`."""
        if not train:
            return x
        if rng is None:
            raise ModelError("dropout needs a random generator in training; pass rng to forward")
        self._keep = like(x, (rng.random(x.shape) >= self.p) * x.dtype.type(1.0 / (1.0 - self.p)))
        return x * self._keep

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """dL/dx: dy times the mask that the last training pass drew."""
        return dy * self._keep


class Flatten(Layer):
    """(C, H, W, B) -> (C*H*W, B), features in the order c, h, w."""

    def forward(self, x: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """x (C, H, W, B) as (C*H*W, B); `train` remembers the shape of x."""
        if train:
            self._shape = x.shape
        return x.reshape(-1, x.shape[-1])

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """dL/dx: dy (C*H*W, B) as the (C, H, W, B) of the last training pass."""
        return dy.reshape(self._shape)


class Chain(Layer):
    """Named layers one after the other; an empty chain is the identity. Array names are "layer.array"."""

    def __init__(self, layers: dict[str, Layer]) -> None:
        self.layers = layers
        # Below the first layer that trains anything no gradient is wanted.
        self._first = next((i for i, layer in enumerate(layers.values()) if layer.parameters()), len(layers))

    def forward(self, x: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """x through every layer, first to last, in the shapes that these take and give."""
        for layer in self.layers.values():
            x = layer.forward(x, train, rng)
        return x

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """dy through the layers, last to first, each storing its gradients; returns dL/dx.

        Unless `need_dx` it ends at the first layer that trains anything, and returns None.
        """
        stop = 0 if need_dx else self._first
        layers = list(self.layers.values())
        for i in range(len(layers) - 1, stop - 1, -1):
            dx = layers[i].backward(dy, need_dx or i > stop)
            if dx is None:
                return None
            dy = dx
        return dy if need_dx else None

    def parameters(self) -> dict[str, Array]:
        """The trainable arrays of all layers, live, as "layer.array"."""
        return {f"{name}.{key}": a for name, layer in self.layers.items() for key, a in layer.parameters().items()}

    def gradients(self) -> dict[str, Array]:
        """The gradients that all layers stored last, under the names of `parameters`."""
        return {f"{name}.{key}": a for name, layer in self.layers.items() for key, a in layer.gradients().items()}

    def buffers(self) -> dict[str, Array]:
        """The arrays that layers update in `forward`, live, as "layer.array"."""
        return {f"{name}.{key}": a for name, layer in self.layers.items() for key, a in layer.buffers().items()}


class Residual(Layer):
    """body(x) + shortcut(x); arrays of the shortcut are named "shortcut.layer.array"."""

    def __init__(self, body: Chain, shortcut: Chain) -> None:
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """y = body(x) + shortcut(x), which must be of one shape."""
        return self.body.forward(x, train, rng) + self.shortcut.forward(x, train, rng)

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """dy through both branches, each storing its gradients; returns dL/dx, the sum of theirs, if `need_dx`."""
        main = self.body.backward(dy, need_dx)
        side = self.shortcut.backward(dy, need_dx)
        return None if main is None or side is None else main + side

    def parameters(self) -> dict[str, Array]:
        """The trainable arrays of both branches, live; those of the shortcut as "shortcut.layer.array"."""
        return self.body.parameters() | {f"shortcut.{key}": a for key, a in self.shortcut.parameters().items()}

    def gradients(self) -> dict[str, Array]:
        """The gradients that both branches stored last, under the names of `parameters`."""
        return self.body.gradients() | {f"shortcut.{key}": a for key, a in self.shortcut.gradients().items()}

    def buffers(self) -> dict[str, Array]:
        """The arrays that both branches update in `forward`, live; those of the shortcut as "shortcut.layer.array"."""
        return self.body.buffers() | {f"shortcut.{key}": a for key, a in self.shortcut.buffers().items()}
