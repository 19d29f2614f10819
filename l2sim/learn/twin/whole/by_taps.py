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
`l2sim.learn.twin.whole.by_outputs`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from l2sim.backend import Array
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import MeshHardware, check
from l2sim.errors import ChipError
from l2sim.learn.twin.fit import NOISE_FLOOR, Drive, random_phases
from l2sim.learn.twin.whole.fit import REPEATS, MeshTwin, Seen, blank, effective, widest
from l2sim.mesh.mesh import Mesh

SCAN = 90
"""Biases that are tried where no tap follows soon."""
CLEAR = 0.1
"""Share of the residual below which a heater that does nothing explains more; ours."""
SETTINGS = 12
"""Random settings that are fitted, each lit by N random fields."""


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
    """Random settings, driven phases (S, 2 n), and random light of about the unit amplitude in every input (N, B). Not
    of equal amplitudes: then an MZI of the first column that does nothing looks like its mirror image."""
    light = rng.normal(size=(mesh.modes, vectors)) + 1j * rng.normal(size=(mesh.modes, vectors))
    light *= rng.uniform(0.6, 1.4, light.shape) / np.abs(light)
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

    def read(one: Array) -> Array:
        command = drive.command(one)
        hardware.set_phases(command[:n], command[n:], drive.command(np.zeros(modes)))
        return np.concatenate(hardware.taps(light)[1])

    powers = np.array([read(one) for one in q])
    again = np.array([powers[0], *(read(q[0]) for _ in range(REPEATS - 1))])
    by_power = max(sheet.tap_noise, NOISE_FLOOR) ** 2
    seen = Seen(q, light, powers, again, by_power, NOISE_FLOOR**2)
    start = blank(mesh, sheet, (len(q) + REPEATS - 1) * light.shape[1], powers.shape[1])
    unit = powers[:, -modes:].sum(axis=1).mean() / (np.abs(light) ** 2).sum(axis=0).mean()  # whatever is read in
    bias, dead = begin(mesh, effective(mesh, drive, start, q), light, powers / unit)
    start = replace(start, bias=bias, ratio=np.where(dead, 0.0, 1.0))
    return widest(mesh, drive, sheet, start, seen)


def _turn(phases: Array, wave: Array, rest: Array) -> tuple[bool, float, float]:
    """Whether a heater answers to nothing, since a phase that stays explains much better; beta and the residual of
    rest = Re(e^{i (phase + beta)} wave)."""
    best = []
    for turned in (wave * np.exp(1j * phases), wave):
        table = np.stack((turned.real.ravel(), -turned.imag.ravel()), axis=1)
        cosine, sine = np.linalg.lstsq(table, rest.ravel(), rcond=None)[0]
        beta = float(np.arctan2(sine, cosine))
        best.append((beta, float(((rest - (np.exp(1j * beta) * turned).real) ** 2).sum())))
    still = best[1][1] < CLEAR * best[0][1]
    return still, *best[int(still)]


def begin(mesh: Mesh, phases: Array, light: Array, seen: Array) -> tuple[Array, Array]:
    """Biases (2 n,) in closed form, and which heaters answer to nothing, from taps (S, 2 n + N, B) at settings that
    would give `phases` (S, 2 n). Those of dead heaters are the phases that they have, with no heat."""
    n = mesh.count
    bias, dead = np.zeros(2 * n), np.zeros(2 * n, bool)
    phases = phases.copy()
    field = np.repeat(light[None].astype(complex), len(phases), axis=0)
    after = _after(mesh)

    def fitted(heater: int, known: Array, wave: Array, power: Array) -> tuple[float, float]:
        """beta and residual of `_turn`; a heater that answers to nothing is noted."""
        dead[heater], beta, wrong = _turn(phases[:, heater, None], wave, power - known)
        if dead[heater]:
            phases[:, heater] = 0.0
        return beta, wrong

    def scanned(hidden: int, u: Array, v: Array, t: int) -> None:
        """Theta's bias of the MZI `hidden`, whose upper output is the lower input of `t`, by a scan with t's beta."""
        a, scans, own = field[:, mesh.top[t]], [], phases[:, [hidden, n + t]].copy()
        for still in (False, True):
            phases[:, hidden] = 0.0 if still else own[:, 0]
            best = (np.inf, 0.0)
            for beta in np.linspace(-np.pi, np.pi, SCAN, endpoint=False):
                phases[:, n + t] = own[:, 1]
                b, _ = _split(np.exp(1j * (phases[:, hidden, None] + beta)) * u, v)
                _, wrong = fitted(n + t, (np.abs(a) ** 2 + np.abs(b) ** 2) / 2, -1j * a * b.conj(), seen[:, t])
                best = min(best, (wrong, float(beta)))
            scans.append(best)
        dead[hidden] = scans[1][0] < CLEAR * scans[0][0]
        phases[:, hidden], phases[:, n + t] = 0.0 if dead[hidden] else own[:, 0], own[:, 1]
        bias[hidden] = scans[int(dead[hidden])][1]
        out = _split(np.exp(1j * (phases[:, hidden, None] + bias[hidden])) * u, v)
        field[:, mesh.top[hidden]], field[:, mesh.bottom[hidden]] = out

    late: dict[int, tuple[int, Array, Array]] = {}  # by upper rail: MZIs whose outputs are not tapped
    for t in range(n):
        i, j = mesh.top[t], mesh.bottom[t]
        if j in late:
            scanned(*late.pop(j), t)
        a, b = field[:, i], field[:, j]
        bias[n + t], _ = fitted(n + t, (np.abs(a) ** 2 + np.abs(b) ** 2) / 2, -1j * a * b.conj(), seen[:, t])
        u, v = _split(np.exp(1j * (phases[:, n + t, None] + bias[n + t])) * a, b)
        tap = next(((rail, after[t, rail]) for rail in (j, i) if after[t, rail] >= 0), None)
        if tap is None:
            late[i] = t, u, v
            continue
        rail, where = tap
        wave = -1j * u * v.conj()
        wave = wave if rail == i else -wave
        bias[t], _ = fitted(t, (np.abs(u) ** 2 + np.abs(v) ** 2) / 2, wave, seen[:, where])
        field[:, i], field[:, j] = _split(np.exp(1j * (phases[:, t, None] + bias[t])) * u, v)
    return bias, dead


def _after(mesh: Mesh) -> Array:
    """The tap that sees a rail next behind each MZI, (n, N): phi's, if the next MZI there has it on top, or the
    screen's behind the last one; -1 where it is the lower input of an MZI."""
    n, modes = mesh.count, mesh.modes
    out, next_ = np.full((n, modes), -1), 2 * n + np.arange(modes)
    for t in range(n - 1, -1, -1):
        out[t] = next_
        next_[mesh.top[t]], next_[mesh.bottom[t]] = n + t, -1
    return out
