"""The stages of the L2ight flow as generators of events. Each starts after `done` epochs and ends its result.

    pretrain    electronic weights
    deploy      their ideal phases on the imperfect chip: the accuracy collapses
    calibrate   both meshes of every core to identities
    map         the meshes to the weights, from the calibrated state; ends with the projection a lab can do
    learn       sigma and batch norm, on the chip
    upkeep      in service, where hours of it are asked for (`l2sim.flow.upkeep`)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from l2sim import naming
from l2sim.backend import Array, host
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.meter import Meter
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import PARTS, Commands, command
from l2sim.flow import oracle, pretrained, training, upkeep
from l2sim.flow import session as sessions
from l2sim.flow.l2ight import learning, seek, twins
from l2sim.flow.l2ight import session as l2ight
from l2sim.flow.l2ight.compare import Comparison
from l2sim.flow.l2ight.service import Cores
from l2sim.flow.l2ight.session import L2ight
from l2sim.flow.session import PHASE_BYTES, Values
from l2sim.job.imperfections import chip_nonidealities
from l2sim.job.sections import Calibrate, Map
from l2sim.learn import train
from l2sim.learn.search import calibrate as calibration
from l2sim.learn.search import mapping, zeroth
from l2sim.nn.network import Network
from l2sim.nn.photonic import PhotonicWeight
from l2sim.store.events import Epoch, Event, Noted, Warned

COMPARISON_NOISE = 0.01
"""Readout noise of the comparison mapping, in units of the unit input amplitude."""

Stage = Callable[[L2ight, int], Iterator[Event]]


def pretrain(session: L2ight, done: int) -> Iterator[Event]:
    """Train the electronic network, from a file of weights if the job names one."""
    job = session.job.pretrain
    if job.weights and done == 0:
        weights = Path(job.weights), session.electronic, job.epochs > 0, job.weights_map
        loaded = pretrained.load_weights(*weights)
        for place in loaded.places:
            yield Noted("pretrain", f"{job.weights}: {place}")
        for change in loaded.changes:
            yield Warned("pretrain", f"{job.weights}: {change}")
    yield from training.train(session, "pretrain", session.job.pretrain, done)


def deploy(session: L2ight, done: int) -> Iterator[Event]:
    """Fabricate the chips and command the ideal phases of the pretrained weights."""
    yield session.begin("deploy", 1, 0)
    l2ight.put_on_chip(session)
    with session.meter.stage("deploy"):
        for name, chip in session.chips.items():
            mapping.deploy(chip, session.aims[name])
    scores = training.scores(session, session.network)
    session.step += 1
    result = {**scores, "oracle_mapping_error": _mapping_error(session.chips, session)}
    tested = {f"test_{key}": value for key, value in scores.items() if not key.startswith("validation")}
    yield Epoch("deploy", 1, 1, session.step, tested, _frames(session, "deploy", 1, 1))
    yield session.finish("deploy", result, {})


def calibrate(session: L2ight, done: int) -> Iterator[Event]:
    """Identity calibration of all cores of all layers, or their identification."""
    job = session.job.calibrate
    if job.method == "twin":
        yield from twins.calibrate(session, done)
        return
    with session.meter.stage("calibrate"):
        by, fresh = job.by(session.job.chip), _fresh(session, done)
        problems = {name: calibration.problem(chip, by, fresh=fresh) for name, chip in session.chips.items()}
    starts = {name: calibration.zero_phases(chip) for name, chip in session.chips.items()}

    def searches() -> dict[str, zeroth.Search]:
        now = session.job.calibrate
        search = seek.search(session.job, now, calibration.RESTART_ABOVE, shuffle=now.method == "zcd")
        return dict.fromkeys(session.chips, search)

    def observe() -> dict[str, float]:
        seen = [oracle.identity_error(chip) for chip in session.chips.values()]
        return {f"oracle_identity_error_{part}": _mean([s[part] for s in seen]) for part in PARTS}

    yield from _seek(session, "calibrate", problems, searches, starts, job, done, observe, 1.0)
    with session.meter.stage("calibrate"):
        for name, chip in session.chips.items():
            session.rest[name] = calibration.pseudo_identities(chip, session.searches[name])
            command(chip, u=session.rest[name], v=session.rest[name])
    errors = {part: [oracle.identity_error(chip)[part] for chip in session.chips.values()] for part in PARTS}
    result = {
        "calibration_loss": _mean([state.best for state in session.searches.values()]),
        "oracle_identity_error": {part: _mean(errors[part]) for part in PARTS},
    }
    figures = {"identity_error": {part: _flat(errors[part]) for part in PARTS}}
    session.searches = {}
    yield session.finish("calibrate", result, figures)


def map_(session: L2ight, done: int) -> Iterator[Event]:
    """Parallel mapping of all cores of all layers, and the projection of sigma."""
    job = session.job.map
    if job.epochs == 0:
        yield from _as_deployed(session)
        return
    if session.job.calibrate.method == "twin":
        yield from _programmed(session)
        return
    offset = session.rest if job.start == "calibrated" else {}
    problems, starts = _mapping_task(session, session.chips, offset, _fresh(session, done))

    def observe() -> dict[str, float]:
        return {"oracle_mapping_error": _mapping_error(session.chips, session)}

    scales = {name: mapping.error_scale(aim) for name, aim in session.aims.items()}
    searches = partial(_mapping_searches, session)
    yield from _seek(session, "map", problems, searches, starts, job, done, observe, scales, job.snapshots)
    with session.meter.stage("map"):
        for name, chip in session.chips.items():
            search = session.searches[name]
            session.mapped[name] = _project(session, chip, name, problems[name], search, session.network)
    session.searches = {}
    session.photonic = _rebuilt(session)
    result: Values = {
        **training.scores(session, session.network),
        "oracle_mapping_error": _mapping_error(session.chips, session),
        **_oracle_scores(session),
    }
    figures: Values = {}
    if job.compare:
        copies = _comparisons(session)
        figures["comparisons"] = copies
        result["comparisons"] = {
            name: {key: value for key, value in mapped.items() if key != "curve"} for name, mapped in copies.items()
        }
    yield session.finish("map", result, figures)


def _programmed(session: L2ight) -> Iterator[Event]:
    """Mapping by twins: in closed form, and `map.refine` epochs of descent from there."""
    refine = session.job.map.refine
    yield session.begin("map", 1, 0)
    expected = []
    with session.meter.stage("map"):
        for name in session.chips:
            expected.append(twins.program(session, name))
            if refine:
                _refine(session, name, refine)
    session.step += 1
    scalars = {"oracle_mapping_error": _mapping_error(session.chips, session)}
    yield Epoch("map", 1, 1, session.step, scalars, _frames(session, "map", 1, 1))
    session.photonic = _rebuilt(session)
    result = {
        **training.scores(session, session.network),
        "oracle_mapping_error": _mapping_error(session.chips, session),
        **_oracle_scores(session),
        **twins.expectations(expected),
    }
    yield session.finish("map", result, {})


def _refine(session: L2ight, name: str, epochs: int) -> None:
    """Ternary probing from what a twin programmed, one level at a time, with its sigma."""
    chip, mapped, weight = session.chips[name], session.mapped[name], session.network.weights[name]
    assert isinstance(weight, PhotonicWeight)
    problem = mapping.problem(chip, session.aims[name], session.job.calibrate.by(session.job.chip))
    chip.set_signs(**mapped.signs)
    chip.set_sigma(weight.sigma)
    search = seek.search(session.job, session.job.map, mapping.RESTART_ABOVE)
    search = replace(search, lr=search.floor, adaptive=False)
    state = zeroth.start(problem, search, {part: mapped.phases[part].copy() for part in PARTS})
    for epoch in range(epochs):
        zeroth.polish(problem, search, state, session.stream("map", name, epoch))
    session.mapped[name] = Commands(state.phases(best=True), mapped.signs)
    command(chip, u=session.mapped[name], v=session.mapped[name])


def _as_deployed(session: L2ight) -> Iterator[Event]:
    """No mapping: the meshes go back to what they were commanded when the weights were deployed."""
    yield session.begin("map", 0, 0)
    with session.meter.stage("map"):
        for name, chip in session.chips.items():
            mapping.deploy(chip, session.aims[name])
    session.photonic = _rebuilt(session)
    error = {"oracle_mapping_error": _mapping_error(session.chips, session)}
    result = training.scores(session, session.network) | error
    yield session.finish("map", result, {})


def learn(session: L2ight, done: int) -> Iterator[Event]:
    """Learning on the chips, by the job's protocol and samplers."""
    if session.renewed and done == 0:
        _renew(session)
    tally, ways = learning.Tally(session), learning.ways(session)
    train.write(session.network)
    ways = replace(
        ways, after=tally, frames=partial(_frames, session, "learn"), observe=tally.observe, result=tally.result
    )
    if session.job.learn.compare_gradients:
        comparison = Comparison(session)
        ways = replace(ways, around=comparison.around, observe=lambda: tally.observe() | comparison.observe())
    yield from training.train(session, "learn", session.job.learn, done, ways)


