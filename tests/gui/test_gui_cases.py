"""The window where people saw it fail: a key of two names, a value typed over a selection, an empty splash screen, and
run folders of odd content."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from l2sim.gui.base.model import Parameter, Selection
from l2sim.gui.panels.hardware import Hardware
from l2sim.gui.window import opening
from l2sim.gui.window.first import splash
from l2sim.gui.window.window import Window
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets
from pytestqt.qtbot import QtBot

from tests import altered
from tests.doubles_gui import FakeModel
from tests.tolerances import PATIENCE

Key, Modifier = QtCore.Qt.Key, QtCore.Qt.KeyboardModifier

# ---------------------------------------------------------------------------------------------------- keys

SHIFTED = dict(zip('~!@#$%^&*()_+{}|:"<>?', "`1234567890-=[]\\;',./"))
"""What Shift makes of a key on the common layout."""


def press(keys: QtGui.QKeySequence) -> str:
    """The keys that are pressed for a shortcut: '>' is pressed as Shift and '.'."""
    text = str(keys.toString())
    return f"{text[:-1]}Shift+{SHIFTED[text[-1]]}" if text[-1] in SHIFTED and not text.endswith("++") else text


def test_shift_and_point_steps_an_epoch(opened: Window, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a display a key comes under one name, so that nothing is ambiguous."""
    orders: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr(opened.model, "order", lambda command, **how: orders.append((command, how)))
    opened.timer.stop()
    opened.actions_["epoch"].setEnabled(True)  # as where a job goes on
    qtbot.keyClick(opened, Key.Key_Period, Modifier.ShiftModifier)
    assert orders == [("step", {"n": 1, "epoch": True})]


def test_no_two_shortcuts_are_the_same_press(window: Window) -> None:
    actions = window.findChildren(type(window.actions_["epoch"]))
    presses = Counter(press(keys) for action in actions for keys in action.shortcuts())
    assert presses["Shift+."] and [keys for keys, count in presses.items() if count > 1] == []


# ------------------------------------------------------------------------------------------------- editors

BITS = "nonidealities.phase_bits"


@pytest.fixture
def hardware(qtbot: QtBot) -> Hardware:
    """The panel of the parameters of a run that goes on, with a heater drive of 6 bits."""
    model = FakeModel()
    model.parameters = [Parameter(BITS, 6, "bits", 0, 24, "resolution of the heater drive", "live")]
    panel = Hardware(Selection())
    qtbot.addWidget(panel)
    panel.resize(400, 300)
    with qtbot.waitActive(panel, timeout=PATIENCE):
        panel.show()
        panel.activateWindow()
    panel.show_run(model)
    panel.refresh({"all"})
    return panel


def test_typing_over_a_selection_replaces_it_whatever_the_run_does(hardware: Hardware, qtbot: QtBot) -> None:
    field = hardware.rows[BITS].editor.input
    qtbot.mouseClick(field, QtCore.Qt.MouseButton.LeftButton)
    qtbot.keyClick(field, Key.Key_A, Modifier.ControlModifier)
    assert field.hasFocus() and field.selectedText() == "6"
    hardware.refresh({"parameters", "state"})
    qtbot.keyClicks(field, "3")
    assert field.text() == "3"
    qtbot.keyClick(field, Key.Key_Return)
    assert hardware.model.ordered == [("set", {"path": BITS, "value": 3})]


def test_typing_over_a_selection_replaces_it(hardware: Hardware, qtbot: QtBot) -> None:
    field = hardware.rows[BITS].editor.input
    qtbot.mouseClick(field, QtCore.Qt.MouseButton.LeftButton)
    qtbot.keyClick(field, Key.Key_A, Modifier.ControlModifier)
    qtbot.keyClicks(field, "3")
    qtbot.keyClick(field, Key.Key_Return)
    assert field.text() == "3"
    assert hardware.model.ordered == [("set", {"path": BITS, "value": 3})]


def test_a_wrong_value_stays_until_it_is_taken_back(hardware: Hardware, qtbot: QtBot) -> None:
    row = hardware.rows[BITS]
    field, said = row.editor.input, row.editor.problem
    qtbot.mouseClick(field, QtCore.Qt.MouseButton.LeftButton)
    qtbot.keyClick(field, Key.Key_A, Modifier.ControlModifier)
    qtbot.keyClicks(field, "99")
    qtbot.keyClick(field, Key.Key_Return)
    hardware.refresh({"parameters", "state"})
    assert field.text() == "99" and "out of range" in said.text() and hardware.model.ordered == []
    qtbot.keyClick(field, Key.Key_Escape)
    hardware.refresh({"parameters", "state"})
    assert field.text() == "6" and said.isHidden() and hardware.model.ordered == []


