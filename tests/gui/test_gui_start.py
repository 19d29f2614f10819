"""The first minute: cards, presets that are searched, runs that come while the page is open, the headline, and what a
panel is. Clicked and typed as a person does; what is read is what is shown."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from l2sim.gui.base.model import open_run
from l2sim.gui.mesh import values
from l2sim.gui.mesh.history import History
from l2sim.gui.window.first import examples
from l2sim.gui.window.window import Window
from pyqtgraph.Qt import QtCore, QtWidgets
from pytestqt.qtbot import QtBot

from l2sim.job.presets import PRESETS

LEFT = QtCore.Qt.MouseButton.LeftButton
SHIPPED_KB = 300
"""What the three runs may weigh together."""


def shown(tree: QtWidgets.QTreeWidget) -> Iterator[str]:
    """The rows that are seen, opened groups included."""
    item = tree.topLevelItem(0)
    while item is not None:
        if not item.isHidden():
            yield item.text(0)
        item = tree.itemBelow(item)


def click_card(window: Window, qtbot: QtBot, title: str) -> None:
    card = next(card for card in window.start.cards if card.accessibleName() == title)
    qtbot.mouseClick(card, LEFT)
    window.tick(everything=True)


def settle(window: Window) -> None:
    QtWidgets.QApplication.processEvents()
    window.tick(everything=True)
    QtWidgets.QApplication.processEvents()


# -- cards -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", examples.EXAMPLES, ids=lambda example: example.name)
def test_a_card_opens_its_run_at_once_and_says_what_to_do(
    window: Window, qtbot: QtBot, example: examples.Example
) -> None:
    click_card(window, qtbot, example.title)
    assert window.work.isVisible() and window.model is not None and window.model.state == "done"
    assert window.strip.name.text() == example.name
    assert window.strip.accuracy.text().endswith(" %") and float(window.strip.accuracy.text()[:-2]) > 60
    assert window.message.isVisible() and window.message.text.text() == example.hint
    assert window.mesh.painted is not None and window.mesh.painted.values
    assert examples.SHIPPED not in window.model.folder.parents


def test_an_example_is_a_copy_that_nobody_is_offered_again(window: Window, qtbot: QtBot) -> None:
    before = {path: path.read_bytes() for path in examples.SHIPPED.iterdir()}
    click_card(window, qtbot, "Learn in situ")
    window.crash(RuntimeError("on purpose"))
    assert window.model is not None and (window.model.folder / "gui-crash.log").exists()
    assert {path: path.read_bytes() for path in examples.SHIPPED.iterdir()} == before
    window.crashed = ""  # it was on purpose
    window.keep()
    assert window.kept.recent == [] and window.kept.text("session") == ""


def test_the_cards_are_drawn_for_both_themes(window: Window) -> None:
    pictures = {}
    for theme in ("dark", "light"):
        window.repaint_theme(theme)
        settle(window)
        card = window.start.cards[0]
        pictures[theme] = card.picture.pixmap().toImage()
        assert card.rect().contains(card.picture.geometry())
        assert all(card.height() == window.start.cards[0].height() for card in window.start.cards)
    assert pictures["dark"].pixelColor(1, 1).lightness() < 80 < 200 < pictures["light"].pixelColor(1, 1).lightness()


def test_an_example_that_is_missing_is_one_line(
    window: Window, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(examples, "SHIPPED", tmp_path)
    monkeypatch.setattr(examples, "_copies", [])
    click_card(window, qtbot, "Learn in situ")
    assert window.start.isVisible() and "cannot be unpacked" in window.message.text.text()


def test_what_ships_is_small_and_one_heater_is_dead() -> None:
    assert sum(path.stat().st_size for path in examples.SHIPPED.glob("*.tar.xz")) < SHIPPED_KB * 1000
    model = open_run(examples.unpack("broken-heater"))
    model.poll()
    dead = [
        (block, side, int(i))
        for name, layer in model.layers.items()
        for block in range(layer.p * layer.q)
        for side in layer.parts
        for i in np.flatnonzero((model.oracle(name, block, side) or {})["dead"]["theta"])
    ]
    assert len(dead) == 1
    step = model.newest
    errors = [e for e in (model.metric("fc1", "oracle_mapping_error", step),) if e is not None]
    assert errors and int(np.nanargmax(errors[0])) == dead[0][0]
    model.close()


def test_the_broken_heater_is_reached_from_its_card_by_two_keys(window: Window, qtbot: QtBot) -> None:
    click_card(window, qtbot, "Find the broken heater")
    qtbot.keyClick(window, QtCore.Qt.Key.Key_W)
    settle(window)
    assert "does not obey" in window.mesh.said.text() and "dead" in window.mesh.said.text()


# -- presets and runs --------------------------------------------------------------------------------------------------


def test_presets_come_in_groups_and_are_searched_by_typing(window: Window, qtbot: QtBot) -> None:
    rows = list(shown(window.start.presets))
    assert len(rows) < 15 < len(PRESETS) and "digits" in rows
    qtbot.keyClicks(window.start.search, "vgg8 svhn")
    found = [name for name in shown(window.start.presets) if name in PRESETS]
    assert found and all("vgg8" in name and "svhn" in name for name in found)
    assert window.start.presets.currentItem().text(0) == found[0]
    window.start.search.clear()
    assert list(shown(window.start.presets)) == rows
    qtbot.keyClicks(window.start.search, "no such words")
    assert list(shown(window.start.presets)) == [] and window.start.presets.currentItem() is None


def test_every_preset_is_listed_once(window: Window) -> None:
    window.start.presets.expandAll()
    names = [name for name in shown(window.start.presets) if name in PRESETS]
    assert sorted(names) == sorted(PRESETS)


def test_a_run_that_comes_while_the_page_is_open_is_listed_and_the_mark_stays(
    make_window: Callable[[], Window], digits_run: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    shutil.copytree(digits_run, tmp_path / "runs" / "digits-1")
    window = make_window()
    list_ = window.start.recent
    assert list_.topLevelItemCount() == 1 and list_.currentItem().text(0) == "digits-1"
    shutil.copytree(digits_run, tmp_path / "runs" / "digits-2")
    qtbot.waitUntil(lambda: list_.topLevelItemCount() == 2, timeout=10_000)
    assert list_.currentItem().text(0) == "digits-1"


# -- headline ----------------------------------------------------------------------------------------------------------


def test_the_headline_says_run_stage_epoch_and_accuracy_of_the_step_on_show(opened: Window) -> None:
    model, strip = opened.model, opened.strip
    assert strip.isVisible() and strip.name.text() == model.folder.name
    for number, stage in enumerate(model.stages, 1):
        opened.selection.set(step=stage.last_step)
        settle(opened)
        assert strip.place.text() == f"{number} of 5 {stage.name}, epoch {stage.epochs} of {stage.epochs}"
    curve = model.scalar("learn/test_accuracy")
    opened.selection.set(step=int(curve.steps[-1]))
    settle(opened)
    assert strip.accuracy.text() == f"{100 * curve.values[-1]:.1f} %"
    opened.selection.set(step=1)
    settle(opened)
    assert strip.place.text().startswith("1 of 5 pretrain, epoch 1 of") and strip.accuracy.text() == ""


def test_while_weights_train_electronically_the_mesh_shows_heaters_that_are_off(opened: Window) -> None:
    opened.selection.set(step=1)
    settle(opened)
    painted = opened.mesh.painted
    assert painted.note == "" and not painted.phases
    assert set(painted.values) == {("u", "theta"), ("v", "theta")}
    assert all(not phases.any() for phases in painted.values.values())
    assert "heater is off" in opened.mesh.canvas.aside and "electronically" in opened.mesh.canvas.aside
    opened.selection.set(step=None)
    settle(opened)
    assert opened.mesh.canvas.aside == "" and opened.mesh.painted.phases


@pytest.mark.parametrize("mode", range(len(values.MODES)))
def test_every_way_of_colouring_shows_the_chip_before_it_is_commanded(digits_run: Path, mode: int) -> None:
    model = open_run(digits_run)
    model.poll()
    out = values.show(model, values.Request(next(iter(model.layers)), 0, 1, mode), History())
    assert out.aside and out.values and not out.note
    model.close()


# -- messages and what a panel is --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ("short", "a long line about a job " * 30))
def test_a_message_moves_no_panel(opened: Window, text: str) -> None:
    def places() -> list[QtCore.QRect]:
        return [QtCore.QRect(panel.mapTo(opened, QtCore.QPoint(0, 0)), panel.size()) for panel in opened.panels]

    opened.message.hide()
    settle(opened)
    before = places()
    opened.message.say(text, Do_it=lambda: None)
    settle(opened)
    line = opened.message
    assert line.isVisible() and places() == before
    assert line.height() >= line.text.y() + line.text.heightForWidth(line.text.width())
    right = opened.strip.accuracy.mapTo(opened, QtCore.QPoint(opened.strip.accuracy.width(), 0)).x()
    assert line.mapTo(opened, QtCore.QPoint(0, 0)).x() >= right
    opened.resize(opened.width() - 100, opened.height())
    settle(opened)
    assert line.geometry().right() <= line.parentWidget().width()


def test_every_panel_says_what_it_is_when_its_question_mark_is_clicked(opened: Window, qtbot: QtBot) -> None:
    for title, dock in opened.docks.items():
        dock.show()
        dock.raise_()
        qtbot.mouseClick(dock.titleBarWidget().ask, LEFT)
        box = next(it for it in opened.findChildren(QtWidgets.QDialog) if it.windowTitle() == f"What is {title}?")
        said = [label.text() for label in box.findChildren(QtWidgets.QLabel)]
        assert dock.widget().widget().what in said and len(dock.widget().widget().what) > 60
        section = next(text for text in said if "docs/desktop.md" in text).split("\u201c")[1].split("\u201d")[0]
        page = (Path(__file__).parents[2] / "docs" / "desktop.md").read_text()
        assert f"\n## {section}\n" in page
        box.accept()


def test_the_panel_in_focus_says_what_it_is_by_keys(opened: Window, qtbot: QtBot) -> None:
    opened.mesh.canvas.setFocus()
    qtbot.keyClick(opened, QtCore.Qt.Key.Key_F1, QtCore.Qt.KeyboardModifier.ShiftModifier)
    assert any(it.windowTitle() == "What is Mesh?" for it in opened.findChildren(QtWidgets.QDialog))


def test_lists_of_runs_are_cheap(digits_run: Path, tmp_path: Path, make_window: Callable[[], Window]) -> None:
    for number in range(40):
        shutil.copytree(digits_run, tmp_path / "runs" / f"digits-{number}", ignore=shutil.ignore_patterns("*.html"))
    window = make_window()
    begun = time.process_time()
    window.start.look([])
    assert window.start.recent.topLevelItemCount() == 40 and time.process_time() - begun < 0.05
