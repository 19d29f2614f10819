"""Everything a run holds between events: the data, the chips, the networks, and how a checkpoint keeps them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from l2sim.backend import Array, float_type, generator
from l2sim.chip import nonidealities
from l2sim.chip.chip import Chip
from l2sim.chip.mesh import Mesh
from l2sim.chip.meter import Meter
from l2sim.chip.protocol import Commands
from l2sim.errors import RunError
from l2sim.learn import mapping, zeroth
from l2sim.learn.mapping import Target
from l2sim.nn import models, network, optim
from l2sim.nn.network import Network
from l2sim.nn.photonic import PhotonicWeight
from l2sim.nn.weights import ElectronicWeight
from l2sim.run import data
from l2sim.run.events import Checkpoint
from l2sim.run.job import Job, chosen

SMALL_BYTES = 1 << 22
LARGE_SECONDS = 20.0
"""Checkpoints of up to so many bytes are taken after every epoch, larger ones so many seconds apart."""


@dataclass
class Session:
    """One run. `chips`, `aims`, `rest`, `mapped` are by layer name; they fill up as the stages go on.

    `chip_seed` fabricates the chips; it stays that of the first run when a later one starts from its checkpoint.
    `results` and `figures` hold what the finished stages report, `scores` the last epoch's; `step` counts mini-batches
    and epochs of search; `saved` is when the last checkpoint was taken and how many bytes it had, `began` when the
    stage began (less the time it took before a resume).
    """

    job: Job
    data: data.DataSet
    held_x: Array
    held_y: Array
    electronic: Network
    chip_seed: int
    meter: Meter = field(default_factory=Meter)
    chips: dict[str, Chip] = field(default_factory=dict)
    aims: dict[str, Target] = field(default_factory=dict)
    rest: dict[str, Commands] = field(default_factory=dict)
    mapped: dict[str, Commands] = field(default_factory=dict)
    searches: dict[str, zeroth.State] = field(default_factory=dict)
    photonic: Network | None = None
    optimiser: optim.Optimiser | None = None
    results: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    step: int = 0
    saved: tuple[float, int] = (0.0, 0)
    began: float = 0.0

    def stream(self, *names: str | int) -> np.random.Generator:
        """The random stream of this run under these names."""
        return generator(self.job.seed, *names)

    @property
    def network(self) -> Network:
        """The network on the chips."""
        assert self.photonic is not None, "the chips are fabricated when deployment starts"
        return self.photonic


def open_session(job: Job, directory: Path | None) -> Session:
    """Load the data and build the electronic network of `job`."""
    spec = models.get(job.model.name)
    channels, *size = spec.input
    images = data.load(job.data.name, directory, (size[0], size[1]), channels)
    if images.classes != spec.classes:
        spec = models.get(job.model.name, images.classes)
    images, held_x, held_y = data.hold_out(images, job.data.validation, generator(job.seed, "validation"))
    dtype = float_type(job.precision)
    electronic = network.build(spec, network.electronic(generator(job.seed, "weights"), dtype), dtype)
    return Session(job, images, held_x, held_y, electronic, job.seed)


def chip_nonidealities(job: Job) -> nonidealities.Nonidealities:
    """The non-idealities of the job's preset with what the job sets apart."""
    base = nonidealities.PRESETS[job.nonidealities.base]
    return msgspec.structs.replace(base, **chosen(job.nonidealities))


