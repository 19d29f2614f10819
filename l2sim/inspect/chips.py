"""The chip behind a run, made again for an observer: fabricated from the same seed, commanded as the logs say.

Targets, actual phases, light: what a lab cannot know. Of a grid only the core that is looked at is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import tau
from pathlib import Path
from typing import Any, Protocol, Required, TypedDict

import msgspec
import numpy as np

from l2sim import naming
from l2sim.backend import Array, float_type
from l2sim.chip import fabrication
from l2sim.chip import grid as grids
from l2sim.chip.complex_core_chip import fabricated_as
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.drift import Wander
from l2sim.chip.fabrication import Heaters, chain_parameters
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.meter import Meter
from l2sim.chip.nonidealities import WAVELENGTH_NM, Nonidealities
from l2sim.chip.parts import drawn as parts
from l2sim.chip.parts import given as devices
from l2sim.chip.parts import heat
from l2sim.chip.protocol import PARTS, PHASES
from l2sim.errors import L2simError
from l2sim.flow import oracle
from l2sim.given import wrapped
from l2sim.job.grids import Grid
from l2sim.job.imperfections import chip_nonidealities
from l2sim.job.job import Job
from l2sim.mesh import thetaphi
from l2sim.mesh.orthogonal import decompose
from l2sim.mesh.wiring import places, wiring
from l2sim.store import checkpoint as checkpoints


class Record(Protocol):
    """What the chips of a run are made again from; `l2sim.inspect.run.Recorded` is one."""

    folder: Path
    grids: dict[str, Grid]

    @property
    def job(self) -> Job:
        """The job with the parameters in force now."""
        ...

    @property
    def readable(self) -> bool:
        """Whether the chip of the run can be made again."""
        ...

    @property
    def simulated(self) -> bool:
        """Whether what is true of it can be told."""
        ...

    def job_at(self, step: int | None) -> Job:
        """The job with the parameters in force at `step`."""
        ...

    def jobs_until(self, step: int | None) -> list[tuple[int, Job]]:
        """The jobs that were in force up to `step`, each with the step since when."""
        ...

    def stage_at(self, step: int | None) -> str:
        """The name of the stage that `step` belongs to."""
        ...

    def drifts(self, step: int | None = None) -> bool:
        """Whether the biases of the chips wander at `step`."""
        ...

    def clock(self, step: int | None = None) -> float | None:
        """What the chips' clock showed at `step`, s."""
        ...

    def phases(self, layer: str, block: int, side: str, step: int | None = None) -> dict[str, Any]:
        """Commanded phases of one mesh by name, or sigma, and the step they are of; empty where there are none."""
        ...


class Truth(TypedDict, total=False):
    """What a lab cannot know of one mesh, by name of the phase (theta, phi, screen, or sigma): `actual` phases, `terms`
    by non-ideality, which heaters are `stuck` and which `dead`."""

    actual: Required[dict[str, Array]]
    terms: Required[dict[str, dict[str, Array]]]
    stuck: dict[str, Array]
    dead: dict[str, Array]


Commands = Mapping[str, Mapping[str, Any]]
"""What the parts of one block are commanded, each as `Recorded.phases` has it, by side."""


class Ends(TypedDict):
    """What one mesh of an ideal core is commanded: theta (n,) in travel order, rad, and signs (k,)."""

    theta: Array
    signs: Array


class Aim(TypedDict):
    """What a core shall become: the weight `matrix` (k, k), `sigma` (k,), and both meshes of an ideal core."""

    matrix: Array
    sigma: Array
    u: Ends
    v: Ends


def ends(aim: Aim) -> dict[str, Ends]:
    """The commands of both meshes by part."""
    return {"u": aim["u"], "v": aim["v"]}


