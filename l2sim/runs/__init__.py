"""How is a job run, and who watches while it runs?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.runs import execute
    from l2sim.runs.console import screen, summary, watch
    from l2sim.runs.live import Live
    from l2sim.runs.live_reader import Reader, pictures
    from l2sim.runs.track import follow, readers
    from l2sim.runs.trackers import Row, Run, Sink

__all__ = [
    "Live", "Reader", "Row", "Run", "Sink", "execute", "follow", "pictures", "readers", "screen", "summary", "watch",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, {
    "screen": "console", "summary": "console", "watch": "console", "execute": "execute", "Live": "live",
    "Reader": "live_reader", "pictures": "live_reader", "follow": "track", "readers": "track", "Row": "trackers",
    "Run": "trackers", "Sink": "trackers",
})  # fmt: skip
