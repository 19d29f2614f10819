"""What a diagnosis is drawn with: bars of named numbers, a map of heaters, and readings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.inspect import findings

from ...base import painting, theme, ticks
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
"""Pixels of a row of bars at least."""
LEAST = 24
"""Pixels of the longest bar at least."""


class Bars(QtWidgets.QWidget):
    """Named numbers as horizontal bars on one scale: from zero, or over decades. What is rounding has no bar."""

    def __init__(self) -> None:
        super().__init__()
        self.bars: list[Bar] = []
        self.log = False
        self.setAccessibleName("Bars")

    def show_bars(self, bars: list[Bar]) -> None:
        """Draw them from the top; others than before over decades, where they span more than one."""
        if bars != self.bars:
            self.bars = bars
            said = [f"{bar.name}: {bar.said}" for bar in bars]
            self.setAccessibleDescription("; ".join(said))
            self.setToolTip("\n".join(said))
            self.along(self.spans_decades)
        self.update()

    def along(self, log: bool) -> None:
        """Draw them over decades, or from zero."""
        self.log = log
        self.setMinimumHeight(self.row * len(self.bars) + self._foot())
        self.setMinimumWidth(self._names() + LEAST + self._behind([_short(bar.said) for bar in self.bars]))
        self.update()

    @property
    def spans_decades(self) -> bool:
        """Whether the largest is more than ten times the smallest that is no rounding."""
        every = self._values()
        return bool(every) and max(every) > 10.0 * min(every)

    def _values(self) -> list[float]:
        every = (value for bar in self.bars for value in (bar.value, bar.thin))
        return [value for value in every if np.isfinite(value) and value >= findings.ROUNDING]

    @property
    def row(self) -> int:
        """Pixels of a bar and what is around it."""
        return max(ROW, int(self.fontMetrics().height()) + 6)

    def changeEvent(self, event: QtCore.QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QtCore.QEvent.Type.FontChange:
            self.along(self.log)

    def _foot(self) -> int:
        """Pixels below the bars, for the numbers of the axis."""
        return int(QtGui.QFontMetrics(painting.smaller(self.font())).height()) + 12

    def ends(self) -> tuple[float, float]:
        """Where the axis begins and ends, of a logarithmic one the powers of ten."""
        every = self._values()
        if not self.log or not every:
            return 0.0, max(every, default=0.0) or 1.0
        high = float(np.log10(max(every)))
        return min(float(np.floor(np.log10(min(every)) - 0.1)), high - 1.0), high

    def share(self, value: float) -> float:
        """How long the bar of a number is, as a share of the longest."""
        low, high = self.ends()
        if not np.isfinite(value) or value < findings.ROUNDING:
            return 0.0
        return float(((np.log10(value) if self.log else value) - low) / (high - low))

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter, now = painting.canvas(self)
        measure, tall = painter.fontMetrics(), self.row
        widest = max((measure.horizontalAdvance(bar.name) for bar in self.bars), default=0) + 18
        left, said = min(widest, int(self.width() * 0.45)), [bar.said for bar in self.bars]
        if self._behind(said) > 0.6 * (self.width() - left):  # then the thin bars alone say what is in brackets
            said = [_short(words) for words in said]
        right = self._behind(said)
        left = max(self._names(), min(left, self.width() - right - LEAST))
        room = max(LEAST, self.width() - left - right)
        self._axis(painter, left, room)
        colours = {"now": now.bad, "good": now.good, "faint": now.line}
        for i, (bar, words) in enumerate(zip(self.bars, said)):
            line = QtCore.QRect(8, 4 + i * tall, left - 14, tall)
            painter.setPen(QtGui.QColor(now.faint if bar.kind == "faint" else now.text))
            name = measure.elidedText(bar.name, Qt.TextElideMode.ElideRight, line.width())
            painter.drawText(line, painting.RIGHT, name)
            long, thin = room * self.share(bar.value), room * self.share(bar.thin)
            colour = QtGui.QColor(colours.get(bar.kind, now.accent))
            painter.fillRect(QtCore.QRectF(left, 4 + i * tall + 5, max(1.0, long), tall - 10), colour)
            if np.isfinite(bar.thin):
                strip = QtCore.QRectF(left, 4 + (i + 1) * tall - 4, max(1.0, thin), 3)
                painter.fillRect(strip, QtGui.QColor(now.warn))
            end, wide = left + max(long, thin) + 6, measure.horizontalAdvance(words) + 2
            box = QtCore.QRectF(end, 4 + i * tall, wide, tall)
            painter.fillRect(box.adjusted(0, 3, 0, -3), QtGui.QColor(now.base))
            painter.drawText(box, painting.LEFT, words)
        painter.end()

    def _names(self) -> int:
        """Pixels that are left to the names at least."""
        return 9 * int(self.fontMetrics().averageCharWidth())

    def _behind(self, said: list[str]) -> int:
        """Pixels that the words behind the bars take."""
        return max((self.fontMetrics().horizontalAdvance(words) for words in said), default=0) + 16

    def _axis(self, painter: QtGui.QPainter, left: float, room: float) -> None:
        """Numbers below the bars, each with a line through them."""
        if not self.bars:
            return
        (low, high), now, plain = self.ends(), theme.now(), painter.font()
        foot = 4 + self.row * len(self.bars)
        at = ticks.logarithmic if self.log else ticks.linear
        marks = [(left + room * (place - low) / (high - low), text) for place, text in at(low, high, int(room / 50))]
        painter.setPen(QtGui.QColor(now.line))
        for x, _ in marks:
            painter.drawLine(QtCore.QPointF(x, 2), QtCore.QPointF(x, foot + 2))
        painting.small_text(painter)
        painter.setPen(QtGui.QColor(now.faint))
        painting.along(painter, marks, foot + 3, (0.0, float(self.width())))
        painter.setFont(plain)


def _short(said: str) -> str:
    """What is said behind a bar, without what stands in brackets."""
    return said.partition("  (")[0]


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
