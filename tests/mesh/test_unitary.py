"""Complex meshes of every kind and size: layouts, decompositions, Haar random settings, phase styles."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2sim.backend import generator, kernels
from l2sim.errors import ChipError
from l2sim.mesh import layouts, styles, unitary
from l2sim.mesh import reference as layout
from l2sim.mesh.mesh import NODES, Mesh
from l2sim.mesh.unitary import Settings
from tests import goldens
from tests.tolerances import kernel

reference = kernels.reference
KINDS = tuple(layouts.LAYOUTS)
UNIVERSAL = ("rectangular", *unitary.CASCADES)
REFERENCE_KINDS = {
    "rect": "rectangular", "tri": "chain_cascade", "treecascade": "tree_cascade", "baltree": "balanced_tree",
    "unbaltree": "unbalanced_tree", "butterfly": "butterfly",
}  # fmt: skip
SIZES = (1, 2, 3, 4, 5, 8, 17)

any_mesh = st.builds(Mesh, st.sampled_from(KINDS), st.integers(1, 9), node=st.sampled_from(NODES))
universal = st.builds(Mesh, st.sampled_from(UNIVERSAL), st.integers(1, 9), node=st.sampled_from(NODES))
seeds = st.integers(0, 2**32 - 1)
properties = settings(max_examples=40, deadline=None)


def circle(a: np.ndarray, b: np.ndarray) -> float:
    """The largest distance of two lists of phases on the circle."""
    return float(np.abs(np.exp(1j * a) - np.exp(1j * b)).max(initial=0.0))


def unwrapped(mesh: Mesh, seed: int) -> Settings:
    draw = generator(seed, "settings")
    return Settings(*(draw.uniform(-7, 7, size) for size in (mesh.count, mesh.count, mesh.modes)))


def off(mesh: Mesh, seed: int, size: float = 0.03) -> np.ndarray:
    return size * generator(seed, "errors").normal(size=(2, mesh.count))


# -- layouts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("modes", (*SIZES, 64))
def test_light_can_travel_and_no_two_couplers_meet(kind: str, modes: int) -> None:
    for node in NODES:
        mesh = Mesh(kind, modes, node=node)
        assert np.all((mesh.top >= 0) & (mesh.top < mesh.bottom) & (mesh.bottom < modes))
        assert np.all(np.diff(mesh.column * modes + mesh.top) > 0), "travel order is by column, from the top"
        rails = np.concatenate((mesh.column * modes + mesh.top, mesh.column * modes + mesh.bottom))
        assert np.unique(rails).size == rails.size
        assert mesh.shape == mesh.mask.shape and mesh.mask.sum() == mesh.count
        assert np.array_equal(np.diff(mesh.first), np.bincount(mesh.column, minlength=mesh.columns))
        numbers = np.arange(1, mesh.count + 1)
        assert np.array_equal(mesh.gather(mesh.scatter(numbers)), numbers)
        assert mesh.active.sum() * (1 if node == "mzi" else 2) == mesh.count
        assert np.all(mesh.around < mesh.count) and not np.any(mesh.around[~mesh.active] >= 0)


@pytest.mark.parametrize(
    "kind, columns, count",
    (
        *(("rectangular", 16, 120), ("triangular", 29, 120), ("chain_cascade", 29, 120), ("butterfly", 4, 32)),
        *(("tree_cascade", 49, 120), ("balanced_tree", 4, 15), ("unbalanced_tree", 15, 15), ("permuting", 16, 120)),
    ),
)
def test_how_deep_meshes_of_sixteen_modes_are(kind: str, columns: int, count: int) -> None:
    mesh = Mesh(kind, 16)
    assert (mesh.columns, mesh.count) == (columns, count)


def test_triangular_meshes_are_mirror_images() -> None:
    ours, theirs = Mesh("triangular", 7), Mesh("chain_cascade", 7)
    assert {*zip(ours.column, 5 - ours.top)} == {*zip(theirs.column, theirs.top)}


@pytest.mark.parametrize("modes", (1, 2, 3, 5, 12, 16, 23, 64))
def test_fixed_permutations_lose_no_rail(modes: int) -> None:
    sizes, strides = layouts.permutation_blocks(modes)
    assert sum(sizes) >= modes and len(strides) == len(sizes) - 1
    for stride in strides:
        assert sorted(layouts.rectangular_permutation(modes, stride)) == list(range(modes))


@pytest.mark.parametrize("kind", KINDS)
def test_a_custom_mesh_of_the_same_couplers_is_the_same_mesh(kind: str) -> None:
    mesh = Mesh(kind, 6)
    again = Mesh.of(6, mesh.top, mesh.bottom, mesh.column)
    packed = Mesh.of(6, mesh.top, mesh.bottom)
    chosen = unwrapped(mesh, 1)
    assert np.array_equal(unitary.matrix(again, chosen), unitary.matrix(mesh, chosen))
    assert packed.columns <= mesh.columns and packed.count == mesh.count
    assert hash(again) == hash(Mesh.of(6, mesh.top, mesh.bottom, mesh.column))


def test_couplers_stand_as_early_as_they_can() -> None:
    mesh = Mesh.of(4, np.array([2, 0, 1, 0]), np.array([3, 1, 3, 2]))
    assert (mesh.column.tolist(), mesh.top.tolist(), mesh.bottom.tolist()) == ([0, 0, 1, 1], [0, 2, 0, 1], [1, 3, 2, 3])
    assert Mesh.of(3, np.array([]), np.array([])).count == 0


@pytest.mark.parametrize(
    "top, bottom, column, says",
    (
        ([0, 1], [1, 1], None, "coupler 1 joins rails 1 and 1"),
        ([2], [1], None, "0 <= top < bottom < 4"),
        ([0], [4], None, "0 <= top < bottom < 4"),
        ([-1], [2], None, "0 <= top < bottom < 4"),
        ([0, 1], [1], None, "2 top and 1 bottom"),
        ([0.5], [1], None, "whole numbers"),
        ([[0]], [[1]], None, "whole numbers"),
        ([0, 1], [1, 2], [0, 0], "overlap on rail 1 in column 0"),
        ([0, 1], [1, 2], [0], "one column"),
        ([0], [1], [-1], "one column"),
    ),
)
def test_couplers_that_cannot_be(top: list, bottom: list, column: list | None, says: str) -> None:
    with pytest.raises(ChipError, match=says) as caught:
        Mesh.of(4, np.array(top), np.array(bottom), None if column is None else np.array(column))
    assert "\n" not in str(caught.value)


def test_meshes_that_do_not_exist() -> None:
    for wrong in ({"kind": "hexagonal"}, {"modes": 0}, {"modes": 4.0}, {"node": "ring"}, {"couplers": ((0, 0, 1),)}):
        with pytest.raises(ChipError):
            Mesh(**({"kind": "rectangular", "modes": 4} | wrong))


# -- matrices ----------------------------------------------------------------------------------------------------------


@properties
@given(any_mesh, seeds)
def test_matrices_are_unitary_and_reciprocal(mesh: Mesh, seed: int) -> None:
    chosen, errors = unwrapped(mesh, seed), off(mesh, seed, 0.2)
    u = unitary.matrix(mesh, chosen, errors)
    np.testing.assert_allclose(u.conj().T @ u, np.eye(mesh.modes), rtol=0, atol=kernel(np.float64, mesh.modes))
    # A mesh is the product of its dense nodes; the passive ones are a splitter and a crossing.
    dense = np.diag(np.exp(1j * chosen.screen))
    for t in range(mesh.count - 1, -1, -1):
        if mesh.active[t]:
            a, b, c, d = reference.pieces(chosen.theta[t], chosen.phi[t], errors[:, t])
            node = d @ c @ b @ a
        else:
            node = 1j * np.eye(2)[::-1] if mesh.node == "crossing" else reference.coupler(errors[1, t])
        large = np.eye(mesh.modes, dtype=complex)
        large[np.ix_((mesh.top[t], mesh.bottom[t]), (mesh.top[t], mesh.bottom[t]))] = node
        dense = dense @ large
    np.testing.assert_allclose(u, dense, rtol=0, atol=kernel(np.float64, mesh.modes))
    parts, _, screen = unitary.elements(mesh, chosen, errors)
    back = np.ascontiguousarray(np.stack((np.eye(mesh.modes), np.zeros((mesh.modes, mesh.modes))))[None])
    kernels.propagate.backward(parts, mesh.top, mesh.bottom, screen, back)
    np.testing.assert_allclose(back[0, 0] + 1j * back[0, 1], u.T, rtol=0, atol=kernel(np.float64, mesh.modes))


@properties
@given(universal, seeds)
def test_matrix_to_phases_to_matrix(mesh: Mesh, seed: int) -> None:
    u = unitary.haar_matrix(generator(seed), mesh.modes)
    assert np.abs(unitary.matrix(mesh, unitary.decompose(mesh, u)) - u).max() < 1e-12 * mesh.modes


@properties
@given(st.builds(Mesh, st.sampled_from(UNIVERSAL), st.integers(1, 9)), seeds)
def test_phases_to_matrix_to_phases(mesh: Mesh, seed: int) -> None:
    chosen = unitary.haar(mesh, generator(seed))
    found = unitary.decompose(mesh, unitary.matrix(mesh, chosen))
    # Where theta is near 0 or pi the matrix hardly depends on phi, nor the decomposition on rounding.
    slack = np.abs(np.sin(chosen.theta)).min(initial=1.0)
    for ours, wanted in zip(found, chosen):
        assert circle(ours, wanted) < 1e-12 * mesh.modes / slack


@properties
@given(universal, st.booleans(), seeds)
def test_permutations_and_phases_decompose(mesh: Mesh, swap: bool, seed: int) -> None:
    draw = generator(seed)
    order = draw.permutation(mesh.modes) if swap else np.arange(mesh.modes)
    u = np.eye(mesh.modes)[order] * np.exp(1j * draw.uniform(0, 7, mesh.modes))
    assert np.abs(unitary.matrix(mesh, unitary.decompose(mesh, u)) - u).max() < 1e-12 * mesh.modes


@properties
@given(st.sampled_from(unitary.TREES), st.integers(1, 17), st.sampled_from(NODES), seeds)
def test_a_tree_gathers_a_row(kind: str, modes: int, node: str, seed: int) -> None:
    mesh, draw = Mesh(kind, modes, node=node), generator(seed)
    row = draw.normal(size=modes) + 1j * draw.normal(size=modes)
    u = unitary.matrix(mesh, unitary.gather(mesh, row))
    np.testing.assert_allclose(u[-1], row / np.linalg.norm(row), rtol=0, atol=1e-12)


@properties
@given(universal, universal, seeds)
def test_any_matrix_is_two_meshes_and_attenuators(mesh_u: Mesh, mesh_v: Mesh, seed: int) -> None:
    p, q = mesh_u.modes, mesh_v.modes
    w = np.array([[1, 1j]]) @ generator(seed).normal(size=(2, p * q))
    w = w.reshape(p, q)
    u, sigma, v = unitary.svd(mesh_u, mesh_v, w)
    r = min(p, q)
    got = unitary.matrix(mesh_u, u)[:, :r] * sigma @ unitary.matrix(mesh_v, v)[:r]
    np.testing.assert_allclose(got, w, rtol=0, atol=1e-11)


def test_five_hundred_and_twelve_modes_in_seconds() -> None:
    u = unitary.haar_matrix(generator(1), 512)
    for kind in ("rectangular", "chain_cascade"):
        mesh = Mesh(kind, 512)
        unitary.decompose(Mesh(kind, 4), np.eye(4))  # compiled
        start = time.process_time()
        found = unitary.decompose(mesh, u)
        assert time.process_time() - start < 20.0
        assert np.abs(unitary.matrix(mesh, found) - u).max() < 1e-12 * 512


def test_what_no_mesh_can_take() -> None:
    mesh = Mesh("rectangular", 4)
    for wrong, says in (
        (1.01 * np.eye(4), "unitary"), (np.zeros((4, 4)), "unitary"), (np.eye(5), "does not fit"),
        (np.eye(4)[0], "does not fit"), (np.full((4, 4), np.nan), "not finite"),
    ):  # fmt: skip
        with pytest.raises(ChipError, match=says) as caught:
            unitary.decompose(mesh, wrong)
        assert "\n" not in str(caught.value)
    for kind in ("butterfly", "permuting", "balanced_tree"):
        with pytest.raises(ChipError, match="no decomposition"):
            unitary.decompose(Mesh(kind, 4), np.eye(4))
    with pytest.raises(ChipError, match="no tree"):
        unitary.gather(mesh, np.ones(4))
    tree = Mesh("balanced_tree", 4)
    for row in (np.zeros(4), np.ones(3), np.array([1, 2, np.nan, 4])):
        with pytest.raises(ChipError):
            unitary.gather(tree, row)
    good = unwrapped(mesh, 1)
    for wrong_part in ({"theta": good.theta[1:]}, {"phi": good.phi * np.nan}, {"screen": np.ones(3)}):
        bad = good._replace(**wrong_part)
        with pytest.raises(ChipError):
            unitary.matrix(mesh, bad)
    with pytest.raises(ChipError, match="splitter errors"):
        unitary.matrix(mesh, good, np.zeros((mesh.count, 2)))


# -- random meshes -----------------------------------------------------------------------------------------------------

SAMPLES = 1200


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("modes", (2, 5, 8))
def test_haar_settings_make_haar_matrices(kind: str, modes: int) -> None:
    """E |U_ij|^2 = 1 / N and E |U_ij|^4 = 2 / (N (N + 1)) for every element; E |U_ij|^2 |U_kj|^2 = 1 / (N (N + 1))."""
    mesh, draw = Mesh(kind, modes), generator(7, kind, modes)
    power = np.array([np.abs(unitary.matrix(mesh, unitary.haar(mesh, draw))) ** 2 for _ in range(SAMPLES)])
    if kind in unitary.TREES:
        power = power[:, -1:]
    elif kind == "permuting" or (kind == "butterfly" and modes & (modes - 1)):
        pytest.skip("not every input reaches every output alike: no such mesh is Haar")
    for moment, expected in ((1, 1 / modes), (2, 2 / (modes * (modes + 1)))):
        seen = power**moment
        sigma = seen.std(axis=0) / np.sqrt(SAMPLES)
        assert np.abs((seen.mean(axis=0) - expected) / sigma).max() < 4.5
    along = 2 if kind in (*unitary.TREES, "butterfly") else 1
    together = power * np.roll(power, 1, axis=along)
    sigma = together.std(axis=0) / np.sqrt(SAMPLES)
    assert np.abs((together.mean(axis=0) - 1 / (modes * (modes + 1))) / sigma).max() < 4.5


def test_a_permuting_mesh_spreads_light_more_evenly_than_uniform_phases_do() -> None:
    """E |U_ij|^4 N (N + 1) / 2 over all elements is 1 for Haar matrices and more where light stays together."""
    mesh, draw, seen = Mesh("permuting", 16), generator(3), {}
    for kind in ("haar", "uniform"):
        total = 0.0
        for _ in range(300):
            chosen = unitary.haar(mesh, draw)
            if kind == "uniform":
                chosen = chosen._replace(theta=draw.uniform(0, np.pi, mesh.count))
            total += np.mean(np.abs(unitary.matrix(mesh, chosen)) ** 4) * 16 * 17 / 2 / 300
        seen[kind] = abs(total - 1)
    assert seen["haar"] < 0.04 < 0.07 < seen["uniform"]


def test_sensitivities_are_those_of_the_reference_where_these_are_haar(golden_trees: dict) -> None:
    for modes in (4, 8):
        for name in ("rect", "treecascade", "baltree"):
            mesh = Mesh(REFERENCE_KINDS[name], modes)
            for key in ("alpha", "beta"):
                theirs = golden_trees[f"{name}{modes}_{key}"][layout.node_order(mesh)]
                assert np.array_equal(getattr(mesh, key), theirs)
        # simphox gives a chain's sensitivities in the reverse order, which is not Haar.
        chain = Mesh("unbalanced_tree", modes)
        assert chain.beta.tolist() == golden_trees[f"unbaltree{modes}_beta"][::-1].tolist()


# -- golden data -------------------------------------------------------------------------------------------------------


@pytest.fixture
def golden_trees() -> dict:
    return goldens.insitu("decomp_null_trees")


@pytest.mark.parametrize("modes", (4, 8))
@pytest.mark.parametrize("name", ("rect", "tri"))
def test_golden_decompositions(name: str, modes: int) -> None:
    z, mesh = goldens.insitu(f"mesh_{name}_{modes}"), Mesh(REFERENCE_KINDS[name], modes)
    order, found = layout.node_order(mesh), unitary.decompose(mesh, z["u"])
    for key in ("top", "bottom", "column"):
        assert np.array_equal(getattr(mesh, key), z[key][order])
    assert circle(found.theta, z["theta"][order]) < 1e-12
    assert circle(found.phi, z["phi"][order]) < 1e-12
    assert circle(found.screen, z["gamma"]) < 1e-12
    loss = np.ones((4, mesh.count))
    loss[::2] = 10 ** (-z["loss_db"][order].T / 20)
    everything = Settings(z["theta"][order] + z["dtheta"][order], z["phi"][order] + z["dphi"][order], z["gamma"])
    np.testing.assert_allclose(
        unitary.matrix(mesh, everything, z["bs_error"][order].T, loss), z["matrix_all"], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("modes", (4, 8))
@pytest.mark.parametrize("name", ("rect", "treecascade", "baltree", "unbaltree", "butterfly"))
def test_golden_trees_and_butterflies(name: str, modes: int, golden_trees: dict) -> None:
    z = {key: golden_trees[f"{name}{modes}_{key}"] for key in ("top", "bottom", "column", "theta", "phi", "gamma")}
    mesh = Mesh(REFERENCE_KINDS[name], modes)
    order, u = layout.node_order(mesh), golden_trees[f"u{modes}"]
    for key in ("top", "bottom", "column"):
        assert np.array_equal(getattr(mesh, key), z[key][order])
    if name == "butterfly":
        return
    found = unitary.gather(mesh, u[0]) if mesh.kind in unitary.TREES else unitary.decompose(mesh, u)
    for ours, theirs in zip(found, (z["theta"][order], z["phi"][order], z["gamma"])):
        assert circle(ours, theirs) < 1e-12


def test_meshes_that_the_references_do_not_number() -> None:
    for mesh in (Mesh("triangular", 4), Mesh("permuting", 4), Mesh("butterfly", 6)):
        with pytest.raises(ChipError, match="no ids"):
            layout.node_order(mesh)


# -- phase styles ------------------------------------------------------------------------------------------------------

plain_or_crossing = st.builds(
    Mesh, st.sampled_from(KINDS), st.integers(1, 7), node=st.sampled_from(("mzi", "crossing"))
)


@properties
@given(plain_or_crossing, st.sampled_from(tuple(styles.STYLES)), seeds)
def test_a_style_is_what_its_arms_do(mesh: Mesh, style: str, seed: int) -> None:
    chosen, errors = unwrapped(mesh, seed), off(mesh, seed, 0.1)
    u = np.diag(np.exp(1j * chosen.screen))
    for t in range(mesh.count - 1, -1, -1):
        if mesh.active[t]:
            t0, t1, p0, p1 = np.exp(1j * np.array(styles.STYLES[style]) @ (chosen.theta[t], chosen.phi[t]))
            left, right = (reference.coupler(error) for error in errors[:, t])
            node = right @ np.diag((t0, t1)) @ left @ np.diag((p0, p1))
        else:
            node = 1j * np.eye(2)[::-1]
        large = np.eye(mesh.modes, dtype=complex)
        large[np.ix_((mesh.top[t], mesh.bottom[t]), (mesh.top[t], mesh.bottom[t]))] = node
        u = u @ large
    got = unitary.matrix(mesh, styles.to_top(mesh, style, chosen), errors)
    np.testing.assert_allclose(got, u, rtol=0, atol=1e-11)


@properties
@given(plain_or_crossing, st.sampled_from(("top", "bottom", "differential")), seeds)
def test_styles_convert_both_ways(mesh: Mesh, style: str, seed: int) -> None:
    chosen = unwrapped(mesh, seed)
    there = styles.from_top(mesh, style, chosen)
    for ours, wanted, active in zip(styles.to_top(mesh, style, there), chosen, (mesh.active, mesh.active, 1)):
        np.testing.assert_allclose(ours, wanted * active, rtol=0, atol=1e-10)


@pytest.mark.parametrize("style", styles.STYLES)
def test_gradients_in_a_style_are_finite_differences(style: str) -> None:
    mesh = Mesh("rectangular", 5)
    chosen, weights = unwrapped(mesh, 2), generator(5).normal(size=(2, 5, 5))

    def loss(at: Settings) -> float:
        u = unitary.matrix(mesh, styles.to_top(mesh, style, at))
        return float(np.sum(weights[0] * u.real + weights[1] * u.imag))

    def slope(function, at: Settings) -> Settings:
        out = []
        for part, values in at._asdict().items():
            steps = 1e-6 * np.eye(len(values))
            sides = [[function(at._replace(**{part: values + sign * s})) for s in steps] for sign in (1, -1)]
            out.append(np.subtract(*sides) / 2e-6)
        return Settings(*out)

    inner = styles.to_top(mesh, style, chosen)
    by_top = slope(lambda at: loss_of_top(mesh, weights, at), inner)
    for ours, wanted in zip(styles.gradient(mesh, style, by_top), slope(loss, chosen)):
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-7)


def loss_of_top(mesh: Mesh, weights: np.ndarray, at: Settings) -> float:
    u = unitary.matrix(mesh, at)
    return float(np.sum(weights[0] * u.real + weights[1] * u.imag))


def test_styles_that_cannot_be() -> None:
    mesh = Mesh("rectangular", 4)
    with pytest.raises(ChipError, match="unknown"):
        styles.to_top(mesh, "sideways", unwrapped(mesh, 1))
    with pytest.raises(ChipError, match="cannot take every matrix"):
        styles.from_top(mesh, "symmetric", unwrapped(mesh, 1))
    three = Mesh("rectangular", 4, node="three_splitter")
    with pytest.raises(ChipError, match="three_splitter"):
        styles.to_top(three, "bottom", unwrapped(three, 1))
