"""The whole window: what a frame costs, how soon a long run is open, whether its memory stays flat.

`gui-window` is one beat of the window's timer with all panels of the first layout at 1200 x 800, drawn by software: new
scalars and a new frame are read from the run folder, then taken in, shown and painted. `gui-open` is from the folder's
name to a painted window. `gui-memory` watches a job for a minute (`--minutes 30`: half an hour); its figure is how far
the resident memory rose above what it was after the first thirtieth of that. `gui-click` is a click on an MZI, sent as
a beat begins, until its answer is painted: of meshes whose job runs beside the window, and of recorded runs of other
kinds. `gui-frames` counts what is painted in ten seconds of the window's own timer at 1600 x 1000 while a job runs
beside it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.desktop.painting import needed
from benchmarks.measure import Bench, Measurement

SIZE = (1200, 800)
PACE = 30
"""Steps a second of the job whose watcher must not grow."""
SAMPLES = 30
"""Looks at the memory."""
LARGE = (1600, 1000)
KINDS = {
    "cores": ("digits", ()),
    "complex cores": ("digits", ("nonidealities.base=silicon-push-pull", "nonidealities.single_arm=true")),
    "drifting cores": ("digits", ("nonidealities.drift_std=0.05",)),
    "a mesh": ("insitu-digits", ()),
    "a worn mesh": ("insitu-digits", ("nonidealities.base=silicon",)),
}
"""Recorded runs in which an MZI is clicked: preset and settings, in smoke size."""


def folder(root: Path, modes: int, steps: int) -> tuple[Path, Any]:
    """A run folder of one mesh with loss and accuracy of so many steps, and the log that goes on writing to it."""
    import fcntl

    from l2sim.job import job as jobs
    from l2sim.store import logs
    from l2sim.store.events import StageStarted
    from l2sim.store.manifest import FORMAT, Manifest, write_manifest

    run = root / "long-1"
    run.mkdir()
    job = jobs.Job.preset("insitu-digits", {"insitu.modes": modes, "insitu.layers": 1, "insitu.group": 1})
    (run / "job.toml").write_text(jobs.to_toml(job))
    manifest = Manifest(version=FORMAT, id="0" * 32, name="long", state="running")
    write_manifest(run, msgspec.structs.replace(manifest, process=os.getpid(), started=time.time()))
    (run / "checkpoints").mkdir()
    lock = open(run / ".lock", "w")  # noqa: SIM115
    fcntl.flock(lock, fcntl.LOCK_EX)  # a run whose lock is free counts as killed
    log = logs.Logs(run)
    log.lock = lock  # type: ignore[attr-defined]
    log.event(StageStarted("learn", 1))
    log.scalars(0, 0.0, {"learn/loss": 2.3, "learn/accuracy": 0.1})
    log.flush()
    rng = np.random.default_rng(0)
    fields = [("step", "<u8"), ("time", "<f8"), ("series", "<u4"), ("value", "<f8"), ("crc", "<u4")]
    table = np.zeros(2 * steps, fields)
    table["step"] = 1 + np.arange(2 * steps) // 2
    table["series"] = np.arange(2 * steps) % 2
    table["value"] = rng.random(2 * steps) + 1e-3
    content = table.tobytes()
    for i in range(2 * steps):
        table["crc"][i] = zlib.crc32(content[32 * i : 32 * i + 28])
    with open(run / "scalars.bin", "ab") as file:
        file.write(table.tobytes())
    return run, log


def opened(run: Path) -> tuple[Any, Any]:
    """The window with the run, and the application."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("QT_FONT_DPI", "96")
    from l2sim.gui.window.app import start_qt

    application = start_qt()
    from l2sim.gui.base.layout import Kept
    from l2sim.gui.window.window import Window

    window = Window(run.parent, Kept())
    window.timer.stop()
    window.resize(*SIZE)
    window.show()
    application.processEvents()
    window.open(run)
    window.tick()
    application.processEvents()
    return window, application


class Stream:
    """Makes the run go on: some scalars and one frame of phases."""

    def __init__(self, log: Any, modes: int, step: int) -> None:
        from l2sim import naming

        rng = np.random.default_rng(1)
        count = modes * (modes - 1) // 2
        sizes = {"theta": count, "phi": count, "screen": modes}
        self.log, self.step = log, step
        self.frames = [
            {naming.name("mesh1", part, "phases"): rng.random(size) for part, size in sizes.items()} for _ in range(8)
        ]

    def go(self) -> None:
        """Write a thirtieth of a second's worth of a fast run."""
        for _ in range(4):
            self.step += 1
            value = 1 / (1 + self.step % 97)
            self.log.scalars(self.step, time.time(), {"learn/loss": value, "learn/accuracy": value})
        self.log.phases(self.step, self.frames[self.step % 8])
        self.log.flush()


