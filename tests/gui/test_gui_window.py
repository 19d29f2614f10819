"""A real window on real runs: open, scrub, pin, compare, replay, find commands, keep the layout."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from l2sim.gui.base import actions, layout, theme
from l2sim.gui.window import dialogs
from l2sim.gui.window.window import Window
from pyqtgraph.Qt import QtCore, QtWidgets
from pytestqt.qtbot import QtBot

Key, Modifier = QtCore.Qt.Key, QtCore.Qt.KeyboardModifier


def test_the_start_page_offers_the_presets_and_the_runs_of_before(
    make_window: Callable[[], Window], digits_run: Path, tmp_path: Path
) -> None:
    first = make_window()
    assert first.start.isVisible() and not first.work.isVisible()
    assert first.start.presets.topLevelItem(0).child(0).text(0) == "digits"
    assert "No runs" in first.start.none.text() and first.start.none.isVisible()
    assert first.open(digits_run) and first.work.isVisible()
    first.close()
    second = make_window()
    assert second.start.recent.topLevelItem(0).text(0) == "digits-1"
    assert second.start.recent.topLevelItem(0).text(1) == "done"
    second.actions_["session"].trigger()
    assert second.model is not None and second.model.folder == digits_run


def test_every_panel_shows_the_same_step_when_scrubbed(opened: Window, qtbot: QtBot) -> None:
    checkpoint = opened.model.checkpoints[1]
    scrubber = opened.timeline.scrubber
    at = QtCore.QPoint(round(scrubber.x_of(checkpoint)), 19)
    qtbot.mouseClick(scrubber, QtCore.Qt.MouseButton.LeftButton, pos=at)
    assert opened.selection.step == checkpoint
    opened.tick(everything=True)
    assert f"step {checkpoint}" in opened.timeline.state.text()
    assert opened.curves.plots[0].chart.step == checkpoint
    assert "checkpoint" in scrubber.said(checkpoint)
    opened.actions_["live"].trigger()
    assert opened.selection.step is None


def test_keys_go_from_frame_to_frame_and_from_block_to_block(opened: Window, qtbot: QtBot) -> None:
    opened.selection.set(layer="fc1", side="u")
    frames = list(opened.model.frames("fc1.u.phases"))
    qtbot.keyClick(opened, Key.Key_Home)
    assert opened.selection.step == frames[0]
    qtbot.keyClick(opened, Key.Key_Right)
    assert opened.selection.step in opened.model.frames("fc1.u.phases") or opened.selection.step > frames[0]
    qtbot.keyClick(opened, Key.Key_End)
    assert opened.selection.step == max(frames[-1], opened.model.frames("fc1.sigma.commanded")[-1])
    before = opened.selection.block
    qtbot.keyClick(opened, Key.Key_BracketRight)
    assert opened.selection.block == before + 1
    qtbot.keyClick(opened, Key.Key_BracketLeft)
    assert opened.selection.block == before
    qtbot.keyClick(opened, Key.Key_W)
    opened.tick(everything=True)
    opened.mesh.setFocus()
    sides = []
    for _ in range(3):
        opened.actions_["side"].trigger()
        sides.append(opened.selection.side)
    assert sorted(sides) == ["sigma", "u", "v"]


def test_a_recorded_run_is_played(opened: Window, qtbot: QtBot) -> None:
    qtbot.keyClick(opened, Key.Key_Space)
    assert opened.timeline.playing and opened.selection.step == 0
    opened.timeline.play(15.0)
    opened.tick(everything=True)
    assert 0 < opened.selection.step < opened.model.newest
    assert "replay" in opened.timeline.state.text()
    opened.timeline.play(30.0)
    assert not opened.timeline.playing and opened.selection.step is None


def test_phases_are_pinned_and_the_difference_is_shown(opened: Window, qtbot: QtBot) -> None:
    opened.selection.set(layer="fc1", side="u", element=3, step=int(opened.model.frames("fc1.u.phases")[0]))
    opened.tick(everything=True)
    qtbot.keyClick(opened, Key.Key_P)
    opened.selection.set(step=None)
    qtbot.keyClick(opened, Key.Key_D)
    opened.tick(everything=True)
    qtbot.keyClick(opened, Key.Key_2)
    opened.tick(everything=True)


def test_two_runs_are_compared_and_parted_again(opened: Window, digits_run: Path, tmp_path: Path) -> None:
    other = tmp_path / "runs" / "digits-7"
    shutil.copytree(digits_run, other)
    opened.runs.look()
    assert opened.compare(other)
    opened.tick(everything=True)
    assert opened.reference is not None and opened.mesh.reference is opened.reference
    assert any(trace.other for trace in opened.curves.plots[0].traces)
    assert "digits-7" in opened.curves.plots[0].legend.text()
    assert opened.runs.end.isVisibleTo(opened.runs)
    opened.actions_["alone"].trigger()
    opened.tick(everything=True)
    assert opened.reference is None and not any(trace.other for trace in opened.curves.plots[0].traces)


def test_a_whole_mesh_opens_too(window: Window, insitu_run: Path) -> None:
    assert window.open(insitu_run)
    window.tick(everything=True)
    assert window.selection.side == ""
    window.actions_["layer"].trigger()
    assert window.selection.layer == list(window.model.layers)[1]
    window.timeline.move(-1)
    window.tick(everything=True)


def test_every_action_has_a_name_a_tip_and_a_way_to_it(opened: Window) -> None:
    keys: dict[str, str] = {}
    for action in opened.actions_:
        assert action.objectName() and action.toolTip() and action.property("accessibleName"), action.text()
        for key in action.shortcuts():
            assert keys.setdefault(key.toString(), action.objectName()) == action.objectName()
    for key in ("Space", ".", "Shift+.", "Shift+Esc", "L", "Left", "Right", "Shift+Left", "Home", "End", "[", "]",
                "Tab", "1", "8", "F", "G", "P", "D", "Ctrl+E", "Ctrl+S", "Ctrl+Z", "Ctrl+Y",
                "Ctrl+Shift+P", "F1"):  # fmt: skip
        assert key in keys, key
        assert f"<b>{key}" in actions.sheet(opened.actions_) or key in actions.sheet(opened.actions_)
    menus = {action.text() for menu in opened.menuBar().actions() for action in menu.menu().actions()}
    assert {action.text() for action in opened.actions_} <= menus


def test_the_palette_finds_and_does(opened: Window, qtbot: QtBot) -> None:
    called: list[str] = []
    palette = actions.Palette(opened, opened.actions_, {"Start preset: digits": lambda: called.append("digits")})
    qtbot.addWidget(palette)
    palette.show()
    qtbot.keyClicks(palette.line, "preset dig")
    assert palette.list.topLevelItemCount() == 1
    qtbot.keyClick(palette.line, Key.Key_Return)
    assert called == ["digits"] and not palette.isVisible()
    opened.actions_["palette"].trigger()
    opened.actions_["keys"].trigger()
    shown = {type(widget) for widget in QtWidgets.QApplication.topLevelWidgets() if widget.isVisible()}
    assert {actions.Palette, actions.Keys} <= shown


def test_go_to_an_mzi_by_its_place(opened: Window, qtbot: QtBot) -> None:
    dialog = dialogs.GoTo(opened)
    qtbot.addWidget(dialog)
    dialog.layer.setCurrentText("fc1")
    dialog.row_.setValue(1)
    dialog.column_.setValue(2)
    dialog.column.setValue(1)
    dialog.rail.setValue(0)
    dialog.do.click()
    assert "column 1 has no MZI at rail 0; it has rails 1, 3" in dialog.said.text()
    dialog.rail.setValue(3)
    dialog.do.click()
    layer = opened.model.layers["fc1"]
    part = layer.parts["u"]
    assert opened.selection.block == layer.q + 2
    assert (part.columns[opened.selection.element], part.rails[opened.selection.element]) == (1, 3)


def test_go_to_an_mzi_by_its_number(opened: Window, qtbot: QtBot) -> None:
    opened.selection.set(side="u")
    qtbot.keyClick(opened.mesh.canvas, Key.Key_G)
    dialog = next(w for w in QtWidgets.QApplication.topLevelWidgets() if isinstance(w, dialogs.GoTo) and w.isVisible())
    last = len(opened.model.layers["fc1"].parts["u"].columns) - 1
    qtbot.keyClicks(dialog.focusWidget(), str(last + 1))
    qtbot.keyClick(dialog.focusWidget(), Key.Key_Return)
    assert dialog.isVisible() and dialog.said.text() == f"there is no MZI {last + 1} in u; it has 0 to {last}"
    assert dialog.mzi.text() == str(last + 1) and opened.selection.element is None
    dialog.mzi.selectAll()
    qtbot.keyClicks(dialog.focusWidget(), "17")
    assert (dialog.column.value(), dialog.rail.value()) == opened_place(opened, 17)
    qtbot.keyClick(dialog.focusWidget(), Key.Key_Return)
    assert not dialog.isVisible() and opened.selection.element == 17


def opened_place(window: Window, number: int) -> tuple[int, int]:
    part = window.model.layers[window.selection.layer].parts["u"]
    return int(part.columns[number]), int(part.rails[number])


def test_space_is_left_to_a_button_that_has_the_focus(opened: Window, qtbot: QtBot) -> None:
    opened.activateWindow()
    button = opened.curves.plots[0].log
    button.setFocus()
    before = button.isChecked()
    qtbot.keyClick(button, Key.Key_Space)
    assert button.isChecked() != before and not opened.timeline.playing


def test_dark_and_light(opened: Window) -> None:
    for name in ("light", "dark"):
        opened.repaint_theme(name)
        opened.tick(everything=True)
        assert theme.now().name == name
        middle = opened.curves.plots[0].chart.grab().toImage().pixelColor(150, 5)
        assert (middle.lightness() > 128) == (name == "light")


def test_a_panel_out_of_sight_is_not_painted(opened: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[set[str]] = []
    opened.docks["Events"].raise_()
    opened.tick(everything=True)
    monkeypatch.setattr(opened.hardware, "refresh", called.append)
    opened.selection.set(step=3)
    opened.tick(everything=True)
    assert called == []
    opened.docks["Hardware"].raise_()
    QtWidgets.QApplication.processEvents()
    opened.tick(everything=True)
    assert len(called) == 1 and "step" in called[0]


def test_the_layout_comes_back_and_is_reset(make_window: Callable[[], Window], digits_run: Path) -> None:
    first = make_window()
    first.open(digits_run)
    first.docks["Matrix"].close()
    first.inner.addDockWidget(QtCore.Qt.DockWidgetArea.LeftDockWidgetArea, first.docks["Events"])
    first.repaint_theme("light")
    first.close()
    second = make_window()
    second.open(digits_run)
    assert theme.now().name == "light"
    assert not second.docks["Matrix"].isVisible()
    assert second.inner.dockWidgetArea(second.docks["Events"]) == QtCore.Qt.DockWidgetArea.LeftDockWidgetArea
    second.actions_["reset"].trigger()
    assert second.docks["Matrix"].isVisibleTo(second.inner)
    assert second.inner.dockWidgetArea(second.docks["Events"]) == QtCore.Qt.DockWidgetArea.RightDockWidgetArea
    second.repaint_theme("dark")


@pytest.mark.parametrize("damage", ("{", "[]", '{"format": "l2sim-layout", "version": 99}', '{"docks": 3}', "\x00"))
def test_a_corrupt_layout_file_is_one_line_and_a_whole_window(make_window: Callable[[], Window], damage: str) -> None:
    path = layout.folder() / "window.json"
    path.parent.mkdir(parents=True)
    path.write_text(damage)
    window = make_window()
    assert window.message.isVisible()
    text = window.message.text.text()
    assert str(path) in text and "the layout starts anew" in text and "\n" not in text
    assert window.message.offers == ["Reset layout"]
    window.close()
    assert json.loads(path.read_text())["version"] == layout.VERSION
    assert not make_window().message.isVisible()


def test_damaged_docks_and_a_backup(make_window: Callable[[], Window]) -> None:
    first = make_window()
    first.close()
    first = make_window()
    first.close()
    path = layout.folder() / "window.json"
    values = json.loads(path.read_text())
    assert path.with_suffix(".json.bak").exists()
    path.write_text("torn")
    second = make_window()
    assert "its backup was used" in second.message.text.text()
    second.close()
    path.write_text(json.dumps(values | {"docks": "bm9uc2Vuc2U=", "recent": 3, "theme": 7}))
    third = make_window()
    assert "the kept docks cannot be used" in third.message.text.text()
    assert third.kept.recent == [] and theme.now().name == "dark"


def test_the_window_takes_no_picture_of_a_run_that_is_not_there(window: Window, tmp_path: Path) -> None:
    assert not window.open(tmp_path / "nowhere")
    assert window.start.isVisible()
    assert "not a run folder" in window.message.text.text()


def test_steps_of_a_run_are_all_reachable_by_the_scrubber(opened: Window) -> None:
    scrubber = opened.timeline.scrubber
    steps = {scrubber.step_at(x) for x in np.arange(0.0, scrubber.width())}
    assert steps == set(range(opened.model.newest + 1))
