"""The command line: what it hands to the run, and the one line and exit code of every way to end."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import pytest

from l2sim.cli import main as cli
from l2sim.errors import DataError
from l2sim.job import job as jobs
from l2sim.store.events import Checkpoint, Done, Epoch, Event, Noted, StageDone, StageStarted, Step, Warned
from tests.places import ROOT

REPORT: dict[str, Any] = {
    "stages": [
        {"name": "pretrain", "accuracy": 0.986, "loss": 0.05, "seconds": 2.0},
        {"name": "calibrate", "oracle_identity_error": {"u": 0.0103, "v": 0.0107}, "evaluations": 1234567},
        {"name": "map", "accuracy": 0.78, "oracle_accuracy": 0.89, "oracle_mapping_error": 0.1, "core_calls": 9876},
    ]
}


class Flow:
    """Stands in for `l2sim.runs.execute.execute`; `trouble` happens after the first checkpoint."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.trouble: Callable[[], None] = lambda: None
        self.early: Callable[[], None] = lambda: None
        self.cleanup: Callable[[], None] = lambda: None
        self.closed = False

    def execute(self, job: jobs.Job, out: Path, **options: Any) -> Iterator[Event]:
        self.calls.append({"job": job, "out": out, **options})
        try:
            self.early()
            if not options.get("resume"):
                (out / "job.toml").write_text(jobs.to_toml(job), encoding="utf-8")
            yield StageStarted("pretrain", 2)
            yield Step("pretrain", 1, {"loss": 1.0})
            yield Epoch("pretrain", 1, 2, 1, {"loss": 0.5, "accuracy": 0.7})
            yield Checkpoint("pretrain", 1, 1, {}, {})
            self.trouble()
            yield Noted("pretrain", "fc1 is [net.1]")
            yield Warned("pretrain", "[bold]brackets[/] are not markup")
            yield Epoch("pretrain", 2, 2, 2, {"loss": 0.25, "accuracy": 0.986})
            yield StageDone("pretrain", REPORT["stages"][0])
            yield StageStarted("deploy", 0)
            yield StageDone("deploy", {"accuracy": 0.1})
            yield Done(REPORT)
        finally:
            self.cleanup()
            self.closed = True


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Flow:
    """A run that takes no time, in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("L2SIM_DATA", raising=False)
    stand_in = Flow()
    module = types.ModuleType("l2sim.runs.execute")
    module.execute = stand_in.execute  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "l2sim.runs.execute", module)
    return stand_in


@pytest.fixture
def l2sim(flow: Flow, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command; returns the exit code, standard output and standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            cli.main(list(arguments))
        code = end.value.code
        captured = capsys.readouterr()
        assert isinstance(code, int)
        assert "Traceback" not in captured.err + captured.out
        if code:
            assert captured.err.startswith("l2sim: error: ") and captured.err.count("\n") == 1, captured.err
        return code, captured.out, captured.err

    return call


Call = Callable[..., tuple[int, str, str]]

# --------------------------------------------------------------------------------------------------- what is run


def test_run_without_arguments_is_digits_in_the_first_free_folder(l2sim: Call, flow: Flow) -> None:
    code, shown, _ = l2sim("run")
    assert code == 0 and shown.splitlines()[-1] == str(Path("runs/digits-1/report.html"))
    call = flow.calls[0]
    assert call["job"] == jobs.load("digits") and call["out"] == Path("runs/digits-1")
    assert (call["data"], call["resume"], call["source"]) == (None, False, None)
    assert 1 <= call["threads"] <= numba.config.NUMBA_NUM_THREADS
    l2sim("run")
    l2sim("run", "--smoke")
    assert [c["out"].name for c in flow.calls] == ["digits-1", "digits-2", "smoke-1"]
    assert flow.calls[2]["job"] == jobs.smoke(jobs.load("digits"))


def test_the_options_reach_the_run(l2sim: Call, flow: Flow, tmp_path: Path) -> None:
    code, shown, _ = l2sim(
        *("run", "digits", "--set", "learn.epochs=5", "--set", "map.method=ztp", "--out", "here/and/there"),
        *("--data", str(tmp_path), "--seed", "7", "--threads", "1", "--from", "runs/old@map:20", "--quiet"),
    )
    assert code == 0 and shown == str(Path("here/and/there/report.html")) + "\n"
    call = flow.calls[0]
    assert (call["job"].learn.epochs, call["job"].map.method, call["job"].seed) == (5, "ztp", 7)
    assert (call["out"], call["data"], call["threads"]) == (Path("here/and/there"), tmp_path, 1)
    assert call["source"] == "runs/old@map:20"


def test_a_file_of_data_is_refused_by_what_reads_none(l2sim: Call, flow: Flow, tmp_path: Path) -> None:
    file = tmp_path / "mine.npz"
    file.touch()
    for args in (("digits",), ("insitu-moons",), ("mnist-cnn-s",)):
        code, _, said = l2sim("run", *args, "--data", str(file))
        assert code == 2 and "reads no file such as" in said and "data.name=own" in said and not flow.calls
    assert l2sim("run", "digits", "--set", "data.name=own", "--data", str(file))[0] == 0
    assert l2sim("run", "digits", "--smoke", "--data", str(file))[0] == 0


def test_a_job_file_runs_and_settings_win_over_smoke(l2sim: Call, flow: Flow, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[learn]\nepochs = 4\n")
    assert l2sim("run", "mine.toml")[0] == 0
    assert l2sim("run", "mine.toml", "--smoke", "--set", "learn.epochs=3")[0] == 0
    assert [(c["out"].name, c["job"].learn.epochs) for c in flow.calls] == [("mine-1", 4), ("smoke-1", 3)]


def test_from_takes_the_job_of_the_other_run(l2sim: Call, flow: Flow) -> None:
    l2sim("run", "--set", "learn.epochs=9", "--set", "name=first")
    assert l2sim("run", "--from", "runs/first-1@map:20", "--set", "learn.lr=0.5")[0] == 0
    assert (flow.calls[1]["job"].learn.epochs, flow.calls[1]["job"].learn.lr) == (9, 0.5)
    assert flow.calls[1]["out"].name == "first-2"
    assert l2sim("run", "--from", "runs/first-1")[0] == 0
    code, _, error = l2sim("run", "--from", "nowhere@map")
    assert code == 2 and "nowhere is not a run folder" in error


def test_the_console_shows_stages_and_a_table(l2sim: Call) -> None:
    _, shown, error = l2sim("run")
    lines = shown.splitlines()
    assert lines[:4] == [
        "pretrain: 2 epochs",
        "pretrain: fc1 is [net.1]",
        "warning: pretrain: [bold]brackets[/] are not markup",
        "pretrain: accuracy 98.60 %, loss 0.05, 2.0 s",
    ]
    for words in ("98.60 %", "identity 0.0107", "1,234,567", "78.00 %", "89.00 %", "mapping 0.1"):
        assert words in shown
    assert error == ""


def test_a_terminal_gets_bars(flow: Flow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import io

    from rich.console import Console

    from l2sim.runs import console

    terminal = Console(file=io.StringIO(), force_terminal=True, width=120, markup=False, highlight=False)
    monkeypatch.setattr(console, "screen", lambda: terminal)
    report = console.watch(flow.execute(jobs.load("digits"), tmp_path))
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert report == REPORT
    for words in ("pretrain", "2/2", "deploy", "pretrain: fc1 is [net.1]", "warning: pretrain: [bold]brackets"):
        assert words in shown


# -------------------------------------------------------------------------------------------------------- resume


def test_resume_goes_on_with_the_newest_or_the_named_run(l2sim: Call, flow: Flow) -> None:
    for name in ("run", "run"):
        l2sim(name, "--set", "learn.epochs=5")
    os.utime("runs/digits-1/job.toml", ns=(1, 1))
    assert l2sim("run", "--resume")[0] == 0
    assert l2sim("run", "--resume", "--out", "runs/digits-1")[0] == 0
    assert l2sim("run", "digits", "--resume", "--set", "learn.epochs=5")[0] == 0
    assert [c["out"].name for c in flow.calls[2:]] == ["digits-2", "digits-1", "digits-2"]
    assert all(c["resume"] and c["job"].learn.epochs == 5 for c in flow.calls[2:])


def test_resume_refuses_another_job_and_an_empty_folder(l2sim: Call, flow: Flow) -> None:
    assert "there is no run of digits in runs" in l2sim("run", "--resume")[2]
    l2sim("run")
    for arguments in (["--seed", "9"], ["--set", "seed=9"], ["digits", "--set", "seed=9"]):
        code, _, error = l2sim("run", *arguments, "--resume")
        assert code == 2 and "has another seed" in error
    assert "not a run folder" in l2sim("run", "--resume", "--out", "nowhere")[2]
    assert "use one of them" in l2sim("run", "--resume", "--from", "runs/digits-1")[2]
    assert len(flow.calls) == 1


# ------------------------------------------------------------------------------------------------ ways to end


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "digitz"], "did you mean digits?"),
        (["run", "none.toml"], "there is no file none.toml"),
        (["run", "--set", "learn.epcohs=5"], "did you mean learn.epochs?"),
        (["run", "--set", "learn.epochs=-1"], "use a whole number from 0 to"),
        (["run", "--seed", "-3"], "seed = -3 is out of range"),
        (["run", "--seed", "x"], "'x' is not a valid integer"),
        (["run", "--threads", "9999"], "threads = 9999 is out of range on this machine"),
        (["run", "--threads", "0"], "threads = 0 is out of range"),
        (["run", "--oot", "x"], "--out"),
        (["run", "digits", "extra"], "unexpected extra argument"),
        (["rum"], "Did you mean 'run'? See `l2sim --help`"),
        (["data", "lst"], "list"),
        (["data", "fetch"], "Missing argument"),
        (["data", "fetch", "imagenet"], "use one of mnist, fashion-mnist"),
        (["data", "verify", "mnist", "--data", "nowhere"], "mnist is not as published; fetch it"),
        (["run", "mnist-cnn-s", "--data", "nowhere"], "there is no data folder nowhere"),
        (["run", "mnist-cnn-s", "--data", "."], "no mnist"),
        (["presets", "--explain", "digts"], "did you mean digits?"),
        (["report", "nowhere"], "nowhere is not a run folder"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(l2sim: Call, flow: Flow, arguments: list[str], words: str) -> None:
    code, _, error = l2sim(*arguments)
    assert code == 2 and words in error
    assert not list(Path().iterdir()) and not flow.calls


def test_a_folder_in_use_is_left_alone(l2sim: Call, flow: Flow, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert l2sim("run", "--out", "mine")[0] == 0
    code, _, error = l2sim("run", "--out", "mine")
    assert code == 2 and "mine is in use" in error and "--resume" in error and "--out" in error
    (tmp_path / "file").write_text("x")
    assert "cannot make the run folder file: File exists" in l2sim("run", "--out", "file")[2]
    assert "cannot make the run folder" in l2sim("run", "--out", "file/below")[2]
    (tmp_path / "runs").write_text("x")
    assert "cannot make the run folder runs" in l2sim("run")[2]
    assert len(flow.calls) == 1


def test_an_error_before_anything_is_written_leaves_no_folder(l2sim: Call, flow: Flow) -> None:
    def refuse() -> None:
        raise DataError("the data are wrong; get better ones")

    flow.early = refuse
    code, _, error = l2sim("run")
    assert (code, error) == (2, "l2sim: error: the data are wrong; get better ones\n")
    assert not list(Path("runs").iterdir())


def _raise(error: BaseException) -> Callable[[], None]:
    def trouble() -> None:
        raise error

    return trouble


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "scalars.bin"), "the disk is full: cannot write scalars.bin"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk is full: cannot write; free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "no permission for x: Permission denied"),
        (OSError(errno.EROFS, "Read-only file system", "x"), "Read-only file system; choose another folder with --out"),
        (MemoryError(), "out of memory; use a smaller batch"),
    ],
)
def test_a_machine_that_gives_out_is_one_line(l2sim: Call, flow: Flow, error: Exception, words: str) -> None:
    flow.trouble = _raise(error)
    code, _, told = l2sim("run")
    assert code == 2 and words in told
    assert "saved up to pretrain epoch 1 in runs/digits-1; go on with `l2sim run --resume --out runs/digits-1`" in told
    assert flow.closed


@pytest.mark.parametrize(
    ("signum", "code", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_a_signal_says_what_is_saved(l2sim: Call, flow: Flow, signum: int, code: int, name: str) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    # A process group gets a signal twice: the second must not break the clean-up after the first.
    flow.trouble = flow.cleanup = lambda: os.kill(os.getpid(), signum)
    got, _, told = l2sim("run")
    assert got == code and f"stopped by {name}; saved up to pretrain epoch 1 in runs/digits-1" in told
    assert "`l2sim run --resume --out runs/digits-1`" in told and flow.closed
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    flow.early, flow.trouble, flow.cleanup = flow.trouble, lambda: None, lambda: None
    got, _, told = l2sim("run")
    assert got == code and "nothing was started" in told and not Path("runs/digits-2").exists()


def test_a_bug_goes_to_a_file_and_not_to_the_screen(l2sim: Call, flow: Flow) -> None:
    flow.trouble = _raise(ZeroDivisionError("a\nbug"))
    code, _, told = l2sim("run")
    assert code == 2 and "(ZeroDivisionError: a bug), please report it with runs/digits-1/crash.log" in told
    assert "ZeroDivisionError" in Path("runs/digits-1/crash.log").read_text()


def test_an_error_in_the_console_closes_the_run_before_it_is_told(
    l2sim: Call, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    from l2sim.runs import console

    states = []
    tell = cli._fail
    monkeypatch.setattr(cli, "_fail", lambda message: (states.append(flow.closed), tell(message))[1])
    monkeypatch.setattr(console, "_outcome", lambda event: 1 / 0)
    assert l2sim("run")[0] == 2 and states == [True]


def test_a_run_without_a_report_is_an_error(l2sim: Call, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["l2sim.runs.execute"], "execute", lambda job, out, **rest: (e for e in ()))
    code, _, told = l2sim("run")
    assert code == 2 and "without a report" in told


# ------------------------------------------------------------------------------------------------ other commands


def test_presets_are_listed_and_explained(l2sim: Call) -> None:
    code, shown, _ = l2sim("presets")
    assert code == 0 and all(name in shown for name in ("digits", "mnist-cnn-s", "fashion-mlp", "2110.14807"))
    assert all(word in shown for word in ("DATA-MODEL-METHOD", "calibrated-rad", "resnet18", "tiny-imagenet"))
    _, digits, _ = l2sim("presets", "--explain")
    for field in jobs.describe(jobs.load("digits")):
        assert field.path in digits
    assert "rad/V^2" in digits and "0 to 2 pi" in digits
    _, fashion, _ = l2sim("presets", "--explain", "fashion-mlp")
    assert "fashion-mnist" in fashion.split("data.name")[1].splitlines()[0]


def test_data_sets_are_listed(l2sim: Call, tmp_path: Path) -> None:
    code, shown, _ = l2sim("data", "list", "--data", str(tmp_path))
    assert code == 0
    for words in ("digits", "ships with l2sim", "fashion-mnist", "l2sim data fetch mnist", "synthetic"):
        assert words in shown


def test_help_and_version(l2sim: Call) -> None:
    from l2sim import __version__

    assert l2sim("--version")[1] == f"l2sim {__version__}\n"
    for arguments in (["--help"], [], ["run", "-h"], ["data"]):
        code, shown, _ = l2sim(*arguments)
        assert code == 0 and "Usage: l2sim" in shown


@pytest.mark.skipif(os.name != "posix", reason="pipes and /dev/full")
@pytest.mark.parametrize(
    ("place", "code", "words"), [("a pipe", 141, ""), ("/dev/full", 2, "l2sim: error: the disk is full")]
)
def test_output_that_goes_nowhere(place: str, code: int, words: str) -> None:
    if place == "a pipe":
        reader, end = os.pipe()
        os.close(reader)
    else:
        end = os.open(place, os.O_WRONLY)
    line = [sys.executable, "-m", "l2sim", "presets", "--explain"]
    done = subprocess.run(line, stdout=end, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    os.close(end)
    assert done.returncode == code
    assert done.stderr.startswith(words) and done.stderr.count("\n") == (1 if words else 0), done.stderr
