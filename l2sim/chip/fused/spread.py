"""Descent on GPUs: the cores in batches that fit the memory, dealt out to all GPUs.

A layer's arrays live on the first GPU, or on the host where they do not fit (`home`). A batch on the first GPU works on
the arrays themselves; elsewhere it is a copy, and what changed is copied back.
"""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

import numpy as np

from l2sim.backend import CPU, Array, Device, host, kernels, namespace
from l2sim.chip.fused.descent import RULES, ends
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


def descend(
    device: Device, arrays: dict[str, Array], chain: tuple[object, ...], *, part: str, rule: str, mesh: Mesh,
    order: Array, noise: float,
) -> None:  # fmt: skip
    """As `descent.here`, on GPUs: `arrays` (its `on`) are on the host or on the first GPU, those `UPDATED` change."""
    count = len(arrays["loss"])
    each = max(1, HEADROOM * sum(a.nbytes for a in arrays.values()) // count)
    most = int(min(device.free(number) for number in device.numbers) * ROOM) // each
    for slices in shares(count, most, len(device.numbers)):
        work = []
        for number, at in zip(device.numbers, slices):
            own = {name: a[at] for name, a in arrays.items()}
            with device.on(number):
                there = {name: device.here(a, number) for name, a in own.items()}
                _batch(there, tuple(device.here(a, number) for a in chain), part=part, rule=rule,
                       mesh=mesh, order=order, noise=noise, device=device, number=number)
            work.append((own, there))
        for own, there in work:  # only now, so that one GPU does not wait for another
            for name in UPDATED:
                if there[name] is not own[name]:
                    own[name][...] = host(there[name]) if namespace(own[name]) is np else there[name].copy()


def _batch(
    on: dict[str, Array], chain: tuple[object, ...], *, part: str, rule: str, mesh: Mesh, order: Array, noise: float,
    device: Device, number: int,
) -> None:  # fmt: skip
    """One batch, its arrays on the GPU in use."""
    start, rows, target, amplitudes = ends(on, part, noise)
    kernels.cuda.descent.descend(
        RULES[rule], on["phases"], on["loss"], on["carry"], on["lr"], device.here(order, number),
        (on["ratio"], on["fixed"], on["bias"], *chain), on["flip"], mesh.rail, part == "v",
        start, rows, target, noise > 0.0, amplitudes,
        on["variates"] if noise > 0.0 else device.xp.empty((0, 1, 2), start.dtype), on["writes"],
    )  # fmt: skip
