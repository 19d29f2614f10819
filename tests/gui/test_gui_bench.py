"""The bench: sliders beside the numbers of live parameters, what the preset gives, and marks of every change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from l2sim.gui.base import fields
from l2sim.gui.base.model import Parameter, Selection
from l2sim.gui.panels.hardware import Hardware
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets
from pytestqt.qtbot import QtBot

from l2sim.job.job import Job
from tests.doubles_gui import FakeModel
from tests.tolerances import PATIENCE

Key, Left = QtCore.Qt.Key, QtCore.Qt.MouseButton.LeftButton
NOISE, BITS, SPLIT = "nonidealities.readout_noise", "nonidealities.phase_bits", "nonidealities.detuning_nm"


@pytest.fixture
def hardware(qtbot: QtBot) -> Hardware:
    """The panel of a run that goes on, one of whose parameters is set apart from the preset."""
    model = FakeModel()
    model.job = Job.preset("digits", {NOISE: 0.01})
    model.parameters = [
        Parameter(NOISE, 0.01, "", 0, 5, "std of a reading", "live"),
        Parameter(BITS, 8, "bit", 0, 16, "resolution of a phase", "live"),
        Parameter(SPLIT, 0.0, "nm", -200, 200, "off the design wavelength", "live"),
        Parameter("learn.batch", 32, "images", 1, 10**6, "images of a step", "restart"),
    ]
    panel = Hardware(Selection())
    qtbot.addWidget(panel)
    panel.resize(420, 500)
    with qtbot.waitActive(panel, timeout=PATIENCE):
        panel.show()
        panel.activateWindow()
    panel.show_run(model)
    panel.refresh({"all"})
    panel.fixed.setChecked(True)
    return panel


def grip(slider: QtWidgets.QSlider) -> QtCore.QPoint:
    """The middle of a slider's handle."""
    option = QtWidgets.QStyleOptionSlider()
    slider.initStyleOption(option)
    style = QtWidgets.QStyle
    where = slider.style().subControlRect(
        style.ComplexControl.CC_Slider, option, style.SubControl.SC_SliderHandle, slider
    )
    return where.center()


def drag(qtbot: QtBot, slider: QtWidgets.QSlider, by: int) -> None:
    """Take the handle and pull it so many pixels to the right; it is not let go."""
    at = grip(slider)
    qtbot.mousePress(slider, Left, pos=at)
    for part in (1, 2, 3):
        place = QtCore.QPointF(at.x() + by * part / 3, at.y())
        move = QtGui.QMouseEvent(
            QtCore.QEvent.Type.MouseMove, place, QtCore.QPointF(slider.mapToGlobal(place.toPoint())),
            QtCore.Qt.MouseButton.NoButton, Left, QtCore.Qt.KeyboardModifier.NoModifier,
        )  # fmt: skip
        QtWidgets.QApplication.sendEvent(slider, move)


