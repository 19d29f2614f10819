"""A run that is served: readers come and go, miss nothing, and may change it; it never waits for them."""

from __future__ import annotations

import ast
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from l2sim.errors import L2simError
from l2sim.flow import flow
from l2sim.flow.control import Control, StopAsked, apply
from l2sim.flow.session import Session
from l2sim.job.job import Job
from l2sim.runs import execute
from l2sim.runs.live import LOGS, SHARE, Due
from l2sim.runs.live_messages import ADDRESS, VERSION, Address, Answer, Beat, Layer, Picture, Piece
from l2sim.runs.live_reader import Reader, pictures
from l2sim.store import logs
from l2sim.store.events import Changed, Epoch, EpochEnd, Event, Step
from l2sim.store.manifest import read_manifest
from tests.flow.test_run import report, short
from tests.places import ROOT

zmq = pytest.importorskip("zmq")
PATIENCE = 300.0
LONG = 5000
"""Epochs of a run that is still going on when a test on a busy machine has asked all it wants to know."""


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report without its pictures, which take seconds."""
    monkeypatch.setattr(execute.report, "write", without_figures)


def without_figures(out: Path, report: dict[str, Any], figures: dict[str, Any], page: bool = True) -> None:
    (out / "report.json").write_text(json.dumps(report))


def moons(**more: Any) -> Job:
    """Three 4-mode meshes on points: some thousand quick steps."""
    return Job.preset("insitu-moons", {"learn.epochs": 40} | more)


class Run(threading.Thread):
    """A served run beside the test, in a thread: what it computes frees the interpreter now and then."""

    def __init__(self, job: Job, out: Path, **options: Any) -> None:
        super().__init__(daemon=True)
        self.job, self.out, self.options = job, out, options
        self.error: BaseException | None = None
        self.start()
        wait(lambda: (out / ADDRESS).exists() or not self.is_alive())

    def run(self) -> None:
        try:
            for _ in execute.execute(self.job, self.out, live=True, **self.options):
                pass
        except BaseException as error:
            self.error = error

    def end(self) -> None:
        self.join(PATIENCE)
        assert not self.is_alive()


def wait(ready: Callable[[], Any]) -> Any:
    """What `ready` gives as soon as it is true."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if found := ready():
            return found
        time.sleep(0.005)
    raise AssertionError("waited for too long")


class Client(Reader):
    """A reader that has nothing but the sockets: it holds both logs byte for byte, and waits for answers."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.held = {"event": b"", "scalar": b""}
        self.seen: list[tuple[str, Piece | Beat | Picture, bytes]] = []
        self.numbers: list[int] = []
        self.snapshot, _ = self.ask("snapshot")
        for topic, length in (("event", "events"), ("scalar", "scalars")):
            end = self.snapshot.lengths[length]
            _, self.held[topic] = self.ask("get", topic=topic, **{"from": 0, "to": end})
            assert len(self.held[topic]) == end

    def take(self) -> None:
        for topic, header, payload in self.messages():
            self.seen.append((topic, header, payload))
            if topic in self.held:
                held, at = self.held[topic], header.at
                if at > len(held):  # the subscription came later than the snapshot was asked for
                    held += self.ask("get", topic=topic, **{"from": len(held), "to": at})[1]
                assert at <= len(held), "a gap"
                self.held[topic] = held + payload[len(held) - at :]
                self.numbers.append(header.seq)

    def ask(self, command: str, **arguments: Any) -> tuple[Answer, bytes]:
        number, found = self.order(command, **arguments), []

        def answered() -> bool:
            found.extend(pair for pair in self.answers() if pair[0].id == number)
            return bool(found)

        wait(answered)
        return found[0]


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Run]:
    """A run of eighty steps a second that waits for the test's orders at the end."""
    run = Run(moons(**{"learn.epochs": LONG}), tmp_path / "run", pace=80.0)
    yield run
    if run.is_alive():
        client = Client(run.out)
        client.order("stop")
        run.end()
        client.close()


