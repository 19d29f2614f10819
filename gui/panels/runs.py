"""The runs of a folder: open one, attach to one that goes on, or lay another over the one that is open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtWidgets

from ..base.files import Table
from ..base.launch import Summary, summaries
from ..base.panel import Panel
from ..base.widgets import HEADS, ROLE, filled, paragraph, plain_list, run_item

if TYPE_CHECKING:
    from ..base.model import RunModel, Selection


class Runs(Panel):
    """A list of runs. It only asks: `open_`, `compare` and `edit` carry a run folder, `alone` ends a comparison."""

    what = (
        "Other runs, to open or to lay over this one: dashed curves, and the difference of phases on the mesh."
    )
    every = 0.5
    open_ = QtCore.Signal(str)
    compare = QtCore.Signal(str)
    edit = QtCore.Signal(str)
    alone = QtCore.Signal()

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.runs = Path()
        """Where runs lie, which the window says."""
        self.recent: list[Path] = []
        self.others: list[RunModel] = []
        """Runs that the open one is compared with."""
        self._rows: list[Summary] = []
        self.list = plain_list(HEADS, "Runs", (112, 88, 62, 90))
        self.now = paragraph("faint", margins=(8, 0, 8, 0))
        buttons: list[QtWidgets.QPushButton] = []
        for text, tip, signal in (
            ("Open", "Open the run, live if it goes on", self.open_),
            ("Compare", "See the run beside the open one: jobs, curves, light, gradients, phases", self.compare),
            ("New like it", "Edit its job and start it as a new one", self.edit),
        ):
            button = QtWidgets.QPushButton(text)
            button.setToolTip(tip)
            button.clicked.connect(lambda *_, wanted=signal: self._ask(wanted))
            buttons.append(button)
        self.end = QtWidgets.QPushButton("End comparison")
        self.end.clicked.connect(self.alone)
        self.list.itemActivated.connect(lambda *_: self._ask(self.open_))
        row = filled(QtWidgets.QHBoxLayout(), *buttons, 1, margins=(6, 0, 6, 6))
        filled(QtWidgets.QVBoxLayout(self), (self.list, 1), self.now, self.end, row)

    def show_run(self, model: RunModel | None, reference: RunModel | None = None) -> None:
        """Say which run is open and which is compared with it."""
        super().show_run(model, reference)
        self.look()

    def refresh(self, changed: set[str]) -> None:
        """List the runs anew where one may have changed."""
        if changed & {"state", "all"}:
            self.look()

    def look(self) -> None:
        """List the runs that are there now, keeping the one that is marked."""
        rows = summaries(self.runs, self.recent)
        open_ = self.model.folder.resolve() if self.model else None
        marks = {other.folder.resolve(): ", compared" for other in self.others} | {open_: ", open"}
        rows = [row._replace(state=row.state + marks.get(row.folder, "")) for row in rows]
        if rows != self._rows:
            item = self.list.currentItem()
            marked = item.data(0, ROLE) if item else None
            self.list.clear()
            for row in rows:
                made = run_item(row)
                self.list.addTopLevelItem(made)
                if str(row.folder) == marked:
                    self.list.setCurrentItem(made)
            self._rows = rows
        self.end.setVisible(bool(self.others))
        if not rows:
            self.now.setText(f"No runs in {self.runs}/ yet.")
        elif self.others:
            names = ", ".join(other.folder.name for other in self.others)
            over = f"dashed curves and D, the difference of phases, are of {self.others[-1].folder.name}"
            self.now.setText(f"Compared with {names}: side by side in Compare; {over}.")
        else:
            self.now.setText("Mark a run and press Compare to see it beside the open one; any number can be.")

    def table(self) -> Table:
        """The runs that are listed."""
        heads = ["run", "folder", "state", "accuracy (0 to 1)", "begun (s since 1970)"]
        return heads, [
            (row.folder.name, str(row.folder), row.state, "" if row.accuracy is None else row.accuracy, row.started)
            for row in self._rows
        ]

    def _ask(self, signal: QtCore.Signal) -> None:
        item = self.list.currentItem()
        if item is not None:
            signal.emit(item.data(0, ROLE))