def wheel(slider: QtWidgets.QSlider) -> bool:
    """Turn the wheel a notch over a slider; whether it was taken."""
    at = QtCore.QPointF(slider.rect().center())
    turn = QtGui.QWheelEvent(
        at, QtCore.QPointF(slider.mapToGlobal(at.toPoint())), QtCore.QPoint(), QtCore.QPoint(0, 120),
        QtCore.Qt.MouseButton.NoButton, QtCore.Qt.KeyboardModifier.NoModifier,
        QtCore.Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    turn.ignore()
    slider.event(turn)
    return bool(turn.isAccepted())


# ------------------------------------------------------------------------------------------------- sliders


def test_a_slider_sends_when_it_is_let_go(hardware: Hardware, qtbot: QtBot) -> None:
    editor = hardware.rows[NOISE].editor
    drag(qtbot, editor.slider, 12)
    slid = float(editor.input.text())
    assert slid > 0.01 and hardware.model.ordered == []
    hardware.refresh({"parameters", "state"})  # the run goes on meanwhile
    assert float(editor.input.text()) == slid
    qtbot.mouseRelease(editor.slider, Left, pos=grip(editor.slider))
    assert hardware.model.ordered == [("set", {"path": NOISE, "value": slid})]
    hardware.refresh({"parameters"})
    hardware.stack.undo()
    assert hardware.model.ordered[-1] == ("set", {"path": NOISE, "value": 0.01})


def test_the_keys_of_a_slider_send_and_escape_takes_back(hardware: Hardware, qtbot: QtBot) -> None:
    editor = hardware.rows[BITS].editor
    editor.slider.setFocus()
    qtbot.keyClick(editor.slider, Key.Key_Right)
    assert editor.input.text() == "9"
    assert hardware.model.ordered == [("set", {"path": BITS, "value": 9})]
    drag(qtbot, editor.slider, -40)
    assert int(editor.input.text()) < 9
    qtbot.keyClick(editor.slider, Key.Key_Escape)
    qtbot.mouseRelease(editor.slider, Left, pos=grip(editor.slider))
    assert editor.input.text() == "9" and editor.slider.value() == 9 and len(hardware.model.ordered) == 1


def test_a_wheel_turns_only_the_slider_that_has_the_focus(hardware: Hardware, qtbot: QtBot) -> None:
    editor = hardware.rows[BITS].editor
    hardware.find.setFocus()
    assert not wheel(editor.slider) and editor.slider.value() == 8
    editor.slider.setFocus()
    assert wheel(editor.slider) and editor.slider.value() > 8
    assert hardware.model.ordered == []
    qtbot.waitUntil(lambda: len(hardware.model.ordered) == 1, timeout=PATIENCE)
    assert hardware.model.ordered[0][1]["value"] == editor.slider.value()


def test_a_number_that_is_typed_moves_the_slider_and_is_not_sent_by_it(hardware: Hardware, qtbot: QtBot) -> None:
    editor = hardware.rows[BITS].editor
    qtbot.mouseClick(editor.input, Left)
    qtbot.keyClick(editor.input, Key.Key_A, QtCore.Qt.KeyboardModifier.ControlModifier)
    qtbot.keyClicks(editor.input, "12")
    assert editor.slider.value() == 12
    qtbot.keyClick(editor.input, Key.Key_Tab)
    assert editor.slider.hasFocus()
    qtbot.keyRelease(editor.slider, Key.Key_Tab)
    assert hardware.model.ordered == [] and editor.input.text() == "12"


def test_only_what_can_change_has_a_slider(hardware: Hardware) -> None:
    assert {path for path, row in hardware.rows.items() if row.editor.slider} == {NOISE, BITS, SPLIT}


@given(
    st.sampled_from([(0, 16, True), (1, 10**6, True), (0, 100, True)])
    | st.tuples(st.sampled_from([0.0, 1e-9, 0.1]), st.floats(0.2, 1e12), st.just(False))
    | st.tuples(st.floats(-200, -1e-3), st.floats(1e-3, 200), st.just(False))
)
def test_stops_rise_between_the_limits(limits: tuple[float, float, bool]) -> None:
    low, high, whole = limits
    stops = fields.notches(low, high, whole)
    assert stops[0] == low and np.all(np.diff(stops) > 0) and stops[-1] <= high
    assert stops[-1] == pytest.approx(high, rel=5e-2, abs=(high - low) / 100)
    assert 17 <= len(stops) <= fields.STOPS + 3
    texts = [float(fields.shown(stop.item())) for stop in stops]
    assert all(low <= text <= high for text in texts[1:])


# ---------------------------------------------------------------------------------------------- the preset


def test_what_the_preset_gives_stands_beside_the_number(hardware: Hardware) -> None:
    """In force where the job leaves it to the preset, for comparison where it does not."""
    assert "8, from l2ight-2021" in hardware.rows[BITS].unit.text()
    assert "0 in l2ight-2021" in hardware.rows[NOISE].unit.text()
    assert "l2ight" not in hardware.rows["learn.batch"].unit.text()
    hardware.model.job = Job.preset("digits", {BITS: 6})
    hardware.refresh({"parameters"})
    assert "8 in l2ight-2021" in hardware.rows[BITS].unit.text()
