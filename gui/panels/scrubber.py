"""The bar of a run's steps: stages, checkpoints, warnings and changes along it, and the handle for the step shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.store.events import Trouble, Warned

from ..base import fields, painting, theme
from ..base.panel import Panel, pointed

if TYPE_CHECKING:
    from l2sim.inspect.run import Stage

    from ..base.model import Selection

_SIDE = 10
"""Pixels left free at both ends, for the handle."""
BAR = 10
"""Pixels that the bar is high."""


def knots(
    stages: Sequence[Stage], newest: int, width: float, least: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Steps and their pixels, between which a bar of a width is straight. A stage that has steps gets by their number,
    but at least its `least` pixels, or an equal share where there is no room for that."""
    ends = [newest if stage.last_step is None else min(stage.last_step, newest) for stage in stages]
    steps: list[float] = [0.0]
    wanted: list[float] = []
    for stage, end, wide in zip(stages, ends, least):
        for step, room in ((stage.first_step, 0.0), (end, wide)):
            if step > steps[-1]:
                steps.append(float(step))
                wanted.append(room)
    if newest > steps[-1]:
        steps.append(float(newest))
        wanted.append(0.0)
    if not wanted:
        return [0.0, max(newest, 1)], [0.0, width]
    counts, floors = np.diff(steps), np.minimum(wanted, width / len(wanted))
    widths, small = width * counts / counts.sum(), np.zeros(len(counts), bool)
    while (widths < floors - 1e-9).any():
        small |= widths < floors
        left = (width - floors[small].sum()) / counts[~small].sum()
        widths = np.where(small, floors, counts * left)
    return steps, [0.0, *np.cumsum(widths).tolist()]


class Scrubber(Panel):
    """Drag or click to choose a step; the tooltip says what is there. Accessible as a slider's text."""

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.setMouseTracking(True)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Step shown")
        self.setToolTip("Drag to go back in the run; L follows the newest step")

    def sizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(400, self._top() + BAR + 14)

    def minimumSizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(100, self.sizeHint().height())

    def _letters(self) -> QtGui.QFont:
        return painting.smaller(self.font(), least=6.5)

    def _top(self) -> int:
        """Where the bar begins, below a line with the names of the stages."""
        return int(QtGui.QFontMetrics(self._letters()).height()) + 2

    def _knots(self) -> tuple[list[float], list[float]]:
        metrics, stages = QtGui.QFontMetrics(self._letters()), self.model.stages if self.model else []
        least = [metrics.horizontalAdvance(stage.name) + 8.0 for stage in stages]
        return knots(stages, self.newest, max(1, self.width() - 2 * _SIDE), least)

    def step_at(self, x: float) -> int:
        """The step under a pixel."""
        steps, pixels = self._knots()
        return min(round(float(np.interp(x - _SIDE, pixels, steps))), self.newest)

    def x_of(self, step: float) -> float:
        """The pixel of a step."""
        steps, pixels = self._knots()
        return _SIDE + float(np.interp(step, steps, pixels))

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
        near = [words for at, _, words in self.marks() if abs(self.x_of(at) - self.x_of(step)) <= 5]
        return ", ".join([f"step {step:,}", *([stage] if stage else []), *near[:3]])

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        now, painter = theme.now(), QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        top, height = self._top(), BAR
        painter.fillRect(_SIDE, top, self.width() - 2 * _SIDE, height, QtGui.QColor(now.raised))
        if self.model is None:
            return
        painter.setFont(self._letters())
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
        now = theme.now()
        for i, stage in enumerate(self.model.stages):
            x = self.x_of(stage.first_step)
            last = self.newest if stage.last_step is None else stage.last_step
            shade = QtGui.QColor((now.raised, now.line)[i % 2])
            painter.fillRect(QtCore.QRectF(x, top, self.x_of(last) - x, height), shade)
            painter.setPen(QtGui.QColor(now.faint))
            name = QtCore.QRectF(x + 1, 0, max(0.0, self.x_of(last) - x - 4), top - 1)
            painting.write(painter, name, painting.LEFT, stage.name)

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
