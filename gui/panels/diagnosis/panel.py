"""Why is it bad? Sweeps, error budgets, the guilty layer, detectors and heaters, found by a process of its own.

The panel starts `python -m l2sim diagnose ... --json` and looks at every beat whether it is done; the window goes on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import msgspec
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.chip.protocol import READOUTS
from l2sim.inspect import diagnose, every_heater, findings

from ...base import links, theme
from ...base.files import Table
from ...base.panel import Panel
from ...base.widgets import filled, paragraph, scrolling
from ...mesh import values as mesh_values
from . import results as kinds
from .results import Results, bars, broken_of
from .tables import HeaterTables
from .views import Bars, HeaterMap, Readings

if TYPE_CHECKING:
    from ...base.model import RunModel, Selection

Qt = QtCore.Qt


WHOLE = "of the whole chip"


class Page(NamedTuple):
    """A tab: what `l2sim diagnose --only` calls it, its title, what its button says and what it is for; and its results
    in words and as a table."""

    only: str
    title: str
    button: str
    what: str
    words: Callable[[Results], str]
    table: Callable[[Results], Table]
    asks: bool = False
    """Whether it says first what it takes and waits for its button."""


PAGES = (
    Page("sweep", "Sweep", "Sweep this MZI", "Choose an MZI in the mesh, then sweep its phase over a turn: every "
         "output is read on the chip made again, with a sinusoid through its readings.",
         kinds.sweep_words, kinds.sweep_table),
    Page("budget", "Error budget", "Error budget of this block", "The error of a block with each imperfection switched "
         "off in turn: what would be gained without it, its phases found again as well as can be.",
         kinds.budget_words, kinds.budget_table),
    Page("movement", "Movement", "How did its phases move?", "How far the phases of a block went in each stage, beside "
         "the median block of its layer; the history of one MZI is in the inspector.",
         kinds.movement_words, kinds.movement_table),
    Page("layers", "Layers", "Which layer is guilty?", "Accuracy of the network with each layer made ideal in turn.",
         kinds.layers_words, kinds.layers_table),
    Page("detectors", "Detectors", "Test the detectors", "Readings against what is expected, their noise floor, and "
         "whether the brightest output saturates.", kinds.detectors_words, kinds.detectors_table),
    Page("heaters", "Heaters", "Test the heaters", "Electrical power of every heater; those at V_max, those that do "
         "not answer, are stuck or dead; what the run has cost so far.", kinds.heaters_words, kinds.heaters_table),
    Page("every_heater", "All heaters", "Test all heaters", "Every heater is moved by 1 rad and the outputs are "
         "read, as a lab does it: which do not answer, which are at V_max, which take most power.",
         kinds.every_heater_words, kinds.every_heater_table, True),
)  # fmt: skip


class Task:
    """One diagnosis under way in a process of its own."""

    def __init__(self, only: str, arguments: list[str]) -> None:
        self.only, self.begun = only, time.monotonic()
        self._out: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._error: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        command = [sys.executable, "-m", "l2sim", "diagnose", *arguments, "--only", only, "--json"]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._out, stderr=self._error)
        except OSError:
            self._close()
            raise

    @property
    def runs(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    @property
    def progress(self) -> str:
        """What it said last of how far it is; empty where it said nothing."""
        file = self._error.fileno()
        said = os.pread(file, 400, max(0, os.fstat(file).st_size - 400))  # leaves the place alone where it writes on
        return (said.decode(errors="replace").strip().splitlines() or [""])[-1]

    def done(self) -> tuple[Results | None, str] | None:
        """None while it goes on; then what it has found out, or None and what it says went wrong."""
        if self.runs:
            return None
        for file in (self._out, self._error):
            file.seek(0)
        out, said = self._out.read(), self._error.read().decode(errors="replace").strip().splitlines()
        self._close()
        try:
            return kinds.read(out), ""
        except msgspec.MsgspecError:
            return None, (said[-1] if said else "it ended without a word").removeprefix("l2sim: error: ")

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        self._out.close()
        self._error.close()


class Diagnosis(Panel):
    """A tab for each kind of diagnosis. `start` begins what the window's actions ask for, and `waits` says that an
    answer is still due."""

    what = (
        "Why is it bad? Error budget of a core, sweep of a heater, movement of phases, the guilty layer, tests of "
        "detectors and heaters. Each is answered by a process of its own."
    )

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.task: Task | None = None
        self.results: dict[str, Results] = {}
        self.faults: dict[str, str] = {}
        self.tabs = QtWidgets.QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.setAccessibleName("Kinds of diagnosis")
        self.beside: list[QtWidgets.QBoxLayout] = []
        self.heads: dict[str, QtWidgets.QLabel] = {}
        self.notes: dict[str, QtWidgets.QLabel] = {}
        self.buttons: dict[str, QtWidgets.QPushButton] = {}
        self.stops: dict[str, QtWidgets.QPushButton] = {}
        self.bars = {only: Bars() for only in ("budget", "movement", "layers")}
        self.sweep = Readings("Readings of the outputs over the phase")
        self.detectors = Readings("Measured against expected readings")
        self.heaters, self.all_heaters = HeaterMap(), HeaterTables(selection)
        self.bodies: dict[str, QtWidgets.QWidget] = {
            **self.bars, "sweep": self.sweep, "detectors": self.detectors, "heaters": self.heaters,
            "every_heater": self.all_heaters,
        }  # fmt: skip
        self.kind, self.readout, self.extent = QtWidgets.QComboBox(), QtWidgets.QComboBox(), QtWidgets.QComboBox()
        for box, entries, name in (
            (self.extent, (WHOLE, "of this layer"), "Of what all heaters are tested"),
            (self.kind, ("theta", "phi"), "Which phase shifter of the MZI"),
            (self.readout, READOUTS[::-1], "What the detectors read"),
        ):
            box.addItems(entries)
            box.setAccessibleName(name)
            box.setToolTip(name)
        self.decades = {only: _switch(self.bars[only]) for only in ("budget", "movement")}
        self.extent.activated.connect(lambda *_: self._show_all(draw=False))
        for page in PAGES:
            self.tabs.addTab(self._page(page), page.title)
        self.heaters.chosen.connect(lambda side, i: self.selection.set(side=side, element=i))
        filled(QtWidgets.QVBoxLayout(self), self.tabs)
        self.show_run(None)

    def _page(self, page: Page) -> QtWidgets.QWidget:
        button = QtWidgets.QPushButton(page.button)
        button.setAccessibleName(page.button)
        button.setToolTip(page.what)
        button.clicked.connect(lambda *_, only=page.only: self.start(only))
        head, note = paragraph("part"), paragraph("")
        for label in (head, note):
            links.follow(label, self.selection)
            label.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Preferred)
        self.buttons[page.only], self.heads[page.only], self.notes[page.only] = button, head, note
        stop = self.stops[page.only] = QtWidgets.QPushButton("Stop")
        stop.setAccessibleName(f"Stop: {page.button}")
        stop.clicked.connect(self.give_up)
        boxes = (self.kind, self.readout) if page.only == "sweep" else ()
        row = filled(QtWidgets.QHBoxLayout(), button, *boxes, stop, 1)
        below = (filled(QtWidgets.QHBoxLayout(), self.extent, 1),) if page.asks else ()
        words = filled(QtWidgets.QVBoxLayout(), row, *below, head, note, 1)
        body = self.bodies[page.only]
        inside = QtWidgets.QWidget()
        both = QtWidgets.QBoxLayout(QtWidgets.QBoxLayout.Direction.LeftToRight, inside)
        shown: QtWidgets.QWidget = scrolling(body) if page.only in self.bars else body
        if page.only in self.decades:
            bars, shown = shown, QtWidgets.QWidget()
            filled(QtWidgets.QVBoxLayout(shown), self.decades[page.only], (bars, 1), spacing=2)
        self.beside.append(filled(both, (words, 2), (shown, 4 if page.asks else 3), margins=(8, 6, 8, 6)))
        return inside

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        """Words beside the picture where there is room, else above it."""
        super().resizeEvent(event)
        way = QtWidgets.QBoxLayout.Direction
        for both in self.beside:
            both.setDirection(way.LeftToRight if self.width() > 1.3 * self.height() else way.TopToBottom)

    # -- what the window calls -----------------------------------------------------------------------------------------

    def show_run(self, model: RunModel | None, reference: RunModel | None = None) -> None:
        """Show another run; what was found of the one before is let go."""
        if model is not self.model:
            self.stop()
            self.results, self.faults = {}, {}
        super().show_run(model, reference)
        self._show_all()

    def refresh(self, changed: set[str]) -> None:
        """Take the answer of the process if it is done, and paint what changed."""
        draw = bool(changed & {"all", "theme"})
        if self.task is not None and (answer := self.task.done()) is not None:
            only, self.task = self.task.only, None
            results, self.faults[only] = answer
            if results is not None:
                self.results[only], draw = results, True
        self._show_all(draw)

    @property
    def waits(self) -> bool:
        """Whether an answer is still due, so that the window must look again."""
        return self.task is not None

    def ask(self, only: str) -> None:
        """Begin a diagnosis, or where it asks first show what it would take, with its button ready to be pressed."""
        if next(page for page in PAGES if page.only == only).asks:
            self._turn(only)
            self.buttons[only].setFocus()
        else:
            self.start(only)

    def start(self, only: str) -> None:
        """Begin a diagnosis of what is selected; one that is under way is given up."""
        self._turn(only)
        model, here = self.model, self.selection
        if model is None or here.layer not in model.layers or not self._known(only):
            return
        arguments = [str(Path(model.folder).resolve())]
        if here.step is not None:
            arguments += ["--step", str(here.step)]
        if only == "every_heater":
            arguments += ["--layer", self._layer] if self._layer else []
        elif only != "layers":
            arguments += ["--layer", here.layer, "--core", str(here.block), "--readout", self.readout.currentText()]
        if only == "sweep":
            if here.element is None or here.side not in model.layers[here.layer].parts:
                self.faults[only] = "choose an MZI first: click one in the mesh"
                self._show_all()
                return
            arguments += ["--heater", f"{here.side or self.kind.currentText()}:{here.element}"]
        self.stop()
        self.faults[only] = ""
        try:
            self.task = Task(only, arguments)
        except OSError as error:
            self.faults[only] = f"it cannot be started: {error.strerror}; free some memory or processes"
        self._show_all()

    def give_up(self) -> None:
        """Stop what is under way and say how far it was."""
        if self.task is not None:
            said = self.task.progress
            self.faults[self.task.only] = f"stopped: {said}" if said else "stopped"
            self.stop()
            self._show_all(draw=False)

    def stop(self) -> None:
        """End what is under way without a word."""
        if self.task is not None:
            self.task.stop()
            self.task = None

    def table(self) -> Table | None:
        """The numbers of the tab on show."""
        page = PAGES[self.tabs.currentIndex()]
        results = self._results(page.only)
        return page.table(results) if results and results.get(page.only) else None

    # -- inside --------------------------------------------------------------------------------------------------------

    def _show_all(self, draw: bool = True) -> None:
        """Words of every tab; pictures where something is new."""
        layer = self.model.layers.get(self.selection.layer) if self.model else None
        self.kind.setVisible(layer is not None and layer.sigma is None)
        for page in PAGES:
            results, fault = self._results(page.only), self.faults.get(page.only, "")
            busy = self.task is not None and self.task.only == page.only
            self.buttons[page.only].setEnabled(self.model is not None and self._known(page.only))
            self.bodies[page.only].setVisible(bool(results))
            head, note = self.heads[page.only], self.notes[page.only]
            self.stops[page.only].setVisible(busy)
            if busy and self.task is not None:
                said = f": {self.task.progress}" if page.asks else ""
                head.setText(f"computing… {time.monotonic() - self.task.begun:.0f} s{said}")
            else:
                head.setText("No run is open." if self.model is None else self._where(page.only))
            head.setVisible(bool(head.text()))
            if not self._known(page.only):
                note.setText(mesh_values.untold(self.model) if self.model else "")
            elif fault:
                note.setText(f"<span style='color:{theme.now().bad}'>{fault}</span>")
            elif results:
                note.setText(self._linked(results, page.words(results)))
                if draw:
                    self._draw(results)
            else:
                note.setText(page.what)
            if page.asks and self.model is not None and self._known(page.only):
                takes = every_heater.in_words(every_heater.cost(self.model.grids, self._layer))
                self.buttons[page.only].setToolTip(f"{page.what}\n{takes}")
                if not results and not busy:
                    note.setText(f"{note.text()}<br><b>It takes {takes}</b>, here of the chips made again.")

    def _known(self, only: str) -> bool:
        """Whether it can be told: of a chip that is not simulated only what the logs tell, and with a lab's eyes what
        a lab can measure too."""
        model = self.model
        if model is None or only in findings.RECORDED:
            return True
        return model.readable and not (model.lab_eyes and diagnose.BADGES[only] == "oracle")

    def _results(self, only: str) -> Results | None:
        """What was found, as far as it is to be told."""
        results = self.results.get(only)
        if results is None or self.model is None or not self.model.lab_eyes:
            return results
        return kinds.without_oracle(results) if self._known(only) else None

    @property
    def _layer(self) -> str:
        """The layer of which all heaters are to be tested; empty: of all layers."""
        return "" if self.extent.currentText() == WHOLE else self.selection.layer

    def _turn(self, only: str) -> None:
        """Show a tab."""
        self.tabs.setCurrentIndex([page.only for page in PAGES].index(only))

    def _where(self, only: str) -> str:
        """What the result on show is of."""
        results, here = self._results(only), self.selection
        if results and "every_heater" in results:
            every = results["every_heater"]
            which = f"the layer {every.layers[0].layer}" if len(every.layers) == 1 else f"{len(every.layers)} layers"
            when = "as it was last seen" if every.step is None else f"at step {every.step:,}"
            return f"All heaters of {which}, {when}" + ("" if every.step == here.step else " (another step is on show)")
        if not results or "place" not in results:
            return ""
        where = results["place"]
        said = f"{findings.core_name(where)}, {where['heater']}" if "heater" in where else findings.core_name(where)
        same = (where["layer"], where["core"], where["step"]) == (here.layer, here.block, here.step)
        note = f"<br>{where['note']}" if "note" in where else ""
        said = self._linked(results, said)
        return f"{said}, {findings.when(where)}" + ("" if same else " (not what is selected now)") + note

    def _linked(self, results: Results, sentence: str) -> str:
        """A sentence on what was diagnosed, its MZIs as links."""
        where = results.get("place")
        return links.linked(sentence, where["layer"], where["core"]) if where else sentence

    def _draw(self, results: Results) -> None:
        for only, body in self.bars.items():
            if only in results:
                body.show_bars(bars(results))
                if only in self.decades:
                    self.decades[only].setChecked(body.log)
                    self.decades[only].setVisible(body.spans_decades)
        if "sweep" in results:
            self.sweep.show_sweep(results["sweep"])
        if "detectors" in results:
            self.detectors.show_detectors(results["detectors"])
        if "every_heater" in results:
            self.all_heaters.show_heaters(results["every_heater"])
        if "heaters" in results and self.model is not None:
            heaters, layer = results["heaters"], self.model.layers[results["place"]["layer"]]
            self.heaters.show_heaters(heaters["core"], layer.parts, broken_of(heaters))


def _switch(bars: Bars) -> QtWidgets.QCheckBox:
    """Whether bars are drawn over decades, to be seen where that makes a difference."""
    box = QtWidgets.QCheckBox("over decades")
    box.setToolTip("Bars over powers of ten, so that small ones are seen too; else from zero")
    box.setAccessibleName("Bars over decades, else from zero")
    box.toggled.connect(bars.along)
    box.hide()
    return box
