"""The traces panel: the phases of all MZIs of a block from step to step, as one picture."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.backend import Array
from l2sim.given import wrapped

from ...base import painting, theme
from ...base.files import Table
from ...base.panel import Panel, pointed
from ...base.widgets import filled
from ...mesh import colours as mesh_colours
from ...mesh import values as mesh_values
from ...mesh import words
from ...mesh.colours import HATCH, PHASE, Scale
from ...mesh.geometry import TITLES, Scene, Thing
from ...mesh.history import LATER
from ...mesh.legend import Legend
from ...mesh.raster import MARKED
from .pins import kinds
from .sampled import Row, Sampled

if TYPE_CHECKING:
    from l2sim.inspect.run import Stage

    from ...base.model import Layer, RunModel, Selection

Qt = QtCore.Qt
SEEN = {"all", "theme", "frames", "layer", "block", "parameters"}
MARKS = {"step", "element", "side"}
MOVED, PHASES = "change since the stage began", "the phase itself"
GAP = 4
"""Pixels between the picture and what is written around it."""


class Picture(QtWidgets.QWidget):
    """A row an MZI, a column a recorded step. Where rows are finer than pixels, that which moved farthest is drawn."""

    hovered = QtCore.Signal(int, int)  # row, column; -1 for none
    clicked = QtCore.Signal(int, int)
    walked = QtCore.Signal(int)  # rows downwards

    def __init__(self) -> None:
        super().__init__()
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMinimumSize(160, 90)
        self.setAccessibleName("Phases by step")
        self.note = ""
        self.table: Array = np.zeros((0, 0), np.float32)
        self.scale = PHASE
        self.parts: list[tuple[str, int]] = []
        """Titles of what stands below each other, and how many rows each has."""
        self.stages: list[tuple[str, float]] = []
        """Names of the stages, and the column that each begins at."""
        self.steps: list[int] = []
        self.row = self.at = -1
        """The row of the selected MZI, and the column of the step on show."""
        self.wrong = 0
        self._image: Array | None = None
        self._drawn: tuple[int, int, str] = (0, 0, "")

    def show_table(self, table: Array, scale: Scale) -> None:
        """Draw other values (C, rows)."""
        self.table, self.scale, self._image = table, scale, None
        self.update()

    def room(self) -> QtCore.QRectF:
        """Where the picture is drawn, inside the names of stages, rows and steps."""
        metrics = QtGui.QFontMetrics(painting.smaller(self.font()))
        most = max((metrics.horizontalAdvance(self.name(row)) for row in self._ends()), default=0)
        left, tall = most + 2.0 * GAP, metrics.height() + GAP
        return QtCore.QRectF(left, tall, max(self.width() - left - 2 * GAP, 10), max(self.height() - 2 * tall, 10))

    def _ends(self) -> list[int]:
        """The first and the last row of every part."""
        ends = np.cumsum([0, *(count for _, count in self.parts)])
        return [row for a, b in pairwise(ends.tolist()) for row in dict.fromkeys((a, b - 1))]

    def name(self, row: int) -> str:
        """What a row is called beside the picture, e.g. "V* 12"."""
        for title, count in self.parts:
            if row < count:
                return f"{title} {row}".strip()
            row -= count
        return ""

    def groups(self) -> Array:
        """The first row of every line of pixels: of several rows in one where there are more rows than pixels."""
        per = max(1, -(-self.table.shape[1] // max(int(self.room().height() * self.devicePixelRatioF()), 1)))
        ends = np.cumsum([0, *(count for _, count in self.parts)])
        return np.concatenate([np.arange(a, b, per) for a, b in pairwise(ends)] or [ends])

    def image(self) -> Array:
        """The picture (lines, C) uint32."""
        groups = self.groups()
        drawn = (len(groups), self.table.shape[0], theme.now().name)
        if self._image is None or self._drawn != drawn:
            if self.scale.kind == "cyclic":
                lines = self.table[:, groups]
            else:
                highest, lowest = (by.reduceat(self.table, groups, axis=1) for by in (np.maximum, np.minimum))
                lines = np.where(highest > -lowest, highest, lowest)
            colours = np.empty(lines.size, np.uint32)
            self.wrong = mesh_colours.paint(lines.T.reshape(-1), self.scale, theme.now().name, colours)
            colours[colours == MARKED] = HATCH[theme.now().name]
            self._image, self._drawn = colours.reshape(lines.shape[::-1]), drawn
        return self._image

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter, now = painting.canvas(self)
        painting.small_text(painter)
        if not self.table.size or self.note:
            painting.note(painter, self.rect().adjusted(12, 4, -12, -4), self.note)
            painter.end()
            return
        room, colours = self.room(), self.image()
        painter.drawImage(room, painting.image(colours, *colours.shape))
        self._rows(painter, room)
        self._steps(painter, room)
        if self.at >= 0:
            x = self.x(self.at + 0.5)
            for pen, wide in ((now.base, 4), (now.text, 2)):
                painter.setPen(QtGui.QPen(QtGui.QColor(pen), wide))
                painter.drawLine(QtCore.QPointF(x, room.top() - 2), QtCore.QPointF(x, room.bottom() + 2))
        if self.row >= 0:
            y, tall = self.y(self.row), max(self.y(1) - self.y(0), 3.0)
            painter.setPen(QtGui.QPen(QtGui.QColor(now.accent), 2))
            painter.drawRect(QtCore.QRectF(room.left() - 1, y - 1, room.width() + 2, tall + 1))
        if self.hasFocus():
            painter.setPen(QtGui.QPen(QtGui.QColor(now.accent), 1))
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))
        painter.end()

    def _rows(self, painter: QtGui.QPainter, room: QtCore.QRectF) -> None:
        """Names of the first and last rows, and lines between the parts."""
        now, tall = theme.now(), painter.fontMetrics().height()
        painter.setPen(QtGui.QColor(now.faint))
        free = 0.0
        ends = self._ends()
        for row in ends:
            y = min(max(self.y(row + 0.5) - tall / 2, room.top()), room.bottom() - tall)
            if row == ends[-1]:
                y = room.bottom() - tall
            if y >= free and (row == ends[-1] or y + 2 * tall <= room.bottom()):
                box = QtCore.QRectF(GAP, y, room.left() - 2 * GAP, tall)
                painting.write(painter, box, painting.RIGHT, self.name(row))
                free = y + tall
        painter.setPen(QtGui.QPen(QtGui.QColor(now.base), 3))
        for end in np.cumsum([count for _, count in self.parts])[:-1].tolist():
            painter.drawLine(QtCore.QPointF(room.left(), self.y(end)), QtCore.QPointF(room.right(), self.y(end)))

    def _steps(self, painter: QtGui.QPainter, room: QtCore.QRectF) -> None:
        """Bounds and names of the stages above, steps below."""
        now, tall = theme.now(), painter.fontMetrics().height()
        bounds = [self.x(column) for _, column in self.stages] + [room.right()]
        for (name, _), x, end in zip(self.stages, bounds[:-1], bounds[1:]):
            painter.setPen(QtGui.QColor(now.faint))
            painting.write(painter, QtCore.QRectF(x + 2, 1, end - x - 4, tall), painting.LEFT, name)
            for pen, wide in ((now.base, 3), (now.faint, 1)):
                painter.setPen(QtGui.QPen(QtGui.QColor(pen), wide))
                painter.drawLine(QtCore.QPointF(x, room.top() - tall), QtCore.QPointF(x, room.bottom()))
        painter.setPen(QtGui.QColor(now.faint))
        shares = np.linspace(0, len(self.steps) - 1, 5).astype(int).tolist()
        places = [(self.x(at + 0.5), f"step {self.steps[at]:,}") for at in dict.fromkeys(shares)]
        painting.along(painter, places, room.bottom() + 3, (room.left(), room.right() + GAP))

    def x(self, column: float) -> float:
        """The pixel of a column's left edge."""
        room = self.room()
        return float(room.left() + column / max(self.table.shape[0], 1) * room.width())

    def y(self, row: float) -> float:
        """The pixel of a row's upper edge."""
        room, groups = self.room(), self.groups()
        line = float(np.interp(row, [*groups, self.table.shape[1]], np.arange(len(groups) + 1)))
        return float(room.top() + line / max(len(groups), 1) * room.height())

    def cell(self, at: QtCore.QPointF) -> tuple[int, int]:
        """Row and column of a pixel, -1 outside. Of several rows in a line the one that is drawn."""
        room = self.room()
        if not self.table.size or not room.contains(at):
            return -1, -1
        groups, (columns, rows) = self.groups(), self.table.shape
        column = min(int((at.x() - room.left()) / room.width() * columns), columns - 1)
        line = min(int((at.y() - room.top()) / room.height() * len(groups)), len(groups) - 1)
        first, end = [*groups.tolist(), rows][line : line + 2]
        here = self.table[column, first:end]
        return first + (0 if self.scale.kind == "cyclic" else int(np.argmax(np.abs(here)))), column

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:
        self.hovered.emit(*self.cell(pointed(event)))

    def leaveEvent(self, event: QtCore.QEvent) -> None:
        self.hovered.emit(-1, -1)

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        row, column = self.cell(pointed(event))
        if event.button() == Qt.MouseButton.LeftButton and row >= 0:
            self.clicked.emit(row, column)

    def keyPressEvent(self, event: QtGui.QKeyEvent) -> None:
        down = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}.get(event.key())
        if down is None or event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            super().keyPressEvent(event)
        else:
            self.walked.emit(down)


