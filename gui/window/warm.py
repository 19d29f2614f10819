"""Everything compiled that the panels compute with, on tiny numbers, so that no click waits for a compiler. No Qt."""

from __future__ import annotations

import numpy as np

from l2sim.chip.core_chip import CoreChip
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import PARTS
from l2sim.mesh.mesh import Mesh
from l2sim.mesh.orthogonal import decompose

from ..base.model import Part
from ..mesh import light, raster
from ..mesh.colours import PHASE, paint
from ..panels.envelope import Smooth


def up() -> None:
    """Compile, or load what this machine has compiled before, which takes far less time."""
    mesh = Mesh("rectangular", 4)
    part = Part(4, mesh.column, mesh.top, mesh.bottom - mesh.top, True)
    phases = {"theta": np.zeros(mesh.count)}
    light.matrix(part, phases)
    light.follow(part, phases, np.ones((4, 1), complex))
    Smooth(0.5).extend(np.ones(3))
    paint(np.zeros(1), PHASE, "dark", np.zeros(1, np.uint32))
    decompose(mesh, np.eye(4))
    raster.warm()
    MeshChip(mesh, Nonidealities(), seed=0, name="").oracle_matrix()
    chip = CoreChip((1, 1), mesh, Nonidealities(), seed=0, name="")
    chip.oracle_weights()
    for side in PARTS:
        chip.oracle_matrix(side)
