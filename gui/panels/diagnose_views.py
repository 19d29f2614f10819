"""What a diagnosis is drawn with: bars of named numbers, a map of heaters, and a plot."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.backend import Array

from ..base import theme, ticks
from ..base.panel import pointed
from ..mesh.colours import Scale, number, paint, shades

Qt = QtCore.Qt
ALL = "all of them"
LINES = 6
"""Outputs whose readings are drawn, those that move most."""
ROW = 24


class Bar(NamedTuple):
    """A named number; `said` stands behind its bar, `kind` "" or "now", "good", "faint"; `thin` is a second one."""

    name: str
    value: float
    said: str
    kind: str = ""
    thin: float = float("nan")


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
        painter, now = QtGui.QPainter(self), theme.now()
        painter.fillRect(self.rect(), QtGui.QColor(now.base))
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
            painter.drawText(line, int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight), name)
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
        self.rows: list[dict[str, Any]] = []
        self.meshes: dict[str, Any] = {}
        self.broken: dict[tuple[str, str, int], str] = {}
        self._areas: list[tuple[QtCore.QRectF, dict[str, Any]]] = []

    def show_heaters(self, rows: list[dict[str, Any]], meshes: dict[str, Any], broken: dict[Any, str]) -> None:
        """`rows` as `diagnose.heaters` has them under core, `meshes` the parts of the layer (`model.Part`)."""
        self.rows, self.meshes, self.broken = [row for row in rows if row["kind"] != "screen"], meshes, broken
        self.setMinimumHeight(130 if rows else 0)
        self.update()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter, now = QtGui.QPainter(self), theme.now()
        painter.fillRect(self.rect(), QtGui.QColor(now.base))
        self._areas = []
        wide = (self.width() - 12) / max(1, len(self.rows))
        for i, row in enumerate(self.rows):
            self._map(painter, row, QtCore.QRectF(8 + i * wide, 20, wide - 14, self.height() - 46))
        if self.rows:
            self._legend(painter)
        painter.end()

    def _legend(self, painter: QtGui.QPainter) -> None:
        now, bar = theme.now(), QtCore.QRectF(8, self.height() - 14, 90, 8)
        colours = shades(self.scale.kind, now.name)[np.linspace(0, 1023, 256).astype(int)].copy()
        painter.drawImage(bar, QtGui.QImage(colours.data, 256, 1, 1024, QtGui.QImage.Format.Format_RGB32))
        painter.setPen(QtGui.QColor(now.faint))
        said = "0 to 2 P_pi · commanded;  ×: does not obey"
        painter.drawText(QtCore.QPointF(bar.right() + 8, self.height() - 6), said)

    def _map(self, painter: QtGui.QPainter, row: dict[str, Any], area: QtCore.QRectF) -> None:
        now, part = theme.now(), self.meshes[row["part"]]
        columns, rails = int(part.columns.max()) + 1, part.modes
        title = {"u": "U", "v": "V*"}.get(row["part"], "θ" if row["kind"] == "theta" else "φ")
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
        self._areas.append((area, row))

    def _box(self, part: Any, i: int, area: QtCore.QRectF, cell: float) -> QtCore.QRectF:
        gap = 1 if cell > 5 else 0
        at = area.topLeft() + QtCore.QPointF(cell * int(part.columns[i]), cell * int(part.rails[i]))
        return QtCore.QRectF(at.x() + gap, at.y() + gap, max(1.0, cell - gap), max(1.0, 2 * cell - 2 * gap))

    def at(self, place: QtCore.QPointF) -> tuple[dict[str, Any], int] | None:
        """The heater at a point."""
        for area, row in self._areas:
            if area.contains(place):
                part = self.meshes[row["part"]]
                cell = area.height() / part.modes
                column, rail = int((place.x() - area.left()) / cell), int((place.y() - area.top()) / cell)
                here = np.flatnonzero((part.columns == column) & ((part.rails == rail) | (part.rails == rail - 1)))
                return (row, int(here[0])) if here.size else None
        return None

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:
        found = self.at(pointed(event))
        text = ""
        if found:
            row, i = found
            fate = self.broken.get((row["part"], row["kind"], i), "")
            full = ", at V_max" if row["v_max"][i] else ""
            text = f"MZI {i}: {row['phase'][i]:.3f} rad commanded, {row['power'][i]:.3f} P_pi{full}"
            text += f", {fate}" if fate else ""
        self.setToolTip(text)

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        found = self.at(pointed(event))
        if found:
            self.chosen.emit(found[0]["part"], found[1])


class Trace(NamedTuple):
    """Dots (n,), or where `line` a curve, with a name at its right end; `colour` as the theme has it."""

    x: Array
    y: Array
    colour: str
    name: str = ""
    line: bool = False


class Plot(QtWidgets.QWidget):
    """Dots and curves over two linear axes. Painted by itself: a graphics scene takes longer than a beat of the window
    may."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setMinimumHeight(120)
        self.traces: list[Trace] = []
        self.labels = "", ""
        self.mark: float | None = None

    def show_sweep(self, it: dict[str, Any]) -> None:
        """Readings of the outputs that move most as dots, their fits, and where the command is now."""
        now, x = theme.now(), np.array(it["volts"] if it["volts"] is not None else it["phases"], float)
        shown = sorted(np.argsort(-np.array(it["amplitude"], float))[:LINES].tolist())
        self.traces = []
        for number_, output in enumerate(shown):
            colour = now.curves[number_ % len(now.curves)]
            fitted, read = np.array(it["fitted"][output], float), np.array(it["readings"][output], float)
            self.traces += [Trace(x, fitted, colour, f"output {output}", True), Trace(x, read, colour)]
        across = "commanded voltage (V)" if it["volts"] is not None else "commanded phase (rad)"
        self.labels = across, "power" if it["readout"] == "power" else "amplitude"
        self.mark = it["told"] % (2 * np.pi) if it["volts"] is None else None
        self.update()

    def show_detectors(self, it: dict[str, Any]) -> None:
        """Measured over expected readings, a dot for every output and input, and the line where both are equal."""
        now = theme.now()
        expected, measured = np.array(it["expected"], float).ravel(), np.array(it["measured"], float).ravel()
        ends = np.array([min(expected.min(), measured.min()), max(expected.max(), measured.max())])
        self.traces = [Trace(ends, ends, now.faint, "as expected", True), Trace(expected, measured, now.curves[0])]
        self.labels, self.mark = ("expected", "measured"), None
        self.update()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter, now = QtGui.QPainter(self), theme.now()
        painter.fillRect(self.rect(), QtGui.QColor(now.base))
        measure = painter.fontMetrics()
        names = max((measure.horizontalAdvance(t.name) for t in self.traces), default=0)
        area = QtCore.QRectF(58, 18, max(20, self.width() - 58 - names - 18), max(20, self.height() - 18 - 34))
        (x0, x1), (y0, y1) = (_range([getattr(t, axis) for t in self.traces]) for axis in "xy")

        def place(x: Any, y: Any) -> tuple[Any, Any]:
            across, up = (x - x0) / (x1 - x0), (y - y0) / (y1 - y0)
            return area.left() + across * area.width(), area.bottom() - up * area.height()

        for value, text in ticks.linear(x0, x1, max(2, int(area.width() / 40))):
            x, _ = place(value, y0)
            painter.setPen(QtGui.QColor(now.line))
            painter.drawLine(QtCore.QPointF(x, area.top()), QtCore.QPointF(x, area.bottom()))
            painter.setPen(QtGui.QColor(now.faint))
            painter.drawText(QtCore.QRectF(x - 40, area.bottom() + 2, 80, 14), Qt.AlignmentFlag.AlignCenter, text)
        for value, text in ticks.linear(y0, y1, max(2, int(area.height() / 30))):
            _, y = place(x0, value)
            painter.setPen(QtGui.QColor(now.line))
            painter.drawLine(QtCore.QPointF(area.left(), y), QtCore.QPointF(area.right(), y))
            painter.setPen(QtGui.QColor(now.faint))
            right = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            painter.drawText(QtCore.QRectF(0, y - 8, area.left() - 5, 16), right, text)
        painter.setPen(QtGui.QColor(now.text))
        painter.drawText(QtCore.QPointF(4, 13), self.labels[1])
        across = QtCore.QRectF(area.left(), area.bottom() + 17, area.width(), 16)
        painter.drawText(across, Qt.AlignmentFlag.AlignCenter, self.labels[0])
        if self.mark is not None:
            painter.setPen(QtGui.QPen(QtGui.QColor(now.text), 1, Qt.PenStyle.DashLine))
            x, _ = place(self.mark, y0)
            painter.drawLine(QtCore.QPointF(x, area.top()), QtCore.QPointF(x, area.bottom()))
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        for trace in self.traces:
            points = QtGui.QPolygonF([QtCore.QPointF(x, y) for x, y in zip(*place(trace.x, trace.y))])
            if trace.line:
                painter.setPen(QtGui.QPen(QtGui.QColor(trace.colour), 1))
                painter.drawPolyline(points)
            else:
                dot = QtGui.QPen(QtGui.QColor(trace.colour), 4)
                dot.setCapStyle(Qt.PenCapStyle.RoundCap)
                painter.setPen(dot)
                painter.drawPoints(points)
        named = sorted((float(place(0, t.y[-1])[1]), t) for t in self.traces if t.name)
        below = area.top() - 8.0
        for i, (y, trace) in enumerate(named):  # as near to their curves as others and the edges leave room
            y = below = min(max(y + 4, below + 14), area.bottom() + 4 - 14 * (len(named) - 1 - i))
            painter.setPen(QtGui.QColor(trace.colour))
            painter.drawText(QtCore.QPointF(area.right() + 6, y), trace.name)
        painter.end()


