"""Named jobs: only what differs from the defaults of `l2sim.run.job`, which are those of `digits`."""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple

from l2sim.errors import JobError


class Preset(NamedTuple):
    """`values` is a job as nested plain values; `source` is where the settings come from."""

    about: str
    source: str
    values: dict[str, Any]


_L2IGHT = "J. Gu et al., L2ight, NeurIPS 2021, arXiv:2110.14807"

PRESETS: dict[str, Preset] = {
    "digits": Preset(
        "CNN-S on the UCI digits (1,797 images, ships with l2sim); half a minute",
        f"{_L2IGHT}; 30 epochs of learning instead of 100",
        {"name": "digits"},
    ),
    # The reference's scripts map CNN-S with adaptive restarts; they end worse there than without, so they stay off.
    "mnist-cnn-s": Preset(
        "CNN-S on MNIST resized to 16 x 16; some eight minutes",
        _L2IGHT,
        {"name": "mnist-cnn-s", "model": {"name": "cnn-s"}, "data": {"name": "mnist"}, "learn": {"epochs": 100}},
    ),
    "fashion-mlp": Preset(
        "MLP (784-64-64-10, 8 x 8 cores) on Fashion-MNIST; some ten minutes",
        f"{_L2IGHT}; its MLP with the stages of its CNN-S",
        {"name": "fashion-mlp", "model": {"name": "mlp"}, "data": {"name": "fashion-mnist"}, "learn": {"epochs": 100}},
    ),
}


def get(name: str) -> Preset:
    """The preset `name`. Raises JobError with the nearest name."""
    if name in PRESETS:
        return PRESETS[name]
    near = difflib.get_close_matches(name.lower(), PRESETS, 1, 0.4)
    hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(PRESETS)}, or a job file such as job.toml"
    raise JobError(f"there is no preset {name!r}; {hint}")
