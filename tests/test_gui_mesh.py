"""The mesh view: places become pixels, pixels say what they are of, and colours say what the numbers are."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from l2sim.gui import mesh_colours, mesh_geometry, mesh_light, mesh_raster, mesh_values
from l2sim.gui.mesh_canvas import Canvas, fitted
from l2sim.gui.mesh_geometry import Scene, Thing, View
from l2sim.gui.mesh_history import History
from l2sim.gui.mesh_values import CHOICES, DIFFERENCE, GRADIENT, IDEAL, MODES, POWER
from l2sim.gui.mesh_view import MeshView
from l2sim.gui.model import Layer, Part, Selection, open_run
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from benchmarks import painting
from l2sim.backend import Array, generator
from l2sim.chip import unitary
from l2sim.chip.mesh import Mesh
from l2sim.chip.topology import LAYOUTS
from tests.doubles_gui import FakeModel
from tests.tolerances import KERNEL

Qt = QtCore.Qt
NEAR = View(40.0, 30.0, 20.0, 30.0)


def part(mesh: Mesh, complex_: bool = True, name: str = "m") -> Part:
    return Part(name, mesh.modes, mesh.column, mesh.top, mesh.bottom - mesh.top, complex_)


def whole(mesh: Mesh) -> Layer:
    return Layer("m", 1, 1, mesh.modes, {"": part(mesh)}, None)


def core(k: int, kind: str = "rectangular") -> Layer:
    parts = {side: part(Mesh(kind, k), False, f"fc.{side}") for side in ("u", "v")}
    return Layer("fc", 2, 3, k, parts, "fc.sigma")


@st.composite
def custom(draw: Any) -> Mesh:
    """A mesh of any couplers."""
    modes = draw(st.integers(2, 9))
    pair = st.tuples(st.integers(0, modes - 1), st.integers(0, modes - 1)).filter(lambda p: p[0] < p[1])
    pairs = draw(st.lists(pair, max_size=14))
    top, bottom = (np.array([p[i] for p in pairs], np.int64) for i in (0, 1))
    return Mesh.of(modes, top, bottom)


# -- geometry ----------------------------------------------------------------------------------------------------------


def couplers_are_neighbours(it: Part) -> None:
    lies = mesh_geometry.slots(it)
    assert (np.sort(lies, axis=1) == np.arange(it.modes)).all()
    apart = lies[it.columns, it.rails] - lies[it.columns, it.rails + it.spans]
    assert (np.abs(apart) == 1).all()
    assert (lies[-1] == np.arange(it.modes)).all()


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("modes", (2, 5, 8, 16))
def test_guides_that_couple_lie_side_by_side_in_every_topology(kind: str, modes: int) -> None:
    couplers_are_neighbours(part(Mesh(kind, modes)))


@given(custom())
@settings(max_examples=60, deadline=None)
def test_guides_that_couple_lie_side_by_side_in_any_mesh(mesh: Mesh) -> None:
    couplers_are_neighbours(part(mesh))


def test_a_grid_needs_no_crossing_and_a_permutation_comes_once_per_block() -> None:
    for kind in ("rectangular", "triangular", "chain_cascade"):
        assert (mesh_geometry.slots(part(Mesh(kind, 9))) == np.arange(9)).all()
    lies = mesh_geometry.slots(part(Mesh("permuting", 16)))
    moved = (np.diff(lies[:-1], axis=0) != 0).any(axis=1).sum()
    assert moved == 3  # four blocks


@given(custom(), st.floats(5, 120), st.floats(5, 80), st.sampled_from(("", "theta", "phi", "guide")))
@settings(max_examples=40, deadline=None)
def test_quads_stay_inside_the_picture_and_are_convex(mesh: Mesh, sx: float, sy: float, focus: str) -> None:
    scene = Scene(whole(mesh))
    size = int(sx * scene.width) + 20, int(sy * scene.rails) + 20
    quads = scene.quads(View(sx, sy, 10.0, 10.0 + sy / 2), size, focus)
    low, high = quads.corners.min(axis=(0, 1)), quads.corners.max(axis=(0, 1))
    assert (low > 0).all() and (high < size).all()
    assert quads.colours.min() >= 1 and quads.colours.max() < scene.colours
    edges = np.roll(quads.corners, -1, axis=1) - quads.corners
    after = np.roll(edges, -1, axis=1)
    turn = edges[..., 0] * after[..., 1] - edges[..., 1] * after[..., 0]
    assert ((turn >= -0.5).all(axis=1) | (turn <= 0.5).all(axis=1)).all()


@pytest.mark.parametrize("layer", (whole(Mesh("butterfly", 6)), core(5), core(4, "triangular")))
def test_every_colour_is_of_one_thing_and_back(layer: Layer) -> None:
    scene = Scene(layer)
    things = [scene.thing(colour) for colour in range(1, scene.colours)]
    assert None not in things and len(set(things)) == len(things)
    assert scene.thing(0) is None and scene.thing(scene.colours) is None


def test_a_core_stands_in_the_order_of_the_light() -> None:
    assert [side for _, _, side, _ in Scene(core(4)).titles()] == ["v", "sigma", "u"]


@pytest.mark.parametrize("modes", (1, 2, 3))
def test_the_smallest_meshes_are_drawn(modes: int) -> None:
    for layer in (whole(Mesh("rectangular", modes)), core(modes)):
        quads = Scene(layer).quads(NEAR, (600, 300))
        assert len(quads.colours)


# -- raster ------------------------------------------------------------------------------------------------------------


def inside(corners: Array, size: tuple[int, int], slack: float) -> Array:
    """Which places of a grid lie in a convex quad, or as near as `slack`, by their distances from its edges: the slow
    definition of `fill`."""
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    sides = []
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0)):
        sides.append(((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / np.hypot(bx - ax, by - ay))
    return (np.array(sides) > -slack).all(axis=0)


@given(st.lists(st.floats(-3, 15), min_size=8, max_size=8))
@settings(max_examples=80, deadline=None)
def test_a_quad_covers_the_places_inside_it(numbers: list[float]) -> None:
    points = np.array(numbers).reshape(4, 2)
    middle = points.mean(axis=0)
    corners = points[np.argsort(np.arctan2(*(points - middle).T[::-1]))]
    edges = np.roll(corners, -1, axis=0) - corners
    turn = np.cross(np.pad(edges, ((0, 0), (0, 1))), np.pad(np.roll(edges, -1, axis=0), ((0, 0), (0, 1))))[:, 2]
    out = np.zeros((12, 12), np.int32)
    mesh_raster.fill(corners[None].astype(np.float32), np.array([7], np.int32), out)
    if (turn > 1e-3).all():
        assert (out == 7)[inside(corners, (12, 12), -1e-3)].all()
        assert not (out == 7)[~inside(corners, (12, 12), 1e-3)].any()


def test_a_pixel_on_an_edge_has_the_mean_of_its_colours() -> None:
    corners = np.array([[[0, 0], [1.5, 0], [1.5, 4], [0, 4]]], np.float32)
    raster = mesh_raster.Rasteriser().draw(corners, np.array([1], np.int32), (4, 4))
    out = np.empty((4, 4), np.uint32)
    palette = np.array([0xFF000000, 0xFFFF8040], np.uint32)
    mesh_raster.shade(*raster, palette, np.uint32(0), np.uint32(0), out)
    assert (out[:, 0] == 0xFFFF8040).all() and (out[:, 2:] == 0xFF000000).all()
    assert (out[:, 1] == 0xFF7F4020).all()


def test_a_marked_colour_is_hatched_with_edges_or_without() -> None:
    corners = np.array([[[0, 0], [19.5, 0], [19.5, 20], [0, 20]]], np.float32)
    raster = mesh_raster.Rasteriser().draw(corners, np.array([1], np.int32), (20, 20))
    out = np.empty((20, 20), np.uint32)
    mesh_raster.shade(*raster, np.array([0xFF000000, mesh_raster.MARKED], np.uint32), 0xFFFF0000, 0xFF0000FF, out)
    assert set(np.unique(out[:, :19])) == {0xFFFF0000, 0xFF0000FF}


# -- colours -----------------------------------------------------------------------------------------------------------

# Machado, Oliveira, Fernandes, IEEE TVCG 15, 1291 (2009), severity 1.
SIGHT = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(rgb: Array, sight: Any) -> Array:
    """CIELAB (D65) of sRGB 0 to 255, (n, 3), as some eyes see it."""
    share = rgb / 255.0
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.array(sight).T, 0, 1)
    xyz = linear @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T
    t = xyz / np.array([0.95047, 1.0, 1.08883])
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.column_stack((116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])))


def rgb(colours: Array) -> Array:
    return np.column_stack([(colours >> shift) & 255 for shift in (16, 8, 0)]).astype(float)


@pytest.mark.parametrize("theme, least", (("dark", 8.0), ("light", 16.0)))
def test_phases_an_eighth_of_a_turn_apart_look_different_to_everybody(theme: str, least: float) -> None:
    shades = rgb(mesh_colours.shades("cyclic", theme))[::8]
    turns = np.arange(len(shades)) / len(shades)
    apart = np.abs((turns[:, None] - turns + 0.5) % 1 - 0.5) >= 0.125
    for sight in SIGHT.values():
        seen = lab(shades, sight)
        assert np.linalg.norm(seen[:, None] - seen, axis=2)[apart].min() > least


@pytest.mark.parametrize("theme", ("dark", "light"))
def test_phases_and_amounts_stand_out_from_the_canvas(theme: str) -> None:
    canvas = lab(rgb(np.array([mesh_colours.CANVAS[theme]])), SIGHT["normal"])[0, 0]
    for kind in ("cyclic", "sequential", "diverging"):
        light = lab(rgb(mesh_colours.shades(kind, theme)), SIGHT["normal"])[:, 0]
        if kind == "cyclic":
            assert np.abs(light - canvas).min() > (25 if theme == "dark" else 8)
        else:
            assert abs(light[-1] - canvas) > 40
    amounts = lab(rgb(mesh_colours.shades("sequential", theme)), SIGHT["normal"])[:, 0]
    assert (np.diff(amounts) * (1 if theme == "dark" else -1) > -0.5).all()


def test_a_turn_more_is_the_same_colour_and_what_is_no_number_is_marked() -> None:
    values = np.array([0.3, 0.3 + 2 * np.pi, 0.3 - 4 * np.pi, np.nan, np.inf, -np.inf])
    out = np.empty(6, np.uint32)
    assert mesh_colours.paint(values, mesh_colours.PHASE, "dark", out) == 3
    assert out[0] == out[1] == out[2] and (out[3:] == mesh_raster.MARKED).all()
    limited = mesh_colours.PHASE._replace(limits=(-np.inf, 1.0))
    assert mesh_colours.paint(np.array([0.9, 1.1]), limited, "light", out[:2]) == 1


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=9))
@settings(deadline=None, max_examples=60)
def test_scales_take_any_numbers(values: list[float]) -> None:
    held = np.array(values, float)
    out = np.empty(held.size, np.uint32)
    for scale in (mesh_colours.diverging([held], ""), mesh_colours.sequential([held], ""), mesh_colours.PHASE):
        assert mesh_colours.paint(held, scale, "dark", out) == (~np.isfinite(held)).sum()
        assert scale.ticks() and scale.low < scale.high


# -- light -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ("rectangular", "butterfly", "permuting", "balanced_tree"))
def test_light_inside_a_complex_mesh_is_kept_and_ends_as_its_matrix_says(kind: str) -> None:
    mesh = Mesh(kind, 6)
    settings_ = unitary.haar(mesh, generator(1, "light"))
    phases = dict(zip(("theta", "phi", "screen"), settings_))
    u = unitary.matrix(mesh, settings_)
    np.testing.assert_allclose(mesh_light.matrix(part(mesh), phases), u, atol=KERNEL[np.dtype(np.float64)])
    powers = mesh_light.powers(whole(mesh), {"": phases}, 2)[""]
    assert powers.shape == (2 * mesh.columns + 1, 6)
    np.testing.assert_allclose(powers.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(powers[-1], np.abs(u[:, 2]) ** 2, atol=1e-12)


def test_light_in_a_core_goes_through_v_sigma_and_u() -> None:
    layer, rng = core(5), generator(2, "light")
    sigma = rng.uniform(0.1, 3.0, 5)
    phases: dict[str, Any] = {side: {"theta": rng.uniform(0, 6, 10)} for side in ("u", "v")}
    phases["sigma"] = {"sigma": sigma}
    powers = mesh_light.powers(layer, phases, 3)
    u, v = (mesh_light.matrix(layer.parts[side], phases[side]) for side in ("u", "v"))
    expected = np.abs(u @ (sigma / sigma.max() * v[:, 3])) ** 2
    np.testing.assert_allclose(powers["u"][-1], expected, atol=1e-12)
    phases["v"]["theta"][0] = np.nan
    assert mesh_light.powers(layer, phases, 3) == {}


# -- the widget --------------------------------------------------------------------------------------------------------


def kept(qtbot: Any, widget: Any) -> Any:
    """A widget that lives as long as the test: one that is dropped while events wait for it takes Qt down."""
    qtbot.addWidget(widget)
    vars(qtbot).setdefault("kept", []).append(widget)
    return widget


def move(widget: QtWidgets.QWidget, at: QtCore.QPoint, held: Any = Qt.MouseButton.NoButton) -> None:
    """The pointer comes to a place, whatever else is on the screen."""
    there = QtCore.QPointF(at), QtCore.QPointF(widget.mapToGlobal(at))
    none, kind = Qt.KeyboardModifier.NoModifier, QtCore.QEvent.Type.MouseMove
    QtWidgets.QApplication.sendEvent(widget, QtGui.QMouseEvent(kind, *there, Qt.MouseButton.NoButton, held, none))


def shown(qtbot: Any, model: Any, size: tuple[int, int] = (900, 620), **choice: Any) -> MeshView:
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


def canvas_of(qtbot: Any, layer: Layer, size: tuple[int, int]) -> Canvas:
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
def test_every_mzi_is_picked_at_its_own_pixel(qtbot: Any, name: str) -> None:
    canvas = canvas_of(qtbot, LAYERS[name], (1000, 660))
    scene = canvas.scene
    assert scene is not None
    pick = canvas.raster().pick
    order = np.argsort(pick, axis=None)
    sorted_ = pick.reshape(-1)[order]
    found = {scene.thing(int(colour)) for colour in np.unique(sorted_)}
    for mesh in scene.meshes:
        for kind in ("theta", "phi") if mesh.part.complex else ("theta",):
            assert {t.at for t in found if t and t[:2] == (mesh.side, kind)} == set(range(mesh.count))
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


def test_an_mzi_of_256_modes_is_picked_when_zoomed_in_or_not(qtbot: Any) -> None:
    canvas = canvas_of(qtbot, whole(Mesh("rectangular", 256)), (1200, 800))
    assert canvas.scene is not None and canvas.view.level == "tiles"
    mesh = canvas.scene.meshes[0]
    for element in (0, 127, 16000, mesh.count - 1):
        at = canvas.point(mesh, element) + QtCore.QPointF(0.2 * canvas.view.sx, 0)
        thing = canvas.thing_at(at)
        assert thing is not None and (thing.kind, thing.at) == ("theta", element)
    canvas.zoom(12.0, canvas.point(mesh, 16000))
    assert canvas.view.level == "boxes"
    thing = canvas.thing_at(canvas.point(mesh, 16000) - QtCore.QPointF(0, 0.25 * canvas.view.sy))
    assert thing is not None and 16000 in (thing.element, thing.at)


def test_guides_meet_where_they_couple_and_part_again(qtbot: Any) -> None:
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

    apart, coupled = gap(0.01), gap((mesh_geometry.MEET[0][1] + mesh_geometry.MEET[0][2]) / 2)
    arms = gap(mesh_geometry.MEET[0][3] - 0.005)
    assert coupled < 6 * ratio < arms < apart


def test_a_mouse_hovers_and_clicks_exactly(qtbot: Any) -> None:
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


def test_what_is_read_is_of_the_frame_that_is_painted(qtbot: Any) -> None:
    model = FakeModel(k=4, steps=50)
    view = shown(qtbot, model, block=2)
    model.tick()
    it = view.painted
    assert it is not None and it.step == 50 and model.newest == 51
    thing = Thing("u", "theta", 3)
    assert f"{it.phases['u']['theta'][3]:.4g}" in view.value(thing)
    view.refresh(model.poll())
    assert view.painted is not None and view.painted.step == 51
    view.selection.set(step=10)
    assert view.painted.step == 10 and "step 10" in view.heading.text()


def test_the_keyboard_walks_from_mzi_to_mzi_and_over_into_the_next_mesh(qtbot: Any) -> None:
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


def test_a_view_zooms_around_the_pointer_pans_and_fits(qtbot: Any) -> None:
    canvas = shown(qtbot, FakeModel(mesh=16)).canvas
    assert canvas.scene is not None
    before, at = canvas.view, QtCore.QPointF(300, 200)
    canvas.zoom(2.0, at)
    assert canvas.view.sx == pytest.approx(2 * before.sx)
    assert (at.x() - canvas.view.ox) / canvas.view.sx == pytest.approx((at.x() - before.ox) / before.sx)
    canvas.zoom(1e9)
    assert canvas.view.sx < 420.1 and canvas.view.level == "numbers"
    canvas.grab()
    canvas.fit()
    assert canvas.view == fitted(canvas.scene, canvas.width(), canvas.height())
    canvas.zoom(1e-9)
    assert canvas.view.sx > 0
    canvas.fit()
    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=QtCore.QPoint(200, 200))
    move(canvas, QtCore.QPoint(230, 210), Qt.MouseButton.LeftButton)
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=QtCore.QPoint(230, 210))
    assert canvas.view.ox == pytest.approx(before.ox + 30) and canvas.view.oy == pytest.approx(before.oy + 10)


class Broken(FakeModel):
    """A run some of whose phases are no numbers."""

    def phases(self, layer: str, block: int, side: str, step: int | None = None) -> dict[str, Any]:
        found = super().phases(layer, block, side, step)
        if "theta" in found and side in ("u", ""):
            found["theta"] = found["theta"].copy()
            found["theta"][[2, 5]] = np.nan, np.inf
        return found


def test_what_is_no_number_is_seen_and_counted(qtbot: Any) -> None:
    view = shown(qtbot, Broken(k=6))
    assert view.legend.wrong == 2 and len(view.canvas.rings) == 2
    assert view.said.text().startswith("2 not a number")
    assert "MZI 2" in view.said.text()
    hatch = colours_of(view.canvas) | 0xFF000000
    assert (hatch == mesh_colours.HATCH["dark"]).sum() > 50
    clean = shown(qtbot, FakeModel(k=6))
    assert clean.legend.wrong == 0
    view.colour(POWER)
    assert view.canvas.note.startswith("light cannot be followed")


def test_a_pinned_frame_is_what_differences_are_from(qtbot: Any) -> None:
    model = FakeModel(k=4, steps=20)
    view = shown(qtbot, model)
    view.pin()
    for _ in range(5):
        model.tick()
    view.refresh(model.poll())
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
    deadline = time.monotonic() + 10
    while history.pending and time.monotonic() < deadline:
        counts, frames = history.updates(None)
    assert frames == 30 and (counts["u", "theta"] == 29).all() and (counts["sigma", "sigma"] == 0).all()
    (steps, values), _ = history.lines([("u", "theta"), ("v", "theta")], 1, 12)
    assert steps[-1] == 12 and values[-1] == pytest.approx(0.01 + 0.012, abs=1e-6)


@pytest.mark.parametrize("mode", range(len(MODES)))
@pytest.mark.parametrize("which", ("digits_run", "insitu_run"))
def test_a_real_run_is_drawn_in_every_way_or_says_why_not(
    qtbot: Any, request: pytest.FixtureRequest, which: str, mode: int
) -> None:
    model = open_run(request.getfixturevalue(which))
    model.poll()
    view = shown(qtbot, model, size=(760, 480))
    for choice in CHOICES.get(mode, ("",)):
        if choice:
            view.chosen[mode] = choice
        view.colour(mode)
        it = view.painted
        assert it is not None and bool(it.note) != bool(it.values)
        assert it.badge in ("commanded", "measured", "estimated", "oracle")
        if it.note:
            assert len(it.note) < 120 and view.canvas.note == it.note
        else:
            assert view.legend.scale is not None and not it.bad
            assert len(np.unique(colours_of(view.canvas))) > 20
        if choice == IDEAL or (mode == GRADIENT and which == "insitu_run" and choice == "measured"):
            assert not it.note
    table = view.table()
    assert table is not None and all(len(row) == len(table[0]) for row in table[1])
    model.close()


def test_the_benchmark_paints_every_frame_anew(qtbot: Any) -> None:
    view = kept(qtbot, painting.view(8)[0])
    before = view.canvas.image().copy()
    view.model.newest += 1
    view.refresh({"frames"})
    assert (view.canvas.image() != before).any() and view.painted is not None and view.painted.step == 1
    assert view.canvas.size() == QtCore.QSize(*painting.SIZE)


def test_no_run_and_no_phases_are_said(qtbot: Any) -> None:
    view = kept(qtbot, MeshView(Selection()))
    view.refresh({"all"})
    assert "No run is open" in view.canvas.note and view.table() is None
    empty = shown(qtbot, FakeModel(steps=0))
    assert "recorded" in empty.canvas.note
    assert colours_of(empty.canvas).size


@pytest.mark.parametrize("theme", ("dark", "light"))
def test_svg_holds_every_mzi_once(qtbot: Any, tmp_path: Path, theme: str) -> None:
    from l2sim.gui import theme as themes

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


def test_svg_of_a_large_mesh_embeds_its_picture(qtbot: Any, tmp_path: Path) -> None:
    view = shown(qtbot, FakeModel(mesh=128, steps=2), size=(900, 600))
    view.svg(tmp_path / "mesh.svg")
    assert (tmp_path / "mesh.svg").stat().st_size < 6_000_000
    root = ElementTree.parse(tmp_path / "mesh.svg").getroot()
    assert root.find(".//{http://www.w3.org/2000/svg}image") is not None or view.canvas.quads().colours.size <= 40_000
