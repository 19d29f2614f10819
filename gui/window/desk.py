"""The desk: a start page, or the panels around one run, and all that can be done with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from pyqtgraph.Qt import QtCore, QtWidgets

from l2sim.errors import RunError
from l2sim.inspect import compare, health
from l2sim.job import job as jobs
from l2sim.store.follow import Damage

from ..base import launch, message, theme
from ..base.actions import Actions
from ..base.layout import Kept
from ..base.model import RunModel, Selection, open_run
from ..base.panel import Panel
from ..base.widgets import filled, scrolling
from ..mesh.view import MeshView
from ..panels.blocks import Blocks
from ..panels.comparison.compare import Compare
from ..panels.curves import Curves
from ..panels.diagnosis.panel import Diagnosis
from ..panels.eventlog import EventLog
from ..panels.hardware import Hardware
from ..panels.health import Health
from ..panels.inspector import Inspector
from ..panels.lab.heaters import Heaters
from ..panels.lab.ports import Ports
from ..panels.matrix import Matrix
from ..panels.registry import PANELS, SIDES
from ..panels.runs import Runs
from ..panels.timeline import Timeline
from .beat import Beat
from .docktitle import DockTitle
from .first import examples
from .first.start import Start
from .guarded import Guarded
from .jobform import JobForm
from .strip import Strip

LAB_EYES = "LAB EYES · only what a lab can command, read or work out of these is shown · Ctrl+L shows all again"

_Area = QtCore.Qt.DockWidgetArea
_SIDES = dict(zip(SIDES, (_Area.LeftDockWidgetArea, _Area.RightDockWidgetArea, _Area.BottomDockWidgetArea)))
P = TypeVar("P", bound=Panel)


class Desk(Guarded):
    """What the window is before it has commands and a timer: `commands` calls it, `Window` makes it move.

    It looks at one run, and at another one beside it when they are compared. `build` makes its panels, which show the
    actions that were declared by then; `refresh` shows what has changed in those that are visible and concerned.
    """

    def __init__(self, runs: Path, kept: Kept) -> None:
        super().__init__()
        self.setWindowTitle("l2sim")
        self.setAccessibleName("l2sim")
        self.kept = kept
        self.runs_folder = runs
        theme.use(self.kept.text("theme") or "dark")
        self.selection = Selection()
        self.model: RunModel | None = None
        self.others: list[RunModel] = []
        """Runs that the open one is compared with."""
        self.processes: list[launch.Process] = []
        self.starting: launch.Process | None = None
        self.compiled: Callable[[], object] = lambda: None
        """Called before a run is shown: returns once all that panels compute with is compiled."""
        self.lab_eyes = self.kept.text("eyes") == "lab"
        self.moved: set[str] = set()
        """Names of what changed since the last refresh."""
        self.beat: Beat[Panel] = Beat()
        self._state = ""
        self._damage: list[Damage] = []
        self._breath = 0.0
        self._fresh = not self.kept.bytes("docks")
        self.actions_ = Actions(self)

    # -- building ------------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Make the panels and pages, laid out as they were kept, or as at first."""
        self.strip = Strip(self.selection)
        self.start = Start(self.runs_folder)
        self.form = JobForm()
        self.wait = QtWidgets.QLabel()
        self.wait.setAlignment(QtCore.Qt.AlignmentFlag.AlignCenter)
        self.wait.setAccessibleName("Starting")
        choose = self.selection
        self.mesh, self.timeline = MeshView(choose), Timeline(choose, self.actions_)
        made = {title: place.made(title, choose) for title, place in PANELS.items()}
        self.panels: list[Panel] = [self.mesh, *made.values(), self.timeline]
        self.blocks, self.inspector, self.matrix = self.panel(Blocks), self.panel(Inspector), self.panel(Matrix)
        self.hardware, self.events, self.runs = self.panel(Hardware), self.panel(EventLog), self.panel(Runs)
        self.curves, self.diagnosis, self.health = self.panel(Curves), self.panel(Diagnosis), self.panel(Health)
        self.comparison, self.heaters, self.ports = self.panel(Compare), self.panel(Heaters), self.panel(Ports)
        self.runs.runs = self.runs_folder
        self._arrange(made)
        self._stack()
        self.inner.setMinimumSize(0, 0)  # Qt gave it one while it was a window of its own, with no panel behind another
        self._connect()
        self._blindfold()
        self.home_state = self.inner.saveState(1)
        self._restore()

    def panel(self, kind: type[P]) -> P:
        """The panel of a kind."""
        return next(panel for panel in self.panels if isinstance(panel, kind))

    def _arrange(self, docked: dict[str, Panel]) -> None:
        """Put the panels around the mesh."""
        self.inner = QtWidgets.QMainWindow()
        self.inner.setDockNestingEnabled(True)
        self.inner.setWindowFlags(QtCore.Qt.WindowType.Widget)
        for corner, area in (
            (QtCore.Qt.Corner.BottomLeftCorner, _Area.LeftDockWidgetArea),
            (QtCore.Qt.Corner.BottomRightCorner, _Area.RightDockWidgetArea),
        ):
            self.inner.setCorner(corner, area)
        self.inner.setCentralWidget(self.mesh)
        self.mesh.setAccessibleName(self.mesh.title)
        self.mesh.setMinimumWidth(300)
        self.docks: dict[str, QtWidgets.QDockWidget] = {}
        for title, panel in docked.items():
            self._dock(panel, _SIDES[PANELS[title].side])
        for title, dock in self.docks.items():
            if behind := PANELS[title].behind:
                self.inner.tabifyDockWidget(self.docks[behind], dock)
        for title, dock in self.docks.items():
            if not PANELS[title].behind:
                dock.raise_()

    def _stack(self) -> None:
        """The pages, one of which is seen, below the headline."""
        self.work = QtWidgets.QWidget()
        self.eyes = theme.mark(QtWidgets.QLabel(LAB_EYES), "badge")
        self.eyes.setAccessibleName("Lab eyes are on")
        self.eyes.setVisible(self.lab_eyes)
        _column(self.work, self.eyes, self.inner, self.timeline, grows=self.inner)
        self.stack = QtWidgets.QStackedWidget()
        for page in (self.start, self.form, self.wait, self.work):
            self.stack.addWidget(page)
        whole = QtWidgets.QWidget()
        _column(whole, self.strip, self.stack, grows=self.stack)
        self.strip.turn(home=True)
        self.message = message.Message(self.strip.room, whole)
        self.stack.currentChanged.connect(lambda: self.strip.turn(self.stack.currentWidget() is not self.work))
        self.setCentralWidget(whole)
        self.resize(1280, 820)

    def _connect(self) -> None:
        self.mesh.shown.connect(self.inspector.take)
        self.mesh.shown.connect(lambda *_: self.beat.note(self.inspector, ("frames",)))
        self.mesh.hovered.connect(self.inspector.hover)
        self.blocks.no_worst.connect(self.message.say)
        self.inspector.pins_changed.connect(self.mesh.show_pins)
        self.start.show_.connect(self.show_example)
        self.start.begin.connect(lambda name: self.begin(name))
        self.start.edit.connect(self.edit)
        self.start.open_.connect(self.open)
        self.start.browse.connect(lambda: self.actions_["open"].trigger())
        self.form.started.connect(self.begin)
        self.form.closed.connect(self.go_home)
        self.runs.open_.connect(self.open)
        self.runs.compare.connect(self.compare)
        self.runs.alone.connect(lambda: self.compare(None))
        self.comparison.part.connect(self.part)
        self.runs.edit.connect(lambda folder: self.edit(str(Path(folder) / "job.toml")))

    def _dock(self, panel: Panel, area: QtCore.Qt.DockWidgetArea) -> None:
        dock = QtWidgets.QDockWidget(panel.title, self.inner)
        dock.setObjectName(panel.title)
        inside = scrolling(panel)  # what a small screen has no room for is scrolled to
        inside.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        inside.setMinimumSize(160, 80)
        dock.setWidget(inside)
        dock.setTitleBarWidget(DockTitle(dock, panel))
        panel.setAccessibleName(panel.title)
        panel.setMinimumWidth(160)
        self.inner.addDockWidget(area, dock)
        self.docks[panel.title] = dock
        # A panel behind another tab counts as visible for Qt, which only moves it out of sight.
        dock.visibilityChanged.connect(partial(self.beat.see, panel))

    # -- pages and layout ----------------------------------------------------------------------------------------------

    def go_home(self) -> None:
        """Show the start page; an open run stays open."""
        self.start.look(self.kept.recent)
        self.stack.setCurrentWidget(self.start)

    def go_work(self) -> None:
        """Show the panels."""
        self.stack.setCurrentWidget(self.work)
        self.mesh.canvas.setFocus()
        if self._fresh and self.isVisible():
            self._fresh = False
            self.inner.layout().activate()
            self._proportions()

    def edit(self, source: str) -> None:
        """Show the form with a preset or job file."""
        if self.attempt(lambda: self.form.edit(source)):
            self.stack.setCurrentWidget(self.form)

    def reset_layout(self) -> None:
        """Put every panel where it was at first."""
        self.inner.restoreState(self.home_state, 1)
        for dock in self.docks.values():
            dock.show()
        self._proportions()
        self.message.hide()

    def _proportions(self) -> None:
        horizontal, vertical = QtCore.Qt.Orientation.Horizontal, QtCore.Qt.Orientation.Vertical
        docks, width, height = self.docks, self.width(), self.height()
        side = max(230, width // 5)
        self.inner.resizeDocks([docks["Blocks"], docks["Inspector"]], [side, int(side * 1.25)], horizontal)
        self.inner.resizeDocks([docks["Blocks"], docks["Matrix"]], [height // 2, height // 2], vertical)
        self.inner.resizeDocks([docks["Inspector"], docks["Hardware"]], [height // 2, height // 2], vertical)
        self.inner.resizeDocks([docks["Curves"]], [int(height * 0.36)], vertical)

    def _restore(self) -> None:
        for name, put in (("geometry", self.restoreGeometry), ("docks", lambda data: self.inner.restoreState(data, 1))):
            data = self.kept.bytes(name)
            if data and not put(QtCore.QByteArray(data)):
                self.kept.said = self.kept.said or f"the kept {name} cannot be used; the layout starts anew"

    def keep(self) -> None:
        """Write down layout, theme and session."""
        self.kept.keep(
            geometry=bytes(self.saveGeometry()), docks=bytes(self.inner.saveState(1)), theme=theme.now().name,
            eyes="lab" if self.lab_eyes else "all",
            session=str(self.model.folder.resolve()) if self.model and not examples.is_copy(self.model.folder) else "",
        )  # fmt: skip
        try:
            self.kept.write()
        except OSError as error:
            self.message.say(
                f"the layout cannot be kept: {error.strerror}; it is as before at the next start", bad=True
            )

    # -- runs ----------------------------------------------------------------------------------------------------------

    def open(self, folder: str | Path, attach: bool = False) -> bool:
        """Open a run; `attach` insists that a job answers there. One line in the window where that is impossible."""
        return self.attempt(lambda: self._open(Path(folder), attach))

    def show_example(self, name: str) -> bool:
        """Open a copy of a run that ships with the window."""
        example = next(example for example in examples.EXAMPLES if example.name == name)
        opened = self.attempt(lambda: self._open(examples.unpack(name), False))
        if opened:
            self.message.say(example.hint)
            if example.metric:
                self.blocks.look_by(example.metric)
        return opened

    def _open(self, folder: Path, attach: bool) -> None:
        self.compiled()
        model = open_run(folder)
        if attach and model.state not in ("running", "paused", "stale"):
            model.close()
            raise RunError(f"no job runs in {folder}: that run is {model.state}; open it without --attach")
        self.compare(None)
        if self.model is not None:
            self.model.close()
        self.model, self._state, self._damage = model, "", []
        self.message.hide()
        model.poll()
        self.selection.newest = model.newest
        first = next(iter(model.layers.values()), None)
        self.selection.set(
            run=str(folder), step=None, layer=first.name if first else "", block=0,
            side="u" if first and first.sigma else "", element=None, input=0,
        )  # fmt: skip
        if not examples.is_copy(folder):
            self.kept.opened(folder)
        self.runs.recent = self.kept.recent
        self.setWindowTitle(f"{folder.name} — l2sim")
        self._show_run()
        self.go_work()
        self._follow_state()

    def compare(self, folder: str | Path | None) -> bool:
        """Compare the open run with one more, or with none. One line in the window where they cannot be compared."""
        if folder is None:
            for other in list(self.others):
                self.part(other.folder)
            return True

        def lay() -> None:
            if self.model is None:
                raise RunError("open a run first, then the one to compare it with")
            other = open_run(Path(str(folder)))
            why = compare.refusal(self.model.job, other.job, other.folder.name)
            if any(one.folder.resolve() == other.folder.resolve() for one in self.others):
                why = f"{other.folder.name} is compared already"
            if why:
                other.close()
                raise RunError(why)
            self.others.append(other)
            other.poll()
            self._show_run()

        return self.attempt(lay)

    def part(self, folder: str | Path) -> None:
        """Compare with one run less."""
        for other in [other for other in self.others if other.folder == Path(folder)]:
            other.close()
            self.others.remove(other)
        self._show_run()

    @property
    def reference(self) -> RunModel | None:
        """The run that is laid over the open one in mesh and curves: the one compared last."""
        return self.others[-1] if self.others else None

    def see_as_lab(self, on: bool) -> None:
        """Hide all that a lab cannot know of its chip, or show it again."""
        self.lab_eyes = on
        self.eyes.setVisible(on)
        self._blindfold()
        for panel in self.panels:
            self.beat.note(panel, ("theme", "all"))

    def _blindfold(self) -> None:
        self.actions_["lab"].setChecked(self.lab_eyes)
        for model in (self.model, *self.others):
            if model is not None:
                model.lab_eyes = self.lab_eyes

    def _show_run(self) -> None:
        self._blindfold()
        self.comparison.others = self.runs.others = list(self.others)
        for panel in (self.strip, *self.panels):
            self.guard(partial(panel.show_run, self.model, self.reference))
            self.beat.note(panel, ("all",))

    def begin(self, source: str, settings: Sequence[str] = (), more: Sequence[str] = (), name: str = "") -> bool:
        """Start a preset or job file in a process of its own and show it as soon as it has made its folder."""

        def start() -> None:
            job = jobs.with_overrides(jobs.load(source), settings)
            self._wait(launch.start(source, settings, name=name or job.name, runs=self.runs_folder, more=more))

        return self.attempt(start)

    def resume(self) -> bool:
        """Go on with the open run in a new process."""
        if self.model is None:
            return False
        folder = self.model.folder

        def start() -> None:
            self.processes.append(launch.resume(folder))
            self.message.say(f"{folder.name} goes on from its last checkpoint")

        return self.attempt(start)

    def kill(self) -> bool:
        """End the job of the open run at once."""
        model = self.model
        return model is not None and self.attempt(lambda: launch.kill(model.folder))

    def _wait(self, process: launch.Process) -> None:
        self.processes.append(process)
        self.starting = process
        self.message.hide()
        self.wait.setText(
            f"Starting a job in {process.folder}…\n\nIts process is {process.pid}. "
            "The first start on a machine compiles the kernels, which takes a while; later ones load them."
        )
        self.stack.setCurrentWidget(self.wait)

    # -- what is shown -------------------------------------------------------------------------------------------------

    def refresh(self, everything: bool = False) -> None:
        """Show what changed in the panels that are visible and due; `everything`: in all that are visible."""
        changed, self.moved = self.moved, set()
        self.timeline.allow()
        if self.model is None:
            return
        self.selection.newest = self.model.newest
        for model in (self.model, *self.others):
            model.watch(self.selection.layer)
        self._follow_state()
        self._follow_damage()
        now = time.monotonic()
        if self.model.state == "stale" or now - self._breath > 0.5:
            self._breath = now
            for panel in (self.timeline, self.strip):
                self.beat.note(panel, ("state",))
        for panel in (self.hardware, self.diagnosis):
            if panel.waits:
                self.beat.note(panel, ("acks",))
        for panel in (self.strip, *self.panels):
            self.beat.note(panel, changed)
        self.beat.go((self.strip, *self.panels), self.timeline.playing, everything, self._refresh)

    def _refresh(self, panel: Panel, changed: set[str]) -> None:
        self.guard(partial(panel.refresh, changed))

    def show_step(self, step: int) -> None:
        """Bring every visible panel to a step now, as the timer would do a moment later."""
        self.selection.set(step=step)
        self.refresh(everything=True)

    def _follow_state(self) -> None:
        """Say in words when the run is over, and what can be done."""
        assert self.model is not None
        state, before = self.model.state, self._state
        if state == before:
            return
        self._state = state
        name, newest = self.model.folder.name, f"step {self.model.newest:,}"
        if before:
            self.events.say(f"the run is {state} at {newest}")
        if state == "killed":
            self.message.say(
                f"the job of {name} was killed: it ended at {newest} without a word. What it recorded is here; "
                "going on starts from its last checkpoint.",
                bad=True, Resume=self.resume,
            )  # fmt: skip
        elif state == "failed":
            log = self.model.folder / "crash.log"
            more = {"Show_crash_log": lambda: self.show_text(log)} if log.exists() else {}
            why = health.stopped(self.model)
            failed = f"the job of {name} failed at {newest}"
            self.message.say(f"{failed}: {why}" if why else failed, bad=True, Resume=self.resume, **more)
        elif state == "stopped":
            self.message.say(f"{name} was stopped at {newest}; all is saved", Resume=self.resume)
        elif state == "deleted":
            self.message.say(
                f"the folder {self.model.folder} has been deleted; what was read of it stays here", bad=True
            )
        elif state == "done" and before:
            self.message.say(f"{name} is done", Show_report=self.actions_["report"].trigger)
        elif before in ("killed", "failed", "stopped", "deleted", "stale"):
            self.message.hide()
        for panel in self.panels:
            self.beat.note(panel, ("state",))

    def _follow_damage(self) -> None:
        """Say in words when a log turns out to be damaged, and what can be trusted."""
        assert self.model is not None
        damage = self.model.damage
        if damage == self._damage:
            return
        self._damage = damage
        if damage:
            words = "; ".join(health.unreadable(one) for one in damage)
            self.message.say(
                f"{self.model.folder.name}: {words}; {health.trusted(self.model)}", bad=True,
                Show_health=self.actions_["health"].trigger,
            )  # fmt: skip
            self.beat.note(self.health, ("state",))

    # -- looks ---------------------------------------------------------------------------------------------------------

    def repaint_theme(self, name: str) -> None:
        """Put another theme in force."""
        theme.use(name)
        for panel in self.panels:
            self.beat.note(panel, ("theme", "all"))
        self.actions_["theme"].setText("Light theme" if name == "dark" else "Dark theme")

    def focused(self) -> Panel:
        """The panel that has the focus, or the mesh."""
        widget = QtWidgets.QApplication.focusWidget()
        while widget is not None and not isinstance(widget, Panel):
            widget = widget.parentWidget()
        return widget if isinstance(widget, Panel) else self.mesh


def _column(widget: QtWidgets.QWidget, *parts: QtWidgets.QWidget, grows: QtWidgets.QWidget) -> None:
    """Lay out parts one below the other; one of them takes all the room there is."""
    filled(QtWidgets.QVBoxLayout(widget), *((part, int(part is grows)) for part in parts), spacing=0)
