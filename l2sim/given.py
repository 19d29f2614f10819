"""What callers give as numbers: one conversion at every public door, and one rule for phases of a whole turn.

Taken is whatever NumPy makes an array of and whose entries are numbers: lists, whole numbers of any width, truth
values, every float and byte order, objects that are numbers. float32, float64 and their complex types stay as they are,
all else is computed in float64 or complex128. Real numbers may come as complex ones whose imaginary parts are all zero.
`tests/test_given.py` lists the doors and tries them all.
"""

from __future__ import annotations

import contextlib
import math
import numbers as kinds
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from l2sim.backend import Array, namespace
from l2sim.errors import ChipError, L2simError

__all__ = ["TURN", "finite", "numbers", "path", "real", "reals", "scalar", "whole", "word", "wrapped"]

TURN = 2.0 * np.pi
"""A whole turn, rad."""
SHOWN = 40
"""Characters that a message shows of a value."""
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


def scalar(
    value: object, what: str, least: float, most: float = math.inf, refuse: type[L2simError] = ChipError
) -> float:
    """`value` as a finite number from `least` to `most`; raises `refuse` for all else, truth values too."""
    if isinstance(value, kinds.Real) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # a whole number that float64 cannot hold
            number = float(value)
            if math.isfinite(number) and least <= number <= most:
                return number
    limits = f"from {least:g} on" if most == math.inf else f"from {least:g} to {most:g}"
    raise refuse(f"{what} must be a number {limits}, not {_shown(value)}")


def whole(value: object, what: str, least: int, most: float = math.inf, refuse: type[L2simError] = ChipError) -> int:
    """`value` as a whole number from `least` to `most`; raises `refuse` for all else, floats and truth values too."""
    if isinstance(value, kinds.Integral) and not isinstance(value, bool):
        number = int(value)
        if least <= number <= most:
            return number
    limits = f"from {least} on" if most == math.inf else f"from {least} to {most:g}"
    raise refuse(f"{what} must be a whole number {limits}, not {_shown(value)}")


def word(value: object, what: str, refuse: type[L2simError] = ChipError) -> str:
    """`value` as a name; raises `refuse` for what is no text."""
    if isinstance(value, str):
        return value
    raise refuse(f"{what} must be a name in quotes, not {_shown(value)}")


def path(value: object, what: str, refuse: type[L2simError] = ChipError) -> Path:
    """`value` as a path; raises `refuse` for what names none."""
    if isinstance(value, str | os.PathLike) and isinstance(os.fspath(value), str):
        return Path(value)
    raise refuse(f"{what} must be a path, not {_shown(value)}")


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def wrapped(phases: ArrayLike) -> Array:
    """Phases, rad, of any shape, modulo a turn: in [0, 2 pi), where NumPy's modulo also gives 2 pi (of -1e-17)."""
    turned = np.mod(phases, TURN)
    out: Array = np.where(turned < TURN, turned, 0.0 * turned)
    return out
