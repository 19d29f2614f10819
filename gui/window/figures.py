"""What a panel draws, as a figure for paper: vectors as PDF or SVG, or pixels, on a light ground, without its widgets.

A figure has the width asked for in millimetres, its drawings as they lie in the panel, and a caption: the panel, the
run and the step. A mesh writes its own vectors; other panels paint into Qt's SVG writer.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from pyqtgraph.Qt import QtCore, QtGui, QtSvg, QtWidgets

from ..base import files, theme
from ..base.panel import Panel
from ..base.plot import Plot

ENDINGS = (".pdf", ".svg", ".png")
WIDTH_MM, DPI = 160.0, 300
"""A figure over the width of an A4 page, as journals print photographs."""
CAPTION = 26
"""Pixels of the panel for the caption."""
INCH = 25.4


def write(panel: Panel, path: Path, caption: str, width_mm: float = WIDTH_MM, dpi: int = DPI) -> Path:
    """Write what a panel draws as the ending of `path` says. ExportError for another one, for a panel that draws
    nothing, and where the disk refuses."""
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise files.ExportError(f"{path.name} ends in {ending or 'nothing'}; use {', '.join(ENDINGS)}")
    vectors = _vectors(panel, caption)
    renderer = QtSvg.QSvgRenderer(QtCore.QByteArray(vectors))
    size = renderer.viewBoxF().size()
    if ending == ".svg":
        return files.write(path, _sized(vectors, width_mm, width_mm * size.height() / size.width()))
    if ending == ".pdf":
        return files.write(path, _pdf(renderer.render, width_mm, size, caption))
    pixels = round(width_mm / INCH * dpi)
    image = QtGui.QImage(pixels, round(pixels * size.height() / size.width()), QtGui.QImage.Format.Format_RGB32)
    image.fill(QtGui.QColor(theme.LIGHT.base))
    image.setDotsPerMeterX(round(dpi / INCH * 1000))
    image.setDotsPerMeterY(round(dpi / INCH * 1000))
    painter = QtGui.QPainter(image)
    renderer.render(painter)
    painter.end()
    return files.write(path, files.png(image))


def drawings(panel: Panel) -> list[QtWidgets.QWidget]:
    """The widgets of a panel that draw for themselves and are in sight, without those that lie in another one."""
    drawn = [
        widget for widget in panel.findChildren(QtWidgets.QWidget)
        if ("paintEvent" in type(widget).__dict__ or isinstance(widget, Plot))
        and ".gui." in f".{type(widget).__module__}." and widget.isVisible()
    ]  # fmt: skip
    return [widget for widget in drawn if not any(o is not widget and o.isAncestorOf(widget) for o in drawn)]


def _vectors(panel: Panel, caption: str) -> bytes:
    """The drawing as SVG in the light theme, in pixels of the panel."""
    try:
        with theme.drawn_as("light"):
            panel.refresh({"theme", "all"})
            if type(panel).svg is not Panel.svg:
                with tempfile.TemporaryDirectory() as folder:
                    panel.svg(Path(folder) / "own.svg")
                    return (Path(folder) / "own.svg").read_bytes()
            parts = drawings(panel)
            if not parts:
                raise files.ExportError(f"{panel.title} draws nothing; write its table as .csv")
            return _painted(panel, parts, caption)
    finally:
        panel.refresh({"theme", "all"})


def _painted(panel: Panel, parts: list[QtWidgets.QWidget], caption: str) -> bytes:
    """The parts where they lie in the panel, the caption below them."""
    places = [QtCore.QRect(part.mapTo(panel, QtCore.QPoint(0, 0)), part.size()) for part in parts]
    whole = places[0]
    for place in places[1:]:
        whole = whole.united(place)
    content = QtCore.QByteArray()
    buffer = QtCore.QBuffer(content)
    buffer.open(QtCore.QIODevice.OpenModeFlag.WriteOnly)
    generator = QtSvg.QSvgGenerator()
    generator.setOutputDevice(buffer)
    size = QtCore.QSize(whole.width(), whole.height() + CAPTION)
    generator.setSize(size)
    generator.setViewBox(QtCore.QRect(QtCore.QPoint(0, 0), size))
    generator.setTitle(caption)
    painter = QtGui.QPainter(generator)
    painter.fillRect(QtCore.QRect(QtCore.QPoint(0, 0), size), QtGui.QColor(theme.LIGHT.base))
    for part, place in zip(parts, places):
        here = place.translated(-whole.topLeft())
        if isinstance(part, Plot):
            part.vectors(painter, here)
        else:
            part.render(painter, here.topLeft(), QtGui.QRegion(), QtWidgets.QWidget.RenderFlag(0))
    painter.setPen(QtGui.QColor(theme.LIGHT.text))
    below = QtCore.QRect(4, whole.height() + 4, whole.width() - 8, CAPTION - 6)
    painter.drawText(below, int(QtCore.Qt.AlignmentFlag.AlignLeft | QtCore.Qt.AlignmentFlag.AlignVCenter), caption)
    painter.end()
    return bytes(content)


def _sized(vectors: bytes, width_mm: float, height_mm: float) -> bytes:
    """SVG whose size on paper is given; what it draws stays as it is."""
    text = vectors.decode()
    head = re.search(r"<svg[^>]*>", text)
    assert head is not None
    new = re.sub(r'\bwidth="[^"]*"', f'width="{width_mm:g}mm"', head.group(), count=1)
    new = re.sub(r'\bheight="[^"]*"', f'height="{height_mm:.4g}mm"', new, count=1)
    return (text[: head.start()] + new + text[head.end() :]).encode()


def _pdf(render: Callable[[QtGui.QPainter], None], width_mm: float, size: QtCore.QSizeF, title: str) -> bytes:
    """A page of just the size of the figure."""
    content = QtCore.QByteArray()
    buffer = QtCore.QBuffer(content)
    buffer.open(QtCore.QIODevice.OpenModeFlag.WriteOnly)
    writer = QtGui.QPdfWriter(buffer)
    writer.setTitle(title)
    paper = QtCore.QSizeF(width_mm, width_mm * size.height() / size.width())
    writer.setPageSize(QtGui.QPageSize(paper, QtGui.QPageSize.Unit.Millimeter))
    writer.setPageMargins(QtCore.QMarginsF(0, 0, 0, 0))
    painter = QtGui.QPainter(writer)
    render(painter)
    painter.end()
    return bytes(content)
