"""The report of a run: one self-contained page, made from the folder alone, for finished and unfinished runs."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2sim.errors import RunError
from l2sim.flow import flow
from l2sim.job import job as jobs
from l2sim.job.job import Job
from l2sim.report import figures
from l2sim.report import page as report
from l2sim.runs import execute
from l2sim.store import gather, results
from l2sim.store.events import Epoch, StageDone, StageStarted

SECTIONS = [
    "The run at a glance",
    "Stages in numbers",
    "Calibration",
    "Mapping",
    "Training",
    "Phases",
    "Cost",
    "Energy and time on the chips",
    "What sampling saved",
    "What differs from the publication",
    "Settings",
    "How to reproduce",
]


def smoke(**more: Any) -> Job:
    return jobs.with_overrides(jobs.smoke(Job.preset("digits")), [f"{k}={v}" for k, v in more.items()])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "smoke"
    job = jobs.with_overrides(smoke(), ["map.compare=true", "data.validation=0.2", "seed=7"])
    list(execute.execute(job, out, threads=1))
    return out


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


class Page(HTMLParser):
    """What a browser would see: text outside of style, headings, and what it would load."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.headings: list[str] = []
        self.loads: list[str] = []
        self.alts: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "img", "link", "input", "hr"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data", "poster") or (name.endswith("href") and tag != "a"):
                self.loads.append(value or "")
        if tag == "svg":
            self.alts.append(dict(attrs).get("aria-label") or "")
        if tag in ("script", "link", "iframe", "object", "embed", "img"):
            self.loads.append(f"<{tag}>")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)
            if self.open and self.open[-1] in ("h1", "h2"):
                self.headings.append(data)


def test_every_section_is_there_with_numbers_and_pictures(run: Path) -> None:
    page = Page(run / "report.html")
    assert page.open == []
    assert page.headings == ["smoke: cnn-s on synthetic, seed 7", *SECTIONS]
    text = " ".join(page.text)
    assert not re.search(r"\b(nan|NaN|None|inf)\b", text)
    content = json.loads((run / "report.json").read_text())
    for stage in content["stages"]:
        for key in ("evaluations", "core_calls", "writes", "accumulation_steps"):
            if key in stage:
                assert f"{stage[key]:,}" in text
        if "accuracy" in stage:
            assert f"{100 * stage['accuracy']:.1f} %" in text
    assert len(page.alts) == 7 and all(page.alts)
    for words in ("from ideal phases (as published)", "from calibrated phases", "with 1 % readout noise", "oracle"):
        assert words in text
    assert "a lab cannot know this" in text and "validation accuracy" in text
    assert "--seed 7" in text and "--threads 1" in text and "data.name=synthetic" in text
    assert re.search(r"copy mapped as published ends at [\d.]+ % and [\d.,]+", text)


def test_nothing_is_loaded_from_elsewhere_and_no_path_of_this_machine_is_told(run: Path) -> None:
    page = Page(run / "report.html")
    assert all(load.startswith(("#", "data:")) for load in page.loads), page.loads
    assert not re.search(r"url\(\s*['\"]?(?!#)", page.source) and "@import" not in page.source
    links = set(re.findall(r"https?://[^\"'<\s]+", page.source))
    assert links <= {"https://arxiv.org/abs/2110.14807", "http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg"}
    assert str(run.parent) not in page.source and str(Path.home()) + "/" not in page.source
    assert len(page.source) < 3_000_000


def test_rebuild_gives_the_same_bytes(run: Path, copy: Path) -> None:
    (copy / "report.html").unlink()
    assert report.rebuild(copy) == copy / "report.html"
    assert (copy / "report.html").read_bytes() == (run / "report.html").read_bytes()


@pytest.mark.parametrize("last", ["pretrain", "deploy", "calibrate", "map", "learn"])
def test_an_unfinished_run_shows_what_there_is(tmp_path: Path, last: str) -> None:
    out = tmp_path / "run"
    events = execute.execute(smoke(), out)
    for event in events:
        if isinstance(event, Epoch) and event.stage == last:
            break
    events.close()  # type: ignore[attr-defined]
    page = Page(report.rebuild(out))
    assert page.headings[1:] == SECTIONS
    text = " ".join(page.text)
    assert f"This run is not finished: it was in stage {last} after 1 of" in text
    assert "--resume" in text and "nan" not in text
    stages = list(takewhile(lambda name: name != last, ["pretrain", "deploy", "calibrate", "map"]))
    table = page.source[page.source.index("Stages in numbers") :].split("</thead>")[0]
    assert [name for name in re.findall(r'scope="col">(\w*)', table) if name][:-1] == stages


