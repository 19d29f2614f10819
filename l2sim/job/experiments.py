"""The experiments of L2ight's scripts as plain values of jobs: what they share, and the rows of their tables.

A row's name is data set, model, experiment. A row is whole: it pretrains, calibrates and maps where its script starts
from a mapped chip, and learns from random matrices where its script does. With `--from RUN@map` it starts from another
run instead, so that several rows learn from the same chip.

Where these differ from the scripts: maps restart cores adaptively only where said (it ends worse on CNN-S); cores with
many blocks are visited column by column, which is faster and ends as well; gradients are always measured through the
calibrated pseudo-identities (the scripts' noisy_identity = 1).
"""

from __future__ import annotations

Values = dict[str, dict[str, object]]

_LARGE: Values = {
    "calibrate": {"order": "layer"},
    "map": {"order": "layer", "compare": False},
    "learn": {"lr_floor": 0.0, "epochs": 200, "lr": 2e-3},
    "pretrain": {"epochs": 200, "lr_floor": 0.0},
}
"""VGG8 and ResNet18."""
_SCRATCH: Values = {"pretrain": {"epochs": 0}, "map": {"epochs": 0, "polish": 0}}
"""Random matrices, on calibrated chips."""
_MAPPED: Values = {"learn": {"epochs": 0}}
_DEPLOYED: Values = {"calibrate": {"epochs": 0, "polish": 0}, "map": {"epochs": 0, "polish": 0}}
"""Pretrained matrices on chips that nobody calibrated or mapped: where zeroth-order training starts."""
_BLIND = {"schedule": "exponential", "decay": 0.99, "lr_floor": 0.0, "weight_decay": 0.0}


def _sampled(feedback: float, column: float = 0.0, data: float = 0.0) -> dict[str, object]:
    """The three levels of L2ight's sampling, as its scripts set them."""
    return {"feedback_sparsity": feedback, "column_sparsity": column, "data_sparsity": data}


def _images(
    data: str, model: str, sparsity: float, rad: float, swat: float, lr: float
) -> dict[str, tuple[str, Values]]:
    """The rows of a large model. `sparsity` of L2ight's levels, `rad` and `swat` of pixels, `lr` after mapping."""
    learnt = {"epochs": 20, "lr": lr}
    scratch = {
        "dense": ("from random matrices, dense", {}),
        "feedback": ("from random matrices, feedback sampled", _sampled(sparsity)),
        "column": ("the same, and columns", _sampled(sparsity, sparsity)),
        "data": ("the same, and data: all of L2ight", _sampled(sparsity, sparsity, 0.5)),
        "rad": ("from random matrices, by RAD", {"spatial_sparsity": rad, "spatial_norm": "exp"}),
        "swat": (
            "from random matrices, by SWAT-U",
            {"forward_sparsity": 0.3, "spatial_sparsity": swat, "spatial_norm": "none"},
        ),
    }
    rows = {name: (about, _joined(_SCRATCH, {"learn": values})) for name, (about, values) in scratch.items()}
    rows |= {
        "map": ("pretrained, calibrated and mapped", _MAPPED),
        "l2ight": ("mapped, then learnt by L2ight", {"learn": _sampled(sparsity, sparsity, 0.5) | learnt}),
    }
    return {f"{data}-{model}-{name}": (about, _joined(_LARGE, values)) for name, (about, values) in rows.items()}


def _joined(*parts: Values) -> Values:
    """The sections of all, later values winning."""
    made: Values = {}
    for part in parts:
        for section, values in part.items():
            made[section] = made.get(section, {}) | values
    return made


def _transfer(model: str, sparsity: float) -> dict[str, tuple[str, Values]]:
    """CIFAR-100 onto a chip, then CIFAR-10 with a new classifier."""
    mapped = {"map": {"method": "ztp", "epochs": 400}}
    learnt = {"epochs": 100, "lr": 1e-3, "new_classifier": True} | _sampled(sparsity, sparsity, 0.5)
    return {
        f"cifar100-{model}-map": ("pretrained, calibrated and mapped, to start a transfer from",
                                  _joined(_LARGE, _MAPPED, mapped)),
        f"cifar10-{model}-transfer": (f"--from RUN of cifar100-{model}-map: a new classifier, learnt by L2ight",
                                      _joined(_LARGE, mapped, {"learn": learnt})),
    }  # fmt: skip


_LONG: Values = {"learn": {"epochs": 100}}
_CNN_L: Values = {"map": {"epochs": 540}, "learn": {"epochs": 100}}

