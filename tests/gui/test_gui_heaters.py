"""The heater table: what drives every phase shifter, sorted and chosen by mouse and keys."""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np
from l2sim.gui.base.model import RunModel, Selection, open_run
from l2sim.gui.panels.lab.heaters import HEADS, Heaters
from l2sim.gui.window.window import Window
from pyqtgraph.Qt import QtCore, QtWidgets
from pytestqt.qtbot import QtBot

from l2sim.chip.devices import TABLES
from l2sim.chip.nonidealities import PRESETS
from l2sim.job import job as jobs
from tests.doubles_gui import FakeModel
from tests.gui.test_gui_panels import shown

Qt = QtCore.Qt
COLUMN = {name: i for i, name in enumerate(HEADS)}


class Volts(FakeModel):
    """A fake run on a chip that is driven by voltage, as the silicon preset is."""

    def __init__(self, **sizes: int) -> None:
        super().__init__(**sizes)
        curve = ",".join(str(factor) for factor in PRESETS["silicon"].curve)
        values = ("drive=voltage", "v_max=6.5", "phase_bits=8", f"curve=[{curve}]")
        self.job = jobs.with_overrides(self.job, [f"nonidealities.{value}" for value in values])


def column(panel: Heaters, name: str) -> list[str]:
    return [panel.rows.text(row, COLUMN[name]) for row in range(panel.rows.rowCount())]


def cell(panel: Heaters, row: int, name: str) -> QtCore.QPoint:
    return panel.view.visualRect(panel.rows.index(row, COLUMN[name])).center()


