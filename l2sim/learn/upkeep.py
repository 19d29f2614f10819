"""Keeping chips that drift: what a controller does from time to time, so that a network stays what it was.

Each policy is one function, `policy(layers, care, stream)`, called after every interval of service; `stream(name, ...)`
gives the random streams of this look:

    none        nothing
    periodic    every core is calibrated and mapped anew
    triggered   a few test vectors go through every core; those that answer with too large an error are calibrated and
                mapped anew (to probe, and to remedy where it is needed: Lu, Banerjee and Gu, DOCTOR, arXiv 2403.02688)
    track       every core's twin is brought up to date by a few random settings, with what was known before as the
                prior, and the core is programmed anew from it (`l2sim.learn.twin.identify.track`); a core that has
                moved further than that is identified anew
    learn       subspace learning goes on: a few mini-batches of labelled data, sigma follows their gradient

A core is calibrated anew as it was at first: where it has a twin by identification and programming in closed form, else
by ternary probing from the phases that it has, first of the pseudo-identities, then of the mapped state. What it is to
become is what it answered when service began (`reference`), learnt sigma included. Public operations only, all metered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from l2sim.backend import Array, Stream, host
from l2sim.chip import grid
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import Commands, command
from l2sim.learn.search import calibrate, mapping, zeroth
from l2sim.learn.search.mapping import Target
from l2sim.learn.twin import identify as twin
from l2sim.learn.twin import program
from l2sim.nn.photonic import PhotonicWeight

__all__ = ["POLICIES", "PROBING", "Care", "Layer", "Outcome", "expected", "reference", "residual", "target"]

READINGS = 8
"""Whole responses of every core that are read, and averaged, when service begins."""
CALM = 1e-3
"""Least drift, rad, that tracking reckons with."""
DECAY = 0.7
"""Factor on the phase step per epoch of a search that goes on from where a core is."""

PROBING = ("periodic", "triggered", "track")
"""Policies that hold cores at what they answered when service began."""


@dataclass
class Layer:
    """One layer in service: its weight on the chip, what its cores are to be, and their twins where there are any."""

    weight: PhotonicWeight
    aim: Target
    known: twin.Twin | None = None


@dataclass(frozen=True)
class Care:
    """What a policy works with. `sheet`: the data sheet; `seconds` of chip time since the last look.

    `threshold`: error of a core, |y - W x|^2 / |W x|^2, from which on it is calibrated anew. `probes`: test vectors
    (triggered), or settings (track). `epochs` of a search. `lessons` mini-batches, each learnt by `lesson`(rng).
    """

    sheet: Nonidealities
    seconds: float
    readout: str = "quadrature"
    threshold: float = 0.01
    probes: int = 2
    epochs: int = 10
    lessons: int = 0
    lesson: Callable[[np.random.Generator], None] | None = None


class Outcome(NamedTuple):
    """Cores calibrated anew, and those among them that could not be identified."""

    recalibrated: int = 0
    lost: int = 0


def expected(sheet: Nonidealities, seconds: float) -> float:
    """How far a bias moves in so many seconds by the data sheet: root mean square, rad."""
    slow = 2.0 * sheet.drift_std**2 * (1.0 - np.exp(-seconds / sheet.drift_seconds))
    return float(np.sqrt(slow + sheet.step_std**2 * seconds / sheet.step_seconds))


def reference(weight: PhotonicWeight, readings: int = READINGS) -> Array:
    """What a layer's cores answer now, the mean of so many readings of each, as one matrix (out, in)."""
    chip = weight.hardware
    command(chip, u=weight.mapped, v=weight.mapped)
    chip.set_sigma(weight.sigma)
    seen = np.mean([host(grid.respond(chip, weight.readout)).real for _ in range(readings)], axis=0)
    (p, q), k = chip.shape, chip.mesh.modes
    whole: Array = seen.swapaxes(1, 2).reshape(p * k, q * k)[: weight.out_features, : weight.in_features]
    return whole


