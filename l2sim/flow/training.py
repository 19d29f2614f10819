"""First-order training as a stage of any flow, and the scores of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from l2sim.backend import Array, host, namespace
from l2sim.flow import session as sessions
from l2sim.flow.session import Session, Values
from l2sim.job.sections import Learn, Pretrain
from l2sim.learn import train as learning
from l2sim.learn.loader import Augment
from l2sim.learn.train import Objective, Samples
from l2sim.nn import optim
from l2sim.nn.network import Network
from l2sim.store.events import Epoch, Event, Step


@dataclass(frozen=True)
class Ways:
    """How a stage of training learns, and what it says of itself.

    `objective`, `step` and `samples` are for `learning.epoch`; without an objective it is the session's. `around` gives
    the step that is taken, from the one that learns. `after` is called after every mini-batch. `frames(epoch, epochs)`
    is what the phase log records after an epoch, `observe` gives more scalars of it; when the stage is done, `result`
    says more, and `figures` what only its figures need.
    """

    objective: Objective | None = None
    step: learning.Step | None = None
    samples: Samples | None = None
    around: Callable[[learning.Step], learning.Step] = lambda step: step
    after: Callable[[], None] = lambda: None
    frames: Callable[[int, int], dict[str, Array]] = lambda epoch, epochs: {}
    observe: Callable[[], dict[str, float]] = dict
    result: Callable[[], Mapping[str, object]] = dict
    figures: Callable[[], Values] = dict


def train(session: Session, stage: str, job: Pretrain | Learn, done: int, ways: Ways | None = None) -> Iterator[Event]:
    """Epochs of first-order training up to the stage's last; the accuracy is that of the last epoch on the test set."""
    ways = ways or Ways()
    yield session.begin(stage, job.epochs, done)
    network = session.trained(stage)
    if done == 0 or session.optimiser is None:
        session.optimiser = optim.start(job.optimizer, network.parameters())
    for epoch in range(done, job.epochs):
        if _spent(session, stage):
            break
        job = getattr(session.job, stage)  # it may change while the run goes on
        if isinstance(job, Learn) and job.legacy_adam:
            session.optimiser.steps = 0
        lr = learning.rate(job.schedule, job.lr, epoch, job.epochs, job.decay, job.lr_floor)
        totals: dict[str, float] = {}
        count = 0
        with session.meter.stage(stage):
            batches = _batches(session, stage, job, epoch, lr, ways)
            for scalars in as_floats(_until_spent(batches, session, stage, ways.after)):
                session.step += 1
                count += 1
                totals = {key: totals.get(key, 0.0) + value for key, value in scalars.items()}
                yield Step(stage, session.step, scalars)
        session.scores = scores(session, network) | ways.observe()
        means = {f"train_{key}": value / count for key, value in totals.items()} | {"lr": lr}
        tested = {f"test_{key}" if key in ("loss", "accuracy") else key: v for key, v in session.scores.items()}
        yield Epoch(stage, epoch + 1, job.epochs, session.step, tested | means, ways.frames(epoch + 1, job.epochs))
        yield from sessions.checkpoint(session, stage, epoch + 1)
    if job.epochs == 0:
        session.scores = scores(session, network)
    session.optimiser = None
    yield session.finish(stage, {**session.scores, **ways.result()}, ways.figures())


def _batches(
    session: Session, stage: str, job: Pretrain | Learn, epoch: int, lr: float, ways: Ways
) -> Iterator[dict[str, Array | float]]:
    """What is learnt from every mini-batch of an epoch."""
    data, skip, shuffle = session.job.data, 0.0, True
    if isinstance(job, Learn):
        skip, shuffle = job.data_sparsity if job.data_rule == "smd" else 0.0, job.shuffle
    assert session.optimiser is not None, "there is one while the stage goes on"
    objective = ways.objective or session.objective
    step = ways.step or learning.descent(session.trained(stage), session.optimiser, job.weight_decay, objective)
    return learning.epoch(
        session.data.train_x, session.data.train_y, ways.around(step), batch=job.batch, lr=lr,
        stream=partial(session.stream, stage, epoch), skip=skip, samples=ways.samples, shuffle=shuffle,
        augment=Augment(data.pad, data.flip) if data.pad or data.flip else None,
    )  # fmt: skip


def _spent(session: Session, stage: str) -> bool:
    """Whether the stage has had the core calls that it may have."""
    most = getattr(getattr(session.job, stage), "core_calls", 0)
    return most > 0 and int(session.meter.spent(stage).core_calls) >= most


def _until_spent(
    batches: Iterator[dict[str, Array | float]], session: Session, stage: str, after: Callable[[], None]
) -> Iterator[dict[str, Array | float]]:
    for scalars in batches:
        after()
        yield scalars
        if _spent(session, stage):
            return


def as_floats(batches: Iterator[dict[str, Array | float]]) -> Iterator[dict[str, float]]:
    """The scalars of mini-batches as floats. A GPU is asked for them once, after the last."""
    waiting = []
    for scalars in batches:
        numbers = {name: value for name, value in scalars.items() if isinstance(value, float)}
        if len(numbers) == len(scalars):
            yield numbers
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
            apart = learning.test(network, session.held_x, session.held_y, *more)
            tested |= {f"validation_{key}": value for key, value in apart.items()}
    return tested
