"""Which couplers make a mesh and which matrix is it: layouts, decompositions, styles. Knows no chip."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.mesh.decomposition import decompose as decompose
    from l2sim.mesh.mesh import Mesh as Mesh
    from l2sim.mesh.orthogonal import Rotations as Rotations
    from l2sim.mesh.unitary import Settings as Settings

__all__ = ["Mesh", "Rotations", "Settings", "decompose"]
__getattr__, __dir__ = lazy(
    __name__, {"Mesh": "mesh", "Rotations": "orthogonal", "Settings": "unitary", "decompose": "decomposition"}
)
