"""What each action of the window does, and the menus made of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.errors import L2simError
from l2sim.job.presets import PRESETS

from ..base import files as export
from ..base import theme
from ..base.actions import Keys, Palette
from ..mesh.values import MODES
from ..panels.diagnosis.panel import PAGES
from . import dialogs
from .desk import Desk
from .docktitle import explain

RUN, STEP, MESH, VIEW, EXPORT, EDIT, HELP = "Run", "Step", "Mesh", "View", "Export", "Edit", "Help"
WHY = "Diagnose"


class Command(NamedTuple):
    """An action before there is a window: `do` is done on the desk; `keys` as for `Actions.add`."""

    name: str
    group: str
    text: str
    tip: str
    keys: str
    do: Callable[[Desk], object]
    toggles: bool = False


def fill_menus(desk: Desk) -> None:
    """The menu bar: one menu per group; View has the panels too."""
    desk.actions_.within("side", desk.mesh)
    desk.blocks.addAction(desk.actions_["side"])
    bar = desk.menuBar()
    for group, members in desk.actions_.groups().items():
        menu = bar.addMenu(f"&{group}" if group not in (STEP, EXPORT) else {STEP: "S&tep", EXPORT: "E&xport"}[group])
        menu.setAccessibleName(group)
        menu.setToolTipsVisible(True)
        for action in members:
            menu.addAction(action)
        if group == VIEW:
            menu.addSeparator()
            for number, dock in enumerate(desk.docks.values(), 1):
                toggle = dock.toggleViewAction()
                toggle.setToolTip(f"Show or hide {dock.windowTitle()}")
                if number <= 10:  # there are no more digits
                    toggle.setShortcut(QtGui.QKeySequence(f"Alt+{number % 10}"))
                menu.addAction(toggle)


def offer(desk: Desk) -> None:
    """The diagnoses where the MZI or block is: a button in their panels, and a menu under the right mouse button."""
    desk.inspector.sweep_asked.connect(desk.actions_["sweep"].trigger)
    desk.blocks.asked.connect(desk.actions_["budget"].trigger)
    desk.health.asked.connect(desk.actions_["every_heater"].trigger)
    for widget, choose in ((desk.mesh.canvas, _at_mesh), (desk.blocks.grids, _at_block)):
        widget.setContextMenuPolicy(QtCore.Qt.ContextMenuPolicy.CustomContextMenu)
        widget.customContextMenuRequested.connect(partial(_menu, desk, widget, choose))


def _menu(
    desk: Desk, widget: QtWidgets.QWidget, choose: Callable[[Desk, QtCore.QPointF], None], at: QtCore.QPoint
) -> None:
    choose(desk, QtCore.QPointF(at))
    menu = QtWidgets.QMenu(widget)
    menu.setAttribute(QtCore.Qt.WidgetAttribute.WA_DeleteOnClose)
    menu.addActions([desk.actions_[page.only] for page in PAGES])
    menu.popup(widget.mapToGlobal(at))


def _at_mesh(desk: Desk, at: QtCore.QPointF) -> None:
    thing = desk.mesh.canvas.thing_at(at)
    if thing is not None:
        desk.mesh.canvas.clicked.emit(thing)


def _at_block(desk: Desk, at: QtCore.QPointF) -> None:
    core = desk.blocks.grids.core_at(at)
    if core is not None:
        desk.selection.set(layer=core[0].layer.name, block=core[1])


# -- what actions do that is more than one call ------------------------------------------------------------------------


def _order(desk: Desk, command: str, **arguments: object) -> None:
    if desk.model is not None:
        desk.model.order(command, **arguments)


def _open(desk: Desk) -> None:
    chosen = QtWidgets.QFileDialog.getExistingDirectory(desk, "Open a run folder", str(desk.runs_folder))
    if chosen:
        desk.open(chosen)


def _compare(desk: Desk) -> None:
    chosen = QtWidgets.QFileDialog.getExistingDirectory(desk, "Compare with a run folder", str(desk.runs_folder))
    if chosen:
        desk.compare(chosen)


def _session(desk: Desk) -> None:
    session = desk.kept.text("session")
    if session:
        desk.open(session)
    else:
        desk.message.say("no session was kept yet; open a run and press Ctrl+S")


def _save(desk: Desk) -> None:
    desk.message.hide()
    desk.keep()
    if not desk.message.isVisible():
        desk.message.say("the session is kept: layout, theme and the open run")


def _kill(desk: Desk) -> None:
    if desk.model is None or not desk.model.live:
        return
    asked = QtWidgets.QMessageBox(desk)
    asked.setWindowTitle("Kill the job?")
    asked.setText(f"End the process of {desk.model.folder.name} at once?")
    asked.setInformativeText("What it recorded stays; going on starts from its last checkpoint. Stop is gentler.")
    button = QtWidgets.QMessageBox.StandardButton
    asked.setStandardButtons(button.Yes | button.Cancel)
    asked.button(button.Yes).setText("Kill")
    asked.accepted.connect(desk.kill)
    asked.open()


def _report(desk: Desk) -> None:
    if desk.model is None:
        return
    path = desk.model.folder / "report.html"
    if not path.exists():
        desk.message.say(
            f"there is no report yet; it is written when the run is done, or by `l2sim report {path.parent}`"
        )
        return
    QtGui.QDesktopServices.openUrl(QtCore.QUrl.fromLocalFile(str(path.resolve())))


def _layer(desk: Desk) -> None:
    if desk.model is not None and desk.model.layers:
        names = list(desk.model.layers)
        at = names.index(desk.selection.layer) if desk.selection.layer in names else -1
        _go_layer(desk, names[(at + 1) % len(names)])


def _go_layer(desk: Desk, name: str) -> None:
    assert desk.model is not None
    layer = desk.model.layers[name]
    side = desk.selection.side if desk.selection.side in (*layer.parts, "sigma") else next(iter(layer.parts))
    desk.selection.set(layer=name, block=0, element=None, side=side)


def _move(desk: Desk, frames: int) -> None:
    desk.timeline.move(frames)


def _colour(desk: Desk, mode: int) -> None:
    desk.mesh.colour(mode)


def _raise(dock: QtWidgets.QDockWidget) -> None:
    dock.show()
    dock.raise_()


def _diagnose(desk: Desk, only: str) -> None:
    _raise(desk.docks[desk.diagnosis.title])
    desk.diagnosis.ask(only)


def _side(desk: Desk) -> None:
    layer = desk.model.layers.get(desk.selection.layer) if desk.model else None
    if layer is None or not layer.sigma:
        return
    sides = ["u", "sigma", "v"]
    at = sides.index(desk.selection.side) if desk.selection.side in sides else -1
    desk.selection.set(side=sides[(at + 1) % 3], element=None)


def _pin(desk: Desk) -> None:
    desk.mesh.pin()
    desk.inspector.pin()


def _theme(desk: Desk) -> None:
    desk.repaint_theme("light" if theme.now().name == "dark" else "dark")


def _full(desk: Desk) -> None:
    desk.showNormal() if desk.isFullScreen() else desk.showFullScreen()


def _next_panel(desk: Desk, step: int) -> None:
    panels = [panel for panel in desk.panels if panel.isVisible()]
    if not panels:
        return
    now = desk.focused()
    panel = panels[((panels.index(now) if now in panels else -1) + step) % len(panels)]
    reason = QtCore.Qt.FocusReason.TabFocusReason
    inside = [
        w
        for w in panel.findChildren(QtWidgets.QWidget)
        if w.focusPolicy() & QtCore.Qt.FocusPolicy.TabFocus and w.isVisible()
    ]
    (inside[0] if inside else panel).setFocus(reason)


def _palette(desk: Desk) -> None:
    more: dict[str, Callable[[], object]] = {f"Start preset: {name}": partial(desk.begin, name) for name in PRESETS}
    more |= {f"Show panel: {name}": partial(_raise, dock) for name, dock in desk.docks.items()}
    if desk.model is not None:
        for name in desk.model.layers:
            more[f"Go to layer: {name}"] = partial(_go_layer, desk, name)
    Palette(desk, desk.actions_, more).show()


def _state(desk: Desk) -> None:
    model = desk.model
    if model is None:
        return
    step = desk.selection.step
    suggested = f"{model.folder.name}-step-{model.newest if step is None else step}.npz"
    chosen, _ = QtWidgets.QFileDialog.getSaveFileName(desk, "All numbers of this step", suggested, "NumPy (*.npz)")
    if chosen:
        tell(desk, lambda: export.state(model, step, Path(chosen)))


def _picture(desk: Desk) -> None:
    chosen, _ = QtWidgets.QFileDialog.getSaveFileName(desk, "The whole window", "l2sim.png", "Pictures (*.png)")
    if chosen:
        tell(desk, lambda: export.picture(desk, Path(chosen)))


def tell(desk: Desk, write: Callable[[], object]) -> bool:
    """Write a file and say where it is, or why not."""
    try:
        desk.message.say(f"written: {write()}")
        return True
    except L2simError as error:
        desk.message.say(str(error), bad=True)
        return False


def _copy_crash(desk: Desk) -> None:
    if desk.crashed:
        QtWidgets.QApplication.clipboard().setText(desk.crashed)
        desk.message.say("the crash report is in the clipboard")
    else:
        desk.message.say("nothing has crashed")


COMMANDS = (
    Command("home", RUN, "Start page", "Presets, runs of before", "Ctrl+N", Desk.go_home),
    Command("job", RUN, "New job…", "Edit a job and start it", "Ctrl+J", lambda desk: desk.edit(desk.form.source)),
    Command("open", RUN, "Open run…", "Open a run folder, live if its job goes on", "Ctrl+O", _open),
    Command("session", RUN, "Continue last session", "Open the run that was open last", "", _session),
    Command("save", RUN, "Save session", "Keep layout, theme and the open run", "Ctrl+S", _save),
    Command(
        "run", RUN, "Run", "Run or pause the job, play or pause a recorded run", "Space",
        lambda desk: desk.timeline.toggle(),
    ),
    Command("step", RUN, "Step", "One iteration, then pause", ".", lambda desk: _order(desk, "step", n=1)),
    Command(
        "epoch", RUN, "Step epoch", "To the end of the epoch, then pause", "Shift+.",
        lambda desk: _order(desk, "step", n=1, epoch=True),
    ),
    Command(
        "checkpoint", RUN, "Checkpoint now", "Ask the job to write a checkpoint", "Ctrl+K",
        lambda desk: _order(desk, "checkpoint"),
    ),
    Command(
        "stop", RUN, "Stop", "Stop the job after a checkpoint; it can be resumed", "Shift+Esc",
        lambda desk: _order(desk, "stop"),
    ),
    Command("kill", RUN, "Kill", "End the job's process at once", "Ctrl+Shift+K", _kill),
    Command("resume", RUN, "Resume", "Go on with a run that was stopped or killed", "Ctrl+R", Desk.resume),
    Command("report", RUN, "Show report", "The run's report.html in the browser", "", _report),
    Command("compare", RUN, "Compare with…", "Lay another run over this one", "Ctrl+D", _compare),
    Command("alone", RUN, "End comparison", "Show this run alone", "", lambda desk: desk.compare(None)),
    Command("live", STEP, "Live", "Follow the newest step", "L", lambda desk: desk.selection.set(step=None), True),
    *(
        Command(name, STEP, text, text, keys, partial(_move, frames=frames))
        for name, text, keys, frames in (
            ("back", "Frame back", "Left", -1), ("forth", "Frame forward", "Right", 1),
            ("back10", "Ten frames back", "Shift+Left", -10), ("forth10", "Ten frames forward", "Shift+Right", 10),
            ("first", "First frame", "Home", -(10**9)), ("last", "Last frame", "End", 10**9),
        )
    ),
    Command("next", MESH, "Next block", "The next core of the layer", "]", lambda desk: desk.blocks.walk(1)),
    Command("previous", MESH, "Previous block", "The core before", "[", lambda desk: desk.blocks.walk(-1)),
    Command(
        "worst", MESH, "Worst block", "The core that is worst by the metric shown", "W",
        lambda desk: desk.blocks.worst(),
    ),
    Command("layer", MESH, "Next layer", "The next layer of the network", "N", _layer),
    Command("side", MESH, "U, sigma or V*", "The next part of the core", "Tab", _side),
    *(
        Command(
            f"colour{mode + 1}", MESH, f"Colour: {name}", "What the colours of the mesh mean", str(mode + 1),
            partial(_colour, mode=mode),
        )
        for mode, name in enumerate(MODES)
    ),
    Command("fit", MESH, "Fit", "The whole mesh in view", "F", lambda desk: desk.mesh.fit()),
    Command(
        "goto", MESH, "Go to…", "To an MZI by its number or its place", "G", lambda desk: dialogs.GoTo(desk).show()
    ),
    Command(
        "above", MESH, "Only above…", "Dim what is smaller than a threshold; Escape shows all again", "A",
        lambda desk: desk.mesh.threshold.ask(),
    ),
    Command(
        "next_above", MESH, "Next above the threshold", "Of those that pass the threshold the next smaller one", "J",
        lambda desk: desk.mesh.threshold.step(1),
    ),
    Command(
        "previous_above", MESH, "Previous above the threshold", "Of those that pass the threshold the next larger one",
        "Shift+J", lambda desk: desk.mesh.threshold.step(-1),
    ),
    Command("pin", MESH, "Pin", "Keep what is shown as the reference", "P", _pin),
    Command(
        "difference", MESH, "Difference to the pin",
        "Colour by the difference to the pinned phases or the compared run", "D", lambda desk: desk.mesh.difference(),
    ),
    *(
        Command(
            page.only, WHY, page.button + "…" * page.asks, page.what, key, partial(_diagnose, only=page.only)
        )
        for page, key in zip(PAGES, (*"SBMYTH", "Shift+H"))
    ),
    Command(
        "health", WHY, "What is wrong?", "The panel Health: what is wrong with the run, and where", "Ctrl+H",
        lambda desk: _raise(desk.docks[desk.health.title]),
    ),
    Command(
        "export", EXPORT, "Export panel…", "A panel as PNG, SVG or CSV", "Ctrl+E",
        lambda desk: dialogs.Export(desk).show(),
    ),
    Command(
        "state", EXPORT, "All numbers of this step…", "Frames, curves and job as .npz", "Ctrl+Shift+E",
        _state,
    ),
    Command(
        "frames", EXPORT, "A range of steps as pictures…", "Numbered PNG files", "",
        lambda desk: dialogs.Frames(desk).show(),
    ),
    Command("picture", EXPORT, "The whole window…", "A PNG of the window", "Ctrl+P", _picture),
    Command(
        "undo", EDIT, "Undo", "Take back the last parameter change", "Ctrl+Z", lambda desk: desk.hardware.stack.undo()
    ),
    Command("redo", EDIT, "Redo", "Make it again", "Ctrl+Y Ctrl+Shift+Z", lambda desk: desk.hardware.stack.redo()),
    Command(
        "lab", VIEW, "Lab eyes", "Hide all that a lab cannot know of its chip", "Ctrl+L",
        lambda desk: desk.see_as_lab(not desk.lab_eyes), True,
    ),
    Command("theme", VIEW, "Light theme", "Dark or light", "Ctrl+T", _theme),
    Command("reset", VIEW, "Reset layout", "Every panel back to its place", "", Desk.reset_layout),
    Command("panel", VIEW, "Next panel", "Move the focus to the next panel", "F6", lambda desk: _next_panel(desk, 1)),
    Command(
        "panel_back", VIEW, "Panel before", "Move the focus to the panel before", "Shift+F6",
        lambda desk: _next_panel(desk, -1),
    ),
    Command("full", VIEW, "Full screen", "Full screen and back", "F11", _full),
    Command(
        "palette", HELP, "Commands…", "Find anything the window can do", "Ctrl+Shift+P", _palette
    ),
    Command("keys", HELP, "Keys", "Every key", "F1", lambda desk: Keys(desk, desk.actions_).show()),
    Command(
        "what", HELP, "What is this?", "What the panel in focus shows", "Shift+F1",
        lambda desk: explain(desk.focused()),
    ),
    Command("crash", HELP, "Copy last crash report", "For the developers", "", _copy_crash),
)  # fmt: skip


def declare(desk: Desk) -> None:
    """Add every action. They reach panels when they are triggered, so panels may come later."""
    for command in COMMANDS:
        do = partial(command.do, desk)
        desk.actions_.add(
            command.name, command.group, command.text, command.tip, command.keys, do, toggles=command.toggles
        )
