"""The stages of the in situ flow as generators of events. Each starts after `done` epochs and ends with its result.

    deploy      the chips are fabricated and every mesh gets random phases: the accuracy to start from
    learn       phases are trained by gradients that the chips' power taps measure (Pai et al., Science 380, 398 (2023))
    upkeep      in service, where hours of it are asked for: training goes on while biases wander (`l2sim.flow.upkeep`)
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from l2sim import naming
from l2sim.backend import Array, host
from l2sim.data import as_light
from l2sim.flow import oracle, training, upkeep
from l2sim.flow.insitu.session import Insitu, fabricate
from l2sim.flow.session import PHASE_BYTES, Values
from l2sim.nn.optics import MeshLayer
from l2sim.store.events import Epoch, Event

SAMPLES = 250
"""The most phases of a mesh whose gradients are drawn."""
GRID = 81
"""Points along each side of the picture of a decision boundary."""


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
        errors = gradient_errors(session)
        beside = oracle.comparison(session.slopes) if session.job.learn.compare_gradients else {}
        return errors | beside | session.told_cost("learn")

    def drawn() -> Values:
        picture: Values = {"boundary": boundary(session)} if session.job.data.name in as_light.PLANES else {}
        return picture | {"gradients": gradient_samples(session)}

    ways = training.Ways(frames=partial(frames, session), observe=watch, figures=drawn)
    yield from training.train(session, "learn", session.job.learn, done, ways)


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
    samples = {}
    for name, layer in probe(session).items():
        true, measured = oracle.gradients(layer)
        every = -(-true.size // SAMPLES)
        samples[name] = {"true": true[::every].tolist(), "measured": measured[::every].tolist()}
    return samples


def frames(session: Insitu, epoch: int, epochs: int) -> dict[str, Array]:
    """What the phase log records after this epoch: the commanded phases in travel order, by mesh, and the gradients of
    the first mini-batch, measured and true."""
    commanded = {name: chip.commanded for name, chip in session.chips.items()}
    size = sum(a.nbytes for phases in commanded.values() for a in phases.values())
    every = max(1, epochs * size // PHASE_BYTES)
    if epoch % every and epoch != epochs:
        return {}
    series = {naming.name(name, part, "phases"): a for name, phases in commanded.items() for part, a in phases.items()}
    for name, (true, seen) in session.slopes.items():
        for kind, slope in (("gradient", seen), ("oracle_gradient", true)):
            series |= {naming.name(name, part, kind): a for part, a in zip(("theta", "phi"), np.split(slope, 2))}
    return {name: host(a).astype(np.float32) for name, a in series.items()}


def boundary(session: Insitu) -> Values:
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
