"""What goes wrong on a bad day is one clear line in the window, and nothing is lost."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from l2sim.gui.base import files as export
from l2sim.gui.base import message
from l2sim.gui.window import dialogs
from l2sim.gui.window.window import Window
from pytestqt.qtbot import QtBot

from l2sim import files
from l2sim.job import job as jobs
from tests.tolerances import PATIENCE


@pytest.fixture
def copy(digits_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(digits_run, tmp_path / "runs" / "digits-5"))


@pytest.fixture
def opened(window: Window, copy: Path) -> Window:
    assert window.open(copy)
    window.tick(everything=True)
    return window


def said(window: Window) -> str:
    assert window.message.isVisible() and "\n" not in window.message.text.text()
    return str(window.message.text.text())


def test_a_folder_of_a_newer_format(window: Window, copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"version": 99}))
    assert not window.open(copy)
    assert "written by a newer l2sim (format 99)" in said(window)
    window.runs.look()
    assert window.runs.list.topLevelItem(0).text(1) == "unreadable"


def test_a_folder_that_is_no_run_and_a_damaged_one(window: Window, copy: Path, tmp_path: Path) -> None:
    assert not window.open(tmp_path)
    assert "is not a run folder" in said(window)
    (copy / "manifest.json").write_text("{")
    assert not window.open(copy)
    assert "is damaged" in said(window)


def test_a_run_folder_deleted_while_it_is_open(opened: Window, copy: Path, qtbot: QtBot) -> None:
    newest = opened.model.newest
    shutil.rmtree(copy)
    qtbot.waitUntil(lambda: opened.model.state == "deleted", timeout=PATIENCE)
    opened.tick(everything=True)
    assert "has been deleted" in said(opened)
    opened.selection.set(step=newest - 1)
    opened.repaint_theme("light")
    opened.tick(everything=True)
    opened.repaint_theme("dark")
    assert opened.model.newest == newest and opened.crashed == ""


def test_a_torn_tail_opens_with_what_lies_before(window: Window, copy: Path) -> None:
    for name in ("scalars.bin", "events.jsonl", "phase-0000.bin"):
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content[: len(content) * 2 // 3])
    assert window.open(copy)
    window.tick(everything=True)
    assert window.model.newest > 0


def test_attaching_where_no_job_runs(window: Window, copy: Path) -> None:
    assert not window.open(copy, attach=True)
    assert "no job runs in" in said(window) and "--attach" in said(window)


@pytest.mark.parametrize("number, words", ((errno.ENOSPC, "the disk is full"), (errno.EACCES, "no permission")))
def test_a_disk_that_refuses_an_export(
    opened: Window, tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "refused")

    kept = tmp_path / "curves.csv"
    kept.write_text("of before")
    monkeypatch.setattr(files.os, "fsync", refuse)
    dialog = dialogs.Export(opened)
    qtbot.addWidget(dialog)
    dialog.panel.setCurrentText("Curves")
    dialog.kind.setCurrentText("table (.csv)")
    dialog.path.put(str(kept))
    dialog.show()
    dialog.do.click()
    assert words in dialog.said.text() and dialog.isVisible()
    assert kept.read_text() == "of before"
    assert not list(tmp_path.glob("*.part"))


def test_a_disk_that_refuses_the_layout(opened: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(opened.kept, "write", refuse)
    opened.actions_["save"].trigger()
    assert "the layout cannot be kept: No space left on device" in said(opened)


def test_a_panel_that_fails_is_reported_and_the_window_goes_on(opened: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(changed: set[str]) -> None:
        raise ZeroDivisionError("by design")

    monkeypatch.setattr(opened.curves, "refresh", fail)
    for step in (1, 2, 3):
        opened.selection.set(step=step)
        opened.tick(everything=True)
    assert "ZeroDivisionError" in said(opened) and opened.message.offers == ["Show report"]
    assert "by design" in (opened.model.folder / "gui-crash.log").read_text()
    assert "step 3" in opened.timeline.state.text()
    opened.actions_["crash"].trigger()
    assert "clipboard" in said(opened)
    opened.crashed = ""


def test_a_crash_report_finds_a_place(tmp_path: Path) -> None:
    assert message.keep("text", tmp_path) == str(tmp_path / "gui-crash.log")
    assert Path(message.keep("text", tmp_path / "gone")).read_text() == "text"


def test_exports_are_what_is_shown(opened: Window, tmp_path: Path) -> None:
    opened.docks["Events"].raise_()
    opened.selection.set(step=10)
    opened.tick(everything=True)
    for panel in opened.panels:
        name = panel.title.lower()
        assert export.panel(panel, tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        export.panel(panel, tmp_path / f"{name}.svg")
        assert "<svg" in (tmp_path / f"{name}.svg").read_text()[:600]
        if panel.table() is not None:
            assert "," in export.panel(panel, tmp_path / f"{name}.csv").read_text()
    lines = (tmp_path / "curves.csv").read_text().splitlines()
    steps = sum(len(opened.model.scalar(t.name).steps) for plot in opened.curves.plots for t in plot.traces)
    assert len(lines) == 1 + steps
    for panel in opened.panels:
        for ending in ("png", "svg"):
            with pytest.raises(export.ExportError, match="there is no folder for it"):
                export.panel(panel, tmp_path / "no" / f"a.{ending}")
    with pytest.raises(export.ExportError, match=r"use \.png, \.svg or \.csv"):
        export.panel(opened.curves, tmp_path / "curves.gif")
    with pytest.raises(export.ExportError, match="no numbers"):
        export.panel(opened.timeline, tmp_path / "timeline.csv")


def test_all_numbers_of_a_step(opened: Window, tmp_path: Path) -> None:
    step = opened.model.newest - 2
    with np.load(export.state(opened.model, step, tmp_path / "state.npz")) as state:
        for name in ("fc1.u.phases", "fc1.v.phases", "fc1.sigma.commanded"):
            frame = opened.model.frame(name, step)
            assert np.array_equal(state[f"frame/{name}"], frame.values) and state[f"frame_step/{name}"] == frame.step
        assert state["steps/learn/loss"].max() <= step
        assert jobs.from_toml(str(state["job"])) == opened.model.job


def test_a_range_of_steps_as_pictures(opened: Window, tmp_path: Path, qtbot: QtBot) -> None:
    dialog = dialogs.Frames(opened)
    qtbot.addWidget(dialog)
    dialog.first.setValue(4)
    dialog.last.setValue(12)
    dialog.every.setValue(4)
    dialog.folder.put(str(tmp_path / "frames"))
    dialog.do.click()
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == ["frame-00000.png", "frame-00001.png", "frame-00002.png"]
    assert "3 pictures" in said(opened) and opened.selection.step is None
    assert len({path.read_bytes() for path in (tmp_path / "frames").iterdir()}) == 3
