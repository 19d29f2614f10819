"""What the colours of a mesh mean, and how many values have none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.backend import Array

from ..base import painting, theme
from .colours import CANVAS, GUIDE, HATCH, SHADES, Scale, dim, shades, wheel
from .raster import STRIPE

Qt = QtCore.Qt
RIM, BAR, SAMPLE, APART = 14, 9, 28, 18
"""Pixels beside the bar, its height, the size of a sample, and what lies between two of them."""
Draw = Callable[[QtGui.QPainter, QtCore.QRectF], None]


def row(scale: Scale, turns: bool, colours: int, least: float = -np.inf) -> Array:
    """The colours of a scale from its low end to its high one, (colours,) uint32, dim below `least`. Light whose phase
    has a hue of its own is grey here, as bright as all hues are."""
    kind = "grey light" if turns else scale.kind
    chosen: Array = shades(kind, theme.now().name)[np.linspace(0, SHADES - 1, colours).astype(int)].copy()
    dim(scale.size(np.linspace(scale.low, scale.high, colours)), least, theme.now().name, chosen)
    return chosen


def paint_bar(
    painter: QtGui.QPainter, area: QtCore.QRectF, scale: Scale, colours: int = 256, turns: bool = False,
    least: float = -np.inf,
) -> None:  # fmt: skip
    """The colours of a scale from its low end to its high one, in so many steps, dim below `least`."""
    painter.drawImage(area, painting.image(row(scale, turns, colours, least), 1, colours))


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
    sample with the count of wrong values beside it. The bar of such light is grey: brightness is power, and hue is the
    wheel's alone."""

    def __init__(self, guides: bool = True) -> None:
        super().__init__()
        self.guides = guides
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Legend")
        self.scale: Scale | None = None
        self.title = ""
        self.badge = ""
        self.wrong = 0
        self.turns = False
        self.least = -np.inf

    def sizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(200, 2 * self._tall() + BAR + 9)

    def minimumSizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(100, self.sizeHint().height())

    def _tall(self) -> int:
        return int(QtGui.QFontMetrics(painting.smaller(self.font(), 1.0)).height())

    def show_scale(
        self, scale: Scale | None, title: str, badge: str, wrong: int, turns: bool = False, least: float = -np.inf
    ) -> None:
        """Say what is shown; None where nothing is. `turns`: hues are phases of light; below `least` all is dim."""
        before = self.scale, self.title, self.badge, self.wrong, self.turns, self.least
        if (scale, title, badge, wrong, turns, least) != before:
            self.scale, self.title, self.badge, self.wrong, self.turns = scale, title, badge, wrong, turns
            self.least = least
            said = f"{title}, {badge}" + (f", {wrong} values not a number or out of range" if wrong else "")
            said += ", hue is phase" if turns else ""
            self.setAccessibleDescription(said)
            self.update()

    def bar(self) -> QtCore.QRectF:
        """Where the map is drawn."""
        return QtCore.QRectF(RIM, self._tall() + 4, min(max(self.width() * 0.42, 120), 420), BAR)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        """Draw it on the screen."""
        painter = QtGui.QPainter(self)
        painter.setFont(self.font())
        self.paint(painter)
        painter.end()

    def paint(self, painter: QtGui.QPainter) -> None:
        """Draw it with any painter: the bar and its words at the left, what else there is beside them."""
        now, scale = theme.now(), self.scale
        painter.fillRect(self.rect(), QtGui.QColor(now.base))
        if scale is None:
            return
        painting.small_text(painter, 1.0)
        bar, tall, metrics = self.bar(), self._tall(), painter.fontMetrics()
        advance = metrics.horizontalAdvance
        badge = f" · {self.badge}"
        tail = f"  [{scale.unit}]{badge}" if scale.unit else badge
        said = self.title + tail
        symbols = self._symbols(self.width() - RIM - max(bar.width(), advance(said)) - APART, advance)
        room = self.width() - 2 * RIM - sum(wide + APART for _, _, wide in symbols)
        bar.setWidth(max(60.0, min(bar.width(), room)))
        paint_bar(painter, bar, scale, turns=self.turns, least=self.least)
        painter.setPen(QtGui.QColor(now.text))
        end = tail if room > advance(tail) + 40 else badge
        if advance(said) > room > advance(end) + 40:  # the badge stays, and the unit where there is room for it
            said = metrics.elidedText(self.title, Qt.TextElideMode.ElideRight, int(room) - advance(end)) + end
        title = QtCore.QRectF(bar.left(), 1, min(room, advance(said) + 1), tall)
        painting.write(painter, title, painting.LEFT, said)
        painter.setPen(QtGui.QColor(now.faint))
        places = [(bar.left() + share * bar.width(), text) for share, text in scale.ticks()]
        for x, _ in places:
            painter.drawLine(QtCore.QPointF(x, bar.bottom()), QtCore.QPointF(x, bar.bottom() + 2))
        painting.along(painter, places, bar.bottom() + 3, (2.0, min(self.width() - 2.0, RIM + max(room, bar.width()))))
        x = max(bar.right(), title.right()) + APART
        for draw, text, wide in symbols:
            sample = QtCore.QRectF(x, (self.height() - SAMPLE) / 2, SAMPLE, SAMPLE)
            draw(painter, sample)
            painter.setPen(QtGui.QColor(now.bad if draw is _hatched and self.wrong else now.faint))
            words = QtCore.QRectF(sample.right() + 5, 0, wide - SAMPLE - 5, self.height())
            painting.write(painter, words, painting.LEFT, text)
            x += wide + APART

    def _symbols(self, room: float, advance: Callable[[str], int]) -> list[tuple[Draw, str, float]]:
        """What stands beside the bar as far as there is room, with its words and width. The wheel and a count of wrong
        values stay where there is too little: the title is cut for them."""
        count = "not a number or out of range"
        wheels: list[tuple[Draw, str]] = [(_wheel, "phase")] if self.turns else []
        guides: list[tuple[Draw, str]] = [(_guide, "waveguide")] if self.guides else []
        few = wheels + ([(_hatched, str(self.wrong))] if self.wrong else [])
        said: list[tuple[Draw, str]] = [(_hatched, f"{self.wrong} {count}" if self.wrong else "not a number: none")]
        for entries in (wheels + guides + said, wheels + said, few):
            sized = [(draw, text, SAMPLE + 6.0 + advance(text)) for draw, text in entries]
            if sum(wide + APART for _, _, wide in sized) <= room:
                break
        return sized


def _wheel(painter: QtGui.QPainter, area: QtCore.QRectF) -> None:
    paint_wheel(painter, area.center(), area.width() / 2)


def _guide(painter: QtGui.QPainter, area: QtCore.QRectF) -> None:
    painter.setPen(QtGui.QPen(QtGui.QColor(GUIDE[theme.now().name] & 0xFFFFFF), 2))
    painter.drawLine(QtCore.QPointF(area.left(), area.center().y()), QtCore.QPointF(area.right(), area.center().y()))


def _hatched(painter: QtGui.QPainter, area: QtCore.QRectF) -> None:
    box = area.adjusted(0, SAMPLE / 4, 0, -SAMPLE / 4)
    painter.fillRect(box, QtGui.QColor(CANVAS[theme.now().name] & 0xFFFFFF))
    painter.save()
    painter.setClipRect(box)
    painter.setPen(QtGui.QPen(QtGui.QColor(HATCH[theme.now().name] & 0xFFFFFF), STRIPE * 0.7))
    for i in range(-4, 6):
        x = box.left() + 8 * i
        painter.drawLine(QtCore.QPointF(x, box.bottom()), QtCore.QPointF(x + box.height(), box.top()))
    painter.restore()
