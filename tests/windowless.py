"""What happens to the window's tests where Qt cannot be loaded: each file is one skipped test that says why.

pytest-qt would end the whole run there, so it is taken out before it loads Qt. In CI nothing is left out.
"""

from __future__ import annotations

import importlib.util
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from l2sim import system

FOLDER = "gui"
"""Where the window's tests lie."""


@cache
def obstacle() -> str:
    """Why no window can be opened here, and the cure; "" if nothing is in the way."""
    binding = os.environ.get("PYQTGRAPH_QT_LIB", "PyQt5")
    for package in (binding, "pyqtgraph", "pytestqt"):
        if importlib.util.find_spec(package) is None:
            return f'{package} is not installed; pip install --editable ".[dev]"'
    uses = ["window"] + ["display"] * (os.environ.get("QT_QPA_PLATFORM") == "xcb") + ["pyside"] * (binding != "PyQt5")
    lacking = system.missing(*uses)
    return f"Qt needs {', '.join(lacking)}; {system.cure(lacking.values())}" if lacking else ""


def left_out() -> str:
    """Why the window's tests do not run here; "" if they do."""
    return "" if os.environ.get("CI", "").lower() not in ("", "0", "false", "no") else obstacle()


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Called when the conftest is loaded, before pytest-qt is configured, which ends the run without Qt."""
    if left_out() and pluginmanager.has_plugin("pytest-qt"):
        pluginmanager.unregister(name="pytest-qt")


class LeftOut(pytest.Module):
    """A file of tests that are not collected."""

    def collect(self) -> list[pytest.Item]:
        return [NoWindow.from_parent(self, name="no_window")]


class NoWindow(pytest.Item):
    """Stands in the report for a file of the window's tests."""

    def runtest(self) -> None:
        pytest.skip(f"the window's tests are left out: {left_out()}")

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.path.name}: the window"


def pytest_pycollect_makemodule(module_path: Path, parent: Any) -> pytest.Module | None:
    if module_path.parent.name == FOLDER and left_out():
        return LeftOut.from_parent(parent, path=module_path)
    return None
