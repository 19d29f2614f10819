"""From the places of MZIs to a picture of them: convex quads, each with the number of the colour it takes.

The picture is in columns (x, with the light) and rails (y, downwards); a `View` takes it to pixels. Guides bend, meet
where they couple, and part. Where an MZI couples rails that are not neighbours, the guides are led across one another
in front of its column (`slots`), as on a chip. Far away an MZI is two tiles, phi and theta; near by boxes and arms.

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
CURVE = (2, 6)
"""Least and most straight pieces of a bend."""
BOXES = (15.0, 9.0)
"""Pixels of a column and of a rail from which boxes and arms are drawn instead of tiles."""
LIT = 34.0
"""... of a column, from which guides are wide enough to tell how bright they are."""
NUMBERS = (92.0, 34.0)
"""... and from which there is room for a number in a box."""
TITLES = {"u": "U", "v": "V*", "sigma": "Σ"}

# Along one MZI: shares of its column where things begin and end.
PHI, THETA = (0.03, 0.20), (0.49, 0.68)
MEET = ((0.20, 0.34, 0.41, 0.49), (0.68, 0.76, 0.83, 0.97))  # bend, coupler, bend: twice
REAL_THETA = (0.37, 0.63)
REAL_MEET = ((0.03, 0.19, 0.27, 0.37), (0.63, 0.73, 0.81, 0.97))
ARMS = 0.45
"""How far the arms of an MZI stay together, as a share of their way to the coupler."""


class View(NamedTuple):
    """Pixels: x = sx * column + ox, y = sy * rail + oy."""

    sx: float
    sy: float
    ox: float
    oy: float

    @property
    def level(self) -> str:
        """ "tiles", "boxes" or "numbers"."""
        for name, (column, rail) in (("numbers", NUMBERS), ("boxes", BOXES)):
            if self.sx >= column and self.sy >= rail:
                return name
        return "tiles"

    @property
    def numbered(self) -> int:
        """Every how many rails there is room for a number."""
        return next((every for every in (1, 2, 4, 5, 10, 20, 50, 100) if every * self.sy >= 15), 200)


class Thing(NamedTuple):
    """What a colour belongs to: `kind` theta, phi, screen, sigma or guide; `at` is the MZI's place in travel order, or
    the rail of a screen, sigma or guide. `element` is the MZI that it is part of, -1 for none.
    `position` of a guide: 2 c before column c, 2 c + 1 in its arms."""

    side: str
    kind: str
    at: int
    element: int = -1
    position: int = -1


class Quads(NamedTuple):
    """Corners (Q, 4, 2) in pixels, in the order of painting, and colours (Q,)."""

    corners: Array
    colours: Array


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
        """Colours of guides, (2 C + 1) N: before and in the arms of every column, and at the output."""
        return (2 * self.columns + 1) * self.part.modes

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
            column = position // 2
            element = int(self.occupant[column, rail]) if column < self.columns else -1
            return Thing(self.side, kind, rail, element, position)
        return Thing(self.side, kind, at, -1 if kind == "screen" else at)

    def centre(self, element: int) -> tuple[float, float]:
        """Where an MZI is: its middle in columns and rails."""
        column = self.part.columns[element]
        pair = self.slots[column, [self.part.rails[element], self.part.rails[element] + self.part.spans[element]]]
        return float(self.starts[column]) + 0.5, float(pair.mean())


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

    def quads(self, view: View, size: tuple[int, int], focus: str = "") -> Quads:
        """Everything that may be seen in `size` (width, height) pixels. `focus`: the one kind that matters, if any."""
        draw = _Drawing(view, size, focus == "guide")
        far = view.level == "tiles" or (focus == "guide" and view.sx < LIT)
        for mesh in self.meshes:
            if far:
                draw.tiles(mesh, focus)
            else:
                draw.mesh(mesh)
        if self.sigma:
            draw.sigma(self.sigma, self.meshes[0])
        return draw.done()


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


def bend(points: tuple[float, ...], before: float, behind: float, pieces: int) -> Array:
    """A guide that meets another one and parts, from `points` (begin, coupler from, to, end): (P, 2) of place and how
    far towards the other, from `before` to 1 to `behind`. Half a cosine each way."""
    begin, on, off, end = points
    share = np.linspace(0.0, 1.0, pieces + 1)
    rise = (1 - np.cos(np.pi * share)) / 2
    there = np.column_stack((begin + (on - begin) * share, before + (1 - before) * rise))
    back = np.column_stack((off + (end - off) * share, 1 + (behind - 1) * rise))
    return np.vstack((there, [[(on + off) / 2, 1.0]], back))


class _Drawing:
    """Quads of one view, piled up in the order of painting: guides first, boxes on top."""

    def __init__(self, view: View, size: tuple[int, int], power: bool) -> None:
        self.view, self.size = view, size
        self.guides: list[tuple[Array, Array]] = []
        self.boxes: list[tuple[Array, Array]] = []
        # Pixels of a guide's width and of the gap between two that couple.
        self.wide = float(np.clip((0.14 if power else 0.08) * view.sy, 1.0, 8.0 if power else 4.5))
        self.gap = self.wide + float(np.clip(0.03 * view.sy, 1.0, 4.0))
        self.pieces = int(np.clip(view.sx / 14, *CURVE))
        # Small boxes are drawn larger than they are, so that their colours can be told apart.
        self.bold = 0.06 * float(np.clip((40.0 - view.sx) / 20.0, 0.0, 1.0))
        self.tall = float(np.clip((0.5 + 6 * self.bold) * view.sy, 5.0, 44.0))

    def done(self) -> Quads:
        piles = self.guides + self.boxes
        if not piles:
            return Quads(np.empty((0, 4, 2), np.float32), np.empty(0, np.int32))
        corners = np.concatenate([c.reshape(-1, 4, 2) for c, _ in piles]).astype(np.float32)
        return Quads(corners, np.concatenate([k.reshape(-1) for _, k in piles]).astype(np.int32))

    def seen(self, begin: Array, end: Array) -> Array:
        """Which spans of x, in columns, are in sight."""
        v = self.view
        return (np.asarray(end) * v.sx + v.ox >= 0) & (np.asarray(begin) * v.sx + v.ox <= self.size[0])

    def level(self, low: Array, high: Array) -> Array:
        """Which spans of y, in rails, are in sight."""
        v = self.view
        return ((np.asarray(high) + 1) * v.sy + v.oy >= 0) & ((np.asarray(low) - 1) * v.sy + v.oy <= self.size[1])

    def x(self, x: Array | float) -> Array:
        return np.asarray(x) * self.view.sx + self.view.ox

    def y(self, y: Array | float) -> Array:
        return np.asarray(y) * self.view.sy + self.view.oy

    def box(self, x0: Array, x1: Array, y0: Array, y1: Array, colours: Array, guide: bool = False) -> None:
        """Rectangles from pixels."""
        x0, x1, y0, y1 = np.broadcast_arrays(x0, x1, y0, y1)
        corners = np.stack((x0, y0, x1, y0, x1, y1, x0, y1), axis=-1)
        (self.guides if guide else self.boxes).append((corners, np.asarray(colours)))

    def line(self, x: Array, y: Array, colours: Array) -> None:
        """Guides along points (n, P) in pixels; `colours` (n, P - 1) or (n, 1)."""
        dx, dy = np.diff(x, axis=1), np.diff(y, axis=1)
        size = np.maximum(np.hypot(dx, dy), 1e-6)
        nx, ny = -dy / size, dx / size
        # Where pieces meet, their edges do: across the mean of both directions.
        across = np.empty((*x.shape, 2))
        across[:, 0], across[:, -1] = (np.stack((nx[:, i], ny[:, i]), axis=-1) for i in (0, -1))
        across[:, 1:-1] = np.stack((nx[:, 1:] + nx[:, :-1], ny[:, 1:] + ny[:, :-1]), axis=-1)
        across *= self.wide / 2 / np.maximum(np.hypot(across[..., 0], across[..., 1]), 1e-6)[..., None]
        at = np.stack((x, y), axis=-1)
        one, other = at + across, at - across
        corners = np.stack((one[:, :-1], one[:, 1:], other[:, 1:], other[:, :-1]), axis=2)
        # A piece shorter than it is wide would be twisted by that, and stays a rectangle.
        own = np.stack((nx, ny), axis=-1) * self.wide / 2
        begin, end = at[:, :-1], at[:, 1:]
        square = np.stack((begin + own, end + own, end - own, begin - own), axis=2)
        corners = np.where((size < self.wide)[..., None, None], square, corners)
        self.guides.append((corners, np.broadcast_to(colours, dx.shape)))

    # -- near by -------------------------------------------------------------------------------------------------------

    def mesh(self, mesh: Placed) -> None:
        part, modes, first = mesh.part, mesh.part.modes, mesh.colour("guide")[0]
        self.passing(mesh)
        slot = mesh.slots[part.columns, part.rails] if mesh.count else np.empty(0, np.int64)
        other = mesh.slots[part.columns, part.rails + part.spans] if mesh.count else slot
        start = mesh.starts[part.columns] if mesh.count else np.empty(0)
        low, high = np.minimum(slot, other), np.maximum(slot, other)
        here = np.flatnonzero(self.seen(start, start + 1) & self.level(low, high))
        if here.size:
            slot, other, start, column = slot[here], other[here], start[here], part.columns[here]
            meets, theta = (MEET, THETA) if part.complex else (REAL_MEET, REAL_THETA)
            left, right = bend(meets[0], 0.0, ARMS, self.pieces), bend(meets[1], ARMS, 0.0, self.pieces)
            path = np.vstack(([(0.0, 0.0)], left, right, [(1.0, 0.0)]))
            half = 1 + len(left) // 2  # in the middle of a coupler light has changed over
            stage = np.zeros(len(path) - 1, np.int64)
            stage[half:] = 1
            stage[half + len(left) :] = 2
            for mine, theirs, rail in ((slot, other, part.rails[here]), (other, slot, (part.rails + part.spans)[here])):
                sense = np.sign(theirs - mine)[:, None]
                reach = self.view.sy / 2 - self.gap / 2
                x = self.x(start[:, None] + path[:, 0])
                y = self.y(mine)[:, None] + sense * reach * path[:, 1]
                self.line(x, y, first + (2 * column[:, None] + stage) * modes + rail[:, None])
            arm = ARMS * (0.5 - self.gap / 2 / self.view.sy) * np.sign(other - slot)
            self.shifters(mesh, here, start, slot + arm, theta)
            if part.complex:
                self.shifters(mesh, here, start, slot, PHI, "phi")
            else:  # in push and pull: one heater on each arm
                self.shifters(mesh, here, start, other - arm, theta)
        self.ends(mesh)

    def shifters(
        self, mesh: Placed, here: Array, start: Array, slot: Array, share: tuple[float, float], kind: str = "theta"
    ) -> None:
        y, tall = self.y(slot), self.tall if mesh.part.complex else min(self.tall, 0.46 * self.view.sy)
        x0, x1 = start + share[0] - self.bold, start + share[1] + self.bold
        self.box(self.x(x0), self.x(x1), y - tall / 2, y + tall / 2, mesh.colour(kind)[0] + here)  # fmt: skip

    def passing(self, mesh: Placed) -> None:
        """Guides that pass a column without a coupler, and those that change their slots in front of one."""
        modes, first = mesh.part.modes, mesh.colour("guide")[0]
        column, rail = np.nonzero(mesh.occupant < 0)
        start, y = mesh.starts[column], mesh.slots[column, rail]
        here = self.seen(start, start + 1) & self.level(y, y)
        column, rail, start, y = column[here], rail[here], start[here], self.y(y[here])[:, None]
        if here.any():
            x = np.column_stack((self.x(start), self.x(start + 1)))
            self.line(x, np.repeat(y, 2, axis=1), (first + 2 * column * modes + rail)[:, None])
        ends = np.concatenate(([mesh.x + LEAD], mesh.starts[:-1] + 1))
        came = np.vstack((np.arange(modes), mesh.slots[:-1]))
        column, rail = np.nonzero((mesh.starts - ends > 1e-9)[:, None] & np.ones(modes, bool))
        low, high = came[column, rail], mesh.slots[column, rail]
        here = self.seen(ends[column], mesh.starts[column]) & self.level(np.minimum(low, high), np.maximum(low, high))
        column, rail, low, high = column[here], rail[here], low[here], high[here]
        if here.any():
            share = np.linspace(0.0, 1.0, 2 * CURVE[1] + 1)
            rise = (1 - np.cos(np.pi * share)) / 2
            x = self.x(ends[column, None] + (mesh.starts - ends)[column, None] * share)
            y = self.y(low[:, None] + (high - low)[:, None] * rise)
            self.line(x, y, (first + 2 * column * modes + rail)[:, None])

    def ends(self, mesh: Placed) -> None:
        """The guides that lead in and out, and the screen."""
        modes, first = mesh.part.modes, mesh.colour("guide")[0]
        rail = np.arange(modes)
        rail = rail[self.level(rail, rail)]
        y = np.repeat(self.y(rail)[:, None], 2, axis=1)
        for begin, position in ((mesh.x, 0), (mesh.starts[-1], 2 * mesh.columns)):
            x = np.tile(self.x(np.array([begin, begin + LEAD])), (len(rail), 1))
            self.line(x, y, (first + position * modes + rail)[:, None])
        if mesh.part.complex:
            begin = float(mesh.starts[-1]) + 0.2
            self.box(
                self.x(begin), self.x(begin + PHI[1] - PHI[0]), y[:, 0] - self.tall / 2, y[:, 0] + self.tall / 2,
                mesh.colour("screen")[0] + rail,
            )  # fmt: skip

    # -- far away ------------------------------------------------------------------------------------------------------

    def tiles(self, mesh: Placed, focus: str) -> None:
        part, modes, first = mesh.part, mesh.part.modes, mesh.colour("guide")[0]
        self.passing(mesh)
        if focus == "guide":
            position, rail = (a.reshape(-1) for a in np.indices((2 * mesh.columns, modes)))
            start, slot = mesh.starts[position // 2] + position % 2 / 2, mesh.slots[position // 2, rail]
            lit = self.seen(start, start + 0.5) & self.level(slot, slot)
            start, slot = start[lit], slot[lit]
            self.box(
                self.x(start), self.x(start + 0.5), self.y(slot - 0.5), self.y(slot + 0.5),
                (first + position * modes + rail)[lit],
            )  # fmt: skip
        elif mesh.count:
            slot = np.minimum(mesh.slots[part.columns, part.rails], mesh.slots[part.columns, part.rails + part.spans])
            start = mesh.starts[part.columns]
            here = np.flatnonzero(self.seen(start, start + 1) & self.level(slot, slot + 1))
            start, slot = start[here], slot[here]
            inset = 0.5 if min(self.view.sx, self.view.sy) > 6 else 0.0
            y0, y1 = self.y(slot - 0.5) + inset, self.y(slot + 1.5) - inset
            share = {"theta": 0.0, "phi": 1.0}.get(focus, 0.4) if part.complex else 0.0
            if share < 1.0:
                self.box(self.x(start + share), self.x(start + 1) - inset, y0, y1, mesh.colour("theta")[0] + here)
            if share > 0.0:
                right = self.x(start + share) - (inset if share == 1.0 else 0.0)
                self.box(self.x(start), right, y0, y1, mesh.colour("phi")[0] + here)
        self.ends(mesh)

    def sigma(self, place: tuple[float, int], mesh: Placed) -> None:
        """Attenuators, as wedges that narrow with the light."""
        rail = np.arange(mesh.part.modes)
        rail = rail[self.level(rail, rail)]
        x0, x1 = self.x(place[0] + 0.3), self.x(place[0] + SIGMA - 0.3)
        y, tall = self.y(rail), self.tall / 2
        across = np.tile(self.x(np.array([place[0], place[0] + SIGMA])), (len(rail), 1))
        guide = mesh.colour("guide")[0] + 2 * mesh.columns * mesh.part.modes + rail
        self.line(across, np.repeat(y[:, None], 2, axis=1), guide[:, None])
        x0, x1 = np.full(len(rail), x0), np.full(len(rail), x1)
        corners = np.stack((x0, y - tall, x1, y - tall / 2, x1, y + tall / 2, x0, y + tall), axis=-1)
        self.boxes.append((corners, place[1] + rail))
