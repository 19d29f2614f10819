"""Heaters as labs have them (`kernels.heat`), a thread for every heater of every mesh."""

from __future__ import annotations

from numba import cuda

from .. import heat as cpu
from .launch import device, entry, scratch, spread

warmed = device(cpu.warmed)
leaked = device(cpu.leaked)


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


def apply(phases, ratio, fixed, lsb, levels, thresholds, rewrap, drive, spread_, heat, leak):
    """As `kernels.heat.apply`."""
    mean = scratch(phases, (phases.shape[0],))
    spread(warm_all, phases.size, phases, ratio, fixed, lsb, levels, thresholds, rewrap, *drive, heat)
    spread(mean_all, phases.shape[0], heat, mean)
    spread(leak_all, phases.size, heat, *spread_, mean, leak)
