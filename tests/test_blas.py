"""The choice of OpenBLAS's code: by made-up processors, in a fresh interpreter, and as the doctor tells it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from l2sim import blas
from l2sim.cli import doctor

WIDE = "fpu sse2 avx2 avx512f avx512dq avx512cd avx512bw avx512vl avx512_bf16"


def cpuinfo(vendor: str, family: int, model: int, flags: str) -> str:
    one = f"vendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: x\nflags\t\t: {flags}\n"
    return f"processor\t: 0\n{one}\nprocessor\t: 1\n{one}\n"


@pytest.mark.parametrize(
    "vendor, family, model, flags, kernel",
    (
        ("AuthenticAMD", 26, 2, WIDE, "SkylakeX"),
        ("AuthenticAMD", 25, 17, WIDE, "SkylakeX"),
        ("AuthenticAMD", 25, 1, "fpu sse2 avx2", ""),
        ("GenuineIntel", 6, 85, WIDE, ""),
        ("GenuineIntel", 6, 143, WIDE, ""),
        ("GenuineIntel", 6, 250, WIDE, "SkylakeX"),
        ("GenuineIntel", 19, 85, WIDE, "SkylakeX"),
        ("GenuineIntel", 6, 87, "fpu avx2 avx512f avx512cd avx512er avx512pf", ""),
    ),
)
def test_the_choice(vendor: str, family: int, model: int, flags: str, kernel: str) -> None:
    text = cpuinfo(vendor, family, model, flags)
    assert blas.decide(text, "x86_64", {}) == blas.Choice(kernel, None, bool(kernel))
    assert blas.decide(text, "x86_64", {blas.VARIABLE: "Haswell"}) == blas.Choice(kernel, "Haswell", False)
    assert blas.decide(text, "aarch64", {}).kernel == ""


@pytest.mark.parametrize(
    "text", ("", "flags\n", "processor: 0\n\nflags : avx512f", ":::\n\n\n", "model: x\nflags: " + WIDE)
)
def test_odd_texts_do_not_hurt(text: str) -> None:
    assert blas.decide(text, "x86_64", {}).kernel in ("", "SkylakeX")


def test_an_empty_setting_is_none() -> None:
    assert blas.decide("", "x86_64", {blas.VARIABLE: ""}).user is None


def test_it_is_set_only_before_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "here", lambda environ: blas.Choice("SkylakeX", None, True))
    monkeypatch.setattr(blas, "made", None)
    environ: dict[str, str] = {}
    assert not blas.choose(environ).applied and not environ  # this process has NumPy
    monkeypatch.delitem(sys.modules, "numpy")
    assert blas.choose(environ).applied and environ == {blas.VARIABLE: "SkylakeX"}


def test_the_library_leaves_the_environment_alone() -> None:
    code = "import os; a = dict(os.environ); import l2sim; l2sim.CoreChip, l2sim.run; assert dict(os.environ) == a"
    environ = {name: value for name, value in os.environ.items() if name != blas.VARIABLE}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True)


def told(monkeypatch: pytest.MonkeyPatch, choice: blas.Choice, rates: dict[str | None, float]) -> list[doctor.Finding]:
    monkeypatch.setattr(blas, "made", choice)
    monkeypatch.setattr(blas, "measure", lambda kernel: (rates[kernel], kernel or "Zen"))
    return doctor._matrix_products()


def test_the_doctor_tells_whose_choice_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = told(monkeypatch, blas.Choice("SkylakeX", None, True), {"SkylakeX": 200.0, None: 100.0})
    assert "l2sim chose SkylakeX" in rows[0].value and "200 GFLOP/s" in rows[0].value
    assert "2.0 x" in rows[1].value and rows[1].cure == "export OPENBLAS_CORETYPE=SkylakeX"
    assert len(told(monkeypatch, blas.Choice("SkylakeX", None, True), {"SkylakeX": 200.0, None: 199.0})) == 1
    (row,) = told(monkeypatch, blas.Choice("SkylakeX", "Haswell", False), {"SkylakeX": 200.0, "Haswell": 100.0})
    assert row.state == "optional" and row.cure == "unset OPENBLAS_CORETYPE" and "stays" in row.value
    (row,) = told(monkeypatch, blas.Choice("", None, False), {})
    assert row.state == "ok" and "OpenBLAS itself" in row.value
    (row,) = told(monkeypatch, blas.Choice("SkylakeX", None, True), {"SkylakeX": 0.0, None: 0.0})
    assert "could not be measured" in row.value


KNOWN = {"processor": "x", "openblas": "lib-1.so"}
CODES = ("Haswell", "SkylakeX")


def learnt(folder: Path, measuring: bool = True) -> str | None:
    return blas.learnt(KNOWN, CODES, folder, {}, measuring)


def test_code_is_measured_once_and_only_where_that_can_be_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    races: list[dict[str, float]] = []

    def race(codes: tuple[str, ...], environ: Mapping[str, str]) -> dict[str, float]:
        return races.pop()

    monkeypatch.setattr(blas, "race", race)
    assert learnt(tmp_path, measuring=False) is None
    races.append({"": 1.0, "Haswell": 0.8, "SkylakeX": 0.9})
    assert learnt(tmp_path) == "Haswell" and not races
    assert learnt(tmp_path) == learnt(tmp_path, measuring=False) == "Haswell"  # a race would fail
    assert [file.name for file in tmp_path.iterdir()] == ["blas.json"]
    other = (tmp_path / "blas.json").read_text().replace("lib-1", "lib-2")
    for odd in ("", "[]", "nothing", '{"processor": 1}', other):
        (tmp_path / "blas.json").write_text(odd)
        races.append({"": 1.0, "Haswell": 0.97, "SkylakeX": 1.1})
        assert learnt(tmp_path) == "" and not races  # within the noise OpenBLAS decides
    (tmp_path / "blas.json").unlink()
    races.append({})
    assert learnt(tmp_path) is None and not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    assert learnt(tmp_path / "file") is None  # no folder: nothing is measured


def test_the_first_of_two_that_measure_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def race(codes: tuple[str, ...], environ: Mapping[str, str]) -> dict[str, float]:
        monkeypatch.setattr(blas, "race", lambda codes, environ: {"": 1.0, "Haswell": 0.9, "SkylakeX": 0.5})
        assert learnt(tmp_path) == "SkylakeX"
        return {"": 1.0, "Haswell": 0.5, "SkylakeX": 0.9}

    monkeypatch.setattr(blas, "race", race)
    assert learnt(tmp_path) == "SkylakeX"


def test_what_can_be_measured_depends_on_what_the_processor_has() -> None:
    assert blas.candidates(cpuinfo("x", 6, 1, WIDE + " fma"), "x86_64") == ("Haswell", "SkylakeX")
    assert blas.candidates(cpuinfo("x", 6, 1, "avx2 fma"), "x86_64") == ("Haswell",)
    assert blas.candidates(cpuinfo("x", 6, 1, WIDE + " fma"), "aarch64") == blas.candidates("", "x86_64") == ()
    assert all(blas.signature(cpuinfo("x", 6, 1, WIDE)).values())


def test_codes_take_turns() -> None:
    seconds = blas.race(("Haswell",), dict(os.environ))
    assert seconds.keys() == {"", "Haswell"} and min(seconds.values()) > 0.0


def test_it_can_be_measured() -> None:
    rate, _ = blas.measure(None)
    assert rate > 0.0
