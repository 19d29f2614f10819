"""A form made from the declaration of `Job`: every field with its meaning, unit and range; checks it and starts it."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from pyqtgraph.Qt import QtCore, QtWidgets

from l2sim.errors import JobError, L2simError
from l2sim.job import job as jobs
from l2sim.job.presets import PRESETS

from ..base import fields, theme
from ..base import files as export
from ..base.widgets import copied, filled, has_words, paragraph, scrolling, search_box

_SECTIONS = {
    "": "The job",
    "model": "Network",
    "data": "Data",
    "nonidealities": "Chip: what is not ideal",
    "chip": "Chip: layout and readout",
    "insitu": "Meshes",
    "pretrain": "Stage: pretrain",
    "calibrate": "Stage: calibrate",
    "calibrate.sheet": "Chip: what is believed of it",
    "map": "Stage: map",
    "learn": "Stage: learn",
    "upkeep": "Stage: upkeep",
}


class JobForm(QtWidgets.QWidget):
    """Edits a preset or job file. `started` carries (source, settings, more arguments, name); `closed` nothing."""

    started = QtCore.Signal(str, list, list, str)
    closed = QtCore.Signal()

    def __init__(self) -> None:
        super().__init__()
        self.source = "digits"
        self.changes: dict[str, str] = {}
        self.job = jobs.load(self.source)
        self.editors: dict[str, fields.Editor] = {}
        self.rows: dict[str, list[QtWidgets.QWidget]] = {}

        self.choice = QtWidgets.QComboBox()
        self.choice.addItems(list(PRESETS))
        self.choice.setAccessibleName("Preset to start from")
        self.choice.activated.connect(lambda *_: self.edit(self.choice.currentText()))
        self.about = paragraph("faint")
        self.find = search_box("Find a field or its meaning", "Find a field")
        self.find.textChanged.connect(lambda *_: self._filter())
        self.sections: QtWidgets.QListWidget = copied(QtWidgets.QListWidget())
        self.sections.setMaximumWidth(210)
        self.sections.setAccessibleName("Sections of the job")
        self.sections.currentRowChanged.connect(lambda *_: self._filter())
        self.area = scrolling()
        self.summary = paragraph("", name="Whether the job can be run")
        self.summary.setTextInteractionFlags(QtCore.Qt.TextInteractionFlag.TextSelectableByMouse)
        self.smoke = QtWidgets.QCheckBox("only a trial of a few seconds")
        self.smoke.setToolTip("l2sim run --smoke: synthetic data, one or two epochs of every stage")
        self.pace = QtWidgets.QSpinBox()
        self.pace.setRange(0, 100_000)
        self.pace.setSpecialValueText("as fast as it goes")
        self.pace.setSuffix(" steps/s at most")
        self.pace.setAccessibleName("Pace")
        self.pace.setToolTip("Slow the run down for watching (--pace)")
        self.start = theme.mark(QtWidgets.QPushButton("Start"), "main")
        self.start.setAccessibleDescription("Start the job in a process of its own")
        self.start.clicked.connect(self._start)
        self._build()

    def _build(self) -> None:
        title = theme.mark(QtWidgets.QLabel("A new job"), "heading")
        top = filled(QtWidgets.QHBoxLayout(), title, 1, QtWidgets.QLabel("starting from"), self.choice)
        middle = filled(QtWidgets.QHBoxLayout(), self.sections, (self.area, 1))
        save, back = QtWidgets.QPushButton("Save as job file…"), QtWidgets.QPushButton("Back")
        save.clicked.connect(self._save)
        back.clicked.connect(self.closed)
        bottom = filled(QtWidgets.QHBoxLayout(), back, save, 1, self.smoke, self.pace, self.start)
        members = top, self.about, self.find, (middle, 1), self.summary, bottom
        filled(QtWidgets.QVBoxLayout(self), *members, margins=(28, 20, 28, 16))

    def edit(self, source: str | Path) -> None:
        """Start from another preset or job file. JobError where it is none; the form then stays as it was."""
        job = jobs.load(source)
        self.source, self.changes, self.job = str(source), {}, job
        at = self.choice.findText(self.source)
        if at < 0:
            self.choice.insertItem(0, self.source)
            at = 0
        self.choice.setCurrentIndex(at)
        preset = PRESETS.get(self.source)
        self.about.setText(
            f"{preset.about}. Settings from {preset.source}." if preset else f"The job in {self.source}."
        )
        self._fill()

    def settings(self) -> list[str]:
        """The changes as `path=value`, for `l2sim run --set`."""
        return [f"{path}={text}" for path, text in self.changes.items()]

    def _fill(self) -> None:
        """Make the rows anew: which sections there are depends on the flow."""
        was = max(0, self.sections.currentRow())
        self.editors, self.rows = {}, {}
        inside = QtWidgets.QWidget()
        grid = QtWidgets.QGridLayout(inside)
        grid.setColumnStretch(2, 1)
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(9)
        self.sections.blockSignals(True)
        self.sections.clear()
        row = 0
        defaults = {field.path: field.value for field in jobs.describe(jobs.load(self.source))}
        for section, members in groupby(jobs.describe(self.job), lambda field: field.path.rpartition(".")[0]):
            item = QtWidgets.QListWidgetItem(_SECTIONS.get(section, section))
            item.setData(QtCore.Qt.ItemDataRole.UserRole, section)
            self.sections.addItem(item)
            for field in members:
                base = fields.from_base(self.job, field.path)
                editor = fields.Editor(field, base)
                editor.setFixedWidth(240)
                editor.typed.connect(self._changed)
                editor.edited.connect(self._changed)
                name = QtWidgets.QLabel(field.path.rpartition(".")[2].replace("_", " "))
                name.setToolTip(field.path)
                default = fields.shown(defaults.get(field.path))
                words = QtWidgets.QLabel(
                    f"{field.meaning}<br><span style='color:{theme.now().faint}'>{_limits(field)}</span>"
                )
                words.setWordWrap(True)
                words.setToolTip(f"{self.source} has {default or base}")
                for column, widget in enumerate((name, editor, words)):
                    grid.addWidget(widget, row, column, QtCore.Qt.AlignmentFlag.AlignTop)
                self.editors[field.path] = editor
                self.rows[field.path] = [name, editor, words]
                row += 1
        grid.setRowStretch(row, 1)
        self.area.setWidget(inside)
        self.sections.setCurrentRow(min(was, self.sections.count() - 1))
        self.sections.blockSignals(False)
        self._filter()
        self._say()

    def _filter(self) -> None:
        sought = self.find.text().strip()
        item = self.sections.currentItem()
        section = item.data(QtCore.Qt.ItemDataRole.UserRole) if item else ""
        for path, widgets in self.rows.items():
            field = self.editors[path].field
            text = f"{path} {field.meaning} {field.unit}"
            fits = has_words(text, sought) if sought else path.rpartition(".")[0] == section
            for widget in widgets:
                widget.setVisible(fits)
        self.sections.setEnabled(not sought)

    def _changed(self, path: str, text: str) -> None:
        before = self.job.flow
        if text:
            self.changes[path] = text
        else:
            self.changes.pop(path, None)
        try:
            self.job = jobs.with_overrides(jobs.load(self.source), self.settings())
        except JobError as error:
            self._say(str(error), path)
            return
        if (path == "flow" and self.job.flow != before) or path == "nonidealities.base":
            self._fill()
        self._say()

    def _say(self, error: str = "", path: str = "") -> None:
        for name, editor in self.editors.items():
            editor.fault(error if error.startswith(name) or (error and name == path) else "")
        defaults = {field.path: fields.shown(field.value) for field in jobs.describe(jobs.load(self.source))}
        for name, widgets in self.rows.items():
            font = widgets[0].font()
            font.setBold(name in self.changes and self.changes[name] != defaults.get(name))
            widgets[0].setFont(font)
        self.start.setEnabled(not error)
        changes = ", ".join(f"{name} = {text}" for name, text in self.changes.items())
        theme.mark(self.summary, "bad" if error else "faint")
        valid = f"Changed: {changes}" if changes else "Nothing changed."
        self.summary.setText(f"Cannot be run: {error}" if error else valid)

    def _start(self) -> None:
        more = [*(["--smoke"] if self.smoke.isChecked() else [])]
        more += ["--pace", str(self.pace.value())] if self.pace.value() else []
        name = "smoke" if self.smoke.isChecked() and "name" not in self.changes else self.job.name
        self.started.emit(self.source, self.settings(), more, name)

    def _save(self) -> None:
        chosen, _ = QtWidgets.QFileDialog.getSaveFileName(
            self, "Save the job", f"{self.job.name}.toml", "Jobs (*.toml)"
        )
        if chosen:
            try:
                self.summary.setText(f"Saved: {self.save(Path(chosen))}")
            except L2simError as error:
                theme.mark(self.summary, "bad")
                self.summary.setText(str(error))

    def save(self, path: Path) -> Path:
        """Write the job as TOML with every setting."""
        return export.write(path, jobs.to_toml(self.job).encode())


def _limits(field: jobs.Field) -> str:
    limits = field.range if not fields.options(field) else ""
    return " · ".join(word for word in (limits, field.unit) if word)
