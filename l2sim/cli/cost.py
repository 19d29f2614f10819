"""`l2sim cost`: joules and seconds of a run on its chips, or of a mesh on paper."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from l2sim import plugins

if TYPE_CHECKING:
    from l2sim.chip import energy

SIZES = (4, 8, 16, 32, 64, 128, 256)
GROUPS = {
    "light": ("laser",), "converters": ("modulator", "dac", "tia", "adc", "other"), "memory": ("memory", "digital"),
    "holding": ("heaters",),
}  # fmt: skip
"""Parts of a vector's energy as a narrow table shows them."""


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
@plugins.option
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
    from l2sim.report import bill  # late: --help is instant
    from l2sim.store.manifest import read_manifest  # late: --help is instant

    if explain:
        _explain()
        return
    settings += () if bits is None else (f"bits={bits}",)
    settings += () if rate is None else (f"rate_hz={rate}",)
    if folder is None:
        if cores is not None:
            raise click.UsageError("--cores is for a run; name its folder")
        sizes = SIZES if modes is None else _sizes(modes)
        _show_paper(bill.table_of(table or "thermal", settings), sizes, batch or 100, operations or "real")
        return
    for name, value in (("--modes", modes), ("--batch", batch), ("--operations", operations)):
        if value is not None:
            raise click.UsageError(f"{name} is for meshes on paper; leave it out, or leave out {folder}")
    read_manifest(folder)
    _show_run(folder, bill.table_for(folder, table, settings), cores)


def _show_run(out: Path, table: energy.Table | None, cores: int | None) -> None:
    """Print the bills of a run."""
    from rich.table import Table  # late: --help is instant

    from l2sim.report import bill  # late: --help is instant
    from l2sim.runs.console import screen  # late: --help is instant

    bills = bill.of_run(out, table, cores)
    sheet = Table(box=None, padding=(0, 1, 0, 0), header_style="underline")
    sheet.add_column("")
    for one in bills:
        sheet.add_column(one.stage, justify="right")
    for label, unit, cells in bill.rows(bills):
        sheet.add_row(f"{label}, {unit}" if unit else label, *cells)
    screen().print(sheet)


def _show_paper(table: energy.Table, sizes: Iterable[int], batch: int, operations: str) -> None:
    """Print meshes on paper, and the sizes at which they beat digital machines."""
    from rich.table import Table  # late: --help is instant

    from l2sim.chip import energy  # late: --help is instant
    from l2sim.report import bill  # late: --help is instant
    from l2sim.runs.console import screen  # late: --help is instant

    heads = (
        "N", "product, TOPS/W", "step, TOPS/W", *(f"{name}, pJ" for name in GROUPS), "light a port, W", "shifters, W",
        "flight, ns", "step, us",
    )  # fmt: skip
    sheet = Table(box=None, padding=(0, 1, 0, 0), header_style="underline")
    for head in heads:
        sheet.add_column(head, justify="right")
    for row in (bill.paper(table, modes, batch, operations) for modes in sizes):
        parts = [sum(row.vector_j[part] for part in group) * 1e12 for group in GROUPS.values()]
        numbers = row.mvm, row.step, *parts, row.port_w, row.static_w, row.flight_s * 1e9, row.step_s * 1e6
        sheet.add_row(str(row.modes), *(f"{number:.3g}" for number in numbers))
    console = screen()
    console.print(f"{table.title}: {table.bits} bit, {table.rate_hz:.3g} vectors a second, batch of {batch}, by vector")
    console.print(sheet)
    for digital in energy.DIGITAL.values():
        spans = [energy.break_even(kind, table, digital, batch, operations) for kind in ("mvm", "step")]
        products, steps = (f"N = {span[0]} to {span[1]}" if span else "at no N" for span in spans)
        rate = 1e-12 / digital.operation_j
        console.print(f"better than {digital.title} ({rate:.3g} TOPS/W): products {products}; steps {steps}")


def _explain() -> None:
    """Print every constant of every table with its unit, range and source."""
    from rich.table import Table  # late: --help is instant

    from l2sim.chip import energy  # late: --help is instant
    from l2sim.runs.console import screen  # late: --help is instant

    console = screen()
    for name, table in energy.TABLES.items():
        sheet = Table("constant", "value", "unit", "plausible", "meaning", "source", box=None, header_style="underline")
        for row in energy.constants(table):
            plausible = f"{row.low:.3g} to {row.high:.3g}"
            sheet.add_row(row.name, f"{row.value:.4g}", row.unit, plausible, row.meaning, row.source)
        console.print(f"{name}: {table.title}")
        console.print(sheet)


def _sizes(sizes: str) -> list[int]:
    """`4,16,64` as numbers of modes. ChipError where they are none."""
    from l2sim.errors import ChipError  # late: --help is instant

    try:
        numbers = [int(text) for text in sizes.split(",")]
    except ValueError:
        numbers = [0]
    if not all(2 <= modes <= 4096 for modes in numbers):
        raise ChipError(f"--modes {sizes} are no sizes of a mesh; write whole numbers from 2 to 4096, e.g. 16,64")
    return numbers
