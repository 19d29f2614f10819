"""What all launches share: who runs, on which stream, and the CPU's scalar functions compiled for the GPU.

Kernels walk over their work in strides of the grid, so that any number of threads does all of it. Launches go to the
stream that `follow` was given (`l2sim.backend` gives CuPy's) and nobody waits for them.
"""

from __future__ import annotations

from functools import cache
from types import FunctionType
from typing import Any

import numpy as np
from numba import cuda

from . import simulated

try:  # numba-cuda has settings of its own
    from numba.cuda.core import config
except ImportError:
    from numba.core import config

settings: Any = config
SIMULATED = bool(settings.ENABLE_CUDASIM)
"""Whether Numba's simulator stands in for a GPU: one Python thread for every CUDA thread."""
THREADS = 2 if SIMULATED else 256
BLOCKS = 1 if SIMULATED else 1 << 15
"""Threads of a block of an elementwise kernel, and the most blocks."""
SHARED_BYTES = 47_000
"""What the threads of a block may share."""
WARP = 3 if SIMULATED else 32
"""Threads that work side by side in a kernel that shares memory."""

if SIMULATED:
    simulated.steady()

settings.CUDA_ARRAY_INTERFACE_SYNC = False  # one stream for CuPy and for us: nothing to wait for
settings.CUDA_LOW_OCCUPANCY_WARNINGS = False  # small layers fill no GPU, and that is no news


_current = None


def follow(current):
    """Launch from now on to the stream whose address `current()` gives: the one that CuPy is using."""
    global _current
    _current = current


def stream():
    """The stream to launch on."""
    return _external(_current()) if _current is not None else 0


def gpu(number):
    """The context in which launches go to GPU `number`."""
    return cuda.gpus[number]


@cache
def _external(address):
    return cuda.external_stream(address) if address else cuda.legacy_default_stream()


def device(function):
    """A scalar function of a CPU family as a device function; what it calls is compiled with it."""
    plain = getattr(function, "py_func", function)
    around = dict(plain.__globals__)
    for name in plain.__code__.co_names:
        if hasattr(around.get(name), "py_func"):
            around[name] = device(around[name])
    if not SIMULATED:
        from . import scalars  # late: it compiles for a GPU

        around["np"] = scalars
    return cuda.jit(device=True)(FunctionType(plain.__code__, around, plain.__name__, plain.__defaults__))


def run(kernel, blocks, threads, *args):
    """Launch `blocks` of `threads`, unless there are none."""
    if np.prod(blocks):
        kernel[blocks, threads, stream()](*[_handed(a) for a in args])


def spread(kernel, count, *args):
    """Launch a kernel that walks over `count` things, one thread each."""
    run(kernel, min(-(-count // THREADS), BLOCKS), THREADS, *args)


def scratch(like, shape, dtype=None):
    """Uninitialised memory on the device of `like`."""
    return np.empty_like(like, dtype=dtype, shape=shape)


def _handed(a):
    """`a` as a kernel takes it: of a simulated array what it holds. An array of the host is a mistake."""
    if isinstance(a, np.ndarray):
        raise TypeError("a kernel on the GPU was given an array of the host")
    return getattr(a, "inner", a)
