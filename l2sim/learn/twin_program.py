"""Programming identified cores in closed form: which driven phases give the light the phases that it should see.

With effective phases phi* of U and V* (`l2sim.chip.decompose`) the drive q of a twin solves, modulo 2 pi,

    (I + c N) D q = phi* - b,

by a fixed point, heat being taken modulo 2 pi on the way. What then is left is rounding: the levels of all heaters are
chosen jointly, with sigma free (`kernels.twin.settle`), for errors of one heater can be made good by others.
"""

from __future__ import annotations

import numpy as np

from l2sim.backend import Array, host, kernels
from l2sim.chip.decompose import decompose
from l2sim.chip.mesh import Mesh
from l2sim.chip.protocol import Commands
from l2sim.learn import twin_wide
from l2sim.learn.mapping import Target
from l2sim.learn.twin_fit import Drive, Twin
from l2sim.learn.twin_start import leak
from l2sim.learn.zeroth import PARTS

TURNS = 20
LIVE = 0.3
"""Heater ratio below which a heater counts as one that does not answer."""
MARGIN = 3.0
"""Standard deviations of a ratio that a heater keeps away from a full turn."""
PASSES = 2
TRIES = 3


def solve(mesh: Mesh, drive: Drive, twin: Twin, phases: Array) -> Array:
    """Driven phases (M, 2 n), not yet rounded, at which twins have the effective `phases` (M, 2 n)."""
    wanted, heat = phases - twin.bias, np.zeros_like(phases)
    live = twin.ratio > LIVE
    ratio = np.where(live, twin.ratio, 1.0)
    for _ in range(TURNS):
        fixed = np.where(live, heat, 0.0)
        heat = np.mod(wanted - twin.crosstalk[:, None] * leak(mesh, fixed), 2.0 * np.pi)
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
    edge = 2.0 * np.pi * room / np.maximum(twin.ratio, LIVE)
    return np.minimum(np.searchsorted(drive.levels, edge) - 1, last)


def program(
    mesh: Mesh, drive: Drive, twin: Twin, aim: Target, *, jointly: bool = True, tries: int = TRIES
) -> tuple[Commands, Array, Array]:
    """What to command so that twins show the target: phases and signs, sigma (p, q, k), and the error
    |W(q, sigma) - W|^2 (p, q) that they expect.

    A weight has many decompositions: U P D, D P' S P, P' V* for any order P and signs D of its singular vectors. Some
    need phases that a heater does not reach, between the top of its drive and a full turn. So the cores in the worse
    half are programmed `tries` times more, with other orders and signs, and the best is kept.
    """
    shape, k, n = aim.sigma.shape[:2], mesh.modes, mesh.count
    told = [mesh.gather(host(aim.commands.phases[p])).reshape(-1, n) for p in PARTS]
    ends = [host(aim.commands.signs[p]).reshape(-1, k) for p in PARTS]
    weight = host(aim.weight).reshape(-1, k, k).astype(float)
    sigma = host(aim.sigma).reshape(-1, k)
    best = _settled(mesh, drive, twin, [*told, *ends, sigma], weight, jointly)
    u, s, v = np.linalg.svd(weight)
    for turn in range(1, 1 + tries if jointly and drive.levels.size else 1):
        power = np.maximum((weight**2).sum(axis=(1, 2)), 1e-30)
        some = np.argsort(-best[-1] / power, kind="stable")[: -(-len(power) // 2)]
        order = np.roll(np.arange(k), turn)
        signs = np.where((np.arange(k) * turn) % (turn + 2) < (turn + 2) / 2, 1.0, -1.0)
        parts = u[some][:, :, order] * signs, v[some][:, order] * signs[:, None]
        cut = [decompose(mesh, part) for part in parts]
        form = [mesh.gather(c[0]) for c in cut] + [c[1] for c in cut] + [s[some][:, order]]
        other = _settled(mesh, drive, twin.of(some), form, weight[some], jointly)
        better = other[-1] < best[-1][some]
        for old, new in zip(best, other):
            old[some[better]] = new[better]
    q, signs_u, signs_v, sigma, error = best
    for core in np.flatnonzero(twin.wide) if jointly else ():
        at, own = int(core), (signs_u[core], signs_v[core])
        q[core], sigma[core], error[core] = twin_wide.program(
            mesh, drive, twin, at, q[core], own, sigma[core], weight[core]
        )
    q = drive.command(q)
    phases = {p: mesh.scatter(q[:, i * n : i * n + n]).reshape(*shape, *mesh.shape) for i, p in enumerate(PARTS)}
    told_signs = {p: e.reshape(*shape, k) for p, e in zip(PARTS, (signs_u, signs_v))}
    return Commands(phases, told_signs), sigma.reshape(*shape, k), error.reshape(shape)


def identities(mesh: Mesh, drive: Drive, twin: Twin, shape: tuple[int, int]) -> Commands:
    """Commands at which both meshes of every core (p, q) are identities, each heater at its nearest level."""
    n, q = mesh.count, drive.command(drive.near(solve(mesh, drive, twin, np.zeros_like(twin.bias))))
    phases = {p: mesh.scatter(q[:, i * n : i * n + n]).reshape(*shape, *mesh.shape) for i, p in enumerate(PARTS)}
    return Commands(phases, {part: np.ones((*shape, mesh.modes)) for part in PARTS})


def _settled(
    mesh: Mesh, drive: Drive, twin: Twin, form: list[Array], weight: Array, jointly: bool
) -> tuple[Array, Array, Array, Array, Array]:
    """Drive (M, 2 n), signs of U and V (M, k), sigma (M, k) and error (M,) for one decomposition `form` of weights
    (M, k, k): phases of U and V (M, n), signs of U and V, sigma."""
    from threadpoolctl import threadpool_limits

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