def _renew(session: L2ight) -> None:
    """Make the last layer ready to learn: its random matrix as deployed, and its own calibration."""
    name, job = list(session.chips)[-1], session.job.calibrate
    chip, aim = session.chips[name], session.aims[name]
    search = seek.search(session.job, job, calibration.RESTART_ABOVE, shuffle=job.method == "zcd")
    with session.meter.stage("calibrate"):
        problem = calibration.problem(chip, session.job.calibrate.by(session.job.chip))
        state, done = zeroth.start(problem, search, calibration.zero_phases(chip)), 0
        while seek.unfinished([state], job, done):
            zeroth.together([seek.steps(problem, search, state, job, done, session.stream("calibrate", name, done))])
            done += 1
        session.rest[name] = calibration.pseudo_identities(chip, state)
        mapping.deploy(chip, aim)
    session.photonic = _rebuilt(session)


def serve(session: L2ight, done: int) -> Iterator[Event]:
    """In service, while biases wander."""
    yield from upkeep.serve(session, done, partial(_frames, session, "upkeep"), Cores(session))


STAGES: dict[str, Stage] = {
    "pretrain": pretrain, "deploy": deploy, "calibrate": calibrate, "map": map_, "learn": learn, "upkeep": serve,
}  # fmt: skip


# -- what the stages share ---------------------------------------------------------------------------------------------


