"""A twin from files: settings out, responses in, phases out; and files that are wrong are told in one line."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from l2sim.backend import generator
from l2sim.chip.protocol import Commands, command
from l2sim.errors import ChipError
from l2sim.flow import oracle
from l2sim.learn.search import mapping
from l2sim.learn.twin import files as twin_files
from l2sim.learn.twin import identify as twin
from l2sim.learn.twin import program
from tests.doubles import PUBLISHED, Sealed, small_chip
from tests.places import DOCS

NOISY = msgspec.structs.replace(PUBLISHED, readout_noise=0.01, exact_sigma=True)


@pytest.mark.parametrize("kind", ("csv", "npz"))
def test_a_chip_is_programmed_through_files_alone(kind: str, tmp_path: Path) -> None:
    chip, k = small_chip((2, 2), 4, NOISY), 4
    mesh, drive = chip.mesh, twin.Drive.of(NOISY)
    told = twin.settings(mesh, drive, generator(1), k + 1)
    twin_files.write_settings(tmp_path / f"settings.{kind}", mesh, told)
    # The laboratory.
    read = twin_files.read_settings(tmp_path / f"settings.{kind}", mesh)
    assert all(np.array_equal(a, b) for a, b in zip(read, told))
    twin_files.write_responses(tmp_path / f"responses.{kind}", twin.measure(Sealed(chip), *read).seen)
    # The desk.
    seen = twin_files.read_responses(tmp_path / f"responses.{kind}", k, len(read[0]))
    known = twin.from_responses(mesh, NOISY, read, seen)
    assert known.identified.all()
    aim = mapping.target(chip, generator(2).normal(size=(8, 8)))
    commands, sigma, _ = program.program(mesh, drive, known, aim)
    twin_files.write_phases(tmp_path / f"phases.{kind}", mesh, commands, sigma)
    if kind == "npz":
        with np.load(tmp_path / "phases.npz") as file:
            phases = {p: file[p].reshape(2, 2, *mesh.shape) for p in "uv"}
            back = Commands(phases, {p: file[f"{p}_sign"].reshape(2, 2, k) for p in "uv"})
        command(chip, u=back, v=back)
    else:
        lines = (tmp_path / "phases.csv").read_text().splitlines()
        assert lines[0] == "core,part,column,rail,value" and len(lines) == 1 + 4 * (2 * mesh.count + 3 * k)
        command(chip, u=commands, v=commands)
    chip.set_sigma(sigma)
    above, below = oracle.mapping_error(chip, aim)
    assert np.median(above / below) < 8e-4


def test_wrong_files_are_one_clear_line(tmp_path: Path) -> None:
    chip, path = small_chip((1, 1), 3, NOISY), tmp_path / "a.csv"
    told = twin.settings(chip.mesh, twin.Drive.of(NOISY), generator(1), 1)
    twin_files.write_settings(path, chip.mesh, told)
    good = path.read_text().splitlines()
    for lines, words in (
        ([], "must begin with a line that names the columns setting, part"),
        (good[1:], "line 1: the column '0' is there twice"),
        (good[:-1], "1 of 63 values are missing"),
        ([*good, "0,u,9,9,0.1"], "nothing in 'u', column 9, rail 9"),
        ([*good, "0,u,0,0"], f"line {len(good) + 1}: '0,u,0,0' has 4 cells"),
        ([*good, "9,u,0,0,nan"], "column value: 'nan' is not a number"),
        ([*good, "x,u,0,0,1"], "column setting: 'x' is not a number"),
    ):
        path.write_text("\n".join(lines))
        with pytest.raises(ChipError, match=words) as caught:
            twin_files.read_settings(path, chip.mesh)
        assert "\n" not in str(caught.value) and "a.csv" in str(caught.value)
    path.write_text("core,setting,output,input,value\n0,0,0,7,1.0\n")
    with pytest.raises(ChipError, match="line 2, column input: '7' must be a whole number from 0 to 2"):
        twin_files.read_responses(path, 3, 7)
    for missing in (tmp_path / "no.csv", tmp_path / "no.npz"):
        with pytest.raises(ChipError, match=missing.name):
            twin_files.read_responses(missing, 3, 7)
    with pytest.raises(ChipError, match="do not fit; need"):
        twin.from_responses(chip.mesh, NOISY, told, np.zeros((1, 3, 3)))
    with pytest.raises(ChipError, match="not finite"):
        twin.from_responses(chip.mesh, NOISY, told, np.full((1, 7, 3, 3), np.nan))


GOOD = np.zeros((1, 9, 4, 4))
WRONG = {
    "complex": 1j + GOOD, "NaN": GOOD * np.nan, "inf": GOOD + np.inf, "text": np.full(GOOD.shape, "1.0"),
    "another core": np.zeros((1, 9, 3, 3)), "too few settings": GOOD[:, 1:], "no core": GOOD[:0], "flat": GOOD.ravel(),
    "objects": GOOD.astype(object),
}  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", WRONG)
def test_an_npz_of_other_responses_is_refused_as_a_csv_is(kind: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", responses=WRONG[kind])
    with pytest.raises(ChipError, match="responses") as refused:
        twin_files.read_responses(tmp_path / "r.npz", 4, 9)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("number", ("float32", ">f8", "int8", "complex128", "float16"))
def test_an_npz_of_any_real_numbers_is_taken(number: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", responses=(GOOD + 1.0).astype(number))
    read = twin_files.read_responses(tmp_path / "r.npz", 4, 9)
    assert read.dtype == np.float64 and (read == 1.0).all()


def test_the_example_of_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "twin.md").read_text(encoding="utf-8")
    told: dict[str, object] = {}
    exec(text.partition("```python\n")[2].partition("```")[0], told)
    assert told["known"].identified.all()  # type: ignore[attr-defined]
    assert {path.name for path in tmp_path.iterdir()} == {"settings.csv", "responses.csv", "phases.csv"}
