"""python -m benchmarks [--only PATTERN] [--quick] [--threads N] [--minutes M] [--busy] [--device NAME] [--json FILE]"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from l2sim import blas

if TYPE_CHECKING:
    from benchmarks.measure import Bench, Measurement

blas.choose()  # before anything imports NumPy


def cases() -> dict[str, Callable[[Bench], Iterator[Measurement]]]:
    """Every case by name, in the order of the run."""
    from benchmarks import (
        decomposition,
        insitu,
        noise,
        points,
        propagation,
        runs,
        steps,
        stream,
        sweeps,
        tracking,
    )
    from benchmarks.desktop import first, painting, window

    modules = (
        sweeps, decomposition, propagation, insitu, steps, noise, runs, stream, tracking, points, painting, window,
        first,
    )  # fmt: skip
    return {name: case for module in modules for name, case in module.CASES}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure l2sim beside the machine's limits.")
    parser.add_argument("--only", metavar="PATTERN", default="*", help="cases whose name matches, e.g. 'sweep*'")
    parser.add_argument("--quick", action="store_true", help="small sizes, seconds instead of minutes")
    parser.add_argument("--threads", type=int, metavar="N", help="this many threads [one, then all]")
    parser.add_argument("--minutes", type=float, default=1.0, metavar="M", help="how long gui-memory watches a job [1]")
    parser.add_argument("--busy", action="store_true", help="processor time of one thread: for a shared machine")
    parser.add_argument("--device", metavar="NAME", default="cpu", help="cuda or cuda:N: what runs on a GPU")
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    options = parser.parse_args(arguments)
    known = cases()
    if options.list:
        print("\n".join(known))
        return 0
    chosen = {name: case for name, case in known.items() if fnmatch.fnmatch(name, options.only) or options.only in name}
    if not chosen:
        print(f"no case matches {options.only!r}; there are {', '.join(known)}", file=sys.stderr)
        return 2

    import numba

    from benchmarks import chips
    from benchmarks.measure import Bench
    from l2sim import backend

    chips.DEVICE = backend.device(options.device)
    if options.device != "cpu":  # the other cases measure kernels of the CPU
        there = ("sweep", "step", "vgg8", "bank", "propagate", "insitu")
        chosen = {name: case for name, case in chosen.items() if name.startswith(there)}
        options.threads = options.threads or 1
    rows: list[dict[str, object]] = []
    failed: list[str] = []
    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    for threads in [1] if options.busy else [options.threads] if options.threads else sorted({1, most}):
        with backend.threads(threads):
            bench = Bench(options.quick, threads, options.busy, chips.DEVICE, options.minutes)
            for name, case in {"limits": Bench.limits, **chosen}.items():
                for measurement in measured(name, case, bench, failed):
                    rows.append(bench.row(measurement))
                    print(_line(rows[-1]), flush=True)
                    if options.json:  # after every row: what is cut short leaves what it has
                        _write(Path(options.json), rows)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def measured(
    name: str, case: Callable[[Bench], Iterator[Measurement]], bench: Bench, failed: list[str]
) -> Iterator[Measurement]:
    """The rows of a case. One that cannot be measured here says so; one that fails is named and ends no other."""
    from benchmarks.measure import LeftOut

    try:
        yield from case(bench)
    except LeftOut as reason:
        print(f"{name} is left out: {reason}", file=sys.stderr)
    except Exception:
        failed.append(name)
        traceback.print_exc()


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


FIXED = ("case", "variant", "threads", "seconds", "rate", "unit", "fraction", "limit", "dtype")


def _line(row: dict[str, object]) -> str:
    sizes = " ".join(f"{name}={_short(value)}" for name, value in row.items() if name not in FIXED)
    share = "" if row["fraction"] is None else f"{row['fraction']:.2f} of {row['limit']}"
    rate = f"{row['rate']:.4g} {row['unit']}"
    return (
        f"{row['threads']}  {row['case']:16} {row['variant']:26} {row['seconds']:<10.4g} {rate:16} {share:26} {sizes}"
    )


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
