"""Named jobs: only what differs from the defaults of their flow, which are those of `digits` and `insitu-digits`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import NamedTuple

from l2sim.errors import JobError
from l2sim.job import experiments
from l2sim.plugins import Registry


class Preset(NamedTuple):
    """`values` is a job as nested plain values; `source` is where the settings come from."""

    about: str
    source: str
    values: Mapping[str, object]


_INSITU = "S. Pai et al., Science 380, 398 (2023), arXiv:2205.08501"
_NOTEBOOK = f"{_INSITU}: the notebook 'Scalability of in situ backpropagation'"
_ADAM = {"optimizer": "adam", "schedule": "exponential", "decay": 1.0, "lr": 1e-3, "lr_floor": 0.0, "weight_decay": 0.0}
"""Adam with a learning rate that stays as it is."""
_NOTEBOOK_RUN: dict[str, object] = {
    "insitu": {"features": "fourier"},
    "learn": {"lr": 1e-3, "batch": 512, "epochs": 50, "shuffle": False},
}
_SWEEP = f"{_INSITU}: its data sim_data.nc"


def _plane(name: str, words: str) -> Preset:
    """The 4-mode experiment on points of the plane."""
    return Preset(
        f"the 4-mode experiment: {words}; some seconds",
        f"{_INSITU}: three 4-mode meshes, two ports a class",
        {
            "name": f"insitu-{name}",
            "flow": "insitu",
            "data": {"name": name},
            "insitu": {"modes": 4, "layers": 3, "group": 2},
            "learn": {"lr": 1e-2, "batch": 40, "epochs": 60},
        },
    )


def _sweep(name: str, level: dict[str, float]) -> dict[str, object]:
    """A run of the published noise sweep: errors where fields are read, noise frozen on unit vectors."""
    return {
        "name": name,
        "flow": "insitu",
        "data": {"name": "mnist"},
        "nonidealities": {"io_input": False} | level,
        "insitu": {
            "features": "fourier", "scheme": "analog", "light": "matrix", "noise": "frozen", "loss": "batch-softmax",
        },
        "learn": {"lr": 1e-3, "batch": 600, "epochs": 100, "shuffle": False},
    }  # fmt: skip


_L2IGHT = "J. Gu et al., L2ight, NeurIPS 2021, arXiv:2110.14807"

PRESETS: Registry[Preset] = Registry("preset")
_OWN: dict[str, Preset] = {
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
    "digits-misled": Preset(
        "digits by twins, on a chip that its data sheet does not know: heat that reaches far, gains, offsets of sigma",
        f"{_L2IGHT}; what the data sheet does not know is of our own size, within what docs/chip.md cites",
        {
            "name": "digits-misled",
            "nonidealities": {
                "readout_noise": 0.01, "crosstalk_range": 1.0, "bend": 0.01, "gain_std": 0.02, "sigma_bias": 0.1,
            },
            "calibrate": {
                "method": "twin",
                "sheet": {"crosstalk_range": 0.0, "bend": 0.0, "gain_std": 0.0, "sigma_bias": 0.0},
            },
        },
    ),
    "digits-noisier": Preset(
        "digits by twins, whose readings are three times as noisy as the data sheet says",
        f"{_L2IGHT}; three times is ours",
        {
            "name": "digits-noisier", "nonidealities": {"readout_noise": 0.03},
            "calibrate": {"method": "twin", "sheet": {"readout_noise": 0.01}},
        },
    ),
    "insitu-digits": Preset(
        "three 64-mode meshes trained in situ on the UCI digits (ships with l2sim); ten seconds",
        f"{_INSITU}; its network, on pixels",
        {
            "name": "insitu-digits",
            "flow": "insitu",
            "precision": "float32",
            "nonidealities": {"base": "ideal"},
            "insitu": {"features": "pixels"},
            "learn": _ADAM | {"lr": 2e-3, "batch": 32, "epochs": 20},
        },
    ),
    "insitu-fashion": Preset(
        "the notebook: three 64-mode meshes on Fourier features of Fashion-MNIST; a minute",
        f"{_NOTEBOOK}; learn.legacy_adam=true is exactly its Adam",
        {"name": "insitu-fashion", "flow": "insitu", "data": {"name": "fashion-mnist"}} | _NOTEBOOK_RUN,
    ),
    "insitu-mnist": Preset(
        "the same on MNIST; a minute",
        _NOTEBOOK,
        {"name": "insitu-mnist", "flow": "insitu", "data": {"name": "mnist"}} | _NOTEBOOK_RUN,
    ),
    "insitu-moons": _plane("moons", "two half moons"),
    "insitu-ring": _plane("ring", "a ring and what lies inside and outside of it"),
    "insitu-noise": Preset(
        "the published noise sweep, noiseless: MNIST, noise drawn once, softmax over the batch; two minutes",
        f"{_SWEEP}; batch, epochs and levels are recorded, the rest is guessed",
        _sweep("insitu-noise", {}),
    ),
}

NOISE: dict[str, dict[str, float]] = {
    "tap-0.005": {"tap_noise": 0.005},
    "tap-0.01": {"tap_noise": 0.01},
    "tap-0.02": {"tap_noise": 0.02},
    "phase-0.025": {"io_phase_error": 0.025},
    "phase-0.05": {"io_phase_error": 0.05},
    "amplitude-0.025": {"io_amplitude_error": 0.025},
    "amplitude-0.05": {"io_amplitude_error": 0.05},
}
"""The levels of the published sweep, as non-idealities."""

for _name, (_about, _values) in (("-".join(key), experiments.composed(*key)) for key in experiments.names()):
    _OWN[_name] = Preset(_about, f"{_L2IGHT}: composed from its scripts", _values)

for _name, _level in NOISE.items():
    _OWN[f"insitu-noise-{_name}"] = Preset(
        f"the same with {' '.join(f'{key} = {value:g}' for key, value in _level.items())}",
        _SWEEP,
        _sweep(f"insitu-noise-{_name}", _level),
    )

for _name, _preset in _OWN.items():
    PRESETS.register(_name, _preset)


def defaults(preset: str) -> dict[str, object]:
    """What the preset of that name sets besides the name, by dotted path: the defaults of the flow whose it is."""
    flat: dict[str, object] = {}
    for key, value in PRESETS[preset].values.items():
        flat |= {f"{key}.{name}": item for name, item in value.items()} if isinstance(value, dict) else {key: value}
    flat.pop("name", None)
    return flat


def smoked() -> list[str]:
    """The presets that are tried in a few steps: all, but of the experiments of L2ight a sample of rows and columns."""
    matrix = {"-".join(key) for key in experiments.names()}
    return [name for name in PRESETS if name not in matrix] + experiments.sample()


def get(name: str) -> Preset:
    """The preset `name`. Raises JobError with the nearest name."""
    if not isinstance(name, str):
        raise JobError(f"a preset is a name in quotes, not a {type(name).__name__}; `l2sim presets` lists them")
    if name in PRESETS:
        return PRESETS[name]
    near = difflib.get_close_matches(name.lower(), PRESETS, 1, 0.4)
    hint = f"did you mean {near[0]}?" if near else "`l2sim presets` lists them; or use a job file such as job.toml"
    raise JobError(f"there is no preset {name!r}; {hint}")
