"""The sections of a job: every field with its type, default, meaning, unit and range."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from functools import partial
from itertools import chain
from typing import Annotated, Literal

import msgspec

from l2sim.mesh.registry import REGISTERED
from l2sim.nn.specs import LayerSpec

LIVE, EPOCH, RESTART = "live", "next epoch", "restart"
"""When a field takes effect that is changed while a run goes on (`l2sim run --live`)."""


def said(
    meaning: str,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    when: str = RESTART,
    among: Collection[str] | None = None,
) -> msgspec.Meta:
    """What is said about a field; the range includes its ends. `among`: the texts that it may be, where that depends on
    what is registered."""
    return msgspec.Meta(description=meaning, ge=low, le=high, extra={"unit": unit, "when": when, "among": among})


class Names(Collection[str]):
    """Those that l2sim has itself, then those that others registered."""

    def __init__(self, own: Collection[str], others: Collection[str]) -> None:
        self._own, self._others = own, others

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._others

    def __iter__(self) -> Iterator[str]:
        return chain(self._own, self._others)

    def __len__(self) -> int:
        return len(self._own) + len(self._others)


_m, _epoch = said, partial(said, when=EPOCH)
_PI = math.pi
_LR = ("", 0, 100)
_EPOCHS = ("epochs", 1, 1_000_000)
_SOME_EPOCHS = ("epochs", 0, 1_000_000)
_SPARSITY = ("share", 0, 0.999)
_Optimizer = Literal["adamw", "adam", "sgd"]
_Schedule = Literal["cosine", "exponential"]
_Norm = Literal["none", "exp", "var"]
_Blocks = Literal["btopk", "gtopk", "uniform"]
_Order = Literal["published", "layer"]
_Method = Literal["zcd", "ztp", "zgd"]
_Layouts = Names(("rectangular", "triangular", "permuting", "butterfly", "tree_cascade"), REGISTERED)
Colour = Literal["cifar10", "cifar100", "svhn", "tiny-imagenet", "own"]
Picture = Literal["digits", "mnist", "fashion-mnist", Colour, "synthetic"]
Plane = Literal["moons", "circles", "blobs", "ring"]
Published = Literal["mlp", "cnn-s", "cnn-l", "vgg8", "vgg11", "vgg13", "vgg16", "vgg19", "resnet18", "resnet34"]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the sections of a job."""


class Model(Section, frozen=True):
    """The network: a published one or layers of your own, for pictures of which size, and how wide."""

    name: Annotated[Literal[Published, "custom"], _m("the network; custom is what layers describe")] = "cnn-s"
    input: Annotated[tuple[int, ...], _m("channels, height, width of the pictures; [] is the published size")] = ()
    width: Annotated[float, _m("factor on the channels and hidden features", "share", 0.001, 1)] = 1.0
    bias: Annotated[bool, _m("layers that no batch norm follows add an electronic bias; published: none")] = False
    layers: Annotated[tuple[LayerSpec, ...], _m("of custom: tables such as {type='Linear', out=10, k=9}")] = ()


class Data(Section, frozen=True):
    """What is learnt: the data set, how training images are varied, and what is kept back for choosing settings."""

    name: Annotated[Literal[Picture, Plane], _m("pictures; points of the plane (insitu)")] = "digits"
    normalise: Annotated[bool, _m("every channel to mean 0 and deviation 1 over the training images")] = False
    pad: Annotated[int, _m("training images are shifted at random by up to so much", "pixels", 0, 64)] = 0
    flip: Annotated[bool, _m("training images are mirrored at random")] = False
    validation: Annotated[float, _m("training images kept for choosing settings", "share", 0, 0.9)] = 0.0


class Chip(Section, frozen=True):
    """How the tensor cores are laid out, read and shared in time; imperfections have a section of their own."""

    mesh: Annotated[Literal["rectangular", "triangular"], _m("layout of U and V: Clements or Reck")] = "rectangular"
    readout: Annotated[
        Literal["quadrature", "two_readings", "power", "field"],
        _m("homodyne; two intensities with a reference; one without, unsigned; both quadratures"),
    ] = "quadrature"
    cores: Annotated[int, _m("cores that all blocks share in time, for its cost; 0: one a block", "", 0, 10**9)] = 0


