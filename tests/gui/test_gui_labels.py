"""Drawn text reserves room at every scale and size of letters, and nothing is left over from run to run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from l2sim.gui.base.model import Selection
from l2sim.gui.mesh import legend as legend_module
from l2sim.gui.mesh.colours import Scale
from l2sim.gui.mesh.legend import Legend, row
from l2sim.gui.mesh.values import LIVE, POWER
from l2sim.gui.panels import quantities
from l2sim.gui.panels.blocks import Blocks
from l2sim.gui.panels.chart import Chart
from l2sim.gui.panels.curves import Curves
from l2sim.gui.panels.envelope import View
from l2sim.gui.panels.scrubber import knots
from l2sim.gui.window.window import Window
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets
from pytestqt.qtbot import QtBot

from l2sim.backend import Array
from l2sim.inspect.run import Stage
from l2sim.store.follow import Curve
from tests.doubles_gui import FakeModel
from tests.gui.labels import Drawn, faults, recorded
from tests.places import ROOT

Key = QtCore.Qt.Key


# -- text and its room -------------------------------------------------------------------------------------------------


def test_no_text_of_the_window_is_cut_or_over_another(digits_run: Path, insitu_run: Path) -> None:
    """Every scale in a process of its own, all at once: Qt takes its scale at its start."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.gui.labels", str(digits_run), str(insitu_run)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"QT_SCALE_FACTOR": scale, "QT_QPA_PLATFORM": "offscreen", "QT_FONT_DPI": "96"},
        )
        for scale in ("1", "1.25", "1.5", "2")
    ]  # fmt: skip
    for process in running:
        said, wrong = process.communicate()
        assert process.returncode == 0, wrong
        *problems, last = said.splitlines()
        assert problems == [], "\n".join(problems)
        assert int(last.split()[0]) > 500


def test_what_overlaps_and_what_is_cut_is_seen() -> None:
    box = QtCore.QRectF(0, 0, 40, 20)
    one = Drawn("one", box, box)
    assert list(faults([one, Drawn("beside", box.translated(40, 0), box.translated(40, 0))])) == []
    assert list(faults([one, Drawn("two", box.translated(30, 0), box.translated(30, 0))])) == [
        "overlap: 'one' and 'two'"
    ]
    assert list(faults([Drawn("75422e0", box, box.adjusted(10, 0, 0, 0))])) == ["cut: '75422e0'"]


@pytest.mark.parametrize(("low", "high"), [(1.754, 1.7545), (0.0, 2.5e7), (-1234.5, 0.001), (1e-9, 3e-9)])
@pytest.mark.parametrize("log", (False, True))
def test_numbers_of_the_upright_axis_have_the_room_that_they_need(
    qtbot: QtBot, low: float, high: float, log: bool
) -> None:
    chart = Chart(foot=True)
    qtbot.addWidget(chart)
    chart.resize(400, 200)
    ends = np.log10([max(low, 1e-12), max(high, 2e-12)]) if log else np.array([low, high])
    chart.look(View(0, 100, *ends.tolist()), log)
    chart.reserve(chart.needed())
    texts = [text for _, text in chart.numbers()]
    assert texts and max(map(chart.fontMetrics().horizontalAdvance, texts)) <= chart.left - 5
    assert all("e0" not in text for text in texts)


def test_no_pixel_behind_a_chart_shows_through_at_its_edges(qtbot: QtBot) -> None:
    """At a scale of 1.25 a chart may begin or end within a pixel of the screen."""
    chart = Chart(foot=True)
    qtbot.addWidget(chart)
    chart.resize(203, 101)
    for ratio in (1.25, 1.5):
        image = QtGui.QImage(round(203 * ratio), round(101 * ratio), QtGui.QImage.Format.Format_RGB32)
        image.setDevicePixelRatio(ratio)
        image.fill(QtGui.QColor("#ff00ff"))
        chart.render(image, QtCore.QPoint())
        edge = [image.pixelColor(image.width() - 1, y).name() for y in range(image.height())]
        edge += [image.pixelColor(x, image.height() - 1).name() for x in range(image.width())]
        assert "#ff00ff" not in edge


def test_the_bar_of_light_is_grey_and_ever_brighter() -> None:
    colours = row(Scale("light", -30.0, 0.0), True, 64)
    rgb = np.stack([colours >> shift & 0xFF for shift in (16, 8, 0)]).astype(int)
    assert np.ptp(rgb, axis=0).max() < 25 and (np.diff(rgb.sum(axis=0)) >= 0).all() and np.ptp(rgb.sum(axis=0)) > 150


