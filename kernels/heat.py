"""Heaters as labs have them: what the published chain (`kernels.chain`) leaves out between its steps 2 and 5.

For every heater, a phase q being driven, u = |q| / 2 pi or, of a voltage drive, V / v_max:

    2. converter    u' = u + e (cos psi sin pi u + sin psi sin 2 pi u),   q <- q + curve_i(u') - curve(u)
    3. heater       h = ratio q (1 - bend |q| / 2 pi);  a stuck or dead heater gives its fixed phase instead
    4. heat         leak_i = sum_j K_ij h_j + die_i mean_j h_j,           h mod 2 pi first where heat wraps
    5. bias         phase = h + leak + bias

e is the integral non-linearity in full scales, curve (0, 2 pi) for a drive of phases. `curves` are phases, rad, beside
that at 0 V, at P + 1 voltages that share [0, v_max] evenly; between them they go linearly. Which K: `l2sim.chip.parts.
heat`.

Arrays: phases, heat and leak (M, n) of M meshes; what is the same for all meshes has one row. Units: radians.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from . import threads
from .chain import TAU, below, wrapped


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
def apply_piece(begin, end, phases, ratio, fixed, lsb, levels, thresholds, rewrap, drive, spread, heat, leak):
    """`apply` for the meshes from `begin` to `end`."""
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


def apply(phases, ratio, fixed, lsb, levels, thresholds, rewrap, drive, spread, heat, leak):
    """Heat and leak of all heaters of M meshes, both (M, n), to `heat` and `leak`; the phase is their sum and the bias.

    `ratio` ... `rewrap` as in `chain.apply`. `drive`: places (L + 1,), bend, e cos psi and e sin psi (M, n), curves
    (M, n, P + 1), nominal (P + 1,); `spread`: around (n, W), shares of the heat of these (M, n, W), die (M, n).
    """
    work = (60.0 + 2.0 * spread[0].shape[1]) * phases.size
    threads.share(
        apply_piece, phases.shape[0], work, phases, ratio, fixed, lsb, levels, thresholds, rewrap, drive, spread, heat,
        leak,
    )  # fmt: skip
