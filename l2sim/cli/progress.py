"""What the commands share: how far the one that runs got, and the job of a run folder."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
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


@dataclass
class Sayings:
    """Says on stderr what is begun, and a few times a second how far it is: in one line of a terminal, else in many."""

    every: float = 0.2
    _next: float = field(default=0.0, init=False)

    def __call__(self, text: str) -> None:
        """Say it, unless something was said just now."""
        now, first = time.monotonic(), not self._next
        if now >= self._next:
            self._next = now + self.every
            over = sys.stderr.isatty() and not first
            print(f"\r\033[K{text}" if over else text, end="" if over else "\n", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line where something was said."""
        if self._next and sys.stderr.isatty():
            print(file=sys.stderr)


def job_of(folder: Path, cure: str) -> Job:
    """The job of a run folder. RunError with `cure` where it is none."""
    from l2sim.job import job as jobs  # late: --help is instant

    if not (folder / "job.toml").is_file():
        raise RunError(f"{folder} is not a run folder (it has no job.toml); {cure}")
    return jobs.load(folder / "job.toml")