def test_five_readers_attach_to_a_running_job_and_miss_nothing(tmp_path: Path) -> None:
    run = Run(moons(**{"learn.epochs": LONG}), tmp_path / "run", pace=400.0)
    clients: list[Client] = []
    for _ in range(5):
        clients.append(Client(run.out))
        for _ in range(10):
            time.sleep(0.01)
            for client in clients:
                client.take()
        begun = clients[-1].snapshot.state.step
        wait(lambda begun=begun: clients[0].ask("snapshot")[0].state.step > begun)
    starts = [client.snapshot.state.step for client in clients]
    assert starts == sorted(set(starts))
    clients[0].ask("pause")

    def caught_up() -> bool:
        for client in clients:
            client.take()
        wholes = {topic: (run.out / name).read_bytes() for topic, name in LOGS.items()}  # the last piece comes later
        return all(client.held == wholes for client in clients)

    clients[0].ask("snapshot")  # hands the logs to the operating system
    wait(caught_up)
    steps = np.frombuffer(clients[0].held["scalar"], logs.SCALARS)["step"]
    assert set(range(2, steps.max())) <= set(steps.tolist())
    for client in clients:
        assert client.numbers == sorted(set(client.numbers))
    clients[0].ask("stop")
    run.end()
    for client in clients:
        client.close()
    assert read_manifest(run.out).state == "stopped" and not (run.out / ADDRESS).exists()


def test_pause_step_and_run_move_the_run_by_what_they_say(slow: Run) -> None:
    client = Client(slow.out)
    wait(lambda: client.ask("snapshot")[0].state.stage == "learn")
    paused = client.ask("pause")[0].applied_at_step

    def at() -> int:
        state = client.ask("snapshot")[0].state
        return state.step if state.paused else -1

    assert at() == paused
    time.sleep(0.1)
    assert at() == paused
    client.ask("step", n=7)
    assert wait(lambda: (now := at()) >= 0 and now) == paused + 7
    client.ask("step", n=1, epoch=True)
    epoch = wait(lambda: (now := at()) >= 0 and now)
    last = logs.events(slow.out)[-1]
    assert isinstance(last, EpochEnd) and (last.stage, last.step) == ("learn", epoch)
    client.ask("run")
    wait(lambda: client.ask("snapshot")[0].state.step > epoch)

    def told() -> bool:
        client.take()
        return any(isinstance(header, Beat) and header.paused for topic, header, _ in client.seen)

    wait(told)
    client.close()


def test_a_parameter_is_set_with_its_step_and_the_chip_changes(slow: Run) -> None:
    client = Client(slow.out)
    wait(lambda: client.ask("snapshot")[0].state.stage == "learn")
    path = "nonidealities.tap_noise"
    told = client.ask("set", path=path, value=0.3, expected_old=0.0)[0]
    assert told.ok and told.value == 0.3
    kept = next(event for event in logs.events(slow.out) if isinstance(event, Changed))
    assert kept == Changed("learn", told.applied_at_step, kept.after, path, 0.3, 0.0)
    refused = client.ask("set", path=path, value=0.1, expected_old=0.0)[0]
    assert not refused.ok and "0.3 by now" in refused.error
    for wrong in ({"path": path, "value": -1}, {"path": "insitu.modes", "value": 8}, {"path": "no.such", "value": 1}):
        assert not client.ask("set", **wrong)[0].ok
    hello = client.ask("snapshot")[0].hello
    tags = {field.path: field.when for field in hello.parameters}
    assert (tags[path], tags["learn.lr"], tags["insitu.modes"]) == ("live", "next epoch", "restart")
    assert hello.layers["mesh1"] == Layer(1, 1, 4, True)
    client.close()


def test_noise_that_is_set_while_it_learns_moves_the_gradients(tmp_path: Path) -> None:
    change = {"stage": "learn", "step": 101, "after": "step", "path": "nonidealities.tap_noise", "value": 0.5}
    errors = {}
    for name, changes in (("quiet", []), ("noisy", [change])):
        job = moons(**{"learn.epochs": 6})
        events = list(flow.run(job, control=Control(changes)))
        epochs = [event for event in events if isinstance(event, Epoch) and event.stage == "learn"]
        errors[name] = [event.scalars["oracle_gradient_error"] for event in epochs]
        assert sum(isinstance(e, Changed) for e in events) == len(changes)
    steps = 800 // moons().learn.batch
    before = (101 - 2) // steps
    assert errors["noisy"][:before] == errors["quiet"][:before]
    assert errors["noisy"][-1] > 10 * errors["quiet"][-1]


CHANGES = (
    ("pretrain", Step, "pretrain.lr", 0.004),
    ("calibrate", Epoch, "nonidealities.crosstalk", 0.02),
    ("calibrate", Epoch, "nonidealities.phase_bits", 6),
    ("map", Epoch, "map.lr", 0.3),
    ("learn", Step, "nonidealities.readout_noise", 0.03),
)


