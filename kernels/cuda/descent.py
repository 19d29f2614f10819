"""Coordinate descent over the heaters of one mesh of every core (`kernels.descent`), all cores in one launch.

A core is k threads, and thread j holds column j of P X in its registers: a rotation acts on two numbers of its own, so
that nobody waits. The rotations stand in shared memory as a brick wall of `levels` columns, each rotation as early as
its rails are free on a column of its rail's parity; that is the same product, since rotations of different rails
commute. Bricks that are missing rotate by nothing. Two columns of bricks are k - 1 rotations, one on every pair of
rails: a fixed pattern that the compiler unrolls, so that the column never leaves the registers.

A block is as many warps, four at most, as leave the fewest threads idle (`beside`): at k = 9 seven cores on two of
them, 63 of 64 threads, where three on one would be 27 of 32. More warps would fill them no better, wait longer at
barriers, and share the registers of a multiprocessor among fewer cores. Cores go through the same steps, so that all
threads meet at every barrier, and where a core has nothing to do its threads keep what they had. A wall has an odd
number of places of two numbers each: the cores of a warp then read from banks of their own.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numba import cuda, float32, float64

from .. import descent as cpu
from .chain import couple, drive
from .launch import SHARED_BYTES, SIMULATED, device, entry, run, scratch

WARPS = 4
"""Warps of a block, at most."""
REGISTERS = 32
"""A column of more numbers than this lies in the block's memory."""

reading, even_reading = device(cpu.reading), device(cpu.even_reading)