def window(bench: Bench) -> Iterator[Measurement]:
    """`gui-open` and `gui-window`: 256 modes, two curves of a million points."""
    needed()
    modes, steps = (16, 5_000) if bench.quick else (256, 1_000_000)
    sizes = {"modes": modes, "points": 2 * steps, "width": SIZE[0], "height": SIZE[1]}
    with tempfile.TemporaryDirectory() as root:
        run, log = folder(Path(root), modes, steps)
        stream = Stream(log, modes, steps)
        stream.go()
        shown, application = opened(run)  # Qt, numba and the fonts are loaded once
        shown.close_quietly()
        begin = bench.clock()
        shown, application = opened(run)
        taken = bench.clock() - begin
        yield Measurement("gui-open", f"{2 * steps:,} points", taken, 1.0, "windows/s", dtype="", sizes=sizes)
        seconds = []
        for _ in range(10 if bench.quick else 150):
            beat = time.monotonic()
            stream.go()
            begin = bench.clock()
            shown.tick()
            application.processEvents()
            seconds.append(bench.clock() - begin)
            # At the timer's pace: panels are refreshed by the time that has gone by.
            time.sleep(max(0.0, 0.033 - (time.monotonic() - beat)))
        seconds = seconds[3:]
        for name, value in (("median", statistics.median(seconds)), ("p95", statistics.quantiles(seconds, n=20)[-1])):
            yield Measurement("gui-window", f"frame {name}", value, 1.0, "frames/s", dtype="", sizes=sizes)
        shown.close_quietly()
        log.close()


def memory(bench: Bench) -> Iterator[Measurement]:
    """`gui-memory`: growth of the resident memory while a job of 30 steps a second is watched."""
    needed()
    modes, minutes = (16, 0.2) if bench.quick else (64, bench.minutes)
    with tempfile.TemporaryDirectory() as root, running(Path(root), modes, "--pace", str(PACE)) as (shown, application):
        begin, count, resident = time.monotonic(), 0, []
        while (gone := (time.monotonic() - begin) / (60.0 * minutes)) < 1.0:
            beat = time.monotonic()
            shown.tick()
            application.processEvents()
            count += 1
            if gone >= (len(resident) + 1) / SAMPLES:
                gc.collect()
                resident.append(_resident() / 2**20)
            time.sleep(max(0.0, 0.033 - (time.monotonic() - beat)))
        gc.collect()
        resident.append(_resident() / 2**20)
        steps = shown.model.newest
        looks = " ".join(f"{size:.1f}" for size in resident)
        sizes = {"modes": modes, "minutes": minutes, "steps": steps, "MiB": looks}
        growth = 100.0 * (max(resident) / resident[0] - 1.0)
        variant = f"{growth:+.1f} % of {resident[0]:.0f} MiB"
        yield Measurement("gui-memory", variant, 60.0 * minutes, float(count), "frames/s", dtype="", sizes=sizes)


