"""What a run of the L2ight flow holds: the electronic network, the chips by layer, and how a checkpoint keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from l2sim import backend
from l2sim.backend import Array, float_type, generator
from l2sim.chip import nonidealities
from l2sim.chip.chip import Chip
from l2sim.chip.complexcore import fabricated_as
from l2sim.chip.mesh import Mesh
from l2sim.chip.meter import Meter
from l2sim.chip.protocol import Commands
from l2sim.learn import mapping, zeroth
from l2sim.learn.mapping import Target
from l2sim.nn import models, network
from l2sim.nn.network import Network
from l2sim.nn.photonic import PhotonicWeight
from l2sim.nn.weights import ElectronicWeight
from l2sim.run import data
from l2sim.run.job import Job
from l2sim.run.session import Session, chip_nonidealities, under


@dataclass
class L2ight(Session):
    """A run of the L2ight flow; `chips`, `aims`, `rest`, `mapped`, by layer name, fill up as the stages go on."""

    electronic: Network = field(kw_only=True)
    chips: dict[str, Chip] = field(default_factory=dict)
    aims: dict[str, Target] = field(default_factory=dict)
    rest: dict[str, Commands] = field(default_factory=dict)
    mapped: dict[str, Commands] = field(default_factory=dict)
    searches: dict[str, zeroth.State] = field(default_factory=dict)
    photonic: Network | None = None

    @property
    def network(self) -> Network:
        """The network on the chips."""
        assert self.photonic is not None, "the chips are fabricated when deployment starts"
        return self.photonic

    def trained(self, stage: str) -> Network:
        return self.network if stage == "learn" else self.electronic

    def design(self) -> dict[str, Any]:
        return {"model.name": self.job.model.name, "chip.mesh": self.job.chip.mesh}

    def keep(self) -> tuple[dict[str, Array], dict[str, Any]]:
        arrays = {f"electronic/{name}": a for name, a in self.electronic.state().items()}
        noise: dict[str, Any] = {}
        for name, chip in self.chips.items():
            held, position = chip.state()
            arrays |= {f"chip/{name}/{key}": a for key, a in held.items()}
            noise[name] = position
        for kind, commands in (("rest", self.rest), ("mapped", self.mapped)):
            for name, told in commands.items():
                for part, phases, signs in told.parts():
                    arrays[f"{kind}/{name}/{part}/phases"] = phases
                    arrays[f"{kind}/{name}/{part}/signs"] = signs
        for name, state in self.searches.items():
            arrays |= {f"search/{name}/{key}": a.copy() for key, a in state.arrays().items()}
        if self.photonic is not None:
            arrays |= {f"photonic/{name}": a for name, a in self.photonic.state().items()}
        return arrays, {"noise": noise}

    def take(self, arrays: dict[str, Array], values: dict[str, Any]) -> None:
        self.electronic.load(under(arrays, "electronic/"))
        if not values["noise"]:
            return
        put_on_chip(self)
        for name, chip in self.chips.items():
            chip.restore(under(arrays, f"chip/{name}/"), values["noise"][name])
            for kind, commands in (("rest", self.rest), ("mapped", self.mapped)):
                told = {key: chip.xp.asarray(a) for key, a in under(arrays, f"{kind}/{name}/").items()}
                if told:
                    commands[name] = Commands(
                        {part: told[f"{part}/phases"] for part in zeroth.PARTS},
                        {part: told[f"{part}/signs"] for part in zeroth.PARTS},
                    )
            search = under(arrays, f"search/{name}/")
            if search:
                self.searches[name] = zeroth.restore(search, chip)
        self.photonic = photonic_network(self, self.chips)
        self.photonic.load(under(arrays, "photonic/"))


def open_session(job: Job, directory: Path | None) -> L2ight:
    """Load the data and build the electronic network of `job`."""
    spec = models.get(job.model.name)
    channels, *size = spec.input
    images = data.load(job.data.name, directory, (size[0], size[1]), channels)
    if images.classes != spec.classes:
        spec = models.get(job.model.name, images.classes)
    images, held_x, held_y = data.hold_out(images, job.data.validation, generator(job.seed, "validation"))
    dtype = float_type(job.precision)
    device = backend.device(job.device)
    weights = network.electronic(generator(job.seed, "weights"), dtype, device)
    electronic = network.build(spec, weights, dtype, device=device)
    put = device.put
    images = data.DataSet(
        put(images.train_x), put(images.train_y), put(images.test_x), put(images.test_y), images.classes
    )
    return L2ight(job, images, device.put(held_x), device.put(held_y), job.seed, electronic=electronic)


def fabricate(session: L2ight, imperfect: nonidealities.Nonidealities, meter: Meter) -> dict[str, Chip]:
    """The chips of all layers, by name. The same session always gives the same chips."""
    job, spec = session.job, session.electronic.spec
    chips: dict[str, Chip] = {}

    def make(name: str, out_features: int, in_features: int, k: int) -> ElectronicWeight:
        chips[name] = fabricated_as(imperfect, job.chip.readout)(
            (-(-out_features // k), -(-in_features // k)),
            Mesh(job.chip.mesh, k),
            imperfect,
            seed=session.chip_seed,
            name=name,
            meter=meter,
            dtype=session.electronic.dtype,
            device=session.electronic.device,
        )
        return ElectronicWeight(np.empty((out_features, in_features), session.electronic.dtype))

    network.build(spec, make, session.electronic.dtype)
    return chips


def put_on_chip(session: L2ight) -> None:
    """Fabricate the chips, decompose the pretrained weights, and build the network that runs on the chips."""
    session.chips = fabricate(session, chip_nonidealities(session.job), session.meter)
    for name, weight in session.electronic.weights.items():
        assert isinstance(weight, ElectronicWeight)
        session.aims[name] = mapping.target(session.chips[name], weight.matrix)
    session.photonic = photonic_network(session, session.chips)


def photonic_network(session: L2ight, chips: dict[str, Chip]) -> Network:
    """The network of the session on `chips`, with sigma as in the targets and batch norm as pretrained."""

    def make(name: str, out_features: int, in_features: int, k: int) -> PhotonicWeight:
        aim = session.aims[name]
        mapped = session.mapped.get(name, aim.commands)
        rest = session.rest.get(name, aim.commands)
        readout = "field" if session.job.chip.readout == "field" else "quadrature"
        return PhotonicWeight(chips[name], out_features, in_features, mapped, rest, aim.sigma.copy(), readout)

    net = network.build(session.electronic.spec, make, session.electronic.dtype, device=session.electronic.device)
    pretrained = session.electronic.parameters() | session.electronic.buffers()
    for name, array in (net.parameters() | net.buffers()).items():
        if name in pretrained:
            array[...] = pretrained[name]
    return net