class Cost(Section, frozen=True):
    """Which devices turn what is metered into joules and seconds."""

    table: Annotated[
        Literal["thermal", "suspended", "mems", "electro-optic", "insitu-2023", "insitu-2023-complex"],
        _m("devices that give joules and seconds of what is metered; `l2sim cost --explain` lists them"),
    ] = "thermal"


class Insitu(Section, frozen=True):
    """A network of whole meshes, trained by light sent forward and backward."""

    features: Annotated[Literal["fourier", "pca", "pixels"], _m("what of a picture the light carries")] = "fourier"
    mesh: Annotated[str, _m("layout of every mesh", among=_Layouts)] = "rectangular"
    modes: Annotated[int, _m("ports of every mesh", "ports", 1, 1024)] = 64
    layers: Annotated[int, _m("meshes, one behind the other", "meshes", 1, 100)] = 3
    nonlinearity: Annotated[
        Literal["abs", "power", "electro-optic", "saturable"], _m("what stands behind every mesh")
    ] = "abs"
    tapped: Annotated[float, _m("electro-optic: power that drives the modulator", "share", 0, 0.99)] = 0.1
    gain: Annotated[float, _m("electro-optic: its phase per unit power", "rad", 0, 100)] = 0.05 * _PI
    bias: Annotated[float, _m("electro-optic: its phase in the dark; at pi it is shut there", "rad", -_PI, _PI)] = 0.0
    restore: Annotated[
        Literal["deep", "always", "never"],
        _m("samples brought back to a total power behind every nonlinearity; deep: of 'power' from four meshes on"),
    ] = "deep"
    power: Annotated[float, _m("that power; of pixels it is some 1.5 a port", "", 1e-3, 1e6)] = 100.0
    group: Annotated[int, _m("ports whose powers add up to the logit of a class", "ports", 1, 512)] = 1
    loss: Annotated[
        Literal["cross-entropy", "mse", "batch-softmax"], _m("objective; batch-softmax is a published slip")
    ] = "cross-entropy"
    scheme: Annotated[
        Literal["digital", "analog", "sweep", "toggle"],
        _m("how gradients are read from the power taps; digital adds the power of readout noise to all"),
    ] = "digital"
    scale: Annotated[
        Literal["row", "peak"], _m("light that measures: rows of norm one, as published; or as strong as the data")
    ] = "row"
    light: Annotated[
        Literal["batch", "matrix"], _m("measured with the data, or with unit vectors as the published simulation")
    ] = "batch"
    noise: Annotated[
        Literal["fresh", "frozen"], _m("drawn for every measurement; or once and not in tests, as published")
    ] = "fresh"


class Pretrain(Section, frozen=True):
    """Electronic training before deployment: where the weights start and how they are optimised."""

    epochs: Annotated[int, _m("training of the electronic weights; 0: as they are", *_SOME_EPOCHS)] = 100
    weights: Annotated[str, _m("file they start from, .safetensors or .npz; empty: random")] = ""
    weights_map: Annotated[
        tuple[str, ...], _m("which layer is which: 'name in the file = layer here', '' for none; [] by shape, order")
    ] = ()
    batch: Annotated[int, _m("images in a mini-batch", "images", 1, 100_000)] = 32
    optimizer: Annotated[_Optimizer, _m("how the gradient is followed")] = "adamw"
    lr: Annotated[float, _epoch("learning rate at the start", *_LR)] = 2e-3
    schedule: Annotated[_Schedule, _m("how the learning rate falls")] = "cosine"
    decay: Annotated[float, _epoch("factor per epoch of the exponential schedule", "", 0, 1)] = 0.99
    lr_floor: Annotated[float, _epoch("lowest learning rate", *_LR)] = 2e-5
    weight_decay: Annotated[float, _epoch("decoupled weight decay (adamw)", "", 0, 10)] = 0.01