def test_a_text_that_is_left_is_not_sent_and_says_so(hardware: Hardware, qtbot: QtBot) -> None:
    editor = hardware.rows[BITS].editor
    qtbot.mouseClick(editor.input, QtCore.Qt.MouseButton.LeftButton)
    qtbot.keyClick(editor.input, Key.Key_A, Modifier.ControlModifier)
    qtbot.keyClicks(editor.input, "4")
    qtbot.keyClick(editor.input, Key.Key_Tab)
    hardware.refresh({"parameters", "state"})
    assert not editor.input.hasFocus() and editor.input.text() == "4" and hardware.model.ordered == []
    assert "not sent" in editor.problem.text()


# -------------------------------------------------------------------------------------------------- splash


class Late(QtWidgets.QSplashScreen):
    """A splash screen on a display that shows a window some turns of the event loop after it was asked to, as an X
    server does."""

    def __init__(self, picture: QtGui.QPixmap) -> None:
        super().__init__(picture)
        self.paints, self._turns = 0, 10
        self.winId()  # the window is known to the system from now on
        self._server = QtCore.QTimer(self)  # of no time: it strikes once in a turn
        self._server.timeout.connect(self._struck)

    def setVisible(self, visible: bool) -> None:
        if visible:
            self._server.start(0)
        else:
            self._server.stop()
            super().setVisible(False)

    def _struck(self) -> None:
        self._turns -= 1
        if self._turns <= 0:
            self._server.stop()
            super().setVisible(True)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        self.paints += 1
        super().paintEvent(event)


def test_the_splash_is_painted_before_the_main_thread_goes_on(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splash.qt("QtWidgets"), "QSplashScreen", Late)
    shown = splash.Splash()
    qtbot.addWidget(shown.screen)
    assert shown.screen.paints > 0


def test_what_is_done_beside_the_splash_is_counted_and_its_errors_are_raised(qtbot: QtBot) -> None:
    shown, done = splash.Splash(), []
    qtbot.addWidget(shown.screen)
    shown.wait(splash.Work([("one", lambda: done.append(1)), ("two", lambda: done.append(2))]))
    assert done == [1, 2] and shown.bar.maximum() == 2
    with pytest.raises(ZeroDivisionError):
        shown.wait(splash.Work([("three", lambda: 1 / 0)]))
    shown.close()
    assert not shown.screen.isVisible()


class Raised(QtCore.QObject):
    """Notes that a window was raised: without a display nothing lies over anything."""

    def __init__(self, watched: QtWidgets.QWidget) -> None:
        super().__init__(watched)
        self.times = 0
        watched.installEventFilter(self)

    def eventFilter(self, watched: QtCore.QObject, event: QtCore.QEvent) -> bool:
        self.times += event.type() == QtCore.QEvent.Type.ZOrderChange
        return False


def test_who_clicks_before_all_is_compiled_sees_the_splash_over_the_window(
    make_window: Callable[[], Window], qtbot: QtBot
) -> None:
    shown, window, seen, done = splash.Splash(), make_window(), [], threading.Event()
    qtbot.addWidget(shown.screen)
    raised = Raised(shown.screen)

    def look() -> None:
        seen.append((shown.screen.isVisible(), raised.times, window.isEnabled(), shown.line.text()))
        done.set()

    QtCore.QTimer.singleShot(200, look)
    window.compiled = partial(opening._compiled, window, shown, splash.Work([("late", lambda: done.wait(10))]))
    qtbot.mouseClick(window.start.cards[0], QtCore.Qt.MouseButton.LeftButton)
    assert seen == [(True, 1, False, "late")]
    assert not shown.screen.isVisible() and window.isEnabled() and window.model is not None


# --------------------------------------------------------------------------------------------- run folders


@pytest.mark.parametrize(
    "change",
    (
        altered.short_frame,
        altered.unknown_series,
        altered.empty_frame,
        altered.odd_change,
        altered.worded_version,
    ),
)
def test_odd_records_are_ignored_or_said_in_one_line(
    window: Window, digits_run: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    folder = Path(shutil.copytree(digits_run, tmp_path / "runs" / "digits-5"))
    change(folder)
    if window.open(folder):
        for step in (None, 0, window.model.newest // 2):
            window.selection.set(step=step)
            window.tick(everything=True)
    else:
        assert window.message.isVisible() and "\n" not in window.message.text.text()
    crashed, window.crashed = window.crashed, ""  # which its fixture would take for a fault of the test
    assert not crashed
