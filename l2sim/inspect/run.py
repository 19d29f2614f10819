"""A run as its folder has it: jobs in force, stages, phases as commanded, and the chip behind them made again.

The window's model is this with a stream in front of it, and `l2sim.open` gives it to people in a notebook.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from l2sim import naming
from l2sim.backend import Array
from l2sim.chip.protocol import PARTS, PHASES
from l2sim.errors import L2simError
from l2sim.inspect.chips import Aim, Commands, Rebuilt, Truth, ends
from l2sim.job import grids
from l2sim.job import job as jobs
from l2sim.job.imperfections import chip_nonidealities
from l2sim.job.job import Job
from l2sim.store import checkpoint as checkpoints
from l2sim.store import source as sources
from l2sim.store.events import Changed, EpochEnd, Kept, Record, StageEnd, StageStarted, step_of
from l2sim.store.follow import Curve, Damage, Frame, Replay


class Stage(NamedTuple):
    """A stage and its steps; `last_step` is None while it goes on. `epochs` is how many it takes at most."""

    name: str
    first_step: int
    last_step: int | None
    epochs: int


class Saved(NamedTuple):
    """A checkpoint that is kept: after `epoch` of `stage`, or at its end (None), at `step`, and its file."""

    stage: str
    epoch: int | None
    step: int
    path: Path


class Recorded:
    """Reads the run in `folder`. RunError where there is none or of a newer format.

    `grids` has the hardware of every photonic layer; `rebuilt` makes its chips again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._disk = Replay(self.folder)
        self.grids = grids.grids(self._disk.job, self._disk.shapes)
        self.rebuilt = Rebuilt(self)
        self._jobs: list[tuple[int, Job]] = []
        self._stages: tuple[tuple[int, int], list[Stage]] = ((0, -1), [])
        self._follow_parameters()

    def refresh(self) -> set[str]:
        """Take in what was appended to the folder since: names among events, scalars, frames, state, reset."""
        changed = self._disk.refresh()
        if "events" in changed:
            self._follow_parameters()
        return changed

    def _follow_parameters(self) -> bool:
        """The jobs in force from step to step."""
        changes = [event for event in self.events if isinstance(event, Changed)]
        if self._jobs and len(changes) == len(self._jobs) - 1:
            return False
        self._jobs = [(-1, self._disk.job)]
        for change in changes:
            try:
                self._jobs.append((change.step, jobs.changed(self._jobs[-1][1], change.path, change.value)))
            except L2simError:  # written by an l2sim that can change more
                self._jobs.append((change.step, self._jobs[-1][1]))
        return True

    @property
    def state(self) -> str:
        """`running`, `done`, `stopped`, `failed`, `killed`, or `deleted` where the folder has gone."""
        return self._disk.state

    @property
    def readable(self) -> bool:
        """Whether the chip of the run can be made again, to be read as a lab reads its own."""
        return self._disk.manifest.chip in (msgspec.UNSET, "simulated")

    @property
    def simulated(self) -> bool:
        """Whether what is true of the chip can be told. Of one that cannot be made again only what was logged can."""
        return self.readable

    @property
    def job(self) -> Job:
        """The job with the parameters in force now."""
        return self._jobs[-1][1]

    def job_at(self, step: int | None) -> Job:
        """The job with the parameters in force at `step`."""
        return [job for since, job in self._jobs if step is None or since < step or since < 0][-1]

    def jobs_until(self, step: int | None) -> list[tuple[int, Job]]:
        """The jobs that were in force up to `step`, each with the step since when; the first since -1."""
        return [(since, job) for since, job in self._jobs if step is None or since < step or since < 0]

    # -- chip time -----------------------------------------------------------------------------------------------------

    def drifts(self, step: int | None = None) -> bool:
        """Whether the biases of the chips wander at `step`."""
        imperfect = chip_nonidealities(self.job_at(step))
        return bool(imperfect.drift_std or imperfect.step_std)

    def clock(self, step: int | None = None) -> float | None:
        """What the chips' clock showed at `step`, s: as of the last epoch by then that told it. Of a run from before
        epochs did, as of the checkpoint that was kept at the last epoch by then; None where there is none."""
        if step is not None and step < 0:
            return 0.0
        curves = [self.scalar(name) for name in self.series if name.endswith("/clock_s")]
        clocks = [
            (curve.steps[at - 1], curve.values[at - 1]) for curve in curves
            if (at := len(curve.steps) if step is None else int(np.searchsorted(curve.steps, step, side="right")))
        ]  # fmt: skip
        if clocks:
            return float(max(clocks)[1])
        epochs = [event.step for event in self.events if isinstance(event, EpochEnd)]
        ended = [at for at in epochs if step is None or at <= step]
        kept = [saved for saved in self.kept if ended and saved.step == ended[-1]]
        if not kept:
            return None
        meter = checkpoints.peek(kept[-1].path).meter
        waited = [counts["clock_seconds"] for counts in meter.values() if "clock_seconds" in counts]
        return float(sum(waited)) if waited else None

    def timeless(self, step: int | None = None) -> str:
        """One line where biases wander and nothing tells by how much at `step`, else empty."""
        early = self.stage_at(step) in ("", "pretrain")  # there are no chips yet
        if early or not self.simulated or not self.drifts(step) or self.clock(step) is not None:
            return ""
        return "this run did not record the chips' clock at this step: biases are shown as the fab left them, undrifted"

    @property
    def notice(self) -> str:
        """One line when the run was resumed and its logs were cut back, else empty."""
        return self._disk.notice

    @property
    def damage(self) -> list[Damage]:
        """The logs that cannot be read to their ends."""
        return self._disk.damage

    @property
    def newest_scalar(self) -> int:
        """The newest step that has a scalar, 0 where there is none."""
        return self._disk.newest

    @property
    def newest_frame(self) -> int | None:
        """The newest step that has a frame of phases, None where there is none."""
        return max((int(self.frames(name)[-1]) for name in self.frame_series if self.frames(name).size), default=None)

    @property
    def events(self) -> list[Record]:
        """The rare events so far."""
        return self._disk.events

    @property
    def stages(self) -> list[Stage]:
        """The stages so far, in order."""
        events = self.events
        if self._stages[0] == (id(events), len(events)):
            return self._stages[1]
        stages: list[Stage] = []
        step = 0
        for event in self.events:
            if isinstance(event, StageStarted) and not (stages and stages[-1].name == event.stage):
                stages.append(Stage(event.stage, step, None, event.epochs))
            step = step_of(event) or step
            if isinstance(event, StageEnd) and stages:
                stages[-1] = stages[-1]._replace(last_step=step)
        self._stages = (id(events), len(events)), stages
        return stages

    def stage_at(self, step: int | None) -> str:
        """The name of the stage that `step` belongs to, "" before the first."""
        begun = [stage.name for stage in self.stages if step is None or stage.first_step < max(step, 1)]
        return begun[-1] if begun else ""

    @property
    def kept(self) -> list[Saved]:
        """The checkpoints that the run has kept, in order."""
        saved = []
        for event in self.events:
            if isinstance(event, Kept):
                path = sources.file_of(self.folder, event.stage, event.epoch)
                saved.append(Saved(event.stage, None if event.epoch < 0 else event.epoch, event.step, path))
        return saved

    @property
    def checkpoints(self) -> list[int]:
        """Steps of the checkpoints that are kept."""
        return sorted({saved.step for saved in self.kept})

    # -- numbers -------------------------------------------------------------------------------------------------------

    @property
    def series(self) -> list[str]:
        """Names of the scalar series."""
        return self._disk.series

    @property
    def frame_series(self) -> list[str]:
        """Names of the series of frames."""
        return self._disk.frame_series

    def scalar(self, name: str) -> Curve:
        """(steps, values, times) of a series."""
        return self._disk.scalar(name)

    def spent(self, step: int | None = None) -> dict[str, tuple[float, float]]:
        """Joules and seconds of the chips up to `step`, estimated by the job's device table, of every stage that was
        billed by then."""
        spent = {}
        for name in self.series:
            stage, _, what = name.rpartition("/")
            if what == "energy_j":
                joules, seconds = (self.scalar(f"{stage}/{one}") for one in ("energy_j", "chip_s"))
                at = len(joules.steps) if step is None else int(np.searchsorted(joules.steps, step, side="right"))
                if 0 < at <= len(seconds.values):
                    spent[stage] = float(joules.values[at - 1]), float(seconds.values[at - 1])
        return spent

    def frame(self, series: str, step: int | None = None) -> Frame | None:
        """The newest frame of a phase series at or before `step`."""
        return self._disk.frame(series, step)

    def frames(self, series: str) -> Array:
        """Steps that have a frame."""
        return self._disk.steps(series)

    def phase_series(self, layer: str) -> list[str]:
        """Names of the series of what a layer is commanded: phases of each mesh, and sigma of cores."""
        if self.grids[layer].whole:
            return [naming.name(layer, part, "phases") for part in PHASES]
        return [*(naming.name(layer, part, "phases") for part in PARTS), naming.name(layer, "sigma", "commanded")]

    def phases(self, layer: str, block: int, side: str, step: int | None = None) -> dict[str, Any]:
        """Commanded phases of one mesh, by name theta, phi, screen, and the `signs` at a core's outputs; or sigma; and
        the step they are of. Empty where nothing was recorded yet."""
        return self._mesh(layer, block, side, step, "phases")

    def gradient(self, layer: str, block: int, side: str, step: int | None = None) -> dict[str, Any] | None:
        """The last recorded gradient, measured, named as `phases`; of whole meshes and of sigma."""
        return self._mesh(layer, block, side, step, "gradient") or None

    def oracle_gradient(self, layer: str, step: int | None = None) -> dict[str, Any] | None:
        """The true gradient of a whole mesh for the same light."""
        return self._mesh(layer, 0, "", step, "oracle_gradient") or None

    def _mesh(self, layer: str, block: int, side: str, step: int | None, kind: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        if self.grids[layer].whole:
            for name in PHASES:
                frame = self.frame(naming.name(layer, name, kind), step)
                if frame is not None:
                    values |= {name: frame.values, "step": frame.step}
            return values
        commanded = kind == "phases"
        frame = self.frame(naming.name(layer, side, "commanded" if commanded and side == "sigma" else kind), step)
        if frame is not None:
            values = {"sigma" if side == "sigma" else "theta": frame.values[block], "step": frame.step}
            if side != "sigma" and commanded:
                values |= self._signs(layer, block, side, frame.step)
        return values

    def _signs(self, layer: str, block: int, side: str, step: int) -> dict[str, Array]:
        if self.stage_at(step) == "calibrate":
            return {"signs": np.ones(self.grids[layer].k)}
        aim = self.target(layer, block, step)
        return {"signs": ends(aim)[side]["signs"]} if aim else {}

    # -- the chip behind it --------------------------------------------------------------------------------------------

    def oracle(
        self, layer: str, block: int, side: str, step: int | None = None, given: Commands | None = None
    ) -> Truth | None:
        """What a lab cannot know of one mesh; None where nothing was recorded yet, and of a chip that is not simulated.
        Who holds the phases of that step gives them, by side: newer ones may have come since.

        `actual` phases by name; `terms` by non-ideality, what each adds to them, rad (they sum to actual - commanded
        but for whole turns); `stuck`, `dead` heaters.
        """
        return self.rebuilt.oracle(layer, block, side, step, given)

    def realised(self, layer: str, block: int, step: int | None = None) -> Array | None:
        """The true matrix of the core or the whole mesh; None as `oracle`."""
        return self.rebuilt.realised(layer, block, step)

    def used(self, layer: str, block: int, step: int | None = None) -> tuple[int, int]:
        """Outputs and inputs of a core that count; the others are padding. In calibration all of them do."""
        grid = self.grids[layer]
        shape = None if grid.whole or self.stage_at(step) == "calibrate" else self.rebuilt.shape(layer)
        if shape is None:
            return grid.k, grid.k
        row, column = divmod(block, grid.q)
        return min(grid.k, shape[0] - row * grid.k), min(grid.k, shape[1] - column * grid.k)

    def target(self, layer: str, block: int, step: int | None = None) -> Aim | None:
        """What a core shall become: `matrix` W (k, k), `sigma`, and `u`, `v` with theta and signs of an ideal chip.
        None for whole meshes, which have none, and before the weights are trained."""
        return self.rebuilt.target(layer, block, step)

    def close(self) -> None:
        """Let go of files."""
        self._disk.close()
