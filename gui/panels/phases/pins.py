"""MZIs side by side: a column for each, the one on show first, a row for every quantity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.chip.devices import TABLES
from l2sim.given import wrapped
from l2sim.inspect.drive import Drive, drive

from ...base import painting, theme
from ...base.widgets import copied
from ...mesh import values as mesh_values
from ...mesh.geometry import TITLES
from ...mesh.history import recorded

if TYPE_CHECKING:
    from l2sim.inspect.chips import Truth

    from ...base.model import Part, Phases, RunModel

Qt = QtCore.Qt
NEGLIGIBLE = 5e-5
"""Radians below which a non-ideality is said to have no effect: four digits are shown."""
CROSS = "  ×"
"""What a head ends in, where a click unpins."""
Column = Mapping[str, str]
"""What is known of an MZI, by quantity."""


class Place(NamedTuple):
    """Which MZI."""

    layer: str
    block: int
    side: str
    element: int


def kinds(part: Part) -> dict[str, str]:
    """The phases of an MZI by name and letter: theta, and of a complex one phi."""
    return {"theta": "θ", "phi": "φ"} if part.complex else {"theta": "θ"}


def column(model: RunModel, place: Place, at: int, phases: Phases, truth: Truth | None) -> Column:
    """Every quantity of one MZI at step `at`, whose mesh is commanded `phases`; of the `truth` where it may be told."""
    layer, i = model.layers[place.layer], place.element
    job, imperfect = model.job_at(at), mesh_values.imperfections(model, at)
    since = mesh_values.began(model, recorded(model, layer), at)
    before = model.phases(place.layer, place.block, place.side, since)
    rows: dict[str, str] = {}
    for kind, name in kinds(layer.parts[place.side]).items():
        if phases.get(kind) is None:
            continue
        phase = float(np.asarray(phases[kind])[i])
        rows |= _driven(name, drive([phase], imperfect, TABLES[job.cost.table].pi_w))
        if before.get(kind) is not None:
            moved = mesh_values.turned(np.array(phase - float(np.asarray(before[kind])[i])))
            rows[f"{name} moved in stage (rad)"] = f"{moved:+.4f}"
        rows |= _true(truth, kind, name, i, phase) if truth else {}
    return rows


def _driven(name: str, driven: Drive) -> dict[str, str]:
    """The command, and what the data sheet says that it is driven with."""
    if not np.isfinite(driven.phase[0]):
        return {f"{name} commanded (rad)": "no number"}
    turns = int(driven.turns[0])
    rows = {
        f"{name} commanded (rad)": f"{driven.phase[0]:.4f}", f"{name} turns of 2π": f"{turns:+d}" if turns else "0",
    }  # fmt: skip
    if driven.code is not None:
        rows[f"{name} code of {driven.last}"] = f"{driven.code[0]:.0f}"
    if driven.volts is not None and driven.room is not None:
        rows |= {f"{name} volts (V)": f"{driven.volts[0]:.3f}", f"{name} to V_max (V)": f"{driven.room[0]:.3f}"}
    return rows | {f"{name} mW, estimated": f"{driven.milliwatts[0]:.3g}"}


def _true(truth: Truth, kind: str, name: str, i: int, commanded: float) -> dict[str, str]:
    """What only an oracle knows of a phase: what it is, whether its heater obeys, and the share of every non-ideality
    in the difference."""
    if kind not in truth["actual"]:
        return {}
    actual = float(truth["actual"][kind][i])
    apart = float(mesh_values.turned(np.array(actual - commanded)))
    fates = {"dead": truth.get("dead", {}), "stuck": truth.get("stuck", {})}
    fate = [words for words, broken in fates.items() if kind in broken and broken[kind][i]]
    rows = {
        f"{name} actual, oracle (rad)": f"{wrapped(actual):.4f}", f"{name} off, oracle (rad)": f"{apart:+.4f}",
        f"{name} heater, oracle": fate[0] if fate else "obeys",
    }  # fmt: skip
    shares = {term: float(by[kind][i]) for term, by in truth["terms"].items() if kind in by}
    return rows | {f"{name} by {term}, oracle": f"{share:+.4f}" for term, share in shares.items()}


def quantities(columns: list[Column]) -> list[str]:
    """The rows of a table of these columns: what any of them has, but for non-idealities that do nothing to all."""
    rows: list[str] = []
    for one in columns:
        before = -1
        for row in one:
            if row not in rows:
                rows.insert(before + 1, row)
            before = rows.index(row)
    idle = {"", "obeys", "+0.0000", "-0.0000"}
    quiet = (" by ", " heater, ")
    return [row for row in rows if not any(q in row for q in quiet) or {c.get(row, "") for c in columns} - idle]


def names(places: list[Place]) -> list[str]:
    """What columns are called: by part and number, and where they are of several blocks, by these too."""
    apart = len({place[:2] for place in places}) > 1
    blocks = [f"{place.layer} {place.block} " if apart else "" for place in places]
    return [f"{block}{TITLES.get(p.side, p.side) or 'MZI'} {p.element}" for block, p in zip(blocks, places)]


class _Cells(QtCore.QAbstractTableModel):
    """The table as Qt reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.heads: list[str] = []
        self.rows: list[str] = []
        self.columns: list[Column] = []

    def rowCount(self, parent: QtCore.QModelIndex | None = None) -> int:
        return len(self.rows)

    def columnCount(self, parent: QtCore.QModelIndex | None = None) -> int:
        return len(self.columns)

    def headerData(
        self, section: int, orientation: QtCore.Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> str | None:
        names = self.heads if orientation == Qt.Orientation.Horizontal else self.rows
        return names[section] if role == Qt.ItemDataRole.DisplayRole and section < len(names) else None

    def data(
        self, index: QtCore.QModelIndex, role: int = Qt.ItemDataRole.DisplayRole
    ) -> str | int | QtGui.QBrush | None:
        text = self.columns[index.column()].get(self.rows[index.row()], "")
        if role == Qt.ItemDataRole.DisplayRole:
            return text
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ForegroundRole and text in ("dead", "stuck", "no number"):
            return QtGui.QBrush(QtGui.QColor(theme.now().bad))
        return None


class _Heads(QtWidgets.QHeaderView):
    """Heads that are links: a click goes to the MZI, one on the cross of a pinned one unpins it."""

    chosen = QtCore.Signal(int)
    crossed = QtCore.Signal(int)

    def __init__(self) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.pinned: list[bool] = []
        self.setSectionsClickable(True)
        self.setToolTip("A click goes to this MZI; one on × unpins it, as Delete does in its column")
        self.viewport().setCursor(Qt.CursorShape.PointingHandCursor)

    def paintSection(self, painter: QtGui.QPainter, area: QtCore.QRect, section: int) -> None:
        now, text = theme.now(), str(self.model().headerData(section, Qt.Orientation.Horizontal))
        painter.save()
        painter.fillRect(area, QtGui.QColor(now.raised))
        painter.setPen(QtGui.QColor(now.line))
        painter.drawLine(area.topRight(), area.bottomRight())
        inner, wide = area.adjusted(6, 0, -4, 0), self.fontMetrics().horizontalAdvance(CROSS)
        if self.pinned[section]:
            painter.setPen(QtGui.QColor(now.faint))
            painter.drawText(inner, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter), CROSS)
            inner.adjust(0, 0, -wide, 0)
        font = painter.font()
        font.setUnderline(True)
        painter.setFont(font)
        painter.setPen(QtGui.QColor(now.accent))
        painter.drawText(inner, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), text)
        painter.restore()

    def mouseReleaseEvent(self, event: QtGui.QMouseEvent) -> None:
        super().mouseReleaseEvent(event)
        x = int(event.position().x() if hasattr(event, "position") else event.x())
        section = self.logicalIndexAt(x)
        if section < 0 or event.button() != Qt.MouseButton.LeftButton:
            return
        end = self.sectionViewportPosition(section) + self.sectionSize(section)
        cross = self.pinned[section] and x > end - self.fontMetrics().horizontalAdvance(CROSS) - 6
        (self.crossed if cross else self.chosen).emit(section)


