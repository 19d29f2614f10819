"""The wider twin of one core: what the narrow one leaves unexplained asks for groups of unknowns, one after the other.

All groups of `l2sim.learn.twin.model` have a prior around none, so that each costs what it is worth and no more. At a
fit, one normal matrix of all of them says what any would gain: with H the posterior's, b the gradient and S the Schur
complement of a group g behind those that are on,

    evidence of g  =  1/2 b' S^-1 b / phi - 1/2 log(det S / det P_g),         phi the misfit, at least one,

its likelihood less what its freedom is worth (Laplace; MacKay, Neural Computation 4, 415 (1992)); by phi what no model
explains is taken for noise. The group that has most is switched on, until what is left is noise; then a group that the
others have made useless goes. Errors of splitters do not show to first order (with none a core's quadratures stay real)
and are tried, with losses, from a start of their own where the rest does not explain. The choice of groups is ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import lapack

from l2sim.backend import Array, generator
from l2sim.chip.nonidealities import Nonidealities
from l2sim.learn.twin import attenuators, least_squares
from l2sim.learn.twin.fit import SURE, Drive, Probes, Twin, prior_of, weigh
from l2sim.learn.twin.model import LATER, Core, Layout, Seen, foreseen, gram, held, inverse
from l2sim.learn.twin.noise import Noise, Record
from l2sim.mesh.mesh import Mesh

NARROW = ("bias", "ratio", "crosstalk")
"""The groups of the narrow twin."""
SHUTTERS = ("attenuator_bias", "attenuator_ratio")
"""Those of attenuators."""
ORDER = ("loss", "gains", "offsets", "inputs", "bend", "curves", "reach", "lag", "saturation", "die", "laser", "pairs")
"""Groups that are asked for by the residual, as labs meet them."""
PASSIVE = ("splitter", "splitters", "loss", "losses")
KICK = 0.01
"""Errors of splitters, rad, that a fit starts from. With none at all the quadratures of a core do not change to first
order: an error turns what was real into what is imaginary, and the fit would sit on a saddle."""
LOOKED = 3
"""Cores at which it is foreseen what others will do."""
ROOM = 1 << 28
"""Numbers in a table of derivatives at most: the largest groups are not asked for where there would be more."""
ROUNDS, CHOICES = 25, 3
"""Steps of a fit, and times that groups are chosen, at most."""
ROUGH = 4.0
"""Gain, in variances of a reading, at which a fit of splitters has ended: a tenth of the standard deviation of each of
some four hundred unknowns."""
WORTH = 3.0
"""Evidence, nats, from which on a group is switched on."""
WIDTHS = 1.0, 0.5, 0.25
"""What the prior spreads of a group may be multiplied by: a little of what many unknowns do is seen so."""
QUIET = 1.0 / 3.0
"""Share of what a right model's misfit may be off one, below which no more is asked for."""


@dataclass
class Wide:
    """A fit of the general model: all unknowns `x` (`model.Layout`), the `groups` that are on, `covariance`, the
    inverse of their normal matrix, `misfit`: mean squared residual over the noise's and degrees of `freedom`; `taken`:
    how many unknowns the readings determine; `explained`: whether what is left is what noise leaves."""

    x: Array
    groups: tuple[str, ...]
    covariance: Array
    misfit: float
    freedom: float
    taken: float
    explained: bool


@dataclass(frozen=True)
class Prior:
    """Inverse variances and centres of all unknowns, and how sure the noise is: the variance of its variance's log."""

    precision: Array
    centre: Array
    doubt: float

    def as_wide(self, layout: Layout, widths: Mapping[str, float]) -> Prior:
        """With the spreads of some groups multiplied by these."""
        precision = self.precision.copy()
        for name, width in widths.items():
            precision[layout[name]] /= width**2
        return replace(self, precision=precision)


def fit(core: Core, start: Array, groups: tuple[str, ...], prior: Prior, damping: float | None = None) -> Wide:
    """The unknowns of `groups` from `start`, all others as they are there."""
    at = core.layout.indices(groups)
    precision, centre = prior.precision[at], prior.centre[at]

    def whole(part: Array) -> Array:
        full = start.copy()
        full[at] = part
        return full

    def look(x: Array, _: Array) -> tuple[Array, least_squares.Normal]:
        full = whole(x[0])
        rest = (core.seen.read - core.answer(full)) / core.seen.std

        def normal(_: Array) -> tuple[Array, Array]:
            wrong, rows = core.linear(full, groups)
            return gram(rows)[None], (rows @ wrong).astype(float)[None]

        return np.array([(rest**2).sum()]), normal

    curved = "splitters" in groups
    solution = least_squares.minimise(
        look, start[at][None], precision[None], centre[None], ROUNDS, least=damping,
        enough=ROUGH if curved else None,
    )  # fmt: skip
    return _summed(core, whole(solution.x[0]), groups, inverse(solution.normal[0]), float(solution.misfit[0]), prior)


