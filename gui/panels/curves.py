"""Loss, accuracy and every other scalar of a run over its steps: two plots with one axis of steps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.backend import Array
from l2sim.inspect import axes

from ..base import fields, theme
from ..base.files import Table
from ..base.panel import Panel
from ..base.widgets import filled
from . import quantities
from .chart import Chart, Legend
from .envelope import Band, Envelope, Flag, Line, Smooth, View

if TYPE_CHECKING:
    from l2sim.inspect.run import Stage
    from l2sim.store.follow import Curve

    from ..base.model import RunModel, Selection

STAGE, WHOLE = "Stage", "Whole run"
"""What the curves can follow, as the buttons say it."""
_FEW = 80
"""Points up to which each is marked: a curve of one point would be invisible."""


class Trace:
    """One series of one run in a plot: raw values, their average where they are dense, marks where they are few."""

    def __init__(self, name: str, colour: str, memory: float, other: bool) -> None:
        self.name, self.other, self.colour = name, other, colour
        self.raw, self.mean = Envelope(), Smooth(memory)
        self.moment: Callable[[float], float] = float
        """The step of its run that lies where a step of the open one does."""
        self.dense = False

    def update(self, curve: Curve) -> None:
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

    def lines(self, low: float, high: float, columns: int, log: bool) -> Iterator[Line]:
        """What lies between two steps on so many columns of pixels."""
        first, last = self.seen(low, high)
        steps, values = self.curve.steps, self.curve.values
        # Two raw curves over each other would hide the comparison: of the other run only the average is drawn.
        if not (self.dense and self.other):
            x, y = self.raw.draw(steps, values, first, last, columns)
            yield Line(x, _scaled(y, log), self.colour, faint=self.dense, dashed=self.other)
        if self.dense:
            x, y = self.mean.envelope.draw(steps, self.mean.values, first, last, columns)
            yield Line(x, _scaled(y, log), self.colour, dashed=self.other)
        elif last - first <= _FEW:
            y = _scaled(values[first:last], log)
            yield Line(steps[first:last], y, self.colour, marks="t" if self.other else "o")

    def at(self, step: float) -> float | None:
        """The value at a step of the open run: of the average where there is one; None before the first."""
        place = int(np.searchsorted(self.curve.steps, self.moment(step), side="right")) - 1
        if place < 0:
            return None
        return float((self.mean.values if self.dense else self.curve.values)[place])


class Plot(QtWidgets.QWidget):
    """One plot of one quantity: what it is, its legend, its chart."""

    def __init__(self, panel: Curves, place: int) -> None:
        super().__init__()
        self.panel, self.place = panel, place
        self.quantity: quantities.Quantity | None = None
        self.traces: list[Trace] = []
        self.free = False  # whether the mouse has moved the values
        self._fitted = False
        which = "lower" if place else "upper"
        self.choice = QtWidgets.QComboBox()
        self.choice.setAccessibleName(f"Quantity of the {which} plot")
        self.choice.setToolTip("Which quantity is drawn; automatic follows the stage")
        self.choice.addItem(quantities.AUTOMATIC)
        self.choice.setMinimumContentsLength(12)
        self.choice.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.log = QtWidgets.QCheckBox("log")
        self.log.setToolTip("Logarithmic axis")
        self.log.setAccessibleName(f"Logarithmic axis of the {which} plot")
        self.legend = Legend()
        self.chart = Chart(foot=bool(place))
        self.chart.named = place == 0
        self.chart.setAccessibleName(f"The {which} plot")
        head = filled(QtWidgets.QHBoxLayout(), self.choice, (self.legend, 1), self.log, margins=(6, 2, 6, 0))
        filled(QtWidgets.QVBoxLayout(self), head, (self.chart, 1), spacing=0)
        self.choice.activated.connect(lambda *_: panel.arrange())
        self.log.toggled.connect(lambda *_: self._relog())
        self.chart.asked.connect(lambda place: panel.go(panel.step_at(place)))
        self.chart.moved.connect(self._moved)
        self.chart.whole.connect(partial(panel.follow, WHOLE))
        self.chart.hovered.connect(lambda place: self._hovered(None if place is None else panel.step_at(place)))

    def show_quantity(self, quantity: quantities.Quantity | None) -> None:
        """Draw another quantity."""
        self.traces = []
        self.free = self._fitted = False
        if quantity != self.quantity and quantity is not None:
            self.log.blockSignals(True)
            self.log.setChecked(quantity.log)
            self.log.blockSignals(False)
        self.quantity = quantity
        if quantity is None:
            return
        series = [
            (name, other)
            for model, other in ((self.panel.model, False), (self.panel.reference, True))
            for name in quantities.matching(quantity, model.series if model else [])
        ]
        colours = theme.now().curves
        places = quantities.colours({quantities.kind(name) for name, _ in series}, len(colours))
        for name, other in series:
            self.traces.append(Trace(name, colours[places[quantities.kind(name)]], self.panel.memory, other))

    def restage(self, stages: Iterable[Stage]) -> None:
        """Draw the bands of the stages."""
        ends = ((stage, np.inf if stage.last_step is None else stage.last_step) for stage in stages)
        at = self.panel.place
        bands = [Band(at(stage.first_step), at(last), stage.name, i % 2) for i, (stage, last) in enumerate(ends)]
        self.chart.stages(bands)
        self.chart.along(axes.LABELS[self.panel.axis.kind])
        self.chart.mark([Flag(at(step), words) for step, words in self.panel.changes()])

    def draw(self, left: float, right: float) -> None:
        """Take in what is new and draw what lies between two places of the axis."""
        log, columns = self.log.isChecked(), max(50, int(self.chart.room().width()))
        spans: list[tuple[float, float]] = []
        lines: list[Line] = []
        for trace in self.traces:
            model = self.panel.reference if trace.other else self.panel.model
            if model is None:
                continue
            trace.update(model.scalar(trace.name))
            axis = self.panel.lies if trace.other else self.panel.axis
            trace.moment = self.panel.moment if trace.other else float
            low, high = axis.step(left), axis.step(right)
            lines += [line._replace(x=axis.at(line.x)) for line in trace.lines(low, high, columns, log)]
            first, last = trace.seen(low, high)
            if trace.dense:
                span = trace.mean.envelope.span(trace.mean.values, first, last)
                least = trace.raw.span(trace.curve.values, first, last)
                # The average decides; a spike of the raw curve may leave the plot rather than flatten it.
                spans.append((max(least[0], span[0] - (span[1] - span[0])), min(least[1], span[1] * 2 - span[0])))
            elif last > first:
                spans.append(trace.raw.span(trace.curve.values, first, last))
        self.chart.look(self._fit(spans, View(left, right, *self.chart.view[2:]), log), log)
        self.chart.draw(sorted(lines, key=lambda line: (not line.faint, line.marks)))

    def _fit(self, spans: list[tuple[float, float]], view: View, log: bool) -> View:
        """Fit the upright axis to what is seen, in jumps, so that its numbers stay put for a while."""
        ends = _scaled(np.array(spans, float).reshape(-1, 2), log)
        ends = ends[np.isfinite(ends).all(axis=1)]
        if not len(ends) or self.free:
            return view
        low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
        room = max(high - low, 1e-9 + abs(high) * 1e-6)
        if self._fitted and view.bottom <= low and high <= view.top and room >= 0.6 * (view.top - view.bottom):
            return view
        self._fitted = True
        return view._replace(bottom=low - 0.08 * room, top=high + 0.12 * room)

    def begun(self, step: float, stage: str) -> tuple[str, dict[tuple[str, bool], Trace]]:
        """The traces of one stage that have a value at a step, by kind and whether they are of the other run: of
        `stage`, or else of the last one before it that has values."""
        there = [trace for trace in self.traces if trace.at(step) is not None]
        own = [trace for trace in there if not trace.other] or there
        last = max(own, key=lambda trace: float(trace.curve.steps[0]), default=None)
        if last is not None and all(quantities.stage(trace.name) != stage for trace in own):
            stage = quantities.stage(last.name)
        of_stage = [trace for trace in there if quantities.stage(trace.name) == stage]
        return stage, {(quantities.kind(trace.name), trace.other): trace for trace in of_stage}

    def tell(self, step: float, stage: str) -> None:
        """Put the line at a step and write the legend: every curve, with its value there where it has one in the stage
        that the legend is of; that stage is named where it is not the one on show."""
        self.chart.stand(self.panel.place(step) if self.panel.model is not None else None)
        of, begun = self.begun(step, stage)
        words = [("", False, f"{of}:")] if begun and of != stage else []
        for (what, other), trace in begun.items():
            if other and (what, False) in begun:
                continue
            beside = begun.get((what, True)) if not other else None
            text = f"{quantities.kind_in_words(what)} {trace.at(step):.4g}"
            text += f" ({beside.at(step):.4g})" if beside else ""
            text += f", {trace.raw.lost} not finite" if trace.raw.lost else ""
            words.append((trace.colour, other, text))
        named = {kind for kind, _ in begun}
        for trace in self.traces if words else ():
            if (kind := quantities.kind(trace.name)) not in named:
                named.add(kind)
                words.append((trace.colour, trace.other, kind.replace("_", " ")))
        if self.panel.reference is not None and words:
            words.append((theme.now().faint, True, self.panel.reference.folder.name))
        self.legend.show_entries(words or [("", False, "no values here yet")])

    def _hovered(self, step: float | None) -> None:
        if step is None or self.panel.model is None:
            self.chart.say([])
            return
        at = self.panel.place(step)
        stage = self.panel.model.stage_at(math.floor(step))
        words = [(theme.now().text, f"{stage}, step {step:,.0f}" if stage else f"step {step:,.0f}")]
        words += [(theme.now().warn, flag) for flag in self.chart.flagged(self.chart.x_of(at))]
        of, begun = self.begun(step, stage)
        of = f"{of} " if of != stage else ""
        for (what, other), trace in begun.items():
            model = self.panel.reference if other else self.panel.model
            if model is None or trace.moment(step) > model.newest:
                continue
            run = f", {model.folder.name}" if other else ""
            words.append((trace.colour, f"{of}{what.replace('_', ' ')}{run} {trace.at(step):.4g}"))
        self.chart.say(words)

    def _moved(self, view: View) -> None:
        if view[2:] != self.chart.view[2:]:
            self.free = True
            self.chart.look(view, self.log.isChecked())
        if view[:2] != self.chart.view[:2]:
            self.panel.look(view.low, view.high)

    def _relog(self) -> None:
        self.free = self._fitted = False
        self.panel.follow(self.panel.follows or WHOLE)


class Curves(Panel):
    """Every scalar series: raw values faint, their average over them, a band per stage, a line at the step shown."""

    what = (
        "What was measured step by step: raw values faint, their average over them, a band for each stage. A "
        "click goes to a step; the wheel zooms, a drag moves, a double click shows the whole run, *Stage* the stage "
        "on show."
    )
    every = 0.05

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.memory = 0.95
        self.follows = STAGE
        """What is seen, `STAGE` or `WHOLE`, as it grows; "" where the mouse chose."""
        self.sight = 0.0, 1.0
        """The places of the axis that are seen."""
        self.axis = self.lies = axes.Axis(axes.STEP)
        """Along what the run is drawn, and where the reference lies beside it."""
        self.along = QtWidgets.QComboBox()
        self.along.addItems(list(axes.LABELS))
        self.along.setAccessibleName("Axis of the curves")
        self.along.setToolTip("Along what curves are drawn")
        self.along.activated.connect(lambda *_: self._turn())
        self.plots = [Plot(self, place) for place in range(2)]
        self.smooth = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self.smooth.setRange(0, 60)
        self.smooth.setValue(26)
        self.smooth.setMaximumWidth(110)
        self.smooth.setAccessibleName("Smoothing")
        self.smooth.setToolTip("How many values the average drawn over the raw curve remembers")
        self._remembers = QtWidgets.QLabel()
        self.sights = {}
        for what, tip in (
            (STAGE, "Show the stage on show, whichever it is"),
            (WHOLE, "Show all steps and follow new ones (double click in a plot)"),
        ):
            self.sights[what] = button = QtWidgets.QToolButton(text=what, checkable=True, autoRaise=True)
            button.setToolTip(tip)
            button.clicked.connect(partial(self.follow, what))
        self.empty = theme.mark(QtWidgets.QLabel("No scalars yet: they come with the first step."), "faint")
        words = QtWidgets.QLabel("average over")
        beside = theme.mark(QtWidgets.QLabel("along"), "faint")
        members = (self.empty, 1), beside, self.along, 1, words, self.smooth, self._remembers, *self.sights.values()
        foot = filled(QtWidgets.QHBoxLayout(), *members, margins=(6, 0, 6, 2))
        upper, lower = self.plots  # the lower one has the axis of steps
        filled(QtWidgets.QVBoxLayout(self), (upper, 10), (lower, 13), foot, spacing=0)
        self.smooth.valueChanged.connect(self._smoothed)
        self._smoothed(self.smooth.value(), redraw=False)

    # -- what the window calls

    def show_run(self, model: RunModel | None, reference: RunModel | None = None) -> None:
        """Show the stage on show of another run."""
        super().show_run(model, reference)
        self.follows = STAGE
        self.arrange()

    def refresh(self, changed: set[str]) -> None:
        """Draw what changed."""
        if changed & {"all", "theme"}:
            self.arrange()
            for plot in self.plots:
                plot.chart.redraw()
            return
        names = self.model.series if self.model else []
        if "events" in changed:
            self._survey()
            for plot in self.plots:
                plot.restage(self.model.stages if self.model else [])
        moved = changed & {"scalars", "events", "state", "step"}
        if moved and (names != self._names or self.shown_stage != self._staged):
            self.arrange()
        elif "scalars" in changed:
            self._draw()
        if "step" in changed:
            self._mark()

    def table(self) -> Table:
        """Every point of the curves shown, with the average where one is drawn."""
        return ["series", "run", "step", "time (s since 1970)", "value", "average"], self._rows()

    def _rows(self) -> Iterator[tuple[object, ...]]:
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
        self._staged = self.shown_stage
        self._survey()
        present = quantities.present(self._names)
        chosen = quantities.leading(self._staged, self._names)
        for plot in self.plots:
            text = plot.choice.currentText()
            titles = [quantities.AUTOMATIC, *(quantity.title for quantity in present)]
            if titles != [plot.choice.itemText(i) for i in range(plot.choice.count())]:
                plot.choice.clear()
                plot.choice.addItems(titles)
                plot.choice.setCurrentIndex(max(0, plot.choice.findText(text)))
            asked = next((quantity for quantity in present if quantity.title == plot.choice.currentText()), None)
            plot.show_quantity(asked or (chosen[plot.place] if plot.place < len(chosen) else None))
            if asked is None and plot.quantity is not None:
                plot.choice.setItemText(0, quantities.AUTOMATIC)
            plot.restage(self.model.stages if self.model else [])
        self.empty.setVisible(not self._names)
        self._extent = 0.0
        self._draw()

    def go(self, step: float) -> None:
        """Show another step everywhere."""
        if self.model is not None:
            self.selection.set(step=int(min(max(round(step), 0), self.newest)))

    def place(self, step: float) -> float:
        """Where a step of the run lies on the axis."""
        return float(self.axis.at(step))

    def moment(self, step: float) -> float:
        """The step of the reference that lies where a step of the run does."""
        return self.lies.step(self.place(step))

    def step_at(self, place: float) -> float:
        """The step of the run at a place of the axis."""
        return self.axis.step(place)

    def changes(self) -> list[tuple[int, str]]:
        """What was changed while the run went on, with the steps of it."""
        return fields.changes(self.model.events) if self.model else []

    def follow(self, what: str) -> None:
        """Show all steps of the stage on show or of the run (`STAGE`, `WHOLE`), new ones too, and all values."""
        self.follows, self._extent = what, 0.0
        for plot in self.plots:
            plot.free = False
        self._draw()

    def look(self, low: float, high: float) -> None:
        """Look at the steps from `low` to `high` and stay there."""
        self.follows, self.sight = "", (low, high)
        self._draw()

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        super().resizeEvent(event)
        self._draw()

    _names: list[str] = []  # noqa: RUF012
    _staged = ""
    _extent = 0.0

    def _survey(self) -> None:
        """Learn anew where steps lie on the axis. What the run lacks cannot be chosen, and says why."""
        if self.model is None:
            return
        lacking = {kind: "" for kind in axes.LABELS}
        for place, (kind, made) in enumerate(axes.axes(self.model).items()):
            beside = axes.beside(self.reference, self.model, kind) if self.reference else made
            lacking[kind] = next((why for why in (made, beside) if isinstance(why, str)), "")
            item = self.along.model().item(place)
            item.setEnabled(not lacking[kind])
            item.setToolTip(lacking[kind])
            if kind == self.along.currentText() and isinstance(made, axes.Axis) and isinstance(beside, axes.Axis):
                self.axis, self.lies = made, beside
        if self.along.currentText() != self.axis.kind or lacking[self.axis.kind]:
            self.along.setCurrentText(axes.STEP)
            self.axis = self.lies = axes.Axis(axes.STEP)
            if self.reference is not None:
                self.lies = axes.Axis(axes.STEP, np.zeros(1), np.full(1, np.nan))

    def _turn(self) -> None:
        """Draw along what was chosen, all of it."""
        self._survey()
        for plot in self.plots:
            plot.restage(self.model.stages if self.model else [])
        self.follow(self.follows or WHOLE)

    def _draw(self) -> None:
        if self.axis.kind != axes.STEP:
            self._survey()
        begin, end = self._ends()
        if self.follows and (end > self._extent or end < 0.8 * self._extent):
            # A live axis grows in jumps of a twentieth, so that its numbers stay put for a while.
            live = self.model is not None and self.model.state in ("running", "paused", "stale") and self.grows
            self._extent = begin + (end - begin) * 1.05 + 2 * (self.axis.kind == axes.STEP) if live else end
            margin = 0.01 * (self._extent - begin)
            self.sight = begin - margin, self._extent + margin
        for what, button in self.sights.items():
            button.setChecked(what == self.follows)
        for plot in self.plots:
            plot.draw(*self.sight)
        left = max(plot.chart.needed() for plot in self.plots)
        for plot in self.plots:
            plot.chart.reserve(left)
        self._mark()

    @property
    def grows(self) -> bool:
        """Whether what is followed has no end yet."""
        staged = self._stage()
        return self.follows == WHOLE or staged is None or staged.last_step is None

    def _stage(self) -> Stage | None:
        """The stage on show."""
        stages = self.model.stages if self.model else []
        return next((stage for stage in stages if stage.name == self.shown_stage), None)

    def _ends(self) -> tuple[float, float]:
        """The first and the last place on the axis of the stage on show, or of all, that any of the runs has."""
        staged = self._stage() if self.follows == STAGE else None
        first = staged.first_step if staged else 0
        last = self.newest if staged is None or staged.last_step is None else staged.last_step
        begin, end = self.place(first), self.place(last)
        if self.reference is not None:
            end = float(np.fmax(end, self.lies.at(self._last(self.reference, staged))))
        return begin, max(end, begin + 1.0) if self.axis.kind == axes.STEP else (end if end > begin else begin + 1.0)

    @staticmethod
    def _last(run: RunModel, staged: Stage | None) -> int:
        """The last step of another run, or of its stage of the same name."""
        same = next((stage for stage in run.stages if staged and stage.name == staged.name), None)
        return run.newest if same is None or same.last_step is None else same.last_step

    def _mark(self) -> None:
        for plot in self.plots:
            plot.tell(self.shown_step, self.shown_stage)

    def _smoothed(self, value: int, redraw: bool = True) -> None:
        points = 10 ** (value / 20)
        self.memory = 1 - 1 / points
        self._remembers.setText(f"{points:.0f} values")
        if redraw:
            self.arrange()


def _scaled(values: Array, log: bool) -> Array:
    """Values as the axis has them: their log10 on a logarithmic one, NaN where there is none."""
    if not log:
        return values
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(values)
    return np.where(np.isfinite(logs), logs, np.nan)
