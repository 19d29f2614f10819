"""The kernels on NVIDIA GPUs: the families and signatures of `kernels`, on arrays of the device.

A family here holds what differs on a GPU: the loops and the launches. Its scalar mathematics is that of the CPU family,
compiled a second time (`launch.device`). Where a signature has no counterpart on the GPU, `l2sim.chip.fused.blocks` and
`l2sim.chip.core_chip` say what is done instead. With NUMBA_ENABLE_CUDASIM=1 the same code runs in Numba's simulator,
on the arrays of `kernels.simulated`.
"""

from __future__ import annotations

import importlib
from types import ModuleType

FAMILIES = (
    "blocks", "chain", "couplers", "descent", "draws", "im2col", "inside", "launch", "mesh", "noisy",
    "pointwise", "powers", "propagate", "twin",
)  # fmt: skip


def __getattr__(name: str) -> ModuleType:
    if name not in FAMILIES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
