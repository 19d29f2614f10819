"""The general model of a core: groups of unknowns that can be switched on, what is read, and its derivatives.

With q (2 n,) the driven phases of a setting, u = q / 2 pi and the unknowns named by group,

    heat     h = ratio q + (bend_1 + curves_1) sin(pi u) + (bend_2 + curves_2) sin(2 pi u)
    light    phi = h + lag_1 (h' - h) + K (h + lag_2 (h' - h)) + die mean(h) / pi + bias
             K = crosstalk N + sum_d reach_d N_d + pairs
    core     Y = U diag(s) V X e^{inputs},  s = cos(ratio' alpha + offset')                        attenuators
    reading  (1 + gains) f(P (1 + laser)) + offsets,  f(v) = v (1 - saturation |v|)                P: Re Y or |Y|^2

`bend` is one for all heaters; h' the heat of the last setting. U and V have errors of splitters and losses
(`kernels.twin_wide`), of which a part is common to all (`splitter`, `loss`). A converter's integral non-linearity, a
curve that bends and one that is not quite known are the same two sines. N has the six neighbours, each with a share of
its own in `pairs`; N_d pairs of heaters at one displacement, farther ones at a distance with linear weights between
`KNOTS`, all signed: heat that reaches both arms of an MZI counts by its difference. The parametrisation is ours.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.linalg import blas, lapack

from l2sim.backend import Array, kernels
from l2sim.chip.nonidealities import Nonidealities
from l2sim.given import wrapped
from l2sim.learn.twin.fit import Drive, Twin, draw, priors, ratio_std
from l2sim.mesh.mesh import Mesh

NEARBY = 3.01
"""Distance, in pitches, up to which every displacement has a coefficient of its own."""
KNOTS = (3.5, 4.5, 6.0, 9.0)
"""Distances beyond, between which a coefficient is interpolated; from the last one on it stays."""
STD = {
    "attenuator_bias": 0.3, "gains": 0.02, "inputs": 0.02, "offsets": 0.01, "bend": 0.1, "curves": 0.03, "reach": 0.01,
    "splitters": 0.03, "losses": 0.01, "loss": 0.03, "splitter": 0.1, "lag": 0.03, "saturation": 0.05, "laser": 0.02,
    "die": 0.05, "pairs": 0.003, "unsteady": 1.0,
}  # fmt: skip
"""Prior spreads around none: rad, shares, or the logarithm of an amplitude. Ours, from what data sheets say."""
LATER = (
    "loss", "splitter", "gains", "inputs", "offsets", "bend", "curves", "reach", "lag", "saturation", "die", "pairs",
    "unsteady",
)  # fmt: skip
"""Groups that a twin keeps beside its attenuators and passive parts, in this order."""


class Ways(NamedTuple):
    """Which heaters of the two meshes of a core leak to which: `near` (2 n, 2 n) the published neighbours, `reach`
    (D, 2 n, 2 n) shares by displacement and distance; `pairs` (P, 2) every two neighbours, who is heated and by whom.
    """

    near: Array
    reach: Array
    pairs: Array


@lru_cache(maxsize=16)
def ways(mesh: Mesh) -> Ways:
    """Where heat may go in a mesh: heaters stand on a hexagonal grid, x = sqrt(3) column, y = rail; distances are
    sqrt(dx^2 + dy^2) / 2, so that the published neighbours are at one."""
    n = mesh.count
    across = np.abs(mesh.column[:, None] - mesh.column[None])
    along = np.abs(mesh.rail[:, None] - mesh.rail[None])
    distance = np.sqrt(3.0 * across**2 + along**2) / 2.0
    near = np.isclose(distance, 1.0)
    tables = []
    for place in sorted({(a, b) for a, b in zip(across.ravel(), along.ravel())}):
        away = np.sqrt(3.0 * place[0] ** 2 + place[1] ** 2) / 2.0
        if 0.0 < away < NEARBY:
            tables.append((across == place[0]) & (along == place[1]))
    far = distance > NEARBY
    for i in range(len(KNOTS) if far.any() else 0):
        height = np.zeros(len(KNOTS))
        height[i] = 1.0
        tables.append(np.where(far, np.interp(distance, KNOTS, height), 0.0))
    both = np.zeros((1 + len(tables), 2 * n, 2 * n), np.float32)
    for to, one in zip(both, (near, *tables)):
        to[:n, :n] = to[n:, n:] = one
    return Ways(both[0], both[1:], np.argwhere(both[0] > 0.0))


class Layout(dict[str, slice]):
    """Where the groups of unknowns stand in one vector, for a mesh and so many settings; `size` of it."""

    def __init__(self, mesh: Mesh, settings: int) -> None:
        n, k = mesh.count, mesh.modes
        sizes = {
            "bias": 2 * n, "ratio": 2 * n, "crosstalk": 1, "attenuator_bias": k, "attenuator_ratio": k,
            "splitters": 4 * n, "losses": 4 * n, "loss": 1, "splitter": 1, "gains": k, "inputs": k,
            "offsets": k, "bend": 2, "curves": 4 * n, "reach": len(ways(mesh).reach), "lag": 2, "saturation": 1,
            "die": 2 * n, "pairs": len(ways(mesh).pairs), "unsteady": 1, "laser": settings,
        }  # fmt: skip
        ends = np.cumsum([0, *sizes.values()])
        super().__init__({name: slice(a, b) for name, a, b in zip(sizes, ends, ends[1:])})
        self.size = int(ends[-1])

    def indices(self, groups: tuple[str, ...]) -> Array:
        """The places of some groups."""
        return np.concatenate([np.arange(self[name].start, self[name].stop) for name in groups])


def extra(mesh: Mesh) -> int:
    """How many numbers a twin keeps of a core beside bias, ratio, crosstalk, attenuators and passive parts."""
    layout = Layout(mesh, 0)
    return sum(layout[name].stop - layout[name].start for name in LATER)


def unsteady(mesh: Mesh, twin: Twin) -> Array:
    """How far the laser was found to vary from setting to setting (M,), rms; 0 where nothing asked for it."""
    layout = Layout(mesh, 0)
    at = np.flatnonzero(layout.indices(LATER) == layout["unsteady"].start)[0]
    varied: Array = twin.more[:, at] if twin.more.size else np.zeros(len(twin.more))
    return varied


def held(mesh: Mesh, drive: Drive, sheet: Nonidealities, settings: int) -> tuple[Array, Array]:
    """Priors of all unknowns: inverse variances and centres."""
    layout, n = Layout(mesh, settings), mesh.count
    precision, centre = np.empty(layout.size), np.zeros(layout.size)
    precision[: 4 * n + 1] = priors(sheet, n)
    centre[layout["bias"]], centre[layout["ratio"]] = drive.offset, 1.0
    stds = STD | {
        "attenuator_ratio": ratio_std(sheet), "splitters": max(STD["splitters"], sheet.splitter_error_std),
        "attenuator_bias": max(STD["attenuator_bias"], sheet.sigma_bias / 3.0**0.5),
    }  # fmt: skip
    centre[layout["attenuator_ratio"]] = 1.0
    for name, std in stds.items():
        precision[layout[name]] = std**-2.0
    return precision, centre


class Seen(NamedTuple):
    """Readings of one core: driven phases `q` (S, 2 n), phases of attenuators `alpha` (S, k), `gain` (S,) of the
    electronics behind it, `light` and `read` (S, k, B) and the `std` (S, k, B) of their noise; `power`: what was read;
    `last` (S,): which setting was commanded before."""

    q: Array
    alpha: Array
    gain: Array
    light: Array
    read: Array
    std: Array
    power: bool
    last: Array


class Core:
    """The model of a core for what was `seen` of it."""

    def __init__(self, mesh: Mesh, drive: Drive, seen: Seen) -> None:
        self.mesh, self.drive, self.seen = mesh, drive, seen
        self.layout, self.ways = Layout(mesh, len(seen.q)), ways(mesh)
        u = seen.q / (2.0 * np.pi)
        self.sines = np.stack((np.sin(np.pi * u), np.sin(2.0 * np.pi * u)))
        self._light = np.ascontiguousarray(seen.light, np.float32)
        self._weight = (1.0 / seen.std).astype(np.float32)
        self._rows = np.empty((0, seen.read.size), np.float32)

    # -- what is read --------------------------------------------------------------------------------------------------

    def coupling(self, x: Array) -> Array:
        """K (2 n, 2 n): the share of each heater (column) that reaches another (row)."""
        reach = np.tensordot(x[self.layout["reach"]], self.ways.reach, 1)
        table: Array = x[self.layout["crosstalk"]] * self.ways.near + reach
        pairs = x[self.layout["pairs"]]
        if pairs.any():
            table[tuple(self.ways.pairs.T)] += pairs
        return table

    def heat(self, x: Array, q: Array, sines: Array) -> Array:
        """Heat (S, 2 n) of driven phases."""
        at, n = self.layout, self.mesh.count
        curves = x[at["curves"]].reshape(2, 2 * n) + x[at["bend"]][:, None]
        heat = q * x[at["ratio"]]
        if curves.any():
            heat += curves[0] * sines[0] + curves[1] * sines[1]
        return wrapped(heat) if self.drive.rewrap else heat

    def phases(self, x: Array) -> tuple[Array, Array]:
        """Phases (S, 2 n) that light sees, and heat (S, 2 n)."""
        at, heat = self.layout, self.heat(x, self.seen.q, self.sines)
        own, leak = x[at["lag"]]
        change = heat[self.seen.last] - heat if own or leak else 0.0
        phases = heat + own * change + (heat + leak * change) @ self.coupling(x).T + x[at["bias"]]
        return phases + x[at["die"]] * self.warm(heat), heat

    def warm(self, heat: Array) -> Array:
        """The mean heat of each mesh over pi, for every heater of it (S, 2 n)."""
        means = heat.reshape(len(heat), 2, -1).mean(axis=2) / np.pi
        return np.repeat(means, self.mesh.count, axis=1)

    def share(self, x: Array) -> Array:
        """What attenuators let through (S, k)."""
        at = self.layout
        turned = self.seen.alpha * x[at["attenuator_ratio"]] + x[at["attenuator_bias"]]
        made: Array = self.seen.gain[:, None] * np.cos(turned)
        return made

    def passive(self, x: Array) -> Array:
        """Errors of splitters and losses (2, 4, n) as `kernels.twin_wide` takes them."""
        n = self.mesh.count
        own, one = ("splitters", "losses"), ("splitter", "loss")
        parts = [x[self.layout[a]].reshape(2, 2, n) + x[self.layout[b]] for a, b in zip(own, one)]
        return np.ascontiguousarray(np.concatenate(parts, axis=1))

    def _lit(self, x: Array) -> Array:
        inputs = x[self.layout["inputs"]]
        return self._light * np.exp(inputs)[:, None].astype(np.float32) if inputs.any() else self._light

    def _ported(self, x: Array, power: Array) -> tuple[Array, Array | None]:
        """Readings of what reaches the detectors (S, k, B), and their derivative by that; None where it is one."""
        at = self.layout
        gains, lost, laser = 1.0 + x[at["gains"]][:, None], x[at["saturation"]][0], 1.0 + x[at["laser"]][:, None, None]
        if not (x[at["gains"]].any() or lost or x[at["laser"]].any()):
            return power + x[at["offsets"]][:, None], None
        v = power * laser
        read = gains * v * (1.0 - lost * np.abs(v)) + x[at["offsets"]][:, None]
        return read, (gains * laser * (1.0 - 2.0 * lost * np.abs(v))).astype(np.float32)

    def answer(self, x: Array) -> Array:
        """What is read (S, k, B)."""
        out = np.empty(self.seen.read.shape, np.float32)
        kernels.twin_wide.answers(
            self.phases(x)[0], self.passive(x), self.share(x), self._lit(x), self.mesh.rail, self.seen.power, out
        )
        return self._ported(x, out)[0]

    # -- derivatives ---------------------------------------------------------------------------------------------------

    def linear(self, x: Array, groups: tuple[str, ...]) -> tuple[Array, Array]:
        """Residuals (N,) = (seen - model) / noise, and the derivatives of the model over it, (unknowns, N), by the
        `groups`."""
        at, n, (settings, k, width) = self.layout, self.mesh.count, self.seen.read.shape
        passive = not {"splitters", "losses", "loss", "splitter"}.isdisjoint(groups)
        by_mzi = np.empty((5 if passive else 1, 2 * n, settings, k * width), np.float32)
        by_share, by_light = (np.empty((k, settings, k * width), np.float32) for _ in range(2))
        power = np.empty((settings, k, width), np.float32)
        phases, heat = self.phases(x)
        kernels.twin_wide.derivatives(
            phases, self.passive(x), self.share(x), self._lit(x), self.mesh.rail, self.seen.power, power, by_mzi,
            by_share, by_light,
        )  # fmt: skip
        read, slope = self._ported(x, power)
        sizes = [at[name].stop - at[name].start for name in groups]
        if len(self._rows) < sum(sizes):
            self._rows = np.empty((sum(sizes), settings * k * width), np.float32)
        rows, end = self._rows[: sum(sizes)], 0
        inner = _Inner(self, x, by_mzi, by_share, by_light, heat)
        weight = self._weight.reshape(settings, -1)
        scale = weight if slope is None else weight * slope.reshape(settings, -1)
        for name, size in zip(groups, sizes):
            to = rows[end : end + size].reshape(size, settings, -1)
            if name in PORTS:
                self._port(name, x, power, to)
                to *= weight
            else:
                np.multiply(inner.rows(name), scale, out=to)
            end += size
        return ((self.seen.read - read) * self._weight).ravel().astype(np.float32), rows

    def _port(self, name: str, x: Array, power: Array, to: Array) -> None:
        """Derivatives by what detectors do, `to` (unknowns, S, k B)."""
        at, (settings, k, width) = self.layout, power.shape
        gains, lost, laser = 1.0 + x[at["gains"]][:, None], x[at["saturation"]][0], 1.0 + x[at["laser"]][:, None, None]
        v, block = power * laser, to.reshape(len(to), settings, k, width)
        block[:] = 0.0
        if name == "gains":
            for a in range(k):
                block[a, :, a] = (v * (1.0 - lost * np.abs(v)))[:, a]
        elif name == "offsets":
            for a in range(k):
                block[a, :, a] = 1.0
        elif name == "saturation":
            block[0] = -gains * v * np.abs(v)
        else:
            for t in range(settings):
                block[t, t] = (gains * power * (1.0 - 2.0 * lost * np.abs(v)))[t]


SINGLE = 3e-7
"""What single precision leaves open of a product."""
PORTS = ("gains", "offsets", "saturation", "laser")


class _Inner:
    """Derivatives of what reaches the detectors, by groups."""

    def __init__(self, core: Core, x: Array, by_mzi: Array, by_share: Array, by_light: Array, heat: Array) -> None:
        self.core, self.x, self.heat = core, x, heat
        self.by_mzi, self.by_share, self.by_light = by_mzi, by_share, by_light
        self._by_heat: Array | None = None

    @property
    def by_heat(self) -> Array:
        """By the heat of every heater (2 n, S, k B)."""
        if self._by_heat is None:
            flat = self.by_mzi[0].reshape(len(self.by_mzi[0]), -1)
            spread = self.core.coupling(self.x).T.astype(np.float32) @ flat
            spread += flat
            self._by_heat = spread.reshape(self.by_mzi[0].shape)
        return self._by_heat

    def rows(self, name: str) -> Array:
        """By the unknowns of a group (unknowns, S, k B)."""
        made: Array = getattr(self, f"_{name}")()
        return made

    def _timed(self, by: Array, factor: Array) -> Array:
        """Derivatives `by` (M, S, k B) times factors (S, M) of settings."""
        made: Array = by * np.ascontiguousarray(factor.T, np.float32)[:, :, None]
        return made

    def _summed(self, factors: Array) -> Array:
        """Sums over heaters of derivatives by phase times `factors` (D, S, 2 n): (D, S, k B)."""
        by = self.by_mzi[0].transpose(1, 0, 2)
        made: Array = np.matmul(factors.transpose(1, 0, 2).astype(np.float32), by).transpose(1, 0, 2)
        return made

    def _bias(self) -> Array:
        made: Array = self.by_mzi[0]
        return made

    def _ratio(self) -> Array:
        return self._timed(self.by_heat, self.core.seen.q)

    def _crosstalk(self) -> Array:
        return self._summed((self.heat @ self.core.ways.near.T)[None])

    def _reach(self) -> Array:
        return self._summed(np.matmul(self.heat, self.core.ways.reach.swapaxes(1, 2)))

    def _lag(self) -> Array:
        change = self.heat[self.core.seen.last] - self.heat
        return self._summed(np.stack((change, change @ self.core.coupling(self.x).T)))

    def _die(self) -> Array:
        return self._timed(self.by_mzi[0], self.core.warm(self.heat))

    def _pairs(self) -> Array:
        to, by = self.core.ways.pairs.T
        return self._timed(self.by_mzi[0][to], self.heat[:, by])

    def _curves(self) -> Array:
        return np.concatenate([self._timed(self.by_heat, sine) for sine in self.core.sines])

    def _bend(self) -> Array:
        spread = self.core.sines @ (np.eye(self.heat.shape[1]) + self.core.coupling(self.x).T)
        return self._summed(spread)

    def _splitters(self) -> Array:
        return self._passive(1)

    def _losses(self) -> Array:
        return self._passive(3)

    def _loss(self) -> Array:
        made: Array = self._passive(3).sum(axis=0, keepdims=True)
        return made

    def _splitter(self) -> Array:
        made: Array = self._passive(1).sum(axis=0, keepdims=True)
        return made

    def _passive(self, first: int) -> Array:
        """The kinds `first` and the next, as unknowns stand: (part, kind, n)."""
        kinds, n = self.by_mzi[first : first + 2], self.core.mesh.count
        parts = kinds.reshape(2, 2, n, *kinds.shape[2:]).swapaxes(0, 1)
        made: Array = parts.reshape(4 * n, *kinds.shape[2:])
        return made

    def _attenuator_bias(self) -> Array:
        at, seen = self.core.layout, self.core.seen
        turned = seen.alpha * self.x[at["attenuator_ratio"]] + self.x[at["attenuator_bias"]]
        return self._timed(self.by_share, -seen.gain[:, None] * np.sin(turned))

    def _attenuator_ratio(self) -> Array:
        at, seen = self.core.layout, self.core.seen
        turned = seen.alpha * self.x[at["attenuator_ratio"]] + self.x[at["attenuator_bias"]]
        return self._timed(self.by_share, -seen.gain[:, None] * seen.alpha * np.sin(turned))

    def _inputs(self) -> Array:
        return self.by_light  # of the light that was sent, gains included


OWN = ("bias", "ratio", "crosstalk", "splitters", "losses", "loss", "splitter", "bend", "curves", "reach", "die",
    "pairs")
"""Groups that say what a core is, beside its attenuators; the others are of ports and of probing."""
FRESH = 4
"""Settings at which errors to come are foreseen."""


def foreseen(
    core: Core, x: Array, groups: tuple[str, ...], covariance: Array, rng: np.random.Generator
) -> tuple[float, float]:
    """The mean of the squared error |R' - R|^2 / |R|^2 of responses to settings that were not read, with sigma of +1
    and -1, and its standard deviation from core to core and setting to setting: with M = J C J' there, C the
    `covariance` of the unknowns of `groups`, tr M and 2 tr M^2."""
    mesh, k = core.mesh, core.mesh.modes
    own = tuple(name for name in groups if name in OWN)
    at = core.layout.indices(groups)
    kept = np.flatnonzero(np.isin(at, core.layout.indices(own)))
    commands, sigma = draw(core.drive, mesh, FRESH, rng)
    shape = FRESH, k, k
    fresh = Seen(
        core.drive.driven(commands), np.where(sigma > 0.0, 0.0, np.pi), np.ones(FRESH),
        np.broadcast_to(np.eye(k), shape), np.zeros(shape), np.ones(shape), False, np.arange(FRESH),
    )  # fmt: skip
    there = Core(mesh, core.drive, fresh)
    full = np.zeros(there.layout.size)
    for name in (*OWN, "attenuator_bias", "attenuator_ratio"):
        full[there.layout[name]] = x[core.layout[name]]
    rows = there.linear(full, own)[1].astype(float)
    spread = (covariance[np.ix_(kept, kept)] @ rows).reshape(len(rows), FRESH, k * k)
    tables = np.matmul(rows.reshape(spread.shape).transpose(1, 2, 0), spread.transpose(1, 0, 2))
    traces = np.trace(tables, axis1=1, axis2=2)
    wide = 2.0 * (tables**2).sum(axis=(1, 2)).mean() + traces.var()
    return float(traces.mean() / k), float(np.sqrt(wide) / k)


def inverse(normal: Array) -> Array:
    """The inverse of a normal matrix that is known in single precision: its diagonal is raised by as much."""
    factor, wrong = lapack.dpotrf(normal + np.diag(SINGLE * np.diag(normal)), lower=1)
    if wrong:
        return np.linalg.pinv(normal, hermitian=True)
    half = lapack.dpotri(factor, lower=1)[0]
    made: Array = np.tril(half) + np.tril(half, -1).T
    return made


def gram(rows: Array) -> Array:
    """J J' (P, P) of rows (P, N), in double precision."""
    half = blas.ssyrk(1.0, rows.T, trans=1, lower=1).astype(float)
    made: Array = half + np.tril(half, -1).T
    return made
