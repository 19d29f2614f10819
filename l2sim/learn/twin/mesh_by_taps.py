"""Twins of whole complex meshes, identified by the power taps alone: no phase of any field is ever read.

Settings are random phases, light is random fields of known phase. Taps see the power in front of phi, behind theta and
at the screen. In travel order, with the fields a, b in front of an MZI known from those before it,

    P_theta = |a e^{i (phi + beta)} + i b|^2 / 2 = (|a|^2 + |b|^2) / 2 + Re(e^{i beta} (-i a conj(b)) e^{i phi})

is linear in cos beta and sin beta, beta being phi's bias; and so is the power at an output, which the next tap on that
rail sees, in those of theta's. So every bias in [-pi, pi) follows in closed form, MZI after MZI. Only at the lowest
rail no tap follows soon: there theta's bias is the best of a scan, each value with the next MZI's beta. Levenberg-
Marquardt over all biases, heater ratios and the crosstalk then fits all taps together.

Gauge: a phase at an output is seen by no power meter, so the biases of the screen (N) stay unknown; the matrix is known
up to a phase of each row. What is modelled: the noise chain with the neighbours of `l2sim.mesh.wiring`, and,
where that does not explain what is seen, the errors of all splitters; no loss. By the powers at the outputs alone:
`l2sim.learn.twin.mesh_by_outputs`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from l2sim.backend import Array
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import MeshHardware, check
from l2sim.errors import ChipError
from l2sim.given import wrapped
from l2sim.learn.twin import least_squares
from l2sim.learn.twin.fit import CROSSTALK_STD, NOISE_FLOOR, SURE, Drive, random_phases, ratio_std
from l2sim.learn.twin.model import STD
from l2sim.mesh import unitary
from l2sim.mesh.mesh import Mesh
from l2sim.mesh.wiring import wiring

SCAN = 90
"""Biases that are tried where no tap follows soon."""
SETTINGS = 12
"""Random settings that are fitted, each lit by N random fields."""
STEPS = 20
"""Steps of Levenberg-Marquardt at most, each of two times."""
NEAR = 1000.0
"""Misfit below which a fit is near, and what is missing may be the splitters' errors."""


@dataclass(frozen=True)
class MeshTwin:
    """`bias` and `ratio` (2 n,) of theta, then phi, in travel order; `crosstalk`; `splitters` (2, n) the errors of left
    and right ones, rad; `spread` (4 n + 1,) the standard deviations of the former, or (6 n + 1,) where splitters were
    fitted too; `misfit`: squared residual over the noise's; `readings`: vectors sent past the detectors."""

    bias: Array
    ratio: Array
    crosstalk: float
    splitters: Array
    spread: Array
    misfit: float
    identified: bool
    readings: int


class Seen(NamedTuple):
    """What was measured: driven phases (S, 2 n), light (N, B), powers (S, R, B), and what noise a power I has: the
    variance `by_power` I + `floor`. R = 2 n + N, at theta, phi and the screen, or N, at the outputs alone."""

    q: Array
    light: Array
    powers: Array
    by_power: float
    floor: float


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


def follow(
    mesh: Mesh, phases: Array, light: Array, splitters: Array, kinds: int = 0, taps: bool = True
) -> tuple[Array, Array]:
    """Powers (R, B) of one setting, phases (2 n,), and their derivatives (kinds n, R, B): by theta and phi (kinds 2),
    and by the errors of left and right splitters (kinds 4). Light and its derivatives go through the mesh together."""
    n, modes, width = mesh.count, mesh.modes, light.shape[1]
    field, moved = light.astype(complex), np.zeros((kinds, n, modes, width), complex)
    rows = modes + (2 * n if taps else 0)
    out, slopes = np.empty((rows, width)), np.zeros((kinds, n, rows, width), np.float32)
    turn = np.exp(1j * phases)
    angles = np.pi / 4 + splitters

    def note(row: int, rail: int, upto: int) -> None:
        out[row] = np.abs(field[rail]) ** 2
        slopes[:, :upto, row] = 2.0 * (field[rail].conj() * moved[:, :upto, rail]).real

    def couple(side: int, t: int, i: int, j: int) -> None:
        c, s = np.cos(angles[side, t]), 1j * np.sin(angles[side, t])
        a, b = field[i].copy(), field[j].copy()
        field[i], field[j] = c * a + s * b, s * a + c * b
        da, db = moved[:, : t + 1, i].copy(), moved[:, : t + 1, j].copy()
        moved[:, : t + 1, i], moved[:, : t + 1, j] = c * da + s * db, s * da + c * db
        if kinds > 2:
            moved[2 + side, t, i], moved[2 + side, t, j] = 1j * (s * a + c * b), 1j * (c * a + s * b)

    def shift(kind: int, t: int, i: int) -> None:
        step = turn[kind * n + t]
        field[i] *= step
        moved[:, : t + 1, i] *= step
        if kinds:
            moved[kind, t, i] += 1j * field[i]

    for t, (i, j) in enumerate(zip(mesh.top, mesh.bottom)):
        if taps:
            note(n + t, i, t)
        shift(1, t, i)
        couple(0, t, i, j)
        if taps:
            note(t, i, t + 1)
        shift(0, t, i)
        couple(1, t, i, j)
    for rail in range(modes):
        note(rows - modes + rail, rail, n)
    return out, slopes.reshape(kinds * n, rows, width)


