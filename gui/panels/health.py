"""What is wrong with the run, a line each; a click goes there."""

from __future__ import annotations

from html import escape
from math import isnan
from typing import TYPE_CHECKING, NamedTuple

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.inspect.health import WORST, Finding

from ..base import links, theme
from ..base.files import Table
from ..base.panel import Panel
from ..base.widgets import filled, paragraph, sheet
from ..mesh.colours import number
from ..mesh.geometry import TITLES
from ..mesh.history import LATER

if TYPE_CHECKING:
    from ..base.model import RunModel, Selection

Qt = QtCore.Qt
BUDGET = 0.02
"""Seconds of a refresh after which no further layer is looked at; the next beat goes on."""
SEEN = {"all", "theme", "events", "frames", "blocks", "scalars", "state", "step", "parameters"}
PHASE = {"phi": " φ", "screen": " screen"}


class _Column(NamedTuple):
    head: str
    width: int
    tip: str


COLUMNS = (
    _Column("what", 124, "What is wrong"), _Column("layer", 70, "The layer"), _Column("block", 54, "The core of it"),
    _Column("MZI", 84, "The MZI, or the rail of a screen"), _Column("value", 96, "How bad it is"),
    _Column("step", 62, "When it was so"), _Column("from", 100, "oracle: no lab can know it; else what told it"),
    _Column("in words", 300, "What is wrong in words"),
)  # fmt: skip


def heater(row: Finding) -> str:
    """The heater of a finding, shortly."""
    if row.number is None:
        return ""
    return f"{TITLES.get(row.side, row.side)} {row.number}{PHASE.get(row.kind, '')}".strip()


def cells(row: Finding) -> tuple[str, ...]:
    """A finding as it is shown."""
    unit = row.unit if row.what != WORST else ""
    value = "" if isnan(row.value) else f"{number(row.value)} {unit}".strip()
    block, step = ("" if one is None else f"{one:,}" for one in (row.block, row.step))
    return row.what, row.layer, block, heater(row), value, step, row.badge, row.said


def _order(row: Finding, column: int) -> tuple[object, ...]:
    """What rows are sorted by under a head; those without a value come last, either way."""
    value = row.value if row.value == row.value else -1.0
    keys: tuple[object, ...] = (
        (row.rank, row.what), row.layer, row.block if row.block is not None else -1,
        (row.side, row.number if row.number is not None else -1), value, row.step if row.step is not None else -1,
        row.badge, row.said,
    )  # fmt: skip
    return (keys[column],)


class _Rows(QtCore.QAbstractTableModel):
    """The findings on show, as Qt's table reads them, in the order of the head that was clicked."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Finding] = []
        self.sorted_by = 0, False

    def rowCount(self, parent: QtCore.QModelIndex | None = None) -> int:
        return len(self.rows)

    def columnCount(self, parent: QtCore.QModelIndex | None = None) -> int:
        return len(COLUMNS)

    def headerData(self, section: int, orientation: QtCore.Qt.Orientation, role: int = 0) -> str | None:
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return COLUMNS[section].head
        return COLUMNS[section].tip if role == Qt.ItemDataRole.ToolTipRole else None

    def data(self, index: QtCore.QModelIndex, role: int = 0) -> str | QtGui.QBrush | None:
        row = self.rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return cells(row)[index.column()]
        if role == Qt.ItemDataRole.ToolTipRole:
            return row.said
        if role == Qt.ItemDataRole.ForegroundRole:
            now = theme.now()
            colour = now.bad if row.rank == 0 else now.warn if row.rank < 3 else now.text
            return QtGui.QBrush(QtGui.QColor(now.faint if index.column() == 6 else colour))
        return None

    def sort(self, column: int, order: QtCore.Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Qt's word for a click on a head."""
        self.sorted_by = column, order == Qt.SortOrder.DescendingOrder
        self.put(self.rows)

    def put(self, rows: list[Finding]) -> None:
        """Show these rows in the order that was asked for."""
        column, falling = self.sorted_by
        self.beginResetModel()
        self.rows = sorted(rows, key=lambda row: _order(row, column), reverse=falling)
        self.endResetModel()


class Health(Panel):
    """A table of findings, the worst first until a head is clicked. With lab eyes those of an oracle are left out."""

    what = (
        "Everything about the run that stands out: broken heaters, heaters at V_max, values that are not "
        "finite, the worst cores, damaged logs. A click on a row goes there."
    )
    every = 1.0
    asked = QtCore.Signal()
    """All heaters are to be tested."""

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self._found: list[Finding] = []
        self._model = _Rows()
        self.view = sheet(self._model, "What is wrong with the run")
        self.view.setSortingEnabled(True)
        self.view.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.view.horizontalHeader().setStretchLastSection(True)
        for at, column in enumerate(COLUMNS):
            self.view.setColumnWidth(at, column.width)
        self.view.clicked.connect(self._go)
        self.view.activated.connect(self._go)
        self.said = paragraph("faint", name="Health in a sentence", margins=(10, 3, 10, 3))
        self.said.linkActivated.connect(lambda *_: self.asked.emit())
        self.words = paragraph("", name="The finding that was clicked, in words", margins=(10, 3, 10, 3))
        links.follow(self.words, selection)
        filled(QtWidgets.QVBoxLayout(self), self.said, (self.view, 1), self.words, spacing=0)
        self.show_run(None)

    # -- what the window calls -----------------------------------------------------------------------------------------

    def show_run(self, model: RunModel | None, reference: RunModel | None = None) -> None:
        """Show another run."""
        super().show_run(model, reference)
        self._put([])
        self.words.hide()
        self.said.setText("No run is open." if model is None else "looking…")

    def refresh(self, changed: set[str]) -> None:
        """Look again where something may have changed."""
        if self.model is not None and changed & SEEN:
            self._look()

    def table(self) -> Table:
        """The findings on show."""
        return [column.head for column in COLUMNS], [cells(row) for row in self._model.rows]

    # -- inside --------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        if self.model is None:
            return
        rows, whole = self.model.health.look(self.selection.at, BUDGET)
        rows = [row for row in rows if not (self.model.lab_eyes and row.badge == "oracle")]
        if rows != self._found:
            self._put(rows)
        wrong = sum(row.rank < 4 for row in rows)
        said = f"{wrong} finding{'s' * (wrong != 1)}; a click goes there." if wrong else "Nothing stands out."
        said += ' <a href="every">Test all heaters</a>' * self.model.readable
        self.said.setText(said if whole else f"{said} Looking on…")
        if not whole:
            QtCore.QTimer.singleShot(LATER, self._look_on)

    def _look_on(self) -> None:
        if self.isVisible():
            self._look()

    def _put(self, rows: list[Finding]) -> None:
        """Show these rows, the one that is marked still marked."""
        marked, shown = self.view.currentIndex().row(), self._model.rows
        row = shown[marked] if 0 <= marked < len(shown) else None
        self._found = rows
        self._model.put(rows)
        if row in self._model.rows:
            self.view.selectRow(self._model.rows.index(row))

    def _go(self, index: QtCore.QModelIndex) -> None:
        row = self._model.rows[index.row()]
        self.words.setText(links.linked(escape(row.said, quote=False), row.layer, row.block or 0))
        self.words.show()
        if row.then:
            self.selection.set(step=row.step)
        if row.layer:
            self.selection.set(layer=row.layer, block=row.block or 0, side=row.side, element=row.element)
