"""An observer sees what heaters, heat and devices of an honest chip do, and makes such chips of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.chip.core_chip import CoreChip
from l2sim.chip.mesh_chip import MeshChip
from l2sim.chip.nonidealities import PRESETS, Nonidealities
from l2sim.errors import ChipError
from l2sim.flow import session as sessions
from l2sim.flow.registry import FLOWS
from l2sim.inspect import attainable, chips
from l2sim.inspect.run import Recorded
from l2sim.mesh.mesh import Mesh
from l2sim.runs import execute
from l2sim.store import checkpoint as checkpoints
from tests.flow.test_run import short
from tests.runs.test_stream import without_figures

PUBLISHED = PRESETS["l2ight-2021"]
SILICON = msgspec.structs.replace(PRESETS["silicon-push-pull"], splitter_error_std=0.0, loss_db=0.0, loss_db_std=0.0)
OWN = {"bend": 0.05, "bend_std": 0.01, "heater_inl": 0.004}
FAR = {"crosstalk": 0.02, "crosstalk_range": 1.5, "crosstalk_pairs": 0.5, "die_heat": 0.01, "crosstalk_arms": True}
SHEETS = [
    msgspec.structs.replace(base, **more)
    for base in (PUBLISHED, SILICON, msgspec.structs.replace(PUBLISHED, stuck=0.2, dead=0.1, detuning_nm=0.0))
    for more in (OWN, FAR, OWN | FAR)
]


def closed(actual: np.ndarray, commanded: np.ndarray, added: dict[str, np.ndarray]) -> bool:
    """Whether the terms sum to what is seen, but for whole turns."""
    rest = actual - commanded - sum(added.values())
    return bool(np.abs(np.mod(rest + np.pi, 2 * np.pi) - np.pi).max() < 1e-9)


@pytest.mark.parametrize("it", SHEETS)
def test_terms_sum_to_what_is_seen(it: Nonidealities) -> None:
    mesh, rng = Mesh("rectangular", 5), generator(1)
    core = CoreChip((1, 1), mesh, it, seed=1)
    commanded = rng.uniform(0, 6, mesh.count)
    core.set_phases(u=mesh.scatter(commanded)[None, None])
    truth = chips.core_truth(core, "u", commanded)
    terms = {name: by["theta"] for name, by in truth["terms"].items()}
    assert closed(truth["actual"]["theta"], commanded, terms)
    assert ("curve and converter" in terms) and (np.abs(terms["curve and converter"]).max() > 1e-3) == bool(it.bend)
    whole = MeshChip(Mesh("clements", 4), it, seed=1, dtype=float)
    whole.set_phases(rng.uniform(0, 6, 6), rng.uniform(0, 6, 6), rng.uniform(0, 6, 4))
    truth = chips.mesh_truth(whole)
    for part, wanted in whole.commanded.items():
        assert closed(truth["actual"][part], wanted, {name: by[part] for name, by in truth["terms"].items()})


def test_given_devices_are_a_term() -> None:
    mesh = Mesh("rectangular", 4)
    core = CoreChip((1, 1), mesh, PUBLISHED, seed=1, given={"u.bias": np.full((1, 6), 0.3), "u.dead": [2]})
    commanded = np.full(6, 1.0)
    core.set_phases(u=mesh.scatter(commanded)[None, None])
    truth = chips.core_truth(core, "u", commanded)
    terms = {name: by["theta"] for name, by in truth["terms"].items()}
    assert closed(truth["actual"]["theta"], commanded, terms) and np.abs(terms["given devices"]).max() > 0.1


def test_nobody_claims_to_know_the_best_of_other_heaters() -> None:
    chip: Any = CoreChip((1, 1), Mesh("rectangular", 4), SHEETS[2], seed=1)
    assert np.isnan(attainable.tune(chip, None, 1))  # type: ignore[arg-type]


# -- runs --------------------------------------------------------------------------------------------------------------


def made(folder: Path, **settings: Any) -> Path:
    """A short run with these imperfections. Phases are continuous: logs have them in single precision, which may be on
    the other side of where a drive rounds."""
    settings["phase_bits"] = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute.report, "write", without_figures)
        list(execute.execute(short(**{f"nonidealities.{name}": value for name, value in settings.items()}), folder))
    return folder


def as_it_ran(folder: Path) -> None:
    """The chips made again are those that ran, core by core."""
    run = Recorded(folder)
    checkpoint, _ = checkpoints.read(folder / "checkpoints" / "deploy.safetensors")
    session = FLOWS[run.job.flow].open(run.job, None)
    sessions.restore(session, checkpoint)
    step = next(stage.last_step for stage in run.stages if stage.name == "deploy")
    for layer, chip in session.chips.items():
        weights, grid = chip.oracle_weights(), run.grids[layer]
        for block in range(grid.p * grid.q):
            seen = run.rebuilt.realised(layer, block, step)
            np.testing.assert_allclose(seen, weights[divmod(block, grid.q)], atol=1e-5)


def test_chips_of_a_run_are_made_again(tmp_path: Path) -> None:
    as_it_ran(made(tmp_path / "far", **FAR, **OWN, sigma_bias=0.2))
    as_it_ran(made(tmp_path / "mzi", attenuators="mzi", splitter_error_std=0.02, splitter_length=3.0, sigma_bias=0.2,
                   splitter_chip_std=0.05, bend=0.03, loss_db=0.05))  # fmt: skip


def test_devices_of_a_file_stay_in_the_run(tmp_path: Path) -> None:
    """Also when the file is gone."""
    table = tmp_path / "devices.csv"
    table.write_text("layer,part,core,heater,bias,dead,stuck_at\n" + "".join(
        f"conv2,{part},{core},3,0.4,,\nconv2,{part},{core},5,,1,\n,{part},0,2,,,1.0\n"
        for part in "uv" for core in range(3)
    ))  # fmt: skip
    folder = made(tmp_path / "run", devices=str(table))
    as_it_ran(folder)
    table.rename(tmp_path / "gone.csv")
    run = Recorded(folder)
    truth = run.rebuilt.oracle("conv2", 1, "u", None)
    assert truth is not None and np.abs(truth["terms"]["given devices"]["theta"][[3, 5]]).max() > 0.1


def test_a_layer_that_is_none_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "devices.csv"
    table.write_text("layer,part,core,heater,bias\nconv9,u,0,0,1\n")
    with pytest.raises(ChipError, match="of no layer of this network; its layers are") as caught:
        made(tmp_path / "run", devices=str(table))
    assert "\n" not in str(caught.value)
