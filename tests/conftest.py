"""One kernel thread for all tests: their problems are tiny, and threads that wait for a busy core cost seconds.

Tests of the thread count set it themselves. No outcome depends on how busy or how large the machine is, or on chance.
Where the window cannot be opened its tests are left out and say why, but never in CI (`tests/windowless.py`); warnings
of other packages are counted at the end (`tests/warned.py`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Windows are driven without a display unless the caller names one (xvfb-run with QT_QPA_PLATFORM=xcb), on PyQt5 unless
# PYQTGRAPH_QT_LIB says otherwise.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ["PYTEST_QT_API"] = os.environ.setdefault("PYQTGRAPH_QT_LIB", "PyQt5").lower()
os.environ.setdefault("NUMBA_NUM_THREADS", str(max(2, len(os.sched_getaffinity(0)))))  # two can be tried on one core

import hypothesis
import hypothesis.database
import pytest
from numba.core.caching import IndexDataCacheFile

from l2sim.backend import kernels
from tests.tolerances import PATIENCE
from tests.warned import pytest_terminal_summary  # noqa: F401  (pytest calls these)
from tests.windowless import pytest_addoption, pytest_pycollect_makemodule  # noqa: F401

# The same examples everywhere and every time, however long one takes; `make fuzz` looks for others, and first tries
# again what it found before, which lies in tests/finds.
SLOW = [hypothesis.HealthCheck.too_slow]
FINDS = hypothesis.database.DirectoryBasedExampleDatabase(Path(__file__).parent / "finds")
hypothesis.settings.register_profile(
    "same", deadline=None, derandomize=True, database=None, suppress_health_check=SLOW
)
hypothesis.settings.register_profile("fuzz", deadline=None, database=FINDS, suppress_health_check=SLOW, print_blob=True)
hypothesis.settings.load_profile("fuzz" if os.environ.get("L2SIM_FUZZ") else "same")

_save = IndexDataCacheFile.save


def _save_alone(self: Any, key: Any, data: Any) -> None:
    """Numba's cache on disk is written by one process at a time: two that compile the same function for other types at
    one moment would take the same file for both."""
    with open(Path(self._cache_path) / "writer.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _save(self, key, data)


IndexDataCacheFile.save = _save_alone


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = kernels.threads.count()
    kernels.threads.use(1)
    yield
    kernels.threads.use(before)


@pytest.fixture(autouse=True)
def widgets_go() -> Iterator[None]:
    """What a test closed is destroyed by Qt before the next one begins. Else it waits for an event loop, all widgets of
    all tests are restyled with every new theme, and Python's garbage collection destroys some in an order of its own,
    of which PySide6 has died."""
    yield
    qt = sys.modules.get("pyqtgraph.Qt")
    if qt is not None and qt.QtWidgets.QApplication.instance() is not None:
        kind = qt.QtCore.QEvent.Type.DeferredDelete
        qt.QtCore.QCoreApplication.sendPostedEvents(None, getattr(kind, "value", kind))


def _smoke(preset: str, out: Path) -> Path:
    from l2sim.job import job as jobs
    from l2sim.runs.execute import execute

    for _ in execute(jobs.smoke(jobs.load(preset)), out):
        pass
    return out


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished smoke run of `digits`; nobody writes to it."""
    return _smoke("digits", tmp_path_factory.mktemp("runs") / "digits-1")


@pytest.fixture(scope="session")
def insitu_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished smoke run of `insitu-digits`; nobody writes to it."""
    return _smoke("insitu-digits", tmp_path_factory.mktemp("runs") / "insitu-1")


@pytest.fixture
def make_window(qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Any]]:
    """Makes windows of 1200 x 800 whose runs and kept layout lie in `tmp_path`; none of them may crash."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    from l2sim.gui.base import launch
    from l2sim.gui.window.window import Window

    made: list[Any] = []
    # pytest-qt closes windows before any fixture ends, and a window that is closed forgets its jobs.
    jobs: list[int] = []
    begin = launch.Process.__init__

    def begun(self: Any, *arguments: Any) -> None:
        begin(self, *arguments)
        jobs.append(self.pid)

    monkeypatch.setattr(launch.Process, "__init__", begun)

    def window() -> Any:
        it = Window(tmp_path / "runs")
        qtbot.addWidget(it)
        it.resize(1200, 800)
        with qtbot.waitActive(it, timeout=PATIENCE):  # else an X server without a window manager gives it no keys
            it.show()
            it.activateWindow()
        made.append(it)
        return it

    yield window
    for number in jobs:
        with contextlib.suppress(ChildProcessError):  # it ended, and somebody waited for it
            if os.waitpid(number, os.WNOHANG) == (0, 0):
                os.kill(number, signal.SIGKILL)
                os.waitpid(number, 0)
    for it in made:
        assert it.crashed == ""


@pytest.fixture
def window(make_window: Callable[[], Any]) -> Any:
    return make_window()


@pytest.fixture
def opened(window: Any, digits_run: Path) -> Any:
    assert window.open(digits_run)
    window.tick(everything=True)
    return window
