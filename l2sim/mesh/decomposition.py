"""One door to the phases that realise a matrix, real or complex."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from l2sim.errors import ChipError
from l2sim.mesh import orthogonal, unitary
from l2sim.mesh.mesh import KINDS, Mesh
from l2sim.mesh.orthogonal import Rotations
from l2sim.mesh.unitary import Settings


def decompose(matrix: ArrayLike, mesh: Mesh) -> Rotations | Settings:
    """The phases, in radians, with which `mesh` of N modes does to light what `matrix` (N, N) says, y = U x.

    A real matrix, which must be orthogonal, on a rectangular or triangular mesh of plain MZIs gives `Rotations`: phases
    (C, N - 1) and signs (N,), what a `CoreChip` takes for one of its meshes; leading dimensions are a batch. A complex
    one, which must be unitary, gives `Settings` theta (n,), phi (n,) and screen (N,), what a `MeshChip` takes; so does
    a real one on any other mesh. ChipError where the matrix does not fit, or where the mesh cannot take every unitary.
    """
    if not isinstance(mesh, Mesh):
        raise ChipError(f"a matrix is decomposed for a mesh, not a {type(mesh).__name__}: decompose(matrix, Mesh(...))")
    try:
        values = np.asarray(matrix)
    except ValueError:
        raise ChipError(f"a matrix for this mesh has {mesh.modes} rows of {mesh.modes} numbers; these differ") from None
    if values.dtype.kind not in "biufc" or not np.isfinite(values).all():
        raise ChipError("a matrix must hold finite numbers only; check where its values come from")
    if values.dtype.kind == "c" or mesh.kind not in KINDS or mesh.node != "mzi":
        return unitary.decompose(mesh, values)
    return orthogonal.decompose(mesh, values if values.dtype.kind == "f" else values.astype(float))
