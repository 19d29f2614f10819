"""Orthogonal matrices -> mesh phases."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from l2sim.backend import Array, kernels
from l2sim.errors import ChipError
from l2sim.given import real, scalar
from l2sim.mesh import reference, thetaphi
from l2sim.mesh.mesh import Mesh, require_real
from l2sim.mesh.unitary import EXACT, SINGLE, TOLERANCE, nearby, polar, square


class Rotations(NamedTuple):
    """What makes a mesh of rotations an orthogonal matrix: `phases` (..., C, N - 1) in radians, as [column, upper
    rail], and the `signs` +1 or -1 (..., N) at its outputs. A `CoreChip` and `l2sim.mesh.mesh.matrix` take both."""

    phases: Array
    signs: Array


def decompose(mesh: Mesh, matrices: ArrayLike, tolerance: float = TOLERANCE) -> Rotations:
    """Orthogonal `matrices` (..., N, N) to the phases and signs that realise them: the inverse of `mesh.matrix`.

    Clements et al., Optica 3, 1460 (2016); Reck et al., PRL 73, 58 (1994). float64, or float32 of matrices in float32.
    Phases are as the elimination gives them, in [-pi, pi]; `l2sim.decompose` wraps them. Where a matrix is further from
    orthogonal than by rounding, the nearest one that is; ChipError beyond `tolerance` (U U' - 1, any entry).

    Of a mesh with phi phases (..., 2 C + 1, N), and all signs +1: any unitary matrix (`l2sim.mesh.thetaphi`).
    """
    if isinstance(mesh, Mesh) and mesh.phi:
        laid = thetaphi.decompose(mesh, matrices, tolerance)
        return Rotations(laid, np.ones((*laid.shape[:-2], mesh.modes), laid.dtype))
    require_real(mesh)
    n, tolerance = mesh.modes, scalar(tolerance, "a tolerance", 0.0)
    matrices = real(matrices, "a target matrix")
    if matrices.ndim < 2 or matrices.shape[-2:] != (n, n):
        raise ChipError(f"matrices of shape {matrices.shape} do not fit a mesh of {n} modes; need (..., {n}, {n})")
    exact = EXACT if matrices.dtype == np.float64 else SINGLE
    work = nearby(np.array(matrices, np.float64).reshape(-1, n, n), tolerance, exact, "orthogonal")
    table = np.zeros_like(work)
    signs = np.empty((work.shape[0], n))
    kernels.decompose.decompose(work, mesh.kind == "triangular", table, signs)
    phases = reference.from_cells(mesh, table)
    if mesh.kind == "rectangular" and not mesh.inner_signs:
        inner = Mesh(mesh.kind, n, inner_signs=True)
        phases = mesh.scatter(inner.resolve_signs(signs)[0] * mesh.gather(phases))
    lead = matrices.shape[:-2]
    return Rotations(
        phases.reshape(*lead, *mesh.shape).astype(matrices.dtype), signs.reshape(*lead, n).astype(matrices.dtype)
    )


def nearest_orthogonal(matrix: ArrayLike) -> Array:
    """The orthogonal matrix nearest to a real `matrix` (..., N, N), float64: see `unitary.nearest_unitary`."""
    return polar(square(real(matrix, "a matrix")).astype(np.float64))
