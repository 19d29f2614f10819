"""How are all cores of a chip asked at once, on the CPU and spread over GPUs?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.chip.fused import blocks, descent, spread

__all__ = [
    "blocks", "descent", "spread",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, {
    "blocks": "blocks", "descent": "descent", "spread": "spread",
})  # fmt: skip
