"""Measured beside true gradients while a network learns (`learn.compare_gradients`): known values, seen by nobody."""

from __future__ import annotations

import math

import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.errors import JobError
from l2sim.flow import flow, oracle
from l2sim.job.job import Job
from l2sim.store.events import Checkpoint, Epoch, Event, StageDone, Step

QUICK = {
    "pretrain.epochs": 1, "calibrate.epochs": 2, "calibrate.polish": 1, "map.epochs": 0, "map.polish": 0,
    "map.compare": False, "learn.epochs": 2, "learn.data_sparsity": 0.8,
}  # fmt: skip
IDEAL = {"nonidealities.base": "ideal"}
HEAD = "oracle_gradient_"


def events(preset: str, **values: object) -> list[Event]:
    base = QUICK if preset == "digits" else {"learn.epochs": 2, "insitu.layers": 2}
    job = Job.preset(preset, base | {name.replace("__", "."): value for name, value in values.items()})
    return list(flow.run(job))


def scalars(seen: list[Event], stage: str = "learn") -> list[dict[str, float]]:
    return [event.scalars for event in seen if isinstance(event, Epoch) and event.stage == stage]


@pytest.mark.parametrize(
    ("true", "seen", "angle", "distance"),
    (
        ([1, 0], [1, 0], 0, 0), ([1, 0], [3, 0], 0, 4), ([1, 0], [0, 1], math.pi / 2, 2), ([2, 0], [-2, 0], math.pi, 4),
        ([1, 0], [1, 1], math.pi / 4, 1), ([1, 0], [0, 0], math.pi / 2, 1), ([0, 0], [0, 0], 0, 0),
        ([0, 0], [1, 0], math.pi / 2, 1), ([3e-200, 0], [3e-200, 4e-200], math.atan2(4, 3), 16 / 9),
    ),
)  # fmt: skip
def test_hand_made_gradients(true: list[float], seen: list[float], angle: float, distance: float) -> None:
    found = oracle.compared(np.array(true, float), np.array(seen, float))
    assert found.angle == pytest.approx(angle, abs=1e-15)
    assert found.distance == pytest.approx(distance, abs=1e-15)


def test_the_total_is_that_of_all_layers_as_one_vector() -> None:
    pairs = {"a": (np.array([1.0, 0.0]), np.array([1.0, 0.0])), "b": (np.array([1.0]), np.array([0.0]))}
    found = oracle.comparison(pairs)
    assert found[f"{HEAD}angle_a"] == 0 and found[f"{HEAD}distance_b"] == 1
    assert found[f"{HEAD}angle"] == pytest.approx(math.pi / 4) and found[f"{HEAD}distance"] == pytest.approx(0.5)


def test_cosine_and_angle_agree_on_anything() -> None:
    rng = generator(1, "angles")
    for _ in range(50):
        a, b = rng.standard_normal((2, 7))
        cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert oracle.compared(a, b).angle == pytest.approx(math.acos(cosine), abs=1e-7)


def test_nothing_sampled_on_perfect_chips_is_exact() -> None:
    rows = scalars(events("digits", learn__compare_gradients=True, **IDEAL, calibrate__epochs=0))
    layers = {name for name in rows[0] if name.startswith(HEAD)}
    assert {f"{HEAD}angle", f"{HEAD}distance", f"{HEAD}angle_fc1", f"{HEAD}distance_conv2"} <= layers
    for row in rows:
        assert all(row[name] == pytest.approx(0, abs=1e-6) for name in layers), row


def test_nothing_but_calibration_lies_between_measured_and_true_gradients() -> None:
    """The chips of the preset, unsampled: what their pseudo-identities leave."""
    row = scalars(events("digits", learn__compare_gradients=True))[-1]
    assert 0 < row[f"{HEAD}angle"] < math.pi / 2


@pytest.mark.parametrize("sampler", ("feedback", "column", "spatial", "forward"))
def test_sampling_shows(sampler: str) -> None:
    values = {"learn.compare_gradients": True, **IDEAL, "calibrate.epochs": 0, f"learn.{sampler}_sparsity": 0.6}
    if sampler == "feedback":
        values["learn.feedback_rule"] = "uniform"
    row = scalars(events("digits", **values))[-1]
    assert row[f"{HEAD}angle"] > 0.01 and row[f"{HEAD}distance"] > 1e-3
    if sampler == "feedback":  # nothing lies behind the last layer
        assert row[f"{HEAD}angle_fc1"] == pytest.approx(0, abs=1e-6) and row[f"{HEAD}angle_conv1"] > 0.01


@pytest.mark.parametrize(
    ("preset", "values"),
    (
        ("digits", {}), ("digits", {"learn.feedback_sparsity": 0.6, "learn.forward_sparsity": 0.3}),
        ("digits", {"nonidealities.readout_noise": 0.01}), ("digits", {"learn.protocol": "dfa"}),
        ("digits", {"learn.protocol": "pat"}), ("digits", {"nonidealities.drift_std": 0.1}), ("insitu-digits", {}),
    ),
    ids=str,
)  # fmt: skip
def test_nobody_notices(preset: str, values: dict[str, object]) -> None:
    alone, beside = (events(preset, **values, learn__compare_gradients=asked) for asked in (False, True))
    assert len(alone) == len(beside)
    compared = 0
    for a, b in zip(alone, beside):
        assert type(a) is type(b)
        if isinstance(a, Step | Epoch) and isinstance(b, Step | Epoch):
            more = {n: v for n, v in b.scalars.items() if n.startswith((f"{HEAD}angle", f"{HEAD}distance"))}
            compared += bool(more)
            assert {n: v for n, v in b.scalars.items() if n not in more} == a.scalars
        if isinstance(a, Checkpoint) and isinstance(b, Checkpoint):
            assert all(np.array_equal(array, b.arrays[name]) for name, array in a.arrays.items())
            assert a.values["meter"] == b.values["meter"]
    assert compared == 2


def test_in_situ_gradients_are_compared_mesh_by_mesh() -> None:
    seen = events("insitu-digits", learn__compare_gradients=True)
    row = scalars(seen)[-1]
    assert all(row[f"{HEAD}{kind}_{mesh}"] < 1e-3 for kind in ("angle", "distance") for mesh in ("mesh1", "mesh2"))
    noisy = scalars(events("insitu-digits", learn__compare_gradients=True, nonidealities__tap_noise=0.02))[-1]
    assert noisy[f"{HEAD}angle"] > 10 * row[f"{HEAD}angle"]
    assert math.cos(noisy[f"{HEAD}angle_mesh1"]) == pytest.approx(1 - noisy[f"{HEAD}error_mesh1"], abs=1e-6)
    result = next(event.result for event in seen if isinstance(event, StageDone) and event.stage == "learn")
    assert result[f"{HEAD}angle"] == row[f"{HEAD}angle"]


@pytest.mark.parametrize("protocol", ("flops", "mixedtrn", "spsa"))
def test_what_measures_no_gradient_has_none_to_compare(protocol: str) -> None:
    with pytest.raises(JobError, match=rf"learn.compare_gradients: '{protocol}' measures no gradient"):
        Job.preset("digits", {"learn.protocol": protocol, "learn.compare_gradients": True})
