"""What stands over the pages: which run this is, how far it is, and how well its network does; and the room beside it
where the window says something, so that nothing moves when it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pyqtgraph.Qt import QtGui, QtWidgets

from l2sim.store.events import EpochEnd, stages

from ..base import theme
from ..base.panel import Panel
from ..base.widgets import filled

if TYPE_CHECKING:
    from ..base.model import RunModel, Selection


WIDEST = 320
"""Pixels of a run's name, which is cut there; its tip has all of it."""
OF = "test accuracy", "test"
"""What the accuracy is of, and the same where there is little room."""
MESSAGE = 25
"""Letters that a message shall have room for before anything is said in full."""


class Strip(Panel):
    """Name, stage and epoch, and accuracy of the step on show, always in sight. `room` is left for messages."""

    title = "Headline"
    what = (
        "The run that is open; the stage and epoch of the step on show; and the accuracy on the test set after the "
        "last epoch that measured it by then."
    )
    every = 0.5

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.home = False
        self.name, self.place, self.accuracy = (
            theme.mark(QtWidgets.QLabel(), role) for role in ("part", "faint", "headline")
        )
        self.of = theme.mark(QtWidgets.QLabel(), "faint")
        for label, name in (
            (self.name, "Run"), (self.place, "Stage and epoch"), (self.accuracy, "Accuracy"),
            (self.of, "What the accuracy is of"),
        ):  # fmt: skip
            label.setAccessibleName(name)
        self.name.setMaximumWidth(WIDEST)
        self.room = QtWidgets.QWidget()
        lines = filled(QtWidgets.QVBoxLayout(), self.name, self.place, spacing=1)
        share = filled(QtWidgets.QHBoxLayout(), self.of, self.accuracy, spacing=6)
        filled(QtWidgets.QHBoxLayout(self), lines, share, (self.room, 1), margins=(12, 4, 6, 4), spacing=18)
        self.setFixedHeight(2 * self.fontMetrics().lineSpacing() + 12)

    def turn(self, home: bool) -> None:
        """Say what the program is where no run is shown, `home`, else what the run is."""
        self.home = home
        self.refresh({"all"})

    def show_run(self, model: RunModel | None, reference: RunModel | None = None) -> None:
        """Say which run it is now."""
        super().show_run(model, reference)
        self.refresh({"all"})

    def refresh(self, changed: set[str]) -> None:
        """Say how far the run is at the step on show."""
        model, step = None if self.home else self.model, self.shown_step
        self.name.setText(model.folder.name if model else "l2sim")
        self.name.setToolTip(str(model.folder) if model else "")
        self.place.setText(place(model, step) if model else "Watch a photonic chip calibrate, map and train itself.")
        share = accuracy(model, step) if model else None
        self.accuracy.setText("" if share is None else f"{100 * share:.1f} %")
        self.accuracy.setToolTip("Of the test set, after the last epoch that measured it by this step")
        self.of.setToolTip(self.accuracy.toolTip())
        self._abridge()

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        super().resizeEvent(event)
        self._abridge()

    def _abridge(self) -> None:
        """Say in full what the accuracy is of where a message has room beside it, else shortly."""
        metrics = self.of.fontMetrics()
        wide, narrow = (metrics.horizontalAdvance(words) + 2 for words in OF)
        lines = max(min(self.name.sizeHint().width(), WIDEST), self.place.sizeHint().width())
        others = lines + self.accuracy.sizeHint().width()
        spare = self.width() - others - wide - 2 * self.layout().spacing() - MESSAGE * metrics.averageCharWidth()
        self.of.setVisible(bool(self.accuracy.text()))
        self.of.setMinimumWidth(narrow)  # else the longer words would keep the window from becoming narrow
        self.of.setText(OF[spare < 0])


def place(model: RunModel, step: int) -> str:
    """Which stage and epoch a step is in, e.g. "1 of 5 pretrain, epoch 12 of 100"."""
    stage = model.stage_at(step)
    names = stages(model.job)
    if not stage or stage not in names:
        return stage
    ends = [event for event in model.events if isinstance(event, EpochEnd) and event.stage == stage]
    ended = [event for event in ends if event.step <= step]
    most = next((each.epochs for each in reversed(model.stages) if each.name == stage), 0)
    epoch = ended[-1].epoch if ended else 0
    if not ended or ended[-1].step < step:
        epoch = min(epoch + 1, most)  # in the midst of the next one
    return f"{names.index(stage) + 1} of {len(names)} {stage}" + (f", epoch {epoch} of {most}" if most else "")


def accuracy(model: RunModel, step: int) -> float | None:
    """The share of the test set that was right when it was last asked by `step`."""
    last: tuple[float, float] | None = None
    for name in model.series:
        if name.endswith(("/test_accuracy", "/kept_accuracy")):
            curve = model.scalar(name)
            at = int(np.searchsorted(curve.steps, step, side="right"))
            if at and (last is None or curve.steps[at - 1] >= last[0]):
                last = float(curve.steps[at - 1]), float(curve.values[at - 1])
    return None if last is None or not np.isfinite(last[1]) else last[1]
