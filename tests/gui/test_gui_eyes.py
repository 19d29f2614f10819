"""Lab eyes: with the switch on nothing that a lab cannot know is told in any panel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from l2sim.gui.base.panel import Panel
from l2sim.gui.mesh.values import KEPT_BACK, MODES
from l2sim.gui.panels.diagnosis.panel import PAGES
from l2sim.gui.window.window import Window
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets
from pytestqt.qtbot import QtBot

Key, Modifier = QtCore.Qt.Key, QtCore.Qt.KeyboardModifier
ORACLE = "oracle"
MANY = 300
"""Rows of a table that are read: the others say the same of other heaters."""


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that a painter is told to draw from here on."""
    texts: list[str] = []
    draw = QtGui.QPainter.drawText

    def drawn(painter: QtGui.QPainter, *arguments: Any) -> Any:
        texts.extend(argument for argument in arguments if isinstance(argument, str))
        return draw(painter, *arguments)

    monkeypatch.setattr(QtGui.QPainter, "drawText", drawn)
    return texts


def texts_of(widget: QtWidgets.QWidget) -> Iterator[str]:
    """Whatever a widget and those inside it say: texts, names, tips, entries and cells."""
    for one in (widget, *widget.findChildren(QtWidgets.QWidget), *widget.findChildren(QtGui.QAction)):
        for name in ("text", "title", "toolTip", "statusTip", "accessibleName", "accessibleDescription", "windowTitle"):
            said = getattr(one, name, "")
            yield str(said() if callable(said) else said)
        if isinstance(one, QtWidgets.QComboBox):
            yield from (f"{one.itemText(i)} {one.itemData(i)}" for i in range(one.count()))
        if isinstance(one, QtWidgets.QTabWidget):
            yield from (one.tabText(i) for i in range(one.count()))
        if isinstance(one, QtWidgets.QAbstractItemView) and one.model() is not None:
            cells = one.model()
            for row in range(min(cells.rowCount(), MANY)):
                yield from (str(cells.data(cells.index(row, column))) for column in range(cells.columnCount()))


def told(window: Window, painted: list[str]) -> list[str]:
    """All that the panels say when every one of them was in front, in every way that they can be looked at."""
    texts: list[str] = []

    def look(panel: Panel) -> None:
        painted.clear()
        window.tick(everything=True)
        panel.grab()
        texts.extend([*painted, *texts_of(panel)])

    for dock in window.docks.values():
        dock.show()
        dock.raise_()
        look(dock.widget())
    for mode in range(len(MODES)):
        window.mesh.colour(mode)
        for i in range(max(1, window.mesh.choice.count())):
            window.mesh.choice.setCurrentIndex(i)
            look(window.mesh)
    window.docks["Curves"].raise_()
    boxes = [(window.blocks, window.blocks.chooser), *((window.curves, plot.choice) for plot in window.curves.plots)]
    for panel, box in boxes:
        for i in range(box.count()):
            box.setCurrentIndex(i)
            box.activated.emit(i)
            look(panel)
    window.docks["Diagnosis"].raise_()
    for i in range(len(PAGES)):
        window.diagnosis.tabs.setCurrentIndex(i)
        look(window.diagnosis)
    texts += [*texts_of(window.work), *texts_of(window.menuBar())]
    for panel in window.panels:
        heads, rows = panel.table() or ([], [])
        texts += [*heads, *(str(cell) for row in islice(rows, MANY) for cell in row)]
    return texts