def _summed(core: Core, x: Array, groups: tuple[str, ...], covariance: Array, wrong: float, prior: Prior) -> Wide:
    at = core.layout.indices(groups)
    taken = float((1.0 - prior.precision[at] * np.diag(covariance)).sum())
    freedom = max(1.0, core.seen.read.size - taken)
    level = wrong / freedom
    return Wide(x, groups, covariance, level, freedom, taken, bool(level - 1.0 < bound(freedom, prior.doubt)))


def bound(freedom: Array | float, doubt: float) -> Array | float:
    """How far the misfit of a right model may be from one."""
    far: Array | float = SURE * np.sqrt(2.0 / freedom + doubt)
    return far


def widened(
    core: Core, start: Array, prior: Prior, passive: bool, shutters: bool = True,
    asked: Mapping[str, float] | None = None,
) -> Wide:  # fmt: skip
    """The fit that explains best what was seen of a core near `start`. `passive`: the data sheet speaks of splitters or
    losses; `asked`: groups to begin with, and how wide they are."""
    asked = asked or {}
    base, prior = NARROW + SHUTTERS * shutters + tuple(asked), prior.as_wide(core.layout, asked)
    best = None
    if not passive:
        best = fit(core, start, base, prior)
        best = best if best.explained else _chosen(core, best, prior)
        if best.explained:
            return best
    kicked = start.copy()
    kick = np.zeros((2, 2, core.mesh.count))
    kick += KICK * generator(1, "kick").normal(size=kick.shape)
    kicked[core.layout["splitters"]] = kick.ravel()
    other = fit(core, kicked, base + tuple(name for name in PASSIVE if name not in base), prior, 1e-3)
    if not other.explained and (best is None or other.misfit < best.misfit):
        other = _chosen(core, other, prior)
    if best is None or other.explained or other.misfit + other.taken / other.freedom < best.misfit * 0.9:
        return other
    return best


def asked(
    mesh: Mesh, drive: Drive, sheet: Nonidealities, record: Record, twins: Twin, cores: Array
) -> dict[str, float]:
    """The groups that the residuals of some `cores` together ask for: what shows in none of them may in all."""
    prior = Prior(*held(mesh, drive, sheet, record.whole.seen.shape[1]), record.noise.unsure)
    base, fits = NARROW + SHUTTERS * (not drive.exact_sigma), []
    for core in cores:
        model = of_probes(mesh, drive, record.whole.of(np.array([core])), record.noise)
        fits.append((model, fit(model, begun(model, twins, core), base, prior)))
    return wanted(fits, prior)


def enter(
    mesh: Mesh, drive: Drive, sheet: Nonidealities, record: Record, twins: Twin, core: int,
    first: Mapping[str, float] | None = None, passive: bool = False,
) -> bool:  # fmt: skip
    """Replace what `twins` has of a core by its wider twin, where that leaves less doubt; it begins with the groups
    `first`, or with splitters and losses if `passive`. Whether it ended with these."""
    probes = record.whole.of(np.array([core]))
    model = of_probes(mesh, drive, probes, record.noise)
    prior = Prior(*held(mesh, drive, sheet, probes.seen.shape[1]), record.noise.unsure)
    solution = widened(model, begun(model, twins, core), prior, passive, not drive.exact_sigma, first)
    one, level = twins.of(np.array([core])), record.noise.level
    coming = foreseen(model, solution.x, solution.groups, solution.covariance, generator(2, "foreseen"))
    left, taken = np.array([solution.misfit * solution.freedom]), np.array([solution.taken])
    weigh(one, left, taken, level, probes, record.noise.unsure, coming)
    if first or one.doubt[0] < twins.doubt[core]:
        kept(model, solution, one)
        twins.put(np.array([core]), one)
    return "splitters" in solution.groups


def moved(
    mesh: Mesh, drive: Drive, probes: Probes, twins: Twin, core: int, drift: float, noise: float
) -> Twin:
    """The wide twin of one core whose biases have moved by about `drift` since, by new `probes`; all else stays."""
    one = twins.of(np.array([core]))
    model = of_probes(mesh, drive, probes.of(np.array([core])), Noise(noise, 0.0, noise, 0))
    x, layout = begun(model, twins, core), model.layout
    precision = np.ones(layout.size)
    apart = np.concatenate((np.full(2 * mesh.count, drift), np.zeros(2 * mesh.count + 1)))
    precision[: len(apart)] = 1.0 / (one.spread[0] ** 2 + apart**2)
    solution = fit(model, x, NARROW, Prior(precision, x.copy(), 0.0))
    coming = foreseen(model, solution.x, NARROW, solution.covariance, generator(2, "foreseen"))
    weigh(one, np.array([solution.misfit * solution.freedom]), np.array([solution.taken]), noise, probes, 0.0, coming)
    one.bias[0], one.ratio[0], last = np.split(solution.x[: len(apart)], [2 * mesh.count, 4 * mesh.count])
    one.crosstalk[:] = last
    one.spread[0] = np.sqrt(np.diag(solution.covariance))
    return one


