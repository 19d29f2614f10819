"""A flow of your own: digits as light through one fixed random mesh; electronics learns to read the powers behind it.

    l2sim run readout --import examples/own_flow.py

The sections `insitu` (features, mesh, modes), `data`, `nonidealities`, `learn` and `cost` of a job say what is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from matplotlib.figure import Figure

from l2sim.backend import Array, float_type, host
from l2sim.chip import energy
from l2sim.chip.mesh_chip import MeshChip
from l2sim.data import as_light
from l2sim.data.sets import DataSet
from l2sim.flow import session as sessions
from l2sim.flow.registry import Flow, register
from l2sim.flow.session import Session, Values, under
from l2sim.job.imperfections import chip_nonidealities
from l2sim.job.job import Job
from l2sim.job.presets import PRESETS, Preset
from l2sim.job.settings import Declaration, Settings
from l2sim.mesh import unitary
from l2sim.mesh.mesh import Mesh
from l2sim.nn import specs
from l2sim.nn.losses import accuracy, cross_entropy
from l2sim.report import figures, html
from l2sim.store.events import Epoch, Event
from l2sim.store.gather import Material

LAYER = "mesh1"
CLASSES = 10

# -- what a job is to this flow ----------------------------------------------------------------------------------------


def model(job: Settings) -> specs.ModelSpec:
    """What the window draws and `l2sim models` counts: one mesh whose phases are not trained."""
    layers = (specs.Mesh(job.insitu.modes, job.insitu.mesh), specs.Power())
    return specs.ModelSpec("readout", (job.insitu.modes,), job.insitu.modes, layers)


DECLARED = Declaration(
    preset="readout",
    stages=("deploy", "learn"),
    sections=("data", "nonidealities", "insitu", "learn", "cost"),
    model=model,
)
PRESETS.register(
    "readout",
    Preset(
        "a linear read-out behind a random mesh of 64 modes, on the UCI digits; some seconds",
        "examples/own_flow.py",
        {
            "name": "readout",
            "flow": "readout",
            "insitu": {"features": "pixels"},
            "learn": {"epochs": 100, "lr": 0.5, "lr_floor": 0.0},
        },
    ),
)

# -- what a run holds, and its stages ----------------------------------------------------------------------------------


@dataclass
class Readout(Session):
    """The chip, once it is fabricated, and the read-out (classes, modes + 1): a weight for every power, and a bias."""

    chips: dict[str, MeshChip] = field(default_factory=dict)
    weights: Array = field(default_factory=lambda: np.zeros(0))

    def chip(self, layer: str) -> MeshChip | None:
        return self.chips.get(layer)

    def geometry(self) -> dict[str, energy.Geometry]:
        return {name: energy.whole(chip.mesh) for name, chip in self.chips.items()}

    def design(self) -> Values:
        return {"insitu.mesh": self.job.insitu.mesh, "insitu.modes": self.job.insitu.modes}

    def keep(self) -> tuple[dict[str, Array], Values]:
        arrays, noise = {"weights": self.weights.copy()}, {}
        for name, chip in self.chips.items():
            state, noise[name] = chip.state()
            arrays |= {f"chip/{name}/{key}": a for key, a in state.items()}
        return arrays, {"noise": noise}

    def take(self, arrays: dict[str, Array], values: Values) -> None:
        fabricate(self)
        self.weights = arrays["weights"]
        for name, position in msgspec.convert(values["noise"], dict[str, Values]).items():
            self.chips[name].restore(under(arrays, f"chip/{name}/"), position)

    def retune(self) -> None:
        for chip in self.chips.values():
            chip.nonidealities = chip_nonidealities(self.job)

    def told(self, layer: str) -> dict[str, Array]:
        commanded = self.chips[layer].commanded if layer in self.chips else {}
        return {f"{layer}.{part}": host(a).astype(np.float32) for part, a in commanded.items()}

    def powers(self, stage: str, x: Array) -> Array:
        """What detectors read behind the mesh, and a one, (modes + 1, samples)."""
        light = np.zeros((self.job.insitu.modes, len(x)), complex)
        light[: x.shape[1]] = x.T
        with self.meter.stage(stage):
            read = host(self.chips[LAYER].forward(light, readout="power"))
        return np.concatenate([read, np.ones((1, len(x)))])

    def tested(self) -> dict[str, float]:
        logits = self.weights @ self.powers("test", self.data.test_x)
        loss, _ = cross_entropy(logits, self.data.test_y)
        return {"loss": float(loss), "accuracy": float(accuracy(logits, self.data.test_y))}


def open_session(job: Job, source: Path | DataSet | None) -> Readout:
    """The data as light; the chip is fabricated when it is deployed."""
    images = as_light.dataset(job.data.name, job.insitu.features, job.insitu.modes, source)
    return Readout(job, images, images.test_x[:0], images.test_y[:0], job.seed)


def fabricate(session: Readout) -> None:
    """The chip at random phases. The same session always gives the same chip."""
    job, mesh = session.job, Mesh(session.job.insitu.mesh, session.job.insitu.modes)
    chip = MeshChip(
        mesh, chip_nonidealities(job), seed=session.chip_seed, name=LAYER, meter=session.meter.of(LAYER),
        dtype=float_type(job.precision),
    )  # fmt: skip
    chip.set_phases(*unitary.haar(mesh, session.stream("phases")))
    session.chips = {LAYER: chip}
    session.weights = np.zeros((CLASSES, mesh.modes + 1))


def deploy(session: Readout, done: int) -> Iterator[Event]:
    """Fabricate the chip; the read-out knows nothing yet."""
    yield session.begin("deploy", 1, 0)
    fabricate(session)
    scores, session.step = session.tested(), session.step + 1
    scalars = {f"test_{name}": value for name, value in scores.items()}
    yield Epoch("deploy", 1, 1, session.step, scalars, session.told(LAYER))
    yield session.finish("deploy", scores, {})


def learn(session: Readout, done: int) -> Iterator[Event]:
    """Follow the gradient of the read-out, all samples at once; the chip is read anew every epoch."""
    job, labels = session.job.learn, session.data.train_y
    yield session.begin("learn", job.epochs, done)
    for epoch in range(done, job.epochs):
        read = session.powers("learn", session.data.train_x)
        loss, slope = cross_entropy(session.weights @ read, labels)
        session.weights = session.weights - session.job.learn.lr * slope @ read.T
        session.step += 1
        session.scores = session.tested() | session.told_cost("learn")
        scalars = {f"test_{name}": session.scores[name] for name in ("loss", "accuracy")} | {"train_loss": float(loss)}
        yield Epoch("learn", epoch + 1, job.epochs, session.step, scalars)
        yield from sessions.checkpoint(session, "learn", epoch + 1)
    yield session.finish("learn", session.scores, {})


# -- the parts of its page (l2sim.report.page.Parts) -------------------------------------------------------------------

WHAT = "Digits pass a fixed random mesh as light; electronics learns a linear read-out of the powers behind it."
COST = "A digit takes one pass of light through the mesh."


def title(job: Job) -> str:
    """The headline."""
    return f"{job.name}: a read-out behind {job.insitu.modes} modes on {job.data.name}, seed {job.seed}"


def picture(material: Material) -> Figure:
    """Accuracy and loss."""
    sheet, axes = figures.sheet(2, 8, 3.6)
    for at, quantity in enumerate(("accuracy", "loss")):
        figures.curves(axes[0, at], material.training.get("learn", {}), quantity, quantity.capitalize())
    return sheet


def overview(material: Material) -> str:
    """The run at a glance."""
    body = html.figure(figures.svg(picture(material), "overview", "Accuracy and loss."), "Accuracy and loss by epoch.")
    return html.section("The run at a glance", body)


FIRST, BEFORE_COST, AFTER_COST = (overview,), (), ()

register("readout", Flow(DECLARED, open_session, {"deploy": deploy, "learn": learn}, report=__name__))
