"""Twin calibration: identify every core from a few whole responses, then program it in closed form.

The twin of a core is its noise chain (`kernels.chain`) and its two meshes with the unknowns of this one core: a bias
and a heater ratio gamma'/gamma of each of the 2 n heaters, and the crosstalk. Its settings are known, so the unknowns
follow from the responses by least squares,

    min over (b, gamma, c) of  sum_m |R_m - R(q_m; b, gamma, c)|^2 / sigma^2 + weak priors at the known spreads,

by Levenberg-Marquardt, all cores side by side (`kernels.twin`). Model-based calibration of meshes: arXiv 2508.15741 and
2508.20882. What is ours: the start in closed form that needs no knowledge of the biases (`l2sim.learn.twin_start`),
probes with sigma of +1 and -1 only, which the attenuators realise whatever their heaters do, and the rounding
(`l2sim.learn.twin_program`).

Only public operations of the hardware are used, and all are metered. What is known beside them is the data sheet: the
drive's resolution and the spreads of what is not known (a `Nonidealities`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from l2sim.backend import Array, host, kernels
from l2sim.chip import grid
from l2sim.chip.mesh import Mesh
from l2sim.chip.meter import Counts
from l2sim.chip.nonidealities import GAMMA, Nonidealities
from l2sim.chip.protocol import Hardware
from l2sim.errors import ChipError
from l2sim.learn import twin_power, twin_start

NOISE_FLOOR = 1e-3
"""Least noise that a fit assumes, in units of the unit amplitude: what no model has."""
CROSSTALK_STD = 0.02
"""Prior spread of the crosstalk around none."""
ROUNDS = 40
RETRIES = 3
FULL = 2.0 * np.pi * (1.0 - 1e-6)
"""The largest command that is not wrapped, rad."""
SURE = 6.0
"""Standard deviations of chi squared above which a core is not identified."""
CHUNK_BYTES = 1 << 28


@dataclass(frozen=True)
class Probes:
    """Settings and what cores answered.

    `drive` (1 or cores, M, 2 n) driven phases of U, then V; `sigma` (1 or cores, M, k); `light` (M, k, B); `seen`
    (cores, M, k, B); `power`: whether powers were read.
    """

    drive: Array
    sigma: Array
    light: Array
    seen: Array
    power: bool = False

    def of(self, cores: Array) -> Probes:
        """Those of some cores."""
        drive = self.drive if len(self.drive) == 1 else self.drive[cores]
        sigma = self.sigma if len(self.sigma) == 1 else self.sigma[cores]
        return replace(self, drive=drive, sigma=sigma, seen=self.seen[cores])

    def then(self, more: Probes) -> Probes:
        """These and more settings of the same cores."""
        drive, sigma, seen = (
            np.concatenate((a, b), axis=1)
            for a, b in ((self.drive, more.drive), (self.sigma, more.sigma), (self.seen, more.seen))
        )
        return Probes(drive, sigma, np.concatenate((self.light, more.light)), seen, self.power)


@dataclass
class Twin:
    """What is known of M cores: `bias` and `ratio` (M, 2 n) of the heaters of U, then V; `crosstalk` (M,).

    `misfit` (M,): mean squared residual over the noise's; `identified` (M,): whether it is what noise explains;
    `evaluations` (M,) spent; `spread` (M, 4 n + 1): standard deviations of bias, ratio, crosstalk.
    """

    bias: Array
    ratio: Array
    crosstalk: Array
    misfit: Array
    identified: Array
    evaluations: Array
    spread: Array

    def of(self, cores: Array) -> Twin:
        """Some of the cores."""
        return Twin(*(getattr(self, name)[cores] for name in self.__dataclass_fields__))

    def put(self, cores: Array, other: Twin) -> None:
        """Replace some of the cores."""
        for name in self.__dataclass_fields__:
            getattr(self, name)[cores] = getattr(other, name)


@dataclass(frozen=True)
class Drive:
    """The drive of a heater as its data sheet says it: the phases it can give, and whether heat wraps at 2 pi.

    `levels` (L,) rad, rising; empty where the phase is continuous over [0, 2 pi].
    """

    levels: Array
    rewrap: bool

    @classmethod
    def of(cls, sheet: Nonidealities) -> Drive:
        """From a data sheet."""
        levels, thresholds = sheet.levels()
        if sheet.drive == "phase" and sheet.phase_bits:
            levels = sheet.lsb() * np.arange(2**sheet.phase_bits)
        elif levels.size:  # commands are wrapped to one turn, whatever the driver can reach
            levels = levels[: np.searchsorted(thresholds, FULL) + 1]
        return cls(levels, sheet.heat_wraps and sheet.crosstalk > 1e-5)

    @staticmethod
    def command(phases: Array) -> Array:
        """What to command for driven `phases`: a whole turn would be wrapped to none."""
        return np.minimum(phases, FULL)

    @property
    def top(self) -> float:
        """The largest phase."""
        return float(self.levels[-1]) if self.levels.size else 2.0 * np.pi

    def near(self, phases: Array) -> Array:
        """The nearest phases that it can give."""
        if not self.levels.size:
            return phases
        at = np.searchsorted(0.5 * (self.levels[1:] + self.levels[:-1]), phases)
        return self.levels[at]


def draw(drive: Drive, mesh: Mesh, settings: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Random settings: driven phases (M, 2 n) away from the ends of the range, and signs of sigma (M, k)."""
    low, high = 0.02, 0.97
    phases = drive.near(min(drive.top, 2.0 * np.pi) * rng.uniform(low, high, (settings, 2 * mesh.count)))
    return phases, rng.choice([-1.0, 1.0], (settings, mesh.modes))


