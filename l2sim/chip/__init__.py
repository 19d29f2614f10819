"""What does a chip do when it is asked: its imperfections, its cores and meshes, what it reads, costs and drifts by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.chip.complex_core_chip import ComplexChip as ComplexChip
    from l2sim.chip.complex_core_chip import fabricated_as as fabricated_as
    from l2sim.chip.core_chip import CoreChip as CoreChip
    from l2sim.chip.mesh_chip import MeshChip as MeshChip
    from l2sim.chip.meter import Meter as Meter
    from l2sim.chip.nonidealities import PRESETS as PRESETS
    from l2sim.chip.nonidealities import Nonidealities as Nonidealities
    from l2sim.chip.protocol import Hardware as Hardware
    from l2sim.chip.protocol import MeshHardware as MeshHardware
    from l2sim.chip.protocol import SvdHardware as SvdHardware
    from l2sim.chip.recorded import MeshRecorder as MeshRecorder
    from l2sim.chip.recorded import MeshReplay as MeshReplay
    from l2sim.chip.recorded import Recorder as Recorder
    from l2sim.chip.recorded import Replay as Replay
    from l2sim.chip.svd_chip import SvdChip as SvdChip

__all__ = [
    "PRESETS", "ComplexChip", "CoreChip", "Hardware", "MeshChip", "MeshHardware", "MeshRecorder", "MeshReplay", "Meter",
    "Nonidealities", "Recorder", "Replay", "SvdChip", "SvdHardware", "fabricated_as",
]  # fmt: skip
__getattr__, __dir__ = lazy(__name__, {
    "ComplexChip": "complex_core_chip", "CoreChip": "core_chip", "Hardware": "protocol", "MeshChip": "mesh_chip",
    "MeshHardware": "protocol", "MeshRecorder": "recorded", "MeshReplay": "recorded", "Meter": "meter",
    "Nonidealities": "nonidealities", "PRESETS": "nonidealities", "Recorder": "recorded", "Replay": "recorded",
    "SvdChip": "svd_chip", "SvdHardware": "protocol", "fabricated_as": "complex_core_chip",
})  # fmt: skip
