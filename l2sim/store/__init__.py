"""What is in a run folder, and how is it written and read?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.store import checkpoint, logs, tensors
    from l2sim.store.events import Changed, Checkpoint, Done, Epoch, Event, Record, StageDone, StageStarted, Step
    from l2sim.store.follow import Curve, Frame, Replay
    from l2sim.store.gather import Material
    from l2sim.store.logs import Logs, Positions
    from l2sim.store.manifest import Manifest, read_manifest
    from l2sim.store.results import Report, StageResult
    from l2sim.store.source import Source, parse

__all__ = [
    "Changed", "Checkpoint", "Curve", "Done", "Epoch", "Event", "Frame", "Logs", "Manifest", "Material", "Positions",
    "Record", "Replay", "Report", "Source", "StageDone", "StageResult", "StageStarted", "Step",
    "checkpoint", "logs", "parse", "read_manifest", "tensors",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, {
    "checkpoint": "checkpoint", "Changed": "events", "Checkpoint": "events", "Done": "events", "Epoch": "events",
    "Event": "events", "Record": "events", "StageDone": "events", "StageStarted": "events", "Step": "events",
    "Curve": "follow", "Frame": "follow", "Replay": "follow",
    "Material": "gather", "Logs": "logs", "Positions": "logs", "logs": "logs", "Manifest": "manifest",
    "read_manifest": "manifest", "Report": "results", "StageResult": "results", "Source": "source", "parse": "source",
    "tensors": "tensors",
})  # fmt: skip
