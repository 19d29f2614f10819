"""Maps of robustness: accuracy and errors over any grid of a job's fields, with confidence intervals over the seeds.

    python -m l2sim.study.robustness --out docs/results
    python -m l2sim.study.robustness digits insitu-digits --grid nonidealities.phase_bits=[4,6,8] --seeds 5 --out DIR

The first makes the maps of `MAPS`. The second makes those of any presets over the product of any fields; `--set` holds
for every point. A map is a sweep (docs/sweeps.md): points share what they can, and the same command goes on.
"""

from __future__ import annotations

import itertools
import math
import tomllib
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from l2sim.errors import JobError, RunError
from l2sim.report import figures
from l2sim.study.harness import Settings, Study, interval, markdown, write_csv
from l2sim.sweep import agenda
from l2sim.sweep import plan as sweep_plan
from l2sim.sweep import table as sweep_table
from l2sim.sweep.local import Local
from l2sim.sweep.log import Log


class Map(NamedTuple):
    """What is run: a preset, settings for every point (by path, or as "path=value"), and the values of the fields that
    vary, by path."""

    preset: str
    settings: Settings | list[str]
    grid: dict[str, list[object]]
    seeds: int = 3


SHORT: dict[str, Settings] = {
    "digits": {
        "map.compare": False, "pretrain.epochs": 40, "calibrate.epochs": 200, "calibrate.polish": 30,
        "map.epochs": 150, "map.polish": 30, "learn.epochs": 8,
    },
    "insitu-digits": {"learn.epochs": 8, "insitu.scheme": "analog", "insitu.scale": "peak"},
}  # fmt: skip
"""A quarter to a half of the presets' epochs."""
MAPS = (
    Map("digits", SHORT["digits"], {
        "nonidealities.phase_bits": [4, 5, 6, 8], "nonidealities.crosstalk": [0.0, 0.005, 0.02],
    }),
    Map("insitu-digits", SHORT["insitu-digits"], {
        "nonidealities.tap_noise": [0.0, 0.1, 0.3, 1.0], "nonidealities.splitter_error_std": [0.0, 0.05, 0.15],
    }),
)  # fmt: skip
METRICS: dict[str, tuple[tuple[str, ...], str]] = {
    "accuracy": (("learn.accuracy",), "accuracy after learning"),
    "mapped_accuracy": (("map.accuracy",), "accuracy after mapping"),
    "identity_error": (("calibrate.oracle_identity_error.u", "calibrate.oracle_identity_error.v"), "identity error"),
    "mapping_error": (("map.mapping_error",), "mapping error"),
    "gradient_error": (("learn.oracle_gradient_error",), "gradient error, 1 − cos"),
}
"""Columns of a sweep's table whose mean each metric is, and its name for people."""


class Point(NamedTuple):
    """One place of a map: what its fields are, and by metric the mean over the seeds and half the width of its 95 %
    confidence interval (NaN with one seed)."""

    preset: str
    values: Settings
    seeds: int
    metrics: dict[str, tuple[float, float]]


class Results(NamedTuple):
    """The points of every map, the name of the files, and the command that makes them."""

    maps: list[list[Point]]
    name: str
    command: str


def planned(wanted: Map) -> sweep_plan.Plan:
    """The sweep of a map. JobError for a field or value that no job has, and where the seeds vary twice."""
    seeds: dict[str, list[object]] = {} if "seed" in wanted.grid else {"seed": list(range(1, wanted.seeds + 1))}
    plan = sweep_plan.plan({"job": wanted.preset, "overrides": wanted.settings, "grid": wanted.grid | seeds})
    plan.check()
    return plan


def measured(wanted: Map, folder: Path, data: Path | None = None, workers: int = 1) -> list[Point]:
    """Run what is open of a map below `folder`, and summarise it over its seeds."""
    plan = planned(wanted)
    out = folder / f"robustness-{wanted.preset}-{plan.digest}"
    counts = agenda.run(plan, out, lambda: Local(workers, 1, out / "workers.log"), data, say=print)
    if counts.failed:
        raise RunError(f"{counts.failed} of {counts.points} points failed; {out / 'runs.csv'} says why")
    with closing(Log(out / "log.jsonl", len(plan))) as log:
        return summary(wanted, [(values, row) for _, values, _, row in sweep_table.rows(plan, log)])


def summary(wanted: Map, rows: list[tuple[Mapping[str, object], Mapping[str, object]]]) -> list[Point]:
    """Points from (what varies, results) of every run; runs that differ in nothing but the seed are one point."""
    points, grid = [], {path: values for path, values in wanted.grid.items() if path != "seed"}
    for values in itertools.product(*grid.values()):
        place = dict(zip(grid, values))
        same = [row for varied, row in rows if place.items() <= varied.items()]
        metrics = {}
        for metric, (columns, _) in METRICS.items():
            cells = [[row[column] for column in columns] for row in same if row.keys() >= {*columns}]
            seen = np.mean(np.array(cells, float), axis=1).tolist() if cells else []
            if seen:
                metrics[metric] = float(np.mean(seen)), interval(seen)
        points.append(Point(wanted.preset, place, len(same), metrics))
    return points


def named(path: str) -> str:
    """A field for people, without its section."""
    return path.rpartition(".")[2].replace("_", " ")


def draw(results: Results) -> Figure:
    """A row a map, a panel a metric: over the first field, a curve for every combination of the others."""
    maps = results.maps
    most = max(len(points[0].metrics) for points in maps)
    sheet = Figure((3.7 * max(most, 2), 3.6 * len(maps)), layout="constrained")
    parts = sheet.subfigures(len(maps), 1, squeeze=False)
    for part, points in zip(parts[:, 0], maps):
        panels = np.atleast_1d(part.subplots(1, len(points[0].metrics)))
        part.suptitle(points[0].preset, fontsize=11)
        for ax, metric in zip(panels, points[0].metrics):
            panel(ax, points, metric)
        figures.legend(panels[0])
    return sheet


