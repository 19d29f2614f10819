"""The sections of a job: every field with its type, default, meaning, unit and range."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec


def said(meaning: str, unit: str = "", low: float | None = None, high: float | None = None) -> msgspec.Meta:
    """What is said about a field; the range includes its ends."""
    return msgspec.Meta(description=meaning, ge=low, le=high, extra={"unit": unit})


_m = said
_LR = ("", 0, 100)
_EPOCHS = ("epochs", 1, 1_000_000)
_SOME_EPOCHS = ("epochs", 0, 1_000_000)
_SPARSITY = ("share", 0, 0.99)
_Optimizer = Literal["adamw", "adam", "sgd"]
_Schedule = Literal["cosine", "exponential"]
_Norm = Literal["none", "exp", "var"]
_Order = Literal["published", "layer"]
_Method = Literal["zcd", "ztp", "zgd"]
Picture = Literal["digits", "mnist", "fashion-mnist", "synthetic"]
Plane = Literal["moons", "circles", "blobs", "ring"]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the sections of a job."""


class Model(Section, frozen=True):
    name: Annotated[Literal["cnn-s", "mlp", "cnn-l", "vgg8", "resnet18"], _m("the network")] = "cnn-s"


class Data(Section, frozen=True):
    name: Annotated[Literal[Picture, Plane], _m("pictures; points of the plane (insitu)")] = "digits"
    validation: Annotated[float, _m("training images kept for choosing settings", "share", 0, 0.9)] = 0.0


class Nonidealities(Section, frozen=True):
    """Which chip is fabricated: a cited preset, and what departs from it. None keeps the value of `base`."""

    base: Annotated[
        Literal["l2ight-2021", "ideal", "silicon"], _m("the preset that fields left out take their value from")
    ] = "l2ight-2021"
    phase_bits: Annotated[int, _m("resolution of a phase; 0 is continuous", "bit", 0, 16)] | None = None
    phase_bias: Annotated[float, _m("half range of the unknown phase offsets", "rad", 0, math.pi)] | None = None
    gamma_std: Annotated[float, _m("spread of the heater efficiencies", "rad/V^2", 0, 0.1)] | None = None
    crosstalk: Annotated[float, _m("share of a phase that leaks to each neighbour", "share", 0, 0.2)] | None = None
    drive: Annotated[Literal["phase", "voltage"], _m("what is quantised")] | None = None
    v_max: Annotated[float, _m("highest heater voltage", "V", 0.1, 1000)] | None = None
    curve: Annotated[tuple[float, ...], _m("phase(V): factors of V^0, V^1 ...; or as measured", "rad")] | None = None
    curve_volts: Annotated[tuple[float, ...], _m("rising voltages at which curve was measured", "V")] | None = None
    stuck: Annotated[float, _m("heaters stuck at a random phase", "share", 0, 1)] | None = None
    dead: Annotated[float, _m("heaters that do not heat", "share", 0, 1)] | None = None
    readout_noise: Annotated[float, _m("std of a reading, relative to unit input amplitude", "", 0, 1)] | None = None
    shot_noise: Annotated[float, _m("std of a power reading at unit power", "", 0, 1)] | None = None
    reference_phase_std: Annotated[float, _m("std of the homodyne reference's phase", "rad", 0, math.pi)] | None = None
    exact_sigma: Annotated[bool, _m("sigma is realised exactly, as published")] | None = None
    heat_wraps: Annotated[bool, _m("a phase is taken modulo 2 pi before it leaks, as published")] | None = None
    single_arm: Annotated[bool, _m("one arm of an MZI of a core is heated, not both in push-pull")] | None = None
    splitter_error_std: Annotated[float, _m("std of the splitters' angle around pi/4", "rad", 0, 0.5)] | None = None
    splitter_shared: Annotated[bool, _m("both splitters of an MZI have the same error")] | None = None
    loss_db: Annotated[float, _m("mean loss of every arm section", "dB", 0, 10)] | None = None
    loss_db_std: Annotated[float, _m("its spread", "dB", 0, 10)] | None = None
    phase_error_std: Annotated[float, _m("fixed errors of the phases", "rad", 0, math.pi)] | None = None
    io_amplitude_error: Annotated[float, _m("relative error of a modulated or read field", "", 0, 1)] | None = None
    io_phase_error: Annotated[float, _m("error of its phase", "pi rad", 0, 1)] | None = None
    io_input: Annotated[bool, _m("modulators have these errors too, not only readings")] | None = None
    tap_noise: Annotated[float, _m("std of a tap's power reading at unit power", "", 0, 1)] | None = None
    detuning_nm: Annotated[float, _m("wavelength off the design wavelength", "nm", -200, 200)] | None = None
    dispersion: Annotated[float, _m("change of the splitters' angle per nm", "1/nm", -0.01, 0.01)] | None = None


class Chip(Section, frozen=True):
    mesh: Annotated[Literal["rectangular", "triangular"], _m("layout of U and V: Clements or Reck")] = "rectangular"
    readout: Annotated[
        Literal["quadrature", "power", "field"], _m("homodyne, signed; direct detection; or both quadratures")
    ] = "quadrature"


