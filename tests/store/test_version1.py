"""Folders and files of version 1 stay readable, under the one spelling of today (`l2sim.naming`).

`tests/golden/run-v1.tar.xz` was written by the last l2sim of version 1: smoke runs of the presets digits (cnn-s,
pictures of 8 x 8, model.width 0.2) and insitu-digits (one mesh of 10 modes), their exports, and reports.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import l2sim
from l2sim import naming
from l2sim.chip.fabrication import Heaters, Optics
from l2sim.cli.main import main
from l2sim.flow import export
from l2sim.inspect.run import Recorded
from l2sim.store import checkpoint as checkpoints
from l2sim.store import logs, results, tensors
from l2sim.store.events import StageEnd
from l2sim.store.follow import Replay
from tests.places import ROOT

FLOWS = ("l2ight", "insitu")
LAYER = {"l2ight": "fc1", "insitu": "mesh1"}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both runs of version 1, unpacked."""
    root = tmp_path_factory.mktemp("v1")
    safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python before 3.11.4 has none
    with tarfile.open(ROOT / "tests" / "golden" / "run-v1.tar.xz") as file:
        file.extractall(root, **safe)
    return root


def call(*arguments: object) -> None:
    """Run a command of l2sim, which must succeed."""
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    assert not ended.value.code


def series(folder: Path) -> list[str]:
    """What the event log itself calls the series of frames."""
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [e["name"] for e in (json.loads(line)["event"] for line in lines) if e["type"] == "series" and e["shape"]]


@pytest.mark.parametrize("flow", FLOWS)
def test_the_logs_are_read_under_the_new_names(old: Path, flow: str) -> None:
    written = series(old / flow)
    read = [name for name, (_, shape) in logs.series(old / flow).items() if shape]
    assert [naming.of_frames_1(name) for name in written] == read == Replay(old / flow).frame_series
    assert len(set(read)) == len(read) and not set(read) & {name for name in written if ".block." not in name}
    assert [naming.of_frames_1(name) for name in read] == read
    run, layer = Recorded(old / flow), LAYER[flow]
    assert all(len(run.frames(name)) for name in run.phase_series(layer))
    side = "" if flow == "insitu" else "u"
    assert run.phases(layer, 0, side)["theta"].any() and run.realised(layer, 0) is not None
    gradient = run.gradient(layer, 0, "" if flow == "insitu" else "sigma")
    assert gradient is not None and (run.oracle_gradient(layer) is not None) == (flow == "insitu")


@pytest.mark.parametrize("flow", FLOWS)
def test_it_opens_and_reports(old: Path, flow: str, tmp_path: Path) -> None:
    copy = shutil.copytree(old / flow, tmp_path / "run")
    assert l2sim.open(copy).phases(LAYER[flow]).keys() >= ({"theta"} if flow == "insitu" else {"u", "v", "sigma"})
    call("report", copy)
    page = (copy / "report.html").read_text()
    assert "holds no phases" not in page and "Phases" in page


@pytest.mark.parametrize("flow", FLOWS)
def test_it_resumes_and_goes_on_in_the_same_series(old: Path, flow: str, tmp_path: Path) -> None:
    copy = shutil.copytree(old / flow, tmp_path / "run")
    before = {name: list(logs.frames(copy, name)) for name in Recorded(copy).phase_series(LAYER[flow])}
    report = json.loads((copy / "report.json").read_text())
    for name in ("report.json", "figures.json", "checkpoints/latest.safetensors", "checkpoints/learn.safetensors"):
        (copy / name).unlink()
    (copy / "checkpoints" / "previous.safetensors").rename(copy / "checkpoints" / "latest.safetensors")
    manifest = json.loads((copy / "manifest.json").read_text())
    assert manifest["version"] == 1
    (copy / "manifest.json").write_text(json.dumps(manifest | {"state": "stopped"}))
    call("run", copy / "job.toml", "--out", copy, "--resume", "--threads", 1, "--quiet")
    assert json.loads((copy / "manifest.json").read_text())["version"] == 2
    assert json.loads((copy / "report.json").read_text())["stages"][-1]["loss"] == pytest.approx(
        report["stages"][-1]["loss"], rel=1e-6
    )
    for name, frames in before.items():
        again = list(logs.frames(copy, name))
        assert [step for step, _ in again] == [step for step, _ in frames]
        np.testing.assert_allclose(again[-1][1], frames[-1][1], rtol=1e-5)
    assert series(copy) == series(old / flow), "series that went on keep the name that the log gave them"


