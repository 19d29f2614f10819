"""`l2sim.open`: a run's folder as arrays and tables, finished or going on, read and never written."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import l2sim
from l2sim.errors import RunError
from l2sim.job import job as jobs
from l2sim.runs import execute
from l2sim.store import logs
from l2sim.store.events import Epoch, StageStarted
from tests.runs.test_stream import without_figures

JOB = jobs.smoke(jobs.load("digits"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("opened") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute.report, "write", without_figures)
        list(execute.execute(JOB, out, threads=1))
    return out


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_is_open_to_arrays_and_tables(folder: Path) -> None:
    before = contents(folder)
    run = l2sim.open(folder)
    assert run.state == "done" and run.job == JOB
    assert [stage.name for stage in run.stages] == ["pretrain", "deploy", "calibrate", "map", "learn"]
    assert [stage.last_step for stage in run.stages[:-1]] == [stage.first_step for stage in run.stages[1:]]
    assert [stage["name"] for stage in run.report.stages] == [stage.name for stage in run.stages]
    begun = [event.stage for event in run.events if isinstance(event, StageStarted)]
    assert begun == [stage.name for stage in run.stages]
    grid = run.layers["fc1"]
    assert list(run.layers) == ["conv1", "conv2", "fc1"] and grid.k == grid.mesh.modes == 9 and not grid.whole
    phases = run.phases("fc1")
    assert {name: values.shape for name, values in phases.items()} == {
        "u": (grid.p * grid.q, grid.mesh.count), "v": (grid.p * grid.q, grid.mesh.count), "sigma": (grid.p * grid.q, 9)
    }  # fmt: skip
    names = ("fc1.u.phases", "fc1.v.phases", "fc1.sigma.commanded")
    recorded = {step for name in names for step, _ in logs.frames(folder, name)}
    assert run.steps("fc1").tolist() == sorted(recorded)
    first = int(run.steps("fc1")[0])
    assert run.phases("fc1", first - 1) == {}
    np.testing.assert_array_equal(run.phases("fc1", first)["u"], next(logs.frames(folder, "fc1.u.phases"))[1])
    assert all(saved.path.exists() for saved in run.checkpoints)
    assert [saved.stage for saved in run.checkpoints if saved.epoch is None] == [stage.name for stage in run.stages]
    assert repr(run).startswith("Run smoke, seed 1, done") and "learn" in repr(run)
    assert run._repr_html_().count("<tr>") == 6
    run.close()
    assert contents(folder) == before


def test_scalars_are_a_series_or_one_table(folder: Path) -> None:
    run = l2sim.open(folder)
    written = logs.scalars(folder)
    for name, (steps, times, values) in written.items():
        curve = run.scalars(name)
        assert not isinstance(curve, dict) and curve.steps.dtype == np.int64
        for ours, theirs in zip(curve, (steps, values, times)):
            np.testing.assert_array_equal(ours, theirs)
    table = run.scalars()
    assert isinstance(table, dict) and list(table) == ["series", "step", "value", "time"]
    assert {values.shape for values in table.values()} == {(sum(steps.size for steps, _, _ in written.values()),)}
    some = table["series"] == "learn/loss"
    np.testing.assert_array_equal(table["value"][some], written["learn/loss"][2])


def test_the_table_is_written_as_parquet(folder: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    run = l2sim.open(folder)
    table = parquet.read_table(run.to_parquet(tmp_path / "scalars.parquet")).to_pydict()
    expected = run.scalars()
    assert isinstance(expected, dict) and table == {name: values.tolist() for name, values in expected.items()}
    with pytest.raises(RunError, match="there is no folder for it"):
        run.to_parquet(tmp_path / "nowhere" / "scalars.parquet")


def test_without_pyarrow_the_extra_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RunError, match=r'needs pyarrow: pip install "l2sim\[cluster\]"'):
        l2sim.open(folder).to_parquet(tmp_path / "scalars.parquet")
    assert not list(tmp_path.iterdir())


def test_a_run_that_goes_on_is_as_new_as_its_folder(tmp_path: Path) -> None:
    events = execute.execute(JOB, tmp_path / "live", threads=1)
    for event in events:
        if isinstance(event, Epoch) and (event.stage, event.epoch) == ("calibrate", 2):
            break
    run = l2sim.open(tmp_path / "live")
    assert run.state == "running" and run.stages[-1].last_step is None
    assert [stage["name"] for stage in run.report.stages] == ["pretrain", "deploy"]
    assert "..." in repr(run) and "running" in repr(run)
    seen = run.scalars("pretrain/loss").steps.size  # type: ignore[union-attr]
    assert seen and "learn/loss" not in run.scalars()["series"]  # type: ignore[call-overload]
    list(events)
    assert run.state == "done" and run.scalars("learn/loss").steps.size  # type: ignore[union-attr]
    assert run.stages[-1].name == "learn" and run.stages[-1].last_step is not None


def test_a_whole_mesh_has_phases_by_name(insitu_run: Path) -> None:
    run = l2sim.open(insitu_run)
    layer, grid = next(iter(run.layers.items()))
    phases = run.phases(layer)
    assert grid.whole and list(phases) == ["theta", "phi", "screen"]
    assert phases["theta"].shape == (grid.mesh.count,) and phases["screen"].shape == (grid.k,)


def test_what_is_no_run_is_said_in_one_line(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for place, words in (("nowhere", "does not exist"), ("file", "is a file"), ("empty", "is not a run folder")):
        with pytest.raises(RunError, match=words) as error:
            l2sim.open(tmp_path / place)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ("manifest.json", "job.toml"))
@pytest.mark.parametrize("content", (b"", b"{", b"\xff\xfe", b"[1]"))
def test_a_damaged_run_is_said_in_one_line(copy: Path, name: str, content: bytes) -> None:
    if name == "job.toml" and content in (b"", b"[1]"):
        content = b"flow = 3"  # nothing is a job of defaults
    (copy / name).write_bytes(content)
    with pytest.raises(RunError) as error:
        l2sim.open(copy)
    said = str(error.value).replace(str(copy), "RUN")  # the folder's own name has the words of this test
    assert said.startswith("the run in RUN cannot be opened: " if name == "job.toml" else "RUN") and name in said, said
    assert "\n" not in said and (name == "job.toml" or "damaged" in said or "not" in said)


@pytest.mark.parametrize("name", ("manifest.json", "events.jsonl", "job.toml"))
def test_a_folder_where_a_file_belongs_is_said_in_one_line(copy: Path, name: str) -> None:
    (copy / name).unlink()
    (copy / name).mkdir()
    with pytest.raises(RunError, match=name) as error:
        l2sim.open(copy)
    assert "\n" not in str(error.value)


def test_what_was_not_recorded_is_said_with_what_there_is(copy: Path) -> None:
    run = l2sim.open(copy)
    with pytest.raises(RunError, match="has no series 'accuracy'; it has pretrain/loss"):
        run.scalars("accuracy")
    for ask in (run.phases, run.steps):
        with pytest.raises(RunError, match="has no layer 'fc9'; it has conv1, conv2, fc1"):
            ask("fc9")
    (copy / "report.json").write_text("{")
    with pytest.raises(RunError, match=r"report\.json is"):
        _ = run.report