@pytest.mark.parametrize("kind", [StageStarted, StageDone])
def test_a_run_stopped_between_epochs(tmp_path: Path, kind: type) -> None:
    out = tmp_path / "run"
    events = execute.execute(smoke(), out)
    next(event for event in events if isinstance(event, kind))
    events.close()  # type: ignore[attr-defined]
    text = " ".join(Page(report.rebuild(out)).text)
    where = "in stage pretrain after 0 of 1 epochs" if kind is StageStarted else "after stage pretrain"
    assert f"it was {where}" in text


def test_a_run_from_another_shows_where_it_came_from(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "second"
    list(execute.execute(smoke(), out, source=f"{run}@map"))
    text = " ".join(Page(out / "report.html").text)
    assert "--from smoke@map" in text and str(run) not in text
    assert "This folder holds no calibration." in text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("report.json", b'{"format": "l2sim-report"', "report.json is damaged"),
        ("report.json", b"\xff\x00", "report.json is damaged"),
        ("report.json", b"[]", "report.json is damaged"),
        ("report.json", b"{}", "not the report of a run"),
        ("report.json", b'{"format": "l2sim-report", "version": 99}', "newer l2sim"),
        ("figures.json", b"{", "figures.json is damaged"),
        ("manifest.json", b"{", "manifest.json.* is damaged"),
    ],
)
def test_damaged_files_end_in_one_line(copy: Path, name: str, content: bytes, message: str) -> None:
    (copy / name).write_bytes(content)
    with pytest.raises(RunError, match=message) as caught:
        report.rebuild(copy)
    assert "\n" not in str(caught.value)


def test_what_is_written_is_what_is_read(run: Path) -> None:
    assert flow.REPORT_VERSION == results.VERSION == json.loads((run / "report.json").read_text())["version"]


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        report.rebuild(tmp_path)


@pytest.mark.parametrize("name", ["figures.json", "scalars.bin", "phase-0000.bin", "events.jsonl", "checkpoints"])
def test_the_page_does_without_what_is_missing(copy: Path, name: str) -> None:
    path = copy / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert Page(report.rebuild(copy)).headings[1:] == SECTIONS


def test_damaged_logs_and_checkpoints_do_not_stop_the_page(copy: Path) -> None:
    for path in (copy / "scalars.bin", copy / "phase-0000.bin", copy / "events.jsonl", *copy.glob("checkpoints/*")):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 3])
    assert Page(report.rebuild(copy)).headings[1:] == SECTIONS


