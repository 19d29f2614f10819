"""What the points of a sweep have in common: the stages whose checkpoint many points start from, made once.

A checkpoint depends on the job's fields that its stage or one before it reads. `READ_FIRST` says which stage is the
first to look at a section; any other section counts for all stages. Points that agree in all those fields share the
checkpoint, under a digest of them. Starting from it gives the numbers of a run from the beginning (`--from`).
"""

from __future__ import annotations

import math
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import msgspec

from l2sim.errors import JobError
from l2sim.job import job as jobs
from l2sim.job.flows import FLOWS
from l2sim.job.job import Job
from l2sim.sweep.plan import Plan

READ_FIRST = {"nonidealities": "deploy", "calibrate": "calibrate", "map": "map", "learn": "learn", "upkeep": "learn"}
NAMES = ("name",)
"""Fields that no number depends on."""


class Link(NamedTuple):
    """A checkpoint that points share: the end of `stage`, in the run folder shared/KEY."""

    stage: str
    key: str


def reads(path: str, flow: str) -> int:
    """The number of the first stage that looks at a field."""
    first = READ_FIRST.get(path.partition(".")[0], "")
    return FLOWS[flow].stages.index(first) if first in FLOWS[flow].stages else 0


def stages(plan: Plan) -> tuple[str, ...]:
    """The stages that points of this plan share, each by more points than the next."""
    flow = plan.base.flow
    if "flow" in plan.fields:
        return ()
    sharing: list[tuple[str, int]] = []
    for stage in FLOWS[flow].shared:
        if stage != "pretrain" and (plan.base.learn.new_classifier or "learn.new_classifier" in plan.fields):
            break  # a checkpoint with chips would get a new last layer
        seen = {path for path in plan.fields if reads(path, flow) <= FLOWS[flow].stages.index(stage)} - set(NAMES)
        groups = math.prod(part.distinct(seen) for part in plan.parts)
        if groups < len(plan):
            sharing = [(name, count) for name, count in sharing if count < groups] + [(stage, groups)]
    return tuple(stage for stage, _ in sharing)


def chain(job: Job, shared: tuple[str, ...]) -> list[Link]:
    """The checkpoints that `job` goes through, each starting from the one before it."""
    return [Link(stage, key(job, stage)) for stage in shared]


def key(job: Job, stage: str) -> str:
    """The digest of all that the end of `stage` depends on."""
    last = FLOWS[job.flow].stages.index(stage)
    read = {name: value for name, value in jobs.to_dict(job).items() if reads(name, job.flow) <= last}
    parts = {"stage": stage} | {name: value for name, value in read.items() if name not in NAMES}
    if job.pretrain.weights:
        parts["weights"] = _content(job.pretrain.weights)
    return blake2b(msgspec.json.encode(parts, order="sorted"), digest_size=12).hexdigest()


@cache
def _content(path: str) -> str:
    try:
        return blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()
    except OSError as error:
        raise JobError(f"pretrain.weights = {path!r} cannot be read: {error.strerror}") from None
