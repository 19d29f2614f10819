"""Panels of others: registered from outside they are panels like those of the window, and their mistakes are theirs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from l2sim.gui.base.panel import Panel
from l2sim.gui.panels import registry
from l2sim.gui.window import app as command
from l2sim.gui.window import dialogs
from l2sim.gui.window.docktitle import DockTitle
from l2sim.gui.window.window import Window
from pyqtgraph.Qt import QtCore, QtWidgets
from pytestqt.qtbot import QtBot

from l2sim import plugins
from l2sim.errors import PluginError
from tests.places import EXAMPLES
from tests.tolerances import PATIENCE

Key, Button = QtCore.Qt.Key, QtCore.Qt.MouseButton
OWN = EXAMPLES / "own_panel.py"
HEAD = "from l2sim.gui.base.panel import Panel\nfrom l2sim.gui.panels.registry import register\n"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers and imports ends with it."""
    known = dict(registry.PANELS.known)
    monkeypatch.setattr(plugins, "_imported", {})
    monkeypatch.delenv(plugins.VARIABLE, raising=False)
    yield
    registry.PANELS.known.clear()
    registry.PANELS.known.update(known)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, make_window: Callable[[], Window], digits_run: Path) -> Window:
    """A window with the panel of the example, named by L2SIM_IMPORT, and a run."""
    monkeypatch.setenv(plugins.VARIABLE, str(OWN))
    window = make_window()
    assert window.open(digits_run)
    window.tick(everything=True)
    return window


def click_tab(window: Window, qtbot: QtBot, title: str) -> None:
    """Click the tab where a person sees it: Qt 6 keeps bars of a layout of before behind the one on show."""
    for bar in window.inner.findChildren(QtWidgets.QTabBar):
        for i in range(bar.count()):
            if bar.tabText(i) == title and bar.isVisible():
                bar.setUsesScrollButtons(False)
                at = bar.tabRect(i).center()
                if window.childAt(bar.mapTo(window, at)) is not bar:
                    continue
                qtbot.mouseClick(bar, Button.LeftButton, pos=at)
                window.tick(everything=True)
                return
    raise AssertionError(f"no tab {title}")


def panel_of(window: Window, title: str) -> Panel:
    return next(panel for panel in window.panels if panel.title == title)


def test_the_example_has_a_tab_that_is_clicked_and_read(own: Window, qtbot: QtBot) -> None:
    panel = panel_of(own, "Movers")
    assert panel.text.text() == "No run is open.", "it is not refreshed while its tab is behind another"
    click_tab(own, qtbot, "Movers")
    text = panel.text.text()
    assert text.startswith(f"{panel.shown_stage}, up to step {panel.shown_step:,}") and text.count("<br>") <= 10
    own.show_step(next(stage.last_step for stage in own.model.stages if stage.name == "calibrate"))
    assert panel.text.text().startswith("calibrate, up to step") and "MZI" in panel.text.text()
    moved = [mover[0] for mover in panel.movers]
    assert moved == sorted(moved, reverse=True) and len(moved) == 10
    _, layer, block, side, _, element = panel.movers[3]
    address = panel.text.text().split("href='")[4].partition("'")[0]
    panel.text.linkActivated.emit(address)
    here = own.selection
    assert (here.layer, here.block, here.side, here.element) == (layer, block, side, element)


def test_it_is_a_panel_like_those_of_the_window(own: Window, qtbot: QtBot, tmp_path: Path) -> None:
    click_tab(own, qtbot, "Movers")
    dock = own.docks["Movers"]
    toggle = dock.toggleViewAction()
    view = next(menu for menu in own.menuBar().findChildren(QtWidgets.QMenu) if menu.accessibleName() == "View")
    assert toggle in view.actions()
    toggle.trigger()
    assert dock.isHidden()
    toggle.trigger()
    assert not dock.isHidden()
    qtbot.mouseClick(dock.findChild(DockTitle).ask, Button.LeftButton)
    asked = own.findChild(QtWidgets.QDialog)
    words = [label.text() for label in asked.findChildren(QtWidgets.QLabel)]
    assert panel_of(own, "Movers").what in words and not any("desktop.md" in word for word in words)
    asked.accept()
    qtbot.keyClick(own, Key.Key_E, QtCore.Qt.KeyboardModifier.ControlModifier)
    dialog = own.findChild(dialogs.Export)
    dialog.panel.setCurrentText("Movers")
    dialog.kind.setCurrentText("table (.csv)")
    dialog.path.put(str(tmp_path / "movers.csv"))
    qtbot.mouseClick(dialog.do, Button.LeftButton)
    assert (tmp_path / "movers.csv").read_text().startswith("moved (rad),layer,block,part,phase,MZI\n")


def test_its_place_is_kept_and_a_layout_of_before_gives_it_a_tab(
    monkeypatch: pytest.MonkeyPatch, make_window: Callable[[], Window], qtbot: QtBot, digits_run: Path
) -> None:
    first = make_window()
    first.open(digits_run)
    first.keep()
    first.close()
    monkeypatch.setenv(plugins.VARIABLE, str(OWN))
    second = make_window()
    second.open(digits_run)
    assert second.docks["Movers"] in second.inner.tabifiedDockWidgets(second.docks["Curves"])
    click_tab(second, qtbot, "Movers")
    assert panel_of(second, "Movers").text.text() != "No run is open."
    second.inner.addDockWidget(QtCore.Qt.DockWidgetArea.RightDockWidgetArea, second.docks["Movers"])
    second.keep()
    second.close()
    third = make_window()
    right = QtCore.Qt.DockWidgetArea.RightDockWidgetArea
    assert third.inner.dockWidgetArea(third.docks["Movers"]) == right
    qtbot.keyClick(third, Key.Key_F1)  # and the window answers


