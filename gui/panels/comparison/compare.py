"""Runs beside each other: how their jobs differ on top; below their curves, light and gradients at the same epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.inspect import axes, compare

from ...base import fields, theme
from ...base.files import Table
from ...base.panel import Panel
from ...base.widgets import filled, paragraph, plain_list, tool_button
from .. import quantities
from .pages import CurvesPage, GradientsPage, LightPage, Side

if TYPE_CHECKING:
    from ...base.model import RunModel, Selection

ALONG = (axes.EPOCH, axes.STAGE, axes.TIME, axes.CALLS, axes.ENERGY)
"""Axes on which runs are compared: steps are not among them, since an epoch has not as many in every run."""


class Compare(Panel):
    """Any number of runs, a colour each. It only asks: `part` carries the folder of a run that shall be left out."""

    what = (
        "The open run beside others, aligned by stage and epoch: what their jobs differ in, their curves, "
        "their light, and measured against true gradients."
    )
    every = 0.5
    part = QtCore.Signal(str)

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.others: list[RunModel] = []
        self.keys = QtWidgets.QHBoxLayout()
        self.keys.setContentsMargins(0, 0, 0, 0)
        self.along, self.quantity = QtWidgets.QComboBox(), QtWidgets.QComboBox()
        self.along.addItems(list(ALONG))
        self.along.setAccessibleName("Axis of the comparison")
        self.along.setToolTip("What is the same where runs lie beside each other; by epoch: the stage and the epoch")
        self.quantity.setAccessibleName("Quantity of the comparison")
        for box in (self.along, self.quantity):
            box.activated.connect(lambda *_: self._draw())
        self.said = paragraph("faint", margins=(8, 0, 8, 0), name="What is compared")
        self.jobs = plain_list(["field"], "Difference of the jobs", ())
        self.curves, self.light, self.gradients = CurvesPage(), LightPage(), GradientsPage()
        self.pages = QtWidgets.QTabWidget()
        for page, name in ((self.curves, "Curves"), (self.light, "Light"), (self.gradients, "Gradients")):
            self.pages.addTab(page, name)
        self.pages.currentChanged.connect(lambda *_: self._draw())
        head = filled(QtWidgets.QHBoxLayout(), self.keys, 1, self.quantity, self.along, margins=(6, 4, 6, 0))
        both = QtWidgets.QSplitter(QtCore.Qt.Orientation.Vertical)
        both.addWidget(self.jobs)
        both.addWidget(self.pages)
        both.setSizes([120, 260])
        filled(QtWidgets.QVBoxLayout(self), head, self.said, (both, 1), spacing=2)

    # -- what the window calls

    def show_run(self, model: RunModel | None, reference: RunModel | None = None) -> None:
        """Show other runs: the open one, and `others`."""
        super().show_run(model, reference)
        self._name()
        self._tabulate()
        self._draw()

    def refresh(self, changed: set[str]) -> None:
        """Draw what changed."""
        if changed & {"theme", "all"}:
            self._name()
        if changed & {"parameters", "all"}:
            self._tabulate()
        if changed & {"all", "theme", "scalars", "frames", "events", "state", "step", "layer", "block", "input"}:
            self._draw()

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        super().resizeEvent(event)
        self._draw()

    def table(self) -> Table | None:
        """The fields in which the jobs differ."""
        if self.model is None or not self.others:
            return None
        return ["field", *(run.folder.name for run in self._runs())], self._rows()

    # -- what the panel does

    def _runs(self) -> list[RunModel]:
        return [self.model, *self.others] if self.model is not None else []

    def _colour(self, place: int) -> str:
        colours = theme.now().curves
        return colours[place % len(colours)]

    def _name(self) -> None:
        """The runs in their colours, each but the open one with a button that leaves it out."""
        while (item := self.keys.takeAt(0)) is not None:
            item.widget().hide()
            item.widget().deleteLater()
        for place, run in enumerate(self._runs() if self.others else []):
            label = QtWidgets.QLabel(f"<span style='color:{self._colour(place)}'>■</span> {run.folder.name}")
            label.setToolTip(str(run.folder))
            self.keys.addWidget(label)
            if place:
                name = f"Leave out {run.folder.name}"
                button = tool_button("×", name, name, lambda *_, folder=run.folder: self.part.emit(str(folder)))
                button.setAutoRaise(True)
                self.keys.addWidget(button)

    def _rows(self) -> list[tuple[str, ...]]:
        table = compare.differences(self._runs())
        return [(path, *map(_said, has)) for path, has in table.items()]

    def _tabulate(self) -> None:
        """The fields in which the jobs differ, side by side."""
        self.jobs.clear()
        self.jobs.setVisible(bool(self.others))
        if not self.others:
            return
        self.jobs.setHeaderLabels(["field", *(run.folder.name for run in self._runs())])
        rows = self._rows()
        self.jobs.addTopLevelItems([QtWidgets.QTreeWidgetItem(list(row)) for row in rows])
        if not rows:
            self.jobs.addTopLevelItem(QtWidgets.QTreeWidgetItem(["the jobs are the same"]))
        for column in range(self.jobs.columnCount()):
            self.jobs.resizeColumnToContents(column)

    def _sides(self) -> list[Side]:
        """The runs that lie on the axis chosen, at the moment on show; what the others lack is said."""
        assert self.model is not None
        kind, step = self.along.currentText(), self.shown_step
        own = axes.axis(self.model, kind)
        lies = [own, *(axes.beside(other, self.model, kind) for other in self.others)]
        sides, lacking = [], []
        for place, (run, axis) in enumerate(zip(self._runs(), lies)):
            if isinstance(axis, str):
                lacking.append(f"{run.folder.name}: {axis}")
            else:
                at = step if place == 0 else round(axis.step(float(own.at(step)))) if not isinstance(own, str) else 0
                sides.append(Side(run, axis, min(at, run.newest), self._colour(place)))
        where = ", ".join(f"{side.name} step {side.step:,}" for side in sides)
        self.said.setText(" · ".join([*lacking, f"on show: {where}"] if sides else lacking))
        return [] if isinstance(own, str) else sides

    def _draw(self) -> None:
        """Draw the page on show."""
        self.pages.setVisible(bool(self.others))
        if self.model is None or not self.others:
            self.said.setText("Mark a run in Runs and press Compare; any number can be beside the open one.")
            return
        choices = _choices(self.model.series)
        titles = [title for title, _, _ in choices]
        if titles != [self.quantity.itemText(i) for i in range(self.quantity.count())]:
            text = self.quantity.currentText()
            self.quantity.clear()
            self.quantity.addItems(titles)
            self.quantity.setCurrentIndex(max(0, self.quantity.findText(text)))
        sides, page = self._sides(), self.pages.currentWidget()
        self.quantity.setEnabled(page is self.curves)
        if page is self.curves:
            at = self.quantity.currentIndex()
            self.curves.show_sides(sides, *choices[at][1:] if choices else (None, ""))
        elif page is self.light:
            place = self.selection
            self.light.show_sides(sides, place.layer, place.block, place.input)
        else:
            self.gradients.show_sides(sides, self.selection.layer)


def _choices(series: list[str]) -> list[tuple[str, quantities.Quantity, str]]:
    """What one curve a run can be: title, quantity, and kind of series; test and training loss are two of them."""
    choices = []
    for quantity in quantities.present(series):
        kinds = dict.fromkeys(name.rpartition("/")[2] for name in quantities.matching(quantity, series))
        for kind in kinds:
            title = f"{quantity.title}: {kind.replace('_', ' ')}" if len(kinds) > 1 else quantity.title
            choices.append((title, quantity, kind))
    return choices


def _said(of: compare.Held) -> str:
    """What a run has in a field, with what it was changed to."""
    begun = "not used" if of.value is None else fields.shown(of.value)
    return ", ".join([begun, *(f"{fields.shown(value)} from step {step:,}" for step, value in of.changes)])
