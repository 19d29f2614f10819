"""What is seen of a scene, as shapes: rails as strokes, phase shifters, screens and attenuators as plates over them.

Guides bend, come close where they couple, run side by side, and part; a phase shifter is a heater that lies along its
guide. From far away, where this would be a weave nobody can read, an MZI is a tile in its colour; a mesh of few modes
is never drawn that way. Lit guides, which are coloured by the light in them, lie over the plates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from l2sim.backend import Array

from .geometry import LEAD, PARTS, SIGMA, Placed, Scene, View

FEW = 16
"""Modes up to which guides are drawn at any size."""
STAGE = (30.0, 13.0)
"""Pixels of a column and of a rail from which guides are drawn of any mesh."""
SEAM = 8.0
"""Pixels of a tile from which it is told from its neighbours by a dark line."""
PIECES = (4, 14)
"""Least and most straight pieces of a bend."""
# Along one MZI: shares of its column where things begin and end.
PHI, THETA = (0.02, 0.13), (0.47, 0.63)
MEET = ((0.14, 0.29, 0.36, 0.46), (0.64, 0.74, 0.81, 0.96))  # bend, coupler, bend: twice
REAL_THETA = (0.39, 0.61)
REAL_MEET = ((0.0, 0.20, 0.28, 0.38), (0.62, 0.72, 0.80, 1.0))
ARMS = 0.45
"""How far the arms of an MZI stay together, as a share of their way to the coupler."""


class Strokes(NamedTuple):
    """Rails of one mesh, each from its input to its output: their middles run through `x` (X,), `y` (R, X) pixels.
    Which part of the way that is says `place` (X,); there, rail r has the colour `first` + place * `modes` + r."""

    side: str
    rails: Array
    x: Array
    y: Array
    place: Array
    first: int
    modes: int


class Quads(NamedTuple):
    """Corners (Q, 4, 2) in pixels, in the order of painting, and colours (Q,)."""

    corners: Array
    colours: Array


class Shapes(NamedTuple):
    """All that is seen. Rails are `wide`, plates have round corners of `radius`; around lit guides is a halo. Cells
    leave a `seam` (x, y) pixels wide to those behind and below them."""

    strokes: list[Strokes]
    cells: Quads
    plates: Quads
    seam: tuple[int, int]
    wide: float
    radius: float
    halo: float
    lit: bool


def near(scene: Scene, view: View) -> bool:
    """Whether guides are drawn, not tiles."""
    return scene.rails <= FEW or (view.sx >= STAGE[0] and view.sy >= STAGE[1])


def shapes(scene: Scene, view: View, size: tuple[int, int], focus: str = "") -> Shapes:
    """Everything that may be seen in `size` (width, height) pixels. `focus`: the one kind that matters, if any."""
    draw = _Drawing(view, size, focus == "guide", near(scene, view))
    for mesh in scene.meshes:
        follows = SIGMA if scene.sigma and mesh is scene.meshes[0] else 0.0
        draw.rails(mesh, follows)
        if not draw.near:
            draw.tiles(mesh, focus)
        elif mesh.count:
            draw.shifters(mesh)
        if mesh.part.complex:
            draw.screen(mesh)
    if scene.sigma:
        draw.sigma(scene.sigma, scene.meshes[0].part.modes)
    return draw.done()


def bend(points: tuple[float, ...], before: float, behind: float, pieces: int) -> Array:
    """A guide that meets another one and parts, from `points` (begin, coupler from, to, end): (P, 2) of place and how
    far towards the other, from `before` to 1 to `behind`. Half a cosine each way."""
    begin, on, off, end = points
    share = np.linspace(0.0, 1.0, pieces + 1)
    rise = (1 - np.cos(np.pi * share)) / 2
    there = np.column_stack((begin + (on - begin) * share, before + (1 - before) * rise))
    back = np.column_stack((off + (end - off) * share, 1 + (behind - 1) * rise))
    return np.vstack((there, back))


def profile(complex_: bool, pieces: int) -> tuple[Array, Array, Array]:
    """A guide along one MZI, (P,) each: share of the column, how far towards the other guide, and which of the column's
    `PARTS` this is. From one to the next they change along phi, coupler, theta and coupler."""
    meets, theta = (MEET, THETA) if complex_ else (REAL_MEET, REAL_THETA)
    (_, on, off, _), (_, on2, off2, _) = meets
    heater = [(PHI[0], 0.0), (PHI[1], 0.0)] if complex_ else []
    path = np.vstack((
        [(0.0, 0.0), *heater], bend(meets[0], 0.0, ARMS, pieces), [(theta[0], ARMS), (theta[1], ARMS)],
        bend(meets[1], ARMS, 0.0, pieces), [(1.0, 0.0)],
    ))  # fmt: skip
    knots = [*(PHI if complex_ else (0.0, 0.0)), on, off, *theta, on2, off2]
    return path[:, 0], path[:, 1], np.interp(path[:, 0], knots, (0, 1, 1, 2, 2, 3, 3, PARTS))


class _Drawing:
    """Shapes of one view, piled up in the order of painting."""

    def __init__(self, view: View, size: tuple[int, int], lit: bool, close: bool) -> None:
        self.view, self.size, self.lit, self.near = view, size, lit, close
        self.strokes: list[Strokes] = []
        self.cells: list[tuple[Array, Array]] = []
        self.plates: list[tuple[Array, Array]] = []
        # Pixels of a guide's width and of the way between the middles of two that couple.
        self.wide = float(np.clip((0.13 if lit else 0.085) * view.sy, 1.3, 9.0 if lit else 6.0))
        if not close:
            self.wide = float(np.clip(0.12 * view.sy, 0.6, 1.3))
        self.gap = self.wide + float(np.clip(0.045 * view.sy, 1.0, 5.0))
        self.pieces = int(np.clip(view.sx / 8, *PIECES))
        self.tall = float(np.clip(min(0.34 * view.sy, 0.2 * view.sx), 5.0, 22.0))

    def done(self) -> Shapes:
        radius = min(self.tall / 3, 0.04 * self.view.sx, 5.0) if self.near else 0.0
        halo = 1.2 * self.wide if self.lit and self.near and self.wide > 2.5 else 0.0
        sx, sy = self.view.sx, self.view.sy
        seam = (0, int(sy >= SEAM)) if self.lit else (int(min(sx, 2 * sy) >= SEAM),) * 2
        cells, plates = _joined(self.cells), _joined(self.plates)
        return Shapes(self.strokes, cells, plates, seam, self.wide, radius, halo, self.lit)

    def seen(self, begin: Array | float, end: Array | float) -> Array:
        """Which spans of x, in columns, are in sight."""
        v = self.view
        return (np.asarray(end) * v.sx + v.ox >= -9) & (np.asarray(begin) * v.sx + v.ox <= self.size[0] + 9)

    def level(self, low: Array, high: Array) -> Array:
        """Which spans of y, in rails, are in sight."""
        v = self.view
        return ((np.asarray(high) + 1) * v.sy + v.oy >= 0) & ((np.asarray(low) - 1) * v.sy + v.oy <= self.size[1])

    def x(self, x: Array | float) -> Array:
        return np.asarray(x) * self.view.sx + self.view.ox

    def y(self, y: Array | float) -> Array:
        return np.asarray(y) * self.view.sy + self.view.oy

    def box(self, x0: Array, x1: Array, y0: Array, y1: Array, colours: Array, cell: bool = False) -> None:
        """Rectangles from pixels."""
        x0, x1, y0, y1 = np.broadcast_arrays(x0, x1, y0, y1)
        corners = np.stack((x0, y0, x1, y0, x1, y1, x0, y1), axis=-1)
        (self.cells if cell else self.plates).append((corners, np.asarray(colours)))

    def rails(self, mesh: Placed, follows: float) -> None:
        """Every rail that is in sight, from the mesh's beginning to its end, and on over `follows` columns."""
        spans = self._spans(mesh, follows)
        x, place = (np.concatenate([span[i] for span in spans]) for i in (0, 2))
        y = np.concatenate([span[1] for span in spans], axis=1)
        rails = np.flatnonzero(self.level(y.min(axis=1), y.max(axis=1))) if x.size else np.zeros(0, np.int64)
        if rails.size:
            first, modes = mesh.colour("guide")[0], mesh.part.modes
            self.strokes.append(Strokes(mesh.side, rails, self.x(x), self.y(y[rails]), place, first, modes))

    def _spans(self, mesh: Placed, follows: float) -> list[tuple[Array, Array, Array]]:
        """What is in sight of all rails, piece by piece: x (P,), y (N, P) in columns and rails, place (P,)."""
        modes, columns, rail = mesh.part.modes, mesh.columns, np.arange(mesh.part.modes)
        share, toward, part = profile(mesh.part.complex, self.pieces) if self.near else (np.array([0.0, 1.0]),) * 3
        toward, part = (toward, part) if self.near else (0.0 * share, PARTS * share)
        reach = 0.5 - self.gap / 2 / self.view.sy
        rise = (1 - np.cos(np.pi * np.linspace(0.0, 1.0, 2 * PIECES[1] + 1))) / 2
        spans = [_level(mesh.x, mesh.x + LEAD, rail, 0)]
        came, end = rail, mesh.x + LEAD
        for c in range(columns):
            start, lies = float(mesh.starts[c]), mesh.slots[c]
            if start - end > 1e-9 and self.seen(end, start):  # led across one another
                x = np.linspace(end, start, len(rise))
                spans.append((x, came[:, None] + (lies - came)[:, None] * rise, np.full(len(rise), PARTS * c)))
            if self.seen(start, start + 1):
                y = lies[:, None] + mesh.sense[c][:, None] * reach * toward
                spans.append((start + share, y, PARTS * c + part))
            came, end = lies, start + 1
        start = float(mesh.starts[-1])
        if start - end > 1e-9:
            x = np.linspace(end, start, len(rise))
            spans.append((x, came[:, None] + (rail - came)[:, None] * rise, np.full(len(rise), PARTS * columns)))
        spans.append(_level(start, mesh.end + follows, rail, PARTS * columns))
        none = np.zeros(0), np.zeros((modes, 0)), np.zeros(0)
        return [span for span in spans if self.seen(span[0][0], span[0][-1])] or [none]

    def shifters(self, mesh: Placed) -> None:
        """Heaters: along a guide in front of the first coupler, and on an arm; of real MZIs, which are driven in push
        and pull, one on each arm."""
        part = mesh.part
        slot, other = mesh.slots[part.columns, part.rails], mesh.slots[part.columns, part.rails + part.spans]
        start = mesh.starts[part.columns]
        low, high = np.minimum(slot, other), np.maximum(slot, other)
        here = np.flatnonzero(self.seen(start, start + 1) & self.level(low, high))
        slot, other, start = slot[here], other[here], start[here]
        arm = ARMS * (0.5 - self.gap / 2 / self.view.sy) * (other - slot)
        colours = mesh.colour("theta")[0] + here
        if part.complex:
            self.heater(start, PHI, slot, mesh.colour("phi")[0] + here, self.tall)
            self.heater(start, THETA, slot + arm, colours, self.tall)
        else:
            for y in (slot + arm, other - arm):
                self.heater(start, REAL_THETA, y, colours, min(self.tall, 0.44 * self.view.sy))

    def heater(self, start: Array, share: tuple[float, float], slot: Array, colours: Array, tall: float) -> None:
        """Plates along guides; small ones are drawn larger than they are, so that their colours can be told apart."""
        middle, half = self.x(start + sum(share) / 2), max((share[1] - share[0]) * self.view.sx, 3.0) / 2
        self.box(middle - half, middle + half, self.y(slot) - tall / 2, self.y(slot) + tall / 2, colours)

    def screen(self, mesh: Placed) -> None:
        """The phase shifters at the outputs."""
        rail = np.arange(mesh.part.modes)
        rail = rail[self.level(rail, rail)]
        start = np.full(len(rail), float(mesh.starts[-1]) + 0.2)
        tall = self.tall if self.near else 0.6 * self.view.sy
        self.heater(start, PHI, rail.astype(float), mesh.colour("screen")[0] + rail, tall)

    def sigma(self, place: tuple[float, int], modes: int) -> None:
        """Attenuators, as wedges that narrow with the light."""
        rail = np.arange(modes)
        rail = rail[self.level(rail, rail)]
        y, tall = self.y(rail), self.tall / 2
        x0, x1 = (np.full(len(rail), self.x(place[0] + x)) for x in (0.25, SIGMA - 0.25))
        corners = np.stack((x0, y - tall, x1, y - tall / 2, x1, y + tall / 2, x0, y + tall), axis=-1)
        self.plates.append((corners, place[1] + rail))

    def tiles(self, mesh: Placed, focus: str) -> None:
        """From far away: MZIs as tiles over their two rails, theta and phi side by side, or rails as bands of light."""
        part, modes, first = mesh.part, mesh.part.modes, mesh.colour("guide")[0]
        if focus == "guide":
            half, rail = (a.reshape(-1) for a in np.indices((2 * mesh.columns, modes)))
            start, slot = mesh.starts[half // 2] + half % 2 / 2, mesh.slots[half // 2, rail]
            lit = self.seen(start, start + 0.5) & self.level(slot, slot)
            start, slot = start[lit], slot[lit]
            number = (first + (2 * half + 1) * modes + rail)[lit]  # behind the heaters
            self.box(self.x(start), self.x(start + 0.5), self.y(slot - 0.5), self.y(slot + 0.5), number, True)
        elif mesh.count:
            slot = np.minimum(mesh.slots[part.columns, part.rails], mesh.slots[part.columns, part.rails + part.spans])
            start = mesh.starts[part.columns]
            here = np.flatnonzero(self.seen(start, start + 1) & self.level(slot, slot + 1))
            start, slot = start[here], slot[here]
            y0, y1, end = self.y(slot - 0.5), self.y(slot + 1.5), self.x(start + 1)
            share = {"theta": 0.0, "phi": 1.0}.get(focus, 0.4) if part.complex else 0.0
            if share > 0.0:
                self.box(self.x(start), end, y0, y1, mesh.colour("phi")[0] + here, True)
            if share < 1.0:
                self.box(self.x(start + share), end, y0, y1, mesh.colour("theta")[0] + here, True)


def _level(begin: float, end: float, rails: Array, place: int) -> tuple[Array, Array, Array]:
    """All rails straight on."""
    return np.array([begin, end]), np.repeat(rails[:, None].astype(float), 2, axis=1), np.full(2, place)


def _joined(piles: list[tuple[Array, Array]]) -> Quads:
    if not piles:
        return Quads(np.empty((0, 4, 2)), np.empty(0, np.int32))
    corners = np.concatenate([corners.reshape(-1, 4, 2) for corners, _ in piles])
    return Quads(corners, np.concatenate([colours.reshape(-1) for _, colours in piles]).astype(np.int32))