class Pins(QtWidgets.QTableView):
    """The table. `chosen` is the MZI to go to, `unpinned` the one to let go of."""

    chosen = QtCore.Signal(object)  # Place
    unpinned = QtCore.Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.places: list[Place] = []
        self.cells, self.heads = _Cells(), _Heads()
        self.setModel(self.cells)
        self.setHorizontalHeader(self.heads)
        self.heads.chosen.connect(lambda section: self.chosen.emit(self.places[section]))
        self.heads.crossed.connect(lambda section: self.unpinned.emit(self.places[section]))
        self.activated.connect(lambda index: self.chosen.emit(self.places[index.column()]))
        self.setAccessibleName("Pinned MZIs side by side")
        self.setToolTip("Return goes to the MZI of a column, Delete unpins it, Ctrl+C copies the table")
        self.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QtWidgets.QAbstractItemView.EditTrigger.NoEditTriggers)
        copied(self)
        self.setTabKeyNavigation(False)
        self.setWordWrap(False)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self.setShowGrid(False)
        small = painting.smaller(self.font(), 2.0)
        for widget in (self, self.heads, self.verticalHeader()):
            widget.setFont(small)
        self.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 4)
        self.verticalHeader().setSectionsClickable(False)

    def put(self, columns: dict[Place, Column], pinned: list[Place]) -> None:
        """Show these, in this order."""
        cells, rows, places = self.cells, quantities(list(columns.values())), list(columns)
        if rows == cells.rows and places == self.places:
            cells.columns = list(columns.values())
            self.viewport().update()
        else:
            current = self.currentIndex()
            cells.beginResetModel()
            cells.heads, cells.rows, cells.columns = names(places), rows, list(columns.values())
            self.places = places
            self.heads.pinned = [place in pinned for place in places]
            cells.endResetModel()
            if current.isValid() and places:
                row, across = min(current.row(), len(rows) - 1), min(current.column(), len(places) - 1)
                self.setCurrentIndex(cells.index(row, across))
            for section, (name, of_place) in enumerate(zip(cells.heads, columns.values())):
                wide = max(self.fontMetrics().horizontalAdvance(text) for text in (name + CROSS, *of_place.values()))
                self.setColumnWidth(section, wide + 12)
        self.heads.pinned = [place in pinned for place in places]
        self.heads.viewport().update()
        bar = self.horizontalScrollBar().sizeHint().height()
        self.setFixedHeight(self.heads.sizeHint().height() + self.verticalHeader().length() + bar + 4)

    def keyPressEvent(self, event: QtGui.QKeyEvent) -> None:
        at = self.currentIndex().column()
        if event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace) and 0 <= at < len(self.places):
            self.unpinned.emit(self.places[at])
        else:
            super().keyPressEvent(event)