def _seek(
    session: L2ight,
    stage: str,
    problems: dict[str, zeroth.Problem],
    searches: Callable[[], dict[str, zeroth.Search]],
    starts: dict[str, dict[str, Array]],
    job: Calibrate | Map,
    done: int,
    observe: Callable[[], dict[str, float]],
    scales: dict[str, Array] | float,
    snapshots: tuple[int, ...] = (),
) -> Iterator[Event]:
    """Epochs of zeroth-order search over all layers together, until every core had its share, and their polish.

    `searches` are asked for every epoch: the job may change while it runs."""
    yield session.begin(stage, job.epochs, done)
    with session.meter.stage(stage):
        if _fresh(session, done):
            session.searches = {name: zeroth.start(problems[name], searches()[name], starts[name]) for name in problems}
    while seek.unfinished(session.searches.values(), job, done):
        ways = searches()
        with session.meter.stage(stage):
            zeroth.together(
                seek.steps(problem, ways[name], session.searches[name], job, done, session.stream(stage, name, done))
                for name, problem in problems.items()
            )
        done += 1
        session.step += 1
        scalars = _spread(session, stage, scales) | observe()
        yield Epoch(stage, done, job.epochs, session.step, scalars, _frames(session, stage, done, job.epochs))
        yield from sessions.checkpoint(session, stage, done, keep=done in snapshots)


def _fresh(session: L2ight, done: int) -> bool:
    """Whether searches begin, and none goes on from a checkpoint."""
    return done == 0 or not session.searches


def _spread(session: L2ight, stage: str, scales: dict[str, Array] | float) -> dict[str, float]:
    """The lowest error of every core so far: mean and percentiles over all cores, and the evaluations it took."""
    states = session.searches.items()
    best = _flat([state.best * (scales if isinstance(scales, float) else scales[name]) for name, state in states])
    p10, p50, p90 = np.percentile(best, (10, 50, 90))
    counts = session.meter.spent(stage)
    loss = _mean([state.loss for state in session.searches.values()])
    return {
        "loss": loss, "best": float(np.mean(best)), "best_p10": float(p10), "best_p50": float(p50),
        "best_p90": float(p90), "evaluations": float(counts.evaluations), **session.told_cost(stage),
    }  # fmt: skip


def _mapping_task(
    session: L2ight, chips: dict[str, CoreChip], offset: dict[str, Commands], fresh: bool = True
) -> tuple[dict[str, zeroth.Problem], dict[str, dict[str, Array]]]:
    """Problems and starting phases of mapping on `chips`, by layer."""
    problems, starts = {}, {}
    for name, chip in chips.items():
        aim = session.aims[name]
        with session.meter.stage("map"):
            problems[name] = mapping.problem(chip, aim, session.job.calibrate.by(session.job.chip), fresh)
        starts[name] = mapping.start_phases(aim, offset.get(name))
    return problems, starts


def _mapping_searches(session: L2ight) -> dict[str, zeroth.Search]:
    """How mapping searches, by layer."""
    search = replace(seek.search(session.job, session.job.map, mapping.RESTART_ABOVE), threshold_growth=seek.GROWTH)
    return {name: replace(search, error_scale=mapping.error_scale(aim)) for name, aim in session.aims.items()}


