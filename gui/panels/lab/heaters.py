"""The heater table: every phase shifter of the block on show with what drives it, sorted by any column."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.backend import Array
from l2sim.chip.devices import TABLES
from l2sim.inspect import findings
from l2sim.inspect.drive import drive

from ...base import theme
from ...base.files import Table
from ...base.panel import Panel
from ...base.widgets import filled, paragraph, sheet
from ...mesh import values as mesh_values
from ...mesh.geometry import TITLES
from ...mesh.words import told

if TYPE_CHECKING:
    from ...base.model import Part, Phases, RunModel, Selection

Qt = QtCore.Qt
HEADS = (
    "mesh", "MZI", "phase", "column", "rail", "commanded (rad)", "turns", "code", "volts (V)", "to V_max (V)",
    "power (mW)",
)  # fmt: skip
FIRST_NUMBER = 5
"""From this column on there are numbers of the frame."""
FORMATS = ("{:.4f}", "{:.0f}", "{:.0f}", "{:.3f}", "{:.3f}", "{:.3g}")
NAMES = {"theta": "θ", "phi": "φ", "screen": "screen"}
SEEN = {"all", "theme", "frames", "step", "layer", "block", "parameters"}


class Heater(NamedTuple):
    """Where a phase shifter is: of the MZI, or of a rail of the screen, number `at`."""

    side: str
    at: int
    kind: str
    column: int
    rail: int


class Rows(QtCore.QAbstractTableModel):
    """The heaters as Qt's table reads them: places, and numbers (n, 6) in the order of `HEADS`."""

    def __init__(self) -> None:
        super().__init__()
        self.heaters: list[Heater] = []
        self.numbers: Array = np.zeros((0, len(FORMATS)))
        self.order: Array = np.zeros(0, int)
        self._by, self._falls = -1, False

    def rowCount(self, parent: QtCore.QModelIndex | None = None) -> int:
        return len(self.order)

    def columnCount(self, parent: QtCore.QModelIndex | None = None) -> int:
        return len(HEADS)

    def headerData(self, section: int, orientation: QtCore.Qt.Orientation, role: int = 0) -> str | None:
        wanted = role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal
        return HEADS[section] if wanted else None

    def data(self, index: QtCore.QModelIndex, role: int = 0) -> str | int | QtGui.QBrush | None:
        """What Qt asks of a cell: its text, how it stands, its colour."""
        if role == Qt.ItemDataRole.DisplayRole:
            return self.text(index.row(), index.column())
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() not in (0, 2):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ForegroundRole:
            number, room = self.numbers[self.order[index.row()]], HEADS.index("to V_max (V)") - FIRST_NUMBER
            if np.isnan(number[0]) or number[room] == 0.0:
                return QtGui.QBrush(QtGui.QColor(theme.now().bad))
        return None

    def text(self, row: int, column: int) -> str:
        """What stands in a cell."""
        heater, numbers = self.heaters[self.order[row]], self.numbers[self.order[row]]
        if column < FIRST_NUMBER:
            place = TITLES.get(heater.side, heater.side), heater.at, NAMES[heater.kind], heater.column, heater.rail
            return str(place[column]) if column != 3 or heater.kind != "screen" else ""
        value = numbers[column - FIRST_NUMBER]
        if np.isnan(value):
            return "no number" if column == FIRST_NUMBER else ""
        return FORMATS[column - FIRST_NUMBER].format(value)

    def heater(self, row: int) -> Heater:
        """Which heater stands in a row."""
        return self.heaters[int(self.order[row])]

    def put(self, heaters: list[Heater], numbers: Array) -> None:
        """Show these; where they are the same heaters with other numbers, the rows that are chosen stay so."""
        if heaters == self.heaters:
            self.numbers = numbers
            self._arrange()
            return
        self.beginResetModel()
        self.heaters, self.numbers = heaters, numbers
        self.order = self._sorted()
        self.endResetModel()

    def sort(self, column: int, order: QtCore.Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column, now and whenever the numbers change."""
        self._by, self._falls = column, order == Qt.SortOrder.DescendingOrder
        self._arrange()

    def _arrange(self) -> None:
        self.layoutAboutToBeChanged.emit()
        before, old = self.persistentIndexList(), self.order
        self.order = self._sorted()
        row_of = np.argsort(self.order)
        after = [self.index(int(row_of[old[index.row()]]), index.column()) for index in before]
        self.changePersistentIndexList(before, after)
        self.layoutChanged.emit()

    def _sorted(self) -> Array:
        """The order by the column that was chosen; what has no number there comes last."""
        count = len(self.heaters)
        if self._by < 0:
            return np.arange(count)
        if self._by >= FIRST_NUMBER:
            keys = self.numbers[:, self._by - FIRST_NUMBER]
        else:
            named = [heater[self._by] for heater in self.heaters]
            keys = np.unique(named, return_inverse=True)[1].astype(float) if count else np.zeros(0)
        return np.argsort(-keys if self._falls else keys, kind="stable")


class Heaters(Panel):
    """One row a phase shifter; a click selects its MZI everywhere."""

    what = (
        "Every heater of the block on show as its driver has it: volts, code, milliwatts and room to V_max, "
        "and its phase with whole turns apart. A click selects its MZI; Ctrl+C copies the table."
    )
    every = 0.2

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.rows = Rows()
        self.view = sheet(self.rows, "Heaters of the block on show")
        self.view.setToolTip("A click selects the MZI; Ctrl+C copies rows; a click on a head sorts")
        head = self.view.horizontalHeader()
        head.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.view.setSortingEnabled(True)
        for column, name in enumerate(HEADS):
            self.view.setColumnWidth(column, head.fontMetrics().horizontalAdvance(name) + 30)
        self.said = paragraph("faint", name="All heaters together", margins=(8, 4, 8, 4))
        filled(QtWidgets.QVBoxLayout(self), self.said, (self.view, 1), spacing=0)
        self.view.clicked.connect(self._go)
        self.view.activated.connect(self._go)
        self.show_run(None)

    def show_run(self, model: RunModel | None, reference: RunModel | None = None) -> None:
        """Show another run."""
        super().show_run(model, reference)
        if model is None:
            self.said.setText("No run is open.")
            self.rows.put([], np.zeros((0, len(FORMATS))))

    def refresh(self, changed: set[str]) -> None:
        """Paint what changed."""
        if self.model is None:
            return
        if changed & SEEN:
            self._fill(self.model)
        if changed & {"all", "layer", "block", "side", "element"}:
            self._mark()

    def table(self) -> Table | None:
        """All rows as they are sorted."""
        count = self.rows.rowCount()
        cells = [tuple(self.rows.text(row, column) for column in range(len(HEADS))) for row in range(count)]
        return (list(HEADS), cells) if cells else None

    # -- inside --------------------------------------------------------------------------------------------------------

    def _fill(self, model: RunModel) -> None:
        here, job = self.selection, model.job_at(self.selection.at)
        if here.layer not in model.layers:
            return
        frame = mesh_values.frame(model, here.layer, here.block, here.at)
        heaters: list[Heater] = []
        phases: list[Array] = []
        for side, part in model.layers[here.layer].parts.items():
            for kind, places in _places(side, part, frame.get(side, {})):
                heaters += places
                phases.append(np.asarray(frame[side][kind], float))
        every = np.concatenate(phases) if phases else np.zeros(0)
        imperfect = mesh_values.imperfections(model, here.at)
        driven = drive(every, imperfect, TABLES[job.cost.table].pi_w)
        columns = driven.phase, driven.turns, driven.code, driven.volts, driven.room, driven.milliwatts
        nothing = np.full(every.size, np.nan)
        self.rows.put(heaters, np.stack([nothing if column is None else column for column in columns], axis=1))
        for column in (3, 4):
            self.view.setColumnHidden(FIRST_NUMBER + column, driven.volts is None)
        self.view.setColumnHidden(0, "" in frame)  # a whole mesh has no parts
        step = max((int(of_side["step"]) for of_side in frame.values()), default=None)
        self.said.setText(self._summary(len(heaters), driven.room, float(np.nansum(driven.milliwatts)), step))

    def _summary(self, count: int, room: Array | None, milliwatts: float, step: int | None) -> str:
        here, model = self.selection, self.model
        assert model is not None
        layer, job = model.layers[here.layer], model.job_at(here.at)
        where = here.layer + (f" · block {here.block}" if layer.p * layer.q > 1 else "") + told(here.at, step)
        if not count:
            return f"{where}: nothing was commanded yet"
        ends = "no volts: the drive of this chip is one of phases"
        if room is not None:
            ends = f"{int((room == 0.0).sum())} at V_max = {mesh_values.imperfections(model, here.at).v_max:g} V"
        power = f"{findings.scaled(milliwatts / 1e3, 'W')} together, estimated by the table {job.cost.table}"
        return f"{where} · {count} heaters, as commanded · {ends} · {power}"

    def _mark(self) -> None:
        """Choose the rows of the MZI that is selected, unless one of them is chosen already."""
        here = self.selection
        place = here.side, here.element
        model = self.view.selectionModel()
        if any(self._mzi(index.row()) == place for index in model.selectedRows()):
            return
        self.view.clearSelection()
        row = next((row for row in range(self.rows.rowCount()) if self._mzi(row) == place), None)
        if row is not None:
            self.view.selectRow(row)

    def _mzi(self, row: int) -> tuple[str, int] | None:
        heater = self.rows.heater(row)
        return None if heater.kind == "screen" else (heater.side, heater.at)

    def _go(self, index: QtCore.QModelIndex) -> None:
        place = self._mzi(index.row())
        if place is not None:
            self.selection.set(side=place[0], element=place[1])


def _places(side: str, part: Part, phases: Phases) -> list[tuple[str, list[Heater]]]:
    """The heaters of a mesh that are commanded, by kind in the order of its phases."""
    columns, rails = part.columns.tolist(), part.rails.tolist()
    every = [
        (kind, [Heater(side, i, kind, column, rail) for i, (column, rail) in enumerate(zip(columns, rails))])
        for kind in ("theta", "phi")
    ]
    every.append(("screen", [Heater(side, rail, "screen", -1, rail) for rail in range(part.modes)]))
    return [(kind, places) for kind, places in every if phases.get(kind) is not None]