class Rebuilt:
    """The chips of the run `record`, made again."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._fabricated: dict[str, dict[str, Array]] = {}
        self._meshes: dict[str, MeshChip] = {}
        self._aims: dict[tuple[str, int], Aim] = {}
        self._seed: int | None = None

    @property
    def seed(self) -> int:
        """The seed of the run's chips: of a run that began from another one's checkpoint, that one's."""
        if self._seed is None:
            known = checkpoints.peek(self._record.folder / "checkpoints" / "latest.safetensors").chip_seed
            self._seed = self._record.job.seed if known is None else known
        return self._seed

    def _aged(self, chip: CoreChip | MeshChip, layer: str, row: int, step: int | None) -> None:
        """Bring a chip that was just made, core number `row` of its layer, to the clock of `step`."""
        record = self._record
        if record.drifts(step):
            history = [(job, record.clock(since) or 0.0) for since, job in record.jobs_until(step)]
            wander = weather(self.seed, layer, record.grids[layer], history)
            chip.meter = Meter()
            chip.meter.wait(record.clock(step) or 0.0)
            chip.wander_as(wander if isinstance(chip, MeshChip) else wander.of_core(row))

    def chip(
        self, layer: str, block: int, step: int | None, given: Commands | None = None
    ) -> CoreChip | MeshChip | None:
        """One core or one whole mesh, commanded as it was at `step`, or as is `given` by part where someone holds what
        was commanded then; None where nothing was recorded yet, and of a chip that cannot be made again. What is true
        of it is for those only who look where that can be told."""
        record = self._record
        if not record.readable:
            return None
        imperfect = chip_nonidealities(record.job_at(step))
        if record.grids[layer].whole:
            if layer not in self._meshes:
                self._meshes[layer] = self.mesh(layer)
            return self._set(self._meshes[layer], layer, step, imperfect, given)
        if not all(self._commanded(layer, block, side, step, given) for side in (*PARTS, "sigma")):
            return None
        return self.core(layer, block, step, imperfect, given)

    def _told(
        self, layer: str, block: int, step: int | None, given: Commands | None = None
    ) -> CoreChip | MeshChip | None:
        """The chip, where what is true of it can be told."""
        return self.chip(layer, block, step, given) if self._record.simulated else None

    def _commanded(self, layer: str, block: int, side: str, step: int | None, given: Commands | None) -> dict[str, Any]:
        return self._record.phases(layer, block, side, step) if given is None else dict(given.get(side, {}))

    def made(self, layer: str, block: int, step: int | None, imperfect: Nonidealities) -> CoreChip | MeshChip:
        """A core or a whole mesh of its own, with imperfections of choice, commanded as it was at `step`."""
        if not self._record.grids[layer].whole:
            return self.core(layer, block, step, imperfect)
        chip = self._set(self.mesh(layer), layer, step, imperfect)
        assert chip is not None
        return chip

    def mesh(self, layer: str) -> MeshChip:
        """The chip of a whole mesh as it was fabricated."""
        job, mesh = self._record.job, self._record.grids[layer].mesh
        imperfect, known = _without_file(chip_nonidealities(job)), self._given(layer)
        return MeshChip(mesh, imperfect, self.seed, layer, dtype=float_type(job.precision), given=known)

    def _given(self, layer: str) -> devices.Kept:
        """What was given of single devices of a layer; the run keeps it in its checkpoints."""
        if not any(chip_nonidealities(job).devices for _, job in self._record.jobs_until(None)):
            return devices.Kept()
        path = self._record.folder / "checkpoints" / "latest.safetensors"
        return devices.kept(naming.of_layer(checkpoints.read(path)[0].arrays, layer))

    def _set(
        self, chip: MeshChip, layer: str, step: int | None, imperfect: Nonidealities, given: Commands | None = None
    ) -> MeshChip | None:
        """Command a whole mesh as it was at `step`; None where nothing was recorded yet."""
        phases = self._commanded(layer, 0, "", step, given)
        if not phases:
            return None
        self._aged(chip, layer, 0, step)
        imperfect = _without_file(imperfect)
        if chip.nonidealities != imperfect:
            chip.nonidealities = imperfect
        chip.set_phases(**{part: phases[part] for part in PHASES})
        return chip

    def core(
        self, layer: str, block: int, step: int | None, imperfect: Nonidealities, given: Commands | None = None
    ) -> CoreChip:
        """One core with imperfections of choice, commanded as it was at `step`, or as is `given`."""
        record, grid = self._record, self._record.grids[layer]
        mesh, dtype = grid.mesh, float_type(record.job.precision)
        if layer not in self._fabricated:
            self._fabricated[layer] = fabrication.of_cores(self.seed, layer, grid.p * grid.q, mesh)
        if not parts.published(imperfect) and parts.KEY not in self._fabricated[layer]:
            self._fabricated[layer] |= parts.of_cores(self.seed, layer, grid.p * grid.q, mesh)
        kind, known = fabricated_as(imperfect, record.job.chip.readout), devices.of_core(self._given(layer), block)
        chip = kind((1, 1), mesh, _without_file(imperfect), seed=self.seed, name=layer, dtype=dtype, given=known)
        # The draws of one core of the grid take the place of those of a grid of one.
        chip.refabricate({name: draws[block : block + 1] for name, draws in self._fabricated[layer].items()})
        self._aged(chip, layer, block, step)
        for part in PARTS:
            phases = self._commanded(layer, block, part, step, given)
            theta = mesh.scatter(np.asarray(phases["theta"], dtype))
            chip.set_phases(**{part: theta[None, None]})
            chip.set_signs(**{part: np.asarray(phases.get("signs", np.ones(mesh.modes)), dtype)[None, None]})
        sigma = self._commanded(layer, block, "sigma", step, given)["sigma"]
        chip.set_sigma(np.asarray(sigma, dtype)[None, None])
        return chip

    def shape(self, layer: str) -> tuple[int, int] | None:
        """(out, in) of the weight that a layer of cores is to be; None before it is known."""
        weight = electronic(self._record.folder, layer)
        return None if weight is None else weight.shape

    def oracle(
        self, layer: str, block: int, side: str, step: int | None, given: Commands | None = None
    ) -> Truth | None:
        """What a lab cannot know of one mesh, or of the attenuators (side "sigma"); None where there is no chip."""
        chip = self._told(layer, block, step, given)
        if chip is None:
            return None
        if isinstance(chip, MeshChip):
            return mesh_truth(chip)
        phases = self._commanded(layer, block, side, step, given)
        if side in PARTS:
            return core_truth(chip, side, phases["theta"])
        actual = chip.oracle_sigma()[0, 0]
        if np.iscomplexobj(actual):  # MZIs: how much goes on, with the sign that was meant
            actual = np.copysign(np.abs(actual), phases["sigma"])
        return {"actual": {"sigma": actual}, "terms": {"attenuators": {"sigma": actual - phases["sigma"]}}}

    def realised(self, layer: str, block: int, step: int | None) -> Array | None:
        """The true matrix of a core (k, k) or of a whole mesh (N, N); None where there is no chip."""
        chip = self._told(layer, block, step)
        if chip is None:
            return None
        return chip.oracle_matrix() if isinstance(chip, MeshChip) else np.asarray(chip.oracle_weights()[0, 0])

    def target(self, layer: str, block: int, step: int | None) -> Aim | None:
        """What a core shall become; None for whole meshes, and before the weights are trained."""
        record, grid = self._record, self._record.grids[layer]
        if grid.whole:
            return None
        if record.stage_at(step) == "calibrate":
            sigma = record.phases(layer, block, "sigma", step).get("sigma")
            if sigma is None:
                return None
            zero: Ends = {"theta": grid.mesh.gather(thetaphi.identity(grid.mesh)), "signs": np.ones(grid.k)}
            return {"matrix": np.diag(sigma), "u": zero, "v": zero, "sigma": sigma}
        if (layer, block) not in self._aims:
            weight = electronic(record.folder, layer)
            if weight is None:
                return None
            self._aims[layer, block] = decomposed(grids.blocks(weight, grid.k)[divmod(block, grid.q)], grid)
        return self._aims[layer, block]

    def field(self, layer: str, block: int, port: int, step: int | None) -> dict[str, Array] | None:
        """Powers of unit light in one port: `forward` of a whole mesh; of a core in its meshes v, then u."""
        chip = self._told(layer, block, step)
        if chip is None:
            return None
        if isinstance(chip, MeshChip):
            light = np.zeros((chip.mesh.modes, 1))
            light[port % chip.mesh.modes] = 1.0
            return {"forward": oracle.rows_between(chip.oracle_fields(light))}
        return oracle.core_powers(chip, 0, port) or None


