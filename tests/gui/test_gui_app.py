"""The command `l2sim-gui`: what it says without Qt, without a display, and how it takes pictures."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from l2sim.gui.window import app

from l2sim import system
from l2sim.cli import doctor


def gui(*arguments: str, code: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"{code}\nimport sys; from l2sim.gui.window.app import main; main(sys.argv[1:])"]
    around = os.environ | environment
    return subprocess.run([*command, *arguments], capture_output=True, text=True, env=around, timeout=600)


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a command wrote to stderr, but for what Qt says of a machine without a desktop."""
    return [line for line in done.stderr.strip().splitlines() if not line.startswith("QStandardPaths")]


def test_help_needs_no_qt() -> None:
    code = "import sys; sys.modules['pyqtgraph'] = None; sys.modules['PyQt5'] = None"
    done = gui("--help", code=code)
    assert done.returncode == 0 and "--screenshot" in done.stdout


def test_without_qt_the_cure_is_one_line(digits_run: Path) -> None:
    done = gui(str(digits_run), code="import sys; sys.modules['pyqtgraph'] = None")
    assert done.returncode == 2
    assert said(done) == [
        'l2sim-gui: error: the window needs Qt, which is not installed; pip install "l2sim[gui]"'
    ]


@pytest.mark.parametrize("text, package", (
    ("libGL.so.1: cannot open shared object file: No such file or directory", "libgl1"),
    ("libgthread-2.0.so.0: cannot open shared object file", "libglib2.0-0"),
    ("libfontconfig.so.1: cannot open shared object file", "libfontconfig1"),
))  # fmt: skip
def test_a_missing_library_is_named_with_its_debian_package(
    text: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert system.package_of(text) == package
    assert system.cure([package]) in app.missing(ImportError(text)) and text in app.missing(ImportError(text))

    def broken(name: str) -> None:
        raise ImportError(text)

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    findings = {finding.what: finding for finding in doctor._window()}
    assert findings["PyQt5"].value == text and findings["PyQt5"].cure == system.cure([package])


def test_without_a_display_there_is_still_a_way() -> None:
    done = gui(QT_QPA_PLATFORM="", DISPLAY="", WAYLAND_DISPLAY="")
    assert done.returncode == 2 and "there is no display; use --screenshot" in done.stderr


def test_a_display_without_its_libraries_is_said_before_qt_aborts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_here", lambda name: name != "libxcb-icccm.so.4")
    with pytest.raises(app.QtError, match=r"apt-get install .* libxcb-icccm4$"):
        app.check_xcb()


def test_a_picture_of_a_step_without_a_display(digits_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.png"
    done = gui(str(digits_run), "--screenshot", str(path), "--step", "9", "--size", "1000x700", DISPLAY="")
    assert done.returncode == 0, done.stderr
    content = path.read_bytes()
    assert struct.unpack(">II", content[16:24]) == (1000, 700)
    assert len(content) > 20_000


@pytest.mark.parametrize("arguments, words", (
    (("no-such-preset",), "there is no preset 'no-such-preset'"),
    (("--attach",), "--attach needs the folder of a run"),
    (("digits", "--screenshot", "x.png"), "--screenshot needs the folder of a run"),
    (("--size", "big"), "is not WIDTHxHEIGHT"),
    ((".",), "is not a run folder"),
))  # fmt: skip
def test_bad_arguments_are_one_line(arguments: tuple[str, ...], words: str) -> None:
    done = gui(*arguments)
    assert done.returncode == 2 and len(said(done)) == 1 and words in said(done)[0]


def test_a_step_behind_the_end_is_refused(digits_run: Path, tmp_path: Path) -> None:
    done = gui(str(digits_run), "--screenshot", str(tmp_path / "x.png"), "--step", "999999")
    assert done.returncode == 2 and "use --step 0 to" in done.stderr


def test_nothing_that_a_click_needs_is_left_to_compile(qtbot: object, tmp_path: Path) -> None:
    """A mesh of 256 modes answers in some 10 ms of a processor (the panel that computes most is asked for); to compile
    takes seconds of one."""
    import time

    import numpy as np
    from l2sim.gui.mesh import light
    from l2sim.gui.window.first import splash, warm

    from tests.doubles_gui import rectangle

    shown = splash.Splash()
    shown.wait(splash.Work(warm.STEPS))
    assert shown.screen.isVisible()
    shown.close()
    part = rectangle(256, complex=True)
    begin = time.thread_time()
    light.matrix(part, {"theta": np.zeros(len(part.rails))})
    assert time.thread_time() - begin < 0.2
