"""The bar of a run's steps: stages, checkpoints, warnings and changes along it, and the handle for the step shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.store.events import Trouble, Warned

from ..base import fields, painting, theme
from ..base.panel import Panel, pointed

if TYPE_CHECKING:
    from ..base.model import Selection

_SIDE = 10
"""Pixels left free at both ends, for the handle."""


class Scrubber(Panel):
    """Drag or click to choose a step; the tooltip says what is there. Accessible as a slider's text."""

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.setMinimumHeight(38)
        self.setMouseTracking(True)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Step shown")
        self.setToolTip("Drag to go back in the run; L follows the newest step")

    def sizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(400, 38)

    def step_at(self, x: float) -> int:
        """The step under a pixel."""
        share: float = (x - _SIDE) / max(1, self.width() - 2 * _SIDE)
        return round(min(max(share, 0.0), 1.0) * self.newest)

    def x_of(self, step: float) -> float:
        """The pixel of a step."""
        room: int = self.width() - 2 * _SIDE
        return _SIDE + room * min(step / max(1, self.newest), 1.0)

    def marks(self) -> list[tuple[int, str, str]]:
        """(step, kind, words) of checkpoints, warnings and changes, in the order of their steps."""
        if self.model is None:
            return []
        marks = [(int(step), "checkpoint", "checkpoint") for step in self.model.checkpoints]
        for event in self.model.events:
            if isinstance(event, Warned):
                marks.append((0, "warning", event.message))
            elif isinstance(event, Trouble):
                marks.append((event.step, "warning", f"{event.kind}: {event.message}"))
        marks += [(step, "change", words) for step, words in fields.changes(self.model.events)]
        return sorted(marks)

    def said(self, step: int) -> str:
        """What is at a step, in words."""
        if self.model is None:
            return ""
        stage = self.model.stage_at(step)
        reach = max(1.0, 5 * self.newest / max(1, self.width()))
        near = [words for at, _, words in self.marks() if abs(at - step) <= reach]
        return ", ".join([f"step {step:,}", *([stage] if stage else []), *near[:3]])

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        now, painter = theme.now(), QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        top, height = 14, 10
        painter.fillRect(_SIDE, top, self.width() - 2 * _SIDE, height, QtGui.QColor(now.raised))
        if self.model is None:
            return
        painting.small_text(painter, least=6.5)
        self._paint_stages(painter, top, height)
        reached = self.x_of(self.shown_step)
        painter.fillRect(QtCore.QRectF(_SIDE, top + 3, reached - _SIDE, height - 6), QtGui.QColor(now.accent))
        for step, kind, _ in self.marks():
            x = self.x_of(step)
            if kind == "checkpoint":
                _shape(
                    painter,
                    now.good,
                    ((x, top + height), (x + 4, top + height + 5), (x, top + height + 10), (x - 4, top + height + 5)),
                )
            elif kind == "change":  # a flag on a pole
                _shape(painter, now.warn, ((x, top - 12), (x + 9, top - 8), (x + 1, top - 4), (x + 1, top), (x, top)))
            else:
                _shape(painter, now.warn, ((x, top - 10), (x + 4.5, top - 1), (x - 4.5, top - 1)))
        painter.setPen(QtGui.QPen(QtGui.QColor(now.text if self.hasFocus() else now.line), 1))
        painter.setBrush(QtGui.QColor(now.accent if self.selection.step is not None else now.text))
        painter.drawRoundedRect(QtCore.QRectF(reached - 4, top - 4, 8, height + 8), 3, 3)

    def _paint_stages(self, painter: QtGui.QPainter, top: int, height: int) -> None:
        assert self.model is not None
        now, end = theme.now(), 0.0
        for i, stage in enumerate(self.model.stages):
            x = self.x_of(stage.first_step)
            last = self.newest if stage.last_step is None else stage.last_step
            shade = QtGui.QColor((now.raised, now.line)[i % 2])
            painter.fillRect(QtCore.QRectF(x, top, self.x_of(last) - x, height), shade)
            width = painter.fontMetrics().horizontalAdvance(stage.name)
            if x >= end and self.x_of(last) - x > width / 3:
                painter.setPen(QtGui.QColor(now.faint))
                painter.drawText(QtCore.QPointF(x + 1, top - 3), stage.name)
                end = x + width + 6

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        if self.model is not None and event.buttons() & QtCore.Qt.MouseButton.LeftButton:
            self.selection.set(step=self.step_at(pointed(event).x()))

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:
        self.mousePressEvent(event)
        self.setToolTip(self.said(self.step_at(pointed(event).x())))


def _shape(painter: QtGui.QPainter, colour: str, corners: tuple[tuple[float, float], ...]) -> None:
    painter.setPen(QtCore.Qt.PenStyle.NoPen)
    painter.setBrush(QtGui.QColor(colour))
    painter.drawPolygon(QtGui.QPolygonF([QtCore.QPointF(x, y) for x, y in corners]))
