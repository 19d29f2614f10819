"""Pinned MZIs side by side: a column each, the one on show first, a head that is a link, keys that unpin and copy."""

from __future__ import annotations

import numpy as np
from l2sim.gui.mesh.history import recorded
from l2sim.gui.mesh.values import began, turned
from l2sim.gui.panels.inspector import Inspector
from l2sim.gui.panels.phases.pins import CROSS, NEGLIGIBLE, Place
from l2sim.gui.window.window import Window
from pyqtgraph.Qt import QtCore, QtWidgets
from pytestqt.qtbot import QtBot

from l2sim.given import wrapped

Key, Left = QtCore.Qt.Key, QtCore.Qt.MouseButton.LeftButton
Modifier = QtCore.Qt.KeyboardModifier


def pinned(window: Window, qtbot: QtBot, *places: tuple[str, int]) -> Inspector:
    """Select MZIs and press P, one after the other; then look at MZI 1 of U."""
    for side, element in places:
        window.selection.set(side=side, element=element)
        window.tick(everything=True)
        window.mesh.canvas.setFocus()
        qtbot.keyClick(window.mesh.canvas, Key.Key_P)
    window.selection.set(side="u", element=1)
    window.tick(everything=True)
    return window.inspector


def cell(panel: Inspector, row: str, column: int) -> str:
    return str(panel.sheet.cells.columns[column].get(row, ""))


def head(panel: Inspector, section: int, end: bool = False) -> QtCore.QPoint:
    """A place on a head: its middle, or its end where the cross is."""
    heads = panel.sheet.heads
    begin, wide = heads.sectionViewportPosition(section), heads.sectionSize(section)
    cross = heads.fontMetrics().horizontalAdvance(CROSS)
    return QtCore.QPoint(begin + (wide - cross // 2 - 2 if end else wide // 4), heads.height() // 2)


def test_pins_stand_side_by_side_and_their_numbers_are_those_of_the_run(opened: Window, qtbot: QtBot) -> None:
    opened.selection.set(step=next(s.last_step for s in opened.model.stages if s.name == "map"))
    panel = pinned(opened, qtbot, ("u", 3), ("v", 5))
    assert panel.sheet.cells.heads == ["U 1", "U 3", "V* 5"] and panel.sheet.isVisible()
    model, here = opened.model, opened.selection
    for column, (side, element) in enumerate((("u", 1), ("u", 3), ("v", 5))):
        phases = model.phases(here.layer, here.block, side, here.at)["theta"]
        assert cell(panel, "θ commanded (rad)", column) == f"{wrapped(float(phases[element])):.4f}"
        turns = round((float(phases[element]) - float(wrapped(float(phases[element])))) / (2 * np.pi))
        assert int(cell(panel, "θ turns of 2π", column)) == turns
        since = began(model, recorded(model, model.layers[here.layer]), here.at)
        before = model.phases(here.layer, here.block, side, since)["theta"]
        moved = float(turned(np.array(float(phases[element]) - float(before[element]))))
        assert moved != 0 and cell(panel, "θ moved in stage (rad)", column) == f"{moved:+.4f}"
        truth = model.oracle(here.layer, here.block, side, here.at)
        assert cell(panel, "θ actual, oracle (rad)", column) == f"{wrapped(truth['actual']['theta'][element]):.4f}"
        for term, by in truth["terms"].items():
            share = float(by["theta"][element])
            if abs(share) >= NEGLIGIBLE:
                assert f"θ by {term}, oracle" in panel.sheet.cells.rows
                assert cell(panel, f"θ by {term}, oracle", column) == f"{share:+.4f}"
    assert float(cell(panel, "θ mW, estimated", 0)) > 0 and int(cell(panel, "θ code of 255", 0)) < 256


def test_with_lab_eyes_a_column_has_no_truth(opened: Window, qtbot: QtBot) -> None:
    panel = pinned(opened, qtbot, ("u", 3))
    assert any("oracle" in row for row in panel.sheet.cells.rows)
    qtbot.keyClick(opened, Key.Key_L, Modifier.ControlModifier)
    opened.tick(everything=True)
    assert panel.sheet.cells.rows and not any("oracle" in row for row in panel.sheet.cells.rows)


def test_a_head_goes_there_and_its_cross_unpins(opened: Window, qtbot: QtBot) -> None:
    panel = pinned(opened, qtbot, ("u", 3), ("v", 5))
    qtbot.mouseClick(panel.sheet.heads.viewport(), Left, pos=head(panel, 2))
    opened.tick(everything=True)
    assert (opened.selection.side, opened.selection.element) == ("v", 5)
    assert panel.sheet.cells.heads == ["V* 5", "U 3"]  # the one on show comes first, and once
    qtbot.mouseClick(panel.sheet.heads.viewport(), Left, pos=head(panel, 1, end=True))
    opened.tick(everything=True)
    assert [place.element for place in panel.pins] == [5] and panel.sheet.cells.heads == ["V* 5"]
    assert opened.mesh.canvas.pins == [("v", 5)]


def test_keys_go_there_unpin_and_copy(opened: Window, qtbot: QtBot) -> None:
    panel = pinned(opened, qtbot, ("u", 3), ("v", 5))
    sheet = panel.sheet
    sheet.setFocus()
    sheet.setCurrentIndex(sheet.cells.index(0, 0))
    qtbot.keyClick(sheet, Key.Key_Right)
    qtbot.keyClick(sheet, Key.Key_C, Modifier.ControlModifier)
    lines = [line.split("\t") for line in QtWidgets.QApplication.clipboard().text().split("\n")]
    assert lines[0] == ["", "U 1", "U 3", "V* 5"]
    assert [line[0] for line in lines[1:]] == sheet.cells.rows and {len(line) for line in lines} == {4}
    assert lines[1][2] == cell(panel, "θ commanded (rad)", 1)
    heads, rows = panel.table()
    assert heads == ["quantity", *lines[0][1:]] and [list(row) for row in rows] == lines[1:]
    qtbot.keyClick(sheet, Key.Key_Return)
    assert (opened.selection.side, opened.selection.element) == ("u", 3)
    opened.tick(everything=True)
    sheet.setCurrentIndex(sheet.cells.index(0, sheet.places.index(panel.pins[1])))
    qtbot.keyClick(sheet, Key.Key_Delete)
    assert [place.element for place in panel.pins] == [3]
    opened.mesh.canvas.setFocus()
    qtbot.keyClick(opened.mesh.canvas, Key.Key_P)  # the one on show, again
    assert panel.pins == [] and not sheet.isVisible()


def test_pins_of_other_blocks_say_which(opened: Window, qtbot: QtBot) -> None:
    layer = "fc1"
    opened.selection.set(layer=layer)
    panel = pinned(opened, qtbot, ("u", 3))
    opened.selection.set(block=1)
    opened.tick(everything=True)
    assert panel.sheet.cells.heads == [f"{layer} 1 U 1", f"{layer} 0 U 3"]
    assert panel.pins == [Place(layer, 0, "u", 3)]