class Insitu(Section, frozen=True):
    """A network of whole meshes, trained by light sent forward and backward."""

    features: Annotated[Literal["fourier", "pca", "pixels"], _m("what of a picture the light carries")] = "fourier"
    mesh: Annotated[
        Literal["rectangular", "triangular", "permuting", "butterfly", "tree_cascade"], _m("layout of every mesh")
    ] = "rectangular"
    modes: Annotated[int, _m("ports of every mesh", "ports", 1, 1024)] = 64
    layers: Annotated[int, _m("meshes, one behind the other", "meshes", 1, 100)] = 3
    nonlinearity: Annotated[
        Literal["abs", "power", "electro-optic", "saturable"], _m("what stands behind every mesh")
    ] = "abs"
    group: Annotated[int, _m("ports whose powers add up to the logit of a class", "ports", 1, 512)] = 1
    loss: Annotated[
        Literal["cross-entropy", "mse", "batch-softmax"], _m("objective; batch-softmax is a published slip")
    ] = "cross-entropy"
    scheme: Annotated[
        Literal["digital", "analog", "sweep", "toggle"], _m("how gradients are read from the power taps")
    ] = "digital"
    light: Annotated[
        Literal["batch", "matrix"], _m("measured with the data, or with unit vectors as the published simulation")
    ] = "batch"
    noise: Annotated[
        Literal["fresh", "frozen"], _m("drawn for every measurement; or once and not in tests, as published")
    ] = "fresh"


class Pretrain(Section, frozen=True):
    epochs: Annotated[int, _m("training of the electronic weights", *_EPOCHS)] = 100
    batch: Annotated[int, _m("images in a mini-batch", "images", 1, 100_000)] = 32
    optimizer: Annotated[_Optimizer, _m("how the gradient is followed")] = "adamw"
    lr: Annotated[float, _m("learning rate at the start", *_LR)] = 2e-3
    schedule: Annotated[_Schedule, _m("how the learning rate falls")] = "cosine"
    decay: Annotated[float, _m("factor per epoch of the exponential schedule", "", 0, 1)] = 0.99
    lr_floor: Annotated[float, _m("lowest learning rate", *_LR)] = 2e-5
    weight_decay: Annotated[float, _m("decoupled weight decay (adamw)", "", 0, 10)] = 0.01


class Calibrate(Section, frozen=True):
    method: Annotated[_Method, _m("coordinate descent, ternary probing or gradient descent")] = "zcd"
    epochs: Annotated[int, _m("sweeps over all phases", *_EPOCHS)] = 400
    lr: Annotated[float, _m("phase step at the start; never below one quantisation step", "rad", 0, 2 * math.pi)] = 0.1
    decay: Annotated[float, _m("factor on the phase step per epoch", "", 0, 1)] = 0.99
    order: Annotated[_Order, _m("heaters as published, or column by column, which is faster")] = "published"
    polish: Annotated[int, _m("the last of these, by ternary probing from the best", *_SOME_EPOCHS)] = 50
    best_record: Annotated[bool, _m("keep the best phases seen, not the last")] = True
    adaptive: Annotated[bool, _m("restart blocks that are stuck")] = False


class Map(Section, frozen=True):
    method: Annotated[_Method, _m("coordinate descent, ternary probing or gradient descent")] = "zcd"
    epochs: Annotated[int, _m("sweeps over all phases", *_EPOCHS)] = 300
    lr: Annotated[float, _m("phase step at the start; never below one quantisation step", "rad", 0, 2 * math.pi)] = 0.1
    decay: Annotated[float, _m("factor on the phase step per epoch", "", 0, 1)] = 0.99
    order: Annotated[_Order, _m("heaters as published, or column by column, which is faster")] = "published"
    polish: Annotated[int, _m("the last of these, by ternary probing from the best", *_SOME_EPOCHS)] = 50
    best_record: Annotated[bool, _m("keep the best phases seen, not the last")] = True
    adaptive: Annotated[bool, _m("restart blocks that are stuck")] = False
    start: Annotated[Literal["calibrated", "ideal"], _m("phases offset by the calibrated ones, or as published")] = (
        "calibrated"
    )
    compare: Annotated[bool, _m("also map copies: from the published start, and at 1 % readout noise")] = True
    snapshots: Annotated[tuple[int, ...], _m("epochs kept as checkpoints to start from", "epochs")] = ()


class Learn(Section, frozen=True):
    epochs: Annotated[int, _m("training of sigma and batch norm on the chip", *_EPOCHS)] = 30
    batch: Annotated[int, _m("images in a mini-batch", "images", 1, 100_000)] = 32
    optimizer: Annotated[_Optimizer, _m("how the gradient is followed")] = "adamw"
    lr: Annotated[float, _m("learning rate at the start", *_LR)] = 1e-3
    schedule: Annotated[_Schedule, _m("how the learning rate falls")] = "cosine"
    decay: Annotated[float, _m("factor per epoch of the exponential schedule", "", 0, 1)] = 0.99
    lr_floor: Annotated[float, _m("lowest learning rate", *_LR)] = 1e-4
    weight_decay: Annotated[float, _m("decoupled weight decay (adamw)", "", 0, 10)] = 0.01
    feedback_sparsity: Annotated[float, _m("blocks left out of the error's way back", *_SPARSITY)] = 0.0
    feedback_rule: Annotated[
        Literal["btopk", "gtopk", "uniform"], _m("which blocks stay: largest per column, largest of all, random")
    ] = "btopk"
    feedback_norm: Annotated[_Norm, _m("rescaling for the blocks left out")] = "exp"
    column_sparsity: Annotated[float, _m("pixels left out of a convolution's gradient", *_SPARSITY)] = 0.0
    column_norm: Annotated[_Norm, _m("rescaling for the pixels left out")] = "none"
    sample_first_conv: Annotated[bool, _m("column sampling of the first convolution too")] = False
    data_sparsity: Annotated[float, _m("mini-batches skipped at random", *_SPARSITY)] = 0.0
    shuffle: Annotated[bool, _m("mini-batches drawn anew every epoch; false: whole ones only, in order")] = True
    legacy_adam: Annotated[bool, _m("adam's step count restarts every epoch, as in a published notebook")] = False