@pytest.mark.parametrize("flow", FLOWS)
def test_it_serves_as_from_and_is_exported(old: Path, flow: str, tmp_path: Path) -> None:
    last = "deploy" if flow == "insitu" else "calibrate"
    source = f"{old / flow}@{last}"
    call("run", old / flow / "job.toml", "--out", tmp_path / "on", "--from", source, "--threads", 1, "--quiet")
    reports = (json.loads((run / "report.json").read_text()) for run in (tmp_path / "on", old / flow))
    for mine, theirs in zip(*(report["stages"] for report in reports), strict=True):
        assert mine["name"] == theirs["name"]
        assert mine.get("loss", 0.0) == pytest.approx(theirs.get("loss", 0.0), rel=1e-6)
    call("export", old / flow, "--out", tmp_path / "net.npz")
    now, texts = tensors.read(tmp_path / "net.npz")
    then = naming.translated(tensors.read(old / f"{flow}.npz")[0], naming.of_export_1)
    assert json.loads(texts["l2sim"])["version"] == 2 and now.keys() == then.keys()
    for name, array in now.items():
        np.testing.assert_allclose(array, then[name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("flow", FLOWS)
def test_an_export_of_version_1_loads(old: Path, flow: str) -> None:
    net, layer = export.load(old / f"{flow}.npz"), LAYER[flow]
    arrays = tensors.read(old / f"{flow}.npz")[0]
    chip = net.chips[layer]
    if flow == "insitu":
        np.testing.assert_allclose(chip.oracle_matrix().real, arrays["mesh1.realised.matrix"], atol=1e-9)
    else:
        np.testing.assert_allclose(chip.oracle_matrix("u"), arrays["fc1.realised.u"], atol=1e-9)
        np.testing.assert_allclose(chip.oracle_sigma(), arrays["fc1.realised.sigma"], atol=1e-9)


@pytest.mark.parametrize("flow", FLOWS)
def test_no_two_arrays_get_one_name(old: Path, flow: str) -> None:
    for path in sorted((old / flow / "checkpoints").iterdir()):
        with open(path, "rb") as file:
            written, _ = tensors.read_header(file)
        read = checkpoints.read(path)[0].arrays
        assert len(read) == len(written) and not any("/" in name for name in read)
        assert all(naming.name(*naming.apart(name)) == name and naming.apart(name).layer for name in read)
    for path in (old / f"{flow}.npz",):
        written = tensors.read(path)[0]
        assert len(naming.translated(written, naming.of_export_1)) == len(written)


def test_every_spelling_of_version_1_has_its_name() -> None:
    """The table of docs/formats.md, and layers with dots in their names."""
    checkpoint = {
        "chip/a.b/phases.u": "a.b.u.phases", "chip/a/signs.v": "a.v.signs", "chip/a/sigma": "a.sigma.commanded",
        "chip/m/theta": "m.theta.phases", "rest/a.b/u/phases": "a.b.u.rest_phases",
        "mapped/a/v/signs": "a.v.mapped_signs", "search/a/best_u": "a.u.search_best", "search/a/u": "a.u.search_phases",
        "search/a/loss": "a.block.search_loss", "twin/a/bias": "a.bias.twin", "optimiser/mean/a.sigma": "a.sigma.mean",
        "optimiser/steps": "optimiser.steps.count", "electronic/a.b.weight": "a.b.weight.electronic",
        "photonic/a.sigma": "a.sigma.photonic", "network/m.theta": "m.theta.network",
        "attenuators/a": "a.sigma.attenuators", "service/a": "a.matrix.service", "weights": "weights",
    }  # fmt: skip
    exported = {
        "a.phases.u": "a.u.phases", "a.signs.v": "a.v.signs", "a.sigma": "a.sigma.commanded",
        "a.scale": "a.sigma.scale", "a.b.rest.u": "a.b.u.rest_phases",
        "a.rest_signs.v": "a.v.rest_signs", "a.realised.u": "a.u.realised",
        "a.realised.u.imag": "a.u.realised_imag", "a.noise.u optics.arms": "a.u_optics.noise_arms",
        "m.noise.heaters.bias": "m.heaters.noise_bias", "m.theta": "m.theta.phases", "m.top": "m.couplers.top",
        "m.realised.matrix": "m.matrix.realised", "a.weight": "a.weight", "a.weight.imag": "a.weight_imag",
        "bn1.bias": "bn1.bias", "bn1.running_mean": "bn1.running_mean",
    }  # fmt: skip
    frames = {
        "a.b.u": "a.b.u.phases", "a.sigma": "a.sigma.commanded", "a.grad_sigma": "a.sigma.gradient",
        "m.screen": "m.screen.phases", "m.grad_phi": "m.phi.gradient", "m.oracle_grad_theta": "m.theta.oracle_gradient",
        "a.block.loss": "a.block.loss", "a.block.oracle_identity_error_u": "a.block.oracle_identity_error_u",
    }  # fmt: skip
    assert {name: naming.of_checkpoint_1(name) for name in checkpoint} == checkpoint
    assert {name: naming.of_export_1(name) for name in exported} == exported
    assert {name: naming.of_frames_1(name) for name in frames} == frames
    assert set(naming.DRAWS_1) == {item.name for kind in (Heaters, Optics) for item in fields(kind)}


def test_what_was_computed_from_hidden_weights_has_its_prefix(old: Path) -> None:
    """A report, its events and scalars of version 1 did not say that a lab cannot know the mapping error."""
    raw = json.loads((old / "l2ight" / "report.json").read_text())
    was = {stage["name"]: stage["mapping_error"] for stage in raw["stages"] if "mapping_error" in stage}
    assert set(was) == {"deploy", "map"} and raw["version"] == 1
    told = {stage["name"]: stage for stage in results.read(old / "l2ight" / "report.json").stages}
    assert {name: told[name]["oracle_mapping_error"] for name in was} == was
    assert not any("mapping_error" in stage for stage in told.values())
    named = logs.scalars(old / "l2ight")
    assert "map/oracle_mapping_error" in named and "map/mapping_error" not in named
    replay = Replay(old / "l2ight")
    replay.refresh()
    assert "map/oracle_mapping_error" in replay.series
    ends = [event.result for event in logs.events(old / "l2ight") if isinstance(event, StageEnd)]
    assert [end["oracle_mapping_error"] for end in ends if "oracle_mapping_error" in end] == list(was.values())


def test_nothing_that_is_computed_from_hidden_values_is_said_without_its_prefix(old: Path) -> None:
    for read in (logs.scalars(old / "l2ight"), logs.scalars(old / "insitu")):
        assert not [name for name in read if "mapping_error" in name and "oracle_" not in name]