def target(weight: PhotonicWeight, matrix: Array) -> Target:
    """What a layer's cores are to become to show `matrix`, with the sigma that they have now."""
    return replace(mapping.target(weight.hardware, matrix), sigma=weight.sigma)


def residual(layer: Layer, care: Care, rng: np.random.Generator) -> Array:
    """Error |y - W x|^2 / |W x|^2 of every core for a few vectors x of random signs, (p, q), less what noise adds."""
    weight, chip = layer.weight, layer.weight.hardware
    (_, q), k = chip.shape, chip.mesh.modes
    x = rng.choice([-1.0, 1.0], (1, q, k, care.probes))
    aim, wide = host(layer.aim.weight), np.ones(())
    if layer.aim.inputs is not None and layer.aim.outputs is not None:
        x = x * host(layer.aim.inputs)[:1, :, :, None]
        wide = host(layer.aim.outputs)[..., None]
    seen = host(chip.forward(grid.arrays(chip).asarray(x), readout=weight.readout)).real
    wanted = aim @ x
    noise = (np.abs(host(weight.sigma)).max(axis=-1) * care.sheet.readout_noise) ** 2
    count = np.broadcast_to(wide, seen.shape).sum(axis=(-1, -2))
    wrong = (wide * (seen - wanted) ** 2).sum(axis=(-1, -2)) - noise * count
    power = (wide * wanted**2).sum(axis=(-1, -2))
    return np.where(power > 0, wrong / np.where(power > 0, power, 1.0), 0.0)


# -- the policies ------------------------------------------------------------------------------------------------------


def none(layers: dict[str, Layer], care: Care, stream: Stream) -> Outcome:
    """Let the chips drift."""
    return Outcome()


def periodic(layers: dict[str, Layer], care: Care, stream: Stream) -> Outcome:
    """Calibrate and map every core anew."""
    every = [np.ones(layer.weight.hardware.shape, bool) for layer in layers.values()]
    return _sum(anew(layer, care, cores, name, stream) for (name, layer), cores in zip(layers.items(), every))


def triggered(layers: dict[str, Layer], care: Care, stream: Stream) -> Outcome:
    """Calibrate and map those cores anew whose answers to test vectors have too large an error."""
    bad = {name: residual(layer, care, stream("test", name)) > care.threshold for name, layer in layers.items()}
    return _sum(anew(layers[name], care, cores, name, stream) for name, cores in bad.items() if cores.any())


def track(layers: dict[str, Layer], care: Care, stream: Stream) -> Outcome:
    """Bring all twins up to date and program from them; identify anew what cannot be followed."""
    done = []
    for name, layer in layers.items():
        chip = layer.weight.hardware
        assert layer.known is not None, "tracking goes on from twins"
        moved = max(CALM, expected(care.sheet, care.seconds))
        layer.known = twin.track(chip, care.sheet, layer.known, moved, stream("track", name), care.probes)
        lost = ~layer.known.identified.reshape(chip.shape)
        if lost.any():
            done.append(_identify(layer, care, lost, name, stream))
        _program(layer, care, np.ones(chip.shape, bool))
    return _sum(done)


def learn(layers: dict[str, Layer], care: Care, stream: Stream) -> Outcome:
    """Go on with subspace learning: `care.lessons` mini-batches."""
    assert care.lesson is not None, "learning needs labelled data"
    for number in range(care.lessons):
        care.lesson(stream("lesson", number))
    return Outcome()


Policy = Callable[[dict[str, Layer], Care, Stream], Outcome]
"""policy(layers by name, care, stream): what is done at one look, and how many cores it took."""
POLICIES: dict[str, Policy] = {
    "none": none, "periodic": periodic, "triggered": triggered, "track": track, "learn": learn,
}  # fmt: skip


# -- calibrating anew --------------------------------------------------------------------------------------------------


