"""The first minutes on a machine with an NVIDIA GPU: `make gpu-first`, or `python3 -m benchmarks.first_gpu`.

    --json FILE      where the rows go [docs/results/bench-gpu.json]
    --minutes M      for all [12]
    --venv FOLDER    the environment that is made or completed [.venv/gpu]
    --rehearse       in Numba's simulator, on what is installed, with the smallest sizes

Installs the set that fits the driver, tests the kernels on the device, then measures, the most telling first. Each part
is a process of its own with a budget of seconds; one that fails or is cut short says so in its row and ends no other.
The file is written anew whenever there is more. Standard library only: nothing is installed yet. A machine without a
network installs from a folder of wheels: PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER; one whose installing fails goes on with
what it has.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l2sim import fits

ROOT = Path(__file__).resolve().parents[1]
Row = dict[str, Any]
LAST = 12
"""Lines of what a part said last that its row keeps where it did not end well."""
KILLED = 5.0
"""Seconds that a part has to end by itself when its budget is over."""


@dataclass(frozen=True)
class Part:
    """`command` runs for `budget` seconds at most; `figures`: it writes rows there."""

    name: str
    budget: float
    command: tuple[str, ...]
    figures: Path | None = None


CASES = (
    ("vgg8-ic-pm", 90.0), ("step-vgg8", 75.0), ("insitu-3-meshes", 75.0), ("bank-ic-pm", 75.0), ("propagate", 60.0),
    ("step-cnn-l", 45.0), ("sweep-ic", 60.0), ("sweep-pm", 45.0), ("step-cnn-s", 30.0), ("step-resnet18", 60.0),
)  # fmt: skip
"""What is measured, the most telling first, and for how many seconds at most."""
TESTS = (
    ("tests of kernels", 120.0, "tests/kernels/test_cuda_kernels.py"),
    ("tests of steps", 60.0, "tests/kernels/test_cuda_step.py"),
    ("tests of runs", 90.0, "tests/flow/test_cuda_run.py"),
    ("tests of whole meshes", 60.0, "tests/flow/test_cuda_insitu.py"),
)
FIRST = "tests/kernels/test_cuda_kernels.py::test_clipping"
"""One small kernel: whether a launch comes through at all."""
REHEARSED = {"propagate", "bank-ic-pm", "step-cnn-s"}
"""Cases that the simulator does in seconds."""


def parts(python: str, rehearse: bool, folder: Path) -> Iterator[Part]:
    """All parts after the installing, in the order of the run."""
    pytest = (python, "-m", "pytest", "-vv", "--tb=line", "-p", "no:cacheprovider", "-p", "no:xdist")
    yield Part("a kernel runs", 60.0, (*pytest, FIRST))
    # The headline before the tests: a machine that is taken away early has told the most.
    cases = [part for part in CASES if part[0] in REHEARSED] if rehearse else CASES
    for number, (case, budget) in enumerate(cases):
        path = folder / f"{case}.json"
        quick = ("--quick",) if rehearse else ()
        command = (python, "-m", "benchmarks", "--device", "cuda", "--only", case, "--json", str(path), *quick)
        yield Part(case, budget, command, path)
        if number == 0:
            for name, seconds, file in TESTS[:1] if rehearse else TESTS:
                yield Part(name, seconds, (*pytest, file, *(("-k", "clipping or blocks") if rehearse else ())))


class Report:
    """The rows of the file: what the machine is, every part, and the figures of each in the order of the run."""

    def __init__(self, path: Path) -> None:
        self.path, self.heads, self.figures = path, list[Row](), dict[str, list[Row]]()

    def head(self, variant: str, **values: Any) -> None:
        """A row about the machine or a part."""
        self.heads.append({"case": "first-gpu", "variant": variant, **values})
        self.write()

    def measured(self, name: str, path: Path) -> None:
        """The rows that a part has written so far; the limits of the machine are kept once."""
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # none yet
            return
        kept = [row for row in rows if row["case"] != "limit" or name == next(iter(self.figures), name)]
        if kept != self.figures.get(name):
            self.figures[name] = kept
            self.write()

    def write(self) -> None:
        """The most telling first: figures, then how it went."""
        rows = [row for some in self.figures.values() for row in some] + self.heads
        part = self.path.with_name(self.path.name + ".part")
        part.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        part.replace(self.path)


def told(text: str) -> dict[str, Any]:
    """What pytest said: how many tests passed, and which did not."""
    ends = re.findall(r"^(\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED)", text, re.MULTILINE)
    if not ends:
        return {}
    counts = {word.lower(): sum(end == word for _, end in ends) for word in ("PASSED", "SKIPPED")}
    return {**counts, "failed": [name for name, end in ends if end in ("FAILED", "ERROR")]}


def carry_out(part: Part, left: float, report: Report, environment: dict[str, str]) -> bool:
    """Run a part within its budget and what is left; its row says how it went. True if it ended well."""
    begin, budget = time.monotonic(), min(part.budget, left)
    if budget <= 0:
        report.head(part.name, seconds=0.0, outcome="no time left")
        return False
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        print(f"{part.name} ({budget:.0f} s at most)", flush=True)
        try:
            process = subprocess.Popen(
                part.command, cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as error:
            report.head(part.name, seconds=0.0, outcome="failed", said=[str(error)])
            return False
        while process.poll() is None and time.monotonic() - begin < budget:
            time.sleep(0.2)
            if part.figures:
                report.measured(part.name, part.figures)
        cut = process.poll() is None
        if cut:
            _end(process)
        if part.figures:
            report.measured(part.name, part.figures)
        said.seek(0)
        text = said.read()
    outcome = "cut short" if cut else "done" if process.returncode == 0 else "failed"
    last = {} if outcome == "done" else {"said": text.strip().splitlines()[-LAST:]}
    report.head(part.name, seconds=round(time.monotonic() - begin, 1), outcome=outcome, **told(text), **last)
    print(f"    {outcome} after {time.monotonic() - begin:.0f} s", flush=True)
    return outcome == "done"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a part with all that it started."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
            process.wait(KILLED)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def machine() -> dict[str, Any]:
    """The GPU as nvidia-smi has it, and the CUDA of its driver."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,compute_cap,clocks.max.sm", "--format=csv"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        lines = []
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    there = {"gpu": lines[1:], "cuda": fits.driver(), "cores": os.cpu_count()}
    return there | {"commit": commit, "time": time.strftime("%F")}


