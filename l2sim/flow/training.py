"""First-order training as a stage of any flow, and the scores of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from l2sim.backend import Array, host, namespace
from l2sim.flow import session as sessions
from l2sim.flow.session import Session
from l2sim.job import job as jobs
from l2sim.learn import train as learning
from l2sim.learn.loader import Augment
from l2sim.nn import optim
from l2sim.nn.network import Network
from l2sim.store.events import Epoch, Event, Step


def train(
    session: Session,
    stage: str,
    job: jobs.Pretrain | jobs.Learn,
    done: int,
    frames: Callable[[int, int], dict[str, Array]] = lambda epoch, epochs: {},
    observe: Callable[[], dict[str, float]] = dict,
    ways: dict[str, Any] | None = None,
    after: Callable[[], None] = lambda: None,
    result: Callable[[], dict[str, Any]] = dict,
) -> Iterator[Event]:
    """Epochs of first-order training up to the stage's last; the accuracy is that of the last epoch on the test set.

    `frames(epoch, epochs)` is what the phase log records after an epoch, `observe` gives more scalars of it. `ways` are
    for `learning.epoch`; `after` is called after every mini-batch; `result` says more when the stage is done.
    """
    yield session.begin(stage, job.epochs, done)
    network = session.trained(stage)
    if done == 0 or session.optimiser is None:
        session.optimiser = optim.start(job.optimizer, network.parameters())
    more: dict[str, Any] = {"objective": session.objective, "step": None} | (ways or {})
    objective, own = more.pop("objective"), more.pop("step")
    if isinstance(job, jobs.Learn):
        more |= {"skip": job.data_sparsity if job.data_rule == "smd" else 0.0, "shuffle": job.shuffle}
    it = session.job.data
    if it.pad or it.flip:
        more["augment"] = Augment(it.pad, it.flip)
    for epoch in range(done, job.epochs):
        if _spent(session, stage):
            break
        job = getattr(session.job, stage)  # it may change while the run goes on
        lr = learning.rate(job.schedule, job.lr, epoch, job.epochs, job.decay, job.lr_floor)
        if isinstance(job, jobs.Learn) and job.legacy_adam:
            session.optimiser.steps = 0
        totals: dict[str, float] = {}
        count = 0
        with session.meter.stage(stage):
            step = own or learning.descent(network, session.optimiser, job.weight_decay, objective)
            batches = learning.epoch(
                session.data.train_x, session.data.train_y, step, batch=job.batch, lr=lr,
                stream=partial(session.stream, stage, epoch), **more,
            )  # fmt: skip
            for scalars in told(_until_spent(batches, session, stage, after)):
                session.step += 1
                count += 1
                totals = {key: totals.get(key, 0.0) + value for key, value in scalars.items()}
                yield Step(stage, session.step, scalars)
        session.scores = scores(session, network) | observe()
        means = {f"train_{key}": value / count for key, value in totals.items()} | {"lr": lr}
        tested = {f"test_{key}" if key in ("loss", "accuracy") else key: v for key, v in session.scores.items()}
        yield Epoch(stage, epoch + 1, job.epochs, session.step, tested | means, frames(epoch + 1, job.epochs))
        yield from sessions.checkpoint(session, stage, epoch + 1)
    if job.epochs == 0:
        session.scores = scores(session, network)
    session.optimiser = None
    yield session.finish(stage, dict(session.scores) | result(), session.drawn(stage))


def _spent(session: Session, stage: str) -> bool:
    """Whether the stage has had the core calls that it may have."""
    most = getattr(getattr(session.job, stage), "core_calls", 0)
    return most > 0 and stage in session.meter.stages and int(session.meter.stages[stage].core_calls) >= most


def _until_spent(
    batches: Iterator[dict[str, Any]], session: Session, stage: str, after: Callable[[], None]
) -> Iterator[dict[str, Any]]:
    for scalars in batches:
        after()
        yield scalars
        if _spent(session, stage):
            return


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
