"""How a stage of a job searches: which search its fields describe, what an epoch of it is, and when it is over."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from l2sim.job.imperfections import Believing, data_sheet
from l2sim.job.sections import Calibrate, Map
from l2sim.learn.search import zeroth

GROWTH = 1.02
"""Factor by epoch on the error above which mapping starts a core again."""


def search(job: Believing, stage: Calibrate | Map, threshold: float, shuffle: bool = False) -> zeroth.Search:
    """The search of a stage of a job; no step is smaller than one of the chip's drive."""
    return zeroth.Search(
        stage.method, lr=stage.lr, decay=stage.decay, floor=data_sheet(job).step() or zeroth.STEP,
        best_record=stage.best_record, adaptive=stage.adaptive, threshold=threshold, order=stage.order, shuffle=shuffle,
    )  # fmt: skip


def unfinished(states: Iterable[zeroth.State], stage: Calibrate | Map, done: int) -> bool:
    """Whether some core has not had its share of epochs, or its polish, after `done` of them."""
    polish = min(stage.polish, stage.epochs)
    return any(s.polished < polish or not zeroth.searched(s, stage.epochs - polish, done) for s in states)


def steps(
    problem: zeroth.Problem,
    way: zeroth.Search,
    state: zeroth.State,
    stage: Calibrate | Map,
    done: int,
    rng: np.random.Generator,
) -> zeroth.Steps:
    """One epoch of the stage's method, or, when its epochs are over, of the polish that closes the search; for
    `zeroth.together`."""
    polish = min(stage.polish, stage.epochs)
    if state.polished == 0 and not zeroth.searched(state, stage.epochs - polish, done):
        return zeroth.STEPS[way.method](problem, way, state, rng)
    return zeroth.polish_steps(problem, way, state, rng) if state.polished < polish else iter(())
