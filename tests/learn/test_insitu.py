"""In situ gradients: golden data, exact gradients, every scheme, loss and its correction, noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2sim.backend import generator
from l2sim.chip.fused import aggregate
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import SCHEMES
from l2sim.chip.recorded import MeshRecorder, MeshReplay
from l2sim.errors import ChipError, NotFinite
from l2sim.learn import insitu
from l2sim.learn.insitu import Gradient, measure
from l2sim.mesh.layouts import LAYOUTS
from l2sim.mesh.mesh import NODES, Mesh
from tests.doubles import Sealed, light, lit_mesh
from tests.goldens import golden_mesh
from tests.tolerances import DTYPES, kernel

MESHES = ("rect_4", "rect_8", "tri_4", "tri_8")
layouts = st.builds(
    Mesh, st.sampled_from(sorted(LAYOUTS)), st.integers(1, 7), node=st.sampled_from(NODES)
)
ERRORS = Nonidealities(splitter_error_std=0.1, phase_error_std=0.1)


@st.composite
def custom(draw: Any) -> Mesh:
    """Any feed-forward list of couplers on rails."""
    modes = draw(st.integers(2, 6))
    pairs = draw(st.lists(st.tuples(st.integers(0, modes - 1), st.integers(0, modes - 1)), max_size=8))
    pairs = [sorted(pair) for pair in pairs if pair[0] != pair[1]]
    return Mesh.of(modes, [a for a, _ in pairs], [b for _, b in pairs])


anything = st.one_of(layouts, custom())


def close(found: Gradient, wanted: Gradient, tolerance: float = 1e-11) -> None:
    for name, a, b in zip(Gradient._fields, found, wanted):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance, err_msg=name)


def waves(chip: MeshChip, batch: int) -> tuple[np.ndarray, np.ndarray]:
    return light(chip, batch, "x"), light(chip, batch, "g")


# -- golden data -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sealed", (False, True))
@pytest.mark.parametrize("name", MESHES)
@pytest.mark.parametrize("variant", ("ideal", "bs", "all"))
def test_golden_gradients(name: str, variant: str, sealed: bool) -> None:
    """True gradients, and what was measured: with loss as biased as it was recorded."""
    chip, order, z = golden_mesh(name, variant)
    x = z["X"]
    y = chip.forward(x)
    np.testing.assert_allclose(y, z[f"y_{variant}"], rtol=0, atol=1e-12)
    g = (2 * z["w"][:, None] * np.conj(y) + np.conj(z["T"])) / x.shape[1]

    def recorded(prefix: str) -> Gradient:
        theta, phi, screen = (z[f"{prefix}g{part}_{variant}"] for part in ("theta", "phi", "gamma"))
        return Gradient(theta[order], phi[order], screen, z[f"adjoint_in_{variant}"])

    close(chip.oracle_gradient(x, g), recorded(""), 1e-12)
    hardware = Sealed(chip) if sealed else chip
    close(measure(hardware, x, g, "digital", scale="none"), recorded("insitu_"), 1e-12)
    close(measure(hardware, x, g, "analog"), recorded("analog_"), 1e-12)


# -- what is measured is the gradient ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(anything, st.integers(1, 9), st.sampled_from(sorted(SCHEMES)), st.booleans(), st.integers(0, 99))
def test_a_lossless_mesh_shows_its_exact_gradient(
    mesh: Mesh, batch: int, scheme: str, sealed: bool, seed: int
) -> None:
    chip = lit_mesh(mesh, ERRORS, seed)
    x, g = waves(chip, batch)
    close(measure(Sealed(chip) if sealed else chip, x, g, scheme), chip.oracle_gradient(x, g), 1e-10)


@settings(max_examples=30, deadline=None)
@given(anything, st.booleans(), st.integers(0, 99))
def test_the_gradient_is_the_slope_of_the_loss(mesh: Mesh, sealed: bool, seed: int) -> None:
    """Finite differences of L = sum w |y|^2 + Re sum conj(t) y, in every commanded phase that has a heater."""
    chip, step = lit_mesh(mesh, ERRORS, seed), 1e-6
    x, target = waves(chip, 3)
    weights = np.arange(1.0, mesh.modes + 1)[:, None]

    def loss() -> float:
        y = chip.forward(x)
        return float(np.sum(weights * np.abs(y) ** 2) + np.real(np.sum(np.conj(target) * y)))

    g = 2 * weights * np.conj(chip.forward(x)) + np.conj(target)
    found = measure(Sealed(chip) if sealed else chip, x, g)
    for part, slopes in zip(("theta", "phi", "screen"), found):
        start = chip.commanded[part]
        for i in range(slopes.size):
            sides = []
            for sign in (1, -1):
                moved = start.copy()
                moved[i] += sign * step
                chip.set_phases(**{part: moved})
                sides.append(loss())
            chip.set_phases(**{part: start})
            assert abs((sides[0] - sides[1]) / (2 * step) - slopes[i]) < 1e-6
    assert not found.theta[~mesh.active].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", (1, 8, 40))
def test_fused_is_the_adjoint_kernel(batch: int, dtype: type) -> None:
    chip = lit_mesh(Mesh("rectangular", 8), ERRORS, dtype=dtype)
    x, g = waves(chip, batch)
    scale = 40 * batch * kernel(dtype)
    found = measure(chip, x, g)
    close(found, measure(Sealed(chip), x, g), scale)
    close(found, lit_mesh(Mesh("rectangular", 8), ERRORS).oracle_gradient(x, g), scale)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("it", (Nonidealities(), Nonidealities(loss_db=0.1)))
def test_fused_costs_what_the_public_path_costs(scheme: str, it: Nonidealities) -> None:
    states = []
    for wrap in (lambda chip: chip, Sealed):
        chip = lit_mesh(Mesh("triangular", 5), it)
        measure(wrap(chip), *waves(chip, 7), scheme)
        states.append(chip.meter.state())
    assert states[0] == states[1]
    plain, tapped = SCHEMES[scheme]
    assert states[0]["idle"]["core_calls"] == (plain + tapped) * 7
    assert states[0]["idle"]["tap_readings"] == tapped * 7 * 25


@pytest.mark.parametrize("noise", (0.0, 0.05))
@pytest.mark.parametrize("scheme", SCHEMES)
def test_hidden_state_is_not_needed_and_a_recording_can_be_replayed(scheme: str, noise: float, tmp_path: Any) -> None:
    it = Nonidealities(phase_bits=8, crosstalk=0.005, loss_db=0.05, tap_noise=noise, io_phase_error=noise)

    def descend(hardware: Any, chip: MeshChip) -> list[np.ndarray]:
        theta, seen = np.full(hardware.mesh.count, 0.5), []
        x, g = waves(chip, 4)
        for _ in range(3):
            hardware.set_phases(theta=theta)
            hardware.forward(x)
            found = measure(hardware, x, g, scheme, loss_per_column=0.1)
            theta -= 0.1 * found.theta
            seen += [*found]
        return seen

    plain, recorded = (lit_mesh(Mesh("rectangular", 4), it) for _ in range(2))
    for chip in (plain, recorded):
        chip.set_phases(*(np.zeros(size) for size in (6, 6, 4)))
    before = recorded.meter.state()["idle"]
    recorder = MeshRecorder(Sealed(recorded))
    wanted = descend(recorder, recorded)
    recorder.save(tmp_path / "mesh.npz")
    replay = MeshReplay.load(tmp_path / "mesh.npz")
    assert all(np.array_equal(a, b) for a, b in zip(descend(replay, recorded), wanted))
    after = recorded.meter.state()["idle"]
    assert replay.meter.state()["idle"] == {name: after[name] - before[name] for name in after}
    if not noise:
        for a, b in zip(descend(plain, plain), wanted):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


# -- loss --------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(anything, st.sampled_from(sorted(SCHEMES)), st.booleans(), st.floats(0.01, 0.5), st.integers(0, 99))
def test_uniform_loss_is_corrected_exactly(mesh: Mesh, scheme: str, sealed: bool, loss: float, seed: int) -> None:
    """Forward and sum powers divided by t^{2d}, backward powers multiplied: exact in every topology."""
    chip = lit_mesh(mesh, Nonidealities(loss_db=loss, splitter_error_std=0.1), seed)
    x, g = waves(chip, 3)
    found = measure(Sealed(chip) if sealed else chip, x, g, scheme, loss_per_column=2 * loss)
    close(found, chip.oracle_gradient(x, g), 1e-10)


def test_the_opposite_correction_is_worse_than_none() -> None:
    chip = lit_mesh(Mesh("rectangular", 16), Nonidealities(loss_db=0.1))
    x, g = waves(chip, 8)
    exact = chip.oracle_gradient(x, g)

    def error(loss: float) -> float:
        return float(np.linalg.norm(measure(chip, x, g, "digital", loss).theta - exact.theta))

    assert error(0.2) < 1e-9 < error(0.0) < error(-0.2)


# -- noise -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ("digital", "analog", "sweep"))
def test_aggregated_noise_has_the_distribution_of_its_samples(scheme: str) -> None:
    """Every measured gradient, fused against probe by probe."""
    from scipy import stats

    chip, rounds = lit_mesh(Mesh("rectangular", 3), Nonidealities(tap_noise=0.1)), 600
    x, g = waves(chip, 4)

    def rows(hardware: Any) -> np.ndarray:
        return np.array([np.concatenate(measure(hardware, x, g, scheme)[:3]) for _ in range(rounds)])

    fused, public, exact = rows(chip), rows(Sealed(chip)), np.concatenate(chip.oracle_gradient(x, g)[:3])
    for a, b, wanted in zip(fused.T, public.T, exact):
        assert stats.ks_2samp(a, b).pvalue > 1e-4
        assert abs(a.mean() - wanted) < 5 * a.std() / np.sqrt(rounds)


def test_tap_noise_has_the_size_that_its_model_says() -> None:
    """Digital: std = s / 2 sqrt(P_s + P_f + P_a), P summed over the batch, in units of the normalised light."""
    s, rounds = 0.05, 2000
    chip = lit_mesh(Mesh("rectangular", 4), Nonidealities(tap_noise=s))
    ideal = lit_mesh(Mesh("rectangular", 4))
    x, g = waves(chip, 6)
    scale_x, scale_g = (np.sqrt((np.abs(z) ** 2).sum(axis=1)).max() for z in (x, g))
    found = np.array([measure(chip, x, g).theta for _ in range(rounds)])
    back_in, back = ideal.tap_sums(g / scale_g, True)
    power = ideal.tap_sums(x / scale_x)[1].theta + back.theta
    power = power + ideal.tap_sums(x / scale_x - 1j * np.conj(back_in))[1].theta
    np.testing.assert_allclose(found.std(axis=0), s / 2 * np.sqrt(power) * scale_x * scale_g, rtol=0.1)


@pytest.mark.parametrize("scheme", ("digital", "analog", "sweep", "toggle"))
def test_readout_noise_adds_its_power_to_every_phase_where_readings_are_subtracted_digitally(scheme: str) -> None:
    """Digital: off by s^2 B, in units of the normalised light; the others have the power in both readings."""
    s, batch, rounds = 0.2, 40, 400
    chip = lit_mesh(Mesh("rectangular", 4), Nonidealities(readout_noise=s))
    x, g = waves(chip, batch)
    scale_x, scale_g = (np.sqrt((np.abs(z) ** 2).sum(axis=1)).max() for z in (x, g))
    exact = chip.oracle_gradient(x, g).theta
    off = np.array([measure(chip, x, g, scheme).theta - exact for _ in range(rounds)]) / (scale_x * scale_g)
    wanted = s**2 * batch if scheme == "digital" else 0.0
    assert (np.abs(off.mean(axis=0) - wanted) < 5 * off.std(axis=0) / np.sqrt(rounds)).all()


def test_noise_is_fresh_unless_frozen() -> None:
    noisy = Nonidealities(tap_noise=0.1, io_amplitude_error=0.05, io_phase_error=0.05)
    for wrap in (lambda chip: chip, lambda chip: Frozen(chip)):
        chip = wrap(lit_mesh(Mesh("rectangular", 4), noisy))
        x, g = waves(chip, 5)
        assert not np.array_equal(measure(chip, x, g).theta, measure(chip, x, g).theta)
        runs = [measure(chip, x, g, frozen=True) for _ in range(2)]
        assert all(np.array_equal(a, b) for a, b in zip(*runs))
    with pytest.raises(ChipError, match="cannot repeat its noise"):
        measure(Sealed(lit_mesh(Mesh("rectangular", 4), noisy)), x, g, frozen=True)


class Frozen:
    """A mesh whose noise can be rewound but that has no fused operation."""

    def __init__(self, chip: MeshChip) -> None:
        self._chip = chip

    def __getattr__(self, name: str) -> Any:
        if name in ("gradient", "noisy_gradient", "tap_sums"):
            raise AttributeError(name)
        return getattr(self._chip, name)


def test_the_size_of_light_and_cotangents_does_not_matter_to_noise() -> None:
    chip = lit_mesh(Mesh("rectangular", 4), Nonidealities(tap_noise=0.05))
    x, g = waves(chip, 5)
    one, two = measure(chip, x, g, frozen=True), measure(chip, 1e3 * x, 1e-5 * g, frozen=True)
    np.testing.assert_allclose(two.theta, 1e-2 * one.theta, rtol=1e-9)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sealed", (False, True))
def test_refusals(sealed: bool) -> None:
    chip = lit_mesh(Mesh("rectangular", 4))
    hardware = Sealed(chip) if sealed else chip
    one = np.ones((4, 2))
    bad = {
        "scheme 'lockin' is unknown": (one, one, "lockin"),
        "with at least one vector": (one[:, :0], one[:, :0], "digital"),
        "must both be": (one, one[:, :1], "analog"),
        "must both be ": (one[:, 0], one[:, 0], "analog"),
        "does not fit": (one[:3], one[:3], "digital"),
        "not finite": (one, one * np.nan, "sweep"),
    }
    for words, (x, g, scheme) in bad.items():
        with pytest.raises(ChipError, match=words) as caught:
            measure(hardware, x, g, scheme)
        assert "\n" not in str(caught.value)


def test_dark_inputs_have_no_gradient() -> None:
    chip = lit_mesh(Mesh("rectangular", 4))
    dark = np.zeros((4, 2))
    for part in measure(Sealed(chip), dark, dark):
        assert not part.any()


@pytest.mark.parametrize("real", (True, False))
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_products_of_fields_are_taken_by_their_parts(real: bool, dtype: type) -> None:
    rng = generator(9, "parts")
    a, b, c, d = rng.standard_normal((4, 6, 20)).astype(dtype)
    x, back = (a if real else a + 1j * b), c + 1j * d
    returned, close = np.conj(back), {"atol": kernel(dtype, 20) * 20}
    forward, behind, cross = aggregate.correlations(x, back)
    np.testing.assert_allclose(forward, x @ np.conj(x.T), **close)
    np.testing.assert_allclose(behind, returned @ np.conj(returned.T), **close)
    np.testing.assert_allclose(cross, returned @ np.conj(x.T), **close)
    np.testing.assert_allclose(aggregate.covariance(x), x @ np.conj(x.T), **close)
    assert behind.dtype == cross.dtype == back.dtype


def test_the_norm_of_rows_and_light_divided_by_it() -> None:
    rng = generator(9, "rows")
    for x in (rng.standard_normal((3, 5)), rng.standard_normal((3, 5)) + 1j, np.arange(6).reshape(2, 3)):
        expected = np.linalg.norm(x, axis=1).max()
        assert insitu.row_norm(x, True) == pytest.approx(expected)
        np.testing.assert_allclose(insitu.divided(x, expected), x / expected)
    assert insitu.row_norm(np.full((2, 2), 1e30, np.float32), False) == 1.0  # squares are not finite, the light is
    with pytest.raises(NotFinite):
        insitu.row_norm(np.array([[1.0, np.inf]]), False)
