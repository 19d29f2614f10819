"""The window on the screen, once what it computes with is there: with its run, preset or start page."""

from __future__ import annotations

from pathlib import Path

from pyqtgraph.Qt import QtWidgets

from ..base import message
from ..base.actions import emblem
from .first import warm
from .first.splash import Splash
from .window import Window


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
    splash.run(
        [(f"compiling {what}; the next start takes it from this machine's cache", do) for what, do in warm.STEPS]
    )
    window = Window(runs)
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
    return int(application.exec() if hasattr(application, "exec") else application.exec_())