def _range(values: list[Array]) -> tuple[float, float]:
    """What an axis shows: all finite values and a little more."""
    every = np.concatenate(values) if values else np.zeros(0)
    every = every[np.isfinite(every)]
    low, high = (float(every.min()), float(every.max())) if every.size else (0.0, 1.0)
    edge = 0.04 * (high - low) or 0.5
    return low - edge, high + edge


def budget_bars(rows: list[dict[str, Any]]) -> list[Bar]:
    """A budget as bars: now, with the best commands, and with these and without one imperfection after the other."""
    first, tunes = rows[0], rows[0]["tuned"] is not None
    of = "tuned" if tunes else "error"
    bars = [_bar("now", first["error"], "now")]
    bars += [_bar("best commands", first["tuned"], "good")] if tunes else []
    lead = "same, " if tunes else ""
    for r in rows[1:]:
        if r["name"] != ALL:
            bar, alone = _bar(f"{lead}no {r['name'].partition(' (')[0]}", r[of]), r["alone"]
            thin = {} if alone is None else {"said": f"{bar.said}  (alone {_said(alone)})", "thin": alone}
            bars.append(bar._replace(**thin))
    return bars + [_bar(f"{lead}ideal chip", r[of], "faint") for r in rows[1:] if r["name"] == ALL]


