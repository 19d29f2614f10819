"""Trackers: what they were told is read back, and whatever happens to them, the run goes on."""

from __future__ import annotations

import errno
import importlib.util
import json
import struct
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2sim.cli import main as cli
from l2sim.job import job as jobs
from l2sim.job.job import Job
from l2sim.runs import execute as folder
from l2sim.runs import track, trackers
from l2sim.runs.trackers import Row, Run
from l2sim.store import logs
from l2sim.store.events import Done, Epoch, Event, StageDone, StageStarted, Step

EPOCHS = 5


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row passes, nobody is asked, and the environment stays as it was."""
    monkeypatch.setattr(track, "EVERY", 0.0)
    monkeypatch.setattr(track, "GATHER", 0.02)
    monkeypatch.setattr(track, "PATIENCE", 1200.0)  # of a crowded machine; a twelfth of it where a run was stopped
    for name in ("MLFLOW_ALLOW_FILE_STORE", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.delenv("WANDB_DIR", raising=False)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A run folder as far as trackers look into it."""
    made = tmp_path / "digits-1"
    (made / "checkpoints").mkdir(parents=True)
    (made / "job.toml").write_text(jobs.to_toml(Job.preset("digits")))
    for name in ("report.html", "report.json", "checkpoints/pretrain.safetensors", "checkpoints/learn.safetensors"):
        (made / name).write_text(name)
    return made


def events(first: int = 0, last: int = EPOCHS) -> Iterator[Event]:
    """Epochs `first` to `last` of a stage with three mini-batches each; the run is done with epoch EPOCHS."""
    yield StageStarted("learn", EPOCHS, first)
    for epoch in range(first, last):
        for step in range(3 * epoch + 1, 3 * epoch + 4):
            yield Step("learn", step, {"loss": 1 / step})
        yield Epoch("learn", epoch + 1, EPOCHS, 3 * epoch + 3, {"test_accuracy": epoch / 8})
    if last == EPOCHS:
        yield StageDone("learn", {"name": "learn", "accuracy": 0.5, "oracle": {"u": 0.25}, "loss": float("nan")})
        yield Done({"stages": [{"name": "pretrain", "loss": 1.0}, {"name": "learn", "loss": 2.0}]})


def lines(stream: Iterator[Event], specs: list[str], out: Path) -> tuple[int, list[str]]:
    """How many events came through, and what was said."""
    said: list[str] = []
    return len(list(track.follow(stream, track.readers(specs, said.append), out))), said


ALL = 4 * EPOCHS + 3
LOSS = {step: 1 / step for step in range(1, 3 * EPOCHS + 1)}
ACCURACY = {3 * epoch + 3: epoch / 8 for epoch in range(EPOCHS)}

# --------------------------------------------------------------------------------- what was written is read back


def records(path: Path) -> Iterator[Any]:
    """The events of a TensorBoard file."""
    from tensorboardX.proto.event_pb2 import Event as Written

    content, at = path.read_bytes(), 0
    while at < len(content):
        (size,) = struct.unpack_from("<Q", content, at)
        yield Written.FromString(content[at + 12 : at + 12 + size])
        at += 16 + size


