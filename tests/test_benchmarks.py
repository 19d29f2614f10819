"""The benchmarks run and write what they promise; no time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
KEYS = {"case", "variant", "threads", "seconds", "rate", "unit", "fraction"}


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("only, sizes", (("sweep-ic", {"k", "blocks"}), ("step-cnn-s", {"model", "batch"})))
def test_a_case_writes_its_figures(only: str, sizes: set[str], tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    done = bench("--quick", "--threads", "1", "--only", only, "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert only in done.stdout
    rows = json.loads(path.read_text())
    assert {row["case"] for row in rows} == {"limit", only}
    for row in rows:
        assert row.keys() >= KEYS
        assert row["seconds"] > 0 and row["rate"] > 0 and row["threads"] == 1
        assert row["fraction"] is None or row["fraction"] > 0
        assert row["case"] == "limit" or row.keys() >= sizes


def test_it_names_its_cases() -> None:
    assert "step-vgg8" in bench("--list").stdout
    wrong = bench("--only", "nothing-of-the-kind")
    assert wrong.returncode == 2 and "no case matches" in wrong.stderr
