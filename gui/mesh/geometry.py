"""Where everything of a mesh stands in its picture, and which number the colour of each thing has.

The picture is in columns (x, with the light) and rails (y, downwards); a `View` takes it to pixels. Where an MZI
couples rails that are not neighbours, the guides are led across one another in front of its column (`slots`), as on a
chip. What is drawn of it, `mesh.shapes` says.

Every colour belongs to one thing (`Thing`), so that the number at a pixel says what is seen there. Colour 0 is the
canvas.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from l2sim.backend import Array

if TYPE_CHECKING:
    from ..base.model import Layer, Part

LEAD = 0.7
"""Columns of guide in front of a mesh and behind it; the screen stands in the latter."""
SIGMA = 1.2
"""Columns between the meshes of a core, where the attenuators stand."""
PARTS = 4
"""Parts of a guide along a column that light can differ in: before phi, behind it, in the arms, behind theta."""
OF_MZI = ("theta", "phi", "mzi")
"""Kinds of things that are counted as their MZIs are; the last is one as a whole."""
NUMBERS = (92.0, 34.0)
"""Pixels of a column and of a rail from which there is room for a number."""
TITLES = {"u": "U", "v": "V*", "sigma": "Σ"}


class View(NamedTuple):
    """Pixels: x = sx * column + ox, y = sy * rail + oy."""

    sx: float
    sy: float
    ox: float
    oy: float

    @property
    def roomy(self) -> bool:
        """Whether there is room for numbers beside the heaters."""
        return self.sx >= NUMBERS[0] and self.sy >= NUMBERS[1]

    @property
    def numbered(self) -> int:
        """Every how many rails there is room for a number."""
        return next((every for every in (1, 2, 4, 5, 10, 20, 50, 100) if every * self.sy >= 15), 200)


class Thing(NamedTuple):
    """What a colour belongs to: `kind` theta, phi, screen, sigma or guide; `at` is the MZI's place in travel order, or
    the rail of a screen, sigma or guide. `element` is the MZI that it is part of, -1 for none.
    `position` of a guide: `PARTS` * c + the part of column c."""

    side: str
    kind: str
    at: int
    element: int = -1
    position: int = -1


@dataclass(frozen=True)
class Placed:
    """A mesh in the picture: from `x`, its colours from number `first` on: guides, theta, phi, screen."""

    side: str
    part: Part
    x: float
    first: int

    @property
    def count(self) -> int:
        """MZIs n."""
        return len(self.part.columns)

    @cached_property
    def columns(self) -> int:
        """Columns C."""
        return int(self.part.columns.max(initial=-1)) + 1

    @cached_property
    def slots(self) -> Array:
        """Where each rail lies in each column, and at the output, (C + 1, N)."""
        return slots(self.part)

    @cached_property
    def starts(self) -> Array:
        """Where each column begins, and the output, (C + 1,): guides that change their slots take room in front."""
        moves = np.abs(np.diff(np.vstack((np.arange(self.part.modes), self.slots)), axis=0)).max(axis=1, initial=0)
        room = np.where(moves > 0, np.minimum(0.35 + 0.12 * moves, 2.5), 0.0)
        return self.x + LEAD + np.cumsum(room) + np.arange(self.columns + 1)

    @property
    def end(self) -> float:
        """Where the mesh ends."""
        return float(self.starts[-1]) + LEAD

    @property
    def guides(self) -> int:
        """Colours of guides, (PARTS C + 1) N: of every part of every column, and at the output."""
        return (PARTS * self.columns + 1) * self.part.modes

    def colour(self, kind: str) -> tuple[int, int]:
        """First colour of a kind, and how many there are."""
        n, modes = self.count, self.part.modes
        counts = {"guide": self.guides, "theta": n, "phi": n, "screen": modes}
        at = self.first
        for name, count in counts.items():
            if name == kind:
                return at, count
            at += count
        raise KeyError(kind)

    @property
    def colours(self) -> int:
        """How many colours it has."""
        first, count = self.colour("screen")
        return first + count - self.first

    @cached_property
    def occupant(self) -> Array:
        """The MZI on each rail in each column, -1 for none, (C, N)."""
        part = self.part
        out = np.full((self.columns, part.modes), -1, np.int64)
        out[part.columns, part.rails] = out[part.columns, part.rails + part.spans] = np.arange(self.count)
        return out

    @cached_property
    def sense(self) -> Array:
        """Which way the rail lies that each one meets in each column: 1 down, -1 up, 0 where it meets none, (C, N)."""
        part, out = self.part, np.zeros((self.columns, self.part.modes), np.int64)
        way = self.slots[part.columns, part.rails + part.spans] - self.slots[part.columns, part.rails]
        out[part.columns, part.rails], out[part.columns, part.rails + part.spans] = way, -way
        return out

    def thing(self, colour: int) -> Thing:
        """What `colour`, counted from `first`, belongs to."""
        at = colour
        for kind in ("guide", "theta", "phi", "screen"):
            _, count = self.colour(kind)
            if at < count:
                break
            at -= count
        if kind == "guide":
            position, rail = divmod(at, self.part.modes)
            column = position // PARTS
            element = int(self.occupant[column, rail]) if column < self.columns else -1
            return Thing(self.side, kind, rail, element, position)
        return Thing(self.side, kind, at, -1 if kind == "screen" else at)

    def centre(self, element: int) -> tuple[float, float]:
        """Where an MZI is: its middle in columns and rails."""
        x, y = self.centres[element].tolist()
        return x, y

    @cached_property
    def centres(self) -> Array:
        """Where every MZI is, (n, 2)."""
        part = self.part
        pair = self.slots[part.columns, part.rails], self.slots[part.columns, part.rails + part.spans]
        return np.column_stack((self.starts[part.columns] + 0.5, (pair[0] + pair[1]) / 2))


class Scene:
    """All that is shown of one block: a whole mesh, or V*, sigma and U in the order in which light meets them."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.meshes: list[Placed] = []
        self.sigma: tuple[float, int] | None = None  # where it stands, and its first colour
        x, first = 0.0, 1
        for side in travel(layer):
            mesh = Placed(side, layer.parts[side], x, first)
            self.meshes.append(mesh)
            x, first = mesh.end, first + mesh.colours
            if side == "v" and "u" in layer.parts:
                self.sigma = x, first
                x, first = x + SIGMA, first + mesh.part.modes
        self.colours = first
        self.width, self.rails = x, max((mesh.part.modes for mesh in self.meshes), default=1)

    def mesh(self, side: str) -> Placed | None:
        """The mesh of a side, the first one for sides that have none."""
        return next((m for m in self.meshes if m.side == side), None)

    def thing(self, colour: int) -> Thing | None:
        """What a colour belongs to; None for the canvas."""
        if self.sigma and 0 <= colour - self.sigma[1] < self.meshes[0].part.modes:
            return Thing("sigma", "sigma", colour - self.sigma[1])
        for mesh in self.meshes:
            if 0 <= colour - mesh.first < mesh.colours:
                return mesh.thing(colour - mesh.first)
        return None

    def titles(self) -> list[tuple[float, float, str, str]]:
        """(from, to, side, title) of what stands side by side."""
        titles = [(m.x, m.end, m.side, TITLES.get(m.side, m.side)) for m in self.meshes]
        if self.sigma:
            titles.insert(1, (self.sigma[0], self.sigma[0] + SIGMA, "sigma", TITLES["sigma"]))
        return titles


