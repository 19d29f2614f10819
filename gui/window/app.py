"""`l2sim-gui`: the command that opens the window, or writes a picture of it where there is no display."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from l2sim import fits, plugins, system
from l2sim._version import __version__
from l2sim.errors import L2simError

if TYPE_CHECKING:
    from pyqtgraph.Qt import QtWidgets

    from .first.splash import Splash


class QtError(L2simError):
    """Qt is not there, or lacks something of the system."""


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 when the window is closed, 2 after one line about what is wrong."""
    try:
        sys.exit(command.main(args, prog_name="l2sim-gui", standalone_mode=False) or 0)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        _fail(f"{error.format_message()} See `l2sim-gui --help`")
    except L2simError as error:
        _fail(str(error))
    except (KeyboardInterrupt, click.exceptions.Abort):
        sys.exit(130)


def _fail(text: str) -> NoReturn:
    click.echo(f"l2sim-gui: error: {text}", err=True)
    sys.exit(2)


def _size(context: click.Context, parameter: click.Parameter, text: str) -> tuple[int, int]:
    sides = re.fullmatch(r"(\d{3,5})x(\d{3,5})", text)
    if not sides:
        raise click.BadParameter(f"{text!r} is not WIDTHxHEIGHT in pixels, e.g. 1280x820")
    return int(sides[1]), int(sides[2])


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="l2sim %(version)s")
@click.argument("source", metavar="[RUN_DIR | PRESET | JOB.toml]", required=False)
@click.option("--attach", is_flag=True, help="RUN_DIR must have a job that goes on.")
@click.option("--screenshot", type=click.Path(path_type=Path), metavar="FILE.png", help="Write a picture and end.")
@click.option("--step", type=click.IntRange(0), metavar="N", help="Show this step [the newest].")
@click.option("--size", default="1280x820", metavar="WxH", callback=_size, help="Size of the window [1280x820].")
@click.option("--theme", type=click.Choice(["dark", "light"]), help="Colours [as last time, else dark].")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), help="Where runs lie [runs].")
@plugins.option
def command(
    source: str | None,
    attach: bool,
    screenshot: Path | None,
    step: int | None,
    size: tuple[int, int],
    theme: str | None,
    runs: Path,
) -> int:
    """Watch a chip learn: open a run folder, live or recorded, or start a preset or job file in its own process.

    Without a name the start page opens. Closing the window leaves a job running.
    """
    if attach and source is None:
        raise L2simError("--attach needs the folder of a run, e.g. l2sim-gui runs/digits-1 --attach")
    if screenshot is not None:
        os.environ["QT_QPA_PLATFORM"] = "offscreen"  # also where a display is there: pictures do not depend on it
        os.environ.setdefault("QT_FONT_DPI", "96")  # one pixel is one pixel: the picture has the size asked for
        folder = _run_folder(source, attach)
        if source is not None and folder is None:
            raise L2simError(f"--screenshot needs the folder of a run, and {source} is none")
        start_qt()
        from .screenshot import of_run  # late: Qt, which may be missing

        click.echo(of_run(folder, screenshot, step, size, theme))
        return 0
    check_display()
    splash = _splash()
    try:
        folder = _run_folder(source, attach)
        application = start_qt()
        from .opening import show  # late: it takes seconds

        return show(
            application, splash, runs, folder, source, attach=attach, step=step, size=size, name=theme
        )
    finally:
        splash.close()


def _splash() -> Splash:
    """The picture with which the wait begins. QtError where Qt is not there."""
    from .first.splash import Splash  # late: Qt, which may be missing

    try:
        return Splash()
    except ImportError as error:
        raise QtError(missing(error)) from None


def _run_folder(source: str | None, attach: bool) -> Path | None:
    """The run folder that `source` names; None for a preset, a job file or nothing. L2simError for none of these, and
    for anything but a folder if it is to `attach` to it."""
    from l2sim.job import job as jobs  # late, like the rest: the splash comes first
    from l2sim.job.presets import PRESETS
    from l2sim.store.manifest import read_manifest

    if source is None:
        return None
    path = Path(source)
    if path.is_dir() and (source not in PRESETS or (path / "manifest.json").exists()):
        read_manifest(path)
        return path
    if path.suffix == ".npz" and path.exists():
        raise L2simError(f"{source} is a recorded chip, which only answers again, and no run; name a run's folder")
    jobs.load(source)
    if attach:
        raise L2simError("--attach needs the folder of a run, e.g. l2sim-gui runs/digits-1 --attach")
    return None


def start_qt() -> QtWidgets.QApplication:
    """The application. QtError says in one line what is missing and how it is installed."""
    try:
        from pyqtgraph.Qt import QT_LIB, mkQApp  # late: it may be missing
    except Exception as error:  # a broken installation raises anything
        raise QtError(missing(error)) from None
    if QT_LIB == "PySide6":
        fits.refuse("PySide6-Essentials", QtError, "the window")
    check_display()
    application = mkQApp("l2sim")
    application.setApplicationName("l2sim")
    if application.platformName() == "offscreen":  # which knows no desktop to take the size of its text from
        font = application.font()
        font.setPointSizeF(9.0)
        application.setFont(font)
    return application


def missing(error: BaseException) -> str:
    """What an ImportError of Qt means, and its cure."""
    text = str(error).partition("\n")[0]
    package = system.package_of(text)
    if package:
        return f"Qt cannot be loaded: {text}; on Debian: {system.cure([package])}"
    if isinstance(error, ModuleNotFoundError) or "No module named" in text or "requires" in text:
        return 'the window needs Qt, which is not installed; pip install "l2sim[gui]"'
    return f"Qt cannot be loaded: {text}; `l2sim doctor` says what this machine lacks"


def check_display() -> None:
    """QtError where there is no display to open a window on, or Qt would abort without a word about a library."""
    if sys.platform.startswith("linux") and not os.environ.get("QT_QPA_PLATFORM"):
        if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
            raise QtError("there is no display; use --screenshot FILE.png, or `l2sim run`, which needs no window")
        if not os.environ.get("WAYLAND_DISPLAY"):
            check_xcb()


def check_xcb() -> None:
    """QtError where a library is missing without which Qt aborts on a display."""
    lacking = system.missing("window", "display")
    if lacking:
        raise QtError(f"Qt lacks libraries to open a window; on Debian: {system.cure(lacking.values())}")


if __name__ == "__main__":
    main()
