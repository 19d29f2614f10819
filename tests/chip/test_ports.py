"""Ports: converters, detectors, laser and taps, against plain formulas; and that all of them off change nothing."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from l2sim import CoreChip, Mesh, MeshChip, Nonidealities
from l2sim.backend import generator
from l2sim.chip.complex_core_chip import ComplexChip
from l2sim.chip.parts.ports import Fixed, Ports, converted

RNG = generator(7, "ports")
MESH = Mesh("rectangular", 4)
SIGNED = ("quadrature", "two_readings")


def core(kind: type[CoreChip] = CoreChip, cores: tuple[int, int] = (1, 2), **fields: object) -> CoreChip:
    chip = kind(cores, MESH, Nonidealities(**fields), seed=3)  # type: ignore[arg-type]
    rng = generator(1, "phases")
    for part in ("u", "v"):
        chip.set_phases(**{part: rng.uniform(0, 6.28, (*cores, *MESH.shape))})
    chip.set_sigma(rng.uniform(-2.0, 2.0, (*cores, 4)))
    return chip


def optical(chip: CoreChip, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What arrives at the detectors, before the electronic gain, and that gain."""
    gain = np.abs(chip._sigma).max(axis=1).reshape(*chip.shape, 1, 1)
    return np.matmul(chip.oracle_weights(), x) / gain, gain


X = RNG.uniform(-1, 1, (1, 2, 4, 5))


@pytest.mark.parametrize("kind", [CoreChip, ComplexChip])
@pytest.mark.parametrize("reading", ["quadrature", "power", "two_readings"])
def test_exact_ports_read_what_is_there(kind: type[CoreChip], reading: str) -> None:
    chip = core(kind)
    y, gain = optical(chip, X)
    wanted = (gain * y) ** 2 if reading == "power" else gain * y
    np.testing.assert_allclose(chip.forward(X, readout=reading), wanted, atol=1e-12)
    back = chip.backward(np.ones((1, 2, 4, 1)), readout=reading)
    wanted = chip.oracle_weights().sum(axis=2)[..., None]
    np.testing.assert_allclose(back, wanted**2 if reading == "power" else wanted, atol=1e-12)


@pytest.mark.parametrize("reading", ["quadrature", "power", "two_readings"])
def test_gains_offsets_and_saturation_are_those_of_the_ports(reading: str) -> None:
    sheet = {"gain_std": 0.1, "offset_std": 0.05, "saturation": 0.1, "reference_level": 2.0}
    chip = core(**sheet)
    y, gain = optical(chip, X)
    own = Fixed.drawn(3, "chip", "outputs", (2, 4))
    g, o = (1 + 0.1 * own.gain.reshape(1, 2, 4, 1)), 0.05 * own.offset.reshape(1, 2, 4, 1)

    def seen(v: np.ndarray, full: float = 1.0) -> np.ndarray:
        return g * v * (1 - 0.1 * np.abs(v) / full) + o

    wanted = {
        "quadrature": gain * seen(y),
        "power": gain**2 * seen(y**2),
        "two_readings": gain * (seen((y + 2) ** 2, 9.0) - seen((y - 2) ** 2, 9.0)) / 8,
    }[reading]
    np.testing.assert_allclose(chip.forward(X, readout=reading), wanted, atol=1e-12)
    behind = chip.backward(X, readout=reading)  # the detectors at the inputs are others
    assert np.abs(behind - core(**(sheet | {"gain_std": 0.0})).backward(X, readout=reading)).max() > 1e-3


