"""The logs and checkpoints of a run folder: what is written is read, and what is damaged is found."""

from __future__ import annotations

import json
import math
import re
import shutil
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2sim import files
from l2sim.errors import RunError
from l2sim.store import checkpoint as checkpoints
from l2sim.store import logs
from l2sim.store.events import Checkpoint, EpochEnd, StageEnd
from l2sim.store.logs import Logs, Positions
from tests.places import DOCS

FORMATS = DOCS / "formats.md"


def write(root: Path, frames: int = 200, seed: int = 0) -> dict[str, list[np.ndarray]]:
    """A folder with some of everything; the frames that went into it, by series."""
    random = np.random.default_rng(seed)
    root.mkdir(exist_ok=True)
    log = Logs(root)
    kept: dict[str, list[np.ndarray]] = {"a.u.phases": [], "a.sigma.commanded": []}
    u, sigma = random.normal(size=(3, 40)).astype(np.float32), random.normal(size=(3, 5)).astype(np.float32)
    for step in range(frames):
        u.ravel()[random.integers(u.size, size=4)] += 1
        if step % 10 == 0:
            sigma[...] = random.normal(size=sigma.shape)
        log.phases(step, {"a.u.phases": u, "a.sigma.commanded": sigma})
        kept["a.u.phases"].append(u.copy())
        kept["a.sigma.commanded"].append(sigma.copy())
        log.scalars(step, 1000.0 + step, {"learn/loss": step / 2, "learn/accuracy": step / 400})
        log.event(EpochEnd("learn", step + 1, step))
    log.close()
    return kept


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("logs")
    write(root)
    return root


def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def steps_of(root: Path) -> dict[str, int]:
    """How many records a reader gets of each log."""
    loss = logs.scalars(root).get("learn/loss", ((), (), ()))
    return {
        "scalars.bin": len(loss[0]),
        "events.jsonl": len(logs.events(root)),
        "phase-0000.bin": sum(1 for _ in logs.frames(root, "a.u.phases")) if "a.u.phases" in logs.series(root) else 0,
    }


def test_round_trip(tmp_path: Path) -> None:
    kept = write(tmp_path)
    assert logs.series(tmp_path)["a.u.phases"][1] == (3, 40)
    for name, frames in kept.items():
        read = list(logs.frames(tmp_path, name))
        assert [step for step, _ in read] == list(range(len(frames)))
        for (_, got), want in zip(read, frames):
            np.testing.assert_array_equal(got, want)
    steps, times, values = logs.scalars(tmp_path)["learn/loss"]
    np.testing.assert_array_equal(steps, np.arange(200))
    np.testing.assert_array_equal(times, 1000.0 + np.arange(200))
    np.testing.assert_array_equal(values, np.arange(200) / 2)
    assert [e.step for e in logs.events(tmp_path) if isinstance(e, EpochEnd)] == list(range(200))


def test_an_empty_folder_reads_as_nothing(tmp_path: Path) -> None:
    assert logs.events(tmp_path) == [] and logs.scalars(tmp_path) == {} and logs.series(tmp_path) == {}
    assert logs.frames_at(tmp_path, [1, 2]) == [{}, {}]


def test_a_delta_is_small_and_a_key_comes_every_64_frames(tmp_path: Path) -> None:
    write(tmp_path)
    content = (tmp_path / "phase-0000.bin").read_bytes()
    kinds: dict[int, list[int]] = {}
    at = 0
    while at < len(content):
        _, kind, _, series, _, _, size, _ = logs.FRAME.unpack_from(content, at)
        kinds.setdefault(series, []).append(kind)
        at += logs.FRAME.size + size
    for found in kinds.values():
        keys = np.flatnonzero(np.array(found) == logs.KEY)
        assert keys[0] == 0 and np.diff(keys).max() <= logs.KEY_EVERY
        assert found.count(logs.DELTA) > len(found) / 2
    assert len(content) < 200 * 4 * (3 * 40 + 3 * 5)


def test_not_a_number_and_minus_zero_survive(tmp_path: Path) -> None:
    log = Logs(tmp_path)
    frames = [[0.0, 1.0, 2.0, 3.0], [-0.0, 1.0, 2.0, 3.0], [np.nan, 1.0, 2.0, 3.0], [np.nan, 1.0, 2.0, np.inf]]
    for step, frame in enumerate(frames):
        log.phases(step, {"x.u.phases": np.array(frame)})
    log.scalars(0, 0.0, {"learn/loss": math.nan})
    log.event(StageEnd("learn", {"loss": math.nan, "list": (1.0, math.inf)}))
    log.close()
    for (_, got), want in zip(logs.frames(tmp_path, "x.u.phases"), frames, strict=True):
        assert got.tobytes() == np.array(want, np.float32).tobytes()
    assert math.isnan(logs.scalars(tmp_path)["learn/loss"][2][0])
    assert logs.events(tmp_path)[-1] == StageEnd("learn", {"loss": None, "list": [1.0, None]})