def _without_file(imperfect: Nonidealities) -> Nonidealities:
    """The imperfections of a chip whose devices are given from a run's folder, not from the file of before."""
    return msgspec.structs.replace(imperfect, devices="") if imperfect.devices else imperfect


def decomposed(matrix: Array, grid: Grid) -> Aim:
    """A block W = U diag(sigma) V* (k, k), and what realises it on an ideal core (`learn.search.mapping.target`)."""
    u, sigma, v = np.linalg.svd(matrix)

    def realising(unitary: Array) -> Ends:
        phases, signs = decompose(grid.mesh, unitary[None, None])
        return {"theta": grid.mesh.gather(phases)[0, 0], "signs": signs[0, 0]}

    return {"matrix": matrix, "sigma": sigma, "u": realising(u), "v": realising(v)}


def electronic(folder: Path, layer: str) -> Array | None:
    """The electronic weight of a layer that the run deploys, (out, in); None before it is trained."""
    for name in ("deploy", "pretrain", "latest"):
        path = folder / "checkpoints" / f"{name}.safetensors"
        try:
            weight = _arrays(path, path.stat().st_mtime_ns).get(naming.name(layer, "weight"))
        except (OSError, L2simError):
            continue
        if weight is not None:
            return weight
    return None


@lru_cache(maxsize=2)
def _arrays(path: Path, stamp: int) -> dict[str, Array]:
    return naming.of_kind(checkpoints.read(path)[0].arrays, "electronic")


