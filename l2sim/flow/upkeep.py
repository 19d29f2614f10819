"""The stage after learning, of both flows: chips in service while their biases wander, and what keeps them right.

It takes `upkeep.hours` of chip time, and is left out where these are 0. Every `upkeep.every` hours the network is
tested as it is found, then the policy acts (`l2sim.learn.upkeep`), and it is tested again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

import numpy as np

from l2sim.backend import Array
from l2sim.flow import session as sessions
from l2sim.flow import training
from l2sim.flow.session import Session
from l2sim.job.imperfections import data_sheet
from l2sim.job.sections import Upkeep
from l2sim.learn import train, upkeep
from l2sim.nn import optim
from l2sim.store.events import Epoch, Event, Warned

HOUR = 3600.0


def looks(job: Upkeep) -> int:
    """How often the network is looked after."""
    return max(1, round(job.hours / job.every)) if job.hours > 0 else 0


class Watched(Protocol):
    """Tensor cores in service, as `serve` looks after them."""

    def attend(self) -> None:
        """Called before the cores are left alone: read what they are to stay, if that is not known."""

    def layers(self) -> dict[str, upkeep.Layer]:
        """The layers by name, with what they are to be, for the policy of a look. May raise RunError."""
        ...

    def served(self, layers: dict[str, upkeep.Layer]) -> None:
        """Called when the policy has acted on `layers`: take over what it changed."""


def serve(
    session: Session, done: int, frames: Callable[[int, int], dict[str, Array]], cores: Watched | None = None
) -> Iterator[Event]:
    """The stage, from the look `done` on; `frames(look, looks)` is what the phase log records. Chips without `cores`
    only learn."""
    count = looks(session.job.upkeep)
    yield session.begin("upkeep", count, done)
    if done == 0:
        session.looks = [_tested(session) | {"hours": 0.0, "clock": session.meter.clock}]
    if session.optimiser is None:
        session.optimiser = optim.start(session.job.learn.optimizer, session.network.parameters())
    for look in range(done, count):
        job = session.job.upkeep  # it may change while the run goes on
        if cores is not None:
            cores.attend()
        with session.meter.stage("upkeep"):
            session.meter.wait(job.every * HOUR)
        hours = (session.meter.clock - session.looks[0]["clock"]) / HOUR
        before = _tested(session) | {"hours": hours}
        with session.meter.stage("upkeep"):
            layers, care = {} if cores is None else cores.layers(), _care(session)
            acted = upkeep.POLICIES[job.policy](layers, care, partial(session.stream, "upkeep", look))
            if cores is not None:
                cores.served(layers)
        idle = job.policy == "none" or (job.policy == "triggered" and not acted.recalibrated)
        kept = before if idle else _tested(session)
        spent = session.meter.spent("upkeep")
        row = before | {f"kept_{name}": value for name, value in kept.items() if name in ("accuracy", "loss")} | {
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


def result(rows: list[dict[str, float]]) -> dict[str, float | int]:
    """The stage's entry in the report. Accuracies are as found, before upkeep; `accuracy` is the last, after it."""
    accuracies = [row["accuracy"] for row in rows[1:]]
    return {
        "accuracy": rows[-1]["kept_accuracy"], "loss": rows[-1]["kept_loss"], "start_accuracy": rows[0]["accuracy"],
        "mean_accuracy": float(np.mean(accuracies)), "lowest_accuracy": min(accuracies), "hours": rows[-1]["hours"],
        "recalibrated": int(sum(row["recalibrated"] for row in rows[1:])),
        "lost": int(sum(row["lost"] for row in rows[1:])),
    }  # fmt: skip


def _tested(session: Session) -> dict[str, float]:
    return training.scores(session, session.network, validate=False)


def _care(session: Session) -> upkeep.Care:
    policy, job, data = session.job.upkeep, session.job, session.data
    assert session.optimiser is not None, "there is one while the stage goes on"
    step = train.descent(session.network, session.optimiser, job.learn.weight_decay, session.objective)
    size = min(job.learn.batch, int(data.train_y.size))

    def lesson(rng: np.random.Generator) -> None:
        at = rng.choice(int(data.train_y.size), size, replace=False)
        step(data.train_x[at], data.train_y[at], rng, policy.lr)

    return upkeep.Care(
        data_sheet(job), policy.every * HOUR, job.calibrate.by(job.chip), threshold=policy.threshold,
        probes=policy.probes, epochs=policy.sweeps, lessons=policy.batches, lesson=lesson,
    )  # fmt: skip
