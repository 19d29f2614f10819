"""One chart over steps, painted by itself: a graphics scene costs more for its axes than all curves take.

Two pictures are kept. The back has bands, grid and axes and is drawn anew when the view changes; the front is the back
with the curves and is drawn anew when they change. A step that moves is a line over the front. Vectors (SVG) are the
same strokes without the pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from pyqtgraph import functions
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.backend import Array

from ..base import painting, theme, ticks
from ..base.panel import pointed
from .envelope import Band, Flag, Line, View

Qt = QtCore.Qt
NEAR = 4
"""Pixels within which the line of the step is caught."""
FLAG = 6
"""Pixels of a flag, and within which it is read."""


class Chart(QtWidgets.QWidget):
    """Steps to the right, values upwards. The mouse: a click or the line dragged asks for a step, a drag moves along
    the steps and the wheel zooms into them; over the numbers at the left both do so to the values. + and - zoom."""

    asked = QtCore.Signal(float)
    """A step to go to."""
    moved = QtCore.Signal(object)
    """The view that the mouse asks for."""
    whole = QtCore.Signal()
    """All steps are asked for, by a double click."""
    hovered = QtCore.Signal(object)
    """The step under the pointer, None where there is none."""

    def __init__(self, foot: bool) -> None:
        super().__init__()
        self.foot = foot
        self.left = 0
        """Pixels for the numbers of the upright axis; of charts one above the other as many as the widest needs."""
        self.view, self.log = View(), False
        self.bands: list[Band] = []
        self.flags: list[Flag] = []
        self.measure = "step"
        """What goes to the right, as the axis says it."""
        self.named = False
        self.step: float | None = None
        self.readout: list[tuple[str, str]] = []
        self.lines: list[Line] = []
        self._pointer: float | None = None
        self._grip: tuple[str, QtCore.QPointF, View] | None = None  # what the mouse has got hold of, where, and when
        self._back: QtGui.QImage | None = None
        self._front: QtGui.QImage | None = None
        self.setMinimumHeight(60)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.reserve(self.needed())

    # -- what is shown -------------------------------------------------------------------------------------------------

    def look(self, view: View, log: bool) -> None:
        """Look at other steps or values."""
        if (view, log) != (self.view, self.log):
            self.view, self.log = view, log
            self.redraw()

    def stages(self, bands: list[Band]) -> None:
        """Other bands."""
        if bands != self.bands:
            self.bands = bands
            self.redraw()

    def along(self, measure: str) -> None:
        """Something else to the right: steps, or what the axis says."""
        if measure != self.measure:
            self.measure = measure
            self.redraw()

    def mark(self, flags: list[Flag]) -> None:
        """Other flags."""
        if flags != self.flags:
            self.flags = flags
            self.redraw()

    def flagged(self, x: float) -> list[str]:
        """The words of the flags at a pixel."""
        return [flag.words for flag in self.flags if abs(self.x_of(flag.at) - x) <= FLAG]

    def draw(self, lines: list[Line]) -> None:
        """Other curves."""
        self.lines, self._front = lines, None
        self.update()

    def stand(self, step: float | None) -> None:
        """Put the line at another step, or nowhere."""
        if step != self.step:
            self.step = step
            self.update()

    def say(self, readout: list[tuple[str, str]]) -> None:
        """Words at the pointer, (colour, text) each."""
        if readout != self.readout:
            self.readout = readout
            self.update()

    def redraw(self) -> None:
        """Draw everything anew."""
        self._back = self._front = None
        self.update()

    # -- places --------------------------------------------------------------------------------------------------------

    def needed(self) -> int:
        """Pixels that the numbers of the upright axis need in the letters of now."""
        metrics = self.fontMetrics()
        words = (self.measure, *(text for _, text in self.numbers()))
        return 8 + max(int(metrics.horizontalAdvance(text)) for text in words)

    def reserve(self, left: int) -> None:
        """Keep so many pixels for the numbers of the upright axis."""
        if left != self.left:
            self.left = left
            self.redraw()

    def room(self) -> QtCore.QRectF:
        """Where the curves are: with a line of text below where the steps are said."""
        below = self.fontMetrics().height() + 4 if self.foot else 7
        return QtCore.QRectF(self.left, 4, max(self.width() - self.left - 8, 10), max(self.height() - below - 4, 10))

    def numbers(self) -> list[tuple[float, str]]:
        """What the upright axis says, and where."""
        made = ticks.logarithmic if self.log else ticks.linear
        most = int(self.room().height() / (1.8 * self.fontMetrics().height()))
        return made(self.view.bottom, self.view.top, max(2, most))

    def x_of(self, step: float) -> float:
        """The pixel of a step."""
        room, view = self.room(), self.view
        return float(room.left() + (step - view.low) / (view.high - view.low) * room.width())

    def step_at(self, x: float) -> float:
        """The step at a pixel."""
        room, view = self.room(), self.view
        return view.low + float((x - room.left()) / room.width()) * (view.high - view.low)

    def _y_of(self, value: float) -> float:
        room, view = self.room(), self.view
        return float(room.bottom() - (value - view.bottom) / (view.top - view.bottom) * room.height())

    def changeEvent(self, event: QtCore.QEvent) -> None:
        if event.type() == QtCore.QEvent.Type.FontChange:
            self.redraw()
        super().changeEvent(event)

    # -- painting ------------------------------------------------------------------------------------------------------

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        painter.setFont(self.font())
        if painter.paintEngine().type() == QtGui.QPaintEngine.Type.Raster:
            self._pictures()
            painter.drawImage(0, 0, self._front)
        else:
            self._behind(painter)
            self._curves(painter)
        self._over(painter)
        painter.end()

    def _pictures(self) -> None:
        ratio = self.devicePixelRatioF()
        size = QtCore.QSize(math.ceil(self.width() * ratio), math.ceil(self.height() * ratio))
        if self._back is None or self._back.size() != size:
            self._back, self._front = QtGui.QImage(size, QtGui.QImage.Format.Format_RGB32), None
            self._back.setDevicePixelRatio(ratio)
            painter = QtGui.QPainter(self._back)
            painter.setFont(self.font())
            self._behind(painter)
            painter.end()
        if self._front is None:
            self._front = self._back.copy()
            painter = QtGui.QPainter(self._front)
            painter.setFont(self.font())
            self._curves(painter)
            painter.end()

    def _behind(self, painter: QtGui.QPainter) -> None:
        now, room, view = theme.now(), self.room(), self.view
        painter.fillRect(self.rect(), QtGui.QColor(now.base))
        metrics, edges = painter.fontMetrics(), room.toRect()
        painter.setClipRect(edges)
        for band in self.bands:
            left, right = (self.x_of(min(max(s, view.low), view.high)) for s in (band.first, band.last))
            painter.fillRect(
                QtCore.QRectF(left, room.top(), right - left, room.height()), QtGui.QColor(now.bands[band.shade])
            )
        painter.setClipping(False)
        grid, faint = QtGui.QColor(mixed(now.line, now.base, 0.45)), QtGui.QColor(now.faint)
        tall, lowest = metrics.height(), int(room.bottom())
        free = lowest if self.foot else self.height()  # numbers are written from below, each above the one before
        for place, text in self.numbers():
            y = round(self._y_of(place))
            painter.setPen(grid)
            painter.drawLine(edges.left(), y, edges.right(), y)
            top = max(min(y - tall // 2, free - tall), 0)
            if abs(top + tall // 2 - y) < tall and top + tall <= free:
                painter.setPen(faint)
                painting.write(painter, QtCore.QRectF(0, top, self.left - 5, tall), painting.RIGHT, text)
                free = top
        apart = metrics.horizontalAdvance(f"{view.high:,.0f}") + 2 * metrics.averageCharWidth()
        many, whole = max(2, int(room.width() / max(apart, 90))), self.measure == "step"
        steps = ticks.linear(view.low, view.high, many, whole=whole)
        painter.setPen(grid)
        for place, _ in steps:
            painter.drawLine(round(self.x_of(place)), edges.top(), round(self.x_of(place)), lowest)
        painter.setPen(faint)
        if self.foot:
            painting.write(painter, QtCore.QRectF(0, lowest + 2, self.left - 5, tall), painting.RIGHT, self.measure)
            places = [(self.x_of(place), text) for place, text in steps]
            painting.along(painter, places, lowest + 2, (self.left - 2, self.width() - 2))
        painter.setPen(QtGui.QColor(now.line))
        painter.drawLine(edges.left(), edges.top(), edges.left(), lowest)
        painter.drawLine(edges.left(), lowest, edges.right(), lowest)

    def _names(self, painter: QtGui.QPainter) -> None:
        """The stages' names, where there is room for them."""
        room, view, metrics, now = self.room(), self.view, painter.fontMetrics(), theme.now()
        for band in self.bands if self.named else ():
            left, right = (self.x_of(min(max(s, view.low), view.high)) for s in (band.first, band.last))
            wide = metrics.horizontalAdvance(band.name)
            if right - left > wide + 12 and room.height() > metrics.height():
                box = QtCore.QRectF(left + 2, room.top() + 1, wide + 8, metrics.height())
                painter.fillRect(box, QtGui.QColor(now.bands[band.shade]))
                painter.setPen(QtGui.QColor(now.faint))
                painting.write(painter, box, painting.CENTRE, band.name)

    def _curves(self, painter: QtGui.QPainter) -> None:
        room, view, base = self.room(), self.view, theme.now().base
        painter.setClipRect(room)
        right, up = room.width() / (view.high - view.low), room.height() / (view.top - view.bottom)
        for line in self.lines:
            # Faint by mixing: a pen that is translucent costs five times as much.
            colour = QtGui.QColor(mixed(line.colour, base, 0.45) if line.faint else line.colour)
            points = np.empty((len(line.x), 2))
            points[:, 0] = room.left() + (line.x - view.low) * right
            points[:, 1] = np.clip(room.bottom() - (line.y - view.bottom) * up, -1e4, 1e4)
            if line.marks:
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(colour)
                painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing, True)
                for x, y in points[np.isfinite(points).all(axis=1)].tolist():
                    self._mark(painter, x, y, line.marks)
                painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing, False)
                painter.setBrush(Qt.BrushStyle.NoBrush)
                continue
            # Of width 1: wider ones are drawn ten times slower in software.
            pen = QtGui.QPen(colour, 1)
            pen.setStyle(Qt.PenStyle.DashLine if line.dashed else Qt.PenStyle.SolidLine)
            pen.setCosmetic(True)
            painter.setPen(pen)
            for piece in pieces(points):
                if len(piece) > 1:
                    shape = functions.create_qpolygonf(len(piece))
                    functions.ndarray_from_qpolygonf(shape)[:] = piece
                    painter.drawPolyline(shape)
                else:
                    painter.drawPoint(QtCore.QPointF(*piece[0].tolist()))
        painter.setClipping(False)
        self._names(painter)
        self._flags(painter)

    def _flags(self, painter: QtGui.QPainter) -> None:
        """A small flag where something was changed, on a pole through the curves."""
        room, now = self.room(), theme.now()
        painter.setPen(QtGui.QPen(QtGui.QColor(mixed(now.warn, now.base, 0.6)), 1, Qt.PenStyle.DashLine))
        painter.setBrush(QtGui.QColor(now.warn))
        for flag in self.flags:
            x, foot = round(self.x_of(flag.at)), int(room.bottom())
            if room.left() <= x <= room.right():
                painter.drawLine(x, foot - 2 * FLAG, x, int(room.top()))
                cloth = [(x, foot - 2 * FLAG), (x + 1.5 * FLAG, foot - 1.5 * FLAG), (x, foot - FLAG)]
                painter.drawPolygon(QtGui.QPolygonF([QtCore.QPointF(*corner) for corner in cloth]))
                painter.drawLine(x, foot - FLAG, x, foot)
        painter.setBrush(Qt.BrushStyle.NoBrush)

    @staticmethod
    def _mark(painter: QtGui.QPainter, x: float, y: float, kind: str) -> None:
        if kind == "o":
            painter.drawEllipse(QtCore.QPointF(x, y), 3.0, 3.0)
            return
        corners = [QtCore.QPointF(x + dx, y + dy) for dx, dy in ((-3.5, -3.0), (3.5, -3.0), (0.0, 3.5))]
        painter.drawPolygon(QtGui.QPolygonF(corners))

    def _over(self, painter: QtGui.QPainter) -> None:
        """The step, what is under the pointer, the focus."""
        now, room = theme.now(), self.room()
        top, bottom = int(room.top()), int(room.bottom())
        if self._pointer is not None and room.left() <= self._pointer <= room.right():
            painter.setPen(QtGui.QPen(QtGui.QColor(now.faint), 1, Qt.PenStyle.DotLine))
            painter.drawLine(int(self._pointer), top, int(self._pointer), bottom)
        if self.step is not None:
            x = round(self.x_of(self.step))
            if room.left() <= x <= room.right() + 1:
                painter.setPen(QtGui.QPen(QtGui.QColor(now.accent), 3 if self._held else 1))
                painter.drawLine(x, top, x, bottom)
        if self._pointer is not None and self.readout:
            self._read(painter)
        if self.hasFocus():
            painter.setPen(QtGui.QColor(now.accent))
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))

    def _read(self, painter: QtGui.QPainter) -> None:
        now, room, metrics = theme.now(), self.room(), painter.fontMetrics()
        tall = metrics.height()
        wide = max(metrics.horizontalAdvance(text) for _, text in self.readout) + 12
        assert self._pointer is not None
        left = self._pointer + 12
        left = left if left + wide < self.width() else max(2, self._pointer - 12 - wide)
        fit = max(1, int(self.height() - room.top() - 10) // tall)  # the last lines go where the chart is too low
        box = QtCore.QRectF(left, room.top() + 2, wide, tall * min(len(self.readout), fit) + 6)
        painter.setPen(QtGui.QColor(now.line))
        painter.fillRect(box, QtGui.QColor(now.raised))
        painter.drawRect(box)
        for i, (colour, text) in enumerate(self.readout[:fit]):
            painter.setPen(QtGui.QColor(colour))
            row = QtCore.QRectF(left + 6, box.top() + 3 + i * tall, min(wide, self.width() - left) - 6, tall)
            painting.write(painter, row, painting.LEFT, text)

    # -- mouse and keys ------------------------------------------------------------------------------------------------

    @property
    def _held(self) -> bool:
        return self._grip is not None and self._grip[0] == "line"

    def _over_line(self, x: float) -> bool:
        return self.step is not None and abs(x - self.x_of(self.step)) <= NEAR

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            return
        at = pointed(event)
        kind = "values" if at.x() < self.left else "line" if self._over_line(at.x()) else "press"
        self._grip = kind, at, self.view
        self.update()

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:
        at, room = pointed(event), self.room()
        self.point(at.x() if room.contains(at) else None)
        if self._grip is None:
            near = self._over_line(at.x()) and room.contains(at)
            self.setCursor(Qt.CursorShape.SplitHCursor if near else Qt.CursorShape.ArrowCursor)
            return
        kind, begun, view = self._grip
        apart = at - begun
        if kind == "line":
            self.asked.emit(self.step_at(at.x()))
        elif kind == "values":
            by = apart.y() / room.height() * (view.top - view.bottom)
            self.moved.emit(view._replace(bottom=view.bottom + by, top=view.top + by))
        elif kind == "pan" or abs(apart.x()) >= NEAR:
            self._grip = "pan", begun, view
            by = -apart.x() / room.width() * (view.high - view.low)
            self.moved.emit(view._replace(low=view.low + by, high=view.high + by))

    def mouseReleaseEvent(self, event: QtGui.QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and self._grip is not None:
            kind, at, _ = self._grip
            self._grip = None
            if kind == "press" and self.room().contains(at):
                self.asked.emit(self.step_at(at.x()))
            self.update()

    def mouseDoubleClickEvent(self, event: QtGui.QMouseEvent) -> None:
        self.whole.emit()

    def leaveEvent(self, event: QtCore.QEvent) -> None:
        self.point(None)

    def wheelEvent(self, event: QtGui.QWheelEvent) -> None:
        at = event.position()
        factor = 1.02 ** (-event.angleDelta().y() / 8)
        if at.x() < self.left:
            room, view = self.room(), self.view
            still = view.bottom + (room.bottom() - at.y()) / room.height() * (view.top - view.bottom)
            bottom, top = (still + (end - still) * factor for end in (view.bottom, view.top))
            self.moved.emit(view._replace(bottom=bottom, top=top))
        else:
            self._zoom(self.step_at(at.x()), factor)
        event.accept()

    def keyPressEvent(self, event: QtGui.QKeyEvent) -> None:
        factor = {Qt.Key.Key_Plus: 0.7, Qt.Key.Key_Equal: 0.7, Qt.Key.Key_Minus: 1 / 0.7}.get(Qt.Key(event.key()))
        if factor is None:
            super().keyPressEvent(event)
            return
        low, high = self.view.low, self.view.high
        seen = self.step is not None and low <= self.step <= high
        self._zoom(self.step if seen and self.step is not None else (low + high) / 2, factor)

    def _zoom(self, still: float, factor: float) -> None:
        low, high = (still + (end - still) * factor for end in (self.view.low, self.view.high))
        if high - low >= 2 or self.measure != "step":  # less than two steps are nothing to see
            self.moved.emit(self.view._replace(low=low, high=high))

    def point(self, x: float | None) -> None:
        """Read the curves at a pixel, or nowhere."""
        if x != self._pointer:
            self._pointer = x
            self.hovered.emit(None if x is None else self.step_at(x))
            self.update()


class Legend(QtWidgets.QWidget):
    """What the curves are, in one line: (colour, dashed, text) each. Words of a label cost more than their curves."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[tuple[str, bool, str]] = []
        self.setMinimumWidth(50)

    def show_entries(self, entries: list[tuple[str, bool, str]]) -> None:
        """Say something else."""
        if entries != self.entries:
            self.entries = entries
            self.update()

    def sizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(50, self.fontMetrics().height() + 2)

    minimumSizeHint = sizeHint

    def text(self) -> str:
        """All of it, which is also the tool tip."""
        return "   ".join(text for _, _, text in self.entries)

    def event(self, event: QtCore.QEvent) -> bool:
        """Show all names where the pointer rests, as tool tip; the rest is Qt's."""
        if event.type() == QtCore.QEvent.Type.ToolTip:
            QtWidgets.QToolTip.showText(event.globalPos(), self.text(), self)
            return True
        return bool(super().event(event))

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter, now = QtGui.QPainter(self), theme.now()
        metrics = painter.fontMetrics()
        middle, x = self.height() // 2, 4
        for colour, dashed, text in self.entries:
            if colour:
                style = Qt.PenStyle.DashLine if dashed else Qt.PenStyle.SolidLine
                painter.setPen(QtGui.QPen(QtGui.QColor(colour), 2, style))
                painter.drawLine(x, middle, x + 14, middle)
                x += 19
            painter.setPen(QtGui.QColor(now.text if colour else now.faint))
            wide = metrics.horizontalAdvance(text) + 1
            box = QtCore.QRectF(x, 0, min(wide, self.width() - x), self.height())
            painting.write(painter, box, painting.LEFT, text)
            x += wide + 14
            if x + 30 > self.width():
                break
        painter.end()


def mixed(colour: str, ground: str, share: float) -> str:
    """A colour laid over a ground, `share` of it."""
    parts = ((int(colour[i : i + 2], 16), int(ground[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in parts)


def pieces(points: Array) -> Iterable[Array]:
    """The runs of finite points (n, 2)."""
    good = np.isfinite(points).all(axis=1)
    if good.all():
        return [points] if len(points) else []
    edges = np.flatnonzero(np.diff(np.concatenate(([False], good, [False])).astype(np.int8)))
    return [points[a:b] for a, b in zip(edges[::2], edges[1::2])]
