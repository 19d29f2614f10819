"""The studies run, and show what they say."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from l2sim.study import loss_bias, programming, silicon


def test_loss_bias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_bias, "table", lambda table=loss_bias.table: table((4, 9), 2))
    loss_bias.main(["--out", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {"loss-bias.csv", "loss-bias.png", "loss-bias.md"}
    error = {row[:4]: row.relative_error for row in loss_bias.table()}
    for modes in (4, 9):
        for scheme in loss_bias.SCHEMES:
            exact, read, wrong = (error[modes, "uniform", scheme, c] for c in ("corrected", "none", "opposite"))
            assert exact < 1e-12 < read < wrong
            assert exact < error[modes, "spread", scheme, "corrected"] < error[modes, "spread", scheme, "none"]


def test_programming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programming, "ITERATIONS", 20)
    monkeypatch.setattr(programming, "table", lambda table=programming.table: table((4, 12), 2))
    programming.main(["--out", str(tmp_path)])
    made = {"programming.csv", "programming-steps.csv", "programming.png", "programming.md"}
    assert {path.name for path in tmp_path.iterdir()} == made
    rows, curves = programming.table()
    error = {row[:4]: row.error for row in rows}
    for modes in (4, 12):
        none = error[modes, "mzi", "apart", "none"]
        for method in ("local", "optimised", "progressive"):
            assert error[modes, "mzi", "apart", method] < 0.2 * none
        assert error[modes, "three_splitter", "apart", "node by node"] < 0.2 * none
    assert curves["local"][-1] <= curves["local"][0]


def test_silicon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: 1 for name in silicon.EPOCHS} | {"pretrain.epochs": 1, "data.name": "synthetic"}
    one = silicon.one
    monkeypatch.setattr(silicon, "one", lambda *told: one(*told, few))
    settings = [*itertools.product(silicon.CHIPS, silicon.DRIVES, silicon.READOUTS)]
    monkeypatch.setattr(silicon, "settings", lambda: settings)
    monkeypatch.setattr(silicon, "SEEDS", (1,))
    silicon.main(["--out", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {"silicon.csv", "silicon.md"}
    assert len((tmp_path / "silicon.csv").read_text().splitlines()) == 1 + len(settings)
    assert "| silicon | single-arm | field |" in (tmp_path / "silicon.md").read_text()
