"""The plots of the window: pyqtgraph's, in the house's numbers, colours and letters; the mouse moves nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyqtgraph as pg
from pyqtgraph.Qt import QtCore, QtGui

from l2sim.backend import Array

from . import painting, theme, ticks

EDGES = ("left", "bottom")
SIDE = 12
"""Pixels beside the plot, and of a number that may stand over its end."""


class Trace(NamedTuple):
    """Numbers in one colour: a "line", "dots", or "bars" from 0, between the edges `x`, one more than `y`."""

    x: Array
    y: Array
    colour: str
    how: str = "line"

    def show(self, item: pg.GraphicsObject) -> None:
        """Let an item of its kind draw it."""
        if self.how == "bars":
            left, right = self.x[:-1], self.x[1:]
            item.setOpts(x0=left, x1=right, height=self.y, brush=self.colour, pen=theme.now().base)
        else:
            item.setData(self.x, self.y, **{"brush" if self.how == "dots" else "pen": self.colour})


KINDS = {
    "line": lambda: pg.PlotCurveItem(antialias=True, connect="finite"),
    "dots": lambda: pg.ScatterPlotItem(size=4, pen=None, antialias=True),
    "bars": lambda: pg.BarGraphItem(x0=[], x1=[], height=[]),
}


class Axis(pg.AxisItem):
    """Its numbers stand where `ticks` puts them, as many as there is room for; only `whole` ones of whole numbers."""

    whole = False

    def tickValues(self, low: float, high: float, size: float) -> list[tuple[None, list[float]]]:
        letters = QtGui.QFontMetrics(self.style["tickFont"])
        apart = 1.8 * letters.height() if self.orientation == "left" else 9 * letters.averageCharWidth()
        self._numbers = ticks.linear(low, high, max(2, int(size / apart)), self.whole)
        return [(None, [place for place, _ in self._numbers])]

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        return [text for _, text in self._numbers]

    def resizeEvent(self, event: object = None) -> None:
        """Its name keeps within the plot, and ends in … where that is too narrow."""
        room = self.height() if self.orientation == "left" else self.geometry().right() + SIDE
        letters, how = QtGui.QFontMetrics(self.label.font()), QtCore.Qt.TextElideMode.ElideRight
        self.label.setPlainText(letters.elidedText(self.labelText, how, int(room) - SIDE))
        super().resizeEvent(event)
        if self.orientation == "bottom":
            beyond = self.label.x() + self.label.boundingRect().width() - self.size().width() - SIDE
            self.label.moveBy(-max(beyond, 0.0), 0.0)

    def paint(self, painter: QtGui.QPainter, *more: object) -> None:
        """Draw it as it is: the picture of it that pyqtgraph keeps has another scale where vectors are written."""
        specs = self.generateDrawSpecs(painter)
        if specs is not None:
            self.drawPicture(painter, *specs)


class Plot(pg.PlotWidget):
    """Traces over two linear axes, `tall` lines of letters high at least. The wheel scrolls what it lies in."""

    def __init__(self, name: str, tall: int = 8) -> None:
        super().__init__(enableMenu=False, axisItems={edge: Axis(edge) for edge in EDGES})
        self.setAccessibleName(name)
        self.axes = [self.getAxis(edge) for edge in EDGES]
        self.tall, self.heading, self.note, self.texts = tall, "", "", ("", "")
        self.traces: Sequence[Trace] = ()
        self.drawn: list[pg.GraphicsObject] = []
        """What draws each trace; made anew only where there are others, since that takes longer than all drawing."""
        self.mark = pg.InfiniteLine(0, 90, label=" ", labelOpts={"position": 0.9})
        self.mark.setZValue(1)
        self.addItem(self.mark, ignoreBounds=True)
        self.hideButtons()
        self.setMouseEnabled(False, False)
        self.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        self.getViewBox().disableAutoRange()
        self._styled: tuple[object, ...] = ()
        self._style()

    def draw(
        self, traces: Sequence[Trace], across: str = "", up: str = "", *, heading: str = "", note: str = "",
        mark: tuple[float, str] | None = None, ends: Sequence[tuple[float, str]] = (),
    ) -> None:  # fmt: skip
        """Draw traces over axes with these names; without traces a `note`. `mark` is a line with a word, `ends` are the
        places that the lower axis names instead of numbers."""
        if [trace.how for trace in traces] != [trace.how for trace in self.traces]:
            for item in self.drawn:
                self.removeItem(item)
            self.drawn = [KINDS[trace.how]() for trace in traces]
            for item in self.drawn:
                self.addItem(item, ignoreBounds=True)
        for item, trace in zip(self.drawn, traces):
            trace.show(item)
        self.traces, self.heading, self.note, self.texts = traces, heading, "" if traces else note, (up, across)
        self.plotItem.setVisible(bool(traces))
        self.mark.setVisible(mark is not None)
        if mark is not None:
            self.mark.setPos(mark[0])
            self.mark.label.setText(mark[1])
        bars = any(trace.how == "bars" for trace in traces)
        low, high = span([trace.y for trace in traces], 0.04)
        x = [trace.x for trace in traces] + ([] if mark is None else [np.array([mark[0]])])
        self.setRange(xRange=span(x, 0.0 if bars else 0.02), yRange=(0.0 if bars else low, high), padding=0)
        for axis, values in zip(self.axes, "yx"):
            axis.whole = all(np.issubdtype(getattr(trace, values).dtype, np.integer) for trace in traces)
        self.getAxis("bottom").setTicks([ends] if ends else None)
        self._style()
        self.viewport().update()

    def vectors(self, painter: QtGui.QPainter, place: QtCore.QRect) -> None:
        """Paint into a place of something else, without pixels."""
        drawn = [item for item in self.items() if isinstance(item, pg.GraphicsItem)]
        for item in drawn:
            item.setExportMode(True, {"antialias": True, "resolutionScale": 1.0})
        self.render(painter, QtCore.QRectF(place), self.viewport().rect())
        for item in drawn:
            item.setExportMode(False)

    def drawForeground(self, painter: QtGui.QPainter, area: QtCore.QRectF) -> None:
        """The heading, and the note where there is nothing to see."""
        painting.small_text(painter, 1.0)
        tall = painter.fontMetrics().height()
        painter.setPen(QtGui.QColor(theme.now().text))
        painting.write(painter, QtCore.QRectF(8, 1, self.width() - 12, tall), painting.LEFT, self.heading)
        painting.note(painter, self.rect().adjusted(SIDE, tall + 2, -SIDE, -4), self.note)

    def sizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(140, self.tall * self.fontMetrics().height())

    minimumSizeHint = sizeHint

    def wheelEvent(self, event: QtGui.QWheelEvent) -> None:
        event.ignore()

    def changeEvent(self, event: QtCore.QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QtCore.QEvent.Type.FontChange:
            self._style()

    def _style(self) -> None:
        """Colours, letters and names of the axes, where they are others than before: they make all be laid out anew."""
        now, font = theme.now(), painting.smaller(self.font(), 1.0)
        style = now, font, self.texts, bool(self.heading)
        if style == self._styled:
            return
        self._styled = style
        self.setBackground(now.base)
        for axis, text in zip(self.axes, self.texts):
            axis.setPen(now.line)
            axis.setTextPen(now.faint)
            axis.setStyle(tickFont=font, hideOverlappingLabels=SIDE)
            axis.enableAutoSIPrefix(False)  # units are said with their quantity
            axis.label.setFont(font)
            axis.label.setDefaultTextColor(QtGui.QColor(now.faint))
            axis.setLabel(text)
            axis.showLabel(bool(text))
            axis.resizeEvent()  # else the name stays where it was with other letters
        self.mark.setPen(now.warn, width=2, style=QtCore.Qt.PenStyle.DashLine)
        self.mark.label.setColor(now.text)
        self.mark.label.setFont(font)
        tall = QtGui.QFontMetrics(font).height()
        self.getAxis("bottom").setHeight(tall * (2 if self.texts[1] else 1) + 4)
        self.plotItem.layout.setContentsMargins(6, tall * bool(self.heading) + tall // 2, SIDE, 2)


def span(values: Sequence[Array], margin: float) -> tuple[float, float]:
    """The ends of all finite values and a share more; some room where there are none or all are equal."""
    every = np.concatenate(values) if values else np.zeros(0)
    every = every[np.isfinite(every)]
    low, high = (float(every.min()), float(every.max())) if every.size else (0.0, 1.0)
    edge = margin * (high - low) if high > low else 0.05 * (abs(low) or 1.0)
    return low - edge, high + edge
