"""Everything that a job says, section by section, and what a flow says of the jobs that it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from l2sim.job.imperfections import Calibrate, Nonidealities
from l2sim.job.sections import (
    EPOCH,
    Chip,
    Cost,
    Data,
    Insitu,
    Learn,
    Map,
    Model,
    Pretrain,
    Section,
    Upkeep,
    said,
)
from l2sim.plugins import Registry

if TYPE_CHECKING:
    from l2sim.nn.specs import ModelSpec


class Declaration(NamedTuple):
    """What a flow is to a job; `l2sim.flow.registry` says what runs it.

    `preset` gives the defaults of its jobs. `stages` in their order; "upkeep" is left out of jobs without hours of
    service. `sections` of a job that it uses. `model`: the network, before its data are there; those of the set "own"
    are taken for ten classes. `check` raises JobError where fields contradict each other. `trial`: values by path that
    make a job one of some seconds. `shared`: stages whose checkpoints are worth sharing in a sweep.
    """

    preset: str
    stages: tuple[str, ...]
    sections: tuple[str, ...]
    model: Callable[[Settings], ModelSpec]
    check: Callable[[Settings], None] = lambda job: None
    trial: Callable[[Settings], Mapping[str, object]] = lambda job: {}
    shared: tuple[str, ...] = ()


FLOWS: Registry[Declaration] = Registry("flow")
"""Every flow by name."""


class Settings(Section, frozen=True):
    """The fields of a job; `l2sim.job.job.Job` is one that was checked."""

    name: Annotated[str, said("names the run folder: letters, digits, '.', '_' and '-'")] = "digits"
    flow: Annotated[str, said("blocked cores mapped and trained; whole meshes trained", among=FLOWS)] = "l2ight"
    seed: Annotated[int, said("of the chip, the initial weights and every random choice", "", 0, 2**32 - 1)] = 1
    precision: Annotated[Literal["float64", "float32"], said("number format of the simulation")] = "float64"
    device: Annotated[str, said("what computes: cpu, cuda (all GPUs) or cuda:N")] = "cpu"
    on_divergence: Annotated[
        Literal["stop", "warn"],
        said("values that explode or are not finite end the run, its checkpoint kept; or it only says so", when=EPOCH),
    ] = "stop"
    model: Model = Model()
    data: Data = Data()
    nonidealities: Nonidealities = Nonidealities()
    chip: Chip = Chip()
    insitu: Insitu = Insitu()
    pretrain: Pretrain = Pretrain()
    calibrate: Calibrate = Calibrate()
    map: Map = Map()
    learn: Learn = Learn()
    upkeep: Upkeep = Upkeep()
    cost: Cost = Cost()
