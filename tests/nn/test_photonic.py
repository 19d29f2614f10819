"""The photonic weight: on a perfect chip it is a matrix like any other, and its gradients are finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import Commands
from l2sim.learn.search import calibrate, mapping
from l2sim.mesh.mesh import Mesh
from l2sim.nn.photonic import PhotonicWeight
from tests.doubles import Sealed


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("kind", ["rectangular", "triangular"])
def test_gradients_are_finite_differences(kind: str, sealed: bool) -> None:
    rng = generator(5, kind)
    matrix, x, c = rng.standard_normal((7, 10)), rng.standard_normal((10, 6)), rng.standard_normal((7, 6))
    chip = CoreChip((2, 3), Mesh(kind, 4), Nonidealities(), seed=1)
    aim = mapping.target(chip, matrix)
    mapping.deploy(chip, aim)
    ones = np.ones((2, 3, 4))
    rest = Commands(calibrate.zero_phases(chip), {"u": ones, "v": ones})  # on a perfect chip zero phase is the identity
    weight = PhotonicWeight(Sealed(chip) if sealed else chip, 7, 10, aim.commands, rest, aim.sigma.copy())
    np.testing.assert_allclose(weight.forward(x), matrix @ x, atol=1e-12)
    np.testing.assert_allclose(weight.transpose(c), matrix.T @ c, atol=1e-12)
    weight.accumulate(c, x, 0.5)
    h = 1e-6
    for at in np.ndindex(weight.sigma.shape):
        centre, ends = weight.sigma[at], []
        for step in (h, -h):
            weight.sigma[at] = centre + step
            weight.write()
            ends.append(np.sum(c * weight.forward(x)))
        weight.sigma[at] = centre
        weight.write()
        assert weight.gradients()["sigma"][at] == pytest.approx(0.5 * (ends[0] - ends[1]) / (2 * h), abs=1e-6)
