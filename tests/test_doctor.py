"""The doctor: what it finds here, and what it says when something is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from l2sim.run import doctor


def findings() -> dict[str, doctor.Finding]:
    return {finding.what: finding for _, rows in doctor.examine() for finding in rows}


def test_what_is_required_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.show()
    shown = capsys.readouterr().out
    for word in ("numpy", "BLAS", "cores", "threads", "cache", "nvidia-smi", "l2sim can run here"):
        assert word in shown
    assert {f.state for f in findings().values()} <= {"ok", "optional"}


def test_a_missing_package_is_required_and_has_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "pooch" else real(name))
    assert findings()["pooch"] == doctor.Finding("pooch", "", "missing", 'pip install "pooch"')
    assert not doctor.show()
    assert "cannot run here" in capsys.readouterr().out


def test_extras_are_optional_and_their_brackets_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(doctor.importlib, "import_module", absent)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "_loads", lambda library: library != "libGL.so.1")
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    assert doctor.show()
    shown = capsys.readouterr().out
    assert 'pip install "l2sim[gui]"' in shown and 'pip install "l2sim[gpu]"' in shown
    assert "apt-get install libgl1" in shown and "libxcb-xinerama0" not in shown


def test_a_cache_that_cannot_be_written_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(blocked / "cache"))
    assert findings()["cache"].state == "missing" and "NUMBA_CACHE_DIR" in findings()["cache"].cure
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "new"))
    assert findings()["cache"] == doctor.Finding("cache", str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_a_broken_qt_is_told_and_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ImportError("libGL.so.1: cannot open shared object file\nmore")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    assert findings()["PyQt5"].state == "optional"
    assert findings()["PyQt5"].found == "libGL.so.1: cannot open shared object file"
