"""The events a run yields, in order, which every reader (console, logs, report, window) sees; and the records that
`events.jsonl` keeps of them."""

from __future__ import annotations

import msgspec

from l2sim.backend import Array
from l2sim.job.flows import FLOWS
from l2sim.job.job import Job


def stages(job: Job) -> tuple[str, ...]:
    """The stages of a job, in order; "upkeep" only where it asks for hours of service."""
    return tuple(name for name in FLOWS[job.flow].stages if name != "upkeep" or job.upkeep.hours > 0)


def every_stage() -> tuple[str, ...]:
    """The stages of all flows, in order."""
    return tuple(dict.fromkeys(name for flow in FLOWS.values() for name in flow.stages))


class StageStarted(msgspec.Struct, frozen=True, tag="stage"):
    """A stage begins. `epochs` is how many it will take at most; `done` how many an earlier run has finished."""

    stage: str
    epochs: int
    done: int = 0


class Step(msgspec.Struct, frozen=True, tag="step"):
    """One step inside an epoch (a mini-batch). `step` counts over the whole run."""

    stage: str
    step: int
    scalars: dict[str, float]


class Epoch(msgspec.Struct, frozen=True, tag="epoch"):
    """An epoch of a stage is over; `epoch` counts from 1. `phases` holds what the phase log records, by series name
    `LAYER.u.phases`, `LAYER.v.phases`, `LAYER.sigma.commanded` (`l2sim.naming`)."""

    stage: str
    epoch: int
    epochs: int
    step: int
    scalars: dict[str, float]
    phases: dict[str, Array] = {}


class Checkpoint(msgspec.Struct, frozen=True, tag="checkpoint"):
    """All that is needed to go on from here: named arrays and plain values. `epoch` -1: the stage is finished.

    `keep` asks for a copy that later checkpoints do not replace, to start other runs from."""

    stage: str
    epoch: int
    step: int
    arrays: dict[str, Array]
    values: dict[str, object]
    keep: bool = False


class Noted(msgspec.Struct, frozen=True, tag="note"):
    """Something that is as it should be, and that the user wants to see; one line."""

    stage: str
    message: str


class Warned(msgspec.Struct, frozen=True, tag="warning"):
    """Something the user should know; one line."""

    stage: str
    message: str


class Trouble(msgspec.Struct, frozen=True, tag="trouble"):
    """Something goes wrong in a stage at `step`: of which kind (`l2sim.flow.watch`), and one line. `layer`, `blocks`:
    where, if it is of a layer, and of some of its cores."""

    stage: str
    step: int
    kind: str
    message: str
    layer: str = ""
    blocks: tuple[int, ...] = ()


class Changed(msgspec.Struct, frozen=True, tag="parameter"):
    """A field of the job has another value from here on: after the event `after` ("stage", "step" or "epoch") of
    `step`."""

    stage: str
    step: int
    after: str
    path: str
    value: object
    old: object = None


class StageDone(msgspec.Struct, frozen=True, tag="stage_done"):
    """A stage is over; `result` is its entry in `report.json` and `figures` the series its figures need."""

    stage: str
    result: dict[str, object]
    figures: dict[str, object] = {}


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The run is over; `report` is what `report.json` holds, `figures` the series by stage that only figures need."""

    report: dict[str, object]
    figures: dict[str, object] = {}


Event = StageStarted | Step | Epoch | Checkpoint | Noted | Warned | Trouble | Changed | StageDone | Done
"""What a run yields."""


class Series(msgspec.Struct, frozen=True, tag="series"):
    """The log's word that a series begins: the number its records have, and the shape of its frames, () of scalars."""

    id: int
    name: str
    shape: tuple[int, ...]


class EpochEnd(msgspec.Struct, frozen=True, tag="epoch"):
    """The log's word of an epoch that is over at `step`."""

    stage: str
    epoch: int
    step: int


class Kept(msgspec.Struct, frozen=True, tag="checkpoint"):
    """The log's word of a checkpoint that is kept; `epoch` -1: of the end of the stage."""

    stage: str
    epoch: int
    step: int


class StageEnd(msgspec.Struct, frozen=True, tag="stage_done"):
    """The log's word of a stage that is over, with its entry in `report.json`."""

    stage: str
    result: dict[str, object]


class RunEnd(msgspec.Struct, frozen=True, tag="done"):
    """The log's word that the run is over."""


Record = Series | StageStarted | EpochEnd | Kept | Noted | Warned | Trouble | Changed | StageEnd | RunEnd
"""What a line of `events.jsonl` holds."""


def kind(record: Record) -> str:
    """The `type` that a record has in `events.jsonl`."""
    return str(record.__struct_config__.tag)


def step_of(record: Record) -> int | None:
    """The step that a record is of, where it says so."""
    return record.step if isinstance(record, EpochEnd | Kept | Trouble | Changed) else None
