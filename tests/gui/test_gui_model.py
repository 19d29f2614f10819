"""What the window knows of a run, without a window: numbers as recorded, and the chip behind them made again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from l2sim.gui.base.model import RunModel, Selection, open_run
from l2sim.gui.mesh.geometry import slots

from l2sim.chip.core_chip import CoreChip
from l2sim.flow import session as sessions
from l2sim.flow.registry import FLOWS
from l2sim.job.job import Job
from l2sim.learn.search.mapping import target
from l2sim.runs import execute
from l2sim.runs.live_messages import VERSION, Answer
from l2sim.store import checkpoint as checkpoints
from l2sim.store import logs
from tests.flow.test_run import short
from tests.runs.test_stream import without_figures

HARD = {
    "nonidealities.stuck": 0.05, "nonidealities.dead": 0.05, "nonidealities.crosstalk": 0.01,
    "map.compare": False, "pretrain.epochs": 1, "learn.epochs": 1, "map.snapshots": [], "calibrate.adaptive": False,
}  # fmt: skip
VOLTS = {"nonidealities.drive": "voltage", "nonidealities.v_max": 6.5, "nonidealities.heat_wraps": False}


@pytest.fixture(scope="module", autouse=True)
def no_figures() -> Iterator[None]:
    """A report without its pictures, which take seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute.report, "write", without_figures)
        yield


@pytest.fixture(scope="module")
def cores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model") / "cores"
    list(execute.execute(short(**HARD | VOLTS), out))
    return out


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model") / "meshes"
    more = {"nonidealities.phase_bits": 7, "nonidealities.detuning_nm": 3.0, "nonidealities.splitter_error_std": 0.05}
    more |= {"nonidealities.phase_error_std": 0.1, "nonidealities.gamma_std": 0.01, "nonidealities.crosstalk": 0.01}
    list(execute.execute(Job.preset("insitu-moons", {"learn.epochs": 2, "nonidealities.loss_db": 0.1} | more), out))
    return out


def session_of(out: Path, name: str) -> Any:
    """The session as its checkpoint has it."""
    checkpoint, _ = checkpoints.read(out / "checkpoints" / f"{name}.safetensors")
    job = open_run(out).job
    session = FLOWS[job.flow].open(job, None)
    sessions.restore(session, checkpoint)
    return session


def turned(a: np.ndarray) -> np.ndarray:
    """Angles in [-pi, pi)."""
    return (a + np.pi) % (2 * np.pi) - np.pi


def test_the_chip_made_again_is_the_chip_that_ran(cores: Path) -> None:
    model, session = open_run(cores), session_of(cores, "deploy")
    step = next(stage.last_step for stage in model.stages if stage.name == "deploy")
    for layer, chip in session.chips.items():
        weights, p_q = chip.oracle_weights(), model.layers[layer]
        assert (p_q.p, p_q.q) == chip.shape
        for block in range(p_q.p * p_q.q):
            at = divmod(block, p_q.q)
            seen = model.oracle(layer, block, "u", step)
            assert seen is not None
            np.testing.assert_allclose(model.realised(layer, block, step), weights[at], atol=1e-5)
            np.testing.assert_allclose(
                seen["actual"]["theta"], chip.mesh.gather(chip.oracle_phases("u")[at]), atol=1e-5
            )
            sigma = model.oracle(layer, block, "sigma", step)
            assert sigma is not None
            np.testing.assert_allclose(sigma["actual"]["sigma"], chip.oracle_sigma()[at], atol=1e-5)


@pytest.mark.parametrize("side", ("u", "v"))
def test_what_the_non_idealities_add_sums_to_the_actual_phase(cores: Path, side: str) -> None:
    model = open_run(cores)
    for step in (None, model.stages[2].last_step):
        for block in range(4):
            seen, commands = model.oracle("conv2", block, side, step), model.phases("conv2", block, side, step)
            assert seen is not None
            total = sum(term["theta"] for term in seen["terms"].values())
            np.testing.assert_allclose(turned(seen["actual"]["theta"] - commands["theta"] - total), 0, atol=1e-5)
            dead = seen["dead"]["theta"]
            heat = seen["actual"]["theta"] - seen["terms"]["crosstalk"]["theta"] - seen["terms"]["bias"]["theta"]
            np.testing.assert_allclose(heat[dead], 0, atol=1e-5)


