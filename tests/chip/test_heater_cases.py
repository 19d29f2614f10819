"""Curves of heaters, phase over voltage, as a lab has them: with an offset, and measured from the first volts on."""

from __future__ import annotations

import re

import numpy as np
import pytest

from l2sim.chip.core_chip import CoreChip
from l2sim.chip.nonidealities import GAMMA, Nonidealities
from l2sim.errors import ChipError
from l2sim.mesh.mesh import Mesh
from l2sim.mesh.orthogonal import decompose

OUTSIDE = pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="a command is wrapped to one turn from 0 and takes the nearest level there, not that of a turn more or less",
)


@pytest.mark.parametrize(
    "offset", (0.0, pytest.param(1.3, marks=OUTSIDE), pytest.param(-6.2, marks=OUTSIDE)), ids="at {}".format
)
def test_a_heater_that_spans_a_turn_reaches_every_phase_wherever_it_begins(offset: float) -> None:
    """12 bits over 8 V span 10.6 rad: an error of some 3e-6."""
    mesh = Mesh("rectangular", 8)
    sheet = Nonidealities(drive="voltage", curve=(offset, 0.0, GAMMA), v_max=8.0, phase_bits=12)
    errors = []
    for seed in range(10):
        wanted = np.linalg.qr(np.random.default_rng(seed).normal(size=(8, 8)))[0]
        phases, signs = decompose(mesh, wanted)
        chip = CoreChip((1, 1), mesh, sheet, seed=1)
        chip.set_phases(u=phases[None, None])
        chip.set_signs(u=signs[None, None])
        errors.append(np.linalg.norm(chip.oracle_matrix("u").reshape(8, 8) - wanted) ** 2 / 8)
    assert np.median(errors) < 1e-4


def test_a_table_from_a_tenth_of_a_volt_on_is_taken_or_the_missing_row_is_named() -> None:
    volts = np.arange(1, 31) / 10.0
    phases = 5.17 * (volts / 3.0) ** 2
    try:
        sheet = Nonidealities(drive="voltage", curve=tuple(phases), curve_volts=tuple(volts), v_max=3.0)
    except ChipError as refused:
        assert re.search(r"0\.1|(?<![\d.])0 V", str(refused)), refused
    else:
        assert (np.diff(sheet.phase_of(np.linspace(0.0, 3.0, 61))) > 0.0).all()
