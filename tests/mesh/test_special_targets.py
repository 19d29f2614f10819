"""Targets with many zeros, and nearly unitary ones: which settings a complex mesh takes where many would do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import l2sim
from l2sim.errors import ChipError
from l2sim.given import wrapped
from l2sim.mesh import mesh as real
from l2sim.mesh import orthogonal, unitary
from l2sim.mesh.mesh import Mesh

TURN = 2.0 * np.pi
LAYOUTS = ("rectangular", "triangular", "chain_cascade", "tree_cascade")
NODES = ("mzi", "three_splitter", "crossing")


def permutation(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.eye(n)[rng.permutation(n)]


def blocks(rng: np.random.Generator, n: int) -> np.ndarray:
    out, k = np.zeros((n, n), complex), n // 2
    out[:k, :k], out[k:, k:] = unitary.haar_matrix(rng, k), unitary.haar_matrix(rng, n - k)
    return out


def sparse(rng: np.random.Generator, n: int) -> np.ndarray:
    out = np.eye(n, dtype=complex)
    for _ in range(n // 3):
        some = rng.choice(n, 2, replace=False)
        out[some] = unitary.haar_matrix(rng, 2) @ out[some]
    return out


SPECIAL: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "identity": lambda rng, n: np.eye(n),
    "permutation": permutation,
    "mirror": lambda rng, n: np.eye(n)[::-1],
    "shift": lambda rng, n: np.roll(np.eye(n), 1, axis=0),
    "signs": lambda rng, n: np.diag(rng.choice([-1.0, 1.0], n)),
    "diagonal": lambda rng, n: np.diag(np.exp(1j * rng.uniform(0.0, TURN, n))),
    "monomial": lambda rng, n: permutation(rng, n) * np.exp(1j * rng.uniform(0.0, TURN, n)),
    "blocks": blocks,
    "crossed blocks": lambda rng, n: np.roll(blocks(rng, n), n // 2, axis=0),
    "hidden blocks": lambda rng, n: permutation(rng, n) @ blocks(rng, n) @ permutation(rng, n),
    "sparse": sparse,
    "reflection": lambda rng, n: np.eye(n) - 2.0 / n,
    "fourier": lambda rng, n: np.fft.fft(np.eye(n), norm="ortho"),
}
POINTED = ("identity", "permutation", "mirror", "shift", "signs", "diagonal", "monomial")
"""Every row has one entry, so that every MZI passes or crosses light."""


def apart(one: unitary.Settings, other: unitary.Settings) -> float:
    """The largest distance of two phases modulo a turn, rad."""
    return max(float(np.abs((a - b + np.pi) % TURN - np.pi).max(initial=0.0)) for a, b in zip(one, other))


@given(
    kind=st.sampled_from(LAYOUTS),
    node=st.sampled_from(NODES),
    name=st.sampled_from(sorted(SPECIAL)),
    modes=st.integers(1, 24),
    seed=st.integers(0, 2**31),
)
def test_settings_of_special_targets_are_exact_in_one_turn_and_stand_still(
    kind: str, node: str, name: str, modes: int, seed: int
) -> None:
    mesh, rng = Mesh(kind, modes, node=node), np.random.default_rng(seed)
    target = SPECIAL[name](rng, modes)
    settings = unitary.decompose(mesh, target)
    assert unitary.error(target, unitary.matrix(mesh, settings)) < 1e-9
    for phases in settings:
        assert (phases >= 0.0).all() and (phases < TURN).all()
    limit = 1e-8 if name == "fourier" else 1e-9  # its minors shrink with the size
    for turn in (1e-15, -3e-15):
        assert apart(settings, unitary.decompose(mesh, target * np.exp(1j * turn))) < limit
    noise = 1e-16 * rng.standard_normal((modes, modes))
    if node == "mzi":
        assert apart(settings, unitary.decompose(mesh, target + noise)) < limit


@given(
    kind=st.sampled_from(LAYOUTS), name=st.sampled_from(POINTED), modes=st.integers(2, 40), seed=st.integers(0, 2**31)
)
def test_targets_of_one_entry_a_row_need_bars_and_crosses_and_no_phi(
    kind: str, name: str, modes: int, seed: int
) -> None:
    theta, phi, _ = unitary.decompose(Mesh(kind, modes), SPECIAL[name](np.random.default_rng(seed), modes))
    assert ((theta == 0.0) | (theta == np.pi)).all()
    assert not phi.any()


@pytest.mark.parametrize("kind", LAYOUTS)
def test_generic_targets_have_no_free_phase(kind: str) -> None:
    """Settings of a Haar matrix depend on all of it: none is chosen."""
    mesh = Mesh(kind, 9)
    theta, phi, _ = unitary.decompose(mesh, unitary.haar_matrix(np.random.default_rng(2), 9))
    assert (phi > 0.0).all() and ((theta > 1e-3) & (theta < np.pi - 1e-3)).all()


@given(st.floats(-1e9, 1e9), st.sampled_from((np.float32, np.float64)))
def test_wrapping_ends_below_a_turn(phase: float, kind: Any) -> None:
    turned = wrapped(kind(phase))
    assert 0.0 <= turned < TURN
    assert abs(np.exp(1j * float(turned)) - np.exp(1j * float(kind(phase)))) < (1e-6 if kind is np.float64 else 1e3)


def test_what_lies_just_below_none_is_none() -> None:
    for tiny in (-1e-17, -5e-324, np.float32(-1e-9), -0.0, TURN, -TURN):
        assert wrapped(tiny) == 0.0 and wrapped(tiny).dtype == np.asarray(tiny).dtype


# ----------------------------------------------------------------------------------------------- nearly unitary


@given(
    complex_=st.booleans(),
    kind=st.sampled_from(("rectangular", "triangular")),
    modes=st.integers(2, 12),
    seed=st.integers(0, 2**31),
    off=st.floats(-16.0, -0.7),
)
def test_what_is_nearly_unitary_is_taken_to_the_tolerance_and_the_way_out_is_named(
    complex_: bool, kind: str, modes: int, seed: int, off: float
) -> None:
    """The same limit for real and complex meshes; beyond it the error names what to do, and what it names works."""
    mesh, rng = Mesh(kind, modes), np.random.default_rng(seed)
    exact = unitary.haar_matrix(rng, modes) if complex_ else np.linalg.qr(rng.normal(size=(modes, modes)))[0]
    noise = rng.normal(size=(2, modes, modes)) * 10.0**off
    target = exact + (noise[0] + 1j * noise[1] if complex_ else noise[0])
    far = np.abs(target @ target.conj().T - np.eye(modes)).max()
    nearest = l2sim.nearest_unitary(target) if complex_ else l2sim.nearest_orthogonal(target)
    assert np.linalg.norm(target - nearest) <= np.linalg.norm(target - exact) + 1e-12
    with pytest.raises(ChipError, match=r"nearest_(unitary|orthogonal)\(matrix\) or a tolerance above") if (
        far > unitary.TOLERANCE
    ) else np.errstate():
        assert np.abs(matrix_of(mesh, l2sim.decompose(target, mesh)) - target).max() < 20.0 * far + 1e-12
    assert np.abs(matrix_of(mesh, l2sim.decompose(nearest, mesh)) - nearest).max() < 1e-12
    loose = matrix_of(mesh, l2sim.decompose(target, mesh, tolerance=10.0))
    assert np.abs(loose - nearest).max() < (1e-8 if complex_ or far > unitary.TOLERANCE else 20.0 * far + 1e-12)


def matrix_of(mesh: Mesh, made: Any) -> np.ndarray:
    return unitary.matrix(mesh, made) if isinstance(made, unitary.Settings) else real.matrix(mesh, *made)


@pytest.mark.parametrize("decimals", (4, 5, 6, 7))
@pytest.mark.parametrize("modes", (4, 16))
def test_printed_and_single_precision_matrices_are_taken(modes: int, decimals: int) -> None:
    rng = np.random.default_rng(modes)
    haar, mesh = unitary.haar_matrix(rng, modes), Mesh("rectangular", modes)
    for target in (np.round(haar, decimals), haar.astype(np.complex64)):
        if np.abs(target @ target.conj().T - np.eye(modes)).max() < unitary.TOLERANCE:
            got = unitary.matrix(mesh, unitary.decompose(mesh, target))
            assert np.abs(got - target).max() < 3.0 * 10.0**-decimals + 3e-6
        else:
            assert decimals == 4


@pytest.mark.parametrize(
    "bad", (np.zeros((3, 3)), np.ones((3, 3)), np.eye(3)[:2], np.ones(3), "U", np.full((2, 2), np.nan))
)
def test_what_has_no_nearest_unitary_is_refused_in_one_line(bad: Any) -> None:
    for nearest in (unitary.nearest_unitary, orthogonal.nearest_orthogonal):
        with pytest.raises(ChipError) as refused:
            nearest(bad)
        assert "\n" not in str(refused.value)
