"""The fit of twins: what is asked of cores, what is known of them, and Levenberg-Marquardt over all of them at once.

    min over (b, gamma, c) of  sum_m |R_m - R(q_m; b, gamma, c)|^2 / sigma^2 + weak priors at the known spreads

with the core R of `kernels.twin`. The uncertainties are those of the posterior, the inverse of its normal matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np

from l2sim.backend import Array, host, kernels, kernels_of, resident
from l2sim.chip.nonidealities import GAMMA, Nonidealities, even_step
from l2sim.errors import ChipError
from l2sim.given import TURN, wrapped
from l2sim.learn.twin import least_squares
from l2sim.mesh.mesh import Mesh

NOISE_FLOOR = 1e-3
"""Least noise that a fit assumes, in units of the unit amplitude: what no model has."""
CROSSTALK_STD = 0.02
"""Prior spread of the crosstalk around none."""
ROUNDS = 40
"""Steps of Levenberg-Marquardt at most."""
FULL = 2.0 * np.pi * (1.0 - 1e-6)
"""The largest command that is not wrapped, rad."""
SURE = 6.0
"""Standard deviations of chi squared above which a core is not identified."""
NOVEL = 3.0
"""How much larger errors are at new settings than at those of a walk and of some random ones; seen at k = 9: 2.9."""
STUCK = 0.5
"""Heater strength below which a heater is nearer to a stuck one."""
HOLD = 1e12
"""Inverse variance of a heater strength of none that a fit starts from: what is stuck stays so."""
CHUNK_BYTES = 1 << 28
"""Cores are fitted together as long as their normal matrices take no more than this."""
RANGE = 0.02, 0.97
"""Share of a turn, or of what the drive can give, in which random phases are drawn: away from both ends."""


@dataclass(frozen=True)
class Probes:
    """Settings of cores, and what was read at them.

    `drive` (1 or cores, M, 2 n) commands of U, then V; `sigma` (1 or cores, M, k); `light` (M, k, B); `seen`
    (cores, M, k, B); `power`: whether powers were read.
    """

    drive: Array
    sigma: Array
    light: Array
    seen: Array
    power: bool = False

    def of(self, cores: Array) -> Probes:
        """The probes of the cores with these indices."""
        drive = self.drive if len(self.drive) == 1 else self.drive[cores]
        sigma = self.sigma if len(self.sigma) == 1 else self.sigma[cores]
        return replace(self, drive=drive, sigma=sigma, seen=self.seen[cores])

    def at(self, which: Array) -> Probes:
        """These settings of them, a mask or indices."""
        return replace(
            self, drive=self.drive[:, which], sigma=self.sigma[:, which], light=self.light[which],
            seen=self.seen[:, which],
        )  # fmt: skip

    def then(self, more: Probes) -> Probes:
        """These probes followed by `more` of the same cores."""
        drive, sigma, seen = (
            np.concatenate((a, b), axis=1)
            for a, b in ((self.drive, more.drive), (self.sigma, more.sigma), (self.seen, more.seen))
        )
        return Probes(drive, sigma, np.concatenate((self.light, more.light)), seen, self.power)


@dataclass
class Twin:
    """The fitted models of M cores: `bias` and `ratio` (M, 2 n) of the heaters of U, then V; `crosstalk` (M,).

    `misfit` (M,): mean squared residual over the noise's; `doubt` (M,): the error |R' - R|^2 / |R|^2 that responses
    will have by what is not known, `doubt_std` (M,) how uncertain that is; `noise` (M,) of a reading; `identified`
    (M,): whether what is left is what noise explains; `evaluations` (M,) spent; `spread` (M, 4 n + 1): standard
    deviations of bias, ratio, crosstalk. `attenuators` (M, 2, k): their bias and ratio, `open` (M, 3, k) the variances
    of these and their covariance between. `wide` (M,): whether more is fitted (`l2sim.learn.twin.wide`): `passive`
    (M, 2, 4, n), splitters and losses, and `more` (M, model.extra), empty
    where no core is wide.
    """

    bias: Array
    ratio: Array
    crosstalk: Array
    misfit: Array
    identified: Array
    evaluations: Array
    spread: Array
    wide: Array
    passive: Array
    attenuators: Array
    open: Array
    more: Array
    doubt: Array
    doubt_std: Array
    noise: Array

    def of(self, cores: Array) -> Twin:
        """The twins of the cores with these indices."""
        return Twin(*(getattr(self, name)[cores] for name in self.__dataclass_fields__))

    def put(self, cores: Array, other: Twin) -> None:
        """Replace the twins of the cores with these indices by those of `other`."""
        size = max(self.more.shape[1], other.more.shape[1])
        self.more, theirs = (np.pad(a, ((0, 0), (0, size - a.shape[1]))) for a in (self.more, other.more))
        for name in self.__dataclass_fields__:
            getattr(self, name)[cores] = theirs if name == "more" else getattr(other, name)

    @classmethod
    def of_arrays(cls, mesh: Mesh, arrays: Mapping[str, Array]) -> Twin:
        """From arrays by name, as `vars` gives them; of what older ones lack nothing is known."""
        nothing = vars(blank(len(arrays["bias"]), mesh))
        return cls(**{name: arrays.get(name, nothing[name]) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Drive:
    """The drive of a heater as its data sheet says it: the phases it can give, and whether heat wraps at 2 pi.

    `levels` (L,) rad, rising from 0; empty where the phase is continuous over [0, 2 pi]. `offset` is the phase at 0 V,
    rad: a command is the driven phase and that together, and biases lie around it. `share_lsb`: step of an attenuator's
    phase, rad, 0 where it is continuous; `exact_sigma`: attenuators do exactly what they are told.
    """

    levels: Array
    rewrap: bool
    offset: float = 0.0
    share_lsb: float = 0.0
    exact_sigma: bool = False

    @classmethod
    def of(cls, sheet: Nonidealities) -> Drive:
        """From a data sheet. ChipError for heaters whose phase falls with the voltage."""
        if sheet.falls:
            raise ChipError(
                "twins are of heaters whose phase rises with the voltage, and nonidealities.curve falls; search instead"
            )
        levels = sheet.levels()
        if sheet.drive == "phase" and sheet.phase_bits:
            levels = sheet.lsb() * np.arange(2**sheet.phase_bits)
        share = 0.0 if sheet.exact_sigma else even_step(sheet.phase_bits) / 2.0
        return cls(levels, sheet.heat_wraps and sheet.crosstalk > 1e-5, sheet.offset, share, sheet.exact_sigma)

    def command(self, phases: Array) -> Array:
        """What to command for driven `phases`: a whole turn would be wrapped to none."""
        return wrapped(phases + self.offset) if self.offset else np.minimum(phases, FULL)

    def driven(self, commands: Array) -> Array:
        """The driven phases of `commands`."""
        return wrapped(commands - self.offset) if self.offset else commands

    def centred(self, bias: Array) -> Array:
        """Biases within half a turn of the phase at 0 V."""
        return self.offset + np.mod(bias - self.offset + np.pi, TURN) - np.pi if self.offset else bias

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


def random_phases(drive: Drive, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Random phases that the drive can give, of this shape, rad."""
    return drive.near(min(drive.top, 2.0 * np.pi) * rng.uniform(*RANGE, shape))


