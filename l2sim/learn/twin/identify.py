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

import numpy as np

from l2sim.backend import Array, Stream, host
from l2sim.chip import grid
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import Hardware, check
from l2sim.errors import ChipError
from l2sim.learn.twin import power, stuck
from l2sim.learn.twin import start as twin_start
from l2sim.learn.twin import wide as twin_wide
from l2sim.learn.twin.fit import STUCK, Drive, Probes, Twin, away, blank, draw, fit
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
    `beside`) with it, and for cores whose residual noise does not explain another walk, up to `retries` times.

    `sheet` is the data sheet; `stream` gives random streams by name; `readout` "quadrature" or "power", which takes six
    evaluations a setting (`twin.power`). `only` the cores of a mask (p, q); of the others nothing is known then. Leaves
    signs at +1, phases and sigma anywhere.
    """
    check(hardware)
    mesh, shape, drive = hardware.mesh, hardware.shape, Drive.of(sheet)
    if mesh.phi:
        raise ChipError("twins do not know cores with phi; search their phases (`l2sim.learn.search`)")
    if mesh.kind != "rectangular" or mesh.inner_signs:
        raise ChipError("twins start in closed form on rectangular meshes only; use chip.mesh = 'rectangular'")
    if readout not in ("quadrature", "power"):
        raise ChipError(f"twins are fitted to quadratures or powers, not to readout {readout!r}; use one of these")
    ones = np.ones((*shape, mesh.modes))
    hardware.set_signs(u=ones, v=ones)
    cores = shape[0] * shape[1]
    twins, lost = blank(cores, mesh), np.arange(cores) if only is None else np.flatnonzero(only)
    probes: Probes | None = None
    extra = mesh.modes + 1 if beside is None else beside
    for turn in range(1 + retries):
        mask = np.zeros(cores, bool)
        mask[lost] = True
        before = hardware.meter.spent(hardware.meter.current).evaluations
        walk = _by_powers if readout == "power" else _by_quadratures
        seen, bias = walk(hardware, drive, sheet, stream(f"probes{turn}"), mask.reshape(shape), 0 if turn else extra)
        spent = hardware.meter.spent(hardware.meter.current).evaluations - before
        twins.evaluations[lost] += spent // max(1, len(lost))
        probes = seen if probes is None else probes.then(seen)
        start = twins.of(lost)
        start.bias, start.ratio[:], start.crosstalk[:] = bias, 1.0, sheet.crosstalk
        again = _fit(mesh, drive, sheet, probes, start, xp=grid.arrays(hardware))
        better = again.identified | (again.misfit < twins.misfit[lost])
        twins.put(lost[better], again.of(better))
        _widen(mesh, drive, sheet, probes, twins, lost)
        still = np.flatnonzero(~twins.identified[lost])
        lost, probes = lost[still], probes.of(still)
        if not len(lost):
            break
    return twins


def track(
    hardware: Hardware, sheet: Nonidealities, known: Twin, drift: float, rng: np.random.Generator, probes: int = 2
) -> Twin:
    """Bring twins up to date whose biases have drifted by about `drift` rad since: `probes` random settings, read by
    quadratures, and what was known before as the prior. Leaves signs at +1, phases and sigma anywhere; a core that
    comes out not identified has moved more than that, and wants `identify`. Passive parts stay."""
    check(hardware)
    mesh, drive = hardware.mesh, Drive.of(sheet)
    ones = np.ones((*hardware.shape, mesh.modes))
    hardware.set_signs(u=ones, v=ones)
    seen = measure(hardware, *draw(drive, mesh, probes, rng))
    twins = fit(mesh, drive, sheet, seen, known, drift, grid.arrays(hardware))
    twins.evaluations += probes
    twins.wide, twins.passive = known.wide.copy(), known.passive.copy()
    return twins


def settings(mesh: Mesh, drive: Drive, rng: np.random.Generator, beside: int) -> tuple[Array, Array]:
    """The walk and `beside` random settings: commands (M, 2 n) and sigma (M, k)."""
    first = draw(drive, mesh, 1, rng)[0][0]
    walk, signs = twin_start.walk(mesh, away(drive, first, 0.5 * np.pi, rng), first)
    others = draw(drive, mesh, beside, rng)
    return np.concatenate((walk, others[0])), np.concatenate((signs, others[1]))


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
    start = blank(len(seen), mesh)
    start.bias, start.crosstalk[:] = begin(mesh, sheet, probes), sheet.crosstalk
    start.evaluations[:] = len(drive)
    twins = _fit(mesh, Drive.of(sheet), sheet, probes, start)
    _widen(mesh, Drive.of(sheet), sheet, probes, twins, np.arange(len(seen)))
    return twins


def _fit(mesh: Mesh, drive: Drive, sheet: Nonidealities, probes: Probes, start: Twin, xp: ModuleType = np) -> Twin:
    """Fitted twins, those with stuck heaters once more (`twin.stuck`) unless the data sheet speaks of splitter errors
    or loss: what these leave unexplained is no sign of stuck heaters."""

    def again(probes: Probes, start: Twin) -> Twin:
        return fit(mesh, drive, sheet, probes, start, xp=xp)

    twins = again(probes, start)
    return stuck.settled(mesh, twins, probes, again) if sheet.real else twins


def _widen(mesh: Mesh, drive: Drive, sheet: Nonidealities, probes: Probes, twins: Twin, cores: Array) -> None:
    """Try the wider model on those of `cores`, which `probes` are of, that are near and not identified.

    Where the data sheet speaks of neither splitter errors nor loss, not by powers, with which a core takes seconds, and
    not where heaters are stuck: with so many unknowns a wrong image of these could pass for the right one.
    """
    worth = ~twins.identified & (twins.misfit < NEAR[probes.power])
    if sheet.real:
        worth &= not probes.power and ~(twins.ratio < STUCK).any(axis=1)
    for at, core in enumerate(cores):
        if worth[core]:
            wide = twin_wide.fit(mesh, drive, sheet, probes.of(np.array([at])), twins, core)
            if wide.identified or wide.misfit < twins.misfit[core] / 2:
                wide.enter(twins, core)


def _by_quadratures(
    hardware: Hardware, drive: Drive, sheet: Nonidealities, rng: np.random.Generator, mask: Array, more: int
) -> tuple[Probes, Array]:
    """A walk and `more` random settings, read by quadratures; and where the fit may start (M, 2 n)."""
    walk = settings(hardware.mesh, drive, rng, more)
    seen = measure(hardware, *walk, None if mask.all() else mask)
    return seen, begin(hardware.mesh, sheet, seen)


def _by_powers(
    hardware: Hardware, drive: Drive, sheet: Nonidealities, rng: np.random.Generator, mask: Array, more: int
) -> tuple[Probes, Array]:
    """A walk and `more` random settings, read by powers; and where the fit may start (M, 2 n)."""
    mesh, k = hardware.mesh, hardware.mesh.modes
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
    return (seen.then(measure(hardware, *draw(drive, mesh, more, rng), cores, sent)) if more else seen), bias
