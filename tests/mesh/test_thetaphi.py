"""Meshes of cores with theta and phi: their places, their matrices, and which phases make a matrix."""

from __future__ import annotations

import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.errors import ChipError
from l2sim.mesh import thetaphi, unitary
from l2sim.mesh.mesh import KINDS, Mesh, require, require_core
from l2sim.mesh.orthogonal import decompose
from l2sim.mesh.reference import compact_order
from l2sim.mesh.wiring import wiring

SIZES = (2, 3, 4, 9)


def targets(k: int) -> np.ndarray:
    """Haar random unitary and orthogonal matrices, the identity, and one that swaps all rails."""
    rng = generator(1, "targets", k)
    real = np.linalg.qr(rng.normal(size=(2, k, k)))[0]
    return np.stack([*(unitary.haar_matrix(rng, k) for _ in range(3)), *real, np.eye(k), np.eye(k)[::-1]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", SIZES)
def test_heaters_stand_where_light_meets_them(kind: str, k: int) -> None:
    mesh = Mesh(kind, k, phi=True)
    theta, phi, screen = mesh.phases_of
    assert mesh.count == k * k and sorted([*theta, *phi, *screen]) == list(range(k * k))
    np.testing.assert_array_equal(mesh.column[theta], 2 * mesh.mzis.column + 1)
    np.testing.assert_array_equal(mesh.column[phi], 2 * mesh.mzis.column)
    assert (mesh.column[screen] == mesh.columns - 1).all() and mesh.shape == (mesh.columns, k)
    assert sorted(compact_order(mesh)) == list(range(k * k))
    there = np.concatenate([np.arange(*mesh.first[c : c + 2]) for c in range(mesh.columns)])
    np.testing.assert_array_equal(there, np.arange(k * k))
    phases = generator(2).normal(size=(3, mesh.count))
    np.testing.assert_array_equal(mesh.gather(mesh.scatter(phases)), phases)
    # The neighbours are those of a whole mesh, whose heaters are listed in another order.
    ours = np.concatenate((theta, phi, screen))
    for heater, beside in zip(ours, wiring(mesh.mzis).around):
        own = mesh.around[heater]
        assert sorted(own[own >= 0]) == sorted(ours[beside[beside >= 0]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", SIZES)
def test_every_unitary_matrix_can_be_had(kind: str, k: int) -> None:
    mesh, wanted = Mesh(kind, k, phi=True), targets(k)
    phases = thetaphi.decompose(mesh, wanted)
    assert phases.shape == (len(wanted), *mesh.shape) and (phases >= 0).all() and (phases < 2 * np.pi).all()
    np.testing.assert_allclose(thetaphi.matrix(mesh, phases), wanted, atol=1e-12)
    both = decompose(mesh, wanted)  # as the flow asks
    assert (both.signs == 1.0).all()
    np.testing.assert_array_equal(both.phases, phases)
    single = thetaphi.decompose(mesh, wanted.astype(np.complex64))
    assert single.dtype == np.float32
    np.testing.assert_allclose(thetaphi.matrix(mesh, single), wanted, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", SIZES)
def test_the_matrix_is_that_of_a_whole_mesh(kind: str, k: int) -> None:
    mesh, rng = Mesh(kind, k, phi=True), generator(3)
    theta, phi, screen = rng.uniform(0, 7, mesh.mzis.count), rng.uniform(0, 7, mesh.mzis.count), rng.uniform(0, 7, k)
    signs = rng.choice([-1.0, 1.0], k)
    ours = thetaphi.matrix(mesh, thetaphi.laid(mesh, theta, phi, screen), signs)
    whole = unitary.matrix(mesh.mzis, unitary.Settings(theta, phi, screen))
    np.testing.assert_allclose(ours, signs[:, None] * whole, atol=1e-12)
    np.testing.assert_allclose(ours @ ours.conj().T, np.eye(k), atol=1e-12)


@pytest.mark.parametrize("k", SIZES)
def test_identities(k: int) -> None:
    mesh = Mesh("rectangular", k, phi=True)
    np.testing.assert_allclose(thetaphi.matrix(mesh, thetaphi.identity(mesh)), np.eye(k), atol=1e-12)
    assert not thetaphi.identity(Mesh("rectangular", k)).any()


def test_theta_alone_turns_what_phi_and_the_screen_undo() -> None:
    """A rotation by single-armed MZIs alone carries phases that depend on its angles; with phi it is real."""
    mesh = Mesh("rectangular", 4, phi=True)
    wanted = targets(4)[3]
    phases = thetaphi.decompose(mesh, wanted)
    bare = phases.copy()
    bare[0::2] = np.pi * np.round(bare[0::2] / np.pi)  # phi and screen with nothing to undo: signs alone
    assert np.abs(thetaphi.matrix(mesh, phases).imag).max() < 1e-12
    assert np.abs(thetaphi.matrix(mesh, bare).imag).max() > 0.1


def test_what_cannot_be() -> None:
    mesh = Mesh("rectangular", 4, phi=True)
    with pytest.raises(ChipError, match="of cores; leave phi out"):
        require(mesh)
    assert require_core(mesh) is mesh and require_core(mesh.mzis) is mesh.mzis
    with pytest.raises(ChipError, match="is no str"):
        require_core("rectangular")
    wrong = {"butterfly": {}, "rectangular": {"node": "crossing"}, "clements": {"inner_signs": True}}
    for kind, more in wrong.items():
        with pytest.raises(ChipError, match="cores with phi are"):
            Mesh(kind, 4, phi=True, **more)  # type: ignore[arg-type]
    with pytest.raises(ChipError, match="this mesh has no phi"):
        thetaphi.decompose(mesh.mzis, np.eye(4))
    with pytest.raises(ChipError, match="do not fit a mesh of 4 modes"):
        thetaphi.decompose(mesh, np.eye(3))
    with pytest.raises(ChipError, match="only unitary"):
        thetaphi.decompose(mesh, np.ones((4, 4)))
    with pytest.raises(ChipError, match="do not fit this mesh"):
        thetaphi.matrix(mesh, np.zeros((4, 3)))
