"""Maps of robustness: accuracy and errors over any grid of a job's fields, with confidence intervals over the seeds.

    python -m l2sim.study.robustness --out docs/results
    python -m l2sim.study.robustness digits insitu-digits --grid nonidealities.phase_bits=[4,6,8] --seeds 5 --out DIR

The first makes the maps of `MAPS`. The second makes those of any presets over the product of any fields; `--set` holds
for every point. A map is a sweep (docs/sweeps.md): points share what they can, and the same command goes on.
"""

from __future__ import annotations

from l2sim.blas import prepare

if __name__ == "__main__":
    prepare()  # before anything imports NumPy

import csv
import itertools
import math
import tomllib
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from l2sim.errors import JobError, L2simError, RunError
from l2sim.study import runs
from l2sim.sweep import agenda
from l2sim.sweep import plan as sweep_plan
from l2sim.sweep import table as sweep_table
from l2sim.sweep.local import Local
from l2sim.sweep.log import Log


class Map(NamedTuple):
    """What is run: a preset, settings for every point (by path, or as "path=value"), and the values of the fields that
    vary, by path."""

    preset: str
    settings: Any
    grid: dict[str, list[Any]]
    seeds: int = 3


SHORT: dict[str, dict[str, Any]] = {
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
    values: dict[str, Any]
    seeds: int
    metrics: dict[str, tuple[float, float]]


# -- running -----------------------------------------------------------------------------------------------------------


def planned(it: Map) -> sweep_plan.Plan:
    """The sweep of a map. JobError for a field or value that no job has, and where the seeds vary twice."""
    seeds = {} if "seed" in it.grid else {"seed": list(range(1, it.seeds + 1))}
    found = sweep_plan.plan({"job": it.preset, "overrides": it.settings, "grid": it.grid | seeds})
    found.check()
    return found


def measured(it: Map, folder: Path, data: Path | None = None, workers: int = 1) -> list[Point]:
    """Run what is open of a map below `folder`, and summarise it over its seeds."""
    plan = planned(it)
    out = folder / f"robustness-{it.preset}-{plan.digest}"
    counts = agenda.run(plan, out, lambda: Local(workers, 1, out / "workers.log"), data, say=print)
    if counts.failed:
        raise RunError(f"{counts.failed} of {counts.points} points failed; {out / 'runs.csv'} says why")
    with closing(Log(out / "log.jsonl", len(plan))) as log:
        return summary(it, [(values, row) for _, values, _, row in sweep_table.rows(plan, log)])


def summary(it: Map, rows: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[Point]:
    """Points from (what varies, results) of every run; runs that differ in nothing but the seed are one point."""
    found = []
    for values in itertools.product(*(it.grid[path] for path in it.grid if path != "seed")):
        place = dict(zip((path for path in it.grid if path != "seed"), values))
        same = [row for varied, row in rows if place.items() <= varied.items()]
        metrics = {}
        for metric, (columns, _) in METRICS.items():
            seen = [float(np.mean([row[c] for c in columns])) for row in same if all(c in row for c in columns)]
            if seen:
                metrics[metric] = float(np.mean(seen)), runs.interval(seen)
        found.append(Point(it.preset, place, len(same), metrics))
    return found


# -- showing -----------------------------------------------------------------------------------------------------------


def named(path: str) -> str:
    """A field for people, without its section."""
    return path.rpartition(".")[2].replace("_", " ")


def draw(maps: list[list[Point]]) -> Any:
    """A row a map, a panel a metric: over the first field, a curve for every combination of the others."""
    import matplotlib
    from matplotlib.figure import Figure

    from l2sim.report import figures

    most = max(len(points[0].metrics) for points in maps)
    with matplotlib.rc_context(figures.STYLE):
        sheet = Figure((3.7 * max(most, 2), 3.6 * len(maps)), layout="constrained")
        parts: Any = sheet.subfigures(len(maps), 1, squeeze=False)
        for part, points in zip(parts[:, 0], maps):
            panels = np.atleast_1d(part.subplots(1, len(points[0].metrics)))
            part.suptitle(points[0].preset, fontsize=11)
            for ax, metric in zip(panels, points[0].metrics):
                panel(ax, points, metric)
            figures.legend(panels[0])
    return sheet


def panel(ax: Any, points: list[Point], metric: str) -> None:
    """One metric of one map."""
    from l2sim.report import figures

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
        look: dict[str, Any] = {"color": colour, "marker": mark, "ls": dash, "ms": 5, "capsize": 3, "label": words}
        ax.errorbar(np.add(x, shift), mean, np.nan_to_num(width), **look)
    ax.set_xticks(range(len(shown)), shown)
    ax.set(xlabel=named(first), title=METRICS[metric][1] + (" (%)" if scale == 100 else ""))
    low, high = ax.get_ylim()
    ax.set_ylim(0 if low < 0 or low < 0.5 * high else low, min(high, 101) if scale == 100 else high)


def page(maps: list[list[Point]], name: str, command: str) -> str:
    """The results as a page of Markdown."""
    lines = [
        "# Robustness", "", f"Made by `{command}`; the same numbers are in [{name}.csv]({name}.csv).", "",
        f"![Accuracy and errors over the fields that vary]({name}.png)", "",
        "Means over the seeds ± half the width of the 95 % confidence interval (Student's t).", "",
    ]  # fmt: skip
    for points in maps:
        fields, metrics = list(points[0].values), list(points[0].metrics)
        lines += [f"## {points[0].preset}", "", f"{points[0].seeds} seeds a point.", ""]
        lines.append("| " + " | ".join([*map(named, fields), *(METRICS[m][1] for m in metrics)]) + " |")
        lines.append("|---" * (len(fields) + len(metrics)) + "|")
        for point in points:
            cells = [str(value) for value in point.values.values()]
            cells += [shown(metric, *point.metrics[metric]) if metric in point.metrics else "" for metric in metrics]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def shown(metric: str, mean: float, width: float) -> str:
    """A mean and its interval."""
    spread = "" if math.isnan(width) else (f" ± {100 * width:.1f}" if "accuracy" in metric else f" ± {width:.1g}")
    return (f"{100 * mean:.1f}" if "accuracy" in metric else f"{mean:.3g}") + spread + (" %" if "acc" in metric else "")


def table(maps: list[list[Point]], path: Path) -> None:
    """One row a point and metric."""
    fields = list(dict.fromkeys(field for points in maps for field in points[0].values))
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["preset", *fields, "metric", "seeds", "mean", "half_width_95"])
        for point in itertools.chain(*maps):
            told = [point.values.get(field, "") for field in fields]
            for metric, (mean, width) in point.metrics.items():
                out.writerow([point.preset, *told, metric, point.seeds, f"{mean:.5g}", f"{width:.3g}"])


def grid_of(settings: list[str]) -> dict[str, list[Any]]:
    """Fields and their values from words such as `nonidealities.phase_bits=[4, 6, 8]`. JobError."""
    found = {}
    for setting in settings:
        path, equals, text = (part.strip() for part in setting.partition("="))
        try:
            values = tomllib.loads(f"values = {text}")["values"]
        except tomllib.TOMLDecodeError:
            values = None
        if not path or not equals or not isinstance(values, list):
            raise JobError(f"--grid {setting!r} is no field with values; write nonidealities.phase_bits=[4, 6, 8]")
        found[path] = values
    return found


def main(args: list[str] | None = None) -> None:
    """Write NAME.csv, NAME.png and NAME.md to the folder `--out`."""
    parser = runs.parser(__doc__.partition("\n")[0])
    parser.add_argument("preset", nargs="*", help="presets to map; none: the maps of the documentation")
    parser.add_argument("--grid", action="append", default=[], metavar="FIELD=[...]", help="values of a field")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="for every point")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of every point [3]")
    parser.add_argument("--workers", type=int, default=1, help="processes [1]")
    parser.add_argument("--name", default="robustness", help="of the files [robustness]")
    options = parser.parse_args(args)
    try:
        grid = grid_of(options.grid)
        if bool(options.preset) != bool(grid):
            raise JobError("a map is presets over a grid; name a preset and give --grid FIELD=[...], or neither")
        wanted = [Map(name, options.set, grid, options.seeds) for name in options.preset] or list(MAPS)
        maps = [measured(it, options.runs, options.data, options.workers) for it in wanted]
    except L2simError as error:
        parser.error(str(error))
    options.out.mkdir(parents=True, exist_ok=True)
    words = " ".join([*options.preset, *(f"--grid '{it}'" for it in options.grid)])
    command = f"python -m l2sim.study.robustness {words} --out DIR".replace("  ", " ")
    table(maps, options.out / f"{options.name}.csv")
    draw(maps).savefig(options.out / f"{options.name}.png", dpi=110)
    (options.out / f"{options.name}.md").write_text(page(maps, options.name, command), encoding="utf-8")
    print(options.out / f"{options.name}.md")


if __name__ == "__main__":
    main()
