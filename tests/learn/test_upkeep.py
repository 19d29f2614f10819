"""Chips in service: policies hold what drift takes away, by public operations alone; and the stage that runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.meter import Meter
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import Commands, Hardware, command
from l2sim.chip.recorded import Recorder, Replay
from l2sim.errors import JobError
from l2sim.job import job as jobs
from l2sim.job.job import Job
from l2sim.learn import upkeep
from l2sim.learn.search import mapping
from l2sim.learn.twin import identify as twin
from l2sim.learn.twin import program
from l2sim.learn.upkeep import POLICIES, Care, Layer
from l2sim.mesh.mesh import Mesh
from l2sim.nn.photonic import PhotonicWeight
from l2sim.runs import execute
from l2sim.store.checkpoint import read
from l2sim.store.events import Checkpoint, Epoch
from l2sim.study import drift
from tests.doubles import Sealed
from tests.tolerances import TRAJECTORY

DAY = 86400.0
SHEET = Nonidealities(
    phase_bits=8, phase_bias=1.0, gamma_std=0.002, crosstalk=0.005, readout_noise=0.0, drift_std=0.1, drift_seconds=DAY
)
K, SHAPE = 4, (2, 2)


def chip(sheet: Nonidealities = SHEET) -> CoreChip:
    return CoreChip(SHAPE, Mesh("rectangular", K), sheet, seed=3, meter=Meter())


def served(hardware: Hardware, sheet: Nonidealities, twins: bool) -> Layer:
    """A layer identified, programmed, and in service, of 7 x 8: one output of its cores is padding."""
    matrix = generator(5).normal(size=(7, 8)) / 4
    aim = mapping.target(hardware, matrix)
    known = twin.identify(hardware, sheet, partial(generator, 6), retries=1)
    drive = twin.Drive.of(sheet)
    mapped, sigma, _ = program.program(hardware.mesh, drive, known, aim)
    rest = program.identities(hardware.mesh, drive, known, SHAPE)
    command(hardware, u=mapped, v=mapped)
    weight = PhotonicWeight(hardware, 7, 8, mapped, rest, sigma)
    weight.write()
    return Layer(weight, upkeep.target(weight, upkeep.reference(weight)), known if twins else None)


def wrong(hardware: CoreChip, layer: Layer) -> float:
    """Error of the cores where it counts, mean."""
    seen = hardware.oracle_weights()
    off = layer.aim.wanted(seen) - seen
    return float(((off**2).sum(axis=(-1, -2)) / (layer.aim.weight**2).sum(axis=(-1, -2))).mean())


def kept(hardware: Any, policy: str, days: int = 2, a_day: int = 8, twins: bool = True, **more: Any) -> list[float]:
    """Errors as found at every look, before the policy acts."""
    sheet = SHEET
    layer = served(hardware, sheet, twins)
    found = []
    for look in range(days * a_day):
        hardware.wait(DAY / a_day)
        if isinstance(hardware, CoreChip):
            found.append(wrong(hardware, layer))
        POLICIES[policy]({"fc": layer}, Care(sheet, DAY / a_day, **more), partial(generator, 7, look))
    return found


# -- the policies ------------------------------------------------------------------------------------------------------


def test_without_upkeep_cores_drift_away() -> None:
    found = kept(chip(), "none")
    assert found[0] > 3e-3 and np.mean(found[-4:]) > 3 * found[0]


@pytest.mark.parametrize("policy, twins", [
    ("periodic", True), ("periodic", False), ("triggered", True), ("triggered", False), ("track", True),
])  # fmt: skip
def test_policies_hold_what_drift_takes_away(policy: str, twins: bool) -> None:
    nothing, found = kept(chip(), "none"), kept(chip(), policy, twins=twins, threshold=0.005, probes=4)
    assert found[0] == pytest.approx(nothing[0], rel=0.1), "the same weather"
    assert np.mean(found[4:]) < 0.5 * np.mean(nothing[4:])


def test_only_cores_that_answer_wrong_are_calibrated_anew() -> None:
    hardware = chip()
    layer = served(hardware, SHEET, True)
    care = Care(SHEET, 3600.0, threshold=0.01, probes=8)
    streams = partial(generator, 7)
    before = hardware.meter.state()["idle"]
    assert POLICIES["triggered"]({"fc": layer}, care, streams) == (0, 0)
    after = hardware.meter.state()["idle"]
    assert after["core_calls"] - before["core_calls"] == 8 * 4 and after["evaluations"] == before["evaluations"]
    assert after["writes"] == before["writes"]
    phases = {part: a.copy() for part, a in layer.weight.mapped.phases.items()}
    spoilt = phases["u"].copy()
    spoilt[1, 0] += 0.3 * hardware.mesh.mask
    command(hardware, u=Commands({"u": spoilt, "v": phases["v"]}, layer.weight.mapped.signs))
    error = upkeep.residual(layer, care, streams("x"))
    assert error[1, 0] > 0.01 and np.delete(error.ravel(), 2).max() < 0.005
    known = layer.known.evaluations.copy()
    assert POLICIES["triggered"]({"fc": layer}, care, streams) == (1, 0)
    assert (layer.known.evaluations - known)[[0, 1, 3]].sum() == 0 < (layer.known.evaluations - known)[2]
    for part, a in layer.weight.mapped.phases.items():
        assert np.array_equal(np.delete(a.reshape(4, -1), 2, 0), np.delete(phases[part].reshape(4, -1), 2, 0))
    assert wrong(hardware, layer) < 3e-3


def test_tracking_costs_its_settings_and_no_more() -> None:
    hardware = chip()
    layer = served(hardware, SHEET, True)
    hardware.wait(DAY / 8)
    before = hardware.meter.state()["idle"]["evaluations"]
    POLICIES["track"]({"fc": layer}, Care(SHEET, DAY / 8, probes=3), partial(generator, 7))
    assert hardware.meter.state()["idle"]["evaluations"] - before == 3 * 4
    assert layer.known.identified.all() and wrong(hardware, layer) < 3e-3


def test_what_moved_too_far_to_be_followed_is_identified_anew() -> None:
    hardware = chip()
    layer = served(hardware, SHEET, True)
    hardware.wait(3 * DAY)
    done = POLICIES["track"]({"fc": layer}, Care(SHEET, 60.0, probes=2), partial(generator, 7))  # told a minute
    assert done.recalibrated == 4 and done.lost == 0 and wrong(hardware, layer) < 3e-3


def test_noise_is_no_error() -> None:
    sheet = msgspec.structs.replace(SHEET, readout_noise=0.02)
    layer = served(chip(sheet), sheet, True)
    care = Care(sheet, 3600.0, probes=64)
    told, untold = (
        np.mean([upkeep.residual(layer, it, generator(1, i)) for i in range(8)])
        for it in (care, Care(SHEET, 3600.0, probes=64))
    )
    assert abs(told) < 8e-4 < untold


def test_expected_drift_is_what_drifts() -> None:
    it = msgspec.structs.replace(SHEET, step_std=0.05, step_seconds=DAY / 2)
    ways = {name: CoreChip((8, 8), Mesh("rectangular", 4), it, seed=seed) for seed, name in enumerate("abcdef")}
    for hardware in ways.values():
        hardware.wait(5 * DAY)
    before = {name: hardware.oracle_biases("u") for name, hardware in ways.items()}
    for hardware in ways.values():
        hardware.wait(DAY)
    moved = [hardware.oracle_biases("u") - before[name] for name, hardware in ways.items()]
    assert np.sqrt(np.mean(np.square(moved))) == pytest.approx(upkeep.expected(it, DAY), rel=0.4)
    assert upkeep.expected(Nonidealities(), DAY) == 0.0


# -- the closed box ----------------------------------------------------------------------------------------------------


def outcome(hardware: Any, policy: str, twins: bool) -> dict[str, np.ndarray]:
    layer = served(hardware, SHEET, twins)
    for look in range(2):
        hardware.wait(DAY / 4)
        care = Care(SHEET, DAY / 4, threshold=0.003, epochs=2)
        POLICIES[policy]({"fc": layer}, care, partial(generator, 7, look))
    return {"sigma": layer.weight.sigma, "u": layer.weight.mapped.phases["u"], "rest": layer.weight.rest.phases["v"]}


@pytest.mark.parametrize("policy, twins", [
    ("periodic", True), ("periodic", False), ("triggered", True), ("track", True),
])  # fmt: skip
def test_policies_need_no_more_than_the_protocol(policy: str, twins: bool, tmp_path: Path) -> None:
    plain, sealed, behind = chip(), chip(), chip()
    wanted = outcome(plain, policy, twins)
    recorder = Recorder(behind)
    meters = []
    for hardware in (Sealed(sealed), recorder):
        found = outcome(hardware, policy, twins)
        assert all(np.allclose(found[name], wanted[name], atol=TRAJECTORY) for name in wanted)
        meters.append(hardware.meter.state())
    assert meters[0] == plain.meter.state() == meters[1], "and it costs the same"
    recorder.save(tmp_path / "r.npz")
    replay = Replay.load(tmp_path / "r.npz", meter=Meter())
    found = outcome(replay, policy, twins)
    assert all(np.allclose(found[name], wanted[name], atol=TRAJECTORY) for name in wanted)
    assert replay.meter.state() == plain.meter.state()


# -- the stage ---------------------------------------------------------------------------------------------------------

SMALL = {
    "data.name": "synthetic", "calibrate.method": "twin", "map.compare": False, "pretrain.epochs": 3,
    "learn.epochs": 1, "nonidealities.drift_std": 0.1, "nonidealities.readout_noise": 0.01,
    "upkeep.hours": 12.0, "upkeep.every": 4.0,
}  # fmt: skip


def ran(job: Job, out: Path, until: Callable[[Any], bool] = lambda event: False, **more: Any) -> list[Any]:
    seen = []
    for event in execute.execute(job, out, threads=1, **more):
        seen.append(event)
        if until(event):
            break
    return seen


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ends before service."""
    out = tmp_path_factory.mktemp("learnt") / "run"
    ran(Job.preset("digits", SMALL | {"upkeep.hours": 0.0}), out)
    assert not (out / "checkpoints" / "upkeep.safetensors").exists(), "no hours, no stage"
    assert "upkeep" not in [stage["name"] for stage in json.loads((out / "report.json").read_text())["stages"]]
    return out


