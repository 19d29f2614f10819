"""Ways to learn on a chip other than subspace learning, and the stage of a run that uses them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import command
from l2sim.flow import flow
from l2sim.flow.l2ight.session import open_session
from l2sim.flow.registry import FLOWS
from l2sim.flow.session import restore
from l2sim.job.job import Job
from l2sim.learn import protocols, train
from l2sim.learn.search import calibrate, mapping
from l2sim.nn import models, network, optim
from l2sim.nn.losses import cross_entropy
from l2sim.nn.network import Network
from l2sim.nn.photonic import PhotonicWeight
from l2sim.report import savings
from l2sim.store.events import Checkpoint, StageDone
from tests.doubles import random_commands, small_chip
from tests.learn.test_sampling import SPEC, batch, chips

SMALL: dict[str, Any] = {
    "data.name": "synthetic", "pretrain.epochs": 1, "calibrate.epochs": 2, "calibrate.polish": 1, "map.epochs": 1,
    "map.polish": 0, "map.compare": False, "learn.epochs": 2, "learn.batch": 16, "learn.lr_floor": 0.0,
}  # fmt: skip
PROTOCOLS: dict[str, dict[str, Any]] = {
    "subspace": {"learn.data_sparsity": 0.4, "learn.data_rule": "importance", "learn.profile": "legacy"},
    "dfa": {},
    "pat": {},
    "flops": {"learn.lr": 0.05, "learn.probes": 2},
    "spsa": {"learn.lr": 0.05},
    "mixedtrn": {"learn.lr": 0.0245, "learn.skipped_share": 0.99},
}


def loss_of(phases: protocols.Phases) -> float:
    images, labels = batch()
    return float(cross_entropy(phases.network.forward(images, train=True, rng=generator(1)), labels)[0])


def one_core() -> Network:
    """A dense layer on one core with continuous phases."""
    spec = models.ModelSpec("one", (4,), 3, (models.Linear(3, k=4),))

    def make_weight(name: str, out_features: int, in_features: int, k: int) -> PhotonicWeight:
        chip, rng = small_chip((1, 1), k, Nonidealities(phase_bias=1.0)), generator(9)
        mapped, sigma = random_commands(chip, rng), rng.uniform(0.2, 1.0, (1, 1, k))
        command(chip, u=mapped, v=mapped)
        return PhotonicWeight(chip, out_features, in_features, mapped, mapped, sigma)

    return network.build(spec, make_weight)


@pytest.mark.parametrize("kind", (protocols.Flops, protocols.Spsa))
def test_random_probes_find_the_gradient(kind: type) -> None:
    """With many small perturbations the step of FLOPS and SPSA is along the slope of the loss."""
    net = one_core()
    phases, rng = protocols.Phases(net), generator(10)
    images, labels = rng.normal(size=(20, 4)), rng.integers(0, 3, 20)
    values, wanted, h = phases.values["fc1"], {}, 1e-5
    for part, now in values.items():
        wanted[part] = np.zeros_like(now)
        for at in np.ndindex(now.shape):
            ends = []
            for step in (h, -2 * h):
                now[at] += step
                phases.commit()
                ends.append(cross_entropy(net.forward(images), labels)[0])
            now[at] += h
            wanted[part][at] = (ends[0] - ends[1]) / (2 * h)
    before = {part: a.copy() for part, a in values.items()}
    phases.commit()
    kind(phases, cross_entropy, 0.01, 500)(images, labels, generator(2), 1.0)
    found = np.concatenate([(before[part] - a).ravel() for part, a in phases.values["fc1"].items()])
    slope = np.concatenate([wanted[part].ravel() for part in before])
    np.testing.assert_allclose(found, slope, rtol=0, atol=0.3 * np.linalg.norm(slope))
    assert found @ slope > 0.9 * np.linalg.norm(found) * np.linalg.norm(slope)


@pytest.mark.parametrize("legacy", (False, True))
def test_what_flops_learnt_is_on_the_chips(legacy: bool) -> None:
    """The published program leaves the last perturbation there."""
    phases = protocols.Phases(chips())
    protocols.Flops(phases, cross_entropy, 0.1, 2, legacy)(*batch(), generator(2), 0.1)
    there = loss_of(phases)
    phases.commit()
    assert (there == loss_of(phases)) == (not legacy)


def test_mixedtrn_never_ends_worse_than_it_began() -> None:
    ends = {}
    for legacy in (False, True):
        phases = protocols.Phases(chips())
        phases.commit()
        step = protocols.MixedTrn(phases, cross_entropy, phases.coordinates(0.8, generator(3)), 0.9, legacy)
        losses = [loss_of(phases)]
        for number in range(4):
            told = step(*batch(), generator(4, number), 0.3)["loss"]
            assert told == pytest.approx(losses[-1])
            losses.append(loss_of(phases))
        ends[legacy] = losses
    assert all(after <= before for before, after in zip(ends[False], ends[False][1:]))
    assert ends[False][-1] < ends[False][0] and ends[False][-1] < ends[True][-1]


def test_the_phases_that_mixedtrn_trains() -> None:
    phases = protocols.Phases(chips())
    chosen = phases.coordinates(0.85, generator(3))
    shares = {
        part: sum(one[1] == part for one in chosen) / sum(
            a.size if part == "s" else np.prod(a.shape[:2]) * net.hardware.mesh.count
            for net, a in ((phases.network.weights[name], parts[part]) for name, parts in phases.values.items())
        )
        for part in protocols.ORDER
    }  # fmt: skip
    assert shares["s"] == 1.0 and shares["u"] == pytest.approx(0.15, abs=0.05) == shares["v"]
    assert chosen == sorted(chosen, key=lambda one: (list(phases.values).index(one[0]), "usv".index(one[1]), one[2]))


def descend(net: Network, objective: train.Objective, steps: int) -> list[float]:
    step = train.descent(net, optim.start("adamw", net.parameters()), 0.0, objective)
    return [float(step(*batch(12), generator(1, number), 0.02)["loss"]) for number in range(steps)]


def test_direct_feedback_sends_no_light_back_and_learns() -> None:
    net = chips()
    aligned = protocols.Alignment(net, cross_entropy, lambda name: generator(7, name))
    plain = chips()
    for one, objective in ((plain, cross_entropy), (net, aligned)):
        logits = one.forward(batch()[0], train=True, rng=generator(1))
        one.backward(objective(logits, batch()[1])[1])
    np.testing.assert_array_equal(net.gradients()["fc1.sigma"], plain.gradients()["fc1.sigma"])
    assert not np.allclose(net.gradients()["conv1.sigma"], plain.gradients()["conv1.sigma"])
    net, _ = modelled(Nonidealities())
    losses = descend(net, protocols.Alignment(net, cross_entropy, lambda name: generator(7, name)), 30)
    assert losses[-1] < 0.7 * losses[0]
    counts = [w.hardware.meter.state()["idle"] for w in net.weights.values()]
    assert all(one["input_gradient_core_calls"] == 0 < one["weight_gradient_core_calls"] for one in counts)


def modelled(it: Nonidealities) -> tuple[Network, dict[str, mapping.Target]]:
    """The small network deployed on chips, and what they were to become."""
    aims: dict[str, mapping.Target] = {}

    def make_weight(name: str, out_features: int, in_features: int, k: int) -> PhotonicWeight:
        chip = small_chip((-(-out_features // k), -(-in_features // k)), k, it, name=name)
        matrix = generator(8, name).normal(size=(out_features, in_features)) / np.sqrt(in_features)
        aims[name] = aim = mapping.target(chip, matrix)
        mapping.deploy(chip, aim)
        ones = dict.fromkeys("uv", np.ones((*chip.shape, k)))
        rest = mapping.Commands(calibrate.zero_phases(chip), ones)
        return PhotonicWeight(chip, out_features, in_features, aim.commands, rest, aim.sigma.copy())

    return network.build(SPEC, make_weight), aims


def test_on_a_perfect_chip_its_digital_model_tells_the_true_gradient() -> None:
    """And off it, the gradient of the model at the activations that the chip shows: no light is sent back."""
    exact, aims = modelled(Nonidealities())
    model, _ = modelled(Nonidealities())
    for name, weight in model.weights.items():
        weight.model = protocols.digital_model(weight, aims[name])
    for net in (exact, model):
        logits = net.forward(batch()[0], train=True, rng=generator(1))
        net.backward(cross_entropy(logits, batch()[1])[1])
    for name, wanted in exact.gradients().items():
        np.testing.assert_allclose(model.gradients()[name], wanted, rtol=0, atol=1e-12, err_msg=name)
    rough, aims = modelled(Nonidealities(phase_bias=0.05))
    for name, weight in rough.weights.items():
        weight.model = protocols.digital_model(weight, aims[name])
    losses = descend(rough, cross_entropy, 30)
    assert losses[-1] < 0.7 * losses[0]
    for weight in rough.weights.values():
        counts = weight.hardware.meter.state()["idle"]
        assert counts["core_calls"] == counts["forward_core_calls"] > 0
        assert counts["writes"] <= 2 * weight.sigma.size * 32 + weight.mapped.phases["u"].size * 2


# -- as a stage of a run -----------------------------------------------------------------------------------------------


def events(settings: dict[str, Any], checkpoint: Checkpoint | None = None) -> list[Any]:
    return list(flow.run(Job.preset("digits", SMALL | settings), checkpoint=checkpoint))


def learnt(stream: list[Any]) -> dict[str, Any]:
    """The result of the learning stage."""
    return next(e.result for e in stream if isinstance(e, StageDone) and e.stage == "learn")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_stopped_run_goes_on_alike(name: str) -> None:
    settings = {"learn.protocol": name} | PROTOCOLS[name]
    whole = events(settings)
    middle = next(e for e in whole if isinstance(e, Checkpoint) and e.stage == "learn" and e.epoch == 1)
    again = events(settings, middle)
    ends = [next(e for e in stream if isinstance(e, Checkpoint) and e.epoch == -1 and e.stage == "learn")
            for stream in (whole, again)]  # fmt: skip
    assert ends[0].arrays.keys() == ends[1].arrays.keys()
    for key, wanted in ends[0].arrays.items():
        np.testing.assert_array_equal(ends[1].arrays[key], wanted, err_msg=key)
    results = [learnt(whole), learnt(again)]
    assert {k: v for k, v in results[0].items() if k != "seconds"} == {
        k: v for k, v in results[1].items() if k != "seconds"
    }


def test_a_run_stops_where_its_core_calls_end() -> None:
    spent = learnt(events({}))["core_calls"]
    for most in (spent // 4, spent // 2):
        short = learnt(events({"learn.core_calls": most}))
        assert most <= short["core_calls"] < most + spent / 10 and short["accuracy"] >= 0


def test_a_run_from_scratch_maps_nothing() -> None:
    stream = events({"pretrain.epochs": 0, "map.epochs": 0})
    results = {e.stage: e.result for e in stream if isinstance(e, StageDone)}
    assert list(results) == ["pretrain", "deploy", "calibrate", "map", "learn"]
    assert results["map"]["oracle_mapping_error"] == results["deploy"]["oracle_mapping_error"]
    assert results["map"].get("evaluations", 0) == 0 and results["learn"]["core_calls"] > 0
    assert "accuracy" in results["pretrain"]


def test_a_new_classifier_for_other_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last layer of a mapped network is made anew; what lies below stays as it was mapped."""
    from l2sim.data import sets

    first = events({})
    mapped = next(e for e in first if isinstance(e, Checkpoint) and e.stage == "map" and e.epoch == -1)
    job = Job.preset("digits", SMALL | {"learn.new_classifier": True})
    pictures = sets.load("synthetic", None, (16, 16), 1)
    fewer = sets.DataSet(
        pictures.train_x, pictures.train_y % 4, pictures.test_x, pictures.test_y % 4, 4
    )  # fmt: skip
    session = open_session(job, fewer)
    restore(session, mapped)
    for name, array in session.photonic.state().items():
        if not name.startswith("fc1"):
            np.testing.assert_array_equal(array, mapped.arrays[f"{name}.photonic"], err_msg=name)
    assert session.chips["fc1"].shape == (1, 11)
    opened = FLOWS["l2ight"]._replace(open=lambda job, where: open_session(job, fewer))
    monkeypatch.setitem(FLOWS.known, "l2ight", opened)
    stream = list(flow.run(job, checkpoint=mapped))
    done = learnt(stream)
    assert done["core_calls"] > 0 and 0 <= done["accuracy"] <= 1
    middle = next(e for e in stream if isinstance(e, Checkpoint) and e.stage == "learn" and e.epoch == 1)
    again = list(flow.run(job, checkpoint=middle))
    ends = [[e for e in s if isinstance(e, Checkpoint)][-1].arrays for s in (stream, again)]
    assert all(np.array_equal(a, ends[1][name]) for name, a in ends[0].items()), "it is renewed only once"


