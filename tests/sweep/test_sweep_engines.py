"""The same sweep on every engine while processes are killed: the same table, and no finished point is run again.

Points sleep (`benchmarks/sleeper.py`); everything else is real: processes, pipes, Dask, sockets on several loopback
addresses, folders. `make test-sweep` does so with 200 points that compute.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import sleeper
from l2sim.errors import JobError, RunError
from l2sim.sweep import agenda, plan
from l2sim.sweep import cluster as sweep_cluster
from l2sim.sweep import local as sweep_local
from l2sim.sweep import point as sweep_point
from l2sim.sweep.cluster import Section
from l2sim.sweep.local import Local
from l2sim.sweep.point import Task
from tests.places import ROOT
from tests.tolerances import PATIENCE

SLEEP = 0.05
PRELOAD = sleeper.__name__


def planned(points: int = 12, **more: Any) -> plan.Plan:
    grid = {"seed": [*range(1, points // 2 + 1)], "learn.lr_floor": [1e-4, 1e-5]}
    return plan.plan({"job": "digits", "overrides": {"learn.lr": SLEEP}, "grid": grid} | more)


@pytest.fixture(autouse=True)
def sleepers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_local, "WORKER", list(sweep_local.WORKER))
    sleeper.use()


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The table of the sweep, from one worker that nobody disturbs."""
    out = tmp_path_factory.mktemp("wanted") / "s"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep_local, "WORKER", list(sweep_local.WORKER))
        sleeper.use()
        assert agenda.run(planned(), out, lambda: Local(1, 1)).done == 12
    table = (out / "results.csv").read_bytes()
    assert len(set(table.splitlines())) == 13
    return table


def finished(out: Path) -> dict[Path, int]:
    """The reports of points that are done: one whose worker was killed before it said so is written again."""
    done = (path for path in out.glob("points/*/manifest.json") if '"done"' in path.read_text())
    return {path: path.stat().st_mtime_ns for path in (path.with_name("report.json") for path in done)}


def unchanged(before: dict[Path, int]) -> bool:
    return before == {path: path.stat().st_mtime_ns for path in before}


class Killer:
    """Kills a process each time that so many more points are done; `watch` for `sweep.run`."""

    def __init__(self, kill: Any, every: int = 4) -> None:
        self._kill, self._every, self._next, self.killed = kill, every, every, 0

    def watch(self, counts: agenda.Counts) -> None:
        if counts.done >= self._next:
            self._next += self._every
            self._kill()
            self.killed += 1


def test_workers_that_are_killed_are_replaced(wanted: bytes, tmp_path: Path) -> None:
    engine, chance = Local(2, 1, tmp_path / "words"), random.Random(1)

    def kill() -> None:
        os.kill(chance.choice([child.pid for child in engine._children if child]), signal.SIGKILL)

    killer = Killer(kill)
    counts = agenda.run(planned(), tmp_path / "s", lambda: engine, watch=killer.watch)
    assert counts.done == 12 and killer.killed >= 2
    assert (tmp_path / "s" / "results.csv").read_bytes() == wanted


CLIENT = """
import os, sys, time; sys.path.insert(0, {root!r})
from benchmarks import sleeper
from l2sim.cli import main as cli
from l2sim.cli import sweep as sweep_command
def hold(self, counts):
    while counts.done >= 3 and not os.path.exists({go!r}):
        time.sleep(0.02)
if __name__ == "__main__":
    sleeper.use()
    sweep_command.Watch.see = hold
    cli.main(sys.argv[1:])
"""
"""Hands out no more once three points are done, until there is a file `go`: else a sweep of sleepers may be over before
this process has a turn to stop it."""
FILE = """
job = "digits"
overrides = ["learn.lr={sleep}"]
[grid]
seed = [1, 2, 3, 4, 5, 6]
"learn.lr_floor" = [1e-4, 1e-5]
"""


@pytest.fixture
def command(tmp_path: Path) -> Any:
    """Starts `l2sim sweep` with workers that sleep, in `tmp_path`/s."""
    (tmp_path / "client.py").write_text(CLIENT.format(root=str(ROOT), go=str(tmp_path / "go")))
    (tmp_path / "s.toml").write_text(FILE.format(sleep=SLEEP))
    words = [sys.executable, str(tmp_path / "client.py"), "sweep", str(tmp_path / "s.toml"), "--out"]

    def start(*more: str) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen([*words, str(tmp_path / "s"), *more], cwd=tmp_path, stdout=pipe, stderr=pipe)

    return start


def until(condition: Any) -> None:
    end = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("number", (signal.SIGKILL, signal.SIGINT))
