"""What a run of the in situ flow holds: the chips by mesh and the network on them, and how a checkpoint keeps them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from l2sim import backend, naming
from l2sim.backend import Array, float_type, generator, host
from l2sim.chip import energy
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.parts.given import check_layers
from l2sim.chip.protocol import ChipState, Gradient, MeshHardware
from l2sim.data import as_light, sets
from l2sim.errors import JobError
from l2sim.flow.session import Session, Values
from l2sim.job import model as described
from l2sim.job.imperfections import chip_nonidealities
from l2sim.job.job import Job
from l2sim.learn.insitu import measure
from l2sim.learn.train import Objective
from l2sim.mesh import unitary
from l2sim.mesh.mesh import Mesh
from l2sim.nn import models, network
from l2sim.nn.losses import OBJECTIVES
from l2sim.nn.network import Network
from l2sim.nn.optics import Measure, MeshLayer

TEST_BATCH = 2000
"""Samples that are tested at once: a mesh takes as long for its matrix as for a small batch."""
QUIET = dict.fromkeys(("io_amplitude_error", "io_phase_error", "readout_noise", "reference_phase_std"), 0.0)


@dataclass
class Insitu(Session):
    """A run of the in situ flow; `chips`, by mesh, and the network on them exist from deployment on."""

    chips: dict[str, MeshChip] = field(default_factory=dict)
    built: Network | None = None
    slopes: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    """True and measured gradient of every mesh, theta then phi (2 n,), of the first mini-batch after the last epoch."""

    @property
    def network(self) -> Network:
        """The network on the chips. AssertionError before deployment, which makes it."""
        assert self.built is not None, "the chips are fabricated when deployment starts"
        return self.built

    @property
    def objective(self) -> Objective:
        """What training minimises: the loss that `insitu.loss` of the job names."""
        return OBJECTIVES[self.job.insitu.loss]

    @property
    def chance_loss(self) -> float:
        """The loss of guessing: of outputs that are all the same, or, of squared errors, dark."""
        name, classes = self.job.insitu.loss, self.data.classes
        return {"mse": 1.0, "batch-softmax": math.log(TEST_BATCH) / classes}.get(name, math.log(classes))

    def cure(self, stage: str, rate: str = "another") -> str:
        """What may help where `stage` stands still at chance or diverges, in words; `rate`: which learning rate."""
        where = "light may vanish or grow from mesh to mesh"
        more = ", insitu.bias = 0" if self.job.insitu.nonlinearity == "electro-optic" and self.job.insitu.bias else ""
        return f"{where}: try insitu.restore = 'always'{more}, fewer insitu.layers, or {rate} learn.lr"

    @property
    def test_batch(self) -> int:
        """Samples that are tested at once: TEST_BATCH, whatever the job says."""
        return TEST_BATCH

    @contextmanager
    def testing(self) -> Iterator[None]:
        """Frozen noise is that of the published simulation, which left it out of its tests, as far as one can tell."""
        frozen = list(self.chips.values()) if self.job.insitu.noise == "frozen" else []
        noisy = chip_nonidealities(self.job)
        for chip in frozen:
            chip.nonidealities = msgspec.structs.replace(noisy, **QUIET)
        try:
            yield
        finally:
            for chip in frozen:
                chip.nonidealities = noisy

    def geometry(self) -> dict[str, energy.Geometry]:
        """The size of every chip, one whole mesh each, by mesh; empty before deployment."""
        port = energy.Port.of(chip_nonidealities(self.job), "field", True)
        return {name: energy.whole(chip.mesh, port) for name, chip in self.chips.items()}

    def chip(self, layer: str) -> MeshChip | None:
        """The chip of the mesh `layer`; None before deployment, and for layers that are no mesh."""
        return self.chips.get(layer)

    def design(self) -> Values:
        """Layout, modes and number of the meshes, by path in the job: those of a checkpoint must be the same."""
        return {f"insitu.{name}": getattr(self.job.insitu, name) for name in ("mesh", "modes", "layers")}

    def retune(self) -> None:
        """Give the chips the imperfections that the job has now, and the meshes its way of measuring gradients."""
        imperfect = chip_nonidealities(self.job)
        for name, chip in self.chips.items():
            if chip.nonidealities != imperfect:
                chip.nonidealities = imperfect
            self.network.meshes[name].measure = measured(self.job)

    def told(self, layer: str) -> dict[str, Array]:
        """Phases commanded of the mesh `layer`, rad, float32: "mesh1.theta.phases", "mesh1.phi.phases" (n,) and
        "mesh1.screen.phases" (N,).

        While learning also the gradients measured last ("mesh1.theta.gradient"). Empty before deployment.
        """
        if layer not in self.chips:
            return {}
        series = {naming.name(layer, part, "phases"): a for part, a in self.chips[layer].commanded.items()}
        for part, slope in self.network.meshes[layer].gradients().items() if self.stage == "learn" else ():
            series[naming.name(layer, part, "gradient")] = slope
        return {name: host(a).astype(np.float32) for name, a in series.items()}

    def keep(self) -> tuple[dict[str, Array], Values]:
        """Copies of the chips' phases and the network's arrays, by name; as values the chips' noise and the model."""
        arrays: dict[str, Array] = {}
        noise: Values = {}
        for name, chip in self.chips.items():
            own, noise[name] = chip.state()
            arrays |= {naming.name(name, key): a for key, a in own.items()}
        values: Values = {"noise": noise}
        if self.built is not None:
            arrays |= {naming.name(name, "network"): a for name, a in self.built.state().items()}
            values["model"] = msgspec.to_builtins(self.built.spec)
        return arrays, values

    def take(self, arrays: dict[str, Array], values: Values) -> None:
        """Fabricate the chips again and put back what `keep` gave; nothing if that was before deployment.

        ModelError where the arrays are of another network.
        """
        noise = msgspec.convert(values["noise"], dict[str, ChipState])
        if not noise:
            return
        fabricate(self)
        self.network.load(naming.of_kind(arrays, "network"))
        for name, chip in self.chips.items():
            chip.restore(naming.of_layer(arrays, name), noise[name])


