"""A model description turned into a network: the same `build` for electronic and photonic weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import DTypeLike

from l2sim.backend import CPU, Array, Device, like
from l2sim.errors import ModelError
from l2sim.given import numbers
from l2sim.nn import conv, layers, models, optics
from l2sim.nn.models import LayerSpec, ModelSpec, Placed
from l2sim.nn.weights import ElectronicWeight, Weight

__all__ = ["MakeMesh", "MakeWeight", "Network", "build", "electronic"]

MakeWeight = Callable[[str, int, int, int], Weight]
"""make_weight(layer name, out_features, in_features, core size k): the matrix of one layer."""
MakeMesh = Callable[[str, models.Mesh], optics.MeshLayer]
"""make_mesh(layer name, its description): a whole mesh and the hardware it runs on."""


def electronic(rng: np.random.Generator, dtype: DTypeLike = np.float64, device: Device = CPU) -> MakeWeight:
    """Plain arrays drawn from N(0, 2 / in_features), layer by layer from `rng` (He et al. 2015)."""

    def make_weight(name: str, out_features: int, in_features: int, k: int) -> Weight:
        matrix = rng.standard_normal((out_features, in_features)) * np.sqrt(2.0 / in_features)
        return ElectronicWeight(device.put(matrix.astype(dtype)))

    return make_weight


class Network:
    """Images or features in, logits out, gradients back. Made by `build`.

    `weights`, `convs`, `linears`, `meshes`: the `Weight`, `Conv2d`, `Linear` and `MeshLayer` of each layer by full name
    ("conv1", "block1.conv2", "fc1", "mesh1").
    Arrays are named "layer.array". `spec` is what it was built from and `dtype` what it computes in; `batch` is how
    many samples the last training pass had.
    """

    def __init__(
        self, spec: ModelSpec, chain: layers.Chain, leaves: dict[str, layers.Layer], dtype: DTypeLike, device: Device
    ) -> None:
        self.spec, self.device = spec, device
        self.dtype = np.dtype(dtype)
        self.weights: dict[str, Weight] = {
            name: leaf.weight for name, leaf in leaves.items() if isinstance(leaf, conv.Conv2d | layers.Linear)
        }
        self.convs = {name: leaf for name, leaf in leaves.items() if isinstance(leaf, conv.Conv2d)}
        self.linears = {name: leaf for name, leaf in leaves.items() if isinstance(leaf, layers.Linear)}
        self.meshes = {name: leaf for name, leaf in leaves.items() if isinstance(leaf, optics.MeshLayer)}
        self.batch = 0
        self._chain = chain
        self._trained = False

    def forward(self, images: Array, train: bool = False, rng: np.random.Generator | None = None) -> Array:
        """Logits (classes, B) of `images` (B, C, H, W), or of features (B, F), which may be complex; bytes are
        divided by 255.

        `train` keeps what `backward` needs; `rng` feeds all sampling.

        Raises ModelError when the images are not those of the model.
        """
        if getattr(images, "dtype", None) != np.uint8:
            images = numbers(images, "images", ModelError)
        if images.shape[1:] != self.spec.input:
            raise ModelError(
                f"model {self.spec.name} takes images (B, {', '.join(map(str, self.spec.input))}) "
                f"but got {images.shape}; resize the data or describe the model for this size"
            )
        dtype = np.result_type(self.dtype, np.complex64) if np.iscomplexobj(images) else self.dtype
        batch_last = self.device.put(images).transpose(*range(1, images.ndim), 0)
        x = self.device.xp.ascontiguousarray(batch_last, dtype)
        if images.dtype == np.uint8:
            x /= 255
        if train:
            self._trained, self.batch = True, x.shape[-1]
        return self._chain.forward(x, train, rng)

    def backward(self, dlogits: Array) -> None:
        """Store all parameter gradients of the last training forward; the first weights compute no input gradient."""
        if not self._trained:
            raise ModelError("there is nothing to differentiate; call forward with train=True before backward")
        self._chain.backward(dlogits, need_dx=False)

    def parameters(self) -> dict[str, Array]:
        """Trainable arrays, live."""
        return self._chain.parameters()

    def gradients(self) -> dict[str, Array]:
        """Gradients of the last `backward`, under the names of `parameters`."""
        return self._chain.gradients()

    def buffers(self) -> dict[str, Array]:
        """Running statistics, live."""
        return self._chain.buffers()

    def state(self) -> dict[str, Array]:
        """A copy of parameters and buffers."""
        return {name: a.copy() for name, a in (self.parameters() | self.buffers()).items()}

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Copy parameters and buffers in place. ModelError, before anything changes, unless names and shapes match."""
        own = self.parameters() | self.buffers()
        odd = sorted(own.keys() ^ arrays.keys())
        if odd:
            side = "missing for model" if odd[0] in own else "not part of model"
            raise ModelError(f"array {odd[0]!r} is {side} {self.spec.name}; load a state of the same model")
        for name, a in own.items():
            if arrays[name].shape != a.shape:
                raise ModelError(
                    f"array {name!r} has shape {arrays[name].shape} but model {self.spec.name} needs {a.shape}; "
                    "load a state of the same model"
                )
        for name, a in own.items():
            a[...] = like(a, arrays[name])


