"""The mathematics of the chip, once, compiled for speed. Imports numpy and numba only.

One file a family, top to bottom: the equation, the scalar functions, the loop over cores. `reference` holds the slow
NumPy definitions that tests compare every kernel with. Kernels never allocate results, draw random numbers only by
their place (`draws`) and never check arguments: the checked doors are in `l2sim.chip`.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import (
        blocks,
        chain,
        cores,
        couplers,
        cuda,
        decompose,
        descent,
        descent_by_column,
        descent_phi,
        descent_window,
        draws,
        im2col,
        inside,
        interference,
        lanes,
        mesh,
        mesh_twin,
        noisy,
        pointwise,
        ports,
        powers,
        program,
        propagate,
        reference,
        simulated,
        threads,
        twin,
        twin_fit,
        twin_wide,
        vectors,
    )

__all__ = [
    "blocks",
    "chain",
    "cores",
    "couplers",
    "cuda",
    "decompose",
    "descent",
    "descent_by_column",
    "descent_phi",
    "descent_window",
    "draws",
    "im2col",
    "inside",
    "interference",
    "lanes",
    "mesh",
    "mesh_twin",
    "noisy",
    "pointwise",
    "ports",
    "powers",
    "program",
    "propagate",
    "reference",
    "simulated",
    "threads",
    "twin",
    "twin_fit",
    "twin_wide",
    "vectors",
]


def __getattr__(name: str) -> ModuleType:
    # Families load when first used, so that what needs no kernel does not wait for Numba.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
