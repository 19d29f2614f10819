"""What happens to a chip, stage by stage, from fabrication to a trained network?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.flow import export, oracle, training
    from l2sim.flow.control import Control
    from l2sim.flow.flow import run
    from l2sim.flow.pretrained import load_weights
    from l2sim.flow.registry import FLOWS, Flow, register
    from l2sim.flow.session import Session

__all__ = [
    "FLOWS", "Control", "Flow", "Session", "export", "load_weights", "oracle", "register", "run", "training",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, {
    "run": "flow", "FLOWS": "registry", "Flow": "registry", "register": "registry", "Session": "session", "Control":
    "control", "load_weights": "pretrained", "export": "export", "training": "training", "oracle": "oracle",
})  # fmt: skip