def test_it_is_refreshed_only_while_it_is_seen(own: Window, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    panel, asked = panel_of(own, "Movers"), list[set[str]]()
    click_tab(own, qtbot, "Curves")
    monkeypatch.setattr(panel, "refresh", asked.append)
    own.show_step(3)
    assert asked == []
    click_tab(own, qtbot, "Movers")
    assert len(asked) == 1 and "step" in asked[0]


def test_one_that_raises_does_not_take_the_window_down(
    monkeypatch: pytest.MonkeyPatch, make_window: Callable[[], Window], qtbot: QtBot, digits_run: Path
) -> None:
    class Broken(Panel):
        def show_run(self, *models: object) -> None:
            raise RuntimeError("of show_run")

        def refresh(self, changed: set[str]) -> None:
            raise RuntimeError("of refresh")

    registry.register("Broken", Broken)
    window = make_window()
    assert window.open(digits_run)
    assert "of show_run" in window.crashed
    click_tab(window, qtbot, "Broken")
    assert "of refresh" in window.crashed and "the job is not touched" in window.message.text.text()
    click_tab(window, qtbot, "Health")
    window.show_step(3)
    assert window.strip.model is window.model and window.health.model is window.model
    window.crashed = ""


def test_a_side_of_its_own_and_what_is_refused(make_window: Callable[[], Window]) -> None:
    class Lone(Panel):
        pass

    registry.register("Lone", Lone, side="right")
    for title, panel, more, words in (
        ("Curves", Lone, {}, "there is a panel 'Curves' already"),
        ("Lone", Lone, {}, "there is a panel 'Lone' already"),
        ("New", Lone, {"side": "above"}, "has the side 'above'; use one of left, right, below"),
        ("New", Lone, {"behind": "Nothing"}, "behind 'Nothing'; use one of Blocks"),
        ("New", 3, {}, "give a class, or its place as 'MODULE:CLASS'"),
    ):
        with pytest.raises(PluginError, match=words):
            registry.register(title, panel, **more)
    window = make_window()
    docks = window.docks
    assert window.inner.dockWidgetArea(docks["Lone"]) == window.inner.dockWidgetArea(docks["Hardware"])
    assert docks["Lone"] not in window.inner.tabifiedDockWidgets(docks["Hardware"])


@pytest.mark.parametrize(
    "text, words",
    (
        ("import no_such_package", "cannot be imported: ModuleNotFoundError: No module named 'no_such_package'"),
        (HEAD + "register('Curves', Panel)", "there is a panel 'Curves' already"),
        (HEAD + "register('Mine', dict)", "panel 'Mine' cannot be made: <class 'dict'> is no class of l2sim.gui"),
        (HEAD + "register('Mine', 'no_such_module:Mine')", "panel 'Mine' cannot be made: ModuleNotFoundError"),
        (HEAD + "register('Mine', 'json:Mine')", "panel 'Mine' cannot be made: AttributeError"),
        (HEAD + "class Mine(Panel):\n  def __init__(self, s):\n    1 / 0\nregister('Mine', Mine)", "ZeroDivisionError"),
    ),
)
@pytest.mark.parametrize("way", ("--import", plugins.VARIABLE))
def test_mistakes_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], digits_run: Path, text: str,
    words: str, way: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file, more = tmp_path / "mine.py", []
    file.write_text(text)
    monkeypatch.setenv(plugins.VARIABLE, "")
    if way == "--import":
        more = ["--import", str(file)]
    else:
        monkeypatch.setenv(plugins.VARIABLE, str(file))
    with pytest.raises(SystemExit) as end:
        command.main([str(digits_run), "--screenshot", str(tmp_path / "w.png"), *more])
    [line] = capsys.readouterr().err.strip().splitlines()
    assert end.value.code == 2 and line.startswith("l2sim-gui: error: ") and words in line


def test_a_window_with_it_opens_from_the_command(tmp_path: Path, digits_run: Path) -> None:
    code = "import sys; from l2sim.gui.window.app import main; main(sys.argv[1:])"
    more = ["--import", str(OWN), "--screenshot", str(tmp_path / "w.png")]
    around = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(digits_run), *more], env=around, capture_output=True, text=True,
        timeout=PATIENCE / 1000,
    )  # fmt: skip
    assert done.returncode == 0 and (tmp_path / "w.png").stat().st_size > 10_000, done.stderr


def test_a_file_that_adds_a_panel_and_a_layout_serves_runs_without_qt(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "own_movers.py", tmp_path)
    (tmp_path / "parts.py").write_text(OWN.read_text() + (EXAMPLES / "own_layout.py").read_text())
    code = (
        "import sys\nfor name in ('pyqtgraph', 'PyQt5', 'PySide6'): sys.modules[name] = None\n"
        "from l2sim.cli.main import main\nmain()\n"
    )
    around = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    order = ["run", "insitu-digits", "--smoke", "--import", "parts.py", "--set", "insitu.mesh=half", "--out", "made"]
    done = subprocess.run(
        [sys.executable, "-c", code, *order], env=around, cwd=tmp_path, capture_output=True, text=True,
        timeout=PATIENCE / 1000,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made" / "report.json").exists()
