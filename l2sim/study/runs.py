"""Runs that a study needs: made once, resumed where they were stopped, shared by processes that work side by side."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from l2sim import files
from l2sim.backend import Array
from l2sim.errors import RunError
from l2sim.job import job as jobs
from l2sim.job.job import Job
from l2sim.runs import execute
from l2sim.store import logs


def parser(text: str) -> argparse.ArgumentParser:
    """The options that all such studies have."""
    made = argparse.ArgumentParser(description=text)
    made.add_argument("--data", type=Path, default=None, help="where data sets lie [L2SIM_DATA]")
    made.add_argument("--out", type=Path, default=Path("docs/results"), help="folder of the tables [docs/results]")
    made.add_argument("--runs", type=Path, default=Path("runs/study"), help="folder of the run folders [runs/study]")
    return made


def accuracy(job: Job, out: Path) -> Array | None:
    """Test accuracy by epoch of the finished run of `job` in the folder `out`; None if there is none yet."""
    if not (out / "report.json").exists():
        return None
    if jobs.load(out / "job.toml") != job:
        raise RunError(f"the run in {out} is of another job; delete it, or choose another folder with --runs")
    values: Array = np.asarray(logs.scalars(out)["learn/test_accuracy"][2], float)
    return values


def interval(values: Sequence[float]) -> float:
    """Half the width of the 95 % confidence interval of the mean of `values` (Student's t); NaN of a single one."""
    if len(values) < 2:
        return float("nan")
    from scipy import stats

    return float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))


def complete(tasks: Iterable[tuple[Job, Path]], data: Path | None, source: str | None = None) -> None:
    """Run every job into its folder, in order, on one thread; finished ones stay, stopped ones go on.

    `source` is the checkpoint RUN[@stage] that all of them start from. One that another process is running is left to
    it, so that starting a study twice shares the work.
    """
    for job, out in tasks:
        if accuracy(job, out) is not None:
            continue
        print(f"{out} ...", flush=True)
        try:
            resume = (out / "manifest.json").exists()
            more = {"resume": True} if resume else {"source": source}
            for _ in execute.execute(job, out, data=data, threads=1, **more):
                pass
        except files.Busy:
            print(f"{out} is being run by another process", flush=True)