def travel(layer: Layer) -> list[str]:
    """The sides that are meshes, in the order in which light meets them."""
    return ["v", "u"] if "u" in layer.parts else list(layer.parts)


def slots(part: Part) -> Array:
    """Where each rail lies in each column, and at the output (in order again), (C + 1, N).

    Nothing moves while all couplers of a column join neighbours. Else rails line up for this column and as many of the
    following ones as one order can serve, as near to where they come from as can be.
    """
    columns = int(part.columns.max(initial=-1)) + 1
    out = np.empty((columns + 1, part.modes), np.int64)
    lies = np.arange(part.modes)
    order = np.argsort(part.columns, kind="stable")
    bounds = np.searchsorted(part.columns[order], np.arange(columns + 1))
    pairs = [
        np.column_stack((part.rails[here], part.rails[here] + part.spans[here]))
        for here in (order[bounds[c] : bounds[c + 1]] for c in range(columns))
    ]
    for c in range(columns):
        if (np.abs(lies[pairs[c][:, 0]] - lies[pairs[c][:, 1]]) != 1).any():
            chains = sorted(chained(pairs[c:], part.modes), key=lambda chain: float(np.mean(lies[chain])))
            lies = lies.copy()
            came = lies.copy()
            at = 0
            for chain in chains:
                if came[chain[0]] > came[chain[-1]]:
                    chain.reverse()
                lies[chain] = np.arange(at, at + len(chain))
                at += len(chain)
        out[c] = lies
    out[columns] = np.arange(part.modes)
    return out


def chained(columns: list[Array], modes: int) -> list[list[int]]:
    """Rails in chains, neighbours of which are coupled in the first of `columns` (pairs (n, 2) each), and in as many of
    the following ones as leave no rail with three neighbours and no chain closed."""
    beside: list[list[int]] = [[] for _ in range(modes)]
    for pairs in columns:
        grown = [list(others) for others in beside]
        for i, j in pairs.tolist():
            if j not in grown[i]:
                grown[i].append(j)
                grown[j].append(i)
        chains = unwound(grown)
        if chains is None:
            break
        beside, longest = grown, chains
    return longest


def unwound(beside: list[list[int]]) -> list[list[int]] | None:
    """The chains of a graph, each from one end to the other; None where it is not made of chains."""
    if max(map(len, beside)) > 2:
        return None
    chains, seen = [], [False] * len(beside)
    for end in (i for i, others in enumerate(beside) if len(others) < 2):
        if seen[end]:
            continue
        chain = []
        at: int | None = end
        while at is not None:
            chain.append(at)
            seen[at] = True
            at = next((other for other in beside[at] if not seen[other]), None)
        chains.append(chain)
    return chains if all(seen) else None
