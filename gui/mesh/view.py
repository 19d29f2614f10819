"""The mesh panel: the phases of one block where they are on the chip, V*, sigma and U side by side."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from ..base import links, theme
from ..base.files import Table
from ..base.panel import Panel
from ..base.widgets import filled, tool_button
from . import svg as mesh_svg
from . import values as mesh_values
from . import words
from .canvas import RINGS, Canvas
from .colours import CANVAS, GUIDE, QUIET, lit, number, paint
from .geometry import Placed, Scene, Thing
from .history import LATER, History
from .legend import Legend
from .shapes import FEW
from .threshold import Threshold
from .values import (
    CHOICES,
    DIFFERENCE,
    LEVEL,
    MODES,
    PINNED,
    POWER,
    REFERENCE,
    STAGE,
    TARGET,
    THETA,
    UPDATES,
    Painted,
    Request,
)

if TYPE_CHECKING:
    from l2sim.chip.nonidealities import Nonidealities

    from ..base.model import Phases, RunModel, Selection

SHOWN = {"all", "theme", "frames", "step", "layer", "block", "side", "input", "parameters"}
MARKS = {"element"}
PORT = "The input port that light of unit power enters"
SAMPLE = "Which sample of the mini-batch that the gradient was last measured with"


class MeshView(Panel):
    """The mesh panel. `painted` is the frame on show; `shown` announces it, `hovered` what the pointer is over."""

    title, section = "Mesh", "A run"
    what = (
        "The phases of one core or whole mesh where they are on the chip, light from the left: V*, sigma, U. Keys "
        "1 to 8 choose what colours mean; Tab goes from part to part; a click selects an MZI. What is not a "
        "number is hatched."
    )
    shown = QtCore.Signal(object)  # Painted
    hovered = QtCore.Signal(object)  # Thing or None

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.painted: Painted | None = None
        self.history = History()
        self.pinned: dict[str, Phases] | None = None
        self.pinned_at = ""
        self.mode = THETA
        self.asked = False
        """Whether somebody chose how it is coloured."""
        self.chosen = {mode: choices[0] for mode, choices in CHOICES.items()}
        self._scene_of: tuple[RunModel, str] | None = None
        self._broken_of: tuple[RunModel, bool, str, int, Nonidealities] | None = None
        self._build()
        self.show_run(None)

    def _build(self) -> None:
        self.canvas, self.legend = Canvas(), Legend()
        self.canvas.hovered.connect(self._hover)
        self.canvas.clicked.connect(self._click)
        self.canvas.walked.connect(self._walk)
        self.canvas.neared.connect(self._recolour)
        self.threshold = Threshold(lambda thing: self.value(thing)[3:], self._name)
        self.threshold.changed.connect(self._filter)
        self.threshold.stepped.connect(self._step)
        self.heading = theme.mark(QtWidgets.QLabel(), "part")
        self.heading.setMinimumWidth(60)
        self.chooser = _combo("Colour by", [f"{i + 1}  {name}" for i, name in enumerate(MODES)])
        self.chooser.currentIndexChanged.connect(self.colour)
        self.choice = _combo("Which one", [])
        self.choice.currentTextChanged.connect(self._choose)
        self.port = QtWidgets.QSpinBox()
        self.port.setPrefix("input ")
        self.port.setAccessibleName("Input that light enters")
        self.port.setToolTip(PORT)
        self.port.valueChanged.connect(lambda value: self.selection.set(input=value))
        whole = tool_button("Fit", "Show the whole mesh (F)", "Fit the mesh into the window", self.fit)
        only = tool_button("≥", "Dim what is smaller than a threshold (A)", "Only above…", self.threshold.ask)
        row = QtWidgets.QHBoxLayout()
        row.setContentsMargins(8, 5, 8, 3)
        row.addWidget(self.heading, 1)
        for widget in (self.chooser, self.choice, self.port, only, whole):
            row.addWidget(widget)
        self.said = theme.mark(QtWidgets.QLabel(), "faint")
        self.said.setContentsMargins(10, 2, 10, 3)
        links.follow(self.said, self.selection)
        self.said.setAccessibleName("What the pointer is over")
        for label in (self.heading, self.said):  # a long line must not widen the window
            label.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Preferred)
        filled(QtWidgets.QVBoxLayout(self), row, self.threshold, (self.canvas, 1), self.said, self.legend, spacing=0)
        self.setAccessibleName(self.title)

    # -- what the window calls -----------------------------------------------------------------------------------------

    def show_run(self, model: RunModel | None, reference: RunModel | None = None) -> None:
        """Show another run."""
        if model is not self.model:
            self.pinned, self._scene_of = None, None
            self.chosen = {mode: choices[0] for mode, choices in CHOICES.items()}  # "sum, live" is of the run before
            self.threshold.forget()
            self.threshold.hide()
        super().show_run(model, reference)
        if model is None:
            self.painted = None
            self.canvas.show_scene(None)
            self.canvas.note = "No run is open. Open one, or start a job from the start page."
            self.heading.setText("Mesh")
            self.said.setText("")
            self.legend.show_scale(None, "", "", 0)

    def refresh(self, changed: set[str]) -> None:
        """Paint what changed."""
        if self.model is None:
            self.canvas.update()
            return
        if changed & SHOWN or self.history.pending:
            self._paint()
        elif changed & MARKS:
            self._mark()
            self.canvas.update()
        if "element" in changed and self.selection.element is not None:
            self.canvas.reveal(self._side(), "theta", self.selection.element)

    def colour(self, mode: int) -> None:
        """Colour by another quantity, a place in `MODES`."""
        if not 0 <= mode < len(MODES):
            return
        self.asked = True
        self._turn_to(mode)
        self._controls()
        self.refresh({"all"})

    def fit(self) -> None:
        """Show the whole mesh."""
        self.canvas.fit()

    def go_to(self, column: int, rail: int) -> None:
        """Select the MZI on a rail in a column of the selected side."""
        mesh = self._mesh()
        if mesh is not None and 0 <= column < mesh.columns and 0 <= rail < mesh.part.modes:
            element = int(mesh.occupant[column, rail])
            if element >= 0:
                self.selection.set(element=element)
                return
        self.said.setText(f"There is no MZI on rail {rail} in column {column}.")

    def pin(self) -> None:
        """Pin the phases on show as what others are compared with."""
        if self.painted is not None and self.painted.phases:
            self.pinned = self.painted.phases
            self.pinned_at = f"{self.selection.layer} block {self.selection.block}, step {self.painted.step}"
            self.chosen[DIFFERENCE] = PINNED
            if self.mode == DIFFERENCE:
                self.refresh({"all"})
            self.said.setText(f"Pinned {self.pinned_at}. D shows the difference from it.")

    def difference(self) -> None:
        """To the difference from what is pinned (or the reference run, or the target), and back."""
        if self.mode == DIFFERENCE and self.chosen[DIFFERENCE] != STAGE:
            self.colour(THETA)
            return
        self.chosen[DIFFERENCE] = PINNED if self.pinned else REFERENCE if self.reference is not None else TARGET
        self.colour(DIFFERENCE)

    def show_pins(self, pins: list[tuple[str, int]]) -> None:
        """Ring the MZIs (side, element) that the inspector holds."""
        if pins != self.canvas.pins:
            self.canvas.pins = pins
            self.canvas.update()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _turn_to(self, mode: int) -> None:
        self.mode = mode
        self.chooser.blockSignals(True)
        self.chooser.setCurrentIndex(mode)
        self.chooser.blockSignals(False)

    def _default(self, modes: int) -> None:
        """What is shown until somebody chooses: of many modes, where phases that look random are no picture, what the
        stage has changed so far."""
        if not self.asked:
            self.chosen[DIFFERENCE] = TARGET if modes <= FEW else STAGE
            self._turn_to(THETA if modes <= FEW else DIFFERENCE)

    def _choose(self, choice: str) -> None:
        if self.mode in CHOICES and choice:
            self.asked = True
            self.chosen[self.mode] = choice
            self.refresh({"all"})

    def _live(self) -> str:
        """Which light of a mesh that learns is shown: forward, backward or sum; "" for none of them."""
        return mesh_values.LIVE.get(self._choice(), "") if self.mode == POWER else ""

    def _choice(self) -> str:
        """What is chosen in this way of colouring; the first of all where that is not to be seen."""
        choices = mesh_values.choices(self.model, self.mode) if self.model is not None else []
        chosen = self.chosen.get(self.mode, "")
        return chosen if chosen in choices else (choices[0] if choices else "")

    def _limit(self) -> int:
        """The last port that light can enter, or the last sample of a mini-batch."""
        assert self.model is not None
        if self._live():
            return int(self.model.job.learn.batch) - 1
        layer = self.model.layers.get(self._layer())
        return next(iter(layer.parts.values())).modes - 1 if layer else 0

    def _controls(self) -> None:
        choices = mesh_values.choices(self.model, self.mode) if self.model is not None else []
        self.choice.setVisible(bool(choices))
        self.choice.blockSignals(True)
        if [self.choice.itemText(i) for i in range(self.choice.count())] != choices:
            self.choice.clear()
            self.choice.addItems(choices)
        if choices:
            self.choice.setCurrentText(self._choice())
        self.choice.blockSignals(False)
        self.port.setVisible(self.mode == POWER)
        if self.mode == POWER and self.model is not None:
            sample = bool(self._live())
            self.port.blockSignals(True)
            self.port.setPrefix("sample " if sample else "input ")
            self.port.setToolTip(SAMPLE if sample else PORT)
            self.port.setMaximum(self._limit())
            self.port.setValue(self.selection.input)
            self.port.blockSignals(False)

    def _side(self) -> str:
        scene = self.canvas.scene
        names = [mesh.side for mesh in scene.meshes] if scene else []
        return self.selection.side if self.selection.side in (*names, "sigma") else (names[-1] if names else "")

    def _mesh(self) -> Placed | None:
        return self.canvas.scene.mesh(self._side()) if self.canvas.scene else None

    def _layer(self) -> str:
        assert self.model is not None
        return self.selection.layer if self.selection.layer in self.model.layers else next(iter(self.model.layers), "")

    def _paint(self) -> None:
        """Take the numbers of the frame and colour the picture by them."""
        model, name = self.model, self._layer()
        assert model is not None
        if not name:
            self.canvas.show_scene(None)
            self.canvas.note = "This run has no photonic layers."
            return
        layer = model.layers[name]
        block = min(max(self.selection.block, 0), layer.p * layer.q - 1)
        if self._scene_of != (model, name):
            self._scene_of = model, name
            self.canvas.show_scene(Scene(layer))
            self._default(next(iter(layer.parts.values())).modes)
        self._controls()
        self.history.of(model, name, block)
        choice, chosen = self._choice(), self.selection
        enters = min(chosen.input, self._limit())
        request = Request(name, block, chosen.at, self.mode, choice, enters, chosen.side, self.pinned)
        self.painted = mesh_values.show(model, request, self.history, self.reference)
        self._broken(name, block)
        assert self.canvas.scene is not None
        self.threshold.judge(self.painted, self.canvas.scene)
        self._colour()
        self._mark()
        self._say()
        self.canvas.update()
        self.shown.emit(self.painted)
        if self.history.pending:
            QtCore.QTimer.singleShot(LATER, self._more)

    def _more(self) -> None:
        """Read on in the history."""
        if self.isVisible():
            self.refresh(set())

    def _broken(self, layer: str, block: int) -> None:
        """Find the heaters that do not obey, which only an oracle knows."""
        model, painted = self.model, self.painted
        assert model is not None and painted is not None
        of = model, model.simulated, layer, block, mesh_values.imperfections(model, self.selection.at)
        if of == self._broken_of:
            return
        self._broken_of, self.canvas.broken = of, []
        for side in model.layers[layer].parts:
            truth = model.oracle(layer, block, side, self.selection.at, painted.phases)
            fates = {"dead": truth.get("dead", {}), "stuck": truth.get("stuck", {})} if truth else {}
            for fate, heaters in fates.items():
                for kind, here in heaters.items():
                    self.canvas.broken += [((side, kind, int(i)), fate) for i in np.flatnonzero(here)]

    def _filter(self) -> None:
        """The threshold has changed."""
        self.canvas.setFocus()
        self.refresh({"all"})

    def _step(self, thing: Thing) -> None:
        """Show one of those that pass the threshold."""
        self.canvas.setFocus()
        self._click(thing)
        self._mark()
        self.canvas.reveal(thing.side, thing.kind, thing.at)

    def _recolour(self) -> None:
        if self.painted is not None:
            self._colour()

    def _colour(self) -> None:
        """Fill the palette: guides, boxes without a value, and those with one. Phases of light are told where guides
        are drawn; from tile to tile nobody could follow them."""
        now, canvas, painted = theme.now().name, self.canvas, self.painted
        scene = canvas.scene
        assert scene is not None and painted is not None
        colours = np.full(scene.colours, QUIET[now], np.uint32)
        colours[0] = CANVAS[now]
        wrong = 0
        for mesh in scene.meshes:
            first, count = mesh.colour("guide")
            colours[first : first + count] = GUIDE[now]
            for kind in ("guide", "theta", "phi", "screen"):
                first, count = mesh.colour(kind)
                values = painted.values.get((mesh.side, kind))
                if values is not None and len(values) == count:
                    turns, out = painted.turns.get((mesh.side, kind)), colours[first : first + count]
                    if turns is None or not canvas.detailed:
                        wrong += paint(values, painted.scale, now, out)
                    else:
                        wrong += lit(values, turns, painted.scale, now, out)
        sigma = painted.values.get(("sigma", "sigma"))
        if scene.sigma and sigma is not None:
            first = scene.sigma[1]
            wrong += paint(sigma, painted.scale, now, colours[first : first + len(sigma)])
        self.threshold.dim(painted, scene, colours)
        kinds = {kind for _, kind in painted.values}
        focus = kinds.pop() if len(kinds) == 1 else ""
        if canvas.focus != focus:
            canvas.look(canvas.view, canvas.fits)
        canvas.palette_, canvas.focus = colours, focus
        scale = painted.scale if painted.values else None
        hues = canvas.detailed and bool(painted.turns)
        self.legend.show_scale(scale, painted.title, painted.badge, wrong, hues, self.threshold.least)

    def _mark(self) -> None:
        """Rings around what is selected, wrong and worst, and what is written in the boxes."""
        painted, canvas = self.painted, self.canvas
        canvas.side = self._side()
        element = self.selection.element
        canvas.selected = None if element is None else (canvas.side, element)
        if painted is None:
            return
        live = self._live()
        canvas.port = painted.request.input if self.mode == POWER and not live else None
        canvas.way = mesh_values.WAY[live or "forward"]
        canvas.note, canvas.aside = painted.note, painted.aside
        canvas.rings = [(*key, int(i)) for key, wrong in painted.bad.items() for i in wrong if key[1] != "guide"]
        worst = painted.worst
        canvas.worst = None
        if worst is not None and not canvas.rings:
            canvas.worst = (*worst.key, worst.at, f"largest {number(worst.value)} {painted.scale.unit}".strip())
        canvas.passing = [thing[:3] for thing in self.threshold.foremost(RINGS + 1)]
        canvas.dimmed = self.threshold.small(painted)
        if (at := self.threshold.at) is not None:
            canvas.worst = (*at[:3], self.threshold.label)
        canvas.texts = {key: values for key, values in painted.values.items() if key[1] in ("theta", "phi")}
        canvas.digits = 0 if self.mode in (UPDATES, LEVEL) else 2

    def _say(self) -> None:
        assert self.painted is not None and self.model is not None
        request = self.painted.request
        layer = self.model.layers[request.layer]
        where = request.layer
        if layer.p * layer.q > 1:
            row, column = divmod(request.block, layer.q)
            where += f" · block {request.block} (row {row}, column {column})"
        self.heading.setText(where + words.told(request.step, self.painted.step))
        self.said.setText(self._summary())

    def _summary(self) -> str:
        """One line on the whole picture, in rich text: what is wrong comes first."""
        painted = self.painted
        if painted is None or painted.note:
            return ""
        if painted.bad:
            (side, kind), wrong = next(iter(painted.bad.items()))
            total = sum(len(places) for places in painted.bad.values())
            name = self._link(Thing(side, kind, int(wrong[0])))
            return f"{total} not a number or out of range; the first is {name}"
        if self.canvas.broken:
            (side, kind, index), fate = self.canvas.broken[0]
            many = len(self.canvas.broken)
            begin = f"{many} heaters do not obey; the first is" if many > 1 else "One heater does not obey:"
            return f"{begin} {self._link(Thing(side, kind, index))}, {fate} (oracle)"
        if painted.worst is not None:
            worst = painted.worst
            return f"Largest: {self._link(Thing(*worst.key, worst.at))}, {number(worst.value)} {painted.scale.unit}"
        return "Click an MZI to select it. Wheel zooms, dragging moves, Ctrl+arrows walk from MZI to MZI."

    def _link(self, thing: Thing) -> str:
        """A thing in words, as a link where it is an MZI."""
        assert self.painted is not None
        return links.linked(self._name(thing), self.painted.request.layer, self.painted.request.block)

    def _name(self, thing: Thing) -> str:
        return words.name(self.canvas.scene, thing)

    def value(self, thing: Thing) -> str:
        """What is on show of a thing, with its unit; empty where nothing is."""
        return words.value(self.painted, self.canvas.scene, thing)

    def _hover(self, thing: Thing | None) -> None:
        said = self._summary() if thing is None else escape(self._name(thing) + self.value(thing), quote=False)
        self.said.setText(said)
        self.hovered.emit(thing)

    def _click(self, thing: Thing | None) -> None:
        if thing is None:
            self.selection.set(element=None)
        elif thing.element >= 0 or thing.kind in ("theta", "phi"):
            element = thing.element if thing.element >= 0 else thing.at
            self.selection.set(side=thing.side, element=element)
        elif thing.kind == "guide" and self.mode == POWER and thing.position == 0 and not self._live():
            self.selection.set(input=thing.at)

    def keyPressEvent(self, event: QtGui.QKeyEvent) -> None:
        """Escape shows all again."""
        if event.key() == QtCore.Qt.Key.Key_Escape and self.threshold.isVisible():
            self.threshold.clear()
        else:
            super().keyPressEvent(event)

    def _walk(self, side: str, element: int) -> None:
        self.selection.set(side=side, element=element)

    # -- export --------------------------------------------------------------------------------------------------------

    def table(self) -> Table | None:
        """Every phase on show with its place, and the value it is coloured by."""
        painted, scene = self.painted, self.canvas.scene
        if painted is None or scene is None or not painted.phases:
            return None
        unit = f" ({painted.scale.unit})" if painted.scale.unit else ""
        place_ = ["side", "kind", "index", "column", "top rail", "bottom rail"]
        head = [*place_, "commanded (rad; sigma: 1)", painted.title + unit]
        rows: list[tuple[object, ...]] = []
        for (side, kind), values in mesh_values.numbers(painted.phases).items():
            mesh, shown = scene.mesh(side), painted.values.get((side, kind))
            for i, value in enumerate(values.tolist()):
                place: tuple[object, ...] = ("", i, i)
                if kind in ("theta", "phi") and mesh is not None:
                    p = mesh.part
                    place = int(p.columns[i]), int(p.rails[i]), int(p.rails[i] + p.spans[i])
                rows.append((side, kind, i, *place, value, "" if shown is None else float(shown[i])))
        return head, rows

    def svg(self, path: Path) -> None:
        """Write the picture with its titles and legend as vectors."""
        mesh_svg.write(self.heading.text() or "Mesh", self.canvas, self.legend, path)


def _combo(name: str, entries: list[str]) -> QtWidgets.QComboBox:
    box = QtWidgets.QComboBox()
    box.addItems(entries)
    box.setAccessibleName(name)
    box.setToolTip(name)
    box.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToContents)
    return box
