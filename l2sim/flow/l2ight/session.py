"""What a run of the L2ight flow holds: the electronic network, the chips by layer, and how a checkpoint keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from l2sim import backend, naming
from l2sim.backend import Array, float_type, generator, host
from l2sim.chip import energy, nonidealities
from l2sim.chip.complex_core_chip import fabricated_as
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.meter import Meter
from l2sim.chip.parts.given import check_layers
from l2sim.chip.protocol import PARTS, ChipState, Commands
from l2sim.data import sets
from l2sim.data.sets import DataSet
from l2sim.errors import JobError, RunError
from l2sim.flow import oracle
from l2sim.flow.session import Session, Values
from l2sim.job import model as described
from l2sim.job.imperfections import chip_nonidealities
from l2sim.job.job import Job
from l2sim.learn.search import mapping, zeroth
from l2sim.learn.search.mapping import Target
from l2sim.learn.twin import identify as twin
from l2sim.mesh.mesh import Mesh
from l2sim.nn import models, network
from l2sim.nn.network import Network
from l2sim.nn.photonic import PhotonicWeight
from l2sim.nn.specs import Standardise
from l2sim.nn.weights import ElectronicWeight


@dataclass
class L2ight(Session):
    """A run of the L2ight flow; `chips`, `aims`, `rest`, `mapped`, by layer name, fill up as the stages go on;
    `attenuators` where they are commanded by their phases (`protocols.Phases`); `renewed`: the classifier is new;
    `service`: what the layers answered when service began, as matrices.
    """

    electronic: Network = field(kw_only=True)
    chips: dict[str, CoreChip] = field(default_factory=dict)
    aims: dict[str, Target] = field(default_factory=dict)
    rest: dict[str, Commands] = field(default_factory=dict)
    mapped: dict[str, Commands] = field(default_factory=dict)
    searches: dict[str, zeroth.State] = field(default_factory=dict)
    twins: dict[str, twin.Twin] = field(default_factory=dict)
    attenuators: dict[str, Array] = field(default_factory=dict)
    service: dict[str, Array] = field(default_factory=dict)
    renewed: bool = False
    photonic: Network | None = None

    @property
    def network(self) -> Network:
        """The network on the chips."""
        assert self.photonic is not None, "the chips are fabricated when deployment starts"
        return self.photonic

    def trained(self, stage: str) -> Network:
        """The network that `stage` trains: that on the chips in learn and upkeep, the electronic one before."""
        return self.network if stage in ("learn", "upkeep") else self.electronic

    def geometry(self) -> dict[str, energy.Geometry]:
        """The size of every chip, a grid of cores each, by layer; empty before deployment."""
        if not self.chips:
            return {}
        sheet, by = chip_nonidealities(self.job), self.job.chip.readout
        port = energy.Port.of(sheet, by, by == "field")
        return {name: energy.blocked(chip.shape, chip.mesh, port) for name, chip in self.chips.items()}

    def chip(self, layer: str) -> CoreChip | None:
        """The chip of `layer`; None before deployment, and for layers without a matrix."""
        return self.chips.get(layer)

    def design(self) -> Values:
        """Model and layout of the cores' meshes, by path in the job: those of a checkpoint must be the same."""
        return {"model.name": self.job.model.name, "chip.mesh": self.job.chip.mesh}

    def retune(self) -> None:
        """Give every chip the imperfections that the job has now."""
        imperfect = chip_nonidealities(self.job)
        for chip in self.chips.values():
            if chip.nonidealities != imperfect:
                chip.nonidealities = imperfect

    def told(self, layer: str) -> dict[str, Array]:
        """What `layer` is commanded, float32: sigma (cores, k), "fc1.sigma.commanded"; phases (cores, n), rad,
        "fc1.u.phases" and "fc1.v.phases".

        While learning also "fc1.sigma.gradient" (cores, k) of the last mini-batch. Empty before deployment.
        """
        if layer not in self.chips:
            return {}
        arrays, _ = self.chips[layer].state()
        keys = naming.name("sigma", "commanded"), *(naming.name(part, "phases") for part in PARTS)
        series = {naming.name(layer, key): host(arrays[key]).astype(np.float32) for key in keys}
        if self.stage == "learn":
            series[naming.name(layer, "sigma", "gradient")] = self._gradient(layer)
        return series

    def merits(self, layer: str) -> dict[str, Array]:
        """How good every core of `layer` is now, (cores,) float32, as "fc1.block.NAME"; empty before deployment.

        Loss and best of a search; beside them true identity errors while calibrating, the norm of the gradient while
        learning, else the true mapping error, NaN where a core passes no light.
        """
        if layer not in self.chips:
            return {}
        chip, aim = self.chips[layer], self.aims[layer]
        series: dict[str, Array] = {}
        if layer in self.searches:
            scale = mapping.error_scale(aim) if self.stage == "map" else 1.0
            series |= {"loss": self.searches[layer].loss, "best": self.searches[layer].best * scale}
        if self.stage == "calibrate":
            series |= {f"oracle_identity_error_{part}": a for part, a in oracle.identity_error(chip).items()}
        elif self.stage == "learn":
            series["gradient"] = np.linalg.norm(self._gradient(layer), axis=-1)
        else:
            above, below = oracle.mapping_error(chip, aim)
            series["oracle_mapping_error"] = above / np.where(below > 0, below, np.nan)
        return {naming.name(layer, "block", name): host(a).astype(np.float32).ravel() for name, a in series.items()}

    def _gradient(self, layer: str) -> Array:
        """dL/dsigma of the last mini-batch, (cores, k)."""
        weight = self.network.weights[layer]
        assert isinstance(weight, PhotonicWeight)
        return host(weight.gradient).astype(np.float32).reshape(-1, weight.gradient.shape[-1])

    def keep(self) -> tuple[dict[str, Array], Values]:
        """Copies of both networks, chips, commands, searches and twins, by name; as values the noise and the model."""
        arrays = {naming.name(name, "electronic"): a for name, a in self.electronic.state().items()}
        noise: Values = {}
        for name, chip in self.chips.items():
            own, noise[name] = chip.state()
            arrays |= {naming.name(name, key): a for key, a in own.items()}
        for kind, layers in (("rest", self.rest), ("mapped", self.mapped)):
            for name, commands in layers.items():
                for part, phases, signs in commands.parts():
                    arrays[naming.name(name, part, f"{kind}_phases")] = phases.copy()
                    arrays[naming.name(name, part, f"{kind}_signs")] = signs
        for name, state in self.searches.items():
            arrays |= {naming.name(name, naming.searched(key)): a.copy() for key, a in state.arrays().items()}
        for name, known in self.twins.items():
            arrays |= {naming.name(name, key, "twin"): a.copy() for key, a in vars(known).items()}
        if self.photonic is not None:
            arrays |= {naming.name(name, "photonic"): a for name, a in self.photonic.state().items()}
        arrays |= {naming.name(name, "sigma", "attenuators"): a.copy() for name, a in self.attenuators.items()}
        arrays |= {naming.name(name, "matrix", "service"): a.copy() for name, a in self.service.items()}
        model = msgspec.to_builtins(self.electronic.spec)
        return arrays, {"noise": noise, "renewed": self.renewed, "model": model}

    def take(self, arrays: dict[str, Array], values: Values) -> None:
        """Put back what `keep` gave, on chips fabricated again; with `learn.new_classifier` the last layer stays new.

        RunError where its network has other classes and gets no new classifier, ModelError where arrays do not fit.
        """
        noise = msgspec.convert(values["noise"], dict[str, ChipState])
        self.renewed = bool(self.job.learn.new_classifier and noise)
        last = list(self.electronic.weights)[-1] if self.renewed and not values.get("renewed") else ""
        electronic, classifier = naming.of_kind(arrays, "electronic"), list(self.electronic.weights)[-1]
        matrix = naming.name(classifier, "weight")
        theirs, ours = (len(a.get(matrix, ())) for a in (electronic, self.electronic.state()))
        if theirs != ours and not last:
            cure = "learn.new_classifier = true gives it a new classifier"
            raise RunError(f"the checkpoint is of a network for {theirs} classes and this one has {ours}; {cure}")
        self.electronic.load(electronic | _own(self.electronic, last))
        if not noise:
            return
        put_on_chip(self)
        for name, chip in self.chips.items():
            if name != last:
                own = naming.of_layer(arrays, name)
                chip.restore(own, noise[name])
                self._take_layer(name, own)
        self.attenuators = naming.by_layer(arrays, "sigma", "attenuators")
        self.service = naming.by_layer(arrays, "matrix", "service")
        self.photonic = photonic_network(self, self.chips)
        self.photonic.load(naming.of_kind(arrays, "photonic") | _own(self.photonic, last))

    def _take_layer(self, layer: str, own: dict[str, Array]) -> None:
        """Commands, search and twins of a layer from its arrays, as far as there are any."""
        chip = self.chips[layer]
        for kind, commands in (("rest", self.rest), ("mapped", self.mapped)):
            phases, signs = (naming.of_kind(own, f"{kind}_{what}") for what in ("phases", "signs"))
            if phases:
                put = chip.xp.asarray
                commands[layer] = Commands({p: put(phases[p]) for p in PARTS}, {p: put(signs[p]) for p in PARTS})
        if search := naming.searches(own, zeroth.FIELDS):
            self.searches[layer] = zeroth.restore(search, chip)
        if known := naming.of_kind(own, "twin"):
            self.twins[layer] = twin.Twin.of_arrays(chip.mesh, known)


