"""A sweep: what points share, what is tried again, what a folder remembers, and the tables and the page in the end."""

from __future__ import annotations

import csv
import errno
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from l2sim.cli import main as cli
from l2sim.errors import RunError
from l2sim.flow.l2ight.session import open_session
from l2sim.flow.l2ight.stages import STAGES
from l2sim.job import job as jobs
from l2sim.store import events
from l2sim.sweep import agenda, share
from l2sim.sweep import page as sweep_report
from l2sim.sweep import plan as sweep_plan
from l2sim.sweep import point as sweep_point
from l2sim.sweep.log import DONE, FAILED, Entry, Log
from l2sim.sweep.point import Outcome, Task

TINY = {"model.width": 0.25, "map.compare": False}


class Here:
    """An engine that runs tasks in this process; `answer` may stand in for a run."""

    def __init__(self, answer: Any = None) -> None:
        self.notes: list[str] = ["engine Here"]
        self.answer, self.tasks, self.excluded = answer, [], []
        self._ended: list[tuple[Task, Outcome]] = []

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def room(self) -> int:
        return 2 - len(self._ended)

    def submit(self, task: Task) -> None:
        self.tasks.append(task)
        json.dumps(msgspec.to_builtins(task))
        outcome = self.answer(task) if self.answer else sweep_point.run(task)
        self._ended.append((task, msgspec.structs.replace(outcome, worker=f"w{len(self.tasks) % 2}")))

    def wait(self, seconds: float) -> list[tuple[Task, Outcome]]:
        ended, self._ended = self._ended, []
        return ended

    def exclude(self, worker: str) -> bool:
        self.excluded.append(worker)
        return True

    @property
    def points(self) -> list[int]:
        return [task.index for task in self.tasks if task.index >= 0]


def planned(grid: dict[str, list[Any]], **more: Any) -> sweep_plan.Plan:
    return sweep_plan.plan({"job": "digits", "smoke": True, "overrides": TINY, "grid": grid} | more)


GRID: dict[str, list[Any]] = {"seed": [1, 2], "map.lr": [0.1, 0.2], "learn.lr": [1e-3, 2e-3]}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Here]:
    """The folder of a sweep of eight points whose stages were shared."""
    out, engine = tmp_path_factory.mktemp("sweep") / "shared", Here()
    counts = agenda.run(planned(GRID), out, lambda: engine)
    assert (counts.done, counts.failed) == (8, 0)
    return out, engine


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def plain(path: Path) -> Any:
    """A report without its times."""
    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: bare(item) for key, item in value.items() if key != "seconds"}
        return [bare(item) for item in value] if isinstance(value, list) else value

    return bare(json.loads(path.read_text()))