class Planned(Control):
    """Makes each of `CHANGES` after the first event of its kind and stage."""

    def __init__(self, changes: Any = ()) -> None:
        super().__init__(changes)
        self.plan = list(CHANGES)

    def between(self, event: Event, session: Session) -> Iterator[Changed]:
        while self.plan and (event.stage, type(event)) == self.plan[0][:2]:  # type: ignore[union-attr]
            yield apply(session, event, *self.plan.pop(0)[2:])


def test_a_resumed_run_makes_its_changes_again_and_equals_one_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, whole, part = short(**{"map.compare": False, "map.snapshots": []}), tmp_path / "whole", tmp_path / "part"
    with monkeypatch.context() as patch:
        patch.setattr(execute, "Control", Planned)
        list(execute.execute(job, whole))
        stream = execute.execute(job, part)
        while not isinstance(event := next(stream), Changed) or event.stage != "learn":
            pass
        for _ in range(2):  # the last change comes after the last checkpoint
            next(stream)
        stream.close()
    made = [event for event in logs.events(whole) if isinstance(event, Changed)]
    assert [(event.stage, event.path, event.value) for event in made] == [(s, p, v) for s, _, p, v in CHANGES]
    assert [event.old for event in made] == [0.002, 0.005, 8, 0.1, 0.002]
    checkpoint, _ = execute.latest(part)
    assert checkpoint is not None and len(checkpoint.values["changes"]) == len(CHANGES) - 1
    list(execute.execute(job, part, resume=True))
    assert [event for event in logs.events(part) if isinstance(event, Changed)] == made
    assert report(part) == report(whole) and len(report(whole)["changes"]) == len(CHANGES)


def test_stop_ends_after_a_checkpoint_and_the_run_goes_on_from_there(tmp_path: Path) -> None:
    run = Run(moons(), tmp_path / "run", pace=20.0)  # the other runs of this test have no pace
    client = Client(run.out)
    wait(lambda: client.ask("snapshot")[0].state.stage == "learn")
    saved = client.ask("checkpoint")[0]
    stopped = client.ask("stop")[0]
    run.end()
    client.close()
    assert isinstance(run.error, StopAsked) and isinstance(run.error, KeyboardInterrupt)
    assert saved.ok and stopped.applied_at_step > saved.applied_at_step
    checkpoint, _ = execute.latest(run.out)
    assert checkpoint is not None and checkpoint.step == stopped.applied_at_step
    list(execute.execute(run.job, run.out, resume=True, pace=0.0))
    whole = tmp_path / "whole"
    list(execute.execute(run.job, whole))
    assert report(run.out) == report(whole)


def test_a_run_that_is_resumed_keeps_its_pace(tmp_path: Path) -> None:
    """As the window's Resume starts it: its line names no pace. Without limit it goes on where that is asked for."""
    from l2sim.gui.base import launch

    def stop() -> Client:
        client = Client(out)
        wait(lambda: client.ask("snapshot")[0].state.stage == "learn")
        client.ask("stop")
        client.close()
        wait(lambda: read_manifest(out).state == "stopped")
        return client

    out = tmp_path / "run"
    run = Run(moons(), out, pace=20.0)
    stop()
    run.end()
    resumed = launch.resume(out)
    try:
        wait(lambda: (out / ADDRESS).exists() or resumed.code is not None)
        assert stop().snapshot.state.pace == read_manifest(out).pace == 20.0
    finally:
        if resumed.code is None:
            os.kill(resumed.pid, signal.SIGKILL)
        resumed.let_go()
    list(execute.execute(run.job, out, resume=True, pace=0.0))
    assert read_manifest(out).pace == 0.0 and read_manifest(out).state == "done"


