"""Programming identified cores in closed form: which driven phases give the light the phases that it should see.

With effective phases phi* of U and V* (`l2sim.mesh.orthogonal`) the drive q of a twin solves, modulo 2 pi,

    (I + c N) D q = phi* - b,

by a fixed point, heat being taken modulo 2 pi on the way. What then is left is rounding: the levels of all heaters are
chosen jointly, with sigma free (`kernels.twin.settle`), for errors of one heater can be made good by others.

**Reading back.** What programmed cores answer, beside what their twins expect of them.
The response of a programmed core shows its error |W' - W|^2 within the noise of the reading, whatever its twin
believes:

    e = |R - W|^2 - k^2 noise^2 / r      of the mean R of r readings, behind what the twin knows of detectors,

with the variance 2 k^2 (noise^2 / r)^2 + 4 |W' - W|^2 noise^2 / r. Where that agrees with what was expected, both
together say more than either; where it does not, the reading counts alone, and the core is not known if its limit is
too high. Where the laser was found unsteady, a reading is scaled to what is
expected first. What readings cannot show is what detectors add to them beyond what the twin has found out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from l2sim.backend import Array, host, kernels
from l2sim.chip import grid
from l2sim.chip.protocol import PARTS, Commands, Hardware
from l2sim.given import wrapped
from l2sim.learn.search.mapping import Target
from l2sim.learn.twin import around, attenuators
from l2sim.learn.twin.fit import STUCK, Drive, Twin
from l2sim.learn.twin.model import unsteady
from l2sim.learn.twin.start import leak
from l2sim.mesh.mesh import Mesh
from l2sim.mesh.orthogonal import decompose

TURNS = 20
MARGIN = 3.0
"""Standard deviations of a ratio that a heater keeps away from a full turn."""
PASSES = 2
TRIES = 3
AROUND = 8
READINGS = 2
"""Evaluations of every core that is read back."""
APART = 4.0
"""Standard deviations between reading and expectation from which on they disagree."""
BOUND = 3e-3
"""Relative error of a core below which it is known well enough."""
COARSE = 2.0
"""Where levels are few, so many times what rounding leaves is well enough."""
ONE_SIDED = 1.645
"""Standard deviations above the mean below which 95 of 100 normal numbers are."""
GOOD = 5e-4
"""Error, relative to the weight's power, about what levels leave of a healthy core: no need to look further."""


def solve(mesh: Mesh, drive: Drive, twin: Twin, phases: Array) -> Array:
    """Driven phases (M, 2 n), not yet rounded, at which twins have the effective `phases` (M, 2 n)."""
    wanted, heat = phases - twin.bias, np.zeros_like(phases)
    live = twin.ratio > STUCK
    ratio = np.where(live, twin.ratio, 1.0)
    for _ in range(TURNS):
        fixed = np.where(live, heat, 0.0)
        heat = wrapped(wanted - twin.crosstalk[:, None] * leak(mesh, fixed))
    q = np.where(live, heat / ratio, 0.0)
    over = q > drive.top  # between the top of the drive and a full turn: to the nearer end
    return np.where(over, np.where(q - drive.top < 2.0 * np.pi / ratio - q, drive.top, 0.0), q)


def highest(drive: Drive, twin: Twin) -> Array:
    """The highest level of each heater (M, 2 n) that is surely below the full turn at which heat starts again: on
    which side of it a heater is decides what leaks to its neighbours."""
    last = len(drive.levels) - 1
    if not drive.rewrap:
        return np.full(twin.ratio.shape, last)
    room = 1.0 - MARGIN * twin.spread[:, twin.ratio.shape[1] : -1]
    edge = 2.0 * np.pi * room / np.maximum(twin.ratio, STUCK)
    return np.minimum(np.searchsorted(drive.levels, edge) - 1, last)


