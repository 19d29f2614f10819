"""The experiments of L2ight's scripts, as jobs composed from three tables: data sets, models and methods.

A job's name is DATA-MODEL-METHOD, e.g. cifar10-vgg8-l2ight. A job is whole: it pretrains, calibrates and maps where its
script starts from a mapped chip, and learns from random matrices where its script does. With `--from RUN@map` it starts
from another run instead, so that several jobs learn from the same chip.

Where these differ from the scripts: maps restart cores adaptively only where said (it ends worse on CNN-S); cores with
many blocks are visited column by column, which is faster and ends as well; gradients are always measured through the
calibrated pseudo-identities (the scripts' noisy_identity = 1), also where the scripts take ideal ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

Values = dict[str, dict[str, object]]


class Data(NamedTuple):
    """A data set as people call it, and as jobs do."""

    title: str
    name: str


class Model(NamedTuple):
    """A model with the data sets and methods that its scripts have. `values` are what all of its jobs share."""

    title: str
    data: tuple[str, ...]
    methods: dict[str, Method]
    values: Values


class Method(NamedTuple):
    """What is done to a network. `data`: the data sets it is for, where these are not all of its model."""

    about: str
    values: Values
    data: tuple[str, ...] = ()


def joined(*parts: Values) -> Values:
    """The sections of all, later values winning."""
    made: Values = {}
    for part in parts:
        for section, values in part.items():
            made[section] = made.get(section, {}) | values
    return made


# -- where learning starts ---------------------------------------------------------------------------------------------

_SCRATCH: Values = {"pretrain": {"epochs": 0}, "map": {"epochs": 0, "polish": 0}}
"""Random matrices, on calibrated chips."""
_MAPPED: Values = {"learn": {"epochs": 0}}
_DEPLOYED: Values = {"calibrate": {"epochs": 0, "polish": 0}, "map": {"epochs": 0, "polish": 0}}
"""Pretrained matrices on chips that nobody calibrated or mapped: where zeroth-order training starts."""
_TERNARY: Values = {"map": {"method": "ztp", "epochs": 400}}
"""The published mapping of networks that are transferred."""

_COMMON = {
    "pretrain": Method("pretrained, and deployed as it is", joined(_DEPLOYED, _MAPPED)),
    "map": Method("pretrained, calibrated and mapped", _MAPPED),
}


def _sampled(feedback: float, column: float = 0.0, data: float = 0.0) -> dict[str, object]:
    """The three levels of L2ight's sampling, as its scripts set them."""
    return {"feedback_sparsity": feedback, "column_sparsity": column, "data_sparsity": data}


# -- VGG8 and ResNet18 -------------------------------------------------------------------------------------------------

_LARGE: Values = {
    "calibrate": {"order": "layer"},
    "map": {"order": "layer", "compare": False},
    "learn": {"lr_floor": 0.0, "epochs": 200, "lr": 2e-3},
    "pretrain": {"epochs": 200, "lr_floor": 0.0},
}


def _large(sparsity: float, rad: float, swat: float, lr: float) -> dict[str, Method]:
    """The methods of a large model. `sparsity` of L2ight's levels, `rad` and `swat` of pixels, `lr` after mapping."""
    samplers: dict[str, tuple[str, dict[str, object]]] = {
        "dense": ("dense", {}),
        "feedback": ("feedback sampled", _sampled(sparsity)),
        "column": ("feedback and columns sampled", _sampled(sparsity, sparsity)),
        "spatial": ("pixels sampled", {"spatial_sparsity": swat, "spatial_norm": "none"}),
        "data": ("feedback, columns and data sampled", _sampled(sparsity, sparsity, 0.5)),
        "rad": ("by RAD", {"spatial_sparsity": rad, "spatial_norm": "exp"}),
        "swat": ("by SWAT-U", {"forward_sparsity": 0.3, "spatial_sparsity": swat, "spatial_norm": "none"}),
    }
    after: dict[str, object] = {"epochs": 20, "lr": lr}
    starts: dict[str, tuple[str, Values, dict[str, object]]] = {
        "": ("from random matrices", _SCRATCH, {}),
        "mapped-": ("from the mapped chip, 50 epochs", {}, {"epochs": 50, "lr": 1e-3}),
        "calibrated-": ("from the calibrated and mapped chip, 20 epochs", {}, after),
    }
    made = dict(_COMMON)
    for start, (origin, stages, learn) in starts.items():
        for name, (way, learnt) in samplers.items():
            made[start + name] = Method(f"{origin}, {way}", joined(stages, {"learn": learnt | learn}))
    whole = _sampled(sparsity, sparsity, 0.5)
    moved = joined(_TERNARY, {"learn": {"epochs": 100, "lr": 1e-3, "new_classifier": True} | whole})
    return made | {
        "l2ight": Method("all of L2ight: the same as calibrated-data", made["calibrated-data"].values),
        "transfer-pretrain": Method("pretrained, to start a transfer from", made["pretrain"].values),
        "transfer-map": Method("and mapped by ternary probing, to start a transfer from", joined(_MAPPED, _TERNARY)),
        "transfer": Method("--from RUN of another set's transfer-map: a new classifier, learnt by L2ight", moved),
    }


