"""A run on cores with theta and phi: every stage, its files, and what an observer makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.chip.complex_core_chip import ComplexChip
from l2sim.chip.nonidealities import PRESETS
from l2sim.errors import ChipError, JobError
from l2sim.flow import export, flow
from l2sim.inspect import budget
from l2sim.inspect.bench import Heater
from l2sim.inspect.diagnose import Place, aim, heater_name
from l2sim.inspect.run import Recorded
from l2sim.job.job import Job
from l2sim.learn.twin.identify import identify
from l2sim.mesh.mesh import Mesh
from l2sim.runs import execute
from l2sim.store.events import Checkpoint, Done
from l2sim.sweep.bank.plan import planned

SHORT = {
    "nonidealities.base": "silicon", "data.name": "synthetic", "model.width": 0.2, "pretrain.epochs": 1,
    "calibrate.epochs": 3, "calibrate.polish": 1, "map.epochs": 3, "map.polish": 1, "learn.epochs": 2,
    "upkeep.hours": 2.0, "upkeep.policy": "periodic", "upkeep.sweeps": 1, "nonidealities.drift_std": 0.05,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "phi"
    *_, done = execute.execute(Job.preset("digits", SHORT), out)
    assert isinstance(done, Done) and (out / "report.html").exists()
    return out


def test_stages_are_resumed_where_they_were(run: Path) -> None:
    events = list(flow.run(Job.preset("digits", SHORT)))
    kept = [event for event in events if isinstance(event, Checkpoint)]
    for at in (next(c for c in kept if c.stage == stage) for stage in ("calibrate", "map", "learn")):
        again = list(flow.run(Job.preset("digits", SHORT), checkpoint=at))
        assert isinstance(again[-1], Done)
        last = [event for event in again if isinstance(event, Checkpoint)][-1]
        for name, values in last.arrays.items():
            np.testing.assert_array_equal(values, kept[-1].arrays[name], err_msg=name)


def test_an_observer_sees_the_chip_that_the_run_had(run: Path, tmp_path: Path) -> None:
    record = Recorded(run)
    session = export.restored(str(run))[1]
    layer, chip = next((name, session.chip(name)) for name in record.grids)
    assert isinstance(chip, ComplexChip) and record.grids[layer].mesh == chip.mesh
    phases, truth = record.phases(layer, 0, "u"), record.oracle(layer, 0, "u")
    assert truth is not None and phases["theta"].shape == (chip.mesh.count,)
    added = phases["theta"] + sum(term["theta"] for term in truth["terms"].values())
    off = np.mod(added - truth["actual"]["theta"] + np.pi, 2 * np.pi) - np.pi
    np.testing.assert_allclose(off, 0.0, atol=1e-5)
    np.testing.assert_allclose(truth["actual"]["theta"], chip.mesh.gather(chip.oracle_phases("u"))[0, 0], atol=1e-5)
    target = record.target(layer, 0)
    assert target is not None and (target["u"]["signs"] == 1.0).all()
    export.write(str(run), tmp_path / "net.npz")
    back = export.load(tmp_path / "net.npz").chips[layer]
    np.testing.assert_allclose(back.oracle_weights(), chip.oracle_weights(), atol=1e-6)


def test_a_budget_keeps_the_heaters(run: Path) -> None:
    at = Place(Recorded(run), "conv1", 0, None)
    rows = {row.name: row for row in budget.budget(at)}
    assert rows["all of them"].tuned < 1e-6 and aim(at).still is not None
    assert np.isnan(rows["as it is"].tuned), "what is attainable with attenuators that are MZIs is not known"
    assert heater_name(at, Heater("u", "theta", 80)) == "U heater 80 (screen of rail 8)"
    assert heater_name(at, Heater("v", "theta", 0)).startswith("V* heater 0 (phi of MZI 0, column 0, rails 0 and 1")


def test_twins_do_not_know_them() -> None:
    with pytest.raises(JobError, match=r"does not know nonidealities\.phi"):
        Job.preset("digits", {"nonidealities.base": "silicon", "calibrate.method": "twin"})
    job = Job.preset("digits", {"nonidealities.base": "silicon"})
    with pytest.raises(JobError, match="--by search"):
        planned("1e4", job, 9, "twin")
    chip = ComplexChip((1, 1), Mesh("rectangular", 4), PRESETS["silicon"], seed=1)
    with pytest.raises(ChipError, match="do not know cores with phi"):
        identify(chip, PRESETS["silicon"], lambda *names: generator(1, *names))
