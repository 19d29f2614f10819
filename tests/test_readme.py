"""The Python examples of README.md and docs/python.md run as they stand, on a shorter job."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from l2sim.job.job import Job
from l2sim.runs import execute
from tests.places import DOCS, ROOT
from tests.runs.test_stream import without_figures

SHORT = {"learn.epochs": 2, "pretrain.epochs": 1, "calibrate.epochs": 1, "map.epochs": 1, "map.compare": False}


def blocks_of(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("examples") / "digits-1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute.report, "write", without_figures)
        list(execute.execute(Job.preset("digits", SHORT), out, threads=1))
    return out


def test_the_examples_of_the_readme_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = blocks_of(ROOT / "README.md")
    assert len(blocks) == 3
    capsys.readouterr()
    for block in blocks:
        exec(block.replace('{"learn.epochs": 5}', repr(SHORT)).replace("runs/digits-1", str(folder)), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["1", "2"]
    assert 0 <= float(lines[1].split()[1]) <= 1
    assert lines[2].startswith("(2, 4, 9, 1)")
    assert lines[3].startswith("Run digits, seed 1, done") and lines[-1].startswith("(1, 36) 0.")


def test_the_examples_of_the_page_on_python_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = blocks_of(DOCS / "python.md")
    assert len(blocks) == 4
    capsys.readouterr()
    names: dict[str, object] = {}
    for block in blocks:
        exec(block.replace("runs/digits-1", str(folder)), names)
    lines = capsys.readouterr().out.splitlines()
    assert "done ['pretrain', 'deploy', 'calibrate', 'map', 'learn'] 2" in lines
    assert "{'u': (1, 36), 'v': (1, 36), 'sigma': (1, 9)}" in lines
    bits, exact = (float(line) for line in lines[-2:])
    assert exact < 1e-12 < bits < 0.1