def fabricate(session: Session, imperfect: nonidealities.Nonidealities, meter: Meter) -> dict[str, Chip]:
    """The chips of all layers, by name. The same session always gives the same chips."""
    job, spec = session.job, session.electronic.spec
    chips: dict[str, Chip] = {}

    def make(name: str, out_features: int, in_features: int, k: int) -> ElectronicWeight:
        chips[name] = Chip(
            (-(-out_features // k), -(-in_features // k)),
            Mesh(job.chip.mesh, k),
            imperfect,
            seed=session.chip_seed,
            name=name,
            meter=meter,
            dtype=session.electronic.dtype,
        )
        return ElectronicWeight(np.empty((out_features, in_features), session.electronic.dtype))

    network.build(spec, make, session.electronic.dtype)
    return chips


def put_on_chip(session: Session) -> None:
    """Fabricate the chips, decompose the pretrained weights, and build the network that runs on the chips."""
    session.chips = fabricate(session, chip_nonidealities(session.job), session.meter)
    for name, weight in session.electronic.weights.items():
        assert isinstance(weight, ElectronicWeight)
        session.aims[name] = mapping.target(session.chips[name], weight.matrix)
    session.photonic = photonic_network(session, session.chips)


def photonic_network(session: Session, chips: dict[str, Chip]) -> Network:
    """The network of the session on `chips`, with sigma as in the targets and batch norm as pretrained."""

    def make(name: str, out_features: int, in_features: int, k: int) -> PhotonicWeight:
        aim = session.aims[name]
        mapped = session.mapped.get(name, aim.commands)
        rest = session.rest.get(name, aim.commands)
        return PhotonicWeight(chips[name], out_features, in_features, mapped, rest, aim.sigma.copy())

    net = network.build(session.electronic.spec, make, session.electronic.dtype)
    pretrained = session.electronic.parameters() | session.electronic.buffers()
    for name, array in (net.parameters() | net.buffers()).items():
        if name in pretrained:
            array[...] = pretrained[name]
    return net


# -- checkpoints -------------------------------------------------------------------------------------------------------


def checkpoint(session: Session, stage: str, epoch: int, keep: bool = False) -> Iterator[Checkpoint]:
    """A checkpoint after `epoch` epochs of `stage`: every time while it is small, else when `keep` or some time passed.

    `epoch` -1 says that the stage is finished.
    """
    taken, size = session.saved
    if keep or size < SMALL_BYTES or time.monotonic() - taken > LARGE_SECONDS:
        whole = snapshot(session, stage, epoch, keep)
        session.saved = time.monotonic(), sum(a.nbytes for a in whole.arrays.values())
        yield whole


def snapshot(session: Session, stage: str, epoch: int, keep: bool = False) -> Checkpoint:
    """A copy of all that a run needs to go on after `epoch` epochs of `stage`."""
    arrays = {f"electronic/{name}": a for name, a in session.electronic.state().items()}
    values: dict[str, Any] = {
        "design": _design(session.job),
        "chip_seed": session.chip_seed,
        "meter": session.meter.state(),
        "results": list(session.results),
        "figures": dict(session.figures),
        "scores": dict(session.scores),
        "elapsed": 0.0 if epoch < 0 else time.perf_counter() - session.began,
        "noise": {},
    }
    for name, chip in session.chips.items():
        held, position = chip.state()
        arrays |= {f"chip/{name}/{key}": a for key, a in held.items()}
        values["noise"][name] = position
    for kind, commands in (("rest", session.rest), ("mapped", session.mapped)):
        for name, told in commands.items():
            for part, phases, signs in told.parts():
                arrays[f"{kind}/{name}/{part}/phases"] = phases
                arrays[f"{kind}/{name}/{part}/signs"] = signs
    for name, state in session.searches.items():
        arrays |= {f"search/{name}/{key}": a.copy() for key, a in state.arrays().items()}
    if session.photonic is not None:
        arrays |= {f"photonic/{name}": a for name, a in session.photonic.state().items()}
    if session.optimiser is not None:
        values["optimiser"] = session.optimiser.name
        arrays |= {f"optimiser/{name}": a for name, a in optim.state(session.optimiser).items()}
    return Checkpoint(stage, epoch, session.step, arrays, values, keep)


def restore(session: Session, saved: Checkpoint) -> None:
    """Bring a freshly opened session to where `saved` was taken. RunError where it belongs to another model."""
    arrays, values = saved.arrays, saved.values
    if values["design"] != _design(session.job):
        made = ", ".join(f"{path} = {value}" for path, value in values["design"].items())
        raise RunError(f"the checkpoint is of another chip, made with {made}; set these in the job")
    session.chip_seed = values["chip_seed"]
    session.electronic.load(_under(arrays, "electronic/"))
    if values["noise"]:
        put_on_chip(session)
    session.meter.restore(values["meter"])
    session.results, session.figures = list(values["results"]), dict(values["figures"])
    session.began = time.perf_counter() - values["elapsed"]
    session.scores, session.step = dict(values["scores"]), saved.step
    for name, chip in session.chips.items():
        chip.restore(_under(arrays, f"chip/{name}/"), values["noise"][name])
        for kind, commands in (("rest", session.rest), ("mapped", session.mapped)):
            told = _under(arrays, f"{kind}/{name}/")
            if told:
                commands[name] = Commands(
                    {part: told[f"{part}/phases"] for part in zeroth.PARTS},
                    {part: told[f"{part}/signs"] for part in zeroth.PARTS},
                )
        search = _under(arrays, f"search/{name}/")
        if search:
            session.searches[name] = zeroth.restore(search)
    if session.chips:
        session.photonic = photonic_network(session, session.chips)
        session.photonic.load(_under(arrays, "photonic/"))
    if "optimiser" in values:
        net = session.photonic if saved.stage == "learn" else session.electronic
        assert net is not None
        session.optimiser = optim.start(values["optimiser"], net.parameters())
        optim.load(session.optimiser, _under(arrays, "optimiser/"))


def _design(job: Job) -> dict[str, str]:
    """What must be the same for a checkpoint to fit, by path in the job."""
    return {"model.name": job.model.name, "chip.mesh": job.chip.mesh}


def _under(arrays: dict[str, Array], prefix: str) -> dict[str, Array]:
    return {name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)}
