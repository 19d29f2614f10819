"""What every floor above stands on: the kernels, devices, random streams, precision and threads.

An array says by its type where it lives: `namespace(a)` is the module to make more of them with, `kernels_of(a)` the
kernels that take it. So no floor above asks which device a run is on; it is chosen once, by `device`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from l2sim.errors import JobError

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
    "device",
    "float_type",
    "generator",
    "host",
    "kernels",
    "kernels_of",
    "like",
    "namespace",
    "number",
    "resident",
    "threads",
]

Array = NDArray[Any]
PRECISIONS = ("float32", "float64")


@dataclass(frozen=True)
class Device:
    """Where a run computes: `name` as the job says it, `xp` the module of its arrays (numpy, cupy), `numbers` its GPUs.

    Arrays live on the first GPU; sweeps spread over all.
    """

    name: str
    xp: Any = np
    numbers: tuple[int, ...] = ()

    def put(self, a: Any, dtype: DTypeLike | None = None) -> Array:
        """`a` as an array of this device; itself where it is one."""
        here = namespace(a)
        return self.xp.asarray(a if here in (self.xp, np) else host(a), dtype)

    def here(self, a: Any, number: int) -> Any:
        """An array on GPU `number`, which is in use: itself where it lives there. What is no array stays."""
        if not isinstance(a, np.ndarray) and namespace(a) is np:
            return a
        if namespace(a) is np:
            return self.put(a)
        at = getattr(a, "device", None)
        return a if getattr(at, "id", self.numbers[0]) == number else a.copy()

    def on(self, number: int) -> AbstractContextManager[Any]:
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

    def settle(self) -> None:
        """Wait until everything launched on this device is done."""
        if self.numbers and hasattr(self.xp, "cuda"):
            self.xp.cuda.get_current_stream().synchronize()


CPU = Device("cpu")


def device(name: str) -> Device:
    """The device `cpu`, `cuda` (all GPUs that are visible) or `cuda:N` (that one). JobError where it is not to be had.

    With NUMBA_ENABLE_CUDASIM=1 a GPU is Numba's simulator, on the arrays of `kernels.cuda.simulated`.
    """
    if name == "cpu":
        return CPU
    if not re.fullmatch(r"cuda(:\d+)?", name):
        raise JobError(f"device {name!r} is unknown; use cpu, cuda or cuda:N")
    number = int(name[5:]) if ":" in name else None
    from l2sim import fits  # late: only a GPU asks for it

    fits.refuse("numba-cuda", JobError, f"device {name}")
    try:
        launch: Any = kernels.cuda.launch
        xp: Any
        if launch.SIMULATED:
            xp, count = kernels.cuda.simulated, 1
        else:
            import cupy

            xp = cupy
            count = xp.cuda.runtime.getDeviceCount()
    except ImportError as error:
        raise JobError(f'device {name} needs {error.name or "CuPy"}; pip install "l2sim[gpu]", or use cpu') from None
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


def namespace(a: Any) -> Any:
    """The module of arrays like `a`: numpy, cupy, or that of the simulated device. What is no array is NumPy's."""
    module = type(a).__module__.partition(".")[0]
    return sys.modules[type(a).__module__] if module in ("cupy", "l2sim") else np


def kernels_of(a: Any) -> Any:
    """The kernels that take arrays like `a`: the families of `kernels`, or those of `kernels.cuda`."""
    return kernels if namespace(a) is np else kernels.cuda


def like(a: Any, b: Any) -> Array:
    """`b` where `a` lives: an array of the host is taken to the device, anything else stays."""
    return b if namespace(a) is np or namespace(b) is not np else namespace(a).asarray(b)


_resident: dict[tuple[int, int], tuple[Array, Array]] = {}


def resident(a: Any, constant: Array) -> Array:
    """`constant`, an array of the host that lives as long as the program, where `a` lives; taken there once."""
    if namespace(a) is np:
        return constant
    key = id(constant), getattr(getattr(a, "device", None), "id", 0)
    if key not in _resident:
        _resident[key] = constant, like(a, constant)
    return _resident[key][1]


def host(a: Any) -> Array:
    """`a` as an array of the host. On a GPU this waits for what computes it."""
    return np.asarray(a) if namespace(a) is np else namespace(a).asnumpy(a)


def number(a: Any) -> Any:
    """A scalar result as a float, where it is there to be read: on a GPU it stays, so that nobody waits for it."""
    return float(a) if namespace(a) is np else a


def float_type(precision: str) -> DTypeLike:
    """NumPy type of `precision` (`float32` or `float64`)."""
    if precision not in PRECISIONS:
        raise JobError(f"precision {precision!r} is unknown; use one of {', '.join(PRECISIONS)}")
    return np.dtype(precision)


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
    import numba
    from threadpoolctl import threadpool_limits

    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    if not 1 <= count <= most:
        raise JobError(f"threads = {count} is out of range on this machine; use 1 to {most}")
    before = numba.get_num_threads()
    numba.set_num_threads(count)
    try:
        with threadpool_limits(count, user_api="blas"):
            yield
    finally:
        numba.set_num_threads(before)
