"""The command line. Every way a command can end is decided here: one line on stderr and an exit code.

0 done; 2 an error the user can cure, or a bug (its traceback goes to a file); 130 Ctrl-C; 143 SIGTERM; 141 broken pipe.
Nothing slow is imported before a command needs it: `l2sim --help` is instant.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from l2sim import files, plugins
from l2sim._version import __version__
from l2sim.cli.bank import bank
from l2sim.cli.cost import cost
from l2sim.cli.data import data, place
from l2sim.cli.progress import Progress, Sayings, job_of
from l2sim.cli.run import run
from l2sim.cli.sweep import sweep
from l2sim.errors import L2simError

if TYPE_CHECKING:
    from l2sim.inspect.bench import Heater


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM; `signum` says which."""

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.signum = signum


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit. Never shows a traceback."""
    progress = Progress()
    handlers = {number: signal.signal(number, _stopper()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = _outcome(sys.argv[1:] if args is None else args, progress)
    except Stopped as stop:  # a second signal, while the first one's line was written
        code = 128 + stop.signum
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    sys.exit(code)


def _outcome(args: list[str], progress: Progress) -> int:
    try:
        with command.make_context("l2sim", args, obj=progress) as context:
            command.invoke(context)
        if sys.stdout:
            sys.stdout.flush()
        return 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as end:
        click.echo(end.message)
        return 0
    except click.ClickException as error:
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "l2sim"
        message = error.format_message()
        return _fail(f"{message}{'' if message[-1] in '.?)' else '.'} See `{path} --help`")
    except L2simError as error:
        return _fail(str(error))
    except KeyboardInterrupt as stop:
        number = stop.signum if isinstance(stop, Stopped) else signal.SIGINT
        how = "SIGTERM" if number == signal.SIGTERM else str(stop) or "Ctrl-C"
        _fail(f"stopped by {how}{_remains(progress)}")
        return 128 + number
    except BrokenPipeError:  # the reader of our output has gone and wants no word about it
        _hush()
        return 128 + 13
    except MemoryError:
        return _fail(f"out of memory; use a smaller batch, model or data set, or precision=float32{_remains(progress)}")
    except Exception as error:
        line = files.refusal(error) if isinstance(error, OSError) else None
        _hush()
        if line:
            return _fail(f"{line}{_remains(progress)}")
        kind = f"{type(error).__name__}: {error}"
        return _fail(f"internal error ({kind[:200]}), please report it with {_crash_log(error, progress.out)}")


def _stopper() -> Callable[[int, object], None]:
    """A handler that ends the command once; a signal that comes twice at once (process groups do that) counts once."""
    last = float("-inf")

    def stop(signum: int, frame: object) -> None:
        nonlocal last
        if time.monotonic() - last > 1.0:
            last = time.monotonic()
            raise Stopped(signum)

    return stop


def _fail(message: str) -> int:
    line = " ".join(message.split("\n"))
    with contextlib.suppress(OSError):  # if nobody listens on stderr, the exit code still tells
        click.echo(f"l2sim: error: {line}", err=True)
    return 2


def _hush() -> None:
    """Drop output that cannot be written; Python would try again at exit, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _remains(progress: Progress) -> str:
    """What is saved, and the line that goes on from it."""
    if progress.hint:
        return f"; what is finished stays: {progress.hint} goes on"
    if progress.out is None:
        return "; nothing was started"
    saved = f"saved up to {progress.saved}" if progress.saved else "no checkpoint yet"
    return f"; {saved} in {progress.out}; go on with `l2sim run --resume --out {progress.out}`"


def _crash_log(error: Exception, out: Path | None) -> str:
    import tempfile  # late: --help is instant
    import traceback  # late: --help is instant

    text = "".join(traceback.format_exception(error))
    for folder in (out, Path(tempfile.gettempdir())):
        try:
            if folder and folder.is_dir():
                name = "crash.log" if folder == out else f"l2sim-crash-{os.getpid()}.log"
                (folder / name).write_text(text, encoding="utf-8")
                return str(folder / name)
        except OSError:
            continue
    return "the command you typed"


# ---------------------------------------------------------------------------------------------------- commands


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="l2sim %(version)s")
def command() -> None:
    """Simulate photonic neural chips that calibrate, map and train themselves.

    `l2sim run` trains a network on its own chip, with no download.
    """


