"""The README's Python examples run as they stand, on a shorter job."""

from __future__ import annotations

import re

import pytest

from tests.places import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
SHORT = '{"learn.epochs": 2, "pretrain.epochs": 1, "calibrate.epochs": 1, "map.epochs": 1, "map.compare": False}'


def test_the_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block.replace('{"learn.epochs": 5}', SHORT), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["1", "2"]
    assert 0 <= float(lines[1].split()[1]) <= 1
    assert lines[2].startswith("(2, 4, 9, 1)")