def test_a_whole_mesh_adds_up_too(meshes: Path) -> None:
    model, session = open_run(meshes), session_of(meshes, "learn")
    for layer, chip in session.chips.items():
        seen, commands = model.oracle(layer, 0, ""), model.phases(layer, 0, "")
        assert seen is not None
        np.testing.assert_allclose(model.realised(layer, 0), chip.oracle_matrix(), atol=1e-5)
        for part in ("theta", "phi", "screen"):
            total = sum(term[part] for term in seen["terms"].values())
            np.testing.assert_allclose(turned(seen["actual"][part] - commands[part] - total), 0, atol=1e-5)
            assert np.abs(seen["terms"]["quantisation"][part]).max() <= np.pi / 127 + 1e-9
        measured, true = model.gradient(layer, 0, ""), model.oracle_gradient(layer)
        assert measured is not None and true is not None and measured["theta"].shape == (6,)
        assert np.corrcoef(measured["theta"], true["theta"])[0, 1] > 0.9


def test_light_in_a_core_is_that_of_its_matrices(cores: Path) -> None:
    model = open_run(cores)
    for port in (0, 4):
        seen, chip = model.field("fc1", 3, port), model.rebuilt.chip("fc1", 3, None)
        sigma, matrix = model.oracle("fc1", 3, "sigma"), model.realised("fc1", 3)
        assert seen is not None and isinstance(chip, CoreChip) and sigma is not None and matrix is not None
        v = seen.power["v"]
        assert v.shape == (2 * 9 + 1, 9) and v[0, port] == 1.0
        np.testing.assert_allclose(v.sum(axis=1), 1.0, rtol=1e-6)
        np.testing.assert_allclose(v[-1], chip.oracle_matrix("v")[0, 0][:, port] ** 2, atol=1e-6)
        between = sigma["actual"]["sigma"] ** 2 * v[-1]
        np.testing.assert_allclose(seen.power["u"].sum(axis=1), between.sum(), rtol=1e-5)
        np.testing.assert_allclose(seen.power["u"][-1], matrix[:, port] ** 2, atol=1e-5)


def test_light_in_a_mesh_loses_what_the_waveguides_take(meshes: Path) -> None:
    seen = open_run(meshes).field("mesh1", 0, 2)
    assert seen is not None
    power = seen.power["forward"].sum(axis=1)
    assert seen.power["forward"].shape == (9, 4) and power[0] == 1.0
    assert (np.diff(power) < 1e-6).all() and power[-1] == pytest.approx(10 ** (-0.08), rel=1e-4)


def test_targets_are_those_that_were_deployed(cores: Path) -> None:
    model, session = open_run(cores), session_of(cores, "deploy")
    step = next(stage.last_step for stage in model.stages if stage.name == "deploy")
    for layer, chip in session.chips.items():
        aim = target(chip, session.electronic.weights[layer].matrix)
        grid = model.layers[layer]
        for block in range(grid.p * grid.q):
            seen = model.target(layer, block, step)
            assert seen is not None
            np.testing.assert_allclose(seen["matrix"], aim.weight[divmod(block, grid.q)], atol=1e-12)
            commands = model.phases(layer, block, "u", step)
            np.testing.assert_allclose(turned(seen["u"]["theta"] - commands["theta"]), 0, atol=1e-5)
            np.testing.assert_array_equal(commands["signs"], seen["u"]["signs"])
    calibrated = model.target("fc1", 0, model.stages[2].last_step)
    assert calibrated is not None and (calibrated["u"]["theta"] == 0).all()
    assert model.target("fc1", 0, 10**9) is not None


