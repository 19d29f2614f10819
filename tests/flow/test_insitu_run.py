"""Whole in situ runs: stages, resuming, reports, noise, the data as light, and every mistake in one line."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2sim.data import as_light, sets
from l2sim.errors import DataError, JobError, RunError
from l2sim.flow import flow
from l2sim.flow.insitu import session as insitu
from l2sim.flow.insitu import stages
from l2sim.job import job as jobs
from l2sim.job import presets
from l2sim.job.job import Job
from l2sim.report import page as report
from l2sim.runs import execute
from l2sim.store import logs
from l2sim.store.events import Done, Epoch, StageDone, StageStarted
from l2sim.store.manifest import read_manifest
from tests import goldens

SHORT: dict[str, Any] = {
    "data.name": "synthetic",
    "data.validation": 0.2,
    "insitu.modes": 16,
    "insitu.layers": 2,
    "learn.epochs": 3,
    "nonidealities.tap_noise": 0.01,
    "nonidealities.io_phase_error": 0.01,
    "nonidealities.io_amplitude_error": 0.01,
    "nonidealities.phase_bits": 8,
    "nonidealities.splitter_error_std": 0.02,
}


def short(**more: Any) -> Job:
    return Job.preset("insitu-digits", SHORT | more)


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k != "seconds"}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def told(out: Path) -> dict[str, Any]:
    return timeless(json.loads((out / "report.json").read_text()))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "reference"
    list(execute.execute(short(), out))
    return out


def test_the_stages_of_the_flow(reference: Path) -> None:
    events = list(flow.run(short()))
    assert [e.stage for e in events if isinstance(e, StageStarted)] == ["deploy", "learn"]
    assert isinstance(events[-1], Done)
    assert timeless(json.loads(json.dumps(events[-1].report))) == told(reference)
    deploy, learn = told(reference)["stages"]
    assert 0 <= deploy["accuracy"] < learn["accuracy"] <= 1 and learn["loss"] < deploy["loss"]
    assert 0 < learn["oracle_gradient_error"] < 0.5 and learn["tap_readings"] > learn["core_calls"] > 0
    assert 0 <= learn["validation_accuracy"] <= 1
    assert deploy["writes"] > 0 and told(reference)["test_cost"]["core_calls"] > 0
    last = [e for e in events if isinstance(e, Epoch)][-1]
    assert {"mesh1.theta.phases", "mesh1.phi.phases", "mesh1.screen.phases", "mesh2.theta.phases"} <= set(last.phases)
    assert list(last.scalars)[-1] == "lr"


@pytest.mark.parametrize("share", [0.02, 0.3, 0.55, 0.8, 0.98])
@pytest.mark.parametrize("noise", ["fresh", "frozen"])
def test_a_run_stopped_at_any_event_resumes_to_the_same_report(
    reference: Path, tmp_path: Path, share: float, noise: str
) -> None:
    job, other = short(), reference
    if noise == "frozen":
        if share not in (0.3, 0.8):
            pytest.skip("two stops are enough")
        job = short(**{"insitu.noise": noise, "insitu.light": "matrix", "insitu.scheme": "analog"})
        other = tmp_path / "whole"
        list(execute.execute(job, other))
    out = tmp_path / "stopped"
    total = sum(1 for _ in flow.run(job))
    stream = execute.execute(job, out)
    for _ in islice(stream, max(1, int(share * total))):
        pass
    stream.close()
    assert read_manifest(out).state == "stopped"
    list(execute.execute(job, out, resume=True))
    assert told(out) == told(other)
    assert (out / "figures.json").read_bytes() == (other / "figures.json").read_bytes()
    ours, theirs = logs.scalars(out), logs.scalars(other)
    assert ours.keys() == theirs.keys()
    for name, (steps, _, values) in theirs.items():
        np.testing.assert_array_equal(ours[name][0], steps)
        np.testing.assert_array_equal(ours[name][2], values)


def test_starting_from_another_run(reference: Path, tmp_path: Path) -> None:
    out = tmp_path / "a"
    list(execute.execute(short(), out, source=str(reference)))
    assert told(out)["stages"] == told(reference)["stages"]
    with pytest.raises(RunError, match="there is no stage 'map'; use one of deploy, learn"):
        list(execute.execute(short(), tmp_path / "b", source=f"{reference}@map"))
    with pytest.raises(RunError, match=r"another chip, made with insitu\.mesh = rectangular, insitu\.modes = 16"):
        list(execute.execute(short(**{"insitu.layers": 3}), tmp_path / "c", source=f"{reference}@deploy"))


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_preset_runs_a_smoke_run(name: str) -> None:
    job = jobs.smoke(jobs.load(name))
    if job.flow == "insitu":
        stages = [event for event in flow.run(job) if isinstance(event, StageDone)]
        assert all(np.isfinite(stage.result["loss"]) for stage in stages) and len(stages) == 2


@pytest.mark.parametrize(
    "more",
    [
        {"insitu.mesh": "triangular", "insitu.nonlinearity": "power", "insitu.scheme": "sweep"},
        {"insitu.mesh": "butterfly", "insitu.nonlinearity": "electro-optic", "insitu.loss": "mse"},
        {"insitu.mesh": "permuting", "insitu.nonlinearity": "saturable", "insitu.features": "pca"},
        {"insitu.mesh": "tree_cascade", "insitu.scheme": "toggle", "insitu.features": "fourier"},
        {"nonidealities.loss_db": 0.05, "nonidealities.loss_db_std": 0.01, "learn.optimizer": "sgd", "learn.lr": 0.01},
        {"precision": "float64", "insitu.modes": 11, "insitu.layers": 1, "learn.legacy_adam": True},
        {"insitu.loss": "batch-softmax", "learn.shuffle": False, "data.validation": 0.0},
        {"data.name": "blobs", "insitu.group": 2, "insitu.modes": 5},
        {"data.name": "circles", "insitu.group": 2, "insitu.modes": 4, "insitu.noise": "frozen"},
    ],
)
def test_every_kind_of_job_runs(tmp_path: Path, more: dict[str, Any]) -> None:
    list(execute.execute(short(**{"learn.epochs": 1} | more), tmp_path))
    for stage in told(tmp_path)["stages"]:
        for value in stage.values():
            assert not isinstance(value, float) or np.isfinite(value)


def test_exact_chips_measure_exact_gradients_by_every_scheme() -> None:
    quiet = {key: 0.0 for key in SHORT if "noise" in key or "error" in key} | {"precision": "float64"}
    found = []
    for scheme in ("digital", "analog", "sweep"):
        last = [e for e in flow.run(short(**quiet | {"insitu.scheme": scheme})) if isinstance(e, StageDone)][-1]
        found.append(last.result)
        assert last.result["oracle_gradient_error"] < 1e-12
    assert found[0]["loss"] == pytest.approx(found[1]["loss"], rel=1e-6) == pytest.approx(found[2]["loss"], rel=1e-6)


def test_frozen_noise_repeats_itself_and_fresh_noise_does_not() -> None:
    for noise, same in (("fresh", False), ("frozen", True)):
        session = insitu.open_session(short(**{"insitu.noise": noise}), None)
        insitu.fabricate(session)
        x = session.data.train_x[:8]
        first, second = (session.network.forward(x) for _ in range(2))
        assert np.array_equal(first, second) == same


def test_the_report_shows_curves_gradients_and_phases(reference: Path, tmp_path: Path) -> None:
    page = (reference / "report.html").read_text()
    for title in ("The run at a glance", "Stages in numbers", "Gradients", "Phases", "Cost", "How to reproduce"):
        assert f"<h2>{title}</h2>" in page
    assert "<h2>Decision</h2>" not in page and "<h2>Calibration</h2>" not in page and "<script" not in page
    assert report.rebuild(reference).read_text() == page
    report.picture(reference, tmp_path / "overview.png")
    assert (tmp_path / "overview.png").stat().st_size > 10_000
    assert "l2sim run insitu-digits" in page and "calibrate." not in page


def test_the_plane_has_a_picture_of_the_decision(tmp_path: Path) -> None:
    list(execute.execute(Job.preset("insitu-moons", {"learn.epochs": 12}), tmp_path))
    assert "<h2>Decision</h2>" in (tmp_path / "report.html").read_text()
    drawn = json.loads((tmp_path / "figures.json").read_text())["learn"]["boundary"]
    assert np.shape(drawn["share"]) == (stages.GRID, stages.GRID) and np.ptp(drawn["share"]) > 0.5
    assert told(tmp_path)["stages"][-1]["accuracy"] > 0.85


def test_an_unfinished_run_has_a_page(tmp_path: Path) -> None:
    stream = execute.execute(short(), tmp_path)
    for event in stream:
        if isinstance(event, Epoch) and event.stage == "learn":
            break
    stream.close()
    assert "not finished" in report.rebuild(tmp_path).read_text()


@pytest.mark.parametrize(
    ("more", "error", "says"),
    [
        ({"insitu.features": "fourier", "insitu.modes": 11, "data.name": "mnist"}, DataError, "mnist"),
        ({"learn.batch": 1000}, JobError, "learn.batch = 1000 is more than the 205 training samples"),
    ],
)
def test_what_cannot_run_is_told_in_one_line(
    more: dict[str, Any], error: type[Exception], says: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=says) as caught:
        list(flow.run(short(**more), data=tmp_path))
    assert "\n" not in str(caught.value)


# -- the data as light -------------------------------------------------------------------------------------------------


def test_the_fourier_features_are_those_of_the_notebook() -> None:
    z = goldens.insitu("net3x64")
    for name in ("mnist", "fashion"):
        if f"{name}_images" in z:
            found = as_light.normalise(as_light.fourier(z[f"{name}_images"] / 255.0, 4))
            np.testing.assert_allclose(found, z[f"{name}_fourier_x"], rtol=0, atol=1e-13)
    digits = as_light.dataset("digits", "pixels", 64)
    whole = np.concatenate([digits.train_x, digits.test_x])
    assert all(np.abs(whole - x.real).max(axis=1).min() < 1e-14 for x in z["digits_x"])


def test_direct_current_lies_at_row_r_and_column_r() -> None:
    images = np.random.default_rng(0).random((3, 28, 28))
    found = as_light.fourier(images, 2).reshape(3, 4, 4)
    np.testing.assert_allclose(found[:, 2, 2], images.sum(axis=(1, 2)))
    np.testing.assert_allclose(found[:, 1, 2], np.conj(found[:, 3, 2]))


@pytest.mark.parametrize("name", as_light.FRONT_ENDS)
@pytest.mark.parametrize(("modes", "count"), [(64, 64), (17, 16), (4, 4)])
def test_every_front_end_fills_the_modes_and_normalises(name: str, modes: int, count: int) -> None:
    data = as_light.dataset("synthetic", name, modes)
    width = {"pca": modes}.get(name, count)
    assert data.train_x.shape[1] == width
    for x in (data.train_x, data.test_x):
        np.testing.assert_allclose(np.abs(x).mean(axis=1), 1.0)


def test_principal_components_are_orthogonal_and_ordered() -> None:
    data = sets.load("synthetic", None, (16, 16))
    flat = data.train_x.reshape(len(data.train_x), -1)
    wanted = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)[0][:, :5]
    found = as_light.dataset("synthetic", "pca", 5).train_x
    for i in range(len(found)):  # every sample is scaled by itself
        ratio = np.abs(found[i]) / np.linalg.norm(found[i])
        assert ratio.shape == (5,)
    assert wanted.shape == (256, 5)
    np.testing.assert_array_equal(found, as_light.dataset("synthetic", "pca", 5).train_x)


@pytest.mark.parametrize("name", as_light.PLANES)
def test_points_of_the_plane_have_constant_power_and_two_classes(name: str) -> None:
    data = as_light.dataset(name, "fourier", 4)
    x = np.concatenate([data.train_x, data.test_x])
    np.testing.assert_allclose((x**2).sum(axis=1), as_light.POWER)
    assert x.shape == (1000, 4) and np.array_equal(x[:, 2], x[:, 3])
    assert abs(np.mean(data.train_y) - 0.5) < 0.05 and set(data.train_y) == {0, 1}
    np.testing.assert_array_equal(x, np.concatenate([*as_light.dataset(name, "pca", 9).__dict__.values()][::2][:2]))


def test_a_point_too_far_out_has_no_bias_left() -> None:
    assert np.array_equal(as_light.bias(np.array([[3.0, 4.0]])), [[3.0, 4.0, 0.0, 0.0]])


def test_too_few_modes_for_features_are_told() -> None:
    with pytest.raises(DataError, match="3 modes are too few for Fourier features"):
        as_light.dataset("synthetic", "fourier", 3)
    with pytest.raises(DataError, match="moons needs 4 modes"):
        as_light.dataset("moons", "fourier", 3)


def test_missing_data_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no mnist"):
        as_light.dataset("mnist", "fourier", 64, tmp_path)
