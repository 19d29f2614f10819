"""Arrays whose memory was used before.

A large array that NumPy makes comes from the system page by page, each cleared and mapped when first written: that
costs more than filling it. `empty` hands out memory that earlier arrays have left.
"""

from __future__ import annotations

import math
import sys
import threading

import numpy as np
from numpy.typing import DTypeLike

from l2sim.backend import Array, namespace

SMALL = 1 << 16
"""Bytes below which NumPy's own memory is warm."""
FREE = 1 << 29
"""Bytes that may lie unused when more memory is asked for; where they are more, they are given back."""
LINE = 64
"""Arrays begin at a multiple of so many bytes: those of a line of the cache and of a vector register."""

Block = tuple[Array, int]
"""Bytes, and the first of them that lies on a line."""
_own = threading.local()
"""Of each thread its blocks of memory by size: two threads never look for a free one in the same place."""


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """A contiguous array of any values. Its memory is used again once neither it nor a view of it is left."""
    kind = dtype if isinstance(dtype, np.dtype) else np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    if size < SMALL:
        return np.empty(shape, kind)
    blocks: dict[int, list[Block]] = _own.__dict__.setdefault("blocks", {})
    room = _rounded(size)
    mine = blocks.setdefault(room, [])
    for block, first in mine:
        if sys.getrefcount(block) == _HELD:
            return np.ndarray(shape, kind, block, first)
    _tidy(blocks)
    block = np.empty(room + LINE, np.uint8)
    first = -block.ctypes.data % LINE
    mine.append((block, first))
    return np.ndarray(shape, kind, block, first)


def like(a: Array, shape: tuple[int, ...]) -> Array:
    """An array of any values that lives where `a` does and has its number type."""
    made: Array = empty(shape, a.dtype) if namespace(a) is np else namespace(a).empty(shape, a.dtype)
    return made


def copy(a: Array) -> Array:
    """A contiguous copy of an array, where it lives."""
    made = like(a, a.shape)
    made[...] = a
    return made


def _rounded(size: int) -> int:
    """`size` or up to a quarter more, so that few sizes are told apart."""
    step = 1 << (size.bit_length() - 3)
    return -(-size // step) * step


def _tidy(blocks: dict[int, list[Block]]) -> None:
    """Let go of what nobody uses, where that is more than `FREE`."""
    unused = {room: _unused(some) for room, some in blocks.items()}
    if sum(room * count for room, count in unused.items()) > FREE:
        for some in blocks.values():
            some[:] = [(block, first) for block, first in some if sys.getrefcount(block) > _HELD]


def _unused(blocks: list[Block]) -> int:
    """How many of some blocks nobody uses."""
    count = 0
    for block, _ in blocks:
        count += sys.getrefcount(block) == _HELD
    return count


def _held() -> int:
    """The references that a loop over a list sees of a block that nobody uses; Pythons count them differently."""
    for block, _ in [(np.empty(1), 0)]:
        return sys.getrefcount(block)
    return 0


_HELD = _held()
