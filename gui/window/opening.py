"""The window on the screen: with its run, preset or start page. What it computes with is compiled, or loaded, before a
run is shown: while the splash stands, or behind the start page, which needs none of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pyqtgraph.Qt import QtCore, QtWidgets

from ..base import message
from ..base.actions import emblem
from .first import warm
from .first.splash import Splash, Work
from .window import Window

REST = 300
"""Milliseconds from the start page to the first thing compiled behind it: it is painted first."""


def show(
    application: QtWidgets.QApplication,
    splash: Splash,
    runs: Path,
    folder: Path | None,
    source: str | None,
    *,
    attach: bool,
    step: int | None,
    size: tuple[int, int],
    name: str | None,
) -> int:
    """Open a window on a run `folder`, else begin `source`, else show the start page; in the theme `name`, if any.
    Returns the exit status when it is closed."""
    application.setWindowIcon(emblem())
    said = "compiling {}; the next start takes it from this machine's cache"
    work = Work([(said.format(what), do) for what, do in warm.STEPS])
    if folder is not None:
        splash.wait(work)
    window = Window(runs)
    window.compiled = partial(_compiled, window, splash, work)
    message.catch(window.crash)
    if name:
        window.repaint_theme(name)
    window.resize(*size)
    window.show()
    splash.close()
    if folder is not None:
        if window.open(folder, attach) and step is not None:
            window.selection.set(step=step)
    elif source is not None:
        window.begin(source)
    QtCore.QTimer.singleShot(REST, work.start)
    try:
        return int(application.exec() if hasattr(application, "exec") else application.exec_())
    finally:
        work.end()


def _compiled(window: Window, splash: Splash, work: Work) -> None:
    """See the work done, with the splash before the window and no second click meanwhile."""
    window.setEnabled(work.done())
    try:
        splash.wait(work)
    finally:
        splash.close()
        window.setEnabled(True)
