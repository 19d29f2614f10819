"""A chip of a run made again for an observer: the same fabrication from the same seed, commanded as the logs say.

Of a grid only the core that is looked at. What it tells a lab cannot know. `terms` lists what every non-ideality does
to every phase, in the order of `kernels.chain`.
"""

from __future__ import annotations

from copy import copy
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from l2sim.backend import Array, float_type
from l2sim.chip.complex_core_chip import ComplexChip, fabricated_as
from l2sim.chip.core_chip import PARTS, CoreChip
from l2sim.chip.drift import Wander
from l2sim.chip.fabrication import Heaters, chain_parameters, fabricate, fabricate_optics
from l2sim.chip.mesh_chip import PHASES, MeshChip
from l2sim.chip.meter import Meter
from l2sim.chip.nonidealities import WAVELENGTH_NM, Nonidealities
from l2sim.job.grids import Grid
from l2sim.job.imperfections import chip_nonidealities
from l2sim.job.job import Job
from l2sim.mesh.wiring import places
from l2sim.store import checkpoint as checkpoints

TAU = 2.0 * np.pi


def chip_seed(root: Path, job: Job) -> int:
    """The seed of the run's chips: of a run that began from another one's checkpoint, that one's."""
    return int(checkpoints.peek(root / "checkpoints" / "latest.safetensors").get("chip_seed", job.seed))


def mesh_chip(job: Job, name: str, grid: Grid, seed: int) -> MeshChip:
    """The whole mesh `name`."""
    return MeshChip(grid.mesh, chip_nonidealities(job), seed=seed, name=name, dtype=float_type(job.precision))


class Cores:
    """The fabrication of a layer's grid, from which single cores are taken."""

    def __init__(self, job: Job, name: str, grid: Grid, seed: int) -> None:
        self._job, self._name, self._grid, self._seed = job, name, grid, seed
        cores, n, k = grid.p * grid.q, grid.mesh.count, grid.k
        self._heaters = {part: fabricate(seed, name, part, (cores, n)) for part in PARTS}
        self._attenuators = fabricate(seed, name, "sigma", (cores, k))
        self._optics = {part: fabricate_optics(seed, name, part, (cores, n)) for part in PARTS}

    def core(self, block: int, imperfect: Nonidealities) -> CoreChip:
        """A chip of one core, number `block`, with these imperfections."""
        job, dtype = self._job, float_type(self._job.precision)
        kind = fabricated_as(imperfect, job.chip.readout)
        chip = kind((1, 1), self._grid.mesh, imperfect, seed=self._seed, name=self._name, dtype=dtype)
        # The draws of one core of the grid take the place of those of a grid of one.
        chip._heaters = {part: _row(held, block) for part, held in self._heaters.items()}
        chip._attenuators = _row(self._attenuators, block)
        if isinstance(chip, ComplexChip):
            chip._optics = {part: _row(held, block) for part, held in self._optics.items()}
        chip.nonidealities = imperfect
        return chip


def _row(held: Any, block: int) -> Any:
    return replace(held, **{item.name: getattr(held, item.name)[block : block + 1] for item in fields(held)})


class Row:
    """What the biases of one core, number `row` of a grid, wander by: a `chip.drift.Wander` of a chip of one core."""

    def __init__(self, whole: Wander, row: int) -> None:
        self.tune, self.moved, self.state, self.restore = whole.tune, whole.moved, whole.state, whole.restore
        self._whole, self._row = whole, row

    def __copy__(self) -> Row:
        return Row(copy(self._whole), self._row)

    def biases(self, part: str) -> Array:
        """See `Wander.biases`, (1, n)."""
        return self._whole.biases(part)[self._row : self._row + 1]


def weather(seed: int, name: str, grid: Grid, history: list[tuple[Job, float]]) -> Wander:
    """How the biases of a layer wander whose jobs, one after the other, hold from these clocks on."""
    mesh, heaters = grid.mesh, (grid.p * grid.q, grid.mesh.count)
    if grid.whole:
        found = Wander(seed, name, {"mesh": (1, 2 * mesh.count + mesh.modes)}, places(mesh))
    else:
        found = Wander(seed, name, dict.fromkeys(PARTS, heaters), np.stack((mesh.column, mesh.top), axis=1))
    for job, clock in history:
        found.tune(chip_nonidealities(job), clock)
    return found


