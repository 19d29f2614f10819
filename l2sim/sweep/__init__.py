"""How are many jobs, a grid of them, run as one?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.sweep import page, table
    from l2sim.sweep.agenda import Counts, run
    from l2sim.sweep.dask_engine import Dask
    from l2sim.sweep.local import Engine, Local
    from l2sim.sweep.log import Entry, Log
    from l2sim.sweep.plan import Plan, load
    from l2sim.sweep.point import Outcome, Task

__all__ = [
    "Counts", "Dask", "Engine", "Entry", "Local", "Log", "Outcome", "Plan", "Task", "load", "page", "run", "table",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, {
    "Counts": "agenda", "run": "agenda", "Dask": "dask_engine", "Engine": "local", "Local": "local", "Entry": "log",
    "Log": "log", "page": "page", "Plan": "plan", "load": "plan", "Outcome": "point", "Task": "point",
    "table": "table",
})  # fmt: skip
