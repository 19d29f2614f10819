"""What every panel of the window is: a widget that shows one run at one `Selection`."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from . import files

if TYPE_CHECKING:
    from .model import RunModel, Selection


class Panel(QtWidgets.QWidget):
    """A panel reads and writes the selection, and takes all numbers from the model it was last given.

    The window calls `refresh` at most once a tick of its timer, only while the panel is visible and only with the names
    of what changed: those of `RunModel.poll` and of the selection's fields. A panel paints nothing by itself otherwise,
    but for what the mouse does inside it.
    """

    title = "Panel"
    """What it is called: of one that is registered, the name that it is registered under."""
    what = ""
    """What it shows and what can be done with it, for who asks "what is this"."""
    section = ""
    """Where docs/desktop.md says more; of one that is registered, what is registered."""
    sees: Set[str] | None = None
    """The names of changes on which what it shows depends; None: on all, or on what only `refresh` knows."""
    every = 0.0
    """Seconds between two refreshes because of what a running job sends; 0: at every beat of the timer."""

    def __init__(self, selection: Selection) -> None:
        super().__init__()
        self.selection = selection
        self.model: RunModel | None = None
        self.reference: RunModel | None = None

    @property
    def newest(self) -> int:
        """The newest step of the run, 0 where none is open."""
        return self.model.newest if self.model else 0

    @property
    def shown_step(self) -> int:
        """The step on show, the same in all panels."""
        return self.selection.at

    @property
    def shown_stage(self) -> str:
        """The stage on show: the last that has begun while the newest step is followed, else that of the step."""
        if self.model is None:
            return ""
        if self.selection.step is None and self.model.stages:
            return self.model.stages[-1].name
        return self.model.stage_at(self.shown_step)

    def show_run(self, model: RunModel | None, reference: RunModel | None = None) -> None:
        """Show another run, beside or minus `reference` where there is one; None is the empty state."""
        self.model, self.reference = model, reference
        self.selection.newest = self.newest

    def refresh(self, changed: set[str]) -> None:
        """Paint what changed; names of `RunModel.poll` and of the fields of `Selection`, or {"all"}."""

    def table(self) -> files.Table | None:
        """What is shown as column names with units and rows, for CSV; None where there is nothing to tabulate."""
        return None

    def svg(self, path: Path) -> None:
        """Write what is shown as vectors. The default paints the widget through Qt's own SVG writer."""
        files.widget_svg(self, path)


def pointed(event: QtGui.QMouseEvent) -> QtCore.QPointF:
    """Where a mouse event is: Qt 5 and 6 say it differently."""
    return event.position() if hasattr(event, "position") else QtCore.QPointF(event.pos())
