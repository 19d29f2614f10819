"""What panels paint alike: the ground, small text, notes, lines that fit their room, pictures of coloured cells."""

from __future__ import annotations

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.backend import Array

from . import theme

RIGHT = int(QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter)
CENTRE = int(QtCore.Qt.AlignmentFlag.AlignCenter)
LEFT = int(QtCore.Qt.AlignmentFlag.AlignLeft | QtCore.Qt.AlignmentFlag.AlignVCenter)
"""Where text stands in its box."""


def canvas(widget: QtWidgets.QWidget) -> tuple[QtGui.QPainter, theme.Theme]:
    """A painter of the widget that has painted the ground, and the theme in force. Whoever asks ends the painter."""
    painter, now = QtGui.QPainter(widget), theme.now()
    painter.fillRect(widget.rect(), QtGui.QColor(now.base))
    return painter, now


def small_text(painter: QtGui.QPainter, less: float = 1.5, least: float = 7.0) -> None:
    """Write on with letters `less` points smaller, but of `least` points."""
    painter.setFont(smaller(painter.font(), less, least))


def smaller(font: QtGui.QFont, less: float = 1.5, least: float = 7.0) -> QtGui.QFont:
    """Letters `less` points smaller, but of `least` points."""
    font = QtGui.QFont(font)
    font.setPointSizeF(max(least, font.pointSizeF() - less))
    return font


def note(painter: QtGui.QPainter, area: QtCore.QRect, text: str) -> None:
    """Words in the middle of an area, faint, over several lines where they are many, smaller where there is no room,
    and ended by … where there is none for small letters."""
    painter.setPen(QtGui.QColor(theme.now().faint))
    how, plain = CENTRE | int(QtCore.Qt.TextFlag.TextWordWrap), painter.font()
    for less in (0.0, 1.5, 3.0, 5.0):
        painter.setFont(smaller(plain, less))
        if area.contains(painter.boundingRect(area, how, text)):
            painter.drawText(area, how, text)
            break
    else:
        write(painter, QtCore.QRectF(area), CENTRE, text)
    painter.setFont(plain)


def write(painter: QtGui.QPainter, box: QtCore.QRectF, how: int, text: str) -> None:
    """A line of text in a box, ended by … where the box is too narrow for it; nothing where no letter fits."""
    metrics = painter.fontMetrics()
    shown = metrics.elidedText(text, QtCore.Qt.TextElideMode.ElideRight, int(box.width()))
    if box.height() + 1 >= metrics.height() and (shown == text or len(shown) > 2):
        painter.drawText(box, how, shown)


def along(painter: QtGui.QPainter, places: list[tuple[float, str]], top: float, ends: tuple[float, float]) -> None:
    """Text (middle, words) in a row below `top`, moved to stay between two ends. The first and the last come first;
    of the others those that would touch a neighbour are left out."""
    metrics, taken = painter.fontMetrics(), list[tuple[float, float]]()
    for middle, text in [*places[:1], *places[:0:-1]]:
        wide = metrics.horizontalAdvance(text) + 1.0
        left = max(ends[0], min(middle - wide / 2, ends[1] - wide))
        if left + wide <= ends[1] + 1 and all(left + wide + 4 <= a or b + 4 <= left for a, b in taken):
            taken.append((left, left + wide))
            painter.drawText(QtCore.QRectF(left, top, wide, metrics.height()), CENTRE, text)


def image(colours: Array, rows: int, columns: int) -> QtGui.QImage:
    """Colours (rows * columns,) uint32 as a picture, a pixel each. They are not copied: keep them as long as it."""
    return QtGui.QImage(colours.data, columns, rows, 4 * columns, QtGui.QImage.Format.Format_RGB32)
