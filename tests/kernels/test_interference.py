"""Quadratic forms, by the light that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from l2sim.backend import generator
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
