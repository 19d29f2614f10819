"""The distributions panel: phases of a layer, a figure of merit over its cores, the error of one block's weights."""

from __future__ import annotations

from math import tau
from typing import TYPE_CHECKING

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.backend import Array
from l2sim.given import wrapped

from ..base import painting
from ..base.files import Table
from ..base.panel import Panel
from ..base.widgets import filled
from ..mesh.colours import PHASE, number
from . import matrix
from .blocks import first_metric, readable

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
        self.note, self.heading = "", title
        self.at: float | None = None
        self.ticks: list[tuple[float, str]] = []
        self.counts: Array = np.zeros(0, np.int64)
        self.edges: Array = np.zeros(0)

    def minimumSizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(140, 5 * self.fontMetrics().height() + 20)

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
            low, high = (0.0, tau) if turn else (float(finite.min()), float(finite.max()))
            if not high > low:
                low, high = low - (abs(low) or 1.0) * 0.05, high + (abs(high) or 1.0) * 0.05
            self.counts, self.edges = np.histogram(finite, BINS, (low, high))
            self.ticks = PHASE.ticks() if turn else [(s, number(low + s * (high - low))) for s in (0.0, 0.5, 1.0)]
        self.update()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter, now = painting.canvas(self)
        painting.small_text(painter, 1.0)
        metrics = painter.fontMetrics()
        painter.setPen(QtGui.QColor(now.text))
        tall = metrics.height()
        painting.write(painter, QtCore.QRectF(8, 1, self.width() - 12, tall), painting.LEFT, self.heading)
        painter.setPen(QtGui.QColor(now.faint))
        if not self.counts.size:
            painting.note(painter, self.rect().adjusted(12, tall + 2, -12, -4), self.note)
            painter.end()
            return
        most = int(self.counts.max())
        left, top = metrics.horizontalAdvance(str(most)) + 10, 1.5 * tall + 4
        room = QtCore.QRectF(left, top, max(self.width() - left - 12, 10), max(self.height() - top - 2 * tall - 8, 10))
        wide = room.width() / len(self.counts)
        for y, text in ((room.top(), str(most)), (room.bottom(), "0")):
            painting.write(painter, QtCore.QRectF(0, y - tall / 2, left - 4, tall), painting.RIGHT, text)
        below = QtCore.QRectF(room.left(), room.bottom() + 5 + tall, room.width(), tall)
        painting.write(painter, below, painting.CENTRE, self.unit)
        places = [(room.left() + share * room.width(), text) for share, text in self.ticks]
        for x, _ in places:
            painter.drawLine(QtCore.QPointF(x, room.bottom()), QtCore.QPointF(x, room.bottom() + 3))
        painting.along(painter, places, room.bottom() + 4, (left - 2.0, float(self.width())))
        painter.drawLine(room.bottomLeft(), room.bottomRight())
        bars = QtGui.QColor(now.accent)
        for i, count in enumerate(self.counts.tolist()):
            tall = count / most * room.height()
            painter.fillRect(QtCore.QRectF(room.left() + i * wide, room.bottom() - tall, max(wide - 1, 1), tall), bars)
        if self.at is not None and np.isfinite(self.at):
            x = room.left() + (self.at - self.edges[0]) / (self.edges[-1] - self.edges[0]) * room.width()
            painter.setPen(QtGui.QPen(QtGui.QColor(now.warn), 2))
            painter.drawLine(QtCore.QPointF(x, room.top() - 3), QtCore.QPointF(x, room.bottom()))
            taken = metrics.horizontalAdvance("this block") + 1
            x += 4 if x + 4 + taken < self.width() else -4 - taken
            painting.write(painter, QtCore.QRectF(x, room.top(), taken, tall), painting.LEFT, "this block")
        painter.end()


class Distributions(Panel):
    """Three histograms: the phases of the selected layer, its cores, and the errors of the selected block's weights."""

    title = "Distributions"
    what = (
        "How phases, errors of cores and weights are spread: a histogram of each at the step on show."
    )
    every = 0.2

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.phases = Histogram("Phases", "commanded phase (rad)")
        self.cores = Histogram("Cores", "")
        self.weights = Histogram("Weight error", "realised - target")
        self.plots = (self.phases, self.cores, self.weights)
        filled(QtWidgets.QVBoxLayout(self), *((plot, 1) for plot in self.plots), spacing=2)
        self.setAccessibleName(self.title)
        self.show_run(None)

    def show_run(self, model: RunModel | None, reference: RunModel | None = None) -> None:
        """Show another run."""
        super().show_run(model, reference)
        if model is None:
            for plot in self.plots:
                plot.show_values(np.zeros(0), "no run is open")

    def refresh(self, changed: set[str]) -> None:
        """Paint what changed."""
        here, model = self.selection, self.model
        if model is None or not changed & SEEN or here.layer not in model.layers:
            return
        layer = model.layers[here.layer]
        self.phases.name = f"Phases of {here.layer}"
        self.phases.show_values(self._phases(model), "no phases were recorded yet", turn=True)
        metric = first_metric(model.metrics)
        values = model.metric(here.layer, metric, here.step) if metric else None
        self.cores.name = f"Cores of {here.layer}"
        self.cores.unit = f"{readable(metric)} · {model.badge.get(metric, '')}"
        single = layer.p * layer.q == 1
        if values is None or single:
            note = f"one {'core' if layer.sigma else 'mesh'}: there is nothing to compare it with"
            note = note if single else f"{readable(metric)} is not recorded yet"
            self.cores.show_values(np.zeros(0), note)
        else:
            flat = values.reshape(-1).astype(float)
            self.cores.show_values(flat, "", at=float(flat[min(here.block, flat.size - 1)]))
        self._weights(model)

    def _phases(self, model: RunModel) -> Array:
        """All phases of the layer, wrapped."""
        here, layer = self.selection, model.layers[self.selection.layer]
        frames = [model.frame(name, here.step) for part, name in layer.phases.items() if part != "screen"]
        phases = [wrapped(np.asarray(frame.values, float).reshape(-1)) for frame in frames if frame is not None]
        return np.concatenate(phases) if phases else np.zeros(0)

    def _weights(self, model: RunModel) -> None:
        here, layer = self.selection, model.layers[self.selection.layer]
        apart = matrix.three(model, here.layer, here.block, here.step)[2]
        self.weights.name = f"Weight error of block {here.block}" if layer.sigma else f"Matrix error of {here.layer}"
        badge = f" · {apart.badge}" if apart.badge else ""
        aim = "ideal" if layer.sigma is None else "target"
        self.weights.unit = f"realised - {aim}{badge}"
        if apart.values is None:
            self.weights.show_values(np.zeros(0), "needs a target and a realised matrix")
            return
        rms = float(np.sqrt(np.mean(apart.values**2)))
        self.weights.show_values(apart.values.reshape(-1), "", more=f": rms {number(rms)}")

    def table(self) -> Table | None:
        """Bins and counts of all three."""
        rows: list[tuple[object, ...]] = [
            (plot.name, float(a), float(b), int(n))
            for plot in self.plots
            if plot.counts.size
            for a, b, n in zip(plot.edges[:-1], plot.edges[1:], plot.counts)
        ]
        return (["distribution", "from", "to", "count"], rows) if rows else None

    def sizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(320, 460)
