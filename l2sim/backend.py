"""What every floor above stands on: the kernels, devices, random streams, precision and threads.

An array says by its type where it lives: `namespace(a)` is the module to make more of them with, `kernels_of(a)` the
kernels that take it. So no floor above asks which device a run is on; it is chosen once, by `device`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from l2sim.errors import ChipError, JobError

# The one door to the kernels: an editor sees the folder `kernels/`, a running program the installed `l2sim.kernels`.
if TYPE_CHECKING:
    import kernels
else:
    from l2sim import kernels

__all__ = [
    "CPU",
    "PRECISIONS",
    "Array",
    "Device",
    "Scalar",
    "Stream",
    "device",
    "float_type",
    "generator",
    "host",
    "kernels",
    "kernels_of",
    "like",
    "namespace",
    "number",
    "real_type",
    "resident",
    "threads",
]

Array = NDArray[Any]
"""An array of whatever type and device."""
Scalar = float | Array
"""A number: a float, or an array without axes that a GPU has yet to compute."""
Stream = Callable[..., np.random.Generator]
"""stream(name, ...): the random stream that belongs to these names."""
T = TypeVar("T")

PRECISIONS = ("float32", "float64")


@dataclass(frozen=True)
class Device:
    """Where a run computes: `name` as the job says it, `xp` the module of its arrays (numpy, cupy), `numbers` its GPUs.

    Arrays live on the first GPU; descent spreads over all.
    """

    name: str
    xp: ModuleType = np
    numbers: tuple[int, ...] = ()

    def put(self, a: ArrayLike, dtype: DTypeLike | None = None) -> Array:
        """`a` as an array of this device; itself where it is one."""
        here = namespace(a)
        array: Array = self.xp.asarray(a if here in (self.xp, np) else host(a), dtype)
        return array

    def here(self, a: T, number: int) -> T:
        """An array on GPU `number`, which is in use: itself where it lives there. What is no array stays."""
        if not isinstance(a, np.ndarray) and namespace(a) is np:
            return a
        if namespace(a) is not np and getattr(getattr(a, "device", None), "id", self.numbers[0]) == number:
            return a
        moved: T = self.xp.asarray(a) if namespace(a) is np else self.xp.copy(a)
        return moved

    def on(self, number: int) -> AbstractContextManager[object]:
        """Work on GPU `number`."""
        if not hasattr(self.xp, "cuda"):
            return nullcontext()
        both = ExitStack()
        both.enter_context(self.xp.cuda.Device(number))
        both.enter_context(kernels.cuda.launch.gpu(number))
        return both

    def free(self, number: int | None = None) -> int:
        """Bytes that a GPU (the first one) has left."""
        if not hasattr(self.xp, "cuda"):
            return int(self.xp.memory["limit"])
        with self.xp.cuda.Device(self.numbers[0] if number is None else number):
            return int(self.xp.cuda.runtime.memGetInfo()[0] + self.xp.get_default_memory_pool().free_bytes())

    def room(self, number: int | None = None) -> int:
        """Bytes of a GPU (the first one) that this process has or can have."""
        if not hasattr(self.xp, "cuda"):
            return int(self.xp.memory["limit"])
        with self.xp.cuda.Device(self.numbers[0] if number is None else number):
            return int(self.xp.cuda.runtime.memGetInfo()[0] + self.xp.get_default_memory_pool().total_bytes())

    def settle(self) -> None:
        """Wait until everything launched on this device is done."""
        if self.numbers and hasattr(self.xp, "cuda"):
            self.xp.cuda.get_current_stream().synchronize()


CPU = Device("cpu")


def device(name: str) -> Device:
    """The device `cpu`, `cuda` (all GPUs that are visible) or `cuda:N` (that one). JobError where it is not to be had.

    With NUMBA_ENABLE_CUDASIM=1 a GPU is Numba's simulator, on the arrays of `kernels.simulated`.
    """
    if name == "cpu":
        return CPU
    if not re.fullmatch(r"cuda(:\d+)?", name):
        raise JobError(f"device {name!r} is unknown; use cpu, cuda or cuda:N")
    number = int(name[5:]) if ":" in name else None
    from l2sim import fits  # late: only a GPU asks for it

    fits.refuse("numba-cuda", JobError, f"device {name}")
    try:
        launch = kernels.cuda.launch
        xp: ModuleType = kernels.simulated
        count = 1
        if not launch.SIMULATED:
            import cupy  # late: an optional package

            xp = cupy
            count = xp.cuda.runtime.getDeviceCount()
    except ImportError as error:
        cure = 'pip install "l2sim[gpu]" for a driver of CUDA 13, "l2sim[gpu12]" for one of CUDA 12'
        raise JobError(f'device {name} needs {error.name or "CuPy"}; {cure}, or use cpu') from None
    except Exception as error:  # a driver that is missing or too old raises what it likes
        reason = str(error).partition("\n")[0]
        raise JobError(f"device {name}: no GPU answers ({reason}); `l2sim doctor` says why, or use cpu") from None
    if count == 0 or (number is not None and number >= count):
        raise JobError(f"device {name}: this machine shows {count} GPU{'s' * (count != 1)}; use cuda:0 or cpu")
    numbers = tuple(range(count)) if number is None else (number,)
    if not launch.SIMULATED:
        xp.cuda.Device(numbers[0]).use()
        launch.follow(lambda: xp.cuda.get_current_stream().ptr)
    return Device(name, xp, numbers)


_namespaces: dict[type, ModuleType] = {}
"""By the type of arrays: a small step asks dozens of times."""


def namespace(a: object) -> ModuleType:
    """The module of arrays like `a`: numpy, cupy, or that of the simulated device. What is no array is NumPy's."""
    kind = type(a)
    known = _namespaces.get(kind)
    if known is None:
        package = kind.__module__.partition(".")[0]
        known = _namespaces[kind] = sys.modules[kind.__module__] if package in ("cupy", "l2sim") else np
    return known


