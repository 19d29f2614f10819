"""What a training step is made of on a GPU: few launches, and random numbers drawn there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from benchmarks import chips, steps
from l2sim import backend, streams
from l2sim.backend import generator, kernels
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.nonidealities import PRESETS, Nonidealities
from l2sim.chip.parts import attenuators
from l2sim.learn.search import calibrate, zeroth
from l2sim.nn import models, optim
from l2sim.nn.network import Network
from tests.device import GPU, host, put, xp
from tests.kernels.test_cuda_kernels import both
from tests.tolerances import DTYPES, kernel

cuda = kernels.cuda
BEFORE = {False: 51 + 518, True: 51 + 687}
"""Launches and operations on arrays of a step of VGG8, dense and sampled, when each parameter was updated by a dozen
operations of its own and each chip took some thirty to take in its sigma."""
NOISY = {False: 154 + 1000, True: 154 + 1144}
"""The same with readout noise, when gradients of sigma were read one reading after the other."""


SWEEPS = {0.0: 48 + 492, 0.01: 60 + 744}
"""The same of an epoch of calibration, by readout noise, when each layer descended in launches of its own."""


@pytest.fixture
def vgg8(monkeypatch: pytest.MonkeyPatch) -> Network:
    """VGG8 on chips whose kernels do nothing: the simulator would take hours for them."""

    def run(kernel: Any, blocks: Any, *_: Any) -> None:
        kernels.simulated.counted["launches"] += bool(np.prod(blocks))

    every = [getattr(cuda, family) for family in cuda.FAMILIES]  # all are there before one of them is changed
    for family in every:
        if hasattr(family, "run"):
            monkeypatch.setattr(family, "run", run)
    monkeypatch.setattr(chips, "DEVICE", backend.device("cuda"))
    monkeypatch.setattr(chips, "TINY", models.get("vgg8"))
    return chips.photonic("vgg8", generator(1))


def counted(work: Callable[[], object]) -> dict[str, int]:
    """What `work` launches, and its operations on arrays; without those that the first time takes."""
    with np.errstate(all="ignore"):  # of memory that nobody filled
        work()
        kernels.simulated.counted.update(launches=0, operations=0)
        work()
    return dict(kernels.simulated.counted)


def chips_of(network: Network, noise: float) -> list[CoreChip]:
    """The chips of a network, with readout noise."""
    own = [weight.hardware for weight in network.weights.values()]
    for chip in own:
        chip.nonidealities = msgspec.structs.replace(chip.nonidealities, readout_noise=noise)
    return own


@pytest.mark.skipif(GPU, reason="only the simulator counts")
def test_a_step_of_vgg8_launches_less_than_half_of_what_it_did(vgg8: Network) -> None:
    step = steps.stepper(vgg8, 2)
    for sampled, before in BEFORE.items():
        now = counted(lambda sampled=sampled: step(sampled))
        assert 40 < now["launches"] <= 48, now
        assert sum(now.values()) <= before / 2, now
    chips_of(vgg8, 0.01)
    for sampled, before in NOISY.items():
        now = counted(lambda sampled=sampled: step(sampled))
        assert sum(now.values()) <= before / 2, now


@pytest.mark.skipif(GPU, reason="only the simulator counts")
@pytest.mark.parametrize("noise", SWEEPS)
def test_all_layers_of_vgg8_descend_in_two_launches(
    noise: float, vgg8: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    way, searches, cores = zeroth.Search("zcd", shuffle=True), [], []
    real = cuda.descent.descend

    def noted(*args: Any) -> None:
        cores.append(len(args[1]))
        real(*args)

    monkeypatch.setattr(cuda.descent, "descend", noted)
    own = chips_of(vgg8, noise)
    for chip in own:
        problem = calibrate.problem(chip)
        with np.errstate(all="ignore"):
            searches.append((problem, way, zeroth.start(problem, way, calibrate.zero_phases(chip))))
    now = counted(lambda: zeroth.together(zeroth.zcd_steps(*one, generator(2)) for one in searches))
    assert cores == 2 * 2 * [sum(chip.shape[0] * chip.shape[1] for chip in own)], "U and V"
    assert sum(now.values()) < SWEEPS[noise], now


# -- optimisers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name, settings", (
    ("adamw", {"weight_decay": 0.1}), ("adam", {"weight_decay": 0.1}), ("adam", {"betas": (0.8, 0.9), "eps": 1e-3}),
    ("sgd", {"weight_decay": 0.1}), ("sgd", {"nesterov": False, "momentum": 0.5}),
))  # fmt: skip
def test_all_parameters_are_updated_in_one_launch(name: str, settings: dict[str, Any], dtype: type) -> None:
    rng = generator(1, name)
    shapes = {"a.weight": (3, 4), "b.weight": (2,), "c.weight": (1, 2, 3)}
    here = {key: rng.normal(size=shape).astype(dtype) for key, shape in shapes.items()}
    there = {key: put(np.copy(a)) for key, a in here.items()}
    ours, theirs = optim.start(name, there), optim.start(name, here)
    for number in range(3):
        gradients = {key: rng.normal(size=a.shape).astype(dtype) for key, a in here.items()}
        pushed = {key: put(a) for key, a in gradients.items()}
        before = dict(kernels.simulated.counted)
        optim.step(ours, there, pushed, lr=0.01, **settings)
        assert GPU or kernels.simulated.counted["launches"] == before["launches"] + 1, number
        optim.step(theirs, here, gradients, lr=0.01, **settings)
    for key, wanted in here.items():
        np.testing.assert_allclose(host(there[key]), wanted, rtol=0, atol=kernel(dtype))
    saved, wanted_state = optim.state(ours), optim.state(theirs)
    assert saved.keys() == wanted_state.keys()
    for key, wanted in wanted_state.items():
        np.testing.assert_allclose(host(saved[key]), wanted, rtol=0, atol=kernel(dtype))


def test_parameters_that_are_not_in_one_piece_are_updated_one_by_one() -> None:
    values, slope = generator(2).normal(size=(4, 3)), generator(3).normal(size=(3, 4))
    here, there = {"a.weight": values.copy().T}, {"a.weight": put(values).T}
    for parameters, gradient in ((here, slope), (there, put(slope))):
        optim.step(optim.start("sgd", parameters), parameters, {"a.weight": gradient}, lr=0.1)
    np.testing.assert_allclose(host(there["a.weight"]), here["a.weight"], rtol=0, atol=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sheet", (PRESETS["l2ight-2021"], PRESETS["ideal"], Nonidealities(gamma_std=0.1)))
def test_attenuators(sheet: Nonidealities, dtype: type) -> None:
    rng = generator(4)
    sigma, before = (rng.uniform(-1, 1, (4, 3)).astype(dtype) for _ in range(2))
    sigma[1], before[2], sigma[3] = 0.0, sigma[2], 1.0
    ratio = 1.0 + 0.01 * rng.normal(size=(4, 3))
    for tilt in (rng.uniform(-0.5, 0.5, (4, 3)), None):
        wanted = attenuators.of_cores(sigma, ratio, sheet, tilt)
        kept = put(before)
        there = None if tilt is None else put(tilt)
        *found, told = attenuators.commanded(put(sigma), kept, put(ratio), sheet, there)
        for a, b in zip(found, wanted):
            np.testing.assert_allclose(host(a), b, rtol=0, atol=kernel(dtype, 8))
    assert np.array_equal(host(kept), sigma)
    assert host(told).tolist() == [np.count_nonzero(sigma != before), 0, np.count_nonzero(sigma != 1.0)]
    odd = sigma.copy()
    odd[0, :2] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        assert host(attenuators.commanded(put(odd), kept, put(ratio), sheet)[2])[1] == 2


# -- random numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page, key", ((0, (1, 2)), ((1 << 40) + 3, (0xFFFFFFFF, 0x9E3779B9))))
def test_words_are_those_of_the_host_bit_for_bit(page: int, key: tuple[int, int]) -> None:
    own = np.empty((4, 5), np.uint32)
    first = (1 << 33) + 7
    kernels.draws.words(np.uint64(first), page, 3, np.array(key, np.uint32), *own)
    if GPU:
        found = xp.empty((4, 5), np.uint32)
        cuda.launch.spread(WORDS, 5, first, page, 3, *key, found)
        assert np.array_equal(host(found), own)
    else:
        theirs = [cuda.draws.words(first + at, page, 3, *key) for at in range(5)]
        assert np.array_equal(np.array(theirs, np.uint64).T, own)


if GPU:
    from numba import cuda as compiler

    words = cuda.draws.words

    @compiler.jit
    def WORDS(first: int, page: int, attempt: int, k0: int, k1: int, out: Any) -> None:
        """Words of places from `first` on."""
        for at in range(compiler.grid(1), out.shape[1], compiler.gridsize(1)):
            out[0, at], out[1, at], out[2, at], out[3, at] = words(first + at, page, attempt, k0, k1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_numbers_are_those_of_the_host(dtype: type) -> None:
    ours, theirs = streams.Stream(1, "noise"), streams.Stream(1, "noise")
    for shape in ((3,), (kernels.draws.NUMBERS + 5,), (2, 700)):  # tiles of 1,024, the last not whole
        wanted, found = theirs.normal(shape, dtype), ours.normal(shape, dtype, xp)
        assert found.dtype == dtype and found.shape == shape
        np.testing.assert_allclose(host(found), wanted, rtol=0, atol=1e-5)
    std = generator(5).uniform(0.1, 1, 3).astype(dtype)
    for turn in (False, True):
        here, there = np.ones((3, 50), dtype), put(np.ones((50, 3), dtype)).T if turn else put(np.ones((3, 50), dtype))
        theirs.add(std, here)
        ours.add(put(std), there)
        np.testing.assert_allclose(host(there), here, rtol=0, atol=1e-5)
    assert ours.state() == theirs.state(), "the same page, wherever it was drawn"


@pytest.mark.parametrize("law", (
    streams.chi_squares(np.array([0, 1, 2, 15])), streams.chi_squares(np.full(4, -1)),
    streams.weighted(np.array([[1.0, 0.5, 0.25], [1.0, 0.9, 0.0], [1, 1, 1], [0.3, 0.2, 0.1]]), np.array([1, 3, 2, 0])),
))  # fmt: skip
@pytest.mark.parametrize("dtype", DTYPES)
def test_readings_are_those_of_the_host(law: streams.Law, dtype: type) -> None:
    ours, theirs = streams.Stream(2, "readings"), streams.Stream(2, "readings")
    wanted = theirs.readings(law, 5, 3, 40, dtype)
    found = host(ours.readings(law, 5, 3, 40, dtype, xp))
    # An attempt at a gamma is taken or not by a comparison: rounding may decide otherwise, of a million once.
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    part = host(ours.readings(law.of(slice(2, 4)), 5, 5, 40, dtype, xp))
    assert np.array_equal(part, found[2:]), "in pieces as at once"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("own", (False, True))
def test_sums_of_noisy_products_are_those_of_the_host(own: bool, dtype: type) -> None:
    """`own`: every block column has errors of its own."""
    p, q, k, rng = 2, 3, 3, generator(4, "noisy")
    left, right = (rng.normal(size=(p * q, k, k)).astype(dtype) for _ in range(2))
    x, dy, dot = (rng.normal(size=size).astype(dtype) for size in ((8, 6), (5, 6), (p, q, k)))
    masks, close = rng.random((q, 6)) < 0.5, kernel(dtype, 8)
    sent, back = np.zeros((q, k, k), dtype), np.zeros((p, q if own else 1, k, k), dtype)
    both("noisy", "add_grams", x, sent, atol=close)
    both("noisy", "masked_grams", dy, masks, np.zeros((p, q, k, k), dtype), atol=close)
    kernels.noisy.add_grams(x, sent)
    kernels.noisy.masked_grams(dy, masks if own else masks[:1], back)
    known, amplitudes = (left, right, sent, back, np.array([6, 2, 1])), tuple(map(np.array, (0.2, 0.3)))
    where, wanted, found = (7, np.array((3, 4), np.uint32)), np.copy(dot), put(dot)
    kernels.noisy.add(*where, *known, amplitudes, wanted)
    cuda.noisy.add(*where, *map(put, known), tuple(map(put, amplitudes)), found)
    np.testing.assert_allclose(host(found), wanted, rtol=1e-5, atol=1e-5)
    assert np.abs(wanted - dot).max() > 0.1
