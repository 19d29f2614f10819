"""What is seen first: the presets, the runs of before, and the ways to open another one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pyqtgraph.Qt import QtCore, QtWidgets

from l2sim.job import experiments
from l2sim.job.presets import PRESETS

from ..base import theme
from ..base.launch import summaries
from ..base.widgets import HEADS, ROLE, filled, plain_list, run_item


class Start(QtWidgets.QWidget):
    """The start page. It only asks; the window does. `begin` and `edit` carry a preset, `open_` a run folder."""

    begin = QtCore.Signal(str)
    edit = QtCore.Signal(str)
    open_ = QtCore.Signal(str)
    browse = QtCore.Signal()

    def __init__(self, runs: Path) -> None:
        super().__init__()
        self.runs = runs
        self.families = {"-".join(key): "-".join(key[:2]) for key in experiments.names()}
        self.presets = plain_list(["preset", "what it runs"], "Presets", (205,))
        self.presets.setRootIsDecorated(True)
        for name, preset in PRESETS.items():
            item = QtWidgets.QTreeWidgetItem([name, preset.about])
            item.setToolTip(1, f"{preset.about}\nSettings from {preset.source}")
            item.setData(0, ROLE, name)
            self._family(name).addChild(item)
        self.presets.setCurrentItem(self.presets.topLevelItem(0))
        self.recent = plain_list(HEADS, "Runs of before", (170, 80, 80, 110))
        self.none = theme.mark(QtWidgets.QLabel(f"No runs in {runs}/ yet: start a preset."), "faint")
        begin = theme.mark(QtWidgets.QPushButton("Start"), "main")
        change = QtWidgets.QPushButton("Change settings first…")
        opened = theme.mark(QtWidgets.QPushButton("Open"), "main")
        other = QtWidgets.QPushButton("Open another folder…")
        begin.clicked.connect(lambda: self._preset(self.begin.emit))
        change.clicked.connect(lambda: self._preset(self.edit.emit))
        opened.clicked.connect(self._open)
        other.clicked.connect(self.browse)
        self.presets.itemActivated.connect(lambda *_: self._preset(self.begin.emit))
        self.recent.itemActivated.connect(lambda *_: self._open())
        self._opened = opened

        title = theme.mark(QtWidgets.QLabel("l2sim"), "heading")
        line = theme.mark(QtWidgets.QLabel("Watch a photonic chip calibrate, map and train itself."), "faint")
        columns = QtWidgets.QHBoxLayout()
        columns.setSpacing(20)
        left, right = (
            _card("Start a new run", self.presets),
            _card("Open a run, or attach to one that is going on", self.recent),
        )
        right.layout().insertWidget(1, self.none)
        for card, buttons in ((left, (begin, change)), (right, (opened, other))):
            card.layout().addLayout(filled(QtWidgets.QHBoxLayout(), *buttons, 1))
            columns.addWidget(card, 1)
        filled(QtWidgets.QVBoxLayout(self), title, line, (columns, 1), margins=(28, 20, 28, 20), spacing=10)

    def _family(self, name: str) -> QtWidgets.QTreeWidgetItem:
        """What a preset is listed under: experiments of L2ight under their data set and model, others under nothing."""
        top = self.presets.invisibleRootItem()
        family = self.families.get(name)
        if family is None:
            return top
        for i in range(top.childCount()):
            if top.child(i).text(0) == family:
                return top.child(i)
        item = QtWidgets.QTreeWidgetItem([family, "experiments of L2ight"])
        top.addChild(item)
        return item

    def look(self, recent: list[Path]) -> None:
        """List the runs that are there now."""
        self.recent.clear()
        rows = summaries(self.runs, recent)
        for row in rows:
            self.recent.addTopLevelItem(run_item(row))
        self.none.setVisible(not rows)
        self._opened.setEnabled(bool(rows))
        if rows:
            self.recent.setCurrentItem(self.recent.topLevelItem(0))

    def _preset(self, ask: Callable[[str], None]) -> None:
        item = self.presets.currentItem()
        if item is not None and item.data(0, ROLE):
            ask(item.data(0, ROLE))

    def _open(self) -> None:
        item = self.recent.currentItem()
        if item is not None:
            self.open_.emit(item.data(0, ROLE))


def _card(title: str, widget: QtWidgets.QWidget) -> QtWidgets.QFrame:
    card = theme.mark(QtWidgets.QFrame(), "card")
    layout = QtWidgets.QVBoxLayout(card)
    layout.addWidget(theme.mark(QtWidgets.QLabel(title), "part"))
    layout.addWidget(widget, 1)
    return card
