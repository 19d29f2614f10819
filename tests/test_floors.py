"""The house has floors: a file imports from its own folder or from a floor below, never up (docs/design.md)."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.places import ROOT

FLOORS = (
    ("kernels",),
    ("ground",),
    ("mesh", "data"),
    ("chip",),
    ("nn",),
    ("learn",),
    ("job",),
    ("store",),
    ("flow",),
    ("report", "inspect"),
    ("runs",),
    ("sweep",),
    ("cli", "study", "gui"),
)
"""From the bottom; rooms on one floor do not know each other. `ground` is the files of l2sim/ that all stand on."""
HEIGHT = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
GROUND = {
    "backend", "blas", "errors", "faces", "files", "fits", "given", "naming", "pages", "plugins", "streams", "system",
    "tables", "_version", "__version__",
}  # fmt: skip
DOORS = {"__init__.py", "__main__.py"}
"""The two files of l2sim/ itself that lead anywhere, lazily; checked in test_imports."""
FRAMEWORKS = {"torch", "jax", "jaxlib", "tensorflow", "keras", "flax"}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def floor_of_module(name: str) -> str | None:
    """The floor of a module given in full, None for one that is not ours."""
    parts = name.split(".")
    if parts[0] in ("kernels", "gui"):
        return parts[0]
    if parts[0] != "l2sim" or len(parts) == 1:
        return None
    return "ground" if parts[1] in GROUND else parts[1]


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, path: Path) -> Iterator[str]:
    """Every module that a file imports, in full; `from l2sim import x` counts as l2sim.x, and gui the same."""
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names) if base in ("l2sim", "gui", "") else (base,)


def breaches(source: str, path: Path) -> list[str]:
    """The imports of a file that go up, or to a floor that does not exist."""
    own = floor_of_module(module_of(path))
    floors = {name: floor_of_module(name) for name in imports(ast.parse(source), path)}
    return [
        f"{path.relative_to(ROOT)} ({own}) imports {name}"
        for name, floor in floors.items()
        if floor is not None
        and floor != own
        and (floor not in HEIGHT or HEIGHT[floor] >= HEIGHT.get(own or "kernels", len(FLOORS)))
    ]


def test_nothing_imports_upwards() -> None:
    files = [p for p in sources("l2sim", "kernels", "gui") if p.parent != ROOT / "l2sim" or p.name not in DOORS]
    assert len(files) > 25
    assert [line for path in files for line in breaches(path.read_text(), path)] == []


@pytest.mark.parametrize(
    "line, place, allowed",
    (
        ("from l2sim.learn import zeroth", "l2sim/chip/core_chip.py", False),
        ("from l2sim import learn", "l2sim/chip/core_chip.py", False),
        ("import l2sim.job.job", "l2sim/nn/layers.py", False),
        ("from l2sim.chip import grid", "l2sim/learn/search/zeroth.py", True),
        ("from ...job import job", "l2sim/learn/search/zeroth.py", False),
        ("from . import mesh", "l2sim/chip/core_chip.py", True),
        ("def f():\n    from l2sim.nn import layers", "l2sim/chip/core_chip.py", False),
        ("from l2sim.backend import kernels", "l2sim/mesh/mesh.py", True),
        ("from l2sim.mesh import mesh", "l2sim/backend.py", False),
        ("from l2sim.runs import execute", "l2sim/report/page.py", False),
        ("from l2sim.inspect import run", "l2sim/report/page.py", False),
        ("from l2sim.attic import mesh", "l2sim/job/job.py", False),
        ("from l2sim.errors import ChipError", "kernels/chain.py", False),
    ),
)
def test_the_test_can_tell(line: str, place: str, allowed: bool) -> None:
    assert (breaches(line, ROOT / place) == []) == allowed


def test_kernels_need_numpy_and_numba_only() -> None:
    for path in sources("kernels"):
        for name in imports(ast.parse(path.read_text()), path):
            top = name.partition(".")[0]
            assert top in {"numpy", "numba", "kernels", *sys.stdlib_module_names}, f"{path.name} imports {name}"


def test_the_kernels_have_one_door() -> None:
    for path in sources("l2sim", "tests", "gui"):
        if path != ROOT / "l2sim" / "backend.py":
            names = set(imports(ast.parse(path.read_text()), path))
            assert not {n for n in names if n.split(".")[0] == "kernels" or n.startswith("l2sim.kernels")}, path


def test_there_is_no_framework() -> None:
    """But for what is measured beside ours (`benchmarks/peers`), which nothing of ours needs."""
    for path in sources("l2sim", "kernels", "gui", "tests", "benchmarks"):
        names = {name.partition(".")[0] for name in imports(ast.parse(path.read_text()), path)}
        assert not names & FRAMEWORKS or path.parent == ROOT / "benchmarks" / "peers", path


QT = {"PyQt5", "PyQt6", "PySide2", "PySide6", "qtpy", "pyqtgraph"}


def test_only_the_window_knows_qt_and_only_through_pyqtgraph() -> None:
    for path in sources("l2sim", "kernels", "gui", "tests", "benchmarks"):
        names = {name for name in imports(ast.parse(path.read_text()), path) if name.partition(".")[0] in QT}
        if path.relative_to(ROOT).parts[0] in ("tests", "gui", "benchmarks"):
            assert {name.partition(".")[0] for name in names} <= {"pyqtgraph"}, path
        else:
            assert not names, path


def test_nobody_imports_the_window() -> None:
    for path in sources("l2sim", "kernels"):
        names = set(imports(ast.parse(path.read_text()), path))
        assert not {n for n in names if n.split(".")[0] == "gui" or n.startswith("l2sim.gui")}, path


WINDOW_FLOORS = ("base", "mesh", "panels", "window")
"""Of gui/, from the bottom; its own `__init__` and `__main__` lead anywhere."""


def window_breaches(source: str, path: Path) -> list[str]:
    """The imports of a file of gui/ that go up inside it, or to a room that it does not have."""
    room, upwards = path.relative_to(ROOT).parts[1], []
    for name in imports(ast.parse(source), path):
        parts = name.removeprefix("l2sim.").split(".")
        if parts[0] == "gui" and len(parts) > 1 and room in WINDOW_FLOORS:
            known = parts[1] in WINDOW_FLOORS
            if not known or WINDOW_FLOORS.index(parts[1]) > WINDOW_FLOORS.index(room):
                upwards.append(f"{path.relative_to(ROOT)} imports {name}")
    return upwards


def test_the_window_has_floors_too() -> None:
    files = [path for path in sources("gui") if path.parent != ROOT / "gui"]
    assert {path.relative_to(ROOT).parts[1] for path in files} == set(WINDOW_FLOORS)
    assert [line for path in files for line in window_breaches(path.read_text(), path)] == []


INSIDE = ("panels/comparison", "panels/diagnosis", "panels/lab", "panels/phases", "window/first")


@pytest.mark.parametrize("room", (*WINDOW_FLOORS, *INSIDE))
def test_a_room_of_the_window_names_its_modules(room: str) -> None:
    modules = {path.stem for path in (ROOT / "gui" / room).iterdir() if path.suffix == ".py" or path.is_dir()}
    names = importlib.import_module(f"l2sim.gui.{room.replace('/', '.')}").__all__
    assert set(names) == modules - {"__init__", "__pycache__"}


@pytest.mark.parametrize(
    "line, place, allowed",
    (
        ("from ..window import jobform", "gui/panels/runs.py", False),
        ("from .. import window", "gui/panels/runs.py", False),
        ("from ..panels.chart import Chart", "gui/mesh/view.py", False),
        ("def f():\n    from ..mesh import light", "gui/base/model.py", False),
        ("if TYPE_CHECKING:\n    from ..mesh.view import MeshView", "gui/base/files.py", False),
        ("import l2sim.gui.window.app", "gui/panels/runs.py", False),
        ("from ..attic import mesh", "gui/window/window.py", False),
        ("from ..mesh.legend import Legend", "gui/panels/blocks.py", True),
        ("from . import commands", "gui/window/window.py", True),
        ("from l2sim.job import job", "gui/base/fields.py", True),
    ),
)
def test_the_test_of_the_window_can_tell(line: str, place: str, allowed: bool) -> None:
    assert (window_breaches(line, ROOT / place) == []) == allowed


def parallel(tree: ast.AST) -> list[str]:
    """Where Numba is told to make threads of its own."""
    return [
        ast.unparse(n)
        for n in ast.walk(tree)
        if (isinstance(n, ast.Name) and n.id == "prange") or (isinstance(n, ast.keyword) and n.arg == "parallel")
    ]


def test_threads_are_dealt_in_one_place() -> None:
    """By `kernels.threads`: a loop that Numba makes parallel takes several times as long to compile."""
    for path in sources("kernels", "l2sim", "gui", "benchmarks"):
        assert parallel(ast.parse(path.read_text())) == [], path
    assert parallel(ast.parse("@njit(parallel=True)\ndef f():\n    for i in prange(3): pass")) != []
