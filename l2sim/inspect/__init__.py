"""What became of a run: its arrays, its chips rebuilt, experiments on them, error budgets and findings.

A run for people is `open`; for readers within the house it is `Recorded`, whose chips `Rebuilt` makes again. `place`
chooses a core, `find` diagnoses it and `words` says what was found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.inspect.bench import Heater as Heater
    from l2sim.inspect.chips import Rebuilt as Rebuilt
    from l2sim.inspect.diagnose import Place as Place
    from l2sim.inspect.diagnose import place as place
    from l2sim.inspect.findings import find as find
    from l2sim.inspect.findings import words as words
    from l2sim.inspect.opened import Run as Run
    from l2sim.inspect.opened import open as open
    from l2sim.inspect.run import Recorded as Recorded

__getattr__, __dir__ = lazy(__name__, {
    "Heater": "bench", "Place": "diagnose", "Rebuilt": "chips", "Recorded": "run", "Run": "opened", "find": "findings",
    "open": "opened", "place": "diagnose", "words": "findings",
    "attainable": "attainable", "bench": "bench", "budget": "budget", "chips": "chips", "diagnose": "diagnose",
    "findings": "findings", "layers": "layers", "run": "run",
})  # fmt: skip
