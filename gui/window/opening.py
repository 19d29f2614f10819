"""The window on the screen: a splash until it is there, then its run, preset or start page."""

from __future__ import annotations

from pathlib import Path

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from ..base import message, theme
from ..base.actions import emblem
from . import warm
from .window import Window


def show(
    application: QtWidgets.QApplication,
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
    shown = splash(application)
    warm.up()
    window = Window(runs)
    message.catch(window.crash)
    if name:
        window.repaint_theme(name)
    window.resize(*size)
    window.show()
    shown.finish(window)
    if folder is not None:
        if window.open(folder, attach) and step is not None:
            window.selection.set(step=step)
    elif source is not None:
        window.begin(source)
    return int(application.exec() if hasattr(application, "exec") else application.exec_())


def splash(application: QtWidgets.QApplication) -> QtWidgets.QSplashScreen:
    """Says why there is no window yet."""
    now, picture = theme.now(), QtGui.QPixmap(530, 130)
    picture.fill(QtGui.QColor(now.base))
    painter = QtGui.QPainter(picture)
    painter.drawPixmap(20, 33, emblem().pixmap(64, 64))
    painter.setPen(QtGui.QColor(now.text))
    text = "l2sim is getting ready.\nThe first start on a machine compiles, which takes a while."
    flags = int(QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.TextFlag.TextWordWrap)
    painter.drawText(QtCore.QRect(104, 10, 416, 110), flags, text)
    painter.end()
    shown = QtWidgets.QSplashScreen(picture)
    shown.show()
    application.processEvents()
    return shown
