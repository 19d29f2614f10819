"""What the commands share: how far the one that runs got, and the job of a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from l2sim.errors import RunError

if TYPE_CHECKING:
    from l2sim.job.job import Job


@dataclass
class Progress:
    """How far the command got, for the line that says so when it ends early."""

    out: Path | None = None
    saved: str = ""
    hint: str = ""


def job_of(folder: Path, cure: str) -> Job:
    """The job of a run folder. RunError with `cure` where it is none."""
    from l2sim.job import job as jobs  # late: --help is instant

    if not (folder / "job.toml").is_file():
        raise RunError(f"{folder} is not a run folder (it has no job.toml); {cure}")
    return jobs.load(folder / "job.toml")
