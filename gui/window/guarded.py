"""A window that survives what goes wrong in it: a known error is a line, an unknown one a report; the job runs on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pyqtgraph.Qt import QtWidgets

from l2sim.errors import L2simError

from ..base import message
from ..base.model import RunModel
from ..panels.eventlog import EventLog


class Guarded(QtWidgets.QMainWindow):
    """A main window with a line for messages, a log of events, and perhaps an open run."""

    message: message.Message
    events: EventLog
    model: RunModel | None = None
    crashed = ""

    def attempt(self, action: Callable[[], object]) -> bool:
        """Do something; what goes wrong on purpose is one line in the window. True where it went well."""
        try:
            action()
            return True
        except L2simError as error:
            self.message.say(str(error), bad=True)
            self.events.say(str(error))
            return False

    def guard(self, action: Callable[[], object]) -> None:
        """Do something that must not end the window: a known error is a line, an unknown one a crash report."""
        try:
            self.attempt(action)
        except Exception as error:
            self.crash(error)

    def crash(self, error: BaseException) -> None:
        """Keep a crash report and offer it, once for the same error."""
        text = message.report(error, f"run {self.model.folder}" if self.model else "no run open")
        if text.splitlines()[-1] == (self.crashed.splitlines() or [""])[-1]:
            return
        self.crashed = text
        where = message.keep(text, self.model.folder if self.model else None)
        self.message.say(
            f"something in the window went wrong ({type(error).__name__}: {str(error)[:120]}); the job is not touched. "
            f"The report is in {where}",
            bad=True, Show_report=lambda: message.Crash(self, text, where).show(),
        )  # fmt: skip

    def show_text(self, path: Path) -> None:
        """Show a text file in a dialog that can be copied from."""
        try:
            text = path.read_text(errors="replace")
        except OSError as error:
            self.message.say(f"{path} cannot be read: {error.strerror}", bad=True)
            return
        message.Crash(self, text, str(path)).show()
