"""What does a shell see: which commands does `l2sim` have?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.cli import doctor, main

__all__ = [
    "doctor", "main",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, {
    "main": "main", "doctor": "doctor",
})  # fmt: skip