def _check_rank(job: Job, spec: models.ModelSpec) -> None:
    """JobError where some core has fewer sigma than are to be learnt in a step."""
    for name, layer in models.count(spec).layers.items():
        if layer.blocks and job.learn.rank > (k := layer.sigma // layer.blocks):
            raise JobError(f"learn.rank = {job.learn.rank} is above k = {k} of {name}; use 1 to {k}, or 0 for all")


def _own(network: Network, layer: str) -> dict[str, Array]:
    """The arrays that a layer of `network` has now."""
    return {name: a for name, a in network.state().items() if layer and name.rpartition(".")[0] == layer}


def open_session(job: Job, source: Path | DataSet | None) -> L2ight:
    """Load the data of `job`, from the folder `source` if it is none itself, and build its electronic network."""
    if isinstance(source, DataSet):
        images = source
    else:
        channels, *size = job.model.input or models.get(job.model.name).input
        images = sets.load(job.data.name, source, (size[0], size[1]), channels)
    spec = described.model(job, images.classes, images.train_x.shape[1])
    _check_rank(job, spec)
    images, validation_x, validation_y = sets.hold_out(images, job.data.validation, generator(job.seed, "validation"))
    if job.data.normalise:
        spec = msgspec.structs.replace(spec, layers=(Standardise(*sets.moments(images.train_x)), *spec.layers))
    dtype = float_type(job.precision)
    device = backend.device(job.device)
    weights = network.electronic(generator(job.seed, "weights"), dtype, device)
    electronic = network.build(spec, weights, dtype, device=device)
    put = device.put
    images = DataSet(
        put(images.train_x), put(images.train_y), put(images.test_x), put(images.test_y), images.classes
    )
    return L2ight(job, images, device.put(validation_x), device.put(validation_y), job.seed, electronic=electronic)


def fabricate(session: L2ight, imperfect: nonidealities.Nonidealities, meter: Meter) -> dict[str, CoreChip]:
    """The chips of all layers, by name. The same session always gives the same chips."""
    job, spec = session.job, session.electronic.spec
    chips: dict[str, CoreChip] = {}

    def make(name: str, out_features: int, in_features: int, k: int) -> ElectronicWeight:
        chips[name] = fabricated_as(imperfect, job.chip.readout)(
            (-(-out_features // k), -(-in_features // k)),
            Mesh(job.chip.mesh, k),
            imperfect,
            seed=session.chip_seed,
            name=name,
            meter=meter.of(name),
            dtype=session.electronic.dtype,
            device=session.electronic.device,
        )
        return ElectronicWeight(np.empty((out_features, in_features), session.electronic.dtype))

    network.build(spec, make, session.electronic.dtype)
    check_layers(imperfect.devices, chips, whole=False)
    return chips


def put_on_chip(session: L2ight) -> None:
    """Fabricate the chips, decompose the pretrained weights, and build the network that runs on the chips."""
    session.chips = fabricate(session, chip_nonidealities(session.job), session.meter)
    for name, weight in session.electronic.weights.items():
        assert isinstance(weight, ElectronicWeight)
        session.aims[name] = mapping.target(session.chips[name], weight.matrix)
    session.photonic = photonic_network(session, session.chips)


def photonic_network(session: L2ight, chips: dict[str, CoreChip]) -> Network:
    """The network of the session on `chips`, with sigma as in the targets and batch norm as pretrained."""

    def make(name: str, out_features: int, in_features: int, k: int) -> PhotonicWeight:
        aim = session.aims[name]
        mapped = session.mapped.get(name, aim.commands)
        rest = session.rest.get(name, aim.commands)
        by = session.job.chip.readout
        return PhotonicWeight(chips[name], out_features, in_features, mapped, rest, aim.sigma.copy(), by)

    net = network.build(session.electronic.spec, make, session.electronic.dtype, device=session.electronic.device)
    pretrained = session.electronic.parameters() | session.electronic.buffers()
    for name, array in (net.parameters() | net.buffers()).items():
        if name in pretrained:
            array[...] = pretrained[name]
    return net
