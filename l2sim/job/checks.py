"""What the fields of a job must be to each other; what a field may be by itself is in its declaration (`sections`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, get_args

from l2sim.errors import ChipError, JobError
from l2sim.job.imperfections import chip_nonidealities
from l2sim.job.sections import Colour, Learn, Model, Plane

if TYPE_CHECKING:
    from l2sim.job.job import Job

L2IGHT_ONLY = (
    "protocol", "feedback_sparsity", "forward_sparsity", "column_sparsity", "spatial_sparsity", "feature_sparsity",
    "rank", "rank_sign", "data_rule", "new_classifier", "profile",
)  # fmt: skip
"""Fields of `learn` that only the L2ight flow has a use for."""


def together(job: Job) -> None:
    """Raise JobError where fields of `job` contradict each other."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", job.name, re.ASCII):
        raise JobError(f"name = {job.name!r} cannot name a folder; use letters, digits, '.', '_' and '-'")
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", job.device):
        raise JobError(f"device = {job.device!r} is unknown; use cpu, cuda or cuda:N")
    try:
        chip_nonidealities(job)
    except ChipError as error:
        raise JobError(str(error)) from None
    _model(job.model)
    for name, stage in (("pretrain", job.pretrain), ("learn", job.learn)):
        if stage.lr_floor > stage.lr:
            raise JobError(f"{name}.lr_floor is above {name}.lr = {stage.lr}; lower the floor")
    _optics(job)
    _learning(job)
    _upkeep(job)
    for name, bad, can in (("mesh", "triangular", "rectangular"), ("readout", "field", "quadrature")):
        if job.calibrate.method == "twin" and getattr(job.chip, name) == bad:
            raise JobError(f"calibrate.method = 'twin' cannot do with chip.{name} = {bad!r}; use {can!r}")
    if job.map.refine and job.calibrate.method != "twin":
        raise JobError("map.refine goes on from a twin; set calibrate.method = 'twin', or use map.polish")
    late = [epoch for epoch in job.map.snapshots if not 1 <= epoch <= job.map.epochs]
    if late:
        raise JobError(f"map.snapshots has epoch {late[0]}; use epochs from 1 to map.epochs = {job.map.epochs}")


def _model(it: Model) -> None:
    """Whether the layers and the size of a model's input belong to it."""
    if it.input and (len(it.input) != 3 or min(it.input) < 1 or max(it.input) > 1024):
        raise JobError(f"model.input = {list(it.input)} is no picture; use [channels, height, width], e.g. [3, 32, 32]")
    if it.name == "custom" and not (it.layers and it.input):
        raise JobError("model.name = custom needs model.layers and model.input; describe both in the job file")
    if it.name != "custom" and it.layers:
        raise JobError(f"model.layers describes a custom model, not {it.name}; set model.name = custom")
    if it.name == "custom" and it.width != 1.0:
        raise JobError("model.width narrows published models; give the layers of a custom one their size instead")


def _optics(job: Job) -> None:
    """Whether data and network fit the flow and each other."""
    plane = job.data.name in get_args(Plane)
    if job.flow == "insitu" and job.data.name in get_args(Colour) and job.data.name != "own":
        raise JobError(f"data.name = {job.data.name!r} is in colour, for flow = 'l2ight' only; use grey pictures")
    if job.flow == "l2ight":
        if plane:
            raise JobError(f"data.name = {job.data.name!r} are points, for flow = 'insitu' only; use pictures")
        if not job.learn.shuffle or job.learn.legacy_adam:
            raise JobError("learn.shuffle = false and learn.legacy_adam belong to flow = 'insitu'; leave them out")
        return
    it, classes = job.insitu, 2 if plane else 10
    if classes * it.group > it.modes:
        need = f"{classes} classes of {it.group} port{'s' if it.group > 1 else ''} need {classes * it.group} modes"
        raise JobError(f"insitu.modes = {it.modes} is too few: {need}; use more modes or a smaller insitu.group")
    if plane and it.modes < 4:
        raise JobError(f"insitu.modes = {it.modes} is too few for points, which need 4; use 4 or more")
    if job.learn.legacy_adam and job.learn.optimizer != "adam":
        raise JobError(f"learn.legacy_adam is about adam, not {job.learn.optimizer}; set learn.optimizer = 'adam'")
    for field in L2IGHT_ONLY:
        if getattr(job.learn, field) != getattr(Learn(), field):
            raise JobError(f"learn.{field} belongs to flow = 'l2ight'; leave it out")


def _learning(job: Job) -> None:
    """Whether samplers and protocol of the L2ight flow fit the model and each other."""
    if job.flow != "l2ight":
        return
    it, chosen = job.learn, ("feedback", "forward", "column", "spatial", "feature")
    drawn = [f"{name}_sparsity" for name in chosen if getattr(it, f"{name}_sparsity")]
    drawn += [name for name in ("rank", "rank_sign") if getattr(it, name)]
    if drawn and it.protocol not in ("subspace", "dfa"):
        raise JobError(f"learn.{drawn[0]} samples a measured gradient, which {it.protocol!r} has not; leave it out")
    if it.profile == "legacy" and it.protocol != "subspace":
        raise JobError(f"learn.profile = 'legacy' knows subspace learning only, not {it.protocol!r}; leave it out")


def _upkeep(job: Job) -> None:
    """Whether the flow and its calibration can do what keeps chips right."""
    it = job.upkeep
    if not it.hours:
        return
    if it.every > it.hours:
        raise JobError(f"upkeep.every = {it.every:g} h is longer than upkeep.hours = {it.hours:g}; shorten it")
    if it.policy in ("none", "learn"):
        return
    if job.flow == "insitu":
        raise JobError(f"upkeep.policy = {it.policy!r} is of tensor cores, not of flow = 'insitu'; use 'learn'")
    if job.chip.readout == "power":
        raise JobError(f"upkeep.policy = {it.policy!r} reads signed amplitudes; set chip.readout = 'quadrature'")
    if it.policy == "track" and job.calibrate.method != "twin":
        raise JobError("upkeep.policy = 'track' follows twins; set calibrate.method = 'twin'")
