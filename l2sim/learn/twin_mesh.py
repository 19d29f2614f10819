"""Twins of whole complex meshes, identified by the power taps alone: no phase of any field is ever read.

Settings are random phases, light is random fields of known phase. Taps see the power in front of phi, behind theta and
at the screen. In travel order, with the fields a, b in front of an MZI known from those before it,

    P_theta = |a e^{i (phi + beta)} + i b|^2 / 2 = (|a|^2 + |b|^2) / 2 + Re(e^{i beta} (-i a conj(b)) e^{i phi})

is linear in cos beta and sin beta, beta being phi's bias; and so is the power at an output, which the next tap on that
rail sees, in those of theta's. So every bias in [-pi, pi) follows in closed form, MZI after MZI. Only at the lowest
rail no tap follows soon: there theta's bias is the best of a scan, each value with the next MZI's beta. Levenberg-
Marquardt over all biases, heater ratios and the crosstalk then fits all taps together.

Gauge: a phase at an output is seen by no power meter, so the biases of the screen (N) stay unknown; the matrix is known
up to a phase of each row. What is modelled: the noise chain with the neighbours of `l2sim.chip.light.wiring`, no
splitter errors, no loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l2sim.backend import Array
from l2sim.chip import unitary
from l2sim.chip.light import wiring
from l2sim.chip.mesh import Mesh
from l2sim.chip.nonidealities import GAMMA, Nonidealities
from l2sim.chip.protocol import MeshHardware
from l2sim.errors import ChipError
from l2sim.learn.twin_fit import CROSSTALK_STD, SURE, Drive

FLOOR = 1e-3
"""Least noise of a tap that a fit assumes, in units of the unit input amplitude, and of a reading of no light."""
SCAN = 90
SETTINGS = 12
ROUNDS = 12
STEP = 1e-6


@dataclass(frozen=True)
class MeshTwin:
    """`bias` and `ratio` (2 n,) of theta, then phi, in travel order; `crosstalk`; `spread` (4 n + 1,) their standard
    deviations; `misfit`: squared residual over the noise's; `readings`: vectors sent past the taps."""

    bias: Array
    ratio: Array
    crosstalk: float
    spread: Array
    misfit: float
    identified: bool
    readings: int


def effective(mesh: Mesh, drive: Drive, twin: MeshTwin, q: Array) -> Array:
    """Phases (..., 2 n) that the light sees when heaters are driven by q (..., 2 n); the screen is left cold."""
    around = wiring(mesh).around[: 2 * mesh.count]
    around = np.where(around < 2 * mesh.count, around, -1)
    heat = q * twin.ratio
    heat = np.mod(heat, 2.0 * np.pi) if drive.rewrap else heat
    leak = np.where(around >= 0, heat[..., np.maximum(around, 0)], 0.0).sum(axis=-1)
    return heat + twin.crosstalk * leak + twin.bias


def powers(mesh: Mesh, phases: Array, light: Array) -> Array:
    """Powers (S, 2 n + N, B) at theta's and phi's taps and at the screen, of phases (S, 2 n) and light (N, B)."""
    n, settings = mesh.count, len(phases)
    field = np.repeat(light[None].astype(complex), settings, axis=0)
    out = np.empty((settings, 2 * n + mesh.modes, light.shape[1]))
    turn = np.exp(1j * phases)
    for t in range(n):
        a, b = field[:, mesh.top[t]], field[:, mesh.bottom[t]]
        out[:, n + t] = np.abs(a) ** 2
        u, v = _split(turn[:, n + t, None] * a, b)
        out[:, t] = np.abs(u) ** 2
        field[:, mesh.top[t]], field[:, mesh.bottom[t]] = _split(turn[:, t, None] * u, v)
    out[:, 2 * n :] = np.abs(field) ** 2
    return out


def _split(a: Array, b: Array) -> tuple[Array, Array]:
    return (a + 1j * b) / np.sqrt(2.0), (1j * a + b) / np.sqrt(2.0)


def identify(
    hardware: MeshHardware,
    sheet: Nonidealities,
    rng: np.random.Generator,
    settings: int = SETTINGS,
    vectors: int | None = None,
) -> MeshTwin:
    """Identify a mesh from `settings` random settings, each lit by the same `vectors` (N) random fields."""
    mesh, drive = hardware.mesh, Drive.of(sheet)
    if mesh.kind != "rectangular" or mesh.node != "mzi":
        raise ChipError(f"twins of whole meshes are rectangular, of plain MZIs; not {mesh.kind} of {mesh.node}s")
    if "tap_power" not in hardware.readouts:
        raise ChipError("this mesh has no power taps, which its twin is fitted to; it needs the readout 'tap_power'")
    n, modes = mesh.count, mesh.modes
    count = modes if vectors is None else vectors
    light = rng.normal(size=(modes, count)) + 1j * rng.normal(size=(modes, count))
    light /= np.abs(light)
    q = drive.near(min(drive.top, 2.0 * np.pi) * rng.uniform(0.02, 0.97, (settings, 2 * n)))
    seen = np.empty((settings, 2 * n + modes, count))
    for m in range(settings):
        told = drive.command(q[m])
        hardware.set_phases(told[:n], told[n:], np.zeros(modes))
        seen[m] = np.concatenate(hardware.taps(light)[1])
    start = MeshTwin(
        np.zeros(2 * n), np.ones(2 * n), sheet.crosstalk, np.full(4 * n + 1, np.inf), np.inf, False, settings * count
    )
    return _fit(mesh, drive, sheet, start, begin(mesh, effective(mesh, drive, start, q), light, seen), q, light, seen)


