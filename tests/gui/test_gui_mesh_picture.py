"""What the mesh view is made of, without a widget: places, shapes, pixels, colours, and light inside a mesh."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from l2sim.gui.base.model import Layer, Part
from l2sim.gui.mesh import colours as mesh_colours
from l2sim.gui.mesh import geometry
from l2sim.gui.mesh import light as mesh_light
from l2sim.gui.mesh import raster as mesh_raster
from l2sim.gui.mesh import shapes as mesh_shapes
from l2sim.gui.mesh.geometry import PARTS, Scene, View
from l2sim.gui.mesh.shapes import FEW, Quads, Shapes, Strokes
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
def test_shapes_stay_inside_the_picture_and_rails_run_on_with_the_light(
    mesh: Mesh, sx: float, sy: float, focus: str
) -> None:
    scene = Scene(whole(mesh))
    size = int(sx * scene.width) + 20, int(sy * scene.rails) + 20
    seen = mesh_shapes.shapes(scene, View(sx, sy, 10.0, 10.0 + sy / 2), size, focus)
    for quads in (seen.cells, seen.plates):
        assert ((quads.corners > 0) & (quads.corners < size)).all()
        assert quads.colours.min(initial=1) >= 1 and quads.colours.max(initial=1) < scene.colours
    (rails,) = seen.strokes
    assert (np.diff(rails.x) > -1e-6).all() and (np.diff(rails.place) >= 0).all()
    assert (rails.y > 0).all() and (rails.y < size[1]).all()
    assert (rails.rails == np.arange(mesh.modes)).all()
    # A step from point to point where x stands still would be a corner, and one in y a gap.
    still = np.diff(rails.x) < 1e-6
    assert np.abs(np.diff(rails.y, axis=1))[:, still].max(initial=0.0) < 1e-6
    last = mesh.modes * PARTS * scene.meshes[0].columns + mesh.modes
    assert rails.place[0] == 0 and last == scene.meshes[0].guides == rails.modes * (rails.place[-1] + 1)


@pytest.mark.parametrize("modes", (2, 9, FEW))
@pytest.mark.parametrize("size", ((300, 300), (800, 500), (1600, 1000)))
@pytest.mark.parametrize("focus", ("theta", "guide"))
def test_few_modes_never_fall_to_bricks(modes: int, size: tuple[int, int], focus: str) -> None:
    for layer in (whole(Mesh("rectangular", modes)), core(modes)):
        scene = Scene(layer)
        view = View(size[0] / scene.width, size[1] / scene.rails, 0.0, 0.0)
        seen = mesh_shapes.shapes(scene, view, size, focus)
        assert not seen.cells.colours.size
        assert sum(len(rails.rails) for rails in seen.strokes) == modes * len(scene.meshes)
        # An MZI bends its guides: they are not drawn straight past it.
        assert (np.ptp(seen.strokes[0].y, axis=1) > 0.2 * view.sy).all()


def test_many_modes_are_tiles_when_far_and_guides_when_near() -> None:
    scene = Scene(whole(Mesh("rectangular", 64)))
    far, close = View(23.0, 13.0, 0.0, 0.0), View(60.0, 30.0, -600.0, -300.0)
    assert len(mesh_shapes.shapes(scene, far, (1600, 900), "theta").cells.colours) == scene.meshes[0].count
    seen = mesh_shapes.shapes(scene, close, (1600, 900), "theta")
    assert not seen.cells.colours.size and 0 < len(seen.strokes[0].rails) < 40


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
        seen = mesh_shapes.shapes(Scene(layer), NEAR, (600, 300))
        assert len(seen.strokes) == len(layer.parts) and len(seen.plates.colours) >= modes - 1


# -- raster ------------------------------------------------------------------------------------------------------------


NONE = Quads(np.empty((0, 4, 2)), np.empty(0, np.int32))


def drawn(size: tuple[int, int], strokes: list[Strokes], wide: float, lit: bool = False, plates: Quads = NONE,
          radius: float = 0.0, halo: float = 0.0, ratio: float = 1.0) -> mesh_raster.Raster:  # fmt: skip
    seen = Shapes(strokes, NONE, plates, (0, 0), wide, radius, halo, lit)
    return mesh_raster.Rasteriser().draw(seen, size, ratio)


def covered(raster: mesh_raster.Raster, colours: list[int]) -> Array:
    """How much of every pixel has one of the colours."""
    share = np.isin(raster.pick, colours).astype(float)
    share.reshape(-1)[raster.edges] = (raster.shares * np.isin(raster.parts, colours)).sum(axis=1) / mesh_raster.WHOLE
    return share


def line(points: list[tuple[float, float]], place: ArrayLike = 0.0, first: int = 1, modes: int = 1) -> Strokes:
    x, y = np.array(points, float).T
    return Strokes("", np.zeros(1, np.int64), x, y[None], np.broadcast_to(place, x.shape) * 1.0, first, modes)


point = st.tuples(st.floats(-4, 28), st.floats(-4, 28))


@given(st.lists(point, min_size=2, max_size=6), st.floats(1.0, 6.0), st.sampled_from((1.0, 1.25, 2.0)))
@settings(max_examples=60, deadline=None)
def test_a_stroke_is_what_lies_within_half_its_width_of_its_middle(
    points: list[tuple[float, float]], wide: float, ratio: float
) -> None:
    """Against the slow definition: the distance of a pixel's middle from every piece of the line."""
    size = int(24 * ratio), int(24 * ratio)
    share = covered(drawn(size, [line(points)], wide, ratio=ratio), [1])
    middles = np.arange(size[0]) + 0.5
    at = np.stack(np.meshgrid(middles, middles), axis=-1)
    corners, apart = np.array(points) * ratio, np.full(at.shape[:2], np.inf)
    for begin, end in itertools.pairwise(corners):
        along = end - begin
        if (length := along @ along) > 0:
            part = np.clip((at - begin) @ along / length, 0, 1)
            apart = np.minimum(apart, np.linalg.norm(at - begin - part[..., None] * along, axis=-1))
    np.testing.assert_allclose(share, np.clip(wide / 2 * ratio + 0.5 - apart, 0, 1), atol=0.02)


