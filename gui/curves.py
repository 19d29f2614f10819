"""Loss, accuracy and every other scalar of a run over its steps: two plots with one axis of steps."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from . import quantities, theme
from .envelope import Envelope, Smooth
from .panel import Panel

if TYPE_CHECKING:
    from .model import RunModel, Selection

_FEW = 80
"""Points up to which each is marked: a curve of one point would be invisible."""
_NOTHING = (np.empty(0), np.empty(0))


class Trace:
    """One series of one run in a plot: raw values, their average where they are dense, marks where they are few."""

    def __init__(self, plot: Any, name: str, colour: str, memory: float, other: bool) -> None:
        self.name, self.other, self.colour = name, other, colour
        self.raw, self.mean = Envelope(), Smooth(memory)
        self._lines = [pg.PlotCurveItem(skipFiniteCheck=False) for _ in range(2)]
        self._marks = pg.ScatterPlotItem(size=6, pen=None, brush=pg.mkBrush(colour), symbol="t" if other else "o")
        faint = QtGui.QColor(colour)
        faint.setAlpha(110)
        style = QtCore.Qt.PenStyle.DashLine if other else QtCore.Qt.PenStyle.SolidLine
        # Pens of width 1: wider ones are drawn ten times slower in software.
        self._pens = [pg.mkPen(faint, width=1), pg.mkPen(colour, width=1, style=style)]
        for item in (*self._lines, self._marks):
            plot.addItem(item)

    def remove(self, plot: Any) -> None:
        """Take the items out of the plot."""
        for item in (*self._lines, self._marks):
            plot.removeItem(item)

    def update(self, curve: Any) -> None:
        """Take in what is new of the series."""
        self.curve = curve
        self.raw.extend(curve.values)
        steps = curve.steps
        self.dense = len(steps) > _FEW and (steps[-1] - steps[0] + 1) < 2 * len(steps)
        if self.dense:
            self.mean.extend(curve.values)

    def seen(self, low: float, high: float) -> tuple[int, int]:
        """The points within a range of steps, and one more on either side."""
        steps = self.curve.steps
        return max(0, int(np.searchsorted(steps, low)) - 1), min(len(steps), int(np.searchsorted(steps, high)) + 1)

    def draw(self, low: float, high: float, columns: int, log: bool) -> None:
        """Draw what lies between two steps on so many columns of pixels."""
        first, last = self.seen(low, high)
        steps, values = self.curve.steps, self.curve.values
        raw = self.raw.draw(steps, values, first, last, columns)
        if not self.dense:
            drawn = [_NOTHING, raw]
        else:
            mean = self.mean.envelope.draw(steps, self.mean.values, first, last, columns)
            # Two raw curves over each other would hide the comparison: of the other run only the average is drawn.
            drawn = [_NOTHING if self.other else raw, mean]
        for line, pen, (x, y) in zip(self._lines, self._pens, drawn):
            line.setData(x, _scaled(y, log), pen=pen, connect="finite")
        few = 0 < last - first <= _FEW and not self.dense
        x, y = (steps[first:last], _scaled(values[first:last], log)) if few else _NOTHING
        good = np.isfinite(y)
        self._marks.setData(x[good], y[good])

    def at(self, step: float) -> float | None:
        """The value at a step: of the average where there is one; None before the first."""
        place = int(np.searchsorted(self.curve.steps, step, side="right")) - 1
        if place < 0:
            return None
        return float((self.mean.values if self.dense else self.curve.values)[place])


class Plot(QtWidgets.QWidget):
    """One plot of one quantity with its title, its legend and its bands of stages."""

    def __init__(self, panel: Curves, place: int) -> None:
        super().__init__()
        self.panel, self.place = panel, place
        self.quantity: quantities.Quantity | None = None
        self.traces: list[Trace] = []
        self.choice = QtWidgets.QComboBox()
        self.choice.setAccessibleName(f"Quantity of the {'lower' if place else 'upper'} plot")
        self.choice.setToolTip("Which quantity is drawn; automatic follows the stage")
        self.choice.addItem(quantities.AUTOMATIC)
        self.choice.setFixedWidth(150)
        self.log = QtWidgets.QCheckBox("log")
        self.log.setToolTip("Logarithmic axis")
        self.log.setAccessibleName(f"Logarithmic axis of the {'lower' if place else 'upper'} plot")
        self.legend = QtWidgets.QLabel()
        self.legend.setTextFormat(QtCore.Qt.TextFormat.RichText)
        self.legend.setMinimumWidth(50)
        self.widget = pg.PlotWidget()
        self.widget.setMinimumHeight(60)
        self.item = self.widget.getPlotItem()
        self.item.hideButtons()
        self.item.setMenuEnabled(False)
        self.box = self.item.getViewBox()
        self.box.disableAutoRange()
        self.item.getAxis("left").setWidth(52)
        for side in ("left", "bottom"):
            self.item.getAxis(side).enableAutoSIPrefix(False)
        self.line = pg.InfiniteLine(angle=90, movable=True)
        self.line.setZValue(20)
        self.item.addItem(self.line, ignoreBounds=True)
        self.bands: list[Any] = []
        self.names: list[tuple[Any, int, int]] = []
        head = QtWidgets.QHBoxLayout()
        head.setContentsMargins(6, 2, 6, 0)
        head.addWidget(self.choice)
        head.addWidget(self.legend, 1)
        head.addWidget(self.log)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(head)
        layout.addWidget(self.widget, 1)
        self.choice.activated.connect(lambda *_: panel.arrange())
        self.log.toggled.connect(self._relog)
        self.line.sigDragged.connect(lambda line: panel.go(line.value()))
        self.widget.scene().sigMouseClicked.connect(self._clicked)
        self.box.sigRangeChangedManually.connect(lambda *_: panel.leave())
        self.box.sigXRangeChanged.connect(lambda *_: panel.moved())

    def show(self, quantity: quantities.Quantity | None) -> None:
        """Draw another quantity."""
        for trace in self.traces:
            trace.remove(self.item)
        self.traces = []
        self._fitted = False
        if quantity != self.quantity and quantity is not None:
            self.log.blockSignals(True)
            self.log.setChecked(quantity.log)
            self.log.blockSignals(False)
        self.quantity = quantity
        self.item.getAxis("left").setLogMode(self.log.isChecked())
        if quantity is None:
            return
        models = [(self.panel.model, False), (self.panel.reference, True)]
        kinds: dict[str, str] = {}
        for model, other in models:
            for name in quantities.matching(quantity, model.series if model else []):
                kind = name.rpartition("/")[2]
                colours = theme.now().curves
                colour = kinds.setdefault(kind, colours[len(kinds) % len(colours)])
                self.traces.append(Trace(self.item, name, colour, self.panel.memory, other))

    def restage(self, stages: Iterable[Any], newest: int) -> None:
        """Draw the bands of the stages."""
        for item in self.bands:
            self.item.removeItem(item)
        self.bands, self.names = [], []
        shades = itertools.cycle(theme.now().bands)
        for stage, shade in zip(stages, shades):
            last = max(newest, stage.first_step) if stage.last_step is None else stage.last_step
            if stage.last_step is None:
                last = 10**12
            band = pg.LinearRegionItem((stage.first_step, last), movable=False, brush=shade, pen=pg.mkPen(None))
            band.setZValue(-20)
            band.setToolTip(f"{stage.name}, from step {stage.first_step:,}")
            if self.place == 0:
                name = pg.InfLineLabel(band.lines[0], stage.name, position=0.99, anchors=[(0, 0), (0, 0)])
                name.setColor(theme.now().faint)
                self.names.append((name, stage.first_step, last))
            self.bands.append(band)
            self.item.addItem(band, ignoreBounds=True)

    def draw(self, low: float, high: float) -> None:
        """Take in what is new and draw what lies between two steps."""
        log = self.log.isChecked()
        columns = max(50, int(self.box.width()))
        for name, first, last in self.names:  # only where there is room for it
            room = (min(last, high) - max(first, low)) / max(high - low, 1e-9) * columns
            name.setVisible(room > 12 + 7 * len(name.format))
        spans = []
        for trace in self.traces:
            model = self.panel.reference if trace.other else self.panel.model
            if model is None:
                continue
            trace.update(model.scalar(trace.name))
            trace.draw(low, high, columns, log)
            first, last = trace.seen(low, high)
            if trace.dense:
                span = trace.mean.envelope.span(trace.mean.values, first, last)
                least = trace.raw.span(trace.curve.values, first, last)
                # The average decides; a spike of the raw curve may leave the plot rather than flatten it.
                spans.append((max(least[0], span[0] - (span[1] - span[0])), min(least[1], span[1] * 2 - span[0])))
            elif last > first:
                spans.append(trace.raw.span(trace.curve.values, first, last))
        self._fit(spans, log)

    def _fit(self, spans: list[tuple[float, float]], log: bool) -> None:
        """Fit the upright axis to what is seen, in jumps, so that its numbers stay put for a while."""
        ends = _scaled(np.array(spans, float).reshape(-1, 2), log)
        ends = ends[np.isfinite(ends).all(axis=1)]
        if not len(ends) or not self.panel.follows:
            return
        low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
        room = max(high - low, 1e-9 + abs(high) * 1e-6)
        (_, _), (bottom, top) = self.box.viewRange()
        if not self._fitted or low < bottom or high > top or room < 0.6 * (top - bottom):
            self._fitted = True
            self.box.setYRange(low - 0.08 * room, high + 0.12 * room, padding=0)

    def tell(self, step: float) -> None:
        """Write the legend: every curve with its value at a step."""
        begun: dict[tuple[str, bool], Trace] = {}  # of a kind that several stages have, the one that goes on here
        for trace in self.traces:
            if trace.at(step) is not None:
                kind = trace.name.rpartition("/")[2], trace.other
                if kind not in begun or trace.curve.steps[0] > begun[kind].curve.steps[0]:
                    begun[kind] = trace
        words = []
        for (what, other), trace in begun.items():
            if other and (what, False) in begun:
                continue
            beside = begun.get((what, True)) if not other else None
            text = f"{what.replace('_', ' ')} <b>{trace.at(step):.4g}</b>"
            text += f" ({beside.at(step):.4g})" if beside else ""
            text += f" <b>{trace.raw.lost} not finite</b>" if trace.raw.lost else ""
            words.append(f"<span style='color:{trace.colour}'>{'┅' if other else '━'}</span> {text}")
        if self.panel.reference is not None and words:
            words.append(f"(┅ {self.panel.reference.folder.name})")
        self.legend.setText("&nbsp; ".join(words) or "no values here yet")
        self.legend.setToolTip(self.legend.text())

    _fitted = False

    def _relog(self, log: bool) -> None:
        self.item.getAxis("left").setLogMode(log)
        self._fitted = False
        self.panel.follow()

    def _clicked(self, event: Any) -> None:
        if event.double():
            self.panel.follow()
        elif event.button() == QtCore.Qt.MouseButton.LeftButton:
            self.panel.go(self.box.mapSceneToView(event.scenePos()).x())


class Curves(Panel):
    """Every scalar series: raw values faint, their average over them, a band per stage, a line at the step shown."""

    title = "Curves"
    every = 0.05

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.memory = 0.95
        self.follows = True
        self._busy = False
        self.plots = [Plot(self, place) for place in range(2)]
        self.plots[1].widget.setXLink(self.plots[0].widget)
        self.plots[0].item.getAxis("bottom").setStyle(showValues=False)
        self.plots[0].item.getAxis("bottom").setHeight(6)
        self.plots[1].item.setLabel("bottom", "step")
        self.smooth = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self.smooth.setRange(0, 60)
        self.smooth.setValue(26)
        self.smooth.setMaximumWidth(110)
        self.smooth.setAccessibleName("Smoothing")
        self.smooth.setToolTip("How many values the average drawn over the raw curve remembers")
        self._remembers = QtWidgets.QLabel()
        self.whole = QtWidgets.QToolButton(text="Whole run")
        self.whole.setToolTip("Show all steps and follow new ones (double click in a plot)")
        self.whole.setAutoRaise(True)
        self.whole.clicked.connect(self.follow)
        self._empty = theme.mark(QtWidgets.QLabel("No scalars yet: they come with the first step."), "faint")
        foot = QtWidgets.QHBoxLayout()
        foot.setContentsMargins(6, 0, 6, 2)
        foot.addWidget(self._empty, 1)
        foot.addStretch(1)
        foot.addWidget(QtWidgets.QLabel("average over"))
        foot.addWidget(self.smooth)
        foot.addWidget(self._remembers)
        foot.addWidget(self.whole)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        for plot, share in zip(self.plots, (10, 13)):  # the lower one has the axis of steps
            layout.addWidget(plot, share)
        layout.addLayout(foot)
        self.smooth.valueChanged.connect(self._smoothed)
        self._smoothed(self.smooth.value(), redraw=False)

    # -- what the window calls

    def show_run(self, model: RunModel | None, reference: RunModel | None = None) -> None:
        super().show_run(model, reference)
        self.follows = True
        self.arrange()

    def refresh(self, changed: set[str]) -> None:
        if changed & {"all", "theme"}:
            self._paint_theme()
            self.arrange()
            return
        names = self.model.series if self.model else []
        if changed & {"scalars", "events", "state"} and (names != self._names or self._stage() != self._staged):
            self.arrange()
        elif "scalars" in changed:
            self._turn = 1 - self._turn  # one plot a beat: painting is most of what a beat costs
            self._draw(self.plots[self._turn : self._turn + 1])
        if "step" in changed:
            self._mark()

    def table(self) -> tuple[list[str], Iterable[tuple[Any, ...]]] | None:  # type: ignore[override]
        """Every point of the curves shown, with the average where one is drawn."""
        return ["series", "run", "step", "time (s since 1970)", "value", "average"], self._rows()

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        for trace in (trace for plot in self.plots for trace in plot.traces):
            curve, model = trace.curve, self.reference if trace.other else self.model
            run = model.folder.name if model else ""
            means = trace.mean.values if trace.dense else itertools.repeat("")
            for step, time, value, mean in zip(curve.steps, curve.times, curve.values, means):
                yield trace.name, run, int(step), float(time), float(value), mean if mean == "" else float(mean)

    # -- what the panel does

    def arrange(self) -> None:
        """Choose what the two plots draw, and draw it."""
        self._names = list(self.model.series) if self.model else []
        self._staged = self._stage()
        found = quantities.present(self._names)
        chosen = quantities.leading(self._staged, self._names)
        for plot in self.plots:
            text = plot.choice.currentText()
            titles = [quantities.AUTOMATIC, *(quantity.title for quantity in found)]
            if titles != [plot.choice.itemText(i) for i in range(plot.choice.count())]:
                plot.choice.clear()
                plot.choice.addItems(titles)
                plot.choice.setCurrentIndex(max(0, plot.choice.findText(text)))
            asked = next((quantity for quantity in found if quantity.title == plot.choice.currentText()), None)
            plot.show(asked or (chosen[plot.place] if plot.place < len(chosen) else None))
            plot.item.setLabel("left", None)
            if asked is None and plot.quantity is not None:
                plot.choice.setItemText(0, quantities.AUTOMATIC)
            plot.restage(self.model.stages if self.model else [], self._newest())
        self._empty.setVisible(not self._names)
        self._extent = 0.0
        self._draw()

    def go(self, step: float) -> None:
        """Show another step everywhere."""
        if self.model is not None:
            self.selection.set(step=int(min(max(round(step), 0), self._newest())))

    def follow(self) -> None:
        """Show all steps, new ones too."""
        self.follows, self._extent = True, 0.0
        self._draw()

    def leave(self) -> None:
        """Stay where the mouse has zoomed to."""
        self.follows = False

    def moved(self) -> None:
        """Draw anew what is now in view."""
        if not self._busy:
            self._draw()

    _names: list[str] = []  # noqa: RUF012
    _staged = ""
    _turn = 0
    _extent = 0.0

    def _newest(self) -> int:
        return int(self.model.newest) if self.model else 0

    def _stage(self) -> str:
        stages = self.model.stages if self.model else []
        return stages[-1].name if stages else ""

    def _draw(self, plots: list[Plot] | None = None) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            newest = max(self._newest(), int(self.reference.newest) if self.reference else 0, 1)
            if self.follows and (newest > self._extent or newest < 0.8 * self._extent):
                # A live axis grows in jumps of a twentieth: a new axis costs more than the curves.
                self._extent = newest if not (self.model and self.model.live) else newest * 1.05 + 2
                self.plots[0].box.setXRange(0, self._extent, padding=0.01)
            low, high = self.plots[0].box.viewRange()[0]
            for plot in plots or self.plots:
                plot.draw(low, high)
        finally:
            self._busy = False
        self._mark(plots)

    def _mark(self, plots: list[Plot] | None = None) -> None:
        step = self.selection.step if self.selection.step is not None else self._newest()
        for plot in plots or self.plots:
            plot.line.setVisible(self.model is not None)
            plot.line.setValue(step)
            plot.tell(step)

    def _smoothed(self, value: int, redraw: bool = True) -> None:
        points = 10 ** (value / 20)
        self.memory = 1 - 1 / points
        self._remembers.setText(f"{points:.0f} values")
        if redraw:
            self.arrange()

    def _paint_theme(self) -> None:
        it = theme.now()
        for plot in self.plots:
            plot.widget.setBackground(it.base)
            plot.line.setPen(pg.mkPen(it.accent, width=1))
            plot.line.setHoverPen(pg.mkPen(it.accent, width=3))
            for side in ("left", "bottom"):
                plot.item.getAxis(side).setPen(it.line)
                plot.item.getAxis(side).setTextPen(it.faint)


def _scaled(values: Any, log: bool) -> Any:
    if not log:
        return values
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(values)
    return np.where(np.isfinite(logs), logs, np.nan)