def install(report: Report, venv: Path, left: float, environment: dict[str, str]) -> str:
    """The Python with the set that fits the driver; where that cannot be installed, one that has what it takes."""
    chosen = fits.extra(fits.driver())
    command = (sys.executable, str(ROOT / "requirements" / "install.py"), chosen, str(venv))
    carry_out(Part(f"install {chosen}", 240.0, command), left, report, environment)
    return able(venv / "bin" / "python", ROOT / ".venv" / "bin" / "python", Path(sys.executable))


def able(*pythons: Path) -> str:
    """The first Python that has CuPy, numba-cuda and pytest; the last one where none has."""
    asked = "import cupy, numba_cuda, pytest"
    for python in pythons:
        if python.exists() and subprocess.run([python, "-c", asked], capture_output=True).returncode == 0:
            return str(python)
    return str(pythons[-1])


def main(arguments: list[str] | None = None) -> int:
    """0 if every part ended well."""
    parser = argparse.ArgumentParser("python3 -m benchmarks.first_gpu", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", metavar="FILE", default=str(ROOT / "docs" / "results" / "bench-gpu.json"))
    parser.add_argument("--minutes", type=float, default=12.0, metavar="M")
    parser.add_argument("--venv", metavar="FOLDER", default=str(ROOT / ".venv" / "gpu"))
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args(arguments)
    begin = time.monotonic()
    path = Path(options.json)
    if options.rehearse and path == ROOT / "docs" / "results" / "bench-gpu.json":
        path = Path(tempfile.gettempdir()) / "l2sim-gpu-rehearsal.json"  # never where figures of a GPU belong
    report, environment = Report(path), dict(os.environ)
    if options.rehearse:
        environment |= {"NUMBA_ENABLE_CUDASIM": "1"}
    else:
        environment |= {"L2SIM_TEST_GPU": "1"}
        environment.pop("NUMBA_ENABLE_CUDASIM", None)

    def left() -> float:
        return 60.0 * options.minutes - (time.monotonic() - begin)

    report.head("machine", rehearsal=options.rehearse, **machine())
    python = sys.executable if options.rehearse else install(report, Path(options.venv), left(), environment)
    with tempfile.TemporaryDirectory() as folder:
        # All, also where one fails: each tells something of its own.
        well = [carry_out(part, left(), report, environment) for part in parts(python, options.rehearse, Path(folder))]
    print(f"{sum(well)} of {len(well)} parts ended well; {path}")
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())
