"""Reading back: what programmed cores answer, beside what their twins expect of them.

The response of a programmed core shows its error |W' - W|^2 within the noise of the reading, whatever its twin
believes:

    e = |R - W|^2 - k^2 noise^2 / r      of the mean R of r readings, behind what the twin knows of detectors,

with the variance 2 k^2 (noise^2 / r)^2 + 4 |W' - W|^2 noise^2 / r. Where that agrees with what was expected, both
together say more than either; where it does not, the reading counts alone, and the core is not known if its limit is
too high. Where the laser was found unsteady, a reading is scaled to what is
expected first. What readings cannot show is what detectors add to them beyond what the twin has found out.
"""

from __future__ import annotations

import numpy as np

from l2sim.backend import Array, host
from l2sim.chip import grid
from l2sim.chip.protocol import Hardware
from l2sim.learn.search.mapping import Target
from l2sim.learn.twin import around
from l2sim.learn.twin.fit import Twin
from l2sim.learn.twin.model import unsteady
from l2sim.learn.twin.program import BOUND, COARSE, ONE_SIDED, Expected

READINGS = 2
"""Evaluations of every core."""
APART = 4.0
"""Standard deviations between reading and expectation from which on they disagree."""


def read_back(
    hardware: Hardware, twin: Twin, aim: Target, sigma: Array, told: Expected, readout: str = "quadrature",
    bound: float = BOUND,
) -> Expected:  # fmt: skip
    """`told` of a grid that has just been programmed, with commanded `sigma` (p, q, k), put right by `READINGS`
    evaluations; as it was where cores are read by powers, which do not show signs."""
    if readout == "power":
        return told
    k, shape = hardware.mesh.modes, hardware.shape
    gain, made = np.abs(host(sigma)).max(axis=-1).reshape(-1), told.made.reshape(-1, k, k)
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
    rounded, median, limit = (a.reshape(-1) for a in told[1:4])
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
    return Expected(told.made, *(a.reshape(shape) for a in (rounded, best, high, known)))
