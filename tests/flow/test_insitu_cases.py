"""Meshes that learn in situ with nonlinearities that leave no light, or more and more of it."""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

import pytest

from l2sim.errors import L2simError, ModelError
from l2sim.flow import flow
from l2sim.job.job import Job
from l2sim.nn import models
from l2sim.nn.place import place
from l2sim.store.events import Done, Trouble, Warned


def learnt(**settings: Any) -> tuple[float, list[str]]:
    """Test accuracy of `insitu-digits` with `settings` (0 where the run ended early), and what was said: warnings and
    an error."""
    job = Job.preset("insitu-digits", {name.replace("__", "."): value for name, value in settings.items()})
    accuracy, said = 0.0, []
    try:
        for event in flow.run(job):
            if isinstance(event, Warned | Trouble):
                said.append(event.message)
            if isinstance(event, Done):
                accuracy = next(s["accuracy"] for s in event.report["stages"] if s["name"] == "learn")
    except L2simError as refused:
        said.append(str(refused))
    return accuracy, said


CURE = re.compile(r"insitu\.|nonlinearity|layers")
"""What helps, by the name of a field."""


@pytest.mark.parametrize("nonlinearity", ("saturable", "electro-optic"))
def test_a_network_learns_at_the_presets_depth(nonlinearity: str) -> None:
    accuracy, said = learnt(insitu__nonlinearity=nonlinearity, learn__epochs=10)
    assert accuracy > 0.9 and not said, (accuracy, said)


def test_powers_of_powers_learn() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", RuntimeWarning)
        accuracy, said = learnt(insitu__nonlinearity="power", insitu__layers=8, learn__epochs=2)
    assert accuracy > 0.8 and not said, (accuracy, said)
    assert not [str(warning.message) for warning in seen if issubclass(warning.category, RuntimeWarning)]


@pytest.mark.parametrize("layers", (1, 2, 3, 4, 5, 8))
@pytest.mark.parametrize("nonlinearity", ("abs", "power", "electro-optic", "saturable"))
def test_every_nonlinearity_learns_at_every_depth(nonlinearity: str, layers: int) -> None:
    accuracy, said = learnt(insitu__nonlinearity=nonlinearity, insitu__layers=layers, learn__epochs=2)
    assert accuracy > 0.6 and not said, (accuracy, said)


@pytest.mark.parametrize(
    "settings",
    (
        {"nonlinearity": "electro-optic", "bias": math.pi},
        {"nonlinearity": "electro-optic", "bias": math.pi, "layers": 6},
        {"nonlinearity": "power", "layers": 6, "restore": "never"},
        {"nonlinearity": "power", "layers": 8, "restore": "never"},
        {"nonlinearity": "electro-optic", "tapped": 0.99, "layers": 8},
        {"nonlinearity": "electro-optic", "gain": 100.0},
    ),
    ids=lambda settings: " ".join(map(str, settings.values())),
)
def test_what_leaves_no_light_or_too_much_says_what_helps(settings: dict[str, object]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        accuracy, said = learnt(**{f"insitu__{name}": value for name, value in settings.items()}, learn__epochs=1)
    assert accuracy > 0.6 or any(CURE.search(text) for text in said), (accuracy, said)


def test_a_shut_modulator_learns_where_light_is_restored() -> None:
    """The published phi_b = pi; its networks were two deep, and the powers at their outputs were made to add to one."""
    shut = {"insitu__nonlinearity": "electro-optic", "insitu__bias": math.pi}
    dark, said = learnt(**shut, learn__epochs=12)
    lit, silent = learnt(**shut, insitu__restore="always", learn__epochs=12)
    assert dark < 0.4 and said and lit > 0.85 and not silent, (dark, lit)


def test_what_no_light_can_be_brought_to_is_refused() -> None:
    for power in (0.0, -1.0, math.inf):
        with pytest.raises(ModelError, match="power"):
            place(models.onn(power=power or -0.5))
