"""What a job is made of, without data and chips: the grids of cores of its layers, or its whole meshes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from l2sim import naming
from l2sim.job.imperfections import chip_nonidealities
from l2sim.job.job import Job
from l2sim.job.settings import FLOWS
from l2sim.mesh.mesh import Mesh
from l2sim.nn import models


class Grid(NamedTuple):
    """The hardware of one layer: p x q cores of two `mesh`es each, or one whole mesh (`whole`; p = q = 1)."""

    p: int
    q: int
    mesh: Mesh
    whole: bool

    @property
    def k(self) -> int:
        """Modes of a mesh."""
        return self.mesh.modes


def grids(job: Job, shapes: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, Grid]:
    """The grid of every photonic layer by name, in the order of the light.

    `shapes` of the recorded series, where there are any, tell the classes of data that the job does not know.
    """
    made: dict[str, Grid] = {}
    phi = chip_nonidealities(job).phi

    def visit(placed: tuple[models.Placed, ...]) -> None:
        for item in placed:
            visit(item.body)
            visit(item.shortcut)
            if isinstance(item.layer, models.Mesh):
                made[item.name] = Grid(1, 1, Mesh(item.layer.kind, item.layer.modes), True)
            elif isinstance(item.layer, models.Conv | models.Linear):
                k = item.layer.k
                p, q = (-(-features // k) for features in models.matrix_shape(item))
                made[item.name] = Grid(p, q, Mesh(job.chip.mesh, k, phi=phi), False)

    def fitted(name: str, grid: Grid) -> Grid:
        cores = (shapes or {}).get(naming.name(name, "sigma", "commanded"), (grid.p * grid.q,))[0]
        return grid if cores == grid.p * grid.q else grid._replace(p=cores // grid.q)

    visit(models.place(FLOWS[job.flow].model(job)))
    return {name: fitted(name, grid) for name, grid in made.items()}
