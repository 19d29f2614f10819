"""How is a bank of cores calibrated and mapped that is larger than memory? In chunks, each a chip of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.sweep.bank.cutting import Matrix
    from l2sim.sweep.bank.plan import Bank, planned
    from l2sim.sweep.bank.running import run
    from l2sim.sweep.bank.summary import Summary, summarise

__all__ = ["Bank", "Matrix", "Summary", "planned", "run", "summarise"]

__getattr__, __dir__ = lazy(__name__, {
    "Matrix": "cutting", "Bank": "plan", "planned": "plan", "run": "running", "Summary": "summary",
    "summarise": "summary",
})  # fmt: skip
