"""Whole runs, as a user starts them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Bench, Measurement


def digits(bench: Bench) -> Iterator[Measurement]:
    """`l2sim run digits` in a process of its own, start to report (quick: its smoke)."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "l2sim", "run", "digits", "--quiet", "--threads", str(bench.threads)]
        line += ["--out", str(Path(folder) / "run"), *(["--smoke"] if bench.quick else [])]
        begin = time.perf_counter()
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - begin
    yield Measurement("run-digits", "smoke" if bench.quick else "whole", seconds, 1.0, "runs/s", dtype="")


CASES = (("run-digits", digits),)
