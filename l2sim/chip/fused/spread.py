"""Descent where a chip computes. On GPUs: the cores in batches that fit the memory, dealt out to all GPUs.

A layer's arrays live on the first GPU, or on the host where they do not fit (`home`). A batch on the first GPU works on
the arrays themselves; elsewhere it is a copy, and what changed is copied back.
"""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

import numpy as np

from l2sim.backend import CPU, Array, Device, host, kernels, namespace
from l2sim.chip.fused.descent import RULES, Sweep, amplitudes, ends, here
from l2sim.mesh.mesh import Mesh

UPDATED = ("phases", "loss", "writes")
"""What descent changes."""
ROOM = 0.8
"""The share of the memory that is planned with, for chips and for a batch of what is free: pools round up."""
HEADROOM = 3
"""Descent needs this many times the bytes of its arrays: what it starts from and aims at is laid out anew."""
STATE = 24
"""Numbers a heater that a chip and its search hold."""
FULL = 1 << 16
"""Cores of a batch beyond which a GPU gains nothing: an H200 has 270,000 threads at once, nine of them a core."""
ARRAYS = 6
"""Numbers a heater of a batch's arrays; beside them three k x k matrices a core."""

_promised: dict[int, WeakKeyDictionary[object, int]] = {}
"""By GPU: bytes promised to every chip that is alive. A chip takes most of its own later, when it is searched."""


def home(device: Device, cores: int, mesh: Mesh, itemsize: int, owner: object) -> Device:
    """Where the arrays of the chip `owner` are to live: on `device` where they fit, beside what was promised to other
    chips and one batch of descent; else on the host, from where they stream through."""
    if not device.numbers:
        return device
    k, number = mesh.modes, device.numbers[0]
    needed = cores * itemsize * (STATE * mesh.count + 8 * k * k)
    batch = HEADROOM * min(cores, FULL) * itemsize * (ARRAYS * mesh.count + 3 * k * k)
    others = _promised.setdefault(number, WeakKeyDictionary())
    if sum(others.values()) + needed + batch > ROOM * device.room() or needed > device.free():
        return CPU
    others[owner] = needed
    return device


def shares(count: int, most: int, ways: int) -> Iterator[list[slice]]:
    """Rounds of up to `ways` slices of `count` things, of nearly equal length and `most` at a time at most."""
    most = max(1, most)
    rounds = max(1, -(-count // (most * ways)))
    ends = [count * i // (rounds * ways) for i in range(rounds * ways + 1)]
    for first in range(0, rounds * ways, ways):
        some = [slice(a, b) for a, b in zip(ends[first : first + ways], ends[first + 1 : first + ways + 1]) if b > a]
        if some:
            yield some


def do(sweeps: list[Sweep]) -> None:
    """Do these epochs of descent; those of equal kind together, as many cores as fill a GPU. A small layer takes as
    long as a large one: what a core does it does one step after the other."""
    waiting: dict[object, list[tuple[Sweep, dict[str, Array]]]] = {}
    for one in sweeps:
        for on in one.batches():
            count = len(on["loss"])
            if not one.device.numbers:
                here(on, one.chain, part=one.part, rule=one.rule, mesh=one.mesh, order=one.order, columns=one.columns,
                     noise=one.noise, both=one.both)  # fmt: skip
            elif one.kind is None or count > FULL // 2:
                descend(one, on, one.order[None])
            else:
                key = one.kind, on["variates"].shape[2] if one.noise > 0.0 else 0
                others = waiting.setdefault(key, [])
                if count + sum(len(other["loss"]) for _, other in others) > FULL:
                    _together(others)
                    others.clear()
                others.append((one, on))
    for others in waiting.values():
        _together(others)


def _together(pieces: list[tuple[Sweep, dict[str, Array]]]) -> None:
    """Batches of sweeps of equal kind in one launch, each core by the order of its own."""
    first, on = pieces[0]
    if len(pieces) == 1:
        descend(first, on, first.order[None])
        return
    xp, counts = first.device.xp, [len(on["loss"]) for _, on in pieces]
    joint = {name: xp.concatenate([on[name] for _, on in pieces]) for name in on}
    orders = xp.repeat(xp.asarray(np.stack([one.order for one, _ in pieces])), counts, axis=0)
    descend(first, joint, orders)
    lo = 0
    for (_, own), count in zip(pieces, counts):
        for name in UPDATED:
            own[name][...] = joint[name][lo : lo + count]
        lo += count


def descend(sweep: Sweep, arrays: dict[str, Array], order: Array) -> None:
    """As `descent.here`, on GPUs: `arrays` (its `on`) are on the host or on the first GPU, those `UPDATED` change.
    `order` (1, n), or (M, n) of every core its own."""
    device, count = sweep.device, len(arrays["loss"])
    each = max(1, HEADROOM * sum(a.nbytes for a in arrays.values()) // max(1, count))
    most = int(min(device.free(number) for number in device.numbers) * ROOM) // each
    for slices in shares(count, most, len(device.numbers)):
        work = []
        for number, at in zip(device.numbers, slices):
            own = {name: a[at] for name, a in arrays.items()}
            with device.on(number):
                there = {name: device.here(a, number) for name, a in own.items()}
                _batch(sweep, there, device.here(order if len(order) == 1 else order[at], number), number)
            work.append((own, there))
        for own, there in work:  # only now, so that one GPU does not wait for another
            for name in UPDATED:
                if there[name] is not own[name]:
                    own[name][...] = host(there[name]) if namespace(own[name]) is np else there[name].copy()


def _batch(sweep: Sweep, on: dict[str, Array], order: Array, number: int) -> None:
    """One batch, its arrays on the GPU in use."""
    device, noise = sweep.device, sweep.noise
    start, rows, target = ends(on, sweep.part)
    chain = (on["ratio"], on["fixed"], on["bias"], *(device.here(a, number) for a in sweep.chain))
    kernels.cuda.descent.descend(
        RULES[sweep.rule], on["phases"], on["loss"], on["carry"], on["lr"], order, chain, on["flip"], sweep.mesh.rail,
        sweep.part == "v", start, rows, target, noise > 0.0, amplitudes(on, noise),
        on["variates"] if noise > 0.0 else device.xp.empty((0, 1, 2), start.dtype), on["writes"],
    )  # fmt: skip