def _sum(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcomes of several layers as one."""
    return Outcome(*map(sum, zip(Outcome(), *outcomes)))


def anew(layer: Layer, care: Care, cores: Array, name: str, stream: Stream) -> Outcome:
    """Calibrate and map the cores of the mask (p, q) anew. A search takes the whole layer, as it visits all cores."""
    if layer.known is None:
        return _search(layer, care, name, stream)
    done = _identify(layer, care, cores, name, stream)
    _program(layer, care, cores)
    return done


def _identify(layer: Layer, care: Care, cores: Array, name: str, stream: Stream) -> Outcome:
    """Identify the twins of some cores anew."""
    chip, at = layer.weight.hardware, np.flatnonzero(cores)
    assert layer.known is not None

    def streams(what: str) -> np.random.Generator:
        return stream("identify", name, what)

    fresh = twin.identify(chip, care.sheet, streams, care.readout, only=cores)
    fresh.evaluations += layer.known.evaluations
    layer.known.put(at, fresh.of(at))
    return Outcome(at.size, int((~fresh.identified[at]).sum()))


def _program(layer: Layer, care: Care, cores: Array) -> None:
    """Program the cores of the mask (p, q) from their twins, and command the layer again."""
    weight, chip, aim, known = layer.weight, layer.weight.hardware, layer.aim, layer.known
    assert known is not None
    drive, there = twin.Drive.of(care.sheet), grid.arrays(chip).asarray
    kinds = aim.commands.phases, aim.commands.signs
    ideal = Commands(*({part: host(a)[cores][None] for part, a in kind.items()} for kind in kinds))
    some = Target(host(aim.weight)[cores][None], ideal, host(aim.sigma)[cores][None])
    programmed, sigma, _ = program.program(chip.mesh, drive, known.of(np.flatnonzero(cores)), some)
    rest = program.identities(chip.mesh, drive, known, chip.shape)
    before = weight.mapped
    parts = []
    for old, new in ((before.phases, programmed.phases), (before.signs, programmed.signs)):
        whole = {part: host(a).copy() for part, a in old.items()}
        for part, a in new.items():
            whole[part][cores] = a[0]
        parts.append({part: there(a) for part, a in whole.items()})
    kept = host(weight.sigma).copy()
    kept[cores] = sigma[0]
    weight.mapped = Commands(*parts)
    weight.rest = Commands(*({part: there(a) for part, a in kind.items()} for kind in (rest.phases, rest.signs)))
    weight.sigma[...] = there(kept)
    command(chip, u=weight.mapped, v=weight.mapped)
    weight.write()


def _search(layer: Layer, care: Care, name: str, stream: Stream) -> Outcome:
    """Calibrate and map a whole layer anew, by ternary probing from where it is; sigma by the projection of mapping."""
    weight, chip = layer.weight, layer.weight.hardware
    floor = care.sheet.step() or zeroth.STEP
    first = max(floor, expected(care.sheet, care.seconds))
    how = zeroth.Search("ztp", lr=first, decay=DECAY, floor=floor)

    def sought(task: zeroth.Problem, start: Commands, stage: str) -> dict[str, Array]:
        state = zeroth.start(task, how, {part: a.copy() for part, a in start.phases.items()})
        for epoch in range(care.epochs):
            zeroth.ztp(task, how, state, stream(stage, name, epoch))
        return state.phases(best=True)

    rest = Commands(sought(calibrate.problem(chip, care.readout), weight.rest, "calibrate"), weight.rest.signs)
    aim = replace(layer.aim, sigma=weight.sigma.copy())
    command(chip, u=weight.mapped, v=weight.mapped)
    chip.set_sigma(weight.sigma)
    inputs = np.ones_like(aim.sigma) if aim.inputs is None else aim.inputs.copy()
    task = zeroth.Problem(chip, inputs, aim.weight, care.readout, aim.outputs)
    mapped = Commands(sought(task, weight.mapped, "map"), weight.mapped.signs)
    sigma = mapping.project(chip, aim, mapped, rest, care.readout)
    command(chip, u=mapped, v=mapped)
    weight.sigma[...] = mapping.keep_better(task, sigma, aim.sigma)
    weight.mapped, weight.rest = mapped, rest
    return Outcome(chip.shape[0] * chip.shape[1], 0)