def movement_bars(stages: list[dict[str, Any]]) -> list[Bar]:
    """How far the phases went in each stage, beside the median block."""
    bars = []
    for stage in stages:
        for row in stage["parts"]:
            part = {"u": "U", "v": "V*"}.get(row["part"], row["part"])
            bars.append(Bar(f"{stage['stage']} {part}", row["rms"], f"{row['rms']:.3f} rad"))
            if row["median"] is not None:
                bars.append(Bar("median block", row["median"], f"{row['median']:.3f} rad", "faint"))
    return bars


def layer_bars(rows: list[dict[str, Any]]) -> list[Bar]:
    """Accuracies in percent."""
    return [
        Bar(
            f"{row['layer']} ideal" if i else "as it is", 100 * row["accuracy"],
            f"{100 * row['accuracy']:.2f} %" + (f"  ({100 * row['gain']:+.2f})" if i else ""), "" if i else "now",
        )
        for i, row in enumerate(rows)
    ]  # fmt: skip


def _bar(name: str, value: float | None, kind: str = "") -> Bar:
    return Bar(name, float("nan"), "no number", kind) if value is None else Bar(name, value, _said(value), kind)


def _said(value: float) -> str:
    """A number in words; what arithmetic rounds is none."""
    return number(value if abs(value) > 1e-15 else 0.0)


def broken_of(it: dict[str, Any]) -> dict[tuple[str, str, int], str]:
    """Heaters that are to be crossed out, and why."""
    found = {}
    for row in it["silent"] or []:
        heater = row["heater"]
        found[heater["part"], heater["kind"], heater["number"]] = "does not answer (measured)"
    for row in it["faults"]:
        heater = row["heater"]
        found[heater["part"], heater["kind"], heater["number"]] = f"{row['fate']} (oracle)"
    return found