def of_probes(mesh: Mesh, drive: Drive, probes: Probes, noise: Noise) -> Core:
    """The model for the probes of one core."""
    alpha, gain = attenuators.told(drive, probes.sigma[0])
    order = np.maximum(np.arange(probes.seen.shape[1]) - 1, 0)
    read = probes.seen[0].astype(float)
    q = drive.driven(probes.drive[0])
    return Core(mesh, drive, Seen(q, alpha, gain, probes.light, read, noise.std(read), probes.power, order))


def ahead(
    mesh: Mesh, drive: Drive, sheet: Nonidealities, probes: Probes, noise: Noise, twins: Twin,
    drift: float | None = None,
) -> tuple[float, float] | None:
    """`model.foreseen` of narrow twins: the mean of a few, for it is the settings that make it, and those are the same.
    None where a core is too large to look."""
    if len(twins.spread[0]) * probes.seen[0].size > ROOM:
        return None
    some = np.argsort(~twins.identified, kind="stable")[:LOOKED]
    precision = prior_of(mesh, drive, sheet, twins.of(some), drift)[1]
    total = []
    for core, weak in zip(some, precision):
        model = of_probes(mesh, drive, probes.of(np.array([core])), noise)
        x = begun(model, twins, core)
        rows = model.linear(x, NARROW)[1]
        covariance = inverse(gram(rows) + np.diag(weak))
        total.append(foreseen(model, x, NARROW, covariance, generator(2, "foreseen")))
    mean, std = np.mean(total, axis=0)
    return float(mean), float(std)


def begun(core: Core, twins: Twin, at: int) -> Array:
    """All unknowns of the model as a twin has them."""
    x, layout = np.zeros(core.layout.size), core.layout
    x[: layout["crosstalk"].stop] = np.concatenate((twins.bias[at], twins.ratio[at], twins.crosstalk[at : at + 1]))
    x[layout["attenuator_bias"]], x[layout["attenuator_ratio"]] = twins.attenuators[at]
    passive = twins.passive[at].reshape(2, 2, 2, -1)
    x[layout["splitters"]], x[layout["losses"]] = passive[:, 0].ravel(), passive[:, 1].ravel()
    x[layout.indices(LATER)] = twins.more[at] if twins.more.size else 0.0
    x[layout["splitters"]] -= x[layout["splitter"]]  # what they share is told apart
    x[layout["losses"]] -= x[layout["loss"]]
    return x


def kept(core: Core, solution: Wide, one: Twin) -> None:
    """Fill the twin `one` of one core with what was found."""
    x, layout = solution.x, core.layout
    std = np.sqrt(np.maximum(np.diag(solution.covariance), 0.0) * max(1.0, solution.misfit))
    one.bias[0], one.ratio[0], one.crosstalk[0] = x[layout["bias"]], x[layout["ratio"]], x[layout["crosstalk"]][0]
    one.spread[0] = std[: layout["crosstalk"].stop]
    one.attenuators[0] = x[layout["attenuator_bias"]], x[layout["attenuator_ratio"]]
    if SHUTTERS[0] in solution.groups:
        at, beyond = layout.indices(solution.groups), max(1.0, solution.misfit)
        first, k = np.flatnonzero(at == layout[SHUTTERS[0]].start)[0], core.mesh.modes
        own = np.arange(first, first + k)
        one.open[0] = [beyond * solution.covariance[a, b] for a, b in ((own, own), (own, own + k), (own + k, own + k))]
    x[layout["unsteady"]] = np.sqrt(np.mean(x[layout["laser"]] ** 2))
    one.more = x[layout.indices(LATER)][None].astype(np.float32)
    one.passive[0], one.wide[0] = core.passive(x), True


def _chosen(core: Core, fitted: Wide, prior: Prior) -> Wide:
    """`fitted` with the groups that its residual asks for."""
    for _ in range(CHOICES):
        if fitted.explained:
            break
        more = wanted([(core, fitted)], prior)
        if not more:
            break
        prior = prior.as_wide(core.layout, more)
        again = fit(core, fitted.x, fitted.groups + tuple(more), prior, 1e-5)
        if again.misfit + again.taken / again.freedom > fitted.misfit + fitted.taken / fitted.freedom:
            break
        fitted = again
    return _pruned(core, fitted, prior)


