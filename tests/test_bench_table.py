"""The table of docs/performance.md is made by one command; no time is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.table import __main__ as program
from benchmarks.table import page, rows
from tests.places import ROOT

ROWS = "decomposition*", "step of cnn-s*", "epoch*", "inference of cnn-l", "step in situ*"


@pytest.mark.parametrize("only", ROWS)
def test_a_row_has_times_ratios_and_its_limit(only: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures, text = tmp_path / "bench.json", tmp_path / "page.md"
    text.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    made = program.main(["--quick", "--only", only, "--json", str(figures), "--page", str(text)])
    assert made == 0, capsys.readouterr().err
    whole = json.loads(figures.read_text())
    assert whole["rows"] and whole["machine"]["limits"]
    for name, row in whole["rows"].items():
        assert all(seconds > 0 for seconds in row["seconds"].values())
        assert row["rounds"] >= 2 and row["ratios"].keys() == row["spread"].keys()
        assert all(0 < low <= row["ratios"][pair] <= high for pair, (low, high) in row["spread"].items())
        assert "readout noise" in name or min(row["fraction"].values()) > 0
    written = text.read_text()
    assert written.startswith("before\n") and written.endswith("after\n") and "old" not in written
    assert all(f"| {name}, n = " in written for name in whole["rows"])
    before = figures.read_bytes(), written
    program.main(["--check", "--quick", "--only", only, "--json", str(figures), "--page", str(text)])
    assert (figures.read_bytes(), text.read_text()) == before, "a check writes nothing"


def test_a_check_names_what_fell_by_more_than_its_limit() -> None:
    before = {"row": {"ratios": {"a / b": 1.0, "c / d": 2.0}}, "other": {"ratios": {"e / f": 1.0}}}
    now = {"row": {"ratios": {"a / b": 1.151, "c / d": 2.29}}, "other": {"ratios": {"e / f": 0.2}}}
    assert page.fallen(now, before) == ["row: a / b is 1.15, committed 1.00"]
    assert page.fallen({"new": {"ratios": {"a / b": 9.0}}}, before) == []


def test_a_row_that_fails_ends_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> rows.Row:
        raise ValueError("no light")

    good = rows.Row({"one": lambda: sum(range(1000))})
    monkeypatch.setattr(rows, "rows", lambda bench, peers: iter([("bad", broken), ("good", lambda: good)]))
    text = tmp_path / "page.md"
    text.write_text(f"{page.BEGIN}\n{page.END}\n")
    assert program.main(["--quick", "--json", str(tmp_path / "f.json"), "--page", str(text)]) == 1
    seen = capsys.readouterr()
    assert "bad failed: ValueError: no light" in seen.err and seen.out.startswith("good: one")


def test_the_page_has_a_place_for_the_table(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    assert text.count(page.BEGIN) == 1 and text.index(page.BEGIN) < text.index(page.END)
    other = tmp_path / "other.md"
    other.write_text("nothing")
    with pytest.raises(SystemExit, match="no place for the table"):
        page.write(other, {}, {})