@pytest.mark.parametrize("policy", ("track", "learn"))
def test_a_run_stopped_in_service_equals_one_never_stopped(policy: str, learnt: Path, tmp_path: Path) -> None:
    job = Job.preset("digits", SMALL | {"upkeep.policy": policy, "upkeep.batches": 2})
    whole = ran(job, tmp_path / "whole", source=f"{learnt}@learn")
    rows = [event for event in whole if isinstance(event, Epoch)]
    assert [event.stage for event in rows] == ["upkeep"] * 3
    assert [event.scalars["hours"] for event in rows] == pytest.approx([4.0, 8.0, 12.0], rel=1e-3)
    first = lambda event: isinstance(event, Checkpoint) and event.epoch == 1  # noqa: E731
    ran(job, tmp_path / "cut", first, source=f"{learnt}@learn")
    rest = ran(job, tmp_path / "cut", resume=True)
    assert [event.epoch for event in rest if isinstance(event, Epoch)] == [2, 3]
    one, other = (read(tmp_path / name / "checkpoints" / "upkeep.safetensors")[0] for name in ("whole", "cut"))
    assert one.arrays.keys() == other.arrays.keys()
    assert all(np.array_equal(a, other.arrays[name]) for name, a in one.arrays.items())
    assert one.values["meter"] == other.values["meter"] and one.values["looks"] == other.values["looks"]
    report = json.loads((tmp_path / "cut" / "report.json").read_text())["stages"][-1]
    assert report["name"] == "upkeep" and report["core_calls"] > 0
    assert report["lowest_accuracy"] <= report["mean_accuracy"]
    assert "while biases wander" in (tmp_path / "cut" / "report.html").read_text()


