"""What panels paint alike: the ground, small text, notes in the middle, text at a tick, pictures of coloured cells."""

from __future__ import annotations

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.backend import Array

from . import theme

RIGHT = int(QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter)
CENTRE = int(QtCore.Qt.AlignmentFlag.AlignCenter)
"""Where text stands in its box."""


def canvas(widget: QtWidgets.QWidget) -> tuple[QtGui.QPainter, theme.Theme]:
    """A painter of the widget that has painted the ground, and the theme in force. Whoever asks ends the painter."""
    painter, now = QtGui.QPainter(widget), theme.now()
    painter.fillRect(widget.rect(), QtGui.QColor(now.base))
    return painter, now


def small_text(painter: QtGui.QPainter, less: float = 1.5, least: float = 7.0) -> None:
    """Write on with letters `less` points smaller, but of `least` points."""
    font = QtGui.QFont(painter.font())
    font.setPointSizeF(max(least, font.pointSizeF() - less))
    painter.setFont(font)


def note(painter: QtGui.QPainter, area: QtCore.QRect, text: str) -> None:
    """Words in the middle of an area, faint, over several lines where they are many."""
    painter.setPen(QtGui.QColor(theme.now().faint))
    painter.drawText(area, CENTRE | int(QtCore.Qt.TextFlag.TextWordWrap), text)


def text_at(painter: QtGui.QPainter, x: float, y: float, text: str, width: float) -> None:
    """Text whose middle is at `x`, as far as it stays inside a widget of `width`; `y` is its base line."""
    wide = painter.fontMetrics().horizontalAdvance(text)
    painter.drawText(QtCore.QPointF(min(max(x - wide / 2, 2.0), width - wide - 2.0), y), text)


def image(colours: Array, rows: int, columns: int) -> QtGui.QImage:
    """Colours (rows * columns,) uint32 as a picture, a pixel each. They are not copied: keep them as long as it."""
    return QtGui.QImage(colours.data, columns, rows, 4 * columns, QtGui.QImage.Format.Format_RGB32)
