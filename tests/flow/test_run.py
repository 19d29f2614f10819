"""Whole runs: the same seed gives the same report, also when the run was stopped or killed at any moment."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2sim.errors import RunError
from l2sim.flow import flow
from l2sim.job.job import Job
from l2sim.runs import execute
from l2sim.store import checkpoint as checkpoints
from l2sim.store import logs
from l2sim.store.events import Checkpoint, Done, Epoch, EpochEnd, StageDone, StageStarted
from l2sim.store.manifest import read_manifest

SHORT = {
    "data.name": "synthetic",
    "data.validation": 0.25,
    "nonidealities.readout_noise": 0.002,
    "pretrain.epochs": 2,
    "calibrate.epochs": 4,
    "calibrate.adaptive": True,
    "map.epochs": 3,
    "map.adaptive": True,
    "calibrate.polish": 1,
    "map.polish": 1,
    "map.snapshots": [2],
    "learn.epochs": 2,
    "learn.feedback_sparsity": 0.5,
    "learn.column_sparsity": 0.5,
    "learn.data_sparsity": 0.4,
}


def short(**more: Any) -> Job:
    return Job.preset("digits", SHORT | more)


def timeless(value: Any) -> Any:
    """`value` without what a clock says."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k != "seconds"}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def report(out: Path) -> dict[str, Any]:
    return timeless(json.loads((out / "report.json").read_text()))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "reference"
    list(execute.execute(short(), out, threads=2))
    return out


def test_events_come_in_order_and_the_report_has_every_stage(reference: Path) -> None:
    events = list(flow.run(short()))
    starts = [e.stage for e in events if isinstance(e, StageStarted)]
    ends = [e.stage for e in events if isinstance(e, StageDone)]
    assert starts == ends == ["pretrain", "deploy", "calibrate", "map", "learn"]
    steps = [e.step for e in events if isinstance(e, Epoch)]
    assert steps == sorted(set(steps))
    assert isinstance(events[-1], Done)
    assert timeless(json.loads(json.dumps(events[-1].report))) == report(reference)
    kept = report(reference)
    assert kept["format"] == "l2sim-report" and kept["version"] == 2 and kept["seed"] == 1
    by_name = {stage["name"]: stage for stage in kept["stages"]}
    for name in ("pretrain", "deploy", "map", "learn"):
        assert 0 <= by_name[name]["accuracy"] <= 1 and by_name[name]["loss"] > 0
        assert 0 <= by_name[name]["validation_accuracy"] <= 1
    assert set(by_name["calibrate"]["oracle_identity_error"]) == {"u", "v"}
    assert by_name["calibrate"]["evaluations"] * 9 == by_name["calibrate"]["core_calls"]
    assert by_name["map"]["evaluations"] * 9 == by_name["map"]["core_calls"]
    assert {"oracle_mapping_error", "oracle_accuracy", "comparisons"} <= set(by_name["map"])
    assert by_name["learn"]["accumulation_steps"] > 0 and by_name["learn"]["writes"] > 0


def test_evaluations_are_those_of_the_published_schedule() -> None:
    job = short(**{"calibrate.adaptive": False, "map.adaptive": False, "map.compare": False})
    stages = {e.stage: e.result for e in flow.run(job) if isinstance(e, StageDone)}
    cores, sweep = 31, 2 * 2 * 36
    # A reading to start from and one before the polish; mapping ends with a look at the padding, the projection's two
    # passes and two readings to choose sigma by.
    assert stages["calibrate"]["evaluations"] == cores * (4 * sweep + 2)
    assert stages["map"]["evaluations"] == cores * (3 * sweep + 2 + 5)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.35, 0.5, 0.65, 0.8, 0.97])
def test_a_run_stopped_at_any_event_resumes_to_the_same_report(reference: Path, tmp_path: Path, share: float) -> None:
    total = sum(1 for _ in flow.run(short()))
    stream = execute.execute(short(), tmp_path, threads=2)
    for _ in islice(stream, int(share * total)):
        pass
    stream.close()
    assert read_manifest(tmp_path).state == "stopped"
    list(execute.execute(short(), tmp_path, threads=2, resume=True))
    assert report(tmp_path) == report(reference)
    ours, theirs = logs.scalars(tmp_path), logs.scalars(reference)
    assert ours.keys() == theirs.keys()
    for name, (steps, _, values) in theirs.items():
        np.testing.assert_array_equal(ours[name][0], steps)
        np.testing.assert_array_equal(ours[name][2], values)
    for name in ("conv1.u.phases", "fc1.v.phases", "conv2.sigma.commanded"):
        for (step, frame), (wanted, whole) in zip(logs.frames(tmp_path, name), logs.frames(reference, name)):
            assert step == wanted
            np.testing.assert_array_equal(frame, whole)
        assert len(list(logs.frames(tmp_path, name))) == len(list(logs.frames(reference, name)))


@pytest.mark.parametrize("stop", [8, 12])
def test_twins_resume_to_the_same_report(tmp_path: Path, stop: int) -> None:
    """Stopped around each of the layers that are identified one after the other."""
    job = short(**{"calibrate.method": "twin", "learn.epochs": 1, "pretrain.epochs": 1})
    reports = []
    for name, first in (("whole", None), ("stopped", stop)):
        stream = execute.execute(job, tmp_path / name, threads=2)
        for _ in islice(stream, first):
            pass
        if first is not None:
            stream.close()
            list(execute.execute(job, tmp_path / name, threads=2, resume=True))
        reports.append(report(tmp_path / name))
    assert reports[0] == reports[1]


