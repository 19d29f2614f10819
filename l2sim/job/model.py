"""The network that a job describes: a published model or its own layers, for the pictures at hand."""

from __future__ import annotations

from typing import cast, get_args

from l2sim.data.published import SETS
from l2sim.errors import JobError
from l2sim.job.job import Job
from l2sim.job.sections import Plane
from l2sim.nn import models
from l2sim.nn.models import ModelSpec
from l2sim.nn.specs import Image


def model(job: Job, classes: int, channels: int | None = None) -> ModelSpec:
    """The model of an L2ight job for pictures of `classes` and `channels` (None: the model's own).

    Raises JobError where the job fixes other channels, ModelError where its layers do not fit together.
    """
    it = job.model
    fixed = cast(Image | None, it.input or None)
    if fixed and channels not in (None, fixed[0]):
        raise JobError(
            f"model.input = {list(fixed)} has {fixed[0]} channels but {job.data.name} has {channels}; "
            f"use model.input = [{channels}, {fixed[1]}, {fixed[2]}], or other data"
        )
    if it.name == "custom":
        assert fixed is not None, "checked with the job"
        spec = ModelSpec("custom", fixed, classes, it.layers)
    else:
        shape = fixed or models.get(it.name).input
        spec = models.get(it.name, classes, (channels or shape[0], shape[1], shape[2]), it.width)
    models.place(spec)
    return spec


def expected(job: Job) -> ModelSpec:
    """The model of a job of either flow before its data are there; those of the set "own" are taken for ten classes."""
    published = SETS.get(job.data.name)
    classes, channels = (published.classes, published.shape[0]) if published else (10, 1)
    classes = 2 if job.data.name in get_args(Plane) else classes
    if job.flow == "l2ight":
        if job.model.name == "custom":
            classes = getattr(job.model.layers[-1], "out", classes)
        return model(job, classes, None if job.model.input or channels == 1 else channels)
    it = job.insitu
    return models.onn(classes, (it.modes,), it.modes, it.layers, it.mesh, it.nonlinearity, it.group)
