"""Why is it bad? Sweeps, error budgets, the guilty layer, detectors and heaters, found by a process of its own.

The panel starts `python -m l2sim diagnose ... --json` and looks at every beat whether it is done; the window goes on.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from pyqtgraph.Qt import QtCore, QtWidgets

from l2sim.chip.protocol import READOUTS
from l2sim.inspect import findings

from ..base import theme
from ..base.panel import Panel
from ..mesh.colours import number
from ..mesh.values import NO_ORACLE
from .diagnose_views import Bars, HeaterMap, Plot, broken_of, budget_bars, layer_bars, movement_bars

if TYPE_CHECKING:
    from ..base.model import RunModel, Selection

Qt = QtCore.Qt


class Page(NamedTuple):
    """A tab: what `l2sim diagnose --only` calls it, its title, what its button says and what it is for."""

    only: str
    title: str
    button: str
    what: str


PAGES = (
    Page("sweep", "Sweep", "Sweep this MZI", "Choose an MZI in the mesh, then sweep its phase over a turn: every "
         "output is read on the chip made again, with a sinusoid through its readings."),
    Page("budget", "Error budget", "Error budget of this block", "The error of a block with each imperfection switched "
         "off in turn: what would be gained without it, its phases found again as well as can be."),
    Page("movement", "Movement", "How did its phases move?", "How far the phases of a block went in each stage, beside "
         "the median block of its layer; the history of one MZI is in the inspector."),
    Page("layers", "Layers", "Which layer is guilty?", "Accuracy of the network with each layer made ideal in turn."),
    Page("detectors", "Detectors", "Test the detectors", "Readings against what is expected, their noise floor, and "
         "whether the brightest output saturates."),
    Page("heaters", "Heaters", "Test the heaters", "Electrical power of every heater; those at V_max, those that do "
         "not answer, are stuck or dead; what the run has cost so far."),
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

    def done(self) -> tuple[dict[str, Any] | None, str] | None:
        """None while it goes on; then what it found, or what it says went wrong."""
        if self._process.poll() is None:
            return None
        for file in (self._out, self._error):
            file.seek(0)
        out, said = self._out.read(), self._error.read().decode(errors="replace").strip().splitlines()
        self._close()
        try:
            return json.loads(out), ""
        except ValueError:
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
    """See the module. `start` begins what the window's actions ask for; `waits` says that an answer is still due."""

    title = "Diagnosis"

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.task: Task | None = None
        self.found: dict[str, dict[str, Any]] = {}
        self.faults: dict[str, str] = {}
        self.tabs = QtWidgets.QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.setAccessibleName("Kinds of diagnosis")
        self.beside: list[Any] = []
        self.heads: dict[str, Any] = {}
        self.notes: dict[str, Any] = {}
        self.buttons: dict[str, Any] = {}
        self.bodies: dict[str, Any] = {
            "sweep": Plot("Readings of the outputs over the phase"), "budget": Bars(), "movement": Bars(),
            "layers": Bars(),
            "detectors": Plot("Measured against expected readings"), "heaters": HeaterMap(),
        }  # fmt: skip
        self.kind, self.readout = QtWidgets.QComboBox(), QtWidgets.QComboBox()
        for box, entries, name in (
            (self.kind, ("theta", "phi"), "Which phase shifter of the MZI"),
            (self.readout, READOUTS[::-1], "What the detectors read"),
        ):
            box.addItems(entries)
            box.setAccessibleName(name)
            box.setToolTip(name)
        for page in PAGES:
            self.tabs.addTab(self._page(page), page.title)
        self.bodies["heaters"].chosen.connect(lambda side, i: self.selection.set(side=side, element=i))
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.tabs)
        self.setAccessibleName(self.title)
        self.show_run(None)

    def _page(self, page: Page) -> QtWidgets.QWidget:
        button = QtWidgets.QPushButton(page.button)
        button.setAccessibleName(page.button)
        button.setToolTip(page.what)
        button.clicked.connect(lambda *_, only=page.only: self.start(only))
        head, note = QtWidgets.QLabel(), QtWidgets.QLabel()
        theme.mark(head, "part")
        for label in (head, note):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            label.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Preferred)
        self.buttons[page.only], self.heads[page.only], self.notes[page.only] = button, head, note
        row = QtWidgets.QHBoxLayout()
        row.addWidget(button)
        for box in (self.kind, self.readout) if page.only == "sweep" else ():
            row.addWidget(box)
        row.addStretch(1)
        words = QtWidgets.QVBoxLayout()
        words.addLayout(row)
        words.addWidget(head)
        words.addWidget(note)
        words.addStretch(1)
        body = self.bodies[page.only]
        if isinstance(body, Bars):
            area = QtWidgets.QScrollArea()
            area.setWidget(body)
            area.setWidgetResizable(True)
            area.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        inside = QtWidgets.QWidget()
        both = QtWidgets.QBoxLayout(QtWidgets.QBoxLayout.Direction.LeftToRight, inside)
        both.setContentsMargins(8, 6, 8, 6)
        both.addLayout(words, 2)
        both.addWidget(area if isinstance(body, Bars) else body, 3)
        self.beside.append(both)
        return inside

    def resizeEvent(self, event: Any) -> None:
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
            self.found, self.faults = {}, {}
        super().show_run(model, reference)
        self._show_all()

    def refresh(self, changed: set[str]) -> None:
        """See whether the process is done; paint what changed."""
        draw = bool(changed & {"all", "theme"})
        if self.task is not None and (answer := self.task.done()) is not None:
            only, self.task = self.task.only, None
            found, fault = answer
            self.faults[only] = fault
            if found is not None:
                self.found[only], draw = found, True
        self._show_all(draw)

    @property
    def waits(self) -> bool:
        """Whether an answer is still due, so that the window must look again."""
        return self.task is not None

    def start(self, only: str) -> None:
        """Begin a diagnosis of what is selected; one that is under way is given up."""
        self.tabs.setCurrentIndex([page.only for page in PAGES].index(only))
        model, it = self.model, self.selection
        if model is None or it.layer not in model.layers or not self._known(only):
            return
        arguments = [str(Path(model.folder).resolve())]
        if it.step is not None:
            arguments += ["--step", str(it.step)]
        if only != "layers":
            arguments += ["--layer", it.layer, "--core", str(it.block), "--readout", self.readout.currentText()]
        if only == "sweep":
            if it.element is None or it.side not in model.layers[it.layer].parts:
                self.faults[only] = "choose an MZI first: click one in the mesh"
                self._show_all()
                return
            arguments += ["--heater", f"{it.side or self.kind.currentText()}:{it.element}"]
        self.stop()
        self.faults[only] = ""
        try:
            self.task = Task(only, arguments)
        except OSError as error:
            self.faults[only] = f"it cannot be started: {error.strerror}; free some memory or processes"
        self._show_all()

    def stop(self) -> None:
        """Give up what is under way."""
        if self.task is not None:
            self.task.stop()
            self.task = None

    def table(self) -> tuple[list[str], list[tuple[Any, ...]]] | None:
        """The numbers of the tab on show."""
        only = PAGES[self.tabs.currentIndex()].only
        found = self.found.get(only, {}).get(only)
        if not found:
            return None
        if only == "sweep":
            x = found["volts"] or found["phases"]
            head = ["voltage (V)" if found["volts"] else "phase (rad)"]
            head += [f"output {i} {what}" for i in range(len(found["readings"])) for what in ("read", "fit")]
            columns = [c for pair in zip(found["readings"], found["fitted"]) for c in pair]
            return head, [(at, *row) for at, row in zip(x, zip(*columns))]
        if only == "budget":
            head = ["without", "error, same commands", "error, best commands", "error, it alone"]
            return head, [(row["name"], row["error"], row["tuned"], row["alone"]) for row in found]
        if only == "movement":
            return ["stage", "part", "rms (rad)", "median block (rad)", "moved most", "by (rad)"], [
                (stage["stage"], row["part"], row["rms"], row["median"], row["name"], row["by"])
                for stage in found
                for row in stage["parts"]
            ]
        if only == "layers":
            rows = found["rows"]
            return ["ideal layer", "accuracy (0 to 1)", "gain"], [tuple(row.values()) for row in rows]
        if only == "detectors":
            return ["output", "input", "expected", "measured"], [
                (o, i, a, b)
                for o, (wanted, seen) in enumerate(zip(found["expected"], found["measured"]))
                for i, (a, b) in enumerate(zip(wanted, seen))
            ]
        return ["part", "kind", "MZI or rail", "phase (rad)", "power (P_pi)", "at V_max"], [
            (row["part"], row["kind"], i, *told)
            for row in found["core"]
            for i, told in enumerate(zip(row["phase"], row["power"], row["v_max"]))
        ]

    # -- inside --------------------------------------------------------------------------------------------------------

    def _show_all(self, draw: bool = True) -> None:
        """Words of every tab; pictures where something is new."""
        layer = self.model.layers.get(self.selection.layer) if self.model else None
        self.kind.setVisible(layer is not None and layer.sigma is None)
        for page in PAGES:
            found, fault = self.found.get(page.only), self.faults.get(page.only, "")
            busy = self.task is not None and self.task.only == page.only
            self.buttons[page.only].setEnabled(self.model is not None and self._known(page.only))
            self.bodies[page.only].setVisible(bool(found))
            head, note = self.heads[page.only], self.notes[page.only]
            if busy and self.task is not None:
                head.setText(f"computing… {time.monotonic() - self.task.begun:.0f} s")
            else:
                head.setText("No run is open." if self.model is None else self._where(page.only))
            head.setVisible(bool(head.text()))
            if not self._known(page.only):
                note.setText(NO_ORACLE)
            elif fault:
                note.setText(f"<span style='color:{theme.now().bad}'>{fault}</span>")
            elif found:
                note.setText(self._words(page.only, found))
                if draw:
                    self._draw(page.only, found[page.only])
            else:
                note.setText(page.what)

    def _known(self, only: str) -> bool:
        """Whether it can be told: of a chip that is not simulated only what the logs tell."""
        return self.model is None or self.model.simulated or only in findings.RECORDED

    def _where(self, only: str) -> str:
        """What the result on show is of."""
        found, it = self.found.get(only), self.selection
        if not found or "place" not in found:
            return ""
        where = found["place"]
        said = f"{findings.core_name(where)}, {where['heater']}" if "heater" in where else findings.core_name(where)
        same = (where["layer"], where["core"], where["step"]) == (it.layer, it.block, it.step)
        note = f"<br>{where['note']}" if "note" in where else ""
        return f"{said}, {findings.when(where)}" + ("" if same else " (not what is selected now)") + note

    def _words(self, only: str, found: dict[str, Any]) -> str:
        it, badge = found[only], f" · {found['badges'][only]}" if only in found.get("badges", {}) else ""
        if only == "budget":
            where, ways = found["place"], "best" if it[0]["tuned"] is not None else "same"
            since = f", as it was mapped at step {where['mapped']}" if "mapped" in where else ""
            noise = f"<br>{findings.readings(where)}" if where["left_out"] else ""
            what = where["measure"].replace("^2", "²").replace("'", "′").replace(" - ", " − ")
            thin = f"thin: with this imperfection alone, {ways} commands"
            return f"{findings.verdict(it)}<br>Bars: {what}{since}; {thin}{badge}{noise}"
        if only == "movement":
            return f"{findings.moved(it)}<br>Bars: root mean square of the changes, rad{badge}"
        if only == "layers":
            return f"{findings.accused(it)}<br>{it['samples']} test samples, {it['stage']} · oracle"
        if only == "sweep":
            if not it["answers"]:
                return f"No output moves: this heater does not obey, or no light reaches it{badge}"
            best = max(range(len(it["amplitude"])), key=lambda o: it["amplitude"][o])
            return (
                f"Output {best} moves most: amplitude {it['amplitude'][best]:.3f}, peak at {it['peak'][best]:.3f} rad, "
                f"visibility {it['visibility'][best]:.3f}, residual {it['residual'][best]:.4f}.<br>"
                f"{it['ratio']:.4f} rad of light per commanded rad. Light enters input {it['port']}; 1 is what enters. "
                f"Lines: fits; dashed: as commanded now{badge}"
            )
        if only == "detectors":
            floor = max(it["floor"], default=0.0)
            return (
                f"Readings are off by {it['error']:.3g} (squared, relative); {findings.saturation(it)}.<br>"
                f"Noise floor {number(floor)}, data sheet {number(it['sheet'])}; 1 is what enters{badge}"
            )
        return self._heaters(it)

    def _heaters(self, it: findings.HeatersFound) -> str:
        full = sum(sum(row["v_max"]) for row in it["core"])
        power = ", ".join(f"{row['layer']} {row['total']:.0f}" for row in it["layers"])
        return (
            f"{'<br>'.join(findings.disobeying(it))}<br>At V_max: {full} · commanded<br>"
            f"Power in P_pi = v_pi²/R, what turns a heater by π: {power} · commanded<br>"
            f"So far {findings.cost(it['meter'])} · measured; {findings.bill(it['spent'])} · estimated"
        )

    def _draw(self, only: str, it: Any) -> None:
        body = self.bodies[only]
        if only == "sweep":
            body.show_sweep(it)
        elif only == "detectors":
            body.show_detectors(it)
        elif only == "budget":
            body.show_bars(budget_bars(it))
        elif only == "layers":
            body.show_bars(layer_bars(it["rows"]))
        elif only == "movement":
            body.show_bars(movement_bars(it))
        elif self.model is not None:
            where = self.found["heaters"]["place"]
            body.show_heaters(it["core"], self.model.layers[where["layer"]].parts, broken_of(it))

