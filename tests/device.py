"""The device that tests of GPU code run on: Numba's simulator, or the GPU where L2SIM_TEST_GPU says so."""

from __future__ import annotations

import os
from typing import Any

import numba
import numpy as np

GPU = bool(os.environ.get("L2SIM_TEST_GPU"))
if not GPU:  # numba.cuda asks when it is first imported: numba-cuda the environment, Numba's own the settings
    os.environ["NUMBA_ENABLE_CUDASIM"] = "1"
    numba.config.ENABLE_CUDASIM = True  # type: ignore[attr-defined]

from l2sim.backend import kernels  # noqa: E402

if GPU:
    import cupy as xp
else:
    xp = kernels.simulated


def put(a: Any) -> Any:
    """`a` on the device; what is no array stays."""
    return xp.asarray(a) if isinstance(a, np.ndarray) else a


def host(a: Any) -> np.ndarray:
    """`a` back on the host."""
    return a if isinstance(a, np.ndarray) else xp.asnumpy(a)
