"""Banks: whatever is stopped, whoever makes the chunks, the same bytes; flat memory; bad input in one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from l2sim.chip import grid
from l2sim.cli import main as cli
from l2sim.errors import DataError, JobError, RunError
from l2sim.job.job import Job
from l2sim.store import tensors
from l2sim.sweep.bank import chunk, cutting, plan, running, summary
from l2sim.sweep.local import Local
from tests.tolerances import PATIENCE

LONG = PATIENCE / 1000

K, WEIGHTS = 4, 1000
"""63 cores of 4 x 4 in chunks of 16: the last one is shorter, and its last block is padded."""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "WEIGHTS", 256)


def bank(weights: object = WEIGHTS, by: str = "twin", **settings: object) -> plan.Bank:
    short = {"calibrate.epochs": 3, "map.epochs": 3, "calibrate.polish": 1, "map.polish": 1}
    return plan.planned(str(weights), Job.preset("digits", short | settings), K, by)  # type: ignore[arg-type]


def make(wanted: plan.Bank, out: Path, numbers: list[int]) -> None:
    """Make some chunks here, in this order."""
    for number in numbers:
        chunk.make(wanted, number, out / chunk.folder(number), 1)


def results(out: Path) -> dict[str, bytes]:
    """All that does not differ from run to run."""
    files = [*out.glob("summary.*"), *out.glob("chunks/*/*")]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


class Here:
    """An engine that makes chunks in this process, last one first; a kill after `most` of them."""

    def __init__(self, most: int = 10**9) -> None:
        self.notes: list[str] = []
        self.tasks: list[running.Task] = []
        self.most = most

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def room(self) -> int:
        return 2 - len(self.tasks)

    def submit(self, task: running.Task) -> None:
        self.tasks.append(task)

    def wait(self, seconds: float) -> list[tuple[running.Task, running.Outcome]]:
        from l2sim.sweep import point

        if self.most == 0:
            raise KeyboardInterrupt
        self.most -= 1
        task = self.tasks.pop()
        return [(task, point.run(task))]

    def exclude(self, worker: str) -> bool:
        return False


@pytest.mark.parametrize("by", ("twin", "search"))
def test_stopped_and_gone_on_with_is_never_stopped(tmp_path: Path, by: str) -> None:
    wanted = bank(by=by)
    assert wanted.cores == 63 and wanted.chunks == 4
    whole = running.run(wanted, tmp_path / "whole", Here)
    with pytest.raises(KeyboardInterrupt):
        running.run(wanted, tmp_path / "stopped", lambda: Here(2))
    assert len(list((tmp_path / "stopped").glob("chunks/*/*"))) == 2
    torn = tmp_path / "stopped" / chunk.folder(0)
    torn.mkdir(exist_ok=True)
    (torn / f"{chunk.FILE}.part").write_bytes(b"half")
    assert running.run(wanted, tmp_path / "stopped", Here) == whole
    (torn / f"{chunk.FILE}.part").unlink(missing_ok=True)
    assert results(tmp_path / "stopped") == results(tmp_path / "whole")
    assert whole.lit == whole.cores == 63 and 0.0 < whole.error_median <= whole.error_p95 <= whole.error_worst
    assert (whole.identified is None) == (by == "search")


def test_chunks_do_not_know_each_other(tmp_path: Path) -> None:
    wanted = bank()
    make(wanted, tmp_path / "a", [0, 1, 2, 3])
    make(wanted, tmp_path / "b", [3, 1])
    first, second = results(tmp_path / "a"), results(tmp_path / "b")
    assert second == {name: first[name] for name in second} and len(second) == 2
    assert len({first[name] for name in first}) == 4


def test_twins_reach_what_levels_leave(tmp_path: Path) -> None:
    made = running.run(bank(), tmp_path, Here)
    assert made.identified == made.cores and made.error_median < 5e-3
    assert made.costs["calibrate"].core_calls > 0 and made.costs["calibrate"].energy_j > 0.0
    flat = dict(summary.flat(made))
    assert (tmp_path / "summary.csv").read_text().splitlines()[1:] == [f"{a},{b}" for a, b in flat.items()]
    assert json.loads((tmp_path / "summary.json").read_text())["error_worst"] == made.error_worst


# -- weights of a file -------------------------------------------------------------------------------------------------


def test_a_file_is_cut_as_layers_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dense, conv = rng.normal(size=(10, 7)), rng.normal(size=(5, 3, 2, 2)).astype(np.float32)
    arrays = {"fc.weight": dense, "conv.weight": conv, "fc.bias": dense[0]}
    blocks = np.concatenate([
        grid.blocks(a.reshape(len(a), -1).astype(float), K).reshape(-1, K, K) for a in (dense, conv)
    ])
    for name in ("w.npz", "w.safetensors"):
        tensors.write(tmp_path / name, arrays, {})
        matrices = cutting.opened(tmp_path / name)
        found = cutting.cut(matrices, K, 0, len(blocks))
        np.testing.assert_array_equal(found.weight, blocks)
        parts = [cutting.cut(matrices, K, lo, min(lo + 5, len(blocks))) for lo in range(0, len(blocks), 5)]
        for whole, pieces in zip(found, zip(*parts)):
            np.testing.assert_array_equal(whole, np.concatenate(pieces))
        # the padding is where all of the matrix is zero, and nowhere else
        np.testing.assert_array_equal(found.outputs[:, :, None] * found.inputs[:, None, :] > 0, blocks != 0.0)
    np.save(tmp_path / "f.npy", np.asfortranarray(dense))
    np.testing.assert_array_equal(cutting.cut(cutting.opened(tmp_path / "f.npy"), K, 0, 6).weight, blocks[:6])


def test_numbers_in_a_row_fill_one_block_after_the_other(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.arange(1.0, 41.0, dtype=np.float16))
    found = cutting.cut(cutting.opened(tmp_path / "w.npy"), K, 1, 3).weight
    np.testing.assert_array_equal(found.ravel(), [*range(17, 41), *[0] * 8])


def test_bfloat16_is_the_upper_half_of_float32(tmp_path: Path) -> None:
    wanted = np.arange(16.0, dtype=np.float32).reshape(4, 4)
    tensors.write(tmp_path / "w.safetensors", {"w": (wanted.view(np.uint32) >> 16).astype(np.uint16)}, {})
    raw = (tmp_path / "w.safetensors").read_bytes().replace(b'"U16" ', b'"BF16"').replace(b'"U16"', b'"BF16"')
    size = raw.index(b"}}") + 2
    head = raw[8:size].ljust(-(-(size - 8) // 8) * 8)
    (tmp_path / "w.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + raw[-32:])
    np.testing.assert_array_equal(cutting.cut(cutting.opened(tmp_path / "w.safetensors"), K, 0, 1).weight[0], wanted)


def test_a_bank_of_a_file_goes_on_wherever_the_file_lies(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    np.save(tmp_path / "w.npy", rng.normal(size=(30, 30)))
    out = tmp_path / "bank"
    made = running.run(bank(tmp_path / "w.npy"), out, Here)
    assert made.weights == 900 and made.cores == 64
    (tmp_path / "w.npy").rename(tmp_path / "v.npy")
    assert running.run(bank(tmp_path / "v.npy"), out, Here) == made
    np.save(tmp_path / "v.npy", rng.normal(size=(30, 30)))
    with pytest.raises(RunError, match="another file of weights"):
        running.run(bank(tmp_path / "v.npy"), out, Here)


@pytest.mark.parametrize(
    "array, says",
    (
        (np.full((4, 4), np.nan), "not finite"),
        (np.ones((4, 4), int), "holds int64"),
        (np.ones((4, 4), complex), "holds complex128"),
        (np.ones((0, 4)), "is empty"),
        (np.asfortranarray(np.ones((2, 3, 4))), "stored by columns"),
    ),
)
def test_arrays_that_are_no_weights(tmp_path: Path, array: np.ndarray, says: str) -> None:
    np.save(tmp_path / "w.npy", array)
    with pytest.raises(DataError, match=says):
        bank(tmp_path / "w.npy")


def test_files_that_are_none(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "c.npz", w=np.ones((4, 4)))
    np.savez(tmp_path / "b.npz", bias=np.ones(4), counter=np.ones((2, 2), int))
    (tmp_path / "d.npy").write_bytes(b"\x93NUMPY damaged")
    (tmp_path / "d.safetensors").write_bytes(b"\xff" * 20)
    (tmp_path / "w.pt").write_bytes(b"")
    names = {
        "c.npz": "compressed", "b.npz": "no matrix", "d.npy": "damaged", "d.safetensors": "damaged",
        "w.pt": "no file of weights", "none.npy": "cannot be read: No such file",
    }  # fmt: skip
    for name, says in names.items():
        with pytest.raises(DataError, match=says):
            bank(tmp_path / name)


@pytest.mark.parametrize("text", ("0", "-5", "1.5", "1e30", "--", "nan", "many"))
def test_numbers_that_are_none(text: str) -> None:
    with pytest.raises(DataError, match="--weights"):
        bank(text)


# -- folders and the command -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other, what",
    (
        ({"weights": 2000}, "weights"),
        ({"by": "search"}, "by"),
        ({"seed": 7}, "seed"),
        ({"nonidealities.phase_bits": 6}, "nonidealities.phase_bits"),
    ),
)
def test_a_folder_of_another_bank(tmp_path: Path, other: dict[str, object], what: str) -> None:
    lock, _ = running.begin(bank(), tmp_path / "b")
    lock.close()
    with pytest.raises(RunError, match=f"another bank .it has another {what}.; choose another --out"):
        running.begin(bank(**other), tmp_path / "b")  # type: ignore[arg-type]
    with pytest.raises(RunError, match="another k"):
        running.begin(msgspec.structs.replace(bank(), k=5), tmp_path / "b")


def test_folders_of_others(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="is in use"):
        running.begin(bank(), tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "bank.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        running.begin(bank(), tmp_path / "b")
    lock, _ = running.begin(bank(), tmp_path / "c")
    with lock, pytest.raises(RunError, match="is being made"):
        running.begin(bank(), tmp_path / "c")
    begun = json.loads((tmp_path / "c" / "bank.json").read_text())
    (tmp_path / "c" / "bank.json").write_text(json.dumps(begun | {"version": 99}))
    with pytest.raises(RunError, match="newer l2sim"):
        running.begin(bank(), tmp_path / "c")


def test_a_damaged_chunk_says_what_to_delete(tmp_path: Path) -> None:
    running.run(bank(), tmp_path, Here)
    path = tmp_path / chunk.folder(1) / chunk.FILE
    path.write_bytes(b"half")
    with pytest.raises(RunError, match="delete its folder"):
        running.run(bank(), tmp_path, Here)


def test_jobs_that_are_of_no_bank() -> None:
    with pytest.raises(JobError, match="flow insitu"):
        plan.planned("1000", Job.preset("insitu-digits"), K, "twin")
    with pytest.raises(JobError, match="is no search"):
        bank(by="search", **{"calibrate.method": "twin"})
    with pytest.raises(JobError, match="rectangular"):
        bank(**{"chip.mesh": "triangular"})


def test_the_command_says_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for given in (["--weights", "many"], ["--weights", "9", "--k", "1"], [], ["--weights", "9", "nothing"]):
        with pytest.raises(SystemExit) as end:
            cli.main(["bank", "--out", str(tmp_path / "b"), *given])
        assert end.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "b").exists()


# -- processes ---------------------------------------------------------------------------------------------------------


def test_two_workers_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = bank()
    monkeypatch.setattr(plan, "WEIGHTS", 1 << 16)  # as the workers have it: a chunk
    wanted = msgspec.structs.replace(wanted, weights=140_000)
    assert wanted.chunks == 3
    running.run(wanted, tmp_path / "one", Here)
    running.run(wanted, tmp_path / "two", lambda: Local(2, 1, tmp_path / "words"))
    assert results(tmp_path / "one") == results(tmp_path / "two")
    usage = summary.used(tmp_path / "two" / running.USAGE)
    assert {line.chunk for line in usage} == {0, 1, 2} and all(line.peak_mib < 1024 for line in usage)


def test_a_worker_tells_its_own_memory_and_not_that_of_who_started_it() -> None:
    held = np.ones(1 << 26)  # half a gigabyte
    code = "from l2sim.sweep.bank.chunk import peak; print(peak())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 10 < float(done.stdout) < 400 < held.nbytes / 2**20 + chunk.peak()


def test_memory_is_that_of_a_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second half of the chunks takes no more than the first."""
    monkeypatch.setattr(plan, "WEIGHTS", 1 << 14)
    wanted = bank(12 << 14)
    peaks = [chunk.make(wanted, n, tmp_path / chunk.folder(n), 1)["peak_mib"] for n in range(wanted.chunks)]
    assert peaks[-1] <= 1.02 * peaks[len(peaks) // 2]


def test_ctrl_c_and_the_same_command(tmp_path: Path) -> None:
    out = tmp_path / "b"
    asked = ["--weights", "300000", "--k", "4", "--workers", "1", "--out", str(out)]
    line = [sys.executable, "-m", "l2sim", "bank", *asked]
    first = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + LONG
    while not list(out.glob("chunks/*/cores.npz")) and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGINT)
    _, said = first.communicate(timeout=LONG)
    assert first.returncode == 130 and "run the same command again goes on" in said and said.count("\n") == 1
    again = subprocess.run(line, capture_output=True, text=True, timeout=LONG)
    assert again.returncode == 0 and "mapping error, worst" in again.stdout
    assert json.loads((out / "summary.json").read_text())["cores"] == 18750