def head(panel: Heaters, name: str) -> QtCore.QPoint:
    header = panel.view.horizontalHeader()
    return QtCore.QPoint(header.sectionViewportPosition(COLUMN[name]) + 8, header.height() // 2)


def panel_of(qtbot: QtBot, model: RunModel | FakeModel, selection: Selection | None = None) -> Heaters:
    return shown(qtbot, Heaters, model, selection, (1100, 400))


def test_every_phase_has_a_row_with_volts_code_milliwatts_and_room(qtbot: QtBot) -> None:
    model = Volts(p=1, q=2, k=4)
    selection = Selection()
    selection.block, selection.newest = 1, model.newest
    panel = panel_of(qtbot, model, selection)
    assert panel.rows.rowCount() == 12
    phases = np.concatenate([model.phases("fc1", 1, side)["theta"] for side in ("u", "v")])
    volts, codes = (np.array(column(panel, name), float) for name in ("volts (V)", "code"))
    np.testing.assert_allclose(volts, codes / 255 * 6.5, atol=6e-4)
    given = PRESETS["silicon"].phase_of(volts)
    assert np.abs(given - phases).max() < 0.08  # half a step of 8 bits near V_max
    np.testing.assert_allclose(volts + np.array(column(panel, "to V_max (V)"), float), 6.5, atol=2e-3)
    power = np.array(column(panel, "power (mW)"), float)
    np.testing.assert_allclose(power, 1e3 * TABLES["thermal"].pi_w * (volts / 4.36) ** 2, rtol=6e-3)
    assert "12 heaters" in panel.said.text() and "at V_max = 6.5 V" in panel.said.text()


def test_a_drive_of_phases_says_that_there_are_no_volts(qtbot: QtBot) -> None:
    panel = panel_of(qtbot, FakeModel(p=1, q=1, k=4))
    assert "no volts" in panel.said.text()
    assert panel.view.isColumnHidden(COLUMN["volts (V)"]) and not panel.view.isColumnHidden(COLUMN["code"])


def test_a_click_on_a_head_sorts_by_numbers_and_the_chosen_row_stays(qtbot: QtBot) -> None:
    model = Volts(p=1, q=2, k=9)
    selection = Selection()
    selection.newest = model.newest
    panel = panel_of(qtbot, model, selection)
    qtbot.mouseClick(panel.view.viewport(), Qt.MouseButton.LeftButton, pos=cell(panel, 5, "MZI"))
    assert (selection.side, selection.element) == ("u", 5)
    for _ in range(2):
        qtbot.mouseClick(panel.view.horizontalHeader().viewport(), Qt.MouseButton.LeftButton, pos=head(panel, "MZI"))
    numbers = [int(text) for text in column(panel, "MZI")]
    assert numbers in (sorted(numbers), sorted(numbers, reverse=True)) and sorted(column(panel, "MZI")) != numbers
    chosen = [panel.rows.heater(index.row()) for index in panel.view.selectionModel().selectedRows()]
    assert [(heater.side, heater.at) for heater in chosen] == [("u", 5)]
    qtbot.mouseClick(panel.view.horizontalHeader().viewport(), Qt.MouseButton.LeftButton, pos=head(panel, "power (mW)"))
    power = [float(text) for text in column(panel, "power (mW)")]
    assert power in (sorted(power), sorted(power, reverse=True))
    selection.set(side="v", element=3)
    row = panel.view.selectionModel().selectedRows()[0].row()
    assert panel.rows.heater(row)[:2] == ("v", 3)


def test_ctrl_c_copies_the_chosen_rows_or_all_for_a_spreadsheet(qtbot: QtBot) -> None:
    panel = panel_of(qtbot, Volts(p=1, q=1, k=4))
    qtbot.keyClick(panel.view, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    lines = QtWidgets.QApplication.clipboard().text().split("\n")
    assert len(lines) == 13 and lines[0].split("\t") == list(HEADS)
    view = panel.view.viewport()
    qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=cell(panel, 1, "MZI"))
    shift = Qt.KeyboardModifier.ShiftModifier
    qtbot.mouseClick(view, Qt.MouseButton.LeftButton, shift, cell(panel, 3, "MZI"))
    qtbot.keyClick(panel.view, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    lines = QtWidgets.QApplication.clipboard().text().split("\n")
    assert [line.split("\t")[1] for line in lines[1:]] == ["1", "2", "3"]


def test_a_whole_mesh_has_rows_for_theta_phi_and_the_screen(qtbot: QtBot) -> None:
    model = FakeModel(mesh=6)
    selection = Selection()
    selection.side, selection.newest = "", model.newest
    panel = panel_of(qtbot, model, selection)
    kinds = column(panel, "phase")
    assert [kinds.count(kind) for kind in ("θ", "φ", "screen")] == [15, 15, 6]
    last = panel.rows.rowCount() - 1
    panel.view.scrollToBottom()
    qtbot.mouseClick(panel.view.viewport(), Qt.MouseButton.LeftButton, pos=cell(panel, last, "MZI"))
    assert selection.element is None  # a shifter of the screen is of no MZI


def test_a_command_that_is_no_number_stands_last_and_says_so(qtbot: QtBot) -> None:
    class Broken(Volts):
        def phases(self, layer: str, block: int, side: str, step: int | None = None) -> dict[str, object]:
            phases = dict(super().phases(layer, block, side, step))
            if side == "u":
                phases["theta"] = np.array(phases["theta"])
                phases["theta"][2] = np.nan
            return phases

    panel = panel_of(qtbot, Broken(p=1, q=1, k=4))
    for _ in range(2):
        qtbot.mouseClick(
            panel.view.horizontalHeader().viewport(), Qt.MouseButton.LeftButton, pos=head(panel, "commanded (rad)")
        )
        assert column(panel, "commanded (rad)")[-1] == "no number"


def test_inspector_and_table_tell_the_same_of_a_real_run(opened: Window, digits_run: Path, qtbot: QtBot) -> None:
    model = open_run(digits_run)
    opened.docks["Heaters"].raise_()
    opened.selection.set(layer=next(iter(model.layers)), block=0, side="u", element=2)
    opened.tick(everything=True)
    row = next(r for r in range(opened.heaters.rows.rowCount()) if opened.heaters._mzi(r) == ("u", 2))
    read = {name: opened.heaters.rows.text(row, i) for name, i in COLUMN.items()}
    text = html.unescape(re.sub(r"<[^>]*>", " ", opened.inspector.cards[0].body.text()))
    assert f"{read['commanded (rad)']} rad" in text and f"code {read['code']} of 255" in text
    assert f"{read['power (mW)']} mW" in text and "no volts: the drive is one of phases" in text
    assert 0.0 <= float(read["commanded (rad)"]) < 6.2832
    model.close()
