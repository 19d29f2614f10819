"""What the window knows of a run: numbers from its folder, and while it goes on from its stream. NumPy only, no Qt.

`RunModel` is what every panel reads; `Selection` is what every panel reads and writes. See docs/formats.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from l2sim.backend import Array
from l2sim.inspect.run import PARTS, Recorded, Stage
from l2sim.job import grids
from l2sim.job import job as jobs
from l2sim.job.imperfections import effective
from l2sim.store.follow import Curve, Frame, Replay

from .link import Link

__all__ = ["Curve", "Frame", "Layer", "Parameter", "Part", "RunModel", "Selection", "Stage", "open_run"]

MOVEMENT = "movement"
COUNT = "update count"
LAST = "last update"
ATTACH_EVERY = 0.5
"""Seconds between attempts to find the stream of a running run."""


class Part(NamedTuple):
    """One mesh of a layer; `columns`, `rails` (the upper one) and `spans` (lower - upper) of its MZIs (elements,)."""

    name: str
    modes: int
    columns: Array
    rails: Array
    spans: Array
    complex: bool


class Layer(NamedTuple):
    """One photonic layer: p x q cores of k modes with parts u and v, or a whole mesh, part "" (p = q = 1)."""

    name: str
    p: int
    q: int
    k: int
    parts: dict[str, Part]
    sigma: str | None


Watcher = Callable[[set[str]], None]


class Selection:
    """What a window looks at. `step` None follows the newest; `element` counts MZIs in travel order."""

    def __init__(self) -> None:
        self.run = ""
        self.step: int | None = None
        self.layer = ""
        self.block = 0
        self.side = "u"
        self.element: int | None = None
        self.input = 0
        self._watchers: list[Watcher] = []

    def set(self, **changes: Any) -> None:
        """Change some of it; watchers are told once, the names that changed."""
        changed = {name for name, value in changes.items() if getattr(self, name) != value}
        for name in changed:
            setattr(self, name, changes[name])
        if changed:
            for watcher in list(self._watchers):
                watcher(changed)

    def watch(self, callback: Watcher) -> None:
        """Call `callback` with the names that changed, on every change."""
        self._watchers.append(callback)


class Parameter(NamedTuple):
    """A field of the job with the value in force; `when` a change takes effect: live, next epoch, restart."""

    path: str
    value: Any
    unit: str
    low: float | None
    high: float | None
    meaning: str
    when: str


class RunModel(Recorded):
    """A run as its folder has it and, while it is served (`l2sim run --live`), as its stream has it.

    `poll` takes in what is new and never waits. All else reads what was taken in.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.layers = {name: _layer(name, grid) for name, grid in self.grids.items()}
        self.acks: dict[int, dict[str, Any]] = {}
        self._moves: dict[str, _Moves] = {}
        self._orders = 0
        self._link: Link | None = None
        self._tried = 0.0
        self._word = time.monotonic()

    # -- taking in -----------------------------------------------------------------------------------------------------

    def poll(self) -> set[str]:
        """Take in what is new: names among scalars, frames, events, state, blocks, parameters."""
        state = self.state
        changed = self._attach()
        if self._link is not None:
            changed |= self._link.listen(self._disk)
            self.acks |= self._link.answered()
        changed |= self._disk.refresh(logs=self._link is None or self._link.behind())
        if changed:
            self._word = time.monotonic()
        if "reset" in changed:
            self._moves = {}
            changed = changed - {"reset"} | {"parameters"}
        if "events" in changed and self._follow_parameters():
            changed.add("parameters")
        if "frames" in changed:
            changed.add("blocks")
        if self.state != state:
            changed.add("state")
        return changed

    def _attach(self) -> set[str]:
        """Find the stream of a run that is served, and leave one that has ended."""
        running = self._disk.state == "running"
        if self._link is not None and not (running and self._link.serves(self._disk.manifest)):
            self.acks |= self._link.close()
            self._link = None
            return {"state"}
        if self._link is None and running and time.monotonic() - self._tried > ATTACH_EVERY:
            self._tried = time.monotonic()
            self._link = Link.to(self.folder, self._disk.manifest)
            return {"state"} if self._link else set()
        return set()

    # -- the run -------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """running, paused, done, stopped, failed, killed, stale (it lives but says nothing) or deleted."""
        link = self._link
        if self._disk.state != "running" or link is None:
            return self._disk.state
        return "stale" if link.stale() else "paused" if (link.beat or {}).get("paused") else "running"

    @property
    def live(self) -> bool:
        """Whether a job answers orders."""
        return self._link is not None and self._link.attached and self._disk.state == "running"

    @property
    def age(self) -> float:
        """Seconds since the last word from the job."""
        return time.monotonic() - max(self._word, self._link.heard if self._link else 0.0)

    @property
    def beat(self) -> dict[str, Any] | None:
        """What the job said last: step, stage, epoch, epochs, rate (steps/s), eta (s), rss (bytes), paused."""
        return self._link.beat if self._link else None

    @property
    def pid(self) -> int | None:
        """The process that runs the job, while it does."""
        return int(self._disk.manifest["process"]) if self._disk.state == "running" else None

    @property
    def newest(self) -> int:
        """The newest step known."""
        steps = [event["step"] for event in self.events[-8:] if "step" in event]
        return max([*steps, self._disk.newest, int((self.beat or {}).get("step", 0))])

    @property
    def parameters(self) -> list[Parameter]:
        """Every field of the job, with the value in force."""
        job = self.job
        return [
            Parameter(it.path, effective(job, it.path), it.unit, it.low, it.high, it.meaning, it.when)
            for it in jobs.describe(job)
        ]

    # -- numbers -------------------------------------------------------------------------------------------------------

    def frame(self, series: str, step: int | None = None) -> Frame | None:
        """The newest frame of a phase series at or before `step`."""
        held = self._disk.frame(series, step)
        live = self._link.frame(series, step) if self._link else None
        return held if live is None or (held is not None and held.step >= live.step) else live

    def frames(self, series: str) -> Array:
        """Steps that have a frame."""
        held = self._disk.steps(series)
        live = self._link.steps(series) if self._link else []
        return np.union1d(held, np.array(live, np.int64)) if live else held

    def phases(self, layer: str, block: int, side: str, step: int | None = None) -> dict[str, Any]:
        """See `Recorded.phases`; a job that is watched is asked for frames of this layer from here on."""
        if self._link is not None:
            self._link.look(layer)
        return super().phases(layer, block, side, step)

    @property
    def metrics(self) -> list[str]:
        """Names that `metric` knows: those that were recorded, and what the frames tell."""
        names = [*self._disk.frame_series, *(self._link.series() if self._link else ())]
        found = {name.partition(".block.")[2] for name in names if ".block." in name}
        return [*sorted(found), MOVEMENT, COUNT, LAST]

    def metric(self, layer: str, name: str, step: int | None = None) -> Array | None:
        """A figure of merit of every core, (p, q); None where there is none yet.

        `movement`: root mean square change of the phases, rad, from the frame before; `update count`: in how many
        frames the core had changed; `last update`: the step of the last of them (NaN: never).
        """
        it = self.layers[layer]
        if name not in (MOVEMENT, COUNT, LAST):
            frame = self.frame(f"{layer}.block.{name}", step)
            return None if frame is None else frame.values.reshape(it.p, it.q)
        names = [part.name for part in it.parts.values()] if it.sigma else [f"{layer}.{part}" for part in PARTS]
        if name == MOVEMENT:
            return self._movement(it, names, step)
        told = []
        for one in [*names, it.sigma] if it.sigma else names:
            moves = self._moves.setdefault(one, _Moves(it.p * it.q))
            moves.follow(self._disk, one)
            if moves.steps:
                told.append(moves.count(step) if name == COUNT else moves.last(step))
        return np.fmax.reduce(told).reshape(it.p, it.q) if told else None

    def _movement(self, layer: Layer, names: Iterable[str], step: int | None) -> Array | None:
        total, count = np.zeros(layer.p * layer.q), 0
        for name in names:
            now = self.frame(name, step)
            before = None if now is None else self.frame(name, now.step - 1)
            if now is not None and before is not None:
                change = (now.values.astype(float) - before.values).reshape(total.size, -1)
                total += (change**2).sum(axis=1)
                count += change.shape[1]
        return np.sqrt(total / count).reshape(layer.p, layer.q) if count else None

    @property
    def badge(self) -> dict[str, str]:
        """Where each quantity comes from: commanded, measured, estimated (by calculation from these), or oracle, which
        a lab cannot know."""
        found = dict.fromkeys(("theta", "phi", "screen", "sigma", "signs", MOVEMENT, COUNT, LAST), "commanded")
        found |= {"gradient": "measured", "field": "oracle", "actual": "oracle", "target": "estimated"}
        for name in [*self.series, *self.metrics]:
            found.setdefault(name, _badge(name))
        return found

    # -- the chip behind it --------------------------------------------------------------------------------------------

    def field(self, layer: str, block: int, port: int, step: int | None = None) -> dict[str, Any] | None:
        """Optical power on every rail, `power` by name, (2 C + 1, N): before each column, inside its arms, behind the
        last. Unit light in `port`: of a core `v`, then `u`; of a whole mesh `forward`. While it learns in situ and is
        watched live: of sample `port` of its last light `forward`, `backward` and their `sum`."""
        newest = step is None
        if self._link is not None and newest and self.layers[layer].sigma is None:
            self._link.look_inside(layer, port)
            if (seen := self._link.field(layer, port)) is not None:
                return seen
        found = self.rebuilt.field(layer, block, port, step)
        return {"step": step if step is not None else self.newest, "power": found} if found else None

    # -- orders --------------------------------------------------------------------------------------------------------

    def order(self, command: str, **arguments: Any) -> int:
        """Ask the run for something (docs/formats.md); `acks` has the answer under the number returned."""
        self._orders += 1
        if self._link is None or self._disk.state != "running":
            self.acks[self._orders] = {"ok": False, "error": "the run is not live; start it with `l2sim run --live`"}
        else:
            self._link.order(self._orders, command, arguments)
        return self._orders

    def close(self) -> None:
        """Let go of files and sockets."""
        if self._link is not None:
            self._link.close()
            self._link = None
        super().close()


