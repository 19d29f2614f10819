"""Where the heaters of a whole mesh lie: the arrays are what a walk through the couplers says."""

from __future__ import annotations

import numpy as np
import pytest

from l2sim.mesh.mesh import KINDS, NODES, Mesh
from l2sim.mesh.wiring import skipped, wiring


def walked(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`skipped`, coupler by coupler."""
    last, before = np.full(mesh.modes, -1), np.zeros((2, mesh.count), np.int64)
    for t, (column, *rails) in enumerate(zip(mesh.column, mesh.top, mesh.bottom)):
        before[:, t] = column - 1 - last[rails]
        last[rails] = column
    return before[0], before[1], mesh.columns - 1 - last


@pytest.mark.parametrize("modes", (1, 2, 3, 8, 9, 32))
@pytest.mark.parametrize("kind", KINDS)
def test_columns_without_a_coupler_are_those_of_a_walk(kind: str, modes: int) -> None:
    nodes = NODES if kind == "rectangular" else ("mzi",)
    for node in nodes:
        mesh = Mesh(kind, modes, node=node)
        for told, wanted in zip(skipped(mesh), walked(mesh)):
            np.testing.assert_array_equal(told, wanted)


def test_a_mesh_of_ones_own_too() -> None:
    mesh = Mesh.of(5, np.array([0, 1, 3, 0]), np.array([1, 2, 4, 1]), np.array([0, 2, 2, 5]))
    for told, wanted in zip(skipped(mesh), walked(mesh)):
        np.testing.assert_array_equal(told, wanted)


def test_what_chips_share_cannot_be_changed() -> None:
    mesh = Mesh("rectangular", 4)
    assert wiring(mesh) is wiring(Mesh("rectangular", 4))
    for array in (wiring(mesh).around, *skipped(mesh)):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
