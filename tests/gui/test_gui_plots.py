"""The one plot of the window: it stands still, follows theme and letters, and becomes vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from l2sim.gui.base import theme
from l2sim.gui.base.model import Selection
from l2sim.gui.base.panel import Panel
from l2sim.gui.base.plot import Plot, Trace, span
from l2sim.gui.base.widgets import filled, scrolling
from l2sim.gui.window import figures
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets
from pytestqt.qtbot import QtBot

from tests.gui.labels import faults, recorded
from tests.gui.test_gui_mesh import kept

X = np.linspace(0.0, 1.0, 40)
Button = QtCore.Qt.MouseButton


def drawn(qtbot: QtBot, *traces: Trace, size: tuple[int, int] = (360, 200), **more: object) -> Plot:
    plot = kept(qtbot, Plot("A plot"))
    plot.resize(*size)
    plot.show()
    plot.draw(traces, "phase (rad)", "power", **more)
    QtWidgets.QApplication.processEvents()
    return plot


@pytest.fixture(autouse=True)
def dark(qapp: QtWidgets.QApplication) -> None:
    theme.use("dark")


def test_the_wheel_scrolls_what_a_plot_lies_in_and_the_mouse_moves_nothing(qtbot: QtBot) -> None:
    plot = Plot("A plot")
    plot.setMinimumHeight(300)
    inside = QtWidgets.QWidget()
    filled(QtWidgets.QVBoxLayout(inside), plot, QtWidgets.QLabel("\n" * 40))
    area = kept(qtbot, scrolling(inside))
    area.resize(300, 200)
    area.show()
    plot.draw([Trace(X, X, "#ffffff")])
    QtWidgets.QApplication.processEvents()
    before = plot.viewRange()
    at = QtCore.QPointF(100, 80)
    turn = QtGui.QWheelEvent(
        at, QtCore.QPointF(plot.viewport().mapToGlobal(at.toPoint())), QtCore.QPoint(), QtCore.QPoint(0, -240),
        Button.NoButton, QtCore.Qt.KeyboardModifier.NoModifier, QtCore.Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    turn.ignore()
    widget: QtWidgets.QWidget | None = plot.viewport()
    while widget is not None and not turn.isAccepted():  # what nobody takes goes to the one around it, as Qt has it
        QtWidgets.QApplication.sendEvent(widget, turn)
        widget = widget.parentWidget()
    assert area.verticalScrollBar().value() > 0 and plot.viewRange() == before
    qtbot.mousePress(plot.viewport(), Button.LeftButton, pos=QtCore.QPoint(60, 60))
    qtbot.mouseMove(plot.viewport(), QtCore.QPoint(160, 120))
    qtbot.mouseRelease(plot.viewport(), Button.LeftButton, pos=QtCore.QPoint(160, 120))
    qtbot.mouseClick(plot.viewport(), Button.RightButton, pos=QtCore.QPoint(90, 90))
    assert plot.viewRange() == before and QtWidgets.QApplication.activePopupWidget() is None


@pytest.mark.parametrize("size", ((150, 90), (300, 140), (640, 240)))
@pytest.mark.parametrize("letters", (1.0, 1.5))
def test_the_words_of_a_plot_have_room(qtbot: QtBot, size: tuple[int, int], letters: float) -> None:
    for y in (X, 1e-7 * X, -1234.5 * X):
        plot = drawn(qtbot, Trace(X, y, "#ffffff"), size=size)
        font = plot.font()
        font.setPointSizeF(letters * font.pointSizeF())
        plot.setFont(font)
        plot.resize(max(size[0], plot.minimumSizeHint().width()), max(size[1], plot.minimumSizeHint().height()))
        with recorded() as recorder:
            recorder.of(plot)  # numbers find their room while they are drawn
            QtWidgets.QApplication.processEvents()
            texts = recorder.of(plot)
        assert {"p", "0"} <= {text.text[0] for text in texts} and len(texts) >= 5
        assert list(faults(texts)) == []


def test_counts_and_steps_are_whole_numbers(qtbot: QtBot) -> None:
    plot = drawn(qtbot, Trace(np.array([0.0, 0.5, 1.0]), np.array([1, 2]), "#ffffff", "bars"))
    assert plot.getAxis("left").tickStrings(plot.getAxis("left").tickValues(0, 2, 400)[0][1], 1, 1) == ["0", "1", "2"]
    assert plot.viewRange() == [[0.0, 1.0], [0.0, pytest.approx(2.04)]]


def test_other_colours_come_with_the_theme(qtbot: QtBot) -> None:
    plot = drawn(qtbot, Trace(X, X, "#ff0000"))
    theme.use("light")
    plot.draw(plot.traces, *plot.texts[::-1])
    picture = plot.grab().toImage()
    assert picture.pixelColor(1, 1).name() == theme.LIGHT.base
    theme.use("dark")
    plot.draw(plot.traces, *plot.texts[::-1])
    assert plot.grab().toImage().pixelColor(1, 1).name() == theme.DARK.base


def test_a_plot_without_numbers_says_why(qtbot: QtBot) -> None:
    plot = drawn(qtbot, note="nothing was recorded yet", heading="Phases")
    with recorded() as recorder:
        assert [text.text for text in recorder.of(plot)] == ["Phases", "nothing was recorded yet"]
    plot.draw([Trace(X, np.full(40, np.nan), "#ffffff")], note="nothing was recorded yet")
    with recorded() as recorder:
        assert "nothing was recorded yet" not in [text.text for text in recorder.of(plot)]
    assert not plot.grab().isNull()


def test_a_plot_becomes_vectors(qtbot: QtBot, tmp_path: Path) -> None:
    class Lone(Panel):
        title = "Lone"


    panel, plot = kept(qtbot, Lone(Selection())), Plot("A plot")
    filled(QtWidgets.QVBoxLayout(panel), plot)
    panel.resize(400, 240)
    panel.show()
    plot.draw([Trace(X, X, "#ff0000", "dots"), Trace(X, X**2, "#00ff00")], "phase (rad)", "power", mark=(0.5, "now"))
    svg = figures.write(panel, tmp_path / "f.svg", "A figure").read_text()
    assert "<image" not in svg and svg.count("#ff0000") >= 1 and "#00ff00" in svg
    assert [word for word in ("phase (rad)", "power", "now", "1.0") if f">{word}" not in svg] == []


def test_the_axes_of_a_figure_are_as_long_as_on_the_screen(qtbot: QtBot) -> None:
    plot = drawn(qtbot, Trace(X, X, theme.now().base), size=(400, 240))
    pictures = [plot.grab().toImage(), QtGui.QImage(400, 240, QtGui.QImage.Format.Format_RGB32)]
    pictures[1].setDotsPerMeterX(1000)  # a device of another scale, as vectors are
    pictures[1].setDotsPerMeterY(1000)
    painter = QtGui.QPainter(pictures[1])
    plot.vectors(painter, QtCore.QRect(0, 0, 400, 240))
    painter.end()
    line = QtGui.QColor(theme.now().line).name()
    ends = [
        [(x, y) for x in range(400) for y in range(240) if picture.pixelColor(x, y).name() == line]
        for picture in pictures
    ]
    for at in (min, max):
        assert at(x for x, _ in ends[1]) == pytest.approx(at(x for x, _ in ends[0]), abs=2)
        assert at(y for _, y in ends[1]) == pytest.approx(at(y for _, y in ends[0]), abs=2)


def test_ends_are_of_what_is_a_number() -> None:
    assert span([], 0.1) == (-0.1, 1.1) and span([np.array([np.nan, 2.0, 4.0, np.inf])], 0.0) == (2.0, 4.0)
    low, high = span([np.array([3.0])], 0.0)
    assert low < 3.0 < high
