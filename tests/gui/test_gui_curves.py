"""Curves of any length: what is drawn is what was recorded, by a few thousand points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from l2sim.gui.base import files as export
from l2sim.gui.base import theme, ticks
from l2sim.gui.base.model import Selection
from l2sim.gui.panels import quantities
from l2sim.gui.panels.chart import Chart, pieces
from l2sim.gui.panels.curves import STAGE, WHOLE, Curves
from l2sim.gui.panels.envelope import BASE, Envelope, Line, Smooth, View
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets
from pytestqt.qtbot import QtBot

from tests.doubles_gui import FakeModel

Mouse, Key = QtCore.Qt.MouseButton, QtCore.Qt.Key


def grown(values: np.ndarray, pieces: int) -> Envelope:
    envelope = Envelope()
    for end in np.linspace(0, len(values), pieces + 1).astype(int)[1:]:
        envelope.extend(values[:end])
    return envelope


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 20_000), st.integers(1, 9), st.integers(0, 99), st.integers(5, 300))
def test_nothing_between_the_lines_is_lost(count: int, pieces: int, seed: int, columns: int) -> None:
    draw = np.random.default_rng(seed)
    values, steps = draw.standard_normal(count), np.cumsum(draw.integers(1, 4, count)).astype(float)
    first, last = sorted(draw.integers(0, count + 1, 2))
    x, y = grown(values, pieces).draw(steps, values, first, last, columns)
    assert len(x) == len(y) <= 4 * columns + 4 * BASE
    assert np.all(np.diff(x) >= 0)
    if last > first:
        assert y.min() <= values[first:last].min() and y.max() >= values[first:last].max()
        inside = values[max(0, first - 4 * count // columns - BASE) : last]
        assert y.min() >= inside.min() and y.max() <= inside.max()


def test_growing_piece_by_piece_is_as_good_as_at_once() -> None:
    values = np.random.default_rng(1).standard_normal(50_000)
    steps = np.arange(50_000.0)
    for a, b in zip(
        grown(values, 1).draw(steps, values, 0, 50_000, 200), grown(values, 77).draw(steps, values, 0, 50_000, 200)
    ):
        assert np.array_equal(a, b)


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    values = np.sin(np.arange(10_000) / 50)
    values[[5, 700, 9_000]] = np.nan, np.inf, -np.inf
    envelope = grown(values, 3)
    assert envelope.lost == 3
    _, y = envelope.draw(np.arange(10_000.0), values, 0, 10_000, 100)
    assert np.nanmax(np.abs(y)) <= 1
    _, y = envelope.draw(np.arange(10_000.0), values, 0, 50, 100)
    assert np.isnan(y[5])


@settings(deadline=None)
@given(st.integers(0, 99), st.floats(0, 0.999))
def test_the_average_is_the_weighted_sum_it_says(seed: int, memory: float) -> None:
    values = np.random.default_rng(seed).standard_normal(60)
    values[::7] = np.nan
    average = Smooth(memory)
    average.extend(values[:20])
    average.extend(values)
    for n in (0, 1, 8, 59):
        good = np.isfinite(values[: n + 1])
        weights = memory ** np.arange(good.sum())[::-1]
        wanted = (weights * values[: n + 1][good]).sum() / weights.sum() if good.any() else np.nan
        assert average.values[n] == pytest.approx(wanted, nan_ok=True)


def test_series_are_drawn_with_their_like() -> None:
    series = ["learn/loss", "learn/test_loss", "map/loss", "map/test_loss", "learn/accuracy", "learn/strange"]
    drawn = {quantity.title: quantities.matching(quantity, series) for quantity in quantities.present(series)}
    assert drawn == {
        "Loss (nat)": ["learn/loss", "learn/test_loss", "map/test_loss"],
        "Accuracy (0 to 1)": ["learn/accuracy"],
        "Search loss (map)": ["map/loss"],
        "strange": ["learn/strange"],
    }
    assert [q.title for q in quantities.leading("map", series)] == ["Search loss (map)", "Loss (nat)"]
    assert [q.title for q in quantities.leading("learn", series)] == ["Loss (nat)", "Accuracy (0 to 1)"]


@pytest.fixture
def curves(qtbot: QtBot) -> Curves:
    panel = Curves(Selection())
    qtbot.addWidget(panel)
    panel.resize(700, 300)
    panel.show()
    model = FakeModel(steps=500)
    panel.show_run(model)
    panel.refresh({"all"})
    qtbot.mouseClick(panel.sights[WHOLE], Mouse.LeftButton)
    return panel


def test_the_stage_on_show_is_seen_until_more_is_asked_for(curves: Curves, qtbot: QtBot) -> None:
    assert curves.sights[WHOLE].isChecked() and curves.sight[0] <= 0
    qtbot.mouseClick(curves.sights[STAGE], Mouse.LeftButton)
    assert not curves.sights[WHOLE].isChecked() and curves.sights[STAGE].isChecked()
    assert 240 < curves.sight[0] < 250 and curves.sight[1] > 500  # learn goes on
    curves.selection.set(step=120)
    curves.refresh({"step"})
    assert -5 < curves.sight[0] < 0 and 250 < curves.sight[1] < 260  # calibrate has its end
    curves.model.tick()
    curves.refresh({"scalars"})
    assert 250 < curves.sight[1] < 260
    curves.look(100, 200)
    assert not any(button.isChecked() for button in curves.sights.values())
    curves.selection.set(step=400)
    curves.refresh({"step"})
    assert curves.sight == (100, 200)


def test_curves_show_the_value_at_the_step_selected(curves: Curves) -> None:
    curves.selection.set(step=120)
    curves.refresh({"step"})
    upper = curves.plots[0]
    assert upper.quantity is not None and upper.quantity.title == "Loss (nat)"
    assert f"{upper.traces[0].at(120):.4g}" in upper.legend.text()
    assert upper.chart.step == 120
    curves.selection.set(step=130)
    curves.refresh({"step"})
    assert upper.chart.step == 130


def test_curves_grow_with_the_run_and_compare(curves: Curves) -> None:
    curves.model.tick()
    curves.refresh({"scalars"})
    assert curves.plots[0].traces[0].raw.done == 501
    curves.show_run(curves.model, FakeModel(steps=900))  # twice as long, of the same stages
    assert [trace.other for trace in curves.plots[0].traces] == [False, True]
    assert "fake-1" in curves.plots[0].legend.text()
    assert curves.sight[1] == pytest.approx(curves.model.newest * 1.05 + 2, rel=0.05)


def test_a_click_goes_to_a_step_and_zooming_stays(curves: Curves, qtbot: QtBot) -> None:
    curves.go(33.4)
    assert curves.selection.step == 33
    curves.go(1e9)
    assert curves.selection.step == curves.model.newest
    curves.look(100, 200)
    curves.model.tick()
    curves.refresh({"scalars"})
    assert all(plot.chart.view[:2] == (100, 200) for plot in curves.plots)
    qtbot.mouseClick(curves.sights[WHOLE], Mouse.LeftButton)
    assert curves.plots[0].chart.view.high >= 500 and curves.sights[WHOLE].isChecked()


def test_the_table_has_every_point_and_its_average(curves: Curves) -> None:
    heads, rows = curves.table()
    rows = list(rows)
    assert len(heads) == 6 and len(rows) == 2 * 500
    steps = [row[2] for row in rows if row[0] == "learn/loss"]
    assert steps == list(range(1, 501))
    assert rows[0][4] == pytest.approx(curves.model.scalar("learn/loss").values[0])


def test_a_run_without_scalars_says_so(qtbot: QtBot) -> None:
    panel = Curves(Selection())
    qtbot.addWidget(panel)
    panel.show_run(None)
    panel.refresh({"all"})
    assert panel.empty.isVisibleTo(panel)
    assert panel.plots[0].legend.text() == "no values here yet"


# -- the chart itself --------------------------------------------------------------------------------------------------


def wheel(chart: Chart, x: float, up: int, y: float = 30.0) -> None:
    nothing, at = QtCore.Qt.MouseButton.NoButton, QtCore.QPointF(x, y)
    event = QtGui.QWheelEvent(
        at, QtCore.QPointF(chart.mapToGlobal(at.toPoint())), QtCore.QPoint(), QtCore.QPoint(0, up), nothing,
        QtCore.Qt.KeyboardModifier.NoModifier, QtCore.Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QtWidgets.QApplication.sendEvent(chart, event)


def drag(qtbot: QtBot, chart: Chart, begin: tuple[float, float], end: tuple[float, float]) -> None:
    first, last = (QtCore.QPoint(round(x), round(y)) for x, y in (begin, end))
    qtbot.mousePress(chart, Mouse.LeftButton, pos=first)
    move = QtGui.QMouseEvent(
        QtCore.QEvent.Type.MouseMove, *(QtCore.QPointF(last),) * 3, Mouse.NoButton, Mouse.LeftButton,
        QtCore.Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    QtWidgets.QApplication.sendEvent(chart, move)
    qtbot.mouseRelease(chart, Mouse.LeftButton, pos=last)


def test_a_click_asks_for_the_step_under_it_and_the_line_is_dragged(curves: Curves, qtbot: QtBot) -> None:
    chart = curves.plots[1].chart
    qtbot.mouseClick(chart, Mouse.LeftButton, pos=QtCore.QPoint(round(chart.x_of(250)), 20))
    assert curves.selection.step == pytest.approx(250, abs=1)
    curves.refresh({"step"})
    drag(qtbot, chart, (chart.x_of(chart.step), 20), (chart.x_of(100), 25))
    assert curves.selection.step == pytest.approx(100, abs=1)
    assert curves.follows


def test_the_wheel_zooms_about_the_pointer_and_a_drag_moves(curves: Curves, qtbot: QtBot) -> None:
    upper, lower = (plot.chart for plot in curves.plots)
    x = upper.x_of(300)
    wheel(upper, x, 480)
    assert upper.step_at(x) == pytest.approx(300) and not curves.follows
    assert upper.view.high - upper.view.low < 200 and lower.view[:2] == upper.view[:2]
    before = upper.view
    drag(qtbot, lower, (300, 20), (340, 20))
    assert upper.view.low < before.low and upper.view.high - upper.view.low == pytest.approx(before.high - before.low)
    upper.setFocus()
    qtbot.keyClick(upper, Key.Key_Minus)
    assert upper.view.high - upper.view.low > before.high - before.low
    qtbot.mouseDClick(upper, Mouse.LeftButton, pos=QtCore.QPoint(300, 20))
    assert curves.follows and upper.view.high >= 500


def test_the_values_are_zoomed_and_moved_at_their_axis_and_stay_so(curves: Curves, qtbot: QtBot) -> None:
    chart, steps = curves.plots[0].chart, curves.sight
    before = chart.view
    wheel(chart, chart.left / 2, 480)
    assert chart.view.top - chart.view.bottom < before.top - before.bottom and curves.sight == steps
    zoomed = chart.view
    drag(qtbot, chart, (chart.left / 2, 20), (chart.left / 2, 40))
    assert chart.view.top > zoomed.top
    moved = chart.view[2:]
    curves.model.tick()
    curves.refresh({"scalars"})
    assert chart.view[2:] == moved
    curves.follow(WHOLE)
    assert chart.view[2:] == pytest.approx(before[2:], rel=0.01)


def test_the_pointer_reads_the_curves(curves: Curves) -> None:
    chart = curves.plots[0].chart
    chart.point(chart.x_of(40))
    (_, where), (_, what) = chart.readout
    assert where == "calibrate, step 40" and f"{curves.plots[0].traces[0].at(40):.4g}" in what
    chart.grab()
    chart.point(None)
    assert chart.readout == []


def test_a_curve_is_drawn_where_its_values_are_in_pixels_and_in_vectors(qtbot: QtBot, tmp_path) -> None:
    theme.use("dark")
    chart = Chart(foot=True)
    qtbot.addWidget(chart)
    chart.resize(400, 200)
    chart.look(View(0.0, 100.0, 0.0, 10.0), False)
    y = np.full(101, 5.0)
    y[40:60] = np.nan
    chart.draw([Line(np.arange(101.0), y, "#ff0000"), Line(np.array([50.0]), np.array([8.0]), "#00ff00", marks="o")])
    image, room = chart.grab().toImage(), chart.room()
    rows = [int(room.bottom() - 0.5 * room.height()) + i for i in range(2)]  # the line may stand between two
    red = [max(image.pixelColor(round(chart.x_of(step)), row).red() for row in rows) for step in (10, 50, 90)]
    assert red[0] == red[2] == 255 and red[1] < 100
    assert image.pixelColor(round(chart.x_of(50)), round(room.bottom() - 0.8 * room.height())).green() == 255
    export.widget_svg(chart, tmp_path / "chart.svg")
    text = (tmp_path / "chart.svg").read_text()
    assert text.count("<polyline") >= 2 and "<image" not in text


def test_the_step_moves_without_drawing_the_curves_again(curves: Curves, monkeypatch: pytest.MonkeyPatch) -> None:
    chart = curves.plots[0].chart
    chart.repaint()
    before = chart.grab().toImage()
    drawn: list[int] = []
    monkeypatch.setattr(Chart, "_curves", lambda self, painter: drawn.append(1))
    curves.selection.set(step=400)  # in the same stage
    curves.refresh({"step"})
    assert chart.grab().toImage() != before and drawn == []


@settings(deadline=None)
@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 12), st.booleans())
def test_numbers_of_an_axis_are_round_few_and_apart(low: float, span: float, most: int, whole: bool) -> None:
    span = max(span, 2.0) if whole else span  # a chart shows two steps at least
    assume(span > 1e-6 * abs(low))  # else the numbers of floating point are too coarse for it
    high = low + span
    labels = ticks.linear(low, high, most, whole)
    assert len(labels) <= most + 1
    places = [place for place, _ in labels]
    assert all(low - 1e-6 * span <= place <= high + 1e-6 * span for place in places)
    assert len({text for _, text in labels}) == len(labels)
    assert labels or most < 3


@settings(deadline=None)
@given(st.floats(-12, 6), st.floats(0.05, 15), st.integers(2, 9))
def test_numbers_of_a_logarithmic_axis_say_what_stands_there(low: float, span: float, most: int) -> None:
    labels = ticks.logarithmic(low, low + span, most)
    assert len(labels) <= most + 2
    for place, text in labels:
        assert low - 1e-6 <= place <= low + span + 1e-6
        assert float(text.replace(",", "")) == pytest.approx(10.0**place, rel=0.02)


def test_gaps_part_a_curve() -> None:
    nan = np.nan
    parts = pieces(np.array([[0, nan], [1, 1], [2, 2], [3, nan], [4, 4]]))
    assert [piece[:, 0].tolist() for piece in parts] == [[1, 2], [4]]
    assert list(pieces(np.empty((0, 2)))) == []
