"""The ports: impulses by wheel, box and click, and readings as the chip itself gives them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from l2sim.gui.base.model import Selection, open_run
from l2sim.gui.panels.lab.ports import Ports
from l2sim.gui.window.window import Window
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets
from pytestqt.qtbot import QtBot

from tests.gui.test_gui_panels import shown

Qt = QtCore.Qt


def wheel(widget: QtWidgets.QWidget, notches: int) -> None:
    middle = QtCore.QPointF(widget.rect().center())
    there = QtCore.QPointF(widget.mapToGlobal(widget.rect().center()))
    turn, none = QtCore.QPoint(0, 120 * notches), QtCore.QPoint()
    keys, buttons = Qt.KeyboardModifier.NoModifier, Qt.MouseButton.NoButton
    event = QtGui.QWheelEvent(middle, there, none, turn, buttons, keys, Qt.ScrollPhase.NoScrollPhase, False)
    QtWidgets.QApplication.sendEvent(widget, event)


def test_the_outputs_are_read_on_the_chip_and_the_input_is_chosen_by_wheel_box_and_click(
    qtbot: QtBot, digits_run: Path
) -> None:
    model = open_run(digits_run)
    model.poll()
    selection = Selection()
    selection.layer, selection.block, selection.newest = "fc1", 3, model.newest
    panel = shown(qtbot, Ports, model, selection, (700, 300))
    weights = model.realised("fc1", 3)
    u, _, v = np.linalg.svd(model.target("fc1", 3)["matrix"])
    aimed = (u * model.phases("fc1", 3, "sigma")["sigma"]) @ v

    def reads(port: int) -> None:
        assert selection.input == panel.port.value() == panel.bars.port == port
        power = panel.readout.currentText() == "power"
        wanted = weights[:, port] ** 2 if power else weights[:, port]
        np.testing.assert_allclose(panel.bars.seen.values, wanted, atol=1e-5)
        expected = aimed[:, port] ** 2 if power else aimed[:, port]
        np.testing.assert_allclose(panel.bars.expected, expected, atol=1e-5)

    reads(0)
    wheel(panel.bars, -2)
    reads(2)
    wheel(panel.bars, 9)
    reads(0)
    box = panel.bars.place(5).center().x()
    qtbot.mouseClick(panel.bars, Qt.MouseButton.LeftButton, pos=QtCore.QPoint(round(box), 15))
    reads(5)
    qtbot.keyClick(panel.port, Qt.Key.Key_Up)
    reads(6)
    panel.readout.setFocus()
    qtbot.keyClick(panel.readout, Qt.Key.Key_Down)
    assert panel.readout.currentText() == "quadrature"
    reads(6)
    heads, rows = panel.table()
    assert heads[2] == "quadrature read" and [row[0] for row in rows if row[1]] == [6]
    model.lab_eyes = True
    panel.refresh({"all"})
    reads(6)
    assert "measured" in panel.said.text()
    model.close()


def test_a_whole_mesh_is_read_too_and_the_pointer_reads_an_output(
    window: Window, qtbot: QtBot, insitu_run: Path
) -> None:
    assert window.open(insitu_run)
    window.docks["Ports"].raise_()
    window.tick(everything=True)
    panel = window.ports
    assert len(panel.bars.expected) == window.model.layers[window.selection.layer].k
    matrix = window.model.realised(window.selection.layer, 0, window.selection.at)
    np.testing.assert_allclose(panel.bars.seen.values, np.abs(matrix[:, 0]) ** 2, atol=1e-5)
    place = QtCore.QPoint(round(panel.bars.place(3).center().x()), 60)
    qtbot.mouseMove(panel.bars, place + QtCore.QPoint(1, 0))
    qtbot.mouseMove(panel.bars, place)
    qtbot.waitUntil(lambda: panel.said.text().startswith("output 3 reads"))
    assert not panel.grab().isNull()


def test_without_a_run_or_a_chip_to_read_the_panel_says_so(qtbot: QtBot, digits_run: Path) -> None:
    panel = shown(qtbot, Ports, None)
    assert panel.table() is None and "No run" in panel.bars.note
    model = open_run(digits_run)
    selection = Selection()
    selection.layer = "fc1"
    early = shown(qtbot, Ports, model, selection)
    selection.set(step=0)
    assert early.bars.seen is None and "nothing was commanded yet" in early.bars.note
    model.close()
