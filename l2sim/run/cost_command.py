"""`l2sim cost`: joules and seconds of a run on its chips, or of a mesh on paper."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="[RUN]", required=False)
@click.option("--table", default="", metavar="NAME", help="Device table [the run's; on paper thermal].")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change a constant of it, e.g. bits=6.")
@click.option("--cores", type=click.IntRange(min=0), metavar="N", help="Cores shared in time [the run's].")
@click.option("--modes", metavar="N,...", help="On paper: sizes of the mesh [4 to 256].")
@click.option("--batch", type=click.IntRange(min=1), metavar="M", help="On paper: vectors in a training step [100].")
@click.option("--bits", type=int, metavar="B", help="Resolution of converters [8].")
@click.option("--rate", type=float, metavar="HZ", help="Vectors a second [1e9].")
@click.option("--operations", type=click.Choice(("real", "complex")), help="N x N counted as 2 or 8 N^2 [real].")
@click.option("--explain", is_flag=True, help="Every constant with its range and source.")
def cost(
    folder: Path | None,
    table: str,
    settings: tuple[str, ...],
    cores: int | None,
    modes: str | None,
    batch: int | None,
    bits: int | None,
    rate: float | None,
    operations: str | None,
    explain: bool,
) -> None:
    """Energy and time on the chips.

    Of a finished run by stage and part; without RUN of meshes on paper, beside digital machines."""
    from l2sim.run import bill
    from l2sim.run.manifest import read_manifest

    if explain:
        bill.explain()
        return
    settings += () if bits is None else (f"bits={bits}",)
    settings += () if rate is None else (f"rate_hz={rate}",)
    if folder is None:
        if cores is not None:
            raise click.UsageError("--cores is for a run; name its folder")
        sizes = bill.SIZES if modes is None else bill.checked(modes)
        bill.show_paper(bill.table_of(table or "thermal", settings), sizes, batch or 100, operations or "real")
        return
    for name, value in (("--modes", modes), ("--batch", batch), ("--operations", operations)):
        if value is not None:
            raise click.UsageError(f"{name} is for meshes on paper; leave it out, or leave out {folder}")
    read_manifest(folder)
    bill.show_run(folder, bill.table_for(folder, table, settings), cores)