def wall(rails, k):
    """Where each rotation stands: (slot of every heater (n,), number of slots); slot = pair of columns (k - 1) + rail.

    Columns whose number has the parity of a rail hold its rotation, so a pair of columns has every rail once.
    """
    free = np.zeros(k, np.int64)
    slots = np.empty(rails.size, np.int64)
    for t, r in enumerate(rails.tolist()):
        level = max(free[r], free[r + 1])
        level += (level + r) % 2
        free[r] = free[r + 1] = level + 1
        slots[t] = level // 2 * (k - 1) + r
    return slots, -(-int(free.max(initial=0)) // 2) * (k - 1)


def beside(k):
    """Cores of a block: those that fill the fewest warps; more warps only where they use a twentieth more threads."""
    if k > REGISTERS:
        return 1
    used = {warps: 32 * warps // k * k / (32 * warps) for warps in range(1, WARPS + 1)}
    best = 1
    for warps, share in used.items():
        best = warps if share > 1.05 * used[best] else best
    return 32 * best // k


def in_block(cores, count, k, itemsize):
    """Whether the walls of a block's cores fit into what it shares, beside the columns if they are there; else they lie
    in the device's memory."""
    return (2 * cores * (count | 1) + cores * k + (k * k if k > REGISTERS else 0)) * itemsize <= SHARED_BYTES


@cache
def kernel(rails, k, reverse, noisy, even, dtype):
    """The kernel for one layout, and the number of cores in a block. `rails`: the bytes of the upper rails; `even`: all
    amplitudes of noise are alike, so that no column's own residual is needed."""
    slots, count = wall(np.frombuffer(rails, np.int64), k)
    slots = slots.astype(np.int32)
    real = float32 if dtype == np.float32 else float64
    deep = k > REGISTERS
    cores = min(2, beside(k)) if SIMULATED else beside(k)  # columns that are not in registers belong to one core
    heaters, pairs, sign = len(slots), count // (k - 1), np.dtype(dtype).type(-1 if reverse else 1)
    first, step, early, late = (pairs - 1, -1, 1, 0) if reverse else (0, 1, 0, 1)
    shared = in_block(cores, count, k, np.dtype(dtype).itemsize)
    room = (cores, count | 1, 2) if shared else (1, 1, 1)
    # Numbers that a kernel finds around itself are constants to the compiler.

    @entry
    def descend_cores(
        rule, phases, loss, carry, lr, order, ratio, fixed, bias, around, lsb, levels, thresholds, crosstalk, rewrap,
        flip, start, rows, target, amplitudes, least, dark, variates, writes, every, walls,
    ):
        at, j = cuda.threadIdx.x // k, cuda.threadIdx.x % k
        mine = cuda.blockIdx.x * cores + at
        # Threads without a core of their own follow the last one, and write nothing.
        m = mine if mine < phases.shape[0] else phases.shape[0] - 1
        writer = j == 0 and mine == m
        slot_of = cuda.const.array_like(slots)
        near = cuda.shared.array(room, real)
        spins = near[at] if shared else walls[mine]
        sums = cuda.shared.array((cores, k), real)
        if deep:
            x, mid = cuda.shared.array((k, k), real), j
        else:
            x, mid = cuda.local.array((k, 1), real), 0
        driven, reach, visits = every[mine], around.shape[1] + 1, order[m if order.shape[0] > 1 else 0]

        for h in range(j, heaters, k):
            driven[h] = drive(phases[m, h], ratio[m, h], fixed[m, h], lsb, levels, thresholds, rewrap)
        for s in range(j, count, k):
            spins[s, 0] = real(1.0)
            spins[s, 1] = real(0.0)
        cuda.syncthreads()
        for h in range(j, heaters, k):
            turned = couple(driven, around, h, crosstalk, bias[m, h])
            spins[slot_of[h], 0] = math.cos(turned)
            spins[slot_of[h], 1] = flip[m, h] * math.sin(turned)
        cuda.syncthreads()

        mean = real(1.0) / real(k * k)
        slope, here, plus, total = lr[m], loss[m], real(0.0), real(0.0)
        chosen, took, wrote = real(0.0), False, 0
        # Step -1 reads the state as it is; then `2 + rule` steps a heater: up, down, and for ZTP the one chosen.
        steps = 2 + rule
        for v in range(-1, heaters * steps):
            stage = v % steps if v >= 0 else -1
            i = visits[v // steps if v >= 0 else 0]
            moved = v < 0
            if stage >= 0:
                if stage == 0:
                    stay = phases[m, i]
                    up = stay + slope
                    wanted = up
                elif stage == 1:
                    wanted = up if took else up - real(2.0) * slope
                else:
                    wanted = chosen
                now = drive(wanted, ratio[m, i], fixed[m, i], lsb, levels, thresholds, rewrap)
                moved = now != driven[i]
                cuda.syncthreads()
                if moved and j == 0:
                    driven[i] = now
                cuda.syncthreads()
                if moved:
                    for t in range(j, reach if crosstalk > real(0.0) else 1, k):
                        h = i if t == 0 else around[i, t - 1]
                        if h >= 0:
                            turned = couple(driven, around, h, crosstalk, bias[m, h])
                            spins[slot_of[h], 0] = math.cos(turned)
                            spins[slot_of[h], 1] = flip[m, h] * math.sin(turned)
                cuda.syncthreads()

            if moved and (noisy or stage < 2):
                for r in range(k):
                    x[r, mid] = start[m, r, j]
                for pair in range(pairs):
                    base = (first + step * pair) * (k - 1)
                    for r in range(early, k - 1, 2):
                        c, s = spins[base + r, 0], sign * spins[base + r, 1]
                        a, b = x[r, mid], x[r + 1, mid]
                        x[r, mid] = c * a - s * b
                        x[r + 1, mid] = s * a + c * b
                    for r in range(late, k - 1, 2):
                        c, s = spins[base + r, 0], sign * spins[base + r, 1]
                        a, b = x[r, mid], x[r + 1, mid]
                        x[r, mid] = c * a - s * b
                        x[r + 1, mid] = s * a + c * b
                square = real(0.0)
                for r in range(k):
                    x[r, mid] = rows[m, r] * x[r, mid] - target[m, r, j]
                    square += x[r, mid] * x[r, mid]
                sums[at, j] = square
            cuda.syncthreads()
            if moved:
                total = real(0.0)
                for b in range(k):
                    total += sums[at, b]
            if noisy and reverse and not even:
                # What is read are columns of the core, here the rows of P X: they go over to other threads.
                cuda.syncthreads()
                square = real(0.0)
                for r in range(k):
                    sums[at, j] = x[r, mid] * x[r, mid]
                    cuda.syncthreads()
                    if r == j:
                        for b in range(k):
                            square += sums[at, b]
                    cuda.syncthreads()
                sums[at, j] = square
                cuda.syncthreads()

            if stage == -1:
                if not noisy and not carry[m]:
                    here = total * mean
            elif stage == 0:
                if noisy:
                    drawn = variates[m, v // steps * 2]
                    if even:
                        plus = real(even_reading(total, dark[m], least[m], drawn)) * mean
                    else:
                        plus = real(reading(total, sums[at], amplitudes[m], least[m], drawn)) * mean
                elif moved:
                    plus = total * mean
                else:
                    plus = here
                took = rule == 0 and plus < here
                wrote += 1
            elif stage == 1:
                if noisy:
                    drawn = variates[m, v // steps * 2 + 1]
                    if even:
                        minus = real(even_reading(total, dark[m], least[m], drawn)) * mean
                    else:
                        minus = real(reading(total, sums[at], amplitudes[m], least[m], drawn)) * mean
                elif moved:
                    minus = total * mean
                else:
                    minus = plus
                if not took:
                    wrote += 1
                chosen = wanted
                if rule == 0 or (minus <= here and minus <= plus):
                    here = minus
                else:
                    wrote += 1
                    if here <= plus:
                        chosen = stay
                    else:
                        chosen = up
                        here = plus
                if writer:
                    phases[m, i] = chosen
        if writer:
            loss[m] = here
            writes[m] += wrote

    return descend_cores, cores


def descend(
    rule, phases, loss, carry, lr, order, chain, flip, rails, reverse, start, rows, target, noisy, amplitudes, variates,
    writes,
):
    """As `kernels.descent.descend`; `order` (n,), or (cores, n) of every core its own; `rails` is an array of the host,
    since it chooses the code."""
    cores, k = start.shape[:2]
    layout, even = np.ascontiguousarray(rails).tobytes(), variates.shape[2] == 2
    compiled, side = kernel(layout, k, bool(reverse), bool(noisy), even, phases.dtype.type)
    blocks = -(-cores // side)
    every = scratch(phases, (blocks * side, phases.shape[1]))
    count = wall(rails, k)[1]
    fits = in_block(side, count, k, phases.dtype.itemsize)
    walls = scratch(phases, (1, 1, 1) if fits else (blocks * side, count, 2))
    visits = order if order.ndim == 2 else order[None]
    run(
        compiled, blocks, side * k, rule, phases, loss, carry, lr, visits, *chain, flip, start, rows, target,
        *amplitudes, variates, writes, every, walls,
    )  # fmt: skip
