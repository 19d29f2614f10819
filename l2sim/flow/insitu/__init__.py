"""What are the stages of in situ backpropagation: deploy and learn on whole meshes?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.flow.insitu.export import EXPORTER
    from l2sim.flow.insitu.session import Insitu, open_session
    from l2sim.flow.insitu.stages import STAGES

__all__ = [
    "EXPORTER", "STAGES", "Insitu", "open_session",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, {
    "Insitu": "session", "open_session": "session", "STAGES": "stages", "EXPORTER": "export",
})  # fmt: skip
