"""How are all cores of a chip asked at once, on the CPU and spread over GPUs?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.chip.fused import blocks, descent, pieces, spread

__all__ = [
    "blocks", "descent", "pieces", "spread",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, {
    "blocks": "blocks", "descent": "descent", "pieces": "pieces", "spread": "spread",
})  # fmt: skip