# -- drift -------------------------------------------------------------------------------------------------------------


def weather(seed: int, name: str, grid: Grid, history: list[tuple[Job, float]]) -> Wander:
    """How the biases of a layer wander whose jobs, one after the other, hold from these clocks on, s."""
    mesh, heaters = grid.mesh, (grid.p * grid.q, grid.mesh.count)
    if grid.whole:
        wander = Wander(seed, name, {"mesh": (1, 2 * mesh.count + mesh.modes)}, places(mesh))
    else:
        wander = Wander(seed, name, dict.fromkeys(PARTS, heaters), np.stack((mesh.column, mesh.top), axis=1))
    for job, clock in history:
        wander.tune(chip_nonidealities(job), clock)
    return wander


def drifted(chip: CoreChip | MeshChip, part: str = "") -> Array | None:
    """By how much the biases of one mesh of a chip have wandered, (n,), rad; None without drift."""
    imperfect = chip.nonidealities
    if not (imperfect.drift_std or imperfect.step_std):
        return None
    now = chip.oracle_biases() if isinstance(chip, MeshChip) else chip.oracle_offsets(part)[0]
    still = chain_parameters(neighbours(chip), heaters_of(chip, part), imperfect, chip.dtype)[2][0]
    return np.asarray(now - still, float)


# -- heaters -----------------------------------------------------------------------------------------------------------


def heaters_of(chip: CoreChip | MeshChip, part: str = "") -> Heaters:
    """The unit draws of the heaters of one mesh of a chip, (M, n): of part "u" or "v", "" of a whole mesh."""
    return fabrication.heaters_in(chip.oracle_fabrication(), part or "heaters")


def neighbours(chip: CoreChip | MeshChip) -> heat.Layout:
    """Which heaters of a mesh of a chip stand beside each other."""
    return wiring(chip.mesh) if isinstance(chip, MeshChip) else chip.mesh


def faults(heaters: Heaters, imperfect: Nonidealities) -> tuple[Array, Array]:
    """Which heaters of one mesh hold a random phase, and which none, (n,) each."""
    fate = heaters.fate[0]
    dead = fate < imperfect.dead
    return ~dead & (fate < imperfect.dead + imperfect.stuck), dead