def test_converters_round_to_their_levels_and_cut_at_their_range() -> None:
    values = np.linspace(-3, 3, 1001)
    three = converted(values, -1.0, 1.0, 3, 0.0, np.zeros(1))
    assert sorted(set(np.round((three + 1) * 3.5, 9))) == list(range(8))
    assert np.abs(three - np.clip(values, -1, 1)).max() <= 1 / 7 + 1e-12
    np.testing.assert_array_equal(converted(values, -1.0, 1.0, 0, 0.0, np.zeros(1)), values)  # no converter, no range
    bent = converted(np.clip(values, -1, 1), -1.0, 1.0, 0, 0.01, np.array([0.7]))
    assert 0.01 < np.abs(bent - np.clip(values, -1, 1)).max() <= 2 * 0.01 * 1.77
    assert np.abs(bent[[0, -1]] - [-1.0, 1.0]).max() < 1e-12  # both ends are trimmed


def test_readings_of_a_chip_lie_on_the_levels_of_its_converters() -> None:
    chip = core(adc_bits=5, modulator_bits=4, readout_noise=0.02)
    seen = chip.forward(X) / np.abs(chip._sigma).max(axis=1).reshape(1, 2, 1, 1)
    steps = (seen + 1) * 15.5
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)
    light = core(modulator_bits=4).forward(X)
    sent = np.rint((X + 1) * 7.5) / 7.5 - 1
    np.testing.assert_allclose(light, np.matmul(core().oracle_weights(), sent), atol=1e-12)


@pytest.mark.parametrize("reading", SIGNED)
@pytest.mark.parametrize("level", [0.5, 1.0, 4.0])
def test_noise_has_the_variance_that_the_readout_gives_it(reading: str, level: float) -> None:
    """Two readings: floor, shot and relative noise of both powers, over 4 R."""
    sheet = {"readout_noise": 0.03, "intensity_noise": 0.02, "shot_noise": 0.01, "reference_level": level}
    chip = core(**sheet)
    x = np.broadcast_to(X[..., :1], (1, 2, 4, 40000))
    y, gain = optical(chip, X[..., :1])
    if reading == "quadrature":
        variance = 0.03**2 + (0.02 * y) ** 2
    else:
        powers = (y + level) ** 2, (y - level) ** 2
        variance = sum(0.03**2 + 0.01**2 * p + (0.02 * p) ** 2 for p in powers) / (16 * level**2)
    found = (chip.forward(x, readout=reading) / gain).var(axis=-1, keepdims=True)
    np.testing.assert_allclose(found / variance, 1.0, atol=5 * np.sqrt(2 / 40000))


def test_the_laser_is_common_to_all_ports_of_a_probe_and_a_monitor_divides_it_out() -> None:
    chip = core(laser_std=0.05)
    exact = core().forward(X)
    factors = np.array([(chip.forward(X) / exact).ravel() for _ in range(400)])
    assert np.ptp(factors, axis=1).max() < 1e-9  # one a probe
    assert abs(factors[:, 0].std() - 0.05) < 0.05 * 5 / np.sqrt(800)
    walked = core(laser_walk=0.01)
    steps = np.diff(np.log([(walked.forward(X) / exact).mean() for _ in range(400)]))
    assert abs(steps.std() - 0.01) < 0.01 * 5 / np.sqrt(800)
    watched = core(laser_std=0.05, laser_walk=0.01, laser_monitor=True)
    for reading in ("quadrature", "power"):
        wanted = core().forward(X, readout=reading)
        np.testing.assert_allclose(watched.forward(X, readout=reading), wanted, atol=1e-12)


def test_a_reference_that_walks_turns_what_is_read() -> None:
    chip = core(ComplexChip, reference_walk=0.1)
    exact = core(ComplexChip).forward(X, readout="field")
    turned = [chip.forward(X, readout="field") / exact for _ in range(300)]
    angles = np.unwrap([np.angle(one).mean() for one in turned])
    assert np.abs(np.abs(np.array(turned)) - 1).max() < 1e-9
    assert abs(np.diff(angles).std() - 0.1) < 0.1 * 5 / np.sqrt(600)


