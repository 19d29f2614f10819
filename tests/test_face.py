"""The face of the package: what a user needs is listed, completes by tab, loads when used, and says what it does."""

from __future__ import annotations

import ast
import inspect
import rlcompleter
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import l2sim
from l2sim.errors import ChipError
from l2sim.mesh import mesh as meshes
from l2sim.mesh import unitary
from l2sim.mesh.orthogonal import Rotations
from l2sim.mesh.unitary import Settings
from tests.places import ROOT
from tests.test_imports import HEAVY, loaded_by

NEEDED = {
    "CoreChip", "Job", "Mesh", "MeshChip", "Nonidealities", "decompose", "errors", "load_weights", "models",
    "nearest_orthogonal", "nearest_unitary", "open", "presets", "read_responses", "run",
}  # fmt: skip
ROOMS = {
    "chip", "data", "flow", "inspect", "job", "learn", "mesh", "nn", "report", "runs", "store", "study", "sweep",
}  # fmt: skip


def public(names: list[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def test_dir_lists_what_a_user_needs_and_loads_nothing() -> None:
    assert public(dir(l2sim)) == NEEDED | ROOMS == public(l2sim.__all__)
    assert not loaded_by("import l2sim; dir(l2sim)") & {*HEAVY, "numpy", "rich", "click", "msgspec"}


def test_names_complete_by_tab() -> None:
    completer = rlcompleter.Completer({"l2sim": l2sim})
    assert {completer.complete("l2sim.Mesh", i) for i in range(2)} == {"l2sim.Mesh(", "l2sim.MeshChip("}


@pytest.mark.parametrize("name", sorted(NEEDED | ROOMS))
def test_every_name_loads_and_says_what_it_is(name: str) -> None:
    doc = getattr(l2sim, name).__doc__
    assert doc and len(doc.splitlines()[0]) > 20


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_every_name_of_a_room_is_there(room: str) -> None:
    module = getattr(l2sim, room)
    for name in public(dir(module)):
        value = getattr(module, name)
        if inspect.ismodule(value) or inspect.isclass(value) or inspect.isroutine(value):  # not an alias of types
            assert value.__doc__, f"{room}.{name}"


def test_what_is_not_there_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'l2sim' has no attribute 'chips'"):
        _ = l2sim.chips  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from l2sim import nothing  # type: ignore[attr-defined]  # noqa: F401


def test_a_face_loads_a_name_when_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "someroom").mkdir()
    (tmp_path / "someroom/__init__.py").write_text(
        "from l2sim.faces import lazy\n__getattr__, __dir__ = lazy(__name__, {'Thing': 'things', 'things': 'things'})\n"
    )
    (tmp_path / "someroom/things.py").write_text("class Thing: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import someroom  # type: ignore[import-not-found]

    assert public(dir(someroom)) == {"Thing", "things"} and "someroom.things" not in sys.modules
    assert someroom.Thing is someroom.things.Thing and "someroom.things" in sys.modules
    with pytest.raises(AttributeError, match="module 'someroom' has no attribute 'thing'"):
        _ = someroom.thing


# -- meshes ------------------------------------------------------------------------------------------------------------


def test_meshes_answer_to_what_the_field_calls_them() -> None:
    assert l2sim.Mesh("clements", 8) == l2sim.Mesh("rectangular", 8) and l2sim.Mesh("clements", 8).kind == "rectangular"
    assert l2sim.Mesh("reck", 8) == l2sim.Mesh("triangular", 8)
    with pytest.raises(ChipError, match=r"'klements' is unknown; use one of rectangular, triangular.*clements, reck"):
        l2sim.Mesh("klements", 8)


@pytest.mark.parametrize("kind", ("clements", "reck"))
def test_one_door_decomposes_real_and_complex_matrices(kind: str) -> None:
    mesh, rng = l2sim.Mesh(kind, 6), np.random.default_rng(1)
    real = np.linalg.qr(rng.standard_normal((3, 6, 6)))[0]
    rotations = l2sim.decompose(real, mesh)
    assert isinstance(rotations, Rotations) and rotations.phases.shape == (3, *mesh.shape)
    np.testing.assert_allclose(meshes.matrix(mesh, *rotations), real, atol=1e-12)
    one = l2sim.decompose(np.eye(6, dtype=int).tolist(), mesh)
    assert isinstance(one, Rotations) and one.phases.dtype == np.float64
    complex_ = unitary.haar_matrix(rng, 6)
    settings = l2sim.decompose(complex_, mesh)
    assert isinstance(settings, Settings) and settings.theta.shape == (mesh.count,)
    np.testing.assert_allclose(unitary.matrix(mesh, settings), complex_, atol=1e-12)


def test_a_mesh_of_no_real_core_takes_real_matrices_as_complex_ones() -> None:
    mesh, wanted = l2sim.Mesh("tree_cascade", 5), np.linalg.qr(np.random.default_rng(2).standard_normal((5, 5)))[0]
    settings = l2sim.decompose(wanted, mesh)
    assert isinstance(settings, Settings)
    np.testing.assert_allclose(unitary.matrix(mesh, settings), wanted, atol=1e-12)


@pytest.mark.parametrize(("matrix", "mesh", "words"), (
    (np.ones((4, 4)), l2sim.Mesh("reck", 4), "takes only orthogonal"),
    (1j * np.ones((4, 4)), l2sim.Mesh("reck", 4), "takes only unitary"),
    (np.eye(3), l2sim.Mesh("reck", 4), "do not fit"), (np.eye(3) + 0j, l2sim.Mesh("reck", 4), "does not fit"),
    ([[1.0], [1.0, 2.0]], l2sim.Mesh("reck", 4), "rows of one length"), ("U", l2sim.Mesh("reck", 4), "array of"),
    (np.full((4, 4), np.nan), l2sim.Mesh("reck", 4), "not finite"), (np.eye(4), 4, "for a mesh"),
    (np.eye(4), l2sim.Mesh("butterfly", 4), "no decomposition"),
))  # fmt: skip
def test_what_cannot_be_decomposed_is_said_in_one_line(matrix: Any, mesh: Any, words: str) -> None:
    with pytest.raises(ChipError, match=words) as error:
        l2sim.decompose(matrix, mesh)
    assert "\n" not in str(error.value)


# -- help --------------------------------------------------------------------------------------------------------------


def test_no_docstring_sends_its_reader_elsewhere() -> None:
    for path in sorted(path for folder in ("l2sim", "kernels") for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                doc = ast.get_docstring(node) or ""
                assert not doc.startswith(("See `", "See the ")), f"{path.name}: {getattr(node, 'name', '')}"


@pytest.mark.parametrize("name", ("CoreChip", "MeshChip", "Mesh", "Nonidealities", "Job"))
def test_help_says_what_every_method_does(name: str) -> None:
    kind = getattr(l2sim, name)
    own = {key: member for key, member in vars(kind).items() if not key.startswith("_")}
    for key, member in own.items():
        if inspect.isfunction(member) or isinstance(member, property | classmethod | staticmethod):
            assert inspect.getdoc(getattr(kind, key)), f"{name}.{key}"
