"""The bar of a run's steps: stages, checkpoints and warnings along it, and the handle that chooses the step shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.store.events import Warned

from ..base import theme

if TYPE_CHECKING:
    from ..base.model import RunModel, Selection

_SIDE = 10
"""Pixels left free at both ends, for the handle."""


class Scrubber(QtWidgets.QWidget):
    """Drag or click to choose a step; the tooltip says what is there. Accessible as a slider's text."""

    def __init__(self, selection: Selection) -> None:
        super().__init__()
        self.selection = selection
        self.model: RunModel | None = None
        self.setMinimumHeight(38)
        self.setMouseTracking(True)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Step shown")
        self.setToolTip("Drag to go back in the run; L follows the newest step")

    def sizeHint(self) -> Any:
        return QtCore.QSize(400, 38)

    def step_at(self, x: float) -> int:
        """The step under a pixel."""
        newest = self._newest()
        share = (x - _SIDE) / max(1, self.width() - 2 * _SIDE)
        return round(min(max(share, 0.0), 1.0) * newest)

    def x_of(self, step: float) -> float:
        """The pixel of a step."""
        return _SIDE + (self.width() - 2 * _SIDE) * min(step / max(1, self._newest()), 1.0)

    def marks(self) -> list[tuple[int, str, str]]:
        """(step, kind, words) of checkpoints and warnings, in the order of their steps."""
        if self.model is None:
            return []
        found = [(int(step), "checkpoint", "checkpoint") for step in self.model.checkpoints]
        for event in self.model.events:
            if isinstance(event, Warned):
                found.append((0, "warning", event.message))
        return sorted(found)

    def said(self, step: int) -> str:
        """What is at a step, in words."""
        if self.model is None:
            return ""
        stage = self.model.stage_at(step)
        reach = max(1.0, 5 * self._newest() / max(1, self.width()))
        near = [words for at, _, words in self.marks() if abs(at - step) <= reach]
        return ", ".join([f"step {step:,}", *([stage] if stage else []), *near[:3]])

    def paintEvent(self, event: Any) -> None:
        it, painter = theme.now(), QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        top, height = 14, 10
        painter.fillRect(_SIDE, top, self.width() - 2 * _SIDE, height, QtGui.QColor(it.raised))
        if self.model is None:
            return
        small = painter.font()
        small.setPointSizeF(max(6.5, small.pointSizeF() - 1.5))
        painter.setFont(small)
        self._paint_stages(painter, it, top, height)
        reached = self.x_of(self._shown())
        painter.fillRect(QtCore.QRectF(_SIDE, top + 3, reached - _SIDE, height - 6), QtGui.QColor(it.accent))
        for step, kind, _ in self.marks():
            x = self.x_of(step)
            if kind == "checkpoint":
                _shape(
                    painter,
                    it.good,
                    ((x, top + height), (x + 4, top + height + 5), (x, top + height + 10), (x - 4, top + height + 5)),
                )
            else:
                _shape(painter, it.warn, ((x, top - 10), (x + 4.5, top - 1), (x - 4.5, top - 1)))
        painter.setPen(QtGui.QPen(QtGui.QColor(it.text if self.hasFocus() else it.line), 1))
        painter.setBrush(QtGui.QColor(it.accent if self.selection.step is not None else it.text))
        painter.drawRoundedRect(QtCore.QRectF(reached - 4, top - 4, 8, height + 8), 3, 3)

    def _paint_stages(self, painter: Any, it: theme.Theme, top: int, height: int) -> None:
        assert self.model is not None
        end = 0.0
        for i, stage in enumerate(self.model.stages):
            x = self.x_of(stage.first_step)
            last = self._newest() if stage.last_step is None else stage.last_step
            painter.fillRect(
                QtCore.QRectF(x, top, self.x_of(last) - x, height), QtGui.QColor((it.raised, it.line)[i % 2])
            )
            width = painter.fontMetrics().horizontalAdvance(stage.name)
            if x >= end and self.x_of(last) - x > width / 3:
                painter.setPen(QtGui.QColor(it.faint))
                painter.drawText(QtCore.QPointF(x + 1, top - 3), stage.name)
                end = x + width + 6

    def mousePressEvent(self, event: Any) -> None:
        self._go(event)

    def mouseMoveEvent(self, event: Any) -> None:
        position = event.position() if hasattr(event, "position") else event.localPos()
        if event.buttons() & QtCore.Qt.MouseButton.LeftButton:
            self._go(event)
        self.setToolTip(self.said(self.step_at(position.x())))

    def _go(self, event: Any) -> None:
        if self.model is not None and event.buttons() & QtCore.Qt.MouseButton.LeftButton:
            position = event.position() if hasattr(event, "position") else event.localPos()
            self.selection.set(step=self.step_at(position.x()))

    def _newest(self) -> int:
        return int(self.model.newest) if self.model else 0

    def _shown(self) -> int:
        return self._newest() if self.selection.step is None else self.selection.step


def _shape(painter: Any, colour: str, corners: tuple[tuple[float, float], ...]) -> None:
    painter.setPen(QtCore.Qt.PenStyle.NoPen)
    painter.setBrush(QtGui.QColor(colour))
    painter.drawPolygon(QtGui.QPolygonF([QtCore.QPointF(x, y) for x, y in corners]))
