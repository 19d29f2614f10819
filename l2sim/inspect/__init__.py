"""What became of a run: its arrays, its chips rebuilt, error budgets, findings?

For people a run is `open`; inside the house it is `Recorded`, whose chips `Rebuilt` makes again. `place` chooses a
core, `find` diagnoses it and `words` says what was found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.inspect import (
        attainable,
        axes,
        bench,
        budget,
        chips,
        compare,
        diagnose,
        drive,
        every_heater,
        findings,
        health,
        layers,
        ports,
        run,
    )
    from l2sim.inspect.bench import Heater
    from l2sim.inspect.chips import Rebuilt
    from l2sim.inspect.diagnose import Place, place
    from l2sim.inspect.findings import find, words
    from l2sim.inspect.opened import Run, open
    from l2sim.inspect.run import Recorded

__all__ = [
    "Heater", "Place", "Rebuilt", "Recorded", "Run", "attainable", "axes", "bench", "budget", "chips", "compare",
    "diagnose", "drive", "every_heater", "find", "findings", "health", "layers", "open", "place", "ports", "run",
    "words",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, {
    "Heater": "bench", "Place": "diagnose", "Rebuilt": "chips", "Recorded": "run", "Run": "opened", "find":
    "findings", "open": "opened", "place": "diagnose", "words": "findings", "attainable": "attainable", "axes": "axes",
    "bench": "bench", "budget": "budget", "chips": "chips", "compare": "compare", "diagnose": "diagnose",
    "drive": "drive", "every_heater": "every_heater", "findings": "findings", "health": "health", "layers": "layers",
    "ports": "ports", "run": "run",
})  # fmt: skip
