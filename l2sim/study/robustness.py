"""Maps of robustness: accuracy and errors over any grid of a job's fields, with confidence intervals over the seeds.

    python -m l2sim.study.robustness             a quick look
    python -m l2sim.study.robustness --full      the page
    python -m l2sim.study.robustness digits --grid nonidealities.phase_bits=[4,6,8] --seeds 5 --full --out DIR

The second makes the maps of `MAPS`. The third makes those of any presets over the product of any fields; `--set` holds
for every point. A map is a sweep (docs/sweeps.md): points share what they can, and the same command goes on.
"""

from __future__ import annotations

import csv
import itertools
import tomllib
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from l2sim.errors import JobError, RunError
from l2sim.report import figures
from l2sim.study.harness import (
    INTERVALS,
    Settings,
    Spread,
    Study,
    bars,
    grouped,
    listed,
    magnitude,
    markdown,
    percent,
    share,
    write_csv,
)  # fmt: skip
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
    seeds: int = 10


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
    "mapping_error": (("map.oracle_mapping_error",), "mapping error"),
    "gradient_error": (("learn.oracle_gradient_error",), "gradient error, 1 − cos"),
}
"""Columns of a sweep's table whose mean each metric is, and its name for people."""


class Point(NamedTuple):
    """One place of a map: what its fields are, and by metric the mean over the seeds with its interval."""

    preset: str
    values: Settings
    seeds: int
    metrics: dict[str, Spread]


class Results(NamedTuple):
    """The points of every map, the name of the files, and the command that makes them."""

    maps: list[list[Point]]
    name: str
    command: str


def planned(wanted: Map, whole: bool = True) -> sweep_plan.Plan:
    """The sweep of a map, in smoke size where it is not to be the `whole`.

    JobError for a field or value that no job has, and where the seeds vary twice.
    """
    seeds: dict[str, list[object]] = {} if "seed" in wanted.grid else {"seed": list(range(1, wanted.seeds + 1))}
    size = {} if whole else {"smoke": True}
    plan = sweep_plan.plan(size | {"job": wanted.preset, "overrides": wanted.settings, "grid": wanted.grid | seeds})
    plan.check()
    return plan


def measured(wanted: Map, folder: Path, data: Path | None = None, workers: int = 1, whole: bool = True) -> list[Point]:
    """Run what is open of a map below `folder`, and summarise it over its seeds."""
    plan = planned(wanted, whole)
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
                metrics[metric] = share(seen) if "accuracy" in metric else magnitude(seen)
        points.append(Point(wanted.preset, place, len(same), metrics))
    return points


def named(path: str) -> str:
    """A field for people, without its section."""
    return path.rpartition(".")[2].replace("_", " ")


def draw(results: Results, ending: str, cost: str) -> Figure:
    """A row a map, a panel a metric whose name has this `ending`: over the first field, a curve for every combination
    of the others. `cost` says what is lost."""
    maps = [(points, [metric for metric in points[0].metrics if metric.endswith(ending)]) for points in results.maps]
    maps = [(points, metrics) for points, metrics in maps if metrics]
    sheet = Figure((7.6, 3.7 * len(maps) or 1.0), layout="constrained")
    parts = sheet.subfigures(max(len(maps), 1), 1, squeeze=False)
    for part, (points, metrics) in zip(parts[:, 0], maps):
        panels = part.subplots(1, len(metrics), squeeze=False)[0]
        first, *rest = map(named, points[0].values)
        question = f"{points[0].preset}: what do {' and '.join([first, *rest])} cost in {cost}?"
        part.suptitle(question, fontsize=10.5, x=0.01, ha="left")
        for ax, metric in zip(panels, metrics):
            panel(ax, points, metric)
        if rest:
            part.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return sheet


def panel(ax: Axes, points: list[Point], metric: str) -> None:
    """One metric of one map."""
    first, *rest = points[0].values
    shown = list(dict.fromkeys(str(point.values[first]) for point in points))
    others = list(dict.fromkeys(tuple(point.values[path] for path in rest) for point in points))
    scale = 100 if "accuracy" in metric else 1
    for other, look in zip(others, itertools.cycle(figures.LOOKS)):
        mine = [p for p in points if tuple(p.values[path] for path in rest) == other and metric in p.metrics]
        x = [shown.index(str(p.values[first])) for p in mine]
        words = ", ".join(f"{named(path)} {value}" for path, value in zip(rest, other)) or None
        shift = 0.05 * (others.index(other) - (len(others) - 1) / 2)
        bars(ax, np.add(x, shift), [p.metrics[metric] for p in mine], look, scale, label=words)
    ax.set_xticks(range(len(shown)), shown)
    ax.set(xlabel=named(first), ylabel=METRICS[metric][1] + (" (%)" if scale == 100 else ""))
    ax.set_ylim(0, 102 if scale == 100 else None)


