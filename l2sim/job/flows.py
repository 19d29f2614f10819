"""The two flows of l2sim as jobs see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.job import checks
from l2sim.job.settings import FLOWS, Declaration, Settings

if TYPE_CHECKING:
    from l2sim.nn.specs import ModelSpec

__all__ = ["FLOWS", "INSITU", "L2IGHT"]


def _of_cores(job: Settings) -> ModelSpec:
    from l2sim.job import model  # late: it loads NumPy, and a job needs none

    return model.of_cores(job)


def _of_meshes(job: Settings) -> ModelSpec:
    from l2sim.job import model  # late: it loads NumPy, and a job needs none

    return model.of_meshes(job)


def _short_cores(job: Settings) -> dict[str, object]:
    """Few channels, one or two epochs of every stage, no comparison runs."""
    short: dict[str, object] = {
        "precision": "float64",
        "pretrain.epochs": min(job.pretrain.epochs, 1),
        "map.compare": False,
        "map.snapshots": [],
        "learn.skipped_share": max(job.learn.skipped_share, 0.998),
    }
    if job.model.name.startswith(("cnn-l", "vgg", "resnet")):
        short |= {"model.width": min(job.model.width, 0.0625), "model.input": ()}
    for name, stage in (("calibrate", job.calibrate), ("map", job.map)):
        epochs = min(stage.epochs, 2)
        short |= {f"{name}.epochs": epochs, f"{name}.polish": epochs // 2, f"{name}.order": "published"}
    return short


L2IGHT = Declaration(
    preset="digits",
    stages=("pretrain", "deploy", "calibrate", "map", "learn", "upkeep"),
    sections=("model", "data", "nonidealities", "chip", "pretrain", "calibrate", "map", "learn", "upkeep", "cost"),
    model=_of_cores,
    check=checks.of_cores,
    trial=_short_cores,
    shared=("pretrain", "calibrate", "map"),
)
INSITU = Declaration(
    preset="insitu-digits",
    stages=("deploy", "learn", "upkeep"),
    sections=("data", "nonidealities", "insitu", "learn", "upkeep", "cost"),
    model=_of_meshes,
    check=checks.of_meshes,
    trial=lambda job: {"learn.batch": min(job.learn.batch, 64)},
)
FLOWS.register("l2ight", L2IGHT)
FLOWS.register("insitu", INSITU)
