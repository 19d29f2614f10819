"""The chip's parameters while the run goes on: checked here, sent to the job, pending until it has answered."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.errors import JobError
from l2sim.inspect import findings
from l2sim.job import job as jobs

from ..base import fields, theme
from ..base.files import Table
from ..base.panel import Panel
from ..base.widgets import filled, has_words, paragraph, scrolling, search_box

if TYPE_CHECKING:
    from ..base.model import Parameter, RunModel, Selection

_WHEN = {
    "live": ("live", "takes effect with the next step"),
    "next epoch": ("next epoch", "takes effect when the next epoch begins"),
    "restart": ("restart", "cannot change while the run goes on: start a new job with it"),
}
_CHIP = ("nonidealities.", "chip.")
_SECTIONS = ("nonidealities", "chip", "insitu", "learn", "upkeep", "map", "calibrate")


def _order(path: str) -> int:
    section = path.rpartition(".")[0]
    return _SECTIONS.index(section) if section in _SECTIONS else len(_SECTIONS)


class _Set(QtGui.QUndoCommand):
    """One change of one parameter; undoing it orders the old value. Nothing happens where the job refused it."""

    def __init__(self, panel: Hardware, path: str, old: object, new: object) -> None:
        super().__init__(f"{path} = {fields.shown(new)}")
        self.panel, self.path, self.old, self.new = panel, path, old, new
        self.refused = False

    def redo(self) -> None:
        if not self.refused:
            self.panel.order(self.path, self.new, self)

    def undo(self) -> None:
        if not self.refused:
            self.panel.order(self.path, self.old, self)


class Row:
    """One parameter: its name and when it takes effect, its editor with unit and limits, what the job said."""

    def __init__(self, panel: Hardware, parameter: Parameter, field: jobs.Field, base: str) -> None:
        self.parameter = parameter
        slides = parameter.when != "restart"
        self.editor = fields.Editor(field, base, "not sent: Return sends it, Escape takes it back", slides)
        self.editor.typed.connect(panel.check)
        self.editor.edited.connect(panel.ask)
        self.name = QtWidgets.QLabel(field.path.rpartition(".")[2].replace("_", " "))
        self.name.setToolTip(f"{field.path}: {field.meaning}")
        limits = field.range if not fields.options(field) else ""
        self._words = [word for word in (limits, field.unit) if word]
        self.unit = paragraph("faint", name=f"{field.path}: limits, unit, and what the preset gives")
        tag, words = _WHEN.get(parameter.when, (parameter.when, ""))
        self.when = theme.mark(QtWidgets.QLabel(tag), "faint")
        self.when.setToolTip(words)
        self.said = paragraph("", name=f"{field.path}: what the job said")

    def tell_base(self, job: jobs.Job) -> None:
        """Say what the preset gives: "8, from l2ight-2021" is in force, "8 in l2ight-2021" was replaced."""
        path = self.parameter.path
        base = fields.from_base(job, path)
        set_apart = base and jobs.value(job, path) is not None
        words = [*self._words, base.replace(", from ", " in ") if set_apart else base]
        self.unit.setText(" · ".join(word for word in words if word))

    def widgets(self) -> tuple[QtWidgets.QWidget, ...]:
        """Name and editor, unit and time of effect below them, and the answer below these."""
        return self.name, self.editor, self.unit, self.when, self.said


class Hardware(Panel):
    """Every parameter of the run with its limits and when it takes effect; pending until acknowledged, with undo."""

    what = (
        "Joules and time on the chips up to the step on show, by the job's device table, and the parameters of "
        "the chip, which can be changed while a job runs."
    )
    every = 0.2

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.stack = QtGui.QUndoStack(self)
        self.rows: dict[str, Row] = {}
        self._waiting: dict[int, tuple[str, object, _Set]] = {}
        self._said: dict[str, str] = {}
        self.find = search_box("Find a parameter")
        self.find.textChanged.connect(lambda *_: self._fill())
        self.fixed = QtWidgets.QCheckBox("all")
        self.fixed.setToolTip("Show every field of the job, not only the chip's and those that can change")
        self.fixed.toggled.connect(lambda *_: self._fill())
        self.note = paragraph("faint", margins=(8, 0, 8, 0))
        self.spent = paragraph("", name="Energy and time on the chips so far", margins=(8, 0, 8, 0))
        self.area = scrolling()
        self.area.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        head = filled(QtWidgets.QHBoxLayout(), self.find, self.fixed, margins=(6, 4, 6, 0))
        filled(QtWidgets.QVBoxLayout(self), head, self.spent, self.note, (self.area, 1))

    # -- what the window calls

    def show_run(self, model: RunModel | None, reference: RunModel | None = None) -> None:
        """Show the parameters of another run; the changes of the one before cannot be undone any more."""
        if model is not self.model:
            self.stack.clear()
            self._waiting, self._said = {}, {}
        super().show_run(model, reference)
        self.spent.hide()
        self._fill()

    def refresh(self, changed: set[str]) -> None:
        """Show the values in force, and what the job has answered."""
        if self.model is None:
            return
        if self._waiting:
            self._answers()
        if changed & {"scalars", "step", "parameters", "all"}:
            self._bill()
        if "theme" in changed:
            self._fill()
        elif changed & {"parameters", "state", "all"}:
            for parameter in self.model.parameters:
                row = self.rows.get(parameter.path)
                if row is None:
                    continue
                row.parameter = parameter
                row.tell_base(self.model.job)
                if not any(path == parameter.path for path, _, _ in self._waiting.values()):
                    row.editor.put(parameter.value)
            self._enable()

    @property
    def waits(self) -> bool:
        """Whether an answer is still due, so that the window must look again."""
        return bool(self._waiting)

    def table(self) -> Table:
        """Every field of the job, its value, and what the job said to it."""
        heads = ["parameter", "value", "unit", "takes effect", "said"]
        return heads, [
            (known.path, fields.shown(known.value), known.unit, known.when, self._said.get(known.path, ""))
            for known in (self.model.parameters if self.model else [])
        ]

    # -- what it does

    def check(self, path: str, text: str) -> jobs.Job | None:
        """The job with what was typed, which is said to be wrong where it is; None for that."""
        self.rows[path].said.setText(self._said.get(path, ""))
        if self.model is None or not text:
            return None
        try:
            return jobs.with_overrides(self.model.job, [f"{path}={text}"])
        except JobError as error:
            self.rows[path].editor.fault(str(error))
            return None

    def ask(self, path: str, text: str) -> None:
        """Take what was settled on: order it where it is right. The text of a wrong one stays, with what is wrong."""
        row = self.rows[path]
        before = row.parameter.value
        if not text:
            row.editor.put(before)
        changed = self.check(path, text)
        if changed is None:
            row.said.setText("not sent" if text else "")
            return
        value = next(field.value for field in jobs.describe(changed) if field.path == path)
        if value != before:
            self.stack.push(_Set(self, path, before, value))

    def order(self, path: str, value: object, command: _Set) -> None:
        """Send a value to the job; the row says that it is pending."""
        if self.model is None:
            return
        plain = list(value) if isinstance(value, tuple) else value
        number = self.model.order("set", path=path, value=plain)
        self._waiting[number] = (path, value, command)
        if path in self.rows:
            self.rows[path].editor.put(value)
        self._tell(path, "pending…", "")

    def _bill(self) -> None:
        """Joules and chip time up to the step on show, where the run knows them."""
        assert self.model is not None
        stages = self.model.spent(self.selection.at)
        self.spent.setVisible(bool(stages))
        if stages:
            self.spent.setText(f"{findings.bill(stages)} so far, by table {self.model.job.cost.table} · estimated")
            each = [f"{stage}: {findings.bill({stage: spent})}" for stage, spent in stages.items()]
            self.spent.setToolTip("\n".join(each))

    def _answers(self) -> None:
        assert self.model is not None
        for number in [number for number in self._waiting if number in self.model.acks]:
            path, value, command = self._waiting.pop(number)
            answer = self.model.acks[number]
            if answer.ok:
                self._tell(path, f"{fields.shown(value)} since step {answer.applied_at_step:,}", "")
            else:
                command.refused = True
                if path in self.rows:
                    self.rows[path].editor.put(self.rows[path].parameter.value)
                self._tell(path, "refused", answer.error or "the job refused it")

    def _tell(self, path: str, said: str, fault: str) -> None:
        self._said[path] = said
        if path in self.rows:
            self.rows[path].said.setText(said)
            self.rows[path].editor.fault(fault)

    def _fill(self) -> None:
        """Make the rows that are to be seen: all fields of a job are a hundred, and widgets are slow to make."""
        self.rows = {}
        inside = QtWidgets.QWidget()
        grid = QtWidgets.QGridLayout(inside)
        grid.setContentsMargins(8, 4, 8, 8)
        grid.setHorizontalSpacing(10)
        grid.setVerticalSpacing(2)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 2)
        if self.model is not None:
            at = 0
            known = {field.path: field for field in jobs.describe(self.model.job)}
            first = sorted(filter(self._fits, self.model.parameters), key=lambda p: _order(p.path))  # stable
            for section, members in groupby(first, lambda p: p.path.rpartition(".")[0]):
                grid.addWidget(theme.mark(QtWidgets.QLabel(section or "job"), "part"), at, 0, 1, 2)
                at += 1
                for parameter in members:
                    base = fields.from_base(self.model.job, parameter.path)
                    row = Row(self, parameter, known[parameter.path]._replace(value=parameter.value), base)
                    row.said.setText(self._said.get(parameter.path, ""))
                    row.tell_base(self.model.job)
                    for widget, down, right in zip(row.widgets(), (0, 0, 1, 1, 2), (0, 1, 1, 0, 1)):
                        grid.addWidget(widget, at + down, right, QtCore.Qt.AlignmentFlag.AlignTop)
                    self.rows[parameter.path] = row
                    at += 3
            grid.setRowStretch(at, 1)
        self.area.setWidget(inside)
        self._enable()

    def _fits(self, parameter: Parameter) -> bool:
        """Whether a parameter is to be seen: found, of the chip, or one that can change while the run goes on."""
        sought = self.find.text().strip()
        usual = parameter.when != "restart" or parameter.path.startswith(_CHIP)
        return has_words(f"{parameter.path} {parameter.meaning}", sought) and bool(
            self.fixed.isChecked() or sought or usual
        )

    def _enable(self) -> None:
        live = bool(self.model and self.model.live)
        for row in self.rows.values():
            row.editor.setEnabled(live and row.parameter.when != "restart")
        if self.model is None:
            self.note.setText("No run is open.")
        elif live:
            self.note.setText("A change is checked, sent, and pending until the job says at which step it took effect.")
        else:
            self.note.setText("The run is recorded, so these cannot change: start a new job with other values.")
