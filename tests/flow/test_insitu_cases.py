"""Meshes that learn in situ with nonlinearities that leave no light, or more and more of it."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest

from l2sim.errors import L2simError
from l2sim.flow import flow
from l2sim.job.job import Job
from l2sim.store.events import Done, Warned


def learnt(**settings: Any) -> tuple[float, list[str]]:
    """Test accuracy of `insitu-digits` with `settings` (0 where the run ended early), and what was said: warnings and
    an error."""
    job = Job.preset("insitu-digits", {name.replace("__", "."): value for name, value in settings.items()})
    accuracy, said = 0.0, []
    try:
        for event in flow.run(job):
            if isinstance(event, Warned):
                said.append(event.message)
            if isinstance(event, Done):
                accuracy = next(s["accuracy"] for s in event.report["stages"] if s["name"] == "learn")
    except L2simError as refused:
        said.append(str(refused))
    return accuracy, said


CURE = re.compile(r"insitu\.|nonlinearity|layers")
"""What helps, by the name of a field."""


@pytest.mark.parametrize(
    "nonlinearity",
    (
        "saturable",
        pytest.param(
            "electro-optic",
            marks=pytest.mark.xfail(
                strict=True,
                raises=AssertionError,
                reason="three electro-optic layers let no light through, learn nothing and say nothing",
            ),
        ),
    ),
)
def test_a_network_learns_or_says_that_no_light_reaches_its_detectors(nonlinearity: str) -> None:
    accuracy, said = learnt(insitu__nonlinearity=nonlinearity, learn__epochs=10)
    assert accuracy > 0.6 or any(CURE.search(text) for text in said), (accuracy, said)


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="|y|^2 after every mesh overflows, and the run blames light that nobody sent instead of naming a cure",
)
def test_powers_of_powers_learn_or_the_cure_is_said() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", RuntimeWarning)
        accuracy, said = learnt(insitu__nonlinearity="power", insitu__layers=8, learn__epochs=1)
    assert accuracy > 0.2 or any(CURE.search(text) for text in said), (accuracy, said)
    assert not [str(warning.message) for warning in seen if issubclass(warning.category, RuntimeWarning)]
