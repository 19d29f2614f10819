"""The search of docs/search.md: it prunes, goes on where it was stopped, and chooses by validation."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tests.places import EXAMPLES

optuna = pytest.importorskip("optuna", reason="the recipe needs Optuna: pip install optuna")

EXAMPLE = EXAMPLES / "search_optuna.py"
TINY = {
    "data.name": "synthetic", "data.validation": 0.25, "pretrain.epochs": 1, "calibrate.epochs": 1, "map.epochs": 1,
    "calibrate.polish": 0, "map.polish": 0, "map.compare": False, "learn.epochs": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def example() -> Any:
    spec = importlib.util.spec_from_file_location("search_optuna", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return module


def test_trials_share_a_mapped_chip_and_a_second_call_goes_on(
    example: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(example.search(tmp_path, 1, TINY).trials) == 1
    begun = (tmp_path / "mapped" / "report.json").stat().st_mtime_ns
    asked = iter([False, False, True])
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda self: next(asked))
    study = example.search(tmp_path, 3, TINY)
    assert (tmp_path / "mapped" / "report.json").stat().st_mtime_ns == begun
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE", "COMPLETE", "PRUNED"]
    stopped = json.loads((tmp_path / "trial-0002" / "manifest.json").read_text())
    assert stopped["state"] == "stopped"
    for trial in study.trials[:2]:
        report = json.loads((tmp_path / f"trial-{trial.number:04d}" / "report.json").read_text())
        assert [stage["name"] for stage in report["stages"]][-1] == "learn"
        stage = report["stages"][-1]
        assert trial.value == pytest.approx(stage["validation_accuracy"] - 0.02 * trial.user_attrs["core_calls"])
        assert 0.3 < trial.user_attrs["core_calls"] <= 1.0
        assert trial.intermediate_values[2] == stage["validation_accuracy"]
        assert report["job"]["learn"]["lr"] == trial.params["lr"]
    assert example.search(tmp_path, 3, TINY).trials[-1].number == 2  # nothing is missing
