"""Everything a run holds between events, and how a checkpoint keeps it. Each flow adds its own (l2ight, insitu)."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np

from l2sim.backend import Array, generator, host
from l2sim.chip import energy
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.meter import Meter, Told, plain
from l2sim.data import sets as data
from l2sim.errors import RunError
from l2sim.job import job as jobs
from l2sim.job.job import Job
from l2sim.learn.train import TEST_BATCH, Objective
from l2sim.nn import optim
from l2sim.nn.losses import cross_entropy
from l2sim.nn.network import Network
from l2sim.store.events import Changed, Checkpoint, StageDone, StageStarted, Trouble

SMALL_BYTES = 1 << 22
LARGE_SECONDS = 20.0
"""Checkpoints of up to so many bytes are taken after every epoch, larger ones so many seconds apart."""

BILLED = ("energy_j", "chip_s")
"""Scalars of the last epoch that a stage's own bill replaces."""

PHASE_BYTES = 1 << 26
"""Phase frames of one stage are thinned out to about this many bytes."""


Values = dict[str, object]
"""Plain values by name, as they stand in JSON."""


class Bill(NamedTuple):
    """What a stage cost so far, as `report.json` has it: joules in all ("total") and by part, seconds, and of every
    chip that was asked something its `geometry` and the `counts` that both follow from."""

    energy_j: dict[str, float]
    chip_seconds: float
    by_chip: dict[str, dict[str, Values]]


@dataclass
class Session(ABC):
    """One run of any flow.

    `chip_seed` fabricates the chips; it stays that of the first run when a later one starts from its checkpoint.
    `results` and `figures` hold what the finished stages report, `scores` the last epoch's; `step` counts mini-batches
    and epochs of search; `saved` is when the last checkpoint was taken and how many bytes it had, `began` when the
    stage (`stage`) began, less the time it took before a resume. `changes` are those of fields of the job that were
    made while the run went on, and `job` has them; `save` asks for a checkpoint after the epoch. `looks`: what every
    look at the chips in service found (`l2sim.flow.upkeep`). `troubles`: what went wrong, and `watched` what that is
    judged by (`l2sim.flow.watch`).
    """

    job: Job
    data: data.DataSet
    held_x: Array
    held_y: Array
    chip_seed: int
    meter: Meter = field(default_factory=Meter)
    optimiser: optim.Optimiser | None = None
    results: list[Values] = field(default_factory=list)
    figures: Values = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    step: int = 0
    saved: tuple[float, int] = (0.0, 0)
    began: float = 0.0
    changes: list[Changed] = field(default_factory=list)
    save: bool = False
    stage: str = ""
    looks: list[dict[str, float]] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    watched: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        table = energy.TABLES[self.job.cost.table]
        self.meter.call_seconds, self.meter.settle_seconds = energy.call_seconds(table), energy.wait_seconds(table, 0)

    @abstractmethod
    def geometry(self) -> dict[str, energy.Geometry]:
        """What the chips are made of, by name; nothing before there are any."""

    @abstractmethod
    def keep(self) -> tuple[dict[str, Array], Values]:
        """Copies of the flow's own arrays, by names of `l2sim.naming`, and its plain values, for a checkpoint."""

    @abstractmethod
    def take(self, arrays: dict[str, Array], values: Values) -> None:
        """Put back what `keep` gave, into a session that was just opened."""

    @abstractmethod
    def design(self) -> Values:
        """What must be the same for a checkpoint to fit, by path in the job."""

    @abstractmethod
    def chip(self, layer: str) -> CoreChip | MeshChip | None:
        """The chip of a layer; None before there are any."""

    @abstractmethod
    def retune(self) -> None:
        """Bring what was made from the job up to date with it: a live field of it has changed."""

    @abstractmethod
    def told(self, layer: str) -> dict[str, Array]:
        """What a layer is commanded now, float32, by series as in `Epoch.phases`; nothing before there are chips."""

    @property
    def network(self) -> Network:
        """The network on the chips, of flows that train one."""
        raise RunError(f"flow {self.job.flow!r} trains no network on its chips, and this needs one")

    def trained(self, stage: str) -> Network:
        """The network that `stage` trains."""
        return self.network

    def merits(self, layer: str) -> dict[str, Array]:
        """Figures of merit of every core of a layer now, (cores,) float32, by series `LAYER.block.NAME`."""
        return {}

    @property
    def objective(self) -> Objective:
        """What training minimises."""
        return cross_entropy

    @property
    def chance_loss(self) -> float:
        """The loss of guessing."""
        return math.log(self.data.classes)

    def cure(self, stage: str, rate: str = "another") -> str:
        """What may help where `stage` stands still at chance or diverges, in words; `rate`: which learning rate."""
        trains = hasattr(getattr(self.job, stage, None), "lr")
        return f"try {rate} {stage}.lr" if trains else "look at the stages before"

    def testing(self) -> AbstractContextManager[None]:
        """Surrounds every test."""
        return nullcontext()

    @property
    def test_batch(self) -> int:
        """Samples that are tested at once."""
        return TEST_BATCH

    def stream(self, *names: str | int) -> np.random.Generator:
        """The random stream of this run under these names."""
        return generator(self.job.seed, *names)

    def begin(self, stage: str, epochs: int, done: int) -> StageStarted:
        """A stage begins, or goes on after `done` epochs."""
        self.stage = stage
        if not done:
            self.began = time.perf_counter()
        return StageStarted(stage, epochs, done)

    def finish(self, stage: str, result: Mapping[str, object], figures: Mapping[str, object]) -> StageDone:
        """Enter the stage's result, with what the meter counted, into the report."""
        counts = self.meter.state().get(stage, {})
        own = {name: value for name, value in result.items() if name not in BILLED}
        entry = {"name": stage, **own, **counts, **self.billed(stage), "seconds": time.perf_counter() - self.began}
        self.results.append(entry)
        self.figures[stage] = figures
        return StageDone(stage, entry, dict(figures))

    def bill(self, stage: str) -> Bill | None:
        """What a stage cost so far by the job's device table. None where the chips were asked nothing, or a checkpoint
        did not know who was asked."""
        at = self.geometry()
        counts = {name: plain(own[stage]) if stage in (own := self.meter.of(name).own) else {} for name in at}
        known = sum(its.get("core_calls", 0) for its in counts.values())
        if not any(counts.values()) or known != self.meter.spent(stage).core_calls:
            return None
        return bill(self.job, counts, at)

    def billed(self, stage: str) -> Values:
        """The bill of a stage as `report.json` has it; empty where there is none."""
        spent = self.bill(stage)
        return {} if spent is None else spent._asdict()

    def told_cost(self, stage: str) -> dict[str, float]:
        """The same as scalars of an epoch."""
        spent = self.bill(stage)
        return {} if spent is None else {"energy_j": spent.energy_j["total"], "chip_s": spent.chip_seconds}


