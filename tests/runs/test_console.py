"""What the console says of a run."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
from numba import njit

from l2sim.runs import console
from l2sim.runs.compiling import Compiling
from l2sim.store.events import Done, StageDone, StageStarted


def slow() -> None:
    """Something that numba compiles, and once only."""

    @njit
    def inner(x):  # type: ignore[no-untyped-def]
        return x + 1.0

    @njit
    def some_piece(x):  # type: ignore[no-untyped-def]
        return inner(x)

    some_piece(np.ones(3))


def test_what_is_compiled_is_counted_once() -> None:
    with Compiling() as compiling:
        assert compiling.now() == "" and compiling.taken() == ""
        begin = time.monotonic()
        slow()
        assert time.monotonic() > begin and compiling.now() == ""
        assert compiling.taken().startswith("1 kernel compiled in ")
        assert compiling.taken() == ""
    slow()
    assert compiling.taken() == "", "nobody listens any more"


def test_what_is_being_compiled_is_named() -> None:
    compiling, told = Compiling(), SimpleNamespace(data={"dispatcher": njit(slow)})
    compiling.on_start(told)
    compiling.on_start(told)  # a function inside
    compiling.on_end(told)
    assert compiling.now() == "compiling test_console.slow, 0 s"
    compiling.on_end(told)
    assert compiling.now() == ""


def test_a_stage_says_that_it_had_to_compile(capsys: pytest.CaptureFixture[str]) -> None:
    def events():  # type: ignore[no-untyped-def]
        yield StageStarted("map", 1, 0)
        slow()
        yield StageDone("map", {"name": "map", "seconds": 1.0})
        yield Done({"stages": []})

    console._lines(events())  # the private name: what `watch` does where there is no terminal
    said = capsys.readouterr().out.splitlines()
    assert said[1].startswith("map: 1 kernel compiled in ") and said[2].startswith("map: ")
