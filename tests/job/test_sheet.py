"""The data sheet of a job: a section within a section, and what comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from l2sim.errors import JobError
from l2sim.job import job as jobs
from l2sim.job.imperfections import chip_nonidealities, data_sheet
from l2sim.job.job import Job
from l2sim.runs import execute
from l2sim.store.events import Done

DIGITS = Job.preset("digits")
NOISY = ["nonidealities.readout_noise=0.01", "nonidealities.crosstalk=0.02"]


def test_what_is_believed_is_what_is_until_somebody_says_otherwise() -> None:
    job = jobs.with_overrides(DIGITS, NOISY)
    assert data_sheet(job) == chip_nonidealities(job)
    wrong = jobs.with_overrides(job, ["calibrate.sheet.crosstalk=0.005", "calibrate.sheet.phase_bits=6"])
    assert chip_nonidealities(wrong) == chip_nonidealities(job)
    believed = data_sheet(wrong)
    assert (believed.crosstalk, believed.phase_bits, believed.readout_noise) == (0.005, 6, 0.01)


def test_a_sheet_comes_back_from_a_file_and_from_a_change(tmp_path: Path) -> None:
    job = jobs.with_overrides(DIGITS, ["calibrate.sheet.crosstalk=0.005", "calibrate.method=twin"])
    text = jobs.to_toml(job)
    assert "[calibrate.sheet]" in text and jobs.from_toml(text) == job
    assert "sheet" not in jobs.to_toml(DIGITS)
    assert jobs.value(job, "calibrate.sheet.crosstalk") == 0.005
    assert jobs.differences(job, DIGITS) == ["calibrate.method", "calibrate.sheet.crosstalk"]
    told = {field.path: field for field in jobs.describe(job)}["calibrate.sheet.crosstalk"]
    assert told.value == 0.005 and told.meaning.startswith("believed: ") and told.high == 0.2
    assert jobs.varied(DIGITS, {"calibrate.sheet.crosstalk": 0.01, "seed": 3}).calibrate.sheet.crosstalk == 0.01


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("calibrate.sheet.crosstalk=0.3", "calibrate.sheet.crosstalk = 0.3 is out of range"),
        ("calibrate.sheet.crostalk=0.1", "did you mean calibrate.sheet.crosstalk"),
        ("calibrate.sheet=3", "calibrate.sheet is a section; set one of its fields"),
        ("calibrate.sheet.phase_bits=1", "calibrate.sheet.phase_bits = 1 leaves one phase"),
        ("calibrate.sheet.phi=true", "there is no field calibrate.sheet.phi"),
        ("sheet.crosstalk=0.1", "did you mean"),
    ],
)
def test_a_wrong_sheet_is_told_in_one_line(setting: str, words: str) -> None:
    with pytest.raises(JobError) as caught:
        jobs.with_overrides(DIGITS, [setting])
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_sheet_in_a_file_that_is_no_section(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"calibrate\.sheet is a section"):
        jobs.from_dict({"calibrate": {"sheet": 3}})


def test_algorithms_work_by_the_sheet(tmp_path: Path) -> None:
    """Twins on a chip of more crosstalk, of which nobody told them, map nearly as well as with the truth."""
    from l2sim.store import logs

    told = ["calibrate.method=twin", "nonidealities.readout_noise=0.01", "nonidealities.crosstalk=0.02"]
    errors = {}
    sheets = {"true": (), "wrong": ("calibrate.sheet.crosstalk=0.0",)}
    for name, more in sheets.items():
        job = jobs.smoke(jobs.with_overrides(DIGITS, [*told, *more]))
        done = [event for event in execute.execute(job, tmp_path / name, threads=1) if isinstance(event, Done)]
        assert done
        errors[name] = float(logs.scalars(tmp_path / name)["map/oracle_mapping_error"][2][-1])
    assert errors["true"] < 1e-3 and errors["wrong"] < 3e-3
