"""l2sim: simulate photonic neural chips that calibrate, map and train themselves.

Importing this package is instant: every name below is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2sim._version import __version__

if TYPE_CHECKING:
    import l2sim.job.presets as presets
    import l2sim.nn.models as models
    from l2sim.chip.core_chip import CoreChip
    from l2sim.flow.flow import run
    from l2sim.job.job import Job
    from l2sim.mesh.mesh import Mesh

# In a bare checkout `kernels/` lies beside this folder instead of inside it (setup.cfg maps it when installed).
# Appending the checkout's root lets `l2sim.kernels` be found there, so a clone runs with nothing installed.
_root = Path(__file__).resolve().parent.parent
if (_root / "setup.cfg").exists():
    __path__.append(str(_root))

_CLASSES = {
    "CoreChip": "l2sim.chip.core_chip",
    "Job": "l2sim.job.job",
    "Mesh": "l2sim.mesh.mesh",
    "run": "l2sim.flow.flow",
}
_MODULES = {"models": "l2sim.nn.models", "presets": "l2sim.job.presets"}

__all__ = ["CoreChip", "Job", "Mesh", "__version__", "models", "presets", "run"]


def __getattr__(name: str) -> Any:
    if name in _CLASSES:
        return getattr(importlib.import_module(_CLASSES[name]), name)
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    raise AttributeError(f"module 'l2sim' has no attribute {name!r}")