class Traces(Panel):
    """Phases of the block on show, MZI by step."""

    what = (
        "Every phase of the block on show through the whole run: a row an MZI, a column a recorded step, coloured by "
        "how far the phase has moved since its stage began, or by the phase itself. Upright lines are the stages' "
        "beginnings and the step on show. A click goes to step and MZI; the arrow keys up and down walk the MZIs."
    )
    every = 0.5

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.sampled, self.picture, self.legend = Sampled(), Picture(), Legend(guides=False)
        self.rows: list[Row] = []
        self._scene: Scene | None = None
        self.heading, self.said = theme.mark(QtWidgets.QLabel(), "part"), theme.mark(QtWidgets.QLabel(), "faint")
        self.said.setAccessibleName("What the pointer is over")
        for label in (self.heading, self.said):
            label.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Preferred)
        self.quantity, self.kind = QtWidgets.QComboBox(), QtWidgets.QComboBox()
        self.quantity.addItems([MOVED, PHASES])
        for box, name in ((self.quantity, "What the colours mean"), (self.kind, "Which phase")):
            box.setAccessibleName(name)
            box.setToolTip(name)
            box.currentIndexChanged.connect(lambda *_: self.refresh({"all"}))
        self.picture.hovered.connect(self._hover)
        self.picture.clicked.connect(self._click)
        self.picture.walked.connect(self._walk)
        row = filled(QtWidgets.QHBoxLayout(), (self.heading, 1), self.kind, self.quantity, margins=(8, 4, 8, 2))
        self.said.setContentsMargins(10, 1, 10, 1)
        filled(QtWidgets.QVBoxLayout(self), row, (self.picture, 1), self.said, self.legend, spacing=0)
        self.show_run(None)

    def show_run(self, model: RunModel | None, reference: RunModel | None = None) -> None:
        """Show another run."""
        if model is not self.model or model is None:
            self.sampled, self.rows = Sampled(), []
            self._empty("" if model else "No run is open.")
        super().show_run(model, reference)

    def refresh(self, changed: set[str]) -> None:
        """Paint what changed."""
        if self.model is None:
            return
        if changed & SEEN or self.sampled.pending:
            self._paint(self.model)
        elif changed & MARKS:
            self._mark()

    def table(self) -> Table | None:
        """A row an MZI, a column for the value at every step that is drawn, rad."""
        values = self.picture.table
        if self.model is None or not values.size:
            return None
        head = ["side", "MZI", *(f"{self.kind.currentText()} {self._quantity}, step {step} (rad)" for step in
                                 self.sampled.steps.tolist())]  # fmt: skip
        return head, [(*row, *of_row) for row, of_row in zip(self.rows, values.T.tolist())]

    # -- inside --------------------------------------------------------------------------------------------------------

    @property
    def _quantity(self) -> str:
        return str(self.quantity.currentText())

    def _empty(self, note: str) -> None:
        self.heading.setText("")
        self.said.setText("")
        self.picture.note, self.picture.parts, self.picture.stages, self.picture.steps = note, [], [], []
        self.picture.show_table(np.zeros((0, 0), np.float32), PHASE)
        self.legend.show_scale(None, "", "", 0)

    def _layer(self, model: RunModel) -> Layer | None:
        return model.layers.get(self.selection.layer, next(iter(model.layers.values()), None))

    def _kind(self, layer: Layer) -> str:
        """theta or phi, as is chosen; of cores there is one."""
        names = kinds(next(iter(layer.parts.values())))
        if [self.kind.itemText(i) for i in range(self.kind.count())] != list(names.values()):
            self.kind.blockSignals(True)
            self.kind.clear()
            self.kind.addItems(list(names.values()))
            self.kind.blockSignals(False)
        self.kind.setVisible(len(names) > 1)
        kind: str = list(names)[max(self.kind.currentIndex(), 0)]
        return kind

    def _paint(self, model: RunModel) -> None:
        """Read on, and draw what was read."""
        layer, sampled, picture = self._layer(model), self.sampled, self.picture
        if layer is None:
            self._empty("This run has no photonic layers.")
            return
        block = min(max(self.selection.block, 0), layer.p * layer.q - 1)
        sampled.of(model, layer.name, block, self._kind(layer))
        self.rows = sampled.rows
        sampled.look()
        if not len(sampled.steps):
            self._empty("Nothing has been commanded yet: there is no phase to follow.")
            return
        moved = self._quantity == MOVED
        values = sampled.values(moved)
        picture.note, picture.steps = "", sampled.steps.tolist()
        sides = dict.fromkeys(row.side for row in self.rows)
        picture.parts = [(TITLES.get(side, side), len(layer.parts[side].columns)) for side in sides]
        picture.stages = self._stages(model.stages)
        ends = np.array([values.min(), values.max()])  # far cheaper than a look at every value
        scale = PHASE
        if moved:
            of = ends if np.isfinite(ends).all() else values
            scale = mesh_colours.diverging([of], "rad", mesh_values.ROUNDING)
        picture.show_table(values, scale)
        picture.image()
        badge = model.badge.get("theta", "commanded")
        self.legend.show_scale(scale, f"{self.kind.currentText()}: {self._quantity}", badge, picture.wrong)
        self.heading.setText(layer.name + (f" · block {block}" if layer.p * layer.q > 1 else ""))
        self.said.setText(self._summary())
        self._mark()
        if sampled.pending:
            QtCore.QTimer.singleShot(LATER, self._more)

    def _more(self) -> None:
        """Read on."""
        if self.isVisible():
            self.refresh(set())

    def _stages(self, stages: list[Stage]) -> list[tuple[str, float]]:
        """The column that each stage begins at, of those that have one."""
        every, stride = self.sampled.recorded, self.sampled.stride
        begin = [int(np.searchsorted(every, stage.first_step, side="right")) for stage in stages]
        ends = [*begin[1:], len(every)]
        return [(stage.name, a / stride) for stage, a, b in zip(stages, begin, ends) if b > a]

    def _summary(self) -> str:
        """One line on the whole picture."""
        sampled, lines = self.sampled, len(self.picture.groups())
        said = f"{len(self.rows):,} MZIs by {len(sampled.recorded):,} recorded steps"
        said += f", one in {sampled.stride} drawn" if sampled.stride > 1 else ""
        if lines < len(self.rows):
            said += f"; up to {-(-len(self.rows) // lines)} MZIs share a line"
            said += " in the colour of the one that moved farthest" if self.picture.scale.kind != "cyclic" else ""
        return f"{said}. A click goes there." if not sampled.pending else f"{said}. Reading on…"

    def _mark(self) -> None:
        here = self.selection
        row = Row(here.side if any(r.side == here.side for r in self.rows) else "", here.element or 0)
        at = self.rows.index(row) if here.element is not None and row in self.rows else -1
        self.picture.row, self.picture.at = at, self.sampled.column(here.at)
        self.picture.update()

    def _hover(self, row: int, column: int) -> None:
        if row < 0 or self.model is None or row >= len(self.rows):
            self.said.setText(self._summary() if self.rows else "")
            return
        step, value = int(self.sampled.steps[column]), float(self.picture.table[column, row])
        value = value if self._quantity == MOVED else float(wrapped(value))
        name = f"{value:+.4f} rad since the stage began" if self._quantity == MOVED else f"{value:.4f} rad"
        layer, kind = self._layer(self.model), "theta" if self.kind.currentIndex() <= 0 else "phi"
        assert layer is not None
        if self._scene is None or self._scene.layer is not layer:
            self._scene = Scene(layer)
        thing = Thing(self.rows[row].side, kind, self.rows[row].element)
        stage = self.model.stage_at(step)
        self.said.setText(f"step {step:,}{f' ({stage})' if stage else ''}: {words.name(self._scene, thing)}, {name}")

    def _click(self, row: int, column: int) -> None:
        side, element = self.rows[row]
        self.selection.set(step=int(self.sampled.steps[column]), side=side, element=element)

    def _walk(self, down: int) -> None:
        if self.rows:
            at = self.picture.row + down if self.picture.row >= 0 else 0
            side, element = self.rows[min(max(at, 0), len(self.rows) - 1)]
            self.selection.set(side=side, element=element)
