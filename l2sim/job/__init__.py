"""What is a run asked to do: sections and fields with their ranges, checks, presets, experiments?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.job import presets
    from l2sim.job.flows import FLOWS
    from l2sim.job.job import Job, describe, from_dict, from_toml, load, smoke, to_dict, to_toml, with_overrides
    from l2sim.job.presets import PRESETS, Preset
    from l2sim.job.settings import Declaration

__all__ = [
    "FLOWS", "PRESETS", "Declaration", "Job", "Preset", "describe", "from_dict", "from_toml", "load", "presets",
    "smoke", "to_dict", "to_toml", "with_overrides",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, {
    "Job": "job", "load": "job", "describe": "job", "smoke": "job", "with_overrides": "job", "from_toml": "job",
    "to_toml": "job", "from_dict": "job", "to_dict": "job", "Declaration": "settings", "FLOWS": "flows", "PRESETS":
    "presets", "Preset": "presets", "presets": "presets",
})  # fmt: skip
