"""Which panels are refreshed at a beat of the window's timer, so that no beat pays for all of them. No Qt here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Set
from typing import Generic, Protocol, TypeVar

ASKED = {"step", "layer", "block", "side", "element", "input", "run", "acks"}
"""Changes that a person waits for: those of the selection, and answers to orders."""
WHOLE = {"all", "theme"}


class Refreshed(Protocol):
    """A panel, as far as its turn depends on it. `every`: seconds between two refreshes that nobody asked for; `sees`:
    the changes that concern it, None for all."""

    every: float
    sees: Set[str] | None

    def isVisible(self) -> bool:
        """Whether it is on the screen."""


P = TypeVar("P", bound=Refreshed)


class Beat(Generic[P]):
    """What each panel has not shown yet, when it was last refreshed and how long that took."""

    def __init__(self) -> None:
        self.hidden: set[P] = set()
        self._dirty: dict[P, set[str]] = {}
        self._last: dict[P, float] = {}
        self._cost: dict[P, float] = {}

    def note(self, panel: P, names: Iterable[str]) -> None:
        """Something changed that the panel has to show when it is due."""
        self._dirty.setdefault(panel, set()).update(names if panel.sees is None else panel.sees & {*names})

    def see(self, panel: P, seen: bool) -> None:
        """A panel came into sight or went out of it, which Qt does not tell of one behind another tab."""
        (self.hidden.discard if seen else self.hidden.add)(panel)

    def go(self, panels: Iterable[P], playing: bool, everything: bool, refresh: Callable[[P, set[str]], None]) -> None:
        """Refresh the panels that are due by `refresh(panel, names)`; `everything`: all that have something to show."""
        seen = [panel for panel in panels if self._dirty.get(panel) and panel not in self.hidden and panel.isVisible()]
        for panel in seen if everything else self._due(seen, time.monotonic(), playing):
            names, self._dirty[panel] = self._dirty[panel], set()
            begun = time.monotonic()
            refresh(panel, names)
            self._last[panel] = time.monotonic()
            self._cost[panel] = self._last[panel] - begun

    def _due(self, seen: list[P], now: float, playing: bool) -> list[P]:
        """All that a person has just asked something of; of those that only follow the job, the one that has waited
        longest. One that is slow waits three times as long as it takes, and ten times where nobody asked."""
        asked = WHOLE | (ASKED - {"step"} if playing else ASKED)
        waited = {panel: now - self._last.get(panel, 0.0) for panel in seen}
        ready = [p for p in seen if waited[p] >= 3 * self._cost.get(p, 0.0) or WHOLE & self._dirty[p]]
        first = [p for p in ready if not p.every or self._dirty[p] & asked]
        calm = [p for p in ready if p not in first and waited[p] >= max(p.every, 10 * self._cost.get(p, 0.0))]
        if any(self._dirty[p] & asked for p in first):  # what was asked is answered first; the others have time
            calm = []
        return first + sorted(calm, key=lambda p: -waited[p])[:1]
