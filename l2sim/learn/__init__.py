"""How does a chip learn, by what a lab can do alone: training, protocols, sampling, in situ gradients and upkeep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.learn import sampling, search, twin
    from l2sim.learn.insitu import Gradient, measure
    from l2sim.learn.insitu_svd import SvdGradient, measure_svd
    from l2sim.learn.loader import Augment
    from l2sim.learn.protocols import Alignment, Flops, MixedTrn, Phases, Spsa, digital_model
    from l2sim.learn.train import Objective, Samples, Step, descent, epoch, test
    from l2sim.learn.upkeep import POLICIES, Care

__all__ = [
    "POLICIES", "Alignment", "Augment", "Care", "Flops", "Gradient", "MixedTrn", "Objective", "Phases", "Samples",
    "Spsa", "Step", "SvdGradient", "descent", "digital_model", "epoch", "measure", "measure_svd", "sampling",
    "search", "test", "twin",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, {
    "Alignment": "protocols", "Augment": "loader", "Care": "upkeep", "Flops": "protocols", "Gradient": "insitu",
    "MixedTrn": "protocols", "Objective": "train", "POLICIES": "upkeep", "Phases": "protocols", "Samples": "train",
    "Spsa": "protocols", "Step": "train", "SvdGradient": "insitu_svd", "descent": "train",
    "digital_model": "protocols", "epoch": "train", "measure": "insitu", "measure_svd": "insitu_svd",
    "test": "train", "sampling": "sampling", "search": "search", "twin": "twin",
})  # fmt: skip
