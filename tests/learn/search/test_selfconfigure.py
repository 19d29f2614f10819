"""Programming meshes whose splitters have errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2sim.backend import Array, generator
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import MeshHardware
from l2sim.errors import ChipError
from l2sim.learn.search import routes, selfconfigure
from l2sim.mesh import unitary
from l2sim.mesh.mesh import NODES, Mesh
from tests import goldens

UNIVERSAL = ("rectangular", *unitary.CASCADES)
SIZES = (1, 2, 3, 4, 5, 8)
seeds = st.integers(0, 2**32 - 1)
properties = settings(max_examples=30, deadline=None)


def problem(mesh: Mesh, seed: int, size: float = 0.03) -> tuple[Array, Array]:
    """A target and splitter errors."""
    draw = generator(seed, "problem")
    return unitary.haar_matrix(draw, mesh.modes), size * draw.normal(size=(2, mesh.count))


def far(mesh: Mesh, target: Array, chosen: unitary.Settings, errors: Array | None = None) -> float:
    return unitary.error(target, unitary.matrix(mesh, chosen, errors))


class Box:
    """A mesh of which only the public operations show; anything else is an error."""

    def __init__(self, chip: MeshChip) -> None:
        self._chip = chip

    def __getattr__(self, name: str) -> object:
        if name not in ("mesh", "meter", "readouts", "set_phases", "commanded", "forward", "backward"):
            raise AssertionError(f"a lab cannot use {name}")
        return getattr(self._chip, name)


def box(mesh: Mesh, seed: int, readouts: tuple[str, ...] = ("power",), **it: float) -> tuple[MeshHardware, MeshChip]:
    chip = MeshChip(mesh, Nonidealities(splitter_error_std=0.03, **it), seed, dtype="float64", readouts=readouts)
    return Box(chip), chip  # type: ignore[return-value]


# -- the step that all rests on ----------------------------------------------------------------------------------------


@properties
@given(seeds, st.booleans())
def test_one_mzi_is_nulled_exactly_with_unequal_splitters(seed: int, dark_bottom: bool) -> None:
    mesh, draw = Mesh("rectangular", 2), generator(seed)
    errors = 0.1 * draw.normal(size=(2, 1))
    z = draw.normal(size=(2, 2))
    wave = z[:, :1] + 1j * z[:, 1:]
    theta, phi, out, clipped = unitary.nullify(mesh, np.zeros(1, np.int64), wave, errors, dark_bottom)
    u = unitary.matrix(mesh, unitary.Settings(theta, phi, np.zeros(2)), errors)
    np.testing.assert_allclose(u @ wave, out, rtol=0, atol=1e-13)
    dark = abs(out[1 if dark_bottom else 0, 0])
    if not clipped:
        assert dark < 1e-13
    else:
        angles = np.linspace(0, np.pi, 41), np.linspace(0, 2 * np.pi, 41)
        for t in angles[0]:
            for p in angles[1]:
                other = unitary.matrix(mesh, unitary.Settings(np.array([t]), np.array([p]), np.zeros(2)), errors)
                assert abs((other @ wave)[1 if dark_bottom else 0, 0]) > dark - 1e-12


@pytest.mark.parametrize("modes", (4, 8))
def test_golden_nullification(modes: int) -> None:
    z, mesh = goldens.insitu("decomp_null_trees"), Mesh("rectangular", modes)
    target = z[f"u{modes}"]
    ideal = unitary.decompose(mesh, target)
    np.testing.assert_allclose(selfconfigure.null_basis(mesh, ideal), z[f"nullbasis{modes}"].T, rtol=0, atol=1e-12)
    errors = {"neq": z[f"null_neq_bs_error{modes}"].T}
    errors["eq"] = np.stack((z[f"bs_error{modes}"][:, 0],) * 2, axis=0)
    for name, off in errors.items():
        np.testing.assert_allclose(unitary.matrix(mesh, ideal, off), z[f"null_{name}_U_before{modes}"], atol=1e-12)
        found, clipped = selfconfigure.nullify(mesh, ideal, off)
        assert clipped == 0
        np.testing.assert_allclose(unitary.matrix(mesh, found, off), z[f"null_{name}_U_after{modes}"], atol=1e-12)
        for ours, theirs in zip(found, (z[f"null_{name}_{part}{modes}"] for part in ("theta", "phi", "gamma"))):
            assert np.abs(np.exp(1j * ours) - np.exp(1j * theirs)).max() < 1e-12


# -- known errors ------------------------------------------------------------------------------------------------------


@properties
@given(st.builds(Mesh, st.sampled_from(UNIVERSAL), st.integers(1, 7), node=st.sampled_from(NODES)), seeds)
def test_known_errors_are_corrected_exactly_unless_clipped(mesh: Mesh, seed: int) -> None:
    target, errors = problem(mesh, seed)
    plain = selfconfigure.plain_of(mesh)
    for found, clipped in (
        unitary.transfer(mesh, unitary.decompose(plain, target), errors),
        selfconfigure.nullify(mesh, unitary.decompose(plain, target), errors),
    ):
        assert clipped or far(mesh, target, found, errors) < 1e-11


@pytest.mark.parametrize("kind", ("butterfly", "permuting", "balanced_tree"))
@pytest.mark.parametrize("modes", (1, 5, 8))
def test_any_mesh_corrects_its_errors(kind: str, modes: int) -> None:
    mesh = Mesh(kind, modes)
    ideal, errors = unitary.haar(mesh, generator(2, kind, modes)), 0.03 * generator(3).normal(size=(2, mesh.count))
    found, clipped = unitary.transfer(mesh, ideal, errors)
    assert clipped or far(mesh, unitary.matrix(mesh, ideal), found, errors) < 1e-12


def test_a_mesh_of_sixty_four_modes_ends_near_its_target() -> None:
    """What correction is for: no correction 0.34, parallel nullification 0.99, MZI by MZI below 0.06, and optimised."""
    mesh = Mesh("rectangular", 64)
    target, errors = problem(mesh, 1)
    ideal = unitary.decompose(mesh, target)
    none, (nulled, clipped) = far(mesh, target, ideal, errors), selfconfigure.nullify(mesh, ideal, errors)
    assert 0.28 < none < 0.4 and clipped > 5 and far(mesh, target, nulled, errors) > 0.9
    local = far(mesh, target, unitary.transfer(mesh, ideal, errors)[0], errors)
    best = far(mesh, target, selfconfigure.program(mesh, target, errors, iterations=150), errors)
    assert best < 0.6 * local < 0.04


def test_three_splitters_need_no_clipping() -> None:
    worst = {}
    for node in NODES:
        mesh = Mesh("rectangular", 32, node=node)
        left = 0.03 * generator(4).normal(size=mesh.count)
        target = unitary.haar_matrix(generator(5), 32)
        ideal = unitary.decompose(selfconfigure.plain_of(mesh), target)
        for name, errors in (("alike", (left, left)), ("apart", (left, 0.03 * generator(6).normal(size=mesh.count)))):
            found, _ = unitary.transfer(mesh, ideal, np.stack(errors))
            worst[node, name] = far(mesh, target, found, np.stack(errors))
    assert worst["three_splitter", "apart"] < 0.1 * worst["mzi", "apart"]
    assert worst["crossing", "alike"] < 0.1 * worst["mzi", "alike"]
    assert worst["crossing", "apart"] > 0.1 * worst["mzi", "apart"], "errors that are not shared stay"


# -- optimisation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("kind", ("rectangular", "butterfly", "permuting"))
def test_the_gradient_of_the_misfit_is_finite_differences(kind: str, node: str) -> None:
    mesh = Mesh(kind, 5, node=node)
    target, errors = problem(mesh, 6)
    at = unitary.haar(mesh, generator(7))
    _, by = selfconfigure.misfit(mesh, target, at, errors)
    for part, slopes in by._asdict().items():
        for i, slope in enumerate(slopes):
            if part != "screen" and not mesh.active[i]:
                assert slope == 0.0
                continue
            sides = []
            for step in (1e-6, -1e-6):
                moved = getattr(at, part).copy()
                moved[i] += step
                sides.append(selfconfigure.misfit(mesh, target, at._replace(**{part: moved}), errors)[0])
            assert abs((sides[0] - sides[1]) / 2e-6 - slope) < 1e-7


def test_optimisation_only_comes_nearer() -> None:
    mesh = Mesh("rectangular", 16)
    target, errors = problem(mesh, 3)
    start = unitary.decompose(mesh, target)
    found, curve = selfconfigure.optimise(mesh, target, start, errors, iterations=60)
    assert curve[0] == pytest.approx(far(mesh, target, start, errors))
    assert curve[-1] == pytest.approx(far(mesh, target, found, errors), abs=1e-9)
    assert curve[-1] < 0.2 * curve[0] and len(curve) <= 61


@pytest.mark.parametrize("modes", SIZES)
def test_a_mesh_without_decomposition_can_be_fitted(modes: int) -> None:
    mesh = Mesh("butterfly", modes)
    target = unitary.matrix(mesh, unitary.haar(mesh, generator(1, modes)))
    start = unitary.haar(mesh, generator(2, modes))
    curve = selfconfigure.optimise(mesh, target, start, iterations=300)[1]
    assert curve[-1] <= curve[0] + 1e-12 and (modes > 4 or curve[-1] < 1e-3)


# -- by measurement ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", UNIVERSAL)
@pytest.mark.parametrize("modes", SIZES)
@pytest.mark.parametrize("node", ("mzi", "crossing"))
@pytest.mark.parametrize("offset", (0.0, 0.5, np.pi))
def test_a_closed_box_programs_itself_from_powers_at_its_ports(kind: str, modes: int, node: str, offset: float) -> None:
    """Whatever its phase offsets are, and where no MZI is clipped as well as with the splitters known; it says so."""
    mesh = Mesh(kind, modes, node=node)
    target = unitary.haar_matrix(generator(1, kind, modes), modes)
    hardware, chip = box(mesh, modes + 10, phase_bias=offset)
    said, undecided = selfconfigure.progressive(hardware, target)
    assert undecided == 0
    ideal = unitary.decompose(selfconfigure.plain_of(mesh), target)
    before = far(mesh, target, unitary.decompose(mesh, target), oracle_errors(chip))
    clipped = unitary.transfer(mesh, ideal, oracle_errors(chip))[1]
    error = unitary.error(target, chip.oracle_matrix())
    assert error < (before if clipped else 1e-9) + 1e-15
    assert said < error + 1e-7 and said > 0.5 * error - 1e-7


@pytest.mark.parametrize("kind", UNIVERSAL)
@pytest.mark.parametrize("modes", SIZES)
@pytest.mark.parametrize("node", ("mzi", "crossing"))
def test_it_is_found_where_mzis_cross(kind: str, modes: int, node: str) -> None:
    """On ideal splitters a node at the found theta, and no other offset, passes no light straight on."""
    mesh = Mesh(kind, modes, node=node)
    chip = MeshChip(mesh, Nonidealities(phase_bias=np.pi), modes, dtype="float64", readouts=("power",))
    found = routes.crossings(Box(chip))  # type: ignore[arg-type]
    covered = np.zeros(len(mesh.sites[0]), bool)
    for way in routes.ways(mesh):
        assert not (way.bars & ~covered).any(), "only what is known can be told to stay"
        covered[way.nodes] = True
    assert covered.all()
    routes.command(chip, np.flatnonzero(mesh.active), found)
    leaves = np.argmax(np.abs(chip.oracle_matrix()) ** 2, axis=0)
    np.testing.assert_allclose(np.abs(chip.oracle_matrix()[leaves, np.arange(modes)]), 1.0, atol=1e-9)
    rails = np.arange(modes)
    for i, j in zip(*mesh.sites[1:]):
        rails[[i, j]] = rails[[j, i]]
    np.testing.assert_array_equal(rails[leaves], np.arange(modes))


@pytest.mark.parametrize("kind", UNIVERSAL)
def test_what_was_reached_is_said_also_where_it_is_not_the_target(kind: str) -> None:
    """A mesh that nobody programmed is as far off as its readings say, at least half as far and never further."""
    mesh = Mesh(kind, 6)
    for seed in range(5):
        hardware, chip = box(mesh, seed)
        target = unitary.haar_matrix(generator(seed, "reached"), 6)
        said, error = selfconfigure.reached(hardware, target), unitary.error(target, chip.oracle_matrix())
        assert 0.5 * error < said <= error + 1e-9


def test_noise_is_borne_and_what_came_of_it_is_said() -> None:
    for seed in range(3):
        mesh, target = Mesh("rectangular", 6), unitary.haar_matrix(generator(seed, "noise"), 6)
        hardware, chip = box(mesh, seed, phase_bias=np.pi, shot_noise=1e-4)
        (said, _), error = selfconfigure.progressive(hardware, target), unitary.error(target, chip.oracle_matrix())
        assert error < 0.1 and abs(said - error) < 0.03, (said, error)


@pytest.mark.parametrize("noise", (1e-3, 1e-2))
@pytest.mark.parametrize("size", (1e-4, 1e-3, 0.1, 1.0))
def test_near_an_identity_what_noise_hides_is_counted_as_undecided(size: float, noise: float) -> None:
    """Rows that hardly overlap interfere below the noise: the phases between them are unknown, and said to be. Where
    they are known, the error is what is said, to the root of the noise of a power."""
    for seed in range(3):
        draw = generator(seed, "near an identity")
        hermitian = draw.normal(size=(6, 6)) + 1j * draw.normal(size=(6, 6))
        values, vectors = np.linalg.eigh(hermitian + hermitian.conj().T)
        target = (vectors * np.exp(1j * size * values)) @ vectors.conj().T
        chip = MeshChip(
            Mesh("rectangular", 6), Nonidealities(phase_bias=np.pi, readout_noise=noise), seed, dtype="float64"
        )
        said, undecided = selfconfigure.progressive(chip, target)
        error = unitary.error(target, chip.oracle_matrix())
        if size <= noise:
            assert undecided > 0, (said, error)
        if undecided == 0:
            assert said > 0.4 * error - 0.5 * np.sqrt(noise), (said, error)
        if size == 1.0 and noise == 1e-3:
            assert undecided == 0, (said, error)


def turns(modes: int) -> Array:
    """Two columns of blocks of two: rows overlap in a chain, and many have nothing in common with the first."""
    blocks = np.eye(modes, dtype=complex)
    for first in (0, 1):
        column = np.eye(modes, dtype=complex)
        for i in range(first, modes - 1, 2):
            column[i : i + 2, i : i + 2] = unitary.haar_matrix(generator(i, "turns"), 2)
        blocks = column @ blocks
    return blocks


@pytest.mark.parametrize("kind", UNIVERSAL)
@pytest.mark.parametrize("modes", (3, 4, 6, 8))
def test_rows_that_do_not_overlap_with_the_first_are_aligned_too(kind: str, modes: int) -> None:
    chip = MeshChip(Mesh(kind, modes), Nonidealities(phase_bias=np.pi), modes, dtype="float64")
    said = selfconfigure.progressive(chip, turns(modes))
    assert said.error < 1e-7 and said.undecided == 0
    assert unitary.error(turns(modes), chip.oracle_matrix()) < 1e-9


@pytest.mark.parametrize("kind", UNIVERSAL)
def test_phases_that_no_power_depends_on_are_counted(kind: str) -> None:
    """Of a permutation all but one, of two blocks one; powers are those of the target all the same."""
    halves = np.zeros((8, 8), complex)
    halves[:4, :4], halves[4:, 4:] = (unitary.haar_matrix(generator(i, "half"), 4) for i in (1, 2))
    for target, undecided in ((np.eye(8)[generator(3).permutation(8)], 7), (halves, 1)):
        chip = MeshChip(Mesh(kind, 8), Nonidealities(phase_bias=1.0), 4, dtype="float64")
        assert selfconfigure.progressive(chip, target).undecided == undecided
        np.testing.assert_allclose(np.abs(chip.oracle_matrix()), np.abs(target), atol=1e-7)


@pytest.mark.parametrize("kind", ("butterfly", "balanced_tree"))
def test_layouts_that_cannot_configure_themselves_are_named(kind: str) -> None:
    with pytest.raises(ChipError, match=f"a {kind} mesh"):
        selfconfigure.progressive(box(Mesh(kind, 8), 1)[0], np.eye(8))


def oracle_errors(chip: MeshChip) -> Array:
    return 0.03 * chip._optics.splitters[0]


def test_self_configuration_bears_coarse_heaters() -> None:
    mesh = Mesh("chain_cascade", 8)
    target = unitary.haar_matrix(generator(8), 8)
    hardware, chip = box(mesh, 3, phase_bits=12)
    selfconfigure.progressive(hardware, target)
    programmed = unitary.error(target, chip.oracle_matrix())
    chip.set_phases(**unitary.decompose(mesh, target)._asdict())
    assert programmed < 0.2 * unitary.error(target, chip.oracle_matrix())


def test_what_cannot_configure_itself() -> None:
    target = np.eye(4)
    with pytest.raises(ChipError, match="no 'power' readout"):
        selfconfigure.progressive(box(Mesh("rectangular", 4), 1, ("field",))[0], target)
    with pytest.raises(ChipError, match="three_splitter"):
        selfconfigure.progressive(box(Mesh("rectangular", 4, node="three_splitter"), 1)[0], target)
    with pytest.raises(ChipError, match="no decomposition"):
        selfconfigure.progressive(box(Mesh("butterfly", 4), 1)[0], target)
    with pytest.raises(ChipError, match="unitary"):
        selfconfigure.progressive(box(Mesh("rectangular", 4), 1)[0], 2 * target)