def draw(drive: Drive, mesh: Mesh, settings: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Random settings: commands (M, 2 n) away from the ends of the range, and signs of sigma (M, k). Some settings are
    hotter than others, so that what all heaters do together shows."""
    low, high = RANGE
    share = rng.uniform(0.0, 1.0, (settings, 2 * mesh.count)) ** (2.0 ** rng.uniform(-1.0, 1.0, (settings, 1)))
    phases = drive.near(min(drive.top, TURN) * (low + (high - low) * share))
    return drive.command(phases), rng.choice([-1.0, 1.0], (settings, mesh.modes))


def away(drive: Drive, first: Array, angle: float, rng: np.random.Generator) -> Array:
    """Commands about `angle` from the commands `first`, up or down by a coin where there is room."""
    low, high = RANGE
    first = drive.driven(first)
    span = high * min(drive.top, 2.0 * np.pi)
    up = rng.random(first.shape) < 0.5
    up = np.where(first + angle > span, False, np.where(first - angle < low * span, True, up))
    return drive.command(drive.near(first + np.where(up, angle, -angle)))


def blank(cores: int, mesh: Mesh) -> Twin:
    """Twins of which nothing is known."""
    n, k = mesh.count, mesh.modes
    known = np.stack((np.zeros((cores, k)), np.ones((cores, k))), axis=1)
    return Twin(
        np.zeros((cores, 2 * n)), np.ones((cores, 2 * n)), np.zeros(cores), np.full(cores, np.inf),
        np.zeros(cores, bool), np.zeros(cores, np.int64), np.full((cores, 4 * n + 1), np.inf),
        np.zeros(cores, bool), np.zeros((cores, 2, 4, n), np.float32), known, np.zeros((cores, 3, k)),
        np.zeros((cores, 0), np.float32), np.full(cores, np.inf), np.full(cores, np.inf), np.zeros(cores),
    )  # fmt: skip


def fit(
    mesh: Mesh,
    drive: Drive,
    sheet: Nonidealities,
    probes: Probes,
    start: Twin,
    drift: float | None = None,
    xp: ModuleType = np,
    noise: float | None = None,
) -> Twin:
    """Levenberg-Marquardt from `start`; cores that have converged leave the batch. What is not fitted here stays as in
    `start`. `drift`: `start` is a twin whose biases have since moved by about so much, rad; it is the prior. `noise`
    of a reading, the data sheet's if left out. `xp`: the module of the arrays to compute with; what is given and
    returned is on the host."""
    from threadpoolctl import threadpool_limits  # late: only a fit needs it

    noise = max(sheet.readout_noise if noise is None else noise, NOISE_FLOOR)
    if xp is np and _whole(probes):
        return _fit_whole(mesh, drive, sheet, probes, start, drift, noise)
    cores = len(probes.seen)
    chunk = max(1, CHUNK_BYTES // (8 * (4 * mesh.count + 1) ** 2 * 4))
    out = start.of(np.arange(cores))
    with threadpool_limits(1, user_api="blas"):  # cores are dealt over the threads
        for lo in range(0, cores, chunk):
            some = np.arange(lo, min(cores, lo + chunk))
            out.put(some, _fit(mesh, drive, sheet, probes.of(some), start.of(some), drift, xp, noise))
    return out


def _whole(probes: Probes) -> bool:
    """Whether these are whole responses with sigma of +1 and -1: then the fast way fits (`kernels.twin_fit`)."""
    k = probes.sigma.shape[-1]
    square = not probes.power and probes.light.shape[1:] == (k, k)
    return square and bool((np.abs(probes.sigma) == 1.0).all() and (probes.light == np.eye(k)).all())


def prior_of(
    mesh: Mesh, drive: Drive, sheet: Nonidealities, start: Twin, drift: float | None
) -> tuple[Array, Array, Array]:
    """Where a fit starts, and what holds it: inverse variances and centres (M, 4 n + 1) of bias, ratio, crosstalk."""
    n = mesh.count
    here = np.concatenate((start.bias, start.ratio, start.crosstalk[:, None]), axis=1)
    stuck = np.zeros(here.shape, bool)
    stuck[:, 2 * n : 4 * n] = start.ratio == 0.0
    if drift is None:
        precision = np.where(stuck, HOLD, priors(sheet, n))
        centre = np.where(stuck, 0.0, np.concatenate((np.full(2 * n, drive.offset), np.ones(2 * n), [0.0])))
    else:
        moved = np.concatenate((np.full(2 * n, drift), np.zeros(2 * n + 1)))
        precision, centre = np.where(stuck, HOLD, 1.0 / (start.spread**2 + moved**2)), here.copy()
    return here, precision, centre


def _fitted(
    probes: Probes, start: Twin, noise: float, precision: Array, best: Array, misfit: Array, variance: Array
) -> Twin:
    """The twins of a fit that ended at `best` (M, 4 n + 1), with what it left and the variances there."""
    n = best.shape[1] // 4
    # What priors hold is not fitted: it takes no degree of freedom.
    taken = (1.0 - precision * variance).sum(axis=1)
    twins = start.of(np.arange(len(best)))
    twins.bias, twins.ratio, twins.crosstalk = best[:, : 2 * n], best[:, 2 * n : 4 * n], best[:, -1]
    twins.spread, twins.wide = np.sqrt(variance), np.zeros(len(best), bool)
    twins.passive, twins.more = np.zeros_like(start.passive), np.zeros_like(start.more)
    weigh(twins, misfit / noise**2, taken, noise, probes)
    return twins


def determined(mesh: Mesh, drive: Drive, sheet: Nonidealities, twins: Twin) -> Array:
    """How many of the unknowns of narrow twins (M,) the readings determined, and not the priors."""
    _, precision, _ = prior_of(mesh, drive, sheet, twins, None)
    taken: Array = (1.0 - precision * twins.spread**2).sum(axis=1)
    return taken


def weigh(
    twins: Twin, wrong: Array, taken: Array, noise: float, probes: Probes, unsure: float = 0.0,
    foreseen: tuple[Array | float, Array | float] | None = None,
) -> None:  # fmt: skip
    """Fill `misfit`, `doubt` and `identified` of twins (M,) with what a fit to `probes` left, `wrong` (M,) in units of
    the noise, and how many unknowns the readings determined, `taken` (M,); `unsure`: variance of the noise's square;
    `foreseen`: the relative error |R' - R|^2 / |R|^2 that what is not known makes at settings to come, and its
    standard deviation (`model.foreseen`).

    Left out, it is `NOVEL` times that at the settings of the fit: P unknowns that S settings determine within the noise
    make the mean squared error P noise^2 / S there, the trace of J C J', relative to |R|^2 = k. What is left beyond
    noise is not in the model, and will be so elsewhere; it makes what is known less certain as noise does.
    """
    settings, k = probes.seen.shape[1:3]
    readings = probes.seen[0].size
    freedom = np.maximum(1.0, readings - taken)
    twins.misfit = wrong / freedom
    unit, per, sure = noise**2 / k / shown(probes), readings / settings, 2.0 / freedom + unsure
    ahead, apart = (NOVEL * unit * taken / settings, 0.0) if foreseen is None else foreseen
    beyond = np.maximum(twins.misfit - 1.0, 0.0)
    beyond *= beyond**2 / (beyond**2 + sure)  # as far as it is more than chance
    twins.doubt = (1.0 + beyond) * ahead + beyond * unit * per
    chance = unit * per * twins.misfit * np.sqrt(sure) * beyond / (beyond + np.sqrt(sure))
    twins.doubt_std = np.hypot((1.0 + beyond) * apart, chance)
    off = twins.misfit - 1.0
    twins.identified = np.where(noise > NOISE_FLOOR, np.abs(off), off) < SURE * np.sqrt(sure)
    twins.noise = np.full(len(twins.misfit), noise)


def shown(probes: Probes) -> float:
    """How much of |R' - R|^2 the squared change of the readings of a setting is, about: one of unit light in every
    input; of powers, whose change is 2 |y| |y' - y|, four for each vector of unit amplitudes."""
    bright = (probes.light**2).sum(axis=1) / probes.light.shape[1]
    return float((4.0 * bright**2 if probes.power else bright).sum(axis=1).mean())


def _fit_whole(
    mesh: Mesh, drive: Drive, sheet: Nonidealities, probes: Probes, start: Twin, drift: float | None, noise: float
) -> Twin:
    here, precision, centre = prior_of(mesh, drive, sheet, start, drift)
    misfit, variance = np.empty(len(here)), np.empty(here.shape)
    kernels.twin_fit.fit(
        np.ascontiguousarray(drive.driven(probes.drive), float), np.ascontiguousarray(probes.sigma, float),
        np.ascontiguousarray(probes.seen, np.float32), mesh.around, drive.rewrap, mesh.rail, mesh.first, precision,
        centre, noise, ROUNDS, here, misfit, variance,
    )  # fmt: skip
    return _fitted(probes, start, noise, precision, here, misfit, variance)


def _fit(
    mesh: Mesh, drive: Drive, sheet: Nonidealities, probes: Probes, start: Twin, drift: float | None, xp: ModuleType,
    noise: float,
) -> Twin:  # fmt: skip
    n, size, there = mesh.count, 4 * mesh.count + 1, xp.asarray
    here, precision, centre = prior_of(mesh, drive, sheet, start, drift)
    # One layout of all arrays in memory, for every other one is compiled for again.
    settings = [there(np.ascontiguousarray(a, float)) for a in (drive.driven(probes.drive), probes.sigma)]
    light, seen = (there(np.ascontiguousarray(a, np.float32)) for a in (probes.light, probes.seen))

    def look(x: Array, some: Array) -> tuple[Array, least_squares.Normal]:
        rows, cores = there(some), len(some)
        unknowns = (there(a.copy()) for a in (x[:, 2 * n : 4 * n], x[:, : 2 * n], x[:, -1]))
        normal, down, wrong = xp.empty((cores, size, size)), xp.empty((cores, size)), xp.empty(cores)
        kernels_of(seen).twin.normal(
            *(a if len(a) == 1 else a[rows] for a in settings), light, seen[rows], probes.power, *unknowns,
            resident(seen, mesh.around), drive.rewrap, resident(seen, mesh.rail), normal, down, wrong,
        )  # fmt: skip
        return host(wrong) / noise**2, lambda which: (normal[there(which)] / noise**2, down[there(which)] / noise**2)

    # What is stuck stays so: below none, heat would wrap to a whole turn.
    ended = least_squares.minimise(look, here, precision, centre, ROUNDS, fixed=precision == HOLD, xp=xp)
    diagonal = there(np.arange(size))
    variance = np.maximum(host(xp.linalg.inv(ended.normal)[:, diagonal, diagonal]), 0.0)
    return _fitted(probes, start, noise, precision, ended.x, noise**2 * ended.misfit, variance)


def priors(sheet: Nonidealities, n: int) -> Array:
    """Inverse variances (4 n + 1,) of bias, ratio and crosstalk before anything is measured."""
    bias = max(sheet.phase_bias / np.sqrt(3.0), sheet.phase_error_std, 0.01) if sheet.phase_bias < 3.0 else 100.0
    bias = float(np.hypot(bias, np.hypot(sheet.drift_std, sheet.step_std)))
    ratio = ratio_std(sheet)
    return np.concatenate((np.full(2 * n, bias**-2.0), np.full(2 * n, ratio**-2.0), [CROSSTALK_STD**-2.0]))


def ratio_std(sheet: Nonidealities) -> float:
    """Prior spread of the strength of a heater around one."""
    return max(sheet.gamma_std / GAMMA, 1e-4)