def test_a_killed_process_resumes_to_the_same_report(reference: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    settings = [f"--set={k}={str(v).lower() if isinstance(v, bool) else v}" for k, v in SHORT.items()]
    command = [sys.executable, "-m", "l2sim", "run", "--out", str(out), "--threads", "2", "--quiet"]
    slow = ["--pace", "4"]  # else it is done before a busy machine has killed it
    for stage in ("calibrate", "map"):
        process = subprocess.Popen([*command, *slow, *(settings if stage == "calibrate" else ["--resume"])])
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and process.poll() is None:
            if any(isinstance(e, EpochEnd) and e.stage == stage for e in logs.events(out)):
                break
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    subprocess.run([*command, "--resume", "--pace", "0"], check=True, capture_output=True)
    assert report(out) == report(reference)


def test_one_thread_and_two_agree(reference: Path, tmp_path: Path) -> None:
    list(execute.execute(short(), tmp_path, threads=1))
    for one, two in zip(report(tmp_path)["stages"], report(reference)["stages"]):
        assert one.keys() == two.keys()
        for key, value in one.items():
            if isinstance(value, float):
                assert value == pytest.approx(two[key], rel=1e-9), (one["name"], key)
            elif isinstance(value, int):
                assert value == pytest.approx(two[key], rel=1e-3), (one["name"], key)


def test_starting_from_another_run(reference: Path, tmp_path: Path) -> None:
    def stages(source: str, name: str, **more: Any) -> dict[str, Any]:
        out = tmp_path / name
        list(execute.execute(short(**more), out, threads=2, source=source))
        return {stage["name"]: stage for stage in report(out)["stages"]}

    whole = {stage["name"]: stage for stage in report(reference)["stages"]}
    assert stages(f"{reference}@map", "a") == whole
    assert stages(str(reference), "b") == whole
    other = stages(str(reference), "c", seed=7)
    assert other["map"] == whole["map"] and other["learn"]["loss"] != whole["learn"]["loss"]
    early = stages(f"{reference}@map:2", "d")
    assert early["calibrate"] == whole["calibrate"]
    assert early["map"]["evaluations"] < whole["map"]["evaluations"]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{run}@mop", "there is no stage 'mop'"),
        ("{run}@map:x", "'x' is not an epoch"),
        ("{run}@map:3", "no such checkpoint"),
        ("{run}/nowhere", "is not a run folder"),
    ],
)
def test_wrong_sources_are_one_clear_line(reference: Path, tmp_path: Path, source: str, says: str) -> None:
    with pytest.raises(RunError, match=says) as error:
        list(execute.execute(short(), tmp_path, threads=1, source=source.format(run=reference)))
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_another_chip_is_refused(reference: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="another chip"):
        list(execute.execute(short(**{"chip.mesh": "triangular"}), tmp_path, threads=1, source=f"{reference}@map"))


def test_two_processes_cannot_run_in_one_folder(tmp_path: Path) -> None:
    stream = execute.execute(short(), tmp_path, threads=1)
    next(stream)
    with pytest.raises(RunError, match="a run is going on"):
        next(execute.execute(short(), tmp_path, threads=1, resume=True))
    stream.close()


def test_a_finished_run_is_not_resumed(reference: Path) -> None:
    with pytest.raises(RunError, match="is finished"):
        next(execute.execute(short(), reference, threads=1, resume=True))


def test_a_damaged_checkpoint_falls_back_to_the_one_before(reference: Path, tmp_path: Path) -> None:
    stream = execute.execute(short(), tmp_path, threads=2)
    seen = 0
    for event in stream:
        seen += isinstance(event, Checkpoint)
        if seen == 5:
            break
    stream.close()
    path = tmp_path / "checkpoints" / "latest.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(RunError, match="is damaged; use the one before it"):
        checkpoints.read(path)
    list(execute.execute(short(), tmp_path, threads=2, resume=True))
    assert report(tmp_path) == report(reference)


@pytest.mark.parametrize(
    "more",
    [
        {"nonidealities.base": "ideal", "calibrate.method": "ztp", "map.method": "ztp", "map.start": "ideal"},
        {"chip.mesh": "triangular", "nonidealities.drive": "voltage", "nonidealities.stuck": 0.02},
        {"precision": "float32", "nonidealities.phase_bias": 3.14, "learn.optimizer": "sgd"},
        {"learn.schedule": "exponential", "nonidealities.reference_phase_std": 0.01, "calibrate.method": "zgd"},
        {"calibrate.method": "twin", "map.refine": 1, "calibrate.readout": "power"},
        {"model.name": "mlp", "calibrate.epochs": 1, "map.epochs": 2, "map.compare": False},
    ],
)  # fmt: skip
def test_every_kind_of_job_runs(tmp_path: Path, more: dict[str, Any]) -> None:
    list(execute.execute(short(**more), tmp_path, threads=2))
    for stage in report(tmp_path)["stages"]:
        for value in stage.values():
            assert not isinstance(value, float) or np.isfinite(value)