_FINDINGS = ("worst", "budget", "heaters", "movement", "detectors", "layers", "sweep", "every_heater")


@command.command()
@click.option("--explain", is_flag=False, flag_value="digits", metavar="[PRESET]", help="Every field, with its range.")
@plugins.option
def presets(explain: str | None) -> None:
    """List the presets, or explain every field of a job."""
    from l2sim.cli import tables  # late: --help is instant
    from l2sim.job.job import load  # late: --help is instant
    from l2sim.job.presets import PRESETS  # late: --help is instant
    from l2sim.runs.console import screen  # late: --help is instant

    about = f"{explain}: {PRESETS[explain].about}" if explain and explain in PRESETS else ""
    for table in [tables.fields_table(load(explain), about)] if explain else tables.presets_tables():
        screen().print(table)


@command.command()
@click.argument("names", nargs=-1, metavar="[MODEL|PRESET|JOB.toml]...")
@plugins.option
def models(names: tuple[str, ...]) -> None:
    """What models are made of: parameters, tensor cores, sigma, MZIs. With names, layer by layer."""
    from l2sim.cli import tables  # late: --help is instant
    from l2sim.runs.console import screen  # late: --help is instant

    for table in tables.models_tables(names):
        screen().print(table)


@command.command()
@click.argument("source", metavar="RUN[@STAGE[:EPOCH]]")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", required=True, help=".safetensors or .npz")
@plugins.option
def export(source: str, out: Path) -> None:
    """Write the network of a run as its chips realise it: weights, phases, sigma, noise."""
    from l2sim.flow import export as writer  # late: --help is instant

    writer.write(source, out)
    click.echo(out)


@command.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@plugins.option
def report(folder: Path) -> None:
    """Write report.html of a finished run again."""
    job_of(folder, "name the folder of a run")
    from l2sim.report.page import rebuild  # late: --help is instant

    click.echo(rebuild(folder))


@command.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--layer", default="", metavar="NAME", help="Layer [that of the worst core].")
@click.option("--core", type=click.IntRange(min=0), metavar="N", help="Core, row by row [the worst one].")
@click.option("--step", type=click.IntRange(min=0), metavar="N", help="As it was then [last].")
@click.option("--only", type=click.Choice(_FINDINGS), help="One part. Only here: sweep, and every heater (of --layer).")
@click.option("--heater", metavar="PART:N", help="To sweep: u:4, v:4; of a whole mesh theta:4, phi:4, screen:4.")
@click.option("--readout", type=click.Choice(("quadrature", "power")), default="quadrature", help="How light is read.")
@click.option("--json", "as_json", is_flag=True, help="Print numbers for programs.")
@place
@plugins.option
def diagnose(
    folder: Path,
    layer: str,
    core: int | None,
    step: int | None,
    only: str | None,
    heater: str | None,
    readout: str,
    as_json: bool,
    data: Path | None,
) -> None:
    """Why a run is as bad as it is: worst core, what is to blame, how its phases moved."""
    job_of(folder, "name the folder of a run")
    from l2sim.inspect import findings  # late: --help is instant

    chosen = None if heater is None else _heater(heater)
    said = Sayings()
    answer = findings.find(
        folder, only or "", layer=layer, core=core, step=step, heater=chosen, readout=readout, data=data, said=said
    )
    said.end()
    click.echo(json.dumps(answer) if as_json else "\n".join(findings.words(answer)))


def _heater(text: str) -> Heater:
    """The phase shifter that PART:N names."""
    from l2sim.inspect.bench import Heater  # late: --help is instant

    name, _, number = text.partition(":")
    if not number.isdigit() or name not in ("u", "v", "theta", "phi", "screen"):
        raise click.UsageError(f"--heater {text} names no heater; say u:4, v:4, theta:4, phi:4 or screen:4")
    return Heater(name, "theta", int(number)) if name in ("u", "v") else Heater("", name, int(number))


command.add_command(run)
command.add_command(sweep)
command.add_command(bank)
command.add_command(cost)
command.add_command(data)


@command.command()
def doctor() -> None:
    """What this machine has and lacks for l2sim."""
    from l2sim.cli.doctor import show  # late: --help is instant

    if not show():
        raise L2simError("something that l2sim needs is missing; install it with the lines above")
