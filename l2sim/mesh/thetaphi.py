"""Meshes of cores with theta and phi in every MZI, one heated arm each, and a heated screen at the outputs:

    U = diag(signs e^{i screen}) T_{n-1} ... T_1 T_0,   T = D(er) diag(a0 e^{i theta}, a1) D(el) diag(a2 e^{i phi}, a3)

(`kernels.propagate`; Clements et al., Optica 3, 1460 (2016)). Heating one arm turns both outputs by e^{i theta / 2} as
well; the phi behind undo that between the rails of an MZI, and the screen what is left at the outputs: without it only
matrices up to N phases could be had, and a quadrature reads a phase as a loss. So a mesh has N^2 heaters, as U(N) has
parameters. Of the core U diag(sigma) V* the screen of V and the first phi of U do the same: that is left to the search.

Phases are arrays [column of heaters, rail] of shape (2 C + 1, N): phi of the first column of MZIs, its theta, and so
on, and last the screen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from l2sim.backend import Array, kernels
from l2sim.errors import ChipError
from l2sim.given import finite, real, wrapped
from l2sim.mesh import unitary
from l2sim.mesh.mesh import Mesh, require_core


def laid(mesh: Mesh, theta: Array, phi: Array, screen: Array) -> Array:
    """Phases of MZIs (..., n) in travel order and of outputs (..., N) to mesh arrays (..., 2 C + 1, N)."""
    flat = np.empty((*theta.shape[:-1], mesh.count), theta.dtype)
    for at, values in zip(mesh.phases_of, (theta, phi, screen)):
        flat[..., at] = values
    return mesh.scatter(flat)


def identity(mesh: Mesh) -> Array:
    """The phases (C, N - 1) or (2 C + 1, N) at which every MZI of an ideal mesh passes its light straight on: zero for
    rotations; T(pi, pi) = 1."""
    if not require_core(mesh).phi:
        return np.zeros(mesh.shape)
    straight = np.full(mesh.mzis.count, np.pi)
    return laid(mesh, straight, straight, np.zeros(mesh.modes))


def place(mesh: Mesh, heater: int) -> str:
    """Where a heater (in travel order) stands, in words."""
    for kind, heaters in zip(("theta", "phi"), mesh.phases_of):
        if heater in heaters:
            i, plain = int(np.flatnonzero(heaters == heater)[0]), mesh.mzis
            return f"{kind} of MZI {i}, column {plain.column[i]}, rails {plain.top[i]} and {plain.bottom[i]}"
    return f"screen of rail {mesh.top[heater]}"


def matrix(mesh: Mesh, phases: ArrayLike, signs: ArrayLike | None = None) -> Array:
    """The unitary matrices (..., N, N) of an ideal mesh at effective `phases` (..., 2 C + 1, N) and `signs` (..., N;
    default +1). Fields are columns: y = U x."""
    phases = _fitting(mesh, phases)
    lead, n = phases.shape[:-2], mesh.mzis.count
    flat = np.ascontiguousarray(mesh.gather(phases).reshape(-1, mesh.count), np.float64)
    ends = np.ones((*lead, mesh.modes)) if signs is None else np.broadcast_to(real(signs, "signs"), (*lead, mesh.modes))
    splitters = np.full((len(flat), 4, n), np.sqrt(0.5))
    out = np.empty((len(flat), mesh.modes, mesh.modes), np.complex128)
    kernels.cores.with_phi(
        flat, mesh.phases_of, splitters, np.ones_like(splitters), np.array(ends, np.float64).reshape(-1, mesh.modes),
        mesh.mzis.top, out,
    )  # fmt: skip
    return out.reshape(*lead, mesh.modes, mesh.modes)


def decompose(mesh: Mesh, matrices: ArrayLike, tolerance: float = unitary.TOLERANCE) -> Array:
    """Unitary `matrices` (..., N, N) to phases (..., 2 C + 1, N) in [0, 2 pi) that realise them, all signs being +1.

    Rectangular meshes by Clements' elimination, triangular ones by self-configuration. Where a matrix is further from
    unitary than by rounding, the nearest one that is; ChipError beyond `tolerance`. float32 of single precision.
    """
    if not require_core(mesh).phi:
        raise ChipError("this mesh has no phi; use Mesh(kind, modes, phi=True), or l2sim.mesh.orthogonal")
    values = finite(matrices, "a target matrix")
    if values.ndim < 2 or values.shape[-2:] != (mesh.modes, mesh.modes):
        wanted = f"a mesh of {mesh.modes} modes; need (..., {mesh.modes}, {mesh.modes})"
        raise ChipError(f"matrices of shape {values.shape} do not fit {wanted}")
    single = values.dtype in (np.float32, np.complex64)
    work = np.array(values, np.complex128).reshape(-1, mesh.modes, mesh.modes)
    work = unitary.nearby(work, tolerance, unitary.SINGLE if single else unitary.EXACT, "unitary")
    plain, cores = mesh.mzis, len(work)
    screen = np.zeros((cores, mesh.modes))
    if mesh.kind == "rectangular":
        theta, phi = np.zeros((2, cores, mesh.modes, mesh.modes - 1))
        kernels.program.clements_of_cores(np.ascontiguousarray(work), theta, phi, screen)
        theta, phi = (a[:, plain.column, plain.top] for a in (theta, phi))
    else:
        theta, phi = np.zeros((2, cores, plain.count))
        for m, target in enumerate(work):
            theta[m], phi[m], screen[m] = unitary.decompose(plain, target)
    made = laid(mesh, *(wrapped(a) for a in (theta, phi, screen)))
    return made.reshape(*values.shape[:-2], *mesh.shape).astype(np.float32 if single else np.float64)


def _fitting(mesh: Mesh, phases: ArrayLike) -> Array:
    given = real(phases, "phases")
    if not require_core(mesh).phi or given.shape[-2:] != mesh.shape:
        raise ChipError(f"phases of shape {given.shape} do not fit this mesh; the last two sizes must be {mesh.shape}")
    return given
