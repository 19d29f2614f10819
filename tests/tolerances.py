"""How closely numbers must agree, by precision: one table."""

from __future__ import annotations

import numpy as np

DTYPES = (np.float32, np.float64)

KERNEL = {np.dtype(np.float32): 2e-5, np.dtype(np.float64): 1e-12}
"""A kernel against its NumPy definition, absolute, for numbers of order one."""

TRAJECTORY = 1e-10
"""A whole run in float64 against golden data or against the same run by another path, absolute."""


def kernel(dtype: object, k: int = 1) -> float:
    """Tolerance of one kernel on k x k matrices: rounding adds up over up to 2 k rotations on every path."""
    return KERNEL[np.dtype(dtype)] * max(1.0, k / 8)  # type: ignore[arg-type]

PATIENCE = 300_000
"""Milliseconds after which a test gives up waiting for what must come, on a machine however busy or new to l2sim."""
