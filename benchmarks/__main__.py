"""python -m benchmarks [--only PATTERN] [--quick] [--threads N] [--json FILE]"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

from l2sim.run import blas

blas.prepare()  # before anything imports NumPy


def cases() -> dict[str, Callable[..., Iterator[Any]]]:
    """Every case by name, in the order of the run."""
    from benchmarks import decomposition, propagation, runs, steps, sweeps

    return {name: case for module in (sweeps, decomposition, propagation, steps, runs) for name, case in module.CASES}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure l2sim beside the machine's limits.")
    parser.add_argument("--only", metavar="PATTERN", default="*", help="cases whose name matches, e.g. 'sweep*'")
    parser.add_argument("--quick", action="store_true", help="small sizes, seconds instead of minutes")
    parser.add_argument("--threads", type=int, metavar="N", help="this many threads [one, then all]")
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    told = parser.parse_args(arguments)
    known = cases()
    if told.list:
        print("\n".join(known))
        return 0
    chosen = {name: case for name, case in known.items() if fnmatch.fnmatch(name, told.only) or told.only in name}
    if not chosen:
        print(f"no case matches {told.only!r}; there are {', '.join(known)}", file=sys.stderr)
        return 2

    import numba
    from rich.console import Console
    from rich.table import Table

    from benchmarks.measure import Bench
    from l2sim import backend

    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    console, rows = Console(), []
    for threads in [told.threads] if told.threads else sorted({1, most}):
        with backend.threads(threads):
            bench = Bench(told.quick, threads)
            table = Table("case", "variant", "sizes", "seconds", "rate", "of the limit", title=f"{threads} threads")
            for name, case in {"limit": lambda bench: bench.limits(), **chosen}.items():
                with console.status(name):
                    for measurement in case(bench):
                        row = bench.row(measurement)
                        rows.append(row)
                        table.add_row(*_cells(row))
            console.print(table)
    if told.json:
        with open(told.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)
            file.write("\n")
    return 0


FIXED = ("case", "variant", "threads", "seconds", "rate", "unit", "fraction", "limit", "dtype")


def _cells(row: dict[str, Any]) -> list[str]:
    sizes = " ".join(f"{name}={_short(value)}" for name, value in row.items() if name not in FIXED)
    share = "" if row["fraction"] is None else f"{row['fraction']:.2f} {row['limit']}"
    return [row["case"], row["variant"], sizes, f"{row['seconds']:.4g}", f"{row['rate']:.4g} {row['unit']}", share]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
