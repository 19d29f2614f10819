"""From a run in which one thing is wrong to that thing, in three clicks at most, and by what is shown alone."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from l2sim.gui.base import links
from l2sim.gui.base.model import BROKEN, Selection, open_run
from l2sim.gui.mesh.geometry import TITLES
from l2sim.gui.panels.health import COLUMNS, Health
from l2sim.gui.window.first import examples
from l2sim.gui.window.window import Window
from pyqtgraph.Qt import QtCore, QtWidgets
from pytestqt.qtbot import QtBot

from l2sim.chip.nonidealities import Nonidealities
from l2sim.inspect.bench import Heater
from l2sim.inspect.health import at_v_max
from l2sim.store.follow import Replay
from tests import troubled
from tests.tolerances import PATIENCE

Button, Key, Modifier = QtCore.Qt.MouseButton, QtCore.Qt.Key, QtCore.Qt.KeyboardModifier
HEADS = [column.head for column in COLUMNS]


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, int, Heater]]:
    """The run that is kept with one dead heater among 400 cores, and where it is; nobody writes to it."""
    return troubled.kept("one-dead-heater", tmp_path_factory.mktemp("runs") / "dead-1"), troubled.DEAD


@pytest.fixture(scope="module")
def dead_anew(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, int, Heater]]:
    """Another such chip, of which nobody knew when the test was written."""
    folder = tmp_path_factory.mktemp("runs") / "dead-2"
    return folder, troubled.one_dead_heater(folder, first=50)


@pytest.fixture(scope="module")
def dead_example() -> tuple[Path, tuple[str, int, Heater]]:
    """The run of the start page, whose search was too short to betray the heater: its readings are bad."""
    return examples.unpack("broken-heater"), ("fc1", 2, Heater("u", "theta", 26))


@pytest.fixture(scope="module", params=("kept", "made anew"))
def diverged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "diverged-1"
    return troubled.kept("divergence", folder) if request.param == "kept" else troubled.divergence(folder)


def shown(panel: Health, qtbot: QtBot) -> list[tuple[str, ...]]:
    """What the table says once the panel has looked at everything."""
    qtbot.waitUntil(lambda: "Looking on" not in panel.said.text() and "…" not in panel.said.text(), timeout=PATIENCE)
    cells = panel.view.model()
    return [
        tuple(cells.data(cells.index(row, column)) for column in range(cells.columnCount()))
        for row in range(cells.rowCount())
    ]


def click(panel: Health, row: int, qtbot: QtBot) -> None:
    """A real click on a row of the table."""
    place = panel.view.visualRect(panel.view.model().index(row, 0)).center()
    qtbot.mouseClick(panel.view.viewport(), Button.LeftButton, pos=place)


def to_health(window: Window, qtbot: QtBot) -> Health:
    """A real click on the tab of the panel."""
    bar = next(
        bar for bar in window.inner.findChildren(QtWidgets.QTabBar)
        if "Health" in [bar.tabText(i) for i in range(bar.count())]
    )  # fmt: skip
    at = [bar.tabText(i) for i in range(bar.count())].index("Health")
    qtbot.mouseClick(bar, Button.LeftButton, pos=bar.tabRect(at).center())
    qtbot.waitUntil(window.health.isVisible, timeout=PATIENCE)
    window.tick(everything=True)
    return window.health


@pytest.mark.parametrize("run", ("dead", "dead_anew", "dead_example"))
@pytest.mark.parametrize("lab", (False, True), ids=("all", "lab eyes"))
def test_two_clicks_lead_to_the_dead_heater(
    window: Window, qtbot: QtBot, request: pytest.FixtureRequest, run: str, lab: bool
) -> None:
    folder, (layer, core, heater) = request.getfixturevalue(run)
    assert window.open(folder)
    if lab:
        qtbot.keyClick(window, QtCore.Qt.Key.Key_L, QtCore.Qt.KeyboardModifier.ControlModifier)
    assert window.lab_eyes == window.model.lab_eyes == lab
    panel = to_health(window, qtbot)
    rows = shown(panel, qtbot)
    where = layer, str(core), f"{TITLES[heater.part]} {heater.number}"
    assert rows[0][:4] == ("does not answer", *where) and rows[0][6] == "measured"
    assert ("dead" in {row[0] for row in rows}) != lab and ("oracle" in {row[6] for row in rows}) != lab
    qtbot.keyClick(panel.view, QtCore.Qt.Key.Key_C, QtCore.Qt.KeyboardModifier.ControlModifier)
    copied = [line.split("\t") for line in QtWidgets.QApplication.clipboard().text().split("\n")]
    assert copied[0][:4] == ["what", "layer", "block", "MZI"] and tuple(copied[1][:4]) == rows[0][:4]
    click(panel, 0, qtbot)
    here = window.selection
    assert (here.layer, here.block, here.side, here.element) == (layer, core, heater.part, heater.number)
    assert here.step is None  # it is so now: the newest step is still followed
    window.tick()
    labels = window.inspector.findChildren(QtWidgets.QLabel)
    assert any(f"{layer} block {core} {TITLES[heater.part]} · MZI {heater.number}" in label.text() for label in labels)


def test_a_search_betrays_the_heater_that_does_not_answer(dead: tuple[Path, tuple[str, int, Heater]]) -> None:
    folder, (layer, core, heater) = dead
    rows, whole = open_run(folder).health.look()
    led = [row for row in rows if row.what == "never settles"]
    assert whole and [(row.layer, row.block, row.side, row.number) for row in led] == [(layer, core, *heater[::2])]
    assert led[0].badge == "commanded"


def test_broken_heaters_are_a_metric_of_an_oracle(dead: tuple[Path, tuple[str, int, Heater]]) -> None:
    folder, (layer, core, _) = dead
    model = open_run(folder)
    counts = model.metric(layer, BROKEN)
    assert counts is not None and counts.sum() == 1 and counts.reshape(-1)[core] == 1
    assert model.badge[BROKEN] == "oracle"


def test_one_click_leads_to_where_it_diverged(window: Window, qtbot: QtBot, diverged: Path) -> None:
    assert window.open(diverged)
    assert "failed at step" in window.message.text.text() and "over 100 times" in window.message.text.text()
    panel = to_health(window, qtbot)
    rows = shown(panel, qtbot)
    assert rows[0][0] == "explodes" and "learn: loss" in rows[0][7] and "over 100 times" in rows[0][7]
    click(panel, 0, qtbot)
    assert window.selection.step == int(rows[0][5])


@pytest.mark.parametrize(
    ("name", "share", "trusted"),
    [
        ("", troubled.SHARE, "phases up to step "), ("phase-0000.bin", 0.6, "phases up to step "),
        ("scalars.bin", 0.5, "scalars up to step "),
    ],
    ids=("kept", "phases", "scalars"),
)  # fmt: skip
def test_a_log_that_is_cut_is_said_with_what_can_be_trusted(
    window: Window, qtbot: QtBot, digits_run: Path, tmp_path: Path, name: str, share: float, trusted: str
) -> None:
    folder = tmp_path / "runs" / "cut-1"
    if name:
        troubled.cut(Path(shutil.copytree(digits_run, folder)), name, share)
    else:
        troubled.kept("damaged-log", folder)
    name = name or "phase-0000.bin"
    assert window.open(folder)
    window.tick(everything=True)
    assert name in window.message.text.text() and trusted in window.message.text.text()
    assert window.message.offers == ["Show health"]
    button = window.message.findChild(QtWidgets.QPushButton)
    qtbot.mouseClick(button, Button.LeftButton)
    window.tick(everything=True)
    assert window.health.isVisible()
    row = shown(window.health, qtbot)[0]
    step = int(row[5])
    assert row[0] == "damaged log" and f"{trusted}{step}" in row[7] and 0 < step < window.model.newest + (share > 0.5)
    click(window.health, 0, qtbot)
    assert window.selection.step == step


def test_a_frame_that_nobody_looked_at_is_compared_with_its_checksum(digits_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(digits_run, tmp_path / "flipped-1"))
    content = bytearray((folder / "phase-0000.bin").read_bytes())
    content[len(content) // 3] ^= 0xFF
    (folder / "phase-0000.bin").write_bytes(bytes(content))
    replay = Replay(folder)
    assert replay.damage == [] and replay.verify(len(content))
    (damage,) = replay.damage
    assert damage.log == "phases" and len(content) / 2 < damage.size < len(content)
    assert max(int(replay.steps(name)[-1]) for name in replay.frame_series if replay.steps(name).size) == damage.step


def test_a_whole_run_and_the_torn_end_of_a_killed_one_are_no_damage(digits_run: Path, tmp_path: Path) -> None:
    assert Replay(digits_run).damage == [] and not Replay(digits_run).verify(1 << 30)
    folder = Path(shutil.copytree(digits_run, tmp_path / "killed-1"))
    manifest = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(manifest.replace('"done"', '"running"'))
    with open(folder / "scalars.bin", "ab") as file:
        file.write(bytes(7))
    assert Replay(folder).state == "killed" and Replay(folder).damage == []


def test_heads_sort_the_rows(window: Window, qtbot: QtBot, dead: tuple[Path, tuple[str, int, Heater]]) -> None:
    assert window.open(dead[0])
    panel = to_health(window, qtbot)
    rows, head = shown(panel, qtbot), panel.view.horizontalHeader()
    at = QtCore.QPoint(head.sectionViewportPosition(2) + 8, head.height() // 2)
    for falling in (False, True):
        qtbot.mouseClick(head.viewport(), Button.LeftButton, pos=at)
        blocks = [int(row[2] or -1) for row in shown(panel, qtbot)]
        assert blocks == sorted((int(row[2] or -1) for row in rows), reverse=falling)


def test_a_key_shows_the_panel(opened: Window, qtbot: QtBot) -> None:
    assert not opened.health.isVisible() or opened.health.visibleRegion().isEmpty()
    qtbot.keyClick(opened, Key.Key_H, Modifier.ControlModifier)
    qtbot.waitUntil(lambda: not opened.health.visibleRegion().isEmpty(), timeout=PATIENCE)


def test_heaters_that_do_not_answer_stay_while_it_looks_on(dead_example: tuple[Path, tuple[str, int, Heater]]) -> None:
    model = open_run(dead_example[0])
    mute = [row for row in model.health.look()[0] if row.what == "does not answer"]
    assert len(mute) == 1
    earlier, whole = model.health.look(model.newest - 3, seconds=0.0)
    assert not whole and [row for row in earlier if row.what == "does not answer"] == mute


def test_a_second_look_takes_no_time(dead: tuple[Path, tuple[str, int, Heater]]) -> None:
    model = open_run(dead[0])
    model.health.look()
    begun = time.thread_time()
    model.health.look()
    assert time.thread_time() - begun < 0.05


def test_a_look_stops_when_its_time_is_over_and_goes_on(dead: tuple[Path, tuple[str, int, Heater]]) -> None:
    model = open_run(dead[0])
    assert model.health.look(seconds=0.0) == ([], False)
    rows, whole = model.health.look()
    assert whole and rows


# --------------------------------------------------------------------------------------------------- links


def test_every_mzi_that_is_named_is_a_link(qtbot: QtBot) -> None:
    here, label = Selection(), QtWidgets.QLabel()
    qtbot.addWidget(label)
    links.follow(label, here)
    label.setText(links.linked("U MZI 3 (column 1, rails 0 and 1) and V* MZI 12 do not answer", "a.fc1", 7))
    label.show()
    assert label.text().count("<a href") == 2
    qtbot.mouseClick(label, Button.LeftButton, pos=QtCore.QPoint(12, label.height() // 2))
    assert (here.layer, here.block, here.side, here.element) == ("a.fc1", 7, "u", 3)
    assert 'href="mzi:m1/0//5"' in links.linked("largest: θ of MZI 5", "m1", 0)


def test_the_mesh_names_its_broken_heater_as_a_link(
    window: Window, qtbot: QtBot, dead: tuple[Path, tuple[str, int, Heater]]
) -> None:
    folder, (layer, core, heater) = dead
    assert window.open(folder)
    window.selection.set(layer=layer, block=core)
    window.tick(everything=True)
    where = links.address(layer, core, heater.part, heater.number)
    assert f'<a href="{where}">' in window.mesh.said.text()
    end = window.mesh.said.fontMetrics().horizontalAdvance("One heater does not obey: U MZI")
    qtbot.mouseClick(window.mesh.said, Button.LeftButton, pos=QtCore.QPoint(10 + end, window.mesh.said.height() // 2))
    assert window.selection.element == heater.number


# ------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("curve", ((), (0.0, 0.0, -0.03, 0.0, 0.0)))
def test_heaters_at_v_max_are_those_whose_code_is_the_last(curve: tuple[float, ...]) -> None:
    more = {"curve": curve} if curve else {}
    imperfect = Nonidealities(drive="voltage", v_max=5.0, phase_bits=6, **more)
    phases = np.linspace(-9.0, 9.0, 5001)
    codes, last = imperfect.codes(phases)
    assert (codes == last).any() and (at_v_max(phases, imperfect) == (codes == last)).all()
