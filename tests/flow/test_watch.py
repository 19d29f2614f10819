"""What goes wrong in a run is said, once a stage, and what explodes or is not finite stops it; healthy runs are not
troubled."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from l2sim.data import sets
from l2sim.errors import ChipError, Diverged, NotFinite
from l2sim.flow import flow, watch
from l2sim.flow.session import Session
from l2sim.job import job as jobs
from l2sim.job import presets
from l2sim.job.job import Job
from l2sim.runs.execute import execute, latest
from l2sim.store.events import Changed, Checkpoint, Done, Epoch, Event, StageDone, StageStarted, Step, Trouble
from l2sim.store.logs import events as recorded

QUICK = {"calibrate.epochs": 2, "calibrate.polish": 1, "map.epochs": 2, "map.polish": 1, "map.compare": False}


def session(preset: str = "digits", **values: object) -> Session:
    """A session before its first stage."""
    job = Job.preset(preset, {name.replace("__", "."): value for name, value in values.items()})
    return flow.FLOWS[job.flow].open(job, None)


def kinds(troubles: Iterator[Trouble]) -> list[str]:
    return [trouble.kind for trouble in troubles]


def collected(job: Job, data: sets.DataSet | None = None) -> tuple[list[Event], str]:
    """The events of a run, and the error that ended it."""
    seen: list[Event] = []
    try:
        for event in flow.run(job, data):
            seen.append(event)
    except Diverged as error:
        return seen, str(error)
    return seen, ""


def troubles(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.stage, event.kind) for event in events if isinstance(event, Trouble)]


# -- every limit, from both sides --------------------------------------------------------------------------------------

LIMIT = watch.EXPLODED * math.log(10)


@pytest.mark.parametrize(
    ("loss", "said"),
    ((0.0, []), (LIMIT * 0.999, []), (LIMIT * 1.001, ["explodes"]), (1e300, ["explodes"]), (math.inf, ["not finite"]),
     (math.nan, ["not finite"]), (-math.inf, ["not finite"])),
)  # fmt: skip
def test_a_loss_explodes_above_its_limit(loss: float, said: list[str]) -> None:
    ours = session()
    assert not list(watch.found(Step("pretrain", 1, {"loss": 2.0}), ours))
    assert kinds(watch.found(Step("pretrain", 2, {"loss": loss}), ours)) == said
    assert kinds(watch.found(Epoch("pretrain", 1, 9, 2, {"test_loss": loss}), ours)) == said
    assert kinds(watch.found(StageDone("pretrain", {"loss": loss, "seconds": 1.0}), ours)) == said
    deep = [kind for kind in said if kind != "explodes"]
    assert kinds(watch.found(StageDone("deploy", {"deep": {"loss": loss}}), ours)) == deep


def test_a_loss_that_begins_high_may_stay_so() -> None:
    ours = session()
    for loss in (1e6, 1e7, 0.9e8):
        assert not list(watch.found(Step("pretrain", 1, {"loss": loss}), ours))
    assert kinds(watch.found(Step("pretrain", 4, {"loss": 1.1e8}), ours)) == ["explodes"]
    list(watch.found(StageStarted("learn", 1), ours))
    assert not list(watch.found(Step("learn", 5, {"loss": 2.0}), ours)), "every stage begins anew"
    assert kinds(watch.found(Step("learn", 6, {"loss": 300.0}), ours)) == ["explodes"]


@pytest.mark.parametrize(("top", "said"), ((watch.HUGE * 0.999, []), (watch.HUGE * 1.001, ["explodes"]),
                                           (1e200, ["explodes"]), (math.nan, ["not finite"])))  # fmt: skip
def test_a_weight_explodes_above_its_limit(top: float, said: list[str]) -> None:
    ours = session()
    ours.trained("pretrain").parameters()["fc1.weight"][0, 0] = -top
    found = list(watch.found(Epoch("pretrain", 1, 1, 1, {}), ours))
    assert kinds(iter(found)) == said and all(trouble.layer == "fc1" for trouble in found)


def test_phases_may_be_as_large_as_they_like() -> None:
    ours = session("insitu-digits")
    list(flow.FLOWS["insitu"].stages["deploy"](ours, 0))
    ours.network.parameters()["mesh1.theta"][0] = 1e7
    assert not list(watch.found(Epoch("learn", 1, 1, 1, {}), ours))


def test_chance_is_the_most_frequent_class_and_three_deviations() -> None:
    assert watch.chance(np.repeat(np.arange(10), 100), 10) == pytest.approx(0.1 + 3 * math.sqrt(0.09 / 1000))
    assert watch.chance(np.repeat([0, 1], [90, 10]), 2) == pytest.approx(0.9 + 3 * math.sqrt(0.09 / 100))


@pytest.mark.parametrize(
    ("accuracy", "loss", "steps", "said"),
    ((0.1, math.log(10), watch.EARLY, True), (0.1, math.log(10), watch.EARLY - 1, False), (0.1, 5.0, 100, True),
     (0.1, 0.91 * math.log(10), 100, True), (0.1, 0.89 * math.log(10), 100, False), (0.2, 5.0, 100, False)),
)  # fmt: skip
def test_learning_stands_still_at_chance(accuracy: float, loss: float, steps: int, said: bool) -> None:
    ours = session()
    ours.watched["steps"] = steps
    scalars = {"test_loss": loss, "test_accuracy": accuracy, "train_loss": loss}
    assert kinds(watch.found(Epoch("learn", 1, 1, 1, scalars), ours)) == ["at chance"] * said
    del scalars["train_loss"]
    assert not list(watch.found(Epoch("deploy", 1, 1, 1, scalars), ours)), "what was only deployed is to be at chance"


@pytest.mark.parametrize(("best", "epoch", "said"), ((0.5, 5, True), (0.5, 4, False), (0.4, 5, False)))
def test_a_search_that_gains_nothing_stands_still(best: float, epoch: int, said: bool) -> None:
    ours = session()
    assert not list(watch.found(Epoch("map", 1, 9, 1, {"best": 0.5}), ours))
    assert kinds(watch.found(Epoch("map", epoch, 9, 1, {"best": best}), ours)) == ["stands still"] * said


def test_a_search_that_is_at_its_goal_may_stand_still() -> None:
    ours = session()
    assert not list(watch.found(Epoch("map", 1, 9, 1, {"best": 1e-4}), ours))
    assert not list(watch.found(Epoch("map", 9, 9, 1, {"best": 1e-4}), ours))


@pytest.mark.parametrize(("dead", "said"), ((0.0, False), (0.05, False), (1.0, True)))
@pytest.mark.parametrize("preset", ("digits", "insitu-digits"))
def test_dead_cores_are_named(preset: str, dead: float, said: bool) -> None:
    job = Job.preset(preset, {"nonidealities.dead": dead, **({"pretrain.epochs": 0} if preset == "digits" else {})})
    seen: list[Trouble] = []
    for event in flow.run(job):
        if isinstance(event, Trouble) and event.kind == "dead":
            seen.append(event)
        if isinstance(event, StageStarted) and event.stage in ("calibrate", "learn"):
            break
    layers = {trouble.layer for trouble in seen}
    assert bool(seen) == said and len(layers) == len(seen)
    if said:
        assert seen[0].stage == "deploy" and seen[0].blocks[0] == 0


@pytest.mark.parametrize(("v_max", "said"), ((10.8, False), (1.0, True)))
def test_cores_at_v_max_are_named(v_max: float, said: bool) -> None:
    values = {"nonidealities.drive": "voltage", "nonidealities.v_max": v_max, "pretrain.epochs": 0}
    seen = []
    for event in flow.run(Job.preset("digits", values)):
        if isinstance(event, StageStarted) and event.stage == "calibrate":
            break
        if isinstance(event, Trouble) and event.kind == "saturated":
            seen.append(event)
    assert bool(seen) == said


# -- whole runs --------------------------------------------------------------------------------------------------------


def test_a_learning_rate_of_a_hundred_stops_the_run_and_says_where(tmp_path: Path) -> None:
    job = Job.preset("digits", {"pretrain.epochs": 1, "learn.lr": 100.0, "learn.lr_floor": 0.0, **QUICK})
    with pytest.raises(Diverged, match=r"learn diverged at step \d+: .*a lower learn.lr; --resume"):
        list(execute(job, tmp_path / "run"))
    assert [event.kind for event in recorded(tmp_path / "run") if isinstance(event, Trouble)][-1] in watch.STOPS
    checkpoint, _ = latest(tmp_path / "run")
    assert checkpoint is not None and (checkpoint.stage, checkpoint.epoch) == ("map", -1), "that before it"
    lower = {"learn.lr": 1e-3}
    events = list(execute(job, tmp_path / "run", resume=True, settings=lower))
    assert isinstance(events[-1], Done) and events[-1].report["changes"][0]["path"] == "learn.lr"  # type: ignore[index]
    changed = [event for event in recorded(tmp_path / "run") if isinstance(event, Changed)]
    assert [(c.stage, c.after, c.path, c.value) for c in changed] == [("learn", "stage", "learn.lr", 1e-3)]


def test_a_run_that_diverged_before_its_first_checkpoint_goes_on_too(tmp_path: Path) -> None:
    job = Job.preset("digits", {"pretrain.lr": 100.0, "pretrain.epochs": 1, "learn.epochs": 1, **QUICK})
    with pytest.raises(Diverged):
        list(execute(job, tmp_path / "run"))
    assert isinstance(list(execute(job, tmp_path / "run", resume=True, settings={"pretrain.lr": 2e-3}))[-1], Done)


def test_a_job_may_only_warn() -> None:
    values = {"pretrain.lr": 100.0, "pretrain.epochs": 1, "learn.epochs": 0, "on_divergence": "warn", **QUICK}
    events, error = collected(Job.preset("digits", values))
    assert not error and ("pretrain", "explodes") in troubles(events)
    assert len(set(troubles(events))) == len(troubles(events)), "once a stage"
    done = events[-1]
    assert isinstance(done, Done) and done.report["troubles"]


@pytest.mark.parametrize("on_divergence", ("stop", "warn"))
def test_what_a_chip_refuses_ends_the_run_as_diverged(on_divergence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(session: Session, done: int) -> Iterator[Event]:
        yield session.begin("learn", 1, 0)
        raise NotFinite("light holds values that are not finite; nothing was sent")

    assert issubclass(NotFinite, ChipError)
    monkeypatch.setitem(flow.FLOWS["insitu"].stages, "learn", odd)  # type: ignore[arg-type]
    events, error = collected(Job.preset("insitu-digits", {"on_divergence": on_divergence}))
    assert troubles(events) == [("learn", "not finite")] and "learn diverged" in error


@pytest.mark.parametrize("preset", ("digits", "insitu-digits"))
def test_data_that_are_all_the_same_are_said(preset: str) -> None:
    own = replace(sets.load("digits", None, (16, 16) if preset == "digits" else (8, 8)))
    dark = replace(own, train_x=np.zeros_like(own.train_x), test_x=np.zeros_like(own.test_x))
    for event in flow.run(Job.preset(preset, {"data.name": "own"}), dark):
        if isinstance(event, Trouble):
            assert event.kind == "dead" and "all training samples are the same" in event.message
            return
        assert not isinstance(event, StageDone)


@pytest.mark.parametrize("protocol", ("flops", "mixedtrn", "spsa"))
def test_baselines_at_chance_say_so(protocol: str) -> None:
    values = {"learn.protocol": protocol, "learn.lr": 1e-9, "learn.lr_floor": 0.0, "pretrain.epochs": 0, **QUICK}
    events, error = collected(Job.preset("digits", {**values, "learn.epochs": 1}))
    assert not error and ("learn", "at chance") in troubles(events)


def test_a_resumed_run_says_what_one_never_stopped_says() -> None:
    values = {"learn.lr": 0.0, "learn.lr_floor": 0.0, "learn.epochs": 2}
    job = Job.preset("insitu-digits", values)
    whole, _ = collected(job)
    assert troubles(whole) == [("learn", "at chance")]
    at = next(e for e in whole if isinstance(e, Checkpoint) and e.stage == "learn")
    rest = list(flow.run(job, None, at))
    assert troubles(rest) == [] and isinstance(rest[-1], Done) and len(rest[-1].report["troubles"]) == 1  # type: ignore[arg-type]


SOME = [name for name in list(presets.PRESETS)[::7] if "resnet18" not in name]
"""ResNet18 takes as long as all others together: one of it is enough, `make smoke` has all."""


@pytest.mark.parametrize("name", [*SOME, "tiny-imagenet-resnet18-l2ight", "digits", "insitu-digits", "insitu-noise"])
def test_no_preset_is_troubled_by_its_smoke_run(name: str) -> None:
    job = jobs.smoke(Job.preset(name))
    events, error = collected(job)
    assert not error and troubles(events) == []


def test_the_default_runs_are_not_troubled() -> None:
    short = {"pretrain.epochs": 5, "learn.epochs": 2, "calibrate.epochs": 10, "map.epochs": 10, "map.compare": False}
    for name, values in (("digits", short), ("insitu-digits", {"learn.epochs": 2}), ("insitu-moons", {})):
        job = Job.preset(name, values)
        events, error = collected(job)
        assert not error and troubles(events) == [], job.name
        assert any(isinstance(event, StageStarted) for event in events)