class Calibrate(Section, frozen=True):
    """How chips find phases at which their meshes are identities up to signs: a search, or twins fitted to probes."""

    method: Annotated[
        Literal[_Method, "twin"], _m("coordinate descent, ternary probing, gradient descent; a model fitted to probes")
    ] = "zcd"
    readout: Annotated[
        Literal["", "quadrature", "two_readings", "power"],
        _m("how cores are read while they are calibrated and mapped; empty: as chip.readout"),
    ] = ""
    epochs: Annotated[int, _m("sweeps over all phases", *_SOME_EPOCHS)] = 400
    lr: Annotated[float, _epoch("phase step at the start; never below one quantisation step", "rad", 0, 2 * _PI)] = 0.1
    decay: Annotated[float, _epoch("factor on the phase step per epoch", "", 0, 1)] = 0.99
    order: Annotated[_Order, _m("heaters as published, or column by column, which is faster")] = "published"
    polish: Annotated[int, _m("the last of these, by ternary probing from the best", *_SOME_EPOCHS)] = 50
    best_record: Annotated[bool, _m("keep the best phases seen, not the last")] = True
    adaptive: Annotated[bool, _m("restart blocks that are stuck")] = False

    def by(self, chip: Chip) -> str:
        """How cores are read while they are calibrated and mapped."""
        return self.readout or chip.readout


class Map(Section, frozen=True):
    """How the chips find phases that show the pretrained weights, from where, and what is compared with it."""

    method: Annotated[_Method, _m("coordinate descent, ternary probing or gradient descent")] = "zcd"
    epochs: Annotated[int, _m("sweeps over all phases; 0: meshes stay as deployed", *_SOME_EPOCHS)] = 300
    lr: Annotated[float, _epoch("phase step at the start; never below one quantisation step", "rad", 0, 2 * _PI)] = 0.1
    decay: Annotated[float, _epoch("factor on the phase step per epoch", "", 0, 1)] = 0.99
    order: Annotated[_Order, _m("heaters as published, or column by column, which is faster")] = "published"
    polish: Annotated[int, _m("the last of these, by ternary probing from the best", *_SOME_EPOCHS)] = 50
    best_record: Annotated[bool, _m("keep the best phases seen, not the last")] = True
    adaptive: Annotated[bool, _m("restart blocks that are stuck")] = False
    start: Annotated[Literal["calibrated", "ideal"], _m("phases offset by the calibrated ones, or as published")] = (
        "calibrated"
    )
    compare: Annotated[bool, _m("also map copies: from the published start, and at 1 % readout noise")] = True
    snapshots: Annotated[tuple[int, ...], _m("epochs kept as checkpoints to start from", "epochs")] = ()
    refine: Annotated[int, _m("after a twin: sweeps by ternary probing from what it programmed", *_SOME_EPOCHS)] = 0


