"""What each action of the window does, and the menus made of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.errors import L2simError
from l2sim.job.presets import PRESETS

from ..base import files as export
from ..base import theme
from ..base.actions import Keys, Palette
from ..panels.diagnose import PAGES
from . import dialogs

if TYPE_CHECKING:
    from .window import Window

RUN, STEP, MESH, VIEW, EXPORT, EDIT, HELP = "Run", "Step", "Mesh", "View", "Export", "Edit", "Help"
WHY = "Diagnose"
COLOURS = 8


def declare(window: Window) -> None:
    """Add every action. They reach panels when they are triggered, so panels may come later."""
    add, it = window.actions_.add, window
    add("home", RUN, "Start page", "Presets, runs of before", "Ctrl+N", lambda: it.go_home())
    add("job", RUN, "New job…", "Edit a job and start it", "Ctrl+J", lambda: it.edit(it.form.source))
    add("open", RUN, "Open run…", "Open a run folder, live if its job goes on", "Ctrl+O", lambda: _open(it))
    add("session", RUN, "Continue last session", "Open the run that was open last", "", lambda: _session(it))
    add("save", RUN, "Save session", "Keep layout, theme and the open run", "Ctrl+S", lambda: _save(it))
    add("run", RUN, "Run", "Run or pause the job, play or pause a recorded run", "Space", lambda: it.timeline.toggle())
    add("step", RUN, "Step", "One iteration, then pause", ".", lambda: _order(it, "step", n=1))
    add(
        "epoch",
        RUN,
        "Step epoch",
        "To the end of the epoch, then pause",
        "Shift+. >",
        lambda: _order(it, "step", n=1, epoch=True),
    )
    add(
        "checkpoint",
        RUN,
        "Checkpoint now",
        "Ask the job to write a checkpoint",
        "Ctrl+K",
        lambda: _order(it, "checkpoint"),
    )
    add(
        "stop",
        RUN,
        "Stop",
        "Stop the job after a checkpoint; it can be resumed",
        "Shift+Esc",
        lambda: _order(it, "stop"),
    )
    add("kill", RUN, "Kill", "End the job's process at once", "Ctrl+Shift+K", lambda: _kill(it))
    add("resume", RUN, "Resume", "Go on with a run that was stopped or killed", "Ctrl+R", lambda: it.resume())
    add("report", RUN, "Show report", "The run's report.html in the browser", "", lambda: _report(it))
    add("compare", RUN, "Compare with…", "Lay another run over this one", "Ctrl+D", lambda: _compare(it))
    add("alone", RUN, "End comparison", "Show this run alone", "", lambda: it.compare(None))

    add("live", STEP, "Live", "Follow the newest step", "L", lambda: it.selection.set(step=None), toggles=True)
    for name, text, keys, frames in (
        ("back", "Frame back", "Left", -1), ("forth", "Frame forward", "Right", 1),
        ("back10", "Ten frames back", "Shift+Left", -10), ("forth10", "Ten frames forward", "Shift+Right", 10),
        ("first", "First frame", "Home", -(10**9)), ("last", "Last frame", "End", 10**9),
    ):  # fmt: skip
        add(name, STEP, text, text, keys, partial(_move, it, frames))

    add("next", MESH, "Next block", "The next core of the layer", "]", lambda: it.blocks.walk(1))
    add("previous", MESH, "Previous block", "The core before", "[", lambda: it.blocks.walk(-1))
    add("worst", MESH, "Worst block", "The core that is worst by the metric shown", "W", lambda: it.blocks.worst())
    add("layer", MESH, "Next layer", "The next layer of the network", "N", lambda: _layer(it))
    add("side", MESH, "U, sigma or V*", "The next part of the core", "Tab", lambda: _side(it))
    for number in range(COLOURS):
        add(
            f"colour{number + 1}", MESH, f"Colour mode {number + 1}", "What the colours of the mesh mean",
            str(number + 1), partial(_colour, it, number),
        )  # fmt: skip
    add("fit", MESH, "Fit", "The whole mesh in view", "F", lambda: it.mesh.fit())
    add("goto", MESH, "Go to…", "To an MZI by layer, block, column and row", "G", lambda: dialogs.GoTo(it).show())
    add("pin", MESH, "Pin", "Keep what is shown as the reference", "P", lambda: _pin(it))
    add(
        "difference",
        MESH,
        "Difference to the pin",
        "Colour by the difference to the pinned phases or the compared run",
        "D",
        lambda: it.mesh.difference(),
    )

    for page, key in zip(PAGES, "SBMYTH"):
        add(page.only, WHY, page.button, page.what, key, partial(_diagnose, it, page.only))

    add("export", EXPORT, "Export panel…", "A panel as PNG, SVG or CSV", "Ctrl+E", lambda: dialogs.Export(it).show())
    add(
        "state",
        EXPORT,
        "All numbers of this step…",
        "Frames, curves and job as .npz",
        "Ctrl+Shift+E",
        lambda: _state(it),
    )
    add("frames", EXPORT, "A range of steps as pictures…", "Numbered PNG files", "", lambda: dialogs.Frames(it).show())
    add("picture", EXPORT, "The whole window…", "A PNG of the window", "Ctrl+P", lambda: _picture(it))

    undo, redo = "Take back the last parameter change", "Make it again"
    add("undo", EDIT, "Undo", undo, "Ctrl+Z", lambda: it.hardware.stack.undo())
    add("redo", EDIT, "Redo", redo, "Ctrl+Y Ctrl+Shift+Z", lambda: it.hardware.stack.redo())

    add("theme", VIEW, "Light theme", "Dark or light", "Ctrl+T", lambda: _theme(it))
    add("reset", VIEW, "Reset layout", "Every panel back to its place", "", lambda: it.reset_layout())
    add("panel", VIEW, "Next panel", "Move the focus to the next panel", "F6", lambda: _next_panel(it, 1))
    add(
        "panel_back",
        VIEW,
        "Panel before",
        "Move the focus to the panel before",
        "Shift+F6",
        lambda: _next_panel(it, -1),
    )
    add("full", VIEW, "Full screen", "Full screen and back", "F11", lambda: _full(it))

    add("palette", HELP, "Commands…", "Find anything the window can do", "Ctrl+Shift+P", lambda: _palette(it))
    add("keys", HELP, "Keys", "Every key", "F1", lambda: Keys(it, it.actions_).show())
    add("crash", HELP, "Copy last crash report", "For the developers", "", lambda: _copy_crash(it))


def fill_menus(window: Window) -> None:
    """The menu bar: one menu per group; View has the panels too."""
    window.actions_.within("side", window.mesh)
    window.blocks.addAction(window.actions_["side"])
    bar = window.menuBar()
    for group, members in window.actions_.groups().items():
        menu = bar.addMenu(f"&{group}" if group not in (STEP, EXPORT) else {STEP: "S&tep", EXPORT: "E&xport"}[group])
        menu.setAccessibleName(group)
        menu.setToolTipsVisible(True)
        for action in members:
            menu.addAction(action)
        if group == VIEW:
            menu.addSeparator()
            for number, dock in enumerate(window.docks.values(), 1):
                toggle = dock.toggleViewAction()
                toggle.setToolTip(f"Show or hide {dock.windowTitle()}")
                toggle.setShortcut(QtGui.QKeySequence(f"Alt+{number}"))
                menu.addAction(toggle)
    for number, name in enumerate(getattr(window.mesh, "modes", [])[:COLOURS], 1):
        window.actions_[f"colour{number}"].setText(f"Colour: {name}")
        window.actions_[f"colour{number}"].setProperty("accessibleName", f"Colour: {name}")


def offer(window: Window) -> None:
    """The diagnoses where the MZI or block is: a button in their panels, and a menu under the right mouse button."""
    window.inspector.sweep_asked.connect(window.actions_["sweep"].trigger)
    window.blocks.asked.connect(window.actions_["budget"].trigger)
    for widget, choose in ((window.mesh.canvas, _at_mesh), (window.blocks.grids, _at_block)):
        widget.setContextMenuPolicy(QtCore.Qt.ContextMenuPolicy.CustomContextMenu)
        widget.customContextMenuRequested.connect(partial(_menu, window, widget, choose))


def _menu(window: Window, widget: Any, choose: Callable[[Window, Any], None], at: Any) -> None:
    choose(window, QtCore.QPointF(at))
    menu = QtWidgets.QMenu(widget)
    menu.setAttribute(QtCore.Qt.WidgetAttribute.WA_DeleteOnClose)
    menu.addActions([window.actions_[page.only] for page in PAGES])
    menu.popup(widget.mapToGlobal(at))


def _at_mesh(window: Window, at: Any) -> None:
    thing = window.mesh.canvas.thing_at(at)
    if thing is not None:
        window.mesh.canvas.clicked.emit(thing)


def _at_block(window: Window, at: Any) -> None:
    found = window.blocks.grids.core_at(at)
    if found is not None:
        window.selection.set(layer=found[0].layer.name, block=found[1])


# -- what actions do that is more than one call ------------------------------------------------------------------------


def _order(window: Window, command: str, **arguments: Any) -> None:
    if window.model is not None:
        window.model.order(command, **arguments)


def _open(window: Window) -> None:
    chosen = QtWidgets.QFileDialog.getExistingDirectory(window, "Open a run folder", str(window.runs_folder))
    if chosen:
        window.open(chosen)


def _compare(window: Window) -> None:
    chosen = QtWidgets.QFileDialog.getExistingDirectory(window, "Compare with a run folder", str(window.runs_folder))
    if chosen:
        window.compare(chosen)


def _session(window: Window) -> None:
    session = window.kept.text("session")
    if session:
        window.open(session)
    else:
        window.message.say("no session was kept yet; open a run and press Ctrl+S")


def _save(window: Window) -> None:
    window.message.hide()
    window.keep()
    if not window.message.isVisible():
        window.message.say("the session is kept: layout, theme and the open run")


def _kill(window: Window) -> None:
    if window.model is None or not window.model.live:
        return
    asked = QtWidgets.QMessageBox(window)
    asked.setWindowTitle("Kill the job?")
    asked.setText(f"End the process of {window.model.folder.name} at once?")
    asked.setInformativeText("What it recorded stays; going on starts from its last checkpoint. Stop is gentler.")
    button = QtWidgets.QMessageBox.StandardButton
    asked.setStandardButtons(button.Yes | button.Cancel)
    asked.button(button.Yes).setText("Kill")
    asked.accepted.connect(window.kill)
    asked.open()


def _report(window: Window) -> None:
    if window.model is None:
        return
    path = window.model.folder / "report.html"
    if not path.exists():
        window.message.say(
            f"there is no report yet; it is written when the run is done, or by `l2sim report {path.parent}`"
        )
        return
    QtGui.QDesktopServices.openUrl(QtCore.QUrl.fromLocalFile(str(path.resolve())))


def _layer(window: Window) -> None:
    if window.model is not None and window.model.layers:
        names = list(window.model.layers)
        at = names.index(window.selection.layer) if window.selection.layer in names else -1
        _go_layer(window, names[(at + 1) % len(names)])


def _go_layer(window: Window, name: str) -> None:
    assert window.model is not None
    layer = window.model.layers[name]
    side = window.selection.side if window.selection.side in (*layer.parts, "sigma") else next(iter(layer.parts))
    window.selection.set(layer=name, block=0, element=None, side=side)


def _move(window: Window, frames: int) -> None:
    window.timeline.move(frames)


def _colour(window: Window, mode: int) -> None:
    window.mesh.colour(mode)


def _raise(dock: Any) -> None:
    dock.show()
    dock.raise_()


def _diagnose(window: Window, only: str) -> None:
    _raise(window.docks[window.diagnosis.title])
    window.diagnosis.start(only)


def _side(window: Window) -> None:
    layer = window.model.layers.get(window.selection.layer) if window.model else None
    if layer is None or not layer.sigma:
        return
    sides = ["u", "sigma", "v"]
    at = sides.index(window.selection.side) if window.selection.side in sides else -1
    window.selection.set(side=sides[(at + 1) % 3], element=None)


def _pin(window: Window) -> None:
    window.mesh.pin()
    window.inspector.pin()


def _theme(window: Window) -> None:
    window.repaint_theme("light" if theme.now().name == "dark" else "dark")


def _full(window: Window) -> None:
    window.showNormal() if window.isFullScreen() else window.showFullScreen()


def _next_panel(window: Window, step: int) -> None:
    panels = [panel for panel in window.panels if panel.isVisible()]
    if not panels:
        return
    now = window.focused()
    panel = panels[((panels.index(now) if now in panels else -1) + step) % len(panels)]
    reason = QtCore.Qt.FocusReason.TabFocusReason
    inside = [
        w
        for w in panel.findChildren(QtWidgets.QWidget)
        if w.focusPolicy() & QtCore.Qt.FocusPolicy.TabFocus and w.isVisible()
    ]
    (inside[0] if inside else panel).setFocus(reason)


def _palette(window: Window) -> None:
    more: dict[str, Callable[[], Any]] = {f"Start preset: {name}": partial(window.begin, name) for name in PRESETS}
    more |= {f"Show panel: {name}": partial(_raise, dock) for name, dock in window.docks.items()}
    if window.model is not None:
        for name in window.model.layers:
            more[f"Go to layer: {name}"] = partial(_go_layer, window, name)
    Palette(window, window.actions_, more).show()


def _state(window: Window) -> None:
    model = window.model
    if model is None:
        return
    step = window.selection.step
    suggested = f"{model.folder.name}-step-{model.newest if step is None else step}.npz"
    chosen, _ = QtWidgets.QFileDialog.getSaveFileName(window, "All numbers of this step", suggested, "NumPy (*.npz)")
    if chosen:
        tell(window, lambda: export.state(model, step, Path(chosen)))


def _picture(window: Window) -> None:
    chosen, _ = QtWidgets.QFileDialog.getSaveFileName(window, "The whole window", "l2sim.png", "Pictures (*.png)")
    if chosen:
        tell(window, lambda: export.picture(window, Path(chosen)))


def tell(window: Window, write: Any) -> bool:
    """Write a file and say where it is, or why not."""
    try:
        window.message.say(f"written: {write()}")
        return True
    except L2simError as error:
        window.message.say(str(error), bad=True)
        return False


def _copy_crash(window: Window) -> None:
    if window.crashed:
        QtWidgets.QApplication.clipboard().setText(window.crashed)
        window.message.say("the crash report is in the clipboard")
    else:
        window.message.say("nothing has crashed")
