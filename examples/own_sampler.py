"""A sampler of one's own: after mapping, only every second core carries the error back, another half in every step."""

import numpy as np

from l2sim import Job
from l2sim.flow.l2ight import session as l2ight
from l2sim.flow.l2ight import stages
from l2sim.learn import train
from l2sim.nn import optim

short = {"pretrain.epochs": 8, "calibrate.epochs": 40, "map.epochs": 40, "map.compare": False}


def chequered(sigma: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """The cores (p, q) that carry the error back, and the factor that makes up for the others."""
    p, q = np.indices(sigma.shape[:2])
    return (p + q) % 2 == rng.integers(2), 2.0


def learn(epochs: int = 3, settings: dict = short) -> list[float]:
    """Accuracy after mapping and after every epoch of learning."""
    session = l2ight.open_session(Job.preset("digits", settings), None)
    for name in ("pretrain", "deploy", "calibrate", "map"):
        for _ in stages.STAGES[name](session, 0):
            pass
    network, data = session.network, session.data
    for weight in network.weights.values():
        weight.feedback = chequered
    step = train.descent(network, optim.start("adamw", network.parameters()), weight_decay=0.01)
    accuracy = [train.test(network, data.test_x, data.test_y)["accuracy"]]
    for epoch in range(epochs):
        for _ in train.epoch(
            data.train_x, data.train_y, step, batch=32, lr=1e-3,
            stream=lambda name, epoch=epoch: session.stream("own", epoch, name),
        ):  # fmt: skip
            pass
        accuracy.append(train.test(network, data.test_x, data.test_y)["accuracy"])
    return accuracy


if __name__ == "__main__":
    print(*(f"{value:.3f}" for value in learn()))
