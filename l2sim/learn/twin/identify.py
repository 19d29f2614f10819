"""Twin calibration: identify every core from a few whole responses, then program it in closed form.

The twin of a core is its noise chain (`kernels.chain`) and its two meshes with the unknowns of this one core: a bias
and a heater ratio gamma'/gamma of each of the 2 n heaters, and the crosstalk. Its settings are known, so the unknowns
follow from the responses by least squares,

    min over (b, gamma, c) of  sum_m |R_m - R(q_m; b, gamma, c)|^2 / sigma^2 + weak priors at the known spreads,

by Levenberg-Marquardt, all cores side by side (`kernels.twin`). Model-based calibration of meshes: arXiv 2508.15741 and
2508.20882. What is ours: the start in closed form that needs no knowledge of the biases (`l2sim.learn.twin.start`),
probes with sigma of +1 and -1 only, which the attenuators realise whatever their heaters do, and the rounding
(`l2sim.learn.twin.program`).

Only public operations of the hardware are used, and all are metered. What is known beside them is the data sheet: the
drive's resolution and the spreads of what is not known (a `Nonidealities`).
"""

from __future__ import annotations

from types import ModuleType

import msgspec
import numpy as np

from l2sim.backend import Array, Stream, host
from l2sim.chip import grid
from l2sim.chip.nonidealities import GAMMA, Nonidealities
from l2sim.chip.protocol import Hardware, check
from l2sim.errors import ChipError
from l2sim.learn.twin import attenuators, power, stuck
from l2sim.learn.twin import noise as noise_of
from l2sim.learn.twin import start as twin_start
from l2sim.learn.twin import wide as twin_wide
from l2sim.learn.twin.fit import STUCK, SURE, Drive, Probes, Twin, away, blank, determined, draw, fit, ratio_std, weigh
from l2sim.learn.twin.noise import Record
from l2sim.mesh.mesh import Mesh

__all__ = [
    "Drive",
    "Probes",
    "Twin",
    "away",
    "blank",
    "draw",
    "fit",
    "from_responses",
    "identify",
    "measure",
    "settings",
    "track",
]

RETRIES = 3
"""Further walks of cores that are not identified yet."""
NEAR = {False: 200.0, True: 2000.0}
"""Misfit, of quadratures or of powers, below which a core is near its right twin, and what is missing is in the model.
Powers are read with light in all inputs, which shows a wrong model more clearly."""


ASKED = 3.0
"""Standard deviations of chi squared, of a core or of the mean of all, from which on a wider model is tried."""
SEVERAL, SURELY = 6, 3
"""Cores whose residuals say together what is to be added, and that need splitters and losses before others begin with
them."""
MANY = 0.05
"""Share of all cores below which those that ask for more do so one by one: some do by chance."""


DOUBT = 1e-3
"""Relative error of responses to come from which on a core takes more settings: half of what a core that is known may
have; the rest is left to rounding and to attenuators."""
ENOUGH, MORE = 64, 1.3
"""Heaters that say how far all spread, and how many times the data sheet's spread that has to be to count."""


