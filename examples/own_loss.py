"""A loss of one's own, squared error to one-hot targets, and images of one's own choice, learnt on mapped chips."""

import numpy as np

from l2sim import Job
from l2sim.flow.l2ight import session as l2ight
from l2sim.flow.l2ight import stages
from l2sim.learn import train
from l2sim.nn import optim

short = {"pretrain.epochs": 8, "calibrate.epochs": 40, "map.epochs": 40, "map.compare": False}


def squared(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """The loss of logits (K, B), and its gradient (K, B)."""
    missing = logits - np.eye(len(logits))[:, labels]
    return float((missing**2).sum(axis=0).mean()), 2.0 * missing / logits.shape[1]


def bright(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The images (B, C, H, W) that are learnt from: those brighter than the median of their mini-batch."""
    light = images.mean(axis=(1, 2, 3))
    return light >= np.median(light)


def learn(epochs: int = 3, settings: dict = short) -> list[float]:
    """Loss after mapping and after every epoch of learning."""
    session = l2ight.open_session(Job.preset("digits", settings), None)
    for name in ("pretrain", "deploy", "calibrate", "map"):
        for _ in stages.STAGES[name](session, 0):
            pass
    network, data = session.network, session.data
    step = train.descent(network, optim.start("adamw", network.parameters()), 0.01, squared)
    loss = [train.test(network, data.test_x, data.test_y, squared)["loss"]]
    for epoch in range(epochs):
        for _ in train.epoch(
            data.train_x, data.train_y, step, batch=32, lr=5e-3,
            stream=lambda name, epoch=epoch: session.stream("own", epoch, name), samples=bright,
        ):  # fmt: skip
            pass
        loss.append(train.test(network, data.test_x, data.test_y, squared)["loss"])
    return loss


if __name__ == "__main__":
    print(*(f"{value:.3f}" for value in learn()))