class Learn(Section, frozen=True):
    """Training on the chip: optimiser, what is learnt by which protocol, and what is sampled to save light."""

    epochs: Annotated[int, _m("training of sigma and batch norm on the chip", *_SOME_EPOCHS)] = 30
    batch: Annotated[int, _m("images in a mini-batch", "images", 1, 100_000)] = 32
    optimizer: Annotated[_Optimizer, _m("how the gradient is followed")] = "adamw"
    lr: Annotated[float, _epoch("learning rate at the start", *_LR)] = 1e-3
    schedule: Annotated[_Schedule, _m("how the learning rate falls")] = "cosine"
    decay: Annotated[float, _epoch("factor per epoch of the exponential schedule", "", 0, 1)] = 0.99
    lr_floor: Annotated[float, _epoch("lowest learning rate", *_LR)] = 1e-4
    weight_decay: Annotated[float, _epoch("decoupled weight decay (adamw)", "", 0, 10)] = 0.01
    protocol: Annotated[
        Literal["subspace", "dfa", "pat", "flops", "mixedtrn", "spsa"],
        _m("what is learnt and how; dense, L2ight, RAD and SWAT-U are subspace with the samplers below"),
    ] = "subspace"
    feedback_sparsity: Annotated[float, _m("blocks left out of the error's way back", *_SPARSITY)] = 0.0
    feedback_rule: Annotated[_Blocks, _m("which blocks stay: largest per column, largest of all, random")] = "btopk"
    feedback_norm: Annotated[_Norm, _m("rescaling for the blocks left out")] = "exp"
    forward_sparsity: Annotated[float, _m("blocks left out both ways while learning (SWAT-U)", *_SPARSITY)] = 0.0
    forward_rule: Annotated[_Blocks, _m("which blocks stay: largest per row, largest of all, random")] = "uniform"
    forward_norm: Annotated[_Norm, _m("rescaling for the blocks left out")] = "exp"
    column_sparsity: Annotated[float, _m("pixels left out of a convolution's gradient", *_SPARSITY)] = 0.0
    column_norm: Annotated[_Norm, _m("rescaling for the pixels left out")] = "none"
    spatial_sparsity: Annotated[float, _m("input pixels a convolution's gradient forgets (RAD)", *_SPARSITY)] = 0.0
    spatial_norm: Annotated[_Norm, _m("rescaling for the pixels forgotten")] = "exp"
    sample_first_conv: Annotated[bool, _m("column sampling of the first convolution too")] = False
    feature_sparsity: Annotated[float, _m("blocks of inputs a dense layer's gradient leaves out", *_SPARSITY)] = 0.0
    feature_norm: Annotated[_Norm, _m("rescaling for the inputs left out")] = "exp"
    rank: Annotated[int, _m("sigma learnt in every core and step; 0 is all", "", 0, 1024)] = 0
    rank_rule: Annotated[Literal["topk", "uniform"], _m("which: the largest |sigma|, or random")] = "topk"
    rank_sign: Annotated[bool, _m("only the sign of sigma's gradient counts")] = False
    data_sparsity: Annotated[float, _m("share of mini-batches, or of every mini-batch, skipped", *_SPARSITY)] = 0.0
    data_rule: Annotated[
        Literal["smd", "importance"], _m("mini-batches at random; or images that the pretrained network is sure of")
    ] = "smd"
    probe_std: Annotated[float, _m("size of a perturbation (flops, spsa)", "rad", 1e-6, 10)] = 0.1
    probes: Annotated[int, _m("perturbations in a step (flops, spsa)", "", 1, 10_000)] = 1
    frozen_share: Annotated[float, _m("phases of the meshes never trained (mixedtrn)", *_SPARSITY)] = 0.85
    skipped_share: Annotated[float, _m("phases skipped in a step (mixedtrn)", *_SPARSITY)] = 0.9
    core_calls: Annotated[int, _m("stop after so many, to compare at equal cost; 0 is never", "calls", 0, 10**18)] = 0
    new_classifier: Annotated[bool, _m("with --from: the last layer starts anew, for other classes")] = False
    compare_gradients: Annotated[bool, _m("oracle: measured beside true gradients, by layer, in every epoch")] = False
    profile: Annotated[
        Literal["metered", "legacy"], _m("cost as the chips count it; also by the published program's rules")
    ] = "metered"
    shuffle: Annotated[bool, _m("mini-batches drawn anew every epoch; false: whole ones only, in order")] = True
    legacy_adam: Annotated[bool, _m("adam's step count restarts every epoch, as in a published notebook")] = False


class Upkeep(Section, frozen=True):
    """Service after learning, while biases wander (drift_std, step_std of the non-idealities), and what is done."""

    hours: Annotated[float, _m("chip time in service; 0: none", "h", 0, 1_000_000)] = 0.0
    every: Annotated[float, _epoch("chip time from one look to the next", "h", 1e-6, 1_000_000)] = 1.0
    policy: Annotated[
        Literal["none", "periodic", "triggered", "track", "learn"],
        _epoch("nothing; calibrate anew always, or cores that test vectors show wrong; follow by twins; learn on"),
    ] = "none"
    threshold: Annotated[float, _epoch("triggered: error of a core from which on it is calibrated", "", 0, 10)] = 0.01
    probes: Annotated[int, _epoch("triggered: test vectors of a look; track: settings of a look", "", 1, 10_000)] = 2
    sweeps: Annotated[int, _epoch("calibrated anew by search: sweeps of ternary probing", "sweeps", 1, 10_000)] = 10
    batches: Annotated[int, _epoch("learn: mini-batches of a look", "", 1, 1_000_000)] = 10
    lr: Annotated[float, _epoch("learn: learning rate", *_LR)] = 1e-3
