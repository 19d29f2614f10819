"""`l2sim data`: list, fetch and verify data sets."""

from __future__ import annotations

from pathlib import Path

import click

from l2sim.errors import L2simError

place = click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Where data sets lie [L2SIM_DATA].")
"""The option of every command that reads data sets."""


@click.group()
def data() -> None:
    """List, fetch and verify data sets."""


@data.command("list")
@place
def data_list(data: Path | None) -> None:
    """What a job can name as data.name, and where it is."""
    from rich.table import Table  # late: --help is instant

    from l2sim.data import published as sets  # late: --help is instant
    from l2sim.runs.console import screen  # late: --help is instant

    table = Table("data set", "what it is", "where it is")
    for row in sets.list_sets(data):
        table.add_row(*row)
    screen().print(table)


@data.command("fetch")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@place
def data_fetch(names: tuple[str, ...], data: Path | None) -> None:
    """Download data sets.

    They go into --data, L2SIM_DATA or the user's cache; files that are as published stay."""
    from l2sim.data import published as sets  # late: --help is instant

    for name in names:
        sets.fetch(name, data)
        click.echo(sets.folder(name, data))


@data.command("verify")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@place
def data_verify(names: tuple[str, ...], data: Path | None) -> None:
    """Compare the files of a data set with the published checksums."""
    from rich.table import Table  # late: --help is instant

    from l2sim.data import published as sets  # late: --help is instant
    from l2sim.runs.console import screen  # late: --help is instant

    table = Table("data set", "file", "state")
    bad = []
    for name in names:
        for file, path, state in sets.verify(name, data):
            table.add_row(name, str(path or file), state)
            if state not in ("as published", sets.UNPACKED):
                bad.append(name)
    screen().print(table)
    if bad:
        raise L2simError(f"{bad[0]} is not as published; fetch it with `l2sim data fetch {bad[0]}`")
