"""An error budget: without each imperfection and with it alone, of real and complex cores and of whole meshes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.chip.complex_core_chip import ComplexChip
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import Nonidealities
from l2sim.chip.protocol import PARTS
from l2sim.flow import oracle
from l2sim.inspect import attainable, bench, budget, diagnose, findings
from l2sim.inspect.budget import Term
from l2sim.job import job
from l2sim.learn.search import mapping
from l2sim.mesh.mesh import Mesh
from l2sim.runs import execute
from tests.doubles import random_commands
from tests.flow.test_run import short
from tests.runs.test_stream import without_figures

IDEAL = Nonidealities()
WORN = {
    "nonidealities.base": "ideal", "nonidealities.splitter_error_std": 0.02, "nonidealities.loss_db": 0.05,
    "nonidealities.phase_bias": 0.1, "nonidealities.dead": 0.0006, "nonidealities.stuck": 0.0006,
    "nonidealities.tap_noise": 0.01,
}  # fmt: skip
COMPLEX = {
    "nonidealities.splitter_error_std": 0.03, "nonidealities.loss_db": 0.05, "nonidealities.single_arm": True,
    "pretrain.epochs": 1, "calibrate.epochs": 1, "calibrate.polish": 0, "map.epochs": 1, "map.polish": 0,
    "map.compare": False, "map.snapshots": [], "learn.epochs": 0,
}  # fmt: skip


def run(made: job.Job, out: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute.report, "write", without_figures)
        list(execute.execute(made, out))
    return out


@pytest.fixture(scope="module")
def worn_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A smoke run of meshes of 64 modes with some imperfections."""
    made = job.smoke(job.Job.preset("insitu-digits", WORN))
    yield run(made, tmp_path_factory.mktemp("budget") / "mesh")


