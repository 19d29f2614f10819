"""A reader follows a run folder: finished, still written, killed, cut short."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from l2sim.errors import RunError
from l2sim.job import job as jobs
from l2sim.store import logs
from l2sim.store.events import EpochEnd
from l2sim.store.follow import Replay
from l2sim.store.logs import Logs
from l2sim.store.manifest import FORMAT, Manifest, read_manifest, write_manifest
from tests.store.test_logs import write

FILES = ("scalars.bin", "events.jsonl", "index.bin", "phase-0000.bin")


def as_run(root: Path, state: str = "done") -> Path:
    """Make a folder with logs into one that reads as a run."""
    root.mkdir(exist_ok=True)
    (root / "job.toml").write_text(jobs.to_toml(jobs.load("digits")))
    write_manifest(root, Manifest(version=FORMAT, id="1", state=state, process=1))
    (root / ".lock").touch()
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("replay")
    write(root)
    return as_run(root)


def same(replay: Replay, root: Path) -> None:
    """What `replay` holds is what the readers of whole files find."""
    assert replay.events == logs.events(root)
    for name, (steps, times, values) in logs.scalars(root).items():
        curve = replay.scalar(name)
        np.testing.assert_array_equal(curve.steps, steps)
        np.testing.assert_array_equal(curve.times, times)
        np.testing.assert_array_equal(curve.values, values)
    for name, (_, shape) in logs.series(root).items():
        if not shape:
            continue
        whole = list(logs.frames(root, name))
        assert replay.steps(name).tolist() == [step for step, _ in whole]
        for step, values in whole[:: max(1, len(whole) // 9)]:
            frame = replay.frame(name, step)
            assert frame is not None and frame.step == step
            np.testing.assert_array_equal(frame.values.view(np.uint32), values.view(np.uint32))


def test_every_frame_comes_back_bit_for_bit_in_any_order(tmp_path: Path) -> None:
    kept = write(tmp_path)
    replay = Replay(as_run(tmp_path))
    for name, frames in kept.items():
        for step in np.random.default_rng(1).permutation(len(frames)):
            frame = replay.frame(name, int(step))
            assert frame is not None and frame.step == step
            np.testing.assert_array_equal(frame.values.view(np.uint32), frames[step].view(np.uint32))
    same(replay, tmp_path)
    assert replay.frame("a.u.phases", -1) is None and replay.frame("b.u.phases") is None
    replay.close()


def test_a_frame_between_two_is_the_one_before(tmp_path: Path) -> None:
    log = Logs(as_run(tmp_path))
    for step in (3, 8):
        log.phases(step, {"a.u.phases": np.full((2, 2), float(step))})
    log.close()
    replay = Replay(tmp_path)
    assert [frame.step for step in (3, 7, 8, 99) if (frame := replay.frame("a.u.phases", step))] == [3, 3, 8, 8]
    assert replay.frame("a.u.phases", 2) is None


def test_a_log_that_grows_is_followed_record_by_record(tmp_path: Path) -> None:
    log = Logs(as_run(tmp_path, "running"))
    replay = Replay(tmp_path)
    frame = np.zeros((3, 40), np.float32)
    for step in range(150):
        frame.ravel()[step % 120] += 1
        log.phases(step, {"a.u.phases": frame})
        log.scalars(step, 0.0, {"learn/loss": float(step)})
        log.event(EpochEnd("learn", step, step))
        if step % 10 == 9:
            log.flush()
            assert {"events", "scalars", "frames"} <= replay.refresh()
            assert replay.steps("a.u.phases").tolist() == list(range(step + 1))
            now = replay.frame("a.u.phases")
            assert now is not None
            np.testing.assert_array_equal(now.values, frame)
    assert not replay.refresh() & {"events", "scalars", "frames"}
    log.close()
    same(replay, tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_a_torn_tail_is_found_and_everything_before_it_reads(folder: Path, tmp_path: Path, name: str) -> None:
    size = (folder / name).stat().st_size
    for cut in (0, 1, 13, size // 3, size // 2 + 5, size - 1):
        copy = Path(shutil.copytree(folder, tmp_path / f"{name}-{cut}"))
        with open(copy / name, "ab") as file:
            file.truncate(cut)
        replay = Replay(copy)
        same(replay, copy)
        replay.close()


@pytest.mark.parametrize("name", ("scalars.bin", "phase-0000.bin"))
def test_damage_in_the_middle_ends_what_counts(folder: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 4
    (copy / name).write_bytes(content)
    replay = Replay(copy)
    if name == "phase-0000.bin":  # frames are checked when they are read
        for series in ("a.u.phases", "a.sigma.commanded"):
            for step in replay.steps(series).tolist():
                replay.frame(series, step)
    same(replay, copy)


def test_a_resumed_run_is_read_again(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    replay = Replay(copy)
    for name in FILES:  # cut back, and gone on differently
        with open(copy / name, "ab") as file:
            file.truncate(0)
    write(copy, frames=20, seed=5)
    assert "reset" in replay.refresh()
    assert "resumed" in replay.notice
    same(replay, copy)


def test_a_newer_format_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    write_manifest(copy, msgspec.structs.replace(read_manifest(copy), version=FORMAT + 1))
    with pytest.raises(RunError, match=r"newer l2sim \(format 3\); install"):
        Replay(copy)
    with pytest.raises(RunError, match="not a run folder"):
        Replay(tmp_path)


def test_a_run_that_nobody_runs_was_killed(tmp_path: Path) -> None:
    write(as_run(tmp_path, "running"), frames=3)
    with open(tmp_path / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        replay = Replay(tmp_path)
        assert replay.state == "running"
    replay._looked = 0.0
    assert "state" in replay.refresh() and replay.state == "killed"
    shutil.rmtree(tmp_path)
    replay.refresh()
    assert replay.state == "deleted" and replay.scalar("learn/loss").steps.size == 3
