"""The table as text: in docs/performance.md, on the terminal, and against the committed figures."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from benchmarks.measure import COPY, FMA, MATMUL, Bench

BEGIN, END = "<!-- table: python -m benchmarks.table -->", "<!-- end of the table -->"
FELL = 0.15
"""Part by which a ratio may rise before it is named."""
LIMITS = ((MATMUL, "float32"), (MATMUL, "float64"), (FMA, "float32"), (FMA, "float64"), (COPY, "float32"))


def machine(bench: Bench, peers: Any) -> dict[str, Any]:
    """What the figures are of: the processor, its limits on one thread, versions."""
    import numba
    import numpy as np

    import l2sim

    rates = {f"{name}, {dtype}": bench.limit(name, dtype) for name, dtype in LIMITS}
    versions = {"l2sim": l2sim.__version__, "python": platform.python_version(), "numpy": np.__version__}
    versions |= {"numba": numba.__version__} | (peers.versions() if peers else {})
    return {"processor": _processor(), "limits": rates, "versions": versions}


def _processor() -> str:
    """The name that Linux knows it by."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def line(name: str, figure: dict[str, Any]) -> str:
    """A row on the terminal."""
    times = ", ".join(f"{way} {_time(seconds)}" for way, seconds in figure["seconds"].items())
    ratios = ", ".join(f"{pair} {ratio:.2f}" for pair, ratio in figure["ratios"].items())
    return f"{name}: {times}{'; ' + ratios if ratios else ''}"


def table(head: dict[str, Any], figures: dict[str, Any]) -> str:
    """The table in Markdown, with what it was made on above it."""
    units = {name: "GB/s" if COPY in name else "GFLOP/s" for name in head["limits"]}
    limits = ", ".join(f"{name} {rate / 1e9:.0f} {units[name]}" for name, rate in head["limits"].items())
    versions = ", ".join(f"{name} {number}" for name, number in head["versions"].items())
    lines = [
        f"One thread of one {head['processor']}; {limits}; {versions}. In a row all ways took turns, of 50 ms",
        "or one call; times are the shortest, ratios medians over n rounds (in brackets the least and the",
        "largest). Networks, chips and weights are drawn from one seed.", "",
        "| work | ways | ratios | limit of the first way, and the fraction of it reached | aimed at |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for name, figure in figures.items():
        times = "<br>".join(f"{way} {_time(seconds)}" for way, seconds in figure["seconds"].items())
        between = {pair: f"{low:.2f} to {high:.2f}" for pair, (low, high) in figure["spread"].items()}
        ratios = "<br>".join(f"{pair} **{ratio:.2f}** ({between[pair]})" for pair, ratio in figure["ratios"].items())
        lines.append(f"| {name}, n = {figure['rounds']} | {times} | {ratios} | {_limit(figure)} | {figure['target']} |")
    return "\n".join(lines) + "\n"


def _limit(figure: dict[str, Any]) -> str:
    if "flops" not in figure:
        return "that of the row without noise" if "exact" in figure["target"] else "none: a whole process"
    first = next(iter(figure["seconds"]))
    amount = f"{figure['flops'] / 1e9:.3g} GFLOP, {figure['bytes'] / 1e6:.3g} MB"
    return f"{amount}; {figure['limit']} {figure['fraction'][first]:.2f}"


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def write(path: Path, head: dict[str, Any], figures: dict[str, Any]) -> None:
    """The table between its marks in a page."""
    before, mark, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise SystemExit(f"{path} has no place for the table; put the lines {BEGIN} and {END} where it is to stand")
    replace(path, f"{before}{BEGIN}\n{table(head, figures)}\n{END}{after}")


def replace(path: Path, text: str) -> None:
    """A file as a whole."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def fallen(now: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """A line for each ratio that rose by more than 15 %."""
    lines = []
    for name, figure in now.items():
        for pair, ratio in figure["ratios"].items():
            old = before.get(name, {"ratios": {}})["ratios"].get(pair)
            if old is not None and ratio > (1 + FELL) * old:
                lines.append(f"{name}: {pair} is {ratio:.2f}, committed {old:.2f}")
    return lines
