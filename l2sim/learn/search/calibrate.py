"""Identity calibration: find the phases at which both meshes of every core are identities, up to signs.

From zero commanded phases (with phi, those of an ideal identity) and all signs +1, minimise

    L = mean_ab ((U diag(s) V)_ab / s_b - delta_ab)^2

over all heaters (L2ight, NeurIPS 2021, section 3.2; spec section c). Distinct s_b make U and V separately identities: a
rotation of rails i, j by theta in U that V undoes costs (1 - s_i / s_j)^2 theta^2, so what counts is the smallest ratio
of two s. The published s = linspace(0.1, 1, k) has 1.13 at k = 9; the default here, a geometric series from 0.2 to 1,
has 1.22 everywhere. Measured on 360 cores (k = 9, 400 epochs of ZCD): identity error 0.0073 against 0.0100.
"""

from __future__ import annotations

import numpy as np

from l2sim.backend import Array
from l2sim.chip import grid
from l2sim.chip.protocol import PARTS, Commands, Hardware, check
from l2sim.learn.search.zeroth import Problem, State
from l2sim.mesh import thetaphi

RESTART_ABOVE = 0.09
"""Loss above which an adaptive search starts a core again."""


def problem(
    hardware: Hardware, readout: str = "quadrature", probe: Array | None = None, fresh: bool = True
) -> Problem:
    """Set signs and sigma for calibration and return what is to be minimised. With phi the gain of each core makes up
    for its loss (`grid.amplified`), which the phases would else be bent for;
    where a search goes on, not `fresh`, it stays as it was set.

    `probe` (k,): the distinct sigma to probe with; default: the geometric series from 0.2 to 1.
    """
    check(hardware)
    shape, k = hardware.shape, hardware.mesh.modes
    if probe is None:
        probe = np.geomspace(0.2, 1.0, k)
    xp = grid.arrays(hardware)
    ones, s = xp.ones((*shape, k)), np.broadcast_to(xp.asarray(probe), (*shape, k))
    hardware.set_signs(u=ones, v=ones)
    if fresh or not hardware.mesh.phi:
        hardware.set_sigma(s)
    if fresh and hardware.mesh.phi:
        grid.amplified(hardware, s, readout)
    return Problem(hardware, 1.0 / s, np.broadcast_to(xp.eye(k), (*shape, k, k)), readout)


def zero_phases(hardware: Hardware) -> dict[str, Array]:
    """The phases of both meshes at which ideal ones are identities: zero for every heater, but of cores with phi."""
    xp, mesh = grid.arrays(hardware), hardware.mesh
    phases = {part: xp.zeros((*hardware.shape, *mesh.shape)) for part in PARTS}
    if mesh.phi:
        for a in phases.values():
            a += xp.asarray(thetaphi.identity(mesh))
    return phases


def pseudo_identities(hardware: Hardware, state: State) -> Commands:
    """The commands of the best calibrated state."""
    ones = grid.arrays(hardware).ones((*hardware.shape, hardware.mesh.modes))
    return Commands(state.phases(best=True), dict.fromkeys(PARTS, ones))
