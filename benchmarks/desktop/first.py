"""The first minute with the window, seen from outside: `gui-first` and `gui-card`.

`gui-first` starts the program as a person does and looks at the screen until a picture is there, and until the start
page is; it needs a display (`xvfb-run -a python -m benchmarks --only gui-first`). `gui-card` clicks each card of the
start page until its run is painted. Both with what this machine has compiled before, and where nothing was compiled
yet.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.desktop.painting import needed
from benchmarks.measure import Bench, LeftOut, Measurement

ROUNDS = 3
"""Starts with a warm cache, of which the median counts."""
PAGE = 0.3
"""Share of the screen that the window fills, and the splash does not."""
PATIENCE = 300.0


def first(bench: Bench) -> Iterator[Measurement]:
    """`gui-first`: seconds from the start of the program to the first picture and to the start page."""
    needed()
    if not os.environ.get("DISPLAY"):
        raise LeftOut("it looks at a display, e.g. that of xvfb-run")
    _outside("_starts(1)")  # compiled
    empty = [] if bench.quick else [("nothing compiled", True, 1)]
    for kind, cold, count in (("warm", False, 1 if bench.quick else ROUNDS), *empty):
        rows = _outside(f"_starts({count})", cold)
        for name, values in zip(("picture", "start page"), zip(*rows)):
            yield Measurement("gui-first", f"{name}, {kind}", statistics.median(values), 1.0, "starts/s", dtype="")


def card(bench: Bench) -> Iterator[Measurement]:
    """`gui-card`: seconds from a click on a card to its run on the screen."""
    needed()
    _outside("_cards()")
    for kind, cold in (("warm", False), *([] if bench.quick else [("nothing compiled", True)])):
        for name, seconds in zip(("first", "second", "third"), _outside("_cards()", cold)[0]):
            yield Measurement("gui-card", f"{name} card, {kind}", seconds, 1.0, "cards/s", dtype="")


def _outside(call: str, cold: bool = False) -> list[list[float]]:
    """What a function of this file prints in a process of its own, by lines; `cold`: where nothing is compiled."""
    code = f"from benchmarks.desktop import first; first.{call}"
    with tempfile.TemporaryDirectory() as root:
        more = {"XDG_CONFIG_HOME": root} | ({"NUMBA_CACHE_DIR": root} if cold else {})
        out = subprocess.run(
            [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True, env=os.environ | more
        ).stdout
    return [[float(word) for word in line.split()] for line in out.splitlines()]


def _starts(count: int) -> None:
    """Start the program and look at the screen: seconds to a picture, and to the start page."""
    os.environ["QT_QPA_PLATFORM"] = "xcb"
    from l2sim.gui.window.app import start_qt

    screen = start_qt().primaryScreen()
    for _ in range(count):
        ground = _pixels(screen)
        with tempfile.TemporaryDirectory() as runs:
            begin = time.monotonic()
            program = subprocess.Popen([sys.executable, "-m", "l2sim.gui", "--runs", runs])
            try:
                seen = _until(lambda: np.any(_pixels(screen) != ground), begin)  # noqa: B023
                page = _until(lambda: np.mean(_pixels(screen) != ground) > PAGE, begin)  # noqa: B023
            finally:
                program.terminate()
                program.wait()
        _until(lambda: np.array_equal(_pixels(screen), ground), time.monotonic())  # noqa: B023
        print(seen, page, flush=True)


def _pixels(screen: Any) -> Any:
    """The screen as numbers, one a pixel."""
    image = screen.grabWindow(0).toImage()
    content = image.constBits()
    with contextlib.suppress(AttributeError):  # PySide6 gives the bytes at once
        content.setsize(image.bytesPerLine() * image.height())
    return np.frombuffer(content, np.uint32).copy()


def _cards() -> None:
    """Click each card of the start page: seconds until its run is painted."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from pathlib import Path

    from l2sim.gui.window.app import start_qt
    from l2sim.gui.window.first import warm
    from l2sim.gui.window.window import Window
    from pyqtgraph.Qt import QtCore, QtTest

    from benchmarks.desktop.window import counted

    application = start_qt()
    warm.up()  # the splash does that
    taken = []
    with tempfile.TemporaryDirectory() as runs:
        window = Window(Path(runs))
        window.resize(1280, 820)
        window.show()
        application.processEvents()
        for shown in window.start.cards:
            window.go_home()
            application.processEvents()
            seen, begin = counted(window.mesh), time.monotonic()
            QtTest.QTest.mouseClick(shown, QtCore.Qt.MouseButton.LeftButton)
            taken.append(_until(lambda: application.processEvents() or seen.pictures, begin))  # noqa: B023
        window.close_quietly()
    print(*taken)


def _until(holds: Callable[[], object], begin: float) -> float:
    """Seconds since `begin` until something holds."""
    while not holds():
        assert time.monotonic() - begin < PATIENCE, "nothing was seen"
        time.sleep(0.002)
    return time.monotonic() - begin


CASES = (("gui-first", first), ("gui-card", card))
