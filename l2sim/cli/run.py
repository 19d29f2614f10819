"""`l2sim run`: which job the command line means, and its run folder."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import click

from l2sim import files, plugins
from l2sim.cli.data import place
from l2sim.cli.progress import Progress, job_of
from l2sim.errors import DataError, JobError, RunError

if TYPE_CHECKING:
    from l2sim.job.job import Job
    from l2sim.runs.track import Tracker
    from l2sim.store.events import Event


@click.command()
@click.argument("source", metavar="[PRESET|JOB.toml]", required=False)
@click.option("--set", "settings", multiple=True, metavar="PATH=VALUE", help="Change a field, e.g. learn.epochs=5.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Run folder [runs/NAME-N].")
@place
@plugins.option
@click.option("--seed", type=int, metavar="N", help="Random seed [the job's].")
@click.option("--device", metavar="NAME", help="cpu, cuda (all GPUs) or cuda:N [the job's].")
@click.option("--threads", type=int, metavar="N", help="Threads [all cores].")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, or with the newest of this name.")
@click.option("--from", "start", metavar="RUN[@STAGE[:EPOCH]]", help="Start from a checkpoint of another run.")
@click.option("--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Pretrained: .safetensors or .npz.")  # fmt: skip
@click.option("--weights-map", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE.toml",
              help="Lines 'name in it' = 'layer here', '' for none.")  # fmt: skip
@click.option("--smoke", is_flag=True, help="A few steps on synthetic data; seconds, once all is compiled.")
@click.option("--quiet", is_flag=True, help="Print only errors and the path of the report.")
@click.option("--live", is_flag=True, help="Let readers watch the run and command it, e.g. l2sim-gui DIR.")
@click.option("--pace", type=click.FloatRange(0), metavar="N",
              help="--live, at most N steps a second [a resumed run's own]; 0: no limit.")  # fmt: skip
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
    weights_map: Path | None,
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
    if weights_map is not None and weights is None:
        raise click.UsageError("--weights-map says what is what in a file; name that with --weights")
    if weights_map is not None:
        settings = (f"pretrain.weights_map={json.dumps(_map(weights_map))}", *settings)
    if device is not None:
        settings = (*settings, f"device='{device}'")
    if resume:
        out, job, changes = _stored(source, settings, out, seed, smoke)
    else:
        job = _requested(source, settings, seed, smoke, start)
        changes = {}
    threads = _ready(job, data, threads, quiet)
    from l2sim.runs import track as tracking  # late: --help is instant

    trackers = tracking.readers(track or (tracking.kept(out) if resume and out else ()))
    out = out if resume and out else _claim(out, job.name)
    progress.out = out
    how = How(data, threads, resume, changes, start, live, pace)
    try:
        report = _watched(job, out, how, trackers, progress, quiet)
    finally:
        if not resume and out.is_dir() and {path.name for path in out.iterdir()} <= {files.LOCK}:
            shutil.rmtree(out)  # an error before anything was written leaves no folder behind
            progress.out = None
    if not quiet:
        from l2sim.runs.console import screen, summary  # late: --help is instant

        summary(report, screen())
    click.echo(out / "report.html")


def _map(path: Path) -> list[str]:
    """The lines of a weights map in a file. JobError where it is none."""
    import tomllib  # late: --help is instant

    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())
        raise JobError(f'{path} cannot be read: {why}; write lines such as "fc_in" = "fc1"') from None
    for theirs, ours in entries.items():
        if not isinstance(ours, str):
            raise JobError(f'{path}: {theirs} is no text; write lines such as "layers.0" = "fc1", names in quotes')
    return [f"{theirs} = {ours}" for theirs, ours in entries.items()]


class How(NamedTuple):
    """How a run is made, by the names of `l2sim.runs.execute.execute`."""

    data: Path | None
    threads: int
    resume: bool
    settings: Mapping[str, object]
    source: str | None
    live: bool
    pace: float | None


def _ready(job: Job, data: Path | None, threads: int | None, quiet: bool) -> int:
    """See that data and device are there before a folder is made; how many threads there are to be."""
    from l2sim import backend  # late: --help is instant
    from l2sim.data import published as sets  # late: --help is instant

    if data is not None and data.is_file() and job.data.name not in ("own", "synthetic"):
        raise DataError(f"data.name = {job.data.name} reads no file such as {data}; --set data.name=own does")
    if job.data.name in sets.SETS:  # before the bars are drawn: a fetch has its own bar
        sets.locate(job.data.name, data, quiet)
    if threads is None:
        threads = backend.kernels.threads.count()
    with backend.threads(threads):
        backend.device(job.device)  # refused where this machine lacks it
    return threads


def _watched(
    job: Job, out: Path, how: How, trackers: Sequence[Tracker], progress: Progress, quiet: bool
) -> dict[str, object]:
    """Run the job into its folder while the console shows it; its report."""
    from l2sim.runs import track as tracking  # late: --help is instant
    from l2sim.runs.console import watch  # late: --help is instant
    from l2sim.runs.execute import execute  # late: --help is instant

    events = tracking.follow(execute(job, out, **how._asdict()), trackers, out)
    with contextlib.closing(cast("Generator[Event]", events)):  # an error in the console closes the run's files as well
        return watch(_noting(events, progress), quiet)


def _requested(source: str | None, settings: Iterable[str], seed: int | None, smoke: bool, start: str | None) -> Job:
    """The job of the command line. Without a name it is the job of the run started from, or digits."""
    from l2sim.job import job as jobs  # late: --help is instant
    from l2sim.store.source import parse  # late: --help is instant

    if source is None and start is not None:
        made = job_of(parse(start).folder, "name one with --from")
    else:
        made = jobs.load(source or "digits")
    return _changed(jobs.smoke(made) if smoke else made, settings, seed)


def _changed(job: Job, settings: Iterable[str], seed: int | None) -> Job:
    from l2sim.job import job as jobs  # late: --help is instant

    return jobs.with_overrides(job, [*settings, *([f"seed={seed}"] if seed is not None else [])])


def _stored(
    source: str | None, settings: Iterable[str], out: Path | None, seed: int | None, smoke: bool
) -> tuple[Path, Job, dict[str, object]]:
    """The run to go on with, its job, and the fields that it goes on with otherwise: those that may change on the way.
    """
    from l2sim.job import job as jobs  # late: --help is instant
    from l2sim.job.sections import RESTART  # late: --help is instant

    wanted = jobs.load(source or "digits")
    wanted = jobs.smoke(wanted) if smoke else wanted
    folder = out or _newest(wanted.name)
    stored = job_of(folder, "leave out --resume to start a run there")
    changed = _changed(wanted if source else stored, settings, seed)
    different = jobs.differences(stored, changed)
    fixed = [path for path in different if jobs.when(path) == RESTART]
    if fixed:
        raise JobError(f"the run in {folder} has another {fixed[0]}; leave it, or start anew without --resume")
    return folder, stored, {path: jobs.value(changed, path) for path in different}


def _newest(name: str) -> Path:
    """The run folder of that name that was begun last."""
    runs = [path for path in Path("runs").glob(f"{name}-*/job.toml") if path.parent.name[len(name) + 1 :].isdigit()]
    if not runs:
        raise RunError(f"there is no run of {name} in {Path('runs')} to go on with; name its folder with --out")
    return max(runs, key=lambda path: path.stat().st_mtime_ns).parent


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
    from l2sim.store.events import Checkpoint  # late: --help is instant

    for event in events:
        if isinstance(event, Checkpoint):
            progress.saved = f"{event.stage} epoch {event.epoch}"
        yield event