def measure(
    hardware: Hardware, drive: Array, sigma: Array, cores: Array | None = None, light: Array | None = None,
    readout: str = "quadrature",
) -> Probes:  # fmt: skip
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
            seen[:, m] = host(grid.respond(hardware, readout, cores=cores))[some]
        else:
            hardware.meter.count(evaluations=len(seen) * -(-light.shape[1] // k))
            wide = np.broadcast_to(light, (*shape, *light.shape))
            seen[:, m] = host(hardware.forward(wide, cores=cores, readout="power"))[some]
    return Probes(drive[None], sigma[None], np.broadcast_to(sent, (len(drive), *sent.shape)), seen, light is not None)


def identify(
    hardware: Hardware,
    sheet: Nonidealities,
    stream: Stream,
    readout: str = "quadrature",
    retries: int = RETRIES,
    beside: int | None = None,
    only: Array | None = None,
) -> Twin:
    """Identify every core of a grid: a walk of 2 k settings that starts the fit (`twin.start`), k + 1 random ones (or
    `beside`) with it, the last of them read again for its noise, k / 2 + 1 that show attenuators. Then, up to `retries`
    times, another walk for cores whose residual noise does not explain, or more random settings where noise leaves
    too much doubt.

    `sheet` is what is believed of the chip; `stream` gives random streams by name; `readout` "quadrature",
    "two_readings" or "power", which takes six evaluations a setting (`twin.power`). `only` the cores of a mask (p, q);
    of the others nothing is known then. Leaves signs at +1, phases and sigma anywhere.
    """
    check(hardware)
    mesh, shape, drive = hardware.mesh, hardware.shape, Drive.of(sheet)
    if mesh.phi:
        raise ChipError("twins do not know cores with phi; search their phases (`l2sim.learn.search`)")
    if mesh.kind != "rectangular" or mesh.inner_signs:
        raise ChipError("twins start in closed form on rectangular meshes only; use chip.mesh = 'rectangular'")
    if readout not in ("quadrature", "two_readings", "power"):
        raise ChipError(f"twins are fitted to quadratures or powers, not to readout {readout!r}; use one of these")
    ones = np.ones((*shape, mesh.modes))
    hardware.set_signs(u=ones, v=ones)
    cores = shape[0] * shape[1]
    twins, lost = blank(cores, mesh), np.arange(cores) if only is None else np.flatnonzero(only)
    known: Record | None = None
    extra = mesh.modes + 1 if beside is None else beside
    for turn in range(1 + retries):
        mask = np.zeros(cores, bool)
        mask[lost] = True
        before = hardware.meter.spent(hardware.meter.current).evaluations
        walk = _by_powers if readout == "power" else _by_quadratures
        if turn and twins.identified[lost].all():  # what is near wants more settings, not another walk
            record, bias = _more(hardware, drive, sheet, stream, turn, mask.reshape(shape), extra, readout), None
        else:
            count = 0 if turn else extra
            record, bias = walk(hardware, drive, sheet, stream, turn, mask.reshape(shape), count, readout)
        spent = hardware.meter.spent(hardware.meter.current).evaluations - before
        twins.evaluations[lost] += spent // max(1, len(lost))
        known = record if known is None else known.then(record)
        start = twins.of(lost)
        if bias is not None:
            start.bias, start.ratio[:], start.crosstalk[:] = bias, 1.0, sheet.crosstalk
        again = explained(mesh, drive, sheet, known, start, xp=grid.arrays(hardware))
        better = again.doubt < twins.doubt[lost]
        twins.put(lost[better], again.of(better))
        still = np.flatnonzero(~twins.identified[lost] | (twins.doubt[lost] > DOUBT))
        lost, known = lost[still], known.of(still)
        if not len(lost):
            break
    return twins


def track(
    hardware: Hardware, sheet: Nonidealities, known: Twin, drift: float, rng: np.random.Generator, probes: int = 2
) -> Twin:
    """Bring twins up to date whose biases have drifted by about `drift` rad since: `probes` random settings, read by
    quadratures, and what was known before as the prior. Leaves signs at +1, phases and sigma anywhere; a core that
    comes out not identified has moved more than that, and wants `identify`. What else a wide twin knows stays."""
    check(hardware)
    mesh, drive = hardware.mesh, Drive.of(sheet)
    ones = np.ones((*hardware.shape, mesh.modes))
    hardware.set_signs(u=ones, v=ones)
    seen = measure(hardware, *draw(drive, mesh, probes, rng))
    level = noise_of.of_twins(known, sheet)
    twins = fit(mesh, drive, sheet, seen, known, drift, grid.arrays(hardware), level)
    for core in np.flatnonzero(known.wide):
        twins.put(np.array([core]), twin_wide.moved(mesh, drive, seen, known, int(core), drift, level))
    twins.evaluations += probes
    return twins


def settings(mesh: Mesh, drive: Drive, rng: np.random.Generator, beside: int, repeats: int = 0) -> tuple[Array, Array]:
    """The walk, `beside` random settings and the last of all once more `repeats` times: commands (M, 2 n) and sigma
    (M, k)."""
    first = draw(drive, mesh, 1, rng)[0][0]
    walk, signs = twin_start.walk(mesh, away(drive, first, 0.5 * np.pi, rng), first)
    others = draw(drive, mesh, beside, rng)
    whole = np.concatenate((walk, others[0])), np.concatenate((signs, others[1]))
    return tuple(np.concatenate((a, *[a[-1:]] * repeats)) for a in whole)  # type: ignore[return-value]


def begin(mesh: Mesh, sheet: Nonidealities, probes: Probes) -> Array:
    """Biases (M, 2 n) to start a fit from, in closed form, by the responses to the walk that `probes` begin with."""
    steps = 2 * twin_start.depth(mesh)
    walk, signs, seen = probes.drive[0, :steps], probes.sigma[0, :steps], probes.seen[:, :steps]
    drive = Drive.of(sheet)
    return drive.centred(twin_start.peel(mesh, drive.driven(walk), signs, seen.astype(float), sheet.crosstalk))


def from_responses(mesh: Mesh, sheet: Nonidealities, settings: tuple[Array, Array], seen: Array) -> Twin:
    """Identify cores from responses (M, settings, k, k) to `settings` that somebody else measured."""
    k = mesh.modes
    drive, sigma = settings
    if seen.ndim != 4 or seen.shape[1:] != (len(drive), k, k):
        need = f"(cores, {len(drive)}, {k}, {k}), one a setting"
        raise ChipError(f"responses of shape {seen.shape} do not fit; need {need}")
    if not np.isfinite(seen).all():
        raise ChipError("some responses are missing or not finite; measure these settings again")
    probes = Probes(drive[None], sigma[None], np.broadcast_to(np.eye(k), seen.shape[1:]), seen.astype(np.float32))
    flat = (np.abs(sigma) == 1.0).all(axis=1)
    base = probes.at(flat)
    start = blank(len(seen), mesh)
    start.bias, start.crosstalk[:] = begin(mesh, sheet, base), sheet.crosstalk
    start.evaluations[:] = len(drive)
    record = Record(base, None if flat.all() else probes.at(~flat), noise_of.measured(base, sheet))
    return explained(mesh, Drive.of(sheet), sheet, record, start)


def explained(
    mesh: Mesh, drive: Drive, sheet: Nonidealities, record: Record, start: Twin, xp: ModuleType = np
) -> Twin:
    """Twins fitted to a record from `start`: those with stuck heaters once more (`twin.stuck`) unless the data sheet
    speaks of splitter errors or loss, for what these leave unexplained is no sign of stuck heaters; then the
    attenuators; and where all that does not explain what was read, the wider model."""

    def again(probes: Probes, start: Twin) -> Twin:
        return fit(mesh, drive, sheet, probes, start, xp=xp, noise=record.noise.level)

    start.open[:] = attenuators.unseen(sheet)[:, None]
    twins = again(record.base, start)
    spread = _ratios(sheet, twins)
    if spread > ratio_std(sheet):  # heaters differ more than the data sheet says
        sheet = msgspec.structs.replace(sheet, gamma_std=min(spread * GAMMA, 0.1))
        twins = again(record.base, twins)
    if sheet.real:
        twins = stuck.settled(mesh, twins, record.base, again)
    if record.beside is not None and not record.base.power:
        with_attenuators(mesh, drive, sheet, record, twins)
    widen(mesh, drive, sheet, record, twins)
    return twins


def _ratios(sheet: Nonidealities, twins: Twin) -> float:
    """How far strengths of heaters spread around one, as all twins together show it; 0 where that is not more than the
    data sheet's spread would let them show."""
    n = twins.ratio.shape[1]
    live = (twins.ratio > STUCK) & (twins.misfit < NEAR[False])[:, None]
    if live.sum() < ENOUGH:
        return 0.0
    shown = np.sqrt(np.mean((twins.ratio[live] - 1.0) ** 2 + twins.spread[:, n : 2 * n][live] ** 2))
    return float(shown) if shown > MORE * ratio_std(sheet) else 0.0


def with_attenuators(mesh: Mesh, drive: Drive, sheet: Nonidealities, record: Record, twins: Twin) -> None:
    """Add to narrow twins what the settings beside say of attenuators, and weigh them by all that was read."""
    base, beside, noise = record.base, record.beside, record.noise
    assert beside is not None
    taken = determined(mesh, drive, sheet, twins)
    left = twins.misfit * np.maximum(1.0, base.seen[0].size - taken)
    shown = attenuators.fitted(mesh, drive, sheet, twins, beside, noise.level)
    twins.attenuators, twins.open = shown.known, shown.spread
    ahead = twin_wide.ahead(mesh, drive, sheet, base, noise, twins)
    total = left + shown.wrong / noise.level**2
    weigh(twins, total, taken + shown.taken, noise.level, record.whole, noise.unsure, ahead)


def widen(mesh: Mesh, drive: Drive, sheet: Nonidealities, record: Record, twins: Twin) -> None:
    """Try the wider model on those that are near and not explained, and on all where they are not so together.

    Where the data sheet speaks of neither splitter errors nor loss, not where heaters are stuck: with so many
    unknowns a wrong image of these could pass for the right one.
    """
    near = twins.misfit < NEAR[record.base.power]
    if sheet.real:
        near &= ~(twins.ratio < STUCK).any(axis=1)
    if not near.any():
        return
    freedom = record.whole.seen[0].size
    chance, unsure = 2.0 / freedom, record.noise.unsure
    worth = near & (twins.misfit > 1.0 + ASKED * np.sqrt(chance + unsure))
    calm = near & (twins.misfit < 1.0 + SURE * np.sqrt(chance + unsure))
    first: dict[str, float] = {}
    if calm.any():
        together = twins.misfit[calm].mean() - 1.0 > ASKED * np.sqrt(chance / calm.sum() + unsure)
        worth |= calm & together
    if worth.sum() >= max(SEVERAL, MANY * len(worth)) and sheet.real:
        some = np.flatnonzero(worth)
        some = some[np.argsort(twins.misfit[some], kind="stable")]
        middle = (len(some) - SEVERAL) // 2
        first = twin_wide.asked(mesh, drive, sheet, record, twins, some[middle : middle + SEVERAL])
    passive, ended = not sheet.real, []
    for core in np.flatnonzero(worth):
        asked = {} if passive else first
        ended.append(twin_wide.enter(mesh, drive, sheet, record, twins, int(core), asked, passive))
        if len(ended) == SURELY and all(ended):
            passive = True


def _by_quadratures(
    hardware: Hardware, drive: Drive, sheet: Nonidealities, stream: Stream, turn: int, mask: Array, more: int,
    readout: str,
) -> tuple[Record, Array]:  # fmt: skip
    """A walk and `more` random settings, read by quadratures; and where the fit may start (M, 2 n)."""
    mesh, cores = hardware.mesh, None if mask.all() else mask
    again = 0 if turn else noise_of.repeats(int(mask.sum()), mesh.modes)
    walk = settings(mesh, drive, stream(f"probes{turn}"), more, again)
    measure(hardware, walk[0][:1], walk[1][:1], cores, readout=readout)  # nobody knows what heat was there before
    seen = measure(hardware, *walk, cores, readout=readout)
    shown = attenuators.settings(mesh, drive, stream(f"attenuators{turn}"))
    beside = None if turn else measure(hardware, *shown, cores, readout=readout)
    return Record(seen, beside, noise_of.measured(seen, sheet)), begin(mesh, sheet, seen)


def _more(
    hardware: Hardware, drive: Drive, sheet: Nonidealities, stream: Stream, turn: int, mask: Array, count: int,
    readout: str,
) -> Record:  # fmt: skip
    """Twice `count` random settings more, and those that show attenuators."""
    mesh, cores, rng = hardware.mesh, None if mask.all() else mask, stream(f"probes{turn}")
    light = power.light(mesh.modes, rng) if readout == "power" else None
    seen = measure(hardware, *draw(drive, mesh, 2 * count, rng), cores, light, readout)
    if readout == "power":
        return Record(seen, None, noise_of.believed(sheet))
    shown = attenuators.settings(mesh, drive, stream(f"attenuators{turn}"))
    return Record(seen, measure(hardware, *shown, cores, readout=readout), noise_of.believed(sheet))


def _by_powers(
    hardware: Hardware, drive: Drive, sheet: Nonidealities, stream: Stream, turn: int, mask: Array, more: int,
    readout: str,
) -> tuple[Record, Array]:  # fmt: skip
    """A walk and `more` random settings, read by powers; and where the fit may start (M, 2 n)."""
    mesh, k, rng = hardware.mesh, hardware.mesh.modes, stream(f"probes{turn}")
    first = draw(drive, mesh, 1, rng)[0][0]
    walk, sigma = power.walk(mesh, away(drive, first, 0.25 * np.pi, rng), first)
    sent, cores = power.light(k, rng), None if mask.all() else mask
    start = measure(hardware, walk[:1], sigma[:1], cores, sent)
    back = power.backward(hardware, cores)
    seen = start.then(measure(hardware, walk[1:], sigma[1:], cores, sent))
    rows = power.signed(power.responses(seen.seen.astype(float), sent), back.astype(float))
    bias = drive.centred(twin_start.peel(mesh, drive.driven(walk), sigma, rows, sheet.crosstalk))
    # The attenuators do not dim exactly, so the last setting is for the start only.
    seen = Probes(seen.drive[:, :-1], seen.sigma[:, :-1], seen.light[:-1], seen.seen[:, :-1], True)
    seen = seen.then(measure(hardware, *draw(drive, mesh, more, rng), cores, sent)) if more else seen
    last = seen.drive[0, -1:], seen.sigma[0, -1:]
    for _ in range(2):
        seen = seen.then(measure(hardware, *last, cores, sent))
    return Record(seen, None, noise_of.measured(seen, sheet)), bias