def tensorboard(where: Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar of a run as TensorBoard would show it."""
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(where.glob("events.out.tfevents.*")):
        for event in records(path):
            for value in event.summary.value:
                if value.WhichOneof("value") == "simple_value":
                    found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_tensorboard_has_every_scalar_with_its_step_and_the_files(out: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    assert lines(events(), [f"tensorboard:{tmp_path}/tb"], out) == (ALL, [])
    found = tensorboard(tmp_path / "tb" / "digits-1")
    assert dict(found["learn/loss"]) == pytest.approx(LOSS) and len(found["learn/loss"]) == len(LOSS)
    assert dict(found["learn/test_accuracy"]) == pytest.approx(ACCURACY)
    assert found["result/learn/accuracy"] == [(3 * EPOCHS, 0.5)] and found["result/learn/oracle/u"] == [(15, 0.25)]
    assert np.isnan(found["result/learn/loss"][0][1])
    written = b"".join(path.read_bytes() for path in (tmp_path / "tb" / "digits-1").glob("events*"))
    assert b"| learn.epochs | 30 |" in written
    names = {path.name for path in (tmp_path / "tb" / "digits-1").iterdir() if not path.name.startswith("events")}
    assert names == {"report.html", "report.json", "job.toml", "learn.safetensors"}


def test_two_runs_of_one_name_stay_apart(out: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    for _ in range(2):
        lines(events(), [f"tensorboard:{tmp_path}/tb"], out)
        (out / track.FILE).unlink()
    assert sorted(path.name for path in (tmp_path / "tb").iterdir()) == ["digits-1", "digits-1-2"]


def test_mlflow_has_parameters_metrics_and_artifacts(out: Path, tmp_path: Path) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    assert lines(events(), [f"mlflow:{tmp_path}/ml"], out) == (ALL, [])
    client = tracking.MlflowClient(tracking_uri=f"{tmp_path}/ml")
    run = client.get_run(json.loads((out / track.FILE).read_text())["trackers"][f"mlflow:{tmp_path}/ml"]["id"])
    assert run.info.status == "FINISHED" and run.info.run_name == "digits-1"
    settings = {field.path for field in jobs.describe(Job.preset("digits")) if field.value is not None}
    assert run.data.params.keys() == settings and run.data.params["learn.epochs"] == "30"
    assert {m.step: m.value for m in client.get_metric_history(run.info.run_id, "learn/loss")} == LOSS
    assert {m.step: m.value for m in client.get_metric_history(run.info.run_id, "learn/test_accuracy")} == ACCURACY
    assert run.data.metrics["result/learn/accuracy"] == 0.5
    kept = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert kept == {"report.html", "report.json", "job.toml", "learn.safetensors"}


class Stand:
    """Stands in for wandb: remembers what it was told."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {"rows": []}
        self.id = ""

    def module(self, mode: str = "offline", key: bool = False) -> types.ModuleType:
        made: Any = types.ModuleType("wandb")
        made.__spec__ = importlib.util.spec_from_loader("wandb", None)
        made.setup = lambda: types.SimpleNamespace(settings=types.SimpleNamespace(mode=mode))
        made.login = lambda prompt: key
        made.Settings = dict
        made.init, made.Artifact = self._init, self._artifact
        return made

    def _init(self, **options: Any) -> Any:
        self.told |= options
        self.id = options["id"]
        return types.SimpleNamespace(
            id=self.id,
            log=lambda values, step: self.told["rows"].append((step, values)),
            log_artifact=lambda artifact: self.told.update(files=artifact.files),
            finish=lambda exit_code: self.told.update(code=exit_code),
        )

    def _artifact(self, name: str, type: str) -> Any:
        files: list[str] = []
        return types.SimpleNamespace(files=files, add_file=lambda path: files.append(Path(path).name))


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Stand:
    stand = Stand()
    monkeypatch.setitem(sys.modules, "wandb", stand.module())
    return stand


def test_wandb_is_told_the_job_the_scalars_and_the_files(out: Path, wandb: Stand) -> None:
    assert lines(events(), ["wandb:optics/meshes"], out) == (ALL, [])
    told = wandb.told
    assert (told["entity"], told["project"], told["name"], told["dir"]) == ("optics", "meshes", "digits-1", str(out))
    assert told["config"]["learn.epochs"] == 30 and told["config"]["seed"] == 1
    steps = [step for step, _ in told["rows"]]
    assert steps == sorted(steps)  # it drops what comes out of order
    assert {step: row["learn/loss"] for step, row in told["rows"] if "learn/loss" in row} == LOSS
    assert told["files"] == ["report.html", "report.json", "job.toml", "learn.safetensors"] and told["code"] == 0


def test_wandb_offline_writes_into_the_run_folder(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    assert lines(events(), ["wandb:meshes"], out) == (ALL, [])
    (path,) = (out / "wandb").glob("offline-run-*/run-*.wandb")
    found: dict[int, float] = {}
    until = time.monotonic() + 300
    while len(found) < len(LOSS) and time.monotonic() < until:  # its own process may still be writing
        time.sleep(0.1)
        written = [pb.Record.FromString(record) for record in leveldb(path.read_bytes())]
        history = [r.history.item for r in written if r.history.item]
        rows = [{"/".join(i.nested_key) or i.key: i.value_json for i in items} for items in history]
        found = {int(row["_step"]): float(row["learn/loss"]) for row in rows if "learn/loss" in row}
    assert found == pytest.approx(LOSS)
    config = {i.key or "/".join(i.nested_key): i.value_json for r in written for i in r.run.config.update}
    assert config["learn.epochs"] == "30"


def leveldb(content: bytes) -> Iterator[bytes]:
    """The records of a log in LevelDB's format, behind W&B's seven bytes."""
    at, parts = 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        size, kind = struct.unpack_from("<HB", content, at + 4)
        if at + 7 + size > len(content):
            return
        parts += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def test_a_settled_validation_chooses_the_checkpoint(out: Path) -> None:
    stages = [{"name": "pretrain", "loss": 9.0, "validation_loss": 0.1}, {"name": "learn", "loss": 0.1,
               "validation_loss": 0.2}]  # fmt: skip
    assert [path.name for path in track._best(out, {"stages": stages})] == ["pretrain.safetensors"]


# ------------------------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow", "wandb"])
def test_a_resumed_run_goes_on_in_the_same_tracked_run_and_says_no_step_twice(
    kind: str, out: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind != "wandb":
        pytest.importorskip(track.PACKAGES[kind])
    stand = request.getfixturevalue("wandb") if kind == "wandb" else None
    spec = f"{kind}:{tmp_path}/place" if kind != "wandb" else "wandb:meshes"
    lines(events(0, 3), [spec], out)
    first = json.loads((out / track.FILE).read_text())["trackers"][spec]["id"]
    assert track.kept(out) == [spec]
    lines(events(1, EPOCHS), track.kept(out), out)  # the checkpoint was taken two epochs before the end
    assert json.loads((out / track.FILE).read_text())["trackers"][spec]["id"] == first
    if kind == "tensorboard":
        loss = tensorboard(tmp_path / "place" / first)["learn/loss"]
    elif kind == "mlflow":
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=f"{tmp_path}/place")
        loss = [(m.step, m.value) for m in client.get_metric_history(first, "learn/loss")]
        assert client.get_run(first).info.status == "FINISHED"
    else:
        loss = [(step, row["learn/loss"]) for step, row in stand.told["rows"] if "learn/loss" in row]
        assert stand.id == first and stand.told["resume"] == "allow"
    assert len(loss) == len(LOSS) and dict(loss) == pytest.approx(LOSS)


def test_a_real_run_that_is_stopped_and_resumed_is_tracked_as_its_folder_has_it(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    job = jobs.with_overrides(jobs.smoke(Job.preset("insitu-digits")), ["learn.epochs=3", "name=digits"])
    out, spec = tmp_path / "run", f"tensorboard:{tmp_path}/tb"
    stopped = track.follow(folder.execute(job, out), track.readers([spec]), out)
    for event in stopped:
        if isinstance(event, Epoch) and event.epoch == 2 and event.stage == "learn":
            break
    stopped.close()
    assert json.loads((out / "manifest.json").read_text())["state"] == "stopped"
    list(track.follow(folder.execute(job, out, resume=True), track.readers(track.kept(out)), out))
    found = tensorboard(tmp_path / "tb" / "run")
    series = {number: name for name, (number, _) in logs.series(out).items()}
    fields = [("step", "<u8"), ("time", "<f8"), ("series", "<u4"), ("value", "<f8"), ("crc", "<u4")]
    table = np.fromfile(out / "scalars.bin", fields)
    for number, name in series.items():
        if name.startswith(("learn/", "deploy/")):
            rows = table[table["series"] == number]
            assert [step for step, _ in found[name]] == rows["step"].tolist(), name
            np.testing.assert_allclose([value for _, value in found[name]], rows["value"], rtol=1e-6)


# ---------------------------------------------------------------------------------------------------- what goes wrong


def test_what_names_no_tracker_is_said_before_the_run(tmp_path: Path) -> None:
    said: list[str] = []
    assert track.readers(["comet:x", "mlflow", "wandb:"], said.append) == []
    assert len(said) == 3 and all("mlflow:URI, tensorboard:DIR or wandb:PROJECT" in line for line in said)


def test_a_missing_package_is_said_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track, "find_spec", lambda name: None)
    said: list[str] = []
    assert track.readers(["tensorboard:x"], said.append) == []
    assert said == ["--track tensorboard needs tensorboardX, get it with `pip install 'l2sim[track]'`; the run goes on "
                    "without it"]  # fmt: skip


def test_a_server_that_is_not_there_costs_one_line(out: Path) -> None:
    pytest.importorskip("mlflow")
    count, said = lines(events(), ["mlflow:http://me:secret@127.0.0.1:9"], out)
    assert count == ALL
    assert said == ["mlflow:http://127.0.0.1:9: the server cannot be reached; the run goes on without it"]


def test_a_password_is_not_kept(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track, "_sink", lambda spec: Sunk(at="never"))
    monkeypatch.setitem(track.PACKAGES, "mlflow", "json")
    lines(events(), ["mlflow:https://me:secret@host/x"], out)
    assert track.kept(out) == ["mlflow:https://host/x"] and "secret" not in (out / track.FILE).read_text()


def test_wandb_without_a_login_asks_nobody(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", Stand().module("online"))
    count, said = lines(events(), ["wandb:meshes"], out)
    assert count == ALL and len(said) == 1 and "WANDB_MODE=offline" in said[0]


def test_a_place_that_is_no_folder_costs_one_line(out: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    (tmp_path / "file").write_text("")
    count, said = lines(events(), [f"tensorboard:{tmp_path}/file"], out)
    assert count == ALL and len(said) == 1 and "\n" not in said[0] and str(tmp_path / "file") in said[0]


class Sunk:
    """A place that fails, or hangs, at one of its calls."""

    def __init__(self, at: str, error: BaseException | None = None) -> None:
        self.at, self.error, self.released = at, error, threading.Event()

    def _call(self, name: str) -> None:
        if name == self.at:
            if self.error is None:
                self.released.wait(600)
            else:
                raise self.error

    def open(self, run: Run) -> str:
        self._call("open")
        return "id"

    def write(self, rows: list[Row]) -> None:
        self._call("write")

    def keep(self, files: list[Path]) -> None:
        self._call("keep")

    def close(self, state: str) -> None:
        self._call("close")


@pytest.mark.parametrize("at", ["open", "write", "keep", "close"])
def test_a_full_disk_anywhere_costs_one_line(at: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sunk = Sunk(at, OSError(errno.ENOSPC, "No space left on device", "/tb/events\n"))
    monkeypatch.setattr(track, "_sink", lambda spec: sunk)
    monkeypatch.setitem(track.PACKAGES, "tensorboard", "json")
    count, said = lines(events(), ["tensorboard:/tb"], out)
    assert count == ALL and len(said) == 1
    assert said[0].startswith("tensorboard:/tb: ") and "No space left on device" in said[0] and "\n" not in said[0]


@pytest.mark.parametrize("at", ["open", "write", "close"])
def test_a_place_that_hangs_does_not_hold_up_the_run(at: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sunk = Sunk(at)
    monkeypatch.setattr(track, "_sink", lambda spec: sunk)
    monkeypatch.setattr(track, "PATIENCE", 0.2)
    monkeypatch.setitem(track.PACKAGES, "mlflow", "json")
    count, said = lines(events(), ["mlflow:http://slow"], out)
    assert count == ALL and said == [f"mlflow:http://slow takes no more, its run ends before step {3 * EPOCHS}; "
                                     "the run folder has all"]  # fmt: skip
    sunk.released.set()


def test_a_damaged_book_begins_anew(out: Path) -> None:
    for text in ("", "{", "[]", '{"trackers": 3}', '{"trackers": {"a": 1}}'):
        (out / track.FILE).write_text(text)
        assert track.kept(out) == []


def test_fast_epochs_are_thinned_out_but_never_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track, "EVERY", 3600.0)
    rows = track._Rows()
    passed = [row for event in events() for row in rows.of(event)]
    assert [(row.step, row.rank) for row in passed] == [(1, 0), (3, 1), (15, 1), (15, 2)]


def test_a_run_that_fails_is_tracked_as_failed(out: Path, wandb: Stand) -> None:
    def broken() -> Iterator[Event]:
        yield from events(0, 2)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        lines(broken(), ["wandb:meshes"], out)
    assert wandb.told["code"] == 1 and len(wandb.told["rows"]) == 8


def test_the_command_line_tracks_and_a_resume_goes_on_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(track, "readers", lambda specs, say=None: asked.append(list(specs)) or [])
    stop = iter([True])

    def execute(job: Job, out: Path, **options: Any) -> Iterator[Event]:
        (out / "job.toml").write_text(jobs.to_toml(job))
        (out / track.FILE).write_text(json.dumps({"version": 1, "trackers": {"wandb:p": {"id": "x"}}}))
        yield StageStarted("pretrain", 1)
        if next(stop, False):
            raise KeyboardInterrupt
        yield Done({"stages": []})

    monkeypatch.setattr(folder, "execute", execute)
    for words in (["--track", "wandb:p", "--track", "mlflow:x"], ["--resume"], ["--resume", "--track", "mlflow:y"]):
        with pytest.raises(SystemExit):
            cli.main(["run", "--out", str(tmp_path / "r"), "--quiet", *words])
    assert asked == [["wandb:p", "mlflow:x"], ["wandb:p"], ["mlflow:y"]]


def test_every_kind_has_a_place() -> None:
    for kind in track.PACKAGES:
        assert isinstance(track._sink(f"{kind}:x"), trackers.Mlflow | trackers.TensorBoard | trackers.Wandb)