def away(drive: Drive, first: Array, angle: float, rng: np.random.Generator) -> Array:
    """Phases about `angle` from `first`, up or down by a coin where there is room."""
    span = 0.97 * min(drive.top, 2.0 * np.pi)
    up = rng.random(first.shape) < 0.5
    up = np.where(first + angle > span, False, np.where(first - angle < 0.02 * span, True, up))
    return drive.near(first + np.where(up, angle, -angle))


def measure(
    hardware: Hardware, drive: Array, sigma: Array, cores: Array | None = None, light: Array | None = None
) -> Probes:
    """Command the settings one after the other and read the response of every core of the mask (p, q): quadratures of
    unit light in every input, or powers of `light` (k, B).

    `drive` (M, 2 n), `sigma` (M, k): the same for all cores. B vectors are B / k evaluations, rounded up.
    """
    shape, mesh = hardware.shape, hardware.mesh
    k, n, some = mesh.modes, mesh.count, np.ones(shape, bool) if cores is None else cores
    sent = np.eye(k) if light is None else light
    seen = np.empty((np.count_nonzero(some), len(drive), *sent.shape), np.float32)
    for m, (phases, ends) in enumerate(zip(drive, sigma)):
        for part, row in (("u", phases[:n]), ("v", phases[n:])):
            hardware.set_phases(**{part: np.broadcast_to(mesh.scatter(row), (*shape, *mesh.shape))})
        hardware.set_sigma(np.broadcast_to(ends, (*shape, k)))
        if light is None:
            seen[:, m] = host(grid.respond(hardware, cores=cores))[some]
        else:
            hardware.meter.count(evaluations=len(seen) * -(-light.shape[1] // k))
            wide = np.broadcast_to(light, (*shape, *light.shape))
            seen[:, m] = host(hardware.forward(wide, cores=cores, readout="power"))[some]
    return Probes(drive[None], sigma[None], np.broadcast_to(sent, (len(drive), *sent.shape)), seen, light is not None)


def blank(cores: int, mesh: Mesh) -> Twin:
    """Twins of which nothing is known."""
    n = mesh.count
    return Twin(
        np.zeros((cores, 2 * n)), np.ones((cores, 2 * n)), np.zeros(cores), np.full(cores, np.inf),
        np.zeros(cores, bool), np.zeros(cores, np.int64), np.full((cores, 4 * n + 1), np.inf),
    )  # fmt: skip


def fit(mesh: Mesh, drive: Drive, sheet: Nonidealities, probes: Probes, start: Twin, rounds: int = ROUNDS) -> Twin:
    """Levenberg-Marquardt from `start`; cores that have converged leave the batch. Fills all of the result but
    `evaluations`."""
    from threadpoolctl import threadpool_limits

    cores = len(probes.seen)
    chunk = max(1, CHUNK_BYTES // (8 * (4 * mesh.count + 1) ** 2 * 4))
    out = start.of(np.arange(cores))
    with threadpool_limits(1, user_api="blas"):  # cores are dealt over the threads
        for lo in range(0, cores, chunk):
            some = np.arange(lo, min(cores, lo + chunk))
            out.put(some, _fit(mesh, drive, sheet, probes.of(some), start.of(some), rounds))
    return out


def _fit(mesh: Mesh, drive: Drive, sheet: Nonidealities, probes: Probes, start: Twin, rounds: int) -> Twin:
    n, cores = mesh.count, len(probes.seen)
    size, diagonal = 4 * n + 1, np.arange(4 * n + 1)
    noise = max(sheet.readout_noise, NOISE_FLOOR)
    precision = priors(sheet, n)
    centre = np.concatenate((np.zeros(2 * n), np.ones(2 * n), [0.0]))
    here = np.concatenate((start.bias, start.ratio, start.crosstalk[:, None]), axis=1)
    best, damping = here.copy(), np.full(cores, 1e-3)
    hessian, gradient, misfit = np.zeros((cores, size, size)), np.zeros((cores, size)), np.full(cores, np.inf)
    cost, left = np.full(cores, np.inf), np.arange(cores)
    for turn in range(rounds + 1):
        data, trial = probes.of(left), here[left]
        normal, down, wrong = np.empty((len(left), size, size)), np.empty((len(left), size)), np.empty(len(left))
        kernels.twin.normal(
            data.drive, data.sigma, data.light.astype(np.float32), data.seen, data.power,
            trial[:, 2 * n : 4 * n].copy(), trial[:, : 2 * n].copy(), trial[:, -1].copy(), mesh.around, drive.rewrap,
            mesh.rail, normal, down, wrong,
        )  # fmt: skip
        away = trial - centre
        total = wrong / noise**2 + (precision * away**2).sum(axis=1)
        better = total < cost[left]
        gained = cost[left] - total
        at = left[better]
        best[at], cost[at], misfit[at] = trial[better], total[better], wrong[better]
        hessian[at] = normal[better] / noise**2
        gradient[at] = down[better] / noise**2 - precision * away[better]
        hessian[at[:, None], diagonal, diagonal] += precision
        damping[left] = np.where(better, np.maximum(0.2 * damping[left], 1e-7), 6.0 * damping[left])
        done = (better & (gained < 0.1)) | (damping[left] > 1e6)
        left = left[~done]
        if not len(left) or turn == rounds:
            break
        normal = hessian[left]
        normal[:, diagonal, diagonal] *= 1.0 + damping[left][:, None]
        here[left] = best[left] + np.linalg.solve(normal, gradient[left][..., None])[..., 0]
    seen = probes.seen[0].size
    freedom = max(1, seen - size)
    level = misfit / noise**2 / freedom
    spread = np.sqrt(np.maximum(np.linalg.inv(hessian)[:, diagonal, diagonal], 0.0))
    return Twin(
        best[:, : 2 * n], best[:, 2 * n : 4 * n], best[:, -1], level,
        level < 1.0 + SURE * np.sqrt(2.0 / freedom), start.evaluations, spread,
    )  # fmt: skip


def priors(sheet: Nonidealities, n: int) -> Array:
    """Inverse variances (4 n + 1,) of bias, ratio and crosstalk before anything is measured."""
    bias = max(sheet.phase_bias / np.sqrt(3.0), sheet.phase_error_std, 0.01) if sheet.phase_bias < 3.0 else 100.0
    ratio = max(sheet.gamma_std / GAMMA, 1e-4)
    return np.concatenate((np.full(2 * n, bias**-2.0), np.full(2 * n, ratio**-2.0), [CROSSTALK_STD**-2.0]))


def identify(
    hardware: Hardware,
    sheet: Nonidealities,
    stream: Callable[[str], np.random.Generator],
    readout: str = "quadrature",
    retries: int = RETRIES,
    beside: int | None = None,
) -> Twin:
    """Identify every core of a grid: a walk of 2 k settings that starts the fit (`twin_start`), k + 1 random ones (or
    `beside`) with it, and for cores whose residual noise does not explain another walk, up to `retries` times.

    `sheet` is the data sheet; `stream` gives random streams by name; `readout` "quadrature" or "power", which takes six
    evaluations a setting (`twin_power`). Leaves signs at +1, phases and sigma anywhere.
    """
    mesh, shape, drive = hardware.mesh, hardware.shape, Drive.of(sheet)
    if mesh.kind != "rectangular" or mesh.inner_signs:
        raise ChipError("twins start in closed form on rectangular meshes only; use chip.mesh = 'rectangular'")
    if readout not in ("quadrature", "power"):
        raise ChipError(f"twins are fitted to quadratures or powers, not to readout {readout!r}; use one of these")
    ones = np.ones((*shape, mesh.modes))
    hardware.set_signs(u=ones, v=ones)
    cores = shape[0] * shape[1]
    found, lost = blank(cores, mesh), np.arange(cores)
    probes: Probes | None = None
    extra = mesh.modes + 1 if beside is None else beside
    for turn in range(1 + retries):
        mask = np.zeros(cores, bool)
        mask[lost] = True
        before = hardware.meter.stages.get(hardware.meter.current, Counts()).evaluations
        walk = _by_powers if readout == "power" else _by_quadratures
        seen, bias = walk(hardware, drive, sheet, stream(f"probes{turn}"), mask.reshape(shape), 0 if turn else extra)
        spent = hardware.meter.stages[hardware.meter.current].evaluations - before
        found.evaluations[lost] += spent // max(1, len(lost))
        probes = seen if probes is None else probes.then(seen)
        start = found.of(lost)
        start.bias, start.ratio[:], start.crosstalk[:] = bias, 1.0, sheet.crosstalk
        again = fit(mesh, drive, sheet, probes, start)
        better = again.identified | (again.misfit < found.misfit[lost])
        found.put(lost[better], again.of(better))
        still = np.flatnonzero(~found.identified[lost])
        lost, probes = lost[still], probes.of(still)
        if not len(lost):
            break
    return found


def _by_quadratures(
    hardware: Hardware, drive: Drive, sheet: Nonidealities, rng: np.random.Generator, mask: Array, more: int
) -> tuple[Probes, Array]:
    """A walk and `more` random settings, read by quadratures; and where the fit may start (M, 2 n)."""
    mesh = hardware.mesh
    first = draw(drive, mesh, 1, rng)[0][0]
    walk, signs = twin_start.walk(mesh, away(drive, first, 0.5 * np.pi, rng), first)
    others = draw(drive, mesh, more, rng)
    cores = None if mask.all() else mask
    seen = measure(hardware, np.concatenate((walk, others[0])), np.concatenate((signs, others[1])), cores)
    return seen, twin_start.peel(mesh, walk, signs, seen.seen[:, : len(walk)].astype(float), sheet.crosstalk)


def _by_powers(
    hardware: Hardware, drive: Drive, sheet: Nonidealities, rng: np.random.Generator, mask: Array, more: int
) -> tuple[Probes, Array]:
    """The same, read by powers."""
    mesh, k = hardware.mesh, hardware.mesh.modes
    first = draw(drive, mesh, 1, rng)[0][0]
    walk, sigma = twin_power.walk(mesh, away(drive, first, 0.25 * np.pi, rng), first)
    sent, cores = twin_power.light(k, rng), None if mask.all() else mask
    start = measure(hardware, walk[:1], sigma[:1], cores, sent)
    back = twin_power.backward(hardware, cores)
    seen = start.then(measure(hardware, walk[1:], sigma[1:], cores, sent))
    rows = twin_power.signed(twin_power.responses(seen.seen.astype(float), sent), back.astype(float))
    bias = twin_start.peel(mesh, walk, sigma, rows, sheet.crosstalk)
    # The attenuators do not dim exactly, so the last setting is for the start only.
    seen = Probes(seen.drive[:, :-1], seen.sigma[:, :-1], seen.light[:-1], seen.seen[:, :-1], True)
    return (seen.then(measure(hardware, *draw(drive, mesh, more, rng), cores, sent)) if more else seen), bias