def page(results: Results) -> list[str]:
    """The results as lines of Markdown."""
    name = results.name
    lines = [
        "# Robustness", "", f"Made by `{results.command}`; the same numbers are in [{name}.csv]({name}.csv).", "",
        f"![Accuracies over the fields that vary]({name}.png)", "",
        f"![Errors of phases, weights and gradients over the same fields]({name}-errors.png)", "",
        f"Means over the seeds. {INTERVALS}", "",
    ]  # fmt: skip
    for points in results.maps:
        fields, metrics = list(points[0].values), list(points[0].metrics)
        lines += [
            f"## {points[0].preset}", "", f"{listed(range(1, points[0].seeds + 1))} a point.", "",
            *markdown([*map(named, fields), *(METRICS[metric][1] for metric in metrics)], (
                (*point.values.values(),
                 *(shown(metric, point.metrics[metric]) if metric in point.metrics else "" for metric in metrics))
                for point in points
            )), "",
        ]  # fmt: skip
    return lines[:-1]


def shown(metric: str, mean: Spread) -> str:
    """A mean and its interval, accuracies in %."""
    if "accuracy" in metric:
        return percent(mean)
    return f"{mean.mean:.3g}" + (f" ({mean.low:.3g} to {mean.high:.3g})" if mean.number > 1 else "")


def table(results: Results, path: Path) -> None:
    """One row a point and metric."""
    fields = list(dict.fromkeys(field for points in results.maps for field in points[0].values))
    write_csv(path, ["preset", *fields, "metric", "seeds", "mean", "low_95", "high_95"], (
        (point.preset, *(point.values.get(field, "") for field in fields), metric, mean.number,
         *(f"{value:.5g}" for value in mean[:3]))
        for point in itertools.chain(*results.maps)
        for metric, mean in point.metrics.items()
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
    parser.add_argument("--seeds", type=int, default=10, help="seeds of every point [10]")
    parser.add_argument("--workers", type=int, default=1, help="processes [1]")
    parser.add_argument("--name", default="robustness", help="of the files [robustness]")


def compute(options: Namespace) -> Results:
    """The maps that the command line asks for. JobError where it asks for none. A quick look is at two seeds in smoke
    size."""
    grid = grid_of(options.grid)
    if bool(options.preset) != bool(grid):
        raise JobError("a map is presets over a grid; name a preset and give --grid FIELD=[...], or neither")
    wanted = [Map(name, options.set, grid, options.seeds) for name in options.preset] or list(MAPS)
    if not options.full:
        wanted = [one._replace(seeds=2) for one in wanted[:1]]
    maps = [measured(one, options.runs, options.data, options.workers, options.full) for one in wanted]
    words = " ".join([*options.preset, *(f"--grid '{setting}'" for setting in options.grid)])
    command = f"python -m l2sim.study.robustness {words} --full".replace("  ", " ")
    return Results(maps, options.name, command)


def points_of(rows: list[dict[str, str]]) -> list[Point]:
    """The points of one map from the rows of its table."""
    fields = [name for name in rows[0] if "." in name and rows[0][name]]
    points = []
    for place, same in grouped(rows, lambda row: tuple(row[name] for name in fields)).items():
        metrics = {
            row["metric"]: Spread(float(row["mean"]), float(row["low_95"]), float(row["high_95"]), int(row["seeds"]))
            for row in same
        }
        points.append(Point(rows[0]["preset"], dict(zip(fields, place)), int(same[0]["seeds"]), metrics))
    return points


def read(path: Path) -> Results:
    """The results from their table."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    maps = [points_of(mine) for mine in grouped(rows, lambda row: row["preset"]).values()]
    return Results(maps, path.stem, "python -m l2sim.study.robustness --full")


STUDY = Study("{name}", __doc__, compute, page, table, read, {
    "": partial(draw, ending="accuracy", cost="accuracy"), "errors": partial(draw, ending="error", cost="errors"),
}, options=options)  # fmt: skip

if __name__ == "__main__":
    STUDY.main()
