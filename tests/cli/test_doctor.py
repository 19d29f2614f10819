"""The doctor: what it finds here, and what it says when something is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from l2sim import fits, system
from l2sim.backend import CPU, device
from l2sim.cli import doctor
from l2sim.errors import JobError


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
    monkeypatch.setattr(system, "_here", lambda name: name != "libGL.so.1")
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    assert doctor.show()
    shown = capsys.readouterr().out
    assert 'pip install "l2sim[gui]"' in shown and 'pip install "l2sim[gpu]"' in shown
    assert "apt-get install" in shown and "libgl1" in shown and "libxcb-xinerama0" not in shown


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
    assert findings()["PyQt5"].value == "libGL.so.1: cannot open shared object file"


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """Pretend that the GPU packages are these."""
    real = doctor._version
    names = {f"cupy_cuda{n}x": f"cupy-cuda{n}x" for n in (11, 12, 13)} | {"bindings": "cuda-bindings"}
    told = {names[name]: version for name, version in versions.items()}
    gpu = lambda name: "cuda" in name or name == "cupy"  # noqa: E731
    monkeypatch.setattr(doctor, "_version", lambda name: told.get(name) if gpu(name) else real(name))
    monkeypatch.setattr(doctor, "_optional", lambda module, extra: doctor.Finding(module, "1.0"))


@pytest.mark.parametrize(
    "versions, found",
    (
        ({"cupy_cuda13x": "14.2", "bindings": "13.5.0"}, "13 throughout"),
        ({"cupy_cuda12x": "14.2", "bindings": "12.9.10"}, "12 throughout"),
        ({"cupy_cuda12x": "13.6", "bindings": "13.5.0"}, "cupy is of CUDA 12"),
        ({"cupy_cuda13x": "14.2", "bindings": "12.9.10"}, "the CUDA of numba-cuda is 12"),
        ({"cupy_cuda11x": "13.6", "bindings": "11.8.0"}, "l2sim knows CUDA 13 and 12"),
        ({"cupy_cuda13x": "14.2", "cupy_cuda12x": "13.6"}, "cupy-cuda12x and cupy-cuda13x are one too many"),
    ),
)
def test_versions_that_do_not_agree(versions: dict[str, str], found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, **versions)
    finding = findings()["CUDA"]
    assert found in finding.value and (finding.state == "ok") == found.endswith("throughout")
    assert finding.state == "ok" or "l2sim[gpu]" in finding.cure


def test_a_driver_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, cupy_cuda13x="14.2")
    monkeypatch.setattr(fits, "driver", lambda: 12)
    finding = doctor._agreement("NVIDIA H200", True)[0]
    assert "too old for CUDA 13" in finding.value
    assert finding.cure == 'pip uninstall --yes cupy-cuda13x; pip install "l2sim[gpu12]"'
    monkeypatch.setattr(fits, "driver", lambda: 11)
    finding = doctor._agreement("NVIDIA H200", False)[0]
    assert "knows CUDA 13 and 12" in finding.value and "a driver" in finding.cure


@pytest.mark.parametrize("driver, extra", ((0, "gpu"), (12, "gpu12"), (13, "gpu"), (14, "gpu")))
def test_the_extra_that_the_driver_serves(driver: int, extra: str) -> None:
    assert fits.extra(driver) == extra


def versions(**those: str | None) -> fits.Versions:
    """The versions here, but for `those`, with _ for -."""
    told = {name.replace("_", "-").lower(): version for name, version in those.items()}
    real = doctor._version
    return lambda name: told[name.lower()] if name.lower() in told else real(name)


@pytest.mark.parametrize(
    "cuda, numpy, fit",
    (
        ("0.30.4", "2.5.0", False),
        ("0.30.0", "3.0", False),
        ("0.30.4", "2.4.9", True),
        ("0.30.5", "2.5.0", True),
        (None, "2.5.0", True),
        ("0.30.4", None, True),
    ),
)
def test_numba_cuda_and_numpy(cuda: str | None, numpy: str | None, fit: bool) -> None:
    found = list(fits.known(versions(numba_cuda=cuda, numpy=numpy, PySide6_Essentials=None)))
    assert [misfit.package for misfit in found] == ([] if fit else ["numba-cuda"])
    assert fit or (found[0].what, found[0].cure) == (
        f"numba-cuda {cuda} with numpy {numpy}", 'pip install "numpy<2.5"'
    )  # fmt: skip


@pytest.mark.parametrize(
    "pyside, python, fit",
    (("6.12.0", "3.11.9", False), ("6.12.0", "3.12.0", True), ("6.11.3", "3.11.9", True), ("6.12.1", "3.11.9", True)),
)
def test_pyside_and_python(pyside: str, python: str, fit: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fits, "PYTHON", python)
    assert [m.package for m in fits.known(versions(PySide6_Essentials=pyside, numba_cuda=None))] == (
        [] if fit else ["PySide6-Essentials"]
    )


def test_what_would_break_is_refused_before_it_is_run_into(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fits, "version", versions(numba_cuda="0.30.4", numpy="2.5.5", PySide6_Essentials="6.12.0"))
    monkeypatch.setattr(fits, "PYTHON", "3.11.9")
    for name in ("cuda", "cuda:0"):
        with pytest.raises(JobError, match=rf'^device {name}: numba-cuda 0.30.4 with numpy 2.5.5 do not fit: .*"$'):
            device(name)
    assert device("cpu") is CPU
    with pytest.raises(JobError, match=r"the window: PySide6-Essentials 6.12.0 with python 3.11.9 do not fit"):
        fits.refuse("PySide6-Essentials", JobError, "the window")


def test_what_packages_ask_of_each_other_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(fits.declared(doctor._version)) == []
    found = {m.what: m for m in fits.declared(versions(numpy="99.0"))}
    (numba,) = (m for what, m in found.items() if what.startswith("numba ") and what.endswith("with numpy 99.0"))
    assert numba.why.startswith("it needs numpy") and numba.cure.startswith('pip install "numpy')
    old = [m for m in fits.declared(versions(click="7.0")) if m.what.startswith("l2sim ")]
    assert [m.why for m in old] == ["it needs click >=8.4"]
    extras = [m.what for m in fits.declared(versions(pyqtgraph="0.1"))]
    assert any(what.startswith("l2sim ") for what in extras)
    monkeypatch.setattr(fits, "PYTHON", "3.10.1")
    assert any(m.what.startswith("l2sim ") and m.what.endswith("python 3.10.1") for m in fits.declared(doctor._version))


def test_what_only_an_extra_asks_for_is_not_asked_of_others() -> None:
    plain = versions(numpy="2.5.5", numba_cuda=None, PySide6_Essentials=None)
    assert [m for m in (*fits.declared(plain), *fits.known(plain)) if m.what.startswith("l2sim ")] == []


def test_builds_and_candidates_of_python_are_versions_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fits.PYTHON.replace(".", "").isdigit()
    odd = versions(numba_cuda="local build", numpy="2.5.5", PySide6_Essentials=None)
    assert list(fits.known(odd)) == []


def test_pairs_that_do_not_fit_are_shown_and_do_not_stop_a_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert findings()["pairs"] == doctor.Finding("pairs", "none")
    monkeypatch.setattr(doctor, "_version", versions(numba_cuda="0.30.4", numpy="2.5.5"))
    assert findings()["numba-cuda 0.30.4 with numpy 2.5.5"].state == "unfit"
    assert doctor.show()
    shown = capsys.readouterr().out
    assert "misfit" in shown and 'pip install "numpy<2.5"' in shown


def test_a_package_that_cannot_be_imported_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[doctor.Finding]:
        raise ImportError("Numba needs NumPy 2.0 or less. Got NumPy 2.4.\nmore")

    monkeypatch.setattr(doctor, "_kernels", broken)
    found = dict(doctor.examine())["kernels"]
    assert [f.state for f in found] == ["missing"]
    assert found[0].value == "ImportError: Numba needs NumPy 2.0 or less. Got NumPy 2.4."
    assert not doctor.show()
