"""What a lab can measure of one core or whole mesh that behaves badly: with public operations of the chip only.

A `Bench` holds the chip and what it is told; every measurement puts that back when it is done. Readings are amplitudes
("quadrature", Re y) or powers ("power", |y|^2) of the light in unit input amplitudes.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import tau
from typing import NamedTuple, Protocol

import msgspec
import numpy as np

from l2sim.backend import Array
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import Hardware, MeshHardware, check
from l2sim.errors import RunError
from l2sim.mesh.mesh import Mesh

POINTS = 64
NUDGE = 1.0
"""What a heater is moved by to see whether it answers, rad."""
SILENT = 0.1
"""A heater is silent that changes the response by less than this share of what it should."""
MANY = 5000
"""Heaters up to which each is nudged by itself."""
RATIOS = np.linspace(0.9, 1.1, 81)
"""Turns of the light per commanded turn that a fit tries."""


class Heater(NamedTuple):
    """A phase shifter: of part "u" or "v" ("" of a whole mesh), of `kind` theta, phi or screen, number `number`."""

    part: str
    kind: str
    number: int


class Bench(Protocol):
    """One core or mesh with what it is commanded."""

    mesh: Mesh
    heaters: list[Heater]

    def put(self, heater: Heater, phase: float) -> None:
        """Command one heater; the others stay."""

    def command(self, heater: Heater) -> float:
        """What a heater is commanded, rad, but for what `put` changed."""
        ...

    def open(self, wide: bool) -> None:
        """Let all light through between the meshes, or as much as before."""

    def read(self, light: Array, readout: str) -> Array:
        """Send light (N, B) into the inputs and read the outputs (N, B)."""
        ...

    def harmonics(self, readout: str) -> tuple[int, ...]:
        """How often a reading can go up and down in one turn of a phase."""
        ...


class CoreBench:
    """A chip of one core, commanded phases `u`, `v` (n,) in travel order and `sigma` (k,)."""

    def __init__(self, chip: Hardware, u: Array, v: Array, sigma: Array, single_arm: bool = False) -> None:
        check(chip)
        self.chip, self.mesh, self._single = chip, chip.mesh, single_arm
        self.commands = {"u": np.array(u, float), "v": np.array(v, float)}
        self._sigma = np.asarray(sigma)[None, None]
        self.heaters = [Heater(part, "theta", i) for part in ("u", "v") for i in range(chip.mesh.count)]

    def put(self, heater: Heater, phase: float) -> None:
        """Command one heater; the others stay."""
        phases = self.commands[heater.part].copy()
        phases[heater.number] = phase
        self.chip.set_phases(**{heater.part: self.mesh.scatter(phases)[None, None]})

    def command(self, heater: Heater) -> float:
        """What a heater is commanded, rad, but for what `put` changed."""
        return float(self.commands[heater.part][heater.number])

    def open(self, wide: bool) -> None:
        """Let all light through between the meshes, or as much as before."""
        self.chip.set_sigma(np.ones_like(self._sigma) if wide else self._sigma)

    def read(self, light: Array, readout: str) -> Array:
        """Send light (k, B) into the inputs and read the outputs (k, B)."""
        readings: Array = np.asarray(self.chip.forward(light[None, None], readout=readout))[0, 0]
        return readings

    def harmonics(self, readout: str) -> tuple[int, ...]:
        """Behind a push-pull MZI the field is a cos + b sin + c of its phase, with one arm of twice its phase; a heater
        of cores with phi turns a part of the field by its phase, and the power too goes with that alone."""
        if self.mesh.phi:
            return (1,)
        if self._single:
            return (2,)
        return (1,) if readout == "quadrature" else (1, 2)


class MeshBench:
    """One whole mesh as it is commanded now."""

    def __init__(self, chip: MeshHardware) -> None:
        check(chip, MeshHardware, "mesh", "commanded", "set_phases", "forward")
        self.chip, self.mesh, self.commands = chip, chip.mesh, chip.commanded
        active = np.flatnonzero(chip.mesh.active).tolist()
        self.heaters = [Heater("", kind, i) for kind in ("theta", "phi") for i in active]
        self.heaters += [Heater("", "screen", i) for i in range(chip.mesh.modes)]

    def put(self, heater: Heater, phase: float) -> None:
        """Command one heater; the others stay."""
        phases = np.array(self.commands[heater.kind])
        phases[heater.number] = phase
        self.chip.set_phases(**{heater.kind: phases})

    def command(self, heater: Heater) -> float:
        """What a heater is commanded, rad, but for what `put` changed."""
        return float(self.commands[heater.kind][heater.number])

    def open(self, wide: bool) -> None:
        """Nothing stands in the way of a whole mesh."""

    def read(self, light: Array, readout: str) -> Array:
        """Send light (N, B) into the inputs and read the outputs (N, B)."""
        if readout == "power":
            return np.asarray(self.chip.forward(light, readout="power"))
        return np.asarray(self.chip.forward(light, readout="field").real)

    def harmonics(self, readout: str) -> tuple[int, ...]:
        """One arm is heated: the field is a + b e^{i phase}."""
        return (1,)


# -- a curve -----------------------------------------------------------------------------------------------------------


class Curve(msgspec.Struct, frozen=True):
    """Readings of every output while one phase goes through its range, and the sinusoid through each.

    `command` is what the heater is commanded otherwise, rad. `phases` (P,) commanded, rad, and `volts` (P,) where the
    drive is one of voltage; `readings`, `fitted` (N, P) for light in `port`. By output (N,): `amplitude` half of the
    fit's swing; `peak` the commanded phase at its maximum, rad; `visibility` (max - min) / (max + min) of the fit, of
    amplitudes amplitude / (amplitude + |mean|); `residual` root mean square of readings - fit. `ratio` radians of light
    per commanded radian. `answers`: whether anything moves more than its noise.
    """

    heater: Heater
    readout: str
    port: int
    command: float = msgspec.field(name="told")
    phases: Array
    volts: Array | None
    readings: Array
    fitted: Array
    amplitude: Array
    peak: Array
    visibility: Array
    residual: Array
    ratio: float
    answers: bool
    core_calls: int


def curve(
    bench: Bench, heater: Heater, imperfect: Nonidealities, readout: str = "quadrature", points: int = POINTS
) -> Curve:
    """The curve of one heater: its command goes over [0, 2 pi), in equal steps of voltage where the drive is one.

    Light goes into every input in turn, with the attenuators open; what is kept is the input that sees most of it.
    """
    if heater not in bench.heaters:
        raise RunError(f"there is no heater {heater.kind} {heater.number} in mesh {heater.part!r}; choose another MZI")
    phases, volts = commands(imperfect, points)
    light, seen = np.eye(bench.mesh.modes), []
    bench.open(True)
    for phase in phases:
        bench.put(heater, float(phase))
        seen.append(bench.read(light, readout))
    bench.put(heater, bench.command(heater))
    bench.open(False)
    every = np.array(seen)  # (P, outputs, inputs)
    port = int(every.var(axis=0).sum(axis=0).argmax())
    readings = np.ascontiguousarray(every[:, :, port].T)
    ratio, fitted, turn = fit(phases, readings, bench.harmonics(readout))
    high, low = turn.max(axis=1), turn.min(axis=1)
    amplitude, middle = (high - low) / 2, np.abs(high + low) / 2
    peak = np.linspace(0, tau, turn.shape[1], endpoint=False)[turn.argmax(axis=1)]
    residual = np.sqrt(((readings - fitted) ** 2).mean(axis=1))
    whole = middle if readout == "power" else amplitude + middle
    visibility = np.clip(amplitude / np.where(whole > 0, whole, 1.0), 0.0, 1.0)
    answers = bool((amplitude > np.maximum(1e-6, 4 * residual * np.sqrt(2 / points))).any())
    return Curve(
        heater, readout, port, bench.command(heater), phases, volts, readings, fitted, amplitude, peak, visibility,
        residual, ratio if answers else float("nan"), answers, points * bench.mesh.modes,
    )  # fmt: skip


def commands(imperfect: Nonidealities, points: int) -> tuple[Array, Array | None]:
    """Phases (P,) over the range of a heater, rad, below one turn, where the drive begins again; and their voltages."""
    if imperfect.drive != "voltage":
        return np.linspace(0.0, tau, points, endpoint=False), None
    fine = np.linspace(0.0, imperfect.v_max, 4097)
    top = fine[imperfect.phase_of(fine) < tau][-1]
    volts = np.linspace(0.0, top, points)
    return np.maximum(imperfect.phase_of(volts), 0.0), volts


def fit(phases: Array, readings: Array, harmonics: tuple[int, ...]) -> tuple[float, Array, Array]:
    """Least squares of c + sum_h a_h cos(h r phase) + b_h sin(h r phase) for every row of `readings` (N, P), with one
    ratio r for all. Returns r, the fit at `phases` (N, P), and over 720 steps of a turn (N, 720)."""

    def basis(at: Array, r: float) -> Array:
        waves = [wave(h * r * at) for h in harmonics for wave in (np.cos, np.sin)]
        return np.stack([np.ones_like(at), *waves], axis=1)

    def missing(r: float) -> float:
        b = basis(phases, r)
        return float(((b @ np.linalg.lstsq(b, readings.T, rcond=None)[0] - readings.T) ** 2).sum())

    errors = np.array([missing(float(r)) for r in RATIOS])
    i = int(np.clip(errors.argmin(), 1, len(RATIOS) - 2))
    left, middle, right = errors[i - 1 : i + 2]
    bend = left - 2 * middle + right
    step = RATIOS[1] - RATIOS[0]
    best = float(RATIOS[i] + (0.5 * step * (left - right) / bend if bend > 0 else 0.0))
    factors = np.linalg.lstsq(basis(phases, best), readings.T, rcond=None)[0]
    turn = np.linspace(0.0, tau, 720, endpoint=False)
    return best, (basis(phases, best) @ factors).T, (basis(turn, best) @ factors).T


# -- heaters that do not obey ------------------------------------------------------------------------------------------


def silent(bench: Bench) -> list[tuple[Heater, float]] | None:
    """Heaters that do not answer, each with the share of the change that it should have made.

    None of meshes with more than `MANY` heaters."""
    if len(bench.heaters) > MANY:
        return None
    return [(heater, share) for heater, share, _ in answers(bench) if share < SILENT]


def least_calls(modes: int, heaters: int) -> int:
    """Core calls that `answers` takes where every heater does."""
    return modes * (2 + heaters)


def answers(bench: Bench) -> Iterator[tuple[Heater, float, int]]:
    """Every heater with the share of the change that it makes of the one that it should, and the core calls so far.

    Each is moved by `NUDGE` and the whole response read: a rotation by 1 rad changes it by 4 - 4 cos 1 (squared, all
    elements together), a phase by 1 rad by |e^i - 1|^2 = 2 - 2 cos 1, of which a quadrature sees half on average.
    """
    light, calls = np.eye(bench.mesh.modes), 0
    push_pull = len(bench.harmonics("power")) == 2
    expected = (4 if push_pull else 1) * (1 - np.cos(NUDGE))

    def seen() -> Array:
        nonlocal calls
        calls += bench.mesh.modes
        return bench.read(light, "quadrature")

    def moved(heater: Heater, phase: float) -> Array:
        bench.put(heater, phase)
        return seen()

    def share(change: Array) -> float:
        return max(0.0, float((change**2).sum() - noise) / float(expected))

    bench.open(True)
    try:
        still = seen()
        noise = float(((seen() - still) ** 2).sum())
        for heater in bench.heaters:
            answer = share(moved(heater, bench.command(heater) + NUDGE) - still)
            if answer < SILENT:  # a drive may have reached its end there; this is within the range of any
                answer = share(moved(heater, 2 * NUDGE) - moved(heater, NUDGE))
            bench.put(heater, bench.command(heater))
            yield heater, answer, calls
    finally:
        bench.open(False)


# -- detectors ---------------------------------------------------------------------------------------------------------


class Detectors(msgspec.Struct, frozen=True):
    """Readings against what was expected, (outputs, inputs) each: `expected`, `measured` (mean of `repeats`).

    `noise` (outputs,) spread of repeated readings; `dark` (outputs,) mean and `floor` (outputs,) spread without light.
    `amplitudes` (A,) of light in input `port` and `ramp` (A,) readings at `output`, the brightest there is;
    `compression` how far the last of them falls below what the lower half promises, as a share, and `sure` (one
    standard deviation of it). `error` |measured - expected|^2 / |expected|^2.
    """

    readout: str
    repeats: int
    expected: Array
    measured: Array
    noise: Array
    dark: Array
    floor: Array
    port: int
    output: int
    amplitudes: Array
    ramp: Array
    compression: float
    sure: float
    error: float


def detectors(bench: Bench, expected: Array, readout: str = "quadrature", repeats: int = 32) -> Detectors:
    """Read every output for unit light in every input, `expected` to be this matrix (outputs, inputs) of amplitudes;
    then without light, and with more and more of it."""
    inputs = bench.mesh.modes
    wanted = np.abs(expected) ** 2 if readout == "power" else np.asarray(expected).real
    seen = np.array([bench.read(np.eye(inputs), readout) for _ in range(repeats)])
    measured = seen.mean(axis=0)
    nothing = bench.read(np.zeros((inputs, repeats)), readout)
    output, port = (int(i) for i in np.unravel_index(int(np.abs(measured).argmax()), measured.shape))
    amplitudes = np.linspace(0.0, 1.0, 9)[1:]
    light = np.zeros((inputs, len(amplitudes)))
    light[port] = amplitudes
    ramps = np.array([bench.read(light, readout)[output] for _ in range(repeats)])
    ramp, law = ramps.mean(axis=0), amplitudes ** (2 if readout == "power" else 1)
    low = slice(0, len(law) // 2)
    slope = float(law[low] @ ramp[low] / (law[low] @ law[low]))
    spread = float(ramps.std(axis=0).mean()) / np.sqrt(repeats)
    sure = spread / abs(slope) * float(np.hypot(1.0, 1.0 / np.linalg.norm(law[low]))) if slope else float("nan")
    compression = 1.0 - float(ramp[-1]) / slope if slope else float("nan")
    size = float((wanted**2).sum()) or 1.0
    return Detectors(
        readout, repeats, wanted, measured, seen.std(axis=0).mean(axis=1), nothing.mean(axis=1), nothing.std(axis=1),
        port, output, amplitudes, ramp, compression, sure, float(((measured - wanted) ** 2).sum()) / size,
    )  # fmt: skip


def plain(value: object) -> object:
    """Anything above as JSON: arrays as lists, numbers that are none as null."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, np.integer | np.bool_):
        return value.item()
    if isinstance(value, msgspec.Struct):
        names = zip(value.__struct_encode_fields__, value.__struct_fields__)
        return {key: plain(getattr(value, name)) for key, name in names}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
