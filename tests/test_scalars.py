"""What callers give beside arrays (numbers, names, paths): every public door, every wrong kind refused in one line."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import l2sim
from l2sim.backend import generator
from l2sim.chip.svd_chip import SvdChip
from l2sim.errors import ChipError, L2simError
from l2sim.given import path, scalar, whole, word
from l2sim.job import presets
from l2sim.learn.search import selfconfigure
from l2sim.mesh import orthogonal, unitary
from l2sim.nn import models, network

GRID, ONE = l2sim.Mesh("rectangular", 4), np.eye(4)
SHEET = l2sim.Nonidealities()
START = unitary.decompose(GRID, ONE)
NET = network.build(models.get("mlp", 10), network.electronic(generator(1)))
HUGE = 10**400
WRONG: dict[str, Any] = {
    "None": None, "a word": "x", "a number in quotes": "4", "bytes": b"4", "NaN": float("nan"), "inf": float("inf"),
    "-1": -1, "0": 0, "1.5": 1.5, "True": True, "[]": [], "[4]": [4], "{}": {}, "complex": 1j, "huge": HUGE,
    "1e300": 1e300, "a function": len, "an array": np.array([4, 4]),
}  # fmt: skip


class Door(NamedTuple):
    """`call` with `right` answers, and of WRONG with `takes` only."""

    call: Callable[[Any], Any]
    right: Any
    takes: tuple[str, ...] = ()


def cores(**given: Any) -> l2sim.CoreChip:
    return l2sim.CoreChip(**{"shape": (1, 1), "mesh": GRID, "nonidealities": SHEET, "seed": 1} | given)


def whole_mesh(**given: Any) -> l2sim.MeshChip:
    return l2sim.MeshChip(**{"mesh": GRID, "nonidealities": SHEET, "seed": 1} | given)


FROM_0 = ("0", "1.5", "1e300")
DOORS = {
    "decompose, mesh": Door(lambda v: l2sim.decompose(ONE, v), GRID),
    "decompose, tolerance": Door(lambda v: l2sim.decompose(ONE, GRID, v), np.float32(0.1), FROM_0),
    "orthogonal.decompose": Door(lambda v: orthogonal.decompose(GRID, ONE, v), 0, FROM_0),
    "unitary.decompose": Door(lambda v: unitary.decompose(GRID, ONE, None, v), Fraction(1, 10), FROM_0),
    "unitary.decompose, mesh": Door(lambda v: unitary.decompose(v, ONE), GRID),
    "program, iterations": Door(lambda v: selfconfigure.program(GRID, ONE, None, v), 3, ("huge",)),
    "optimise, iterations": Door(lambda v: selfconfigure.optimise(GRID, ONE, START, None, v), np.int8(3), ("huge",)),
    "optimise, tolerance": Door(lambda v: selfconfigure.optimise(GRID, ONE, START, None, 2, v), 0.1, FROM_0),
    "Mesh, kind": Door(lambda v: l2sim.Mesh(v, 4), "reck"),
    "Mesh, modes": Door(lambda v: l2sim.Mesh("reck", v), np.int64(4)),
    "Mesh, node": Door(lambda v: l2sim.Mesh("reck", 4, node=v), "crossing"),
    "Mesh, couplers": Door(lambda v: l2sim.Mesh("reck", 4, couplers=v), ()),
    "Mesh.of, modes": Door(lambda v: l2sim.Mesh.of(v, np.array([0]), np.array([1])), 2),
    "CoreChip, shape": Door(lambda v: cores(shape=v), [1, 2]),
    "CoreChip, a side": Door(lambda v: cores(shape=(v, 1)), np.int64(2), ("0",)),
    "CoreChip, mesh": Door(lambda v: cores(mesh=v), GRID),
    "CoreChip, nonidealities": Door(lambda v: cores(nonidealities=v), SHEET),
    "CoreChip, seed": Door(lambda v: cores(seed=v), np.int64(7), ("0", "huge")),
    "CoreChip, name": Door(lambda v: cores(name=v), "fc1", ("a word", "a number in quotes")),
    "CoreChip, dtype": Door(lambda v: cores(dtype=v), "float32", ("None",)),
    "CoreChip, readouts": Door(lambda v: cores(readouts=v), ("power",), ("[]",)),
    "CoreChip, readout": Door(lambda v: cores().forward(np.ones((1, 1, 4, 1)), readout=v), "power"),
    "CoreChip, wait": Door(lambda v: cores().wait(v), 3, FROM_0),
    "MeshChip, seed": Door(lambda v: whole_mesh(seed=v), 0, ("0", "huge")),
    "MeshChip, readouts": Door(lambda v: whole_mesh(readouts=v), ["field"], ("[]",)),
    "MeshChip, readout": Door(lambda v: whole_mesh().forward(ONE, v), "power"),
    "MeshChip, wait": Door(lambda v: whole_mesh().wait(v), 0.5, FROM_0),
    "SvdChip, seed": Door(lambda v: SvdChip(GRID, SHEET, v), 1, ("0", "huge")),
    "SvdChip, readout": Door(lambda v: SvdChip(GRID, SHEET, 1).forward(ONE, v), "power"),
    "read_responses, path": Door(lambda v: l2sim.read_responses(v, 2, 3), Path("right.npz")),
    "read_responses, k": Door(lambda v: l2sim.read_responses("right.npz", v, 3), 2),
    "read_responses, settings": Door(lambda v: l2sim.read_responses("right.npz", 2, v), 3),
    "open": Door(l2sim.open, "."),
    "run": Door(lambda v: next(iter(l2sim.run(v))), l2sim.Job.preset("digits", {"data.name": "synthetic"})),
    "Job.preset": Door(l2sim.Job.preset, "digits"),
    "Job.preset, changes": Door(lambda v: l2sim.Job.preset("digits", v), {"learn.epochs": 2}, ("None", "{}")),
    "presets.get": Door(presets.get, "digits"),
    "models.get": Door(models.get, "mlp"),
    "models.get, classes": Door(lambda v: models.get("mlp", v), 7, ("huge",)),
    "models.get, input": Door(lambda v: models.get("mlp", 10, v), (1, 8, 8), ("None",)),
    "models.get, width": Door(lambda v: models.get("mlp", 10, None, v), 0.5, ("0", "1.5")),
    "load_weights, path": Door(lambda v: l2sim.load_weights(v, NET), "weights.npz"),
    "load_weights, network": Door(lambda v: l2sim.load_weights("weights.npz", v), NET),
    "load_weights, map": Door(lambda v: l2sim.load_weights("weights.npz", NET, True, v), ["fc1 = fc1"], ("[]", "{}")),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with what the right calls read."""
    monkeypatch.chdir(tmp_path)
    np.savez("right.npz", responses=np.ones((1, 3, 2, 2)))
    np.savez("weights.npz", **NET.state())


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", DOORS)
def test_wrong_kinds_are_refused_in_one_line(name: str) -> None:
    door = DOORS[name]
    for kind, value in WRONG.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if kind in door.takes:
                door.call(value)
                continue
            with pytest.raises(L2simError) as refused:
                door.call(value)
                pytest.fail(f"{name} takes {kind}")
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 300, f"{name} of {kind}"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", [name for name in DOORS if name != "open"])
def test_right_ones_are_taken(name: str) -> None:
    DOORS[name].call(DOORS[name].right)


