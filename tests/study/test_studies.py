"""The studies run, and show what they say."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from l2sim.job.job import smoke, with_overrides
from l2sim.nn import models
from l2sim.study import gradients, harness, l2ight, loss_bias, programming, silicon, twin, twin_digits


def test_loss_bias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_bias, "table", lambda *_, table=loss_bias.table: table((4, 9), (0, 1)))
    loss_bias.STUDY.main(["--full", "--out", str(tmp_path)])
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {f"loss-bias.{ending}" for ending in ("csv", "md", "png", "svg")}
    error = {row[1:5]: row.relative_error for row in loss_bias.table() if row.seed == 0}
    for modes in (4, 9):
        for scheme in loss_bias.SCHEMES:
            exact, read, wrong = (error[modes, "uniform", scheme, c] for c in ("corrected", "none", "opposite"))
            assert exact < 1e-12 < read < wrong
            assert exact < error[modes, "spread", scheme, "corrected"] < error[modes, "spread", scheme, "none"]


def test_programming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programming, "ITERATIONS", 20)
    monkeypatch.setattr(programming, "table", lambda *_, table=programming.table: table((4, 12), (0, 1)))
    programming.STUDY.main(["--full", "--out", str(tmp_path)])
    pictures = {f"programming{part}.{end}" for part in ("", "-nodes", "-optimised") for end in ("png", "svg")}
    made = {"programming.csv", "programming-steps.csv", "programming.md"} | pictures
    assert {path.name for path in tmp_path.iterdir()} == made
    rows, curves = programming.table()
    error = {row[:4]: row.error for row in rows}
    for modes in (4, 12):
        none = error[modes, "mzi", "apart", "none"]
        for method in ("local", "optimised", "progressive"):
            assert error[modes, "mzi", "apart", method] < 0.2 * none
        assert error[modes, "three_splitter", "apart", "node by node"] < 0.2 * none
    assert curves["local"][-1] <= curves["local"][0]


def test_silicon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silicon, "sized", lambda job, _: smoke(job))
    settings = [*itertools.product(silicon.CHIPS, silicon.DRIVES, silicon.READOUTS)]
    monkeypatch.setattr(silicon, "settings", lambda: settings)
    monkeypatch.setattr(silicon, "SEEDS", (1,))
    silicon.STUDY.main(["--full", "--out", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {"silicon.csv", "silicon.md"}
    assert len((tmp_path / "silicon.csv").read_text().splitlines()) == 1 + len(settings)
    assert "| silicon-push-pull | single-arm | field |" in (tmp_path / "silicon.md").read_text()


def test_gradients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = [s for s in gradients.settings() if s[0] not in gradients.SPARSITIES or (s[3] == 0.6 and s[2] == "exp")]
    monkeypatch.setattr(gradients, "settings", lambda: iter(few))
    monkeypatch.setattr(gradients, "BATCHES", 2)
    monkeypatch.setattr(gradients, "EPOCHS", 1)
    small = models.ModelSpec("small", (1, 16, 16), 10, models.cnn_s().layers[:6] + models.cnn_s().layers[-2:])
    monkeypatch.setattr(gradients.models, "get", lambda name: small)
    gradients.STUDY.main(["--full", "--out", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {"gradients.csv", "gradients.md"} | {
        f"gradients{part}.{end}" for part in ("", "-layers") for end in ("png", "svg")
    }
    with (tmp_path / "gradients.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(few) * 4 and {row["layer"] for row in rows} == {"conv1", "conv2", "fc1", "all"}
    assert all(0.4 <= float(row["similarity"]) <= 1 and float(row["distance"]) >= 0 for row in rows)
    exact = [row for row in rows if row["sampler"] == "feedback" and row["layer"] == "fc1"]
    assert all(float(row["distance"]) < 1e-9 for row in exact), "what lies above a sampled layer is exact"


def test_ways_to_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = {"pretrain.epochs": 1, "calibrate.epochs": 2, "map.epochs": 2, "data.name": "synthetic"}
    it = l2ight.EXPERIMENTS["cnn-s"]
    methods = {name: it.methods[name] for name in ("dense", "+ column", "+ data (L2ight)", f"FLOPS{l2ight.EQUAL}")}
    tiny = it._replace(base=it.base | short, learn=it.learn | {"learn.epochs": 2}, methods={
        name: more | ({"learn.epochs": 4} if "learn.protocol" in more else {}) for name, more in methods.items()
    })  # fmt: skip
    monkeypatch.setattr(l2ight, "EXPERIMENTS", {"cnn-s": tiny})
    monkeypatch.setattr(l2ight, "SEEDS", (1, 2))
    options = ["cnn-s", "--full", "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    l2ight.STUDY.main(options)
    made = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(made) == {f"l2ight-cnn-s.{ending}" for ending in ("csv", "md", "png", "svg")}
    rows = list(csv.DictReader(made["l2ight-cnn-s.csv"].decode().splitlines()))
    assert len(rows) == 2 * len(methods) and len({row["accuracy_mapped"] for row in rows}) == 1
    calls = {row["method"]: int(row["core_calls"]) for row in rows}
    assert calls["+ data (L2ight)"] < calls["+ column"] < calls["dense"] <= calls[f"FLOPS{l2ight.EQUAL}"]
    assert b"| + data (L2ight) |" in made["l2ight-cnn-s.md"] and b"L2ight's sampling ends" in made["l2ight-cnn-s.md"]
    monkeypatch.setattr(harness.execute, "execute", None)  # nothing is run again
    l2ight.STUDY.main(options)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == made


@pytest.mark.parametrize(
    ("above", "words"),
    [
        ([0.04, 0.06, 0.02], "+0.04 ± 0.05 points above L2ight for 2.00 times its core calls: cheaper as claimed;"),
        ([-0.1, -9.0, -2.0], "points below L2ight for 2.00 times its core calls: cheaper as claimed; which is more"),
        ([0.4, 0.41, 0.42], "but the publication has L2ight ahead in accuracy too"),
        ([-0.4, -0.41, -0.42], "L2ight is more accurate and cheaper, as claimed"),
        ([-3.0], "which is more accurate the seeds do not tell"),
    ],
)
def test_an_order_that_the_seeds_do_not_tell_is_not_claimed(above: list[float], words: str) -> None:
    assert words in l2ight.compared("RAD", above, 2.0)


def test_what_is_below_by_its_mean_alone_is_said_to_be_open() -> None:
    def rows(method: str, *accuracies: float) -> Iterator[l2ight.Row]:
        for seed, accuracy in enumerate(accuracies):
            yield l2ight.Row(method, seed, 0.96, accuracy, 1, 1, 0, 0, 1, 1, 1, 1.0)

    rest = [*rows("dense", 0.980, 0.981, 0.982), *rows(l2ight.OURS, 0.979, 0.981, 0.981)]
    blind = [*rows("FLOPS", 0.10, 0.11, 0.12), *rows("MixedTrn", 0.99, 0.90, 0.95)]
    said = l2ight.verdict([*rest, *blind])
    assert "contains zero: the seeds do not tell" in said[0] and "as claimed" not in said[1]
    assert said[2].endswith("FLOPS; MixedTrn (the seeds do not tell).")
    assert "as claimed" in l2ight.verdict([*rest, *blind[:3]])[1]


def test_twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"identify": 2, "mismatch": 4, "meshes": 0}
    tasks = twin.tasks
    monkeypatch.setattr(twin, "TURNS", (1, 2))

    def few(part: str) -> Iterator[twin.Task]:
        for name, _, method, _ in itertools.islice(tasks(part), kept.get(part, 0)):
            search = method.rpartition(", ")[0]
            work = partial(twin.searched, method=search) if method[0] == "z" else twin.identified
            yield twin.Task(name, 3, method, partial(work, part, name, twin.sheet({}), 3, 2))
        if part == "meshes":
            yield twin.Task("small", 4, "twin, taps", partial(twin.whole, part, "small", 4, 1, 3))

    monkeypatch.setattr(twin, "tasks", few)
    twin.STUDY.main(["--full", "--out", str(tmp_path), "--part", "identify"])
    twin.STUDY.main(["--full", "--out", str(tmp_path)])
    lines = (tmp_path / "twin.csv").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 1 + 2 * 2 + 2 + 3 * 2 + 1, "what was made is not made again"
    page = (tmp_path / "twin.md").read_text()
    assert all(title in page for part, title in twin.TITLES.items() if part in kept)


def test_what_twins_cost_digits_and_what_noisy_tests_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twin_digits, "REPEATS", 1)
    (row,) = twin_digits.table(with_overrides(twin_digits.job(1), ["pretrain.epochs=2"]), (0.02,))
    assert 28.0 < row.evaluations < 50.0 and row.mapping_error < 5e-3
    assert abs(row.twin - row.exact) < 0.03 and abs(row.twin_noisy - row.exact_noisy) < 0.06
    assert any(line.startswith(f"| 0.02 | {row.evaluations:.0f} |") for line in twin_digits.page([row]))
