"""A stranger tests every heater of a chip: what it takes is said first, it can be stopped, and a row leads there."""

from __future__ import annotations

from pathlib import Path

import pytest
from l2sim.gui.panels.diagnosis.panel import WHOLE, Diagnosis
from l2sim.gui.window.first import examples
from l2sim.gui.window.window import Window
from pyqtgraph.Qt import QtCore, QtWidgets
from pytestqt.qtbot import QtBot

from tests.tolerances import PATIENCE

Button, Key, Modifier = QtCore.Qt.MouseButton, QtCore.Qt.Key, QtCore.Qt.KeyboardModifier


@pytest.fixture
def broken() -> Path:
    """The run with one broken heater that ships with the window."""
    return examples.unpack("broken-heater")


def cells(view: QtWidgets.QTableView) -> list[list[str]]:
    """What a table says."""
    model = view.model()
    return [
        [model.data(model.index(row, column)) for column in range(model.columnCount())]
        for row in range(model.rowCount())
    ]  # fmt: skip


def click(qtbot: QtBot, view: QtWidgets.QTableView, row: int, column: int = 0) -> None:
    """A real click on a cell."""
    qtbot.mouseClick(view.viewport(), Button.LeftButton, pos=view.visualRect(view.model().index(row, column)).center())


def asked(window: Window, qtbot: QtBot, broken: Path) -> Diagnosis:
    """The panel once its key was pressed: nothing has begun."""
    assert window.open(broken)
    qtbot.keyClick(window, Key.Key_H, Modifier.ShiftModifier)
    window.tick(everything=True)
    panel = window.diagnosis
    assert panel.tabs.tabText(panel.tabs.currentIndex()) == "All heaters" and not panel.waits
    return panel


@pytest.mark.parametrize("lab", (False, True), ids=("all", "lab eyes"))
def test_the_broken_heater_of_the_example_is_the_one_that_does_not_answer(
    window: Window, qtbot: QtBot, broken: Path, lab: bool
) -> None:
    if lab:
        qtbot.keyClick(window, Key.Key_L, Modifier.ControlModifier)
    panel = asked(window, qtbot, broken)
    assert "896 heaters of 16 cores, at least 7,424 core calls" in panel.notes["every_heater"].text()
    qtbot.keyClick(QtWidgets.QApplication.focusWidget(), Key.Key_Space)
    assert panel.waits and panel.stops["every_heater"].isVisibleTo(panel)
    heads = set()

    def done() -> bool:
        window.tick(everything=True)
        heads.add(panel.heads["every_heater"].text())
        return not panel.waits

    qtbot.waitUntil(done, timeout=PATIENCE)
    assert any("of 896 heaters" in head and head.startswith("computing") for head in heads)
    layers, heaters = panel.all_heaters.views
    assert [row[:4] for row in cells(layers)] == [["fc1", "896", "1", "0"]]
    rows = cells(heaters)
    assert [row[:5] for row in rows if "no answer" in row[0]] == [["no answer", "U 26", "fc1", "2", "0 %"]]
    assert rows[0][0] == "no answer" and len(rows) == 21
    note = panel.notes["every_heater"].text()
    assert "1 does not answer</b> · measured" in note and "7,440 core calls" in note and "oracle" not in note
    click(qtbot, heaters, 0)
    here = window.selection
    assert (here.layer, here.block, here.side, here.element) == ("fc1", 2, "u", 26)
    qtbot.keyClick(heaters, Key.Key_C, Modifier.ControlModifier)
    copied = [line.split("\t") for line in QtWidgets.QApplication.clipboard().text().split("\n")]
    assert copied == [["what", "MZI", "layer", "block", "answer", "mW"], rows[0]]
    qtbot.keyClick(layers, Key.Key_C, Modifier.ControlModifier)
    assert QtWidgets.QApplication.clipboard().text().split("\n")[1].split("\t")[0] == "fc1"


def test_rows_are_sorted_by_the_number_under_a_head(window: Window, qtbot: QtBot, broken: Path) -> None:
    panel = asked(window, qtbot, broken)
    panel.start("every_heater")
    qtbot.waitUntil(lambda: (window.tick(everything=True), not panel.waits)[1], timeout=PATIENCE)
    view = panel.all_heaters.views[1]
    head = view.horizontalHeader()
    for column, number in ((3, int), (5, float)):
        before = [number(row[column]) for row in cells(view)]
        at = QtCore.QPoint(head.sectionViewportPosition(column) + 8, head.height() // 2)
        for falls in (False, True):
            qtbot.mouseClick(head.viewport(), Button.LeftButton, pos=at)
            assert [number(row[column]) for row in cells(view)] == sorted(before, reverse=falls)
    window.tick(everything=True)  # what is shown again stays as it was sorted
    powers = [float(row[5]) for row in cells(view)]
    assert powers == sorted(powers, reverse=True) != sorted(powers)
    click(qtbot, view, 3)
    row = panel.all_heaters.heaters.rows[3].of
    assert (window.selection.block, window.selection.element) == (row.core, row.number)


def test_it_is_stopped_with_a_word_of_how_far_it_was(window: Window, qtbot: QtBot, broken: Path) -> None:
    panel = asked(window, qtbot, broken)
    qtbot.mouseClick(panel.buttons["every_heater"], Button.LeftButton)
    task = panel.task
    qtbot.waitUntil(lambda: " of 896 heaters" in task.progress, timeout=PATIENCE)
    window.tick(everything=True)
    qtbot.mouseClick(panel.stops["every_heater"], Button.LeftButton)
    assert not panel.waits and not task.runs and not panel.stops["every_heater"].isVisibleTo(panel)
    assert "stopped: " in panel.notes["every_heater"].text() and "core calls" in panel.notes["every_heater"].text()
    assert panel.table() is None


def test_of_a_layer_it_takes_less_and_says_so(window: Window, qtbot: QtBot, insitu_run: Path) -> None:
    panel = asked(window, qtbot, insitu_run)
    whole = panel.notes["every_heater"].text()
    assert panel.extent.currentText() == WHOLE
    panel.extent.setFocus()
    qtbot.keyClick(panel.extent, Key.Key_Down)
    window.tick(everything=True)
    assert "core calls" in whole and "of 1 core," in panel.notes["every_heater"].text() != whole
    assert "of 1 core," in panel.buttons["every_heater"].toolTip()


def test_health_leads_to_the_test_of_all_heaters(window: Window, qtbot: QtBot, broken: Path) -> None:
    assert window.open(broken)
    qtbot.keyClick(window, Key.Key_H, Modifier.ControlModifier)
    window.tick(everything=True)
    said = window.health.said
    qtbot.waitUntil(lambda: "Test all heaters" in said.text(), timeout=PATIENCE)
    end = said.fontMetrics().horizontalAdvance(said.text().partition(" <a")[0] + " Test")
    qtbot.mouseClick(said, Button.LeftButton, pos=QtCore.QPoint(10 + end, said.height() // 2))
    window.tick(everything=True)
    assert window.diagnosis.isVisible() and "core calls" in window.diagnosis.notes["every_heater"].text()


def test_the_menu_diagnose_has_it(window: Window, broken: Path) -> None:
    assert window.open(broken)
    menu = next(a.menu() for a in window.menuBar().actions() if a.menu().accessibleName() == "Diagnose")
    action = next(action for action in menu.actions() if action.text() == "Test all heaters…")
    action.trigger()
    assert window.diagnosis.tabs.tabText(window.diagnosis.tabs.currentIndex()) == "All heaters"
