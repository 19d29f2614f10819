"""Twins of whole complex meshes: the model of one, and its fit to powers.

A mesh is U = diag(screen) T_{n-1} ... T_0, T = D(er) diag(a0 e^{i theta}, a1) D(el) diag(a2 e^{i phi}, a3)
(`kernels.couplers`). Unknown are bias and strength of every heater and the crosstalk; what readings are multiplied by,
a common gain (whatever units a laboratory reads in), one of each port, and the loss that all arms share, which dims
light by its depth alone; and where these do not explain what is seen, the errors of both splitters and the four arms
of every MZI. Levenberg-Marquardt (`l2sim.learn.twin.least_squares`) fits all powers together. Equal loss in all arms is
a factor of the outputs, which the gain takes up: by outputs it is no unknown of its own.

A heater that answers to nothing, dead or stuck, has strength none: it is held there, and its bias is the phase that it
has. Noise is measured, by reading one setting again and again: only how it grows with the power is believed.

Gauge: the phases of the outputs, which no power shows, so that the matrix is known up to a phase of each row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from l2sim.backend import Array, kernels
from l2sim.chip.nonidealities import Nonidealities
from l2sim.given import wrapped
from l2sim.learn.twin import least_squares
from l2sim.learn.twin.fit import CROSSTALK_STD, HOLD, NOISE_FLOOR, STUCK, SURE, Drive, ratio_std
from l2sim.learn.twin.model import STD
from l2sim.mesh import unitary
from l2sim.mesh.mesh import Mesh
from l2sim.mesh.wiring import wiring

STEPS = 20
"""Steps of Levenberg-Marquardt at most, each of two times."""
NEAR = 1000.0
"""Misfit below which a fit is near, and what is missing may be splitters and arms."""
GAIN_STD, PORT_STD, COLUMN_STD = 10.0, 0.05, 0.05
"""Prior spreads of the logarithms of the common gain, of which nothing is known, of a port's own, and of the amplitude
that an arm leaves; ours."""
REPEATS = 4
"""Readings of one setting from which noise is measured."""
KINDS = 8
"""What an MZI changes by: theta, phi, both splitters, four arms."""


@dataclass(frozen=True)
class MeshTwin:
    """`bias` and `ratio` (2 n,) of theta, then phi, in travel order; `crosstalk`; `passive` (6, n) the errors of left
    and right splitters, rad, and the logarithms of the amplitudes of four arms beside what all share. Also logarithms:
    `gain` of all powers, `loss` of the amplitude in every arm, `ports` (R,) of the powers of each row read. `spread`
    (P,): the standard deviations of all, as far as they were fitted; `misfit`: squared residual over the noise's;
    `noise`: the variance measured over the one believed; `readings`: vectors sent past the detectors."""

    bias: Array
    ratio: Array
    crosstalk: float
    passive: Array
    gain: float
    loss: float
    ports: Array
    spread: Array
    misfit: float
    noise: float
    identified: bool
    readings: int

    @property
    def dead(self) -> Array:
        """The heaters (2 n,) that answer to nothing."""
        none: Array = self.ratio == 0.0
        return none


class Seen(NamedTuple):
    """What was measured: driven phases (S, 2 n), light (N, B), powers (S, R, B), `again` (m, R, B) the first setting
    read more often, and how the variance of a power I is believed to grow, `by_power` I + `floor`. R = 2 n + N, at
    theta, phi and the screen, or N, at the outputs alone."""

    q: Array
    light: Array
    powers: Array
    again: Array
    by_power: float
    floor: float

    def noise(self) -> tuple[float, int]:
        """The variance of the readings over what is believed of it, and from how many degrees of freedom."""
        if len(self.again) < 2:
            return 1.0, 0
        believed = self.by_power * np.maximum(self.again.mean(axis=0), 0.0) + self.floor
        measured = self.again.var(axis=0, ddof=1)
        return float((measured / believed).mean()), (len(self.again) - 1) * measured.size


def neighbours(mesh: Mesh) -> Array:
    """The heaters beside each one, (2 n, W), -1 for none; the screen is left cold."""
    around = wiring(mesh).around[: 2 * mesh.count]
    return np.where(around < 2 * mesh.count, around, -1)


def leaks(mesh: Mesh, heat: Array) -> Array:
    """The sum over the neighbours of every heater, (..., 2 n)."""
    around = neighbours(mesh)
    summed: Array = np.where(around >= 0, heat[..., np.maximum(around, 0)], 0.0).sum(axis=-1)
    return summed


def effective(mesh: Mesh, drive: Drive, twin: MeshTwin, q: Array) -> Array:
    """Phases (..., 2 n) that the light sees when heaters are driven by q (..., 2 n); the screen is left cold."""
    heat = q * twin.ratio
    heat = wrapped(heat) if drive.rewrap else heat
    phases: Array = heat + twin.crosstalk * leaks(mesh, heat) + twin.bias
    return phases


def elements(phases: Array, passive: Array, kinds: int) -> tuple[Array, Array, Array, Array]:
    """T (n, 2, 2) of every MZI, the field behind theta as a row (n, 2), and the derivatives of both by the first
    `kinds` of `KINDS`, from phases (2 n,) and passive parts (6, n)."""
    n, splitters, arms = passive.shape[1], passive[:2], passive[2:]
    upper, lower, front, under = np.exp(arms + 1j * np.stack((phases[:n], 0 * phases[:n], phases[n:], 0 * phases[:n])))
    cosine, sine = np.cos(np.pi / 4 + splitters), np.sin(np.pi / 4 + splitters)

    def splitter(side: int, slope: bool) -> Array:
        c, s = (-sine[side], cosine[side]) if slope else (cosine[side], sine[side])
        return np.moveaxis(np.array([[c, 1j * s], [1j * s, c]]), -1, 0)

    def arms_of(a: Array, b: Array) -> Array:
        out = np.zeros((n, 2, 2), complex)
        out[:, 0, 0], out[:, 1, 1] = a, b
        return out

    left, right = splitter(0, False), splitter(1, False)
    middle, first = arms_of(upper, lower), arms_of(front, under)
    none = np.zeros(n, complex)
    inner = middle @ left @ first  # behind theta
    inners = [
        arms_of(1j * upper, none) @ left @ first, middle @ left @ arms_of(1j * front, none),
        middle @ splitter(0, True) @ first, np.zeros_like(inner),
        arms_of(upper, none) @ left @ first, arms_of(none, lower) @ left @ first,
        middle @ left @ arms_of(front, none), middle @ left @ arms_of(none, under),
    ][:kinds]  # fmt: skip
    by = np.array([right @ slope for slope in inners]).reshape(kinds, n, 2, 2)
    if kinds > 3:
        by[3] = splitter(1, True) @ inner
    halves = np.array([slope[:, 0] for slope in inners]).reshape(kinds, n, 2)
    return right @ inner, np.ascontiguousarray(inner[:, 0]), by, halves


def follow(
    mesh: Mesh, phases: Array, light: Array, passive: Array, kinds: int = 0, taps: bool = True
) -> tuple[Array, Array]:
    """Powers (R, B) of one setting, phases (2 n,), and their derivatives (kinds n, R, B), float32."""
    n, (modes, width) = mesh.count, light.shape
    element, half, by, halves = elements(phases, passive, kinds)
    rows = modes + (2 * n if taps else 0)
    powers, slopes = np.empty((rows, width)), np.empty((kinds, n, rows, width), np.float32)
    lit = np.ascontiguousarray(light, complex)
    if taps:
        kernels.mesh_twin.taps(element, half, by, halves, mesh.top, mesh.bottom, lit, powers, slopes)
    else:
        kernels.mesh_twin.outputs(element, by, mesh.top, mesh.bottom, lit, powers, slopes)
    return powers, slopes.reshape(kinds * n, rows, width)


def sections(mesh: Mesh, taps: bool) -> Array:
    """Arms that light has passed in front of each row of readings, (R,)."""
    ends = np.full(mesh.modes, 2.0 * mesh.columns)
    return np.concatenate((2.0 * mesh.column + 2.0, 2.0 * mesh.column, ends)) if taps else ends


def blank(mesh: Mesh, sheet: Nonidealities, readings: int, rows: int) -> MeshTwin:
    """A mesh of which nothing is known, read in so many rows."""
    n = mesh.count
    return MeshTwin(
        np.zeros(2 * n), np.ones(2 * n), sheet.crosstalk, np.zeros((6, n)), 0.0, 0.0, np.zeros(rows),
        np.full(4 * n + 3, np.inf), np.inf, 1.0, False, readings,
    )  # fmt: skip


class Parts(NamedTuple):
    """Where the unknowns of a fit stand: `size` of them, base, gain and loss, the ports and, with the passive parts,
    splitters and arms."""

    n: int
    rows: int
    wide: bool

    @property
    def size(self) -> int:
        """How many unknowns there are."""
        return 4 * self.n + 3 + self.rows + (6 * self.n if self.wide else 0)

    def vector(self, twin: MeshTwin) -> Array:
        """The unknowns (P,) of a twin."""
        parts = (twin.bias, twin.ratio, [twin.crosstalk, twin.gain, twin.loss], twin.ports)
        return np.concatenate((*parts, twin.passive.ravel()))[: self.size]

    def twin(self, x: Array, beside: MeshTwin) -> MeshTwin:
        """The twin with unknowns x (P,), and what else `beside` has."""
        n, at, end = self.n, 4 * self.n, 4 * self.n + 3 + self.rows
        return replace(
            beside, bias=x[: 2 * n], ratio=x[2 * n : at], crosstalk=float(x[at]), gain=float(x[at + 1]),
            loss=float(x[at + 2]), ports=x[at + 3 : end],
            passive=x[end:].reshape(6, n) if self.wide else beside.passive,
        )  # fmt: skip


def widest(mesh: Mesh, drive: Drive, sheet: Nonidealities, start: MeshTwin, seen: Seen) -> MeshTwin:
    """The fit from `start`; with splitters and arms where it is near and yet does not explain what is seen. Heaters
    that turn out weak answer to nothing, and are held there."""
    twin = fit(mesh, drive, sheet, start, seen)
    while (weak := (twin.ratio < STUCK) & ~twin.dead).any():
        twin = fit(mesh, drive, sheet, replace(twin, ratio=np.where(weak, 0.0, twin.ratio)), seen)
    if not twin.identified and twin.misfit < NEAR:
        wider = fit(mesh, drive, sheet, twin, seen, wide=True)
        twin = wider if wider.identified or wider.misfit < twin.misfit / 2 else twin
    return twin


def fit(mesh: Mesh, drive: Drive, sheet: Nonidealities, start: MeshTwin, seen: Seen, wide: bool = False) -> MeshTwin:
    """Levenberg-Marquardt from `start`, with splitters and arms if `wide`.

    The noise of a power follows from the power that the model sees, so that low readings get no undue weight; it is
    taken from the readings at first, and from the fit when that has come to an end."""
    n, rows = mesh.count, seen.powers.shape[1]
    parts, taps = Parts(n, rows, wide), rows > mesh.modes
    splitter = max(sheet.splitter_error_std, STD["splitters"])
    stds = [100.0, ratio_std(sheet), CROSSTALK_STD, GAIN_STD, COLUMN_STD if taps else 1e-9, PORT_STD]
    stds += [splitter, STD["losses"]] if wide else []
    sizes = [2 * n, 2 * n, 1, 1, 1, rows, *([2 * n, 4 * n] if wide else [])]
    precision, centre = np.repeat(stds, sizes) ** -2.0, np.zeros(parts.size)
    centre[2 * n : 4 * n] = 1.0
    fixed = np.zeros((1, parts.size), bool)
    fixed[0, 2 * n : 4 * n] = start.dead
    precision[fixed[0]], centre[fixed[0]] = HOLD, 0.0
    ratio, freedom_noise = seen.noise()
    level = max(float(np.abs(seen.powers).mean()), 1e-300)
    best = parts.vector(start)
    if start.gain == 0.0:  # a first guess, in whatever units
        best[4 * n + 1] = np.log(level / float((np.abs(seen.light) ** 2).mean()))
    modelled = kept = seen.powers

    def look(x: Array, _: Array) -> tuple[Array, least_squares.Normal]:
        value, wrong, made = _linear(mesh, drive, parts, parts.twin(x[0], start), seen, noise)

        def normal(_: Array) -> tuple[Array, Array]:  # asked for where this is the best so far
            nonlocal kept
            kept = value
            table, slope = made()
            return table[None], slope[None]

        return np.array([wrong]), normal

    for _ in range(2):
        variance = ratio * (seen.by_power * np.maximum(modelled, 0.0) + seen.floor)
        noise = np.sqrt(np.maximum(variance, (NOISE_FLOOR * level) ** 2))
        ended = least_squares.minimise(look, best[None], precision[None], centre[None], STEPS, least=1e-6, fixed=fixed)
        best, modelled = ended.x[0], kept
    spread = np.diag(np.linalg.inv(ended.normal[0]))
    freedom = max(1.0, seen.powers.size - (1.0 - precision * spread).sum())
    misfit = float(ended.misfit[0]) / freedom
    sure = SURE * np.sqrt(2.0 / freedom + (2.0 / freedom_noise if freedom_noise else 0.0))
    floored = bool((variance < (NOISE_FLOOR * level) ** 2).mean() > 0.5)  # the floor is ours: less is no fault
    explained = misfit < 1.0 + sure and (floored or misfit > 1.0 - sure)
    return replace(
        parts.twin(best, start), spread=np.sqrt(spread), misfit=misfit, noise=ratio, identified=bool(explained)
    )


def _linear(
    mesh: Mesh, drive: Drive, parts: Parts, twin: MeshTwin, seen: Seen, noise: Array
) -> tuple[Array, float, Callable[[], tuple[Array, Array]]]:
    """Powers, misfit, and what makes J'J and J'(seen - model), in units of the noise."""
    taps = parts.rows > mesh.modes
    dimmed = np.exp(twin.gain + twin.ports - 2.0 * twin.loss * sections(mesh, taps))[:, None]
    values = np.empty_like(seen.powers)
    for s, q in enumerate(seen.q):
        phases = effective(mesh, drive, twin, q)
        values[s] = dimmed * follow(mesh, phases, seen.light, twin.passive, 0, taps)[0]
    rest = (seen.powers - values) / noise
    return values, float((rest**2).sum()), lambda: _normal(mesh, drive, parts, twin, seen, noise, dimmed, rest)


def _normal(
    mesh: Mesh, drive: Drive, parts: Parts, twin: MeshTwin, seen: Seen, noise: Array, dimmed: Array, rest: Array
) -> tuple[Array, Array]:
    """J'J and J'(seen - model), setting by setting: of a setting's derivatives by phases and passive parts, G = J J'
    gives all (`kernels.twin`; there, too, a ratio's part by its neighbours is left to the gradient)."""
    n, rows, size = parts.n, parts.rows, parts.size
    d, edge, passive = 2 * n, 4 * n, 4 * n + 3 + rows
    taps, around = rows > mesh.modes, neighbours(mesh)
    away = -2.0 * sections(mesh, taps)
    table, down = np.zeros((size, size)), np.zeros(size)
    for s, q in enumerate(seen.q):
        phases = effective(mesh, drive, twin, q)
        kinds = KINDS if parts.wide else 2
        powers, slopes = follow(mesh, phases, seen.light, twin.passive, kinds, taps)
        scale = dimmed / noise[s]
        slopes *= scale.astype(np.float32)
        own = powers * scale  # by the logarithm of a row's gain
        flat = slopes.reshape(len(slopes), -1)
        gram = (flat @ flat.T).astype(float)
        slope = (flat @ rest[s].ravel().astype(np.float32)).astype(float)
        by_row = np.einsum("prb,rb->pr", slopes, own.astype(np.float32)).astype(float)
        square, along = (own**2).sum(axis=1), (own * rest[s]).sum(axis=1)
        heat = wrapped(q * twin.ratio) if drive.rewrap else q * twin.ratio
        leak, g = leaks(mesh, heat), gram[:d, :d]
        near = np.where(around >= 0, slope[np.maximum(around, 0)], 0.0).sum(axis=1)
        # rows of the unknowns that act by phases, from those of phases
        table[:d, :d] += g
        table[:d, d:edge] += g * q
        table[d:edge, d:edge] += q[:, None] * g * q
        table[:d, edge] += g @ leak
        table[d:edge, edge] += q * (g @ leak)
        table[edge, edge] += leak @ g @ leak
        down[: edge + 1] += np.concatenate((slope[:d], q * (slope[:d] + twin.crosstalk * near), [leak @ slope[:d]]))
        gains = np.concatenate((np.ones((1, rows)), away[None], np.eye(rows)))  # gain, loss, ports
        beside = by_row @ gains.T
        cross = beside[:d]
        table[: edge + 1, edge + 1 : passive] += np.concatenate((cross, q[:, None] * cross, (leak @ cross)[None]))
        table[edge + 1 : passive, edge + 1 : passive] += gains * square @ gains.T
        down[edge + 1 : passive] += gains @ along
        if parts.wide:
            cross = gram[:d, d:]
            table[: edge + 1, passive:] += np.concatenate((cross, q[:, None] * cross, (leak @ cross)[None]))
            table[edge + 1 : passive, passive:] += beside[d:].T
            table[passive:, passive:] += gram[d:, d:]
            down[passive:] += slope[d:]
    upper = np.triu(table)
    return upper + np.triu(table, 1).T, down


def program(mesh: Mesh, drive: Drive, twin: MeshTwin, target: Array) -> tuple[Array, Array]:
    """Theta and phi (n,) to command for a unitary target (N, N), up to a phase of each of its rows."""
    n = mesh.count
    wanted = unitary.decompose(mesh, target, twin.passive[:2])
    goal = np.concatenate((wanted.theta, wanted.phi))
    live = ~twin.dead
    heat, even = np.zeros(2 * n), replace(twin, ratio=np.where(live, 1.0, 0.0))
    for _ in range(20):
        heat = np.where(live, wrapped(heat + goal - effective(mesh, drive, even, heat)), 0.0)
    q = drive.command(drive.near(np.minimum(heat / np.where(live, twin.ratio, 1.0), drive.top)))
    return q[:n], q[n:]


def row_error(target: Array, got: Array) -> float:
    """|D got - target|^2 / |target|^2 with the phases D of the rows, and one factor of all, that make it least."""
    turned = got * np.exp(-1j * np.angle((got * target.conj()).sum(axis=1)))[:, None]
    turned *= (turned * target.conj()).sum().real / (np.abs(turned) ** 2).sum()
    return float((np.abs(turned - target) ** 2).sum() / (np.abs(target) ** 2).sum())