def terms(
    commanded: Array, mesh: heat.Layout, heaters: Heaters, imperfect: Nonidealities, drift: Array | None = None,
    fine: heat.Fine | None = None, single: bool = False,
) -> dict[str, Array]:  # fmt: skip
    """What every non-ideality adds to the phases `commanded` (n,) of one mesh, rad; they sum, but for whole turns, to
    actual - commanded. In the order of `kernels.chain`; `fine` are the draws of heaters that are not the published
    ones, `single` whether they heat one arm. Heat has settled."""
    chain = chain_parameters(mesh, heaters, imperfect, np.dtype(np.float64))
    ratio, fixed, _, around, lsb, levels, thresholds, share, rewrap = chain
    phase = wrapped(np.asarray(commanded, float))
    driven, wanted, clipped = phase, phase, np.zeros(phase.shape, bool)
    if levels.size:
        driven = levels[np.searchsorted(thresholds, phase, side="left")]
        # The phase at 0 V is there without drive; what is wanted beside it lies within half a turn of what is driven.
        wanted = driven + np.mod(phase - imperfect.offset - driven + np.pi, tau) - np.pi
        reach = imperfect.phase_of(imperfect.v_max) - imperfect.phase_of(0.0)
        clipped = (wanted > max(reach, 0.0)) | (wanted < min(reach, 0.0)) if abs(reach) < tau else clipped
    elif lsb > 0:
        driven = lsb * np.rint(phase / lsb)
    heated = driven * ratio[0]
    bent, heat_then, leak = heated, None, None
    if fine is not None:
        warm = heat.parameters(mesh, fine, imperfect, np.dtype(np.float64), single)
        # Without faults, and before heat is taken modulo a turn: what the heater would do.
        healthy = (*chain[:1], np.full_like(fixed, np.nan), *chain[2:8], False)
        bent = heat.warmth(phase[None], healthy, warm)[0][0]
        heat_then, leak = (values[0] for values in heat.warmth(phase[None], chain, warm))
    hot = np.where(np.isnan(fixed[0]), bent, fixed[0])
    if heat_then is None or leak is None:
        heat_then = wrapped(hot) if rewrap else hot
        leak = share * np.append(heat_then, 0.0)[around].sum(axis=1)
    added = {
        "quantisation": np.where(clipped, 0.0, driven - wanted),
        "clipping": np.where(clipped, driven - wanted, 0.0),
        "gamma": heated - driven,
        "stuck or dead": hot - bent,
        "crosstalk": leak,
        "bias": imperfect.phase_bias * heaters.bias[0],
        "fixed error": imperfect.phase_error_std * heaters.error[0],
    }
    if fine is not None:
        added["curve and converter"] = bent - heated
    if drift is not None:
        added["drift"] = drift
    if imperfect.detuning_nm:
        whole = heat_then + leak + added["bias"] + added["fixed error"] + (0.0 if drift is None else drift)
        added["detuning"] = whole / (1.0 + imperfect.detuning_nm / WAVELENGTH_NM) - whole
    return added


def as_given(chip: CoreChip | MeshChip, commanded: Array, actual: Array, added: dict[str, Array]) -> dict[str, Array]:
    """`added` with what devices that were given, and not drawn, make of it."""
    if not devices.kept(chip.oracle_fabrication()):
        return added
    rest = actual - commanded - np.sum(list(added.values()), axis=0)
    return added | {"given devices": np.mod(rest + np.pi, tau) - np.pi}


def fine_of(chip: CoreChip | MeshChip, part: str = "mesh") -> heat.Fine | None:
    """The draws of heaters that are not the published ones, of part "u" or "v", or of a whole mesh; None of others."""
    if heat.published(chip.nonidealities):
        return None
    draws = chip.oracle_fabrication()
    return heat.Fine(*(draws[fabrication.drawn(heat.named(part), field)] for field in heat.Fine.__dataclass_fields__))


def core_truth(chip: CoreChip, part: str, commanded: Array) -> Truth:
    """Actual phases of one mesh of a single core that was `commanded` (n,), and what made them so."""
    heaters, imperfect = heaters_of(chip, part), chip.nonidealities
    stuck, dead = faults(heaters, imperfect)
    actual = chip.mesh.gather(chip.oracle_phases(part)[0, 0])
    single = imperfect.single_arm or imperfect.phi
    added = terms(
        commanded, chip.mesh, heaters, imperfect, drifted(chip, part), fine_of(chip, part), single
    )
    added = as_given(chip, commanded, actual, added)
    return {
        "actual": {"theta": actual},
        "terms": {name: {"theta": by} for name, by in added.items()},
        "stuck": {"theta": stuck},
        "dead": {"theta": dead},
    }


def mesh_truth(chip: MeshChip) -> Truth:
    """The same of a whole mesh as it is commanded now."""
    commanded = chip.commanded
    sizes = np.cumsum([commanded[part].size for part in PHASES])[:-1]
    heaters, imperfect = heaters_of(chip), chip.nonidealities
    stuck, dead = faults(heaters, imperfect)

    def by_kind(values: Array) -> dict[str, Array]:
        return dict(zip(PHASES, np.split(values, sizes)))

    actual = chip.oracle_phases()
    together = np.concatenate([commanded[part] for part in PHASES])
    added = terms(together, neighbours(chip), heaters, imperfect, drifted(chip), fine_of(chip), single=True)
    added = as_given(chip, together, np.concatenate([actual[part] for part in PHASES]), added)
    return {
        "actual": actual,
        "terms": {name: by_kind(by) for name, by in added.items()},
        "stuck": by_kind(stuck),
        "dead": by_kind(dead),
    }