@contextlib.contextmanager
def running(root: Path, modes: int, *more: str, settings: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """A window that watches a job of whole meshes, which runs in its own process, and the application."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from l2sim.gui.base import launch

    from l2sim.errors import RunError

    job = [f"insitu.modes={modes}", "learn.epochs=100000", *settings]
    process = launch.start("insitu-digits", job, name="watched", runs=root, more=more)
    shown: Any = None
    try:
        _until(lambda: process.ready or process.code is not None)
        shown, application = opened(process.folder)
        _until(lambda: shown.tick() or (shown.model.live and shown.model.newest > 3))
        yield shown, application
    finally:
        with contextlib.suppress(RunError):  # it may have ended by itself
            launch.kill(process.folder)
        process.let_go()
        if shown is not None:
            shown.close_quietly()


def click(bench: Bench) -> Iterator[Measurement]:
    """`gui-click`: how soon a click is answered while the simulator runs in its own process, and in recorded runs."""
    needed()
    count = 5 if bench.quick else 200
    for modes in (16,) if bench.quick else (64, 256):
        with tempfile.TemporaryDirectory() as root, running(Path(root), modes) as (shown, application):
            yield from _spread(_answers(bench, shown, application, count), f"live, {modes} modes")
    for kind, (preset, settings) in KINDS.items():
        with tempfile.TemporaryDirectory() as root, recorded(Path(root), preset, settings) as (shown, application):
            yield from _spread(_answers(bench, shown, application, count), kind)


@contextlib.contextmanager
def recorded(root: Path, preset: str, settings: tuple[str, ...]) -> Iterator[tuple[Any, Any]]:
    """A window that shows a run which is over, and the application."""
    from l2sim.job import job as jobs
    from l2sim.runs.execute import execute

    run = root / "recorded-1"
    for _ in execute(jobs.smoke(jobs.with_overrides(jobs.load(preset), settings)), run):
        pass
    shown, application = opened(run)
    yield shown, application
    shown.close_quietly()


def _spread(seconds: list[float], kind: str) -> Iterator[Measurement]:
    answers = {"median": statistics.median(seconds), "p95": float(np.quantile(seconds, 0.95)), "most": max(seconds)}
    for name, value in answers.items():
        sizes = {"clicks": len(seconds), "width": SIZE[0], "height": SIZE[1]}
        yield Measurement("gui-click", f"{kind}, {name}", value, 1.0, "clicks/s", dtype="", sizes=sizes)


def frames(bench: Bench) -> Iterator[Measurement]:
    """`gui-frames`: pictures of the mesh that are painted, and steps that these show, in a second."""
    needed()
    seconds = 2.0 if bench.quick else 10.0
    for modes in (16,) if bench.quick else (64, 256):
        # A small batch: a step of 256 modes takes less than the thirtieth of a second that a picture may take.
        with tempfile.TemporaryDirectory() as root, running(Path(root), modes, settings=("learn.batch=32",)) as (
            shown, _,
        ):  # fmt: skip
            shown.resize(*LARGE)
            shown.timer.start()
            _look(1.0)
            begun, seen = shown.model.newest, counted(shown.mesh)
            begin = time.monotonic()
            _look(seconds)
            taken = time.monotonic() - begin
            made = (shown.model.newest - begun) / taken
        sizes = {"modes": modes, "width": LARGE[0], "height": LARGE[1], "steps/s": made}
        for name, count in (("pictures", seen.pictures), ("steps shown", len(seen.steps))):
            yield Measurement("gui-frames", f"{name}, {modes} modes", taken, count, "frames/s", dtype="", sizes=sizes)


def counted(view: Any) -> Any:
    """Counts from here on how often the mesh is painted (`pictures`), and of which `steps`."""
    from pyqtgraph.Qt import QtCore

    class Counter(QtCore.QObject):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(view)
            self.pictures, self.steps = 0, set[int]()

        def eventFilter(self, watched: object, event: Any) -> bool:
            if event.type() == QtCore.QEvent.Type.Paint and view.painted:
                self.pictures += 1
                self.steps.add(view.painted.step)
            return False

    counter = Counter()
    view.canvas.installEventFilter(counter)
    return counter


def _look(seconds: float) -> None:
    """Let the window's own timer and events go on."""
    from pyqtgraph.Qt import QtCore

    loop = QtCore.QEventLoop()
    QtCore.QTimer.singleShot(round(1000 * seconds), loop.quit)
    loop.exec()


def _answers(bench: Bench, shown: Any, application: Any, count: int) -> list[float]:
    from pyqtgraph.Qt import QtCore, QtTest

    canvas, seconds = shown.mesh.canvas, []
    mesh = canvas.scene.meshes[0]
    for i in range(count + 3):
        end = time.monotonic() + 0.07
        while time.monotonic() < end:  # beats of the timer, as while somebody looks on
            time.sleep(0.01)
            shown.tick()
            application.processEvents()
        heaters = _points(canvas.raster().pick, canvas.devicePixelRatioF(), *mesh.colour("theta"))
        at = QtCore.QPoint(*heaters[i * 7919 % len(heaters)])
        wanted = canvas.thing_at(QtCore.QPointF(at)).element
        begin = bench.clock()
        shown.tick()
        QtTest.QTest.mouseClick(canvas, QtCore.Qt.MouseButton.LeftButton, pos=at)
        application.processEvents()
        seconds.append(bench.clock() - begin)
        assert shown.selection.element == wanted, "the click was not answered"
    return seconds[3:]


def _points(pick: np.ndarray, ratio: float, first: int, count: int) -> list[tuple[int, int]]:
    """Where on the widget (x, y) the pixel under the pointer has one of `count` colours; `ratio` pixels a point."""
    height, width = (int(size / ratio) for size in pick.shape)
    rows, columns = (np.arange(height) * ratio).astype(int), (np.arange(width) * ratio).astype(int)
    seen = pick[np.ix_(rows, columns)]
    return [(int(x), int(y)) for y, x in np.argwhere((seen >= first) & (seen < first + count))]


def _until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 180
    while not holds():
        assert time.monotonic() < end, "the job did not start"
        time.sleep(0.03)


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


CASES = (("gui-window", window), ("gui-click", click), ("gui-frames", frames), ("gui-memory", memory))
