"""Converters between our mesh arrays and the layouts of the references.

Ours: an array [column, upper rail] of shape (C, k - 1), column 0 nearest the input. The L2ight reference stores a mesh
as a (k, k) cell array, rectangular [upper rail, column], triangular [k - 2 - i, j] of chain i, step j, and as a compact
vector of n = k (k - 1) / 2 phases: rectangular the even columns first, then the odd ones, each from the top;
triangular row by row. It also keeps two signs inside the rectangular mesh where we keep all signs at the output.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from l2sim.backend import Array
from l2sim.errors import ChipError
from l2sim.mesh.mesh import Mesh
from l2sim.mesh.unitary import TREES, exits


def cells(mesh: Mesh) -> tuple[Array, Array]:
    """Cell (row, column) of every MZI of `mesh`, in travel order: two integer arrays (n,)."""
    if mesh.kind == "rectangular":
        return mesh.rail, mesh.column
    # Chain i, step j stands at column i + j, rail k - 2 - i + j.
    i = (mesh.column - mesh.rail + mesh.modes - 2) // 2
    return mesh.modes - 2 - i, mesh.column - i


@lru_cache(64)
def compact_order(mesh: Mesh) -> Array:
    """Travel-order index of each entry of the reference's compact vector, (n,): `compact = travel[compact_order]`.

    With phi, which the reference has not: phi, then theta of every MZI in its order, and the screen. Every epoch of a
    search asks for it; nobody writes into it."""
    if mesh.phi:
        (theta, phi, screen), order = mesh.phases_of, compact_order(mesh.mzis)
        return np.concatenate((np.stack((phi[order], theta[order]), axis=1).reshape(-1), screen))
    row, col = cells(mesh)
    keys = (row, col, col % 2) if mesh.kind == "rectangular" else (col, row)
    return np.lexsort(keys)


def from_compact(mesh: Mesh, phases: Array) -> Array:
    """Compact vectors (..., n) of the reference to mesh arrays (..., C, k - 1)."""
    travel = np.empty_like(phases)
    travel[..., compact_order(mesh)] = phases
    return mesh.scatter(travel)


def to_compact(mesh: Mesh, phases: Array) -> Array:
    """Mesh arrays (..., C, k - 1) to the reference's compact vectors (..., n)."""
    return mesh.gather(phases)[..., compact_order(mesh)]


def from_cells(mesh: Mesh, array: Array) -> Array:
    """Cell arrays (..., k, k) of the reference to mesh arrays (..., C, k - 1)."""
    row, col = cells(mesh)
    return mesh.scatter(array[..., row, col])


def to_cells(mesh: Mesh, phases: Array) -> Array:
    """Mesh arrays (..., C, k - 1) to cell arrays (..., k, k) of the reference, zero where there is no MZI."""
    row, col = cells(mesh)
    out = np.zeros((*phases.shape[:-2], mesh.modes, mesh.modes), phases.dtype)
    out[..., row, col] = mesh.gather(phases)
    return out


def node_order(mesh: Mesh) -> Array:
    """simphox's node id of every MZI of a complex mesh, in travel order (n,): `travel = theirs[..., node_order(mesh)]`.

    Ids run by column in rectangular meshes; unit by unit, each from the top, in trees and cascades; and in butterflies
    (N a power of two) the last column of a block from its bottom up, then the blocks of its upper and its lower half.
    Its screen `gamma` is by rail, as ours. Its "triangular" is our `chain_cascade`.
    """
    column, top, _ = mesh.sites
    if mesh.kind == "rectangular":
        keys = (top, column)
    elif mesh.kind in TREES:
        keys = (top, top)
    elif mesh.kind in ("chain_cascade", "tree_cascade"):
        keys = (top, -exits(mesh)[0])
    elif mesh.kind == "butterfly" and mesh.modes & (mesh.modes - 1) == 0:
        place = {node: i for i, node in enumerate(butterfly_nodes(0, mesh.modes.bit_length() - 1))}
        return np.array([place[c, r] for c, r in zip(column.tolist(), top.tolist())], np.int64)
    else:
        raise ChipError(f"the references have no {mesh.kind} mesh of {mesh.modes} modes, so its nodes have no ids")
    return np.argsort(np.lexsort(keys))


def butterfly_nodes(first: int, depth: int) -> list[tuple[int, int]]:
    """(column, top rail) of a butterfly over rails first ... first + 2^depth - 1, in simphox's order."""
    if depth == 0:
        return []
    half = 1 << (depth - 1)
    own = [(depth - 1, first + r) for r in range(half - 1, -1, -1)]
    return [*own, *butterfly_nodes(first, depth - 1), *butterfly_nodes(first + half, depth - 1)]