def test_metrics_are_the_ones_recorded_and_those_that_frames_tell(cores: Path) -> None:
    model = open_run(cores)
    ends = {stage.name: stage.last_step for stage in model.stages}
    for layer, grid in model.layers.items():
        best = model.metric(layer, "best", ends["calibrate"])
        assert best is not None and best.shape == (grid.p, grid.q) and (best >= 0).all()
        error = model.metric(layer, "oracle_mapping_error", ends["deploy"])
        count, last = model.metric(layer, "update count"), model.metric(layer, "last update")
        moved = model.metric(layer, "movement", ends["calibrate"])
        assert error is not None and count is not None and last is not None and moved is not None
        assert (count > 1).all() and (last <= model.newest).all() and (moved > 0).all()
    loss = model.scalar("calibrate/loss")
    whole = np.concatenate([np.ravel(model.metric(layer, "loss", ends["calibrate"])) for layer in model.layers])
    assert loss.values[-1] == pytest.approx(whole.mean(), rel=1e-5)
    frames = [frame for _, frame in logs.frames(cores, "fc1.u.phases")]
    count = model.metric("fc1", "update count", ends["calibrate"])
    upto = sum(step <= ends["calibrate"] for step in model.frames("fc1.u.phases").tolist())
    changed = sum((a != b).any(axis=1) for a, b in pairwise(frames[:upto]))
    assert count is not None and (count.ravel() >= changed).all()
    assert model.badge["oracle_mapping_error"] == "oracle" and model.badge["best"] == "measured"
    assert model.badge["theta"] == "commanded" and model.badge["calibrate/oracle_identity_error_u"] == "oracle"


def test_a_finished_run_is_known_and_answers_no_orders(meshes: Path) -> None:
    model = open_run(meshes)
    assert model.poll() == set() and model.state == "done" and not model.live and model.beat is None
    assert [stage.name for stage in model.stages] == ["deploy", "learn"]
    assert model.stage_at(1) == "deploy" and model.stage_at(2) == "learn" and model.stage_at(0) == "deploy"
    number = model.order("set", path="learn.lr", value=1)
    refusal = "the run is not live; start it with `l2sim run --live`"
    assert model.acks[number] == Answer(VERSION, None, False, 0, refusal)
    known = {parameter.path: parameter for parameter in model.parameters}
    assert known["nonidealities.phase_bits"].value == 7 and known["nonidealities.phase_bits"].when == "live"
    assert (known["learn.lr"].low, known["learn.lr"].high) == (0, 100)
    part = model.layers["mesh1"].parts[""]
    assert part.complex and part.modes == 4 and part.columns.tolist() == [0, 0, 1, 2, 2, 3] and (part.spans == 1).all()
    model.close()


def test_every_heater_of_a_core_with_phi_has_a_tile(tmp_path: Path) -> None:
    job = short(**{"nonidealities.base": "silicon", "map.compare": False, "pretrain.epochs": 1, "learn.epochs": 1})
    list(execute.execute(job, tmp_path / "phi"))
    model: RunModel = open_run(tmp_path / "phi")
    part = model.layers["fc1"].parts["u"]
    assert len(part.columns) == 81 and (np.diff(part.columns) >= 0).all() and (part.spans == 1).all()
    assert part.rails.max() == 7 and len(set(zip(part.columns.tolist(), part.rails.tolist()))) == 81
    drawn = slots(part)
    assert (drawn == np.arange(9)).all(), "no rail changes its place"
    told, truth = model.phases("fc1", 0, "u"), model.oracle("fc1", 0, "u")
    assert truth is not None and told["theta"].shape == truth["actual"]["theta"].shape == (81,)
    model.close()


def test_a_selection_tells_what_changed_once() -> None:
    selection, changes = Selection(), []
    selection.watch(changes.append)
    selection.set(layer="fc1", block=3, side="u")
    selection.set(block=3)
    assert changes == [{"layer", "block"}]


def test_looking_at_a_block_takes_no_time(cores: Path) -> None:
    model: RunModel = open_run(cores)
    model.oracle("fc1", 0, "u")
    begin = time.thread_time()
    for block in range(5):
        model.oracle("fc1", block, "u")
        model.phases("fc1", block, "u")
    assert time.thread_time() - begin < 0.5
