"""Curves of any length: what is drawn is what was recorded, by a few thousand points."""

from __future__ import annotations

import numpy as np
import pytest
from doubles_gui import FakeModel
from hypothesis import given, settings
from hypothesis import strategies as st
from l2sim.gui import quantities
from l2sim.gui.curves import Curves
from l2sim.gui.envelope import BASE, Envelope, Smooth
from l2sim.gui.model import Selection


def grown(values: np.ndarray, pieces: int) -> Envelope:
    it = Envelope()
    for end in np.linspace(0, len(values), pieces + 1).astype(int)[1:]:
        it.extend(values[:end])
    return it


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 20_000), st.integers(1, 9), st.integers(0, 99), st.integers(5, 300))
def test_nothing_between_the_lines_is_lost(count: int, pieces: int, seed: int, columns: int) -> None:
    draw = np.random.default_rng(seed)
    values, steps = draw.standard_normal(count), np.cumsum(draw.integers(1, 4, count)).astype(float)
    first, last = sorted(draw.integers(0, count + 1, 2))
    it = grown(values, pieces)
    x, y = it.draw(steps, values, first, last, columns)
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
    it = grown(values, 3)
    assert it.lost == 3
    _, y = it.draw(np.arange(10_000.0), values, 0, 10_000, 100)
    assert np.nanmax(np.abs(y)) <= 1
    _, y = it.draw(np.arange(10_000.0), values, 0, 50, 100)
    assert np.isnan(y[5])


@settings(deadline=None)
@given(st.integers(0, 99), st.floats(0, 0.999))
def test_the_average_is_the_weighted_sum_it_says(seed: int, memory: float) -> None:
    values = np.random.default_rng(seed).standard_normal(60)
    values[::7] = np.nan
    it = Smooth(memory)
    it.extend(values[:20])
    it.extend(values)
    for n in (0, 1, 8, 59):
        good = np.isfinite(values[: n + 1])
        weights = memory ** np.arange(good.sum())[::-1]
        wanted = (weights * values[: n + 1][good]).sum() / weights.sum() if good.any() else np.nan
        assert it.values[n] == pytest.approx(wanted, nan_ok=True)


def test_series_are_drawn_with_their_like() -> None:
    series = ["learn/loss", "learn/test_loss", "map/loss", "map/test_loss", "learn/accuracy", "learn/strange"]
    found = {quantity.title: quantities.matching(quantity, series) for quantity in quantities.present(series)}
    assert found == {
        "Loss (nat)": ["learn/loss", "learn/test_loss", "map/test_loss"],
        "Accuracy (0 to 1)": ["learn/accuracy"],
        "Search loss (map)": ["map/loss"],
        "strange": ["learn/strange"],
    }
    assert [q.title for q in quantities.leading("map", series)] == ["Search loss (map)", "Loss (nat)"]
    assert [q.title for q in quantities.leading("learn", series)] == ["Loss (nat)", "Accuracy (0 to 1)"]


@pytest.fixture
def curves(qtbot) -> Curves:
    panel = Curves(Selection())
    qtbot.addWidget(panel)
    panel.resize(700, 300)
    panel.show()
    model = FakeModel(steps=500)
    panel.show_run(model)
    panel.refresh({"all"})
    return panel


def test_curves_show_the_value_at_the_step_selected(curves: Curves) -> None:
    curves.selection.set(step=120)
    curves.refresh({"step"})
    upper = curves.plots[0]
    assert upper.quantity is not None and upper.quantity.title == "Loss (nat)"
    assert f"{upper.traces[0].at(120):.4g}" in upper.legend.text()
    assert upper.line.value() == 120
    curves.selection.set(step=130)
    curves.refresh({"step"})
    assert upper.line.value() == 130


def test_curves_grow_with_the_run_and_compare(curves: Curves) -> None:
    curves.model.tick()
    curves.refresh({"scalars"})
    curves.refresh({"scalars"})
    assert curves.plots[0].traces[0].raw.done == 501
    curves.show_run(curves.model, FakeModel(steps=900))
    assert [trace.other for trace in curves.plots[0].traces] == [False, True]
    assert "fake-1" in curves.plots[0].legend.text()
    _, high = curves.plots[0].box.viewRange()[0]
    assert high >= 900


def test_a_click_goes_to_a_step_and_zooming_stays(curves: Curves) -> None:
    curves.go(33.4)
    assert curves.selection.step == 33
    curves.go(1e9)
    assert curves.selection.step == curves.model.newest
    curves.leave()
    curves.plots[0].box.setXRange(100, 200, padding=0)
    curves.model.tick()
    curves.refresh({"scalars"})
    curves.refresh({"scalars"})
    assert curves.plots[0].box.viewRange()[0] == pytest.approx([100, 200])
    curves.follow()
    assert curves.plots[0].box.viewRange()[0][1] >= 500


def test_the_table_has_every_point_and_its_average(curves: Curves) -> None:
    heads, rows = curves.table()
    rows = list(rows)
    assert len(heads) == 6 and len(rows) == 2 * 500
    steps = [row[2] for row in rows if row[0] == "learn/loss"]
    assert steps == list(range(1, 501))
    assert rows[0][4] == pytest.approx(curves.model.scalar("learn/loss").values[0])


def test_a_run_without_scalars_says_so(qtbot) -> None:
    panel = Curves(Selection())
    qtbot.addWidget(panel)
    panel.show_run(None)
    panel.refresh({"all"})
    assert panel._empty.isVisibleTo(panel)
    assert panel.plots[0].legend.text() == "no values here yet"
