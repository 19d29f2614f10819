"""The unit draws of what only some chips have, for whoever makes a core of a grid again."""

from __future__ import annotations

from l2sim.backend import Array
from l2sim.chip import fabrication
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.parts import attenuators, heat, optics
from l2sim.chip.protocol import PARTS
from l2sim.mesh.mesh import Mesh

KEY = fabrication.drawn(heat.named("u"), "bend")
"""One of the names among them."""


def published(sheet: Nonidealities) -> bool:
    """Whether nothing of it acts."""
    return heat.published(sheet) and optics.published(sheet) and sheet.attenuators == "published"


def of_cores(seed: int, name: str, cores: int, mesh: Mesh) -> dict[str, Array]:
    """What the fab did beyond `fabrication.of_cores` to a grid of so many cores of the chip `name`; rows are cores."""
    ends = cores, mesh.modes
    return (
        heat.of_cores(seed, name, {**dict.fromkeys(PARTS, (cores, mesh.count)), "sigma": ends})
        | optics.of_cores(seed, name, (*PARTS, "sigma"), cores)
        | attenuators.of_grid(seed, name, ends)
    )
