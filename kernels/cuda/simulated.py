"""Arrays of a device that is not there: NumPy's behind CuPy's manners, for Numba's simulator.

They refuse what CuPy refuses: to mix with arrays of the host, to turn into one unasked, and arguments CuPy does not
know. What comes back to the host is counted (`trips`): reading a number waits for a GPU. This module is the namespace,
as `numpy` and `cupy` are: `asarray` takes an array to the device, `asnumpy` brings it back.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np

FOREIGN = {"initial", "where"}
"""Arguments that NumPy's reductions take and CuPy's do not."""
WAITING = {"argwhere", "bincount", "extract", "flatnonzero", "nonzero", "percentile", "quantile", "unique"}
"""Functions that make CuPy wait for the GPU, since what they return, or refuse, depends on values."""
memory = {"limit": 1 << 40, "trips": 0}
"""Bytes that one array may have, and how often the host has waited for a value."""


class OutOfMemoryError(MemoryError):
    """As CuPy's."""


class Array(np.lib.mixins.NDArrayOperatorsMixin):
    """An array on the simulated device; `held` is what it holds."""

    def __init__(self, held: np.ndarray) -> None:
        if held.base is None and held.nbytes > memory["limit"]:
            raise OutOfMemoryError(f"Out of memory allocating {held.nbytes:,} bytes (allocated so far: 0 bytes).")
        self.held = held

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        out = options.get("out")
        result = getattr(ufunc, method)(*_held(inputs), **_held(options))
        return out[0] if out else _wrapped(result)

    def __array_function__(self, function: Any, types: Any, args: Any, options: dict[str, Any]) -> Any:
        return _call(function, args, options)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.held, name)
        if callable(value):
            return lambda *args, **options: _call(value, args, options)
        return _wrapped(value) if isinstance(value, np.ndarray) else value

    def __getitem__(self, key: Any) -> Any:
        _masked(key)
        return _wrapped(self.held[_held(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(value, Array) and value.ndim:
            _masked(key)
        self.held[_held(key)] = _held(value)

    def __len__(self) -> int:
        return len(self.held)

    def __bool__(self) -> bool:
        return bool(asnumpy(self))

    def __int__(self) -> int:
        return int(asnumpy(self))

    __index__ = __int__

    def __float__(self) -> float:
        return float(asnumpy(self))


def asarray(a: Any, dtype: Any = None) -> Array:
    """Take `a` to the device, or return it if it is there."""
    if isinstance(a, Array):
        return a if dtype is None or a.dtype == dtype else a.astype(dtype)
    return Array(np.array(a, dtype))


def array(a: Any, dtype: Any = None) -> Array:
    """A copy of `a` on the device."""
    return Array(np.array(a.held if isinstance(a, Array) else a, dtype))


def asnumpy(a: Array) -> np.ndarray:
    """Bring `a` back."""
    memory["trips"] += 1
    return a.held.copy()


def __getattr__(name: str) -> Any:
    value = getattr(np, name)
    if not callable(value) or isinstance(value, type):
        return value
    return lambda *args, **options: _call(value, args, options)


def _call(function: Any, args: Any, options: dict[str, Any]) -> Any:
    if FOREIGN & options.keys() and getattr(function, "__name__", "") != "copyto":
        raise TypeError(f"CuPy's {function.__name__} does not take {', '.join(FOREIGN & options.keys())}")
    memory["trips"] += getattr(function, "__name__", "") in WAITING
    return _wrapped(function(*_held(args), **_held(options)))


def _masked(key: Any) -> None:
    """A choice by a mask waits: its size depends on the values."""
    keys = key if isinstance(key, tuple) else (key,)
    memory["trips"] += any(isinstance(one, Array) and one.dtype == bool and one.ndim for one in keys)


def _held(a: Any) -> Any:
    if isinstance(a, Array):
        return a.held
    if isinstance(a, np.ndarray):
        raise TypeError(f"Unsupported type {type(a)}")
    if isinstance(a, tuple | list):
        return type(a)(map(_held, a))
    return {name: _held(value) for name, value in a.items()} if isinstance(a, dict) else a


def _wrapped(a: Any) -> Any:
    if isinstance(a, np.ndarray | np.generic):
        return Array(np.asarray(a))
    return type(a)(map(_wrapped, a)) if isinstance(a, tuple | list) and type(a) in (tuple, list) else a


def steady() -> None:
    """Make Numba's simulator quick and sure: its threads hand over at every barrier while another one polls them, and
    two of them that ask for the same shared array at once get two."""
    from numba.core import types
    from numba.cuda.simulator.kernelapi import FakeCUDAShared
    from numba.np.numpy_support import as_dtype

    lock = threading.Lock()

    def array(self: Any, shape: Any, dtype: Any) -> np.ndarray:
        caller = sys._getframe(1)
        key = caller.f_code.co_filename, caller.f_lineno
        with lock:
            if key not in self._allocations:
                self._allocations[key] = np.empty(shape, as_dtype(dtype) if isinstance(dtype, types.Type) else dtype)
            return self._allocations[key]

    FakeCUDAShared.array = array  # type: ignore[method-assign]
    sys.setswitchinterval(1e-5)
