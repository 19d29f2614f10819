"""The noise chain (`kernels.chain`), a thread for every heater of every mesh; attenuators, a thread for every core."""

from __future__ import annotations

import math

from numba import cuda, float64

from .. import chain
from . import scalars
from .launch import device, entry, scratch, spread

drive = device(chain.drive)
couple = device(chain.couple)
warmed = device(chain.warmed)
leaked = device(chain.leaked)


@entry
def drive_all(phases, ratio, fixed, lsb, levels, thresholds, rewrap, out):
    """What every heater is driven to, `out` (M, n): steps 1 to 3 of the chain."""
    n = phases.shape[1]
    for index in range(cuda.grid(1), phases.shape[0] * n, cuda.gridsize(1)):
        m, i = index // n, index % n
        out[m, i] = drive(phases[m, i], ratio[m, i], fixed[m, i], lsb, levels, thresholds, rewrap)


@entry
def couple_all(driven, around, crosstalk, bias, out):
    """What the light sees of every heater, `out` (M, n): steps 4 and 5 of the chain."""
    n = driven.shape[1]
    for index in range(cuda.grid(1), driven.shape[0] * n, cuda.gridsize(1)):
        m, i = index // n, index % n
        out[m, i] = couple(driven[m], around, i, crosstalk, bias[m, i])


@entry
def attenuate_all(wanted, ratio, tilt, lsb, exact, sigma, out, gain, tally):
    """The loop of `attenuate`: a thread for every core."""
    real, k = sigma.dtype.type, sigma.shape[1]
    for m in range(cuda.grid(1), sigma.shape[0], cuda.gridsize(1)):
        changed, odd, turned, most = 0, 0, 0, real(0.0)
        for i in range(k):
            value = wanted[m, i]
            changed += value != sigma[m, i]
            odd += not (abs(value) < math.inf)
            turned += value != real(1.0)
            sigma[m, i] = value
            most = abs(value) if abs(value) > most else most
        gain[m, 0] = most
        for i in range(k):
            if odd > 0 or exact:  # what is not finite is told, and stays
                out[m, i] = wanted[m, i]
                continue
            share = wanted[m, i] / (most if most > real(0.0) else real(1.0))
            phase = real(math.acos(share))
            if lsb > real(0.0):
                phase = real(scalars.rint(real(phase / lsb)) * lsb)
            phase = real(float64(phase) * ratio[m, i])
            if tilt.shape[0] > 0:
                phase = real(float64(phase) + tilt[m, i])
            out[m, i] = real(math.cos(phase)) * most
        cuda.atomic.add(tally, 0, changed)
        cuda.atomic.add(tally, 1, odd)
        cuda.atomic.add(tally, 2, turned)


def attenuate(wanted, ratio, tilt, lsb, exact, sigma, out, gain, tally):
    """`attenuators.of_cores` of `wanted` (M, k), which becomes `sigma`: what is realised to `out`, the gain (M, 1);
    `tilt` (M, k) are the offsets, of no rows where there are none. Added to `tally` (3,): how many of sigma changed,
    are not finite, and are not one."""
    spread(attenuate_all, len(sigma), wanted, ratio, tilt, lsb, exact, sigma, out, gain, tally)


def apply(phases, ratio, fixed, bias, around, lsb, levels, thresholds, crosstalk, rewrap, out):
    """As `kernels.chain.apply`."""
    driven = scratch(phases, phases.shape)
    spread(drive_all, phases.size, phases, ratio, fixed, lsb, levels, thresholds, rewrap, driven)
    spread(couple_all, phases.size, driven, around, crosstalk, bias, out)


@entry
def warm_all(
    phases, ratio, fixed, lsb, levels, thresholds, rewrap, places, bend, once, twice, curves, nominal, heat
):
    """The heat of every heater, `heat` (M, n)."""
    n = phases.shape[1]
    for index in range(cuda.grid(1), phases.shape[0] * n, cuda.gridsize(1)):
        m, i = index // n, index % n
        heat[m, i] = warmed(
            phases[m, i], ratio[m, i], fixed[m, i], lsb, levels, thresholds, rewrap, places,
            bend[m % bend.shape[0], i], once[m % once.shape[0], i], twice[m % twice.shape[0], i],
            curves[m % curves.shape[0], i % curves.shape[1]], nominal,
        )  # fmt: skip


@entry
def mean_all(heat, mean):
    """The mean of every mesh, `mean` (M,)."""
    for m in range(cuda.grid(1), heat.shape[0], cuda.gridsize(1)):
        total = 0.0
        for i in range(heat.shape[1]):
            total += heat[m, i]
        mean[m] = total / heat.shape[1]


@entry
def leak_all(heat, around, shares, die, mean, leak):
    """What reaches every heater from the others, `leak` (M, n)."""
    n = heat.shape[1]
    for index in range(cuda.grid(1), heat.shape[0] * n, cuda.gridsize(1)):
        m, i = index // n, index % n
        leak[m, i] = leaked(heat[m], around, shares[m % shares.shape[0]], i, die[m % die.shape[0], i], mean[m])


def warm(phases, ratio, fixed, lsb, levels, thresholds, rewrap, drive, spread_, heat, leak):
    """As `kernels.chain.warm`."""
    mean = scratch(phases, (phases.shape[0],))
    spread(warm_all, phases.size, phases, ratio, fixed, lsb, levels, thresholds, rewrap, *drive, heat)
    spread(mean_all, phases.shape[0], heat, mean)
    spread(leak_all, phases.size, heat, *spread_, mean, leak)