def bill(job: Job, counts: dict[str, dict[str, int]], at: dict[str, energy.Geometry]) -> Bill:
    """Energy and time of what chips were asked, by name."""
    asked = {name: its for name, its in counts.items() if its}
    spent = energy.spent_by(counts, at, energy.TABLES[job.cost.table], job.chip.cores)
    return Bill(
        {"total": spent.total_j, **{part: joules for part, joules in spent.energy_j.items() if joules}},
        spent.seconds,
        {
            name: {"geometry": at[name]._asdict(), "counts": {what: number for what, number in its.items() if number}}
            for name, its in asked.items()
        },
    )


def checkpoint(session: Session, stage: str, epoch: int, keep: bool = False) -> Iterator[Checkpoint]:
    """A checkpoint after `epoch` epochs of `stage`: every time while it is small, else when `keep` or some time passed.

    `epoch` -1 says that the stage is finished.
    """
    taken, size = session.saved
    if keep or session.save or size < SMALL_BYTES or time.monotonic() - taken > LARGE_SECONDS:
        whole = snapshot(session, stage, epoch, keep)
        session.save = False
        session.saved = time.monotonic(), sum(a.nbytes for a in whole.arrays.values())
        yield whole


def snapshot(session: Session, stage: str, epoch: int, keep: bool = False) -> Checkpoint:
    """A copy of all that a run needs to go on after `epoch` epochs of `stage`."""
    arrays, own = session.keep()
    values: Values = {
        "design": session.design(),
        "chip_seed": session.chip_seed,
        "meter": session.meter.state(),
        "meters": {name: part.state() for name, part in session.meter.parts.items()},
        "results": list(session.results),
        "figures": dict(session.figures),
        "scores": dict(session.scores),
        "changes": [msgspec.structs.asdict(change) for change in session.changes],
        "looks": list(session.looks),
        "troubles": [msgspec.structs.asdict(trouble) for trouble in session.troubles],
        "watched": dict(session.watched),
        "elapsed": 0.0 if epoch < 0 else time.perf_counter() - session.began,
        **own,
    }
    if session.optimiser is not None:
        values["optimiser"] = session.optimiser.name
        arrays |= optim.state(session.optimiser)
    return Checkpoint(stage, epoch, session.step, {name: host(a) for name, a in arrays.items()}, values, keep)


class Kept(msgspec.Struct, frozen=True):
    """What `snapshot` writes down beside arrays and the flow's own values; old checkpoints lack what has a default."""

    design: Values
    chip_seed: int
    meter: Told
    results: list[Values]
    figures: Values
    scores: dict[str, float]
    elapsed: float
    meters: dict[str, Told] | None = None
    changes: list[Changed] = []
    looks: list[dict[str, float]] = []
    troubles: list[Trouble] = []
    watched: dict[str, float] = {}
    optimiser: str = ""


def kept(values: Values) -> Kept:
    """The values of a checkpoint. RunError where they are none."""
    try:
        return msgspec.convert(values, Kept)
    except msgspec.ValidationError as error:
        raise RunError(f"the checkpoint cannot be read ({error}); use another") from None


def restore(session: Session, saved: Checkpoint) -> None:
    """Bring a freshly opened session to where `saved` was taken. RunError where it belongs to another model."""
    values = kept(saved.values)
    if values.design != session.design():
        made = ", ".join(f"{path} = {value}" for path, value in values.design.items())
        raise RunError(f"the checkpoint is of another chip, made with {made}; set these in the job")
    session.chip_seed = values.chip_seed
    session.changes = values.changes
    for change in session.changes:
        session.job = jobs.changed(session.job, change.path, change.value)
    session.take(saved.arrays, saved.values)
    session.meter.restore(values.meter, values.meters)
    session.results, session.figures = values.results, values.figures
    session.began = time.perf_counter() - values.elapsed
    session.scores, session.step = values.scores, saved.step
    session.looks = values.looks
    session.troubles, session.watched = values.troubles, values.watched
    if values.optimiser:
        session.optimiser = optim.start(values.optimiser, session.trained(saved.stage).parameters())
        optim.load(session.optimiser, optim.own(values.optimiser, saved.arrays))
