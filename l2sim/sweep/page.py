"""The page of a sweep: how results depend on every field that varies, what failed, and the points in numbers."""

from __future__ import annotations

import shlex
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from l2sim import files
from l2sim.backend import Array
from l2sim.job.flows import FLOWS
from l2sim.report import html
from l2sim.sweep import share, table
from l2sim.sweep.log import DONE, FAILED, Log
from l2sim.sweep.plan import Plan

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRICS = {
    "learn.accuracy": ("accuracy after learning (%)", 100.0),
    "map.accuracy": ("accuracy after mapping (%)", 100.0),
    "map.oracle_mapping_error": ("oracle mapping error", 1.0),
    "calibrate.oracle_identity_error.u": ("identity error of U", 1.0),
    "learn.energy_j.total": ("energy of learning (J)", 1.0),
    "learn.oracle_gradient_error": ("gradient error", 1.0),
}
"""What is drawn over each field, where the points have it: label and factor."""
ROWS = 100
"""The page shows so many points at most; the table has all."""
DOTS = 3000
BINS = 12
"""Numbers with more values than this are averaged in so many ranges."""
FAILURES = 20


def write(plan: Plan, log: Log, out: Path) -> None:
    """Make `report.html`."""
    files.write(out / "report.html", render(plan, log, out.name).encode())


def render(plan: Plan, log: Log, name: str) -> str:
    """The page as text."""
    fields, metrics = _gathered(plan, log)
    body = [_head(plan, log, name), *_figures(fields, metrics), _failures(log), _points(plan, log)]
    return html.page(f"Sweep {name}", [part for part in body if part])


def _gathered(plan: Plan, log: Log) -> tuple[dict[str, list[object]], dict[str, Array]]:
    """What varies, and the metrics, of the points that are done."""
    fields: dict[str, list[object]] = {path: [] for path in plan.fields}
    metrics: dict[str, list[float]] = {name: [] for name in METRICS}
    for index, state in enumerate(log.states):
        if state == DONE and (entry := log.entry(index)) is not None:
            for path, value in plan.values(index).items():
                fields[path].append(value)
            for name, values in metrics.items():
                value = entry.row.get(name)
                values.append(np.nan if value is None else METRICS[name][1] * value)
    return fields, {name: np.array(values) for name, values in metrics.items() if np.isfinite(values).any()}


def _head(plan: Plan, log: Log, name: str) -> str:
    done, failed = log.count(DONE), log.count(FAILED)
    states = [f"{done:,} of {len(plan):,} points are done"]
    states += [f"{failed:,} failed"] if failed else []
    varied = ", ".join(f"<code>{escape(path)}</code>" for path in plan.fields)
    parts = [f"<h1>Sweep {escape(name)}</h1>"]
    if done < len(plan):
        line = shlex.join(["l2sim", "sweep", name])
        parts.append(html.note(f"{', '.join(states)}. `{line}`, in the folder above this one, goes on."))
    parts.append(
        f"<p>{len(plan):,} points of job <code>{escape(plan.base.name)}</code> vary {varied}. All numbers are in "
        "<code>results.csv</code>, how each point ran in <code>runs.csv</code>; every point is a run folder in "
        "<code>points/</code>, of which <code>l2sim report</code> makes a page.</p>"
    )
    return "\n".join(parts)


