"""Lab eyes: with the switch on nothing that a lab cannot know is told in any panel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from l2sim.gui.mesh.values import MODES
from l2sim.gui.panels.diagnose import PAGES
from l2sim.gui.window.window import Window
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets
from pytestqt.qtbot import QtBot

Key, Modifier = QtCore.Qt.Key, QtCore.Qt.KeyboardModifier
ORACLE = "oracle"


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
            for row in range(cells.rowCount()):
                yield from (str(cells.data(cells.index(row, column))) for column in range(cells.columnCount()))


def told(window: Window, painted: list[str]) -> list[str]:
    """All that the panels say when every one of them was in front, in every way that they can be looked at."""
    texts: list[str] = []

    def look() -> None:
        painted.clear()
        window.tick(everything=True)
        for panel in window.panels:
            panel.grab()
        texts.extend([*painted, *texts_of(window.work), *texts_of(window.menuBar())])

    for dock in window.docks.values():
        dock.show()
        dock.raise_()
        look()
    for mode in range(len(MODES)):
        window.mesh.colour(mode)
        for i in range(max(1, window.mesh.choice.count())):
            window.mesh.choice.setCurrentIndex(i)
            look()
    for box in (window.blocks.chooser, *(plot.choice for plot in window.curves.plots)):
        for i in range(box.count()):
            box.setCurrentIndex(i)
            box.activated.emit(i)
            look()
    for i in range(len(PAGES)):
        window.diagnosis.tabs.setCurrentIndex(i)
        look()
    for panel in window.panels:
        heads, rows = panel.table() or ([], [])
        texts += [*heads, *(str(cell) for row in rows for cell in row)]
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
    assert [text for text in texts if ORACLE in text.lower()] == []
    assert hidden and [text for text in texts if any(name.rpartition("/")[2] in text for name in hidden)] == []
    assert window.mesh.canvas.broken == []
    assert any("commanded" in text for text in texts) and any("measured" in text for text in texts)
    qtbot.keyClick(window, Key.Key_L, Modifier.ControlModifier)
    assert not window.eyes.isVisible()
    assert len([text for text in told(window, painted) if ORACLE in text.lower()]) > 10


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
