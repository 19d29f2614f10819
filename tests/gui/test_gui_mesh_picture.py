"""What the mesh view is made of, without a widget: places, quads, pixels, colours, and light inside a mesh."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from l2sim.gui.base.model import Layer, Part
from l2sim.gui.mesh import colours as mesh_colours
from l2sim.gui.mesh import geometry
from l2sim.gui.mesh import light as mesh_light
from l2sim.gui.mesh import raster as mesh_raster
from l2sim.gui.mesh.geometry import Scene, View
from numpy.typing import ArrayLike

from l2sim.backend import Array, generator
from l2sim.mesh import unitary
from l2sim.mesh.layouts import LAYOUTS
from l2sim.mesh.mesh import Mesh
from tests.tolerances import KERNEL

NEAR = View(40.0, 30.0, 20.0, 30.0)


def part(mesh: Mesh, complex_: bool = True) -> Part:
    return Part(mesh.modes, mesh.column, mesh.top, mesh.bottom - mesh.top, complex_)


def whole(mesh: Mesh) -> Layer:
    return Layer("m", 1, 1, mesh.modes, {"": part(mesh)}, None)


def core(k: int, kind: str = "rectangular") -> Layer:
    parts = {side: part(Mesh(kind, k), False) for side in ("u", "v")}
    return Layer("fc", 2, 3, k, parts, "fc.sigma.commanded")


@st.composite
def custom(draw: st.DrawFn) -> Mesh:
    """A mesh of any couplers."""
    modes = draw(st.integers(2, 9))
    pair = st.tuples(st.integers(0, modes - 1), st.integers(0, modes - 1)).filter(lambda p: p[0] < p[1])
    pairs = draw(st.lists(pair, max_size=14))
    top, bottom = (np.array([p[i] for p in pairs], np.int64) for i in (0, 1))
    return Mesh.of(modes, top, bottom)


# -- geometry ----------------------------------------------------------------------------------------------------------


def couplers_are_neighbours(mesh: Part) -> None:
    lies = geometry.slots(mesh)
    assert (np.sort(lies, axis=1) == np.arange(mesh.modes)).all()
    apart = lies[mesh.columns, mesh.rails] - lies[mesh.columns, mesh.rails + mesh.spans]
    assert (np.abs(apart) == 1).all()
    assert (lies[-1] == np.arange(mesh.modes)).all()


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
        assert (geometry.slots(part(Mesh(kind, 9))) == np.arange(9)).all()
    lies = geometry.slots(part(Mesh("permuting", 16)))
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


def lab(rgb: Array, sight: ArrayLike) -> Array:
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
    numbers = np.array(values, float)
    out = np.empty(numbers.size, np.uint32)
    for scale in (mesh_colours.diverging([numbers], ""), mesh_colours.sequential([numbers], ""), mesh_colours.PHASE):
        assert mesh_colours.paint(numbers, scale, "dark", out) == (~np.isfinite(numbers)).sum()
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
    phases = {side: {"theta": rng.uniform(0, 6, 10)} for side in ("u", "v")}
    phases["sigma"] = {"sigma": sigma}
    powers = mesh_light.powers(layer, phases, 3)
    u, v = (mesh_light.matrix(layer.parts[side], phases[side]) for side in ("u", "v"))
    expected = np.abs(u @ (sigma / sigma.max() * v[:, 3])) ** 2
    np.testing.assert_allclose(powers["u"][-1], expected, atol=1e-12)
    phases["v"]["theta"][0] = np.nan
    assert mesh_light.powers(layer, phases, 3) == {}
