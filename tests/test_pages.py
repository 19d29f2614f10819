"""Memory that is used again."""

from __future__ import annotations

import threading

import numpy as np

from l2sim import pages

LARGE = (300, 700)


def address(a: np.ndarray) -> int:
    return a.ctypes.data


def test_memory_is_used_again_only_when_nothing_sees_it() -> None:
    a = pages.empty(LARGE, np.float32)
    assert a.shape == LARGE and a.dtype == np.float32 and a.flags.c_contiguous and address(a) % pages.LINE == 0
    first, corner = address(a), a.T[3:5, 1:]
    del a
    assert address(pages.empty(LARGE, np.float32)) != first  # a view of it is left
    del corner
    b = pages.empty(LARGE, np.float32)
    c = pages.empty(LARGE, np.float32)
    assert first in (address(b), address(c))
    assert not np.shares_memory(b, c)


def test_threads_share_nothing() -> None:
    made: list[np.ndarray] = []

    def make() -> None:
        made.extend(pages.empty(LARGE, float) for _ in range(3))

    both = [threading.Thread(target=make) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    for i, a in enumerate(made):
        a[...] = i
    assert all((a == i).all() for i, a in enumerate(made))


def test_what_lies_unused_is_given_back(monkeypatch) -> None:
    monkeypatch.setattr(pages, "FREE", 0)
    monkeypatch.setattr(pages, "_own", threading.local())  # without what other tests still hold
    kept = pages.empty(LARGE, np.float64)
    pages.empty((len(kept), 3 * LARGE[1]), np.float64)
    pages.empty((len(kept), 9 * LARGE[1]), np.float64)
    assert sum(map(len, pages._own.blocks.values())) <= 2
    kept[...] = 1.0


def test_small_and_empty_arrays_are_numpys() -> None:
    assert pages.empty((0, 5), np.float32).shape == (0, 5)
    assert pages.empty((3,), np.int8).base is None
