"""Setting up: a Python, the libraries of the operating system, a known set; and what is said where one is missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from l2sim import system
from tests.places import ROOT
from tests.windowless import obstacle

SCRIPT = ROOT / "requirements" / "python.sh"


def program(folder: Path, name: str, *lines: str) -> Path:
    """A shell script that stands for a program."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


# -- libraries ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without libGL and xvfb-run whose apt-get brings what it is asked for, and notes what that was."""
    there = tmp_path / "there"
    monkeypatch.setattr(system, "_here", lambda name: name not in ("libGL.so.1", "xvfb-run") or there.exists())
    monkeypatch.setattr(system.os, "geteuid", lambda: 0)
    program(tmp_path / "bin", "apt-get", f'echo "$@" >>{tmp_path}/asked', f'[ "$1" = update ] || touch {there}')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return tmp_path


def test_root_gets_the_libraries_and_is_told(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert system.main(["window", "xvfb"]) == 0
    assert (bare / "asked").read_text().splitlines()[1] == "install --no-install-recommends libgl1 xvfb --yes -q"
    assert "not on this machine: libGL.so.1, xvfb-run; installing with: apt-get install" in capsys.readouterr().out
    assert system.main(["window"]) == 0 and capsys.readouterr().out == ""


def test_anyone_else_gets_the_line(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(system.os, "geteuid", lambda: 1000)
    assert system.main(["window"]) == 1 and not (bare / "asked").exists()
    line = "not on this machine: libGL.so.1; install with: sudo apt-get install --no-install-recommends libgl1\n"
    assert capsys.readouterr().err == line
    assert system.main(["display"]) == 0


def test_where_there_is_no_apt(bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(system.shutil, "which", lambda name: None)
    assert system.main(["window"]) == 1
    assert "no apt-get here; what Debian calls them: apt-get install" in capsys.readouterr().err


def test_an_apt_that_fails_is_one_line(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program(bare / "bin", "apt-get", "echo 'E: Unable to locate package libgl1' >&2; exit 100")
    assert system.main(["window"]) == 1
    assert capsys.readouterr().err.endswith("failed: E: Unable to locate package libgl1\n")


def test_an_apt_that_brings_nothing(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program(bare / "bin", "apt-get")
    assert system.main(["window"]) == 1
    assert capsys.readouterr().err == "still not on this machine: libGL.so.1\n"


@pytest.mark.parametrize("uses", ([], ["windows"]))
def test_an_unknown_use(uses: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert system.main(uses) == 2
    assert "each one of window, display, pyside, xvfb" in capsys.readouterr().err


def test_it_runs_before_anything_is_installed() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", "l2sim.system", "window"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr


# -- Python ------------------------------------------------------------------------------------------------------------


def python_sh(path: Path, *named: str) -> subprocess.CompletedProcess[str]:
    """Ask for a Python where only `path` and the shell's own tools are."""
    tools = path / "tools"
    tools.mkdir(exist_ok=True)
    for tool in ("id", "ls", "sh", "printf"):
        found = shutil.which(tool)
        if found and not (tools / tool).exists():
            (tools / tool).symlink_to(found)
    environment = {"PATH": f"{path}:{tools}", "HOME": str(path)}
    return subprocess.run([SCRIPT, *named], env=environment, capture_output=True, text=True)


def fake_python(folder: Path, name: str, version: str, venv: bool = True) -> None:
    """A Python of that version, as far as python.sh looks: it answers each of its questions by its words."""
    old = tuple(map(int, version.split("."))) < (3, 11)
    program(
        folder, name, 'case "$2" in', f"*venv*) exit {int(old or not venv)} ;;", f"*print*) echo {version} ;;",
        f"*) exit {int(old)} ;;", "esac",
    )  # fmt: skip


@pytest.mark.parametrize(
    "there, named, wanted",
    (
        ({"python3": "3.12"}, (), "python3"),
        ({"python3": "3.9", "python3.12": "3.12"}, (), "python3.12"),
        ({"python3": "3.11", "python3.13": "3.13"}, ("python3.13",), "python3.13"),
    ),
)
def test_a_python_is_found(there: dict[str, str], named: tuple[str, ...], wanted: str, tmp_path: Path) -> None:
    for name, version in there.items():
        fake_python(tmp_path, name, version)
    done = python_sh(tmp_path, *named)
    assert (done.returncode, done.stdout.strip()) == (0, str(tmp_path / wanted))


def test_a_version_that_stands_aside_is_found_by_name(tmp_path: Path) -> None:
    place = tmp_path / ".pyenv" / "versions" / "3.13.0" / "bin"
    place.mkdir(parents=True)
    fake_python(place, "python3.13", "3.13")
    assert python_sh(tmp_path, "python3.13").stdout.strip() == str(place / "python3.13")


@pytest.mark.parametrize(
    "there, named, words",
    (
        ({}, ("python3.12",), "there is no python3.12 on this machine; on Debian: apt-get install python3.12"),
        ({"python3": "3.9"}, ("python3",), "l2sim needs Python 3.11 or newer, and python3 is 3.9; name another"),
    ),
)
def test_no_python_is_one_line(there: dict[str, str], named: tuple[str, ...], words: str, tmp_path: Path) -> None:
    for name, version in there.items():
        fake_python(tmp_path, name, version)
    done = python_sh(tmp_path, *named)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(words) and len(done.stderr.splitlines()) == 1


def test_no_venv_is_one_line(tmp_path: Path) -> None:
    fake_python(tmp_path, "python3", "3.12", venv=False)
    done = python_sh(tmp_path, "python3")
    line = "python3 has no venv; on Debian: apt-get install python3-venv, or python3.N-venv for a Python 3.N\n"
    assert (done.returncode, done.stderr) == (2, line)


def test_root_gets_debians_python(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    program(tools, "id", "echo 0")
    fake_python(tmp_path / "debian", "python3", "3.13")
    program(tmp_path, "apt-get", f'[ "$1" = update ] || {shutil.which("cp")} {tmp_path}/debian/python3 {tmp_path}')
    done = python_sh(tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, str(tmp_path / "python3"))
    assert done.stderr == "no Python with venv on this machine; installing with: apt-get install python3 python3-venv\n"


# -- the set -----------------------------------------------------------------------------------------------------------


def installer(name: str = "install") -> Any:
    """A program of requirements/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "requirements" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "said, line",
    (
        (
            "WARNING: Retrying: NewConnectionError\nERROR: No matching distribution found for numpy==2.4.6",
            "the package index does not answer",
        ),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "its hash differs"),
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "the disk is full"),
        ("ERROR: No matching distribution found for pyqt5-qt5==5.15", "no wheel of pyqt5-qt5 was found for Python 3."),
        (
            "error: command 'x86_64-linux-gnu-gcc' failed: No such file\nERROR: Failed to build",
            "which takes a compiler",
        ),
        ("ERROR: something new", "pip could not install the packages; its own lines are above"),
    ),
)
def test_what_pip_says_ends_in_one_line(
    said: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = program(tmp_path, "python", f"cat >&2 <<'E'\n{said}\nE\nexit 1")
    with pytest.raises(SystemExit) as end:
        installer().pip(python, "-r", "x.txt")
    assert end.value.code == 2
    shown = capsys.readouterr().err.splitlines()
    assert line in shown[-1] and shown[0].startswith("ERROR")


def environment(folder: Path, exact: bool = False) -> None:
    installer().environment(folder, folder / "bin" / "python", exact)


def test_an_environment_that_works_is_kept_and_a_broken_one_made_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "env"
    environment(folder)
    assert f"making {folder} with Python" in capsys.readouterr().out
    (folder / "run.ready").touch()
    environment(folder, exact=True)
    assert (folder / "run.ready").exists() and capsys.readouterr().out == ""
    (folder / "bin" / "python").unlink()
    (folder / "bin" / "python").symlink_to(tmp_path / "gone")  # what an upgrade of the system leaves behind
    environment(folder)
    assert not (folder / "run.ready").exists() and "making" in capsys.readouterr().out


def test_another_python_makes_the_environment_anew_only_if_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "env").mkdir()
    program(tmp_path / "env" / "bin", "python", "echo 3 12")
    other = sys.version_info[:2] != (3, 12)
    environment(tmp_path / "env")
    assert capsys.readouterr().out == ""
    environment(tmp_path / "env", exact=True)
    assert ("making" in capsys.readouterr().out) == other


def test_newest_reads_whole_names_of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    newest = installer("newest")
    said = (
        "FAILED tests/a.py::test_b[core bench] - AssertionError\nERROR tests/c.py - ImportError\nFAILED tests/d.py::e\n"
    )
    done = subprocess.CompletedProcess([], 1, said)
    monkeypatch.setattr(newest.subprocess, "run", lambda *_, **__: done)
    assert newest.failures(["x"]) == ["tests/a.py::test_b[core bench]", "tests/c.py", "tests/d.py::e"]
    done.stdout = "INTERNALERROR"
    assert newest.failures(["x"]) == newest.CRASHED


def test_make_installs_anew_where_the_programs_are_gone(tmp_path: Path) -> None:
    """What an upgrade of the system or a move of the folder leaves behind."""
    for name in ("run.ready", "bin/l2sim"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    make = ["make", "--no-print-directory", "--dry-run", f"VENV={tmp_path}", "run"]
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True)
    assert "requirements/install.py run" in done.stdout and not (tmp_path / "run.ready").exists()


# -- warnings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, ours",
    (
        ("warnings.warn('x')", True),
        ("warnings.warn_explicit('x', UserWarning, '/a/l2sim/kernels/zz.py', 1)", True),
        ("warnings.warn_explicit('x', UserWarning, '/a/l2sim/.venv/lib/site-packages/other/zz.py', 1)", False),
        ("warnings.warn_explicit('x', UserWarning, 'zz.py', 1, module='l2sim.chip.zz')", True),
        ("warnings.warn_explicit('x', UserWarning, 'zz.py', 1, module='numba.core.zz')", False),
        ("import subprocess, sys; subprocess.Popen([sys.executable, '-c', '1'])", True),
    ),
)
def test_warnings_are_errors_where_they_are_ours(line: str, ours: bool, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_zz.py").write_text(
        f"import gc, warnings\n\n\ndef test_zz():\n    {line}\n    gc.collect()\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:pytest-qt"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ("1 failed" in done.stdout) == ours, done.stdout


# -- tests without a window --------------------------------------------------------------------------------------------


def windowless(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A run of tests on a machine that seems to lack libGL."""
    sabotage = "from l2sim import system\nsystem._here = lambda name: name != 'libGL.so.1'\n"
    (tmp_path / "sitecustomize.py").write_text(sabotage)
    around = {k: v for k, v in os.environ.items() if k != "CI" and not k.startswith(("PYTEST", "COV"))}
    around |= {"PYTHONPATH": f"{tmp_path}:{ROOT}"} | variables
    files = ["tests/gui/test_gui_model.py", "tests/test_backend.py"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *files]
    return subprocess.run(command, cwd=ROOT, env=around, capture_output=True, text=True)


def test_without_its_libraries_the_window_is_left_out_with_the_reason(tmp_path: Path) -> None:
    done = windowless(tmp_path)
    assert done.returncode == 0, done.stdout
    reason = "the window's tests are left out: Qt needs libGL.so.1; apt-get install --no-install-recommends libgl1"
    (skip,) = (line for line in done.stdout.splitlines() if line.startswith("SKIPPED"))
    assert skip.startswith("SKIPPED [1] tests/windowless.py") and skip.endswith(reason)
    assert "1 skipped" in done.stdout and "passed" in done.stdout


def test_in_ci_the_window_is_never_left_out(tmp_path: Path) -> None:
    """On a machine that really lacks something the tests run all the same, and fail."""
    done = windowless(tmp_path, CI="true")
    assert "skipped" not in done.stdout and (done.returncode == 0) == (not obstacle()), done.stdout
