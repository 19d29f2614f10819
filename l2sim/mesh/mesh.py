"""Meshes of MZIs on N rails: where the MZIs stand, and phases -> orthogonal matrices (back: `l2sim.mesh.orthogonal`).

A mesh maps fields (columns) as U = diag(screen) T_{C-1} ... T_1 T_0: column 0 is nearest the input. In a real core T is
a rotation and the screen is signs (pi shifters); its phases are arrays [column, upper rail] of shape (C, N - 1) with a
mask of the places that hold an MZI; any leading dimensions are batch. In a complex mesh T is a whole MZI with theta and
phi, and parameters are arrays (n,) in travel order: column by column, from the top (`l2sim.mesh.unitary`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from l2sim import pages
from l2sim.backend import Array, kernels, namespace, resident
from l2sim.errors import ChipError
from l2sim.given import real, whole, word
from l2sim.mesh import layouts

KINDS = ("rectangular", "triangular")
"""The kinds that a real core can have."""
MODES = (2, 64)
"""Modes of a real core."""
LARGEST = 1 << 16
"""Modes of any mesh; 2^31 couplers. Ours."""
CUSTOM = "custom"
NODES = ("mzi", "three_splitter", "crossing")
BESIDE = ((0, -2), (0, 2), (-1, -1), (-1, 1), (1, -1), (1, 1))
"""Places (columns, rails) from a heater to those around it, in a grid ..."""
BESIDE_ANY = (*BESIDE, (0, -1), (0, 1), (-1, 0), (1, 0))
"""... and where couplers may stand on any two rails: heaters stand on the upper one."""


@dataclass(frozen=True)
class Mesh:
    """The layout of a mesh of `kind` on `modes` rails: one that `layouts.get` knows, or "custom" (made by `Mesh.of`).
    "clements" is "rectangular" and "reck" is "triangular".

    `node` says what stands at every place (Hamerly et al., Nature Communications 13, 6831 (2022)): an "mzi"; an
    MZI with a third splitter in front ("three_splitter"), which can be programmed almost exactly in spite of splitter
    errors; or an MZI with a waveguide "crossing" behind, which tolerates errors that its two splitters share. The
    splitter and the crossing are couplers of their own, without heaters: `active` tells them apart and `splitters`
    says what they are.

    `phi` gives every MZI of a core two heaters, phi in front and theta inside, and every output one of its screen: then
    `column`, `rail`, `count`, `shape`, `around` and so on are those of heaters (`l2sim.mesh.thetaphi`), and `mzis` is
    the mesh of couplers without them.

    `inner_signs` puts the signs of rails 0 and N - 1 of a real rectangular mesh where the L2ight reference has them,
    inside the mesh; only golden data needs it. `couplers` are the (column, top, bottom) of a custom mesh.
    """

    kind: str
    modes: int
    inner_signs: bool = False
    node: str = "mzi"
    couplers: tuple[tuple[int, int, int], ...] = ()
    phi: bool = False

    def __post_init__(self) -> None:
        word(self.kind, "a mesh's kind")
        word(self.node, "a mesh's node")
        if self.kind in layouts.NAMES:
            object.__setattr__(self, "kind", layouts.NAMES[self.kind])
        if self.kind != CUSTOM:
            layouts.get(self.kind)  # raises ChipError where there is none
        if self.node not in NODES:
            raise ChipError(f"mesh node {self.node!r} is unknown; use one of {', '.join(NODES)}")
        whole(self.modes, "a mesh's number of modes", 1, LARGEST)
        if not isinstance(self.couplers, tuple):
            raise ChipError("couplers of a mesh are a tuple of (column, top, bottom); give lists of them to Mesh.of")
        if self.couplers and self.kind != CUSTOM:
            raise ChipError(f"a {self.kind} mesh knows its couplers; give a list of them to Mesh.of only")
        if self.phi and (self.kind not in KINDS or self.node != "mzi" or self.inner_signs):
            raise ChipError(f"cores with phi are {' or '.join(KINDS)}, of plain MZIs, with all signs at their outputs")

    @classmethod
    def of(cls, modes: int, top: Array, bottom: Array, column: Array | None = None, node: str = "mzi") -> Mesh:
        """A mesh of any couplers on rails `top` < `bottom` (n,), listed in an order in which light can travel.

        Each stands in the earliest column where its rails are free, or in `column` (n,), which must not let two meet.
        Parameters of the mesh are in travel order, whatever the order of the list.
        """
        modes = whole(modes, "a mesh's number of modes", 1, LARGEST)
        top, bottom = (rails(values, name) for values, name in ((top, "top"), (bottom, "bottom")))
        if top.shape != bottom.shape:
            raise ChipError(f"couplers have {top.size} top and {bottom.size} bottom rails; give as many of each")
        if (wrong := (top < 0) | (bottom >= modes) | (top >= bottom)).any():
            t = int(np.argmax(wrong))
            raise ChipError(
                f"coupler {t} joins rails {top[t]} and {bottom[t]}; need 0 <= top < bottom < {modes}, the mesh's modes"
            )
        if column is None:
            column = layouts.earliest(top, bottom, modes)
        column = rails(column, "column")
        if column.shape != top.shape or (column < 0).any():
            raise ChipError(f"{top.size} couplers stand in {column.size} columns; give each one column from 0 on")
        taken = np.concatenate((column * modes + top, column * modes + bottom))
        values, counts = np.unique(taken, return_counts=True)
        if (counts > 1).any():
            c, r = divmod(int(values[np.argmax(counts > 1)]), modes)
            raise ChipError(f"two couplers overlap on rail {r} in column {c}; move one of them to another column")
        rows = sorted(zip(column.tolist(), top.tolist(), bottom.tolist()))
        return cls(CUSTOM, modes, node=node, couplers=tuple(rows))

    @cached_property
    def sites(self) -> layouts.Layout:
        """Column, top and bottom (s,) of the nodes in travel order, before passive parts are put in."""
        if self.kind == CUSTOM:
            return layouts.ordered(list(self.couplers))
        layout = layouts.get(self.kind)
        if self.kind in layouts.LAYOUTS:
            return layout(self.modes)
        try:
            column, top, bottom = layout(self.modes)
            return Mesh.of(self.modes, top, bottom, column).sites
        except Exception as error:  # code of others raises anything
            raise ChipError(f"layout {self.kind!r} gives no mesh of {self.modes} modes: {error}") from error

    @cached_property
    def _places(self) -> tuple[Array, Array, Array, Array]:
        """Column, top, bottom and `active` of every coupler in travel order."""
        column, top, bottom = self.sites
        if self.phi:
            order, rails, last = self._heaters, np.arange(self.modes), 2 * self.mzis.columns
            column = np.concatenate((2 * column, 2 * column + 1, np.full(self.modes, last)))[order]
            top, bottom = (np.concatenate((rail, rail, rails))[order] for rail in (top, bottom))
            return column, top, bottom, np.ones(len(order), bool)
        if self.node == "mzi":
            return column, top, bottom, np.ones(len(top), bool)
        first = self.node == "crossing"  # whether the MZI stands before its passive part
        column, active = np.concatenate((2 * column, 2 * column + 1)), np.repeat([first, not first], len(top))
        order = np.lexsort((np.tile(top, 2), column))
        return column[order], np.tile(top, 2)[order], np.tile(bottom, 2)[order], active[order]

    @cached_property
    def mzis(self) -> Mesh:
        """The couplers alone: this mesh without `phi`."""
        return Mesh(self.kind, self.modes) if self.phi else self

    @cached_property
    def _heaters(self) -> Array:
        """Which of all phi, all theta, all of the screen (2 n + N) each heater is, in travel order."""
        column, top, _ = self.sites
        places = np.concatenate((2 * column, 2 * column + 1, np.full(self.modes, 2 * self.mzis.columns)))
        return np.lexsort((np.concatenate((top, top, np.arange(self.modes))), places))

    @cached_property
    def phases_of(self) -> tuple[Array, Array, Array]:
        """With `phi`: which heater is theta (n,) and phi (n,) of every MZI, and of the screen at every output (N,)."""
        at, n = np.argsort(self._heaters), len(self.sites[0])
        return at[n : 2 * n], at[:n], at[2 * n :]

    @property
    def column(self) -> Array:
        """Column of every coupler in travel order (column by column, from the top), (n,)."""
        return self._places[0]

    @property
    def top(self) -> Array:
        """Upper rail of every coupler in travel order, (n,)."""
        return self._places[1]

    rail = top

    @property
    def bottom(self) -> Array:
        """Lower rail of every coupler in travel order, (n,)."""
        return self._places[2]

    @property
    def active(self) -> Array:
        """True for MZIs, False for passive couplers, which have no heaters: their theta and phi are 0. (n,)"""
        return self._places[3]

    @property
    def count(self) -> int:
        """Number of couplers n; N (N - 1) / 2 in rectangular and triangular meshes of plain MZIs."""
        return len(self.top)

    @cached_property
    def columns(self) -> int:
        """Number of columns C; with `phi` those of heaters, two a column of MZIs and the screen."""
        if self.phi:
            return 2 * self.mzis.columns + 1
        if self.kind == "rectangular" and self.node == "mzi":
            return self.modes
        return int(self.column.max(initial=0)) + 1

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (C, N - 1) of one mesh's phases as a picture; (C, N) with `phi`, for the screen."""
        return self.columns, self.modes - (0 if self.phi else 1)

    @cached_property
    def mask(self) -> Array:
        """True where a coupler stands, (C, N - 1)."""
        out = np.zeros(self.shape, bool)
        out[self.column, self.top] = True
        return out

    @cached_property
    def _sensitivities(self) -> tuple[Array, Array]:
        alpha, beta = layouts.sensitivities(self.kind, self.sites, self.modes)
        out = np.ones((2, self.count), np.int64)
        out[:, self.active] = alpha, beta
        return out[0], out[1]

    @property
    def alpha(self) -> Array:
        """The power that crosses at each coupler of a Haar random mesh is Beta(beta, alpha) distributed, (n,)."""
        return self._sensitivities[0]

    @property
    def beta(self) -> Array:
        """The other parameter of the distribution of the crossing power, Beta(beta, alpha), (n,)."""
        return self._sensitivities[1]

    def splitters(self, errors: Array) -> Array:
        """Splitter errors (..., 2, n), left and right in radians, as fabricated, with those of passive couplers set.

        With theta = phi = 0 a coupler is D(er) D(el). Left -pi/4 is D = 1, so that one splitter, with its right error,
        remains; two perfect splitters are a crossing (times i).
        """
        if self.node == "mzi":
            return errors
        out = errors.copy()
        if self.node == "three_splitter":
            out[..., 0, ~self.active] = -np.pi / 4
        else:
            out[..., :, ~self.active] = 0.0
        return out

    @cached_property
    def around(self) -> Array:
        """Travel-order indices of the heaters beside each heater, -1 for none, (n, 6): the same column two rails away,
        and the adjacent columns one rail away. Outside grids (n, 10): also one rail away, and straight before and
        behind. Passive couplers have no heaters. With `phi` (n, 6): the two of an MZI; equal ones of MZIs beside it in
        its column; theta of one column and phi of the next; and screens of adjacent rails, as `l2sim.mesh.wiring`."""
        if self.phi:
            return self._around_phi()
        grid = self.kind in KINDS and self.node == "mzi"
        number = np.full((self.columns + 2, self.modes + 3), -1, np.int64)
        number[self.column[self.active] + 1, self.top[self.active] + 2] = np.flatnonzero(self.active)
        steps = BESIDE if grid else BESIDE_ANY
        out = np.stack([number[self.column + 1 + dc, self.top + 2 + dr] for dc, dr in steps], axis=1)
        out[~self.active] = -1
        return out

    def _around_phi(self) -> Array:
        """`around` with `phi`."""
        screen, last = self.column == self.columns - 1, self.columns + 1
        number = np.full((last + 2, self.modes + 5), -1, np.int64)
        row = np.where(screen, last, self.column + 1)  # a free row between the heaters of MZIs and the screen
        number[row, self.top + 2] = np.arange(self.count)
        out = np.stack([number[row + dc, self.top + 2 + dr] for dc, dr in (*BESIDE, (-1, 0), (1, 0))], axis=1)
        out[screen] = -1
        out[screen, :2] = np.stack([number[last, self.top[screen] + 2 + dr] for dr in (-1, 1)], axis=1)
        most = len(BESIDE)  # none has more: before phi and behind theta stand other rails' heaters alone
        return np.take_along_axis(out, np.argsort(out < 0, axis=1, kind="stable"), axis=1)[:, :most].copy()

    @cached_property
    def first(self) -> Array:
        """Where the heaters of each column begin in travel order, (C + 1,)."""
        return np.searchsorted(self.column, np.arange(self.columns + 1))

    @cached_property
    def starts(self) -> Array:
        """The heater whose MZI begins on a rail in a column, -1 for none, (C, N + 4): two rails of padding."""
        out = np.full((self.columns, self.modes + 4), -1, np.int64)
        out[self.column, self.top + 2] = np.arange(self.count)
        return out

    def by_column(self, part: str, steps: Array) -> Array:
        """All heaters column by column, (n,). `steps` (C,): the columns, counted from the one nearest sigma."""
        columns = steps if part == "u" else self.columns - 1 - steps
        return np.concatenate([np.arange(self.first[c], self.first[c + 1]) for c in columns], dtype=np.int64)

    @cached_property
    def _flat(self) -> tuple[Array, Array]:
        """Where each heater (n,) stands in a flat mesh array, and which heater stands at each place, -1 for none."""
        at = np.ravel_multi_index((self.column, self.top), self.shape)
        back = np.full(self.shape[0] * self.shape[1], -1)
        back[at] = np.arange(self.count)
        return at, back

    def gather(self, phases: Array) -> Array:
        """Mesh arrays (..., C, N - 1) to travel order (..., n), contiguous."""
        if namespace(phases) is np and phases.flags.c_contiguous:
            places = self.shape[0] * self.shape[1]
            there: Array = pages.empty((*phases.shape[:-2], self.count), phases.dtype)
            return np.take(phases.reshape(*phases.shape[:-2], places), self._flat[0], axis=-1, out=there, mode="clip")
        return phases[..., resident(phases, self.column), resident(phases, self.top)].copy()

    def scatter(self, phases: Array, out: Array | None = None) -> Array:
        """Travel order (..., n) to mesh arrays (..., C, N - 1), into `out` if there is one, zero where there is no
        MZI."""
        if out is None:
            out = pages.like(phases, (*phases.shape[:-1], *self.shape))
        if namespace(phases) is np and out.flags.c_contiguous:
            meshes, places = math.prod(phases.shape[:-1]), self._flat[1]
            kernels.mesh.place(phases.reshape(meshes, self.count), places, out.reshape(meshes, places.size))
            return out
        out[...] = 0.0
        out[..., resident(phases, self.column), resident(phases, self.top)] = phases
        return out

    def resolve_signs(self, signs: Array) -> tuple[Array, Array]:
        """Signs (M, N) at this mesh's ports to (`flip` (M, n), output signs (M, N)) as the kernels take them."""
        flip = pages.like(signs, (signs.shape[0], self.count))
        flip[...] = 1.0
        if self.inner_signs and self.kind == "rectangular":
            last = self.modes - 1
            # A sign on a rail turns the rotations that follow on that rail: R(phi) diag(1, -1) = diag(1, -1) R(-phi).
            bottom_from, top_from = (1, self.columns) if self.modes % 2 == 0 else (0, self.columns - 1)
            below = (self.rail == last - 1) & (self.column >= bottom_from)
            above = (self.rail == 0) & (self.column >= top_from)
            flip[:, below] *= signs[:, last:]
            flip[:, above] *= signs[:, :1]
        return flip, signs


