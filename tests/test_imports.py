"""Importing l2sim and asking for help are instant: nothing heavy is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("numba", "scipy", "matplotlib", "PyQt5", "pyqtgraph", "cupy", "pooch", "llvmlite")


def loaded_by(code: str) -> set[str]:
    """Top-level modules in `sys.modules` of a new interpreter that ran `code`."""
    report = "; import sys; sys.stderr.write(' '.join({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", ["--help", "run --help", "data --help", "--version"])
def test_help_loads_nothing_heavy(arguments: str) -> None:
    code = (
        "import contextlib, l2sim.cli.main as cli\n"
        f"with contextlib.suppress(SystemExit): cli.main({arguments.split()!r})\n"
        "pass"
    )
    loaded = loaded_by(code)
    assert "click" in loaded
    assert not loaded & {*HEAVY, "numpy", "rich"}


def test_the_package_loads_nothing_heavy() -> None:
    loaded = loaded_by("import l2sim; l2sim.__version__")
    assert "l2sim" in loaded
    assert not loaded & {*HEAVY, "numpy", "rich", "click"}


def test_the_rooms_of_the_window_are_named_without_qt() -> None:
    rooms = ", ".join(f"l2sim.gui.{room}" for room in ("base", "mesh", "panels", "window"))
    assert not loaded_by(f"import l2sim.gui, {rooms}") & {*HEAVY, "numpy"}


def test_a_job_needs_no_arrays() -> None:
    loaded = loaded_by("import l2sim; l2sim.Job.preset('digits')")
    assert "msgspec" in loaded
    assert not loaded & {*HEAVY, "numpy", "rich", "click"}