class _Asked:
    """The normal equations of all groups at the fit of a core."""

    def __init__(self, core: Core, fitted: Wide, others: tuple[str, ...], prior: Prior) -> None:
        groups = fitted.groups + others
        wrong, rows = core.linear(fitted.x, groups)
        at = core.layout.indices(groups)
        self.weak = prior.precision[at]
        self.normal = gram(rows)
        self.normal[np.diag_indices_from(self.normal)] += self.weak
        self.down = (rows @ wrong).astype(float) - self.weak * (fitted.x[at] - prior.centre[at])
        ends = np.cumsum([0] + [core.layout[name].stop - core.layout[name].start for name in groups])
        self.place = {name: np.arange(a, b) for name, a, b in zip(groups, ends, ends[1:])}
        self.on = np.arange(len(core.layout.indices(fitted.groups)))
        self.misfit, self.freedom = fitted.misfit, fitted.freedom

    def weighed(self, names: Iterable[str]) -> dict[tuple[str, float], tuple[float, float]]:
        """The evidence of groups, nats, and how much of the sum of squares each explains, by name and width: what its
        prior spreads are multiplied by."""
        factor = lapack.dpotrf(self.normal[np.ix_(self.on, self.on)], lower=1)[0]
        right = np.concatenate((self.normal[self.on], self.down[self.on, None]), axis=1)
        solved = lapack.dtrtrs(factor, right, lower=1)[0]
        solution = {}
        for name in names:
            g = self.place[name]
            left = solved[:, g]
            schur = self.normal[np.ix_(g, g)] - left.T @ left
            b = self.down[g] - left.T @ solved[:, -1]
            for width in WIDTHS:
                weak = self.weak[g] / width**2
                table = schur + np.diag(weak - self.weak[g])
                gain = float(b @ np.linalg.solve(table, b))
                free = 0.5 * (np.linalg.slogdet(table)[1] - np.log(weak).sum())
                solution[name, width] = 0.5 * gain / max(1.0, self.misfit) - free, gain
        return solution

    def add(self, name: str, width: float, gain: float) -> None:
        """Switch a group on that explains so much."""
        g = self.place[name]
        self.normal[g, g] += self.weak[g] / width**2 - self.weak[g]
        self.on = np.concatenate((self.on, g))
        self.misfit -= gain / self.freedom


def wanted(fits: Sequence[tuple[Core, Wide]], prior: Prior) -> dict[str, float]:
    """The groups to switch on at fits of one or more cores, best first, until what is left would be noise; and how wide
    each of them."""
    core, fitted = fits[0]
    others = [a for a in ORDER if a not in fitted.groups and core.layout[a].stop > core.layout[a].start]
    while others and len(core.layout.indices(fitted.groups + tuple(others))) * core.seen.read.size > ROOM:
        others.remove(max(others, key=lambda name: core.layout[name].stop - core.layout[name].start))
    asking = [_Asked(core, one, tuple(others), prior) for core, one in fits]
    chosen: dict[str, float] = {}
    while others:
        misfit = float(np.mean([one.misfit for one in asking]))
        if misfit < 1.0 + QUIET * bound(asking[0].freedom * len(asking), prior.doubt):
            break
        each = [one.weighed(others) for one in asking]
        worth = {name: sum(one[name][0] for one in each) for name in each[0]}
        best = max(worth, key=lambda name: worth[name])
        if worth[best] < WORTH:
            break
        for one, solution in zip(asking, each):
            one.add(*best, solution[best][1])
        chosen[best[0]] = best[1]
        others.remove(best[0])
    return chosen


def _pruned(core: Core, fitted: Wide, prior: Prior) -> Wide:
    """`fitted` without a group that the others have made useless."""
    useless = []
    at = core.layout.indices(fitted.groups)
    for name in fitted.groups:
        if name not in ORDER:
            continue
        g = np.flatnonzero((at >= core.layout[name].start) & (at < core.layout[name].stop))
        own = fitted.covariance[np.ix_(g, g)]
        x = fitted.x[core.layout[name]] - prior.centre[core.layout[name]]
        free = -0.5 * (np.linalg.slogdet(own)[1] + np.log(prior.precision[core.layout[name]]).sum())
        evidence = 0.5 * float(x @ np.linalg.solve(own, x)) / max(1.0, fitted.misfit) - free
        if evidence < 0.0:
            useless.append((evidence, name))
    if not useless:
        return fitted
    name = min(useless)[1]
    start = fitted.x.copy()
    start[core.layout[name]] = prior.centre[core.layout[name]]
    fewer = fit(core, start, tuple(group for group in fitted.groups if group != name), prior)
    return fewer if fewer.explained or not fitted.explained else fitted