def require(mesh: object) -> Mesh:
    """What a chip is given as its mesh. ChipError for anything else, as the name of a layout."""
    if not isinstance(mesh, Mesh):
        raise ChipError(f"a chip's mesh is no {type(mesh).__name__}; use l2sim.Mesh, e.g. Mesh('clements', 8)")
    if mesh.phi:
        raise ChipError("Mesh(..., phi=True) is of cores; leave phi out: whole meshes have it always, real ones never")
    return mesh


def require_core(mesh: object) -> Mesh:
    """The mesh of a core: a grid of MZIs, with phi or without, of 2 to 64 modes. ChipError for anything else."""
    require_real(mesh.mzis if isinstance(mesh, Mesh) else mesh)
    assert isinstance(mesh, Mesh)
    return mesh


def require_real(mesh: object) -> None:
    """ChipError unless `mesh` can be a real core: a grid of rotations of 2 to 64 modes."""
    mesh = require(mesh)
    if mesh.kind not in KINDS or mesh.node != "mzi":
        raise ChipError(f"a real core is {' or '.join(KINDS)}, of plain MZIs; not {mesh.kind} of {mesh.node}s")
    if not MODES[0] <= mesh.modes <= MODES[1]:
        raise ChipError(f"a real core of {mesh.modes} modes is not supported; use {MODES[0]} to {MODES[1]}")


