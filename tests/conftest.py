"""One kernel thread for all tests: their problems are tiny, and OpenMP threads that wait for a busy core cost seconds.

Tests of the thread count set it themselves.
"""

from __future__ import annotations

from collections.abc import Iterator

import numba
import pytest


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)
