"""What is seen while the window is made: drawn and on the screen before anything that takes long is imported.

pyqtgraph alone takes longer to import than the picture may be late, so Qt is taken from its binding here.
"""

from __future__ import annotations

import importlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

Part = tuple[str, Callable[[], object]]
"""A part of what there is to do: what is said meanwhile, and what is done."""
GROUND, TEXT, FAINT, ACCENT = "#15171b", "#e4e6ea", "#9aa2ad", "#56b4e9"
WIDTH, HEIGHT = 560, 180
SHOWN_WITHIN = 2.0
"""Seconds that a display is waited for to show the picture."""


def qt(name: str) -> Any:
    """A module of the Qt binding in force, such as "QtWidgets"."""
    return importlib.import_module(f"{os.environ['PYQTGRAPH_QT_LIB']}.{name}")


def application() -> Any:
    """The application, which is made if there is none, sharp at fractional scales of the screen (as pyqtgraph does)."""
    core, widgets = qt("QtCore"), qt("QtWidgets")
    running = widgets.QApplication.instance()
    if running is None:
        if core.qVersion().startswith("5"):
            os.environ["QT_ENABLE_HIGHDPI_SCALING"] = "1"
            policy = core.Qt.HighDpiScaleFactorRoundingPolicy.PassThrough
            widgets.QApplication.setHighDpiScaleFactorRoundingPolicy(policy)
        running = widgets.QApplication(["l2sim"])
    return running


class Work:
    """Parts that are done one after the other in a thread of their own, once `start` is called."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.at = 0
        self.raised: BaseException | None = None
        self._unwanted = False
        self._thread = threading.Thread(target=self._do, name="l2sim: what the window needs")

    def start(self) -> None:
        """Begin, unless it was begun."""
        if self._thread.ident is None:
            self._thread.start()

    def done(self, within: float = 0.0) -> bool:
        """Whether nothing is left to do, or will be in so many seconds."""
        if self._thread.ident is not None:
            self._thread.join(within)
        return self._thread.ident is not None and not self._thread.is_alive()

    def end(self) -> None:
        """Begin no further part: nobody needs it any more."""
        self._unwanted = True

    def _do(self) -> None:
        try:
            for at, (_, do) in enumerate(self.parts):
                if self._unwanted:
                    return
                self.at = at
                do()
        except BaseException as error:
            self.raised = error


class Splash:
    """The picture with a line and a bar of progress. `wait` shows how far work is; `close` takes it away."""

    def __init__(self) -> None:
        self._application = application()
        self.screen = qt("QtWidgets").QSplashScreen(_picture())
        self.bar, self.line = _progress(self.screen)
        self.screen.show()
        self._until_painted()

    def wait(self, work: Work) -> None:
        """Begin the work, unless it was begun, and show how far it is until it is done; what it raises is raised here.
        The picture lives meanwhile, over a window that came after it."""
        work.start()
        self.bar.setMaximum(len(work.parts))
        if not work.done(0.03):
            self.screen.show()
            self.screen.raise_()
        while not work.done(0.03):
            self.say(work.parts[work.at][0], work.at)
            self._application.processEvents()
        if work.raised:
            raise work.raised

    def say(self, text: str, done: int) -> None:
        """Show how far it is."""
        self.line.setText(text)
        self.bar.setValue(done)

    def close(self) -> None:
        """Take the picture away."""
        self.screen.close()

    def _until_painted(self) -> None:
        """A display shows a window some time after it was asked to, and then it must be painted once."""
        core = qt("QtCore")
        seen = _Seen(core).watch(self.screen)
        end = time.monotonic() + SHOWN_WITHIN
        while not seen() and time.monotonic() < end:
            self._application.processEvents(core.QEventLoop.ProcessEventsFlag.AllEvents, 20)
            time.sleep(0.005)
        self._application.processEvents()


class _Seen:
    """Whether a widget has been painted."""

    def __init__(self, core: Any) -> None:
        self._core, self._painted = core, False

    def watch(self, widget: Any) -> Callable[[], bool]:
        """Begin to look; the answer asks."""
        outer, paint = self, self._core.QEvent.Type.Paint

        class Filter(self._core.QObject):  # type: ignore[name-defined]
            def eventFilter(self, watched: Any, event: Any) -> bool:
                outer._painted |= event.type() == paint
                return False

        self._filter = Filter(widget)
        widget.installEventFilter(self._filter)
        return lambda: self._painted


def _picture() -> Any:
    """Two waveguides that meet and part, and the name."""
    core, gui = qt("QtCore"), qt("QtGui")
    picture = gui.QPixmap(WIDTH, HEIGHT)
    picture.fill(gui.QColor(GROUND))
    painter = gui.QPainter(picture)
    painter.setRenderHint(gui.QPainter.RenderHint.Antialiasing)
    for colour, sign in ((ACCENT, 1), ("#e69f00", -1)):
        path = gui.QPainterPath(core.QPointF(24, 66 - 30 * sign))
        path.cubicTo(64, 66 - 30 * sign, 56, 66 - 5 * sign, 76, 66 - 5 * sign)
        path.cubicTo(96, 66 - 5 * sign, 88, 66 - 30 * sign, 128, 66 - 30 * sign)
        painter.setPen(gui.QPen(gui.QColor(colour), 5))
        painter.drawPath(path)
    font = painter.font()
    font.setPixelSize(34)
    painter.setFont(font)
    painter.setPen(gui.QColor(TEXT))
    painter.drawText(core.QPointF(152, 66), "l2sim")
    font.setPixelSize(14)
    painter.setFont(font)
    painter.setPen(gui.QColor(FAINT))
    painter.drawText(core.QPointF(152, 92), "photonic chips that calibrate, map and train themselves")
    painter.end()
    return picture


def _progress(screen: Any) -> tuple[Any, Any]:
    """A thin bar at the bottom of the picture and the line above it."""
    widgets = qt("QtWidgets")
    line, bar = widgets.QLabel("loading", screen), widgets.QProgressBar(screen)
    line.setGeometry(24, HEIGHT - 46, WIDTH - 48, 20)
    line.setStyleSheet(f"color: {FAINT}; background: transparent; font-size: 12px;")
    bar.setGeometry(24, HEIGHT - 22, WIDTH - 48, 4)
    bar.setTextVisible(False)
    bar.setAccessibleName("How far the window is")
    empty, full = "QProgressBar { background: #2a2e35; border: 0; }", "QProgressBar::chunk { background: %s; }"
    bar.setStyleSheet(empty + full % ACCENT)
    return bar, line
