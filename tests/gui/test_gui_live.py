"""The window and a job that runs: they live and die apart."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from l2sim.gui.base.link import Answer
from l2sim.gui.base.model import RunModel, open_run
from l2sim.gui.mesh.values import ERROR, GRADIENT, LIVE, POWER, WAY
from l2sim.gui.window.window import Window
from pytestqt.qtbot import QtBot

from l2sim.files import held
from l2sim.store.events import Changed
from l2sim.store.manifest import read_manifest
from tests.tolerances import PATIENCE

LONG = ["pretrain.epochs=500"]
SLOW = ["--smoke", "--pace", "12"]


def begun(
    window: Window, qtbot: QtBot, more: list[str], preset: str = "digits", settings: list[str] = LONG
) -> RunModel:
    """The model of a job that the window started, once it answers."""
    assert window.begin(preset, settings, more)
    qtbot.waitUntil(lambda: window.model is not None and window.model.live, timeout=PATIENCE)
    return window.model


@pytest.fixture
def live(window: Window, qtbot: QtBot) -> Window:
    begun(window, qtbot, SLOW)
    return window


def answered(window: Window, qtbot: QtBot, number: int) -> Answer:
    qtbot.waitUntil(lambda: number in window.model.acks, timeout=PATIENCE)
    return window.model.acks[number]


def test_a_job_is_paused_stepped_and_resumed(live: Window, qtbot: QtBot) -> None:
    model = live.model
    assert live.work.isVisible() and "running" in live.timeline.sentence()
    live.actions_["run"].trigger()
    qtbot.waitUntil(lambda: model.state == "paused", timeout=PATIENCE)
    live.tick(everything=True)
    assert "PAUSED" in live.timeline.state.text() and live.actions_["run"].text() == "Run"
    before = model.newest
    qtbot.wait(300)
    assert model.newest == before
    live.actions_["step"].trigger()
    qtbot.waitUntil(lambda: model.newest == before + 1 and model.state == "paused", timeout=PATIENCE)
    qtbot.wait(300)
    assert model.newest == before + 1 and model.state == "paused"
    live.actions_["epoch"].trigger()
    qtbot.waitUntil(lambda: model.newest > before + 1 and model.state == "paused", timeout=PATIENCE)
    live.actions_["run"].trigger()
    qtbot.waitUntil(lambda: model.state == "running" and model.newest > before + 3, timeout=PATIENCE)


def test_light_and_gradients_in_a_mesh_are_seen_while_it_learns(window: Window, qtbot: QtBot) -> None:
    model, mesh = begun(window, qtbot, SLOW, "insitu-digits", ["learn.epochs=500"]), window.mesh
    qtbot.waitUntil(lambda: model.oracle_gradient("mesh1") is not None, timeout=PATIENCE)  # after the first epoch
    mesh.colour(POWER)
    for choice, kind in LIVE.items():
        mesh.choice.setCurrentText(choice)
        mesh.port.setValue(3)
        title = f"Optical power, {kind} light of sample 3 of the last mini-batch"
        qtbot.waitUntil(lambda title=title: mesh.painted.title == title and bool(mesh.painted.values), timeout=PATIENCE)
        assert mesh.port.text() == "sample 3" and mesh.painted.badge == "oracle" and mesh.canvas.way == WAY[kind]
        power = 10 ** (mesh.painted.values["", "guide"].reshape(-1, model.layers["mesh1"].k) / 10)
        if kind != "sum":  # nothing is lost on the way, in which direction ever
            np.testing.assert_allclose(power.sum(axis=1), power[0].sum(), rtol=1e-3)
    mesh.colour(GRADIENT)
    mesh.choice.setCurrentText(ERROR)
    qtbot.waitUntil(lambda: bool(mesh.painted.values), timeout=PATIENCE)
    true = model.oracle_gradient("mesh1")
    assert np.abs(mesh.painted.values["", "theta"]).max() < 1e-3 * np.abs(true["theta"]).max()  # of the same step


def test_a_parameter_is_acknowledged_with_its_step_and_undone(live: Window, qtbot: QtBot) -> None:
    model, path = live.model, "nonidealities.readout_noise"
    old = next(p.value for p in model.parameters if p.path == path)
    live.docks["Hardware"].raise_()
    live.hardware.ask(path, "0.03")
    assert live.hardware.rows[path].said.text() == "pending…"
    qtbot.waitUntil(lambda: "since step" in live.hardware.rows[path].said.text(), timeout=PATIENCE)
    qtbot.waitUntil(lambda: next(p.value for p in model.parameters if p.path == path) == 0.03, timeout=PATIENCE)
    assert model.job.nonidealities.readout_noise == 0.03
    qtbot.waitUntil(lambda: any(isinstance(e, Changed) for e in model.events), timeout=PATIENCE)
    live.actions_["undo"].trigger()
    qtbot.waitUntil(lambda: next(p.value for p in model.parameters if p.path == path) == old, timeout=PATIENCE)
    live.actions_["redo"].trigger()
    qtbot.waitUntil(lambda: model.job.nonidealities.readout_noise == 0.03, timeout=PATIENCE)


def test_a_value_out_of_range_is_not_sent(live: Window) -> None:
    path = "nonidealities.readout_noise"
    live.hardware.ask(path, "7")
    row = live.hardware.rows[path]
    assert "out of range" in row.editor.problem.text() and "not sent" in row.said.text()
    assert live.hardware.stack.count() == 0 and not live.hardware.waits


def test_a_killed_job_is_told_and_resumed(live: Window, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: live.model.newest >= 3, timeout=PATIENCE)
    os.kill(live.processes[0].pid, signal.SIGKILL)
    qtbot.waitUntil(lambda: live.model.state == "killed", timeout=PATIENCE)
    live.tick(everything=True)
    assert "was killed" in live.message.text.text() and live.message.offers == ["Resume"]
    assert "KILLED" in live.timeline.sentence()
    assert live.resume()
    qtbot.waitUntil(lambda: live.model.state in ("running", "done") and live.model.live, timeout=PATIENCE)
    live.tick(everything=True)
    assert not live.message.isVisible() or "goes on" in live.message.text.text()


def test_a_window_attaches_five_times_to_a_running_job_without_a_gap(live: Window, qtbot: QtBot) -> None:
    folder = live.model.folder
    for _ in range(5):
        assert live.open(folder, attach=True)
        model = live.model
        qtbot.waitUntil(lambda model=model: model.live, timeout=PATIENCE)
        at = model.newest
        qtbot.waitUntil(lambda model=model, at=at: len(model.scalar("pretrain/loss").steps) >= at + 2, timeout=PATIENCE)
        steps = model.scalar("pretrain/loss").steps
        assert (steps[1:] - steps[:-1] == 1).all()
    answered(live, qtbot, live.model.order("pause"))
    qtbot.waitUntil(lambda: live.model.state == "paused", timeout=PATIENCE)
    recorded = open_run(folder)

    def same() -> bool:
        recorded.poll()
        return all(
            (a := live.model.scalar(name).values).shape == (b := recorded.scalar(name).values).shape and (a == b).all()
            for name in recorded.series
        )

    qtbot.waitUntil(same, timeout=PATIENCE)
    recorded.close()


def test_a_job_that_answers_can_be_stopped_before_any_panel_is_drawn(live: Window, qtbot: QtBot) -> None:
    live.beat.go = lambda *_: None
    live.actions_["stop"].setEnabled(False)
    live.tick()
    assert live.actions_["stop"].isEnabled()


def test_a_stopped_job_is_saved_and_can_go_on(live: Window, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: live.model.newest >= 2, timeout=PATIENCE)
    live.actions_["stop"].trigger()
    qtbot.waitUntil(lambda: live.model.state == "stopped", timeout=PATIENCE)
    live.tick(everything=True)
    assert "was stopped" in live.message.text.text() and live.message.offers == ["Resume"]


def test_a_job_that_cannot_start_says_why(window: Window, qtbot: QtBot) -> None:
    assert window.begin("digits", more=["--smoke", "--from", str(window.runs_folder / "nowhere")])
    qtbot.waitUntil(lambda: window.starting is None, timeout=PATIENCE)
    assert window.start.isVisible()
    assert "did not start" in window.message.text.text() and "nowhere" in window.message.text.text()
    assert not window.begin("no-such-preset")
    assert "there is no preset" in window.message.text.text()


def test_a_killed_window_leaves_its_job_running(tmp_path: Path) -> None:
    environment = os.environ | {"XDG_CONFIG_HOME": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"}
    code = (
        "import sys; from l2sim.gui.window.app import start_qt; app = start_qt(); from pathlib import Path;"
        "from l2sim.gui.window.window import Window; w = Window(Path(sys.argv[1])); w.show();"
        "w.begin('digits', ['pretrain.epochs=500'], ['--smoke', '--pace', '8']); app.exec()"
    )
    window = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "runs")], env=environment)
    folder = tmp_path / "runs" / "digits-1"
    jobs = Path(f"/proc/{window.pid}/task/{window.pid}/children")
    begun: set[int] = set()
    try:
        until(lambda: begun.update(map(int, jobs.read_text().split())) or folder.exists())
        until(lambda: held(folder) and (folder / "job.toml").exists())
        begun.update(map(int, jobs.read_text().split()))
        model = open_run(folder)
        until(lambda: bool(model.poll()) and model.newest >= 2)
        window.kill()
        window.wait()
        before = model.newest
        until(lambda: bool(model.poll()) and model.newest >= before + 3)
        assert model.state == "running"
        model.close()
    finally:
        with contextlib.suppress(OSError):  # the window may be dead: then its children are in `begun`
            begun.update(map(int, jobs.read_text().split()))
        window.kill()
        if held(folder):
            begun.add(read_manifest(folder).process)
        for job in begun:
            with contextlib.suppress(OSError):
                os.kill(job, signal.SIGKILL)


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE / 1000
    while True:
        try:
            if holds():
                return
        except Exception:
            if time.monotonic() > end:
                raise
        assert time.monotonic() < end
        time.sleep(0.05)