def test_an_exported_network_is_as_old_as_it_was(learnt: Path, tmp_path: Path) -> None:
    from l2sim.flow import export

    job = Job.preset("digits", SMALL | {"upkeep.policy": "none"})
    ran(job, tmp_path / "run", source=f"{learnt}@learn")
    export.write(f"{tmp_path / 'run'}@upkeep", tmp_path / "net.npz")
    held = dict(np.load(tmp_path / "net.npz"))
    back = export.load(tmp_path / "net.npz")
    for name, hardware in back.chips.items():
        assert hardware.meter.clock > 12 * 3600.0
        assert np.allclose(hardware.oracle_matrix("u"), held[f"{name}.u.realised"], atol=1e-12)


def test_jobs_that_cannot_be_kept() -> None:
    for values, words in (
        ({"upkeep.hours": 1.0, "upkeep.every": 2.0}, "longer than"),
        ({"upkeep.hours": 9.0, "upkeep.policy": "track"}, "follows twins"),
        ({"upkeep.hours": 9.0, "upkeep.policy": "triggered", "calibrate.readout": "power"}, "signed amplitudes"),
        ({"upkeep.policy": "sometimes"}, "is unknown"),
        ({"upkeep.hours": -1.0}, "out of range"),
    ):
        with pytest.raises(JobError, match=words) as caught:
            Job.preset("digits", values)
        assert "\n" not in str(caught.value)
    with pytest.raises(JobError, match="use 'learn'"):
        Job.preset("insitu-digits", {"upkeep.hours": 9.0, "upkeep.policy": "periodic"})
    assert jobs.smoke(Job.preset("digits", {"upkeep.hours": 900.0})).upkeep.hours == 2.0