def test_frames_at_gives_the_newest_frame_before_a_step(folder: Path) -> None:
    u = dict(logs.frames(folder, "a.u.phases"))
    first, second, third, last = logs.frames_at(folder, [0, 17, 17, 10_000])
    for found, step in ((first, 0), (second, 17), (third, 17), (last, 199)):
        np.testing.assert_array_equal(found["a.u.phases"], u[step])
        assert set(found) == {"a.u.phases", "a.sigma.commanded"}


@pytest.mark.parametrize("name", ["scalars.bin", "events.jsonl", "phase-0000.bin"])
def test_a_tail_torn_at_any_byte_loses_only_the_torn_records(folder: Path, tmp_path: Path, name: str) -> None:
    root = copied(folder, tmp_path)
    content = (root / name).read_bytes()
    whole = steps_of(root)
    before = whole[name]
    for cut in range(1, 160):
        (root / name).write_bytes(content[:-cut])
        now = steps_of(root)[name]
        assert before - 1 <= now <= before, f"cutting {cut} bytes lost more than a record"
        before = now
    assert before < whole[name]
    (root / name).write_bytes(b"")
    assert steps_of(root)[name] == 0


@pytest.mark.parametrize("name", ["scalars.bin", "events.jsonl", "phase-0000.bin"])
def test_a_flipped_bit_is_found_and_all_before_it_reads(folder: Path, tmp_path: Path, name: str) -> None:
    root = copied(folder, tmp_path)
    content = (root / name).read_bytes()
    good = {kind: values[2] for kind, values in logs.scalars(root).items()}
    frames = [frame for _, frame in logs.frames(root, "a.u.phases")]
    events = logs.events(root)
    random = np.random.default_rng(1)
    counts = []
    for place in random.integers(len(content) // 2, len(content), size=60):
        broken = bytearray(content)
        broken[place] ^= 1 << int(random.integers(8))
        (root / name).write_bytes(broken)
        for kind, (_, _, values) in logs.scalars(root).items():
            np.testing.assert_array_equal(values, good[kind][: len(values)])
        for (_, got), want in zip(logs.frames(root, "a.u.phases"), frames):
            np.testing.assert_array_equal(got, want)
        found = logs.events(root)
        assert found == events[: len(found)]
        counts.append(steps_of(root)[name] / steps_of(folder)[name])
    assert min(counts) > 0.2 and np.mean(counts) < 1


def test_resuming_cuts_the_logs_back_and_goes_on(tmp_path: Path) -> None:
    log = Logs(tmp_path)
    frame = np.arange(30.0).reshape(3, 10)

    def record(step: int) -> None:
        log.scalars(step, 0.0, {"learn/loss": float(step)})
        log.phases(step, {"a.u.phases": frame + (np.arange(10) == step)})
        log.event(EpochEnd("learn", step + 1, step))

    for step in range(5):
        record(step)
    kept = log.flush()
    log.scalars(5, 0.0, {"late": 1.0})
    record(5)
    log.close()
    assert "late" in logs.series(tmp_path)
    log = Logs(tmp_path, kept)
    for step in range(5, 9):
        record(step)
    log.close()
    assert "late" not in logs.series(tmp_path)
    np.testing.assert_array_equal(logs.scalars(tmp_path)["learn/loss"][2], np.arange(9.0))
    read = list(logs.frames(tmp_path, "a.u.phases"))
    assert [step for step, _ in read] == list(range(9))
    for step, got in read:
        np.testing.assert_array_equal(got, frame + (np.arange(10) == step))
    places = np.fromfile(tmp_path / "index.bin", [("step", "<u8"), ("rest", "V16")])
    np.testing.assert_array_equal(places["step"], np.arange(9))


def test_resuming_from_the_very_start_empties_the_logs(folder: Path, tmp_path: Path) -> None:
    root = copied(folder, tmp_path)
    Logs(root, Positions(0, 0, 0, 0, 0)).close()
    assert logs.events(root) == [] and logs.scalars(root) == {}


def test_a_log_shorter_than_its_checkpoint_says_is_not_filled_with_zeros(folder: Path, tmp_path: Path) -> None:
    root = copied(folder, tmp_path)
    sizes = Positions(*((root / name).stat().st_size for name in ("scalars.bin", "events.jsonl", "index.bin")), 0, 10)
    with pytest.raises(RunError, match=r"scalars.bin is shorter than its checkpoint says.*--from"):
        Logs(root, sizes._replace(scalars=sizes.scalars + 32))
    assert (root / "scalars.bin").stat().st_size == sizes.scalars


def test_long_phase_logs_go_on_in_new_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FILE_BYTES", 2000)
    kept = write(tmp_path)
    files = sorted(path.name for path in tmp_path.glob("phase-*.bin"))
    assert len(files) > 5 and files == [f"phase-{i:04d}.bin" for i in range(len(files))]
    for (_, got), want in zip(logs.frames(tmp_path, "a.u.phases"), kept["a.u.phases"], strict=True):
        np.testing.assert_array_equal(got, want)
    fields = [("step", "<u8"), ("series", "<u2"), ("part", "<u2"), ("offset", "<u8"), ("crc", "<u4")]
    places = np.fromfile(tmp_path / "index.bin", fields)
    for place in places:
        head = logs.phase_file(tmp_path, int(place["part"])).read_bytes()[int(place["offset"]) :]
        _, _, _, series, step, _, _, _ = logs.FRAME.unpack_from(head)
        assert (series, step) == (place["series"], place["step"])
    sizes = [(tmp_path / name).stat().st_size for name in ("scalars.bin", "events.jsonl")]
    log = Logs(tmp_path, Positions(*sizes, 0, 2, 100))
    assert sorted(path.name for path in tmp_path.glob("phase-*.bin")) == files[:3]
    log.close()


# -- checkpoints -------------------------------------------------------------------------------------------------------


ENDS = Positions(5, 4, 3, 2, 1)


def taken(**more: Any) -> Checkpoint:
    arrays = {
        "a/float": np.arange(6.0).reshape(2, 3),
        "a/small": np.arange(4, dtype=np.float32),
        "a/count": np.array(7),
        "a/flag": np.array([True, False]),
        "a/none": np.empty((0, 3)),
    }
    values: dict[str, object] = {"stream": {"state": 2**127 + 1}, "list": [1, "two", None], "third": 1 / 3}
    return Checkpoint("map", 12, 345, arrays | more, values)


def test_a_checkpoint_round_trips_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    checkpoints.write(path, taken(), ENDS)
    back, positions = checkpoints.read(path)
    assert positions == ENDS
    assert (back.stage, back.epoch, back.step, back.values) == ("map", 12, 345, taken().values)
    for name, array in taken().arrays.items():
        got = back.arrays[name]
        assert got.dtype == array.dtype and got.shape == array.shape and got.flags.writeable
        np.testing.assert_array_equal(got, array)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "value",
    [1e-5, 1e22, 5e-324, -0.0, 2**70, (1, 2), "\u00e9", "\ud800", "null", None, math.nan, -math.inf, np.float64(0.1)],
    ids=repr,
)
def test_values_of_a_checkpoint_are_written_fast_or_as_python_writes_them(value: object, tmp_path: Path) -> None:
    """The file stands as docs/formats.md says, for any reader, and the values are those of Python's JSON."""
    path, taken_now = tmp_path / "x.safetensors", taken()
    taken_now.values["list"] = [value]
    checkpoints.write(path, taken_now, ENDS)
    content = path.read_bytes()
    size = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:size])
    texts = header.pop("__metadata__")
    digest = blake2b((texts["l2sim"] + json.dumps(header)).encode() + content[size:], digest_size=16).hexdigest()
    assert texts["digest"] == digest
    wanted = json.dumps({**taken_now.values, "list": [value]})
    assert json.dumps(json.loads(texts["l2sim"])["values"]) == wanted
    assert json.dumps(checkpoints.read(path)[0].values) == wanted


