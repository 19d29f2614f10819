"""The panels around the mesh: the worst core is found, matrices and distributions are of it, and one MZI is read."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from l2sim.gui.base.model import RunModel, Selection, open_run
from l2sim.gui.base.panel import Panel
from l2sim.gui.mesh.colours import number
from l2sim.gui.mesh.geometry import Thing
from l2sim.gui.mesh.view import MeshView
from l2sim.gui.panels import inspector as inspecting
from l2sim.gui.panels import matrix as matrices
from l2sim.gui.panels.blocks import Blocks, worst_of
from l2sim.gui.panels.distributions import Distributions
from l2sim.gui.panels.inspector import Inspector, node, split
from l2sim.gui.panels.matrix import Matrix
from pyqtgraph.Qt import QtCore
from pytestqt.qtbot import QtBot

from l2sim.backend import Array
from l2sim.mesh.mesh import Mesh
from tests.doubles_gui import FakeModel
from tests.gui.test_gui_mesh import kept, move

Qt = QtCore.Qt
P = TypeVar("P", bound=Panel)


def shown(
    qtbot: QtBot,
    kind: Callable[[Selection], P],
    model: RunModel | FakeModel | None,
    selection: Selection | None = None,
    size: tuple[int, int] = (360, 480),
) -> P:
    """A panel of a kind that shows the model, and follows its selection."""
    selection = selection or Selection()
    if model is not None and not selection.layer:
        selection.layer = next(iter(model.layers))
    panel = kept(qtbot, kind(selection))
    selection.watch(panel.refresh)
    panel.resize(*size)
    panel.show()
    panel.show_run(model)
    panel.refresh({"all"})
    return panel


@pytest.fixture
def digits(digits_run: Path) -> Iterator[RunModel]:
    model = open_run(digits_run)
    model.poll()
    yield model
    model.close()


@pytest.fixture
def insitu(insitu_run: Path) -> Iterator[RunModel]:
    model = open_run(insitu_run)
    model.poll()
    yield model
    model.close()


@pytest.mark.parametrize("kind", (Blocks, Matrix, Distributions, Inspector, MeshView))
def test_a_panel_without_a_run_says_so_and_has_no_table(qtbot: QtBot, kind: type[Panel]) -> None:
    panel = shown(qtbot, kind, None)
    assert panel.table() is None
    assert not panel.grab().isNull()


@pytest.mark.parametrize("kind", (Blocks, Matrix, Distributions, Inspector, MeshView))
@pytest.mark.parametrize("which", ("digits", "insitu"))
def test_a_panel_shows_a_real_run_at_every_step(
    qtbot: QtBot, request: pytest.FixtureRequest, kind: type[Panel], which: str
) -> None:
    model: RunModel = request.getfixturevalue(which)
    selection = Selection()
    panel = shown(qtbot, kind, model, selection)
    selection.set(element=2)
    name = list(model.layers)[-1]
    layer = model.layers[name]
    series = layer.sigma or f"{name}.theta.phases"
    selection.set(layer=name, block=layer.p * layer.q - 1)
    for step in [0, *model.frames(series)[::3].tolist(), None]:
        selection.set(step=step)
    head, rows = panel.table()
    assert rows and all(len(row) == len(head) for row in rows)


# -- blocks ------------------------------------------------------------------------------------------------------------


def test_the_worst_core_is_the_largest_or_the_one_without_a_number() -> None:
    assert worst_of(np.array([[0.1, 0.3], [0.2, 0.0]])) == 1
    assert worst_of(np.array([[0.1, 0.3], [0.2, 0.0]]), low=True) == 3
    assert worst_of(np.array([[0.1, np.nan], [0.2, 0.0]])) == 1
    assert worst_of(np.array([[np.nan, np.nan]])) is None and worst_of(None) is None
    assert worst_of(np.zeros((2, 2))) is None and worst_of(np.full((2, 2), 7.0), low=True) is None
    assert worst_of(np.full((1, 1), 7.0), low=True) == 0


def test_a_double_click_goes_to_the_worst_core_and_keys_walk(qtbot: QtBot) -> None:
    blocks = shown(qtbot, Blocks, FakeModel(p=3, q=4))
    assert blocks.said.text().startswith("Most: fc1 block 5 (row 1, column 1): 1")
    strip = blocks.grids.strips[0]
    centre = blocks.grids.cell(strip, 0).center().toPoint()
    qtbot.mouseDClick(blocks.grids, Qt.MouseButton.LeftButton, pos=centre)
    assert (blocks.selection.layer, blocks.selection.block) == ("fc1", 5)
    blocks.walk(1)
    assert blocks.selection.block == 6
    blocks.walk(-1)
    blocks.walk(-6)
    assert blocks.selection.block == 11
    blocks.worst()
    assert blocks.selection.block == 5


def test_every_core_is_picked_and_said_where_it_is_drawn(qtbot: QtBot, digits: RunModel) -> None:
    blocks = shown(qtbot, Blocks, digits)
    for strip in blocks.grids.strips:
        for block in range(strip.layer.p * strip.layer.q):
            core = blocks.grids.core_at(blocks.grids.cell(strip, block).center())
            assert core is not None and (core[0].layer.name, core[1]) == (strip.layer.name, block)
    at = blocks.grids.cell(blocks.grids.strips[1], 3).center().toPoint()
    with qtbot.waitSignal(blocks.grids.hovered):
        move(blocks.grids, at)
    assert "block 3" in blocks.said.text()
    qtbot.mouseClick(blocks.grids, Qt.MouseButton.LeftButton, pos=at)
    assert blocks.selection.block == 3


def test_every_metric_of_a_real_run_is_offered_with_its_badge(qtbot: QtBot, digits: RunModel) -> None:
    blocks = shown(qtbot, Blocks, digits)
    names = [blocks.chooser.itemData(i) for i in range(blocks.chooser.count())]
    assert names == digits.metrics
    for i, name in enumerate(names):
        blocks.chooser.setCurrentIndex(i)
        assert blocks.legend.badge == digits.badge[name]
        assert ("oracle" in name) == (blocks.legend.badge == "oracle")


def test_a_core_without_a_number_is_hatched_and_counted(qtbot: QtBot) -> None:
    class Lost(FakeModel):
        def metric(self, layer: str, name: str, step: int | None = None) -> Array:
            values = super().metric(layer, name, step)
            values[2, 2] = np.nan
            return values

    blocks = shown(qtbot, Blocks, Lost())
    assert blocks.legend.wrong == 1 and "block 10" in blocks.said.text()


# -- matrix ------------------------------------------------------------------------------------------------------------


def test_what_is_padding_does_not_count_in_the_error(qtbot: QtBot, digits: RunModel) -> None:
    panel = shown(qtbot, Matrix, digits)
    ends = {name: layer.p * layer.q - 1 for name, layer in digits.layers.items()}
    name = next(n for n, layer in digits.layers.items() if digits.used(n, ends[n]) != (layer.k, layer.k))
    panel.selection.set(layer=name, block=ends[name])
    panel.refresh({"layer", "block"})
    rows, columns = digits.used(name, ends[name])
    _, second, apart = panel.matrices
    error = (apart.values[:rows, :columns] ** 2).sum() / (second.values**2).sum()
    assert f"= {number(error)}" in panel.said.text() and "padding" in panel.said.text()
    row, column = panel.pictures[2].marked
    assert row < rows and column < columns
    panel.grab()


def test_the_realised_matrix_of_a_core_is_that_of_its_chip_or_else_of_an_ideal_one(digits: RunModel) -> None:
    layer = list(digits.layers)[1]
    first, second, apart = matrices.three(digits, layer, 2, None)
    assert second.badge == "oracle"
    np.testing.assert_array_equal(second.values, digits.realised(layer, 2))
    np.testing.assert_allclose(apart.values, second.values - first.values)
    phases = {side: digits.phases(layer, 2, side) for side in ("u", "v", "sigma")}
    ideal = matrices.commanded(digits, layer, phases)
    assert ideal.badge == "estimated" and not ideal.note
    assert np.abs(ideal.values - second.values).max() > 1e-3


def test_an_ideal_chip_at_the_target_phases_has_the_target_matrix(digits: RunModel) -> None:
    for layer in digits.layers:
        aim = digits.target(layer, 0)
        assert aim is not None
        phases = {"u": aim["u"], "v": aim["v"], "sigma": {"sigma": aim["sigma"]}}
        np.testing.assert_allclose(matrices.commanded(digits, layer, phases).values, aim["matrix"], atol=1e-6)


def test_a_whole_mesh_is_compared_with_an_ideal_one(qtbot: QtBot, insitu: RunModel) -> None:
    panel = shown(qtbot, Matrix, insitu, size=(700, 300))
    titles = [(t.title, t.badge) for t in panel.matrices]
    assert titles == [("|U|, ideal chip", "estimated"), ("|U| realised", "oracle"), ("difference", "oracle")]
    assert (panel.matrices[0].values >= 0).all()
    assert re.search(r"\|U - z U_c\|² / \|U\|² is (zero|below rounding);", panel.said.text())
    assert "rounding" in panel.said.text() and panel.pictures[2].marked is None  # rounding is nowhere the worst


def test_without_an_oracle_the_matrix_is_estimated_and_says_so(qtbot: QtBot) -> None:
    panel = shown(qtbot, Matrix, FakeModel(k=4))
    assert panel.matrices[1].badge == "estimated" and "signs" in panel.said.text()
    assert panel.matrices[0].values is None and panel.matrices[2].note == "needs both"


# -- inspector ---------------------------------------------------------------------------------------------------------


def test_the_matrix_of_an_mzi_is_that_of_a_mesh_of_two_rails() -> None:
    from l2sim.mesh import mesh as real
    from l2sim.mesh import unitary

    mesh = Mesh("rectangular", 2)
    settings = unitary.Settings(np.array([0.7]), np.array([1.9]), np.zeros(2))
    np.testing.assert_allclose(node(True, 0.7, 1.9), unitary.matrix(mesh, settings), atol=1e-12)
    assert split(True, 0.7) == pytest.approx(abs(node(True, 0.7, 1.9)[1, 0]) ** 2)
    places = mesh.scatter(np.array([0.7]))
    np.testing.assert_allclose(node(False, 0.7, 0.0), real.matrix(mesh, places), atol=1e-12)
    assert split(False, 0.7) == pytest.approx(node(False, 0.7, 0.0)[1, 0] ** 2)


def words(card: inspecting.Card) -> str:
    return html.unescape(re.sub("<[^>]+>", " ", card.body.text()))


def test_the_inspector_reads_the_frame_that_was_painted(qtbot: QtBot) -> None:
    model, selection = FakeModel(k=5, steps=40), Selection()
    mesh = shown(qtbot, MeshView, model, selection)
    panel = shown(qtbot, Inspector, model, selection)
    mesh.shown.connect(panel.take)
    mesh.hovered.connect(panel.hover)
    mesh.refresh({"all"})
    panel.hover(Thing("u", "theta", 6))
    model.tick()
    panel.refresh({"scalars"})
    assert "step 40" in words(panel.cards[0]) and "pointer" in panel.cards[0].head.text()
    assert f"{mesh.painted.phases['u']['theta'][6]:.4f}" in words(panel.cards[0])
    panel.hover(None)
    assert not panel.cards[0].isVisible() and panel.note.isVisible()


def test_four_mzis_are_pinned_and_the_oldest_makes_room(qtbot: QtBot) -> None:
    model = FakeModel(k=5)
    panel = shown(qtbot, Inspector, model)
    for element in range(5):
        panel.selection.set(side="v", element=element)
        panel.pin()
    assert [place.element for place in panel.pins] == [1, 2, 3, 4]
    panel.pin()
    assert [place.element for place in panel.pins] == [1, 2, 3]
    panel.selection.set(element=None)
    assert [place.element for place in panel.sheet.places] == [1, 2, 3] and panel.sheet.isVisible()


def test_every_imperfection_is_listed_and_they_add_up(qtbot: QtBot, digits: RunModel) -> None:
    panel = shown(qtbot, Inspector, digits)
    panel.selection.set(side="u", element=4)
    text = words(panel.cards[0])
    truth = digits.oracle(panel.selection.layer, 0, "u")
    assert truth is not None
    commanded = digits.phases(panel.selection.layer, 0, "u")["theta"][4]
    actual = truth["actual"]["theta"][4]
    assert f"{commanded:.4f} rad" in text and f"{actual:.4f} rad" in text
    total = sum(float(by["theta"][4]) for by in truth["terms"].values())
    assert abs((total - (actual - commanded) + np.pi) % (2 * np.pi) - np.pi) < 1e-4
    for term, by in truth["terms"].items():
        assert term in text
        if abs(by["theta"][4]) >= 5e-5:
            assert f"{by['theta'][4]:+.4f} rad" in text
    assert "oracle" in text


def test_a_mesh_that_learns_shows_measured_and_true_gradients(qtbot: QtBot, insitu: RunModel) -> None:
    panel = shown(qtbot, Inspector, insitu)
    panel.selection.set(side="", element=3)
    text = words(panel.cards[0])
    assert "dL/dθ, measured" in text and "dL/dφ, oracle" in text


def test_a_recorded_chip_without_an_oracle_stays_useful(qtbot: QtBot) -> None:
    panel = shown(qtbot, Inspector, FakeModel(k=4))
    panel.selection.set(element=1)
    text = words(panel.cards[0])
    assert "no oracle" in text and "commanded" in text and "estimated" in text
    assert inspecting.PINS == 4


# -- distributions -----------------------------------------------------------------------------------------------------


def test_distributions_count_every_phase_and_core(qtbot: QtBot, digits: RunModel) -> None:
    panel = shown(qtbot, Distributions, digits)
    name = list(digits.layers)[-1]
    panel.selection.set(layer=name, block=1)
    layer = digits.layers[name]
    heaters = sum(len(part.columns) for part in layer.parts.values()) * layer.p * layer.q
    assert panel.phases.counts.sum() == heaters
    assert panel.cores.counts.sum() == layer.p * layer.q
    assert panel.weights.counts.sum() == layer.k**2
