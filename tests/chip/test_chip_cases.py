"""Chips that are asked for nonsense, metered, programmed by measurement and identified from their outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from l2sim.chip.core_chip import CoreChip
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.svd_chip import SvdChip
from l2sim.errors import ChipError, L2simError
from l2sim.flow.l2ight import seek
from l2sim.job.imperfections import chip_nonidealities
from l2sim.job.job import Job
from l2sim.learn.search import selfconfigure
from l2sim.learn.twin.whole import by_outputs
from l2sim.mesh import unitary
from l2sim.mesh.mesh import Mesh


def test_a_real_chip_refuses_complex_light() -> None:
    chip = CoreChip((1, 1), Mesh("rectangular", 4), Nonidealities(), seed=1)
    with pytest.raises(ChipError, match="ComplexChip"):
        chip.forward(1j * np.ones((1, 1, 4, 1)))


def test_a_real_chip_refuses_light_that_is_not_finite() -> None:
    chip = CoreChip((1, 1), Mesh("rectangular", 4), Nonidealities(), seed=1)
    with pytest.raises(ChipError, match="not finite"):
        chip.forward(np.full((1, 1, 4, 1), np.nan))


@pytest.mark.parametrize(
    "name, value",
    (
        ("loss_db", -3.0),
        ("crosstalk", 5.0),
        ("readout_noise", -1.0),
        ("stuck", -0.5),
        ("phase_bits", -4),
        ("phase_bias", 100.0),
        ("gamma_std", "much"),
        ("loss_db_std", float("nan")),
    ),
)
def test_nonidealities_are_checked_in_python_too(name: str, value: Any) -> None:
    with pytest.raises(L2simError, match=name):
        Nonidealities(**{name: value})


# ------------------------------------------------------------------------------------------- what is metered

MESH = Mesh("rectangular", 4)
PHASES = np.random.default_rng(0).random((2, MESH.count))


def both(chip: SvdChip) -> None:
    chip.set_phases(u={"theta": PHASES[0]}, v={"theta": PHASES[1]})


@pytest.mark.parametrize(
    "write, probe",
    (
        (both, lambda chip: chip.forward(np.eye(4))),
        (both, lambda chip: chip.taps(np.eye(4))),
        (lambda chip: chip.set_sigma(np.full(4, 0.5)), lambda chip: chip.taps(np.eye(4))),
    ),
    ids=("phases, then light", "phases, then taps", "sigma, then taps"),
)
def test_what_was_written_to_an_svd_chip_is_waited_for_once(
    write: Callable[[SvdChip], None], probe: Callable[[SvdChip], object]
) -> None:
    chip = SvdChip(MESH, Nonidealities(), seed=1)
    write(chip)
    probe(chip)
    assert settled(chip) == 1


def test_what_was_written_to_a_mesh_is_waited_for_once() -> None:
    chip = MeshChip(MESH, Nonidealities(), seed=1)
    chip.set_phases(theta=PHASES[0], phi=PHASES[1])
    chip.forward(np.eye(4))
    chip.taps(np.eye(4))
    assert settled(chip) == 1


def settled(chip: Any) -> int:
    return sum(stage["settled"] for stage in chip.meter.state().values())


# --------------------------------------------------------------------------------------- what is searched for


def test_no_step_of_a_search_is_smaller_than_a_level_of_a_voltage_drive() -> None:
    job = Job.preset("digits", {"nonidealities.base": "silicon"})
    levels = chip_nonidealities(job).levels()
    floor = seek.search(job, job.map, 0.1).floor
    gaps = np.diff(levels[levels < 2.0 * np.pi])
    assert gaps.size == 246 and (gaps > floor).sum() == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_mesh_of_unknown_phases_is_programmed(seed: int) -> None:
    mesh, target = Mesh("rectangular", 8), unitary.haar_matrix(np.random.default_rng(seed), 8)
    chip = MeshChip(mesh, Nonidealities(phase_bias=1.0), seed=seed, dtype="float64")
    assert selfconfigure.progressive(chip, target).error < 1e-7
    assert unitary.error(target, chip.oracle_matrix()) < 1e-13


@pytest.mark.parametrize("loss", (0.0, 0.001, 0.05, 0.5), ids="{} dB".format)
def test_a_mesh_of_an_even_loss_is_identified_from_its_outputs(loss: float) -> None:
    sheet = Nonidealities(phase_bits=12, phase_bias=np.pi, gamma_std=0.002, crosstalk=0.005, readout_noise=0.003)
    sheet = msgspec.structs.replace(sheet, loss_db=loss)
    chip = MeshChip(Mesh("rectangular", 8), sheet, seed=3, name="mine", dtype="float64")
    assert by_outputs.identify(chip, sheet, np.random.default_rng(1)).identified
