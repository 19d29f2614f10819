"""Matrices that meshes are asked for or have: of other number types, with many zeros, and not quite unitary."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from l2sim.errors import ChipError
from l2sim.mesh import mesh, unitary
from l2sim.mesh import orthogonal as decompose
from l2sim.mesh.mesh import Mesh

TURN = 2.0 * np.pi
SHUFFLE = np.eye(4)[[2, 0, 3, 1]]
EXACT = 1e-6


def rebuilt(size: int, matrix: Any) -> np.ndarray | None:
    """The matrix of the phases that a real mesh takes for `matrix`; None if it is refused."""
    grid = Mesh("rectangular", size)
    try:
        phases, signs = decompose.decompose(grid, matrix)
    except ChipError as refused:
        assert "\n" not in str(refused)
        return None
    return mesh.matrix(grid, np.asarray(phases, float), np.asarray(signs, float))


@pytest.mark.parametrize("kind", (int, bool))
def test_a_permutation_of_whole_numbers_gets_the_phases_of_the_same_permutation(kind: type) -> None:
    matrix = rebuilt(4, SHUFFLE.astype(kind))
    assert matrix is None or np.abs(matrix - SHUFFLE).max() < EXACT


def orthogonal(size: int = 4, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def there_and_back(matrix: Any) -> np.ndarray | None:
    """As `rebuilt`, with the phases and signs just as they were given out; None if the matrix is refused."""
    grid = Mesh("rectangular", 4)
    try:
        return mesh.matrix(grid, *decompose.decompose(grid, matrix))
    except ChipError as refused:
        assert "\n" not in str(refused)
        return None


def test_nested_lists_are_taken_as_a_matrix() -> None:
    matrix = there_and_back(orthogonal().tolist())
    assert matrix is None or np.abs(matrix - orthogonal()).max() < EXACT


@pytest.mark.parametrize("kind", ("longdouble", ">f8", "complex128", "object"))
def test_a_matrix_of_another_number_type_is_taken_or_refused(kind: str) -> None:
    matrix = there_and_back(orthogonal().astype(kind))
    assert matrix is None or np.abs(matrix - orthogonal()).max() < EXACT


def test_phases_of_whole_numbers_give_the_matrix_of_the_same_phases() -> None:
    grid = Mesh("rectangular", 4)
    wanted = mesh.matrix(grid, np.ones(grid.shape))
    np.testing.assert_allclose(mesh.matrix(grid, np.ones(grid.shape, int)), wanted, atol=EXACT)


# ------------------------------------------------------------------------------------------------- complex meshes


def test_settings_lie_below_a_whole_turn() -> None:
    for phases in unitary.decompose(Mesh("rectangular", 3), np.eye(3)):
        assert (phases >= 0.0).all() and (phases < TURN).all()


def permutation(size: int) -> np.ndarray:
    return np.eye(size)[np.random.default_rng(size).permutation(size)]


def test_a_turn_of_the_last_bit_leaves_the_settings_where_they_are() -> None:
    grid, target = Mesh("rectangular", 16), permutation(16).astype(complex)
    before, after = unitary.decompose(grid, target), unitary.decompose(grid, target * np.exp(1e-15j))
    for one, other in zip(before, after):
        assert np.abs((one - other + np.pi) % TURN - np.pi).max() < 1e-8


def test_free_phases_of_a_permutation_cost_no_power() -> None:
    grid, target = Mesh("triangular", 64), permutation(64)
    settings = unitary.decompose(grid, target)
    assert np.abs(unitary.matrix(grid, settings) - target).max() < 1e-9
    assert sum(phases.sum() for phases in settings) / np.pi < 1300.0, "heater power in units of P_pi; 1,069 is possible"


def test_every_mzi_of_a_permutation_is_bar_or_cross() -> None:
    theta = unitary.decompose(Mesh("rectangular", 64), permutation(64)).theta
    assert np.minimum(theta, np.abs(theta - np.pi)).max() < EXACT


def test_a_unitary_of_five_decimals_is_taken_or_the_way_to_take_it_is_named() -> None:
    grid = Mesh("rectangular", 8)
    printed = np.round(unitary.haar_matrix(np.random.default_rng(1), 8), 5)
    try:
        settings = unitary.decompose(grid, printed)
    except ChipError as refused:
        assert re.search("nearest|polar|tolerance", str(refused)), refused
    else:
        assert np.abs(unitary.matrix(grid, settings) - printed).max() < 1e-4
