"""One door to the phases that realise a matrix, real or complex."""

from __future__ import annotations

from numpy.typing import ArrayLike

from l2sim.errors import ChipError
from l2sim.given import finite, wrapped
from l2sim.mesh import orthogonal, unitary
from l2sim.mesh.mesh import KINDS, Mesh
from l2sim.mesh.orthogonal import Rotations
from l2sim.mesh.unitary import TOLERANCE, Settings


def decompose(matrix: ArrayLike, mesh: Mesh, tolerance: float = TOLERANCE) -> Rotations | Settings:
    """The phases, rad in [0, 2 pi), with which `mesh` of N modes does to light what `matrix` (N, N) says, y = U x.

    A real matrix, which must be orthogonal, on a rectangular or triangular mesh of plain MZIs gives `Rotations`: phases
    (C, N - 1) and signs (N,), what a `CoreChip` takes for one of its meshes; leading dimensions are a batch. A complex
    one, which must be unitary, gives `Settings` theta (n,), phi (n,) and screen (N,), what a `MeshChip` takes; so does
    a real one on any other mesh. ChipError where the matrix does not fit, where the mesh cannot take every unitary, and
    where an entry of U U^+ - 1 exceeds `tolerance`: `nearest_unitary` and `nearest_orthogonal` are for matrices that
    were measured or rounded. Where it is off by more than rounding, the nearest matrix is what the phases realise.
    """
    if not isinstance(mesh, Mesh):
        raise ChipError(f"a matrix is decomposed for a mesh, not a {type(mesh).__name__}: decompose(matrix, Mesh(...))")
    values = finite(matrix, "a target matrix")
    if values.dtype.kind == "c" or mesh.kind not in KINDS or mesh.node != "mzi":
        return unitary.decompose(mesh, values, tolerance=tolerance)
    phases, signs = orthogonal.decompose(mesh, values, tolerance)
    return Rotations(wrapped(phases), signs)
