"""Bars of a budget: values over decades are seen beside each other, what is none is said in words, nothing is cut."""

from __future__ import annotations

import re

import pytest
from l2sim.gui.base import theme
from l2sim.gui.panels.diagnosis.results import Bar
from l2sim.gui.panels.diagnosis.views import Bars
from l2sim.gui.window.window import Window
from pyqtgraph.Qt import QtCore, QtGui
from pytestqt.qtbot import QtBot

from tests.gui.labels import faults, recorded

DECADES = [
    Bar("now", 0.1, "0.1", "now"), Bar("best commands", 1e-3, "0.001  (alone 3e-6)", "good", 3e-6),
    Bar("no loss", 1e-6, "1e-6"), Bar("no drift", 3e-14, "below rounding"), Bar("ideal chip", 0.0, "zero"),
]  # fmt: skip
NEAR = [Bar("now", 0.1, "0.1", "now"), Bar("no loss", 0.05, "0.05")]


def shown(qtbot: QtBot, bars: list[Bar], width: int = 500) -> Bars:
    widget = Bars()
    qtbot.addWidget(widget)
    widget.show_bars(bars)
    widget.resize(width, widget.minimumHeight())
    widget.show()
    return widget


def long(widget: Bars, row: int) -> int:
    """Pixels of the bar in a row, as painted."""
    now, picture = theme.now(), widget.grab().toImage()
    colour = {"now": now.bad, "good": now.good}.get(widget.bars[row].kind, now.accent)
    y = 4 + row * widget.row + 9
    return sum(QtGui.QColor(picture.pixel(x, y)).name() == colour for x in range(picture.width()))


def test_values_over_decades_are_all_seen_and_what_is_none_has_no_bar(qtbot: QtBot) -> None:
    widget = shown(qtbot, DECADES)
    assert widget.log
    shares = [widget.share(bar.value) for bar in DECADES]
    assert shares[0] == 1.0 and shares[1] > 0.5 and shares[2] > 0.1 and shares[3:] == [0.0, 0.0]
    assert shares[0] - shares[1] == pytest.approx(2 * (shares[1] - shares[2]) / 3)  # as decades have it
    assert long(widget, 0) > long(widget, 1) > long(widget, 2) > 10


def test_values_of_one_decade_begin_at_zero(qtbot: QtBot) -> None:
    widget = shown(qtbot, NEAR)
    assert not widget.log and not widget.spans_decades
    assert widget.share(0.05) == pytest.approx(0.5)
    assert long(widget, 0) > 50 and long(widget, 1) == pytest.approx(long(widget, 0) / 2, abs=2)


@pytest.mark.parametrize("size", (1.0, 1.5))
@pytest.mark.parametrize("width", (260, 500, 900))
@pytest.mark.parametrize("log", (False, True))
def test_bars_and_their_axis_are_written_in_their_room(qtbot: QtBot, size: float, width: int, log: bool) -> None:
    widget = Bars()
    font = QtGui.QFont(widget.font())
    font.setPointSizeF(font.pointSizeF() * size)
    widget.setFont(font)
    qtbot.addWidget(widget)
    widget.show_bars(DECADES)
    widget.along(log)
    assert widget.minimumWidth() < 320 * size
    widget.resize(max(width, widget.minimumWidth()), widget.minimumHeight())
    with recorded() as recorder:
        drawn = recorder.of(widget)
    assert list(faults(drawn)) == []
    words = {one.text for one in drawn}
    assert {"below rounding", "zero", "0.1"} <= words
    marks = [float(one.text) for one in drawn if re.fullmatch(r"[\d.]+(e-\d+)?", one.text)]
    assert len(marks) >= 3  # two beside bars, and along the axis
    assert min(marks) == 0.0 if not log else 0.0 < min(marks) < 1e-3 * max(marks)


def test_a_click_changes_between_decades_and_zero_and_stays(opened: Window, qtbot: QtBot) -> None:
    panel = opened.diagnosis
    opened.docks["Diagnosis"].raise_()
    place = {"layer": "fc1", "core": 2, "cores": 22, "step": None, "stage": "map", "measure": "some error",
             "left_out": []}  # fmt: skip
    rows = [
        {"name": name, "error": error, "tuned": None, "alone": None, "gain": 0.0}
        for name, error in (("as it is", 0.5), ("loss", 1e-4), ("all of them", 0.0))
    ]
    panel.results["budget"] = {"place": place, "badges": {"budget": "oracle"}, "budget": rows}
    panel.tabs.setCurrentIndex(1)
    opened.tick(everything=True)
    panel.refresh({"all"})
    bars, switch = panel.bars["budget"], panel.decades["budget"]
    assert bars.log and switch.isChecked() and switch.isVisibleTo(panel)
    assert [bar.said for bar in bars.bars] == ["0.5", "0.0001", "zero"]
    qtbot.mouseClick(switch, QtCore.Qt.MouseButton.LeftButton, pos=QtCore.QPoint(8, switch.height() // 2))
    assert not bars.log
    panel.refresh({"all"})
    assert not bars.log and not switch.isChecked()
    qtbot.keyClick(switch, QtCore.Qt.Key.Key_Space)
    assert bars.log
    panel.results["budget"] = {**panel.results["budget"], "budget": rows[:1]}
    panel.refresh({"all"})
    assert not switch.isVisibleTo(panel) and not bars.log
