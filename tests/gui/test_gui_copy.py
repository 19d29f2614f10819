"""Ctrl+C on every list, table and tree of the window: rows with heads, as a spreadsheet takes them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from l2sim.gui.base.actions import Palette
from l2sim.gui.window.window import Window
from pyqtgraph.Qt import QtCore, QtWidgets
from pytestqt.qtbot import QtBot

Button, Key, Modifier = QtCore.Qt.MouseButton, QtCore.Qt.Key, QtCore.Qt.KeyboardModifier
View = QtWidgets.QAbstractItemView


def copied(qtbot: QtBot, view: View) -> list[list[str]]:
    """What Ctrl+C in a view puts into the clipboard, by lines and cells."""
    QtWidgets.QApplication.clipboard().setText("what was there before")
    qtbot.keyClick(view, Key.Key_C, Modifier.ControlModifier)
    return [line.split("\t") for line in QtWidgets.QApplication.clipboard().text().split("\n")]


def click(qtbot: QtBot, view: View, row: int, held: QtCore.Qt.KeyboardModifier = Modifier.NoModifier) -> None:
    """A real click on a row of a view without branches."""
    at = view.visualRect(view.model().index(row, 0)).center()
    qtbot.mouseClick(view.viewport(), Button.LeftButton, held, at)


def views(window: Window) -> Iterator[View]:
    """Every list, table and tree of the window, but those that drop down from boxes."""
    for view in window.findChildren(View):
        above = view
        while above is not None and not isinstance(above, QtWidgets.QComboBox):
            above = above.parentWidget()
        if above is None and not isinstance(view, QtWidgets.QHeaderView):
            yield view


def test_every_list_of_the_window_is_copied_whole(opened: Window, qtbot: QtBot, digits_run: Path) -> None:
    opened.compare(digits_run)
    opened.edit("digits")
    Palette(opened, opened.actions_, {}).show()
    opened.tick(everything=True)
    seen: set[str] = set()
    for view in views(opened):
        view.clearSelection()
        lines = copied(qtbot, view)
        name = view.accessibleName()
        assert lines != [["what was there before"]], name
        assert len({len(line) for line in lines}) == 1 or view.model().rowCount() == 0, name
        seen.add(name)
    assert {
        "Events of the run", "Runs", "Runs of before", "Presets", "Difference of the jobs", "Sections of the job",
        "What is wrong with the run", "Heaters of the block on show",
    } <= seen  # fmt: skip


def test_events_that_are_chosen_are_copied_with_heads(opened: Window, qtbot: QtBot) -> None:
    opened.docks["Events"].raise_()
    view, rows = opened.events.view, opened.events.table()[1]
    whole = copied(qtbot, view)
    assert whole[0] == ["step", "what", "said"] and len(whole) == len(rows) + 1
    assert [line[2] for line in whole[1:]] == [str(row[2]) for row in rows]
    click(qtbot, view, 1)
    click(qtbot, view, 2, Modifier.ShiftModifier)
    assert copied(qtbot, view) == [whole[0], *whole[2:4]]


def test_differences_of_jobs_are_copied(opened: Window, qtbot: QtBot, digits_run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(digits_run, tmp_path / "other-1"))
    text = (other / "job.toml").read_text()
    seed = opened.model.job.seed
    assert text.count(f"\nseed = {seed}\n") == 1
    (other / "job.toml").write_text(text.replace(f"\nseed = {seed}\n", f"\nseed = {seed + 5}\n"))
    assert opened.compare(other)
    opened.docks["Compare"].raise_()
    lines = copied(qtbot, opened.comparison.jobs)
    assert lines == [["field", digits_run.name, "other-1"], ["seed", str(seed), str(seed + 5)]]


def test_runs_are_copied_one_several_or_all(opened: Window, qtbot: QtBot, digits_run: Path, insitu_run: Path) -> None:
    opened.runs.recent = [digits_run, insitu_run]
    opened.runs.look()
    opened.docks["Runs"].raise_()
    view = opened.runs.list
    assert copied(qtbot, view)[0] == ["run", "state", "accuracy", "begun"]
    names = {digits_run.name, insitu_run.name}
    assert {line[0] for line in copied(qtbot, view)[1:]} >= names
    click(qtbot, view, 1)
    one = copied(qtbot, view)
    assert len(one) == 2 and one[1][0] == view.topLevelItem(1).text(0)
    click(qtbot, view, 0, Modifier.ControlModifier)
    assert len(copied(qtbot, view)) == 3


def test_of_a_tree_what_is_unfolded_is_copied(window: Window, qtbot: QtBot) -> None:
    tree = window.start.presets
    groups = [tree.topLevelItem(i) for i in range(tree.topLevelItemCount())]
    tree.clearSelection()
    for group in groups:
        group.setExpanded(False)
    shut = copied(qtbot, tree)
    assert [line[0] for line in shut] == ["preset", *(group.text(0) for group in groups if not group.isHidden())]
    groups[0].setExpanded(True)
    assert len(copied(qtbot, tree)) == len(shut) + groups[0].childCount()
    qtbot.keyClicks(window.start.search, "insitu-moons")
    tree.clearSelection()
    assert [line[0] for line in copied(qtbot, tree) if line[1]][1:] == ["insitu-moons"]


@pytest.mark.parametrize("text", ("two\nlines", "a\ttab"))
def test_a_cell_stays_a_cell(window: Window, qtbot: QtBot, text: str) -> None:
    tree = window.start.recent
    tree.clear()
    tree.addTopLevelItem(QtWidgets.QTreeWidgetItem([text, "done", "", ""]))
    assert copied(qtbot, tree) == [["run", "state", "accuracy", "begun"], [text.replace("\n", " ").replace("\t", " "),
                                                                          "done", "", ""]]  # fmt: skip
