"""A sweep on every engine, while workers, scheduler and client are killed at random: is the table always the same?

`python -m l2sim.study.sweep --full` (`make test-sweep`) runs 200 small points of `digits` undisturbed on two processes,
then again in four ways with kills. Each time a process is killed it is looked up which points are finished; in the end
none of these may have been run again, and `results.csv` must be that of the undisturbed sweep, byte by byte.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from l2sim.errors import RunError
from l2sim.study.harness import Study, Table, markdown, some

FILE = """job = "digits"
smoke = true

[overrides]
"model.width" = 0.25

[cluster]
shared = {shared}

[grid]
seed = {seeds}
"nonidealities.phase_bits" = [4, 6, 8, 0]
"learn.lr" = {rates}
"""
WAYS = ("two processes", "LocalCluster", "scheduler, separate folders", "scheduler, shared folder")
VICTIMS = {
    "two processes": ("worker", "client"),
    "LocalCluster": ("worker", "client"),
    "scheduler, separate folders": ("worker", "scheduler", "client"),
    "scheduler, shared folder": ("worker", "scheduler", "client"),
}
HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
"""Where the workers of the scheduler listen."""
LOOK = 0.1
POINTS, KILLS = 200, 12
"""Points of the sweep, a multiple of eight, and processes killed in each way."""


class Row(NamedTuple):
    """One way: `checked` finished points at the moments of the kills, of which `repeated` were run again."""

    way: str
    points: int
    seconds: float
    clients: int
    workers: int
    schedulers: int
    commands: int
    checked: int
    repeated: int
    identical: bool


def write_file(path: Path, points: int, shared: bool = True) -> Path:
    """A sweep of `points` points, a multiple of eight, in `path`."""
    rates = 5 if points % 20 == 0 else 2
    seeds = list(range(1, points // (4 * rates) + 1))
    learnt_at = [round(1e-3 * (1 + step), 4) for step in range(rates)]
    path.write_text(FILE.format(shared=str(shared).lower(), seeds=seeds, rates=learnt_at))
    return path


@dataclass
class Stage:
    """The processes of one way. `spoken` takes what they print."""

    way: str
    place: Path
    points: int
    spoken: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    commands: int = 0
    port: int = 0

    def start(self) -> None:
        """Have everything running that should be."""
        if self.way.startswith("scheduler"):
            self._scheduler()
        if self.ended("client") and not self.over:
            self.commands += 1
            engine = {
                "two processes": ["--workers", "2"],
                "LocalCluster": ["--scheduler", "local", "--workers", "2"],
            }.get(self.way, ["--scheduler", f"tcp://127.0.0.1:{self.port}"])
            self._run("client", "-m", "l2sim", "sweep", str(self.place / "sweep.toml"), "--out", str(self.out), *engine)

    @property
    def over(self) -> bool:
        """Whether the command has done all there was to do."""
        return "client" in self.processes and self.processes["client"].poll() == 0

    @property
    def out(self) -> Path:
        """The folder of the sweep."""
        return self.place / "sweep"

    def _scheduler(self) -> None:
        if self.ended("scheduler"):
            self.port = self.port or _free_port()
            place = ["--host", "127.0.0.1", "--port", str(self.port), "--dashboard-address", ":0"]
            self._run("scheduler", "-m", "distributed.cli.dask_scheduler", *place)
            while not _listens(self.port):
                time.sleep(LOOK)
        for host in HOSTS:
            if self.ended(host):
                folder = self.place / host
                more = ["--host", host, "--nthreads", "1", "--no-nanny", "--dashboard-address", ":0"]
                more += ["--local-directory", str(folder)]
                self._run(host, "-m", "distributed.cli.dask_worker", f"tcp://127.0.0.1:{self.port}", *more)

    def _run(self, name: str, *words: str) -> None:
        with open(self.spoken, "ab") as log:
            self.processes[name] = subprocess.Popen([sys.executable, *words], stdout=log, stderr=log)

    def ended(self, name: str) -> bool:
        """Whether no process of this name runs."""
        return name not in self.processes or self.processes[name].poll() is not None

    def kill(self, victim: str, chance: random.Random) -> None:
        """Kill a process of this kind, as the kernel does that is out of memory."""
        name = victim
        if victim == "worker" and self.way.startswith("scheduler"):
            name = chance.choice(HOSTS)
        if victim != "worker" or name != victim:
            if not self.ended(name):
                self.processes[name].kill()
                self.processes[name].wait()
        elif workers := descendants(self.processes["client"].pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)

    def stop(self) -> None:
        """Kill what is left."""
        for process in self.processes.values():
            process.kill()
            process.wait()

    def finished(self) -> dict[str, int]:
        """When each finished point was finished, by name."""
        moments = {}
        with contextlib.suppress(FileNotFoundError):
            for line in (self.out / "log.jsonl").read_bytes().splitlines():
                if b'"status":"done"' in line:
                    name = line.partition(b'"name":"')[2].partition(b'"')[0].decode()
                    moments[name] = (self.out / "points" / name / "report.json").stat().st_mtime_ns
        return moments


def descendants(process: int) -> list[int]:
    """All processes below a process."""
    below: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text().split():
                below += [int(child), *descendants(int(child))]
    return below


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def undisturbed(place: Path, points: int) -> tuple[bytes, float]:
    """The table of the sweep that nobody disturbs, and how long it took."""
    place.mkdir(parents=True)
    began = time.monotonic()
    command = ["-m", "l2sim", "sweep", str(write_file(place / "sweep.toml", points)), "--out", str(place / "sweep")]
    subprocess.run([sys.executable, *command, "--workers", "2", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return (place / "sweep" / "results.csv").read_bytes(), time.monotonic() - began


def disturbed(way: str, place: Path, points: int, kills: int, wanted: bytes, seed: int = 1) -> Row:
    """Run the sweep in this way, killing so many processes, each after a random number of points."""
    place.mkdir(parents=True)
    write_file(place / "sweep.toml", points, "separate" not in way)
    chance = random.Random(f"{seed} {way}")
    moments = sorted(chance.sample(range(1, points), kills))
    victims = [VICTIMS[way][number % len(VICTIMS[way])] for number in range(kills)]
    chance.shuffle(victims)
    stage = Stage(way, place, points, place / "words.log")
    killed: list[str] = []
    seen: dict[str, int] = {}
    began = time.monotonic()
    try:
        stage.start()
        while not stage.over:
            time.sleep(LOOK)
            done = stage.finished()
            if moments and len(done) >= moments[0]:
                time.sleep(chance.random())
                moments.pop(0)
                killed.append(victims.pop())
                stage.kill(killed[-1], chance)
                seen = stage.finished() | seen
            stage.start()
    finally:
        stage.stop()
    now = stage.finished()
    clients, workers, schedulers = (killed.count(victim) for victim in ("client", "worker", "scheduler"))
    repeated = sum(now.get(name) != moment for name, moment in seen.items())
    table = (stage.out / "results.csv").read_bytes()
    return Row(
        way, points, time.monotonic() - began, clients, workers, schedulers, stage.commands, len(seen), repeated,
        table == wanted,
    )  # fmt: skip


def table(points: int, kills: int, place: Path, ways: Sequence[str] = WAYS) -> Iterator[Row]:
    """The undisturbed sweep and all others."""
    wanted, seconds = undisturbed(place / "undisturbed", points)
    yield Row("two processes, undisturbed", points, seconds, 0, 0, 0, 1, 0, 0, True)
    for way in ways:
        folder = place / way.replace(", ", "-").replace(" ", "-")
        yield disturbed(way, folder, points, kills, wanted)
        shutil.rmtree(folder)


TEXT = """# Sweeps that are killed