def build(
    spec: ModelSpec,
    make_weight: MakeWeight,
    dtype: DTypeLike = np.float64,
    make_mesh: MakeMesh | None = None,
    device: Device = CPU,
) -> Network:
    """Build the network that `spec` describes, asking `make_weight` for every matrix and `make_mesh` for every mesh.

    Raises ModelError where layers do not fit together or a weight has the wrong shape.
    """
    leaves: dict[str, layers.Layer] = {}

    def chain(placed: tuple[Placed, ...]) -> layers.Chain:
        items: dict[str, layers.Layer] = {}
        for i, item in enumerate(placed):
            before, after = (placed[j].layer if 0 <= j < len(placed) else None for j in (i - 1, i + 1))
            items[item.name.rpartition(".")[2]] = make(item, before, after)
        return layers.Chain(items)

    def make(item: Placed, before: LayerSpec | None, after: LayerSpec | None) -> layers.Layer:
        """The layer of `item`; a batch norm clips in the same pass where a `ReLUN` follows, which then does nothing."""
        if isinstance(item.layer, models.Residual):
            return layers.Residual(chain(item.body), chain(item.shortcut))
        if isinstance(item.layer, models.Mesh):
            if make_mesh is None:
                raise ModelError(f"{item.name}: a mesh needs hardware; pass make_mesh to build")
            leaves[item.name] = make_mesh(item.name, item.layer)
        elif isinstance(item.layer, models.BatchNorm) and isinstance(after, models.ReLUN):
            leaves[item.name] = layers.BatchNorm(item.input[0], dtype, device, after.limit)
        elif isinstance(item.layer, models.ReLUN) and isinstance(before, models.BatchNorm):
            leaves[item.name] = layers.Chain({})
        else:
            leaves[item.name] = _leaf(item, make_weight, dtype, device)
        return leaves[item.name]

    return Network(spec, chain(models.place(spec)), leaves, dtype, device)


def _leaf(item: Placed, make_weight: MakeWeight, dtype: DTypeLike, device: Device) -> layers.Layer:
    """The layer that `item` describes."""
    match item.layer:
        case models.Conv(kernel=kernel, stride=stride, padding=padding):
            weight = _weight(item, item.layer.k, make_weight)
            return conv.Conv2d(weight, kernel, stride, padding, _bias(item.layer, dtype, device))
        case models.Linear(k=k):
            return layers.Linear(_weight(item, k, make_weight), _bias(item.layer, dtype, device))
        case models.BatchNorm():
            return layers.BatchNorm(item.input[0], dtype, device)
        case models.ReLU():
            return layers.ReLU()
        case models.ReLUN(limit=limit):
            return layers.ReLUN(limit)
        case models.AveragePool(kernel=kernel, stride=stride):
            return conv.AveragePool(kernel, stride)
        case models.MaxPool(kernel=kernel, stride=stride, padding=padding):
            return conv.MaxPool(kernel, stride, padding)
        case models.AdaptiveAveragePool(out=out):
            return conv.AdaptiveAveragePool(out)
        case models.GlobalAveragePool():
            return conv.GlobalAveragePool()
        case models.Standardise(mean=mean, std=std):
            return layers.Standardise(mean, std)
        case models.Dropout(p=p):
            return layers.Dropout(p)
        case models.Flatten():
            return layers.Flatten()
        case models.Abs():
            return optics.Abs()
        case models.Power():
            return optics.Power()
        case models.ElectroOptic(tapped=tapped, gain=gain, bias=bias):
            return optics.ElectroOptic(tapped, gain, bias)
        case models.Saturable(depth=depth, saturation=saturation):
            return optics.Saturable(depth, saturation)
        case models.Normalise(power=power):
            return optics.Normalise(power)
        case models.Ports(out=out, group=group):
            return optics.Ports(out, group)
    raise ModelError(f"{item.name}: no layer is known for {type(item.layer).__name__}; use a description of nn.models")


def _bias(layer: models.Conv | models.Linear, dtype: DTypeLike, device: Device) -> Array | None:
    """A bias (out,) of zeros, where the layer has one."""
    if not layer.bias:
        return None
    zeros: Array = device.xp.zeros(layer.out, dtype)
    return zeros


def _weight(item: Placed, k: int, make_weight: MakeWeight) -> Weight:
    shape = models.matrix_shape(item)
    weight = make_weight(item.name, *shape, k)
    if (weight.out_features, weight.in_features) != shape:
        raise ModelError(
            f"{item.name}: the weight is {weight.out_features} x {weight.in_features} but the layer needs "
            f"{shape[0]} x {shape[1]}; make it from the arguments of make_weight"
        )
    return weight
