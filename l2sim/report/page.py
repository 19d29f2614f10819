"""The report of a run: `report.json` and `figures.json` for programs, and `report.html`, one self-contained page.

The page needs no network and no script. It is made from the run folder alone, so `l2sim report DIR` makes it again.
`python -m l2sim.report.page DIR OUT.png` writes its first figure as a picture.
"""

from __future__ import annotations

import importlib
import json
import shlex
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from l2sim import files
from l2sim.flow.registry import FLOWS
from l2sim.job import job as jobs
from l2sim.job import presets
from l2sim.job.job import Job
from l2sim.report import bill, html
from l2sim.report.html import FACTS, number, oracle, percent
from l2sim.store import logs
from l2sim.store.events import EpochEnd, StageStarted, Trouble, Warned
from l2sim.store.gather import Material, gather

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Sections = tuple[Callable[[Material], str], ...]


class Parts(Protocol):
    """What the page of a flow adds: WHAT it is and what is said of its COST, `title` and `picture`, and the sections
    before the table of numbers, and before and after the cost. A module that a flow names (`Flow.report`)."""

    WHAT: str
    COST: str
    FIRST: Sections
    BEFORE_COST: Sections
    AFTER_COST: Sections

    def title(self, job: Job) -> str:
        """The headline of the page."""

    def picture(self, material: Material) -> Figure:
        """The picture at the top of the page."""


def parts(job: Job) -> Parts:
    """What the page of a run of `job` adds."""
    return cast(Parts, importlib.import_module(FLOWS[job.flow].report))


def write(out: Path, report: Mapping[str, object], figures: Mapping[str, object], page: bool = True) -> None:
    """Write `report.json`, `figures.json` and `report.html` (`page`) of a finished run into its folder, in this order.
    """
    text = json.dumps(logs.plain(report), indent=2, allow_nan=False)
    files.write(out / "report.json", (text + "\n").encode())
    files.write(out / "figures.json", (json.dumps(logs.plain(figures), allow_nan=False) + "\n").encode())
    if page:
        rebuild(out)


def rebuild(out: Path) -> Path:
    """Write `report.html` from what the folder holds and return its path. RunError where that cannot be read."""
    page = render(gather(out))
    files.write(out / "report.html", page.encode())
    return out / "report.html"


# -- the page ----------------------------------------------------------------------------------------------------------


def picture(run: Path, out: Path) -> None:
    """Write the overview of the run folder `run` to the PNG file `out`, and as SVG beside it."""
    import matplotlib  # late: it takes a second

    from l2sim.report import figures  # late: it loads Matplotlib

    with matplotlib.rc_context(figures.STYLE):
        material = gather(run)
        figure = parts(material.job).picture(material)
        figures.save(figure, out.with_suffix(""))


def render(material: Material) -> str:
    """The page as text. The same folder always gives the same bytes."""
    import matplotlib  # late: it takes a second

    from l2sim.report import figures  # late: it loads Matplotlib

    job, own = material.job, parts(material.job)
    title = own.title(job)
    sections = *own.FIRST, _table, *own.BEFORE_COST, _cost, bill.section, *own.AFTER_COST
    with matplotlib.rc_context(figures.STYLE):
        body = [_head(material, title), *(section(material) for section in sections)]
    body += [_settings(job), _reproduce(material)]
    return html.page(title, body)


def _head(material: Material, title: str) -> str:
    body = [f"<h1>{escape(title)}</h1>"]
    if not material.finished:
        body.append(html.note(_unfinished(material)))
    for event in material.events:
        if isinstance(event, Warned):
            body.append(html.note(f"Warning, {event.stage}: {event.message}"))
        elif isinstance(event, Trouble):
            body.append(html.note(f"{event.stage}, step {event.step}: {event.kind}: {event.message}"))
    body.append(
        f"<p>{parts(material.job).WHAT} Quantities marked {html.BADGE} are computed from the hidden state of the "
        "simulated chips; nothing on the chip uses them.</p>"
    )
    return "\n".join(body)


def _unfinished(material: Material) -> str:
    """How far a run got."""
    epochs = [event for event in material.events if isinstance(event, EpochEnd)]
    stages = [event for event in material.events if isinstance(event, StageStarted)]
    done = [stage["name"] for stage in material.report.stages]
    if not stages:
        where = "before its first stage"
    elif stages[-1].stage in done:
        where = f"after stage {stages[-1].stage}"
    else:
        stage = stages[-1]
        count = max((event.epoch for event in epochs if event.stage == stage.stage), default=0)
        where = f"in stage {stage.stage} after {count} of {stage.epochs} epochs"
    text = f"This run is not finished: it was {where} when this page was made (state: {material.manifest.state})."
    if material.manifest.source:
        text += f" What came before it is in the report of {_source(material)}."
    return f"{text} Below is what its logs hold; `l2sim run --resume --out FOLDER` goes on with it."


