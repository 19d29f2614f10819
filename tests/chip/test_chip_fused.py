"""The fused operations of the simulated chip: the public path's results, counts and noise, faster."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from l2sim.backend import generator
from l2sim.chip import grid
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.nonidealities import PRESETS, Nonidealities
from l2sim.chip.protocol import Hardware, command
from l2sim.learn.search import calibrate, mapping, zeroth
from l2sim.learn.search.zeroth import Problem, State
from l2sim.mesh.mesh import KINDS
from tests.chip.test_chip import EXACT, changed, counts, random_chip
from tests.doubles import PUBLISHED, Sealed, random_commands, small_chip
from tests.tolerances import TRAJECTORY

IDEAL = PRESETS["ideal"]


@st.composite
def chips(draw: st.DrawFn) -> tuple[CoreChip, CoreChip, np.random.Generator]:
    """Two equal small random chips in the same random state, one to be used fused and one not."""
    seed = draw(st.integers(0, 2**32))
    bits = draw(st.sampled_from((0, 4, 8)))
    it = Nonidealities(
        phase_bits=bits,
        drive=draw(st.sampled_from(("phase", "voltage"))),
        phase_bias=draw(st.sampled_from((0.0, 1.0, np.pi))),
        # With no spread the levels 0 and 2 pi are the same rotation, and rounding would decide between them.
        gamma_std=draw(st.sampled_from((0.0, 0.002))) if bits == 0 else 0.002,
        crosstalk=draw(st.sampled_from((0.0, 0.005, 0.1))),
        stuck=draw(st.sampled_from((0.0, 0.2))),
        exact_sigma=draw(st.booleans()),
    )
    shape, k = draw(st.tuples(st.integers(1, 3), st.integers(1, 3))), draw(st.integers(2, 6))
    kind = draw(st.sampled_from(KINDS))
    pair = [random_chip(seed, shape=shape, k=k, it=it, kind=kind) for _ in range(2)]
    rng = generator(seed, "problem")
    if draw(st.booleans()):  # a core that is dark
        sigma = pair[0].state()[0]["sigma.commanded"].reshape(*shape, k)
        sigma[0, 0] = 0.0
        for chip in pair:
            chip.set_sigma(sigma)
    return *pair, rng


def agree(fused: CoreChip, slow: CoreChip, act: Callable[[Hardware], np.ndarray], scale: float = 1.0) -> None:
    """`act` gives the same on both, costs the same and leaves the same state."""
    results: list[np.ndarray] = []
    costs = [changed(chip, lambda hardware=h: results.append(act(hardware))) for chip, h in pairs(fused, slow)]
    np.testing.assert_allclose(results[0], results[1], rtol=0, atol=scale * TRAJECTORY / 10)
    waits = [cost.pop("settled", 0) for cost in costs]  # fused descent waits also where no core had to move
    assert costs[0] == costs[1] and waits[0] >= waits[1]
    assert all(np.array_equal(a, slow.state()[0][name]) for name, a in fused.state()[0].items())


def pairs(fused: CoreChip, slow: CoreChip) -> list[tuple[CoreChip, Hardware]]:
    return [(fused, fused), (slow, Sealed(slow))]


@settings(max_examples=60, deadline=None)
@given(chips(), st.sampled_from((1, 7)), st.sampled_from((0.0, 1e-3, 50.0)))
def test_fused_products(made: tuple, count: int, size: float) -> None:
    fused, slow, rng = made
    (p, q), k = fused.shape, fused.mesh.modes
    x, y = size * rng.normal(size=(q * k, count)), size * rng.normal(size=(p * k, count))
    cores = rng.random((p, q)) < 0.6
    scale = max(size, 1.0)
    agree(fused, slow, lambda h: grid.product(h, x), scale)
    agree(fused, slow, lambda h: grid.product_back(h, y), scale)
    agree(fused, slow, lambda h: grid.product_back(h, y, cores), scale)
    agree(fused, slow, lambda h: grid.product_back(h, y, np.zeros((p, q), bool)), scale)
    np.testing.assert_allclose(grid.product(fused, x).T @ y, x.T @ grid.product_back(fused, y), atol=1e-9 * scale**2)


@settings(max_examples=60, deadline=None)
@given(chips(), st.sampled_from((1, 7)))
def test_fused_sigma_gradient(made: tuple, count: int) -> None:
    fused, slow, rng = made
    (p, q), k = fused.shape, fused.mesh.modes
    x, dy = rng.normal(size=(q * k, count)), rng.normal(size=(p * k, count))
    mapped, rest = random_commands(fused, rng), random_commands(fused, rng)
    sigma = fused.state()[0]["sigma.commanded"].reshape(p, q, k)
    for chip in (fused, slow):
        command(chip, u=mapped, v=mapped)
    for _ in range(2):  # the second time from what the chip keeps
        agree(fused, slow, lambda h: grid.sigma_gradient(h, x, dy, mapped, rest, sigma))
    # sigma at one, then changed sigma and phases, with the same pseudo-identities
    for chip in (fused, slow):
        chip.set_sigma(np.ones((p, q, k)))
    agree(fused, slow, lambda h: grid.sigma_gradient(h, x, dy, mapped, rest, np.ones((p, q, k))))
    other = random_commands(fused, rng)
    for chip in (fused, slow):
        command(chip, u=other)
    moved = type(mapped)(
        {"u": other.phases["u"], "v": mapped.phases["v"]}, {"u": other.signs["u"], "v": mapped.signs["v"]}
    )
    agree(fused, slow, lambda h: grid.sigma_gradient(h, x, dy, moved, rest, np.ones((p, q, k))))


def test_the_sigma_gradient_is_the_gradient_when_the_pseudo_identities_are_perfect() -> None:
    chip = random_chip(it=IDEAL)
    rng = generator(5)
    x, dy = rng.normal(size=(9, 4)), rng.normal(size=(6, 4))
    mapped, sigma = random_commands(chip, rng), rng.normal(size=(2, 3, 3))
    still = calibrate.zero_phases(chip)
    rest = type(mapped)(still, {part: np.ones((2, 3, 3)) for part in "uv"})
    command(chip, u=mapped, v=mapped)
    chip.set_sigma(sigma)
    ours = grid.sigma_gradient(chip, x, dy, mapped, rest, sigma)
    step = 1e-6
    for at in np.ndindex(2, 3, 3):
        values = []
        for sign in (1, -1):
            moved = sigma.copy()
            moved[at] += sign * step
            chip.set_sigma(moved)
            values.append((dy * grid.product(chip, x)).sum())
        assert ours[at] == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-7)


@settings(max_examples=60, deadline=None)
@given(chips(), st.sampled_from(("zcd", "ztp")), st.booleans())
def test_fused_descent(made: tuple, rule: str, calibrating: bool) -> None:
    fused, slow, rng = made
    (p, q), k = fused.shape, fused.mesh.modes
    start = random_commands(fused, rng).phases
    order = rng.permutation(fused.mesh.count)
    gain, target = rng.uniform(0.5, 2, (p, q, k)), rng.normal(size=(p, q, k, k))
    lr = rng.uniform(0.03, 0.5, (p, q))
    found: dict[int, State] = {}

    def act(hardware: Hardware) -> np.ndarray:
        task = calibrate.problem(hardware) if calibrating else Problem(hardware, gain, target)
        state = zeroth.start(task, zeroth.Search(rule), {part: a.copy() for part, a in start.items()})
        state.lr[:] = lr
        for part in "uv":
            zeroth.descend(rule, task, state, part, order)
        found[id(hardware)] = state
        return np.concatenate([state.loss.ravel(), state.u.ravel(), state.v.ravel()])

    agree(fused, slow, act, scale=10.0)
    state = found[id(fused)]
    np.testing.assert_allclose(fused.mesh.gather(state.u).reshape(p * q, -1), fused.state()[0]["u.phases"], atol=0)
    task = calibrate.problem(fused) if calibrating else Problem(fused, gain, target)
    np.testing.assert_allclose(task.loss(), state.loss, atol=1e-11 * max(1.0, state.loss.max()))


NOISY = Nonidealities(phase_bits=8, phase_bias=1.0, readout_noise=0.05)


def test_fused_products_have_the_noise_of_the_public_path() -> None:
    """Mean and spread of every output, and the shape of the whole, over many readings."""
    fused, slow = (random_chip(it=NOISY) for _ in range(2))
    count = 20_000
    x, y = (np.repeat(generator(2, side).normal(size=(rows, 1)), count, axis=1) for side, rows in (("x", 9), ("y", 6)))
    cores = np.array([[True, False, True], [True, True, False]])
    for act in (
        lambda h: grid.product(h, x),
        lambda h: grid.product_back(h, y),
        lambda h: grid.product_back(h, y, cores),
    ):
        one, two = act(fused), act(Sealed(slow))
        spread = two.std(axis=1)
        assert (spread > 0.01).all()
        np.testing.assert_allclose(one.std(axis=1), spread, rtol=0.04)
        assert (np.abs(one.mean(axis=1) - two.mean(axis=1)) < 5 * spread * np.sqrt(2 / count)).all()
        assert min(stats.ks_2samp(a, b).pvalue for a, b in zip(one, two)) > 1e-4
        assert np.abs(np.corrcoef(one) - np.eye(len(one))).max() < 0.04


@pytest.mark.parametrize("order", ("published", "layer"))
@pytest.mark.parametrize("gains", ((1.0, 1.0, 1.0), (1.0, 2.0, 0.5), (1.0, 0.0, 1.0)))
@pytest.mark.parametrize("rule", ("zcd", "ztp"))
def test_noisy_descent_has_the_statistics_of_the_public_path(
    rule: str, gains: tuple[float, ...], order: str
) -> None:
    """Many equal cores descend once: what they reach and read is distributed alike, whatever the path."""
    found = []
    for seal in (lambda c: c, Sealed):
        chip = small_chip((1, 4000), 3, Nonidealities(readout_noise=0.05))
        hardware = seal(chip)
        sigma = np.broadcast_to([1.0, 0.6, 0.3], (1, 4000, 3))
        hardware.set_sigma(sigma)
        gain = np.broadcast_to(gains, (1, 4000, 3))
        task = Problem(hardware, gain, np.broadcast_to(np.diag([1.0, 0.6, 0.3]), (1, 4000, 3, 3)))
        phases = {part: np.full((1, 4000, *chip.mesh.shape), 0.2) for part in "uv"}
        state = zeroth.start(task, zeroth.Search(rule), phases)
        before = counts(chip)["evaluations"]
        for part in "uv":
            zeroth.descend(rule, task, state, part, np.arange(3))
        chip.nonidealities = IDEAL
        found.append((state.loss.ravel(), task.loss().ravel(), counts(chip)["evaluations"] - before))
    for one, two in zip(found[0][:2], found[1][:2]):
        assert stats.ks_2samp(one, two).pvalue > 1e-4
        assert one.mean() == pytest.approx(two.mean(), rel=0.05)
    assert found[0][2] == found[1][2]


def test_noise_is_drawn_in_pieces_when_cores_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of the pieces, every core has variates of its own and is swept."""
    monkeypatch.setattr("l2sim.chip.fused.descent.VARIATES_BYTES", 1000)
    chip = small_chip((3, 5), 3, NOISY)
    task = calibrate.problem(chip)
    state = zeroth.start(task, zeroth.Search("zcd"), calibrate.zero_phases(chip))
    before = state.u.copy()
    zeroth.descend("zcd", task, state, "u", np.arange(3))
    moved = (state.u != before).any(axis=(-1, -2))
    assert moved.all() and np.unique(state.loss).size == 15


def test_mapping_an_all_zero_block() -> None:
    chip = small_chip((2, 2), 3, PUBLISHED)
    weight = np.zeros((6, 6))
    weight[:3, :3] = generator(1).normal(size=(3, 3))
    aim = mapping.target(chip, weight)
    assert all(np.isfinite(a).all() for a in (aim.sigma, *aim.commands.phases.values(), mapping.error_scale(aim)))
    mapping.deploy(chip, aim)
    assert not grid.respond(chip)[1, 1].any()
    task = mapping.problem(chip, aim)
    assert task.loss()[1, 1] == 0.0
    ideal = small_chip((2, 2), 3, IDEAL)
    mapping.deploy(ideal, aim)
    np.testing.assert_allclose(ideal.oracle_weights(), aim.weight, atol=EXACT)