def test_pictures_come_whole_and_only_when_they_are_wanted(slow: Run) -> None:
    client = Client(slow.out)
    wait(lambda: client.ask("snapshot")[0].state.stage == "learn")
    time.sleep(0.1)
    client.take()
    assert not {topic for topic, _, _ in client.seen} & {"phase", "block", "field"}
    for topic in ("phase", "field"):
        assert client.ask("want", topic=topic, layer="mesh2", rate=1000)[0].ok
    assert "no layer" in client.ask("want", topic="phase", layer="mesh9")[0].error
    assert "not a topic" in client.ask("want", topic="news")[0].error

    def came() -> bool:
        client.take()
        return {"phase", "field"} <= {topic for topic, _, _ in client.seen}

    wait(came)
    frames = {t: pictures(h, p) for t, h, p in client.seen if t in ("phase", "field")}
    assert frames["phase"]["mesh2.theta.phases"].shape == (6,) and frames["phase"]["mesh2.phi.gradient"].shape == (6,)
    for name in ("forward", "backward", "sum"):
        powers = frames["field"][name]
        assert powers.shape == (9, 4)
        np.testing.assert_allclose(powers.sum(axis=1), powers[0].sum(), rtol=1e-5)
    client.ask("want", topic="phase", layer="mesh2", rate=0)
    last = client.ask("want", topic="field", layer="mesh2", rate=0)[0].applied_at_step
    wait(lambda: client.ask("snapshot")[0].state.step > last + 16)
    client.take()
    assert max(h.step for t, h, _ in client.seen if t in ("phase", "field")) <= last
    client.close()


def test_who_has_no_token_is_refused_and_rubbish_harms_nobody(slow: Run) -> None:
    path = slow.out / ADDRESS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for name in ("stream", "frames", "control"):
        socket = Path(json.loads(path.read_text())[name].removeprefix("ipc://"))
        assert stat.S_IMODE(socket.stat().st_mode) & 0o077 == 0
    client = Client(slow.out)
    wait(lambda: client.ask("snapshot")[0].state.stage == "learn")
    right = client.address.token
    for wrong in ("", right[:-1], right + "0", None, 7):
        client.address.token = wrong
        told = client.ask("pause")[0]
        assert not told.ok and "token" in told.error
    client.address.token = right
    for rubbish in (b"", b"\x80\x04\x95cos\nsystem\n", b"[]", b"7", b'{"id": 1}', b"[" * 100_000, b"\xff" * 50):
        client._sockets[2].send_multipart((rubbish, rubbish))
    for arguments in ({"command": "step", "n": "x"}, {"command": "get"}, {"command": "set"}, {"command": "__class__"}):
        assert not client.ask(**arguments)[0].ok
    state = client.ask("snapshot")[0].state
    assert state.step > 0 and not state.paused
    client.close()


def test_nothing_is_ever_unpickled() -> None:
    rooms = [ROOT / "l2sim" / "runs", ROOT / "l2sim" / "store", ROOT / "l2sim" / "flow", ROOT / "gui"]
    for path in [path for room in rooms for path in room.rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"pickle", "marshal", "shelve", "dill", "cloudpickle"} & set(names), path
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("recv_pyobj", "send_pyobj"), path


def test_nothing_is_sent_when_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from l2sim.runs import live as stream

    sent: list[str] = []
    monkeypatch.setattr(stream.Live, "_send", lambda self, socket, topic, *rest: sent.append(topic))
    list(execute.execute(moons(**{"learn.epochs": 2}), tmp_path / "run", live=True, pace=200.0))
    assert sent == []
    assert not list((tmp_path / "run").glob("live*"))


def test_a_long_path_puts_the_sockets_into_the_runtime_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "r"))
    run = Run(moons(**{"learn.epochs": LONG}), tmp_path / ("long" * 30), pace=50.0)
    client = Client(run.out)
    assert client.address.control.startswith(f"ipc://{tmp_path / 'r'}")
    client.ask("stop")
    run.end()
    client.close()
    assert not list((tmp_path / "r").iterdir())