def test_a_resumed_chip_goes_on_with_its_laser() -> None:
    sheet = {"laser_walk": 0.02, "laser_std": 0.01, "reference_walk": 0.1, "readout_noise": 0.01, "gain_std": 0.02}
    chip, other = core(**sheet), core(**sheet)
    for _ in range(3):
        chip.forward(X)
    arrays, values = chip.state()
    other.restore(arrays, msgspec.convert(msgspec.to_builtins(values), dict))  # type: ignore[arg-type]
    np.testing.assert_array_equal(chip.forward(X), other.forward(X))
    mesh, again = (MeshChip(MESH, Nonidealities(**sheet), seed=2, dtype="float64") for _ in range(2))  # type: ignore[arg-type]
    mesh.forward(X[0, 0])
    again.restore(*mesh.state())
    np.testing.assert_array_equal(mesh.forward(X[0, 0]), again.forward(X[0, 0]))


def test_fused_operations_are_those_of_plain_ports_only() -> None:
    assert core(readout_noise=0.01).fuses("quadrature")
    for field in ("gain_std", "offset_std", "saturation", "intensity_noise", "laser_std", "laser_walk", "adc_inl"):
        assert not core(**{field: 0.01}).fuses("quadrature"), field
    for field in ("adc_bits", "modulator_bits"):
        assert not core(**{field: 8}).fuses("quadrature"), field


@pytest.mark.parametrize("fields", [{"gain_std": 0.02}, {"adc_bits": 6}, {"laser_std": 0.01}, {"tap_floor": 0.1}])
def test_a_mesh_with_such_ports_has_no_exact_gradient(fields: dict[str, float]) -> None:
    chip = MeshChip(MESH, Nonidealities(**fields), seed=1)  # type: ignore[arg-type]
    assert chip.gradient(X[0, 0], X[0, 1], "digital") is None
    assert MeshChip(MESH, Nonidealities(), seed=1).gradient(X[0, 0], X[0, 1], "digital") is not None


def test_dark_taps_are_noisy_and_sums_of_their_readings_too() -> None:
    chip = MeshChip(MESH, Nonidealities(tap_floor=0.3, tap_noise=0.0), seed=1, dtype="float64")
    dark = np.zeros((4, 6))
    each = np.array([chip.taps(dark)[1].theta for _ in range(600)])
    summed = np.array([chip.tap_sums(dark)[1].theta for _ in range(600)])
    once = MeshChip(MESH, Nonidealities(tap_floor=0.3, tap_integrates=True), seed=1, dtype="float64")
    held = np.array([once.tap_sums(dark)[1].theta for _ in range(600)])
    for found, std in ((each, 0.3), (summed, 0.3 * np.sqrt(6)), (held, 0.3)):
        assert abs(found.std() / std - 1) < 5 / np.sqrt(2 * found.size)


@pytest.mark.parametrize("scheme", ["digital", "analog", "sweep"])
@pytest.mark.parametrize("integrates", [False, True])
def test_the_gradient_of_a_batch_at_once_has_the_noise_of_dark_taps(scheme: str, integrates: bool) -> None:
    """`noisy_gradient` against `measure` by the public path: mean and variance over repeats."""
    from l2sim.learn.insitu import _probed

    sheet = Nonidealities(tap_floor=0.2, tap_noise=0.1, tap_integrates=integrates)
    chip = MeshChip(MESH, sheet, seed=1, dtype="float64")
    rng = generator(2, "batch")
    x, g = (rng.normal(size=(4, 12)) + 1j * rng.normal(size=(4, 12)) for _ in range(2))
    fused = np.array([chip.noisy_gradient(x, g, scheme).theta for _ in range(1500)])  # type: ignore[union-attr]
    public = np.array([_probed(chip, x, g, scheme, 0.0).theta for _ in range(1500)])
    spread = public.std(axis=0)
    assert np.abs((fused.mean(axis=0) - public.mean(axis=0)) / spread).max() < 6 * np.sqrt(2 / 1500)
    assert np.abs(fused.std(axis=0) / spread - 1).max() < 6 / np.sqrt(1500)


