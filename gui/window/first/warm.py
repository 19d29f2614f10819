"""Everything compiled that the panels compute with, on tiny numbers, so that no click waits for a compiler. No Qt."""

from __future__ import annotations

import numpy as np

from l2sim.chip.core_chip import CoreChip
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import PARTS
from l2sim.inspect import bench
from l2sim.inspect.bench import CoreBench
from l2sim.mesh.mesh import Mesh
from l2sim.mesh.orthogonal import decompose

from ...base.model import Part
from ...mesh import light, raster
from ...mesh.colours import PHASE, paint
from ...panels.envelope import Smooth


def _part() -> Part:
    mesh = Mesh("rectangular", 4)
    return Part(4, mesh.column, mesh.top, mesh.bottom - mesh.top, True)


def _light() -> None:
    part = _part()
    phases = {"theta": np.zeros(len(part.columns))}
    light.matrix(part, phases)
    light.follow(part, phases, np.ones((4, 1), complex))


def _curves() -> None:
    Smooth(0.5).extend(np.ones(3))


def _picture() -> None:
    paint(np.zeros(1), PHASE, "dark", np.zeros(1, np.uint32))
    raster.warm()


def _meshes() -> None:
    mesh = Mesh("rectangular", 4)
    decompose(mesh, np.eye(4))
    MeshChip(mesh, Nonidealities(), seed=0, name="").oracle_matrix()


def _cores() -> None:
    chip = CoreChip((1, 1), Mesh("rectangular", 4), Nonidealities(), seed=0, name="")
    chip.oracle_weights()
    for side in PARTS:
        chip.oracle_matrix(side)
    phases = np.zeros(chip.mesh.count)
    bench.silent(CoreBench(chip, phases, phases, np.ones(4)))


STEPS = (
    ("the picture of a mesh", _picture),
    ("light in a mesh", _light),
    ("curves", _curves),
    ("whole meshes", _meshes),
    ("cores", _cores),
)  # fmt: skip


def up() -> None:
    """Compile, or load what this machine has compiled before, which takes far less time."""
    for _, compiled in STEPS:
        compiled()
