"""Meshes of MZIs on N rails: where the MZIs stand, and phases -> orthogonal matrices (back: `chip.decompose`).

A mesh maps fields (columns) as U = diag(signs) T_{C-1} ... T_1 T_0: column 0 is nearest the input and the signs (pi
shifters) stand at the output. Phases are arrays [column, upper rail] of shape (C, N - 1) with a mask of the places that
hold an MZI; any leading dimensions are batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from l2sim.backend import Array, kernels
from l2sim.errors import ChipError

KINDS = ("rectangular", "triangular")
MODES = (2, 64)


@dataclass(frozen=True)
class Mesh:
    """The layout of a real mesh: `kind` "rectangular" (Clements) or "triangular" (Reck) on `modes` rails.

    `inner_signs` puts the signs of rails 0 and N - 1 of a rectangular mesh where the L2ight reference has them, inside
    the mesh; only golden data needs it.
    """

    kind: str
    modes: int
    inner_signs: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ChipError(f"mesh kind {self.kind!r} is unknown; use one of {', '.join(KINDS)}")
        if not MODES[0] <= self.modes <= MODES[1]:
            raise ChipError(f"a mesh of {self.modes} modes is not supported; use {MODES[0]} to {MODES[1]}")

    @property
    def columns(self) -> int:
        """Number of columns C."""
        return self.modes if self.kind == "rectangular" else max(2 * self.modes - 3, 1)

    @property
    def count(self) -> int:
        """Number of MZIs, n = N (N - 1) / 2."""
        return self.modes * (self.modes - 1) // 2

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (C, N - 1) of one mesh's phases."""
        return self.columns, self.modes - 1

    @cached_property
    def mask(self) -> Array:
        """True where an MZI stands, (C, N - 1)."""
        column, rail = np.indices(self.shape)
        if self.kind == "rectangular":
            return column % 2 == rail % 2
        # Chain i, step j of Reck's triangle stands at column i + j, rail N - 2 - i + j, for 0 <= j <= i <= N - 2.
        twice = column - rail + self.modes - 2
        i = twice // 2
        return (twice % 2 == 0) & (column - i >= 0) & (column - i <= i) & (i <= self.modes - 2)

    @cached_property
    def _places(self) -> tuple[Array, Array]:
        column, rail = np.nonzero(self.mask)
        return column.astype(np.int64), rail.astype(np.int64)

    @property
    def column(self) -> Array:
        """Column of every MZI in travel order (column by column, from the top), (n,)."""
        return self._places[0]

    @property
    def rail(self) -> Array:
        """Upper rail of every MZI in travel order, (n,)."""
        return self._places[1]

    @cached_property
    def around(self) -> Array:
        """Travel-order indices of the heaters beside each heater, -1 for none, (n, 6): the same column two rails away,
        and the adjacent columns one rail away."""
        number = np.full((self.columns + 2, self.modes + 3), -1, np.int64)
        column, rail = self._places
        number[column + 1, rail + 2] = np.arange(self.count)
        steps = ((0, -2), (0, 2), (-1, -1), (-1, 1), (1, -1), (1, 1))
        return np.stack([number[column + 1 + dc, rail + 2 + dr] for dc, dr in steps], axis=1)

    @cached_property
    def first(self) -> Array:
        """Where the heaters of each column begin in travel order, (C + 1,)."""
        return np.searchsorted(self.column, np.arange(self.columns + 1))

    @cached_property
    def starts(self) -> Array:
        """The heater whose MZI begins on a rail in a column, -1 for none, (C, N + 4): two rails of padding."""
        out = np.full((self.columns, self.modes + 4), -1, np.int64)
        out[self.column, self.rail + 2] = np.arange(self.count)
        return out

    def layer_order(self, part: str) -> Array:
        """All heaters column by column, (n,): U from its input on, V from its output back, so away from sigma."""
        order = np.arange(self.count)
        if part == "u":
            return order
        return np.concatenate(
            [order[self.first[c] : self.first[c + 1]] for c in range(self.columns - 1, -1, -1)], dtype=np.int64
        )

    def gather(self, phases: Array) -> Array:
        """Mesh arrays (..., C, N - 1) to travel order (..., n)."""
        return phases[..., self.column, self.rail]

    def scatter(self, phases: Array) -> Array:
        """Travel order (..., n) to mesh arrays (..., C, N - 1), zero where there is no MZI."""
        out = np.zeros((*phases.shape[:-1], *self.shape), phases.dtype)
        out[..., self.column, self.rail] = phases
        return out

    def resolve_signs(self, signs: Array) -> tuple[Array, Array]:
        """Signs (M, N) at this mesh's ports to (`flip` (M, n), output signs (M, N)) as the kernels take them."""
        flip = np.ones((signs.shape[0], self.count), signs.dtype)
        if self.inner_signs and self.kind == "rectangular":
            last = self.modes - 1
            # A sign on a rail turns the rotations that follow on that rail: R(phi) diag(1, -1) = diag(1, -1) R(-phi).
            bottom_from, top_from = (1, self.columns) if self.modes % 2 == 0 else (0, self.columns - 1)
            below = (self.rail == last - 1) & (self.column >= bottom_from)
            above = (self.rail == 0) & (self.column >= top_from)
            flip[:, below] *= signs[:, last:]
            flip[:, above] *= signs[:, :1]
        return flip, signs


def matrix(mesh: Mesh, phases: Array, signs: Array | None = None) -> Array:
    """The orthogonal matrices of `mesh` at effective `phases` (..., C, N - 1) and `signs` (..., N; default +1).

    Returns (..., N, N). Fields are columns: y = U x.
    """
    lead = phases.shape[:-2]
    if phases.shape[-2:] != mesh.shape:
        raise ChipError(f"phases of shape {phases.shape} do not fit this mesh; the last two sizes must be {mesh.shape}")
    flat = np.ascontiguousarray(mesh.gather(phases).reshape(-1, mesh.count))
    if signs is None:
        signs = np.ones((*lead, mesh.modes), flat.dtype)
    flip, ends = mesh.resolve_signs(np.asarray(signs, flat.dtype).reshape(-1, mesh.modes))
    out = np.empty((flat.shape[0], mesh.modes, mesh.modes), flat.dtype)
    kernels.mesh.matrices(flat, flip, ends, mesh.rail, out)
    return out.reshape(*lead, mesh.modes, mesh.modes)
