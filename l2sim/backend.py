"""What every floor above stands on: the kernels, random streams, precision and threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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

__all__ = ["PRECISIONS", "Array", "float_type", "generator", "kernels", "threads"]

Array = NDArray[Any]
PRECISIONS = ("float32", "float64")


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
