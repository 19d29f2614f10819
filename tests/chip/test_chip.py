"""The simulated chip: what it answers, what it counts, and what it refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from scipy import stats

from l2sim.backend import generator
from l2sim.chip import grid
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.fabrication import fabricate, truncated_normal
from l2sim.chip.meter import Counts, Meter
from l2sim.chip.nonidealities import GAMMA, PRESETS, V_PI, Nonidealities
from l2sim.chip.protocol import Hardware, command, lacks
from l2sim.errors import ChipError
from l2sim.mesh.mesh import KINDS
from tests.doubles import FUSED, PUBLISHED, Matrices, Sealed, random_commands, small_chip
from tests.tolerances import kernel

EXACT = kernel(np.float64)
IDEAL = PRESETS["ideal"]


def random_chip(seed: int = 1, **options: object) -> CoreChip:
    """A chip in a random state."""
    chip = small_chip(**({"shape": (2, 3), "k": 3, "seed": seed} | options))
    rng = generator(seed, "state")
    commands = random_commands(chip, rng)
    command(chip, u=commands, v=commands)
    chip.set_sigma(rng.normal(size=(*chip.shape, chip.mesh.modes)))
    return chip


def counts(chip: Hardware) -> dict[str, int]:
    return chip.meter.state().get("idle", dataclasses.asdict(Counts()))


def changed(chip: Hardware, act: Callable[[], object]) -> dict[str, int]:
    """What `act` added to the meter; entries that stayed are left out."""
    before = counts(chip)
    act()
    after = counts(chip)
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


# -- what light sees ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_readouts(kind: str) -> None:
    chip = random_chip(kind=kind)
    x = generator(2).normal(size=(2, 3, 3, 4))
    y = chip.oracle_weights() @ x
    assert (y < 0).any()
    np.testing.assert_allclose(chip.forward(x), y, atol=EXACT)
    np.testing.assert_allclose(chip.forward(x, readout="quadrature"), y, atol=EXACT)
    np.testing.assert_allclose(chip.forward(x, readout="power"), y**2, atol=EXACT)


def test_light_backwards_sees_the_transpose() -> None:
    chip, rng = random_chip(), generator(3)
    x, y = rng.normal(size=(2, 2, 3, 3, 5))
    ahead, back = (chip.forward(x) * y).sum(axis=2), (x * chip.backward(y)).sum(axis=2)
    np.testing.assert_allclose(ahead, back, atol=EXACT)
    np.testing.assert_allclose(chip.backward(y, readout="power"), chip.backward(y) ** 2, atol=EXACT)


def test_light_broadcasts_over_the_grid() -> None:
    chip, rng = random_chip(), generator(3)
    x = rng.normal(size=(1, 3, 3, 5))
    assert np.array_equal(chip.forward(x), chip.forward(np.broadcast_to(x, (2, 3, 3, 5))))
    assert np.array_equal(chip.forward(np.eye(3)[None, None]), grid.respond(chip))


def test_a_core_that_is_left_out_reads_zero() -> None:
    for it in (PUBLISHED, msgspec.structs.replace(PUBLISHED, readout_noise=0.1)):
        chip, x = random_chip(it=it), np.ones((2, 3, 3, 4))
        mask = np.array([[True, False, True], [False, False, True]])
        for readout in chip.readouts:
            y = chip.forward(x, cores=mask, readout=readout)
            assert not y[~mask].any() and y[mask].all()
            assert not chip.backward(x, cores=mask, readout=readout)[~mask].any()


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_a_chip_answers_in_its_precision(dtype: type) -> None:
    it = Nonidealities(readout_noise=0.01, shot_noise=0.01, reference_phase_std=0.1)
    chip = random_chip(dtype=dtype, it=it)
    x = np.ones((2, 3, 3, 4), dtype)
    assert all(chip.forward(x, readout=readout).dtype == dtype for readout in chip.readouts)
    assert chip.oracle_matrix("u").dtype == chip.oracle_sigma().dtype == chip.oracle_weights().dtype == dtype


# -- noise -------------------------------------------------------------------------------------------------------------


def readings(it: Nonidealities, readout: str, count: int = 20_000) -> tuple[CoreChip, np.ndarray, np.ndarray]:
    """A chip, its noise-free amplitudes (p, q, k) for unit light, and many readings of them."""
    chip = random_chip(shape=(1, 2), it=it)
    x = np.ones((1, 2, 3, 1)) / 2
    clean = (chip.oracle_weights() @ x)[..., 0]
    return chip, clean, chip.forward(np.broadcast_to(x, (1, 2, 3, count)), readout=readout)


def gains(chip: CoreChip) -> np.ndarray:
    """The electronic gain behind each core."""
    return np.abs(chip.state()[0]["sigma.commanded"]).max(axis=1).reshape(1, 2, 1)


def is_normal(sample: np.ndarray, mean: np.ndarray, std: np.ndarray) -> None:
    z = (sample - mean[..., None]) / std[..., None]
    assert np.abs(z.mean(axis=-1)).max() < 4.5 / np.sqrt(z.shape[-1])
    assert np.abs(z.std(axis=-1) - 1).max() < 0.03
    assert min(stats.kstest(row, "norm").pvalue for row in z.reshape(-1, z.shape[-1])) > 1e-4


def test_additive_noise_of_a_quadrature_passes_the_gain() -> None:
    chip, clean, seen = readings(Nonidealities(readout_noise=0.03), "quadrature")
    is_normal(seen, clean, 0.03 * gains(chip) * np.ones(3))
    assert np.abs(np.corrcoef(seen.reshape(6, -1)) - np.eye(6)).max() < 0.04, "every output has noise of its own"


def test_additive_noise_of_a_power_passes_the_gain_squared() -> None:
    chip, clean, seen = readings(Nonidealities(readout_noise=0.03), "power")
    is_normal(seen, clean**2, 0.03 * gains(chip) ** 2 * np.ones(3))


def test_shot_noise_grows_as_the_amplitude() -> None:
    chip, clean, seen = readings(Nonidealities(shot_noise=0.02), "power")
    is_normal(seen, clean**2, 0.02 * gains(chip) * np.abs(clean))
    _, clean, seen = readings(Nonidealities(shot_noise=0.02), "quadrature")
    np.testing.assert_allclose(seen, np.broadcast_to(clean[..., None], seen.shape), atol=EXACT)


def test_the_reference_phase_is_shared_by_the_outputs_of_a_reading() -> None:
    chip, clean, seen = readings(Nonidealities(reference_phase_std=0.2), "quadrature")
    cosine = seen / clean[..., None]
    np.testing.assert_allclose(cosine, np.broadcast_to(cosine[:, :, :1], cosine.shape), atol=1e-9)
    angle = np.arccos(np.clip(cosine[0, :, 0], -1, 1))
    assert min(stats.kstest(row / 0.2, "halfnorm").pvalue for row in angle) > 1e-4
    assert abs(np.corrcoef(angle)[0, 1]) < 0.04, "cores have references of their own"
    assert not chip.fuses("quadrature")


def test_noise_is_fresh_and_its_stream_named() -> None:
    it = Nonidealities(readout_noise=0.1)
    x = np.ones((2, 3, 3, 1))
    one, same, other = (random_chip(it=it, name=name) for name in ("a", "a", "b"))
    first = one.forward(x)
    assert not np.array_equal(first, one.forward(x))
    assert np.array_equal(first, same.forward(x))
    assert not np.array_equal(first - one.oracle_weights() @ x, other.forward(x) - other.oracle_weights() @ x)


# -- the meter ---------------------------------------------------------------------------------------------------------


def test_every_probe_is_counted() -> None:
    chip, x = small_chip((2, 3), 3), np.ones((2, 3, 3, 4))
    assert changed(chip, lambda: chip.forward(x)) == {"core_calls": 24, "vectors": 4}
    assert changed(chip, lambda: chip.backward(x, readout="power")) == {"core_calls": 24, "vectors": 4}
    mask = np.array([[True, False, True], [False, False, True]])
    assert changed(chip, lambda: chip.forward(x, cores=mask)) == {"core_calls": 12, "vectors": 4}
    assert changed(chip, lambda: chip.forward(x, cores=~mask & mask)) == {}
    with pytest.raises(ChipError, match="empty batch"):
        chip.forward(x[..., :0])
    assert changed(chip, lambda: grid.respond(chip)) == {"core_calls": 18, "evaluations": 6, "vectors": 3}
    assert changed(chip, lambda: chip.oracle_weights()) == {}


def test_partial_sums_take_steps() -> None:
    """Sequential additions a vector: q - 1 ahead; one less than the fullest block column backwards; one for sigma."""
    chip, commands = small_chip((3, 4), 2, IDEAL), random_commands(small_chip((3, 4), 2), generator(1))
    x, y = np.ones((8, 5)), np.ones((6, 5))
    cores = np.array([[True, True, False, True], [True, False, False, False], [False, True, False, False]])

    def steps(act: Callable[[], object]) -> int:
        return changed(chip, act).get("accumulation_steps", 0)

    assert steps(lambda: grid.product(chip, x)) == 3 * 5
    assert steps(lambda: grid.product_back(chip, y)) == 2 * 5
    assert steps(lambda: grid.product_back(chip, y, cores)) == 1 * 5
    assert steps(lambda: grid.product_back(chip, y, np.zeros((3, 4), bool))) == 0
    assert steps(lambda: grid.sigma_gradient(chip, x, y, commands, commands, np.ones((3, 4, 2)))) == 5


def test_every_write_that_changes_something_is_counted() -> None:
    chip = small_chip((1, 2), 3)
    phases, signs = np.zeros((1, 2, 3, 2)), np.ones((1, 2, 3))
    assert changed(chip, lambda: chip.set_phases(u=phases, v=phases)) == {}
    phases[0, 1, 0, 0] = phases[0, 0, 2, 0] = 0.5
    phases[0, 0, 0, 1] = 7.0  # no MZI stands there
    assert changed(chip, lambda: chip.set_phases(u=phases)) == {"writes": 2}
    assert changed(chip, lambda: chip.set_phases(u=phases)) == {}
    assert changed(chip, lambda: chip.set_phases(u=phases, v=phases)) == {"writes": 2}
    signs[0, 0, 1:] = -1
    assert changed(chip, lambda: chip.set_signs(v=signs)) == {"writes": 2}
    assert changed(chip, lambda: chip.set_sigma(np.ones((1, 2, 3)))) == {}
    assert changed(chip, lambda: chip.set_sigma(signs)) == {"writes": 2}


def test_stages_and_shared_meters() -> None:
    meter = Meter()
    one, two = (small_chip(name=name, meter=meter) for name in ("a", "b"))
    x = np.ones((1, 2, 3, 5))
    with meter.stage("outer"):
        one.forward(x)
        with meter.stage("inner"):
            two.forward(x)
        two.forward(x)
    one.forward(x)
    assert {name: c["core_calls"] for name, c in meter.state().items()} == {"outer": 20, "inner": 10, "idle": 10}
    other = Meter()
    other.restore(meter.state())
    assert other.state() == meter.state()
    with pytest.raises(RuntimeError), meter.stage("broken"):
        raise RuntimeError
    assert meter.current == "idle"


# -- what a chip refuses -----------------------------------------------------------------------------------------------

BAD: dict[str, tuple[Callable[[CoreChip], object], str]] = {
    "phases of the wrong shape": (lambda c: c.set_phases(u=np.zeros((1, 2, 3, 3))), "phases of u have shape"),
    "phases without a grid": (lambda c: c.set_phases(v=np.zeros((3, 2))), "phases of v have shape"),
    "a phase that is no number": (lambda c: c.set_phases(u=np.full((1, 2, 3, 2), np.nan)), "not finite"),
    "an infinite phase": (lambda c: c.set_phases(v=np.full((1, 2, 3, 2), np.inf)), "not finite"),
    "signs of the wrong shape": (lambda c: c.set_signs(u=np.ones((1, 2, 2))), "signs of u have shape"),
    "a sign of zero": (lambda c: c.set_signs(v=np.zeros((1, 2, 3))), "must be"),
    "a sign of a half": (lambda c: c.set_signs(u=np.full((1, 2, 3), 0.5)), "must be"),
    "sigma of the wrong shape": (lambda c: c.set_sigma(np.ones((2, 1, 3))), "sigma have shape"),
    "sigma that is no number": (lambda c: c.set_sigma(np.full((1, 2, 3), np.nan)), "not finite"),
    "an unknown readout": (lambda c: c.forward(np.ones((1, 2, 3, 1)), readout="phase"), "no 'phase' readout"),
    "light of another size": (lambda c: c.forward(np.ones((1, 2, 4, 1))), "does not fit"),
    "light without a grid": (lambda c: c.backward(np.ones((3, 1))), "does not fit"),
    "light for a larger grid": (lambda c: c.forward(np.ones((5, 2, 3, 1))), "does not fit"),
}


@pytest.mark.parametrize("what", BAD)
def test_wrong_requests(what: str) -> None:
    act, message = BAD[what]
    chip = small_chip()
    before, state = counts(chip), chip.state()[0]
    with pytest.raises(ChipError, match=message) as caught:
        act(chip)
    assert "\n" not in str(caught.value)
    assert counts(chip) == before and all(np.array_equal(a, state[name]) for name, a in chip.state()[0].items())


def test_a_chip_may_lack_a_readout() -> None:
    chip = small_chip(readouts=("power",))
    with pytest.raises(ChipError, match="it has power"):
        chip.forward(np.ones((1, 2, 3, 1)))
    assert not chip.fuses("quadrature") and not chip.fuses("power")


@pytest.mark.parametrize(
    "values",
    (
        {"drive": "current"},
        {"stuck": 0.7, "dead": 0.4},
        {"curve_volts": (0.0, 1.0), "curve": (0.0,)},
        {"curve_volts": (1.0, 0.0), "curve": (0.0, 1.0)},
        {"drive": "voltage", "curve": (0.5,)},
        {"drive": "voltage", "curve": (0.0, 1.0, -0.1), "v_max": 10.0},
        {"drive": "voltage", "curve": (0.0, 1.0), "curve_volts": (0.0, 1.0), "v_max": 2.0},
    ),
)
def test_imperfections_that_contradict_themselves(values: dict) -> None:
    with pytest.raises(ChipError) as caught:
        Nonidealities(**values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values", ({"phase_bits": -1}, {"phase_bias": 4.0}, {"crosstalk": -0.1}, {"bits": 8}, {"v_max": 0})
)
def test_imperfections_out_of_range_are_refused_when_read(values: dict) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(values, Nonidealities)


def test_the_published_preset() -> None:
    assert PRESETS["l2ight-2021"] == PUBLISHED
    assert pytest.approx(np.pi / V_PI**2) == GAMMA == pytest.approx(0.165263, abs=1e-6)
    assert PUBLISHED.lsb() == pytest.approx(2 * np.pi / 255)
    assert PUBLISHED.phase_of(np.array([0.0, V_PI])) == pytest.approx([0.0, np.pi])


# -- fabrication -------------------------------------------------------------------------------------------------------


def test_an_ideal_chip_does_what_it_is_told() -> None:
    chip = random_chip(it=IDEAL)
    state = chip.state()[0]
    np.testing.assert_allclose(chip.oracle_sigma().reshape(6, 3), state["sigma.commanded"], atol=EXACT)
    seen = chip.mesh.gather(chip.oracle_phases("u")).reshape(6, 3)
    np.testing.assert_allclose(np.exp(1j * seen), np.exp(1j * state["u.phases"]), atol=EXACT)


def test_the_same_seed_is_the_same_chip_and_layers_differ() -> None:
    one, same, other, reseeded = (
        random_chip(seed=seed, name=name).oracle_phases("u") for seed, name in ((1, "a"), (1, "a"), (1, "b"), (2, "a"))
    )
    assert np.array_equal(one, same)
    for a, b in ((one, other), (one, reseeded)):
        mask = small_chip(k=3).mesh.mask
        assert not np.isclose(a[..., mask], b[..., mask]).any()
    assert not np.array_equal(random_chip().oracle_phases("u"), random_chip().oracle_phases("v"))


def test_the_draws_have_the_published_distributions() -> None:
    made = fabricate(1, "layer", "u", (100, 200))
    for sample, law in ((made.bias, stats.uniform(-1, 2)), (made.fate, stats.uniform), (made.stuck_at, stats.uniform)):
        assert stats.kstest(sample.ravel(), law.cdf).pvalue > 1e-3
    assert stats.kstest(made.gamma.ravel(), stats.truncnorm(-2, 2).cdf).pvalue > 1e-3
    assert np.abs(made.gamma).max() <= 2 and made.gamma.std() == pytest.approx(0.88, abs=0.01)
    assert np.abs(truncated_normal(generator(1), (10_000,))).max() <= 2


def test_parameters_change_this_same_chip() -> None:
    chip = random_chip(it=Nonidealities(phase_bias=0.5, gamma_std=0.002))
    before = chip.oracle_weights()
    clean = {part: chip.mesh.gather(chip.oracle_phases(part)) for part in "uv"}
    chip.nonidealities = msgspec.structs.replace(chip.nonidealities, phase_bias=1.0)
    moved = chip.mesh.gather(chip.oracle_phases("u")) - clean["u"]
    np.testing.assert_allclose(moved, 0.5 * fabricate(1, "chip", "u", (6, 3)).bias.reshape(2, 3, 3), atol=EXACT)
    assert not np.array_equal(chip.oracle_weights(), before)
    for change in ({"phase_bits": 4}, {"crosstalk": 0.1}, {"stuck": 0.5}, {"gamma_std": 0.01}, {"drive": "voltage"}):
        now = chip.oracle_weights()
        chip.nonidealities = msgspec.structs.replace(chip.nonidealities, **change)
        assert not np.array_equal(chip.oracle_weights(), now), change
    chip.nonidealities = Nonidealities(phase_bias=0.5, gamma_std=0.002)
    assert chip.oracle_weights().tobytes() == before.tobytes()
    x = np.ones((2, 3, 3, 1))
    assert np.array_equal(grid.product(chip, x[0].reshape(9, 1)), grid.product(chip, x[0].reshape(9, 1)))


def test_stuck_and_dead_heaters_do_not_respond() -> None:
    it = Nonidealities(stuck=0.3, dead=0.2, phase_bias=0.4, gamma_std=0.002)
    chip = small_chip((4, 5), 6, it)
    made = fabricate(1, "chip", "u", (20, 15))
    low = chip.mesh.gather(chip.oracle_phases("u")).reshape(20, 15)
    chip.set_phases(u=np.full((4, 5, *chip.mesh.shape), 1.0))
    high = chip.mesh.gather(chip.oracle_phases("u")).reshape(20, 15)
    dead, stuck = made.fate < 0.2, (made.fate >= 0.2) & (made.fate < 0.5)
    assert 0.1 < dead.mean() < 0.3 and 0.2 < stuck.mean() < 0.4
    assert np.array_equal(low == high, dead | stuck)
    np.testing.assert_allclose(low[dead], 0.4 * made.bias[dead], atol=EXACT)
    np.testing.assert_allclose(low[stuck], 2 * np.pi * made.stuck_at[stuck] + 0.4 * made.bias[stuck], atol=EXACT)
    np.testing.assert_allclose((high - low)[~dead & ~stuck], 1.0, atol=0.05)


def test_sigma_of_any_sign_and_size() -> None:
    chip = small_chip((1, 3), 3, Nonidealities(phase_bits=8))
    sigma = np.array([[[3.0, -1.5, 0.2], [0.0, 0.0, 0.0], [-2.0, 1e-9, 2.0]]])
    chip.set_sigma(sigma)
    realised = chip.oracle_sigma()
    np.testing.assert_allclose(realised, sigma, atol=3 * np.pi / 255)
    assert np.array_equal(realised[0, 1], np.zeros(3)), "an all-zero core stays dark"
    assert not grid.respond(chip)[0, 1].any()
    chip.nonidealities = Nonidealities(phase_bits=8, readout_noise=0.1)
    assert np.isfinite(grid.respond(chip)).all() and not grid.respond(chip)[0, 1].any()
    chip.nonidealities = Nonidealities(phase_bits=2, exact_sigma=True)
    assert np.array_equal(chip.oracle_sigma(), sigma)


def test_state_and_restore() -> None:
    it = msgspec.structs.replace(PUBLISHED, readout_noise=0.05)
    chip, x = random_chip(it=it), np.ones((2, 3, 3, 2))
    chip.forward(x)
    arrays, values = chip.state()
    wanted = [chip.forward(x), chip.backward(x, readout="power"), chip.oracle_weights()]
    chip.set_sigma(np.ones((2, 3, 3)))
    chip.set_phases(u=np.zeros((2, 3, 3, 2)))
    again = small_chip((2, 3), 3, it)
    again.forward(x)
    for one in (chip, again):
        one.restore(arrays, values)
        found = [one.forward(x), one.backward(x, readout="power"), one.oracle_weights()]
        assert all(a.tobytes() == b.tobytes() for a, b in zip(wanted, found))


def test_doubles_are_hardware() -> None:
    chip = small_chip()
    eye = np.eye(2)[None, None]
    matrices = Matrices({"u": eye, "v": eye}, {"u": eye, "v": eye})
    assert lacks(chip) == [] == lacks(matrices) == lacks(Sealed(chip))
    sealed = Sealed(chip)
    assert not any(hasattr(sealed, name) for name in FUSED)
    for name in ("_phases", "oracle_weights", "nonidealities", "state", "seed", "name", "dtype", "_noise"):
        with pytest.raises(AssertionError, match=name):
            getattr(sealed, name)
    with pytest.raises(AssertionError):
        sealed.shape = (1, 1)
