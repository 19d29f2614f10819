"""An editor for one field of a job, made from its declaration: its value, unit, range and meaning."""

from __future__ import annotations

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.job.job import Field

from .widgets import filled, paragraph


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


class _Choice(QtWidgets.QComboBox):
    """A box to choose from that leaves the wheel to the page it is on until it has the focus."""

    def wheelEvent(self, event: QtGui.QWheelEvent) -> None:
        super().wheelEvent(event) if self.hasFocus() else event.ignore()


class _Line(QtWidgets.QLineEdit):
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


class Editor(QtWidgets.QWidget):
    """The value of a field as a box to choose from or a line to type into, and what is wrong with it below.

    What is being typed belongs to the person from the focus to Return, which settles it, or Escape, which takes it
    back; `put` does not touch it, and a text that is left unsettled stays, and says so. `typed` is emitted with the
    path and the text at every letter, `edited` when it is settled on.
    """

    typed = QtCore.Signal(str, str)
    edited = QtCore.Signal(str, str)

    def __init__(self, field: Field, default: str = "", unsettled: str = "") -> None:
        """`default` stands where there is no value; `unsettled` is said below a text that was left without Return."""
        super().__init__()
        self.field = field
        self._default, self._unsettled = default, unsettled
        words = f"{field.path}: {field.meaning}" + (f" ({field.unit})" if field.unit else "")
        choices = options(field)
        self._chooses = bool(choices)
        self.input = _Choice() if choices else _Line()
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
        filled(QtWidgets.QVBoxLayout(self), self.input, self.problem, spacing=1)
        self._last = ""
        self.put(field.value)

    def text(self) -> str:
        """What stands there, "" for the default of the base."""
        if self._chooses:
            return "" if self.input.currentText() == self._default else str(self.input.currentText())
        return str(self.input.text()).strip()

    @property
    def owned(self) -> bool:
        """Whether a person is at it."""
        return bool(self.input.view().isVisible() if self._chooses else self.input.owned)

    def put(self, value: object) -> None:
        """Show a value, unless a person is at it: Escape then shows it."""
        before, self._last = self._last, shown(value)
        if self.owned:
            return
        if self._chooses:
            self.input.setCurrentIndex(max(0, self.input.findText(self._last or self._default)))
        elif self.input.text() != self._last:
            self.input.setText(self._last)
        if before != self._last:
            self.fault("")

    def fault(self, text: str) -> None:
        """Say what is wrong, or nothing."""
        self.problem.setText(text)
        self.problem.setVisible(bool(text))

    def _typed(self) -> None:
        self.fault("")
        self.typed.emit(self.field.path, self.text())

    def _settle(self) -> None:
        self.input.setModified(False)
        if self.text() != self._last:
            self.edited.emit(self.field.path, self.text())

    def _take_back(self) -> None:
        self.input.setText(self._last)
        self._typed()
        self.input.selectAll()

    def _left(self) -> None:
        """The focus went elsewhere, or Return was pressed, which `_settle` saw before."""
        if self._unsettled and self.input.isModified() and not self.problem.isVisible():
            self.fault(self._unsettled)
