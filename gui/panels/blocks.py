"""The block navigator: one figure of merit of every core of every layer, the worst one first to be seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.backend import Array

from ..base import painting, theme
from ..base.files import Table
from ..base.model import COUNT
from ..base.panel import Panel, pointed
from ..base.widgets import filled, paragraph, scrolling, tool_button
from ..mesh.colours import HATCH, QUIET, Scale, number, paint
from ..mesh.legend import Legend
from ..mesh.raster import MARKED

if TYPE_CHECKING:
    from ..base.model import Layer, RunModel, Selection

Qt = QtCore.Qt
CELL = (4.0, 30.0)
"""Least and most pixels of a core."""
GAP, RIM = 12, 10
LOW_IS_WORST = {"last update"}
"""Metrics of which the smallest value is the one to look at."""
WORDS = {"movement": "most", "update count": "most", "last update": "longest ago"}
"""What the value to look at is called where it is not the worst."""
FIRST = ("mapping_error", "identity_error", "loss", "gradient", "movement")
"""What is looked at until somebody chooses: the first metric with one of these in its name."""
OF_STAGE = {
    "calibrate": ("identity_error", "loss", "movement"),
    "map": ("mapping_error", "loss", "movement"),
    "learn": ("gradient", "movement", COUNT),
}
"""The same in these stages, of metrics that differ from core to core there."""
SEEN = {"all", "theme", "blocks", "frames", "step", "layer", "block"}


class Strip(NamedTuple):
    """One layer in the picture: its cells begin at `top` and are `cell` pixels wide. `values` (p, q) or None."""

    layer: Layer
    top: float
    cell: float
    values: Array | None


def worst_of(values: Array | None, low: bool = False) -> int | None:
    """The core with the worst value; one without a number is worse than any. None where nothing is wrong or stands
    out: where all are 0, or (`low`) alike."""
    if values is None or not values.size:
        return None
    flat = values.reshape(-1).astype(float)
    if not np.isfinite(flat).any():
        return None
    if not flat.any() or (low and flat.size > 1 and (flat == flat[0]).all()):
        return None
    if np.isnan(flat).any() and not low:
        return int(np.flatnonzero(np.isnan(flat))[0])
    flat = np.where(np.isnan(flat), np.inf if low else -np.inf, flat)
    return int(flat.argmin() if low else flat.argmax())


def first_metric(names: list[str], parts: Sequence[str] = FIRST) -> str:
    """The figure of merit to look at first, "" where there is none: the first with one of `parts` in its name."""
    return next((name for part in parts for name in names if part in name), "")


def readable(name: str) -> str:
    """A metric in words; that it is of an oracle, its badge says."""
    name = {"best": "lowest loss so far"}.get(name, name.removeprefix("oracle_"))
    for end, title in (("_u", " of U"), ("_v", " of V*")):
        name = name.removesuffix(end) + title if name.endswith(end) else name
    return name.replace("_", " ")


def spread(values: list[Array]) -> Scale:
    """From zero to the largest value; where all are far from zero, from the smallest one, so that they can be told."""
    every = np.concatenate([v.reshape(-1) for v in values]) if values else np.zeros(0)
    low, high = (float(every.min()), float(every.max())) if every.size else (0.0, 1.0)
    if 0.0 <= low < high / 2:
        low = 0.0
    return Scale("sequential", low, high if high > low else low + (abs(low) or 1.0))


class Grids(QtWidgets.QWidget):
    """All layers, one grid under the other."""

    chosen = QtCore.Signal(str, int)
    jumped = QtCore.Signal(str)  # to the worst core of this layer
    hovered = QtCore.Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Cores of all layers")
        self.head = 0
        """Pixels above a layer for its name."""
        self.strips: list[Strip] = []
        self.scale: Scale = Scale("sequential", 0.0, 1.0)
        self.unit = ""
        self.low = False
        self.word = "worst"
        self.selected: tuple[str, int] = ("", 0)
        self.note = ""

    def show_layers(self, layers: list[tuple[Layer, Array | None]], width: int) -> None:
        """Lay the layers out for a width."""
        self.strips, y, self.head = [], float(GAP / 2), self.fontMetrics().height() + 4
        for layer, values in layers:
            cell = float(np.clip((width - 2 * RIM) / max(layer.q, 1), *CELL))
            self.strips.append(Strip(layer, y + self.head, cell, values))
            y += self.head + layer.p * cell + GAP
        self.setMinimumHeight(int(y))
        narrow = [s for s in self.strips if s.cell == CELL[0]]  # wider than there is room for
        self.setMinimumWidth(int(max((s.layer.q * s.cell + 2 * RIM for s in narrow), default=0)))
        self.update()

    def core_at(self, at: QtCore.QPointF) -> tuple[Strip, int] | None:
        """The core at a point."""
        for strip in self.strips:
            row, column = int((at.y() - strip.top) // strip.cell), int((at.x() - RIM) // strip.cell)
            if 0 <= row < strip.layer.p and 0 <= column < strip.layer.q:
                return strip, row * strip.layer.q + column
        return None

    def cell(self, strip: Strip, block: int) -> QtCore.QRectF:
        """Where a core is drawn."""
        row, column = divmod(block, strip.layer.q)
        return QtCore.QRectF(RIM + column * strip.cell, strip.top + row * strip.cell, strip.cell, strip.cell)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter, _ = painting.canvas(self)
        for strip in self.strips:
            self._heading(painter, strip)
            self._cells(painter, strip)
        if self.note:
            painting.note(painter, self.visibleRegion().boundingRect().adjusted(12, 12, -12, -12), self.note)
        painter.end()

    def _heading(self, painter: QtGui.QPainter, strip: Strip) -> None:
        """The name of a layer, its worst value, and what it is made of."""
        now, layer, values = theme.now(), strip.layer, strip.values
        painter.setPen(QtGui.QColor(now.text))
        size = f"{layer.p} × {layer.q} cores of {layer.k}" if layer.sigma else f"{layer.k} modes"
        worst = worst_of(values, self.low)
        said = "nothing recorded"
        if values is not None and np.isfinite(values).any():
            said = number(float(values.reshape(-1)[worst or 0])) + f" {self.unit}".rstrip()
            if layer.p * layer.q > 1:
                said = f"{self.word} {worst}: {said}" if worst is not None else f"all {said}"
        line = QtCore.QRectF(RIM, strip.top - self.head, self.width() - 2 * RIM, self.head - 2)
        painting.write(painter, line, painting.LEFT, layer.name)
        line.setLeft(RIM + painter.fontMetrics().horizontalAdvance(layer.name + "  "))
        painter.setPen(QtGui.QColor(now.faint))
        if line.width() > 0:
            painting.write(painter, line, painting.LEFT, f"{said} · {size}")

    def _cells(self, painter: QtGui.QPainter, strip: Strip) -> None:
        """The cores of a layer in their colours, the worst and the selected one framed."""
        now, layer, values = theme.now(), strip.layer, strip.values
        colours = np.full(layer.p * layer.q, QUIET[now.name], np.uint32)
        if values is not None:
            paint(values.reshape(-1), self.scale, now.name, colours)
        hatched = np.flatnonzero(colours == MARKED)
        colours[hatched] = QUIET[now.name]
        area = QtCore.QRectF(RIM, strip.top, layer.q * strip.cell, layer.p * strip.cell)
        painter.setRenderHint(QtGui.QPainter.RenderHint.SmoothPixmapTransform, False)
        painter.drawImage(area, painting.image(colours, layer.p, layer.q))
        stripes = QtGui.QBrush(QtGui.QColor(HATCH[now.name] & 0xFFFFFF), Qt.BrushStyle.BDiagPattern)
        for block in hatched.tolist():
            painter.fillRect(self.cell(strip, block), stripes)
        if strip.cell >= 9:
            painter.setPen(QtGui.QPen(QtGui.QColor(now.base), 1))
            for row in range(1, layer.p):
                y = strip.top + row * strip.cell
                painter.drawLine(QtCore.QPointF(area.left(), y), QtCore.QPointF(area.right(), y))
            for column in range(1, layer.q):
                x = RIM + column * strip.cell
                painter.drawLine(QtCore.QPointF(x, area.top()), QtCore.QPointF(x, area.bottom()))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        chosen = self.selected[1] if self.selected[0] == layer.name else None
        for core, colour in ((worst_of(values, self.low), now.warn), (chosen, now.accent)):
            if core is not None and layer.p * layer.q > 1:
                ring = self.cell(strip, core).adjusted(-1, -1, 1, 1)
                painter.setPen(QtGui.QPen(QtGui.QColor(now.base), 4))
                painter.drawRect(ring)
                painter.setPen(QtGui.QPen(QtGui.QColor(colour), 2))
                painter.drawRect(ring)

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:
        place = self.core_at(pointed(event))
        self.hovered.emit("" if place is None else self.say(*place))

    def leaveEvent(self, event: QtCore.QEvent) -> None:
        self.hovered.emit("")

    def say(self, strip: Strip, block: int) -> str:
        """A core and its value in words."""
        row, column = divmod(block, strip.layer.q)
        value = "nothing recorded" if strip.values is None else number(float(strip.values.reshape(-1)[block]))
        place = f" block {block} (row {row}, column {column})" if strip.layer.p * strip.layer.q > 1 else ""
        return f"{strip.layer.name}{place}: {value} {self.unit}".rstrip()

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        place = self.core_at(pointed(event))
        if place and event.button() == Qt.MouseButton.LeftButton:
            self.chosen.emit(place[0].layer.name, place[1])

    def mouseDoubleClickEvent(self, event: QtGui.QMouseEvent) -> None:
        at = pointed(event)
        strip = next((s for s in self.strips if s.top - self.head <= at.y() <= s.top + s.layer.p * s.cell), None)
        if strip is not None:
            self.jumped.emit(strip.layer.name)


class Blocks(Panel):
    """Colours every core by the metric that is chosen. `walk` and `worst` are what the window's keys call."""

    sees = SEEN
    what = (
        "Every core of every layer as a square, coloured by a metric of choice. The worst of a layer has a frame: "
        "W goes to it, and Why? asks what its error is made of."
    )
    asked = QtCore.Signal()  # why the selected core is as it is
    no_worst = QtCore.Signal(str)  # why there is no worst core to go to

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.shown_metric = ""
        self.by_hand = False
        """Whether somebody chose the metric of this run; until then the stage on show does."""
        self.chooser = QtWidgets.QComboBox()
        self.chooser.setAccessibleName("Figure of merit")
        self.chooser.setToolTip("The figure of merit that colours the cores")
        self.chooser.currentIndexChanged.connect(self._choose)
        far = "To the worst core of all layers; a double click in a layer goes to the worst of that one"
        jump = tool_button("Worst", far, "Go to the worst core", self.worst)
        budget = "Why is the selected core as bad as it is? Its error budget"
        why = tool_button("Why?", budget, "Error budget of the selected core", self.asked)
        row = filled(QtWidgets.QHBoxLayout(), (self.chooser, 1), jump, why, margins=(8, 5, 8, 3))
        self.grids = Grids()
        self.grids.chosen.connect(lambda layer, block: self.selection.set(layer=layer, block=block))
        self.grids.jumped.connect(self._jump)
        self.grids.hovered.connect(self._say)
        self.scroll = scrolling(self.grids)
        name = "The core under the pointer, or the worst one"
        self.said = paragraph("faint", name=name, margins=(10, 3, 10, 3))
        self.legend = Legend(guides=False)
        filled(QtWidgets.QVBoxLayout(self), row, (self.scroll, 1), self.said, self.legend, spacing=0)
        self.show_run(None)

    # -- what the window calls -----------------------------------------------------------------------------------------

    def show_run(self, model: RunModel | None, reference: RunModel | None = None) -> None:
        """Show another run, by a metric that suits it."""
        if model is not self.model:
            self.by_hand, self.shown_metric = False, ""
        super().show_run(model, reference)
        self.grids.note = "" if model else "No run is open."
        if model is None:
            self.grids.show_layers([], 200)
            self.legend.show_scale(None, "", "", 0)
            self.said.setText("")

    def refresh(self, changed: set[str]) -> None:
        """Paint what changed."""
        if self.model is None:
            self.grids.update()
        elif changed & SEEN:
            self._metrics()
            self._paint()

    def walk(self, by: int) -> None:
        """To the next core, or the one before, on through the layers."""
        if self.model is None:
            return
        every = [(name, b) for name, layer in self.model.layers.items() for b in range(layer.p * layer.q)]
        here = (self.selection.layer, self.selection.block)
        at = every.index(here) + by if here in every else 0
        self._select(every[at % len(every)])

    def worst(self) -> None:
        """To the worst core of all layers; where none is worst, say why."""
        core = self._worst([strip.layer.name for strip in self.grids.strips])
        self._select(core)
        if core is None and self.model is not None:
            self.no_worst.emit(self._alike())

    def table(self) -> Table | None:
        """Every core with all metrics at the step on show."""
        if self.model is None:
            return None
        rows: list[tuple[object, ...]] = []
        for name, layer in self.model.layers.items():
            metrics = [self.model.metric(name, metric, self.selection.at) for metric in self.model.metrics]
            for block in range(layer.p * layer.q):
                values = ["" if v is None else float(v.reshape(-1)[block]) for v in metrics]
                rows.append((name, block, *divmod(block, layer.q), *values))
        return ["layer", "block", "row", "column", *self.model.metrics], rows

    # -- inside --------------------------------------------------------------------------------------------------------

    def _metrics(self) -> None:
        assert self.model is not None
        names = list(self.model.metrics)
        if [self.chooser.itemData(i) for i in range(self.chooser.count())] != names:
            self.chooser.blockSignals(True)
            self.chooser.clear()
            for name in names:
                self.chooser.addItem(readable(name), name)
            self.chooser.blockSignals(False)
        if not self.by_hand or self.shown_metric not in names:
            self.shown_metric = self._telling(names)
        self.chooser.blockSignals(True)
        self.chooser.setCurrentIndex(names.index(self.shown_metric) if names else -1)
        self.chooser.blockSignals(False)

    def _telling(self, names: list[str]) -> str:
        """The metric that the stage on show is judged by and that differs from core to core, or else movement."""
        assert self.model is not None
        parts = OF_STAGE.get(self.shown_stage, FIRST)
        for name in (name for part in parts for name in names if part in name):
            values = [self.model.metric(layer, name, self.selection.at) for layer in self.model.layers]
            if any(worst_of(v, name in LOW_IS_WORST) is not None for v in values):
                return name
        return first_metric(names, ("movement",)) or first_metric(names, ("",))

    def look_by(self, metric: str) -> None:
        """Colour by a metric, until another one is chosen."""
        self.shown_metric, self.by_hand = metric, True
        self.refresh({"all"})

    def _choose(self, at: int) -> None:
        self.shown_metric, self.by_hand = self.chooser.itemData(at) or "", True
        self.refresh({"all"})

    def _paint(self) -> None:
        assert self.model is not None
        model, grids, metric, step = self.model, self.grids, self.shown_metric, self.selection.at
        layers = [(layer, model.metric(name, metric, step)) for name, layer in model.layers.items()]
        values = [v for _, v in layers if v is not None]
        grids.low, grids.word = metric in LOW_IS_WORST, WORDS.get(metric, "worst")
        wrongness = "error" in metric or "loss" in metric
        grids.scale = spread([v[np.isfinite(v)] for v in values])._replace(kind="error" if wrongness else "sequential")
        grids.unit = {"movement": "rad", "update count": "frames"}.get(metric, "")
        grids.selected = (self.selection.layer, self.selection.block)
        grids.show_layers(layers, self.scroll.viewport().width())
        wrong = sum(int((~np.isfinite(v)).sum()) for v in values)
        scale, badge = grids.scale._replace(unit=grids.unit), model.badge.get(metric, "commanded")
        self.legend.show_scale(scale if values else None, readable(metric), badge, wrong)
        self._say("")

    def _select(self, core: tuple[str, int] | None) -> None:
        if core:
            self.selection.set(layer=core[0], block=core[1])

    def _worst(self, layers: list[str]) -> tuple[str, int] | None:
        best: tuple[float, str, int] | None = None
        for strip in self.grids.strips:
            block = worst_of(strip.values, self.grids.low)
            if strip.layer.name not in layers or block is None or strip.values is None:
                continue
            value = float(strip.values.reshape(-1)[block])
            size = np.inf if np.isnan(value) else -value if self.grids.low else value
            if best is None or size > best[0]:
                best = size, strip.layer.name, block
        return best[1:] if best else None

    def _jump(self, layer: str) -> None:
        self._select(self._worst([layer]))

    def _say(self, text: str) -> None:
        """What is under the pointer, or else where to look."""
        if not text:
            worst = self._worst([strip.layer.name for strip in self.grids.strips])
            strip = next((s for s in self.grids.strips if worst and s.layer.name == worst[0]), None)
            if worst and strip is not None:
                what = "core" if strip.layer.sigma else "mesh"
                text = f"{self.grids.word.capitalize()}: {self.grids.say(strip, worst[1])}. Click a {what} to open it."
            elif self.grids.strips:
                text = self._alike()
        self.said.setText(text)

    def _alike(self) -> str:
        """Why no core is the worst."""
        what = readable(self.shown_metric).capitalize()
        values = [s.values for s in self.grids.strips if s.values is not None and np.isfinite(s.values).any()]
        if not values:
            return f"{what} is not recorded at this step."
        if not any(v.any() for v in values):
            return f"{what} is 0 in every core at this step. Another figure of merit may tell them apart."
        return f"{what} is alike in every core at this step: none stands out."

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        super().resizeEvent(event)
        if self.model is not None:
            self._paint()
