"""The network that a job describes: a published model or its own layers, for the pictures at hand."""

from __future__ import annotations

from typing import cast, get_args

from l2sim.data.published import SETS
from l2sim.errors import JobError
from l2sim.job.sections import Plane
from l2sim.job.settings import Settings
from l2sim.nn import models
from l2sim.nn.models import ModelSpec
from l2sim.nn.specs import ElectroOptic, Image

DEEP = 4
"""From so many meshes on, |y|^2 behind each is too much: power squares from one to the next."""


def model(job: Settings, classes: int, channels: int | None = None) -> ModelSpec:
    """The model of an L2ight job for pictures of `classes` and `channels` (None: the model's own).

    Raises JobError where the job fixes other channels, ModelError where its layers do not fit together.
    """
    fixed = cast(Image | None, job.model.input or None)
    if fixed and channels not in (None, fixed[0]):
        raise JobError(
            f"model.input = {list(fixed)} has {fixed[0]} channels but {job.data.name} has {channels}; "
            f"use model.input = [{channels}, {fixed[1]}, {fixed[2]}], or other data"
        )
    if job.model.name == "custom":
        assert fixed is not None, "checked with the job"
        spec = ModelSpec("custom", fixed, classes, job.model.layers)
    else:
        shape = fixed or models.get(job.model.name).input
        spec = models.get(job.model.name, classes, (channels or shape[0], shape[1], shape[2]), job.model.width)
    spec = models.biased(spec) if job.model.bias else spec
    models.place(spec)
    return spec


def of_cores(job: Settings) -> ModelSpec:
    """The model of an L2ight job for the data that it names, as far as these are known before they are read."""
    classes, channels = _known(job)
    if job.model.name == "custom":
        classes = getattr(job.model.layers[-1], "out", classes)
    return model(job, classes, None if job.model.input or channels == 1 else channels)


def meshes(job: Settings, classes: int, inputs: int) -> ModelSpec:
    """The model of an in situ job for light of so many inputs."""
    chosen = job.insitu
    shape = classes, (inputs,), chosen.modes, chosen.layers, chosen.mesh
    deep = chosen.nonlinearity == "power" and chosen.layers >= DEEP
    restored = chosen.restore == "always" or (chosen.restore == "deep" and deep)
    driven = ElectroOptic(chosen.tapped, chosen.gain, chosen.bias)
    return models.onn(*shape, chosen.nonlinearity, chosen.group, driven, chosen.power if restored else 0.0)


def of_meshes(job: Settings) -> ModelSpec:
    """The model of an in situ job for the data that it names."""
    return meshes(job, _known(job)[0], job.insitu.modes)


def _known(job: Settings) -> tuple[int, int]:
    """Classes and channels of the data that a job names; those of the set "own" are taken for ten classes, grey."""
    published = SETS.get(job.data.name)
    classes, channels = (published.classes, published.shape[0]) if published else (10, 1)
    return (2 if job.data.name in get_args(Plane) else classes), channels
