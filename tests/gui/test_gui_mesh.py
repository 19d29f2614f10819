"""The mesh view: what it paints, picks and reads as mouse, keys and runs go on."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import TypeVar, Unpack

import numpy as np
import pytest
from l2sim.gui.base.model import Choice, Layer, Phases, RunModel, Selection, open_run
from l2sim.gui.mesh import colours, shapes
from l2sim.gui.mesh import values as mesh_values
from l2sim.gui.mesh.canvas import Canvas, fitted
from l2sim.gui.mesh.geometry import Scene, Thing
from l2sim.gui.mesh.history import History
from l2sim.gui.mesh.shapes import FEW
from l2sim.gui.mesh.values import CHOICES, DIFFERENCE, GRADIENT, IDEAL, MODES, POWER, THETA
from l2sim.gui.mesh.view import MeshView
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets
from pytestqt.qtbot import QtBot

from benchmarks.desktop import painting
from l2sim.backend import Array
from l2sim.mesh.mesh import Mesh
from tests.doubles_gui import FakeModel
from tests.gui.test_gui_mesh_picture import core, whole
from tests.tolerances import PATIENCE

Qt = QtCore.Qt
W = TypeVar("W", bound=QtWidgets.QWidget)


def kept(qtbot: QtBot, widget: W) -> W:
    """A widget that lives as long as the test: one that is dropped while events wait for it takes Qt down."""
    qtbot.addWidget(widget)
    vars(qtbot).setdefault("kept", []).append(widget)
    return widget


def move(widget: QtWidgets.QWidget, at: QtCore.QPoint, button: Qt.MouseButton = Qt.MouseButton.NoButton) -> None:
    """The pointer comes to a place, whatever else is on the screen."""
    there = QtCore.QPointF(at), QtCore.QPointF(widget.mapToGlobal(at))
    none, kind = Qt.KeyboardModifier.NoModifier, QtCore.QEvent.Type.MouseMove
    QtWidgets.QApplication.sendEvent(widget, QtGui.QMouseEvent(kind, *there, Qt.MouseButton.NoButton, button, none))


def shown(
    qtbot: QtBot, model: RunModel | FakeModel, size: tuple[int, int] = (900, 620), **choice: Unpack[Choice]
) -> MeshView:
    selection = Selection()
    selection.layer = next(iter(model.layers))
    selection.set(**choice)
    view = kept(qtbot, MeshView(selection))
    selection.watch(lambda changed: view.refresh(changed))
    view.resize(*size)
    view.show()
    view.show_run(model)
    view.refresh({"all"})
    return view


def colours_of(widget: QtWidgets.QWidget) -> Array:
    """Pixels (H, W) of a widget."""
    image = widget.grab().toImage().convertToFormat(QtGui.QImage.Format.Format_RGB32)
    pointer = image.constBits()
    if hasattr(pointer, "setsize"):
        pointer.setsize(image.sizeInBytes())
    return np.frombuffer(pointer, np.uint32).reshape(image.height(), -1)[:, : image.width()].copy()


def canvas_of(qtbot: QtBot, layer: Layer, size: tuple[int, int]) -> Canvas:
    canvas = kept(qtbot, Canvas())
    canvas.resize(*size)
    canvas.show()
    scene = Scene(layer)
    canvas.palette_ = np.full(scene.colours, 0xFF808080, np.uint32)
    canvas.show_scene(scene)
    return canvas


LAYERS = {
    "rectangular-16": whole(Mesh("rectangular", 16)),
    "rectangular-65": whole(Mesh("rectangular", 65)),
    "triangular-9": whole(Mesh("triangular", 9)),
    "balanced_tree-16": whole(Mesh("balanced_tree", 16)),
    "tree_cascade-7": whole(Mesh("tree_cascade", 7)),
    "butterfly-16": whole(Mesh("butterfly", 16)),
    "permuting-16": whole(Mesh("permuting", 16)),
    "three-splitters": whole(Mesh("rectangular", 5, node="three_splitter")),
    "core-2": core(2),
    "core-9": core(9),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_mzi_is_picked_at_its_own_pixel(qtbot: QtBot, name: str) -> None:
    canvas = canvas_of(qtbot, LAYERS[name], (1000, 660))
    scene = canvas.scene
    assert scene is not None
    pick = canvas.raster().pick
    order = np.argsort(pick, axis=None)
    sorted_ = pick.reshape(-1)[order]
    things = {scene.thing(int(colour)) for colour in np.unique(sorted_)}
    for mesh in scene.meshes:
        for kind in ("theta", "phi") if mesh.part.complex else ("theta",):
            assert {t.at for t in things if t and t[:2] == (mesh.side, kind)} == set(range(mesh.count))
        for element in range(mesh.count):
            colour = mesh.colour("theta")[0] + element
            seen = order[np.searchsorted(sorted_, colour) : np.searchsorted(sorted_, colour, side="right")]
            rows, columns = np.divmod(seen, pick.shape[1])
            # The middle row of what is seen: a point inside the box, whatever lies beside it.
            row = np.sort(rows)[len(rows) // 2]
            at = np.sort(columns[rows == row])
            ratio = canvas.devicePixelRatioF()
            point = QtCore.QPointF((at[len(at) // 2] + 0.5) / ratio, (row + 0.5) / ratio)
            thing = canvas.thing_at(point)
            assert thing is not None and (thing.side, thing.kind, thing.at) == (mesh.side, "theta", element)


def test_an_mzi_of_256_modes_is_picked_when_zoomed_in_or_not(qtbot: QtBot) -> None:
    canvas = canvas_of(qtbot, whole(Mesh("rectangular", 256)), (1200, 800))
    assert canvas.scene is not None and not canvas.detailed
    mesh = canvas.scene.meshes[0]
    for element in (0, 127, 16000, mesh.count - 1):
        at = canvas.point(mesh, element) + QtCore.QPointF(0.2 * canvas.view.sx, 0)
        thing = canvas.thing_at(at)
        assert thing is not None and (thing.kind, thing.at) == ("theta", element)
    canvas.zoom(12.0, canvas.point(mesh, 16000))
    assert canvas.detailed
    thing = canvas.thing_at(canvas.point(mesh, 16000) - QtCore.QPointF(0, 0.25 * canvas.view.sy))
    assert thing is not None and 16000 in (thing.element, thing.at)


def test_guides_meet_where_they_couple_and_part_again(qtbot: QtBot) -> None:
    canvas = canvas_of(qtbot, whole(Mesh("rectangular", 2)), (700, 400))
    scene, view, ratio = canvas.scene, canvas.view, canvas.devicePixelRatioF()
    assert scene is not None
    mesh = scene.meshes[0]
    guide = mesh.colour("guide")[0], mesh.colour("guide")[0] + mesh.guides
    pick = canvas.raster().pick

    def gap(share: float) -> float:
        """Dark pixels between the two guides at a place along the first column."""
        x = (float(mesh.starts[0]) + share) * view.sx + view.ox
        column = pick[:, int(x * ratio)]
        lit = np.flatnonzero((column >= guide[0]) & (column < guide[1]))
        return float(np.diff(lit).max() - 1)

    apart, coupled = gap(0.01), gap((shapes.MEET[0][1] + shapes.MEET[0][2]) / 2)
    arms = gap(shapes.MEET[0][3] - 0.005)
    assert coupled < 6 * ratio < arms < apart


def test_a_mouse_hovers_and_clicks_exactly(qtbot: QtBot) -> None:
    model = FakeModel(k=6)
    view = shown(qtbot, model, layer="fc1", block=4)
    mesh = view.canvas.scene.mesh("u") if view.canvas.scene else None
    assert mesh is not None
    where = view.canvas.point(mesh, 7)
    at = QtCore.QPoint(int(where.x()), int(where.y() - 0.25 * view.canvas.view.sy))
    with qtbot.waitSignal(view.hovered) as heard:
        move(view.canvas, at)
    assert heard.args[0].side == "u" and 7 in (heard.args[0].at, heard.args[0].element)
    assert "MZI 7" in view.said.text()
    qtbot.mouseClick(view.canvas, Qt.MouseButton.LeftButton, pos=at)
    assert (view.selection.side, view.selection.element) == ("u", 7)
    empty = QtCore.QPoint(3, view.canvas.height() - 2)
    qtbot.mouseClick(view.canvas, Qt.MouseButton.LeftButton, pos=empty)
    assert view.selection.element is None


def look(view: MeshView, model: FakeModel) -> None:
    """What the window does at a beat."""
    view.selection.newest = model.newest
    view.refresh(model.poll())


def test_what_is_read_is_of_the_frame_that_is_painted(qtbot: QtBot) -> None:
    model = FakeModel(k=4, steps=50)
    view = shown(qtbot, model, block=2)
    model.tick()
    painted = view.painted
    assert painted is not None and painted.step == 50 and model.newest == 51
    thing = Thing("u", "theta", 3)
    assert f"{painted.phases['u']['theta'][3]:.4g}" in view.value(thing)
    assert view.painted is painted  # until the window looks again
    look(view, model)
    assert view.painted is not None and view.painted.step == 51
    view.selection.set(step=10)
    assert view.painted.step == 10 and "step 10" in view.heading.text()


def test_the_keyboard_walks_from_mzi_to_mzi_and_over_into_the_next_mesh(qtbot: QtBot) -> None:
    view = shown(qtbot, FakeModel(k=4))
    control = Qt.KeyboardModifier.ControlModifier
    view.canvas.setFocus()
    qtbot.keyClick(view.canvas, Qt.Key.Key_Right, control)
    assert (view.selection.side, view.selection.element) == ("v", 0)
    seen = []
    for _ in range(7):
        qtbot.keyClick(view.canvas, Qt.Key.Key_Right, control)
        seen.append((view.selection.side, view.selection.element))
    assert [side for side, _ in seen] == ["v"] * 3 + ["u"] * 4
    qtbot.keyClick(view.canvas, Qt.Key.Key_Left, control)
    assert view.selection.side == "u"
    view.selection.set(side="v", element=0)
    qtbot.keyClick(view.canvas, Qt.Key.Key_Down, control)
    assert (view.selection.side, view.selection.element) == ("v", 1)


def test_a_view_zooms_around_the_pointer_pans_and_fits(qtbot: QtBot) -> None:
    canvas = shown(qtbot, FakeModel(mesh=16)).canvas
    assert canvas.scene is not None
    before, at = canvas.view, QtCore.QPointF(300, 200)
    canvas.zoom(2.0, at)
    assert canvas.view.sx == pytest.approx(2 * before.sx)
    assert (at.x() - canvas.view.ox) / canvas.view.sx == pytest.approx((at.x() - before.ox) / before.sx)
    canvas.zoom(1e9)
    assert canvas.view.sx < 420.1 and canvas.view.roomy
    canvas.grab()
    canvas.fit()
    assert canvas.view == fitted(canvas.scene, canvas.width(), canvas.height(), canvas.head())
    canvas.zoom(1e-9)
    assert canvas.view.sx > 0
    canvas.fit()
    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=QtCore.QPoint(200, 200))
    move(canvas, QtCore.QPoint(230, 210), Qt.MouseButton.LeftButton)
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=QtCore.QPoint(230, 210))
    assert canvas.view.ox == pytest.approx(before.ox + 30) and canvas.view.oy == pytest.approx(before.oy + 10)


class Broken(FakeModel):
    """A run some of whose phases are no numbers."""

    def phases(self, layer: str, block: int, side: str, step: int | None = None) -> Phases:
        phases = dict(super().phases(layer, block, side, step))
        if "theta" in phases and side in ("u", ""):
            phases["theta"] = phases["theta"].copy()
            phases["theta"][[2, 5]] = np.nan, np.inf
        return phases


def test_what_is_no_number_is_seen_and_counted(qtbot: QtBot) -> None:
    view = shown(qtbot, Broken(k=6))
    assert view.legend.wrong == 2 and len(view.canvas.rings) == 2
    assert view.said.text().startswith("2 not a number")
    assert "MZI 2" in view.said.text()
    hatch = colours_of(view.canvas) | 0xFF000000
    assert (hatch == colours.HATCH["dark"]).sum() > 50
    clean = shown(qtbot, FakeModel(k=6))
    assert clean.legend.wrong == 0
    view.colour(POWER)
    assert view.canvas.note.startswith("light cannot be followed")


def test_a_pinned_frame_is_what_differences_are_from(qtbot: QtBot) -> None:
    model = FakeModel(k=4, steps=20)
    view = shown(qtbot, model)
    view.pin()
    for _ in range(5):
        model.tick()
    look(view, model)
    view.difference()
    assert view.mode == DIFFERENCE and view.painted is not None
    for key in (("u", "theta"), ("v", "theta")):
        np.testing.assert_allclose(view.painted.values[key], 0.005, atol=1e-9)
    assert view.canvas.worst is not None and "0.005" in view.canvas.worst[3]
    view.difference()
    assert view.mode == 0


def test_an_angle_goes_the_shorter_way_round() -> None:
    old, new = ({"u": {"theta": np.array([a])}} for a in (0.1, 2 * np.pi - 0.1))
    np.testing.assert_allclose(mesh_values.minus(new, old)["u", "theta"], [-0.2])


def test_history_counts_changes_and_reads_only_what_is_new() -> None:
    model = FakeModel(k=3, steps=30)
    history = History()
    history.of(model, "fc1", 0)  # type: ignore[arg-type]
    counts, frames = history.updates(None)
    deadline = time.monotonic() + PATIENCE / 1000
    while history.pending and time.monotonic() < deadline:
        counts, frames = history.updates(None)
    assert frames == 30 and (counts["u", "theta"] == 29).all() and (counts["sigma", "sigma"] == 0).all()
    (steps, values), _ = history.lines([("u", "theta"), ("v", "theta")], 1, 12)
    assert steps[-1] == 12 and values[-1] == pytest.approx(0.01 + 0.012, abs=1e-6)


@pytest.mark.parametrize("mode", range(len(MODES)))
@pytest.mark.parametrize("which", ("digits_run", "insitu_run"))
def test_a_real_run_is_drawn_in_every_way_or_says_why_not(
    qtbot: QtBot, request: pytest.FixtureRequest, which: str, mode: int
) -> None:
    model = open_run(request.getfixturevalue(which))
    model.poll()
    view = shown(qtbot, model, size=(760, 480))
    for choice in CHOICES.get(mode, ("",)):
        if choice:
            view.chosen[mode] = choice
        view.colour(mode)
        painted = view.painted
        assert painted is not None and bool(painted.note) != bool(painted.values)
        assert painted.badge in ("commanded", "measured", "estimated", "oracle")
        if painted.note:
            assert len(painted.note) < 120 and view.canvas.note == painted.note
        else:
            assert view.legend.scale is not None and not painted.bad
            assert len(np.unique(colours_of(view.canvas))) > 20
        if choice == IDEAL or (mode == GRADIENT and which == "insitu_run" and choice == "measured"):
            assert not painted.note
    table = view.table()
    assert table is not None and all(len(row) == len(table[0]) for row in table[1])
    model.close()


def test_the_benchmark_paints_every_frame_anew(qtbot: QtBot) -> None:
    view = kept(qtbot, painting.view(8)[0])
    before = view.canvas.image().copy()
    view.model.newest += 1
    view.refresh({"frames"})
    assert (view.canvas.image() != before).any() and view.painted is not None and view.painted.step == 1
    assert view.canvas.size() == QtCore.QSize(*painting.SIZE)


def test_no_run_and_no_phases_are_said(qtbot: QtBot) -> None:
    view = kept(qtbot, MeshView(Selection()))
    view.refresh({"all"})
    assert "No run is open" in view.canvas.note and view.table() is None
    empty = shown(qtbot, FakeModel(steps=0))
    assert "Nothing has been commanded yet" in empty.canvas.aside
    assert colours_of(empty.canvas).size


@pytest.mark.parametrize("theme", ("dark", "light"))
def test_svg_holds_every_mzi_once(qtbot: QtBot, tmp_path: Path, theme: str) -> None:
    from l2sim.gui.base import theme as themes

    themes.use(theme)
    try:
        view = shown(qtbot, Broken(k=5))
        view.svg(tmp_path / "mesh.svg")
    finally:
        themes.use("dark")
    root = ElementTree.parse(tmp_path / "mesh.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    paths = root.iter(f"{space}path")
    boxes = [p for p in paths if p.get("class") == "theta"]
    assert {(p.get("data-side"), p.get("data-index")) for p in boxes} == {(s, str(i)) for s in "uv" for i in range(10)}
    assert sum(p.get("fill") == "url(#hatch)" for p in boxes) == 4  # two MZIs, a box on each arm
    words = " ".join(t.text or "" for t in root.iter(f"{space}text"))
    assert "θ" in words and "2 not a number" in words and "rad" in words


def test_svg_has_one_path_for_every_rail_and_its_light_along_it(qtbot: QtBot, tmp_path: Path) -> None:
    view = shown(qtbot, FakeModel(k=5))
    space = "{http://www.w3.org/2000/svg}"
    for mode in (0, POWER):
        view.colour(mode)
        view.svg(tmp_path / "mesh.svg")
        root = ElementTree.parse(tmp_path / "mesh.svg").getroot()
        rails = [path for path in root.iter(f"{space}path") if path.get("class") == "rail"]
        assert [(p.get("data-side"), p.get("data-index")) for p in rails] == [
            (s, str(i)) for s in "vu" for i in range(5)
        ]
        assert all(p.get("stroke-linejoin") == "round" and p.get("d", "").count("M") == 1 for p in rails)
        gradients = {g.get("id"): g for g in root.iter(f"{space}linearGradient")}
        lit = [p.get("stroke", "")[5:-1] for p in rails if p.get("stroke", "").startswith("url")]
        assert bool(lit) == (mode == POWER) and set(lit) <= set(gradients)
        assert any(path.get("class") == "phase" for path in root.iter(f"{space}path")) == (mode == POWER)
    offsets = [float(stop.get("offset", "")) for stop in gradients[lit[0]]]
    assert offsets == sorted(offsets) and offsets[0] == 0 and offsets[-1] == 1


def test_until_somebody_chooses_many_modes_show_what_the_stage_changed(qtbot: QtBot) -> None:
    few = shown(qtbot, FakeModel(mesh=FEW))
    assert few.mode == THETA
    many = shown(qtbot, FakeModel(mesh=FEW + 1, steps=50))
    assert many.mode == DIFFERENCE and many.painted is not None and "since the stage began" in many.legend.title
    np.testing.assert_allclose(many.painted.values["", "theta"], 0.025, atol=1e-9)  # the stage began at step 25
    many.selection.set(step=25)  # the last one of the stage before, of which step 1 was recorded first
    np.testing.assert_allclose(many.painted.values["", "theta"], 0.024, atol=1e-9)
    many.colour(THETA)
    many.show_run(FakeModel(mesh=FEW + 2, steps=4))  # type: ignore[arg-type]
    many.refresh({"all"})
    assert many.mode == THETA


def test_a_pointer_reads_the_light_of_the_stroke_it_is_on(qtbot: QtBot) -> None:
    view = shown(qtbot, FakeModel(mesh=6))
    view.colour(POWER)
    canvas, painted = view.canvas, view.painted
    assert canvas.scene is not None and painted is not None
    mesh = canvas.scene.meshes[0]
    rails = canvas.shapes().strokes[0]
    for rail in range(6):
        for at in range(1, len(rails.x) - 1, 7):
            thing = canvas.thing_at(QtCore.QPointF(rails.x[at], rails.y[rail, at]))
            assert thing is not None and (thing.kind, thing.at) == ("guide", rail)
            assert abs(thing.position - rails.place[at]) <= 0.5 + 1e-6
    said = view.value(Thing("", "guide", 2, -1, 4 * mesh.columns))
    values, turns = painted.values["", "guide"], painted.turns["", "guide"]
    assert f"{values[-4]:.4g} dB" in said and f"phase {turns[-4] / np.pi:.2f} π" in said


def test_light_of_many_modes_has_hues_only_where_guides_are_drawn(qtbot: QtBot) -> None:
    view = shown(qtbot, FakeModel(mesh=40, steps=3))
    view.colour(POWER)
    guides = slice(*np.cumsum(view.canvas.scene.meshes[0].colour("guide"))) if view.canvas.scene else slice(0)

    def hues() -> set[int]:
        table = set(colours.shades("light", "dark").tolist())
        return set(view.canvas.palette_[guides].tolist()) - table

    assert not view.canvas.detailed and not view.legend.turns and not hues()
    view.canvas.zoom(4.0)
    assert view.canvas.detailed and view.legend.turns and len(hues()) > 100
    view.fit()
    assert not view.legend.turns and not hues()


def test_svg_of_a_large_mesh_embeds_its_picture(qtbot: QtBot, tmp_path: Path) -> None:
    view = shown(qtbot, FakeModel(mesh=128, steps=2), size=(900, 600))
    view.svg(tmp_path / "mesh.svg")
    assert (tmp_path / "mesh.svg").stat().st_size < 6_000_000
    root = ElementTree.parse(tmp_path / "mesh.svg").getroot()
    embedded = root.find(".//{http://www.w3.org/2000/svg}image") is not None
    assert embedded or view.canvas.shapes().cells.colours.size <= 40_000
