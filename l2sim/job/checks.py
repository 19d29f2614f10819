"""What the fields of a job must be to each other; what a field may be by itself is in its declaration (`sections`)."""

from __future__ import annotations

import re
from typing import get_args

from l2sim.errors import ChipError, JobError
from l2sim.job.imperfections import chip_nonidealities, data_sheet
from l2sim.job.sections import Colour, Learn, Model, Plane
from l2sim.job.settings import Settings

L2IGHT_ONLY = (
    "protocol", "feedback_sparsity", "forward_sparsity", "column_sparsity", "spatial_sparsity", "feature_sparsity",
    "rank", "rank_sign", "data_rule", "new_classifier", "profile",
)  # fmt: skip
"""Fields of `learn` that only the L2ight flow has a use for."""


def together(job: Settings) -> None:
    """Raise JobError where fields of `job` contradict each other, whatever its flow."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", job.name, re.ASCII):
        raise JobError(f"name = {job.name!r} cannot name a folder; use letters, digits, '.', '_' and '-'")
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", job.device):
        raise JobError(f"device = {job.device!r} is unknown; use cpu, cuda or cuda:N")
    try:
        chip_nonidealities(job)
    except ChipError as error:
        raise JobError(str(error)) from None
    try:
        data_sheet(job)
    except ChipError as error:
        raise JobError(str(error).replace("nonidealities.", "calibrate.sheet.")) from None
    for name, stage in (("pretrain", job.pretrain), ("learn", job.learn)):
        if stage.lr_floor > stage.lr:
            raise JobError(f"{name}.lr_floor is above {name}.lr = {stage.lr}; lower the floor")
    if job.upkeep.hours and job.upkeep.every > job.upkeep.hours:
        every, hours = job.upkeep.every, job.upkeep.hours
        raise JobError(f"upkeep.every = {every:g} h is longer than upkeep.hours = {hours:g}; shorten it")


def of_cores(job: Settings) -> None:
    """Raise JobError where a job of the L2ight flow contradicts itself."""
    _model(job.model)
    if job.data.name in get_args(Plane):
        raise JobError(f"data.name = {job.data.name!r} are points, for flow = 'insitu' only; use pictures")
    if not job.learn.shuffle or job.learn.legacy_adam:
        raise JobError("learn.shuffle = false and learn.legacy_adam belong to flow = 'insitu'; leave them out")
    _learning(job.learn)
    if job.chip.readout == "power":
        raise JobError(
            "chip.readout = 'power' has no sign, and what cores answer is added up with signs; set chip.readout = "
            "'quadrature' or 'two_readings' (calibrate.readout = 'power' calibrates and maps by intensities)"
        )
    if _probes(job):
        if job.calibrate.readout == "power":
            raise JobError(
                f"upkeep.policy = {job.upkeep.policy!r} reads signed amplitudes; set calibrate.readout = 'quadrature'"
            )
        if job.upkeep.policy == "track" and job.calibrate.method != "twin":
            raise JobError("upkeep.policy = 'track' follows twins; set calibrate.method = 'twin'")
    if job.calibrate.method == "twin":
        if job.chip.mesh == "triangular":
            raise JobError("calibrate.method = 'twin' cannot do with chip.mesh = 'triangular'; use 'rectangular'")
        if job.calibrate.by(job.chip) == "field":
            raise JobError("calibrate.method = 'twin' cannot do with chip.readout = 'field'; use 'quadrature'")
        if chip_nonidealities(job).phi:
            raise JobError("calibrate.method = 'twin' does not know nonidealities.phi = true; use 'zcd' or phi = false")
    if job.map.refine and job.calibrate.method != "twin":
        raise JobError("map.refine goes on from a twin; set calibrate.method = 'twin', or use map.polish")
    late = [epoch for epoch in job.map.snapshots if not 1 <= epoch <= job.map.epochs]
    if late:
        raise JobError(f"map.snapshots has epoch {late[0]}; use epochs from 1 to map.epochs = {job.map.epochs}")


def of_meshes(job: Settings) -> None:
    """Raise JobError where a job of the in situ flow contradicts itself."""
    plane = job.data.name in get_args(Plane)
    if job.data.name in get_args(Colour) and job.data.name != "own":
        raise JobError(f"data.name = {job.data.name!r} is in colour, for flow = 'l2ight' only; use grey pictures")
    modes, group, classes = job.insitu.modes, job.insitu.group, 2 if plane else 10
    if classes * group > modes:
        need = f"{classes} classes of {group} port{'s' if group > 1 else ''} need {classes * group} modes"
        raise JobError(f"insitu.modes = {modes} is too few: {need}; use more modes or a smaller insitu.group")
    if plane and modes < 4:
        raise JobError(f"insitu.modes = {modes} is too few for points, which need 4; use 4 or more")
    if job.learn.legacy_adam and job.learn.optimizer != "adam":
        raise JobError(f"learn.legacy_adam is about adam, not {job.learn.optimizer}; set learn.optimizer = 'adam'")
    for field in L2IGHT_ONLY:
        if getattr(job.learn, field) != getattr(Learn(), field):
            raise JobError(f"learn.{field} belongs to flow = 'l2ight'; leave it out")
    if _probes(job):
        raise JobError(f"upkeep.policy = {job.upkeep.policy!r} is of tensor cores, not of flow = 'insitu'; use 'learn'")


def _probes(job: Settings) -> bool:
    """Whether what is done in service asks single cores."""
    return bool(job.upkeep.hours) and job.upkeep.policy not in ("none", "learn")


def _model(model: Model) -> None:
    """Whether the layers and the size of a model's input belong to it."""
    if model.input and (len(model.input) != 3 or min(model.input) < 1 or max(model.input) > 1024):
        shown = list(model.input)
        raise JobError(f"model.input = {shown} is no picture; use [channels, height, width], e.g. [3, 32, 32]")
    if model.name == "custom" and not (model.layers and model.input):
        raise JobError("model.name = custom needs model.layers and model.input; describe both in the job file")
    if model.name != "custom" and model.layers:
        raise JobError(f"model.layers describes a custom model, not {model.name}; set model.name = custom")
    if model.name == "custom" and model.width != 1.0:
        raise JobError("model.width narrows published models; give the layers of a custom one their size instead")


def _learning(learn: Learn) -> None:
    """Whether samplers and protocol fit each other."""
    chosen = ("feedback", "forward", "column", "spatial", "feature")
    drawn = [f"{name}_sparsity" for name in chosen if getattr(learn, f"{name}_sparsity")]
    drawn += [name for name in ("rank", "rank_sign") if getattr(learn, name)]
    if drawn and learn.protocol not in ("subspace", "dfa"):
        raise JobError(f"learn.{drawn[0]} samples a measured gradient, which {learn.protocol!r} has not; leave it out")
    if learn.compare_gradients and learn.protocol not in ("subspace", "dfa", "pat"):
        raise JobError(f"learn.compare_gradients: {learn.protocol!r} measures no gradient; leave it out")
    if learn.profile == "legacy" and learn.protocol != "subspace":
        raise JobError(f"learn.profile = 'legacy' knows subspace learning only, not {learn.protocol!r}; leave it out")
