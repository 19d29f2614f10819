"""Heaters as labs have them and where their heat goes: how a chip's numbers for `kernels.chain.warm` are made, and what
is left of the last heat when light comes.

**Which heaters share heat.** Heaters stand on a hexagonal grid at x = sqrt(3) column, y = rail of the heated arm, d
half their distance, so that the published six neighbours are those with d = 1. Of each pair the share of heat is

    K_ij = crosstalk law(i, j) (1 + crosstalk_pairs v_ij),        v uniform in [-1, 1), fixed for each ordered pair,

    law = 1 for neighbours and 0 else                             published, crosstalk_range = 0
    law = kappa(d),  kappa(d) = e^{-(d - 1) / crosstalk_range}    all heaters of a mesh; below `FAINT` none

That more than nearest neighbours count is measured on a mesh of 72 MZIs (Teofilovic et al., arXiv 2404.10589), and over
whole chips by Milanizadeh et al., J. Lightwave Technol. 37, 1325 (2019); the exponential with one length is ours.

**Which arm.** What an interferometer shows is the difference between its arms (`crosstalk_arms`): the upper one at y,
the lower one at the other rail of its coupler. Of one heated arm law = kappa(upper_i) - kappa(lower_i), distances from
the heated arm j; of push-pull, which heats the upper arm by as much more as the lower by less, half the sum of
kappa(upper, upper) - kappa(upper, lower) - kappa(lower, upper) + kappa(lower, lower). A shifter on a bare rail, as
those of a screen, has no lower arm.

**The die**: phase_i += die_heat z_i mean_j(h_j) / pi, z normal per heater: what its two arms differ by when all is
warm.

**Lag.** After a write a heater and its surroundings are on their way. When light comes, after the normal settling, of
the last heat the share `lag` is left, and of what leaked `leak_lag`; beyond that both fall by e in `lag_seconds` and
`leak_seconds` of chip time:

    h_seen = h + lag e^{-wait / lag_seconds} (h_last - h)

Two time constants, that of the heater and that of what surrounds it, are ours. A probe sees what is left when it
begins. Attenuators do not lag.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from l2sim import naming
from l2sim.backend import Array, generator, kernels_of
from l2sim.chip import fabrication
from l2sim.chip.fabrication import Chain
from l2sim.chip.meter import Meter
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import ChipState
from l2sim.errors import ChipError

FAINT = 1e-6
"""Shares of `crosstalk` below which heat is not followed; ours."""
STEPS = 4096
"""Steps of a curve over [0, v_max]: between them it goes linearly, which is off by 1e-7 rad at the published V^2."""
ROWS = 256
"""Heaters of a mesh whose neighbourhoods are looked at at a time."""


class Layout(Protocol):
    """Where heaters stand: (n,) columns, the rail of the upper arm, and that of the lower one, which is the same where
    there is none; `around` (n, any number) the published neighbours, -1 for none."""

    @property
    def around(self) -> Array:
        """Published neighbours."""
        ...

    @property
    def column(self) -> Array:
        """Columns of heaters."""
        ...

    @property
    def top(self) -> Array:
        """Rails of the upper arms."""
        ...

    @property
    def bottom(self) -> Array:
        """Rails of the lower arms."""
        ...


@dataclass(frozen=True)
class Fine:
    """Unit draws of the heaters of M meshes that only chips like these need: `bend` and `die` (M, n) normal, `psi`
    (M, n) in [0, 1), and `pairs` (M,), whole numbers that name the streams of v_ij."""

    bend: Array
    die: Array
    psi: Array
    pairs: Array


def fabricate(seed: int, name: str, part: str, shape: tuple[int, int]) -> Fine:
    """Draw them for one part ("u", "v", "sigma"; "mesh" of a whole mesh) of the chip `name`."""

    def stream(what: str) -> np.random.Generator:
        return generator(seed, "fabrication", name, part, what)

    return Fine(
        bend=stream("bend").standard_normal(shape),
        die=stream("die").standard_normal(shape),
        psi=stream("psi").uniform(size=shape),
        pairs=stream("pairs").integers(0, 1 << 52, shape[0]).astype(float),
    )


def published(sheet: Nonidealities) -> bool:
    """Whether heaters are those of `kernels.chain`."""
    own = sheet.bend or sheet.bend_std or sheet.heater_inl or sheet.die_heat or lags(sheet)
    leak = sheet.crosstalk_range or sheet.crosstalk_arms or sheet.crosstalk_pairs
    return not (own or (leak and coupled(sheet)))


def coupled(sheet: Nonidealities) -> bool:
    """Whether heat leaks to other heaters; the published model leaves it out below 1e-5."""
    return sheet.crosstalk > 1e-5


def lags(sheet: Nonidealities) -> bool:
    """Whether something of the last heat is left when light comes."""
    return sheet.lag > 0.0 or sheet.leak_lag > 0.0


def law(layout: Layout, sheet: Nonidealities, single: bool) -> tuple[Array, Array]:
    """Which heaters reach each one (n, W), -1 for none, and the shares of their heat (n, W), without those of single
    pairs. `single`: one arm of an MZI is heated."""
    if not coupled(sheet):
        n = len(layout.column)
        return np.full((n, 0), -1, np.int64), np.zeros((n, 0))
    if not sheet.crosstalk_range:
        return layout.around, np.where(layout.around >= 0, sheet.crosstalk, 0.0)
    far = 1.0 - sheet.crosstalk_range * math.log(FAINT)
    rows, n = [], len(layout.column)
    for lo in range(0, n, ROWS):
        here = slice(lo, lo + ROWS)
        share = _arms(layout, here, sheet.crosstalk_range, single) if sheet.crosstalk_arms else None
        distance = _distance(layout, here, layout.top, layout.top)
        near = distance <= far
        near[np.arange(len(near)), np.arange(lo, lo + len(near))] = False
        if share is None:
            share = np.exp((1.0 - distance) / sheet.crosstalk_range)
        rows += [(np.flatnonzero(some), values[some]) for some, values in zip(near, share)]
    wide = max((len(at) for at, _ in rows), default=0)
    around, shares = np.full((n, wide), -1, np.int64), np.zeros((n, wide))
    for i, (at, values) in enumerate(rows):
        around[i, : len(at)], shares[i, : len(at)] = at, values
    return around, sheet.crosstalk * shares


def _distance(layout: Layout, here: slice, to: Array, source: Array) -> Array:
    """Half distances of the arms `to` of the heaters `here` from the arms `source` of all, (rows, n)."""
    across = math.sqrt(3.0) * np.subtract.outer(layout.column[here], layout.column)
    along: Array = np.subtract.outer(to[here], source).astype(float)
    return np.hypot(across, along) / 2.0


def _arms(layout: Layout, here: slice, reach: float, single: bool) -> Array:
    """`law` of heat that reaches arms."""
    top, bottom = layout.top, layout.bottom
    to, source = (bottom != top)[here, None], (bottom != top)[None]

    def kappa(arm: Array, heated: Array) -> Array:
        near: Array = np.exp((1.0 - _distance(layout, here, arm, heated)) / reach)
        return near

    upper = kappa(top, top) - np.where(to, kappa(bottom, top), 0.0)
    if single:
        return upper
    lower = kappa(top, bottom) - np.where(to, kappa(bottom, bottom), 0.0)
    both: Array = np.where(source, 0.5 * (upper - lower), upper)
    return both


def of_pairs(around: Array, shares: Array, spread: float, seeds: Array) -> Array:
    """`shares` (n, W) of the pairs of every mesh (M, n, W), whose own ones differ by `spread`; `seeds` (M,)."""
    n, at = len(around), np.maximum(around, 0)
    out = np.empty((len(seeds), *shares.shape))
    for m, seed in enumerate(seeds):
        rng = generator(int(seed), "pairs")
        for lo in range(0, n, ROWS):
            here = slice(lo, min(lo + ROWS, n))
            draw = rng.uniform(-1.0, 1.0, (here.stop - lo, n))
            out[m, here] = shares[here] * (1.0 + spread * np.take_along_axis(draw, at[here], axis=1))
    return out


class Drive(NamedTuple):
    """What `kernels.chain.warm` takes as `drive`."""

    places: Array
    bend: Array
    once: Array
    twice: Array
    curves: Array
    nominal: Array


class Spread(NamedTuple):
    """What `kernels.chain.warm` takes as `spread`."""

    around: Array
    shares: Array
    die: Array


Warm = tuple[tuple[Array, ...], tuple[Array, ...]]
"""`drive` and `spread` of `kernels.chain.warm`, as plain tuples."""


def nominal(sheet: Nonidealities) -> Array:
    """The curve that commands are meant for: phases, rad, beside that of no drive, evenly over a whole drive."""
    if sheet.drive == "phase":
        return np.array([0.0, math.tau])
    volts = np.linspace(0.0, sheet.v_max, STEPS + 1)
    curve: Array = sheet.phase_of(volts) - sheet.phase_of(0.0)
    return curve


def parameters(
    layout: Layout, fine: Fine, sheet: Nonidealities, dtype: np.dtype, single: bool, curves: Array | None = None
) -> Warm:
    """`drive` and `spread` of `kernels.chain.warm` for heaters of these draws; `curves` (M, n, P + 1) where they have
    their own, left out where all have the nominal one. ChipError for heat on arms without a law of distance."""
    if sheet.crosstalk_arms and not sheet.crosstalk_range and coupled(sheet):
        raise ChipError(
            "nonidealities.crosstalk_arms asks how near an arm is, which needs a crosstalk_range above 0; set one"
        )
    n = len(layout.column)
    shape = fine.bend.shape

    def each(value: Array | float) -> Array:
        out: Array = np.broadcast_to(np.asarray(value, dtype), shape if np.ndim(value) else (1, n)).copy()
        return out

    steps = 2 ** (sheet.phase_bits or 16) - 1
    places = sheet.driver().codes / steps
    bend = sheet.bend + sheet.bend_std * fine.bend if sheet.bend_std else sheet.bend
    psi, e = math.tau * fine.psi, sheet.heater_inl
    around, shares = law(layout, sheet, single)
    own = shares[None]
    if sheet.crosstalk_pairs and coupled(sheet):
        own = of_pairs(around, shares, sheet.crosstalk_pairs, fine.pairs)
    straight = nominal(sheet)
    drive = Drive(
        places.astype(dtype), each(bend), each(e * np.cos(psi) if e else 0.0), each(e * np.sin(psi) if e else 0.0),
        np.asarray(straight[None, None] if curves is None else curves, dtype), straight.astype(dtype),
    )  # fmt: skip
    die = each(sheet.die_heat / math.pi * fine.die if sheet.die_heat else 0.0)
    return tuple(drive), tuple(Spread(around, np.ascontiguousarray(own, dtype), die))


def warmth(phases: Array, chain: Chain, warm: Warm) -> tuple[Array, Array]:
    """Heat and leak of all heaters, (M, n) each, that hold once everything has settled."""
    ratio, fixed, _, _, lsb, levels, thresholds, _, rewrap = chain
    heat, leak = np.empty_like(phases), np.empty_like(phases)
    kernels_of(phases).chain.warm(phases, ratio, fixed, lsb, levels, thresholds, rewrap, *warm, heat, leak)
    return heat, leak


@dataclass
class Rest:
    """What the heaters of a part last held: `heat` and `leak` (M, n) when they were written, at `since` of the clock, s
    (after the light that came then: when they had settled); `lit` whether light has come since."""

    heat: Array
    leak: Array
    since: float
    lit: bool


class Heat:
    """The heaters of a chip's parts where they are not, or not all, those of `kernels.chain`.

    `sizes`: (M, n) of each part. `plain` whether they are the published ones: then nobody asks anything else.
    """

    def __init__(self, seed: int, name: str, sizes: Mapping[str, tuple[int, int]]) -> None:
        self._seed, self._name, self._sizes = seed, name, dict(sizes)
        self._draws: dict[str, Fine] = {}
        self._warm: dict[str, Warm] = {}
        self._rest: dict[str, Rest] = {}
        self.plain = True
        self.lags = False

    def tune(
        self, layout: Layout, sheet: Nonidealities, dtype: np.dtype, single: bool,
        put: Callable[[Array], Array] = np.asarray,
        curves: Mapping[str, Array] | None = None,
    ) -> None:  # fmt: skip
        """Take these parameters; arrays go where `put` takes them. `curves` by part, of heaters that have their own."""
        self._sheet, self.lags = sheet, lags(sheet)
        self.plain, self._warm = published(sheet) and not curves, {}
        if self.plain:
            return
        for part in self._sizes:
            own = (curves or {}).get(part)
            drive, spread = parameters(layout, self.fine(part), sheet, dtype, single, own)
            self._warm[part] = tuple(map(put, drive)), tuple(map(put, spread))

    def fine(self, part: str) -> Fine:
        """The draws of a part."""
        given = self._draws.get(part)
        return fabricate(self._seed, self._name, part, self._sizes[part]) if given is None else given

    @property
    def unfused(self) -> tuple[str, ...]:
        """The fused operations of cores that do not know such heaters."""
        if self.lags:
            return "sweep", "product", "product_back", "sigma_gradient"
        return () if self.plain else ("sweep",)

    def phases(self, part: str, commanded: Array, chain: Chain, clock: float | None = None) -> Array:
        """The phases that light sees, (M, n): of what is `commanded`, with what is left of the last heat at `clock`,
        or once all has settled."""
        heat, leak = self._warmth(part, commanded, chain, clock)
        return heat + leak + chain[2]

    def _warmth(self, part: str, commanded: Array, chain: Chain, clock: float | None) -> tuple[Array, Array]:
        heat, leak = warmth(commanded, chain, self._warm[part])
        rest = self._rest.get(part)
        if self.lags and clock is not None and rest is not None:
            sheet, wait = self._sheet, max(0.0, clock - rest.since)
            kind = heat.dtype.type
            heat += kind(sheet.lag * math.exp(-wait / sheet.lag_seconds)) * (rest.heat - heat)
            leak += kind(sheet.leak_lag * math.exp(-wait / sheet.leak_seconds)) * (rest.leak - leak)
        return heat, leak

    def before(self, part: str, commanded: Array, chain: Chain, meter: Meter) -> None:
        """A part that was `commanded` so is to be written now. What is written twice without light between goes on from
        what there was at the first time."""
        if not self.lags:
            return
        rest, clock = self._rest.get(part), meter.clock
        if rest is not None and not rest.lit:
            rest.since = clock
            return
        self._rest[part] = Rest(*self._warmth(part, commanded, chain, clock), clock, False)

    def lit(self, meter: Meter) -> None:
        """Light was sent, which waited for what had been written."""
        for rest in self._rest.values():
            if not rest.lit:
                rest.since, rest.lit = rest.since + meter.whole.settle_seconds, True

    # -- what is kept --------------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, Array]:
        """The draws in use, as `fabrication.arrays` has them: none of published heaters."""
        return {} if self.plain else arrays_of({part: self.fine(part) for part in self._sizes})

    def become(self, arrays: Mapping[str, Array]) -> None:
        """Take what `arrays` gave. A part of which there is nothing stays as it was drawn."""
        for part in self._sizes:
            if fabrication.drawn(named(part), "bend") in arrays:
                self._draws |= {part: fabrication.replaced({named(part): self.fine(part)}, arrays)[named(part)]}

    def state(self) -> tuple[dict[str, Array], ChipState]:
        """What a checkpoint needs: arrays as PART.KIND, and `heat` of `ChipState`; nothing where nothing lags."""
        arrays = {
            naming.name(part, kind): getattr(rest, kind).copy()
            for part, rest in self._rest.items() for kind in ("heat", "leak")
        }  # fmt: skip
        since = {part: [rest.since, float(rest.lit)] for part, rest in self._rest.items()}
        return arrays, ChipState(heat=since) if since else ChipState()

    def restore(
        self, arrays: Mapping[str, Array], since: Mapping[str, list[float]], put: Callable[[Array], Array]
    ) -> None:
        """Go on from what `state` returned."""
        self._rest = {}
        for part, (clock, lit) in since.items():
            heat, leak = (put(arrays[naming.name(part, kind)]) for kind in ("heat", "leak"))
            self._rest[part] = Rest(heat, leak, clock, bool(lit))


def arrays_of(draws: Mapping[str, Fine]) -> dict[str, Array]:
    """Draws by part as arrays."""
    return fabrication.arrays({named(part): own for part, own in draws.items()})


def of_cores(seed: int, name: str, sizes: Mapping[str, tuple[int, int]]) -> dict[str, Array]:
    """The draws of a grid of cores of the chip `name`; rows are cores."""
    return arrays_of({part: fabricate(seed, name, part, size) for part, size in sizes.items()})


def named(part: str) -> str:
    """The part that the fine draws of a part are among arrays."""
    return f"{part}_heat"