@pytest.mark.parametrize("ratio", (1.0, 2.0))
@pytest.mark.parametrize("layer", (whole(Mesh("rectangular", 8)), whole(Mesh("butterfly", 8)), core(9)))
@pytest.mark.parametrize("width", (300, 700))
def test_a_rail_has_no_gap_from_its_input_to_its_output(layer: Layer, width: int, ratio: float) -> None:
    scene = Scene(layer)
    sx = width / scene.width
    view = View(sx, sx / 1.5, 0.0, sx)
    size = width, int(sx / 1.5 * scene.rails + 2 * sx)
    seen = mesh_shapes.shapes(scene, view, size)
    for rails in seen.strokes:
        for row, rail in enumerate(rails.rails):
            alone = rails._replace(rails=rails.rails[row : row + 1], y=np.ascontiguousarray(rails.y[row : row + 1]))
            colours = [rails.first + place * rails.modes + int(rail) for place in range(int(rails.place[-1]) + 1)]
            raster = drawn((int(size[0] * ratio), int(size[1] * ratio)), [alone], seen.wide, ratio=ratio)
            share = covered(raster, colours)
            x0, x1 = (int(end * ratio) for end in (rails.x[0] + 1, rails.x[-1] - 1))
            across = share[:, x0:x1].sum(axis=0)
            assert across.min() > 0.9 * seen.wide * ratio
            # Nothing is cut off: a walk from pixel to pixel reaches the other end.
            on = share > 0.3
            reached = on[:, x0]
            for x in range(x0 + 1, x1):
                beside = reached | np.roll(reached, 1) | np.roll(reached, -1)
                reached = np.zeros_like(reached)
                runs = np.split(np.flatnonzero(on[:, x]), np.flatnonzero(np.diff(np.flatnonzero(on[:, x])) > 1) + 1)
                for run in runs:
                    reached[run] = beside[run].any() if run.size else False
                assert reached.any(), (rail, x)


def test_where_two_pieces_of_a_rail_meet_is_no_bulge() -> None:
    whole_, pieces = line([(2.0, 8.3), (30.0, 8.3)]), line([(x, 8.3) for x in (2.0, 9.5, 16.2, 16.3, 30.0)])
    one, many = (covered(drawn((32, 16), [stroke], 3.4), [1]) for stroke in (whole_, pieces))
    np.testing.assert_array_equal(one, many)