def test_taps_take_their_light_where_they_stand() -> None:
    chip = MeshChip(MESH, Nonidealities(tap_share=0.01), seed=1, dtype="float64")
    plain = MeshChip(MESH, Nonidealities(), seed=1, dtype="float64")
    lost = 1 - (np.abs(chip.oracle_matrix()) ** 2).sum(axis=0)
    assert (lost > 0.01).all() and (lost < 0.09).all()
    assert np.abs(np.abs(chip.oracle_matrix()) - np.abs(plain.oracle_matrix())).max() > 1e-3
    single = MeshChip(Mesh("rectangular", 1), Nonidealities(tap_share=0.19), seed=1, dtype="float64")
    np.testing.assert_allclose(single.forward(np.ones((1, 1))), 0.9)  # the screen's tap alone


def test_two_readings_are_billed_as_two_vectors() -> None:
    chip = core()
    chip.forward(X, readout="two_readings")
    assert chip.meter.stages["idle"].core_calls == 2 * 2 * 5
    assert chip.meter.stages["idle"].vectors == 2 * 5


def test_ports_are_fabricated_and_made_again() -> None:
    chip = core(gain_std=0.05, offset_std=0.02)
    other = CoreChip((1, 2), MESH, chip.nonidealities, seed=9)
    other.refabricate(chip.oracle_fabrication())
    other.restore(*chip.state())
    np.testing.assert_array_equal(chip.forward(X), other.forward(X))
    assert not [name for name in core().oracle_fabrication() if name.startswith(("inputs", "outputs"))]
    assert isinstance(Ports(0, "a", (), 3).draws(), dict)



@pytest.mark.parametrize("reading", SIGNED)
def test_products_and_gradients_of_a_whole_grid_are_read_so_too(reading: str) -> None:
    """Fused against probe by probe: results, noise and what is metered."""
    from l2sim.chip import grid
    from l2sim.chip.protocol import Commands
    from tests.doubles import Sealed

    def both(noise: float) -> tuple[CoreChip, Sealed]:
        chips = [core(cores=(2, 2), readout_noise=noise, reference_level=2.0) for _ in range(2)]
        return chips[0], Sealed(chips[1])

    rng = generator(3, "grid")
    x, dy = rng.normal(size=(8, 6)), rng.normal(size=(8, 6))
    phases = {part: rng.uniform(0, 6, (2, 2, *MESH.shape)) for part in "uv"}
    rest = Commands(phases, {part: np.ones((2, 2, 4)) for part in "uv"})
    mapped = Commands({part: a + 0.3 for part, a in phases.items()}, rest.signs)

    def asked(chip: CoreChip) -> list[np.ndarray]:
        for part in "uv":
            chip.set_phases(**{part: mapped.phases[part]})
        sigma = np.linspace(-1, 1.5, 16).reshape(2, 2, 4)
        chip.set_sigma(sigma)
        out = [grid.product(chip, x, readout=reading), grid.product_back(chip, dy, readout=reading)]
        return [*out, grid.sigma_gradient(chip, x, dy, mapped, rest, sigma, reading)]

    fused, plain = both(0.0)
    assert fused.fuses(reading)
    for one, other in zip(asked(fused), asked(plain)):  # type: ignore[arg-type]
        np.testing.assert_allclose(one, other, atol=1e-10)
    assert fused.meter.stages == plain.meter.stages
    one, other = (
        np.array([np.concatenate([a.ravel() for a in asked(chip)]) for _ in range(300)])  # type: ignore[arg-type]
        for chip in both(0.05)
    )
    spread = other.std(axis=0)
    assert np.abs((one.mean(axis=0) - other.mean(axis=0)) / spread).max() < 6 * np.sqrt(2 / 300)
    assert np.abs(one.std(axis=0) / spread - 1).max() < 6 / np.sqrt(300)
