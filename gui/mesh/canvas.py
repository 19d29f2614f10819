"""Where a mesh is drawn: panning, zooming, picking, and what is written over the picture.

The picture itself is made by `mesh.raster`: drawn again when the view changes, coloured again for every frame.
"""

from __future__ import annotations

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.backend import Array

from ..base import painting, theme
from ..base.panel import pointed
from . import raster as mesh_raster
from .colours import CANVAS, HATCH
from .geometry import LEAD, OF_MZI, SIGMA, Placed, Scene, Thing, View
from .shapes import Shapes, near, shapes

MARGIN = (40, 30, 40, 12)  # left, top, right, bottom: room for port numbers and titles
STRETCH = (1.2, 6.0)
"""How far a column may be drawn out against a rail, to fill the window."""
LARGEST = (300.0, 150.0)
"""The most pixels of a column and of a rail when a mesh is fitted."""
CLOSEST = 420.0
RINGS = 200
"""Wrong values that are circled; more are only counted."""
DRAG = 4

Qt = QtCore.Qt


def fitted(scene: Scene, width: int, height: int, head: int = 0) -> View:
    """The view that shows all of a scene, below titles of a height of `head`."""
    left, top, right, bottom = MARGIN
    top = max(top, head + 4)
    wide, tall = max(width - left - right, 20), max(height - top - bottom, 20)
    sx, sy = min(wide / scene.width, LARGEST[0]), min(tall / scene.rails, LARGEST[1])
    sx, sy = min(sx, sy * STRETCH[1]), min(sy, sx / STRETCH[0])
    ox, oy = left + (wide - sx * scene.width) / 2, top + (tall - sy * scene.rails) / 2
    return View(sx, sy, ox, oy + sy / 2)


