"""A data set of one's own: noisy bars, lying or standing, for a network on chips.

From files instead: `l2sim run cnn.toml --data bars.npz` with data.name = "own", the arrays train_x, train_y, test_x and
test_y in it; or --data DIR with pictures in train/CLASS/... and test/CLASS/...
"""

import numpy as np

from l2sim import Job
from l2sim.data.sets import DataSet
from l2sim.flow.flow import run
from l2sim.store.events import StageDone


def bars(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, C, H, W) as bytes, and their classes (N,)."""
    standing = rng.integers(0, 2, count)
    pictures = rng.integers(0, 100, (count, 1, 12, 12))
    for picture, turned, at in zip(pictures, standing, rng.integers(1, 10, count)):
        picture[0, :, at : at + 2] += 120 * turned
        picture[0, at : at + 2] += 120 * (1 - turned)
    return pictures.astype(np.uint8), standing


rng = np.random.default_rng(1)
data = DataSet(*bars(512, rng), *bars(128, rng), classes=2)
short = {"pretrain.epochs": 4, "calibrate.epochs": 40, "map.epochs": 40, "map.compare": False, "learn.epochs": 2}
own = {"name": "bars", "data.name": "own", "model.input": (1, 12, 12), "data.normalise": True}

if __name__ == "__main__":
    for event in run(Job.preset("digits", own | short), data):
        if isinstance(event, StageDone) and "accuracy" in event.result:
            print(f"{event.stage:10} {event.result['accuracy']:.3f}")
