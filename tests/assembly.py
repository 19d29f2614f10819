"""What a kernel was compiled to."""

from __future__ import annotations

import platform
import re
from typing import Any

import numba
import pytest


def wide_multiply_adds(function: Any, signature: tuple[Any, ...]) -> int:
    """How many fused multiply-adds on whole registers of 8 or 16 float32 (4 or 8 float64) a serial kernel has.

    Skips the test where the processor has none. Compiles afresh: code that comes from the cache cannot be read.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("reads x86 assembly")
    compiled = numba.njit(fastmath=function.targetoptions.get("fastmath", False))(function.py_func)
    compiled.compile(signature)
    assembly = compiled.inspect_asm(compiled.signatures[0])
    if not re.search("vfn?m", assembly):
        pytest.skip("this processor has no fused multiply-add")
    return len(re.findall(r"vfn?m(?:add|sub)\d+p[sd]\s.*%[yz]mm", assembly))
