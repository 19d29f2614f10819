"""The benchmarks of a GPU run on the device and write what they promise; no time is asserted."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks import __main__ as program
from benchmarks import chips, first_gpu, steps, sweeps
from benchmarks.measure import FLOOR
from tests.device import GPU, xp

KEYS = {"case", "variant", "threads", "seconds", "rate", "unit", "fraction", "limit"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of one model; and what `--device` sets is put back."""
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


# -- make gpu-first ----------------------------------------------------------------------------------------------------


def test_the_first_minutes_on_a_gpu_are_rehearsed(tmp_path: Path) -> None:
    path = tmp_path / "bench-gpu.json"
    assert first_gpu.main(["--rehearse", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())
    measured = [row for row in rows if row["case"] != "first-gpu"]
    assert {row["case"] for row in measured} == {"limit", *first_gpu.REHEARSED}
    assert [row["variant"] for row in measured if row["case"] == "limit"] == [
        "matrix product float32", "matrix product float64", "copy float32",
    ], "once, of the first process"  # fmt: skip
    assert rows[: len(measured)] == measured, "figures come first"
    heads = {row["variant"]: row for row in rows if row["case"] == "first-gpu"}
    assert heads.pop("machine")["rehearsal"] is True
    assert all(row["outcome"] == "done" and row["seconds"] > 0 for row in heads.values())
    assert heads["a kernel runs"]["passed"] == 1 and heads["tests of kernels"]["passed"] >= 2


def test_a_part_that_fails_or_hangs_ends_no_other(tmp_path: Path) -> None:
    figures, report = tmp_path / "figures.json", first_gpu.Report(tmp_path / "out.json")
    writes = f"import time; open({str(figures)!r}, 'w').write('[{{\"case\": \"x\"}}]'); time.sleep(60)"
    parts = (
        first_gpu.Part("fails", 30.0, (sys.executable, "-c", "print('why'); raise SystemExit(3)")),
        first_gpu.Part("is not there", 30.0, (str(tmp_path / "nobody"),)),
        first_gpu.Part("hangs", 2.0, (sys.executable, "-c", writes), figures),
        first_gpu.Part("ends well", 30.0, (sys.executable, "-c", "")),
    )
    begin = time.monotonic()
    assert [first_gpu.carry_out(part, 30.0, report, dict(os.environ)) for part in parts] == [False] * 3 + [True]
    assert first_gpu.carry_out(parts[3], 0.0, report, dict(os.environ)) is False
    assert time.monotonic() - begin < 60, "the budget of the part that hangs is two seconds"
    rows = json.loads(report.path.read_text())
    assert rows[0] == {"case": "x"}, "what was cut short leaves what it has"
    assert [row["outcome"] for row in rows[1:]] == ["failed", "failed", "cut short", "done", "no time left"]
    assert rows[1]["said"] == ["why"]


def test_what_pytest_says_is_counted() -> None:
    said = "a.py::test_one PASSED [ 1%]\na.py::test_two[x y] FAILED [ 2%]\na.py::test_three SKIPPED (no GPU)\n"
    assert first_gpu.told(said) == {"passed": 1, "skipped": 1, "failed": ["a.py::test_two[x y]"]}
    assert first_gpu.told("a line") == {}


def test_a_machine_without_network_goes_on_with_what_it_has(tmp_path: Path) -> None:
    assert first_gpu.able(tmp_path / "none", Path(sys.executable)) == sys.executable
    has = tmp_path / "python"
    has.write_text("#!/bin/sh\n")
    has.chmod(0o755)
    assert first_gpu.able(has, Path(sys.executable)) == str(has)