def test_numbers_that_are_not_finite_are_null_and_said_in_words(copy: Path) -> None:
    content = json.loads((copy / "report.json").read_text())
    content["stages"][-1] |= {"loss": float("nan"), "accuracy": 0.1}
    content["stages"][3]["oracle_mapping_error"] = float("inf")
    figures = json.loads((copy / "figures.json").read_text())
    figures["calibrate"]["identity_error"]["u"][0] = float("nan")
    figures["map"]["comparisons"]["start_ideal"]["curve"] = [float("nan")] * 2
    report.write(copy, content, figures)
    text = (copy / "report.json").read_text() + (copy / "figures.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads((copy / "report.json").read_text())["stages"][-1]["loss"] is None
    shown = " ".join(Page(copy / "report.html").text)
    assert "not finite" in shown and not re.search(r"\bnan\b", shown)


def test_unknown_keys_are_left_alone_and_names_are_escaped(copy: Path) -> None:
    content = json.loads((copy / "report.json").read_text())
    content["later"] = {"a": 1}
    content["stages"][0]["later"] = [1, 2]
    content["device"] = "<script>alert(1)</script>"
    (copy / "report.json").write_text(json.dumps(content))
    assert "<script>" not in report.rebuild(copy).read_text()


def test_curves_hold_where_an_epoch_skipped_all_its_batches() -> None:
    steps, tests = np.array([1, 2, 3]), np.array([2, 2, 3])  # two batches; an epoch of a test only; a batch
    batches, epochs = np.array([10.0, 11.0, 12.0]), np.array([1.0, 2.0, 3.0])
    scalars = {"loss": (steps, batches), "accuracy": (steps, batches), "lr": (tests, np.ones(3))}
    scalars["test_loss"] = scalars["test_accuracy"] = tests, epochs
    scalars["train_loss"] = np.array([2, 3]), np.array([10.5, 12.0])
    lines = gather._training(scalars, [2, 2, 3])
    np.testing.assert_array_equal(lines["loss/test"], [[1, 2, 3], epochs])
    np.testing.assert_array_equal(lines["loss/batch"][1], batches)
    np.testing.assert_array_equal(lines["loss/train"][0], [1, 3])


def test_a_picture_of_a_run_is_written_as_dots_and_as_lines(run: Path, tmp_path: Path) -> None:
    report.picture(run, tmp_path / "overview.png")
    content = (tmp_path / "overview.png").read_bytes()
    assert content.startswith(b"\x89PNG") and len(content) < 150_000
    assert [int.from_bytes(content[at : at + 4], "big") for at in (16, 20)] == [1610, 504]
    drawn = (tmp_path / "overview.svg").read_bytes()
    assert b"<svg" in drawn and b"date" not in drawn
    report.picture(run, tmp_path / "overview.png")
    assert (tmp_path / "overview.svg").read_bytes() == drawn


@pytest.mark.parametrize(
    "classes, name, words", ((4, "digits", "one in 4 classes"), (None, "digits", "one in 10 classes"),
                             (None, "cifar100", "one in 100 classes"), (None, "tiny-imagenet", "one in 200 classes"),
                             (None, "own", "one in as many as there are classes")),
)  # fmt: skip
def test_chance_is_what_the_data_say(classes: int | None, name: str, words: str, copy: Path) -> None:
    """A report of before November 2026 has no `classes`: then the published set says it."""
    content = json.loads((copy / "report.json").read_text())
    assert content.pop("classes") == 10
    content["job"]["data"]["name"] = name
    if name != "digits":
        content["job"]["model"] |= {"name": "vgg8", "input": []}
    content |= {"classes": classes} if classes else {}
    (copy / "report.json").write_text(json.dumps(content))
    assert gather.gather(copy).classes == (None if name == "own" else int(words.split()[2]))
    report.rebuild(copy)
    assert words in (copy / "report.html").read_text()


@pytest.mark.parametrize("guess", (0.01, 0.5, None))
def test_the_line_of_chance_lies_where_a_guess_is(guess: float | None) -> None:
    sheet, axes = figures.sheet(1, 4.0, 3.0)
    figures.accuracy(axes[0, 0], [{"name": "learn", "accuracy": 0.9}], guess)
    lines = [line.get_ydata()[0] for line in axes[0, 0].lines]
    assert lines == ([] if guess is None else [100 * guess]) and sheet is not None


@pytest.mark.parametrize("values", ((2e-6, 1.5), (0.3, 15.0)), ids=("decades", "parts of decades"))
def test_labels_of_a_logarithmic_axis_are_matplotlibs_without_formulas(values: tuple[float, float]) -> None:
    labels = []
    for own in (False, True):
        sheet, axes = figures.sheet(1, 4.0, 3.0)
        axes[0, 0].plot(values)
        axes[0, 0].set_yscale("log")
        if own:
            figures.log_scale(axes[0, 0])
        drawn = figures.svg(sheet, "x", "")
        axis = axes[0, 0].yaxis
        labels.append([one.get_text() for one in axis.get_ticklabels() + axis.get_ticklabels(minor=True)])
    formulas = [re.sub(r"\$\\mathdefault\{(.*)\}\$", r"\1", label).replace(r"\times", "×") for label in labels[0]]
    raised = [re.sub(f"[{figures.RAISED}]+", lambda part: f"^{{{plain(part[0])}}}", label) for label in labels[1]]
    assert set(filter(None, raised)) <= set(formulas) and any(raised)
    assert "mathdefault" not in drawn and not set(figures.RAISED) & set(drawn)
    assert re.search(r'>10<tspan dy="-0.59em" style="font-size: 70%">−?\d</tspan></text>', drawn)


def plain(exponent: str) -> str:
    return exponent.translate(str.maketrans(figures.RAISED, "-0123456789"))