@pytest.mark.parametrize("wide", (260, 300, 420, 640, 1000))
@pytest.mark.parametrize("wrong", (0, 12))
def test_the_title_of_light_keeps_clear_of_the_wheel(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, wide: int, wrong: int
) -> None:
    wheels: list[QtCore.QRectF] = []
    monkeypatch.setattr(
        legend_module, "paint_wheel",
        lambda painter, middle, radius: wheels.append(QtCore.QRectF(middle.x() - radius, 0, 2 * radius, 99)),
    )  # fmt: skip
    legend = Legend()
    qtbot.addWidget(legend)
    legend.show_scale(Scale("light", -30, 0, "dB of the input"), "Optical power of a chip, unit light", "estimated",
                      wrong, True)  # fmt: skip
    legend.resize(wide, legend.sizeHint().height())
    with recorded() as recorder:
        drawn = recorder.of(legend)
    assert list(faults(drawn)) == [] and len(wheels) == 1
    assert not any(wheels[0].intersects(text.place) for text in drawn)
    texts = [text.text for text in drawn]
    assert "phase" in texts and ("12" in " ".join(texts)) == bool(wrong)
    assert texts[0].endswith("estimated") or wide < 420


def test_the_legend_grows_with_its_letters(qtbot: QtBot) -> None:
    legend = Legend()
    qtbot.addWidget(legend)
    before, font = legend.sizeHint().height(), legend.font()
    font.setPointSizeF(2 * font.pointSizeF())
    legend.setFont(font)
    assert legend.sizeHint().height() > 1.5 * before


@pytest.mark.parametrize("size", (1.0, 1.5))
def test_the_headline_says_of_what_its_accuracy_is_at_every_width(opened: Window, qtbot: QtBot, size: float) -> None:
    strip, said = opened.strip, {}
    for label in strip.findChildren(QtWidgets.QLabel):
        font = QtGui.QFont(label.font())
        font.setPointSizeF(font.pointSizeF() * size)
        label.setFont(font)
    for width in (2400, 1600, 700, *range(690, 400, -10)):
        strip.setFixedWidth(width)
        opened.tick(everything=True)
        qtbot.waitUntil(lambda width=width: strip.width() == width)
        said[width] = strip.of.text()
        for label in (strip.place, strip.of, strip.accuracy):
            assert label.isVisible() and label.width() >= label.fontMetrics().horizontalAdvance(label.text()), width
            assert label.geometry().right() < width
        if said[width] == "test":  # how wide letters are differs from one Qt to the other
            break
    assert said[2400] == "test accuracy" and said[width] == "test"
    opened.selection.set(step=1)
    opened.tick(everything=True)
    assert strip.accuracy.text() == "" and not strip.of.isVisible()


# -- stages on the timeline --------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=7), st.floats(50, 2000), st.booleans())
def test_steps_and_pixels_of_the_timeline_are_one_way_and_back(lengths: list[int], width: float, goes_on: bool) -> None:
    ends = np.cumsum(lengths).tolist()
    stages = [Stage(f"s{i}", end - size, end, 1) for i, (end, size) in enumerate(zip(ends, lengths))]
    if goes_on:
        stages[-1] = stages[-1]._replace(last_step=None)
    steps, pixels = knots(stages, ends[-1], width, [40.0] * len(stages))
    assert pixels[0] == 0 and pixels[-1] == pytest.approx(width)
    assert (np.diff(steps) > 0).all() and (np.diff(pixels) > 0).all()
    every = np.unique(np.linspace(0, max(ends[-1], 1), 300).round())
    np.testing.assert_allclose(np.interp(np.interp(every, steps, pixels), pixels, steps), every, atol=1e-6)
    shown = [stage for stage, size in zip(stages, lengths) if size]
    for stage in shown:
        end = ends[-1] if stage.last_step is None else stage.last_step
        wide = np.interp(end, steps, pixels) - np.interp(stage.first_step, steps, pixels)
        assert wide >= min(40.0, width / len(shown)) - 1e-6


# -- curves and stages -------------------------------------------------------------------------------------------------


class Staged(FakeModel):
    """Two stages, each with a loss of its own; the network's test loss is of the first only."""

    @property
    def series(self) -> list[str]:
        return ["pretrain/loss", "pretrain/test_loss", "learn/loss", "calibrate/best", "learn/accuracy"]

    def scalar(self, name: str) -> Curve:
        curve, half = super().scalar(name), self.stages[0].last_step or 0
        first = slice(half, None) if name.startswith("learn/") else slice(0, half)
        return Curve(*(column[first] for column in curve))

    def stage_at(self, step: int | None) -> str:
        return "pretrain" if step is not None and step <= (self.stages[0].last_step or 0) else "learn"


def curves_of(qtbot: QtBot, model: FakeModel) -> Curves:
    panel = Curves(Selection())
    qtbot.addWidget(panel)
    panel.selection.watch(panel.refresh)
    panel.resize(700, 300)
    panel.show()
    panel.show_run(model)  # type: ignore[arg-type]
    panel.refresh({"all"})
    return panel


def test_a_legend_has_values_of_one_stage_only(qtbot: QtBot) -> None:
    model = Staged(steps=100)
    model.stages = [Stage("pretrain", 0, 50, 1), Stage("learn", 50, None, 1)]
    legend = curves_of(qtbot, model).plots[0].legend
    texts = [text for _, _, text in legend.entries]
    assert "test loss" in texts and [text for text in texts if text.startswith("loss ")]
    assert not any(text.startswith("test loss ") for _, _, text in legend.entries)


