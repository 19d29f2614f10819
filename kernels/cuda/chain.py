"""The noise chain (`kernels.chain`): one thread for every heater of every mesh."""

from __future__ import annotations

from numba import cuda

from .. import chain
from .launch import device, entry, scratch, spread

drive = device(chain.drive)
couple = device(chain.couple)


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


def apply(phases, ratio, fixed, bias, around, lsb, levels, thresholds, crosstalk, rewrap, out):
    """As `kernels.chain.apply`."""
    driven = scratch(phases, phases.shape)
    spread(drive_all, phases.size, phases, ratio, fixed, lsb, levels, thresholds, rewrap, driven)
    spread(couple_all, phases.size, driven, around, crosstalk, bias, out)
