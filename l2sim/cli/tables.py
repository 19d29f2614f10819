"""Tables for `l2sim presets` and `l2sim models`: presets, every field of a job, and what models are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from l2sim.job import experiments
from l2sim.job.flows import FLOWS
from l2sim.job.job import Job, describe, load
from l2sim.job.presets import PRESETS

if TYPE_CHECKING:
    from l2sim.nn.models import Count, ModelSpec


TIMES = "Times are of single runs on two cores of ours, all compiled."


def presets_tables() -> list[Table]:
    """The presets with what they run and where their settings come from; the experiments of L2ight as a matrix."""
    matrix = {"-".join(key) for key in experiments.names()}
    table = Table("preset", "what it runs", "settings from", caption=TIMES, caption_justify="left")
    for name, preset in PRESETS.items():
        if name not in matrix:
            table.add_row(name, preset.about, preset.source)
    return [table, _experiments(len(matrix))]


def _experiments(count: int) -> Table:
    """Which methods there are for which models; data sets stand above the models that they are for."""
    families: dict[tuple[str, ...], list[str]] = {}
    for name, model in experiments.MODELS.items():
        families.setdefault(model.data, []).append(name)
    pairs = [f"{', '.join(data)} with {', '.join(models)}" for data, models in families.items()]
    title = f"{count} experiments composed from L2ight's scripts, called DATA-MODEL-METHOD, e.g. cifar10-vgg8-l2ight"
    table = Table(
        "METHOD", *experiments.MODELS, "what is done",
        title="\n".join((title, *pairs)), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
        pad_edge=False,
    )  # fmt: skip
    table.columns[0].no_wrap = True
    for column in table.columns[1:-1]:
        column.justify = "center"
    for method, (about, _, only) in experiments.METHODS.items():
        cells = ("x" if method in model.methods else "" for model in experiments.MODELS.values())
        table.add_row(method, *cells, about + (f" (only {', '.join(only)})" if only else ""))
    return table


def fields_table(job: Job, about: str = "") -> Table:
    """Every field of `job` by section: path, value, unit, range, meaning; above them what the job is `about`."""
    lines = ([about] if about else []) + [f"fields of a job, with the values of {job.name}"]
    table = Table(title="\n".join(lines), title_justify="left")
    table.add_column("field", no_wrap=True)
    table.add_column("value", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    table.add_column("range", max_width=30)
    table.add_column("meaning")
    for _, fields in groupby(describe(job), lambda field: field.path.rpartition(".")[0]):
        for field in fields:
            table.add_row(field.path, _shown(field.value), field.unit, field.range, field.meaning)
        table.add_section()
    return table


def models_tables(names: Iterable[str]) -> list[Table]:
    """What the published models are made of; or, of every model, preset or job file in `names`, every layer.

    Devices are MZIs and the attenuators of sigma.
    """
    from l2sim.nn import models  # late: --help is instant

    known = {name: models.get(name) for name in models.MODELS}
    if not names:
        rows = {f"{name} {'x'.join(map(str, spec.input))}": models.count(spec).total for name, spec in known.items()}
        return [_counts("model", rows)]
    made = []
    for name in names:
        job = name in PRESETS or Path(name).suffix == ".toml"
        spec = _model_of(load(name)) if job else models.get(name)
        counts = models.count(spec)
        title = f"{name}: {spec.name}, {' x '.join(map(str, spec.input))} to {spec.classes} classes"
        made.append(_counts("layer", counts.layers | {"total": counts.total}, title))
    return made


def _model_of(job: Job) -> ModelSpec:
    return FLOWS[job.flow].model(job)


def _counts(what: str, rows: Mapping[str, Count], title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(what, no_wrap=True)
    for column in ("parameters", "cores", "sigma", "MZIs", "devices"):
        table.add_column(column, justify="right")
    for name, row in rows.items():
        devices = row.mzis + row.sigma
        table.add_row(name, *(f"{n:,}" for n in (row.parameters, row.blocks, row.sigma, row.mzis, devices)))
    return table


def _shown(value: object) -> str:
    if value is None:
        return "(base)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str(list(value))
    return f"{value:g}" if isinstance(value, float) else str(value)
