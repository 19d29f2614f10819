"""Whether a run still does what it is there for: values that are not finite, a loss that explodes, learning that stands
still, chips that cannot answer. Every event passes here; what is wrong follows it as a `Trouble`, once a stage.

All limits are ours, meant to lie far from healthy runs:

    not finite     a scalar, or what a chip or a layer was to hold
    explodes       a loss above EXPLODED times that of guessing and its first one of the stage, or a weight above HUGE
    at chance      after an epoch, and EARLY mini-batches at least: the test accuracy is within SIGMAS binomial
                   deviations of naming the most frequent class always, and the loss not SHARE below that of guessing
    stands still   a search that after STILL epochs has gained less than GAIN, and is not near its goal (REACHED)
    dead           more than half of the heaters of a core do not heat; all training samples are the same
    saturated      more than half of the heaters of a core are driven with V_max

The first two stop the run (`Diverged`) unless `on_divergence` of the job says otherwise; the checkpoint before stays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from l2sim import naming
from l2sim.backend import Array, host
from l2sim.chip.fabrication import heaters_in
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import PHASES
from l2sim.errors import Diverged, NotFinite, RunError
from l2sim.flow.session import Session
from l2sim.job.imperfections import chip_nonidealities
from l2sim.store.events import Epoch, Event, StageDone, StageStarted, Step, Trouble

EXPLODED, HUGE = 100.0, 1e6
EARLY, SIGMAS, SHARE = 30, 3.0, 0.1
STILL, GAIN, REACHED = 5, 1e-3, 1e-2
SHOWN = 8
"""Cores that a message names."""
STOPS = ("not finite", "explodes")
LOSSES = ("loss", "test_loss", "train_loss")
"""Scalars that are losses of training; those of a search are named so too, and lie far below."""


def watched(events: Iterator[Event], session: Session) -> Iterator[Event]:
    """`events` of the run of `session`, each followed by what is wrong. Raises Diverged where the job is to stop, and
    where a chip refuses values that are not finite."""
    while True:
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # said in words
                event = next(events, None)
        except NotFinite as error:
            yield from _said(session, [Trouble(session.stage, session.step, "not finite", str(error))])
            raise Diverged(_line(session.troubles[-1], session)) from None
        if event is None:
            return
        yield event
        yield from _said(session, list(found(event, session)))


def _said(session: Session, troubles: list[Trouble]) -> Iterator[Trouble]:
    """Those that were not said in this stage; then Diverged where one of them stops the run."""
    for trouble in troubles:
        key = trouble.stage, trouble.kind, trouble.layer
        if trouble.kind in ("dead", "saturated"):  # chips do not change from stage to stage
            known = any((old.kind, old.layer) == key[1:] for old in session.troubles)
        else:
            known = any((old.stage, old.kind, old.layer) == key for old in session.troubles)
        if not known:
            session.troubles.append(trouble)
            yield trouble
    stopping = [trouble for trouble in troubles if trouble.kind in STOPS]
    if stopping and session.job.on_divergence == "stop":
        raise Diverged(_line(stopping[0], session))


def _line(trouble: Trouble, session: Session) -> str:
    cure = session.cure(trouble.stage, "a lower")
    return (
        f"{trouble.stage} diverged at step {trouble.step}: {trouble.message}; {cure}; "
        "--resume goes on from the last checkpoint, and on_divergence = warn goes on in any case"
    )


def found(event: Event, session: Session) -> Iterator[Trouble]:
    """What is wrong after `event`."""
    match event:
        case StageStarted():
            if not event.done:
                session.watched = {}
            yield from _of_data(event.stage, session)
        case Step():
            session.watched["steps"] = session.watched.get("steps", 0) + 1
            yield from _of_scalars(event.stage, session, event.scalars)
        case Epoch():
            yield from _of_scalars(event.stage, session, event.scalars)
            yield from _of_weights(event.stage, session)
            trains = "train_loss" in event.scalars and session.watched.get("steps", 0) >= EARLY
            if trains or event.stage == "upkeep":
                loss, accuracy = (event.scalars[f"test_{name}"] for name in ("loss", "accuracy"))
                yield from _of_chance(event.stage, session, loss, accuracy)
            yield from _of_search(event, session)
        case StageDone():
            yield from _of_scalars(event.stage, session, dict(_numbers(event.result)))
            yield from _of_weights(event.stage, session)
            yield from _of_chips(event.stage, session)


def _numbers(values: Mapping[str, object], path: str = "") -> Iterator[tuple[str, float]]:
    """Numbers with a fraction in nested values, by name; what was compared beside the run is not its own."""
    for name, value in values.items():
        if isinstance(value, Mapping) and name != "comparisons":
            yield from _numbers(value, f"{path}{name}.")
        elif isinstance(value, float):
            yield f"{path}{name}", value


def _of_scalars(stage: str, session: Session, scalars: Mapping[str, float]) -> Iterator[Trouble]:
    odd = [name for name, value in scalars.items() if not math.isfinite(value)]
    if odd:
        more = f" and {len(odd) - 1} more of {len(scalars)} scalars are" if odd[1:] else " is"
        yield Trouble(stage, session.step, "not finite", f"{odd[0]}{more} not finite")
    for name in LOSSES:
        if not math.isfinite(value := scalars.get(name, math.nan)):
            continue
        usual = max(session.chance_loss, session.watched.setdefault("loss", value))
        if value > EXPLODED * usual:
            word = "that of guessing" if usual == session.chance_loss else "the first"
            line = f"{name} {value:,.5g} is over {EXPLODED:g} times {word}, {usual:.3g}"
            yield Trouble(stage, session.step, "explodes", line)
            return


def _of_weights(stage: str, session: Session) -> Iterator[Trouble]:
    """Weights of the network that the stage trains, if it trains one."""
    if stage in ("calibrate", "map"):
        return
    try:
        network = session.trained(stage)
    except (AssertionError, RunError):  # not there yet, or never
        return
    for name, array in network.parameters().items():
        layer, _, part = name.rpartition(".")
        if part in PHASES or not array.size:
            continue  # angles are as large as they like
        top = float(np.abs(array).max())
        if not math.isfinite(top):
            yield Trouble(stage, session.step, "not finite", f"{name} holds values that are not finite", layer)
        elif top > HUGE:
            yield Trouble(stage, session.step, "explodes", f"{name} reaches {top:.3g}, over {HUGE:g}", layer)


def chance(labels: Array, classes: int) -> float:
    """The accuracy up to which a test on `labels` cannot be told from guessing: the share of the most frequent class,
    and SIGMAS binomial deviations more."""
    share = max(float(np.bincount(host(labels), minlength=classes).max()) / labels.size, 1.0 / classes)
    return share + SIGMAS * math.sqrt(share * (1.0 - share) / labels.size)


def _of_chance(stage: str, session: Session, loss: float, accuracy: float) -> Iterator[Trouble]:
    if accuracy > chance(session.data.test_y, session.data.classes) or loss < (1 - SHARE) * session.chance_loss:
        return
    line = f"accuracy {100 * accuracy:.1f} % is that of guessing, loss {loss:.3g}"
    yield Trouble(stage, session.step, "at chance", f"{line}; {session.cure(stage)}")


def _of_search(event: Epoch, session: Session) -> Iterator[Trouble]:
    best = event.scalars.get("best")
    if best is None or event.stage not in ("calibrate", "map"):
        return
    first = session.watched.setdefault("best", best)
    if event.epoch >= STILL and best > max(REACHED, (1 - GAIN) * first):
        line = f"the mean error of the cores stands still at {best:.3g} after {event.epoch} epochs"
        yield Trouble(event.stage, session.step, "stands still", f"{line}; the heaters may not answer")


def _of_data(stage: str, session: Session) -> Iterator[Trouble]:
    train = session.data.train_x
    if train.size and bool((train == train.ravel()[0]).all()):
        yield Trouble(stage, session.step, "dead", "all training samples are the same; nothing can be learnt from them")


def _of_chips(stage: str, session: Session) -> Iterator[Trouble]:
    """Cores most of whose heaters do not heat (an oracle's word), or are driven with V_max."""
    imperfect = chip_nonidealities(session.job)
    for layer in session.geometry():
        commanded = session.told(layer)
        phases = [a for name, a in commanded.items() if naming.apart(name).kind == "phases"]
        full = [top(a, imperfect) for a in phases]
        yield from _of_cores("saturated", "are driven with V_max", stage, session, layer, full)
        chip = session.chip(layer)
        if imperfect.dead and chip is not None and hasattr(chip, "oracle_fabrication"):
            draws = chip.oracle_fabrication()
            parts = ("u", "v") if any(name.startswith("u.") for name in draws) else ("heaters",)
            dead = [heaters_in(draws, part).fate < imperfect.dead for part in parts]
            yield from _of_cores("dead", "do not heat [oracle]", stage, session, layer, dead)


def top(phases: Array, imperfect: Nonidealities) -> Array:
    """Which heaters are driven with V_max at commanded `phases`; none where voltages are not what is driven."""
    if imperfect.drive != "voltage":
        return np.zeros(phases.shape, bool)
    codes, last = imperfect.codes(phases)
    return np.asarray(codes == last)


def _of_cores(
    kind: str, what: str, stage: str, session: Session, layer: str, masks: list[Array]
) -> Iterator[Trouble]:
    """The cores of `layer` that have more heaters in `masks`, (cores, n) or (n,) each, than not."""
    flat = np.concatenate([np.atleast_2d(mask) for mask in masks], axis=1)
    share = flat.mean(axis=1)
    blocks = tuple(np.flatnonzero(share > 0.5).tolist())
    if blocks:
        named = ", ".join(map(str, blocks[:SHOWN])) + (" ..." if blocks[SHOWN:] else "")
        cores = f"{len(blocks)} of {len(share)} cores ({named})" if len(share) > 1 else "the mesh"
        line = f"{layer}: most heaters of {cores} {what}"
        yield Trouble(stage, session.step, kind, line, layer, blocks)
