"""`l2sim bank`: a bank of cores larger than memory, calibrated and mapped in chunks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from l2sim import plugins
from l2sim.cli.progress import Progress
from l2sim.cli.sweep import Watch, engine_of

if TYPE_CHECKING:
    from l2sim.sweep.bank.summary import Summary


@click.command()
@click.argument("source", metavar="[PRESET|JOB.toml]", required=False)
@click.option("--weights", required=True, metavar="N|FILE", help="So many drawn from the seed, or of .npy, .npz, "
              ".safetensors.")  # fmt: skip
@click.option("--by", type=click.Choice(("twin", "search")), default="twin", help="How cores are calibrated [twin].")
@click.option("--k", type=click.IntRange(2, 64), default=9, metavar="K", help="Modes of a core [9].")
@click.option("--set", "settings", multiple=True, metavar="PATH=VALUE", help="Change a field, e.g. chip.mesh=reck.")
@click.option("--seed", type=int, metavar="N", help="Random seed [the job's].")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the bank [runs/bank-WEIGHTS].")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Processes [cores].")
@click.option("--scheduler", metavar="ADDRESS", help="Dask's, e.g. tcp://host:8786, or local for one of this machine.")
@plugins.option
@click.option("--quiet", is_flag=True, help="Print only errors and the path of the summary.")
@click.pass_obj
def bank(
    progress: Progress,
    source: str | None,
    weights: str,
    by: Literal["twin", "search"],
    k: int,
    settings: tuple[str, ...],
    seed: int | None,
    out: Path | None,
    workers: int | None,
    scheduler: str | None,
    quiet: bool,
) -> None:
    """Calibrate a bank of cores and map weights onto it, however many: in chunks, with flat memory.

    Chips, searches and devices are those of a job [digits: the published chip]. Stopped or killed, the same command
    goes on. docs/bank.md describes the folder.
    """
    from l2sim.job import job as jobs  # late: --help is instant
    from l2sim.sweep.bank import running  # late: --help is instant
    from l2sim.sweep.bank.plan import planned  # late: --help is instant
    from l2sim.sweep.cluster import Section  # late: --help is instant

    job = jobs.with_overrides(
        jobs.load(source or "digits"), [*settings, *([f"seed={seed}"] if seed is not None else [])]
    )
    wanted = planned(weights, job, k, by)
    out = out or Path("runs") / f"bank-{Path(weights).stem if wanted.file else weights}"
    progress.hint = "run the same command again"
    engine = engine_of(Section(), 1, out, workers, scheduler)
    with Watch(wanted.chunks, quiet, "chunks") as watch:
        made = running.run(wanted, out, engine, watch.see, watch.say)
    if not quiet:
        _show(made, out)
    click.echo(out / "summary.json")


def _show(made: Summary, out: Path) -> None:
    """Print the table of a bank."""
    from rich.table import Table  # late: --help is instant

    from l2sim.runs.console import screen  # late: --help is instant
    from l2sim.sweep.bank import chunk, running, summary  # late: --help is instant

    sheet = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
    sheet.add_column("")
    sheet.add_column("", justify="right")
    for row in summary.rows(made, summary.used(out / running.USAGE), chunk.peak()):
        sheet.add_row(*row)
    screen().print(sheet)