def open_session(job: Job, source: Path | sets.DataSet | None) -> Insitu:
    """Load the data of `job` as light, from the folder `source` if it is none itself."""
    images = as_light.dataset(job.data.name, job.insitu.features, job.insitu.modes, source)
    images, validation_x, validation_y = sets.hold_out(images, job.data.validation, generator(job.seed, "validation"))
    if job.learn.batch > images.train_y.size:
        count = images.train_y.size
        raise JobError(f"learn.batch = {job.learn.batch} is more than the {count} training samples; lower it")
    put = backend.device(job.device).put
    images = replace(
        images, train_x=put(images.train_x), train_y=put(images.train_y), test_x=put(images.test_x),
        test_y=put(images.test_y),
    )  # fmt: skip
    return Insitu(job, images, put(validation_x), put(validation_y), job.seed)


class Bare:
    """A mesh without its fused operations, which draw noise in aggregate: frozen noise must be that of every vector."""

    def __init__(self, chip: MeshChip) -> None:
        self.mesh, self.backward, self.taps = chip.mesh, chip.backward, chip.taps


def measured(job: Job) -> Measure:
    """How gradients are measured. What is lost on the way is known on average, from test structures: a column has two
    arm sections. Where noise is frozen, by the public operations alone."""
    scheme, scale, imperfect = job.insitu.scheme, job.insitu.scale, chip_nonidealities(job)
    way = partial(measure, scheme=scheme, loss_per_column=2 * imperfect.loss_db, scale=scale)
    if job.insitu.noise != "frozen" or not imperfect.tap_noise:
        return way

    def bare(hardware: MeshHardware, x: Array, g: Array) -> Gradient:
        assert isinstance(hardware, MeshChip)
        return way(Bare(hardware), x, g)  # type: ignore[arg-type]

    return bare


def fabricate(session: Insitu) -> None:
    """Make the chips and the network on them, with random phases. The same session always gives the same chips."""
    job, imperfect = session.job, chip_nonidealities(session.job)
    dtype, device = float_type(job.precision), backend.device(job.device)

    def make(name: str, spec: models.Mesh) -> MeshLayer:
        mesh = Mesh(spec.kind, spec.modes)
        chip = MeshChip(
            mesh, imperfect, seed=session.chip_seed, name=name, meter=session.meter.of(name), dtype=dtype, device=device
        )
        session.chips[name] = chip
        phases = (device.put(a, dtype) for a in unitary.haar(mesh, session.stream("phases", name)))
        by_matrix, frozen = job.insitu.light == "matrix", job.insitu.noise == "frozen"
        return MeshLayer(chip, measured(job), *phases, train_screen=spec.screen, by_matrix=by_matrix, frozen=frozen)

    size = session.data.train_x.shape[1]
    spec = described.meshes(job, session.data.classes, size)
    with session.meter.stage("deploy"):
        weights = network.electronic(session.stream("weights"), dtype, device)
        session.built = network.build(spec, weights, dtype, make, device)
    check_layers(imperfect.devices, session.chips, whole=True)
