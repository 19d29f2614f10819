"""What is compiled while a run goes on, for the line that says why it waits. Numba tells by its events."""

from __future__ import annotations

import time
from typing import Any

from numba.core import event


class Compiling(event.Listener):
    """The kernel that is being compiled, and how many have been and for how long since `taken` asked: `with` it, in
    whatever thread they are compiled."""

    def __init__(self) -> None:
        self._name, self._begun, self._depth = "", 0.0, 0
        self._count, self._seconds = 0, 0.0

    def __enter__(self) -> Compiling:
        event.register("numba:compile", self)
        return self

    def __exit__(self, *raised: object) -> None:
        event.unregister("numba:compile", self)

    def on_start(self, signal: Any) -> None:
        """A kernel, or a function inside one."""
        if not self._depth:
            function = signal.data["dispatcher"].py_func
            family = function.__module__.rpartition(".")[2]
            self._name, self._begun = f"{family}.{function.__name__.removesuffix('_piece')}", time.monotonic()
        self._depth += 1

    def on_end(self, signal: Any) -> None:
        """The same, done."""
        self._depth -= 1
        if not self._depth:
            self._count, self._seconds = self._count + 1, self._seconds + time.monotonic() - self._begun
            self._name = ""

    def now(self) -> str:
        """What is being compiled and since when, in words; nothing while nothing is."""
        return f"compiling {self._name}, {time.monotonic() - self._begun:.0f} s" if self._name else ""

    def taken(self) -> str:
        """What has been compiled since this was asked last, in words."""
        count, seconds, self._count, self._seconds = self._count, self._seconds, 0, 0.0
        if not count:
            return ""
        return f"{count} kernel{'s' * (count != 1)} compiled in {seconds:.1f} s, which later runs load"