def test_lit_light_goes_over_from_one_colour_to_the_next_and_picks_the_nearer() -> None:
    raster = drawn((40, 9), [line([(0.0, 4.5), (10.0, 4.5), (30.0, 4.5), (40.0, 4.5)], [0, 0, 1, 1])], 5.0, lit=True)
    out = np.empty((9, 40), np.uint32)
    mesh_raster.shade(*raster, np.array([0xFF000000, 0xFF0000FF, 0xFFFF0000], np.uint32), 0, 0, out)
    red, blue = (out[4] >> 16 & 255).astype(int), (out[4] & 255).astype(int)
    assert (np.diff(red) >= 0).all() and red[5] == 0 and red[35] == 255 and 118 < red[19] < 138
    assert (np.abs(red + blue - 255) <= 1).all()
    assert (raster.pick[4, :20] == 1).all() and (raster.pick[4, 20:] == 2).all()


def test_a_halo_is_seen_and_not_picked() -> None:
    raster = drawn((20, 21), [line([(0.0, 10.5), (20.0, 10.5)])], 3.0, lit=True, halo=5.0)
    share = covered(raster, [1])[:, 10]
    assert share[10] == 1 and 0.02 < share[7] < 0.3 and share[2] == 0
    assert (raster.pick[:, 10] == 1).sum() == 3


def test_a_plate_has_round_corners_and_covers_what_it_lies_on() -> None:
    corners = np.array([[[4, 3], [20, 3], [20, 13], [4, 13]]], float)
    rail = line([(0.0, 8.0), (24.0, 8.0)])
    over = drawn((24, 16), [rail], 2.0, plates=Quads(corners, np.array([5], np.int32)), radius=4.0)
    share = covered(over, [5])
    assert (share[4:12, 9:15] == 1).all() and share[3, 4] == 0
    assert share.sum() == pytest.approx(160 - (4 - np.pi) * 16, 0.02)
    assert over.pick[8, 12] == 5 and over.pick[7, 1] == 1
    under = drawn((24, 16), [rail], 2.0, lit=True, plates=Quads(corners, np.array([5], np.int32)), radius=4.0)
    assert under.pick[8, 12] == 1 and under.pick[5, 12] == 5


def test_shares_of_a_pixel_add_up() -> None:
    strokes = [line([(0.0, y), (30.0, 14 - y)], first=i + 1) for i, y in enumerate((2.0, 6.0, 7.0, 7.5, 8.0, 11.0))]
    raster = drawn((30, 15), strokes, 2.6, lit=True, halo=4.0)
    assert (raster.shares.sum(axis=1) == mesh_raster.WHOLE).all() and len(set(raster.edges)) == len(raster.edges)


def test_a_marked_colour_is_hatched_with_edges_or_without() -> None:
    corners = np.array([[[0, 0], [19.5, 0], [19.5, 20], [0, 20]]], float)
    raster = drawn((20, 20), [], 1.0, plates=Quads(corners, np.array([1], np.int32)))
    out = np.empty((20, 20), np.uint32)
    mesh_raster.shade(*raster, np.array([0xFF000000, mesh_raster.MARKED], np.uint32), 0xFFFF0000, 0xFF0000FF, out)
    assert set(np.unique(out[1:-1, 1:19])) == {0xFFFF0000, 0xFF0000FF}


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
    for kind in ("cyclic", "sequential", "diverging", "error", "light"):
        light = lab(rgb(mesh_colours.shades(kind, theme)), SIGHT["normal"])[:, 0]
        if kind == "cyclic":
            assert np.abs(light - canvas).min() > (25 if theme == "dark" else 8)
        else:
            assert abs(light[-1] - canvas) > 40
    amounts = lab(rgb(mesh_colours.shades("sequential", theme)), SIGHT["normal"])[:, 0]
    assert (np.diff(amounts) * (1 if theme == "dark" else -1) > -0.5).all()


def test_the_worst_has_a_colour_that_nothing_good_has_and_the_same_on_both_themes() -> None:
    worst = [mesh_colours.shades("error", theme)[-1] for theme in ("dark", "light")]
    assert worst[0] == worst[1]
    for theme in ("dark", "light"):
        others = [mesh_colours.shades(kind, theme) for kind in ("sequential", "diverging", "light")]
        bad = lab(rgb(np.array(worst[:1])), SIGHT["normal"])
        assert np.linalg.norm(lab(rgb(np.concatenate(others)), SIGHT["normal"]) - bad, axis=1).min() > 40
        canvas = lab(rgb(np.array([mesh_colours.CANVAS[theme]])), SIGHT["normal"])
        steps = lab(rgb(mesh_colours.shades("error", theme)[::64]), SIGHT["normal"])
        assert (np.diff(np.linalg.norm(steps - canvas, axis=1)) > 0).all()
    scale, out = mesh_colours.error([np.array([-2.0, 1.0])], ""), np.empty(3, np.uint32)
    assert mesh_colours.paint(np.array([-2.0, 2.0, 0.0]), scale, "dark", out) == 0
    assert out[0] == out[1] == worst[0] != out[2]


