"""An editor for one field of a job, made from its declaration: its value, unit, range and meaning."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.backend import Array
from l2sim.job.imperfections import Imperfect, of_base
from l2sim.job.job import Field
from l2sim.store.events import Changed, Record

from .widgets import filled, paragraph

STOPS = 300
"""Stops of a slider: about two pixels each where it is as wide as a panel allows."""
DECADES = 6
"""Decades of a slider whose range begins at zero. Ours: noise of a millionth of the largest is as good as none."""
RESTS = 300
"""Milliseconds after the last turn of the wheel at which a slider is settled."""


def options(field: Field) -> list[str]:
    """The values that a field chooses from, none for numbers and text."""
    return field.range.split(", ") if ", " in field.range else []


def shown(value: object) -> str:
    """A value as it is typed: TOML, but words without quotes."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(shown(item) for item in value) + "]"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def from_base(job: Imperfect, path: str) -> str:
    """What the preset of the non-idealities gives the field at `path`, e.g. "8, from l2ight-2021"; "" of others."""
    value = of_base(job, path)
    whose = "the chip" if path.startswith("calibrate.sheet.") else job.nonidealities.base
    return "" if value is None else f"{shown(value)}, from {whose}"


def changes(events: Iterable[Record]) -> list[tuple[int, str]]:
    """Every change of a parameter while the run went on: its step, and e.g. "readout_noise = 0.01"."""
    made = (event for event in events if isinstance(event, Changed))
    return [(event.step, f"{event.path.rpartition('.')[2]} = {shown(event.value)}") for event in made]


def notches(low: float, high: float, whole: bool) -> Array:
    """The values that a slider between two limits stops at, of three digits, rising.

    A few whole numbers: each of them. A range with negative numbers: even steps. Else even steps of the logarithm, over
    `DECADES` below `high` where the range begins at zero, which is the first stop then."""
    if whole and high - low < STOPS:
        return np.arange(low, high + 1)
    if low < 0:
        values = np.linspace(low, high, STOPS + 1)
    else:
        values = np.geomspace(low or (1.0 if whole else high / 10**DECADES), high, STOPS)
    unit = 10.0 ** (math.floor(math.log10(high)) - 2)
    values = np.append(values, math.floor(high / unit) * unit)  # below pi is 3.14, not 3.142
    digits = [float(f"{value:.3g}") for value in values]
    digits = [round(digit) for digit in digits] if whole else digits
    return np.unique([low, *(digit for digit in digits if low <= digit <= high)])


class _Choice(QtWidgets.QComboBox):
    """A box to choose from that leaves the wheel to the page it is on until it has the focus."""

    def wheelEvent(self, event: QtGui.QWheelEvent) -> None:
        super().wheelEvent(event) if self.hasFocus() else event.ignore()


class Line(QtWidgets.QLineEdit):
    """A line that knows whether a person is at it: from the focus, a click or a letter to Return or Escape, and for as
    long as it holds a text that was not settled."""

    escaped = QtCore.Signal()

    def __init__(self) -> None:
        super().__init__()
        self.owned = False

    def focusInEvent(self, event: QtGui.QFocusEvent) -> None:
        self.owned = True
        super().focusInEvent(event)

    def focusOutEvent(self, event: QtGui.QFocusEvent) -> None:
        self.owned = self.isModified()
        super().focusOutEvent(event)

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        self.owned = True
        super().mousePressEvent(event)

    def keyPressEvent(self, event: QtGui.QKeyEvent) -> None:
        key = QtCore.Qt.Key
        self.owned = event.key() not in (key.Key_Escape, key.Key_Return, key.Key_Enter)
        if event.key() == key.Key_Escape:
            self.escaped.emit()
        else:
            super().keyPressEvent(event)


class _Slider(QtWidgets.QSlider):
    """A slider that says when it is let go: by the mouse, by a key, or by a wheel that rests. It leaves the wheel to
    the page it is on until it has the focus."""

    released = QtCore.Signal()
    escaped = QtCore.Signal()

    def __init__(self) -> None:
        super().__init__(QtCore.Qt.Orientation.Horizontal)
        self.setFocusPolicy(QtCore.Qt.FocusPolicy.StrongFocus)
        self.setMinimumWidth(60)
        self._rest = QtCore.QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(RESTS)
        self._rest.timeout.connect(self.released)

    def stand(self, at: int) -> None:
        """Move without a word."""
        self.blockSignals(True)
        self.setValue(at)
        self.blockSignals(False)

    def wheelEvent(self, event: QtGui.QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
            self._rest.start()
        else:
            event.ignore()

    def mouseReleaseEvent(self, event: QtGui.QMouseEvent) -> None:
        super().mouseReleaseEvent(event)
        self.released.emit()

    def keyPressEvent(self, event: QtGui.QKeyEvent) -> None:
        if event.key() == QtCore.Qt.Key.Key_Escape:
            self.setSliderDown(False)
            self.escaped.emit()
        else:
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QtGui.QKeyEvent) -> None:
        super().keyReleaseEvent(event)
        if not event.isAutoRepeat():
            self.released.emit()