def rails(values: Array, name: str) -> Array:
    """Whole numbers (n,) as int64; ChipError for anything else."""
    out = np.asarray(values)
    if out.ndim != 1 or not (np.issubdtype(out.dtype, np.integer) or out.size == 0):
        raise ChipError(f"{name} of couplers must be a list of whole numbers; got {out.dtype} of shape {out.shape}")
    return out.astype(np.int64)


def matrix(mesh: Mesh, phases: ArrayLike, signs: ArrayLike | None = None) -> Array:
    """The orthogonal matrices of `mesh` at effective `phases` (..., C, N - 1) and `signs` (..., N; default +1).

    Returns (..., N, N). Fields are columns: y = U x.
    """
    require_real(mesh)
    phases = real(phases, "phases")
    lead = phases.shape[:-2]
    if phases.shape[-2:] != mesh.shape:
        raise ChipError(f"phases of shape {phases.shape} do not fit this mesh; the last two sizes must be {mesh.shape}")
    flat = mesh.gather(phases).reshape(-1, mesh.count)
    if signs is None:
        signs = np.ones((*lead, mesh.modes), flat.dtype)
    signs = real(signs, "signs").astype(flat.dtype)
    if signs.shape != (*lead, mesh.modes):
        raise ChipError(f"signs of shape {signs.shape} do not fit phases {phases.shape}; give {(*lead, mesh.modes)}")
    flip, ends = mesh.resolve_signs(signs.reshape(-1, mesh.modes))
    out = np.empty((flat.shape[0], mesh.modes, mesh.modes), flat.dtype)
    kernels.mesh.matrices(flat, flip, ends, mesh.top, out)
    return out.reshape(*lead, mesh.modes, mesh.modes)
