"""The bench: sliders beside the numbers of live parameters, what the preset gives, and marks of every change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from l2sim.gui.base import fields, theme
from l2sim.gui.base.model import Parameter, Selection
from l2sim.gui.panels.curves import WHOLE, Curves
from l2sim.gui.panels.hardware import Hardware
from l2sim.gui.panels.scrubber import Scrubber
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets
from pytestqt.qtbot import QtBot

from l2sim.inspect.run import Stage
from l2sim.job.job import Job
from l2sim.store.events import Changed, EpochEnd
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


# ------------------------------------------------------------------------------------------- what was changed


def changed_run() -> FakeModel:
    """A run of two stages of ten epochs each, 200 and 800 steps, whose noise was raised on the way."""
    model = FakeModel(steps=1000)
    model.stages = [Stage("calibrate", 0, 200, 10), Stage("learn", 200, 1000, 10)]
    model.events = [EpochEnd("calibrate", i + 1, 20 * (i + 1)) for i in range(10)]
    model.events += [EpochEnd("learn", i + 1, 200 + 80 * (i + 1)) for i in range(10)]
    model.events += [Changed("learn", 600, "step", NOISE, 0.01, 0.0)]
    return model


def hover(widget: QtWidgets.QWidget, x: float, y: float) -> None:
    """Move the pointer there, no button held."""
    place = QtCore.QPointF(x, y)
    none = QtCore.Qt.MouseButton.NoButton
    move = QtGui.QMouseEvent(
        QtCore.QEvent.Type.MouseMove, place, QtCore.QPointF(widget.mapToGlobal(place.toPoint())), none, none,
        QtCore.Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    QtWidgets.QApplication.sendEvent(widget, move)


@pytest.fixture
def curves(qtbot: QtBot) -> Curves:
    panel = Curves(Selection())
    qtbot.addWidget(panel)
    panel.resize(900, 400)
    panel.show()
    panel.show_run(changed_run())
    panel.refresh({"all"})
    panel.selection.watch(panel.refresh)
    return panel


def colours(widget: QtWidgets.QWidget, left: int, right: int, top: int, bottom: int) -> set[str]:
    """The colours of the pixels of a part of a widget."""
    image = widget.grab().toImage()
    return {image.pixelColor(x, y).name() for x in range(left, right) for y in range(top, bottom)}


def test_a_change_is_a_flag_on_the_curves_that_is_read_by_pointing(curves: Curves) -> None:
    chart = curves.plots[0].chart
    x, foot = round(chart.x_of(600)), round(chart.room().bottom())
    assert theme.now().warn in colours(chart, x, x + 8, foot - 12, foot)
    assert theme.now().warn not in colours(chart, x - 60, x - 20, foot - 12, foot)
    hover(chart, x + 1, foot - 30)
    assert (theme.now().warn, "readout_noise = 0.01") in chart.readout
    hover(chart, x - 50, foot - 30)
    assert all("readout_noise" not in words for _, words in chart.readout)
    assert not curves.grab().isNull()


def test_a_change_is_a_flag_on_the_timeline(qtbot: QtBot) -> None:
    bar = Scrubber(Selection())
    qtbot.addWidget(bar)
    bar.resize(800, 38)
    bar.show_run(changed_run())
    bar.show()
    x = round(bar.x_of(600))
    assert theme.now().warn in colours(bar, x, x + 9, 2, 12)
    hover(bar, x, 18)
    assert "readout_noise = 0.01" in bar.toolTip()


# ---------------------------------------------------------------------------------------------------- axes


def choose(qtbot: QtBot, box: QtWidgets.QComboBox, text: str) -> None:
    """Choose from a box by the keyboard."""
    box.setFocus()
    for _ in range(box.count()):
        qtbot.keyClick(box, Key.Key_Up)
    while box.currentText() != text:
        before = box.currentText()
        qtbot.keyClick(box, Key.Key_Down)
        assert box.currentText() != before, f"{text} cannot be chosen"


def test_curves_along_epochs_and_stages(curves: Curves, qtbot: QtBot) -> None:
    """Both stages have the same room by stage, and a click leads to the step that lies there."""
    qtbot.mouseClick(curves.sights[WHOLE], Left)
    chart = curves.plots[1].chart
    assert [band[:2] for band in chart.bands] == [(0, 200), (200, 1000)]
    choose(qtbot, curves.along, "epoch")
    assert [band[:2] for band in chart.bands] == [(0, 10), (10, 20)] and chart.measure == "epochs, of all stages"
    assert chart.flags[0].at == pytest.approx(15)
    choose(qtbot, curves.along, "stage")
    assert [band[:2] for band in chart.bands] == [(0, 1), (1, 2)]
    x = round(chart.x_of(1.25))
    qtbot.mouseClick(chart, Left, pos=QtCore.QPoint(x, round(chart.room().center().y())))
    assert curves.selection.step == pytest.approx(400, abs=3)
    assert chart.step == pytest.approx(1.25, abs=0.01)
    line = next(line for line in chart.lines if len(line.x) > 10)
    assert 0 <= line.x.min() < 0.1 and 1.99 < line.x.max() <= 2
    hover(chart, x, chart.room().center().y())
    assert "learn, step" in chart.readout[0][1]


def test_an_axis_that_the_run_lacks_cannot_be_chosen_and_says_why(curves: Curves, qtbot: QtBot) -> None:
    item = curves.along.model().item(curves.along.findText("energy"))
    assert not item.isEnabled() and item.toolTip() == "no stage was billed for the chips' work yet"
    choose(qtbot, curves.along, "stage")
    qtbot.keyClick(curves.along, Key.Key_Down)
    assert curves.along.currentText() == "stage"
    curves.model.stages, curves.model.events = [], []
    curves.refresh({"events"})
    assert curves.along.currentText() == "step" and curves.axis.kind == "step"


def test_the_other_run_lies_where_it_is_at_the_same_epoch(curves: Curves) -> None:
    """Never at the same step: its calibration is twice as long."""
    other = changed_run()
    other.stages = [Stage("calibrate", 0, 400, 10), Stage("learn", 400, 1000, 10)]
    other.events = [EpochEnd("calibrate", i + 1, 40 * (i + 1)) for i in range(10)]
    other.events += [EpochEnd("learn", i + 1, 400 + 60 * (i + 1)) for i in range(10)]
    curves.show_run(curves.model, other)
    assert curves.moment(200) == pytest.approx(400) and curves.moment(600) == pytest.approx(700)
    dashed = next(line for line in curves.plots[0].chart.lines if line.dashed)
    theirs = next(trace for trace in curves.plots[0].traces if trace.other)
    assert dashed.x.max() <= 1000 and theirs.at(600) == pytest.approx(theirs.mean.values[699])
