"""Every action by its keys and by its button, as a person presses them: on a display through the X server, whose names
for a key are what shortcuts are compared with, elsewhere through Qt."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from l2sim.gui.window import commands
from l2sim.gui.window.window import Window
from pyqtgraph.Qt import QtCore, QtGui, QtTest, QtWidgets
from pytestqt.qtbot import QtBot

from tests.tolerances import PATIENCE

KEYSYMS = {
    ".": "period", "[": "bracketleft", "]": "bracketright", "Esc": "Escape", "Ctrl": "ctrl", "Shift": "shift",
    "Alt": "alt", "Space": "space",
}  # fmt: skip
"""What the X server calls some keys."""


def press(window: Window, keys: QtGui.QKeySequence) -> None:
    """Press a shortcut in the window."""
    if QtWidgets.QApplication.platformName() != "xcb":
        QtTest.QTest.keySequence(window, keys)
        return
    names = [KEYSYMS.get(part, part if len(part) > 1 else part.lower()) for part in keys.toString().split("+")]
    subprocess.run(["xdotool", "key", "+".join(names)], check=True, timeout=PATIENCE / 1000)


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the commands that were done, in place of what they do."""
    said: list[str] = []

    def noted(name: str) -> Callable[[object], None]:
        return lambda *_: said.append(name)

    monkeypatch.setattr(commands, "COMMANDS", tuple(c._replace(do=noted(c.name)) for c in commands.COMMANDS))
    return said


@pytest.fixture
def ready(done: list[str], opened: Window, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> Window:
    """A window on a run, in front, whose every action can be done, as where a job goes on."""
    monkeypatch.setattr(opened.timeline, "allow", lambda: None)
    for action in opened.actions_:
        action.setEnabled(True)
    with qtbot.waitActive(opened, timeout=PATIENCE):
        opened.activateWindow()
        opened.raise_()
    if QtWidgets.QApplication.platformName() == "xcb":  # no window manager gives it the keyboard
        subprocess.run(["xdotool", "windowfocus", "--sync", str(int(opened.winId()))], check=True)
    opened.mesh.canvas.setFocus()
    return opened


def test_every_key_does_its_action_and_no_other(ready: Window, done: list[str], qtbot: QtBot) -> None:
    tried = 0
    for command in commands.COMMANDS:
        for keys in ready.actions_[command.name].shortcuts():
            done.clear()
            press(ready, keys)
            qtbot.waitUntil(lambda: bool(done), timeout=PATIENCE)
            assert done == [command.name], keys.toString()
            tried += 1
    assert tried > 40


def test_every_button_of_an_action_does_it(ready: Window, done: list[str], qtbot: QtBot) -> None:
    buttons = [b for b in ready.findChildren(QtWidgets.QToolButton) if b.defaultAction() in list(ready.actions_)]
    assert len(buttons) >= 6
    for button in buttons:
        button.setVisible(True)
        done.clear()
        qtbot.mouseClick(button, QtCore.Qt.MouseButton.LeftButton)
        assert done == [button.defaultAction().objectName()]


def test_every_panel_is_shown_and_hidden_by_its_key(ready: Window, qtbot: QtBot) -> None:
    for number, dock in enumerate(list(ready.docks.values())[:9], 1):
        before = dock.isHidden()
        press(ready, QtGui.QKeySequence(f"Alt+{number}"))
        qtbot.waitUntil(lambda dock=dock, before=before: dock.isHidden() != before, timeout=PATIENCE)