Made by `make test-sweep` (`python -m l2sim.study.sweep --full`); the rows are in [sweep.csv](sweep.csv).

{points} points of `digits` in smoke size (seeds, phase bits, learning rates; what they share of pretraining,
calibration and mapping is made once) in {ways} ways, while processes are killed (SIGKILL) at random moments and started
again. "Checked" are the points that were finished at one of these moments; "run again" is how many of those were.
"Commands" is how often `l2sim sweep` was typed. The scheduler's three workers listen on 127.0.0.2 to 127.0.0.4. The
table is `results.csv`, compared byte by byte with that of the undisturbed sweep. Seconds are of a busy machine with two
cores.
"""


def page(rows: list[Row]) -> list[str]:
    """The results as lines of Markdown."""
    return [
        *TEXT.format(points=rows[0].points, ways=len(rows) - 1).splitlines(), "",
        *markdown((
            "way", "seconds", "clients killed", "workers killed", "schedulers killed", "commands", "checked",
            "run again", "table",
        ), (
            (row.way, f"{row.seconds:.0f}", *row[3:9], "identical" if row.identical else "DIFFERENT") for row in rows
        )),
    ]  # fmt: skip


def compute(options: Namespace) -> list[Row]:
    """All ways; a quick look is at one, with eight points and one kill."""
    points, kills = (POINTS, KILLS) if options.full else (8, 1)
    rows = []
    with tempfile.TemporaryDirectory(prefix="l2sim-sweep-") as place:
        for row in table(points, kills, Path(place), some(WAYS, options)):
            print(row, flush=True)
            rows.append(row)
    if wrong := [row.way for row in rows if row.repeated or not row.identical]:
        raise RunError(f"{', '.join(wrong)}: the table differs, or a finished point was run again; no page is written")
    return rows


TABLE = Table(Row, ".1f")
STUDY = Study("sweep", __doc__, compute, page, TABLE.write, TABLE.read, runs=False)

if __name__ == "__main__":
    STUDY.main()
