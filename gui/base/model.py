"""What the window knows of a run: numbers from its folder, and while it goes on from its stream. NumPy only, no Qt.

`RunModel` is what every panel reads; `Selection` is what every panel reads and writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, Unpack

import numpy as np

from l2sim import naming
from l2sim.backend import Array
from l2sim.chip.protocol import PHASES
from l2sim.inspect.health import Health
from l2sim.inspect.run import Recorded
from l2sim.job import grids
from l2sim.job import job as jobs
from l2sim.job.imperfections import chip_nonidealities, effective
from l2sim.runs.live_messages import VERSION, Answer, State
from l2sim.store.events import RunEnd, step_of
from l2sim.store.follow import Frame, Replay

from .link import Light, Link

BROKEN = "broken"
MOVEMENT = "movement"
COUNT = "update count"
LAST = "last update"
VERIFIED = 1 << 21
"""Bytes of frames whose checksums are compared at one poll, 2 ms, of a run that has ended."""
ATTACH_EVERY = 0.5
"""Seconds between attempts to find the stream of a running run."""

Phases = Mapping[str, Array | int]
"""What one mesh is commanded: theta, phi, screen and signs, or sigma, by name, and the step that they are of."""


class Part(NamedTuple):
    """One mesh of a layer; `columns`, `rails` (the upper one) and `spans` (lower - upper) of its MZIs (elements,)."""

    modes: int
    columns: Array
    rails: Array
    spans: Array
    complex: bool


class Layer(NamedTuple):
    """One photonic layer: p x q cores of k modes with parts u and v, or a whole mesh, part "" (p = q = 1).
    `sigma` is the series of it, of cores."""

    name: str
    p: int
    q: int
    k: int
    parts: dict[str, Part]
    sigma: str | None

    @property
    def phases(self) -> dict[str, str]:
        """The series of its phases by part: u and v of cores; theta, phi and screen."""
        parts = PHASES if self.sigma is None else self.parts
        return {part: naming.name(self.name, part, "phases") for part in parts}


Watcher = Callable[[set[str]], None]


class Choice(TypedDict, total=False):
    """What a `Selection` can be changed to."""

    run: str
    step: int | None
    layer: str
    block: int
    side: str
    element: int | None
    input: int


class Selection:
    """What a window looks at. `step` None follows the newest; `element` counts MZIs in travel order.

    `at` is the step that every panel shows: the one that is chosen, else the newest when the window last looked, which
    is the same for all panels until it looks again.
    """

    def __init__(self) -> None:
        self.run = ""
        self.step: int | None = None
        self.newest = 0
        self.layer = ""
        self.block = 0
        self.side = "u"
        self.element: int | None = None
        self.input = 0
        self._watchers: list[Watcher] = []

    @property
    def at(self) -> int:
        """The step on show."""
        return self.newest if self.step is None else self.step

    def set(self, **changes: Unpack[Choice]) -> None:
        """Change some of it; watchers are told once, the names that changed."""
        changed = {name: value for name, value in changes.items() if getattr(self, name) != value}
        for name, value in changed.items():
            setattr(self, name, value)
        if changed:
            for watcher in list(self._watchers):
                watcher(set(changed))

    def watch(self, callback: Watcher) -> None:
        """Call `callback` with the names that changed, on every change."""
        self._watchers.append(callback)


class Parameter(NamedTuple):
    """A field of the job with the value in force; `when` a change takes effect: live, next epoch, restart."""

    path: str
    value: object
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
        self.health = Health(self)
        self.lab_eyes = False
        """Whether all that a lab cannot know is kept back: the run answers as one of a chip that is not simulated."""
        self.acks: dict[int, Answer] = {}
        self._moves: dict[str, _Moves] = {}
        self._orders = 0
        self._link: Link | None = None
        self.resumed = 0
        """How often the run went on from an earlier step, so that what was read after it is of no more use."""
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
        if self._disk.state != "running" and self._disk.verify(VERIFIED):
            changed |= {"frames", "state"}
        if changed:
            self._word = time.monotonic()
        if "reset" in changed:
            self._moves = {}
            self.resumed += 1
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
        manifest = self._disk.manifest
        if self._link is not None and not (running and self._link.serves(manifest)):
            self.acks |= self._link.close()
            self._link = None
            return {"state"}
        if self._link is None and running and time.monotonic() - self._tried > ATTACH_EVERY:
            self._tried = time.monotonic()
            self._link = Link.to(self.folder, manifest)
            return {"state"} if self._link else set()
        return set()

    # -- the run -------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """running, paused, done, stopped, failed, killed, stale (it lives but says nothing) or deleted."""
        link = self._link
        if self._disk.state != "running" or link is None:
            return self._disk.state
        ended = bool(self.events) and isinstance(self.events[-1], RunEnd)  # only its report is still being written
        return "stale" if link.stale() and not ended else "paused" if link.beat and link.beat.paused else "running"

    @property
    def live(self) -> bool:
        """Whether a job answers orders."""
        return self._link is not None and self._link.attached and self._disk.state == "running"

    @property
    def age(self) -> float:
        """Seconds since the last word from the job."""
        return time.monotonic() - max(self._word, self._link.heard if self._link else 0.0)

    @property
    def beat(self) -> State | None:
        """What the job said last: step, stage, epoch, epochs, rate (steps/s), eta (s), rss (bytes), paused."""
        return self._link.beat if self._link else None

    @property
    def pid(self) -> int | None:
        """The process that runs the job, while it does."""
        return self._disk.manifest.process if self._disk.state == "running" else None

    @property
    def newest(self) -> int:
        """The newest step known."""
        steps = [step for event in self.events[-8:] if (step := step_of(event)) is not None]
        live = self._link.newest if self._link else 0
        return max([*steps, self._disk.newest, self.beat.step if self.beat else 0, live])

    @property
    def parameters(self) -> list[Parameter]:
        """Every field of the job, with the value in force."""
        job = self.job
        return [
            Parameter(
                field.path, effective(job, field.path), field.unit, field.low, field.high, field.meaning, field.when
            )
            for field in jobs.describe(job)
            if not self.keeps_back(field.meaning)
        ]

    # -- what a lab cannot know ----------------------------------------------------------------------------------------

    def keeps_back(self, name: str) -> bool:
        """Whether a quantity of this name or meaning is one that only an oracle knows, and is not to be told."""
        return self.lab_eyes and _badge(name) == "oracle"

    @property
    def simulated(self) -> bool:
        """Whether what is true of the chip can be told: it can be made again, and nobody looks with a lab's eyes."""
        return self.readable and not self.lab_eyes

    @property
    def series(self) -> list[str]:
        """Names of the scalar series."""
        return [name for name in super().series if not self.keeps_back(name)]

    def oracle_gradient(self, layer: str, step: int | None = None) -> dict[str, Any] | None:
        """The true gradient of a whole mesh for the same light."""
        return None if self.lab_eyes else super().oracle_gradient(layer, step)

    # -- numbers -------------------------------------------------------------------------------------------------------

    def frame(self, series: str, step: int | None = None) -> Frame | None:
        """The newest frame of a phase series at or before `step`."""
        kept = self._disk.frame(series, step)
        live = self._link.frame(series, step) if self._link else None
        return kept if live is None or (kept is not None and kept.step >= live.step) else live

    def frames(self, series: str) -> Array:
        """Steps that have a frame."""
        kept = self._disk.steps(series)
        live = self._link.steps(series) if self._link else []
        return np.union1d(kept, np.array(live, np.int64)) if live else kept

    @property
    def frame_series(self) -> list[str]:
        """Names of the series of frames."""
        return [*self._disk.frame_series, *(self._link.series() if self._link else ())]

    def watch(self, layer: str) -> None:
        """Ask a job that is watched for live frames of this layer from here on."""
        if self._link is not None and layer in self.layers:
            self._link.look(layer)

    @property
    def metrics(self) -> list[str]:
        """Names that `metric` knows: those that were recorded, and what the frames tell."""
        recorded = {kind for _, part, kind in map(naming.apart, self.frame_series) if part == "block"}
        return [*sorted(kind for kind in recorded if not self.keeps_back(kind)), BROKEN, MOVEMENT, COUNT, LAST]

    def metric(self, layer: str, name: str, step: int | None = None) -> Array | None:
        """A figure of merit of every core, (p, q); None where there is none yet.

        `broken`: how many of its heaters are dead or stuck, as only an oracle knows, or at V_max;
        `movement`: root mean square change of the phases, rad, from the frame before; `update count`: in how many
        frames the core had changed; `last update`: the step of the last of them (NaN: never).
        """
        grid = self.layers[layer]
        if name == BROKEN:
            counts = self.health.broken(layer, step)
            return None if counts is None else counts.reshape(grid.p, grid.q)
        if name not in (MOVEMENT, COUNT, LAST):
            frame = None if self.keeps_back(name) else self.frame(naming.name(layer, "block", name), step)
            return None if frame is None else frame.values.reshape(grid.p, grid.q)
        names = list(grid.phases.values())
        if name == MOVEMENT:
            return self._movement(grid, names, step)
        of_series = []
        for series in [*names, grid.sigma] if grid.sigma else names:
            moves = self._moves.setdefault(series, _Moves(grid.p * grid.q))
            moves.follow(self._disk, series)
            if moves.steps:
                of_series.append(moves.count(step) if name == COUNT else moves.last(step))
        return np.fmax.reduce(of_series).reshape(grid.p, grid.q) if of_series else None

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
        badges = dict.fromkeys(("theta", "phi", "screen", "sigma", "signs", MOVEMENT, COUNT, LAST), "commanded")
        badges |= {"gradient": "measured", "field": "oracle", "actual": "oracle", "target": "estimated"}
        fabricated = chip_nonidealities(self.job)
        oracle = self.simulated and (fabricated.dead or fabricated.stuck)
        badges[BROKEN] = "oracle" if oracle else "commanded"
        for name in [*self.series, *self.metrics]:
            badges.setdefault(name, _badge(name))
        return badges

    # -- the chip behind it --------------------------------------------------------------------------------------------

    def field(self, layer: str, block: int, port: int, step: int | None = None) -> Light | None:
        """Optical power on every rail at `step`. Of unit light in `port`: in a core `v`, then `u`; in a whole mesh
        `forward`. While it learns in situ and is watched live: of sample `port` of its last light `forward`,
        `backward` and their `sum`. None as `oracle`."""
        if self.lab_eyes:
            return None
        newest = step is None or step >= self.newest
        if self._link is not None and newest and self.layers[layer].sigma is None:
            self._link.look_inside(layer, port)
            if (light := self._link.light(layer, port)) is not None:
                return light
        power = self.rebuilt.field(layer, block, port, step)
        return Light(step if step is not None else self.newest, power) if power else None

    # -- orders --------------------------------------------------------------------------------------------------------

    def order(self, command: str, **arguments: object) -> int:
        """Send the run a command of docs/formats.md; `acks` will have its answer under the number returned."""
        self._orders += 1
        if self._link is None or self._disk.state != "running":
            refusal = "the run is not live; start it with `l2sim run --live`"
            self.acks[self._orders] = Answer(VERSION, None, False, 0, refusal)
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
        counts: Array = self._until(step).sum(axis=0, dtype=float)
        return counts

    def last(self, step: int | None) -> Array:
        """When each core had changed last, (cores,)."""
        changed = self._until(step)
        steps = np.array(self.steps[: len(changed)], float)
        last = np.where(changed, steps[:, None], -1.0).max(axis=0, initial=-1.0)
        return np.where(last < 0, np.nan, last)


def _layer(name: str, grid: grids.Grid) -> Layer:
    mesh = grid.mesh
    place = mesh.modes, mesh.column, mesh.top, mesh.bottom - mesh.top
    if mesh.phi:  # every heater has a tile over two rails; those of the screen stand one behind the other
        screen = mesh.column == mesh.columns - 1
        column = mesh.column + np.where(screen, mesh.top, 0)
        place = mesh.modes, column, np.minimum(mesh.top, mesh.modes - 2), np.ones_like(mesh.top)
    if grid.whole:
        return Layer(name, 1, 1, grid.k, {"": Part(*place, True)}, None)
    parts = {side: Part(*place, False) for side in ("u", "v")}
    return Layer(name, grid.p, grid.q, grid.k, parts, naming.name(name, "sigma", "commanded"))


def _badge(name: str) -> str:
    if "oracle" in name:
        return "oracle"
    if name.endswith(("/energy_j", "/chip_s", "/clock_s")):
        return "estimated"
    return "commanded" if name.endswith(("/lr", "/evaluations")) else "measured"