def test_a_client_that_is_stopped_goes_on_where_it_was(
    number: signal.Signals, wanted: bytes, tmp_path: Path, command: Any
) -> None:
    out = tmp_path / "s"
    first = command("--workers", "2")
    until(lambda: len(finished(out)) >= 3 or first.poll() is not None)
    first.send_signal(number)
    _, told = first.communicate()
    assert first.returncode == (-9 if number == signal.SIGKILL else 130)
    if number == signal.SIGINT:
        assert b"stopped by Ctrl-C; what is finished stays" in told and len(told.splitlines()) == 1
    before = finished(out)
    assert 3 <= len(before) < 12
    (tmp_path / "go").touch()
    second = command("--workers", "2", "--quiet")
    _, told = second.communicate()
    assert (second.returncode, told) == (0, b"")
    assert (out / "results.csv").read_bytes() == wanted and unchanged(before)


def test_workers_that_never_answer_are_an_error(tmp_path: Path) -> None:
    sweep_local.WORKER[:] = [sys.executable, "-c", ""]
    with pytest.raises(RunError, match="workers end before their first answer: its worker ended with exit code 0"):
        agenda.run(planned(), tmp_path / "s", lambda: Local(1, 1))


def test_every_worker_sees_one_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert sweep_local.gpus() == ["3", "5"]
    code = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['OMP_NUM_THREADS'])"
    sweep_local.WORKER[:] = [sys.executable, "-c", code]
    seen = []
    for number in range(3):
        child = sweep_local.Child(2, sweep_local.gpus()[number % 2])
        seen.append(child.out.readline().split())
        child.close()
    assert seen == [[b"3", b"2"], [b"5", b"2"], [b"3", b"2"]]


# ------------------------------------------------------------------------------------------------------------- Dask


class Cluster:
    """A scheduler and three workers on loopback addresses of their own, as they would be started by hand."""

    HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")

    def __init__(self, place: Path) -> None:
        self.place, self.held, self.address = place, {}, ""
        self.start()

    def start(self) -> None:
        told = self.place / "scheduler.json"
        told.unlink(missing_ok=True)
        # A port that it chooses itself: one that was free a moment ago may be another program's by now.
        host = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", ":0", "--scheduler-file", str(told)]
        self._run("scheduler", "distributed.cli.dask_scheduler", *host)

        def listens() -> bool:
            with contextlib.suppress(OSError, ValueError):
                self.address = json.loads(told.read_text())["address"]
                return True
            return False

        until(listens)
        for name in self.HOSTS:
            self.worker(name)
        from distributed import Client

        with Client(self.address, timeout=PATIENCE / 1000, set_as_default=False) as client:  # else a sweep warns
            client.wait_for_workers(len(self.HOSTS), timeout=PATIENCE / 1000)

    def worker(self, host: str) -> None:
        more = ["--host", host, "--nthreads", "1", "--no-nanny", "--dashboard-address", ":0", "--preload", PRELOAD]
        folder = self.place / host
        self._run(host, "distributed.cli.dask_worker", self.address, *more, "--local-directory", str(folder))

    def _run(self, name: str, *words: str) -> None:
        with open(self.place / "words", "ab") as log:
            command = [sys.executable, "-m", *words]
            self.held[name] = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)

    def kill(self, name: str) -> None:
        self.held[name].kill()
        self.held[name].wait()

    def stop(self) -> None:
        for name in self.held:
            self.kill(name)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    pytest.importorskip("distributed")
    if sys.platform != "linux":
        pytest.skip("only Linux has all of 127.0.0.0/8")
    it = Cluster(tmp_path_factory.mktemp("cluster"))
    yield it
    it.stop()


def dask(cluster: Cluster, out: Path, shared: bool | None) -> Any:
    from l2sim.sweep.dask_engine import Dask

    return lambda: Dask(sweep_cluster.connect(cluster.address), out, None, shared)


@pytest.mark.parametrize("shared", (False, None))
def test_a_scheduler_with_three_workers_gives_the_same_table(
    shared: bool | None, cluster: Cluster, wanted: bytes, tmp_path: Path
) -> None:
    out = tmp_path / "s"
    victims = iter(cluster.HOSTS)

    def kill() -> None:
        host = next(victims)
        cluster.kill(host)
        cluster.worker(host)

    killer = Killer(kill, 6)
    counts = agenda.run(planned(), out, dask(cluster, out, shared), watch=killer.watch)
    assert counts.done == 12 and killer.killed >= 1
    assert (out / "results.csv").read_bytes() == wanted
    assert len(list(out.glob("points/*/checkpoints"))) == (0 if shared is False else 12)
    assert len(list(out.glob("shared/*/checkpoints/map.safetensors"))) == 6


