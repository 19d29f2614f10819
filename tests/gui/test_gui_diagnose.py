"""A stranger asks the window why a block is bad, and it goes on while a process of its own finds out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest
from click.testing import CliRunner
from l2sim.gui.panels.diagnosis import panel as panels
from l2sim.gui.panels.diagnosis.results import Results, budget_bars, read, sweep_table, sweep_words
from l2sim.gui.panels.matrix import REAL
from l2sim.gui.window.window import Window
from pyqtgraph.Qt import QtCore, QtWidgets
from pytestqt.qtbot import QtBot

from l2sim.cli.main import command
from l2sim.inspect.findings import Row
from tests.doubles_gui import FakeModel
from tests.tolerances import PATIENCE

Key, Button = QtCore.Qt.Key, QtCore.Qt.MouseButton


class Here:
    """A diagnosis in this process: starting one takes seconds."""

    progress = ""

    def __init__(self, only: str, arguments: list[str]) -> None:
        self.only, self.begun = only, time.monotonic()
        self._answer = CliRunner().invoke(command, ["diagnose", *arguments, "--only", only, "--json"])

    def done(self) -> tuple[Results | None, str]:
        if self._answer.exception is not None:
            return None, str(self._answer.exception)
        return read(self._answer.stdout.encode()), ""

    def stop(self) -> None:
        pass


def answered(qtbot: QtBot, window: Window) -> float:
    """Wait for the answer as the window does; the longest time of a processor that a refresh of the panel took."""
    slowest, end = 0.0, time.monotonic() + PATIENCE / 1000
    while time.monotonic() < end:
        begun = time.thread_time()
        window.diagnosis.refresh({"acks"})
        slowest = max(slowest, time.thread_time() - begun)
        if not window.diagnosis.waits:
            break
        qtbot.wait(20)
    assert not window.diagnosis.waits
    return slowest


def test_the_window_says_why_a_block_is_bad_while_it_goes_on(
    opened: Window, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel, asked = opened.diagnosis, []
    opened.selection.set(layer="fc1", block=3)
    why = next(b for b in opened.blocks.findChildren(QtWidgets.QToolButton) if b.text() == "Why?")
    qtbot.mouseClick(why, Button.LeftButton)
    assert panel.waits and "computing" in panel.heads["budget"].text()
    assert panel.tabs.tabText(panel.tabs.currentIndex()) == "Error budget"
    slowest = answered(qtbot, opened)
    assert panel.faults["budget"] == "" and panel.heads["budget"].text().startswith("fc1 core 3")
    assert [bar.name for bar in panel.bodies["budget"].bars][:2] == ["now", "best commands"]
    assert "oracle" in panel.notes["budget"].text()
    opened.selection.set(block=4)
    opened.tick(everything=True)
    assert "not what is selected now" in panel.heads["budget"].text()

    monkeypatch.setattr(panels, "Task", Here)
    opened.selection.set(side="u", element=None)
    qtbot.keyClick(opened, Key.Key_S)
    assert "choose an MZI first" in panel.notes["sweep"].text() and not panel.waits
    opened.selection.set(element=5)
    opened.tick(everything=True)
    buttons = opened.inspector.cards[0].findChildren(QtWidgets.QToolButton)
    qtbot.mouseClick(next(b for b in buttons if b.text() == "Sweep"), Button.LeftButton)
    slowest = max(slowest, answered(qtbot, opened))
    assert "U MZI 5" in panel.heads["sweep"].text() and "moves most" in panel.notes["sweep"].text()
    assert len(panel.sweep.plot.traces) == 12
    head, rows = panel.table()
    assert head[0] == "phase (rad)" and len(rows) == 64 and len(rows[0]) == len(head)

    for key, only in ((Key.Key_H, "heaters"), (Key.Key_T, "detectors"), (Key.Key_M, "movement"), (Key.Key_Y, "layers")):
        qtbot.keyClick(opened, key)
        slowest = max(slowest, answered(qtbot, opened))
        assert panel.faults[only] == "" and panel.results[only][only] and panel.table() is not None
        assert not panel.grab().isNull()
        asked.append(panel.notes[only].text())
    assert "all answer" in asked[0] and "noise floor" in asked[1].lower() and "test samples" in asked[3]
    assert slowest < 0.25  # of a slow machine; others have 10 ms
    _, row = panel.heaters.areas[1]
    panel.heaters.chosen.emit(row["part"], 7)
    assert (opened.selection.side, opened.selection.element) == ("v", 7)


def test_a_budget_shows_every_imperfection_alone_beside_what_is_left_without_it() -> None:
    def row(name: str, error: float, tuned: float | None, alone: float | None) -> Row:
        return {"name": name, "error": error, "tuned": tuned, "alone": alone, "gain": 0.0}

    rows = [row("as it is", 0.5, 0.4, None), row("loss", 0.9, 0.1, 0.3), row("all of them", 2.0, 1e-30, 0.0)]
    bars = budget_bars(rows)
    assert [bar.name for bar in bars] == ["now", "best commands", "same, no loss", "same, ideal chip"]
    assert (bars[2].value, bars[2].thin, bars[2].said) == (0.1, 0.3, "0.1  (alone 0.3)")
    assert bars[3].said == "below rounding"
    assert budget_bars([row("as it is", 0.0, None, None)])[0].said == "zero"
    same = budget_bars([row("as it is", 0.5, None, None), row("drift", 0.2, None, 0.3)])
    assert [(bar.name, bar.value) for bar in same] == [("now", 0.5), ("no drift", 0.2)] and same[1].thin == 0.3


@pytest.mark.parametrize("text", (b"", b"no run\n", b'{"budget": 3}', b'{"sweep": {"answers": false}}'))
def test_what_is_no_diagnosis_is_not_taken_for_one(text: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        read(text)


def test_a_heater_that_does_not_answer_has_no_ratio() -> None:
    sweep = {
        "heater": {"part": "u", "kind": "theta", "number": 3}, "readout": "power", "port": 0, "told": 0.5,
        "phases": [0.0, 1.0], "volts": None, "readings": [[0.1, 0.1]], "fitted": [[0.1, 0.1]], "amplitude": [0.0],
        "peak": [0.0], "visibility": [0.0], "residual": [0.0], "ratio": None, "answers": False, "core_calls": 64,
    }  # fmt: skip
    results = read(msgspec.json.encode({"badges": {"sweep": "measured"}, "sweep": sweep}))
    assert sweep_words(results).endswith("no light reaches it · measured")
    head, rows = sweep_table(results)
    assert head == ["phase (rad)", "output 0 read", "output 0 fit"] and rows == [(0.0, 0.1, 0.1), (1.0, 0.1, 0.1)]


def test_biases_that_nobody_can_tell_are_said_to_be_undrifted_and_complex_cores_to_be_complex(
    opened: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = opened.model.realised
    monkeypatch.setattr(opened.model, "realised", lambda *place: known(*place) * (1 + 0.5j))
    monkeypatch.setattr(opened.model, "timeless", lambda step=None: "shown undrifted")
    opened.selection.set(layer="fc1", block=2, element=3)
    opened.tick(everything=True)
    assert "shown undrifted" in opened.inspector.cards[0].body.text()
    assert opened.matrix.matrices[1].title == "Re of realised" and REAL in opened.matrix.said.text()
    place = {"layer": "fc1", "core": 2, "cores": 22, "step": None, "stage": "map", "note": "shown undrifted",
             "measure": "some error", "left_out": ["tap noise"]}  # fmt: skip
    row = {"name": "as it is", "error": 0.5, "tuned": None, "alone": None, "gain": 0.0}
    opened.diagnosis.results["budget"] = {"place": place, "badges": {"budget": "oracle"}, "budget": [row]}
    opened.diagnosis.refresh({"all"})
    assert "shown undrifted" in opened.diagnosis.heads["budget"].text()
    for words in ("some error", "same commands", "oracle", "it acts in readings: tap noise"):
        assert words in opened.diagnosis.notes["budget"].text()


def test_a_whole_mesh_is_diagnosed_too(
    window: Window, insitu_run: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panels, "Task", Here)
    assert window.open(insitu_run)
    window.selection.set(element=40)
    window.tick(everything=True)
    panel = window.diagnosis
    panel.kind.setCurrentText("phi")
    window.actions_["sweep"].trigger()
    answered(qtbot, window)
    assert panel.kind.isVisibleTo(panel) and not panel.faults["sweep"]
    assert "phi of MZI 40" in panel.heads["sweep"].text()


def test_a_diagnosis_that_fails_is_one_line_and_another_run_or_closing_ends_it(
    window: Window, digits_run: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert window.open(digits_run)
    window.selection.set(step=1)
    window.actions_["layers"].trigger()
    answered(qtbot, window)
    panel = window.diagnosis
    assert "no network on the chips in pretrain" in panel.notes["layers"].text() and panel.table() is None
    window.actions_["heaters"].trigger()
    task = panel.task
    window.open(digits_run)
    assert not panel.waits and not task.runs and panel.results == {}

    def refused(*_: object, **__: object) -> NoReturn:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(panels.subprocess, "Popen", refused)
    window.actions_["heaters"].trigger()
    assert "cannot be started: Cannot allocate memory" in panel.notes["heaters"].text()


def test_the_right_mouse_button_offers_the_diagnoses_of_what_is_under_it(opened: Window, qtbot: QtBot) -> None:
    strip = opened.blocks.grids.strips[-1]
    at = opened.blocks.grids.cell(strip, 5).center().toPoint()
    opened.blocks.grids.customContextMenuRequested.emit(at)
    menu = opened.blocks.grids.findChild(QtWidgets.QMenu)
    assert (opened.selection.layer, opened.selection.block) == (strip.layer.name, 5)
    assert [action.objectName() for action in menu.actions()] == [page.only for page in panels.PAGES]
    menu.close()


def test_the_panel_is_empty_without_a_run(qtbot: QtBot) -> None:
    from l2sim.gui.base.model import Selection

    panel = panels.Diagnosis(Selection())
    qtbot.addWidget(panel)
    panel.show()
    panel.start("budget")
    assert not panel.waits and panel.table() is None and panel.heads["budget"].text() == "No run is open."
    panel.show_run(FakeModel(2, 2, 4))  # type: ignore[arg-type]
    panel.refresh({"all"})
