"""Why a core is as bad as it is: which is the worst, its heaters, detectors, and how its phases moved. `run.budget`
has its error term by term.

Everything is computed on the run's chips made again (`run.rebuilt`); what a lab could measure there is measured by
`run.bench`, and what it could not know is named `oracle` in `BADGES`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from l2sim import naming
from l2sim.backend import Array
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.fabrication import Heaters
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import GAMMA, Nonidealities
from l2sim.chip.protocol import PARTS, PHASES, Commands
from l2sim.errors import RunError
from l2sim.given import wrapped
from l2sim.inspect import bench, chips
from l2sim.inspect.bench import CoreBench, Curve, Heater, MeshBench
from l2sim.inspect.run import Recorded
from l2sim.job.imperfections import chip_nonidealities
from l2sim.learn.search import mapping
from l2sim.mesh import thetaphi
from l2sim.store import checkpoint as checkpoints

BADGES = {
    "worst": "oracle", "movement": "commanded", "sweep": "measured", "budget": "oracle", "layers": "oracle",
    "detectors": "measured", "power": "commanded", "silent": "measured", "faults": "oracle", "meter": "measured",
    "every_heater": "measured",
}  # fmt: skip
"""Where each part comes from: as `RunModel.badge` says it. Measured: on the chip made again, by what a lab can do."""
ERRORS = ("oracle_mapping_error", "oracle_identity_error_u")
"""Figures of merit of cores; the one recorded last names the worst core."""


@dataclass(frozen=True)
class Place:
    """Which core, or whole mesh, of a run, at which step (None: the newest recorded)."""

    run: Recorded
    layer: str
    core: int
    step: int | None = None

    @property
    def imperfect(self) -> Nonidealities:
        """The imperfections in force there."""
        return chip_nonidealities(self.run.job_at(self.step))

    def chip(self) -> CoreChip | MeshChip:
        """The chip made again and commanded as it was. RunError before there is one."""
        return self._made(self.run.simulated)

    def _made(self, allowed: bool) -> CoreChip | MeshChip:
        if not allowed:
            raise RunError("this chip is not simulated, so there is no oracle; ask how its phases moved, or measure it")
        chip = self.run.rebuilt.chip(self.layer, self.core, self.step)
        if chip is None:
            raise RunError(f"nothing was commanded to {self.layer} yet; diagnose it at a later step")
        return chip

    def commands(self, part: str) -> dict[str, Array]:
        """What a part is commanded, as `Recorded.phases`."""
        return self.run.phases(self.layer, self.core, part, self.step)

    def bench(self) -> CoreBench | MeshBench:
        """The chip on the bench, to be read as a lab reads its own, whether or not what is true of it can be told."""
        return self.on_bench(self._made(self.run.readable))

    def on_bench(self, chip: CoreChip | MeshChip) -> CoreBench | MeshBench:
        """This chip, commanded as it was here, on the bench."""
        if isinstance(chip, MeshChip):
            return MeshBench(chip)
        u, v = (self.commands(part)["theta"] for part in PARTS)
        sigma = self.commands("sigma")["sigma"]
        return CoreBench(chip, u, v, sigma, self.imperfect.single_arm)


def place(folder: Path, layer: str = "", core: int | None = None, step: int | None = None) -> Place:
    """A core of the run in `folder`; the worst one of the layer, or of all, where none is named. RunError."""
    run = Recorded(folder)
    if layer and layer not in run.grids:
        raise RunError(f"{folder} has no layer {layer!r}; it has {', '.join(run.grids)}")
    if core is None:
        layer, core = worst(run, layer, step)[0][:2]
    grid = run.grids[layer or next(iter(run.grids))]
    if not 0 <= core < grid.p * grid.q:
        raise RunError(f"{layer or 'the first layer'} has the cores 0 to {grid.p * grid.q - 1}, not {core}")
    return Place(run, layer or next(iter(run.grids)), core, step)


def worst(run: Recorded, layer: str = "", step: int | None = None) -> list[tuple[str, int, float]]:
    """(layer, core, error) of every core, worst first: by the error that was recorded last, else the first core only.

    The error of whole meshes is that of their matrix (`mesh_error`)."""
    names = [layer] if layer else list(run.grids)
    if run.simulated and all(run.grids[name].whole for name in names):
        places = [Place(run, name, 0, step) for name in names]
        return sorted(((at.layer, 0, mesh_error(at.chip())) for at in places), key=lambda row: -row[2])
    wanted = ((metric, name) for metric in ERRORS for name in names)
    frames = {(metric, name): run.frame(naming.name(name, "block", metric), step) for metric, name in wanted}
    newest = max((frame.step for frame in frames.values() if frame is not None), default=None)
    rows = [
        (name, i, float(value))
        for (_, name), frame in frames.items() if frame is not None and frame.step == newest
        for i, value in enumerate(frame.values)
    ]  # fmt: skip
    return sorted(rows, key=lambda row: -np.nan_to_num(row[2], nan=np.inf)) or [(names[0], 0, float("nan"))]


def as_mapped(at: Place) -> Place:
    """The core as mapping left it, where it learns now: learning means to change its sigma, which is no error."""
    if at.run.grids[at.layer].whole or at.run.stage_at(at.step) != "learn":
        return at
    ends = [stage.last_step for stage in at.run.stages if stage.name == "map" and stage.last_step is not None]
    return replace(at, step=ends[-1]) if ends else at


def curve(at: Place, heater: Heater, readout: str = "quadrature") -> Curve:
    """The curve of one heater of the core or mesh that is looked at: what every output answers over a turn of it."""
    return bench.curve(at.bench(), heater, at.imperfect, readout)


# -- what it is and what it shall be -----------------------------------------------------------------------------------


def mesh_error(chip: CoreChip | MeshChip) -> float:
    """How far a whole mesh is from what an ideal one would do with the same commands, U_c: |U - z U_c|^2 / |U|^2, least
    over a complex number z, since nobody sees the phase of all light, and light that is lost evenly is missed
    nowhere. From 0, the same, to 1, nothing in common."""
    assert isinstance(chip, MeshChip)
    return apart(chip.oracle_matrix(), ideal_matrix(chip))


def ideal_matrix(chip: MeshChip) -> Array:
    """What an ideal mesh would do with the commands of this one, (N, N)."""
    ideal = MeshChip(chip.mesh, Nonidealities(), seed=0, name=chip.name, dtype=chip.dtype)
    ideal.set_phases(**chip.commanded)
    return ideal.oracle_matrix()


def apart(u: Array, c: Array) -> float:
    """|U - z C|^2 / |U|^2 of two matrices, least over z."""
    u, c = u.astype(complex), c.astype(complex)
    left = u - c * (np.sum(c.conj() * u) / np.sum(np.abs(c) ** 2))  # no BLAS, whose threads wait for one another
    return float(np.sum(np.abs(left) ** 2) / max(float(np.sum(np.abs(u) ** 2)), 1e-30))


def aim(at: Place) -> mapping.Target:
    """What a core shall be, as a target of a grid of one. RunError before it is known."""
    wanted, grid = at.run.target(at.layer, at.core, at.step), at.run.grids[at.layer]
    if wanted is None:
        raise RunError(f"what {at.layer} shall become is not known yet; diagnose it at a later step")
    commands = Commands(
        {part: grid.mesh.scatter(mesh["theta"])[None, None] for part, mesh in chips.ends(wanted).items()},
        {part: mesh["signs"][None, None] for part, mesh in chips.ends(wanted).items()},
    )
    weight, sigma = wanted["matrix"][None, None], wanted["sigma"][None, None]
    shape = at.run.rebuilt.shape(at.layer)
    if shape is None or at.run.stage_at(at.step) == "calibrate":
        return mapping.Target(weight, commands, sigma)
    ports = [
        (np.arange(count * grid.k) < real).reshape(count, grid.k)[i].astype(float)[None, None]
        for count, real, i in zip((grid.p, grid.q), shape, divmod(at.core, grid.q))
    ]
    return mapping.Target(weight, commands, sigma, ports[0], ports[1])


# -- heaters -----------------------------------------------------------------------------------------------------------


def heater_name(at: Place, heater: Heater) -> str:
    """A heater in words: part, MZI, column and rails."""
    mesh, title = at.run.grids[at.layer].mesh, {"u": "U ", "v": "V* "}.get(heater.part, "")
    if heater.kind == "screen":
        return f"{title}screen of rail {heater.number}"
    if mesh.phi:
        return f"{title}heater {heater.number} ({thetaphi.place(mesh, heater.number)})"
    i, kind = heater.number, "" if heater.part else f"{heater.kind} of "
    return f"{title}{kind}MZI {i} (column {mesh.column[i]}, rails {mesh.top[i]} and {mesh.bottom[i]})"


def faults(at: Place) -> list[tuple[Heater, str]]:
    """The heaters of a core that are dead or stuck, which only an oracle knows."""
    broken: list[tuple[Heater, str]] = []
    for draws, names in _fabricated(at.chip()):
        stuck, dead = chips.faults(draws, at.imperfect)
        for fate, mask in (("dead", dead), ("stuck", stuck)):
            broken += [(names[i], fate) for i in np.flatnonzero(mask)]
    return broken


def _fabricated(chip: CoreChip | MeshChip) -> list[tuple[Heaters, list[Heater]]]:
    """Draws of the heaters of every mesh, and their names in the order of the draws."""
    if isinstance(chip, MeshChip):
        sizes = zip(PHASES, (chip.mesh.count, chip.mesh.count, chip.mesh.modes))
        return [(chips.heaters_of(chip), [Heater("", kind, i) for kind, size in sizes for i in range(size)])]
    names = {part: [Heater(part, "theta", i) for i in range(chip.mesh.count)] for part in PARTS}
    return [(chips.heaters_of(chip, part), names[part]) for part in PARTS]


def electrical(phases: Array, imperfect: Nonidealities) -> tuple[Array, Array]:
    """Electrical power of heaters at commanded phases, in units of P_pi = v_pi^2 / R, what turns a heater by pi; and
    which are driven with V_max.

    P / P_pi = (V / v_pi)^2: with phase = gamma V^2 that is phase / pi. A drive of voltage takes its nearest level, and
    its voltage the known curve.
    """
    phases = wrapped(np.asarray(phases, float))
    if imperfect.drive != "voltage":
        return phases / np.pi, np.zeros(phases.shape, bool)
    codes, last = imperfect.codes(phases)
    volts = codes * imperfect.v_max / last
    return volts**2 * (GAMMA / np.pi), codes == last


class Driven(msgspec.Struct, frozen=True):
    """Heaters of one kind of a core, (n,): commanded `phase`, rad, electrical `power`, which are driven with V_max."""

    part: str
    kind: str
    phase: Array
    power: Array
    v_max: Array


class LayerPower(msgspec.Struct, frozen=True):
    """Electrical power of a layer: of every core, (cores,), and in all; how many heaters, and how many at V_max."""

    layer: str
    cores: Array
    heaters: int
    total: float
    v_max: int


class Silent(msgspec.Struct, frozen=True):
    """A heater that does not answer, its name in words, and the share of the change that it should have made."""

    heater: Heater
    name: str
    share: float


class Broken(msgspec.Struct, frozen=True):
    """A heater that is dead or stuck (`fate`), and its name in words."""

    heater: Heater
    name: str
    fate: str


class HeaterFindings(msgspec.Struct, frozen=True):
    """The heaters of a core. Powers are in `unit`; `silent` is None where they were not tried; `meter` counts what was
    asked so far by stage, `spent` has joules and seconds."""

    unit: str
    core: list[Driven]
    layers: list[LayerPower]
    silent: list[Silent] | None
    faults: list[Broken]
    simulated: bool
    meter: dict[str, dict[str, int]]
    spent: dict[str, tuple[float, float]]


def heaters(at: Place) -> HeaterFindings:
    """The heaters of a core: commanded power of each and of every core of the run, those at V_max, those that do not
    answer (measured) or are dead or stuck (oracle), and what the run has cost so far."""
    run, core, layers = at.run, [], []
    for part in ("",) if run.grids[at.layer].whole else PARTS:
        commands = at.commands(part)
        for kind in PHASES if not part else ("theta",):
            if kind in commands:
                core.append(Driven(part, kind, commands[kind], *electrical(commands[kind], at.imperfect)))
    for name, grid in run.grids.items():
        series = [naming.name(name, kind, "phases") for kind in (PHASES if grid.whole else PARTS)]
        frames = [frame for one in series if (frame := run.frame(one, at.step)) is not None]
        driven = [electrical(frame.values, at.imperfect) for frame in frames]
        cores = grid.p * grid.q
        power = sum((p.reshape(cores, -1).sum(axis=1) for p, _ in driven), np.zeros(cores))
        size, full = sum(full.size for _, full in driven), int(sum(full.sum() for _, full in driven))
        layers.append(LayerPower(name, power, size, float(power.sum()), full))
    mute = bench.silent(at.bench()) if run.simulated else None
    silent = None if mute is None else [Silent(heater, heater_name(at, heater), share) for heater, share in mute]
    broken = [Broken(heater, heater_name(at, heater), fate) for heater, fate in (faults(at) if run.simulated else [])]
    return HeaterFindings(
        "P_pi = v_pi^2 / R", core, layers, silent, broken, run.simulated, cost(run.folder), run.spent(at.step)
    )


def cost(folder: Path) -> dict[str, dict[str, int]]:
    """What the run had counted by stage when it took its last checkpoint: core calls, evaluations, writes ..."""
    meter = checkpoints.peek(folder / "checkpoints" / "latest.safetensors").meter
    return {stage: {name: int(n) for name, n in counts.items() if n} for stage, counts in meter.items()}


# -- detectors ---------------------------------------------------------------------------------------------------------


class DetectorFindings(bench.Detectors, frozen=True):
    """The same, and `sheet`, the noise that the job gives a reading."""

    sheet: float


def detectors(at: Place, readout: str = "quadrature") -> DetectorFindings:
    """Readings of every output of a core against what is expected: the matrix that the core shall be, of whole meshes
    what an ideal one would do with the same commands; then without light, and with more and more of it."""
    chip = at.chip()
    if isinstance(chip, MeshChip):
        expected, gain = ideal_matrix(chip), 1.0
        overlap = np.vdot(expected, chip.oracle_matrix())
        expected = expected * (overlap / abs(overlap) if overlap else 1.0)  # a lab's reference has the best phase
    else:
        expected, gain = aim(at).weight[0, 0], float(np.abs(at.commands("sigma")["sigma"]).max())
    seen = bench.detectors(at.bench(), expected, readout)
    sheet = at.imperfect.readout_noise * gain ** (2 if readout == "power" else 1)
    return DetectorFindings(**msgspec.structs.asdict(seen), sheet=sheet)


# -- how its phases moved ----------------------------------------------------------------------------------------------


class Moved(msgspec.Struct, frozen=True):
    """How far the phases of one part of a core moved, rad: root mean square, that of the median core of the layer (None
    of a layer of one core), and which heater moved most, its name in words and by how much."""

    part: str
    rms: float
    median: float | None
    most: Heater
    name: str
    by: float


class StageMovement(msgspec.Struct, frozen=True):
    """How far the phases of a core moved in a stage that ended with `last_step`, None while it goes on."""

    stage: str
    last_step: int | None
    parts: list[Moved]


def movement(at: Place) -> list[StageMovement]:
    """How far the commanded phases of a core moved in each stage up to the step, from its first frame there to its
    last: root mean square over its heaters, rad, beside the median core of its layer; and the heater that moved most.
    Commands are not wrapped: a heater that does not answer is led astray for many turns."""
    run, grid = at.run, at.run.grids[at.layer]
    stages: list[StageMovement] = []
    for stage in run.stages:
        rows = []
        for name in PHASES if grid.whole else PARTS:
            series = naming.name(at.layer, name, "phases")
            steps = run.frames(series)
            here = steps[(steps > stage.first_step) & (steps <= (stage.last_step or np.inf))]
            here = here if at.step is None else here[here <= at.step]
            if stage.name == "learn":  # it begins with the phases that are there; searches begin elsewhere
                here = np.append(steps[steps <= stage.first_step][-1:], here)
            if here.size < 2:
                continue
            first, last = (run.frame(series, int(here[i])) for i in (0, -1))
            assert first is not None and last is not None
            change = (last.values.astype(float) - first.values).reshape(grid.p * grid.q, -1)
            rms = np.sqrt((change**2).mean(axis=1))
            most = int(np.abs(change[at.core]).argmax())
            heater = Heater("", name, most) if grid.whole else Heater(name, "theta", most)
            median, by = float(np.median(rms)) if rms.size > 1 else None, float(change[at.core, most])
            rows.append(Moved(name, float(rms[at.core]), median, heater, heater_name(at, heater), by))
        if rows:
            stages.append(StageMovement(stage.name, stage.last_step, rows))
    return stages
