"""A run that only exists in memory: what the window's panels need of `RunModel`, with numbers that are easy to know.

One layer of cores, `fc1`, of p x q cores with k modes; core (1, 1) is the worst by every metric. The movement of MZI i
of core b at step s is b + i / 100 + s / 1000, so a panel's numbers tell where they come from.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from l2sim.gui.base.model import Layer, Parameter, Part, Phases

from l2sim import naming
from l2sim.backend import Array
from l2sim.inspect.run import Stage
from l2sim.job.grids import Grid
from l2sim.job.job import Job
from l2sim.mesh.mesh import Mesh
from l2sim.runs.live_messages import Answer, State
from l2sim.store.events import Record, StageStarted
from l2sim.store.follow import Curve, Frame


def rectangle(modes: int, complex: bool = False) -> Part:
    """The part of a rectangular mesh, in travel order."""
    places = [(column, rail) for column in range(modes) for rail in range(column % 2, modes - 1, 2)]
    columns, rails = (np.array(values) for values in zip(*places))
    return Part(modes, columns, rails, np.ones_like(rails), complex)


class FakeModel:
    """`RunModel` without a run. `tick()` makes one more step, as a job would; orders are kept in `ordered`."""

    def __init__(self, p: int = 3, q: int = 4, k: int = 9, steps: int = 200, mesh: int = 0) -> None:
        self.folder, self.simulated, self.readable, self.lab_eyes = Path("runs/fake-1"), True, True, False
        self.rebuilt = SimpleNamespace(chip=lambda *_: None)
        self.job = Job.preset("insitu-digits" if mesh else "digits")
        self.p, self.q, self.k = p, q, k
        if mesh:
            part, grid = rectangle(mesh, complex=True), Grid(1, 1, Mesh("rectangular", mesh), True)
            self.layers = {"mesh0": Layer("mesh0", 1, 1, mesh, {"": part}, None)}
        else:
            parts, grid = {side: rectangle(k) for side in ("u", "v")}, Grid(p, q, Mesh("rectangular", k), False)
            self.layers = {"fc1": Layer("fc1", p, q, k, parts, "fc1.sigma.commanded")}
        self.grids = dict.fromkeys(self.layers, grid)
        self.state, self.live, self.age, self.pid = "running", True, 0.0, None
        self.resumed = 0
        self.metrics = ["movement", "identity error (oracle)"]
        self.badge = {"phases": "commanded", "movement": "commanded", "identity error (oracle)": "oracle"}
        self.events: list[Record] = [StageStarted("learn", 30)]
        self.stages = [Stage("calibrate", 0, steps // 2, 400), Stage("learn", steps // 2, None, 30)]
        self.checkpoints = [steps // 2]
        self.acks: dict[int, Answer] = {}
        self.ordered: list[tuple[str, dict[str, Any]]] = []
        self.parameters = [
            Parameter("nonidealities.readout_noise", 0.0, "", 0.0, 1.0, "std of a reading", "live"),
            Parameter("learn.lr", 1e-3, "", 0.0, 100.0, "learning rate at the start", "next epoch"),
            Parameter("nonidealities.drive", "phase", "", None, None, "what is quantised", "restart"),
        ]
        self.newest = 0
        self._news = {"scalars", "frames", "events", "state", "blocks", "parameters"}
        for _ in range(steps):
            self.tick()

    def timeless(self, step: int | None = None) -> str:
        """Nothing drifts, so there is nothing to say about it."""
        return ""

    def watch(self, layer: str) -> None:
        """Nobody to ask."""

    def tick(self) -> None:
        self.newest += 1
        self._news |= {"scalars", "frames", "blocks"}

    @property
    def series(self) -> list[str]:
        return ["learn/loss", "learn/accuracy"]

    @property
    def beat(self) -> State | None:
        return State(
            stage="learn", epoch=1, epochs=30, step=self.newest, rate=12.5, eta=61.0, rss=250_000_000,
            paused=self.state == "paused", longest=0.0, pace=0.0, at={},
        )  # fmt: skip

    def stage_at(self, step: int | None) -> str:
        if not self.stages:
            return ""
        return "calibrate" if step is not None and step <= self.stages[0].last_step else "learn"

    def poll(self) -> set[str]:
        news, self._news = self._news, set()
        return news

    def scalar(self, name: str) -> Curve:
        steps = np.arange(1, self.newest + 1, dtype=float)
        wave = np.exp(-steps / 80) * (1 + 0.2 * np.sin(steps * 1.7))
        return Curve(steps, wave if name.endswith("loss") else 1 - 0.9 * wave, 1e9 + steps)

    def spent(self, step: int | None = None) -> dict[str, tuple[float, float]]:
        return {"learn": (0.0123, 4.5e-6)}

    def frames(self, series: str) -> Array:
        return np.arange(1, self.newest + 1)

    def frame(self, series: str, step: int | None = None) -> Frame | None:
        at = self.newest if step is None else min(step, self.newest)
        if at < 1:
            return None
        name, side, _ = naming.apart(series)
        if side == "sigma":
            return Frame(at, np.tile(np.linspace(1, 0.1, self.k), (self.p * self.q, 1)))
        count = len(next(iter(self.layers[name].parts.values())).columns)
        if self.layers[name].sigma is None:
            shape: tuple[int, ...] = (self.layers[name].k,) if side == "screen" else (count,)
            return Frame(at, np.arange(shape[0]) / 100 + at / 1000)
        return Frame(at, np.arange(self.p * self.q)[:, None] + np.arange(count) / 100 + at / 1000)

    def phases(self, layer: str, block: int, side: str, step: int | None = None) -> Phases:
        if self.layers[layer].sigma is None:
            names = ("theta", "phi", "screen")
            frames = {name: self.frame(naming.name(layer, name, "phases"), step) for name in names}
            whole = frames["theta"]
            return {} if whole is None else {k: f.values for k, f in frames.items() if f} | {"step": whole.step}
        frame = self.frame(naming.name(layer, side, "phases"), step)
        name = "sigma" if side == "sigma" else "theta"
        return {} if frame is None else {name: frame.values[block], "step": frame.step}

    def metric(self, layer: str, name: str, step: int | None = None) -> Array:
        p, q = self.layers[layer].p, self.layers[layer].q
        values = np.linspace(0.1, 0.5, p * q).reshape(p, q)
        values[min(1, p - 1), min(1, q - 1)] = 1.0
        return values

    def oracle(self, layer: str, block: int, side: str, step: int | None = None, given: object = None) -> None:
        return None

    def realised(self, layer: str, block: int, step: int | None = None) -> None:
        return None

    def used(self, layer: str, block: int, step: int | None = None) -> tuple[int, int]:
        return self.layers[layer].k, self.layers[layer].k

    def target(self, layer: str, block: int, step: int | None = None) -> None:
        return None

    def gradient(self, layer: str, block: int, side: str, step: int | None = None) -> None:
        return None

    def oracle_gradient(self, layer: str, step: int | None = None) -> None:
        return None

    def field(self, layer: str, block: int, port: int, step: int | None = None) -> None:
        return None

    def job_at(self, step: int | None) -> Job:
        return self.job

    def order(self, command: str, **arguments: Any) -> int:
        self.ordered.append((command, arguments))
        number = len(self.ordered)
        if command in ("pause", "run"):
            self.state = "paused" if command == "pause" else "running"
            self._news.add("state")
        if command == "step":
            for _ in range(arguments.get("n", 1)):
                self.tick()
        if command == "set":
            for i, parameter in enumerate(self.parameters):
                if parameter.path == arguments["path"]:
                    self.parameters[i] = parameter._replace(value=arguments["value"])
            self._news.add("parameters")
        self.acks[number] = Answer(1, number, True, self.newest)
        return number

    def close(self) -> None:
        self.state = "closed"
