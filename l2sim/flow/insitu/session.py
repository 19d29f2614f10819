"""The in situ flow: a network of whole meshes on imperfect chips, trained by light sent forward and backward.

    deploy      the chips are fabricated and every mesh gets random phases: the accuracy to start from
    learn       phases are trained by gradients that the chips' power taps measure (Pai et al., Science 380, 398 (2023))
    upkeep      in service, where hours of it are asked for: training goes on while biases wander (`l2sim.flow.upkeep`)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from l2sim import backend
from l2sim.backend import Array, float_type, generator, host
from l2sim.chip import energy
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.protocol import Gradient, MeshHardware
from l2sim.data import as_light, sets
from l2sim.errors import JobError
from l2sim.flow import oracle, training, upkeep
from l2sim.flow.session import PHASE_BYTES, Session, under
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
from l2sim.store.events import Epoch, Event

TEST_BATCH = 2000
"""Samples that are tested at once: a mesh takes as long for its matrix as for a small batch."""
QUIET = dict.fromkeys(("io_amplitude_error", "io_phase_error", "readout_noise", "reference_phase_std"), 0.0)
SAMPLES = 250
"""The most phases of a mesh whose gradients are drawn."""
GRID = 81
"""Points along each side of the picture of a decision boundary."""


@dataclass
class Insitu(Session):
    """A run of the in situ flow; `chips`, by mesh, and the network on them exist from deployment on."""

    chips: dict[str, MeshChip] = field(default_factory=dict)
    built: Network | None = None
    slopes: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    """True and measured gradient of every mesh, theta then phi (2 n,), of the first mini-batch after the last epoch."""

    @property
    def network(self) -> Network:
        assert self.built is not None, "the chips are fabricated when deployment starts"
        return self.built

    @property
    def objective(self) -> Objective:
        return OBJECTIVES[self.job.insitu.loss]

    @property
    def test_batch(self) -> int:
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

    def trained(self, stage: str) -> Network:
        return self.network

    def geometry(self) -> dict[str, energy.Geometry]:
        return {name: energy.whole(chip.mesh) for name, chip in self.chips.items()}

    def design(self) -> dict[str, Any]:
        it = self.job.insitu
        return {"insitu.mesh": it.mesh, "insitu.modes": it.modes, "insitu.layers": it.layers}

    def drawn(self, stage: str) -> dict[str, Any]:
        found = {"boundary": boundary(self)} if self.job.data.name in as_light.PLANES else {}
        return found | {"gradients": gradient_samples(self)}

    def retune(self) -> None:
        imperfect = chip_nonidealities(self.job)
        for name, chip in self.chips.items():
            if chip.nonidealities != imperfect:
                chip.nonidealities = imperfect
            self.network.meshes[name].measure = measured(self.job)

    def told(self, layer: str) -> dict[str, Array]:
        if layer not in self.chips:
            return {}
        found = {f"{layer}.{part}": a for part, a in self.chips[layer].commanded.items()}
        for part, slope in self.network.meshes[layer].gradients().items() if self.stage == "learn" else ():
            found[f"{layer}.grad_{part}"] = slope
        return {name: host(a).astype(np.float32) for name, a in found.items()}

    def merits(self, layer: str) -> dict[str, Array]:
        return {}

    def keep(self) -> tuple[dict[str, Array], dict[str, Any]]:
        arrays: dict[str, Array] = {}
        noise: dict[str, Any] = {}
        for name, chip in self.chips.items():
            held, noise[name] = chip.state()
            arrays |= {f"chip/{name}/{key}": a for key, a in held.items()}
        values = {"noise": noise}
        if self.built is not None:
            arrays |= {f"network/{name}": a for name, a in self.built.state().items()}
            values["model"] = msgspec.to_builtins(self.built.spec)
        return arrays, values

    def take(self, arrays: dict[str, Array], values: dict[str, Any]) -> None:
        if not values["noise"]:
            return
        fabricate(self)
        self.network.load(under(arrays, "network/"))
        for name, chip in self.chips.items():
            chip.restore(under(arrays, f"chip/{name}/"), values["noise"][name])


def open_session(job: Job, source: Path | sets.DataSet | None) -> Insitu:
    """Load the data of `job` as light, from the folder `source` if it is none itself."""
    images = as_light.dataset(job.data.name, job.insitu.features, job.insitu.modes, source)
    images, held_x, held_y = sets.hold_out(images, job.data.validation, generator(job.seed, "validation"))
    if job.learn.batch > images.train_y.size:
        count = images.train_y.size
        raise JobError(f"learn.batch = {job.learn.batch} is more than the {count} training samples; lower it")
    put = backend.device(job.device).put
    images = replace(
        images, train_x=put(images.train_x), train_y=put(images.train_y), test_x=put(images.test_x),
        test_y=put(images.test_y),
    )  # fmt: skip
    return Insitu(job, images, put(held_x), put(held_y), job.seed)


class Bare:
    """A mesh without its fused operations, which draw noise in aggregate: frozen noise must be that of every vector."""

    def __init__(self, chip: MeshChip) -> None:
        self.mesh, self.backward, self.taps = chip.mesh, chip.backward, chip.taps


def measure_frozen(hardware: MeshHardware, x: Array, g: Array, **settings: Any) -> Gradient:
    """`measure` on the public operations alone."""
    assert isinstance(hardware, MeshChip)
    return measure(Bare(hardware), x, g, **settings)  # type: ignore[arg-type]


def measured(job: Job) -> Measure:
    """How gradients are measured. What is lost on the way is known on average, from test structures: a column has two
    arm sections."""
    it, imperfect = job.insitu, chip_nonidealities(job)
    way = measure_frozen if it.noise == "frozen" and imperfect.tap_noise else measure
    return partial(way, scheme=it.scheme, loss_per_column=2 * imperfect.loss_db, scale=it.scale)


def fabricate(session: Insitu) -> None:
    """Make the chips and the network on them, with random phases. The same session always gives the same chips."""
    job = session.job
    it, imperfect = job.insitu, chip_nonidealities(job)
    dtype, device = float_type(job.precision), backend.device(job.device)

    def make(name: str, spec: models.Mesh) -> MeshLayer:
        mesh = Mesh(spec.kind, spec.modes)
        chip = MeshChip(
            mesh, imperfect, seed=session.chip_seed, name=name, meter=session.meter.of(name), dtype=dtype, device=device
        )
        session.chips[name] = chip
        phases = (device.put(a, dtype) for a in unitary.haar(mesh, session.stream("phases", name)))
        by_matrix, frozen = it.light == "matrix", it.noise == "frozen"
        return MeshLayer(chip, measured(job), *phases, train_screen=spec.screen, by_matrix=by_matrix, frozen=frozen)

    size = session.data.train_x.shape[1]
    spec = models.onn(session.data.classes, (size,), it.modes, it.layers, it.mesh, it.nonlinearity, it.group)
    with session.meter.stage("deploy"):
        weights = network.electronic(session.stream("weights"), dtype, device)
        session.built = network.build(spec, weights, dtype, make, device)


def deploy(session: Insitu, done: int) -> Iterator[Event]:
    """Fabricate the chips and command random phases."""
    yield session.begin("deploy", 1, 0)
    fabricate(session)
    scores = training.scores(session, session.network)
    session.step += 1
    tested = {f"test_{key}": value for key, value in scores.items() if not key.startswith("validation")}
    yield Epoch("deploy", 1, 1, session.step, tested, frames(session, 1, 1))
    yield session.finish("deploy", scores, {})


def learn(session: Insitu, done: int) -> Iterator[Event]:
    """Train the phases."""

    def watch() -> dict[str, float]:
        return gradient_errors(session) | session.told_cost("learn")

    yield from training.train(session, "learn", session.job.learn, done, partial(frames, session), watch)


def serve(session: Insitu, done: int) -> Iterator[Event]:
    """In service, while biases wander."""
    yield from upkeep.serve(session, done, partial(frames, session))


STAGES = {"deploy": deploy, "learn": learn, "upkeep": serve}


def probe(session: Insitu) -> dict[str, MeshLayer]:
    """The meshes, after their gradients were measured for the first mini-batch."""
    network, size = session.network, session.job.learn.batch
    with session.meter.stage("test"):
        logits = network.forward(session.data.train_x[:size], train=True)
        network.backward(session.objective(logits, session.data.train_y[:size])[1])
    return network.meshes


def gradient_errors(session: Insitu) -> dict[str, float]:
    """1 - cos of the angle between measured and true gradient, the mean over meshes and of every one."""
    session.slopes = {name: oracle.gradients(layer) for name, layer in probe(session).items()}
    errors = {name: oracle.gradient_error(*slopes) for name, slopes in session.slopes.items()}
    mean = sum(errors.values()) / len(errors)
    return {"oracle_gradient_error": mean} | {f"oracle_gradient_error_{name}": e for name, e in errors.items()}


def gradient_samples(session: Insitu) -> dict[str, dict[str, list[float]]]:
    """True and measured gradients of some phases of every mesh, in equal steps over all theta, then phi."""
    found = {}
    for name, layer in probe(session).items():
        true, measured = oracle.gradients(layer)
        every = -(-true.size // SAMPLES)
        found[name] = {"true": true[::every].tolist(), "measured": measured[::every].tolist()}
    return found


def frames(session: Insitu, epoch: int, epochs: int) -> dict[str, Array]:
    """What the phase log records after this epoch: the commanded phases in travel order, by mesh, and the gradients of
    the first mini-batch, measured and true."""
    told = {name: chip.commanded for name, chip in session.chips.items()}
    size = sum(a.nbytes for phases in told.values() for a in phases.values())
    every = max(1, epochs * size // PHASE_BYTES)
    if epoch % every and epoch != epochs:
        return {}
    found = {f"{name}.{part}": a for name, phases in told.items() for part, a in phases.items()}
    for name, (true, seen) in session.slopes.items():
        for kind, slope in (("grad", seen), ("oracle_grad", true)):
            found |= {f"{name}.{kind}_{part}": a for part, a in zip(("theta", "phi"), np.split(slope, 2))}
    return {name: host(a).astype(np.float32) for name, a in found.items()}


def boundary(session: Insitu) -> dict[str, Any]:
    """What a picture of the decision needs: the share of class 1 over a grid of the plane, and the test points."""
    line = np.linspace(-np.sqrt(as_light.POWER), np.sqrt(as_light.POWER), GRID)
    x, y = np.meshgrid(line, line)
    with session.meter.stage("test"):
        power = session.network.forward(as_light.bias(np.column_stack([x.ravel(), y.ravel()])))
    power = host(power)
    share = 1.0 / (1.0 + np.exp(np.clip(power[0].astype(float) - power[1], -50, 50)))
    return {
        "grid": line.round(4).tolist(),
        "share": share.reshape(x.shape).round(4).tolist(),
        "points": host(session.data.test_x[:, :2]).round(4).tolist(),
        "classes": host(session.data.test_y).tolist(),
    }
