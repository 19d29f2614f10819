"""What the window writes at one scale, with letters of several sizes: a program, since Qt takes its scale at its start.

`QT_SCALE_FACTOR=1.5 python -m tests.gui.labels DIGITS INSITU` shows both runs in the window's main states, notes every
text that a widget draws with its place, and prints what overlaps or is cut, a line each. A third argument is where
pictures of the states go, and what their names begin with.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from l2sim.gui.base.layout import Kept
from l2sim.gui.base.plot import Plot
from l2sim.gui.mesh.values import POWER
from l2sim.gui.panels.chart import Chart
from l2sim.gui.window.window import Window
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

SCREEN = 1600, 1000
"""Pixels of the screen: at twice the scale half as much fits."""
TYPES = 1.0, 1.5
SLACK = 1.5
"""Pixels that two texts may share, or that one may stand over an edge: line heights are rounded."""


class Drawn(NamedTuple):
    """A text, where its letters lie, and the part of the widget that shows them."""

    text: str
    place: QtCore.QRectF
    seen: QtCore.QRectF


class Recorder:
    """Notes what `QPainter.drawText` is asked for, whoever asks."""

    def __init__(self) -> None:
        self.drawn: list[Drawn] = []

    def note(self, draw: Callable[..., Any]) -> Callable[..., Any]:
        """`draw`, which is noted."""

        def noted(painter: QtGui.QPainter, *given: Any) -> Any:
            *where, text = given
            if isinstance(where[0], (QtCore.QRect, QtCore.QRectF)):
                box = QtCore.QRectF(where[0])
                place, seen = QtCore.QRectF(painter.boundingRect(box, int(where[1]), text)), box
                if int(where[1]) & QtCore.Qt.TextFlag.TextDontClip:
                    seen = place
            else:
                at = where[0] if len(where) == 1 else QtCore.QPointF(*where)
                metrics = painter.fontMetrics()
                place = QtCore.QRectF(
                    at.x(), at.y() - metrics.ascent(), metrics.horizontalAdvance(text), metrics.height()
                )
                seen = place
            world = painter.worldTransform()
            clip = world.mapRect(painter.clipBoundingRect()) if painter.hasClipping() else QtCore.QRectF()
            seen = world.mapRect(seen)
            self.drawn.append(Drawn(text, world.mapRect(place), seen.intersected(clip) if not clip.isNull() else seen))
            return draw(painter, *given)

        return noted

    def of(self, widget: QtWidgets.QWidget) -> list[Drawn]:
        """What a widget draws, without its children."""
        self.drawn.clear()
        if isinstance(widget, Chart):
            widget.redraw()
        ratio = widget.devicePixelRatioF()
        picture = QtGui.QPixmap(widget.size() * ratio)
        picture.setDevicePixelRatio(ratio)
        if isinstance(widget, Plot):
            self._plot(widget, picture)
        else:
            widget.render(picture, QtCore.QPoint(), QtGui.QRegion(), QtWidgets.QWidget.RenderFlags())
        whole = QtCore.QRectF(widget.rect())
        return [drawn._replace(seen=drawn.seen.intersected(whole)) for drawn in self.drawn if drawn.text.strip()]

    def _plot(self, plot: Plot, picture: QtGui.QPixmap) -> None:
        """Numbers of axes are noted while they are drawn; their names are texts of the scene."""
        painter = QtGui.QPainter(picture)
        plot.render(painter, QtCore.QRectF(plot.rect()), plot.rect())
        painter.end()
        whole = QtCore.QRectF(plot.rect())
        for text in plot.items():
            if isinstance(text, QtWidgets.QGraphicsTextItem) and text.isVisible():
                room = text.document().documentMargin()
                place = text.sceneBoundingRect().adjusted(room, room, -room, -room)
                self.drawn.append(Drawn(text.toPlainText().strip(), place, whole))


@contextmanager
def recorded() -> Iterator[Recorder]:
    """A recorder, as long as it is needed."""
    draw, recorder = QtGui.QPainter.drawText, Recorder()
    kept = vars(QtGui.QPainter)["drawText"]  # what binds; `draw` does not
    QtGui.QPainter.drawText = recorder.note(draw)
    try:
        yield recorder
    finally:
        QtGui.QPainter.drawText = kept


def faults(drawn: list[Drawn]) -> Iterator[str]:
    """What is wrong with texts of one widget, in words."""
    for i, one in enumerate(drawn):
        inner = one.place.adjusted(SLACK, SLACK, -SLACK, -SLACK)
        if not one.seen.contains(inner):
            yield f"cut: {one.text!r}"
        if one.text.strip(" .…-") == "" and "…" in one.text:
            yield "nothing but dots"
        for other in drawn[i + 1 :]:
            if inner.intersects(other.place.adjusted(SLACK, SLACK, -SLACK, -SLACK)):
                yield f"overlap: {one.text!r} and {other.text!r}"


def states(window: Window, digits: Path, insitu: Path) -> Iterator[str]:
    """Puts the window into its main states and names each."""
    yield "start page"
    window.open(digits)
    assert window.model is not None
    for stage in window.model.stages:
        window.selection.set(step=stage.last_step)
        window.blocks.worst()
        yield f"stage {stage.name}"
    window.docks["Distributions"].raise_()
    window.docks["Diagnosis"].raise_()
    yield "panels behind"
    window.docks["Traces"].raise_()
    window.selection.set(side="u", element=3)
    window.inspector.pin()
    window.mesh.threshold.ask()
    yield "traces and pins"
    window.mesh.threshold.clear()
    window.docks["Curves"].raise_()
    window.compare(digits)
    yield "compare"
    window.open(insitu)
    yield "in situ"
    window.mesh.colour(POWER)
    yield "light"


def look(recorder: Recorder, size: float, digits: Path, insitu: Path) -> int:
    """Print every fault of a window whose letters are `size` times as large; how many texts were looked at."""
    application, looked = QtWidgets.QApplication.instance(), 0
    scale = float(os.environ.get("QT_SCALE_FACTOR", "1"))
    with tempfile.TemporaryDirectory() as folder:
        window = Window(Path(folder), Kept())
        window.timer.stop()
        window.resize(*(int(side / scale) for side in SCREEN))
        window.show()
        for state in states(window, digits, insitu):
            for _ in range(2):
                application.processEvents()
                window.tick(everything=True)
            application.processEvents()
            for widget in window.findChildren(QtWidgets.QWidget):
                if not type(widget).__module__.startswith("l2sim.gui") or widget.visibleRegion().isEmpty():
                    continue
                drawn = recorder.of(widget)
                looked += len(drawn)
                for fault in faults(drawn):
                    print(f"letters {size:g}, {state}, {type(widget).__name__} {widget.width()} wide: {fault}")
            if len(sys.argv) > 3:
                window.grab().save(f"{sys.argv[3]}-{scale:g}-{size:g}-{state.replace(' ', '_')}.png")
        assert window.crashed == "", window.crashed
        window.close_quietly()
    return looked


def main(digits: Path, insitu: Path) -> int:
    """Look at the window with letters of all sizes."""
    application, looked = QtWidgets.QApplication([]), 0
    plain = application.font()
    with recorded() as recorder:
        for size in TYPES:
            font = QtGui.QFont(plain)
            font.setPointSizeF(plain.pointSizeF() * size)
            application.setFont(font)
            looked += look(recorder, size, digits, insitu)
    print(f"{looked} texts")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
