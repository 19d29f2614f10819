"""Files that somebody else made, whole by their checksums and not what they should be: what happens is one line."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2sim.cli import main as cli
from l2sim.data import formats
from l2sim.errors import DataError
from tests import altered

Call = Callable[..., str]


@pytest.fixture
def ended(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Runs a command, which must be done, or end in one line that is no internal error: that line, "" for none."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where traces of internal errors go

    def call(*arguments: object) -> str:
        with pytest.raises(SystemExit) as end:
            cli.main([str(argument) for argument in arguments])
        said = capsys.readouterr().err
        assert "internal error" not in said
        assert (end.value.code, said.count("\n")) in ((0, 0), (2, 1))
        return said

    return call


# ------------------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize("more", ([], ["nonidealities.drift_std=-0.0", "learn.probe_std='periodic'"]))
def test_a_list_where_a_word_is_wanted_is_refused(ended: Call, tmp_path: Path, more: list[str]) -> None:
    settings = [part for text in ("flow=[1,8,8]", *more) for part in ("--set", text)]
    assert "flow" in ended("run", "digits", "--smoke", "--quiet", "--out", tmp_path / "run", *settings)


# ---------------------------------------------------------------------------------------------------- data


class Objects:
    """Pickled as the number type of objects, without the flag that says that they are pointers."""

    def __reduce__(self) -> tuple[Any, ...]:
        return np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0)


class Wild:
    """Pickled as an array of objects over raw bytes: whoever looks at one follows a pointer into nowhere."""

    def __reduce__(self) -> tuple[Any, ...]:
        begin = np.empty(0).__reduce__()[0]
        return begin, (np.ndarray, (0,), b"b"), (1, (4,), Objects(), False, b"A" * 32)


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="labels that are pointers are followed, and the process dies by SIGSEGV"
)
def test_a_cifar_batch_of_objects_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    images = np.zeros((4, 3072), np.uint8)
    (folder / "data_batch_1").write_bytes(pickle.dumps({"data": images, "labels": Wild()}, protocol=3))
    (folder / "test_batch").write_bytes(pickle.dumps({"data": images, "labels": [0, 1, 2, 3]}, protocol=3))
    command = [sys.executable, "-m", "l2sim", "run", "cifar10-vgg8-map", "--quiet"]
    where = ["--data", str(folder.parent), "--out", str(tmp_path / "run")]
    done = subprocess.run([*command, *where], capture_output=True, text=True, env=os.environ, timeout=300)
    assert done.returncode == 2, f"it ended with {done.returncode}"
    assert "data_batch_1" in done.stderr and done.stderr.count("\n") == 1


def odd(reason: str, raises: type[BaseException]) -> pytest.MarkDecorator:
    return pytest.mark.xfail(strict=True, raises=raises, reason=reason)


CRASHES = odd("images of another kind of array end in a traceback of NumPy's", (ValueError, TypeError))
PASSES = odd("dates and complex numbers are taken for images", pytest.fail.Exception)


@pytest.mark.filterwarnings("ignore:Casting complex values to real")
@pytest.mark.parametrize(
    "kind",
    (
        pytest.param("U5", marks=CRASHES),
        pytest.param("S3", marks=CRASHES),
        pytest.param("V4", marks=CRASHES),
        pytest.param("f8,i4", marks=CRASHES),
        pytest.param("M8[s]", marks=PASSES),
        pytest.param("c16", marks=PASSES),
    ),
)
def test_images_that_are_no_numbers_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    images = np.random.default_rng(1).random((6, 8, 8))
    classes = np.arange(6) % 3
    no_images = np.zeros((3, 8, 8), kind)
    np.savez(tmp_path / "o.npz", train_x=images, train_y=classes, test_x=no_images, test_y=classes[:3])
    with pytest.raises(DataError, match="test_x"):
        formats.own(tmp_path / "o.npz")


# --------------------------------------------------------------------------------------------- run folders

COMMANDS = ("cost", "report", "diagnose", "export")
CHANGES = (
    altered.short_frame, altered.empty_frame, altered.odd_change, altered.worded_version, altered.unknown_series,
    altered.nothing,
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_odd_records_are_ignored_or_end_in_one_line(
    ended: Call, digits_run: Path, tmp_path: Path, change: Callable[[Path], None], command: str
) -> None:
    folder = Path(shutil.copytree(digits_run, tmp_path / "run"))
    change(folder)
    ended(command, folder, *(("--out", tmp_path / "w.npz") if command == "export" else ()))
