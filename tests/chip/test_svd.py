"""Any matrix as two meshes and attenuators: its light, and in situ gradients of all of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2sim.backend import generator
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import SvdHardware, lacks
from l2sim.chip.svd_chip import SvdChip
from l2sim.errors import ChipError
from l2sim.learn.insitu_svd import measure_svd
from l2sim.mesh.layouts import LAYOUTS
from l2sim.mesh.mesh import NODES, Mesh
from l2sim.mesh.unitary import svd
from tests.doubles import Sealed, light

meshes = st.builds(Mesh, st.sampled_from(sorted(LAYOUTS)), st.integers(1, 6), node=st.sampled_from(NODES))
ERRORS = Nonidealities(splitter_error_std=0.1)


def chip_of(mesh: Mesh, it: Nonidealities = ERRORS, seed: int = 1) -> SvdChip:
    chip, draw = SvdChip(mesh, it, seed, dtype="float64"), generator(seed)
    sizes = {"theta": mesh.count, "phi": mesh.count, "screen": mesh.modes}
    for part in "uv":
        chip.set_phases(**{part: {name: draw.uniform(0.1, 6.0, size) for name, size in sizes.items()}})
    chip.set_sigma(draw.uniform(-1.0, 1.0, mesh.modes))
    return chip


@settings(max_examples=30, deadline=None)
@given(meshes, st.integers(1, 5), st.booleans(), st.integers(0, 99))
def test_lossless_meshes_show_their_exact_gradients(mesh: Mesh, batch: int, sealed: bool, seed: int) -> None:
    chip = chip_of(mesh, seed=seed)
    x, g = light(chip, batch, "x"), light(chip, batch, "g")
    before = chip.commanded
    found = measure_svd(Sealed(chip) if sealed else chip, x, g)
    u, v, sigma, back = chip.oracle_gradient(x, g)
    for ours, exact in zip((*found.u, *found.v, found.sigma, found.x), (*u, *v, sigma, back)):
        np.testing.assert_allclose(ours, exact, rtol=0, atol=1e-10)
    assert np.array_equal(chip.commanded["sigma"], before["sigma"])
    np.testing.assert_allclose(found.x, chip.oracle_matrix().T @ g, rtol=0, atol=1e-11)


@pytest.mark.parametrize("small", (False, True))
def test_the_gradient_is_the_slope_of_the_loss(small: bool) -> None:
    chip, step = chip_of(Mesh("rectangular", 4), Nonidealities(exact_sigma=True, splitter_error_std=0.1)), 1e-6
    sigma = np.array([0.9, 0.0 if small else 0.5, -0.3, 0.7])
    chip.set_sigma(sigma)
    x, target = light(chip, 3, "x"), light(chip, 3, "t")

    def loss() -> float:
        y = chip.forward(x)
        return float(np.sum(np.abs(y) ** 2) + np.real(np.sum(np.conj(target) * y)))

    found = measure_svd(chip, x, 2 * np.conj(chip.forward(x)) + np.conj(target))

    def slope(command: Any, values: np.ndarray, i: int) -> float:
        sides = []
        for sign in (1, -1):
            moved = values.copy()
            moved[i] += sign * step
            command(moved)
            sides.append(loss())
        command(values)
        return (sides[0] - sides[1]) / (2 * step)

    for i in range(4):
        assert abs(slope(chip.set_sigma, sigma, i) - found.sigma[i]) < 1e-6
    for part in "uv":
        for name, values in chip.commanded[part].items():
            seen = getattr(getattr(found, part), name)
            for i in range(len(values)):
                got = slope(lambda moved, p=part, n=name: chip.set_phases(**{p: {n: moved}}), values, i)
                assert abs(got - seen[i]) < 1e-6


def test_any_matrix_can_be_programmed() -> None:
    draw, mesh = generator(5), Mesh("rectangular", 5)
    target = draw.normal(size=(5, 5)) + 1j * draw.normal(size=(5, 5))
    target /= np.linalg.norm(target, 2)
    u, sigma, v = svd(mesh, mesh, target)
    chip = SvdChip(mesh, Nonidealities(), 1, dtype="float64")
    chip.set_phases(u._asdict(), v._asdict())
    chip.set_sigma(np.minimum(sigma, 1.0))
    np.testing.assert_allclose(chip.oracle_matrix(), target, rtol=0, atol=1e-10)
    x = light(chip, 3, "x")
    np.testing.assert_allclose(chip.forward(x), target @ x, atol=1e-10)
    np.testing.assert_allclose(chip.backward(x), target.T @ x, atol=1e-10)
    np.testing.assert_allclose(chip.forward(x, "power"), np.abs(target @ x) ** 2, atol=1e-10)


def test_attenuators_are_imperfect_too() -> None:
    mesh = Mesh("rectangular", 4)
    coarse = chip_of(mesh, Nonidealities(phase_bits=3))
    exact = chip_of(mesh, Nonidealities(phase_bits=3, exact_sigma=True))
    assert np.abs(coarse._realised - exact._realised).max() > 0.01
    coarse.nonidealities = exact.nonidealities
    assert np.array_equal(coarse._realised, exact._realised)


def test_sums_are_the_taps_summed_and_cost_the_same() -> None:
    chip = chip_of(Mesh("triangular", 4), Nonidealities(splitter_error_std=0.1, loss_db=0.2))
    x = light(chip, 6, "x")
    counts = []
    for back in (False, True):
        far, taps = chip.taps(x, back)
        counts.append(chip.meter.state()["idle"])
        again, sums = chip.tap_sums(x, back)
        counts.append(chip.meter.state()["idle"])
        np.testing.assert_allclose(again, far, atol=1e-12)
        np.testing.assert_allclose(far, chip.backward(x) if back else chip.forward(x), atol=1e-12)
        for mesh, summed in zip(taps, sums):
            for power, total in zip(mesh, summed):
                np.testing.assert_allclose(power.sum(axis=1), total, atol=1e-11)
    assert counts[1]["tap_readings"] == 2 * counts[0]["tap_readings"] == 2 * 6 * 2 * 16
    assert lacks(chip, SvdHardware) == []


def test_refusals() -> None:
    chip = chip_of(Mesh("rectangular", 4))
    one = np.ones((4, 2))
    cases = {
        "from -1 to 1": lambda: chip.set_sigma([2.0, 0, 0, 0]),
        r"sigma of shape \(3,\)": lambda: chip.set_sigma(np.ones(3)),
        "sigma holds values": lambda: chip.set_sigma([np.nan, 0, 0, 0]),
        "theta has shape": lambda: chip.set_phases(u={"theta": np.ones(3)}),
        "no 'quadrature' readout": lambda: chip.forward(one, "quadrature"),
        "does not fit": lambda: chip.backward(one[:3]),
        "with at least one vector": lambda: measure_svd(chip, one[:, :0], one[:, :0]),
        "not finite": lambda: measure_svd(chip, one * np.nan, one),
    }
    for words, act in cases.items():
        with pytest.raises(ChipError, match=words) as caught:
            act()
        assert "\n" not in str(caught.value)