def test_limits_themselves_are_taken_and_what_is_beyond_is_not() -> None:
    assert scalar(1, "x", 0.0, 1.0) == 1.0 and scalar(np.float32(0.5), "x", 0.0) == 0.5
    assert whole(np.uint8(3), "x", 3) == 3
    assert word("x", "a name") == "x" and path("x", "a file") == Path("x")
    for value in (np.nextafter(1.0, 2.0), -1e-300, np.bool_(True), "1", 1 + 0j, HUGE):
        with pytest.raises(ChipError, match=r"^x must be a number from 0 to 1, not "):
            scalar(value, "x", 0.0, 1.0)
    for value in (2, 5, 3.0, True, "3", None):
        with pytest.raises(ChipError, match=r"^x must be a whole number from 3 to 4, not "):
            whole(value, "x", 3, 4)


BRIGHT = (1e15, 1.000001e15, 1e20, 1e300)


@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("light", BRIGHT)
@pytest.mark.parametrize("kind", ("cores", "a mesh", "any matrix"))
@pytest.mark.filterwarnings("error")
def test_light_has_one_limit_on_all_chips(kind: str, light: float, dtype: str) -> None:
    chips: dict[str, Callable[[], Any]] = {
        "cores": lambda: cores(dtype=dtype).forward(np.full((1, 1, 4, 2), light), readout="power"),
        "a mesh": lambda: whole_mesh(dtype=dtype).forward(np.full((4, 2), -1j * light), "power"),
        "any matrix": lambda: SvdChip(GRID, SHEET, 1, dtype=dtype).forward(np.full((4, 2), light), "power"),
    }
    if light <= 1e15:
        assert np.isfinite(chips[kind]()).all()
        return
    with pytest.raises(ChipError, match=r"^light holds 1e\+\d+; a chip takes 1e\+15 at most"):
        chips[kind]()


@pytest.mark.parametrize("kind", ("float32", "float64", "complex128"))
def test_phases_of_a_matrix_lie_in_one_turn(kind: str) -> None:
    for size in (2, 5, 8):
        for seed in range(4):
            target = np.linalg.qr(generator(seed, "turn").normal(size=(size, size)))[0].astype(kind)
            for mesh in (l2sim.Mesh("clements", size), l2sim.Mesh("reck", size)):
                parts = l2sim.decompose(target, mesh)
                phases = parts[:1] if kind != "complex128" else parts
                assert all((p >= 0.0).all() and (p < 2.0 * np.pi).all() for p in phases)
                got = l2sim.mesh.mesh.matrix(mesh, *parts) if len(phases) == 1 else unitary.matrix(mesh, *[parts])
                assert np.abs(got - target).max() < (5e-6 if kind == "float32" else 1e-12)


@pytest.mark.parametrize("off", (0.0, 1e-12, 1e-7, 4e-5, 2e-4))
def test_a_real_matrix_that_is_nearly_orthogonal_is_made_so_as_a_complex_one(off: float) -> None:
    """Its phases are those of the nearest orthogonal one, not of what an elimination makes of the rest."""
    target = np.linalg.qr(generator(3, "near").normal(size=(6, 6)))[0]
    rough, mesh = target + off * generator(4, "near").uniform(-0.5, 0.5, (6, 6)), l2sim.Mesh("clements", 6)
    if off > 1e-4:
        with pytest.raises(ChipError, match="nearest_orthogonal"):
            l2sim.decompose(rough, mesh)
        return
    real = l2sim.mesh.mesh.matrix(mesh, *l2sim.decompose(rough, mesh))
    complex_ = unitary.matrix(mesh, l2sim.decompose(rough.astype(complex), mesh))
    np.testing.assert_allclose(real, complex_, rtol=0, atol=1e-11)
    np.testing.assert_allclose(real, l2sim.nearest_orthogonal(rough), rtol=0, atol=1e-11)
