"""The window: a desk with commands, moved by one timer."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from pyqtgraph.Qt import QtCore, QtGui

from ..base import launch
from ..base.actions import left_to_widget
from ..base.layout import Kept
from ..base.model import RunModel
from . import commands
from .desk import Desk

TICK = 31
"""Milliseconds between two looks at the run: 30 pictures a second, and a little for timers that are late."""
_LOOK = 2.0
"""Seconds between two looks at the folder of runs."""


class Window(Desk):
    """One window on the runs in a folder.

    `tick` is all that makes it move: it takes in what is new of the runs and refreshes the panels. Everything else only
    changes the selection or orders something from the job.
    """

    def __init__(self, runs: Path = Path("runs"), kept: Kept | None = None) -> None:
        super().__init__(runs, Kept().read() if kept is None else kept)
        self.selection.watch(self._selected)
        self._looked = self._ticked = time.monotonic()
        commands.declare(self)
        self.build()
        commands.offer(self)
        commands.fill_menus(self)
        self.timer = QtCore.QTimer(self)
        self.timer.timeout.connect(self.tick)
        self.timer.start(TICK)
        self.go_home()
        if self.kept.said:
            self.message.say(self.kept.said, bad=True, Reset_layout=self.reset_layout)

    def event(self, event: QtCore.QEvent) -> bool:
        """Leave some keys to the widget in focus before they count as shortcuts."""
        if event.type() == QtCore.QEvent.Type.ShortcutOverride and left_to_widget(event):
            event.accept()
            return True
        return bool(super().event(event))

    def closeEvent(self, event: QtGui.QCloseEvent) -> None:
        """Keep the layout and let go of the run, which goes on."""
        self.keep()
        self._let_go()
        super().closeEvent(event)

    def close_quietly(self) -> None:
        """Let go of everything and keep nothing."""
        self._let_go()
        self.hide()
        self.deleteLater()

    def _let_go(self) -> None:
        self.timer.stop()
        for model in (self.model, *self.others):
            if model is not None:
                model.close()
        for process in self.processes:
            process.let_go()
        self.processes, self.model, self.others = [], None, []

    # -- the timer -----------------------------------------------------------------------------------------------------

    def _selected(self, changed: set[str]) -> None:
        if not self.moved:  # a click is answered at once, not at the next beat of the timer
            QtCore.QTimer.singleShot(0, self.tick)
        self.moved |= changed

    def tick(self, everything: bool = False) -> None:
        """Take in what is new and refresh the panels that are visible and due; `everything`: all that are visible."""
        now = time.monotonic()
        self.guard(lambda: self.timeline.play(now - self._ticked))
        self._ticked = now
        self._watch_processes()
        for model in (self.model, *self.others):
            if model is not None:
                self.guard(partial(self._poll, model))
        if now - self._looked > _LOOK:
            self._looked = now
            if self.runs.isVisible():
                self.guard(self.runs.look)
            if self.start.isVisible():
                self.guard(partial(self.start.look, self.kept.recent))
        self.refresh(everything)

    def _poll(self, model: RunModel) -> None:
        self.moved |= model.poll()

    def _watch_processes(self) -> None:
        for process in list(self.processes):
            code = process.code
            if self.starting is process and process.ready:
                self.starting = None
                self.open(process.folder)
            if code is None:
                continue
            self.processes.remove(process)
            said = process.said() or f"it ended with code {code}"
            process.let_go()
            if self.starting is process:
                self.starting = None
                self.go_home()
                self.message.say(f"the job did not start: {said}", bad=True)
            elif code > 0 and code not in launch.STOPPED:
                self.message.say(f"the job in {process.folder} ended: {said}", bad=True, Resume=self.resume)
