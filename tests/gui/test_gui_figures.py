"""Figures for paper and films: what is written is what panels draw, on a light ground, of the size asked for."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from l2sim.gui.base import files
from l2sim.gui.window import dialogs, figures, films
from l2sim.gui.window.window import Window
from PIL import Image
from pyqtgraph.Qt import QtCore
from pytestqt.qtbot import QtBot

from tests.tolerances import PATIENCE


@pytest.mark.parametrize("title", ("Mesh", "Curves", "Matrix", "Distributions", "Blocks"))
def test_a_panel_becomes_a_figure_of_the_width_asked_for(opened: Window, tmp_path: Path, title: str) -> None:
    panel = next(panel for panel in opened.panels if panel.title == title)
    opened.docks[title].raise_() if title in opened.docks else None
    opened.tick(everything=True)
    png = figures.write(panel, tmp_path / "f.png", f"{title} of a test", width_mm=80.0, dpi=200)
    with Image.open(png) as image:
        assert image.width == round(80 / 25.4 * 200)
        assert image.info["dpi"][0] == pytest.approx(200, abs=1)
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    ground = (pixels.min(axis=1) > 235).mean()
    assert ground > 0.3 and len(np.unique(pixels, axis=0)) > 20  # a light ground, and something drawn on it
    pdf = figures.write(panel, tmp_path / "f.pdf", title, width_mm=80.0).read_bytes()
    box = re.search(rb"/MediaBox \[0 0 ([\d.]+)", pdf)
    assert box is not None and float(box.group(1)) == pytest.approx(80 / 25.4 * 72, abs=1.5)
    svg = figures.write(panel, tmp_path / "f.svg", title, width_mm=80.0).read_text()
    assert 'width="80mm"' in svg and "viewBox" in svg


def test_the_window_keeps_its_theme_and_bad_endings_are_refused(opened: Window, tmp_path: Path) -> None:
    opened.tick(everything=True)
    before = opened.mesh.canvas.grab().toImage()
    figures.write(opened.mesh, tmp_path / "f.png", "mesh")
    assert opened.mesh.canvas.grab().toImage() == before
    with pytest.raises(files.ExportError, match=r"use \.pdf, \.svg, \.png"):
        figures.write(opened.mesh, tmp_path / "f.jpg", "mesh")


def test_the_dialog_writes_a_figure(opened: Window, qtbot: QtBot, tmp_path: Path) -> None:
    opened.actions_["export"].trigger()
    dialog = opened.findChild(dialogs.Export)
    dialog.path.put(str(tmp_path / "mesh.pdf"))
    qtbot.mouseClick(dialog.do, QtCore.Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: (tmp_path / "mesh.pdf").exists(), timeout=PATIENCE)
    assert (tmp_path / "mesh.pdf").read_bytes().startswith(b"%PDF")


def test_steps_become_an_animation(opened: Window, qtbot: QtBot, tmp_path: Path) -> None:
    opened.actions_["frames"].trigger()
    dialog = opened.findChild(dialogs.Frames)
    dialog.what.setCurrentText("Mesh")
    dialog.every.setValue(max(1, opened.model.newest // 3))
    dialog.kind.setCurrentText("animation (.gif)")
    dialog.folder.put(str(tmp_path / "steps"))
    qtbot.mouseClick(dialog.do, QtCore.Qt.MouseButton.LeftButton)
    with Image.open(tmp_path / "steps" / "steps.gif") as image:
        times = []
        for number in range(image.n_frames):
            image.seek(number)
            times.append(image.info["duration"])
    pictures = list((tmp_path / "steps").glob("frame-*.png"))
    assert len(times) >= 2 and sum(times) == 100 * len(pictures)  # pictures alike are one, shown longer


def test_a_film_needs_its_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (5, 5)).save(tmp_path / "a.png")
    monkeypatch.setattr(films, "encoder", lambda: None)
    with pytest.raises(files.ExportError, match="needs the program ffmpeg"):
        films.write([tmp_path / "a.png"], tmp_path / "a.mp4", 10)
    with pytest.raises(files.ExportError, match="no picture"):
        films.write([], tmp_path / "a.gif", 10)