@pytest.fixture(scope="module")
def complex_cores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A short run on complex cores."""
    yield run(short(**COMPLEX), tmp_path_factory.mktemp("budget") / "complex")


# -- the best commands of a complex core -------------------------------------------------------------------------------


@pytest.mark.parametrize("it", (
    Nonidealities(splitter_error_std=0.1, loss_db=0.3, loss_db_std=0.1),
    Nonidealities(splitter_error_std=0.1, single_arm=True),
    Nonidealities(detuning_nm=20.0, dispersion=0.002),
    Nonidealities(detuning_nm=-20.0, single_arm=True),
))  # fmt: skip
def test_the_slopes_of_complex_meshes_are_their_differences(it: Nonidealities) -> None:
    chip, h = ComplexChip((1, 1), Mesh("rectangular", 4), it, seed=3), 1e-6
    meshes = attainable.Meshes(chip, dict.fromkeys(PARTS, np.array([1.0, -1.0, 1.0, 1.0])))
    phases = generator(1, "phases").uniform(-3, 3, chip.mesh.count)
    free = np.arange(chip.mesh.count) != 2
    found = meshes.slopes("u", phases, free)
    for slope, i in zip(found, np.flatnonzero(free)):
        step = h * np.eye(chip.mesh.count)[i]
        wanted = (meshes.build("u", (phases + step)[None]) - meshes.build("u", (phases - step)[None]))[0] / (2 * h)
        np.testing.assert_allclose(slope, wanted, atol=1e-8)


@pytest.mark.parametrize(("it", "most"), (
    (Nonidealities(phase_bias=1.0), 1e-5),
    (Nonidealities(phase_bias=1.0, loss_db=0.5), 1e-5),
    (Nonidealities(phase_bias=1.0, splitter_error_std=0.02, loss_db=0.05, readout_noise=0.01), 0.01),
))  # fmt: skip
def test_the_best_commands_of_a_complex_core_are_found_wherever_it_stands(it: Nonidealities, most: float) -> None:
    chip = ComplexChip((1, 1), Mesh("rectangular", 5), it, seed=2)
    target = mapping.target(chip, generator(3, "weight").standard_normal((5, 5)))
    chip.set_phases(**random_commands(chip, generator(4, "start")).phases)
    reached = attainable.tune(chip, target, 1)
    above, below = oracle.mapping_error(chip, target)
    assert reached < most and float(above[0, 0] / below[0, 0]) < 1.01 * reached + 1e-12


# -- budgets -----------------------------------------------------------------------------------------------------------


def named(rows: list[Term]) -> dict[str, Term]:
    return {row.name: row for row in rows}


def test_a_complex_core_without_an_imperfection_and_with_it_alone_is_the_same_fabrication(
    complex_cores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("STARTS", "COMPLEX_STARTS", "COMPLEX_POLISH"):  # a search that is soon given up
        monkeypatch.setattr(attainable, name, 0)
    monkeypatch.setattr(attainable, "STEPS", 10)
    tried = "phase bias", "splitter errors", "loss", "single-arm drive"
    monkeypatch.setattr(budget, "TERMS", tuple(term for term in budget.TERMS if term[0] in tried))
    at = diagnose.place(complex_cores, "conv2", 1)
    rows = named(budget.budget(at))
    assert set(rows) == {"as it is", *tried, "all of them"}
    target = diagnose.aim(at)
    cases = {
        "as it is": at.imperfect, "all of them": IDEAL,
        "single-arm drive": msgspec.structs.replace(at.imperfect, single_arm=False),
        "splitter errors": msgspec.structs.replace(at.imperfect, splitter_error_std=0.0),
    }  # fmt: skip
    for name, it in cases.items():
        chip = at.run.rebuilt.core("conv2", 1, None, it)
        assert isinstance(chip, ComplexChip) != it.real
        above, below = oracle.mapping_error(chip, target)
        np.testing.assert_allclose(rows[name].error, above[0, 0] / below[0, 0], rtol=1e-9)
    alone = at.run.rebuilt.core("conv2", 1, None, Nonidealities(single_arm=True))
    np.testing.assert_allclose(
        rows["single-arm drive"].alone, attainable.tune(alone, target, at.run.job.seed), rtol=1e-6
    )
    recorded = next(error for layer, core, error in diagnose.worst(at.run) if (layer, core) == ("conv2", 1))
    np.testing.assert_allclose(rows["as it is"].error, recorded, rtol=1e-4)
    assert rows["all of them"].tuned < 1e-5 < rows["as it is"].tuned < rows["as it is"].error
    assert rows["phase bias"].alone < 1e-5  # commands make up for it
    assert rows["single-arm drive"].alone > 1e-3 and rows["splitter errors"].alone > 1e-4
    assert budget.left_out(at) == ["readout noise"] and budget.measure(at) == budget.MAPPED


def test_a_whole_mesh_without_an_imperfection_and_with_it_alone_is_the_same_fabrication(worn_mesh: Path) -> None:
    at = diagnose.place(worn_mesh, "mesh2")
    rows = named(budget.budget(at))
    broken = diagnose.faults(at)
    fates = {fate for _, fate in broken}
    assert fates == {"dead", "stuck"}
    chip = at.chip()
    assert isinstance(chip, MeshChip)
    ideal = diagnose.ideal_matrix(chip)

    def error(it: Nonidealities, healed: tuple[str, ...] = ()) -> float:
        made = at.run.rebuilt.mesh("mesh2")
        fate = made._heaters.fate.copy()
        for heater, how in broken:
            if how in healed:
                fate[0, budget.offset(made, heater)] = 1.0
        made._heaters = replace(made._heaters, fate=fate)
        made.nonidealities = it
        made.set_phases(**chip.commanded)
        u, c = made.oracle_matrix().astype(complex), ideal.astype(complex)
        overlap = abs(np.vdot(c, u)) ** 2 / (np.vdot(c, c).real * np.vdot(u, u).real)
        return float(1.0 - overlap)

    own, close = at.imperfect, {"atol": 2e-6}
    faults = {"dead": own.dead, "stuck": own.stuck}
    np.testing.assert_allclose(rows["as it is"].error, error(own), **close)
    for name, field in (("phase bias", "phase_bias"), ("splitter errors", "splitter_error_std"), ("loss", "loss_db")):
        np.testing.assert_allclose(rows[name].error, error(msgspec.structs.replace(own, **{field: 0.0})), **close)
        np.testing.assert_allclose(rows[name].alone, error(Nonidealities(**{field: getattr(own, field)})), **close)
    for fate, other in (("dead", "stuck"), ("stuck", "dead")):
        heaters = [heater for heater, how in broken if how == fate]
        name = f"{fate} heaters" if len(heaters) > 1 else f"{fate} heater {diagnose.heater_name(at, heaters[0])}"
        np.testing.assert_allclose(rows[name].error, error(own, (fate,)), **close)
        np.testing.assert_allclose(rows[name].alone, error(Nonidealities(**faults), (other,)), **close)
    assert rows["all of them"].error < 1e-9 and "attenuator errors" not in rows
    assert all(np.isnan(row.tuned) for row in rows.values())
    after = at.chip()
    assert isinstance(after, MeshChip) and after.nonidealities == own
    np.testing.assert_array_equal(after.oracle_matrix(), chip.oracle_matrix())  # what is kept for others stayed


def test_light_that_is_lost_evenly_is_no_error_of_a_mesh() -> None:
    mesh, it = Mesh("rectangular", 8), Nonidealities(loss_db=0.2)
    chip = MeshChip(mesh, it, seed=1, dtype="float64")
    phases = generator(2, "mesh")
    chip.set_phases(*(phases.uniform(0, 2 * np.pi, n) for n in (mesh.count, mesh.count, mesh.modes)))
    assert np.abs(chip.oracle_matrix()).max() < 0.9 and diagnose.mesh_error(chip) < 1e-12
    chip.nonidealities = Nonidealities(phase_bias=np.pi)
    assert 0.5 < diagnose.mesh_error(chip) <= 1.0


def test_what_is_said_names_the_error_the_noise_left_out_and_what_does_most_by_itself(worn_mesh: Path) -> None:
    found = findings.find(worn_mesh, "budget", layer="mesh2", core=0)
    text = "\n".join(findings.words(found))
    for words in ("[oracle]", "that of an ideal mesh", "in readings: tap noise", "Largest by itself:", "it alone"):
        assert words in text, words
    assert found["badges"]["budget"] == "oracle" and "best commands" not in text
    row: dict[str, Any] = {"name": "as it is", "error": 0.5, "tuned": 0.4, "alone": None, "gain": 0.0}
    loss = row | {"name": "loss", "alone": 0.3}
    assert "Largest by itself: loss, 0.3." in findings.verdict(bench.plain([row, loss]))
