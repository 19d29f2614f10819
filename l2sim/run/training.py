"""First-order training as a stage of any flow, and the scores of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from l2sim.backend import Array, host, namespace
from l2sim.learn import train as learning
from l2sim.nn import optim
from l2sim.nn.network import Network
from l2sim.run import job as jobs
from l2sim.run import session as sessions
from l2sim.run.events import Epoch, Event, Step
from l2sim.run.session import Session


def train(
    session: Session,
    stage: str,
    job: jobs.Pretrain | jobs.Learn,
    done: int,
    frames: Callable[[int, int], dict[str, Array]] = lambda epoch, epochs: {},
    observe: Callable[[], dict[str, float]] = dict,
) -> Iterator[Event]:
    """Epochs of first-order training up to the stage's last; the accuracy is that of the last epoch on the test set.

    `frames(epoch, epochs)` is what the phase log records after an epoch, `observe` gives more scalars of it.
    """
    yield session.begin(stage, job.epochs, done)
    network = session.trained(stage)
    if done == 0 or session.optimiser is None:
        session.optimiser = optim.start(job.optimizer, network.parameters())
    more: dict[str, Any] = {"objective": session.objective}
    if isinstance(job, jobs.Learn):
        more |= {"skip": job.data_sparsity, "shuffle": job.shuffle}
    for epoch in range(done, job.epochs):
        lr = learning.rate(job.schedule, job.lr, epoch, job.epochs, job.decay, job.lr_floor)
        if isinstance(job, jobs.Learn) and job.legacy_adam:
            session.optimiser.steps = 0
        totals: dict[str, float] = {}
        count = 0
        with session.meter.stage(stage):
            batches = learning.epoch(
                network, session.optimiser, session.data.train_x, session.data.train_y,
                batch=job.batch, lr=lr, weight_decay=job.weight_decay,
                stream=partial(session.stream, stage, epoch), **more,
            )  # fmt: skip
            for scalars in told(batches):
                session.step += 1
                count += 1
                totals = {key: totals.get(key, 0.0) + value for key, value in scalars.items()}
                yield Step(stage, session.step, scalars)
        session.scores = scores(session, network) | observe()
        means = {f"train_{key}": value / count for key, value in totals.items()} | {"lr": lr}
        tested = {f"test_{key}" if key in ("loss", "accuracy") else key: v for key, v in session.scores.items()}
        yield Epoch(stage, epoch + 1, job.epochs, session.step, tested | means, frames(epoch + 1, job.epochs))
        yield from sessions.checkpoint(session, stage, epoch + 1)
    session.optimiser = None
    yield session.finish(stage, dict(session.scores), session.drawn(stage))


def told(batches: Iterator[dict[str, Any]]) -> Iterator[dict[str, float]]:
    """The scalars of mini-batches as floats. A GPU is asked for them once, after the last."""
    waiting = []
    for scalars in batches:
        if all(isinstance(value, float) for value in scalars.values()):
            yield scalars
        else:
            waiting.append(scalars)
    if waiting:
        xp = namespace(waiting[0]["loss"])
        table = host(xp.stack([xp.stack(list(scalars.values())) for scalars in waiting]))
        for row in table.tolist():
            yield dict(zip(waiting[0], row))


def scores(session: Session, network: Network, validate: bool = True) -> dict[str, float]:
    """Loss and accuracy on the test set, and on the validation share where there is one. Metered apart."""
    more = session.objective, session.test_batch
    with session.meter.stage("test"), session.testing():
        tested = learning.test(network, session.data.test_x, session.data.test_y, *more)
        if validate and session.held_y.size:
            held = learning.test(network, session.held_x, session.held_y, *more)
            tested |= {f"validation_{key}": value for key, value in held.items()}
    return tested
