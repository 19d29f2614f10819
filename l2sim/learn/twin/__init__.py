"""What is a chip really like, by its readings alone: a model is fitted to them, and phases are computed on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.learn.twin import identify, program
    from l2sim.learn.twin.files import read_responses, read_settings, write_phases, write_responses, write_settings
    from l2sim.learn.twin.fit import Drive, Probes, Twin
    from l2sim.learn.twin.identify import from_responses, settings, track
    from l2sim.learn.twin.whole.fit import MeshTwin

__all__ = [
    "Drive", "MeshTwin", "Probes", "Twin", "from_responses", "identify", "program", "read_responses",
    "read_settings", "settings", "track", "write_phases", "write_responses", "write_settings",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, {
    "Drive": "fit", "MeshTwin": "whole.fit", "Probes": "fit", "Twin": "fit", "from_responses": "identify",
    "read_responses": "files", "read_settings": "files", "settings": "identify", "track": "identify",
    "write_phases": "files", "write_responses": "files", "write_settings": "files", "identify": "identify",
    "program": "program",
})  # fmt: skip
