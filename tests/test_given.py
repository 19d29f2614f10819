"""What callers give as numbers: every public door, with every kind of array, and each answer right or refused.

`DOORS` is the list of the doors: what each is called with, and what it gives back as an array of numbers."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pytest

import l2sim
from l2sim.chip.complex_core_chip import ComplexChip
from l2sim.chip.svd_chip import SvdChip
from l2sim.errors import L2simError
from l2sim.given import finite, numbers, real
from l2sim.learn.search import selfconfigure
from l2sim.mesh import mesh, orthogonal, unitary
from l2sim.mesh.mesh import Mesh
from l2sim.nn import losses

GRID = Mesh("rectangular", 4)
SHEET = l2sim.Nonidealities()
WHOLE = np.array([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
"""Orthogonal, and of whole numbers, so that every number type has it exactly."""


class Door(NamedTuple):
    """`call` with `example` gives numbers; `real`: whether it takes real numbers only."""

    call: Callable[[Any], Any]
    example: np.ndarray
    real: bool


def cores() -> l2sim.CoreChip:
    return l2sim.CoreChip((1, 1), GRID, SHEET, seed=1)


def whole() -> l2sim.MeshChip:
    return l2sim.MeshChip(GRID, SHEET, seed=1, dtype="float64")


def any_matrix() -> SvdChip:
    return SvdChip(GRID, SHEET, seed=1, dtype="float64")


def told(chip: Any, read: Callable[[Any], Any], tell: Callable[[Any], None]) -> Any:
    tell(chip)
    return read(chip)


def core_phases(values: Any) -> Any:
    return told(cores(), lambda c: c.oracle_matrix("u"), lambda c: c.set_phases(u=values))


def core_signs(values: Any) -> Any:
    return told(cores(), lambda c: c.oracle_matrix("v"), lambda c: c.set_signs(v=values))


def core_sigma(values: Any) -> Any:
    return told(cores(), lambda c: c.oracle_sigma(), lambda c: c.set_sigma(values))


def mesh_phases(part: str) -> Callable[[Any], Any]:
    return lambda values: told(whole(), lambda c: c.oracle_matrix(), lambda c: c.set_phases(**{part: values}))


def gradient_of(values: Any) -> Any:
    return np.concatenate([np.ravel(a) for a in whole().oracle_gradient(values, np.ones((4, 3)))])


def flat(parts: Any) -> np.ndarray:
    return np.concatenate([np.ravel(part) for part in parts])


ones, light = np.ones((1, 1, *GRID.shape)), np.arange(12.0).reshape(4, 3)
signs = np.array([1.0, -1.0, -1.0, 1.0])
other = ComplexChip((1, 1), GRID, SHEET, seed=1)
start = unitary.decompose(GRID, np.eye(4))

DOORS = {
    "l2sim.decompose": Door(lambda u: flat(l2sim.decompose(u, Mesh("triangular", 4))), WHOLE, False),
    "l2sim.nearest_unitary": Door(l2sim.nearest_unitary, WHOLE, False),
    "l2sim.nearest_orthogonal": Door(l2sim.nearest_orthogonal, WHOLE, True),
    "orthogonal.decompose": Door(lambda u: flat(orthogonal.decompose(GRID, u)), WHOLE, True),
    "unitary.decompose": Door(lambda u: flat(unitary.decompose(GRID, u)), WHOLE, False),
    "unitary.gather": Door(lambda r: flat(unitary.gather(Mesh("balanced_tree", 4), r)), light[:, 0], False),
    "unitary.svd": Door(lambda w: unitary.svd(GRID, GRID, w)[1], np.diag([1.0, 2.0, 3.0, 4.0]), False),
    "unitary.matrix": Door(lambda t: unitary.matrix(GRID, start._replace(theta=t)), np.arange(6.0), True),
    "mesh.matrix": Door(lambda p: mesh.matrix(GRID, p), ones[0, 0], True),
    "mesh.matrix, signs": Door(lambda s: mesh.matrix(GRID, ones[0, 0], s), np.ones(4), True),
    "selfconfigure.program": Door(lambda u: flat(selfconfigure.program(GRID, u)), WHOLE, False),
    "selfconfigure.optimise": Door(lambda u: flat(selfconfigure.optimise(GRID, u, start, None, 2)[0]), WHOLE, False),
    "CoreChip.set_phases": Door(core_phases, ones, True),
    "CoreChip.set_signs": Door(core_signs, signs[None, None] ** 2, True),
    "CoreChip.set_sigma": Door(core_sigma, np.arange(4.0)[None, None], True),
    "CoreChip.forward": Door(lambda x: cores().forward(x), light[None, None], True),
    "CoreChip.backward": Door(lambda x: cores().backward(x), light[None, None], True),
    "ComplexChip.forward": Door(lambda x: other.forward(x, readout="field"), light[None, None], False),
    "ComplexChip.backward": Door(lambda x: other.backward(x, readout="field"), light[None, None], False),
    "MeshChip.set_phases, theta": Door(mesh_phases("theta"), np.arange(6.0), True),
    "MeshChip.set_phases, phi": Door(mesh_phases("phi"), np.arange(6.0), True),
    "MeshChip.set_phases, screen": Door(mesh_phases("screen"), np.arange(4.0), True),
    "MeshChip.forward": Door(lambda x: whole().forward(x), light, False),
    "MeshChip.backward": Door(lambda x: whole().backward(x), light, False),
    "MeshChip.taps": Door(lambda x: whole().taps(x)[0], light, False),
    "MeshChip.tap_sums": Door(lambda x: whole().tap_sums(x)[0], light, False),
    "MeshChip.oracle_gradient": Door(gradient_of, light, False),
    "SvdChip.set_sigma": Door(
        lambda s: told(any_matrix(), lambda c: c.oracle_matrix(), lambda c: c.set_sigma(s)), signs**2, True
    ),
    "SvdChip.forward": Door(lambda x: any_matrix().forward(x), light, False),
    "SvdChip.backward": Door(lambda x: any_matrix().backward(x), light, False),
    "SvdChip.taps": Door(lambda x: any_matrix().taps(x)[0], light, False),
    "losses.cross_entropy": Door(lambda z: losses.cross_entropy(z, np.array([0, 1, 3]))[1], light, True),
    "losses.squared_error": Door(lambda z: losses.squared_error(z, np.array([0, 1, 3]))[1], light, True),
    "losses.batch_softmax": Door(lambda z: losses.batch_softmax(z, np.array([0, 1, 3]))[1], light, True),
    "losses.accuracy": Door(lambda z: [losses.accuracy(z, np.array([0, 1, 3]))], light, True),
    "losses, labels": Door(lambda k: losses.squared_error(light, k)[1], np.array([0.0, 1.0, 3.0]), True),
}
EXACT = (
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
    "longdouble", ">f8", ">f4", ">i4", ">c16", "complex64", "complex128", "clongdouble", "object",
)  # fmt: skip


def laid_out(a: np.ndarray) -> dict[str, Any]:
    """The same numbers in other places of memory, and as Python's."""
    wide, stepped = np.zeros((*a.shape, 2)), np.zeros((2 * a.shape[0], *a.shape[1:]))
    wide[..., 1], stepped[::2] = a, a
    frozen = a.copy()
    frozen.setflags(write=False)
    return {
        "lists": a.tolist(), "a tuple": tuple(a.tolist()), "a list of arrays": list(a), "Fortran": np.asfortranarray(a),
        "strided": wide[..., 1], "every other": stepped[::2], "mirrored": a[::-1].copy()[::-1], "read-only": frozen,
        "unmasked": np.ma.masked_array(a, np.zeros(a.shape, bool)), "a matrix": np.matrix(a) if a.ndim == 2 else a,
        "fractions": np.vectorize(Fraction, otypes=[object])(a), "decimals": np.vectorize(Decimal, otypes=[object])(a),
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("name", DOORS)
def test_every_number_type_and_layout_is_computed_as_float64(name: str) -> None:
    door = DOORS[name]
    wanted = np.asarray(door.call(door.example.astype(np.float64)))
    given = {kind: door.example.astype(kind) for kind in EXACT} | laid_out(door.example)
    for kind, values in given.items():
        got = np.asarray(door.call(values))
        if name == "l2sim.decompose" and kind in (">c16", "complex64", "complex128", "clongdouble"):
            got = unitary.matrix(Mesh("triangular", 4), unitary.decompose(Mesh("triangular", 4), values))
            np.testing.assert_allclose(got, door.example, atol=1e-12)
            continue
        single = kind in ("float32", "complex64")
        np.testing.assert_allclose(got, wanted, atol=2e-6 if single else 1e-12, err_msg=f"{name} of {kind}")
        assert got.dtype.kind in "fc", f"{name} of {kind}"


@pytest.mark.parametrize("name", [name for name, door in DOORS.items() if set(np.unique(door.example)) <= {0.0, 1.0}])
def test_truth_values_are_ones_and_zeros(name: str) -> None:
    door = DOORS[name]
    np.testing.assert_allclose(door.call(door.example.astype(bool)), door.call(door.example), atol=1e-12)


def bad(a: np.ndarray) -> dict[str, Any]:
    """What no door takes."""
    holed, ragged = a.copy(), a.tolist()
    holed[(0,) * a.ndim] = np.nan
    ragged[0] = [1.0, [2.0]]
    return {
        "NaN": holed, "inf": np.where(np.isnan(holed), -np.inf, a), "text": a.astype(str), "bytes": a.astype("S8"),
        "dates": a.astype("timedelta64[s]"), "None": None, "a word": "light", "ragged": ragged, "a set": {1.0, 2.0},
        "masked": np.ma.masked_array(a, np.isnan(holed)), "objects": np.full(a.shape, None), "a number": 3.0,
        "one more axis": a[None], "one axis less": a[0], "empty": a[..., :0],
        "one more": np.repeat(a, 2, axis=-2 % a.ndim), "too large": np.full(a.shape, 10**400),
        "a table with names": np.zeros(a.shape, [("x", float)]), "a function": len,
        "words among objects": np.where(np.isnan(holed), "1.0", a.astype(object)), "a dict": {"theta": a},
    }  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", DOORS)
def test_what_is_no_array_of_finite_numbers_or_does_not_fit_is_refused_in_one_line(name: str) -> None:
    door = DOORS[name]
    for kind, values in bad(door.example).items():
        if name in FREE.get(kind, ()):
            continue
        with pytest.raises(L2simError) as refused:
            door.call(values)
            pytest.fail(f"{name} takes {kind}")
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 300, f"{name} of {kind}"


OBJECTIVES = ("losses.cross_entropy", "losses.squared_error", "losses.batch_softmax", "losses.accuracy")
FREE = {
    "NaN": OBJECTIVES,
    "inf": OBJECTIVES,
    "one more": OBJECTIVES,
    "one more axis": ("l2sim.decompose", "orthogonal.decompose", "l2sim.nearest_unitary", "l2sim.nearest_orthogonal",
                      "mesh.matrix"),
    "None": ("mesh.matrix, signs", "CoreChip.set_phases", "CoreChip.set_signs", "MeshChip.set_phases, theta",
             "MeshChip.set_phases, phi", "MeshChip.set_phases, screen"),
}  # fmt: skip
"""Where leading axes are a batch, where None leaves things as they are, where what diverges is to be seen, and where
there may be any number of classes."""


@pytest.mark.parametrize("name", [name for name, door in DOORS.items() if door.real])
def test_real_doors_refuse_what_is_complex(name: str) -> None:
    door = DOORS[name]
    with pytest.raises(L2simError, match="complex"):
        door.call(door.example + 1e-9j)


def test_what_is_given_is_left_as_it_was() -> None:
    for name, door in DOORS.items():
        values = door.example.astype(np.complex128 if not door.real else np.float64)
        before = values.copy()
        door.call(values)
        np.testing.assert_array_equal(values, before, err_msg=name)


def test_the_conversion_keeps_single_precision_and_widens_the_rest() -> None:
    kept = {"float32": "float32", "complex64": "complex64", ">f4": "float64", "float16": "float64"}
    for kind, wanted in kept.items():
        assert numbers(np.ones(2, kind), "x").dtype == wanted
    assert real(np.ones(2, "complex64"), "x").dtype == "float32"
    assert finite([2**70, 1], "x").tolist() == [2.0**70, 1.0]
    same = np.ones(3)
    assert numbers(same, "x") is same
