"""What a diagnosis is drawn with: bars of named numbers, a map of heaters, and readings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from ...base import painting, theme
from ...base.panel import pointed
from ...base.plot import Plot, Trace, span
from ...base.widgets import filled
from ...mesh.colours import Scale, paint
from ...mesh.geometry import TITLES
from ...mesh.legend import paint_bar
from ..chart import Legend
from .results import Bar, Detectors, Sweep

if TYPE_CHECKING:
    from l2sim.inspect.findings import CoreRow

    from ...base.model import Part

Qt = QtCore.Qt
LINES = 6
"""Outputs whose readings are drawn, those that move most."""
ROW = 24


class Bars(QtWidgets.QWidget):
    """Named numbers as horizontal bars from zero on one scale."""

    def __init__(self) -> None:
        super().__init__()
        self.bars: list[Bar] = []
        self.setAccessibleName("Bars")

    def show_bars(self, bars: list[Bar]) -> None:
        """Draw them from the top."""
        self.bars = bars
        self.setMinimumHeight(ROW * len(bars) + 6)
        self.setAccessibleDescription("; ".join(f"{bar.name}: {bar.said}" for bar in bars))
        self.update()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter, now = painting.canvas(self)
        measure = painter.fontMetrics()
        widest = max((measure.horizontalAdvance(bar.name) for bar in self.bars), default=0) + 18
        left = min(widest, int(self.width() * 0.56))
        right = max((measure.horizontalAdvance(bar.said) for bar in self.bars), default=0) + 16
        room = max(20, self.width() - left - right)
        every = [value for bar in self.bars for value in (bar.value, bar.thin) if np.isfinite(value)]
        most = max(every, default=0.0) or 1.0
        colours = {"now": now.bad, "good": now.good, "faint": now.line}
        for i, bar in enumerate(self.bars):
            line = QtCore.QRect(8, 4 + i * ROW, left - 14, ROW)
            painter.setPen(QtGui.QColor(now.faint if bar.kind == "faint" else now.text))
            name = measure.elidedText(bar.name, Qt.TextElideMode.ElideRight, line.width())
            painter.drawText(line, painting.RIGHT, name)
            long = room * max(0.0, bar.value) / most if np.isfinite(bar.value) else 0.0
            painter.fillRect(
                QtCore.QRectF(left, 4 + i * ROW + 5, max(1.0, long), ROW - 10),
                QtGui.QColor(colours.get(bar.kind, now.accent)),
            )
            if np.isfinite(bar.thin):
                thin = room * max(0.0, bar.thin) / most
                painter.fillRect(QtCore.QRectF(left, 4 + (i + 1) * ROW - 4, max(1.0, thin), 3), QtGui.QColor(now.warn))
                long = max(long, thin)
            painter.drawText(QtCore.QPointF(left + long + 6, 4 + i * ROW + ROW * 0.68), bar.said)
        painter.end()


class HeaterMap(QtWidgets.QWidget):
    """The heaters of one core where they stand, coloured by electrical power; those that do not obey are crossed out,
    those at V_max framed. A click chooses one."""

    chosen = QtCore.Signal(str, int)
    scale = Scale("sequential", 0.0, 2.0, "P_pi")

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Heaters of the core, by electrical power")
        self.setMouseTracking(True)
        self.rows: list[CoreRow] = []
        self.parts: dict[str, Part] = {}
        self.broken: dict[tuple[str, str, int], str] = {}
        self.areas: list[tuple[QtCore.QRectF, CoreRow]] = []
        """Where the heaters of each kind were painted."""

    def show_heaters(
        self, rows: list[CoreRow], parts: dict[str, Part], broken: dict[tuple[str, str, int], str]
    ) -> None:
        """Show the heaters of a core, in the meshes of its layer, and which of them are `broken`, with the reason."""
        self.rows, self.parts, self.broken = [row for row in rows if row["kind"] != "screen"], parts, broken
        self.setMinimumHeight(130 if rows else 0)
        self.update()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter, _ = painting.canvas(self)
        self.areas = []
        wide = (self.width() - 12) / max(1, len(self.rows))
        for i, row in enumerate(self.rows):
            self._map(painter, row, QtCore.QRectF(8 + i * wide, 20, wide - 14, self.height() - 46))
        if self.rows:
            self._legend(painter)
        painter.end()

    def _legend(self, painter: QtGui.QPainter) -> None:
        bar = QtCore.QRectF(8, self.height() - 14, 90, 8)
        paint_bar(painter, bar, self.scale)
        painter.setPen(QtGui.QColor(theme.now().faint))
        said = "0 to 2 P_pi · commanded;  ×: does not obey"
        painter.drawText(QtCore.QPointF(bar.right() + 8, self.height() - 6), said)

    def _map(self, painter: QtGui.QPainter, row: CoreRow, area: QtCore.QRectF) -> None:
        now, part = theme.now(), self.parts[row["part"]]
        columns, rails = int(part.columns.max()) + 1, part.modes
        title = TITLES.get(row["part"], "θ" if row["kind"] == "theta" else "φ")
        power = np.array(row["power"], float)
        painter.setPen(QtGui.QColor(now.text))
        painter.drawText(QtCore.QPointF(area.left(), 14), f"{title}  {power.sum():.1f} P_pi")
        cell = min(area.width() / columns, area.height() / rails)
        area = QtCore.QRectF(area.left(), area.top(), cell * columns, cell * rails)
        colours = np.empty(power.size, np.uint32)
        paint(power, self.scale, now.name, colours)
        for i in range(power.size):
            box = self._box(part, i, area, cell)
            painter.fillRect(box, QtGui.QColor(int(colours[i]) & 0xFFFFFF))
            fate = self.broken.get((row["part"], row["kind"], i))
            if row["v_max"][i] or fate:
                painter.setPen(QtGui.QPen(QtGui.QColor(now.bad if fate else now.warn), 2))
                painter.drawRect(box)
            if fate:
                painter.drawLine(box.topLeft(), box.bottomRight())
                painter.drawLine(box.bottomLeft(), box.topRight())
        self.areas.append((area, row))

    def _box(self, part: Part, i: int, area: QtCore.QRectF, cell: float) -> QtCore.QRectF:
        gap = 1 if cell > 5 else 0
        at = area.topLeft() + QtCore.QPointF(cell * int(part.columns[i]), cell * int(part.rails[i]))
        return QtCore.QRectF(at.x() + gap, at.y() + gap, max(1.0, cell - gap), max(1.0, 2 * cell - 2 * gap))

    def at(self, place: QtCore.QPointF) -> tuple[CoreRow, int] | None:
        """The heater at a point."""
        for area, row in self.areas:
            if area.contains(place):
                part = self.parts[row["part"]]
                cell = area.height() / part.modes
                column, rail = int((place.x() - area.left()) / cell), int((place.y() - area.top()) / cell)
                here = np.flatnonzero((part.columns == column) & ((part.rails == rail) | (part.rails == rail - 1)))
                return (row, int(here[0])) if here.size else None
        return None

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:
        heater = self.at(pointed(event))
        text = ""
        if heater:
            row, i = heater
            fate = self.broken.get((row["part"], row["kind"], i), "")
            full = ", at V_max" if row["v_max"][i] else ""
            text = f"MZI {i}: {row['phase'][i]:.3f} rad commanded, {row['power'][i]:.3f} P_pi{full}"
            text += f", {fate}" if fate else ""
        self.setToolTip(text)

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        heater = self.at(pointed(event))
        if heater:
            self.chosen.emit(heater[0]["part"], heater[1])


class Readings(QtWidgets.QWidget):
    """Readings of outputs as dots over two axes, what each colour is above them."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.legend, self.plot = Legend(), Plot(name)
        filled(QtWidgets.QVBoxLayout(self), self.legend, (self.plot, 1), spacing=0)

    def show_sweep(self, sweep: Sweep) -> None:
        """Readings of the outputs that move most as dots, their fits, and where the command is now."""
        now, x = theme.now(), np.array(sweep["volts"] if sweep["volts"] is not None else sweep["phases"], float)
        shown = sorted(np.argsort(-np.array(sweep["amplitude"], float))[:LINES].tolist())
        traces: list[Trace] = []
        names = [("", False, "output")]
        for number_, output in enumerate(shown):
            colour = now.curves[number_ % len(now.curves)]
            fitted, read = np.array(sweep["fitted"][output], float), np.array(sweep["readings"][output], float)
            traces += [Trace(x, fitted, colour), Trace(x, read, colour, "dots")]
            names.append((colour, False, str(output)))
        across = "commanded voltage (V)" if sweep["volts"] is not None else "commanded phase (rad)"
        mark = (sweep["told"] % (2 * np.pi), "now") if sweep["volts"] is None else None
        self.plot.draw(traces, across, "power" if sweep["readout"] == "power" else "amplitude", mark=mark)
        self.legend.show_entries(names)

    def show_detectors(self, detectors: Detectors) -> None:
        """Measured over expected readings, a dot for every output and input, and the line where both are equal."""
        now = theme.now()
        both = detectors["expected"], detectors["measured"]
        expected, measured = (np.array(values, float).ravel() for values in both)
        ends = np.array(span([expected, measured], 0.0))
        traces = [Trace(ends, ends, now.faint), Trace(expected, measured, now.curves[0], "dots")]
        self.plot.draw(traces, "expected", "measured")
        self.legend.show_entries([(now.curves[0], False, "an output and input"), (now.faint, False, "as expected")])
