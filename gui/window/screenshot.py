"""Pictures of the window without a display: of any run, and of the main states for the documentation."""

from __future__ import annotations

import time
from pathlib import Path

from pyqtgraph.Qt import QtWidgets

from l2sim.errors import RunError

from ..base import files as export
from ..base.layout import Kept
from .window import Window


def of_run(folder: Path | None, path: Path, step: int | None, size: tuple[int, int], theme: str | None) -> Path:
    """A picture of the window with a run at a step, or of the start page. RunError where the run cannot be shown."""
    window = Window(kept=Kept())  # the layout of a first start: pictures do not depend on who takes them
    try:
        settle(window, size, theme)
        if folder is not None:
            if not window.open(folder):
                raise RunError(window.message.text.text().removeprefix("Problem: "))
            assert window.model is not None
            if step is not None and step > window.model.newest:
                raise RunError(f"{folder} ends at step {window.model.newest}; use --step 0 to {window.model.newest}")
            window.selection.set(step=step)
        settle(window, size)
        return export.picture(window, path)
    finally:
        window.close_quietly()


def settle(
    window: Window, size: tuple[int, int] | None = None, theme: str | None = None, seconds: float = 0.15
) -> None:
    """Let the window come to rest: laid out, refreshed, painted."""
    if theme:
        window.repaint_theme(theme)
    if size:
        window.resize(*size)
    window.show()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QtWidgets.QApplication.processEvents()
        window.tick(everything=True)
    QtWidgets.QApplication.processEvents()  # what the last beat moved finds its place, however slow the machine
