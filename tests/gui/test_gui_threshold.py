"""A threshold on the mesh: smaller values are dimmed, larger ones counted and stepped through by size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from l2sim.gui.base import theme
from l2sim.gui.base.model import Phases
from l2sim.gui.mesh import colours
from l2sim.gui.mesh.values import DIFFERENCE, POWER, STAGE, THETA
from l2sim.gui.mesh.view import MeshView
from l2sim.gui.window.window import Window
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets
from pytestqt.qtbot import QtBot

from l2sim.backend import Array
from tests.doubles_gui import FakeModel
from tests.gui.test_gui_mesh import shown

Key, Left = QtCore.Qt.Key, QtCore.Qt.MouseButton.LeftButton


class Moved(FakeModel):
    """Only some phases moved: MZI i of V* by -i / 10 while i < 4, MZI 5 of U by 0.05."""

    def phases(self, layer: str, block: int, side: str, step: int | None = None) -> Phases:
        phases: dict[str, Any] = dict(super().phases(layer, block, side, 1))
        if "theta" in phases and (step or self.newest) > 100:
            moved = np.zeros(len(phases["theta"]))
            moved[:4] = -np.arange(4) / 10 if side != "u" else 0.0
            moved[5] = 0.05 * (side == "u")
            phases["theta"] = phases["theta"] + moved
        return phases | {"step": step or self.newest}


def view_of(qtbot: QtBot, model: FakeModel, size: tuple[int, int] = (900, 620)) -> MeshView:
    view = shown(qtbot, model, size, step=model.newest)
    view.chosen[DIFFERENCE] = STAGE
    view.colour(DIFFERENCE)
    view.activateWindow()
    return view


def put(qtbot: QtBot, view: MeshView, text: str) -> None:
    """Type a threshold."""
    qtbot.mouseClick(next(b for b in view.findChildren(QtWidgets.QToolButton) if b.text() == "≥"), Left)
    assert view.threshold.isVisible()
    qtbot.keyClicks(view.threshold.line, text)
    qtbot.keyClick(view.threshold.line, Key.Key_Return)


def bright(view: MeshView, side: str, kind: str = "theta") -> Array:
    """How far the colours of a part are from the canvas."""
    assert view.canvas.scene is not None
    mesh = view.canvas.scene.mesh(side)
    assert mesh is not None
    first, count = mesh.colour(kind)
    shown_ = view.canvas.palette_[first : first + count]
    ground = colours.CANVAS[theme.now().name]
    return sum(np.abs((shown_ >> s & 0xFF).astype(int) - (ground >> s & 0xFF)) for s in (0, 8, 16))


def pixels(view: MeshView, side: str) -> list[int]:
    """The colour that is most of what is drawn of every MZI's theta."""
    QtWidgets.QApplication.processEvents()
    image, pick, scene = view.canvas.image(), view.canvas.raster().pick, view.canvas.scene
    assert scene is not None
    first, count = scene.mesh(side).colour("theta")
    return [int(np.median(image[pick == first + i])) for i in range(min(count, 12))]


@pytest.mark.parametrize("name", ("dark", "light"))
@pytest.mark.parametrize("mesh", (0, 64))
def test_what_is_smaller_is_dimmed_and_what_is_not_is_counted(qtbot: QtBot, name: str, mesh: int) -> None:
    before = theme.now().name
    theme.use(name)
    try:
        view = view_of(qtbot, Moved(mesh=mesh))
        side = "" if mesh else "v"
        assert view.canvas.detailed == (not mesh)
        plain = bright(view, side)
        view.threshold.ask()
        before_put = pixels(view, side)
        put(qtbot, view, "0.15")
        total = 64 * 64 if mesh else 72
        assert view.threshold.said.text().startswith(f"2 of {total:,} pass")
        now = bright(view, side)
        assert (now[[2, 3]] == plain[[2, 3]]).all()
        assert (now[4:] < 0.5 * plain[4:]).all() and now[1] < 0.5 * plain[1]
        drawn = pixels(view, side)
        assert drawn[3] == before_put[3] and drawn[9] != before_put[9]
        assert view.legend.least == 0.15
        qtbot.keyClick(view.canvas, Key.Key_Escape)
        assert not view.threshold.isVisible() and (bright(view, side) == plain).all()
        assert view.legend.least == -np.inf
        assert pixels(view, side) == before_put
    finally:
        theme.use(before)


def test_those_that_pass_are_stepped_through_by_size(qtbot: QtBot) -> None:
    view = view_of(qtbot, Moved())
    put(qtbot, view, "0.04")
    assert view.threshold.said.text().startswith("4 of 72 pass")
    seen = []
    for _ in range(5):
        view.threshold.step(1)
        seen.append((view.selection.side, view.selection.element))
    assert seen == [("v", 3), ("v", 2), ("v", 1), ("u", 5), ("v", 3)]
    assert view.threshold.said.text().startswith("1 of 4 of 72: -0.3 rad, V* θ of MZI 3 (column 0")
    assert view.canvas.selected == ("v", 3) and view.canvas.worst == ("v", "theta", 3, "1 of 4")
    qtbot.mouseClick(next(b for b in view.threshold.findChildren(QtWidgets.QToolButton) if b.text() == "◂"), Left)
    assert (view.selection.side, view.selection.element) == ("u", 5)


