"""Noise and quadratic forms: normal numbers by their distribution, forms by the light that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from l2sim.backend import generator, kernels
from l2sim.chip.nonidealities import Nonidealities
from l2sim.mesh.mesh import Mesh
from tests.doubles import lit_mesh
from tests.tolerances import kernel


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
@pytest.mark.parametrize("mesh", (Mesh("rectangular", 8), Mesh("triangular", 20), Mesh("rectangular", 70)))
def test_a_form_holds_the_powers_of_a_batch_at_every_shifter(mesh: Mesh, dtype: type) -> None:
    """Re and Im of F Z F^+, Z = sum_j (r_j + i w_j) X_j X_j^+, against the taps' own sums."""
    chip = lit_mesh(mesh, Nonidealities(splitter_error_std=0.1), dtype=dtype)
    rng = generator(1)
    lights = [rng.standard_normal((mesh.modes, 90)) + 1j * rng.standard_normal((mesh.modes, 90)) for _ in range(2)]
    form = sum(z * (x @ np.conj(x.T)) for z, x in zip((0.25 - 0.5j, 1.0 + 0.75j), lights))
    one, two = (chip.tap_sums(x)[1] for x in lights)
    imag, real = chip.forms(np.asarray(form, np.result_type(dtype, np.complex64)))
    scale = max(float(a.max()) for a in one)
    for a, b, i, r in zip(one, two, imag, real):
        np.testing.assert_allclose(r, 0.25 * a + b, rtol=0, atol=50 * kernel(dtype) * scale)
        np.testing.assert_allclose(i, -0.5 * a + 0.75 * b, rtol=0, atol=50 * kernel(dtype) * scale)


def filled(key: int, size: int) -> np.ndarray:
    out = np.empty(size, np.float32)
    kernels.normals.fill(np.uint64(key), out)
    return out.astype(float)


def test_normal_numbers_are_normal() -> None:
    from scipy import stats

    many = filled(0x123456789ABCDEF, 1 << 22)
    assert np.isfinite(many).all() and 4.5 < np.abs(many).max() < 6.8
    root = np.sqrt(many.size)
    for power, mean, std in ((1, 0, 1), (2, 1, np.sqrt(2)), (3, 0, np.sqrt(15)), (4, 3, np.sqrt(96))):
        assert abs((many**power).mean() - mean) < 5 * std / root
    assert stats.kstest(many[: 1 << 20], "norm").pvalue > 1e-4
    for lag in (1, 2, 512, 1024):
        assert abs((many[lag:] * many[:-lag]).mean()) < 5 / root


def test_normal_numbers_of_neighbouring_keys_have_nothing_in_common() -> None:
    rows = np.array([filled(key, 1500) for key in range(600)])
    assert np.abs((rows[1:] * rows[:-1]).mean(axis=0)).max() < 5.5 / np.sqrt(600)
    assert np.abs(rows.mean(axis=0)).max() < 5.5 / np.sqrt(600)


def test_a_shorter_array_of_one_key_is_the_beginning_of_a_longer_one() -> None:
    assert np.array_equal(filled(7, 5000)[:3000], filled(7, 3000))
    assert not np.array_equal(filled(7, 3000), filled(8, 3000))
