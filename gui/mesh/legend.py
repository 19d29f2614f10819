"""What the colours of a mesh mean, and how many values have none."""

from __future__ import annotations

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.backend import Array

from ..base import painting, theme
from .colours import CANVAS, GUIDE, HATCH, SHADES, Scale, shades, wheel
from .raster import STRIPE

Qt = QtCore.Qt


def row(scale: Scale, turns: bool, colours: int) -> Array:
    """The colours of a scale from its low end to its high one, (colours,) uint32. Light whose phase has a hue of its
    own is grey here, as bright as all hues are."""
    kind = "grey light" if turns else scale.kind
    chosen: Array = shades(kind, theme.now().name)[np.linspace(0, SHADES - 1, colours).astype(int)].copy()
    return chosen


def paint_bar(
    painter: QtGui.QPainter, area: QtCore.QRectF, scale: Scale, colours: int = 256, turns: bool = False
) -> None:
    """The colours of a scale from its low end to its high one, in so many steps."""
    painter.drawImage(area, painting.image(row(scale, turns, colours), 1, colours))


def paint_wheel(painter: QtGui.QPainter, middle: QtCore.QPointF, radius: float) -> None:
    """The hues of phases around a circle, 0 at the right and upwards from there."""
    colours = wheel(theme.now().name)
    ring = QtGui.QConicalGradient(middle, 0.0)
    for share in np.linspace(0.0, 1.0, 25):
        ring.setColorAt(float(share), QtGui.QColor(*(int(c) for c in colours[int(share * SHADES) % SHADES])))
    painter.save()
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QtGui.QPen(QtGui.QBrush(ring), radius * 0.5))
    painter.drawEllipse(middle, radius * 0.7, radius * 0.7)
    painter.restore()


class Legend(QtWidgets.QWidget):
    """A bar of the map with its ticks, unit and badge, of light with a wheel of the hues of its phases; a hatched
    sample with the count of wrong values beside it."""

    def __init__(self, guides: bool = True) -> None:
        super().__init__()
        self.guides = guides
        self.setFixedHeight(46)
        self.setAccessibleName("Legend")
        self.scale: Scale | None = None
        self.title = ""
        self.badge = ""
        self.wrong = 0
        self.turns = False

    def show_scale(self, scale: Scale | None, title: str, badge: str, wrong: int, turns: bool = False) -> None:
        """Say what is shown; None where nothing is. `turns`: hues are phases of light."""
        if (scale, title, badge, wrong, turns) != (self.scale, self.title, self.badge, self.wrong, self.turns):
            self.scale, self.title, self.badge, self.wrong, self.turns = scale, title, badge, wrong, turns
            said = f"{title}, {badge}" + (f", {wrong} values not a number or out of range" if wrong else "")
            said += ", hue is phase" if turns else ""
            self.setAccessibleDescription(said)
            self.update()

    def bar(self) -> QtCore.QRectF:
        """Where the map is drawn."""
        return QtCore.QRectF(14, 20, min(max(self.width() * 0.42, 120), 420), 9)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        """Draw it on the screen."""
        painter = QtGui.QPainter(self)
        self.paint(painter)
        painter.end()

    def paint(self, painter: QtGui.QPainter) -> None:
        """Draw it with any painter."""
        now, scale = theme.now(), self.scale
        painter.fillRect(self.rect(), QtGui.QColor(now.base))
        if scale is None:
            return
        painting.small_text(painter, 1.0)
        bar = self.bar()
        paint_bar(painter, bar, scale, turns=self.turns)
        painter.setPen(QtGui.QColor(now.text))
        name = f"{self.title}  [{scale.unit}]" if scale.unit else self.title
        said = f"{name} · {self.badge}"
        painter.drawText(QtCore.QPointF(bar.left(), bar.top() - 6), said)
        painter.setPen(QtGui.QColor(now.faint))
        for share, text in scale.ticks()[:: 2 if bar.width() < 150 and scale.kind != "cyclic" else 1]:
            x = bar.left() + share * bar.width()
            painter.drawLine(QtCore.QPointF(x, bar.bottom()), QtCore.QPointF(x, bar.bottom() + 2))
            painting.text_at(painter, x, bar.bottom() + 14, text, self.width())
        x = max(bar.right(), bar.left() + painter.fontMetrics().horizontalAdvance(said)) + 34
        if self.turns and x + 60 < self.width():
            paint_wheel(painter, QtCore.QPointF(x, 23), 17.0)
            painter.setPen(QtGui.QColor(now.faint))
            painter.drawText(QtCore.QPointF(x + 24, 28), "phase")
            x += 80
        self._symbols(painter, x)

    def _symbols(self, painter: QtGui.QPainter, x: float) -> None:
        now = theme.now()
        said = f"{self.wrong} not a number or out of range" if self.wrong else "not a number: none"
        wide = painter.fontMetrics().horizontalAdvance(said) + 28
        if self.guides and x + 110 + wide < self.width():
            painter.setPen(QtGui.QPen(QtGui.QColor(GUIDE[now.name] & 0xFFFFFF), 2))
            painter.drawLine(QtCore.QPointF(x, 24), QtCore.QPointF(x + 16, 24))
            painter.setPen(QtGui.QColor(now.faint))
            painter.drawText(QtCore.QPointF(x + 21, 28), "waveguide")
            x += 110
        if x + wide > self.width():
            if not self.wrong:
                return
            said = str(self.wrong)
            x = min(x, self.width() - painter.fontMetrics().horizontalAdvance(said) - 28.0)
        box = QtCore.QRectF(x, 18, 16, 12)
        painter.fillRect(box, QtGui.QColor(CANVAS[now.name] & 0xFFFFFF))
        painter.save()
        painter.setClipRect(box)
        painter.setPen(QtGui.QPen(QtGui.QColor(HATCH[now.name] & 0xFFFFFF), STRIPE * 0.7))
        for i in range(-4, 6):
            painter.drawLine(QtCore.QPointF(x + 8 * i, 30), QtCore.QPointF(x + 8 * i + 12, 18))
        painter.restore()
        painter.setPen(QtGui.QColor(now.bad if self.wrong else now.faint))
        painter.drawText(QtCore.QPointF(x + 21, 28), said)