def _figures(fields: dict[str, list[object]], metrics: dict[str, Array]) -> list[str]:
    """Panels for every metric: one for every field that its stage, or one before it, looks at."""
    import matplotlib  # late: it takes a second

    from l2sim.report import figures  # late: it imports matplotlib

    made = []
    with matplotlib.rc_context(figures.STYLE):
        for name, values in metrics.items():
            shown = [path for path in fields if (path != "seed" or len(fields) == 1) and _matters(path, name)]
            if not shown:
                continue
            across = min(len(shown), 3)
            down = -(-len(shown) // across)
            sheet, axes = figures.sheet(across, 3.4 * across, 2.7 * down, down)
            for ax, path in zip(axes.ravel(), shown):
                _panel(ax, path, fields[path], values)
                ax.set(ylabel=METRICS[name][0])
            for ax in axes.ravel()[len(shown) :]:
                ax.remove()
            others = "the other fields" + (" and the seeds" if "seed" in fields and "seed" not in shown else "")
            caption = (
                "Every dot is a point. The line is the mean over all points with that value, the band holds the middle "
                f"80 % of them: how much {others} matter besides."
                if len(fields) > 1 else "Every dot is a point; the line joins them."
            )  # fmt: skip
            svg = figures.svg(sheet, name.replace(".", "-"), f"{METRICS[name][0]} over each varied field.")
            title = METRICS[name][0].partition(" (")[0]
            made.append(html.section(title[0].upper() + title[1:], html.figure(svg, caption, "oracle" in name)))
    return made


def _matters(path: str, metric: str) -> bool:
    """Whether a field can make a difference to a metric."""
    stage = metric.partition(".")[0]
    flows = {name: flow.stages for name, flow in FLOWS.items() if stage in flow.stages}
    return all(share.reads(path, name) <= stages.index(stage) for name, stages in flows.items())


def _panel(ax: Axes, path: str, given: list[object], values: Array) -> None:
    """One metric over one field: dots, mean and band."""
    from l2sim.report import figures  # late: it imports matplotlib

    fine = np.isfinite(values)
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in given)
    options: list[str] = []
    if numbers:
        x = np.array(given, float)
    else:
        options = sorted({table.cell_text(value) for value in given})
        x = np.array([options.index(table.cell_text(value)) for value in given], float)
    log = numbers and x.min() > 0 and x.max() > 30 * x.min()
    every = max(1, x.size // DOTS)
    ax.plot(
        x[fine][::every], values[fine][::every], "o", ms=3, mew=0, alpha=0.35, color=figures.GREY,
        rasterized=x.size > figures.MOST_POINTS,
    )  # fmt: skip
    at, mean, low, high = _spread(x[fine], values[fine], log)
    if numbers:
        ax.fill_between(at, low, high, color=figures.BLUE, alpha=0.2, lw=0)
        ax.plot(at, mean, "o-", ms=4, color=figures.BLUE)
    else:
        ax.vlines(at, low, high, color=figures.BLUE, alpha=0.2, lw=9)
        ax.plot(at, mean, "o", ms=5, color=figures.BLUE)
        ax.set_xticks(range(len(options)), [text if len(text) < 14 else text[:12] + "…" for text in options])
        ax.set_xlim(-0.5, len(options) - 0.5)
    if log:
        ax.set_xscale("log")
    ax.set(xlabel=path)


def _spread(x: Array, y: Array, log: bool) -> tuple[Array, Array, Array, Array]:
    """Where, mean, and the range of the middle 80 %: of each value of x, or in ranges of equal counts."""
    places = np.unique(x)
    if places.size > BINS:
        order = np.argsort(x, kind="stable")
        groups = [part for part in np.array_split(order, BINS) if part.size]
    else:
        groups = [np.flatnonzero(x == place) for place in places]
    middle = [np.exp(np.log(x[g]).mean()) if log else x[g].mean() for g in groups]
    ends = [np.percentile(y[g], (10, 90)) for g in groups]
    return np.array(middle), np.array([y[g].mean() for g in groups]), *np.array(ends).reshape(-1, 2).T


def _failures(log: Log) -> str:
    failed = (index for index, state in enumerate(log.states) if state == FAILED)
    entries = [entry for index, _ in zip(failed, range(FAILURES)) if (entry := log.entry(index))]
    if not entries:
        return ""
    rows = [(escape(entry.name), "", [str(entry.attempts), escape(entry.error)]) for entry in entries]
    more = log.count(FAILED) - len(entries)
    body = html.table(["point", "attempts", "error"], rows, "words")
    body += f"<p>{more:,} more are in <code>runs.csv</code>.</p>" if more else ""
    return html.section("Failed points", f"<p>Running the sweep again tries them again.</p>{body}")


def _points(plan: Plan, log: Log) -> str:
    rows = []
    points = [point for point, _ in zip(table.rows(plan, log), range(ROWS))]
    columns = [name for name in METRICS if any(name in row for _, _, _, row in points)]
    for name, values, status, row in points:
        cells = [escape(table.cell_text(value)) for value in values.values()]
        cells += ["" if (cell := row.get(c)) is None else html.number(METRICS[c][1] * cell) for c in columns]
        rows.append((escape(name), "" if status == "done" else status, cells))
    heads = ["point", *plan.fields, *(METRICS[name][0] for name in columns)]
    first = f"<p>The first {ROWS} of {len(plan):,}.</p>" if len(plan) > ROWS else ""
    return html.section("Points", first + html.table(heads, rows))