@pytest.mark.parametrize("which", ("digits_run", "insitu_run"))
def test_with_lab_eyes_no_panel_tells_what_a_lab_cannot_know(
    window: Window, qtbot: QtBot, which: str, painted: list[str], request: pytest.FixtureRequest
) -> None:
    assert window.open(request.getfixturevalue(which))
    window.hardware.fixed.setChecked(True)
    window.selection.set(element=1, step=window.model.checkpoints[-1])
    before = told(window, painted)
    hidden = {name for name in window.model.series if ORACLE in name}
    assert len([text for text in before if ORACLE in text.lower()]) > 10
    assert window.model.oracle(window.selection.layer, 0, window.selection.side) is not None
    assert not window.eyes.isVisible()
    qtbot.keyClick(window, Key.Key_L, Modifier.ControlModifier)
    assert window.eyes.isVisible() and window.actions_["lab"].isChecked()
    texts = told(window, painted)
    assert {text for text in texts if ORACLE in text.lower()} == set()
    assert hidden and [text for text in texts if any(name.rpartition("/")[2] in text for name in hidden)] == []
    assert window.mesh.canvas.broken == []
    assert any("commanded" in text for text in texts) and any("measured" in text for text in texts)
    qtbot.keyClick(window, Key.Key_L, Modifier.ControlModifier)
    assert not window.eyes.isVisible()
    assert window.model.oracle(window.selection.layer, 0, window.selection.side) is not None


def test_the_switch_is_kept_and_holds_for_runs_opened_later_and_compared(
    make_window: Callable[[], Window], qtbot: QtBot, digits_run: Path
) -> None:
    first = make_window()
    assert first.open(digits_run)
    qtbot.keyClick(first, Key.Key_L, Modifier.ControlModifier)
    first.close()
    second = make_window()
    assert second.actions_["lab"].isChecked()
    assert second.open(digits_run) and second.compare(digits_run)
    assert second.eyes.isVisible()
    for model in (second.model, second.reference):
        assert model is not None and model.realised("fc1", 0) is None and model.oracle("fc1", 0, "u") is None
    qtbot.keyClick(second, Key.Key_L, Modifier.ControlModifier)
    assert second.reference.realised("fc1", 0) is not None


def test_the_menu_switches_too(opened: Window, qtbot: QtBot) -> None:
    menu = next(menu for menu in opened.menuBar().findChildren(QtWidgets.QMenu) if menu.accessibleName() == "View")
    menu.popup(opened.mapToGlobal(QtCore.QPoint(50, 50)))
    at = menu.actionGeometry(opened.actions_["lab"]).center()
    qtbot.mouseClick(menu, QtCore.Qt.MouseButton.LeftButton, pos=at)
    assert opened.lab_eyes and opened.eyes.isVisible()


def test_diagnoses_that_a_lab_can_make_stay_without_what_is_wrong_inside(opened: Window, qtbot: QtBot) -> None:
    panel = opened.diagnosis
    heater = {"part": "u", "kind": "theta", "number": 3}
    layer = {"layer": "fc1", "cores": [1.0], "heaters": 72, "total": 1.0, "v_max": 0}
    row = {"part": "u", "kind": "theta", "phase": [1.0] * 36, "power": [0.3] * 36, "v_max": [False] * 36}
    where = {"run": "", "layer": "fc1", "core": 0, "cores": 4, "step": None, "stage": "learn"}
    named = {"heater": heater, "name": "U MZI 3"}
    heaters = {
        "unit": "P_pi", "core": [row], "layers": [layer], "silent": [{**named, "share": 0.0}],
        "faults": [{**named, "fate": "dead"}], "simulated": True, "meter": {}, "spent": {},
    }  # fmt: skip
    panel.results["heaters"] = {"place": where, "badges": {}, "heaters": heaters}
    opened.docks["Diagnosis"].raise_()
    panel.refresh({"all"})
    assert "1 dead [oracle]" in panel.notes["heaters"].text()
    qtbot.keyClick(opened, Key.Key_L, Modifier.ControlModifier)
    opened.tick(everything=True)
    said = panel.notes["heaters"].text()
    assert "U MZI 3</a> does not answer" in said and "dead" not in said and ORACLE not in said
    usable = {only for only, button in panel.buttons.items() if button.isEnabled()}
    assert usable == {"sweep", "movement", "detectors", "heaters", "every_heater"}
    assert panel.notes["budget"].text() == KEPT_BACK