def open_run(folder: Path | str) -> RunModel:
    """The model of the run in `folder`. RunError where there is none."""
    return RunModel(Path(folder))


class _Moves:
    """Which cores changed in which frame of a series, one bit each."""

    def __init__(self, cores: int) -> None:
        self.steps: list[int] = []
        self._cores = cores
        self._bits: list[Array] = []
        self._before: Array | None = None

    def follow(self, disk: Replay, name: str) -> None:
        """Take in the frames that are new."""
        for step, places in disk.deltas(name, len(self.steps)):
            if places is None:
                frame = disk.frame(name, step)
                before = disk.frame(name, self.steps[-1]) if self.steps else None
                if frame is None:
                    break
                changed = np.zeros(self._cores, bool)
                if before is not None:
                    changed = (frame.values != before.values).reshape(self._cores, -1).any(axis=1)
            else:
                size = max(1, int(np.prod(disk.shapes[name])) // self._cores)
                changed = np.zeros(self._cores, bool)
                changed[places // size] = True
            self.steps.append(step)
            self._bits.append(np.packbits(changed))

    def _until(self, step: int | None) -> Array:
        """(frames, cores) up to `step`."""
        end = len(self.steps) if step is None else int(np.searchsorted(self.steps, step, side="right"))
        if not end:
            return np.zeros((0, self._cores), bool)
        return np.unpackbits(np.stack(self._bits[:end]), axis=1, count=self._cores).astype(bool)

    def count(self, step: int | None) -> Array:
        """How often each core had changed, (cores,)."""
        return self._until(step).sum(axis=0).astype(float)

    def last(self, step: int | None) -> Array:
        """When each core had changed last, (cores,)."""
        changed = self._until(step)
        steps = np.array(self.steps[: len(changed)], float)
        last = np.where(changed, steps[:, None], -1.0).max(axis=0, initial=-1.0)
        return np.where(last < 0, np.nan, last)


def _layer(name: str, grid: grids.Grid) -> Layer:
    mesh = grid.mesh
    place = mesh.modes, mesh.column, mesh.top, mesh.bottom - mesh.top
    if grid.whole:
        return Layer(name, 1, 1, grid.k, {"": Part(name, *place, True)}, None)
    parts = {side: Part(f"{name}.{side}", *place, False) for side in ("u", "v")}
    return Layer(name, grid.p, grid.q, grid.k, parts, f"{name}.sigma")


def _badge(name: str) -> str:
    if "oracle" in name or "mapping_error" in name:
        return "oracle"
    if name.endswith(("/energy_j", "/chip_s", "/clock_s")):
        return "estimated"
    return "commanded" if name.endswith(("/lr", "/evaluations")) else "measured"
