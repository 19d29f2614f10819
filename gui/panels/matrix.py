"""The matrix panel: what a block should do, what it does, and the difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.backend import Array
from l2sim.errors import L2simError
from l2sim.inspect import budget, findings
from l2sim.inspect.diagnose import Place

from ..base import painting, theme
from ..base.files import Table
from ..base.panel import Panel, pointed
from ..base.widgets import filled, paragraph
from ..mesh import light
from ..mesh import values as mesh_values
from ..mesh.colours import HATCH, Scale, diverging, number, paint, sequential
from ..mesh.legend import paint_bar
from ..mesh.raster import MARKED
from ..mesh.values import ROUNDING

if TYPE_CHECKING:
    from ..base.model import Phases, RunModel, Selection

Qt = QtCore.Qt
SEEN = {"all", "theme", "frames", "step", "layer", "block", "parameters"}


class Titled(NamedTuple):
    """A matrix with where it comes from; `values` None says in `note` why there is none."""

    title: str
    badge: str
    values: Array | None
    note: str = ""


REAL = "imaginary parts are not shown"


def realised(model: RunModel, layer: str, block: int, step: int | None) -> Titled:
    """U diag(sigma) V* of a core (or the matrix of a whole mesh): as the simulated chip has it, where there is one at
    this step, else of an ideal chip at the commanded phases."""
    phases = mesh_values.frame(model, layer, block, step)
    if not phases:
        return Titled("realised", "", None, "no phases were recorded yet")
    known = model.realised(layer, block, step)
    if known is not None:
        return Titled("realised", "oracle", known)
    return commanded(model, layer, phases)


def commanded(model: RunModel, layer: str, phases: Mapping[str, Phases]) -> Titled:
    """The matrix of an ideal chip at commanded phases."""
    parts = model.layers[layer].parts
    made: dict[str, Array] = {}
    try:
        for side, part in parts.items():
            unsigned = light.matrix(part, phases.get(side, {}))
            signs = phases.get(side, {}).get("signs")
            made[side] = unsigned if signs is None else np.asarray(signs)[:, None] * unsigned
    except L2simError as error:
        return Titled("realised", "estimated", None, str(error))
    blind = not all(part.complex for part in parts.values()) and not any("signs" in side for side in phases.values())
    return Titled(
        "realised", "estimated", product(made, phases),
        "the signs at the output ports are not recorded: all taken as +1" if blind else "",
    )  # fmt: skip


def product(parts: dict[str, Array], phases: Mapping[str, Phases]) -> Array:
    """U diag(sigma) V* of the parts, or the one matrix there is."""
    if "u" not in parts or "v" not in parts:
        return next(iter(parts.values()))
    sigma = np.asarray(phases.get("sigma", {}).get("sigma", np.ones(len(parts["u"]))), float)
    whole: Array = (parts["u"] * sigma) @ parts["v"]
    return whole


def three(model: RunModel, layer: str, block: int, step: int | None) -> list[Titled]:
    """Target, realised, difference; of a whole mesh, which has no target: commanded, realised, difference, as |.|."""
    shape = model.layers[layer]
    got = realised(model, layer, block, step)
    if all(part.complex for part in shape.parts.values()) and shape.sigma is None:
        phases = mesh_values.frame(model, layer, block, step)
        ideal = commanded(model, layer, phases) if phases else got
        first = ideal._replace(title="|U|, ideal chip")
        if got.badge != "oracle":
            got = Titled("|U| realised", "", None, mesh_values.untold(model))
        first, second = (t._replace(values=None if t.values is None else np.abs(t.values)) for t in (first, got))
        second = second._replace(title="|U| realised")
    else:
        aim = model.target(layer, block, step)
        matrix = np.asarray(aim["matrix"]) if aim and aim.get("matrix") is not None else None
        first = Titled("target", model.badge.get("target", "estimated"), matrix, "the weights are not trained yet")
        second = got
        if got.values is not None and np.iscomplexobj(got.values):
            second = got._replace(title="Re of realised", values=np.real(got.values), note=REAL)
    if first.values is None or second.values is None or first.values.shape != second.values.shape:
        return [first, second, Titled("difference", "", None, "needs both")]
    return [first, second, Titled("difference", second.badge, np.real(second.values - first.values))]


def _error(model: RunModel, layer: str, block: int, step: int) -> str:
    """The error of a block in words: the one that error budgets divide, where there is an oracle."""
    at = Place(model, layer, block, step)
    try:
        error = budget.error(at)
        none = findings.nothing(error)
        said = f"is {none}" if none else f"= {number(error)}"
        return f"step {step:,}: {budget.measure(at).partition(',')[0].replace('^2', '²')} {said}"
    except L2simError:
        return f"step {step:,}"


def largest(values: Array, used: tuple[int, int] | None) -> tuple[int, int]:
    """Where the largest value by size is, among the outputs and inputs that count."""
    part = np.abs(np.nan_to_num(values[slice(used and used[0]), slice(used and used[1])]))
    row, column = np.unravel_index(int(part.argmax()), part.shape)
    return int(row), int(column)


class Picture(QtWidgets.QWidget):
    """One matrix with title, badge and scale."""

    hovered = QtCore.Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.content = Titled("", "", None)
        self.scale: Scale = diverging([], "")
        self.setMouseTracking(True)
        self.marked: tuple[int, int] | None = None
        self.used: tuple[int, int] | None = None

    def show_matrix(self, content: Titled, scale: Scale, used: tuple[int, int] | None = None) -> None:
        """Show another one, of which so many outputs and inputs count."""
        self.content, self.scale, self.used = content, scale, used
        self.setAccessibleName(f"Matrix: {content.title}, {content.badge or content.note}")
        self.marked = None
        if content.title == "difference" and content.values is not None and content.values.size:
            place = largest(content.values, used)
            rounding = abs(content.values[place]) < 0.999 * scale.high  # the scale ends at it, unless it is so small
            self.marked = None if rounding else place
        self.update()

    def minimumSizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(90, self._head() + self._foot() + 40)

    def _head(self) -> int:
        """Pixels for title and badge."""
        return 2 * int(self.fontMetrics().height()) + 4

    def _foot(self) -> int:
        """Pixels for the bar and its numbers."""
        return 16 + int(QtGui.QFontMetrics(painting.smaller(self.font())).height())

    def area(self) -> QtCore.QRectF:
        """Where the matrix is."""
        rows, columns = self.content.values.shape if self.content.values is not None else (1, 1)
        cell = min((self.width() - 16) / columns, (self.height() - self._head() - self._foot()) / rows)
        wide, tall = columns * cell, rows * cell
        return QtCore.QRectF((self.width() - wide) / 2, self._head(), max(wide, 1.0), max(tall, 1.0))

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        (painter, now), content = painting.canvas(self), self.content
        painter.setPen(QtGui.QColor(now.text))
        line = QtCore.QRectF(4, 1, self.width() - 8, painter.fontMetrics().height())
        painting.write(painter, line, painting.CENTRE, content.title)
        painter.setPen(QtGui.QColor(now.faint))
        painting.write(painter, line.translated(0, line.height()), painting.CENTRE, content.badge)
        if content.values is None:
            painting.note(painter, self.rect().adjusted(4, self._head(), -4, -4), content.note)
            painter.end()
            return
        rows, columns = content.values.shape
        colours = np.empty(rows * columns, np.uint32)
        paint(content.values.reshape(-1), self.scale, now.name, colours)
        colours[colours == MARKED] = HATCH[now.name]
        area = self.area()
        painter.drawImage(area, painting.image(colours, rows, columns))
        cell = area.width() / columns
        if self.used is not None and self.used != (rows, columns):
            tall, wide = (count * cell for count in self.used)
            veil = QtGui.QBrush(QtGui.QColor(now.faint), Qt.BrushStyle.BDiagPattern)
            painter.fillRect(QtCore.QRectF(area.left(), area.top() + tall, area.width(), area.height() - tall), veil)
            painter.fillRect(QtCore.QRectF(area.left() + wide, area.top(), area.width() - wide, tall), veil)
        if self.marked:
            row, column = self.marked
            painter.setPen(QtGui.QPen(QtGui.QColor(now.warn), 2))
            painter.drawRect(QtCore.QRectF(area.left() + column * cell, area.top() + row * cell, cell, cell))
        self._bar(painter, QtCore.QRectF(area.left(), area.bottom() + 6, area.width(), 6))
        painter.end()

    def _bar(self, painter: QtGui.QPainter, bar: QtCore.QRectF) -> None:
        paint_bar(painter, bar, self.scale, 128)
        painting.small_text(painter)
        painter.setPen(QtGui.QColor(theme.now().faint))
        ticks = self.scale.ticks()
        if bar.width() < 110:  # room for one number only
            ticks = [(0.5, ("±" if self.scale.kind == "diverging" else "0 to ") + number(self.scale.high))]
        places = [(bar.left() + share * bar.width(), text) for share, text in ticks]
        painting.along(painter, places, bar.bottom() + 2, (0.0, float(self.width())))

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:
        area, at, values = self.area(), pointed(event), self.content.values
        if values is None or not area.contains(at):
            self.hovered.emit("")
            return
        row = min(int((at.y() - area.top()) / area.height() * values.shape[0]), values.shape[0] - 1)
        column = min(int((at.x() - area.left()) / area.width() * values.shape[1]), values.shape[1] - 1)
        self.hovered.emit(f"{self.content.title}: output {row}, input {column}: {number(float(values[row, column]))}")

    def leaveEvent(self, event: QtCore.QEvent) -> None:
        self.hovered.emit("")


class Matrix(Panel):
    """Target, realised and difference of the selected block, and how large the difference is in words."""

    sees = SEEN
    what = (
        "The matrix of the core on show: what it shall be (target), what the light does (realised), and the "
        "difference."
    )
    every = 0.2

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.matrices: list[Titled] = []
        self.used: tuple[int, int] | None = None
        self.pictures = [Picture() for _ in range(3)]
        self.grid = QtWidgets.QGridLayout()
        self.grid.setSpacing(2)
        for picture in self.pictures:
            picture.hovered.connect(self._say)
        self._wide: bool | None = None
        self._error = ""
        self._arrange()
        self.said = paragraph("faint", margins=(10, 3, 10, 3))
        filled(QtWidgets.QVBoxLayout(self), (self.grid, 1), self.said, spacing=0)
        self.show_run(None)

    def show_run(self, model: RunModel | None, reference: RunModel | None = None) -> None:
        """Show another run."""
        super().show_run(model, reference)
        if model is None:
            self._show([Titled(title, "", None, "no run is open") for title in ("target", "realised", "difference")])

    def refresh(self, changed: set[str]) -> None:
        """Paint what changed."""
        layer, block, step = self.selection.layer, self.selection.block, self.selection.at
        if self.model is not None and changed & SEEN and layer in self.model.layers:
            self._error = _error(self.model, layer, block, step)
            self._show(three(self.model, layer, block, step), self.model.used(layer, block, step))

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        super().resizeEvent(event)
        self._arrange()

    def _arrange(self) -> None:
        """Three in a row where there is room; else the difference below the two others."""
        wide = self.width() > 1.5 * self.height()
        if wide != self._wide:
            self._wide = wide
            for i, picture in enumerate(self.pictures):
                self.grid.removeWidget(picture)
                place = (0, i, 1, 1) if wide else ((0, 0, 1, 1), (0, 1, 1, 1), (1, 0, 1, 2))[i]
                self.grid.addWidget(picture, *place)

    def _show(self, matrices: list[Titled], used: tuple[int, int] | None = None) -> None:
        self.matrices, self.used = matrices, used
        both = [t.values for t in matrices[:2] if t.values is not None]
        amounts = "|" in matrices[0].title
        common = sequential(both, "") if amounts else diverging(both, "")
        rows, columns = used or (None, None)
        for picture, matrix in zip(self.pictures, matrices):
            apart = matrix.values if matrix.title == "difference" else None
            scale = common if apart is None else diverging([apart[:rows, :columns]], "", ROUNDING * common.high)
            picture.show_matrix(matrix, scale, used)
        self._say("")

    def _say(self, text: str) -> None:
        _, second, apart = self.matrices
        if not text and apart.values is not None and second.values is not None:
            rows, columns = self.used or apart.values.shape
            row, column = largest(apart.values, self.used)
            most = float(apart.values[row, column])
            text = f"largest Δ at output {row}, input {column}: {number(most)}"
            if abs(most) < ROUNDING * self.pictures[0].scale.high:
                text = "no difference but rounding"
            text = f"{self._error}; {text}" if self._error else text
            if (rows, columns) != apart.values.shape:
                text += "; hatched: padding, which does not count"
        notes = [t.note for t in self.matrices if t.note and t.values is not None and t.title != "target"]
        self.said.setText("; ".join([text, *notes] if text else notes))

    def table(self) -> Table | None:
        """Every element of what is shown."""
        shown = [t for t in self.matrices if t.values is not None]
        if not shown or shown[0].values is None:
            return None
        head = ["output", "input", *(f"{t.title} ({t.badge})" for t in shown)]
        places = list(np.ndindex(*shown[0].values.shape))
        return head, [(*at, *(float(t.values[at]) for t in shown if t.values is not None)) for at in places]
