"""Traces: a picture MZI by step, whose clicks go to both, and which is read a little at a time."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from l2sim.gui.base.model import RunModel, Selection
from l2sim.gui.mesh import colours
from l2sim.gui.mesh.colours import PHASE
from l2sim.gui.mesh.history import recorded
from l2sim.gui.mesh.values import began, turned
from l2sim.gui.panels.phases import sampled as reading
from l2sim.gui.panels.phases.sampled import COLUMNS, Sampled
from l2sim.gui.panels.phases.traces import PHASES, Traces
from l2sim.gui.window.window import Window
from pyqtgraph.Qt import QtCore, QtWidgets
from pytestqt.qtbot import QtBot

from tests.doubles_gui import FakeModel
from tests.gui.test_gui_mesh import move
from tests.gui.test_gui_panels import shown

Key, Left = QtCore.Qt.Key, QtCore.Qt.MouseButton.LeftButton


def read(panel: Traces) -> Traces:
    """The panel when it has read all."""
    while panel.sampled.pending:
        panel.refresh(set())
    return panel


def traces_of(qtbot: QtBot, model: FakeModel | RunModel, size: tuple[int, int] = (700, 420)) -> Traces:
    return read(shown(qtbot, Traces, model, Selection(), size))


def at(panel: Traces, row: int, column: int) -> QtCore.QPoint:
    """A pixel of a cell: the first row of pixels of its line."""
    picture, groups = panel.picture, panel.picture.groups()
    first = groups[np.searchsorted(groups, row, side="right") - 1]
    return QtCore.QPoint(int(picture.x(column + 0.5)), int(np.ceil(picture.y(first) + 1e-6)))


def front(window: Window) -> Traces:
    window.docks["Traces"].raise_()
    for _ in range(2):
        QtWidgets.QApplication.processEvents()
        window.tick(everything=True)
    return read(window.panel(Traces))


def test_every_row_and_column_is_what_the_run_recorded(opened: Window) -> None:
    panel, model, here = front(opened), opened.model, opened.selection
    steps = recorded(model, model.layers[here.layer])
    assert panel.sampled.steps.tolist() == steps.tolist() and panel.sampled.stride == 1
    for column in (0, len(steps) // 2, len(steps) - 1):
        step = int(steps[column])
        since = began(model, steps, step)
        for row in (0, 7, len(panel.rows) - 1):
            side, element = panel.rows[row]
            now, then = (model.phases(here.layer, here.block, side, s)["theta"][element] for s in (step, since))
            assert panel.picture.table[column, row] == pytest.approx(float(turned(now - then)), abs=1e-6)
    panel.quantity.setCurrentText(PHASES)
    now = model.phases(here.layer, here.block, "v", int(steps[3]))["theta"]
    np.testing.assert_array_equal(panel.picture.table[3, : len(now)], now)
    assert panel.legend.scale == PHASE and panel.legend.badge == "commanded"
    heads, rows = panel.table()
    assert len(rows) == len(panel.rows) and len(heads) == len(rows[0]) == 2 + len(steps)


def test_what_was_read_before_a_resume_is_read_again(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel(steps=60)
    panel = traces_of(qtbot, model)
    panel.quantity.setCurrentText(PHASES)
    before, whole = read(panel).picture.table.copy(), model.frame
    monkeypatch.setattr(model, "frame", lambda *place: whole(*place)._replace(values=whole(*place).values + 1.0))
    panel.refresh({"frames"})
    np.testing.assert_array_equal(read(panel).picture.table, before)  # what was read is not read again
    model.resumed += 1
    panel.refresh({"frames"})
    np.testing.assert_allclose(read(panel).picture.table, before + 1.0, rtol=1e-5)


def test_a_click_goes_to_step_and_mzi_and_both_are_marked(opened: Window, qtbot: QtBot) -> None:
    panel = front(opened)
    qtbot.mouseClick(panel.picture, Left, pos=at(panel, 40, 2))
    opened.tick(everything=True)
    here = opened.selection
    assert here.step == int(panel.sampled.steps[2]) and (here.side, here.element) == panel.rows[40]
    assert (panel.picture.row, panel.picture.at) == (40, 2)
    qtbot.keyClick(panel.picture, Key.Key_Down)
    opened.tick(everything=True)
    assert (here.side, here.element) == panel.rows[41] and here.step == int(panel.sampled.steps[2])
    panel.picture.setFocus()
    qtbot.keyClick(panel.picture, Key.Key_Right)  # a frame forward, as everywhere
    opened.tick(everything=True)
    assert here.step > panel.sampled.steps[2] and panel.picture.at == 3
    move(panel.picture, at(panel, 41, 3))
    row, _ = panel.picture.cell(QtCore.QPointF(at(panel, 41, 3)))  # in a small panel several share a line
    side, element = panel.rows[row]
    assert f"{'V*' if side == 'v' else 'U'} θ of MZI {element}" in panel.said.text()
    assert f"{panel.picture.table[3, row]:+.4f} rad since the stage began" in panel.said.text()


def test_stages_begin_where_their_first_frame_is(opened: Window) -> None:
    panel, model = front(opened), opened.model
    names = [name for name, _ in panel.picture.stages]
    assert names == [n for n in ("deploy", "calibrate", "map", "learn") if n in names] and len(names) >= 3
    for name, column in panel.picture.stages:
        assert model.stage_at(int(panel.sampled.steps[int(column)])) == name


def test_a_heater_led_astray_is_a_line_that_stands_out(qtbot: QtBot) -> None:
    class Astray(FakeModel):
        def frame(self, series: str, step: int | None = None):  # type: ignore[no-untyped-def]
            frame = super().frame(series, 1)
            values = frame.values.copy()
            if series.startswith("fc1.u") and step is not None:
                values[0, 4] += max(0, step - 120) / 40
            return frame._replace(step=step or self.newest, values=values)

    panel = traces_of(qtbot, Astray())
    row = panel.rows.index(("u", 4))
    image, now = panel.picture.image(), panel.picture.groups()
    line = int(np.searchsorted(now, row, side="right")) - 1
    differs = (image != image[:, :1]).any(axis=1)
    assert differs[line] and differs.sum() == 1
    assert panel.picture.cell(QtCore.QPointF(at(panel, row, 150))) == (row, 150)


def test_where_rows_are_finer_than_pixels_the_one_that_moved_farthest_is_drawn_and_picked(qtbot: QtBot) -> None:
    class One(FakeModel):
        def frame(self, series: str, step: int | None = None):  # type: ignore[no-untyped-def]
            frame = super().frame(series, 1)
            values = frame.values.copy()
            if (step or 0) > 150 and "theta" in series:
                values[777] -= 1.0
            return frame._replace(step=step or self.newest, values=values)

    panel = traces_of(qtbot, One(mesh=64))
    groups = panel.picture.groups()
    assert len(groups) < len(panel.rows) == 2016 and "share a line" in panel.said.text()
    qtbot.mouseClick(panel.picture, Left, pos=at(panel, 777, 180))
    assert panel.selection.element == 777 and panel.selection.step == 181
    panel.kind.setCurrentIndex(1)
    assert not read(panel).picture.table.any()  # phi has not moved


def test_what_is_no_number_is_hatched_and_counted(qtbot: QtBot) -> None:
    class Lost(FakeModel):
        def frame(self, series: str, step: int | None = None):  # type: ignore[no-untyped-def]
            frame = super().frame(series, step)
            if series.startswith("fc1.v") and step == 30:
                frame.values[0, 2] = np.nan
            return frame

    panel = traces_of(qtbot, Lost())
    assert panel.legend.wrong == 1
    line = int(np.searchsorted(panel.picture.groups(), panel.rows.index(("v", 2)), side="right")) - 1
    assert panel.picture.image()[line, 29] == colours.HATCH["dark"]


def test_a_long_run_is_sampled_and_what_was_read_is_kept(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BUDGET", 1e9)
    model, taken = FakeModel(mesh=4, steps=COLUMNS), []
    sampled = Sampled()
    take = Sampled._take
    monkeypatch.setattr(Sampled, "_take", lambda self, *one: (taken.append(one[1]), take(self, *one)))
    sampled.of(model, "mesh0", 0, "theta")  # type: ignore[arg-type]
    sampled.look()
    assert len(sampled.steps) == COLUMNS and sampled.stride == 1 and len(taken) == COLUMNS
    model.tick()
    sampled.look()
    assert sampled.stride == 2 and sampled.steps[-1] == COLUMNS + 1 and len(taken) == COLUMNS + 1
    assert sampled.steps[0] == 2 and sampled.column(3) == 1 and sampled.column(COLUMNS + 1) == COLUMNS // 2
    values = sampled.values(False)
    np.testing.assert_allclose(values[1], model.frame("mesh0.theta.phases", 4).values, atol=1e-6)


def test_a_mesh_of_64_modes_with_thousands_of_frames_stays_within_the_budget(qtbot: QtBot) -> None:
    """50 ms of processor for every refresh, while it is read and after."""
    model = FakeModel(mesh=64, steps=5000)
    panel = shown(qtbot, Traces, model, Selection(), (800, 300))
    spent, looks = [], 0
    while panel.sampled.pending or looks < 5:
        begin = time.thread_time()
        panel.refresh({"frames"})
        spent.append(time.thread_time() - begin)
        looks += 1
    assert len(panel.sampled.steps) > COLUMNS // 2
    assert float(np.median(spent)) < 0.05


def test_a_run_without_phases_says_so(qtbot: QtBot, digits_run: Path) -> None:
    panel = shown(qtbot, Traces, None)
    assert panel.picture.note == "No run is open." and panel.table() is None
    panel = shown(qtbot, Traces, FakeModel(steps=0))
    assert "Nothing has been commanded yet" in panel.picture.note and not panel.grab().isNull()
