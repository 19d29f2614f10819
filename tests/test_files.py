"""Whole files, held folders, and places in runs: one rule each, at every door that writes or reads one."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2sim import files
from l2sim.chip import recorded
from l2sim.errors import ChipError, L2simError, RunError
from l2sim.flow import export
from l2sim.job import job as jobs
from l2sim.learn.twin import files as twin_files
from l2sim.mesh.mesh import Mesh
from l2sim.runs import execute
from l2sim.store import source, tensors
from l2sim.store.source import Source

MESH = Mesh("rectangular", 3)


# -- whole files -------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    assert files.write(path, b"old") == path and path.read_bytes() == b"old"
    with pytest.raises(ZeroDivisionError), files.replacing(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.bin"]
    with files.replacing(path, durable=False) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["a.bin"]


def test_a_disk_that_refuses_is_an_os_error_or_one_line(tmp_path: Path) -> None:
    missing = tmp_path / "no" / "a.bin"
    with pytest.raises(FileNotFoundError):
        files.write(missing, b"")
    line = f"^{missing} cannot be written, there is no folder for it; choose another place$"
    with pytest.raises(ChipError, match=line):
        files.write(missing, b"", refuse=ChipError)
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match="cannot be written, it is a folder; choose another place"):
        files.write(tmp_path / "folder", b"", refuse=RunError)
    assert os.listdir(tmp_path) == ["folder"]
    with pytest.raises(IsADirectoryError) as error:
        (tmp_path / "folder").read_bytes()
    assert f"{tmp_path / 'folder'} is a folder, where a file belongs; " in str(files.refusal(error.value))


@pytest.mark.parametrize(
    "number, words",
    (
        (errno.ENOSPC, "the disk is full: cannot write /a/b; free some space or choose another folder with --out"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EACCES, "no permission for /a/b: "),
        (errno.EROFS, "no permission for /a/b: "),
        (errno.EIO, "cannot use /a/b: "),
        (errno.ENAMETOOLONG, "cannot use /a/b: "),
    ),
)
def test_what_a_refusal_means(number: int, words: str) -> None:
    line = files.refusal(OSError(number, os.strerror(number), "/a/b"))
    assert line is not None and line.startswith(words) and "\n" not in line


def test_an_error_that_only_a_bug_explains_has_no_line() -> None:
    assert files.refusal(OSError(errno.ENOENT, "gone", "/a/b")) is None
    assert files.refusal(OSError(errno.EBADF, "bad")) is None


def responses() -> np.ndarray:
    return np.zeros((1, 2, 3, 3))


WRITERS: dict[str, Callable[[Path], Any]] = {
    "a recording": lambda path: recorded.write(path, a=np.zeros(2)),
    "settings.csv": lambda path: twin_files.write_settings(path, MESH, (np.zeros((1, 6)), np.ones((1, 3)))),
    "settings.npz": lambda path: twin_files.write_settings(path, MESH, (np.zeros((1, 6)), np.ones((1, 3)))),
    "responses.csv": lambda path: twin_files.write_responses(path, responses()),
    "responses.npz": lambda path: twin_files.write_responses(path, responses()),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_below_a_run_keeps_the_old_file_and_says_why(writer: str, tmp_path: Path) -> None:
    name = writer if "." in writer else "a.npz"
    WRITERS[writer](tmp_path / name)
    before = (tmp_path / name).read_bytes()
    WRITERS[writer](tmp_path / name)
    assert len((tmp_path / name).read_bytes()) == len(before) and os.listdir(tmp_path) == [name]
    with pytest.raises(ChipError, match="there is no folder for it"):
        WRITERS[writer](tmp_path / "no" / name)


def test_a_network_is_written_whole(tmp_path: Path) -> None:
    for name in ("a.npz", "a.safetensors"):
        tensors.write(tmp_path / name, {"a": np.zeros(3)}, {"l2sim": "{}"})
        assert np.array_equal(tensors.read(tmp_path / name)[0]["a"], np.zeros(3))
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "a.safetensors"]


# -- held folders ------------------------------------------------------------------------------------------------------


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    place = tmp_path / "run"
    assert not files.held(place)
    with files.hold(place):
        assert files.held(place)
        with pytest.raises(files.Busy, match=f"a run is going on in {place}"):
            files.hold(place)
    assert not files.held(place)
    files.hold(place).close()
    assert issubclass(files.Busy, RunError)


# -- places in runs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, wanted",
    (
        ("runs/digits-1", Source(Path("runs/digits-1"))),
        ("runs/digits-1@map", Source(Path("runs/digits-1"), "map")),
        ("runs/digits-1@map:20", Source(Path("runs/digits-1"), "map", 20)),
        ("runs/digits-1@map:0", Source(Path("runs/digits-1"), "map", 0)),
        ("me@host/run", Source(Path("me@host/run"))),
        ("me@host/run@map", Source(Path("me@host/run"), "map")),
    ),
)
def test_a_place_in_a_run(text: str, wanted: Source) -> None:
    assert source.parse(text) == wanted and str(source.parse(text)) == text


def test_a_folder_with_an_at_in_its_name_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lab@map").mkdir()
    assert source.parse("lab@map") == Source(Path("lab@map"))
    assert source.parse("lab@map@learn") == Source(Path("lab@map"), "learn")


BAD = ("{}@map:abc", "{}@map:", "{}@map:-1", "{}@map:1.5", "{}@map:²", "{}@", "{}@:3", "@map")


@pytest.mark.parametrize("text", BAD)
def test_a_place_that_is_none_is_refused_at_every_door(text: str, digits_run: Path, tmp_path: Path) -> None:
    place, out = text.format(digits_run), tmp_path / "out"
    doors = (
        lambda: source.parse(place),
        lambda: export.write(place, tmp_path / "net.npz"),
        lambda: list(execute.execute(jobs.load("digits"), out, source=place)),
    )
    for door in doors:
        with pytest.raises(RunError, match=r"is not an epoch; write e\.g\.|name a run and a stage"):
            door()
    assert not out.exists() and not (tmp_path / "net.npz").exists()


@pytest.mark.parametrize(
    "place, words", (("@nowhere", "no stage 'nowhere'"), ("@map:77", "no such checkpoint; kept are"))
)
def test_a_checkpoint_that_is_not_there(place: str, words: str, digits_run: Path, tmp_path: Path) -> None:
    for door in (
        lambda text: export.write(text, tmp_path / "net.npz"),
        lambda text: list(execute.execute(jobs.load("digits"), tmp_path / "out", source=text)),
    ):
        with pytest.raises(RunError, match=words):
            door(f"{digits_run}{place}")
    assert os.listdir(tmp_path) == []


def test_the_last_finished_stage_is_meant_where_none_is_named(digits_run: Path, tmp_path: Path) -> None:
    stages = ("pretrain", "deploy", "calibrate", "map", "learn")
    assert source.checkpoint(Source(digits_run), stages)[0] == "learn"
    assert source.checkpoint(Source(digits_run), stages[:-1])[0] == "map"
    copy = tmp_path / "copy"
    shutil.copytree(digits_run, copy)
    (copy / "checkpoints" / "learn.safetensors").unlink()
    assert source.checkpoint(Source(copy), stages)[0] == "map"
    for path in (copy / "checkpoints").glob("*.safetensors"):
        path.unlink()
    with pytest.raises(L2simError, match="has not finished a stage yet"):
        source.checkpoint(Source(copy), stages)
