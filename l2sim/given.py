"""What callers give as numbers: one conversion at every public door, and one rule for phases of a whole turn.

Taken is whatever NumPy makes an array of and whose entries are numbers: lists, whole numbers of any width, truth
values, every float and byte order, objects that are numbers. float32, float64 and their complex types stay as they are,
all else is computed in float64 or complex128. Real numbers may come as complex ones whose imaginary parts are all zero.
`tests/test_given.py` lists the doors and tries them all.
"""

from __future__ import annotations

import numbers as kinds
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from l2sim.backend import Array, namespace
from l2sim.errors import ChipError, L2simError

__all__ = ["TURN", "finite", "numbers", "real", "reals", "wrapped"]

TURN = 2.0 * np.pi
"""A whole turn, rad."""
KEPT = {np.dtype(name) for name in ("float32", "float64", "complex64", "complex128")}
"""Number types that stay as they are."""


def numbers(values: ArrayLike, what: str, refuse: type[L2simError] = ChipError) -> Array:
    """`values` as an array of float32, float64, complex64 or complex128; `what` says in the message what they are.

    An array of a GPU stays there. Whether its numbers are finite is not asked: `finite` does. Raises `refuse` where
    there is no such array: rows of different lengths, text, entries that are no numbers or that a mask hides.
    """
    if isinstance(values, np.ma.MaskedArray):
        if np.ma.getmaskarray(values).any():
            raise refuse(f"{what} must hold numbers only, and a mask hides some of them; fill these")
        return numbers(values.data, what, refuse)
    if isinstance(values, np.ndarray | np.generic) and values.dtype in KEPT:
        return np.asarray(values)
    if namespace(values) is not np:
        there: Any = values
        if there.dtype not in KEPT:
            there = there.astype(np.complex128 if there.dtype.kind == "c" else np.float64)
        device: Array = there
        return device
    try:
        array = np.asarray(values)
        if array.dtype.kind == "O":
            array = _of_objects(array)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise refuse(f"{what} must be an array of numbers, with rows of one length; this is none") from None
    if array.dtype.kind not in "biufc":
        raise refuse(f"{what} must be an array of numbers; this one holds {array.dtype.name}")
    if array.dtype in KEPT:
        return array
    with np.errstate(over="ignore"):  # what float64 cannot hold becomes infinite, and is refused as such
        wide: Array = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    return wide


def _of_objects(array: Array) -> Array:
    """An array of Python's or anybody's numbers as float64 or complex128. TypeError where an entry is none."""
    entries: list[Any] = array.ravel().tolist()
    if not all(isinstance(entry, kinds.Number | np.generic) for entry in entries):
        raise TypeError
    is_complex = any(isinstance(entry, kinds.Complex) and not isinstance(entry, kinds.Real) for entry in entries)
    plain = [complex(entry) for entry in entries] if is_complex else [float(entry) for entry in entries]
    return np.array(plain, np.complex128 if is_complex else np.float64).reshape(array.shape)


def finite(values: ArrayLike, what: str, refuse: type[L2simError] = ChipError) -> Array:
    """As `numbers`; raises `refuse` for numbers that are not finite, too."""
    array = numbers(values, what, refuse)
    if not np.isfinite(array).all():
        raise refuse(f"{what} holds values that are not finite; check where they come from")
    return array


def real(values: ArrayLike, what: str, refuse: type[L2simError] = ChipError) -> Array:
    """As `finite`, float32 or float64. Complex numbers are taken where all imaginary parts are zero."""
    return reals(finite(values, what, refuse), what, refuse)


def reals(values: ArrayLike, what: str, refuse: type[L2simError] = ChipError) -> Array:
    """As `real`, of numbers that need not be finite."""
    array = numbers(values, what, refuse)
    if array.dtype.kind != "c":
        return array
    if np.count_nonzero(array.imag):
        raise refuse(f"{what} must be real, and this is complex; take its real part if that is what you mean")
    return array.real


def wrapped(phases: ArrayLike) -> Array:
    """Phases, rad, of any shape, modulo a turn: in [0, 2 pi), where NumPy's modulo also gives 2 pi (of -1e-17)."""
    turned = np.mod(phases, TURN)
    out: Array = np.where(turned < TURN, turned, 0.0 * turned)
    return out
