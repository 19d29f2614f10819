"""l2sim: simulate photonic neural chips that calibrate, map and train themselves.

Importing this package is instant: every name below is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2sim._version import __version__

if TYPE_CHECKING:
    from l2sim.chip.chip import Chip
    from l2sim.chip.mesh import Mesh
    from l2sim.nn import models
    from l2sim.run import presets
    from l2sim.run.job import Job

# In a bare checkout `kernels/` lies beside this folder instead of inside it (setup.cfg maps it when installed).
# Appending the checkout's root lets `l2sim.kernels` be found there, so a clone runs with nothing installed.
_root = Path(__file__).resolve().parent.parent
if (_root / "setup.cfg").exists():
    __path__.append(str(_root))

_HOME = {
    "Chip": "l2sim.chip.chip",
    "Mesh": "l2sim.chip.mesh",
    "Job": "l2sim.run.job",
    "models": "l2sim.nn",
    "presets": "l2sim.run",
}

__all__ = ["Chip", "Job", "Mesh", "__version__", "models", "presets", "run"]


def __getattr__(name: str) -> Any:
    if name == "run":
        return importlib.import_module("l2sim.run")
    if name not in _HOME:
        raise AttributeError(f"module 'l2sim' has no attribute {name!r}")
    home = importlib.import_module(_HOME[name])
    return getattr(home, name, None) or importlib.import_module(f"{_HOME[name]}.{name}")
