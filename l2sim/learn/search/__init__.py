"""Which phases does a chip need, found by measuring losses: zeroth-order search, calibration, mapping, nulling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.learn.search import calibrate
    from l2sim.learn.search.calibrate import pseudo_identities
    from l2sim.learn.search.mapping import Target, deploy, project, target
    from l2sim.learn.search.selfconfigure import nullify, optimise, progressive
    from l2sim.learn.search.zeroth import Problem, Search, State, zcd, zgd, ztp

__all__ = [
    "Problem", "Search", "State", "Target", "calibrate", "deploy", "nullify", "optimise", "progressive", "project",
    "pseudo_identities", "target", "zcd", "zgd", "ztp",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, {
    "Problem": "zeroth", "Search": "zeroth", "State": "zeroth", "Target": "mapping", "deploy": "mapping",
    "nullify": "selfconfigure", "optimise": "selfconfigure", "progressive": "selfconfigure", "project": "mapping",
    "pseudo_identities": "calibrate", "target": "mapping", "zcd": "zeroth", "zgd": "zeroth", "ztp": "zeroth",
    "calibrate": "calibrate",
})  # fmt: skip