class Canvas(QtWidgets.QWidget):
    """Shows a `Scene` in the colours `palette` (colours of the scene,), which others fill and then call `update`."""

    hovered = QtCore.Signal(object)  # Thing or None
    clicked = QtCore.Signal(object)
    walked = QtCore.Signal(str, int)  # side, element
    neared = QtCore.Signal()  # guides are drawn instead of tiles, or the other way round

    def __init__(self) -> None:
        super().__init__()
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMinimumSize(220, 160)
        self.setAccessibleName("Mesh picture")
        self.setToolTip("")
        self.scene: Scene | None = None
        self.view = View(1.0, 1.0, 0.0, 0.0)
        self.palette_: Array = np.full(1, CANVAS["dark"], np.uint32)
        self.focus = ""
        self.detailed = False
        """Whether guides are drawn, not tiles."""
        self.selected: tuple[str, int] | None = None
        self.pins: list[tuple[str, int]] = []
        self.rings: list[tuple[str, str, int]] = []  # side, kind, index of what is wrong
        self.worst: tuple[str, str, int, str] | None = None
        self.broken: list[tuple[tuple[str, str, int], str]] = []  # heaters that hold what they like, and how
        self.note = ""
        self.aside = ""
        """A line over the picture that leaves it in sight."""
        self.side = ""
        self.port: int | None = None
        self.way = "→"
        """Which way the light goes."""
        self.texts: dict[tuple[str, str], Array] = {}  # what is written in the boxes, with so many digits
        self.digits = 2
        self.dimmed: dict[tuple[str, str], Array] = {}  # whether a value is smaller than a threshold
        self.passing: list[tuple[str, str, int]] = []  # side, kind, index of what is not
        self._rasteriser = mesh_raster.Rasteriser()
        self._raster: mesh_raster.Raster | None = None
        self._image: Array | None = None
        self.fits = True
        self._press: QtCore.QPointF | None = None
        self._dragged = False
        self._over: Thing | None = None

    # -- the view ------------------------------------------------------------------------------------------------------

    def show_scene(self, scene: Scene | None) -> None:
        """Draw another scene, all of it."""
        self.scene, self._over = scene, None
        self.fit()

    def fit(self) -> None:
        """Show all of it."""
        self.fits = True
        if self.scene:
            self.look(fitted(self.scene, self.width(), self.height(), self.head()), fit=True)
        self.update()

    def look(self, view: View, fit: bool = False) -> None:
        """Change the view."""
        self.view, self.fits, self._raster = view, fit, None
        close = self.scene is not None and near(self.scene, view)
        if close != self.detailed:
            self.detailed = close
            self.neared.emit()
        self.update()

    def zoom(self, factor: float, at: QtCore.QPointF | None = None) -> None:
        """Larger or smaller around a point, the middle by default."""
        if not self.scene:
            return
        at = at or QtCore.QPointF(self.width() / 2, self.height() / 2)
        whole = fitted(self.scene, self.width(), self.height(), self.head())
        factor = float(np.clip(factor, 0.7 * whole.sx / self.view.sx, CLOSEST / self.view.sx))
        v = self.view
        ox, oy = at.x() - (at.x() - v.ox) * factor, at.y() - (at.y() - v.oy) * factor
        self.look(View(v.sx * factor, v.sy * factor, ox, oy))

    def reveal(self, side: str, kind: str, index: int) -> None:
        """Bring a phase shifter or attenuator into sight."""
        box = self.box(side, kind, index) if self.scene else None
        if box is None:
            return
        at = box.center()
        v, rim = self.view, 30
        dx = max(rim - at.x(), 0) - max(at.x() - (self.width() - rim), 0)
        dy = max(rim + MARGIN[1] - at.y(), 0) - max(at.y() - (self.height() - rim), 0)
        if dx or dy:
            self.look(View(v.sx, v.sy, v.ox + dx, v.oy + dy))
        self.update()

    def point(self, mesh: Placed, element: int) -> QtCore.QPointF:
        """Where an MZI is."""
        x, y = mesh.centre(element)
        return QtCore.QPointF(x * self.view.sx + self.view.ox, y * self.view.sy + self.view.oy)

    # -- painting ------------------------------------------------------------------------------------------------------

    def shapes(self) -> Shapes:
        """What is in sight, as vectors."""
        assert self.scene is not None
        return shapes(self.scene, self.view, (self.width(), self.height()), self.focus)

    def raster(self) -> mesh_raster.Raster:
        """The numbers of the colours at every pixel of the screen."""
        assert self.scene is not None
        # The screen's pixels are not the widget's: Qt scales by fractions, and says by how much.
        ratio = self.devicePixelRatioF()
        size = max(1, round(self.width() * ratio)), max(1, round(self.height() * ratio))
        if self._raster is None or self._raster.pick.shape != size[::-1]:
            self._raster = self._rasteriser.draw(self.shapes(), size, ratio)
            self._image = np.empty(size[::-1], np.uint32)
        return self._raster

    def image(self) -> Array:
        """The picture (H, W) uint32 0xFFRRGGBB."""
        raster, now = self.raster(), theme.now().name
        assert self._image is not None
        colours = (np.uint32(HATCH[now]), np.uint32(CANVAS[now]))
        mesh_raster.shade(*raster, self.palette_, *colours, self._image)
        return self._image

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        """The picture, and what stands over it."""
        painter = QtGui.QPainter(self)
        if self.scene is None:
            painter.fillRect(self.rect(), QtGui.QColor(theme.now().base))
        else:
            pixels = self.image()
            shown = painting.image(pixels, *pixels.shape)
            # Told its ratio, an image lets go of the buffer and copies it, so this one lives for one frame only; but
            # stretched into a rectangle it takes far longer.
            shown.setDevicePixelRatio(self.devicePixelRatioF())
            painter.drawImage(QtCore.QPointF(0, 0), shown)
        self.write(painter)
        painter.end()

    def write(self, painter: QtGui.QPainter) -> None:
        """What stands over the picture."""
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        if self.scene:
            if not self.note:
                self._numbers(painter)
                self._rings(painter)
            self._ports(painter)
            self._titles(painter)
            if self.aside:
                self._beside(painter)
        if self.note:
            self._say(painter, self.note)

    def head(self) -> int:
        """Pixels of the bar with the titles."""
        return max(24, int(self.fontMetrics().height()) + 4)

    def _text(
        self, painter: QtGui.QPainter, at: QtCore.QRectF, text: str, colour: str, flags: int = painting.CENTRE
    ) -> None:
        painter.setPen(QtGui.QColor(colour))
        painter.drawText(at, flags, text)

    def _titles(self, painter: QtGui.QPainter) -> None:
        now, v = theme.now(), self.view
        assert self.scene is not None
        bar = QtGui.QColor(now.base)
        bar.setAlpha(225)
        head, metrics = self.head(), painter.fontMetrics()
        painter.fillRect(QtCore.QRectF(0, 0, self.width(), head), bar)
        way = f"light {self.way}"
        box = QtCore.QRectF(6, 0, metrics.horizontalAdvance(way) + 2, head)
        self._text(painter, box, way, now.faint, painting.LEFT)
        titles = self.scene.titles()
        if len(titles) < 2:
            return
        font = painter.font()
        for begin, end, side, title in titles:
            x0, x1 = begin * v.sx + v.ox, end * v.sx + v.ox
            middle = (max(x0, 0.0) + min(x1, float(self.width()))) / 2
            if not -20 < middle < self.width() + 20:
                continue
            chosen = side == self.side
            bold = QtGui.QFont(font)
            bold.setBold(chosen)
            painter.setFont(bold)
            half = max(40.0, metrics.horizontalAdvance(title))
            box = QtCore.QRectF(middle - half, 0, 2 * half, head)
            self._text(painter, box, title, now.text if chosen else now.faint)
            if chosen:
                painter.fillRect(QtCore.QRectF(x0 + 4, head - 2, max(x1 - x0 - 8, 8), 2), QtGui.QColor(now.accent))
        painter.setFont(font)

    def _ports(self, painter: QtGui.QPainter) -> None:
        """Numbers of the rails, as many as there is room for."""
        assert self.scene is not None
        now, v = theme.now(), self.view
        x0, x1 = self._between()
        vertical, head, tall = int(Qt.AlignmentFlag.AlignVCenter), self.head(), painter.fontMetrics().height()
        first, last = self.scene.meshes[0], self.scene.meshes[-1]
        right, left = Qt.AlignmentFlag.AlignRight, Qt.AlignmentFlag.AlignLeft
        bar = QtGui.QColor(now.base)
        bar.setAlpha(205)
        for at, mesh, flags in ((x0 - 36, first, right), (x1 + 4, last, left)):
            painter.fillRect(QtCore.QRectF(at, head, 34, self.height()), bar)
            free = head - 2.0  # below it a number may be written
            for rail in range(0, mesh.part.modes, v.numbered):
                y = rail * v.sy + v.oy
                if free <= y - tall / 2 and y + tall / 2 <= self.height() + 2:
                    free = y + tall / 2 - 2
                    lit = mesh is first and rail == self.port
                    box = QtCore.QRectF(at, y - tall / 2, 32, tall)
                    self._text(painter, box, str(rail), now.accent if lit else now.faint, int(flags) | vertical)
        if self.port is not None:
            y = self.port * v.sy + v.oy
            painter.setBrush(QtGui.QColor(now.accent))
            painter.setPen(Qt.PenStyle.NoPen)
            corners = ((x0 - 3, y - 6), (x0 - 3, y + 6), (x0 + 6, y))
            painter.drawPolygon(QtGui.QPolygonF([QtCore.QPointF(*corner) for corner in corners]))

    def _between(self) -> tuple[float, float]:
        """From where to where the meshes are seen, between the numbers of the rails."""
        assert self.scene is not None
        return max(self.view.ox, 36.0), min(self.scene.width * self.view.sx + self.view.ox, self.width() - 36.0)

    def _numbers(self, painter: QtGui.QPainter) -> None:
        assert self.scene is not None
        if not (self.texts and self.view.roomy and self.detailed):
            return
        now, v = theme.now(), self.view
        font = painter.font()
        small = QtGui.QFont(font)
        small.setPointSizeF(max(7.0, font.pointSizeF() - 1.5))
        painter.setFont(small)
        for mesh in self.scene.meshes:
            at = mesh.centres * (v.sx, v.sy) + (v.ox, v.oy)
            beyond = np.array((v.sx, v.sy))
            here = ((at > -beyond) & (at < np.add(beyond, (self.width(), self.height())))).all(axis=1)
            for element, (x, y) in zip(np.flatnonzero(here).tolist(), at[here].tolist()):
                for kind, share, up in (("theta", 0.085, -8.0), ("phi", -0.385, -0.23 * v.sy)):
                    values = self.texts.get((mesh.side, kind))
                    if values is not None:
                        share = share if mesh.part.complex else 0.0
                        box = QtCore.QRectF(x + share * v.sx - 30, y + up, 60, 15)
                        dim = (mesh.side, kind) in self.dimmed and self.dimmed[mesh.side, kind][element]
                        text = f"{values[element]:.{self.digits}f}"
                        self._text(painter, box, text, now.line if dim else now.text)
        painter.setFont(font)

    def box(self, side: str, kind: str, index: int) -> QtCore.QRectF | None:
        """What a ring goes around."""
        assert self.scene is not None
        v, mesh = self.view, self.scene.mesh(side)
        if kind in OF_MZI:
            if mesh is None or not 0 <= index < mesh.count:
                return None
            at, rx, ry = self.point(mesh, index), 0.5 * v.sx, 0.88 * v.sy
        elif kind == "sigma" and self.scene.sigma:
            x = self.scene.sigma[0] + SIGMA / 2
            at, rx, ry = QtCore.QPointF(x * v.sx + v.ox, index * v.sy + v.oy), 0.4 * v.sx, 0.5 * v.sy
        elif mesh is not None:
            x = mesh.end - LEAD / 2
            at, rx, ry = QtCore.QPointF(x * v.sx + v.ox, index * v.sy + v.oy), 0.3 * v.sx, 0.5 * v.sy
        else:
            return None
        rx, ry = max(rx, 6.0), max(ry, 6.0)
        return QtCore.QRectF(at.x() - rx, at.y() - ry, 2 * rx, 2 * ry)

    def _ring(
        self, painter: QtGui.QPainter, where: tuple[str, str, int], colour: str, label: str = "", width: int = 2
    ) -> None:
        box = self.box(*where)
        if box is None:
            return
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for pen, thick in ((theme.now().base, width + 2), (colour, width)):
            painter.setPen(QtGui.QPen(QtGui.QColor(pen), thick))
            painter.drawRoundedRect(box, 5, 5)
        if label:
            wide = painter.fontMetrics().horizontalAdvance(label) + 10
            left, right = self._between()
            x = min(max(box.center().x() - wide / 2, left), right - wide)
            tall = painter.fontMetrics().height() + 1
            above = box.top() - tall - 2
            y = above if above > self.head() + 2 else min(box.bottom() + 3, self.height() - tall)
            tag = QtCore.QRectF(x, y, wide, tall)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QtGui.QColor(colour))
            painter.drawRoundedRect(tag, 3, 3)
            self._text(painter, tag, label, theme.now().base)

    def _rings(self, painter: QtGui.QPainter) -> None:
        now = theme.now()
        for where in self.passing if len(self.passing) <= RINGS else ():
            self._ring(painter, where, now.text, width=1)
        for where in self.rings[:RINGS]:
            self._ring(painter, where, now.bad)
        for where, label in self.broken[:RINGS]:
            self._ring(painter, where, now.bad, label)
        if self.worst:
            side, kind, index, label = self.worst
            self._ring(painter, (side, kind, index), now.warn, label)
        for i, (on, element) in enumerate(self.pins):
            self._ring(painter, (on, "theta", element), now.curves[i % len(now.curves)], f"pin {i + 1}")
        if self._over is not None and self._over.element >= 0:
            self._ring(painter, (self._over.side, "theta", self._over.element), now.text, width=1)
        if self.selected:
            self._ring(painter, (self.selected[0], "theta", self.selected[1]), now.accent)

    def _say(self, painter: QtGui.QPainter, text: str) -> None:
        """A note in the middle, on a plate."""
        now = theme.now()
        wide = min(self.width() - 40, 460)
        area = QtCore.QRect(0, 0, wide - 28, 400)
        flags = int(Qt.TextFlag.TextWordWrap | Qt.AlignmentFlag.AlignCenter)
        tall = painter.fontMetrics().boundingRect(area, flags, text).height() + 24
        plate = QtCore.QRectF((self.width() - wide) / 2, (self.height() - tall) / 2, wide, tall)
        painter.setPen(QtGui.QPen(QtGui.QColor(now.line)))
        painter.setBrush(QtGui.QColor(now.raised))
        painter.drawRoundedRect(plate, 6, 6)
        self._text(painter, plate.adjusted(14, 0, -14, 0), text, now.text, flags)

    def _beside(self, painter: QtGui.QPainter) -> None:
        """A line on a plate at the bottom."""
        now, flags = theme.now(), int(Qt.TextFlag.TextWordWrap | Qt.AlignmentFlag.AlignCenter)
        left = 5 * painter.fontMetrics().averageCharWidth() + 16  # between the numbers of the ports
        wide = self.width() - 2 * left
        tall = painter.fontMetrics().boundingRect(QtCore.QRect(0, 0, wide - 16, 200), flags, self.aside).height() + 8
        line = painter.fontMetrics().height() + 8
        tall = tall if self.height() - tall - 8 > self.head() + line else line  # one line where there is little room
        plate = QtCore.QRectF(left, self.height() - tall - 8, wide, tall)
        painter.setPen(QtGui.QPen(QtGui.QColor(now.line)))
        painter.setBrush(QtGui.QColor(now.raised))
        painter.drawRoundedRect(plate, 6, 6)
        if tall > line:
            self._text(painter, plate.adjusted(8, 0, -8, 0), self.aside, now.text, flags)
        else:
            painter.setPen(QtGui.QColor(now.text))
            painting.write(painter, plate.adjusted(8, 0, -8, 0), painting.CENTRE, self.aside)

    # -- mouse and keys ------------------------------------------------------------------------------------------------

    def thing_at(self, at: QtCore.QPointF) -> Thing | None:
        """What is seen at a point of the widget."""
        if self.scene is None or not self.rect().contains(at.toPoint()):
            return None
        pick = self.raster().pick
        ratio = self.devicePixelRatioF()
        y, x = min(int(at.y() * ratio), pick.shape[0] - 1), min(int(at.x() * ratio), pick.shape[1] - 1)
        return self.scene.thing(int(pick[y, x]))

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        """Begin a click or a drag."""
        if event.button() in (Qt.MouseButton.LeftButton, Qt.MouseButton.MiddleButton):
            self._press, self._dragged = pointed(event), False

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:
        """Drag the picture, or say what the pointer is over."""
        at = pointed(event)
        if self._press is not None:
            moved = at - self._press
            if self._dragged or abs(moved.x()) + abs(moved.y()) > DRAG:
                self._dragged, self._press = True, at
                v = self.view
                self.look(View(v.sx, v.sy, v.ox + moved.x(), v.oy + moved.y()))
            return
        thing = self.thing_at(at)
        if thing != self._over:
            self._over = thing
            self.hovered.emit(thing)
            self.update()

    def mouseReleaseEvent(self, event: QtGui.QMouseEvent) -> None:
        """What was not dragged was clicked."""
        if self._press is not None and not self._dragged and event.button() == Qt.MouseButton.LeftButton:
            self.clicked.emit(self.thing_at(pointed(event)))
        self._press = None

    def leaveEvent(self, event: QtCore.QEvent) -> None:
        """The pointer is over nothing."""
        self._over = None
        self.hovered.emit(None)
        self.update()

    def wheelEvent(self, event: QtGui.QWheelEvent) -> None:
        """Zoom around the pointer."""
        self.zoom(1.2 ** (event.angleDelta().y() / 120), QtCore.QPointF(event.position()))

    def keyPressEvent(self, event: QtGui.QKeyEvent) -> None:
        """Plus and minus zoom, arrows with Ctrl walk from MZI to MZI."""
        keys = {Qt.Key.Key_Left: (-1, 0), Qt.Key.Key_Right: (1, 0), Qt.Key.Key_Up: (0, -1), Qt.Key.Key_Down: (0, 1)}
        if event.key() in keys and event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.walk(*keys[Qt.Key(event.key())])
        elif event.key() in (Qt.Key.Key_Plus, Qt.Key.Key_Equal):
            self.zoom(1.3)
        elif event.key() == Qt.Key.Key_Minus:
            self.zoom(1 / 1.3)
        else:
            super().keyPressEvent(event)

    def walk(self, columns: int, rails: int) -> None:
        """From the selected MZI to the next one that way; from none to the first."""
        if self.scene is None:
            return
        meshes = [mesh for mesh in self.scene.meshes if mesh.count]
        if not meshes:
            return
        mesh = next((m for m in meshes if self.selected and m.side == self.selected[0]), None)
        if mesh is None or self.selected is None or not 0 <= self.selected[1] < mesh.count:
            self.walked.emit(meshes[0].side, 0)
            return
        here = self.selected[1]
        column, y = int(mesh.part.columns[here]), mesh.centre(here)[1]
        if rails:
            beside = np.flatnonzero(mesh.part.columns == column)
            apart = [(mesh.centre(int(i))[1] - y, int(i)) for i in beside]
            ways = [(abs(by), i) for by, i in apart if by * rails > 0]
            if ways:
                self.walked.emit(mesh.side, min(ways)[1])
            return
        aim = column + columns
        beside = np.flatnonzero(mesh.part.columns == aim)
        if not beside.size:  # over into the next mesh
            at = meshes.index(mesh) + columns
            if not 0 <= at < len(meshes):
                return
            mesh = meshes[at]
            edge = mesh.part.columns.min() if columns > 0 else mesh.part.columns.max()
            beside = np.flatnonzero(mesh.part.columns == edge)
        self.walked.emit(mesh.side, min((abs(mesh.centre(int(i))[1] - y), int(i)) for i in beside)[1])

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        """Draw anew, all of it where all of it was shown."""
        self._raster = None
        if self.fits:
            self.fit()