def kernels_of(a: object) -> ModuleType:
    """The kernels that take arrays like `a`: the families of `kernels`, or those of `kernels.cuda`."""
    return kernels if namespace(a) is np else kernels.cuda


def like(a: object, b: Array) -> Array:
    """`b` where `a` lives: an array of the host is taken to the device, anything else stays."""
    there: Array = b if namespace(a) is np or namespace(b) is not np else namespace(a).asarray(b)
    return there


_resident: dict[tuple[int, int], tuple[Array, Array]] = {}


def resident(a: object, constant: Array) -> Array:
    """The array `constant` of the host where `a` lives. It is as old as the program, so that it is taken there once."""
    if namespace(a) is np:
        return constant
    there: Any = getattr(a, "device", None)
    key = id(constant), getattr(there, "id", 0)
    if key not in _resident:
        with there if hasattr(there, "__enter__") else nullcontext():  # GPU in use and GPU of `a` may differ
            _resident[key] = constant, like(a, constant)
    return _resident[key][1]


def host(a: ArrayLike) -> Array:
    """`a` as an array of the host. On a GPU this waits for what computes it."""
    array: Array = np.asarray(a) if namespace(a) is np else namespace(a).asnumpy(a)
    return array


def number(a: Scalar) -> Scalar:
    """A scalar result as a float, where it is there to be read: on a GPU it stays, so that nobody waits for it."""
    return float(a) if namespace(a) is np else a


def float_type(precision: str) -> DTypeLike:
    """NumPy type of `precision` (`float32` or `float64`)."""
    if precision not in PRECISIONS:
        raise JobError(f"precision {precision!r} is unknown; use one of {', '.join(PRECISIONS)}")
    return np.dtype(precision)


def real_type(dtype: DTypeLike) -> np.dtype[np.generic]:
    """The number format of a chip, float32 or float64. ChipError for others."""
    try:
        real = np.dtype(dtype)
    except TypeError:
        real = np.dtype(object)
    if real not in (np.float32, np.float64):
        raise ChipError(f"a chip computes in float32 or float64, not {dtype!s:.40}; choose one of them")
    return real


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """An independent random stream for `seed` and a path of names, e.g. `generator(1, "calibrate", "conv1", 17)`.

    The same arguments always give the same stream, whatever else was drawn before: there is no global state.
    Names are hashed into the entropy of a SeedSequence, so streams of different names are independent.
    """
    digest = blake2b("/".join(map(str, names)).encode(), digest_size=16).digest()
    words = np.frombuffer(digest, np.uint32).tolist()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *words])))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run the kernels and the matrix products of the block on `count` threads, and restore what was set before."""
    import numba  # late: takes half a second, which a program that computes nothing need not wait
    from threadpoolctl import threadpool_limits  # late: as Numba

    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    if not 1 <= count <= most:
        raise JobError(f"threads = {count} is out of range on this machine; use 1 to {most}")
    before = kernels.threads.count()
    kernels.threads.use(count)
    try:
        with threadpool_limits(count, user_api="blas"):
            yield
    finally:
        kernels.threads.use(before)