def test_automatic_curves_follow_the_stage_on_show(qtbot: QtBot) -> None:
    class Calibrated(FakeModel):
        series = ["calibrate/best", "learn/loss", "learn/accuracy"]  # type: ignore[assignment]  # noqa: RUF012

    panel = curves_of(qtbot, Calibrated(steps=100))
    assert panel.plots[0].quantity is not None and panel.plots[0].quantity.title == "Loss (nat)"
    panel.selection.set(step=10)
    assert panel.plots[0].quantity.title == "Search loss (calibrate)"
    panel.selection.set(step=None)
    assert panel.plots[0].quantity.title == "Loss (nat)"


def test_the_stage_that_has_just_begun_is_named_while_the_newest_step_is_followed(qtbot: QtBot) -> None:
    model = Staged(steps=100)
    model.stages = [Stage("pretrain", 0, 100, 1), Stage("calibrate", 100, None, 1)]
    panel = curves_of(qtbot, model)
    assert panel.shown_stage == "calibrate"
    assert panel.plots[1].legend.entries[0][2] == "pretrain:"
    panel.selection.set(step=100)
    assert panel.shown_stage == "pretrain"


def test_a_quantity_has_one_colour_whatever_else_a_run_has() -> None:
    alone = quantities.colours({"loss"}, 8)
    for others in ({"test_loss"}, {"train_loss", "validation_loss"}, {"best", "alpha"}):
        assert quantities.colours({"loss", *others}, 8)["loss"] == alone["loss"]
    many = quantities.colours({f"k{i}" for i in range(8)}, 8)
    assert sorted(many.values()) == list(range(8))


# -- blocks ------------------------------------------------------------------------------------------------------------


class Judged(FakeModel):
    """The mapping error is known from half of the run on, and nothing moves after that."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics = ["oracle_identity_error_u", "oracle_mapping_error", "movement", "update count"]
        self.badge = dict.fromkeys(self.metrics, "oracle")

    def metric(self, layer: str, name: str, step: int | None = None) -> Array:
        early = step is not None and step <= 100
        shown = name == "update count" or (name == "oracle_identity_error_u" and early)
        return super().metric(layer, name, step) * shown


def test_blocks_choose_a_metric_by_the_stage_until_somebody_does(qtbot: QtBot) -> None:
    blocks, model = Blocks(Selection()), Judged()
    qtbot.addWidget(blocks)
    blocks.selection.watch(blocks.refresh)
    blocks.show()
    blocks.show_run(model)  # type: ignore[arg-type]
    blocks.selection.set(step=50)
    assert blocks.shown_metric == "oracle_identity_error_u"
    blocks.selection.set(step=150)
    assert blocks.shown_metric == "update count"
    blocks.chooser.setFocus()
    qtbot.keyClick(blocks.chooser, Key.Key_Home)
    qtbot.keyClick(blocks.chooser, Key.Key_Down)
    assert blocks.shown_metric == "oracle_mapping_error"
    with qtbot.waitSignal(blocks.no_worst) as told:
        blocks.worst()
    assert told.args[0].startswith("Mapping error is 0 in every core")
    blocks.selection.set(step=50)
    assert blocks.shown_metric == "oracle_mapping_error"
    blocks.show_run(Judged())  # type: ignore[arg-type]
    blocks.refresh({"all"})
    assert blocks.shown_metric == "oracle_identity_error_u"


def test_nothing_is_left_over_from_the_run_before(
    window: Window, qtbot: QtBot, digits_run: Path, insitu_run: Path
) -> None:
    assert window.open(insitu_run)
    window.tick(everything=True)
    window.events.say("said of the first run")
    window.mesh.colour(POWER)
    window.mesh.choice.setCurrentText("sum, live")
    window.mesh.chosen[POWER] = "sum, live"
    assert window.open(digits_run)
    window.tick(everything=True)
    assert not any("said of the first run" in str(line) for line in window.events.table()[1])
    assert window.mesh.chosen[POWER] not in LIVE


def test_the_key_of_the_worst_core_answers_where_there_is_none(opened: Window, qtbot: QtBot) -> None:
    opened.docks["Blocks"].raise_()
    opened.selection.set(step=1)
    opened.tick(everything=True)
    opened.mesh.canvas.setFocus()
    qtbot.keyClick(opened.mesh.canvas, Key.Key_W)
    assert "not recorded at this step" in opened.message.text.text()


def test_a_run_that_only_writes_its_report_is_not_stale(monkeypatch: pytest.MonkeyPatch, opened: Window) -> None:
    model: Any = opened.model

    class Silent:
        beat = None

        def stale(self) -> bool:
            return True

    monkeypatch.setattr(type(model._disk), "state", "running")
    monkeypatch.setattr(model, "_link", Silent())
    assert model.state == "running"
    monkeypatch.setattr(model._disk, "events", model.events[:-1])
    assert model.state == "stale"
    monkeypatch.undo()