def _split(a: Array, b: Array) -> tuple[Array, Array]:
    return (a + 1j * b) / np.sqrt(2.0), (1j * a + b) / np.sqrt(2.0)


def checked(hardware: MeshHardware, readout: str) -> Mesh:
    """The mesh, if a twin can be fitted to this readout of it."""
    check(hardware, MeshHardware, "mesh", "readouts", "set_phases", "taps" if readout == "tap_power" else "forward")
    mesh = hardware.mesh
    if mesh.kind != "rectangular" or mesh.node != "mzi":
        raise ChipError(f"twins of whole meshes are rectangular, of plain MZIs; not {mesh.kind} of {mesh.node}s")
    if mesh.modes < 2:
        raise ChipError("a mesh of one rail has no heater to identify; twins are of meshes of two rails or more")
    if readout not in hardware.readouts:
        what = "has no power taps" if readout == "tap_power" else "reads no powers at its outputs"
        raise ChipError(f"this mesh {what}, which its twin is fitted to; it needs the readout {readout!r}")
    return mesh


def draw(drive: Drive, mesh: Mesh, settings: int, vectors: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Random settings, driven phases (S, 2 n), and random light of unit amplitude in every input (N, B)."""
    light = rng.normal(size=(mesh.modes, vectors)) + 1j * rng.normal(size=(mesh.modes, vectors))
    light /= np.abs(light)
    return random_phases(drive, (settings, 2 * mesh.count), rng), light


def identify(
    hardware: MeshHardware,
    sheet: Nonidealities,
    rng: np.random.Generator,
    settings: int = SETTINGS,
    vectors: int | None = None,
) -> MeshTwin:
    """Identify a mesh by its taps, from `settings` random settings, each lit by the same `vectors` (N) random fields;
    with splitter errors too where the rest does not explain what is seen."""
    mesh, drive = checked(hardware, "tap_power"), Drive.of(sheet)
    n, modes = mesh.count, mesh.modes
    q, light = draw(drive, mesh, settings, modes if vectors is None else vectors, rng)
    read = np.empty((settings, 2 * n + modes, light.shape[1]))
    for m in range(settings):
        command = drive.command(q[m])
        hardware.set_phases(command[:n], command[n:], drive.command(np.zeros(modes)))
        read[m] = np.concatenate(hardware.taps(light)[1])
    seen = Seen(q, light, read, max(sheet.tap_noise, NOISE_FLOOR) ** 2, NOISE_FLOOR**2)
    start = blank(mesh, sheet, q.shape[0] * light.shape[1])
    start = replace(start, bias=begin(mesh, effective(mesh, drive, start, q), light, read))
    return widest(mesh, drive, sheet, start, seen)


def widest(mesh: Mesh, drive: Drive, sheet: Nonidealities, start: MeshTwin, seen: Seen) -> MeshTwin:
    """The fit from `start`; with splitter errors where it is near and yet does not explain what is seen."""
    twin = fit(mesh, drive, sheet, start, seen)
    if not twin.identified and twin.misfit < NEAR:
        wider = fit(mesh, drive, sheet, twin, seen, wide=True)
        twin = wider if wider.identified or wider.misfit < twin.misfit / 2 else twin
    return twin


def blank(mesh: Mesh, sheet: Nonidealities, readings: int) -> MeshTwin:
    """A mesh of which nothing is known."""
    n = mesh.count
    exact = np.zeros((2, n))
    return MeshTwin(
        np.zeros(2 * n), np.ones(2 * n), sheet.crosstalk, exact, np.full(4 * n + 1, np.inf), np.inf, False, readings
    )


def begin(mesh: Mesh, phases: Array, light: Array, seen: Array) -> Array:
    """Biases (2 n,) in closed form, from taps (S, 2 n + N, B) at settings that would give `phases` (S, 2 n)."""
    n = mesh.count
    bias = np.zeros(2 * n)
    field = np.repeat(light[None].astype(complex), len(phases), axis=0)
    after = _after(mesh)

    def fitted(known: Array, wave: Array, power: Array) -> tuple[float, float]:
        """beta and residual of power = known + Re(e^{i beta} wave)."""
        table = np.stack((wave.real.ravel(), -wave.imag.ravel()), axis=1)
        cosine, sine = np.linalg.lstsq(table, (power - known).ravel(), rcond=None)[0]
        beta = float(np.arctan2(sine, cosine))
        return beta, float(((power - known - (np.exp(1j * beta) * wave).real) ** 2).sum())

    def inside(t: int, a: Array, b: Array, beta: float) -> tuple[Array, Array]:
        return _split(np.exp(1j * (phases[:, n + t, None] + beta)) * a, b)

    def scanned(hidden: int, u: Array, v: Array, t: int) -> None:
        """Theta's bias of the MZI `hidden`, whose upper output is the lower input of `t`, by a scan with t's beta."""
        a, best = field[:, mesh.top[t]], (np.inf, 0.0)
        for beta in np.linspace(-np.pi, np.pi, SCAN, endpoint=False):
            b, _ = _split(np.exp(1j * (phases[:, hidden, None] + beta)) * u, v)
            wave = -1j * a * b.conj() * np.exp(1j * phases[:, n + t, None])
            _, wrong = fitted((np.abs(a) ** 2 + np.abs(b) ** 2) / 2, wave, seen[:, t])
            best = min(best, (wrong, float(beta)))
        bias[hidden] = best[1]
        out = _split(np.exp(1j * (phases[:, hidden, None] + bias[hidden])) * u, v)
        field[:, mesh.top[hidden]], field[:, mesh.bottom[hidden]] = out

    late: dict[int, tuple[int, Array, Array]] = {}  # by upper rail: MZIs whose outputs are not tapped
    for t in range(n):
        i, j = mesh.top[t], mesh.bottom[t]
        if j in late:
            scanned(*late.pop(j), t)
        a, b = field[:, i], field[:, j]
        wave = -1j * a * b.conj() * np.exp(1j * phases[:, n + t, None])
        bias[n + t], _ = fitted((np.abs(a) ** 2 + np.abs(b) ** 2) / 2, wave, seen[:, t])
        u, v = inside(t, a, b, bias[n + t])
        tap = next(((rail, after[t, rail]) for rail in (j, i) if after[t, rail] >= 0), None)
        if tap is None:
            late[i] = t, u, v
            continue
        rail, where = tap
        wave = -1j * u * v.conj() * np.exp(1j * phases[:, t, None])
        wave = wave if rail == i else -wave
        bias[t], _ = fitted((np.abs(u) ** 2 + np.abs(v) ** 2) / 2, wave, seen[:, where])
        field[:, i], field[:, j] = _split(np.exp(1j * (phases[:, t, None] + bias[t])) * u, v)
    return bias


def _after(mesh: Mesh) -> Array:
    """The tap that sees a rail next behind each MZI, (n, N): phi's, if the next MZI there has it on top, or the
    screen's behind the last one; -1 where it is the lower input of an MZI."""
    n, modes = mesh.count, mesh.modes
    out, next_ = np.full((n, modes), -1), 2 * n + np.arange(modes)
    for t in range(n - 1, -1, -1):
        out[t] = next_
        next_[mesh.top[t]], next_[mesh.bottom[t]] = n + t, -1
    return out


def fit(
    mesh: Mesh, drive: Drive, sheet: Nonidealities, start: MeshTwin, seen: Seen, wide: bool = False
) -> MeshTwin:
    """Levenberg-Marquardt from `start` over biases, ratios and crosstalk, with the errors of splitters if `wide`.

    The noise of a power follows from the power that the model sees, so that low readings get no undue weight; it is
    taken from the readings at first, and from the fit when that has come to an end."""
    n = mesh.count
    ratio, splitter = ratio_std(sheet), max(sheet.splitter_error_std, STD["splitters"])
    centre = np.concatenate((np.zeros(2 * n), np.ones(2 * n), [0.0], np.zeros(2 * n)))
    precision = np.repeat([1e-4, ratio**-2.0, CROSSTALK_STD**-2.0, splitter**-2.0], [2 * n, 2 * n, 1, 2 * n])
    size = len(centre) if wide else 4 * n + 1
    centre, precision = centre[:size], precision[:size]
    best = np.concatenate((start.bias, start.ratio, [start.crosstalk], start.splitters.ravel()))[:size]
    modelled = kept = seen.powers

    def look(x: Array, _: Array) -> tuple[Array, least_squares.Normal]:
        value, wrong, table, slope = _linear(mesh, drive, x[0], seen, noise, wide)

        def normal(_: Array) -> tuple[Array, Array]:  # asked for where this is the best so far
            nonlocal kept
            kept = value
            return table[None], slope[None]

        return np.array([wrong]), normal

    for _ in range(2):
        noise = np.sqrt(seen.by_power * np.maximum(modelled, 0.0) + seen.floor)
        ended = least_squares.minimise(look, best[None], precision[None], centre[None], STEPS, least=1e-6)
        best, modelled = ended.x[0], kept
    misfit, variance = float(ended.misfit[0]), np.diag(np.linalg.inv(ended.normal[0]))
    freedom = max(1.0, seen.powers.size - (1.0 - precision * variance).sum())
    level = misfit / freedom
    splitters = best[4 * n + 1 :].reshape(2, n) if wide else start.splitters
    return MeshTwin(
        best[: 2 * n], best[2 * n : 4 * n], float(best[4 * n]), splitters, np.sqrt(variance), level,
        bool(level < 1.0 + SURE * np.sqrt(2.0 / freedom)), start.readings,
    )  # fmt: skip


def _linear(
    mesh: Mesh, drive: Drive, here: Array, seen: Seen, noise: Array, wide: bool
) -> tuple[Array, float, Array, Array]:
    """Powers, misfit, J'J and J'(seen - model), in units of the noise, setting by setting: of a setting's derivatives
    by phase and splitter, G = J J' gives all (`kernels.twin`; there, too, a ratio's part by its neighbours is left to
    the gradient)."""
    n, size = mesh.count, len(here)
    d, edge = 2 * n, 4 * n
    splitters = here[edge + 1 :].reshape(2, n) if wide else np.zeros((2, n))
    twin = MeshTwin(here[:d], here[d:edge], float(here[edge]), splitters, here, 0.0, False, 0)
    around = neighbours(mesh)
    values, table, down, wrong = np.empty_like(seen.powers), np.zeros((size, size)), np.zeros(size), 0.0
    taps = seen.powers.shape[1] > mesh.modes
    for s, q in enumerate(seen.q):
        phases = effective(mesh, drive, twin, q)
        values[s], slopes = follow(mesh, phases, seen.light, splitters, 4 if wide else 2, taps)
        rest = ((seen.powers[s] - values[s]) / noise[s]).ravel()
        wrong += float(rest @ rest)
        slopes = (slopes / noise[s].astype(np.float32)).reshape(len(slopes), -1)
        gram, slope = (slopes @ slopes.T).astype(float), (slopes @ rest.astype(np.float32)).astype(float)
        heat = wrapped(q * twin.ratio) if drive.rewrap else q * twin.ratio
        leak, g = leaks(mesh, heat), gram[:d, :d]
        near = np.where(around >= 0, slope[np.maximum(around, 0)], 0.0).sum(axis=1)
        table[:d, :d] += g
        table[:d, d:edge] += g * q
        table[d:edge, d:edge] += q[:, None] * g * q
        table[:d, edge] += g @ leak
        table[d:edge, edge] += q * (g @ leak)
        table[edge, edge] += leak @ g @ leak
        down[: edge + 1] += np.concatenate((slope[:d], q * (slope[:d] + twin.crosstalk * near), [leak @ slope[:d]]))
        if wide:
            cross = gram[:d, d:]
            table[: edge + 1, edge + 1 :] += np.concatenate((cross, q[:, None] * cross, (leak @ cross)[None]))
            table[edge + 1 :, edge + 1 :] += gram[d:, d:]
            down[edge + 1 :] += slope[d:]
    upper = np.triu(table)
    return values, wrong, upper + np.triu(table, 1).T, down


def program(mesh: Mesh, drive: Drive, twin: MeshTwin, target: Array) -> tuple[Array, Array]:
    """Theta and phi (n,) to command for a unitary target (N, N), up to a phase of each of its rows."""
    n = mesh.count
    wanted = unitary.decompose(mesh, target, twin.splitters)
    goal = np.concatenate((wanted.theta, wanted.phi))
    heat, even = np.zeros(2 * n), replace(twin, ratio=np.ones(2 * n))
    for _ in range(20):
        heat = wrapped(heat + goal - effective(mesh, drive, even, heat))
    q = drive.command(drive.near(np.minimum(heat / twin.ratio, drive.top)))
    return q[:n], q[n:]


def row_error(target: Array, got: Array) -> float:
    """|D got - target|^2 / |target|^2 with the phases D of the rows that make it least."""
    turned = got * np.exp(-1j * np.angle((got * target.conj()).sum(axis=1)))[:, None]
    return float((np.abs(turned - target) ** 2).sum() / (np.abs(target) ** 2).sum())
