"""Small dialogs: go to an MZI, export a panel, write a range of steps as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
from pyqtgraph.Qt import QtCore, QtWidgets

from l2sim.backend import Array
from l2sim.errors import L2simError

from ..base import files as export
from ..base import theme
from ..base.panel import Panel
from ..base.widgets import filled, tool_button
from . import figures, films
from .desk import Desk

W = TypeVar("W", bound=QtWidgets.QWidget)


class _Dialog(QtWidgets.QDialog):
    """A form with Cancel and one button that does it."""

    def __init__(self, desk: Desk, title: str, button: str) -> None:
        super().__init__(desk)
        self.desk = desk
        self.setWindowTitle(title)
        self.setAccessibleName(title)
        self.setAttribute(QtCore.Qt.WidgetAttribute.WA_DeleteOnClose)
        self.form = QtWidgets.QFormLayout(self)
        self.said = theme.mark(QtWidgets.QLabel(), "bad")
        self.said.setWordWrap(True)
        self.said.hide()
        row = QtWidgets.QHBoxLayout()
        cancel, self.do = QtWidgets.QPushButton("Cancel"), theme.mark(QtWidgets.QPushButton(button), "main")
        cancel.clicked.connect(self.reject)
        self.do.clicked.connect(self._do)
        self.do.setDefault(True)
        row.addStretch(1)
        row.addWidget(cancel)
        row.addWidget(self.do)
        self._foot = row

    def _finish(self) -> None:
        self.form.addRow(self.said)
        self.form.addRow(self._foot)
        self.setMinimumWidth(420)

    def add(self, name: str, widget: W) -> W:
        """A row of the form."""
        widget.setAccessibleName(name)
        self.form.addRow(name, widget)
        return widget

    def fault(self, text: str) -> None:
        """Say what is wrong."""
        self.said.setText(text)
        self.said.setVisible(bool(text))

    def _do(self) -> None:
        raise NotImplementedError


class GoTo(_Dialog):
    """To an MZI by layer, block and part, and by its number or its column and upper rail: each tells the others."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk, "Go to an MZI", "Go")
        self.layer = self.add("Layer", QtWidgets.QComboBox())
        self.layer.addItems(list(desk.model.layers) if desk.model else [])
        self.layer.setCurrentText(desk.selection.layer)
        self.row_, self.column_ = (self.add(f"Block {name}", QtWidgets.QSpinBox()) for name in ("row", "column"))
        self.part = self.add("Part", QtWidgets.QComboBox())
        self.mzi = self.add("MZI", QtWidgets.QSpinBox())
        self.column = self.add("MZI column", QtWidgets.QSpinBox())
        self.rail = self.add("MZI upper rail", QtWidgets.QSpinBox())
        self.mzi.valueChanged.connect(lambda number: self._place(number))
        for box in (self.column, self.rail):
            box.valueChanged.connect(lambda *_: self._number())
        self.layer.currentTextChanged.connect(lambda *_: self._limits())
        self._limits()
        self._finish()
        self.mzi.setFocus()
        self.mzi.selectAll()

    def _limits(self) -> None:
        model = self.desk.model
        layer = model.layers.get(self.layer.currentText()) if model else None
        if layer is None:
            return
        self.row_.setRange(0, layer.p - 1)
        self.column_.setRange(0, layer.q - 1)
        block = self.desk.selection.block
        if self.desk.selection.layer == layer.name:
            self.row_.setValue(block // layer.q)
            self.column_.setValue(block % layer.q)
        self.part.clear()
        self.part.addItems([side or layer.name for side in layer.parts])
        part = next(iter(layer.parts.values()))
        self.column.setRange(0, int(part.columns.max()))
        self.rail.setRange(0, part.modes - 2)
        self.mzi.setRange(0, 10 ** len(str(len(part.columns))) - 1)  # what is not there can be typed, and is refused
        if self.desk.selection.element is not None:
            self.mzi.setValue(self.desk.selection.element)
        self._place(self.mzi.value())

    def _place(self, number: int) -> None:
        """Show where the MZI with this number is."""
        model = self.desk.model
        layer = model.layers.get(self.layer.currentText()) if model else None
        if layer is not None:
            part = layer.parts[list(layer.parts)[max(0, self.part.currentIndex())]]
            for box, places in ((self.column, part.columns), (self.rail, part.rails)):
                if number < len(places):
                    box.blockSignals(True)
                    box.setValue(int(places[number]))
                    box.blockSignals(False)

    def _number(self) -> None:
        """Show the number of the MZI at this place, where there is one."""
        model = self.desk.model
        layer = model.layers.get(self.layer.currentText()) if model else None
        if layer is not None:
            part = layer.parts[list(layer.parts)[max(0, self.part.currentIndex())]]
            for here in np.flatnonzero((part.columns == self.column.value()) & (part.rails == self.rail.value())):
                self.mzi.blockSignals(True)
                self.mzi.setValue(int(here))
                self.mzi.blockSignals(False)

    def _do(self) -> None:
        model = self.desk.model
        layer = model.layers.get(self.layer.currentText()) if model else None
        if layer is None:
            self.fault("no run is open")
            return
        side = list(layer.parts)[max(0, self.part.currentIndex())]
        part, number = layer.parts[side], self.mzi.value()
        if number >= len(part.columns):
            self.fault(f"there is no MZI {number} in {side or layer.name}; it has 0 to {len(part.columns) - 1}")
            return
        here = np.flatnonzero((part.columns == self.column.value()) & (part.rails == self.rail.value()))
        if not here.size:
            rails = part.rails[part.columns == self.column.value()]
            self.fault(f"column {self.column.value()} has no MZI at rail {self.rail.value()}; it has {_few(rails)}")
            return
        block = self.row_.value() * layer.q + self.column_.value()
        self.desk.selection.set(layer=layer.name, block=block, side=side, element=int(here[0]))
        self.desk.mesh.go_to(self.column.value(), self.rail.value())
        self.accept()


KINDS = {
    "figure for paper (.pdf)": ".pdf", "figure for paper (.svg)": ".svg", "figure for paper (.png)": ".png",
    "as on the screen (.png)": ".png", "table (.csv)": ".csv",
}  # fmt: skip
"""What a panel can be exported as, and the ending of that."""


class Export(_Dialog):
    """A panel as a figure, a picture of the screen or a table; the panel in focus is offered first."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk, "Export a panel", "Export")
        self.panel = self.add("Panel", QtWidgets.QComboBox())
        for panel in desk.panels:
            self.panel.addItem(panel.title)
        self.panel.setCurrentIndex(desk.panels.index(desk.focused()))
        self.kind = self.add("As", QtWidgets.QComboBox())
        self.kind.addItems(list(KINDS))
        self.width_ = self.add("Width", QtWidgets.QDoubleSpinBox())
        self.width_.setRange(20.0, 1000.0)
        self.width_.setDecimals(0)
        self.width_.setSuffix(" mm")
        self.width_.setValue(figures.WIDTH_MM)
        self.dpi = self.add("Pixels", QtWidgets.QSpinBox())
        self.dpi.setRange(50, 1200)
        self.dpi.setSuffix(" dpi")
        self.dpi.setValue(figures.DPI)
        self.path = self.add("File", _File(self, folder=False))
        self.panel.activated.connect(lambda *_: self._suggest())
        self.kind.activated.connect(lambda *_: self._suggest())
        self._suggest()
        self._finish()

    def _suggest(self) -> None:
        kind = self.kind.currentText()
        name = self.panel.currentText().lower().replace(" ", "-")
        run = f"{self.desk.model.folder.name}-" if self.desk.model else ""
        self.path.put(str(Path(self.path.text() or ".").parent / f"{run}{name}{KINDS[kind]}"))
        self.width_.setEnabled(kind.startswith("figure"))
        self.dpi.setEnabled(kind.startswith("figure") and KINDS[kind] == ".png")

    def _do(self) -> None:
        panel, path = self.desk.panels[self.panel.currentIndex()], Path(self.path.text())
        try:
            if self.kind.currentText().startswith("figure"):
                figures.write(panel, path, self._caption(panel), self.width_.value(), self.dpi.value())
            else:
                export.panel(panel, path)
        except L2simError as error:
            self.fault(str(error))
            return
        self.accept()
        self.desk.message.say(f"written: {path}")

    def _caption(self, panel: Panel) -> str:
        model, here = self.desk.model, self.desk.selection
        run = [model.folder.name, f"step {here.at:,}"] if model else []
        return " · ".join([panel.title, *run, *([here.layer] if here.layer else [])])


SERIES = {"numbered pictures (.png)": "", "animation (.gif)": ".gif", "film (.mp4)": ".mp4"}
"""What a range of steps can be written as, and the ending of one file of all of them."""


class Frames(_Dialog):
    """A range of steps as pictures of a panel or of the window: numbered, or one animation or film."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk, "A range of steps as pictures", "Write")
        newest = desk.model.newest if desk.model else 0
        self.what = self.add("Of", QtWidgets.QComboBox())
        self.what.addItems(["the whole window", *(panel.title for panel in desk.panels)])
        self.first, self.last, self.every = (
            self.add(name, QtWidgets.QSpinBox()) for name in ("From step", "To step", "Every so many steps")
        )
        for box in (self.first, self.last):
            box.setRange(0, newest)
        self.last.setValue(newest)
        self.every.setRange(1, max(1, newest))
        self.every.setValue(max(1, newest // 100))
        self.kind = self.add("As", QtWidgets.QComboBox())
        self.kind.addItems([kind for kind, ending in SERIES.items() if ending != ".mp4" or films.encoder()])
        self.rate = self.add("Pictures a second", QtWidgets.QSpinBox())
        self.rate.setRange(1, 60)
        self.rate.setValue(10)
        self.folder = self.add("Folder", _File(self, folder=True))
        self.folder.put(str(Path("frames")))
        self.bar = QtWidgets.QProgressBar()
        self.form.addRow(self.bar)
        self.bar.hide()
        self._stopped = False
        self.rejected.connect(self._stop)
        self._finish()

    def _stop(self) -> None:
        self._stopped = True

    def _do(self) -> None:
        desk = self.desk
        steps = range(self.first.value(), self.last.value() + 1, self.every.value())
        if not steps:
            self.fault("the first step lies behind the last one")
            return
        widget = desk if self.what.currentIndex() == 0 else desk.panels[self.what.currentIndex() - 1]
        self.bar.setRange(0, len(steps))
        self.bar.show()
        self.do.setEnabled(False)
        before = desk.selection.step
        pictures: list[Path] = []
        place, ending = Path(self.folder.text()), SERIES[self.kind.currentText()]
        try:
            for _, path in export.frames(widget, place, steps, desk.show_step):
                pictures.append(path)
                self.bar.setValue(len(pictures))
                QtWidgets.QApplication.processEvents()
                if self._stopped:
                    break
            if ending and not self._stopped:
                films.write(pictures, place / f"steps{ending}", self.rate.value())
        except L2simError as error:
            self.fault(str(error))
            self.do.setEnabled(True)
            return
        finally:
            desk.selection.set(step=before)
        self.accept()
        one = f" and steps{ending} of them" if ending and not self._stopped else ""
        desk.message.say(f"written: {len(pictures)} pictures{one} in {place}")


class _File(QtWidgets.QWidget):
    """A path to type or to choose."""

    def __init__(self, parent: QtWidgets.QWidget, folder: bool) -> None:
        super().__init__(parent)
        self._folder = folder
        self.line = QtWidgets.QLineEdit()
        choose = tool_button("…", "Choose", "Choose a place", self._choose)
        filled(QtWidgets.QHBoxLayout(self), self.line, choose)

    def text(self) -> str:
        """The path."""
        return str(self.line.text())

    def put(self, text: str) -> None:
        """Show another path."""
        self.line.setText(text)

    def setAccessibleName(self, name: str) -> None:
        super().setAccessibleName(name)
        self.line.setAccessibleName(name)

    def _choose(self) -> None:
        pick = QtWidgets.QFileDialog
        chosen = (
            pick.getExistingDirectory(self, "Folder", self.text())
            if self._folder
            else pick.getSaveFileName(self, "File", self.text())[0]
        )
        if chosen:
            self.put(chosen)


def _few(rails: Array) -> str:
    shown = ", ".join(str(int(rail)) for rail in rails[:6])
    return f"rails {shown}{' ...' if len(rails) > 6 else ''}" if len(rails) else "none"
