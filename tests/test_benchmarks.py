"""The benchmarks run and write what they promise; no time is asserted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as program
from benchmarks import decomposition, propagation
from benchmarks.__main__ import cases
from benchmarks.measure import Bench, LeftOut, Measurement
from l2sim.mesh import unitary
from l2sim.mesh.mesh import Mesh
from l2sim.mesh.orthogonal import decompose
from tests.places import ROOT

KEYS = {"case", "variant", "threads", "seconds", "rate", "unit", "fraction"}


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("only, sizes", (
    ("sweep-ic", {"k", "blocks"}), ("step-cnn-s", {"model", "batch"}), ("insitu", {"modes", "batch"}),
))  # fmt: skip
def test_a_case_writes_its_figures(only: str, sizes: set[str], tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    done = bench("--quick", "--threads", "1", "--only", only, "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert only in done.stdout
    rows = json.loads(path.read_text())
    assert {row["case"].partition("-3")[0] for row in rows} == {"limit", only}
    assert not list(tmp_path.glob("*.part"))
    for row in rows:
        assert row.keys() >= KEYS
        assert row["seconds"] > 0 and row["rate"] > 0 and row["threads"] == 1
        assert row["fraction"] is None or row["fraction"] > 0
        assert row["case"] == "limit" or row.keys() >= sizes


def test_every_case_runs_in_its_quick_form(tmp_path: Path) -> None:
    """And says why where it does not: on this machine, not because something is broken."""
    path = tmp_path / "figures.json"
    done = bench("--quick", "--threads", "1", "--json", str(path))
    assert done.returncode == 0, done.stderr
    absent = re.findall(r"^([a-z0-9-]+) is left out: (.+)$", done.stderr, re.MULTILINE)
    assert {name for name, _ in absent} <= {"bank-ic-pm", "gui-first"} or any("Qt" in why for _, why in absent), absent
    found = {row["case"] for row in json.loads(path.read_text())}
    for name in set(cases()) - {name for name, _ in absent}:
        assert NAMED.get(name, name) in found, name


NAMED = {"points-sweep": "points", "points-sweep-many": "points", "stream-open": "stream"}
"""Cases whose rows are called otherwise."""


def test_a_case_that_fails_ends_no_other(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(bench: Bench) -> Iterator[Measurement]:
        yield Measurement("first", "", 1.0, 1.0, "times/s")
        raise ValueError("no element under the point")

    def whole(bench: Bench) -> Iterator[Measurement]:
        yield Measurement("second", "", 1.0, 1.0, "times/s")

    def elsewhere(bench: Bench) -> Iterator[Measurement]:
        raise LeftOut("it needs a lake")
        yield

    monkeypatch.setattr(program, "cases", lambda: {"broken": broken, "elsewhere": elsewhere, "whole": whole})
    assert program.main(["--quick", "--threads", "1"]) == 1
    seen = capsys.readouterr()
    assert "first" in seen.out and "second" in seen.out
    assert "no element under the point" in seen.err and "failed: broken" in seen.err
    assert "elsewhere is left out: it needs a lake" in seen.err


def test_it_names_its_cases() -> None:
    assert "step-vgg8" in bench("--list").stdout
    wrong = bench("--only", "nothing-of-the-kind")
    assert wrong.returncode == 2 and "no case matches" in wrong.stderr


def test_baselines_do_the_same() -> None:
    """What a case measures is what its `direct` variant computes."""
    rng = np.random.default_rng(0)
    layer = propagation.Layer(8, rng)
    x, g = (rng.standard_normal((2, 8, 20)).astype("f4") for _ in range(2))
    field, cotangent = x[None].copy(), g[None].copy()
    layer.forward(field)
    through = field[0].copy()
    layer.adjoint(field, cotangent)
    one = [total.copy() for total in layer.sums]
    layer.gradients(propagation.product(through, g))
    for a, b in zip(one, layer.sums):
        np.testing.assert_allclose(a, b, atol=1e-3)
    sent, light = x[None].copy(), x[0] + 1j * x[1]
    layer.forward(sent)
    np.testing.assert_allclose(sent[0, 0] + 1j * sent[0, 1], layer.direct(light), atol=1e-5)

    mesh = Mesh("rectangular", 7)
    turns = np.linalg.qr(rng.standard_normal((3, 7, 7)))[0]
    np.testing.assert_allclose(np.abs(decomposition.nulled(turns)), np.tile(np.eye(7), (3, 1, 1)), atol=1e-12)
    left = decomposition.complex_nulled(unitary.haar_matrix(rng, 7))
    np.testing.assert_allclose(np.abs(left), np.eye(7), atol=1e-12)
    np.testing.assert_allclose(decomposition.rebuilt(mesh, *decompose(mesh, turns)), turns, atol=1e-12)
