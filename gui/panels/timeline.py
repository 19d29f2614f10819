"""The strip below everything: run, pause and step the job, choose the step shown, and say how it stands in words."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtWidgets

from ..base import theme
from ..base.actions import icon
from ..base.panel import Panel
from ..base.widgets import filled
from .scrubber import Scrubber

if TYPE_CHECKING:
    from ..base.actions import Actions
    from ..base.model import RunModel, Selection

ORDERS = ("step", "epoch", "stop", "kill")
"""Actions that a running job obeys, and a recorded run does not."""
MOVES = ("run", "live", "back", "forth", "back10", "forth10", "first", "last")
"""Actions that go through the steps of any run."""
SPEEDS = {"whole run in 30 s": 0.0, "10 steps/s": 10.0, "100 steps/s": 100.0, "1,000 steps/s": 1000.0}
"""Speeds of a replay, in steps per second; 0 takes half a minute for all of it."""


class Timeline(Panel):
    """A running job is paused and stepped; a recorded run is played by the same keys."""

    title, section = "Timeline", "A run"
    what = (
        "The steps of the run. Space runs and pauses a job or plays a recorded run; drag the handle to go back; L "
        "follows the newest step. Diamonds are checkpoints, triangles warnings."
    )
    every = 0.1

    def __init__(self, selection: Selection, actions: Actions) -> None:
        super().__init__(selection)
        self.actions_ = actions
        self.playing = False
        self._at = 0.0
        self._going: bool | None = None
        self.scrubber = Scrubber(selection)
        self.speed = QtWidgets.QComboBox()
        self.speed.addItems(list(SPEEDS))
        self.speed.setAccessibleName("Speed of the replay")
        self.speed.setToolTip("How fast a recorded run is played")
        self.state = QtWidgets.QLabel()
        self.state.setMinimumWidth(120)
        self.state.setAccessibleName("State of the run")
        self.rate = theme.mark(QtWidgets.QLabel(), "faint")
        row = QtWidgets.QHBoxLayout()
        row.setContentsMargins(8, 0, 8, 0)
        self.buttons = {name: actions.button(name) for name in ("run", *ORDERS)}
        for button in self.buttons.values():
            row.addWidget(button)
        row.addWidget(self.speed)
        row.addSpacing(12)
        row.addWidget(self.state)
        row.addStretch(1)
        row.addWidget(self.rate)
        row.addSpacing(8)
        self.live = actions.button("live")
        row.addWidget(self.live)
        filled(QtWidgets.QVBoxLayout(self), self.scrubber, row, margins=(0, 2, 0, 2), spacing=0)

    def show_run(self, model: RunModel | None, reference: RunModel | None = None) -> None:
        """Show another run, which is not played yet."""
        super().show_run(model, reference)
        self.scrubber.show_run(model)
        self.playing = False

    def allow(self) -> None:
        """Let the run be ordered as soon as it answers; asked at every beat, since the panels are drawn later."""
        live = bool(self.model and self.model.live)
        for name in ORDERS:
            self.actions_[name].setEnabled(live)
        for name in MOVES:
            self.actions_[name].setEnabled(self.model is not None)

    def refresh(self, changed: set[str]) -> None:
        """Say how the run stands, and offer what it obeys."""
        model = self.model
        live = bool(model and model.live)
        self.speed.setVisible(model is not None and not live)
        for name in ORDERS:
            self.buttons[name].setVisible(live)
        going = (model is not None and model.state == "running") if live else self.playing
        self.actions_["run"].setText("Pause" if going else ("Run" if live else "Play"))
        if going != self._going or "theme" in changed:
            self._going = going
            self.actions_["run"].setIcon(icon("pause" if going else "play"))
            for name in ORDERS:
                self.actions_[name].setIcon(icon(name))
        follows = self.selection.step is None
        self.actions_["live"].setText("Live" if live else "Newest")
        self.actions_["live"].setChecked(follows)
        self.state.setText(self.sentence())
        self.rate.setText(self.pace())
        self.scrubber.setAccessibleDescription(self.scrubber.said(self.shown_step))
        self.scrubber.update()

    def sentence(self) -> str:
        """State and place of the run, e.g. "paused · learn · step 1,234"."""
        model = self.model
        if model is None:
            return "no run"
        words = [_STATES.get(model.state, model.state)]
        if model.state == "stale":
            words = [f"STALE {model.age:.0f} s: no word from the job"]
        if not model.readable:
            words.append("real chip, no oracle")
        step = self.shown_step
        if self.shown_stage:
            words.append(self.shown_stage)
        words.append(f"step {step:,}" + ("" if step >= model.newest else f" of {model.newest:,}"))
        if self.playing:
            words[0] = "replay"
        return " · ".join(words)

    def pace(self) -> str:
        """Rate, time left and memory of a running job."""
        beat = self.model.beat if self.model and self.model.live else None
        if not beat:
            return ""
        words = []
        if beat.rate:
            words.append(f"{beat.rate:,.3g} steps/s")
        if beat.eta is not None:
            words.append(f"{duration(beat.eta)} left")
        if beat.rss:
            words.append(f"{beat.rss / 2**20:,.0f} MiB")
        return " · ".join(words)

    # -- what the actions do

    def toggle(self) -> None:
        """Run or pause the job; play or pause a recorded run."""
        if self.model is None:
            return
        if self.model.live:
            self.model.order("pause" if self.model.state == "running" else "run")
            return
        self.playing = not self.playing
        if self.playing and self.shown_step >= self.model.newest:
            self.selection.set(step=0)
        self._at = float(self.shown_step)
        self.refresh({"state"})

    def play(self, seconds: float) -> None:
        """Go on with the replay by this much time."""
        if not self.playing or self.model is None:
            return
        speed = SPEEDS[self.speed.currentText()] or max(1.0, self.model.newest / 30)
        if abs(self._at - self.shown_step) > 1 + speed:  # someone scrubbed
            self._at = float(self.shown_step)
        self._at += speed * seconds
        if self._at >= self.model.newest:
            self.playing = False
            self.selection.set(step=None)
        else:
            self.selection.set(step=int(self._at))

    def move(self, frames: int) -> None:
        """Go so many recorded frames of the selected layer on or back."""
        if self.model is None:
            return
        steps = self._frames()
        if not steps:
            return
        place = bisect.bisect_right(steps, self.shown_step) - 1
        target = steps[min(max(place + frames, 0), len(steps) - 1)]
        self.selection.set(step=None if self.model.live and target == steps[-1] and frames > 0 else target)

    def _frames(self) -> list[int]:
        """Steps at which something of the selected layer was recorded."""
        assert self.model is not None
        layer = self.model.layers.get(self.selection.layer)
        if layer is None:
            return []
        if self.selection.side == "sigma" and layer.sigma:
            return [int(step) for step in self.model.frames(layer.sigma)]
        phases = layer.phases.get(self.selection.side) or next(iter(layer.phases.values()))
        names = [phases, *([layer.sigma] if layer.sigma else [])]
        return sorted({int(step) for name in names for step in self.model.frames(name)})


_STATES = {
    "running": "running",
    "paused": "PAUSED",
    "done": "done",
    "stopped": "stopped",
    "failed": "FAILED",
    "killed": "KILLED",
}


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3 min 20 s, 2 h 5 min."""
    whole = int(max(0.0, seconds) + 0.5)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
