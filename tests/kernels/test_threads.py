"""Work dealt to threads: all of it, once, whatever the number of threads is."""

from __future__ import annotations

import ast
import os
import threading
from typing import Any

import numpy as np
import pytest

from l2sim.backend import kernels
from tests.places import ROOT

MUCH = 2.0 * kernels.threads.SMALL


@pytest.fixture(params=(1, 2, 5))
def count(request: pytest.FixtureRequest) -> int:
    before = kernels.threads.count()
    kernels.threads.use(request.param)
    yield request.param
    kernels.threads.use(before)


@pytest.mark.parametrize("items", [0, 1, 2, 3, 100])
@pytest.mark.parametrize("nanoseconds", [0.0, MUCH])
def test_every_item_is_done_once(count: int, items: int, nanoseconds: float) -> None:
    done = np.zeros(items, int)

    def piece(begin: int, end: int, out: np.ndarray) -> None:
        out[begin:end] += 1

    kernels.threads.share(piece, items, nanoseconds, done)
    assert np.all(done == 1)


def test_small_work_stays_where_it_is(count: int) -> None:
    names = []
    kernels.threads.share(lambda *_: names.append(threading.current_thread().name), 100, kernels.threads.SMALL - 1.0)
    assert names == [threading.current_thread().name]


def test_large_work_is_shared() -> None:
    before = kernels.threads.count()
    kernels.threads.use(2)
    both = threading.Barrier(2, timeout=20)
    try:
        kernels.threads.share(lambda *_: both.wait(), 2, MUCH)  # each waits for the other
    finally:
        kernels.threads.use(before)


def test_what_a_piece_raises_is_raised(count: int) -> None:
    def piece(begin: int, end: int) -> None:
        if end == 100:
            raise ValueError("the last")

    with pytest.raises(ValueError, match="the last"):
        kernels.threads.share(piece, 100, MUCH)


def test_another_thread_has_a_count_of_its_own(count: int) -> None:
    seen = []
    thread = threading.Thread(target=lambda: (kernels.threads.use(7), seen.append(kernels.threads.count())))
    thread.start()
    thread.join()
    assert seen == [7] and kernels.threads.count() == count


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_process_makes_threads_of_its_own() -> None:
    before = kernels.threads.count()
    kernels.threads.use(2)
    try:
        kernels.threads.share(lambda *_: None, 8, MUCH)
        assert kernels.threads._pools
        child = os.fork()
        if not child:
            os._exit(len(kernels.threads._pools))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        kernels.threads.use(before)


def shared_pieces() -> dict[str, Any]:
    """Every function that a kernel hands to `share`, by name."""
    pieces = {}
    for path in sorted((ROOT / "kernels").glob("*.py")):
        calls = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call))
        for call in calls:
            if ast.unparse(call.func) == "threads.share":
                pieces[f"{path.stem}.{ast.unparse(call.args[0])}"] = getattr(
                    getattr(kernels, path.stem), ast.unparse(call.args[0])
                )
    return pieces


def test_whatever_is_shared_lets_other_threads_run_and_is_compiled_once() -> None:
    """Numba's defaults are to hold the interpreter's lock and to compile anew in every process."""
    pieces = shared_pieces()
    assert len(pieces) > 30
    held = {name for name, piece in pieces.items() if not piece.targetoptions.get("nogil")}
    fresh = {name for name, piece in pieces.items() if type(piece._cache).__name__ == "NullCache"}
    assert (held, fresh) == (set(), set())