class Expected(NamedTuple):
    """What programming leaves, (p, q): the error `rounded` = |W' - W|^2 of what the twin says is realised; `median` and
    `limit` of the relative error |W' - W|^2 / |W'|^2 of the core itself, which is below the limit in 95 of 100 cores;
    and whether that makes the core `known`. `made` (p, q, k, k): that W'."""

    made: Array
    rounded: Array
    median: Array
    limit: Array
    known: Array


def program(
    mesh: Mesh, drive: Drive, twin: Twin, aim: Target, *, jointly: bool = True, tries: int = TRIES,
    bound: float = BOUND,
) -> tuple[Commands, Array, Expected]:  # fmt: skip
    """What to command so that twins show the target: phases and signs, sigma (p, q, k), and what to expect of it. A
    core is known where the limit of that is below `bound`.

    A weight has many decompositions: U P D, D P' S P, P' V* for any order P and signs D of its singular vectors. Some
    need phases that a heater does not reach, between the top of its drive and a full turn. So the cores in the worse
    half are programmed `tries` times more, with other orders and signs, and the best is kept; those with stuck heaters
    up to `AROUND` times.
    """
    shape, k, n = aim.sigma.shape[:2], mesh.modes, mesh.count
    phases = [mesh.gather(host(aim.commands.phases[p])).reshape(-1, n) for p in PARTS]
    ends = [host(aim.commands.signs[p]).reshape(-1, k) for p in PARTS]
    weight = host(aim.weight).reshape(-1, k, k).astype(float)
    sigma = host(aim.sigma).reshape(-1, k)
    best = _settled(mesh, drive, twin, [*phases, *ends, sigma], weight, jointly)
    power = np.maximum((weight**2).sum(axis=(1, 2)), 1e-30)
    cut = np.linalg.svd(weight)
    for turn in range(1, 1 + tries if jointly and drive.levels.size else 1):
        some = np.argsort(-best[-1] / power, kind="stable")[: -(-len(power) // 2)]
        form = _form(mesh, [part[some] for part in cut], turn)
        other = _settled(mesh, drive, twin.of(some), form, weight[some], jointly)
        better = other[-1] < best[-1][some]
        for old, new in zip(best, other):
            old[some[better]] = new[better]
    for core in np.flatnonzero(twin.wide | (twin.ratio < STUCK).any(axis=1)) if jointly else ():
        one = np.arange(core, core + 1)
        rows = [part[core : core + 1] for part in best]  # views, so that they are filled
        _around(mesh, drive, twin.of(one), rows, [part[one] for part in cut], weight[one])
    q, signs_u, signs_v, sigma, _ = best
    sigma = attenuators.command(drive, twin.attenuators, sigma)
    made = realised(mesh, drive, twin, q, (signs_u, signs_v), sigma)
    signs = {part: a.reshape(*shape, k) for part, a in zip(PARTS, (signs_u, signs_v))}
    commands = Commands(_scattered(mesh, drive.command(q), shape), signs)
    rest = expected(twin, made, weight, attenuators.unsure(drive, twin.attenuators, twin.open, sigma), bound)
    return commands, sigma.reshape(*shape, k), Expected(*(a.reshape(*shape, *a.shape[1:]) for a in rest))


def realised(
    mesh: Mesh, drive: Drive, twin: Twin, q: Array, signs: tuple[Array, Array], sigma: Array
) -> Array:
    """The weights (M, k, k) of twins at driven phases (M, 2 n), signs of U and V (M, k), and commanded sigma (M, k)."""
    share = attenuators.shares(drive, twin.attenuators, sigma[:, None])[:, 0] if not drive.exact_sigma else sigma
    u, v = (a[:, 0] for a in attenuators.matrices(mesh, drive, twin, q[:, None]))
    made: Array = signs[0][:, :, None] * np.matmul(u * (share * signs[1])[:, None, :], v)
    for core in np.flatnonzero(twin.wide):
        one = np.arange(core, core + 1)
        made[core] = around.weight_of(mesh, drive, twin.of(one), q[core], [s[core] for s in signs], share[core])
    return made


def expected(twin: Twin, made: Array, weight: Array, shutters: Array, bound: float) -> Expected:
    """What to expect of cores (M,) that should be `weight` and are `made` as far as their twins know, and whose
    attenuators have the mean squared error `shutters` (M,).

    What is not known, with the mean square `doubt`, adds to the known rest in a direction of its own among k k, of
    which about half count: the square of the sum has the mean of both and, beside the doubt's own, the variance of
    twice their product.
    """
    size = weight[0].size
    power = (made**2).sum(axis=(1, 2))
    rounded = ((made - weight) ** 2).sum(axis=(1, 2))
    share = np.where(power > 0.0, rounded / np.where(power > 0.0, power, 1.0), 0.0)
    apart = np.where(power > 0.0, shutters / np.where(power > 0.0, power, 1.0), 0.0)
    unknown = np.where(power > 0.0, twin.doubt + apart, 0.0)
    few = 2.0 * apart**2 / len(weight[0])
    std = np.sqrt(8.0 * share * unknown / size + few + np.where(power > 0.0, twin.doubt_std, 0.0) ** 2)
    limit = share + unknown + ONE_SIDED * std
    return Expected(made, rounded, share + unknown, limit, limit < np.maximum(bound, COARSE * share))


def identities(mesh: Mesh, drive: Drive, twin: Twin, shape: tuple[int, int]) -> Commands:
    """Commands at which both meshes of every core (p, q) are identities, each heater at its nearest level."""
    q = drive.command(drive.near(solve(mesh, drive, twin, np.zeros_like(twin.bias))))
    return Commands(_scattered(mesh, q, shape), {part: np.ones((*shape, mesh.modes)) for part in PARTS})


def _scattered(mesh: Mesh, q: Array, shape: tuple[int, ...]) -> dict[str, Array]:
    """Phases (M, 2 n) in travel order as the hardware takes them, (p, q, C, k - 1) of each mesh."""
    halves = zip(PARTS, np.split(q, 2, axis=1))
    return {part: mesh.scatter(half).reshape(*shape, *mesh.shape) for part, half in halves}


def _form(mesh: Mesh, cut: Sequence[Array], turn: int) -> list[Array]:
    """The decomposition of weights (M, k, k) that is `turn` orders and signs further on, from `cut`, that of `svd`:
    phases of U and V (M, n), signs of U and V (M, k), sigma (M, k)."""
    u, s, v = cut
    at = np.arange(mesh.modes)
    order = np.roll(at, turn)
    signs = np.where((at * turn) % (turn + 2) < (turn + 2) / 2, 1.0, -1.0)
    (u, ends_u), (v, ends_v) = (decompose(mesh, a) for a in (u[:, :, order] * signs, v[:, order] * signs[:, None]))
    return [mesh.gather(u), mesh.gather(v), ends_u, ends_v, s[:, order]]


def _around(mesh: Mesh, drive: Drive, twin: Twin, best: list[Array], cut: Sequence[Array], weight: Array) -> None:
    """Program one core, of wide twins or with stuck heaters, from what `_settled` left in `best` (1, ...) of it: around
    what is stuck, some decompositions lead further than others."""
    start, lowest, tops = best[:3], np.inf, highest(drive, twin)[0]
    for turn in range(1 + AROUND * bool((twin.ratio < STUCK).any())):
        if turn:
            form = _form(mesh, cut, turn)
            start = [solve(mesh, drive, twin, np.concatenate(form[:2], axis=1)), *form[2:4]]
        q, *signs = (part[0].astype(float) for part in start)
        q, sigma, error = around.program(mesh, drive, twin, q, signs, weight[0], tops)
        if error < lowest:
            lowest = error
            for part, new in zip(best, (q, *signs, sigma, error)):
                part[0] = new
        if lowest < GOOD * (weight**2).sum():
            break


def _settled(
    mesh: Mesh, drive: Drive, twin: Twin, form: list[Array], weight: Array, jointly: bool
) -> tuple[Array, Array, Array, Array, Array]:
    """Drive (M, 2 n), signs of U and V (M, k), sigma (M, k) and error (M,) for one decomposition `form` of weights
    (M, k, k): phases of U and V (M, n), signs of U and V, sigma."""
    from threadpoolctl import threadpool_limits  # late: only programming needs it

    phases_u, phases_v, *rest = (np.array(a, float, order="C") for a in form)
    signs_u, signs_v, sigma = rest
    q, error = solve(mesh, drive, twin, np.concatenate((phases_u, phases_v), axis=1)), np.empty(len(weight))
    levels, tops = drive.levels if jointly else np.empty(0), highest(drive, twin)
    if not jointly:
        q = drive.near(q)
    with threadpool_limits(1, user_api="blas"):  # cores are dealt over the threads
        for turn in range(PASSES if levels.size else 1):
            kernels.twin.settle(
                q, signs_u, signs_v, sigma, weight, twin.ratio, twin.bias, twin.crosstalk, mesh.around, drive.rewrap,
                mesh.rail, levels, tops, turn == 0, error,
            )  # fmt: skip
    return q, signs_u, signs_v, sigma, error


def read_back(
    hardware: Hardware, twin: Twin, aim: Target, sigma: Array, said: Expected, readout: str = "quadrature",
    bound: float = BOUND,
) -> Expected:  # fmt: skip
    """`said` of a grid that has just been programmed, with commanded `sigma` (p, q, k), put right by `READINGS`
    evaluations; as it was where cores are read by powers, which do not show signs."""
    if readout == "power":
        return said
    k, shape = hardware.mesh.modes, hardware.shape
    gain, made = np.abs(host(sigma)).max(axis=-1).reshape(-1), said.made.reshape(-1, k, k)
    steady = unsteady(hardware.mesh, twin) == 0.0
    reads = []
    for _ in range(READINGS):
        read = host(grid.respond(hardware, readout)).real.astype(float).reshape(-1, k, k)
        read = around.behind_ports(hardware.mesh, twin, read, gain)
        size = (made**2).sum(axis=(1, 2))
        bright = np.where(steady | (size == 0.0), 1.0, (read * made).sum(axis=(1, 2)) / np.where(size > 0.0, size, 1.0))
        reads.append(read / np.where(bright > 0.5, bright, 1.0)[:, None, None])
    seen = np.mean(reads, axis=0)
    weight = host(aim.weight).reshape(-1, k, k).astype(float)
    each = (twin.noise * gain) ** 2 / READINGS
    rounded, median, limit = (a.reshape(-1) for a in said[1:4])
    power = np.where(median > 0.0, rounded + (weight**2).sum(axis=(1, 2)), np.inf)
    off = ((seen - weight) ** 2).sum(axis=(1, 2)) - k * k * each
    error = off / power
    before = (limit - median) / ONE_SIDED
    wide = np.maximum(np.maximum(error, median) * power, 0.0)
    now = np.sqrt(2.0 * (k * each) ** 2 + 4.0 * wide * each) / power
    with np.errstate(invalid="ignore", over="ignore"):
        agree = np.abs(error - median) < APART * np.hypot(before, now)
        share = np.where(agree, now**2 / np.maximum(before**2 + now**2, 1e-300), 0.0)
        best = np.maximum(np.where(share > 0.0, share * median, 0.0) + (1.0 - share) * error, 0.0)
        std = np.where(share > 0.0, np.sqrt(share) * before, now)
    high = best + ONE_SIDED * std
    known = high < np.maximum(bound, COARSE * rounded / power)
    return Expected(said.made, *(a.reshape(shape) for a in (rounded, best, high, known)))
