"""`python -m l2sim.gui.window.pictures FOLDER`: the pictures of docs/desktop.md, in two minutes.

The runs they show are made for them.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from pyqtgraph.Qt import QtCore, QtTest, QtWidgets

from l2sim import blas
from l2sim.errors import Diverged
from l2sim.job import job as jobs
from l2sim.runs.execute import execute

from ..base import files as export
from ..base.actions import Keys
from ..mesh.values import DIFFERENCE, LIVE, POWER
from .app import start_qt
from .screenshot import settle
from .window import Window

SIZE = (1280, 820)


def main(folder: Path) -> None:
    """Make two runs, and a picture of every main state of the window."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("QT_FONT_DPI", "96")
    application = start_qt()
    blas.choose()
    with tempfile.TemporaryDirectory() as made:
        os.chdir(made)
        os.environ["XDG_CONFIG_HOME"] = made
        window = Window(_runs(Path("runs")))
        for pictures in (_first, _block, _why, _wrong, _others, _live):
            for name, widget in pictures(window):
                settle(window, SIZE)
                print(export.picture(widget, folder / f"desktop-{name}.png"), flush=True)
        window.close_quietly()
    application.quit()


def _runs(runs: Path) -> Path:
    """The folder of runs, with those that are shown."""
    _run("digits", runs / "digits-1", ("calibrate.epochs=60", "calibrate.polish=10", "map.epochs=60", "map.polish=10",
         "map.compare=false", "learn.epochs=10", "nonidealities.dead=0.002"))  # fmt: skip
    _run("digits", runs / "dead-heater", ("seed=49", "nonidealities.dead=0.0022", "nonidealities.phase_bias=0",
         "calibrate.epochs=2", "calibrate.polish=1", "map.start=ideal", "map.compare=false"))  # fmt: skip
    _run("insitu-digits", runs / "worn-mesh", ("nonidealities.base=silicon", "nonidealities.phase_bias=0.1",
         "nonidealities.crosstalk=0.0005", "nonidealities.splitter_error_std=0.05", "learn.epochs=5"))  # fmt: skip
    _run("digits", runs / "diverged", ("calibrate.epochs=1", "map.epochs=1", "map.compare=false", "learn.lr=100"))
    cut = Path(shutil.copytree(runs / "digits-1", runs / "cut"))
    whole = (cut / "phase-0000.bin").read_bytes()
    (cut / "phase-0000.bin").write_bytes(whole[: len(whole) * 2 // 3])
    _run("insitu-digits", runs / "insitu-digits-1", ())
    _run("insitu-digits", runs / "insitu-digits-2", ("nonidealities.tap_noise=0.02",))
    return runs


Pictures = Iterator[tuple[str, QtWidgets.QWidget]]
"""Names of pictures, and what each is of when it is taken."""


def _first(window: Window) -> Pictures:
    settle(window, SIZE)
    yield "start", window
    window.edit("digits")
    window.form.sections.setCurrentRow(3)
    yield "job", window


def _open(window: Window, name: str) -> None:
    window.open(window.runs_folder / name)
    settle(window, SIZE)


def _block(window: Window) -> Pictures:
    _open(window, "digits-1")
    assert window.model is not None
    stage = next(stage for stage in window.model.stages if stage.name == "calibrate")
    window.selection.set(step=stage.last_step, element=4)
    window.blocks.chooser.setCurrentIndex(window.blocks.chooser.findData("oracle_identity_error_u"))
    settle(window, SIZE)
    window.blocks.worst()
    yield "block", window


def _why(window: Window) -> Pictures:
    _open(window, "dead-heater")
    window.blocks.chooser.setCurrentIndex(window.blocks.chooser.findData("oracle_mapping_error"))
    settle(window, SIZE)
    window.blocks.worst()
    for name, only in (("why", "budget"), ("sweep", "sweep")):
        window.selection.set(side="v", element=22 if only == "sweep" else None)
        window.actions_[only].trigger()
        _until(lambda: not window.diagnosis.waits)
        yield name, window
    _open(window, "worn-mesh")
    window.selection.set(layer="mesh2", element=4)
    window.actions_["budget"].trigger()
    _until(lambda: not window.diagnosis.waits)
    yield "why-mesh", window


def _wrong(window: Window) -> Pictures:
    """The ways from "something is wrong" to what it is."""
    for name in ("dead-heater", "diverged", "cut"):
        _open(window, name)
        window.see_as_lab(name == "dead-heater")
        window.actions_["health"].trigger()
        health = window.health
        _until(lambda: _looked(window))
        settle(window, SIZE)
        first = health.view.visualRect(health.view.model().index(0, 0)).center()
        QtTest.QTest.mouseClick(health.view.viewport(), QtCore.Qt.MouseButton.LeftButton, pos=first)
        _until(lambda: _looked(window))
        yield f"wrong-{name}", window
    window.see_as_lab(False)


def _looked(window: Window) -> bool:
    """Whether Health has looked at everything."""
    return window.health.isVisible() and "…" not in window.health.said.text()


def _others(window: Window) -> Pictures:
    window.docks["Curves"].raise_()
    window.open(window.runs_folder / "digits-1")
    window.repaint_theme("light")
    window.docks["Distributions"].raise_()
    window.docks["Events"].raise_()
    yield "light", window
    window.repaint_theme("dark")
    window.docks["Matrix"].raise_()
    window.open(window.runs_folder / "insitu-digits-1")
    window.compare(window.runs_folder / "insitu-digits-2")
    window.docks["Runs"].raise_()
    window.selection.set(element=700)
    settle(window, SIZE)
    yield "compare", window
    keys = Keys(window, window.actions_)
    keys.show()
    yield "keys", keys
    keys.close()


def _live(window: Window) -> Pictures:
    window.docks["Hardware"].raise_()
    window.begin("insitu-digits", ["learn.epochs=200"], ["--pace", "60"])
    if not _until(lambda: window.model is not None and window.model.live and window.model.newest > 150):
        return
    window.hardware.find.setText("noise")
    window.hardware.ask("nonidealities.tap_noise", "0.01")
    _until(lambda: not window.hardware.waits, 10)
    changed = window.model.newest if window.model else 0
    _until(lambda: window.model is not None and window.model.newest > changed + 10, 10)
    yield "live", window
    window.mesh.colour(POWER)
    window.mesh.choice.setCurrentText(next(iter(LIVE)))
    _until(lambda: bool(window.mesh.painted and window.mesh.painted.values), 10)
    yield "insitu", window
    window.mesh.colour(DIFFERENCE)
    window.kill()
    _until(lambda: window.model is not None and window.model.state == "killed", 10)
    yield "killed", window


def _run(preset: str, folder: Path, settings: tuple[str, ...]) -> None:
    with suppress(Diverged):
        for _ in execute(jobs.with_overrides(jobs.load(preset), settings), folder):
            pass


def _until(holds: Callable[[], bool], seconds: float = 120.0) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        QtWidgets.QApplication.processEvents()
        time.sleep(0.01)
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve())
