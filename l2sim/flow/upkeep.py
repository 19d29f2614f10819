"""The stage after learning, of both flows: chips in service while their biases wander, and what keeps them right.

It takes `upkeep.hours` of chip time, and is left out where these are 0. Every `upkeep.every` hours the network is
tested as it is found, then the policy acts (`l2sim.learn.upkeep`), and it is tested again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from l2sim.backend import Array
from l2sim.errors import RunError
from l2sim.flow import session as sessions
from l2sim.flow import training
from l2sim.flow.l2ight.session import L2ight
from l2sim.flow.session import Session
from l2sim.learn import train, upkeep
from l2sim.nn import optim
from l2sim.nn.photonic import PhotonicWeight
from l2sim.store.events import Epoch, Event, Warned

if TYPE_CHECKING:
    from l2sim.job.imperfections import chip_nonidealities
from l2sim.job.sections import Upkeep

HOUR = 3600.0
PROBING = ("periodic", "triggered", "track")
"""Policies that hold cores at what they answered when service began."""


def looks(job: Upkeep) -> int:
    """How often the network is looked after."""
    return max(1, round(job.hours / job.every)) if job.hours > 0 else 0


def serve(session: Any, done: int, frames: Callable[[int, int], dict[str, Array]]) -> Iterator[Event]:
    """The stage, from the look `done` on; `frames(look, looks)` is what the phase log records."""
    count = looks(session.job.upkeep)
    yield session.begin("upkeep", count, done)
    if done == 0:
        session.looks = [_tested(session) | {"hours": 0.0, "clock": session.meter.clock}]
    if session.optimiser is None:
        session.optimiser = optim.start(session.job.learn.optimizer, session.network.parameters())
    for look in range(done, count):
        it = session.job.upkeep  # it may change while the run goes on
        if it.policy in PROBING:
            _refer(session)
        with session.meter.stage("upkeep"):
            next(iter(session.chips.values())).wait(it.every * HOUR)
        hours = (session.meter.clock - session.looks[0]["clock"]) / HOUR
        found = _tested(session) | {"hours": hours}
        with session.meter.stage("upkeep"):
            layers, care = _layers(session), _care(session)
            acted = upkeep.POLICIES[it.policy](layers, care, partial(session.stream, "upkeep", look))
            _keep(session, layers)
        idle = it.policy == "none" or (it.policy == "triggered" and not acted.recalibrated)
        kept = found if idle else _tested(session)
        spent = session.meter.stages["upkeep"]
        row = found | {f"kept_{name}": value for name, value in kept.items() if name in ("accuracy", "loss")} | {
            "recalibrated": float(acted.recalibrated), "lost": float(acted.lost),
            "core_calls": float(spent.core_calls), "evaluations": float(spent.evaluations),
        }  # fmt: skip
        session.looks.append(row)
        session.step += 1
        if acted.lost:
            yield Warned("upkeep", f"{acted.lost} cores could not be identified at {row['hours']:g} h of service")
        scalars = {f"test_{name}" if name in ("accuracy", "loss") else name: value for name, value in row.items()}
        scalars |= session.told_cost("upkeep")
        yield Epoch("upkeep", look + 1, count, session.step, scalars, frames(look + 1, count))
        yield from sessions.checkpoint(session, "upkeep", look + 1)
    session.optimiser = None
    yield session.finish("upkeep", result(session.looks), {"looks": session.looks})


def result(rows: list[dict[str, float]]) -> dict[str, Any]:
    """The stage's entry in the report. Accuracies are as found, before upkeep; `accuracy` is the last, after it."""
    found = [row["accuracy"] for row in rows[1:]]
    return {
        "accuracy": rows[-1]["kept_accuracy"], "loss": rows[-1]["kept_loss"], "start_accuracy": rows[0]["accuracy"],
        "mean_accuracy": float(np.mean(found)), "lowest_accuracy": min(found), "hours": rows[-1]["hours"],
        "recalibrated": int(sum(row["recalibrated"] for row in rows[1:])),
        "lost": int(sum(row["lost"] for row in rows[1:])),
    }  # fmt: skip


def _tested(session: Session) -> dict[str, float]:
    return training.scores(session, session.network, validate=False)  # type: ignore[attr-defined]


def _refer(session: L2ight) -> None:
    """Read what the cores are to stay, when service begins."""
    if session.service:
        return
    with session.meter.stage("upkeep"):
        for name, weight in session.network.weights.items():
            assert isinstance(weight, PhotonicWeight)
            session.service[name] = upkeep.reference(weight)
            weight.write()


def _layers(session: Any) -> dict[str, upkeep.Layer]:
    """The layers as policies see them; none of whole meshes, which only learn."""
    if not isinstance(session, L2ight) or session.job.upkeep.policy not in PROBING:
        return {}
    found, twins = {}, session.twins if session.job.calibrate.method == "twin" else {}
    for name, weight in session.network.weights.items():
        assert isinstance(weight, PhotonicWeight)
        found[name] = upkeep.Layer(weight, upkeep.target(weight, session.service[name]), twins.get(name))
    if session.job.upkeep.policy == "track" and not all(layer.known is not None for layer in found.values()):
        raise RunError("the checkpoint holds no twins to track; calibrate with calibrate.method = 'twin'")
    return found


def _keep(session: Any, layers: dict[str, upkeep.Layer]) -> None:
    """Take what a policy changed into the session."""
    for name, layer in layers.items():
        session.mapped[name], session.rest[name] = layer.weight.mapped, layer.weight.rest
        if layer.known is not None:
            session.twins[name] = layer.known


def _care(session: Any) -> upkeep.Care:
    it, job, data = session.job.upkeep, session.job, session.data
    step = train.descent(session.network, session.optimiser, job.learn.weight_decay, session.objective)
    size = min(job.learn.batch, int(data.train_y.size))

    def lesson(rng: np.random.Generator) -> None:
        at = rng.choice(int(data.train_y.size), size, replace=False)
        step(data.train_x[at], data.train_y[at], rng, it.lr)

    return upkeep.Care(
        chip_nonidealities(job), it.every * HOUR, job.chip.readout, threshold=it.threshold,
        probes=it.probes, epochs=it.sweeps, lessons=it.batches, lesson=lesson,
    )  # fmt: skip
