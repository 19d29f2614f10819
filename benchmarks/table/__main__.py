"""python -m benchmarks.table [--peers] [--check] [--quick] [--busy] [--only PATTERN] [--json FILE] [--page FILE]

Without more it makes every row and writes docs/results/bench.json, after every row, and the table of
docs/performance.md. `--check` makes them again without others, writes nothing and names the ratios that fell by more
than 15 % against the committed ones.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2sim import blas

if TYPE_CHECKING:
    from benchmarks.measure import Bench
    from benchmarks.table.rows import Row

blas.choose()  # before anything imports NumPy
ROOT = Path(__file__).resolve().parents[2]
TURN = 0.05
"""Seconds of a turn: short steps follow each other, as in a run."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.table", description="What users run, beside its limits.")
    parser.add_argument("--peers", action="store_true", help="with PyTorch and JAX beside it (make bench-peers)")
    parser.add_argument("--check", action="store_true", help="compare ratios with the committed ones; write nothing")
    parser.add_argument("--quick", action="store_true", help="small sizes, seconds instead of minutes")
    parser.add_argument("--busy", action="store_true", help="processor time: for a shared machine")
    parser.add_argument("--only", metavar="PATTERN", default="*", help="rows whose name matches, e.g. 'step*'")
    parser.add_argument("--json", metavar="FILE", default=str(ROOT / "docs/results/bench.json"), help="the figures")
    parser.add_argument("--page", metavar="FILE", default=str(ROOT / "docs/performance.md"), help="the page")
    options = parser.parse_args(arguments)

    from benchmarks.measure import Bench
    from benchmarks.table import page
    from l2sim import backend

    peers: Any = None
    if options.peers:
        from benchmarks import peers  # type: ignore[no-redef]  # late: PyTorch and JAX
    figures: dict[str, Any] = {}
    failed: list[str] = []
    with backend.threads(1):
        bench = Bench(options.quick, 1, options.busy)
        head = page.machine(bench, peers)
        for name, figure in made(bench, peers, options.only, failed):
            figures[name] = figure
            print(page.line(name, figure), flush=True)
            if not options.check:  # after every row: what is cut short leaves what it has
                whole = json.dumps({"machine": head, "rows": figures}, indent=1) + "\n"
                page.replace(Path(options.json), whole)
    if options.check:
        fell = page.fallen(figures, json.loads(Path(options.json).read_text())["rows"])
        print("\n".join(fell) or "no ratio fell by more than 15 %")
        return 1 if fell or failed else 0
    page.write(Path(options.page), head, figures)
    return 1 if failed else 0


def made(bench: Bench, peers: Any, only: str, failed: list[str]) -> Iterator[tuple[str, Any]]:
    """(name, figures) of every row; what fails is named and does not end the others."""
    from benchmarks.table.rows import rows

    for name, maker in rows(bench, peers):
        if not (fnmatch.fnmatch(name, only) or only in name):
            continue
        try:
            yield name, measured(bench, maker())
        except Exception as error:
            failed.append(name)
            print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr)


def measured(bench: Bench, row: Row) -> dict[str, Any]:
    """What stands in the file of a row."""
    from benchmarks.measure import COPY, median

    if row.timed:
        seconds = {name: [float(way()) for _ in range(row.repeats)] for name, way in row.ways.items()}  # type: ignore[arg-type]
    else:
        seconds = bench.paired(row.ways, 2 if bench.quick else row.repeats, 0.0 if bench.quick else TURN)
    best = {name: min(runs) * row.scale.get(name, 1.0) for name, runs in seconds.items()}
    figure: dict[str, Any] = {"seconds": best, "target": row.target, "ratios": {}, "spread": {}}
    figure["rounds"] = len(next(iter(seconds.values())))
    for a, b in row.ratios:
        each = [x / y for x, y in zip(seconds[a], seconds[b])]
        figure["ratios"][f"{a} / {b}"] = median(each)
        figure["spread"][f"{a} / {b}"] = min(each), max(each)
    if row.flops:
        by_flops, by_bytes = row.flops / bench.limit(row.rate, row.dtype), row.size / bench.limit(COPY, "float32")
        figure |= {"flops": row.flops, "bytes": row.size, "limit": row.rate if by_flops > by_bytes else COPY}
        figure["fraction"] = {name: max(by_flops, by_bytes) / took for name, took in best.items()}
    return figure


if __name__ == "__main__":
    sys.exit(main())
