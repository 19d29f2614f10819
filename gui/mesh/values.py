"""What a mesh view shows: the numbers of one frame, for one way of colouring. No Qt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import tau
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from l2sim.backend import Array
from l2sim.chip.nonidealities import Nonidealities
from l2sim.given import wrapped
from l2sim.inspect.chips import ends
from l2sim.job.imperfections import chip_nonidealities

from . import colours, light
from .colours import PHASE, Scale
from .geometry import PARTS
from .history import History, Key, Numbers, recorded

if TYPE_CHECKING:
    from ..base.model import Layer, Phases, RunModel

KINDS = ("theta", "phi", "screen", "sigma")
MODES = (
    "θ (internal phase)",
    "φ (external phase)",
    "Difference Δ",
    "Δ from the frame before",
    "Gradient",
    "Updates so far",
    "Quantised level",
    "Optical power",
)
THETA, PHI, DIFFERENCE, BEFORE, GRADIENT, UPDATES, LEVEL, POWER = range(8)
NO_ORACLE = "this chip is not simulated: there is no oracle to say what is true"
KEPT_BACK = "hidden by Lab eyes: a lab cannot know it"
ROUNDING = 4e-6
"""Radians, and shares of sigma, below which a difference is rounding: eight single precision steps at 2 pi (ours)."""
BELOW, ROUND = 10.0, 5.0
"""Light is drawn as dark from so many dB below what each rail has where all have the same, and on to a multiple."""
TARGET, PINNED, REFERENCE, STAGE = "from target", "from pinned frame", "from reference run", "since the stage began"
MEASURED, TRUE, ERROR = "measured", "true (oracle)", "measured - true"
IDEAL, ACTUAL = "of an ideal chip", "of this chip (oracle)"
LIVE = {"forward, live": "forward", "backward, live": "backward", "sum, live": "sum"}
WAY = {"forward": "→", "backward": "←", "sum": "↔"}
CHOICES = {
    DIFFERENCE: (TARGET, PINNED, REFERENCE, STAGE),
    GRADIENT: (MEASURED, TRUE, ERROR),
    POWER: (IDEAL, ACTUAL, *LIVE),
}
"""What there is to choose in some ways of colouring; the first is where one begins."""
UNKNOWABLE = {TRUE, ERROR, ACTUAL, *LIVE}
"""Those of them that a lab cannot see."""


class Worst(NamedTuple):
    """The value to look at first."""

    key: Key
    at: int
    value: float


@dataclass(frozen=True)
class Request:
    """What is to be shown."""

    layer: str
    block: int
    step: int | None = None
    mode: int = THETA
    choice: str = ""
    input: int = 0
    side: str = ""
    pinned: dict[str, Phases] | None = None


@dataclass(eq=False)
class Painted:
    """One frame as it is shown: `phases` by side as the model gave them, the `values` that colour them by (side, kind),
    on `scale`; of light whose phase is known, that in `turns`. `note` says why there are none, `aside` what these are
    where they are not of a frame. `badge`: commanded, measured, estimated or oracle."""

    request: Request
    title: str
    step: int | None = None
    phases: dict[str, Phases] = field(default_factory=dict)
    values: Numbers = field(default_factory=dict)
    turns: Numbers = field(default_factory=dict)
    scale: Scale = PHASE
    badge: str = "commanded"
    note: str = ""
    aside: str = ""
    worst: Worst | None = None

    @property
    def bad(self) -> Numbers:
        """Where values are no numbers, or outside their limits: indices by key, of those that have any."""
        low, high = self.scale.limits
        wrong = {
            key: np.flatnonzero(~np.isfinite(values) | (values < low) | (values > high))
            for key, values in self.values.items()
        }
        return {key: places for key, places in wrong.items() if places.size}


def untold(model: RunModel) -> str:
    """Why nobody says what is true of the chip."""
    return KEPT_BACK if model.lab_eyes else NO_ORACLE


def choices(model: RunModel, mode: int) -> list[str]:
    """What there is to choose in a way of colouring."""
    return [choice for choice in CHOICES.get(mode, ()) if not (model.lab_eyes and choice in UNKNOWABLE)]


def sides(layer: Layer) -> list[str]:
    """Sides that have phases, in the order of the light."""
    if "u" in layer.parts:
        return ["v", "sigma", "u"] if layer.sigma else ["v", "u"]
    return list(layer.parts)


def frame(model: RunModel, layer: str, block: int, step: int | None) -> dict[str, Phases]:
    """Commanded phases of every side of a block at `step`; sides without any are left out."""
    commanded = {side: model.phases(layer, block, side, step) for side in sides(model.layers[layer])}
    return {side: phases for side, phases in commanded.items() if phases}


def began(model: RunModel, steps: Array, step: int) -> int:
    """The step from which changes of the stage that `step` belongs to are counted, of a layer recorded at `steps`."""
    begun = max((stage.first_step for stage in model.stages if stage.first_step < max(step, 1)), default=0)
    return max(begun, int(steps[0]) if len(steps) else 0)


def turned(angle: Array) -> Array:
    """An angle as the nearest turn has it, from -pi up to pi."""
    return np.mod(angle + np.pi, tau) - np.pi


def numbers(phases: Mapping[str, Phases]) -> Numbers:
    """The arrays of a frame by (side, kind)."""
    return {
        (side, kind): np.asarray(of_side[kind], float)
        for side, of_side in phases.items()
        for kind in KINDS
        if of_side.get(kind) is not None
    }


def minus(now: Mapping[str, Phases], then: Mapping[str, Phases]) -> Numbers:
    """How far one frame is from another: angles by the shorter way, sigma as it is."""
    old = numbers(then)
    return {
        key: values - old[key] if key[1] == "sigma" else turned(values - old[key])
        for key, values in numbers(now).items()
        if key in old and old[key].shape == values.shape
    }


def show(model: RunModel, request: Request, history: History, reference: RunModel | None = None) -> Painted:
    """The frame that `request` asks for."""
    phases = frame(model, request.layer, request.block, request.step)
    out = Painted(request, MODES[request.mode], phases=phases)
    if not phases:
        return _uncommanded(out, model)
    out.step = max(int(of_side["step"]) for of_side in phases.values())
    _SHOWN[request.mode](out, model, history, reference)
    if out.values and not out.note and out.scale.kind in ("diverging", "error"):
        out.worst = farthest(out.values, 0.0 if request.mode == GRADIENT else ROUNDING)
    return out


def _uncommanded(out: Painted, model: RunModel) -> Painted:
    """The chip before it is commanded: every heater is off."""
    for side, part in model.layers[out.request.layer].parts.items():
        count = len(part.columns)
        out.values |= {(side, kind): np.zeros(count) for kind in (("theta",) if side else ("theta", "phi"))}
    only = "phi" if out.request.mode == PHI and ("", "phi") in out.values else "theta"
    out.values = {key: values for key, values in out.values.items() if key[1] == only}
    out.title = MODES[PHI if only == "phi" else THETA]
    busy = "the weights are trained electronically; " if model.stage_at(out.request.step) == "pretrain" else ""
    out.aside = f"Nothing has been commanded yet: {busy}every heater is off, until the stage deploy commands phases."
    return out


def farthest(values: Numbers, least: float = 0.0) -> Worst | None:
    """The largest finite value by size, if any is more than `least`."""
    worst = None
    for key, array in values.items():
        size = np.where(np.isfinite(array), np.abs(array), 0.0)
        if size.size and (worst is None or size.max() > abs(worst.value)):
            worst = Worst(key, int(size.argmax()), float(array[size.argmax()]))
    return worst if worst and abs(worst.value) > least else None


# -- the ways of colouring ---------------------------------------------------------------------------------------------


def _angle(kind: str) -> Callable[[Painted, RunModel, History, RunModel | None], None]:
    def shown(out: Painted, model: RunModel, history: History, reference: RunModel | None) -> None:
        if out.request.side == "sigma" and "sigma" in out.phases:
            out.values = {("sigma", "sigma"): np.asarray(out.phases["sigma"]["sigma"], float)}
            out.title, out.scale = "σ (attenuators)", colours.diverging(list(out.values.values()), "")
            return
        out.values = {key: values for key, values in numbers(out.phases).items() if key[1] == kind}
        imperfect = imperfections(model, out.request.step)
        if imperfect.drive == "voltage":
            most = float(imperfect.phase_of(np.array(imperfect.v_max)))
            out.scale = PHASE._replace(limits=(-np.inf, most + 1e-6))
        if not out.values:
            out.note = "the MZIs of a real core have one phase, θ; there is no φ"

    return shown


def _difference(out: Painted, model: RunModel, history: History, reference: RunModel | None) -> None:
    request = out.request
    then: dict[str, Phases] | None = None
    if request.choice == PINNED:
        then, why = request.pinned, "no frame is pinned; pin the one on show with P"
    elif request.choice == REFERENCE:
        why = "no reference run is open; choose one in the panel Runs"
        if reference is not None:
            why = f"the reference run has no phases of {request.layer}, block {request.block}, at this step"
            if request.layer in reference.layers and request.block < blocks(reference.layers[request.layer]):
                then = frame(reference, request.layer, request.block, request.step)
    elif request.choice == STAGE:
        steps = recorded(model, model.layers[request.layer])
        then = frame(model, request.layer, request.block, began(model, steps, out.step or 0))
        why = "the stage has no phases"
    else:
        aim = model.target(request.layer, request.block, request.step)
        if aim:
            then = {side: {"theta": end["theta"]} for side, end in ends(aim).items()}
            then |= {"sigma": {"sigma": aim["sigma"]}}
        whole = model.layers[request.layer].sigma is None
        why = "whole meshes are trained and aim at no phases" if whole else "the weights are not trained yet"
    if then:
        out.values = minus(out.phases, then)
    out.title = f"Δ {request.choice or TARGET}"
    _finish(out, why if not then else "the other frame is of another shape")


def _before(out: Painted, model: RunModel, history: History, reference: RunModel | None) -> None:
    then = frame(model, out.request.layer, out.request.block, out.step - 1 if out.step else 0)
    out.values = minus(out.phases, then)
    _finish(out, "this is the first frame: there is none before it")


def _gradient(out: Painted, model: RunModel, history: History, reference: RunModel | None) -> None:
    request, layer = out.request, model.layers[out.request.layer]
    measured = {side: model.gradient(request.layer, request.block, side, request.step) for side in sides(layer)}
    true = model.oracle_gradient(request.layer, request.step) if layer.sigma is None else None
    if true and request.choice == ERROR:  # a job that is watched tells what it measured more often than what is true
        measured[""] = model.gradient(request.layer, request.block, "", true["step"])
    one, other = (
        numbers({side: gradient for side, gradient in gradients.items() if gradient})
        for gradients in (measured, {"": true})
    )
    out.badge = model.badge.get("gradient", "measured")
    shown = [true] if request.choice in (TRUE, ERROR) else list(measured.values())
    of = max((int(gradient["step"]) for gradient in shown if gradient), default=out.step)
    out.title = f"Gradient, {request.choice or MEASURED}" + (f", of step {of}" if of != out.step else "")
    why = "no gradients were recorded at this step; they come with the stage learn"
    if request.choice in (TRUE, ERROR):
        out.badge = "oracle"
        why = "no true gradients were recorded up to this step: they come after epochs of a mesh that learns in situ"
        why = why if model.simulated else NO_ORACLE
        error = {key: values - other[key] for key, values in one.items() if key in other}
        one = other if request.choice == TRUE else error
    out.values = one
    _finish(out, why, "1/rad")
    if request.choice == ERROR:
        out.scale = colours.error(list(out.values.values()), "1/rad")


def _finish(out: Painted, why: str, unit: str = "rad") -> None:
    """Sigma is no angle and takes a scale of its own: it is shown where its side is selected, or nothing else moves."""
    angles = {key: values for key, values in out.values.items() if key[1] != "sigma"}
    if len(angles) < len(out.values):
        alone = not any(values.any() for values in angles.values())
        if out.request.side == "sigma" or alone:
            out.values, unit = {key: values for key, values in out.values.items() if key not in angles}, ""
            out.title += ", σ"
        else:
            out.values = angles
    if not out.values:
        out.note = why
    least = 0.0 if out.request.mode == GRADIENT else ROUNDING
    out.scale = colours.diverging(list(out.values.values()), unit, least)


def _updates(out: Painted, model: RunModel, history: History, reference: RunModel | None) -> None:
    out.values, frames = history.updates(out.step)
    out.title = f"Updates in the last {frames} frames"
    out.scale = colours.sequential(list(out.values.values()), "frames", 1.0)
    if not out.values:
        out.note = "only one frame was recorded so far: nothing can have changed"


def _level(out: Painted, model: RunModel, history: History, reference: RunModel | None) -> None:
    imperfect = imperfections(model, out.request.step)
    if not imperfect.phase_bits:
        out.note = "the heaters of this chip are driven continuously: they have no levels"
        return
    for key, values in numbers(out.phases).items():
        if key[1] != "sigma":
            out.values[key] = levels(imperfect, values)
    out.scale = Scale("sequential", 0.0, float(2**imperfect.phase_bits - 1), "level")


def _power(out: Painted, model: RunModel, history: History, reference: RunModel | None) -> None:
    request, layer = out.request, model.layers[out.request.layer]
    choice = request.choice or IDEAL
    out.title = f"Optical power {choice}, unit light into input {request.input}"
    powers: dict[str, Array] = {}
    why = "light cannot be followed: some phases are missing or no numbers"
    if choice == IDEAL:
        out.badge = "estimated"
        fields = light.fields(layer, out.phases, request.input)
        powers = {side: np.abs(inside) ** 2 for side, inside in fields.items()}
        out.turns = {(side, "guide"): np.angle(inside).reshape(-1) for side, inside in fields.items()}
    else:
        live = choice in LIVE
        at = request.step if live or request.step is not None else model.newest
        seen = model.field(request.layer, request.block, request.input, at)
        by_name = seen.power if seen else {}
        out.badge = "oracle"
        if live:
            out.title = f"Optical power, {LIVE[choice]} light of sample {request.input} of the last mini-batch"
            # Of the light in a mesh that learns there are all three; else forward is of the oracle.
            powers = {"": by_name[LIVE[choice]]} if "sum" in by_name and not layer.sigma else {}
            why = "comes while a mesh that learns in situ is watched live, at the newest step"
            why = why if model.simulated else NO_ORACLE
        else:
            powers = by_name if layer.sigma else {"": by_name["forward"]} if "forward" in by_name else {}
            why = "nothing was commanded yet" if model.simulated else NO_ORACLE
        powers = {side: everywhere(power) for side, power in powers.items()}
    out.values = {(side, "guide"): decibels(power) for side, power in powers.items()}
    top = max((float(values[np.isfinite(values)].max(initial=0.0)) for values in out.values.values()), default=0.0)
    even = 10.0 * np.log10(next(iter(layer.parts.values())).modes)
    low = top - ROUND * np.ceil((even + BELOW) / ROUND)
    out.scale = Scale("light", float(low), top, "dB of the input" if choice not in LIVE else "dB of unit power")
    if not out.values:
        out.note = why


_SHOWN = (
    _angle("theta"), _angle("phi"), _difference, _before, _gradient, _updates, _level, _power,
)  # fmt: skip


def imperfections(model: RunModel, step: int | None) -> Nonidealities:
    """The non-idealities that the run had at `step`."""
    return chip_nonidealities(model.job_at(step))


def levels(imperfect: Nonidealities, phases: Array) -> Array:
    """The level of the drive that each phase is given, from 0 (`Nonidealities.lsb`, `.levels`)."""
    turned = wrapped(phases)
    if imperfect.drive == "phase":
        rounded: Array = np.round(turned / imperfect.lsb())
        return rounded
    driver = imperfect.driver()
    return np.asarray(driver.codes[np.searchsorted(driver.thresholds, turned)], float)


def decibels(power: Array) -> Array:
    """Powers of unit light in dB, flat. No light is far below what is drawn, but a number; no number stays none."""
    level: Array = 10.0 * np.log10(np.maximum(np.asarray(power, float).reshape(-1), 1e-12))
    return level


def everywhere(power: Array) -> Array:
    """Powers (PARTS C + 1, N) at every part of every column, from those (2 C + 1, N) that a heater does not change."""
    return np.repeat(power, PARTS // 2, axis=0)[: 1 - PARTS // 2]


def blocks(layer: Layer) -> int:
    """How many cores a layer has."""
    return layer.p * layer.q
