"""Everything compiled that the panels compute with, on tiny numbers, so that no click waits for a compiler. No Qt."""

from __future__ import annotations

import numpy as np

from l2sim.chip.chip import PARTS, Chip
from l2sim.chip.decompose import decompose
from l2sim.chip.light import MeshChip
from l2sim.chip.mesh import Mesh
from l2sim.chip.nonidealities import Nonidealities

from . import mesh_light, mesh_raster
from .envelope import Smooth
from .mesh_colours import PHASE, paint
from .model import Part


def up() -> None:
    """Compile, or load what this machine has compiled before: a fraction of a second then, else half a minute."""
    mesh = Mesh("rectangular", 4)
    part = Part("", 4, mesh.column, mesh.top, mesh.bottom - mesh.top, True)
    phases = {"theta": np.zeros(mesh.count)}
    mesh_light.matrix(part, phases)
    mesh_light.follow(part, phases, np.ones((4, 1), complex))
    Smooth(0.5).extend(np.ones(3))
    paint(np.zeros(1), PHASE, "dark", np.zeros(1, np.uint32))
    decompose(mesh, np.eye(4))
    mesh_raster.warm()
    MeshChip(mesh, Nonidealities(), seed=0, name="").oracle_matrix()
    chip = Chip((1, 1), mesh, Nonidealities(), seed=0, name="")
    chip.oracle_weights()
    for side in PARTS:
        chip.oracle_matrix(side)
