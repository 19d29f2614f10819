"""The command line. Every way a command can end is decided here: one line on stderr and an exit code.

0 done; 2 an error the user can cure, or a bug (its traceback goes to a file); 130 Ctrl-C; 143 SIGTERM; 141 broken pipe.
Nothing slow is imported before a command needs it: `l2sim --help` is instant.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from l2sim import files
from l2sim._version import __version__
from l2sim.cli.cost import cost
from l2sim.cli.data import data, place
from l2sim.cli.sweep import sweep
from l2sim.errors import JobError, L2simError, RunError

if TYPE_CHECKING:
    from l2sim.job.job import Job
    from l2sim.store.events import Event


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM; `signum` says which."""

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.signum = signum


@dataclass
class Progress:
    """How far the command got, for the line that says so when it ends early."""

    out: Path | None = None
    saved: str = ""
    hint: str = ""


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


def _stopper() -> Any:
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
    import tempfile
    import traceback

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

    `l2sim run` trains a network on its own chip in half a minute, with no download.
    """


_FINDINGS = ("worst", "budget", "heaters", "movement", "detectors", "layers", "sweep")


@command.command()
@click.argument("source", metavar="[PRESET|JOB.toml]", required=False)
@click.option("--set", "settings", multiple=True, metavar="PATH=VALUE", help="Change a field, e.g. learn.epochs=5.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Run folder [runs/NAME-N].")
@place
@click.option("--seed", type=int, metavar="N", help="Random seed [the job's].")
@click.option("--device", metavar="NAME", help="cpu, cuda (all GPUs) or cuda:N [the job's].")
@click.option("--threads", type=int, metavar="N", help="Threads [all cores].")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, or with the newest of this name.")
@click.option("--from", "start", metavar="RUN[@STAGE[:EPOCH]]", help="Start from a checkpoint of another run.")
@click.option("--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Pretrained: .safetensors or .npz.")  # fmt: skip
@click.option("--smoke", is_flag=True, help="A few steps on synthetic data, in seconds.")
@click.option("--quiet", is_flag=True, help="Print only errors and the path of the report.")
@click.option("--live", is_flag=True, help="Let readers watch the run and command it, e.g. l2sim-gui DIR.")
@click.option("--pace", type=click.FloatRange(0, min_open=True), metavar="N", help="--live, at most N steps a second.")
@click.option("--track", multiple=True, metavar="KIND:PLACE", help="mlflow:URI, tensorboard:DIR or wandb:PROJECT too.")
@click.pass_obj
def run(
    progress: Progress,
    source: str | None,
    settings: tuple[str, ...],
    out: Path | None,
    data: Path | None,
    seed: int | None,
    device: str | None,
    threads: int | None,
    resume: bool,
    start: str | None,
    weights: Path | None,
    smoke: bool,
    quiet: bool,
    live: bool,
    pace: float | None,
    track: tuple[str, ...],
) -> None:
    """Train a network on its own chip: a preset (digits) or a job file.

    The stages are pretrain, deploy, calibrate, map and learn; of the in situ flow (insitu-digits ...) deploy and learn.
    `l2sim presets` lists the presets, `l2sim presets --explain` every field of a job.
    """
    if resume and start:
        raise click.UsageError("--resume goes on with a run and --from begins another; use one of them")
    if weights is not None:  # what is set besides wins: pretrain.epochs=5 trains them further
        settings = (f"pretrain.weights={json.dumps(str(weights.absolute()))}", "pretrain.epochs=0", *settings)
    if device is not None:
        settings = (*settings, f"device='{device}'")
    if resume:
        out, job = _stored(source, settings, out, seed, smoke)
    else:
        job = _requested(source, settings, seed, smoke, start)
    from l2sim import backend
    from l2sim.data import published as sets

    if job.data.name in sets.SETS:  # before the folder is made and the bars are drawn: a fetch has its own bar
        sets.locate(job.data.name, data, quiet)
    if threads is None:
        import numba

        threads = numba.get_num_threads()
    with backend.threads(threads):
        backend.device(job.device)  # what this machine lacks is refused before a folder is made
    from l2sim.runs import track as tracking
    from l2sim.runs.console import screen, summary, watch
    from l2sim.runs.execute import execute

    trackers = tracking.readers(track or (tracking.kept(out) if resume and out else ()))
    out = out if resume and out else _claim(out, job.name)
    progress.out = out
    try:
        events: Any = execute(
            job, out, data=data, threads=threads, resume=resume, source=start,
            live=live or pace is not None, pace=pace or 0.0,
        )  # fmt: skip
        events = tracking.follow(events, trackers, out)
        with contextlib.closing(events):  # an error in the console closes the run's files as well
            report = watch(_noting(events, progress), quiet)
    finally:
        if not resume and out.is_dir() and {path.name for path in out.iterdir()} <= {files.LOCK}:
            shutil.rmtree(out)  # an error before anything was written leaves no folder behind
            progress.out = None
    if not quiet:
        summary(report, screen())
    click.echo(out / "report.html")


def _requested(source: str | None, settings: Iterable[str], seed: int | None, smoke: bool, start: str | None) -> Job:
    """The job of the command line. Without a name it is the job of the run started from, or digits."""
    from l2sim.job import job as jobs
    from l2sim.store.source import parse

    if source is None and start is not None:
        made = _job_of(parse(start).folder, "name one with --from")
    else:
        made = jobs.load(source or "digits")
    return _changed(jobs.smoke(made) if smoke else made, settings, seed)


def _changed(job: Job, settings: Iterable[str], seed: int | None) -> Job:
    from l2sim.job import job as jobs

    return jobs.with_overrides(job, [*settings, *([f"seed={seed}"] if seed is not None else [])])


def _job_of(folder: Path, cure: str) -> Job:
    from l2sim.job import job as jobs

    if not (folder / "job.toml").is_file():
        raise RunError(f"{folder} is not a run folder (it has no job.toml); {cure}")
    return jobs.load(folder / "job.toml")


def _stored(
    source: str | None, settings: Iterable[str], out: Path | None, seed: int | None, smoke: bool
) -> tuple[Path, Job]:
    """The run to go on with and its job, which the command line may repeat but not change."""
    from l2sim.job import job as jobs

    wanted = jobs.load(source or "digits")
    wanted = jobs.smoke(wanted) if smoke else wanted
    folder = out or _newest(wanted.name)
    stored = _job_of(folder, "leave out --resume to start a run there")
    changed = _changed(wanted if source else stored, settings, seed)
    different = jobs.differences(stored, changed)
    if different:
        raise JobError(f"the run in {folder} has another {different[0]}; leave it, or start anew without --resume")
    return folder, stored


def _newest(name: str) -> Path:
    """The run folder of that name that was begun last."""
    found = [path for path in Path("runs").glob(f"{name}-*/job.toml") if path.parent.name[len(name) + 1 :].isdigit()]
    if not found:
        raise RunError(f"there is no run of {name} in {Path('runs')} to go on with; name its folder with --out")
    return max(found, key=lambda path: path.stat().st_mtime_ns).parent


def _claim(out: Path | None, name: str) -> Path:
    """Make the run folder: `out` if it is free, or the first free `runs/NAME-N`. Making it is what reserves it."""
    try:
        if out is not None:
            if out.is_dir() and any(out.iterdir()):
                raise RunError(f"{out} is in use; go on with it with --resume, or choose another folder with --out")
            out.mkdir(parents=True, exist_ok=True)
            return out
        Path("runs").mkdir(exist_ok=True)
        number = 1
        while True:
            try:
                (Path("runs") / f"{name}-{number}").mkdir()
                return Path("runs") / f"{name}-{number}"
            except FileExistsError:
                number += 1
    except OSError as error:
        where = out or Path("runs")
        raise RunError(f"cannot make the run folder {where}: {error.strerror}; choose another with --out") from None


def _noting(events: Iterable[Event], progress: Progress) -> Iterator[Event]:
    """Pass events on, remembering the last checkpoint."""
    from l2sim.store.events import Checkpoint

    for event in events:
        if isinstance(event, Checkpoint):
            progress.saved = f"{event.stage} epoch {event.epoch}"
        yield event


@command.command()
@click.option("--explain", is_flag=False, flag_value="digits", metavar="[PRESET]", help="Every field, with its range.")
def presets(explain: str | None) -> None:
    """List the presets, or explain every field of a job."""
    from l2sim.cli import tables
    from l2sim.job.job import load
    from l2sim.runs.console import screen

    screen().print(tables.fields_table(load(explain)) if explain else tables.presets_table())


@command.command()
@click.argument("names", nargs=-1, metavar="[MODEL|PRESET|JOB.toml]...")
def models(names: tuple[str, ...]) -> None:
    """What models are made of: parameters, tensor cores, sigma, MZIs. With names, layer by layer."""
    from l2sim.cli import tables
    from l2sim.runs.console import screen

    for table in tables.models_tables(names):
        screen().print(table)


@command.command()
@click.argument("source", metavar="RUN[@STAGE[:EPOCH]]")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", required=True, help=".safetensors or .npz")
def export(source: str, out: Path) -> None:
    """Write the network of a run as its chips realise it: weights, phases, sigma, noise."""
    from l2sim.flow import export as writer

    writer.write(source, out)
    click.echo(out)


@command.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
def report(folder: Path) -> None:
    """Write report.html of a finished run again."""
    _job_of(folder, "name the folder of a run")
    from l2sim.report.page import rebuild

    click.echo(rebuild(folder))


@command.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--layer", default="", metavar="NAME", help="Layer [that of the worst core].")
@click.option("--core", type=click.IntRange(min=0), metavar="N", help="Core, row by row [the worst one].")
@click.option("--step", type=click.IntRange(min=0), metavar="N", help="As it was then [last].")
@click.option("--only", type=click.Choice(_FINDINGS), help="One part of the report; a sweep is made only here.")
@click.option("--heater", metavar="PART:N", help="To sweep: u:4, v:4; of a whole mesh theta:4, phi:4, screen:4.")
@click.option("--readout", type=click.Choice(("quadrature", "power")), default="quadrature", help="How light is read.")
@click.option("--json", "as_json", is_flag=True, help="Print numbers for programs.")
@place
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
    _job_of(folder, "name the folder of a run")
    from l2sim.inspect import findings

    chosen = None if heater is None else _heater(heater)
    found = findings.find(
        folder, only or "", layer=layer, core=core, step=step, heater=chosen, readout=readout, data=data
    )
    click.echo(json.dumps(found) if as_json else "\n".join(findings.words(found)))


def _heater(text: str) -> Any:
    """The phase shifter that PART:N names."""
    from l2sim.inspect.bench import Heater

    name, _, number = text.partition(":")
    if not number.isdigit() or name not in ("u", "v", "theta", "phi", "screen"):
        raise click.UsageError(f"--heater {text} names no heater; say u:4, v:4, theta:4, phi:4 or screen:4")
    return Heater(name, "theta", int(number)) if name in ("u", "v") else Heater("", name, int(number))


command.add_command(sweep)
command.add_command(cost)
command.add_command(data)


@command.command()
def doctor() -> None:
    """What this machine has and lacks for l2sim."""
    from l2sim.cli.doctor import show

    if not show():
        raise L2simError("something that l2sim needs is missing; install it with the lines above")