_SNAPSHOTS: Values = {
    "map": {"snapshots": [20, 40, 60, 80, 120, 200, 300]},
    "learn": {"epochs": 50, "lr": 1e-3},
}
_VGG8 = _large(0.6, 0.85, 0.6, 2e-4) | {
    "snapshots": Method(
        "keeps epochs 20 to 300 of mapping: learn from RUN@map:20 ... to see what they are worth",
        _SNAPSHOTS,
        ("cifar10",),
    )
}

# -- CNN-S, CNN-L and the MLP ------------------------------------------------------------------------------------------

_BLIND = {"schedule": "exponential", "decay": 0.99, "lr_floor": 0.0, "weight_decay": 0.0}
_COMPARED: dict[str, object] = {"compare_gradients": True}
_COLUMN: dict[str, object] = {"column_sparsity": 0.6, "sample_first_conv": True}
_SPATIAL: dict[str, object] = {"spatial_sparsity": 0.6, "spatial_norm": "none"}


def _learnt(about: str, values: dict[str, object]) -> Method:
    return Method(f"from random matrices, {about}", joined(_SCRATCH, {"learn": values}))


def _blind(mixedtrn: dict[str, object]) -> dict[str, Method]:
    """Zeroth-order training of deployed networks."""
    flops: dict[str, object] = {"protocol": "flops", "epochs": 50, "lr": 2.0}
    mixed = {"protocol": "mixedtrn", "lr": 0.0245} | mixedtrn
    return {
        "flops": Method("deployed, trained by FLOPS (DAC 2020)", joined(_DEPLOYED, {"learn": _BLIND | flops})),
        "mixedtrn": Method("deployed, trained by MixedTrn (AAAI 2021)", joined(_DEPLOYED, {"learn": _BLIND | mixed})),
    }


_DENSE_LAYERS = {
    "dense": _learnt("dense", {}),
    "feature": _learnt("inputs of dense layers sampled; feature_sparsity .2 to .9", {"feature_sparsity": 0.6}),
    "forward": _learnt(
        "weights sampled both ways; forward_sparsity .2 to .9",
        {"forward_sparsity": 0.5, "forward_rule": "gtopk", "forward_norm": "none"},
    ),
}
_CONVOLUTIONS = {
    "l2ight": Method(
        "mapped, then learnt by L2ight",
        {"learn": _sampled(0.6, 0.6, 0.5) | {"epochs": 10, "lr": 1e-4, "lr_floor": 0.0, "weight_decay": 0.0}},
    ),
    "feedback": _learnt("feedback sampled by btopk; feedback_sparsity .2 to .9, feedback_norm", _sampled(0.6)),
    "feedback-gtopk": _learnt("the same by gtopk", _sampled(0.6) | {"feedback_rule": "gtopk"}),
    "feedback-uniform": _learnt("the same, blocks at random", _sampled(0.6) | {"feedback_rule": "uniform"}),
    "column": _learnt("columns sampled; column_sparsity .2, .6, .9", _COLUMN),
    "spatial": _learnt("pixels sampled; spatial_sparsity .2, .6, .9", _SPATIAL),
    "data": _learnt(
        "data sampled; data_sparsity 0, .5 to .9",
        _sampled(0.6, 0.6, 0.5) | {"column_norm": "exp", "sample_first_conv": True},
    ),
    "gradient-feedback": _learnt("gradients compared, feedback sampled", _sampled(0.6) | _COMPARED),
    "gradient-column": _learnt("gradients compared, columns sampled", _COLUMN | _COMPARED),
    "gradient-spatial": _learnt("gradients compared, pixels sampled", _SPATIAL | _COMPARED),
    "gradient-column-spatial": _learnt(
        "gradients compared, both sampled; column_norm, spatial_norm none, exp, var",
        _COLUMN | _SPATIAL | {"column_norm": "exp", "spatial_norm": "exp"} | _COMPARED,
    ),
}
_LONG: Values = {"learn": {"epochs": 100}}
_SMALL = _COMMON | _DENSE_LAYERS
_MLP = _SMALL | _blind({"epochs": 20})
_CNN_S = _SMALL | _CONVOLUTIONS | _blind({"epochs": 20})
_CNN_L = _SMALL | _CONVOLUTIONS | _blind({"epochs": 100, "frozen_share": 0.6})

