"""Chips made again for an observer have drifted as far as those of the run had, at every step."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2sim.chip.core_chip import CoreChip
from l2sim.flow.registry import FLOWS
from l2sim.inspect import budget, diagnose, findings
from l2sim.inspect.run import Recorded
from l2sim.job import job
from l2sim.runs import execute
from l2sim.store.events import Epoch
from tests.flow.test_run import short
from tests.runs.test_stream import without_figures

DRIFT = {
    "nonidealities.drift_std": 0.2, "nonidealities.drift_seconds": 1800.0, "nonidealities.step_std": 0.1,
    "nonidealities.step_seconds": 1800.0, "upkeep.hours": 2.0, "upkeep.every": 1.0, "upkeep.policy": "none",
}  # fmt: skip
QUICK = {"pretrain.epochs": 1, "calibrate.epochs": 1, "calibrate.polish": 0, "map.epochs": 1, "map.polish": 0,
         "map.snapshots": [], "map.compare": False, "learn.epochs": 1}  # fmt: skip


def matrix(chip: Any) -> Any:
    return chip.oracle_weights() if isinstance(chip, CoreChip) else chip.oracle_matrix()


def watched(made: job.Job, out: Path) -> dict[int, dict[str, Any]]:
    """Run a job; the true matrices of its chips after every epoch of service, by step and layer."""
    held: list[Any] = []
    begin = FLOWS[made.flow].open

    def opened(*arguments: Any) -> Any:
        held.append(begin(*arguments))
        return held[0]

    found: dict[int, dict[str, Any]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute.report, "write", without_figures)
        patch.setitem(FLOWS.known, made.flow, FLOWS[made.flow]._replace(open=opened))
        for event in execute.execute(made, out):
            if isinstance(event, Epoch) and event.stage == "upkeep":
                found[event.step] = {name: matrix(chip).copy() for name, chip in held[0].chips.items()}
    return found


@pytest.fixture(scope="module", params=("l2ight", "insitu"))
def drifting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if request.param == "l2ight":
        made = short(**QUICK, **DRIFT)
    else:
        made = job.with_overrides(job.smoke(job.Job.preset("insitu-digits")), [f"{k}={v}" for k, v in DRIFT.items()])
    out = tmp_path_factory.mktemp("drift") / request.param
    return out, watched(made, out)


def test_a_chip_made_again_has_drifted_as_the_one_of_the_run(drifting: Any) -> None:
    out, seen = drifting
    run, clocks = Recorded(out), []
    assert len(seen) == 2
    for step in (*seen, *list(seen)[::-1]):  # an observer goes back too
        for layer, wanted in seen[step].items():
            it, close = run.grids[layer], {"atol": 2e-4}
            blocks = [(0, wanted)] if it.whole else list(enumerate(wanted.reshape(-1, it.k, it.k)))
            for block, true in (blocks[0], blocks[-1]):
                known = run.realised(layer, block, step)
                assert known is not None
                np.testing.assert_allclose(known, true, **close)
        clocks.append(run.clock(step))
    assert clocks[0] == clocks[3] < clocks[1] == clocks[2] == run.clock() and clocks[1] - clocks[0] > 3599
    assert run.timeless() == "" and run.timeless(1) == ""


def test_what_drift_adds_to_a_phase_is_told_and_the_terms_sum_to_all(drifting: Any) -> None:
    out, _ = drifting
    run = Recorded(out)
    layer = list(run.grids)[-1]
    side = "" if run.grids[layer].whole else "u"
    told, phases = run.oracle(layer, 0, side), run.phases(layer, 0, side)
    assert told is not None
    drift = told["terms"]["drift"]["theta"]
    assert 0.05 < drift.std() < 1.0
    off = told["actual"]["theta"] - phases["theta"] - sum(term["theta"] for term in told["terms"].values())
    np.testing.assert_allclose(np.abs(np.mod(off + np.pi, 2 * np.pi) - np.pi), 0.0, atol=1e-4)
    rows = {row.name: row for row in budget.budget(diagnose.place(out, layer, 0))}
    assert rows["drift"].alone > 1e-3 if side == "" else rows["drift"].alone < 1e-5  # new commands make up for it


def test_a_run_that_did_not_record_its_clock_says_so(drifting: Any, tmp_path: Path) -> None:
    out, seen = drifting
    old = tmp_path / "old"
    (old / "checkpoints").mkdir(parents=True)
    for path in [*out.glob("*.*"), *out.glob("checkpoints/*")]:
        (old / path.relative_to(out)).write_bytes(path.read_bytes())
    told = [json.loads(line)["event"] for line in (out / "events.jsonl").read_text().splitlines()]
    with (old / "events.jsonl").open("w") as file:
        for event in told:
            text = json.dumps(event, sort_keys=True).replace("clock_s\"", "other\"")
            file.write(f'{{"event": {text}, "crc": "{zlib.crc32(text.encode()):08x}"}}\n')
    run, new = Recorded(old), Recorded(out)
    before, last = seen
    assert run.clock(last) == pytest.approx(new.clock(last))  # the stage's last checkpoint was kept
    layer = next(iter(run.grids))
    assert run.clock(before) is None and "did not record the chips' clock" in run.timeless(before)
    found = findings.find(old, "movement", layer=layer, core=0, step=before)
    assert found["place"]["note"] == run.timeless(before) and run.timeless(before) in "\n".join(findings.words(found))
    assert run.realised(layer, 0, before) is not None and new.timeless(before) == ""
