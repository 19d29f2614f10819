"""Runs beside each other in a real window: asked for by a click, refused in a line, drawn at the same epoch."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from l2sim.gui.panels.comparison.compare import Compare
from l2sim.gui.window.window import Window
from pyqtgraph.Qt import QtCore, QtWidgets
from pytestqt.qtbot import QtBot

from l2sim.job.job import Job
from l2sim.runs.execute import execute

Key, Left = QtCore.Qt.Key, QtCore.Qt.MouseButton.LeftButton
NOISE = "nonidealities.readout_noise"
RUNS = {
    "first": {"learn.epochs": 3},
    "noisy": {"learn.epochs": 3, NOISE: 0.2},
    "large": {"learn.epochs": 3, "learn.batch": 10},
    "rings": {"learn.epochs": 1, "data.name": "ring"},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    for name, changes in RUNS.items():
        for _ in execute(Job.preset("insitu-moons", changes), folder / name, page=False):
            pass
    return folder


@pytest.fixture
def first(window: Window, made: Path, tmp_path: Path) -> Window:
    """A window with the first of these runs, and all of them in its list."""
    shutil.copytree(made, tmp_path / "runs")
    assert window.open(tmp_path / "runs" / "first")
    window.docks["Runs"].raise_()
    window.docks["Compare"].raise_()
    window.tick(everything=True)
    return window


def press(qtbot: QtBot, window: Window, name: str) -> None:
    """Mark a run in the list and press Compare."""
    runs = window.runs
    item = runs.list.findItems(name, QtCore.Qt.MatchFlag.MatchExactly)[0]
    qtbot.mouseClick(runs.list.viewport(), Left, pos=runs.list.visualItemRect(item).center())
    button = next(one for one in runs.findChildren(QtWidgets.QPushButton) if one.text() == "Compare")
    qtbot.mouseClick(button, Left)
    window.tick(everything=True)


def turn(qtbot: QtBot, panel: Compare, page: str) -> None:
    """Press the tab of a page."""
    bar = panel.pages.tabBar()
    place = next(i for i in range(bar.count()) if bar.tabText(i) == page)
    qtbot.mouseClick(bar, Left, pos=bar.tabRect(place).center())
    assert panel.pages.tabText(panel.pages.currentIndex()) == page


def test_three_runs_with_the_difference_of_their_jobs_on_top(first: Window, qtbot: QtBot) -> None:
    press(qtbot, first, "noisy")
    press(qtbot, first, "large")
    panel = first.comparison
    assert [run.folder.name for run in panel.others] == ["noisy", "large"]
    head, rows = panel.table()
    table = {row[0]: row[1:] for row in rows}
    assert head == ["field", "first", "noisy", "large"]
    assert set(table) == {NOISE, "learn.batch"} and table[NOISE][1] == "0.2" and table["learn.batch"][2] == "10"
    shown = panel.jobs.findItems(NOISE, QtCore.Qt.MatchFlag.MatchExactly)[0]
    assert [shown.text(i) for i in range(4)] == [NOISE, *table[NOISE]]
    assert all(name in panel.curves.legend.text() for name in ("first", "noisy", "large"))
    out = next(b for b in panel.findChildren(QtWidgets.QToolButton) if b.text() == "×" and "noisy" in b.toolTip())
    qtbot.mouseClick(out, Left)
    first.tick(everything=True)
    assert [run.folder.name for run in panel.others] == ["large"] and "noisy" not in panel.curves.legend.text()
    end = first.runs.end
    qtbot.mouseClick(end, Left)
    assert panel.others == [] and panel.table() is None and not end.isVisibleTo(first.runs)


def test_runs_lie_at_the_same_epoch_and_not_at_the_same_step(first: Window, qtbot: QtBot) -> None:
    """With smaller batches an epoch has more steps: the second epoch of one lies over the second of the other."""
    press(qtbot, first, "large")
    panel, other = first.comparison, first.others[0]
    ends = [[event.step for event in run.events if type(event).__name__ == "EpochEnd" and event.stage == "learn"]
            for run in (first.model, other)]  # fmt: skip
    assert ends[0][1] != ends[1][1]
    first.show_step(ends[0][1])
    assert f"large step {ends[1][1]:,}" in panel.said.text()
    drawn = [line for line in panel.curves.chart.lines if len(line.x)]
    last = {line.colour: float(np.nanmax(line.x)) for line in drawn}
    assert len(last) == 2
    assert len({round(end, 6) for end in last.values()}) == 1
    panel.along.setFocus()
    qtbot.keyClick(panel.along, Key.Key_Down)
    assert panel.along.currentText() == "stage" and panel.curves.chart.measure == "stages"


def test_a_run_of_other_data_is_refused_in_a_line(first: Window, qtbot: QtBot) -> None:
    press(qtbot, first, "rings")
    assert first.others == []
    assert first.message.text.text() == "Problem: rings cannot be compared: it learns ring, this run moons"


def test_a_run_is_compared_once(first: Window, qtbot: QtBot) -> None:
    press(qtbot, first, "noisy")
    press(qtbot, first, "noisy")
    assert len(first.others) == 1 and "compared already" in first.message.text.text()


def test_gradients_of_all_runs_with_their_cosines(first: Window, qtbot: QtBot) -> None:
    press(qtbot, first, "noisy")
    panel = first.comparison
    turn(qtbot, panel, "Gradients")
    words = [text for _, _, text in panel.gradients.legend.entries]
    assert words[0].startswith("first cosine ") and words[1].startswith("noisy cosine ")
    cosines = [float(text.split()[2]) for text in words]
    assert all(0 < cosine <= 1 for cosine in cosines) and cosines[0] != cosines[1]
    dots = [trace for trace in panel.gradients.plot.traces if trace.how == "dots"]
    assert len(dots) == 2 and len(dots[0].x) > 4
    first.show_step(0)
    assert "no gradients" in panel.gradients.legend.text()


def test_light_of_all_runs_side_by_side(first: Window, qtbot: QtBot) -> None:
    press(qtbot, first, "noisy")
    panel = first.comparison
    turn(qtbot, panel, "Light")
    assert [name for name, _ in panel.light.maps] == ["first", "noisy"] and panel.light.kinds == ["forward"]
    powers = [power["forward"] for _, power in panel.light.maps]
    assert powers[0].shape == powers[1].shape and not np.array_equal(*powers)
    image = panel.light.grab().toImage()
    assert len({image.pixelColor(x, image.height() // 2).name() for x in range(66, image.width(), 3)}) > 4
