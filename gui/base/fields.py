"""An editor for one field of a job, made from its declaration: its value, unit, range and meaning."""

from __future__ import annotations

from pyqtgraph.Qt import QtCore, QtWidgets

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


class Editor(QtWidgets.QWidget):
    """The value of a field as a box to choose from or a line to type into, and what is wrong with it below.

    `edited` is emitted with the path and the text that was settled on.
    """

    edited = QtCore.Signal(str, str)

    def __init__(self, field: Field, default: str = "") -> None:
        super().__init__()
        self.field = field
        self._default = default
        words = f"{field.path}: {field.meaning}" + (f" ({field.unit})" if field.unit else "")
        choices = options(field)
        self._chooses = bool(choices)
        self.input = QtWidgets.QComboBox() if choices else QtWidgets.QLineEdit()
        if choices:
            self.input.addItems([*([default] if default else []), *choices])
            self.input.activated.connect(lambda *_: self.edited.emit(field.path, self.text()))
        else:
            self.input.setPlaceholderText(default)
            self.input.editingFinished.connect(self._settled)
            self.input.textEdited.connect(lambda *_: self.fault(""))
        self.input.setMinimumWidth(60)
        self.input.setAccessibleName(field.path)
        self.input.setAccessibleDescription(words + (f"; {field.range}" if field.range else ""))
        self.input.setToolTip(words)
        self.problem = paragraph("bad")
        self.problem.hide()
        filled(QtWidgets.QVBoxLayout(self), self.input, self.problem, spacing=1)
        self.put(field.value)

    def text(self) -> str:
        """What stands there, "" for the default of the base."""
        if self._chooses:
            return "" if self.input.currentText() == self._default else str(self.input.currentText())
        return str(self.input.text()).strip()

    def put(self, value: object) -> None:
        """Show a value; what is being typed stays."""
        text = shown(value)
        if self._chooses:
            self.input.setCurrentIndex(max(0, self.input.findText(text or self._default)))
        elif not (self.input.hasFocus() and self.input.isModified()):
            self.input.setText(text)
        self._last = text

    def fault(self, text: str) -> None:
        """Say what is wrong, or nothing."""
        self.problem.setText(text)
        self.problem.setVisible(bool(text))

    def _settled(self) -> None:
        self.input.setModified(False)
        if self.text() != self._last:
            self._last = self.text()
            self.edited.emit(self.field.path, self.text())