# -- the tables --------------------------------------------------------------------------------------------------------

DATA = {
    "mnist": Data("MNIST", "mnist"),
    "fashion": Data("Fashion-MNIST", "fashion-mnist"),
    "cifar10": Data("CIFAR-10", "cifar10"),
    "cifar100": Data("CIFAR-100", "cifar100"),
    "svhn": Data("SVHN", "svhn"),
    "tiny-imagenet": Data("Tiny ImageNet", "tiny-imagenet"),
}
_GREY, _COLOUR = ("mnist", "fashion"), ("cifar10", "cifar100", "svhn", "tiny-imagenet")
MODELS = {
    "mlp": Model("MLP", _GREY, _MLP, _LONG),
    "cnn-s": Model("CNN-S", _GREY, _CNN_S, _LONG),
    "cnn-l": Model("CNN-L", _GREY, _CNN_L, joined(_LONG, {"map": {"epochs": 540}})),
    "vgg8": Model("VGG8", _COLOUR, _VGG8, _LARGE),
    "resnet18": Model("ResNet18", _COLOUR, _large(0.5, 0.9, 0.5, 1e-4), _LARGE),
}
METHODS = {name: method for model in reversed(MODELS.values()) for name, method in model.methods.items()}
"""Every method by name, those of the large models first; values are those of one of its models."""
_OF_DATA: dict[tuple[str, str], Values] = {
    ("cifar100", "vgg8"): _TERNARY,
    ("cifar100", "resnet18"): _TERNARY,
    ("tiny-imagenet", "vgg8"): {"pretrain": {"epochs": 100}},
    ("tiny-imagenet", "resnet18"): {"pretrain": {"epochs": 100}, "map": {"adaptive": True}},
}
"""What the scripts set otherwise for a model on one data set."""


def names() -> Iterator[tuple[str, str, str]]:
    """Every (data, model, method) that has a job."""
    for model, entry in MODELS.items():
        for data in entry.data:
            for method, (_, _, only) in entry.methods.items():
                if not only or data in only:
                    yield data, model, method


def composed(data: str, model: str, method: str) -> tuple[str, dict[str, object]]:
    """The job of a name: what it is, and its fields as nested plain values."""
    set_, network = DATA[data], MODELS[model]
    way = network.methods[method]
    values = joined(network.values, _OF_DATA.get((data, model), {}), way.values)
    job: dict[str, object] = {
        "name": f"{data}-{model}-{method}", "model": {"name": model}, "data": {"name": set_.name}, **values,
    }  # fmt: skip
    if model in ("vgg8", "resnet18"):
        job["precision"] = "float32"
    if data == "tiny-imagenet":
        job["model"] = {"name": model, "input": [3, 64, 64]}
    weights = ", from ImageNet's weights (--set pretrain.weights=FILE)"
    started = weights if (data, model) == ("tiny-imagenet", "resnet18") and "pretrain" not in way.values else ""
    return f"{network.title} on {set_.title}: {way.about}{started}", job


def sample() -> list[str]:
    """Names in which every model meets every one of its methods and data sets: what `make smoke` runs of the matrix."""
    chosen = []
    for model, entry in MODELS.items():
        for i, (method, (_, _, only)) in enumerate(entry.methods.items()):
            data = only or entry.data
            chosen.append(f"{data[i % len(data)]}-{model}-{method}")
    return chosen