def _table(material: Material) -> str:
    columns = [*material.report.stages, {"name": "testing", **material.report.test_cost}]
    rows = [
        (oracle(label), meaning, [_entry(stage, key) for stage in columns])
        for key, (label, meaning) in FACTS.items()
        if any(_entry(stage, key) for stage in columns)
    ]
    text = (
        "<p>Every number of <code>report.json</code>. Accuracies are of the last epoch on the test set, which chooses "
        "nothing. Counts are totals over all cores, taken by the chips' own meter; testing is metered apart.</p>"
    )
    return html.section("Stages in numbers", text + html.table(["", *(s["name"] for s in columns)], rows))


def _entry(stage: Mapping[str, object], key: str) -> str:
    """The cell for `key`, which may name an entry of an entry with a dot; empty if the stage has none."""
    value: object = stage
    for name in key.split("."):
        if not isinstance(value, dict) or name not in value:
            return ""
        value = value[name]
    figure = cast(float | None, value)
    return percent(figure) if key.endswith("accuracy") else number(figure)


def _cost(material: Material) -> str:
    from l2sim.report import figures  # late: it loads Matplotlib

    if not any(stage.get("core_calls") for stage in material.report.stages):
        return html.section("Cost", html.missing("Nothing has been asked of the chips yet."))
    sheet, axes = figures.sheet(1, 8, 4.2)
    figures.cost(axes[0, 0], material.report.stages, material.report.test_cost)
    caption = (
        f"What the chips were asked to do, counted where it is done. {parts(material.job).COST} Testing (hatched) "
        "is counted apart. The table above has the same numbers in full."
    )
    return html.section("Cost", html.figure(figures.svg(sheet, "cost", "Counts by stage, log scale."), caption))


def _settings(job: Job) -> str:
    fields = jobs.describe(job)
    preset = FLOWS[job.flow].declared.preset
    changed = set(jobs.differences(job, Job.preset(preset)))
    body = f"<p>All settings are the defaults (preset <code>{preset}</code>).</p>"
    head = ["setting", "value", "unit", "meaning"]
    if changed:
        body = "<p>Settings that differ from the defaults:</p>"
        body += html.table(head, [_field(field) for field in fields if field.path in changed], "words")
    rest = [_field(field) for field in fields if field.path not in changed]
    words = f"{'All other' if changed else 'The'} settings ({len(rest)})"
    body += f"<details><summary>{words}</summary>{html.table(head, rest, 'words')}</details>"
    return html.section("Settings", body)


def _field(field: jobs.Field) -> tuple[str, str, list[str]]:
    value = "as in nonidealities.base" if field.value is None else _toml(field.value)
    return f"<code>{escape(field.path)}</code>", "", [escape(value), escape(field.unit), escape(field.meaning)]


def _reproduce(material: Material) -> str:
    job, manifest = material.job, material.manifest
    preset = job.name if job.name in presets.PRESETS else FLOWS[job.flow].declared.preset
    base = Job.preset(preset)
    words = ["l2sim", "run", preset]
    for path in jobs.differences(base, job):
        value = next(field.value for field in jobs.describe(job) if field.path == path)
        words += ["--seed", str(value)] if path == "seed" else ["--set", f"{path}={_toml(value)}"]
    if manifest.source:
        words += ["--from", _source(material)]
    words += ["--threads", str(manifest.threads)]
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    text = (
        f"<p>Seed {job.seed}, number of threads {manifest.threads}, device {escape(material.report.device)}, "
        f"{material.report.seconds:.1f} s. {escape(versions)}.</p>"
        f"<pre>{escape(shlex.join(words))}</pre>"
        "<p>The same seed and thread count are to give the same numbers on the same machine; <code>job.toml</code> in "
        "this folder is the same job as a file. The page is made again with <code>l2sim report FOLDER</code>.</p>"
    )
    return html.section("How to reproduce", text)


def _source(material: Material) -> str:
    """The run started from, without the folders of the machine it lay on."""
    return Path(material.manifest.source or "").name


def _toml(value: object) -> str:
    """A setting as it is written after `--set path=`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    return str(value)


if __name__ == "__main__":
    import sys  # late: a report needs no arguments

    picture(Path(sys.argv[1]), Path(sys.argv[2]))