def test_every_flipped_bit_and_every_cut_of_a_checkpoint_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    checkpoints.write(path, taken(), ENDS)
    content = path.read_bytes()
    for place in range(len(content)):
        broken = bytearray(content)
        broken[place] ^= 1 << (place % 8)
        path.write_bytes(broken)
        with pytest.raises(RunError, match="damaged"):
            checkpoints.read(path)
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        with pytest.raises(RunError, match="damaged"):
            checkpoints.read(path)


def test_a_newer_or_missing_checkpoint_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(RunError, match="there is no checkpoint"):
        checkpoints.read(path)
    monkeypatch.setattr(checkpoints, "VERSION", checkpoints.VERSION + 1)
    checkpoints.write(path, taken(), ENDS)
    monkeypatch.undo()
    with pytest.raises(RunError, match="newer l2sim"):
        checkpoints.read(path)


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    checkpoints.write(path, taken(), ENDS)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoints.write(path, taken(), ENDS._replace(scalars=2))
    assert checkpoints.read(path)[1] == ENDS


# -- docs/formats.md ---------------------------------------------------------------------------------------------------


def test_the_example_of_the_page_reads_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Logs(tmp_path)
    step = 0
    for epoch in range(1, 4):
        for _ in range(5):
            step += 1
            log.scalars(step, 0.0, {"learn/loss": 1.0, "learn/accuracy": 0.1})
        log.scalars(step, 0.0, {"learn/test_accuracy": epoch / 4})
        log.event(EpochEnd("learn", epoch, step))
    log.close()
    code = re.findall(r"```python\n(.*?)```", FORMATS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(code) == 1
    exec(code[0].replace('"RUN"', repr(str(tmp_path))), {})
    assert capsys.readouterr().out.strip() == "[0.25 0.5  0.75]"


def test_the_page_names_every_record_as_it_is(folder: Path) -> None:
    page = FORMATS.read_text(encoding="utf-8")
    assert f"Records of {logs.SCALAR.size} bytes" in page
    assert f"a head of {logs.FRAME.size} bytes" in page and logs.MAGIC.decode() in page
    assert f"a record of {logs.INDEX.size} bytes" in page
    assert f"every {logs.KEY_EVERY} frames" in page
    line = (folder / "events.jsonl").read_text().splitlines()[0]
    assert set(json.loads(line)) == {"event", "crc"}