@pytest.mark.parametrize("theme", ("dark", "light"))
def test_light_is_as_bright_as_its_power_whatever_its_phase(theme: str) -> None:
    turn, out = np.linspace(0, 2 * np.pi, 32, endpoint=False), np.empty(32, np.uint32)
    scale = mesh_colours.Scale("light", -20.0, 0.0)
    glass = lab(np.array([mesh_colours.LIGHT[theme][0]], float), SIGHT["normal"])[0, 0]
    before = 0.0
    for level in (-20.0, -10.0, 0.0):
        assert mesh_colours.lit(np.full(32, level), turn, scale, theme, out) == 0
        seen = lab(rgb(out), SIGHT["normal"])
        assert np.ptp(seen[:, 0]) < 10
        apart = abs(seen[:, 0].mean() - glass)
        assert apart >= before
        before = apart + 5
    chroma = np.hypot(seen[:, 1], seen[:, 2])
    hues = np.unwrap(np.arctan2(seen[:, 2], seen[:, 1]))
    assert chroma.min() > 25 and (np.diff(hues) > 0).all() and 5 < hues[-1] - hues[0] < 2 * np.pi
    mesh_colours.lit(np.zeros(2), np.array([0.301, 0.301 - 2 * np.pi]), scale, theme, out[:2])
    assert out[0] == out[1]  # the middle of a shade, whichever way it rounds
    assert mesh_colours.lit(np.array([0.0, np.nan]), np.zeros(2), scale, theme, out[:2]) == 1
    assert out[1] == mesh_raster.MARKED


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
    fields = mesh_light.fields(whole(mesh), {"": phases}, 2)[""]
    assert fields.shape == (PARTS * mesh.columns + 1, 6)
    np.testing.assert_allclose((np.abs(fields) ** 2).sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(fields[-1] * np.exp(1j * phases["screen"]), u[:, 2], atol=1e-12)
    # Behind a heater light is turned by its phase.
    for element in range(mesh.count):
        at, rail = PARTS * mesh.column[element], mesh.top[element]
        for part_, kind in ((0, "phi"), (2, "theta")):
            turned = fields[at + part_, rail] * np.exp(1j * phases[kind][element])
            np.testing.assert_allclose(fields[at + part_ + 1, rail], turned, atol=1e-12)


def test_light_in_a_core_goes_through_v_sigma_and_u() -> None:
    layer, rng = core(5), generator(2, "light")
    sigma = rng.uniform(0.1, 3.0, 5)
    phases = {side: {"theta": rng.uniform(0, 6, 10)} for side in ("u", "v")}
    phases["sigma"] = {"sigma": sigma}
    powers = {side: np.abs(fields) ** 2 for side, fields in mesh_light.fields(layer, phases, 3).items()}
    u, v = (mesh_light.matrix(layer.parts[side], phases[side]) for side in ("u", "v"))
    expected = np.abs(u @ (sigma / sigma.max() * v[:, 3])) ** 2
    np.testing.assert_allclose(powers["u"][-1], expected, atol=1e-12)
    phases["v"]["theta"][0] = np.nan
    assert mesh_light.fields(layer, phases, 3) == {}


def test_arms_of_a_real_mzi_make_its_outputs_and_are_turned_by_its_phase_both_ways() -> None:
    layer, theta = whole(Mesh("rectangular", 2)), np.array([0.7])
    layer = layer._replace(parts={"": layer.parts[""]._replace(complex=False)})
    before, same, arms, turned, out = mesh_light.fields(layer, {"": {"theta": theta}}, 0)[""]
    np.testing.assert_array_equal(before, same)
    np.testing.assert_allclose(turned, arms * np.exp([0.7j, -0.7j]), atol=1e-15)
    np.testing.assert_allclose(out, [np.cos(0.7), np.sin(0.7)], atol=1e-15)