def test_a_killed_job_leaves_what_it_had_and_a_killed_reader_leaves_the_job_alone(tmp_path: Path) -> None:
    from l2sim.gui.base.model import open_run

    out = tmp_path / "run"
    line = [sys.executable, "-m", "l2sim", "run", "insitu-moons", "--set", f"learn.epochs={LONG}", "--pace", "150"]
    job = subprocess.Popen([*line, "--quiet", "--out", str(out)], cwd=ROOT, start_new_session=True)
    try:
        wait(lambda: (out / ADDRESS).exists() or job.poll() is not None)
        watch = f"from l2sim.gui.base.model import *\nimport time\nm = open_run({str(out)!r})\n"
        watch += "while True:\n m.poll()\n if m.live: print('live', flush=True)\n time.sleep(0.03)"
        reader = subprocess.Popen([sys.executable, "-c", watch], cwd=ROOT, stdout=subprocess.PIPE)
        assert reader.stdout is not None and reader.stdout.readline() == b"live\n"
        reader.send_signal(signal.SIGKILL)
        reader.wait()
        reader.stdout.close()
        model = open_run(out)
        wait(lambda: model.poll() is not None and model.live)
        before = model.newest
        wait(lambda: model.poll() is not None and model.newest > before + 20)
        assert job.poll() is None and model.state == "running" and model.pid == job.pid
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
        wait(lambda: model.poll() is not None and model.state == "killed")
        assert not model.live and model.pid is None
        number = model.order("pause")
        assert not model.acks[number].ok and "not live" in model.acks[number].error
        for name, (steps, _, values) in logs.scalars(out).items():  # what the dead job wrote last is read after all
            wait(lambda: model.poll() is not None and model.scalar(name).steps.size >= steps.size)  # noqa: B023
            np.testing.assert_array_equal(model.scalar(name).steps[: steps.size], steps)
            np.testing.assert_array_equal(model.scalar(name).values[: steps.size], values)
        model.close()
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)


def test_a_forgotten_reader_does_not_hang(tmp_path: Path) -> None:
    """One that is collected with all that it holds, unclosed: in a window that ended in an error."""
    places = {name: f"ipc://{tmp_path / name}" for name in ("stream", "frames", "control")}
    address = Address(version=VERSION, run="run", process=1, token="t", **places)
    (tmp_path / ADDRESS).write_bytes(msgspec.json.encode(address))
    code = (
        "import gc, sys; from pathlib import Path; from l2sim.runs.live_reader import Reader\n"
        "for _ in range(3):\n"
        "    reader = Reader(Path(sys.argv[1])); reader.order('pause'); reader.itself = reader\n"
        "del reader; gc.collect(); print('left')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "left\n", done.stderr


def test_a_server_that_cannot_say_where_it_is_leaves_nothing_open(tmp_path: Path) -> None:
    """Its sockets are bound before its address is written, which a disk may refuse."""
    (tmp_path / f"{ADDRESS}.part").mkdir()
    code = (
        "import gc, sys; from pathlib import Path; from l2sim.runs.live import Live\n"
        "try: Live(Path(sys.argv[1]), None)\n"
        "except (OSError, AttributeError) as error: error.itself = error\n"
        "gc.collect(); print('left', sorted(path.name for path in Path(sys.argv[1]).iterdir()))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"left ['{ADDRESS}.part']\n", done.stderr


def test_a_run_that_is_not_served_says_so(tmp_path: Path) -> None:
    with pytest.raises(L2simError, match="not served; start it with `l2sim run --live`"):
        Reader(tmp_path)
    (tmp_path / ADDRESS).write_text('{"version": 99}')
    with pytest.raises(L2simError, match="newer l2sim"):
        Reader(tmp_path)


def test_what_several_readers_want_is_sent_once(slow: Run) -> None:
    """Also what those wanted who are gone, of whom the sockets say nothing while somebody reads."""
    clients = [Client(slow.out) for _ in range(5)]
    for client in clients:
        assert client.ask("want", topic="phase", layer="mesh2", rate=30)[0].ok
    for client in clients[1:]:
        client.close()
    client = clients[0]
    client.take()
    client.seen.clear()
    first = client.ask("snapshot")[0].state.step

    def steps() -> list[int]:
        client.take()
        return [header.step for topic, header, _ in client.seen if topic == "phase"]

    wait(lambda: client.ask("snapshot")[0].state.step > first + 80)
    wait(lambda: len(steps()) > 5)  # on a crowded machine the run gives pictures less of its time
    seen = steps()
    assert len(seen) == len(set(seen)) and 5 < len(seen) <= 45  # a second's worth, thirty of eighty
    client.close()


@pytest.mark.parametrize(
    ("step", "took", "pictures"), [(0.02, 0.0003, 30), (0.02, 0.003, 5), (0.001, 0.0, 30), (0.5, 0.0, 2)]
)
def test_pictures_keep_their_pace_and_their_share_whenever_steps_come(step: float, took: float, pictures: int) -> None:
    due, sent, seconds = Due(), 0, 20
    for i in range(round(seconds / step)):
        if (now := 100.0 + i * step) >= due.at:
            due.follow(now, 30.0, took)
            sent += 1
    assert sent == pytest.approx(seconds * pictures, abs=2)
    assert sent * took <= SHARE * seconds + took
