"""The noise chain: from the phases that were commanded to the phases that the light sees.

For every heater, in this order (L2ight, NeurIPS 2021, section 3.2 and its public reference; spec section b):

    1. wrap         phi <- phi mod 2 pi
    2. drive        phi <- LSB * round_half_even(phi / LSB), LSB = 2 pi / (2^b - 1)     quantised in phase, or
                    phi <- levels[number of thresholds below phi]                       quantised in voltage:
                    what is driven beside the phase at 0 V, the turn closed (`Nonidealities.driver`)
    3. heater       phi <- phi * gamma'/gamma;  a stuck or dead heater gives its fixed phase instead
    4. crosstalk    phi <- phi mod 2 pi, then phi_i <- phi_i + c * sum of the up to six neighbouring heaters
    5. bias         phi <- phi + bias, the phase at 0 V of a voltage drive included

Steps 1-3 concern one heater (`drive`), steps 4-5 its neighbourhood (`couple`).

**Heaters as labs have them** (`warm`): a phase q being driven, u = |q| / 2 pi or, of a voltage drive, V / v_max,

    2. converter    u' = u + e (cos psi sin pi u + sin psi sin 2 pi u),   q <- q + curve_i(u') - curve(u)
    3. heater       h = ratio q (1 - bend |q| / 2 pi);  a stuck or dead heater gives its fixed phase instead
    4. heat         leak_i = sum_j K_ij h_j + die_i mean_j h_j,           h mod 2 pi first where heat wraps
    5. bias         phi = h + leak + bias

e is the integral non-linearity in full scales, curve (0, 2 pi) for a drive of phases. `curves` are phases, rad, beside
that at 0 V, at P + 1 voltages that share [0, v_max] evenly; between them they go linearly. Which K: `l2sim.chip.parts.
heat`. What is the same for all meshes has one row.

Arrays: phases (M, n) of M meshes with n heaters in travel order; `around` (n, 6) holds the neighbours' indices, -1 for
none; `fixed` (M, n) is NaN for a healthy heater. Units: radians.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from . import threads

TAU = 2.0 * math.pi


@njit(inline="always", fastmath={"contract"})
def wrapped(x):
    """x modulo 2 pi without a branch, in [0, 2 pi) also where x / 2 pi rounds to a whole number, or x is -1e-17."""
    f = type(x)
    y = x - f(TAU) * np.floor(x * f(1.0 / TAU))
    y = y + f(TAU) if y < f(0.0) else y
    return y - f(TAU) if y >= f(TAU) else y


@njit
def below(thresholds, phase):
    """How many of the ascending `thresholds` are below `phase`; all of them for a NaN (`np.searchsorted`)."""
    lo, hi = 0, thresholds.size
    while lo < hi:
        middle = (lo + hi) // 2
        if phase <= thresholds[middle]:
            hi = middle
        else:
            lo = middle + 1
    return lo


@njit(fastmath={"contract"})
def drive(phase, ratio, fixed, lsb, levels, thresholds, rewrap):
    """Steps 1-3 (and the wrap of step 4) for one heater."""
    phase = wrapped(phase)
    if levels.size > 0:
        phase = levels[below(thresholds, phase)]
    elif lsb > 0.0:
        phase = lsb * np.rint(phase / lsb)
    phase = phase * ratio
    if fixed == fixed:
        phase = fixed
    if rewrap:
        phase = wrapped(phase)
    return phase


@njit
def couple(driven, around, i, crosstalk, bias):
    """Steps 4-5 for heater `i` of one mesh: `driven` (n,) holds every heater after step 3."""
    phase = driven[i]
    if crosstalk > 0.0:
        total = type(phase)(0.0)
        for t in range(around.shape[1]):
            if around[i, t] >= 0:
                total += driven[around[i, t]]
        phase += crosstalk * total
    return phase + bias


@njit(fastmath={"contract"})
def drive_row(phases, ratio, fixed, lsb, levels, thresholds, rewrap, out):
    """`drive` for all heaters of one mesh (n,), one step after the other, so that all but the search vectorise."""
    for i in range(phases.size):
        out[i] = wrapped(phases[i])
    if levels.size > 0:
        for i in range(phases.size):
            out[i] = levels[below(thresholds, out[i])]
    elif lsb > 0.0:
        for i in range(phases.size):
            out[i] = lsb * np.rint(out[i] / lsb)
    for i in range(phases.size):
        value, stuck = out[i] * ratio[i], fixed[i]
        out[i] = stuck if stuck == stuck else value
    if rewrap:
        for i in range(phases.size):
            out[i] = wrapped(out[i])


@njit(cache=True, nogil=True)
def apply_piece(begin, end, phases, ratio, fixed, bias, around, lsb, levels, thresholds, crosstalk, rewrap, out):
    """`apply` for the meshes from `begin` to `end`."""
    n = phases.shape[1]
    driven, leak = np.empty(n + 1, phases.dtype), np.zeros(n, phases.dtype)
    driven[n] = 0.0  # where the -1 of a missing neighbour leads
    beside = np.empty((around.shape[1] if crosstalk > 0.0 else 0, n), np.int64)
    for t in range(beside.shape[0]):
        for i in range(n):
            beside[t, i] = around[i, t] if around[i, t] >= 0 else n
    for m in range(begin, end):
        drive_row(phases[m], ratio[m], fixed[m], lsb, levels, thresholds, rewrap, driven)
        if crosstalk > 0.0:
            leak[:] = 0.0
            for t in range(beside.shape[0]):
                side = beside[t]
                for i in range(n):
                    leak[i] += driven[side[i]]
        row, turn = out[m], bias[m]
        for i in range(n):
            row[i] = driven[i] + crosstalk * leak[i] + turn[i]


def apply(phases, ratio, fixed, bias, around, lsb, levels, thresholds, crosstalk, rewrap, out):
    """Run the whole chain over M meshes. All of (M, n); writes `out`."""
    chain = ratio, fixed, bias, around, lsb, levels, thresholds, crosstalk, rewrap
    threads.share(apply_piece, phases.shape[0], 6.0 * phases.size, phases, *chain, out)


@njit
def along(curve, u):
    """The values `curve` (P + 1,) of places that share [0, 1] evenly, between them linearly, at u."""
    last = curve.size - 1
    x = u * last
    i = int(x)
    i = i if i < last else last - 1
    return curve[i] + (x - i) * (curve[i + 1] - curve[i])


@njit
def warmed(phase, ratio, fixed, lsb, levels, thresholds, rewrap, places, bend, once, twice, curve, nominal):
    """The heat of one heater, steps 1 to 3 and the wrap of step 4. `places` (L + 1,): V / v_max of `levels`; `once` and
    `twice`: e cos psi and e sin psi."""
    f = type(phase)
    phase = wrapped(phase)
    if levels.size > 0:
        code = below(thresholds, phase)
        phase, u = levels[code], places[code]
    else:
        if lsb > f(0.0):
            phase = lsb * np.rint(phase / lsb)
        u = phase * f(1.0 / TAU)
    moved = u + once * f(math.sin(math.pi * u)) + twice * f(math.sin(TAU * u))
    phase += f(along(curve, moved) - along(nominal, u))
    phase = f(phase * ratio * (f(1.0) - bend * abs(phase) * f(1.0 / TAU)))
    if fixed == fixed:
        phase = fixed
    if rewrap:
        phase = wrapped(phase)
    return phase


@njit
def leaked(heat, around, shares, i, die, mean):
    """What reaches heater `i` of a mesh whose heaters have `heat` (n,), `mean` on the average."""
    total = die * mean
    for t in range(around.shape[1]):
        if around[i, t] >= 0:
            total += shares[i, t] * heat[around[i, t]]
    return total


@njit(cache=True, nogil=True)
def warm_piece(begin, end, phases, ratio, fixed, lsb, levels, thresholds, rewrap, drive, spread, heat, leak):
    """`warm` for the meshes from `begin` to `end`."""
    places, bend, once, twice, curves, nominal = drive
    around, shares, die = spread
    n = phases.shape[1]
    for m in range(begin, end):
        share, far = shares[m % shares.shape[0]], die[m % die.shape[0]]
        own = bend[m % bend.shape[0]], once[m % once.shape[0]], twice[m % twice.shape[0]], curves[m % curves.shape[0]]
        total = 0.0
        for i in range(n):
            heat[m, i] = warmed(
                phases[m, i], ratio[m, i], fixed[m, i], lsb, levels, thresholds, rewrap, places, own[0][i], own[1][i],
                own[2][i], own[3][i % curves.shape[1]], nominal,
            )  # fmt: skip
            total += heat[m, i]
        mean = phases.dtype.type(total / n)
        for i in range(n):
            leak[m, i] = leaked(heat[m], around, share, i, far[i], mean)


def warm(phases, ratio, fixed, lsb, levels, thresholds, rewrap, drive, spread, heat, leak):
    """Heat and leak of all heaters of M meshes, both (M, n), to `heat` and `leak`; the phase is their sum and the bias.

    `ratio` ... `rewrap` as in `apply`. `drive`: places (L + 1,), bend, e cos psi and e sin psi (M, n), curves
    (M, n, P + 1), nominal (P + 1,); `spread`: around (n, W), shares of the heat of these (M, n, W), die (M, n).
    """
    work = (60.0 + 2.0 * spread[0].shape[1]) * phases.size
    threads.share(
        warm_piece, phases.shape[0], work, phases, ratio, fixed, lsb, levels, thresholds, rewrap, drive, spread, heat,
        leak,
    )  # fmt: skip
