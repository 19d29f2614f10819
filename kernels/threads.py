"""How many threads a kernel takes: one, where the work is too small to be worth waking the others.

before = threads.spare(nanoseconds)        ahead of the prange: the time that the work takes on one thread, roughly
...
threads.give_back(before)
"""

from __future__ import annotations

import numba
from numba import njit, types

SMALL = 200_000
"""Nanoseconds of work below which a launch stays on one thread: waking another costs some ten thousand of them, and ten
times that on a busy machine."""

# The symbols that Numba's own parallel loops call, there once its threading layer is loaded. Its Python functions of
# these names would keep kernels out of the cache on disk.
numba.get_num_threads()
_get = types.ExternalFunction("get_num_threads", types.int32())
_set = types.ExternalFunction("set_num_threads", types.void(types.int32))


@njit
def spare(nanoseconds):
    """Take one thread only if the work is small; returns the number that `give_back` restores."""
    before = _get()
    if nanoseconds < SMALL:
        _set(types.int32(1))
    return before


@njit
def give_back(before):
    """Restore the number of threads."""
    _set(before)
