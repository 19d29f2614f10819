"""The distributions panel: phases of a layer, a figure of merit over its cores, the error of one block's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.backend import Array

from ..base import theme
from ..base.panel import Panel
from ..mesh.colours import PHASE, TURN, number
from . import matrix
from .blocks import FIRST, readable

if TYPE_CHECKING:
    from ..base.model import RunModel, Selection

SEEN = {"all", "theme", "frames", "blocks", "step", "layer", "block"}
BINS = 48

Qt = QtCore.Qt


class Histogram(QtWidgets.QWidget):
    """One distribution: title, axis with its unit, how many values, and a line where to look."""

    def __init__(self, title: str, unit: str) -> None:
        super().__init__()
        self.name, self.unit = title, unit
        self.setMinimumSize(140, 96)
        self.note, self.heading = "", title
        self.at: float | None = None
        self.ticks: list[tuple[float, str]] = []
        self.counts: Array = np.zeros(0, np.int64)
        self.edges: Array = np.zeros(0)

    def show_values(
        self, values: Array, note: str, turn: bool = False, at: float | None = None, more: str = ""
    ) -> None:
        """Count the finite `values`, over one `turn` or all they span; `at`: where the line stands; `note` where there
        are none; `more` follows the title."""
        finite = values[np.isfinite(values)]
        wrong = values.size - finite.size
        said = f", {wrong} not a number" if wrong else ""
        self.heading = f"{self.name} ({finite.size}{said}){more}" if values.size else self.name
        self.setAccessibleName(f"Distribution of {self.heading}, {self.unit}")
        self.note, self.at = note, at
        self.counts, self.edges, self.ticks = np.zeros(0, np.int64), np.zeros(0), []
        if finite.size:
            low, high = (0.0, TURN) if turn else (float(finite.min()), float(finite.max()))
            if not high > low:
                low, high = low - (abs(low) or 1.0) * 0.05, high + (abs(high) or 1.0) * 0.05
            self.counts, self.edges = np.histogram(finite, BINS, (low, high))
            self.ticks = PHASE.ticks() if turn else [(s, number(low + s * (high - low))) for s in (0.0, 0.5, 1.0)]
        self.update()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter, now = QtGui.QPainter(self), theme.now()
        painter.fillRect(self.rect(), QtGui.QColor(now.base))
        small = QtGui.QFont(painter.font())
        small.setPointSizeF(max(7.0, small.pointSizeF() - 1.0))
        painter.setFont(small)
        metrics = painter.fontMetrics()
        painter.setPen(QtGui.QColor(now.text))
        title = metrics.elidedText(self.heading, Qt.TextElideMode.ElideRight, self.width() - 12)
        painter.drawText(QtCore.QPointF(8, 15), title)
        painter.setPen(QtGui.QColor(now.faint))
        if not self.counts.size:
            flags = int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap)
            painter.drawText(self.rect().adjusted(12, 22, -12, -6), flags, self.note)
            painter.end()
            return
        room = QtCore.QRectF(42, 24, max(self.width() - 54, 10), max(self.height() - 62, 10))
        most, wide = int(self.counts.max()), room.width() / len(self.counts)
        right = int(Qt.AlignmentFlag.AlignRight)
        painter.drawText(QtCore.QRectF(0, room.top() - 7, 38, 14), right, str(most))
        painter.drawText(QtCore.QRectF(0, room.bottom() - 8, 38, 14), right, "0")
        label = metrics.elidedText(self.unit, Qt.TextElideMode.ElideRight, self.width() - 50)
        below = QtCore.QRectF(42, self.height() - 17, room.width(), 15)
        painter.drawText(below, int(Qt.AlignmentFlag.AlignHCenter), label)
        for share, text in self.ticks:
            x = room.left() + share * room.width()
            painter.drawLine(QtCore.QPointF(x, room.bottom()), QtCore.QPointF(x, room.bottom() + 3))
            taken = metrics.horizontalAdvance(text)
            x = min(max(x - taken / 2, 2.0), self.width() - taken - 2.0)
            painter.drawText(QtCore.QPointF(x, room.bottom() + 16), text)
        painter.drawLine(room.bottomLeft(), room.bottomRight())
        bars = QtGui.QColor(now.accent)
        for i, count in enumerate(self.counts.tolist()):
            tall = count / most * room.height()
            painter.fillRect(QtCore.QRectF(room.left() + i * wide, room.bottom() - tall, max(wide - 1, 1), tall), bars)
        if self.at is not None and np.isfinite(self.at):
            x = room.left() + (self.at - self.edges[0]) / (self.edges[-1] - self.edges[0]) * room.width()
            painter.setPen(QtGui.QPen(QtGui.QColor(now.warn), 2))
            painter.drawLine(QtCore.QPointF(x, room.top() - 3), QtCore.QPointF(x, room.bottom()))
            text, taken = "this block", metrics.horizontalAdvance("this block")
            x += 4 if x + 4 + taken < self.width() else -4 - taken
            painter.drawText(QtCore.QPointF(x, room.top() + 6), text)
        painter.end()


class Distributions(Panel):
    """See the module."""

    title = "Distributions"
    every = 0.2

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.phases = Histogram("Phases", "commanded phase (rad)")
        self.cores = Histogram("Cores", "")
        self.weights = Histogram("Weight error", "realised - target")
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        for plot in (self.phases, self.cores, self.weights):
            column.addWidget(plot, 1)
        self.setAccessibleName(self.title)
        self.show_run(None)

    def show_run(self, model: RunModel | None, reference: RunModel | None = None) -> None:
        """Show another run."""
        super().show_run(model, reference)
        if model is None:
            for plot in (self.phases, self.cores, self.weights):
                plot.show_values(np.zeros(0), "no run is open")

    def refresh(self, changed: set[str]) -> None:
        """Paint what changed."""
        it, model = self.selection, self.model
        if model is None or not changed & SEEN or it.layer not in model.layers:
            return
        layer = model.layers[it.layer]
        self.phases.name = f"Phases of {it.layer}"
        self.phases.show_values(self._phases(model), "no phases were recorded yet", turn=True)
        metric = next((n for part in FIRST for n in model.metrics if part in n), "")
        values = model.metric(it.layer, metric, it.step) if metric else None
        self.cores.name = f"Cores of {it.layer}"
        self.cores.unit = f"{readable(metric)} · {model.badge.get(metric, '')}"
        single = layer.p * layer.q == 1
        if values is None or single:
            note = f"one {'core' if layer.sigma else 'mesh'}: there is nothing to compare it with"
            note = note if single else f"{readable(metric)} is not recorded yet"
            self.cores.show_values(np.zeros(0), note)
        else:
            flat = values.reshape(-1).astype(float)
            self.cores.show_values(flat, "", at=float(flat[min(it.block, flat.size - 1)]))
        self._weights(model)

    def _phases(self, model: RunModel) -> Array:
        """All phases of the layer, wrapped."""
        it, layer = self.selection, model.layers[self.selection.layer]
        whole = [f"{it.layer}.theta", f"{it.layer}.phi"]
        names = [part.name for part in layer.parts.values()] if layer.sigma else whole
        frames = [model.frame(name, it.step) for name in names]
        found = [np.mod(np.asarray(frame.values, float).reshape(-1), TURN) for frame in frames if frame is not None]
        return np.concatenate(found) if found else np.zeros(0)

    def _weights(self, model: RunModel) -> None:
        it, layer = self.selection, model.layers[self.selection.layer]
        apart = matrix.three(model, it.layer, it.block, it.step)[2]
        self.weights.name = f"Weight error of block {it.block}" if layer.sigma else f"Matrix error of {it.layer}"
        badge = f" · {apart.badge}" if apart.badge else ""
        aim = "ideal" if layer.sigma is None else "target"
        self.weights.unit = f"realised - {aim}{badge}"
        if apart.values is None:
            self.weights.show_values(np.zeros(0), "needs a target and a realised matrix")
            return
        rms = float(np.sqrt(np.mean(apart.values**2)))
        self.weights.show_values(apart.values.reshape(-1), "", more=f": rms {number(rms)}")

    def table(self) -> tuple[list[str], list[tuple[Any, ...]]] | None:
        """Bins and counts of all three."""
        plots = (self.phases, self.cores, self.weights)
        rows = [
            (plot.name, float(a), float(b), int(n))
            for plot in plots
            if plot.counts.size
            for a, b, n in zip(plot.edges[:-1], plot.edges[1:], plot.counts)
        ]
        return (["distribution", "from", "to", "count"], rows) if rows else None

    def sizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(320, 460)
