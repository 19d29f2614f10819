"""Phase biases that wander: their statistics, that the path depends on time alone, and the clock that drives it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.chip import grid
from l2sim.chip.complex_core_chip import ComplexChip
from l2sim.chip.drift import TICKS, Wander, profile
from l2sim.chip.meter import Meter
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import command
from l2sim.chip.recorded import MeshRecorder, MeshReplay, Recorder, Replay
from l2sim.errors import ChipError
from l2sim.mesh.mesh import Mesh
from l2sim.mesh.wiring import places
from tests.doubles import PUBLISHED, Sealed, lit_mesh, random_commands, small_chip

STD, TAU = 0.1, 100.0
PLACES = np.array([[0, 0], [0, 2], [1, 1], [2, 0], [2, 2]])
MANY = {"u": (2000, 5)}


def wander(std: float = STD, tau: float = TAU, name: str = "a", seed: int = 1, **more: float) -> Wander:
    made = Wander(seed, name, MANY, PLACES)
    made.tune(Nonidealities(drift_std=std, drift_seconds=tau, **more), 0.0)
    return made


def at(wandering: Wander, clock: float) -> np.ndarray:
    wandering.moved(clock)
    return wandering.biases("u").copy()


def close(found: float, wanted: float) -> bool:
    """Within what 10,000 samples of a variance or covariance scatter by, times five."""
    return abs(found - wanted) < 5 * 1.5 * STD**2 / 100


# -- the process -------------------------------------------------------------------------------------------------------


def test_a_bias_begins_at_nought_and_becomes_stationary() -> None:
    it = wander()
    assert not it.moved(0.0) and not at(it, 0.0).any()
    for clock in (0.3, 7.0, 61.8, 99.99, 250.0, 1234.5):
        b = at(it, clock)
        assert abs(b.mean()) < 5 * STD / 100
        assert close(b.var(), STD**2 * (1.0 - np.exp(-2.0 * clock / TAU)))


def test_what_was_is_forgotten_with_the_correlation_time() -> None:
    """Across the moments at which the chain is drawn, between them, and far apart."""
    it = wander()
    clocks = (311.0, 312.0, 340.0, 399.0, 401.0, 455.5, 700.0)
    paths = {clock: at(it, clock) for clock in clocks}
    for a, b in itertools.combinations(clocks, 2):
        assert close((paths[a] * paths[b]).mean(), STD**2 * np.exp(-(b - a) / TAU))
    moved = ((paths[312.0] - paths[311.0]) ** 2).mean()
    assert moved == pytest.approx(2 * STD**2 * (1 - np.exp(-1.0 / TAU)), rel=0.1), "short intervals are as exact"


def test_a_step_in_time_is_the_exact_one_whatever_came_before() -> None:
    """b(t + d) - b(t) e^{-d/tau} knows nothing of b(t): the chain is Markov where it was bridged."""
    it = wander()
    for a, b in ((320.0, 350.0), (340.0, 341.7), (395.0, 407.0)):
        before, after = at(it, a), at(it, b)
        fresh = after - before * np.exp(-(b - a) / TAU)
        assert close((fresh * before).mean(), 0.0)
        assert close(fresh.var(), STD**2 * (1 - np.exp(-2 * (b - a) / TAU)))


def test_the_path_does_not_ask_how_time_was_cut() -> None:
    whole, fine = wander(), wander()
    for clock in np.linspace(0.0, 345.6, 97)[:-1]:
        fine.moved(float(clock))
        fine.biases("u")
    assert np.array_equal(at(whole, 345.6), at(fine, 345.6))
    assert np.array_equal(at(fine, 12.0), at(wander(), 12.0)), "also backwards"
    assert not np.array_equal(at(whole, 345.6), at(wander(name="b"), 345.6))
    assert not np.array_equal(at(whole, 345.6), at(wander(seed=2), 345.6))
    tick = TAU / TICKS
    assert at(whole, 50.0) is not None and not whole.moved(50.0 + 0.4 * tick) and whole.moved(50.0 + 1.4 * tick)


def test_another_unit_of_time_bends_the_path_and_does_not_tear_it() -> None:
    it = wander()
    before = at(it, 150.0)
    it.tune(Nonidealities(drift_std=STD, drift_seconds=10 * TAU), 150.0)
    assert np.array_equal(at(it, 150.0), before)
    assert np.array_equal(at(it, 250.0), at(wander(), 160.0))
    other = wander(tau=10 * TAU)
    other.restore(it.state())
    assert np.array_equal(at(other, 250.0), at(it, 250.0))


def test_thermal_steps_come_at_random_for_all_and_stay() -> None:
    it = wander(0.0, step_std=STD, step_seconds=TAU)
    assert not it.moved(0.0)
    counts, sizes = [], []
    other = wander(0.0, name="b", step_std=STD, step_seconds=TAU)
    for clock in np.arange(0.0, 200 * TAU, 0.5 * TAU):
        moved = it.moved(clock)
        assert moved == other.moved(clock), "at the same moments on all chips of a seed"
        counts.append(it._told[1])
        if moved and len(sizes) < 10:
            sizes.append(it.biases("u").copy())
    assert abs(counts[-1] - 200) < 5 * np.sqrt(200)
    assert not np.array_equal(sizes[0], at(other, 0.5 * TAU)), "every mesh in its own way"
    for n, b in enumerate(sizes, 1):
        steps = counts[[i for i in range(1, len(counts)) if counts[i] > counts[i - 1]][n - 1]]
        assert np.sqrt((b**2).mean()) == pytest.approx(STD * np.sqrt(steps), rel=0.05)
    # Smooth over a mesh: three numbers say all of it.
    assert np.linalg.matrix_rank(sizes[-1]) == 3
    assert np.array_equal(at(it, 31.5 * TAU), at(wander(0.0, step_std=STD, step_seconds=TAU), 31.5 * TAU))


def test_profiles_of_any_mesh_have_one_size() -> None:
    for mesh in (Mesh("rectangular", 2), Mesh("rectangular", 9), Mesh("triangular", 4), Mesh("butterfly", 8)):
        for where in (np.stack((mesh.column, mesh.top), axis=1), places(mesh)):
            assert (profile(where) ** 2).sum(axis=1).mean() == pytest.approx(1.0)


# -- chips -------------------------------------------------------------------------------------------------------------

DRIFTING = msgspec.structs.replace(PUBLISHED, drift_std=0.05, drift_seconds=3600.0, step_std=0.02, step_seconds=7200.0)
X = np.eye(3)[None, None]


def test_no_drift_changes_nothing_and_costs_nothing() -> None:
    chip, other = small_chip(), small_chip(it=msgspec.structs.replace(PUBLISHED, drift_seconds=1.0, step_seconds=1.0))
    other.wait(1e6)
    assert np.array_equal(chip.forward(X), other.forward(X))
    assert other._chain["u"][2] is other._still["u"], "not even a copy"
    still = small_chip(it=DRIFTING)
    assert np.array_equal(chip.forward(X), still.forward(X)), "and at the beginning nothing has wandered"


@pytest.mark.parametrize("kind", ("real", "complex"))
def test_chips_wander_while_they_wait(kind: str) -> None:
    def fresh(it: Nonidealities = DRIFTING) -> Any:
        return small_chip(it=it) if kind == "real" else ComplexChip((1, 2), Mesh("rectangular", 3), it, seed=1)

    chip = fresh()
    first, biases = chip.forward(X), chip.oracle_biases("u")
    chip.wait(3600.0)
    later = chip.forward(X)
    moved = chip.oracle_biases("u") - biases
    assert 0.01 < np.sqrt((moved**2).mean()) < 0.2 and not np.array_equal(first, later)
    cut = fresh()
    for _ in range(60):
        cut.wait(60.0)
        assert cut.forward(X).shape == later.shape
    assert np.array_equal(cut.forward(X), later), "however often it was looked at"
    # A parameter changed while running changes this same chip.
    chip.nonidealities = msgspec.structs.replace(DRIFTING, drift_std=0.0, step_std=0.0)
    assert np.array_equal(chip.forward(X), first)
    chip.nonidealities = DRIFTING
    assert np.array_equal(chip.forward(X), later)
    # And one that was stopped goes on.
    arrays, values = chip.state()
    other = fresh()
    other.restore(arrays, values)
    other.meter.restore(chip.meter.state())
    for it in (chip, other):
        it.wait(1800.0)
    assert np.array_equal(chip.forward(X), other.forward(X)) and not np.array_equal(chip.forward(X), later)


def test_whole_meshes_wander_too() -> None:
    mesh = Mesh("rectangular", 4)
    chip, light = lit_mesh(mesh, DRIFTING), np.eye(4, dtype=complex)
    first, before = chip.forward(light), chip.oracle_biases()
    assert np.array_equal(first, lit_mesh(mesh, PUBLISHED).forward(light))
    chip.wait(3600.0)
    assert np.abs(chip.forward(light) - first).max() > 1e-3
    assert np.abs(chip.oracle_biases() - before).min() > 0
    wide = np.concatenate([light] * 2, axis=1)
    assert np.allclose(chip.forward(wide)[:, :4], chip.forward(light)), "by matrix and by elements"
    arrays, values = chip.state()
    other = lit_mesh(mesh, DRIFTING)
    other.restore(arrays, values)
    other.meter.restore(chip.meter.state())
    assert np.array_equal(other.forward(light), chip.forward(light))


def test_chips_that_share_a_meter_grow_old_together() -> None:
    meter = Meter()
    one, two = (small_chip(it=DRIFTING, meter=meter, name=name) for name in "ab")
    before = two.forward(X)
    one.wait(7200.0)
    assert not np.array_equal(two.forward(X), before)
    assert meter.clock == 7200.0 and meter.state()["idle"]["clock_seconds"] == 7200.0


# -- the clock ---------------------------------------------------------------------------------------------------------


def test_the_clock_counts_vectors_settling_and_waiting() -> None:
    meter = Meter(call_seconds=1.0, settle_seconds=100.0)
    chip = small_chip((2, 2), 3, meter=meter)
    chip.forward(np.ones((1, 1, 3, 5)))
    assert meter.clock == 5.0, "cores work side by side"
    chip.set_phases(u=np.ones((2, 2, 3, 2)))
    chip.set_sigma(np.full((2, 2, 3), 0.5))
    assert meter.clock == 5.0
    chip.forward(np.ones((1, 1, 3, 1)))
    assert meter.clock == 106.0, "what was written together settles together"
    chip.set_sigma(np.full((2, 2, 3), 0.5))
    chip.backward(np.ones((1, 1, 3, 2)))
    assert meter.clock == 108.0, "nothing changed, nothing settles"
    chip.wait(2.5)
    with meter.stage("test"):
        chip.forward(np.ones((1, 1, 3, 1000)))
    assert meter.clock == 110.5, "an observer takes no time"
    assert meter.state()["test"]["clock_seconds"] == 0.0
    other = Meter(call_seconds=1.0)
    other.restore(meter.state())
    assert other.clock == meter.clock


def test_drift_goes_by_core_calls_where_a_call_is_a_second() -> None:
    it = msgspec.structs.replace(PUBLISHED, drift_std=0.05, drift_seconds=1000.0)
    chip = small_chip(it=it, meter=Meter(call_seconds=1.0))
    for _ in range(10):
        chip.forward(np.ones((1, 1, 3, 100)))
    waited = small_chip(it=it)
    waited.wait(1000.0)
    assert np.array_equal(chip.oracle_biases("u"), waited.oracle_biases("u"))
    assert (waited.oracle_biases("u") != small_chip(it=it).oracle_biases("u")).all()


def test_fused_operations_take_the_time_of_the_public_path() -> None:
    clocks = []
    for close_ in (lambda chip: chip, Sealed):
        meter = Meter(call_seconds=1.0, settle_seconds=1000.0)
        chip = close_(small_chip((2, 1), 4, meter=meter))
        rng = generator(1)
        mapped, rest = random_commands(chip, rng), random_commands(chip, rng)
        command(chip, u=mapped, v=mapped)
        sigma = rng.uniform(0.2, 1.0, (2, 1, 4))
        chip.set_sigma(sigma)
        x, dy = rng.normal(size=(4, 7)), rng.normal(size=(8, 7))
        grid.product(chip, x)
        grid.product_back(chip, dy)
        first = meter.clock
        grid.sigma_gradient(chip, x, dy, mapped, rest, sigma)
        vectors = rng.random((1, 7)) < 0.5
        grid.sigma_gradient(chip, x, dy, mapped, rest, sigma, vectors=vectors)
        clocks.append((first, meter.clock))
        grid.product(chip, x)
        clocks[-1] += (meter.clock,)
    assert clocks[0] == clocks[1]
    assert clocks[0][0] == 1000.0 + 14


def test_time_must_be_time() -> None:
    for bad in (-1.0, np.nan, np.inf, "day", None):
        with pytest.raises(ChipError, match="a time to wait"):
            small_chip().wait(bad)  # type: ignore[arg-type]


# -- recordings --------------------------------------------------------------------------------------------------------


def test_a_recording_knows_when_it_was_waited(tmp_path: Path) -> None:
    recorder = Recorder(small_chip(it=DRIFTING))

    def script(chip: Any) -> list[np.ndarray]:
        out = [chip.forward(X)]
        chip.wait(3600.0)
        out.append(chip.forward(X))
        chip.wait(1800.0)
        return [*out, chip.backward(X), chip.forward(X)]

    wanted = script(recorder)
    recorder.save(tmp_path / "r.npz")
    replay = Replay.load(tmp_path / "r.npz")
    assert all(np.array_equal(a, b) for a, b in zip(script(replay), wanted, strict=True))
    assert replay.meter.state() == recorder.meter.state() and replay.meter.clock == 5400.0
    hasty = Replay.load(tmp_path / "r.npz")
    hasty.forward(X)
    hasty.wait(60.0)
    with pytest.raises(ChipError, match="no such"):
        hasty.forward(X)


def test_a_recorded_mesh_knows_it_too(tmp_path: Path) -> None:
    mesh, light = Mesh("rectangular", 4), np.eye(4, dtype=complex)
    recorder = MeshRecorder(lit_mesh(mesh, DRIFTING))
    phases = recorder.commanded
    wanted = [recorder.forward(light)]
    recorder.wait(3600.0)
    wanted.append(recorder.taps(light)[0])
    recorder.save(tmp_path / "r.npz")
    replay = MeshReplay.load(tmp_path / "r.npz")
    replay.set_phases(**phases)
    assert np.array_equal(replay.forward(light), wanted[0])
    with pytest.raises(ChipError, match="no such"):
        replay.taps(light)
    replay.wait(3600.0)
    assert np.array_equal(replay.taps(light)[0], wanted[1]) and replay.meter.clock == 3600.0
