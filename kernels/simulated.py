"""Arrays of a device that is not there: NumPy's behind CuPy's manners, for Numba's simulator.

They refuse what CuPy refuses: to mix with arrays of the host, to turn into one unasked, and arguments CuPy does not
know. What comes back to the host is counted (`trips`): reading a number waits for a GPU. This module is the namespace,
as `numpy` and `cupy` are: `asarray` takes an array to the device, `asnumpy` brings it back.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import DTypeLike

FOREIGN = {"initial", "where"}
"""Arguments that NumPy's reductions take and CuPy's do not."""
WAITING = {"argwhere", "bincount", "extract", "flatnonzero", "nonzero", "percentile", "quantile", "unique"}
"""Functions that make CuPy wait for the GPU, since what they return, or refuse, depends on values."""
memory = {"limit": 1 << 40, "trips": 0}
"""Bytes that one array may have, and how often the host has waited for a value."""
counted = {"launches": 0, "operations": 0}
"""Kernels of ours that were launched (`launch.run`), and operations on arrays that CuPy launches one for, or more: what
gives a view, or memory of any values, is none."""


class OutOfMemoryError(MemoryError):
    """As CuPy's."""


class Array(np.lib.mixins.NDArrayOperatorsMixin):
    """An array on the simulated device; `inner` is the array of the host behind it."""

    def __init__(self, inner: np.ndarray) -> None:
        if inner.base is None and inner.nbytes > memory["limit"]:
            raise OutOfMemoryError(f"Out of memory allocating {inner.nbytes:,} bytes (allocated so far: 0 bytes).")
        self.inner = inner

    def __array__(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: object, **options: object) -> object:
        out = options.get("out")
        counted["operations"] += 1
        result = getattr(ufunc, method)(*_inner(inputs), **_inner(options))
        return out[0] if isinstance(out, tuple) else _wrapped(result)

    def __array_function__(
        self, function: Callable[..., object], types: object, args: tuple[object, ...], options: dict[str, object]
    ) -> object:
        return _call(function, args, options)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if callable(value):
            return lambda *args, **options: _call(value, args, options)
        return _wrapped(value) if isinstance(value, np.ndarray) else value

    def __getitem__(self, key: object) -> object:
        _masked(key)
        result = self.inner[_inner(key)]
        counted["operations"] += isinstance(result, np.ndarray) and not np.may_share_memory(result, self.inner)
        return _wrapped(result)

    def __setitem__(self, key: object, value: object) -> None:
        if isinstance(value, Array) and value.ndim:
            _masked(key)
        counted["operations"] += 1
        self.inner[_inner(key)] = _inner(value)

    def __len__(self) -> int:
        return len(self.inner)

    def __bool__(self) -> bool:
        return bool(asnumpy(self))

    def __int__(self) -> int:
        return int(asnumpy(self))

    __index__ = __int__

    def __float__(self) -> float:
        return float(asnumpy(self))


def asarray(a: object, dtype: DTypeLike | None = None) -> Array:
    """Take `a` to the device, or return it if it is there."""
    if isinstance(a, Array):
        there: Array = a if dtype is None or a.dtype == dtype else a.astype(dtype)
        return there
    counted["operations"] += 1
    return Array(np.array(a, dtype))


def array(a: object, dtype: DTypeLike | None = None) -> Array:
    """A copy of `a` on the device."""
    counted["operations"] += 1
    return Array(np.array(a.inner if isinstance(a, Array) else a, dtype))


def asnumpy(a: Array) -> np.ndarray:
    """Bring `a` back."""
    memory["trips"] += 1
    return a.inner.copy()


def __getattr__(name: str) -> object:
    value = getattr(np, name)
    if not callable(value) or isinstance(value, type):
        return value
    return lambda *args, **options: _call(value, args, options)


def _call(function: Callable[..., object], args: tuple[object, ...], options: Mapping[str, object]) -> object:
    """What NumPy's `function` gives on the arrays of the host behind these. TypeError for what CuPy does not know."""
    name = getattr(function, "__name__", "")
    if FOREIGN & options.keys() and name != "copyto":
        raise TypeError(f"CuPy's {name} does not take {', '.join(FOREIGN & options.keys())}")
    memory["trips"] += name in WAITING
    result = function(*_inner(args), **_inner(options))
    counted["operations"] += _computed(function, result, args, options)
    return _wrapped(result)


def _computed(
    function: Callable[..., object], result: object, args: tuple[object, ...], options: Mapping[str, object]
) -> bool:
    """Whether `result` of NumPy's `function` is more than a view of what went in, or memory of any values."""
    if getattr(function, "__name__", "") in ("empty", "empty_like"):
        return False
    if result is None or "out" in options or isinstance(result, np.generic):
        return True
    given = (getattr(function, "__self__", None), *(a.inner for a in args if isinstance(a, Array)))
    shared = any(np.may_share_memory(result, a) for a in given if isinstance(a, np.ndarray) and a is not None)
    return isinstance(result, np.ndarray) and not shared


def _masked(key: object) -> None:
    """Count a choice by a mask: it waits, since its size depends on the values."""
    keys = key if isinstance(key, tuple) else (key,)
    memory["trips"] += any(isinstance(one, Array) and one.dtype == bool and one.ndim for one in keys)


def _inner(a: Any) -> Any:
    """The arrays of the host behind those of the device in `a`, inside tuples, lists and dictionaries too."""
    if isinstance(a, Array):
        return a.inner
    if isinstance(a, np.ndarray):
        raise TypeError(f"Unsupported type {type(a)}")
    if isinstance(a, tuple | list):
        return type(a)(map(_inner, a))
    return {name: _inner(value) for name, value in a.items()} if isinstance(a, dict) else a


def _wrapped(a: object) -> object:
    """Arrays of the host in `a` as arrays of the device."""
    if isinstance(a, np.ndarray | np.generic):
        return Array(np.asarray(a))
    return type(a)(map(_wrapped, a)) if isinstance(a, tuple | list) and type(a) in (tuple, list) else a


def steady() -> None:
    """Make Numba's simulator quick and sure: its threads hand over at every barrier while another one polls them, and
    two of them that ask for the same shared array at once get two."""
    from numba.core import types  # late: these three are there in the simulator only
    from numba.cuda.simulator.kernelapi import FakeCUDAShared  # late
    from numba.np.numpy_support import as_dtype  # late

    lock = threading.Lock()

    def array(self: FakeCUDAShared, shape: int | tuple[int, ...], dtype: object) -> np.ndarray:
        frame = inspect.currentframe()
        assert frame is not None and frame.f_back is not None, "CPython has frames"
        caller = frame.f_back
        key = caller.f_code.co_filename, caller.f_lineno
        with lock:
            if key not in self._allocations:
                self._allocations[key] = np.empty(shape, as_dtype(dtype) if isinstance(dtype, types.Type) else dtype)
            made: np.ndarray = self._allocations[key]
            return made

    FakeCUDAShared.array = array  # type: ignore[method-assign]
    sys.setswitchinterval(1e-5)
