"""The rare events of a run as a table: stages, epochs, checkpoints, warnings, and what the window did itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.store import results
from l2sim.store.events import (
    Changed,
    EpochEnd,
    Kept,
    Noted,
    Record,
    RunEnd,
    Series,
    StageEnd,
    StageStarted,
    Trouble,
    Warned,
    step_of,
)
from l2sim.store.events import kind as kind_of

from ..base import theme
from ..base.files import Table
from ..base.panel import Panel
from ..base.widgets import filled, has_words, search_box, sheet

if TYPE_CHECKING:
    from ..base.model import RunModel, Selection

_Role = QtCore.Qt.ItemDataRole
KINDS = {
    "stage": "stage begins",
    "epoch": "epoch",
    "checkpoint": "checkpoint",
    "note": "note",
    "warning": "WARNING",
    "trouble": "TROUBLE",
    "stage_done": "stage done",
    "done": "run done",
    "window": "window",
    "parameter": "parameter",
}


def words(event: Record, lab_eyes: bool = False) -> str:
    """An event as a sentence; with a lab's eyes without what a lab cannot know."""
    match event:
        case StageStarted():
            return f"{event.stage}: up to {event.epochs} epochs" + (f", {event.done} done before" if event.done else "")
        case EpochEnd():
            return f"{event.stage} epoch {event.epoch}"
        case Kept():
            return f"{event.stage} " + ("finished" if event.epoch < 0 else f"epoch {event.epoch}") + ", kept"
        case Noted() | Warned():
            return f"{event.stage}: {event.message}" if event.stage else event.message
        case Trouble():
            return f"{event.stage}: {event.kind}: {event.message}"
        case StageEnd():
            result = results.stage(event.result)
            parts = [f"{100 * result.accuracy:.2f} % test accuracy"] if result.accuracy is not None else []
            error = result.oracle_mapping_error
            parts += [f"oracle mapping error {error:.3g}"] if error is not None and not lab_eyes else []
            parts += [f"{result.seconds:.1f} s"] if result.seconds is not None else []
            return f"{event.stage}: " + ", ".join(parts)
        case Changed():
            return f"{event.path} = {event.value}, was {event.old}"
        case RunEnd():
            return "the report is written"
        case Series():
            return event.name


class _Table(QtCore.QAbstractTableModel):
    """The events on show, as Qt's table reads them: step, kind, sentence."""

    heads = ("step", "what", "said")

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, str, str]] = []

    def rowCount(self, parent: QtCore.QModelIndex | None = None) -> int:
        return len(self.rows)

    def columnCount(self, parent: QtCore.QModelIndex | None = None) -> int:
        return len(self.heads)

    def headerData(self, section: int, orientation: QtCore.Qt.Orientation, role: int = 0) -> str | None:
        wanted = role == _Role.DisplayRole and orientation == QtCore.Qt.Orientation.Horizontal
        return self.heads[section] if wanted else None

    def data(self, index: QtCore.QModelIndex, role: int = 0) -> str | int | QtGui.QBrush | None:
        step, kind, text = self.rows[index.row()]
        if role in (_Role.DisplayRole, _Role.ToolTipRole):
            return ("" if step is None else f"{step:,}", KINDS.get(kind, kind), text)[index.column()]
        if role == _Role.TextAlignmentRole and index.column() == 0:
            return int(QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter)
        if role == _Role.ForegroundRole:
            now = theme.now()
            colours = {"epoch": now.faint, "stage": now.accent, "window": now.faint}
            colour = now.warn if kind in ("warning", "trouble") else colours.get(kind, now.text)
            return QtGui.QBrush(QtGui.QColor(colour))
        return None

    def put(self, rows: list[tuple[int | None, str, str]]) -> None:
        """Show these rows; those that only grow are appended, which leaves the place of the reader alone."""
        if rows[: len(self.rows)] == self.rows:
            if len(rows) > len(self.rows):
                self.beginInsertRows(QtCore.QModelIndex(), len(self.rows), len(rows) - 1)
                self.rows = rows
                self.endInsertRows()
            return
        self.beginResetModel()
        self.rows = rows
        self.endResetModel()