def test_a_worker_of_another_version_gets_nothing(
    cluster: Cluster, wanted: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from l2sim.sweep import dask_engine

    out = tmp_path / "s"
    monkeypatch.setattr(dask_engine, "VERSIONS", sweep_point.VERSIONS | {"l2sim": "9.9"})
    with pytest.raises(RunError, match=r"worker tcp://127\.0\.0\.\d:\d+ has l2sim .*, and this is l2sim 9\.9; install"):
        agenda.run(planned(), out, dask(cluster, out, None))
    assert (
        dask_engine.mismatch({"python": "3.1"}, {}) == "has no python, and this is python 3.1; install the same there"
    )


class Pinned:
    """As much of a Dask client as hands out tasks to two workers, of which the second is an older one."""

    status = "running"

    def __init__(self) -> None:
        self.scheduler, self.submitted = type("S", (), {"address": "tcp://s"}), []

    def run(self, function: Any, *told: Any, **more: Any) -> dict[str, Any]:
        return {"tcp://a": sweep_point.VERSIONS, "tcp://b": sweep_point.VERSIONS | {"l2sim": "0.0.1"}}

    def nthreads(self) -> dict[str, int]:
        return {"tcp://a": 2, "tcp://b": 1}

    def submit(self, *told: Any, **more: Any) -> Any:
        self.submitted.append(more)
        return type("F", (), {"add_done_callback": lambda self, call: None})()

    def close(self, **more: Any) -> None:
        pass


def test_only_workers_of_this_version_get_points(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    from l2sim.sweep.dask_engine import Dask

    client = Pinned()
    with Dask(client, tmp_path) as engine:
        assert engine.notes[0].startswith("worker tcp://b gets no points: it has l2sim 0.0.1, and this is l2sim ")
        assert engine.room() == 3
        engine.submit(Task(
            index=0, name="0-x", folder="points/0-x", root=str(tmp_path), sweep="1" * 32, job={}, data="", threads=1,
            source="", versions=sweep_point.VERSIONS,
        ))  # fmt: skip
        assert client.submitted[0]["workers"] == ["tcp://a"] and not client.submitted[0]["allow_other_workers"]
        assert engine.room() == 2 and not engine.exclude("tcp://a")  # nobody else is left


def test_a_scheduler_that_is_gone_is_one_line_and_the_command_goes_on(
    cluster: Cluster, wanted: bytes, tmp_path: Path, command: Any
) -> None:
    out = tmp_path / "s"
    first = command("--scheduler", cluster.address)
    until(lambda: len(finished(out)) >= 3 or first.poll() is not None)
    cluster.kill("scheduler")
    (tmp_path / "go").touch()
    _, told = first.communicate()
    assert first.returncode == 2 and len(told.splitlines()) == 1
    assert f"the scheduler at {cluster.address} is gone; what is finished is in {out}".encode() in told
    before = finished(out)
    cluster.stop()
    cluster.start()
    second = command("--scheduler", cluster.address, "--quiet")
    _, told = second.communicate()
    assert (second.returncode, told) == (0, b"")
    assert (out / "results.csv").read_bytes() == wanted and unchanged(before)


def test_a_local_cluster_gives_the_same_table(wanted: bytes, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    from l2sim.sweep.dask_engine import Dask

    out = tmp_path / "s"
    section = {"kind": "local", "options": {"preload": PRELOAD, "local_directory": str(tmp_path)}}
    counts = agenda.run(planned(cluster=section), out, lambda: Dask(*clustered(section, 2, out)))
    assert counts.done == 12 and (out / "results.csv").read_bytes() == wanted


def clustered(section: dict[str, Any], workers: int, out: Path) -> tuple[Any, Path, Any]:
    client, cluster = sweep_cluster.start(Section(**section), workers)
    return client, out, cluster


@pytest.mark.parametrize("kind, name, scaled", (
    ("slurm", "dask_jobqueue", {"jobs": 3}), ("kubernetes", "dask_kubernetes.operator", 3),
    ("ssh", "distributed", None),
))  # fmt: skip
def test_clusters_are_made_as_their_section_says(
    kind: str, name: str, scaled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    made: list[Any] = []

    class Made:
        def __init__(self, **options: Any) -> None:
            made.append(options)
            if "bad" in options:
                raise TypeError("unexpected keyword 'bad'\nand more")

        def scale(self, *n: int, **more: int) -> None:
            made.append(n[0] if n else more)

    module = type(sys)(name)
    setattr(module, sweep_cluster.KINDS[kind][1], Made)
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "asyncssh", module)
    vars(module)["Client"] = lambda cluster, **more: "client"
    monkeypatch.setattr(distributed, "Client", lambda cluster, **more: "client")
    section = Section(kind, options={"hosts": ["a", "b"]})
    assert sweep_cluster.start(section, 3)[0] == "client"
    assert made == [{"hosts": ["a", "b"]}, *([scaled] if scaled else [])]
    with pytest.raises(JobError, match=rf'kind = "{kind}" cannot be started \(TypeError: unexpected keyword .bad.\)'):
        sweep_cluster.start(Section(kind, options={"hosts": ["a"], "bad": 1}), 1)
