"""A network of one's own: a residual network in three lines, trained on the digits and put on imperfect chips.

The same as a file, for the command line: `l2sim models examples/residual.toml`, `l2sim run examples/residual.toml`.
"""

from l2sim import Job
from l2sim.flow.flow import run
from l2sim.nn.models import BatchNorm, Conv, Flatten, Linear, MaxPool, ReLU, Residual
from l2sim.store.events import StageDone

block = Residual(body=(Conv(8, kernel=3, padding=1), BatchNorm(), ReLU(), Conv(8, kernel=3, padding=1), BatchNorm()))
layers = (Conv(8, kernel=3, padding=1), BatchNorm(), ReLU(), block, ReLU(), MaxPool(2, 2), Flatten(), Linear(10))

short = {"pretrain.epochs": 8, "calibrate.epochs": 40, "map.epochs": 40, "map.compare": False, "learn.epochs": 3}
own = {"name": "residual", "model.name": "custom", "model.input": (1, 8, 8), "model.layers": layers}

if __name__ == "__main__":
    for event in run(Job.preset("digits", own | short)):
        if isinstance(event, StageDone) and "accuracy" in event.result:
            print(f"{event.stage:10} {event.result['accuracy']:.3f}")
