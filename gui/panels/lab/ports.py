"""The ports: light into one input of the block on show, and what the detector of every output reads of it.

Expected is what the block is to do: a core its target, with the sigma that is commanded now, since learning changes
that; a whole mesh, which has no target, what an ideal chip would do with the same commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.backend import Array
from l2sim.chip.protocol import READOUTS
from l2sim.inspect.chips import ends
from l2sim.inspect.diagnose import Place
from l2sim.inspect.ports import Reading, reading

from ...base import painting, theme
from ...base.files import Table
from ...base.panel import Panel, pointed
from ...base.widgets import filled, paragraph
from ...mesh import values as mesh_values
from ...mesh.colours import number
from ...mesh.words import told
from .. import matrix

if TYPE_CHECKING:
    from ...base.model import Phases, RunModel, Selection

Qt = QtCore.Qt
SEEN = {"all", "theme", "frames", "step", "layer", "block", "input", "parameters"}
FULL = "full scale"
ELSEWHERE = "this chip is not simulated: it is read on its own bench"


class Bars(QtWidgets.QWidget):
    """A bar an output for what is read, a line across it for what is expected; above them the inputs."""

    hovered = QtCore.Signal(object)  # number of an output, or None
    chosen = QtCore.Signal(int)  # an input
    turned = QtCore.Signal(int)  # by so many inputs

    def __init__(self) -> None:
        super().__init__()
        self.setMouseTracking(True)
        self.setMinimumSize(120, 100)
        self.seen: Reading | None = None
        self.expected: Array = np.zeros(0)
        self.port, self.note, self.notches = 0, "", 0

    def show_reading(self, seen: Reading | None, expected: Array, port: int, note: str = "") -> None:
        """Show another one, of light in input `port`; `note` says why there is none."""
        self.seen, self.expected, self.port, self.note = seen, expected, port, note
        self.update()

    def room(self) -> QtCore.QRectF:
        """Where the bars are."""
        left = self.fontMetrics().horizontalAdvance(FULL) + 8.0
        return QtCore.QRectF(left, 42, max(self.width() - left - 10.0, 1.0), max(self.height() - 66.0, 1.0))

    def ends(self) -> tuple[float, float]:
        """The least and the largest value there is room for."""
        if self.seen is None:
            return 0.0, 1.0
        every = np.concatenate((self.seen.values, self.expected, [2 * self.seen.floor, 1e-3 * self.seen.full]))
        high = 1.1 * float(np.nanmax(np.abs(every)))
        return (-high if float(np.nanmin(every)) < -3 * self.seen.floor - 1e-3 * high else 0.0), high

    def y_of(self, value: float) -> float:
        """Where a value is."""
        room, (low, high) = self.room(), self.ends()
        return float(room.bottom() - (value - low) / (high - low) * room.height())

    def place(self, at: int) -> QtCore.QRectF:
        """The column of port `at`, over all of the height."""
        room, count = self.room(), max(len(self.expected), 1)
        return QtCore.QRectF(room.left() + at * room.width() / count, 0, room.width() / count, self.height())

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter, now = painting.canvas(self)
        painting.small_text(painter)
        if self.seen is None:
            painting.note(painter, self.rect().adjusted(10, 10, -10, -10), self.note)
            painter.end()
            return
        every = max(1, round(26 * len(self.expected) / self.room().width()))
        self._inputs(painter, every)
        self._lines(painter, self.seen)
        places: list[tuple[float, str]] = []
        for at, (value, wanted) in enumerate(zip(self.seen.values.tolist(), self.expected.tolist())):
            column = self.place(at)
            wide = max(1.0, 0.7 * column.width())
            left, zero = column.center().x() - wide / 2, self.y_of(0.0)
            if np.isfinite(value):
                bar = QtCore.QRectF(left, zero, wide, self.y_of(value) - zero).normalized()
                painter.fillRect(bar, QtGui.QColor(now.bad if abs(value) >= self.seen.full else now.curves[0]))
            painter.setPen(QtGui.QPen(QtGui.QColor(now.text), 2))
            y = self.y_of(wanted)
            painter.drawLine(QtCore.QPointF(left - 1, y), QtCore.QPointF(left + wide + 1, y))
            if at % every == 0:
                places.append((column.center().x(), str(at)))
        painter.setPen(QtGui.QColor(now.faint))
        top = self.height() - 4.0 - painter.fontMetrics().height()
        painting.along(painter, places, top, (2.0, self.width() - 2.0))
        painter.end()

    def _lines(self, painter: QtGui.QPainter, seen: Reading) -> None:
        """Nothing, noise, the full scale where it is not far above, and the largest value there is room for."""
        now, room, (low, high) = theme.now(), self.room(), self.ends()
        shown = [(0.0, now.line, "0"), (seen.full, now.bad, FULL), (seen.floor, now.faint, "noise")]
        shown += [(-value, colour, "") for value, colour, _ in shown[1:]] if low else []
        last = float("inf")
        for value, colour, name in [*shown, (high, now.line, number(high))]:
            y = self.y_of(value)
            if not room.top() - 1 <= y <= room.bottom() + 1:
                continue
            style = Qt.PenStyle.DashLine if value and value != high else Qt.PenStyle.SolidLine
            painter.setPen(QtGui.QPen(QtGui.QColor(colour), 1, style))
            painter.drawLine(QtCore.QPointF(room.left(), y), QtCore.QPointF(room.right(), y))
            if abs(y - last) > 12:  # else names would stand on each other
                painter.setPen(QtGui.QColor(now.bad if name == FULL else now.faint))
                painter.drawText(QtCore.QRectF(0, y - 8, room.left() - 5, 16), painting.RIGHT, name)
                last = y

    def _inputs(self, painter: QtGui.QPainter, every: int) -> None:
        """The inputs as a row of boxes, full where light enters."""
        now = theme.now()
        painter.setPen(QtGui.QColor(now.faint))
        painter.drawText(QtCore.QRectF(0, 8, self.room().left() - 5, 16), painting.RIGHT, "inputs")
        columns = [self.place(at) for at in range(len(self.expected))]
        for at, column in enumerate(columns):
            box = QtCore.QRectF(column.left() + 1, 8, max(1.0, column.width() - 2), 16)
            painter.fillRect(box, QtGui.QColor(now.accent if at == self.port else now.raised))
        ends, top = (2.0, self.width() - 2.0), 16.0 - painter.fontMetrics().height() / 2
        others = [at for at in range(len(columns)) if at % every == 0 and abs(at - self.port) >= every]
        painter.setPen(QtGui.QColor(now.faint))
        painting.along(painter, [(columns[at].center().x(), str(at)) for at in others], top, ends)
        painter.setPen(QtGui.QColor(now.text))
        painting.along(painter, [(columns[self.port].center().x(), str(self.port))], top, ends)

    def at(self, x: float) -> int | None:
        """Which port is at a place."""
        room, count = self.room(), len(self.expected)
        inside = self.seen is not None and room.left() <= x < room.right()
        return int((x - room.left()) / room.width() * count) if inside else None

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:
        self.hovered.emit(self.at(pointed(event).x()))

    def leaveEvent(self, event: QtCore.QEvent) -> None:
        self.hovered.emit(None)

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        where, port = pointed(event), self.at(pointed(event).x())
        if port is not None and where.y() < self.room().top() and event.button() == Qt.MouseButton.LeftButton:
            self.chosen.emit(port)

    def wheelEvent(self, event: QtGui.QWheelEvent) -> None:
        self.notches += event.angleDelta().y()
        steps = int(self.notches / 120)  # a wheel turns 120 a notch, a touchpad less
        if steps:
            self.notches -= 120 * steps
            self.turned.emit(-steps)
        event.accept()


class Ports(Panel):
    """An impulse through one input; every output read, beside what is expected."""

    sees = SEEN
    what = (
        "Light into one input, and what the detector of every output reads of it, against what is expected, "
        "with the noise and the full scale of the detectors."
    )
    every = 0.5

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.bars, self.readout, self.port = Bars(), QtWidgets.QComboBox(), QtWidgets.QSpinBox()
        self.readout.addItems(sorted(READOUTS))
        self.port.setPrefix("light into input ")
        for widget, name in (
            (self.readout, "What the detectors read"), (self.port, "Input that light enters"),
            (self.bars, "Readings of the outputs"),
        ):  # fmt: skip
            widget.setAccessibleName(name)
            widget.setToolTip(name)
        self.bars.setToolTip("The wheel, or a click in the row above, sends the light into another input")
        self.said = paragraph("faint", name="What the ports say")
        self.by = ""
        """What tells what is expected."""
        row = filled(QtWidgets.QHBoxLayout(), self.port, self.readout, (self.said, 1), margins=(8, 5, 8, 3))
        filled(QtWidgets.QVBoxLayout(self), row, (self.bars, 1), spacing=0)
        self.readout.currentIndexChanged.connect(lambda *_: self.refresh({"all"}))
        self.port.valueChanged.connect(self._send)
        self.bars.chosen.connect(self._send)
        self.bars.turned.connect(lambda by: self._send(self.bars.port + by))
        self.bars.hovered.connect(self._say)
        self.show_run(None)

    def show_run(self, model: RunModel | None, reference: RunModel | None = None) -> None:
        """Show another run."""
        super().show_run(model, reference)
        if model is None:
            self.bars.show_reading(None, np.zeros(0), 0, "No run is open.")
            self.said.setText("")

    def refresh(self, changed: set[str]) -> None:
        """Read anew where something changed."""
        here, model = self.selection, self.model
        if model is None or not changed & SEEN or here.layer not in model.layers:
            return
        modes = next(iter(model.layers[here.layer].parts.values())).modes
        port = min(here.input, modes - 1)
        self.port.blockSignals(True)
        self.port.setMaximum(modes - 1)
        self.port.setValue(port)
        self.port.blockSignals(False)
        frame = mesh_values.frame(model, here.layer, here.block, here.at)
        aim = model.target(here.layer, here.block, here.at)
        self.by = "an ideal chip as commanded" if aim is None else "the target"
        wanted: dict[str, Phases] = dict(frame)
        if aim:
            wanted |= {side: {"theta": end["theta"], "signs": end["signs"]} for side, end in ends(aim).items()}
        ideal = matrix.commanded(model, here.layer, wanted) if frame else None
        if not model.readable or ideal is None or ideal.values is None:
            why = "nothing was commanded yet" if model.readable else ELSEWHERE
            self.bars.show_reading(None, np.zeros(0), port, ideal.note if ideal and ideal.note else why)
        else:
            field, readout = ideal.values[:, port], self.readout.currentText()
            expected = np.abs(field) ** 2 if readout == "power" else np.real(field)
            seen = reading(Place(model, here.layer, here.block, here.at), port, readout)
            self.bars.show_reading(seen, expected, port)
        self._say(None)

    def table(self) -> Table | None:
        """What enters, is read and expected at every port."""
        bars = self.bars
        if bars.seen is None:
            return None
        readout = self.readout.currentText()
        return ["port", "amplitude in", f"{readout} read", f"{readout} expected"], [
            (at, float(at == bars.port), float(value), float(wanted))
            for at, (value, wanted) in enumerate(zip(bars.seen.values, bars.expected))
        ]

    # -- inside --------------------------------------------------------------------------------------------------------

    def _send(self, port: int) -> None:
        """Light into another input, here and in the mesh."""
        self.selection.set(input=min(max(port, 0), self.port.maximum()))

    def _say(self, at: int | None) -> None:
        """What an output reads, or where readings are farthest from what is expected."""
        bars, seen = self.bars, self.bars.seen
        if seen is None:
            self.said.setText("")
            return
        apart = np.abs(seen.values - bars.expected)
        output = int(np.nan_to_num(apart, nan=np.inf).argmax()) if at is None else at
        begin = f"farthest off: output {output}" if at is None else f"output {output}"
        here = self.selection
        said = f"{begin} reads {number(float(seen.values[output]))} (measured), by {self.by} "
        said += f"{number(float(bars.expected[output]))} (estimated); noise {number(seen.floor)}, full scale "
        self.said.setText(f"{said}{number(seen.full)}{told(here.at, here.at)}")
