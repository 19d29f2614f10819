"""Complex meshes: phases -> unitary matrices, and back.

The settings of a mesh are theta, phi (n,) in travel order and a screen (N,), in radians:

    U = diag(e^{i screen}) T_{n-1} ... T_1 T_0,   T = D(er) diag(e^{i theta}, 1) D(el) diag(e^{i phi}, 1)

(`kernels.propagate`). Splitter errors are arrays (2, n), left and right, in radians; those of passive couplers are set
by `Mesh.splitters`. Decompositions take O(N^3) steps.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from l2sim.backend import Array, kernels
from l2sim.errors import ChipError
from l2sim.given import finite, real, scalar, wrapped
from l2sim.mesh.mesh import Mesh, require

TOLERANCE = 1e-4
"""How far U^+ U may be from 1, in any entry, in a matrix that a mesh is asked for: five decimals, and every float32."""
EXACT = 1e-9
"""How far U^+ U is from 1 at most where it is by rounding of float64."""
SINGLE = 1e-5
"""The same of float32, as its SVD leaves 64 modes."""
SINGULAR = 1e-12
"""Share of the largest singular value below which one is none."""
TREES = ("balanced_tree", "unbalanced_tree")
CASCADES = ("triangular", "chain_cascade", "tree_cascade")


class Settings(NamedTuple):
    """Phases of one mesh in radians: theta, phi (n,) in travel order, screen (N,)."""

    theta: Array
    phi: Array
    screen: Array


# -- checks ------------------------------------------------------------------------------------------------------------


def checked(values: ArrayLike, shape: tuple[int, ...], what: str) -> Array:
    """`values`, real and finite, as an array of `shape`; ChipError otherwise."""
    return fitting(real(values, what), shape, what)


def fitting(values: Array, shape: tuple[int, ...], what: str) -> Array:
    """`values` where they have this `shape`; ChipError otherwise."""
    if values.shape != shape:
        raise ChipError(f"{what} of shape {values.shape} does not fit this mesh; it must be {shape}")
    return values


def unitary(matrix: ArrayLike, modes: int, tolerance: float = TOLERANCE) -> Array:
    """`matrix` as a complex (N, N) array where it is unitary to `tolerance`, and unitary to rounding: if need be the
    nearest one that is. ChipError otherwise."""
    what, tolerance = "a target matrix", scalar(tolerance, "a tolerance", 0.0)
    u = fitting(finite(matrix, what), (modes, modes), what).astype(np.complex128)
    return nearby(u, tolerance, EXACT, "unitary")


def nearby(matrices: Array, tolerance: float, exact: float, kind: Literal["unitary", "orthogonal"]) -> Array:
    """Matrices (..., N, N) that are unitary to `tolerance`: as they are up to `exact`, beyond it the nearest unitary
    ones. ChipError beyond `tolerance`."""
    error = np.abs(matrices @ matrices.conj().swapaxes(-1, -2) - np.eye(matrices.shape[-1])).max(initial=0.0)
    if not error <= tolerance:
        raise ChipError(
            f"a mesh takes only {kind} matrices; this one is off by {error:.2g} (U U^+ - 1); for one that was measured "
            f"or rounded take nearest_{kind}(matrix) or a tolerance above {tolerance:g}, for any other its SVD"
        )
    return matrices if error <= exact else polar(matrices)


def polar(matrices: Array) -> Array:
    """The unitary factors of the polar decompositions of `matrices` (..., N, N). ChipError where rows depend on each
    other, so that there are many."""
    u, sigma, v = np.linalg.svd(matrices)
    if (sigma[..., -1:] <= sigma[..., :1] * SINGULAR).any():
        raise ChipError("no unitary matrix is nearest to one whose rows depend on each other; use its SVD")
    whole: Array = u @ v
    return whole


def nearest_unitary(matrix: ArrayLike) -> Array:
    """The unitary matrix nearest to `matrix` (..., N, N), complex128: its polar factor, nearest in every unitarily
    invariant norm (Fan and Hoffman, Proc. AMS 6, 111 (1955)). For matrices that were measured, or printed with few
    decimals. Raises ChipError where there is none."""
    return polar(square(finite(matrix, "a matrix")).astype(np.complex128))


def square(values: Array) -> Array:
    """`values` where they are square matrices (..., N, N); ChipError otherwise."""
    if values.ndim < 2 or values.shape[-1] != values.shape[-2] or not values.shape[-1]:
        raise ChipError(f"a matrix of shape {values.shape} is not square; give (..., N, N)")
    return values


def node_angles(mesh: Mesh, errors: Array | None) -> tuple[Array, Array]:
    """Splitters in front, left and right of every node (3, s) in radians, and which nodes end in a crossing (s,)."""
    count = int(mesh.active.sum())
    angles = np.zeros((3, count))
    angles[1:] = np.pi / 4
    if mesh.node == "three_splitter":
        angles[0] = np.pi / 4
    if errors is not None:
        errors = checked(errors, (2, mesh.count), "splitter errors")
        angles[1:] += errors[:, mesh.active]
        if mesh.node == "three_splitter":
            angles[0] += errors[1, ~mesh.active]
    return angles, np.full(count, mesh.node == "crossing")


# -- phases to matrices ------------------------------------------------------------------------------------------------


def elements(
    mesh: Mesh, settings: Settings, errors: Array | None = None, amplitudes: Array | None = None
) -> tuple[Array, Array, Array]:
    """(`elements` (1, 12, n), `splitters` (1, 4, n), screen (1, N)) as the kernels of `kernels.propagate` take them.

    `errors` (2, n) of the splitters in radians, `amplitudes` (4, n) of the arms (theta's, the one below, phi's, the one
    below); both none by default.
    """
    n = mesh.count
    theta = np.where(mesh.active, checked(settings.theta, (n,), "theta"), 0.0)[None]
    phi = np.where(mesh.active, checked(settings.phi, (n,), "phi"), 0.0)[None]
    screen = checked(settings.screen, (mesh.modes,), "the screen").astype(np.float64)[None]
    errors = np.zeros((2, n)) if errors is None else checked(errors, (2, n), "splitter errors")
    arms = np.ones((4, n)) if amplitudes is None else checked(amplitudes, (4, n), "arm amplitudes")
    left, right = np.ascontiguousarray(mesh.splitters(errors)[:, None])
    splitters, out = np.empty((1, 4, n)), np.empty((1, 12, n))
    kernels.couplers.splitters(left, right, splitters)
    kernels.couplers.elements(theta, phi, splitters, np.ascontiguousarray(arms[None], np.float64), out)
    return out, splitters, screen


def matrix(mesh: Mesh, settings: Settings, errors: Array | None = None, amplitudes: Array | None = None) -> Array:
    """The matrix (N, N) of a mesh; y = U x. Arguments as in `elements`."""
    parts, _, screen = elements(mesh, settings, errors, amplitudes)
    out = np.empty((1, 2, mesh.modes, mesh.modes))
    kernels.propagate.matrices(parts, mesh.top, mesh.bottom, screen, out)
    whole: Array = out[0, 0] + 1j * out[0, 1]
    return whole


def error(target: ArrayLike, got: ArrayLike) -> float:
    """sqrt(1 - |tr(U^+ V)|^2 / (tr(U^+ U) tr(V^+ V))) of two matrices (N, N): 0 if equal up to a factor, at most 1."""
    # The residual of the best factor: 1 - overlap^2 would lose half of the digits.
    u, v = (values / np.linalg.norm(values) for values in (finite(target, "a target matrix"), finite(got, "a matrix")))
    overlap = np.vdot(u, v)
    return float(np.linalg.norm(v - overlap * u))


# -- random meshes -----------------------------------------------------------------------------------------------------


def haar_matrix(rng: np.random.Generator, modes: int) -> Array:
    """A Haar random unitary (N, N); Mezzadri, Notices of the AMS 54, 592 (2007)."""
    q, r = np.linalg.qr(rng.normal(size=(modes, modes)) + 1j * rng.normal(size=(modes, modes)))
    haar: Array = q * (np.diagonal(r) / np.abs(np.diagonal(r)))
    return haar


def haar(mesh: Mesh, rng: np.random.Generator) -> Settings:
    """Random settings that make U Haar distributed where the mesh is universal, and as even as it can be elsewhere.

    The power that crosses an MZI is Beta(beta, alpha) distributed (`topology.sensitivities`), phi and the screen are
    uniform. Russell et al., New J. Phys. 19, 033007 (2017); Pai et al., PR Applied 11, 064044 (2019).
    """
    crossing = rng.beta(mesh.beta[mesh.active], mesh.alpha[mesh.active])
    theta = 2.0 * np.arctan2(np.sqrt(1.0 - crossing), np.sqrt(crossing))
    phi, screen = rng.uniform(0.0, 2.0 * np.pi, len(theta)), rng.uniform(0.0, 2.0 * np.pi, mesh.modes)
    return transfer(mesh, Settings(theta, phi, screen))[0]


# -- matrices to phases ------------------------------------------------------------------------------------------------


def spread(mesh: Mesh, theta: Array, phi: Array, screen: Array) -> Settings:
    """Phases of the nodes (s,) to settings of all couplers, wrapped into [0, 2 pi)."""
    both = np.zeros((2, mesh.count))
    both[:, mesh.active] = theta, wrapped(phi)
    return Settings(both[0], both[1], wrapped(screen))


def transfer(mesh: Mesh, ideal: Settings, errors: Array | None = None) -> tuple[Settings, int]:
    """Settings of plain, ideal MZIs at the nodes of `mesh` to settings of `mesh` with nearly the same matrix.

    Local error correction, Bandyopadhyay et al., Optica 8, 1247 (2021): exact in spite of known splitter errors except
    at nodes that are clipped. Returns the settings and how many were.
    """
    _, top, bottom = mesh.sites
    angles, swap = node_angles(mesh, errors)
    theta, phi, screen = (np.array(values, np.float64) for values in ideal)
    clipped = kernels.program.correct(top, bottom, angles, swap, theta, phi, screen)
    return spread(mesh, theta, phi, screen), clipped


def nullify(
    mesh: Mesh, which: Array, waves: Array, errors: Array | None, dark_bottom: bool = False
) -> tuple[Array, Array, Array, int]:
    """(theta, phi (s,) of the nodes, fields at the output (N, K), number clipped): see `kernels.program.nullify`."""
    _, top, bottom = mesh.sites
    angles, swap = node_angles(mesh, errors)
    theta, phi = np.empty(len(top)), np.empty(len(top))
    waves = np.array(waves, np.complex128)
    clipped = kernels.program.nullify(top, bottom, angles, swap, which, dark_bottom, waves, theta, phi)
    return theta, phi, waves, clipped


def exits(mesh: Mesh) -> tuple[Array, bool]:
    """The rail on which the unit (chain or tree) of each node of a cascade gathers its light, (s,), and whether its
    nodes darken their bottom outputs to that end."""
    column, top, _ = mesh.sites
    if mesh.kind == "triangular":
        return (column + top - (mesh.modes - 2)) // 2, True
    if mesh.kind == "chain_cascade":
        return mesh.modes - 1 - (column - top) // 2, False
    depths = [(size - 1).bit_length() for size in range(mesh.modes, 1, -1)]
    return mesh.modes - 1 - np.searchsorted(np.cumsum(depths), column, side="right"), False


def decompose(
    mesh: Mesh, target: ArrayLike, errors: Array | None = None, tolerance: float = TOLERANCE
) -> Settings:
    """Settings with which `mesh` has the unitary matrix `target` (N, N).

    Rectangular meshes by Clements' elimination, cascades of chains and trees by self-configuration: unit after unit
    darkens all but one output for one row of the target. `errors` (2, n) of the splitters, where known, are corrected
    as far as no MZI is clipped. Phases that nothing depends on are zero. ChipError for meshes that cannot take every
    unitary, and for a target that is further than `tolerance` from unitary (U U^+ - 1, any entry).
    """
    u = unitary(target, require(mesh).modes, tolerance).copy()
    if mesh.kind == "rectangular":
        theta, phi = np.zeros((2, mesh.modes, max(mesh.modes - 1, 0)))
        screen = np.zeros(mesh.modes)
        kernels.program.clements(u, theta, phi, screen)
        column, top, _ = mesh.sites
        return transfer(mesh, Settings(theta[column, top], phi[column, top], screen), errors)[0]
    if mesh.kind not in CASCADES:
        raise ChipError(
            f"a {mesh.kind} mesh has no decomposition; use rectangular, {', '.join(CASCADES)}, or fit it with "
            "selfconfigure.optimise"
        )
    # The light of row k of the target, sent in conjugate, is to leave on rail k alone.
    which, dark_bottom = exits(mesh)
    theta, phi, out, _ = nullify(mesh, which, u.conj().T, errors, dark_bottom)
    return spread(mesh, theta, phi, -np.angle(np.diagonal(out)))


def gather(mesh: Mesh, row: ArrayLike, errors: Array | None = None) -> Settings:
    """Settings with which a tree has `row` (N,), normalised, as the last row of its matrix; Miller (2013)."""
    if mesh.kind not in TREES:
        raise ChipError(f"a {mesh.kind} mesh is no tree; use one of {', '.join(TREES)}")
    row = fitting(finite(row, "a row"), (mesh.modes,), "a row").astype(np.complex128)
    norm = np.linalg.norm(row)
    if norm == 0.0:
        raise ChipError("a row of zeros cannot be programmed; give one with some power")
    which = np.zeros(len(mesh.sites[0]), np.int64)
    theta, phi, out, _ = nullify(mesh, which, (row.conj() / norm)[:, None], errors)
    screen = np.zeros(mesh.modes)
    screen[-1] = -np.angle(out[-1, 0])
    return spread(mesh, theta, phi, screen)


def svd(mesh_u: Mesh, mesh_v: Mesh, target: ArrayLike) -> tuple[Settings, Array, Settings]:
    """Any complex `target` (P, Q) as U diag(sigma) V*: settings of a mesh of P modes, sigma (min(P, Q),), and settings
    of a mesh of Q modes whose matrix is V*.

    Singular values come largest first and in the units of the target; an attenuator column takes sigma / sigma[0].
    """
    w = fitting(finite(target, "a target matrix"), (mesh_u.modes, mesh_v.modes), "a target matrix")
    u, sigma, v = np.linalg.svd(np.asarray(w, np.complex128))
    return decompose(mesh_u, u), sigma, decompose(mesh_v, v)
