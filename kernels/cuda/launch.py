"""What all launches share: who runs, on which stream, and the CPU's scalar functions compiled for the GPU.

Kernels walk over their work in strides of the grid, so that any number of threads does all of it. Launches go to the
stream that `follow` was given (`l2sim.backend` gives CuPy's) and nobody waits for them.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from functools import cache
from hashlib import blake2b
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from numba import cuda, int64, uint32
from numba.core.types import none

from .. import simulated

try:  # numba-cuda has settings of its own
    from numba.cuda.core import config
except ImportError:
    from numba.core import config

settings: Any = config  # of the CPU's compiler too, where that is installed
SIMULATED = bool(settings.ENABLE_CUDASIM)
"""Whether Numba's simulator stands in for a GPU: one Python thread for every CUDA thread."""
THREADS = 2 if SIMULATED else 256
BLOCKS = 1 if SIMULATED else 1 << 15
"""Threads of a block of an elementwise kernel, and the most blocks."""
SHARED_BYTES = 47_000
"""What the threads of a block may share."""

if SIMULATED:
    simulated.steady()


def cache_folder():
    """Where compiled kernels are kept: of every state of the sources in a folder of its own.

    A kernel is made of functions of several files, and Numba asks only whether that of the kernel itself has changed.
    Its own key has the types, the compute capability of the GPU in use, and the versions of CUDA and of numba-cuda.
    """
    here = Path(__file__).parent
    digest = blake2b(digest_size=8)
    for path in sorted((*here.parent.glob("*.py"), *here.glob("*.py"))):
        digest.update(path.read_bytes())
    beside, home = here / "__pycache__", Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "numba"
    named = os.environ.get("NUMBA_CACHE_DIR")
    for base in (Path(named),) if named else (beside, home):
        folder = base / f"cuda-{digest.hexdigest()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        return str(folder)
    return ""


settings.CUDA_ARRAY_INTERFACE_SYNC = False  # one stream for CuPy and for us: nothing to wait for
settings.CUDA_LOW_OCCUPANCY_WARNINGS = False  # small layers fill no GPU, and that is no news

FOLDER = "" if SIMULATED else cache_folder()


def entry(function):
    """A kernel that is launched, kept in `FOLDER` once it is compiled. Numba asks for its folder here, and the CPU's
    kernels have another."""
    if not FOLDER:
        return cuda.jit(function)
    before, settings.CACHE_DIR = settings.CACHE_DIR, FOLDER
    try:
        return cuda.jit(cache=True)(function)
    finally:
        settings.CACHE_DIR = before


_current = None


def follow(current):
    """Launch from now on to the stream whose address `current()` gives: the one that CuPy is using."""
    global _current
    _current = current


def stream():
    """The stream to launch on."""
    return _external(_current(), device_number()) if _current is not None else 0


def device_number():
    """The GPU in use."""
    return getattr(cuda.get_current_device(), "id", 0)


def gpu(number):
    """The context in which launches go to GPU `number`."""
    return cuda.gpus[number]


@cache
def _external(address, number):
    """The stream at an address, of GPU `number`: two GPUs may have a stream at the same one."""
    return cuda.external_stream(address) if address else cuda.legacy_default_stream()


CASTS = {
    "bits": ("float_as_int", np.float32, np.int32), "real": ("int_as_float", np.int32, np.float32),
    "bits_2": ("double_as_longlong", np.float64, np.int64), "real_2": ("longlong_as_double", np.int64, np.float64),
}  # fmt: skip
"""The bits of one type as another (`kernels.draws.same_bits`): what the GPU's library calls it, and both types."""


def cast(name):
    """One of `CASTS`."""
    theirs, given, made = CASTS[name]
    if SIMULATED:
        return lambda x: given(x).view(made)
    from numba.cuda import libdevice  # late: the simulator has none

    return getattr(libdevice, theirs)


def device(function):
    """A scalar function of a CPU family as a device function; what it calls is compiled with it."""
    plain = getattr(function, "py_func", function)
    around = dict(plain.__globals__)
    for name in plain.__code__.co_names:
        if hasattr(around.get(name), "py_func"):
            around[name] = device(around[name])
        elif name in CASTS:
            around[name] = cast(name)
    if not SIMULATED:
        from . import scalars  # late: it compiles for a GPU

        around["np"] = scalars
    return cuda.jit(device=True)(FunctionType(plain.__code__, around, plain.__name__, plain.__defaults__))


def run(kernel, blocks, threads, *args):
    """Launch `blocks` of `threads`, unless there are none."""
    if np.prod(blocks):
        simulated.counted["launches"] += 1
        kernel[blocks, threads, stream()](*[_handed(a) for a in args])


@cuda.jit(device=True)
def parted(index, by):
    """index // by and what is left, of numbers below 2^32: a GPU divides 64 bits in some hundred instructions."""
    many = uint32(uint32(index) // uint32(by))
    return int64(many), int64(uint32(uint32(index) - uint32(many * uint32(by))))


NARROW = 1 << 32
"""What `parted` and its callers count up to."""


def narrow(count):
    """`count`, which a kernel walks over in 32 bits. OverflowError where it cannot."""
    if count >= NARROW:
        raise OverflowError(f"{count:,} values in one launch; take fewer samples at a time")
    return count


def spread(kernel, count, *args):
    """Launch a kernel that walks over `count` things, one thread each."""
    run(kernel, min(-(-count // THREADS), BLOCKS), THREADS, *args)


def address(a):
    """Where an array of the device begins."""
    return a.inner.ctypes.data if SIMULATED else a.data.ptr


def memory():
    """load(address, index, like) and store(address, index, value): numbers at addresses that a kernel is told, of the
    type of `like` or `value`."""
    if SIMULATED:

        def place(start, index, kind):
            number = ctypes.c_float if kind is np.float32 else ctypes.c_double
            return number.from_address(int(start + ctypes.sizeof(number) * index))

        def load(start, index, like):
            return type(like)(place(start, index, type(like)).value)

        def store(start, index, value):
            place(start, index, type(value)).value = value

        return load, store
    from numba.cuda.extending import intrinsic  # late: numba-cuda has it, its simulator and Numba itself have not

    def reach(context, builder, args, real):
        return builder.gep(builder.inttoptr(args[0], context.get_value_type(real).as_pointer()), [args[1]])

    @intrinsic
    def load(typing, start, index, like):
        def code(context, builder, _, args):
            return builder.load(reach(context, builder, args, like))

        return like(int64, int64, like), code

    @intrinsic
    def store(typing, start, index, value):
        def code(context, builder, _, args):
            builder.store(args[2], reach(context, builder, args, value))
            return context.get_dummy_value()

        return none(int64, int64, value), code

    return load, store


def scratch(like, shape, dtype=None):
    """Uninitialised memory on the device of `like`."""
    return np.empty_like(like, dtype=dtype, shape=shape)


def _handed(a):
    """`a` as a kernel takes it: of a simulated array what it holds. An array of the host is a mistake."""
    if isinstance(a, np.ndarray):
        raise TypeError("a kernel on the GPU was given an array of the host")
    inner = getattr(a, "inner", a)
    if SIMULATED and isinstance(inner, np.ndarray) and not inner.flags.writeable:
        return inner.copy()  # the simulator writes back whatever it was given
    return inner
