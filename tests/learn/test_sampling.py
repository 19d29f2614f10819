"""Samplers: what is kept, what is unbiased, what is saved, what is refused; and samplers of a user's own."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.chip.meter import PASSES
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import Hardware, command
from l2sim.errors import JobError, ModelError
from l2sim.flow.l2ight import learning
from l2sim.job.job import Job
from l2sim.job.sections import Learn
from l2sim.learn import counting, sampling
from l2sim.nn import models, network
from l2sim.nn.conv import Conv2d
from l2sim.nn.losses import cross_entropy
from l2sim.nn.network import Network
from l2sim.nn.photonic import PhotonicWeight
from tests.doubles import PUBLISHED, Sealed, random_commands, small_chip
from tests.places import EXAMPLES
from tests.tolerances import TRAJECTORY

DRAWS = 2000
SPEC = models.ModelSpec(
    "small", (2, 6, 6), 5,
    (
        models.Conv(9, 3, 1, 1, k=3), models.BatchNorm(), models.ReLUN(6), models.Conv(8, 3, 2, 1, k=4),
        models.ReLUN(6), models.Conv(7, 1, 1, 0, k=3), models.ReLUN(6), models.Flatten(), models.Linear(5, k=4),
    ),
)  # fmt: skip


def chips(it: Nonidealities = PUBLISHED, close: Callable[[Any], Any] = lambda chip: chip) -> Network:
    """`SPEC` on small chips at random phases."""

    def make_weight(name: str, out_features: int, in_features: int, k: int) -> PhotonicWeight:
        grid = -(-out_features // k), -(-in_features // k)
        hardware: Hardware = close(small_chip(grid, k, it, name=name))
        rng = generator(3, name)
        mapped, rest = random_commands(hardware, rng), random_commands(hardware, rng)
        sigma = rng.uniform(0.2, 1.0, (*grid, k))
        command(hardware, u=mapped, v=mapped)
        weight = PhotonicWeight(hardware, out_features, in_features, mapped, rest, sigma)
        weight.write()
        return weight

    return network.build(SPEC, make_weight)


def batch(count: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = generator(4)
    return rng.normal(size=(count, *SPEC.input)), rng.integers(0, SPEC.classes, count)


def gradients(net: Network, name: str = "draw") -> dict[str, np.ndarray]:
    """All gradients of one training pass."""
    images, labels = batch()
    logits = net.forward(images, train=True, rng=generator(5, name))
    net.backward(cross_entropy(logits, labels)[1])
    return {key: a.copy() for key, a in net.gradients().items()}


# -- unbiased where the paper says so ----------------------------------------------------------------------------------


def unbiased(draws: np.ndarray, wanted: np.ndarray, chance_of_nothing: float) -> None:
    """The mean of `draws` (D, ...) is `wanted` but for draws that keep nothing, within five standard errors."""
    error = draws.std(axis=0) / np.sqrt(len(draws)) + 1e-12
    assert (np.abs(draws.mean(axis=0) - (1.0 - chance_of_nothing) * wanted) < 5.0 * error).all()


def one_layer() -> tuple[PhotonicWeight, np.ndarray, np.ndarray]:
    rng = generator(6)
    hardware = small_chip((3, 4), 3)
    mapped, rest = random_commands(hardware, rng), random_commands(hardware, rng)
    command(hardware, u=mapped, v=mapped)
    weight = PhotonicWeight(hardware, 9, 12, mapped, rest, rng.uniform(0.2, 1.0, (3, 4, 3)))
    weight.write()
    return weight, rng.normal(size=(12, 8)), rng.normal(size=(9, 8))


def test_uniform_feedback_is_unbiased() -> None:
    weight, _, dy = one_layer()
    whole = weight.transpose(dy)
    weight.feedback = sampling.feedback("uniform", 0.6, "exp")
    rng = generator(7)
    unbiased(np.array([weight.transpose(dy, rng) for _ in range(DRAWS)]), whole, 0.6**12)


def test_uniform_forward_sampling_is_unbiased_both_ways() -> None:
    weight, x, dy = one_layer()
    ahead, back = weight.forward(x), weight.transpose(dy)
    weight.cores = sampling.blocks("uniform", 0.5, "exp", along=1)
    rng = generator(8)
    draws = [(weight.forward(x, rng), weight.transpose(dy, rng)) for _ in range(DRAWS)]
    unbiased(np.array([y for y, _ in draws]), ahead, 0.5**12)
    unbiased(np.array([g for _, g in draws]), back, 0.5**12)
    np.testing.assert_array_equal(weight.forward(x), ahead)  # a test is not sampled


def test_feature_sampling_is_unbiased() -> None:
    weight, x, dy = one_layer()
    weight.accumulate(dy, x)
    whole, draws, rng = weight.gradient.copy(), [], generator(9)
    weight.vectors = sampling.features(0.5, "exp")
    for _ in range(DRAWS):
        weight.accumulate(dy, x, rng=rng)
        draws.append(weight.gradient.copy())
    unbiased(np.array(draws), whole, 0.5**32)


@pytest.mark.parametrize("where", ("columns", "spatial"))
def test_column_and_spatial_sampling_are_unbiased(where: str) -> None:
    weight, _, _ = one_layer()
    weight._shape = 9, 12
    layer = Conv2d(weight, 2, 1, 0)
    rng = generator(10)
    x, dy = rng.normal(size=(3, 4, 4, 2)), rng.normal(size=(9, 3, 3, 2))
    layer.forward(x, train=True, rng=rng)
    layer.backward(dy)
    whole, draws = weight.gradient.copy(), []
    setattr(layer, where, getattr(sampling, where)(0.5, "exp"))
    for _ in range(DRAWS):
        layer.forward(x, train=True, rng=rng)
        layer.backward(dy, need_dx=False)
        draws.append(weight.gradient.copy())
    unbiased(np.array(draws), whole, 0.5**9 if where == "columns" else 0.5**16)


def test_random_rank_is_unbiased_when_rescaled() -> None:
    rng, sigma = generator(11), generator(12).normal(size=(2, 3, 5))
    gradient = generator(13).normal(size=sigma.shape)
    sample = sampling.rank(2, "uniform", norm="exp")
    draws = np.array([sample(sigma, gradient, rng) for _ in range(DRAWS)])
    assert ((draws != 0).sum(axis=-1) == 2).all()
    unbiased(draws, gradient, 0.0)


def test_the_largest_sigma_are_learnt_and_signs_are_signs() -> None:
    sigma, gradient = np.array([[[0.1, -0.9, 0.5]]]), np.array([[[3.0, -2.0, 0.5]]])
    assert sampling.rank(1)(sigma, gradient, generator(1)).tolist() == [[[0.0, -2.0, 0.0]]]
    assert sampling.rank(2, sign=True)(sigma, gradient, generator(1)).tolist() == [[[0.0, -1.0, 1.0]]]
    assert sampling.rank(0)(sigma, gradient, generator(1)) is gradient


def test_balanced_choices_leave_no_row_and_no_column_out() -> None:
    sigma = generator(14).uniform(size=(6, 8, 3)) * np.arange(1, 9)[None, :, None]
    down, across = (sampling.blocks("btopk", 0.6, "none", along)(sigma, generator(1))[0] for along in (0, 1))
    assert (down.sum(axis=0) == 3).all() and (across.sum(axis=1) == 3).all()
    everywhere = sampling.blocks("gtopk", 0.6, "none")(sigma, generator(1))[0]
    assert everywhere.sum() == 19 and not everywhere[:, 0].any(), "the largest of all lie where sigma is large"


def test_a_teacher_keeps_what_it_is_unsure_of() -> None:
    class Teacher:
        def forward(self, images: np.ndarray) -> np.ndarray:
            return np.stack((images[:, 0], -images[:, 0]))

    sure = np.array([9.0, 0.1, 5.0, 0.0, -7.0, 1.0])[:, None]
    kept = sampling.importance(Teacher(), 0.5)(sure, generator(1))  # type: ignore[arg-type]
    assert kept is not None and kept.tolist() == [False, True, False, True, False, True]


# -- what is saved, and that the public path is all that is needed -----------------------------------------------------

EVERY = {
    "dense": {},
    "l2ight": {"feedback_sparsity": 0.6, "column_sparsity": 0.6},
    "rad": {"spatial_sparsity": 0.5},
    "swat-u": {"forward_sparsity": 0.4, "spatial_sparsity": 0.5, "spatial_norm": "none"},
    "features and rank": {"feature_sparsity": 0.5, "rank": 2, "rank_rule": "uniform"},
    "signs": {"rank_sign": True, "sample_first_conv": True, "column_sparsity": 0.3},
}


@pytest.mark.parametrize("noise", (0.0, 0.02))
@pytest.mark.parametrize("name", EVERY)
def test_a_step_costs_what_the_rules_say(name: str, noise: float) -> None:
    net = chips(PUBLISHED if not noise else Nonidealities(readout_noise=noise))
    learning.attach(net, Learn(**EVERY[name]))
    gradients(net)
    told = counting.counts(map(counting.metered, counting.steps(net, 4)))
    for at, step in zip(net.weights, counting.steps(net, 4)):
        counts = net.weights[at].hardware.meter.state()["idle"]
        assert {key: counts[key] for key in told} == counting.metered(step), at
        assert counts["core_calls"] == sum(counts[f"{one}_core_calls"] for one in PASSES)
    dense = counting.counts(map(counting.metered, counting.steps(net, 4, dense=True)))
    assert dense == {
        key: 4 * n for key, n in counting.counts(map(counting.metered, counting.steps(net, 1, dense=True))).items()
    }
    assert all(told[key] <= dense[key] for key in told) and (told == dense) == (name == "dense")


@pytest.mark.parametrize("name", EVERY)
def test_samplers_need_the_public_path_only(name: str) -> None:
    results = []
    for close in (lambda chip: chip, Sealed):
        net = chips(close=close)
        learning.attach(net, Learn(**EVERY[name]))
        results.append((gradients(net), [w.hardware.meter.state() for w in net.weights.values()]))
    for key, wanted in results[0][0].items():
        np.testing.assert_allclose(results[1][0][key], wanted, rtol=0, atol=TRAJECTORY, err_msg=key)
    assert results[0][1] == results[1][1], "the public path costs the same"


def test_forgotten_pixels_need_no_memory() -> None:
    net = chips()
    learning.attach(net, Learn(spatial_sparsity=0.5))
    gradients(net)
    told = counting.activations(net, 4)
    forgotten = sum(
        4 * 4 * int(np.prod(shape)) * (1 - net.convs[name].drawn["spatial"].mean())
        for name, shape in (("conv2", (9, 6, 6)), ("conv3", (8, 3, 3)))
    )
    assert told.dense - told.kept == pytest.approx(forgotten) and "spatial" not in net.convs["conv1"].drawn


# -- a user's own ------------------------------------------------------------------------------------------------------


def test_a_sampler_of_ones_own() -> None:
    """Any function with the signature stands in for ours: here every second core carries the error back."""

    def chequered(sigma: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        p, q = np.indices(sigma.shape[:2])
        return (p + q) % 2 == 0, 2.0

    net = chips()
    net.weights["conv2"].feedback = chequered
    whole, own = gradients(chips()), gradients(net)
    assert not np.allclose(own["conv1.sigma"], whole["conv1.sigma"])
    np.testing.assert_array_equal(own["conv3.sigma"], whole["conv3.sigma"])
    assert net.weights["conv2"].drawn["feedback"].sum() < net.weights["conv2"].sigma[..., 0].size


SHORT = {"pretrain.epochs": 2, "calibrate.epochs": 40, "map.epochs": 40, "map.compare": False}


def test_the_examples_learn() -> None:
    accuracy = runpy.run_path(str(EXAMPLES / "own_sampler.py"))["learn"](1, SHORT)
    assert len(accuracy) == 2 and accuracy[1] > accuracy[0]
    loss = runpy.run_path(str(EXAMPLES / "own_loss.py"))["learn"](1, SHORT)
    assert len(loss) == 2 and loss[1] < loss[0]


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparsity", (-0.1, 1.0, 1.5, float("nan")))
def test_a_sparsity_outside_its_range(sparsity: float) -> None:
    makers: list[Callable[[], object]] = [
        lambda: sampling.feedback("btopk", sparsity, "none"), lambda: sampling.columns(sparsity, "none"),
        lambda: sampling.spatial(sparsity, "exp"), lambda: sampling.features(sparsity, "var"),
        lambda: sampling.importance(None, sparsity),  # type: ignore[arg-type]
    ]  # fmt: skip
    for make in makers:
        with pytest.raises(ModelError, match="use 0 up to, not including, 1") as told:
            make()
        assert "\n" not in str(told.value)


def test_ranks_and_rules_that_do_not_exist() -> None:
    sigma = np.ones((1, 1, 4))
    with pytest.raises(ModelError, match="rank 5 is above k = 4"):
        sampling.rank(5)(sigma, sigma, generator(1))
    with pytest.raises(ModelError, match="not possible"):
        sampling.rank(-1)
    with pytest.raises(ModelError, match="'topk' is unknown"):
        sampling.blocks("topk", 0.5, "none")


@pytest.mark.parametrize("settings, told", [
    ({"learn.feedback_sparsity": 1.0}, "learn.feedback_sparsity = 1.0 is out of range"),
    ({"learn.spatial_sparsity": -0.2}, "learn.spatial_sparsity = -0.2 is out of range"),
    ({"learn.rank": -1}, "learn.rank = -1 is out of range"),
    ({"learn.protocol": "flops", "learn.column_sparsity": 0.5}, "learn.column_sparsity samples a measured gradient"),
    ({"learn.protocol": "spsa", "learn.profile": "legacy"}, "learn.profile = 'legacy' knows subspace learning only"),
])  # fmt: skip
def test_jobs_that_cannot_be(settings: dict[str, object], told: str) -> None:
    with pytest.raises(JobError, match=told) as error:
        Job.preset("digits", settings)
    assert "\n" not in str(error.value)
    with pytest.raises(JobError, match=r"learn\.protocol belongs to flow = 'l2ight'"):
        Job.preset("insitu-digits", {"learn.protocol": "pat"})


def test_a_rank_above_k_of_the_model() -> None:
    from l2sim.flow.l2ight.session import open_session

    with pytest.raises(JobError, match=r"learn\.rank = 10 is above k = 9 of conv1"):
        open_session(Job.preset("digits", {"learn.rank": 10}), None)


def test_quantiles_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        for count in (1, 2, 5, 11, 57):
            for share in (0.0, 0.3, 0.5, 0.6, 0.95):
                a = rng.standard_normal((count, 3)).astype(dtype)
                for values in (a, a[:, 0]):
                    expected = np.quantile(values, share, axis=0)
                    found = sampling.quantile(values, share)
                    assert found.dtype == expected.dtype
                    np.testing.assert_array_equal(found, expected)
