"""The studies of in situ training: what they run, what they write, and that they go on where they were stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2sim.errors import RunError
from l2sim.job.job import Job
from l2sim.study import harness, insitu_fashion, insitu_noise
from l2sim.study.harness import Run

TINY: dict[str, Any] = {
    "data.name": "synthetic",
    "insitu.modes": 16,
    "insitu.layers": 1,
    "learn.epochs": 2,
    "learn.batch": 64,
}


def test_the_fashion_study_writes_its_page_and_runs_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(insitu_fashion, "SEEDS", (1, 2))
    monkeypatch.setattr(insitu_fashion, "NOTEBOOK", {1: 0.5, 2: 0.6})
    monkeypatch.setattr(insitu_fashion, "WAYS", {"restart": TINY | {"learn.legacy_adam": True}, "plain": TINY})
    options = ["--full", "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    insitu_fashion.STUDY.main(options)
    made = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(made) == {f"insitu-fashion.{ending}" for ending in ("csv", "md", "png", "svg")}
    assert len(made["insitu-fashion.csv"].splitlines()) == 1 + 2 * 2 * 2
    monkeypatch.setattr(harness.execute, "execute", None)  # nothing is run again
    insitu_fashion.STUDY.main(options)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == made


def test_the_noise_study_writes_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(insitu_noise, "SEEDS", {"published": (1,), "fresh": (1,)})
    monkeypatch.setattr(insitu_noise, "WAYS", {way: more | TINY for way, more in insitu_noise.WAYS.items()})
    levels = {level: insitu_noise.LEVELS[level] for level in ("none", "tap-0.02", "phase-0.05")}
    monkeypatch.setattr(insitu_noise, "LEVELS", levels)
    insitu_noise.STUDY.main(["--full", "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")])
    page = (tmp_path / "out" / "insitu-noise.md").read_text()
    assert "| tap-0.02 | 4.86 |" in page and "What had to be guessed" in page
    assert len((tmp_path / "out" / "insitu-noise.csv").read_text().splitlines()) == 1 + 2 * 3
    assert (tmp_path / "out" / "insitu-noise.png").stat().st_size > 10_000


def test_every_level_of_the_sweep_is_a_preset_and_settings_differ_in_noise_only() -> None:
    for way in insitu_noise.WAYS:
        for level in insitu_noise.LEVELS:
            job = insitu_noise.job(way, level, 3)
            assert job.seed == 3 and (job.learn.batch, job.learn.epochs, job.data.name) == (600, 100, "mnist")
            assert (job.insitu.noise == "fresh") == (way == "fresh") == (job.insitu.light == "batch")


def test_disorder_is_a_fall_beyond_the_spread() -> None:
    def row(level: str, mean: float, spread: float = 0.1) -> insitu_noise.Row:
        middle = harness.Spread(mean / 100, 0.0, 1.0, 3)
        return insitu_noise.Row("fresh", level, 0.0, middle, mean - spread / 2, mean + spread / 2)

    fine = [row("none", 3.0), row("tap-0.005", 2.95), row("tap-0.01", 3.4), row("phase-0.05", 3.2)]
    assert insitu_noise.disorder(fine, "fresh") == []
    assert insitu_noise.disorder([*fine, row("tap-0.02", 3.0)], "fresh") == ["tap-0.01 to tap-0.02"]


def test_a_run_of_another_job_is_not_taken_for_ours(tmp_path: Path) -> None:
    job = Job.preset("insitu-digits", TINY)
    run = Run(job, tmp_path)
    assert run.accuracy() is None
    harness.complete([run], None)
    curve = run.accuracy()
    assert curve is not None and curve.shape == (2,) and np.all((curve >= 0) & (curve <= 1))
    with pytest.raises(RunError, match="is of another job"):
        Run(Job.preset("insitu-digits", TINY | {"seed": 9}), tmp_path).accuracy()


def test_a_stopped_run_goes_on_and_a_running_one_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = Job.preset("insitu-digits", TINY)
    stream = harness.execute.execute(job, tmp_path)
    for event in stream:
        if type(event).__name__ == "Epoch":
            break
    harness.complete([Run(job, tmp_path)], None)
    assert "another process" in capsys.readouterr().out and Run(job, tmp_path).accuracy() is None
    stream.close()
    harness.complete([Run(job, tmp_path)], None)
    assert Run(job, tmp_path).accuracy() is not None
