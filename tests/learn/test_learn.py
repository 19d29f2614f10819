"""Calibration, mapping, sampling and training: what each must achieve, on small chips."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from l2sim.backend import generator
from l2sim.chip import grid
from l2sim.chip.nonidealities import PRESETS
from l2sim.chip.protocol import Commands, Hardware, command
from l2sim.learn import sampling, train
from l2sim.learn.search import calibrate, mapping, zeroth
from l2sim.learn.search.zeroth import Problem, Search, State
from l2sim.nn import models, network, optim
from l2sim.nn.photonic import PhotonicWeight
from tests.doubles import PUBLISHED, random_commands, small_chip
from tests.tolerances import kernel

EXACT = kernel(np.float64)
IDEAL = PRESETS["ideal"]


def calibrated(chip: Hardware, method: str = "zcd", epochs: int = 60, **options: object) -> tuple[Problem, State]:
    task = calibrate.problem(chip)
    how = Search(method, **({"shuffle": True} | options))
    state = zeroth.start(task, how, calibrate.zero_phases(chip))
    for e in range(epochs):
        zeroth.METHODS[method](task, how, state, generator(1, "calibrate", e))
    return task, state


# -- calibration -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ("zcd", "ztp"))
def test_calibration_finds_identities(method: str) -> None:
    chip = small_chip((3, 4), 4)
    before = calibrate.problem(chip).loss()
    _, state = calibrated(chip, method, 150)
    assert (state.best < before).all() and np.median(state.best) < 0.05 * np.median(before)
    rest = calibrate.pseudo_identities(chip, state)
    command(chip, u=rest, v=rest)
    errors = [((np.abs(chip.oracle_matrix(part)) - np.eye(4)) ** 2).mean() for part in "uv"]
    assert max(errors) < 0.03, "identities up to signs"
    np.testing.assert_allclose(calibrate.problem(chip).loss(), state.best, atol=EXACT)


def test_gradient_descent_lowers_the_loss() -> None:
    chip = small_chip((2, 2), 3)
    before = calibrate.problem(chip).loss()
    _, state = calibrated(chip, "zgd", 30, lr=0.5)
    assert (state.best <= before).all() and state.best.mean() < 0.7 * before.mean()


@pytest.mark.parametrize("method", ("zcd", "ztp", "zgd"))
@pytest.mark.parametrize("noise", (0.0, 0.02))
def test_the_best_record_is_never_worse(method: str, noise: float) -> None:
    chip = small_chip((2, 2), 3, msgspec.structs.replace(PUBLISHED, readout_noise=noise))
    task, how = calibrate.problem(chip), Search(method, lr=0.3, shuffle=True)
    state = zeroth.start(task, how, calibrate.zero_phases(chip))
    best = state.best.copy()
    for e in range(8):
        zeroth.METHODS[method](task, how, state, generator(1, e))
        assert (state.best <= best).all()
        best = state.best.copy()
    if noise == 0.0:
        chip.set_phases(**state.phases(best=True))
        np.testing.assert_allclose(task.loss(), best, atol=EXACT)


@pytest.mark.parametrize("method", ("zcd", "ztp", "zgd"))
def test_without_a_record_the_last_counts(method: str) -> None:
    _, state = calibrated(small_chip((2, 2), 3), method, 5, best_record=False, lr=0.3)
    assert np.array_equal(state.best, state.loss)
    assert np.array_equal(state.best_u, state.u) and np.array_equal(state.best_v, state.v)


def test_ternary_probing_never_climbs() -> None:
    chip = small_chip((2, 3), 4)
    task, how = calibrate.problem(chip), Search("ztp")
    state = zeroth.start(task, how, calibrate.zero_phases(chip))
    for e in range(10):
        before = state.loss.copy()
        zeroth.ztp(task, how, state, generator(e))
        assert (state.loss <= before + EXACT).all()


def test_the_step_shrinks_to_its_floor() -> None:
    how = Search("zcd", lr=0.2, decay=0.5, floor=0.03)
    chip = small_chip()
    task = calibrate.problem(chip)
    state = zeroth.start(task, how, calibrate.zero_phases(chip))
    seen = []
    for e in range(4):
        seen.append(state.lr[0, 0])
        zeroth.zcd(task, how, state, generator(e))
    assert seen == pytest.approx([0.2, 0.1, 0.05, 0.03])


def test_restarts_are_bounded() -> None:
    """An error that no search can bring down restarts for ever; the stage still ends."""
    chip = small_chip((1, 2), 3)
    task = calibrate.problem(chip)
    how = Search("zcd", adaptive=True, threshold=-1.0)
    state = zeroth.start(task, how, calibrate.zero_phases(chip))
    done = 0
    while not zeroth.searched(state, 5, done):
        zeroth.zcd(task, how, state, generator(done))
        assert (state.clock == 0).all() and state.lr == pytest.approx(0.1)
        done += 1
    assert done == 10


def test_polish_starts_from_the_best_and_never_takes_a_step_for_the_worse() -> None:
    chip = small_chip((3, 4), 4)
    task, how = calibrate.problem(chip), Search("zcd", lr=0.3, floor=0.2)
    state = zeroth.start(task, how, calibrate.zero_phases(chip))
    for e in range(8):
        zeroth.zcd(task, how, state, generator(e))
    best, jitters = state.best.copy(), state.loss > state.best
    assert jitters.any()
    previous = best
    for e in range(6):
        zeroth.polish(task, how, state, generator(e))
        assert (state.loss <= previous + 1e-12).all()
        previous = state.loss.copy()
    assert state.polished == 6 and (state.best < best - 1e-6).any()
    np.testing.assert_allclose(state.best, state.loss, atol=1e-12)


def test_the_probe_is_better_conditioned_than_the_published_one() -> None:
    def ratio(probe: np.ndarray) -> float:
        return float((probe[1:] / probe[:-1]).min())

    for k in (4, 9, 16):
        chip = small_chip((1, 1), k)
        probe = 1.0 / calibrate.problem(chip).gain[0, 0]
        assert ratio(probe) > ratio(np.linspace(0.1, 1.0, k)) and probe[-1] == pytest.approx(1.0)


def test_only_cores_with_a_large_error_restart() -> None:
    chip = small_chip((4, 4), 4)
    task, plain = calibrate.problem(chip), Search("zcd", lr=0.1)
    state = zeroth.start(task, plain, calibrate.zero_phases(chip))
    for e in range(20):
        zeroth.zcd(task, plain, state, generator(e))
    threshold = float(np.median(state.loss))
    how = Search("zcd", adaptive=True, threshold=threshold, threshold_growth=1.5)
    state.threshold = np.array(threshold)
    zeroth.zcd(task, how, state, generator(99))
    far = state.clock == 0
    assert 0 < far.sum() < 16 and (state.clock[~far] == 21).all()
    assert state.lr[far] == pytest.approx(0.1) and (state.lr[~far] < 0.1).all()
    assert state.threshold == pytest.approx(1.5 * threshold)
    np.testing.assert_allclose(task.loss(), state.loss, atol=EXACT, err_msg="the losses are those after the nudge")
    assert not state.u[..., ~chip.mesh.mask].any(), "places without an MZI stay zero"


def test_a_search_goes_on_from_its_arrays() -> None:
    one, two = (small_chip((2, 2), 3) for _ in range(2))
    how = Search("zgd", lr=0.5)
    _, wanted = calibrated(one, "zgd", 6, lr=0.5)
    task, state = calibrated(two, "zgd", 3, lr=0.5)
    state = zeroth.restore({name: array.copy() for name, array in state.arrays().items()})
    for e in range(3, 6):
        zeroth.zgd(task, how, state, generator(1, "calibrate", e))
    assert all(a.tobytes() == wanted.arrays()[name].tobytes() for name, a in state.arrays().items())


def test_evaluations_are_counted_by_stage() -> None:
    chip = small_chip((2, 3), 4)
    n = chip.mesh.count
    with chip.meter.stage("calibrate"):
        calibrated(chip, "zcd", 3)
    with chip.meter.stage("gradient"):
        calibrated(chip, "zgd", 2)
    counts = chip.meter.state()
    assert counts["calibrate"]["evaluations"] == 6 * (1 + 3 * 4 * n)
    assert counts["gradient"]["evaluations"] == 6 * (1 + 2 * 4 * n)
    assert all(c["core_calls"] == 4 * c["evaluations"] for c in counts.values())


# -- mapping -----------------------------------------------------------------------------------------------------------


def weights(*shape: int) -> np.ndarray:
    return generator(5, "weights").normal(size=shape)


@pytest.mark.parametrize("k", (2, 3, 5, 8))
def test_an_ideal_chip_is_deployed_exactly(k: int) -> None:
    chip = small_chip((2, 3), k, IDEAL)
    weight = weights(2 * k - 1, 3 * k)
    aim = mapping.target(chip, weight)
    mapping.deploy(chip, aim)
    whole = chip.oracle_weights().transpose(0, 2, 1, 3).reshape(2 * k, 3 * k)
    np.testing.assert_allclose(whole[:-1], weight, atol=10 * EXACT)
    assert mapping.problem(chip, aim).loss().max() < 1e-20


@pytest.mark.parametrize("method", ("zcd", "ztp"))
@pytest.mark.parametrize("from_calibrated", (False, True))
def test_the_mapping_error_falls(method: str, from_calibrated: bool) -> None:
    chip = small_chip((2, 3), 4)
    rest = None
    if from_calibrated:
        rest = calibrate.pseudo_identities(chip, calibrated(chip, "zcd", 100)[1])
    aim = mapping.target(chip, weights(8, 12))
    task, how = mapping.problem(chip, aim), Search(method)
    state = zeroth.start(task, how, mapping.start_phases(aim, rest))
    before = state.loss * mapping.error_scale(aim)
    for e in range(60):
        zeroth.METHODS[method](task, how, state, generator(e))
    after = state.best * mapping.error_scale(aim)
    assert (after <= before).all() and after.mean() < 0.3 * before.mean() and after.mean() < 0.1


def test_calibrated_phases_are_a_better_start() -> None:
    chip = small_chip((3, 4), 4)
    rest = calibrate.pseudo_identities(chip, calibrated(chip, "zcd", 200)[1])
    aim = mapping.target(chip, weights(12, 16))
    task = mapping.problem(chip, aim)
    losses = [zeroth.start(task, Search("zcd"), mapping.start_phases(aim, r)).loss.mean() for r in (None, rest)]
    assert losses[1] < 0.6 * losses[0]


def test_the_error_scale_is_the_published_norm() -> None:
    chip = small_chip((2, 2), 3, msgspec.structs.replace(PUBLISHED, exact_sigma=True))
    aim = mapping.target(chip, weights(6, 6))
    task = mapping.problem(chip, aim)
    seen = chip.oracle_weights()
    error = ((seen - aim.weight) ** 2).sum((2, 3)) / (seen**2).sum((2, 3))
    np.testing.assert_allclose(task.loss() * mapping.error_scale(aim), error, rtol=1e-9)


def test_the_projection_is_optimal_with_perfect_pseudo_identities() -> None:
    """Whatever the meshes ended at: least squares, which NumPy solves independently."""
    chip = small_chip((2, 3), 4, IDEAL)
    aim = mapping.target(chip, weights(8, 12))
    mapped = random_commands(chip, generator(3))
    rest = Commands(calibrate.zero_phases(chip), {part: np.ones((2, 3, 4)) for part in "uv"})
    before = chip.meter.state().get("idle", {"evaluations": 0})["evaluations"]
    sigma = mapping.project(chip, aim, mapped, rest)
    assert chip.meter.state()["idle"]["evaluations"] - before == 2 * 6
    u, v = chip.oracle_matrix("u"), chip.oracle_matrix("v")
    for at in np.ndindex(2, 3):
        columns = np.stack([np.outer(u[at][:, i], v[at][i]).ravel() for i in range(4)], axis=1)
        best = np.linalg.lstsq(columns, aim.weight[at].ravel(), rcond=None)[0]
        np.testing.assert_allclose(sigma[at], best, atol=1e-10)


def test_keeping_the_better_sigma() -> None:
    chip = small_chip((2, 3), 4, msgspec.structs.replace(PUBLISHED, exact_sigma=True))
    aim = mapping.target(chip, weights(8, 12))
    task = mapping.problem(chip, aim)
    best = np.einsum("pqji,pqjk,pqik->pqi", chip.oracle_matrix("u"), aim.weight, chip.oracle_matrix("v"))
    bad = best.copy()
    bad[0, 0], bad[1, 2] = 9.0, -9.0
    kept = mapping.keep_better(task, bad, aim.sigma)
    worse = np.zeros((2, 3), bool)
    worse[0, 0] = worse[1, 2] = True
    assert np.array_equal(kept[worse], aim.sigma[worse]) and np.array_equal(kept[~worse], best[~worse])
    assert np.array_equal(chip.state()[0]["sigma.commanded"].reshape(2, 3, 4), kept)


# -- sampling ----------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.floats(0, 0.95), st.integers(0, 1000))
def test_balanced_top_k_keeps_the_largest_of_every_column(p: int, q: int, sparsity: float, seed: int) -> None:
    place = sparsity * (p - 1)
    assume(sparsity == 0 or abs(place - round(place)) > 1e-6)  # there rounding decides whether the threshold is kept
    sigma = generator(seed).normal(size=(p, q, 3))
    norms = np.linalg.norm(sigma, axis=-1)
    mask, factor = sampling.feedback("btopk", sparsity, "exp")(sigma, generator(0))
    assert mask.shape == (p, q) and np.ptp(mask.sum(axis=0)) == 0, "as many in every column"
    assert mask.sum(axis=0)[0] == p - int(np.ceil(place))
    for j in range(q):
        if not mask[:, j].all():
            assert norms[mask[:, j], j].min() > norms[~mask[:, j], j].max()
    assert factor == pytest.approx(p * q / mask.sum())


def test_global_top_k_keeps_the_largest_of_all() -> None:
    sigma = generator(1).normal(size=(10, 10, 4))
    norms = np.linalg.norm(sigma, axis=-1)
    mask, _ = sampling.feedback("gtopk", 0.6, "none")(sigma, generator(0))
    assert mask.sum() == 40 and norms[mask].min() > norms[~mask].max()
    assert np.ptp(mask.sum(axis=0)) > 0


@pytest.mark.parametrize("norm, expected", (("none", 1.0), ("exp", 1 / 0.4), ("var", 1 / np.sqrt(0.4))))
def test_factors(norm: str, expected: float) -> None:
    assert sampling.factor(norm, 0.4) == pytest.approx(expected)
    assert np.isfinite(sampling.factor(norm, 0.0))
    assert sampling.factor(norm, 1.0) == pytest.approx(1.0)


@pytest.mark.parametrize("sparsity", (0.0, 0.3, 0.6, 0.9))
def test_random_masks_keep_their_share(sparsity: float) -> None:
    masks = [
        sampling.feedback("uniform", sparsity, "none")(np.ones((100, 100, 2)), generator(1))[0],
        sampling.columns(sparsity, "none")(10_000, generator(2))[0],
    ]
    for mask in masks:
        assert mask.mean() == pytest.approx(1 - sparsity, abs=0.02)
        assert sparsity > 0 or mask.all()


def test_uniform_feedback_with_exp_is_unbiased() -> None:
    """The mean over many masks of the sampled error is the whole error, within its statistical error."""
    chip = small_chip((4, 5), 3, IDEAL)
    rng = generator(6)
    chip.set_sigma(rng.normal(size=(4, 5, 3)))
    y, rounds = rng.normal(size=(12, 1)), 3000
    sample = sampling.feedback("uniform", 0.4, "exp")
    draws = []
    for i in range(rounds):
        mask, factor = sample(np.ones((4, 5, 3)), generator(7, i))
        draws.append(factor * grid.product_back(chip, y, mask))
    draws = np.stack(draws)
    error = draws.std(axis=0) / np.sqrt(rounds)
    whole = grid.product_back(chip, y)
    assert (np.abs(draws.mean(axis=0) - whole) < 5 * error).all()
    assert (np.abs(draws.mean(axis=0) * 0.6 - whole) > 5 * error).mean() > 0.5, "without the factor it would be biased"


# -- subspace learning -------------------------------------------------------------------------------------------------

SPEC = models.ModelSpec(
    "tiny",
    (1, 6, 6),
    3,
    (models.Conv(4, 3, 2, 1, k=3), models.BatchNorm(), models.ReLUN(6), models.Flatten(), models.Linear(3, k=4)),
)


def photonic(noise: float = 0.0) -> network.Network:
    """A small network on calibrated chips."""

    def make_weight(name: str, out_features: int, in_features: int, k: int) -> PhotonicWeight:
        shape = -(-out_features // k), -(-in_features // k)
        chip = small_chip(shape, k, name=name)
        rest = calibrate.pseudo_identities(chip, calibrated(chip, "zcd", 100)[1])
        chip.nonidealities = msgspec.structs.replace(PUBLISHED, readout_noise=noise)
        mapped, rng = random_commands(chip, generator(8, name)), generator(9, name)
        command(chip, u=mapped, v=mapped)
        weight = PhotonicWeight(chip, out_features, in_features, mapped, rest, rng.uniform(0.2, 1, (*shape, k)))
        weight.write()
        return weight

    return network.build(SPEC, make_weight)


def patterns(count: int = 90) -> tuple[np.ndarray, np.ndarray]:
    rng = generator(10)
    labels = rng.integers(0, 3, count)
    return rng.normal(size=(3, 1, 6, 6))[labels] + 0.3 * rng.normal(size=(count, 1, 6, 6)), labels


def learn(net: network.Network, epochs: int, skip: float = 0.0, seed: int = 11) -> list[dict[str, float]]:
    step, steps = train.descent(net, optim.start("adamw", net.parameters()), weight_decay=0.01), []
    for e in range(epochs):
        steps += train.epoch(
            *patterns(), step, batch=8, lr=0.02, skip=skip,
            stream=lambda name, e=e: generator(seed, e, name),
        )  # fmt: skip
    return steps


def test_sigma_learns() -> None:
    net = photonic()
    before = train.test(net, *patterns())
    learn(net, 6)
    after = train.test(net, *patterns())
    assert after["loss"] < 0.5 * before["loss"] and after["accuracy"] > max(0.9, before["accuracy"])


def test_an_epoch_is_determined_by_its_streams() -> None:
    nets = [photonic(0.02) for _ in range(3)]
    runs = [learn(net, 1, skip=0.3, seed=seed) for net, seed in zip(nets, (11, 11, 12))]
    assert runs[0] == runs[1] != runs[2]
    assert all(np.array_equal(a, nets[1].state()[name]) for name, a in nets[0].state().items())


def test_an_epoch_sees_every_image_once() -> None:
    net, (images, labels) = photonic(), patterns(21)
    seen, forward = [], net.forward

    def spy(x: np.ndarray, **options: object) -> np.ndarray:
        seen.append(x)
        return forward(x, **options)

    net.forward = spy
    steps = list(
        train.epoch(
            images, labels, train.descent(net, optim.start("sgd", net.parameters()), 0.0), batch=5, lr=0.0,
            stream=lambda name: generator(1, name),
        )
    )  # fmt: skip
    assert [len(x) for x in seen] == [5, 5, 5, 5, 1] and len(steps) == 5
    order = lambda a: a.reshape(len(a), -1)[np.argsort(a[:, 0, 0, 0])]  # noqa: E731
    assert np.array_equal(order(np.concatenate(seen)), order(images)) and not np.array_equal(seen[0], images[:5])


def test_data_sampling_leaves_mini_batches_out() -> None:
    net = photonic()
    costs = []
    for skip in (0.0, 0.5, 1.0):
        weight = net.weights["fc1"]
        before = weight.hardware.meter.state()["idle"]["core_calls"]
        parameters = net.state()
        steps = learn(net, 8, skip)
        costs.append(weight.hardware.meter.state()["idle"]["core_calls"] - before)
        full = 8 * 12
        assert len(steps) == pytest.approx(full * (1 - skip), abs=0.2 * full * (0 < skip < 1))
        if skip == 1.0:
            assert all(np.array_equal(a, parameters[name]) for name, a in net.state().items()), "nothing happens"
    assert costs[2] == 0 < costs[1] < 0.7 * costs[0]


def test_the_trained_sigma_is_on_the_chip() -> None:
    net = photonic()
    learn(net, 1)
    for weight in net.weights.values():
        assert np.array_equal(weight.hardware.state()[0]["sigma.commanded"].reshape(weight.sigma.shape), weight.sigma)


def test_testing_is_independent_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    net = photonic()
    wanted = train.test(net, *patterns())
    monkeypatch.setattr(train, "TEST_BATCH", 7)
    assert train.test(net, *patterns()) == pytest.approx(wanted, rel=1e-12)


def test_rates() -> None:
    assert train.rate("cosine", 1.0, 0, 10, 0.9, 0.1) == 1.0
    assert train.rate("cosine", 1.0, 10, 10, 0.9, 0.1) == pytest.approx(0.1)
    assert train.rate("exponential", 1.0, 3, 10, 0.5, 0.0) == 0.125
    assert train.rate("exponential", 1.0, 9, 10, 0.5, 0.1) == 0.1
