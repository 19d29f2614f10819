"""What are the stages of L2ight: pretrain, deploy, calibrate, map and learn on grids of tensor cores?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.flow.l2ight.export import EXPORTER
    from l2sim.flow.l2ight.session import L2ight, open_session
    from l2sim.flow.l2ight.stages import STAGES

__all__ = [
    "EXPORTER", "STAGES", "L2ight", "open_session",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, {
    "L2ight": "session", "open_session": "session", "STAGES": "stages", "EXPORTER": "export",
})  # fmt: skip