class EventLog(Panel):
    """Rare events, newest at the bottom; a click goes to the step of one, and to the layer and core of a trouble."""

    what = (
        "What happened: stages, checkpoints, warnings, changes of parameters. A click goes to the step."
    )
    every = 0.2

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self._own: list[tuple[float, str]] = []
        self.find = search_box("Find in the events")
        self.epochs = QtWidgets.QCheckBox("epochs")
        self.epochs.setToolTip("Show the end of every epoch too")
        self._model = _Table()
        self.view = sheet(self._model, "Events of the run")
        self.view.verticalHeader().setSectionResizeMode(QtWidgets.QHeaderView.ResizeMode.Fixed)
        self.view.horizontalHeader().setStretchLastSection(True)
        head = filled(QtWidgets.QHBoxLayout(), self.find, self.epochs, margins=(6, 4, 6, 4))
        filled(QtWidgets.QVBoxLayout(self), head, self.view, spacing=0)
        self.find.textChanged.connect(lambda *_: self._fill())
        self.epochs.toggled.connect(lambda *_: self._fill())
        self.view.clicked.connect(self._go)
        self.view.activated.connect(self._go)
        self._letters()

    def changeEvent(self, event: QtCore.QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QtCore.QEvent.Type.FontChange:
            self._letters()

    def _letters(self) -> None:
        """Rows and columns as large as the letters need."""
        metrics = self.fontMetrics()
        self.view.verticalHeader().setDefaultSectionSize(metrics.height() + 4)
        for column, widest in enumerate(("9,999,999", max(KINDS.values(), key=len))):
            self.view.setColumnWidth(column, metrics.horizontalAdvance(widest) + 14)

    def say(self, text: str) -> None:
        """Note what the window did or found out."""
        self._own.append((time.time(), text))
        self._fill()

    def show_run(self, model: RunModel | None, reference: RunModel | None = None) -> None:
        """Show the events of another run; what was said of the one before goes with it."""
        if model is not self.model:
            self._own = []
        super().show_run(model, reference)
        self._fill()

    def refresh(self, changed: set[str]) -> None:
        """List the events anew where there are others."""
        if changed & {"events", "all", "theme"}:
            self._fill()

    def table(self) -> Table:
        """The events on show."""
        return list(_Table.heads), [("" if step is None else step, kind, text) for step, kind, text in self._model.rows]

    def _fill(self) -> None:
        bar = self.view.verticalScrollBar()
        follows = bar.value() >= bar.maximum() - 2
        events = self.model.events if self.model else []
        lab_eyes = self.model is not None and self.model.lab_eyes
        rows: list[tuple[int | None, str, str]] = [
            (step_of(event), kind_of(event), words(event, lab_eyes))
            for event in events
            if not isinstance(event, Series) and (not isinstance(event, EpochEnd) or self.epochs.isChecked())
        ]
        rows += [(None, "window", f"{time.strftime('%H:%M:%S', time.localtime(at))} {text}") for at, text in self._own]
        sought = self.find.text()
        self._model.put([row for row in rows if has_words(f"{row[1]} {row[2]}", sought)])
        if follows:
            self.view.scrollToBottom()

    def _go(self, index: QtCore.QModelIndex) -> None:
        step, kind, text = self._model.rows[index.row()]
        if step is None or self.model is None:
            return
        self.selection.set(step=step)
        for event in self.model.events if kind == "trouble" else ():
            if isinstance(event, Trouble) and (event.step, words(event)) == (step, text) and event.layer:
                block = event.blocks[0] if event.blocks else 0
                self.selection.set(layer=event.layer, block=block, element=None)
