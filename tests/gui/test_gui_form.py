"""The form of a job is made from its declaration, says what is wrong, and starts what it shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from l2sim.gui.base import fields
from l2sim.gui.window.jobform import JobForm
from pytestqt.qtbot import QtBot

from l2sim.errors import JobError
from l2sim.job import job as jobs


@pytest.fixture
def form(qtbot: QtBot) -> JobForm:
    form = JobForm()
    qtbot.addWidget(form)
    form.resize(1200, 800)
    form.show()
    form.edit("digits")
    return form


@pytest.mark.parametrize("preset", ("digits", "insitu-digits"))
def test_every_field_has_an_editor_with_its_meaning(form: JobForm, preset: str) -> None:
    form.edit(preset)
    declared = {field.path: field for field in jobs.describe(jobs.load(preset))}
    assert list(form.editors) == list(declared)
    for path, editor in form.editors.items():
        field = declared[path]
        assert field.meaning in editor.input.accessibleDescription()
        assert editor.text() == fields.shown(field.value)
        assert editor.input.accessibleName() == path


def type_in(form: JobForm, qtbot: QtBot, path: str, text: str) -> None:
    editor = form.editors[path]
    editor.input.clear()
    qtbot.keyClicks(editor.input, text)


def test_a_change_is_checked_and_sent(form: JobForm, qtbot: QtBot) -> None:
    type_in(form, qtbot, "learn.epochs", "5")
    type_in(form, qtbot, "map.snapshots", "[10, 20]")
    assert form.start.isEnabled() and "learn.epochs = 5" in form.summary.text()
    with qtbot.waitSignal(form.started) as caught:
        form.start.click()
    assert caught.args == ["digits", ["learn.epochs=5", "map.snapshots=[10, 20]"], [], "digits"]
    assert form.job == jobs.with_overrides(jobs.load("digits"), caught.args[1])


@pytest.mark.parametrize("path, text, words", (
    ("learn.batch", "0", "out of range"),
    ("learn.batch", "many", "use a whole number from 1"),
    ("nonidealities.crosstalk", "0.7", "0 to 0.2"),
    ("name", "a b", "cannot"),
))  # fmt: skip
def test_what_is_wrong_is_said_beside_the_field(form: JobForm, qtbot: QtBot, path: str, text: str, words: str) -> None:
    type_in(form, qtbot, path, text)
    assert words in form.editors[path].problem.text() and words in form.summary.text()
    assert not form.start.isEnabled()
    type_in(form, qtbot, path, {"name": "ab"}.get(path, "0.1" if "cross" in path else "2"))
    assert form.start.isEnabled() and not form.editors[path].problem.text()


def test_a_field_is_found_by_its_meaning(form: JobForm) -> None:
    form.find.setText("leaks neighbour")
    known = ["nonidealities.crosstalk", "calibrate.sheet.crosstalk"]
    assert [path for path, row in form.rows.items() if row[1].isVisibleTo(form)] == known


def test_a_job_is_saved_and_edited_again(form: JobForm, qtbot: QtBot, tmp_path: Path) -> None:
    type_in(form, qtbot, "seed", "9")
    path = form.save(tmp_path / "mine.toml")
    assert jobs.load(path) == form.job
    form.edit(path)
    assert form.editors["seed"].text() == "9" and form.changes == {}
    with pytest.raises(JobError):
        form.edit(tmp_path / "none.toml")
    assert form.source == str(path)


def test_a_trial_and_a_pace_are_passed_on(form: JobForm, qtbot: QtBot) -> None:
    form.smoke.setChecked(True)
    form.pace.setValue(20)
    with qtbot.waitSignal(form.started) as caught:
        form.start.click()
    assert caught.args == ["digits", [], ["--smoke", "--pace", "20"], "smoke"]
