"""Kernels over threads: a kernel is a serial loop over a range of its items, and `share` deals the range to threads.

    @njit(cache=True, nogil=True)
    def clip_piece(begin, end, x, limit, y): ...      the items from `begin` to `end`, whoever asks
    def clip(x, limit, y):
        threads.share(clip_piece, len(x), 0.1 * x.size, x, limit, y)

Items must not depend on each other: then the bytes do not depend on the number of threads. A loop that Numba itself
makes parallel would take it several times as long to compile.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba

SMALL = 200_000
"""Nanoseconds of work below which a launch stays on one thread: waking another costs some ten thousand of them, and ten
times that on a busy machine."""
PIECES = 4
"""Pieces a thread that a launch is cut into: whoever is done takes the next, so that a slow one holds nobody up."""


class _Here(threading.local):
    count: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]


_here = _Here()
_pools: dict[int, ThreadPoolExecutor] = {}
os.register_at_fork(after_in_child=_pools.clear)  # a forked process has none of the threads


def count() -> int:
    """How many threads the kernels launched by this thread may take; NUMBA_NUM_THREADS where nobody said."""
    return _here.count


def use(number: int) -> None:
    """Let the kernels launched by this thread take so many threads."""
    _here.count = number


def share(piece: Callable[..., object], items: int, nanoseconds: float, *args: object) -> None:
    """piece(begin, end, *args) over all of range(items), which takes so long on one thread, roughly."""
    if nanoseconds < SMALL or items < 2 or _here.count < 2:
        piece(0, items, *args)
        return
    workers = min(_here.count, items)
    pieces = min(items, PIECES * workers)
    left = deque((items * p // pieces, items * (p + 1) // pieces) for p in range(pieces))

    def work() -> None:
        while True:
            try:
                begin, end = left.popleft()
            except IndexError:
                return
            piece(begin, end, *args)

    if workers not in _pools:
        _pools[workers] = ThreadPoolExecutor(workers - 1, "l2sim: kernels")
    helpers = [_pools[workers].submit(work) for _ in range(workers - 1)]
    try:
        work()
    finally:  # nobody is left writing, whatever was raised
        late = [helper for helper in helpers if not helper.cancel()]
        errors = [error for error in (helper.exception() for helper in late) if error]
    if errors:
        raise errors[0]
