"""The heaters of a layer or of the whole chip that stand out, as tables that are sorted and copied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.inspect.every_heater import EveryHeater, OfLayer, Singled, why

from ...base import painting, theme
from ...base.widgets import filled, sheet
from ...mesh.geometry import TITLES

if TYPE_CHECKING:
    from ...base.model import Selection

Qt = QtCore.Qt
KINDS = {"phi": " φ", "screen": " screen"}


class Line(NamedTuple):
    """A row: what its cells say, what they are sorted by, whether it is `bad`, and what it is of."""

    cells: tuple[str, ...]
    keys: tuple[float | str | tuple[str, int], ...]
    bad: bool
    of: Singled | OfLayer


class Lines(QtCore.QAbstractTableModel):
    """Rows under heads, sorted by the head that was clicked; numbers stand at the right."""

    def __init__(self, heads: Sequence[str], words: Sequence[str]) -> None:
        """`words` are those heads under which there are no numbers."""
        super().__init__()
        self.heads, self.words = list(heads), set(words)
        self.rows: list[Line] = []

    def rowCount(self, parent: QtCore.QModelIndex | None = None) -> int:
        return len(self.rows)

    def columnCount(self, parent: QtCore.QModelIndex | None = None) -> int:
        return len(self.heads)

    def headerData(self, section: int, orientation: QtCore.Qt.Orientation, role: int = 0) -> str | None:
        wanted = role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal
        return self.heads[section] if wanted else None

    def data(self, index: QtCore.QModelIndex, role: int = 0) -> str | int | QtGui.QBrush | None:
        """What Qt asks of a cell: its text, how it stands, its colour."""
        row = self.rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return row.cells[index.column()]
        if role == Qt.ItemDataRole.TextAlignmentRole and self.heads[index.column()] not in self.words:
            return painting.RIGHT
        if role == Qt.ItemDataRole.ForegroundRole and row.bad:
            return QtGui.QBrush(QtGui.QColor(theme.now().bad))
        return None

    def sort(self, column: int, order: QtCore.Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Qt's word for a click on a head; -1 leaves the rows as they are."""
        if column >= 0:
            falls = order == Qt.SortOrder.DescendingOrder
            self.put(sorted(self.rows, key=lambda row: (row.keys[column],), reverse=falls))

    def put(self, rows: list[Line]) -> None:
        """Show these rows."""
        self.beginResetModel()
        self.rows = rows
        self.endResetModel()


class HeaterTables(QtWidgets.QWidget):
    """A row a layer above, a row a heater below; a click or Return on a row goes there."""

    def __init__(self, selection: Selection) -> None:
        super().__init__()
        self.selection = selection
        self.layers = Lines(("layer", "heaters", "no answer", "at V_max", "mW"), ("layer",))
        self.heaters = Lines(("what", "MZI", "layer", "block", "answer", "mW"), ("what", "MZI", "layer"))
        self.views = [sheet(self.layers, "Heaters by layer"), sheet(self.heaters, "Heaters that stand out")]
        for view in self.views:
            view.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
            view.setSortingEnabled(True)
            view.horizontalHeader().setMinimumSectionSize(24)
            view.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
            view.setToolTip("A click goes there; a click on a head sorts; Ctrl+C copies rows")
            for signal in (view.clicked, view.activated):
                signal.connect(self._go)
        filled(QtWidgets.QVBoxLayout(self), self.views[0], (self.views[1], 1), spacing=4)
        self.setAccessibleName("All heaters")
        self._shown: EveryHeater | None = None

    def show_heaters(self, every: EveryHeater) -> None:
        """Show what was found; the same again stays as it is sorted."""
        if every == self._shown:
            return
        self._shown = every
        for view in self.views:
            view.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.layers.put([of_layer(row) for row in every.layers])
        self.heaters.put([heater(row) for row in every.rows])
        for view in self.views:
            _fit(view)
        above, rows = self.views[0], min(4, len(every.layers))
        tall = above.verticalHeader().defaultSectionSize()
        above.setFixedHeight(above.horizontalHeader().sizeHint().height() + rows * tall + 2)

    def _go(self, index: QtCore.QModelIndex) -> None:
        row = index.model().rows[index.row()].of
        if isinstance(row, OfLayer):
            self.selection.set(layer=row.layer, block=0, element=None)
        else:
            at = None if row.kind == "screen" else row.number
            self.selection.set(layer=row.layer, block=row.core, side=row.part, element=at)


def _fit(view: QtWidgets.QTableView) -> None:
    """Columns as wide as their letters, so that narrow panels show them all."""
    model, metrics = view.model(), view.fontMetrics()
    for column, head in enumerate(model.heads):
        cells = (metrics.horizontalAdvance(row.cells[column]) + 12 for row in model.rows)
        view.setColumnWidth(column, max(metrics.horizontalAdvance(head) + 18, *cells, 0))


def of_layer(row: OfLayer) -> Line:
    """All heaters of a layer as a row."""
    numbers = row.heaters, row.silent, row.v_max, row.milliwatts
    return Line((row.layer, *(f"{n:,.0f}" for n in numbers)), (row.layer, *map(float, numbers)), row.silent > 0, row)


def heater(row: Singled) -> Line:
    """A heater that stands out as a row."""
    name = f"{TITLES.get(row.part, row.part)} {row.number}{KINDS.get(row.kind, '')}".strip()
    cells = why(row), name, row.layer, f"{row.core:,}", f"{100 * row.share:.0f} %", f"{row.milliwatts:.3g}"
    keys = why(row), (row.part + row.kind, row.number), row.layer, row.core, row.share, row.milliwatts
    return Line(cells, keys, row.silent, row)