def test_sharing_gives_the_numbers_of_not_sharing(
    swept: tuple[Path, Here], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, engine = swept
    assert sorted(task.stage for task in engine.tasks if task.stage) == ["calibrate"] * 2 + ["map"] * 4
    monkeypatch.setattr(share, "stages", lambda plan: ())
    alone = Here()
    agenda.run(planned(GRID), tmp_path / "alone", lambda: alone)
    assert not any(task.source for task in alone.tasks) and len(alone.tasks) == 8
    assert (tmp_path / "alone" / "results.csv").read_bytes() == (out / "results.csv").read_bytes()
    for folder in (out / "points").iterdir():
        for name in ("report.json", "figures.json"):
            assert plain(folder / name) == plain(tmp_path / "alone" / "points" / folder.name / name)


class Trap:
    """A section that nobody may look at."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


def test_no_stage_looks_at_a_section_that_is_said_to_be_read_later() -> None:
    job = jobs.with_overrides(jobs.smoke(jobs.load("digits")), ["model.width=0.25"])
    session = open_session(job, None)
    for number, name in enumerate(events.stages(job)):
        later = {
            section: Trap() for section, first in share.READ_FIRST.items()
            if events.stages(job).index(first) > number
        }  # fmt: skip
        session.job = msgspec.structs.replace(job, **later)
        for _ in STAGES[name](session, 0):
            pass
        assert session.results[-1]["name"] == name


def test_the_tables_have_a_row_for_every_point_and_no_times(swept: tuple[Path, Here]) -> None:
    out, _ = swept
    rows = read(out / "results.csv")
    assert [(row["seed"], row["map.lr"], row["learn.lr"]) for row in rows][:3] == [
        ("1", "0.1", "0.001"), ("1", "0.1", "0.002"), ("1", "0.2", "0.001"),
    ]  # fmt: skip
    report = json.loads((out / "points" / rows[0]["point"] / "report.json").read_text())
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert float(rows[0]["learn.accuracy"]) == stages["learn"]["accuracy"]
    assert float(rows[0]["calibrate.oracle_identity_error.u"]) == stages["calibrate"]["oracle_identity_error"]["u"]
    assert int(rows[0]["map.core_calls"]) == stages["map"]["core_calls"]
    assert not [name for name in rows[0] if "seconds" in name.split(".")]
    assert len({row["learn.accuracy"] + row["learn.loss"] for row in rows}) == 8
    runs = read(out / "runs.csv")
    assert [run["point"] for run in runs] == [row["point"] for row in rows]
    assert all(float(run["seconds"]) > 0 and run["attempts"] == "1" for run in runs)


def test_the_parquet_table_is_the_other_one_with_types(swept: tuple[Path, Here]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(swept[0] / "results.parquet").to_pylist()
    rows = read(swept[0] / "results.csv")
    assert [list(row) for row in table] == [list(row) for row in rows]
    assert {type(table[0][name]) for name in ("seed", "map.core_calls")} == {int}
    assert all(str(row[name] or "") == (told[name] if told[name] != "0" else "") or row[name] == float(told[name])
               for row, told in zip(table, rows) for name in row)  # fmt: skip


def test_the_page_draws_metrics_over_fields(swept: tuple[Path, Here]) -> None:
    page = (swept[0] / "report.html").read_text()
    assert page.count("<svg") >= 3 and "map.lr" in page and "8 points of job" in page
    assert "goes on" not in page and "Failed points" not in page and "https://" not in page.replace("http://www.w3", "")


def test_a_sweep_that_is_done_runs_nothing(swept: tuple[Path, Here]) -> None:
    before = (swept[0] / "results.csv").read_bytes()
    counts = agenda.run(planned(GRID), swept[0], lambda: pytest.fail("there is nothing to do"))
    assert counts.done == 8 and (swept[0] / "results.csv").read_bytes() == before


def answer(task: Task) -> Outcome:
    """A run that takes no time."""
    return Outcome("done", {"learn.accuracy": task.job["seed"] / 10}, {"learn": 1.0})


def test_a_lost_log_costs_no_finished_point(swept: tuple[Path, Here], tmp_path: Path) -> None:
    out, _ = swept
    (tmp_path / "points").mkdir()
    for name in ("sweep.json",):
        (tmp_path / name).write_bytes((out / name).read_bytes())
    for folder in (out / "points").iterdir():
        (tmp_path / "points" / folder.name).symlink_to(folder)
    times = {path: path.stat().st_mtime_ns for path in out.glob("points/*/report.json")}
    (tmp_path / "shared").symlink_to(out / "shared")
    agenda.run(planned(GRID), tmp_path, Here)
    assert times == {path: path.stat().st_mtime_ns for path in times}
    assert (tmp_path / "results.csv").read_bytes() == (out / "results.csv").read_bytes()


def test_a_torn_log_is_cut_back(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl", 3, write=True)
    log.add(Entry(2, "2-x", "failed", 3, error="no"))
    log.add(Entry(0, "0-x", "done", row={"a": 1.5}))
    log.add(Entry(2, "2-x", "done"))
    log.close()
    whole = (tmp_path / "log.jsonl").read_bytes()
    (tmp_path / "log.jsonl").write_bytes(whole + b'{"index":1,"name":"1-x","sta')
    log = Log(tmp_path / "log.jsonl", 3, write=True)
    assert list(log.states) == [DONE, 0, DONE] and list(log.open_points()) == [1]
    log.add(Entry(1, "1-x", "failed"))
    assert (tmp_path / "log.jsonl").read_bytes().startswith(whole) and log.count(FAILED) == 1
    entry = log.entry(0)
    assert entry and entry.row == {"a": 1.5} and log.entry(2) == Entry(2, "2-x", "done")
    log.close()


def test_a_failing_point_is_tried_three_times_at_the_end_then_reported(tmp_path: Path) -> None:
    def fails(task: Task) -> Outcome:
        bad = task.job["seed"] == 2
        return Outcome("failed", error="the disk is full") if bad else answer(task)

    engine, said = Here(fails), []
    counts = agenda.run(planned({"seed": [1, 2, 3]}), tmp_path / "s", lambda: engine, say=said.append)
    assert engine.points == [0, 1, 2, 1, 1] and (counts.done, counts.failed) == (2, 1)
    assert [task.fresh for task in engine.tasks] == [False, False, False, True, True]
    assert said == ["engine Here", f"{engine.tasks[1].name} failed, 3 times: the disk is full"]
    rows = read(tmp_path / "s" / "results.csv")
    assert [row["status"] for row in rows] == ["done", "failed", "done"]
    assert "the disk is full" in (tmp_path / "s" / "report.html").read_text()
    again = Here(answer)
    assert agenda.run(planned({"seed": [1, 2, 3]}), tmp_path / "s", lambda: again).done == 3
    assert again.points == [1]


def test_a_point_whose_worker_dies_is_tried_five_times(tmp_path: Path) -> None:
    engine = Here(lambda task: Outcome("lost", error="its worker was killed by signal 9"))
    counts = agenda.run(planned({"seed": [1]}), tmp_path / "s", lambda: engine)
    assert engine.points == [0] * 5 and counts.failed == 1 and not any(task.fresh for task in engine.tasks)


def test_points_do_without_a_shared_checkpoint_that_cannot_be_made(tmp_path: Path) -> None:
    engine = Here(lambda task: Outcome("failed", error="no") if task.index < 0 else answer(task))
    counts = agenda.run(planned({"learn.lr": [1e-3, 2e-3]}), tmp_path / "s", lambda: engine)
    assert counts.done == 2 and [task.index for task in engine.tasks] == [-1, 0, 1]
    assert not any(task.source for task in engine.tasks)


def test_a_disk_that_is_full_on_one_worker_is_one_line_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from l2sim.runs import execute as folder

    def full(job: Any, out: Path, **more: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out / "scalars.bin"))

    def one_is_full(task: Task) -> Outcome:
        if len(engine.tasks) % 2 or engine.excluded:
            return answer(task)
        with monkeypatch.context() as patch:
            patch.setattr(folder, "execute", full)
            return sweep_point.run(task)

    engine, said = Here(one_is_full), []
    counts = agenda.run(planned({"seed": [1, 2, 3, 4]}), tmp_path / "s", lambda: engine, say=said.append)
    assert counts.done == 4 and engine.excluded == ["w0"]
    assert len(said) == 2 and said[1].startswith("w0 gets no more points: the disk is full: cannot write ")


def test_what_fails_inside_a_point_is_its_own_line(tmp_path: Path) -> None:
    grid = {"pretrain.weights": ["", str(tmp_path / "nowhere.npz")], "learn.lr": [1e-3]}
    out = tmp_path / "s"
    said: list[str] = []
    counts = agenda.run(planned(grid, attempts=1), out, Here, say=said.append)
    assert (counts.done, counts.failed) == (1, 1)
    assert len(said) == 2 and "nowhere.npz" in said[1] and "internal" not in said[1]


def test_a_folder_holds_one_sweep(swept: tuple[Path, Here], tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds another sweep \(another \[grid\]\); choose another --out"):
        agenda.run(planned(GRID | {"seed": [1, 3]}), swept[0], Here)
    with pytest.raises(RunError, match=r"its job has another learn.epochs"):
        agenda.run(planned(GRID, overrides=TINY | {"learn.epochs": 2}), swept[0], Here)
    (tmp_path / "x").write_text("")
    with pytest.raises(RunError, match="is in use"):
        agenda.run(planned(GRID), tmp_path, Here)
    lock, _ = agenda.begin(planned(GRID), swept[0])
    with lock, pytest.raises(RunError, match="a sweep is going on"):
        agenda.run(planned(GRID), swept[0], Here)
    told = json.loads((swept[0] / "sweep.json").read_text())
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "sweep.json").write_text(json.dumps(told | {"l2sim": "0.0.1"}))
    with pytest.raises(RunError, match=r"was begun with l2sim 0\.0\.1, and this is"):
        agenda.stored(tmp_path / "old")
    assert agenda.stored(swept[0]).digest == planned(GRID).digest


def test_what_a_worker_sends_stays_in_its_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="outside of its folder"):
        agenda.unpack({"../x": b""}, tmp_path / "points" / "0")
    agenda.unpack({"a": b"1", "checkpoints/b": b"2"}, tmp_path / "points" / "0")
    agenda.unpack({"a": b"3"}, tmp_path / "points" / "0")
    assert agenda.pack(tmp_path / "points" / "0") == {"a": b"3"}


# --------------------------------------------------------------------------------------------------- command line

Call = Any


@pytest.fixture
def l2sim(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Runs a command line in an empty folder; gives exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            cli.main(list(words))
        shown = capsys.readouterr()
        return int(end.value.code or 0), shown.out, shown.err

    return call


def test_the_command_runs_reports_and_goes_on(l2sim: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from l2sim.sweep import local as sweep_local

    engine = Here(answer)
    monkeypatch.setattr(sweep_local, "Local", lambda *told: engine)
    Path("a.toml").write_text('job = "digits"\nsmoke = true\n[grid]\nseed = [1, 2]\n')
    assert l2sim("sweep", "a.toml") == (0, "runs/sweep-a/report.html\n", "warning: engine Here\n")
    assert l2sim("sweep", "runs/sweep-a") == (0, "runs/sweep-a/report.html\n", "") and engine.points == [0, 1]
    assert l2sim("sweep", "a.toml", "--status")[1] == "runs/sweep-a: 2 points, 2 done, 0 failed, 0 open\n"
    engine.answer = lambda task: Outcome("failed", error="no")
    code, _, told = l2sim("sweep", "a.toml", "--out", "b", "--quiet")
    assert code == 2 and told.splitlines()[-1].startswith("l2sim: error: 2 of 2 points failed; b/runs.csv says why")
    assert "failed, 3 times: no" in l2sim("sweep", "b", "--status")[1]

    def stops(task: Task) -> Outcome:
        if len(engine.tasks) > 6 + 2:
            raise KeyboardInterrupt
        return answer(task)

    engine.answer, engine.tasks = stops, engine.tasks[:1] * 6
    monkeypatch.setattr(agenda, "TABLES_EVERY", 0.0)
    Path("c.toml").write_text("[grid]\nseed = [1, 2, 3, 4]\n")
    code, _, told = l2sim("sweep", "c.toml", "--out", "c")
    assert code == 130 and "what is finished stays" in told and "`l2sim sweep c` goes on" in told
    assert l2sim("sweep", "c", "--status")[1] == "c: 4 points, 2 done, 0 failed, 2 open\n"
    assert "`l2sim sweep c`, in the folder above this one, goes on" in Path("c/report.html").read_text()


@pytest.mark.parametrize("words, line", (
    (("sweep", "none.toml"), "there is no file none.toml"),
    (("sweep", "bad.toml"), "bad.toml: [grid] there is no field sede; did you mean seed?"),
    (("sweep", "good.toml", "--scheduler", "tcp://127.0.0.1:9"), "no scheduler answers at tcp://127.0.0.1:9"),
    (("sweep", "good.toml", "--scheduler", "127.0.0.1:9", "--workers", "2"), "leave out --workers"),
    (("sweep", "good.toml", "--scheduler", "carrier-pigeon://x"), "no scheduler answers at carrier-pigeon://x"),
    (("sweep", "slurm.toml"), '[cluster] kind = "slurm" needs dask_jobqueue; pip install dask-jobqueue'),
    (("sweep", "ssh.toml"), "names no hosts"),
    (("sweep", "."), "is not the folder of a sweep"),
))  # fmt: skip
def test_every_mistake_has_its_line(
    words: tuple[str, ...], line: str, l2sim: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setitem(__import__("sys").modules, "dask_jobqueue", None)
    monkeypatch.setitem(__import__("sys").modules, "asyncssh", __import__("json"))
    Path("bad.toml").write_text("[grid]\nsede = [1]\n")
    Path("good.toml").write_text("[grid]\nseed = [1]\n")
    Path("slurm.toml").write_text('[cluster]\nkind = "slurm"\n[grid]\nseed = [1]\n')
    Path("ssh.toml").write_text('[cluster]\nkind = "ssh"\n[grid]\nseed = [1]\n')
    code, _, told = l2sim(*words)
    assert code == 2 and line in told and len(told.splitlines()) == 1


def test_a_panel_of_words_and_one_of_many_numbers() -> None:
    import numpy as np

    fields = {"map.method": ["zcd", "ztp"] * 50, "learn.lr": [*np.geomspace(1e-4, 1e-2, 100)]}
    made = sweep_report._figures(fields, {"learn.accuracy": np.linspace(0, 100, 100)})
    assert len(made) == 1 and "zcd" in made[0] and "learn.lr" in made[0]
