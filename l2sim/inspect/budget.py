"""The error of one core or whole mesh, imperfection by imperfection: without each of them, and with it alone.

The commands of a core were found on this very chip and make up for its imperfections, so that taking one away by itself
makes all worse. Therefore cores are judged by the best commands that an observer finds (`run.attain`), anew for every
case. A whole mesh is judged with the commands that it has: against what an ideal one would do with them.

All of it is an observer's (`oracle`): the chip is made again with other imperfections and the same draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec
import numpy as np

from l2sim.backend import Array
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.fabrication import drawn
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import PRESETS, Nonidealities
from l2sim.chip.protocol import PHASES
from l2sim.flow import oracle
from l2sim.inspect import attainable, diagnose
from l2sim.inspect.bench import Heater
from l2sim.inspect.diagnose import Place
from l2sim.learn.search.mapping import Target

FEW = 4
"""Broken heaters up to which each has its own row."""

TERMS: tuple[tuple[str, dict[str, float | bool | str], tuple[str, ...]], ...] = (
    ("quantised drive", {"phase_bits": 0, "drive": "phase"}, ("v_max", "curve", "curve_volts")),
    ("phase bias", {"phase_bias": 0.0}, ()),
    ("phase errors", {"phase_error_std": 0.0}, ()),
    ("drift", {"drift_std": 0.0, "step_std": 0.0}, ("drift_seconds", "step_seconds")),
    ("heater spread", {"gamma_std": 0.0}, ()),
    (
        "crosstalk", {"crosstalk": 0.0, "die_heat": 0.0},
        ("heat_wraps", "crosstalk_range", "crosstalk_arms", "crosstalk_pairs"),
    ),
    ("bent curves", {"bend": 0.0, "bend_std": 0.0}, ()),
    ("heaters' converters", {"heater_inl": 0.0}, ()),
    (
        "splitter errors", {"splitter_error_std": 0.0, "splitter_chip_std": 0.0, "splitter_gradient": 0.0},
        ("splitter_shared", "splitter_length"),
    ),
    ("loss", {"loss_db": 0.0, "loss_db_std": 0.0}, ()),
    ("single-arm drive", {"single_arm": False}, ()),
    ("detuning", {"detuning_nm": 0.0}, ("dispersion",)),
    ("attenuator errors", {"exact_sigma": True}, ()),
)
"""What is switched off in turn, by which fields, and what else belongs to it. Broken heaters are healed one by one."""
FATES = ("stuck", "dead")
CORES_ONLY = ("single-arm drive", "attenuator errors")
"""What whole meshes do not have."""
READINGS = {
    "readout_noise": "readout noise", "shot_noise": "shot noise", "reference_phase_std": "phase of the reference",
    "io_amplitude_error": "amplitudes of modulators and detectors",
    "io_phase_error": "phases of modulators and detectors", "tap_noise": "tap noise",
}  # fmt: skip
"""What acts in readings, and is no property of a matrix: see `diagnose.detectors`."""

MAPPED = "|W' - W|^2 / |W'|^2, the realised weight W' against its target W"
CALIBRATED = "mean of (|U| - 1)^2 over both meshes, against the identity"
WHOLE = "|U - z U_c|^2 / |U|^2, the realised matrix U against that of an ideal mesh with the same commands U_c, best z"


class Term(msgspec.Struct, frozen=True):
    """A row of a budget: without `name` the error is `error` with the same commands, and `tuned` with the best that an
    observer finds (NaN where there is no search). `alone`: with nothing but `name`, by the best commands where there is
    a search, else the same; NaN in the first and the last row. `gain`: how much better than the first row."""

    name: str
    error: float
    tuned: float
    alone: float
    gain: float


def budget(at: Place) -> list[Term]:
    """The error with each non-ideality switched off in turn, and with all; the first row is as it is, the others follow
    by what they gain.

    The error (`measure`) is that of mapping; while calibrating the mean of the identity errors; of whole meshes
    `diagnose.mesh_error`. The two latter are not tuned. In the first row `tuned` tells what the search left undone
    from what the chip cannot do. Of a core that learns ask for it `diagnose.as_mapped`.
    """
    chip = at.chip()
    target = diagnose.aim(at) if tunes(at) else None
    ideal = diagnose.ideal_matrix(chip) if isinstance(chip, MeshChip) else None

    def errors(chip: CoreChip | MeshChip) -> tuple[float, float]:
        now = _error(chip, target, ideal)
        if isinstance(chip, MeshChip) or target is None:
            return now, float("nan")
        return now, attainable.tune(chip, target, at.run.job.seed)

    case, missing = Cases(at, chip), float("nan")
    first = Term("as it is", *errors(case.made(at.imperfect)), missing, 0.0)
    rows = []
    for name, without, alone in case.each():
        same, tuned = errors(without)
        seen = (missing, missing) if alone is None else errors(alone())
        rows.append(Term(name, same, tuned, seen[0] if np.isnan(seen[1]) else seen[1], 0.0))
    best = np.isfinite(first.tuned)
    gains = [first.tuned - row.tuned if best else first.error - row.error for row in rows]
    rows = [msgspec.structs.replace(row, gain=gain) for row, gain in zip(rows, gains)]
    return [first, *sorted(rows, key=lambda row: -row.gain)]


def error(at: Place) -> float:
    """The error of a place as it is (`measure`)."""
    chip = at.chip()
    ideal = diagnose.ideal_matrix(chip) if isinstance(chip, MeshChip) else None
    return _error(chip, diagnose.aim(at) if tunes(at) else None, ideal)


def _error(chip: CoreChip | MeshChip, target: Target | None, ideal: Array | None) -> float:
    if isinstance(chip, MeshChip):
        assert ideal is not None
        return diagnose.apart(chip.oracle_matrix(), ideal)
    if target is None:
        return float(np.mean(list(oracle.identity_error(chip).values())))
    above, below = oracle.mapping_error(chip, target)
    return float(above[0, 0] / max(float(below[0, 0]), 1e-30))


def measure(at: Place) -> str:
    """Which error a budget is of."""
    if at.run.grids[at.layer].whole:
        return WHOLE
    return CALIBRATED if at.run.stage_at(at.step) == "calibrate" else MAPPED


def left_out(at: Place) -> list[str]:
    """What of the data sheet acts in readings only, and is not in a budget."""
    return [name for field, name in READINGS.items() if getattr(at.imperfect, field)]


def tunes(at: Place) -> bool:
    """Whether a core has a target that its phases can be searched for again."""
    return not at.run.grids[at.layer].whole and at.run.stage_at(at.step) != "calibrate"


Case = tuple[str, CoreChip | MeshChip, Callable[[], CoreChip | MeshChip] | None]
"""What is left out, the chip without it, and how to make one with it alone."""


class Cases:
    """The chip of a place with other imperfections, commanded alike."""

    def __init__(self, at: Place, chip: CoreChip | MeshChip) -> None:
        self._at, self._own = at, at.imperfect
        self._ideal = msgspec.structs.replace(PRESETS["ideal"], phi=self._own.phi)  # it has the same heaters
        self._broken = [(heater, how, offset(chip, heater)) for heater, how in diagnose.faults(at)]

    def made(
        self, imperfect: Nonidealities, healed: set[Heater] | frozenset[Heater] = frozenset()
    ) -> CoreChip | MeshChip:
        """The chip with these imperfections, on which some broken heaters obey."""
        at = self._at
        chip = at.run.rebuilt.made(at.layer, at.core, at.step, imperfect)
        if healed:
            draws = {name: values.copy() for name, values in chip.oracle_fabrication().items()}
            for heater, _, number in self._broken:
                if heater in healed:
                    draws[drawn(heater.part or "heaters", "fate")][0, number] = 1.0
            chip.refabricate(draws)
        return chip

    def each(self) -> Iterator[Case]:
        """Name, chip without it, and how to make the chip with it alone; every broken heater of a few by itself; then
        the chip without any."""
        at, own = self._at, self._own
        whole = at.run.grids[at.layer].whole
        for name, off, more in TERMS:
            if all(getattr(own, key) == value for key, value in off.items()) or (whole and name in CORES_ONLY):
                continue
            if name == "attenuator errors" and not (tunes(at) and (own.phase_bits or own.gamma_std)):
                continue
            on = {key: getattr(own, key) for key in (*off, *more)}
            if name == "attenuator errors":  # the drive and the spread of attenuators are those of the other heaters
                yield name, self.made(msgspec.structs.replace(own, **off)), None
            else:
                yield name, self.made(msgspec.structs.replace(own, **off)), self._alone(on)
        broken = {"stuck": own.stuck, "dead": own.dead}
        every = {heater for heater, _, _ in self._broken}
        for fate in FATES:
            some = [heater for heater, how, _ in self._broken if how == fate]
            for heater in some if len(some) <= FEW else ():
                name = f"{fate} heater {diagnose.heater_name(at, heater)}"
                yield name, self.made(own, {heater}), self._alone(broken, every - {heater})
            if len(some) > 1:
                yield f"{fate} heaters", self.made(own, set(some)), self._alone(broken, every - set(some))
        yield "all of them", self.made(self._ideal), None

    def _alone(
        self, on: Mapping[str, object], healed: set[Heater] | frozenset[Heater] = frozenset()
    ) -> Callable[[], CoreChip | MeshChip]:
        ideal = msgspec.structs.replace(self._ideal, **on)
        return lambda: self.made(ideal, healed)


def offset(chip: CoreChip | MeshChip, heater: Heater) -> int:
    """Where a heater stands in the arrays of its mesh."""
    return heater.number if heater.part else PHASES.index(heater.kind) * chip.mesh.count + heater.number