class Editor(QtWidgets.QWidget):
    """The value of a field as a box to choose from or a line to type into, and what is wrong with it below.

    What is being typed belongs to the person from the focus to Return, which settles it, or Escape, which takes it
    back; `put` does not touch it, and a text that is left unsettled stays, and says so. `typed` is emitted with the
    path and the text at every letter, `edited` when it is settled on.

    With `slides` a number that has limits gets a slider beside the line. The two agree: what is slid stands in the
    line, and is settled when the slider is let go; what is typed moves the slider.
    """

    typed = QtCore.Signal(str, str)
    edited = QtCore.Signal(str, str)

    def __init__(self, field: Field, default: str = "", unsettled: str = "", slides: bool = False) -> None:
        """`default` stands where there is no value; `unsettled` is said below a text that was left without Return."""
        super().__init__()
        self.field = field
        self._default, self._unsettled = default, unsettled
        words = f"{field.path}: {field.meaning}" + (f" ({field.unit})" if field.unit else "")
        choices = options(field)
        self._chooses = bool(choices)
        self.input = _Choice() if choices else Line()
        if choices:
            self.input.addItems([*([default] if default else []), *choices])
            self.input.setFocusPolicy(QtCore.Qt.FocusPolicy.StrongFocus)
            self.input.activated.connect(lambda *_: self.edited.emit(field.path, self.text()))
        else:
            self.input.setPlaceholderText(default)
            self.input.returnPressed.connect(self._settle)
            self.input.escaped.connect(self._take_back)
            self.input.editingFinished.connect(self._left)
            self.input.textEdited.connect(lambda *_: self._typed())
        self.input.setMinimumWidth(60)
        self.input.setAccessibleName(field.path)
        self.input.setAccessibleDescription(words + (f"; {field.range}" if field.range else ""))
        self.input.setToolTip(words)
        self.problem = paragraph("bad")
        self.problem.hide()
        self.slider: _Slider | None = None
        self._slid = False  # whether the slider was moved and is not settled
        line = filled(QtWidgets.QHBoxLayout(), (self.input, 1))
        if slides and not choices and isinstance(field.value, int | float) and None not in (field.low, field.high):
            self._add_slider(line)
        filled(QtWidgets.QVBoxLayout(self), line, self.problem, spacing=1)
        self._last = ""
        self.put(field.value)

    def _add_slider(self, line: QtWidgets.QHBoxLayout) -> None:
        low, high = self.field.low, self.field.high
        assert low is not None and high is not None
        self._stops = notches(low, high, isinstance(self.field.value, int))
        self.slider = _Slider()
        self.slider.setRange(0, len(self._stops) - 1)
        self.slider.setPageStep(max(1, len(self._stops) // 20))
        self.slider.setAccessibleName(f"{self.field.path}, slider")
        self.slider.setToolTip("Drag, or the arrow keys: sent when it is let go; Escape takes it back")
        self.slider.valueChanged.connect(self._slide)
        self.slider.released.connect(self._let_go)
        self.slider.escaped.connect(self._take_back)
        line.addWidget(self.slider, 1)

    def text(self) -> str:
        """What stands there, "" for the default of the base."""
        if self._chooses:
            return "" if self.input.currentText() == self._default else str(self.input.currentText())
        return str(self.input.text()).strip()

    @property
    def owned(self) -> bool:
        """Whether a person is at it."""
        return bool(self.input.view().isVisible() if self._chooses else self.input.owned or self._slid)

    def put(self, value: object) -> None:
        """Show a value, unless a person is at it: Escape then shows it."""
        before, self._last = self._last, shown(value)
        if self.owned:
            return
        if self._chooses:
            self.input.setCurrentIndex(max(0, self.input.findText(self._last or self._default)))
        elif self.input.text() != self._last:
            self.input.setText(self._last)
        self._follow()
        if before != self._last:
            self.fault("")

    def fault(self, text: str) -> None:
        """Say what is wrong, or nothing."""
        self.problem.setText(text)
        self.problem.setVisible(bool(text))

    def _typed(self) -> None:
        self.fault("")
        self._follow()
        self.typed.emit(self.field.path, self.text())

    def _follow(self) -> None:
        """Move the slider to the stop next to the number in the line."""
        if self.slider is not None:
            with contextlib.suppress(ValueError):
                self.slider.stand(int(np.argmin(np.abs(self._stops - float(self.text())))))

    def _slide(self, at: int) -> None:
        """What is typed and not settled gives way to what is slid."""
        value = self._stops[at].item()
        self._slid, self.input.owned = True, False
        self.input.setText(shown(round(value) if isinstance(self.field.value, int) else value))
        self.fault("")
        self.typed.emit(self.field.path, self.text())

    def _let_go(self) -> None:
        if self._slid:
            self._slid = False
            self._settle()

    def _settle(self) -> None:
        """Ask for what stands there. A text that is wrong stays with its owner, who can mend it or take it back."""
        if self.text() != self._last:
            self.edited.emit(self.field.path, self.text())
        wrong = not self.problem.isHidden()
        self.input.setModified(wrong)
        self.input.owned = wrong

    def _take_back(self) -> None:
        self._slid = False
        self.input.setText(self._last)
        self._typed()
        self.input.selectAll()

    def _left(self) -> None:
        """The focus went elsewhere, or Return was pressed, which `_settle` saw before."""
        if self._unsettled and self.input.isModified() and not self.problem.isVisible():
            self.fault(self._unsettled)
