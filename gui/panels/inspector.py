"""The inspector: everything about one MZI, the one under the pointer, and up to four that are pinned beside it.

It shows the very frame that the mesh view painted (`take`), so that what is read and what is seen are of one step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pyqtgraph.Qt import QtCore, QtWidgets

from l2sim.backend import Array
from l2sim.chip.devices import TABLES
from l2sim.given import wrapped
from l2sim.inspect.drive import command, drive
from l2sim.inspect.drive import words as driven_words

from ..base import theme
from ..base.files import Table
from ..base.panel import Panel
from ..base.plot import Plot, Trace
from ..base.widgets import filled, paragraph, scrolling, tool_button
from ..mesh import values as mesh_values
from ..mesh.colours import number
from ..mesh.geometry import TITLES, Thing
from ..mesh.history import LATER, History
from ..mesh.values import Painted
from .chart import Legend
from .phases.pins import NEGLIGIBLE, Column, Pins, Place, column, kinds, names, quantities

if TYPE_CHECKING:
    from l2sim.inspect.chips import Truth

    from ..base.model import Part, Phases, RunModel, Selection

Qt = QtCore.Qt
PINS = 4
COUPLER = np.array([[1, 1j], [1j, 1]]) / np.sqrt(2)
SEEN = {"all", "theme", "frames", "step", "layer", "block", "side", "element", "parameters"}


def node(complex_: bool, theta: float, phi: float) -> Array:
    """The matrix of one ideal MZI (2, 2): D diag(e^{i theta}, 1) D diag(e^{i phi}, 1), D = [[1, i], [i, 1]] / sqrt(2)
    (`kernels.propagate`); of a real one the rotation by theta (`kernels.mesh`)."""
    if not complex_:
        return np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
    matrix: Array = COUPLER @ np.diag([np.exp(1j * theta), 1]) @ COUPLER @ np.diag([np.exp(1j * phi), 1])
    return matrix


def split(complex_: bool, theta: float) -> float:
    """The share of the power that leaves by the cross port: cos^2(theta / 2); of a real MZI sin^2(theta)."""
    return float(np.cos(theta / 2) ** 2 if complex_ else np.sin(theta) ** 2)


def element(value: complex | float) -> str:
    """An element of a matrix."""
    if isinstance(value, complex | np.complexfloating):
        return f"{value.real:+.2f}{value.imag:+.2f}i"
    return f"{value:+.4f}"


class Line(QtWidgets.QWidget):
    """How phases went over the last frames."""

    def __init__(self) -> None:
        super().__init__()
        self.legend, self.plot = Legend(), Plot("History", 5)
        self.plot.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Fixed)
        filled(QtWidgets.QVBoxLayout(self), self.legend, self.plot, spacing=0)

    def show_lines(self, steps: Array, lines: dict[str, Array]) -> None:
        """Draw them over `steps`."""
        words = "; ".join(f"{name} from {v[0]:.3f} to {v[-1]:.3f}" for name, v in lines.items() if len(v))
        self.setAccessibleName(f"History: {words}")
        shown = lines if len(steps) > 1 and any(np.isfinite(v).any() for v in lines.values()) else {}
        drawn = [Trace(steps.astype(int), v, theme.now().curves[i]) for i, v in enumerate(shown.values())]
        self.plot.draw(drawn, note="history: fewer than two frames so far")
        names = [(trace.colour, False, name) for trace, name in zip(drawn, lines)]
        self.legend.show_entries([*names, ("", False, f"(rad) over steps, {len(steps)} frames")] if drawn else [])


class Card(QtWidgets.QFrame):
    """One MZI."""

    closed = QtCore.Signal()
    asked = QtCore.Signal()  # to sweep this MZI

    def __init__(self) -> None:
        super().__init__()
        theme.mark(self, "card")
        self.head, self.body = paragraph("part"), paragraph("")
        self.body.setTextFormat(Qt.TextFormat.RichText)
        self.body.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        policy = QtWidgets.QSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)  # a long line must not widen the card, nor be cut off
        for label in (self.head, self.body):
            label.setSizePolicy(policy)
            label.setMinimumWidth(1)
        self.line = Line()
        tip = "Sweep the phase of this MZI and read every output"
        buttons = [
            tool_button("Sweep", tip, "Sweep this MZI", self.asked),
            tool_button("×", "Let go of it", "Let go of this MZI", self.closed),
        ]
        for button in buttons:
            button.setAutoRaise(True)
        row = filled(QtWidgets.QHBoxLayout(), (self.head, 1), *buttons)
        filled(QtWidgets.QVBoxLayout(self), row, self.line, self.body, margins=(10, 6, 8, 8), spacing=4)


class Inspector(Panel):
    """A card for the MZI under the pointer and the selected one; those that are pinned as columns of a table."""

    what = (
        "The MZI under the pointer, or the one that was clicked: its commanded and its actual phase, what each "
        "imperfection adds to it, and how the phase moved. P pins it: pinned MZIs stand side by side, the one on show "
        "first; a click on a head goes there, × or Delete unpins, Ctrl+C copies the table."
    )
    every = 0.2
    sweep_asked = QtCore.Signal()  # of the MZI that is selected then
    pins_changed = QtCore.Signal(object)  # list of (side, element) of the block on show

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.painted: Painted | None = None
        self.over: Place | None = None
        self.pins: list[Place] = []
        self.history: dict[tuple[str, int], History] = {}
        self.cards: list[Card] = []
        self._asked: tuple[tuple[object, ...], dict[tuple[str, int, str], Truth | None]] = ((), {})
        self.sheet = Pins()
        self.sheet.chosen.connect(lambda place: self.selection.set(**place._asdict()))
        self.sheet.unpinned.connect(self._unpin)
        self.note = paragraph("faint", margins=(14, 14, 14, 14))
        self.note.setAlignment(Qt.AlignmentFlag.AlignCenter)
        inner = QtWidgets.QWidget()
        self.column = filled(QtWidgets.QVBoxLayout(inner), self.note, self.sheet, 1, margins=(6, 6, 6, 6), spacing=6)
        scroll = scrolling(inner)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        filled(QtWidgets.QVBoxLayout(self), scroll)
        self.show_run(None)

    # -- what the window and the mesh view call ------------------------------------------------------------------------

    def show_run(self, model: RunModel | None, reference: RunModel | None = None) -> None:
        """Show another run."""
        if model is not self.model:
            self.pins, self.over, self.painted, self.history = [], None, None, {}
        super().show_run(model, reference)
        self._show()

    def take(self, painted: Painted | None) -> None:
        """The frame that the mesh view painted. It is shown at the next refresh."""
        self.painted = painted

    def hover(self, thing: Thing | None) -> None:
        """What the pointer is over in the mesh view."""
        self.over = None
        if thing is not None and self.painted is not None:
            number_ = thing.element if thing.element >= 0 else thing.at if thing.kind in ("theta", "phi") else -1
            if number_ >= 0:
                self.over = Place(self.painted.request.layer, self.painted.request.block, thing.side, number_)
        self._show()

    def pin(self) -> None:
        """Keep the selected MZI; the oldest of four makes room. Again: let go of it."""
        place = self._selected()
        if place is None:
            return
        if place in self.pins:
            self.pins.remove(place)
        else:
            self.pins = [*self.pins, place][-PINS:]
        self._show()

    def refresh(self, changed: set[str]) -> None:
        """Paint what changed."""
        if self.model is not None and (changed & SEEN or any(h.pending for h in self.history.values())):
            self._show()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _selected(self) -> Place | None:
        here, model = self.selection, self.model
        if model is None or here.element is None or here.layer not in model.layers:
            return None
        parts = model.layers[here.layer].parts
        side = here.side if here.side in parts else next(iter(parts))
        return Place(here.layer, here.block, side, here.element)

    def _show(self) -> None:
        shown = dict.fromkeys((self.over, self._selected()))
        places = [place for place in shown if place is not None and self._part(place) is not None]
        while len(self.cards) < len(places):
            card = Card()
            card.closed.connect(lambda card=card: self._unpin(card.property("place")))
            card.asked.connect(lambda card=card: self._sweep(card))
            self.cards.append(card)
            self.column.insertWidget(len(self.cards) + 1, card)
        for i, card in enumerate(self.cards):
            card.setVisible(i < len(places))
            if i < len(places):
                self._fill(card, places[i])
        self._compare()
        self.note.setVisible(not places and not self.pins)
        self.note.setText(
            "No run is open." if self.model is None
            else "Point at an MZI in the mesh to read it here; click to keep it; pin up to four with P."
        )  # fmt: skip
        if any(history.pending for history in self.history.values()):
            QtCore.QTimer.singleShot(LATER, self._more)
        if self.painted is not None:
            here = self.painted.request.layer, self.painted.request.block
            self.pins_changed.emit([(p.side, p.element) for p in self.pins if (p.layer, p.block) == here])

    def _more(self) -> None:
        """Read on in the history."""
        if self.isVisible():
            self.refresh(set())

    def _sweep(self, card: Card) -> None:
        place = card.property("place")
        self.selection.set(layer=place.layer, block=place.block, side=place.side, element=place.element)
        self.sweep_asked.emit()

    def _compare(self) -> None:
        """The pinned MZIs side by side."""
        self.sheet.setVisible(bool(self.pins))
        if self.pins:
            self.sheet.put(self._columns(), self.pins)

    def _columns(self) -> dict[Place, Column]:
        """Every quantity of the MZI on show, which comes first, and of those that are pinned."""
        model = self.model
        columns: dict[Place, Column] = {}
        for place in dict.fromkeys((self.over or self._selected(), *self.pins)):
            part = self._part(place) if place is not None else None
            if place is not None and part is not None and model is not None:
                phases, _ = self._phases(place)
                known = column(model, place, self.selection.at, phases, self._oracle(place))
                slopes = [(f"{row} (/rad)", text[:-5]) for row, text in self._gradient(place, part) if row[:3] == "dL/"]
                columns[place] = {**known, **dict(slopes)}
        return columns

    def _unpin(self, place: Place) -> None:
        if place in self.pins:
            self.pins.remove(place)
        elif place == self._selected():
            self.selection.set(element=None)
        self._show()

    def _part(self, place: Place) -> Part | None:
        layer = self.model.layers.get(place.layer) if self.model else None
        part = layer.parts.get(place.side) if layer else None
        return part if part is not None and 0 <= place.element < len(part.columns) else None

    def _phases(self, place: Place) -> tuple[Phases, int | None]:
        """Commanded phases and their step: the frame that was painted, where it is of this block."""
        if self.painted is not None and self._of_picture(place):
            phases = self.painted.phases.get(place.side, {})
        else:
            assert self.model is not None
            phases = self.model.phases(place.layer, place.block, place.side, self.selection.at)
        step = phases.get("step")
        return phases, None if step is None else int(step)

    def _fill(self, card: Card, place: Place) -> None:
        part, model = self._part(place), self.model
        assert part is not None and model is not None
        i = place.element
        card.setProperty("place", place)
        rails = f"rails {part.rails[i]} and {part.rails[i] + part.spans[i]}"
        role = "pointer" if place == self.over else "selected"
        role = f"pin {self.pins.index(place) + 1}" if place in self.pins else role
        layer, side = model.layers[place.layer], TITLES.get(place.side, place.side)
        where = [place.layer, *([f"block {place.block}"] if layer.p * layer.q > 1 else []), *([side] if side else [])]
        card.head.setText(f"{role}: {' '.join(where)} · MZI {i} · column {part.columns[i]}, {rails}")
        phases, step = self._phases(place)
        card.body.setText(self._body(place, part, phases, step))
        steps, lines = self._lines(place, part, step)
        card.line.show_lines(steps, lines)

    def _lines(self, place: Place, part: Part, step: int | None) -> tuple[Array, dict[str, Array]]:
        history = self.history.setdefault((place.layer, place.block), History())
        history.of(self.model, place.layer, place.block)
        lines = list(history.lines([(place.side, kind) for kind in kinds(part)], place.element, step))
        return lines[-1][0], {name: values for name, (_, values) in zip(kinds(part).values(), lines)}

    def _body(self, place: Place, part: Part, phases: Phases, step: int | None) -> str:
        """The numbers as a table."""
        assert self.model is not None
        i, now = place.element, theme.now()
        truth = self._oracle(place)
        rows: list[tuple[str, str]] = []
        values: dict[str, float] = {}
        for kind, name in kinds(part).items():
            if phases.get(kind) is None:
                continue
            values[kind] = float(np.asarray(phases[kind])[i])
            rows.append((f"{name} commanded", command(values[kind])))
            rows += self._driven(name, values[kind])
            rows += self._actual(truth, kind, name, i, values[kind]) if truth else []
        if "theta" not in values:
            return f"<span style='color:{now.faint}'>nothing was commanded yet</span>"
        theta, phi = values["theta"], values.get("phi", 0.0)
        actual = {k: float(truth["actual"][k][i]) for k in values if truth and k in truth["actual"]}
        crossing, matrix = f"{100 * split(part.complex, theta):.2f} %", self._matrix(node(part.complex, theta, phi))
        rows += [("power to the cross port, estimated", crossing), ("matrix, estimated", matrix)]
        if "theta" in actual:
            turned = node(part.complex, actual["theta"], actual.get("phi", 0.0))
            crossing = f"{100 * split(part.complex, actual['theta']):.2f} %"
            rows += [("power to the cross port, oracle", crossing), ("matrix, oracle", self._matrix(turned))]
        rows += self._gradient(place, part)
        said = [] if step is None else [f"step {step}, as painted in the mesh"]
        unknown = mesh_values.KEPT_BACK if self.model.lab_eyes else "no oracle"
        said += [] if truth else [f"actual phases: {unknown}"]
        said += [note] if (note := self.model.timeless(self.selection.at)) else []
        head = f"<div style='color:{now.faint}'>{'; '.join(said)}</div>" if said else ""
        left = f"<td style='color:{now.faint}; padding-right:8px'>"
        lines = "".join(f"<tr>{left}{a}</td><td>{b}</td></tr>" for a, b in rows)
        return f"<div style='font-size:small'>{head}<table>{lines}</table></div>"

    def _driven(self, name: str, phase: float) -> list[tuple[str, str]]:
        """What the data sheet says that a heater is driven with for this phase, and what that takes."""
        assert self.model is not None
        job = self.model.job_at(self.selection.at)
        imperfect = mesh_values.imperfections(self.model, self.selection.at)
        said = driven_words(drive([phase], imperfect, TABLES[job.cost.table].pi_w), 0)
        return [(f"{name} driven with", f"{said} (estimated, table {job.cost.table})")] if said else []

    def _oracle(self, place: Place) -> Truth | None:
        """What an oracle knows of a mesh, asked once for a frame: the pointer asks for many MZIs of one mesh."""
        assert self.model is not None
        of = (self.selection.at, self.painted, self.model, self.model.simulated)
        if self._asked[0] != of:
            self._asked = of, {}
        known, mesh = self._asked[1], (place.layer, place.block, place.side)
        if mesh not in known:
            given = self.painted.phases if self.painted is not None and self._of_picture(place) else None
            known[mesh] = self.model.oracle(*mesh, self.selection.at, given)
        return known[mesh]

    def _of_picture(self, place: Place) -> bool:
        """Whether a place is of the block that the mesh view painted."""
        painted = self.painted
        return painted is not None and (painted.request.layer, painted.request.block) == (place.layer, place.block)

    def _actual(self, truth: Truth, kind: str, name: str, i: int, commanded: float) -> list[tuple[str, str]]:
        """The phase that the simulated chip has, what moved it there, and what did not."""
        if kind not in truth["actual"]:
            return []
        actual = float(truth["actual"][kind][i])
        apart = float(mesh_values.turned(np.array(actual - commanded)))
        rows = [(f"{name} actual, oracle", f"{command(float(wrapped(actual)))}, off by {apart:+.4f}")]
        fates = (
            (truth.get("dead", {}), "DEAD: has no heat, whatever is commanded"),
            (truth.get("stuck", {}), "STUCK: holds one phase"),
        )
        for broken, words in fates:
            if kind in broken and broken[kind][i]:
                rows.append(("heater", f"<b style='color:{theme.now().bad}'>{words}</b>"))
        still = []
        for term, by in truth["terms"].items():
            if kind in by:
                value = float(by[kind][i])
                if abs(value) < NEGLIGIBLE:
                    still.append(term)
                else:
                    rows.append((f"&nbsp;&nbsp;by {term}", f"{value:+.4f} rad"))
        if still:
            rows.append(("&nbsp;&nbsp;no effect of", ", ".join(still)))
        return rows

    def _matrix(self, values: Array) -> str:
        return "<br>".join("&nbsp;&nbsp;".join(element(v) for v in row) for row in values)

    def _gradient(self, place: Place, part: Part) -> list[tuple[str, str]]:
        model, step = self.model, self.selection.at
        rows: list[tuple[str, str]] = []
        assert model is not None
        true = model.oracle_gradient(place.layer, step) if part.complex else None
        at = true["step"] if true else step  # both of the same light
        measured = model.gradient(place.layer, place.block, place.side, at)
        for kind, name in (("theta", "θ"), ("phi", "φ")):
            for gradient, badge in ((measured, model.badge.get("gradient", "measured")), (true, "oracle")):
                if gradient and gradient.get(kind) is not None:
                    rows.append((f"dL/d{name}, {badge}", f"{number(float(gradient[kind][place.element]))} /rad"))
        if not rows:
            return [("gradient", "not recorded at this step")]
        of = (measured or true or {}).get("step")
        now = self.painted.step if self.painted is not None else step
        return [*rows, ("gradient of", f"step {of}")] if of != now else rows

    def table(self) -> Table | None:
        """Every quantity of the MZI on show and of the pinned ones, a column each."""
        columns = self._columns()
        heads = ["quantity", *names(list(columns))]
        rows = quantities(list(columns.values()))
        return (heads, [(row, *(of.get(row, "") for of in columns.values())) for row in rows]) if rows else None