def age(chip: CoreChip | MeshChip, wander: Row, clock: float) -> None:
    """Bring a chip made again to the `clock` of its run: its biases have wandered as `wander` says."""
    chip.meter = Meter()
    chip.meter.wait(clock)
    chip._wander = wander  # type: ignore[assignment]
    chip.nonidealities = chip.nonidealities


def drifted(chip: CoreChip | MeshChip, part: str = "") -> Array | None:
    """By how much the biases of one mesh of a chip that light went through have wandered, (n,); None without drift."""
    if not chip._drifts:
        return None
    now, still = (chip._chain, chip._still) if isinstance(chip, MeshChip) else (chip._chain[part], chip._still[part])
    return np.asarray(now[2][0] - still[0], float)


def terms(
    commanded: Array, mesh: Any, heaters: Heaters, imperfect: Nonidealities, drift: Array | None = None
) -> dict[str, Array]:
    """What every non-ideality adds to the phases `commanded` (n,) of one mesh, rad; they sum, but for whole turns, to
    actual - commanded. `stuck` and `dead` say which heaters are."""
    ratio, fixed, _, around, lsb, levels, thresholds, share, rewrap = chain_parameters(
        mesh, heaters, imperfect, np.dtype(np.float64)
    )
    phase = np.mod(np.asarray(commanded, float), TAU)
    driven = phase
    if levels.size:
        driven = levels[np.searchsorted(thresholds, phase, side="left")]
    elif lsb > 0:
        driven = lsb * np.rint(phase / lsb)
    clipped = (phase > levels[-1]) | (phase < levels[0]) if levels.size else np.zeros(phase.shape, bool)
    heated = driven * ratio[0]
    held = np.where(np.isnan(fixed[0]), heated, fixed[0])
    warm = np.append(np.mod(held, TAU) if rewrap else held, 0.0)
    leak = share * warm[around].sum(axis=1)
    found = {
        "quantisation": np.where(clipped, 0.0, driven - phase),
        "clipping": np.where(clipped, driven - phase, 0.0),
        "gamma": heated - driven,
        "stuck or dead": held - heated,
        "crosstalk": leak,
        "bias": imperfect.phase_bias * heaters.bias[0],
        "fixed error": imperfect.phase_error_std * heaters.error[0],
    }
    if drift is not None:
        found["drift"] = drift
    if imperfect.detuning_nm:
        whole = warm[:-1] + leak + found["bias"] + found["fixed error"] + (0.0 if drift is None else drift)
        found["detuning"] = whole / (1.0 + imperfect.detuning_nm / WAVELENGTH_NM) - whole
    return found


def faults(heaters: Heaters, imperfect: Nonidealities) -> tuple[Array, Array]:
    """Which heaters of one mesh hold a random phase, and which none, (n,) each."""
    fate = heaters.fate[0]
    dead = fate < imperfect.dead
    return ~dead & (fate < imperfect.dead + imperfect.stuck), dead


def core_state(chip: CoreChip, side: str, commanded: Array) -> dict[str, Any]:
    """Actual phases of one mesh of a single core that was commanded, and what made them so (`Recorded.oracle`)."""
    heaters, it = chip._heaters[side], chip.nonidealities
    stuck, dead = faults(heaters, it)
    actual = chip.mesh.gather(chip.oracle_phases(side)[0, 0])
    found = terms(commanded, chip.mesh, heaters, it, drifted(chip, side))
    return {
        "actual": {"theta": actual},
        "terms": {name: {"theta": a} for name, a in found.items()},
        "stuck": {"theta": stuck},
        "dead": {"theta": dead},
    }


def mesh_state(chip: MeshChip) -> dict[str, Any]:
    """The same of a whole mesh."""
    told = np.concatenate([chip.commanded[part] for part in PHASES])
    sizes = np.cumsum([chip.commanded[part].size for part in PHASES])[:-1]
    heaters, it = chip._heaters, chip.nonidealities
    stuck, dead = faults(heaters, it)

    def parts(a: Array) -> dict[str, Array]:
        return dict(zip(PHASES, np.split(a, sizes)))

    actual = chip.oracle_phases()
    return {
        "actual": actual,
        "terms": {name: parts(a) for name, a in terms(told, chip._wiring, heaters, it, drifted(chip)).items()},
        "stuck": parts(stuck),
        "dead": parts(dead),
    }