_ROWS: dict[str, tuple[str, Values]] = {
    "mnist-cnn-s-map": ("pretrained, calibrated and mapped", _MAPPED),
    "mnist-cnn-s-l2ight": (
        "mapped, then learnt by L2ight",
        {"learn": _sampled(0.6, 0.6, 0.5) | {"epochs": 10, "lr": 1e-4, "lr_floor": 0.0, "weight_decay": 0.0}},
    ),
    "mnist-cnn-s-dense": ("from random matrices, dense", _joined(_SCRATCH, _LONG)),
    "mnist-cnn-s-flops": (
        "deployed, then trained by FLOPS (DAC 2020)",
        _joined(_DEPLOYED, {"learn": _BLIND | {"protocol": "flops", "epochs": 50, "lr": 2.0}}),
    ),
    "mnist-cnn-s-mixedtrn": (
        "deployed, then trained by MixedTrn (AAAI 2021)",
        _joined(_DEPLOYED, {"learn": _BLIND | {"protocol": "mixedtrn", "epochs": 20, "lr": 0.0245}}),
    ),
    "fashion-cnn-l-map": ("pretrained, calibrated and mapped", _joined(_CNN_L, _MAPPED)),
    "fashion-cnn-l-dense": ("from random matrices, dense", _joined(_CNN_L, _SCRATCH)),
    "fashion-cnn-l-feedback": (
        "ablation: feedback_rule btopk, gtopk, uniform; feedback_sparsity .2 to .9; feedback_norm none, exp, var",
        _joined(_CNN_L, _SCRATCH, {"learn": _sampled(0.6)}),
    ),
    "fashion-cnn-l-column": (
        "ablation: column_sparsity .2, .6, .9",
        _joined(_CNN_L, _SCRATCH, {"learn": {"column_sparsity": 0.6, "sample_first_conv": True}}),
    ),
    "fashion-cnn-l-spatial": (
        "ablation: spatial_sparsity .2, .6, .9",
        _joined(_CNN_L, _SCRATCH, {"learn": {"spatial_sparsity": 0.6, "spatial_norm": "none"}}),
    ),
    "fashion-cnn-l-data": (
        "ablation: data_sparsity 0, .5 to .9, feedback and columns sampled",
        _joined(
            _CNN_L, _SCRATCH, {"learn": _sampled(0.6, 0.6, 0.5) | {"column_norm": "exp", "sample_first_conv": True}}
        ),
    ),
    "fashion-cnn-l-mixedtrn": (
        "deployed, then trained by MixedTrn (AAAI 2021)",
        _joined(
            _DEPLOYED,
            {"learn": _BLIND | {"protocol": "mixedtrn", "epochs": 100, "lr": 0.0245, "frozen_share": 0.6}},
        ),
    ),
    **_images("cifar10", "vgg8", 0.6, 0.85, 0.6, 2e-4),
    "cifar10-vgg8-snapshots": (
        "mapped, keeping epochs 20 to 300: learn from RUN@map:20 ... to see what a better mapping is worth",
        _joined(_LARGE, {"map": {"snapshots": [20, 40, 60, 80, 120, 200, 300]}, "learn": {"epochs": 50, "lr": 1e-3}}),
    ),
    **_images("cifar10", "resnet18", 0.5, 0.9, 0.5, 1e-4),
    **_transfer("vgg8", 0.6),
    **_transfer("resnet18", 0.5),
    "svhn-vgg8-map": ("pretrained, calibrated and mapped", _joined(_LARGE, _MAPPED)),
    "tiny-imagenet-resnet18-map": (
        "trained from ImageNet's weights (--set pretrain.weights=FILE), calibrated and mapped",
        _joined(_LARGE, _MAPPED, {"pretrain": {"epochs": 100}, "map": {"adaptive": True}}),
    ),
    "tiny-imagenet-resnet18-l2ight": (
        "the same, then learnt by L2ight",
        _joined(
            _LARGE,
            {"pretrain": {"epochs": 100}, "map": {"adaptive": True}},
            {"learn": _sampled(0.5, 0.5, 0.5) | {"epochs": 20, "lr": 1e-4}},
        ),
    ),
}

_DATA = {
    "mnist": ("MNIST", "mnist"),
    "fashion": ("Fashion-MNIST", "fashion-mnist"),
    "cifar10": ("CIFAR-10", "cifar10"),
    "cifar100": ("CIFAR-100", "cifar100"),
    "svhn": ("SVHN", "svhn"),
    "tiny-imagenet": ("Tiny ImageNet", "tiny-imagenet"),
}
_MODELS = {"cnn-s": "CNN-S", "cnn-l": "CNN-L", "vgg8": "VGG8", "resnet18": "ResNet18"}


def rows() -> dict[str, tuple[str, dict[str, object]]]:
    """Every row by name: what it is, and its job as nested plain values."""
    made = {}
    for name, (about, values) in _ROWS.items():
        data = next(key for key in sorted(_DATA, key=len, reverse=True) if name.startswith(f"{key}-"))
        model = next(key for key in _MODELS if name.removeprefix(f"{data}-").startswith(f"{key}-"))
        said, place = _DATA[data]
        job: dict[str, object] = {"name": name, "model": {"name": model}, "data": {"name": place}, **values}
        if model in ("vgg8", "resnet18"):
            job["precision"] = "float32"
        if place == "tiny-imagenet":
            job["model"] = {"name": model, "input": [3, 64, 64]}
        made[name] = (f"{_MODELS[model]} on {said}: {about}", job)
    return made