def begin(mesh: Mesh, phases: Array, light: Array, seen: Array) -> Array:
    """Biases (2 n,) in closed form, from taps (S, 2 n + N, B) at settings that would give `phases` (S, 2 n)."""
    n = mesh.count
    bias = np.zeros(2 * n)
    field = np.repeat(light[None].astype(complex), len(phases), axis=0)
    after = _after(mesh)

    def fitted(known: Array, wave: Array, power: Array) -> tuple[float, float]:
        """beta and residual of power = known + Re(e^{i beta} wave)."""
        table = np.stack((wave.real.ravel(), -wave.imag.ravel()), axis=1)
        found = np.linalg.lstsq(table, (power - known).ravel(), rcond=None)[0]
        beta = float(np.arctan2(found[1], found[0]))
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


def _fit(
    mesh: Mesh, drive: Drive, sheet: Nonidealities, start: MeshTwin, bias: Array, q: Array, light: Array, seen: Array
) -> MeshTwin:
    """Levenberg-Marquardt over all taps, derivatives by differences."""
    n = mesh.count
    size = 4 * n + 1
    std = np.sqrt((max(sheet.tap_noise, FLOOR) ** 2) * np.maximum(seen, 0.0) + FLOOR**2)
    centre = np.concatenate((np.zeros(2 * n), np.ones(2 * n), [0.0]))
    ratio = max(sheet.gamma_std / GAMMA, 1e-4)
    precision = np.concatenate((np.full(2 * n, 1e-4), np.full(2 * n, ratio**-2.0), [CROSSTALK_STD**-2.0]))
    here = np.concatenate((bias, np.ones(2 * n), [start.crosstalk]))
    around = wiring(mesh).around[: 2 * n]
    around = np.where(around < 2 * n, around, -1)
    best, cost, damping, misfit = here, np.inf, 1e-3, np.inf
    normal, down = np.eye(size), np.zeros(size)
    for _ in range(ROUNDS):
        twin = MeshTwin(here[: 2 * n], here[2 * n : -1], float(here[-1]), start.spread, 0.0, False, 0)
        phases = effective(mesh, drive, twin, q)
        value = powers(mesh, phases, light)
        wrong = (seen - value) / std
        total = float((wrong**2).sum() + (precision * (here - centre) ** 2).sum())
        if total < cost:
            gained, cost, best, misfit = cost - total, total, here, float((wrong**2).sum())
            heat = np.mod(q * twin.ratio, 2.0 * np.pi) if drive.rewrap else q * twin.ratio
            leak = np.where(around >= 0, heat[:, np.maximum(around, 0)], 0.0).sum(axis=-1)
            jacobian = np.zeros((size, *seen.shape))
            for h in range(2 * n):
                moved = phases.copy()
                moved[:, h] += STEP
                slope = (powers(mesh, moved, light) - value) / (STEP * std)
                jacobian[h] = slope
                jacobian[2 * n + h] += q[:, h, None, None] * slope
                for g in around[h][around[h] >= 0]:
                    jacobian[2 * n + g] += twin.crosstalk * q[:, g, None, None] * slope
                jacobian[-1] += leak[:, h, None, None] * slope
            flat = jacobian.reshape(size, -1)
            normal = flat @ flat.T + np.diag(precision)
            down = flat @ wrong.ravel() - precision * (here - centre)
            damping = max(0.2 * damping, 1e-6)
            if gained < 0.1:
                break
        else:
            damping *= 6.0
        here = best + np.linalg.solve(normal + damping * np.diag(np.diag(normal)), down)
    variance = np.diag(np.linalg.inv(normal))
    freedom = max(1.0, seen.size - (1.0 - precision * variance).sum())
    level = misfit / freedom
    known = level < 1.0 + SURE * np.sqrt(2.0 / freedom)
    return MeshTwin(
        best[: 2 * n], best[2 * n : -1], float(best[-1]), np.sqrt(variance), level, bool(known), start.readings
    )


def program(mesh: Mesh, drive: Drive, twin: MeshTwin, target: Array) -> tuple[Array, Array]:
    """Theta and phi (n,) to command for a unitary target (N, N), up to a phase of each of its rows."""
    n = mesh.count
    wanted = unitary.decompose(mesh, target)
    goal = np.concatenate((wanted.theta, wanted.phi))
    heat = np.zeros(2 * n)
    for _ in range(20):
        at = MeshTwin(twin.bias, np.ones(2 * n), twin.crosstalk, twin.spread, 0.0, True, 0)
        heat = np.mod(heat + goal - effective(mesh, drive, at, heat), 2.0 * np.pi)
    q = drive.command(drive.near(np.minimum(heat / twin.ratio, drive.top)))
    return q[:n], q[n:]


def row_error(target: Array, got: Array) -> float:
    """|D got - target|^2 / |target|^2 with the phases D of the rows that make it least."""
    turned = got * np.exp(-1j * np.angle((got * target.conj()).sum(axis=1)))[:, None]
    return float((np.abs(turned - target) ** 2).sum() / (np.abs(target) ** 2).sum())