def _project(
    session: L2ight, chip: CoreChip, name: str, problem: zeroth.Problem, state: zeroth.State, network: Network
) -> Commands:
    """Settle a mapped layer: its best phases, and of its target's and its projected sigma the better one per core."""
    aim = session.aims[name]
    mapped = Commands(state.phases(best=True), aim.commands.signs)
    sigma = aim.sigma
    if (readout := session.job.calibrate.by(session.job.chip)) != "power":
        sigma = mapping.project(chip, aim, mapped, session.rest[name], readout)
    command(chip, u=mapped, v=mapped)
    weight = network.weights[name]
    assert isinstance(weight, PhotonicWeight)
    weight.sigma[...] = mapping.keep_better(problem, sigma, aim.sigma)
    return mapped


def _rebuilt(session: L2ight) -> Network:
    """The photonic network with the mapped commands in its weights, all arrays as they are."""
    network = l2ight.photonic_network(session, session.chips)
    network.load(session.network.state())
    return network


def _comparisons(session: L2ight) -> dict[str, Values]:
    """Map copies of the chip differently, for the report: from the other start, and with noisy readings."""
    imperfect = chip_nonidealities(session.job)
    other = "ideal" if session.job.map.start == "calibrated" else "calibrated"
    noisy = msgspec.structs.replace(imperfect, readout_noise=COMPARISON_NOISE)
    offset = session.rest if session.job.map.start == "calibrated" else {}
    return {
        f"start_{other}": _mapped_copy(session, imperfect, session.rest if other == "calibrated" else {}),
        f"readout_noise_{COMPARISON_NOISE:g}": _mapped_copy(session, noisy, offset),
    }


def _mapped_copy(session: L2ight, imperfect: Nonidealities, offset: dict[str, Commands]) -> Values:
    """Mapping error by epoch (mean over cores of the best reading) and accuracy of a copy mapped another way."""
    chips = l2ight.fabricate(session, imperfect, Meter())
    network = l2ight.photonic_network(session, chips)
    problems, starts = _mapping_task(session, chips, offset)
    searches = _mapping_searches(session)
    states = {name: zeroth.start(problems[name], searches[name], starts[name]) for name in chips}
    curve: list[float] = []
    while seek.unfinished(states.values(), session.job.map, len(curve)):
        number, job = len(curve), session.job.map
        zeroth.together(
            seek.steps(problems[name], searches[name], state, job, number, session.stream("map", name, number))
            for name, state in states.items()
        )
        curve.append(_mean([state.best * mapping.error_scale(session.aims[name]) for name, state in states.items()]))
    for name, chip in chips.items():
        _project(session, chip, name, problems[name], states[name], network)
    scores = training.scores(session, network, validate=False)
    return {**scores, "oracle_mapping_error": _mapping_error(chips, session), "curve": curve}


def _oracle_scores(session: L2ight) -> dict[str, float]:
    """Accuracy after the oracle projection, on a copy of the chips."""
    chips = l2ight.fabricate(session, chip_nonidealities(session.job), Meter())
    network = l2ight.photonic_network(session, chips)
    for name, chip in chips.items():
        command(chip, u=session.mapped[name], v=session.mapped[name])
        chip.set_sigma(oracle.projection(chip, session.aims[name]))
    return {"oracle_accuracy": training.scores(session, network, validate=False)["accuracy"]}


def _mapping_error(chips: dict[str, CoreChip], session: L2ight) -> float:
    """||U S V - W||^2 / ||U S V||^2 as realised, mean over all cores with a target."""
    errors = []
    for name, chip in chips.items():
        above, below = map(host, oracle.mapping_error(chip, session.aims[name]))
        errors.append(above[below > 0] / below[below > 0])
    return _mean(errors)


def _frames(session: L2ight, stage: str, epoch: int, epochs: int) -> dict[str, Array]:
    """What the phase log records after this epoch: the commanded phases in travel order and sigma, by layer."""
    size = sum(chip.state()[0][naming.name("u", "phases")].nbytes for chip in session.chips.values())
    every = max(1, epochs * size // PHASE_BYTES)
    if epoch % every and epoch != epochs:
        return {}
    frames: dict[str, Array] = {}
    for name in session.chips:
        commanded = session.told(name)
        if stage == "learn" and epoch > 1:  # the meshes stay as they were mapped
            commanded = {key: a for key, a in commanded.items() if naming.apart(key).part not in PARTS}
        frames |= commanded | session.merits(name)
    return frames


def _flat(arrays: list[Array]) -> list[float]:
    values: list[float] = np.concatenate([np.ravel(host(a)) for a in arrays]).tolist()
    return values


def _mean(arrays: list[Array]) -> float:
    return float(np.mean(np.concatenate([np.ravel(host(a)) for a in arrays])))