def test_whole_meshes_learn_on_in_service(tmp_path: Path) -> None:
    small = {
        "data.name": "moons", "insitu.modes": 4, "insitu.layers": 2, "insitu.group": 2, "learn.epochs": 8,
        "learn.lr": 1e-2, "learn.batch": 40, "nonidealities.drift_std": 0.3, "upkeep.hours": 96.0, "upkeep.every": 24.0,
        "upkeep.lr": 1e-2, "upkeep.batches": 40,
    }  # fmt: skip
    ends = {}
    for policy in ("none", "learn"):
        job = Job.preset("insitu-digits", small | {"upkeep.policy": policy})
        seen = ran(job, tmp_path / policy)
        rows = [event.scalars for event in seen if isinstance(event, Epoch) and event.stage == "upkeep"]
        assert len(rows) == 4
        ends[policy] = np.mean([row["kept_loss"] for row in rows])
    assert ends["learn"] < ends["none"]


# -- the study ---------------------------------------------------------------------------------------------------------


def test_the_study_finds_the_cheapest_setting_that_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def served(way: drift.Way, value: float, seed: int, runs: Path, whole: bool) -> list[drift.Look]:
        made.append((way.name, value, seed))
        loss = (0.0035 * value if way.what == "upkeep.every" else 0.03) + 0.001 * seed
        return [drift.Look(way.name, value, seed, h, 0.97, 0.97 - loss, 100 / value, 9, 0) for h in (1, 2)]

    monkeypatch.setattr(drift, "served", served)
    monkeypatch.setattr(drift, "SEEDS", (1, 2, 3))
    told = ["--full", "--out", str(tmp_path / "out"), "--runs", str(tmp_path)]
    drift.STUDY.main(told)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "drift.csv", "drift.md", "drift.png", "drift.svg", "drift-cost.png", "drift-cost.svg",
    }  # fmt: skip
    page = (tmp_path / "out" / "drift.md").read_text()
    assert "| periodic, by twins | 1 h between looks | 0.55 (0.30 to 0.80) |" in page, "at 2 h the interval says no"
    assert "none of those tried; 40 mini-batches" in page
    assert len(made) == len(set(made)), "nothing twice"
    before = len(made)
    drift.STUDY.main(told)
    assert len(made) == before and (tmp_path / "out" / "drift.md").read_text() == page