def test_a_word_that_is_no_number_stays_with_its_owner(qtbot: QtBot) -> None:
    view = view_of(qtbot, Moved())
    put(qtbot, view, "a lot")
    assert view.threshold.said.text() == "a lot is no number of rad" and not view.threshold.active
    view.selection.set(step=150)
    assert view.threshold.line.text() == "a lot" and view.threshold.line.owned
    qtbot.keyClick(view.threshold.line, Key.Key_Escape)
    assert view.threshold.line.text() == "" and not view.threshold.isVisible()


def test_a_threshold_goes_with_its_unit(qtbot: QtBot) -> None:
    view = view_of(qtbot, Moved(mesh=8))
    put(qtbot, view, "0.15")
    view.colour(THETA)
    assert view.threshold.active  # rad too
    view.colour(POWER)
    assert not view.threshold.active and not view.threshold.isVisible()
    put(qtbot, view, "-3")
    assert "of 28 pass" in view.threshold.said.text()
    view.threshold.step(1)
    assert "0 dB of the input at most, MZI" in view.threshold.said.text()
    view.show_run(FakeModel())  # type: ignore[arg-type]
    assert not view.threshold.active


def test_what_is_no_number_is_hatched_and_does_not_pass(qtbot: QtBot) -> None:
    class Lost(Moved):
        def phases(self, layer: str, block: int, side: str, step: int | None = None) -> Phases:
            phases: dict[str, Any] = dict(super().phases(layer, block, side, step))
            if side == "v":
                phases["theta"][3] = np.nan
            return phases

    view = view_of(qtbot, Lost())
    put(qtbot, view, "0.15")
    assert view.threshold.said.text().startswith("1 of 71 pass")
    assert view.canvas.scene is not None
    first = view.canvas.scene.mesh("v").colour("theta")[0]
    assert view.canvas.palette_[first + 3] == colours.MARKED


def test_numbers_of_what_is_smaller_are_faint(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    view = view_of(qtbot, Moved(), (3000, 1000))
    put(qtbot, view, "0.25")
    written: dict[str, set[str]] = {}
    draw = QtGui.QPainter.drawText

    def drawn(painter: QtGui.QPainter, *given: Any) -> Any:
        written.setdefault(str(given[-1]), set()).add(painter.pen().color().name())
        return draw(painter, *given)

    monkeypatch.setattr(QtGui.QPainter, "drawText", drawn)
    view.canvas.grab()
    assert written["-0.20"] == {theme.now().line} and written["-0.30"] == {theme.now().text}


def test_keys_of_the_window_put_step_and_clear_it_with_lab_eyes_too(opened: Window, qtbot: QtBot) -> None:
    qtbot.keyClick(opened, Key.Key_L, QtCore.Qt.KeyboardModifier.ControlModifier)
    opened.mesh.chosen[DIFFERENCE] = STAGE
    opened.mesh.colour(DIFFERENCE)
    opened.selection.set(step=next(s.last_step for s in opened.model.stages if s.name == "map"))
    opened.tick(everything=True)
    opened.mesh.canvas.setFocus()
    qtbot.keyClick(opened.mesh.canvas, Key.Key_A)
    assert opened.mesh.threshold.line.hasFocus()
    largest = max(np.abs(values).max() for values in opened.mesh.painted.values.values())
    qtbot.keyClicks(opened.mesh.threshold.line, f"{largest / 2:.4f}")
    qtbot.keyClick(opened.mesh.threshold.line, Key.Key_Return)
    assert opened.mesh.canvas.hasFocus()
    qtbot.keyClick(opened.mesh.canvas, Key.Key_J)
    things = opened.mesh.threshold.foremost()
    values = opened.mesh.painted.values
    sizes = [abs(values[thing[:2]][thing.at]) for thing in things]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == largest and min(sizes) >= largest / 2 - 1e-4
    assert (opened.selection.side, opened.selection.element) == (things[0].side, things[0].at)
    qtbot.keyClick(opened.mesh.canvas, Key.Key_J, QtCore.Qt.KeyboardModifier.ShiftModifier)
    assert (opened.selection.side, opened.selection.element) == (things[-1].side, things[-1].at)
    qtbot.keyClick(opened.mesh.canvas, Key.Key_Escape)
    assert not opened.mesh.threshold.active
    qtbot.keyClick(opened.mesh.canvas, Key.Key_J)
    assert opened.mesh.threshold.line.hasFocus()  # there is none to step through: it is asked for
