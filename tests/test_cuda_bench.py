"""The benchmarks of a GPU run on the device and write what they promise; no time is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as program
from benchmarks import chips, steps, sweeps
from benchmarks.measure import FLOOR
from l2sim.nn import models
from tests.device import GPU, xp
from tests.flow.test_cuda_run import TINY

KEYS = {"case", "variant", "threads", "seconds", "rate", "unit", "fraction", "limit"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of a model that the simulator can do; and what `--device` sets is put back."""
    monkeypatch.setattr(models, "get", lambda name: TINY)
    monkeypatch.setattr(steps, "CASES", steps.CASES[:1])
    monkeypatch.setattr(chips, "DEVICE", chips.DEVICE)


def test_every_case_of_a_gpu_writes_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "figures.json"
    assert program.main(["--quick", "--device", "cuda", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())
    cases = {row["case"] for row in rows}
    assert cases == {
        "limit", "sweep-ic", "sweep-pm", "vgg8-ic-pm", "bank-ic-pm", "propagate", "insitu-3-meshes", "step-cnn-s",
    }  # fmt: skip
    for row in rows:
        assert row.keys() >= KEYS and row["seconds"] > 0 and row["rate"] > 0 and row["threads"] == 1
        assert row["fraction"] is None or row["fraction"] > 0
        assert row["limit"] in ("", "matrix product", "copy", FLOOR, "exact")
    assert all(GPU or row["gpu"] == "Numba's simulator" for row in rows if row["case"] == "limit")
    assert all(row["limit"] == FLOOR for row in rows if row["case"] == "propagate")
    assert {row["variant"] for row in rows if row["case"] == "bank-ic-pm"} == {"epochs", "batches"}
    assert {row["variant"] for row in rows if row["case"] == "step-cnn-s"} == {"dense", "sampled", "products"}


@pytest.mark.skipif(GPU, reason="needs a GPU of any size")
def test_a_part_of_the_bank_meets_the_same_part_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    on = sweeps.Share("cuda", xp, (0,), 0.01)
    monkeypatch.setitem(xp.memory, "limit", 80_000)
    assert on.free() == 800
    chip = chips.chip(3, 2, device=on)
    assert chip.xp is not xp, "its arrays stay on the host, as those of the bank would"
    assert chips.chip(3, 2, device=sweeps.Share("cuda", xp, (0,), 1.0)).xp is xp
