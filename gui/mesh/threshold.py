"""The threshold of the mesh view: what is smaller is dimmed, what is not is counted and stepped through."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pyqtgraph.Qt import QtCore, QtWidgets

from l2sim.backend import Array

from ..base import theme
from ..base.fields import Line
from ..base.widgets import filled, tool_button
from .colours import dim
from .geometry import OF_MZI, PARTS, Placed, Scene, Thing
from .history import Key, Numbers
from .values import Painted


def sizes(painted: Painted, scene: Scene) -> Numbers:
    """How large everything on show is, by side and kind. Of light that is an MZI: the brightest of its waveguides."""
    out: Numbers = {}
    for (side, kind), values in painted.values.items():
        size, mesh = painted.scale.size(values), scene.mesh(side)
        if kind != "guide":
            out[side, kind] = size
        elif mesh is not None and mesh.count:
            out[side, "mzi"] = _brightest(mesh, size)
    return out


def _brightest(mesh: Placed, levels: Array) -> Array:
    """The largest level inside every MZI, (n,), of those of all guides."""
    part, table = mesh.part, levels.reshape(-1, mesh.part.modes)
    inside = PARTS * part.columns[:, None] + np.arange(PARTS)
    both = [table[inside, rails[:, None]] for rails in (part.rails, part.rails + part.spans)]
    brightest: Array = np.max(both, axis=(0, 2))
    return brightest


class Threshold(QtWidgets.QWidget):
    """A line to type the threshold into, what passes it, and buttons to step through that. It is in sight from `ask` to
    `clear`, and holds for as long as what is shown has its unit.

    `value` says what is on show of a thing, `name` what it is called."""

    changed = QtCore.Signal()
    stepped = QtCore.Signal(object)  # Thing

    def __init__(self, value: Callable[[Thing], str], name: Callable[[Thing], str]) -> None:
        super().__init__()
        self._value, self._name = value, name
        self.least = -np.inf
        self.unit = ""
        self._passing = np.zeros(0, np.int64)
        """Places of what passes among all that is on show, the largest first."""
        self.at: Thing | None = None
        """The one that was stepped to."""
        self._firsts: dict[Key, int] = {}
        """The first place of each side and kind."""
        self._light: Numbers = {}
        self._total = 0
        begin = QtWidgets.QLabel("at least")
        self.line = Line()
        self.line.setFixedWidth(9 * self.fontMetrics().averageCharWidth() + 16)
        self.line.setAccessibleName("Threshold")
        self.line.setToolTip("Smaller values are dimmed. Return puts it in force, Escape shows all again")
        self.line.returnPressed.connect(self._put)
        self.line.escaped.connect(self.clear)
        self.units, self.said = QtWidgets.QLabel(), theme.mark(QtWidgets.QLabel(), "")
        self.said.setAccessibleName("What passes the threshold")
        self.said.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Preferred)
        buttons = (
            tool_button("◂", "The next larger one (Shift+J)", "Previous above the threshold", lambda: self.step(-1)),
            tool_button("▸", "The next smaller one (J)", "Next above the threshold", lambda: self.step(1)),
            tool_button("×", "Show all again (Escape)", "Clear the threshold", self.clear),
        )
        row = (begin, self.line, self.units, (self.said, 1), *buttons)
        filled(QtWidgets.QHBoxLayout(self), *row, margins=(8, 0, 8, 3), spacing=6)
        self.hide()

    @property
    def active(self) -> bool:
        """Whether anything is dimmed."""
        return self.least > -np.inf

    def foremost(self, most: int | None = None) -> list[Thing]:
        """What passes, the largest first, at most so many."""
        return [self._thing(int(place)) for place in self._passing[:most]]

    def ask(self) -> None:
        """Wait for a threshold to be typed."""
        self.show()
        self.line.setFocus()
        self.line.selectAll()

    def clear(self) -> None:
        """Show all again."""
        self.forget()
        self.hide()
        self.changed.emit()

    def forget(self) -> None:
        """Have no threshold any more."""
        self.least, self._passing, self.at = -np.inf, np.zeros(0, np.int64), None
        self.line.clear()
        self.line.owned = False
        self._say("")

    def judge(self, painted: Painted, scene: Scene) -> None:
        """Find what of a new frame passes. A threshold in rad means nothing in dB: with another unit it is gone."""
        unit = painted.scale.unit
        if self.active and painted.values and unit != self.unit:
            self.forget()
            self.hide()
        if painted.values:
            self.unit = unit
            self.units.setText(unit)
        self._passing, self._total = np.zeros(0, np.int64), 0
        if not self.active:
            return
        every = sizes(painted, scene)
        self._light = every if painted.scale.kind == "light" else {}
        ends = np.cumsum([0, *(len(size) for size in every.values())]).tolist()
        self._firsts = dict(zip(every, ends))
        size = np.concatenate(list(every.values()) or [np.zeros(0)])
        passing = np.flatnonzero(size >= self.least)
        self._passing = passing[np.argsort(-size[passing], kind="stable")]
        self._total = int(np.isfinite(size).sum())
        self.at = None if self._rank() is None else self.at
        self._tell()

    def dim(self, painted: Painted, scene: Scene, colours: Array) -> None:
        """Take the colours of what does not pass near to the canvas."""
        if not self.active:
            return
        for (side, kind), values in painted.values.items():
            mesh = scene.mesh(side)
            if kind == "sigma":
                first = scene.sigma[1] if scene.sigma else 0
            elif mesh is not None:
                first = mesh.colour(kind)[0]
            dim(painted.scale.size(values), self.least, theme.now().name, colours[first : first + len(values)])

    def small(self, painted: Painted) -> Numbers:
        """Whether a value does not pass, of all that are shown, where there is a threshold."""
        values = painted.values if self.active else {}
        return {key: painted.scale.size(of) < self.least for key, of in values.items()}

    def step(self, by: int) -> None:
        """To the next smaller of those that pass, or with -1 the next larger; from the ends around."""
        if not self.active:
            self.ask()
            return
        if count := len(self._passing):
            rank = self._rank()
            self.at = self._thing(int(self._passing[(min(by, 0) if rank is None else rank + by) % count]))
            self._tell()
            self.stepped.emit(self.at)

    @property
    def label(self) -> str:
        """Which of those that pass was stepped to, empty for none."""
        rank = self._rank()
        return "" if rank is None else f"{rank + 1} of {len(self._passing)}"

    def _rank(self) -> int | None:
        """How many of those that pass are larger than the one that was stepped to; None where there is none."""
        if self.at is None or self.at[:2] not in self._firsts:
            return None
        place = self._firsts[self.at[:2]] + self.at.at
        ranks = np.flatnonzero(self._passing == place)
        return int(ranks[0]) if ranks.size and self._thing(place) == self.at else None

    def _thing(self, place: int) -> Thing:
        (side, kind), first = next(key for key in reversed(self._firsts.items()) if key[1] <= place)
        at = place - first
        return Thing(side, kind, at, at if kind in OF_MZI else -1)

    def _put(self) -> None:
        """Put what was typed in force. What is no number stays with its owner, who can mend it or take it back."""
        text = self.line.text().strip()
        if not text:
            self.clear()
            return
        try:
            least = float(text)
        except ValueError:
            least = np.nan
        if not np.isfinite(least):
            self.line.owned = True
            self._say(f"{text} is no number" + (f" of {self.unit}" if self.unit else ""), "bad")
            return
        self.line.setModified(False)
        self.least, self.at = least, None
        self.changed.emit()

    def _tell(self) -> None:
        said = f"{len(self._passing):,} of {self._total:,} pass"
        if self.at is not None:
            value = self._value(self.at)
            if self._light:
                value = f"{self._light[self.at[:2]][self.at.at]:.4g} {self.unit} at most"
            said = f"{self.label} of {self._total:,}: {value}, {self._name(self.at)}"
        elif self._passing.size:
            said += " · J and Shift+J step through them, Escape shows all"
        self._say(said)

    def _say(self, text: str, role: str = "") -> None:
        theme.mark(self.said, role)
        self.said.setText(text)
        self.said.setToolTip(text)
