"""`l2sim sweep`: the command, its progress, and the lines it ends with."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from l2sim import plugins
from l2sim.cli.data import place
from l2sim.cli.progress import Progress
from l2sim.errors import JobError, RunError

if TYPE_CHECKING:
    import rich.progress

    from l2sim.sweep.agenda import Counts
    from l2sim.sweep.cluster import Client, Cluster, Section
    from l2sim.sweep.local import Engine
    from l2sim.sweep.plan import Plan

LINES_EVERY = 30.0
"""Seconds between lines where there is no terminal."""


@click.command()
@click.argument("source", metavar="SWEEP.toml|DIR", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the sweep [runs/sweep-NAME].")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Processes [cores / threads of a point].")
@click.option("--scheduler", metavar="ADDRESS", help="Dask's, e.g. tcp://host:8786, or local for one of this machine.")
@place
@plugins.option
@click.option("--status", is_flag=True, help="Say how far it is, and what failed; run nothing.")
@click.option("--quiet", is_flag=True, help="Print only errors and the path of the report.")
@click.pass_obj
def sweep(
    progress: Progress,
    source: Path,
    out: Path | None,
    workers: int | None,
    scheduler: str | None,
    data: Path | None,
    status: bool,
    quiet: bool,
) -> None:
    """Run a job over a grid, lists or samples of its fields: one run folder a point, one table of all.

    Stopped, killed or failed, the same command goes on. docs/sweeps.md describes the file and the engines.
    """
    from l2sim.sweep import agenda as sweeps  # late: --help is instant

    planned, out = _planned(source, out)
    if status:
        _tell(planned, out)
        return
    _fetch(planned, data, quiet)
    progress.hint = f"run the same command again, or `l2sim sweep {out}`"
    engine = engine_of(planned.cluster, planned.threads, out, workers, scheduler)
    with Watch(len(planned), quiet) as watch:
        counts = sweeps.run(planned, out, engine, data, watch.see, watch.say)
    click.echo(out / "report.html")
    if counts.failed:
        raise RunError(
            f"{counts.failed:,} of {counts.points:,} points failed; {out / 'runs.csv'} says why, and the same command "
            "tries them again"
        )


def _planned(source: Path, out: Path | None) -> tuple[Plan, Path]:
    """The plan, looked at point by point, and its folder."""
    from l2sim.sweep import agenda as sweeps  # late: --help is instant
    from l2sim.sweep import plan  # late: --help is instant

    if source.is_dir():
        if out not in (None, source):
            raise JobError(f"{source} is the folder of a sweep and goes on there; leave out --out")
        return sweeps.stored(source), source
    planned = plan.load(source)
    out = out or Path("runs") / f"sweep-{source.stem}"
    if not (out / "sweep.json").exists():  # else they were looked at when it began
        planned.check()
    return planned, out


def _fetch(planned: Plan, data: Path | None, quiet: bool) -> None:
    """Have the data sets here before workers ask for them side by side."""
    from l2sim.data import published as sets  # late: --help is instant

    names: set[str] = {planned.base.data.name}
    for part in planned.parts:
        if (column := part.columns.get("data.name")) is not None:
            names = {str(column[row]) for row in range(len(column))}
    for name in sorted(names & sets.SETS.keys()):
        sets.locate(name, data, quiet)


def engine_of(
    section: Section, threads: int, out: Path, workers: int | None, scheduler: str | None
) -> Callable[[], Engine]:
    """What opens the engine that the command line or the `section` of a file ask for, `threads` a task."""
    from l2sim.sweep import cluster as clusters  # late: --help is instant
    from l2sim.sweep.local import Local  # late: --help is instant

    shared = section.shared
    if scheduler == "local":
        section, scheduler = clusters.Section("local"), None
    if scheduler is not None:
        if workers is not None:
            raise click.UsageError("the workers of a scheduler are its own; leave out --workers")
        client = clusters.connect(scheduler)
        return lambda: _dask(client, None, out, shared)
    many = workers or clusters.count(section, threads)
    if section.kind:
        return lambda: _dask(*clusters.start(section, many), out, shared)
    return lambda: Local(many, threads, out / "workers.log")


def _dask(client: Client, cluster: Cluster | None, out: Path, shared: bool | None) -> Engine:
    from l2sim.sweep.dask_engine import Dask  # late: --help is instant

    return Dask(client, out, cluster, shared)


def _tell(planned: Plan, out: Path) -> None:
    """How far a sweep is."""
    from contextlib import closing  # late: --help is instant

    from l2sim.sweep.agenda import read  # late: --help is instant
    from l2sim.sweep.log import DONE, FAILED, Log  # late: --help is instant

    read(out)
    with closing(Log(out / "log.jsonl", len(planned))) as log:
        done, failed = log.count(DONE), log.count(FAILED)
        rest = len(planned) - done - failed
        click.echo(f"{out}: {len(planned):,} points, {done:,} done, {failed:,} failed, {rest:,} open")
        for index, state in enumerate(log.states):
            if state == FAILED and (entry := log.entry(index)):
                click.echo(f"{entry.name} failed, {entry.attempts} times: {entry.error}")


class Watch:
    """Shows a sweep or a bank while it goes on: a bar on a terminal, a line now and then elsewhere; `noun` says what
    there are so many of."""

    def __init__(self, points: int, quiet: bool, noun: str = "points") -> None:
        from l2sim.runs.console import screen  # late: --help is instant

        self._console, self._quiet, self._told, self._noun = screen(), quiet, time.monotonic(), noun
        self._bar: rich.progress.Progress | None = None
        if not quiet and self._console.is_terminal:
            # late: --help is instant
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = TextColumn(noun), BarColumn(30), MofNCompleteColumn(), TextColumn("{task.fields[note]}")
            self._bar = Bar(*columns, console=self._console, refresh_per_second=4)
            self._task = self._bar.add_task("", total=points, note="")

    def __enter__(self) -> Watch:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar:
            self._bar.stop()

    def see(self, counts: Counts) -> None:
        """Show how far it is."""
        if self._bar:
            self._bar.update(self._task, completed=counts.done + counts.failed, note=_note(counts))
        elif not self._quiet and time.monotonic() - self._told > LINES_EVERY:
            self._told = time.monotonic()
            print(f"{counts.done:,} of {counts.points:,} {self._noun} done, {_note(counts)}", flush=True)

    def say(self, line: str) -> None:
        """Show a line that people should read."""
        if self._bar:
            self._console.print(f"warning: {line}")  # above the bar
        else:
            click.echo(f"warning: {line}", err=True)


def _note(counts: Counts) -> str:
    from l2sim.runs.console import left  # late: --help is instant

    parts = [f"{counts.running} running"]
    parts += [f"{counts.failed:,} failed"] if counts.failed else []
    parts += [left(counts.left)] if counts.left is not None else []
    return ", ".join(parts)