def test_what_sampling_saved_adds_up() -> None:
    settings = {
        "learn.feedback_sparsity": 0.5, "learn.column_sparsity": 0.6, "learn.data_sparsity": 0.4,
        "learn.profile": "legacy",
    }  # fmt: skip
    done = learnt(events(settings))
    found = savings.levels(Job.preset("digits", SMALL | settings).learn, done)
    assert [level.name for level in found] == ["dense", "+ feedback", "+ column", "+ data"]
    totals = [level.total("core_calls") for level in found]
    assert totals == sorted(totals, reverse=True) and totals[-1] == done["core_calls"]
    assert found[-1].total("accumulation_steps") == done["accumulation_steps"]
    plain = learnt(events({}))
    assert totals[0] == plain["core_calls"], "dense is what a dense run would have cost"
    assert done["legacy"]["core_calls"] > 0 == done["legacy"]["writes"]
    assert [level.name for level in savings.levels(Job.preset("digits").learn, plain)] == ["dense"]


def test_pictures_of_a_data_sampler_are_chosen_by_the_pretrained_network() -> None:
    done = learnt(events({"learn.data_sparsity": 0.5, "learn.data_rule": "importance"}))
    assert done["images"] == pytest.approx(0.5 * done["images_offered"], rel=0.1)