def panel(ax: Axes, points: list[Point], metric: str) -> None:
    """One metric of one map."""
    first, *rest = points[0].values
    shown = list(dict.fromkeys(str(point.values[first]) for point in points))
    others = list(dict.fromkeys(tuple(point.values[path] for path in rest) for point in points))
    styles = zip(
        itertools.cycle((figures.BLUE, figures.VERMILLION, figures.GREEN, figures.PURPLE, figures.GREY)),
        itertools.cycle("osD^v"), itertools.cycle(("-", (0, (5, 1.5)), (0, (1.5, 1)))),
    )  # fmt: skip
    scale = 100 if "accuracy" in metric else 1
    for other, (colour, mark, dash) in zip(others, styles):
        mine = [p for p in points if tuple(p.values[path] for path in rest) == other and metric in p.metrics]
        x = [shown.index(str(p.values[first])) for p in mine]
        mean, width = scale * np.array([p.metrics[metric] for p in mine]).T
        words = ", ".join(f"{named(path)} {value}" for path, value in zip(rest, other)) or None
        shift = 0.05 * (others.index(other) - (len(others) - 1) / 2)
        ax.errorbar(
            np.add(x, shift), mean, np.nan_to_num(width), color=colour, marker=mark, ls=dash, ms=5, capsize=3,
            label=words,
        )  # fmt: skip
    ax.set_xticks(range(len(shown)), shown)
    ax.set(xlabel=named(first), title=METRICS[metric][1] + (" (%)" if scale == 100 else ""))
    low, high = ax.get_ylim()
    ax.set_ylim(0 if low < 0 or low < 0.5 * high else low, min(high, 101) if scale == 100 else high)


def page(results: Results) -> list[str]:
    """The results as lines of Markdown."""
    name = results.name
    lines = [
        "# Robustness", "", f"Made by `{results.command}`; the same numbers are in [{name}.csv]({name}.csv).", "",
        f"![Accuracy and errors over the fields that vary]({name}.png)", "",
        "Means over the seeds ± half the width of the 95 % confidence interval (Student's t).", "",
    ]  # fmt: skip
    for points in results.maps:
        fields, metrics = list(points[0].values), list(points[0].metrics)
        lines += [
            f"## {points[0].preset}", "", f"{points[0].seeds} seeds a point.", "",
            *markdown([*map(named, fields), *(METRICS[metric][1] for metric in metrics)], (
                (*point.values.values(),
                 *(shown(metric, *point.metrics[metric]) if metric in point.metrics else "" for metric in metrics))
                for point in points
            )), "",
        ]  # fmt: skip
    return lines[:-1]


def shown(metric: str, mean: float, width: float) -> str:
    """A mean and its interval."""
    spread = "" if math.isnan(width) else (f" ± {100 * width:.1f}" if "accuracy" in metric else f" ± {width:.1g}")
    return (f"{100 * mean:.1f}" if "accuracy" in metric else f"{mean:.3g}") + spread + (" %" if "acc" in metric else "")


def table(results: Results, path: Path) -> None:
    """One row a point and metric."""
    fields = list(dict.fromkeys(field for points in results.maps for field in points[0].values))
    write_csv(path, ["preset", *fields, "metric", "seeds", "mean", "half_width_95"], (
        (point.preset, *(point.values.get(field, "") for field in fields), metric, point.seeds, f"{mean:.5g}",
         f"{width:.3g}")
        for point in itertools.chain(*results.maps)
        for metric, (mean, width) in point.metrics.items()
    ))  # fmt: skip


def grid_of(settings: list[str]) -> dict[str, list[object]]:
    """Fields and their values from words such as `nonidealities.phase_bits=[4, 6, 8]`. JobError."""
    grid = {}
    for setting in settings:
        path, equals, text = (part.strip() for part in setting.partition("="))
        try:
            values = tomllib.loads(f"values = {text}")["values"]
        except tomllib.TOMLDecodeError:
            values = None
        if not path or not equals or not isinstance(values, list):
            raise JobError(f"--grid {setting!r} is no field with values; write nonidealities.phase_bits=[4, 6, 8]")
        grid[path] = values
    return grid


def options(parser: ArgumentParser) -> None:
    """Presets and what is varied of them."""
    parser.add_argument("preset", nargs="*", help="presets to map; none: the maps of the documentation")
    parser.add_argument("--grid", action="append", default=[], metavar="FIELD=[...]", help="values of a field")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="for every point")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of every point [3]")
    parser.add_argument("--workers", type=int, default=1, help="processes [1]")
    parser.add_argument("--name", default="robustness", help="of the files [robustness]")


def compute(options: Namespace) -> Iterator[Results]:
    """The maps that the command line asks for. JobError where it asks for none."""
    grid = grid_of(options.grid)
    if bool(options.preset) != bool(grid):
        raise JobError("a map is presets over a grid; name a preset and give --grid FIELD=[...], or neither")
    wanted = [Map(name, options.set, grid, options.seeds) for name in options.preset] or list(MAPS)
    maps = [measured(one, options.runs, options.data, options.workers) for one in wanted]
    words = " ".join([*options.preset, *(f"--grid '{setting}'" for setting in options.grid)])
    command = f"python -m l2sim.study.robustness {words} --out DIR".replace("  ", " ")
    yield Results(maps, options.name, command)


STUDY = Study("{name}", __doc__, compute, page, table, draw, runs=True, options=options)

if __name__ == "__main__":
    STUDY.main()
