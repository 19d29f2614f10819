"""Twins of whole complex meshes from the powers at their outputs alone: no tap, and no phase of any field is read.

Where the columns behind a column pass light straight on, the outputs see it as if it were the last. With the fields a
and b in front of an MZI and the powers P and Q behind its upper and its lower output,

    P - Q = -cos(theta) (|a|^2 - |b|^2) + 2 sin(theta) Re(e^{i phi} a b*)

**Theta, from the outputs inwards.** Light arrives as it may. The mean of P - Q over phi and phi + pi is the first term;
seen at two theta a quarter apart, for some fields, it gives theta's bias up to pi. So the column can be set to pass
light, straight on or across: which of both is seen when the column in front of it is turned, every second MZI at a
time, by the rails on which powers change. Of the first column the light that was sent decides.

**Phi, from the inputs inwards.** All columns pass light straight on but one, whose theta is pi / 2. Light of known
phases in all inputs arrives there with phases known from the columns in front, so P - Q gives phi's bias.

Both are closed forms that divide by nothing that gets small. Columns are not quite straight, since heater strengths are
not known yet: what leaks on the way adds up as a random walk over the columns, and again where phi's biases are found
from those in front, so that phi is off by about 0.008 N rad (rms, 8 bits, gamma 0.002) and theta by 0.05. From there
Levenberg-Marquardt over all powers at random settings ends it (`twin_mesh.fit`).

Effort: a setting shows all MZIs of a column, and there are N columns: 6 N settings with `FIELDS` fields each, then
`SETTINGS` with N fields. These are 6 `FIELDS` + `SETTINGS` evaluations whatever N is.

Gauge: the phases of the outputs, N numbers. With light in one input at a time the relative phases of the inputs would
be hidden too, N - 1 more: the rank of the Jacobian says so (`tests/learn/twin/test_twin_outputs.py`).

Beside it: Alexiev et al., OSA Continuum 4, 2892 (2021), rectangular meshes by detectors outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from l2sim.backend import Array
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import MeshHardware
from l2sim.errors import ChipError
from l2sim.given import wrapped
from l2sim.learn.twin.fit import NOISE_FLOOR, SURE, Drive
from l2sim.learn.twin.whole.by_taps import SETTINGS, checked, draw
from l2sim.learn.twin.whole.fit import REPEATS, MeshTwin, Seen, blank, effective, widest
from l2sim.mesh.mesh import Mesh

FIELDS = 8
"""Random fields at each setting of a walk."""
WALKS, RESCUES, TRIES = 3, 9, 8
"""Walks at most: where what one led to is not identified, another is taken with other fields. Where heaters are dead,
which is looked for then, light goes astray and a walk leads there once in three times or so: so many more, with so many
phases of the dead heaters each. Ours."""
PROBED = 4
"""Vectors by which a heater is seen to do nothing."""
THETAS = np.array([0.75, 1.25]) * np.pi
PHIS = np.array([0.03, 1.03]) * np.pi
"""Driven phases of the column that is looked at. Elsewhere phi is the first, little heat that no strength blurs."""
ORDER = np.array([[0, 1, 3, 2, 2], [0, 0, 1, 3, 2]])
"""What MZIs of even and odd number of that column are driven by in five steps: theta (bit 0) and phi (bit 1). The even
ones move alone first, the odd ones last, both by theta."""


class Walk:
    """The settings of one search for a start, one after the other. `q` (2 n,) is what heaters are driven by now, `bias`
    (2 n,) what is known of the biases."""

    def __init__(self, hardware: MeshHardware, sheet: Nonidealities, light: Array) -> None:
        self.hardware, self.mesh, self.light = hardware, hardware.mesh, light
        self.drive, self.nothing = Drive.of(sheet), blank(hardware.mesh, sheet, 0, hardware.mesh.modes)
        self.q = self.drive.near(np.repeat([THETAS[1], PHIS[0]], self.mesh.count))
        self.bias = np.zeros(2 * self.mesh.count)

    def phases(self) -> Array:
        """Phases (2 n,) that light sees, as far as biases are known."""
        return effective(self.mesh, self.drive, self.nothing, self.q) + self.bias

    def aim(self, mzis: Array, theta: float) -> None:
        """Drive these MZIs so that their theta is this, also by what leaks from each other."""
        for _ in range(4):
            q = wrapped(self.q[mzis] + theta - self.phases()[mzis])
            self.q[mzis] = self.drive.near(np.minimum(q, self.drive.top))

    def read(self) -> Array:
        """Powers (N, B) at the outputs, as those of light of which nothing is lost, whatever they are read in."""
        seen = read(self.hardware, self.drive, self.q, self.light)
        whole: Array = seen * ((np.abs(self.light) ** 2).sum() / seen.sum())
        return whole


def read(hardware: MeshHardware, drive: Drive, q: Array, light: Array) -> Array:
    """Powers (N, B) at the outputs when heaters are driven by q (2 n,)."""
    command, n = drive.command(q), hardware.mesh.count
    hardware.set_phases(command[:n], command[n:], drive.command(np.zeros(hardware.mesh.modes)))
    return hardware.forward(light, readout="power")


def identify(hardware: MeshHardware, sheet: Nonidealities, rng: np.random.Generator) -> MeshTwin:
    """Identify a mesh from the powers at its outputs; with splitter errors too where the rest does not explain what is
    seen. ChipError for a mesh that is not rectangular, reads no powers, or whose heaters make less than a turn."""
    mesh, drive = checked(hardware, "power"), Drive.of(sheet)
    if drive.top < 1.9 * np.pi:
        raise ChipError(f"heaters reach {drive.top:.2g} rad only, and a twin by outputs needs a turn; raise v_max")
    q, light = draw(drive, mesh, SETTINGS, mesh.modes, rng)
    powers = np.array([read(hardware, drive, one, light) for one in q])
    again = np.array([powers[-1], *(read(hardware, drive, q[-1], light) for _ in range(REPEATS - 1))])
    seen = Seen(q, light, powers, again, sheet.shot_noise**2, max(sheet.readout_noise, NOISE_FLOOR) ** 2)
    best, readings = blank(mesh, sheet, 0, mesh.modes), (len(q) + REPEATS - 1) * light.shape[1]
    dead = np.zeros(2 * mesh.count, bool)
    for turn in range(WALKS + RESCUES):
        if turn == WALKS:
            dead, spent = silent(hardware, drive, seen, rng)
            readings += spent
            if not dead.any():
                break
        size = mesh.modes, FIELDS
        walk = Walk(hardware, sheet, rng.uniform(0.3, 1.0, size) * np.exp(2j * np.pi * rng.uniform(size=size)))
        begin(walk)
        readings += 6 * len(columns(mesh)) * FIELDS
        for start in starts(walk, dead, rng):
            twin = widest(mesh, drive, sheet, start, seen)
            best = twin if twin.misfit < best.misfit else best
            if best.identified:
                return replace(best, readings=readings)
    return replace(best, readings=readings)


def starts(walk: Walk, dead: Array, rng: np.random.Generator) -> Iterator[MeshTwin]:
    """Where a fit may start from a walk: where it led, `dead` heaters (2 n,) at some phases, which no walk tells."""
    twin = replace(walk.nothing, bias=walk.bias, ratio=np.where(dead, 0.0, 1.0))
    if not dead.any():
        yield twin
        return
    first = rng.uniform(0.0, 2.0 * np.pi, dead.sum())
    for step in range(TRIES):
        bias = walk.bias.copy()
        bias[dead] = first + 2.0 * np.pi * step * (1 + np.arange(first.size)) / TRIES
        yield replace(twin, bias=bias)


def silent(hardware: MeshHardware, drive: Drive, seen: Seen, rng: np.random.Generator) -> tuple[Array, int]:
    """The heaters (2 n,) that answer to nothing: half a turn of each, at two settings, changes no power at the outputs.
    And the vectors sent."""
    mesh, light = hardware.mesh, seen.light[:, :PROBED]
    dead, ratio = np.ones(2 * mesh.count, bool), seen.noise()[0]
    for q in seen.q[:2]:
        still = read(hardware, drive, q, light)
        variance = 2.0 * ratio * (seen.by_power * np.maximum(still, 0.0) + seen.floor)
        for heater in np.flatnonzero(dead):
            moved = q.copy()
            moved[heater] = drive.near(np.where(moved[heater] < drive.top / 2, 1.0, -1.0) * np.pi + moved[heater])
            change = (read(hardware, drive, moved, light) - still) ** 2 / variance
            dead[heater] = change.mean() < 1.0 + SURE * np.sqrt(2.0 / change.size)
    spent = (2 * mesh.count + int(dead.sum()) + 2) * light.shape[1]
    return dead, spent


def columns(mesh: Mesh) -> list[Array]:
    """The MZIs of every column that has some."""
    return [np.flatnonzero(mesh.column == c) for c in np.unique(mesh.column)]


def begin(walk: Walk) -> None:
    """Find all biases in closed form: theta's from the outputs inwards, then phi's from the inputs inwards."""
    behind = np.arange(0)
    for here in reversed(columns(walk.mesh)):
        turn(walk, here, behind)
        behind = here
    for here in columns(walk.mesh):
        interfere(walk, here)


def turn(walk: Walk, here: Array, behind: Array) -> None:
    """Theta's biases of the column `here`, up to pi unless it is the first one, and of those `behind` it whether pi is
    to be added. Then both pass light, `behind` straight on."""
    mesh, n = walk.mesh, walk.mesh.count
    odd = np.arange(here.size) % 2
    powers, phases = np.empty((5, mesh.modes, walk.light.shape[1])), np.empty((5, 2 * n))
    for step, point in enumerate(ORDER[odd].T):
        walk.q[here], walk.q[n + here] = walk.drive.near(THETAS[point % 2]), walk.drive.near(PHIS[point // 2])
        powers[step], phases[step] = walk.read(), walk.phases()
    for t in across(mesh, here, behind, powers):
        walk.bias[t] += np.pi
        powers[:, [mesh.top[t], mesh.bottom[t]]] = powers[:, [mesh.bottom[t], mesh.top[t]]]
    for k, t in enumerate(here):
        i, j = mesh.top[t], mesh.bottom[t]
        at = [int(np.argmax(ORDER[odd[k]] == point)) for point in range(4)]
        one, two = (powers[at, i] - powers[at, j]).reshape(2, 2, -1).mean(axis=0)
        h, later = phases[at, t].reshape(2, 2).mean(axis=0)
        # of -w cos(theta) for every field: w cos and w sin of the first theta
        x, y = -one, (two - one * np.cos(later - h)) / np.sin(later - h)
        theta = 0.5 * np.arctan2(2.0 * (x * y).sum(), (x**2 - y**2).sum())
        if mesh.column[t] == 0:
            w = np.abs(walk.light[i]) ** 2 - np.abs(walk.light[j]) ** 2
            theta += np.pi * ((w * (x * np.cos(theta) + y * np.sin(theta))).sum() < 0)
        walk.bias[t] = theta - h
    walk.q[n + here] = walk.drive.near(PHIS[:1])
    walk.aim(behind, np.pi)
    walk.aim(here, np.pi)


def across(mesh: Mesh, here: Array, behind: Array, powers: Array) -> Array:
    """MZIs `behind` that pass light across, from what was seen (5, N, B) while those `here` were turned."""
    moved = ((powers[[1, 4]] - powers[[0, 3]]) ** 2).sum(axis=2)  # by even ones, and by odd ones
    mover = np.full(mesh.modes, -1)
    mover[mesh.top[here]] = mover[mesh.bottom[here]] = np.arange(here.size) % 2
    i, j = mesh.top[behind], mesh.bottom[behind]
    straight = (moved[mover[i], i] - moved[mover[i], j]) * (mover[i] >= 0)
    straight += (moved[mover[j], j] - moved[mover[j], i]) * (mover[j] >= 0)
    crossed: Array = behind[straight < 0]
    return crossed


def interfere(walk: Walk, here: Array) -> None:
    """Phi's biases of the column `here`; theta of all MZIs is pi, before and after, and is known."""
    mesh, n = walk.mesh, walk.mesh.count
    walk.aim(here, np.pi / 2)
    powers, phases, field = walk.read(), walk.phases(), walk.light.copy()
    for t in range(here[0]):
        rails = [mesh.top[t], mesh.bottom[t]]
        field[rails] = mzi(phases[t], phases[n + t]) @ field[rails]
    for t in here:
        i, j = mesh.top[t], mesh.bottom[t]
        known = -np.cos(phases[t]) * (np.abs(field[i]) ** 2 - np.abs(field[j]) ** 2)
        wave = 2.0 * np.sin(phases[t]) * np.exp(1j * phases[n + t]) * field[i] * field[j].conj()
        table = np.stack((wave.real, -wave.imag), axis=1)
        x, y = np.linalg.lstsq(table, powers[i] - powers[j] - known, rcond=None)[0]
        walk.bias[n + t] = np.arctan2(y, x)
    walk.aim(here, np.pi)


def mzi(theta: float, phi: float) -> Array:
    """T(theta, phi) of `l2sim.mesh.unitary`, (2, 2)."""
    s, c, turned = np.sin(theta / 2), np.cos(theta / 2), np.exp(1j * phi)
    matrix: Array = 1j * np.exp(0.5j * theta) * np.array([[s * turned, c], [c * turned, -s]])
    return matrix
