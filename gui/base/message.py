"""What the window says in words: one line with what can be done about it, and the report of a crash."""

from __future__ import annotations

import platform
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from pyqtgraph import __version__ as graph
from pyqtgraph.Qt import QT_LIB, QtCore, QtWidgets

from l2sim._version import __version__

from . import theme
from .widgets import filled, paragraph, tool_button


class Message(QtWidgets.QFrame):
    """A line with buttons that lies over the `room` left for it, and over what is below where it needs more, so that
    nothing moves; it stays until it is closed or the next one comes."""

    def __init__(self, room: QtWidgets.QWidget, page: QtWidgets.QWidget) -> None:
        super().__init__(page)
        self._room = room
        room.installEventFilter(self)
        self.text = paragraph("", name="Message")
        self.text.setTextInteractionFlags(QtCore.Qt.TextInteractionFlag.TextSelectableByMouse)
        self._buttons: list[QtWidgets.QPushButton] = []
        close = tool_button("✕", "Close the message", "Close the message", self.hide)
        close.setAutoRaise(True)
        self._row = filled(QtWidgets.QHBoxLayout(self), (self.text, 1), close, margins=(12, 5, 6, 5))
        self.hide()

    def say(self, text: str, bad: bool = False, **offers: Callable[[], object]) -> None:
        """Show a line; `offers` are buttons by their name, with "_" for a space."""
        for button in self._buttons:
            self._row.removeWidget(button)
            button.deleteLater()
        self._buttons = []
        for at, (name, callback) in enumerate(offers.items()):
            button = QtWidgets.QPushButton(name.replace("_", " "))
            button.clicked.connect(lambda *_, offered=callback: offered())
            self._row.insertWidget(1 + at, button)
            self._buttons.append(button)
        theme.mark(self, "said-bad" if bad else "said")
        self.text.setText(("Problem: " if bad else "") + text)
        self._place()
        self.show()
        self.raise_()

    def eventFilter(self, watched: QtCore.QObject, event: QtCore.QEvent) -> bool:
        """Follow the room."""
        if event.type() in (QtCore.QEvent.Type.Resize, QtCore.QEvent.Type.Move):
            self._place()
        return False

    def _place(self) -> None:
        at, width = self._room.mapTo(self.parentWidget(), QtCore.QPoint(0, 0)), self._room.width()
        self._row.activate()
        self.setGeometry(at.x(), at.y(), width, max(self._room.height(), self._row.totalHeightForWidth(width)))

    @property
    def offers(self) -> list[str]:
        """The names of the buttons."""
        return [button.text() for button in self._buttons]


def report(error: BaseException, doing: str = "") -> str:
    """All that a developer asks for about a crash."""
    head = [
        f"l2sim {__version__}, window, {doing or 'running'}",
        f"python {platform.python_version()}, {platform.platform()}, {QT_LIB}, pyqtgraph {graph}",
        "",
    ]
    return "\n".join(head) + "".join(traceback.format_exception(error))


def keep(text: str, folder: Path | None) -> str:
    """Write a crash report into the run folder, or beside other temporary files. Says where."""
    places = [folder / "gui-crash.log"] if folder is not None and folder.is_dir() else []
    for path in [*places, Path(tempfile.gettempdir()) / "l2sim-gui-crash.log"]:
        try:
            path.write_text(text, encoding="utf-8")
            return str(path)
        except OSError:
            continue
    return "nowhere: no folder can be written"


class Crash(QtWidgets.QDialog):
    """A crash report that can be copied. The window goes on."""

    def __init__(self, parent: QtWidgets.QWidget, text: str, where: str) -> None:
        super().__init__(parent)
        self.setWindowTitle("Crash report")
        words = QtWidgets.QLabel(
            f"Something in the window went wrong. The job is not touched and runs on; the report is in {where}. "
            "Please send it to the developers."
        )
        words.setWordWrap(True)
        self.box = QtWidgets.QPlainTextEdit(text)
        self.box.setReadOnly(True)
        self.box.setAccessibleName("Crash report")
        copy, close = QtWidgets.QPushButton("Copy"), QtWidgets.QPushButton("Go on")
        copy.clicked.connect(lambda: QtWidgets.QApplication.clipboard().setText(text))
        close.clicked.connect(self.accept)
        row = QtWidgets.QHBoxLayout()
        row.addStretch(1)
        row.addWidget(copy)
        row.addWidget(close)
        layout = QtWidgets.QVBoxLayout(self)
        layout.addWidget(words)
        layout.addWidget(self.box)
        layout.addLayout(row)
        self.resize(720, 420)


def catch(tell: Callable[[BaseException], None]) -> None:
    """Let errors that nobody caught be told to `tell` instead of ending the program, as PyQt would."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            QtWidgets.QApplication.quit()
            return
        try:
            tell(error.with_traceback(trace))
        except Exception:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = hook
