"""Which couplers make a mesh and which matrix is it: layouts, decompositions, styles. Knows no chip."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.mesh.decomposition import decompose as decompose
    from l2sim.mesh.mesh import Mesh as Mesh
    from l2sim.mesh.orthogonal import Rotations as Rotations
    from l2sim.mesh.orthogonal import nearest_orthogonal as nearest_orthogonal
    from l2sim.mesh.unitary import Settings as Settings
    from l2sim.mesh.unitary import nearest_unitary as nearest_unitary

__all__ = ["Mesh", "Rotations", "Settings", "decompose", "nearest_orthogonal", "nearest_unitary"]
__getattr__, __dir__ = lazy(__name__, {
    "Mesh": "mesh", "Rotations": "orthogonal", "Settings": "unitary", "decompose": "decomposition",
    "nearest_orthogonal": "orthogonal", "nearest_unitary": "unitary",
})  # fmt: skip
